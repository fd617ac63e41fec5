/* workflow_ctx.c - the functions of ctx: the commands of a workflow and what it may ask. Called by author code through workflow.lua; owner
 * thread. One ctx serves all instances: it stands for the one that runs. */
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "lua_embed.h"
#include "vm/sandbox_lib.h"
#include "vm/workflow.h"

#define UNITS_PER_BYTE 16 /* bytes encoded or decoded for one unit of the budget */

lnt__body *lnt__ctx_reader(lua_State *L, const char *verb) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  const void *self = lua_touserdata(L, 1);
  wvm->verb = verb;
  if (!self || (self != wvm->ctx && self != wvm->async)) lnt__mistake(L, "call it with a colon: ctx:%s(...)", verb);
  if (!wvm->body || (!wvm->branch && !wvm->apart)) lnt__mistake(L, "%s: ctx is for a running workflow", verb);
  wvm->calling = L;
  return wvm->body;
}

lnt__body *lnt__ctx_body(lua_State *L, const char *verb) {
  lnt__body *body = lnt__ctx_reader(L, verb);
  lnt__refuse_apart(L, verb);
  return body;
}

/* ---- Commands ---- */

static int answered(lua_State *L, lnt__wvm *wvm, const lnt__request *r, const lnt__delivery *answer) {
  lnt__guard_refill(&wvm->guard);
  lnt__guard_charge(L, answer->value.size / UNITS_PER_BYTE);
  return lnt__push_delivery(L, (int)r->kind, answer);
}

int lnt__issue(lua_State *L, lnt__body *body, lnt__request *r) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__task *task = NULL;
  lnt__delivery answer = {0};
  uint32_t seq = 0;
  if (!r->async && !lua_isyieldable(L))
    lnt__mistake(L, "%s cannot wait here: a wait cannot cross a callback of C or the top level of a module; call it from the "
                 "workflow's function",
                 r->verb);
  int canceled = r->async ? 0 : lnt__cancel_due(L, wvm->branch);
  if (canceled) return canceled;
  lnt__guard_charge(L, r->command.input.size / UNITS_PER_BYTE);
  if (r->async) task = lnt__task_create(L, body, r->kind, r->command.name.data, r->command.name.size);
  if (!lnt__wait_reserve(body)) lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
  r->command.alone = !r->async && !body->ready_head;
  switch (lnt__turn_command(body->turn, &r->command, &seq, &answer)) {
    case LNT__COMMAND_ANSWERED: /* of tasks: a wait for an event that came before it */
      if (!task) return answered(L, wvm, r, &answer);
      lnt__guard_charge(L, answer.value.size / UNITS_PER_BYTE);
      lnt__task_answer(L, body, task, &answer);
      return 1;
    case LNT__COMMAND_REFUSED: body->refused = true; lnt__guard_kill(L, LNT__KILL_HOST, "%s was refused", r->verb);
    case LNT__COMMAND_WAITING: break;
  }
  if (task) task->seq = seq;
  else wvm->branch->seq = seq;
  lnt__wait_add(body, seq, (int)r->kind, task ? NULL : wvm->branch, task);
  if (task) return 1;
  lua_pushlightuserdata(L, LNT__SANDBOX_YIELD);
  return lua_yield(L, 1);
}

int lnt__instant(lua_State *L, lnt__body *body, const char *verb, const lnt__command *command) {
  lnt__delivery answer = {0};
  uint32_t seq;
  lnt__guard_charge(L, command->input.size / UNITS_PER_BYTE);
  if (lnt__turn_command(body->turn, command, &seq, &answer) == LNT__COMMAND_REFUSED) {
    body->refused = true;
    lnt__guard_kill(L, LNT__KILL_HOST, "%s was refused", verb);
  }
  lnt__guard_charge(L, answer.value.size / UNITS_PER_BYTE);
  return lnt__push_delivery(L, LNT__TASK_ACTIVITY, &answer);
}

lnt_value lnt__name_argument(lua_State *L, int index, const char *verb, const char *field, const char *what) {
  lnt_error err;
  size_t size;
  if (lua_type(L, index) != LUA_TSTRING)
    lnt__invalid(L, field, "%s: the name of %s must be a string, got %s", verb, what, luaL_typename(L, index));
  const char *name = lua_tolstring(L, index, &size);
  if (strlen(name) != size) lnt__invalid(L, field, "%s: the name of %s holds a zero byte", verb, what);
  if (lnt__check_name("the name", name, LNT_NAME_BYTES_MAX, true, &err)) lnt__invalid(L, field, "%s: %s", verb, err.message);
  return (lnt_value){name, size};
}

lnt_value lnt__id_argument(lua_State *L, int index, const char *verb, const char *what) {
  lnt_error err;
  size_t size;
  if (lua_type(L, index) != LUA_TSTRING) lnt__invalid(L, "id", "%s: %s must be a string, got %s", verb, what, luaL_typename(L, index));
  const char *id = lua_tolstring(L, index, &size);
  if (strlen(id) != size) lnt__invalid(L, "id", "%s: %s holds a zero byte", verb, what);
  if (lnt__check_name(what, id, LNT_ID_BYTES_MAX, false, &err)) lnt__invalid(L, "id", "%s: %s", verb, err.message);
  return (lnt_value){id, size};
}

lnt_value lnt__encode_argument(lua_State *L, int index, const char *verb, const char *what, lnt__buf *out) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt_error err;
  lnt__buf_clear(out);
  if (lua_isnoneornil(L, index)) return LNT_VALUE_NIL;
  lnt_status status = lnt__value_encode(L, index, what, (size_t)wvm->limits.payload_bytes_max, out, &err);
  if (status == LNT_ENOMEM) lnt__guard_kill(L, LNT__KILL_MEMORY, "%s: %s", verb, err.message); /* not for a pcall to see */
  if (status) lnt__invalid_value(L, verb, what, &err);
  return (lnt_value){out->data, out->size};
}

static int call_activity_with(lua_State *L, bool async) {
  lnt__body *body = lnt__ctx_body(L, "call_activity");
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__request r = {.verb = "call_activity", .kind = LNT__TASK_ACTIVITY, .async = async};
  r.command.kind = LNT_EVENT_ACTIVITY_SCHEDULED;
  r.command.name = lnt__name_argument(L, 2, r.verb, "name", "the activity");
  r.command.input = lnt__encode_argument(L, 3, r.verb, "input", &wvm->input);
  lnt__buf_clear(&wvm->extra);
  lnt__activity_options(L, 4, &wvm->extra);
  if (wvm->extra.failed) lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
  if (wvm->extra.size) r.command.options = (lnt_value){wvm->extra.data, wvm->extra.size};
  return lnt__issue(L, body, &r);
}

static int64_t timer_due(lua_State *L, lnt__body *body, const char *verb) {
  static const char *const known[] = {"at", NULL};
  int64_t now_us = lnt__turn_now_us(body->turn);
  if (!lua_istable(L, 2)) return now_us + lnt__duration_us(L, 2, verb, NULL);
  lnt__check_keys(L, 2, verb, "", known);
  lua_pushliteral(L, "at");
  lua_rawget(L, 2);
  if (lua_type(L, -1) != LUA_TNUMBER)
    lnt__invalid(L, "at", "%s: {at = seconds since 1970} expected, such as {at = ctx:now() + 60}; 'at' is a %s", verb,
                 luaL_typename(L, -1));
  double at = lua_tonumber(L, -1);
  if (!(at >= 0 && at <= 1e11)) lnt__invalid(L, "at", "%s: 'at' is not a time in seconds since 1970", verb);
  return (int64_t)floor(at * 1e6 + 0.5);
}

static int create_timer_with(lua_State *L, const char *verb, bool async) {
  lnt__body *body = lnt__ctx_body(L, verb);
  lnt__request r = {.verb = verb, .kind = LNT__TASK_TIMER, .async = async};
  r.command.kind = LNT_EVENT_TIMER_CREATED;
  r.command.due_us = timer_due(L, body, verb);
  return lnt__issue(L, body, &r);
}

static int wait_event_with(lua_State *L, bool async) {
  lnt__body *body = lnt__ctx_body(L, "wait_for_external_event");
  lnt__request r = {.verb = "wait_for_external_event", .kind = LNT__TASK_EVENT, .async = async};
  int64_t timeout_us;
  r.command.kind = LNT_EVENT_EVENT_AWAITED;
  r.command.name = lnt__name_argument(L, 2, r.verb, "name", "the event");
  if (lnt__timeout_option(L, 3, r.verb, "timeout = \"24h\"", &timeout_us)) r.command.due_us = lnt__turn_now_us(body->turn) + timeout_us;
  return lnt__issue(L, body, &r);
}

static int call_activity(lua_State *L) { return call_activity_with(L, false); }
static int call_activity_async(lua_State *L) { return call_activity_with(L, true); }
static int create_timer(lua_State *L) { return create_timer_with(L, "create_timer", false); }
static int create_timer_async(lua_State *L) { return create_timer_with(L, "create_timer", true); }
static int sleep_for(lua_State *L) { return create_timer_with(L, "sleep", false); }
static int sleep_async(lua_State *L) { return create_timer_with(L, "sleep", true); }
static int wait_event(lua_State *L) { return wait_event_with(L, false); }
static int wait_event_async(lua_State *L) { return wait_event_with(L, true); }

static int spawn(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "spawn");
  int arguments = lua_gettop(L) - 2;
  lnt__check_function(L, 2, "spawn", "fn");
  if (arguments > LNT__SPAWN_ARGUMENTS_MAX)
    lnt__invalid(L, "...", "spawn: more than %d arguments for the function; put them in a table", LNT__SPAWN_ARGUMENTS_MAX);
  if (body->branch_count >= LNT__BRANCHES_MAX) lnt__exceeded(L, NULL, "spawn: more than %d branches run at once", LNT__BRANCHES_MAX);
  if (++body->spawned > LNT__SPAWNS_MAX)
    lnt__guard_kill(L, LNT__KILL_INSTRUCTIONS, "%d branches were spawned between two waits; does a branch spawn itself for ever?",
                    LNT__SPAWNS_MAX);
  lnt__task *task = lnt__task_create(L, body, LNT__TASK_BRANCH, NULL, 0);
  lua_insert(L, 2);
  lnt__branch *branch = lnt__branch_create(L, body);
  branch->task = task;
  task->branch = branch;
  lua_xmove(L, branch->thread.co, arguments + 1);
  lnt__ready(body, branch, arguments);
  return 1;
}

/* ---- What a workflow may ask and tell ---- */

static int set_custom_status(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "set_custom_status");
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt_value status = lnt__encode_argument(L, 2, "set_custom_status", "status", &wvm->input);
  lnt__guard_charge(L, status.size / UNITS_PER_BYTE);
  lnt__turn_custom_status(body->turn, status);
  return 0;
}

static int now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)lnt__turn_now_us(lnt__ctx_reader(L, "now")->turn) / 1e6);
  return 1;
}

/* "2026-11-23T11:14:51.250000Z" */
static int current_utc_datetime(lua_State *L) {
  int64_t now_us = lnt__turn_now_us(lnt__ctx_reader(L, "current_utc_datetime")->turn);
  int64_t micros = (now_us % 1000000 + 1000000) % 1000000;
  time_t seconds = (time_t)((now_us - micros) / 1000000);
  struct tm tm;
  char text[80];
  memset(&tm, 0, sizeof tm);
  gmtime_r(&seconds, &tm);
  snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
           tm.tm_sec, (int)micros);
  lua_pushstring(L, text);
  return 1;
}

static lnt__rng *ctx_rng(lua_State *L, const char *verb) {
  lnt__rng *rng = lnt__body_rng(lnt__ctx_reader(L, verb), 1);
  lnt__check_draw(L, verb);
  if (!rng) lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
  return rng;
}

static int uuid(lua_State *L) {
  char text[37];
  lnt__rng_uuid(ctx_rng(L, "uuid"), text);
  lua_pushstring(L, text);
  return 1;
}

static double bound_argument(lua_State *L, int index) {
  const char *field = index == 2 ? "m" : "n";
  if (lua_type(L, index) != LUA_TNUMBER) lnt__invalid(L, field, "random: a number expected, got %s", luaL_typename(L, index));
  double value = floor(lua_tonumber(L, index));
  if (!(value >= -0x1p53 && value <= 0x1p53)) lnt__invalid(L, field, "random: a bound is not an integer within +-2^53");
  return value;
}

/* random(): [0, 1); random(n): 1..n; random(m, n): m..n */
static int random_number(lua_State *L) {
  lnt__rng *rng = ctx_rng(L, "random");
  if (lua_isnoneornil(L, 2)) {
    lua_pushnumber(L, lnt__rng_unit(rng));
    return 1;
  }
  double low = lua_isnoneornil(L, 3) ? 1 : bound_argument(L, 2), high = bound_argument(L, lua_isnoneornil(L, 3) ? 2 : 3);
  if (high < low) lnt__invalid(L, lua_isnoneornil(L, 3) ? "m" : "n", "random: the interval is empty");
  lua_pushnumber(L, low + (double)lnt__rng_below(rng, (uint64_t)(high - low) + 1));
  return 1;
}

static int is_replaying(lua_State *L) {
  lua_pushboolean(L, lnt__turn_replaying(lnt__ctx_reader(L, "is_replaying")->turn));
  return 1;
}

static int is_patched(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "is_patched");
  lua_pushboolean(L, lnt__turn_patched(body->turn, lnt__name_argument(L, 2, "is_patched", "name", "the patch")));
  return 1;
}

static int history_length(lua_State *L) {
  lua_pushnumber(L, (lua_Number)lnt__turn_history_events(lnt__ctx_reader(L, "history_length")->turn));
  return 1;
}

static int log_text(lua_State *L) {
  static const struct { const char *name; lnt_log_level level; } levels[] = {
      {"debug", LNT_LOG_DEBUG}, {"info", LNT_LOG_INFO}, {"warn", LNT_LOG_WARN}, {"warning", LNT_LOG_WARN}, {"error", LNT_LOG_ERROR}};
  lnt__body *body = lnt__ctx_reader(L, "log");
  lnt_log_level level = LNT_LOG_INFO;
  bool has_level = !lua_isnoneornil(L, 3), known = !has_level;
  for (size_t i = 0; has_level && i < LNT__COUNT(levels) && !known; i++) {
    known = lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), levels[i].name) == 0;
    if (known) level = levels[i].level;
  }
  if (!known) lnt__invalid(L, "level", "log: the level must be \"debug\", \"info\", \"warn\" or \"error\"; the text comes after it");
  int index = has_level ? 3 : 2;
  lnt__guard_charge(L, lua_objlen(L, index) / UNITS_PER_BYTE);
  if (!lua_isstring(L, index)) lnt__invalid(L, "text", "log: the text must be a string, got %s; use tostring()", luaL_typename(L, index));
  lnt__turn_log(body->turn, level, lua_tostring(L, index), lnt__wvm_of(L)->apart == LNT__APART_SIDE_EFFECT);
  return 0;
}

/* ---- The objects ---- */

/* The word of the list "a, b, c" that was probably meant, in `out`; else "". */
static const char *nearest_word(const char *key, const char *list, char *out, size_t size) {
  size_t best = SIZE_MAX;
  for (out[0] = 0; *list; list += strspn(list, ", ")) {
    char word[64];
    const char *const words[] = {word, NULL};
    size_t length = strcspn(list, ",");
    snprintf(word, sizeof word, "%.*s", (int)length, list);
    list += length;
    if (!lnt__nearest(key, words) || lnt__edits(key, word) >= best) continue;
    best = lnt__edits(key, word);
    snprintf(out, size, "%s", word);
  }
  return out;
}

/* Upvalue 1 lists what there is. */
_Noreturn static void refuse_field(lua_State *L, const char *what, const char *key, const char *more) {
  const char *list = lua_tostring(L, lua_upvalueindex(1));
  char nearest[64];
  bool found = nearest_word(key, list, nearest, sizeof nearest)[0] != 0;
  lnt__mistake(L, "%s has no '%s'; %s%s%sit has %s%s", what, key, found ? "did you mean '" : "", nearest, found ? "'? " : "", list, more);
}

/* A field that is not among the functions: a fact about the instance, or a mistake. */
static int ctx_field(lua_State *L) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  if (wvm->body && strcmp(key, "instance_id") == 0) lua_pushstring(L, lnt__turn_id(wvm->body->turn));
  else if (wvm->body && strcmp(key, "workflow_name") == 0) lua_pushstring(L, lnt__turn_workflow(wvm->body->turn));
  else
    refuse_field(L, "ctx", key, ", instance_id, workflow_name");
  return 1;
}

static int async_field(lua_State *L) {
  refuse_field(L, "ctx.async", lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?",
               "; anything else is a task in a branch: ctx:spawn(function() ... end)");
}

static int task_field(lua_State *L) {
  lnt__mistake(L, "a task has no '%s'; it has await(), cancel(), done() and state()",
               lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static int scope_field(lua_State *L) {
  lnt__mistake(L, "a scope has no '%s'; it has cancel() and canceled(); what is started in it is started with ctx",
               lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static int refuse_change(lua_State *L) {
  lnt__mistake(L, "ctx, tasks and scopes cannot be changed; keep it in a local variable");
}

static int ctx_text(lua_State *L) {
  lua_pushstring(L, lua_tostring(L, lua_upvalueindex(1)));
  return 1;
}

static int task_text(lua_State *L) {
  static const char *const kinds[] = {"an activity", "a timer", "an event", "a child", "a branch", "when_all", "when_any"};
  static const char *const states[] = {"pending", "done", "failed", "canceled"};
  const lnt__task *task = lnt__task_check(L, 1);
  if (!task) lua_pushliteral(L, "task");
  else if (task->name[0]) lua_pushfstring(L, "task (%s \"%s\", %s)", kinds[task->kind], task->name, states[task->state]);
  else lua_pushfstring(L, "task (%s, %s)", kinds[task->kind], states[task->state]);
  return 1;
}

#define NAMES_MAX 64

/* Push the names in the table at the top as text, in the order of the alphabet. */
static void push_names(lua_State *L) {
  const char *names[NAMES_MAX];
  size_t count = 0;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    size_t at = count++;
    LNT__ASSERT(count <= NAMES_MAX);
    for (; at > 0 && strcmp(names[at - 1], lua_tostring(L, -2)) > 0; at--) names[at] = names[at - 1];
    names[at] = lua_tostring(L, -2); /* the table holds it */
    lua_pop(L, 1);
  }
  lua_pushliteral(L, "");
  for (size_t i = 0; i < count; i++) {
    lua_pushfstring(L, "%s%s%s", lua_tostring(L, -1), i ? ", " : "", names[i]);
    lua_remove(L, -2);
  }
}

/* Pop the table of functions at the top; push a metatable over it. `field` is told the names in it. */
static void push_meta(lua_State *L, lua_CFunction field, lua_CFunction text, const char *name) {
  push_names(L);
  lua_pushcclosure(L, field, 1);
  lua_newtable(L);
  lua_insert(L, -2);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_newtable(L);
  lua_insert(L, -2);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, refuse_change);
  lua_setfield(L, -2, "__newindex");
  lua_pushstring(L, name);
  lua_pushcclosure(L, text, 1);
  lua_setfield(L, -2, "__tostring");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
}

static int raise(lua_State *L) {
  lua_settop(L, 1);
  return lua_error(L);
}

static const luaL_Reg waiting[] = {
    {"raise", raise}, {"call_activity", call_activity}, {"call_activity_async", call_activity_async}, {"create_timer", create_timer},
    {"create_timer_async", create_timer_async}, {"sleep", sleep_for}, {"sleep_async", sleep_async}, {"wait_for_external_event", wait_event},
    {"wait_for_external_event_async", wait_event_async}, {"spawn", spawn}};

static const luaL_Reg plain[] = {
    {"set_custom_status", set_custom_status}, {"now", now}, {"current_utc_datetime", current_utc_datetime}, {"uuid", uuid},
    {"random", random_number}, {"is_replaying", is_replaying}, {"is_patched", is_patched},
    {"history_length", history_length}, {"log", log_text}};

static void add_functions(lua_State *L, const luaL_Reg *functions, size_t count) {
  for (size_t i = 0; i < count; i++) {
    lua_pushcfunction(L, functions[i].func);
    lua_setfield(L, -2, functions[i].name);
  }
}

static void push_native(lua_State *L) {
  lua_newtable(L);
  add_functions(L, waiting, LNT__COUNT(waiting));
  add_functions(L, plain, LNT__COUNT(plain));
  lnt__task_functions(L);
  lnt__scope_functions(L);
  lnt__sandbox_catching(L);
  lnt__tell_functions(L);
  lnt__ask_functions(L);
  lnt__child_functions(L);
  lua_createtable(L, LNT__COUNT(plain), 0);
  for (size_t i = 0; i < LNT__COUNT(plain); i++) {
    lua_pushstring(L, plain[i].name);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "plain");
}

void lnt__ctx_open(lua_State *L, lnt__wvm *wvm) {
  if (luaL_loadbuffer(L, lnt__lua_workflow, lnt__lua_workflow_size, LNT__SANDBOX_CHUNK)) lua_error(L);
  push_native(L);
  lua_call(L, 1, 5); /* ctx, async, task, scope: tables of functions; and the function that runs an update */
  wvm->run_update_slot = lnt__anchor(L);
  push_meta(L, scope_field, ctx_text, "scope");
  wvm->scope_meta = lua_topointer(L, -1);
  wvm->scope_meta_slot = lnt__anchor(L);
  push_meta(L, task_field, task_text, "task");
  wvm->task_meta = lua_topointer(L, -1);
  wvm->task_meta_slot = lnt__anchor(L);
  wvm->async = lua_newuserdata(L, 1);
  lua_insert(L, -2);
  push_meta(L, async_field, ctx_text, "ctx.async");
  lua_setmetatable(L, -2);
  lua_setfield(L, -2, "async");
  wvm->ctx = lua_newuserdata(L, 1);
  lua_insert(L, -2);
  push_meta(L, ctx_field, ctx_text, "ctx");
  lua_setmetatable(L, -2);
  wvm->ctx_slot = lnt__anchor(L);
}
