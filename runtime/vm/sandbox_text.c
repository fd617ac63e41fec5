/* sandbox_text.c - a text that grows, and arguments that mean the same on every machine. For the sandbox's files; owner thread. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "vm/sandbox_lib.h"

#define INTEGER_MAX ((int64_t)1 << 53)
#define BYTES_PER_UNIT 32

/* ---- Arguments ---- */

int64_t lnt__arg_integer(lua_State *L, int arg) {
  lua_Number number = luaL_checknumber(L, arg);
  if (number >= (lua_Number)INTEGER_MAX) return INTEGER_MAX;
  return number > (lua_Number)-INTEGER_MAX ? (int64_t)number : -INTEGER_MAX;
}

int64_t lnt__arg_integer_or(lua_State *L, int arg, int64_t otherwise) {
  return lua_isnoneornil(L, arg) ? otherwise : lnt__arg_integer(L, arg);
}

/* Formatted here: lua_pushvfstring knows few formats. */
_Noreturn static void raise_at_author(lua_State *L, const char *before, const char *after, const char *format, va_list args) {
  char where[LUA_IDSIZE + 16], text[LNT_ERROR_MESSAGE_MAX];
  lnt__sandbox_where(L, 0, where, sizeof where);
  vsnprintf(text, sizeof text, format, args);
  luaL_checkstack(L, 4, "error");
  lua_pushfstring(L, "%s%s%s%s%s", where, where[0] ? ": " : "", before, text, after);
  lua_error(L);
  abort(); /* lua_error does not return */
}

_Noreturn void lnt__sandbox_error(lua_State *L, const char *format, ...) {
  va_list args;
  va_start(args, format);
  raise_at_author(L, "", "", format, args);
}

_Noreturn void lnt__arg_error(lua_State *L, int arg, const char *function, const char *format, ...) {
  char before[96];
  va_list args;
  snprintf(before, sizeof before, "bad argument #%d to '%s' (", arg, function);
  va_start(args, format);
  raise_at_author(L, before, ")", format, args);
}

_Noreturn void lnt__arg_type_error(lua_State *L, int arg, const char *function, const char *wanted) {
  const char *got = lua_isnone(L, arg) ? "no value" : luaL_typename(L, arg);
  lnt__arg_error(L, arg, function, "%s expected, got %s", wanted, got);
}

void lnt__plain_zero(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TNUMBER || lua_tonumber(L, index) != 0) return;
  lua_pushinteger(L, 0);
  lua_replace(L, index);
}

/* ---- Texts ---- */

void lnt__text_begin(lnt__text *text, lua_State *L, const char *what) {
  text->L = L;
  text->what = what;
  text->data = text->small;
  text->size = 0;
  text->capacity = sizeof text->small;
  luaL_checkstack(L, 4, what);
  lua_pushnil(L);
  text->slot = lua_gettop(L);
}

static size_t grown(const lnt__text *text, size_t need) {
  size_t capacity = text->capacity * 2;
  if (capacity < need) capacity = need;
  return capacity < LNT__SANDBOX_STRING_BYTES_MAX ? capacity : LNT__SANDBOX_STRING_BYTES_MAX;
}

void lnt__text_reserve(lnt__text *text, size_t extra) {
  if (text->capacity - text->size >= extra) return;
  if (extra > LNT__SANDBOX_STRING_BYTES_MAX || text->size + extra > LNT__SANDBOX_STRING_BYTES_MAX) {
    lnt__sandbox_error(text->L, "%s: the result is longer than %u bytes, the limit of one text; work on smaller pieces", text->what,
                       LNT__SANDBOX_STRING_BYTES_MAX);
  }
  size_t capacity = grown(text, text->size + extra);
  lnt__guard_charge(text->L, capacity / BYTES_PER_UNIT);
  char *data = (char *)lua_newuserdata(text->L, capacity);
  memcpy(data, text->data, text->size);
  lua_replace(text->L, text->slot);
  text->data = data;
  text->capacity = capacity;
}

void lnt__text_add(lnt__text *text, const char *data, size_t size) {
  if (size == 0) return;
  lnt__text_reserve(text, size);
  memcpy(text->data + text->size, data, size);
  text->size += size;
}

void lnt__text_push(lnt__text *text) { lua_pushlstring(text->L, text->data, text->size); }
