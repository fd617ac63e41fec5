/* activities.c - activities written in the host's own Lua: rt:activity(name, fn), and what is said of attempts later: rt:complete, rt:fail,
 * rt:heartbeat.
 *
 * A token is text ("run:seq:attempt"), so that a host can keep it anywhere. */
#include <math.h>
#include <string.h>

#include "binding.h"

#define ACT_TYPE "lunation.activity"

/* ---- Tokens ---- */

static void push_token(lua_State *L, lnt_token token) {
  char text[LNT_TOKEN_TEXT_BYTES];
  lnt_token_text(token, text);
  lua_pushstring(L, text);
}

/* It may come from far away: text that is none is no misuse. */
static lnt_status read_token(lua_State *L, int index, lnt_token *token, lnt_error *err) {
  return lnt_token_parse(luaL_checkstring(L, index), token, err);
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
  lua_createtable(L, 0, 8);
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
  lnt__binding_push_value(L, activity->heartbeat_details, false);
  lua_setfield(L, -2, "heartbeat_details");
  luaL_getmetatable(L, ACT_TYPE);
  lua_setmetatable(L, -2);
}

static int answer_later(lua_State *L, lnt_activity_result result) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushinteger(L, (lua_Integer)result);
  lua_setfield(L, 1, "result");
  lua_getfield(L, 1, "token");
  return 1;
}

/* act:pending() -> token, act:complete_later() -> token */
static int act_pending(lua_State *L) { return answer_later(L, LNT_ACTIVITY_PENDING); }
static int act_complete_later(lua_State *L) { return answer_later(L, LNT_ACTIVITY_DEFERRED); }

static void fail_attempt(activity_call *call, const lnt_failure *failure) {
  call->answered = lnt_fail(call->rt, call->activity->token, failure, NULL, NULL, NULL) == LNT_OK;
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
  if (!status) status = lnt_complete(call->rt, call->activity->token, value, NULL, NULL, &err);
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
  lua_getfield(L, 2, "result");
  call->result = (lnt_activity_result)lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (call->result == LNT_ACTIVITY_DONE) answer_result(L, call);
  else call->answered = true;
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

typedef struct cancel_call { lnt__binding *self; const char *name; lnt_token token; lnt_cancel_reason why; } cancel_call;

static int run_cancel(lua_State *L) {
  static const char *const reasons[] = {
      [LNT_CANCEL_REQUESTED] = "canceled", [LNT_CANCEL_TIMEOUT] = "timeout", [LNT_CANCEL_CLOSED] = "closed"};
  cancel_call *call = lua_touserdata(L, 1);
  if (!lnt__binding_push_env(L, call->self)) return 0;
  lua_getfield(L, -1, "cancels");
  lua_getfield(L, -1, call->name);
  push_token(L, call->token);
  lua_pushstring(L, reasons[call->why]);
  lua_call(L, 2, 0);
  return 0;
}

static void on_cancel(void *user, lnt_runtime *rt, const char *name, lnt_token token, lnt_cancel_reason why) {
  cancel_call call = {user, name, token, why};
  (void)rt;
  lnt__binding_callback(user, run_cancel, &call, "the function that cancels an activity");
}

/* ---- Methods ---- */

static void make_act_metatable(lua_State *L) {
  if (luaL_newmetatable(L, ACT_TYPE)) {
    lua_newtable(L);
    lua_pushcfunction(L, act_pending);
    lua_setfield(L, -2, "pending");
    lua_pushcfunction(L, act_complete_later);
    lua_setfield(L, -2, "complete_later");
    lua_setfield(L, -2, "__index");
  }
  lua_pop(L, 1);
}

/* A number from 1 to `max` in the field `name` of the table at `index`; 0: it is nil. */
static uint32_t limit_field(lua_State *L, int index, const char *name, double max) {
  lua_getfield(L, index, name);
  double value = lua_isnil(L, -1) ? 0 : luaL_checknumber(L, -1);
  if (!lua_isnil(L, -1) && !(value >= 1 && value <= max && value == floor(value)))
    luaL_error(L, "the option %s of an activity must be a whole number from 1", name);
  lua_pop(L, 1);
  return (uint32_t)value;
}

/* rate = { 10, per = 60 }: ten starts in any 60 seconds; per is a second if it is not given. */
static void read_rate(lua_State *L, int index, lnt_activity_options *options) {
  lua_getfield(L, index, "rate");
  if (lua_isnil(L, -1)) return lua_pop(L, 1);
  if (!lua_istable(L, -1)) luaL_error(L, "the option rate of an activity must be a table such as { 10, per = 60 } (seconds)");
  lua_rawgeti(L, -1, 1);
  lua_setfield(L, -2, "count");
  options->rate_count = limit_field(L, lua_gettop(L), "count", LNT_RATE_COUNT_MAX);
  lua_getfield(L, -1, "per");
  double per = lua_isnil(L, -1) ? 1 : luaL_checknumber(L, -1);
  if (!(per > 0 && per <= 366.0 * 86400)) luaL_error(L, "the option rate of an activity: per is seconds, up to 366 days");
  options->rate_per_us = (int64_t)(per * 1e6);
  lua_pop(L, 2);
}

/* Options at 3; the function to cancel goes into the environment at the top. */
static void read_options(lua_State *L, const char *name, lnt_activity_options *options) {
  int environment = lua_gettop(L);
  options->concurrency = limit_field(L, 3, "concurrency", UINT32_MAX);
  read_rate(L, 3, options);
  lua_getfield(L, 3, "pure");
  options->pure = lua_toboolean(L, -1);
  lua_pop(L, 1);
  lua_getfield(L, environment, "cancels");
  lua_getfield(L, 3, "cancel");
  if (!lua_isnil(L, -1)) {
    luaL_checktype(L, -1, LUA_TFUNCTION);
    options->cancel = on_cancel;
  }
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

/* rt:activity(name, [options,] fn), rt:activity(name, nil) */
static int runtime_activity(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *name = luaL_checkstring(L, 2);
  lnt_activity_options options;
  lnt_activity_options_init(&options);
  if (!lua_istable(L, 3)) {
    lua_settop(L, 3);
    lua_newtable(L);
    lua_insert(L, 3);
  }
  lua_settop(L, 4);
  bool remove = lua_isnil(L, 4);
  if (!remove) luaL_checktype(L, 4, LUA_TFUNCTION);
  make_act_metatable(L);
  lua_getfenv(L, 1);
  read_options(L, name, &options);
  options.fn = on_activity;
  options.user = self;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = remove ? lnt_register_activity(self->rt, name, NULL, NULL, &err)
                             : lnt_register_activity_ex(self->rt, name, &options, &err);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_getfield(L, 5, "activities");
  lua_pushvalue(L, 4);
  lua_setfield(L, -2, name);
  lua_pushboolean(L, 1);
  return 1;
}

/* rt:complete(token, result, {result_json =, done =}) -> true */
static int runtime_complete(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_error err = {LNT_OK, ""};
  lnt_token token;
  lnt_value value = LNT_VALUE_NIL;
  lnt_status status = read_token(L, 2, &token, &err);
  lua_settop(L, 4);
  lnt__binding_done *done = lnt__binding_keep_done(L, self, 4);
  if (!status) status = lnt__binding_read_value(L, self, 3, 4, "result_json", &value, &err);
  if (!status) status = lnt_complete(self->rt, token, value, done ? lnt__binding_on_done : NULL, done, &err);
  lnt_value_free(&value);
  if (status) lnt__binding_drop_done(L, done);
  return lnt__binding_answer(L, status, &err);
}

/* rt:fail(token, message or {type =, message =, non_retryable =, details =}, {details_json =, done =}) -> true */
static int runtime_fail(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_error err = {LNT_OK, ""};
  lnt_token token;
  lnt_failure failure;
  lnt_status status = read_token(L, 2, &token, &err);
  lua_settop(L, 4);
  lnt__binding_done *done = lnt__binding_keep_done(L, self, 4);
  read_failure(L, self, 3, &failure);
  if (!status && !failure.details.size)
    status = lnt__binding_read_value(L, self, lua_gettop(L) + 1, 4, "details_json", &failure.details, &err);
  if (!status) status = lnt_fail(self->rt, token, &failure, done ? lnt__binding_on_done : NULL, done, &err);
  lnt_value_free(&failure.details);
  if (status) lnt__binding_drop_done(L, done);
  return lnt__binding_answer(L, status, &err);
}

/* rt:heartbeat(token, details, {details_json =}) -> canceled */
static int runtime_heartbeat(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_error err = {LNT_OK, ""};
  lnt_token token;
  lnt_value details = LNT_VALUE_NIL;
  int canceled = 0;
  lnt_status status = read_token(L, 2, &token, &err);
  lua_settop(L, 4);
  if (!status) status = lnt__binding_read_value(L, self, 3, 4, "details_json", &details, &err);
  if (!status) status = lnt_heartbeat(self->rt, token, details, &canceled, &err);
  lnt_value_free(&details);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushboolean(L, canceled);
  return 1;
}

const luaL_Reg lnt__binding_activities[] = {{"activity", runtime_activity},
                                            {"complete", runtime_complete},
                                            {"fail", runtime_fail},
                                            {"heartbeat", runtime_heartbeat},
                                            {NULL, NULL}};
