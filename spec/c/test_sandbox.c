/* test_sandbox.c - the sandbox of the workflow VM: what it gives, what it refuses, what it stops. */
#include <stdio.h>
#include <stdlib.h>

#include "box.h"
#include "check.h"

#define CASES(list) list, LNT__COUNT(list)

/* See test_open_survives_small_limits. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libluajit"; }

/* ---- What an author sees ---- */

static void test_values_are_plain(void) {
  static const box_case cases[] = {
    {"return tostring({}), tostring(print), tostring(coroutine.create(print)), tostring(string)", "table|function|thread|userdata"},
    {"return tostring(nil), tostring(true), tostring(12), tostring('x'), tostring(1.5)", "nil|true|12|x|1.5"},
    {"return tostring(-0), tostring(0 * -1), tostring(0/0), tostring(-(0/0)), tostring(1/0)", "0|0|nan|nan|inf"},
    {"return tostring(setmetatable({}, {__tostring = function() return 'me' end}))", "me"},
    {"return select('#', tostring(1)), tostring(1, 2)", "1|1"},
    {"print('a', nil, {}, -0, 1.5) return 1", "1"},
    {"return string.format('%s %s %s', {}, nil, print)", "table nil function"},
    {"return ('%s|%5s|%-5s|%q'):format(setmetatable({}, {__tostring = function() return 'obj' end}), 'a', 'b', 'c')",
     "obj|    a|b    |\"c\""},
    {"return string.format('%d %i %u %x %X %o %c %5.2f %g %e %%', 3, 4, 5, 255, 255, 8, 65, 1.5, 0.1, 100)",
     "3 4 5 ff FF 10 A  1.50 0.1 1.000000e+02 %"},
    {"return string.format('%d', -2^53), string.format('%d', 2^62), string.format('%x', -1)",
     "-9007199254740992|4611686018427387904|ffffffffffffffff"},
    {"return string.format('%g', 0 * -1), string.format('%.1f', -0)", "0|0.0"},
    {"return _G == _G._G, rawget(_G, 'print'), type(_G.print)", "true|nil|function"},
    {"x = 5 return _G.x, rawget(_G, 'x'), x", "5|5|5"},
    {"return undefined_name", "nil"},
    {"_G.y = 7 return y", "7"},
    {"local n = 0 for k in pairs(_G) do n = n + 1 end return n", "1"},
    {"return type(string), type(math), type(table), type(bit), type(coroutine), type(os)",
     "userdata|userdata|userdata|userdata|userdata|userdata"},
    {"return string.no_such, math.no_such, os.no_such", "nil|nil|nil"},
    {"return _VERSION", "Lua 5.1"},
    {"return getmetatable(''), getmetatable(string), getmetatable(_G), getmetatable(print), getmetatable(1)", "nil|nil|false|nil|nil"},
    {"local m = {} return getmetatable(setmetatable({}, m)) == m", "true"},
    {"return getmetatable(setmetatable({}, {__metatable = 'locked'}))", "locked"},
    {"return ('x'):rep(3), ('abc'):upper(), #'abc', ('abc'):sub(2)", "xxx|ABC|3|bc"},
    {"return math.floor(1.7), math.max(1, 3, 2), math.huge, math.pi > 3.14", "1|3|inf|true"},
    {"return table.pack(1, nil, 3).n, select('#', table.unpack({1, nil, 3}, 1, 3))", "3|3"},
    {"return select('#', nil, nil), select(2, 'a', 'b', 'c'), select(-1, 'a', 'b')", "2|b|b"},
    {"return select(math.huge, 1, 2) == nil, ('hello'):sub(2, math.huge)", "true|ello"},
    {"return tonumber('10'), tonumber('ff', 16), tonumber('x'), tonumber('0x10'), tonumber('  5  ')", "10|255|nil|16|5"},
    {"return rawequal('a', 'a'), rawequal({}, {}), rawget(setmetatable({}, {__index = {a = 1}}), 'a')", "true|false|nil"},
    {"return pcall(error, 'x')", "false|x"},
    {"return pcall(error, {1})", "false|<table>"},
    {"return pcall(function(...) return select('#', ...), ... end, 1, nil)", "true|2|1|nil"},
    {"return xpcall(function() error('x', 0) end, function(m) return m .. '!' end)", "false|x!"},
    {"return xpcall(function(...) return ... end, print, 1, 2)", "true|1|2"},
    {"return xpcall(error, error, 'a')", "false|a"},
    {"return select('#', pcall(print)), (pcall(nil))", "1|false"},
    {"local ok, e = pcall(function() local x = nil; return x.y end) return e", "author.lua:1: attempt to index local 'x' (a nil value)"},
    {"return bit.band(12, 10), bit.bor(1, 2, 4), bit.bxor(5, 1), bit.bnot(0), bit.lshift(1, 4), bit.tohex(255)", "8|7|4|-1|16|000000ff"},
    {"return math.ldexp(1, 1e9), math.ldexp(1, -1e9), math.ldexp(3, 2)", "inf|0|12"},
    {"return type(os.time()), os.time(), os.difftime(5, 3)", "number|1700000000|2"},
    {"return os.date('!%Y-%m-%d %H:%M:%S'), os.date('%F', 0), os.date('%c', 86400)", "2023-11-14 22:13:20|1970-01-01|Fri Jan  2 00:00:00 "
     "1970"},
    {"return os.time{year = 2024, month = 2, day = 29}, os.time{year = 1970, month = 1, day = 1, hour = 0}", "1709208000|0"},
    {"return os.time{year = 2024, month = 14, day = -3, hour = 25, min = 61, sec = 61}", "1738116121"},
    {"local d = os.date('*t', 951782400) return d.year, d.month, d.day, d.hour, d.wday, d.yday, d.isdst", "2000|2|29|0|3|60|false"},
  };
  box_check_values(CASES(cases));
}

static void test_print_goes_to_the_log(void) {
  box b;
  box_open(&b);
  box_run(&b, "print('a', nil, {}, -0, 1.5) print() print(setmetatable({}, {__tostring = function() return 'me' end}))");
  CHECK_EQ_STR(b.log, "a\tnil\ttable\t0\t1.5\n\nme\n");
  box_close(&b);
}

/* ---- Order ---- */

static void test_pairs_has_one_order(void) {
  static const box_case cases[] = {
    {"local s = '' for k, v in pairs{b = 2, a = 1, [3] = 4, [true] = 5, [false] = 6, 10, [-1.5] = 7} do s = s .. tostring(k) .. '=' .. v "
     ".. ' ' end return s",
     "-1.5=7 1=10 3=4 a=1 b=2 false=6 true=5 "},
    {"local s = '' for k in pairs{['a\\0b'] = 1, ['a'] = 1, ['a\\0'] = 1, ['\\255'] = 1, ['B'] = 1} do s = s .. k:byte() .. ':' .. #k .. ' "
     "' end return s",
     "66:1 97:1 97:2 97:3 255:1 "},
    {"local s = '' for i, v in pairs{'a', 'b', 'c'} do s = s .. i .. v end return s", "1a2b3c"},
    {"for k in pairs{} do return k end return 'none'", "none"},
    {"local t = {1, 2, 3, 4, 5} for k in pairs(t) do t[k] = nil t[k + 1] = nil end return next(t)", "nil"},
    {"local t = {a = 1, b = 2, c = 3} local s = '' for k in pairs(t) do s = s .. k t.b = nil end return s", "ac"},
    {"local t = {1, 2, 3, 4} local s = '' for k in pairs(t) do s = s .. k t[2], t[3] = nil, nil end return s", "14"},
    {"local t = {a = 1, b = 2} for k in pairs(t) do t[k] = 0 end return t.a + t.b", "0"},
    {"local t = {1, 2} local n = 0 for k in pairs(t) do n = n + 1 t[#t + 1] = 0 end return n", "2"},
    {"local t = {[math.huge] = 1, [-math.huge] = 2, [0] = 3, [0.5] = 4} local s = '' for k, v in pairs(t) do s = s .. v end return s",
     "2341"},
    {"return next({b = 1, a = 2}), next({})", "a|nil"},
    {"local t, s = {b = 1, a = 2, 5, 6, [true] = 1}, '' for k, v in next, t do s = s .. tostring(k) end return s", "12abtrue"},
    {"return next({a = 1, b = 2}, 'a')", "b|2"},
    {"return next({a = 1, b = 2}, 'aa')", "b|2"},
    {"local t = setmetatable({a = 1}, {__index = {b = 2}}) local s = '' for k, v in pairs(t) do s = s .. k .. v end return s", "a1"},
    {"local t = {} for i = 1, 200 do t['k' .. i] = i end local last, n = '', 0 for k in pairs(t) do if k <= last then return k end last = "
     "k n = n + 1 end return n",
     "200"},
    {"local s = '' for i, v in ipairs{1, 2, nil, 4} do s = s .. v end return s", "12"},
  };
  box_check_values(CASES(cases));
  static const box_case refused[] = {
    {"for k in pairs{[{}] = 1} do end", "author.lua:1: pairs: the table has a key of type table"},
    {"for k in pairs{a = 1, [print] = 1} do end", "a key of type function, and such keys have no order"},
    {"local t = {} for i = 1, 100 do t['x' .. i] = 1 end t[coroutine.create(print)] = 1 for k in pairs(t) do end", "a key of type thread"},
    {"return next({[{}] = 1})", "next: the table has a key of type table"},
    {"return next({}, {})", "next: the table has a key of type table"},
    {"pairs(nil)", "author.lua:1: bad argument #1 to 'pairs' (table expected, got nil)"},
    {"pairs(string)", "table expected, got userdata"},
  };
  box_check_errors(CASES(refused));
}

/* The same set of keys, put in by another history and in another state, with other strings interned before. */
static const char order_source[] =
  "local seed = ...\n"
  "local function random(n) seed = (seed * 16807) % 2147483647 return seed % n + 1 end\n"
  "for i = 1, random(500) do local s = 'noise' .. random(100000) end\n"
  "local t, keys = {}, {}\n"
  "for i = 1, 300 do keys[i] = i % 3 == 0 and i or i % 7 == 0 and i / 2 or 'key' .. i end\n"
  "for i = 300, 2, -1 do local j = random(i) keys[i], keys[j] = keys[j], keys[i] end\n"
  "for i = 1, 300 do t[keys[i]] = true t['gone' .. i] = true end\n"
  "for i = 1, 300 do t['gone' .. i] = nil end\n"
  "local out = {}\n"
  "for k in pairs(t) do out[#out + 1] = tostring(k) end\n"
  "local step = {}\n"
  "for k in next, t do step[#step + 1] = tostring(k) end\n"
  "assert(table.concat(out, ' ') == table.concat(step, ' '))\n"
  "return table.concat(out, ' ')\n";

static void test_pairs_forgets_history(void) {
  char first[BOX_TEXT_MAX] = "";
  if (box_stressed()) return; /* a million keys in whole cycles of the collector */
  for (int i = 1; i <= 20; i++) {
    box b;
    char source[sizeof order_source + 64];
    box_open(&b);
    snprintf(source, sizeof source, "local function f(...) %s end return f(%d)", order_source, i * 7919);
    const box_result *r = box_run(&b, source);
    CHECK_EQ_INT(r->status, 0);
    if (i == 1) snprintf(first, sizeof first, "%s", r->text);
    CHECK_EQ_STR(r->text, first);
    box_close(&b);
  }
  CHECK(strlen(first) > 1000);
}

static void test_random_is_the_instance_s(void) {
  static const char source[] = "local s = '' for i = 1, 5 do s = s .. math.random(1000) .. ' ' .. math.random(-3, 3) .. ' ' end return s "
    ".. tostring(math.random())";
  char first[256];
  box a, b;
  box_open(&a);
  box_open(&b);
  snprintf(first, sizeof first, "%.255s", box_run(&a, source)->text);
  for (int i = 0; i < 10; i++) box_run(&b, "return {}, 'noise'");
  CHECK_EQ_STR(box_run(&b, source)->text, first);
  lnt__rng_seed(&b.rng, 43);
  CHECK(strcmp(box_run(&b, source)->text, first) != 0);
  CHECK_EQ_STR(box_run(&b, "math.randomseed(7) local x = math.random() math.randomseed(7) return x == math.random()")->text, "true");
  CHECK_EQ_STR(box_run(&b, "for i = 1, 1000 do local r = math.random() if r < 0 or r >= 1 then return r end r = math.random(3) "
                           "if r < 1 or r > 3 or r % 1 ~= 0 then return r end end return 'ok'")->text, "ok");
  CHECK_EQ_STR(box_run(&b, "return math.random(5, 5), math.random(-2^53, -2^53) == -2^53")->text, "5|true");
  box_close(&a);
  box_close(&b);
}

/* ---- What is refused ---- */

static void test_absent_things_teach(void) {
  static const box_case cases[] = {
    {"local f = io.open('x')", "author.lua:1: io.open is not available in a workflow: files are not deterministic; do it in an activity"},
    {"\n\nio.stdout:write('x')", "author.lua:3: io.stdout is not available"},
    {"os.execute('rm -rf /')", "os.execute is not available in a workflow: processes"},
    {"os.getenv('HOME')", "os.getenv is not available in a workflow: the environment"},
    {"return os.clock()", "os.clock is not available in a workflow: processor time"},
    {"os.exit(1)", "os.exit is not available"},
    {"os.remove('x')", "os.remove is not available"},
    {"os.rename('x', 'y')", "os.rename is not available"},
    {"os.tmpname()", "os.tmpname is not available"},
    {"os.setlocale('C')", "os.setlocale is not available"},
    {"debug.getinfo(1)", "debug.getinfo is not available"},
    {"xpcall(error, debug.traceback)", "debug.traceback is not available"},
    {"debug.sethook()", "debug.sethook is not available"},
    {"jit.on()", "jit.on is not available"},
    {"ffi.cdef('int x;')", "ffi.cdef is not available"},
    {"package.loadlib('x', 'y')", "package.loadlib is not available"},
    {"package.path = 'x'", "package.path is not available"},
    {"dofile('x')", "author.lua:1: dofile is not available in a workflow: code is pinned"},
    {"loadfile('x')", "loadfile is not available"},
    {"load(function() return 'x' end)", "load is not available"},
    {"loadstring('return 1')", "loadstring is not available"},
    {"module('x')", "module is not available"},
    {"collectgarbage('count')", "collectgarbage is not available"},
    {"gcinfo()", "gcinfo is not available"},
    {"newproxy(true)", "newproxy is not available"},
    {"getfenv(0)", "getfenv is not available"},
    {"setfenv(1, {})", "setfenv is not available"},
    {"string.dump(print)", "string.dump is not available"},
    {"(''):dump()", "string.dump is not available"},
    {"table.foreach({}, print)", "table.foreach is not available"},
    {"table.getn({})", "table.getn is not available"},
  };
  box_check_errors(CASES(cases));
}

static void test_misuse_is_refused(void) {
  static const box_case cases[] = {
    {"string.trim = print", "author.lua:1: string is shared by all workflows and cannot be changed (field 'trim')"},
    {"math.pi = 3", "math is shared by all workflows"},
    {"table.insert(string, 'x')", "table expected"},
    {"rawset(string, 'x', 1)", "table expected"},
    {"setmetatable(string, {})", "table expected"},
    {"setmetatable(_G, {})", "author.lua:1: cannot change a protected metatable"},
    {"setmetatable('', {})", "table expected"},
    {"setmetatable({}, {__gc = print})", "author.lua:1: setmetatable: __gc and __mode are not available"},
    {"setmetatable({}, {__mode = 'k'})", "__gc and __mode are not available"},
    {"setmetatable({}, 5)", "nil or table expected"},
    {"string.format('%p', {})", "author.lua:1: bad argument #1 to 'format' ('%p' prints an address"},
    {"string.format('%d', 2^63)", "bad argument #2 to 'format' (9.22337e+18 is out of the range of '%d'"},
    {"string.format('%d', 0/0)", "is out of the range of '%d'"},
    {"string.format('%x', 1/0)", "out of the range of '%x'"},
    {"string.format('%c', 1e20)", "out of the range of '%c'"},
    {"string.format('%d', 'x')", "bad argument #2 to 'format' (number expected, got string"},
    {"string.format('%d')", "bad argument #2 to 'format' (no value"},
    {"string.format('%y', 1)", "'%y' is not an option"},
    {"string.format('%123d', 1)", "is not an option"},
    {"string.format('%')", "is not an option"},
    {"string.format({})", "bad argument #1 to 'format' (string expected, got table"},
    {"coroutine.yield(1)", "author.lua:1: coroutine.yield outside a coroutine"},
    {"pcall(coroutine.yield) coroutine.yield()", "coroutine.yield outside a coroutine"},
    {"math.random(0)", "interval is empty"},
    {"math.random(1e300)", "a number within 2^53 expected"},
    {"os.date('%Q')", "'%Q' is not a date format"},
    {"os.time{year = 2020}", "field 'month' missing in date table"},
    {"os.time{year = 1e300, month = 1, day = 1}", "out of range"},
    {"os.date('%c', 1e300)", "time outside of the years"},
    {"tostring()", "author.lua:1: bad argument #1 to 'tostring' (value expected"},
    {"tostring(setmetatable({}, {__tostring = function() return {} end}))", "'__tostring' must return a string"},
    {"error(nil)", "nil"},
    {"error('with place')", "author.lua:1: with place"},
    {"error('without', 0)", "without"},
    {"local t = {} t[nil] = 1", "index is nil"},
    {"table.insert({}, -5, 1)", "position out of range"},
    {"table.insert({}, 1e18, 1)", "position out of range"},
    {"table.concat({1, {}, 3})", "invalid value (table) at index 2"},
    {"table.sort({1, 'x', 2})", "attempt to compare"},
    {"unpack({}, 1, 1e9)", "too many results to unpack"},
    {"unpack({}, -1e300, 1e300)", "too many results to unpack"},
    {"string.char(256)", "a byte from 0 to 255 expected"},
    {"return ('x'):rep(1e9)", "string.rep: the result is longer than 16777216 bytes"},
    {"return ('x'):rep(1e6, ('y'):rep(1e3))", "string.rep: the result is longer"},
  };
  box_check_errors(CASES(cases));
}

static void test_time_has_no_meaning_while_a_file_loads(void) {
  box b;
  box_open(&b);
  b.host.now_us = NULL;
  b.host.rng = NULL;
  CHECK_HAS(box_run(&b, "return os.time()")->text, "os.time() has no meaning while a file loads");
  CHECK_HAS(box_run(&b, "return os.date()")->text, "os.date() has no meaning while a file loads");
  CHECK_HAS(box_run(&b, "return math.random()")->text, "math.random has no meaning while a file loads");
  CHECK_EQ_STR(box_run(&b, "return os.date('%Y', 0)")->text, "1970");
  box_close(&b);
}

/* Ways out of a sandbox: each must find nothing. */
static void test_nothing_dangerous_is_reachable(void) {
  static const box_case cases[] = {
    {"local seen, found = {}, {}\n"
     "local bad = {io = 1, debug = 1, jit = 1, ffi = 1, package = 1, load = 1, loadstring = 1, dofile = 1, getfenv = 1, setfenv = 1, "
     "newproxy = 1}\n"
     "for _, name in ipairs{'assert', 'error', 'ipairs', 'next', 'pairs', 'pcall', 'print', 'rawequal', 'rawget', 'rawset', 'select', "
     "'tostring'} do\n"
     "  if type(_G[name]) ~= 'function' then found[#found + 1] = name end end\n"
     "for name in pairs(bad) do if type(_G[name]) ~= 'userdata' then found[#found + 1] = name end end\n"
     "return #found", "0"},
    {"return rawget(_G, 'nothing'), rawget(_G, 'io')", "nil|nil"},
    {"local env = _G getmetatable = nil return env.getmetatable ~= nil", "true"},
    {"string = nil return ('x'):rep(2), type(string)", "xx|userdata"},
    {"local ok = pcall(function() string.rep = nil end) return ok, ('x'):rep(2)", "false|xx"},
    {"pairs = 5 local t = _G return t.pairs, rawget(t, 'pairs')", "5|5"},
    {"return (''):gsub('', '') == '' , pcall(function() (''):__index() end)", "true|false|author.lua:1: attempt to call method '__index' "
     "(a nil value)"},
    {"local t = setmetatable({}, {__index = function(t, k) return k end}) return t.x, rawget(t, 'x')", "x|nil"},
    {"local m = {__metatable = 'no'} local t = setmetatable({}, m) return pcall(setmetatable, t, nil)",
     "false|cannot change a protected metatable"},
    {"return (pcall(next, string)), (pcall(ipairs)), (pcall(rawget, string, 'rep'))", "false|false|false"},
    {"local e = select(2, pcall(function() return {} .. {} end)) return e:find('0x')", "nil"},
    {"return (tostring(print):find('%d')), (string.format('%s', {}):find('0x'))", "nil|nil"},
    {"local a = 0 for w in (tostring(function() end)):gmatch('.') do a = a + 1 end return a", "8"},
    {"return type(coroutine.running()), coroutine.isyieldable()", "nil|false"},
    {"local co = coroutine.wrap(function() return type(coroutine.running()), coroutine.isyieldable() end) return co()", "thread|true"},
  };
  box_check_values(CASES(cases));
}

static void test_instances_do_not_share(void) {
  box b;
  box_open(&b);
  box_run(&b, "secret = 1 string2 = string print = nil");
  CHECK_EQ_STR(box_run(&b, "return secret, string2, type(print)")->text, "nil|nil|function");
  box_run(&b, "pcall(function() string.upper = nil end) pcall(rawset, _G, 'tostring', print)");
  CHECK_EQ_STR(box_run(&b, "return ('a'):upper(), tostring(1)")->text, "A|1");
  box_close(&b);
}

/* ---- Yields ---- */

static void test_waits_pass_through_everything(void) {
  static const box_case cases[] = {
    {"return wait(1, 'a')", "1|a"},
    {"return pcall(wait, 5)", "true|5"},
    {"return pcall(function() return wait(1) + wait(2) end)", "true|3"},
    {"return pcall(function() wait(1) error('x', 0) end)", "false|x"},
    {"return xpcall(function() error('x', 0) end, function(m) return m .. wait('w') end)", "false|xw"},
    {"return xpcall(function() return wait(3) end, print)", "true|3"},
    {"local t = {3, 1, 2} table.sort(t, function(a, b) return wait(a < b) end) return unpack(t)", "1|2|3"},
    {"return ('abc'):gsub('%w', function(c) return wait(c:upper()) end)", "ABC|3"},
    {"return ('abc'):gsub('%w', setmetatable({}, {__index = function(_, c) return wait(c .. '.') end}))", "a.b.c.|3"},
    {"return tostring(setmetatable({}, {__tostring = function() return wait('t') end}))", "t"},
    {"return ('%s!'):format(setmetatable({}, {__tostring = function() return wait('f') end}))", "f!"},
    {"print(setmetatable({}, {__tostring = function() return wait('p') end})) return 1", "1"},
    {"local t = setmetatable({}, {__index = function(_, k) return wait(k) end, __add = function(a, b) return wait(9) end}) return t.x, t + "
     "1", "x|9"},
    {"local s = 0 for v in function(_, i) i = (i or 0) + 1 if i <= 3 then return wait(i) end end do s = s + v break end return s", "1"},
    {"local co = coroutine.wrap(function(a) local b = coroutine.yield(a + wait(1)) return b + wait(10) end) return co(5), co(6)", "6|16"},
    {"local f = coroutine.wrap(function() local g = coroutine.wrap(function() local h = coroutine.wrap(function() return wait('deep') end) "
     "return h() .. wait('2') end) return g() .. wait('1') end) return f()", "deep21"},
    {"local co = coroutine.create(function() wait(1) coroutine.yield('y') wait(2) error('e', 0) end) "
     "local a, b = coroutine.resume(co) local c, d = coroutine.resume(co) return a, b, c, d, coroutine.status(co)", "true|y|false|e|dead"},
    {"local co = coroutine.create(function() wait() return 'none' end) return select('#', coroutine.resume(co)), coroutine.status(co)",
     "2|dead"},
    {"local co = coroutine.create(function(...) return select('#', coroutine.yield(...)) end) coroutine.resume(co, nil, nil) return "
     "coroutine.resume(co, nil, nil, nil)",
     "true|3"},
    {"return wait(wait(wait(1)))", "1"},
    {"local n = 0 for i = 1, 100 do n = n + wait(i) end return n", "5050"},
  };
  box_check_values(CASES(cases));
}

/* While a coroutine of the author's waits for the engine, another branch must not get hold of it. */
static void test_waiting_coroutines_are_left_alone(void) {
  static const char source[] =
    "inner = coroutine.create(function() seen = {wait('first')} return 'end' end)\n"
    "outer = coroutine.create(function() return coroutine.resume(inner) end)\n"
    "return coroutine.resume(outer)\n";
  box b;
  box_open(&b);
  b.answers = false;
  const box_result *r = box_run(&b, source);
  CHECK_EQ_INT(r->status, LUA_YIELD);
  r = box_run_beside(&b, "return coroutine.status(inner), coroutine.status(outer), coroutine.resume(inner, 'stolen')");
  CHECK_EQ_STR(r->text, "normal|normal|false|cannot resume non-suspended coroutine");
  CHECK_EQ_STR(box_run_beside(&b, "return seen, coroutine.resume(outer)")->text, "nil|false|cannot resume non-suspended coroutine");
  box_close(&b);
  static const box_case cases[] = {
    {"local co local other = coroutine.wrap(function() local r = {coroutine.resume(co)} return r[2], coroutine.status(co) end) "
     "co = coroutine.create(function() return other() end) return coroutine.resume(co)", "true|cannot resume running coroutine|normal"},
    {"local co co = coroutine.create(function() return coroutine.resume(co) end) return coroutine.resume(co)",
     "true|false|cannot resume running coroutine"},
    {"local co = coroutine.create(function() end) coroutine.resume(co) return coroutine.resume(co)", "false|cannot resume dead coroutine"},
    {"return pcall(coroutine.wrap(function() error('in wrap', 0) end))", "false|in wrap"},
    {"local f = coroutine.wrap(function() end) f() return pcall(f)", "false|cannot resume dead coroutine"},
    {"local co = coroutine.create(print) return coroutine.resume(co, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)",
     "false|more than 16 values for a coroutine; put them in a table"},
    {"local function f(n) if n == 0 then return 'bottom' end return coroutine.wrap(f)(n - 1) end return f(99)", "bottom"},
    {"local function f(n) if n == 0 then return 'bottom' end local r = coroutine.wrap(f)(n - 1) return r end return pcall(f, 101)",
     "false|author.lua:1: more than 100 coroutines inside each other"},
    {"local n = 0 for i = 1, 300 do local ok, v = coroutine.resume(coroutine.create(function() return 1 end)) n = n + v end return n",
     "300"},
  };
  box_check_values(CASES(cases));
}

/* ---- What is stopped ---- */

static void test_endless_work_is_killed(void) {
  static const box_case cases[] = {
    {"while true do end", "author.lua:1: the turn spent its budget of "},
    {"\n\nrepeat until false", "author.lua:3: "},
    {"while true do pcall(function() while true do end end) end", "budget"},
    {"while true do xpcall(function() while true do end end, function() while true do end end) end", "budget"},
    {"local function f() return f() end f()", "budget"},
    {"local co = coroutine.wrap(function() while true do end end) while true do pcall(co) end", "budget"},
    {"while true do coroutine.resume(coroutine.create(function() while true do end end)) end", "budget"},
    {"local co = coroutine.create(function() while true do coroutine.yield() end end) while true do coroutine.resume(co) end", "budget"},
    {"setmetatable({}, {__index = function() while true do end end}).x.y = 1", "budget"},
    {"tostring(setmetatable({}, {__tostring = function() while true do end end}))", "budget"},
    {"table.sort({3, 2, 1}, function() while true do end end)", "budget"},
    {"('x'):gsub('x', function() while true do end end)", "budget"},
    {"for _ in function() return 1 end do end", "budget"},
    {"::top:: goto top", "budget"},
    {"pcall(pcall, pcall, function() while true do end end) while true do end", "budget"},
    {"('a'):rep(100000):find('.-b')", "budget"},
    {"('a'):rep(30000):match('.-.-.-.-b')", "budget"},
    {"('a'):rep(100):find('.-.-.-.-.-.-b')", "budget"},
    {"for _ in (('x'):rep(100000)):gmatch('.-y') do end", "budget"},
    {"('a'):rep(30):find(('a?'):rep(30) .. ('a'):rep(31))", "budget"},
    {"(('a'):rep(100000)):gsub('a*b', '')", "budget"},
    {"('('):rep(20000):find('%b()')  local s = ('('):rep(20000) while true do s:find('%b()') end", "budget"},
    {"local s = ('a'):rep(5000) while true do s:find('(a*)%1b') end", "budget"},
    {"local p = '[' .. ('b'):rep(20000) .. ']' local s = ('a'):rep(20000) while true do s:find(p) end", "budget"},
    {"local s, p = ('a'):rep(100000) .. 'b', ('a'):rep(50000) .. 'c' while true do s:find(p, 1, true) end", "budget"},
    {"local s = ('x'):rep(100000) while true do s:upper() end", "budget"},
    {"while true do ('x'):rep(100000) end", "budget"},
    {"local t = {} for i = 1, 5000 do t[i] = i end while true do table.insert(t, 1, 0) table.remove(t) end", "budget"},
    {"local t = {} for i = 1, 5000 do t[i] = 'x' end while true do table.concat(t) end", "budget"},
    {"local t = {} for i = 1, 5000 do t['k' .. i] = 1 end while true do pairs(t) end", "budget"},
    {"local t = {} for i = 1, 5000 do t['k' .. i] = 1 end while true do next(t) end", "budget"},
    {"local t = {} for i = 1, 5000 do t[i] = -i end while true do table.sort(t) end", "budget"},
    {"local t = {} for i = 1, 5000 do t[i] = i end while true do unpack(t) end", "budget"},
    {"local t = {} for i = 1, 5000 do t[i] = i end while true do table.maxn(t) end", "budget"},
    {"local s = ('%s'):rep(100) while true do pcall(string.format, s) end", "budget"},
    {"local s = ('1'):rep(100000) while true do tonumber(s) end", "budget"},
    {"local f = ('%H'):rep(1000) while true do os.date(f, 0) end", "budget"},
    {"while true do string.byte(('x'):rep(5000), 1, -1) end", "budget"},
    {"table.move({}, 1, 1e15, 2)", "budget"},
  };
  box_check_kills(CASES(cases), LNT__KILL_INSTRUCTIONS);
}

static void test_memory_bombs_are_killed(void) {
  static const box_case cases[] = {
    {"local s = 'x' while true do s = s .. s end", "out of memory: the turn added more than turn_memory_bytes_max"},
    {"local s = 'x' while true do pcall(function() s = s .. s end) end", "out of memory"},
    {"local t = {} for i = 1, 1e9 do t[i] = {} end", "out of memory"},
    {"local t = {} while true do pcall(function() t[#t + 1] = ('x'):rep(9000) .. #t end) end", "out of memory"},
    {"local t = {} while true do t = {t} end", "out of memory"},
    {"local t = {} for i = 1, 1e9 do t['k' .. i] = i end", "out of memory"},
    {"local t = {} for i = 1, 1e9 do t[i] = function() return i end end", "out of memory"},
    {"local t = {} for i = 1, 1e9 do t[i] = coroutine.create(print) end", "out of memory"},
    {"local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(100000) .. i end", "out of memory"},
    {"local t = {} while true do coroutine.resume(coroutine.create(function() while true do t[#t + 1] = {} end end)) end", "out of memory"},
    {"local t = {} xpcall(function() while true do t[#t + 1] = {} end end, function() while true do t[#t + 1] = {} end end)",
     "out of memory"},
    {"local s = ('x'):rep(1e6) local t = {} while true do t[#t + 1] = s:upper() .. #t end", "out of memory"},
    {"local t = {} local co = coroutine.wrap(function() while true do t[#t + 1] = ('x'):rep(9000) .. #t coroutine.yield() end end) while "
     "true do co() end", "out of memory"},
  };
  box_check_kills(CASES(cases), LNT__KILL_MEMORY);
}

static void test_bottomless_recursion_is_stopped(void) {
  static const box_case uncaught[] = {
    {"local function f() return 1 + f() end return f()", "stack overflow"},
    {"local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] .. 'x' end return t.x", "stack overflow"},
    {"local function f() return (('a'):gsub('a', f)) end f()", "stack overflow"},
    {"local t = setmetatable({}, {__tostring = function(t) return tostring(t) .. '' end}) tostring(t)", "stack overflow"},
    {"local t = setmetatable({}, {__tostring = function(t) return ('%s'):format(t) .. '' end}) tostring(t)", "stack overflow"},
    {"local function f() table.sort({2, 1}, function() f() end) end f()", "stack overflow"},
    {"local function f(n) local ok, e = coroutine.resume(coroutine.create(f), n + 1) if not ok then error(e, 0) end return n end f(1)",
     "coroutines inside each other"},
    {"local t = {} for i = 1, 7000 do t[i] = i end local function f(...) return f(1, ...) end f(unpack(t))", "stack overflow"},
    {"return string.rep('x', 1e5, unpack({}, 1, 7000)):find(('(x)'):rep(40))", "too many captures"},
    {"return ('x'):find('(x')", "unfinished capture"},
    {"return ('x'):rep(300):find(('x?'):rep(300))", "pattern too complex"},
  };
  box_check_errors(CASES(uncaught));
  static const box_case caught[] = {
    {"local function f() return 1 + f() end pcall(f)", "stack overflow: a function calls itself without end"},
    {"local function f() return 1 + f() end while true do pcall(f) end", "stack overflow"},
    {"local function f() return 1 + pcall(f) end f() while true do pcall(f) end", "stack overflow"},
    {"local function f() return 1 + f() end xpcall(f, function(m) return m end)", "stack overflow"},
    {"coroutine.resume(coroutine.create(function() local function f() return 1 + f() end f() end))", "stack overflow"},
    {"return coroutine.wrap(function() local function f() return 1 + f() end return f() end)()", "stack overflow"},
  };
  box_check_kills(CASES(caught), LNT__KILL_STACK);
  static const box_case honest[] = {{"return pcall(error, 'stack overflow')", "false|stack overflow"}};
  box_check_values(CASES(honest));
}

/* A kill comes at the same instruction, in every run and whatever the state did before. */
static void test_budgets_are_exact(void) {
  static const char *const sources[] = {
    "n = 0 while true do n = n + 1 if n % 5000 == 0 then print(n) end end",
    "n = 0 local t = {} while true do n = n + 1 t[n % 50] = {n} if n % 5000 == 0 then print(n, ('a'):rep(50):find('.-.-b')) end end",
    "n = 0 while true do n = n + 1 pcall(function() table.sort{3, 1, 'x'} end) pairs{a = n} if n % 500 == 0 then print(n) end end",
    "n = 0 while true do n = n + 1 coroutine.wrap(function() coroutine.yield(n) end)() if n % 500 == 0 then print(n) end end",
  };
  for (size_t i = 0; i < LNT__COUNT(sources); i++) {
    char log[64] = "";
    uint64_t spent = 0;
    for (int round = 0; round < 5; round++) {
      box b;
      box_open(&b);
      for (int noise = 0; noise < round * 3; noise++) box_run(&b, "local t = {} for i = 1, 333 do t['n' .. i] = {} end");
      const box_result *r = box_run(&b, sources[i]);
      CHECK_EQ_INT(r->killed, LNT__KILL_INSTRUCTIONS);
      const char *last = b.log_size > 40 ? b.log + b.log_size - 40 : b.log;
      if (round == 0) snprintf(log, sizeof log, "%.63s", last), spent = r->spent;
      CHECK_EQ_STR(last, log);
      CHECK_EQ_UINT(r->spent, spent);
      box_close(&b);
    }
    CHECK(log[0] != 0);
  }
}

/* An answer in place gives the budget that a resume would give: the two must die at the same point. */
static int answered_in_place(lua_State *L) {
  lnt__guard_refill(lnt__guard_of(L));
  return lua_gettop(L);
}

static int define_in_place(lua_State *L) {
  lua_pushcfunction(L, answered_in_place);
  lnt__sandbox_define(L, "wait");
  return 0;
}

static const char *last_line(const box *b) {
  size_t at = b->log_size > 0 ? b->log_size - 1 : 0;
  while (at > 0 && b->log[at - 1] != '\n') at--;
  return b->log + at;
}

static void test_replay_has_the_same_budget(void) {
  static const char source[] = "for i = 1, 700 do local x = i * 2 end wait(1) for i = 1, 1777 do local x = i end wait(2) n = 0 "
                               "while true do n = n + 1 if n % 10000 == 0 then print(n) end end";
  char log[64];
  uint64_t spent;
  box b;
  box_open(&b);
  const box_result *r = box_run(&b, source);
  spent = r->spent;
  snprintf(log, sizeof log, "%.63s", last_line(&b));
  lua_cpcall(b.L, define_in_place, NULL);
  r = box_run(&b, source);
  CHECK_EQ_UINT(r->spent, spent);
  CHECK_EQ_STR(last_line(&b), log);
  box_close(&b);
}

static void test_long_turns_pass_with_waits(void) {
  box b;
  box_open(&b);
  const char *source = box_stressed() ? "for i = 1, 20 do for j = 1, 50000 do end wait(i) end return 'done'"
                                      : "for i = 1, 20 do for j = 1, 1000000 do end wait(i) end return 'done'";
  CHECK_EQ_STR(box_run(&b, source)->text, "done");
  box_close(&b);
}

/* Garbage is not memory that is held: a turn that makes much and keeps little goes on, also beside a large live heap. */
static void test_garbage_is_not_held_against_a_turn(void) {
  lnt__guard_limits limits = {500000000, 1u << 30, 4u << 20, 0};
  box b;
  if (box_stressed()) return;
  box_open_with(&b, &limits, lnt__guard_alloc);
  static char ballast_key;
  lua_pushlightuserdata(b.L, &ballast_key);
  lua_newuserdata(b.L, 100u << 20);
  lua_rawset(b.L, LUA_REGISTRYINDEX);
  const box_result *r = box_run(&b, "local s for i = 1, 2000 do s = ('x'):rep(50000) .. i end return #s");
  CHECK_EQ_STR(r->text, "50004");
  r = box_run(&b, "local t for i = 1, 300000 do t = {i, {i}} end return t[1]");
  CHECK_EQ_STR(r->text, "300000");
  r = box_run(&b, "local t = {} for i = 1, 1e9 do t[i] = {} end");
  CHECK_EQ_INT(r->killed, LNT__KILL_MEMORY);
  box_close(&b);
}

static void test_churn_ends(void) {
  lnt__guard_limits limits = {INT64_MAX / 4, 1u << 30, 1u << 20, 0};
  box b;
  box_open_with(&b, &limits, lnt__guard_alloc);
  const box_result *r = box_run(&b, "local s = ('x'):rep(200000) local n = 0 while true do n = n + 1 local t = s .. n end");
  CHECK_EQ_INT(r->killed, LNT__KILL_MEMORY);
  CHECK_HAS(r->text, "the turn asked for 64 times turn_memory_bytes_max");
  box_close(&b);
}

static void test_the_clock_is_a_last_resort(void) {
  lnt__guard_limits limits = {INT64_MAX / 4, 1u << 30, 32u << 20, 20000000};
  box b;
  box_open_with(&b, &limits, lnt__guard_alloc);
  const box_result *r = box_run(&b, "while true do pcall(function() while true do end end) end");
  CHECK_EQ_INT(r->killed, LNT__KILL_TIME);
  CHECK_HAS(r->text, "author.lua:1: the turn took 0.02 s of processor time (turn_us_max)");
  CHECK_EQ_STR(box_run(&b, "return 1")->text, "1");
  box_close(&b);
}

/* What the budget does not see: instructions that take as long as their texts are, and allocate nothing. */
static void test_the_clock_sees_long_texts(void) {
  static const char *const loops[] = {"local d = b < c", "local d = a .. 'b'", "local d = b == (a .. 'a')", "local d = n + 0"};
  lnt__guard_limits limits = {INT64_MAX / 4, 1u << 30, 128u << 20, 20000000};
  box b;
  box_open_with(&b, &limits, lnt__guard_alloc);
  for (size_t i = 0; i < LNT__COUNT(loops); i++) {
    char source[300];
    snprintf(source, sizeof source,
             "local a, n = ('x'):rep(8e6), (' '):rep(8e6) .. '1' local b, c = a .. 'a', a .. 'b' while true do %s end", loops[i]);
    const box_result *r = box_run(&b, source);
    CHECK_EQ_INT(r->killed, LNT__KILL_TIME);
    CHECK_HAS(r->text, "very long texts");
  }
  box_close(&b);
}

static int stop_here(lua_State *L) { lnt__guard_kill(L, LNT__KILL_HOST, "diverged at %d", 7); }

static int define_stop(lua_State *L) {
  lua_pushcfunction(L, stop_here);
  lnt__sandbox_define(L, "stop");
  return 0;
}

static void test_the_vm_can_stop_a_body(void) {
  static const char *const sources[] = {
    "stop()", "pcall(stop) print('after')", "while true do pcall(stop) end", "xpcall(stop, function() print('after') end) print('after')",
    "coroutine.wrap(function() pcall(stop) print('after') end)()", "coroutine.resume(coroutine.create(stop)) print('after')",
    "table.sort({1, 2, 'x'}, stop) print('after')", "('x'):gsub('.', stop) print('after')",
    "tostring(setmetatable({}, {__tostring = stop})) print('after')", "for _ in stop do end print('after')",
  };
  box b;
  box_open(&b);
  CHECK_EQ_INT(lua_cpcall(b.L, define_stop, NULL), 0);
  for (size_t i = 0; i < LNT__COUNT(sources); i++) {
    const box_result *r = box_run(&b, sources[i]);
    CHECK_EQ_INT(r->killed, LNT__KILL_HOST);
    CHECK_HAS(r->text, "diverged at 7");
    CHECK_EQ_STR(b.log, "");
  }
  CHECK_EQ_STR(box_run(&b, "stop()")->text, "author.lua:1: diverged at 7");
  CHECK_EQ_STR(box_run(&b, "return 1")->text, "1");
  box_close(&b);
}

/* ---- Crashes of this LuaJIT that plain Lua can cause ---- */

static void test_chains_of_pcall(void) {
  box b;
  box_open(&b);
  for (int n = 1; n <= 300; n += n < 120 ? 1 : 20) {
    char source[512];
    snprintf(source, sizeof source,
             "local t = {} for i = 1, %d do t[i] = pcall end return coroutine.wrap(function() return (pcall(unpack(t))) end)(), "
             "(coroutine.resume(coroutine.create(pcall), unpack(t, 1, 16)))", n);
    CHECK_EQ_STR(box_run(&b, source)->text, "true|true");
    snprintf(source, sizeof source, "local t = {} for i = 1, %d do t[i] = xpcall end return (pcall(unpack(t)))", n);
    box_run(&b, source);
  }
  CHECK_EQ_STR(box_run(&b, "return 1")->text, "1");
  box_close(&b);
}

/* A coroutine is resumed at every height of its stack, up to the limit, with as many values as are allowed. */
static void test_resume_at_the_edge_of_the_stack(void) {
  static const char source[] =
    "local v = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}\n"
    "local function down(n, how, ...) if n == 0 then return how(...) end local r = down(n - 1, how, ...) return r end\n"
    "local sum = 0\n"
    "for _, n in ipairs{%s} do for k = 0, %d do\n"
    "  local co = coroutine.create(function(...) return (down(n + k, coroutine.yield, ...)) end)\n"
    "  local ok, e = coroutine.resume(co, unpack(v))\n"
    "  if ok then local ok2, r = coroutine.resume(co, unpack(v)) if r == 1 then sum = sum + 1 end\n"
    "  elseif not e:find('overflow') then return e end\n"
    "end end return sum > 0\n";
  static const char *const heights[] = {"0, 20, 45, 90, 200", "400, 800", "1200"};
  box b;
  for (size_t i = 0; i < LNT__COUNT(heights); i++) {
    char text[1024];
    lnt__guard_limits limits = {INT64_MAX / 4, 1u << 30, 512u << 20, 0};
    box_open_with(&b, &limits, lnt__guard_alloc);
    snprintf(text, sizeof text, source, heights[i], box_stressed() ? 1 : i == 0 ? 60 : 20);
    CHECK_EQ_STR(box_run(&b, text)->text, "true");
    box_close(&b);
  }
}

/* Recurse `height` times in a coroutine, yield there, and resume with as many values as are allowed. */
static lnt__kill resume_at_height(int height) {
  char text[512];
  box b;
  lnt__guard_limits limits = {INT64_MAX / 4, 1u << 30, 512u << 20, 0};
  box_open_with(&b, &limits, lnt__guard_alloc);
  snprintf(text, sizeof text,
           "local v = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16} local function down(n) if n == 0 then return "
           "coroutine.yield() end "
           "local r = down(n - 1) return r end local co = coroutine.create(down) coroutine.resume(co, %d) return coroutine.resume(co, "
           "unpack(v))", height);
  const box_result *r = box_run(&b, text);
  lnt__kill killed = r->killed;
  CHECK_HAS(r->text, killed == LNT__KILL_NONE ? "true|1" : "stack overflow: a function calls itself without end");
  CHECK_EQ_STR(box_run(&b, "return 1")->text, "1");
  box_close(&b);
  return killed;
}

/* At the last slots of the largest stack, the overflow must come out in order: as a kill, never by growing the stack of a resumed
 * coroutine. */
static void test_resume_at_the_end_of_the_stack(void) {
  int low = 1000, high = 60000;
  while (high - low > 1) {
    int middle = (low + high) / 2;
    if (resume_at_height(middle) == LNT__KILL_NONE) low = middle;
    else high = middle;
  }
  for (int height = low - 12; height <= low + 3; height++) CHECK_EQ_INT(resume_at_height(height) == LNT__KILL_NONE, height <= low);
}

/* Whatever fails to be allocated, the process lives: the state limit is drawn ever closer. */
static void test_every_limit_is_survived(void) {
  static const char source[] =
    "local t = {} for i = 1, 200 do t[i] = {name = 'n' .. i, ('x'):rep(i)} end table.sort(t, function(a, b) return a.name < b.name end)\n"
    "local s = '' for k, v in pairs(t) do s = s .. v.name end local co = coroutine.wrap(function() for i = 1, 50 do coroutine.yield({i}) "
    "end end)\n"
    "for i = 1, 50 do co() end pcall(function() s = s:gsub('n', function() return 'm' end) end) return wait(#s)\n";
  for (uint64_t bytes = 0; bytes < 400000; bytes += box_stressed() ? 9973 : 997) {
    lnt__guard_limits limits = {10000000, 64u << 20, bytes, 0};
    box b;
    box_open_with(&b, &limits, lnt__guard_alloc);
    const box_result *r = box_run(&b, source);
    CHECK(r->status == 0 || r->killed == LNT__KILL_MEMORY);
    b.guard.limits.turn_bytes_max = 32u << 20;
    CHECK_EQ_STR(box_run(&b, "return 1")->text, "1");
    box_close(&b);
  }
}

static void test_open_survives_small_limits(void) {
  int opened = 0;
  for (uint64_t bytes = 1000; bytes < 200000; bytes += 1013) {
    lnt__guard guard;
    lnt__guard_limits limits = {1000000, bytes, 1u << 20, 0};
    lnt_error err = {0};
    lnt__guard_init(&guard, &limits);
    lua_State *L = lua_newstate(lnt__guard_alloc, &guard);
    if (!L) continue;
    lnt_status status = lnt__sandbox_open(L, &guard, &err);
    if (status != LNT_OK && status != LNT_ENOMEM) CHECK_FAIL("%d bytes: %s", (int)bytes, err.message);
    if (status == LNT_ENOMEM) CHECK_HAS(err.message, "workflow_memory_bytes_max");
    opened += status == LNT_OK;
    lua_close(L);
    lnt__guard_finish(&guard);
    CHECK(guard.used <= 64); /* LuaJIT loses a small block now and then when it is refused memory */
  }
  CHECK(opened > 10);
}

/* The system's own refusals, one allocation after the other. */
static uint64_t refuse_after;

static void *refusing_alloc(void *guard, void *memory, size_t old_size, size_t new_size) {
  bool grows = new_size > (memory ? old_size : 0);
  if (grows && refuse_after != UINT64_MAX && refuse_after-- == 0) return NULL;
  return lnt__guard_alloc(guard, memory, old_size, new_size);
}

static void test_bodies_survive_refusals(void) {
  static const char *const sources[] = {
    "local t = {} for i = 1, 50 do t[i] = {name = 'n' .. i, ('x'):rep(i)} end table.sort(t, function(a, b) return a.name < b.name end)",
    "local co = coroutine.wrap(function() for i = 1, 30 do coroutine.yield({i}) end end) for i = 1, 30 do co() end",
    "for i = 1, 10 do pcall(function() local s = ('nnn'):gsub('n', function() return 'm' end) end) end",
    "local function f(n) if n > 0 then return 1 + f(n - 1) end return 0 end f(3000)",
    "for i = 1, 20 do local co = coroutine.create(function(...) local function d(n) if n > 0 then local r = d(n - 1) return r end return "
    "coroutine.yield(1, 2) end "
    "return d(i * 3) end) coroutine.resume(co, 1, 2, 3, 4, 5, 6, 7, 8, 9) coroutine.resume(co, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, "
    "14, 15, 16) end",
    "for k, v in pairs{a = 1, b = 2, c = 3} do print(k, string.format('%s %5d', v, v)) end",
    "local s = '' for i = 1, 50 do s = s .. i end return #s, os.date(), tostring({}), table.concat({1, 2, 3}, ',')",
    "local function v(...) return select('#', ...) end for i = 1, 100 do v(unpack({}, 1, i * 20)) end",
  };
  lnt__guard_limits limits = {10000000, 64u << 20, 32u << 20, 0};
  for (size_t i = 0; i < LNT__COUNT(sources); i++) {
    for (uint64_t n = 0; n < 2000; n += 3) {
      box b;
      refuse_after = UINT64_MAX;
      box_open_with(&b, &limits, refusing_alloc);
      refuse_after = n;
      const box_result *r = box_run(&b, sources[i]);
      bool refused = refuse_after == UINT64_MAX;
      refuse_after = UINT64_MAX;
      CHECK(refused ? r->status != 0 || r->killed == LNT__KILL_NONE : r->status == 0);
      CHECK_EQ_STR(box_run(&b, "return 1")->text, "1");
      lua_close(b.L);
      lnt__guard_finish(&b.guard);
      if (!refused) break;
    }
  }
}

static void test_compile_survives_refusals(void) {
  static const char source[] = "local function f(a, b, ...) local t = {a, b, x = 1, 'text'} for k, v in pairs(t) do t[k] = function() "
    "return a, v, k end end return ... end return f";
  lnt__guard_limits limits = {1000000, 64u << 20, 1u << 20, 0};
  box b;
  refuse_after = UINT64_MAX;
  box_open_with(&b, &limits, refusing_alloc);
  int refused = 0;
  for (uint64_t n = 0; n < 200; n++) {
    lnt_error err = {0};
    refuse_after = n;
    lnt_status status = lnt__sandbox_compile(b.L, "@author.lua", source, strlen(source), &err);
    refuse_after = UINT64_MAX;
    if (status != LNT_OK && status != LNT_ENOMEM) CHECK_FAIL("refusal %d: %s", (int)n, err.message);
    if (status == LNT_OK) lua_pop(b.L, 1);
    else refused++;
    CHECK_EQ_INT(lua_gettop(b.L), 0);
  }
  CHECK(refused > 5);
  box_close(&b);
}

/* ---- Loading ---- */

static void test_files_that_do_not_load(void) {
  static const box_case cases[] = {
    {"local x = = 1", "author.lua:1: unexpected symbol near '='; the line reads: local x = = 1"},
    {"\n\n   local function x y\nend", "author.lua:3: '(' expected near 'y'; the line reads: local function x y"},
    {"return 1LL", "author.lua:1: 64-bit integer and imaginary literals are not available"},
    {"return 1ull", "64-bit integer"},
    {"return 0x10LL", "64-bit integer"},
    {"return 2i", "64-bit integer"},
    {"return 1.5e3I", "64-bit integer"},
    {"local x = 5\nreturn x + 12ULL", "author.lua:2: 64-bit integer"},
    {"local s = [==[ ]] 1LL ]==] return 1LL", "64-bit integer"},
    {"local s = \"\\z\n  \" return 1LL", "author.lua:2: 64-bit integer"},
    {"local s = '\\\r\n' return 1LL", "64-bit integer"},
    {"local s = '\\'' --[[ ' ]] return 1LL", "64-bit integer"},
    {"--[==[ ]] \n ]==] return 1LL", "64-bit integer"},
    {"--[ [\nreturn 1LL", "64-bit integer"},
    {"return a..1LL", "64-bit integer"},
    {"return .5LL", "64-bit integer"},
    {"local q for a in nil do end", "author.lua:1: a loop over a constant"},
    {"local q for a, b in ((nil)) do end", "a loop over a constant"},
    {"local q for a in 1 and nil do end", "a loop over a constant"},
    {"local q for a in 'x' and nil do end", "a loop over a constant"},
    {"local q for a in -1 and nil do end", "a loop over a constant"},
    {"local q for a in not 1 do end", "a loop over a constant"},
    {"\x1bLJ\x02", "author.lua: this is compiled Lua; only text is loaded"},
    {"return 'abc", "unfinished string"},
    {"return [[abc", "unfinished long string"},
    {"goto nowhere", "undefined label"},
    {"break", "break"},
  };
  box_check_errors(CASES(cases));
  static const box_case fine[] = {
    {"return '1LL', [[2i]], \"3ULL\" -- 4LL", "1LL|2i|3ULL"},
    {"#!/usr/bin/lua 1LL\nreturn 1", "1"},
    {"\xef\xbb\xbfreturn 0xff, 1e3, 1.5, .5, 3", "255|1000|1.5|0.5|3"},
    {"local x1LL, i2i = 1, 2 return x1LL + i2i", "3"},
    {"local n = 0 for w in ('a b'):gmatch('%a') do n = n + 1 end for _, v in pairs{1} do n = n + v end return n", "3"},
    {"for i in (function() end) do end return 1 --[[ in nil ]]", "1"},
    {"return 'a\\\nb' == 'a\\nb', 2 ^-1", "true|0.5"},
    {"local t = {['in'] = 1} return t['in']", "1"},
    {"", ""},
  };
  box_check_values(CASES(fine));
}

static void test_source_may_hold_any_byte(void) {
  box b;
  lnt_error err = {0};
  box_open(&b);
  static const char bytes[] = "return #'a\0b'\n";
  CHECK_EQ_STR(box_run_bytes(&b, bytes, sizeof bytes - 1)->text, "3");
  CHECK_EQ_INT(lnt__sandbox_compile(b.L, "@bad.lua", "x = \xff\xfe \x01", 8, &err), LNT_ESYNTAX);
  CHECK(lnt__utf8_valid(err.message, strlen(err.message)));
  char *large = (char *)malloc(LNT__SANDBOX_SOURCE_BYTES_MAX + 1);
  memset(large, ' ', LNT__SANDBOX_SOURCE_BYTES_MAX + 1);
  CHECK_EQ_INT(lnt__sandbox_compile(b.L, "@big.lua", large, LNT__SANDBOX_SOURCE_BYTES_MAX + 1, &err), LNT_ELIMIT);
  CHECK_HAS(err.message, "big.lua: ");
  free(large);
  box_close(&b);
}

/* Constructs inside each other, deeper than any parser's stack: each is refused, or loads. */
static void test_deep_nesting(void) {
  static const char *const shapes[][3] = {
    {"return ", "(", "1"}, {"return ", "{", "1"}, {"return ", "-", "1"}, {"return ", "not ", "1"}, {"return ", "'a'..", "'b'"}, {"return ",
     "2^", "1"},
    {"", "do ", ""}, {"", "if x then ", ""}, {"", "while x do ", ""}, {"", "repeat ", ""}, {"return ", "function() return ", "1"},
     {"x = x", "[x", ""},
    {"x = x", ".x", ""}, {"x", "()", ""}, {"x", "{}", ""}, {"x = x", " + x", ""}, {"x = 1 ", "local y ", ""}, {"x = {", "{},", "}"},
     {"x = ", "x and ", "x"}, {"do ", "goto a ", "::a:: end"}, {"x = ", "a and b or ", "c"},
    {"if x then ", "elseif x then ", "end"}, {"x", ",x", " = 1"}, {"return f(", "x,", "x)"}, {"for i = 1, 2 do ", "for i = 1, 2 do ", ""},
    {"--", "[", ""}, {"return ", "[", "["}, {"return [", "=", ""}, {"", "::a:: ", ""}, {"goto ", "a", ""}, {"", ";", ""}, {"x = '", "\\z ",
     "'"},
  };
  enum { TIMES = 100000 };
  char *source = (char *)malloc(64 + TIMES * 24);
  box b;
  box_open(&b);
  for (size_t i = 0; i < LNT__COUNT(shapes); i++) {
    lnt_error err = {0};
    size_t size = strlen(strcpy(source, shapes[i][0])), step = strlen(shapes[i][1]);
    for (int n = 0; n < TIMES; n++, size += step) memcpy(source + size, shapes[i][1], step);
    size += strlen(strcpy(source + size, shapes[i][2]));
    lnt_status status = lnt__sandbox_compile(b.L, "@deep.lua", source, size, &err);
    CHECK(status == LNT_OK || (status == LNT_ESYNTAX && err.message[0]));
    lua_settop(b.L, 0);
  }
  free(source);
  CHECK_EQ_STR(box_run(&b, "return 1")->text, "1");
  box_close(&b);
}

/* Soup of tokens: whatever it is, it loads or is refused. */
static void test_token_soup(void) {
  static const char *const tokens[] = {
    "nil", "true", "1", "0x1p4", "1e5", "'s'", "[[l]]", "x", "y", "f", "(", ")", "{", "}", "[", "]", ",", ";", ":", ".", "..", "...", "=",
      "==", "~=", "<", "+",
    "-", "*", "/", "%", "^", "#", "and", "or", "not", "for", "in", "do", "end", "while", "repeat", "until", "if", "then", "else", "elseif",
      "function", "local",
    "return", "break", "goto", "::", "for a in", "for a, b in", "local q", "do", "end", "function() end", "\n",
  };
  lnt__rng rng;
  box b;
  lnt__rng_seed(&rng, 20240607);
  CHECK_SEED(20240607);
  box_open(&b);
  for (int i = 0; i < (box_stressed() ? 300 : 20000); i++) {
    char source[512] = "";
    lnt_error err = {0};
    for (size_t n = 1 + lnt__rng_below(&rng, 30), at = 0; n > 0 && at < 450; n--)
      at += (size_t)snprintf(source + at, sizeof source - at, "%s ", tokens[lnt__rng_below(&rng, LNT__COUNT(tokens))]);
    if (lnt__sandbox_compile(b.L, "@soup.lua", source, strlen(source), &err) == LNT_OK) lua_pop(b.L, 1);
    else CHECK_HAS(err.message, "soup.lua");
    CHECK_EQ_INT(lua_gettop(b.L), 0);
  }
  box_close(&b);
}

CHECK_MAIN(test_values_are_plain, test_print_goes_to_the_log, test_pairs_has_one_order, test_pairs_forgets_history,
           test_random_is_the_instance_s, test_absent_things_teach, test_misuse_is_refused, test_time_has_no_meaning_while_a_file_loads,
           test_nothing_dangerous_is_reachable, test_instances_do_not_share, test_waits_pass_through_everything,
           test_waiting_coroutines_are_left_alone, test_endless_work_is_killed, test_memory_bombs_are_killed,
           test_bottomless_recursion_is_stopped, test_budgets_are_exact, test_replay_has_the_same_budget, test_long_turns_pass_with_waits,
           test_garbage_is_not_held_against_a_turn, test_churn_ends, test_the_clock_is_a_last_resort, test_the_clock_sees_long_texts,
           test_the_vm_can_stop_a_body, test_chains_of_pcall, test_resume_at_the_edge_of_the_stack, test_resume_at_the_end_of_the_stack,
           test_every_limit_is_survived, test_open_survives_small_limits, test_bodies_survive_refusals, test_compile_survives_refusals,
           test_files_that_do_not_load, test_source_may_hold_any_byte, test_deep_nesting, test_token_soup);
