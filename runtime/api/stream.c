/* stream.c - the streams of instances: lnt_stream, lnt_follow, and cursors as text. Owner thread, but for the text (any thread). */
#include <inttypes.h>
#include <stdio.h>

#include "driver/runtime.h"

/* ---- Cursors ---- */

void lnt_cursor_to_text(lnt_cursor cursor, char out[LNT_CURSOR_TEXT_BYTES]) {
  snprintf(out, LNT_CURSOR_TEXT_BYTES, "%" PRIu64 ".%" PRIu32 ".%" PRIu32, cursor.run, cursor.record, cursor.place);
}

/* Decimal digits, at most `max`; the character after them must be `end`. */
static bool read_number(const char **at, uint64_t max, char end, uint64_t *out) {
  uint64_t number = 0;
  const char *start = *at;
  for (; **at >= '0' && **at <= '9'; (*at)++) {
    uint64_t digit = (uint64_t)(**at - '0');
    if (number > (max - digit) / 10) return false;
    number = number * 10 + digit;
  }
  *out = number;
  return *at != start && *(*at)++ == end;
}

lnt_status lnt_cursor_from_text(const char *text, lnt_cursor *out, lnt_error *err) {
  uint64_t run, record, place;
  *out = (lnt_cursor){0};
  if (!text || !*text) return LNT_OK;
  const char *at = text;
  if (!read_number(&at, UINT64_MAX, '.', &run) || !read_number(&at, UINT32_MAX, '.', &record) || !read_number(&at, UINT32_MAX, 0, &place))
    return lnt__fail(err, LNT_EINVAL, "\"%.60s\" is not a cursor; give the one that the read before answered, or none", text);
  *out = (lnt_cursor){run, (uint32_t)record, (uint32_t)place};
  return LNT_OK;
}

/* ---- Reading and following ---- */

static lnt_status check(lnt_runtime *rt, int needs, const char *id, const char *stream, lnt_emitted_fn fn, lnt_error *err) {
  lnt_status status = lnt__enter(rt, needs, err);
  if (!status) status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (!status) status = lnt__check_name("stream name", stream, LNT_NAME_BYTES_MAX, true, err);
  if (!status && !fn) status = lnt__fail(err, LNT_EINVAL, "no function was given to read the stream '%s' (NULL)", stream);
  return status;
}

lnt_status lnt_stream(lnt_runtime *rt, const char *id, const char *stream, lnt_cursor from, uint32_t limit, lnt_emitted_fn fn, void *user,
                      lnt_stream_end *end, lnt_error *err) {
  lnt_stream_end unwanted;
  lnt_status status = check(rt, 0, id, stream, fn, err);
  return status ? status : lnt__stream_read(rt, id, stream, from, limit, fn, user, end ? end : &unwanted, err);
}

lnt_status lnt_follow(lnt_runtime *rt, const char *id, const char *stream, lnt_cursor from, lnt_emitted_fn fn, void *user,
                      lnt_follower **out, lnt_error *err) {
  uint64_t run;
  lnt_status status = check(rt, LNT__WRITES, id, stream, fn, err);
  if (!status && !out) status = lnt__fail(err, LNT_EINVAL, "lnt_follow: `out` is NULL");
  if (!status && !lnt__engine_knows(rt->engine, id)) status = lnt__journal_find(rt->store, id, &run, err);
  return status ? status : lnt__follow(rt, id, stream, from, fn, user, out, err);
}

void lnt_unfollow(lnt_runtime *rt, lnt_follower *follower) {
  if (rt && follower && lnt__is_owner(rt)) lnt__unfollow(rt, follower);
}
