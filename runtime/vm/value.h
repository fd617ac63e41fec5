/* value.h - Lua values to CBOR and back, straight from the Lua stack. Used by the workflow VM, the activity VMs and lunation_lua.h. */
#ifndef LNT__VALUE_H
#define LNT__VALUE_H

#include <lua.h>

#include "codec/cbor.h"

/* nil as a value of Lua's own, for places where Lua has no nil: the null inside an array or an object of JSON. Stored as nil. */
#define LNT__VALUE_NULL NULL /* a light userdata */

/* lnt__value_encode() failed: count it, if the value was too large. */
void lnt__value_met(lnt_limits *met, const lnt_error *err);

/* Append the encoding of the value at `index` to `out`. `what` names the root in messages ("input"): "input.items[3]: a function cannot
 * be stored; ..." Needs 12 free stack slots. Refuses: functions, threads, userdata, cdata, keys that are not strings or finite
 * numbers, mixed tables with both 1..n and holes are maps; cycles, depth over LNT_VALUE_DEPTH_MAX, more than bytes_max.
 * Raises no Lua error and runs no metamethods. On failure `out` is cut back to where it was. */
lnt_status lnt__value_encode(lua_State *L, int index, const char *what, size_t bytes_max, lnt__buf *out, lnt_error *err);

/* Push the Lua form; may raise "not enough memory": call protected. false: malformed, nothing pushed. Arrays come back with their array
 * part sized; empty arrays carry the array mark. */
bool lnt__value_push(lua_State *L, lnt_value value);

/* The same, with LNT__VALUE_NULL for each nil. */
bool lnt__value_push_nulls(lua_State *L, lnt_value value);

/* Push the array mark (one metatable per state, in the registry). */
void lnt__value_push_array_mark(lua_State *L);

/* Failures: the map {type, message, retryable, details, cause} as a Lua table with a metatable whose __tostring is "type: message"; its
 * fields are plain. */
bool lnt__failure_push(lua_State *L, lnt_value failure);
/* Push the metatable of failures (one per state, in the registry). May raise "not enough memory". */
void lnt__failure_push_mark(lua_State *L);
/* Any Lua error value (string "file:line: text", failure table, other table with type/message, anything) as a failure map. */
lnt_status lnt__failure_encode(lua_State *L, int index, size_t bytes_max, lnt__buf *out, lnt_error *err);

/* ---- workflow_options.c, lua_values.c ---- */

/* "1h30m" in seconds; negative: not a duration. Pure; any thread. */
double lnt__duration_seconds(const char *text);

#define LNT__NEAR_EDITS_MAX 2 /* of a name that is taken for a slip of another one */
size_t lnt__edits(const char *a, const char *b); /* between two names, as far as it matters (code.c). Pure; any thread */

/* Push the table of the built-in module "lunation.values", on which the standard library's Lua stands; stdlib/meta/values.lua tells its
 * functions. `guarded`: the state has a guard, which is charged for the work. RAISES. */
void lnt__values_push(lua_State *L, bool guarded);

#endif
