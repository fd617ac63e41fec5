/* sandbox_lib.h - what the files of the sandbox share. Included by sandbox*.c alone. Everything here RAISES Lua errors unless it says
 * otherwise. */
#ifndef LNT__SANDBOX_LIB_H
#define LNT__SANDBOX_LIB_H

#include <lauxlib.h>
#include <lua.h>

#include "vm/sandbox.h"

#define LNT__SANDBOX_CHUNK "=(sandbox)" /* the trusted Lua, skipped when a place is named */

/* Each file gives its functions to the table at the top of the stack, by the names that sandbox.lua knows. */
void lnt__sandbox_string_functions(lua_State *L);
void lnt__sandbox_match_functions(lua_State *L);
void lnt__sandbox_table_functions(lua_State *L);
void lnt__sandbox_math_functions(lua_State *L);
void lnt__sandbox_os_functions(lua_State *L);

/* caught(error): a C function that every catcher of errors calls first. Raises the kill again; makes one of a stack overflow. */
int lnt__guard_caught(lua_State *L);

static inline void lnt__charge(lua_State *L, lnt__guard *guard, uint64_t units) {
  guard->budget -= (int64_t)units;
  if (guard->budget < 0) lnt__guard_charge(L, 0);
}

/* An argument as an integer: cut toward zero, held within +-2^53 (NaN is the lowest), the same on every machine. */
int64_t lnt__arg_integer(lua_State *L, int arg);
int64_t lnt__arg_integer_or(lua_State *L, int arg, int64_t otherwise);

/* "file:line: bad argument #arg to 'function' (text)", for functions that the sandbox's own Lua calls. */
_Noreturn void lnt__arg_error(lua_State *L, int arg, const char *function, const char *format, ...) LNT__PRINTF(4, 5);
_Noreturn void lnt__arg_type_error(lua_State *L, int arg, const char *function, const char *wanted);

/* A number as the sandbox shows it: no sign on zero. The value at `index` is replaced. Strings are left alone. */
void lnt__plain_zero(lua_State *L, int index);

/* A text that grows: small ones stand on the C stack, long ones in a userdata at `slot`, which the collector frees after an error.
 * luaL_Buffer is not used: it needs lua_concat, which this LuaJIT gets wrong. */
typedef struct lnt__text {
  lua_State *L;
  const char *what; /* "string.rep", for the message of the limit */
  int slot;
  char *data;
  size_t size, capacity;
  char small[512];
} lnt__text;

void lnt__text_begin(lnt__text *text, lua_State *L, const char *what); /* takes one stack slot */
void lnt__text_reserve(lnt__text *text, size_t extra);
void lnt__text_add(lnt__text *text, const char *data, size_t size);
void lnt__text_push(lnt__text *text); /* push the string */

#endif
