/* purge.c - taking instances out of the store. Called by the driver between turns, and by commit.c.
 *
 * One batch takes away everything that leads to a run (its row, its id, its index): from then on it does not exist. Its history and what
 * belongs to it go in slices, with the batches that come, so that a long one is no long commit. Until the last of it is gone the run
 * stands in ACTIVE; a process that is opened and finds it there, and no row, goes on sweeping. */
#include "engine/internal.h"

enum { SWEEP_ROWS_MAX = 1000 }; /* rows of what was purged that one batch deletes */

/* ---- Marking ---- */

static void mark(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  if (lnt__strmap_get(&engine->by_id, turn->id) == turn) lnt__strmap_remove(&engine->by_id, turn->id);
  turn->purging = true;
  lnt__mark_dirty(turn);
  lnt__instance_drop_body(turn);
  lnt__asks_finish(turn); /* nobody is left to answer */
}

/* Does the id lead to this run? */
static lnt_status is_newest(lnt__turn *turn, bool *newest, lnt_error *err) {
  const lnt__turn *known = lnt__strmap_get(&turn->engine->by_id, turn->id);
  uint64_t run;
  if (known || turn->is_new) {
    *newest = known == turn;
    return LNT_OK;
  }
  lnt_status status = lnt__journal_find(turn->engine->store, turn->id, &run, err);
  *newest = status == LNT_OK && run == turn->run;
  return status == LNT_ENOTFOUND ? LNT_OK : status;
}

/* Every run that goes with this one. LNT_EOPEN names one that is not finished. */
static lnt_status gather(lnt__family *f, const lnt__purge *purge, lnt_error *err) {
  lnt_status status = LNT_OK;
  for (size_t i = 0; i < f->runs.count && status == LNT_OK; i++) {
    uint64_t run = f->runs.items[i];
    bool newest;
    lnt__turn *turn = lnt__instance_by_run(f->engine, run, &status, err);
    if (!turn && status == LNT_ENOTFOUND) status = LNT_OK;
    if (!turn) continue;
    if (!lnt__instance_closed(turn) && !purge->force)
      status = lnt__fail(err, LNT_EOPEN, "instance '%s' is %s; terminate it first, or purge with force", turn->id,
                         lnt_run_status_name(turn->status));
    if (status == LNT_OK) status = is_newest(turn, &newest, err);
    if (status == LNT_OK && newest) status = lnt__family_add_older(f, turn, err);
    if (status == LNT_OK && purge->recursive) status = lnt__family_add_children(f, run, err);
    lnt__instance_release(turn);
  }
  return status;
}

/* A history that cannot be read is no reason to keep it. */
static lnt_status end(lnt__turn *turn, lnt_error *err) {
  lnt_status status = lnt__terminate_now(turn, "purged", err);
  if (status != LNT_ECORRUPT) return status;
  lnt__instance_drop_body(turn);
  lnt__cmds_clear(turn, false);
  turn->status = LNT_RUN_TERMINATED;
  return LNT_OK;
}

typedef struct taken { uint64_t runs, instances; } taken;

static lnt_status take_out(lnt__engine *engine, uint64_t run, taken *t, lnt_error *err) {
  lnt_status status = LNT_OK;
  bool newest = false;
  lnt__turn *turn = lnt__instance_by_run(engine, run, &status, err);
  if (!turn) return status == LNT_ENOTFOUND ? LNT_OK : status; /* it was in the list twice */
  if (!lnt__instance_closed(turn)) status = end(turn, err);
  if (status == LNT_OK) status = is_newest(turn, &newest, err);
  if (status != LNT_OK) return status;
  turn->purge_id = newest;
  t->runs++;
  t->instances += newest;
  mark(turn);
  return LNT_OK;
}

lnt_status lnt__engine_purge(lnt__engine *engine, uint64_t run, const lnt__purge *purge, uint64_t *count, lnt_error *err) {
  lnt__family f = {.engine = engine};
  taken t = {0, 0};
  lnt_status status = lnt__accepting(engine, err);
  if (status != LNT_OK) return status;
  lnt__family_add(&f, run);
  status = gather(&f, purge, err);
  for (size_t i = 0; i < f.runs.count && status == LNT_OK; i++) status = take_out(engine, f.runs.items[i], &t, err);
  lnt__family_finish(&f);
  *count = t.instances ? t.instances : t.runs ? 1 : 0; /* 1: an older run of an id that stays */
  engine->stats.purged += *count;
  return status;
}

lnt_status lnt__engine_find(lnt__engine *engine, const char *id, uint64_t *run, lnt_error *err) {
  lnt_status status = LNT_OK;
  lnt__turn *turn = lnt__instance_by_id(engine, id, &status, err);
  if (!turn) return status;
  *run = turn->run;
  lnt__instance_release(turn);
  return LNT_OK;
}

/* ---- In the batch ---- */

static bool delete_run(lnt__batch *batch, lnt__table table, uint64_t run) {
  uint8_t key[LNT__KEY_RUN_BYTES];
  lnt__key_run(key, run);
  return lnt__batch_delete(batch, table, key, sizeof key);
}

static bool delete_index(const lnt__turn *turn, lnt__batch *batch) {
  lnt_value id = {turn->id, strlen(turn->id)}, workflow = {turn->workflow, strlen(turn->workflow)};
  lnt_value attributes = {turn->attributes, turn->attributes_size};
  if (turn->attributes_changed) attributes = (lnt_value){turn->attributes_indexed, turn->attributes_indexed_size};
  if (!turn->purge_id && !lnt__index_write_older(batch, id, turn->run, true)) return false;
  if (!turn->indexed) return true;
  return lnt__index_write_status(batch, turn->run, (lnt_run_status)(turn->indexed - 1), workflow, true) &&
         lnt__index_write_parent(batch, turn->run, turn->parent_run, true) &&
         lnt__index_write_attributes(batch, turn->run, attributes, true);
}

bool lnt__instance_unwrite(lnt__turn *turn, lnt__batch *batch, uint64_t number) {
  lnt__engine *engine = turn->engine;
  uint8_t key[LNT__KEY_RUN_BYTES];
  lnt__garbage garbage = {turn->run, number};
  lnt__key_run(key, turn->run);
  bool good = delete_run(batch, LNT__TABLE_INSTANCE, turn->run) && delete_index(turn, batch) &&
              lnt__batch_put(batch, LNT__TABLE_ACTIVE, key, sizeof key, NULL, 0) &&
              lnt__journal_note_last_run(batch, engine->next_run - 1);
  if (turn->purge_id) good = good && lnt__batch_delete(batch, LNT__TABLE_ID, turn->id, strlen(turn->id));
  lnt__u64map_remove(&engine->full, turn->run);
  LNT__PUSH(engine, engine->garbage, garbage);
  return good;
}

/* ---- Sweeping ---- */

typedef struct sweep { lnt__batch *batch; lnt__table table; size_t left; } sweep;

/* The timers of a run stand under the times they are due; its history knows them. */
static void delete_timers(lnt__batch *batch, uint64_t run, lnt__slice record) {
  lnt__reader events;
  lnt__event event;
  int64_t last_us = 0;
  uint8_t key[LNT__KEY_TIMER_BYTES];
  if (!lnt__record_open(record, &events)) return;
  while (events.at < events.end && lnt__event_read(&events, &last_us, &event)) {
    bool starts = event.kind == LNT_EVENT_STARTED;
    if (!event.due_us || (!starts && !lnt__event_is_command(event.kind))) continue;
    lnt__key_timer(key, event.due_us, run, starts ? 0 : event.seq);
    lnt__batch_delete(batch, LNT__TABLE_TIMER, key, sizeof key);
  }
}

static int sweep_row(void *user, lnt__slice key, lnt__slice value) {
  sweep *s = user;
  if (s->left == 0) return 1;
  s->left--;
  if (s->table == LNT__TABLE_HISTORY) delete_timers(s->batch, lnt__get_be64(key.data), value);
  lnt__batch_delete(s->batch, s->table, key.data, key.size);
  return lnt__batch_failed(s->batch);
}

/* false: rows are left, or the store cannot be read. */
static bool sweep_run(lnt__engine *engine, sweep *s, uint64_t run) {
  static const lnt__table tables[] = {LNT__TABLE_HISTORY, LNT__TABLE_PAYLOAD, LNT__TABLE_HEARTBEAT};
  uint8_t from[LNT__KEY_RUN_BYTES], to[LNT__KEY_RUN_BYTES];
  lnt__key_run(from, run);
  lnt__key_run(to, run + 1);
  for (size_t i = 0; i < LNT__COUNT(tables); i++) {
    s->table = tables[i];
    lnt_status status = engine->store->vtable->scan(engine->store, s->table, (lnt__slice){from, sizeof from}, (lnt__slice){to, sizeof to},
                                                    false, sweep_row, s, NULL);
    if (status != LNT_OK) engine->sweep_failed = true;
    if (status != LNT_OK || s->left == 0) return false;
  }
  return delete_run(s->batch, LNT__TABLE_ACTIVE, run);
}

/* What one batch marks the next may sweep: then nothing of the run is on its way to the store. */
bool lnt__sweep_ready(const lnt__engine *engine) {
  return engine->garbage_at < engine->garbage.count && !engine->sealed && !engine->sweep_failed &&
         engine->garbage.items[engine->garbage_at].batch <= engine->committed;
}

void lnt__sweep(lnt__engine *engine) {
  sweep s = {lnt__open_commit(engine)->batch, LNT__TABLE_HISTORY, SWEEP_ROWS_MAX};
  while (lnt__sweep_ready(engine) && sweep_run(engine, &s, engine->garbage.items[engine->garbage_at].run)) engine->garbage_at++;
  if (engine->garbage_at < engine->garbage.count) return;
  engine->garbage.count = engine->garbage_at = 0;
}

void lnt__sweep_later(lnt__engine *engine, uint64_t run) {
  lnt__garbage garbage = {run, 0};
  LNT__PUSH(engine, engine->garbage, garbage);
}
