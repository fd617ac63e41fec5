/* native.c - what the benchmark needs from the system, as the Lua module "bench.native": clocks, memory, a bare LMDB probe,
 * children to kill. Part of the program `lunation` only. Errors are raised: a benchmark that cannot measure has nothing to go on with. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lmdb.h>
#include <lua.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;
int luaopen_bench_native(lua_State *L);

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* now() -> seconds, monotonic */
static int native_now(lua_State *L) {
  lua_pushnumber(L, seconds());
  return 1;
}

/* wall() -> seconds since 1970 */
static int native_wall(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  lua_pushnumber(L, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
  return 1;
}

/* cpu() -> seconds of CPU of this process, all threads, user and system */
static int native_cpu(lua_State *L) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  time_t whole = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec;
  lua_pushnumber(L, (double)whole + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
  return 1;
}

/* rss() -> resident bytes without file pages (the mapped store is not memory that a parked workflow costs) */
static int native_rss(lua_State *L) {
  unsigned long long resident = 0, shared = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || fscanf(file, "%*u %llu %llu", &resident, &shared) != 2) resident = shared = 0;
  if (file) fclose(file);
  lua_pushnumber(L, (double)(resident - shared) * (double)sysconf(_SC_PAGESIZE));
  return 1;
}

static void check(lua_State *L, int rc, const char *what) {
  if (rc) luaL_error(L, "LMDB probe: %s: %s", what, mdb_strerror(rc));
}

/* One commit of `records` puts of `bytes` each, keys (prefix, number) as the journal's history has them. */
static void probe_commit(lua_State *L, MDB_env *env, MDB_dbi dbi, uint32_t number, int records, void *bytes, size_t size) {
  MDB_txn *txn;
  check(L, mdb_txn_begin(env, NULL, 0, &txn), "begin");
  for (int i = 0; i < records; i++) {
    uint8_t key[12] = {0};
    for (int b = 0; b < 4; b++) key[7 - b] = (uint8_t)(i >> (8 * b)), key[11 - b] = (uint8_t)(number >> (8 * b));
    MDB_val k = {sizeof(key), key}, v = {size, bytes};
    check(L, mdb_put(txn, dbi, &k, &v, 0), "put");
  }
  check(L, mdb_txn_commit(txn), "commit");
}

/* probe(dir, sync, commits, records, bytes) -> seconds per commit, median. The directory must exist and be empty. */
static int native_probe(lua_State *L) {
  const char *dir = luaL_checkstring(L, 1);
  int commits = (int)luaL_checkinteger(L, 3), records = (int)luaL_checkinteger(L, 4);
  size_t size = (size_t)luaL_checkinteger(L, 5);
  MDB_env *env;
  MDB_txn *txn;
  MDB_dbi dbi;
  check(L, mdb_env_create(&env), "create");
  mdb_env_set_mapsize(env, (size_t)1 << 30);
  check(L, mdb_env_open(env, dir, lua_toboolean(L, 2) ? 0 : MDB_NOSYNC, 0644), "open");
  check(L, mdb_txn_begin(env, NULL, 0, &txn), "begin");
  check(L, mdb_dbi_open(txn, NULL, 0, &dbi), "table");
  check(L, mdb_txn_commit(txn), "commit");
  double *times = lua_newuserdata(L, (size_t)commits * sizeof(double));
  void *bytes = lua_newuserdata(L, size);
  memset(bytes, 'x', size);
  for (int n = 0; n < commits; n++) {
    double from = seconds();
    probe_commit(L, env, dbi, (uint32_t)n, records, bytes, size);
    times[n] = seconds() - from;
  }
  mdb_env_close(env);
  for (int i = 1; i < commits; i++)
    for (int j = i; j > 0 && times[j] < times[j - 1]; j--) {
      double t = times[j];
      times[j] = times[j - 1];
      times[j - 1] = t;
    }
  lua_pushnumber(L, times[commits / 2]);
  return 1;
}

/* killed(program, arguments, ready): run a child until it writes the file `ready`, then SIGKILL it. */
static int native_killed(lua_State *L) {
  const char *argv[16] = {luaL_checkstring(L, 1)};
  const char *ready = luaL_checkstring(L, 3);
  struct stat found;
  pid_t pid;
  int count = 1, state;
  for (; count < 15; count++) {
    lua_rawgeti(L, 2, count);
    argv[count] = lua_tostring(L, -1);
    if (!argv[count]) break;
  }
  if (posix_spawn(&pid, argv[0], NULL, NULL, (char **)argv, environ)) return luaL_error(L, "cannot start %s", argv[0]);
  while (stat(ready, &found) != 0) {
    if (waitpid(pid, &state, WNOHANG) == pid) return luaL_error(L, "the child ended before it was ready");
    nanosleep(&(struct timespec){0, 2000000}, NULL);
  }
  kill(pid, SIGKILL);
  waitpid(pid, &state, 0);
  return 0;
}

/* timed(program, arguments) -> seconds from start to exit; the child's output is dropped. */
static int native_timed(lua_State *L) {
  const char *argv[16] = {luaL_checkstring(L, 1)};
  posix_spawn_file_actions_t actions;
  pid_t pid;
  int state = 0;
  for (int i = 1; i < 15; i++) {
    lua_rawgeti(L, 2, i);
    argv[i] = lua_tostring(L, -1);
    if (!argv[i]) break;
  }
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  double from = seconds();
  int rc = posix_spawn(&pid, argv[0], &actions, NULL, (char **)argv, environ);
  if (rc == 0) waitpid(pid, &state, 0);
  double took = seconds() - from;
  posix_spawn_file_actions_destroy(&actions);
  if (rc || !WIFEXITED(state) || WEXITSTATUS(state)) return luaL_error(L, "the child failed");
  lua_pushnumber(L, took);
  return 1;
}

/* self() -> path of this program */
static int native_self(lua_State *L) {
  char path[4096];
  ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  if (size <= 0) return luaL_error(L, "cannot find this program: %s", strerror(errno));
  lua_pushlstring(L, path, (size_t)size);
  return 1;
}

/* scratch(parent) -> a new empty folder in `parent` */
static int native_scratch(lua_State *L) {
  char path[4096];
  snprintf(path, sizeof(path), "%s/lunation-bench-XXXXXX", luaL_checkstring(L, 1));
  if (!mkdtemp(path)) return luaL_error(L, "cannot make a folder in %s: %s", luaL_checkstring(L, 1), strerror(errno));
  lua_pushstring(L, path);
  return 1;
}

int luaopen_bench_native(lua_State *L) {
  static const luaL_Reg functions[] = {{"now", native_now},       {"wall", native_wall},   {"cpu", native_cpu},   {"rss", native_rss},
                                       {"probe", native_probe},   {"killed", native_killed}, {"timed", native_timed},
                                       {"self", native_self},     {"scratch", native_scratch}, {NULL, NULL}};
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  return 1;
}
