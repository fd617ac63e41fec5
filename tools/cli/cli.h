/* cli.h - what the C files of the program `lunation` share. The subcommands are Lua (*.lua beside this file), embedded by the build; C
 * gives them what Lua lacks, as the module `sys`. One thread. */
#ifndef LNT__CLI_H
#define LNT__CLI_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "include/lunation.h"

/* The module `sys`: the terminal, files, clocks, requests to a server. */
int lnt__cli_open_sys(lua_State *L);

/* Adds to the table at the top: guard (signals), http (the server), watch (the observer). */
void lnt__cli_add_serving(lua_State *L);

/* Benchmarks in C (tools/bench) define this one; Lua sees it as the module "bench.native". */
int luaopen_bench_native(lua_State *L) __attribute__((weak));

#endif
