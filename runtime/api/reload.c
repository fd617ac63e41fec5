/* reload.c - other code for instances that run, and which code there is: lnt_reload, lnt_migrate, lnt_watch, lnt_versions, lnt_code. Owner
 * thread; the last two work on a read-only runtime too. */
#include "driver/runtime.h"

/* ---- Reload ---- */

void lnt_reload_options_init(lnt_reload_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

static bool is_policy(lnt_reload_policy policy) { return (unsigned)policy <= LNT_RELOAD_ALL_OR_NOTHING; }

static lnt_status take_options(lnt_runtime *rt, const lnt_reload_options *from, lnt_reload_options *to, lnt_error *err) {
  lnt_reload_options_init(to);
  if (!from || from->size < sizeof from->size)
    return lnt__fail(err, LNT_EINVAL, "lnt_reload: options.size is not set; call lnt_reload_options_init() first");
  memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
  lnt_status status = lnt__enter(rt, to->now ? LNT__WRITES | LNT__DRIVES : LNT__WRITES, err);
  if (!status) status = lnt__check_name("file name", to->file, LNT__KEY_BYTES_MAX - 1, true, err);
  if (status) return status;
  if (!is_policy(to->policy))
    return lnt__fail(err, LNT_EINVAL, "lnt_reload: options.policy is %d; there is no such policy", (int)to->policy);
  if (to->source && to->source_size > rt->options.limits.source_bytes_max)
    return LNT__MET(&rt->met, source_bytes_max),
           lnt__fail(err, LNT_ELIMIT, "%s: the source has %zu bytes, more than source_bytes_max (%llu); split it into modules", to->file,
                     to->source_size, (unsigned long long)rt->options.limits.source_bytes_max);
  return LNT_OK;
}

lnt_status lnt_reload(lnt_runtime *rt, const lnt_reload_options *options, lnt_error *err) {
  lnt_reload_options checked;
  char *text = NULL;
  lnt_error ours;
  if (!err) err = &ours;
  lnt_status status = take_options(rt, options, &checked, err);
  if (status) return status;
  const char *source = checked.source;
  size_t size = checked.source_size;
  if (!source) {
    status = lnt__read_file(checked.file, (size_t)rt->options.limits.source_bytes_max, &text, &size, err);
    source = text;
  }
  if (!status) status = lnt__reload_begin(rt, &checked, source, size, LNT__RELOAD_ALWAYS, err);
  lnt__free(text);
  return status;
}

/* ---- Migrate ---- */

void lnt_migrate_options_init(lnt_migrate_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
  options->policy = LNT_RELOAD_ADOPT;
}

static lnt_status take_migration(lnt_runtime *rt, const lnt_migrate_options *from, lnt_migrate_options *to, lnt_error *err) {
  lnt_migrate_options_init(to);
  if (!from || from->size < sizeof from->size)
    return lnt__fail(err, LNT_EINVAL, "lnt_migrate: options.size is not set; call lnt_migrate_options_init() first");
  memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
  lnt_status status = lnt__enter(rt, to->now ? LNT__WRITES | LNT__DRIVES : LNT__WRITES, err);
  if (status) return status;
  if (to->policy != LNT_RELOAD_ADOPT && to->policy != LNT_RELOAD_ALL_OR_NOTHING)
    return lnt__fail(err, LNT_EINVAL, "lnt_migrate: the policy is adopt or all_or_nothing");
  if ((to->ids != NULL) == (to->filter != NULL))
    return lnt__fail(err, LNT_EINVAL, "lnt_migrate: name the instances, either by ids or by a filter");
  if (to->filter && to->filter->size < sizeof to->filter->size)
    return lnt__fail(err, LNT_EINVAL, "lnt_migrate: filter.size is not set; call lnt_list_options_init() first");
  return LNT_OK;
}

lnt_status lnt_migrate(lnt_runtime *rt, const lnt_migrate_options *options, lnt_error *err) {
  lnt_migrate_options checked;
  uint8_t hash[LNT__SHA256_BYTES];
  lnt_error ours;
  if (!err) err = &ours;
  lnt_status status = take_migration(rt, options, &checked, err);
  if (!status && checked.hash) status = lnt__code_find(rt, checked.hash, hash, err);
  return status ? status : lnt__migrate_begin(rt, &checked, checked.hash ? hash : NULL, err);
}

/* ---- Versions ---- */

lnt_status lnt_versions(lnt_runtime *rt, const char *workflow, lnt_version_fn fn, void *user, lnt_error *err) {
  lnt_status status = lnt__enter(rt, 0, err);
  if (!status && workflow) status = lnt__check_name("workflow name", workflow, LNT_NAME_BYTES_MAX, true, err);
  if (!status && !fn) status = lnt__fail(err, LNT_EINVAL, "lnt_versions: no function was given (NULL)");
  return status ? status : lnt__versions(rt, workflow, fn, user, err);
}

typedef struct telling { lnt_source_fn fn; void *user; } telling;

static int tell_source(void *user, const char *module, lnt_value file, lnt_value source) {
  const telling *t = user;
  char name[LNT__KEY_BYTES_MAX + 1];
  size_t size = file.size < sizeof name ? file.size : sizeof name - 1;
  memcpy(name, file.data, size);
  name[size] = 0;
  lnt_source told = {.module = module, .file = name, .text = source.data ? source.data : "", .size = source.size};
  return t->fn(t->user, &told);
}

lnt_status lnt_code(lnt_runtime *rt, const char *hash, lnt_source_fn fn, void *user, char hash_out[LNT_HASH_TEXT_BYTES], lnt_error *err) {
  uint8_t whole[LNT__SHA256_BYTES];
  void *bundle = NULL;
  size_t size = 0;
  lnt_status status = lnt__enter(rt, 0, err);
  if (!status && (!hash || !fn)) status = lnt__fail(err, LNT_EINVAL, "lnt_code: a hash and a function are needed");
  if (!status) status = lnt__code_find(rt, hash, whole, err);
  if (!status) status = lnt__code_fetch(rt, whole, &bundle, &size, err);
  if (status) return status;
  if (hash_out) lnt__hex(whole, LNT__SHA256_BYTES, hash_out);
  telling t = {fn, user};
  if (!lnt__bundle_each(bundle, size, tell_source, &t)) status = lnt__fail(err, LNT_ECORRUPT, "a stored bundle of code has a wrong shape");
  lnt__free(bundle);
  return status;
}

/* ---- Watching ---- */

void lnt_watch_options_init(lnt_watch_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

lnt_status lnt_watch(lnt_runtime *rt, const char *dir, const lnt_watch_options *from, lnt_watcher **out, lnt_error *err) {
  lnt_watch_options options;
  lnt_error ours;
  if (!err) err = &ours;
  lnt_watch_options_init(&options);
  lnt_status status = lnt__enter(rt, LNT__WRITES, err);
  if (status) return status;
  if (!dir || !*dir || !out) return lnt__fail(err, LNT_EINVAL, "lnt_watch: a folder and a place for the watcher are needed");
  if (from && from->size < sizeof from->size)
    return lnt__fail(err, LNT_EINVAL, "lnt_watch: options.size is not set; call lnt_watch_options_init() first");
  if (from) memcpy(&options, from, from->size < sizeof options ? from->size : sizeof options);
  if (!is_policy(options.policy)) return lnt__fail(err, LNT_EINVAL, "lnt_watch: options.policy is %d; there is no such policy",
                                                   (int)options.policy);
  return lnt__watch(rt, dir, &options, out, err);
}

void lnt_unwatch(lnt_runtime *rt, lnt_watcher *watcher) {
  if (watcher && !lnt__enter(rt, LNT__WRITES, NULL)) lnt__unwatch(rt, watcher);
}
