/* attributes.c - the rule of attributes: what lists search by. Used by whoever takes them in: the API at a start, the workflow VM. Any
 * thread. */
#include <math.h>

#include "journal/journal.h"

static lnt_status check_name(lnt__cbor_item key, char name[LNT_ATTRIBUTE_NAME_BYTES_MAX + 1], lnt_error *err) {
  if (key.type != LNT__CBOR_STRING) return lnt__fail(err, LNT_EVALUE, "the name of an attribute must be text, not a number");
  size_t size = key.as.string.size;
  if (size > LNT_ATTRIBUTE_NAME_BYTES_MAX)
    return lnt__fail(err, LNT_ELIMIT, "the name of an attribute has %zu bytes, more than %d", size, LNT_ATTRIBUTE_NAME_BYTES_MAX);
  if (size) memcpy(name, key.as.string.data, size);
  name[size] = 0;
  if (size && memchr(name, 0, size)) return lnt__fail(err, LNT_EVALUE, "the name of an attribute holds a zero byte");
  lnt_status status = lnt__check_name("attribute name", name, LNT_ATTRIBUTE_NAME_BYTES_MAX, true, err);
  if (err && status) err->code = LNT_EVALUE;
  return status ? LNT_EVALUE : LNT_OK;
}

static lnt_status check_value(lnt__cbor_item value, const char *name, lnt_error *err) {
  switch (value.type) {
    case LNT__CBOR_BOOL:
    case LNT__CBOR_INT: return LNT_OK;
    case LNT__CBOR_FLOAT:
      if (isfinite(value.as.number)) return LNT_OK;
      return lnt__fail(err, LNT_EVALUE, "the attribute '%s' is not a finite number", name);
    case LNT__CBOR_STRING:
      if (value.as.string.size > LNT_ATTRIBUTE_TEXT_BYTES_MAX)
        return lnt__fail(err, LNT_ELIMIT, "the attribute '%s' has %zu bytes, more than %d; keep long texts in the custom status", name,
                         value.as.string.size, LNT_ATTRIBUTE_TEXT_BYTES_MAX);
      if (lnt__utf8_valid(value.as.string.data, value.as.string.size)) return LNT_OK;
      return lnt__fail(err, LNT_EVALUE, "the attribute '%s' is not UTF-8 text", name);
    default: return lnt__fail(err, LNT_EVALUE, "the attribute '%s' must be text, a number or a boolean", name);
  }
}

lnt_status lnt__attributes_check(lnt_value attributes, lnt_error *err) {
  char name[LNT_ATTRIBUTE_NAME_BYTES_MAX + 1];
  if (attributes.size == 0) return LNT_OK;
  lnt__reader reader = lnt__reader_of(attributes.data, attributes.size);
  lnt__cbor_item map = lnt__cbor_next(&reader);
  if (map.type != LNT__CBOR_MAP) return lnt__fail(err, LNT_EVALUE, "attributes must be a map of names to texts, numbers and booleans");
  if (map.as.count > LNT_ATTRIBUTES_MAX)
    return lnt__fail(err, LNT_ELIMIT, "there are %zu attributes; an instance has at most %d", map.as.count, LNT_ATTRIBUTES_MAX);
  for (size_t i = 0; i < map.as.count; i++) {
    lnt_status status = check_name(lnt__cbor_next(&reader), name, err);
    if (!status) status = check_value(lnt__cbor_next(&reader), name, err);
    if (status) return status;
  }
  return LNT_OK;
}
