/* pool.c - many transfers at once on one thread: libcurl's multi interface on a libuv loop. Called by module.c, and by libuv. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "curl.h"

typedef struct watch watch;
struct watch { uv_poll_t poll; lnt__pool *pool; curl_socket_t socket; watch *older, *newer; }; /* of one socket */

struct lnt__pool {
  CURLM *multi;
  luv_ctx_t *luv; /* NULL: the lua_State is gone, or going */
  uv_timer_t timer;
  watch *watches;           /* newest first */
  lnt__transfer *transfers; /* newest first */
  lnt__transfer *first_news, *last_news;
  unsigned handles; /* libuv's, open or closing */
  unsigned busy;    /* functions of ours that still look at the pool */
  bool closed, dropped;
  int closed_ref;
};

/* ---- Signals: libcurl may write to a connection that is gone, and its resolver threads inherit the mask of the caller ---- */

static void quiet_begin(sigset_t *before) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, before);
}

static void quiet_end(const sigset_t *before) {
  sigset_t pipe;
  const struct timespec none = {0, 0};
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  if (!sigismember(before, SIGPIPE))
    while (sigtimedwait(&pipe, NULL, &none) > 0) {}
  pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* ---- The end of a pool ---- */

static void free_when_unused(lnt__pool *pool) {
  if (pool->dropped && pool->handles == 0 && pool->busy == 0) free(pool);
}

/* As luv calls its callbacks: protected, on the main state; activities that became ready are resumed. */
static void call_lua(lnt__pool *pool, int ref, bool once) {
  if (!pool->luv) return;
  lua_State *L = pool->luv->L;
  lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
  if (once) luaL_unref(L, LUA_REGISTRYINDEX, ref);
  pool->luv->cb_pcall(L, 0, 0, 0);
}

static void handle_closed(lnt__pool *pool) {
  pool->handles--;
  pool->busy++;
  if (pool->closed && pool->handles == 0) call_lua(pool, pool->closed_ref, true);
  pool->busy--;
  free_when_unused(pool);
}

static void on_timer_closed(uv_handle_t *handle) { handle_closed(handle->data); }

static void on_watch_closed(uv_handle_t *handle) {
  watch *w = handle->data;
  lnt__pool *pool = w->pool;
  free(w);
  handle_closed(pool);
}

/* ---- News for Lua ---- */

void lnt__pool_news(lnt__transfer *transfer) {
  lnt__pool *pool = transfer->pool;
  if (transfer->has_news || !pool) return;
  transfer->has_news = true;
  transfer->next_news = NULL;
  if (pool->last_news) pool->last_news->next_news = transfer;
  else pool->first_news = transfer;
  pool->last_news = transfer;
}

static lnt__transfer *news_take(lnt__pool *pool) {
  lnt__transfer *transfer = pool->first_news;
  if (!transfer) return NULL;
  pool->first_news = transfer->next_news;
  if (!pool->first_news) pool->last_news = NULL;
  transfer->has_news = false;
  return transfer;
}

static void news_forget(lnt__pool *pool, lnt__transfer *transfer) {
  lnt__transfer *before = NULL;
  for (lnt__transfer *at = pool->first_news; at; before = at, at = at->next_news) {
    if (at != transfer) continue;
    if (before) before->next_news = at->next_news;
    else pool->first_news = at->next_news;
    if (pool->last_news == at) pool->last_news = before;
    break;
  }
  transfer->has_news = false;
}

/* ---- What libcurl did ---- */

static void finish(lnt__transfer *transfer, CURLcode result) {
  transfer->result = result;
  transfer->done = true;
  lnt__pool_news(transfer);
}

static void take_messages(lnt__pool *pool) {
  int left;
  for (CURLMsg *message; (message = curl_multi_info_read(pool->multi, &left)) != NULL;) {
    lnt__transfer *transfer = NULL;
    if (message->msg != CURLMSG_DONE) continue;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
    if (transfer) finish(transfer, message->data.result);
  }
}

static void tell(lnt__pool *pool) {
  for (lnt__transfer *transfer; (transfer = news_take(pool)) != NULL;) call_lua(pool, transfer->wake_ref, false);
}

/* A socket can be read or written, or time has passed: let libcurl work, then tell Lua what came of it. */
static void act(lnt__pool *pool, curl_socket_t socket, int flags) {
  sigset_t before;
  int running;
  if (pool->closed) return;
  pool->busy++;
  quiet_begin(&before);
  CURLMcode code = curl_multi_socket_action(pool->multi, socket, flags, &running);
  take_messages(pool);
  quiet_end(&before);
  for (lnt__transfer *at = code ? pool->transfers : NULL; at; at = at->older)
    if (!at->done) finish(at, CURLE_OUT_OF_MEMORY);
  tell(pool);
  pool->busy--;
  free_when_unused(pool);
}

/* ---- Sockets and timers ---- */

static void on_socket_ready(uv_poll_t *poll, int status, int events) {
  const watch *w = poll->data;
  int flags = status < 0 ? CURL_CSELECT_ERR : 0;
  if (events & UV_READABLE) flags |= CURL_CSELECT_IN;
  if (events & UV_WRITABLE) flags |= CURL_CSELECT_OUT;
  act(w->pool, w->socket, flags);
}

static watch *watch_open(lnt__pool *pool, curl_socket_t socket) {
  watch *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->pool = pool;
  w->socket = socket;
  if (uv_poll_init_socket(pool->luv->loop, &w->poll, socket)) {
    free(w);
    return NULL;
  }
  w->poll.data = w;
  w->older = pool->watches;
  if (w->older) w->older->newer = w;
  pool->watches = w;
  pool->handles++;
  return w;
}

/* libcurl closes a socket after this, and its number may come back at once: the loop must not know it any more. */
static void watch_close(watch *w) {
  if (w->older) w->older->newer = w->newer;
  if (w->newer) w->newer->older = w->older;
  else w->pool->watches = w->older;
  uv_poll_stop(&w->poll);
  uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *user, void *socket_user) {
  lnt__pool *pool = user;
  watch *w = socket_user;
  (void)easy;
  if (what == CURL_POLL_REMOVE) {
    if (w) watch_close(w);
    curl_multi_assign(pool->multi, socket, NULL);
    return 0;
  }
  if (!w) {
    w = pool->luv ? watch_open(pool, socket) : NULL;
    if (!w) return -1;
    curl_multi_assign(pool->multi, socket, w);
  }
  int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
  return uv_poll_start(&w->poll, events, on_socket_ready) ? -1 : 0;
}

static void on_time(uv_timer_t *timer) { act(timer->data, CURL_SOCKET_TIMEOUT, 0); }

static int on_timer(CURLM *multi, long timeout_ms, void *user) {
  lnt__pool *pool = user;
  (void)multi;
  if (pool->closed) return 0;
  if (timeout_ms < 0) return uv_timer_stop(&pool->timer), 0;
  uv_update_time(pool->timer.loop);
  return uv_timer_start(&pool->timer, on_time, (uint64_t)timeout_ms, 0) ? -1 : 0;
}

/* ---- Pools ---- */

lnt__pool *lnt__pool_create(luv_ctx_t *luv, const char **why) {
  lnt__pool *pool = calloc(1, sizeof *pool);
  *why = "out of memory";
  if (!pool) return NULL;
  pool->luv = luv;
  pool->multi = curl_multi_init();
  if (!pool->multi || uv_timer_init(luv->loop, &pool->timer)) {
    curl_multi_cleanup(pool->multi);
    free(pool);
    return NULL;
  }
  pool->timer.data = pool;
  pool->handles = 1;
  curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
  curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
  curl_multi_setopt(pool->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, LNT__CURL_CONNECTIONS_MAX);
  curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, LNT__CURL_CONNECTIONS_KEPT);
  return pool;
}

bool lnt__pool_add(lnt__pool *pool, lnt__transfer *transfer, const char **why) {
  sigset_t before;
  *why = "the pool is closed";
  if (pool->closed) return false;
  quiet_begin(&before);
  CURLMcode code = curl_multi_add_handle(pool->multi, transfer->easy);
  quiet_end(&before);
  *why = curl_multi_strerror(code);
  if (code) return false;
  transfer->pool = pool;
  transfer->older = pool->transfers;
  if (pool->transfers) pool->transfers->newer = transfer;
  pool->transfers = transfer;
  return true;
}

void lnt__pool_remove(lnt__transfer *transfer) {
  sigset_t before;
  lnt__pool *pool = transfer->pool;
  if (!pool) return;
  if (transfer->has_news) news_forget(pool, transfer);
  if (transfer->older) transfer->older->newer = transfer->newer;
  if (transfer->newer) transfer->newer->older = transfer->older;
  else pool->transfers = transfer->older;
  transfer->older = transfer->newer = NULL;
  transfer->pool = NULL;
  quiet_begin(&before);
  curl_multi_remove_handle(pool->multi, transfer->easy);
  quiet_end(&before);
}

void lnt__pool_close(lnt__pool *pool, int closed_ref) {
  sigset_t before;
  if (pool->closed) return;
  while (pool->transfers) lnt__pool_remove(pool->transfers);
  quiet_begin(&before);
  curl_multi_cleanup(pool->multi);
  quiet_end(&before);
  while (pool->watches) watch_close(pool->watches);
  pool->multi = NULL;
  pool->closed = true;
  pool->closed_ref = closed_ref;
  uv_timer_stop(&pool->timer);
  uv_close((uv_handle_t *)&pool->timer, on_timer_closed);
}

void lnt__pool_drop(lnt__pool *pool) {
  lnt__pool_close(pool, LUA_NOREF);
  pool->luv = NULL;
  pool->dropped = true;
  free_when_unused(pool);
}
