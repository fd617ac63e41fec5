/* fuzz_codec.c - libFuzzer target: any bytes into the check, the renderings and JSON. No crash, no read outside the bytes, and one form per
 * value: what the check accepts survives JSON wherever JSON can say it. */
#include <stdlib.h>

#include "codec/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Text that we wrote is read back, and then nothing more is lost. */
static void json_settles(lnt_value value) {
  char *text = NULL, *again = NULL;
  size_t size = 0;
  lnt_value first = LNT_VALUE_NIL, second = LNT_VALUE_NIL;
  LNT__ASSERT(lnt_value_to_json(value, 0, &text, &size, NULL) == LNT_OK);
  lnt_status status = lnt_value_from_json(text, size, &first, NULL); /* refused only for a key that is both a number and a string */
  if (status == LNT_OK) {
    LNT__ASSERT(lnt__cbor_check(first, NULL) == LNT_OK);
    LNT__ASSERT(lnt_value_to_json(first, 1, &again, &size, NULL) == LNT_OK);
    LNT__ASSERT(lnt_value_from_json(again, size, &second, NULL) == LNT_OK);
    LNT__ASSERT(first.size == second.size && (!first.size || memcmp(first.data, second.data, first.size) == 0));
  }
  lnt_free(text), lnt_free(again), lnt_value_free(&first), lnt_value_free(&second);
}

static void as_value(const uint8_t *data, size_t size) {
  lnt_value value = {data, size}, first = {data, size / 2}, second = {data + size / 2, size - size / 2}, member;
  char text[64];
  lnt_error err;
  lnt_status status = lnt__cbor_check(value, &err);
  LNT__ASSERT(status == LNT_OK || status == err.code);
  lnt__cbor_brief(value, text, sizeof text);
  LNT__ASSERT(strlen(text) < sizeof text && lnt__utf8_valid(text, strlen(text)));
  lnt__cbor_diff(first, second, "input", text, sizeof text);
  LNT__ASSERT(strlen(text) < sizeof text && lnt__utf8_valid(text, strlen(text)));
  lnt__cbor_diff(value, value, "input", text, sizeof text);
  LNT__ASSERT(*text == 0);
  lnt__cbor_member(value, "a", &member);
  if (status == LNT_OK) json_settles(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lnt_value value;
  as_value(data, size);
  if (lnt_value_from_json((const char *)data, size, &value, NULL) == LNT_OK) {
    LNT__ASSERT(lnt__cbor_check(value, NULL) == LNT_OK);
    json_settles(value);
    lnt_value_free(&value);
  }
  return 0;
}
