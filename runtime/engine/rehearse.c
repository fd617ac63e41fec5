/* rehearse.c - paranoid mode, a switch for developers: each turn is run twice, and what differs is found before it is done. Called by
 * turn.c and command.c.
 *
 * Before a turn, a copy of the instance is rebuilt from the start of its history, in a VM of its own (other addresses, other hash order,
 * the garbage collected before each step), and fed what waits. What it does beyond the history is noted and done to nobody. Then the turn
 * runs, and each thing it does must be the next one noted, or it stalls there. So what is not the same in every replay shows in the first
 * run, and what it would have done reaches neither the journal nor anybody else.
 *
 * What the copy cannot know is the answer of others to what it asks: it takes it that they do as they are told. Where they do not, and
 * where a turn causes its own events, the notes are worth nothing from there on; then a copy is rebuilt again at the end of the turn, and
 * compared with what the turn has done. */
#include <stdio.h>

#include "engine/internal.h"

typedef struct noted {
  lnt__event event; /* its slices are in `memory` */
  void *memory;
  char at[120];
} noted;

typedef enum rehearsal_state {
  REHEARSAL_NONE,
  REHEARSAL_RUNS,  /* the copy runs: it notes */
  REHEARSAL_VALID, /* the turn must do what is noted */
  REHEARSAL_VOID   /* not any more */
} rehearsal_state;

struct lnt__rehearsal {
  lnt__vm vm;
  rehearsal_state state;
  const lnt__turn *turn; /* whose copy ran */
  LNT__VECTOR(noted) notes;
  size_t at;
  lnt__body_state end;
  lnt__buf end_value;
};

bool lnt__rehearsal_create(lnt__engine *engine, const lnt__vm *vm) {
  lnt__rehearsal *rehearsal = lnt__calloc(1, sizeof(*rehearsal));
  if (!rehearsal) return false;
  rehearsal->vm = *vm;
  lnt__buf_init(&rehearsal->end_value);
  engine->rehearsal = rehearsal;
  return true;
}

static void forget(lnt__rehearsal *rehearsal) {
  for (size_t i = 0; i < rehearsal->notes.count; i++) lnt__free(rehearsal->notes.items[i].memory);
  rehearsal->notes.count = rehearsal->at = 0;
  rehearsal->state = REHEARSAL_NONE;
  rehearsal->turn = NULL;
}

void lnt__rehearsal_destroy(lnt__rehearsal *rehearsal) {
  if (!rehearsal) return;
  forget(rehearsal);
  lnt__buf_finish(&rehearsal->end_value);
  lnt__free(rehearsal->notes.items);
  lnt__free(rehearsal);
}

/* ---- What a body does, as text ---- */

static void act_text(const lnt__event *act, char *out, size_t size) {
  char value[160];
  if (lnt__event_is_command(act->kind)) {
    lnt__command_text(act->kind, act->name, act->value, act->id, out, size);
    return;
  }
  lnt__cbor_brief(act->value.size ? act->value : act->options, value, sizeof(value));
  if (act->kind == LNT_EVENT_COMMAND_CANCELED) snprintf(out, size, "cancel(command %u)", act->seq);
  else if (act->kind == LNT_EVENT_UPDATE_ANSWERED)
    snprintf(out, size, "%s %s of update '%.*s'", act->value.size ? "the result" : "the failure", value, (int)act->id.size,
             (const char *)act->id.data);
  else snprintf(out, size, "%.*s(%s)", (int)act->name.size, (const char *)act->name.data, value);
}

/* Is there a call of ctx under way, whose line can be told? */
static bool has_place(lnt_event_kind kind) { return kind != LNT_EVENT_COMMAND_CANCELED && kind != LNT_EVENT_UPDATE_ANSWERED; }

static void place_of(lnt__turn *turn, const lnt__event *act, char *out, size_t size) {
  const lnt__vm *vm = &turn->engine->vm;
  out[0] = 0;
  if (has_place(act->kind) && vm->where) vm->where(vm->vm, turn, out, size);
}

/* ---- Noting ---- */

static lnt_value copy_slice(char **to, lnt_value from) {
  if (!from.size) return LNT_VALUE_NIL;
  lnt_value copy = {memcpy(*to, from.data, from.size), from.size};
  *to += from.size;
  return copy;
}

static void note(lnt__turn *turn, const lnt__event *act) {
  lnt__engine *engine = turn->engine;
  lnt__rehearsal *rehearsal = engine->rehearsal;
  char *memory = lnt__alloc(act->name.size + act->value.size + act->options.size + act->id.size + 1), *to = memory;
  if (!memory) {
    lnt__poison(engine);
    return;
  }
  noted made = {.event = *act, .memory = memory};
  made.event.name = copy_slice(&to, act->name);
  made.event.value = copy_slice(&to, act->value);
  made.event.options = copy_slice(&to, act->options);
  made.event.id = copy_slice(&to, act->id);
  place_of(turn, act, made.at, sizeof(made.at));
  size_t count = rehearsal->notes.count;
  LNT__PUSH(engine, rehearsal->notes, made);
  if (rehearsal->notes.count == count) lnt__free(memory);
}

/* ---- Comparing ---- */

static bool agrees(const lnt__event *a, const lnt__event *b) {
  if (a->kind != b->kind || a->seq != b->seq) return false;
  if (a->kind == LNT_EVENT_SIDE_EFFECT) return true; /* the turn takes the value that is noted */
  return a->due_us == b->due_us && lnt__same_bytes(a->name, b->name) && lnt__same_bytes(a->value, b->value) &&
         lnt__same_bytes(a->options, b->options) && lnt__same_bytes(a->id, b->id);
}

static void tell_difference(const lnt__event *a, const lnt__event *b, lnt__divergence *d) {
  if (a->kind != b->kind || !lnt__same_bytes(a->name, b->name)) return;
  if (!lnt__same_bytes(a->value, b->value)) lnt__divergence_values(d, a->value, b->value, "input");
  else if (!lnt__same_bytes(a->options, b->options)) lnt__divergence_values(d, a->options, b->options, "options");
  else if (a->due_us != b->due_us)
    snprintf(d->difference, sizeof(d->difference), "due: %.6f s apart", (double)(b->due_us - a->due_us) / 1e6);
  else if (!lnt__same_bytes(a->id, b->id))
    snprintf(d->difference, sizeof(d->difference), "id: '%.*s' vs '%.*s'", (int)a->id.size, (const char *)a->id.data, (int)b->id.size,
             (const char *)b->id.data);
}

/* `made`: what the turn does; NULL: nothing. `rehearsed`: what is noted; NULL: nothing. */
static void refuse(lnt__turn *turn, const noted *rehearsed, const lnt__event *made) {
  lnt__divergence *d = lnt__diverged(turn, NULL, turn->next_seq - (made && lnt__event_is_command(made->kind) ? 1 : 0));
  d->rehearsed = true;
  d->asked = turn->asks_run;
  if (rehearsed) act_text(&rehearsed->event, d->recorded, sizeof(d->recorded));
  if (rehearsed) snprintf(d->was_at, sizeof(d->was_at), "%s", rehearsed->at);
  if (made) act_text(made, d->wanted, sizeof(d->wanted));
  if (made) lnt__divergence_place(turn, has_place(made->kind));
  if (made && rehearsed) tell_difference(&rehearsed->event, made, d);
  lnt__refuse(turn, LNT__REFUSAL_DIVERGED,
              "run twice over the same history, the code does not do the same: a rebuilt copy made %s%s%s, the instance itself %s%s%s%s%s",
              rehearsed ? d->recorded : "nothing more", d->was_at[0] ? " at " : "", d->was_at, made ? d->wanted : "nothing more",
              d->at[0] ? " at " : "", d->at, d->difference[0] ? "; first difference: " : "", d->difference);
}

bool lnt__act_in_rehearsal(lnt__turn *turn, const lnt__event *act) {
  lnt__rehearsal *rehearsal = turn->engine->rehearsal;
  if (turn->rehearsing) {
    note(turn, act);
    return true;
  }
  if (rehearsal->state != REHEARSAL_VALID || rehearsal->turn != turn) return true;
  if (turn->refusal != LNT__REFUSAL_NONE) return false;
  const noted *next = rehearsal->at < rehearsal->notes.count ? &rehearsal->notes.items[rehearsal->at] : NULL;
  if (next && agrees(&next->event, act)) {
    rehearsal->at++;
    return true;
  }
  refuse(turn, next, act);
  return false;
}

const lnt__event *lnt__rehearsed_effect(const lnt__turn *turn) {
  const lnt__rehearsal *rehearsal = turn->engine->rehearsal;
  if (!rehearsal || rehearsal->state != REHEARSAL_VALID || rehearsal->turn != turn || rehearsal->at >= rehearsal->notes.count) return NULL;
  const lnt__event *next = &rehearsal->notes.items[rehearsal->at].event;
  return next->kind == LNT_EVENT_SIDE_EFFECT && next->seq == turn->next_seq ? next : NULL;
}

void lnt__rehearsal_void(lnt__turn *turn) {
  lnt__rehearsal *rehearsal = turn->engine->rehearsal;
  if (rehearsal && rehearsal->turn == turn && rehearsal->state == REHEARSAL_VALID) rehearsal->state = REHEARSAL_VOID;
}

/* ---- The copy ---- */

/* Run a copy over what the instance has, to its end or to where it parts from its history. */
static lnt_status run_copy(lnt__turn *copy, const lnt__turn *turn, lnt_error *err) {
  lnt__engine *engine = copy->engine;
  lnt__event event;
  lnt_status status = lnt__replay_whole_begin(copy, turn, err);
  if (status != LNT_OK) return status;
  engine->current = copy;
  while (engine->outcome.state == LNT__BODY_WAITING && lnt__next_event(copy, &event) && event.kind != LNT_EVENT_TERMINATE_REQUESTED)
    lnt__turn_feed(copy, &event);
  if (copy->replaying && copy->refusal == LNT__REFUSAL_NONE && engine->outcome.state != LNT__BODY_UNAVAILABLE) lnt__refuse_early_end(copy);
  if (!copy->replaying) lnt__refuse_short(copy);
  engine->current = NULL;
  return engine->poisoned ? lnt__fail(err, LNT_ENOMEM, "out of memory while a turn was rehearsed") : LNT_OK;
}

static void keep_end(lnt__engine *engine) {
  lnt__rehearsal *rehearsal = engine->rehearsal;
  rehearsal->end = engine->outcome.state;
  lnt__buf_clear(&rehearsal->end_value);
  lnt__buf_append(&rehearsal->end_value, engine->outcome.value.data, engine->outcome.value.size);
  if (rehearsal->end_value.failed) lnt__poison(engine);
}

/* Everything around a copy: the other VM, the outcome and the counters of the engine. true: it kept to its history, and its notes count. */
static bool rehearse(lnt__turn *turn, lnt_status *status, lnt_error *err) {
  lnt__engine *engine = turn->engine;
  lnt__outcome outcome = engine->outcome;
  lnt_stats stats = engine->stats;
  lnt__vm vm = engine->vm;
  lnt__turn copy;
  memset(&engine->outcome, 0, sizeof(engine->outcome));
  lnt__outcome_reset(&engine->outcome);
  engine->vm = engine->rehearsal->vm;
  forget(engine->rehearsal);
  engine->rehearsal->turn = turn;
  lnt__copy_init(&copy, turn);
  copy.rehearsing = true;
  *status = run_copy(&copy, turn, err);
  bool kept = *status == LNT_OK && copy.refusal == LNT__REFUSAL_NONE && engine->outcome.state != LNT__BODY_UNAVAILABLE &&
              engine->outcome.state != LNT__BODY_REFUSED;
  if (copy.refusal == LNT__REFUSAL_DIVERGED) turn->refusal = LNT__REFUSAL_DIVERGED, engine->divergence.asked = turn->asks_run;
  keep_end(engine);
  lnt__copy_finish(&copy);
  lnt__buf_finish(&engine->outcome.value);
  lnt__buf_finish(&engine->outcome.detail);
  engine->vm = vm;
  engine->outcome = outcome;
  engine->stats = stats;
  return kept;
}

lnt_status lnt__rehearse(lnt__turn *turn, lnt_error *err) {
  lnt_status status = LNT_OK;
  forget(turn->engine->rehearsal);
  turn->refusal = LNT__REFUSAL_NONE;
  if (!turn->inbox_count) return LNT_OK;
  if (rehearse(turn, &status, err)) turn->engine->rehearsal->state = REHEARSAL_VALID;
  return status;
}

/* ---- The end of the turn ---- */

static bool is_closed(lnt__body_state state) {
  return state == LNT__BODY_COMPLETED || state == LNT__BODY_FAILED || state == LNT__BODY_CANCELED || state == LNT__BODY_CONTINUED;
}

static const char *end_name(lnt__body_state state) {
  static const char *const names[] = {
      [LNT__BODY_WAITING] = "wait", [LNT__BODY_COMPLETED] = "return", [LNT__BODY_FAILED] = "raise", [LNT__BODY_CANCELED] = "raise",
      [LNT__BODY_CONTINUED] = "continue_as_new"};
  return (size_t)state < LNT__COUNT(names) && names[state] ? names[state] : "stop";
}

static void end_text(lnt__body_state state, lnt_value value, char *out, size_t size) {
  char brief[160] = "";
  if (is_closed(state)) lnt__cbor_brief(value, brief, sizeof(brief));
  snprintf(out, size, "%s(%s)", end_name(state), brief);
}

static void compare_ends(lnt__turn *turn, const lnt__outcome *outcome) {
  const lnt__rehearsal *rehearsal = turn->engine->rehearsal;
  lnt_value rehearsed = {rehearsal->end_value.data, rehearsal->end_value.size}, made = {outcome->value.data, outcome->value.size};
  if (rehearsal->end == outcome->state && (!is_closed(outcome->state) || lnt__same_bytes(rehearsed, made))) return;
  lnt__divergence *d = lnt__diverged(turn, NULL, turn->next_seq);
  d->rehearsed = true;
  d->asked = turn->asks_run;
  end_text(rehearsal->end, rehearsed, d->recorded, sizeof(d->recorded));
  end_text(outcome->state, made, d->wanted, sizeof(d->wanted));
  if (rehearsal->end == outcome->state) lnt__divergence_values(d, rehearsed, made, "value");
  lnt__refuse(turn, LNT__REFUSAL_DIVERGED,
              "run twice over the same history, the code does not end the same: a rebuilt copy came to %s, the instance itself to %s%s%s",
              d->recorded, d->wanted, d->difference[0] ? "; first difference: " : "", d->difference);
}

/* Its notes were void before its end: compare the whole with another copy. */
static void compare_again(lnt__turn *turn) {
  lnt_status status;
  lnt_error err;
  lnt__rehearsal *rehearsal = turn->engine->rehearsal;
  bool kept = rehearse(turn, &status, &err);
  const noted *extra = NULL; /* what it told beyond its commands is in no history */
  for (size_t i = 0; i < rehearsal->notes.count && !extra; i++)
    if (lnt__event_is_command(rehearsal->notes.items[i].event.kind)) extra = &rehearsal->notes.items[i];
  if (kept && extra) refuse(turn, extra, NULL);
  else if (kept) compare_ends(turn, &turn->engine->outcome);
  forget(rehearsal);
}

void lnt__rehearsal_end(lnt__turn *turn) {
  lnt__rehearsal *rehearsal = turn->engine->rehearsal;
  const lnt__outcome *outcome = &turn->engine->outcome;
  if (!rehearsal || rehearsal->turn != turn || turn->refusal != LNT__REFUSAL_NONE) return;
  if (outcome->state == LNT__BODY_UNAVAILABLE || outcome->state == LNT__BODY_REFUSED) return;
  if (rehearsal->state == REHEARSAL_VOID) {
    compare_again(turn);
  } else if (rehearsal->state == REHEARSAL_VALID) {
    if (rehearsal->at < rehearsal->notes.count) refuse(turn, &rehearsal->notes.items[rehearsal->at], NULL);
    else compare_ends(turn, outcome);
  }
}
