/* json.h - JSON at the edges, on jansson: for people and for HTTP. Behind lnt_value_from_json / lnt_value_to_json. Any thread.
 *
 * Read: any top-level value; numbers are doubles. An integer that no double holds (some beyond +-2^53) is refused; `_nearest` takes
 * the nearest one. A name that appears twice in an object is refused. Errors: LNT_EVALUE (line and column), LNT_ELIMIT (too deep),
 * LNT_ENOMEM. On an error `out` is as before.
 *
 * Write: numbers with 17 digits at most, shortest first; NaN and infinities as the strings "NaN", "Infinity", "-Infinity"; number keys as
 * strings; objects in the order of the encoding; U+FFFD for each byte that is not UTF-8. Errors: LNT_EVALUE (not canonical CBOR),
 * LNT_ENOMEM. */
#ifndef LNT__JSON_H
#define LNT__JSON_H

#include "codec/cbor.h"

lnt_status lnt__json_read(const char *text, size_t size, lnt__buf *out, lnt_error *err);
lnt_status lnt__json_read_nearest(const char *text, size_t size, lnt__buf *out, lnt_error *err);
#define LNT__JSON_INDENT_MAX 16 /* spaces per level; more is taken as this, less than 0 as 0 */
lnt_status lnt__json_write(lnt_value value, int indent, lnt__buf *out, lnt_error *err);

/* For programs: the members of objects in the order of their names' bytes, and what JSON cannot hold is refused instead of replaced: NaN,
 * infinities, text that is not UTF-8, two keys that become one name (1 and "1"). `what` names the root in messages ("value.items[3]: ...").
 * Errors as lnt__json_write(); on an error `out` is as before. */
lnt_status lnt__json_write_strict(lnt_value value, const char *what, int indent, lnt__buf *out, lnt_error *err);

#endif
