/* answer.c - what activities say: lnt_complete, lnt_fail, lnt_heartbeat; and lnt_wake. ANY THREAD. */
#include "driver/runtime.h"

static lnt_status check_payload(lnt_runtime *rt, const char *what, lnt_value value, lnt_error *err) {
  if (value.size > rt->options.limits.payload_bytes_max)
    return LNT__MET(&rt->met, payload_bytes_max),
           lnt__fail(err, LNT_ELIMIT, "the %s has %zu bytes, more than payload_bytes_max (%llu); give a reference instead, such as a file "
                     "name", what, value.size, (unsigned long long)rt->options.limits.payload_bytes_max);
  lnt_status status = lnt__cbor_check(value, err);
  return status ? lnt__fail_prefix(err, status, "the %s is not a value", what) : LNT_OK;
}

static lnt_status check_call(const lnt_runtime *rt, lnt_token token, lnt_error *err) {
  if (!rt) return lnt__fail(err, LNT_EINVAL, "no runtime was given (NULL)");
  if (rt->options.read_only) return lnt__fail(err, LNT_EREADONLY, "the runtime was opened read-only: it runs no activities");
  return token.run ? LNT_OK : lnt__fail(err, LNT_EINVAL, "the token names no attempt");
}

/* Elsewhere than on the owner thread it is not known before the answer is looked at. */
static lnt_status check_awaited(lnt_runtime *rt, lnt_token token, lnt_error *err) {
  bool is_current = lnt__is_owner(rt) && rt->current.run == token.run && rt->current.seq == token.seq;
  if (!lnt__is_owner(rt) || is_current) return LNT_OK;
  if (rt->closing) return lnt__fail(err, LNT_EMISUSE, "the runtime is being closed; the answer was not taken");
  lnt_status status = lnt__engine_awaits(rt->engine, token);
  char text[LNT_TOKEN_TEXT_BYTES];
  lnt_token_text(token, text);
  if (status == LNT_ENOTFOUND && lnt__canceled_has(rt, token)) /* those that are late are many, and their histories may be long */
    return lnt__fail(err, LNT_EOVER, "attempt %s is over: it timed out or was canceled", text);
  if (status == LNT_ENOTFOUND) return lnt__engine_unawaited(rt->engine, token, err);
  return status ? lnt__fail(err, status, "the instance of attempt %s cannot be read", text) : LNT_OK;
}

lnt_status lnt_complete(lnt_runtime *rt, lnt_token token, lnt_value result, lnt_done_fn done, void *done_user, lnt_error *err) {
  lnt_status status = check_call(rt, token, err);
  if (!status) status = check_payload(rt, "result", result, err);
  if (!status) status = check_awaited(rt, token, err);
  lnt__posted posted = {.token = token, .kind = LNT__ANSWER_RESULT, .value = result, .done = done, .done_user = done_user, .bounded = true};
  return status ? status : lnt__mailbox_post(rt, &posted, err);
}

lnt_status lnt_fail(lnt_runtime *rt, lnt_token token, const lnt_failure *failure, lnt_done_fn done, void *done_user, lnt_error *err) {
  static const lnt_failure unnamed = {0};
  lnt__posted posted = {.token = token, .kind = LNT__ANSWER_FAILURE, .done = done, .done_user = done_user, .bounded = true};
  lnt__buf map;
  if (!failure) failure = &unnamed;
  lnt_status status = check_call(rt, token, err);
  if (!status) status = check_payload(rt, "failure's details", failure->details, err);
  if (!status) status = check_awaited(rt, token, err);
  if (status) return status;
  lnt__buf_init(&map);
  lnt__failure_write(&map, failure);
  posted.value = (lnt_value){map.data, map.size};
  if (map.failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory: the failure of an activity was not taken");
  else if (map.size > rt->options.limits.payload_bytes_max)
    status = (LNT__MET(&rt->met, payload_bytes_max),
              lnt__fail(err, LNT_ELIMIT, "the failure has %zu bytes, more than payload_bytes_max (%llu); shorten it", map.size,
                        (unsigned long long)rt->options.limits.payload_bytes_max));
  else status = lnt__mailbox_post(rt, &posted, err);
  lnt__buf_finish(&map);
  return status;
}

static lnt_status beat_here(lnt_runtime *rt, lnt_token token, lnt_value details, int *canceled, lnt_error *err) {
  lnt__engine_set_now(rt->engine, lnt__clock(rt));
  lnt_status status = lnt__engine_heartbeat(rt->engine, token, details);
  *canceled = status == LNT_ENOTFOUND;
  if (status == LNT_OK || status == LNT_ENOTFOUND) return LNT_OK;
  return lnt__fail(err, status, "a heartbeat was not taken: %s", lnt_status_text(status));
}

lnt_status lnt_heartbeat(lnt_runtime *rt, lnt_token token, lnt_value details, int *canceled, lnt_error *err) {
  int unwanted;
  if (!canceled) canceled = &unwanted;
  *canceled = 0;
  lnt_status status = check_call(rt, token, err);
  if (!status) status = check_payload(rt, "details of a heartbeat", details, err);
  if (status) return status;
  if (lnt__is_owner(rt) && !rt->closing) return beat_here(rt, token, details, canceled, err);
  *canceled = lnt__canceled_has(rt, token);
  return *canceled ? LNT_OK : lnt__mailbox_beat(rt, token, details, err);
}

int lnt_activity_canceled(lnt_runtime *rt, lnt_token token) { return rt && token.run && lnt__canceled_has(rt, token); }

void lnt_wake(lnt_runtime *rt) {
  if (rt) lnt__runtime_wake(rt);
}
