/* code.c - loading Lua files, naming workflows, registering activities in C. Owner thread. */
#include "driver/runtime.h"

static lnt_status check_source(lnt_runtime *rt, const char *name, lnt_error *err) {
  lnt_status status = lnt__enter(rt, LNT__WRITES, err);
  if (status) return status;
  return lnt__check_name("file name", name, LNT__KEY_BYTES_MAX - 1, true, err);
}

lnt_status lnt_load_file(lnt_runtime *rt, const char *path, lnt_error *err) {
  char *source = NULL;
  size_t size = 0;
  lnt_status status = check_source(rt, path, err);
  if (!status) status = lnt__read_file(path, (size_t)rt->options.limits.source_bytes_max, &source, &size, err);
  if (!status) status = lnt__code_load(rt, path, source, size, err);
  lnt__free(source);
  return status;
}

lnt_status lnt_load_string(lnt_runtime *rt, const char *name, const char *source, size_t size, lnt_error *err) {
  lnt_status status = check_source(rt, name, err);
  if (status) return status;
  if (!source && size) return lnt__fail(err, LNT_EINVAL, "%s: the source is NULL", name);
  if (size > rt->options.limits.source_bytes_max)
    return LNT__MET(&rt->met, source_bytes_max),
           lnt__fail(err, LNT_ELIMIT, "%s: the source has %zu bytes, more than source_bytes_max (%llu); split it into modules", name, size,
                     (unsigned long long)rt->options.limits.source_bytes_max);
  return lnt__code_load(rt, name, source ? source : "", size, err);
}

lnt_status lnt_workflows(lnt_runtime *rt, lnt_workflow_fn fn, void *user) {
  lnt_status status = lnt__enter(rt, LNT__WRITES, NULL);
  if (status) return status;
  if (!fn) return LNT_EINVAL;
  lnt__wvm_each(rt->wvm, fn, user);
  return LNT_OK;
}

lnt_status lnt_files(lnt_runtime *rt, lnt_file_fn fn, void *user) {
  size_t at = 0;
  const char *file;
  void *value;
  lnt_status status = lnt__enter(rt, LNT__WRITES, NULL);
  if (status) return status;
  if (!fn) return LNT_EINVAL;
  while (lnt__strmap_next(&rt->files, &at, &file, &value)) fn(user, file);
  return LNT_OK;
}

/* ---- Activities in C ---- */

static void forget(lnt_runtime *rt, const char *name) {
  lnt__c_activity *found = lnt__strmap_remove(&rt->activities, name);
  if (!found) return;
  lnt__free(found->name);
  lnt__free(found);
}

static lnt_status add(lnt_runtime *rt, const char *name, const lnt_activity_options *options, lnt_error *err) {
  lnt__c_activity *added = lnt__alloc(sizeof *added);
  char *copy = lnt__strdup(name);
  if (added && copy) {
    *added = (lnt__c_activity){copy, *options};
    forget(rt, name);
    if (lnt__strmap_put(&rt->activities, copy, added)) return LNT_OK;
  }
  lnt__free(added);
  lnt__free(copy);
  return lnt__fail(err, LNT_ENOMEM, "out of memory while activity '%s' was registered", name);
}

void lnt_activity_options_init(lnt_activity_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

static lnt_status check_activity(const char *name, const lnt_activity_options *from, lnt_activity_options *to, lnt_error *err) {
  lnt_activity_options_init(to);
  if (!from) return lnt__fail(err, LNT_EINVAL, "activity '%s': no options were given (NULL)", name);
  if (from->size < offsetof(lnt_activity_options, cancel))
    return lnt__fail(err, LNT_EINVAL, "activity '%s': options.size is not set; call lnt_activity_options_init() first", name);
  memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
  if (!to->fn) return lnt__fail(err, LNT_EINVAL, "activity '%s': options.fn is NULL", name);
  if (to->rate_count > LNT_RATE_COUNT_MAX)
    return lnt__fail(err, LNT_EINVAL, "activity '%s': options.rate_count is %u; at most %d", name, to->rate_count, LNT_RATE_COUNT_MAX);
  if (to->rate_per_us < 0 || (to->rate_per_us && !to->rate_count))
    return lnt__fail(err, LNT_EINVAL, "activity '%s': options.rate_per_us says of which period rate_count counts the starts", name);
  if (!to->rate_per_us) to->rate_per_us = 1000000;
  return LNT_OK;
}

lnt_status lnt_register_activity_ex(lnt_runtime *rt, const char *name, const lnt_activity_options *options, lnt_error *err) {
  lnt_activity_options checked;
  lnt_status status = lnt__enter(rt, LNT__WRITES, err);
  if (!status) status = lnt__check_name("activity name", name, LNT_NAME_BYTES_MAX, true, err);
  if (!status) status = check_activity(name, options, &checked, err);
  if (status) return status;
  rt->has_pure = rt->has_pure || checked.pure;
  rt->has_lanes = rt->has_lanes || checked.cancel || checked.concurrency || checked.rate_count;
  lnt__c_activity *known = lnt__strmap_get(&rt->activities, name);
  if (!known) return add(rt, name, &checked, err);
  known->options = checked;
  return LNT_OK;
}

lnt_status lnt_register_activity(lnt_runtime *rt, const char *name, lnt_activity_fn fn, void *user, lnt_error *err) {
  lnt_activity_options options;
  lnt_activity_options_init(&options);
  options.fn = fn;
  options.user = user;
  if (fn) return lnt_register_activity_ex(rt, name, &options, err);
  lnt_status status = lnt__enter(rt, LNT__WRITES, err);
  if (!status) status = lnt__check_name("activity name", name, LNT_NAME_BYTES_MAX, true, err);
  if (!status) forget(rt, name);
  return status;
}
