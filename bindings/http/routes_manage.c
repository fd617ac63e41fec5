/* routes_manage.c - URLs that manage instances: suspend, resume, cancel, terminate. */
#include <stdio.h>

#include "bindings/http/internal.h"

typedef lnt_status (*reasoned_fn)(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err);

static void post_reasoned(lnt__request *request, reasoned_fn fn) {
  char reason[1024];
  bool bad = false;
  bool given = lnt__request_parameter(request, "reason", reason, sizeof reason, &bad);
  if (bad) {
    lnt__request_bad_query(request, "the parameter `reason` is malformed or longer than 1023 bytes");
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
