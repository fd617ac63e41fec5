/* ask.c - questions to instances: lnt_query, lnt_update, lnt_describe. Owner thread, also from callbacks. */
#include "driver/runtime.h"

static lnt_status check(lnt_runtime *rt, const char *id, const char *name, lnt_value args, lnt_error *err) {
  lnt_status status = lnt__enter(rt, LNT__WRITES, err);
  if (status) return status;
  if (rt->way.full)
    return lnt__fail(err, LNT_EFULL, "the store is full: no instance can be asked until a commit succeeds again; make room on the disk, or "
                                     "open with a larger store_bytes_max");
  status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (!status) status = lnt__check_name("name", name, LNT_NAME_BYTES_MAX, true, err);
  if (status) return status;
  if (args.size > rt->options.limits.payload_bytes_max)
    return LNT__MET(&rt->met, payload_bytes_max),
           lnt__fail(err, LNT_ELIMIT, "the arguments of '%s' have %zu bytes, more than payload_bytes_max (%llu); pass a reference instead, "
                     "such as a file name", name, args.size, (unsigned long long)rt->options.limits.payload_bytes_max);
  status = lnt__cbor_check(args, err);
  return status ? lnt__fail_prefix(err, status, "the arguments of '%s' are not a value", name) : LNT_OK;
}

lnt_status lnt_query(lnt_runtime *rt, const char *id, const char *name, lnt_value args, lnt_answer_fn fn, void *user, lnt_error *err) {
  lnt_status status = check(rt, id, name, args, err);
  if (!status && !fn) status = lnt__fail(err, LNT_EINVAL, "lnt_query: no function was given for the answer (NULL)");
  if (status) return status;
  lnt__engine_set_now(rt->engine, lnt__clock(rt));
  return lnt__engine_query(rt->engine, &(lnt__inquiry){.id = id, .name = name, .args = args, .fn = fn, .user = user}, err);
}

void lnt_update_options_init(lnt_update_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

lnt_status lnt_update(lnt_runtime *rt, const char *id, const lnt_update_options *options, char *id_out, lnt_error *err) {
  lnt_update_options complete;
  lnt_update_options_init(&complete);
  if (!options || options->size < offsetof(lnt_update_options, update_id))
    return lnt__fail(err, LNT_EINVAL, "lnt_update: options.size is not set; call lnt_update_options_init() first");
  memcpy(&complete, options, options->size < sizeof complete ? options->size : sizeof complete);
  lnt_status status = check(rt, id, complete.name, complete.args, err);
  if (!status && complete.update_id) status = lnt__check_name("update id", complete.update_id, LNT_ID_BYTES_MAX, false, err);
  if (status) return status;
  lnt__engine_set_now(rt->engine, lnt__clock(rt));
  lnt__inquiry inquiry = {.id = id, .name = complete.name, .update_id = complete.update_id, .args = complete.args, .fn = complete.fn,
                          .user = complete.user};
  return lnt__engine_update(rt->engine, &inquiry, id_out, err);
}

lnt_status lnt_describe(lnt_runtime *rt, const char *id, lnt_value *out, lnt_error *err) {
  uint64_t run;
  lnt__buf buf;
  if (!out) return lnt__fail(err, LNT_EINVAL, "lnt_describe: `out` is NULL");
  *out = LNT_VALUE_NIL;
  lnt_status status = lnt__enter(rt, 0, err);
  if (!status) status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (status) return status;
  lnt__buf_init(&buf);
  if (rt->engine) status = lnt__engine_describe(rt->engine, id, &buf, err);
  else if (!(status = lnt__journal_find(rt->store, id, &run, err))) status = lnt__describe_stored(rt->store, run, &buf, err);
  if (!status) out->data = lnt__buf_detach(&buf, &out->size);
  lnt__buf_finish(&buf);
  return status;
}
