/* lua_values.c - the built-in module "lunation.values": JSON, the null and the array mark, and failures, for the standard library's Lua.
 * Used by code.c in the workflow VM and by activity.c in the activity VMs; the thread of the lua_State. */
#include <lauxlib.h>
#include <stdio.h>

#include "codec/json.h"
#include "vm/sandbox.h"
#include "vm/value.h"

#define JSON_BYTES_MAX (16u << 20) /* of text read or written at once */
#define PLACE_LEVELS_MAX 50        /* looked at for the author's line */
#define BYTES_PER_UNIT 16          /* of text, for one unit of the sandbox's budget */

/* Work of `size` bytes was or will be done. Upvalue 1: is there a guard? */
static void charge(lua_State *L, size_t size) {
  if (lua_toboolean(L, lua_upvalueindex(1))) lnt__guard_charge(L, size / BYTES_PER_UNIT);
}

/* A buffer in a userdata, so that an error of Lua's (out of memory) does not lose it. */
static int buf_gc(lua_State *L) {
  lnt__buf_finish(lua_touserdata(L, 1));
  return 0;
}

static lnt__buf *push_buf(lua_State *L) {
  lnt__buf *buf = (lnt__buf *)lua_newuserdata(L, sizeof *buf);
  lnt__buf_init(buf);
  lua_pushvalue(L, lua_upvalueindex(2)); /* its metatable */
  lua_setmetatable(L, -2);
  return buf;
}

static int refused(lua_State *L, const lnt_error *err) {
  if (err->code == LNT_ENOMEM) {
    if (lua_toboolean(L, lua_upvalueindex(1))) lnt__guard_kill(L, LNT__KILL_MEMORY, "%s", err->message); /* not for a pcall to see */
    return luaL_error(L, "not enough memory");
  }
  lua_pushboolean(L, 0);
  lua_pushstring(L, err->message);
  return 2;
}

/* json_decode(text, nulls, exact) -> true, value | false, message */
static int json_decode(lua_State *L) {
  lnt_error err = {LNT_OK, ""};
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  bool nulls = lua_toboolean(L, 2), exact = lua_toboolean(L, 3);
  if (size > JSON_BYTES_MAX) {
    lnt__fail(&err, LNT_ELIMIT, "the JSON text has %zu bytes, more than %u", size, JSON_BYTES_MAX);
    return refused(L, &err);
  }
  charge(L, size);
  lnt__buf *buf = push_buf(L);
  if ((exact ? lnt__json_read : lnt__json_read_nearest)(text, size, buf, &err)) return refused(L, &err);
  lnt_value value = {buf->data, buf->size};
  lua_pushboolean(L, 1);
  if (nulls ? lnt__value_push_nulls(L, value) : lnt__value_push(L, value)) {
    lnt__buf_finish(buf);
    return 2;
  }
  return luaL_error(L, "the JSON text was read into something that is no value");
}

/* json_encode(value, indent) -> true, text | false, message */
static int json_encode(lua_State *L) {
  lnt_error err = {LNT_OK, ""};
  int indent = (int)lua_tonumber(L, 2);
  lua_settop(L, 1);
  lnt__buf *value = push_buf(L), *text = push_buf(L);
  lnt_status status = lnt__value_encode(L, 1, "value", JSON_BYTES_MAX, value, &err);
  charge(L, value->size);
  if (!status) status = lnt__json_write_strict((lnt_value){value->data, value->size}, "value", indent, text, &err);
  if (!status && text->size > JSON_BYTES_MAX)
    status = lnt__fail(&err, LNT_ELIMIT, "the JSON text has %zu bytes, more than %u", text->size, JSON_BYTES_MAX);
  if (status) return refused(L, &err);
  charge(L, text->size);
  lua_pushboolean(L, 1);
  lua_pushlstring(L, (const char *)text->data, text->size);
  lnt__buf_finish(value);
  lnt__buf_finish(text);
  return 2;
}

/* array([table]) -> the table, marked */
static int array(lua_State *L) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    lua_newtable(L);
    lua_replace(L, 1);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lnt__value_push_array_mark(L);
  lua_setmetatable(L, 1);
  return 1;
}

/* seconds(duration) -> number | nil */
static int seconds(lua_State *L) {
  int type = lua_type(L, 1);
  double value = type == LUA_TNUMBER ? lua_tonumber(L, 1) : type == LUA_TSTRING ? lnt__duration_seconds(lua_tostring(L, 1)) : -1;
  if (value >= 0) lua_pushnumber(L, value);
  else lua_pushnil(L);
  return 1;
}

/* failure(table) -> the table, which reads as "type: message" now */
static int failure(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lnt__failure_push_mark(L);
  lua_setmetatable(L, 1);
  return 1;
}

/* The file and line of the function at `level`, counted as by error(), or of the author's next one around it: "orders.lua:12: ". */
static void place_at(lua_State *L, int level, char *out, size_t size) {
  lua_Debug ar;
  out[0] = 0;
  for (int end = level + PLACE_LEVELS_MAX; level < end && lua_getstack(L, level, &ar); level++) {
    if (!lua_getinfo(L, "Sl", &ar) || ar.currentline <= 0 || ar.source[0] != '@') continue;
    snprintf(out, size, "%s:%d: ", ar.short_src, ar.currentline);
    return;
  }
}

/* invalid(field, message, level, kind): raise a failure, by default of type InvalidArgument */
static int invalid(lua_State *L) {
  char where[LUA_IDSIZE + 24], message[LNT_ERROR_MESSAGE_MAX + sizeof where];
  lua_settop(L, 4);
  place_at(L, (int)luaL_optinteger(L, 3, 1), where, sizeof where);
  snprintf(message, sizeof message, "%s%.*s", where, LNT_ERROR_MESSAGE_MAX - 1, luaL_checkstring(L, 2));
  lua_createtable(L, 0, 4);
  lua_pushstring(L, luaL_optstring(L, 4, "InvalidArgument"));
  lua_setfield(L, -2, "type");
  lua_pushstring(L, message);
  lua_setfield(L, -2, "message");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "retryable");
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "field");
  lnt__failure_push_mark(L);
  lua_setmetatable(L, -2);
  return lua_error(L);
}

/* nearest(word, names) -> the name that was probably meant | nil */
static int nearest(lua_State *L) {
  const char *word = luaL_checkstring(L, 1);
  size_t best = LNT__NEAR_EDITS_MAX + 1;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_pushnil(L);
  for (int i = 1; lua_rawgeti(L, 2, i), lua_type(L, -1) == LUA_TSTRING; i++, lua_settop(L, 3)) {
    const char *name = lua_tostring(L, -1);
    size_t edits = lnt__edits(word, name);
    if (edits >= best || edits >= strlen(name)) continue;
    best = edits;
    lua_replace(L, 3);
  }
  lua_settop(L, 3);
  return 1;
}

void lnt__values_push(lua_State *L, bool guarded) {
  static const luaL_Reg functions[] = {{"json_decode", json_decode}, {"json_encode", json_encode}, {"array", array},
                                       {"failure", failure}, {"seconds", seconds},
                                       {"invalid", invalid}, {"nearest", nearest}};
  lua_newtable(L);
  lua_newtable(L); /* of buffers */
  lua_pushcfunction(L, buf_gc);
  lua_setfield(L, -2, "__gc");
  for (size_t i = 0; i < LNT__COUNT(functions); i++) {
    lua_pushboolean(L, guarded);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, functions[i].func, 2);
    lua_setfield(L, -3, functions[i].name);
  }
  lua_pop(L, 1);
  lua_pushlightuserdata(L, LNT__VALUE_NULL);
  lua_setfield(L, -2, "null");
}
