/* module.c - the Lua module `lunation_curl`: its functions, as stdlib/http.lua calls them. RAISES on misuse, like every Lua module.
 *
 *   pool = curl.pool()                    after luv was opened in this lua_State
 *   transfer = pool:start(options, wake)  wake() is called when there is something new; take, done, wants tell what
 *   pool:close(fn)                        ends all transfers; fn() when nothing of it is left in the loop */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "curl.h"

__attribute__((visibility("default"))) int luaopen_lunation_curl(lua_State *L);

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_code;

static void global_init(void) { global_code = curl_global_init(CURL_GLOBAL_DEFAULT); }

/* ---- Pools: a userdata that holds a pointer ---- */

static int pool_new(lua_State *L) {
  const char *why;
  lnt__pool **box = lua_newuserdata(L, sizeof *box);
  *box = NULL;
  luaL_getmetatable(L, LNT__CURL_POOL);
  lua_setmetatable(L, -2);
  *box = lnt__pool_create(luv_context(L), &why);
  return *box ? 1 : luaL_error(L, "no pool of transfers: %s", why);
}

static lnt__pool *pool_at(lua_State *L) {
  lnt__pool **box = luaL_checkudata(L, 1, LNT__CURL_POOL);
  if (!*box) luaL_error(L, "the pool is gone");
  return *box;
}

/* pool:start(options, wake) -> transfer */
static int pool_start(lua_State *L) {
  const char *why;
  lnt__pool *pool = pool_at(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  lnt__transfer *transfer = lnt__transfer_create(L, 2);
  lua_pushvalue(L, 3);
  transfer->wake_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  if (!lnt__pool_add(pool, transfer, &why)) return luaL_error(L, "the transfer cannot begin: %s", why);
  return 1;
}

/* pool:close(fn) */
static int pool_close(lua_State *L) {
  lnt__pool *pool = pool_at(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  lnt__pool_close(pool, luaL_ref(L, LUA_REGISTRYINDEX));
  return 0;
}

static int pool_gc(lua_State *L) {
  lnt__pool **box = luaL_checkudata(L, 1, LNT__CURL_POOL);
  if (*box) lnt__pool_drop(*box);
  *box = NULL;
  return 0;
}

/* ---- Transfers ---- */

static lnt__transfer *transfer_at(lua_State *L) {
  lnt__transfer *transfer = luaL_checkudata(L, 1, LNT__CURL_TRANSFER);
  if (!transfer->easy) luaL_error(L, "the transfer was stopped");
  return transfer;
}

/* take() -> the part of the body that has come since, or nil. One that is collected: at the end. */
static int transfer_take(lua_State *L) {
  lnt__transfer *transfer = transfer_at(L);
  if (transfer->body.size == 0 || (transfer->collect && !transfer->done)) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushlstring(L, transfer->body.data, transfer->body.size);
  if (transfer->done) lnt__bytes_finish(&transfer->body);
  else transfer->body.size = 0;
  lnt__transfer_resume(transfer);
  return 1;
}

/* send(text), send(): the next part of what is uploaded, its end */
static int transfer_send(lua_State *L) {
  lnt__transfer *transfer = transfer_at(L);
  size_t size = 0;
  const char *data = lua_isnoneornil(L, 2) ? NULL : luaL_checklstring(L, 2, &size);
  if (transfer->sent == transfer->upload.size) transfer->sent = transfer->upload.size = 0;
  if (!data) transfer->upload_ended = true;
  else if (!lnt__bytes_add(&transfer->upload, data, size)) return luaL_error(L, "not enough memory");
  lnt__transfer_resume(transfer);
  return 0;
}

static int transfer_wants(lua_State *L) {
  const lnt__transfer *transfer = transfer_at(L);
  lua_pushboolean(L, transfer->wants && !transfer->done);
  return 1;
}

static int transfer_done(lua_State *L) {
  lua_pushboolean(L, transfer_at(L)->done);
  return 1;
}

/* result() -> libcurl's code (0: success), its text, our own reason ("body", "head", "memory") or nil */
static int transfer_result(lua_State *L) {
  static const char *const reasons[] = {NULL, "body", "head", "memory"};
  const lnt__transfer *transfer = transfer_at(L);
  lua_pushinteger(L, transfer->result);
  lua_pushstring(L, transfer->error[0] ? transfer->error : curl_easy_strerror(transfer->result));
  lua_pushstring(L, reasons[transfer->refusal]);
  return 3;
}

/* head() -> the header lines of the last response, with its status line */
static int transfer_head(lua_State *L) {
  const lnt__transfer *transfer = transfer_at(L);
  lua_pushlstring(L, transfer->head.data ? transfer->head.data : "", transfer->head.size);
  return 1;
}

/* info() -> status (0: none yet), the URL, where a redirection leads to or nil, seconds */
static int transfer_info(lua_State *L) {
  CURL *easy = transfer_at(L)->easy;
  long status = 0;
  const char *url = NULL, *redirect = NULL;
  double seconds = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &url);
  curl_easy_getinfo(easy, CURLINFO_REDIRECT_URL, &redirect);
  curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME, &seconds);
  lua_pushinteger(L, (lua_Integer)status);
  lua_pushstring(L, url);
  lua_pushstring(L, redirect);
  lua_pushnumber(L, seconds);
  return 4;
}

static int transfer_stop(lua_State *L) {
  lnt__transfer *transfer = luaL_checkudata(L, 1, LNT__CURL_TRANSFER);
  lnt__transfer_finish(transfer);
  luaL_unref(L, LUA_REGISTRYINDEX, transfer->wake_ref);
  transfer->wake_ref = LUA_NOREF;
  return 0;
}

/* ---- The module ---- */

static void make_type(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc) {
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  luaL_register(L, NULL, methods);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}

int luaopen_lunation_curl(lua_State *L) {
  static const luaL_Reg pool_methods[] = {{"start", pool_start}, {"close", pool_close}, {NULL, NULL}};
  static const luaL_Reg transfer_methods[] = {
      {"take", transfer_take}, {"send", transfer_send}, {"wants", transfer_wants}, {"done", transfer_done}, {"result", transfer_result},
      {"head", transfer_head}, {"info", transfer_info}, {"stop", transfer_stop},   {NULL, NULL}};
  pthread_once(&global_once, global_init);
  if (global_code) return luaL_error(L, "libcurl does not start: %s", curl_easy_strerror(global_code));
  make_type(L, LNT__CURL_POOL, pool_methods, pool_gc);
  make_type(L, LNT__CURL_TRANSFER, transfer_methods, transfer_stop);
  lua_newtable(L);
  lua_pushcfunction(L, pool_new);
  lua_setfield(L, -2, "pool");
  lua_pushstring(L, curl_version());
  lua_setfield(L, -2, "version");
  return 1;
}
