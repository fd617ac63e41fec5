/* sys.c - the module `sys`: what the subcommands need of the system. */
#define _GNU_SOURCE /* O_PATH, mkdtemp */
#include <curl/curl.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define REPLY_BYTES_MAX ((size_t)256 << 20)

static int system_failed(lua_State *L) {
  lua_pushnil(L);
  lua_pushstring(L, strerror(errno));
  return 2;
}

/* ---- The terminal, the clocks ---- */

/* sys.isatty(descriptor) -> boolean */
static int sys_isatty(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* sys.columns(descriptor) -> number, or nil where there is no terminal */
static int sys_columns(lua_State *L) {
  struct winsize size;
  if (ioctl((int)luaL_checkinteger(L, 1), TIOCGWINSZ, &size) || !size.ws_col) return 0;
  lua_pushinteger(L, size.ws_col);
  return 1;
}

static int push_clock(lua_State *L, clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec * 1e6 + (lua_Number)(now.tv_nsec / 1000));
  return 1;
}

static int sys_now_us(lua_State *L) { return push_clock(L, CLOCK_REALTIME); }
static int sys_monotonic_us(lua_State *L) { return push_clock(L, CLOCK_MONOTONIC); }

/* ---- Files ---- */

/* sys.realpath(path) -> path */
static int sys_realpath(lua_State *L) {
  char path[PATH_MAX];
  if (!realpath(luaL_checkstring(L, 1), path)) return system_failed(L);
  lua_pushstring(L, path);
  return 1;
}

/* sys.kind(path) -> "folder", "file", or nil and why */
static int sys_kind(lua_State *L) {
  struct stat info;
  if (stat(luaL_checkstring(L, 1), &info)) return system_failed(L);
  lua_pushstring(L, S_ISDIR(info.st_mode) ? "folder" : "file");
  return 1;
}

/* sys.mkdir(path) -> true */
static int sys_mkdir(lua_State *L) {
  if (mkdir(luaL_checkstring(L, 1), 0777)) return system_failed(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* sys.temporary_folder() -> path */
static int sys_temporary_folder(lua_State *L) {
  const char *parent = getenv("TMPDIR");
  lua_pushfstring(L, "%s/lunation-XXXXXX", parent && *parent ? parent : "/tmp");
  char path[PATH_MAX];
  if (lua_objlen(L, -1) >= sizeof path) return luaL_error(L, "TMPDIR is too long");
  memcpy(path, lua_tostring(L, -1), lua_objlen(L, -1) + 1);
  if (!mkdtemp(path)) return system_failed(L);
  lua_pushstring(L, path);
  return 1;
}

/* sys.list(folder) -> names, unsorted */
static int sys_list(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  lua_newtable(L);
  DIR *folder = opendir(path);
  if (!folder) return system_failed(L);
  struct dirent *entry;
  for (int i = 1; (entry = readdir(folder));) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
    lua_pushstring(L, entry->d_name);
    lua_rawseti(L, -2, i++);
  }
  closedir(folder);
  return 1;
}

/* ---- Requests ---- */

typedef struct reply {
  char *data;
  size_t size;
} reply;

static size_t on_data(char *data, size_t unit, size_t count, void *user) {
  reply *r = user;
  size_t size = unit * count;
  if (r->size + size > REPLY_BYTES_MAX) return 0;
  char *grown = realloc(r->data, r->size + size + 1);
  if (!grown) return 0;
  memcpy(grown + r->size, data, size);
  r->data = grown;
  r->size += size;
  return size;
}

/* A path that is too long for a socket address is reached through its folder's descriptor. Answers it, or -1 where none is needed. */
static int shorten(const char *path, char *out, size_t size) {
  int folder = -1;
  const char *slash = strrchr(path, '/');
  snprintf(out, size, "%s", path);
  if (strlen(path) < sizeof(((struct sockaddr_un *)0)->sun_path) || !slash) return -1;
  char *parent = strndup(path, (size_t)(slash - path));
  if (parent) folder = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
  free(parent);
  if (folder >= 0) snprintf(out, size, "/proc/self/fd/%d/%s", folder, slash + 1);
  return folder;
}

static void set_request(CURL *curl, const char *method, const char *url, const char *body, size_t size, long timeout_ms, reply *r) {
  curl_easy_setopt(curl, CURLOPT_URL, url);
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
  if (strcmp(method, "POST") != 0) return;
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body ? body : "");
}

/* sys.request(socket, method, path, body, timeout_ms) -> status, text; or nil, message, whether a server was reached */
static int sys_request(lua_State *L) {
  const char *socket = luaL_checkstring(L, 1), *method = luaL_checkstring(L, 2);
  const char *url = lua_pushfstring(L, "http://localhost%s", luaL_checkstring(L, 3));
  size_t size = 0;
  const char *body = luaL_optlstring(L, 4, NULL, &size);
  long timeout_ms = (long)luaL_optnumber(L, 5, 0);
  char path[PATH_MAX];
  CURL *curl = curl_easy_init();
  if (!curl) return luaL_error(L, "out of memory");
  int folder = shorten(socket, path, sizeof path);
  reply r = {NULL, 0};
  struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
  headers = curl_slist_append(headers, "Expect:");
  curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, path);
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  set_request(curl, method, url, body, size, timeout_ms, &r);
  CURLcode code = curl_easy_perform(curl);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_cleanup(curl);
  curl_slist_free_all(headers);
  if (folder >= 0) close(folder);
  int results = 2;
  if (code) {
    lua_pushnil(L);
    lua_pushstring(L, curl_easy_strerror(code));
    lua_pushboolean(L, code != CURLE_COULDNT_CONNECT);
    results = 3;
  } else {
    lua_pushnumber(L, (lua_Number)status);
    lua_pushlstring(L, r.data ? r.data : "", r.size);
  }
  free(r.data);
  return results;
}

/* sys.sleep(seconds) */
static int sys_sleep(lua_State *L) {
  double seconds = luaL_checknumber(L, 1);
  struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&time, NULL);
  return 0;
}

/* ---- JSON ---- */

/* sys.plain_json(text) -> the same value as the library writes it, so that two texts of one value are equal. Raises. */
static int sys_plain_json(lua_State *L) {
  size_t size;
  const char *given = luaL_checklstring(L, 1, &size);
  char *text = NULL;
  lnt_value value;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_value_from_json(given, size, &value, &err);
  if (!status) status = lnt_value_to_json(value, 0, &text, &size, &err);
  lnt_value_free(&value);
  if (status) return luaL_error(L, "%s", err.message);
  lua_pushlstring(L, text, size);
  lnt_free(text);
  return 1;
}

/* ---- The module ---- */

static const luaL_Reg functions[] = {
    {"isatty", sys_isatty},     {"columns", sys_columns}, {"now_us", sys_now_us}, {"monotonic_us", sys_monotonic_us},
    {"realpath", sys_realpath}, {"kind", sys_kind},       {"mkdir", sys_mkdir},   {"temporary_folder", sys_temporary_folder},
    {"list", sys_list},         {"request", sys_request}, {"sleep", sys_sleep}, {"plain_json", sys_plain_json}, {NULL, NULL},
};

int lnt__cli_open_sys(lua_State *L) {
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  lnt__cli_add_serving(L);
#ifdef LNT_BUILD_COMPILER
  lua_pushliteral(L, LNT_BUILD_COMPILER);
  lua_setfield(L, -2, "compiler");
#endif
#ifdef LNT_BUILD_TYPE
  lua_pushliteral(L, LNT_BUILD_TYPE);
  lua_setfield(L, -2, "build_type");
#endif
  return 1;
}
