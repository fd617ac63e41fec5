/* keys.c - see keys.h. */
#include "journal/keys.h"

enum { KEY_BYTES = 16 };

static void put_key(uint8_t out[KEY_BYTES], lnt__origin_key key) {
  lnt__put_be64(out, key.seed);
  lnt__put_be64(out + 8, (uint64_t)key.us);
}

void lnt__origin_key_write(lnt__buf *out, lnt__origin_key key) {
  uint8_t bytes[KEY_BYTES];
  char hex[2 * KEY_BYTES + 1];
  put_key(bytes, key);
  lnt__hex(bytes, sizeof bytes, hex);
  lnt__cbor_string(out, hex, sizeof hex - 1);
}

static lnt__origin_key read_key(const lnt__event *forked, lnt__origin_key otherwise) {
  size_t size = 0;
  uint64_t halves[2] = {0, 0};
  const char *hex = lnt__cbor_member_string(forked->value, "key", &size);
  if (!hex || size != (size_t)2 * KEY_BYTES) return otherwise;
  for (size_t i = 0; i < size; i++) {
    uint64_t digit = hex[i] >= 'a' ? (uint64_t)(hex[i] - 'a' + 10) : (uint64_t)(hex[i] - '0');
    halves[i / KEY_BYTES] = halves[i / KEY_BYTES] << 4 | (digit & 15);
  }
  return (lnt__origin_key){halves[0], (int64_t)halves[1]};
}

static bool is_retry(const lnt__event *forked) {
  size_t size = 0;
  const char *by = lnt__cbor_member_string(forked->value, "by", &size);
  return by && size == 5 && memcmp(by, "retry", 5) == 0;
}

/* A step that a retry does again is the same step to those outside; in a fork it is another. */
bool lnt__step_keys_see(lnt__step_keys *keys, const lnt__event *event) {
  bool good = true;
  keys->commands += lnt__event_is_command(event->kind);
  if (event->kind == LNT_EVENT_FORKED && is_retry(event)) {
    good = lnt__grow((void **)&keys->ranges, &keys->capacity, keys->count + 1, sizeof *keys->ranges);
    if (good) keys->ranges[keys->count++] = (lnt__key_range){keys->commands, read_key(event, keys->own)};
  } else if (event->kind == LNT_EVENT_FORKED) {
    keys->count = 0;
  }
  if (event->kind == LNT_EVENT_FORKED || event->kind == LNT_EVENT_STARTED) keys->own = (lnt__origin_key){event->seed, event->time_us};
  return good;
}

void lnt__step_keys_finish(lnt__step_keys *keys) {
  lnt__free(keys->ranges);
  *keys = (lnt__step_keys){.count = 0};
}

void lnt__step_key_text(const lnt__step_keys *keys, uint32_t seq, char out[LNT__STEP_KEY_TEXT_BYTES]) {
  uint8_t bytes[KEY_BYTES + 4];
  lnt__origin_key key = keys->own;
  for (size_t i = keys->count; i > 0; i--)
    if (seq <= keys->ranges[i - 1].commands) key = keys->ranges[i - 1].key;
  put_key(bytes, key);
  lnt__put_be32(bytes + KEY_BYTES, seq);
  lnt__hex(bytes, sizeof bytes, out);
}
