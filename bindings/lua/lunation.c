/* lunation.c - the Lua module: `local lunation = require "lunation"`. Opening and closing a runtime, its options, and JSON.
 *
 * stdlib/meta/lunation.lua documents every function for people and for editors. The state must be LuaJIT's; owner thread only. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "binding.h"

#define HOSTS_KEY "lunation.hosts" /* registry: {[address of a binding] = its environment}, weak values */

/* ---- What the other files use ---- */

lnt__binding *lnt__binding_check(lua_State *L, int index) {
  lnt__binding *self = luaL_checkudata(L, index, LNT__BINDING_TYPE);
  if (!self->rt) luaL_error(L, "the runtime is closed");
  return self;
}

lua_State *lnt__binding_enter(lnt__binding *self, lua_State *L) {
  lua_State *outer = self->L;
  self->L = L;
  return outer;
}

void lnt__binding_leave(lnt__binding *self, lua_State *outer) { self->L = outer; }

int lnt__binding_failed(lua_State *L, lnt_status status, const lnt_error *err) {
  lua_pushnil(L);
  lua_pushstring(L, err && err->message[0] ? err->message : lnt_status_text(status));
  lua_pushstring(L, lnt_status_name(status));
  return 3;
}

int lnt__binding_answer(lua_State *L, lnt_status status, const lnt_error *err) {
  if (status) return lnt__binding_failed(L, status, err);
  lua_pushboolean(L, 1);
  return 1;
}

bool lnt__binding_push_env(lua_State *L, lnt__binding *self) {
  lua_getfield(L, LUA_REGISTRYINDEX, HOSTS_KEY);
  lua_pushlightuserdata(L, self);
  lua_rawget(L, -2);
  lua_remove(L, -2);
  if (lua_istable(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

void lnt__binding_push_value(lua_State *L, lnt_value value, bool json) {
  lnt_error err = {LNT_OK, ""};
  if (!value.size) {
    lua_pushnil(L);
  } else if (!json) {
    if (lnt_lua_push(L, value, &err)) luaL_error(L, "%s", err.message);
  } else {
    char *text;
    size_t size;
    if (lnt_value_to_json(value, 0, &text, &size, &err)) luaL_error(L, "%s", err.message);
    lua_pushlstring(L, text, size);
    lnt_free(text);
  }
}

/* ---- Callbacks ---- */

typedef struct log_call {
  lnt__binding *self;
  lnt_log_level level;
  const char *id;
  const char *message;
  bool taken;
} log_call;

static const char *const level_names[] = {"debug", "info", "warn", "error", NULL};

static int call_log(lua_State *L) {
  log_call *call = lua_touserdata(L, 1);
  if (!lnt__binding_push_env(L, call->self)) return 0;
  lua_getfield(L, -1, "log");
  if (lua_isnil(L, -1)) return 0;
  lua_pushstring(L, level_names[call->level <= LNT_LOG_ERROR ? call->level : LNT_LOG_ERROR]);
  lua_pushstring(L, call->message);
  lua_pushstring(L, call->id);
  lua_call(L, 3, 0);
  call->taken = true;
  return 0;
}

static void on_log(void *user, lnt_log_level level, const char *id, const char *message) {
  lnt__binding *self = user;
  log_call call = {self, level, id, message, false};
  if (self->L && lua_cpcall(self->L, call_log, &call)) lua_pop(self->L, 1); /* nobody is left to tell */
}

/* An error in a callback has no caller to go to: the log gets it, or stderr where there is no log. */
static void report(lnt__binding *self, const char *what, const char *message) {
  char text[LNT_ERROR_MESSAGE_MAX];
  snprintf(text, sizeof text, "error in %s: %s", what, message ? message : "(an error value that is not text)");
  log_call call = {self, LNT_LOG_ERROR, NULL, text, false};
  if (lua_cpcall(self->L, call_log, &call)) lua_pop(self->L, 1);
  if (!call.taken) fprintf(stderr, "lunation: %s\n", text);
}

bool lnt__binding_callback(lnt__binding *self, lua_CFunction fn, void *arg, const char *what) {
  lua_State *L = self->L;
  if (!L) return false;
  LNT__STACK_BEGIN(L);
  int failed = lua_cpcall(L, fn, arg);
  if (failed) {
    report(self, what, lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  LNT__STACK_END(L, 0);
  return !failed;
}

typedef struct clock_call {
  lnt__binding *self;
  int64_t now_us;
} clock_call;

static int call_clock(lua_State *L) {
  clock_call *call = lua_touserdata(L, 1);
  if (!lnt__binding_push_env(L, call->self)) return 0;
  lua_getfield(L, -1, "clock");
  lua_call(L, 0, 1);
  call->now_us = (int64_t)luaL_checknumber(L, -1);
  return 0;
}

static int64_t on_clock(void *user) {
  lnt__binding *self = user;
  clock_call call = {self, self->last_clock_us};
  lnt__binding_callback(self, call_clock, &call, "the clock function");
  self->last_clock_us = call.now_us;
  return call.now_us;
}

/* ---- Options ---- */

typedef enum option_kind { OPTION_TEXT, OPTION_FLAG, OPTION_NUMBER, OPTION_CHOICE, OPTION_FUNCTION, OPTION_LIMITS } option_kind;

typedef struct option {
  const char *name;
  option_kind kind;
  size_t offset; /* in lnt_options; unused for functions and limits */
  const char *choices[3];
} option;

static const option options_known[] = {
    {"dir", OPTION_TEXT, offsetof(lnt_options, dir), {NULL}},
    {"store", OPTION_CHOICE, offsetof(lnt_options, store), {"lmdb", "memory", NULL}},
    {"durability", OPTION_CHOICE, offsetof(lnt_options, durability), {"sync", "process", NULL}},
    {"read_only", OPTION_FLAG, offsetof(lnt_options, read_only), {NULL}},
    {"committer", OPTION_FLAG, offsetof(lnt_options, committer), {NULL}},
    {"paranoid", OPTION_FLAG, offsetof(lnt_options, paranoid), {NULL}},
    {"workers", OPTION_NUMBER, offsetof(lnt_options, workers), {NULL}},
    {"module_path", OPTION_TEXT, offsetof(lnt_options, module_path), {NULL}},
    {"stdlib_path", OPTION_TEXT, offsetof(lnt_options, stdlib_path), {NULL}},
    {"seed", OPTION_NUMBER, offsetof(lnt_options, seed), {NULL}},
    {"log", OPTION_FUNCTION, 0, {NULL}},
    {"clock", OPTION_FUNCTION, 0, {NULL}},
    {"limits", OPTION_LIMITS, 0, {NULL}},
};

typedef struct limit {
  const char *name;
  size_t offset;
} limit;

static const limit limits_known[] = {
#define LNT__X(field, value, text) {#field, offsetof(lnt_limits, field)},
    LNT_LIMIT_MAP(LNT__X)
#undef LNT__X
};

static const option *find_option(lua_State *L, const char *name) {
  for (size_t i = 0; i < sizeof options_known / sizeof *options_known; i++) {
    if (!strcmp(options_known[i].name, name)) return &options_known[i];
  }
  luaL_error(L, "open: there is no option '%s'", name);
  return NULL;
}

static void read_limit(lua_State *L, const char *name, lnt_limits *limits) {
  for (size_t i = 0; i < sizeof limits_known / sizeof *limits_known; i++) {
    if (strcmp(limits_known[i].name, name)) continue;
    lua_Number value = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(value >= 1 && value <= 9e15)) luaL_error(L, "open: limits.%s must be a number from 1", name);
    *(uint64_t *)(void *)((char *)limits + limits_known[i].offset) = (uint64_t)value;
    return;
  }
  luaL_error(L, "open: there is no limit '%s'", name);
}

static void read_limits(lua_State *L, lnt_limits *limits) {
  if (!lua_istable(L, -1)) luaL_error(L, "open: limits must be a table");
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "open: limits has a key that is not a name");
    read_limit(L, lua_tostring(L, -2), limits);
    lua_pop(L, 1);
  }
}

static void read_number(lua_State *L, const char *name, void *field) {
  lua_Number value = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || !(value >= 0 && value <= 9e15)) luaL_error(L, "open: %s must be a number, 0 or more", name);
  if (!strcmp(name, "seed")) {
    *(uint64_t *)field = (uint64_t)value;
  } else {
    *(int *)field = value > 1024 ? 1024 : (int)value;
  }
}

static void read_choice(lua_State *L, const option *known, void *field) {
  const char *text = lua_tostring(L, -1);
  for (int i = 0; text && known->choices[i]; i++) {
    if (strcmp(text, known->choices[i])) continue;
    *(unsigned *)field = (unsigned)i;
    return;
  }
  luaL_error(L, "open: %s must be \"%s\" or \"%s\"", known->name, known->choices[0], known->choices[1]);
}

/* The option's value is on the top of the stack, the environment table at `env`. */
static void read_option(lua_State *L, const option *known, lnt_options *options, int env) {
  void *field = (char *)options + known->offset;
  switch (known->kind) {
    case OPTION_TEXT:
      if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "open: %s must be a string", known->name);
      *(const char **)field = lua_tostring(L, -1);
      break;
    case OPTION_FLAG: *(int *)field = lua_toboolean(L, -1); break;
    case OPTION_NUMBER: read_number(L, known->name, field); break;
    case OPTION_CHOICE: read_choice(L, known, field); break;
    case OPTION_LIMITS: read_limits(L, &options->limits); break;
    case OPTION_FUNCTION:
      if (!lua_isfunction(L, -1)) luaL_error(L, "open: %s must be a function", known->name);
      lua_pushvalue(L, -1);
      lua_setfield(L, env, known->name);
      break;
  }
}

static void read_options(lua_State *L, int index, lnt_options *options, int env) {
  lnt_options_init(options);
  if (lua_isnoneornil(L, index)) return;
  luaL_checktype(L, index, LUA_TTABLE);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_type(L, -2) != LUA_TSTRING) luaL_error(L, "open: the options have a key that is not a name");
    read_option(L, find_option(L, lua_tostring(L, -2)), options, env);
    lua_pop(L, 1);
  }
}

/* ---- Open and close ---- */

static void push_environment(lua_State *L, lnt__binding *self) {
  lua_newtable(L);
  lua_newtable(L);
  lua_setfield(L, -2, "activities");
  lua_newtable(L);
  lua_setfield(L, -2, "cancels");
  lua_newtable(L);
  lua_setfield(L, -2, "done");
  lua_getfield(L, LUA_REGISTRYINDEX, HOSTS_KEY);
  lua_pushlightuserdata(L, self);
  lua_pushvalue(L, -3);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

static void add_hooks(lua_State *L, lnt__binding *self, lnt_options *options, int env) {
  lua_getfield(L, env, "log");
  lua_getfield(L, env, "clock");
  if (!lua_isnil(L, -2)) options->log = on_log;
  if (!lua_isnil(L, -1)) options->clock = on_clock;
  options->log_user = options->clock_user = self;
  lua_pop(L, 2);
}

static int module_open(lua_State *L) {
  lua_settop(L, 1);
  lnt__binding *self = lua_newuserdata(L, sizeof *self); /* 2 */
  memset(self, 0, sizeof *self);
  luaL_getmetatable(L, LNT__BINDING_TYPE);
  lua_setmetatable(L, 2);
  push_environment(L, self); /* 3 */
  lua_pushvalue(L, 3);
  lua_setfenv(L, 2);
  lnt_options options;
  read_options(L, 1, &options, 3);
  add_hooks(L, self, &options, 3);
  self->payload_bytes_max = options.limits.payload_bytes_max ? (size_t)options.limits.payload_bytes_max : (size_t)2 << 20;
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_open(&options, &self->rt, &err);
  lnt__binding_leave(self, outer);
  if (status) {
    self->rt = NULL;
    return lnt__binding_failed(L, status, &err);
  }
  lua_settop(L, 2);
  return 1;
}

static lnt_status close_runtime(lua_State *L, lnt__binding *self) {
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_close(self->rt);
  lnt__binding_leave(self, outer);
  if (status != LNT_EMISUSE && status != LNT_ETHREAD) self->rt = NULL;
  return status;
}

static int runtime_close(lua_State *L) {
  lnt__binding *self = luaL_checkudata(L, 1, LNT__BINDING_TYPE);
  return lnt__binding_answer(L, self->rt ? close_runtime(L, self) : LNT_OK, NULL);
}

static int runtime_gc(lua_State *L) {
  lnt__binding *self = luaL_checkudata(L, 1, LNT__BINDING_TYPE);
  if (self->rt) close_runtime(L, self);
  return 0;
}

static int runtime_tostring(lua_State *L) {
  lnt__binding *self = luaL_checkudata(L, 1, LNT__BINDING_TYPE);
  lua_pushfstring(L, "lunation.runtime (%s)", self->rt ? "open" : "closed");
  return 1;
}

/* ---- JSON ---- */

static int module_json_encode(lua_State *L) {
  luaL_checkany(L, 1);
  int indent = (int)luaL_optinteger(L, 2, 0);
  lnt_error err = {LNT_OK, ""};
  lnt_value value;
  lnt_status status = lnt_lua_encode(L, 1, "value", INT_MAX, &value, &err);
  if (status) return lnt__binding_failed(L, status, &err);
  char *text = NULL;
  size_t size = 0;
  status = lnt_value_to_json(value, indent, &text, &size, &err);
  lnt_value_free(&value);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushlstring(L, text, size);
  lnt_free(text);
  return 1;
}

static int push_decoded(lua_State *L) {
  lnt__binding_push_value(L, *(lnt_value *)lua_touserdata(L, 1), false);
  return 1;
}

static int module_json_decode(lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_pushcfunction(L, push_decoded);
  lnt_error err = {LNT_OK, ""};
  lnt_value value;
  lnt_status status = lnt_value_from_json(text, size, &value, &err);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_pushlightuserdata(L, &value);
  int failed = lua_pcall(L, 1, 1, 0);
  lnt_value_free(&value);
  return failed ? lua_error(L) : 1;
}

static int module_array(lua_State *L) {
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lnt_lua_push_array_mark(L);
  lua_setmetatable(L, 1);
  return 1;
}

/* ---- The module ---- */

static const luaL_Reg module_functions[] = {
    {"open", module_open},   {"json_encode", module_json_encode}, {"json_decode", module_json_decode},
    {"array", module_array}, {"replay", lnt__binding_replay},    {NULL, NULL},
};

static const luaL_Reg lifecycle[] = {
    {"close", runtime_close}, {"__gc", runtime_gc}, {"__tostring", runtime_tostring}, {NULL, NULL}};

static void make_metatable(lua_State *L) {
  luaL_newmetatable(L, LNT__BINDING_TYPE);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  luaL_register(L, NULL, lifecycle);
  luaL_register(L, NULL, lnt__binding_calls);
  luaL_register(L, NULL, lnt__binding_managing);
  luaL_register(L, NULL, lnt__binding_asking);
  luaL_register(L, NULL, lnt__binding_records);
  luaL_register(L, NULL, lnt__binding_activities);
  luaL_register(L, NULL, lnt__binding_driving);
  luaL_register(L, NULL, lnt__binding_reloading);
  luaL_register(L, NULL, lnt__binding_portable);
  lua_pop(L, 1);
}

static void make_hosts(lua_State *L) {
  lua_newtable(L);
  lua_newtable(L);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_setfield(L, LUA_REGISTRYINDEX, HOSTS_KEY);
}

int luaopen_lunation(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, HOSTS_KEY);
  bool first = lua_isnil(L, -1);
  lua_pop(L, 1);
  if (first) {
    make_hosts(L);
    make_metatable(L);
  }
  lua_newtable(L);
  luaL_register(L, NULL, module_functions);
  lua_pushstring(L, lnt_version());
  lua_setfield(L, -2, "version");
  return 1;
}
