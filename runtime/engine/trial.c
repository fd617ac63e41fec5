/* trial.c - would an instance go on with other code? Its durable history is replayed against the code in scratch, by an instance that
 * stands in no map and writes nothing. And the move to that code. Called by the driver between turns.
 *
 * A history that diverges is replayed once more, with the code that made it, to learn the line where the recorded call stands. */
#include <stdio.h>

#include "engine/internal.h"

static bool is_busy(const lnt__turn *turn) { return !lnt__instance_clean(turn); }

/* Replay to the end of the recorded turns, or to where the code parts from them. The history is in the engine's scratch afterwards. */
static lnt_status replay(lnt__turn *copy, lnt_error *err) {
  lnt__engine *engine = copy->engine;
  lnt__event event;
  lnt__outcome_reset(&engine->outcome);
  lnt_status status = lnt__replay_copy_begin(copy, err);
  if (status != LNT_OK || !copy->replaying) return status;
  engine->stats.replays--; /* nobody was rebuilt */
  engine->current = copy;
  while (engine->outcome.state == LNT__BODY_WAITING && lnt__next_event(copy, &event)) lnt__turn_feed(copy, &event);
  if (copy->replaying && copy->refusal == LNT__REFUSAL_NONE && engine->outcome.state != LNT__BODY_UNAVAILABLE) lnt__refuse_early_end(copy);
  engine->current = NULL;
  return engine->poisoned ? lnt__fail(err, LNT_ENOMEM, "out of memory while other code was tried") : LNT_OK;
}

lnt_status lnt__find_line(const lnt__turn *turn, const uint8_t *hash, uint32_t seq, char *out, size_t size, lnt_error *err) {
  lnt__engine *engine = turn->engine;
  lnt__turn copy;
  if (!engine->vm.where) return LNT_OK;
  lnt__copy_init(&copy, turn);
  memcpy(copy.hash, hash, LNT__SHA256_BYTES);
  memset(&engine->divergence, 0, sizeof(engine->divergence));
  engine->probe_seq = seq;
  lnt_status status = replay(&copy, err);
  engine->probe_seq = 0;
  snprintf(out, size, "%s", engine->divergence.was_at);
  lnt__copy_finish(&copy);
  return status;
}

static lnt_status judge(const lnt__turn *turn, const uint8_t *hash, lnt__trial *out, lnt_error *err) {
  lnt__engine *engine = turn->engine;
  lnt__turn copy;
  lnt__copy_init(&copy, turn);
  memcpy(copy.hash, hash, LNT__SHA256_BYTES);
  lnt_status status = replay(&copy, err);
  out->events = engine->replay.history.count;
  out->records = engine->replay.history.records;
  if (status == LNT_OK && engine->outcome.state == LNT__BODY_UNAVAILABLE) {
    out->state = LNT__TRIAL_UNAVAILABLE;
    snprintf(out->message, sizeof(out->message), "%s", engine->outcome.error.message);
  } else if (status == LNT_OK && copy.refusal != LNT__REFUSAL_NONE) {
    out->state = LNT__TRIAL_DIVERGES;
    out->divergence = engine->divergence;
    snprintf(out->message, sizeof(out->message), "%s", engine->refusal);
  }
  lnt__copy_finish(&copy);
  lnt__divergence *d = &out->divergence;
  bool told = out->state == LNT__TRIAL_DIVERGES && d->event && memcmp(turn->hash, hash, LNT__SHA256_BYTES) != 0;
  return status == LNT_OK && told ? lnt__find_line(turn, turn->hash, d->seq, d->was_at, sizeof(d->was_at), err) : status;
}

lnt_status lnt__engine_try(lnt__engine *engine, uint64_t run, const uint8_t *hash, lnt__trial *out, lnt_error *err) {
  lnt_status status = LNT_OK;
  memset(out, 0, sizeof(*out));
  out->state = LNT__TRIAL_OVER;
  lnt__turn *turn = lnt__instance_by_run(engine, run, &status, err);
  if (!turn) return status == LNT_ENOTFOUND ? LNT_OK : status;
  snprintf(out->id, sizeof(out->id), "%s", turn->id);
  if (is_busy(turn)) {
    out->state = LNT__TRIAL_BUSY;
    return LNT_OK;
  }
  if (!lnt__instance_closed(turn)) {
    out->state = LNT__TRIAL_COMPATIBLE;
    status = judge(turn, hash, out, err);
  }
  lnt__instance_release(turn);
  return status;
}

/* ---- Replays of what was exported ---- */

static lnt__body_state state_of(lnt_event_kind end) {
  if (end == LNT_EVENT_COMPLETED) return LNT__BODY_COMPLETED;
  if (end == LNT_EVENT_CANCELED) return LNT__BODY_CANCELED;
  return end == LNT_EVENT_CONTINUED_AS_NEW ? LNT__BODY_CONTINUED : LNT__BODY_FAILED;
}

static void end_text(lnt__body_state state, lnt_value value, char *out, size_t size) {
  static const char *const verbs[] = {[LNT__BODY_WAITING] = "wait", [LNT__BODY_COMPLETED] = "return", [LNT__BODY_FAILED] = "fail with",
                                      [LNT__BODY_CANCELED] = "end canceled with", [LNT__BODY_CONTINUED] = "continue as new with"};
  char brief[200] = "";
  if (state != LNT__BODY_WAITING) lnt__cbor_brief(value, brief, sizeof(brief));
  snprintf(out, size, "%s%s%s", verbs[state], brief[0] ? " " : "", brief);
}

/* Texts of failures name lines, which may move: only their types are compared. */
static bool same_end(lnt__body_state state, lnt_value recorded, lnt_value made) {
  size_t recorded_size = 0, made_size = 0;
  const char *a = recorded.data, *b = made.data;
  if (state == LNT__BODY_FAILED || state == LNT__BODY_CANCELED) {
    a = lnt__cbor_member_string(recorded, "type", &recorded_size);
    b = lnt__cbor_member_string(made, "type", &made_size);
  } else {
    recorded_size = recorded.size;
    made_size = made.size;
  }
  return recorded_size == made_size && (recorded_size == 0 || memcmp(a, b, recorded_size) == 0);
}

static void compare_end(lnt__engine *engine, lnt__trial *out) {
  const lnt__history *history = &engine->replay.history;
  lnt_value made = {engine->outcome.value.data, engine->outcome.value.size};
  if (!lnt__history_ends_by_itself(history)) return;
  const lnt__event *end = &history->events[history->count - 1];
  lnt__body_state recorded = state_of(end->kind);
  if (engine->outcome.state == recorded && same_end(recorded, end->value, made)) return;
  lnt__divergence *d = &out->divergence;
  memset(d, 0, sizeof(*d));
  d->event = history->count;
  d->recorded_us = end->time_us;
  end_text(recorded, end->value, d->recorded, sizeof(d->recorded));
  end_text(engine->outcome.state, made, d->wanted, sizeof(d->wanted));
  if (recorded == engine->outcome.state) lnt__cbor_diff(end->value, made, "value", d->difference, sizeof(d->difference));
  out->state = LNT__TRIAL_DIVERGES;
  snprintf(out->message, sizeof(out->message), "event %llu of the history is its end, %s; the code comes to another: %s%s%s",
           (unsigned long long)d->event, d->recorded, d->wanted, d->difference[0] ? "; first difference: " : "", d->difference);
}

lnt_status lnt__engine_replay(lnt__engine *engine, uint64_t run, const uint8_t *hash, lnt__trial *out, lnt__ending *ending,
                              lnt_error *err) {
  lnt_status status = LNT_OK;
  memset(out, 0, sizeof(*out));
  lnt__turn *turn = lnt__instance_by_run(engine, run, &status, err);
  if (!turn) return status;
  out->state = LNT__TRIAL_COMPATIBLE;
  out->status = turn->status;
  snprintf(out->id, sizeof(out->id), "%s", turn->id);
  snprintf(out->workflow, sizeof(out->workflow), "%s", turn->workflow);
  memcpy(out->hash, turn->hash, LNT__SHA256_BYTES);
  status = judge(turn, hash ? hash : turn->hash, out, err);
  ending->state = out->state == LNT__TRIAL_COMPATIBLE ? engine->outcome.state : LNT__BODY_REFUSED;
  lnt__buf_clear(&ending->value);
  if (status == LNT_OK && out->state == LNT__TRIAL_COMPATIBLE) {
    compare_end(engine, out);
    lnt__buf_append(&ending->value, engine->outcome.value.data, engine->outcome.value.size);
    if (ending->value.failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while a history was replayed");
  }
  lnt__instance_release(turn);
  return status;
}

/* ---- Moves ---- */

lnt_status lnt__engine_move(lnt__engine *engine, uint64_t run, const uint8_t *hash, lnt_error *err) {
  lnt_status status = LNT_OK;
  lnt__turn *turn = lnt__instance_by_run(engine, run, &status, err);
  if (!turn) return status;
  if (lnt__instance_closed(turn)) {
    lnt__instance_release(turn);
    return lnt__fail(err, LNT_ECLOSED, "the instance is finished; it needs no other code");
  }
  if (is_busy(turn)) return lnt__fail(err, LNT_EAGAIN, "something of instance '%s' is not durable yet; move it after the commit", turn->id);
  lnt__event event = {.kind = LNT_EVENT_CODE_CHANGED, .hash = {hash, LNT__SHA256_BYTES},
                      .engine = {engine->fingerprint, strlen(engine->fingerprint)}};
  lnt__instance_drop_body(turn);
  memcpy(turn->hash, hash, LNT__SHA256_BYTES);
  turn->row_dirty = true;
  lnt__emit(turn, &event);
  if (turn->status == LNT_RUN_STALLED || turn->inbox_count) lnt__ready_retry(turn);
  return LNT_OK;
}
