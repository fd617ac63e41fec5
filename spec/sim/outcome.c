/* outcome.c - what came of a run, as text that is equal for equal outcomes. Called by world.c. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

enum { BRIEF_BYTES = 300 };

/* Whole values by their checksum, for people by their beginning. */
static void add_value(lnt__buf *out, const char *what, lnt_value value) {
  char brief[BRIEF_BYTES];
  if (!value.size) return;
  lnt__cbor_brief(value, brief, sizeof brief);
  lnt__buf_printf(out, " %s=%08x:%s", what, (unsigned)lnt__checksum(value.data, value.size), brief);
}

static void add_event(const sim_program *program, const lnt__event *event, lnt__buf *out) {
  lnt_event_kind kind = event->kind == LNT_EVENT_UPDATE_REQUESTED ? LNT_EVENT_UPDATE_ACCEPTED : event->kind; /* none that was refused */
  lnt__buf_printf(out, "  %s", lnt_event_kind_name(kind));
  if (event->name.size) lnt__buf_printf(out, " %.*s", (int)event->name.size, (const char *)event->name.data);
  if (program->timed)
    lnt__buf_printf(out, " #%u/%u at %lld due %lld", event->seq, event->attempt, (long long)event->time_us, (long long)event->due_us);
  if (event->id.size) lnt__buf_printf(out, " id %.*s", (int)event->id.size, (const char *)event->id.data);
  bool child = event->kind == LNT_EVENT_STARTED && memchr(event->id.data, 'k', event->id.size);
  if (event->kind == LNT_EVENT_STARTED && (program->timed || !child)) /* that of a child hangs on the number of the command */
    lnt__buf_printf(out, " seed %llx", (unsigned long long)event->seed);
  add_value(out, "value", event->value);
  add_value(out, "options", event->options);
  if (event->detail.size) lnt__buf_printf(out, " detail %08x", (unsigned)lnt__checksum(event->detail.data, event->detail.size));
  lnt__buf_u8(out, '\n');
}

static int compare_lines(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void sort_lines(lnt__buf *lines) {
  size_t count = 0, at = 0;
  lnt__buf_u8(lines, 0);
  for (size_t i = 0; i < lines->size; i++) count += lines->data[i] == '\n';
  char **line = calloc(count + 1, sizeof *line);
  char *copy = malloc(lines->size);
  memcpy(copy, lines->data, lines->size);
  for (char *from = copy; at < count; from = strchr(from, '\n') + 1) line[at++] = from;
  for (char *c = copy; *c; c++) *c = *c == '\n' ? 0 : *c;
  qsort(line, count, sizeof *line, compare_lines);
  lnt__buf_clear(lines);
  for (size_t i = 0; i < count; i++) lnt__buf_printf(lines, "%s\n", line[i]);
  free(copy);
  free(line);
}

/* Where turns end, and that one had to be tried again, is not the workflow's business. In untimed programs an event that nobody needs may
 * come before or after the end, a pause too, and a start that was late anyway waits for nothing. */
static bool counts(const sim_program *program, const lnt__event *event) {
  if (event->kind == LNT_EVENT_TURN || event->kind == LNT_EVENT_STALLED || event->kind == LNT_EVENT_RESUMED) return false;
  if (program->timed) return true;
  bool starts = event->kind == LNT_EVENT_TIMER_FIRED && event->seq == 0, pauses = event->kind == LNT_EVENT_SUSPENDED ||
                event->kind == LNT_EVENT_UNSUSPENDED;
  return !starts && !pauses && event->kind != LNT_EVENT_EVENT_RAISED;
}

/* What an instance was told, how its attempts fared, and what its body made. Where an answer stands among the commands depends on whose
 * turn was first at that very time, and on whether the turn was tried again in its middle. */
enum { TOLD, ATTEMPTED, MADE, GROUPS };

static int group_of(lnt_event_kind kind) {
  if (lnt__event_is_inbox(kind)) return TOLD;
  return kind == LNT_EVENT_ACTIVITY_DEFERRED || kind == LNT_EVENT_ACTIVITY_RETRIED ? ATTEMPTED : MADE;
}

/* A turn that is tried again stops once more the children that it stopped before. */
static bool is_said_again(const lnt__history *history, size_t i) {
  const lnt__event *event = &history->events[i];
  for (size_t k = 0; event->kind == LNT_EVENT_TERMINATE_REQUESTED && k < i; k++)
    if (history->events[k].kind == event->kind && history->events[k].time_us == event->time_us) return true;
  return false;
}

static bool is_id(const lnt__event *event, lnt_event_kind kind, lnt_value id) {
  return event->kind == kind && event->id.size == id.size && memcmp(event->id.data, id.data, id.size) == 0;
}

/* Whether an update that came too early was refused on the spot, which leaves no trace, or after a pause is a matter of when it was
 * asked. */
static bool is_refused(const lnt__history *history, size_t i) {
  const lnt__event *event = &history->events[i];
  if (event->kind == LNT_EVENT_UPDATE_REJECTED) return true;
  size_t requests = 0, refusals = 0;
  for (size_t k = 0; event->kind == LNT_EVENT_UPDATE_REQUESTED && k < history->count; k++) {
    requests += k <= i && is_id(&history->events[k], LNT_EVENT_UPDATE_REQUESTED, event->id);
    refusals += is_id(&history->events[k], LNT_EVENT_UPDATE_REJECTED, event->id);
  }
  return requests <= refusals && requests;
}

/* Whether an attempt began before its call was given up is a matter of when the turn was tried again. */
static bool is_given_up(const lnt__history *history, size_t i) {
  for (size_t k = 0; k < history->count && group_of(history->events[i].kind) == ATTEMPTED; k++)
    if (history->events[k].kind == LNT_EVENT_COMMAND_CANCELED && history->events[k].seq == history->events[i].seq) return true;
  return false;
}

/* In the order they came within their groups. */
static void add_history(const sim_program *program, lnt__store *store, uint64_t run, lnt__buf *out) {
  lnt__history history;
  lnt__buf lines;
  lnt_error err = {0};
  lnt__history_init(&history);
  lnt__buf_init(&lines);
  if (lnt__journal_history(store, run, &history, &err)) lnt__buf_printf(&lines, "  unreadable: %s\n", err.message);
  for (int group = 0; group < GROUPS; group++)
    for (size_t i = 0; i < history.count; i++)
      if (group_of(history.events[i].kind) == group && counts(program, &history.events[i]) && !is_said_again(&history, i) &&
          !is_given_up(&history, i) && !is_refused(&history, i))
        add_event(program, &history.events[i], &lines);
  if (!program->timed) sort_lines(&lines);
  lnt__buf_append(out, lines.data, lines.size);
  lnt__buf_finish(&lines);
  lnt__history_finish(&history);
}

/* ---- Instances ---- */

typedef struct run_name { char id[LNT_ID_BYTES_MAX + 1]; uint64_t generation, run; } run_name;
typedef struct run_names { run_name *items; size_t count; } run_names;

static int add_run(void *user, lnt__slice key, lnt__slice value) {
  run_names *names = user;
  lnt__row row;
  if (!lnt__row_read(value, &row)) return 0;
  names->items = realloc(names->items, (names->count + 1) * sizeof *names->items);
  run_name *name = &names->items[names->count++];
  snprintf(name->id, sizeof name->id, "%.*s", (int)row.id.size, (const char *)row.id.data);
  name->generation = row.generation;
  name->run = lnt__get_be64(key.data);
  return 0;
}

static int compare_names(const void *a, const void *b) {
  const run_name *x = a, *y = b;
  int order = strcmp(x->id, y->id);
  return order ? order : x->generation < y->generation ? -1 : x->generation > y->generation;
}

static void add_instance(const sim_program *program, lnt__store *store, const run_name *name, lnt__buf *out) {
  lnt__row row;
  void *memory = NULL;
  lnt_error err = {0};
  if (lnt__journal_row(store, name->run, &row, &memory, &err)) {
    lnt__buf_printf(out, "%s: %s\n", name->id, err.message);
    return;
  }
  lnt__buf_printf(out, "%s: generation %llu %s", name->id, (unsigned long long)name->generation, lnt_run_status_name(row.status));
  if (program->timed) lnt__buf_printf(out, " closed %lld", (long long)row.closed_us);
  if (program->timed) add_value(out, "custom", row.custom_status);
  if (program->timed) add_value(out, "attributes", row.attributes);
  add_value(out, "failure", row.failure);
  lnt__buf_u8(out, '\n');
  lnt__free(memory);
  add_history(program, store, name->run, out);
}

static void read_names(lnt__store *store, run_names *names) {
  lnt__slice all = {0};
  store->vtable->scan(store, LNT__TABLE_INSTANCE, all, all, false, add_run, names, NULL);
  if (names->count) qsort(names->items, names->count, sizeof *names->items, compare_names);
}

void sim_outcome(const sim_program *program, lnt__store *store, lnt__buf *out) {
  run_names names = {0};
  read_names(store, &names);
  for (size_t i = 0; i < names.count; i++) add_instance(program, store, &names.items[i], out);
  free(names.items);
  lnt__buf_u8(out, 0);
}

/* ---- Commands ---- */

static void add_hex(lnt__buf *out, lnt_value value) {
  const uint8_t *bytes = value.data;
  for (size_t i = 0; i < value.size; i++) lnt__buf_printf(out, "%02x", bytes[i]);
}

static void add_commands(lnt__store *store, const run_name *name, lnt__buf *out) {
  lnt__history history;
  lnt__history_init(&history);
  lnt__buf_printf(out, "-- %s, generation %llu\n", name->id, (unsigned long long)name->generation);
  if (lnt__journal_history(store, name->run, &history, NULL) == LNT_OK) {
    for (size_t i = 0; i < history.count; i++) {
      const lnt__event *e = &history.events[i];
      bool ends = e->kind == LNT_EVENT_COMPLETED || e->kind == LNT_EVENT_FAILED || e->kind == LNT_EVENT_CANCELED ||
                  e->kind == LNT_EVENT_CONTINUED_AS_NEW;
      if (!lnt__event_is_command(e->kind) && !ends) continue;
      lnt__buf_printf(out, "%s %u %.*s %.*s due %lld ", lnt_event_kind_name(e->kind), e->seq, (int)e->name.size,
                      e->name.size ? (const char *)e->name.data : "", (int)e->id.size, e->id.size ? (const char *)e->id.data : "",
                      (long long)e->due_us);
      add_hex(out, e->value);
      lnt__buf_u8(out, ' ');
      add_hex(out, e->options);
      lnt__buf_u8(out, '\n');
    }
  }
  lnt__history_finish(&history);
}

void sim_commands(lnt__store *store, lnt__buf *out) {
  run_names names = {0};
  read_names(store, &names);
  for (size_t i = 0; i < names.count; i++) add_commands(store, &names.items[i], out);
  free(names.items);
}
