/* managing.c - how a Lua host manages instances: suspend, resume, cancel, terminate. */
#include "binding.h"

typedef lnt_status (*reasoned_fn)(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err);

/* (rt, id, reason, {done =}) -> true */
static int reasoned(lua_State *L, reasoned_fn fn) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2);
  const char *reason = luaL_optstring(L, 3, NULL);
  lua_settop(L, 4);
  lnt__binding_done *done = lnt__binding_keep_done(L, self, 4);
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = fn(self->rt, id, reason, done ? lnt__binding_on_done : NULL, done, &err);
  lnt__binding_leave(self, outer);
  if (status) lnt__binding_drop_done(L, done);
  return lnt__binding_answer(L, status, &err);
}

/* rt:suspend(id, reason, {done =}) -> true */
static int runtime_suspend(lua_State *L) { return reasoned(L, lnt_suspend); }

/* rt:resume(id, reason, {done =}) -> true */
static int runtime_resume(lua_State *L) { return reasoned(L, lnt_resume); }

/* rt:cancel(id, reason, {done =}) -> true */
static int runtime_cancel(lua_State *L) { return reasoned(L, lnt_cancel); }

/* rt:terminate(id, reason, {done =}) -> true */
static int runtime_terminate(lua_State *L) { return reasoned(L, lnt_terminate); }

const luaL_Reg lnt__binding_managing[] = {
    {"suspend", runtime_suspend}, {"resume", runtime_resume}, {"cancel", runtime_cancel}, {"terminate", runtime_terminate}, {NULL, NULL}};
