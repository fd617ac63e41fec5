/* trial.c - would an instance go on with other code? Its durable history is replayed against the code in scratch, by an instance that
 * stands in no map and writes nothing. And the move to that code. Called by the driver between turns.
 *
 * A trial is made in steps: the history is read, laid out and replayed in pieces, and the turns of others may run between them. What it
 * replays stands in the place of the engine's scratch during a step.
 *
 * A history that diverges is replayed once more with the code that made it, to learn the line where the recorded call stands. One that fits
 * is replayed once more to learn whether it ran what the new code does not have any more. */
#include <stdio.h>

#include "engine/internal.h"

enum { OLD, NEW }; /* of the two codes */

struct lnt__try {
  lnt__engine *engine;
  lnt__trial *out;       /* of the one under way */
  bool (*phase)(lnt__try *t, lnt_status *status, lnt_error *err); /* false: the trial is over */
  lnt__turn model, copy; /* model: what every copy of the instance begins with */
  lnt__replay replay;    /* between steps */
  lnt__history_steps reading;
  uint8_t hash[LNT__SHA256_BYTES]; /* of the new code */
  lnt__changes changes;
  void *traces[2];
  lnt__buf patches;
  bool is_exported;      /* the run may be finished, and only its calls matter */
  uint32_t steps;
};

static bool is_busy(const lnt__turn *turn) { return !lnt__instance_clean(turn); }

/* ---- One replay, in pieces ---- */

static void drop_copy(lnt__try *t) {
  lnt__copy_finish(&t->copy);
  lnt__copy_init(&t->copy, &t->model);
}

static void begin_replay(lnt__try *t, const uint8_t *hash, void *trace) {
  memcpy(t->copy.hash, hash, LNT__SHA256_BYTES);
  t->copy.trace = trace;
  t->copy.in_steps = true;
  lnt__replay_copy_ready(&t->copy);
}

/* To the end of the recorded turns, or to where the code parts from them. false: there is more of it. */
static bool replay_on(lnt__try *t) {
  lnt__engine *engine = t->engine;
  lnt__turn *copy = &t->copy;
  lnt__event event;
  bool more = true;
  lnt__outcome_reset(&engine->outcome);
  copy->events_left = LNT__TRIAL_STEP_EVENTS;
  engine->current = copy;
  while (engine->outcome.state == LNT__BODY_WAITING && !lnt__replay_rests(copy) && (more = lnt__next_event(copy, &event)))
    lnt__turn_feed(copy, &event);
  engine->current = NULL;
  if (engine->outcome.state == LNT__BODY_WAITING && more) return false;
  if (copy->replaying && copy->refusal == LNT__REFUSAL_NONE && engine->outcome.state != LNT__BODY_UNAVAILABLE) lnt__refuse_early_end(copy);
  return true;
}

/* ---- A whole replay at once ---- */

/* To the end of the recorded turns, or to where the code parts from them. The history is in the engine's scratch afterwards. */
static lnt_status replay(lnt__turn *copy, lnt_error *err) {
  lnt__engine *engine = copy->engine;
  lnt__event event;
  lnt__outcome_reset(&engine->outcome);
  lnt_status status = lnt__replay_copy_begin(copy, err);
  if (status != LNT_OK || !copy->replaying) return status;
  engine->stats.replays--; /* nobody was rebuilt */
  engine->current = copy;
  while (engine->outcome.state == LNT__BODY_WAITING && lnt__next_event(copy, &event)) lnt__turn_feed(copy, &event);
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

/* ---- Phases ---- */

static bool replay_old(lnt__try *t, lnt_status *status, lnt_error *err) {
  lnt__divergence *d = &t->engine->divergence, *told = &t->out->divergence;
  bool diverges = t->out->state == LNT__TRIAL_DIVERGES;
  (void)status, (void)err;
  memset(d, 0, sizeof(*d));
  t->engine->probe_seq = diverges ? told->seq : 0;
  bool over = replay_on(t);
  t->engine->probe_seq = 0;
  if (diverges) memcpy(told->was_at, d->was_at, sizeof(told->was_at));
  return !over && !(diverges && told->was_at[0]);
}

static bool met(lnt__try *t, int side) {
  const lnt__vm *vm = &t->engine->vm;
  return t->traces[side] && vm->met(vm->vm, t->traces[side]);
}

static void keep_patches(lnt__try *t) {
  lnt__buf_append(&t->patches, t->copy.patches.data, t->copy.patches.size);
  if (!t->patches.failed) t->out->patches = (lnt_value){t->patches.data, t->patches.size};
}

static bool replay_new(lnt__try *t, lnt_status *status, lnt_error *err) {
  lnt__engine *engine = t->engine;
  lnt__trial *out = t->out;
  (void)status, (void)err;
  if (!replay_on(t)) return true;
  if (engine->outcome.state == LNT__BODY_UNAVAILABLE) {
    out->state = LNT__TRIAL_UNAVAILABLE;
    snprintf(out->message, sizeof(out->message), "%s", engine->outcome.error.message);
  } else if (t->copy.refusal != LNT__REFUSAL_NONE) {
    out->state = LNT__TRIAL_DIVERGES;
    out->divergence = engine->divergence;
    snprintf(out->message, sizeof(out->message), "%s", engine->refusal);
  } else {
    out->state = LNT__TRIAL_COMPATIBLE;
    keep_patches(t);
  }
  bool looks_for_line = out->state == LNT__TRIAL_DIVERGES && out->divergence.event && engine->vm.where &&
                        memcmp(t->model.hash, t->hash, LNT__SHA256_BYTES) != 0;
  bool looks_for_change = out->state == LNT__TRIAL_COMPATIBLE && t->changes == LNT__CHANGES_SOME && !met(t, NEW);
  drop_copy(t);
  if (!looks_for_line && !(looks_for_change && t->traces[OLD])) return false;
  begin_replay(t, t->model.hash, looks_for_change ? t->traces[OLD] : NULL);
  t->phase = replay_old;
  return true;
}

static bool index_history(lnt__try *t, lnt_status *status, lnt_error *err) {
  lnt__engine *engine = t->engine;
  lnt__trial *out = t->out;
  if (!lnt__replay_index(&t->model, LNT__HISTORY_STEP_EVENTS)) return true;
  lnt__replay_mark_end(engine);
  begin_replay(t, t->hash, t->traces[NEW]);
  if (t->copy.replaying) {
    t->phase = replay_new;
    return true;
  }
  lnt_error why;
  *status = engine->vm.defines ? engine->vm.defines(engine->vm.vm, t->hash, out->workflow, &why) : LNT_OK;
  out->state = *status ? LNT__TRIAL_UNAVAILABLE : LNT__TRIAL_COMPATIBLE;
  if (*status) snprintf(out->message, sizeof(out->message), "%s", why.message);
  if (*status == LNT_ENOMEM) lnt__fail(err, *status, "%s", why.message);
  else *status = LNT_OK;
  return false;
}

static bool read_history(lnt__try *t, lnt_status *status, lnt_error *err) {
  bool more;
  lnt__replay *replay = &t->engine->replay;
  *status = lnt__journal_history_step(t->engine->store, &replay->history, &t->reading, &more, err);
  if (*status) return false;
  if (more) return true;
  t->out->events = replay->history.count;
  t->out->records = replay->history.records;
  lnt__replay_index_begin(replay);
  t->phase = index_history;
  return true;
}

/* ---- A trial from its beginning to its end ---- */

lnt__try *lnt__try_create(lnt__engine *engine) {
  lnt__try *t = lnt__calloc(1, sizeof(*t));
  if (!t) return NULL;
  t->engine = engine;
  lnt__history_init(&t->replay.history);
  lnt__buf_init(&t->patches);
  return t;
}

static void clear(lnt__try *t) {
  const lnt__vm *vm = &t->engine->vm;
  if (!t->phase) return;
  drop_copy(t);
  for (int side = OLD; side <= NEW; side++)
    if (t->traces[side]) vm->untrace(vm->vm, t->traces[side]);
  t->traces[OLD] = t->traces[NEW] = NULL;
  t->phase = NULL;
}

void lnt__try_destroy(lnt__try *t) {
  if (!t) return;
  clear(t);
  lnt__replay_finish(&t->replay);
  lnt__buf_finish(&t->patches);
  lnt__free(t);
}

static void lend(lnt__try *t) {
  lnt__replay mine = t->replay;
  t->replay = t->engine->replay;
  t->engine->replay = mine;
}

static void begin(lnt__try *t, const lnt__turn *turn) {
  const lnt__vm *vm = &t->engine->vm;
  lnt__trial *out = t->out;
  snprintf(out->workflow, sizeof(out->workflow), "%s", turn->workflow);
  out->status = turn->status;
  memcpy(out->hash, turn->hash, LNT__SHA256_BYTES);
  lnt__copy_init(&t->model, turn);
  t->model.id = out->id;
  t->model.workflow = out->workflow;
  lnt__copy_init(&t->copy, &t->model);
  if (vm->compare && !t->is_exported) t->changes = vm->compare(vm->vm, turn->hash, t->hash, t->traces);
  lnt__journal_history_begin(&t->replay.history, &t->reading, turn->run);
  t->phase = read_history;
}

lnt_status lnt__try_begin(lnt__try *t, uint64_t run, const uint8_t *hash, lnt__trial *out, lnt_error *err) {
  lnt_status status = LNT_OK;
  clear(t);
  memset(out, 0, sizeof(*out));
  out->state = LNT__TRIAL_OVER;
  t->out = out;
  t->steps = 0;
  t->changes = LNT__CHANGES_UNKNOWN;
  memcpy(t->hash, hash, LNT__SHA256_BYTES);
  lnt__buf_clear(&t->patches);
  lnt__turn *turn = lnt__instance_by_run(t->engine, run, &status, err);
  if (!turn) return status == LNT_ENOTFOUND ? LNT_OK : status;
  snprintf(out->id, sizeof(out->id), "%s", turn->id);
  if (is_busy(turn)) {
    out->state = LNT__TRIAL_BUSY;
    return LNT_OK;
  }
  if (!lnt__instance_closed(turn)) begin(t, turn);
  lnt__instance_release(turn);
  return LNT_OK;
}

/* It took so long that its instance may be gone meanwhile. */
static lnt_status look_again(lnt__try *t, lnt_error *err) {
  lnt_status status = LNT_OK;
  lnt__turn *turn = lnt__instance_by_run(t->engine, t->model.run, &status, err);
  bool gone = turn ? lnt__instance_closed(turn) || turn->purging : status == LNT_ENOTFOUND;
  if (gone) t->out->state = LNT__TRIAL_OVER;
  if (turn) lnt__instance_release(turn);
  return gone ? LNT_OK : status;
}

/* Did it run anything that differs? What runs nothing at all did not; where nobody can tell, it did. */
static bool has_reached(lnt__try *t) {
  bool ran = t->phase != index_history;
  if (t->changes == LNT__CHANGES_NONE || !ran) return ran;
  return t->changes == LNT__CHANGES_UNKNOWN || met(t, OLD) || met(t, NEW);
}

lnt_status lnt__try_step(lnt__try *t, bool *more, lnt_error *err) {
  lnt_status status = LNT_OK;
  *more = false;
  if (!t->phase) return LNT_OK;
  lend(t);
  *more = t->phase(t, &status, err) && !status && !t->engine->poisoned;
  lend(t);
  if (!status && t->engine->poisoned) status = lnt__fail(err, LNT_ENOMEM, "out of memory while other code was tried");
  t->steps++;
  if (*more) return LNT_OK;
  if (!status && t->steps > LNT__TRIAL_STEPS_SHORT && !t->is_exported) status = look_again(t, err);
  if (t->out->state == LNT__TRIAL_COMPATIBLE) t->out->has_reached = has_reached(t);
  clear(t);
  return status;
}

lnt_status lnt__engine_try(lnt__engine *engine, uint64_t run, const uint8_t *hash, lnt__trial *out, lnt_error *err) {
  lnt__try *t = lnt__try_create(engine);
  if (!t) return lnt__fail(err, LNT_ENOMEM, "out of memory while other code was tried");
  bool more = true;
  lnt_status status = lnt__try_begin(t, run, hash, out, err);
  while (!status && more) status = lnt__try_step(t, &more, err);
  out->patches = LNT_VALUE_NIL; /* they go with the memory */
  lnt__try_destroy(t);
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

static lnt_status replay_exported(lnt__try *t, const lnt__turn *turn, const uint8_t *hash, lnt__trial *out, lnt_error *err) {
  bool more = true;
  lnt_status status = LNT_OK;
  t->out = out;
  t->is_exported = true;
  memcpy(t->hash, hash ? hash : turn->hash, LNT__SHA256_BYTES);
  snprintf(out->id, sizeof(out->id), "%s", turn->id);
  lnt__outcome_reset(&t->engine->outcome);
  begin(t, turn);
  while (!status && more) status = lnt__try_step(t, &more, err);
  return status;
}

lnt_status lnt__engine_replay(lnt__engine *engine, uint64_t run, const uint8_t *hash, lnt__trial *out, lnt__ending *ending,
                              lnt_error *err) {
  lnt_status status = LNT_OK;
  memset(out, 0, sizeof(*out));
  lnt__turn *turn = lnt__instance_by_run(engine, run, &status, err);
  if (!turn) return status;
  lnt__try *t = lnt__try_create(engine);
  status = t ? replay_exported(t, turn, hash, out, err) : lnt__fail(err, LNT_ENOMEM, "out of memory while a history was replayed");
  ending->state = out->state == LNT__TRIAL_COMPATIBLE ? engine->outcome.state : LNT__BODY_REFUSED;
  lnt__buf_clear(&ending->value);
  if (status == LNT_OK && out->state == LNT__TRIAL_COMPATIBLE) {
    lend(t);
    compare_end(engine, out);
    lend(t);
    lnt__buf_append(&ending->value, engine->outcome.value.data, engine->outcome.value.size);
    if (ending->value.failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while a history was replayed");
  }
  out->patches = LNT_VALUE_NIL;
  lnt__try_destroy(t);
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
  engine->moves++;
  turn->row_dirty = true;
  lnt__emit(turn, &event);
  if (turn->status == LNT_RUN_STALLED || turn->inbox_count) lnt__ready_retry(turn);
  return LNT_OK;
}
