/* test_api.c - the library through lunation.h, as a host uses it: on a memory store, on LMDB inline and with the committer thread. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fault.h"
#include "check.h"
#include "include/lunation.h"
#include "scratch.h"

#define SECOND 1000000
#define PATIENCE (60 * SECOND) /* a bound for a test that hangs, never a pause */

/* ---- A host ---- */

typedef enum mode { MEMORY, INLINE, THREADED, MODES } mode;

typedef struct host {
  lnt_runtime *rt;
  lnt_options options;
  char dir[SCRATCH_PATH_MAX];
  lnt_error error;
  char log[4096];
  int64_t clock_us;
} host;

static void host_log(void *user, lnt_log_level level, const char *id, const char *message) {
  host *h = user;
  size_t used = strlen(h->log);
  snprintf(h->log + used, sizeof h->log - used, "%d %s %s\n", (int)level, id ? id : "-", message);
}

static int64_t host_clock(void *user) { return ((host *)user)->clock_us; }

static const char library[] =
    "activity('double', function(n) return n * 2 end)\n"
    "activity('wait_a_bit', function(n, act) act:sleep(0.001) return n end)\n"
    "activity('heavy', {blocking = true}, function(n) return n + 1 end)\n"
    "workflow('once', function(ctx, n) return ctx:call_activity('native', n) end)\n"
    "workflow('lua', function(ctx, n) return ctx:call_activity('double', n) end)\n"
    "workflow('chain', function(ctx, n) local s = 0 for i = 1, n do s = s + ctx:call_activity('native', i) end return s end)\n"
    "workflow('fan', function(ctx, n) local t = {} for i = 1, n do t[i] = ctx.async:call_activity('native', i) end\n"
    "  local s = 0 for _, v in ipairs(ctx:when_all(t)) do s = s + v end return s end)\n"
    "workflow('gate', function(ctx) return ctx:wait_for_external_event('go') end)\n"
    "workflow('nap', function(ctx) ctx:create_timer(3600) return 'awake' end)\n"
    "workflow('missing', function(ctx) return ctx:call_activity('nowhere') end)\n"
    "workflow('caught', function(ctx) local ok, e = pcall(ctx.call_activity, ctx, 'native', 1)\n"
    "  return {ok = ok, type = e.type, message = e.message} end)\n"
    "workflow('empty', function() end)\n";

static void host_open(host *h, mode how) {
  if (!h->dir[0] && how != MEMORY) scratch_make(h->dir);
  if (!h->options.size) lnt_options_init(&h->options);
  h->options.store = how == MEMORY ? LNT_STORE_MEMORY : LNT_STORE_LMDB;
  h->options.durability = LNT_DURABILITY_PROCESS;
  h->options.dir = how == MEMORY ? NULL : h->dir;
  h->options.committer = how == THREADED;
  h->options.log = host_log;
  h->options.log_user = h;
  h->options.seed = 7;
  h->rt = NULL;
  if (lnt_open(&h->options, &h->rt, &h->error)) CHECK_FAIL("lnt_open: %s", h->error.message);
}

static bool host_load(host *h) {
  return h->rt && (lnt_load_string(h->rt, "library.lua", library, sizeof library - 1, &h->error) == LNT_OK ||
                   CHECK_FAIL("load: %s", h->error.message));
}

static void host_close(host *h) {
  if (h->rt) CHECK_STATUS(lnt_close(h->rt), LNT_OK);
  if (h->dir[0]) scratch_remove(h->dir);
  h->rt = NULL;
}

static lnt_status host_start(host *h, const char *workflow, const char *id, const char *json) {
  lnt_start_options start;
  lnt_value input = LNT_VALUE_NIL;
  lnt_start_options_init(&start);
  if (json) CHECK_STATUS(lnt_value_from_json(json, strlen(json), &input, NULL), LNT_OK);
  start.workflow = workflow;
  start.id = id;
  start.input = input;
  lnt_status status = lnt_start(h->rt, &start, NULL, &h->error);
  lnt_value_free(&input);
  return status;
}

/* "COMPLETED 55" or "FAILED {...}" */
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

static void await(host *h, const char *id) {
  h->error.message[0] = 0;
  if (lnt_wait(h->rt, id, PATIENCE, &h->error)) CHECK_FAIL("lnt_wait(%s): %s", id, h->error.message);
}

/* ---- Activities that compute for ever ---- */

static const char endless[] =
    "activity('spin', function()\n  while true do end end)\n"
    "activity('drill', {blocking = true}, function() while true do end end)\n"
    "activity('double', function(n) return n * 2 end)\n"
    "workflow('spins', function(ctx, options) return ctx:call_activity('spin', nil, options) end)\n"
    "workflow('drills', function(ctx, options) return ctx:call_activity('drill', nil, options) end)\n"
    "workflow('lua', function(ctx, n) return ctx:call_activity('double', n) end)\n";

static void test_endless_activity_on_the_owner_thread(void) {
  for (int how = 0; how < MODES; how++) {
    host h = {0};
    lnt_options_init(&h.options);
    h.options.limits.activity_slice_us_max = 20000;
    host_open(&h, (mode)how);
    REQUIRE(h.rt != NULL);
    CHECK_STATUS(lnt_load_string(h.rt, "endless.lua", endless, sizeof endless - 1, &h.error), LNT_OK);
    CHECK_STATUS(host_start(&h, "spins", "s", NULL), LNT_OK);
    CHECK_STATUS(host_start(&h, "lua", "beside", "4"), LNT_OK);
    CHECK_STATUS(host_start(&h, "drills", "no-workers", NULL), LNT_OK);
    await(&h, "s");
    await(&h, "beside");
    await(&h, "no-workers");
    CHECK_HAS(outcome(&h, "s"), "FAILED ");
    CHECK_HAS(outcome(&h, "s"), "\"SliceExceeded\"");
    CHECK_HAS(outcome(&h, "s"), "endless.lua:2: the activity \\\"spin\\\"");
    CHECK_HAS(outcome(&h, "s"), "{ blocking = true }");
    CHECK_HAS(outcome(&h, "no-workers"), "no worker thread took it");
    CHECK_EQ_STR(outcome(&h, "beside"), "COMPLETED 8");
    host_close(&h);
  }
}

static void test_endless_activity_meets_its_timeout(void) {
  host h = {0};
  lnt_options_init(&h.options);
  h.options.limits.activity_slice_us_max = 3600ull * SECOND;
  host_open(&h, MEMORY);
  REQUIRE(h.rt != NULL);
  CHECK_STATUS(lnt_load_string(h.rt, "endless.lua", endless, sizeof endless - 1, &h.error), LNT_OK);
  CHECK_STATUS(host_start(&h, "spins", "s", "{\"timeout\":0.02,\"retry\":{\"max_attempts\":2,\"interval\":0.001}}"), LNT_OK);
  await(&h, "s");
  CHECK_HAS(outcome(&h, "s"), "FAILED ");
  CHECK_HAS(outcome(&h, "s"), "\"Timeout\"");
  CHECK_HAS(outcome(&h, "s"), "endless.lua:2: activity 'spin' did not answer within its timeout of 0.02 s (start_to_close); it computed");
  lnt_stats stats = {.size = sizeof stats};
  CHECK_STATUS(lnt_get_stats(h.rt, &stats), LNT_OK);
  CHECK_EQ_UINT(stats.activities_started, 2);
  host_close(&h);
}

static volatile int release; /* set: the loop below ends */

/* A loop that is compiled, with a call in it so that the flag is read each time. */
static void load_drill(host *h) {
  char source[500];
  snprintf(source, sizeof source,
           "local ffi = require('ffi') ffi.cdef('int sched_yield(void);')\n"
           "local flag = ffi.cast('volatile int *', %llu)\n"
           "activity('drill', {blocking = true}, function() while flag[0] == 0 do ffi.C.sched_yield() end end)\n"
           "activity('heavy', {blocking = true}, function(n) return n + 1 end)\n"
           "workflow('drills', function(ctx) return ctx:call_activity('drill', nil, {timeout = 0.02}) end)\n"
           "workflow('heavy', function(ctx, n) return ctx:call_activity('heavy', n) end)\n",
           (unsigned long long)(uintptr_t)&release);
  CHECK_STATUS(lnt_load_string(h->rt, "drill.lua", source, strlen(source), &h->error), LNT_OK);
}

static size_t threads_now(void) {
  size_t count = 0;
  DIR *dir = opendir("/proc/self/task");
  for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) count += entry->d_name[0] != '.';
  if (dir) closedir(dir);
  return count;
}

static void test_endless_activity_on_a_worker_thread(void) {
  host h = {0};
  size_t threads = threads_now();
  lnt_options_init(&h.options);
  h.options.workers = 1;
  host_open(&h, THREADED);
  REQUIRE(h.rt != NULL);
  release = 0;
  load_drill(&h);
  CHECK_STATUS(host_start(&h, "drills", "d", NULL), LNT_OK);
  CHECK_STATUS(host_start(&h, "heavy", "behind", "1"), LNT_OK);
  await(&h, "d");
  await(&h, "behind");
  CHECK_HAS(outcome(&h, "d"), "FAILED ");
  CHECK_HAS(outcome(&h, "d"), "\"Timeout\"");
  CHECK_EQ_STR(outcome(&h, "behind"), "COMPLETED 2");
  host_close(&h);
  if (!getenv("LNT_GC_STRESS")) /* under which the loop may be stopped before it is compiled */
    CHECK_HAS(h.log, "the activity \"drill\" still runs on a worker thread, which is left behind");
  memset(&h, 0x5a, sizeof h);
  release = 1;
  while (threads_now() > threads) usleep(1000);
}

/* ---- Workflows that spoil things for themselves only ---- */

static const char poison[] =
    "workflow('hogs', function() local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end end)\n"
    "workflow('spins', function() while true do pcall(function() while true do end end) end end)\n"
    "workflow('texts', function(ctx, n)\n"
    "  local task = ctx.async:call_activity('count', 1)\n"
    "  local a, less = ('x'):rep(4e6), 0\n"
    "  local b, c = a .. 'a', a .. 'b'\n"
    "  for _ = 1, n do if b < c then less = less + 1 end end\n" /* the budget does not see how long the texts are */
    "  return less + ctx:when_all({task})[1] end)\n"
    "workflow('gate', function(ctx) return ctx:wait_for_external_event('go') end)\n";

static lnt_activity_result count_calls(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  ++*(int *)user;
  CHECK_STATUS(lnt_complete(rt, activity->token, activity->input, NULL, NULL, NULL), LNT_OK);
  return LNT_ACTIVITY_DONE;
}

static bool open_poisoned(host *h, uint64_t turn_us_max, int *calls) {
  h->options.limits.turn_us_max = turn_us_max;
  host_open(h, INLINE);
  if (!h->rt) return false;
  lnt_register_activity(h->rt, "count", count_calls, calls, NULL);
  CHECK_STATUS(lnt_load_string(h->rt, "poison.lua", poison, sizeof poison - 1, &h->error), LNT_OK);
  return true;
}

static void test_poison_leaves_others_alone(void) {
  host h = {0};
  int calls = 0;
  lnt_options_init(&h.options);
  h.options.limits.turn_instructions_max = 10000000;
  h.options.limits.turn_memory_bytes_max = 32u << 20;
  uint64_t patience_us = 3600ull * SECOND; /* a collector that runs at every chance makes turns slow */
  if (!open_poisoned(&h, patience_us, &calls)) return;
  CHECK_STATUS(host_start(&h, "gate", "one", NULL), LNT_OK);
  CHECK_STATUS(host_start(&h, "hogs", "hog", NULL), LNT_OK);
  CHECK_STATUS(host_start(&h, "spins", "spin", NULL), LNT_OK);
  CHECK_STATUS(host_start(&h, "gate", "two", NULL), LNT_OK);
  await(&h, "hog");
  await(&h, "spin");
  CHECK_HAS(outcome(&h, "hog"), "FAILED ");
  CHECK_HAS(outcome(&h, "hog"), "\"OutOfMemory\"");
  CHECK_HAS(outcome(&h, "spin"), "\"BudgetExceeded\"");
  CHECK_STATUS(lnt_close(h.rt), LNT_OK);
  if (!open_poisoned(&h, patience_us, &calls)) return;
  CHECK_STATUS(lnt_terminate(h.rt, "one", "not needed", NULL, NULL, &h.error), LNT_OK);
  CHECK_STATUS(lnt_raise(h.rt, "two", "go", LNT_VALUE_NIL, NULL, NULL, &h.error), LNT_OK);
  await(&h, "one");
  await(&h, "two");
  CHECK_HAS(outcome(&h, "one"), "TERMINATED ");
  CHECK_EQ_STR(outcome(&h, "two"), "COMPLETED null");
  host_close(&h);
}

/* Stopped by the clock, which the history knows nothing of: it stalls, what it had asked for is done once, and it goes on when it may. */
static void test_a_slow_turn_stalls(void) {
  host h = {0};
  int calls = 0;
  lnt_options_init(&h.options);
  if (!open_poisoned(&h, 20000, &calls)) return;
  CHECK_STATUS(host_start(&h, "texts", "t", "2000"), LNT_OK);
  CHECK_STATUS(host_start(&h, "gate", "other", NULL), LNT_OK);
  await(&h, "t");
  CHECK_HAS(outcome(&h, "t"), "STALLED ");
  CHECK_HAS(outcome(&h, "t"), "\"TurnTimeout\"");
  CHECK_HAS(outcome(&h, "t"), "poison.lua:7: the turn took 0.02 s of processor time (turn_us_max)");
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
  CHECK_EQ_INT(calls, 1);
  CHECK_STATUS(lnt_close(h.rt), LNT_OK);
  if (!open_poisoned(&h, 20000, &calls)) return; /* in vain */
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
  CHECK_HAS(outcome(&h, "t"), "STALLED ");
  CHECK_STATUS(lnt_terminate(h.rt, "other", NULL, NULL, NULL, NULL), LNT_OK);
  await(&h, "other");
  CHECK_HAS(outcome(&h, "other"), "TERMINATED ");
  CHECK_STATUS(lnt_close(h.rt), LNT_OK);
  if (!open_poisoned(&h, 0, &calls)) return;
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
  CHECK_EQ_STR(outcome(&h, "t"), "COMPLETED 2001");
  CHECK_EQ_INT(calls, 1);
  host_close(&h);
}

/* ---- Activities in C ---- */

typedef struct native { /* what the activity `native` does, and what it saw */
  int calls;
  lnt_token last;
  char key[64], id[LNT_ID_BYTES_MAX + 1], name[64];
  lnt_activity_result answer;
  int twice;
  const lnt_failure *failure;
} native;

static lnt_activity_result run_native(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  native *n = user;
  n->calls++;
  n->last = activity->token;
  snprintf(n->key, sizeof n->key, "%s", activity->idempotency_key);
  snprintf(n->id, sizeof n->id, "%s", activity->instance_id);
  snprintf(n->name, sizeof n->name, "%s", activity->name);
  if (n->answer == LNT_ACTIVITY_PENDING) return n->answer;
  if (n->failure) CHECK_STATUS(lnt_fail(rt, activity->token, n->failure, NULL, NULL, NULL), LNT_OK);
  else CHECK_STATUS(lnt_complete(rt, activity->token, activity->input, NULL, NULL, NULL), LNT_OK);
  if (n->twice) lnt_complete(rt, activity->token, LNT_VALUE_NIL, NULL, NULL, NULL);
  return LNT_ACTIVITY_DONE;
}

static lnt_activity_result run_nil(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  (void)user, (void)rt, (void)activity;
  return LNT_ACTIVITY_DONE;
}

/* ---- Tests ---- */

static void run_everywhere(mode how) {
  host h = {0};
  native n = {0};
  host_open(&h, how);
  if (!host_load(&h)) return;
  CHECK_STATUS(lnt_register_activity(h.rt, "native", run_native, &n, NULL), LNT_OK);
  CHECK_STATUS(host_start(&h, "chain", "c", "10"), LNT_OK);
  CHECK_EQ_STR(outcome(&h, "c"), "LNT_ENOTFOUND"); /* accepted, not durable */
  CHECK_STATUS(host_start(&h, "fan", "f", "100"), LNT_OK);
  CHECK_STATUS(host_start(&h, "lua", "l", "21"), LNT_OK);
  CHECK_STATUS(host_start(&h, "empty", "e", NULL), LNT_OK);
  await(&h, "c");
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, &h.error), LNT_OK);
  CHECK_EQ_STR(outcome(&h, "c"), "COMPLETED 55");
  CHECK_EQ_STR(outcome(&h, "f"), "COMPLETED 5050");
  CHECK_EQ_STR(outcome(&h, "l"), "COMPLETED 42");
  CHECK_EQ_STR(outcome(&h, "e"), "COMPLETED null");
  CHECK_EQ_INT(n.calls, 110);
  CHECK_EQ_STR(n.name, "native");
  lnt_stats stats = {.size = sizeof stats};
  CHECK_STATUS(lnt_get_stats(h.rt, &stats), LNT_OK);
  CHECK_EQ_UINT(stats.started, 4);
  CHECK_EQ_UINT(stats.closed, 4);
  CHECK_EQ_UINT(stats.activities_started, 111);
  CHECK_EQ_UINT(stats.running, 0);
  host_close(&h);
}

static void test_memory(void) { run_everywhere(MEMORY); }
static void test_lmdb(void) { run_everywhere(INLINE); }
static void test_committer(void) { run_everywhere(THREADED); }

/* A chain of n steps costs n + 1 commits: each carries the result of one step and the schedule of the next. */
static void test_one_commit_per_step(void) {
  host h = {0};
  native n = {0};
  host_open(&h, INLINE);
  if (!host_load(&h)) return;
  lnt_register_activity(h.rt, "native", run_native, &n, NULL);
  CHECK_STATUS(lnt_flush(h.rt, NULL), LNT_OK);
  lnt_stats before = {.size = sizeof before}, after = {.size = sizeof after};
  lnt_get_stats(h.rt, &before);
  char id[16];
  for (int i = 0; i < 50; i++) {
    snprintf(id, sizeof id, "c%d", i);
    host_start(&h, "chain", id, "20");
  }
  for (int i = 0; i < 21; i++) CHECK_STATUS(lnt_tick(h.rt, 0, NULL, NULL), LNT_OK);
  lnt_get_stats(h.rt, &after);
  CHECK_EQ_UINT(after.closed, 50);
  CHECK_EQ_UINT(after.commits - before.commits, 21);
  lnt_tick_result result;
  CHECK_STATUS(lnt_tick(h.rt, 0, &result, NULL), LNT_OK);
  CHECK_EQ_INT(result.commits, 0); /* nothing to write, nothing committed */
  host_close(&h);
}

static void test_answers_of_all_kinds(void) {
  host h = {0};
  native n = {0};
  host_open(&h, MEMORY);
  if (!host_load(&h)) return;
  lnt_failure declined = {.type = "CardDeclined", .message = "no funds", .non_retryable = 1};
  lnt_register_activity(h.rt, "native", run_native, &n, NULL);
  n.failure = &declined;
  host_start(&h, "caught", "failed", NULL);
  await(&h, "failed");
  CHECK_EQ_STR(outcome(&h, "failed"), "COMPLETED {\"ok\":false,\"type\":\"CardDeclined\",\"message\":\"no funds\"}");
  n.failure = NULL;
  n.twice = 1;
  host_start(&h, "once", "twice", "3");
  await(&h, "twice");
  CHECK_EQ_STR(outcome(&h, "twice"), "COMPLETED 3"); /* the first answer counts */
  lnt_register_activity(h.rt, "native", run_nil, NULL, NULL);
  host_start(&h, "once", "nil", "3");
  await(&h, "nil");
  CHECK_EQ_STR(outcome(&h, "nil"), "COMPLETED null");
  lnt_register_activity(h.rt, "double", run_nil, NULL, NULL); /* C wins over Lua */
  host_start(&h, "lua", "wins", "4");
  await(&h, "wins");
  CHECK_EQ_STR(outcome(&h, "wins"), "COMPLETED null");
  lnt_register_activity(h.rt, "double", NULL, NULL, NULL);
  host_start(&h, "lua", "back", "4");
  await(&h, "back");
  CHECK_EQ_STR(outcome(&h, "back"), "COMPLETED 8");
  host_close(&h);
}

/* ---- Other threads ---- */

typedef struct answerer { lnt_runtime *rt; lnt_token token; lnt_status complete, tick, start; } answerer;

static void *answer_elsewhere(void *user) {
  answerer *a = user;
  lnt_value value;
  lnt_start_options start;
  lnt_start_options_init(&start);
  lnt_value_from_json("\"from elsewhere\"", 16, &value, NULL);
  a->tick = lnt_tick(a->rt, 0, NULL, NULL);
  a->start = lnt_start(a->rt, &start, NULL, NULL);
  a->complete = lnt_complete(a->rt, a->token, value, NULL, NULL, NULL);
  lnt_wake(a->rt);
  lnt_value_free(&value);
  return NULL;
}

static void pending_answered_elsewhere(mode how) {
  host h = {0};
  native n = {.answer = LNT_ACTIVITY_PENDING};
  host_open(&h, how);
  if (!host_load(&h)) return;
  lnt_register_activity(h.rt, "native", run_native, &n, NULL);
  host_start(&h, "once", "p", "1");
  for (int i = 0; i < 1000000 && !n.calls; i++) lnt_tick(h.rt, 0, NULL, NULL);
  lnt_tick_result result;
  lnt_tick(h.rt, 0, &result, NULL);
  CHECK_EQ_INT(result.running, 1);
  CHECK_STATUS(lnt_wait(h.rt, "p", 0, &h.error), LNT_ETIMEOUT);
  CHECK_HAS(h.error.message, "'p'");
  CHECK_STATUS(lnt_drain(h.rt, 0, &h.error), LNT_ETIMEOUT);
  answerer a = {.rt = h.rt, .token = n.last};
  pthread_t thread;
  REQUIRE(pthread_create(&thread, NULL, answer_elsewhere, &a) == 0);
  await(&h, "p"); /* sleeps until the answer wakes it */
  pthread_join(thread, NULL);
  CHECK_STATUS(a.complete, LNT_OK);
  CHECK_STATUS(a.tick, LNT_ETHREAD);
  CHECK_STATUS(a.start, LNT_ETHREAD);
  CHECK_EQ_STR(outcome(&h, "p"), "COMPLETED \"from elsewhere\"");
  CHECK_STATUS(lnt_complete(h.rt, n.last, LNT_VALUE_NIL, NULL, NULL, &h.error), LNT_EOVER);
  CHECK_HAS(h.error.message, "(activity 'native' of instance 'p') is over: it was answered");
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
  host_close(&h);
}

static void test_pending_inline(void) { pending_answered_elsewhere(INLINE); }
static void test_pending_committer(void) { pending_answered_elsewhere(THREADED); }

static void count_wakes(void *user) { __atomic_add_fetch((int *)user, 1, __ATOMIC_SEQ_CST); }

/* A host with a loop of its own ticks when the hook says so. */
static void test_wake_hook(void) {
  host h = {0};
  native n = {.answer = LNT_ACTIVITY_PENDING};
  int wakes = 0;
  pthread_t thread;
  lnt_options_init(&h.options);
  h.options.wake = count_wakes;
  h.options.wake_user = &wakes;
  host_open(&h, MEMORY);
  if (!host_load(&h)) return;
  lnt_register_activity(h.rt, "native", run_native, &n, NULL);
  host_start(&h, "once", "w", "1");
  for (int i = 0; i < 5; i++) lnt_tick(h.rt, 0, NULL, NULL);
  answerer a = {.rt = h.rt, .token = n.last};
  REQUIRE(pthread_create(&thread, NULL, answer_elsewhere, &a) == 0);
  pthread_join(thread, NULL);
  CHECK_EQ_INT(__atomic_load_n(&wakes, __ATOMIC_SEQ_CST), 2); /* the answer, and lnt_wake() */
  for (int i = 0; i < 3; i++) lnt_tick(h.rt, 0, NULL, NULL);
  CHECK_EQ_STR(outcome(&h, "w"), "COMPLETED \"from elsewhere\"");
  host_close(&h);
}

/* The smallest budget still moves something, and what is left is told. */
static void test_budget(void) {
  host h = {0};
  char id[16];
  lnt_tick_result result;
  host_open(&h, MEMORY);
  if (!host_load(&h)) return;
  for (int i = 0; i < 10; i++) {
    snprintf(id, sizeof id, "b%d", i);
    host_start(&h, "empty", id, NULL);
  }
  for (uint32_t left = 10; left > 0; left--) {
    CHECK_STATUS(lnt_tick(h.rt, 1, &result, NULL), LNT_OK);
    CHECK_EQ_UINT(result.turns, 1);
    CHECK_EQ_UINT(result.ready, left - 1);
    CHECK_EQ_UINT(result.commits, 1);
  }
  CHECK_EQ_STR(outcome(&h, "b9"), "COMPLETED null");
  host_close(&h);
}

static void *call_everything(void *user) {
  lnt_runtime *rt = user;
  lnt_instance *instance;
  lnt_stats stats = {.size = sizeof stats};
  lnt_error e;
  CHECK_STATUS(lnt_load_string(rt, "x", "", 0, &e), LNT_ETHREAD);
  CHECK_HAS(e.message, "lnt_open");
  CHECK_STATUS(lnt_load_file(rt, "x", &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_workflows(rt, NULL, NULL), LNT_ETHREAD);
  CHECK_STATUS(lnt_register_activity(rt, "x", run_nil, NULL, &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_raise(rt, "x", "y", LNT_VALUE_NIL, NULL, NULL, &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_terminate(rt, "x", NULL, NULL, NULL, &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_get(rt, "x", &instance, &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_list(rt, NULL, NULL, NULL, NULL, &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_history(rt, "x", NULL, NULL, &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_observe(rt, NULL, NULL), LNT_ETHREAD);
  CHECK_STATUS(lnt_run(rt, &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_wait(rt, "x", 0, &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_drain(rt, 0, &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_flush(rt, &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_evict_all(rt), LNT_ETHREAD);
  CHECK_STATUS(lnt_snapshot(rt, "x", &e), LNT_ETHREAD);
  CHECK_STATUS(lnt_get_stats(rt, &stats), LNT_ETHREAD);
  CHECK_STATUS(lnt_close(rt), LNT_ETHREAD);
  return NULL;
}

static void test_wrong_thread(void) {
  host h = {0};
  pthread_t thread;
  host_open(&h, MEMORY);
  REQUIRE(pthread_create(&thread, NULL, call_everything, h.rt) == 0);
  pthread_join(thread, NULL);
  host_close(&h);
}

static void test_workers(void) {
  host h = {0};
  lnt_options_init(&h.options);
  h.options.workers = 2;
  host_open(&h, MEMORY);
  if (!host_load(&h)) return;
  const char text[] = "workflow('heavies', function(ctx, n) local t = {} for i = 1, n do t[i] = ctx.async:call_activity('heavy', i) end\n"
                      "local s = 0 for _, v in ipairs(ctx:when_all(t)) do s = s + v end return s end)";
  CHECK_STATUS(lnt_load_string(h.rt, "heavies.lua", text, sizeof text - 1, &h.error), LNT_OK);
  host_start(&h, "heavies", "h", "50");
  await(&h, "h");
  CHECK_EQ_STR(outcome(&h, "h"), "COMPLETED 1325");
  host_close(&h);
}

/* ---- Callbacks ---- */

typedef struct misuse { lnt_runtime *rt; int calls, done; host *h; lnt_status status; } misuse;

static void check_misuse(lnt_runtime *rt) {
  lnt_error e;
  CHECK_STATUS(lnt_tick(rt, 0, NULL, &e), LNT_EMISUSE);
  CHECK_HAS(e.message, "callback");
  CHECK_STATUS(lnt_run(rt, &e), LNT_EMISUSE);
  CHECK_STATUS(lnt_wait(rt, "a", 0, &e), LNT_EMISUSE);
  CHECK_STATUS(lnt_drain(rt, 0, &e), LNT_EMISUSE);
  CHECK_STATUS(lnt_flush(rt, &e), LNT_EMISUSE);
  CHECK_STATUS(lnt_snapshot(rt, "x", &e), LNT_EMISUSE);
  CHECK_STATUS(lnt_close(rt), LNT_EMISUSE);
  CHECK_STATUS(lnt_evict_all(rt), LNT_OK);
}

static lnt_activity_result misuse_activity(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  misuse *m = user;
  m->calls++;
  check_misuse(rt);
  CHECK_STATUS(host_start(m->h, "empty", "from-activity", NULL), LNT_OK);
  CHECK_EQ_STR(activity->name, "native"); /* still ours after the engine was called */
  CHECK_EQ_STR(activity->instance_id, "a");
  return LNT_ACTIVITY_DONE;
}

static void misuse_done(void *user, lnt_status status) {
  misuse *m = user;
  m->done++;
  m->status = status;
  if (status == LNT_ECLOSED) return;
  check_misuse(m->rt);
  CHECK_STATUS(host_start(m->h, "empty", "from-done", NULL), LNT_OK);
}

static void misuse_observer(void *user, const char *id, lnt_run_status status, const lnt_event *event) {
  misuse *m = user;
  (void)id, (void)status, (void)event;
  if (m->calls++ == 0) check_misuse(m->rt);
  if (m->calls == 1) CHECK_STATUS(host_start(m->h, "empty", "from-observer", NULL), LNT_OK);
}

static void test_callbacks(void) {
  for (mode how = MEMORY; how < MODES; how++) {
    host h = {0};
    host_open(&h, how);
    if (!host_load(&h)) return;
    misuse in_activity = {.rt = h.rt, .h = &h}, in_done = in_activity, in_observer = in_activity;
    lnt_register_activity(h.rt, "native", misuse_activity, &in_activity, NULL);
    lnt_observe(h.rt, misuse_observer, &in_observer);
    lnt_start_options start;
    lnt_start_options_init(&start);
    start.workflow = "once";
    start.id = "a";
    start.done = misuse_done;
    start.done_user = &in_done;
    CHECK_STATUS(lnt_start(h.rt, &start, NULL, NULL), LNT_OK);
    CHECK_EQ_INT(in_done.done, 0); /* not before it is durable */
    CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
    CHECK_EQ_INT(in_done.done, 1);
    CHECK_STATUS(in_done.status, LNT_OK);
    CHECK_EQ_INT(in_activity.calls, 1);
    CHECK_EQ_STR(outcome(&h, "a"), "COMPLETED null");
    CHECK_EQ_STR(outcome(&h, "from-activity"), "COMPLETED null");
    CHECK_EQ_STR(outcome(&h, "from-done"), "COMPLETED null");
    CHECK_EQ_STR(outcome(&h, "from-observer"), "COMPLETED null");
    host_close(&h);
  }
}

typedef struct seen { char text[2000]; } seen;

static void write_event(void *user, const char *id, lnt_run_status status, const lnt_event *event) {
  seen *s = user;
  size_t used = strlen(s->text);
  snprintf(s->text + used, sizeof s->text - used, "%s %s %llu %s seq=%u name=%s;", id, lnt_run_status_name(status),
           (unsigned long long)event->index, lnt_event_kind_name(event->kind), event->seq, event->name ? event->name : "-");
}

static int write_history(void *user, const lnt_event *event) {
  seen *s = user;
  size_t used = strlen(s->text);
  snprintf(s->text + used, sizeof s->text - used, "%s ", lnt_event_kind_name(event->kind));
  return event->index == 5;
}

static void test_observer_and_history(void) {
  host h = {0};
  seen s = {""}, history = {""};
  host_open(&h, MEMORY);
  if (!host_load(&h)) return;
  lnt_observe(h.rt, write_event, &s);
  host_start(&h, "lua", "o", "1");
  await(&h, "o");
  CHECK_HAS(s.text, "o RUNNING 1 Started seq=0 name=lua;o RUNNING 2 ActivityScheduled seq=1 name=double;");
  CHECK_HAS(s.text, "o COMPLETED 4 ActivityCompleted seq=1");
  CHECK_HAS(s.text, "o COMPLETED 5 Completed");
  lnt_observe(h.rt, NULL, NULL);
  s.text[0] = 0;
  host_start(&h, "lua", "quiet", "1");
  await(&h, "quiet");
  CHECK_EQ_STR(s.text, "");
  CHECK_STATUS(lnt_history(h.rt, "o", write_history, &history, NULL), LNT_OK);
  CHECK_EQ_STR(history.text, "Started ActivityScheduled Turn ActivityCompleted Completed ");
  host_close(&h);
}

static void stop_run(void *user, lnt_status status) {
  CHECK_STATUS(status, LNT_OK);
  lnt_stop(user);
}

static void test_run_and_stop(void) {
  for (mode how = MEMORY; how < MODES; how++) {
    host h = {0};
    host_open(&h, how);
    if (!host_load(&h)) return;
    host_start(&h, "gate", "g", NULL);
    CHECK_STATUS(lnt_raise(h.rt, "g", "GO", LNT_VALUE_NIL, stop_run, h.rt, NULL), LNT_OK);
    CHECK_STATUS(lnt_run(h.rt, NULL), LNT_OK);
    CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
    CHECK_EQ_STR(outcome(&h, "g"), "COMPLETED null");
    CHECK(lnt_uv_loop(h.rt) != NULL);
    host_close(&h);
  }
}

/* ---- Managing ---- */

static int count_instances(void *user, const lnt_instance *instance) {
  seen *s = user;
  size_t used = strlen(s->text);
  snprintf(s->text + used, sizeof s->text - used, "%s ", instance->id);
  return strcmp(instance->id, "stop") == 0;
}

static const char *list_ids(host *h, lnt_list_options *options, uint64_t *next) {
  static seen s;
  s.text[0] = 0;
  CHECK_STATUS(lnt_list(h->rt, options, count_instances, &s, next, NULL), LNT_OK);
  return s.text;
}

static void test_list(void) {
  host h = {0};
  h.clock_us = 1000;
  lnt_options_init(&h.options);
  h.options.clock = host_clock;
  h.options.clock_user = &h;
  host_open(&h, INLINE);
  if (!host_load(&h)) return;
  char id[8];
  for (int i = 0; i < 5; i++) {
    snprintf(id, sizeof id, "i%d", i);
    h.clock_us = 1000 + i;
    host_start(&h, i % 2 ? "empty" : "gate", id, NULL);
  }
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
  lnt_list_options options;
  lnt_list_options_init(&options);
  uint64_t next = 99;
  CHECK_EQ_STR(list_ids(&h, &options, &next), "i4 i3 i2 i1 i0 ");
  CHECK_EQ_UINT(next, 0);
  options.limit = 2;
  CHECK_EQ_STR(list_ids(&h, &options, &next), "i4 i3 ");
  options.cursor = next;
  CHECK_EQ_STR(list_ids(&h, &options, &next), "i2 i1 ");
  options.cursor = next;
  CHECK_EQ_STR(list_ids(&h, &options, &next), "i0 ");
  CHECK_EQ_UINT(next, 0);
  lnt_list_options_init(&options);
  options.status_mask = 1u << LNT_RUN_COMPLETED;
  options.limit = 2;
  CHECK_EQ_STR(list_ids(&h, &options, &next), "i3 i1 ");
  CHECK_EQ_UINT(next, 0); /* no page that would be empty */
  lnt_list_options_init(&options);
  options.workflow = "gate";
  options.id_prefix = "i";
  options.created_from_us = 1001;
  options.created_to_us = 1004;
  CHECK_EQ_STR(list_ids(&h, &options, NULL), "i2 ");
  options.size = 0;
  CHECK_STATUS(lnt_list(h.rt, &options, count_instances, NULL, NULL, &h.error), LNT_EINVAL);
  CHECK_STATUS(lnt_list(h.rt, NULL, NULL, NULL, NULL, &h.error), LNT_EINVAL);
  host_close(&h);
}

static void test_terminate_and_get(void) {
  host h = {0};
  host_open(&h, MEMORY);
  if (!host_load(&h)) return;
  host_start(&h, "gate", "t", "{\"a\":1}");
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
  lnt_instance *instance;
  CHECK_STATUS(lnt_get(h.rt, "t", &instance, NULL), LNT_OK);
  CHECK_EQ_STR(instance->id, "t");
  CHECK_EQ_STR(instance->workflow, "gate");
  CHECK_EQ_INT(strlen(instance->code_hash), 64);
  CHECK_EQ_STR(lnt_run_status_name(instance->status), "RUNNING");
  CHECK(instance->history_events == 3 && instance->history_bytes > 0 && instance->closed_us == 0);
  char *json = NULL;
  lnt_value_to_json(instance->input, 0, &json, NULL, NULL);
  CHECK_EQ_STR(json, "{\"a\":1}");
  lnt_free(json);
  lnt_free(instance);
  CHECK_STATUS(lnt_terminate(h.rt, "t", "enough", NULL, NULL, NULL), LNT_OK);
  await(&h, "t");
  CHECK_HAS(outcome(&h, "t"), "TERMINATED");
  CHECK_HAS(outcome(&h, "t"), "enough");
  CHECK_STATUS(lnt_terminate(h.rt, "t", NULL, NULL, NULL, &h.error), LNT_ECLOSED);
  CHECK_STATUS(lnt_raise(h.rt, "t", "go", LNT_VALUE_NIL, NULL, NULL, &h.error), LNT_ECLOSED);
  host_close(&h);
}

static void test_missing_activity(void) {
  host h = {0};
  host_open(&h, MEMORY);
  if (!host_load(&h)) return;
  lnt_register_activity(h.rt, "native", run_nil, NULL, NULL);
  host_start(&h, "missing", "m", NULL);
  await(&h, "m");
  CHECK_HAS(outcome(&h, "m"), "ActivityNotRegistered");
  CHECK_HAS(outcome(&h, "m"), "'nowhere'");
  CHECK_HAS(outcome(&h, "m"), "'native'");
  CHECK_HAS(outcome(&h, "m"), "'double'");
  host_close(&h);
}

static void test_timer_by_virtual_clock(void) {
  host h = {0};
  h.clock_us = 5 * SECOND;
  lnt_options_init(&h.options);
  h.options.clock = host_clock;
  h.options.clock_user = &h;
  host_open(&h, MEMORY);
  if (!host_load(&h)) return;
  lnt_tick_result result;
  host_start(&h, "nap", "n", NULL);
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK); /* a timer of the future does not hold it */
  CHECK_STATUS(lnt_tick(h.rt, 0, &result, NULL), LNT_OK);
  CHECK_EQ_INT(result.next_due_us, 3605ll * SECOND); /* however far it is, nothing is to be done before */
  while (h.clock_us < 3605ll * SECOND && strcmp(outcome(&h, "n"), "RUNNING null") == 0) { /* from due time to due time, as hosts sleep */
    REQUIRE(result.next_due_us > h.clock_us && result.next_due_us <= 3605ll * SECOND);
    h.clock_us = result.next_due_us;
    CHECK_STATUS(lnt_tick(h.rt, 0, &result, NULL), LNT_OK);
  }
  CHECK_EQ_INT(h.clock_us, 3605ll * SECOND);
  CHECK_EQ_STR(outcome(&h, "n"), "COMPLETED \"awake\"");
  host_close(&h);
}

static void test_eviction(void) {
  host h = {0};
  native n = {0};
  host_open(&h, INLINE);
  if (!host_load(&h)) return;
  lnt_register_activity(h.rt, "native", run_native, &n, NULL);
  host_start(&h, "chain", "c", "30");
  for (int i = 0; i < 40; i++) {
    CHECK_STATUS(lnt_tick(h.rt, 0, NULL, NULL), LNT_OK);
    CHECK_STATUS(lnt_evict_all(h.rt), LNT_OK);
  }
  await(&h, "c");
  CHECK_EQ_STR(outcome(&h, "c"), "COMPLETED 465");
  CHECK_EQ_INT(n.calls, 30);
  lnt_stats stats = {.size = sizeof stats};
  lnt_get_stats(h.rt, &stats);
  CHECK(stats.replays > 0);
  host_close(&h);
}

/* ---- Limits and errors ---- */

static void test_limits(void) {
  host h = {0};
  native n = {.answer = LNT_ACTIVITY_PENDING};
  lnt_options_init(&h.options);
  h.options.limits.activities_running_max = 3;
  h.options.limits.mailbox_max = 2;
  h.options.limits.payload_bytes_max = 100;
  h.options.limits.source_bytes_max = 4000;
  host_open(&h, MEMORY);
  if (!host_load(&h)) return;
  lnt_register_activity(h.rt, "native", run_native, &n, NULL);
  host_start(&h, "fan", "f", "10");
  CHECK_STATUS(lnt_drain(h.rt, 0, NULL), LNT_ETIMEOUT);
  for (int i = 0; i < 5; i++) lnt_tick(h.rt, 0, NULL, NULL);
  CHECK_EQ_INT(n.calls, 3);
  lnt_value one, big;
  char text[300] = "\"";
  memset(text + 1, 'x', 200);
  strcat(text, "\"");
  REQUIRE(lnt_value_from_json("1", 1, &one, NULL) == LNT_OK && lnt_value_from_json(text, strlen(text), &big, NULL) == LNT_OK);
  CHECK_STATUS(lnt_complete(h.rt, n.last, big, NULL, NULL, &h.error), LNT_ELIMIT);
  CHECK_HAS(h.error.message, "payload_bytes_max");
  CHECK_STATUS(lnt_fail(h.rt, n.last, &(lnt_failure){.message = text}, NULL, NULL, &h.error), LNT_ELIMIT);
  CHECK_STATUS(host_start(&h, "once", "b", text), LNT_ELIMIT);
  CHECK_HAS(h.error.message, "payload_bytes_max");
  CHECK_STATUS(lnt_raise(h.rt, "f", "go", big, NULL, NULL, &h.error), LNT_ELIMIT);
  n.answer = LNT_ACTIVITY_DONE;
  for (uint32_t seq = 1; seq <= 3; seq++) {
    lnt_status answered = lnt_complete(h.rt, (lnt_token){n.last.run, seq, 1}, one, NULL, NULL, &h.error);
    CHECK_STATUS(answered, seq <= 2 ? LNT_OK : LNT_ELIMIT);
    if (answered) CHECK_HAS(h.error.message, "mailbox_max");
  }
  lnt_token third = {n.last.run, 3, 1};
  lnt_status status = LNT_ELIMIT;
  for (int i = 0; i < 100 && status == LNT_ELIMIT; i++) { /* what the message says to do */
    lnt_tick(h.rt, 0, NULL, NULL);
    status = lnt_complete(h.rt, third, one, NULL, NULL, &h.error);
  }
  CHECK_STATUS(status, LNT_OK);
  await(&h, "f");
  CHECK_EQ_STR(outcome(&h, "f"), "COMPLETED 52"); /* 1, 1, 1, and 4 to 10 */
  lnt_value_free(&one);
  lnt_value_free(&big);
  char *source = calloc(1, 5000);
  memset(source, ' ', 4999);
  CHECK_STATUS(lnt_load_string(h.rt, "long.lua", source, 4999, &h.error), LNT_ELIMIT);
  CHECK_HAS(h.error.message, "source_bytes_max");
  free(source);
  host_close(&h);
}

static void count_done(void *user, lnt_status status) { *(int *)user += status == LNT_OK; }

static void test_raises_with_a_key(void) {
  host h = {0};
  int told = 0, repeated = -1;
  lnt_raise_options options;
  host_open(&h, INLINE);
  if (!host_load(&h)) return;
  CHECK_STATUS(host_start(&h, "gate", "a", NULL), LNT_OK);
  lnt_raise_options_init(&options);
  options.done = count_done;
  options.done_user = &told;
  options.repeated = &repeated;
  options.key = "k";
  for (int i = 0; i < 3; i++) {
    CHECK_STATUS(lnt_raise_ex(h.rt, "a", "other", &options, &h.error), LNT_OK);
    CHECK_EQ_INT(repeated, i > 0);
    CHECK_EQ_INT(told, i);
    CHECK_STATUS(lnt_flush(h.rt, &h.error), LNT_OK);
  }
  CHECK_EQ_INT(told, 3);
  CHECK_STATUS(lnt_raise_ex(h.rt, "a", "other", NULL, &h.error), LNT_OK);
  CHECK_STATUS(lnt_raise_ex(h.rt, "zzz", "go", &options, &h.error), LNT_ENOTFOUND);
  options.key = "";
  CHECK_STATUS(lnt_raise_ex(h.rt, "a", "go", &options, &h.error), LNT_EINVAL);
  options.size = 0;
  CHECK_STATUS(lnt_raise_ex(h.rt, "a", "go", &options, &h.error), LNT_EINVAL);
  CHECK_HAS(h.error.message, "lnt_raise_options_init");
  host_close(&h);
}

static void test_bad_arguments(void) {
  host h = {0};
  lnt_error e;
  lnt_options options;
  lnt_runtime *rt;
  lnt_options_init(&options);
  CHECK_STATUS(lnt_open(NULL, &rt, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_open(&options, NULL, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_open(&options, &rt, &e), LNT_EINVAL);
  CHECK_HAS(e.message, "options.dir");
  options.size = 0;
  CHECK_STATUS(lnt_open(&options, &rt, &e), LNT_EINVAL);
  CHECK_HAS(e.message, "lnt_options_init");
  lnt_options_init(&options);
  options.store = (lnt_store_kind)9;
  CHECK_STATUS(lnt_open(&options, &rt, &e), LNT_EINVAL);
  lnt_options_init(&options);
  options.store = LNT_STORE_MEMORY;
  options.workers = -1;
  CHECK_STATUS(lnt_open(&options, &rt, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_close(NULL), LNT_OK);
  host_open(&h, MEMORY);
  if (!host_load(&h)) return;
  lnt_instance *instance;
  CHECK_STATUS(lnt_tick(NULL, 0, NULL, &e), LNT_EINVAL);
  CHECK_STATUS(host_start(&h, "nothing", "a", NULL), LNT_ENOTFOUND);
  CHECK_HAS(h.error.message, "nothing");
  CHECK_STATUS(host_start(&h, "empty", "a/b", NULL), LNT_EINVAL);
  CHECK_STATUS(host_start(&h, "empty", "", NULL), LNT_EINVAL);
  CHECK_STATUS(lnt_start(h.rt, NULL, NULL, &e), LNT_EINVAL);
  CHECK_STATUS(host_start(&h, "empty", "a", NULL), LNT_OK);
  CHECK_STATUS(host_start(&h, "empty", "a", NULL), LNT_EEXIST);
  await(&h, "a");
  CHECK_STATUS(host_start(&h, "empty", "a", NULL), LNT_EEXIST);
  lnt_start_options start;
  lnt_start_options_init(&start);
  CHECK_STATUS(lnt_start(h.rt, &start, NULL, &e), LNT_EINVAL);
  start.workflow = "empty";
  start.input = (lnt_value){"\x1c", 1};
  CHECK_STATUS(lnt_start(h.rt, &start, NULL, &e), LNT_EVALUE);
  start.input = LNT_VALUE_NIL;
  char id[LNT_ID_BYTES_MAX + 1];
  CHECK_STATUS(lnt_start(h.rt, &start, id, &e), LNT_OK);
  CHECK_EQ_INT(strlen(id), 36);
  CHECK_STATUS(lnt_raise(h.rt, "zzz", "go", LNT_VALUE_NIL, NULL, NULL, &e), LNT_ENOTFOUND);
  CHECK_STATUS(lnt_raise(h.rt, "a", "", LNT_VALUE_NIL, NULL, NULL, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_terminate(h.rt, "zzz", NULL, NULL, NULL, &e), LNT_ENOTFOUND);
  CHECK_STATUS(lnt_terminate(h.rt, "a", "\xff", NULL, NULL, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_get(h.rt, "zzz", &instance, &e), LNT_ENOTFOUND);
  CHECK_HAS(e.message, "'zzz'");
  CHECK_STATUS(lnt_get(h.rt, NULL, &instance, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_get(h.rt, "a", NULL, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_history(h.rt, "zzz", write_history, NULL, &e), LNT_ENOTFOUND);
  CHECK_STATUS(lnt_history(h.rt, "a", NULL, NULL, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_wait(h.rt, "zzz", PATIENCE, &e), LNT_ENOTFOUND);
  CHECK_STATUS(lnt_register_activity(h.rt, "", run_nil, NULL, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_complete(h.rt, (lnt_token){0, 0, 0}, LNT_VALUE_NIL, NULL, NULL, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_complete(h.rt, (lnt_token){1, 1, 1}, (lnt_value){"\xff", 1}, NULL, NULL, &e), LNT_EVALUE);
  CHECK_STATUS(lnt_load_file(h.rt, "/nowhere/at/all.lua", &e), LNT_ENOTFOUND);
  CHECK_STATUS(lnt_load_string(h.rt, "x.lua", NULL, 5, &e), LNT_EINVAL);
  CHECK_STATUS(lnt_snapshot(h.rt, NULL, &e), LNT_EINVAL);
  lnt_stats stats = {.size = 0};
  CHECK_STATUS(lnt_get_stats(h.rt, &stats), LNT_EINVAL);
  lnt_wake(NULL);
  lnt_stop(NULL);
  host_close(&h);
}

static lnt_status load(host *h, const char *name, const char *text) { return lnt_load_string(h->rt, name, text, strlen(text), &h->error); }

static void test_load_all_or_nothing(void) {
  host h = {0};
  host_open(&h, INLINE);
  CHECK_STATUS(load(&h, "v.lua", "workflow('v', function() return 1 end)"), LNT_OK);
  CHECK_STATUS(load(&h, "v.lua", "workflow('v', function() return 2 end"), LNT_ESYNTAX);
  CHECK_HAS(h.error.message, "v.lua:1");
  CHECK_STATUS(load(&h, "v.lua", "workflow('v', function() return 3 end)\nactivity('a', 'not a function')"), LNT_ESYNTAX);
  host_start(&h, "v", "one", NULL);
  await(&h, "one");
  CHECK_EQ_STR(outcome(&h, "one"), "COMPLETED 1"); /* what failed to load changed nothing */
  CHECK_STATUS(load(&h, "w.lua", "workflow('v', function() end)"), LNT_EEXIST);
  CHECK_STATUS(load(&h, "a.lua", "activity('act', function() return 1 end)"), LNT_OK);
  CHECK_STATUS(load(&h, "b.lua", "workflow('b', function() end) activity('act', function() return 2 end)"), LNT_EEXIST);
  CHECK_STATUS(host_start(&h, "b", "b", NULL), LNT_ENOTFOUND);
  CHECK_STATUS(load(&h, "v.lua", "workflow('v', function() return 4 end)"), LNT_OK);
  host_start(&h, "v", "four", NULL);
  await(&h, "four");
  CHECK_EQ_STR(outcome(&h, "four"), "COMPLETED 4");
  host_close(&h);
}

/* ---- A store that fails ---- */

static void test_commit_fails_once(void) {
  for (mode how = INLINE; how < MODES; how++) {
    host h = {0};
    native n = {0};
    host_open(&h, how);
    if (!host_load(&h)) return;
    lnt_register_activity(h.rt, "native", run_native, &n, NULL);
    CHECK_STATUS(lnt_flush(h.rt, NULL), LNT_OK);
    host_start(&h, "chain", "c", "3");
    lnt__fault_arm(LNT__FAULT_commit_lost, 0, 1);
    lnt_status status = LNT_OK;
    for (int i = 0; i < 100000000 && status == LNT_OK; i++) status = lnt_tick(h.rt, 0, NULL, &h.error);
    CHECK_STATUS(status, LNT_EIO);
    CHECK_EQ_INT(n.calls, 0);
    lnt__fault_arm(LNT__FAULT_commit_lost, 0, 0);
    await(&h, "c");
    CHECK_EQ_STR(outcome(&h, "c"), "COMPLETED 6");
    CHECK_EQ_INT(n.calls, 3);
    host_close(&h);
  }
}

static void test_full_and_room_again(void) {
  for (mode how = INLINE; how < MODES; how++) {
    host h = {0};
    native n = {0};
    host_open(&h, how);
    if (!host_load(&h)) return;
    lnt_register_activity(h.rt, "native", run_native, &n, NULL);
    CHECK_STATUS(lnt_flush(h.rt, NULL), LNT_OK);
    host_start(&h, "chain", "c", "3");
    lnt__fault_arm(LNT__FAULT_commit_full, 0, UINT64_MAX);
    CHECK_STATUS(lnt_flush(h.rt, &h.error), LNT_EFULL);
    lnt_tick_result result;
    CHECK_STATUS(lnt_tick(h.rt, 0, &result, NULL), LNT_OK);
    CHECK(result.full && result.in_commit && result.next_due_us != INT64_MAX);
    CHECK_STATUS(host_start(&h, "chain", "d", "3"), LNT_EFULL);
    CHECK_HAS(h.error.message, "no new work is accepted: no room for the commit");
    CHECK_STATUS(lnt_raise(h.rt, "c", "x", LNT_VALUE_NIL, NULL, NULL, NULL), LNT_EFULL);
    CHECK_STATUS(lnt_drain(h.rt, 0, NULL), LNT_ETIMEOUT);
    CHECK_EQ_INT(n.calls, 0);
    lnt__fault_arm(LNT__FAULT_commit_full, 0, 0);
    CHECK_STATUS(lnt_flush(h.rt, NULL), LNT_OK);
    CHECK_STATUS(host_start(&h, "chain", "d", "3"), LNT_OK);
    await(&h, "c");
    await(&h, "d");
    CHECK_EQ_STR(outcome(&h, "c"), "COMPLETED 6");
    CHECK_EQ_STR(outcome(&h, "d"), "COMPLETED 6");
    CHECK_HAS(h.log, "3 - no room for the commit (a fault that was asked for); until then no new work is accepted\n");
    CHECK_HAS(h.log, "room again");
    host_close(&h);
  }
}

/* A real store that is full keeps what it holds, and goes on when it is opened with more room. */
static void test_full_store_bytes_max(void) {
  host h = {0};
  lnt_options_init(&h.options);
  h.options.limits.store_bytes_max = 512 << 10;
  host_open(&h, INLINE);
  if (!host_load(&h)) return;
  char id[16], text[5000] = "\"";
  memset(text + 1, 'x', 4000);
  strcat(text, "\"");
  int accepted = 0;
  lnt_status status = LNT_OK;
  for (; accepted < 10000 && status == LNT_OK; accepted++) {
    snprintf(id, sizeof id, "i%d", accepted);
    if (host_start(&h, "gate", id, text)) break;
    status = lnt_flush(h.rt, NULL);
    if (status == LNT_OK) lnt_tick(h.rt, 0, NULL, NULL);
  }
  CHECK_STATUS(status, LNT_EFULL);
  CHECK(accepted > 10);
  CHECK_STATUS(host_start(&h, "gate", "more", NULL), LNT_EFULL);
  CHECK_STATUS(lnt_close(h.rt), LNT_EFULL);
  h.options.limits.store_bytes_max = 64 << 20;
  host_open(&h, INLINE);
  if (!h.rt) return;
  for (int i = 0; i < accepted - 1; i++) {
    snprintf(id, sizeof id, "i%d", i);
    if (!CHECK_STATUS(lnt_raise(h.rt, id, "go", LNT_VALUE_NIL, NULL, NULL, NULL), LNT_OK)) break;
  }
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
  for (int i = 0; i < accepted - 1; i++) {
    snprintf(id, sizeof id, "i%d", i);
    if (!CHECK_EQ_STR(outcome(&h, id), "COMPLETED null")) break;
  }
  host_close(&h);
}

static lnt_activity_result run_stubborn(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  (void)user;
  lnt_status status;
  do status = lnt_complete(rt, activity->token, activity->input, NULL, NULL, NULL);
  while (status == LNT_ENOMEM); /* one allocation fails, the next does not */
  return LNT_ACTIVITY_DONE;
}

/* Wherever an allocation fails, the call says so or the work goes on; nothing crashes, and what was accepted is not half there. */
static void test_out_of_memory(void) {
  uint64_t checks = 1;
  for (uint64_t skip = 0; skip < checks; skip++) {
    host h = {0};
    lnt_options_init(&h.options);
    h.options.store = LNT_STORE_MEMORY;
    lnt__fault_arm(LNT__FAULT_alloc, skip, 1);
    lnt_status status = lnt_open(&h.options, &h.rt, &h.error);
    if (!status) status = load(&h, "m.lua", "workflow('chain', function(ctx)\n"
                                           "return ctx:call_activity('native', 1) + ctx:call_activity('native', 2) end)");
    if (!status) status = lnt_register_activity(h.rt, "native", run_stubborn, NULL, &h.error);
    bool accepted = false;
    if (!status) {
      lnt_start_options start;
      lnt_start_options_init(&start);
      start.workflow = "chain";
      start.id = "c";
      status = lnt_start(h.rt, &start, NULL, &h.error);
      accepted = status == LNT_OK;
    }
    for (int i = 0; accepted && i < 20; i++) status = lnt_tick(h.rt, 0, NULL, &h.error);
    checks = lnt__fault_checks(LNT__FAULT_alloc) > skip ? skip + 2 : 0;
    lnt__fault_arm(LNT__FAULT_alloc, 0, 0);
    if (status && !strstr(h.error.message, "memory"))
      CHECK_FAIL("allocation %d: %s: %s", (int)skip, lnt_status_name(status), h.error.message);
    if (h.rt) lnt_close(h.rt);
  }
}

static void test_close_without_commit(void) {
  host h = {0};
  host_open(&h, INLINE);
  if (!host_load(&h)) return;
  misuse done = {.rt = h.rt, .h = &h};
  CHECK_STATUS(lnt_flush(h.rt, NULL), LNT_OK);
  lnt_start_options start;
  lnt_start_options_init(&start);
  start.workflow = "empty";
  start.done = misuse_done;
  start.done_user = &done;
  CHECK_STATUS(lnt_start(h.rt, &start, NULL, NULL), LNT_OK);
  lnt__fault_arm(LNT__FAULT_commit_lost, 0, 1000);
  CHECK_STATUS(lnt_close(h.rt), LNT_EIO);
  lnt__fault_arm(LNT__FAULT_commit_lost, 0, 0);
  CHECK_EQ_INT(done.done, 1);
  CHECK_STATUS(done.status, LNT_ECLOSED);
  h.rt = NULL;
  host_close(&h);
}

/* ---- Crashes, copies, other processes ---- */

static lnt_activity_result run_ledger(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  int file = open(user, O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (file < 0 || write(file, ".", 1) != 1) abort();
  close(file);
  lnt_complete(rt, activity->token, activity->input, NULL, NULL, NULL);
  return LNT_ACTIVITY_DONE;
}

static long ledger_size(const char *path) {
  int file = open(path, O_RDONLY);
  if (file < 0) return 0;
  long size = lseek(file, 0, SEEK_END);
  close(file);
  return size;
}

/* Runs until it is killed; exits with 1 if it cannot. */
static void crash_child(host *h, mode how, char *ledger) {
  host_open(h, how);
  if (!host_load(h)) _exit(1);
  lnt_register_activity(h->rt, "native", run_ledger, ledger, NULL);
  host_start(h, "chain", "c", "5000");
  host_start(h, "gate", "g", NULL);
  lnt_run(h->rt, NULL);
  _exit(1);
}

static void kill_and_go_on(mode how) {
  host h = {0};
  char ledger[SCRATCH_PATH_MAX], where[SCRATCH_PATH_MAX];
  scratch_make(h.dir);
  scratch_make(where);
  scratch_join(ledger, where, "ledger");
  pid_t child = fork();
  if (child == 0) crash_child(&h, how, ledger);
  while (ledger_size(ledger) < 50) {
    int ended;
    if (waitpid(child, &ended, WNOHANG) == child) {
      CHECK_FAIL("the child ended");
      return;
    }
  }
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  host_open(&h, how);
  if (!h.rt) return;
  lnt_register_activity(h.rt, "native", run_ledger, ledger, NULL); /* the file is not loaded: the store has the code */
  await(&h, "c");
  CHECK_EQ_STR(outcome(&h, "c"), "COMPLETED 12502500");
  CHECK(ledger_size(ledger) >= 5000 && ledger_size(ledger) <= 5001); /* at most the step in flight ran twice */
  CHECK_STATUS(lnt_raise(h.rt, "g", "go", LNT_VALUE_NIL, NULL, NULL, NULL), LNT_OK);
  await(&h, "g");
  CHECK_STATUS(host_start(&h, "empty", "new", NULL), LNT_ENOTFOUND); /* new starts need the file */
  host_close(&h);
  scratch_remove(where);
}

static void test_kill_inline(void) { kill_and_go_on(INLINE); }
static void test_kill_committer(void) { kill_and_go_on(THREADED); }

/* Activities of a stored bundle run although their file is not loaded. */
static void test_stored_activities(void) {
  host h = {0};
  host_open(&h, INLINE);
  CHECK_STATUS(load(&h, "s.lua", "activity('stored', function(x) return x .. '!' end)\n"
                                 "workflow('s', function(ctx)\n"
                                 "return ctx:call_activity('stored', ctx:wait_for_external_event('go')) end)"), LNT_OK);
  host_start(&h, "s", "s", NULL);
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
  CHECK_STATUS(lnt_close(h.rt), LNT_OK);
  host_open(&h, INLINE);
  REQUIRE(h.rt);
  lnt_value word;
  lnt_value_from_json("\"hi\"", 4, &word, NULL);
  CHECK_STATUS(lnt_raise(h.rt, "s", "go", word, NULL, NULL, NULL), LNT_OK);
  lnt_value_free(&word);
  await(&h, "s");
  CHECK_EQ_STR(outcome(&h, "s"), "COMPLETED \"hi!\"");
  host_close(&h);
}

static void test_read_only(void) {
  host h = {0};
  host_open(&h, INLINE);
  if (!host_load(&h)) return;
  host_start(&h, "lua", "r", "4");
  await(&h, "r");
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    host reader = {0};
    memcpy(reader.dir, h.dir, sizeof h.dir);
    lnt_options_init(&reader.options);
    reader.options.read_only = 1;
    host_open(&reader, INLINE);
    if (!reader.rt) _exit(1);
    unsigned long long before = check__now.failures;
    lnt_list_options all;
    lnt_list_options_init(&all);
    CHECK_EQ_STR(outcome(&reader, "r"), "COMPLETED 8");
    CHECK_EQ_STR(list_ids(&reader, &all, NULL), "r ");
    CHECK_STATUS(lnt_tick(reader.rt, 0, NULL, NULL), LNT_EREADONLY);
    CHECK_STATUS(lnt_flush(reader.rt, NULL), LNT_EREADONLY);
    CHECK_STATUS(host_start(&reader, "lua", "x", "1"), LNT_EREADONLY);
    CHECK_STATUS(lnt_complete(reader.rt, (lnt_token){1, 1, 1}, LNT_VALUE_NIL, NULL, NULL, NULL), LNT_EREADONLY);
    CHECK_STATUS(lnt_close(reader.rt), LNT_OK);
    _exit(check__now.failures != before);
  }
  int ended = 0;
  waitpid(child, &ended, 0);
  CHECK_EQ_INT(ended, 0);
  host_close(&h);
}

static void test_snapshot(void) {
  host h = {0}, copy = {0};
  char where[SCRATCH_PATH_MAX];
  host_open(&h, THREADED);
  if (!host_load(&h)) return;
  scratch_make(where);
  scratch_join(copy.dir, where, "copy");
  host_start(&h, "gate", "g", NULL);
  CHECK_STATUS(lnt_snapshot(h.rt, copy.dir, &h.error), LNT_OK); /* what was accepted is in it */
  CHECK_STATUS(lnt_snapshot(h.rt, copy.dir, &h.error), LNT_EEXIST);
  host_open(&copy, INLINE);
  REQUIRE(copy.rt);
  lnt_raise(copy.rt, "g", "go", LNT_VALUE_NIL, NULL, NULL, NULL);
  await(&copy, "g");
  CHECK_EQ_STR(outcome(&copy, "g"), "COMPLETED null");
  CHECK_STATUS(lnt_drain(h.rt, PATIENCE, NULL), LNT_OK);
  CHECK_HAS(outcome(&h, "g"), "RUNNING");
  host_close(&copy);
  host_close(&h);
  scratch_remove(where);
}

static void test_headers_in_cxx(void) {
  if (system("command -v c++ >/dev/null") != 0) return;
  CHECK_EQ_INT(system("for h in lunation.h lunation_lua.h; do echo \"#include \\\"$h\\\"\" | c++ -x c++ -std=c++11 -Wall -Wextra -Werror "
                      "-fsyntax-only -I'" LNT_SOURCE_DIR "/runtime/include' - || exit 1; done"), 0);
}

CHECK_MAIN(test_memory, test_lmdb, test_committer, test_one_commit_per_step, test_answers_of_all_kinds, test_pending_inline,
           test_pending_committer, test_wake_hook, test_budget, test_wrong_thread, test_workers, test_endless_activity_on_the_owner_thread,
           test_endless_activity_meets_its_timeout, test_endless_activity_on_a_worker_thread,
           test_poison_leaves_others_alone, test_a_slow_turn_stalls, test_callbacks, test_observer_and_history,
           test_run_and_stop, test_list, test_terminate_and_get,
           test_missing_activity, test_timer_by_virtual_clock, test_eviction, test_limits, test_raises_with_a_key,
           test_bad_arguments, test_load_all_or_nothing,
           test_commit_fails_once, test_full_and_room_again, test_full_store_bytes_max, test_close_without_commit,
           test_out_of_memory, test_kill_inline,
           test_kill_committer, test_stored_activities, test_read_only, test_snapshot, test_headers_in_cxx);
