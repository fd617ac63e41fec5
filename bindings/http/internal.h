/* internal.h - what the files of the HTTP API share: a request, and JSON text that grows. Owner thread only. */
#ifndef LNT__HTTP_INTERNAL_H
#define LNT__HTTP_INTERNAL_H

#include <microhttpd.h>
#include <stdbool.h>

#include "bindings/http/http.h"

/* ---- text.c ---- */

/* Text that grows; after a failed allocation `failed` is set and nothing more is added. */
typedef struct lnt__text {
  char *data;
  size_t size, room;
  bool failed;
} lnt__text;

void lnt__text_add(lnt__text *text, const void *data, size_t size);
void lnt__text_raw(lnt__text *text, const char *raw);
void lnt__text_string(lnt__text *text, const char *string);                   /* quoted and escaped; NULL: null */
void lnt__text_member(lnt__text *text, const char *name, const char *string); /* ,"name":"string"; nothing for NULL */
void lnt__text_number(lnt__text *text, const char *name, int64_t number);     /* ,"name":number */
void lnt__text_cursor(lnt__text *text, uint64_t next);                        /* ,"next":"..."; nothing for 0 */
void lnt__text_value(lnt__text *text, const char *name, lnt_value value);     /* ,"name":value; nothing for nil */
void lnt__text_instance(lnt__text *text, const lnt_instance *instance, bool whole);
void lnt__text_event(lnt__text *text, const lnt_event *event);
void lnt__text_error(lnt__text *text, const char *code, const char *message);
void lnt__text_finish(lnt__text *text);

/* ---- http.c ---- */

#define LNT__HTTP_BODY_BYTES_MAX ((size_t)16 << 20) /* the library's own limit on a value is checked on what is in it */
#define LNT__HTTP_CONNECTIONS_MAX 1024
#define LNT__HTTP_SEGMENTS_MAX 6
#define LNT__HTTP_WAIT_MS_MAX (24 * 60 * 60 * 1000)

typedef struct lnt__request lnt__request;

/* A change that is not durable yet. */
typedef struct lnt__pending {
  lnt__request *request; /* NULL: it ended before */
} lnt__pending;

struct lnt__request {
  lnt__http *http;
  lnt_runtime *rt;
  struct MHD_Connection *connection;
  char *path;                             /* decoded in place */
  char *segments[LNT__HTTP_SEGMENTS_MAX]; /* of the path; those that stand for {...} are the arguments of the route */
  size_t segment_count;
  char fault[160];
  lnt__text body;
  bool body_too_large;
  bool routed;    /* a handler saw it */
  bool suspended; /* the connection waits for lnt__request_answered() */
  bool answered;  /* `status` and `reply` are complete */
  unsigned status;
  const char *allow; /* for 405 */
  lnt__text reply;
  const char *content_type; /* of the reply; NULL: JSON */
  char name[LNT_NAME_BYTES_MAX + 1]; /* what the reply names: a workflow, an event */
  char id[LNT_ID_BYTES_MAX + 1];
  uint64_t deadline_ms; /* of a wait, on the loop's clock */
  lnt__request *next, *before; /* the list of all requests */
  lnt__pending *pending;       /* NULL: no change is on its way */
  bool waits;                  /* for the end of instance `id`, or its start */
  bool until_start;
  lnt_follower *follower;      /* waits for more of a stream from `cursor` on; NULL: it does not */
  lnt_cursor cursor;
  uint32_t limit;
  bool creates;                /* a run that goes on from a history */
  bool purges;                 /* it tells how many went, and where to go on */
  uint64_t purged, purge_next;
  int repeated;                /* an event was delivered before, under the same key */
  int existed;                 /* a start was answered by an instance that is there already */
};

/* The reply is complete: send it, now or when the connection is resumed. */
void lnt__request_answered(lnt__request *request, unsigned status);
void lnt__request_fail(lnt__request *request, lnt_status status, const lnt_error *err);
void lnt__request_refuse(lnt__request *request, unsigned http_status, const char *code, const char *message);
unsigned lnt__http_status_of(lnt_status status);
/* Answer when the instance request->id is finished, or when the time is up. */
void lnt__request_wait(lnt__request *request, uint64_t timeout_ms);

/* ---- routes.c ---- */

/* A parameter of the query, decoded into `out`. False: it is not there. Too long or malformed: *bad is set. */
bool lnt__request_parameter(lnt__request *request, const char *name, char *out, size_t size, bool *bad);
bool lnt__request_number(lnt__request *request, const char *name, uint64_t *out, bool *bad);
/* Why a parameter that is there was not taken as a text: it is too long, or wrongly encoded. Valid as long as the request. */
const char *lnt__request_text_fault(lnt__request *request, const char *name, size_t bytes_max, const char *advice);
void lnt__request_bad_query(lnt__request *request, const char *what);
/* The body as a value; false: it was refused. */
bool lnt__request_body(lnt__request *request, lnt_value *value);

/* A change is answered when it is durable. A request may end before its commit (the server stops), so the library is given a record of its
 * own that knows the request: make it, and hand it over with lnt__request_done; NULL: out of memory, and it was answered so. */
lnt__pending *lnt__request_pending(lnt__request *request);
void lnt__request_done(void *pending, lnt_status status);
lnt__request *lnt__pending_finish(lnt__pending *pending); /* its request, or NULL: it ended before */
void lnt__request_refused(lnt__request *request, lnt_status status, const lnt_error *err); /* the library did not take it */

void lnt__request_route(lnt__request *request, const char *method);

/* ---- routes_list.c ---- */

/* The conditions in a query, and their texts. The caller frees options.attributes. */
typedef struct lnt__filters {
  lnt_list_options options;
  char statuses[256];
  char workflow[LNT_NAME_BYTES_MAX + 1];
  char prefix[LNT_ID_BYTES_MAX + 1];
  char parent[LNT_ID_BYTES_MAX + 1];
  char attributes[8192];
} lnt__filters;
bool lnt__request_filters(lnt__request *request, lnt__filters *f); /* false: the request was refused */

void lnt__get_instances(lnt__request *request);
void lnt__get_counts(lnt__request *request);

/* ---- routes_ask.c ---- */

void lnt__ask_query(lnt__request *request);
void lnt__post_update(lnt__request *request);
void lnt__get_describe(lnt__request *request);
void lnt__get_stream(lnt__request *request);
void lnt__request_stream_timed_out(lnt__request *request);
void lnt__request_unfollow(lnt__request *request); /* also when it follows nothing */

/* ---- routes_activity.c ---- */

void lnt__post_complete(lnt__request *request);
void lnt__post_fail(lnt__request *request);
void lnt__post_heartbeat(lnt__request *request);

/* ---- routes_reload.c ---- */

void lnt__post_reload(lnt__request *request);
void lnt__post_migrate(lnt__request *request);
void lnt__get_versions(lnt__request *request);
void lnt__get_code(lnt__request *request);

/* ---- routes_portable.c ---- */

void lnt__get_export(lnt__request *request);
void lnt__post_import(lnt__request *request);

/* ---- routes_manage.c ---- */

void lnt__post_start(lnt__request *request);
void lnt__get_wait(lnt__request *request);
/* Answer a wait if what it waits for has come; false: it has not. */
bool lnt__request_try_wait(lnt__request *request);
void lnt__post_suspend(lnt__request *request);
void lnt__post_resume(lnt__request *request);
void lnt__post_cancel(lnt__request *request);
void lnt__post_terminate(lnt__request *request);
void lnt__post_purge(lnt__request *request);
void lnt__post_purge_matching(lnt__request *request);
void lnt__post_fork(lnt__request *request);
void lnt__post_rerun(lnt__request *request);
void lnt__post_retry(lnt__request *request);

#endif
