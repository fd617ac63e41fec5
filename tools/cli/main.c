/* main.c - the program `lunation`: a LuaJIT state with the Lua binding and the embedded modules; the module "main" does the rest. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "bindings/lua/binding.h"
#include "cli.h"
#include "cli_embed.h"

#define EXIT_BUG 70

/* The searcher of the embedded modules: upvalue 1 is the module's row. */
static int load_module(lua_State *L) {
  const lnt__cli_module *module = lua_touserdata(L, lua_upvalueindex(1));
  char name[64];
  snprintf(name, sizeof name, "@%s.lua", module->name);
  if (luaL_loadbuffer(L, module->source, *module->size, name)) return lua_error(L);
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

static void preload(lua_State *L, const char *name, lua_CFunction open) {
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
}

static void preload_all(lua_State *L) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  preload(L, "lunation", luaopen_lunation);
  preload(L, "sys", lnt__cli_open_sys);
  if (luaopen_bench_native) preload(L, "bench.native", luaopen_bench_native);
  for (const lnt__cli_module *module = lnt__cli_modules; module->name; module++) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)module);
    lua_pushcclosure(L, load_module, 1);
    lua_setfield(L, -2, module->name);
  }
  lua_pop(L, 2);
}

static int traceback(lua_State *L) {
  lua_getglobal(L, "debug");
  lua_getfield(L, -1, "traceback");
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 2);
  lua_call(L, 2, 1);
  return 1;
}

typedef struct arguments {
  int count;
  char **texts;
} arguments;

/* require("main")({arguments}) -> exit code */
static int run(lua_State *L) {
  arguments *given = lua_touserdata(L, 1);
  luaL_openlibs(L);
  preload_all(L);
  lua_pushcfunction(L, traceback);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "main");
  lua_call(L, 1, 1);
  lua_createtable(L, given->count, 0);
  for (int i = 1; i < given->count; i++) {
    lua_pushstring(L, given->texts[i]);
    lua_rawseti(L, -2, i);
  }
  if (lua_pcall(L, 1, 1, -3)) return lua_error(L);
  given->count = (int)luaL_checkinteger(L, -1);
  return 0;
}

int main(int argc, char **argv) {
  arguments given = {argc, argv};
  lua_State *L = luaL_newstate();
  if (!L) {
    fprintf(stderr, "lunation: out of memory\n");
    return EXIT_BUG;
  }
  if (lua_cpcall(L, run, &given)) {
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "lunation: this is a bug of the program, please report it: %s\n", message ? message : "(no message)");
    return EXIT_BUG; /* without lua_close(): what is open is in a state nobody knows */
  }
  lua_close(L);
  return given.count;
}
