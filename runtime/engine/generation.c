/* generation.c - continue as new: one run of an instance is closed and another begins, in one batch. Called by turn.c at the end of a turn.
 *
 * The id, the parent, the attributes and the custom status go over, and so do the events that the body has not taken. The code does not: a
 * generation runs the newest code of its workflow's name. */
#include "engine/internal.h"

/* Requests that somebody made of the instance, whichever generation it has. An update that was accepted is never among them: it is accepted
 * when the inbox is empty, so the body that accepted it is fed it next. */
#define KINDS_CARRIED (LNT__KIND_BIT(EVENT_RAISED) | LNT__KIND_BIT(CANCEL_REQUESTED) | LNT__KIND_BIT(UPDATE_REQUESTED))

/* ---- What the body has not been fed ---- */

typedef struct rest { lnt__reader reader; int64_t last_us; } rest;

static rest rest_of(const lnt__turn *turn) {
  return (rest){lnt__reader_of(turn->inbox.data + turn->inbox_at, turn->inbox.size - turn->inbox_at), turn->inbox_read_us};
}

static bool next_of(rest *from, lnt__event *event) {
  return from->reader.at < from->reader.end && lnt__event_read(&from->reader, &from->last_us, event);
}

/* Termination that was asked for while the body was on its way to its end. */
static bool find_termination(const lnt__turn *turn, lnt__event *event) {
  rest from = rest_of(turn);
  while (next_of(&from, event))
    if (event->kind == LNT_EVENT_TERMINATE_REQUESTED) return true;
  return false;
}

/* ---- The new run ---- */

static uint64_t next_seed(const lnt__turn *turn) {
  lnt__rng rng;
  lnt__rng_seed(&rng, ~turn->seed);
  return lnt__rng_next(&rng);
}

static void copy_custom_status(lnt__turn *to, const lnt__turn *from) {
  to->custom_status = lnt__alloc(from->custom_status_size);
  if (!to->custom_status) {
    lnt__poison(to->engine);
    return;
  }
  to->custom_status_size = from->custom_status_size;
  if (from->custom_status_size) memcpy(to->custom_status, from->custom_status, from->custom_status_size);
}

static void carry_events(lnt__turn *to, lnt__turn *from, bool raised) {
  for (size_t i = 0; raised && i < from->buffered_count; i++) {
    const lnt__buffered *kept = &from->buffered[i];
    lnt__event event = {.kind = LNT_EVENT_EVENT_RAISED, .name = {kept->memory, kept->name_size},
                        .value = {kept->memory + kept->name_size, kept->value_size}};
    lnt__accept(to, &event);
  }
  rest unread = rest_of(from);
  lnt__event event;
  while (next_of(&unread, &event)) {
    bool carried = KINDS_CARRIED >> event.kind & 1 && (raised || event.kind != LNT_EVENT_EVENT_RAISED);
    if (carried) lnt__accept(to, &event);
    if (carried && event.kind == LNT_EVENT_UPDATE_REQUESTED) lnt__update_carry(to, from, event.id);
  }
}

/* The newest code of the name; the old one when no file defines it any more. */
static void choose_code(const lnt__turn *turn, uint8_t hash[LNT__SHA256_BYTES]) {
  const lnt__engine *engine = turn->engine;
  if (engine->vm.resolve(engine->vm.vm, turn, turn->workflow, hash, NULL) != LNT_OK) memcpy(hash, turn->hash, LNT__SHA256_BYTES);
}

void lnt__continue_as_new(lnt__turn *turn, lnt_value input, bool raised) {
  uint8_t hash[LNT__SHA256_BYTES];
  lnt__event event;
  if (find_termination(turn, &event)) {
    lnt__turn_close(turn, LNT_RUN_TERMINATED, LNT_EVENT_TERMINATED, event.value, LNT_VALUE_NIL);
    return;
  }
  choose_code(turn, hash);
  lnt__origin origin = {.id = turn->id, .workflow = turn->workflow, .hash = hash, .input = input,
                        .attributes = {turn->attributes, turn->attributes_size}, .seed = next_seed(turn),
                        .generation = turn->generation + 1, .parent_run = turn->parent_run, .parent_seq = turn->parent_seq,
                        .older_run = turn->run, .not_before_us = turn->last_us};
  turn->is_new = false; /* the id names the new run */
  lnt__turn *next = lnt__instance_begin(turn->engine, &origin);
  if (!next) {
    lnt__poison(turn->engine);
    return;
  }
  copy_custom_status(next, turn);
  carry_events(next, turn, raised);
  lnt__asks_carry(next, turn);
  next->raise_keys = turn->raise_keys;
  turn->raise_keys = NULL;
  lnt__turn_close(turn, LNT_RUN_CONTINUED_AS_NEW, LNT_EVENT_CONTINUED_AS_NEW, input, LNT_VALUE_NIL);
  turn->engine->stats.continued++;
}
