/* http.c - the server behind http.h: libmicrohttpd without threads, its epoll descriptor watched by the runtime's libuv loop.
 *
 * A request that waits (for a commit, for an instance's end) has its connection suspended; lnt__request_answered() resumes it. */
#define _GNU_SOURCE /* O_PATH */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "bindings/http/internal.h"

#define IDLE_SECONDS_MAX 120u
#define BACKLOG 128

struct lnt__http {
  lnt_runtime *rt;
  struct MHD_Daemon *daemon;
  uv_loop_t *loop;
  uv_poll_t poll;
  uv_timer_t pump_timer; /* libmicrohttpd's next timeout, or "now" after a resume */
  uv_timer_t wait_timer; /* the earliest deadline of a request that waits */
  unsigned handles;      /* open ones of the three above */
  lnt__request *requests;
  unsigned start_waits;  /* requests that wait for a start */
  bool closing;
  char *path;
};

/* ---- The loop ---- */

static void pump(lnt__http *http);

static void on_pump_timer(uv_timer_t *timer) { pump(timer->data); }

static void on_readable(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  pump(poll->data);
}

static void pump(lnt__http *http) {
  MHD_run(http->daemon);
  MHD_UNSIGNED_LONG_LONG timeout_ms;
  if (MHD_get_timeout(http->daemon, &timeout_ms) == MHD_YES) {
    uv_timer_start(&http->pump_timer, on_pump_timer, timeout_ms, 0);
  } else {
    uv_timer_stop(&http->pump_timer);
  }
}

/* Not at once: this may be called from inside of MHD_run(). */
static void pump_soon(lnt__http *http) {
  if (!http->closing) uv_timer_start(&http->pump_timer, on_pump_timer, 0, 0);
}

/* ---- Answers ---- */

static const struct {
  lnt_status status;
  unsigned http_status;
} http_statuses[] = {
    {LNT_EINVAL, 400},   {LNT_EVALUE, 400},   {LNT_ENOTFOUND, 404}, {LNT_EEXIST, 409}, {LNT_ECLOSED, 409},
    {LNT_EDIVERGED, 409}, {LNT_ELIMIT, 413},  {LNT_EFULL, 507},     {LNT_EAGAIN, 503}, {LNT_EBUSY, 503}, {LNT_EOPEN, 409},
    {LNT_EOVER, 409},
    {LNT_ETIMEOUT, 504}, {LNT_EREADONLY, 403}, {LNT_EFAILED, 422}, {LNT_ESYNTAX, 422}, {LNT_EVERSION, 422}, {LNT_ENOTOURS, 422},
};

unsigned lnt__http_status_of(lnt_status status) {
  for (size_t i = 0; i < sizeof http_statuses / sizeof *http_statuses; i++) {
    if (http_statuses[i].status == status) return http_statuses[i].http_status;
  }
  return 500;
}

static void end_wait(lnt__request *request) {
  if (request->waits && request->until_start) request->http->start_waits--;
  request->waits = false;
}

void lnt__request_answered(lnt__request *request, unsigned status) {
  request->status = status;
  request->answered = true;
  end_wait(request);
  if (!request->suspended) return;
  request->suspended = false;
  MHD_resume_connection(request->connection);
  pump_soon(request->http);
}

void lnt__request_refuse(lnt__request *request, unsigned http_status, const char *code, const char *message) {
  request->reply.size = 0;
  lnt__text_error(&request->reply, code, message);
  lnt__request_answered(request, http_status);
}

void lnt__request_fail(lnt__request *request, lnt_status status, const lnt_error *err) {
  const char *message = err && err->message[0] ? err->message : lnt_status_text(status);
  lnt__request_refuse(request, lnt__http_status_of(status), lnt_status_name(status), message);
}

static enum MHD_Result send_reply(lnt__request *request) {
  if (request->reply.failed) {
    lnt__text_finish(&request->reply);
    lnt__text_error(&request->reply, "LNT_ENOMEM", "out of memory");
    request->status = 500;
  }
  if (!request->content_type) lnt__text_raw(&request->reply, "\n");
  struct MHD_Response *response = MHD_create_response_from_buffer(request->reply.size, request->reply.data, MHD_RESPMEM_MUST_COPY);
  if (!response) return MHD_NO;
  lnt__text_finish(&request->reply);
  MHD_add_response_header(response, "Content-Type", request->content_type ? request->content_type : "application/json");
  if (request->allow && request->status == 405) MHD_add_response_header(response, "Allow", request->allow);
  enum MHD_Result result = MHD_queue_response(request->connection, request->status, response);
  MHD_destroy_response(response);
  return result;
}

/* ---- Waiting ---- */

static void on_wait_timer(uv_timer_t *timer);

static void arm_waits(lnt__http *http) {
  uint64_t earliest = UINT64_MAX, now = uv_now(http->loop);
  for (lnt__request *r = http->requests; r; r = r->next) {
    if (r->waits && r->deadline_ms < earliest) earliest = r->deadline_ms;
  }
  if (earliest == UINT64_MAX || http->closing) {
    uv_timer_stop(&http->wait_timer);
  } else {
    uv_timer_start(&http->wait_timer, on_wait_timer, earliest > now ? earliest - now : 0, 0);
  }
}

static void on_wait_timer(uv_timer_t *timer) {
  lnt__http *http = timer->data;
  uint64_t now = uv_now(http->loop);
  for (lnt__request *r = http->requests; r; r = r->next) {
    if (!r->waits || r->deadline_ms > now) continue;
    const char *refusal = r->until_start ? "the instance has not started yet; wait again" : "the instance is not finished yet; wait again";
    if (r->follower) lnt__request_stream_timed_out(r);
    else lnt__request_refuse(r, 504, "LNT_ETIMEOUT", refusal);
  }
  arm_waits(http);
}

void lnt__request_wait(lnt__request *request, uint64_t timeout_ms) {
  request->waits = true;
  request->http->start_waits += request->until_start;
  request->deadline_ms = uv_now(request->http->loop) + timeout_ms;
  arm_waits(request->http);
}

void lnt__http_notify(lnt__http *http, const char *instance_id, lnt_run_status status) {
  bool begins = status == LNT_RUN_RUNNING;
  if (status == LNT_RUN_PENDING || (begins && !http->start_waits)) return;
  for (lnt__request *r = http->requests; r; r = r->next) {
    if (r->waits && (r->until_start || !begins) && !strcmp(r->id, instance_id)) lnt__request_try_wait(r);
  }
}

/* ---- Requests ---- */

static lnt__request *request_create(lnt__http *http, struct MHD_Connection *connection, const char *url) {
  lnt__request *request = calloc(1, sizeof *request);
  if (!request) return NULL;
  request->path = strdup(url);
  if (!request->path) {
    free(request);
    return NULL;
  }
  request->http = http;
  request->rt = http->rt;
  request->connection = connection;
  request->next = http->requests;
  if (http->requests) http->requests->before = request;
  http->requests = request;
  return request;
}

static void request_destroy(lnt__request *request) {
  lnt__http *http = request->http;
  if (request->before) request->before->next = request->next;
  if (!request->before) http->requests = request->next;
  if (request->next) request->next->before = request->before;
  if (request->pending) request->pending->request = NULL;
  lnt__request_unfollow(request);
  end_wait(request);
  lnt__text_finish(&request->body);
  lnt__text_finish(&request->reply);
  free(request->path);
  free(request);
}

static void on_request_over(void *user, struct MHD_Connection *connection, void **slot, enum MHD_RequestTerminationCode why) {
  (void)user, (void)connection, (void)why;
  if (*slot) request_destroy(*slot);
  *slot = NULL;
}

static void take_body(lnt__request *request, const char *data, size_t size) {
  request->body_too_large = request->body_too_large || request->body.size + size > LNT__HTTP_BODY_BYTES_MAX;
  if (!request->body_too_large) lnt__text_add(&request->body, data, size);
}

/* Called when the headers are there, for each piece of the body, at its end, and again after each resume. */
static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
                                  const char *data, size_t *size, void **slot) {
  (void)version;
  lnt__request *request = *slot;
  if (!request) {
    *slot = request_create(user, connection, url);
    return *slot ? MHD_YES : MHD_NO;
  }
  if (*size) {
    take_body(request, data, *size);
    *size = 0;
    return MHD_YES;
  }
  if (!request->routed) {
    request->routed = true;
    lnt__request_route(request, method);
  }
  if (request->answered) return send_reply(request);
  request->suspended = true;
  MHD_suspend_connection(connection);
  return MHD_YES;
}

/* Percent escapes are decoded by routes.c, after the path is split: an escaped slash is part of a name. */
static size_t keep_escapes(void *user, struct MHD_Connection *connection, char *text) {
  (void)user, (void)connection;
  return strlen(text);
}

/* ---- The socket ---- */

/* A path too long for a socket address is reached through its folder's descriptor. */
static bool make_address(const char *path, int *folder, struct sockaddr_un *address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  *folder = -1;
  if (strlen(path) < sizeof address->sun_path) {
    memcpy(address->sun_path, path, strlen(path) + 1);
    return true;
  }
  const char *slash = strrchr(path, '/');
  char *parent = slash ? strndup(path, (size_t)(slash - path)) : NULL;
  if (!parent) return false;
  *folder = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
  free(parent);
  int size = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", *folder, slash + 1);
  return *folder >= 0 && (size_t)size < sizeof address->sun_path;
}

static int listen_on(const char *path) {
  struct sockaddr_un address;
  int folder, fd = -1;
  if (!make_address(path, &folder, &address)) {
    errno = ENAMETOOLONG;
  } else {
    unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of the file that bind() makes is that of the socket. */
    bool good = fd >= 0 && !fchmod(fd, 0600) && !bind(fd, (struct sockaddr *)&address, sizeof address) && !chmod(path, 0600) &&
                !listen(fd, BACKLOG);
    int error = errno;
    if (!good && fd >= 0) close(fd), fd = -1;
    errno = error;
  }
  int error = errno;
  if (folder >= 0) close(folder);
  errno = error;
  return fd;
}

/* ---- Create and destroy ---- */

static void on_handle_closed(uv_handle_t *handle) { ((lnt__http *)handle->data)->handles--; }

static void start_handles(lnt__http *http) {
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
  http->loop = lnt_uv_loop(http->rt);
  uv_timer_init(http->loop, &http->pump_timer);
  uv_timer_init(http->loop, &http->wait_timer);
  uv_poll_init(http->loop, &http->poll, info->epoll_fd);
  http->pump_timer.data = http->wait_timer.data = http->poll.data = http;
  http->handles = 3;
  uv_poll_start(&http->poll, UV_READABLE, on_readable);
  pump_soon(http);
}

static void close_handles(lnt__http *http) {
  uv_close((uv_handle_t *)&http->pump_timer, on_handle_closed);
  uv_close((uv_handle_t *)&http->wait_timer, on_handle_closed);
  uv_close((uv_handle_t *)&http->poll, on_handle_closed);
  while (http->handles) uv_run(http->loop, UV_RUN_NOWAIT);
}

static lnt_status fail(lnt_error *err, lnt_status status, const char *path, const char *what) {
  if (err) {
    err->code = status;
    snprintf(err->message, sizeof err->message, "cannot listen on %s: %s", path, what);
  }
  return status;
}

lnt_status lnt__http_create(lnt_runtime *rt, const char *path, lnt__http **out, lnt_error *err) {
  *out = NULL;
  int fd = listen_on(path);
  if (fd < 0) return fail(err, errno == ENAMETOOLONG ? LNT_EINVAL : LNT_EIO, path, strerror(errno));
  lnt__http *http = calloc(1, sizeof *http);
  if (http) http->path = strdup(path);
  if (http && http->path) {
    http->rt = rt;
    http->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET, fd,
                                    MHD_OPTION_CONNECTION_LIMIT, LNT__HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS_MAX,
                                    MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_request_over, NULL,
                                    MHD_OPTION_END);
  }
  if (!http || !http->daemon) {
    close(fd);
    unlink(path);
    if (http) free(http->path);
    free(http);
    return fail(err, LNT_ENOMEM, path, "the HTTP server does not start (out of memory or descriptors)");
  }
  start_handles(http);
  *out = http;
  return LNT_OK;
}

void lnt__http_destroy(lnt__http *http) {
  if (!http) return;
  http->closing = true;
  unlink(http->path);
  for (lnt__request *r = http->requests; r; r = r->next) {
    if (r->suspended) lnt__request_refuse(r, 503, "LNT_EAGAIN", "the server stops; ask again when it runs");
  }
  for (int i = 0; i < 3; i++) MHD_run(http->daemon); /* resume, write, close */
  uv_poll_stop(&http->poll);
  MHD_stop_daemon(http->daemon);
  close_handles(http);
  free(http->path);
  free(http);
}
