/* start.c - accepting a new instance: what becomes of an id that is taken. Called by the driver between turns. */
#include "engine/internal.h"

/* ---- Is a family over? ---- */

typedef struct family {
  lnt__engine *engine;
  LNT__VECTOR(uint64_t) runs; /* still to be looked at */
} family;

static void add_member(family *f, uint64_t run) { LNT__PUSH(f->engine, f->runs, run); }

static int add_child(void *user, lnt__slice key, lnt__slice value) {
  family *f = user;
  (void)value;
  if (key.size >= LNT__KEY_RUN_BYTES) add_member(f, lnt__get_be64((const uint8_t *)key.data + key.size - LNT__KEY_RUN_BYTES));
  return f->engine->poisoned;
}

/* Those in the store, and those that the open batch or the one on its way brings there. */
static lnt_status add_children(family *f, uint64_t run, lnt_error *err) {
  uint8_t from[LNT__KEY_INDEX_BYTES_MAX], to[LNT__KEY_INDEX_BYTES_MAX];
  lnt__store *store = f->engine->store;
  size_t at = 0, size = lnt__index_parent(from, run);
  uint64_t other;
  void *value;
  lnt__index_parent(to, run + 1);
  while (lnt__u64map_next(&f->engine->by_run, &at, &other, &value)) {
    lnt__turn *turn = value;
    if (turn->parent_run == run && !lnt__instance_clean(turn)) add_member(f, other);
  }
  return store->vtable->scan(store, LNT__TABLE_INDEX, (lnt__slice){from, size}, (lnt__slice){to, size}, false, add_child, f, err);
}

static lnt_status refuse_open(family *f, uint64_t run, const char *id, lnt_error *err) {
  lnt_status status = LNT_OK;
  lnt__turn *turn = lnt__instance_by_run(f->engine, run, &status, err);
  if (!turn) return status == LNT_ENOTFOUND ? LNT_OK : status; /* purged meanwhile */
  if (!lnt__instance_closed(turn))
    status = lnt__fail(err, LNT_EEXIST, "the id '%s' cannot be used again yet: '%s'%s is %s", id, turn->id,
                       strcmp(id, turn->id) == 0 ? "" : ", a child of it,", lnt_run_status_name(turn->status));
  lnt__instance_release(turn);
  return status;
}

static lnt_status family_is_over(lnt__engine *engine, uint64_t run, const char *id, lnt_error *err) {
  family f = {.engine = engine};
  lnt_status status = LNT_OK;
  add_member(&f, run);
  for (size_t i = 0; i < f.runs.count && status == LNT_OK; i++) {
    run = f.runs.items[i];
    status = refuse_open(&f, run, id, err);
    if (status == LNT_OK) status = add_children(&f, run, err);
  }
  lnt__free(f.runs.items);
  return status == LNT_OK ? lnt__accepting(engine, err) : status;
}

/* ---- An id that is taken ---- */

static lnt_status replace(lnt__turn *old, lnt_error *err) {
  if (lnt__instance_closed(old)) return LNT_OK;
  lnt_status status = lnt__instance_load(old, err);
  if (status == LNT_OK) status = lnt__timers_forget(old, err);
  if (status != LNT_OK) return status;
  lnt__buf value;
  lnt__buf_init(&value);
  lnt__failure_text(&value, "Terminated", "replaced by a new start under its id", false);
  lnt__event event = {.kind = LNT_EVENT_TERMINATE_REQUESTED, .value = {value.data, value.size}};
  if (value.failed) lnt__poison(old->engine);
  lnt__emit(old, &event);
  lnt__turn_close(old, LNT_RUN_TERMINATED, LNT_EVENT_TERMINATED, event.value, LNT_VALUE_NIL);
  lnt__buf_finish(&value);
  return LNT_OK;
}

static lnt_status take_id(lnt__engine *engine, const lnt__start *start, lnt__turn *old, bool *existed, lnt_error *err) {
  bool same = strcmp(start->workflow, old->workflow) == 0;
  switch (start->id_reuse) {
    case LNT_ID_REUSE_EXISTING:
      *existed = same;
      if (same) return LNT_OK;
      return lnt__fail(err, LNT_EEXIST, "the instance '%s' exists and runs the workflow '%s', not '%s'; choose another id", start->id,
                       old->workflow, start->workflow);
    case LNT_ID_REUSE_TERMINAL: return family_is_over(engine, old->run, start->id, err);
    case LNT_ID_REUSE_REPLACE: return replace(old, err);
    case LNT_ID_REUSE_ERROR: break;
  }
  return lnt__fail(err, LNT_EEXIST, "an instance with the id '%s' exists; choose another id", start->id);
}

static lnt_status settle_id(lnt__engine *engine, const lnt__start *start, uint64_t *older_run, bool *existed, lnt_error *err) {
  lnt_status status = LNT_OK;
  lnt_error cause = {LNT_OK, ""};
  if (start->id_reuse == LNT_ID_REUSE_ERROR) return lnt__id_is_free(engine, start->id, err);
  lnt__turn *old = lnt__instance_by_id(engine, start->id, &status, &cause);
  if (!old) return status == LNT_ENOTFOUND ? LNT_OK : lnt__fail(err, status, "%s", cause.message);
  old->pins++; /* looking at its family must not free it */
  status = take_id(engine, start, old, existed, err);
  old->pins--;
  *older_run = old->run;
  lnt__instance_release(old);
  return status;
}

lnt_status lnt__engine_start(lnt__engine *engine, const lnt__start *start, char *id_out, lnt_error *err) {
  char random_id[37];
  const char *id = start->id;
  uint64_t older_run = 0;
  bool existed = false;
  lnt_status status = lnt__accepting(engine, err);
  if (status != LNT_OK) return status;
  if (id) status = settle_id(engine, start, &older_run, &existed, err);
  else {
    lnt__rng_uuid(&engine->rng, random_id);
    id = random_id;
  }
  if (status != LNT_OK) return status;
  lnt__origin origin = {.id = id, .workflow = start->workflow, .hash = start->hash, .input = start->input, .generation = 1,
                        .start_at_us = start->start_at_us, .attributes = start->attributes, .older_run = older_run};
  if (!existed) {
    origin.seed = lnt__rng_next(&engine->rng);
    if (!lnt__instance_begin(engine, &origin)) return lnt__fail(err, LNT_ENOMEM, "out of memory while starting '%s'", start->workflow);
  }
  if (start->existed) *start->existed = existed;
  lnt__push_done(engine, start->done, start->done_user);
  if (id_out) memcpy(id_out, id, strlen(id) + 1);
  return LNT_OK;
}
