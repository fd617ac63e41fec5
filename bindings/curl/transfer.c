/* transfer.c - one request and its response: options, and what libcurl receives and sends. Called by module.c, and by libcurl from inside
 * of pool.c's calls; those callbacks call no Lua. */
#include <stdlib.h>
#include <string.h>

#include "curl.h"

/* ---- Bytes ---- */

bool lnt__bytes_add(lnt__bytes *bytes, const char *data, size_t size) {
  if (size > bytes->room - bytes->size) {
    size_t room = bytes->room + bytes->room / 2 + size;
    char *grown = realloc(bytes->data, room);
    if (!grown) return false;
    bytes->data = grown;
    bytes->room = room;
  }
  if (size) memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
  return true;
}

void lnt__bytes_finish(lnt__bytes *bytes) {
  free(bytes->data);
  *bytes = (lnt__bytes){NULL, 0, 0};
}

/* ---- What libcurl calls ---- */

static size_t refuse(lnt__transfer *transfer, lnt__refusal why) {
  transfer->refusal = why;
  return 0; /* libcurl ends the transfer */
}

/* One header line. A new status line begins a new response: after "100 Continue", or a login. */
static size_t on_head(char *data, size_t unit, size_t count, void *user) {
  lnt__transfer *transfer = user;
  size_t size = unit * count;
  if (size >= 5 && memcmp(data, "HTTP/", 5) == 0) transfer->head.size = 0;
  if (transfer->head.size + size > LNT__CURL_HEAD_BYTES_MAX) return refuse(transfer, LNT__REFUSED_HEAD);
  return lnt__bytes_add(&transfer->head, data, size) ? size : refuse(transfer, LNT__REFUSED_MEMORY);
}

static size_t on_body(char *data, size_t unit, size_t count, void *user) {
  lnt__transfer *transfer = user;
  size_t size = unit * count, held = transfer->body.size;
  if (!transfer->collect && held && held + size > LNT__CURL_BUFFER_BYTES_MAX) {
    transfer->receive_paused = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  if (transfer->collect && held + size > transfer->body_max) return refuse(transfer, LNT__REFUSED_BODY);
  if (!lnt__bytes_add(&transfer->body, data, size)) return refuse(transfer, LNT__REFUSED_MEMORY);
  if (!transfer->collect) lnt__pool_news(transfer);
  return size;
}

static size_t on_upload(char *to, size_t unit, size_t count, void *user) {
  lnt__transfer *transfer = user;
  size_t room = unit * count, left = transfer->upload.size - transfer->sent;
  if (left == 0 && transfer->upload_ended) return 0;
  if (left == 0) {
    transfer->wants = true;
    lnt__pool_news(transfer);
    return CURL_READFUNC_PAUSE;
  }
  if (left > room) left = room;
  memcpy(to, transfer->upload.data + transfer->sent, left);
  transfer->sent += left;
  return left;
}

void lnt__transfer_resume(lnt__transfer *transfer) {
  bool send_paused = transfer->wants && transfer->upload.size == transfer->sent && !transfer->upload_ended;
  bool receive_paused = transfer->receive_paused && transfer->body.size > 0;
  if (!transfer->pool || transfer->done) return;
  if (send_paused == transfer->wants && receive_paused == transfer->receive_paused) return;
  transfer->wants = send_paused;
  transfer->receive_paused = receive_paused;
  curl_easy_pause(transfer->easy, (send_paused ? CURLPAUSE_SEND : 0) | (receive_paused ? CURLPAUSE_RECV : 0));
}

/* ---- Options ---- */

typedef struct option { const char *name; CURLoption option; int type; } option;

static const option options[] = {
    {"url", CURLOPT_URL, LUA_TSTRING}, {"user_agent", CURLOPT_USERAGENT, LUA_TSTRING}, {"user", CURLOPT_USERNAME, LUA_TSTRING},
    {"password", CURLOPT_PASSWORD, LUA_TSTRING}, {"unix_socket", CURLOPT_UNIX_SOCKET_PATH, LUA_TSTRING},
    {"ca_file", CURLOPT_CAINFO, LUA_TSTRING}, {"cert_file", CURLOPT_SSLCERT, LUA_TSTRING}, {"key_file", CURLOPT_SSLKEY, LUA_TSTRING},
    {"key_password", CURLOPT_KEYPASSWD, LUA_TSTRING}, {"proxy", CURLOPT_PROXY, LUA_TSTRING},
    {"timeout_ms", CURLOPT_TIMEOUT_MS, LUA_TNUMBER}, {"connect_timeout_ms", CURLOPT_CONNECTTIMEOUT_MS, LUA_TNUMBER},
    {"idle_timeout_s", CURLOPT_LOW_SPEED_TIME, LUA_TNUMBER}};

static void check(lua_State *L, const char *name, CURLcode code) {
  if (code) luaL_error(L, "%s: %s", name, curl_easy_strerror(code));
}

static void set_option(lua_State *L, int index, CURL *easy, const option *at) {
  lua_getfield(L, index, at->name);
  if (!lua_isnil(L, -1)) {
    luaL_checktype(L, -1, at->type);
    if (at->type == LUA_TSTRING) check(L, at->name, curl_easy_setopt(easy, at->option, lua_tostring(L, -1)));
    else check(L, at->name, curl_easy_setopt(easy, at->option, (long)lua_tonumber(L, -1)));
  }
  lua_pop(L, 1);
}

static void set_headers(lua_State *L, int index, lnt__transfer *transfer) {
  lua_getfield(L, index, "headers");
  size_t count = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, -1, (int)i);
    struct curl_slist *longer = curl_slist_append(transfer->headers, luaL_checkstring(L, -1));
    if (!longer) luaL_error(L, "not enough memory");
    transfer->headers = longer;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
}

/* The method by name; libcurl's own notion of it decides how a body is sent. */
static void set_method(lua_State *L, int index, lnt__transfer *transfer) {
  CURL *easy = transfer->easy;
  lua_getfield(L, index, "method");
  const char *method = luaL_checkstring(L, -1);
  size_t size;
  lua_getfield(L, index, "body");
  const char *body = lua_tolstring(L, -1, &size);
  lua_getfield(L, index, "upload");
  bool upload = lua_toboolean(L, -1);
  if (body || upload) {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, body ? (curl_off_t)size : (curl_off_t)-1);
    if (body) check(L, "body", curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, body));
    lua_getfield(L, index, "upload_bytes");
    if (!body && lua_isnumber(L, -1)) curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)lua_tonumber(L, -1));
    lua_pop(L, 1);
  } else if (strcmp(method, "HEAD") == 0) {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  }
  check(L, "method", curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method));
  lua_pop(L, 3);
}

static void set_fixed(lnt__transfer *transfer) {
  CURL *easy = transfer->easy;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
  curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* giving up while a name is looked up does not wait for the answer */
#endif
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_upload);
  curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
}

static bool flag(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

lnt__transfer *lnt__transfer_create(lua_State *L, int index) {
  lnt__transfer *transfer = lua_newuserdata(L, sizeof *transfer);
  memset(transfer, 0, sizeof *transfer);
  transfer->wake_ref = LUA_NOREF;
  luaL_getmetatable(L, LNT__CURL_TRANSFER);
  lua_setmetatable(L, -2);
  transfer->easy = curl_easy_init();
  if (!transfer->easy) luaL_error(L, "not enough memory");
  set_fixed(transfer);
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) set_option(L, index, transfer->easy, &options[i]);
  if (flag(L, index, "insecure")) {
    curl_easy_setopt(transfer->easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(transfer->easy, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (flag(L, index, "decompress")) curl_easy_setopt(transfer->easy, CURLOPT_ACCEPT_ENCODING, "");
  transfer->collect = flag(L, index, "collect");
  lua_getfield(L, index, "body_bytes_max");
  transfer->body_max = (size_t)lua_tonumber(L, -1);
  lua_pop(L, 1);
  set_headers(L, index, transfer);
  set_method(L, index, transfer);
  return transfer;
}

void lnt__transfer_finish(lnt__transfer *transfer) {
  lnt__pool_remove(transfer);
  if (transfer->easy) curl_easy_cleanup(transfer->easy);
  curl_slist_free_all(transfer->headers);
  transfer->easy = NULL;
  transfer->headers = NULL;
  lnt__bytes_finish(&transfer->head);
  lnt__bytes_finish(&transfer->body);
  lnt__bytes_finish(&transfer->upload);
}
