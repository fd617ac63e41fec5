/* policy.h - what an author wrote beside a call, read once from the options of its command: retries and timeouts, and the formulas that
 * follow from them. Pure; the engine uses it for activities and children. */
#ifndef LNT__POLICY_H
#define LNT__POLICY_H

#include "codec/cbor.h"

/* X(name, member of the options, whether a retry may follow): the timeouts of an activity. Of two that are due at once, the one that
 * stands first counts. */
#define LNT__TIMEOUT_MAP(X)                              \
  X(SCHEDULE_TO_CLOSE, schedule_to_close, false)         \
  X(SCHEDULE_TO_START, schedule_to_start, false)         \
  X(START_TO_CLOSE, start_to_close, true)                \
  X(HEARTBEAT, heartbeat, true)

typedef enum lnt__timeout {
#define LNT__X(name, member, retryable) LNT__TIMEOUT_##name,
  LNT__TIMEOUT_MAP(LNT__X)
#undef LNT__X
  LNT__TIMEOUTS
} lnt__timeout;

typedef struct lnt__policy {
  uint32_t max_attempts; /* 1: no retry */
  double backoff;
  int64_t first_interval_us, max_interval_us, retry_timeout_us; /* the last two 0: none */
  lnt_value non_retryable;           /* a list of types inside the options that were read; nil: none */
  int64_t timeout_us[LNT__TIMEOUTS]; /* 0: none */
} lnt__policy;

/* Options that are nil, or lack something, mean no retry and no timeout. `out` points into `options`. */
void lnt__policy_read(lnt_value options, lnt__policy *out);

/* May another attempt follow the one of this number, which ended with this failure? Then *delay_us is the time until it. Dapr's formula:
 * min(first * backoff ^ (attempt - 1), max), until there were max_attempts, or until the delays so far make up retry_timeout. What the
 * attempts themselves took does not count, so the answer is the same on any machine. */
bool lnt__policy_retries(const lnt__policy *policy, uint32_t attempt, lnt_value failure, int64_t *delay_us);

/* A failure of type "Timeout" whose details name the timeout, of activity `name`. `place`: where it computed and was stopped; NULL: it was
 * not. */
void lnt__timeout_failure(lnt__buf *out, const lnt__policy *policy, lnt__timeout which, const char *name, const char *place);

#endif
