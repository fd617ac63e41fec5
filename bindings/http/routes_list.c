/* routes_list.c - URLs that find instances by what they are: a page of them, and how many there are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bindings/http/internal.h"

static int add_instance(void *user, const lnt_instance *instance) {
  lnt__text *reply = user;
  if (reply->data[reply->size - 1] != '[') lnt__text_raw(reply, ",");
  lnt__text_instance(reply, instance, false);
  return reply->failed;
}

/* "RUNNING,FAILED", in any case. */
static bool read_statuses(char *text, uint32_t *mask) {
  for (char *rest = text, *name; (name = strsep(&rest, ","));) {
    int found = -1;
    for (int i = 0; i <= LNT_RUN_STALLED; i++) {
      if (!strcasecmp(name, lnt_run_status_name((lnt_run_status)i))) found = i;
    }
    if (found < 0) return false;
    *mask |= 1u << found;
  }
  return true;
}

static const char *read_texts(lnt__request *request, lnt__filters *f) {
  bool bad = false;
  if (lnt__request_parameter(request, "status", f->statuses, sizeof f->statuses, &bad))
    bad = !read_statuses(f->statuses, &f->options.status_mask);
  if (bad) return "the parameter `status` is not a list of statuses, such as RUNNING,FAILED";
  if (lnt__request_parameter(request, "workflow", f->workflow, sizeof f->workflow, &bad)) f->options.workflow = f->workflow;
  if (bad) return lnt__request_text_fault(request, "workflow", LNT_NAME_BYTES_MAX, "shorten it");
  if (lnt__request_parameter(request, "prefix", f->prefix, sizeof f->prefix, &bad)) f->options.id_prefix = f->prefix;
  if (bad) return lnt__request_text_fault(request, "prefix", LNT_ID_BYTES_MAX, "shorten it");
  if (lnt__request_parameter(request, "parent", f->parent, sizeof f->parent, &bad)) f->options.parent = f->parent;
  if (bad) return lnt__request_text_fault(request, "parent", LNT_ID_BYTES_MAX, "shorten it");
  if (lnt__request_parameter(request, "attributes", f->attributes, sizeof f->attributes, &bad))
    bad = lnt_value_from_json(f->attributes, strlen(f->attributes), &f->options.attributes, NULL) != LNT_OK;
  return bad ? "the parameter `attributes` is not a JSON object, such as {\"customer\":\"ada\"}, percent-encoded" : NULL;
}

static const char *read_numbers(lnt__request *request, lnt__filters *f) {
  bool bad = false;
  uint64_t limit = 100, from_us = 0, to_us = 0;
  lnt__request_number(request, "limit", &limit, &bad);
  if (bad || limit < 1 || limit > 1000) return "the parameter `limit` must be a number from 1 to 1000";
  lnt__request_number(request, "created_from_us", &from_us, &bad);
  lnt__request_number(request, "created_to_us", &to_us, &bad);
  if (bad || from_us > INT64_MAX || to_us > INT64_MAX)
    return "the parameters `created_from_us` and `created_to_us` are numbers of microseconds since 1970";
  lnt__request_number(request, "cursor", &f->options.cursor, &bad);
  f->options.limit = (uint32_t)limit;
  f->options.created_from_us = (int64_t)from_us;
  f->options.created_to_us = (int64_t)to_us;
  return bad ? "the parameter `cursor` must be the `next` of the page before" : NULL;
}

bool lnt__request_filters(lnt__request *request, lnt__filters *f) {
  lnt_list_options_init(&f->options);
  const char *refusal = read_texts(request, f);
  if (!refusal) refusal = read_numbers(request, f);
  if (!refusal) return true;
  lnt_value_free(&f->options.attributes);
  lnt__request_bad_query(request, refusal);
  return false;
}

void lnt__get_instances(lnt__request *request) {
  lnt__filters f;
  if (!lnt__request_filters(request, &f)) return;
  lnt_error err = {LNT_OK, ""};
  uint64_t next = 0;
  lnt__text_raw(&request->reply, "{\"instances\":[");
  lnt_status status = lnt_list(request->rt, &f.options, add_instance, &request->reply, &next, &err);
  lnt_value_free(&f.options.attributes);
  if (status) {
    lnt__request_fail(request, status, &err);
    return;
  }
  lnt__text_raw(&request->reply, "]");
  lnt__text_cursor(&request->reply, next);
  lnt__text_raw(&request->reply, "}");
  lnt__request_answered(request, 200);
}

void lnt__get_counts(lnt__request *request) {
  lnt__filters f;
  if (!lnt__request_filters(request, &f)) return;
  lnt_error err = {LNT_OK, ""};
  lnt_counts counts = {.size = sizeof counts};
  lnt_status status = lnt_count(request->rt, &f.options, &counts, &err);
  lnt_value_free(&f.options.attributes);
  if (status) {
    lnt__request_fail(request, status, &err);
    return;
  }
  lnt__text_raw(&request->reply, "{");
  lnt__text_number(&request->reply, "total", (int64_t)counts.total);
  for (int i = 0; i <= LNT_RUN_STALLED; i++) {
    if (counts.by_status[i]) lnt__text_number(&request->reply, lnt_run_status_name((lnt_run_status)i), (int64_t)counts.by_status[i]);
  }
  lnt__text_raw(&request->reply, "}");
  lnt__request_answered(request, 200);
}
