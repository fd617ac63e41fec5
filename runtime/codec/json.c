/* json.c - JSON text to values and back. Called by the API for hosts, the program and the Lua binding; any thread. */
#include "codec/json.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Reading: jansson parses, the walk below encodes ------------------------------------------------------------------- */

#define READ_FLAGS (JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

static lnt_status too_deep(lnt_error *err) {
  return lnt__fail(err, LNT_ELIMIT, "the JSON text is nested deeper than %d levels: make it flatter", LNT_VALUE_DEPTH_MAX);
}

static lnt_status parse_failed(const json_error_t *why, lnt_error *err) {
  enum json_error_code code = json_error_code(why);
  if (code == json_error_out_of_memory) return lnt__fail(err, LNT_ENOMEM, "out of memory while reading JSON");
  if (code == json_error_stack_overflow) return too_deep(err);
  const char *advice = code == json_error_duplicate_key      ? ": give each name once"
                       : code == json_error_numeric_overflow ? ": write it as a string"
                                                             : "";
  return lnt__fail(err, LNT_EVALUE, "not valid JSON: line %d, column %d: %s%s", why->line, why->column, why->text, advice);
}

static lnt_status encode(json_t *json, int depth, lnt__buf *out, lnt_error *err);

static lnt_status encode_array(json_t *json, int depth, lnt__buf *out, lnt_error *err) {
  size_t count = json_array_size(json);
  lnt__cbor_array(out, count);
  for (size_t i = 0; i < count; i++) {
    lnt_status status = encode(json_array_get(json, i), depth, out, err);
    if (status) return status;
  }
  return LNT_OK;
}

static lnt_status encode_object(json_t *json, int depth, lnt__buf *out, lnt_error *err) {
  lnt__cbor_map map;
  lnt__cbor_map_begin(out, &map);
  for (void *at = json_object_iter(json); at; at = json_object_iter_next(json, at)) {
    lnt__cbor_string(out, json_object_iter_key(at), json_object_iter_key_len(at));
    lnt_status status = encode(json_object_iter_value(at), depth, out, err);
    if (status) return status;
  }
  lnt__cbor_map_end(out, &map, json_object_size(json), false); /* names are unique: only memory can be missing */
  return LNT_OK;
}

/* Only met where integers are not read as reals. */
static lnt_status encode_integer(json_int_t integer, lnt__buf *out, lnt_error *err) {
  double number = (double)integer;
  if (number >= 0x1p63 || (json_int_t)number != integer)
    return lnt__fail(err, LNT_EVALUE,
                     "the integer %lld cannot be kept exactly: numbers are doubles, exact for integers up to 2^53; write it as a string",
                     (long long)integer);
  lnt__cbor_number(out, number);
  return LNT_OK;
}

static lnt_status encode(json_t *json, int depth, lnt__buf *out, lnt_error *err) {
  bool is_container = json_is_array(json) || json_is_object(json);
  if (is_container && depth == LNT_VALUE_DEPTH_MAX) return too_deep(err);
  switch (json_typeof(json)) {
    case JSON_NULL: lnt__cbor_nil(out); break;
    case JSON_TRUE: case JSON_FALSE: lnt__cbor_bool(out, json_is_true(json)); break;
    case JSON_INTEGER: return encode_integer(json_integer_value(json), out, err);
    case JSON_REAL: lnt__cbor_number(out, json_real_value(json)); break;
    case JSON_STRING: lnt__cbor_string(out, json_string_value(json), json_string_length(json)); break;
    case JSON_ARRAY: return encode_array(json, depth + 1, out, err);
    case JSON_OBJECT: return encode_object(json, depth + 1, out, err);
  }
  return LNT_OK;
}

static bool is_blank(const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (!strchr(" \t\r\n", text[i]) || !text[i]) return false;
  return true;
}

static lnt_status read_json(const char *text, size_t size, size_t flags, lnt__buf *out, lnt_error *err) {
  if (is_blank(text, size)) return lnt__fail(err, LNT_EVALUE, "not valid JSON: the text is empty: for nothing, write null");
  const char *nul = memchr(text, 0, size); /* the parser would overlook one after a number */
  if (nul)
    return lnt__fail(err, LNT_EVALUE, "not valid JSON: a NUL byte at byte %zu: write it as \\u0000 inside a string",
                     (size_t)(nul - text) + 1);
  json_error_t why;
  json_t *json = json_loadb(text, size, READ_FLAGS | flags, &why);
  if (!json) return parse_failed(&why, err);
  size_t start = out->size;
  lnt_status status = encode(json, 0, out, err);
  json_decref(json);
  if (!status && out->failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while reading JSON");
  if (status) out->size = start;
  return status;
}

lnt_status lnt__json_read(const char *text, size_t size, lnt__buf *out, lnt_error *err) { return read_json(text, size, 0, out, err); }

lnt_status lnt__json_read_nearest(const char *text, size_t size, lnt__buf *out, lnt_error *err) {
  return read_json(text, size, JSON_DECODE_INT_AS_REAL, out, err);
}

/* ---- Writing: by hand, straight from the encoding -------------------------------------------------------------------- */

typedef struct writer { lnt__buf *out; lnt__reader reader; int indent; } writer;

static void put(lnt__buf *out, const char *text) { lnt__buf_append(out, text, strlen(text)); }

static void new_line(writer *w, int depth) {
  if (!w->indent) return;
  lnt__buf_u8(w->out, '\n');
  for (int i = depth * w->indent; i > 0; i--) lnt__buf_u8(w->out, ' ');
}

/* Bytes from `at` that stand for themselves in JSON text. */
static size_t plain_run(const char *at, size_t size) {
  size_t run = 0;
  while (run < size) {
    uint8_t byte = (uint8_t)at[run];
    size_t length = byte < 0x20 || byte == '"' || byte == '\\' ? 0 : lnt__utf8_length(at + run, size - run);
    if (!length) break;
    run += length;
  }
  return run;
}

static void put_escape(lnt__buf *out, uint8_t byte) {
  static const char letters[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\'};
  if (byte >= 0x80) put(out, "\xef\xbf\xbd"); /* U+FFFD */
  else if (letters[byte]) lnt__buf_printf(out, "\\%c", letters[byte]);
  else lnt__buf_printf(out, "\\u%04x", byte);
}

static void write_string(writer *w, const char *data, size_t size) {
  lnt__buf_u8(w->out, '"');
  for (size_t at = 0; at < size;) {
    size_t run = plain_run(data + at, size - at);
    lnt__buf_append(w->out, data + at, run);
    at += run;
    if (at < size) put_escape(w->out, (uint8_t)data[at++]);
  }
  lnt__buf_u8(w->out, '"');
}

static void write_integer(writer *w, int64_t value) { lnt__buf_printf(w->out, "%lld", (long long)value); }

static void write_key(writer *w) {
  lnt__cbor_item key = lnt__cbor_next(&w->reader);
  char number[LNT__NUMBER_TEXT_BYTES];
  if (key.type == LNT__CBOR_STRING) write_string(w, key.as.string.data, key.as.string.size);
  else if (key.type == LNT__CBOR_FLOAT) write_string(w, number, lnt__number_text(key.as.number, number));
  else lnt__buf_printf(w->out, "\"%lld\"", (long long)key.as.integer);
  put(w->out, w->indent ? ": " : ":");
}

static void write_item(writer *w, int depth);

static void write_container(writer *w, const lnt__cbor_item *item, int depth) {
  bool is_map = item->type == LNT__CBOR_MAP;
  lnt__buf_u8(w->out, is_map ? '{' : '[');
  for (size_t i = 0; i < item->as.count; i++) {
    if (i) lnt__buf_u8(w->out, ',');
    new_line(w, depth + 1);
    if (is_map) write_key(w);
    write_item(w, depth + 1);
  }
  if (item->as.count) new_line(w, depth);
  lnt__buf_u8(w->out, is_map ? '}' : ']');
}

static void write_float(writer *w, double value) {
  char number[LNT__NUMBER_TEXT_BYTES];
  bool finite = value - value == 0;
  if (finite) lnt__number_text(value, number);
  put(w->out, finite ? number : value > 0 ? "\"Infinity\"" : value < 0 ? "\"-Infinity\"" : "\"NaN\"");
}

/* The value was checked: it is well-formed and not too deep. */
static void write_item(writer *w, int depth) {
  lnt__cbor_item item = lnt__cbor_next(&w->reader);
  switch (item.type) {
    case LNT__CBOR_NIL: case LNT__CBOR_BAD: put(w->out, "null"); break;
    case LNT__CBOR_BOOL: put(w->out, item.as.boolean ? "true" : "false"); break;
    case LNT__CBOR_INT: write_integer(w, item.as.integer); break;
    case LNT__CBOR_FLOAT: write_float(w, item.as.number); break;
    case LNT__CBOR_STRING: write_string(w, item.as.string.data, item.as.string.size); break;
    case LNT__CBOR_ARRAY: case LNT__CBOR_MAP: write_container(w, &item, depth); break;
  }
}

static int spaces(int indent) { return indent < 0 ? 0 : indent > LNT__JSON_INDENT_MAX ? LNT__JSON_INDENT_MAX : indent; }

static lnt_status check(lnt_value value, lnt_error *err) {
  lnt_status status = lnt__cbor_check(value, err);
  if (status == LNT_ELIMIT) status = LNT_EVALUE; /* nothing here made it: to the caller it is one more malformed value */
  if (status && err) err->code = status;
  return status;
}

lnt_status lnt__json_write(lnt_value value, int indent, lnt__buf *out, lnt_error *err) {
  lnt_status status = check(value, err);
  if (status) return status;
  writer w = {out, lnt__reader_of(value.data, value.size), spaces(indent)};
  write_item(&w, 0);
  return out->failed ? lnt__fail(err, LNT_ENOMEM, "out of memory while writing JSON") : LNT_OK;
}

/* ---- Writing strictly: sorted names, and nothing replaced ------------------------------------------------------------- */

#define PATH_NAME_BYTES_MAX 40

typedef struct step { const char *name; size_t size; } step; /* name NULL: `size` is a position, from 1 */

typedef struct strict_writer {
  writer w; /* first */
  const char *what;
  lnt_error *err;
  int depth;
  step steps[LNT_VALUE_DEPTH_MAX];
} strict_writer;

/* A member of an object. Number keys are written out in `number`; `name` is NULL then. */
typedef struct member { const char *name; size_t size; const uint8_t *value; char number[LNT__NUMBER_TEXT_BYTES]; } member;

static const char *member_name(const member *m) { return m->name ? m->name : m->number; }

static int compare_members(const void *left, const void *right) {
  const member *a = left, *b = right;
  size_t shorter = a->size < b->size ? a->size : b->size;
  int order = shorter ? memcmp(member_name(a), member_name(b), shorter) : 0;
  return order ? order : (a->size > b->size) - (a->size < b->size);
}

static void print_step(lnt__buf *path, const step *at) {
  int size = (int)(at->size > PATH_NAME_BYTES_MAX ? PATH_NAME_BYTES_MAX : at->size);
  if (!at->name) lnt__buf_printf(path, "[%zu]", at->size);
  else if (lnt__utf8_valid(at->name, (size_t)size)) lnt__buf_printf(path, "[\"%.*s\"]", size, at->name);
  else lnt__buf_printf(path, "[a name of %zu bytes]", at->size);
}

static lnt_status refuse(const strict_writer *s, const char *why) {
  lnt__buf path;
  lnt__buf_init(&path);
  for (int i = 0; i < s->depth; i++) print_step(&path, &s->steps[i]);
  lnt__fail(s->err, LNT_EVALUE, "%s%.*s: %s", s->what, (int)path.size, path.size ? (const char *)path.data : "", why);
  lnt__buf_finish(&path);
  return LNT_EVALUE;
}

static lnt_status strict_string(strict_writer *s, const char *data, size_t size) {
  if (!lnt__utf8_valid(data, size)) return refuse(s, "text that is not UTF-8 has no JSON form; encode it, as base64 for instance");
  write_string(&s->w, data, size);
  return LNT_OK;
}

static lnt_status strict_item(strict_writer *s);

static lnt_status strict_array(strict_writer *s, size_t count) {
  lnt__buf_u8(s->w.out, '[');
  for (size_t i = 1; i <= count; i++) {
    if (i > 1) lnt__buf_u8(s->w.out, ',');
    s->steps[s->depth++] = (step){NULL, i};
    new_line(&s->w, s->depth);
    lnt_status status = strict_item(s);
    if (status) return status;
    s->depth--;
  }
  if (count) new_line(&s->w, s->depth);
  lnt__buf_u8(s->w.out, ']');
  return LNT_OK;
}

static void read_member(lnt__reader *reader, member *m) {
  lnt__cbor_item key = lnt__cbor_next(reader);
  *m = (member){NULL, 0, NULL, ""};
  if (key.type == LNT__CBOR_STRING) m->name = key.as.string.data, m->size = key.as.string.size;
  else m->size = lnt__number_text(key.type == LNT__CBOR_FLOAT ? key.as.number : (double)key.as.integer, m->number);
  m->value = reader->at;
  lnt__cbor_skip(reader);
}

static lnt_status strict_member(strict_writer *s, const member *m, const member *before) {
  s->steps[s->depth++] = (step){member_name(m), m->size};
  if (before && compare_members(before, m) == 0) return refuse(s, "two keys of the table become this name in JSON");
  new_line(&s->w, s->depth);
  lnt_status status = strict_string(s, member_name(m), m->size);
  if (status) return status;
  lnt__buf_append(s->w.out, ": ", s->w.indent ? 2 : 1);
  s->w.reader.at = m->value;
  status = strict_item(s);
  if (!status) s->depth--;
  return status;
}

static lnt_status strict_members(strict_writer *s, member *members, size_t count) {
  for (size_t i = 0; i < count; i++) read_member(&s->w.reader, &members[i]);
  const uint8_t *end = s->w.reader.at;
  qsort(members, count, sizeof *members, compare_members);
  lnt__buf_u8(s->w.out, '{');
  for (size_t i = 0; i < count; i++) {
    if (i) lnt__buf_u8(s->w.out, ',');
    lnt_status status = strict_member(s, &members[i], i ? &members[i - 1] : NULL);
    if (status) return status;
  }
  if (count) new_line(&s->w, s->depth);
  lnt__buf_u8(s->w.out, '}');
  s->w.reader.at = end;
  return LNT_OK;
}

static lnt_status strict_object(strict_writer *s, size_t count) {
  member few[8], *members = count <= LNT__COUNT(few) ? few : lnt__alloc(count * sizeof *members);
  if (!members) return lnt__fail(s->err, LNT_ENOMEM, "out of memory while writing JSON");
  lnt_status status = strict_members(s, members, count);
  if (members != few) lnt__free(members);
  return status;
}

static lnt_status strict_item(strict_writer *s) {
  const uint8_t *start = s->w.reader.at;
  lnt__cbor_item item = lnt__cbor_next(&s->w.reader);
  switch (item.type) {
    case LNT__CBOR_STRING: return strict_string(s, item.as.string.data, item.as.string.size);
    case LNT__CBOR_ARRAY: return strict_array(s, item.as.count);
    case LNT__CBOR_MAP: return strict_object(s, item.as.count);
    case LNT__CBOR_FLOAT:
      if (item.as.number - item.as.number != 0) return refuse(s, "NaN and infinities have no JSON form; pass nil or a string");
      break;
    case LNT__CBOR_NIL: case LNT__CBOR_BAD: case LNT__CBOR_BOOL: case LNT__CBOR_INT: break;
  }
  s->w.reader.at = start;
  write_item(&s->w, s->depth);
  return LNT_OK;
}

lnt_status lnt__json_write_strict(lnt_value value, const char *what, int indent, lnt__buf *out, lnt_error *err) {
  strict_writer s;
  size_t start = out->size;
  lnt_status status = check(value, err);
  if (status) return status;
  s.w = (writer){out, lnt__reader_of(value.data, value.size), spaces(indent)};
  s.what = what;
  s.err = err;
  s.depth = 0;
  status = strict_item(&s);
  if (!status && out->failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while writing JSON");
  if (status) out->size = start;
  return status;
}
