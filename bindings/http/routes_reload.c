/* routes_reload.c - code under instances that run: reload a file, migrate instances, list versions, show sources. Reloads are answered at
 * their end. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/http/internal.h"

enum { REPORTS_MAX = 100, IDS_MAX = 10000 };

/* What the library holds while a reload is under way. */
typedef struct reloading { lnt__pending *pending; lnt__text instances; uint64_t told; } reloading;

static void text_flag(lnt__text *text, const char *name, int flag) {
  lnt__text_raw(text, ",\"");
  lnt__text_raw(text, name);
  lnt__text_raw(text, flag ? "\":true" : "\":false");
}

/* Members begin with a comma, the first one of an object is written here. */
static void begin_object(lnt__text *text, const char *name, const char *value) {
  lnt__text_raw(text, "{\"");
  lnt__text_raw(text, name);
  lnt__text_raw(text, "\":");
  lnt__text_string(text, value);
}

static void member(lnt__text *text, const char *name, const char *value) { lnt__text_member(text, name, value && *value ? value : NULL); }

static void on_fit(void *user, const lnt_fit_report *r) {
  reloading *call = user;
  lnt__text *text = &call->instances;
  if (++call->told > REPORTS_MAX) return;
  if (text->size) lnt__text_raw(text, ",");
  begin_object(text, "id", r->id);
  member(text, "workflow", r->workflow);
  member(text, "status", lnt_run_status_name(r->status));
  member(text, "fit", lnt_fit_name(r->fit));
  text_flag(text, "moves", r->moves);
  member(text, "from_hash", r->from_hash);
  member(text, "to_hash", r->to_hash);
  lnt__text_number(text, "events", (int64_t)r->events);
  if (r->event) lnt__text_number(text, "event", (int64_t)r->event);
  if (r->event) lnt__text_number(text, "recorded_us", r->recorded_us);
  member(text, "recorded", r->recorded);
  member(text, "recorded_at", r->recorded_at);
  member(text, "made", r->made);
  member(text, "made_at", r->made_at);
  member(text, "difference", r->difference);
  member(text, "message", r->message);
  lnt__text_raw(text, "}");
}

static void write_patches(lnt__text *reply, const lnt_reload_summary *s) {
  lnt__text_raw(reply, ",\"patches\":[");
  for (size_t i = 0; i < s->patch_count; i++) {
    if (i) lnt__text_raw(reply, ",");
    begin_object(reply, "name", s->patches[i].name);
    lnt__text_number(reply, "took", (int64_t)s->patches[i].took);
    lnt__text_number(reply, "passed", (int64_t)s->patches[i].passed);
    lnt__text_raw(reply, "}");
  }
  lnt__text_raw(reply, "]");
}

static void write_interfaces(lnt__text *reply, const lnt_reload_summary *s) {
  lnt__text_raw(reply, ",\"interfaces\":[");
  for (size_t i = 0; i < s->interface_count; i++) {
    const lnt_interface_info *info = &s->interfaces[i];
    if (i) lnt__text_raw(reply, ",");
    begin_object(reply, "activity", info->activity);
    member(reply, "recorded", info->recorded);
    member(reply, "now", info->now);
    lnt__text_number(reply, "recorded_us", info->recorded_us);
    lnt__text_number(reply, "live", (int64_t)info->live);
    lnt__text_raw(reply, "}");
  }
  lnt__text_raw(reply, "]");
}

static void write_summary(lnt__text *reply, const lnt_reload_summary *s, const reloading *call) {
  begin_object(reply, "hash", s->hash);
  member(reply, "file", s->file);
  member(reply, "code", s->status ? lnt_status_name(s->status) : NULL);
  member(reply, "message", s->message);
  text_flag(reply, "dry_run", s->dry_run);
  text_flag(reply, "switched", s->switched);
  text_flag(reply, "unchanged", s->unchanged);
  lnt__text_number(reply, "checked", (int64_t)s->checked);
  lnt__text_number(reply, "compatible", (int64_t)s->compatible);
  lnt__text_number(reply, "not_reached", (int64_t)s->not_reached);
  lnt__text_number(reply, "diverging", (int64_t)s->diverging);
  lnt__text_number(reply, "unavailable", (int64_t)s->unavailable);
  lnt__text_number(reply, "busy", (int64_t)s->busy);
  lnt__text_number(reply, "moved", (int64_t)s->moved);
  lnt__text_number(reply, "took_us", s->took_us);
  lnt__text_number(reply, "more", call->told > REPORTS_MAX ? (int64_t)(call->told - REPORTS_MAX) : 0);
  write_patches(reply, s);
  write_interfaces(reply, s);
  lnt__text_raw(reply, ",\"instances\":[");
  if (call->instances.size) lnt__text_raw(reply, call->instances.data);
  lnt__text_raw(reply, "]}");
}

static void reloading_free(reloading *call) {
  lnt__text_finish(&call->instances);
  free(call);
}

/* All or nothing that came to nothing is an answer, too: the report says why. */
static void on_done(void *user, const lnt_reload_summary *summary) {
  reloading *call = user;
  lnt__request *request = lnt__pending_finish(call->pending);
  if (request && summary->status && summary->status != LNT_EDIVERGED) {
    lnt_error err = {.code = summary->status};
    snprintf(err.message, sizeof err.message, "%s", summary->message);
    lnt__request_fail(request, summary->status, &err);
  } else if (request) {
    write_summary(&request->reply, summary, call);
    lnt__request_answered(request, 200);
  }
  reloading_free(call);
}

static reloading *begin(lnt__request *request) {
  reloading *call = calloc(1, sizeof *call);
  if (call) call->pending = lnt__request_pending(request);
  if (call && call->pending) return call;
  if (!call) lnt__request_fail(request, LNT_ENOMEM, NULL);
  free(call);
  return NULL;
}

/* ?policy=&dry_run=; false: the request was refused. */
static bool read_common(lnt__request *request, lnt_reload_policy *policy, int *dry_run) {
  char text[32];
  bool bad = false;
  if (lnt__request_parameter(request, "policy", text, sizeof text, &bad)) bad = lnt_reload_policy_parse(text, policy) != LNT_OK;
  if (bad) lnt__request_bad_query(request, "the parameter `policy` is pin, adopt or all_or_nothing");
  if (!bad && lnt__request_parameter(request, "dry_run", text, sizeof text, &bad)) {
    *dry_run = !strcmp(text, "true") || !strcmp(text, "1");
    bad = !*dry_run && strcmp(text, "false") != 0 && strcmp(text, "0") != 0;
  }
  if (bad) lnt__request_bad_query(request, "the parameter `dry_run` is true or false");
  return !bad;
}

/* The name under which a path is loaded, if it is: by another way to the same file. */
typedef struct naming { char path[PATH_MAX], name[PATH_MAX]; } naming;

static void on_file(void *user, const char *file) {
  naming *n = user;
  char path[PATH_MAX];
  if (realpath(file, path) && !strcmp(path, n->path)) snprintf(n->name, sizeof n->name, "%s", file);
}

void lnt__post_reload(lnt__request *request) {
  naming n = {"", ""};
  char file[PATH_MAX];
  bool bad = false;
  lnt_reload_options options;
  lnt_reload_options_init(&options);
  if (!lnt__request_parameter(request, "file", file, sizeof file, &bad)) {
    lnt__request_bad_query(request, "the parameter `file` names the file");
    return;
  }
  if (!read_common(request, &options.policy, &options.dry_run)) return;
  snprintf(n.name, sizeof n.name, "%s", file);
  if (realpath(file, n.path)) lnt_files(request->rt, on_file, &n);
  reloading *call = begin(request);
  if (!call) return;
  options.file = n.name;
  options.fn = on_fit;
  options.done = on_done;
  options.user = call;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_reload(request->rt, &options, &err);
  if (!status) return;
  lnt__request_refused(request, status, &err);
  reloading_free(call);
}

/* ---- Migrate ---- */

/* The ids of {"ids": [...]}; they point into the JSON. NULL: the request was refused, or (not *json) there is no body. */
static const char **read_ids(lnt__request *request, json_t **json, size_t *count) {
  *json = NULL;
  if (!request->body.size) return NULL;
  *json = json_loadb(request->body.data, request->body.size, 0, NULL);
  json_t *list = *json ? json_object_get(*json, "ids") : NULL;
  const char **ids = json_array_size(list) && json_array_size(list) <= IDS_MAX ? calloc(json_array_size(list), sizeof *ids) : NULL;
  for (*count = 0; ids && *count < json_array_size(list); ++*count) {
    ids[*count] = json_string_value(json_array_get(list, *count));
    if (ids[*count]) continue;
    free(ids);
    ids = NULL;
  }
  if (!ids) lnt__request_bad_query(request, "the body is {\"ids\": [...]}, with 1 to 10000 ids, or empty where conditions choose");
  return ids;
}

static void migrate(lnt__request *request, lnt_migrate_options *options) {
  char hash[LNT_HASH_TEXT_BYTES];
  bool bad = false;
  if (!read_common(request, &options->policy, &options->dry_run)) return;
  if (lnt__request_parameter(request, "hash", hash, sizeof hash, &bad)) options->hash = hash;
  if (bad) {
    lnt__request_bad_query(request, "the parameter `hash` is the beginning of a hash");
    return;
  }
  reloading *call = begin(request);
  if (!call) return;
  options->fn = on_fit;
  options->done = on_done;
  options->user = call;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_migrate(request->rt, options, &err);
  if (!status) return;
  lnt__request_refused(request, status, &err);
  reloading_free(call);
}

void lnt__post_migrate(lnt__request *request) {
  lnt_migrate_options options;
  lnt__filters filters;
  json_t *json;
  lnt_migrate_options_init(&options);
  options.ids = read_ids(request, &json, &options.id_count);
  if (options.ids) {
    migrate(request, &options);
  } else if (!request->answered && lnt__request_filters(request, &filters)) {
    options.filter = &filters.options;
    migrate(request, &options);
    lnt_value_free(&filters.options.attributes);
  }
  free((void *)(uintptr_t)options.ids);
  json_decref(json);
}

/* ---- Versions, sources ---- */

static int add_version(void *user, const lnt_version_info *v) {
  lnt__text *reply = user;
  if (!reply->failed && reply->data[reply->size - 1] != '[') lnt__text_raw(reply, ",");
  begin_object(reply, "workflow", v->workflow);
  member(reply, "hash", v->hash);
  member(reply, "file", v->file);
  if (v->since_us) lnt__text_number(reply, "since_us", v->since_us);
  lnt__text_number(reply, "live", (int64_t)v->live);
  text_flag(reply, "is_current", v->is_current);
  lnt__text_raw(reply, "}");
  return reply->failed;
}

void lnt__get_versions(lnt__request *request) {
  char workflow[LNT_NAME_BYTES_MAX + 1];
  bool bad = false;
  bool named = lnt__request_parameter(request, "workflow", workflow, sizeof workflow, &bad);
  lnt_error err = {LNT_OK, ""};
  if (bad) {
    lnt__request_bad_query(request, lnt__request_text_fault(request, "workflow", LNT_NAME_BYTES_MAX, "shorten it"));
    return;
  }
  lnt__text_raw(&request->reply, "{\"versions\":[");
  lnt_status status = lnt_versions(request->rt, named ? workflow : NULL, add_version, &request->reply, &err);
  if (status) {
    lnt__request_fail(request, status, &err);
    return;
  }
  lnt__text_raw(&request->reply, "]}");
  lnt__request_answered(request, 200);
}

static int add_source(void *user, const lnt_source *source) {
  lnt__text *reply = user;
  char *text = malloc(source->size + 1);
  if (!text) return reply->failed = true;
  memcpy(text, source->text, source->size);
  text[source->size] = 0;
  if (!reply->failed && reply->data[reply->size - 1] != '[') lnt__text_raw(reply, ",");
  begin_object(reply, "file", source->file);
  member(reply, "module", source->module);
  lnt__text_member(reply, "text", text);
  lnt__text_raw(reply, "}");
  free(text);
  return reply->failed;
}

void lnt__get_code(lnt__request *request) {
  char hash[LNT_HASH_TEXT_BYTES];
  lnt_error err = {LNT_OK, ""};
  lnt__text_raw(&request->reply, "{\"sources\":[");
  lnt_status status = lnt_code(request->rt, request->segments[2], add_source, &request->reply, hash, &err);
  if (status) {
    lnt__request_fail(request, status, &err);
    return;
  }
  lnt__text_raw(&request->reply, "]");
  member(&request->reply, "hash", hash);
  lnt__text_raw(&request->reply, "}");
  lnt__request_answered(request, 200);
}
