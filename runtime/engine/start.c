/* start.c - accepting a new instance: what becomes of an id that is taken. Called by the driver between turns. */
#include "engine/internal.h"

/* ---- Is a family over? ---- */

static lnt_status refuse_open(lnt__family *f, uint64_t run, const char *id, lnt_error *err) {
  lnt_status status = LNT_OK;
  lnt__turn *turn = lnt__instance_by_run(f->engine, run, &status, err);
  if (!turn) return status == LNT_ENOTFOUND ? LNT_OK : status; /* purged meanwhile */
  if (!lnt__instance_closed(turn))
    status = lnt__fail(err, LNT_EEXIST, "the id '%s' cannot be used again yet: '%s'%s is %s", id, turn->id,
                       strcmp(id, turn->id) == 0 ? "" : ", a child of it,", lnt_run_status_name(turn->status));
  lnt__instance_release(turn);
  return status;
}

/* The children of older runs of the id count as well: their ids may be those of the children to come. */
static lnt_status family_is_over(lnt__engine *engine, const lnt__turn *old, lnt_error *err) {
  lnt__family f = {.engine = engine};
  lnt__family_add(&f, old->run);
  lnt_status status = lnt__family_add_older(&f, old, err);
  for (size_t i = 0; i < f.runs.count && status == LNT_OK; i++) {
    uint64_t run = f.runs.items[i];
    status = refuse_open(&f, run, old->id, err);
    if (status == LNT_OK) status = lnt__family_add_children(&f, run, err);
  }
  lnt__family_finish(&f);
  return status == LNT_OK ? lnt__accepting(engine, err) : status;
}

/* ---- An id that is taken ---- */

static lnt_status take_id(lnt__engine *engine, const lnt__start *start, lnt__turn *old, bool *existed, lnt_error *err) {
  bool same = strcmp(start->workflow, old->workflow) == 0;
  switch (start->id_reuse) {
    case LNT_ID_REUSE_EXISTING:
      *existed = same;
      if (same) return LNT_OK;
      return lnt__fail(err, LNT_EEXIST, "the instance '%s' exists and runs the workflow '%s', not '%s'; choose another id", start->id,
                       old->workflow, start->workflow);
    case LNT_ID_REUSE_TERMINAL: return family_is_over(engine, old, err);
    case LNT_ID_REUSE_REPLACE:
      return lnt__instance_closed(old) ? LNT_OK : lnt__terminate_now(old, "replaced by a new start under its id", err);
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
    lnt__rng_uuid_at(&engine->rng, engine->now_us, random_id);
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
