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
  story_fails(CALL("{name = 'x'}"), "unknown option 'name'; known are id, retry, timeout and on_parent_close");
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

CHECK_MAIN(test_a_child_gives_its_result_to_its_parent, test_children_run_side_by_side, test_a_child_of_a_child,
           test_the_failure_of_a_child_is_its_own_with_its_id, test_a_child_that_cannot_be_started_is_a_failure,
           test_recursion_without_end_meets_the_limit, test_options_of_children_are_checked,
           test_an_id_without_room_for_a_child_is_told_at_the_call, test_a_child_that_takes_too_long_is_terminated,
           test_what_becomes_of_children_when_the_parent_ends, test_termination_goes_down_the_tree,
           test_a_child_ended_from_outside_fails_its_parent, test_a_detached_workflow_is_nobodys_child, test_events_go_to_other_instances,
           test_an_event_that_cannot_be_sent_is_a_failure);
