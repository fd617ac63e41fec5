/* asking.c - what a Lua host asks of instances: queries, updates, and the streams they emit. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"

/* ---- Functions that are called later ----
 * A record is a userdata of ours, kept with its function in the environment's table `asked` under its address, until it is forgotten. */

typedef struct asked {
  lnt__binding *self;
  lnt_follower *follower;
  bool json;
  int stop; /* what the function of a follower answered */
  const lnt_emitted *item;
  bool answered, waited; /* waited: nobody is called; the answer is kept here */
  lnt_status status;
  lnt_value value; /* of an answer that is waited for: ours, malloc */
} asked;

/* Push the environment's table `asked`; it is made when it is first needed. */
static bool push_asked(lua_State *L, lnt__binding *self) {
  if (!lnt__binding_push_env(L, self)) return false;
  lua_getfield(L, -1, "asked");
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "asked");
  }
  lua_remove(L, -2);
  return true;
}

/* Make a record that keeps the function at `index`, and push it. May raise. */
static asked *keep(lua_State *L, lnt__binding *self, int index) {
  asked *call = lua_newuserdata(L, sizeof *call);
  *call = (asked){.self = self};
  push_asked(L, self);
  lua_pushlightuserdata(L, call);
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, -4);
  lua_rawseti(L, -2, 1);
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, 2);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  return call;
}

/* Push the function; false: it was forgotten, or the host is gone (nothing pushed). */
static bool push_function(lua_State *L, const asked *call) {
  if (!push_asked(L, call->self)) return false;
  lua_pushlightuserdata(L, (void *)call);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  if (!lua_istable(L, -1)) {
    lua_pop(L, 1);
    return false;
  }
  lua_rawgeti(L, -1, 2);
  lua_remove(L, -2);
  return true;
}

static void forget(lua_State *L, const asked *call) {
  if (!push_asked(L, call->self)) return;
  lua_pushlightuserdata(L, (void *)call);
  lua_pushnil(L);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* ---- Queries and updates ---- */

static bool flag_option(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return false;
  lua_getfield(L, index, name);
  bool flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

/* Push the answer: the value; or nil, a message, the code and the failure. Answers how many. */
static int push_answer(lua_State *L, lnt_status status, lnt_value value, bool json) {
  if (!status) {
    lnt__binding_push_value(L, value, json);
    return 1;
  }
  lnt_error err = {status, ""};
  if (value.size) {
    lnt__binding_push_value(L, value, false);
    lua_getfield(L, -1, "type");
    lua_getfield(L, -2, "message");
    const char *type = lua_tostring(L, -2), *message = lua_tostring(L, -1);
    snprintf(err.message, sizeof err.message, "%s: %s", type ? type : "Error", message ? message : "");
    lua_pop(L, 3);
  }
  lnt__binding_failed(L, status, &err);
  lnt__binding_push_value(L, value, json);
  return 4;
}

static int call_answered(lua_State *L) {
  asked *call = lua_touserdata(L, 1);
  if (!push_function(L, call)) return 0;
  forget(L, call);
  if (!lua_isfunction(L, -1)) return 0; /* whoever waited for it has gone on */
  lua_call(L, push_answer(L, call->status, call->value, call->json), 0);
  return 0;
}

static void on_answer(void *user, lnt_status status, lnt_value value) {
  asked *call = user;
  call->answered = true;
  call->status = status;
  call->value = value;
  if (!call->waited) {
    lnt__binding_callback(call->self, call_answered, call, "the function that is given an answer");
    call->value = LNT_VALUE_NIL;
    return;
  }
  void *copy = value.size ? malloc(value.size) : NULL;
  if (value.size && !copy) call->status = LNT_ENOMEM;
  call->value = copy ? (lnt_value){memcpy(copy, value.data, value.size), value.size} : LNT_VALUE_NIL;
}

static int has_answer(void *user) { return ((asked *)user)->answered; }

static int push_waited(lua_State *L) {
  const asked *call = lua_touserdata(L, 1);
  return push_answer(L, call->status, call->value, call->json);
}

static int64_t timeout_option(lua_State *L, int index) {
  if (!lua_istable(L, index)) return -1;
  lua_getfield(L, index, "timeout");
  lua_Number seconds = luaL_optnumber(L, -1, -1);
  lua_pop(L, 1);
  return seconds >= 0 && seconds < 9e12 ? (int64_t)(seconds * 1e6) : -1;
}

static const char *text_option(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return NULL;
  lua_getfield(L, index, name); /* stays on the stack: the text must live */
  return luaL_optstring(L, -1, NULL);
}

/* The arguments at 4, or as JSON text in the options at 5. */
static lnt_status read_args(lua_State *L, const lnt__binding *self, lnt_value *out, lnt_error *err) {
  size_t size;
  *out = LNT_VALUE_NIL;
  const char *json = text_option(L, 5, "args_json");
  if (json) {
    json = lua_tolstring(L, -1, &size);
    return lnt_value_from_json(json, size, out, err);
  }
  return lua_isnil(L, 4) ? LNT_OK : lnt_lua_encode(L, 4, "args", self->payload_bytes_max, out, err);
}

static lnt_status ask(lua_State *L, lnt__binding *self, bool is_update, asked *call, lnt_value args, lnt_error *err) {
  const char *id = lua_tostring(L, 2), *name = lua_tostring(L, 3), *update_id = text_option(L, 5, "update_id");
  if (!update_id) update_id = text_option(L, 5, "id");
  if (!is_update) return lnt_query(self->rt, id, name, args, on_answer, call, err);
  lnt_update_options options;
  lnt_update_options_init(&options);
  options.name = name;
  options.args = args;
  options.update_id = update_id;
  options.fn = on_answer;
  options.user = call;
  return lnt_update(self->rt, id, &options, NULL, err);
}

/* A record for the answer, pushed: with the function at the field `done` of the options at 5, or waited for. */
static asked *expect(lua_State *L, lnt__binding *self) {
  if (lua_istable(L, 5)) lua_getfield(L, 5, "done");
  else lua_pushnil(L);
  bool waited = lua_isnil(L, -1);
  if (!waited) luaL_checktype(L, -1, LUA_TFUNCTION);
  if (waited) lua_pushboolean(L, 0), lua_replace(L, -2);
  asked *call = keep(L, self, lua_gettop(L));
  call->waited = waited;
  call->json = flag_option(L, 5, "json");
  return call;
}

static int query_or_update(lua_State *L, bool is_update) {
  lnt__binding *self = lnt__binding_check(L, 1);
  luaL_checkstring(L, 2);
  luaL_checkstring(L, 3);
  lua_settop(L, 5);
  if (!lua_isnil(L, 5)) luaL_checktype(L, 5, LUA_TTABLE);
  int64_t timeout_us = timeout_option(L, 5);
  lnt_error err = {LNT_OK, ""};
  lnt_value args;
  asked *call = expect(L, self);
  lua_pushcfunction(L, push_waited);
  int pusher = lua_gettop(L);
  lnt_status status = read_args(L, self, &args, &err);
  lua_State *outer = lnt__binding_enter(self, L);
  if (!status) status = ask(L, self, is_update, call, args, &err);
  bool refused = status != LNT_OK;
  if (!refused && call->waited) status = lnt_drive_until(self->rt, has_answer, call, timeout_us, &err);
  lnt__binding_leave(self, outer);
  lnt_value_free(&args);
  if (refused || call->answered) forget(L, call);
  if (status || !call->waited) {
    call->waited = false; /* the answer may come later */
    return lnt__binding_answer(L, status, &err);
  }
  int top = lua_gettop(L);
  lua_pushvalue(L, pusher);
  lua_pushlightuserdata(L, call);
  int failed = lua_pcall(L, 1, LUA_MULTRET, 0);
  free((void *)(uintptr_t)call->value.data);
  return failed ? lua_error(L) : lua_gettop(L) - top;
}

/* rt:query(id, name, args, {args_json =, json =, timeout =, done =}) -> the answer; with `done`, true */
static int runtime_query(lua_State *L) { return query_or_update(L, false); }

/* rt:update(id, name, args, {update_id = (or id =), args_json =, json =, timeout =, done =}) -> the result; with `done`, true */
static int runtime_update(lua_State *L) { return query_or_update(L, true); }

/* ---- Why is it waiting ---- */

typedef struct description { lnt_value value; bool json; } description;

static int push_description(lua_State *L) {
  const description *d = lua_touserdata(L, 1);
  lnt__binding_push_value(L, d->value, d->json);
  return 1;
}

/* rt:describe(id, {json =}) -> {reason =, branches =, activities =, ...} */
static int runtime_describe(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2);
  description d = {.json = flag_option(L, 3, "json")};
  lnt_error err = {LNT_OK, ""};
  lua_pushcfunction(L, push_description);
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_describe(self->rt, id, &d.value, &err);
  lnt__binding_leave(self, outer);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushlightuserdata(L, &d);
  int failed = lua_pcall(L, 1, 1, 0);
  lnt_value_free(&d.value);
  return failed ? lua_error(L) : 1;
}

/* ---- Streams ---- */

static void push_item(lua_State *L, const lnt_emitted *item, bool json) {
  char cursor[LNT_CURSOR_TEXT_BYTES];
  lua_createtable(L, 0, 3);
  lnt__binding_push_value(L, item->value, json);
  lua_setfield(L, -2, "value");
  lua_pushnumber(L, (lua_Number)item->time_us);
  lua_setfield(L, -2, "time_us");
  lnt_cursor_to_text(item->next, cursor);
  lua_pushstring(L, cursor);
  lua_setfield(L, -2, "cursor");
}

/* The cursor in the options at `index`; false: it is none (*err). */
static bool cursor_option(lua_State *L, int index, lnt_cursor *out, lnt_error *err) {
  *out = (lnt_cursor){0};
  if (!lua_istable(L, index)) return true;
  lua_getfield(L, index, "cursor");
  lnt_status status = lnt_cursor_from_text(luaL_optstring(L, -1, NULL), out, err);
  lua_pop(L, 1);
  return !status;
}

static uint32_t limit_option(lua_State *L, int index) {
  if (!lua_istable(L, index)) return 0;
  lua_getfield(L, index, "limit");
  lua_Number limit = luaL_optnumber(L, -1, 0);
  if (!(limit >= 0)) luaL_error(L, "limit must be 0 or more");
  lua_pop(L, 1);
  return limit < 1e9 ? (uint32_t)limit : 0;
}

typedef struct stream_read {
  lua_State *L;
  int adder; /* stack index of add_item; the list follows it */
  bool json, failed; /* failed: the error is on the top of the stack */
  const lnt_emitted *item;
} stream_read;

static int add_item(lua_State *L) {
  const stream_read *read = lua_touserdata(L, 2);
  push_item(L, read->item, read->json);
  lua_rawseti(L, 1, (int)lua_objlen(L, 1) + 1);
  return 0;
}

/* No Lua error may leave it: it is called from inside the library. */
static int on_item(void *user, const lnt_emitted *item) {
  stream_read *read = user;
  lua_State *L = read->L;
  read->item = item;
  lua_pushvalue(L, read->adder);
  lua_pushvalue(L, read->adder + 1);
  lua_pushlightuserdata(L, read);
  read->failed = lua_pcall(L, 2, 0, 0) != 0;
  return read->failed;
}

/* rt:stream(id, stream, {cursor =, limit =, json =}) -> {{value =, time_us =, cursor =}, ...}, next cursor, whether it ended */
static int runtime_stream(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2), *stream = luaL_checkstring(L, 3);
  lnt_error err = {LNT_OK, ""};
  lnt_cursor from;
  lnt_stream_end end;
  char next[LNT_CURSOR_TEXT_BYTES];
  lua_settop(L, 4);
  stream_read read = {.L = L, .adder = 5, .json = flag_option(L, 4, "json")};
  uint32_t limit = limit_option(L, 4);
  if (!cursor_option(L, 4, &from, &err)) return lnt__binding_failed(L, LNT_EINVAL, &err);
  lua_pushcfunction(L, add_item);
  lua_newtable(L);
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_stream(self->rt, id, stream, from, limit, on_item, &read, &end, &err);
  lnt__binding_leave(self, outer);
  if (read.failed) return lua_error(L);
  if (status) return lnt__binding_failed(L, status, &err);
  lnt_cursor_to_text(end.next, next);
  lua_pushstring(L, next);
  lua_pushboolean(L, end.ended);
  return 3;
}

static int call_follower(lua_State *L) {
  asked *call = lua_touserdata(L, 1);
  call->stop = 1;
  if (!push_function(L, call)) return 0;
  if (call->item) push_item(L, call->item, call->json);
  else lua_pushnil(L);
  if (!call->item) forget(L, call);
  lua_call(L, 1, 1);
  call->stop = lua_toboolean(L, -1);
  if (call->item && call->stop) forget(L, call);
  return 0;
}

/* What raises is logged, and is told the next value all the same. */
static int on_followed(void *user, const lnt_emitted *item) {
  asked *call = user;
  call->item = item;
  call->stop = 0;
  lnt__binding_callback(call->self, call_follower, call, "a follower of a stream");
  if (call->stop || !item) call->follower = NULL;
  return call->stop;
}

/* Upvalues: the runtime, the record. */
static int stop_following(lua_State *L) {
  const lnt__binding *self = luaL_checkudata(L, lua_upvalueindex(1), LNT__BINDING_TYPE);
  asked *call = lua_touserdata(L, lua_upvalueindex(2));
  if (self->rt && call->follower) {
    lnt_unfollow(self->rt, call->follower);
    forget(L, call);
  }
  call->follower = NULL;
  return 0;
}

/* rt:follow(id, stream, function(item) ... end, {cursor =, json =}) -> a function that ends it */
static int runtime_follow(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2), *stream = luaL_checkstring(L, 3);
  luaL_checktype(L, 4, LUA_TFUNCTION);
  lnt_error err = {LNT_OK, ""};
  lnt_cursor from;
  lua_settop(L, 5);
  if (!cursor_option(L, 5, &from, &err)) return lnt__binding_failed(L, LNT_EINVAL, &err);
  bool json = flag_option(L, 5, "json");
  lua_pushvalue(L, 1);
  asked *call = keep(L, self, 4); /* pushed */
  call->json = json;
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_follow(self->rt, id, stream, from, on_followed, call, &call->follower, &err);
  lnt__binding_leave(self, outer);
  if (status) {
    forget(L, call);
    return lnt__binding_failed(L, status, &err);
  }
  lua_pushcclosure(L, stop_following, 2);
  return 1;
}

const luaL_Reg lnt__binding_asking[] = {{"query", runtime_query}, {"update", runtime_update}, {"describe", runtime_describe},
                                        {"stream", runtime_stream}, {"follow", runtime_follow}, {NULL, NULL}};
