/* describe.c - what an instance waits for, as a value for people and programs; lunation.h at lnt_describe lists its members. Called by
 * the API between turns; nothing of the instance changes.
 *
 * The durable history is folded: commands without an answer, events without a wait, updates without a result, streams. Where there is
 * a VM, a body says at which lines its branches are parked, and which of the commands and events are still there: an event that was taken
 * by a task which lost is given back without a record. A body stands at the last turn; what came after that has gathered, and is folded
 * behind it. Which attempt runs just now is known to the instance in memory alone. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/internal.h"

enum { LISTED_MAX = 1000, REASON_BYTES = 700, NAMED_MAX = 3 /* things a reason names before it counts */ };

/* A command without an answer. */
typedef struct pending {
  const lnt__event *command;
  const lnt__event *last; /* ACTIVITY_RETRIED, ACTIVITY_DEFERRED, CHILD_RETRIED; NULL: none */
  const lnt__cmd *live;   /* of the instance in memory; NULL: unknown */
  uint32_t attempt;
  bool gone;
} pending;

typedef struct stream { lnt_value name; uint64_t count; int64_t last_us; } stream;

typedef struct picture {
  const lnt__row *row;
  const lnt__history *history;
  lnt_value inspected; /* what lnt__vm.inspect said; nil: nothing */
  bool failed;         /* out of memory */
  LNT__VECTOR(pending) pendings;            /* sorted by seq */
  LNT__VECTOR(const lnt__event *) buffered; /* EVENT_RAISED that nobody took */
  LNT__VECTOR(const lnt__event *) updates;  /* UPDATE_ACCEPTED without an answer */
  LNT__VECTOR(stream) streams;
  LNT__VECTOR(const lnt__event *) gathered; /* inbox events behind the last turn, but for the start */
  size_t undelivered;  /* the same, with the start */
  const lnt__event *suspended; /* NULL: it never was */
  int64_t start_us;    /* it starts later, or did; 0: at once */
  bool has_turns;
} picture;

#define ADD(p, vector, item)                                                                                                               \
  ((vector).count < (vector).capacity ||                                                                                                   \
           lnt__grow((void **)&(vector).items, &(vector).capacity, (vector).count + 1, sizeof(*(vector).items))                            \
       ? (void)((vector).items[(vector).count++] = (item))                                                                                 \
       : (void)((p)->failed = true))

/* ---- Folding ---- */

static pending *find(picture *p, uint32_t seq) {
  size_t low = 0, high = p->pendings.count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (p->pendings.items[middle].command->seq < seq) low = middle + 1;
    else high = middle;
  }
  return low < p->pendings.count && p->pendings.items[low].command->seq == seq ? &p->pendings.items[low] : NULL;
}

static bool take_buffered(picture *p, lnt_value name) {
  for (size_t i = 0; i < p->buffered.count; i++) {
    if (!lnt__name_equal(p->buffered.items[i]->name, name)) continue;
    memmove(&p->buffered.items[i], &p->buffered.items[i + 1], (p->buffered.count - i - 1) * sizeof(*p->buffered.items));
    p->buffered.count--;
    return true;
  }
  return false;
}

static void on_command(picture *p, const lnt__event *event) {
  if (event->kind == LNT_EVENT_EVENT_AWAITED && take_buffered(p, event->name)) return;
  pending made = {.command = event, .attempt = 1};
  ADD(p, p->pendings, made);
}

/* One that has gathered is listed there, whether it is waited for or not. */
static void on_raised(picture *p, const lnt__event *event, bool gathers) {
  for (size_t i = 0; i < p->pendings.count; i++) {
    pending *at = &p->pendings.items[i];
    if (at->gone || at->command->kind != LNT_EVENT_EVENT_AWAITED || !lnt__name_equal(at->command->name, event->name)) continue;
    at->gone = true;
    return;
  }
  if (!gathers) ADD(p, p->buffered, event);
}

static void on_emitted(picture *p, const lnt__event *event) {
  for (size_t i = 0; i < p->streams.count; i++) {
    stream *at = &p->streams.items[i];
    if (!lnt__same_bytes(at->name, event->name)) continue;
    at->count++;
    at->last_us = event->time_us;
    return;
  }
  stream made = {event->name, 1, event->time_us};
  ADD(p, p->streams, made);
}

static void on_answered(picture *p, const lnt__event *event) {
  size_t kept = 0;
  for (size_t i = 0; i < p->updates.count; i++)
    if (!lnt__same_bytes(p->updates.items[i]->id, event->id)) p->updates.items[kept++] = p->updates.items[i];
  p->updates.count = kept;
}

static void on_seq(picture *p, const lnt__event *event) {
  pending *at = find(p, event->seq);
  if (!at) return;
  bool again = event->kind == LNT_EVENT_ACTIVITY_RETRIED || event->kind == LNT_EVENT_CHILD_RETRIED;
  if (again || event->kind == LNT_EVENT_ACTIVITY_DEFERRED) {
    at->last = event;
    at->attempt = event->attempt + again;
  } else {
    at->gone = true;
  }
}

static void gather(picture *p, const lnt__event *event) {
  p->undelivered++;
  if (event->kind != LNT_EVENT_STARTED) ADD(p, p->gathered, event);
}

/* Events from one place in the history to another; gathers: no turn has consumed them. */
static void fold(picture *p, size_t from, size_t to, bool gathers) {
  for (size_t i = from; i < to; i++) {
    const lnt__event *event = &p->history->events[i];
    if (gathers && lnt__event_is_inbox(event->kind)) gather(p, event);
    switch (event->kind) {
      case LNT_EVENT_STARTED: p->start_us = event->due_us; break;
      case LNT_EVENT_TURN: p->has_turns = true; break;
      case LNT_EVENT_SUSPENDED: p->suspended = event; break;
      case LNT_EVENT_EVENT_RAISED: on_raised(p, event, gathers); break;
      case LNT_EVENT_EMITTED: on_emitted(p, event); break;
      case LNT_EVENT_UPDATE_REQUESTED:
        if (!gathers) ADD(p, p->updates, event); /* accepted, unless it says otherwise below */
        break;
      case LNT_EVENT_UPDATE_ACCEPTED: ADD(p, p->updates, event); break;
      case LNT_EVENT_UPDATE_ANSWERED: case LNT_EVENT_UPDATE_REJECTED: on_answered(p, event); break;
      case LNT_EVENT_ACTIVITY_SCHEDULED: case LNT_EVENT_TIMER_CREATED: case LNT_EVENT_EVENT_AWAITED: case LNT_EVENT_CHILD_SCHEDULED:
        on_command(p, event);
        break;
      case LNT_EVENT_ACTIVITY_COMPLETED: case LNT_EVENT_ACTIVITY_FAILED: case LNT_EVENT_ACTIVITY_RETRIED: case LNT_EVENT_TIMER_FIRED:
      case LNT_EVENT_COMMAND_CANCELED: case LNT_EVENT_CHILD_COMPLETED: case LNT_EVENT_CHILD_FAILED: case LNT_EVENT_CHILD_RETRIED:
      case LNT_EVENT_ACTIVITY_DEFERRED:
        on_seq(p, event);
        break;
      default: break;
    }
    if (lnt__event_is_end(event->kind))
      p->pendings.count = p->buffered.count = p->updates.count = p->gathered.count = p->undelivered = 0;
  }
}

/* What the body itself knows better, of the first `turns_end` events. Its buffered events are the last that came of their names. */
static void correct(picture *p, lnt__turn *body, size_t turns_end) {
  for (size_t i = 0; i < p->pendings.count; i++) {
    pending *at = &p->pendings.items[i];
    at->gone = lnt__cmd_find(body, at->command->seq) == NULL;
  }
  p->buffered.count = 0;
  for (size_t i = 0; i < body->buffered_count; i++) {
    const lnt__buffered *kept = &body->buffered[i];
    uint32_t order = 0;
    for (size_t at = 0; at < turns_end; at++) {
      const lnt__event *event = &p->history->events[at];
      order += event->kind == LNT_EVENT_EVENT_RAISED;
      if (event->kind != LNT_EVENT_EVENT_RAISED || order != kept->order) continue;
      ADD(p, p->buffered, event);
      break;
    }
  }
}

/* ---- Writing ---- */

typedef struct map { lnt__cbor_map map; size_t count; lnt__buf *out; } map;

static void open_map(map *m, lnt__buf *out) {
  *m = (map){.out = out};
  lnt__cbor_map_begin(out, &m->map);
}

static void key(map *m, const char *name) {
  lnt__cbor_cstring(m->out, name);
  m->count++;
}

static void put_text(map *m, const char *name, lnt_value text) {
  key(m, name);
  lnt__cbor_string(m->out, text.size ? text.data : "", text.size);
}

static void put_cstring(map *m, const char *name, const char *text) { put_text(m, name, (lnt_value){text, strlen(text)}); }

static void put_int(map *m, const char *name, int64_t number) {
  key(m, name);
  lnt__cbor_int(m->out, number);
}

static void put_value(map *m, const char *name, lnt_value value) {
  if (!value.size) return;
  key(m, name);
  lnt__buf_append(m->out, value.data, value.size);
}

static void close_map(map *m) {
  if (!lnt__cbor_map_end(m->out, &m->map, m->count, false)) m->out->failed = true;
}

static const char *state_of(const pending *p) {
  if (p->live && p->live->state == LNT__CMD_BEGUN) return "running";
  if (p->last && p->last->kind == LNT_EVENT_ACTIVITY_DEFERRED && p->last->attempt == p->attempt) return "deferred";
  if (p->last && p->attempt > 1 && (!p->live || p->live->state == LNT__CMD_DELAYED)) return "retrying";
  return "scheduled";
}

/* When the attempt is given up; 0: never, or it is not known. */
static int64_t deadline_of(const pending *p) {
  int64_t due_us = INT64_MAX;
  for (int i = 0; p->live && p->live->plan && i < LNT__TIMEOUTS; i++)
    if (p->live->plan->due_us[i] < due_us) due_us = p->live->plan->due_us[i];
  if (due_us == INT64_MAX && p->last && p->last->kind == LNT_EVENT_ACTIVITY_DEFERRED && p->last->due_us) due_us = p->last->due_us;
  return due_us == INT64_MAX ? 0 : due_us;
}

static void write_attempt(map *m, const pending *p) {
  put_int(m, "attempt", p->attempt);
  if (p->last && p->last->kind != LNT_EVENT_ACTIVITY_DEFERRED) {
    put_int(m, "next_try_us", p->last->due_us);
    put_value(m, "last_failure", p->last->value);
  }
}

/* Of an attempt that is begun or deferred: what lnt_complete() is given. */
static void write_token(map *m, const pending *p, const char *state, uint64_t run) {
  char text[LNT_TOKEN_TEXT_BYTES];
  if (strcmp(state, "running") != 0 && strcmp(state, "deferred") != 0) return;
  lnt_token_text((lnt_token){run, p->command->seq, p->attempt}, text);
  put_cstring(m, "token", text);
}

static void write_activity(const pending *p, uint64_t run, lnt__buf *out) {
  map m;
  int64_t deadline_us = deadline_of(p);
  open_map(&m, out);
  put_int(&m, "seq", p->command->seq);
  put_text(&m, "name", p->command->name);
  put_cstring(&m, "state", state_of(p));
  put_int(&m, "scheduled_us", p->command->time_us);
  write_attempt(&m, p);
  if (deadline_us) put_int(&m, "deadline_us", deadline_us);
  if (p->live && p->live->beat) put_value(&m, "heartbeat", (lnt_value){p->live->beat->bytes, p->live->beat->size});
  write_token(&m, p, state_of(p), run);
  close_map(&m);
}

static void write_timer(const pending *p, uint64_t run, lnt__buf *out) {
  map m;
  (void)run;
  open_map(&m, out);
  put_int(&m, "seq", p->command->seq);
  put_int(&m, "due_us", p->command->due_us);
  close_map(&m);
}

static void write_awaited(const pending *p, uint64_t run, lnt__buf *out) {
  map m;
  (void)run;
  open_map(&m, out);
  put_int(&m, "seq", p->command->seq);
  put_text(&m, "name", p->command->name);
  put_int(&m, "since_us", p->command->time_us);
  if (p->command->due_us) put_int(&m, "until_us", p->command->due_us);
  close_map(&m);
}

static void write_child(const pending *p, uint64_t run, lnt__buf *out) {
  map m;
  (void)run;
  bool again = p->last && p->last->id.size;
  open_map(&m, out);
  put_int(&m, "seq", p->command->seq);
  put_text(&m, "id", again ? p->last->id : p->command->id);
  put_text(&m, "workflow", p->command->name);
  put_int(&m, "since_us", p->command->time_us);
  if (p->command->due_us) put_int(&m, "until_us", p->command->due_us);
  write_attempt(&m, p);
  close_map(&m);
}

typedef void (*pending_writer)(const pending *p, uint64_t run, lnt__buf *out);

static void write_pendings(map *m, const char *name, const picture *p, lnt_event_kind kind, pending_writer write) {
  size_t count = 0, left;
  for (size_t i = 0; i < p->pendings.count; i++) count += !p->pendings.items[i].gone && p->pendings.items[i].command->kind == kind;
  left = count < LISTED_MAX ? count : LISTED_MAX;
  key(m, name);
  lnt__cbor_array(m->out, left);
  for (size_t i = 0; left; i++) {
    if (p->pendings.items[i].gone || p->pendings.items[i].command->kind != kind) continue;
    write(&p->pendings.items[i], p->row->run, m->out);
    left--;
  }
}

static size_t at_most(size_t count) { return count < LISTED_MAX ? count : LISTED_MAX; }

static void write_buffered(map *m, const picture *p) {
  key(m, "buffered");
  lnt__cbor_array(m->out, at_most(p->buffered.count));
  for (size_t i = 0; i < at_most(p->buffered.count); i++) {
    map one;
    open_map(&one, m->out);
    put_text(&one, "name", p->buffered.items[i]->name);
    put_int(&one, "raised_us", p->buffered.items[i]->time_us);
    close_map(&one);
  }
}

/* What the event is about: its own name, or that of the command it answers. */
static lnt_value name_of(picture *p, const lnt__event *event) {
  const pending *at = event->seq ? find(p, event->seq) : NULL;
  return at ? at->command->name : event->name;
}

static void write_gathered(map *m, picture *p) {
  key(m, "gathered");
  lnt__cbor_array(m->out, at_most(p->gathered.count));
  for (size_t i = 0; i < at_most(p->gathered.count); i++) {
    const lnt__event *event = p->gathered.items[i];
    lnt_value name = name_of(p, event);
    map one;
    open_map(&one, m->out);
    put_cstring(&one, "kind", lnt_event_kind_name(event->kind));
    put_int(&one, "time_us", event->time_us);
    if (name.size) put_text(&one, "name", name);
    if (event->seq) put_int(&one, "seq", event->seq);
    if (event->id.size) put_text(&one, "id", event->id);
    close_map(&one);
  }
}

static void write_updates(map *m, const picture *p) {
  key(m, "updates");
  lnt__cbor_array(m->out, at_most(p->updates.count));
  for (size_t i = 0; i < at_most(p->updates.count); i++) {
    map one;
    open_map(&one, m->out);
    put_text(&one, "id", p->updates.items[i]->id);
    put_text(&one, "name", p->updates.items[i]->name);
    put_int(&one, "accepted_us", p->updates.items[i]->time_us);
    close_map(&one);
  }
}

static void write_streams(map *m, const picture *p) {
  key(m, "streams");
  lnt__cbor_array(m->out, at_most(p->streams.count));
  for (size_t i = 0; i < at_most(p->streams.count); i++) {
    map one;
    open_map(&one, m->out);
    put_text(&one, "name", p->streams.items[i].name);
    put_int(&one, "count", (int64_t)p->streams.items[i].count);
    put_int(&one, "last_us", p->streams.items[i].last_us);
    close_map(&one);
  }
}

/* ---- The reason, for people ---- */

typedef struct text { char bytes[REASON_BYTES]; size_t size; } text;

static void say(text *t, const char *format, ...) LNT__PRINTF(2, 3);
static void say(text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int size = vsnprintf(t->bytes + t->size, sizeof(t->bytes) - t->size, format, args);
  va_end(args);
  if (size > 0) t->size += (size_t)size < sizeof(t->bytes) - t->size ? (size_t)size : sizeof(t->bytes) - t->size - 1;
}

/* "2026-11-24 14:05:09 UTC" */
static void say_time(text *t, int64_t us) {
  int64_t seconds = us / 1000000, days = seconds / 86400, second = seconds % 86400;
  int64_t z = days + 719468, era = z / 146097, doe = z % 146097; /* days since 0000-03-01, in eras of 400 years */
  int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  int64_t mp = (5 * doy + 2) / 153, day = doy - (153 * mp + 2) / 5 + 1, month = mp < 10 ? mp + 3 : mp - 9;
  say(t, "%04" PRId64 "-%02" PRId64 "-%02" PRId64 " %02" PRId64 ":%02" PRId64 ":%02" PRId64 " UTC", yoe + era * 400 + (month <= 2), month,
      day, second / 3600, second / 60 % 60, second % 60);
}

static void say_name(text *t, const char *what, lnt_value name) {
  int size = (int)(name.size < 80 ? name.size : 80);
  say(t, "%s \"%.*s\"", what, size, size ? (const char *)name.data : "");
}

static void say_failure(text *t, lnt_value failure) {
  size_t type_size = 0, size = 0;
  const char *type = lnt__cbor_member_string(failure, "type", &type_size);
  const char *message = lnt__cbor_member_string(failure, "message", &size);
  say(t, "%.*s: %.*s", type ? (int)(type_size < 60 ? type_size : 60) : 5, type ? type : "Error", (int)(size < 200 ? size : 200),
      message ? message : "");
}

static void say_activity(text *t, const pending *p) {
  const char *state = state_of(p);
  say_name(t, "the activity", p->command->name);
  if (strcmp(state, "running") == 0) say(t, " (attempt %u runs)", p->attempt);
  if (strcmp(state, "deferred") == 0) say(t, " (to be answered from outside)");
  if (strcmp(state, "retrying") != 0) return;
  say(t, " (attempt %u at ", p->attempt);
  say_time(t, p->last->due_us);
  say(t, ", after ");
  say_failure(t, p->last->value);
  say(t, ")");
}

static void say_pending(text *t, const pending *p) {
  switch (p->command->kind) {
    case LNT_EVENT_ACTIVITY_SCHEDULED: say_activity(t, p); return;
    case LNT_EVENT_EVENT_AWAITED: say_name(t, "the event", p->command->name); break;
    case LNT_EVENT_CHILD_SCHEDULED: say_name(t, "the child", p->last && p->last->id.size ? p->last->id : p->command->id); break;
    default:
      say(t, "a timer due ");
      say_time(t, p->command->due_us);
      return;
  }
  if (!p->command->due_us) return;
  say(t, " until ");
  say_time(t, p->command->due_us);
}

/* The branches of what lnt__vm.inspect said, one after the other. */
typedef struct branch {
  const char *at, *waits_for;
  size_t at_size, waits_for_size, seq_count;
  lnt__reader seqs;
} branch;

static lnt__reader branches_of(lnt_value inspected, size_t *count) {
  lnt_value list;
  *count = 0;
  if (!inspected.size || !lnt__cbor_member(inspected, "branches", &list)) return lnt__reader_of(NULL, 0);
  lnt__reader reader = lnt__reader_of(list.data, list.size);
  *count = lnt__cbor_next(&reader).as.count;
  return reader;
}

static bool next_branch(lnt__reader *reader, branch *out) {
  const uint8_t *begin = reader->at;
  lnt_value seqs;
  if (!lnt__cbor_skip(reader)) return false;
  lnt_value whole = {begin, (size_t)(reader->at - begin)};
  out->at = lnt__cbor_member_string(whole, "at", &out->at_size);
  out->waits_for = lnt__cbor_member_string(whole, "waits_for", &out->waits_for_size);
  if (!out->at || !out->waits_for || !lnt__cbor_member(whole, "seqs", &seqs)) return false;
  out->seqs = lnt__reader_of(seqs.data, seqs.size);
  out->seq_count = lnt__cbor_next(&out->seqs).as.count;
  return true;
}

static void say_branch(text *t, picture *p, branch *b) {
  size_t named = 0;
  bool any = b->waits_for_size == 3 && memcmp(b->waits_for, "any", 3) == 0;
  for (size_t i = 0; i < b->seq_count; i++) {
    lnt__cbor_item item = lnt__cbor_next(&b->seqs);
    const pending *at = item.type == LNT__CBOR_INT ? find(p, (uint32_t)item.as.integer) : NULL;
    if (!at || at->gone) continue;
    if (named < NAMED_MAX) {
      say(t, "%s", named ? any ? " or " : " and " : "");
      say_pending(t, at);
    }
    named++;
  }
  if (named > NAMED_MAX) say(t, " %s %zu more", any ? "or" : "and", named - NAMED_MAX);
  if (!named) say(t, "what it started");
  say(t, ", at %.*s", (int)b->at_size, b->at);
}

/* The main branch; or, if it waits for other branches, the first of them that waits for something. */
static bool say_branches(text *t, picture *p) {
  size_t count;
  lnt__reader reader = branches_of(p->inspected, &count);
  branch first, other;
  if (!count || !next_branch(&reader, &first)) return false;
  say(t, "waits for ");
  branch shown = first;
  say_branch(t, p, &shown);
  if (first.seq_count) return true;
  while (--count && next_branch(&reader, &other)) {
    if (!other.seq_count) continue;
    say(t, "; a branch waits for ");
    say_branch(t, p, &other);
    break;
  }
  return true;
}

static void say_folded(text *t, const picture *p) {
  size_t named = 0;
  for (size_t i = 0; i < p->pendings.count; i++) {
    if (p->pendings.items[i].gone) continue;
    if (named < NAMED_MAX) {
      say(t, "%s", named ? ", " : "waits for ");
      say_pending(t, &p->pendings.items[i]);
    }
    named++;
  }
  if (named > NAMED_MAX) say(t, " and %zu more", named - NAMED_MAX);
  if (named) return;
  if (p->updates.count) say(t, "waits for %zu updates to be answered", p->updates.count);
  else say(t, "waits for nothing that is known; look at its history");
}

static void say_gathered(text *t, picture *p, const lnt__event *event) {
  static const struct { const char *what, *otherwise; } words[] = {
      [LNT_EVENT_EVENT_RAISED] = {"the event", ""},          [LNT_EVENT_ACTIVITY_COMPLETED] = {"the result of", ""},
      [LNT_EVENT_ACTIVITY_FAILED] = {"the failure of", ""},  [LNT_EVENT_CHILD_COMPLETED] = {"the result of the child", ""},
      [LNT_EVENT_CHILD_FAILED] = {"the failure of the child", ""}, [LNT_EVENT_TIMER_FIRED] = {"the timeout of", "a timer"},
      [LNT_EVENT_UPDATE_ACCEPTED] = {"the update", ""},      [LNT_EVENT_UPDATE_REQUESTED] = {"the update", ""},
      [LNT_EVENT_CANCEL_REQUESTED] = {NULL, "a request to cancel it"}, [LNT_EVENT_FORKED] = {NULL, "its beginning as a copy"},
      [LNT_EVENT_TERMINATE_REQUESTED] = {NULL, "a request to terminate it"},
  };
  lnt_value name = name_of(p, event);
  bool known = event->kind < LNT__COUNT(words) && words[event->kind].otherwise;
  if (!known) say(t, "%s", lnt_event_kind_name(event->kind));
  else if (name.size && words[event->kind].what) say_name(t, words[event->kind].what, name);
  else say(t, "%s", words[event->kind].otherwise);
}

static void say_suspended(text *t, picture *p) {
  size_t count = p->gathered.count;
  lnt__reader reader = lnt__reader_of(p->suspended ? p->suspended->value.data : NULL, p->suspended ? p->suspended->value.size : 0);
  lnt__cbor_item why = p->suspended && p->suspended->value.size ? lnt__cbor_next(&reader) : (lnt__cbor_item){0};
  bool told = p->suspended && p->suspended->value.size && why.type == LNT__CBOR_STRING;
  say(t, "suspended");
  if (told) say(t, " (%.*s)", (int)(why.as.string.size < 200 ? why.as.string.size : 200), (const char *)why.as.string.data);
  say(t, "; ");
  for (size_t i = 0; i < count && i < NAMED_MAX; i++) {
    say(t, "%s", i == 0 ? "" : i + 1 == count ? " and " : ", ");
    say_gathered(t, p, p->gathered.items[i]);
  }
  if (count > NAMED_MAX) say(t, " and %zu more", count - NAMED_MAX);
  say(t, "%s gathered, and it goes on when it is resumed", count == 0 ? "nothing has" : count == 1 ? " has" : " have");
}

static void say_why(text *t, picture *p) {
  lnt_run_status status = p->row->status;
  if (status == LNT_RUN_STALLED) {
    say(t, "stalled: ");
    say_failure(t, p->row->failure);
  } else if (status == LNT_RUN_SUSPENDED) {
    say_suspended(t, p);
  } else if (!p->has_turns && p->start_us > p->row->created_us) {
    say(t, "starts at ");
    say_time(t, p->start_us);
  } else if (!p->has_turns) {
    say(t, "accepted: its first turn has not run yet");
  } else if (p->undelivered) {
    say(t, "about to go on: %zu events wait for its next turn", p->undelivered);
  } else if (!say_branches(t, p)) {
    say_folded(t, p);
  }
}

/* ---- Putting it together ---- */

static void write_inspected(map *m, const picture *p) {
  lnt_value member;
  static const char *const members[][2] = {{"branches", "branches"}, {"queries", "queries"}, {"updates", "update_handlers"}};
  for (size_t i = 0; i < LNT__COUNT(members) && p->inspected.size; i++)
    if (lnt__cbor_member(p->inspected, members[i][0], &member)) put_value(m, members[i][1], member);
}

static void write_picture(picture *p, lnt__buf *out) {
  map m;
  text why = {.size = 0};
  bool closed = p->row->closed_us != 0;
  open_map(&m, out);
  put_text(&m, "id", p->row->id);
  put_text(&m, "workflow", p->row->workflow);
  put_cstring(&m, "status", lnt_run_status_name(p->row->status));
  put_int(&m, "run", (int64_t)p->row->run);
  put_int(&m, "generation", (int64_t)p->row->generation);
  if (!closed) say_why(&why, p);
  if (!closed) put_cstring(&m, "reason", why.bytes);
  key(&m, "live");
  lnt__cbor_bool(out, p->inspected.size != 0);
  write_inspected(&m, p);
  write_pendings(&m, "activities", p, LNT_EVENT_ACTIVITY_SCHEDULED, write_activity);
  write_pendings(&m, "timers", p, LNT_EVENT_TIMER_CREATED, write_timer);
  write_pendings(&m, "awaited", p, LNT_EVENT_EVENT_AWAITED, write_awaited);
  write_pendings(&m, "children", p, LNT_EVENT_CHILD_SCHEDULED, write_child);
  write_buffered(&m, p);
  write_updates(&m, p);
  write_gathered(&m, p);
  write_streams(&m, p);
  put_int(&m, "undelivered", (int64_t)p->undelivered);
  close_map(&m);
}

static void finish(picture *p) {
  lnt__free(p->pendings.items);
  lnt__free(p->buffered.items);
  lnt__free(p->updates.items);
  lnt__free(p->gathered.items);
  lnt__free(p->streams.items);
}

/* body: of which `inspected` was said; memory: the instance, if it is loaded. Both may be NULL. */
static lnt_status describe(const lnt__row *row, const lnt__history *history, lnt_value inspected, lnt__turn *body, lnt__turn *memory,
                           lnt__buf *out, lnt_error *err) {
  picture p = {.row = row, .history = history, .inspected = inspected};
  size_t turns_end = history->count;
  while (turns_end > 0 && history->events[turns_end - 1].kind != LNT_EVENT_TURN) turns_end--;
  fold(&p, 0, turns_end, false);
  if (body) correct(&p, body, turns_end);
  fold(&p, turns_end, history->count, true);
  for (size_t i = 0; i < p.pendings.count && memory; i++)
    p.pendings.items[i].live = lnt__cmd_find(memory, p.pendings.items[i].command->seq);
  if (!p.failed) write_picture(&p, out);
  bool good = !p.failed && !out->failed;
  finish(&p);
  return good ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory while an instance was described");
}

/* The only values that are told of are failures of attempts and why it is suspended. */
static lnt_status read_history(lnt__store *store, uint64_t run, lnt__history *history, lnt_error *err) {
  const uint64_t kinds = LNT__KIND_BIT(ACTIVITY_RETRIED) | LNT__KIND_BIT(CHILD_RETRIED) | LNT__KIND_BIT(SUSPENDED);
  lnt_status status = lnt__journal_outline(store, run, history, err);
  return status == LNT_OK ? lnt__history_fetch_kinds(store, history, kinds, err) : status;
}

lnt_status lnt__describe_stored(lnt__store *store, uint64_t run, lnt__buf *out, lnt_error *err) {
  lnt__row row;
  void *memory = NULL;
  lnt__history history;
  lnt__history_init(&history);
  lnt_status status = read_history(store, run, &history, err); /* before the row: what the row says finished is then folded whole */
  if (status == LNT_OK) status = lnt__journal_row(store, run, &row, &memory, err);
  if (status == LNT_OK) status = describe(&row, &history, LNT_VALUE_NIL, NULL, NULL, out, err);
  lnt__free(memory);
  lnt__history_finish(&history);
  return status;
}

/* A finished instance has no branches, and one that is stalled none that stand at their wait. */
static bool has_branches(const lnt__turn *turn) { return !lnt__instance_closed(turn) && turn->status != LNT_RUN_STALLED; }

static lnt_status describe_loaded(lnt__turn *turn, const lnt__row *row, const lnt__history *history, lnt__buf *out, lnt_error *err) {
  const lnt__vm *vm = &turn->engine->vm;
  lnt__turn copy, *body = turn->body && lnt__instance_clean(turn) ? turn : NULL;
  lnt__buf inspected;
  lnt_status status = LNT_OK;
  bool copied = !body && has_branches(turn);
  lnt__buf_init(&inspected);
  if (copied) {
    status = lnt__copy_rebuild(&copy, turn, err);
    if (status == LNT_OK && copy.body && copy.refusal == LNT__REFUSAL_NONE) body = &copy;
  }
  if (body) status = vm->inspect(vm->vm, body, body->body, &inspected, err);
  if (status == LNT_OK) status = describe(row, history, (lnt_value){inspected.data, inspected.size}, body, turn, out, err);
  if (copied) lnt__copy_finish(&copy);
  lnt__buf_finish(&inspected);
  return status;
}

lnt_status lnt__engine_describe(lnt__engine *engine, const char *id, lnt__buf *out, lnt_error *err) {
  lnt__row row;
  void *memory = NULL;
  lnt__history history;
  lnt_status status = lnt__accepting(engine, err);
  if (status != LNT_OK) return status;
  lnt__turn *turn = lnt__instance_by_id(engine, id, &status, err);
  if (!turn) return status;
  lnt__history_init(&history);
  status = read_history(engine->store, turn->run, &history, err);
  if (status == LNT_OK) status = lnt__journal_row(engine->store, turn->run, &row, &memory, err);
  if (status == LNT_ENOTFOUND) lnt__fail(err, status, "the start of instance '%s' is not durable yet", id);
  if (status == LNT_OK) status = describe_loaded(turn, &row, &history, out, err);
  lnt__free(memory);
  lnt__history_finish(&history);
  lnt__instance_release(turn);
  return status;
}
