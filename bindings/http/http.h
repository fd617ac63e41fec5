/* http.h - the HTTP API: HTTP/1.1 and JSON on a Unix socket, driven by the runtime's own libuv loop. The program `lunation serve` uses it.
 *
 * Owner thread only; there is no thread beside it. A request that changes something is answered when the change is durable, not before.
 * The routes are listed in routes.c. Errors are {"error": {"code": "LNT_ENOTFOUND", "message": "..."}}. */
#ifndef LNT__HTTP_H
#define LNT__HTTP_H

#include "include/lunation.h"

typedef struct lnt__http lnt__http;

/* Listen on the Unix socket `path` (mode 0600; one that is left from before is replaced: the caller owns the data directory, so nobody
 * listens there). `*out` is released by lnt__http_destroy(). Errors: LNT_EIO, LNT_EINVAL (the path is too long), LNT_ENOMEM. */
lnt_status lnt__http_create(lnt_runtime *rt, const char *path, lnt__http **out, lnt_error *err);

/* The runtime has one observer, and it belongs to the host: its function calls this one, so that requests that wait are answered. */
void lnt__http_notify(lnt__http *http, const char *instance_id, lnt_run_status status);

/* Answer who still waits (503), close the socket and remove it. Before lnt_close(), outside of callbacks. NULL is accepted. */
void lnt__http_destroy(lnt__http *http);

#endif
