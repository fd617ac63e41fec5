/* activities.c - activities written in the host's own Lua: rt:activity(name, fn), and answers given later: rt:complete, rt:fail.
 *
 * A token is text ("run:seq:attempt"), so that a host can keep it anywhere. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "binding.h"

#define TOKEN_BYTES_MAX 48
#define ACT_TYPE "lunation.activity"

/* ---- Tokens ---- */

static void push_token(lua_State *L, lnt_token token) {
  char text[TOKEN_BYTES_MAX];
  snprintf(text, sizeof text, "%" PRIu64 ":%" PRIu32 ":%" PRIu32, token.run, token.seq, token.attempt);
  lua_pushstring(L, text);
}

static lnt_token check_token(lua_State *L, int index) {
  lnt_token token = {0, 0, 0};
  int used = 0;
  const char *text = luaL_checkstring(L, index);
  if (sscanf(text, "%" SCNu64 ":%" SCNu32 ":%" SCNu32 "%n", &token.run, &token.seq, &token.attempt, &used) != 3 || text[used]) {
    luaL_error(L, "'%s' is not a token; act:pending() gives one", text);
  }
  return token;
}

/* ---- Failures ---- */

static const char *failure_text(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  return lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER ? lua_tostring(L, -1) : NULL;
}

static bool is_field(lua_State *L, int index, const char *name, bool wanted) {
  lua_getfield(L, index, name);
  bool is = lua_isboolean(L, -1) && lua_toboolean(L, -1) == (int)wanted;
  lua_pop(L, 1);
  return is;
}

/* What an error value says. The texts stay on the stack; `failure->details` is released by lnt_value_free(). */
static void read_failure(lua_State *L, lnt__binding *self, int index, lnt_failure *failure) {
  memset(failure, 0, sizeof *failure);
  failure->message = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : NULL;
  if (failure->message) return;
  if (!lua_istable(L, index)) {
    failure->message = lua_pushfstring(L, "the error is a %s", luaL_typename(L, index));
    return;
  }
  failure->type = failure_text(L, index, "type");
  failure->message = failure_text(L, index, "message");
  failure->non_retryable = is_field(L, index, "non_retryable", true) || is_field(L, index, "retryable", false);
  lua_getfield(L, index, "details");
  if (!lua_isnil(L, -1) && lnt_lua_encode(L, -1, "details", self->payload_bytes_max, &failure->details, NULL)) {
    failure->details = LNT_VALUE_NIL; /* the failure itself is worth more than what cannot be stored of it */
  }
}

/* ---- Running one ---- */

typedef struct activity_call {
  lnt__binding *self;
  lnt_runtime *rt;
  const lnt_activity *activity;
  lnt_activity_result result;
  bool answered;
} activity_call;

static void push_act(lua_State *L, const lnt_activity *activity) {
  lua_createtable(L, 0, 6);
  lua_pushstring(L, activity->name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, activity->instance_id);
  lua_setfield(L, -2, "instance_id");
  lua_pushstring(L, activity->idempotency_key);
  lua_setfield(L, -2, "idempotency_key");
  lua_pushnumber(L, activity->token.attempt);
  lua_setfield(L, -2, "attempt");
  push_token(L, activity->token);
  lua_setfield(L, -2, "token");
  luaL_getmetatable(L, ACT_TYPE);
  lua_setmetatable(L, -2);
}

/* act:pending() -> token */
static int act_pending(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushboolean(L, 1);
  lua_setfield(L, 1, "is_pending");
  lua_getfield(L, 1, "token");
  return 1;
}

static void fail_attempt(activity_call *call, const lnt_failure *failure) {
  call->answered = lnt_fail(call->rt, call->activity->token, failure, NULL) == LNT_OK;
}

static void fail_with(activity_call *call, const lnt_error *err) {
  lnt_failure failure = {"InvalidResult", err->message, 1, LNT_VALUE_NIL};
  fail_attempt(call, &failure);
}

/* The result is at the top of the stack. */
static void answer_result(lua_State *L, activity_call *call) {
  lnt_error err = {LNT_OK, ""};
  lnt_value value = LNT_VALUE_NIL;
  lnt_status status = LNT_OK;
  if (!lua_isnil(L, -1)) status = lnt_lua_encode(L, -1, "result", call->self->payload_bytes_max, &value, &err);
  if (!status) status = lnt_complete(call->rt, call->activity->token, value, &err);
  lnt_value_free(&value);
  call->answered = !status;
  if (status) fail_with(call, &err);
}

static void answer_error(lua_State *L, activity_call *call) {
  lnt_failure failure;
  read_failure(L, call->self, lua_gettop(L), &failure);
  fail_attempt(call, &failure);
  lnt_value_free(&failure.details);
}

static int run_activity(lua_State *L) {
  activity_call *call = lua_touserdata(L, 1);
  if (!lnt__binding_push_env(L, call->self)) return luaL_error(L, "the runtime is being collected");
  lua_getfield(L, -1, "activities");
  lua_getfield(L, -1, call->activity->name);
  lnt__binding_push_value(L, call->activity->input, false);
  push_act(L, call->activity);
  lua_pushvalue(L, -1);
  lua_insert(L, 2); /* keep the table that says whether the answer comes later */
  if (lua_pcall(L, 2, 1, 0)) {
    answer_error(L, call);
    return 0;
  }
  lua_getfield(L, 2, "is_pending");
  bool pending = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (pending) {
    call->result = LNT_ACTIVITY_PENDING;
    call->answered = true;
  } else {
    answer_result(L, call);
  }
  return 0;
}

static lnt_activity_result on_activity(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  activity_call call = {user, rt, activity, LNT_ACTIVITY_DONE, false};
  lnt__binding_callback(user, run_activity, &call, activity->name);
  if (!call.answered) {
    lnt_failure failure = {"Error", "the host's Lua could not run the activity; see the log", 0, LNT_VALUE_NIL};
    fail_attempt(&call, &failure);
  }
  return call.result;
}

/* ---- Methods ---- */

static void make_act_metatable(lua_State *L) {
  if (luaL_newmetatable(L, ACT_TYPE)) {
    lua_newtable(L);
    lua_pushcfunction(L, act_pending);
    lua_setfield(L, -2, "pending");
    lua_setfield(L, -2, "__index");
  }
  lua_pop(L, 1);
}

/* rt:activity(name, fn) or rt:activity(name, nil) */
static int runtime_activity(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *name = luaL_checkstring(L, 2);
  bool remove = lua_isnoneornil(L, 3);
  if (!remove) luaL_checktype(L, 3, LUA_TFUNCTION);
  lua_settop(L, 3);
  make_act_metatable(L);
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_register_activity(self->rt, name, remove ? NULL : on_activity, self, &err);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_getfenv(L, 1);
  lua_getfield(L, -1, "activities");
  lua_pushvalue(L, 3);
  lua_setfield(L, -2, name);
  lua_pushboolean(L, 1);
  return 1;
}

/* rt:complete(token, result) -> true */
static int runtime_complete(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_token token = check_token(L, 2);
  lua_settop(L, 3);
  lnt_error err = {LNT_OK, ""};
  lnt_value value = LNT_VALUE_NIL;
  lnt_status status = LNT_OK;
  if (!lua_isnil(L, 3)) status = lnt_lua_encode(L, 3, "result", self->payload_bytes_max, &value, &err);
  if (!status) status = lnt_complete(self->rt, token, value, &err);
  lnt_value_free(&value);
  return lnt__binding_answer(L, status, &err);
}

/* rt:fail(token, message or {type =, message =, non_retryable =, details =}) -> true */
static int runtime_fail(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_token token = check_token(L, 2);
  lua_settop(L, 3);
  lnt_error err = {LNT_OK, ""};
  lnt_failure failure;
  read_failure(L, self, 3, &failure);
  lnt_status status = lnt_fail(self->rt, token, &failure, &err);
  lnt_value_free(&failure.details);
  return lnt__binding_answer(L, status, &err);
}

const luaL_Reg lnt__binding_activities[] = {
    {"activity", runtime_activity}, {"complete", runtime_complete}, {"fail", runtime_fail}, {NULL, NULL}};
