/* test_asking.c - what an instance tells about itself and what it is asked: side effects, streams, attributes. */
#include <stdio.h>

#include "codec/json.h"
#include "story.h"

/* ---- Side effects ---- */

static void test_a_side_effect_gives_its_value_in_every_replay(void) {
  story(MAIN("local v = ctx:side_effect(function() return {a = {1, 2}, b = 'x'} end) ctx:sleep(1) return v"), NULL,
        "{\"a\":[1,2],\"b\":\"x\"}");
  story(MAIN("local v = ctx:side_effect(function() end) ctx:sleep(1) return {v == nil, ctx:call_activity('echo', 1)}"), NULL, "[true,1]");
  story(MAIN("local n = 0 for i = 1, 10 do n = n + ctx:side_effect(function() return i end) + ctx:call_activity('echo', i) end return n"),
        NULL, "110");
}

static void test_a_replay_does_not_run_the_function(void) {
  static const char *const wanted[MODES] = {"[1,1]", "[1,0]", "[1,0]"};
  for (int how = 0; how < MODES; how++) {
    char got[200], log[2000];
    run_mode((mode)how, MAIN("local n = 0 local v = ctx:side_effect(function() n = n + 1 return n end) ctx:sleep(1) return {v, n}"), NULL,
             got, sizeof got, log, sizeof log);
    CHECK_EQ_STR(got, wanted[how]);
  }
}

static void test_what_a_side_effect_raises_is_raised_again(void) {
  story(MAIN("local ok, e = pcall(ctx.side_effect, ctx, function() error('no') end) local v = ctx:side_effect(function() return 5 end) "
             "ctx:sleep(1) return {ok, e.type, e.message, v}"), NULL, "[false,\"Error\",\"story.lua:1: no\",5]");
  story(MAIN("local ok, e = pcall(function() return ctx:side_effect(function() error({type = 'Mine', message = 'm'}) end) end) "
             "ctx:sleep(1) return {ok, e.type, tostring(e)}"), NULL, "[false,\"Mine\",\"Mine: m\"]");
  story(MAIN("local ok, e = pcall(function() return ctx:side_effect(function() return print end) end) "
             "ctx:sleep(1) return {ok, e.type, e.message:sub(1, 27)}"), NULL, "[false,\"InvalidValue\",\"story.lua:1: side_effect: v\"]");
  story_fails(MAIN("ctx:side_effect(function() local x = nil; return x.y end)"), "attempt to index local 'x'");
}

static void test_nothing_waits_inside_a_side_effect(void) {
  static const char *const calls[] = {"ctx:sleep(1)", "ctx:call_activity('echo', 1)", "ctx:emit('s', 1)", "ctx:spawn(print)",
                                      "ctx.async:call_activity('echo')", "ctx:side_effect(print)", "ctx:set_custom_status(1)",
                                      "ctx:set_attributes{a = 1}", "t:await()", "t:cancel()", "ctx:when_all{}"};
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    char source[600];
    snprintf(source, sizeof source,
             MAIN("local t = ctx.async:create_timer(1) local ok, e = pcall(ctx.side_effect, ctx, function() return %s end) "
                  "t:await() return {ok, (e.message:gsub('^.*: (%%S+) cannot be called.*$', 'refused'))}"), calls[i]);
    story(source, NULL, "[false,\"refused\"]");
  }
  story(MAIN("local co = coroutine.wrap(function() return ctx:side_effect(function() coroutine.yield(1) return 2 end) end) "
             "local ok, e = pcall(co) return {ok, e.type}"), NULL, "[false,\"Error\"]");
  story(MAIN("return ctx:side_effect(function() return coroutine.wrap(function() coroutine.yield(1) end)() end)"), NULL, "1");
}

static void test_a_side_effect_draws_numbers_of_its_own(void) {
  story(MAIN("ctx:random(9) math.random(9) local a = ctx:side_effect(function() return {ctx:random(), math.random(), ctx:uuid()} end) "
             "local b = ctx:side_effect(function() return {ctx:random(), math.random(), ctx:uuid()} end) "
             "local c, d = ctx:random(), math.random() ctx:sleep(1) "
             "local e = ctx:call_activity('echo', {c, d}) return {a[1] ~= b[1], a[2] ~= b[2], a[3] ~= b[3], c == e[1], d == e[2]}"), NULL,
        "[true,true,true,true,true]");
}

static void test_a_side_effect_has_the_budget_of_its_branch(void) {
  story_fails(MAIN("pcall(ctx.side_effect, ctx, function() while true do end end)"), "\"type\":\"BudgetExceeded\"");
  story_fails(MAIN("ctx:side_effect(function() local t = {} while true do t[#t + 1] = {} end end)"), "\"type\":\"OutOfMemory\"");
  story_fails(MAIN("ctx:side_effect(function() local function f() return 1 + f() end return f() end)"), "\"type\":\"StackOverflow\"");
}

/* ---- Streams ---- */

static void test_emitting_does_not_wait(void) {
  story(MAIN("for i = 1, 30 do ctx:emit('progress', i) if i % 10 == 0 then ctx:sleep(1) end end ctx:emit('end') return 'done'"), NULL,
        "\"done\"");
  story_fails(MAIN("ctx:emit(nil, 1)"), "emit: the name of the stream must be a string, got nil");
  story_fails(MAIN("ctx:emit('s', print)"), "emit: value: a function cannot be stored");
  story_fails(MAIN("ctx:emit('', 1)"), "emit: the name is empty");
  story_fails(MAIN("while true do ctx:emit('s', 1) end"), "\"type\":\"");
}

/* ---- Attributes ---- */

static void attributes_of(world *w, const char *id, char *out, size_t size) {
  uint64_t run = 0;
  lnt__row row;
  void *memory = NULL;
  lnt_error err;
  lnt__buf json;
  lnt__buf_init(&json);
  CHECK_STATUS(lnt__journal_find(w->store, id, &run, &err), LNT_OK);
  CHECK_STATUS(lnt__journal_row(w->store, run, &row, &memory, &err), LNT_OK);
  CHECK_STATUS(lnt__json_write(row.attributes, 0, &json, &err), LNT_OK);
  snprintf(out, size, "%.*s", (int)json.size, (const char *)json.data);
  lnt__free(memory);
  lnt__buf_finish(&json);
}

static void check_attributes(const char *source, const char *wanted) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    char got[2000];
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "story.lua", source, &err), LNT_OK);
    start(&w, "main", "one", NULL);
    play(&w, "one");
    CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_COMPLETED);
    attributes_of(&w, "one", got, sizeof got);
    CHECK_EQ_STR(got, wanted);
    world_finish(&w);
  }
}

static void test_attributes_are_merged_and_kept_in_the_row(void) {
  check_attributes(MAIN("ctx:set_attributes{customer = 'Ada', amount = 12.5} ctx:sleep(1) ctx:set_attributes{amount = 13, paid = true}"),
                   "{\"paid\":true,\"amount\":13,\"customer\":\"Ada\"}");
  check_attributes(MAIN("ctx:set_attributes{a = 1, b = 2, c = false} ctx:sleep(1) ctx:remove_attributes('a', 'c', 'none')"), "{\"b\":2}");
  check_attributes(MAIN("ctx:set_attributes{a = 1} ctx:sleep(1) ctx:remove_attributes('a')"), "null");
  check_attributes(MAIN("ctx:set_attributes{}"), "null");
}

static void test_a_body_sees_its_attributes_as_it_set_them(void) {
  story(MAIN("local a = ctx:attributes() ctx:set_attributes{n = 1} local b = ctx:attributes() ctx:sleep(1) ctx:set_attributes{n = 2} "
             "ctx:sleep(1) b.n = 9 return {next(a) == nil, b.n, ctx:call_activity('echo', ctx:attributes())}"), NULL, "[true,9,{\"n\":2}]");
}

static void test_bad_attributes_are_refused_whole(void) {
  static const char *const cases[][2] = {
      {"ctx:set_attributes()", "set_attributes: a table such as"},
      {"ctx:set_attributes{1}", "the name of an attribute must be a string, got number"},
      {"ctx:set_attributes{a = {}}", "the attribute 'a' must be text, a number or a boolean"},
      {"ctx:set_attributes{a = print}", "set_attributes: attributes.a: a function cannot be stored"},
      {"ctx:set_attributes{a = 0 / 0}", "the attribute 'a' is not a finite number"},
      {"ctx:set_attributes{a = ('x'):rep(257)}", "the attribute 'a' has 257 bytes, more than 256"},
      {"ctx:set_attributes{a = '\\255'}", "the attribute 'a' is not UTF-8 text"},
      {"ctx:set_attributes{[('x'):rep(65)] = 1}", "the name of an attribute has 65 bytes, more than 64"},
      {"ctx:set_attributes{[''] = 1}", "attribute name is empty"},
      {"local t = {} for i = 1, 33 do t['a' .. i] = i end ctx:set_attributes(t)", "there are 33 attributes; an instance has at most 32"},
      {"ctx:remove_attributes(1)", "the name of an attribute must be a string, got number"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char source[400];
    snprintf(source, sizeof source, MAIN("%s"), cases[i][0]);
    story_fails(source, cases[i][1]);
  }
  check_attributes(MAIN("ctx:set_attributes{a = 1} pcall(ctx.set_attributes, ctx, {b = 2, c = {}})"), "{\"a\":1}");
}

static void test_an_instance_starts_with_the_attributes_it_was_given(void) {
  world w;
  lnt_error err;
  uint8_t hash[LNT__SHA256_BYTES];
  char got[200];
  lnt__buf attributes;
  world_init(&w, CRASH);
  lnt__buf_init(&attributes);
  CHECK_STATUS(lnt__json_read("{\"a\":1}", 7, &attributes, &err), LNT_OK);
  CHECK_STATUS(load(&w, "story.lua", MAIN("ctx:sleep(1) ctx:set_attributes{b = ctx:attributes().a + 1} ctx:sleep(1)"), &err), LNT_OK);
  CHECK_STATUS(lnt__wvm_resolve(w.wvm, "main", hash, &err), LNT_OK);
  lnt__start options = {.workflow = "main", .id = "one", .hash = hash, .attributes = {attributes.data, attributes.size}};
  CHECK_STATUS(lnt__engine_start(w.engine, &options, NULL, &err), LNT_OK);
  play(&w, "one");
  attributes_of(&w, "one", got, sizeof got);
  CHECK_EQ_STR(got, "{\"a\":1,\"b\":2}");
  lnt__buf_finish(&attributes);
  world_finish(&w);
}

CHECK_MAIN(test_a_side_effect_gives_its_value_in_every_replay, test_a_replay_does_not_run_the_function,
           test_what_a_side_effect_raises_is_raised_again, test_nothing_waits_inside_a_side_effect,
           test_a_side_effect_draws_numbers_of_its_own, test_a_side_effect_has_the_budget_of_its_branch, test_emitting_does_not_wait,
           test_attributes_are_merged_and_kept_in_the_row, test_a_body_sees_its_attributes_as_it_set_them,
           test_bad_attributes_are_refused_whole, test_an_instance_starts_with_the_attributes_it_was_given);
