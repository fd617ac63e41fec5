/* test_children.c - what instances do to each other: children, detached starts, events sent, generations. See story.h. */
#include <stdio.h>
#include <stdlib.h>

#include "story.h"

/* "main" and others in one file. */
#define WITH(main_body, others) MAIN(main_body) "\n" others
#define CHILD(body) "workflow('child', function(ctx, input) " body " end)"

/* ---- Results and failures ---- */

static void test_a_child_gives_its_result_to_its_parent(void) {
  story(WITH("return ctx:call_child_workflow('child', {n = 20})", CHILD("return input.n + ctx:call_activity('echo', 1)")), NULL, "21");
  story(WITH("return ctx:call_child_workflow('child')", CHILD("return nil")), NULL, "null");
  story(WITH("return ctx:call_child_workflow('child', input)", CHILD("return {ctx.instance_id, ctx.workflow_name, input}")), "[1,{}]",
        "[\"one:0001\",\"child\",[1,{}]]");
  story(WITH("ctx:sleep(1) local a = ctx:call_child_workflow('child', 1) local b = ctx:call_child_workflow('child', 2, {id = 'named'}) "
             "return {a, b, ctx:call_activity('echo', 3)}", CHILD("ctx:sleep(2) return ctx.instance_id .. input")),
        NULL, "[\"one:00021\",\"named2\",3]");
}

static void test_children_run_side_by_side(void) {
  story(WITH("local t = {} for i = 1, 20 do t[i] = ctx.async:call_child_workflow('child', i) end return ctx:when_all(t)",
             CHILD("ctx:sleep((input * 7) % 5) return ctx:call_activity('echo', input * input)")), NULL,
        "[1,4,9,16,25,36,49,64,81,100,121,144,169,196,225,256,289,324,361,400]");
  story(WITH("local i, v = ctx:when_any{ctx.async:call_child_workflow('child', 9), ctx.async:call_child_workflow('child', 2)} "
             "return {i, v}", CHILD("ctx:sleep(input) return 'after ' .. input")), NULL, "[2,\"after 2\"]");
  story(WITH("local t = ctx.async:call_child_workflow('child') return {tostring(t), t:await(), tostring(t)}", CHILD("return 1")), NULL,
        "[\"task (a child \\\"child\\\", pending)\",1,\"task (a child \\\"child\\\", done)\"]");
}

static void test_a_child_of_a_child(void) {
  story(WITH("return ctx:call_child_workflow('main_2', 5)",
             "workflow('main_2', function(ctx, n) if n == 0 then return ctx.instance_id end "
             "return ctx:call_child_workflow('main_2', n - 1) end)"), NULL, "\"one:0001:0001:0001:0001:0001:0001\"");
}

static void test_the_failure_of_a_child_is_its_own_with_its_id(void) {
  static const char catch[] = "local ok, e = pcall(ctx.call_child_workflow, ctx, 'child') "
                              "return {ok, e.type, e.message, e.child, tostring(e), e.retryable, e.details}";
  char source[600];
  snprintf(source, sizeof source, WITH("%s", CHILD("error({type = 'Mine', message = 'no', retryable = false, details = {1}})")), catch);
  story(source, NULL, "[false,\"Mine\",\"no\",\"one:0001\",\"Mine: no\",false,[1]]");
  snprintf(source, sizeof source, WITH("%s", CHILD("ctx:call_activity('fail')")), catch);
  story(source, NULL, "[false,\"Boom\",\"it broke\",\"one:0001\",\"Boom: it broke\",true]");
  story_fails(WITH("ctx:call_child_workflow('child')", CHILD("ctx:sleep(1) error('deep inside')")), "\"child\":\"one:0001\"");
  story_fails(WITH("ctx:call_child_workflow('child')", CHILD("ctx:call_child_workflow('other')") "workflow('other', function() error('x') "
                   "end)"), "\"child\":\"one:0001\"");
}

static void test_a_child_that_cannot_be_started_is_a_failure(void) {
  story(WITH("local ok, e = pcall(ctx.call_child_workflow, ctx, 'chidl') return {ok, e.type, e.retryable, e.child, "
             "ctx:call_activity('echo', 1)}", CHILD("")), NULL,
        "[false,\"WorkflowNotRegistered\",false,\"one:0001\",1]");
  story(WITH("local a = ctx.async:call_child_workflow('child', 1, {id = 'x'}) "
             "local ok, e = pcall(ctx.call_child_workflow, ctx, 'child', 2, {id = 'x', retry = {max_attempts = 3}}) "
             "local ok2, e2 = pcall(ctx.call_child_workflow, ctx, 'child', 3, {id = 'one'}) return {ok, e.type, e.message, e2.type, "
             "a:await()}", CHILD("ctx:sleep(1) return input")), NULL,
        "[false,\"WorkflowInstanceAlreadyExists\",\"an instance with the id 'x' exists; choose another id\","
        "\"WorkflowInstanceAlreadyExists\",1]");
  story(WITH("local b = ctx:spawn(function() return (select(2, pcall(ctx.call_child_workflow, ctx, 'none'))).type end) "
             "local v = ctx:call_activity('echo', 7) return {v, b:await()}", ""), NULL, "[7,\"WorkflowNotRegistered\"]");
}

static void test_recursion_without_end_meets_the_limit(void) {
  story(WITH("return ctx:call_child_workflow('deep', 1)",
             "workflow('deep', function(ctx, n) local ok, v = pcall(ctx.call_child_workflow, ctx, 'deep', n + 1, {id = 'd' .. n}) "
             "if ok then return v end return {n, v.type} end)"), NULL, "[64,\"LimitExceeded\"]");
}

static void test_options_of_children_are_checked(void) {
#define CALL(options) WITH("\nctx:call_child_workflow('child', 1, " options ")", CHILD(""))
  story_fails(CALL("5"), "story.lua:2: call_child_workflow: options must be a table");
  story_fails(CALL("{name = 'x'}"), "unknown option 'name'; known are id, retry, timeout, on_parent_close");
  story_fails(CALL("{id = 5}"), "id must be a string, got number");
  story_fails(CALL("{id = 'a/b'}"), "id");
  story_fails(CALL("{id = ('x'):rep(129)}"), "128");
  story_fails(CALL("{id = ('x'):rep(126), retry = {max_attempts = 10}}"), "id leaves no room for \\\"~10\\\"");
  story_fails(CALL("{timeout = 0}"), "timeout of 0 would never let the child run");
  story_fails(CALL("{on_parent_close = 'die'}"), "on_parent_close must be \\\"terminate\\\" (the default)");
  story_fails(CALL("{retry = {max_attempts = 0}}"), "call_child_workflow: retry.max_attempts cannot be 0");
  story_fails(MAIN("ctx:call_child_workflow(5)"), "call_child_workflow: the name of the workflow must be a string");
  story_fails(MAIN("ctx:call_child_workflow('child', print)"), "input: a function cannot be stored");
  story_fails(MAIN("ctx:start_workflow('child', 1, {timeout = 1})"), "unknown option 'timeout'; known are id");
  story_fails(MAIN("ctx:raise_event('x')"), "raise_event: the name of the event must be a string");
  story_fails(MAIN("ctx:raise_event(nil, 'x')"), "raise_event: the id of the instance must be a string");
#undef CALL
}

/* The default id of a child of the longest id does not fit; a name does. */
static void test_an_id_without_room_for_a_child_is_told_at_the_call(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    char id[LNT_ID_BYTES_MAX + 1], out[600];
    memset(id, 'x', sizeof id);
    id[125] = 0;
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "story.lua", WITH("local ok, e = pcall(ctx.call_child_workflow, ctx, 'child') "
                      "return {tostring(e), ctx:call_child_workflow('child', 1, {id = 'short'}), ctx:call_activity('echo', 2)}",
                      CHILD("return input")), &err), LNT_OK);
    start(&w, "main", id, NULL);
    play(&w, id);
    result_of(&w, id, out, sizeof out);
    CHECK_HAS(out, "leaves no room");
    CHECK_HAS(out, "\",1,2]");
    world_finish(&w);
  }
}

/* ---- Code ---- */

/* The newest of the name; and when no file defines it any more, what the parent's own code defines. */
static void test_children_run_the_newest_code_of_their_name(void) {
  static const char *const later[] = {CHILD("return 'new'"), "-- nothing", MAIN("return 1")};
  static const char *const wanted[] = {"[\"new\",\"new\"]", "[\"old\",\"old\"]", "[\"old\",\"old\"]"};
  for (int gone = 0; gone < 3; gone++) {
    world w;
    lnt_error err;
    char out[200];
    world_init(&w, gone == 0 ? KEEP : EVICT);
    CHECK_STATUS(load(&w, "story.lua", WITH("ctx:wait_for_external_event('go') return {ctx:call_child_workflow('child'), "
                      "ctx:call_child_workflow('child', 1, {retry = {interval = 0}})}",
                      CHILD("if input and not ctx.instance_id:find('~2') then error('again') end return 'old'")), &err), LNT_OK);
    start(&w, "main", "one", NULL);
    settle(&w);
    CHECK_STATUS(load(&w, "story.lua", later[gone], &err), LNT_OK);
    raise_event(&w, "one", "go", 1);
    settle(&w);
    result_of(&w, "one", out, sizeof out);
    CHECK_EQ_STR(out, wanted[gone]);
    world_finish(&w);
  }
}

/* ---- A parent that is gone ---- */

static void purge(world *w, const char *id, bool recursive) {
  uint64_t run = 0, count = 0;
  lnt_error err = {LNT_OK, ""};
  CHECK_STATUS(lnt__journal_find(w->store, id, &run, &err), LNT_OK);
  CHECK_STATUS(lnt__engine_purge(w->engine, run, &(lnt__purge){.recursive = recursive, .force = true}, &count, &err), LNT_OK);
}

static void test_a_child_outlives_a_parent_that_was_purged(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    char out[200];
    static const char source[] = WITH("ctx.async:call_child_workflow('child', 1, {id = 'kid', on_parent_close = 'abandon'}) "
                                      "ctx:sleep(1)",
                                      CHILD("ctx:wait_for_external_event('go') return ctx:call_child_workflow('other')")
                                      "workflow('other', function() return 'fine' end)");
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "story.lua", source, &err), LNT_OK);
    start(&w, "main", "one", NULL);
    settle(&w);
    w.now_us += 2000000;
    settle(&w);
    CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_COMPLETED);
    purge(&w, "one", false);
    settle(&w);
    CHECK_STATUS(load(&w, "story.lua", source, &err), LNT_OK);
    start(&w, "other", "one", NULL);
    raise_event(&w, "kid", "go", 1);
    settle(&w);
    result_of(&w, "kid", out, sizeof out);
    CHECK_EQ_STR(out, "\"fine\"");
    world_finish(&w);
  }
}

/* The id of a child that was purged, and that somebody else has now, is not the parent's to stop. */
static void test_an_id_that_somebody_else_took_is_left_alone(void) {
  world w;
  lnt_error err;
  world_init(&w, KEEP);
  CHECK_STATUS(load(&w, "story.lua", WITH("ctx:call_child_workflow('child', 1, {id = 'kid'})", CHILD("ctx:sleep(1000)")), &err), LNT_OK);
  start(&w, "main", "one", NULL);
  settle(&w);
  purge(&w, "kid", true);
  settle(&w);
  CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_FAILED);
  start(&w, "main", "two", NULL);
  settle(&w);
  CHECK_EQ_INT(status_of(&w, "kid"), LNT_RUN_RUNNING);
  CHECK_STATUS(lnt__engine_terminate(w.engine, "one", NULL, NULL, NULL, &err), LNT_ECLOSED);
  CHECK_EQ_INT(status_of(&w, "kid"), LNT_RUN_RUNNING);
  world_finish(&w);
}

/* ---- Retries ---- */

static void test_a_child_that_fails_is_tried_again(void) {
  story(WITH("return ctx:call_child_workflow('child', 'x', {retry = {max_attempts = 5, interval = '3s'}})",
             CHILD("return {ctx.instance_id, ctx:call_activity('flaky', input)}")), NULL, "[\"one:0001~3\",\"x\"]");
  story(WITH("local t = ctx:now() local ok, e = pcall(ctx.call_child_workflow, ctx, 'child', 1, {id = 'kid', retry = {max_attempts = 3, "
             "interval = 1, backoff = 2}}) return {e.type, e.child, ctx:now() - t >= 3}", CHILD("ctx:call_activity('fail')")), NULL,
        "[\"Boom\",\"kid~3\",true]");
  story(WITH("local ok, e = pcall(ctx.call_child_workflow, ctx, 'child', 1, {id = 'kid', retry = {max_attempts = 3, non_retryable = "
             "{'Boom'}}}) return e.child", CHILD("ctx:call_activity('fail')")), NULL, "\"kid\"");
  story(WITH("local ok, e = pcall(ctx.call_child_workflow, ctx, 'child', 1, {id = 'kid', timeout = 5, retry = {max_attempts = 9, "
             "interval = '3s', backoff = 1}}) return {e.type, e.child}", CHILD("ctx:call_activity('fail')")), NULL,
        "[\"Boom\",\"kid~2\"]");
  story(WITH("ctx:start_workflow('other', 1, {id = 'kid~2'}) local ok, e = pcall(ctx.call_child_workflow, ctx, 'child', 1, {id = 'kid', "
             "retry = {interval = 0}}) return {e.type, e.child}", CHILD("ctx:call_activity('fail')") "workflow('other', function() end)"),
        NULL, "[\"WorkflowInstanceAlreadyExists\",\"kid~2\"]");
}

static int count_row(void *user, lnt__slice key, lnt__slice value) {
  (void)key;
  (void)value;
  ++*(int *)user;
  return 0;
}

static int rows_in(world *w, lnt__table table) {
  int count = 0;
  lnt_error err;
  CHECK_STATUS(w->store->vtable->scan(w->store, table, (lnt__slice){0}, (lnt__slice){0}, false, count_row, &count, &err), LNT_OK);
  return count;
}

/* The parent can be evicted, and the store reopened, while the next attempt waits for its time; who ends the parent ends that too. */
static void test_an_attempt_that_waits_is_let_go_like_one_that_runs(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "story.lua", WITH("ctx:call_child_workflow('child', 1, {id = 'kid', retry = {interval = 1000}})",
                      CHILD("ctx:call_activity('fail')")), &err), LNT_OK);
    start(&w, "main", "one", NULL);
    settle(&w);
    CHECK_EQ_INT(status_of(&w, "kid"), LNT_RUN_FAILED);
    CHECK_EQ_INT(status_of(&w, "kid~2"), LNT_RUN_PENDING);
    CHECK_STATUS(lnt__engine_terminate(w.engine, "one", "enough", NULL, NULL, &err), LNT_OK);
    settle(&w);
    CHECK_EQ_INT(status_of(&w, "kid~2"), LNT_RUN_TERMINATED);
    CHECK_EQ_INT(rows_in(&w, LNT__TABLE_TIMER) + rows_in(&w, LNT__TABLE_ACTIVE), 0);
    world_finish(&w);
  }
}

/* ---- Timeouts ---- */

static void test_a_child_that_takes_too_long_is_terminated(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    char out[600];
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "story.lua", WITH("local ok, e = pcall(ctx.call_child_workflow, ctx, 'child', 1, {timeout = '2s'}) "
                      "return {ok, e.type, e.message, e.child, ctx:call_activity('echo', 1)}", CHILD("ctx:sleep(60)")), &err), LNT_OK);
    start(&w, "main", "one", NULL);
    play(&w, "one");
    result_of(&w, "one", out, sizeof out);
    CHECK_EQ_STR(out, "[false,\"Timeout\",\"child workflow 'child' (one:0001) did not end within its timeout\",\"one:0001\",1]");
    CHECK_EQ_INT(status_of(&w, "one:0001"), LNT_RUN_TERMINATED);
    world_finish(&w);
  }
  story(WITH("return ctx:call_child_workflow('child', 5, {timeout = '1h'})", CHILD("ctx:sleep(3) return input")), NULL, "5");
}

/* ---- Many ---- */

/* The parent is not in the list of what must be looked at while it only waits for children. */
static void test_thousands_of_children_of_one_parent(void) {
  for (int how = 0; how < CRASH; how++) {
    world w;
    lnt_error err;
    char out[100];
    world_init(&w, (mode)how);
    w.limits.turn_memory_bytes_max = 64u << 20;
    close_engine(&w);
    open_engine(&w);
    CHECK_STATUS(load(&w, "story.lua", WITH("local t = {} for i = 1, 5000 do t[i] = ctx.async:call_child_workflow('child', i) end "
                      "local sum = 0 for _, v in ipairs(ctx:when_all(t)) do sum = sum + v end return sum",
                      CHILD("ctx:sleep(5 + input % 7) return input")), &err), LNT_OK);
    start(&w, "main", "one", NULL);
    settle(&w);
    CHECK_EQ_INT(rows_in(&w, LNT__TABLE_INSTANCE), 5001);
    CHECK_EQ_INT(rows_in(&w, LNT__TABLE_ACTIVE), 0);
    for (int i = 0; i < 20; i++) {
      w.now_us += 1000000;
      settle(&w);
    }
    result_of(&w, "one", out, sizeof out);
    CHECK_EQ_STR(out, "12502500");
    lnt_stats stats = {.size = sizeof stats};
    lnt__engine_stats(w.engine, &stats);
    CHECK_EQ_UINT(stats.loaded, 0);
    world_finish(&w);
  }
}

/* ---- When the parent lets go ---- */

/* Tell "main", and answer what became of its child "kid". */
static lnt_run_status fate(mode how, const char *source, const char *wanted) {
  world w;
  lnt_error err = {LNT_OK, ""};
  char out[600];
  world_init(&w, how);
  CHECK_STATUS(load(&w, "story.lua", source, &err), LNT_OK);
  start(&w, "main", "one", NULL);
  play(&w, "one");
  result_of(&w, "one", out, sizeof out);
  CHECK_EQ_STR(out, wanted);
  lnt_run_status status = status_of(&w, "kid");
  world_finish(&w);
  return status;
}

static void test_what_becomes_of_children_when_the_parent_ends(void) {
#define ENDS(policy, end) \
  WITH("local t = ctx.async:call_child_workflow('child', 1, {id = 'kid'" policy "}) ctx:sleep(1) " end, CHILD("ctx:sleep(1000)"))
  for (int how = 0; how < MODES; how++) {
    CHECK_EQ_INT(fate((mode)how, ENDS("", "return 1"), "1"), LNT_RUN_TERMINATED);
    CHECK_EQ_INT(fate((mode)how, ENDS(", on_parent_close = 'terminate'", "return 1"), "1"), LNT_RUN_TERMINATED);
    CHECK_EQ_INT(fate((mode)how, ENDS(", on_parent_close = 'cancel'", "return 1"), "1"), LNT_RUN_CANCELED);
    CHECK_EQ_INT(fate((mode)how, ENDS(", on_parent_close = 'abandon'", "return 1"), "1"), LNT_RUN_RUNNING);
    CHECK_EQ_INT(fate((mode)how, ENDS("", "t:cancel() local ok, e = pcall(t.await, t) ctx:sleep(5) return e.type"), "\"Canceled\""),
                 LNT_RUN_TERMINATED);
    CHECK_EQ_INT(fate((mode)how, ENDS(", on_parent_close = 'cancel'", "t:cancel() ctx:sleep(5) return 1"), "1"), LNT_RUN_CANCELED);
    CHECK_EQ_INT(fate((mode)how, ENDS(", on_parent_close = 'abandon'", "t:cancel() ctx:sleep(5) return 1"), "1"), LNT_RUN_RUNNING);
    CHECK_EQ_INT(fate((mode)how, ENDS("", "ctx:scope(function() ctx.async:call_child_workflow('child', 1, {id = 'kid2'}) end) return 1"),
                      "1"), LNT_RUN_TERMINATED);
  }
#undef ENDS
}

static void test_termination_goes_down_the_tree(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "story.lua", WITH("ctx:call_child_workflow('child', 3)",
                      CHILD("if input == 0 then ctx:sleep(1000) end ctx:call_child_workflow('child', input - 1)")), &err), LNT_OK);
    start(&w, "main", "one", NULL);
    settle(&w);
    CHECK_EQ_INT(status_of(&w, "one:0001:0001:0001:0001"), LNT_RUN_RUNNING);
    CHECK_STATUS(lnt__engine_terminate(w.engine, "one", "enough", NULL, NULL, &err), LNT_OK);
    settle(&w);
    CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_TERMINATED);
    CHECK_EQ_INT(status_of(&w, "one:0001"), LNT_RUN_TERMINATED);
    CHECK_EQ_INT(status_of(&w, "one:0001:0001:0001:0001"), LNT_RUN_TERMINATED);
    world_finish(&w);
  }
}

static void test_a_child_ended_from_outside_fails_its_parent(void) {
  for (int how = 0; how < MODES; how++) {
    for (int cancel = 0; cancel < 2; cancel++) {
      world w;
      lnt_error err;
      char out[600];
      world_init(&w, (mode)how);
      CHECK_STATUS(load(&w, "story.lua", WITH("local ok, e = pcall(ctx.call_child_workflow, ctx, 'child', 1, {id = 'kid'}) "
                        "return {e.type, e.message, e.child}", CHILD("ctx:sleep(1000)")), &err), LNT_OK);
      start(&w, "main", "one", NULL);
      settle(&w);
      if (cancel) CHECK_STATUS(lnt__engine_cancel(w.engine, "kid", "not now", NULL, NULL, &err), LNT_OK);
      else CHECK_STATUS(lnt__engine_terminate(w.engine, "kid", "not now", NULL, NULL, &err), LNT_OK);
      settle(&w);
      result_of(&w, "one", out, sizeof out);
      CHECK_EQ_STR(out, cancel ? "[\"Canceled\",\"not now\",\"kid\"]" : "[\"Terminated\",\"not now\",\"kid\"]");
      world_finish(&w);
    }
  }
}

/* ---- Detached starts and events ---- */

static void test_a_detached_workflow_is_nobodys_child(void) {
  for (int how = 0; how < MODES; how++)
    CHECK_EQ_INT(fate((mode)how, WITH("local a = ctx:start_workflow('child', 1, {id = 'kid'}) local b = ctx:start_workflow('child', 2) "
                                      "ctx:sleep(1) return {a, b}", CHILD("ctx:sleep(1000)")), "[\"kid\",\"one:0002\"]"), LNT_RUN_RUNNING);
  story(WITH("ctx:call_activity('echo', 1) local ok, e = pcall(ctx.start_workflow, ctx, 'none') ctx:sleep(1) "
             "local ok2, e2 = pcall(ctx.start_workflow, ctx, 'child', 1, {id = 'one'}) ctx:sleep(1) "
             "return {e.type, e2.type, tostring(e2)}", CHILD("")), NULL,
        "[\"WorkflowNotRegistered\",\"WorkflowInstanceAlreadyExists\",\"WorkflowInstanceAlreadyExists: an instance with the id 'one' "
        "exists; choose another id\"]");
}

static void test_events_go_to_other_instances(void) {
  story(WITH("local t = ctx.async:call_child_workflow('child', ctx.instance_id, {id = 'kid'}) "
             "ctx:raise_event('kid', 'Ping', {n = 1}) local answer = ctx:wait_for_external_event('pong') "
             "return {answer, t:await()}",
             CHILD("local ping = ctx:wait_for_external_event('ping') ctx:raise_event(input, 'pong', ping.n + 1) return 'done'")), NULL,
        "[2,\"done\"]");
  story(MAIN("ctx:raise_event(ctx.instance_id, 'note', 'a') ctx:raise_event('one', 'note', 'b') "
             "return {ctx:wait_for_external_event('note'), ctx:wait_for_external_event('NOTE')}"), NULL, "[\"a\",\"b\"]");
  story(MAIN("local w = ctx:spawn(function() return ctx:wait_for_external_event('x') end) ctx:call_activity('echo', 1) "
             "ctx:raise_event('one', 'x', 5) local v = ctx:call_activity('echo', 2) return {v, w:await()}"), NULL, "[2,5]");
}

static void test_an_event_that_cannot_be_sent_is_a_failure(void) {
  story(WITH("local ok, e = pcall(ctx.raise_event, ctx, 'nobody', 'x') ctx:sleep(1) "
             "ctx:call_child_workflow('child', 1, {id = 'kid'}) local ok2, e2 = pcall(ctx.raise_event, ctx, 'kid', 'x') ctx:sleep(1) "
             "return {e.type, tostring(e), e2.type}", CHILD("return 1")), NULL,
        "[\"InstanceNotFound\",\"InstanceNotFound: there is no instance 'nobody'\",\"InstanceClosed\"]");
  story(WITH("ctx:start_workflow('child', 1, {id = 'kid'}) local n = 0 while n < 20000 and pcall(ctx.raise_event, ctx, 'kid', 'x') do "
             "n = n + 1 end local ok, e = pcall(ctx.raise_event, ctx, 'kid', 'x') return {n, e.type}", CHILD("ctx:sleep(1000)")), NULL,
        "[9999,\"LimitExceeded\"]");
}

/* ---- Generations ---- */

static void test_a_workflow_continues_as_new(void) {
  story(MAIN("local n = (input or 0) + ctx:call_activity('echo', 1) if n < 5 then ctx:continue_as_new(n) end return n"), NULL, "5");
  story(MAIN("if not input then ctx:set_custom_status('first') ctx:set_attributes{a = 1} ctx:continue_as_new({k = {1}}) end "
             "return {input, ctx.instance_id, ctx:attributes().a}"), NULL, "[{\"k\":[1]},\"one\",1]");
  story(MAIN("if input then return 'new' end pcall(function() pcall(ctx.continue_as_new, ctx, true) end) "
             "ctx:call_activity('fail') return 'never'"), NULL, "\"new\"");
  story(MAIN("if input then return 'new' end local co = coroutine.wrap(function() ctx:continue_as_new(1) end) ctx:sleep(1) co() return "
             "'never'"), NULL, "\"new\"");
  story(MAIN("if input == 3 then return 'after 3' end ctx:sleep(1) ctx:continue_as_new((input or 0) + 1)"), NULL, "\"after 3\"");
}

static void test_each_generation_draws_other_numbers(void) {
  for (int how = 0; how < MODES; how++) {
    char out[400], log[2000];
    double a = 0, b = 0, c = 0;
    run_mode((mode)how, MAIN("local t = input or {} t[#t + 1] = ctx:random(1000000) ctx:sleep(1) if #t < 3 then ctx:continue_as_new(t) "
                             "end return t"), NULL, out, sizeof out, log, sizeof log);
    CHECK_EQ_INT(sscanf(out, "[%lf,%lf,%lf]", &a, &b, &c), 3);
    CHECK(a != b && b != c && a != c);
  }
}

static void test_events_that_nobody_took_go_over(void) {
  story(MAIN("if input then return {ctx:wait_for_external_event('a'), ctx:wait_for_external_event('b'), "
             "ctx:wait_for_external_event('a')} end "
             "for _, e in ipairs{{'a', 1}, {'b', 2}, {'a', 3}} do ctx:raise_event('one', e[1], e[2]) end "
             "ctx:continue_as_new(1)"), NULL, "[1,2,3]");
  story(MAIN("if input then return {ctx:wait_for_external_event('a'), ctx:wait_for_external_event('b'), "
             "ctx:wait_for_external_event('a')} end "
             "for _, e in ipairs{{'a', 1}, {'b', 2}, {'x', 0}, {'a', 3}} do ctx:raise_event('one', e[1], e[2]) end "
             "ctx:wait_for_external_event('x') ctx:sleep(1) ctx:continue_as_new(1)"), NULL, "[1,2,3]");
  story(MAIN("if input then return {ctx:wait_for_external_event('a'), ctx:wait_for_external_event('a')} end "
             "local t = ctx.async:wait_for_external_event('a') local u = ctx.async:wait_for_external_event('b') "
             "for i = 1, 2 do ctx:raise_event('one', 'a', i) end ctx:sleep(1) ctx:continue_as_new(t:done())"), NULL, "[1,2]");
  story(MAIN("if input then local ok, e = pcall(ctx.wait_for_external_event, ctx, 'a', {timeout = 1}) return e.type end "
             "ctx:raise_event('one', 'a', 1) ctx:sleep(1) ctx:continue_as_new(1, {carry_events = false})"), NULL, "\"Timeout\"");
}

static void test_what_cannot_continue_as_new(void) {
  story_fails(MAIN("\nlocal t = ctx:spawn(function() ctx:continue_as_new() end) t:await()"), "call it from the workflow's own function");
  story_fails(MAIN("ctx:shield(function() ctx:continue_as_new() end)"), "continue_as_new cannot leave ctx:shield");
  story_fails(MAIN("ctx:continue_as_new(print)"), "continue_as_new: input: a function cannot be stored");
  story_fails(MAIN("ctx:continue_as_new(1, {carry = true})"), "unknown option 'carry'; known are carry_events");
  story_fails(MAIN("ctx:continue_as_new(1, {carry_events = 1})"), "carry_events must be true or false");
}

static uint64_t generation_of(world *w, const char *id, lnt__row *row, void **memory) {
  uint64_t run = 0;
  lnt_error err;
  CHECK_STATUS(lnt__journal_find(w->store, id, &run, &err), LNT_OK);
  CHECK_STATUS(lnt__journal_row(w->store, run, row, memory, &err), LNT_OK);
  return row->generation;
}

static void test_generations_have_rows_of_their_own(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    lnt__row row, first;
    void *memory, *more;
    char out[100];
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "story.lua", MAIN("ctx:set_custom_status({n = input}) ctx.async:call_activity('never') "
                      "ctx.async:sleep(10000) ctx:wait_for_external_event('go') "
                      "if input < 3 then ctx:continue_as_new(input + 1) end return input"), &err), LNT_OK);
    start(&w, "main", "one", "1");
    play(&w, "one");
    result_of(&w, "one", out, sizeof out);
    CHECK_EQ_STR(out, "3");
    CHECK_EQ_UINT(generation_of(&w, "one", &row, &memory), 3);
    CHECK_EQ_INT(row.custom_status.size > 0, 1);
    CHECK_STATUS(lnt__journal_row(w.store, 1, &first, &more, &err), LNT_OK);
    CHECK_EQ_INT(first.status, LNT_RUN_CONTINUED_AS_NEW);
    CHECK_EQ_UINT(first.generation, 1);
    CHECK(first.closed_us != 0 && first.failure.size == 0);
    lnt__free(memory);
    lnt__free(more);
    lnt_stats stats = {.size = sizeof stats};
    settle(&w);
    lnt__engine_stats(w.engine, &stats);
    CHECK_EQ_UINT(stats.loaded, 0);
    world_finish(&w);
  }
}

static void test_a_parent_gets_the_answer_of_the_last_generation(void) {
  story(WITH("return ctx:call_child_workflow('child', 0)", CHILD("ctx:sleep(1) if input < 3 then ctx:continue_as_new(input + 1) end "
             "return 'generation ' .. input")), NULL, "\"generation 3\"");
  story(WITH("local ok, e = pcall(ctx.call_child_workflow, ctx, 'child', 0, {id = 'kid', timeout = 5}) return {e.type, "
             "ctx:call_activity('echo', 1)}", CHILD("ctx:sleep(1) ctx:continue_as_new(input + 1)")), NULL, "[\"Timeout\",1]");
}

static void test_children_of_an_earlier_generation_follow_their_policy(void) {
#define NEXT(policy) \
  WITH("if input then ctx:sleep(5) return ctx:call_child_workflow('child', 0) end " \
       "ctx.async:call_child_workflow('child', 1000, {id = 'kid'" policy "}) ctx:sleep(1) ctx:continue_as_new(1)", \
       CHILD("ctx:sleep(input) return ctx.instance_id"))
  for (int how = 0; how < MODES; how++) {
    CHECK_EQ_INT(fate((mode)how, NEXT(""), "\"one:2.0002\""), LNT_RUN_TERMINATED);
    CHECK_EQ_INT(fate((mode)how, NEXT(", on_parent_close = 'abandon'"), "\"one:2.0002\""), LNT_RUN_RUNNING);
  }
#undef NEXT
}

static void test_termination_wins_over_continuing(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "story.lua", MAIN("ctx:wait_for_external_event('go') ctx:continue_as_new(1)"), &err), LNT_OK);
    start(&w, "main", "one", NULL);
    settle(&w);
    raise_event(&w, "one", "go", 1);
    CHECK_STATUS(lnt__engine_terminate(w.engine, "one", "enough", NULL, NULL, &err), LNT_OK);
    settle(&w);
    CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_TERMINATED);
    world_finish(&w);
  }
}

static void test_a_cancel_that_the_body_has_not_seen_goes_over(void) {
  for (int how = 0; how < MODES; how++) {
    world w;
    lnt_error err;
    world_init(&w, (mode)how);
    CHECK_STATUS(load(&w, "story.lua", MAIN("ctx:wait_for_external_event('go') ctx:continue_as_new(1)"), &err), LNT_OK);
    start(&w, "main", "one", NULL);
    settle(&w);
    raise_event(&w, "one", "go", 1);
    CHECK_STATUS(lnt__engine_cancel(w.engine, "one", "enough", NULL, NULL, &err), LNT_OK);
    settle(&w);
    CHECK_EQ_INT(status_of(&w, "one"), LNT_RUN_CANCELED);
    world_finish(&w);
  }
}

static void test_a_generation_runs_the_newest_code(void) {
  for (int how = 0; how < MODES; how++) {
    for (int gone = 0; gone < 2; gone++) {
      world w;
      lnt_error err;
      char out[200];
      world_init(&w, (mode)how);
      CHECK_STATUS(load(&w, "story.lua", MAIN("ctx:wait_for_external_event('go') if input then return 'old' end ctx:continue_as_new(1)"),
                        &err), LNT_OK);
      start(&w, "main", "one", NULL);
      settle(&w);
      raise_event(&w, "one", "go", 1);
      CHECK_STATUS(load(&w, "story.lua", gone ? "-- nothing" : MAIN("return 'new'"), &err), LNT_OK);
      settle(&w);
      play(&w, "one");
      result_of(&w, "one", out, sizeof out);
      CHECK_EQ_STR(out, gone ? "\"old\"" : "\"new\"");
      world_finish(&w);
    }
  }
}

/* A generation is a turn of its own: others come in between. */
static void test_one_that_continues_without_end_starves_nobody(void) {
  world w;
  lnt_error err;
  lnt_status status;
  char out[100];
  world_init(&w, KEEP);
  CHECK_STATUS(load(&w, "story.lua", MAIN("ctx:continue_as_new((input or 0) + 1)") " " CHILD("return ctx:call_activity('echo', 5)"), &err),
               LNT_OK);
  start(&w, "main", "endless", NULL);
  start(&w, "child", "other", NULL);
  for (int i = 0; i < 5; i++) {
    for (int turns = 0; turns < 100; turns++) CHECK(lnt__engine_turn(w.engine, &status, &err));
    const lnt__batch *batch = lnt__engine_seal(w.engine);
    CHECK_STATUS(w.store->vtable->commit(w.store, batch, &err), LNT_OK);
    lnt__engine_committed(w.engine);
    answer_queue(&w);
  }
  result_of(&w, "other", out, sizeof out);
  CHECK_EQ_STR(out, "5");
  lnt_stats stats = {.size = sizeof stats};
  lnt__engine_stats(w.engine, &stats);
  CHECK(stats.continued > 400);
  CHECK(stats.loaded < 110);
  CHECK_STATUS(lnt__engine_terminate(w.engine, "endless", NULL, NULL, NULL, &err), LNT_OK);
  settle(&w);
  CHECK_EQ_INT(status_of(&w, "endless"), LNT_RUN_TERMINATED);
  world_finish(&w);
}

/* ---- Long histories ---- */

static void limited(world *w, mode how, uint64_t events_max, uint64_t bytes_max) {
  world_init(w, how);
  close_engine(w);
  w->limits.history_events_max = events_max;
  w->limits.history_bytes_max = bytes_max;
  open_engine(w);
}

static void test_the_length_of_the_history_is_what_the_body_has_seen(void) {
  story(MAIN("local a = ctx:history_length() ctx:call_activity('flaky', 1, {retry = {max_attempts = 3, interval = 0.1}}) "
             "local b = ctx:history_length() ctx.async:sleep(100) return {a, b, ctx:history_length()}"), NULL, "[1,3,4]");
}

static void test_advice_to_continue_comes_before_the_limit(void) {
  for (int how = 0; how < MODES; how++) {
    for (int bytes = 0; bytes < 2; bytes++) {
      world w;
      lnt_error err;
      lnt__row row;
      void *memory;
      char out[100];
      limited(&w, (mode)how, bytes ? 50000 : 100, bytes ? 20000 : 1 << 20);
      CHECK_STATUS(load(&w, "story.lua", MAIN("local n = input or 0 while not ctx:should_continue_as_new() do n = n + "
                        "#ctx:call_activity('echo', ('x'):rep(100)) if n >= 20000 then return n end end ctx:continue_as_new(n)"), &err),
                   LNT_OK);
      start(&w, "main", "one", NULL);
      settle(&w);
      result_of(&w, "one", out, sizeof out);
      CHECK_EQ_STR(out, "20000");
      CHECK_EQ_UINT(generation_of(&w, "one", &row, &memory), bytes ? 5 : 8);
      CHECK(!strstr(w.log, "history"));
      lnt__free(memory);
      world_finish(&w);
    }
  }
}

/* The answer stands in the history: a process with other limits replays it at the same place. */
static void test_advice_is_the_same_under_other_limits(void) {
  world w;
  lnt_error err;
  char out[300];
  limited(&w, CRASH, 100, 1 << 20);
  CHECK_STATUS(load(&w, "story.lua", MAIN("local n = 0 while not ctx:should_continue_as_new() do n = n + ctx:call_activity('echo', 1) end "
                    "ctx:wait_for_external_event('go') local after = ctx:call_activity('echo', n) "
                    "return {n, after, ctx:should_continue_as_new()}"), &err), LNT_OK);
  start(&w, "main", "one", NULL);
  settle(&w);
  close_engine(&w);
  w.limits.history_events_max = 400;
  open_engine(&w);
  settle(&w);
  raise_event(&w, "one", "go", 1);
  settle(&w);
  result_of(&w, "one", out, sizeof out);
  CHECK_EQ_STR(out, "[25,25,true]");
  world_finish(&w);
}

static void test_a_history_that_grows_warns_and_then_fails_with_advice(void) {
  world w;
  lnt_error err;
  char out[600];
  limited(&w, KEEP, 100, 1 << 20);
  CHECK_STATUS(load(&w, "story.lua", MAIN("while true do ctx:call_activity('echo', 1) end"), &err), LNT_OK);
  start(&w, "main", "one", NULL);
  settle(&w);
  CHECK_HAS(w.log, "the history has 82 events");
  CHECK_HAS(w.log, "let it continue as new");
  result_of(&w, "one", out, sizeof out);
  CHECK_HAS(out, "\"type\":\"LimitExceeded\"");
  CHECK_HAS(out, "let the workflow continue as new");
  world_finish(&w);
}

/* ---- A tree that is replaced, and the process lost on the way ---- */

static const char tree[] =
    "workflow('leaf', function(ctx)\n"
    "  local ok, why = pcall(ctx.wait_for_external_event, ctx, 'go')\n"
    "  if not ok then ctx:create_timer(5) error(why) end\n"
    "  return why\n"
    "end)\n"
    "workflow('branch', function(ctx, how) return ctx:call_child_workflow('leaf', nil, {on_parent_close = how}) end)\n"
    "workflow('main', function(ctx, how)\n"
    "  local a = ctx.async:call_child_workflow('branch', how, {on_parent_close = how})\n"
    "  local b = ctx.async:call_child_workflow('leaf', nil, {on_parent_close = how, id = 'named'})\n"
    "  return {a:await(), b:await()}\n"
    "end)";

static int add_run(void *user, lnt__slice key, lnt__slice value) {
  lnt__row row;
  CHECK(lnt__row_read(value, &row));
  lnt__buf_printf(user, "%u %.*s %s\n", (unsigned)lnt__get_be64(key.data), (int)row.id.size, (const char *)row.id.data,
                  lnt_run_status_name(row.status));
  return 0;
}

/* One turn to a commit, and after each commit the process is lost: with the old run closed and its children not told, and so on. */
static bool slow_tick(world *w) {
  lnt_status status = LNT_OK;
  lnt_error err;
  lnt__engine_set_now(w->engine, w->now_us);
  CHECK_STATUS(lnt__engine_fire(w->engine, &err), LNT_OK);
  bool moved = lnt__engine_turn(w->engine, &status, &err);
  CHECK_STATUS(status, LNT_OK);
  const lnt__batch *batch = lnt__engine_seal(w->engine);
  if (!batch) return moved;
  CHECK_STATUS(w->store->vtable->commit(w->store, batch, &err), LNT_OK);
  close_engine(w);
  open_engine(w);
  return true;
}

static void replace_tree(const char *how, bool lose, lnt__buf *out) {
  world w;
  lnt_error err;
  uint8_t hash[LNT__SHA256_BYTES];
  lnt__buf input;
  lnt__slice all = {0};
  world_init(&w, KEEP);
  lnt__buf_init(&input);
  lnt__cbor_cstring(&input, how);
  CHECK_STATUS(load(&w, "story.lua", tree, &err), LNT_OK);
  CHECK_STATUS(lnt__wvm_resolve(w.wvm, "main", hash, &err), LNT_OK);
  lnt__start options = {.workflow = "main", .id = "t", .hash = hash, .input = {input.data, input.size}};
  CHECK_STATUS(lnt__engine_start(w.engine, &options, NULL, &err), LNT_OK);
  settle(&w);
  options.id_reuse = LNT_ID_REUSE_REPLACE;
  CHECK_STATUS(lnt__engine_start(w.engine, &options, NULL, &err), LNT_OK);
  for (int seconds = 0; seconds < 7; seconds++, w.now_us += 1000000)
    for (int idle = 0; idle < 3;) idle = (lose ? slow_tick(&w) : tick(&w)) ? 0 : idle + 1;
  CHECK_STATUS(w.store->vtable->scan(w.store, LNT__TABLE_INSTANCE, all, all, false, add_run, out, &err), LNT_OK);
  lnt__buf_u8(out, 0);
  lnt__buf_finish(&input);
  world_finish(&w);
}

static void test_a_replaced_tree_ends_alike_however_often_the_process_is_lost(void) {
  static const struct { const char *how, *wanted; } cases[] = {
      {"terminate", "1 t TERMINATED\n2 t:0001 TERMINATED\n3 named TERMINATED\n4 t:0001:0001 TERMINATED\n"
                    "5 t RUNNING\n6 t:0001 RUNNING\n7 named RUNNING\n8 t:0001:0001 RUNNING\n"},
      {"cancel", "1 t TERMINATED\n2 t:0001 CANCELED\n3 named CANCELED\n4 t:0001:0001 CANCELED\n"
                 "5 t RUNNING\n6 t:0001 RUNNING\n7 t:0001:0001+6 RUNNING\n"}, /* one has the name that the author gave for 5 s more */
      {"abandon", "1 t TERMINATED\n2 t:0001 RUNNING\n3 named RUNNING\n4 t:0001:0001 RUNNING\n"
                  "5 t RUNNING\n6 t:0001+5 RUNNING\n7 t:0001+5:0001 RUNNING\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (int lose = 0; lose < 2; lose++) {
      lnt__buf out;
      lnt__buf_init(&out);
      replace_tree(cases[i].how, lose, &out);
      CHECK_EQ_STR((const char *)out.data, cases[i].wanted);
      lnt__buf_finish(&out);
    }
  }
}

CHECK_MAIN(test_a_replaced_tree_ends_alike_however_often_the_process_is_lost,
           test_a_child_gives_its_result_to_its_parent, test_children_run_side_by_side, test_a_child_of_a_child,
           test_the_failure_of_a_child_is_its_own_with_its_id, test_a_child_that_cannot_be_started_is_a_failure,
           test_recursion_without_end_meets_the_limit, test_options_of_children_are_checked,
           test_an_id_without_room_for_a_child_is_told_at_the_call, test_children_run_the_newest_code_of_their_name,
           test_a_child_outlives_a_parent_that_was_purged, test_an_id_that_somebody_else_took_is_left_alone,
           test_a_child_that_fails_is_tried_again,
           test_an_attempt_that_waits_is_let_go_like_one_that_runs, test_a_child_that_takes_too_long_is_terminated,
           test_thousands_of_children_of_one_parent,
           test_what_becomes_of_children_when_the_parent_ends, test_termination_goes_down_the_tree,
           test_a_child_ended_from_outside_fails_its_parent, test_a_detached_workflow_is_nobodys_child, test_events_go_to_other_instances,
           test_an_event_that_cannot_be_sent_is_a_failure, test_a_workflow_continues_as_new, test_each_generation_draws_other_numbers,
           test_events_that_nobody_took_go_over, test_what_cannot_continue_as_new, test_generations_have_rows_of_their_own,
           test_a_parent_gets_the_answer_of_the_last_generation, test_children_of_an_earlier_generation_follow_their_policy,
           test_termination_wins_over_continuing, test_a_cancel_that_the_body_has_not_seen_goes_over,
           test_a_generation_runs_the_newest_code, test_one_that_continues_without_end_starves_nobody,
           test_the_length_of_the_history_is_what_the_body_has_seen, test_advice_to_continue_comes_before_the_limit,
           test_advice_is_the_same_under_other_limits, test_a_history_that_grows_warns_and_then_fails_with_advice);
