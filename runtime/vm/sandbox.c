/* sandbox.c - builds the sandbox in a fresh state, and hands out environments. Called by the workflow VM; owner thread of the state. */
#include "vm/sandbox.h"

#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>

#include "lua_embed.h"
#include "vm/sandbox_lib.h"

const char lnt__sandbox_yield_key = 0;

/* Places in the registry. */
static const char base_key, environment_key, freeze_key, xpcall_key;

static void registry_push(lua_State *L, const char *key) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)key);
  lua_rawget(L, LUA_REGISTRYINDEX);
}

/* Pops the value at the top. */
static void registry_set(lua_State *L, const char *key) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)key);
  lua_insert(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
}

/* ---- Functions that sandbox.lua needs of us ---- */

static int print(lua_State *L) {
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  const lnt__sandbox_host *host = lnt__guard_of(L)->host;
  lnt__guard_charge(L, size / 16);
  if (host && host->log) host->log(host->user, LNT_LOG_INFO, text, size);
  return 0;
}

static int charge(lua_State *L) {
  lnt__guard_charge(L, (uint64_t)lua_tonumber(L, 1));
  return 0;
}

static void push_native(lua_State *L) {
  static const luaL_Reg functions[] = {{"print", print}, {"charge", charge}, {"caught", lnt__guard_caught}, {NULL, NULL}};
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  lnt__sandbox_match_functions(L);
  lnt__sandbox_string_functions(L);
  lnt__sandbox_table_functions(L);
  lnt__sandbox_math_functions(L);
  lnt__sandbox_os_functions(L);
  lua_pushlightuserdata(L, LNT__SANDBOX_YIELD);
  lua_setfield(L, -2, "YIELD");
  lua_pushinteger(L, LNT__SANDBOX_COROUTINE_DEPTH_MAX);
  lua_setfield(L, -2, "DEPTH_MAX");
  lua_pushinteger(L, LNT__SANDBOX_RESUME_VALUES_MAX);
  lua_setfield(L, -2, "RESUME_VALUES_MAX");
}

/* ---- Opening ---- */

static void open_libraries(lua_State *L) {
  static const luaL_Reg libraries[] = {
    {"", luaopen_base}, {LUA_TABLIBNAME, luaopen_table}, {LUA_STRLIBNAME, luaopen_string}, {LUA_MATHLIBNAME, luaopen_math},
  };
  for (size_t i = 0; i < LNT__COUNT(libraries); i++) {
    lua_pushcfunction(L, libraries[i].func);
    lua_pushstring(L, libraries[i].name);
    lua_call(L, 1, 0);
  }
}

static void clear_table(lua_State *L, int index) {
  for (lua_pushnil(L); lua_next(L, index < 0 && index > LUA_REGISTRYINDEX ? index - 1 : index); lua_pushnil(L)) {
    lua_pop(L, 1);
    lua_pushnil(L);
    lua_rawset(L, index < 0 && index > LUA_REGISTRYINDEX ? index - 2 : index);
  }
}

/* What the libraries left behind: their globals, and the registry's list of them. */
static void clear_libraries(lua_State *L) {
  static const char *const names[] = {"_LOADED", "_PRELOAD"};
  clear_table(L, LUA_GLOBALSINDEX);
  for (size_t i = 0; i < LNT__COUNT(names); i++) {
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, names[i]);
  }
}

/* Given the address of the status of loading sandbox.lua: raised again it would no longer tell that memory ran out. */
static int build(lua_State *L) {
  int *loaded = (int *)lua_touserdata(L, 1);
  luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  open_libraries(L);
  *loaded = luaL_loadbufferx(L, lnt__lua_sandbox, lnt__lua_sandbox_size, LNT__SANDBOX_CHUNK, "t");
  if (*loaded) lua_error(L);
  push_native(L);
  lua_call(L, 1, 3);
  registry_set(L, &freeze_key);
  registry_set(L, &environment_key);
  registry_set(L, &base_key);
  lua_getglobal(L, "xpcall");
  registry_set(L, &xpcall_key);
  clear_libraries(L);
  return 0;
}

/* The last resort: an error that nothing protected. LuaJIT would exit the host without a word. */
static int panic(lua_State *L) {
  lnt__assert_failed(lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that nothing protected", __FILE__, __LINE__);
}

static void tune_collector(lua_State *L, lnt__guard *guard) {
#ifdef LNT__GC_STRESS
  guard->step_mul = 0; /* whole cycles */
  lua_gc(L, LUA_GCSETPAUSE, 0);
#endif
  lua_gc(L, LUA_GCSETSTEPMUL, guard->step_mul);
}

lnt_status lnt__sandbox_open(lua_State *L, lnt__guard *guard, lnt_error *err) {
  guard->L = L;
  lua_atpanic(L, panic);
  tune_collector(L, guard);
  int loaded = 0, status = lua_cpcall(L, build, &loaded);
  if (status == LUA_ERRMEM || loaded == LUA_ERRMEM) {
    lua_settop(L, 0);
    return lnt__fail(err, LNT_ENOMEM, "the workflow VM does not fit into %llu bytes (workflow_memory_bytes_max)",
                     (unsigned long long)guard->limits.state_bytes_max);
  }
  if (status) {
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "no message";
    lnt_status code = lnt__fail(err, LNT_EINTERNAL, "the sandbox does not build: %s", text);
    lua_pop(L, 1);
    return code;
  }
  return LNT_OK;
}

/* ---- Environments ---- */

void lnt__sandbox_push_env(lua_State *L) {
  luaL_checkstack(L, 4, "environment");
  lua_createtable(L, 0, 1);
  registry_push(L, &environment_key);
  lua_setmetatable(L, -2);
  lua_pushliteral(L, "_G");
  lua_pushvalue(L, -2);
  lua_rawset(L, -3);
}

void lnt__sandbox_catching(lua_State *L) {
  luaL_checkstack(L, 4, "catching");
  registry_push(L, &xpcall_key);
  lua_setfield(L, -2, "xpcall");
  lua_pushcfunction(L, lnt__guard_caught);
  lua_setfield(L, -2, "caught");
}

void lnt__sandbox_define(lua_State *L, const char *name) {
  luaL_checkstack(L, 4, name);
  registry_push(L, &base_key);
  lua_insert(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

void lnt__sandbox_freeze(lua_State *L, const char *name) {
  luaL_checkstack(L, 4, name);
  registry_push(L, &freeze_key);
  lua_insert(L, -2);
  lua_pushstring(L, name);
  lua_call(L, 2, 1);
}
