/* curl.h - what the files of the Lua module `lunation_curl` share: HTTP transfers on libcurl's multi interface, driven by the libuv loop
 * that luv uses in this lua_State. stdlib/http.lua stands on it; nobody else does. One thread: that of the lua_State.
 *
 * HOW IT WORKS. libcurl calls back for sockets and timers, which become handles of libuv, and for data, which is put into the transfer.
 * No callback of libcurl calls Lua: a transfer that has something new is put on a list, and when libcurl has returned, the function `wake`
 * of each is called as luv calls its callbacks. Lua then takes what there is. A consumer that is slow pauses its transfer.
 *
 * LIFETIMES. A transfer is the memory of its userdata and belongs to Lua; its end takes it out of the pool. A pool is memory of its own,
 * because libuv holds its handles a little longer than Lua holds it. */
#ifndef LNT__CURL_H
#define LNT__CURL_H

#include <luv/luv.h>

#include <curl/curl.h>
#include <stdbool.h>

#define LNT__CURL_POOL "lunation.curl.pool"
#define LNT__CURL_TRANSFER "lunation.curl.transfer"

#define LNT__CURL_CONNECTIONS_MAX 512L      /* open at once; more transfers wait */
#define LNT__CURL_CONNECTIONS_KEPT 64L      /* idle ones, for the next transfer to the same place */
#define LNT__CURL_HEAD_BYTES_MAX (256u << 10) /* header lines of one response */
#define LNT__CURL_BUFFER_BYTES_MAX (256u << 10) /* of a body that is streamed, until Lua takes them */

typedef struct lnt__pool lnt__pool;
typedef struct lnt__transfer lnt__transfer;

/* Bytes that grow. */
typedef struct lnt__bytes { char *data; size_t size, room; } lnt__bytes;

bool lnt__bytes_add(lnt__bytes *bytes, const char *data, size_t size); /* false: out of memory, nothing added */
void lnt__bytes_finish(lnt__bytes *bytes);

/* Why a transfer was given up by us, not by libcurl. */
typedef enum lnt__refusal { LNT__REFUSED_NOT, LNT__REFUSED_BODY, LNT__REFUSED_HEAD, LNT__REFUSED_MEMORY } lnt__refusal;

struct lnt__transfer {
  lnt__pool *pool; /* NULL: it is over, or never began */
  lnt__transfer *older, *newer; /* in the pool */
  lnt__transfer *next_news;
  CURL *easy;
  struct curl_slist *headers;
  lnt__bytes head, body;  /* received */
  lnt__bytes upload;      /* to be sent; `sent` of it are */
  size_t sent, body_max;
  bool collect;           /* the body is kept until the end, at most body_max bytes; else it is taken piece by piece */
  bool upload_ended, wants;  /* wants: libcurl waits for more to send */
  bool receive_paused, done, has_news;
  lnt__refusal refusal;
  CURLcode result;
  int wake_ref;
  char error[CURL_ERROR_SIZE];
};

/* ---- pool.c ---- */

lnt__pool *lnt__pool_create(luv_ctx_t *luv, const char **why); /* NULL: *why says why not */
bool lnt__pool_add(lnt__pool *pool, lnt__transfer *transfer, const char **why);
void lnt__pool_remove(lnt__transfer *transfer); /* also one that is in none */
/* Something happened in a callback of libcurl: Lua is told when libcurl has returned. */
void lnt__pool_news(lnt__transfer *transfer);
/* End all transfers and close everything. When the last handle is closed the Lua function under `closed_ref` is called, and released. */
void lnt__pool_close(lnt__pool *pool, int closed_ref);
void lnt__pool_drop(lnt__pool *pool); /* Lua forgets it: it frees itself after its last handle */

/* ---- transfer.c ---- */

/* RAISES. Make a transfer, pushed, from the table of options at `index`; it is in no pool yet. */
lnt__transfer *lnt__transfer_create(lua_State *L, int index);
void lnt__transfer_finish(lnt__transfer *transfer); /* stop it and give everything back; again: nothing */
/* Let libcurl go on with what Lua has made room for, or has given. */
void lnt__transfer_resume(lnt__transfer *transfer);

#endif
