/* test_workflow.c - the language of workflows: activities, timers, events, tasks, branches, mistakes; and loading files. See story.h. */
#include <stdio.h>
#include <stdlib.h>

#include "story.h"

/* ---- Stories ---- */

static void test_values_go_in_and_out(void) {
  story(MAIN("return input"), "{\"a\":[1,2.5,\"x\",true,{}],\"b\":[],\"c\":{\"d\":[[]]}}",
        "{\"a\":[1,2.5,\"x\",true,{}],\"b\":[],\"c\":{\"d\":[[]]}}");
  story(MAIN("return ctx:call_activity('echo', input)"), "[1,[2,[3]]]", "[1,[2,[3]]]");
  story(MAIN("return nil"), NULL, "null");
  story(MAIN("local t = {1,2,3}; t[2] = nil; return {#input, t[1], t[3]}"), "\"four\"", "[4,1,3]");
}

static void test_activities_follow_each_other(void) {
  story(MAIN("local n = 0; for i = 1, 20 do n = n + ctx:call_activity('echo', i) end return n"), NULL, "210");
  story(MAIN("return ctx:call_activity('echo')"), NULL, "null");
  story(MAIN("return select('#', ctx:call_activity('echo', 1))"), NULL, "1");
}

static void test_failures_are_tables_that_pcall_catches(void) {
  story(MAIN("local ok, e = pcall(function() return ctx:call_activity('fail') end) return {ok, e.type, e.message, tostring(e), 'so: ' .. "
             "e}"), NULL,
        "[false,\"Boom\",\"it broke\",\"Boom: it broke\",\"so: Boom: it broke\"]");
  story(MAIN("local ok, e = pcall(ctx.call_activity, ctx, 'fail') return {ok, e.type}"), NULL, "[false,\"Boom\"]");
  story_fails(MAIN("ctx:call_activity('fail')"), "\"type\":\"Boom\"");
  story_fails(MAIN("error('my own')"), "story.lua:1: my own");
  story_fails(MAIN("error({type = 'Mine', message = 'm', retryable = false, details = {1, 2}})"),
              "{\"type\":\"Mine\",\"details\":[1,2],\"message\":\"m\",\"retryable\":false}");
  story_fails(MAIN("local x = nil; return x.field"), "story.lua:1: attempt to index local 'x'");
}

static void test_retries_are_the_engines(void) {
  story(MAIN("return ctx:call_activity('flaky', 5, {retry = {max_attempts = 3, interval = '100ms', backoff = 2}})"), NULL, "5");
  story(MAIN("local ok, e = pcall(function() return ctx:call_activity('flaky', 5, {retry = {max_attempts = 3, non_retryable = {'Boom'}}}) "
             "end) return e.type"), NULL,
        "\"Boom\"");
  story(MAIN("local ok, e = pcall(function() return ctx:call_activity('never', 5, {timeout = '1s'}) end) return e.type"), NULL,
        "\"Timeout\"");
}

static void test_timers_move_the_time(void) {
  story(MAIN("local a = ctx:now(); ctx:sleep(1.5); local b = ctx:now(); ctx:create_timer({at = b + 1}); return {b - a >= 1.5, ctx:now() - "
             "b >= 1, os.time() == math.floor(ctx:now())}"),
        NULL, "[true,true,true]");
  story(MAIN("return ctx:current_utc_datetime()"), NULL, "\"2023-11-14T22:13:20.000000Z\"");
}

static void test_events_arrive_in_order(void) {
  story(MAIN("local a = ctx:wait_for_external_event('go'); local b = ctx:wait_for_external_event('go'); return {a, b}"), NULL, "[1,2]");
  story(MAIN("local ok, e = pcall(function() return ctx:wait_for_external_event('other', {timeout = '1s'}) end) return {ok, e.type, "
             "e.retryable, tostring(e)}"), NULL,
        "[false,\"Timeout\",false,\"Timeout: no event \\\"other\\\" came within the timeout\"]");
  story(MAIN("return ctx:wait_for_external_event('go', {timeout = '1h'})"), NULL, "1");
  story(MAIN("ctx:sleep(5) local a, b = ctx.async:wait_for_external_event('go'), ctx.async:wait_for_external_event('go') "
             "return {a:await(), ctx:when_all{b}[1], ctx:wait_for_external_event('go')}"), NULL, "[1,2,3]");
}

static void test_when_all_keeps_the_order_of_the_list(void) {
  story(MAIN("local t = {} for i = 1, 10 do t[i] = ctx.async:call_activity('echo', i * i) end return ctx:when_all(t)"), NULL,
        "[1,4,9,16,25,36,49,64,81,100]");
  story(MAIN("return ctx:when_all({})"), NULL, "[]");
  story(MAIN("local ok, e = pcall(function() ctx:when_all{ctx.async:call_activity('echo', 1), ctx.async:call_activity('fail')} end) "
             "return {ok, e.type}"), NULL,
        "[false,\"Boom\"]");
  story(MAIN("local a = ctx.async:call_activity('echo', 1); local both = ctx.async:when_all{a, ctx.async:sleep(1)}; local i, v = "
             "ctx:when_any{a, both}; return {i, v, both:await()[1], a:await(), a:done()}"), NULL,
        "[1,1,1,1,true]");
}

static void test_when_any_tells_which(void) {
  story(MAIN("local i, v = ctx:when_any{ctx.async:create_timer('1h'), ctx.async:call_activity('echo', 'x')} return {i, v}"), NULL,
        "[2,\"x\"]");
  story(MAIN("local go = ctx.async:wait_for_external_event('go') local n = 0 while true do local i, v = ctx:when_any{go, "
             "ctx.async:sleep(1)} "
             "if i == 1 then return {n, v} end n = n + 1 end"), NULL, "[2,1]");
  story(MAIN("local a = ctx.async:call_activity('never') local b = ctx.async:call_activity('echo', 2) local i = ctx:when_any{a, b} "
             "a:cancel() "
             "local ok, e = pcall(a.await, a) return {i, ok, e.type, a:done()}"), NULL, "[2,false,\"Canceled\",true]");
  story(MAIN("local both = ctx.async:when_all{ctx.async:call_activity('echo', 1), ctx.async:call_activity('echo', 2)} "
             "local i, v = ctx:when_any{ctx.async:create_timer('1h'), both} return {i, v}"), NULL, "[2,[1,2]]");
}

static void test_tasks_fail_like_calls(void) {
  story(MAIN("local t = {ctx.async:wait_for_external_event('other', {timeout = '1s'}), ctx.async:sleep('2s')} local ok, e = "
             "pcall(ctx.when_all, ctx, t) "
             "return {ok, tostring(e), t[2]:done(), tostring(t[1])}"), NULL,
        "[false,\"Timeout: no event \\\"other\\\" came within the timeout\",true,\"task (an event \\\"other\\\", failed)\"]");
  story(MAIN("local t = {} for i = 1, 300 do t[i] = ctx.async:call_activity('echo', i) end for i = 1, 300, 2 do t[i]:cancel() end "
             "local sum = 0 for i = 2, 300, 2 do sum = sum + t[i]:await() end return sum"), NULL, "22650");
  story(MAIN("local t = ctx.async:when_all{ctx.async:sleep(100), ctx.async:sleep(200)} t:cancel() local ok, e = pcall(t.await, t) return "
             "e.type"), NULL,
        "\"Canceled\"");
}

static void test_branches_run_side_by_side(void) {
  story(MAIN("local out = {} local function walk(name, n) for i = 1, n do ctx:call_activity('echo', i) out[#out + 1] = name .. i end "
             "return name end "
             "local a, b = ctx:spawn(walk, 'a', 3), ctx:spawn(walk, 'b', 2) local names = ctx:when_all{a, b} "
             "return {table.concat(out, ' '), names[1], names[2]}"), NULL, "[\"a1 b1 a2 b2 a3\",\"a\",\"b\"]");
  story(MAIN("local t = ctx:spawn(function() ctx:sleep(1) error('in a branch') end) local ok, e = pcall(t.await, t) return {ok, "
             "e.message}"), NULL,
        "[false,\"story.lua:1: in a branch\"]");
  story(MAIN("local t = ctx:spawn(function() ctx:wait_for_external_event('never') end) ctx:sleep(1) t:cancel() local ok, e = "
             "pcall(t.await, t) return e.type"), NULL,
        "\"Canceled\"");
  story(MAIN("ctx:spawn(function() ctx:sleep(1000) end) return 'not waited for'"), NULL, "\"not waited for\"");
}

static void test_waits_pass_through_the_authors_coroutines(void) {
  story(MAIN("local gen = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(ctx:call_activity('echo', i * 10)) end end) return "
             "{gen(), gen(), gen()}"), NULL,
        "[10,20,30]");
  story(MAIN("local t = {3, 1, 2} table.sort(t, function(a, b) return ctx:call_activity('echo', a < b) end) return t"), NULL, "[1,2,3]");
  story(MAIN("return (('a-b'):gsub('%a', function(c) return ctx:call_activity('echo', c:upper()) end))"), NULL, "\"A-B\"");
}

static void test_random_numbers_repeat(void) {
  char outs[MODES][4000], log[2000];
  for (int how = 0; how < MODES; how++)
    run_mode((mode)how, MAIN("local out = {math.random(1000000), ctx:random(1000000), ctx:uuid(), ctx:random(), ctx:random(5, 6)} "
                             "ctx:call_activity('echo') "
             "out[6] = math.random() out[7] = ctx:uuid() return out"), NULL, outs[how], sizeof outs[how], log, sizeof log);
  CHECK(strlen(outs[0]) > 90);
  CHECK_EQ_STR(outs[0], outs[1]);
  CHECK_EQ_STR(outs[0], outs[2]);
}

static void test_ctx_knows_its_instance(void) {
  story(MAIN("return {ctx.instance_id, ctx.workflow_name, ctx:is_replaying(), tostring(ctx)}"), NULL, "[\"one\",\"main\",false,\"ctx\"]");
}

static void test_mistakes_are_told_at_the_authors_line(void) {
  story_fails("workflow('main', function(ctx)\n\n  ctx.call_activity('x')\nend)",
              "story.lua:3: call it with a colon: ctx:call_activity(...)");
  story_fails("workflow('main', function(ctx)\n  ctx:call_activity('x', {a = {1, 2, print}})\nend)",
              "story.lua:2: call_activity: input.a[3]: a function cannot be stored");
  story_fails(MAIN("local t = {} t.self = t ctx:call_activity('x', t)"), "input.self: the table contains itself");
  story_fails(MAIN("local t = {} for i = 1, 100 do t = {t} end ctx:call_activity('x', t)"), "nested deeper than 64");
  story_fails(MAIN("ctx:call_activity('x', ('x'):rep(3000000))"), "payload_bytes_max");
  story_fails("workflow('main', function(ctx)\n  ctx:sleep('5 parsecs')\nend)", "story.lua:2: sleep: \\\"5 parsecs\\\" is not a duration");
  story_fails("\n\nworkflow('main', function(ctx)\n  return ctx:call_activity(5)\nend)",
              "story.lua:4: call_activity: the name of the activity must be a string");
  story_fails("workflow('main', function(ctx, n)\n  if n == 1 then return ctx:sleep('x') end\n  -- return ctx:sleep(2)\n"
              "  if n then return ctx.async:sleep(1) end\n  return ctx:sleep('5 parsecs') end)",
              "story.lua:5: sleep: \\\"5 parsecs");
  story_fails("workflow('main', function(c, n)\n  if n == 1 then return c:sleep('x') end\n  -- return c:sleep(2)\n"
              "  if n then return c.async:sleep(1) end\n  return c:sleep('5 parsecs') end)",
              "story.lua:2 or 4 or 5: sleep: \\\"5 parsecs");
  story_fails("\n\nworkflow('main', function(ctx)\n  local f = ctx.sleep\n  return f(ctx, -1)\nend)",
              "story.lua:3: in a return of the function that begins here");
  story_fails(MAIN("ctx:sleep(-1)"), "-1 is not a duration");
  story_fails(MAIN("ctx:call_activity('x', 1, {tries = 3})"), "unknown option 'tries'");
  story_fails(MAIN("ctx:call_activity('x', 1, {retry = {max_attempts = 0}})"), "retry.max_attempts cannot be 0");
  story_fails(MAIN("ctx:call_actvity('x')"), "ctx has no 'call_actvity'");
  story_fails(MAIN("ctx.x = 1"), "cannot be changed");
  story_fails(MAIN("ctx:when_any({})"), "the list is empty");
  story_fails(MAIN("ctx:when_all({1})"), "item 1 of the list is a number, not a task");
  story_fails("workflow('main', function(ctx)\n  local a, b = ctx.async:sleep(1), ctx.async:sleep(1)\n  ctx:when_all{a, b, a}\nend)",
              "story.lua:3: when_all: items 1 and 3 of the list are the same task; give each task once");
  story_fails(MAIN("ctx:when_all({}, {fail_fest = true})"), "unknown option 'fail_fest'; did you mean 'fail_fast'?");
  story_fails(MAIN("ctx:when_any({ctx.async:sleep(1)}, {cancel_losers = 1})"), "when_any: cancel_losers must be true or false, got number");
  story_fails(MAIN("local t = ctx.async:sleep(1) for i = 1, 40 do t = ctx.async:when_all{t} end"), "nested more than 32 deep");
  story_fails("workflow('main', function(ctx)\n  ctx:scope(5)\nend)", "story.lua:2: scope: a function expected, got number");
  story_fails(MAIN("ctx:scope(function() end, {timeout = 'soon'})"), "scope: timeout: \\\"soon\\\" is not a duration");
  story_fails(MAIN("ctx:scope(function() end, '5m')"), "scope: options must be a table such as {timeout = \\\"5m\\\"}, got string");
  story_fails(MAIN("ctx:scope(function(scope) scope.cancel() end)"), "call it with a colon: scope:cancel()");
  story_fails(MAIN("ctx:scope(function(scope) scope:spawn(print) end)"), "a scope has no 'spawn'");
  story_fails(MAIN("ctx:scope(function(scope) scope:cancel({}) end)"), "cancel: the reason must be a string, got table");
  story_fails(MAIN("coroutine.wrap(function() ctx:scope(function() end) end)()"), "scope cannot be called inside a coroutine of your own");
  story_fails(MAIN("ctx.async:map({}, print)"), "ctx.async has no 'map'; it has ");
  story_fails(MAIN("ctx.async:map({}, print)"), "anything else is a task in a branch: ctx:spawn(function() ... end)");
  story_fails(MAIN("ctx:side_effect(function() ctx:scope(print) end)"), "scope cannot be called inside ctx:side_effect");
  story_fails(MAIN("ctx:side_effect(function() ctx:shield(print) end)"), "shield cannot be called inside ctx:side_effect");
  story_fails(MAIN("ctx:scope(function(scope) ctx:side_effect(function() scope:cancel() end) end)"),
              "scope:cancel cannot be called inside ctx:side_effect");
  story_fails(MAIN("ctx:shield()"), "shield: a function expected, got");
  story_fails(MAIN("ctx:map(5, print)"), "map: a list expected, got number");
  story_fails(MAIN("ctx:map({}, print, {concurrency = 0})"), "map: concurrency must be a whole number from 1 to 10000");
  story_fails(MAIN("ctx:map({}, print, {concurrency = 2.5})"), "map: concurrency must be a whole number");
  story_fails(MAIN("coroutine.yield(1)"), "story.lua:1: coroutine.yield outside a coroutine");
  story_fails("workflow('main', function()\n  return {items = {1, print}}\nend)",
              "story.lua:1: the workflow's result cannot be stored: output.items[2]: a function");
  story_fails(MAIN("return function() end"), "\"type\":\"InvalidValue\"");
  story_fails(MAIN("workflow('x', print)"), "workflow() belongs to the top level");
}

static void test_endless_and_greedy_workflows_are_stopped(void) {
  story_fails(MAIN("while true do end"), "\"type\":\"BudgetExceeded\"");
  story_fails(MAIN("local function again() ctx:spawn(again) end again() ctx:sleep(1)"), "\"type\":\"BudgetExceeded\"");
  story_fails(MAIN("while true do ctx:spawn(function() end):await() end"), "\"type\":\"BudgetExceeded\"");
  story_fails(MAIN("while true do pcall(function() while true do end end) end"), "\"type\":\"BudgetExceeded\"");
  story_fails(MAIN("local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end"), "\"type\":\"OutOfMemory\"");
  story_fails(MAIN("ctx:call_activity('echo', 1) local t = ctx:spawn(function() while true do end end) pcall(t.await, t)"),
              "\"type\":\"BudgetExceeded\"");
  story_fails(MAIN("local function f() return 1 + f() end return f()"), "\"type\":\"StackOverflow\"");
}

static void test_instances_share_nothing(void) {
  world w;
  lnt_error err;
  char out[200];
  world_init(&w, KEEP);
  CHECK_STATUS(load(&w, "story.lua", "local n = 0; g = 0; workflow('main', function(ctx) n = n + 1 g = g + 1 ctx:sleep(1) return {n, g} "
                    "end)", &err), LNT_OK);
  start(&w, "main", "a", NULL);
  start(&w, "main", "b", NULL);
  play(&w, "b");
  result_of(&w, "a", out, sizeof out);
  CHECK_EQ_STR(out, "[1,1]");
  result_of(&w, "b", out, sizeof out);
  CHECK_EQ_STR(out, "[1,1]");
  world_finish(&w);
}

static void test_a_hundred_instances_at_once(void) {
  for (int how = 0; how < CRASH; how++) {
    world w;
    lnt_error err;
    char id[20], out[200], wanted[20];
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "story.lua", MAIN("local n = 0 for i = 1, 10 do n = n + ctx:call_activity('echo', input) end return n"), &err),
                 LNT_OK);
    for (int i = 0; i < 100; i++) {
      snprintf(id, sizeof id, "i%d", i);
      snprintf(out, sizeof out, "%d", i);
      start(&w, "main", id, out);
    }
    settle(&w);
    for (int i = 0; i < 100; i++) {
      snprintf(id, sizeof id, "i%d", i);
      snprintf(wanted, sizeof wanted, "%d", i * 10);
      result_of(&w, id, out, sizeof out);
      CHECK_EQ_STR(out, wanted);
    }
    world_finish(&w);
  }
}

/* ---- Loading ---- */

static void refuses(const char *source, lnt_status wanted, const char *part) {
  world w;
  lnt_error err = {LNT_OK, ""};
  world_init(&w, KEEP);
  CHECK_STATUS(load(&w, "dir/story.lua", source, &err), wanted);
  CHECK_HAS(err.message, part);
  world_finish(&w);
}

static void test_files_that_do_not_load_say_where(void) {
  refuses("workflow('main', function()\n  local = 5\nend)", LNT_ESYNTAX, "story.lua:2: ");
  refuses("\n\nerror('stop')", LNT_ESYNTAX, "story.lua:3: stop");
  refuses("coroutine.yield(1)", LNT_ESYNTAX, "coroutine.yield outside a coroutine");
  refuses("while true do end", LNT_ESYNTAX, "instructions");
  refuses("workflow('a', function() end)\nworkflow('a', function() end)", LNT_ESYNTAX, "story.lua:2: the workflow \"a\" is defined twice");
  refuses("workflow('a', 5)", LNT_ESYNTAX, "a function expected, got number");
  refuses("workflow(nil, print)", LNT_ESYNTAX, "the name must be a string");
  refuses("end return function() ", LNT_ESYNTAX, "story.lua:1:");
  refuses("print(os.time())", LNT_ESYNTAX, "story.lua:1:");
  refuses("\27LJ\2\n", LNT_ESYNTAX, "story.lua");
}

static void test_loading_is_atomic_and_names_belong_to_files(void) {
  world w;
  lnt_error err;
  uint8_t first[LNT__SHA256_BYTES], second[LNT__SHA256_BYTES];
  world_init(&w, KEEP);
  CHECK_STATUS(load(&w, "a.lua", "workflow('x', function() return 1 end) workflow('y', function() end)", &err), LNT_OK);
  CHECK_STATUS(lnt__wvm_resolve(w.wvm, "x", first, &err), LNT_OK);
  CHECK_STATUS(load(&w, "b.lua", "workflow('z', function() end) workflow('x', function() return 2 end)", &err), LNT_EEXIST);
  CHECK_HAS(err.message, "a.lua");
  CHECK_STATUS(lnt__wvm_resolve(w.wvm, "z", second, &err), LNT_ENOTFOUND);
  CHECK_STATUS(load(&w, "a.lua", "workflow('x', function() return 1 end", &err), LNT_ESYNTAX);
  CHECK_STATUS(lnt__wvm_resolve(w.wvm, "x", second, &err), LNT_OK);
  CHECK_EQ_MEM(first, second, sizeof first);
  CHECK_STATUS(load(&w, "a.lua", "workflow('x', function() return 2 end)", &err), LNT_OK);
  CHECK_STATUS(lnt__wvm_resolve(w.wvm, "x", second, &err), LNT_OK);
  CHECK(memcmp(first, second, sizeof first) != 0);
  CHECK_STATUS(lnt__wvm_resolve(w.wvm, "y", second, &err), LNT_ENOTFOUND);
  CHECK_HAS(err.message, "no workflow \"y\" is loaded");
  CHECK_STATUS(lnt__wvm_resolve(w.wvm, "xx", second, &err), LNT_ENOTFOUND);
  CHECK_HAS(err.message, "did you mean \"x\"?");
  CHECK_STATUS(load(&w, "c.lua", "activity('only', function() end)", &err), LNT_OK);
  world_finish(&w);
}

static void test_instances_keep_the_code_they_began_with(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    char out[200];
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "a.lua", MAIN("ctx:sleep(1) return 'old'"), &err), LNT_OK);
    start(&w, "main", "one", NULL);
    settle(&w);
    CHECK_STATUS(load(&w, "a.lua", MAIN("return 'new'"), &err), LNT_OK);
    start(&w, "main", "two", NULL);
    play(&w, "one");
    result_of(&w, "one", out, sizeof out);
    CHECK_EQ_STR(out, "\"old\"");
    result_of(&w, "two", out, sizeof out);
    CHECK_EQ_STR(out, "\"new\"");
    world_finish(&w);
  }
}

static void test_bundles_hold_file_and_source(void) {
  world w;
  lnt_error err;
  lnt_value file, source;
  world_init(&w, KEEP);
  CHECK_STATUS(load(&w, "some/where/a.lua", "-- nothing", &err), LNT_OK);
  CHECK(lnt__bundle_main(w.bundles[0].data, w.bundles[0].size, &file, &source));
  CHECK_EQ_MEM(file.data, "a.lua", 5);
  CHECK_EQ_MEM(source.data, "-- nothing", 10);
  CHECK(!lnt__bundle_module(w.bundles[0].data, w.bundles[0].size, "m", &file, &source));
  world_finish(&w);
}

static void write_file(const char *dir, const char *name, const char *text) {
  char path[300];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "w");
  CHECK(f != NULL);
  if (!f) return;
  fputs(text, f);
  fclose(f);
}

static void test_modules_are_required_per_instance(void) {
  char dir[] = "/tmp/lnt-test-workflow-XXXXXX", out[1000], command[100];
  CHECK(mkdtemp(dir) != NULL);
  write_file(dir, "counter.lua", "local M = {n = 0} function M.next() M.n = M.n + 1 return M.n end return M");
  write_file(dir, "bad.lua", "local f = io.open('x') return {}");
  write_file(dir, "late.lua", "return {answer = 42}");
  write_file(dir, "round.lua", "require 'round' return {}");
  for (int how = 0; how < CRASH; how++) {
    world w;
    lnt_error err = {LNT_OK, ""};
    world_init(&w, (mode)how);
    close_engine(&w);
    w.module_path = dir;
    open_engine(&w);
    CHECK_STATUS(load(&w, "a.lua", "local c, bad, none, ring = require 'counter', require 'bad', require 'no.such', "
                      "require('round')\nlocal socket = require 'socket'; local tcp = socket.tcp(); tcp.x = 1\n"
                      MAIN("c.next() ctx:sleep(1) local _, e1 = pcall(function() return bad.x end) local _, e2 = pcall(function() return "
                           "none() end) "
                           "local _, e3 = pcall(function() return ring.x end) "
                           "return {c.next(), require('late').answer, require('counter') == c, e1:match('cannot be used') ~= nil, "
                               "e2:match('no/such') or e2, "
                           "e3:match('requires itself')}"), &err), LNT_OK);
    start(&w, "main", "one", NULL);
    start(&w, "main", "two", NULL);
    play(&w, "two");
    result_of(&w, "one", out, sizeof out);
    if (how == KEEP) CHECK_HAS(out, "[2,42,true,true,");
    CHECK_HAS(out, "requires itself");
    result_of(&w, "two", out, sizeof out);
    CHECK_HAS(out, "[2,42,true,true,");
    lnt_value file, source;
    CHECK(lnt__bundle_module(w.bundles[0].data, w.bundles[0].size, "late", &file, &source));
    world_finish(&w);
  }
  snprintf(command, sizeof command, "rm -r %s", dir);
  CHECK_EQ_INT(system(command), 0);
}

static void test_an_instance_whose_code_is_gone_stalls_until_it_is_back(void) {
  world w;
  lnt_error err;
  char out[200];
  world_init(&w, EVICT);
  CHECK_STATUS(load(&w, "a.lua", MAIN("ctx:call_activity('echo', 1) return ctx:wait_for_external_event('go')"), &err), LNT_OK);
  start(&w, "main", "one", NULL);
  settle(&w);
  w.bundle_count = 0;
  close_engine(&w);
  open_engine(&w);
  raise_event(&w, "one", "go", 5);
  settle(&w);
  CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_STALLED);
  w.bundle_count = 1;
  lnt__engine_retry_stalled(w.engine, NULL);
  settle(&w);
  CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_COMPLETED);
  result_of(&w, "one", out, sizeof out);
  CHECK_EQ_STR(out, "5");
  world_finish(&w);
}

/* The bundle of another source under the pinned hash is refused: nothing runs that was not pinned. */
static void test_code_with_another_hash_is_not_run(void) {
  world w;
  lnt_error err;
  uint8_t pinned[LNT__SHA256_BYTES];
  world_init(&w, EVICT);
  CHECK_STATUS(load(&w, "a.lua", MAIN("ctx:wait_for_external_event('go') return 1"), &err), LNT_OK);
  start(&w, "main", "one", NULL);
  settle(&w);
  CHECK_STATUS(load(&w, "a.lua", MAIN("ctx:wait_for_external_event('go') return 2"), &err), LNT_OK);
  memcpy(pinned, w.bundles[0].hash, sizeof pinned);
  memcpy(w.bundles[1].hash, pinned, sizeof pinned);
  memset(w.bundles[0].hash, 0, sizeof pinned);
  close_engine(&w);
  open_engine(&w);
  raise_event(&w, "one", "go", 5);
  settle(&w);
  CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_STALLED);
  world_finish(&w);
}

static void test_logging_is_silent_in_replay(void) {
  char out[400], log[2000];
  run_mode(EVICT, MAIN("ctx:log('one') ctx:call_activity('echo') print('two', 2) ctx:call_activity('echo') ctx:log('warn', 'three')"),
           NULL, out, sizeof out, log, sizeof log);
  CHECK_EQ_STR(log, "one\ntwo\t2\nthree\n");
}

CHECK_MAIN(test_values_go_in_and_out, test_activities_follow_each_other, test_failures_are_tables_that_pcall_catches,
           test_retries_are_the_engines, test_timers_move_the_time, test_events_arrive_in_order,
           test_when_all_keeps_the_order_of_the_list, test_when_any_tells_which, test_tasks_fail_like_calls,
           test_branches_run_side_by_side, test_waits_pass_through_the_authors_coroutines, test_random_numbers_repeat,
           test_ctx_knows_its_instance, test_mistakes_are_told_at_the_authors_line, test_endless_and_greedy_workflows_are_stopped,
           test_instances_share_nothing, test_a_hundred_instances_at_once, test_files_that_do_not_load_say_where,
           test_loading_is_atomic_and_names_belong_to_files, test_instances_keep_the_code_they_began_with,
           test_bundles_hold_file_and_source, test_modules_are_required_per_instance,
           test_an_instance_whose_code_is_gone_stalls_until_it_is_back, test_code_with_another_hash_is_not_run,
           test_logging_is_silent_in_replay);
