/* manage.c - requests that hold an instance, let it go on, or end it on the spot. Called by the driver between turns. */
#include "engine/internal.h"

/* The reason as a value: text, or nil. */
static lnt_value reason_value(lnt__buf *out, const char *reason) {
  lnt__buf_init(out);
  if (reason) lnt__cbor_cstring(out, reason);
  return (lnt_value){out->data, out->size};
}

static void note(lnt__turn *turn, lnt_event_kind kind, const char *reason, lnt_run_status status) {
  lnt__buf text;
  lnt__event event = {.kind = kind, .value = reason_value(&text, reason)};
  if (text.failed) lnt__poison(turn->engine);
  lnt__emit(turn, &event);
  lnt__buf_finish(&text);
  turn->status = status;
  turn->updated_us = turn->last_us;
  turn->row_dirty = true;
}

lnt_status lnt__engine_suspend(lnt__engine *engine, const char *id, const char *reason, lnt_done_fn done, void *done_user,
                               lnt_error *err) {
  lnt_status status;
  lnt__turn *turn = lnt__find_open(engine, id, &status, err);
  if (!turn) return status;
  status = lnt__instance_load(turn, err);
  if (status != LNT_OK) return status;
  lnt__updates_hold(turn);
  if (turn->status != LNT_RUN_SUSPENDED) note(turn, LNT_EVENT_SUSPENDED, reason, LNT_RUN_SUSPENDED);
  lnt__push_done(engine, done, done_user);
  lnt__instance_release(turn);
  return LNT_OK;
}

/* What it was before: only a stalled instance has a failure without being finished. */
static lnt_run_status held_status(const lnt__turn *turn) {
  if (turn->failure_size) return LNT_RUN_STALLED;
  return turn->has_turns ? LNT_RUN_RUNNING : LNT_RUN_PENDING;
}

/* Attempts may begin when the batch that lets the instance go on is durable. */
static void queue_with_batch(lnt__turn *turn) {
  for (size_t i = 0; i < turn->cmd_count; i++) {
    lnt__cmd *cmd = &turn->cmds[i];
    if (cmd->state == LNT__CMD_QUEUED) cmd->batch = lnt__open_commit(turn->engine)->number;
    if (cmd->state >= LNT__CMD_QUEUED && cmd->state <= LNT__CMD_DISPATCHED) lnt__plan_resume(turn, cmd);
  }
}

lnt_status lnt__engine_resume(lnt__engine *engine, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err) {
  lnt_status status;
  lnt__turn *turn = lnt__find_open(engine, id, &status, err);
  if (!turn) return status;
  status = lnt__instance_load(turn, err);
  if (status != LNT_OK) return status;
  if (turn->status == LNT_RUN_SUSPENDED) {
    note(turn, LNT_EVENT_UNSUSPENDED, reason, held_status(turn));
    queue_with_batch(turn);
    if (turn->inbox_count || lnt__asks_wait(turn)) lnt__ready_push(turn);
  }
  if (turn->status == LNT_RUN_STALLED) lnt__ready_retry(turn);
  lnt__push_done(engine, done, done_user);
  lnt__instance_release(turn);
  return LNT_OK;
}

lnt_status lnt__terminate_now(lnt__turn *turn, const char *reason, lnt_error *err) {
  lnt_status status = lnt__instance_load(turn, err);
  if (status == LNT_OK) status = lnt__timers_forget(turn, err);
  if (status != LNT_OK) return status;
  lnt__buf value;
  lnt__buf_init(&value);
  lnt__failure_text(&value, "Terminated", reason, false);
  lnt__event event = {.kind = LNT_EVENT_TERMINATE_REQUESTED, .value = {value.data, value.size}};
  if (value.failed) lnt__poison(turn->engine);
  lnt__emit(turn, &event);
  lnt__turn_close(turn, LNT_RUN_TERMINATED, LNT_EVENT_TERMINATED, event.value, LNT_VALUE_NIL);
  lnt__buf_finish(&value);
  return LNT_OK;
}
