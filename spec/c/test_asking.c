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
  story_fails(MAIN("ctx:side_effect(function() local t = {} while true do t[#t + 1] = ('x'):rep(10000) .. #t end end)"),
              "\"type\":\"OutOfMemory\"");
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

/* ---- Questions ---- */

typedef struct reply { bool here; lnt_status status; char text[2000]; } reply;

static void on_answer(void *user, lnt_status status, lnt_value value) {
  reply *r = user;
  lnt__buf json;
  CHECK(!r->here);
  r->here = true;
  r->status = status;
  lnt__buf_init(&json);
  CHECK_STATUS(lnt__json_write(value, 0, &json, NULL), LNT_OK);
  snprintf(r->text, sizeof r->text, "%.*s", (int)json.size, (const char *)json.data);
  lnt__buf_finish(&json);
}

typedef struct inquiry { const char *id, *name, *json, *update_id; bool is_update; } inquiry;

static lnt_status ask(world *w, const inquiry *q, reply *r) {
  lnt_error err = {LNT_OK, ""};
  lnt__buf args;
  lnt__buf_init(&args);
  *r = (reply){.here = false};
  if (q->json) CHECK_STATUS(lnt__json_read(q->json, strlen(q->json), &args, &err), LNT_OK);
  lnt__inquiry asked = {.id = q->id, .name = q->name, .update_id = q->update_id, .args = {args.data, args.size}, .fn = on_answer,
                        .user = r};
  lnt_status status = q->is_update ? lnt__engine_update(w->engine, &asked, NULL, &err) : lnt__engine_query(w->engine, &asked, &err);
  lnt__buf_finish(&args);
  return status;
}

/* Ask until there is an answer: a crash forgets who asked. Time passes when nothing moves. */
static void ask_and_wait(world *w, const inquiry *q, reply *r) {
  CHECK_STATUS(ask(w, q, r), LNT_OK);
  for (int i = 0; i < 200 && !r->here; i++) {
    if (!tick(w) && !tick(w)) w->now_us += 500000;
    if (r->here && r->status == LNT_ECLOSED && w->mode == CRASH && r->text[0] == 'n') CHECK_STATUS(ask(w, q, r), LNT_OK);
  }
  CHECK(r->here);
}

static void check_answer(world *w, const inquiry *q, lnt_status status, const char *text) {
  reply r;
  ask_and_wait(w, q, &r);
  CHECK_STATUS(r.status, status);
  if (status == LNT_OK) CHECK_EQ_STR(r.text, text);
  else CHECK_HAS(r.text, text);
}

static void check_query(world *w, const char *name, const char *json, const char *text) {
  check_answer(w, &(inquiry){.id = "one", .name = name, .json = json}, LNT_OK, text);
}

static void check_refused(world *w, const char *name, const char *json, const char *text) {
  check_answer(w, &(inquiry){.id = "one", .name = name, .json = json}, LNT_EFAILED, text);
}

static void check_update(world *w, const char *name, const char *json, const char *update_id, const char *text) {
  check_answer(w, &(inquiry){.id = "one", .name = name, .json = json, .update_id = update_id, .is_update = true}, LNT_OK, text);
}

static void check_rejected(world *w, const char *name, const char *json, const char *text) {
  check_answer(w, &(inquiry){.id = "one", .name = name, .json = json, .is_update = true}, LNT_EFAILED, text);
}

static void begin(world *w, mode how, const char *source) {
  lnt_error err = {LNT_OK, ""};
  world_init(w, how);
  if (load(w, "story.lua", source, &err)) CHECK_FAIL("%s", err.message);
  start(w, "main", "one", NULL);
}

static size_t events_of(world *w, const char *id) {
  uint64_t run = 0;
  lnt__history history;
  lnt__history_init(&history);
  CHECK_STATUS(lnt__journal_find(w->store, id, &run, NULL), LNT_OK);
  CHECK_STATUS(lnt__journal_history(w->store, run, &history, NULL), LNT_OK);
  size_t count = history.count;
  lnt__history_finish(&history);
  return count;
}

static const char COUNTER[] = MAIN("local n = 0 ctx:on_query('count', function() return n end) "
    "ctx:on_query('add', function(x) return n + x end) "
    "for i = 1, 3 do ctx:wait_for_external_event('go') n = n + 1 end return n");

static void test_a_query_looks_at_the_body(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    begin(&w, (mode)how, COUNTER);
    check_query(&w, "count", NULL, "0");
    settle(&w);
    size_t events = events_of(&w, "one");
    for (int i = 1; i <= 3; i++) {
      raise_event(&w, "one", "go", i);
      char wanted[16], sum[16];
      snprintf(wanted, sizeof wanted, "%d", i);
      snprintf(sum, sizeof sum, "%d", i + 10);
      check_query(&w, "count", NULL, wanted);
      check_query(&w, "add", "10", sum);
    }
    settle(&w);
    CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_COMPLETED);
    CHECK_EQ_INT(events_of(&w, "one"), events + 3 + 3 + 2); /* raised, awaited, turn; and completed */
    check_query(&w, "count", NULL, "3");
    check_query(&w, "add", "0.5", "3.5");
    CHECK_EQ_INT(events_of(&w, "one"), events + 3 + 3 + 2);
    world_finish(&w);
  }
}

static void test_a_query_that_is_unknown_names_those_there_are(void) {
  world w;
  begin(&w, KEEP, COUNTER);
  check_refused(&w, "nothing", NULL, "\"message\":\"there is no query 'nothing'; there are: 'add', 'count'\"");
  check_refused(&w, "nothing", NULL, "\"type\":\"UnknownQuery\"");
  world_finish(&w);
  begin(&w, KEEP, MAIN("ctx:sleep(1)"));
  check_refused(&w, "nothing", NULL, "the workflow registers none (ctx:on_query)");
  reply r;
  CHECK_STATUS(ask(&w, &(inquiry){.id = "nobody", .name = "x"}, &r), LNT_ENOTFOUND);
  world_finish(&w);
}

static void test_a_query_cannot_move_the_body(void) {
  static const char *const calls[] = {"ctx:call_activity('echo', 1)", "ctx:sleep(1)", "ctx:emit('s', 1)", "ctx:set_custom_status(1)",
      "ctx:set_attributes{a = 1}", "ctx:random()", "ctx:uuid()", "math.random()", "math.randomseed(1)", "ctx:spawn(print)", "t:await()",
      "t:cancel()", "ctx:side_effect(print)", "ctx.async:sleep(1)", "ctx:when_any{t}", "ctx:scope(print)", "ctx:continue_as_new()",
      "ctx:on_query('x', print)", "ctx:raise_event('one', 'go')", "ctx:start_workflow('main')"};
  for (int how = 0; how < MODES; how++) {
    world w;
    char source[4000] = "workflow('main', function(ctx) local t = ctx.async:create_timer('1h') ";
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
      snprintf(source + strlen(source), sizeof source - strlen(source), "ctx:on_query('q%zu', function()\nlocal x = %s return x end)", i,
               calls[i]);
    strcat(source, " ctx:wait_for_external_event('go') return ctx:random(1000000) end)");
    begin(&w, (mode)how, source);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
      char name[16], line[40];
      snprintf(name, sizeof name, "q%zu", i);
      snprintf(line, sizeof line, "story.lua:%zu: ", i + 2);
      check_refused(&w, name, NULL, "\"type\":\"QueryNotReadOnly\"");
      check_refused(&w, name, NULL, line);
    }
    raise_event(&w, "one", "go", 1);
    settle(&w);
    char got[100];
    result_of(&w, "one", got, sizeof got);
    CHECK_EQ_STR(got, "397102"); /* as without a query */
    world_finish(&w);
  }
}

static void test_a_query_that_fails_is_the_askers(void) {
  world w;
  begin(&w, EVICT, MAIN("local big = ('x'):rep(1000) ctx:on_query('raise', function(x) error('no ' .. x) end) "
      "ctx:on_query('loop', function() while true do end end) ctx:on_query('mine', function() error({type = 'Mine', message = 'm'}) end) "
      "ctx:on_query('memory', function() local t = {} while true do t[#t + 1] = ('x'):rep(10000) .. #t end end) "
      "ctx:on_query('bad', function() return print end) "
      "ctx:on_query('tail', function() return ctx:emit('s') end) local e = ctx.emit "
      "ctx:on_query('lost', function() return e(ctx, 's') end) "
      "ctx:on_query('yield', function() coroutine.yield(1) end) ctx:on_query('none', function() end) "
      "ctx:on_query('look', function() return {ctx.instance_id, ctx:now() > 0, ctx:attributes(), ctx:is_replaying(), os.time() > 0} end) "
      "ctx:on_query('co', function() return coroutine.wrap(function() coroutine.yield(5) end)() end) "
      "ctx:wait_for_external_event('go') return 'fine'"));
  check_refused(&w, "raise", "\"way\"", "story.lua:1: no way");
  check_refused(&w, "loop", NULL, "\"type\":\"BudgetExceeded\"");
  check_refused(&w, "mine", NULL, "\"type\":\"Mine\"");
  check_refused(&w, "memory", NULL, "\"type\":\"OutOfMemory\"");
  check_refused(&w, "bad", NULL, "answer: a function cannot be stored");
  check_refused(&w, "tail", NULL, "story.lua:1: emit cannot be called in a query");
  check_refused(&w, "lost", NULL, "story.lua:1: in a return of the function that begins here: emit cannot be called in a query");
  check_refused(&w, "yield", NULL, "coroutine.yield outside a coroutine");
  check_query(&w, "none", NULL, "null");
  check_query(&w, "look", NULL, "[\"one\",true,{},false,true]");
  check_query(&w, "co", NULL, "5");
  raise_event(&w, "one", "go", 1);
  settle(&w);
  CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_COMPLETED);
  world_finish(&w);
}

static void test_instances_that_ended_anyhow_are_asked(void) {
  static const char *const ends[] = {"return n", "error('no')", "ctx:call_activity('fail')", "ctx:wait_for_external_event('never')",
                                     "while true do ctx:emit('s', 1) end", "ctx:wait_for_external_event('never')"};
  static const lnt_run_status statuses[] = {LNT_RUN_COMPLETED, LNT_RUN_FAILED, LNT_RUN_FAILED, LNT_RUN_TERMINATED, LNT_RUN_FAILED,
                                            LNT_RUN_CANCELED};
  for (int how = 0; how < MODES; how++) {
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
      world w;
      char source[400];
      lnt_error err;
      snprintf(source, sizeof source, MAIN("local n = 1 ctx:on_query('n', function() return n end) "
               "n = n + ctx:call_activity('echo', 1) ctx:sleep(1) %s"), ends[i]);
      world_init(&w, (mode)how);
      w.limits.history_events_max = 500;
      close_engine(&w);
      open_engine(&w);
      CHECK_STATUS(load(&w, "story.lua", source, &err), LNT_OK);
      start(&w, "main", "one", NULL);
      settle(&w);
      w.now_us += 2000000;
      settle(&w);
      if (i == 3) CHECK_STATUS(lnt__engine_terminate(w.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
      if (i == 5) CHECK_STATUS(lnt__engine_cancel(w.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
      check_query(&w, "n", NULL, "2");
      settle(&w);
      CHECK_EQ_INT(status_of(&w, "one"), statuses[i]);
      check_query(&w, "n", NULL, "2");
      lnt_stats stats = {.size = sizeof stats};
      settle(&w);
      lnt__engine_stats(w.engine, &stats);
      CHECK_EQ_INT(stats.loaded, 0);
      world_finish(&w);
    }
  }
}

static void test_a_suspended_instance_answers_as_it_stands(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    begin(&w, (mode)how, COUNTER);
    raise_event(&w, "one", "go", 1);
    settle(&w);
    CHECK_STATUS(lnt__engine_suspend(w.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
    raise_event(&w, "one", "go", 2);
    check_query(&w, "count", NULL, "1");
    settle(&w);
    check_query(&w, "count", NULL, "1");
    CHECK_STATUS(lnt__engine_resume(w.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
    check_query(&w, "count", NULL, "2");
    world_finish(&w);
  }
}

static void test_nothing_is_answered_before_it_is_durable(void) {
  world w;
  reply r;
  lnt_status status;
  lnt_error err;
  begin(&w, KEEP, COUNTER);
  settle(&w);
  raise_event(&w, "one", "go", 1);
  CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "count"}, &r), LNT_OK);
  while (lnt__engine_turn(w.engine, &status, &err)) {}
  CHECK(!r.here);
  const lnt__batch *batch = lnt__engine_seal(w.engine);
  CHECK_STATUS(w.store->vtable->commit(w.store, batch, &err), LNT_OK);
  CHECK(!r.here);
  lnt__engine_committed(w.engine);
  CHECK(r.here);
  CHECK_EQ_STR(r.text, "1");
  CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "count"}, &r), LNT_OK);
  CHECK(!r.here);
  while (lnt__engine_turn(w.engine, &status, &err)) {}
  CHECK(r.here); /* nothing is on its way */
  CHECK(lnt__engine_seal(w.engine) == NULL);
  CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "count"}, &r), LNT_OK);
  close_engine(&w);
  CHECK_STATUS(r.status, LNT_ECLOSED);
  open_engine(&w);
  world_finish(&w);
}

/* ---- Updates ---- */

static const char CART[] = MAIN("local items, sum = {}, 0 ctx:on_query('sum', function() return sum end) "
    "ctx:on_update('add', {validate = function(x) if type(x) ~= 'number' then return false, 'a number, please' end "
    "if x < 0 then error({type = 'Negative', message = 'no'}) end end, "
    "handle = function(x) local y = ctx:call_activity('echo', x) ctx:sleep(1) sum = sum + y items[#items + 1] = y return {sum = sum} end}) "
    "ctx:on_update('raise', function(x) ctx:call_activity('echo') error(x) end) "
    "ctx:on_update('wait', function() return ctx:wait_for_external_event('go') end) "
    "ctx:wait_for_external_event('pay') return items");

static void test_an_update_is_answered_by_its_handler(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    char got[200];
    begin(&w, (mode)how, CART);
    check_update(&w, "add", "5", how == CRASH ? "u1" : NULL, "{\"sum\":5}");
    check_update(&w, "add", "7", how == CRASH ? "u2" : NULL, "{\"sum\":12}");
    check_query(&w, "sum", NULL, "12");
    raise_event(&w, "one", "pay", 1);
    settle(&w);
    result_of(&w, "one", got, sizeof got);
    CHECK_EQ_STR(got, "[5,7]");
    world_finish(&w);
  }
}

static void test_a_rejected_update_leaves_no_trace(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    begin(&w, (mode)how, CART);
    settle(&w);
    size_t events = events_of(&w, "one");
    check_rejected(&w, "add", "\"x\"", "\"type\":\"UpdateRejected\"");
    check_rejected(&w, "add", "\"x\"", "a number, please");
    check_rejected(&w, "add", "-1", "\"type\":\"Negative\"");
    check_rejected(&w, "nothing", NULL, "there is no update 'nothing'; there are: 'add', 'raise', 'wait'");
    settle(&w);
    CHECK_EQ_INT(events_of(&w, "one"), events);
    world_finish(&w);
  }
}

static void test_an_update_that_fails_is_its_callers(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    begin(&w, (mode)how, CART);
    check_answer(&w, &(inquiry){.id = "one", .name = "raise", .json = "\"boom\"", .is_update = true, .update_id = "r"}, LNT_EFAILED,
                 "boom");
    check_update(&w, "add", "5", "a", "{\"sum\":5}");
    CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_RUNNING);
    world_finish(&w);
  }
}

static void test_the_same_id_is_the_same_update(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    reply first, second;
    begin(&w, (mode)how, CART);
    check_update(&w, "add", "5", "once", "{\"sum\":5}");
    check_update(&w, "add", "100", "once", "{\"sum\":5}");
    if (how != CRASH) {
      ask(&w, &(inquiry){.id = "one", .name = "wait", .update_id = "w", .is_update = true}, &first);
      settle(&w);
      ask(&w, &(inquiry){.id = "one", .name = "wait", .update_id = "w", .is_update = true}, &second);
      settle(&w);
      CHECK(!first.here && !second.here);
      raise_event(&w, "one", "go", 3);
      settle(&w);
      CHECK(first.here && second.here);
      CHECK_EQ_STR(first.text, "3");
      CHECK_EQ_STR(second.text, "3");
    }
    check_query(&w, "sum", NULL, "5");
    raise_event(&w, "one", "pay", 1);
    settle(&w);
    check_update(&w, "add", "5", "once", "{\"sum\":5}");
    check_answer(&w, &(inquiry){.id = "one", .name = "add", .json = "5", .update_id = "late", .is_update = true}, LNT_ECLOSED,
                 "is finished");
    world_finish(&w);
  }
}

static void test_a_workflow_that_returns_waits_for_its_updates(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    reply r;
    char got[200];
    begin(&w, (mode)how, MAIN("ctx:on_update('slow', function() ctx:sleep(5) return 'slowly' end) "
        "ctx:spawn(function() ctx:sleep('1h') end) ctx:wait_for_external_event('end') return 'over'"));
    settle(&w);
    CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "slow", .update_id = "s", .is_update = true}, &r), LNT_OK);
    settle(&w);
    raise_event(&w, "one", "end", 1);
    settle(&w);
    CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_RUNNING);
    check_rejected(&w, "slow", NULL, "the workflow has returned and takes no more updates");
    check_update(&w, "slow", NULL, "s", "\"slowly\"");
    settle(&w);
    result_of(&w, "one", got, sizeof got);
    CHECK_EQ_STR(got, "\"over\"");
    world_finish(&w);
  }
}

static void test_a_workflow_that_fails_abandons_its_updates(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    reply slow, clean;
    begin(&w, (mode)how, MAIN("ctx:on_update('slow', function() ctx:sleep(5) return 'slowly' end) "
        "ctx:on_update('clean', function() local ok, e = pcall(ctx.sleep, ctx, 5) return e.type end) "
        "ctx:wait_for_external_event('end') error('no')"));
    settle(&w);
    CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "slow", .update_id = "s", .is_update = true}, &slow), LNT_OK);
    settle(&w);
    CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "clean", .update_id = "c", .is_update = true}, &clean), LNT_OK);
    settle(&w);
    raise_event(&w, "one", "end", 1);
    settle(&w);
    CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_FAILED);
    check_answer(&w, &(inquiry){.id = "one", .name = "slow", .update_id = "s", .is_update = true}, LNT_EFAILED, "\"type\":\"Canceled\"");
    check_update(&w, "clean", NULL, "c", "\"Canceled\"");
    world_finish(&w);
  }
}

static void test_a_terminated_instance_answers_nobody(void) {
  world w;
  reply r;
  lnt_error err;
  begin(&w, KEEP, CART);
  settle(&w);
  CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "wait", .update_id = "w", .is_update = true}, &r), LNT_OK);
  settle(&w);
  CHECK_STATUS(lnt__engine_terminate(w.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  settle(&w);
  CHECK(r.here);
  CHECK_STATUS(r.status, LNT_EFAILED);
  CHECK_HAS(r.text, "\"type\":\"UpdateAbandoned\"");
  world_finish(&w);
}

static void test_a_handler_is_a_scope(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    char got[200];
    begin(&w, (mode)how, MAIN("local log = {} ctx:on_update('u', function() ctx:spawn(function() local ok, e = pcall(ctx.sleep, ctx, '1h') "
        "log[#log + 1] = e.type end) ctx.async:sleep('1h') ctx:sleep(1) log[#log + 1] = 'end' return 1 end) "
        "ctx:wait_for_external_event('end') return log"));
    check_update(&w, "u", NULL, "u", "1");
    raise_event(&w, "one", "end", 1);
    settle(&w);
    result_of(&w, "one", got, sizeof got);
    CHECK_EQ_STR(got, "[\"end\",\"Canceled\"]");
    world_finish(&w);
  }
}

static void test_updates_wait_for_a_suspended_instance(void) {
  world w;
  reply r;
  lnt_error err;
  begin(&w, KEEP, CART);
  settle(&w);
  CHECK_STATUS(lnt__engine_suspend(w.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "add", .json = "3", .is_update = true}, &r), LNT_OK);
  settle(&w);
  CHECK(!r.here);
  CHECK_STATUS(lnt__engine_resume(w.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  settle(&w);
  w.now_us += 2000000;
  settle(&w);
  CHECK(r.here);
  CHECK_EQ_STR(r.text, "{\"sum\":3}");
  world_finish(&w);
}

static void test_questions_and_updates_have_limits(void) {
  world w;
  reply r[6];
  world_init(&w, KEEP);
  lnt_error err;
  w.limits.questions_max = 3;
  w.limits.updates_max = 2;
  close_engine(&w);
  open_engine(&w);
  CHECK_STATUS(load(&w, "story.lua", CART, &err), LNT_OK);
  start(&w, "main", "one", NULL);
  for (int i = 0; i < 4; i++)
    CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "wait", .is_update = true}, &r[i]), i < 3 ? LNT_OK : LNT_ELIMIT);
  settle(&w);
  CHECK(!r[0].here && !r[1].here && r[2].here);
  CHECK_STATUS(r[2].status, LNT_ELIMIT);
  CHECK_HAS(r[2].text, "updates_max");
  world_finish(&w);
}

static void test_an_update_goes_over_to_the_next_generation(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    reply first;
    begin(&w, (mode)how, "workflow('main', function(ctx, n) n = n or 0 "
        "ctx:on_update('next', function(x) if n == 0 then ctx:sleep(1) end return {n, x} end) "
        "ctx:wait_for_external_event('again') ctx:wait_for_handlers() return ctx:continue_as_new(n + 1) end)");
    settle(&w);
    CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "next", .json = "1", .update_id = "a", .is_update = true}, &first), LNT_OK);
    if (how == KEEP) settle(&w);
    raise_event(&w, "one", "again", 1);
    if (how == KEEP) settle(&w);
    check_update(&w, "next", "1", "a", how == KEEP ? "[0,1]" : "[1,1]");
    settle(&w);
    check_update(&w, "next", "2", "b", "[1,2]");
    world_finish(&w);
  }
}

static void test_handlers_are_told_apart(void) {
  story(MAIN("return {ctx:all_handlers_finished(), ctx:wait_for_handlers() == nil}"), NULL, "[true,true]");
  story_fails(MAIN("ctx:on_query('x')"), "on_query: a function expected, got no value");
  story_fails(MAIN("ctx:on_query(1, print)"), "on_query: the name of the query must be a string");
  story_fails(MAIN("ctx:on_update('x', 1)"), "on_update: a table {validate = , handle = } or a function expected, got number");
  story_fails(MAIN("ctx:on_update('x', {})"), "on_update: handle is missing");
  story_fails(MAIN("ctx:on_update('x', {handle = 1})"), "on_update: handle must be a function, got number");
  story_fails(MAIN("ctx:on_update('x', {handler = print})"), "unknown option 'handler'; did you mean 'handle'? Known are validate, handle");
  story_fails(MAIN("for i = 1, 300 do ctx:on_query('q' .. i, print) end"), "on_query: more than 256 handlers");
  story(MAIN("for i = 1, 300 do ctx:on_query('q', print) ctx:on_update('q', print) end return 1"), NULL, "1");
}

/* ---- Why is it waiting ---- */

static void describe(world *w, const char *id, char *out, size_t size) {
  lnt__buf value, json;
  lnt_error err = {LNT_OK, ""};
  lnt__buf_init(&value);
  lnt__buf_init(&json);
  CHECK_STATUS(lnt__engine_describe(w->engine, id, &value, &err), LNT_OK);
  CHECK_STATUS(lnt__cbor_check((lnt_value){value.data, value.size}, &err), LNT_OK);
  CHECK_STATUS(lnt__json_write((lnt_value){value.data, value.size}, 0, &json, &err), LNT_OK);
  snprintf(out, size, "%.*s", (int)json.size, (const char *)json.data);
  lnt__buf_finish(&value);
  lnt__buf_finish(&json);
}

/* In every mode, with the body in memory or without: the description has all these parts, NULL at the end, and leaves no trace. */
static void check_described(const char *body, const char *const *parts) {
  for (int how = 0; how < MODES; how++) {
    world w;
    char source[2000], got[8000], again[8000];
    lnt_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    snprintf(source, sizeof source, MAIN("\n%s\n"), body);
    begin(&w, (mode)how, source);
    settle(&w);
    size_t events = events_of(&w, "one");
    lnt__engine_stats(w.engine, &before);
    describe(&w, "one", got, sizeof got);
    describe(&w, "one", again, sizeof again);
    CHECK_EQ_STR(got, again);
    for (const char *const *part = parts; *part; part++) CHECK_HAS(got, *part);
    CHECK(lnt__engine_seal(w.engine) == NULL);
    CHECK_EQ_INT(events_of(&w, "one"), events);
    lnt__engine_stats(w.engine, &after);
    CHECK_EQ_INT(after.loaded, before.loaded);
    CHECK_EQ_INT(after.resident, before.resident);
    world_finish(&w);
  }
}

#define PARTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_every_wait_has_a_reason_and_a_line(void) {
  check_described("ctx:wait_for_external_event('decision', {timeout = '1h'})",
                  PARTS("\"reason\":\"waits for the event \\\"decision\\\" until 2023-11-14 23:13:20 UTC, at story.lua:2\"",
                        "\"live\":true",
                        "\"awaited\":[{\"seq\":1,\"name\":\"decision\",\"since_us\":1700000000000000,\"until_us\":1700003600000000}]",
                        "\"status\":\"RUNNING\"",
                        "\"branches\":[{\"at\":\"story.lua:2\",\"seqs\":[1],\"branch\":\"main\",\"waits_for\":\"command\"}]"));
  check_described("local function deep()\nctx:sleep('1h') end deep()",
                  PARTS("waits for a timer due 2023-11-14 23:13:20 UTC, at story.lua:3 in function 'deep'",
                        "\"timers\":[{\"seq\":1,\"due_us\":1700003600000000}]"));
  check_described("ctx:call_activity('never', 1, {timeout = '1h'})",
                  PARTS("waits for the activity \\\"never\\\" (attempt 1 runs), at story.lua:2", "\"state\":\"running\"",
                        "\"deadline_us\":1700003600000000"));
  check_described("ctx:call_activity('fail', 1, {retry = {max_attempts = 3, interval = '1h'}})",
                  PARTS("the activity \\\"fail\\\" (attempt 2 at 2023-11-14 23:13:20 UTC, after Boom: it broke)", "\"state\":\"retrying\"",
                        "\"last_failure\":{\"type\":\"Boom\""));
  check_described("ctx:call_child_workflow('main2', 1, {id = 'kid'})\nend) workflow('main2', function(ctx) ctx:sleep('1h')",
                  PARTS("waits for the child \\\"kid\\\", at story.lua:2", "\"id\":\"kid\"", "\"workflow\":\"main2\""));
  check_described("local a, b = ctx.async:wait_for_external_event('a'), ctx.async:sleep('1h')\nctx:when_any{a, b}",
                  PARTS("waits for the event \\\"a\\\" or a timer due 2023-11-14 23:13:20 UTC, at story.lua:3", "\"waits_for\":\"any\""));
  check_described("local t = {} for i = 1, 9 do t[i] = ctx.async:wait_for_external_event('e' .. i) end\nctx:when_all(t)",
                  PARTS("the event \\\"e1\\\" and the event \\\"e2\\\" and the event \\\"e3\\\" and 6 more, at story.lua:3"));
  check_described("local b = ctx:spawn(function()\nctx:sleep('1h') end)\nb:await()",
                  PARTS("waits for what it started, at story.lua:4; a branch waits for a timer due 2023-11-14 23:13:20 UTC, "
                        "at story.lua:3"));
  check_described("ctx:scope(function()\nctx:wait_for_external_event('x') end)", PARTS("the event \\\"x\\\", at story.lua:3"));
  check_described("ctx:map({1, 2}, function(i)\nctx:wait_for_external_event('x' .. i) end)",
                  PARTS("a branch waits for the event \\\"x1\\\", at story.lua:3"));
}

static void test_a_description_lists_what_there_is(void) {
  check_described("ctx:on_query('q', print) ctx:on_query('p', print) ctx:on_update('u', print) ctx:emit('s', 1) ctx:emit('s', 2) "
                  "ctx:emit('r') ctx:sleep(0.001) ctx:raise_event('one', 'extra', 1) ctx:sleep('1h')",
                  PARTS("\"queries\":[\"p\",\"q\"]", "\"update_handlers\":[\"u\"]",
                        "{\"name\":\"s\",\"count\":2,", "{\"name\":\"r\",\"count\":1,",
                        "\"undelivered\":0"));
}

static void test_a_description_knows_events_that_were_given_back(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    char got[4000];
    begin(&w, (mode)how, MAIN("local a = ctx.async:wait_for_external_event('e') ctx:wait_for_external_event('first') a:cancel() "
                              "ctx:wait_for_external_event('x')"));
    settle(&w);
    raise_event(&w, "one", "e", 1);
    raise_event(&w, "one", "e", 2);
    raise_event(&w, "one", "first", 1);
    settle(&w);
    describe(&w, "one", got, sizeof got);
    CHECK_HAS(got, "\"buffered\":[{\"name\":\"e\",\"raised_us\":1700000000000000},{\"name\":\"e\"");
    CHECK_HAS(got, "\"awaited\":[{\"seq\":3,\"name\":\"x\"");
    world_finish(&w);
  }
}

static void test_instances_that_do_not_run_have_a_reason_too(void) {
  world w;
  lnt_error err;
  char got[4000];
  uint64_t run;
  lnt__buf value, json;
  begin(&w, KEEP, MAIN("ctx:on_update('u', function() ctx:sleep('2h') end) ctx:wait_for_external_event('x') return 1"));
  CHECK_STATUS(lnt__engine_describe(w.engine, "one", &(lnt__buf){0}, &err), LNT_ENOTFOUND);
  CHECK_STATUS(lnt__engine_describe(w.engine, "nobody", &(lnt__buf){0}, &err), LNT_ENOTFOUND);
  settle(&w);
  CHECK_STATUS(lnt__engine_suspend(w.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  settle(&w);
  raise_event(&w, "one", "y", 1);
  settle(&w);
  describe(&w, "one", got, sizeof got);
  CHECK_HAS(got, "\"reason\":\"suspended; the event \\\"y\\\" has gathered, and it goes on when it is resumed\"");
  CHECK_HAS(got, "\"undelivered\":1");
  CHECK_STATUS(lnt__engine_resume(w.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  reply r;
  CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "u", .update_id = "up", .is_update = true}, &r), LNT_OK);
  settle(&w);
  describe(&w, "one", got, sizeof got);
  CHECK_HAS(got, "\"updates\":[{\"id\":\"up\",\"name\":\"u\",\"accepted_us\":1700000000000000}]");
  CHECK_HAS(got, "\"branch\":\"update\"");
  CHECK_HAS(got, "\"update\":\"u\"");
  raise_event(&w, "one", "x", 1);
  settle(&w);
  describe(&w, "one", got, sizeof got);
  CHECK_HAS(got, "\"reason\":\"waits for a timer due 2023-11-15 00:13:20 UTC, at story.lua:1");
  lnt__buf_init(&value);
  lnt__buf_init(&json);
  CHECK_STATUS(lnt__journal_find(w.store, "one", &run, &err), LNT_OK);
  CHECK_STATUS(lnt__describe_stored(w.store, run, &value, &err), LNT_OK);
  CHECK_STATUS(lnt__json_write((lnt_value){value.data, value.size}, 0, &json, &err), LNT_OK);
  lnt__buf_u8(&json, 0);
  CHECK_HAS((const char *)json.data, "\"live\":false");
  CHECK_HAS((const char *)json.data, "\"reason\":\"waits for a timer due 2023-11-15 00:13:20 UTC\"");
  lnt__buf_finish(&value);
  lnt__buf_finish(&json);
  CHECK_STATUS(lnt__engine_terminate(w.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  settle(&w);
  describe(&w, "one", got, sizeof got);
  CHECK(!strstr(got, "reason"));
  CHECK_HAS(got, "\"timers\":[]");
  world_finish(&w);
}

static void test_a_divergence_is_the_reason_and_the_answer(void) {
  world w;
  char got[4000];
  begin(&w, CRASH, MAIN("ctx:on_query('q', function() return 1 end) ctx:call_activity('echo', 1) ctx:wait_for_external_event('x')"));
  settle(&w);
  static const char changed[] = MAIN("ctx:call_activity('other', 1)");
  lnt__free(w.bundles[0].data); /* the code that the instance is pinned to becomes another one */
  lnt_error err;
  bundle other;
  CHECK_STATUS(lnt__wvm_load(w.wvm, "story.lua", changed, strlen(changed), &other.data, &other.size, other.hash, &err), LNT_OK);
  w.bundles[0].data = other.data;
  w.bundles[0].size = other.size;
  close_engine(&w);
  open_engine(&w);
  raise_event(&w, "one", "y", 1);
  settle(&w);
  CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_STALLED);
  describe(&w, "one", got, sizeof got);
  CHECK_HAS(got, "\"reason\":\"stalled: ");
  reply r;
  CHECK_STATUS(ask(&w, &(inquiry){.id = "one", .name = "q"}, &r), LNT_OK);
  settle(&w);
  CHECK(r.here);
  CHECK_STATUS(r.status, LNT_EDIVERGED);
  world_finish(&w);
}

CHECK_MAIN(test_a_side_effect_gives_its_value_in_every_replay, test_a_replay_does_not_run_the_function,
           test_what_a_side_effect_raises_is_raised_again, test_nothing_waits_inside_a_side_effect,
           test_a_side_effect_draws_numbers_of_its_own, test_a_side_effect_has_the_budget_of_its_branch, test_emitting_does_not_wait,
           test_attributes_are_merged_and_kept_in_the_row, test_a_body_sees_its_attributes_as_it_set_them,
           test_bad_attributes_are_refused_whole, test_an_instance_starts_with_the_attributes_it_was_given,
           test_a_query_looks_at_the_body, test_a_query_that_is_unknown_names_those_there_are, test_a_query_cannot_move_the_body,
           test_a_query_that_fails_is_the_askers, test_instances_that_ended_anyhow_are_asked,
           test_a_suspended_instance_answers_as_it_stands, test_nothing_is_answered_before_it_is_durable,
           test_an_update_is_answered_by_its_handler, test_a_rejected_update_leaves_no_trace, test_an_update_that_fails_is_its_callers,
           test_the_same_id_is_the_same_update, test_a_workflow_that_returns_waits_for_its_updates,
           test_a_workflow_that_fails_abandons_its_updates, test_a_terminated_instance_answers_nobody, test_a_handler_is_a_scope,
           test_updates_wait_for_a_suspended_instance, test_questions_and_updates_have_limits,
           test_an_update_goes_over_to_the_next_generation, test_handlers_are_told_apart, test_every_wait_has_a_reason_and_a_line,
           test_a_description_lists_what_there_is, test_a_description_knows_events_that_were_given_back,
           test_instances_that_do_not_run_have_a_reason_too, test_a_divergence_is_the_reason_and_the_answer);
