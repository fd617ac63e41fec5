/* test_activity.c - the activity VM on a real libuv loop, and the pool of worker threads. What an author would notice, and that nothing
 * is left open: each test ends by closing the loop, which answers an error while any handle is alive. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/fault.h"
#include "check.h"
#include "driver/worker.h"
#include "journal/journal.h"
#include "vm/activity.h"

#define ANSWERS_MAX 20000
#define MEMORY (64u << 20)
#define SMALL_MEMORY (2u << 20) /* for tests that fill it: under a collector that runs at every chance, more takes minutes */

typedef struct answer { lnt_token token; bool ok; char *json, *detail; } answer;

typedef struct world {
  uv_loop_t loop;
  uv_timer_t tick; /* so that run_until looks now and then */
  lnt__avm *avm;
  lnt__workers *workers;
  pthread_mutex_t lock;
  answer *answers;
  size_t count;
  char log[4096], beats[512];
  uint32_t deferred; /* the attempt that was, last */
  char dir[64];
  uint32_t seq;
  pthread_t owner;
  bool off_thread;
} world;

static void add_answer(world *w, lnt_token token, bool ok, lnt_value value, lnt_value detail) {
  answer a = {token, ok, NULL, NULL};
  CHECK_STATUS(lnt_value_to_json(value, 0, &a.json, NULL, NULL), LNT_OK);
  a.detail = lnt__strndup(detail.size ? detail.data : "", detail.size);
  pthread_mutex_lock(&w->lock);
  if (!pthread_equal(pthread_self(), w->owner)) w->off_thread = true;
  for (size_t i = 0; i < w->count; i++) {
    if (w->answers[i].token.seq == token.seq && w->count < 1000) CHECK_FAIL("attempt %u was answered twice", (unsigned)token.seq);
  }
  if (w->count < ANSWERS_MAX) w->answers[w->count++] = a;
  pthread_mutex_unlock(&w->lock);
}

static void on_complete(void *user, lnt_token token, lnt_value result) { add_answer(user, token, true, result, LNT_VALUE_NIL); }
static void on_fail(void *user, lnt_token token, lnt_value failure, lnt_value detail) { add_answer(user, token, false, failure, detail); }
static void on_defer(void *user, lnt_token token) { ((world *)user)->deferred = token.seq; }
static bool on_heartbeat(void *user, lnt_token token, lnt_value details) {
  world *w = user;
  char *json = NULL;
  (void)token;
  CHECK_STATUS(lnt_value_to_json(details, 0, &json, NULL, NULL), LNT_OK);
  bool canceled = strcmp(json, "\"stop\"") == 0;
  size_t used = strlen(w->beats);
  snprintf(w->beats + used, sizeof w->beats - used, "%s;", json);
  lnt_free(json);
  return canceled;
}
static void on_log(void *user, lnt_log_level level, const char *id, const char *message) {
  world *w = user;
  pthread_mutex_lock(&w->lock);
  size_t used = strlen(w->log);
  snprintf(w->log + used, sizeof w->log - used, "%d %s %s\n", (int)level, id ? id : "-", message);
  pthread_mutex_unlock(&w->lock);
}
static void on_tick(uv_timer_t *timer) { (void)timer; }

static lnt__avm_options options_of(world *w, uint64_t memory) {
  return (lnt__avm_options){.loop = &w->loop, .memory_bytes_max = memory, .payload_bytes_max = 2u << 20, .module_path = w->dir, .user = w,
                            .complete = on_complete, .fail = on_fail, .defer = on_defer, .heartbeat = on_heartbeat, .log = on_log,
                            .grace_us = 10000000};
}

static void world_open(world *w, uint64_t memory) {
  memset(w, 0, sizeof *w);
  w->owner = pthread_self();
  w->answers = calloc(ANSWERS_MAX, sizeof *w->answers);
  pthread_mutex_init(&w->lock, NULL);
  strcpy(w->dir, "/tmp/lunation-activity-XXXXXX");
  CHECK(mkdtemp(w->dir) != NULL);
  uv_loop_init(&w->loop);
  uv_timer_init(&w->loop, &w->tick);
  uv_timer_start(&w->tick, on_tick, 5, 5);
  lnt__avm_options options = options_of(w, memory);
  CHECK_STATUS(lnt__avm_create(&options, &w->avm, NULL), LNT_OK);
}

static void remove_dir(const char *dir) {
  DIR *d = opendir(dir);
  for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    if (e->d_name[0] != '.') unlink(path);
  }
  if (d) closedir(d);
  rmdir(dir);
}

static void world_close(world *w) {
  lnt__workers_destroy(w->workers);
  lnt__avm_destroy(w->avm);
  size_t count = w->count;
  uv_close((uv_handle_t *)&w->tick, NULL);
  uv_run(&w->loop, UV_RUN_DEFAULT);
  CHECK_EQ_INT(uv_loop_close(&w->loop), 0);
  CHECK_EQ_UINT(w->count, count);
  for (size_t i = 0; i < w->count; i++) {
    lnt_free(w->answers[i].json);
    lnt__free(w->answers[i].detail);
  }
  free(w->answers);
  pthread_mutex_destroy(&w->lock);
  remove_dir(w->dir);
}

static void load(world *w, const char *source) {
  lnt_error err = {0};
  if (lnt__avm_load(w->avm, "a.lua", source, strlen(source), true, &err) != LNT_OK) CHECK_FAIL("a.lua: %s", err.message);
}

static lnt_status load_as(world *w, const char *file, const char *source, bool is_newest, lnt_error *err) {
  return lnt__avm_load(w->avm, file, source, strlen(source), is_newest, err);
}

typedef struct job { lnt_value input; lnt_activity activity; } job;

static job job_of(world *w, const char *name, const char *input) {
  job j = {LNT_VALUE_NIL, {.token = {7, ++w->seq, 1}, .name = name, .instance_id = "quest-1", .idempotency_key = "key-1",
                               .heartbeat_details = {"\xa1\x62so\x63" "far", 8}}};
  if (input) CHECK_STATUS(lnt_value_from_json(input, strlen(input), &j.input, NULL), LNT_OK);
  j.activity.input = j.input;
  return j;
}

static uint32_t start(world *w, const char *name, const char *input) {
  job j = job_of(w, name, input);
  lnt__avm_run(w->avm, &j.activity);
  lnt_value_free(&j.input);
  return w->seq;
}

static const answer *find(world *w, uint32_t seq) {
  for (size_t i = 0; i < w->count; i++) {
    if (w->answers[i].token.seq == seq) return &w->answers[i];
  }
  return NULL;
}

static void run_until_idle(world *w) {
  while (lnt__avm_running(w->avm) > 0) uv_run(&w->loop, UV_RUN_ONCE);
}

static void run_until_file(world *w, const char *path) {
  struct stat st;
  while (stat(path, &st) != 0 || st.st_size == 0) uv_run(&w->loop, UV_RUN_ONCE);
}

/* Run to its end; the result as JSON, or "FAILED: " and the failure in a static buffer. */
static const char *outcome(world *w, const char *name, const char *input) {
  static char text[4096];
  uint32_t seq = start(w, name, input);
  run_until_idle(w);
  const answer *a = find(w, seq);
  if (!a) return "(no answer)";
  snprintf(text, sizeof text, "%s%s", a->ok ? "" : "FAILED: ", a->json);
  return text;
}

static char *in_dir(world *w, const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "\"%s/%s\"", w->dir, name);
  return path;
}

static bool write_file(world *w, const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", w->dir, name);
  FILE *file = fopen(path, "w");
  if (!file) return false;
  fputs(text, file);
  return fclose(file) == 0;
}

/* ---- Results and failures ---- */

static void test_results(void) {
  world w;
  world_open(&w, MEMORY);
  load(&w, "activity('double', function(n) return n * 2 end)\n"
           "activity('nothing', function() end)\n"
           "activity('echo', function(v) return v end)\n"
           "activity('about', function(_, a) return {a.instance_id, a.idempotency_key, a.attempt, a.name, a.other == nil} end)\n"
           "activity('says', function(_, act) act:log('hello'); act:log('careful', 'warn') end)\n"
           "workflow('ignored', function() end)");
  CHECK_EQ_STR(outcome(&w, "double", "21"), "42");
  CHECK_EQ_STR(outcome(&w, "nothing", NULL), "null");
  CHECK_EQ_STR(outcome(&w, "echo", "{\"a\":[1,2,{\"b\":[]}],\"s\":\"x\"}"), "{\"a\":[1,2,{\"b\":[]}],\"s\":\"x\"}");
  CHECK_EQ_STR(outcome(&w, "about", NULL), "[\"quest-1\",\"key-1\",1,\"about\",true]");
  CHECK_EQ_STR(outcome(&w, "says", NULL), "null");
  CHECK_EQ_STR(w.log, "1 quest-1 hello\n2 quest-1 careful\n");
  CHECK_HAS(outcome(&w, "missing", NULL), "\"ActivityNotRegistered\"");
  CHECK_HAS(outcome(&w, "missing", NULL), "no activity \\\"missing\\\" is loaded");
  CHECK(lnt__avm_memory(w.avm) > 0);
  world_close(&w);
}

static void test_quick_ones(void) {
  world w;
  world_open(&w, MEMORY);
  load(&w, "activity('inc', function(n) return n + 1 end)");
  for (int i = 0; i < 10000; i++) start(&w, "inc", "1");
  CHECK_EQ_UINT(w.count, 10000);
  CHECK_EQ_UINT(lnt__avm_running(w.avm), 0);
  CHECK_EQ_STR(w.answers[9999].json, "2");
  world_close(&w);
}

static void test_failures(void) {
  world w;
  world_open(&w, MEMORY);
  load(&w, "activity('text', function()\n  error('boom') end)\n"
           "activity('table', function() error{type = 'CardDeclined', message = 'no money', retryable = false, details = {code = 7}} end)\n"
           "activity('nilerr', function() error() end)\n"
           "activity('index', function(x) return x.y.z end)\n"
           "activity('fn', function() return {a = {1, {b = print}}} end)\n"
           "activity('cycle', function() local t = {}; t.me = t; return t end)\n"
           "activity('big', function() return ('x'):rep(3e6) end)\n"
           "activity('deep', function() local t = {}; for i = 1, 100 do t = {t} end return t end)\n"
           "activity('yields', function() coroutine.yield(1) end)\n"
           "activity('recurses', function() local function f() return 1 + f() end return f() end)\n"
           "activity('fine', function() return coroutine.wrap(function() coroutine.yield(5) end)() end)");
  CHECK_HAS(outcome(&w, "text", NULL), "a.lua:2: boom");
  CHECK_HAS(find(&w, w.seq)->detail, "a.lua:2:");
  CHECK(!strstr(find(&w, w.seq)->detail, "activity helpers"));
  CHECK_HAS(outcome(&w, "table", NULL), "\"CardDeclined\"");
  CHECK_HAS(outcome(&w, "table", NULL), "\"retryable\":false");
  CHECK_HAS(outcome(&w, "table", NULL), "\"code\":7");
  CHECK_HAS(outcome(&w, "nilerr", NULL), "FAILED: ");
  CHECK_HAS(outcome(&w, "index", "{}"), "attempt to index");
  CHECK_HAS(outcome(&w, "fn", NULL), "\"InvalidValue\"");
  CHECK_HAS(outcome(&w, "fn", NULL), "result.a[2].b");
  CHECK_HAS(outcome(&w, "cycle", NULL), "\"InvalidValue\"");
  CHECK_HAS(outcome(&w, "big", NULL), "\"LimitExceeded\"");
  CHECK_HAS(outcome(&w, "deep", NULL), "FAILED: ");
  CHECK_HAS(outcome(&w, "yields", NULL), "\"InvalidYield\"");
  CHECK_HAS(outcome(&w, "recurses", NULL), "stack overflow");
  CHECK_EQ_STR(outcome(&w, "fine", NULL), "5");
  world_close(&w);
}

static void test_out_of_memory(void) {
  world w;
  world_open(&w, SMALL_MEMORY);
  load(&w, "activity('hog', function() local t = {}; for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end end)\n"
           "activity('fine', function(n, act) act:sleep(0.01) return n end)");
  for (int i = 0; i < 3; i++) {
    uint32_t beside = start(&w, "fine", "1");
    CHECK_HAS(outcome(&w, "hog", NULL), "\"OutOfMemory\"");
    CHECK_HAS(find(&w, w.seq)->json, "activity_memory_bytes_max");
    CHECK_EQ_STR(find(&w, beside)->json, "1");
  }
  world_close(&w);
}

/* Each allocation of ours fails once: every attempt is answered exactly once all the same, a load changes everything or nothing. */
static void test_failing_allocations(void) {
  static const char source[] = "activity('nap', function(d, act) act:sleep(d) return {d} end) activity('new', print)";
  for (uint64_t skip = 0, more = 1; more; skip++) {
    world w;
    world_open(&w, MEMORY);
    load(&w, "activity('nap', function(d, act) act:sleep(d) return {d} end)");
    job j = job_of(&w, "nap", "0.001");
    lnt__fault_arm(LNT__FAULT_alloc, skip, 1);
    lnt__avm_run(w.avm, &j.activity);
    lnt_status status = lnt__avm_load(w.avm, "a.lua", source, sizeof source - 1, true, NULL);
    more = lnt__fault_checks(LNT__FAULT_alloc) > skip;
    lnt__fault_arm(LNT__FAULT_alloc, 0, 0);
    lnt_value_free(&j.input);
    run_until_idle(&w);
    CHECK(status == LNT_OK || status == LNT_ENOMEM);
    CHECK(lnt__avm_find(w.avm, "new", NULL) == (status == LNT_OK));
    CHECK_EQ_UINT(w.count, 1);
    CHECK_EQ_STR(outcome(&w, "nap", "0"), "[0]");
    world_close(&w);
    REQUIRE(skip < 1000);
  }
}

/* ---- The watchdog ---- */

#define SLICE_US 20000

/* A fresh VM as the owner thread has it. */
static void watch(world *w, uint64_t slice_us, bool (*overdue)(void *user, lnt_token token, const char *place, lnt__buf *failure)) {
  lnt__avm_options options = options_of(w, MEMORY);
  options.slice_us_max = slice_us;
  options.overdue = overdue;
  lnt__avm_destroy(w->avm);
  CHECK_STATUS(lnt__avm_create(&options, &w->avm, NULL), LNT_OK);
}

static const char endless[] =
    "activity('plain', function()\n  while true do end end)\n"
    "activity('catches', function() while true do pcall(function() while true do end end) end end)\n"
    "activity('recurses', function() local function f() while true do pcall(f) end end f() end)\n"
    "activity('handles', function() xpcall(function() while true do end end, function() while true do end end) end)\n"
    "activity('handles_own', function() xpcall(error, function() while true do end end) end)\n"
    "activity('wraps', function() coroutine.wrap(function()\n"
    "  while true do pcall(coroutine.wrap(function() while true do end end)) end end)() end)\n"
    "activity('sorts', function() table.sort({3, 2, 1}, function() while true do end end) end)\n"
    "activity('replaces', function() return (('x'):gsub('x', function() while true do end end)) end)\n"
    "activity('converts', function() return tostring(setmetatable({}, {__tostring = function() while true do end end})) end)\n"
    "activity('compiles', function() jit.on() jit.opt.start(3) local x = 0 while true do x = x + 1 end end)\n"
    "activity('finishes', function()\n"
    "  while true do local ok = pcall(function() while true do end end) if not ok then return 1 end end end)\n"
    "local ffi = require('ffi') ffi.cdef('int usleep(unsigned int useconds);')\n"
    "activity('blocks', function() while true do ffi.C.usleep(100) end end)\n"
    "activity('unhooks', function() debug.sethook() end)\n"
    "activity('compiler', function() return jit.status() end)\n"
    "activity('traces', function() return select(2, xpcall(error, debug.traceback, 'boom')) end)\n"
    "activity('nap', function(d, act) act:sleep(d) return 'slept' end)\n"
    "activity('long', {blocking = true}, function() while true do end end)\n";

static void test_watchdog_stops_what_computes_for_ever(void) {
  static const char *const names[] = {"plain", "catches", "recurses", "handles", "handles_own", "wraps", "sorts",
                                      "replaces", "converts", "compiles", "finishes", "blocks"};
  world w;
  world_open(&w, MEMORY);
  watch(&w, SLICE_US, NULL);
  load(&w, endless);
  uint32_t beside = start(&w, "nap", "0.001");
  for (size_t i = 0; i < LNT__COUNT(names); i++) {
    const char *failure = outcome(&w, names[i], NULL);
    if (!strstr(failure, "FAILED: ") || !strstr(failure, "\"SliceExceeded\"")) CHECK_FAIL("%s: %s", names[i], failure);
    CHECK_HAS(failure, names[i]);
    CHECK_HAS(failure, "blocking = true");
    CHECK_HAS(failure, "\"retryable\":false");
    CHECK_EQ_STR(outcome(&w, "nap", "0"), "\"slept\"");
  }
  CHECK_EQ_STR(find(&w, beside)->json, "\"slept\"");
  CHECK_HAS(outcome(&w, "plain", NULL), "a.lua:2: the activity \\\"plain\\\"");
  CHECK_HAS(outcome(&w, "plain", NULL), "activity_slice_us_max");
  CHECK_HAS(find(&w, w.seq)->detail, "a.lua:2:");
  CHECK_HAS(outcome(&w, "long", NULL), "no worker thread took it");
  CHECK_HAS(outcome(&w, "unhooks", NULL), "debug.sethook is not available");
  CHECK_HAS(outcome(&w, "traces", NULL), "boom");
  CHECK_EQ_STR(outcome(&w, "compiler", NULL), "false");
  world_close(&w);
}

static void test_watchdog_stops_a_load(void) {
  world w;
  lnt_error err = {0};
  world_open(&w, MEMORY);
  watch(&w, SLICE_US, NULL);
  load(&w, "activity('nap', function() return 'fine' end)");
  CHECK_STATUS(load_as(&w, "dir/spin.lua", "\nwhile true do pcall(function() while true do end end) end", true, &err), LNT_ELIMIT);
  CHECK_HAS(err.message, "spin.lua:2: spin.lua computes");
  CHECK_EQ_STR(outcome(&w, "nap", NULL), "\"fine\"");
  world_close(&w);
}

static void test_watchdog_tells_of_slow_calls(void) {
  world w;
  world_open(&w, MEMORY);
  watch(&w, SLICE_US / 10, NULL);
  load(&w, "local ffi = require('ffi') ffi.cdef('int usleep(unsigned int useconds);')\n"
           "activity('slow', function() ffi.C.usleep(200000) return 1 end)");
  CHECK_EQ_STR(outcome(&w, "slow", NULL), "1");
  CHECK_HAS(w.log, "the activity \"slow\" (a.lua) held the thread that drives everything for");
  world_close(&w);
}

static bool always(void *user, lnt_token token, const char *place, lnt__buf *failure) {
  (void)user;
  if (failure) lnt__failure_text(failure, "Timeout", place, true);
  return token.run == 7;
}

static void test_watchdog_keeps_timeouts(void) {
  world w;
  world_open(&w, MEMORY);
  watch(&w, SLICE_US, always);
  load(&w, endless);
  CHECK_HAS(outcome(&w, "plain", NULL), "\"Timeout\"");
  CHECK_HAS(outcome(&w, "plain", NULL), "\"message\":\"a.lua:2\"");
  CHECK_HAS(outcome(&w, "plain", NULL), "\"retryable\":true");
  world_close(&w);
}

static lnt_cancel_reason always_canceled(void *user, lnt_token token) {
  (void)user, (void)token;
  return LNT_CANCEL_TIMEOUT;
}

/* Where the compiler is on, what it does not compile can be stopped all the same. */
static void test_watchdog_stops_what_was_canceled(void) {
  world w;
  world_open(&w, MEMORY);
  lnt__avm_options options = options_of(&w, MEMORY);
  options.loop = NULL;
  options.canceled = always_canceled;
  options.grace_us = 1000000;
  lnt__avm_destroy(w.avm);
  CHECK_STATUS(lnt__avm_create(&options, &w.avm, NULL), LNT_OK);
  load(&w, "activity('polls', function(_, act) while not act:canceled() do end return 'cleaned' end)\n"
           "activity('spins', function() local f = function() while true do pcall(error) end end jit.off(f) f() end)\n"
           "activity('cleans', function(_, act) local why act:on_cancel(function(reason) why = reason end)\n"
           "  local f = function() while true do end end jit.off(f) local ok, e = pcall(f)\n"
           "  return {ok, e.type, e.details.reason, why} end)\n"
           "activity('stays', function() local f = function() while true do pcall(function() while true do end end) end end\n"
           "  jit.off(f, true) f() end)\n"
           "activity('compiler', function() return (jit.status()) end)");
  CHECK_EQ_STR(outcome(&w, "polls", NULL), "\"cleaned\"");
  CHECK_HAS(outcome(&w, "spins", NULL), "\"type\":\"Canceled\"");
  CHECK_EQ_STR(outcome(&w, "cleans", NULL), "[false,\"Canceled\",\"timeout\",\"timeout\"]");
  CHECK_HAS(outcome(&w, "stays", NULL), "\"type\":\"Canceled\"");
  CHECK_HAS(outcome(&w, "stays", NULL), "the activity \\\"stays\\\" was canceled, and computed on");
  CHECK_EQ_STR(outcome(&w, "compiler", NULL), "true");
  world_close(&w);
}

/* ---- Loading ---- */

static void test_bad_files(void) {
  static const struct { const char *source, *says; } bad[] = {
      {"local x =", "b.lua:1:"},
      {"\nerror('no')", "b.lua:2: no"},
      {"error({})", "b.lua: raised an error that is a table"},
      {"activity('x', 5)", "b.lua:1: activity(\"x\"): a function is wanted"},
      {"activity('x', {blockng = true}, print)", "blockng"},
      {"activity(5, print)", "the name is text"},
      {"activity('', print)", "name"},
      {"activity('x', print) activity('x', print)", "defined twice"},
      {"activity('ok', print) require('nowhere')", "nowhere"},
      {"coroutine.yield(1)", "yield"},
      {"\27LJ\2", "b.lua"},
  };
  world w;
  world_open(&w, SMALL_MEMORY);
  for (size_t i = 0; i < LNT__COUNT(bad); i++) {
    lnt_error err = {0};
    CHECK_STATUS(load_as(&w, "dir/b.lua", bad[i].source, true, &err), LNT_ESYNTAX);
    CHECK_HAS(err.message, bad[i].says);
  }
  CHECK(!lnt__avm_find(w.avm, "ok", NULL));
  lnt_error err = {0};
  CHECK_STATUS(load_as(&w, "c.lua", "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1e4) .. i end", true, &err), LNT_ENOMEM);
  world_close(&w);
}

static void count_activities(void *user, const char *name, const lnt__activity_info *info) {
  (void)name, (void)info;
  ++*(int *)user;
}

static void test_reload(void) {
  world w;
  world_open(&w, MEMORY);
  lnt__activity_info info;
  lnt_error err = {0};
  load(&w, "activity('v', function(_, act) act:sleep(0.02) return 1 end) activity('gone', print)");
  uint32_t old = start(&w, "v", NULL);
  load(&w, "activity('v', function(_, act) return 2 end) activity('slow', {blocking = true}, print)");
  CHECK_EQ_STR(outcome(&w, "v", NULL), "2");
  CHECK_EQ_STR(find(&w, old)->json, "1");
  CHECK(!lnt__avm_find(w.avm, "gone", NULL));
  CHECK(lnt__avm_find(w.avm, "slow", &info) && info.blocking);
  CHECK_EQ_STR(info.file, "a.lua");
  CHECK_STATUS(load_as(&w, "other.lua", "activity('new', print) activity('v', print)", true, &err), LNT_EEXIST);
  CHECK_HAS(err.message, "a.lua");
  CHECK_HAS(err.message, "other.lua");
  CHECK(!lnt__avm_find(w.avm, "new", NULL));
  CHECK_STATUS(load_as(&w, "stored.lua", "activity('v', print) activity('s', function() return 's' end)", false, &err), LNT_OK);
  CHECK_EQ_STR(outcome(&w, "v", NULL), "2");
  CHECK_EQ_STR(outcome(&w, "s", NULL), "\"s\"");
  CHECK_STATUS(load_as(&w, "other.lua", "activity('s', function() return 'other' end)", true, &err), LNT_OK);
  CHECK_EQ_STR(outcome(&w, "s", NULL), "\"other\"");
  int count = 0;
  lnt__avm_each(w.avm, count_activities, &count);
  CHECK_EQ_INT(count, 3);
  world_close(&w);
}

static void test_require(void) {
  world w;
  world_open(&w, MEMORY);
  CHECK(write_file(&w, "tool.lua", "local ffi = require 'ffi' return {n = ffi.sizeof('int')}"));
  load(&w, "local t = require 'tool' activity('n', function() return t.n end)\n"
           "activity('bit', function() return require('bit').bor(1, 2) end)");
  CHECK_EQ_STR(outcome(&w, "n", NULL), "4");
  CHECK_EQ_STR(outcome(&w, "bit", NULL), "3");
  CHECK(write_file(&w, "tool.lua", "return {n = 'new'}"));
  load(&w, "local t = require 'tool' activity('n', function() return t.n end)");
  CHECK_EQ_STR(outcome(&w, "n", NULL), "\"new\"");
  CHECK(write_file(&w, "me.lua", "return require 'me'"));
  lnt_error err = {0};
  CHECK_STATUS(load_as(&w, "m.lua", "require 'me'", true, &err), LNT_ESYNTAX);
  CHECK_HAS(err.message, "requires itself");
  world_close(&w);
}

/* ---- Helpers ---- */

static void test_sleep(void) {
  world w;
  world_open(&w, MEMORY);
  load(&w, "activity('nap', function(d, act) act:sleep(d) return d end)\n"
           "activity('sorts', function(_, act) table.sort({2, 1}, function() act:sleep(1) end) end)\n"
           "activity('wraps', function(_, act) coroutine.wrap(function() act:sleep(1) end)() end)\n"
           "local kept activity('keeps', function(_, act) kept = act end) activity('uses', function() kept:sleep(0) end)");
  CHECK_EQ_STR(outcome(&w, "nap", "0.001"), "0.001");
  CHECK_EQ_STR(outcome(&w, "nap", "\"5ms\""), "\"5ms\"");
  CHECK_HAS(outcome(&w, "nap", "\"5 parsecs\""), "a duration is wanted");
  CHECK_HAS(outcome(&w, "nap", "-1"), "a duration is wanted");
  CHECK_HAS(outcome(&w, "sorts", NULL), "cannot wait here");
  CHECK_HAS(outcome(&w, "wraps", NULL), "coroutine of your own");
  outcome(&w, "keeps", NULL);
  CHECK_HAS(outcome(&w, "uses", NULL), "belongs to another attempt");
  size_t before = w.count;
  for (int i = 0; i < 100; i++) start(&w, "nap", "0.05");
  CHECK_EQ_UINT(lnt__avm_running(w.avm), 100);
  CHECK_EQ_UINT(w.count, before);
  run_until_idle(&w);
  CHECK_EQ_UINT(w.count, before + 100);
  world_close(&w);
}

static void test_files(void) {
  world w;
  world_open(&w, MEMORY);
  load(&w, "activity('write', function(p, act) act:write_file(p, 'one\\0two') act:append_file(p, '+')\n"
           "  return act:read_file(p) == 'one\\0two+' end)\n"
           "activity('read', function(p, act) return act:read_file(p) end)\n"
           "activity('big', function(p, act) local s = ('0123456789'):rep(300000) act:write_file(p, s) return act:read_file(p) == s end)\n"
           "activity('stat', function(p, act) local s = act:stat(p) return s and {s.type, s.size, s.mtime > 1e9} end)\n"
           "activity('list', function(p, act) local n = {} for i, e in ipairs(act:list_dir(p)) do n[i] = e.name .. ':' .. e.type end\n"
           "  return n end)");
  CHECK_EQ_STR(outcome(&w, "write", in_dir(&w, "f")), "true");
  CHECK_EQ_STR(outcome(&w, "write", in_dir(&w, "f")), "true");
  CHECK_EQ_STR(outcome(&w, "stat", in_dir(&w, "f")), "[\"file\",8,true]");
  CHECK_EQ_STR(outcome(&w, "big", in_dir(&w, "g")), "true");
  CHECK_EQ_STR(outcome(&w, "stat", in_dir(&w, "none")), "null");
  CHECK_EQ_STR(outcome(&w, "list", in_dir(&w, "")), "[\"f:file\",\"g:file\"]");
  CHECK_HAS(outcome(&w, "read", in_dir(&w, "none")), "\"IOError\"");
  CHECK_HAS(outcome(&w, "read", in_dir(&w, "none")), "\"code\":\"ENOENT\"");
  CHECK_HAS(outcome(&w, "read", in_dir(&w, "")), "EISDIR");
  CHECK_HAS(outcome(&w, "write", in_dir(&w, "no/where")), "ENOENT");
  CHECK_HAS(outcome(&w, "read", "5"), "text is wanted");
  CHECK_HAS(outcome(&w, "read", "\"/proc/self/status\""), "Name:");
  world_close(&w);
}

static void test_processes(void) {
  world w;
  world_open(&w, MEMORY);
  load(&w, "activity('run', function(a, act) local r = act:run('sh', {'-c', a.cmd}, a.options)\n"
           "  return {r.code, r.signal, r.stdout, r.stderr} end)\n"
           "activity('none', function(a, act) return act:run('/no/such/program') end)");
  CHECK_EQ_STR(outcome(&w, "run", "{\"cmd\":\"echo out; echo err >&2; exit 3\"}"), "[3,0,\"out\\n\",\"err\\n\"]");
  CHECK_EQ_STR(outcome(&w, "run", "{\"cmd\":\"cat\",\"options\":{\"stdin\":\"text\"}}"), "[0,0,\"text\",\"\"]");
  CHECK_EQ_STR(outcome(&w, "run", "{\"cmd\":\"cat\"}"), "[0,0,\"\",\"\"]");
  CHECK_EQ_STR(outcome(&w, "run", "{\"cmd\":\"exit 0\",\"options\":{\"stdin\":\"nobody reads this\"}}"), "[0,0,\"\",\"\"]");
  CHECK_EQ_STR(outcome(&w, "run", "{\"cmd\":\"pwd; echo $A; test -n \\\"$PATH\\\"\",\"options\":{\"cwd\":\"/\",\"env\":{\"A\":\"b\"}}}"),
               "[0,0,\"/\\nb\\n\",\"\"]");
  CHECK_EQ_STR(outcome(&w, "run", "{\"cmd\":\"kill -9 $$\"}"), "[0,9,\"\",\"\"]");
  CHECK_HAS(outcome(&w, "run", "{\"cmd\":\"exec sleep 1000\",\"options\":{\"timeout\":\"50ms\"}}"), "\"Timeout\"");
  CHECK_HAS(outcome(&w, "run", "{\"cmd\":\"sleep 3 & true\",\"options\":{\"timeout\":\"50ms\"}}"), "\"Timeout\"");
  CHECK_HAS(outcome(&w, "run", "{\"cmd\":\"yes\",\"options\":{\"output_bytes_max\":1000}}"), "\"LimitExceeded\"");
  CHECK_HAS(outcome(&w, "run", "{\"cmd\":\"x\",\"options\":{\"tiemout\":5}}"), "tiemout");
  CHECK_HAS(outcome(&w, "run", "{\"cmd\":\"x\",\"options\":{\"cwd\":\"/no/where\"}}"), "/no/where");
  CHECK_HAS(outcome(&w, "none", NULL), "cannot run /no/such/program: ENOENT");
  world_close(&w);
}

/* ---- Cancel and destroy ---- */

static lnt_token token_of(uint32_t seq) { return (lnt_token){7, seq, 1}; }

static const char canceled_source[] =
    "activity('nap', function(d, act) act:sleep(d) end)\n"
    "activity('cleans', function(d, act) local seen = {act:canceled()} act:on_cancel(function(why) seen[#seen + 1] = why end)\n"
    "  local ok, e = pcall(act.sleep, act, d) seen[#seen + 1] = tostring(ok) .. e.type .. e.details.reason\n"
    "  act:sleep(0.01) act:sleep(0.01) local now, why = act:canceled() seen[#seen + 1] = tostring(now) .. why return seen end)\n"
    "activity('stubborn', function(d, act) while true do pcall(act.sleep, act, d) end end)";

/* It is told once, and may wait while it cleans up. */
static void test_cancel(void) {
  world w;
  world_open(&w, MEMORY);
  load(&w, canceled_source);
  uint32_t nap = start(&w, "nap", "1000"), other = start(&w, "nap", "0.05"), cleans = start(&w, "cleans", "1000");
  lnt__avm_cancel(w.avm, token_of(nap), LNT_CANCEL_TIMEOUT);
  lnt__avm_cancel(w.avm, token_of(nap), LNT_CANCEL_CLOSED);
  lnt__avm_cancel(w.avm, token_of(cleans), LNT_CANCEL_REQUESTED);
  lnt__avm_cancel(w.avm, token_of(4711), LNT_CANCEL_REQUESTED);
  CHECK_EQ_UINT(w.count, 0);
  run_until_idle(&w);
  CHECK_EQ_UINT(w.count, 3);
  CHECK_HAS(find(&w, nap)->json, "\"type\":\"Canceled\",\"details\":{\"reason\":\"timeout\"}");
  CHECK_EQ_STR(find(&w, cleans)->json, "[false,\"canceled\",\"falseCanceledcanceled\",\"truecanceled\"]");
  CHECK_EQ_STR(find(&w, other)->json, "null");
  world_close(&w);
}

/* Nobody cleans up for ever. */
static void test_grace(void) {
  world w;
  world_open(&w, MEMORY);
  lnt__avm_options options = options_of(&w, MEMORY);
  options.grace_us = 50000;
  lnt__avm_destroy(w.avm);
  CHECK_STATUS(lnt__avm_create(&options, &w.avm, NULL), LNT_OK);
  load(&w, canceled_source);
  uint32_t stubborn = start(&w, "stubborn", "1000"), quick = start(&w, "stubborn", "0");
  lnt__avm_cancel(w.avm, token_of(stubborn), LNT_CANCEL_REQUESTED);
  lnt__avm_cancel(w.avm, token_of(quick), LNT_CANCEL_REQUESTED);
  run_until_idle(&w);
  CHECK_EQ_UINT(w.count, 2);
  CHECK_HAS(find(&w, stubborn)->json, "did not end within its grace");
  CHECK_HAS(find(&w, quick)->json, "did not end within its grace");
  world_close(&w);
}

/* ---- Signs of life, answers from outside ---- */

static void test_heartbeats_and_later_answers(void) {
  world w;
  world_open(&w, MEMORY);
  load(&w, "activity('beats', function(n, act) local over, why = act:heartbeat({n}) act:heartbeat()\n"
           "  return {act.heartbeat_details, over, why} end)\n"
           "activity('told', function(n, act) local c, why = act:heartbeat('stop') return {c, why, act:canceled()} end)\n"
           "activity('bad', function(n, act) act:heartbeat(print) end)\n"
           "activity('later', function(n, act) return nil, act:log(act:complete_later()) end)\n"
           "activity('naps', function(n, act) act:complete_later() act:sleep(0.001) end)\n"
           "activity('both', function(n, act) act:complete_later() return 5 end)\n"
           "activity('broken', function(n, act) act:complete_later() error('it broke') end)");
  CHECK_EQ_STR(outcome(&w, "beats", "7"), "[{\"so\":\"far\"},false]");
  CHECK_EQ_STR(w.beats, "[7];null;");
  CHECK_EQ_STR(outcome(&w, "told", "7"), "[true,\"canceled\",true,\"canceled\"]");
  CHECK_HAS(outcome(&w, "bad", NULL), "act:heartbeat: details: a function cannot be stored");
  CHECK_EQ_STR(outcome(&w, "later", NULL), "(no answer)");
  CHECK_HAS(w.log, "7:4:1");
  CHECK_EQ_UINT(w.deferred, w.seq);
  CHECK_EQ_STR(outcome(&w, "naps", NULL), "(no answer)");
  CHECK_EQ_UINT(w.deferred, w.seq);
  CHECK_HAS(outcome(&w, "both", NULL), "it must return nothing");
  CHECK_HAS(outcome(&w, "broken", NULL), "it broke");
  CHECK(w.deferred != w.seq);
  world_close(&w);
}

static int pid_in(const char *path) {
  FILE *file = fopen(path, "r");
  int pid = 0;
  if (file && fscanf(file, "%d", &pid) != 1) pid = 0;
  if (file) fclose(file);
  return pid;
}

static int start_child(world *w, uint32_t *seq, const char *script) {
  char input[512], path[256];
  snprintf(path, sizeof path, "%s/pid", w->dir);
  snprintf(input, sizeof input, "\"%s echo $$ > %s; exec sleep 1000\"", script, path);
  *seq = start(w, "child", input);
  run_until_file(w, path);
  return pid_in(path);
}

static void test_cancel_kills_children(void) {
  world w;
  uint32_t seq;
  world_open(&w, MEMORY);
  load(&w, "activity('child', function(cmd, act) return act:run('sh', {'-c', cmd}) end)");
  int pid = start_child(&w, &seq, "");
  REQUIRE(pid > 0);
  CHECK_EQ_INT(kill(pid, 0), 0);
  lnt__avm_cancel(w.avm, token_of(seq), LNT_CANCEL_REQUESTED);
  run_until_idle(&w);
  CHECK_HAS(find(&w, seq)->json, "\"Canceled\"");
  while (kill(pid, 0) == 0) uv_run(&w.loop, UV_RUN_ONCE);
  CHECK_EQ_INT(errno, ESRCH);
  world_close(&w);
}

static void test_destroy_while_running(void) {
  world w;
  uint32_t seq;
  world_open(&w, MEMORY);
  load(&w, "activity('child', function(cmd, act) return act:run('sh', {'-c', cmd}) end)\n"
           "activity('nap', function(d, act) pcall(act.sleep, act, d) act:sleep(d) end)\n"
           "activity('file', function(p, act) act:write_file(p, ('x'):rep(5e6)) end)");
  int pid = start_child(&w, &seq, "trap '' TERM;");
  start(&w, "child", "\"sleep 3 & true\"");
  for (int i = 0; i < 10; i++) start(&w, "nap", "1000");
  start(&w, "file", in_dir(&w, "half"));
  CHECK_EQ_UINT(lnt__avm_running(w.avm), 13);
  lnt__avm_destroy(w.avm);
  w.avm = NULL;
  CHECK_EQ_INT(kill(pid, 0), -1);
  CHECK_EQ_UINT(w.count, 0);
  world_close(&w);
}

static void test_ends_while_waiting_in_a_branch(void) {
  world w;
  world_open(&w, MEMORY);
  load(&w, "activity('leaves', function(_, act)\n"
           "  local ok, e = pcall(coroutine.wrap(function() act:sleep(1000) end)) return tostring(e) end)");
  CHECK_HAS(outcome(&w, "leaves", NULL), "coroutine of your own");
  world_close(&w);
}

/* ---- Without a loop, and on worker threads ---- */

static void test_without_a_loop(void) {
  world w;
  world_open(&w, MEMORY);
  lnt__avm_destroy(w.avm);
  lnt__avm_options options = options_of(&w, MEMORY);
  options.loop = NULL;
  CHECK_STATUS(lnt__avm_create(&options, &w.avm, NULL), LNT_OK);
  load(&w, "activity('all', function(p, act) act:sleep(0.01) act:write_file(p, 'x') local r = act:run('cat', {p})\n"
           "  return act:read_file(p) .. r.stdout end)");
  uint32_t seq = start(&w, "all", in_dir(&w, "f"));
  CHECK(find(&w, seq) && strcmp(find(&w, seq)->json, "\"xx\"") == 0);
  CHECK_EQ_UINT(lnt__avm_running(w.avm), 0);
  world_close(&w);
}

static void workers_open(world *w, size_t threads, size_t queue_max) {
  world_open(w, MEMORY);
  lnt__workers_options options = {threads, queue_max, options_of(w, MEMORY)};
  CHECK_STATUS(lnt__workers_create(&options, &w->workers, NULL), LNT_OK);
}

static void workers_load(world *w, const char *source) {
  CHECK_STATUS(lnt__workers_load(w->workers, "a.lua", source, strlen(source), true, NULL), LNT_OK);
}

static lnt_status workers_start(world *w, const char *name, const char *input) {
  job j = job_of(w, name, input);
  lnt_status status = lnt__workers_run(w->workers, &j.activity, NULL);
  lnt_value_free(&j.input);
  return status;
}

static size_t answered(world *w) {
  pthread_mutex_lock(&w->lock);
  size_t count = w->count;
  pthread_mutex_unlock(&w->lock);
  return count;
}

static void await_answers(world *w, size_t count) {
  while (answered(w) < count) uv_run(&w->loop, UV_RUN_ONCE);
}

static void test_workers(void) {
  world w;
  workers_open(&w, 2, 1000);
  workers_load(&w, "activity('sum', {blocking = true}, function(n, act) local s = 0 for i = 1, n do s = s + i end\n"
                   "  return {s, act.instance_id} end)");
  for (int i = 0; i < 200; i++) CHECK_STATUS(workers_start(&w, "sum", "1000"), LNT_OK);
  await_answers(&w, 200);
  CHECK(w.off_thread);
  CHECK_EQ_STR(w.answers[199].json, "[500500,\"quest-1\"]");
  workers_load(&w, "activity('sum', {blocking = true}, function(n) return 'new' end)");
  CHECK_STATUS(workers_start(&w, "sum", "1"), LNT_OK);
  await_answers(&w, 201);
  CHECK_EQ_STR(w.answers[200].json, "\"new\"");
  CHECK_STATUS(workers_start(&w, "none", "1"), LNT_OK);
  await_answers(&w, 202);
  CHECK_HAS(w.answers[201].json, "ActivityNotRegistered");
  world_close(&w);
}

static void test_workers_cancel_and_limits(void) {
  world w;
  workers_open(&w, 1, 2);
  workers_load(&w, "activity('nap', function(p, act) local f = io.open(p, 'w') f:write('x') f:close() act:sleep(1000) end)\n"
                   "activity('run', function(p, act) return act:run('sleep', {'1000'}) end)");
  char path[256];
  snprintf(path, sizeof path, "%s/on", w.dir);
  CHECK_STATUS(workers_start(&w, "nap", in_dir(&w, "on")), LNT_OK);
  run_until_file(&w, path);
  uint32_t running = w.seq;
  CHECK_STATUS(workers_start(&w, "run", NULL), LNT_OK);
  uint32_t second = w.seq;
  CHECK_STATUS(workers_start(&w, "nap", in_dir(&w, "on2")), LNT_OK);
  uint32_t queued = w.seq;
  CHECK_STATUS(workers_start(&w, "nap", in_dir(&w, "on3")), LNT_ELIMIT);
  CHECK_EQ_UINT(lnt__workers_running(w.workers), 3);
  lnt__workers_cancel(w.workers, token_of(queued), LNT_CANCEL_TIMEOUT);
  lnt__workers_cancel(w.workers, token_of(running), LNT_CANCEL_TIMEOUT);
  await_answers(&w, 1);
  CHECK_HAS(find(&w, running)->json, "\"Canceled\"");
  lnt__workers_cancel(w.workers, token_of(second), LNT_CANCEL_TIMEOUT);
  await_answers(&w, 3);
  CHECK_HAS(find(&w, second)->json, "\"Canceled\"");
  CHECK_HAS(find(&w, queued)->json, "before it began");
  CHECK_STATUS(workers_start(&w, "nap", in_dir(&w, "on4")), LNT_OK);
  CHECK_STATUS(workers_start(&w, "nap", in_dir(&w, "on5")), LNT_OK);
  snprintf(path, sizeof path, "%s/on4", w.dir);
  run_until_file(&w, path);
  lnt__workers_destroy(w.workers);
  w.workers = NULL;
  CHECK_EQ_UINT(w.count, 3);
  world_close(&w);
}

/* A thread takes the place of one that is stuck, which then comes back: one of the two leaves, never both. */
static void test_workers_one_of_two_stays(void) {
  world w;
  workers_open(&w, 1, 10);
  workers_load(&w, "activity('nap', function(p, act) local f = io.open(p, 'w') f:write('x') f:close() act:sleep(1000) end)\n"
                   "activity('quick', function(n) return n end)");
  for (size_t round = 1; round <= 100; round++) {
    char path[256], name[32];
    snprintf(name, sizeof name, "on%zu", round);
    snprintf(path, sizeof path, "%s/%s", w.dir, name);
    CHECK_STATUS(workers_start(&w, "nap", in_dir(&w, name)), LNT_OK);
    run_until_file(&w, path);
    lnt__workers_cancel(w.workers, token_of(w.seq), LNT_CANCEL_TIMEOUT);
    usleep((useconds_t)(round % 50) * 200); /* so that the other one comes before, while and after it ends */
    CHECK_STATUS(workers_start(&w, "quick", "1"), LNT_OK);
    await_answers(&w, 2 * round);
  }
  world_close(&w);
}

/* Activities that no one can stop: compiled loops, until flag[0] is set; flag[1] counts those that began. */
static const char spin[] =
    "local ffi = require('ffi') ffi.cdef('int sched_yield(void);')\n"
    "activity('spin', {blocking = true}, function(address)\n"
    "  local flag = ffi.cast('volatile int *', tonumber(address))\n"
    "  flag[1] = flag[1] + 1\n"
    "  while flag[0] == 0 do ffi.C.sched_yield() end end)\n" /* without a call the compiler reads flag[0] once */
    "activity('quick', {blocking = true}, function(n) return n end)";

static void start_spin(world *w, volatile int *flag) {
  char input[64];
  int begun = flag[1];
  snprintf(input, sizeof input, "\"%llu\"", (unsigned long long)(uintptr_t)flag);
  CHECK_STATUS(workers_start(w, "spin", input), LNT_OK);
  while (flag[1] == begun) uv_run(&w->loop, UV_RUN_ONCE);
}

static size_t threads_now(void) {
  size_t count = 0;
  DIR *d = opendir("/proc/self/task");
  for (struct dirent *e; d && (e = readdir(d)) != NULL;) count += e->d_name[0] != '.';
  if (d) closedir(d);
  return count;
}

static void test_workers_replace_a_stuck_thread(void) {
  world w;
  static volatile int flag[2];
  workers_open(&w, 1, 100);
  workers_load(&w, spin);
  flag[0] = flag[1] = 0;
  start_spin(&w, flag);
  uint32_t first = w.seq;
  CHECK_STATUS(workers_start(&w, "quick", "1"), LNT_OK);
  lnt__workers_cancel(w.workers, token_of(first), LNT_CANCEL_TIMEOUT);
  await_answers(&w, 1);
  start_spin(&w, flag);
  lnt__workers_cancel(w.workers, token_of(w.seq), LNT_CANCEL_TIMEOUT);
  CHECK_STATUS(workers_start(&w, "quick", "2"), LNT_OK);
  await_answers(&w, 2);
  CHECK_EQ_STR(w.answers[1].json, "2");
  CHECK_EQ_UINT(lnt__workers_running(w.workers), 2);
  flag[0] = 1;
  while (lnt__workers_running(w.workers)) uv_run(&w.loop, UV_RUN_ONCE);
  CHECK_STATUS(workers_start(&w, "quick", "3"), LNT_OK);
  while (!find(&w, w.seq)) uv_run(&w.loop, UV_RUN_ONCE);
  world_close(&w);
}

static void test_workers_leave_a_stuck_thread_behind(void) {
  world w;
  static volatile int flag[2];
  size_t threads;
  workers_open(&w, 2, 100);
  threads = threads_now();
  workers_load(&w, spin);
  flag[0] = flag[1] = 0;
  start_spin(&w, flag);
  CHECK_STATUS(workers_start(&w, "quick", "1"), LNT_OK);
  await_answers(&w, 1);
  lnt__workers_destroy(w.workers);
  w.workers = NULL;
  CHECK_HAS(w.log, "the activity \"spin\" still runs on a worker thread, which is left behind");
  CHECK_EQ_UINT(threads_now(), threads + 1);
  world_close(&w);
  memset(&w, 0x5a, sizeof w);
  flag[0] = 1; /* it comes back, and finds nothing that it may touch */
  while (threads_now() > threads) usleep(1000);
}

CHECK_MAIN(test_results, test_quick_ones, test_failures, test_out_of_memory, test_failing_allocations,
           test_watchdog_stops_what_computes_for_ever, test_watchdog_stops_a_load, test_watchdog_tells_of_slow_calls,
           test_watchdog_keeps_timeouts, test_watchdog_stops_what_was_canceled, test_bad_files, test_reload, test_require, test_sleep,
           test_files, test_processes, test_cancel, test_grace, test_heartbeats_and_later_answers, test_cancel_kills_children,
           test_destroy_while_running, test_ends_while_waiting_in_a_branch, test_without_a_loop, test_workers,
           test_workers_cancel_and_limits, test_workers_one_of_two_stays, test_workers_replace_a_stuck_thread,
           test_workers_leave_a_stuck_thread_behind);
