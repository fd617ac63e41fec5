/* lua_api.c - the functions of lunation_lua.h: values across the border of a host's own lua_State. Called by hosts and bindings, on the
 * thread of that state. */
#include "include/lunation_lua.h"

#include <lua.h>

#include "vm/value.h"

static int grow_stack(lua_State *L) {
  return lua_checkstack(L, LUA_MINSTACK + 4) ? 0 : lua_error(L);
}

lnt_status lnt_lua_encode(lua_State *L, int index, const char *what, size_t bytes_max, lnt_value *out, lnt_error *err) {
  lnt__buf buf;
  *out = LNT_VALUE_NIL;
  if (lua_cpcall(L, grow_stack, NULL)) {
    lua_pop(L, 1);
    return lnt__fail(err, LNT_ENOMEM, "out of memory, or the Lua stack is full, while encoding %s", what);
  }
  if (lua_isnoneornil(L, index)) return LNT_OK; /* at the top, nil has no bytes */
  lnt__buf_init(&buf);
  lnt_status status = lnt__value_encode(L, index, what, bytes_max, &buf, err);
  if (!status) out->data = lnt__buf_detach(&buf, &out->size);
  lnt__buf_finish(&buf);
  return status;
}

lnt_status lnt_lua_push(lua_State *L, lnt_value value, lnt_error *err) {
  if (lnt__value_push(L, value)) return LNT_OK;
  lnt_status status = lnt__cbor_check(value, err);
  return status ? status : lnt__fail(err, LNT_EVALUE, "the value cannot be read");
}

void lnt_lua_push_array_mark(lua_State *L) { lnt__value_push_array_mark(L); }
