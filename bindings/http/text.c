/* text.c - JSON text for replies: instances, events, errors. The names are those of lunation.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/http/internal.h"

static bool make_room(lnt__text *text, size_t size) {
  if (text->failed) return false;
  if (text->room - text->size > size) return true;
  size_t room = text->room ? text->room : 256;
  while (room - text->size <= size) room *= 2;
  char *data = realloc(text->data, room);
  text->failed = !data;
  if (data) text->data = data, text->room = room;
  return !text->failed;
}

void lnt__text_add(lnt__text *text, const void *data, size_t size) {
  if (!make_room(text, size)) return;
  if (size) memcpy(text->data + text->size, data, size);
  text->size += size;
  text->data[text->size] = 0;
}

void lnt__text_raw(lnt__text *text, const char *raw) { lnt__text_add(text, raw, strlen(raw)); }

void lnt__text_string(lnt__text *text, const char *string) {
  if (!string) {
    lnt__text_raw(text, "null");
    return;
  }
  lnt__text_raw(text, "\"");
  for (const char *c = string; *c; c++) {
    char escape[8];
    if (*c == '"' || *c == '\\') {
      snprintf(escape, sizeof escape, "\\%c", *c);
      lnt__text_raw(text, escape);
    } else if ((unsigned char)*c < 0x20) {
      snprintf(escape, sizeof escape, "\\u%04x", (unsigned char)*c);
      lnt__text_raw(text, escape);
    } else {
      lnt__text_add(text, c, 1);
    }
  }
  lnt__text_raw(text, "\"");
}

/* A comma unless it is the first member. */
static void begin_member(lnt__text *text, const char *name) {
  if (text->size && text->data[text->size - 1] != '{') lnt__text_raw(text, ",");
  lnt__text_string(text, name);
  lnt__text_raw(text, ":");
}

void lnt__text_member(lnt__text *text, const char *name, const char *string) {
  if (!string) return;
  begin_member(text, name);
  lnt__text_string(text, string);
}

void lnt__text_number(lnt__text *text, const char *name, int64_t number) {
  char digits[24];
  snprintf(digits, sizeof digits, "%" PRId64, number);
  begin_member(text, name);
  lnt__text_raw(text, digits);
}

void lnt__text_cursor(lnt__text *text, uint64_t next) {
  char cursor[24];
  snprintf(cursor, sizeof cursor, "%" PRIu64, next);
  lnt__text_member(text, "next", next ? cursor : NULL); /* text: not every reader keeps 64 bits of a number */
}

void lnt__text_value(lnt__text *text, const char *name, lnt_value value) {
  char *json;
  size_t size;
  if (!value.size) return;
  begin_member(text, name);
  if (lnt_value_to_json(value, 0, &json, &size, NULL)) {
    lnt__text_raw(text, "null");
    return;
  }
  lnt__text_add(text, json, size);
  lnt_free(json);
}

void lnt__text_instance(lnt__text *text, const lnt_instance *instance, bool whole) {
  lnt__text_raw(text, "{");
  lnt__text_member(text, "id", instance->id);
  lnt__text_member(text, "workflow", instance->workflow);
  lnt__text_member(text, "status", lnt_run_status_name(instance->status));
  lnt__text_number(text, "run", (int64_t)instance->run);
  lnt__text_number(text, "generation", (int64_t)instance->generation);
  if (instance->parent_run) lnt__text_number(text, "parent_run", (int64_t)instance->parent_run);
  if (instance->parent) lnt__text_member(text, "parent", instance->parent);
  lnt__text_member(text, "code_hash", instance->code_hash);
  lnt__text_number(text, "created_us", instance->created_us);
  lnt__text_number(text, "updated_us", instance->updated_us);
  if (instance->start_at_us) lnt__text_number(text, "start_at_us", instance->start_at_us);
  if (instance->closed_us) lnt__text_number(text, "closed_us", instance->closed_us);
  if (whole) lnt__text_number(text, "history_events", (int64_t)instance->history_events);
  if (whole) lnt__text_number(text, "history_bytes", (int64_t)instance->history_bytes);
  lnt__text_value(text, "input", instance->input);
  lnt__text_value(text, "output", instance->output);
  lnt__text_value(text, "failure", instance->failure);
  lnt__text_value(text, "custom_status", instance->custom_status);
  lnt__text_value(text, "attributes", instance->attributes);
  lnt__text_raw(text, "}");
}

void lnt__text_event(lnt__text *text, const lnt_event *event) {
  lnt__text_raw(text, "{");
  lnt__text_number(text, "index", (int64_t)event->index);
  lnt__text_member(text, "kind", lnt_event_kind_name(event->kind));
  lnt__text_number(text, "time_us", event->time_us);
  if (event->seq) lnt__text_number(text, "seq", event->seq);
  if (event->attempt) lnt__text_number(text, "attempt", event->attempt);
  if (event->due_us) lnt__text_number(text, "due_us", event->due_us);
  lnt__text_member(text, "name", event->name);
  lnt__text_member(text, "id", event->id);
  lnt__text_value(text, "value", event->value);
  lnt__text_value(text, "options", event->options);
  lnt__text_member(text, "detail", event->detail);
  lnt__text_member(text, "idempotency_key", event->idempotency_key);
  lnt__text_raw(text, "}");
}

void lnt__text_error(lnt__text *text, const char *code, const char *message) {
  lnt__text_raw(text, "{\"error\":{");
  lnt__text_member(text, "code", code);
  lnt__text_member(text, "message", message);
  lnt__text_raw(text, "}}");
}

void lnt__text_finish(lnt__text *text) {
  free(text->data);
  *text = (lnt__text){NULL, 0, 0, false};
}
