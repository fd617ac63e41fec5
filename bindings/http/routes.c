/* routes.c - what each URL of the HTTP API does. The table `routes` is the list; a segment in braces stands for an argument,
 * percent-encoded in the URL. Bodies are JSON; an empty body is no value. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bindings/http/internal.h"

/* ---- Arguments ---- */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* Decode %XX in place; false: malformed, or a NUL. */
static bool decode(char *text) {
  char *to = text;
  for (const char *from = text; *from; from++) {
    if (*from != '%') {
      *to++ = *from;
      continue;
    }
    int high = hex_digit(from[1]);
    int low = high < 0 ? -1 : hex_digit(from[2]);
    if (low < 0 || high * 16 + low == 0) return false;
    *to++ = (char)(high * 16 + low);
    from += 2;
  }
  *to = 0;
  return true;
}

static bool split_path(lnt__request *request) {
  char *at = request->path;
  while (*at == '/') {
    *at++ = 0;
    if (!*at && request->segment_count) break; /* a slash at the end is no segment */
    if (request->segment_count == LNT__HTTP_SEGMENTS_MAX) return false;
    request->segments[request->segment_count++] = at;
    at += strcspn(at, "/");
  }
  for (size_t i = 0; i < request->segment_count; i++) {
    if (!decode(request->segments[i])) return false;
  }
  return true;
}

bool lnt__request_parameter(lnt__request *request, const char *name, char *out, size_t size, bool *bad) {
  const char *value = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
  if (!value) return false;
  size_t length = strlen(value);
  char *copy = malloc(length + 1);
  bool good = copy && decode(memcpy(copy, value, length + 1)) && strlen(copy) < size;
  if (good) memcpy(out, copy, strlen(copy) + 1);
  free(copy);
  if (!good) *bad = true;
  return good;
}

bool lnt__request_number(lnt__request *request, const char *name, uint64_t *out, bool *bad) {
  char text[32], *end = text;
  if (!lnt__request_parameter(request, name, text, sizeof text, bad)) return false;
  *out = strtoull(text, &end, 10);
  if (text[0] < '0' || text[0] > '9' || *end) *bad = true;
  return !*bad;
}

const char *lnt__request_text_fault(lnt__request *request, const char *name, size_t bytes_max, const char *advice) {
  const char *value = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
  char *copy = value ? strdup(value) : NULL;
  size_t size = copy && decode(copy) ? strlen(copy) : 0;
  if (size > bytes_max)
    snprintf(request->fault, sizeof request->fault, "the parameter `%s` has %zu bytes; at most %zu: %s", name, size, bytes_max,
             advice);
  else
    snprintf(request->fault, sizeof request->fault,
             "the parameter `%s` is not percent-encoded text: '%%' stands before two hexadecimal digits, which are not 00", name);
  free(copy);
  return request->fault;
}

void lnt__request_bad_query(lnt__request *request, const char *what) { lnt__request_refuse(request, 400, "LNT_EINVAL", what); }

bool lnt__request_body(lnt__request *request, lnt_value *value) {
  *value = LNT_VALUE_NIL;
  if (!request->body.size) return true;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_value_from_json(request->body.data, request->body.size, value, &err);
  if (status) lnt__request_fail(request, status, &err);
  return !status;
}

/* ---- Changes: answered when they are durable ---- */

lnt__pending *lnt__request_pending(lnt__request *request) {
  lnt__pending *pending = malloc(sizeof *pending);
  if (!pending) {
    lnt__request_fail(request, LNT_ENOMEM, NULL);
    return NULL;
  }
  pending->request = request;
  request->pending = pending;
  return pending;
}

lnt__request *lnt__pending_finish(lnt__pending *pending) {
  lnt__request *request = pending->request;
  if (request) request->pending = NULL;
  free(pending);
  return request;
}

void lnt__request_refused(lnt__request *request, lnt_status status, const lnt_error *err) {
  lnt__pending_finish(request->pending);
  lnt__request_fail(request, status, err);
}

void lnt__request_done(void *user, lnt_status status) {
  lnt__request *request = lnt__pending_finish(user);
  if (!request) return;
  if (status) {
    lnt__request_fail(request, status, NULL);
    return;
  }
  bool started = !request->segments[4] && !strcmp(request->segments[1], "workflows");
  lnt__text_raw(&request->reply, "{");
  lnt__text_member(&request->reply, "id", request->id[0] ? request->id : NULL);
  lnt__text_member(&request->reply, started ? "workflow" : "event", request->name[0] ? request->name : NULL);
  if (!strcmp(request->segments[1], "activities")) lnt__text_member(&request->reply, "token", request->segments[2]);
  if (request->existed) lnt__text_raw(&request->reply, ",\"existed\":true");
  if (request->repeated) lnt__text_raw(&request->reply, ",\"repeated\":true");
  if (request->purges) lnt__text_number(&request->reply, "purged", (int64_t)request->purged);
  lnt__text_cursor(&request->reply, request->purge_next);
  lnt__text_raw(&request->reply, "}");
  lnt__request_answered(request, request->creates || (started && !request->existed) ? 201 : 200);
}

static void post_event(lnt__request *request) {
  char key[LNT_NAME_BYTES_MAX + 1];
  bool bad = false;
  lnt_raise_options options;
  lnt_raise_options_init(&options);
  if (lnt__request_parameter(request, "key", key, sizeof key, &bad)) options.key = key;
  if (bad) lnt__request_bad_query(request, "the parameter `key` is malformed or longer than 128 bytes");
  if (bad || !lnt__request_body(request, &options.data)) return;
  snprintf(request->id, sizeof request->id, "%s", request->segments[2]);
  snprintf(request->name, sizeof request->name, "%s", request->segments[4]);
  options.done = lnt__request_done;
  options.done_user = lnt__request_pending(request);
  options.repeated = &request->repeated;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  if (options.done_user) status = lnt_raise_ex(request->rt, request->segments[2], request->segments[4], &options, &err);
  lnt_value_free(&options.data);
  if (status) lnt__request_refused(request, status, &err);
}

/* ---- Reads ---- */

/* The parameter `run`; 0: it is not there. false: it was refused. */
static bool read_run(lnt__request *request, uint64_t *run) {
  bool bad = false;
  *run = 0;
  lnt__request_number(request, "run", run, &bad);
  if (bad) lnt__request_bad_query(request, "the parameter `run` is not the number of a run");
  return !bad;
}

static void get_instance(lnt__request *request) {
  lnt_instance *instance;
  lnt_error err = {LNT_OK, ""};
  uint64_t run;
  if (!read_run(request, &run)) return;
  lnt_status status = lnt_get_run(request->rt, request->segments[2], run, &instance, &err);
  if (status) {
    lnt__request_fail(request, status, &err);
    return;
  }
  lnt__text_instance(&request->reply, instance, true);
  lnt_free(instance);
  lnt__request_answered(request, 200);
}

static int add_event(void *user, const lnt_event *event) {
  lnt__text *reply = user;
  if (reply->data[reply->size - 1] != '[') lnt__text_raw(reply, ",");
  lnt__text_event(reply, event);
  return reply->failed;
}

static void get_history(lnt__request *request) {
  lnt_error err = {LNT_OK, ""};
  uint64_t run;
  if (!read_run(request, &run)) return;
  lnt__text_raw(&request->reply, "{\"events\":[");
  lnt_status status = lnt_history_run(request->rt, request->segments[2], run, add_event, &request->reply, &err);
  if (status) {
    lnt__request_fail(request, status, &err);
    return;
  }
  lnt__text_raw(&request->reply, "]}");
  lnt__request_answered(request, 200);
}

static void add_workflow(void *user, const char *name, const char *file, const char *hash) {
  lnt__text *reply = user;
  if (!reply->failed && reply->data[reply->size - 1] != '[') lnt__text_raw(reply, ",");
  lnt__text_raw(reply, "{");
  lnt__text_member(reply, "name", name);
  lnt__text_member(reply, "file", file);
  lnt__text_member(reply, "hash", hash);
  lnt__text_raw(reply, "}");
}

static void get_workflows(lnt__request *request) {
  lnt__text_raw(&request->reply, "{\"workflows\":[");
  lnt_status status = lnt_workflows(request->rt, add_workflow, &request->reply);
  if (status) {
    lnt__request_fail(request, status, NULL);
    return;
  }
  lnt__text_raw(&request->reply, "]}");
  lnt__request_answered(request, 200);
}

static void get_health(lnt__request *request) {
  lnt__text_raw(&request->reply, "{\"status\":\"ok\"");
  lnt__text_member(&request->reply, "version", lnt_version());
  lnt__text_raw(&request->reply, "}");
  lnt__request_answered(request, 200);
}

static void get_stats(lnt__request *request) {
  lnt_stats stats;
  memset(&stats, 0, sizeof stats);
  stats.size = sizeof stats;
  lnt_status status = lnt_get_stats(request->rt, &stats);
  if (status) {
    lnt__request_fail(request, status, NULL);
    return;
  }
  lnt__text_raw(&request->reply, "{");
#define LNT__X(field, text) lnt__text_number(&request->reply, #field, (int64_t)stats.field);
  LNT_STATS_MAP(LNT__X)
#undef LNT__X
  lnt__text_raw(&request->reply, ",\"met\":{");
#define LNT__X(field, value, text) lnt__text_number(&request->reply, #field, (int64_t)stats.met.field);
  LNT_LIMIT_MAP(LNT__X)
#undef LNT__X
  lnt__text_raw(&request->reply, "}}");
  lnt__request_answered(request, 200);
}

/* ---- The table ---- */

typedef struct route {
  const char *method;
  const char *segments[LNT__HTTP_SEGMENTS_MAX];
  void (*run)(lnt__request *request);
  const char *query; /* names of the parameters that it reads, separated by blanks */
  const char *body;  /* what it is; "": none is read */
  const char *about; /* one line, for people: the list of all routes that GET /v1 gives */
} route;

static void get_routes(lnt__request *request);

#define CONDITIONS "status workflow prefix parent attributes created_from_us created_to_us"

/* API.md tells the same at greater length; a spec compares both. */
static const route routes[] = {
    {"GET", {"v1"}, get_routes, "", "", "this list"},
    {"GET", {"v1", "health"}, get_health, "", "", "is it there, and its version"},
    {"GET", {"v1", "stats"}, get_stats, "", "", "counters since it was opened"},
    {"GET", {"v1", "workflows"}, get_workflows, "", "", "what new starts can name"},
    {"POST", {"v1", "workflows", "{name}", "start"}, lnt__post_start, "id id_reuse start_at_us attributes", "the input",
     "start an instance"},
    {"GET", {"v1", "instances"}, lnt__get_instances, CONDITIONS " limit cursor", "", "a page of instances, newest first"},
    {"GET", {"v1", "counts"}, lnt__get_counts, CONDITIONS, "", "how many there are, by status"},
    {"GET", {"v1", "instances", "{id}"}, get_instance, "run", "", "one instance, with input and output"},
    {"GET", {"v1", "instances", "{id}", "history"}, get_history, "run", "", "its events"},
    {"GET", {"v1", "instances", "{id}", "describe"}, lnt__get_describe, "", "", "why it waits"},
    {"GET", {"v1", "instances", "{id}", "wait"}, lnt__get_wait, "timeout_ms until", "", "wait until it is over, or has started"},
    {"POST", {"v1", "instances", "{id}", "events", "{event}"}, post_event, "key", "the data", "deliver an event"},
    {"GET", {"v1", "instances", "{id}", "query", "{query}"}, lnt__ask_query, "args", "", "ask it"},
    {"POST", {"v1", "instances", "{id}", "query", "{query}"}, lnt__ask_query, "args", "the arguments", "ask it"},
    {"POST", {"v1", "instances", "{id}", "update", "{update}"}, lnt__post_update, "update_id", "the arguments", "ask it to do something"},
    {"GET", {"v1", "instances", "{id}", "stream", "{stream}"}, lnt__get_stream, "cursor limit wait_ms", "", "what it emitted"},
    {"POST", {"v1", "instances", "{id}", "suspend"}, lnt__post_suspend, "reason", "", "pause it"},
    {"POST", {"v1", "instances", "{id}", "resume"}, lnt__post_resume, "reason", "", "let it go on"},
    {"POST", {"v1", "instances", "{id}", "cancel"}, lnt__post_cancel, "reason", "", "ask it to clean up and end"},
    {"POST", {"v1", "instances", "{id}", "terminate"}, lnt__post_terminate, "reason", "", "stop it"},
    {"POST", {"v1", "instances", "{id}", "fork"}, lnt__post_fork, "event new_id run code", "another input", "go on as a new one"},
    {"POST", {"v1", "instances", "{id}", "rerun"}, lnt__post_rerun, "event new_id run code", "another input", "do one step again"},
    {"POST", {"v1", "instances", "{id}", "retry"}, lnt__post_retry, "run code", "", "go on from its failure"},
    {"POST", {"v1", "instances", "{id}", "purge"}, lnt__post_purge, "recursive force", "", "take it out of the store"},
    {"POST", {"v1", "purge"}, lnt__post_purge_matching, CONDITIONS " limit cursor closed_before_us recursive force", "", "all that match"},
    {"GET", {"v1", "instances", "{id}", "export"}, lnt__get_export, "run whole", "", "it and its code, as the bytes of a file"},
    {"POST", {"v1", "import"}, lnt__post_import, "file id suspend", "the bytes of an export, where no file is named", "take it in"},
    {"POST", {"v1", "activities", "{token}", "complete"}, lnt__post_complete, "", "the result", "answer an attempt from outside"},
    {"POST", {"v1", "activities", "{token}", "fail"}, lnt__post_fail, "type message retryable", "the details", "the same, with a failure"},
    {"POST", {"v1", "activities", "{token}", "heartbeat"}, lnt__post_heartbeat, "", "the details", "say that it is alive"},
    {"POST", {"v1", "reload"}, lnt__post_reload, "file policy dry_run", "", "load a file again, tried on instances first"},
    {"POST", {"v1", "migrate"}, lnt__post_migrate, CONDITIONS " hash policy dry_run", "{\"ids\": [...]}, where no conditions choose",
     "move instances to other code"},
    {"GET", {"v1", "versions"}, lnt__get_versions, "workflow", "", "which code there is, and who runs on it"},
    {"GET", {"v1", "code", "{hash}"}, lnt__get_code, "", "", "the sources of a version; the beginning of its hash is enough"},
};

static void add_path(lnt__text *reply, const route *row) {
  char path[256];
  size_t size = 0;
  for (size_t i = 0; i < LNT__HTTP_SEGMENTS_MAX && row->segments[i]; i++)
    size += (size_t)snprintf(path + size, sizeof path - size, "/%s", row->segments[i]);
  lnt__text_member(reply, "path", path);
}

static void add_parameters(lnt__text *reply, const char *names) {
  lnt__text_raw(reply, ",\"query\":[");
  for (const char *at = names; *at;) {
    size_t size = strcspn(at, " ");
    lnt__text_raw(reply, at == names ? "\"" : ",\"");
    lnt__text_add(reply, at, size);
    lnt__text_raw(reply, "\"");
    at += size + (at[size] == ' ');
  }
  lnt__text_raw(reply, "]");
}

static void get_routes(lnt__request *request) {
  lnt__text *reply = &request->reply;
  lnt__text_raw(reply, "{\"routes\":[");
  for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
    lnt__text_raw(reply, i ? ",{" : "{");
    lnt__text_member(reply, "method", routes[i].method);
    add_path(reply, &routes[i]);
    add_parameters(reply, routes[i].query);
    lnt__text_member(reply, "body", routes[i].body[0] ? routes[i].body : NULL);
    lnt__text_member(reply, "about", routes[i].about);
    lnt__text_raw(reply, "}");
  }
  lnt__text_raw(reply, "]}");
  lnt__request_answered(request, 200);
}

static bool matches(const route *row, const lnt__request *request) {
  size_t i = 0;
  for (; i < LNT__HTTP_SEGMENTS_MAX && row->segments[i]; i++) {
    if (i == request->segment_count) return false;
    bool any = row->segments[i][0] == '{';
    if (any ? !request->segments[i][0] : strcmp(row->segments[i], request->segments[i]) != 0) return false;
  }
  return i == request->segment_count;
}

typedef struct unknown { const char *known; char name[64]; } unknown;

static enum MHD_Result look_at_parameter(void *user, enum MHD_ValueKind kind, const char *name, const char *value) {
  unknown *u = user;
  size_t size = strlen(name);
  (void)kind, (void)value;
  for (const char *at = u->known; *at; at += strspn(at, " ")) {
    size_t length = strcspn(at, " ");
    if (length == size && memcmp(at, name, size) == 0) return MHD_YES;
    at += length;
  }
  snprintf(u->name, sizeof u->name, "%s", name);
  return MHD_NO;
}

/* A condition that is spelled wrongly must not widen what is purged. */
static bool refuse_unknown(lnt__request *request, const route *row) {
  char why[400];
  unknown u = {row->query, ""};
  MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, look_at_parameter, &u);
  if (!u.name[0]) return false;
  snprintf(why, sizeof why, "this URL does not know the parameter `%s`; it knows: %s", u.name, row->query[0] ? row->query : "none");
  lnt__request_bad_query(request, why);
  return true;
}

void lnt__request_route(lnt__request *request, const char *method) {
  if (request->body_too_large) {
    lnt__request_refuse(request, 413, "LNT_ELIMIT", "the body is larger than 16 MiB");
    return;
  }
  if (!split_path(request)) {
    lnt__request_refuse(request, 400, "LNT_EINVAL", "the path has a malformed percent escape, or too many segments");
    return;
  }
  for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
    if (!matches(&routes[i], request)) continue;
    if (!strcmp(method, routes[i].method)) {
      if (!refuse_unknown(request, &routes[i])) routes[i].run(request);
      return;
    }
    request->allow = request->allow ? "GET, POST" : routes[i].method;
  }
  if (request->allow) {
    lnt__request_refuse(request, 405, "LNT_EINVAL", "this URL does not know the method; see the header Allow");
  } else {
    lnt__request_refuse(request, 404, "LNT_ENOTFOUND", "there is no such URL; GET /v1 lists all that there are");
  }
}
