/* turn.c - one turn of one instance: feed its body every event that waits, then close the turn, the instance, or stall it. */
#include <stdio.h>

#include "engine/internal.h"

void lnt__outcome_reset(lnt__outcome *outcome) {
  outcome->state = LNT__BODY_WAITING;
  outcome->heavy = false;
  outcome->error.code = LNT_OK;
  lnt__buf_clear(&outcome->value);
  lnt__buf_clear(&outcome->detail);
}

static void deliver(lnt__turn *turn, uint32_t seq, lnt__delivery_kind kind, lnt_value value) {
  lnt__engine *engine = turn->engine;
  lnt__delivery delivery = {.seq = seq, .kind = kind, .value = value, .order = turn->raised};
  lnt__cmd *cmd = lnt__cmd_find(turn, seq);
  lnt__cmd_remove(turn, cmd);
  engine->vm.deliver(engine->vm.vm, turn, turn->body, &delivery, &engine->outcome);
}

/* ---- One handler per kind of event ---- */

static void on_started(lnt__turn *turn, const lnt__event *event) {
  lnt__engine *engine = turn->engine;
  lnt__start_info start = {.workflow = turn->workflow, .hash = turn->hash, .input = event->value, .seed = event->seed,
                           .trace = turn->trace};
  if (!lnt__cbor_member(event->options, "attributes", &start.attributes)) start.attributes = LNT_VALUE_NIL;
  if (turn->status == LNT_RUN_PENDING) {
    turn->status = LNT_RUN_RUNNING;
    turn->row_dirty = true;
    lnt__mark_dirty(turn);
  }
  engine->vm.start(engine->vm.vm, turn, &start, &turn->body, &engine->outcome);
}

static void on_activity(lnt__turn *turn, const lnt__event *event) {
  lnt__cmd *cmd = lnt__cmd_find(turn, event->seq);
  if (!cmd || cmd->kind != LNT_EVENT_ACTIVITY_SCHEDULED) return;
  deliver(turn, event->seq, event->kind == LNT_EVENT_ACTIVITY_FAILED ? LNT__DELIVER_FAILURE : LNT__DELIVER_RESULT, event->value);
}

static void on_child(lnt__turn *turn, const lnt__event *event) {
  lnt__cmd *cmd = lnt__cmd_find(turn, event->seq);
  if (!cmd || cmd->kind != LNT_EVENT_CHILD_SCHEDULED) return;
  deliver(turn, event->seq, event->kind == LNT_EVENT_CHILD_FAILED ? LNT__DELIVER_FAILURE : LNT__DELIVER_RESULT, event->value);
}

static void child_timed_out(lnt__turn *turn, lnt__cmd *cmd) {
  lnt__buf failure;
  lnt__buf_init(&failure);
  lnt__child_timed_out(turn, cmd, &failure);
  deliver(turn, cmd->seq, LNT__DELIVER_FAILURE, (lnt_value){failure.data, failure.size});
  lnt__buf_finish(&failure);
}

static void on_fired(lnt__turn *turn, const lnt__event *event) {
  lnt__cmd *cmd = lnt__cmd_find(turn, event->seq);
  if (cmd && cmd->kind == LNT_EVENT_CHILD_SCHEDULED) {
    child_timed_out(turn, cmd);
    return;
  }
  if (!cmd || (cmd->kind != LNT_EVENT_TIMER_CREATED && cmd->kind != LNT_EVENT_EVENT_AWAITED)) return;
  deliver(turn, event->seq, LNT__DELIVER_FIRED, LNT_VALUE_NIL);
}

static void on_raised(lnt__turn *turn, const lnt__event *event) {
  lnt__cmd *cmd = lnt__waiter_for(turn, event->name);
  if (!cmd) {
    lnt__buffer_event(turn, event->name, event->value, turn->raised);
    return;
  }
  if (!turn->replaying && !turn->rehearsing) lnt__timer_disarm(turn, cmd);
  deliver(turn, cmd->seq, LNT__DELIVER_RESULT, event->value);
}

static void on_terminate(lnt__turn *turn, const lnt__event *event) {
  lnt__turn_close(turn, LNT_RUN_TERMINATED, LNT_EVENT_TERMINATED, event->value, LNT_VALUE_NIL);
}

/* Whether, and how, the body ends by it is for the body to say. */
static void on_cancel(lnt__turn *turn, const lnt__event *event) {
  lnt__engine *engine = turn->engine;
  lnt__delivery delivery = {.kind = LNT__DELIVER_CANCEL, .value = event->value};
  engine->vm.deliver(engine->vm.vm, turn, turn->body, &delivery, &engine->outcome);
}

/* It was accepted because there was a handler, and nothing ran since. */
static void on_update(lnt__turn *turn, const lnt__event *event) {
  lnt__engine *engine = turn->engine;
  lnt__accepted update = {event->name, event->value, event->id};
  if (engine->vm.update(engine->vm.vm, turn, turn->body, &update, &engine->outcome)) return;
  lnt__refuse(turn, LNT__REFUSAL_DIVERGED, "the history has an update '%.*s' that the code does not handle by then; was ctx:on_update "
              "moved?", (int)event->name.size, (const char *)event->name.data);
}

static void on_update_requested(lnt__turn *turn, const lnt__event *event) {
  if (lnt__update_admitted(turn, event)) on_update(turn, event);
}

static void on_forked(lnt__turn *turn, const lnt__event *event) {
  lnt__engine *engine = turn->engine;
  if (engine->vm.reseed) engine->vm.reseed(engine->vm.vm, turn->body, event->seed);
  if (!turn->replaying && !turn->rehearsing) lnt__fork_take_over(turn);
}

static void (*const HANDLERS[])(lnt__turn *, const lnt__event *) = {
    [LNT_EVENT_STARTED] = on_started,           [LNT_EVENT_ACTIVITY_COMPLETED] = on_activity,
    [LNT_EVENT_ACTIVITY_FAILED] = on_activity,  [LNT_EVENT_TIMER_FIRED] = on_fired,
    [LNT_EVENT_EVENT_RAISED] = on_raised,       [LNT_EVENT_TERMINATE_REQUESTED] = on_terminate,
    [LNT_EVENT_CHILD_COMPLETED] = on_child,     [LNT_EVENT_CHILD_FAILED] = on_child,
    [LNT_EVENT_CANCEL_REQUESTED] = on_cancel,   [LNT_EVENT_UPDATE_ACCEPTED] = on_update,
    [LNT_EVENT_FORKED] = on_forked,             [LNT_EVENT_UPDATE_REQUESTED] = on_update_requested,
};

void lnt__turn_feed(lnt__turn *turn, const lnt__event *event) { HANDLERS[event->kind](turn, event); }

/* ---- How a turn ends ---- */

static void settle(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  lnt__settled settled = {lnt__strdup(turn->id), turn->status};
  size_t count = lnt__open_commit(engine)->settled.count;
  if (settled.id) LNT__PUSH(engine, lnt__open_commit(engine)->settled, settled);
  else lnt__poison(engine);
  if (lnt__open_commit(engine)->settled.count == count) lnt__free(settled.id);
}

static void set_failure(lnt__turn *turn, lnt_value failure) {
  lnt__free(turn->failure);
  turn->failure = failure.size ? lnt__alloc(failure.size) : NULL;
  turn->failure_size = turn->failure ? failure.size : 0;
  if (failure.size && turn->failure) memcpy(turn->failure, failure.data, failure.size);
  turn->row_changed |= 1 << LNT__ROW_FAILURE;
  turn->row_dirty = true;
}

static void abandon_all(lnt__turn *turn) {
  for (size_t i = 0; i < turn->cmd_count; i++) {
    lnt__cmd *cmd = &turn->cmds[i];
    if (cmd->state == LNT__CMD_GONE) continue;
    lnt__timer_disarm(turn, cmd);
    if (cmd->kind == LNT_EVENT_CHILD_SCHEDULED && (cmd->state == LNT__CMD_WAITING || cmd->state == LNT__CMD_FIRED))
      lnt__child_let_go(turn, cmd, "its parent ended");
    lnt__attempt_abandon(turn, cmd, LNT_CANCEL_CLOSED);
  }
  lnt__cmds_clear(turn, false);
}

void lnt__turn_close(lnt__turn *turn, lnt_run_status status, lnt_event_kind kind, lnt_value value, lnt_value detail) {
  lnt__event event = {.kind = kind, .value = value, .detail = detail};
  lnt__emit(turn, &event);
  turn->status = status;
  turn->closed_us = turn->updated_us = turn->last_us;
  turn->row_dirty = true;
  bool over = status != LNT_RUN_CONTINUED_AS_NEW; /* the instance, not only this run of it */
  set_failure(turn, status == LNT_RUN_COMPLETED || !over ? LNT_VALUE_NIL : value);
  if (over) lnt__child_ended(turn, value);
  if (turn->sleeping) lnt__start_disarm(turn);
  abandon_all(turn);
  lnt__updates_abandon(turn);
  lnt__instance_drop_body(turn);
  lnt__buf_clear(&turn->inbox);
  turn->inbox_count = 0;
  turn->inbox_at = 0;
  turn->engine->stats.closed += over;
  if (over) settle(turn);
}

static void write_stall(lnt__turn *turn, const char *type, const char *message, lnt__buf *out) {
  lnt__buf details;
  lnt__buf_init(&details);
  if (turn->refusal == LNT__REFUSAL_DIVERGED) lnt__diagnose(turn, &details);
  lnt_failure failure = {type, message, 1, {details.data, details.size}};
  lnt__failure_write(out, &failure);
  if (details.failed) lnt__poison(turn->engine);
  lnt__buf_finish(&details);
}

/* Nothing is guessed around: the instance keeps its inbox, says why it stopped, and tries again when its code changes. What it did in
 * the turn that it did not finish stands: it has happened, also to others. The next try must do the same again. */
static void stall(lnt__turn *turn, const char *type, const char *message) {
  lnt__buf failure;
  lnt__buf_init(&failure);
  write_stall(turn, type, message, &failure);
  lnt_value value = {failure.data, failure.size};
  bool again = turn->status == LNT_RUN_STALLED && lnt__same_bytes(value, (lnt_value){turn->failure, turn->failure_size});
  lnt__timers_keep(turn);
  lnt__instance_drop_body(turn);
  turn->inbox_at = 0;
  turn->inbox_read_us = 0;
  turn->status = LNT_RUN_STALLED;
  if (!again) {
    lnt__event event = {.kind = LNT_EVENT_STALLED, .value = value};
    if (turn->refusal == LNT__REFUSAL_DIVERGED) event.detail = (lnt_value){turn->engine->trace.data, turn->engine->trace.size};
    lnt__emit(turn, &event);
    turn->updated_us = turn->last_us;
    set_failure(turn, value);
    turn->engine->stats.stalled++;
    settle(turn);
    if (turn->engine->effects.log) turn->engine->effects.log(turn->engine->effects.user, LNT_LOG_WARN, turn->id, message);
  }
  if (turn->dirty) turn->stall_batch = lnt__open_commit(turn->engine)->number;
  lnt__buf_finish(&failure);
}

static void fail_limit(lnt__turn *turn) {
  lnt__buf failure;
  lnt__buf_init(&failure);
  lnt__failure_text(&failure, "LimitExceeded", turn->engine->refusal, false);
  lnt__turn_close(turn, LNT_RUN_FAILED, LNT_EVENT_FAILED, (lnt_value){failure.data, failure.size}, LNT_VALUE_NIL);
  lnt__buf_finish(&failure);
}

static void resume_stalled(lnt__turn *turn) {
  if (turn->status != LNT_RUN_STALLED) return;
  lnt__event event = {.kind = LNT_EVENT_RESUMED};
  turn->status = LNT_RUN_RUNNING;
  lnt__emit(turn, &event);
  turn->updated_us = turn->last_us;
  set_failure(turn, LNT_VALUE_NIL);
}

static void finish_waiting(lnt__turn *turn) {
  resume_stalled(turn);
  if (turn->engine->outcome.heavy) turn->weigh = turn->evict = true;
  if (turn->inbox_count) {
    lnt__event event = {.kind = LNT_EVENT_TURN};
    lnt__emit(turn, &event);
    turn->has_turns = true;
    turn->inbox_count = 0;
    turn->inbox_at = 0;
    if (turn->pending_activities) lnt__buf_clear(&turn->inbox);
    else lnt__buf_finish(&turn->inbox); /* it may be parked for long */
  }
  lnt__instance_touch(turn);
}

/* A body that ended while its history goes on did not make what was recorded. What it has not been fed stays in its inbox. */
void lnt__refuse_early_end(lnt__turn *turn) {
  lnt__event event;
  size_t inbox_at = turn->inbox_at;
  int64_t inbox_read_us = turn->inbox_read_us;
  while (turn->replaying && turn->refusal == LNT__REFUSAL_NONE && lnt__next_event(turn, &event)) {
    if (!turn->replaying) break;
    lnt__diverged(turn, &turn->engine->replay.history.events[turn->engine->replay.inbox.items[turn->engine->replay.inbox_at - 1]],
                  turn->next_seq);
    lnt__refuse(turn, LNT__REFUSAL_DIVERGED, "the code ends where the recorded run went on (%s follows)", lnt_event_kind_name(event.kind));
  }
  turn->inbox_at = inbox_at;
  turn->inbox_read_us = inbox_read_us;
}

static void close_by(lnt__turn *turn, const lnt__outcome *outcome) {
  static const struct { lnt_run_status status; lnt_event_kind kind; } ends[] = {
      [LNT__BODY_COMPLETED] = {LNT_RUN_COMPLETED, LNT_EVENT_COMPLETED},
      [LNT__BODY_FAILED] = {LNT_RUN_FAILED, LNT_EVENT_FAILED},
      [LNT__BODY_CANCELED] = {LNT_RUN_CANCELED, LNT_EVENT_CANCELED},
  };
  lnt_value value = {outcome->value.data, outcome->value.size}, detail = {outcome->detail.data, outcome->detail.size};
  resume_stalled(turn);
  if (outcome->state == LNT__BODY_CONTINUED) lnt__continue_as_new(turn, value, outcome->carry_events);
  else lnt__turn_close(turn, ends[outcome->state].status, ends[outcome->state].kind, value, detail);
}

static const char *unavailable_type(lnt_status code) {
  return code == LNT_ETIMEOUT ? "TurnTimeout" : code == LNT_ENOMEM ? "OutOfMemory" : "CodeUnavailable";
}

static void finish(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  lnt__outcome *outcome = &engine->outcome;
  if (lnt__instance_closed(turn) || engine->poisoned) return;
  if (turn->replaying && outcome->state != LNT__BODY_UNAVAILABLE) lnt__refuse_early_end(turn);
  if (!turn->replaying) lnt__refuse_short(turn);
  lnt__rehearsal_end(turn);
  if (outcome->state == LNT__BODY_UNAVAILABLE) stall(turn, unavailable_type(outcome->error.code), outcome->error.message);
  else if (turn->refusal == LNT__REFUSAL_DIVERGED) stall(turn, "Diverged", engine->refusal);
  else if (turn->refusal == LNT__REFUSAL_LIMIT) fail_limit(turn);
  else if (outcome->state == LNT__BODY_WAITING) finish_waiting(turn);
  else close_by(turn, outcome);
}

void lnt__turn_execute(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  lnt__event event;
  turn->refusal = LNT__REFUSAL_NONE;
  lnt__outcome_reset(&engine->outcome);
  engine->current = turn;
  while (engine->outcome.state == LNT__BODY_WAITING && !lnt__instance_closed(turn) && lnt__next_event(turn, &event)) {
    lnt__turn_feed(turn, &event);
    if (!engine->late.size) continue;
    lnt__inbox_take_late(turn);
    lnt__rehearsal_void(turn);
  }
  engine->current = NULL;
  finish(turn);
  turn->replaying = false;
  turn->recorded = 0;
  turn->rebuilt = false;
}

void lnt__turn_replay_copy(lnt__turn *copy) {
  lnt__engine *engine = copy->engine;
  lnt__event event;
  lnt__outcome_reset(&engine->outcome);
  while (engine->outcome.state == LNT__BODY_WAITING && lnt__next_event(copy, &event) && event.kind != LNT_EVENT_TERMINATE_REQUESTED)
    HANDLERS[event.kind](copy, &event);
  copy->replaying = false;
}

/* Paranoid: a copy goes first. *kept: it made what is recorded; else the instance has stalled. */
static lnt_status rehearse(lnt__turn *turn, bool *kept, lnt_error *err) {
  *kept = true;
  if (!turn->engine->rehearsal) return LNT_OK;
  lnt_status status = lnt__instance_load(turn, err);
  if (status != LNT_OK || lnt__instance_held(turn)) return status;
  status = lnt__rehearse(turn, err);
  *kept = turn->refusal == LNT__REFUSAL_NONE;
  if (!*kept) stall(turn, "Diverged", turn->engine->refusal);
  return status;
}

/* It held too much when it was evicted; its commands and timers go as if it were terminated. */
static lnt_status fail_overweight(lnt__turn *turn, lnt_error *err) {
  lnt__buf failure;
  char text[300];
  lnt_status status = lnt__timers_forget(turn, err);
  if (status != LNT_OK) return status;
  LNT__MET(turn->engine->met, instance_memory_bytes_max);
  snprintf(text, sizeof(text), "the instance held %zu bytes of the workflow VM while it waited, more than instance_memory_bytes_max "
           "(%llu): keep less in variables, leave large values to activities, or continue as new", turn->overweight,
           (unsigned long long)turn->engine->limits.instance_memory_bytes_max);
  lnt__buf_init(&failure);
  lnt__failure_text(&failure, "OutOfMemory", text, false);
  lnt__turn_close(turn, LNT_RUN_FAILED, LNT_EVENT_FAILED, (lnt_value){failure.data, failure.size}, LNT_VALUE_NIL);
  lnt__buf_finish(&failure);
  return LNT_OK;
}

static bool asked_to_terminate(const lnt__turn *turn, lnt_value *why) {
  lnt__event event = {.kind = LNT_EVENT_STARTED};
  int64_t last_us = 0;
  lnt__reader reader = lnt__reader_of(turn->inbox.data, turn->inbox.size);
  while (turn->inbox_count && reader.at < reader.end && lnt__event_read(&reader, &last_us, &event)) {
    *why = event.value;
    if (event.kind == LNT_EVENT_TERMINATE_REQUESTED) return true;
  }
  return false;
}

static lnt_status run_turn(lnt__turn *turn, lnt_error *err) {
  bool kept;
  if (lnt__instance_closed(turn) || lnt__instance_held(turn)) return LNT_OK;
  if (turn->overweight && !turn->body) return fail_overweight(turn, err);
  if (!turn->body && turn->stall_batch > turn->engine->committed) {
    turn->retry = true;
    return LNT_OK;
  }
  lnt_status status = rehearse(turn, &kept, err);
  if (!kept) return status;
  if (status == LNT_OK && !turn->body) status = lnt__replay_begin(turn, err);
  if (status == LNT_ECORRUPT) {
    stall(turn, "Corrupt", err && err->message[0] ? err->message : "the history cannot be read");
    return LNT_OK;
  }
  if (status != LNT_OK) return status;
  if (lnt__instance_held(turn)) return LNT_OK; /* only its history told that it starts later */
  if (turn->inbox_count || turn->has_turns) lnt__turn_execute(turn);
  turn->engine->stats.turns++;
  return LNT_OK;
}

/* Who is to be terminated needs no code that fits: if its turn stalls before it comes to the request, it ends once the stall is durable. */
static lnt_status turn_of(lnt__turn *turn, lnt_error *err) {
  lnt_value why;
  bool tries = turn->tries, settled = turn->status == LNT_RUN_STALLED && !turn->body && turn->stall_batch <= turn->engine->committed;
  turn->tries = false;
  if (turn->status == LNT_RUN_STALLED && !tries) return LNT_OK; /* a question is no reason to go on */
  if (settled && asked_to_terminate(turn, &why)) {
    lnt_status status = lnt__timers_forget(turn, err);
    if (status == LNT_OK) lnt__turn_close(turn, LNT_RUN_TERMINATED, LNT_EVENT_TERMINATED, why, LNT_VALUE_NIL);
    return status;
  }
  lnt_status status = run_turn(turn, err);
  if (status != LNT_OK || turn->status != LNT_RUN_STALLED || !asked_to_terminate(turn, &why)) return status;
  if (turn->stall_batch > turn->engine->committed) turn->retry = true;
  else lnt__ready_retry(turn);
  return LNT_OK;
}

/* Take up one instance that was active when the store was last closed. */
static lnt_status recover_one(lnt__engine *engine, lnt_error *err) {
  lnt_status status = LNT_OK;
  uint64_t run = engine->recover.items[engine->recover_at++];
  if (engine->recover_at == engine->recover.count) engine->recover_at = engine->recover.count = 0;
  lnt__turn *turn = lnt__instance_by_run(engine, run, &status, err);
  if (!turn && status == LNT_ENOTFOUND) {
    lnt__sweep_later(engine, run);
    return LNT_OK;
  }
  if (!turn) return status;
  if (lnt__instance_closed(turn)) { /* a timer or a request came first, and it ended */
    lnt__instance_release(turn);
    return LNT_OK;
  }
  if (!turn->loaded) turn->active_durable = LNT__ACTIVE_YES; /* else it ran since, and a batch may have taken the row back */
  status = lnt__instance_load(turn, err);
  if (status == LNT_ECORRUPT) {
    stall(turn, "Corrupt", err && err->message[0] ? err->message : "the history cannot be read");
    return LNT_OK;
  }
  if (status != LNT_OK) return status;
  if (turn->inbox_count || turn->status == LNT_RUN_STALLED) lnt__ready_retry(turn);
  lnt__dispatch_queued(turn);
  lnt__instance_release(turn);
  return LNT_OK;
}

bool lnt__engine_turn(lnt__engine *engine, lnt_status *status, lnt_error *err) {
  *status = LNT_OK;
  if (engine->poisoned) {
    *status = lnt__fail(err, LNT_ENOMEM, "memory ran out; close the runtime and open it again");
    return false;
  }
  if (engine->answers.count) lnt__answers_tell(&engine->answers, LNT_OK);
  while (engine->recover_at < engine->recover.count && !engine->ready_head) {
    *status = recover_one(engine, err);
    if (*status != LNT_OK) return false;
  }
  lnt__turn *turn = lnt__ready_pop(engine);
  if (!turn) return false;
  *status = turn_of(turn, err);
  if (*status == LNT_OK) lnt__asks_answer(turn);
  if (*status != LNT_OK) lnt__ready_push(turn);
  else if (turn->evict && lnt__instance_clean(turn)) lnt__instance_evict(turn);
  if (*status == LNT_OK && !turn->body) lnt__instance_release(turn); /* it was there to be asked */
  lnt__instance_evict_over(engine);
  if (engine->answers.count) lnt__answers_tell(&engine->answers, LNT_OK);
  return *status == LNT_OK;
}

size_t lnt__engine_ready(const lnt__engine *engine) {
  return engine->ready_count + (engine->recover.count - engine->recover_at) + engine->answers.count;
}

void lnt__engine_retry_stalled(lnt__engine *engine, const char *workflow) {
  size_t at = 0;
  uint64_t run;
  void *value;
  while (lnt__u64map_next(&engine->by_run, &at, &run, &value)) {
    lnt__turn *turn = value;
    if (turn->status != LNT_RUN_STALLED || (workflow && strcmp(workflow, turn->workflow) != 0)) continue;
    lnt__ready_retry(turn);
  }
}
