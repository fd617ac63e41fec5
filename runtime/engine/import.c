/* import.c - an instance that comes from a file: what it puts into the store, in one batch, and how the engine takes it up when that is
 * durable. Called by the driver between turns.
 *
 * Runs keep their numbers where those are higher than any here: then tokens and cursors stay what they were. Else all get new ones, in the
 * same order. Idempotency keys are made of the history, and stay in any case. */
#include <stdlib.h>

#include "engine/import.h"
#include "engine/internal.h"

enum { RECORD_BYTES = 256 << 10 }; /* of a record, about */
#define RUN_KEPT_MAX (1ull << 48)

static lnt_status no_memory(lnt_error *err) { return lnt__fail(err, LNT_ENOMEM, "out of memory while an instance was imported"); }

/* ---- May it come here? ---- */

static lnt_status check_root(const lnt__archive *archive, lnt_error *err) {
  const lnt__archive_run *root = &archive->runs[0];
  if (root->is_newest && root->row.status != LNT_RUN_CONTINUED_AS_NEW) return LNT_OK;
  return lnt__fail(err, LNT_EINVAL, "the file has an earlier run of '%.*s', which cannot go on under that id; import it with a new id, or "
                   "replay it", (int)root->row.id.size, (const char *)root->row.id.data);
}

/* Nothing of this id may be in the store, in memory, or on its way out. */
static lnt_status check_id(lnt__engine *engine, const char *id, lnt_error *err) {
  uint64_t run;
  lnt_error cause = {LNT_OK, ""};
  lnt_status status = lnt__strmap_get(&engine->by_id, id) ? LNT_OK : lnt__journal_find(engine->store, id, &run, &cause);
  if (status == LNT_ENOTFOUND) return LNT_OK;
  if (status != LNT_OK) return lnt__fail(err, status, "%s", cause.message);
  return lnt__fail(err, LNT_EEXIST, "an instance with the id '%s' exists; purge it first, or import under a new id", id);
}

/* Ids are led to by one run each, and no run is without one that its id leads to. */
static lnt_status check_ids(lnt__engine *engine, const lnt__archive *archive, lnt_error *err) {
  lnt__strmap ids;
  lnt_status status = LNT_OK;
  lnt__strmap_init(&ids);
  for (int newest = 1; newest >= 0 && !status; newest--) {
    for (size_t i = 0; i < archive->run_count && !status; i++) {
      const lnt__archive_run *run = &archive->runs[i];
      if (run->is_newest != (newest == 1)) continue;
      char *id = lnt__strndup(run->row.id.data, run->row.id.size);
      bool known = id && lnt__strmap_get(&ids, id);
      if (!id) status = no_memory(err);
      else if (known == (newest == 1))
        status = lnt__fail(err, LNT_ECORRUPT, "the file is damaged: the runs of '%s' are not one instance", id);
      else if (newest) status = check_id(engine, id, err);
      if (!status && newest && lnt__strmap_put(&ids, id, id)) continue;
      if (!status && newest) status = no_memory(err);
      lnt__free(id);
    }
  }
  size_t at = 0;
  const char *key;
  void *value;
  while (lnt__strmap_next(&ids, &at, &key, &value)) lnt__free(value);
  lnt__strmap_finish(&ids);
  return status;
}

static lnt_status check_code(lnt__engine *engine, const lnt__archive *archive, lnt_error *err) {
  for (size_t i = 0; i < archive->run_count; i++) {
    const lnt__row *row = &archive->runs[i].row;
    char hex[2 * LNT__SHA256_BYTES + 1];
    void *value = NULL;
    size_t size;
    if (row->closed_us || lnt__archive_code_of(archive, row->hash)) continue;
    lnt_status status = engine->store->vtable->get(engine->store, LNT__TABLE_CODE, row->hash, LNT__SHA256_BYTES, &value, &size, err);
    lnt__free(value);
    lnt__hex(row->hash, LNT__SHA256_BYTES, hex);
    if (status == LNT_ENOTFOUND) return lnt__fail(err, status, "the code %.12s of '%.*s' is neither in the file nor here", hex,
                                                  (int)row->id.size, (const char *)row->id.data);
    if (status) return status;
  }
  return LNT_OK;
}

/* ---- Numbers ---- */

static int compare_runs(const void *a, const void *b) {
  const lnt__archive_run *x = *(const lnt__archive_run *const *)a, *y = *(const lnt__archive_run *const *)b;
  return (x->row.run > y->row.run) - (x->row.run < y->row.run);
}

static lnt_status number_runs(lnt__engine *engine, lnt__import *import, lnt_error *err) {
  const lnt__archive *archive = import->archive;
  size_t count = archive->run_count;
  import->order = lnt__alloc(count * sizeof *import->order);
  if (!import->order) return no_memory(err);
  for (size_t i = 0; i < count; i++) import->order[i] = &archive->runs[i];
  qsort(import->order, count, sizeof *import->order, compare_runs);
  import->keeps = import->order[0]->row.run >= engine->next_run && import->order[count - 1]->row.run < RUN_KEPT_MAX;
  import->first_run = engine->next_run;
  import->last_run = import->keeps ? import->order[count - 1]->row.run : engine->next_run + count - 1;
  return LNT_OK;
}

/* The number here of a run of the file; 0: it is not in it. */
static uint64_t number_of(const lnt__import *import, uint64_t run) {
  const lnt__archive_run key = {.row = {.run = run}}, *wanted = &key;
  const lnt__archive_run *const *found = bsearch(&wanted, import->order, import->archive->run_count, sizeof *import->order, compare_runs);
  if (!found || run == 0) return 0;
  return import->keeps ? run : import->first_run + (uint64_t)(found - (const lnt__archive_run *const *)import->order);
}

uint64_t lnt__import_number(const lnt__import *import, uint64_t run) { return number_of(import, run); }

/* ---- Histories ---- */

typedef struct record { lnt__import *import; uint64_t run; uint32_t number; lnt__record events; } record;

static bool flush(record *r) {
  uint64_t bytes = 0;
  if (r->events.bytes.size == 0) return true;
  bool good = lnt__record_put(&r->events, r->run, r->number++, r->import->batch, &bytes);
  lnt__record_clear(&r->events);
  return good;
}

static bool add_event(record *r, const lnt__event *event) {
  return lnt__record_add(&r->events, event) && (lnt__record_bytes(&r->events) < RECORD_BYTES || flush(r));
}

static bool is_held(const lnt__import *import, const lnt__archive_run *run) {
  return import->wish.suspend && run->row.closed_us == 0 && run->row.status != LNT_RUN_SUSPENDED;
}

static bool put_history(lnt__import *import, const lnt__archive_run *run, uint64_t number, int64_t now_us) {
  record r = {.import = import, .run = number};
  bool good = true;
  const lnt__event *events = import->archive->events + run->event_at;
  for (size_t i = 0; i < run->event_count && good; i++)
    good = add_event(&r, &events[i]);
  if (is_held(import, run)) {
    int64_t last_us = events[run->event_count - 1].time_us;
    lnt__event held = {.kind = LNT_EVENT_SUSPENDED, .time_us = now_us > last_us ? now_us : last_us};
    good = good && add_event(&r, &held);
  }
  good = good && flush(&r);
  lnt__record_finish(&r.events);
  return good;
}

/* ---- Everything else of a run ---- */

static bool put_sealed(lnt__import *import, lnt__table table, const void *key, size_t key_size) {
  lnt__seal(&import->scratch);
  return !import->scratch.failed && lnt__batch_put(import->batch, table, key, key_size, import->scratch.data, import->scratch.size);
}

static bool put_row(lnt__import *import, const lnt__archive_run *run, uint64_t number) {
  uint8_t apart = 0;
  lnt__row row = run->row;
  row.run = number;
  row.parent_run = number_of(import, row.parent_run);
  if (!row.parent_run) row.parent_seq = 0;
  if (is_held(import, run)) row.status = LNT_RUN_SUSPENDED;
  bool good = lnt__row_put(import->batch, &row, 0, &apart, &import->scratch) && lnt__index_write_row(import->batch, &row, false);
  if (!run->is_newest) good = good && lnt__index_write_older(import->batch, row.id, number, false);
  if (row.created_us < import->last_created_us) good = good && lnt__index_write_era(import->batch, number);
  import->last_created_us = row.created_us;
  return good;
}

static bool put_id(lnt__import *import, const lnt__archive_run *run, uint64_t number) {
  uint8_t bytes[8];
  if (!run->is_newest) return true;
  lnt__put_be64(bytes, number);
  lnt__buf_clear(&import->scratch);
  lnt__buf_append(&import->scratch, bytes, sizeof bytes);
  return put_sealed(import, LNT__TABLE_ID, run->row.id.data, run->row.id.size);
}

static bool put_active(lnt__import *import, const lnt__archive_run *run, uint64_t number) {
  uint8_t key[LNT__KEY_RUN_BYTES], waiting[4];
  if (run->active == LNT__ARCHIVE_IDLE || run->row.closed_us) return true;
  lnt__key_run(key, number);
  lnt__put_be32(waiting, run->waiting);
  return lnt__batch_put(import->batch, LNT__TABLE_ACTIVE, key, sizeof key, waiting, run->active == LNT__ARCHIVE_FULL ? sizeof waiting : 0);
}

static bool put_due(lnt__import *import, const lnt__archive_run *run, uint64_t number) {
  bool good = true;
  for (size_t i = 0; i < run->timer_count && good && run->row.closed_us == 0; i++) {
    const lnt__archive_timer *timer = &import->archive->timers[run->timer_at + i];
    uint8_t key[LNT__KEY_TIMER_BYTES];
    lnt__key_timer(key, timer->due_us, number, timer->seq);
    good = lnt__batch_put(import->batch, LNT__TABLE_TIMER, key, sizeof key, LNT__TIMER_DEFERRED,
                          timer->deferred ? sizeof LNT__TIMER_DEFERRED : 0);
  }
  for (size_t i = 0; i < run->beat_count && good; i++) {
    const lnt__archive_beat *beat = &import->archive->beats[run->beat_at + i];
    uint8_t key[LNT__KEY_HISTORY_BYTES];
    lnt__key_history(key, number, beat->seq);
    lnt__buf_clear(&import->scratch);
    lnt__buf_append(&import->scratch, beat->details.data, beat->details.size);
    good = put_sealed(import, LNT__TABLE_HEARTBEAT, key, sizeof key);
  }
  return good;
}

static bool put_run(lnt__import *import, const lnt__archive_run *run, int64_t now_us) {
  uint64_t number = number_of(import, run->row.run);
  import->live += run->row.closed_us == 0;
  return put_row(import, run, number) && put_id(import, run, number) && put_history(import, run, number, now_us) &&
         put_active(import, run, number) && put_due(import, run, number);
}

lnt_status lnt__import_init(lnt__import *import, lnt__engine *engine, const lnt__archive *archive, lnt__import_wish wish,
                            lnt_error *err) {
  *import = (lnt__import){.archive = archive, .wish = wish, .last_created_us = engine->last_created_us};
  lnt__buf_init(&import->scratch);
  lnt_status status = lnt__accepting(engine, err);
  if (!status && !wish.scratch) status = check_root(archive, err);
  if (!status && !wish.scratch) status = check_ids(engine, archive, err);
  if (!status) status = check_code(engine, archive, err);
  if (!status) status = number_runs(engine, import, err);
  if (!status) import->batch = lnt__batch_create();
  bool good = !status && import->batch;
  for (size_t i = 0; i < archive->run_count && good; i++) good = put_run(import, import->order[i], engine->now_us);
  return status || good ? status : no_memory(err);
}

void lnt__import_finish(lnt__import *import) {
  lnt__batch_destroy(import->batch);
  lnt__free(import->order);
  lnt__buf_finish(&import->scratch);
}

/* ---- Once it is durable ---- */

static void expect(lnt__engine *engine, const lnt__archive_timer *timer, uint64_t run) {
  lnt__due due = {timer->due_us, run, timer->seq, timer->deferred ? LNT__DUE_DEFERRED : LNT__DUE_TIMER};
  if (due.due_us >= engine->horizon_us) lnt__far_expect(engine, due.due_us);
  else if (!lnt__heap_push(&engine->heap, due)) lnt__poison(engine);
}

static void take_up(lnt__engine *engine, const lnt__import *import, const lnt__archive_run *run) {
  uint64_t number = number_of(import, run->row.run);
  if (run->row.closed_us) return;
  if (run->active != LNT__ARCHIVE_IDLE) LNT__PUSH(engine, engine->recover, number);
  bool full = run->active == LNT__ARCHIVE_FULL && run->waiting >= engine->limits.buffered_events_max;
  if (full && !lnt__u64map_put(&engine->full, number, engine)) lnt__poison(engine);
  for (size_t i = 0; i < run->timer_count; i++) expect(engine, &import->archive->timers[run->timer_at + i], number);
  engine->has_beats = engine->has_beats || run->beat_count;
}

void lnt__import_take_up(lnt__engine *engine, const lnt__import *import) {
  engine->next_run = import->last_run + 1;
  engine->last_created_us = import->last_created_us;
  for (size_t i = 0; i < import->archive->run_count; i++) take_up(engine, import, import->order[i]);
}
