/* family.c - the runs that belong together: those of one id, and their children, theirs and so on. Called by start.c and purge.c. */
#include "engine/internal.h"

void lnt__family_add(lnt__family *f, uint64_t run) { LNT__PUSH(f->engine, f->runs, run); }

void lnt__family_finish(lnt__family *f) { lnt__free(f->runs.items); }

static int add_from_key(void *user, lnt__slice key, lnt__slice value) {
  lnt__family *f = user;
  (void)value;
  if (key.size >= LNT__KEY_RUN_BYTES) lnt__family_add(f, lnt__get_be64((const uint8_t *)key.data + key.size - LNT__KEY_RUN_BYTES));
  return f->engine->poisoned || f->runs.count > LNT__FAMILY_RUNS_MAX;
}

static lnt_status checked(const lnt__family *f, lnt_status status, lnt_error *err) {
  if (status != LNT_OK) return status;
  if (f->runs.count > LNT__FAMILY_RUNS_MAX)
    return lnt__fail(err, LNT_ELIMIT, "more than %d runs belong to it; purge its children first, some at a time", LNT__FAMILY_RUNS_MAX);
  return lnt__accepting(f->engine, err);
}

/* Those in the store, and those that the open batch or the one on its way brings there. */
lnt_status lnt__family_add_children(lnt__family *f, uint64_t run, lnt_error *err) {
  uint8_t from[LNT__KEY_INDEX_BYTES_MAX], to[LNT__KEY_INDEX_BYTES_MAX];
  lnt__store *store = f->engine->store;
  size_t at = 0, size = lnt__index_parent(from, run);
  uint64_t other;
  void *value;
  lnt__index_parent(to, run + 1);
  while (lnt__u64map_next(&f->engine->by_run, &at, &other, &value)) {
    const lnt__turn *turn = value;
    if (turn->parent_run == run && !lnt__instance_clean(turn)) lnt__family_add(f, other);
  }
  lnt_status status = store->vtable->scan(store, LNT__TABLE_INDEX, (lnt__slice){from, size}, (lnt__slice){to, size}, false, add_from_key, f,
                                          err);
  return checked(f, status, err);
}

lnt_status lnt__family_add_older(lnt__family *f, const lnt__turn *newest, lnt_error *err) {
  uint8_t from[LNT__KEY_INDEX_BYTES_MAX], to[LNT__KEY_INDEX_BYTES_MAX];
  lnt__store *store = f->engine->store;
  size_t size = lnt__index_older(from, (lnt_value){newest->id, strlen(newest->id)});
  for (const lnt__turn *turn = newest; turn && turn->older_run; turn = lnt__u64map_get(&f->engine->by_run, turn->older_run))
    lnt__family_add(f, turn->older_run);
  memcpy(to, from, size);
  to[size - 1]++;
  lnt_status status = store->vtable->scan(store, LNT__TABLE_INDEX, (lnt__slice){from, size}, (lnt__slice){to, size}, false, add_from_key, f,
                                          err);
  return checked(f, status, err);
}
