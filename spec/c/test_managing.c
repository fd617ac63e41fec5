/* test_managing.c - managing instances through lunation.h: suspend, resume, start. Each story is lived in three ways: undisturbed, with
 * bodies lost after each tick, and with the runtime closed and opened after each tick. */
#include "host.h"

static const char library[] =
    "workflow('gate', function(ctx)\n"
    "  local got = {}\n"
    "  for i = 1, 3 do got[i] = ctx:wait_for_external_event('go') end\n"
    "  return got\n"
    "end)\n"
    "workflow('nap', function(ctx) ctx:create_timer(10) return 'awake' end)\n"
    "workflow('steps', function(ctx) return {ctx:call_activity('native', 1), ctx:call_activity('native', 2)} end)\n"
    "workflow('tries', function(ctx) return ctx:call_activity('native', 1, {retry = {max_attempts = 9, interval = 5}}) end)\n"
    "workflow('clock', function(ctx) return math.floor(ctx:now()) - 1700000000 end)\n"
    "workflow('empty', function() end)\n";

/* ---- An activity in C that answers when the test says so ---- */

typedef struct native { int calls; lnt_token last; bool later, fails; } native;

static lnt_activity_result run_native(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  native *n = user;
  n->calls++;
  n->last = activity->token;
  if (n->later) return LNT_ACTIVITY_PENDING;
  lnt_failure failure = {.type = "Flaky", .message = "not yet"};
  if (n->fails) CHECK_STATUS(lnt_fail(rt, activity->token, &failure, NULL, NULL, NULL), LNT_OK);
  else CHECK_STATUS(lnt_complete(rt, activity->token, activity->input, NULL, NULL, NULL), LNT_OK);
  return LNT_ACTIVITY_DONE;
}

static void opened(host *h) { CHECK_STATUS(lnt_register_activity(h->rt, "native", run_native, h->user, NULL), LNT_OK); }

#define IN_EACH_WAY(h, n) HOST_IN_EACH_WAY(h, (n = (native){0}, host_open_as(&h, way, library, opened, &n)))

/* ---- Suspend and resume ---- */

static lnt_status suspend(host *h, const char *id) { return lnt_suspend(h->rt, id, "a pause", NULL, NULL, &h->error); }
static lnt_status resume(host *h, const char *id) { return lnt_resume(h->rt, id, NULL, NULL, NULL, &h->error); }

static void test_suspended_events_wait_in_order(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    host_start(&h, "gate", "g", NULL);
    host_settle(&h);
    CHECK_STATUS(host_raise(&h, "g", "go", "1"), LNT_OK);
    host_settle(&h);
    CHECK_STATUS(suspend(&h, "g"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "g"), "SUSPENDED");
    CHECK_STATUS(host_raise(&h, "g", "go", "2"), LNT_OK);
    host_settle(&h);
    CHECK_STATUS(host_raise(&h, "g", "go", "3"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "g"), "SUSPENDED");
    CHECK_STATUS(resume(&h, "g"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "g"), "COMPLETED [1,2,3]");
    CHECK_EQ_STR(host_history(&h, "g"), "Started EventAwaited#1 EventRaised EventAwaited#2 Suspended EventRaised EventRaised Unsuspended "
                                        "EventAwaited#3 Completed");
  }
}

/* The reason is kept, a second request changes nothing, `done` is called all the same. */
static void count_done(void *user, lnt_status status) {
  CHECK_STATUS(status, LNT_OK);
  ++*(int *)user;
}

static int find_reason(void *user, const lnt_event *event) {
  char *json = NULL;
  if (event->kind != LNT_EVENT_SUSPENDED) return 0;
  lnt_value_to_json(event->value, 0, &json, NULL, NULL);
  snprintf(user, 64, "%s", json ? json : "?");
  lnt_free(json);
  return 1;
}

static void test_suspend_again_changes_nothing(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    int done = 0;
    char reason[64] = "";
    host_start(&h, "gate", "g", NULL);
    host_settle(&h);
    CHECK_STATUS(resume(&h, "g"), LNT_OK); /* nothing to resume */
    for (int i = 0; i < 2; i++) {
      CHECK_STATUS(lnt_suspend(h.rt, "g", "a \"pause\"", count_done, &done, &h.error), LNT_OK);
      host_settle(&h);
    }
    CHECK_EQ_INT(done, 2);
    CHECK_EQ_STR(host_history(&h, "g"), "Started EventAwaited#1 Suspended");
    CHECK_STATUS(lnt_history(h.rt, "g", find_reason, reason, NULL), LNT_OK);
    CHECK_EQ_STR(reason, "\"a \\\"pause\\\"\"");
  }
}

static void test_suspended_before_its_first_turn(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    host_start(&h, "empty", "e", NULL);
    CHECK_STATUS(suspend(&h, "e"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "e"), "SUSPENDED");
    CHECK_STATUS(resume(&h, "e"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "e"), "COMPLETED null");
  }
}

static void test_a_timer_due_while_suspended_fires_at_resume(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    host_start(&h, "nap", "n", NULL);
    host_settle(&h);
    suspend(&h, "n");
    host_pass(&h, 3600);
    CHECK_EQ_STR(host_status(&h, "n"), "SUSPENDED");
    resume(&h, "n");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "n"), "COMPLETED \"awake\"");
    CHECK_EQ_STR(host_history(&h, "n"), "Started TimerCreated#1 Suspended TimerFired#1 Unsuspended Completed");
  }
}

/* What runs ends, and its answer waits; no attempt begins. A restart leaves an attempt without its answer: it begins again at resume. */
static void test_activities_of_a_suspended_instance(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    n.later = true;
    host_start(&h, "steps", "s", NULL);
    host_settle(&h);
    CHECK(n.calls >= 1);
    suspend(&h, "s");
    host_settle(&h);
    int calls = n.calls;
    if (h.way != HOST_RESTARTED) {
      CHECK_STATUS(lnt_complete(h.rt, n.last, LNT_VALUE_NIL, NULL, NULL, NULL), LNT_OK);
      host_settle(&h);
    }
    host_pass(&h, 60);
    CHECK_EQ_INT(n.calls, calls);
    n.later = false;
    resume(&h, "s");
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "s"), "COMPLETED");
    CHECK_EQ_STR(host_history(&h, "s"), h.way == HOST_RESTARTED ? "Started ActivityScheduled#1 Suspended Unsuspended ActivityCompleted#1 "
                                                                  "ActivityScheduled#2 ActivityCompleted#2 Completed"
                                                                : "Started ActivityScheduled#1 Suspended ActivityCompleted#1 Unsuspended "
                                                                  "ActivityScheduled#2 ActivityCompleted#2 Completed");
  }
}

static void test_no_retry_begins_while_suspended(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    n.fails = true;
    host_start(&h, "tries", "t", NULL);
    host_settle(&h);
    int calls = n.calls;
    suspend(&h, "t");
    host_settle(&h);
    for (int i = 0; i < 4; i++) host_pass(&h, 10);
    CHECK_EQ_INT(n.calls, calls);
    n.fails = false;
    resume(&h, "t");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "t"), "COMPLETED 1");
    CHECK_EQ_INT(n.calls, calls + 1);
  }
}

/* Scheduled in one batch and suspended in the next, before anything began. */
static void test_suspended_before_its_activity_begins(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    h.options.limits.activities_running_max = 1;
    host_restart(&h);
    n.later = true;
    host_start(&h, "steps", "first", NULL);
    host_settle(&h);
    host_start(&h, "steps", "waits", NULL);
    host_settle(&h);
    suspend(&h, "waits");
    host_settle(&h);
    lnt_terminate(h.rt, "first", NULL, NULL, NULL, NULL);
    host_settle(&h);
    int calls = n.calls;
    host_pass(&h, 60);
    CHECK_EQ_INT(n.calls, calls);
    n.later = false;
    resume(&h, "waits");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "waits"), "COMPLETED [1,2]");
  }
}

static int leftovers;
static int count_row(void *user, const lnt_instance *instance) {
  (void)user;
  leftovers += instance->closed_us == 0;
  return 0;
}

static void test_a_suspended_instance_can_be_terminated(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    n.later = true;
    host_start(&h, "steps", "s", NULL);
    host_start(&h, "nap", "n", NULL);
    host_settle(&h);
    suspend(&h, "s");
    suspend(&h, "n");
    host_settle(&h);
    CHECK_STATUS(lnt_terminate(h.rt, "s", "enough", NULL, NULL, &h.error), LNT_OK);
    CHECK_STATUS(lnt_terminate(h.rt, "n", "enough", NULL, NULL, &h.error), LNT_OK);
    host_settle(&h);
    CHECK_HAS(host_outcome(&h, "s"), "TERMINATED");
    CHECK_HAS(host_outcome(&h, "s"), "enough");
    CHECK_HAS(host_outcome(&h, "n"), "TERMINATED");
    host_pass(&h, 3600);
    CHECK_STATUS(suspend(&h, "s"), LNT_ECLOSED);
    CHECK_HAS(h.error.message, "TERMINATED");
    CHECK_STATUS(resume(&h, "s"), LNT_ECLOSED);
    CHECK_STATUS(suspend(&h, "nobody"), LNT_ENOTFOUND);
    leftovers = 0;
    lnt_list(h.rt, NULL, count_row, NULL, NULL, NULL);
    CHECK_EQ_INT(leftovers, 0);
    lnt_stats stats = {.size = sizeof stats};
    host_restart(&h);
    host_settle(&h);
    lnt_get_stats(h.rt, &stats);
    CHECK_EQ_UINT(stats.loaded, 0);
  }
}

/* Suspended instances with events do not hold their coroutines. */
static void test_suspended_instances_are_evicted(void) {
  host h = {0};
  native n = {0};
  lnt_stats stats = {.size = sizeof stats};
  lnt_options_init(&h.options);
  h.options.limits.resident_max = 4;
  h.opened = opened;
  h.user = &n;
  host_open(&h, HOST_PLAIN, library);
  for (int i = 0; i < 40; i++) {
    char id[16];
    snprintf(id, sizeof id, "g%d", i);
    host_start(&h, "gate", id, NULL);
    host_settle(&h);
    suspend(&h, id);
    host_settle(&h);
    host_raise(&h, id, "go", "1");
    host_settle(&h);
  }
  lnt_get_stats(h.rt, &stats);
  CHECK(stats.resident <= 4);
  CHECK(stats.loaded <= 4);
  resume(&h, "g0");
  host_settle(&h);
  host_raise(&h, "g0", "go", "2");
  host_raise(&h, "g0", "go", "3");
  host_settle(&h);
  CHECK_EQ_STR(host_outcome(&h, "g0"), "COMPLETED [1,2,3]");
  host_close(&h);
}

static void test_bad_reasons_are_refused(void) {
  host h = {0};
  native n = {0};
  host_open_as(&h, HOST_PLAIN, library, opened, &n);
  host_start(&h, "gate", "g", NULL);
  host_settle(&h);
  CHECK_STATUS(lnt_suspend(h.rt, "g", "\xff", NULL, NULL, &h.error), LNT_EINVAL);
  CHECK_HAS(h.error.message, "the reason to suspend 'g' is not UTF-8");
  CHECK_STATUS(lnt_suspend(h.rt, "", NULL, NULL, NULL, &h.error), LNT_EINVAL);
  CHECK_STATUS(lnt_resume(h.rt, NULL, NULL, NULL, NULL, &h.error), LNT_EINVAL);
  CHECK_EQ_STR(host_status(&h, "g"), "RUNNING");
  host_close(&h);
}

/* ---- Starting ---- */

typedef struct start_with { const char *workflow, *id, *input, *attributes; lnt_id_reuse reuse; int64_t in_s; int existed; } start_with;

static lnt_status start(host *h, start_with *with) {
  lnt_start_options options;
  lnt_start_options_init(&options);
  options.workflow = with->workflow;
  options.id = with->id;
  options.input = host_value(with->input);
  options.attributes = host_value(with->attributes);
  options.id_reuse = with->reuse;
  if (with->in_s) options.start_at_us = h->clock_us + with->in_s * HOST_SECOND_US;
  options.existed = &with->existed;
  lnt_status status = lnt_start(h->rt, &options, NULL, &h->error);
  lnt_value_free(&options.input);
  lnt_value_free(&options.attributes);
  return status;
}

static void test_a_start_in_the_future_waits_and_keeps_events(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    start_with far = {.workflow = "clock", .id = "c", .in_s = 400 * 24 * 3600}, near = {.workflow = "gate", .id = "g", .in_s = 30};
    CHECK_STATUS(start(&h, &far), LNT_OK);
    CHECK_STATUS(start(&h, &near), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "c"), "PENDING");
    CHECK_STATUS(lnt_wait_start(h.rt, "g", 0, &h.error), LNT_ETIMEOUT);
    CHECK_HAS(h.error.message, "'g' was not started");
    host_raise(&h, "g", "go", "1");
    host_raise(&h, "g", "go", "2");
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "g"), "PENDING");
    lnt_stats stats = {.size = sizeof stats};
    lnt_get_stats(h.rt, &stats);
    CHECK_EQ_UINT(stats.loaded, 0);
    host_pass(&h, 29);
    CHECK_EQ_STR(host_status(&h, "g"), "PENDING");
    host_pass(&h, 1);
    CHECK_EQ_STR(host_status(&h, "g"), "RUNNING");
    host_raise(&h, "g", "go", "3");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "g"), "COMPLETED [1,2,3]");
    CHECK_EQ_STR(host_history(&h, "g"), "Started EventRaised EventRaised TimerFired EventAwaited#1 EventAwaited#2 EventAwaited#3 "
                                        "EventRaised Completed");
    host_pass(&h, 399 * 24 * 3600);
    CHECK_EQ_STR(host_status(&h, "c"), "PENDING");
    host_pass(&h, 24 * 3600);
    /* The body sees the time for which it was asked, and the first event behind it at its own. */
    CHECK_EQ_STR(host_outcome(&h, "c"), "COMPLETED 34560000");
  }
}

static void test_a_start_in_the_past_is_at_once(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    start_with past = {.workflow = "empty", .id = "e", .in_s = -5};
    CHECK_STATUS(start(&h, &past), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "e"), "COMPLETED null");
    CHECK_EQ_STR(host_history(&h, "e"), "Started Completed");
  }
}

/* Before its time comes it can be terminated, canceled, suspended; then its timer starts nothing. */
static void test_requests_about_what_has_not_started(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    start_with t = {.workflow = "empty", .id = "t", .in_s = 10}, c = {.workflow = "empty", .id = "c", .in_s = 10},
               s = {.workflow = "empty", .id = "s", .in_s = 10};
    start(&h, &t), start(&h, &c), start(&h, &s);
    host_settle(&h);
    CHECK_STATUS(lnt_terminate(h.rt, "t", "no more", NULL, NULL, &h.error), LNT_OK);
    CHECK_STATUS(lnt_cancel(h.rt, "c", "no more", NULL, NULL, &h.error), LNT_OK);
    CHECK_STATUS(suspend(&h, "s"), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "t"), "TERMINATED");
    CHECK_EQ_STR(host_status(&h, "c"), "CANCELED");
    host_pass(&h, 20);
    CHECK_EQ_STR(host_status(&h, "t"), "TERMINATED");
    CHECK_EQ_STR(host_status(&h, "c"), "CANCELED");
    CHECK_EQ_STR(host_status(&h, "s"), "SUSPENDED");
    resume(&h, "s");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "s"), "COMPLETED null");
    CHECK_EQ_STR(host_history(&h, "s"), "Started Suspended TimerFired Unsuspended Completed");
  }
}

static void test_an_id_taken_again(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    start_with first = {.workflow = "gate", .id = "x"}, existing = {.workflow = "gate", .id = "x", .reuse = LNT_ID_REUSE_EXISTING};
    start_with other = {.workflow = "nap", .id = "x", .reuse = LNT_ID_REUSE_EXISTING};
    start_with terminal = {.workflow = "nap", .id = "x", .reuse = LNT_ID_REUSE_TERMINAL};
    CHECK_STATUS(start(&h, &first), LNT_OK);
    for (int i = 0; i < 2; i++) {
      CHECK_STATUS(start(&h, &first), LNT_EEXIST);
      CHECK_STATUS(start(&h, &existing), LNT_OK);
      CHECK_EQ_INT(existing.existed, 1);
      CHECK_STATUS(start(&h, &other), LNT_EEXIST);
      CHECK_HAS(h.error.message, "runs the workflow 'gate', not 'nap'");
      CHECK_STATUS(start(&h, &terminal), LNT_EEXIST);
      CHECK_HAS(h.error.message, i ? "'x' is RUNNING" : "'x' is PENDING");
      host_settle(&h);
    }
    for (int i = 0; i < 3; i++) host_raise(&h, "x", "go", "7");
    host_settle(&h);
    CHECK_STATUS(start(&h, &existing), LNT_OK); /* finished or not */
    CHECK_EQ_STR(host_outcome(&h, "x"), "COMPLETED [7,7,7]");
    CHECK_STATUS(start(&h, &first), LNT_EEXIST);
    CHECK_STATUS(start(&h, &terminal), LNT_OK);
    CHECK_EQ_INT(terminal.existed, 0);
    CHECK_STATUS(start(&h, &terminal), LNT_EEXIST); /* before anything is durable */
    host_settle(&h);
    CHECK_EQ_STR(host_history(&h, "x"), "Started TimerCreated#1");
    host_pass(&h, 10);
    CHECK_EQ_STR(host_outcome(&h, "x"), "COMPLETED \"awake\"");
  }
}

static void test_an_instance_is_replaced(void) {
  host h;
  native n;
  IN_EACH_WAY(h, n) {
    start_with first = {.workflow = "nap", .id = "x"}, replace = {.workflow = "gate", .id = "x", .reuse = LNT_ID_REUSE_REPLACE};
    CHECK_STATUS(start(&h, &replace), LNT_OK); /* nobody to replace */
    CHECK_STATUS(start(&h, &first), LNT_EEXIST);
    host_settle(&h);
    CHECK_STATUS(lnt_terminate(h.rt, "x", NULL, NULL, NULL, NULL), LNT_OK);
    host_settle(&h);
    first.reuse = LNT_ID_REUSE_TERMINAL;
    CHECK_STATUS(start(&h, &first), LNT_OK);
    host_settle(&h);
    CHECK_STATUS(start(&h, &replace), LNT_OK);
    CHECK_STATUS(start(&h, &replace), LNT_OK); /* the one that is not durable yet */
    host_settle(&h);
    for (int i = 1; i <= 3; i++) host_raise(&h, "x", "go", "1");
    CHECK_STATUS(lnt_wait(h.rt, "x", 60 * HOST_SECOND_US, &h.error), LNT_OK);
    CHECK_EQ_STR(host_outcome(&h, "x"), "COMPLETED [1,1,1]");
    host_pass(&h, 3600); /* the timer of a run that is over */
    CHECK_EQ_STR(host_outcome(&h, "x"), "COMPLETED [1,1,1]");
    lnt_counts counts = {.size = sizeof counts};
    CHECK_STATUS(lnt_count(h.rt, NULL, &counts, &h.error), LNT_OK);
    CHECK_EQ_UINT(counts.by_status[LNT_RUN_TERMINATED], 3);
    CHECK_EQ_UINT(counts.by_status[LNT_RUN_COMPLETED], 1);
  }
}

static void test_bad_starts_are_refused(void) {
  host h = {0};
  native n = {0};
  host_open_as(&h, HOST_PLAIN, library, opened, &n);
  static const struct { const char *attributes; lnt_status status; const char *message; } cases[] = {
      {"[1]", LNT_EVALUE, "must be a map"},
      {"{\"a\":[1]}", LNT_EVALUE, "'a' must be text, a number or a boolean"},
      {"{\"a\":null}", LNT_EVALUE, "'a' must be text"},
      {"{\"\":1}", LNT_EVALUE, "attribute name"},
      {"{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\":1}", LNT_ELIMIT, "has 65 bytes"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    start_with with = {.workflow = "empty", .id = "e", .attributes = cases[i].attributes};
    CHECK_STATUS(start(&h, &with), cases[i].status);
    CHECK_HAS(h.error.message, cases[i].message);
  }
  char text[400];
  snprintf(text, sizeof text, "{\"a\":\"%0300d\"}", 0);
  start_with long_text = {.workflow = "empty", .id = "e", .attributes = text}, policy = {.workflow = "empty", .reuse = (lnt_id_reuse)4};
  CHECK_STATUS(start(&h, &long_text), LNT_ELIMIT);
  CHECK_HAS(h.error.message, "'a' has 300 bytes, more than 256");
  CHECK_STATUS(start(&h, &policy), LNT_EINVAL);
  CHECK_HAS(h.error.message, "id_reuse is 4");
  CHECK_EQ_STR(host_status(&h, "e"), "LNT_ENOTFOUND");
  host_close(&h);
}

CHECK_MAIN(test_suspended_events_wait_in_order, test_suspend_again_changes_nothing, test_suspended_before_its_first_turn,
           test_a_timer_due_while_suspended_fires_at_resume, test_activities_of_a_suspended_instance, test_no_retry_begins_while_suspended,
           test_suspended_before_its_activity_begins, test_a_suspended_instance_can_be_terminated, test_suspended_instances_are_evicted,
           test_bad_reasons_are_refused, test_a_start_in_the_future_waits_and_keeps_events, test_a_start_in_the_past_is_at_once,
           test_requests_about_what_has_not_started, test_an_id_taken_again, test_an_instance_is_replaced, test_bad_starts_are_refused);
