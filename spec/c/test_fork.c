/* test_fork.c - going on from a history: fork, rerun, retry. Each story is lived in three ways: undisturbed, with bodies lost after each
 * tick, and with the runtime closed and opened after each tick. */
#include <stdlib.h>

#include "host.h"

static const char library[] =
    "workflow('kid', function(ctx, n) return ctx:call_activity('native', n) end)\n"
    "workflow('mixed', function(ctx, n)\n"
    "  local sum = ctx:call_activity('native', n)\n"
    "  local tasks = {}\n"
    "  for i = 1, 3 do tasks[i] = ctx.async:call_activity('native', 10 * i) end\n"
    "  ctx:create_timer(5)\n"
    "  for _, v in ipairs(ctx:when_all(tasks)) do sum = sum + v end\n"
    "  sum = sum + ctx:call_child_workflow('kid', 100)\n"
    "  sum = sum + ctx:wait_for_external_event('go', {timeout = 1000})\n"
    "  return sum + ctx:side_effect(function() return 1000 end)\n"
    "end)\n"
    "workflow('names_itself', function(ctx)\n"
    "  local got = ctx:call_activity('native', {me = ctx.instance_id})\n"
    "  ctx:wait_for_external_event('go')\n"
    "  return {was = got.me, now = ctx.instance_id}\n"
    "end)\n"
    "workflow('draws', function(ctx)\n"
    "  local first = ctx:uuid()\n"
    "  ctx:wait_for_external_event('go')\n"
    "  return {first, ctx:uuid(), math.random(1000000)}\n"
    "end)\n"
    "workflow('two', function(ctx) return {ctx:call_activity('native', 1), ctx:call_activity('native', 2)} end)\n"
    "workflow('last', function(ctx) ctx:call_activity('native', 1) ctx.async:call_activity('native', 7) return 'left it' end)\n"
    "workflow('all', function(ctx)\n"
    "  local t = {}\n"
    "  for i = 1, 3 do t[i] = ctx.async:call_activity('native', i, {retry = {max_attempts = 2, interval = 1}}) end\n"
    "  return ctx:when_all(t)\n"
    "end)\n"
    "workflow('family', function(ctx) return ctx:call_child_workflow('kid', 5, {id = 'only-kid'}) end)\n"
    "workflow('caught', function(ctx)\n"
    "  local good = pcall(ctx.call_activity, ctx, 'native', 1)\n"
    "  if good then return 'fine' end\n"
    "  ctx:call_activity('native', 2)\n"
    "  return 'mended'\n"
    "end)\n"
    "workflow('gate', function(ctx) return ctx:wait_for_external_event('go') end)\n";

/* ---- An activity that fails when the test says so, and remembers what it was given ---- */

typedef struct native { int calls, fail; char inputs[200], keys[20][64]; bool later; lnt_token last; } native;

static lnt_activity_result run_native(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  native *n = user;
  char *json = NULL;
  lnt_value_to_json(activity->input, 0, &json, NULL, NULL);
  size_t used = strlen(n->inputs);
  snprintf(n->inputs + used, sizeof n->inputs - used, "%s%s", used ? " " : "", json);
  snprintf(n->keys[n->calls % 20], sizeof n->keys[0], "%s", activity->idempotency_key);
  n->calls++;
  n->last = activity->token;
  lnt_free(json);
  if (n->later) return LNT_ACTIVITY_PENDING;
  lnt_failure failure = {.type = "Declined", .message = "not now"};
  if (n->fail > 0) {
    n->fail--;
    CHECK_STATUS(lnt_fail(rt, activity->token, &failure, NULL, NULL, NULL), LNT_OK);
  } else {
    CHECK_STATUS(lnt_complete(rt, activity->token, activity->input, NULL, NULL, NULL), LNT_OK);
  }
  return LNT_ACTIVITY_DONE;
}

static void opened(host *h) { CHECK_STATUS(lnt_register_activity(h->rt, "native", run_native, h->user, NULL), LNT_OK); }

#define IN_EACH_WAY(h, n) HOST_IN_EACH_WAY(h, (n = (native){0}, host_open_as(&h, way, library, opened, &n)))

typedef lnt_status (*fork_fn)(lnt_runtime *, const char *, const lnt_fork_options *, char *, lnt_error *);

static lnt_status fork_at(host *h, fork_fn fn, const char *id, uint64_t event, const char *new_id, const char *input) {
  lnt_fork_options options;
  lnt_fork_options_init(&options);
  options.event = event;
  options.new_id = new_id;
  options.replace_input = input != NULL;
  options.input = host_value(input);
  lnt_status status = fn(h->rt, id, &options, NULL, &h->error);
  lnt_value_free(&options.input);
  return status;
}

/* ---- The history, by kinds ---- */

typedef struct kinds { lnt_event_kind at[200]; int count; } kinds;

static int take_kind(void *user, const lnt_event *event) {
  kinds *k = user;
  if (k->count < 200) k->at[k->count++] = event->kind;
  return 0;
}

static kinds kinds_of(host *h, const char *id) {
  kinds k = {.count = 0};
  CHECK_STATUS(lnt_history(h->rt, id, take_kind, &k, &h->error), LNT_OK);
  return k;
}

/* The index, from 1, of the nth event of a kind; 0: there is none. */
static uint64_t event_of(host *h, const char *id, lnt_event_kind kind, int nth) {
  kinds k = kinds_of(h, id);
  for (int i = 0; i < k.count; i++)
    if (k.at[i] == kind && --nth == 0) return (uint64_t)i + 1;
  return 0;
}

/* ---- Fork ---- */

static void finish_mixed(host *h, const char *id) {
  host_settle(h);
  for (int i = 0; i < 5 && !strcmp(host_status(h, id), "RUNNING"); i++) {
    host_pass(h, 5);
    if (i == 2) host_raise(h, id, "go", "5000");
    host_settle(h);
  }
}

/* From wherever it goes on, it comes to the same end. */
static void test_a_fork_from_every_event_comes_to_the_same_end(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    host_start(&h, "mixed", "m", "1");
    finish_mixed(&h, "m");
    CHECK_EQ_STR(host_outcome(&h, "m"), "COMPLETED 6161");
    int calls = n.calls;
    kinds k = kinds_of(&h, "m");
    for (int event = 1; event <= k.count; event++) {
      char id[16];
      snprintf(id, sizeof id, "f%d", event);
      n.calls = 0;
      CHECK_STATUS(fork_at(&h, lnt_fork, "m", (uint64_t)event, id, NULL), LNT_OK);
      finish_mixed(&h, id);
      if (!CHECK_EQ_STR(host_outcome(&h, id), "COMPLETED 6161")) CHECK_FAIL("forked from event %d: %s", event, host_history(&h, id));
      CHECK(n.calls <= calls);
      if (event == k.count) CHECK_EQ_INT(n.calls, 0);
    }
    CHECK_EQ_INT(calls, 5);
  }
}

/* A fork of an instance that runs: what runs there runs here too, and timers stand. */
static void test_a_running_instance_is_forked(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    n.later = true;
    host_start(&h, "mixed", "m", "1");
    host_settle(&h);
    CHECK_STATUS(fork_at(&h, lnt_fork, "m", 0, "f", NULL), LNT_OK);
    CHECK_STATUS(host_raise(&h, "f", "go", "5000"), LNT_OK); /* before anything of it is durable */
    host_settle(&h);
    CHECK_EQ_STR(host_history(&h, "f"), "Started ActivityScheduled#1 Forked#3 EventRaised");
    n.later = false;
    host_restart(&h);
    finish_mixed(&h, "f");
    CHECK_EQ_STR(host_outcome(&h, "f"), "COMPLETED 6161");
    finish_mixed(&h, "m");
    CHECK_EQ_STR(host_outcome(&h, "m"), "COMPLETED 6161");
  }
}

/* Its own id may be in what it called; that is no divergence. */
static void test_a_fork_has_its_own_id(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    host_start(&h, "names_itself", "me", NULL);
    host_settle(&h);
    CHECK_STATUS(fork_at(&h, lnt_fork, "me", 0, "you", NULL), LNT_OK);
    host_raise(&h, "you", "go", NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "you"), "COMPLETED {\"now\":\"you\",\"was\":\"me\"}");
  }
}

/* What was drawn stays; what is drawn later is another. */
static void test_a_fork_draws_other_numbers(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    char source[500], fork[500];
    host_start(&h, "draws", "d", NULL);
    host_settle(&h);
    CHECK_STATUS(fork_at(&h, lnt_fork, "d", 0, "e", NULL), LNT_OK);
    host_raise(&h, "d", "go", NULL);
    host_raise(&h, "e", "go", NULL);
    host_settle(&h);
    snprintf(source, sizeof source, "%s", host_outcome(&h, "d"));
    snprintf(fork, sizeof fork, "%s", host_outcome(&h, "e"));
    CHECK_EQ_MEM(source, fork, strlen("COMPLETED [\"00000000-0000-0000-0000-000000000000\""));
    CHECK(strcmp(source + 50, fork + 50) != 0);
  }
}

static void test_a_fork_from_the_start_may_have_another_input(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    host_start(&h, "kid", "k", "3");
    host_settle(&h);
    CHECK_STATUS(fork_at(&h, lnt_fork, "k", 1, "l", "4"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "l"), "COMPLETED 4");
    CHECK_STATUS(fork_at(&h, lnt_fork, "k", 0, "m", "4"), LNT_EINVAL);
    CHECK_HAS(h.error.message, "has seen its input; fork from event 1");
  }
}

static void test_bad_forks_are_refused(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    host_start(&h, "two", "t", NULL);
    CHECK_STATUS(fork_at(&h, lnt_fork, "t", 0, "u", NULL), LNT_EAGAIN);
    host_settle(&h);
    CHECK_STATUS(fork_at(&h, lnt_fork, "nobody", 0, "u", NULL), LNT_ENOTFOUND);
    CHECK_STATUS(fork_at(&h, lnt_fork, "t", 0, "t", NULL), LNT_EEXIST);
    CHECK_STATUS(fork_at(&h, lnt_fork, "t", 0, "a/b", NULL), LNT_EINVAL);
    CHECK_STATUS(fork_at(&h, lnt_fork, "t", 99, "u", NULL), LNT_EINVAL);
    CHECK_HAS(h.error.message, "instance 't' has no event 99; its events are 1 to 8");
    lnt_fork_options options;
    lnt_fork_options_init(&options);
    options.run = 77;
    CHECK_STATUS(lnt_fork(h.rt, "t", &options, NULL, &h.error), LNT_ENOTFOUND);
    host_start(&h, "gate", "g", NULL);
    host_settle(&h);
    options.run = 1;
    CHECK_STATUS(lnt_fork(h.rt, "g", &options, NULL, &h.error), LNT_ENOTFOUND);
    CHECK_HAS(h.error.message, "run 1 is not one of instance 'g'");
    CHECK_EQ_STR(host_status(&h, "u"), "LNT_ENOTFOUND");
  }
}

/* ---- Rerun ---- */

static void test_a_step_is_run_again_with_another_input(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    host_start(&h, "two", "t", NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "t"), "COMPLETED [1,2]");
    n.inputs[0] = 0;
    CHECK_STATUS(fork_at(&h, lnt_rerun, "t", event_of(&h, "t", LNT_EVENT_ACTIVITY_SCHEDULED, 2), "second", "20"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "second"), "COMPLETED [1,20]");
    CHECK_EQ_STR(n.inputs, "20");
    CHECK_EQ_STR(host_history(&h, "second"), "Started ActivityScheduled#1 ActivityCompleted#1 ActivityScheduled#2 Forked#6 InputReplaced#2 "
                                             "ActivityCompleted#2 Completed");
    n.inputs[0] = 0;
    CHECK_STATUS(fork_at(&h, lnt_rerun, "second", event_of(&h, "second", LNT_EVENT_ACTIVITY_SCHEDULED, 1), "first", NULL), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "first"), "COMPLETED [1,2]"); /* what was replaced behind it is not copied */
    CHECK_EQ_STR(n.inputs, "1 2");
    /* Of a rerun that is forked behind the replacement, the input stays replaced. */
    n.inputs[0] = 0;
    CHECK_STATUS(fork_at(&h, lnt_rerun, "second", event_of(&h, "second", LNT_EVENT_ACTIVITY_SCHEDULED, 2), "third", NULL), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "third"), "COMPLETED [1,2]");
  }
}

/* A command of the last turn, which has no end in the history, is made again; its input is replaced all the same. */
static void test_a_step_of_the_last_turn_is_run_again(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    n.later = true;
    host_start(&h, "last", "l", NULL);
    host_settle(&h);
    n.later = false;
    host_restart(&h);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "l"), "COMPLETED \"left it\"");
    CHECK_STATUS(fork_at(&h, lnt_rerun, "l", event_of(&h, "l", LNT_EVENT_ACTIVITY_SCHEDULED, 2), "r", "8"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "r"), "COMPLETED \"left it\"");
    CHECK_EQ_STR(host_history(&h, "r"), "Started ActivityScheduled#1 Forked#3 InputReplaced#2 ActivityCompleted#1 ActivityScheduled#2 "
                                        "Completed");
  }
}

static void test_timers_waits_and_children_are_run_again(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    static const lnt_event_kind targets[] = {LNT_EVENT_TIMER_CREATED, LNT_EVENT_EVENT_AWAITED, LNT_EVENT_CHILD_SCHEDULED};
    host_start(&h, "mixed", "m", "1");
    finish_mixed(&h, "m");
    for (int i = 0; i < 3; i++) {
      char id[16];
      snprintf(id, sizeof id, "r%d", i);
      CHECK_STATUS(fork_at(&h, lnt_rerun, "m", event_of(&h, "m", targets[i], 1), id, i == 2 ? "200" : NULL), LNT_OK);
      finish_mixed(&h, id);
      CHECK_EQ_STR(host_outcome(&h, id), i == 2 ? "COMPLETED 6261" : "COMPLETED 6161");
    }
    CHECK_EQ_STR(host_status(&h, "r2:0006"), "COMPLETED");
    CHECK_STATUS(fork_at(&h, lnt_rerun, "m", event_of(&h, "m", LNT_EVENT_TIMER_CREATED, 1), "r", "1"), LNT_EINVAL);
    CHECK_HAS(h.error.message, "is TimerCreated, which has no input to replace");
    CHECK_STATUS(fork_at(&h, lnt_rerun, "m", event_of(&h, "m", LNT_EVENT_TIMER_FIRED, 1), "r", NULL), LNT_EINVAL);
    CHECK_HAS(h.error.message, "is TimerFired; name one that is ActivityScheduled");
    CHECK_STATUS(fork_at(&h, lnt_rerun, "m", 0, "r", NULL), LNT_EINVAL);
    host_start(&h, "gate", "g", NULL);
    host_settle(&h);
    CHECK_STATUS(fork_at(&h, lnt_rerun, "g", 2, "r", NULL), LNT_EOPEN);
    CHECK_HAS(h.error.message, "'g' is RUNNING; only a finished one can be rerun");
  }
}

/* ---- Retry ---- */

static lnt_status retry(host *h, const char *id) { return lnt_retry(h->rt, id, NULL, &h->error); }

static void test_a_failed_activity_is_tried_again_under_its_key(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    host_start(&h, "two", "t", NULL);
    host_settle(&h);
    CHECK_STATUS(retry(&h, "t"), LNT_EINVAL);
    CHECK_HAS(h.error.message, "'t' is COMPLETED; there is nothing to retry");
    n.calls = 0;
    n.fail = 1;
    host_start(&h, "two", "f", NULL);
    host_settle(&h);
    CHECK_HAS(host_outcome(&h, "f"), "FAILED");
    n.inputs[0] = 0;
    n.calls = 1;
    CHECK_STATUS(retry(&h, "f"), LNT_OK);
    CHECK_STATUS(retry(&h, "f"), LNT_EAGAIN);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "f"), "COMPLETED [1,2]");
    CHECK_EQ_STR(n.inputs, "1 2");
    CHECK_EQ_STR(n.keys[1], n.keys[0]);
    CHECK(strcmp(n.keys[2], n.keys[1]) != 0);
    lnt_counts counts = {.size = sizeof counts};
    CHECK_STATUS(lnt_count(h.rt, NULL, &counts, NULL), LNT_OK);
    CHECK_EQ_UINT(counts.by_status[LNT_RUN_FAILED], 1); /* the run before */
  }
}

/* The step that was under way in the copy is the copy's, and stays so in a retry; what comes after it is nobody's but the new run's. */
static void test_the_keys_of_a_retried_fork_are_the_forks(void) {
  host h;
  native n;
  for (host_way way = HOST_PLAIN; way <= HOST_EVICTED; way++) { /* a restart would begin the step of the source again */
    h = (host){0}, n = (native){0};
    host_open_as(&h, way, library, opened, &n);
    host_start(&h, "caught", "s", NULL);
    n.later = true;
    host_settle(&h);
    CHECK_STATUS(fork_at(&h, lnt_fork, "s", 0, "f", NULL), LNT_OK);
    n.later = false;
    n.calls = 1;
    n.fail = 2;
    host_settle(&h); /* step 1 of the fork fails, and step 2, which its handler makes */
    CHECK_HAS(host_outcome(&h, "f"), "FAILED");
    CHECK(strcmp(n.keys[0], n.keys[1]) != 0);
    int failed = n.calls;
    CHECK_STATUS(lnt_retry(h.rt, "f", NULL, &h.error), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "f"), "COMPLETED \"mended\"");
    CHECK_EQ_STR(n.keys[failed], n.keys[failed - 1]);
    host_start(&h, "caught", "other", NULL);
    host_settle(&h);
    for (int i = 0; i < n.calls - 1; i++) CHECK(strcmp(n.keys[n.calls - 1], n.keys[i]) != 0);
    host_close(&h);
  }
}

/* Every attempt that failed is tried again, those that did not are not; with the whole policy. */
static void test_all_that_failed_is_tried_again(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    n.fail = 5; /* of the three with two attempts each, one comes through at its second */
    host_start(&h, "all", "a", NULL);
    host_settle(&h);
    for (int i = 0; i < 3; i++) host_pass(&h, 1);
    CHECK_HAS(host_outcome(&h, "a"), "FAILED");
    CHECK_EQ_INT(n.calls, 6);
    n.calls = 0;
    n.fail = 2; /* each once */
    CHECK_STATUS(retry(&h, "a"), LNT_OK);
    host_settle(&h);
    for (int i = 0; i < 3; i++) host_pass(&h, 1);
    CHECK_EQ_STR(host_outcome(&h, "a"), "COMPLETED [1,2,3]");
    CHECK_EQ_INT(n.calls, 4);
  }
}

static void test_a_failed_child_is_tried_again(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    n.fail = 1;
    host_start(&h, "family", "f", NULL);
    host_settle(&h);
    CHECK_HAS(host_outcome(&h, "f"), "FAILED");
    CHECK_EQ_STR(host_status(&h, "only-kid"), "FAILED");
    CHECK_STATUS(retry(&h, "f"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "f"), "COMPLETED 5");
    CHECK_EQ_STR(host_status(&h, "f:2.0001"), "COMPLETED");
  }
}

/* Code that fails by itself is retried with the code that mended it. */
static void test_an_error_of_the_workflow_is_retried_with_new_code(void) {
  static const char broken[] =
      "workflow('w', function(ctx, n) local v = ctx:call_activity('native', n) return v.field.of_nothing end)\n";
  static const char mended[] = "workflow('w', function(ctx, n) local v = ctx:call_activity('native', n) return v end)\n";
  host h;
  native n;
  for (host_way way = HOST_PLAIN; way < HOST_WAYS; way++) {
    h = (host){0};
    n = (native){0};
    h.user = &n;
    h.opened = opened;
    host_open(&h, way, broken);
    host_start(&h, "w", "w", "3");
    host_settle(&h);
    CHECK_HAS(host_outcome(&h, "w"), "FAILED");
    CHECK_STATUS(retry(&h, "w"), LNT_OK);
    host_settle(&h);
    CHECK_HAS(host_outcome(&h, "w"), "FAILED"); /* with the same code */
    h.source = mended;
    host_restart(&h);
    lnt_fork_options pinned;
    lnt_fork_options_init(&pinned);
    pinned.code = LNT_FORK_CODE_PINNED;
    CHECK_STATUS(lnt_retry(h.rt, "w", &pinned, &h.error), LNT_OK);
    host_settle(&h);
    CHECK_HAS(host_outcome(&h, "w"), "FAILED");
    CHECK_STATUS(retry(&h, "w"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "w"), "COMPLETED 3");
    CHECK_EQ_INT(n.calls, 1);
    CHECK_HAS(host_history(&h, "w"), "CodeChanged");
    host_close(&h);
  }
}

static void test_what_was_ended_from_outside_goes_on(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    host_start(&h, "gate", "t", NULL);
    host_start(&h, "gate", "c", NULL);
    host_settle(&h);
    CHECK_STATUS(retry(&h, "t"), LNT_EOPEN);
    lnt_terminate(h.rt, "t", NULL, NULL, NULL, NULL);
    lnt_cancel(h.rt, "c", NULL, NULL, NULL, NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "c"), "CANCELED");
    CHECK_STATUS(retry(&h, "t"), LNT_OK);
    CHECK_STATUS(retry(&h, "c"), LNT_OK);
    host_settle(&h);
    host_raise(&h, "t", "go", "1");
    host_raise(&h, "c", "go", "2");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "t"), "COMPLETED 1");
    CHECK_EQ_STR(host_outcome(&h, "c"), "COMPLETED 2");
  }
}

/* Terminated, suspended, purged before it ever ran. */
static void test_a_copy_that_is_not_durable_yet(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    uint64_t count;
    host_start(&h, "gate", "g", NULL);
    host_settle(&h);
    fork_at(&h, lnt_fork, "g", 0, "a", NULL);
    fork_at(&h, lnt_fork, "g", 0, "b", NULL);
    fork_at(&h, lnt_fork, "g", 0, "c", NULL);
    CHECK_STATUS(lnt_terminate(h.rt, "a", NULL, NULL, NULL, &h.error), LNT_OK);
    CHECK_STATUS(lnt_suspend(h.rt, "b", NULL, NULL, NULL, &h.error), LNT_OK);
    lnt_purge_options force;
    lnt_purge_options_init(&force);
    force.force = 1;
    CHECK_STATUS(lnt_purge(h.rt, "c", &force, &count, &h.error), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "a"), "TERMINATED");
    CHECK_EQ_STR(host_status(&h, "b"), "SUSPENDED");
    CHECK_EQ_STR(host_status(&h, "c"), "LNT_ENOTFOUND");
    host_raise(&h, "b", "go", "1");
    lnt_resume(h.rt, "b", NULL, NULL, NULL, NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "b"), "COMPLETED 1");
  }
}

CHECK_MAIN(test_the_keys_of_a_retried_fork_are_the_forks, test_a_fork_from_every_event_comes_to_the_same_end,
           test_a_running_instance_is_forked, test_a_fork_has_its_own_id,
           test_a_fork_draws_other_numbers, test_a_fork_from_the_start_may_have_another_input, test_bad_forks_are_refused,
           test_a_step_is_run_again_with_another_input, test_a_step_of_the_last_turn_is_run_again,
           test_timers_waits_and_children_are_run_again,
           test_a_failed_activity_is_tried_again_under_its_key, test_all_that_failed_is_tried_again, test_a_failed_child_is_tried_again,
           test_an_error_of_the_workflow_is_retried_with_new_code, test_what_was_ended_from_outside_goes_on,
           test_a_copy_that_is_not_durable_yet);
