/* managing.c - how a Lua host manages instances: suspend, resume, cancel, terminate, purge, fork, rerun, retry. */
#include <string.h>

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

/* ---- purge ---- */

static int bool_field(lua_State *L, int index, const char *name, int otherwise) {
  lua_getfield(L, index, name);
  int value = lua_isnil(L, -1) ? otherwise : lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

static void read_purge(lua_State *L, int index, lnt_purge_options *options) {
  lnt_purge_options_init(options);
  if (!lua_istable(L, index)) return;
  options->recursive = bool_field(L, index, "recursive", 1);
  options->force = bool_field(L, index, "force", 0);
  lua_getfield(L, index, "closed_before_us");
  options->closed_before_us = (int64_t)luaL_optnumber(L, -1, 0);
  lua_pop(L, 1);
}

/* rt:purge(id, {recursive =, force =, done =}) -> count */
static int runtime_purge(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2);
  lnt_purge_options options;
  lua_settop(L, 3);
  read_purge(L, 3, &options);
  lnt__binding_done *done = lnt__binding_keep_done(L, self, 3);
  if (done) options.done = lnt__binding_on_done, options.done_user = done;
  lnt_error err = {LNT_OK, ""};
  uint64_t count = 0;
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_purge(self->rt, id, &options, &count, &err);
  lnt__binding_leave(self, outer);
  if (status) lnt__binding_drop_done(L, done);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushnumber(L, (lua_Number)count);
  return 1;
}

/* rt:purge_matching({the conditions of rt:list, closed_before_us =, recursive =, force =, done =}) -> count, next cursor */
static int runtime_purge_matching(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_list_options which;
  lnt_purge_options options;
  lnt_error err = {LNT_OK, ""};
  uint64_t count = 0, next = 0;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lnt__binding_check_conditions(L);
  read_purge(L, 2, &options);
  lnt__binding_done *done = lnt__binding_keep_done(L, self, 2);
  if (done) options.done = lnt__binding_on_done, options.done_user = done;
  lnt_status status = lnt__binding_conditions(L, self, &which, &err);
  if (!status) {
    lua_State *outer = lnt__binding_enter(self, L);
    status = lnt_purge_matching(self->rt, &which, &options, &count, &next, &err);
    lnt__binding_leave(self, outer);
  }
  lnt_value_free(&which.attributes);
  if (status) lnt__binding_drop_done(L, done);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushnumber(L, (lua_Number)count);
  return 1 + lnt__binding_push_cursor(L, next);
}

/* ---- fork, rerun, retry ---- */

typedef lnt_status (*fork_fn)(lnt_runtime *rt, const char *id, const lnt_fork_options *options, char *id_out, lnt_error *err);

static lnt_fork_code read_code(lua_State *L) {
  static const char *const names[] = {"auto", "pinned", "newest"};
  lua_getfield(L, 3, "code");
  const char *text = luaL_optstring(L, -1, "auto");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (!strcmp(text, names[i])) return (lnt_fork_code)i;
  }
  luaL_error(L, "code must be \"auto\", \"pinned\" or \"newest\"");
  return LNT_FORK_CODE_AUTO;
}

static uint64_t count_field(lua_State *L, const char *name) {
  lua_getfield(L, 3, name);
  lua_Number number = luaL_optnumber(L, -1, 0);
  lua_pop(L, 1);
  if (!(number >= 0 && number <= 9e15)) luaL_error(L, "%s must be a number, 0 or more", name);
  return (uint64_t)number;
}

/* What needs no memory of the library's; leaves the texts on the stack, the input at 4. */
static void read_fork(lua_State *L, lnt_fork_options *options) {
  lnt_fork_options_init(options);
  if (lua_isnoneornil(L, 3)) {
    lua_settop(L, 2);
    lua_newtable(L);
  }
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  lua_getfield(L, 3, "input");
  lua_getfield(L, 3, "new_id");
  options->new_id = luaL_optstring(L, -1, NULL);
  options->run = count_field(L, "run");
  options->event = count_field(L, "event");
  options->code = read_code(L);
}

/* rt:fork(id, {event =, new_id =, run =, input =, input_json =, code =, done =}) -> the new id; rt:rerun the same */
static int fork_as(lua_State *L, fork_fn fn) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2);
  lnt_fork_options options;
  char new_id[LNT_ID_BYTES_MAX + 1];
  read_fork(L, &options);
  lnt__binding_done *done = lnt__binding_keep_done(L, self, 3);
  if (done) options.done = lnt__binding_on_done, options.done_user = done;
  lua_getfield(L, 3, "input_json");
  options.replace_input = !lua_isnil(L, -1) || !lua_isnil(L, 4);
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt__binding_read_value(L, self, 4, 3, "input_json", &options.input, &err);
  if (!status) {
    lua_State *outer = lnt__binding_enter(self, L);
    status = fn(self->rt, id, &options, new_id, &err);
    lnt__binding_leave(self, outer);
  }
  lnt_value_free(&options.input);
  if (status) lnt__binding_drop_done(L, done);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushstring(L, new_id);
  return 1;
}

static int runtime_fork(lua_State *L) { return fork_as(L, lnt_fork); }
static int runtime_rerun(lua_State *L) { return fork_as(L, lnt_rerun); }

static lnt_status retry(lnt_runtime *rt, const char *id, const lnt_fork_options *options, char *id_out, lnt_error *err) {
  strcpy(id_out, "");
  lnt_status status = lnt_retry(rt, id, options, err);
  if (!status) strncat(id_out, id, LNT_ID_BYTES_MAX);
  return status;
}

/* rt:retry(id, {code =, run =, done =}) -> the id */
static int runtime_retry(lua_State *L) { return fork_as(L, retry); }

const luaL_Reg lnt__binding_managing[] = {
    {"suspend", runtime_suspend}, {"resume", runtime_resume}, {"cancel", runtime_cancel},
    {"terminate", runtime_terminate}, {"purge", runtime_purge}, {"purge_matching", runtime_purge_matching},
    {"fork", runtime_fork}, {"rerun", runtime_rerun}, {"retry", runtime_retry}, {NULL, NULL},
};
