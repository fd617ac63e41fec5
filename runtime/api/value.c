/* value.c - values for hosts: JSON in and out, and the release of what the library hands out. Any thread; no runtime is needed. */
#include "codec/json.h"

lnt_status lnt_value_from_json(const char *text, size_t size, lnt_value *out, lnt_error *err) {
  lnt__buf buf;
  lnt__buf_init(&buf);
  *out = LNT_VALUE_NIL;
  lnt_status status = lnt__json_read(text, size, &buf, err);
  bool is_nil = !status && buf.size == 1 && buf.data[0] == 0xf6; /* at the top, nil has no bytes */
  if (!status && !is_nil) out->data = lnt__buf_detach(&buf, &out->size);
  lnt__buf_finish(&buf);
  return status;
}

lnt_status lnt_value_to_json(lnt_value value, int indent, char **out, size_t *size, lnt_error *err) {
  lnt__buf buf;
  lnt__buf_init(&buf);
  *out = NULL;
  lnt_status status = lnt__json_write(value, indent, &buf, err);
  lnt__buf_u8(&buf, 0);
  if (!status && buf.failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while writing JSON");
  if (!status) {
    size_t with_nul;
    *out = lnt__buf_detach(&buf, &with_nul);
    if (size) *size = with_nul - 1;
  }
  lnt__buf_finish(&buf);
  return status;
}

void lnt_value_free(lnt_value *value) {
  if (!value) return;
  lnt__free((void *)(uintptr_t)value->data);
  *value = LNT_VALUE_NIL;
}

void lnt_free(void *memory) { lnt__free(memory); }
