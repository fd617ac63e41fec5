/* cbor.c - the writer, the reader and the check of the value encoding. Called by journal, engine, vm and api; holds no state. */
#include "codec/cbor.h"

#define INTEGER_MAX (1ll << 53)
#define NAN_HALF 0x7e00 /* the one NaN */

enum { MAJOR_UINT, MAJOR_NINT, MAJOR_BYTES, MAJOR_TEXT, MAJOR_ARRAY, MAJOR_MAP, MAJOR_TAG, MAJOR_SIMPLE };
enum { SIMPLE_FALSE = 0xf4, SIMPLE_TRUE = 0xf5, SIMPLE_NULL = 0xf6 };
#define HEAD_BYTES_MAX 9

/* ---- Floats: three widths of the same shape ---------------------------------------------------------------------- */

/* exponent_max is also the bias; `tiny` is the value of the lowest mantissa bit of a subnormal number. */
typedef struct float_form { int bytes, mantissa_bits, exponent_min, exponent_max; double tiny; } float_form;
static const float_form float_forms[] = {{2, 10, -14, 15, 0x1p-24}, {4, 23, -126, 127, 0x1p-149}, {8, 52, -1022, 1023, 0x1p-1074}};

static uint64_t low_bits(int count) { return (1ull << count) - 1; }

/* The double `bits` (not NaN) in one of the two shorter forms; false: something would be lost. */
static bool narrow(const float_form *form, uint64_t bits, uint64_t *out) {
  uint64_t mantissa = bits & low_bits(52), sign = bits >> 63 << (form->bytes * 8 - 1);
  int exponent = (int)(bits >> 52 & 2047) - 1023, drop = 52 - form->mantissa_bits;
  if (exponent == 1024) { /* infinity */
    *out = sign | (uint64_t)(2 * form->exponent_max + 1) << form->mantissa_bits;
    return true;
  }
  if (exponent > form->exponent_max) return false;
  if (exponent >= form->exponent_min) {
    *out = sign | (uint64_t)(exponent + form->exponent_max) << form->mantissa_bits | mantissa >> drop;
    return (mantissa & low_bits(drop)) == 0;
  }
  drop += form->exponent_min - exponent;
  if (drop > 52) return false;
  mantissa |= 1ull << 52;
  *out = sign | mantissa >> drop;
  return (mantissa & low_bits(drop)) == 0;
}

static double double_of(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static double widen(const float_form *form, uint64_t bits) {
  int sign_at = form->bytes * 8 - 1, exponent_all = 2 * form->exponent_max + 1;
  uint64_t mantissa = bits & low_bits(form->mantissa_bits), sign = bits >> sign_at << 63;
  int exponent = (int)(bits >> form->mantissa_bits) & exponent_all;
  if (exponent == 0) return double_of(sign | bits_of((double)mantissa * form->tiny));
  uint64_t wide = exponent == exponent_all ? 2047 : (uint64_t)(exponent - form->exponent_max + 1023);
  return double_of(sign | wide << 52 | mantissa << (52 - form->mantissa_bits));
}

/* Is `value` an integer that has the integer form? NaN compares false. */
static bool is_integer(double value) {
  return value >= (double)-INTEGER_MAX && value <= (double)INTEGER_MAX && (double)(int64_t)value == value;
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

/* Bytes that follow the first one of a head. */
static int argument_bytes(uint64_t argument) {
  return argument < 24 ? 0 : argument <= 0xff ? 1 : argument <= 0xffff ? 2 : argument <= 0xffffffff ? 4 : 8;
}

static uint8_t *put_big_endian(uint8_t *at, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; i--, value >>= 8) at[i] = (uint8_t)value;
  return at + bytes;
}

static int info_of(int bytes) { return bytes == 1 ? 24 : bytes == 2 ? 25 : bytes == 4 ? 26 : 27; }

/* There is room at `at`. */
static uint8_t *put_head(uint8_t *at, int major, uint64_t argument) {
  if (argument < 24) {
    *at = (uint8_t)(major << 5 | (int)argument);
    return at + 1;
  }
  int bytes = argument_bytes(argument);
  *at = (uint8_t)(major << 5 | info_of(bytes));
  return put_big_endian(at + 1, argument, bytes);
}

static void write_head(lnt__buf *out, int major, uint64_t argument) {
  if (!lnt__buf_reserve(out, HEAD_BYTES_MAX)) return;
  out->size = (size_t)(put_head(out->data + out->size, major, argument) - out->data);
}

/* The shortest form that holds `value`, and its bits. */
static const float_form *shortest_form(double value, uint64_t *bits) {
  uint64_t wide = bits_of(value);
  *bits = NAN_HALF;
  if (value != value) return &float_forms[0];
  for (int i = 0; i < 2; i++)
    if (narrow(&float_forms[i], wide, bits)) return &float_forms[i];
  *bits = wide;
  return &float_forms[2];
}

static void write_float(lnt__buf *out, double value) {
  uint64_t bits;
  const float_form *form = shortest_form(value, &bits);
  if (!lnt__buf_reserve(out, HEAD_BYTES_MAX)) return;
  uint8_t *at = out->data + out->size;
  *at = (uint8_t)(MAJOR_SIMPLE << 5 | info_of(form->bytes));
  out->size = (size_t)(put_big_endian(at + 1, bits, form->bytes) - out->data);
}

void lnt__cbor_nil(lnt__buf *out) { lnt__buf_u8(out, SIMPLE_NULL); }
void lnt__cbor_bool(lnt__buf *out, bool value) { lnt__buf_u8(out, value ? SIMPLE_TRUE : SIMPLE_FALSE); }

void lnt__cbor_int(lnt__buf *out, int64_t value) {
  if (value < -INTEGER_MAX || value > INTEGER_MAX) lnt__cbor_number(out, (double)value);
  else write_head(out, value < 0 ? MAJOR_NINT : MAJOR_UINT, value < 0 ? (uint64_t)(-1 - value) : (uint64_t)value);
}

void lnt__cbor_number(lnt__buf *out, double value) {
  if (is_integer(value)) lnt__cbor_int(out, (int64_t)value);
  else write_float(out, value);
}

void lnt__cbor_string(lnt__buf *out, const char *data, size_t size) {
  if (size > SIZE_MAX - HEAD_BYTES_MAX) out->failed = true;
  if (!lnt__buf_reserve(out, size + HEAD_BYTES_MAX)) return;
  uint8_t *at = put_head(out->data + out->size, lnt__utf8_valid(data, size) ? MAJOR_TEXT : MAJOR_BYTES, size);
  if (size) memcpy(at, data, size);
  out->size = (size_t)(at - out->data) + size;
}

void lnt__cbor_cstring(lnt__buf *out, const char *text) { lnt__cbor_string(out, text, strlen(text)); }
void lnt__cbor_array(lnt__buf *out, size_t count) { write_head(out, MAJOR_ARRAY, count); }

/* ---- Maps: members are written as they come, and moved into order at the end ------------------------------------------ */

typedef struct member {
  size_t at, key_size, size; /* where it starts in the buffer; bytes of the key; bytes of key and value */
  uint64_t prefix;           /* the first bytes of the key as a number, zero-filled: settles most comparisons */
} member;

#define MEMBERS_ON_STACK 32

/* `left` bytes stand from the key on. */
static uint64_t key_prefix(const uint8_t *key, size_t key_size, size_t left) {
  uint64_t prefix = 0;
  if (key_size >= 8) return lnt__get_be64(key);
  if (left >= 8) return lnt__get_be64(key) & ~(UINT64_MAX >> 8 * key_size);
  for (size_t i = 0; i < key_size; i++) prefix |= (uint64_t)key[i] << (56 - 8 * i);
  return prefix;
}

/* No encoded key is the beginning of another one, so keys that agree over the shorter length are equal. */
static int compare_members(const uint8_t *data, const member *a, const member *b) {
  if (a->prefix != b->prefix) return a->prefix < b->prefix ? -1 : 1;
  size_t size = a->key_size < b->key_size ? a->key_size : b->key_size;
  return size <= 8 ? 0 : memcmp(data + a->at, data + b->at, size);
}

/* Find the members; *ordered tells whether they stand in strictly rising order already. false: not `count` pairs. */
static bool find_members(const uint8_t *data, size_t from, size_t to, member *members, size_t count, bool *ordered) {
  lnt__reader reader = lnt__reader_of(data + from, to - from);
  *ordered = true;
  for (size_t i = 0; i < count; i++) {
    member *m = &members[i];
    const uint8_t *start = reader.at;
    if (!start || !lnt__cbor_skip(&reader)) return false;
    m->at = (size_t)(start - data);
    m->key_size = (size_t)(reader.at - start);
    m->prefix = key_prefix(start, m->key_size, (size_t)(reader.end - start));
    if (!lnt__cbor_skip(&reader)) return false;
    m->size = (size_t)(reader.at - start);
    if (i && *ordered) *ordered = compare_members(data, m - 1, m) < 0;
  }
  return reader.at == reader.end;
}

static void sort_few(const uint8_t *data, member *members, size_t count) {
  for (size_t i = 1; i < count; i++) {
    member moving = members[i];
    size_t at = i;
    for (; at && compare_members(data, &moving, &members[at - 1]) < 0; at--) members[at] = members[at - 1];
    members[at] = moving;
  }
}

/* `scratch` has room for `count` members too. */
static void sort_many(const uint8_t *data, member *members, member *scratch, size_t count) {
  if (count <= MEMBERS_ON_STACK) {
    sort_few(data, members, count);
    return;
  }
  size_t half = count / 2, left = 0, right = half, at = 0;
  sort_many(data, members, scratch, half);
  sort_many(data, members + half, scratch, count - half);
  memcpy(scratch, members, count * sizeof *members);
  while (left < half && right < count)
    members[at++] = compare_members(data, &scratch[right], &scratch[left]) < 0 ? scratch[right++] : scratch[left++];
  while (left < half) members[at++] = scratch[left++];
  while (right < count) members[at++] = scratch[right++];
}

/* The buffer's own free end serves as the scratch copy. */
static bool move_members(lnt__buf *out, size_t body, const member *members, size_t count) {
  size_t size = out->size - body;
  if (!lnt__buf_reserve(out, size)) return false;
  uint8_t *to = out->data + out->size;
  for (size_t i = 0; i < count; i++) {
    memcpy(to, out->data + members[i].at, members[i].size);
    to += members[i].size;
  }
  memcpy(out->data + body, out->data + out->size, size);
  return true;
}

static bool arrange_members(lnt__buf *out, size_t body, member *members, member *scratch, size_t count) {
  bool ordered;
  if (!find_members(out->data, body, out->size, members, count, &ordered)) return false;
  if (ordered) return true;
  sort_many(out->data, members, scratch, count);
  for (size_t i = 1; i < count; i++)
    if (compare_members(out->data, &members[i - 1], &members[i]) == 0) return false;
  return move_members(out, body, members, count);
}

static bool sort_members(lnt__buf *out, size_t body, size_t count) {
  member few[MEMBERS_ON_STACK];
  if (count <= MEMBERS_ON_STACK) return arrange_members(out, body, few, NULL, count);
  if (count > (out->size - body) / 2) return false; /* a pair has two bytes at least */
  member *many = lnt__calloc(count, 2 * sizeof *many);
  if (!many) {
    out->failed = true;
    return false;
  }
  bool done = arrange_members(out, body, many, many + count, count);
  lnt__free(many);
  return done;
}

/* The count is not known yet: one byte is left for the head, which does for up to 23 members. */
void lnt__cbor_map_begin(lnt__buf *out, lnt__cbor_map *map) {
  lnt__buf_u8(out, MAJOR_MAP << 5);
  map->body = out->size;
  map->count = 0;
}

bool lnt__cbor_map_end(lnt__buf *out, lnt__cbor_map *map, size_t count, bool sorted) {
  if (out->failed) return false;
  map->count = count;
  if (!sorted && count > 1 && !sort_members(out, map->body, count)) return false;
  size_t extra = (size_t)argument_bytes(count);
  if (extra) {
    if (!lnt__buf_reserve(out, extra)) return false;
    memmove(out->data + map->body + extra, out->data + map->body, out->size - map->body);
    out->size += extra;
  }
  put_head(out->data + map->body - 1, MAJOR_MAP, count);
  return true;
}

/* ---- Reading ----------------------------------------------------------------------------------------------------- */

static const lnt__cbor_item bad_item = {.type = LNT__CBOR_BAD};

static lnt__cbor_item bad(lnt__reader *reader) {
  reader->failed = true;
  return bad_item;
}

/* A float that has no shorter form, and is not an integer in disguise. */
static lnt__cbor_item float_item(lnt__reader *reader, int form_number, uint64_t bits) {
  const float_form *form = &float_forms[form_number];
  double value = widen(form, bits);
  lnt__cbor_item item = {.type = LNT__CBOR_FLOAT, .as.number = value};
  if (value != value) return form_number == 0 && bits == NAN_HALF ? item : bad(reader);
  uint64_t narrowed;
  if (is_integer(value)) return bad(reader);
  if (form_number && narrow(form - 1, bits_of(value), &narrowed)) return bad(reader);
  return item;
}

static lnt__cbor_item simple_item(lnt__reader *reader, int info, uint64_t argument) {
  switch (info) {
    case SIMPLE_FALSE & 31: return (lnt__cbor_item){.type = LNT__CBOR_BOOL, .as.boolean = false};
    case SIMPLE_TRUE & 31: return (lnt__cbor_item){.type = LNT__CBOR_BOOL, .as.boolean = true};
    case SIMPLE_NULL & 31: return (lnt__cbor_item){.type = LNT__CBOR_NIL};
    case 25: case 26: case 27: return float_item(reader, info - 25, argument);
    default: return bad(reader);
  }
}

/* The number in a head; false: past the end, or an integer in more bytes than it needs. */
static bool read_argument(lnt__reader *reader, int major, int info, uint64_t *argument) {
  *argument = (uint64_t)info;
  if (info < 24) return true;
  if (info > 27) return false;
  int bytes = 1 << (info - 24);
  if (reader->end - reader->at < bytes) return false;
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value = value << 8 | *reader->at++;
  *argument = value;
  return major == MAJOR_SIMPLE || argument_bytes(value) == bytes;
}

static lnt__cbor_item string_item(lnt__reader *reader, uint64_t size) {
  if (size > (uint64_t)(reader->end - reader->at)) return bad(reader);
  lnt__cbor_item item = {.type = LNT__CBOR_STRING, .as.string = {(const char *)reader->at, (size_t)size}};
  reader->at += size;
  return item;
}

/* A count that the bytes left cannot hold is refused here, so that a caller may make room for `count` things. */
static lnt__cbor_item container_item(lnt__reader *reader, int major, uint64_t count) {
  uint64_t left = (uint64_t)(reader->end - reader->at);
  if (count > (major == MAJOR_MAP ? left / 2 : left)) return bad(reader);
  return (lnt__cbor_item){.type = major == MAJOR_MAP ? LNT__CBOR_MAP : LNT__CBOR_ARRAY, .as.count = (size_t)count};
}

lnt__cbor_item lnt__cbor_next(lnt__reader *reader) {
  static const uint8_t nothing = 0;
  if (reader->failed) return bad_item;
  if (!reader->at) { /* a nil value has no bytes; after it, this reader is an exhausted one */
    reader->at = reader->end = &nothing;
    return (lnt__cbor_item){.type = LNT__CBOR_NIL};
  }
  if (reader->at == reader->end) return bad(reader);
  uint8_t first = *reader->at++;
  int major = first >> 5, info = first & 31;
  uint64_t argument;
  if (!read_argument(reader, major, info, &argument)) return bad(reader);
  switch (major) {
    case MAJOR_UINT:
      if (argument > (uint64_t)INTEGER_MAX) return bad(reader);
      return (lnt__cbor_item){.type = LNT__CBOR_INT, .as.integer = (int64_t)argument};
    case MAJOR_NINT:
      if (argument > (uint64_t)INTEGER_MAX - 1) return bad(reader);
      return (lnt__cbor_item){.type = LNT__CBOR_INT, .as.integer = -1 - (int64_t)argument};
    case MAJOR_BYTES: case MAJOR_TEXT: return string_item(reader, argument);
    case MAJOR_ARRAY: case MAJOR_MAP: return container_item(reader, major, argument);
    case MAJOR_SIMPLE: return simple_item(reader, info, argument);
    default: return bad(reader);
  }
}

/* Skip an item whose head is one byte, as most are: small integers, short strings, booleans, nil, short containers, whose contents are
 * added to *pending. false: it is another one, or not well-formed; the reader stands before it. */
static bool skip_short(lnt__reader *reader, uint64_t *pending) {
  if (reader->at == reader->end) return false;
  unsigned major = *reader->at >> 5, info = *reader->at & 31, bytes = 1;
  if (major == MAJOR_SIMPLE ? info < (SIMPLE_FALSE & 31) || info > (SIMPLE_NULL & 31) : info >= 24 || major == MAJOR_TAG) return false;
  if (major == MAJOR_BYTES || major == MAJOR_TEXT) bytes += info;
  if (bytes > (size_t)(reader->end - reader->at)) return false;
  reader->at += bytes;
  if (major == MAJOR_ARRAY) *pending += info;
  if (major == MAJOR_MAP) *pending += 2 * info;
  return true;
}

bool lnt__cbor_skip(lnt__reader *reader) {
  for (uint64_t pending = 1; pending; pending--) {
    if (skip_short(reader, &pending)) continue;
    lnt__cbor_item item = lnt__cbor_next(reader);
    if (item.type == LNT__CBOR_BAD) return false;
    if (item.type == LNT__CBOR_ARRAY) pending += item.as.count;
    if (item.type == LNT__CBOR_MAP) pending += 2 * (uint64_t)item.as.count;
  }
  return true;
}

bool lnt__cbor_member(lnt_value map, const char *key, lnt_value *out) {
  lnt__reader reader = lnt__reader_of(map.data, map.size);
  lnt__cbor_item item = lnt__cbor_next(&reader);
  size_t key_size = strlen(key);
  if (item.type != LNT__CBOR_MAP) return false;
  for (size_t left = item.as.count; left; left--) {
    lnt__cbor_item name = lnt__cbor_next(&reader);
    const uint8_t *start = reader.at;
    if (name.type == LNT__CBOR_BAD || !lnt__cbor_skip(&reader)) return false;
    if (name.type != LNT__CBOR_STRING || name.as.string.size != key_size || memcmp(name.as.string.data, key, key_size)) continue;
    *out = (lnt_value){start, (size_t)(reader.at - start)};
    return true;
  }
  return false;
}

const char *lnt__cbor_member_string(lnt_value map, const char *key, size_t *size) {
  lnt_value value;
  if (!lnt__cbor_member(map, key, &value)) return NULL;
  lnt__reader reader = lnt__reader_of(value.data, value.size);
  lnt__cbor_item item = lnt__cbor_next(&reader);
  if (item.type != LNT__CBOR_STRING) return NULL;
  *size = item.as.string.size;
  return item.as.string.data;
}

/* ---- The check ---------------------------------------------------------------------------------------------------- */

typedef struct level {
  size_t left; /* items still to come; a member is two */
  bool is_map;
  const uint8_t *key; /* the last one; NULL: none yet */
  size_t key_size;
} level;

typedef struct checker {
  lnt__reader reader;
  level levels[LNT_VALUE_DEPTH_MAX];
  size_t depth;
} checker;

static const char *check_key(level *in, const lnt__cbor_item *item, const uint8_t *start, size_t size) {
  bool is_nan = item->type == LNT__CBOR_FLOAT && item->as.number != item->as.number;
  if (is_nan || (item->type != LNT__CBOR_STRING && item->type != LNT__CBOR_INT && item->type != LNT__CBOR_FLOAT))
    return "a map key is neither a string nor a number";
  if (in->key) {
    size_t common = size < in->key_size ? size : in->key_size;
    int order = memcmp(in->key, start, common);
    if (order == 0) return "a map key appears twice";
    if (order > 0) return "map keys are not in order";
  }
  in->key = start;
  in->key_size = size;
  return NULL;
}

/* One item with its head; NULL or what is wrong with it. */
static const char *check_item(checker *c, lnt__cbor_item *item) {
  const uint8_t *start = c->reader.at;
  level *in = c->depth ? &c->levels[c->depth - 1] : NULL;
  bool is_key = in && in->is_map && in->left % 2 == 0;
  *item = lnt__cbor_next(&c->reader);
  if (item->type == LNT__CBOR_BAD) return "cut short, not in its shortest form, or of a kind that values do not have";
  if (item->type == LNT__CBOR_STRING && (*start >> 5 == MAJOR_TEXT) != lnt__utf8_valid(item->as.string.data, item->as.string.size))
    return *start >> 5 == MAJOR_TEXT ? "a text string is not valid UTF-8" : "a byte string holds valid UTF-8: it should be a text string";
  if (is_key) return check_key(in, item, start, (size_t)(c->reader.at - start));
  return NULL;
}

/* Go into `item` if it is a container; false: too deep. */
static bool enter(checker *c, const lnt__cbor_item *item) {
  bool is_map = item->type == LNT__CBOR_MAP;
  if (!is_map && item->type != LNT__CBOR_ARRAY) return true;
  if (c->depth == LNT_VALUE_DEPTH_MAX) return false;
  c->levels[c->depth++] = (level){item->as.count * (is_map ? 2 : 1), is_map, NULL, 0};
  return true;
}

static lnt_status check_failed(lnt_value value, const uint8_t *at, const char *why, lnt_error *err) {
  return lnt__fail(err, LNT_EVALUE, "the value is not canonical CBOR: byte %zu of %zu: %s", (size_t)(at - (const uint8_t *)value.data),
                   value.size, why);
}

lnt_status lnt__cbor_check(lnt_value value, lnt_error *err) {
  if (value.size == 0) return LNT_OK;
  checker c;
  c.reader = lnt__reader_of(value.data, value.size);
  c.depth = 0;
  do {
    const uint8_t *start = c.reader.at;
    lnt__cbor_item item;
    const char *why = check_item(&c, &item);
    if (why) return check_failed(value, start, why, err);
    if (c.depth) c.levels[c.depth - 1].left--;
    if (!enter(&c, &item))
      return lnt__fail(err, LNT_ELIMIT, "the value is nested deeper than %d levels (byte %zu)", LNT_VALUE_DEPTH_MAX,
                       (size_t)(start - (const uint8_t *)value.data));
    while (c.depth && c.levels[c.depth - 1].left == 0) c.depth--;
  } while (c.depth);
  if (c.reader.at != c.reader.end) return check_failed(value, c.reader.at, "more bytes follow the end of the value", err);
  return LNT_OK;
}
