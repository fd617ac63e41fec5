/* routes_activity.c - URLs by which somebody outside answers an attempt of an activity, or gives a sign of life for it: by its token, which
 * `describe` tells. */
#include <string.h>

#include "bindings/http/internal.h"

static bool read_token(lnt__request *request, lnt_token *token) {
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_token_parse(request->segments[2], token, &err);
  if (status) lnt__request_fail(request, status, &err);
  return !status;
}

void lnt__post_complete(lnt__request *request) {
  lnt_token token;
  lnt_value result;
  if (!read_token(request, &token) || !lnt__request_body(request, &result)) return;
  lnt__pending *pending = lnt__request_pending(request);
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  if (pending) status = lnt_complete(request->rt, token, result, lnt__request_done, pending, &err);
  lnt_value_free(&result);
  if (status) lnt__request_refused(request, status, &err);
}

typedef struct failure_query { char type[256], message[8192], retryable[8]; } failure_query;

/* NULL: good; else why not. */
static const char *read_failure(lnt__request *request, failure_query *q, lnt_failure *failure) {
  bool bad = false;
  if (lnt__request_parameter(request, "type", q->type, sizeof q->type, &bad)) failure->type = q->type;
  if (bad) return lnt__request_text_fault(request, "type", 255, "shorten it");
  if (lnt__request_parameter(request, "message", q->message, sizeof q->message, &bad)) failure->message = q->message;
  if (bad) return lnt__request_text_fault(request, "message", 8191, "shorten it");
  if (!lnt__request_parameter(request, "retryable", q->retryable, sizeof q->retryable, &bad)) strcpy(q->retryable, bad ? "bad" : "true");
  failure->non_retryable = !strcmp(q->retryable, "false") || !strcmp(q->retryable, "0");
  bool known = failure->non_retryable || !strcmp(q->retryable, "true") || !strcmp(q->retryable, "1");
  return known ? NULL : "the parameter `retryable` is true or false";
}

void lnt__post_fail(lnt__request *request) {
  lnt_token token;
  failure_query q;
  lnt_failure failure = {0};
  if (!read_token(request, &token)) return;
  const char *refusal = read_failure(request, &q, &failure);
  if (refusal) lnt__request_bad_query(request, refusal);
  if (refusal || !lnt__request_body(request, &failure.details)) return;
  lnt__pending *pending = lnt__request_pending(request);
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  if (pending) status = lnt_fail(request->rt, token, &failure, lnt__request_done, pending, &err);
  lnt_value_free(&failure.details);
  if (status) lnt__request_refused(request, status, &err);
}

/* Answered at once: only the newest details of an attempt are kept, so there is nothing to wait for. */
void lnt__post_heartbeat(lnt__request *request) {
  lnt_token token;
  lnt_value details;
  int canceled = 0;
  lnt_error err = {LNT_OK, ""};
  if (!read_token(request, &token) || !lnt__request_body(request, &details)) return;
  lnt_status status = lnt_heartbeat(request->rt, token, details, &canceled, &err);
  lnt_value_free(&details);
  if (status) {
    lnt__request_fail(request, status, &err);
    return;
  }
  lnt__text_raw(&request->reply, "{");
  lnt__text_member(&request->reply, "token", request->segments[2]);
  lnt__text_raw(&request->reply, canceled ? ",\"canceled\":true}" : ",\"canceled\":false}");
  lnt__request_answered(request, 200);
}
