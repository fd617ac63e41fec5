/* test_cancel.c - lists of tasks that are decided early, scopes, shields, map, and what becomes of canceled tasks, branches, instances. */
#include "story.h"

#include <stdio.h>

/* ---- Lists of tasks that are decided early ---- */

static void test_when_all_fails_at_once_if_asked(void) {
  story(MAIN("local t = {ctx.async:call_activity('never'), ctx.async:call_activity('fail'), ctx.async:sleep('1h')} local ok, e = "
             "pcall(ctx.when_all, ctx, t, {fail_fast = true}) return {ok, e.type, t[1]:state(), t[2]:state(), t[3]:state(), ctx:now() < "
             "1700000001}"), NULL,
        "[false,\"Boom\",\"canceled\",\"failed\",\"canceled\",true]");
  story(MAIN("local t = {ctx.async:call_activity('echo', 1), ctx.async:call_activity('fail')} ctx:sleep(1) local ok, e = "
             "pcall(ctx.when_all, ctx, {ctx.async:sleep('1h'), t[1], t[2]}, {fail_fast = true}) return {ok, e.type, t[1]:state()}"), NULL,
        "[false,\"Boom\",\"done\"]");
  story(MAIN("return ctx:when_all({ctx.async:call_activity('echo', 1), ctx.async:call_activity('echo', 2)}, {fail_fast = true})"), NULL,
        "[1,2]");
  story(MAIN("local slow = ctx:spawn(function() local ok, e = pcall(ctx.sleep, ctx, '1h') ctx:sleep(1) ctx:set_custom_status(e.type) "
             "error(e) end) local ok, e = pcall(ctx.when_all, ctx, {slow, ctx.async:call_activity('fail')}, {fail_fast = true}) local "
             "at_once = slow:done() pcall(slow.await, slow) return {e.type, at_once, slow:state()}"), NULL,
        "[\"Boom\",false,\"canceled\"]");
  story(MAIN("local t = ctx.async:call_activity('fail') local both = ctx.async:when_all({ctx.async:when_all{t}, ctx.async:sleep('1h')}, "
             "{fail_fast = true}) local ok, e = pcall(both.await, both) return {ok, e.type}"), NULL, "[false,\"Boom\"]");
}

static void test_when_any_tells_which_failed(void) {
  story(MAIN("local ok, e = pcall(ctx.when_any, ctx, {ctx.async:sleep('1h'), ctx.async:call_activity('fail')}) return {ok, e.index, "
             "e.type, tostring(e)}"), NULL, "[false,2,\"Boom\",\"Boom: it broke\"]");
  story(MAIN("local bad = ctx.async:call_activity('fail') local first = ctx.async:when_any{bad, ctx.async:sleep('1h')} local second = "
             "ctx.async:when_any{ctx.async:sleep('1h'), ctx.async:sleep('2h'), bad} local _, a = pcall(first.await, first) local _, b = "
             "pcall(second.await, second) local _, c = pcall(bad.await, bad) return {a.index, b.index, c.index == nil}"), NULL,
        "[1,3,true]");
  story(MAIN("local t = ctx:spawn(function() error('plain') end) local ok, e = pcall(ctx.when_any, ctx, {t}) return {e.index, e.type, "
             "e.message}"), NULL, "[1,\"Error\",\"story.lua:1: plain\"]");
}

static void test_when_any_cancels_its_losers_if_asked(void) {
  story(MAIN("local t = {ctx.async:sleep('1h'), ctx.async:call_activity('echo', 'x'), ctx.async:call_activity('never')} local i, v = "
             "ctx:when_any(t, {cancel_losers = true}) return {i, v, t[1]:state(), t[2]:state(), t[3]:state()}"), NULL,
        "[2,\"x\",\"canceled\",\"done\",\"canceled\"]");
  story(MAIN("local t = {ctx.async:wait_for_external_event('go'), ctx.async:sleep('100ms')} local i = ctx:when_any(t, {cancel_losers = "
             "true}) return {i, ctx:wait_for_external_event('go')}"), NULL, "[2,1]");
  story(MAIN("local t = {ctx.async:call_activity('fail'), ctx.async:sleep('1h')} local ok, e = pcall(ctx.when_any, ctx, t, {cancel_losers "
             "= true}) return {e.index, t[2]:state()}"), NULL, "[1,\"canceled\"]");
  story(MAIN("local inner = ctx.async:when_all{ctx.async:sleep('1h'), ctx.async:wait_for_external_event('go')} local i = "
             "ctx:when_any({inner, ctx.async:sleep('100ms')}, {cancel_losers = true}) return {i, inner:state(), "
             "ctx:wait_for_external_event('go')}"), NULL, "[2,\"canceled\",1]");
}

/* The loser's claim goes back: to the next who waits, or among the events that wait to be taken, at its place. */
static void test_an_event_that_nobody_took_goes_back(void) {
  story(MAIN("local a = ctx.async:wait_for_external_event('go') local b = ctx.async:wait_for_external_event('go') a:cancel() return "
             "{b:await(), a:state()}"), NULL, "[1,\"canceled\"]");
  story(MAIN("local a = ctx.async:wait_for_external_event('go') ctx:sleep(3) local was = a:state() a:cancel() return {was, a:state(), "
             "ctx:wait_for_external_event('go')}"), NULL, "[\"done\",\"canceled\",1]");
  story(MAIN("local a, b = ctx.async:wait_for_external_event('GO'), ctx.async:wait_for_external_event('go') ctx:sleep(7) b:cancel() "
             "a:cancel() local c = ctx.async:wait_for_external_event('go') c:cancel() return {ctx:wait_for_external_event('go'), "
             "ctx:wait_for_external_event('go'), ctx:wait_for_external_event('go')}"), NULL,
        "[1,2,3]");
  story(MAIN("local a = ctx.async:wait_for_external_event('go') local b = ctx:spawn(function() return ctx:wait_for_external_event('go', "
             "{timeout = '3s'}) end) ctx:sleep(2.5) a:cancel() return b:await()"), NULL, "1");
  story(MAIN("local a = ctx.async:wait_for_external_event('go') ctx:sleep(3) local v = a:await() a:cancel() return {v, a:state(), "
             "a:await(), ctx:wait_for_external_event('go')}"), NULL, "[1,\"done\",1,2]");
  story(MAIN("local a, b = ctx.async:wait_for_external_event('go'), ctx.async:wait_for_external_event('go') local both = "
             "ctx.async:when_all{a, b} ctx:sleep(3) both:cancel() return {a:state(), b:state(), ctx:wait_for_external_event('go'), "
             "ctx:wait_for_external_event('go')}"), NULL, "[\"canceled\",\"canceled\",1,2]");
  story(MAIN("local a, b = ctx.async:wait_for_external_event('go'), ctx.async:wait_for_external_event('go') ctx:sleep(5) local i, v = "
             "ctx:when_any({b, a}, {cancel_losers = true}) return {i, v, a:state(), ctx:wait_for_external_event('go')}"), NULL,
        "[1,2,\"canceled\",1]");
  story(MAIN("local ok, e = pcall(ctx.scope, ctx, function() local both = {ctx.async:wait_for_external_event('go'), "
             "ctx.async:wait_for_external_event('other')} ctx:when_all(both) end, {timeout = '3s'}) return {e.type, "
             "ctx:wait_for_external_event('go')}"), NULL, "[\"Timeout\",1]");
}

/* Each list that is decided decides the next: thousands, and the C stack must not notice. */
static void test_lists_decide_each_other_in_a_long_chain(void) {
  story(MAIN("local t, c = {}, {} for i = 1, 6000 do t[i] = ctx.async:sleep('1h') end for i = 1, 5999 do c[i] = "
             "ctx.async:when_any({t[i], t[i + 1]}, {cancel_losers = true}) end t[1]:cancel() return {t[6000]:state(), c[5999]:state()}"),
        NULL, "[\"canceled\",\"failed\"]");
  story(MAIN("local t, c = {ctx.async:wait_for_external_event('go')}, {} for i = 2, 8000 do t[i] = ctx.async:sleep('1h') end for i = 1, "
             "7999 do c[i] = ctx.async:when_all({t[i], t[i + 1]}, {fail_fast = true}) end t[2]:cancel() return {t[1]:state(), "
             "t[8000]:state(), c[1]:state(), ctx:wait_for_external_event('go')}"),
        NULL, "[\"canceled\",\"canceled\",\"failed\",1]");
}

/* ---- Scopes ---- */

static void test_a_scope_ends_what_it_started(void) {
  story(MAIN("return {ctx:scope(function(scope) return 1, nil, tostring(scope) end)}"), NULL, "{\"1\":1,\"3\":\"scope\"}");
  story(MAIN("local t = ctx:scope(function() return {ctx.async:call_activity('never'), ctx.async:sleep('1h'), "
             "ctx.async:wait_for_external_event('go'), ctx.async:call_activity('echo', 1)} end) local states = {} for i = 1, 4 do "
             "states[i] = t[i]:state() end states[5] = ctx:wait_for_external_event('go') return states"),
        NULL, "[\"canceled\",\"canceled\",\"canceled\",\"canceled\",1]");
  story(MAIN("local log = {} local function branch(name, rest) return function() local ok, e = pcall(ctx.sleep, ctx, '1h') log[#log + 1] "
             "= name .. ' ' .. e.type ctx:sleep(rest) log[#log + 1] = name .. ' over' error(e) end end local t = ctx:scope(function() "
             "local t = {ctx:spawn(branch('a', 2)), ctx:spawn(branch('b', 1))} ctx:sleep(1) return t end) log[#log + 1] = t[1]:state() "
             "return log"), NULL,
        "[\"a Canceled\",\"b Canceled\",\"b over\",\"a over\",\"canceled\"]");
  story(MAIN("local ran = 0 local ok, e = pcall(ctx.scope, ctx, function() ctx:spawn(function() pcall(ctx.sleep, ctx, '1h') ctx:sleep(1) "
             "ran = ran + 1 end) ctx:sleep('100ms') error({type = 'Mine', message = 'm'}) end) return {ok, e.type, ran}"), NULL,
        "[false,\"Mine\",1]");
  story(MAIN("local begun = false local t = ctx:scope(function() return ctx:spawn(function() begun = true end) end) return {begun, "
             "t:state()}"), NULL, "[false,\"canceled\"]");
  story(MAIN("local outer = ctx.async:call_activity('echo', 1) ctx:scope(function() ctx.async:when_all{outer} end) return outer:await()"),
        NULL, "1");
  story(MAIN("local stopped = {} ctx:scope(function() ctx:spawn(function() pcall(ctx.sleep, ctx, '1h') stopped[1] = "
             "ctx:call_activity('echo', 'undo') ctx:spawn(function() ctx:sleep('1h') end) end) ctx:sleep(1) end) return stopped"), NULL,
        "[\"undo\"]");
}

static void test_a_scope_has_a_timeout(void) {
  story(MAIN("local inner local ok, e = pcall(ctx.scope, ctx, function() local _, e = pcall(ctx.call_activity, ctx, 'never') inner = "
             "e.type error(e) end, {timeout = '2s'}) return {ok, inner, e.type, e.retryable, e.message, ctx:now() < 1700000004}"), NULL,
        "[false,\"Canceled\",\"Timeout\",false,\"the scope did not end within its timeout\",true]");
  story(MAIN("return ctx:scope(function() return ctx:call_activity('echo', 5) end, {timeout = '1h'})"), NULL, "5");
  story(MAIN("local ok, e = pcall(ctx.scope, ctx, function() ctx:scope(function() ctx:sleep('1h') end, {timeout = '30s'}) end, {timeout = "
             "1}) return {ok, e.type, ctx:now() < 1700000003}"), NULL, "[false,\"Timeout\",true]");
  story(MAIN("local ok, e = pcall(ctx.scope, ctx, function() local ok, e = pcall(ctx.scope, ctx, function() ctx:sleep('1h') end, {timeout "
             "= 1}) return {ok, e.type, ctx:call_activity('echo', 1)} end, {timeout = '20s'}) return e"), NULL, "[false,\"Timeout\",1]");
  story(MAIN("local ok, v = pcall(ctx.scope, ctx, function() pcall(ctx.sleep, ctx, '1h') return ctx:call_activity('echo', 'kept') end, "
             "{timeout = 1}) return {ok, v}"), NULL, "[true,\"kept\"]");
  story(MAIN("local ok, e = pcall(ctx.scope, ctx, function() local ok, e = pcall(ctx.sleep, ctx, '1h') error('undoing went wrong') end, "
             "{timeout = 1}) return {ok, e}"), NULL, "[false,\"story.lua:1: undoing went wrong\"]");
  story(MAIN("local ok, e = pcall(ctx.scope, ctx, function() while true do ctx:call_activity('echo') ctx:sleep('100ms') end end, {timeout "
             "= '1500ms'}) return {ok, e.type}"), NULL, "[false,\"Timeout\"]");
}

static void test_a_scope_can_be_canceled(void) {
  story(MAIN("local ok, e = pcall(ctx.scope, ctx, function(scope) ctx:spawn(function() ctx:sleep(1) scope:cancel('found it') end) "
             "ctx:wait_for_external_event('never') end) return {ok, e.type, e.message}"), NULL, "[false,\"Canceled\",\"found it\"]");
  story(MAIN("local seen = {} local ok, e = pcall(ctx.scope, ctx, function(scope) scope:cancel() scope:cancel('twice') seen[1] = "
             "scope:canceled() seen[2] = ctx.async:call_activity('echo'):state() ctx:call_activity('echo', 1) seen[3] = 'not here' end) "
             "return {ok, e.message, seen[1], seen[2], seen[3] == nil}"), NULL,
        "[false,\"the scope was canceled\",true,\"pending\",true]");
  story(MAIN("return ctx:scope(function(scope) scope:cancel() return 'no wait, no failure' end)"), NULL, "\"no wait, no failure\"");
  story(MAIN("local once = 0 local v = ctx:scope(function(scope) scope:cancel() if not pcall(ctx.sleep, ctx, 1) then once = once + 1 end "
             "if not pcall(ctx.sleep, ctx, 1) then once = once + 1 end return once end) return v"), NULL, "1");
  story(MAIN("local kept local ok, e = pcall(ctx.scope, ctx, function(outer) kept = outer ctx:scope(function(inner) ctx:spawn(function() "
             "outer:cancel('outer') inner:cancel('inner') end) ctx:sleep('1h') end) end) kept:cancel() return {e.message, "
             "kept:canceled(), ctx:call_activity('echo', 1)}"), NULL, "[\"outer\",true,1]");
  story(MAIN("local caught = {} local ok, e = pcall(ctx.scope, ctx, function(outer) ctx:scope(function(inner) outer:cancel('outer') "
             "inner:cancel('inner') local _, e = pcall(ctx.sleep, ctx, 1) caught[1] = e.message local _, e = pcall(ctx.sleep, ctx, 1) "
             "caught[2] = e and e.message end) caught[3] = 'on' end) return {ok, caught[1], caught[2] == nil, caught[3]}"), NULL,
        "[true,\"outer\",true,\"on\"]");
}

/* A branch deep inside learns of a cancel once, even if it waits for something of the scope that is canceled. */
static void test_one_cancel_is_raised_once(void) {
  story(MAIN("local log = {} pcall(ctx.scope, ctx, function(scope) local t = ctx.async:sleep('1h') local deep ctx:spawn(function() "
             "ctx:scope(function() deep = ctx:spawn(function() local ok, e = pcall(t.await, t) log[1] = e.message log[2] = "
             "pcall(ctx.sleep, ctx, 1) error(e) end) ctx:sleep('1h') end) end) ctx:sleep(1) scope:cancel('stop') ctx:sleep(1) end) return "
             "log"), NULL, "[\"stop\",true]");
  story(MAIN("local t = ctx:spawn(function() pcall(ctx.sleep, ctx, '1h') local ok = pcall(ctx.sleep, ctx, 1) return ok end) ctx:sleep(1) "
             "t:cancel() t:cancel() return t:await()"), NULL, "true");
  story(MAIN("local twice = 0 ctx:scope(function() local t = ctx:spawn(function() for i = 1, 2 do if not pcall(ctx.sleep, ctx, 2) then "
             "twice = twice + 1 end end end) ctx:sleep(1) t:cancel() end) return twice"), NULL, "1");
}

static void test_a_canceled_branch_cleans_up(void) {
  story(MAIN("local undone local t = ctx:spawn(function() local ok, e = pcall(ctx.wait_for_external_event, ctx, 'go') undone = "
             "ctx:call_activity('echo', e.message) error(e) end) ctx:call_activity('echo') t:cancel('enough') local now = t:state() local "
             "ok, e = pcall(t.await, t) return {now, ok, e.type, e.message, t:state(), undone, ctx:wait_for_external_event('go')}"),
        NULL, "[\"pending\",false,\"Canceled\",\"enough\",\"canceled\",\"enough\",1]");
  story(MAIN("local t = ctx:spawn(function() pcall(ctx.sleep, ctx, '1h') return 'made it' end) ctx:sleep(1) t:cancel() return {t:await(), "
             "t:state()}"), NULL, "[\"made it\",\"done\"]");
  story(MAIN("local t = ctx:spawn(function() pcall(ctx.sleep, ctx, '1h') error('broke') end) ctx:sleep(1) t:cancel() local ok, e = "
             "pcall(t.await, t) return {e.message, t:state()}"), NULL, "[\"story.lua:1: broke\",\"failed\"]");
  story(MAIN("local mine mine = ctx:spawn(function() ctx:call_activity('echo') mine:cancel() local x = 1 ctx:call_activity('echo') x = 2 "
             "end) local ok, e = pcall(mine.await, mine) return {e.type, mine:state()}"), NULL, "[\"Canceled\",\"canceled\"]");
  story(MAIN("local got local t = ctx:spawn(function() got = ctx:wait_for_external_event('go') ctx:sleep(1) got = 'no' end) local other = "
             "ctx:spawn(function() ctx:wait_for_external_event('go') end) ctx:spawn(function() while not got do ctx:sleep('100ms') end "
             "t:cancel() end) pcall(t.await, t) return got"), NULL, "1");
  story(MAIN("local inner local t = ctx:spawn(function() inner = ctx.async:sleep('1h') ctx:when_all{inner} end) ctx:sleep(1) t:cancel() "
             "pcall(t.await, t) return inner:state()"), NULL, "\"pending\"");
  story(MAIN("local t = ctx:spawn(function() local all = {ctx.async:sleep('1h'), ctx.async:sleep('2h')} local _, e = pcall(ctx.when_any, "
             "ctx, all) return {e.type, e.index == nil, ctx:when_any({ctx.async:sleep(1), all[1]})} end) ctx:sleep(1) t:cancel() return "
             "t:await()"), NULL, "[\"Canceled\",true,1]");
  story(MAIN("local t = ctx:spawn(function() local gen = coroutine.wrap(function() coroutine.yield(1) ctx:sleep('1h') end) gen() local "
             "ok, e = pcall(gen) return e.type end) ctx:sleep(1) t:cancel() return t:await()"), NULL, "\"Canceled\"");
}

static void test_a_shield_holds_a_cancel_back(void) {
  story(MAIN("local log = {} local t = ctx:spawn(function() log[1] = ctx:shield(function() ctx:sleep(2) return ctx:call_activity('echo', "
             "'whole') end) log[2] = 'after' ctx:sleep(1) log[3] = 'no' end) ctx:sleep(1) t:cancel() pcall(t.await, t) log[4] = t:state() "
             "return {log[1], log[2], log[3] == nil, log[4]}"), NULL, "[\"whole\",\"after\",true,\"canceled\"]");
  story(MAIN("local log = {} local t = ctx:spawn(function() ctx:shield(function() ctx:shield(function() ctx:sleep(2) end) ctx:sleep(1) "
             "log[1] = 'both' end) log[2] = pcall(ctx.sleep, ctx, 1) end) ctx:sleep(1) t:cancel() t:await() return log"), NULL,
        "[\"both\",false]");
  story(MAIN("local done local ok, e = pcall(ctx.scope, ctx, function() local ok, e = pcall(ctx.sleep, ctx, '1h') ctx:shield(function() "
             "ctx:sleep(5) done = true end) error(e) end, {timeout = 1}) return {e.type, done}"), NULL, "[\"Timeout\",true]");
  story(MAIN("local done = {} local ok, e = pcall(ctx.scope, ctx, function() ctx:shield(function() done[1] = "
             "ctx.async:call_activity('echo', 1):await() done[2] = ctx:map({1, 2}, function(i) ctx:sleep(i) return i end) end) "
             "ctx:sleep(1) done[3] = 'no' end, {timeout = '500ms'}) return {e.type, done[1], done[2], done[3] == nil}"), NULL,
        "[\"Timeout\",1,[1,2],true]");
  story(MAIN("return ctx:shield(function() local ok, e = pcall(ctx.scope, ctx, function() ctx:sleep('1h') end, {timeout = 1}) return "
             "e.type end)"), NULL, "\"Timeout\"");
  story(MAIN("local t = ctx:shield(function() return ctx.async:sleep('1h') end) return t:state()"), NULL, "\"canceled\"");
  story(MAIN("local ok, e = pcall(ctx.shield, ctx, function() error('inside') end) return e"), NULL, "\"story.lua:1: inside\"");
}

/* A shield protects what is inside it alone: what its branch started outside is canceled at once. */
static void test_a_shield_does_not_protect_what_is_around_it(void) {
  story(MAIN("local log = {} local ok, e = pcall(ctx.scope, ctx, function() ctx:scope(function() ctx:spawn(function() local ok, e = "
             "pcall(ctx.sleep, ctx, '1h') log[#log + 1] = e.message error(e) end) ctx:shield(function() ctx:sleep(3) log[#log + 1] = "
             "'shielded' end) end) log[#log + 1] = 'on' ctx:sleep(1) end, {timeout = 1}) log[#log + 1] = e.type return log"), NULL,
        "[\"the scope did not end within its timeout\",\"shielded\",\"on\",\"Timeout\"]");
  story(MAIN("local log = {} local t = ctx:spawn(function() ctx:shield(function() local ok, e = pcall(ctx.scope, ctx, function(scope) "
             "scope:cancel('inner') ctx:sleep(1) end) log[1] = e.message ctx:sleep(2) log[2] = 'whole' end) local ok, e = pcall(ctx.sleep, "
             "ctx, 1) log[3] = e.message end) ctx:sleep(1) t:cancel('outer') t:await() return log"), NULL,
        "[\"inner\",\"whole\",\"outer\"]");
}

/* A cancel from further out that comes while a scope cleans up after its timeout decides what goes on. */
static void test_the_outer_cancel_overtakes_a_timeout(void) {
  story(MAIN("local log = {} local t = ctx:spawn(function() ctx:scope(function() local ok, e = pcall(ctx.sleep, ctx, '1h') log[1] = "
             "e.message local ok, e = pcall(ctx.sleep, ctx, '2h') log[2] = e.message error(e) end, {timeout = 1}) end) ctx:sleep(3) "
             "t:cancel('outer') local ok, e = pcall(t.await, t) log[3] = e.type log[4] = t:state() return log"), NULL,
        "[\"the scope did not end within its timeout\",\"outer\",\"Canceled\",\"canceled\"]");
  story(MAIN("local ok, e = pcall(ctx.scope, ctx, function() ctx:scope(function() ctx:scope(function() ctx:sleep('1h') end, {timeout = 1}) "
             "end, {timeout = 1}) end, {timeout = 1}) return {e.type, ctx:now() < 1700000003}"), NULL, "[\"Timeout\",true]");
}

static void test_map_keeps_the_order_of_the_list(void) {
  story(MAIN("return ctx:map({5, 3, 1}, function(x, i) ctx:sleep(x / 10) return ctx:call_activity('echo', x * i) end)"), NULL, "[5,6,3]");
  story(MAIN("return ctx:map({}, function() end)"), NULL, "[]");
  story(MAIN("local running, most = 0, 0 local out = ctx:map({1, 2, 3, 4, 5, 6, 7}, function(x) running = running + 1 most = "
             "math.max(most, running) ctx:sleep(0.1 * (x % 3)) ctx:call_activity('echo') running = running - 1 return -x end, "
             "{concurrency = 3}) return {most, out}"), NULL, "[3,[-1,-2,-3,-4,-5,-6,-7]]");
  story(MAIN("local seen = 0 local ok, e = pcall(ctx.map, ctx, {1, 2, 3, 4}, function(x) ctx:sleep(0.1) seen = seen + 1 if x % 2 == 0 "
             "then error({type = 'Odd', message = 'item ' .. x}) end end, {concurrency = 1}) return {ok, e.message, seen}"), NULL,
        "[false,\"item 2\",4]");
  story(MAIN("local ended = 0 local ok, e = pcall(ctx.map, ctx, {1, 2, 3}, function(x) if x == 2 then ctx:call_activity('fail') end local "
             "ok, e = pcall(ctx.sleep, ctx, '1h') ctx:sleep(1) ended = ended + 1 error(e) end, {fail_fast = true}) return "
             "{e.type, ended}"), NULL,
        "[\"Boom\",2]");
  story(MAIN("local ok, e = pcall(ctx.map, ctx, {1}, function() error('text') end) return {e.type, e.message}"), NULL,
        "[\"Error\",\"story.lua:1: text\"]");
  story(MAIN("local started = 0 local ok, e = pcall(ctx.scope, ctx, function() ctx:map({1, 2, 3, 4, 5, 6}, function() started = started + "
             "1 pcall(ctx.sleep, ctx, '1h') end, {concurrency = 2}) end, {timeout = 1}) return {e.type, started}"), NULL,
        "[\"Timeout\",2]");
  story(MAIN("return ctx:map({{1, 2}, {3}}, function(row) return ctx:map(row, function(x) return x * 10 end, {concurrency = 1}) "
             "end)"), NULL,
        "[[10,20],[30]]");
  story(MAIN("local list = {} for i = 1, 1100 do list[i] = i end local out = ctx:map(list, function(i) return ctx:call_activity('echo', "
             "i) end) local sum = 0 for i = 1, 1100 do sum = sum + (out[i] == i and 1 or 0) end return sum"), NULL, "1100");
}

/* The workflow's function is the outermost scope. */
static void test_a_body_awaits_the_branches_it_cancels(void) {
  story(MAIN("local log = {} ctx:spawn(function() pcall(ctx.sleep, ctx, '1h') log[1] = ctx:call_activity('echo', 'undone') end) "
             "ctx:sleep(1) return log"), NULL, "{}");
  story(MAIN("ctx:spawn(function() ctx:shield(function() ctx:sleep(5) end) end) ctx:sleep(1) return 'early'"), NULL, "\"early\"");
  story_fails(MAIN("ctx:spawn(function() pcall(ctx.sleep, ctx, '1h') ctx:call_activity('echo') error('not this one') end) ctx:sleep(1) "
                   "error('this one')"), "this one\",\"retryable");
  char got[400], log[2000];
  run_mode(EVICT, MAIN("ctx:spawn(function() local ok, e = pcall(ctx.sleep, ctx, '1h') ctx:call_activity('echo') ctx:log(e.message) end) "
                       "ctx:sleep(1)"), NULL, got, sizeof got, log, sizeof log);
  CHECK_EQ_STR(log, "the scope it was started in has ended\n");
}

/* ---- Canceled instances ---- */

static void test_a_canceled_instance_cleans_up(void) {
  story_canceled(MAIN("ctx:wait_for_external_event('never')"), LNT_RUN_CANCELED,
                 "{\"type\":\"Canceled\",\"message\":\"not wanted\",\"retryable\":false}");
  story_canceled(MAIN("local ok, e = pcall(ctx.call_activity, ctx, 'never') local undone = ctx:call_activity('echo', 'undo') return {ok, "
                      "e.type, e.message, undone, pcall(ctx.sleep, ctx, 3)}"), LNT_RUN_COMPLETED,
                 "[false,\"Canceled\",\"not wanted\",\"undo\",true]");
  story_canceled(MAIN("local ok, e = pcall(ctx.call_activity, ctx, 'never') ctx:sleep(2) error(e)"), LNT_RUN_CANCELED,
                 "{\"type\":\"Canceled\",\"message\":\"not wanted\",\"retryable\":false}");
  story_canceled(MAIN("local ok, e = pcall(ctx.call_activity, ctx, 'never') error({type = 'Stuck', message = 'could not undo'})"),
                 LNT_RUN_FAILED, "{\"type\":\"Stuck\",\"message\":\"could not undo\",\"retryable\":true}");
  story_canceled(MAIN("ctx:shield(function() ctx:sleep(4) end) return 'never waited again'"), LNT_RUN_COMPLETED, "\"never waited again\"");
  story_canceled(MAIN("ctx:shield(function() ctx:sleep(4) end) ctx:call_activity('echo')"), LNT_RUN_CANCELED,
                 "{\"type\":\"Canceled\",\"message\":\"not wanted\",\"retryable\":false}");
  story_canceled(MAIN("error({type = 'Canceled', message = 'my own'})"), LNT_RUN_FAILED,
                 "{\"type\":\"Canceled\",\"message\":\"my own\",\"retryable\":true}");
}

static void test_a_cancel_reaches_every_branch_of_an_instance(void) {
  story_canceled(MAIN("local log = {} local function work(name, rest) local ok, e = pcall(ctx.sleep, ctx, '1h') ctx:sleep(rest) log[#log "
                      "+ 1] = name .. ': ' .. e.message error(e) end local ok, e = pcall(ctx.when_all, ctx, {ctx:spawn(work, 'a', 2), "
                      "ctx:spawn(function() ctx:scope(function() ctx:spawn(work, 'deep', 3) ctx:sleep('1h') end) end)}) log[#log + 1] = "
                      "e.type ctx:sleep(5) return log"),
                 LNT_RUN_COMPLETED, "[\"Canceled\",\"a: not wanted\",\"deep: not wanted\"]");
  story_canceled(MAIN("ctx:spawn(function() pcall(ctx.sleep, ctx, '1h') ctx:sleep(2) ctx:call_activity('echo', 'undo') end) "
                      "ctx:sleep('1h')"),
                 LNT_RUN_CANCELED, "{\"type\":\"Canceled\",\"message\":\"not wanted\",\"retryable\":false}");
  story_canceled(MAIN("local t = ctx.async:call_activity('never') local ok, e = pcall(ctx.sleep, ctx, '1h') return {t:state(), e.type}"),
                 LNT_RUN_COMPLETED, "[\"canceled\",\"Canceled\"]");
  story_canceled(MAIN("local ok, e = pcall(ctx.scope, ctx, function() ctx:sleep('1h') end, {timeout = '20s'}) return e.type"),
                 LNT_RUN_COMPLETED, "\"Canceled\"");
  story_canceled(MAIN("ctx:scope(function() ctx:spawn(function() pcall(ctx.sleep, ctx, '1h') ctx:sleep(3) end) ctx:sleep('100ms') end) "
                      "local ok, e = pcall(ctx.call_activity, ctx, 'echo', 1) return {ok, e.type}"), LNT_RUN_COMPLETED,
                 "[false,\"Canceled\"]");
}

/* ---- Tracebacks ---- */

static void detail_of(mode how, const char *source, char *out, size_t size) {
  world w;
  uint64_t run = 0;
  lnt__history history;
  lnt_error err = {LNT_OK, ""};
  world_init(&w, how);
  CHECK_STATUS(load(&w, "story.lua", source, &err), LNT_OK);
  start(&w, "main", "one", NULL);
  play(&w, "one");
  lnt__history_init(&history);
  CHECK_STATUS(lnt__journal_find(w.store, "one", &run, &err), LNT_OK);
  CHECK_STATUS(lnt__journal_history(w.store, run, &history, &err), LNT_OK);
  const lnt__event *last = &history.events[history.count - 1];
  CHECK_EQ_INT(last->kind, LNT_EVENT_FAILED);
  snprintf(out, size, "%.*s", (int)last->detail.size, (const char *)last->detail.data);
  lnt__history_finish(&history);
  world_finish(&w);
}

/* Scopes and branches raise a failure again: the history tells where it was raised first. */
static void test_a_traceback_begins_where_the_failure_was_raised(void) {
  static const struct { const char *source, *detail; } cases[] = {
      {"workflow('main', function(ctx)\n  ctx:scope(function()\n    ctx:shield(function()\n      ctx:call_activity('fail')\n    end)\n  "
       "end)\nend)",
       "story.lua:4: in the function that begins at line 3\nstory.lua:3: in the function that begins at line 2\n"
       "story.lua:2: in the function that begins at line 1"},
      {"workflow('main', function(ctx)\n  local t = ctx:spawn(function()\n    ctx:sleep(1)\n    error('so')\n  end)\n  ctx:when_any{t}"
       "\nend)",
       "story.lua:4: in the function that begins at line 2\nawaited at:\nstory.lua:6: in the function that begins at line 1"},
      {"workflow('main', function(ctx)\n  ctx:map({1, 2}, function(x)\n    ctx:sleep(x)\n    error('item ' .. x)\n  end, "
       "{fail_fast = true})\nend)",
       "story.lua:4: in the function that begins at line 2\nawaited at:\nstory.lua:2: in the function that begins at line 1"},
      {"workflow('main', function(ctx)\n  pcall(ctx.scope, ctx, function() error('one') end)\n  error('two')\nend)",
       "story.lua:3: in the function that begins at line 1"},
  };
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    for (int how = 0; how < MODES; how++) {
      char detail[2000];
      detail_of((mode)how, cases[i].source, detail, sizeof detail);
      CHECK_EQ_STR(detail, cases[i].detail);
    }
  }
}

CHECK_MAIN(test_when_all_fails_at_once_if_asked, test_when_any_tells_which_failed, test_when_any_cancels_its_losers_if_asked,
           test_an_event_that_nobody_took_goes_back, test_lists_decide_each_other_in_a_long_chain, test_a_scope_ends_what_it_started,
           test_a_scope_has_a_timeout, test_a_scope_can_be_canceled, test_one_cancel_is_raised_once, test_a_canceled_branch_cleans_up,
           test_a_shield_holds_a_cancel_back, test_map_keeps_the_order_of_the_list, test_a_shield_does_not_protect_what_is_around_it,
           test_the_outer_cancel_overtakes_a_timeout, test_a_body_awaits_the_branches_it_cancels, test_a_canceled_instance_cleans_up,
           test_a_cancel_reaches_every_branch_of_an_instance, test_a_traceback_begins_where_the_failure_was_raised);
