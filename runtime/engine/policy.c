/* policy.c - see policy.h. Members of the options are those that vm/workflow_options.c writes. */
#include <stdio.h>

#include "engine/policy.h"
#include "journal/journal.h"

/* ---- Reading ---- */

static double number_of(lnt_value map, const char *key, double otherwise) {
  lnt_value member;
  if (!lnt__cbor_member(map, key, &member)) return otherwise;
  lnt__reader reader = lnt__reader_of(member.data, member.size);
  lnt__cbor_item item = lnt__cbor_next(&reader);
  if (item.type == LNT__CBOR_INT) return (double)item.as.integer;
  return item.type == LNT__CBOR_FLOAT ? item.as.number : otherwise;
}

static const struct { const char *member, *name; bool retryable; } TIMEOUTS[] = {
#define LNT__X(name, member, retryable) [LNT__TIMEOUT_##name] = {#member "_us", #member, retryable},
    LNT__TIMEOUT_MAP(LNT__X)
#undef LNT__X
};

void lnt__policy_read(lnt_value options, lnt__policy *out) {
  lnt_value retry;
  *out = (lnt__policy){.max_attempts = 1, .backoff = 1};
  if (lnt__cbor_member(options, "retry", &retry)) {
    out->max_attempts = (uint32_t)number_of(retry, "max_attempts", 1);
    out->backoff = number_of(retry, "backoff_coefficient", 1);
    out->first_interval_us = (int64_t)number_of(retry, "first_interval_us", 0);
    out->max_interval_us = (int64_t)number_of(retry, "max_interval_us", 0);
    out->retry_timeout_us = (int64_t)number_of(retry, "timeout_us", 0);
    if (!lnt__cbor_member(retry, "non_retryable", &out->non_retryable)) out->non_retryable = LNT_VALUE_NIL;
  }
  for (int i = 0; i < LNT__TIMEOUTS; i++) out->timeout_us[i] = (int64_t)number_of(options, TIMEOUTS[i].member, 0);
}

/* ---- Retries ---- */

static bool listed(lnt_value list, const char *text, size_t size) {
  lnt__reader reader = lnt__reader_of(list.data, list.size);
  lnt__cbor_item item = lnt__cbor_next(&reader);
  size_t count = item.type == LNT__CBOR_ARRAY ? item.as.count : 0;
  for (size_t i = 0; i < count; i++) {
    item = lnt__cbor_next(&reader);
    if (item.type != LNT__CBOR_STRING) return false;
    if (item.as.string.size == size && memcmp(item.as.string.data, text, size) == 0) return true;
  }
  return false;
}

static bool says_final(lnt_value failure) {
  lnt_value member;
  if (!lnt__cbor_member(failure, "retryable", &member)) return false;
  lnt__reader reader = lnt__reader_of(member.data, member.size);
  lnt__cbor_item item = lnt__cbor_next(&reader);
  return item.type == LNT__CBOR_BOOL && !item.as.boolean;
}

static bool allows_retry(const lnt__policy *policy, lnt_value failure) {
  static const char final_type[] = "NonRetryableError";
  size_t size = 0;
  if (says_final(failure)) return false;
  const char *type = lnt__cbor_member_string(failure, "type", &size);
  if (!type) return true;
  if (size == sizeof final_type - 1 && memcmp(type, final_type, size) == 0) return false;
  return !listed(policy->non_retryable, type, size);
}

#define DELAY_US_MAX 1e18

/* The product is made step by step: pow() differs between machines in the last digit. */
bool lnt__policy_retries(const lnt__policy *policy, uint32_t attempt, lnt_value failure, int64_t *delay_us) {
  double delay = (double)policy->first_interval_us, max = (double)policy->max_interval_us, waited = 0;
  if (attempt >= policy->max_attempts || !allows_retry(policy, failure)) return false;
  if (max > 0 && delay > max) delay = max;
  for (uint32_t i = 1; i < attempt; i++) {
    waited += delay;
    delay *= policy->backoff;
    if (max > 0 && delay > max) delay = max;
    if (delay > DELAY_US_MAX) delay = DELAY_US_MAX;
  }
  *delay_us = (int64_t)delay;
  return policy->retry_timeout_us == 0 || waited < (double)policy->retry_timeout_us;
}

/* ---- Timeouts ---- */

static void write_which(lnt__buf *out, lnt__timeout which) {
  lnt__cbor_map map;
  lnt__cbor_map_begin(out, &map);
  lnt__cbor_cstring(out, "timeout");
  lnt__cbor_cstring(out, TIMEOUTS[which].name);
  lnt__cbor_map_end(out, &map, 1, false);
}

void lnt__timeout_failure(lnt__buf *out, const lnt__policy *policy, lnt__timeout which, const char *name, const char *place) {
  static const struct { const char *before, *after; } texts[] = {
      [LNT__TIMEOUT_SCHEDULE_TO_CLOSE] = {"had no result", "after it was called, all its attempts together (schedule_to_close)"},
      [LNT__TIMEOUT_SCHEDULE_TO_START] = {"was not started within", "of its turn (schedule_to_start)"},
      [LNT__TIMEOUT_START_TO_CLOSE] = {"did not answer within its timeout of", "(start_to_close)"},
      [LNT__TIMEOUT_HEARTBEAT] = {"gave no sign of life for", "(heartbeat)"}};
  char seconds[LNT__NUMBER_TEXT_BYTES], message[LNT_NAME_BYTES_MAX + 400];
  lnt__buf details;
  lnt__buf_init(&details);
  write_which(&details, which);
  lnt__number_text((double)policy->timeout_us[which] / 1e6, seconds);
  snprintf(message, sizeof message, "%s%sactivity '%s' %s %s s %s%s", place ? place : "", place ? ": " : "", name, texts[which].before,
           seconds, texts[which].after, place ? "; it computed, and was stopped: declare it blocking = true" : "");
  lnt_failure failure = {"Timeout", message, !TIMEOUTS[which].retryable, {details.data, details.size}};
  lnt__failure_write(out, &failure);
  out->failed = out->failed || details.failed;
  lnt__buf_finish(&details);
}
