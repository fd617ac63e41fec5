/* cbor.h - the value encoding: deterministic CBOR, RFC 8949 section 4.2.
 *
 * What is encoded: null (also for "nothing"), booleans, integers in +-2^53 as CBOR integers, other numbers as float64 unless a shorter
 * float is exact (section 4.2.1: the shortest of 16, 32, 64 bits), one NaN (f9 7e00), -0 as integer 0, text strings (major type 3) for
 * strings that are valid UTF-8 and byte strings (major type 2) for others, arrays, maps with keys sorted by their encoded bytes. An
 * integral float within +-2^53 is an integer: there is one form of the number 3. Keys are strings or numbers other than NaN. No tags, no
 * indefinite lengths. Containers nest at most LNT_VALUE_DEPTH_MAX deep ([[]] is 2 deep). Any thread; one writer per thread.
 *
 * Two encodings mean nil at the top: no bytes at all ({NULL, 0}, what the API hands out) and f6 (what stands inside containers).
 * Readers take both. The writers do not count depth: who walks a tree does.
 *
 * The writer is told the members of a map in any order and sorts them in place when the map ends, so the walker of a Lua
 * table (vm/value.c) and the JSON reader (codec/json.c) need not sort. */
#ifndef LNT__CBOR_H
#define LNT__CBOR_H

#include "base/buf.h"

typedef struct lnt__cbor_map { size_t body; size_t count; } lnt__cbor_map; /* a map being written: the caller's local variable */

void lnt__cbor_nil(lnt__buf *out);
void lnt__cbor_bool(lnt__buf *out, bool value);
void lnt__cbor_int(lnt__buf *out, int64_t value); /* beyond +-2^53: the nearest float */
void lnt__cbor_number(lnt__buf *out, double value);
void lnt__cbor_string(lnt__buf *out, const char *data, size_t size);
void lnt__cbor_cstring(lnt__buf *out, const char *text);
void lnt__cbor_array(lnt__buf *out, size_t count); /* `count` items follow */
/* begin; then per member: a key (string or number), then its value; then end with the number of members. With `sorted` the
 * caller promises keys unique and sorted by their encoded bytes (shorter strings first), and no key is looked at. end answers false
 * on a duplicate key, on members that are not `count` well-formed pairs, or on out of memory (out->failed). */
void lnt__cbor_map_begin(lnt__buf *out, lnt__cbor_map *map);
bool lnt__cbor_map_end(lnt__buf *out, lnt__cbor_map *map, size_t count, bool sorted);

typedef enum lnt__cbor_type {
  LNT__CBOR_NIL, LNT__CBOR_BOOL, LNT__CBOR_INT, LNT__CBOR_FLOAT, LNT__CBOR_STRING /* text or bytes */, LNT__CBOR_ARRAY, LNT__CBOR_MAP,
  LNT__CBOR_BAD /* not canonical CBOR, or past the end */
} lnt__cbor_type;

typedef struct lnt__cbor_item {
  lnt__cbor_type type;
  union { bool boolean; int64_t integer; double number; size_t count; struct { const char *data; size_t size; } string; } as;
} lnt__cbor_item;

/* Read the next item; containers give their count (of items, or of members), their contents follow. An empty reader gives NIL
 * at the first call (a nil value has no bytes) and BAD after. Does not check key order or depth: lnt__cbor_check() does. */
lnt__cbor_item lnt__cbor_next(lnt__reader *reader);
bool lnt__cbor_skip(lnt__reader *reader); /* one whole item */

/* Is it exactly one canonical value (or nil), not deeper than LNT_VALUE_DEPTH_MAX? The message names the byte offset. */
lnt_status lnt__cbor_check(lnt_value value, lnt_error *err);

/* Find member `key` of a map value: true and *out, or false (absent, or not a map). */
bool lnt__cbor_member(lnt_value map, const char *key, lnt_value *out);
/* A member that is a string: pointer into `map` (not NUL-terminated) or NULL. */
const char *lnt__cbor_member_string(lnt_value map, const char *key, size_t *size);

/* The first difference between two values as text "path: a vs b" for people ("input.items[3].qty: 2 vs 3"); `what` names the root,
 * positions count from 1, a member that one side lacks is "absent". Empty when they are equal. Writes at most `size` bytes with the NUL. */
void lnt__cbor_diff(lnt_value recorded, lnt_value wanted, const char *what, char *out, size_t size);
/* The first `most` of them, one a line. */
void lnt__cbor_diffs(lnt_value recorded, lnt_value wanted, const char *what, size_t most, char *out, size_t size);
/* A short one-line rendering for people, cut with "..." at `size`. */
void lnt__cbor_brief(lnt_value value, char *out, size_t size);

#define LNT__NUMBER_TEXT_BYTES 32
/* The shortest decimal text of at most 17 digits that reads back as `value`, with '.' whatever the locale ("0.1", "1e+300"; "nan", "-inf").
 * Answers its length. */
size_t lnt__number_text(double value, char out[LNT__NUMBER_TEXT_BYTES]);

#endif
