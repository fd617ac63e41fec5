/* routes_manage.c - URLs that manage instances: start, wait, suspend, resume, cancel, terminate, purge, fork, rerun,
 * retry. */
#include <stdio.h>
#include <string.h>

#include "bindings/http/internal.h"

/* ---- start ---- */

typedef struct start_query { char id[LNT_ID_BYTES_MAX + 1], id_reuse[16], attributes[8192]; } start_query;

static bool read_reuse(const char *text, lnt_id_reuse *out) {
  static const char *const names[] = {"error", "existing", "terminal", "replace"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (strcmp(text, names[i])) continue;
    *out = (lnt_id_reuse)i;
    return true;
  }
  return false;
}

/* NULL: good; else why not. */
static const char *read_start(lnt__request *request, start_query *q, lnt_start_options *options) {
  bool bad = false;
  uint64_t start_at_us = 0;
  options->id = lnt__request_parameter(request, "id", q->id, sizeof q->id, &bad) ? q->id : NULL;
  if (bad) return lnt__request_text_fault(request, "id", LNT_ID_BYTES_MAX, "shorten it");
  if (lnt__request_parameter(request, "id_reuse", q->id_reuse, sizeof q->id_reuse, &bad))
    bad = !read_reuse(q->id_reuse, &options->id_reuse);
  if (bad) return "the parameter `id_reuse` is one of error, existing, terminal, replace";
  lnt__request_number(request, "start_at_us", &start_at_us, &bad);
  if (bad || start_at_us > INT64_MAX) return "the parameter `start_at_us` is a number of microseconds since 1970";
  options->start_at_us = (int64_t)start_at_us;
  if (lnt__request_parameter(request, "attributes", q->attributes, sizeof q->attributes, &bad))
    bad = lnt_value_from_json(q->attributes, strlen(q->attributes), &options->attributes, NULL) != LNT_OK;
  return bad ? "the parameter `attributes` is not a JSON object, such as {\"customer\":\"ada\"}, percent-encoded" : NULL;
}

static void start(lnt__request *request, lnt_start_options *options) {
  options->done = lnt__request_done;
  options->done_user = lnt__request_pending(request);
  options->existed = &request->existed;
  if (!options->done_user) return;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_start(request->rt, options, request->id, &err);
  if (status) lnt__request_refused(request, status, &err);
}

void lnt__post_start(lnt__request *request) {
  start_query q;
  lnt_start_options options;
  lnt_start_options_init(&options);
  snprintf(request->name, sizeof request->name, "%s", request->segments[2]);
  options.workflow = request->segments[2];
  const char *refusal = read_start(request, &q, &options);
  if (refusal) lnt__request_bad_query(request, refusal);
  else if (lnt__request_body(request, &options.input)) start(request, &options);
  lnt_value_free(&options.input);
  lnt_value_free(&options.attributes);
}

/* ---- wait ---- */

static bool is_over(lnt_run_status status) {
  return status != LNT_RUN_RUNNING && status != LNT_RUN_PENDING && status != LNT_RUN_SUSPENDED && status != LNT_RUN_CONTINUED_AS_NEW;
}

bool lnt__request_try_wait(lnt__request *request) {
  lnt_instance *instance;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_get(request->rt, request->id, &instance, &err);
  if (status) {
    lnt__request_fail(request, status, &err);
    return true;
  }
  bool over = request->until_start ? instance->status != LNT_RUN_PENDING : is_over(instance->status);
  if (over) lnt__text_instance(&request->reply, instance, true);
  lnt_free(instance);
  if (over) lnt__request_answered(request, 200);
  return over;
}

void lnt__get_wait(lnt__request *request) {
  bool bad = false;
  char until[8] = "end";
  uint64_t timeout_ms = 60 * 1000;
  lnt__request_number(request, "timeout_ms", &timeout_ms, &bad);
  if (bad || timeout_ms > LNT__HTTP_WAIT_MS_MAX) {
    lnt__request_bad_query(request, "the parameter `timeout_ms` must be a number of milliseconds, at most a day");
    return;
  }
  lnt__request_parameter(request, "until", until, sizeof until, &bad);
  request->until_start = !strcmp(until, "start");
  if (bad || (!request->until_start && strcmp(until, "end"))) {
    lnt__request_bad_query(request, "the parameter `until` must be start or end");
    return;
  }
  if (strlen(request->segments[2]) > LNT_ID_BYTES_MAX) {
    lnt__request_bad_query(request, "an id has at most 128 bytes");
    return;
  }
  snprintf(request->id, sizeof request->id, "%s", request->segments[2]);
  if (!lnt__request_try_wait(request)) lnt__request_wait(request, timeout_ms);
}

/* ---- suspend, resume, cancel, terminate ---- */

typedef lnt_status (*reasoned_fn)(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err);

static void post_reasoned(lnt__request *request, reasoned_fn fn) {
  char reason[1024];
  bool bad = false;
  bool given = lnt__request_parameter(request, "reason", reason, sizeof reason, &bad);
  if (bad) {
    lnt__request_bad_query(request, lnt__request_text_fault(request, "reason", 1023, "shorten it"));
    return;
  }
  snprintf(request->id, sizeof request->id, "%s", request->segments[2]);
  lnt__pending *pending = lnt__request_pending(request);
  if (!pending) return;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = fn(request->rt, request->segments[2], given ? reason : NULL, lnt__request_done, pending, &err);
  if (status) lnt__request_refused(request, status, &err);
}

void lnt__post_suspend(lnt__request *request) { post_reasoned(request, lnt_suspend); }
void lnt__post_resume(lnt__request *request) { post_reasoned(request, lnt_resume); }
void lnt__post_cancel(lnt__request *request) { post_reasoned(request, lnt_cancel); }
void lnt__post_terminate(lnt__request *request) { post_reasoned(request, lnt_terminate); }

/* ---- purge ---- */

static bool read_flag(lnt__request *request, const char *name, int *flag, bool *bad) {
  char text[8];
  if (!lnt__request_parameter(request, name, text, sizeof text, bad)) return !*bad;
  *flag = !strcmp(text, "true") || !strcmp(text, "1");
  *bad = !*flag && strcmp(text, "false") && strcmp(text, "0");
  return !*bad;
}

/* false: the request was refused. */
static bool read_purge(lnt__request *request, lnt_purge_options *options) {
  bool bad = false;
  uint64_t before_us = 0;
  lnt_purge_options_init(options);
  lnt__request_number(request, "closed_before_us", &before_us, &bad);
  options->closed_before_us = (int64_t)before_us;
  bool good = !bad && before_us <= INT64_MAX;
  if (!good) lnt__request_bad_query(request, "the parameter `closed_before_us` is a number of microseconds since 1970");
  if (good && (!read_flag(request, "recursive", &options->recursive, &bad) || !read_flag(request, "force", &options->force, &bad))) {
    lnt__request_bad_query(request, "the parameters `recursive` and `force` are true or false");
    good = false;
  }
  request->purges = true;
  return good;
}

void lnt__post_purge(lnt__request *request) {
  lnt_purge_options options;
  if (!read_purge(request, &options)) return;
  snprintf(request->id, sizeof request->id, "%s", request->segments[2]);
  options.done = lnt__request_done;
  options.done_user = lnt__request_pending(request);
  if (!options.done_user) return;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_purge(request->rt, request->segments[2], &options, &request->purged, &err);
  if (status) lnt__request_refused(request, status, &err);
}

void lnt__post_purge_matching(lnt__request *request) {
  lnt_purge_options options;
  lnt__filters f;
  if (!read_purge(request, &options) || !lnt__request_filters(request, &f)) return;
  options.done = lnt__request_done;
  options.done_user = lnt__request_pending(request);
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  if (options.done_user)
    status = lnt_purge_matching(request->rt, &f.options, &options, &request->purged, &request->purge_next, &err);
  lnt_value_free(&f.options.attributes);
  if (status) lnt__request_refused(request, status, &err);
}

/* ---- fork, rerun, retry ---- */

typedef struct fork_query { char new_id[LNT_ID_BYTES_MAX + 1], code[16]; } fork_query;

/* NULL: good; else why not. */
static const char *read_fork(lnt__request *request, fork_query *q, lnt_fork_options *options) {
  static const char *const names[] = {"auto", "pinned", "newest"};
  bool bad = false, known = false;
  lnt_fork_options_init(options);
  if (lnt__request_parameter(request, "new_id", q->new_id, sizeof q->new_id, &bad)) options->new_id = q->new_id;
  if (bad) return lnt__request_text_fault(request, "new_id", LNT_ID_BYTES_MAX, "shorten it");
  lnt__request_number(request, "event", &options->event, &bad);
  lnt__request_number(request, "run", &options->run, &bad);
  if (bad) return "the parameters `event` and `run` are numbers";
  if (!lnt__request_parameter(request, "code", q->code, sizeof q->code, &bad)) known = true;
  for (size_t i = 0; i < sizeof names / sizeof *names && !known && !bad; i++) {
    known = !strcmp(q->code, names[i]);
    options->code = (lnt_fork_code)i;
  }
  return known && !bad ? NULL : "the parameter `code` is one of auto, pinned, newest";
}

typedef lnt_status (*fork_fn)(lnt_runtime *rt, const char *id, const lnt_fork_options *options, char *id_out, lnt_error *err);

static void fork_as(lnt__request *request, fork_fn fn) {
  fork_query q;
  lnt_fork_options options;
  const char *refusal = read_fork(request, &q, &options);
  if (refusal) lnt__request_bad_query(request, refusal);
  if (refusal || !lnt__request_body(request, &options.input)) return;
  options.replace_input = request->body.size != 0;
  options.done = lnt__request_done;
  options.done_user = lnt__request_pending(request);
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  if (options.done_user) status = fn(request->rt, request->segments[2], &options, request->id, &err);
  lnt_value_free(&options.input);
  request->creates = true;
  if (status) lnt__request_refused(request, status, &err);
}

static lnt_status retry(lnt_runtime *rt, const char *id, const lnt_fork_options *options, char *id_out, lnt_error *err) {
  snprintf(id_out, LNT_ID_BYTES_MAX + 1, "%s", id);
  return lnt_retry(rt, id, options, err);
}

void lnt__post_fork(lnt__request *request) { fork_as(request, lnt_fork); }
void lnt__post_rerun(lnt__request *request) { fork_as(request, lnt_rerun); }
void lnt__post_retry(lnt__request *request) { fork_as(request, retry); }
