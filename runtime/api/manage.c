/* manage.c - requests that change an instance: lnt_start, lnt_raise, lnt_terminate, lnt_suspend, lnt_resume. Owner thread, also from
 * callbacks. */
#include "api/instance.h"

void lnt_start_options_init(lnt_start_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

/* A store that found no room takes nothing new, so that what it holds can finish first. */
lnt_status lnt__request_check(lnt_runtime *rt, lnt_error *err) {
  lnt_status status = lnt__enter(rt, LNT__WRITES, err);
  if (status) return status;
  if (rt->way.full) return lnt__fail(err, LNT_EFULL, "no new work is accepted: %s", rt->way.why);
  lnt__engine_set_now(rt->engine, lnt__clock(rt));
  return LNT_OK;
}

lnt_status lnt__request_check_value(lnt_runtime *rt, const char *what, const char *of, lnt_value value, lnt_error *err) {
  if (value.size > rt->options.limits.payload_bytes_max)
    return LNT__MET(&rt->met, payload_bytes_max),
           lnt__fail(err, LNT_ELIMIT, "the %s of '%s' has %zu bytes, more than payload_bytes_max (%llu); pass a reference instead, such "
                     "as a file name", what, of, value.size, (unsigned long long)rt->options.limits.payload_bytes_max);
  lnt_status status = lnt__cbor_check(value, err);
  return status ? lnt__fail_prefix(err, status, "the %s of '%s' is not a value", what, of) : LNT_OK;
}

static lnt_status check_start(const lnt_start_options *from, lnt_start_options *to, lnt_error *err) {
  lnt_start_options_init(to);
  if (!from) return lnt__fail(err, LNT_EINVAL, "lnt_start: no options were given (NULL)");
  if (from->size < offsetof(lnt_start_options, done))
    return lnt__fail(err, LNT_EINVAL, "lnt_start: options.size is not set; call lnt_start_options_init() first");
  memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
  lnt_status status = lnt__check_name("workflow name", to->workflow, LNT_NAME_BYTES_MAX, true, err);
  if (!status && to->id) status = lnt__check_name("instance id", to->id, LNT_ID_BYTES_MAX, false, err);
  if (!status && (unsigned)to->id_reuse > LNT_ID_REUSE_REPLACE)
    return lnt__fail(err, LNT_EINVAL, "lnt_start: options.id_reuse is %d; it is one of lnt_id_reuse", (int)to->id_reuse);
  return status;
}

static lnt_status check_attributes(lnt_runtime *rt, const lnt_start_options *options, lnt_error *err) {
  lnt_status status = lnt__request_check_value(rt, "attributes", options->workflow, options->attributes, err);
  return status ? status : lnt__attributes_check(options->attributes, err);
}

lnt_status lnt_start(lnt_runtime *rt, const lnt_start_options *options, char *id_out, lnt_error *err) {
  lnt_start_options checked;
  uint8_t hash[LNT__SHA256_BYTES];
  char id[LNT_ID_BYTES_MAX + 1];
  bool existed = false;
  lnt_status status = lnt__request_check(rt, err);
  if (!status) status = check_start(options, &checked, err);
  if (!status) status = lnt__request_check_value(rt, "input", checked.workflow, checked.input, err);
  if (!status) status = check_attributes(rt, &checked, err);
  if (!status) status = lnt__wvm_resolve(rt->wvm, checked.workflow, hash, err);
  if (status) return status;
  lnt__start start = {.workflow = checked.workflow, .id = checked.id, .hash = hash, .input = checked.input, .done = checked.done,
                      .done_user = checked.done_user, .id_reuse = checked.id_reuse, .start_at_us = checked.start_at_us,
                      .attributes = checked.attributes, .existed = &existed};
  status = lnt__engine_start(rt->engine, &start, id_out ? id_out : id, err);
  if (!status && checked.existed) *checked.existed = existed;
  return status;
}

static lnt_status check_raise(lnt_runtime *rt, const char *id, const char *event, lnt_value data, lnt_error *err) {
  lnt_status status = lnt__request_check(rt, err);
  if (!status) status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (!status) status = lnt__check_name("event name", event, LNT_NAME_BYTES_MAX, true, err);
  return status ? status : lnt__request_check_value(rt, "data of event", event, data, err);
}

lnt_status lnt_raise(lnt_runtime *rt, const char *id, const char *event, lnt_value data, lnt_done_fn done, void *done_user,
                     lnt_error *err) {
  lnt_status status = check_raise(rt, id, event, data, err);
  lnt__raise raise = {.id = id, .event = event, .data = data, .done = done, .done_user = done_user};
  return status ? status : lnt__engine_raise(rt->engine, &raise, err);
}

void lnt_raise_options_init(lnt_raise_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

lnt_status lnt_raise_ex(lnt_runtime *rt, const char *id, const char *event, const lnt_raise_options *options, lnt_error *err) {
  lnt_raise_options given;
  lnt_raise_options_init(&given);
  if (options && options->size < offsetof(lnt_raise_options, key))
    return lnt__fail(err, LNT_EINVAL, "lnt_raise_ex: options.size is not set; call lnt_raise_options_init() first");
  if (options) memcpy(&given, options, options->size < sizeof given ? options->size : sizeof given);
  lnt_status status = check_raise(rt, id, event, given.data, err);
  if (!status && given.key) status = lnt__check_name("key of an event", given.key, LNT_NAME_BYTES_MAX, true, err);
  lnt__raise raise = {.id = id, .event = event, .data = given.data, .key = given.key, .done = given.done, .done_user = given.done_user,
                      .repeated = given.repeated};
  return status ? status : lnt__engine_raise(rt->engine, &raise, err);
}

/* A request about one instance that carries a reason for people. */
static lnt_status check_reasoned(lnt_runtime *rt, const char *verb, const char *id, const char *reason, lnt_error *err) {
  lnt_status status = lnt__request_check(rt, err);
  if (!status) status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (status) return status;
  if (reason && !lnt__utf8_valid(reason, strlen(reason)))
    return lnt__fail(err, LNT_EINVAL, "the reason to %s '%s' is not UTF-8", verb, id);
  if (reason && strlen(reason) > rt->options.limits.payload_bytes_max / 2)
    return LNT__MET(&rt->met, payload_bytes_max),
           lnt__fail(err, LNT_ELIMIT, "the reason to %s '%s' is longer than half of payload_bytes_max; shorten it", verb, id);
  return LNT_OK;
}

lnt_status lnt_terminate(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err) {
  lnt_status status = check_reasoned(rt, "terminate", id, reason, err);
  return status ? status : lnt__engine_terminate(rt->engine, id, reason, done, done_user, err);
}

lnt_status lnt_suspend(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err) {
  lnt_status status = check_reasoned(rt, "suspend", id, reason, err);
  return status ? status : lnt__engine_suspend(rt->engine, id, reason, done, done_user, err);
}

lnt_status lnt_resume(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err) {
  lnt_status status = check_reasoned(rt, "resume", id, reason, err);
  return status ? status : lnt__engine_resume(rt->engine, id, reason, done, done_user, err);
}

lnt_status lnt_cancel(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err) {
  lnt_status status = check_reasoned(rt, "cancel", id, reason, err);
  return status ? status : lnt__engine_cancel(rt->engine, id, reason, done, done_user, err);
}
