/* command.c - the calls a body makes during a turn: matched with the recorded history, or new. Called by the VM. */
#include <stdio.h>

#include "engine/internal.h"

enum { DIFFERENCES_MAX = 8 };

/* ---- Matching with the history ---- */

void lnt__divergence_place(lnt__turn *turn, bool called) {
  lnt__engine *engine = turn->engine;
  lnt__divergence *d = &engine->divergence;
  if (called && engine->vm.where) engine->vm.where(engine->vm.vm, turn, d->at, sizeof(d->at));
  if (called && engine->vm.trace) engine->vm.trace(engine->vm.vm, turn, &engine->trace);
}

void lnt__divergence_values(lnt__divergence *d, lnt_value recorded, lnt_value made, const char *what) {
  lnt__cbor_diff(recorded, made, what, d->difference, sizeof(d->difference));
  lnt__cbor_diffs(recorded, made, what, DIFFERENCES_MAX, d->differences, sizeof(d->differences));
}

static void place_of_call(lnt__turn *turn, const lnt__command *command, lnt__divergence *out) {
  lnt__command_text(command->kind, command->name, command->input, command->id, out->wanted, sizeof(out->wanted));
  lnt__divergence_place(turn, true);
  if (!out->at[0]) snprintf(out->at, sizeof(out->at), "an unknown line");
}

/* The first one of what two calls of the same name have. */
static void first_difference(const lnt__event *recorded, const lnt__command *command, lnt__divergence *out) {
  lnt__divergence_values(out, recorded->value, command->input, "input");
  if (out->difference[0] || !command->id.size || lnt__same_bytes(recorded->id, command->id)) return;
  snprintf(out->difference, sizeof(out->difference), "id: \"%.*s\" vs \"%.*s\"", (int)recorded->id.size, (const char *)recorded->id.data,
           (int)command->id.size, (const char *)command->id.data);
}

static void refuse_different(lnt__turn *turn, const lnt__event *recorded, const lnt__command *command, uint32_t seq) {
  lnt__divergence *d = lnt__diverged(turn, recorded, seq);
  place_of_call(turn, command, d);
  if (recorded->kind == command->kind && lnt__name_equal(recorded->name, command->name)) first_difference(recorded, command, d);
  lnt__refuse(turn, LNT__REFUSAL_DIVERGED, "event %llu of the history records command %u as %s; the code now makes %s at %s%s%s",
              (unsigned long long)d->event, seq, d->recorded, d->wanted, d->at, d->difference[0] ? "; first difference: " : "",
              d->difference);
}

static void refuse_unrecorded(lnt__turn *turn, const lnt__command *command, uint32_t seq) {
  lnt__divergence *d = lnt__diverged(turn, NULL, seq);
  place_of_call(turn, command, d);
  lnt__refuse(turn, LNT__REFUSAL_DIVERGED, "the code makes command %u, %s at %s, where the recorded run made no call", seq, d->wanted,
              d->at);
}

/* What a command must have in common with the recorded one of its number. A side effect makes another value in every process; a timer
 * is due by the clock of its first run. */
enum { SAME_NAME = 1, SAME_NAME_FOLDED = 2, SAME_INPUT = 4, SAME_ID = 8 };
static const uint8_t COMPARED[] = {
    [LNT_EVENT_ACTIVITY_SCHEDULED] = SAME_NAME | SAME_INPUT,
    [LNT_EVENT_TIMER_CREATED] = 0,
    [LNT_EVENT_EVENT_AWAITED] = SAME_NAME_FOLDED,
    [LNT_EVENT_CHILD_SCHEDULED] = SAME_NAME | SAME_INPUT | SAME_ID,
    [LNT_EVENT_DETACHED_STARTED] = SAME_NAME | SAME_INPUT | SAME_ID,
    [LNT_EVENT_EVENT_SENT] = SAME_NAME_FOLDED | SAME_INPUT | SAME_ID,
    [LNT_EVENT_SIDE_EFFECT] = 0,
    [LNT_EVENT_EMITTED] = SAME_NAME | SAME_INPUT,
    [LNT_EVENT_PATCHED] = SAME_NAME,
    [LNT_EVENT_CONTINUE_ADVISED] = 0,
};

/* An id that the author left to the engine is whatever was recorded. What was copied from another instance may tell of that one's id. */
static bool agrees(const lnt__event *recorded, const lnt__command *command, bool is_copy) {
  if (recorded->kind != command->kind) return false;
  uint8_t compared = COMPARED[command->kind];
  if (is_copy) compared &= SAME_NAME | SAME_NAME_FOLDED;
  if ((compared & SAME_NAME) && !lnt__same_bytes(recorded->name, command->name)) return false;
  if ((compared & SAME_NAME_FOLDED) && !lnt__name_equal(recorded->name, command->name)) return false;
  if ((compared & SAME_INPUT) && !lnt__same_bytes(recorded->value, command->input)) return false;
  return !(compared & SAME_ID) || command->id.size == 0 || lnt__same_bytes(recorded->id, command->id);
}

/* The event of an instant command holds its answer: a failure in `options`, else what the kind gives back. */
static lnt__command_state instant_answer(lnt__turn *turn, const lnt__event *event, lnt__delivery *answer) {
  lnt__buf *instant = &turn->engine->instant;
  *answer = (lnt__delivery){.seq = event->seq, .kind = LNT__DELIVER_RESULT};
  if (event->options.size) {
    answer->kind = LNT__DELIVER_FAILURE;
    answer->value = event->options;
  } else if (event->kind == LNT_EVENT_SIDE_EFFECT) {
    answer->value = event->value;
  } else if (event->kind == LNT_EVENT_DETACHED_STARTED) {
    lnt__buf_clear(instant);
    lnt__cbor_string(instant, event->id.data, event->id.size);
    if (instant->failed) lnt__poison(turn->engine);
    answer->value = (lnt_value){instant->data, instant->size};
  }
  return LNT__COMMAND_ANSWERED;
}

static void delivery_of(const lnt__event *event, lnt__delivery *out, uint32_t seq) {
  *out = (lnt__delivery){.seq = seq, .kind = LNT__DELIVER_RESULT, .value = event->value};
  if (event->kind == LNT_EVENT_ACTIVITY_FAILED || event->kind == LNT_EVENT_CHILD_FAILED) out->kind = LNT__DELIVER_FAILURE;
  if (event->kind == LNT_EVENT_TIMER_FIRED) out->kind = LNT__DELIVER_FIRED;
}

/* Is the next event of the history the answer to this very command? Then nobody can tell an answer in place from a delivery. */
static bool answers(lnt__turn *turn, const lnt__event *next, const lnt__command *command, uint32_t seq) {
  if (!next) return false;
  if (next->kind == LNT_EVENT_EVENT_RAISED)
    return command->kind == LNT_EVENT_EVENT_AWAITED && lnt__name_equal(next->name, command->name) && !lnt__waiter_for(turn, next->name);
  if (next->seq != seq) return false;
  if (next->kind == LNT_EVENT_TIMER_FIRED) return command->kind != LNT_EVENT_CHILD_SCHEDULED; /* a child's is made into a failure */
  return next->kind == LNT_EVENT_ACTIVITY_COMPLETED || next->kind == LNT_EVENT_ACTIVITY_FAILED ||
         next->kind == LNT_EVENT_CHILD_COMPLETED || next->kind == LNT_EVENT_CHILD_FAILED;
}

lnt__cmd *lnt__waiter_for(lnt__turn *turn, lnt_value name) {
  for (size_t i = 0; i < turn->cmd_count; i++) {
    lnt__cmd *cmd = &turn->cmds[i];
    if (cmd->kind == LNT_EVENT_EVENT_AWAITED && (cmd->state == LNT__CMD_WAITING || cmd->state == LNT__CMD_FIRED) &&
        lnt__name_equal(lnt__cmd_name(cmd), name))
      return cmd;
  }
  return NULL;
}

static bool take_buffered(lnt__turn *turn, lnt_value name, lnt__delivery *answer, uint32_t seq) {
  for (size_t i = 0; i < turn->buffered_count; i++) {
    lnt__buffered *event = &turn->buffered[i];
    if (!lnt__name_equal((lnt_value){event->memory, event->name_size}, name)) continue;
    lnt__free(turn->engine->answer_hold);
    turn->engine->answer_hold = event->memory;
    *answer = (lnt__delivery){.seq = seq, .kind = LNT__DELIVER_RESULT, .value = {event->memory + event->name_size, event->value_size},
                              .order = event->order};
    memmove(event, event + 1, (turn->buffered_count - i - 1) * sizeof(*event));
    turn->buffered_count--;
    return true;
  }
  return false;
}

void lnt__buffer_event(lnt__turn *turn, lnt_value name, lnt_value value, uint32_t order) {
  lnt__buffered buffered = {lnt__alloc(name.size + value.size), (uint32_t)name.size, (uint32_t)value.size, order};
  if (!buffered.memory || (turn->buffered_count == turn->buffered_capacity &&
                           !lnt__grow((void **)&turn->buffered, &turn->buffered_capacity, turn->buffered_count + 1, sizeof(buffered)))) {
    lnt__free(buffered.memory);
    lnt__poison(turn->engine);
    return;
  }
  memcpy(buffered.memory, name.data, name.size);
  if (value.size) memcpy(buffered.memory + name.size, value.data, value.size);
  size_t at = turn->buffered_count++;
  for (; at > 0 && turn->buffered[at - 1].order > order; at--) turn->buffered[at] = turn->buffered[at - 1];
  turn->buffered[at] = buffered;
}

void lnt__turn_keep_event(lnt__turn *turn, lnt_value name, lnt_value value, uint32_t order) {
  lnt__buffer_event(turn, name, value, order);
}

bool lnt__turn_return_event(lnt__turn *turn, lnt_value name, lnt_value value, uint32_t order, uint32_t *seq) {
  lnt__cmd *cmd = lnt__waiter_for(turn, name);
  if (!cmd) {
    lnt__buffer_event(turn, name, value, order);
    return false;
  }
  *seq = cmd->seq;
  if (!turn->replaying && !turn->rehearsing) lnt__timer_disarm(turn, cmd);
  lnt__cmd_remove(turn, cmd);
  return true;
}

static lnt__command_state replay_command(lnt__turn *turn, const lnt__command *command, uint32_t seq, lnt__delivery *answer) {
  const lnt__event *recorded = lnt__replay_command(turn, seq);
  if (!recorded) {
    refuse_unrecorded(turn, command, seq);
    return LNT__COMMAND_REFUSED;
  }
  if (!agrees(recorded, command, seq <= turn->engine->replay.copied)) {
    refuse_different(turn, recorded, command, seq);
    return LNT__COMMAND_REFUSED;
  }
  lnt__see(turn, recorded);
  if (lnt__event_is_instant(command->kind)) return instant_answer(turn, recorded, answer);
  if (command->kind == LNT_EVENT_EVENT_AWAITED && take_buffered(turn, command->name, answer, seq)) return LNT__COMMAND_ANSWERED;
  if (command->alone && !lnt__replay_rests(turn) && answers(turn, lnt__replay_peek(turn), command, seq) && !lnt__cmd_find(turn, seq)) {
    lnt__event event;
    if (!lnt__next_event(turn, &event)) return LNT__COMMAND_REFUSED;
    if (event.kind == LNT_EVENT_EVENT_RAISED || event.seq == seq) {
      delivery_of(&event, answer, seq);
      answer->order = turn->raised;
      return LNT__COMMAND_ANSWERED;
    }
  }
  lnt__cmd *cmd = lnt__cmd_find(turn, seq);
  bool child = command->kind == LNT_EVENT_CHILD_SCHEDULED;
  if (cmd) { /* an activity or a child that still runs */
    if (!turn->replaying && !turn->rehearsing && child && cmd->due_us) lnt__timer_watch(turn, cmd);
    return LNT__COMMAND_WAITING;
  }
  cmd = child ? lnt__cmd_add_child(turn, seq, command->name, LNT_VALUE_NIL, LNT_VALUE_NIL, recorded->id)
              : lnt__cmd_add(turn, seq, command->kind, command->name, LNT_VALUE_NIL, LNT_VALUE_NIL);
  if (!cmd) return LNT__COMMAND_REFUSED;
  cmd->due_us = recorded->due_us;
  cmd->timer_durable = recorded->due_us != 0 && !child;
  if (child || command->kind == LNT_EVENT_ACTIVITY_SCHEDULED) lnt__cmd_set_state(turn, cmd, LNT__CMD_PAST);
  else if (!turn->replaying && !turn->rehearsing && cmd->due_us) lnt__timer_watch(turn, cmd);
  return LNT__COMMAND_WAITING;
}

/* ---- New commands ---- */

/* Later than the advice to continue as new, which looks at half of a limit, so that who asks for advice is not warned. */
static bool is_large(uint64_t size, uint64_t max) { return size >= max / 5 * 4; }

static void warn_of_growth(lnt__turn *turn, uint64_t bytes) {
  const lnt_limits *limits = &turn->engine->limits;
  char text[300];
  if (turn->warned || (!is_large(turn->history_events, limits->history_events_max) && !is_large(bytes, limits->history_bytes_max))) return;
  turn->warned = true;
  snprintf(text, sizeof(text), "the history has %llu events and %llu bytes; at %llu events (history_events_max) or %llu bytes "
           "(history_bytes_max) the workflow fails: let it continue as new (ctx:should_continue_as_new, ctx:continue_as_new)",
           (unsigned long long)turn->history_events, (unsigned long long)bytes, (unsigned long long)limits->history_events_max,
           (unsigned long long)limits->history_bytes_max);
  lnt__turn_log(turn, LNT_LOG_WARN, text, false);
}

static bool within_limits(lnt__turn *turn) {
  static const char advice[] = "let the workflow continue as new (ctx:continue_as_new) before, or split the work among children";
  const lnt_limits *limits = &turn->engine->limits;
  uint64_t bytes = turn->history_bytes + lnt__record_bytes(&turn->record);
  if (turn->history_events >= limits->history_events_max) {
    LNT__MET(turn->engine->met, history_events_max);
    lnt__refuse(turn, LNT__REFUSAL_LIMIT, "the history has %llu events: the limit history_events_max; %s",
                (unsigned long long)turn->history_events, advice);
  } else if (bytes >= limits->history_bytes_max) {
    LNT__MET(turn->engine->met, history_bytes_max);
    lnt__refuse(turn, LNT__REFUSAL_LIMIT, "the history has %llu bytes: the limit history_bytes_max; %s, or pass smaller values",
                (unsigned long long)bytes, advice);
  } else if (turn->cmd_count - turn->cmd_gone >= limits->pending_commands_max) {
    LNT__MET(turn->engine->met, pending_commands_max);
    lnt__refuse(turn, LNT__REFUSAL_LIMIT, "%zu commands wait at once: the limit pending_commands_max; work in smaller groups",
                turn->cmd_count - turn->cmd_gone);
  }
  warn_of_growth(turn, bytes);
  return turn->refusal == LNT__REFUSAL_NONE;
}

/* Of a copy, which does nothing to anybody: whom it asks is taken to obey. */
static lnt__command_state rehearse_command(lnt__turn *turn, const lnt__command *command, lnt__event *event, lnt__delivery *answer) {
  char id[LNT_ID_BYTES_MAX + 1];
  bool child = command->kind == LNT_EVENT_CHILD_SCHEDULED;
  if (child || command->kind == LNT_EVENT_DETACHED_STARTED) event->id = lnt__chosen_id(turn, command, event->seq, id);
  lnt__see(turn, event);
  if (lnt__event_is_instant(command->kind)) return instant_answer(turn, event, answer);
  if (command->kind == LNT_EVENT_EVENT_AWAITED && take_buffered(turn, command->name, answer, event->seq)) return LNT__COMMAND_ANSWERED;
  lnt__cmd *cmd = child ? lnt__cmd_add_child(turn, event->seq, command->name, LNT_VALUE_NIL, LNT_VALUE_NIL, event->id)
                        : lnt__cmd_add(turn, event->seq, command->kind, command->name, LNT_VALUE_NIL, LNT_VALUE_NIL);
  if (!cmd) return LNT__COMMAND_REFUSED;
  if (child || command->kind == LNT_EVENT_ACTIVITY_SCHEDULED) lnt__cmd_set_state(turn, cmd, LNT__CMD_PAST);
  return LNT__COMMAND_WAITING;
}

static lnt__command_state new_instant(lnt__turn *turn, const lnt__command *command, lnt__event *event, lnt__delivery *answer) {
  char id[LNT_ID_BYTES_MAX + 1];
  if (command->kind == LNT_EVENT_DETACHED_STARTED) lnt__detached_command(turn, command, event, id);
  if (command->kind == LNT_EVENT_EVENT_SENT) lnt__sent_command(turn, command, event);
  if (event->options.size && command->kind != LNT_EVENT_SIDE_EFFECT) lnt__rehearsal_void(turn); /* it was refused */
  lnt__emit(turn, event);
  lnt__see(turn, event);
  return instant_answer(turn, event, answer);
}

static lnt__command_state new_command(lnt__turn *turn, const lnt__command *command, uint32_t seq, lnt__delivery *answer) {
  lnt__event event = {.kind = command->kind, .seq = seq, .name = command->name, .value = command->input, .options = command->options,
                      .due_us = command->due_us, .id = command->id};
  if (!turn->rehearsing && !within_limits(turn)) return LNT__COMMAND_REFUSED;
  if (!lnt__act(turn, &event)) return LNT__COMMAND_REFUSED;
  if (turn->rehearsing) return rehearse_command(turn, command, &event, answer);
  if (command->kind == LNT_EVENT_CHILD_SCHEDULED) return lnt__child_command(turn, command, seq);
  if (lnt__event_is_instant(command->kind)) return new_instant(turn, command, &event, answer);
  lnt__emit(turn, &event);
  lnt__see(turn, &event);
  if (command->kind == LNT_EVENT_EVENT_AWAITED && take_buffered(turn, command->name, answer, seq)) return LNT__COMMAND_ANSWERED;
  lnt_value input = lnt__replaced_input(turn, seq, command->input);
  lnt__cmd *cmd = lnt__cmd_add(turn, seq, command->kind, command->name, input, command->options);
  if (!cmd) return LNT__COMMAND_REFUSED;
  if (command->kind == LNT_EVENT_ACTIVITY_SCHEDULED) {
    const lnt__effects *effects = &turn->engine->effects;
    cmd->pure = effects->pure && effects->pure(effects->user, cmd->memory);
    lnt__attempt_queue(turn, cmd);
    lnt__plan_start(cmd, turn->last_us);
    lnt__timeouts_arm(turn, cmd);
  } else if (command->due_us) {
    cmd->due_us = command->due_us;
    lnt__timer_arm(turn, cmd);
  }
  return LNT__COMMAND_WAITING;
}

/* ---- Patches ---- */

static bool remembered_patch(const lnt__turn *turn, lnt_value name, bool *taken) {
  lnt__reader reader = lnt__reader_of(turn->patches.data, turn->patches.size);
  while (reader.at < reader.end) {
    bool same = lnt__same_bytes(lnt__read_bytes(&reader), name), was_taken = lnt__read_u8(&reader) != 0;
    if (same) *taken = was_taken;
    if (same) return true;
  }
  return false;
}

/* A patch that was asked for earlier than the recorded run did stands in the history all the same: its command is made by now. */
void lnt__pass_patches(lnt__turn *turn) {
  bool taken = false;
  while (lnt__in_history(turn)) {
    const lnt__event *recorded = lnt__replay_command(turn, turn->next_seq);
    if (!recorded || recorded->kind != LNT_EVENT_PATCHED || !remembered_patch(turn, recorded->name, &taken) || !taken) return;
    lnt__see(turn, recorded);
    turn->next_seq++;
  }
}

/* Of the patches that the history has, this must be the first one that was not asked for yet: they keep their order. */
static bool is_next_patch(const lnt__turn *turn, lnt_value name) {
  const lnt__event *recorded;
  bool taken;
  for (uint32_t seq = turn->next_seq; (recorded = lnt__replay_command(turn, seq)) != NULL; seq++) {
    if (recorded->kind != LNT_EVENT_PATCHED || remembered_patch(turn, recorded->name, &taken)) continue;
    return lnt__same_bytes(recorded->name, name);
  }
  return false;
}

lnt__command_state lnt__turn_command(lnt__turn *turn, const lnt__command *command, uint32_t *seq, lnt__delivery *answer) {
  if (turn->refusal != LNT__REFUSAL_NONE || turn->engine->poisoned) return LNT__COMMAND_REFUSED;
  if (command->kind != LNT_EVENT_PATCHED) lnt__pass_patches(turn);
  bool recorded = lnt__in_history(turn);
  const lnt__event *effect = recorded ? NULL : lnt__rehearsed_effect(turn);
  lnt__command noted = *command;
  if (effect && command->kind == LNT_EVENT_SIDE_EFFECT) {
    noted.input = effect->value;
    noted.options = effect->options;
    command = &noted;
  }
  *seq = turn->next_seq++;
  if (*seq == turn->engine->probe_seq)
    turn->engine->vm.where(turn->engine->vm.vm, turn, turn->engine->divergence.was_at, sizeof(turn->engine->divergence.was_at));
  if (recorded) return replay_command(turn, command, *seq, answer);
  return new_command(turn, command, *seq, answer);
}

void lnt__turn_cancel(lnt__turn *turn, uint32_t seq) {
  lnt__cmd *cmd = lnt__cmd_find(turn, seq);
  if (!cmd) return;
  if (lnt__half_event(turn, LNT_EVENT_COMMAND_CANCELED, seq, LNT_VALUE_NIL)) {
    if (cmd->timer_new && !turn->rehearsing) lnt__timer_disarm(turn, cmd); /* what a fork takes over is armed by each try */
    lnt__cmd_remove(turn, cmd);
    return;
  }
  if (!turn->replaying) {
    lnt__event event = {.kind = LNT_EVENT_COMMAND_CANCELED, .seq = seq};
    if (!lnt__act(turn, &event)) return;
    if (turn->rehearsing) {
      lnt__cmd_remove(turn, cmd);
      return;
    }
    lnt__emit(turn, &event);
    lnt__timer_disarm(turn, cmd);
  }
  lnt__attempt_abandon(turn, cmd, LNT_CANCEL_REQUESTED);
  if (cmd->kind == LNT_EVENT_CHILD_SCHEDULED && cmd->state != LNT__CMD_PAST) {
    bool runs = cmd->state == LNT__CMD_WAITING || cmd->state == LNT__CMD_FIRED;
    lnt__cmd_set_state(turn, cmd, LNT__CMD_PAST);
    if (runs && !turn->replaying) lnt__child_let_go(turn, cmd, "its parent gave it up");
  }
  lnt__cmd_remove(turn, cmd);
}

/* ---- What a body may ask ---- */

int64_t lnt__turn_now_us(const lnt__turn *turn) { return turn->now_us; }
bool lnt__turn_replaying(const lnt__turn *turn) { return turn->replaying || turn->rehearsing; } /* to tell on who goes another way by it */
bool lnt__turn_rebuilding(const lnt__turn *turn) { return turn->replaying; }
bool lnt__turn_recorded(const lnt__turn *turn) { return lnt__in_history(turn) || lnt__rehearsed_effect(turn); }
const char *lnt__turn_id(const lnt__turn *turn) { return turn->id; }
const char *lnt__turn_workflow(const lnt__turn *turn) { return turn->workflow; }
uint64_t lnt__turn_run(const lnt__turn *turn) { return turn->run; }
uint32_t lnt__turn_next_seq(const lnt__turn *turn) { return turn->next_seq; }

uint64_t lnt__turn_history_events(const lnt__turn *turn) { return turn->seen.events; }

/* Half of a limit, of what the body has seen: what it has not seen (turns, retries) leaves room enough. The answer is recorded once it is
 * yes, so that a replay under other limits gives it at the same place. */
bool lnt__turn_advises(lnt__turn *turn) {
  const lnt_limits *limits = &turn->engine->limits;
  if (turn->seen.advised) return true;
  lnt__pass_patches(turn);
  if (lnt__in_history(turn)) {
    const lnt__event *recorded = lnt__replay_command(turn, turn->next_seq);
    turn->seen.advised = recorded && recorded->kind == LNT_EVENT_CONTINUE_ADVISED;
  } else {
    turn->seen.advised = turn->seen.events >= limits->history_events_max / 2 || turn->seen.bytes >= limits->history_bytes_max / 2;
  }
  if (!turn->seen.advised) return false;
  lnt__command command = {.kind = LNT_EVENT_CONTINUE_ADVISED};
  lnt__delivery answer;
  uint32_t seq;
  lnt__turn_command(turn, &command, &seq, &answer);
  return true;
}

bool lnt__turn_patched(lnt__turn *turn, lnt_value name) {
  bool taken = true;
  bool is_early = false; /* the history has it further on */
  if (remembered_patch(turn, name, &taken)) return taken;
  lnt__pass_patches(turn);
  if (lnt__in_history(turn)) {
    const lnt__event *recorded = lnt__replay_command(turn, turn->next_seq);
    taken = is_next_patch(turn, name);
    is_early = taken && (recorded->kind != LNT_EVENT_PATCHED || !lnt__same_bytes(recorded->name, name));
  }
  lnt__buf_bytes(&turn->patches, name.data, name.size);
  lnt__buf_u8(&turn->patches, taken);
  if (turn->patches.failed) lnt__poison(turn->engine);
  if (!taken || is_early) return taken;
  lnt__command command = {.kind = LNT_EVENT_PATCHED, .name = name};
  lnt__delivery answer;
  uint32_t seq;
  lnt__turn_command(turn, &command, &seq, &answer);
  return true;
}

/* Set a value of the row, when it differs from the one that is there. */
static void set_value(lnt__turn *turn, void **memory, size_t *size, lnt_value value) {
  if (turn->replaying || turn->rehearsing || lnt__same_bytes(value, (lnt_value){*memory, *size})) return;
  void *copy = lnt__alloc(value.size);
  if (!copy) {
    lnt__poison(turn->engine);
    return;
  }
  if (value.size) memcpy(copy, value.data, value.size);
  lnt__free(*memory);
  *memory = copy;
  *size = value.size;
  turn->row_changed |= 1 << LNT__ROW_CUSTOM_STATUS;
  turn->row_dirty = true;
  lnt__mark_dirty(turn);
}

/* Told beyond the history, and by this instance's own body: paranoid mode compares it. */
static bool may_tell(lnt__turn *turn, const char *verb, lnt_value value) {
  lnt__event event = {.name = {verb, strlen(verb)}, .value = value};
  return lnt__in_history(turn) || lnt__act(turn, &event);
}

void lnt__turn_custom_status(lnt__turn *turn, lnt_value value) {
  if (!may_tell(turn, "set_custom_status", value)) return;
  set_value(turn, &turn->custom_status, &turn->custom_status_size, value);
}

void lnt__turn_attributes(lnt__turn *turn, lnt_value value) {
  bool same = lnt__same_bytes(value, (lnt_value){turn->attributes, turn->attributes_size});
  if (!may_tell(turn, "set_attributes", value) || turn->replaying || turn->rehearsing || same) return;
  lnt__instance_set_attributes(turn, value);
  lnt__mark_dirty(turn);
}

void lnt__turn_log(lnt__turn *turn, lnt_log_level level, const char *text, bool effect) {
  lnt__effects *effects = &turn->engine->effects;
  if (!turn->replaying && (!turn->rehearsing || effect) && effects->log) effects->log(effects->user, level, turn->id, text);
}
