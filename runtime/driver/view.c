/* view.c - the public form of events. Called by dispatching to the observer and by lnt_history(), on the owner thread. */
#include "driver/runtime.h"

/* Append NUL-terminated; answers the offset, or SIZE_MAX for nothing. */
static size_t put_text(lnt__buf *text, lnt_value from) {
  if (!from.size) return SIZE_MAX;
  size_t at = text->size;
  lnt__buf_append(text, from.data, from.size);
  lnt__buf_u8(text, 0);
  return at;
}

static size_t put_hex(lnt__buf *text, lnt_value hash) {
  char hex[2 * LNT__SHA256_BYTES + 1];
  if (hash.size != LNT__SHA256_BYTES) return SIZE_MAX;
  lnt__hex(hash.data, hash.size, hex);
  return put_text(text, (lnt_value){hex, sizeof hex - 1});
}

bool lnt__event_view(const lnt__event *event, uint64_t index, lnt__buf *text, lnt_event *out) {
  lnt__buf_clear(text);
  size_t name = put_text(text, event->name);
  size_t id = put_text(text, event->id);
  size_t detail = event->detail.size ? put_text(text, event->detail) : put_hex(text, event->hash);
  if (text->failed) return false;
  const char *base = (const char *)text->data;
  *out = (lnt_event){.index = index, .kind = event->kind, .time_us = event->time_us, .seq = event->seq, .attempt = event->attempt,
                     .due_us = event->due_us, .name = name == SIZE_MAX ? NULL : base + name, .value = event->value,
                     .detail = detail == SIZE_MAX ? NULL : base + detail, .id = id == SIZE_MAX ? NULL : base + id,
                     .options = event->options};
  return true;
}
