/* diagnose.c - what a stalled instance says of its divergence: both calls and their places, how the arguments differ, and the likely cause,
 * found by looking. Called by turn.c, before the body is dropped. Nothing of the instance changes. */
#include <stdio.h>

#include "engine/internal.h"

enum { CAUSE_BYTES = 700, TOUCHED_MAX = 8 };

static size_t put_member(lnt__buf *out, const char *name, const char *text) {
  if (!text[0]) return 0;
  lnt__cbor_cstring(out, name);
  lnt__cbor_cstring(out, text);
  return 1;
}

/* ---- Looking ---- */

typedef struct finding {
  bool moved;             /* to other code, since it was started */
  bool elsewhere;         /* its history was made by another interpreter or processor */
  uint8_t made_by[LNT__SHA256_BYTES]; /* the code before that */
  lnt__clue clues[LNT__CLUES_MAX];
  size_t clue_count;
} finding;

static void look_at_history(lnt__turn *turn, finding *f) {
  const lnt__engine *engine = turn->engine;
  const lnt__history *history = &engine->replay.history;
  lnt_value made_by = LNT_VALUE_NIL;
  const void *code = turn->hash, *before = NULL;
  for (size_t i = 0; i < history->count; i++) {
    const lnt__event *event = &history->events[i];
    if (event->kind != LNT_EVENT_STARTED && event->kind != LNT_EVENT_CODE_CHANGED) continue;
    f->moved = event->kind == LNT_EVENT_CODE_CHANGED;
    made_by = event->engine;
    if (f->moved) before = code;
    code = event->hash.data;
  }
  if (before) memcpy(f->made_by, before, LNT__SHA256_BYTES);
  f->elsewhere = made_by.size != strlen(engine->fingerprint) || memcmp(made_by.data, engine->fingerprint, made_by.size) != 0;
}

/* A copy goes the same way once more, watched. */
static void look_at_run(lnt__turn *turn, finding *f) {
  lnt__engine *engine = turn->engine;
  lnt__event event;
  lnt__turn copy;
  if (!engine->vm.watch) return;
  lnt__copy_init(&copy, turn);
  copy.rehearsing = true;
  lnt__outcome_reset(&engine->outcome);
  engine->vm.watch(engine->vm.vm);
  if (lnt__replay_whole_begin(&copy, turn, NULL) == LNT_OK) {
    engine->current = &copy;
    while (engine->outcome.state == LNT__BODY_WAITING && lnt__next_event(&copy, &event) && event.kind != LNT_EVENT_TERMINATE_REQUESTED)
      lnt__turn_feed(&copy, &event);
    engine->current = NULL;
  }
  f->clue_count = engine->vm.watched(engine->vm.vm, f->clues, LNT__CLUES_MAX);
  lnt__copy_finish(&copy);
  lnt__outcome_reset(&engine->outcome);
}

/* Run what is looked at without losing what was found before. */
static void look(lnt__turn *turn, finding *f) {
  lnt__engine *engine = turn->engine;
  lnt__turn copy;
  lnt__rehearsal *rehearsal = engine->rehearsal;
  lnt_stats stats = engine->stats;
  lnt__divergence divergence = engine->divergence;
  char refusal[LNT_ERROR_MESSAGE_MAX];
  memcpy(refusal, engine->refusal, sizeof(refusal));
  memset(f, 0, sizeof(*f));
  lnt__copy_init(&copy, turn);
  if (lnt__replay_whole_begin(&copy, turn, NULL) == LNT_OK) look_at_history(turn, f);
  lnt__copy_finish(&copy);
  engine->rehearsal = NULL; /* what the copy does is nobody's concern */
  if (f->moved) lnt__find_line(turn, f->made_by, divergence.seq, divergence.was_at, sizeof(divergence.was_at), NULL);
  else look_at_run(turn, f);
  engine->rehearsal = rehearsal;
  engine->stats = stats;
  engine->divergence = divergence;
  memcpy(engine->refusal, refusal, sizeof(refusal));
}

/* ---- Judging ---- */

/* The likeliest clue: what was used last before the call that differs comes first. */
static int compare_clues(const lnt__clue *a, const lnt__clue *b, uint32_t seq) {
  bool a_near = a->seq == seq && a->weight, b_near = b->seq == seq && b->weight;
  if (a_near != b_near) return a_near ? -1 : 1;
  if (a->weight != b->weight) return a->weight > b->weight ? -1 : 1;
  return a->seq > b->seq ? -1 : a->seq < b->seq;
}

static void sort_clues(finding *f, uint32_t seq) {
  for (size_t i = 1; i < f->clue_count; i++) {
    lnt__clue moving = f->clues[i];
    size_t at = i;
    for (; at > 0 && compare_clues(&moving, &f->clues[at - 1], seq) < 0; at--) f->clues[at] = f->clues[at - 1];
    f->clues[at] = moving;
  }
}

static void write_cause(const lnt__turn *turn, const finding *f, char *out, size_t size) {
  const lnt__divergence *d = &turn->engine->divergence;
  const lnt__clue *best = f->clue_count && f->clues[0].weight ? &f->clues[0] : NULL;
  if (d->asked)
    snprintf(out, size, "a query, or the validator of an update, ran on the instance: one that changes a variable or a table of the "
                        "workflow breaks every replay, which does not run it");
  else if (f->moved) snprintf(out, size, "the instance was moved to other code, which makes other calls than its history has");
  else if (best)
    snprintf(out, size, "the same code did not do the same again. %s it used %s%s%s: %s%s",
             best->seq == d->seq ? "Since the call before," : "Some calls before,", best->what, best->at[0] ? " at " : "", best->at,
             best->why, f->elsewhere ? ". And the history was made by another interpreter or processor" : "");
  else if (f->elsewhere)
    snprintf(out, size, "the history was made by another interpreter or processor; results of floating point or of '#' on tables with "
                        "holes may differ");
  else
    snprintf(out, size, "the same code did not do the same again, and it used nothing that is known to differ; a variable may have been "
                        "changed by a handler of a query, the validator of an update, or the function of a side effect");
}

/* ---- Telling ---- */

static void write_lines(lnt__buf *out, const char *lines) {
  size_t count = lines[0] != 0;
  for (const char *at = lines; *at; at++) count += *at == '\n';
  lnt__cbor_array(out, count);
  for (const char *at = lines; count > 0; count--) {
    size_t size = strcspn(at, "\n");
    lnt__cbor_string(out, at, size);
    at += size + 1;
  }
}

static void write_touched(lnt__buf *out, const finding *f) {
  size_t count = f->clue_count < TOUCHED_MAX ? f->clue_count : TOUCHED_MAX;
  lnt__cbor_array(out, count);
  for (size_t i = 0; i < count; i++) {
    lnt__cbor_map map;
    lnt__cbor_map_begin(out, &map);
    const lnt__clue *clue = &f->clues[i];
    size_t members = put_member(out, "what", clue->what) + put_member(out, "at", clue->at) + put_member(out, "why", clue->why);
    lnt__cbor_cstring(out, "before_command");
    lnt__cbor_int(out, clue->seq);
    lnt__cbor_map_end(out, &map, members + 1, false);
  }
}

void lnt__diagnose(lnt__turn *turn, lnt__buf *out) {
  lnt__engine *engine = turn->engine;
  finding f;
  lnt__cbor_map map;
  char cause[CAUSE_BYTES];
  look(turn, &f);
  const lnt__divergence *d = &engine->divergence;
  sort_clues(&f, d->seq);
  write_cause(turn, &f, cause, sizeof(cause));
  lnt__cbor_map_begin(out, &map);
  size_t count = put_member(out, "recorded", d->recorded) + put_member(out, "made", d->wanted) + put_member(out, "at", d->at) +
                 put_member(out, "recorded_at", d->was_at) + put_member(out, "difference", d->difference) + put_member(out, "cause", cause);
  lnt__cbor_cstring(out, "command");
  lnt__cbor_int(out, d->seq);
  lnt__cbor_cstring(out, "event");
  lnt__cbor_int(out, (int64_t)d->event);
  lnt__cbor_cstring(out, "recorded_at_us");
  lnt__cbor_int(out, d->recorded_us);
  lnt__cbor_cstring(out, "differences");
  write_lines(out, d->differences);
  lnt__cbor_cstring(out, "touched");
  write_touched(out, &f);
  lnt__cbor_cstring(out, "rehearsed");
  lnt__cbor_bool(out, d->rehearsed);
  lnt__cbor_map_end(out, &map, count + 6, false);
}
