/* json.h - JSON at the edges, on jansson: for people and for HTTP. The functions behind lnt_value_from_json / lnt_value_to_json.
 * Numbers are written with 17 digits at most, shortest first; integers beyond +-2^53 are read as floats. */
#ifndef LNT__JSON_H
#define LNT__JSON_H

#include "codec/cbor.h"

lnt_status lnt__json_read(const char *text, size_t size, lnt__buf *out, lnt_error *err);
lnt_status lnt__json_write(lnt_value value, int indent, lnt__buf *out, lnt_error *err);

#endif
