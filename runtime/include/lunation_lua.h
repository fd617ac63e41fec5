/* lunation_lua.h - values across the border of a host's own lua_State.
 *
 * For hosts and bindings that hold a LuaJIT state of their own. The state must be of the LuaJIT that the library is linked with.
 * The rules of a value: nil, booleans, numbers, strings, and tables whose keys are exactly 1..n (an array) or only
 * strings and numbers (a map). An empty table is an empty map; an empty array is made with lnt_lua_push_array_mark() as its metatable.
 * Everything else is refused by path: `input.items[3]: function`.
 */
#ifndef LUNATION_LUA_H
#define LUNATION_LUA_H

#include "lunation.h"

#ifdef __cplusplus
extern "C" {
#endif

struct lua_State;

/* Encode the value at `index`. `what` names it in messages ("input"). `*out` is released by lnt_value_free(). The stack is left
 * as it was. Errors: LNT_EVALUE (the message has the path), LNT_ELIMIT (deeper than LNT_VALUE_DEPTH_MAX or over bytes_max), LNT_ENOMEM.
 * Raises no Lua error. */
LNT_API lnt_status lnt_lua_encode(struct lua_State *L, int index, const char *what, size_t bytes_max, lnt_value *out,
                                  lnt_error *err);

/* Push the Lua form of `value` (one stack slot). May raise a Lua error (out of memory): call it protected.
 * Errors: LNT_EVALUE (nothing was pushed). */
LNT_API lnt_status lnt_lua_push(struct lua_State *L, lnt_value value, lnt_error *err);

/* Push the metatable that marks an empty table as an array. May raise a Lua error (out of memory). */
LNT_API void lnt_lua_push_array_mark(struct lua_State *L);

#ifdef __cplusplus
}
#endif
#endif
