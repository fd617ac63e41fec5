/* test_engine.c - the engine on the memory store with a scripted body instead of Lua: chains, fan-out, waits, timers, retries; each also
 * with
 * every body evicted after each commit, and with the process "killed" at each commit boundary. */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "engine/engine.h"

/* ---- A body that follows a script: 'a' an activity, 'f' three activities at once, 'e' event "go", 'w' event with 1 s timeout,
 *      't' a 1 s timer, 'x' an activity with retries, 'q' ends with a failure; 'u' an activity, 'v' a timer and 'h' a question whether to
 *      continue as new, after which the body becomes unavailable while `broken` is set. It ends when it is canceled, unless its script
 *      begins with 'k' ---- */

typedef struct script_body { char *script; size_t at; uint32_t waiting[3]; int pending; int got; } script_body;

static char other_script[64]; /* replaces every script when set: code that changed */
static bool broken;
static uint64_t history_events_max; /* of hosts that are opened; 0: the default */

static void finish_body(script_body *body, char op, lnt__outcome *outcome) {
  outcome->state = op == 'q' ? LNT__BODY_FAILED : LNT__BODY_COMPLETED;
  if (op == 'q') lnt__failure_text(&outcome->value, "Quit", "asked to", false);
  else lnt__cbor_int(&outcome->value, body->got);
}

static bool make_command(script_body *body, lnt__turn *turn, char op, int number, lnt__outcome *outcome) {
  lnt__buf input, options;
  lnt__cbor_map map, retry;
  lnt__delivery answer;
  char name[16];
  uint32_t seq;
  lnt__buf_init(&input);
  lnt__buf_init(&options);
  snprintf(name, sizeof(name), "%c%d", op, number);
  lnt__command command = {.kind = LNT_EVENT_ACTIVITY_SCHEDULED, .name = {name, strlen(name)}, .alone = op != 'f'};
  lnt__cbor_int(&input, (int64_t)body->at);
  command.input = (lnt_value){input.data, input.size};
  if (op == 'e' || op == 'w') command = (lnt__command){.kind = LNT_EVENT_EVENT_AWAITED, .name = {"go", 2}, .alone = true};
  if (op == 't' || op == 'v') command = (lnt__command){.kind = LNT_EVENT_TIMER_CREATED, .alone = true};
  if (op == 't' || op == 'v' || op == 'w') command.due_us = lnt__turn_now_us(turn) + 1000000;
  if (op == 'x') {
    lnt__cbor_map_begin(&options, &map);
    lnt__cbor_cstring(&options, "retry");
    lnt__cbor_map_begin(&options, &retry);
    lnt__cbor_cstring(&options, "max_attempts");
    lnt__cbor_int(&options, 3);
    lnt__cbor_cstring(&options, "first_interval_us");
    lnt__cbor_int(&options, 100000);
    lnt__cbor_map_end(&options, &retry, 2, false);
    lnt__cbor_map_end(&options, &map, 1, false);
    command.options = (lnt_value){options.data, options.size};
  }
  lnt__command_state state = lnt__turn_command(turn, &command, &seq, &answer);
  lnt__buf_finish(&input);
  lnt__buf_finish(&options);
  if (state == LNT__COMMAND_REFUSED) outcome->state = LNT__BODY_REFUSED;
  if (state == LNT__COMMAND_ANSWERED) body->got += answer.kind == LNT__DELIVER_RESULT ? 1 : 100;
  if (state == LNT__COMMAND_WAITING) body->waiting[body->pending++] = seq;
  return state == LNT__COMMAND_ANSWERED;
}

static void run_body(script_body *body, lnt__turn *turn, lnt__outcome *outcome) {
  outcome->state = LNT__BODY_WAITING;
  while (body->pending == 0 && outcome->state == LNT__BODY_WAITING) {
    char op = body->script[body->at++];
    if (op == 'k') continue;
    if (op == 0 || op == 'q') {
      finish_body(body, op, outcome);
      return;
    }
    bool asks = op == 'h', advised = asks && lnt__turn_advises(turn);
    body->got += advised ? 1000 : 0;
    int count = asks ? 0 : op == 'f' ? 3 : 1;
    for (int i = 0; i < count && outcome->state == LNT__BODY_WAITING; i++) make_command(body, turn, op, i, outcome);
    if (broken && (op == 'u' || op == 'v' || asks) && outcome->state == LNT__BODY_WAITING) {
      outcome->state = LNT__BODY_UNAVAILABLE;
      lnt__fail(&outcome->error, LNT_ETIMEOUT, "too slow");
    }
  }
}

static void vm_start(void *vm, lnt__turn *turn, const lnt__start_info *start, void **body_out, lnt__outcome *outcome) {
  script_body *body = calloc(1, sizeof(*body));
  (void)vm;
  body->script = strdup(other_script[0] ? other_script : start->workflow);
  *body_out = body;
  run_body(body, turn, outcome);
}

static void cancel_body(script_body *body, lnt__turn *turn, const lnt__delivery *delivery, lnt__outcome *outcome) {
  if (body->script[0] == 'k') return;
  while (body->pending) lnt__turn_cancel(turn, body->waiting[--body->pending]);
  lnt__buf_append(&outcome->value, delivery->value.data, delivery->value.size);
  outcome->state = LNT__BODY_CANCELED;
}

static void vm_deliver(void *vm, lnt__turn *turn, void *body_in, const lnt__delivery *delivery, lnt__outcome *outcome) {
  script_body *body = body_in;
  (void)vm;
  int kept = 0;
  if (delivery->kind == LNT__DELIVER_CANCEL) {
    cancel_body(body, turn, delivery, outcome);
    return;
  }
  for (int i = 0; i < body->pending; i++)
    if (body->waiting[i] != delivery->seq) body->waiting[kept++] = body->waiting[i];
  if (kept != body->pending) body->got += delivery->kind == LNT__DELIVER_RESULT ? 1 : delivery->kind == LNT__DELIVER_FIRED ? 10 : 100;
  body->pending = kept;
  run_body(body, turn, outcome);
}

static void vm_drop(void *vm, void *body_in) {
  script_body *body = body_in;
  (void)vm;
  free(body->script);
  free(body);
}

static void vm_where(void *vm, lnt__turn *turn, char *out, size_t size) {
  (void)vm;
  (void)turn;
  snprintf(out, size, "script.lua:7");
}

static const lnt__vm VM = {.start = vm_start, .deliver = vm_deliver, .drop = vm_drop, .where = vm_where};

/* ---- A host: a queue of tokens, a clock, a store that outlives engines ---- */

typedef struct host {
  lnt__store *store;
  lnt__engine *engine;
  int64_t now_us;
  lnt_token queue[4096];
  size_t head, tail;
  int ran, fail_first; /* activities begun; how many answers fail */
  int per_tick;        /* answers given in one tick; 0: all */
  bool evict, crash;
} host;

static void on_dispatch(void *user, lnt_token token) {
  host *h = user;
  h->queue[h->tail++ % 4096] = token;
}
static void on_abandon(void *user, lnt_token token, lnt_cancel_reason why, const char *name) {
  (void)user, (void)token, (void)why, (void)name;
}

static void host_open(host *h) {
  lnt_limits limits = {
#define X(field, value, text) .field = value,
      LNT_LIMIT_MAP(X)
#undef X
  };
  if (history_events_max) limits.history_events_max = history_events_max;
  lnt__effects effects = {.user = h, .dispatch = on_dispatch, .abandon = on_abandon};
  lnt__engine_options options = {.store = h->store, .vm = &VM, .effects = &effects, .limits = &limits, .fingerprint = "script", .seed = 7};
  lnt_error err;
  h->head = h->tail = 0;
  CHECK_EQ_INT(lnt__journal_open(h->store, false, &options.last_run, &err), LNT_OK);
  CHECK_EQ_INT(lnt__engine_create(&options, &h->engine, &err), LNT_OK);
  CHECK_EQ_INT(lnt__engine_recover(h->engine, h->now_us, &err), LNT_OK);
}

static void host_init(host *h) {
  lnt_error err;
  memset(h, 0, sizeof(*h));
  h->now_us = 1000000000000;
  CHECK_EQ_INT(lnt__store_open_memory(&h->store, &err), LNT_OK);
  host_open(h);
}

static void host_finish(host *h) {
  lnt__engine_destroy(h->engine);
  h->store->vtable->destroy(h->store);
}

static void answer_queue(host *h) {
  for (int given = 0; h->head < h->tail && (!h->per_tick || given < h->per_tick); given++) {
    lnt__attempt attempt;
    lnt_token token = h->queue[h->head++ % 4096];
    if (!lnt__engine_begin(h->engine, token, &attempt)) continue;
    h->ran++;
    lnt__buf value;
    lnt__buf_init(&value);
    if (h->fail_first > 0) {
      h->fail_first--;
      lnt__failure_text(&value, "Flaky", "not yet", true);
      lnt__engine_fail(h->engine, token, (lnt_value){value.data, value.size}, LNT_VALUE_NIL);
    } else {
      lnt__cbor_int(&value, 1);
      lnt__engine_complete(h->engine, token, (lnt_value){value.data, value.size});
    }
    lnt__buf_finish(&value);
  }
}

/* One tick; false when nothing moved. */
static bool tick(host *h) {
  lnt_status status;
  lnt_error err;
  lnt__engine_set_now(h->engine, h->now_us);
  CHECK_EQ_INT(lnt__engine_fire(h->engine, &err), LNT_OK);
  bool moved = h->head < h->tail;
  answer_queue(h);
  while (lnt__engine_turn(h->engine, &status, &err)) moved = true;
  CHECK_EQ_INT(status, LNT_OK);
  const lnt__batch *batch = lnt__engine_seal(h->engine);
  if (!batch) return moved;
  CHECK_EQ_INT(h->store->vtable->commit(h->store, batch, &err), LNT_OK);
  if (h->crash) {
    lnt__engine_destroy(h->engine);
    host_open(h);
    return true;
  }
  lnt__engine_committed(h->engine);
  if (h->evict) lnt__engine_evict_all(h->engine);
  return true;
}

static void settle_all(host *h) {
  for (int idle = 0; idle < 3;) idle = tick(h) ? 0 : idle + 1;
}

static void start(host *h, const char *script, const char *id) {
  uint8_t hash[LNT__SHA256_BYTES] = {1};
  lnt__start options = {.workflow = script, .id = id, .hash = hash};
  lnt_error err;
  CHECK_EQ_INT(lnt__engine_start(h->engine, &options, NULL, &err), LNT_OK);
}

static lnt_run_status status_of(host *h, const char *id, char *message, size_t size) {
  uint64_t run = 0;
  lnt__row row;
  void *memory;
  lnt_error err;
  CHECK_EQ_INT(lnt__journal_find(h->store, id, &run, &err), LNT_OK);
  CHECK_EQ_INT(lnt__journal_row(h->store, run, &row, &memory, &err), LNT_OK);
  lnt_run_status status = row.status;
  if (message) lnt__cbor_brief(row.failure, message, size);
  lnt__free(memory);
  return status;
}

/* The history as letters, TURNs left out: what the instance observed and did. */
static void history_of(host *h, const char *id, char *out, size_t size) {
  static const char LETTERS[] = "?S.ACFRTfErXtCFZ!>~ccccdvsouuPpkKnDiykhqj";
  uint64_t run = 0;
  lnt__history history;
  size_t at = 0;
  lnt_error err;
  lnt__history_init(&history);
  CHECK_EQ_INT(lnt__journal_find(h->store, id, &run, &err), LNT_OK);
  CHECK_EQ_INT(lnt__journal_history(h->store, run, &history, &err), LNT_OK);
  for (size_t i = 0; i < history.count && at + 1 < size; i++)
    if (history.events[i].kind != LNT_EVENT_TURN) out[at++] = LETTERS[history.events[i].kind];
  out[at] = 0;
  lnt__history_finish(&history);
}

static void raise_event(host *h, const char *id) {
  lnt_error err;
  CHECK_EQ_INT(lnt__engine_raise(h->engine, &(lnt__raise){.id = id, .event = "GO"}, &err), LNT_OK);
}

/* ---- Tests ---- */

static void play(host *h, const char *script, char *history, size_t size) {
  start(h, script, "one");
  settle_all(h);
  for (int i = 0; i < 20 && status_of(h, "one", NULL, 0) == LNT_RUN_RUNNING; i++) {
    h->now_us += 500000;
    settle_all(h);
    if (i % 4 == 3 && status_of(h, "one", NULL, 0) == LNT_RUN_RUNNING) raise_event(h, "one");
    settle_all(h);
  }
  history_of(h, "one", history, size);
}

static const char *SCRIPTS[] = {"", "a", "aaaa", "f", "afaf", "e", "ea", "aet", "t", "tta", "wa", "wwe", "faetwx", "x", "axfq", "q",
    "eeee"};

static void test_scripts_end_alike_however_often_bodies_are_lost(void) {
  for (size_t i = 0; i < sizeof(SCRIPTS) / sizeof(SCRIPTS[0]); i++) {
    char plain[512], other[512];
    for (int mode = 0; mode < 3; mode++) {
      host h;
      host_init(&h);
      h.evict = mode == 1;
      h.crash = mode == 2;
      play(&h, SCRIPTS[i], mode ? other : plain, sizeof(plain));
      lnt_run_status want = strchr(SCRIPTS[i], 'q') ? LNT_RUN_FAILED : LNT_RUN_COMPLETED;
      CHECK_EQ_INT(status_of(&h, "one", NULL, 0), want);
      if (mode) CHECK_EQ_STR(other, plain);
      host_finish(&h);
    }
  }
}

/* Each rebuild finds some of the three answered in the history and others not. */
static void test_answers_that_come_one_by_one_survive_a_crash_after_each(void) {
  for (int per_tick = 1; per_tick <= 2; per_tick++) {
    char history[128];
    host h;
    host_init(&h);
    h.per_tick = per_tick;
    h.crash = true;
    play(&h, "ffa", history, sizeof(history));
    CHECK_EQ_STR(history, "SAAACCCAAACCCACC");
    CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_COMPLETED);
    host_finish(&h);
  }
}

static void test_a_failed_attempt_is_tried_again_until_the_policy_ends(void) {
  for (int fails = 0; fails < 5; fails++) {
    char history[128];
    host h;
    host_init(&h);
    h.fail_first = fails;
    play(&h, "x", history, sizeof(history));
    CHECK_EQ_STR(history, fails == 0 ? "SACC" : fails == 1 ? "SARCC" : fails == 2 ? "SARRCC" : "SARRFC");
    CHECK_EQ_INT(h.ran, fails < 3 ? fails + 1 : 3);
    host_finish(&h);
  }
}

static void test_an_event_before_its_wait_is_kept(void) {
  char history[128];
  host h;
  host_init(&h);
  start(&h, "aee", "one");
  raise_event(&h, "one");
  raise_event(&h, "one");
  h.crash = true;
  settle_all(&h);
  history_of(&h, "one", history, sizeof(history));
  CHECK_EQ_STR(history, "SrrACEEC");
  host_finish(&h);
}

static void test_changed_code_stalls_and_resumes_when_mended(void) {
  char message[600];
  host h;
  host_init(&h);
  start(&h, "aet", "one");
  settle_all(&h);
  lnt__engine_evict_all(h.engine);
  strcpy(other_script, "xet");
  raise_event(&h, "one");
  settle_all(&h);
  CHECK_EQ_INT(status_of(&h, "one", message, sizeof(message)), LNT_RUN_STALLED);
  CHECK(strstr(message, "call_activity('a0'") != NULL);
  CHECK(strstr(message, "call_activity('x0'") != NULL);
  CHECK(strstr(message, "script.lua:7") != NULL);
  other_script[0] = 0;
  lnt__engine_retry_stalled(h.engine, NULL);
  settle_all(&h);
  h.now_us += 2000000;
  settle_all(&h);
  CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_COMPLETED);
  host_finish(&h);
}

/* Without TURN, STALLED and RESUMED: what the instance observed and did. */
static void story_of(host *h, char *out, size_t size) {
  char all[512];
  history_of(h, "one", all, sizeof(all));
  size_t at = 0;
  for (const char *c = all; *c && at + 1 < size; c++)
    if (*c != '!' && *c != '>') out[at++] = *c;
  out[at] = 0;
}

typedef enum again { WHEN_DURABLE, AT_ONCE, AFTER_A_CRASH, TWICE_IN_VAIN, AGAINS } again;

/* Let it run until it stalls, and try again. */
static void stall_once(host *h, again how) {
  lnt_status status;
  broken = true;
  lnt__engine_set_now(h->engine, h->now_us);
  if (how == AT_ONCE) {
    while (lnt__engine_turn(h->engine, &status, NULL)) {}
    h->now_us += 2000000; /* a timer that was just made comes due before its row is durable */
    lnt__engine_set_now(h->engine, h->now_us);
    CHECK_EQ_INT(lnt__engine_fire(h->engine, NULL), LNT_OK);
  } else settle_all(h);
  if (how == TWICE_IN_VAIN) lnt__engine_retry_stalled(h->engine, NULL), settle_all(h);
  broken = false;
  h->crash = how == AFTER_A_CRASH;
  lnt__engine_retry_stalled(h->engine, NULL);
  settle_all(h);
  h->crash = false;
  CHECK(status_of(h, "one", NULL, 0) != LNT_RUN_STALLED);
}

/* Run it to its end, with a stall at each chance or without; the story it leaves. */
static void play_stalling(const char *script, int how, char *story, size_t size) {
  host h;
  host_init(&h);
  start(&h, script, "one");
  for (int i = 0; i < 30; i++) {
    if (how < AGAINS) stall_once(&h, (again)how);
    settle_all(&h);
    h.now_us += 2000000;
    settle_all(&h);
    story_of(&h, story, size);
    if (story[strlen(story) - 1] == 'E') raise_event(&h, "one");
  }
  CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_COMPLETED);
  host_finish(&h);
}

/* What a body did in the turn in which it became unavailable stands, is done once, and is matched when the turn is run again. */
static void test_a_stall_in_the_middle_of_a_turn(void) {
  static const char *scripts[] = {"u", "v", "aua", "ava", "fuva", "uu", "vv", "auvuve", "eue"};
  for (size_t i = 0; i < LNT__COUNT(scripts); i++) {
    char plain[512], stalled[512];
    play_stalling(scripts[i], AGAINS, plain, sizeof(plain));
    for (int how = 0; how < AGAINS; how++) {
      play_stalling(scripts[i], how, stalled, sizeof(stalled));
      CHECK_EQ_STR(stalled, plain);
    }
  }
}

/* Advice that stands in a turn without an end is given again, also by an engine whose limits would not give it. */
static void test_a_stall_after_advice(void) {
  for (int how = 0; how < AGAINS; how++) {
    char story[512];
    host h;
    history_events_max = 60;
    host_init(&h);
    broken = true;
    start(&h, "aaaaaaaaaaaaaaahea", "one");
    settle_all(&h);
    CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_STALLED);
    if (how == TWICE_IN_VAIN) lnt__engine_retry_stalled(h.engine, NULL), settle_all(&h);
    broken = false;
    if (how == AFTER_A_CRASH) {
      history_events_max = 0;
      lnt__engine_destroy(h.engine);
      host_open(&h);
    }
    lnt__engine_retry_stalled(h.engine, NULL);
    settle_all(&h);
    story_of(&h, story, sizeof(story));
    CHECK_EQ_STR(story + strlen(story) - 4, "AChE"); /* scheduled, completed; advised, once; and it waits for an event */
    CHECK(strchr(story, 'h') == strrchr(story, 'h'));
    h.evict = true; /* the rest stands on a replay */
    raise_event(&h, "one");
    settle_all(&h);
    CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_COMPLETED);
    history_events_max = 0;
    host_finish(&h);
  }
}

static void test_a_turn_that_stalled_midway_must_do_the_same_again(void) {
  static const char *changed[] = {"aae", "ave", "a", "auu"};
  for (size_t i = 0; i < LNT__COUNT(changed); i++) {
    host h;
    host_init(&h);
    char message[200];
    broken = true;
    start(&h, "aue", "one");
    settle_all(&h);
    broken = false;
    CHECK_EQ_INT(status_of(&h, "one", message, sizeof(message)), LNT_RUN_STALLED);
    CHECK(strstr(message, "TurnTimeout") != NULL);
    strcpy(other_script, changed[i]);
    lnt__engine_retry_stalled(h.engine, NULL);
    settle_all(&h);
    bool diverges = i < 3;
    CHECK_EQ_INT(status_of(&h, "one", NULL, 0), diverges ? LNT_RUN_STALLED : LNT_RUN_COMPLETED);
    other_script[0] = 0;
    host_finish(&h);
  }
}

/* Resume lets a stalled instance try again; while it is suspended over its stall, nothing makes it try. */
static void test_a_stalled_instance_is_resumed_and_suspended(void) {
  char history[128];
  lnt_error err;
  host h;
  host_init(&h);
  start(&h, "aet", "one");
  settle_all(&h);
  lnt__engine_evict_all(h.engine);
  strcpy(other_script, "xet");
  raise_event(&h, "one");
  settle_all(&h);
  CHECK_EQ_INT(lnt__engine_resume(h.engine, "one", NULL, NULL, NULL, &err), LNT_OK); /* as before: nothing new is told */
  settle_all(&h);
  CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_STALLED);
  CHECK_EQ_INT(lnt__engine_suspend(h.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  settle_all(&h);
  other_script[0] = 0;
  h.crash = true;
  lnt__engine_retry_stalled(h.engine, NULL);
  settle_all(&h);
  CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_SUSPENDED);
  strcpy(other_script, "xet");
  CHECK_EQ_INT(lnt__engine_resume(h.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  settle_all(&h);
  CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_STALLED);
  other_script[0] = 0;
  CHECK_EQ_INT(lnt__engine_resume(h.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  settle_all(&h);
  h.now_us += 2000000;
  settle_all(&h);
  CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_COMPLETED);
  history_of(&h, "one", history, sizeof(history));
  CHECK_EQ_STR(history, "SACEr!PpT>fC");
  host_finish(&h);
}

static void test_a_shorter_and_a_longer_body_are_divergences(void) {
  const char *changed[] = {"e", "aaet", "fet", ""};
  for (size_t i = 0; i < 4; i++) {
    host h;
    host_init(&h);
    start(&h, "aet", "one");
    settle_all(&h);
    lnt__engine_evict_all(h.engine);
    strcpy(other_script, changed[i]);
    if (!changed[i][0]) strcpy(other_script, "q");
    raise_event(&h, "one");
    settle_all(&h);
    CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_STALLED);
    other_script[0] = 0;
    host_finish(&h);
  }
}

static void test_terminate_stops_a_waiting_instance_and_its_timer(void) {
  char history[128];
  lnt_error err;
  host h;
  host_init(&h);
  start(&h, "t", "one");
  settle_all(&h);
  CHECK_EQ_INT(lnt__engine_terminate(h.engine, "one", "enough", NULL, NULL, &err), LNT_OK);
  settle_all(&h);
  h.now_us += 5000000;
  settle_all(&h);
  history_of(&h, "one", history, sizeof(history));
  CHECK_EQ_STR(history, "STtZ");
  CHECK_EQ_INT(lnt__engine_raise(h.engine, &(lnt__raise){.id = "one", .event = "go"}, &err), LNT_ECLOSED);
  host_finish(&h);
}

/* The instance ends before its turn comes in the list of what was active at the crash. */
static void test_what_ended_right_after_a_restart_is_not_taken_up_again(void) {
  char history[128];
  lnt_status status;
  lnt_error err;
  host h;
  host_init(&h);
  start(&h, "a", "one");
  tick(&h);
  lnt__engine_destroy(h.engine);
  host_open(&h);
  CHECK_EQ_INT(lnt__engine_terminate(h.engine, "one", "enough", NULL, NULL, &err), LNT_OK);
  CHECK(lnt__engine_turn(h.engine, &status, &err));
  CHECK_EQ_INT(h.store->vtable->commit(h.store, lnt__engine_seal(h.engine), &err), LNT_OK);
  lnt__engine_committed(h.engine);
  settle_all(&h);
  history_of(&h, "one", history, sizeof(history));
  CHECK_EQ_STR(history, "SAtZ");
  CHECK_EQ_INT(h.ran, 0);
  host_finish(&h);
}

/* It runs before its turn comes in the list of what was active at the crash: the list must not bring back what it knew. */
static void test_what_ran_right_after_a_restart_is_found_by_the_next_one(void) {
  char history[128];
  lnt_status status;
  lnt_error err;
  host h;
  host_init(&h);
  start(&h, "ta", "one");
  CHECK_EQ_INT(h.store->vtable->commit(h.store, lnt__engine_seal(h.engine), &err), LNT_OK);
  lnt__engine_destroy(h.engine);
  host_open(&h);
  raise_event(&h, "one");
  CHECK(lnt__engine_turn(h.engine, &status, &err));
  CHECK_EQ_INT(h.store->vtable->commit(h.store, lnt__engine_seal(h.engine), &err), LNT_OK);
  lnt__engine_committed(h.engine);
  settle_all(&h);
  h.now_us += 1000000;
  h.crash = true;
  settle_all(&h);
  history_of(&h, "one", history, sizeof(history));
  CHECK_EQ_STR(history, "SrTfACC");
  host_finish(&h);
}

static lnt_status cancel(host *h) {
  lnt_error err;
  return lnt__engine_cancel(h->engine, "one", "not wanted", NULL, NULL, &err);
}

static void ends_canceled(host *h, const char *wanted) {
  char history[128], message[200];
  settle_all(h);
  h->now_us += 5000000;
  settle_all(h);
  history_of(h, "one", history, sizeof(history));
  CHECK_EQ_STR(history, wanted);
  CHECK_EQ_INT(status_of(h, "one", message, sizeof(message)), LNT_RUN_CANCELED);
  CHECK_HAS(message, "not wanted");
  CHECK_EQ_INT(cancel(h), LNT_ECLOSED);
}

static void test_cancel_is_told_to_the_body(void) {
  for (int mode = 0; mode < 3; mode++) {
    host h;
    host_init(&h);
    h.evict = mode == 1;
    h.crash = mode == 2;
    start(&h, "t", "one");
    settle_all(&h);
    CHECK_EQ_INT(cancel(&h), LNT_OK);
    ends_canceled(&h, "STkXK");
    host_finish(&h);
  }
}

/* The body runs to its first wait. */
static void test_cancel_before_the_first_turn(void) {
  host h;
  host_init(&h);
  start(&h, "f", "one");
  CHECK_EQ_INT(cancel(&h), LNT_OK);
  h.crash = true;
  ends_canceled(&h, "SkAAAXXXK");
  CHECK_EQ_INT(h.ran, 0);
  host_finish(&h);
}

static void test_a_body_may_go_on_when_it_is_canceled(void) {
  char history[128];
  host h;
  host_init(&h);
  start(&h, "ketq", "one");
  settle_all(&h);
  h.crash = true;
  CHECK_EQ_INT(cancel(&h), LNT_OK);
  CHECK_EQ_INT(cancel(&h), LNT_OK);
  settle_all(&h);
  raise_event(&h, "one");
  settle_all(&h);
  CHECK_EQ_INT(cancel(&h), LNT_OK);
  h.now_us += 5000000;
  settle_all(&h);
  history_of(&h, "one", history, sizeof(history));
  CHECK_EQ_STR(history, "SEkkrTkfF");
  CHECK_EQ_INT(status_of(&h, "one", NULL, 0), LNT_RUN_FAILED);
  host_finish(&h);
}

static void test_a_cancel_waits_for_a_stalled_or_suspended_instance(void) {
  char message[600];
  lnt_error err;
  host h;
  host_init(&h);
  start(&h, "aet", "one");
  settle_all(&h);
  lnt__engine_evict_all(h.engine);
  strcpy(other_script, "xet");
  CHECK_EQ_INT(cancel(&h), LNT_OK);
  settle_all(&h);
  CHECK_EQ_INT(status_of(&h, "one", message, sizeof(message)), LNT_RUN_STALLED);
  CHECK_EQ_INT(cancel(&h), LNT_OK);
  settle_all(&h);
  CHECK_EQ_INT(status_of(&h, "one", message, sizeof(message)), LNT_RUN_STALLED);
  CHECK_EQ_INT(lnt__engine_suspend(h.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  other_script[0] = 0;
  h.crash = true;
  settle_all(&h);
  CHECK_EQ_INT(status_of(&h, "one", message, sizeof(message)), LNT_RUN_SUSPENDED);
  CHECK_EQ_INT(lnt__engine_resume(h.engine, "one", NULL, NULL, NULL, &err), LNT_OK);
  ends_canceled(&h, "SACEk!kPpX>K");
  host_finish(&h);
}

static void test_terminate_wins_over_a_cancel(void) {
  char history[128];
  lnt_error err;
  host h;
  host_init(&h);
  start(&h, "ke", "one");
  settle_all(&h);
  CHECK_EQ_INT(cancel(&h), LNT_OK);
  CHECK_EQ_INT(lnt__engine_terminate(h.engine, "one", "now", NULL, NULL, &err), LNT_OK);
  h.crash = true;
  settle_all(&h);
  history_of(&h, "one", history, sizeof(history));
  CHECK_EQ_STR(history, "SEktZ");
  host_finish(&h);
}

static void test_an_id_is_used_once(void) {
  uint8_t hash[LNT__SHA256_BYTES] = {1};
  lnt__start options = {.workflow = "a", .id = "one", .hash = hash};
  lnt_error err;
  host h;
  host_init(&h);
  start(&h, "a", "one");
  CHECK_EQ_INT(lnt__engine_start(h.engine, &options, NULL, &err), LNT_EEXIST);
  settle_all(&h);
  CHECK_EQ_INT(lnt__engine_start(h.engine, &options, NULL, &err), LNT_EEXIST);
  host_finish(&h);
}

static void test_many_instances_share_each_commit(void) {
  host h;
  char id[16];
  lnt_stats stats = {.size = sizeof(stats)};
  host_init(&h);
  for (int i = 0; i < 200; i++) {
    snprintf(id, sizeof(id), "i%d", i);
    start(&h, "aaaaaaaaaa", id);
  }
  settle_all(&h);
  lnt__engine_stats(h.engine, &stats);
  CHECK_EQ_INT(stats.steps, 2000);
  CHECK_EQ_INT(stats.commits, 11);
  CHECK_EQ_INT(stats.loaded, 0);
  host_finish(&h);
}

CHECK_MAIN(test_scripts_end_alike_however_often_bodies_are_lost, test_answers_that_come_one_by_one_survive_a_crash_after_each,
           test_a_failed_attempt_is_tried_again_until_the_policy_ends, test_an_event_before_its_wait_is_kept,
           test_changed_code_stalls_and_resumes_when_mended, test_a_stall_in_the_middle_of_a_turn, test_a_stall_after_advice,
           test_a_turn_that_stalled_midway_must_do_the_same_again, test_a_stalled_instance_is_resumed_and_suspended,
           test_a_shorter_and_a_longer_body_are_divergences, test_terminate_stops_a_waiting_instance_and_its_timer,
           test_what_ended_right_after_a_restart_is_not_taken_up_again, test_what_ran_right_after_a_restart_is_found_by_the_next_one,
           test_cancel_is_told_to_the_body, test_cancel_before_the_first_turn, test_a_body_may_go_on_when_it_is_canceled,
           test_a_cancel_waits_for_a_stalled_or_suspended_instance, test_terminate_wins_over_a_cancel, test_an_id_is_used_once,
           test_many_instances_share_each_commit);
