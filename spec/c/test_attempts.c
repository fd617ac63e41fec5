/* test_attempts.c - attempts of activities through lunation.h, with a clock that the test sets: when each begins, which fails of what, and
 * that none of it changes when the process ends and starts again in between. */
#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "include/lunation.h"
#include "scratch.h"

#define T0_US 1700000000000000
#define MS 1000
#define SECOND 1000000
#define TICKS_MAX 100000

/* ---- A host whose time passes only when nothing moves ---- */

enum { CALLS_MAX = 64 };

typedef struct call { int64_t at_us; lnt_token token; char key[64], details[200], id[LNT_ID_BYTES_MAX + 1]; } call;

typedef struct host {
  lnt_runtime *rt;
  char dir[SCRATCH_PATH_MAX];
  lnt_error error;
  int64_t now_us;
  call calls[CALLS_MAX]; /* attempts of `job`, in the order in which they began */
  int count;
  int fails;             /* attempts that fail before one succeeds */
  const char *type;      /* of the failures */
  bool silent;           /* attempts do not answer */
  lnt_activity_result answer; /* what a silent one returns; DONE: PENDING */
  const char *beat;      /* JSON that each attempt gives as details of a heartbeat */
  lnt_activity_options job; /* limits, the hook; fn and user are ours */
  int canceled;          /* calls of the hook */
  lnt_token canceled_token;
  lnt_cancel_reason why;
  uint64_t running_max;
} host;

static int64_t clock_of(void *user) { return ((host *)user)->now_us; }

/* 1: it is canceled. */
static int beat(host *h, lnt_token token, const char *json) {
  lnt_value details = LNT_VALUE_NIL;
  int canceled = -1;
  if (json) CHECK_STATUS(lnt_value_from_json(json, strlen(json), &details, NULL), LNT_OK);
  CHECK_STATUS(lnt_heartbeat(h->rt, token, details, &canceled, &h->error), LNT_OK);
  lnt_value_free(&details);
  return canceled;
}

static void on_cancel(void *user, lnt_runtime *rt, const char *name, lnt_token token, lnt_cancel_reason why) {
  host *h = user;
  CHECK_EQ_STR(name, "job");
  CHECK(rt == h->rt);
  h->canceled++;
  h->canceled_token = token;
  h->why = why;
}

/* Its result is the number of the attempt. */
static lnt_activity_result run_job(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  host *h = user;
  if (h->count == CALLS_MAX) return LNT_ACTIVITY_DONE;
  call *c = &h->calls[h->count++];
  *c = (call){.at_us = h->now_us - T0_US, .token = activity->token};
  snprintf(c->key, sizeof c->key, "%s", activity->idempotency_key);
  snprintf(c->id, sizeof c->id, "%s", activity->instance_id);
  char *details = NULL;
  CHECK_STATUS(lnt_value_to_json(activity->heartbeat_details, 0, &details, NULL, NULL), LNT_OK);
  snprintf(c->details, sizeof c->details, "%s", details);
  lnt_free(details);
  if (h->beat) beat(h, activity->token, h->beat);
  if (h->silent) return h->answer ? h->answer : LNT_ACTIVITY_PENDING;
  if (activity->token.attempt <= (uint32_t)h->fails) {
    lnt_failure failure = {.type = h->type ? h->type : "Flaky", .message = "not yet"};
    CHECK_STATUS(lnt_fail(rt, activity->token, &failure, NULL, NULL, NULL), LNT_OK);
    return LNT_ACTIVITY_DONE;
  }
  lnt_value result;
  char text[16];
  snprintf(text, sizeof text, "%u", activity->token.attempt);
  CHECK_STATUS(lnt_value_from_json(text, strlen(text), &result, NULL), LNT_OK);
  CHECK_STATUS(lnt_complete(rt, activity->token, result, NULL, NULL, NULL), LNT_OK);
  lnt_value_free(&result);
  return LNT_ACTIVITY_DONE;
}

/* `main` calls job with the options given and returns its result, or what was caught. */
static void load(host *h, const char *options) {
  char source[1000];
  snprintf(source, sizeof source,
           "workflow('main', function(ctx) local ok, e = pcall(ctx.call_activity, ctx, 'job', 1, %s)\n"
           "if ok or type(e) == 'string' then return e end\n"
           "return {type = e.type, retryable = e.retryable, details = e.details, message = e.message} end)",
           options);
  if (lnt_load_string(h->rt, "main.lua", source, strlen(source), &h->error)) CHECK_FAIL("load: %s", h->error.message);
}

static void host_open(host *h) {
  lnt_options options;
  lnt_options_init(&options);
  if (!h->dir[0]) scratch_make(h->dir);
  if (!h->now_us) h->now_us = T0_US;
  options.dir = h->dir;
  options.durability = LNT_DURABILITY_PROCESS;
  options.clock = clock_of;
  options.clock_user = h;
  options.seed = 7;
  options.limits.activities_running_max = h->running_max;
  if (lnt_open(&options, &h->rt, &h->error)) CHECK_FAIL("lnt_open: %s", h->error.message);
  if (!h->job.size) lnt_activity_options_init(&h->job);
  h->job.fn = run_job;
  h->job.user = h;
  CHECK_STATUS(lnt_register_activity_ex(h->rt, "job", &h->job, NULL), LNT_OK);
}

static void host_close(host *h) {
  CHECK_STATUS(lnt_close(h->rt), LNT_OK);
  scratch_remove(h->dir);
}

/* The process ends, some time passes, it starts again; attempts that ran are gone. */
static void restart(host *h, int64_t down_us) {
  CHECK_STATUS(lnt_close(h->rt), LNT_OK);
  h->now_us += down_us;
  host_open(h);
}

static void start(host *h, const char *id) {
  lnt_start_options options;
  lnt_start_options_init(&options);
  options.workflow = "main";
  options.id = id;
  CHECK_STATUS(lnt_start(h->rt, &options, NULL, &h->error), LNT_OK);
}

static bool is_finished(host *h, const char *id) {
  lnt_instance *instance;
  if (lnt_get(h->rt, id, &instance, NULL)) return false;
  bool finished = instance->closed_us != 0;
  lnt_free(instance);
  return finished;
}

/* Tick until nothing moves; the time of what comes next. */
static int64_t settle(host *h) {
  lnt_tick_result result;
  for (int i = 0, still = 0; i < TICKS_MAX && still < 3; i++) {
    if (!CHECK_STATUS(lnt_tick(h->rt, 0, &result, &h->error), LNT_OK)) return INT64_MAX;
    still = result.turns || result.commits || result.ready || result.in_commit ? 0 : still + 1;
  }
  return result.next_due_us;
}

/* Let time pass, from one thing that comes due to the next, until the instance is finished or `until_us` after the start of the test. */
static void play(host *h, const char *id, int64_t until_us) {
  for (int i = 0; i < 1000; i++) {
    int64_t due_us = settle(h);
    if (is_finished(h, id)) return;
    if (due_us > T0_US + until_us) break;
    h->now_us = due_us;
  }
  h->now_us = T0_US + until_us;
  settle(h);
}

static const char *outcome(host *h, const char *id) {
  static char text[2000];
  lnt_instance *instance;
  char *json = NULL;
  lnt_status status = lnt_get(h->rt, id, &instance, NULL);
  if (status) return lnt_status_name(status);
  lnt_value_to_json(instance->status == LNT_RUN_COMPLETED ? instance->output : instance->failure, 0, &json, NULL, NULL);
  snprintf(text, sizeof text, "%s %s", lnt_run_status_name(instance->status), json ? json : "?");
  lnt_free(json);
  lnt_free(instance);
  return text;
}

/* When the attempts began, in milliseconds: "0 100 300". */
static const char *begins(const host *h) {
  static char text[CALLS_MAX * 12];
  size_t at = 0;
  text[0] = 0;
  for (int i = 0; i < h->count; i++)
    at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld", i ? " " : "", (long long)(h->calls[i].at_us / MS));
  return text;
}

static host tale_host;

/* One instance with these options of its call, to its end. */
static host *tale(const char *options, int fails, bool silent) {
  host *h = &tale_host;
  *h = (host){.fails = fails, .silent = silent};
  host_open(h);
  load(h, options);
  start(h, "one");
  play(h, "one", 3600ll * SECOND);
  return h;
}

/* ---- Retries ---- */

static void check_tale(const char *options, int fails, const char *wanted_begins, const char *wanted) {
  host *h = tale(options, fails, false);
  CHECK_EQ_STR(begins(h), wanted_begins);
  CHECK_HAS(outcome(h, "one"), wanted);
  host_close(h);
}

static void test_delays_follow_the_formula(void) {
  check_tale("nil", 1, "0", "Flaky");
  check_tale("{retry = {}}", 9, "0 1000 3000", "Flaky"); /* the defaults: three attempts, 1 s, doubled */
  check_tale("{retry = {max_attempts = 5, first_interval = 0.1, backoff = 3}}", 4, "0 100 400 1300 4000", "COMPLETED 5");
  check_tale("{retry = {max_attempts = 6, first_interval = 0.1, backoff = 2, max_interval = 0.25}}", 5, "0 100 300 550 800 1050",
             "COMPLETED 6");
  check_tale("{retry = {max_attempts = 4, interval = 0, backoff = 1}}", 3, "0 0 0 0", "COMPLETED 4");
  check_tale("{retry = {max_attempts = 1}}", 1, "0", "Flaky");
}

/* The sum of the delays so far is what is held against it, so that a slow attempt changes nothing. */
static void test_a_retry_timeout_ends_the_attempts(void) {
  check_tale("{retry = {max_attempts = 99, first_interval = 1, backoff = 1, timeout = 3}}", 99, "0 1000 2000 3000", "Flaky");
  check_tale("{retry = {max_attempts = 99, first_interval = 1, backoff = 2, timeout = 6.5}}", 99, "0 1000 3000 7000", "Flaky");
  check_tale("{retry = {max_attempts = 2, first_interval = 1, timeout = '1h'}}", 99, "0 1000", "Flaky");
}

static void test_some_failures_are_final(void) {
  check_tale("{retry = {max_attempts = 3, non_retryable = {'Other', 'Flaky'}}}", 9, "0", "Flaky");
  check_tale("{retry = {max_attempts = 3, non_retryable = {'Other'}}}", 9, "0 1000 3000", "Flaky");
  host h = {.fails = 9, .type = "NonRetryableError"};
  host_open(&h);
  load(&h, "{retry = {max_attempts = 3}}");
  start(&h, "one");
  play(&h, "one", 10 * SECOND);
  CHECK_EQ_STR(begins(&h), "0");
  CHECK_HAS(outcome(&h, "one"), "NonRetryableError");
  host_close(&h);
}

/* The next attempt comes at the time that was journaled, also when the process was down meanwhile; the key is the same throughout. */
static void test_retries_go_on_after_a_restart(void) {
  static const char options[] = "{retry = {max_attempts = 4, first_interval = 10, backoff = 1}}";
  host h = {.fails = 3};
  host_open(&h);
  load(&h, options);
  start(&h, "one");
  settle(&h);
  restart(&h, 4 * SECOND);
  load(&h, options);
  play(&h, "one", 15 * SECOND);
  restart(&h, 60 * SECOND);
  load(&h, options);
  play(&h, "one", 200 * SECOND);
  CHECK_EQ_STR(begins(&h), "0 10000 75000 85000");
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED 4");
  for (int i = 1; i < h.count; i++) CHECK_EQ_STR(h.calls[i].key, h.calls[0].key);
  host_close(&h);
}

/* ---- Timeouts ---- */

static void check_silent(const char *options, const char *wanted_begins, const char *wanted) {
  host *h = tale(options, 0, true);
  CHECK_EQ_STR(begins(h), wanted_begins);
  CHECK_HAS(outcome(h, "one"), wanted);
  host_close(h);
}

static void test_each_timeout_says_which_it_was(void) {
  check_silent("{timeout = 5}", "0", "\"type\":\"Timeout\",\"details\":{\"timeout\":\"start_to_close\"},");
  check_silent("{timeout = 5}", "0", "\"retryable\":true");
  check_silent("{start_to_close = 5, retry = {max_attempts = 2}}", "0 6000", "activity 'job' did not answer within its timeout of 5 s");
  check_silent("{heartbeat = 5, retry = {max_attempts = 2}}", "0 6000", "\"details\":{\"timeout\":\"heartbeat\"}");
  check_silent("{schedule_to_close = 5, retry = {max_attempts = 2}}", "0", "\"details\":{\"timeout\":\"schedule_to_close\"}");
  check_silent("{schedule_to_close = 5}", "0", "\"retryable\":false");
  check_silent("{schedule_to_close = 4, timeout = 2, retry = {max_attempts = 9, first_interval = 1, backoff = 1}}", "0 3000",
               "\"timeout\":\"schedule_to_close\"");
  check_silent("{retry = {max_attempts = 9, non_retryable = {'Timeout'}}, heartbeat = 5}", "0", "\"timeout\":\"heartbeat\"");
}

/* No attempt is made that schedule_to_close would not let begin; the failure is the one that happened. */
static void test_no_retry_beyond_schedule_to_close(void) {
  check_tale("{schedule_to_close = 5, retry = {max_attempts = 9, first_interval = 2, backoff = 2}}", 99, "0 2000", "Flaky");
}

/* It counts from the call, whatever the process does meanwhile. */
static void test_schedule_to_close_survives_restarts(void) {
  static const char options[] = "{schedule_to_close = 10, retry = {max_attempts = 99, first_interval = 1, backoff = 1}}";
  host h = {.silent = true};
  host_open(&h);
  load(&h, options);
  start(&h, "one");
  settle(&h);
  for (int i = 0; i < 3; i++) {
    restart(&h, 3 * SECOND);
    load(&h, options);
    settle(&h);
    CHECK(!is_finished(&h, "one"));
  }
  CHECK_EQ_STR(begins(&h), "0 3000 6000 9000");
  play(&h, "one", 60 * SECOND);
  CHECK_EQ_INT(h.now_us - T0_US, 10 * SECOND);
  CHECK_HAS(outcome(&h, "one"), "schedule_to_close");
  for (int i = 1; i < h.count; i++) {
    CHECK_EQ_STR(h.calls[i].key, h.calls[0].key);
    CHECK_EQ_UINT(h.calls[i].token.attempt, 1); /* the same attempt again: it had no answer */
  }
  host_close(&h);
}

/* With room for one attempt at a time, the second waits. A restart is no fault of its own: it may wait as long again. */
static void test_schedule_to_start_is_final(void) {
  static const char options[] = "{schedule_to_start = 10, retry = {max_attempts = 5}}";
  host h = {.silent = true, .running_max = 1};
  host_open(&h);
  load(&h, options);
  start(&h, "one");
  start(&h, "two");
  play(&h, "two", 8 * SECOND);
  restart(&h, 60 * SECOND);
  load(&h, options);
  play(&h, "two", 77 * SECOND);
  CHECK(!is_finished(&h, "two"));
  play(&h, "two", 80 * SECOND);
  CHECK_EQ_INT(h.now_us - T0_US, 78 * SECOND);
  CHECK_EQ_STR(begins(&h), "0 68000");
  CHECK_HAS(outcome(&h, "two"), "\"details\":{\"timeout\":\"schedule_to_start\"}");
  CHECK_HAS(outcome(&h, "two"), "\"retryable\":false");
  CHECK(!is_finished(&h, "one"));
  host_close(&h);
}

/* While an instance is suspended nothing may begin, so nothing can be late. */
static void test_schedule_to_start_does_not_count_a_suspension(void) {
  host h = {.silent = true, .running_max = 1};
  host_open(&h);
  load(&h, "{schedule_to_start = 10}");
  start(&h, "one");
  start(&h, "two");
  play(&h, "two", 5 * SECOND);
  CHECK_STATUS(lnt_suspend(h.rt, "two", NULL, NULL, NULL, NULL), LNT_OK);
  play(&h, "two", 60 * SECOND);
  CHECK(!is_finished(&h, "two"));
  CHECK_STATUS(lnt_resume(h.rt, "two", NULL, NULL, NULL, NULL), LNT_OK);
  play(&h, "two", 69 * SECOND);
  CHECK(!is_finished(&h, "two"));
  play(&h, "two", 71 * SECOND);
  CHECK_HAS(outcome(&h, "two"), "\"timeout\":\"schedule_to_start\"");
  host_close(&h);
}

/* An answer that comes too late is not taken for the next attempt's. */
static void test_a_late_answer_is_ignored(void) {
  host h = {.silent = true};
  host_open(&h);
  load(&h, "{timeout = 1, retry = {max_attempts = 2, first_interval = 1}}");
  start(&h, "one");
  play(&h, "one", 2500 * MS);
  REQUIRE(h.count == 2);
  lnt_complete(h.rt, h.calls[0].token, LNT_VALUE_NIL, NULL, NULL, NULL);
  settle(&h);
  CHECK(!is_finished(&h, "one"));
  CHECK_STATUS(lnt_complete(h.rt, h.calls[1].token, LNT_VALUE_NIL, NULL, NULL, NULL), LNT_OK);
  settle(&h);
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED null");
  host_close(&h);
}

/* ---- Signs of life ---- */

static void test_heartbeats_keep_an_attempt_alive(void) {
  host h = {.silent = true};
  host_open(&h);
  load(&h, "{heartbeat = 10}");
  start(&h, "one");
  settle(&h);
  for (int i = 1; i <= 5; i++) {
    play(&h, "one", i * 8 * SECOND);
    CHECK(!is_finished(&h, "one"));
    CHECK_EQ_INT(beat(&h, h.calls[0].token, NULL), 0);
  }
  play(&h, "one", 49 * SECOND);
  CHECK(!is_finished(&h, "one"));
  play(&h, "one", 60 * SECOND);
  CHECK_EQ_INT(h.now_us - T0_US, 50 * SECOND);
  CHECK_HAS(outcome(&h, "one"), "gave no sign of life for 10 s");
  CHECK_EQ_INT(beat(&h, h.calls[0].token, NULL), 1);
  CHECK_EQ_INT(lnt_activity_canceled(h.rt, h.calls[0].token), 1);
  host_close(&h);
}

/* After a failure, after a timeout; details that were not renewed are handed on. */
static void test_the_next_attempt_is_given_the_last_details(void) {
  static const char options[] = "{timeout = 5, retry = {max_attempts = 4, first_interval = 1, backoff = 1}}";
  host h = {.fails = 1, .beat = "{\"page\":7}"};
  host_open(&h);
  load(&h, options);
  start(&h, "one");
  settle(&h);
  h.beat = NULL;
  h.silent = true;
  play(&h, "one", 2 * SECOND);
  REQUIRE(h.count == 2);
  CHECK_EQ_STR(h.calls[0].details, "null");
  CHECK_EQ_STR(h.calls[1].details, "{\"page\":7}");
  CHECK_EQ_INT(beat(&h, h.calls[1].token, NULL), 0); /* nothing new to say */
  play(&h, "one", 8 * SECOND);
  REQUIRE(h.count == 3);
  CHECK_EQ_STR(h.calls[2].details, "{\"page\":7}");
  CHECK_EQ_INT(beat(&h, h.calls[2].token, "8"), 0);
  CHECK_EQ_INT(beat(&h, h.calls[2].token, "9"), 0);
  h.silent = false;
  play(&h, "one", 20 * SECOND);
  CHECK_EQ_STR(begins(&h), "0 1000 7000 13000");
  CHECK_EQ_STR(h.calls[3].details, "9");
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED 4");
  host_close(&h);
}

/* What was told before the process ended, and the newest of it. */
static void test_details_survive_a_restart(void) {
  static const char options[] = "{heartbeat = 10, retry = {first_interval = 1}}";
  host h = {.silent = true, .beat = "1"};
  host_open(&h);
  load(&h, options);
  start(&h, "one");
  settle(&h);
  for (int i = 0; i < 100; i++) beat(&h, h.calls[0].token, "[2]");
  beat(&h, h.calls[0].token, "[3]");
  lnt_stats before = {.size = sizeof before}, after = before;
  lnt_get_stats(h.rt, &before);
  settle(&h);
  lnt_get_stats(h.rt, &after);
  CHECK_EQ_UINT(after.commits - before.commits, 1);
  CHECK_EQ_UINT(after.commit_records - before.commit_records, 1); /* all of them make one row */
  h.beat = NULL;
  restart(&h, SECOND);
  load(&h, options);
  play(&h, "one", 12 * SECOND); /* the clock of heartbeats began anew: the second attempt comes at 12 s */
  restart(&h, SECOND);
  load(&h, options);
  settle(&h);
  CHECK_EQ_STR(begins(&h), "0 1000 12000 13000");
  for (int i = 1; i < h.count; i++) CHECK_EQ_STR(h.calls[i].details, "[3]");
  CHECK_EQ_UINT(h.calls[1].token.attempt, 1);
  CHECK_EQ_UINT(h.calls[3].token.attempt, 2);
  CHECK_STATUS(lnt_complete(h.rt, h.calls[3].token, LNT_VALUE_NIL, NULL, NULL, NULL), LNT_OK);
  settle(&h);
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED null");
  host_close(&h);
}

static void test_bad_heartbeats(void) {
  host h = {.silent = true};
  int canceled = 0;
  host_open(&h);
  load(&h, "nil");
  start(&h, "one");
  settle(&h);
  CHECK_STATUS(lnt_heartbeat(h.rt, h.calls[0].token, (lnt_value){"\xff", 1}, NULL, &h.error), LNT_EVALUE);
  CHECK_STATUS(lnt_heartbeat(h.rt, (lnt_token){0, 0, 0}, LNT_VALUE_NIL, NULL, &h.error), LNT_EINVAL);
  CHECK_STATUS(lnt_heartbeat(h.rt, (lnt_token){99, 1, 1}, LNT_VALUE_NIL, &canceled, &h.error), LNT_OK);
  CHECK_EQ_INT(canceled, 1); /* nobody would take its answer */
  CHECK_EQ_INT(beat(&h, h.calls[0].token, NULL), 0);
  host_close(&h);
}

typedef struct beater { lnt_runtime *rt; lnt_token token; int canceled; } beater;

/* Heartbeats until it learns that it is canceled. */
static void *beat_elsewhere(void *user) {
  beater *b = user;
  lnt_value details;
  CHECK_STATUS(lnt_value_from_json("\"far\"", 5, &details, NULL), LNT_OK);
  while (!b->canceled) CHECK_STATUS(lnt_heartbeat(b->rt, b->token, details, &b->canceled, NULL), LNT_OK);
  CHECK_EQ_INT(lnt_activity_canceled(b->rt, b->token), 1);
  lnt_value_free(&details);
  return NULL;
}

static void test_another_thread_learns_that_it_is_canceled(void) {
  host h = {.silent = true};
  pthread_t thread;
  host_open(&h);
  load(&h, "{timeout = 5, heartbeat = 3, retry = {max_attempts = 2}}");
  start(&h, "one");
  settle(&h);
  beater b = {h.rt, h.calls[0].token, 0};
  REQUIRE(pthread_create(&thread, NULL, beat_elsewhere, &b) == 0);
  for (int i = 0; i < 4; i++) { /* it is seen alive in each of these seconds */
    lnt_tick_result result;
    do lnt_tick(h.rt, 0, &result, NULL);
    while (!result.commits);
    h.now_us += SECOND;
  }
  CHECK_EQ_INT(h.count, 1);
  h.now_us += 2 * SECOND; /* its timeout */
  settle(&h);
  CHECK_STATUS(lnt_terminate(h.rt, "one", NULL, NULL, NULL, NULL), LNT_OK);
  settle(&h);
  pthread_join(thread, NULL);
  CHECK_EQ_INT(b.canceled, 1);
  host_close(&h);
}

/* ---- Canceled ---- */

static void test_the_hook_says_why(void) {
  static const struct { const char *options; lnt_cancel_reason why; lnt_activity_result answer; } cases[] = {
      {"{timeout = 5}", LNT_CANCEL_TIMEOUT, LNT_ACTIVITY_PENDING},
      {"{timeout = 5}", LNT_CANCEL_TIMEOUT, LNT_ACTIVITY_DEFERRED},
      {"nil", LNT_CANCEL_CLOSED, LNT_ACTIVITY_PENDING},
      {"nil", LNT_CANCEL_CLOSED, LNT_ACTIVITY_DEFERRED},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    host h = {.silent = true, .answer = cases[i].answer};
    lnt_activity_options_init(&h.job);
    h.job.cancel = on_cancel;
    host_open(&h);
    load(&h, cases[i].options);
    start(&h, "one");
    settle(&h);
    CHECK_EQ_INT(lnt_activity_canceled(h.rt, h.calls[0].token), 0);
    if (cases[i].why == LNT_CANCEL_CLOSED) CHECK_STATUS(lnt_terminate(h.rt, "one", NULL, NULL, NULL, NULL), LNT_OK);
    play(&h, "one", 10 * SECOND);
    CHECK_EQ_INT(h.canceled, 1);
    CHECK_EQ_INT(h.why, cases[i].why);
    CHECK_EQ_UINT(h.canceled_token.run, h.calls[0].token.run);
    CHECK_EQ_INT(lnt_activity_canceled(h.rt, h.calls[0].token), 1);
    host_close(&h);
  }
}

static void test_a_workflow_that_gives_up_cancels_its_activity(void) {
  static const char source[] =
      "workflow('main', function(ctx) local t = ctx.async:call_activity('job', 1) ctx:sleep(1) t:cancel() ctx:sleep(5) end)";
  host h = {.silent = true};
  lnt_activity_options_init(&h.job);
  h.job.cancel = on_cancel;
  host_open(&h);
  CHECK_STATUS(lnt_load_string(h.rt, "main.lua", source, sizeof source - 1, &h.error), LNT_OK);
  start(&h, "one");
  play(&h, "one", 2 * SECOND);
  CHECK_EQ_INT(h.canceled, 1);
  CHECK_EQ_INT(h.why, LNT_CANCEL_REQUESTED);
  CHECK(!is_finished(&h, "one"));
  host_close(&h);
}

/* ---- Answered from outside ---- */

static void complete_text(host *h, const char *text, const char *json) {
  lnt_token token;
  lnt_value value;
  CHECK_STATUS(lnt_token_parse(text, &token, &h->error), LNT_OK);
  CHECK_STATUS(lnt_value_from_json(json, strlen(json), &value, NULL), LNT_OK);
  if (lnt_complete(h->rt, token, value, NULL, NULL, &h->error)) CHECK_FAIL("lnt_complete: %s", h->error.message);
  lnt_value_free(&value);
}

static uint64_t loaded(host *h) {
  lnt_stats stats = {.size = sizeof stats};
  CHECK_STATUS(lnt_get_stats(h->rt, &stats), LNT_OK);
  return stats.loaded;
}

/* It does not run again, its instance need not be in memory, and its token is text that somebody kept. */
static void test_a_deferred_attempt_is_answered_by_a_later_process(void) {
  char token[LNT_TOKEN_TEXT_BYTES];
  host h = {.silent = true, .answer = LNT_ACTIVITY_DEFERRED};
  host_open(&h);
  load(&h, "nil");
  start(&h, "one");
  settle(&h);
  CHECK_EQ_INT(h.count, 1);
  CHECK_STATUS(lnt_drain(h.rt, 0, &h.error), LNT_OK); /* nothing runs here */
  CHECK_STATUS(lnt_evict_all(h.rt), LNT_OK);
  CHECK_EQ_UINT(loaded(&h), 0);
  lnt_token_text(h.calls[0].token, token);
  restart(&h, 3600ll * SECOND);
  load(&h, "nil");
  settle(&h);
  CHECK_EQ_UINT(loaded(&h), 0);
  CHECK_EQ_INT(h.count, 1);
  complete_text(&h, token, "\"at last\"");
  settle(&h);
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED \"at last\"");
  CHECK_STATUS(lnt_complete(h.rt, h.calls[0].token, LNT_VALUE_NIL, NULL, NULL, NULL), LNT_EOVER);
  CHECK_EQ_INT(h.count, 1);
  host_close(&h);
}

/* ---- What becomes of an answer ---- */

typedef struct told { int count; lnt_status last; } told;

static void on_told(void *user, lnt_status status) {
  told *t = user;
  t->count++;
  t->last = status;
}

static lnt_status answer(host *h, lnt_token token, told *t) {
  return lnt_complete(h->rt, token, LNT_VALUE_NIL, on_told, t, &h->error);
}

static void test_an_answer_is_acknowledged_when_it_is_durable(void) {
  host h = {.silent = true, .answer = LNT_ACTIVITY_DEFERRED};
  told first = {0}, second = {0}, third = {0};
  host_open(&h);
  load(&h, "nil");
  start(&h, "one");
  settle(&h);
  CHECK_STATUS(answer(&h, h.calls[0].token, &first), LNT_OK);
  CHECK_STATUS(answer(&h, h.calls[0].token, &second), LNT_OK); /* nobody knows better before the tick */
  CHECK_EQ_INT(first.count + second.count, 0);
  CHECK_STATUS(lnt_flush(h.rt, &h.error), LNT_OK);
  CHECK_EQ_INT(first.count, 1);
  CHECK_STATUS(first.last, LNT_OK);
  CHECK_EQ_INT(second.count, 1);
  CHECK_STATUS(second.last, LNT_EOVER);
  CHECK_STATUS(answer(&h, h.calls[0].token, &third), LNT_EOVER);
  settle(&h);
  CHECK_STATUS(answer(&h, h.calls[0].token, &third), LNT_EOVER);
  CHECK_HAS(h.error.message, "(activity 'job' of instance 'one') is over: it was answered");
  CHECK_EQ_INT(third.count, 0);
  CHECK_EQ_INT(first.count + second.count, 2);
  host_close(&h);
}

static void test_answers_that_do_not_count_say_why(void) {
  static const char options[] = "{timeout = 10, retry = {max_attempts = 2, first_interval = 5}}";
  host h = {.silent = true, .answer = LNT_ACTIVITY_DEFERRED};
  told t = {0};
  host_open(&h);
  load(&h, options);
  start(&h, "one");
  settle(&h);
  lnt_token token = h.calls[0].token;
  CHECK_STATUS(answer(&h, (lnt_token){token.run + 7, 1, 1}, &t), LNT_ENOTFOUND);
  CHECK_HAS(h.error.message, "purged, or is in another data directory");
  CHECK_STATUS(answer(&h, (lnt_token){token.run, 99, 1}, &t), LNT_ENOTFOUND);
  CHECK_STATUS(answer(&h, (lnt_token){token.run, token.seq, 2}, &t), LNT_ENOTFOUND);
  CHECK_HAS(h.error.message, "instance 'one'");
  play(&h, "one", 12 * SECOND); /* the first timed out, the second has not begun */
  CHECK_STATUS(answer(&h, token, &t), LNT_EOVER);
  CHECK_STATUS(answer(&h, (lnt_token){token.run, token.seq, 2}, &t), LNT_EAGAIN);
  CHECK_HAS(h.error.message, "has not begun");
  restart(&h, 13 * SECOND);
  load(&h, options);
  CHECK_STATUS(answer(&h, token, &t), LNT_EOVER);
  CHECK_HAS(h.error.message, "is over: it failed (Timeout)");
  play(&h, "one", 40 * SECOND);
  CHECK_EQ_INT(h.count, 2);
  CHECK_STATUS(answer(&h, h.calls[1].token, &t), LNT_EOVER);
  CHECK_EQ_INT(t.count, 0);
  host_close(&h);
}

typedef struct outsider { host *h; lnt_token token; told *t; lnt_status status; } outsider;

static void *answer_outside(void *user) {
  outsider *o = user;
  o->status = lnt_complete(o->h->rt, o->token, LNT_VALUE_NIL, on_told, o->t, NULL);
  return NULL;
}

/* Another thread cannot know: `done` is told, on the owner thread. */
static void test_another_thread_is_told_why_its_answer_does_not_count(void) {
  host h = {.silent = true, .answer = LNT_ACTIVITY_DEFERRED};
  told t = {0}, late = {0};
  pthread_t thread;
  host_open(&h);
  load(&h, "nil");
  start(&h, "one");
  settle(&h);
  outsider outsiders[] = {{&h, h.calls[0].token, &t, LNT_OK}, {&h, h.calls[0].token, &late, LNT_OK}};
  for (int i = 0; i < 2; i++) {
    REQUIRE(pthread_create(&thread, NULL, answer_outside, &outsiders[i]) == 0);
    pthread_join(thread, NULL);
    CHECK_STATUS(outsiders[i].status, LNT_OK);
  }
  CHECK_EQ_INT(t.count + late.count, 0);
  settle(&h);
  CHECK_STATUS(t.last, LNT_OK);
  CHECK_STATUS(late.last, LNT_EOVER);
  CHECK_EQ_INT(t.count + late.count, 2);
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED null");
  host_close(&h);
}

/* Evicted, restarted, or simply waiting: the timeout strikes when it should, and what follows it runs. */
static void test_timeouts_of_deferred_attempts_go_on(void) {
  static const char options[] = "{timeout = 100, retry = {max_attempts = 2, first_interval = 1}}";
  for (int how = 0; how < 3; how++) {
    host h = {.silent = true, .answer = LNT_ACTIVITY_DEFERRED};
    host_open(&h);
    load(&h, options);
    start(&h, "one");
    settle(&h);
    if (how == 1) CHECK_STATUS(lnt_evict_all(h.rt), LNT_OK);
    if (how == 2) {
      restart(&h, 30 * SECOND);
      load(&h, options);
      settle(&h);
    }
    if (how) CHECK_EQ_UINT(loaded(&h), 0);
    play(&h, "one", 99 * SECOND);
    CHECK_EQ_INT(h.count, 1);
    play(&h, "one", 150 * SECOND);
    CHECK_EQ_STR(begins(&h), "0 101000");
    CHECK_STATUS(lnt_complete(h.rt, h.calls[0].token, LNT_VALUE_NIL, NULL, NULL, NULL), LNT_EOVER);
    CHECK_STATUS(lnt_complete(h.rt, h.calls[1].token, LNT_VALUE_NIL, NULL, NULL, NULL), LNT_OK);
    play(&h, "one", 300 * SECOND);
    CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED null");
    host_close(&h);
  }
}

static void test_a_deferred_attempt_may_have_to_give_signs_of_life(void) {
  static const char options[] = "{heartbeat = 10, retry = {max_attempts = 2, first_interval = 1}}";
  host h = {.silent = true, .answer = LNT_ACTIVITY_DEFERRED};
  host_open(&h);
  load(&h, options);
  start(&h, "one");
  play(&h, "one", 8 * SECOND);
  CHECK_EQ_INT(beat(&h, h.calls[0].token, "\"half\""), 0);
  play(&h, "one", 15 * SECOND);
  CHECK_EQ_INT(h.count, 1);
  restart(&h, 60 * SECOND); /* nobody could give any meanwhile */
  load(&h, options);
  play(&h, "one", 84 * SECOND);
  CHECK_EQ_INT(h.count, 1);
  play(&h, "one", 87 * SECOND);
  CHECK_EQ_STR(begins(&h), "0 86000");
  CHECK_EQ_STR(h.calls[1].details, "\"half\"");
  host_close(&h);
}

/* Details of a deferred attempt whose instance is not in memory are kept for the next one. */
static void test_heartbeats_find_an_instance_that_is_not_in_memory(void) {
  static const char options[] = "{timeout = 10, retry = {max_attempts = 2, first_interval = 1}}";
  host h = {.silent = true, .answer = LNT_ACTIVITY_DEFERRED};
  host_open(&h);
  load(&h, options);
  start(&h, "one");
  settle(&h);
  CHECK_STATUS(lnt_evict_all(h.rt), LNT_OK);
  CHECK_EQ_INT(beat(&h, h.calls[0].token, "5"), 0);
  settle(&h);
  CHECK_EQ_UINT(loaded(&h), 0);
  play(&h, "one", 12 * SECOND);
  REQUIRE(h.count == 2);
  CHECK_EQ_STR(h.calls[1].details, "5");
  host_close(&h);
}

static void test_tokens_are_text(void) {
  static const char *const bad[] = {"", "1", "1:2", "1:2:", "0:1:1", "1:0:1", "01:1:1", "1:2:3 ", " 1:2:3", "-1:2:3", "1:2:3:4", "1:2:x",
                                    "99999999999999999999:1:1", "1:4294967296:1", "1:1:99999999999"};
  lnt_token token = {18446744073709551615u, 4294967295u, 1}, back;
  lnt_error err;
  char text[LNT_TOKEN_TEXT_BYTES];
  lnt_token_text(token, text);
  CHECK_EQ_STR(text, "18446744073709551615:4294967295:1");
  CHECK_STATUS(lnt_token_parse(text, &back, &err), LNT_OK);
  CHECK(back.run == token.run && back.seq == token.seq && back.attempt == token.attempt);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    if (lnt_token_parse(bad[i], &back, &err) != LNT_EINVAL) CHECK_FAIL("'%s' is taken for a token", bad[i]);
    CHECK_HAS(err.message, "is not a token");
  }
  CHECK_STATUS(lnt_token_parse(NULL, &back, &err), LNT_EINVAL);
}

/* ---- Limits ---- */

static void start_many(host *h, int count) {
  for (int i = 0; i < count; i++) {
    char id[16];
    snprintf(id, sizeof id, "i%02d", i);
    start(h, id);
  }
  settle(h);
}

/* Never more at once, in the order in which they came, and each gets its turn. */
static void test_concurrency_is_bounded(void) {
  host h = {.silent = true};
  lnt_tick_result result;
  lnt_activity_options_init(&h.job);
  h.job.concurrency = 3;
  host_open(&h);
  load(&h, "nil");
  start_many(&h, 10);
  for (int done = 0; done < 10; done++) {
    CHECK_EQ_INT(h.count, done + 3 < 10 ? done + 3 : 10);
    CHECK_STATUS(lnt_tick(h.rt, 0, &result, NULL), LNT_OK);
    CHECK_EQ_UINT(result.running, 10 - done);
    CHECK_STATUS(lnt_complete(h.rt, h.calls[done].token, LNT_VALUE_NIL, NULL, NULL, NULL), LNT_OK);
    settle(&h);
  }
  for (int i = 1; i < h.count; i++) CHECK(strcmp(h.calls[i - 1].id, h.calls[i].id) < 0);
  CHECK(is_finished(&h, "i09"));
  host_close(&h);
}

/* A place is free again when an attempt times out, is terminated, or is deferred. */
static void test_places_are_given_back(void) {
  host h = {.silent = true};
  lnt_activity_options_init(&h.job);
  h.job.concurrency = 1;
  host_open(&h);
  load(&h, "{timeout = 10}");
  start_many(&h, 4);
  CHECK_EQ_INT(h.count, 1);
  h.now_us += 10 * SECOND;
  settle(&h);
  CHECK_EQ_INT(h.count, 2);
  CHECK_STATUS(lnt_terminate(h.rt, "i02", NULL, NULL, NULL, NULL), LNT_OK); /* it waits in the queue */
  h.answer = LNT_ACTIVITY_DEFERRED;
  CHECK_STATUS(lnt_terminate(h.rt, h.calls[1].id, NULL, NULL, NULL, NULL), LNT_OK);
  settle(&h);
  CHECK_EQ_INT(h.count, 3);
  CHECK_EQ_STR(h.calls[2].id, "i03");
  start(&h, "next");
  settle(&h);
  CHECK_EQ_INT(h.count, 4);
  host_close(&h);
}

static void test_starts_are_bounded_in_time(void) {
  host h = {0};
  lnt_activity_options_init(&h.job);
  h.job.rate_count = 3;
  h.job.rate_per_us = 10 * SECOND;
  host_open(&h);
  load(&h, "nil");
  start_many(&h, 2);
  CHECK_EQ_STR(begins(&h), "0 0");
  h.now_us += 4 * SECOND;
  for (int i = 10; i < 17; i++) {
    char id[16];
    snprintf(id, sizeof id, "i%02d", i);
    start(&h, id);
  }
  CHECK_EQ_INT(settle(&h) - T0_US, 10 * SECOND);
  CHECK_STATUS(lnt_drain(h.rt, 0, &h.error), LNT_OK); /* only time can move it */
  play(&h, "i16", 60 * SECOND);
  CHECK_EQ_STR(begins(&h), "0 0 4000 10000 10000 14000 20000 20000 24000");
  CHECK(is_finished(&h, "i16"));
  host_close(&h);
}

static void test_bad_limits(void) {
  host h = {0};
  lnt_activity_options options;
  host_open(&h);
  lnt_activity_options_init(&options);
  CHECK_STATUS(lnt_register_activity_ex(h.rt, "x", &options, &h.error), LNT_EINVAL);
  CHECK_HAS(h.error.message, "options.fn is NULL");
  CHECK_STATUS(lnt_register_activity_ex(h.rt, "x", NULL, &h.error), LNT_EINVAL);
  options.fn = run_job;
  options.rate_count = LNT_RATE_COUNT_MAX + 1;
  CHECK_STATUS(lnt_register_activity_ex(h.rt, "x", &options, &h.error), LNT_EINVAL);
  options.rate_count = 0;
  options.rate_per_us = SECOND;
  CHECK_STATUS(lnt_register_activity_ex(h.rt, "x", &options, &h.error), LNT_EINVAL);
  options.size = 0;
  CHECK_STATUS(lnt_register_activity_ex(h.rt, "x", &options, &h.error), LNT_EINVAL);
  CHECK_HAS(h.error.message, "lnt_activity_options_init");
  host_close(&h);
}

/* ---- Pure ---- */

static uint64_t commits(host *h) {
  lnt_stats stats = {.size = sizeof stats};
  CHECK_STATUS(lnt_get_stats(h->rt, &stats), LNT_OK);
  return stats.commits;
}

static const char chain_source[] =
    "activity('twice', {pure = true}, function(n) return n * 2 end)\n"
    "activity('later', {pure = true}, function(n, act) act:complete_later() end)\n"
    "workflow('main', function(ctx) local s = 0 for i = 1, 50 do s = s + ctx:call_activity('job', i) + ctx:call_activity('twice', i) end\n"
    "  return s end)\n"
    "workflow('deferring', function(ctx, name) return ctx:call_activity(name) end)";

static void chain_host(host *h, int pure) {
  lnt_activity_options_init(&h->job);
  h->job.pure = pure;
  host_open(h);
  CHECK_STATUS(lnt_load_string(h->rt, "main.lua", chain_source, sizeof chain_source - 1, &h->error), LNT_OK);
  CHECK_STATUS(lnt_flush(h->rt, NULL), LNT_OK);
}

/* The start, a hundred steps in C and in Lua, and the end land together. */
static void test_pure_steps_share_one_commit(void) {
  host h = {0};
  chain_host(&h, 1);
  uint64_t before = commits(&h);
  start(&h, "one");
  CHECK_STATUS(lnt_tick(h.rt, 0, NULL, NULL), LNT_OK);
  CHECK_EQ_UINT(commits(&h) - before, 1);
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED 2600");
  host_close(&h);
}

/* Steps that are not pure wait for the commit of their scheduling; pure ones after them go along. */
static void test_pure_steps_do_not_carry_others_along(void) {
  host h = {0};
  chain_host(&h, 0);
  uint64_t before = commits(&h);
  start(&h, "one");
  settle(&h);
  CHECK_EQ_UINT(commits(&h) - before, 51);
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED 2600");
  host_close(&h);
}

/* What a tick's budget cuts off goes on in the next. */
static void test_the_budget_bounds_a_chain_of_pure_steps(void) {
  host h = {0};
  chain_host(&h, 1);
  start(&h, "one");
  lnt_tick_result result;
  int ticks = 0;
  for (; ticks < 1000 && !is_finished(&h, "one"); ticks++) CHECK_STATUS(lnt_tick(h.rt, 1, &result, NULL), LNT_OK);
  CHECK(ticks > 20);
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED 2600");
  host_close(&h);
}

/* A failed pure attempt is tried again at once, or when it is due. */
static void test_pure_attempts_are_tried_again(void) {
  host h = {.fails = 2};
  lnt_activity_options_init(&h.job);
  h.job.pure = 1;
  host_open(&h);
  load(&h, "{retry = {interval = 0}}");
  CHECK_STATUS(lnt_flush(h.rt, NULL), LNT_OK);
  uint64_t before = commits(&h);
  start(&h, "one");
  settle(&h);
  CHECK(commits(&h) - before <= 2);
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED 3");
  load(&h, "{retry = {interval = 5, backoff = 1}}");
  h.count = 0;
  start(&h, "two");
  play(&h, "two", 60 * SECOND);
  CHECK_EQ_STR(begins(&h), "0 5000 10000");
  CHECK_EQ_STR(outcome(&h, "two"), "COMPLETED 3");
  host_close(&h);
}

static void test_a_pure_activity_cannot_be_deferred(void) {
  host h = {.silent = true, .answer = LNT_ACTIVITY_DEFERRED};
  lnt_start_options options;
  lnt_value input;
  chain_host(&h, 1);
  lnt_start_options_init(&options);
  options.workflow = "deferring";
  for (int i = 0; i < 2; i++) {
    CHECK_STATUS(lnt_value_from_json(i ? "\"later\"" : "\"job\"", i ? 7 : 5, &input, NULL), LNT_OK);
    options.input = input;
    options.id = i ? "in Lua" : "in C";
    CHECK_STATUS(lnt_start(h.rt, &options, NULL, NULL), LNT_OK);
    lnt_value_free(&input);
  }
  settle(&h);
  CHECK_HAS(outcome(&h, "in C"), "declared pure cannot be completed later");
  CHECK_HAS(outcome(&h, "in Lua"), "the activity is declared pure");
  host_close(&h);
}

/* ---- Options that cannot be meant ---- */

static void test_contradictions_are_refused_at_the_authors_line(void) {
  static const struct { const char *options, *part; } cases[] = {
      {"{retry = {max_interval = '500ms'}}", "retry.max_interval is shorter than retry.first_interval (1s unless you set it)"},
      {"{retry = {max_interval = 1, first_interval = 2}}", "retry.max_interval is shorter than retry.first_interval; make"},
      {"{retry = {timeout = 0}}", "retry.timeout of 0 would allow no retry"},
      {"{retry = {max_interval = 0}}", "retry.max_interval of 0"},
      {"{retry = {max_attempts = 2.5}}", "retry.max_attempts must be a whole number"},
      {"{retry = {max_attempts = 0}}", "retry.max_attempts cannot be 0"},
      {"{retry = {backoff = 0.5}}", "retry.backoff cannot be 0.5"},
      {"{retry = {first_interval = -1}}", "retry.first_interval: -1 is not a duration"},
      {"{retry = {timeout = 'soon'}}", "retry.timeout: \\\"soon\\\" is not a duration"},
      {"{retry = {non_retryable = 'Boom'}}", "retry.non_retryable must be a list"},
      {"{retry = {tries = 3}}", "unknown option 'retry.tries'"},
      {"{retry = 3}", "retry must be a table"},
      {"{timeout = 0}", "timeout of 0 would never let the activity run"},
      {"{schedule_to_close = 0}", "schedule_to_close of 0"},
      {"{schedule_to_start = 0}", "schedule_to_start of 0"},
      {"{heartbeat = 0}", "heartbeat of 0"},
      {"{timeout = 1, start_to_close = 1}", "timeout and start_to_close are the same thing"},
      {"{timeout = 10, schedule_to_close = 5}", "timeout is longer than schedule_to_close"},
      {"{start_to_close = 10, schedule_to_close = 5}", "start_to_close is longer than schedule_to_close"},
      {"{schedule_to_start = 10, schedule_to_close = 5}", "schedule_to_start is longer than schedule_to_close"},
      {"{heartbeat = 10, timeout = 5}", "heartbeat is longer than timeout"},
      {"{heartbeat = 10, schedule_to_close = 5}", "heartbeat is longer than schedule_to_close"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    host *h = tale(cases[i].options, 0, false);
    CHECK_EQ_INT(h->count, 0);
    CHECK_HAS(outcome(h, "one"), "main.lua:1: call_activity: ");
    CHECK_HAS(outcome(h, "one"), cases[i].part);
    host_close(h);
  }
}

CHECK_MAIN(test_delays_follow_the_formula, test_a_retry_timeout_ends_the_attempts, test_some_failures_are_final,
           test_retries_go_on_after_a_restart, test_each_timeout_says_which_it_was, test_no_retry_beyond_schedule_to_close,
           test_schedule_to_close_survives_restarts, test_schedule_to_start_is_final,
           test_schedule_to_start_does_not_count_a_suspension, test_a_late_answer_is_ignored,
           test_heartbeats_keep_an_attempt_alive, test_the_next_attempt_is_given_the_last_details, test_details_survive_a_restart,
           test_bad_heartbeats, test_another_thread_learns_that_it_is_canceled, test_the_hook_says_why,
           test_an_answer_is_acknowledged_when_it_is_durable, test_answers_that_do_not_count_say_why,
           test_another_thread_is_told_why_its_answer_does_not_count,
           test_a_workflow_that_gives_up_cancels_its_activity, test_a_deferred_attempt_is_answered_by_a_later_process,
           test_timeouts_of_deferred_attempts_go_on, test_a_deferred_attempt_may_have_to_give_signs_of_life,
           test_heartbeats_find_an_instance_that_is_not_in_memory, test_tokens_are_text, test_concurrency_is_bounded,
           test_places_are_given_back, test_starts_are_bounded_in_time, test_bad_limits,
           test_pure_steps_share_one_commit, test_pure_steps_do_not_carry_others_along, test_the_budget_bounds_a_chain_of_pure_steps,
           test_pure_attempts_are_tried_again, test_a_pure_activity_cannot_be_deferred,
           test_contradictions_are_refused_at_the_authors_line);
