/* routes_portable.c - instances in files: export, and import, which is answered when it is durable. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/http/internal.h"

/* ?name=true|false; false: the request was refused. */
static bool read_flag(lnt__request *request, const char *name, int *flag) {
  char text[16];
  bool bad = false;
  bool given = lnt__request_parameter(request, name, text, sizeof text, &bad);
  *flag = given && (!strcmp(text, "true") || !strcmp(text, "1"));
  if (given && !*flag && strcmp(text, "false") != 0 && strcmp(text, "0") != 0) bad = true;
  if (bad) lnt__request_bad_query(request, "the parameters `whole` and `suspend` are true or false");
  return !bad;
}

void lnt__get_export(lnt__request *request) {
  lnt_export_options options;
  lnt_error err = {LNT_OK, ""};
  void *data = NULL;
  size_t size = 0;
  bool bad = false;
  lnt_export_options_init(&options);
  lnt__request_number(request, "run", &options.run, &bad);
  if (bad) lnt__request_bad_query(request, "the parameter `run` is a number");
  if (bad || !read_flag(request, "whole", &options.whole)) return;
  lnt_status status = lnt_export_data(request->rt, request->segments[2], &options, &data, &size, &err);
  if (status) {
    lnt__request_fail(request, status, &err);
    return;
  }
  lnt__text_add(&request->reply, data, size);
  lnt_free(data);
  if (!request->reply.failed) request->content_type = "application/octet-stream";
  lnt__request_answered(request, 200);
}

/* A file that is damaged, or is none, is not the server's failure. */
static void refuse(lnt__request *request, lnt_status status, const lnt_error *err) {
  if (status == LNT_ECORRUPT) lnt__request_refuse(request, 422, lnt_status_name(status), err->message);
  else lnt__request_fail(request, status, err);
}

static void on_imported(void *user, lnt_status status, const lnt_import_result *result, const lnt_error *err) {
  lnt__request *request = lnt__pending_finish(user);
  if (!request) return;
  if (status) {
    refuse(request, status, err);
    return;
  }
  lnt__text_raw(&request->reply, "{\"id\":");
  lnt__text_string(&request->reply, result->id);
  lnt__text_number(&request->reply, "run", (int64_t)result->run);
  lnt__text_number(&request->reply, "runs", (int64_t)result->runs);
  lnt__text_number(&request->reply, "live", (int64_t)result->live);
  lnt__text_raw(&request->reply, "}");
  lnt__request_answered(request, 201);
}

void lnt__post_import(lnt__request *request) {
  lnt_import_options options;
  lnt_error err = {LNT_OK, ""};
  char file[PATH_MAX], id[LNT_ID_BYTES_MAX + 1];
  bool bad = false;
  lnt_import_options_init(&options);
  if (lnt__request_parameter(request, "file", file, sizeof file, &bad)) options.path = file;
  if (lnt__request_parameter(request, "id", id, sizeof id, &bad)) options.new_id = id;
  if (!options.path && !request->body.size) bad = true;
  if (bad) lnt__request_bad_query(request, "the parameter `file` names the file, or the body is one; `id` has at most 128 bytes");
  if (bad || !read_flag(request, "suspend", &options.suspend)) return;
  options.data = request->body.data;
  options.data_size = request->body.size;
  options.done = on_imported;
  options.user = lnt__request_pending(request);
  if (!options.user) return;
  lnt_status status = lnt_import(request->rt, &options, NULL, &err);
  if (!status) return;
  lnt__pending_finish(request->pending);
  refuse(request, status, &err);
}
