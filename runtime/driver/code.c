/* code.c - loads files into both VMs and keeps their bundles in the store. Called by api/code.c, by the workflow VM when it misses
 * code, and by dispatch.c when it misses an activity; owner thread. */
#include "driver/reload.h"

/* The text of a file that is loaded: what to go back to when a newer one fails halfway. */
typedef struct loaded_file { char *file, *source; size_t size; } loaded_file;

static void free_file(loaded_file *loaded) {
  if (!loaded) return;
  lnt__free(loaded->file);
  lnt__free(loaded->source);
  lnt__free(loaded);
}

static loaded_file *new_file(const char *file, const char *source, size_t size) {
  loaded_file *loaded = lnt__calloc(1, sizeof *loaded);
  if (!loaded) return NULL;
  loaded->file = lnt__strdup(file);
  loaded->source = lnt__strndup(source, size);
  loaded->size = size;
  if (loaded->file && loaded->source) return loaded;
  free_file(loaded);
  return NULL;
}

static bool is_stored(lnt_runtime *rt, lnt__table table, lnt__slice key, lnt__slice sealed) {
  void *value = NULL;
  size_t size = 0;
  if (rt->store->vtable->get(rt->store, table, key.data, key.size, &value, &size, NULL) != LNT_OK) return false;
  bool same = size == sealed.size && memcmp(value, sealed.data, size) == 0;
  lnt__free(value);
  return same;
}

lnt_status lnt__code_put(lnt_runtime *rt, lnt__table table, lnt__slice key, const void *payload, size_t size, lnt_error *err) {
  lnt__buf sealed;
  lnt__buf_init(&sealed);
  lnt__buf_append(&sealed, payload, size);
  lnt__seal(&sealed);
  lnt_status status = sealed.failed ? LNT_ENOMEM : LNT_OK;
  lnt__slice value = {sealed.data, sealed.size};
  bool stays = !lnt__engine_deletes(rt->engine, table, key) && is_stored(rt, table, key, value);
  if (!status && !stays) status = lnt__engine_put(rt->engine, table, key, value);
  lnt__buf_finish(&sealed);
  return status ? lnt__fail(err, status, "the source code could not be put into the next commit: %s", lnt_status_text(status)) : LNT_OK;
}

static lnt_status store_bundle(lnt_runtime *rt, const lnt__staged *staged, lnt_error *err) {
  lnt__slice key = {staged->hash, LNT__SHA256_BYTES};
  if (staged->name_count == 0) return LNT_OK; /* no instance will ever be on it */
  lnt_status status = lnt__code_put(rt, LNT__TABLE_CODE, key, staged->bundle, staged->bundle_size, err);
  for (size_t i = 0; !status && i < staged->name_count; i++)
    status = lnt__version_note(rt, staged->names[i].name, staged->hash, staged->file, err);
  return status;
}

static lnt_status load_activities(lnt_runtime *rt, const char *file, const char *source, size_t size, lnt_error *err) {
  lnt_status status = lnt__avm_load(rt->avm, file, source, size, true, err);
  return status || !rt->workers ? status : lnt__workers_load(rt->workers, file, source, size, true, err);
}

/* Put the activities of `file` back to what they were; an empty file takes them away. */
static void undo_activities(lnt_runtime *rt, const char *file) {
  const loaded_file *before = lnt__strmap_get(&rt->files, file);
  lnt_error error;
  if (load_activities(rt, file, before ? before->source : "", before ? before->size : 0, &error))
    lnt__runtime_log(rt, LNT_LOG_WARN, NULL, error.message);
}

static bool keep_file(lnt_runtime *rt, loaded_file *loaded) {
  loaded_file *before = lnt__strmap_remove(&rt->files, loaded->file);
  if (!lnt__strmap_put(&rt->files, loaded->file, loaded)) {
    free_file(loaded);
    loaded = NULL;
  }
  free_file(before);
  return loaded != NULL;
}

lnt_status lnt__code_switch(lnt_runtime *rt, lnt__staged *staged, const char *source, size_t size, lnt_error *err) {
  loaded_file *loaded = new_file(staged->file, source, size);
  if (!loaded) return lnt__fail(err, LNT_ENOMEM, "out of memory while %s was loaded", staged->file);
  lnt_status status = load_activities(rt, staged->file, source, size, err);
  if (!status) {
    status = store_bundle(rt, staged, err);
    if (!status) status = lnt__interfaces_note(rt, staged, err);
    if (!status) status = lnt__wvm_switch(rt->wvm, staged, err);
    if (status) undo_activities(rt, staged->file);
  }
  if (status) {
    free_file(loaded);
    return status;
  }
  keep_file(rt, loaded);
  rt->collect.switches++;
  lnt__engine_retry_stalled(rt->engine, NULL);
  return LNT_OK;
}

lnt_status lnt__code_load(lnt_runtime *rt, const char *file, const char *source, size_t size, lnt_error *err) {
  lnt__staged *staged;
  lnt_status status = lnt__wvm_stage(rt->wvm, file, source, size, &staged, err);
  if (status) return status;
  lnt__interfaces_warn(rt, staged);
  status = lnt__code_switch(rt, staged, source, size, err);
  if (!status) lnt__reload_stalled(rt, staged);
  lnt__wvm_unstage(rt->wvm, staged);
  return status;
}

static bool is_held_back(const lnt__staged *staged, lnt_reload_policy policy) {
  for (size_t i = 0; i < staged->name_count; i++) {
    lnt_reload_policy own = policy == LNT_RELOAD_AUTHORS ? staged->names[i].policy : policy;
    if (own == LNT_RELOAD_ALL_OR_NOTHING) return true;
  }
  return false;
}

static bool revive_names(lnt_runtime *rt, const lnt__staged *staged) {
  bool any = false;
  for (size_t i = 0; i < staged->name_count; i++) {
    uint8_t hash[LNT__SHA256_BYTES];
    lnt_error error;
    lnt_status status = lnt__version_newest(rt, staged->names[i].name, hash, &error);
    if (status == LNT_ENOTFOUND || (!status && memcmp(hash, staged->hash, sizeof hash) == 0)) continue;
    if (!status) status = lnt__wvm_revive(rt->wvm, staged->file, staged->names[i].name, hash, &error);
    if (status) lnt__runtime_log(rt, LNT_LOG_WARN, NULL, error.message);
    any = any || !status;
  }
  return any;
}

lnt_status lnt__code_load_first(lnt_runtime *rt, const char *file, const char *source, size_t size, lnt_reload_policy policy,
                                lnt_error *err) {
  lnt__staged *staged;
  lnt_status status = lnt__wvm_stage(rt->wvm, file, source, size, &staged, err);
  if (status) return status;
  if (is_held_back(staged, policy) && !load_activities(rt, file, source, size, NULL) && revive_names(rt, staged)) {
    lnt__wvm_unstage(rt->wvm, staged);
    return LNT_OK;
  }
  lnt__interfaces_warn(rt, staged);
  status = lnt__code_switch(rt, staged, source, size, err);
  lnt__wvm_unstage(rt->wvm, staged);
  return status;
}

lnt_status lnt__code_fetch(void *runtime, const uint8_t *hash, void **bundle, size_t *size, lnt_error *err) {
  lnt_runtime *rt = runtime;
  char hex[2 * LNT__SHA256_BYTES + 1];
  void *sealed = NULL;
  size_t sealed_size = 0;
  lnt__slice payload;
  lnt__hex(hash, LNT__SHA256_BYTES, hex);
  lnt_status status = rt->store->vtable->get(rt->store, LNT__TABLE_CODE, hash, LNT__SHA256_BYTES, &sealed, &sealed_size, err);
  if (status == LNT_ENOTFOUND && lnt__engine_find_put(rt->engine, LNT__TABLE_CODE, (lnt__slice){hash, LNT__SHA256_BYTES}, &payload)) {
    sealed_size = payload.size;
    sealed = lnt__strndup(payload.data, payload.size);
    status = sealed ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory while loading code");
  }
  if (status == LNT_ENOTFOUND) return lnt__fail(err, status, "the store has no code %.12s; load the file it came from", hex);
  if (status) return status;
  if (!lnt__unseal((lnt__slice){sealed, sealed_size}, &payload)) {
    lnt__free(sealed);
    return lnt__fail(err, LNT_ECORRUPT, "the stored code %.12s has a wrong checksum; restore the data directory from a copy", hex);
  }
  memmove(sealed, payload.data, payload.size); /* the block is ours: the payload goes to its start */
  *bundle = sealed;
  *size = payload.size;
  return LNT_OK;
}

/* Told apart from the hash of a bundle that was tried: the map needs a key that lives. */
static bool first_try(lnt_runtime *rt, const uint8_t *hash) {
  char hex[2 * LNT__SHA256_BYTES + 1];
  lnt__hex(hash, LNT__SHA256_BYTES, hex);
  if (lnt__strmap_get(&rt->tried, hex)) return false;
  char *key = lnt__strdup(hex);
  if (key && lnt__strmap_put(&rt->tried, key, key)) return true;
  lnt__free(key);
  return false;
}

static lnt_status load_stored(lnt_runtime *rt, const void *bundle, size_t size, lnt_error *err) {
  lnt_value file, source;
  lnt_status status = lnt__avm_load_stored(rt->avm, bundle, size, err);
  if (status || !rt->workers || !lnt__bundle_main(bundle, size, &file, &source)) return status;
  char *name = lnt__strndup(file.data, file.size);
  if (!name) return lnt__fail(err, LNT_ENOMEM, "out of memory while stored code was loaded");
  status = lnt__workers_load(rt->workers, name, bundle, size, false, err);
  lnt__free(name);
  return status;
}

bool lnt__code_load_stored(lnt_runtime *rt, const uint8_t *hash) {
  void *bundle = NULL;
  size_t size = 0;
  lnt_error error;
  if (!first_try(rt, hash)) return false;
  lnt_status status = lnt__code_fetch(rt, hash, &bundle, &size, &error);
  if (!status) status = load_stored(rt, bundle, size, &error);
  lnt__free(bundle);
  if (status) lnt__runtime_log(rt, LNT_LOG_WARN, NULL, error.message);
  return !status;
}

void lnt__loading_finish(lnt_runtime *rt) {
  size_t at = 0;
  const char *key;
  void *value;
  while (lnt__strmap_next(&rt->files, &at, &key, &value)) free_file(value);
  at = 0;
  while (lnt__strmap_next(&rt->tried, &at, &key, &value)) lnt__free(value);
  lnt__strmap_finish(&rt->files);
  lnt__strmap_finish(&rt->tried);
}
