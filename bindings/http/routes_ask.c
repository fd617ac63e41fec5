/* routes_ask.c - URLs that ask instances: queries, updates, why they wait, and their streams. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/http/internal.h"

/* ---- Queries and updates ---- */

static void write_value(lnt__text *reply, lnt_value value) {
  if (value.size) lnt__text_value(reply, "value", value);
  else lnt__text_raw(reply, "\"value\":null");
}

/* An error as every reply has it, and what the handler raised. */
static void refuse_with(lnt__request *request, lnt_status status, lnt_value failure) {
  request->reply.size = 0;
  lnt__text_raw(&request->reply, "{\"error\":{");
  lnt__text_member(&request->reply, "code", lnt_status_name(status));
  lnt__text_member(&request->reply, "message", lnt_status_text(status));
  lnt__text_value(&request->reply, "failure", failure);
  lnt__text_raw(&request->reply, "}}");
  lnt__request_answered(request, lnt__http_status_of(status));
}

static void on_answer(void *user, lnt_status status, lnt_value value) {
  lnt__request *request = lnt__pending_finish(user);
  if (!request) return;
  if (status) {
    refuse_with(request, status, value);
    return;
  }
  lnt__text_raw(&request->reply, "{");
  write_value(&request->reply, value);
  lnt__text_member(&request->reply, "id", request->id[0] ? request->id : NULL);
  lnt__text_raw(&request->reply, "}");
  lnt__request_answered(request, 200);
}

/* The arguments: the body, or the parameter `args`; false: they were refused. */
static bool read_args(lnt__request *request, lnt_value *args) {
  char text[8192];
  bool bad = false;
  if (request->body.size || !lnt__request_parameter(request, "args", text, sizeof text, &bad)) {
    if (bad) lnt__request_bad_query(request, lnt__request_text_fault(request, "args", 8191, "send it as the body, with POST"));
    return !bad && lnt__request_body(request, args);
  }
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_value_from_json(text, strlen(text), args, &err);
  if (status) lnt__request_fail(request, status, &err);
  return !status;
}

void lnt__ask_query(lnt__request *request) {
  lnt_value args = LNT_VALUE_NIL;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  if (!read_args(request, &args)) return;
  lnt__pending *pending = lnt__request_pending(request);
  if (pending) status = lnt_query(request->rt, request->segments[2], request->segments[4], args, on_answer, pending, &err);
  lnt_value_free(&args);
  if (status) lnt__request_refused(request, status, &err);
}

void lnt__post_update(lnt__request *request) {
  char update_id[LNT_ID_BYTES_MAX + 1];
  bool bad = false;
  lnt_update_options options;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  lnt_update_options_init(&options);
  options.name = request->segments[4];
  options.update_id = lnt__request_parameter(request, "update_id", update_id, sizeof update_id, &bad) ? update_id : NULL;
  if (bad) {
    lnt__request_bad_query(request, lnt__request_text_fault(request, "update_id", LNT_ID_BYTES_MAX, "shorten it"));
    return;
  }
  if (!lnt__request_body(request, &options.args)) return;
  options.fn = on_answer;
  options.user = lnt__request_pending(request);
  if (options.user) status = lnt_update(request->rt, request->segments[2], &options, request->id, &err);
  lnt_value_free(&options.args);
  if (status) lnt__request_refused(request, status, &err);
}

/* ---- Why is it waiting ---- */

void lnt__get_describe(lnt__request *request) {
  lnt_value description;
  char *json = NULL;
  size_t size;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = lnt_describe(request->rt, request->segments[2], &description, &err);
  if (!status) status = lnt_value_to_json(description, 0, &json, &size, &err);
  lnt_value_free(&description);
  if (status) {
    lnt__request_fail(request, status, &err);
    return;
  }
  lnt__text_add(&request->reply, json, size);
  lnt_free(json);
  lnt__request_answered(request, 200);
}

/* ---- Streams ---- */

static int add_item(void *user, const lnt_emitted *item) {
  lnt__text *reply = user;
  char cursor[LNT_CURSOR_TEXT_BYTES];
  if (reply->data[reply->size - 1] != '[') lnt__text_raw(reply, ",");
  lnt__text_raw(reply, "{");
  write_value(reply, item->value);
  lnt__text_number(reply, "time_us", item->time_us);
  lnt_cursor_to_text(item->next, cursor);
  lnt__text_member(reply, "cursor", cursor);
  lnt__text_raw(reply, "}");
  return reply->failed;
}

/* Answer with what there is now, also if it is nothing. With `or_wait`, false if it is nothing and more may come. */
static bool answer_stream(lnt__request *request, bool or_wait) {
  lnt_stream_end end;
  lnt_error err = {LNT_OK, ""};
  char next[LNT_CURSOR_TEXT_BYTES];
  lnt__text *reply = &request->reply;
  lnt__text_raw(reply, "{\"items\":[");
  lnt_status status = lnt_stream(request->rt, request->segments[2], request->segments[4], request->cursor, request->limit, add_item, reply,
                                 &end, &err);
  if (status) {
    lnt__request_fail(request, status, &err);
    return true;
  }
  if (or_wait && !end.ended && !reply->failed && reply->data[reply->size - 1] == '[') {
    reply->size = 0;
    return false;
  }
  lnt_cursor_to_text(end.next, next);
  lnt__text_raw(reply, "]");
  lnt__text_member(reply, "next", next);
  lnt__text_raw(reply, end.ended ? ",\"ended\":true}" : ",\"ended\":false}");
  lnt__request_answered(request, 200);
  return true;
}

/* Something is there, or it ended: read it all at once. */
static int on_news(void *user, const lnt_emitted *item) {
  lnt__request *request = user;
  (void)item;
  request->follower = NULL;
  answer_stream(request, false);
  return 1;
}

void lnt__request_unfollow(lnt__request *request) {
  if (request->follower) lnt_unfollow(request->rt, request->follower);
  request->follower = NULL;
}

void lnt__request_stream_timed_out(lnt__request *request) {
  lnt__request_unfollow(request);
  answer_stream(request, false);
}

static const char *read_stream(lnt__request *request, uint64_t *wait_ms) {
  char cursor[LNT_CURSOR_TEXT_BYTES] = "";
  uint64_t limit = 1000;
  bool bad = false;
  lnt__request_parameter(request, "cursor", cursor, sizeof cursor, &bad);
  if (bad || lnt_cursor_from_text(cursor, &request->cursor, NULL)) return "the parameter `cursor` must be the `next` of the read before";
  lnt__request_number(request, "limit", &limit, &bad);
  if (bad || limit < 1 || limit > 10000) return "the parameter `limit` must be a number from 1 to 10000";
  request->limit = (uint32_t)limit;
  lnt__request_number(request, "wait_ms", wait_ms, &bad);
  return bad || *wait_ms > LNT__HTTP_WAIT_MS_MAX ? "the parameter `wait_ms` must be a number of milliseconds, at most a day" : NULL;
}

void lnt__get_stream(lnt__request *request) {
  uint64_t wait_ms = 0;
  lnt_error err = {LNT_OK, ""};
  const char *refusal = read_stream(request, &wait_ms);
  if (refusal) {
    lnt__request_bad_query(request, refusal);
    return;
  }
  if (answer_stream(request, wait_ms > 0)) return;
  lnt_status status = lnt_follow(request->rt, request->segments[2], request->segments[4], request->cursor, on_news, request,
                                 &request->follower, &err);
  if (status) lnt__request_fail(request, status, &err);
  else lnt__request_wait(request, wait_ms);
}
