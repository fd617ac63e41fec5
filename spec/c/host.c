/* host.c - see host.h. */
#include "host.h"

enum { SETTLE_TICKS_MAX = 100000 };

static void on_log(void *user, lnt_log_level level, const char *id, const char *message) {
  host *h = user;
  size_t used = strlen(h->log);
  snprintf(h->log + used, sizeof h->log - used, "%d %s %s\n", (int)level, id ? id : "-", message);
}

static int64_t on_clock(void *user) { return ((host *)user)->clock_us; }

static void open_again(host *h) {
  h->rt = NULL;
  if (lnt_open(&h->options, &h->rt, &h->error)) {
    CHECK_FAIL("lnt_open: %s", h->error.message);
    return;
  }
  if (h->opened) h->opened(h);
  if (h->source && lnt_load_string(h->rt, "test.lua", h->source, strlen(h->source), &h->error)) CHECK_FAIL("load: %s", h->error.message);
}

void host_open(host *h, host_way way, const char *source) {
  scratch_make(h->dir);
  if (!h->options.size) lnt_options_init(&h->options);
  if (!h->clock_us) h->clock_us = HOST_START_US;
  h->options.dir = h->dir;
  h->options.durability = LNT_DURABILITY_PROCESS;
  h->options.log = on_log;
  h->options.clock = on_clock;
  h->options.log_user = h->options.clock_user = h;
  h->options.seed = 7;
  h->way = way;
  h->source = source;
  open_again(h);
}

void host_open_as(host *h, host_way way, const char *source, void (*opened)(host *h), void *user) {
  *h = (host){.opened = opened, .user = user};
  host_open(h, way, source);
}

void host_close(host *h) {
  if (h->rt) CHECK_STATUS(lnt_close(h->rt), LNT_OK);
  h->rt = NULL;
  scratch_remove(h->dir);
}

void host_restart(host *h) {
  CHECK_STATUS(lnt_close(h->rt), LNT_OK);
  open_again(h);
}

bool host_tick(host *h) {
  lnt_tick_result result = {0};
  if (lnt_tick(h->rt, 0, &result, &h->error)) {
    CHECK_FAIL("lnt_tick: %s", h->error.message);
    return false;
  }
  if (h->way == HOST_EVICTED) lnt_evict_all(h->rt);
  if (h->way == HOST_RESTARTED && result.commits) host_restart(h);
  return result.turns || result.commits || result.ready;
}

void host_settle(host *h) {
  int idle = 0;
  for (int i = 0; i < SETTLE_TICKS_MAX && idle < 3; i++) idle = host_tick(h) ? 0 : idle + 1;
  if (idle < 3) CHECK_FAIL("it never comes to rest");
}

void host_pass(host *h, int64_t seconds) {
  h->clock_us += seconds * HOST_SECOND_US;
  host_settle(h);
}

lnt_value host_value(const char *json) {
  lnt_value value = LNT_VALUE_NIL;
  if (json) CHECK_STATUS(lnt_value_from_json(json, strlen(json), &value, NULL), LNT_OK);
  return value;
}

lnt_status host_start(host *h, const char *workflow, const char *id, const char *json) {
  lnt_start_options start;
  lnt_start_options_init(&start);
  start.workflow = workflow;
  start.id = id;
  start.input = host_value(json);
  lnt_status status = lnt_start(h->rt, &start, NULL, &h->error);
  lnt_value_free(&start.input);
  return status;
}

lnt_status host_raise(host *h, const char *id, const char *event, const char *json) {
  lnt_value data = host_value(json);
  lnt_status status = lnt_raise(h->rt, id, event, data, NULL, NULL, &h->error);
  lnt_value_free(&data);
  return status;
}

const char *host_outcome(host *h, const char *id) {
  static char text[2000];
  lnt_instance *instance;
  char *json = NULL;
  lnt_status status = lnt_get(h->rt, id, &instance, NULL);
  if (status) return lnt_status_name(status);
  lnt_value_to_json(instance->status == LNT_RUN_COMPLETED ? instance->output : instance->failure, 0, &json, NULL, NULL);
  snprintf(text, sizeof text, "%s %s", lnt_run_status_name(instance->status), json ? json : "?");
  lnt_free(json);
  lnt_free(instance);
  return text;
}

const char *host_status(host *h, const char *id) {
  lnt_instance *instance;
  lnt_status status = lnt_get(h->rt, id, &instance, NULL);
  if (status) return lnt_status_name(status);
  lnt_run_status run_status = instance->status;
  lnt_free(instance);
  return lnt_run_status_name(run_status);
}

typedef struct text { char *to; size_t size, at; } text;

static int add_event(void *user, const lnt_event *event) {
  text *out = user;
  if (event->kind == LNT_EVENT_TURN || out->at >= out->size) return 0;
  out->at += (size_t)snprintf(out->to + out->at, out->size - out->at, "%s%s", out->at ? " " : "", lnt_event_kind_name(event->kind));
  if (event->seq && out->at < out->size) out->at += (size_t)snprintf(out->to + out->at, out->size - out->at, "#%u", event->seq);
  return 0;
}

const char *host_history(host *h, const char *id) {
  static char buffer[8000];
  text out = {buffer, sizeof buffer, 0};
  buffer[0] = 0;
  lnt_status status = lnt_history(h->rt, id, add_event, &out, &h->error);
  return status ? lnt_status_name(status) : buffer;
}
