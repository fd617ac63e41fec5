/* driving.c - loading code and making the runtime move: load_file, load_string, tick, run, stop, wait, drain, flush, evict_all, snapshot.
 * Timeouts are seconds. */
#include <string.h>

#include "binding.h"

/* nil: no limit. */
static int64_t timeout_us(lua_State *L, int index) {
  if (lua_isnoneornil(L, index)) return -1;
  lua_Number seconds = luaL_checknumber(L, index);
  if (!(seconds >= 0)) luaL_error(L, "a timeout must be 0 seconds or more");
  return seconds < 9e12 ? (int64_t)(seconds * 1e6) : -1;
}

/* rt:load_file(path) -> true */
static int runtime_load_file(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *path = luaL_checkstring(L, 2);
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_load_file(self->rt, path, &err);
  lnt__binding_leave(self, outer);
  return lnt__binding_answer(L, status, &err);
}

/* rt:load_string(name, source) -> true */
static int runtime_load_string(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *name = luaL_checkstring(L, 2);
  size_t size;
  const char *source = luaL_checklstring(L, 3, &size);
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_load_string(self->rt, name, source, size, &err);
  lnt__binding_leave(self, outer);
  return lnt__binding_answer(L, status, &err);
}

static void push_tick(lua_State *L, const lnt_tick_result *r) {
  lua_createtable(L, 0, 7);
  const struct {
    const char *name;
    uint32_t number;
  } counts[] = {{"turns", r->turns}, {"commits", r->commits}, {"ready", r->ready}, {"running", r->running}};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    lua_pushnumber(L, counts[i].number);
    lua_setfield(L, -2, counts[i].name);
  }
  lua_pushboolean(L, r->in_commit);
  lua_setfield(L, -2, "in_commit");
  lua_pushboolean(L, r->full);
  lua_setfield(L, -2, "full");
  if (r->next_due_us == INT64_MAX) return;
  lua_pushnumber(L, (lua_Number)r->next_due_us);
  lua_setfield(L, -2, "next_due_us");
}

/* rt:tick(budget_ns) -> {turns =, commits =, ready =, running =, in_commit =, full =, next_due_us =} */
static int runtime_tick(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lua_Number budget_ns = luaL_optnumber(L, 2, 0);
  if (!(budget_ns >= 0 && budget_ns < 9e15)) return luaL_error(L, "a budget must be 0 nanoseconds or more");
  lnt_error err = {LNT_OK, ""};
  lnt_tick_result result;
  memset(&result, 0, sizeof result);
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_tick(self->rt, (uint64_t)budget_ns, &result, &err);
  lnt__binding_leave(self, outer);
  if (status) return lnt__binding_failed(L, status, &err);
  push_tick(L, &result);
  return 1;
}

/* rt:run() -> true, after rt:stop() */
static int runtime_run(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_run(self->rt, &err);
  lnt__binding_leave(self, outer);
  return lnt__binding_answer(L, status, &err);
}

/* rt:stop() */
static int runtime_stop(lua_State *L) {
  lnt_stop(lnt__binding_check(L, 1)->rt);
  return 0;
}

static int wait_and_get(lua_State *L, lnt_status (*wait)(lnt_runtime *, const char *, int64_t, lnt_error *)) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *id = luaL_checkstring(L, 2);
  int64_t limit_us = timeout_us(L, 3);
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = wait(self->rt, id, limit_us, &err);
  lnt__binding_leave(self, outer);
  if (status) return lnt__binding_failed(L, status, &err);
  lua_getfield(L, 1, "get");
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_call(L, 2, 3);
  return 3;
}

/* rt:wait(id, timeout) -> instance */
static int runtime_wait(lua_State *L) { return wait_and_get(L, lnt_wait); }

/* rt:wait_start(id, timeout) -> instance */
static int runtime_wait_start(lua_State *L) { return wait_and_get(L, lnt_wait_start); }

/* rt:drain(timeout) -> true */
static int runtime_drain(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  int64_t limit_us = timeout_us(L, 2);
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_drain(self->rt, limit_us, &err);
  lnt__binding_leave(self, outer);
  return lnt__binding_answer(L, status, &err);
}

/* rt:flush() -> true */
static int runtime_flush(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_flush(self->rt, &err);
  lnt__binding_leave(self, outer);
  return lnt__binding_answer(L, status, &err);
}

/* rt:evict_all() -> true */
static int runtime_evict_all(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_evict_all(self->rt);
  lnt__binding_leave(self, outer);
  return lnt__binding_answer(L, status, NULL);
}

/* rt:snapshot(path) -> true */
static int runtime_snapshot(lua_State *L) {
  lnt__binding *self = lnt__binding_check(L, 1);
  const char *path = luaL_checkstring(L, 2);
  lnt_error err = {LNT_OK, ""};
  lua_State *outer = lnt__binding_enter(self, L);
  lnt_status status = lnt_snapshot(self->rt, path, &err);
  lnt__binding_leave(self, outer);
  return lnt__binding_answer(L, status, &err);
}

const luaL_Reg lnt__binding_driving[] = {
    {"load_file", runtime_load_file},   {"load_string", runtime_load_string}, {"tick", runtime_tick},         {"run", runtime_run},
    {"stop", runtime_stop},             {"wait", runtime_wait},               {"drain", runtime_drain},       {"flush", runtime_flush},
    {"wait_start", runtime_wait_start}, {"evict_all", runtime_evict_all},     {"snapshot", runtime_snapshot}, {NULL, NULL},
};
