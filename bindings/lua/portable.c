/* portable.c - how a Lua host takes instances out and in as files, and replays them. */
#include <string.h>

#include "binding.h"

static void options_at(lua_State *L, int index) {
  lua_settop(L, index);
  if (lua_isnil(L, index)) {
    lua_newtable(L);
    lua_replace(L, index);
  }
  luaL_checktype(L, index, LUA_TTABLE);
}

static bool flag_field(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  bool flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

/* A text among the options, which keep it alive; NULL: it is not there. */
static const char *text_field(lua_State *L, int options, const char *name, size_t *size) {
  lua_getfield(L, options, name);
  const char *text = luaL_optlstring(L, -1, NULL, size);
  lua_pop(L, 1);
  return text;
}

static int push_bytes(lua_State *L) {
  const lnt_value *bytes = lua_touserdata(L, 1);
  lua_pushlstring(L, bytes->data, bytes->size);
  return 1;
}

/* The bytes as a string; the library's memory is given back even where Lua has none. */
static int answer_bytes(lua_State *L, void *data, size_t size) {
  lnt_value bytes = {data, size};
  lua_pushcfunction(L, push_bytes);
  lua_pushlightuserdata(L, &bytes);
  int rc = lua_pcall(L, 1, 1, 0);
  lnt_free(data);
  return rc ? lua_error(L) : 1;
}

/* rt:export(id, path, {run =, whole =}) -> true; without a path, the bytes */
static int runtime_export(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2), *path = luaL_optstring(L, 3, NULL);
  lnt_export_options options;
  lnt_error err = {LNT_OK, ""};
  void *data = NULL;
  size_t size = 0;
  options_at(L, 4);
  lnt_export_options_init(&options);
  options.whole = flag_field(L, 4, "whole");
  lua_getfield(L, 4, "run");
  options.run = (uint64_t)luaL_optnumber(L, -1, 0);
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = path ? lnt_export(self->rt, id, &options, path, &err) : lnt_export_data(self->rt, id, &options, &data, &size, &err);
  lnt__binding_leave(self, outer);
  return status || path ? lnt__binding_answer(L, status, &err) : answer_bytes(L, data, size);
}

/* rt:import(path, {data =, new_id =, suspend =}) -> {id =, run =, runs =, live =} */
static int runtime_import(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_import_options options;
  lnt_import_result result;
  lnt_error err = {LNT_OK, ""};
  lnt_import_options_init(&options);
  options.path = luaL_optstring(L, 2, NULL);
  options_at(L, 3);
  options.data = text_field(L, 3, "data", &options.data_size);
  options.new_id = text_field(L, 3, "new_id", NULL);
  options.suspend = flag_field(L, 3, "suspend");
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_import(self->rt, &options, &result, &err);
  lnt__binding_leave(self, outer);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_createtable(L, 0, 4);
  lua_pushstring(L, result.id);
  lua_setfield(L, -2, "id");
  lua_pushnumber(L, (lua_Number)result.run);
  lua_setfield(L, -2, "run");
  lua_pushnumber(L, (lua_Number)result.runs);
  lua_setfield(L, -2, "runs");
  lua_pushnumber(L, (lua_Number)result.live);
  lua_setfield(L, -2, "live");
  return 1;
}

/* ---- Replay ----
 * Rows are added by a protected call, because no Lua error may leave the callback; it is raised when the library has returned. */

typedef struct replaying {
  lua_State *L;
  int adder; /* stack index; the list follows it */
  bool failed, json;
  const lnt_replay_report *report;
} replaying;

static void set_value(lua_State *L, const replaying *call, const char *name, lnt_value value) {
  lnt__binding_push_value(L, value, call->json);
  lua_setfield(L, -2, name);
}

static int add_report(lua_State *L) {
  const replaying *call = lua_touserdata(L, 2);
  const lnt_replay_report *r = call->report;
  lnt__binding_push_fit(L, r->fit);
  lua_pushnumber(L, (lua_Number)r->fit->run);
  lua_setfield(L, -2, "run");
  lua_pushstring(L, lnt_run_status_name(r->end));
  lua_setfield(L, -2, "ends");
  set_value(L, call, "output", r->output);
  set_value(L, call, "failure", r->failure);
  set_value(L, call, "custom_status", r->custom_status);
  if (r->reason[0]) lua_pushstring(L, r->reason), lua_setfield(L, -2, "reason");
  lua_pushstring(L, r->engine);
  lua_setfield(L, -2, "engine");
  lua_pushstring(L, r->engine_here);
  lua_setfield(L, -2, "engine_here");
  lua_rawseti(L, 1, (int)lua_objlen(L, 1) + 1);
  return 0;
}

static void on_report(void *user, const lnt_replay_report *report) {
  replaying *call = user;
  if (call->failed) return;
  call->report = report;
  lua_pushvalue(call->L, call->adder);
  lua_pushvalue(call->L, call->adder + 1);
  lua_pushlightuserdata(call->L, call);
  call->failed = lua_pcall(call->L, 2, 0, 0) != 0;
}

/* lunation.replay(path, {data =, against =, source =, all =, module_path =, stdlib_path =, json =}) -> reports, how many diverge */
int lnt__binding_replay(lua_State *L) {
  lnt_replay_options options;
  lnt_error err = {LNT_OK, ""};
  uint64_t diverged = 0;
  lnt_replay_options_init(&options);
  options.path = luaL_optstring(L, 1, NULL);
  options_at(L, 2);
  options.data = text_field(L, 2, "data", &options.data_size);
  options.against = text_field(L, 2, "against", NULL);
  options.source = text_field(L, 2, "source", &options.source_size);
  options.module_path = text_field(L, 2, "module_path", NULL);
  options.stdlib_path = text_field(L, 2, "stdlib_path", NULL);
  options.all = flag_field(L, 2, "all");
  replaying call = {.L = L, .json = flag_field(L, 2, "json"), .adder = 3};
  lua_pushcfunction(L, add_report);
  lua_newtable(L);
  lnt_status status = lnt_replay(&options, on_report, &call, &diverged, &err);
  if (call.failed) return lua_error(L);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushnumber(L, (lua_Number)diverged);
  return 2;
}

const luaL_Reg lnt__binding_portable[] = {{"export", runtime_export}, {"import", runtime_import}, {NULL, NULL}};
