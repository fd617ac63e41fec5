/* serving.c - what `lunation serve` and `lunation run` hang on the runtime's libuv loop: signals that stop it, the HTTP API, and an
 * observer that wakes Lua only for what people are told. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "bindings/http/http.h"
#include "bindings/lua/binding.h"
#include "cli.h"

/* ---- Signals ---- */

#define GUARD_TYPE "lunation.cli.guard"
#define SIGNALS 2

static const int signals[SIGNALS] = {SIGINT, SIGTERM};

/* Not in a userdata: the loop holds the handles until it says that they are closed. */
typedef struct guard {
  uv_signal_t handles[SIGNALS];
  uv_loop_t *loop;
  lnt_runtime *rt;
  int received; /* 0: none */
  int open;
} guard;

static void on_signal(uv_signal_t *handle, int number) {
  guard *g = handle->data;
  g->received = number;
  lnt_stop(g->rt);
}

static void on_closed(uv_handle_t *handle) { ((guard *)handle->data)->open--; }

/* sys.guard(rt) -> guard; from now on SIGINT and SIGTERM make rt:run() return */
static int sys_guard(lua_State *L) {
  lnt__binding *binding = lnt__binding_check(L, 1);
  guard **slot = lua_newuserdata(L, sizeof *slot);
  *slot = NULL;
  luaL_getmetatable(L, GUARD_TYPE);
  lua_setmetatable(L, -2);
  guard *g = calloc(1, sizeof *g);
  if (!g) return luaL_error(L, "not enough memory");
  signal(SIGPIPE, SIG_IGN);
  g->rt = binding->rt;
  g->loop = lnt_uv_loop(binding->rt);
  g->open = SIGNALS;
  for (int i = 0; i < SIGNALS; i++) {
    uv_signal_init(g->loop, &g->handles[i]);
    g->handles[i].data = g;
    uv_signal_start(&g->handles[i], on_signal, signals[i]);
  }
  *slot = g;
  return 1;
}

/* guard:signal() -> number of the signal that came, or nil */
static int guard_signal(lua_State *L) {
  guard *g = *(guard **)luaL_checkudata(L, 1, GUARD_TYPE);
  if (!g || !g->received) return 0;
  lua_pushinteger(L, g->received);
  return 1;
}

/* guard:close(), before rt:close() */
static int guard_close(lua_State *L) {
  guard **slot = luaL_checkudata(L, 1, GUARD_TYPE);
  guard *g = *slot;
  if (!g) return 0;
  *slot = NULL;
  for (int i = 0; i < SIGNALS; i++) uv_close((uv_handle_t *)&g->handles[i], on_closed);
  while (g->open) uv_run(g->loop, UV_RUN_NOWAIT);
  free(g);
  return 0;
}

/* ---- HTTP ---- */

#define HTTP_TYPE "lunation.cli.http"

/* sys.http(rt, path) -> server; or nil, message, code */
static int sys_http(lua_State *L) {
  lnt__binding *binding = lnt__binding_check(L, 1);
  const char *path = luaL_checkstring(L, 2);
  lnt__http **slot = lua_newuserdata(L, sizeof(lnt__http *));
  *slot = NULL;
  luaL_getmetatable(L, HTTP_TYPE);
  lua_setmetatable(L, -2);
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt__http_create(binding->rt, path, slot, &err);
  return status ? lnt__binding_failed(L, status, &err) : 1;
}

/* server:close(), before rt:close() */
static int http_close(lua_State *L) {
  lnt__http **slot = luaL_checkudata(L, 1, HTTP_TYPE);
  lnt__http_destroy(*slot);
  *slot = NULL;
  return 0;
}

/* ---- Watching ----
 * One watcher per process: the program opens one runtime at a time. */

static struct {
  lnt__binding *binding;
  lnt__http **http; /* NULL: none */
  int function;     /* registry reference */
  const char *id;
  lnt_run_status status;
  const lnt_event *event;
} watcher;

static int call_watcher(lua_State *L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, watcher.function);
  lua_pushstring(L, watcher.id);
  lua_pushstring(L, lnt_run_status_name(watcher.status));
  lnt__binding_push_event(L, watcher.event, true);
  lua_call(L, 3, 0);
  return 0;
}

static int is_news(lnt_event_kind kind) {
  return kind == LNT_EVENT_STARTED || kind == LNT_EVENT_COMPLETED || kind == LNT_EVENT_FAILED || kind == LNT_EVENT_TERMINATED ||
         kind == LNT_EVENT_CANCELED || kind == LNT_EVENT_STALLED || kind == LNT_EVENT_RESUMED;
}

static void on_event(void *user, const char *id, lnt_run_status status, const lnt_event *event) {
  (void)user;
  if (!is_news(event->kind)) return;
  if (*watcher.http) lnt__http_notify(*watcher.http, id, status);
  watcher.id = id, watcher.status = status, watcher.event = event;
  lnt__binding_callback(watcher.binding, call_watcher, NULL, "the report of an event");
}

/* sys.watch(rt, server, function(id, status, event) ... end): called for starts and ends; values in the event are JSON text */
static int sys_watch(lua_State *L) {
  watcher.binding = lnt__binding_check(L, 1);
  watcher.http = luaL_checkudata(L, 2, HTTP_TYPE);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  lua_settop(L, 3);
  watcher.function = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, 2);
  luaL_ref(L, LUA_REGISTRYINDEX); /* the server must outlive the watcher */
  return lnt__binding_answer(L, lnt_observe(watcher.binding->rt, on_event, NULL), NULL);
}

/* ---- The module ---- */

static void add_type(lua_State *L, const char *name, const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  luaL_register(L, NULL, methods);
  lua_pop(L, 1);
}

void lnt__cli_add_serving(lua_State *L) {
  static const luaL_Reg guard_methods[] = {{"signal", guard_signal}, {"close", guard_close}, {NULL, NULL}};
  static const luaL_Reg http_methods[] = {{"close", http_close}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"guard", sys_guard}, {"http", sys_http}, {"watch", sys_watch}, {NULL, NULL}};
  add_type(L, GUARD_TYPE, guard_methods);
  add_type(L, HTTP_TYPE, http_methods);
  luaL_register(L, NULL, functions);
}
