/* token.c - tokens of attempts as text, and back. Called by hosts and by activities, from any thread. */
#include <inttypes.h>
#include <stdio.h>

#include "base/base.h"

void lnt_token_text(lnt_token token, char out[LNT_TOKEN_TEXT_BYTES]) {
  snprintf(out, LNT_TOKEN_TEXT_BYTES, "%" PRIu64 ":%" PRIu32 ":%" PRIu32, token.run, token.seq, token.attempt);
}

/* Digits and the character behind them; false: no such number, or one over `max`. */
static bool read_number(const char **at, uint64_t max, char end, uint64_t *out) {
  uint64_t value = 0;
  if (**at < '1' || **at > '9') return false;
  for (; **at >= '0' && **at <= '9'; (*at)++) {
    unsigned digit = (unsigned)(**at - '0');
    if (value > (max - digit) / 10) return false;
    value = value * 10 + digit;
  }
  *out = value;
  return *(*at)++ == end;
}

lnt_status lnt_token_parse(const char *text, lnt_token *out, lnt_error *err) {
  uint64_t run, seq, attempt;
  const char *at = text;
  if (!out) return lnt__fail(err, LNT_EINVAL, "lnt_token_parse: `out` is NULL");
  *out = (lnt_token){0, 0, 0};
  if (!text || !read_number(&at, UINT64_MAX, ':', &run) || !read_number(&at, UINT32_MAX, ':', &seq) ||
      !read_number(&at, UINT32_MAX, 0, &attempt))
    return lnt__fail(err, LNT_EINVAL, "'%.40s' is not a token; one looks like 17:3:1", text ? text : "");
  *out = (lnt_token){run, (uint32_t)seq, (uint32_t)attempt};
  return LNT_OK;
}
