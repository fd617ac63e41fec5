/* cbor_text.c - values as short text for people: one-line renderings, the first difference of two, numbers. Called by engine and api to
 * explain divergences, and by json.c; any thread. */
#include <stdio.h>
#include <stdlib.h>

#include "codec/cbor.h"

#define DIFF_PATH_BYTES 256
#define DIFF_SIDE_BYTES 100   /* of each side of a difference */
#define DIFF_CONTEXT_BYTES 12 /* of the common beginning of two long strings that is shown */

/* ---- Numbers ----------------------------------------------------------------------------------------------------- */

/* Whatever separates the decimals in the host's locale (a comma, or several bytes) becomes a point. */
static size_t fix_point(char *text) {
  char *to = text;
  for (const char *from = text; *from;) {
    if (strchr("0123456789+-e", *from)) {
      *to++ = *from++;
      continue;
    }
    while (*from && !strchr("0123456789+-e", *from)) from++;
    *to++ = '.';
  }
  *to = 0;
  return (size_t)(to - text);
}

size_t lnt__number_text(double value, char out[LNT__NUMBER_TEXT_BYTES]) {
  if (value != value) return (size_t)snprintf(out, LNT__NUMBER_TEXT_BYTES, "nan");
  if (value - value != 0) return (size_t)snprintf(out, LNT__NUMBER_TEXT_BYTES, value < 0 ? "-inf" : "inf");
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(out, LNT__NUMBER_TEXT_BYTES, "%.*g", digits, value);
    if (strtod(out, NULL) == value) break;
  }
  return fix_point(out);
}

/* ---- Bounded text: what does not fit is cut at a character and ends in "..." -------------------------------------------- */

typedef struct text { char *out; size_t size, used; bool cut; } text;

static text text_of(char *out, size_t size) {
  if (size) *out = 0;
  return (text){out, size, 0, size == 0};
}

static void put(text *t, const char *data, size_t size) {
  if (t->cut) return;
  if (size < t->size - t->used) {
    memcpy(t->out + t->used, data, size);
    t->used += size;
    t->out[t->used] = 0;
    return;
  }
  size_t room = t->size - 1, part = room - t->used, dots = room < 3 ? room : 3;
  memcpy(t->out + t->used, data, part);
  size_t at = room - dots;
  while (at && ((uint8_t)t->out[at] & 0xc0) == 0x80) at--;
  memset(t->out + at, '.', dots);
  t->used = at + dots;
  t->out[t->used] = 0;
  t->cut = true;
}

static void put_text(text *t, const char *data) { put(t, data, strlen(data)); }

static void put_number(text *t, const lnt__cbor_item *item) {
  char number[LNT__NUMBER_TEXT_BYTES];
  if (item->type == LNT__CBOR_FLOAT) lnt__number_text(item->as.number, number);
  else snprintf(number, sizeof number, "%lld", (long long)item->as.integer);
  put_text(t, number);
}

/* The character at `at` with its escape; answers its bytes. */
static size_t put_character(text *t, const char *at, size_t left) {
  size_t length = lnt__utf8_length(at, left);
  char escape[8];
  if (*at == '"' || *at == '\\') snprintf(escape, sizeof escape, "\\%c", *at);
  else if (*at == '\n') snprintf(escape, sizeof escape, "\\n");
  else if (length == 0 || (uint8_t)*at < 0x20 || *at == 0x7f) snprintf(escape, sizeof escape, "\\x%02x", (uint8_t)*at);
  else {
    put(t, at, length);
    return length;
  }
  put_text(t, escape);
  return 1;
}

static void put_quoted(text *t, const char *prefix, const char *data, size_t size) {
  put_text(t, "\"");
  put_text(t, prefix);
  for (size_t i = 0; i < size && !t->cut;) i += put_character(t, data + i, size - i);
  put_text(t, "\"");
}

static bool is_identifier(const char *data, size_t size) {
  if (size == 0 || (data[0] >= '0' && data[0] <= '9')) return false;
  for (size_t i = 0; i < size; i++) {
    char lower = (char)(data[i] | 0x20);
    if (!(lower >= 'a' && lower <= 'z') && !(data[i] >= '0' && data[i] <= '9') && data[i] != '_') return false;
  }
  return true;
}

/* ---- Brief ------------------------------------------------------------------------------------------------------- */

static void put_item(text *t, lnt__reader *reader, int depth);

static void put_key(text *t, lnt__reader *reader) {
  lnt__cbor_item key = lnt__cbor_next(reader);
  if (key.type == LNT__CBOR_STRING && is_identifier(key.as.string.data, key.as.string.size)) put(t, key.as.string.data, key.as.string.size);
  else if (key.type == LNT__CBOR_STRING) put_quoted(t, "", key.as.string.data, key.as.string.size);
  else if (key.type == LNT__CBOR_INT || key.type == LNT__CBOR_FLOAT) put_number(t, &key);
  else put_text(t, "(unreadable)");
}

static void put_container(text *t, lnt__reader *reader, const lnt__cbor_item *item, int depth) {
  bool is_map = item->type == LNT__CBOR_MAP;
  put_text(t, is_map ? "{" : "[");
  for (size_t i = 0; i < item->as.count && !t->cut && !reader->failed; i++) {
    if (i) put_text(t, ", ");
    if (is_map) {
      put_key(t, reader);
      put_text(t, ": ");
    }
    put_item(t, reader, depth + 1);
  }
  put_text(t, is_map ? "}" : "]");
}

static void put_item(text *t, lnt__reader *reader, int depth) {
  lnt__cbor_item item = lnt__cbor_next(reader);
  switch (item.type) {
    case LNT__CBOR_NIL: put_text(t, "nil"); break;
    case LNT__CBOR_BOOL: put_text(t, item.as.boolean ? "true" : "false"); break;
    case LNT__CBOR_INT: case LNT__CBOR_FLOAT: put_number(t, &item); break;
    case LNT__CBOR_STRING: put_quoted(t, "", item.as.string.data, item.as.string.size); break;
    case LNT__CBOR_ARRAY: case LNT__CBOR_MAP:
      if (depth < LNT_VALUE_DEPTH_MAX) put_container(t, reader, &item, depth);
      else reader->failed = true;
      break;
    case LNT__CBOR_BAD: put_text(t, "(unreadable)"); break;
  }
}

void lnt__cbor_brief(lnt_value value, char *out, size_t size) {
  text t = text_of(out, size);
  lnt__reader reader = lnt__reader_of(value.data, value.size);
  put_item(&t, &reader, 0);
}

/* ---- Difference -------------------------------------------------------------------------------------------------- */

typedef struct diff {
  text path, out;
  size_t count, most; /* differences told, and how many are wanted */
  int depth;
} diff;

static lnt_value take(lnt__reader *reader) {
  const uint8_t *start = reader->at;
  return lnt__cbor_skip(reader) ? (lnt_value){start, (size_t)(reader->at - start)} : LNT_VALUE_NIL;
}

static lnt__cbor_item first_item(lnt_value value, lnt__reader *reader) {
  *reader = lnt__reader_of(value.data, value.size);
  return lnt__cbor_next(reader);
}

/* Bytes that two strings have in common and that need not be shown: up to a little before they part. */
static size_t common_beginning(const lnt__cbor_item *a, const lnt__cbor_item *b) {
  size_t at = 0, size = a->as.string.size < b->as.string.size ? a->as.string.size : b->as.string.size;
  while (at < size && a->as.string.data[at] == b->as.string.data[at]) at++;
  if (at < 2 * DIFF_CONTEXT_BYTES) return 0;
  at -= DIFF_CONTEXT_BYTES;
  while (at && ((uint8_t)a->as.string.data[at] & 0xc0) == 0x80) at--;
  return at;
}

static void put_side(text *t, const lnt_value *side, const lnt_value *other) {
  char rendering[DIFF_SIDE_BYTES];
  text brief = text_of(rendering, sizeof rendering);
  lnt__reader reader, other_reader;
  lnt__cbor_item item = {.type = LNT__CBOR_NIL}, other_item = item;
  if (side) item = first_item(*side, &reader);
  if (other) other_item = first_item(*other, &other_reader);
  size_t skip = item.type == LNT__CBOR_STRING && other_item.type == LNT__CBOR_STRING ? common_beginning(&item, &other_item) : 0;
  if (!side) put_text(&brief, "absent");
  else if (skip) put_quoted(&brief, "...", item.as.string.data + skip, item.as.string.size - skip);
  else lnt__cbor_brief(*side, rendering, sizeof rendering);
  put_text(t, rendering);
}

/* NULL: this side has nothing there. true: that is enough. */
static bool report(diff *d, const lnt_value *a, const lnt_value *b) {
  text *t = &d->out;
  if (d->count++) put_text(t, "\n");
  put_text(t, d->path.out);
  put_text(t, ": ");
  put_side(t, a, b);
  put_text(t, " vs ");
  put_side(t, b, a);
  return d->count >= d->most || t->cut;
}

static bool differ(diff *d, lnt_value a, lnt_value b);

/* One step down, and back. A NULL side is absent. */
static bool differ_under(diff *d, const char *before, lnt__reader *key, const char *after, const lnt_value *a, const lnt_value *b) {
  size_t used = d->path.used;
  bool was_cut = d->path.cut, found;
  put_text(&d->path, before);
  if (key) put_key(&d->path, key);
  put_text(&d->path, after);
  d->depth++;
  found = a && b ? differ(d, *a, *b) : report(d, a, b);
  d->depth--;
  if (was_cut) return found;
  d->path.used = used;
  d->path.out[used] = 0;
  d->path.cut = false;
  return found;
}

static bool differ_arrays(diff *d, lnt__reader *a, size_t count_a, lnt__reader *b, size_t count_b) {
  for (size_t i = 0; i < count_a || i < count_b; i++) {
    char step[32];
    snprintf(step, sizeof step, "[%zu]", i + 1);
    lnt_value left = i < count_a ? take(a) : LNT_VALUE_NIL, right = i < count_b ? take(b) : LNT_VALUE_NIL;
    if (differ_under(d, step, NULL, "", i < count_a ? &left : NULL, i < count_b ? &right : NULL)) return true;
    if (a->failed || b->failed) return false;
  }
  return false;
}

static int compare_keys(lnt_value a, lnt_value b) {
  int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
  return order ? order : (a.size > b.size) - (a.size < b.size);
}

static bool differ_member(diff *d, lnt_value key, const lnt_value *a, const lnt_value *b) {
  lnt__reader reader = lnt__reader_of(key.data, key.size), writer = reader;
  lnt__cbor_item item = lnt__cbor_next(&reader);
  bool plain = item.type == LNT__CBOR_STRING && is_identifier(item.as.string.data, item.as.string.size);
  return differ_under(d, plain ? "." : "[", &writer, plain ? "" : "]", a, b);
}

/* Both are sorted: walk them like a merge. */
static bool differ_maps(diff *d, lnt__reader *a, size_t count_a, lnt__reader *b, size_t count_b) {
  lnt_value key_a = LNT_VALUE_NIL, key_b = LNT_VALUE_NIL;
  while (count_a || count_b) {
    if (count_a && !key_a.size) key_a = take(a);
    if (count_b && !key_b.size) key_b = take(b);
    if (a->failed || b->failed) return false;
    int order = !count_b ? -1 : !count_a ? 1 : compare_keys(key_a, key_b);
    lnt_value key = order <= 0 ? key_a : key_b, left = LNT_VALUE_NIL, right = LNT_VALUE_NIL;
    if (order <= 0) left = take(a), count_a--, key_a = LNT_VALUE_NIL;
    if (order >= 0) right = take(b), count_b--, key_b = LNT_VALUE_NIL;
    if (differ_member(d, key, order <= 0 ? &left : NULL, order >= 0 ? &right : NULL)) return true;
  }
  return false;
}

static bool differ(diff *d, lnt_value a, lnt_value b) {
  if (a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0)) return false;
  lnt__reader reader_a, reader_b;
  lnt__cbor_item item_a = first_item(a, &reader_a), item_b = first_item(b, &reader_b);
  if (item_a.type == LNT__CBOR_NIL && item_b.type == LNT__CBOR_NIL) return false;
  if (item_a.type != item_b.type || d->depth >= LNT_VALUE_DEPTH_MAX) return report(d, &a, &b);
  bool found = false;
  size_t before = d->count;
  if (item_a.type == LNT__CBOR_ARRAY) found = differ_arrays(d, &reader_a, item_a.as.count, &reader_b, item_b.as.count);
  if (item_a.type == LNT__CBOR_MAP) found = differ_maps(d, &reader_a, item_a.as.count, &reader_b, item_b.as.count);
  return d->count > before ? found : report(d, &a, &b);
}

void lnt__cbor_diff(lnt_value recorded, lnt_value wanted, const char *what, char *out, size_t size) {
  lnt__cbor_diffs(recorded, wanted, what, 1, out, size);
}

void lnt__cbor_diffs(lnt_value recorded, lnt_value wanted, const char *what, size_t most, char *out, size_t size) {
  char path[DIFF_PATH_BYTES];
  diff d = {.path = text_of(path, sizeof path), .out = text_of(out, size), .most = most};
  put_text(&d.path, what && *what ? what : "value");
  differ(&d, recorded, wanted);
}
