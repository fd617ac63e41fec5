/* test_reload.c - other code for instances that run: trials in scratch, moves, patches, and what a stall tells. */
#include <stdio.h>

#include "story.h"

static const char V1[] = "workflow('main', function(ctx, input)\n"
                         "  local a = ctx:call_activity('echo', { n = 1, who = 'ada' })\n"
                         "  local go = ctx:wait_for_external_event('go')\n"
                         "  return ctx:call_activity('echo', { a.n, go })\n"
                         "end)\n";

static uint64_t run_of(world *w, const char *id) {
  uint64_t run = 0;
  CHECK_STATUS(lnt__journal_find(w->store, id, &run, NULL), LNT_OK);
  return run;
}

/* An instance of V1 that waits for "go", and the code of `source`. */
static const uint8_t *waiting(world *w, const char *source) {
  lnt_error err;
  world_init(w, KEEP);
  CHECK_STATUS(load(w, "main.lua", V1, &err), LNT_OK);
  start(w, "main", "one", NULL);
  settle(w);
  CHECK_STATUS(load(w, "main.lua", source, &err), LNT_OK);
  return w->bundles[w->bundle_count - 1].hash;
}

static lnt__trial trial(world *w, const uint8_t *hash) {
  lnt__trial out;
  lnt_error err;
  CHECK_STATUS(lnt__engine_try(w->engine, run_of(w, "one"), hash, &out, &err), LNT_OK);
  return out;
}

static void go_on(world *w) {
  raise_event(w, "one", "go", 7);
  settle(w);
}

static void check_result(world *w, lnt_run_status status, const char *part) {
  char text[2000];
  CHECK_EQ_INT(status_of(w, "one"), status);
  result_of(w, "one", text, sizeof text);
  if (!strstr(text, part)) printf("result: %s\n", text);
  CHECK(strstr(text, part) != NULL);
}

static void test_code_that_makes_the_same_calls_is_compatible(void) {
  world w;
  const uint8_t *hash = waiting(&w, "local function plan(ctx) return ctx:call_activity('echo', { who = 'ada', n = 1 }) end\n"
                                    "workflow('main', function(ctx)\n"
                                    "  local first = plan(ctx)\n"
                                    "  local go = ctx:wait_for_external_event('GO')\n"
                                    "  return { 'new', first.n, go }\n"
                                    "end)\n");
  lnt__trial out = trial(&w, hash);
  CHECK_EQ_INT(out.state, LNT__TRIAL_COMPATIBLE);
  CHECK_EQ_STR(out.id, "one");
  CHECK(!lnt__engine_dirty(w.engine)); /* a trial writes nothing */
  CHECK_STATUS(lnt__engine_move(w.engine, run_of(&w, "one"), hash, NULL), LNT_OK);
  settle(&w);
  close_engine(&w);
  open_engine(&w);
  go_on(&w);
  check_result(&w, LNT_RUN_COMPLETED, "[\"new\",1,7]");
  world_finish(&w);
}

static void test_an_instance_that_is_not_moved_keeps_its_code(void) {
  world w;
  waiting(&w, "workflow('main', function(ctx) return 'other' end)\n");
  go_on(&w);
  check_result(&w, LNT_RUN_COMPLETED, "[1,7]");
  world_finish(&w);
}

typedef struct change { const char *source; uint64_t event; const char *recorded, *made, *at, *was_at, *difference; } change;

static void test_a_divergence_names_both_sides(void) {
  static const change changes[] = {
      {"workflow('main', function(ctx)\n\n  local a = ctx:call_activity('echo', { n = 2, who = 'ada' })\n"
       "  ctx:wait_for_external_event('go')\nend)\n",
       2, "call_activity('echo', {n: 1, who: \"ada\"})", "call_activity('echo', {n: 2, who: \"ada\"})", "main.lua:3", "main.lua:2",
       "input.n: 1 vs 2"},
      {"workflow('main', function(ctx)\n  ctx:call_activity('plan', 1)\nend)\n", 2, "call_activity('echo'", "call_activity('plan', 1)",
       "main.lua:2", "main.lua:2", ""},
      {"workflow('main', function(ctx)\n  ctx:create_timer(1)\n  ctx:call_activity('echo', { n = 1, who = 'ada' })\nend)\n", 2,
       "call_activity('echo'", "create_timer()", "main.lua:2", "main.lua:2", ""},
      {"workflow('main', function(ctx)\n  ctx:call_activity('echo', { n = 1, who = 'ada' })\n"
       "  ctx:wait_for_external_event('stop')\nend)\n", 5,
       "wait_for_external_event('go')", "wait_for_external_event('stop')", "main.lua:3", "main.lua:3", ""},
      {"workflow('main', function(ctx)\n  ctx:call_activity('echo', { n = 1, who = 'ada' })\n  return 1\nend)\n", 5,
       "wait_for_external_event('go')", "", "", "main.lua:3", ""},
      {"workflow('main', function(ctx)\n  ctx:call_activity('echo', { n = 1, who = 'ada' })\n  ctx:emit('log', 1)\n"
       "  ctx:wait_for_external_event('go')\nend)\n", 5, "wait_for_external_event('go')", "emit('log', 1)", "main.lua:3", "main.lua:3", ""},
  };
  for (size_t i = 0; i < LNT__COUNT(changes); i++) {
    const change *c = &changes[i];
    world w;
    lnt__trial out = trial(&w, waiting(&w, c->source));
    if (out.divergence.event != c->event || strncmp(out.divergence.at, c->at, strlen(c->at)))
      printf("change %zu: %s (%llu, at %s)\n", i, out.message, (unsigned long long)out.divergence.event, out.divergence.at);
    CHECK_EQ_INT(out.state, LNT__TRIAL_DIVERGES);
    CHECK_EQ_INT(out.divergence.event, c->event);
    CHECK(strncmp(out.divergence.recorded, c->recorded, strlen(c->recorded)) == 0);
    CHECK_EQ_STR(out.divergence.wanted, c->made);
    CHECK(strncmp(out.divergence.at, c->at, strlen(c->at)) == 0);
    CHECK(strncmp(out.divergence.was_at, c->was_at, strlen(c->was_at)) == 0);
    CHECK_EQ_STR(out.divergence.difference, c->difference);
    go_on(&w); /* the trial left the instance as it was */
    check_result(&w, LNT_RUN_COMPLETED, "[1,7]");
    world_finish(&w);
  }
}

static void test_code_without_the_workflow_is_unavailable(void) {
  world w;
  lnt__trial out = trial(&w, waiting(&w, "workflow('other', function() end)\n"));
  CHECK_EQ_INT(out.state, LNT__TRIAL_UNAVAILABLE);
  CHECK(strstr(out.message, "does not define the workflow \"main\"") != NULL);
  world_finish(&w);
}

static void test_what_is_not_durable_yet_is_busy(void) {
  world w;
  const uint8_t *hash = waiting(&w, V1);
  lnt_error err;
  raise_event(&w, "one", "go", 7);
  CHECK_EQ_INT(trial(&w, hash).state, LNT__TRIAL_BUSY);
  CHECK_STATUS(lnt__engine_move(w.engine, run_of(&w, "one"), hash, &err), LNT_EAGAIN);
  settle(&w);
  CHECK_EQ_INT(trial(&w, hash).state, LNT__TRIAL_OVER);
  CHECK_STATUS(lnt__engine_move(w.engine, run_of(&w, "one"), hash, &err), LNT_ECLOSED);
  world_finish(&w);
}

static void test_a_move_to_code_that_diverges_stalls_and_back_again_resumes(void) {
  world w;
  const uint8_t *hash = waiting(&w, "workflow('main', function(ctx)\n  ctx:call_activity('plan', 1)\nend)\n");
  CHECK_STATUS(lnt__engine_move(w.engine, run_of(&w, "one"), hash, NULL), LNT_OK);
  settle(&w);
  go_on(&w);
  check_result(&w, LNT_RUN_STALLED, "\"at\":\"main.lua:2");
  check_result(&w, LNT_RUN_STALLED, "moved to other code");
  check_result(&w, LNT_RUN_STALLED, "\"made\":\"call_activity('plan', 1)\"");
  CHECK_EQ_INT(trial(&w, w.bundles[0].hash).state, LNT__TRIAL_COMPATIBLE);
  CHECK_STATUS(lnt__engine_move(w.engine, run_of(&w, "one"), w.bundles[0].hash, NULL), LNT_OK);
  settle(&w);
  check_result(&w, LNT_RUN_COMPLETED, "[1,7]");
  world_finish(&w);
}

static const char PATCHED[] = "workflow('main', function(ctx, input)\n"
                              "  if ctx:is_patched('greet') then ctx:call_activity('echo', 'hello') end\n"
                              "  local a = ctx:call_activity('echo', { n = 1, who = 'ada' })\n"
                              "  local go = ctx:wait_for_external_event('go')\n"
                              "  return { ctx:is_patched('greet'), ctx:is_patched('later'), a.n, go }\n"
                              "end)\n";

static void test_a_patch_is_for_those_who_have_not_passed_it(void) {
  world w;
  lnt_error err;
  const uint8_t *hash = waiting(&w, PATCHED);
  CHECK_EQ_INT(trial(&w, hash).state, LNT__TRIAL_COMPATIBLE);
  CHECK_STATUS(lnt__engine_move(w.engine, run_of(&w, "one"), hash, &err), LNT_OK);
  settle(&w);
  go_on(&w);
  check_result(&w, LNT_RUN_COMPLETED, "[false,true,1,7]");
  world_finish(&w);
  story(PATCHED, NULL, "[true,true,1,1]");
}

static void test_a_patch_may_be_asked_for_earlier(void) {
  static const char LATE[] = "workflow('main', function(ctx)\n"
                             "  ctx:call_activity('echo', 1)\n"
                             "  local p = ctx:is_patched('p')\n"
                             "  local go = ctx:wait_for_external_event('go')\n"
                             "  return { p, ctx:is_patched('q'), go }\n"
                             "end)\n";
  static const char EARLY[] = "workflow('main', function(ctx)\n"
                              "  local p = ctx:is_patched('p')\n"
                              "  ctx:call_activity('echo', 1)\n"
                              "  local go = ctx:wait_for_external_event('go')\n"
                              "  return { p, ctx:is_patched('q'), ctx:call_activity('echo', go) }\n"
                              "end)\n";
  world w;
  lnt_error err;
  world_init(&w, EVICT);
  CHECK_STATUS(load(&w, "main.lua", LATE, &err), LNT_OK);
  start(&w, "main", "one", NULL);
  settle(&w);
  CHECK_STATUS(load(&w, "main.lua", EARLY, &err), LNT_OK);
  CHECK_EQ_INT(trial(&w, w.bundles[1].hash).state, LNT__TRIAL_COMPATIBLE);
  CHECK_STATUS(lnt__engine_move(w.engine, run_of(&w, "one"), w.bundles[1].hash, &err), LNT_OK);
  settle(&w);
  close_engine(&w);
  open_engine(&w);
  go_on(&w);
  check_result(&w, LNT_RUN_COMPLETED, "[true,true,7]");
  world_finish(&w);
}

/* A trial in steps, while another instance runs: its turns need the engine's scratch, too. Answers how many steps. */
static int try_between_turns(world *w, const uint8_t *hash, lnt__trial *out) {
  lnt__try *t = lnt__try_create(w->engine);
  bool more = true;
  int steps = 0;
  CHECK_STATUS(lnt__try_begin(t, run_of(w, "one"), hash, out, NULL), LNT_OK);
  for (; more; steps++) {
    CHECK_STATUS(lnt__try_step(t, &more, NULL), LNT_OK);
    lnt__engine_evict_all(w->engine);
    raise_event(w, "two", "go", steps);
    tick(w);
  }
  lnt__try_destroy(t);
  return steps;
}

static void test_a_long_history_is_tried_in_steps(void) {
  static const char LONG[] = "workflow('main', function(ctx)\n"
                             "  for i = 1, 1000 do ctx:call_activity('echo', i) end\n"
                             "  while true do ctx:wait_for_external_event('go') end\n"
                             "end)\n";
  static const char OTHER[] = "workflow('main', function(ctx)\n"
                              "  for i = 1, 1000 do\n"
                              "    ctx:call_activity('echo', i < 900 and i or 0)\n"
                              "  end\n"
                              "end)\n";
  world w;
  lnt_error err;
  lnt__trial out;
  world_init(&w, KEEP);
  CHECK_STATUS(load(&w, "main.lua", LONG, &err), LNT_OK);
  start(&w, "main", "one", NULL);
  start(&w, "main", "two", NULL);
  settle(&w);
  CHECK_STATUS(load(&w, "main.lua", OTHER, &err), LNT_OK);
  CHECK(try_between_turns(&w, w.bundles[1].hash, &out) >= 2 * 900 / LNT__TRIAL_STEP_EVENTS);
  CHECK_EQ_INT(out.state, LNT__TRIAL_DIVERGES);
  CHECK_EQ_STR(out.divergence.recorded, "call_activity('echo', 900)");
  CHECK_EQ_STR(out.divergence.wanted, "call_activity('echo', 0)");
  CHECK(strncmp(out.divergence.at, "main.lua:3", 10) == 0);
  CHECK(strncmp(out.divergence.was_at, "main.lua:2", 10) == 0);
  CHECK(try_between_turns(&w, w.bundles[0].hash, &out) >= 1000 / LNT__TRIAL_STEP_EVENTS);
  CHECK_EQ_INT(out.state, LNT__TRIAL_COMPATIBLE);
  world_finish(&w);
}

static void test_an_instance_that_ends_during_its_trial_is_over(void) {
  world w;
  lnt__trial out;
  bool more = true;
  const uint8_t *hash = waiting(&w, V1);
  lnt__try *t = lnt__try_create(w.engine);
  CHECK_STATUS(lnt__try_begin(t, run_of(&w, "one"), hash, &out, NULL), LNT_OK);
  CHECK_STATUS(lnt__try_step(t, &more, NULL), LNT_OK);
  CHECK(more);
  go_on(&w);
  lnt__try_destroy(t); /* in the middle of it */
  check_result(&w, LNT_RUN_COMPLETED, "[1,7]");
  CHECK_EQ_INT(trial(&w, hash).state, LNT__TRIAL_OVER);
  world_finish(&w);
}

/* A body that computes `rounds` times before it waits; answers whether its budget was enough. */
static bool computes(world *w, int rounds, const char *end) {
  char source[300];
  lnt_error err;
  snprintf(source, sizeof source, "workflow('main', function(ctx)\n  local n = 0\n  for i = 1, %d do\n    n = n + i\n  end\n"
           "  ctx:wait_for_external_event('go')\n  return %s\nend)\n", rounds, end);
  CHECK_STATUS(load(w, "main.lua", source, &err), LNT_OK);
  if (strcmp(end, "1") != 0) return true;
  start(w, "main", "one", NULL);
  settle(w);
  return status_of(w, "one") == LNT_RUN_RUNNING;
}

/* Trials look at each line; that must cost the body nothing. The last number of rounds that its budget allows is found first. */
static void test_a_trial_has_the_budget_of_the_turn(void) {
  int low = 1, high = 100000;
  world w;
  while (high - low > 1) {
    int middle = (low + high) / 2;
    world_init(&w, KEEP);
    w.limits.turn_instructions_max = 20000;
    close_engine(&w);
    open_engine(&w);
    if (computes(&w, middle, "1")) low = middle;
    else high = middle;
    world_finish(&w);
  }
  CHECK(low > 100 && high < 100000);
  world_init(&w, KEEP);
  w.limits.turn_instructions_max = 20000;
  close_engine(&w);
  open_engine(&w);
  CHECK(computes(&w, low, "1"));
  computes(&w, low, "2");
  lnt__trial out = trial(&w, w.bundles[w.bundle_count - 1].hash);
  CHECK_EQ_INT(out.state, LNT__TRIAL_COMPATIBLE);
  CHECK(!out.has_reached);
  world_finish(&w);
}

static void test_patches_must_be_named(void) {
  story_fails(MAIN("ctx:is_patched()"), "is_patched: the name of the patch must be a string");
  story(MAIN("local seen = {} for i = 1, 3 do seen[i] = ctx:is_patched('p'); ctx:call_activity('echo', i) end return seen"), NULL,
        "[true,true,true]");
}

CHECK_MAIN(test_code_that_makes_the_same_calls_is_compatible, test_an_instance_that_is_not_moved_keeps_its_code,
           test_a_divergence_names_both_sides, test_code_without_the_workflow_is_unavailable, test_what_is_not_durable_yet_is_busy,
           test_a_move_to_code_that_diverges_stalls_and_back_again_resumes, test_a_patch_is_for_those_who_have_not_passed_it,
           test_a_patch_may_be_asked_for_earlier,
           test_a_long_history_is_tried_in_steps, test_an_instance_that_ends_during_its_trial_is_over,
           test_a_trial_has_the_budget_of_the_turn, test_patches_must_be_named);
