/* calls.c - what a Lua host asks of instances: start, raise, with `done` functions that are called when it is durable. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"

/* ---- done ---- */

struct lnt__binding_done {
  lnt__binding *self;
  uint64_t key; /* in the environment's table `done` */
  lnt_status status;
};

/* Pushes the function and forgets it. */
static void take_done(lua_State *L, const lnt__binding_done *call) {
  if (!lnt__binding_push_env(L, call->self)) {
    lua_pushnil(L);
    return;
  }
  lua_getfield(L, -1, "done");
  lua_pushnumber(L, (lua_Number)call->key);
  lua_rawget(L, -2);
  lua_pushnumber(L, (lua_Number)call->key);
  lua_pushnil(L);
  lua_rawset(L, -4);
}

static int call_done(lua_State *L) {
  lnt__binding_done *call = lua_touserdata(L, 1);
  take_done(L, call);
  if (lua_isnil(L, -1)) return 0;
  lua_call(L, lnt__binding_answer(L, call->status, NULL), 0);
  return 0;
}

void lnt__binding_on_done(void *user, lnt_status status) {
  lnt__binding_done *call = user;
  call->status = status;
  lnt__binding_callback(call->self, call_done, call, "a `done` function");
  free(call);
}

lnt__binding_done *lnt__binding_keep_done(lua_State *L, lnt__binding *self, int index) {
  if (!lua_istable(L, index)) return NULL;
  lua_getfield(L, index, "done");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return NULL;
  }
  if (!lua_isfunction(L, -1)) luaL_error(L, "done must be a function");
  uint64_t key = ++self->next_done;
  lua_getfenv(L, 1);
  lua_getfield(L, -1, "done");
  lua_pushnumber(L, (lua_Number)key);
  lua_pushvalue(L, -4);
  lua_rawset(L, -3);
  lua_pop(L, 3);
  lnt__binding_done *call = malloc(sizeof *call);
  if (!call) luaL_error(L, "not enough memory");
  *call = (lnt__binding_done){self, key, LNT_OK};
  return call;
}

void lnt__binding_drop_done(lua_State *L, lnt__binding_done *call) {
  if (!call) return;
  lua_getfenv(L, 1);
  lua_getfield(L, -1, "done");
  lua_pushnumber(L, (lua_Number)call->key);
  lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 2);
  free(call);
}

/* ---- start, raise ---- */

lnt_status lnt__binding_read_value(lua_State *L, lnt__binding *self, int index, int options, const char *json_field, lnt_value *out,
                             lnt_error *err) {
  *out = LNT_VALUE_NIL;
  const char *json = NULL;
  size_t size = 0;
  if (lua_istable(L, options)) {
    lua_pushstring(L, json_field);
    lua_rawget(L, options);
    if (lua_type(L, -1) == LUA_TSTRING) json = lua_tolstring(L, -1, &size);
    lua_pop(L, 1); /* the options keep the text alive */
  }
  if (json) return lnt_value_from_json(json, size, out, err);
  if (lua_isnoneornil(L, index)) return LNT_OK;
  char what[16]; /* "input" of "input_json" */
  size_t length = strlen(json_field) - strlen("_json");
  if (length >= sizeof what) length = sizeof what - 1;
  memcpy(what, json_field, length);
  what[length] = 0;
  return lnt_lua_encode(L, index, what, self->payload_bytes_max, out, err);
}

static const char *text_field(lua_State *L, int options, const char *name) {
  lua_getfield(L, options, name);
  if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "%s must be a string", name);
  return lua_tostring(L, -1);
}

static lnt_id_reuse read_reuse(lua_State *L, int options) {
  static const char *const names[] = {"error", "existing", "terminal", "replace"};
  const char *text = text_field(L, options, "id_reuse");
  for (size_t i = 0; text && i < sizeof names / sizeof *names; i++) {
    if (!strcmp(text, names[i])) return (lnt_id_reuse)i;
  }
  if (text) luaL_error(L, "id_reuse must be \"error\", \"existing\", \"terminal\" or \"replace\"");
  return LNT_ID_REUSE_ERROR;
}

/* What needs no memory of the library's; leaves the texts on the stack. The input goes to index 4, the attributes to 5. */
static void read_start(lua_State *L, lnt_start_options *options) {
  lua_getfield(L, 3, "input");
  lua_getfield(L, 3, "attributes");
  if (!lua_isnil(L, 5)) luaL_checktype(L, 5, LUA_TTABLE);
  options->id = text_field(L, 3, "id");
  options->id_reuse = read_reuse(L, 3);
  lua_getfield(L, 3, "start_at_us");
  options->start_at_us = (int64_t)luaL_optnumber(L, -1, 0);
}

static lnt_status read_attributes(lua_State *L, lnt__binding *self, lnt_value *out, lnt_error *err) {
  return lua_istable(L, 5) ? lnt_lua_encode(L, 5, "attributes", self->payload_bytes_max, out, err) : LNT_OK;
}

/* rt:start(workflow, {id =, input =, input_json =, attributes =, id_reuse =, start_at_us =, done =}) -> id, existed */
static int runtime_start(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_start_options options;
  lnt_start_options_init(&options);
  options.workflow = luaL_checkstring(L, 2);
  if (lua_isnoneornil(L, 3)) {
    lua_settop(L, 2);
    lua_newtable(L);
  }
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  read_start(L, &options);
  lnt__binding_done *done = lnt__binding_keep_done(L, self, 3);
  lnt_error err = {LNT_OK, ""};
  char id[LNT_ID_BYTES_MAX + 1];
  int existed = 0;
  options.existed = &existed;
  if (done) options.done = lnt__binding_on_done, options.done_user = done;
  lnt_status status = lnt__binding_read_value(L, self, 4, 3, "input_json", &options.input, &err);
  if (!status) status = read_attributes(L, self, &options.attributes, &err);
  if (!status) {
    lua_State *outer = lnt__binding_enter(self, L);
    status = lnt_start(self->rt, &options, id, &err);
    lnt__binding_leave(self, outer);
  }
  lnt_value_free(&options.input);
  lnt_value_free(&options.attributes);
  if (status) {
    lnt__binding_drop_done(L, done);
    return lnt__binding_failed(L, status, &err);
  }
  lua_pushstring(L, id);
  lua_pushboolean(L, existed);
  return 2;
}

/* rt:raise(id, event, data, {key =, data_json =, done =}) -> true, repeated */
static int runtime_raise(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2);
  const char *event = luaL_checkstring(L, 3);
  lua_settop(L, 5);
  lnt_raise_options options;
  int repeated = 0;
  lnt_raise_options_init(&options);
  options.repeated = &repeated;
  if (lua_istable(L, 5)) options.key = text_field(L, 5, "key");
  lnt__binding_done *done = lnt__binding_keep_done(L, self, 5);
  if (done) options.done = lnt__binding_on_done, options.done_user = done;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt__binding_read_value(L, self, 4, 5, "data_json", &options.data, &err);
  if (!status) {
    lua_State *outer = lnt__binding_enter(self, L);
    status = lnt_raise_ex(self->rt, id, event, &options, &err);
    lnt__binding_leave(self, outer);
  }
  lnt_value_free(&options.data);
  if (status) lnt__binding_drop_done(L, done);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushboolean(L, 1);
  lua_pushboolean(L, repeated);
  return 2;
}

const luaL_Reg lnt__binding_calls[] = {
    {"start", runtime_start}, {"raise", runtime_raise}, {NULL, NULL}};
