/* timer.c - what is due: timers and timeouts of waits (rows of table TIMER, near ones in the heap), retries and timeouts of activities
 * (heap only: the history rebuilds them). A heap entry may be stale; it is checked when it comes due. */
#include "engine/internal.h"

enum { HORIZON_US = 60 * 1000 * 1000 };

static void push_due(lnt__engine *engine, int64_t due_us, uint64_t run, uint32_t seq, uint32_t tag) {
  if (!lnt__heap_push(&engine->heap, (lnt__due){due_us, run, seq, tag})) lnt__poison(engine);
}

/* Into the heap, or left to its row until the horizon reaches it. */
static void expect(lnt__engine *engine, lnt__due due) {
  if (due.due_us < engine->horizon_us) {
    push_due(engine, due.due_us, due.run, due.seq, due.tag);
    return;
  }
  lnt__far_expect(engine, due.due_us);
  LNT__PUSH(engine, lnt__open_commit(engine)->far_timers, due);
}

void lnt__timer_arm(lnt__turn *turn, lnt__cmd *cmd) {
  cmd->timer_new = true;
  turn->new_timers++;
  uint32_t tag = cmd->state == LNT__CMD_DEFERRED ? LNT__DUE_DEFERRED : LNT__DUE_TIMER;
  expect(turn->engine, (lnt__due){cmd->due_us, turn->run, cmd->seq, tag});
}

void lnt__start_arm(lnt__turn *turn) {
  uint8_t key[LNT__KEY_TIMER_BYTES];
  lnt__key_timer(key, turn->start_us, turn->run, 0);
  if (!lnt__batch_put(lnt__open_commit(turn->engine)->batch, LNT__TABLE_TIMER, key, sizeof key, NULL, 0)) lnt__poison(turn->engine);
  expect(turn->engine, (lnt__due){turn->start_us, turn->run, 0, LNT__DUE_TIMER});
}

static void delete_row(lnt__engine *engine, lnt__due due) { LNT__PUSH(engine, lnt__open_commit(engine)->timer_deletes, due); }

void lnt__start_disarm(lnt__turn *turn) {
  delete_row(turn->engine, (lnt__due){turn->start_us, turn->run, 0, 0});
  turn->sleeping = false;
}

void lnt__timer_disarm(lnt__turn *turn, lnt__cmd *cmd) {
  if ((cmd->kind == LNT_EVENT_ACTIVITY_SCHEDULED && cmd->state != LNT__CMD_DEFERRED) || cmd->due_us == 0) return;
  if (cmd->timer_new) turn->new_timers--;
  bool durable = cmd->timer_durable || (cmd->timer_new && turn->rebuilt); /* armed before, by a try of this turn that stalled */
  if (durable && cmd->state != LNT__CMD_FIRED) delete_row(turn->engine, (lnt__due){cmd->due_us, turn->run, cmd->seq, 0});
  cmd->timer_new = cmd->timer_durable = false;
}

/* Of an instance without a body only its history knows what it waited for. A row that is gone may be deleted again. */
lnt_status lnt__timers_forget(lnt__turn *turn, lnt_error *err) {
  lnt__engine *engine = turn->engine;
  lnt__history *history = &engine->replay.history;
  if (turn->body || !turn->has_turns) return LNT_OK;
  lnt_status status = lnt__journal_outline(engine->store, turn->run, history, err);
  for (size_t i = 0; status == LNT_OK && i < history->count; i++) {
    const lnt__event *event = &history->events[i];
    bool has_row = event->kind == LNT_EVENT_TIMER_CREATED || event->kind == LNT_EVENT_EVENT_AWAITED ||
                   event->kind == LNT_EVENT_CHILD_SCHEDULED;
    if (has_row && event->due_us) delete_row(engine, (lnt__due){event->due_us, turn->run, event->seq, LNT__DUE_TIMER});
  }
  return status;
}

void lnt__timer_watch(lnt__turn *turn, const lnt__cmd *cmd) {
  if (cmd->due_us < turn->engine->horizon_us) push_due(turn->engine, cmd->due_us, turn->run, cmd->seq, LNT__DUE_TIMER);
  else lnt__far_expect(turn->engine, cmd->due_us);
}

bool lnt__timer_put(lnt__turn *turn, lnt__cmd *cmd, lnt__batch *batch) {
  uint8_t key[LNT__KEY_TIMER_BYTES];
  size_t size = cmd->kind == LNT_EVENT_ACTIVITY_SCHEDULED ? sizeof(LNT__TIMER_DEFERRED) : 0;
  lnt__key_timer(key, cmd->due_us, turn->run, cmd->seq);
  cmd->timer_new = false;
  cmd->timer_durable = true;
  turn->new_timers--;
  return lnt__batch_put(batch, LNT__TABLE_TIMER, key, sizeof(key), LNT__TIMER_DEFERRED, size);
}

void lnt__timers_keep(lnt__turn *turn) {
  lnt__commit *commit = lnt__open_commit(turn->engine);
  for (size_t i = 0; i < turn->cmd_count && turn->new_timers; i++) {
    if (!turn->cmds[i].timer_new) continue;
    if (!lnt__timer_put(turn, &turn->cmds[i], commit->batch)) lnt__poison(turn->engine);
    commit->extra++;
  }
}

void lnt__retry_later(lnt__turn *turn, lnt__cmd *cmd) {
  lnt__cmd_set_state(turn, cmd, LNT__CMD_DELAYED);
  push_due(turn->engine, cmd->due_us, turn->run, cmd->seq, LNT__DUE_RETRY);
}

/* An entry that stands already and is not later does for this one too: it is put off when it comes due. So heartbeats cost nothing here. */
void lnt__timeouts_arm(lnt__turn *turn, lnt__cmd *cmd) {
  lnt__plan *plan = cmd->plan;
  int64_t next_us = INT64_MAX;
  if (!plan) return;
  for (int i = 0; i < LNT__TIMEOUTS; i++)
    if (plan->due_us[i] < next_us) next_us = plan->due_us[i];
  if (next_us >= plan->armed_us) return;
  plan->armed_us = next_us;
  push_due(turn->engine, next_us, turn->run, cmd->seq, LNT__DUE_TIMEOUT);
}

/* ---- Coming due ---- */

/* Of an instance without its body only the row in the store says whether the timer still stands. */
static bool row_stands(lnt__engine *engine, const lnt__due *due) {
  uint8_t key[LNT__KEY_TIMER_BYTES];
  void *value = NULL;
  size_t size;
  lnt__key_timer(key, due->due_us, due->run, due->seq);
  lnt_status status = engine->store->vtable->get(engine->store, LNT__TABLE_TIMER, key, sizeof(key), &value, &size, NULL);
  lnt__free(value);
  return status == LNT_OK;
}

/* The time to start has come: the history says so with a fired timer of no command. */
static lnt_status fire_start(lnt__engine *engine, const lnt__due *due, lnt_error *err) {
  lnt__turn *turn = lnt__u64map_get(&engine->by_run, due->run);
  lnt_status status = LNT_OK;
  bool stands = turn && turn->loaded ? turn->sleeping && turn->start_us == due->due_us : row_stands(engine, due);
  if (stands && !turn) turn = lnt__instance_by_run(engine, due->run, &status, err);
  if (!stands || (!turn && status != LNT_ENOTFOUND)) return status;
  delete_row(engine, *due);
  if (!turn) return LNT_OK;
  turn->sleeping = false;
  lnt__event event = {.kind = LNT_EVENT_TIMER_FIRED};
  if (!lnt__instance_closed(turn)) lnt__accept(turn, &event);
  lnt__instance_release(turn);
  return LNT_OK;
}

static lnt_status fire_timer(lnt__engine *engine, const lnt__due *due, lnt_error *err) {
  if (due->seq == 0) return fire_start(engine, due, err);
  lnt__turn *turn = lnt__u64map_get(&engine->by_run, due->run);
  lnt__cmd *cmd = turn && turn->body ? lnt__cmd_find(turn, due->seq) : NULL;
  lnt_status status = LNT_OK;
  if (turn && turn->body && (!cmd || cmd->state != LNT__CMD_WAITING || cmd->due_us != due->due_us)) return LNT_OK;
  if (!cmd && !row_stands(engine, due)) return LNT_OK;
  if (!turn) turn = lnt__instance_by_run(engine, due->run, &status, err);
  if (!turn && status != LNT_ENOTFOUND) return status;
  if (!turn || lnt__instance_closed(turn)) {
    delete_row(engine, *due);
    if (turn) lnt__instance_release(turn);
    return LNT_OK;
  }
  lnt__event event = {.kind = LNT_EVENT_TIMER_FIRED, .seq = due->seq};
  lnt__accept(turn, &event);
  if (cmd && cmd->timer_new) {
    cmd->timer_new = false;
    turn->new_timers--;
  } else {
    delete_row(engine, *due);
  }
  if (cmd) lnt__cmd_set_state(turn, cmd, LNT__CMD_FIRED);
  return LNT_OK;
}

static void fire_retry(lnt__engine *engine, const lnt__due *due) {
  lnt__turn *turn = lnt__u64map_get(&engine->by_run, due->run);
  lnt__cmd *cmd = turn ? lnt__cmd_find(turn, due->seq) : NULL;
  if (!cmd || cmd->state != LNT__CMD_DELAYED || cmd->due_us != due->due_us) return;
  if (lnt__instance_held(turn)) {
    lnt__cmd_set_state(turn, cmd, LNT__CMD_QUEUED);
    return;
  }
  lnt__cmd_set_state(turn, cmd, LNT__CMD_DISPATCHED);
  engine->effects.dispatch(engine->effects.user, (lnt_token){turn->run, cmd->seq, cmd->attempt});
}

static void fire_timeout(lnt__engine *engine, const lnt__due *due) {
  lnt__turn *turn = lnt__u64map_get(&engine->by_run, due->run);
  lnt__cmd *cmd = turn ? lnt__cmd_find(turn, due->seq) : NULL;
  if (!cmd || !cmd->plan || cmd->plan->armed_us != due->due_us) return;
  cmd->plan->armed_us = INT64_MAX;
  lnt__attempt_due(turn, cmd);
}

/* The timeout of a deferred attempt: its instance may have to be loaded for it. */
static lnt_status fire_deferred(lnt__engine *engine, const lnt__due *due, lnt_error *err) {
  lnt__turn *turn = lnt__u64map_get(&engine->by_run, due->run);
  lnt_status status = LNT_OK;
  bool known = turn && turn->loaded;
  if (!known && !row_stands(engine, due)) return LNT_OK;
  if (!turn) turn = lnt__instance_by_run(engine, due->run, &status, err);
  if (!turn) return status == LNT_ENOTFOUND ? LNT_OK : status;
  if (!lnt__instance_closed(turn)) status = lnt__instance_load(turn, err);
  if (status == LNT_ECORRUPT) { /* its turn will say so */
    lnt__ready_retry(turn);
    return LNT_OK;
  }
  lnt__cmd *cmd = status == LNT_OK ? lnt__cmd_find(turn, due->seq) : NULL;
  if (cmd && cmd->state == LNT__CMD_DEFERRED && cmd->due_us == due->due_us) lnt__attempt_due(turn, cmd);
  lnt__instance_release(turn);
  return status;
}

/* ---- The horizon ---- */

static int take_row(void *user, lnt__slice key, lnt__slice value) {
  lnt__engine *engine = user;
  lnt__due due = lnt__key_timer_read(key.data);
  push_due(engine, due.due_us, due.run, due.seq, value.size ? LNT__DUE_DEFERRED : LNT__DUE_TIMER);
  return engine->poisoned;
}

static int saw_row(void *user, lnt__slice key, lnt__slice value) {
  (void)key;
  (void)value;
  *(bool *)user = true;
  return 1;
}

static int take_far(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  *(int64_t *)user = lnt__key_timer_read(key.data).due_us;
  return 1;
}

static lnt_status advance_horizon(lnt__engine *engine, lnt_error *err) {
  int64_t to_us = engine->now_us + HORIZON_US;
  uint8_t from[LNT__KEY_TIMER_BYTES], to[LNT__KEY_TIMER_BYTES];
  lnt__key_timer(from, engine->horizon_us, 0, 0);
  lnt__key_timer(to, to_us, 0, 0);
  lnt__slice edge = {to, sizeof(to)};
  lnt_status status =
      engine->store->vtable->scan(engine->store, LNT__TABLE_TIMER, (lnt__slice){from, sizeof(from)}, edge, false, take_row, engine, err);
  if (status != LNT_OK) return status;
  engine->horizon_us = to_us;
  engine->far_us = INT64_MAX;
  return engine->store->vtable->scan(engine->store, LNT__TABLE_TIMER, edge, (lnt__slice){0}, false, take_far, &engine->far_us, err);
}

lnt_status lnt__engine_fire(lnt__engine *engine, lnt_error *err) {
  lnt_status status = LNT_OK;
  lnt__due due;
  if (engine->now_us + HORIZON_US / 2 >= engine->horizon_us) status = advance_horizon(engine, err);
  while (status == LNT_OK && engine->heap.count && lnt__heap_peek(&engine->heap)->due_us <= engine->now_us &&
         lnt__heap_pop(&engine->heap, &due)) {
    if (due.tag == LNT__DUE_TIMER) status = fire_timer(engine, &due, err);
    else if (due.tag == LNT__DUE_RETRY) fire_retry(engine, &due);
    else if (due.tag == LNT__DUE_DEFERRED) status = fire_deferred(engine, &due, err);
    else fire_timeout(engine, &due);
  }
  return status;
}

/* Timers beyond the horizon come into the heap when it is time for the first of them. */
int64_t lnt__engine_next_due(const lnt__engine *engine) {
  const lnt__due *due = lnt__heap_peek(&engine->heap);
  return due && due->due_us < engine->far_us ? due->due_us : engine->far_us;
}

static int take_active(void *user, lnt__slice key, lnt__slice value) {
  lnt__engine *engine = user;
  uint64_t run = lnt__get_be64(key.data);
  LNT__PUSH(engine, engine->recover, run);
  bool full = value.size && lnt__get_be32(value.data) >= engine->limits.buffered_events_max; /* the limit may have been lower then */
  if (full && !lnt__u64map_put(&engine->full, run, engine)) lnt__poison(engine);
  return engine->poisoned;
}

static int take_newest(void *user, lnt__slice key, lnt__slice value) {
  lnt__row row;
  (void)key;
  if (lnt__row_read(value, &row)) *(int64_t *)user = row.created_us;
  return 1;
}

lnt_status lnt__engine_recover(lnt__engine *engine, int64_t now_us, lnt_error *err) {
  engine->now_us = now_us;
  engine->horizon_us = INT64_MIN;
  engine->last_created_us = INT64_MIN;
  lnt__slice all = {0};
  lnt__store *store = engine->store;
  lnt_status status = store->vtable->scan(store, LNT__TABLE_INSTANCE, all, all, true, take_newest, &engine->last_created_us, err);
  if (status == LNT_OK) status = store->vtable->scan(store, LNT__TABLE_ACTIVE, all, all, false, take_active, engine, err);
  if (status == LNT_OK) status = store->vtable->scan(store, LNT__TABLE_HEARTBEAT, all, all, false, saw_row, &engine->has_beats, err);
  return status == LNT_OK ? advance_horizon(engine, err) : status;
}
