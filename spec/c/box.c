/* box.c - see box.h. */
#include "box.h"

#include <stdio.h>
#include <stdlib.h>

#include "check.h"

static const char body_key, environment_key;
static box_result result;

bool box_stressed(void) {
#ifdef LNT__GC_STRESS
  return true;
#endif
  const char *set = getenv("LNT_GC_STRESS");
  return set && *set && *set != '0';
}

lnt__guard_limits box_limits(void) {
  if (box_stressed()) return (lnt__guard_limits){500000, 64u << 20, 3u << 19, 0};
  return (lnt__guard_limits){5000000, 256u << 20, 32u << 20, 0};
}

static void log_line(box *b, const char *text, size_t size) {
  if (b->log_size + size + 2 > sizeof b->log) return;
  memcpy(b->log + b->log_size, text, size);
  b->log_size += size;
  b->log[b->log_size++] = '\n';
  b->log[b->log_size] = 0;
}

static int64_t host_now(void *user) { return ((box *)user)->now_us; }
static lnt__rng *host_rng(void *user, lua_State *L) {
  (void)L;
  return &((box *)user)->rng;
}
static void host_log(void *user, lnt_log_level level, const char *text, size_t size) {
  (void)level;
  log_line((box *)user, text, size);
}

static int wait_for_engine(lua_State *L) {
  if (!lua_isyieldable(L)) return luaL_error(L, "wait: not allowed here");
  lua_pushlightuserdata(L, LNT__SANDBOX_YIELD);
  lua_insert(L, 1);
  return lua_yield(L, lua_gettop(L));
}

static int define_wait(lua_State *L) {
  lua_pushcfunction(L, wait_for_engine);
  lnt__sandbox_define(L, "wait");
  return 0;
}

void box_open_with(box *b, const lnt__guard_limits *limits, lua_Alloc alloc) {
  lnt_error err = {0};
  memset(b, 0, sizeof *b);
  b->now_us = 1700000000123456;
  b->answers = true;
  lnt__rng_seed(&b->rng, 42);
  b->host = (lnt__sandbox_host){b, host_now, host_rng, host_log};
  lnt__guard_init(&b->guard, limits);
  b->L = lua_newstate(alloc, &b->guard);
  if (!CHECK(b->L != NULL)) abort();
  if (!CHECK(lnt__sandbox_open(b->L, &b->guard, &err) == LNT_OK)) {
    puts(err.message);
    abort();
  }
  if (box_stressed()) {
    b->guard.step_mul = 0;
    lua_gc(b->L, LUA_GCSETPAUSE, 0);
    lua_gc(b->L, LUA_GCSETSTEPMUL, 0);
  }
  CHECK_EQ_INT(lua_cpcall(b->L, define_wait, NULL), 0);
}

void box_open(box *b) {
  lnt__guard_limits limits = box_limits();
  box_open_with(b, &limits, lnt__guard_alloc);
}

void box_close(box *b) {
  lua_close(b->L);
  lnt__guard_finish(&b->guard);
  CHECK_EQ_UINT(b->guard.used, 0);
}

/* Given non-NULL: also a fresh environment. */
static int make_body(lua_State *L) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)&body_key);
  lua_newthread(L);
  lua_rawset(L, LUA_REGISTRYINDEX);
  if (!lua_touserdata(L, 1)) return 0;
  lua_pushlightuserdata(L, (void *)(uintptr_t)&environment_key);
  lnt__sandbox_push_env(L);
  lua_rawset(L, LUA_REGISTRYINDEX);
  return 0;
}

static lua_State *new_body(box *b, bool fresh) {
  if (lua_cpcall(b->L, make_body, fresh ? b : NULL)) {
    lua_pop(b->L, 1);
    return NULL;
  }
  lua_pushlightuserdata(b->L, (void *)(uintptr_t)&body_key);
  lua_rawget(b->L, LUA_REGISTRYINDEX);
  lua_State *co = lua_tothread(b->L, -1);
  lua_pop(b->L, 1);
  return co;
}

/* Without Lua's own conversions: they allocate. */
static size_t show(lua_State *L, int index, char *out, size_t size) {
  switch (lua_type(L, index)) {
    case LUA_TNIL: return (size_t)snprintf(out, size, "nil");
    case LUA_TBOOLEAN: return (size_t)snprintf(out, size, lua_toboolean(L, index) ? "true" : "false");
    case LUA_TNUMBER: return (size_t)snprintf(out, size, "%.14g", lua_tonumber(L, index));
    case LUA_TSTRING: return (size_t)snprintf(out, size, "%s", lua_tostring(L, index));
    default: return (size_t)snprintf(out, size, "<%s>", luaL_typename(L, index));
  }
}

static void show_results(lua_State *co, int first, char *out, size_t size) {
  size_t at = 0;
  out[0] = 0;
  for (int i = first; i <= lua_gettop(co) && at + 2 < size; i++) {
    if (i > first) out[at++] = '|';
    at += show(co, i, out + at, size - at);
  }
}

/* An engine yield: log it, and hand back what it was given. */
static int answer(box *b, lua_State *co) {
  char line[512] = "wait ";
  CHECK(lua_touserdata(co, 1) == LNT__SANDBOX_YIELD);
  show_results(co, 2, line + 5, sizeof line - 5);
  log_line(b, line, strlen(line));
  lua_remove(co, 1);
  return lua_gettop(co);
}

static void conclude(box *b, lua_State *co) {
  result.killed = b->guard.killed;
  lnt__guard_explain(&b->guard, co);
  if (result.killed != LNT__KILL_NONE) snprintf(result.text, sizeof result.text, "%s", b->guard.text);
  else show_results(co, result.status > LUA_YIELD ? lua_gettop(co) : 1, result.text, sizeof result.text);
}

static const box_result *run(box *b, const char *source, size_t size, bool fresh) {
  lnt_error err = {0};
  memset(&result, 0, offsetof(box_result, text));
  result.text[0] = 0;
  b->log_size = 0;
  b->log[0] = 0;
  lua_State *co = new_body(b, fresh);
  if (!co || lnt__sandbox_compile(co, "@author.lua", source, size, &err) != LNT_OK) {
    result.status = -1;
    snprintf(result.text, sizeof result.text, "%s", co ? err.message : "out of memory");
    return &result;
  }
  lua_pushlightuserdata(co, (void *)(uintptr_t)&environment_key);
  lua_rawget(co, LUA_REGISTRYINDEX);
  lua_setfenv(co, -2);
  b->guard.host = &b->host;
  int values = 0;
  do {
    lnt__guard_begin(&b->guard);
    result.status = lua_resume(co, values);
    result.spent = lnt__guard_spent(&b->guard);
    lnt__guard_end(&b->guard);
  } while (result.status == LUA_YIELD && b->answers && (values = answer(b, co)) >= 0);
  b->guard.host = NULL;
  conclude(b, co);
  return &result;
}

const box_result *box_run_bytes(box *b, const char *source, size_t size) { return run(b, source, size, true); }
const box_result *box_run_beside(box *b, const char *source) { return run(b, source, strlen(source), false); }
const box_result *box_run(box *b, const char *source) { return box_run_bytes(b, source, strlen(source)); }

/* ---- Tables of cases ---- */

void box_check_values(const box_case *cases, size_t count) {
  box b;
  box_open(&b);
  for (size_t i = 0; i < count; i++) {
    const box_result *r = box_run(&b, cases[i].source);
    if (r->status != 0 || strcmp(r->text, cases[i].text) != 0)
      CHECK_FAIL("%s\n    gives (%d) \"%s\"\n    wanted    \"%s\"", cases[i].source, r->status, r->text, cases[i].text);
  }
  box_close(&b);
}

void box_check_errors(const box_case *cases, size_t count) {
  box b;
  box_open(&b);
  for (size_t i = 0; i < count; i++) {
    const box_result *r = box_run(&b, cases[i].source);
    if ((r->status != -1 && r->status != LUA_ERRRUN) || r->killed != LNT__KILL_NONE || !strstr(r->text, cases[i].text))
      CHECK_FAIL("%s\n    gives (%d, %s) \"%s\"\n    wanted an error with \"%s\"", cases[i].source, r->status,
                 lnt__kill_name(r->killed), r->text, cases[i].text);
  }
  box_close(&b);
}

void box_check_kills(const box_case *cases, size_t count, lnt__kill killed) {
  box b;
  box_open(&b);
  lua_gc(b.L, LUA_GCCOLLECT, 0);
  size_t before = b.guard.used;
  for (size_t i = 0; i < count; i++) {
    const box_result *r = box_run(&b, cases[i].source);
    if (r->status <= LUA_YIELD || r->killed != killed || !strstr(r->text, cases[i].text))
      CHECK_FAIL("%s\n    gives (%d, %s) \"%.300s\"\n    wanted %s with \"%s\"", cases[i].source, r->status,
                 lnt__kill_name(r->killed), r->text, lnt__kill_name(killed), cases[i].text);
    r = box_run(&b, "local t = {} for i = 1, 100 do t[i] = i .. 'x' end return #table.concat(t)");
    CHECK_EQ_STR(r->text, "292");
    for (int cycle = 0; cycle < 20; cycle++) lua_gc(b.L, LUA_GCCOLLECT, 0); /* its tables shrink by halves */
    if (b.guard.used > before + (2u << 20)) CHECK_FAIL("%s\n    leaves %zu bytes behind", cases[i].source, b.guard.used - before);
  }
  box_close(&b);
}
