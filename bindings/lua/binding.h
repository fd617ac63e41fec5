/* binding.h - what the files of the Lua module `lunation` share. The program includes it to get at the runtime behind a userdata.
 *
 * A `binding` is the userdata of one runtime. Its environment table holds the host's Lua functions, so they live as long as it does:
 *   log, clock, observer = functions; activities, cancels = {[name] = function}; done = {[number] = function}
 *
 * Failures that a program handles are returned as `nil, message, code`; `error` is for misuse only. All on the owner thread. */
#ifndef LNT__LUA_BINDING_H
#define LNT__LUA_BINDING_H

#include <assert.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

#include "include/lunation.h"
#include "include/lunation_lua.h"

#define LNT__BINDING_TYPE "lunation.runtime"

typedef struct lnt__binding {
  lnt_runtime *rt; /* NULL: closed */
  lua_State *L;    /* the coroutine that called into the library: callbacks run on it; NULL: none */
  size_t payload_bytes_max;
  uint64_t next_done; /* key of the next `done` function */
  int64_t last_clock_us;
} lnt__binding;

/* In debug builds: the stack must have grown by `n` slots since LNT__STACK_BEGIN. */
#ifndef NDEBUG
#define LNT__STACK_BEGIN(L) const int lnt__stack_top = lua_gettop(L)
#define LNT__STACK_END(L, n) assert(lua_gettop(L) == lnt__stack_top + (n))
#else
#define LNT__STACK_BEGIN(L) ((void)(L))
#define LNT__STACK_END(L, n) ((void)(L))
#endif

/* The binding at `index`; raises if it is something else, or closed. */
lnt__binding *lnt__binding_check(lua_State *L, int index);

/* Around every call into the library that may call back. Nothing between the two may raise. */
lua_State *lnt__binding_enter(lnt__binding *self, lua_State *L);
void lnt__binding_leave(lnt__binding *self, lua_State *outer);

/* Push nil, the message and the name of the code: answers 3. */
int lnt__binding_failed(lua_State *L, lnt_status status, const lnt_error *err);
/* Push true, or the three above: answers how many. */
int lnt__binding_answer(lua_State *L, lnt_status status, const lnt_error *err);

/* Push self's environment table; false (nothing pushed) when the collector took it already. For callbacks: needs no stack index. */
bool lnt__binding_push_env(lua_State *L, lnt__binding *self);

/* Run `fn` protected, with `arg` as its light userdata, on the coroutine that called into the library. An error goes to the log: `what`
 * names the callback. Answers whether fn ran to its end. */
bool lnt__binding_callback(lnt__binding *self, lua_CFunction fn, void *arg, const char *what);

/* The `done` function of a request. keep: of the field `done` of the options at `index` (the binding is at 1); NULL: there is none. It is
 * handed to the library with lnt__binding_on_done. drop: the request was refused, the function will not be called; NULL accepted. */
typedef struct lnt__binding_done lnt__binding_done;
lnt__binding_done *lnt__binding_keep_done(lua_State *L, lnt__binding *self, int index);
void lnt__binding_on_done(void *user, lnt_status status);
void lnt__binding_drop_done(lua_State *L, lnt__binding_done *done);

/* Push a value in its Lua form, or, with `json`, as JSON text; nil as nil. May raise. */
void lnt__binding_push_value(lua_State *L, lnt_value value, bool json);

/* Push an event of a history as a table. May raise. */
void lnt__binding_push_event(lua_State *L, const lnt_event *event, bool json);

/* A value given as a Lua value at `index`, or as JSON text in the field `json_field` of the options at `options`. */
lnt_status lnt__binding_read_value(lua_State *L, lnt__binding *self, int index, int options, const char *json_field, lnt_value *out,
                                   lnt_error *err);

/* The conditions of a list, from the table at 2 (or none). Leaves the texts on the stack, so that they stay valid; the caller frees
 * options->attributes. */
void lnt__binding_check_conditions(lua_State *L); /* MAY RAISE: the table at 2, if there is one, has a name that is no condition */
lnt_status lnt__binding_conditions(lua_State *L, lnt__binding *self, lnt_list_options *options, lnt_error *err);
int lnt__binding_push_cursor(lua_State *L, uint64_t next); /* as text; answers 1, or 0 for the end */

/* The rows of the method table that each file brings; ended by {NULL, NULL}. */
extern const luaL_Reg lnt__binding_calls[];
extern const luaL_Reg lnt__binding_managing[];
extern const luaL_Reg lnt__binding_asking[];
extern const luaL_Reg lnt__binding_records[];
extern const luaL_Reg lnt__binding_activities[];
extern const luaL_Reg lnt__binding_driving[];
extern const luaL_Reg lnt__binding_reloading[];
extern const luaL_Reg lnt__binding_portable[];

/* Push how an instance fares with other code, as a table. May raise. */
void lnt__binding_push_fit(lua_State *L, const lnt_fit_report *report);
int lnt__binding_replay(lua_State *L); /* lunation.replay */

LNT_API int luaopen_lunation(lua_State *L);

#endif
