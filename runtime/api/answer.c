/* answer.c - the answers of activities: lnt_complete, lnt_fail; and lnt_wake. ANY THREAD. */
#include "driver/runtime.h"

static lnt_status check_payload(const lnt_runtime *rt, const char *what, lnt_value value, lnt_error *err) {
  if (value.size > rt->options.limits.payload_bytes_max)
    return lnt__fail(err, LNT_ELIMIT, "the %s has %zu bytes, more than payload_bytes_max (%llu)", what, value.size,
                     (unsigned long long)rt->options.limits.payload_bytes_max);
  lnt_status status = lnt__cbor_check(value, err);
  return status ? lnt__fail_prefix(err, status, "the %s is not a value", what) : LNT_OK;
}

static lnt_status check_call(const lnt_runtime *rt, lnt_token token, lnt_error *err) {
  if (!rt) return lnt__fail(err, LNT_EINVAL, "no runtime was given (NULL)");
  if (rt->options.read_only) return lnt__fail(err, LNT_EREADONLY, "the runtime was opened read-only: it runs no activities");
  return token.run ? LNT_OK : lnt__fail(err, LNT_EINVAL, "the token names no attempt");
}

lnt_status lnt_complete(lnt_runtime *rt, lnt_token token, lnt_value result, lnt_error *err) {
  lnt_status status = check_call(rt, token, err);
  if (!status) status = check_payload(rt, "result", result, err);
  return status ? status : lnt__mailbox_post(rt, token, false, result, LNT_VALUE_NIL, true, err);
}

lnt_status lnt_fail(lnt_runtime *rt, lnt_token token, const lnt_failure *failure, lnt_error *err) {
  static const lnt_failure unnamed = {0};
  lnt__buf map;
  if (!failure) failure = &unnamed;
  lnt_status status = check_call(rt, token, err);
  if (!status) status = check_payload(rt, "failure's details", failure->details, err);
  if (status) return status;
  lnt__buf_init(&map);
  lnt__failure_write(&map, failure);
  if (map.failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory: the failure of an activity was not taken");
  else if (map.size > rt->options.limits.payload_bytes_max)
    status = lnt__fail(err, LNT_ELIMIT, "the failure has %zu bytes, more than payload_bytes_max (%llu)", map.size,
                       (unsigned long long)rt->options.limits.payload_bytes_max);
  else status = lnt__mailbox_post(rt, token, true, (lnt_value){map.data, map.size}, LNT_VALUE_NIL, true, err);
  lnt__buf_finish(&map);
  return status;
}

void lnt_wake(lnt_runtime *rt) {
  if (rt) lnt__runtime_wake(rt);
}
