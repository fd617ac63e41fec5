/* story.c - see story.h. */
#include "story.h"

#include <stdio.h>

#include "codec/json.h"

static void on_dispatch(void *user, lnt_token token) {
  world *w = user;
  w->queue[w->tail++ % 4096] = token;
}

static void on_abandon(void *user, lnt_token token, lnt_cancel_reason why, const char *name) {
  (void)user, (void)token, (void)why, (void)name;
}

static void on_log(void *user, lnt_log_level level, const char *id, const char *message) {
  world *w = user;
  (void)id;
  (void)level;
  size_t at = strlen(w->log);
  snprintf(w->log + at, sizeof w->log - at, "%s\n", message);
}

static lnt_status on_fetch(void *user, const uint8_t *hash, void **data, size_t *size, lnt_error *err) {
  world *w = user;
  for (size_t i = 0; i < w->bundle_count; i++) {
    if (memcmp(w->bundles[i].hash, hash, LNT__SHA256_BYTES)) continue;
    *data = lnt__alloc(w->bundles[i].size);
    memcpy(*data, w->bundles[i].data, w->bundles[i].size);
    *size = w->bundles[i].size;
    return LNT_OK;
  }
  return lnt__fail(err, LNT_ENOTFOUND, "the code is gone");
}

void open_engine(world *w) {
  lnt_error err;
  lnt__wvm_options vm_options = {.limits = &w->limits, .module_path = w->module_path, .user = w, .log = on_log, .fetch = on_fetch};
  CHECK_STATUS(lnt__wvm_create(&vm_options, &w->wvm, &err), LNT_OK);
  lnt__effects effects = {.user = w, .dispatch = on_dispatch, .abandon = on_abandon, .log = on_log};
  lnt__engine_options options = {.store = w->store, .vm = lnt__wvm_interface(w->wvm), .effects = &effects, .limits = &w->limits,
                                 .fingerprint = lnt__wvm_fingerprint(w->wvm), .seed = 7};
  w->head = w->tail = 0;
  CHECK_STATUS(lnt__journal_open(w->store, false, &options.last_run, &err), LNT_OK);
  CHECK_STATUS(lnt__engine_create(&options, &w->engine, &err), LNT_OK);
  CHECK_STATUS(lnt__engine_recover(w->engine, w->now_us, &err), LNT_OK);
}

void close_engine(world *w) {
  lnt__engine_destroy(w->engine);
  lnt__wvm_destroy(w->wvm);
}

void world_init(world *w, mode how) {
  lnt_error err;
  memset(w, 0, sizeof *w);
  w->mode = how;
  w->now_us = 1700000000000000;
  w->limits = (lnt_limits){
#define X(field, value, text) .field = value,
      LNT_LIMIT_MAP(X)
#undef X
  };
  w->limits.turn_instructions_max = 2000000;
  w->limits.turn_us_max = INT64_C(3600) * 1000000; /* no story hangs on the speed of a machine, or of a collector that never rests */
  w->limits.turn_memory_bytes_max = 8u << 20;
  CHECK_STATUS(lnt__store_open_memory(&w->store, &err), LNT_OK);
  open_engine(w);
}

void world_finish(world *w) {
  close_engine(w);
  w->store->vtable->destroy(w->store);
  for (size_t i = 0; i < w->bundle_count; i++) lnt__free(w->bundles[i].data);
}

lnt_status load(world *w, const char *file, const char *source, lnt_error *err) {
  bundle *b = &w->bundles[w->bundle_count];
  lnt_status status = lnt__wvm_load(w->wvm, file, source, strlen(source), &b->data, &b->size, b->hash, err);
  if (!status) w->bundle_count++;
  return status;
}

static void answer(world *w, const lnt__attempt *attempt) {
  lnt__buf failure;
  lnt__buf_init(&failure);
  if (strcmp(attempt->name, "never") == 0) return;
  bool fails = strcmp(attempt->name, "fail") == 0 || (strcmp(attempt->name, "flaky") == 0 && w->flaky-- > 0);
  if (fails) {
    lnt__failure_text(&failure, "Boom", "it broke", true);
    lnt__engine_fail(w->engine, attempt->token, (lnt_value){failure.data, failure.size}, LNT_VALUE_NIL);
  } else lnt__engine_complete(w->engine, attempt->token, attempt->input);
  lnt__buf_finish(&failure);
}

void answer_queue(world *w) {
  while (w->head < w->tail) {
    lnt__attempt attempt;
    if (lnt__engine_begin(w->engine, w->queue[w->head++ % 4096], &attempt)) answer(w, &attempt);
  }
}

bool tick(world *w) {
  lnt_status status = LNT_OK;
  lnt_error err;
  lnt__engine_set_now(w->engine, w->now_us);
  CHECK_STATUS(lnt__engine_fire(w->engine, &err), LNT_OK);
  bool moved = w->head < w->tail;
  answer_queue(w);
  while (lnt__engine_turn(w->engine, &status, &err)) moved = true;
  CHECK_STATUS(status, LNT_OK);
  lnt__wvm_collect(w->wvm, 1000);
  const lnt__batch *batch = lnt__engine_seal(w->engine);
  if (!batch) return moved;
  CHECK_STATUS(w->store->vtable->commit(w->store, batch, &err), LNT_OK);
  if (w->mode == CRASH) {
    close_engine(w);
    open_engine(w);
    return true;
  }
  lnt__engine_committed(w->engine);
  if (w->mode == EVICT) lnt__engine_evict_all(w->engine);
  return true;
}

void settle(world *w) {
  for (int idle = 0; idle < 3;) idle = tick(w) ? 0 : idle + 1;
}

void start(world *w, const char *workflow, const char *id, const char *json) {
  uint8_t hash[LNT__SHA256_BYTES];
  lnt_error err = {LNT_OK, ""};
  lnt__buf input;
  lnt__buf_init(&input);
  if (json) CHECK_STATUS(lnt__json_read(json, strlen(json), &input, &err), LNT_OK);
  CHECK_STATUS(lnt__wvm_resolve(w->wvm, workflow, hash, &err), LNT_OK);
  lnt__start options = {.workflow = workflow, .id = id, .hash = hash, .input = {input.data, input.size}};
  CHECK_STATUS(lnt__engine_start(w->engine, &options, NULL, &err), LNT_OK);
  lnt__buf_finish(&input);
}

void raise_event(world *w, const char *id, const char *name, int64_t number) {
  lnt_error err;
  lnt__buf data;
  lnt__buf_init(&data);
  lnt__cbor_int(&data, number);
  CHECK_STATUS(lnt__engine_raise(w->engine, &(lnt__raise){.id = id, .event = name, .data = {data.data, data.size}}, &err), LNT_OK);
  lnt__buf_finish(&data);
}

lnt_run_status status_of(world *w, const char *id) {
  uint64_t run = 0;
  lnt__row row = {0};
  void *memory = NULL;
  lnt_error err;
  if (lnt__journal_find(w->store, id, &run, &err)) return LNT_RUN_PENDING;
  CHECK_STATUS(lnt__journal_row(w->store, run, &row, &memory, &err), LNT_OK);
  lnt__free(memory);
  return row.status;
}

void result_of(world *w, const char *id, char *out, size_t size) {
  uint64_t run = 0;
  lnt__history history;
  lnt_error err;
  lnt__buf json;
  lnt__buf_init(&json);
  lnt__history_init(&history);
  snprintf(out, size, "(no end)");
  CHECK_STATUS(lnt__journal_find(w->store, id, &run, &err), LNT_OK);
  CHECK_STATUS(lnt__journal_history(w->store, run, &history, &err), LNT_OK);
  for (size_t i = 0; i < history.count; i++) {
    lnt_event_kind kind = history.events[i].kind;
    if (kind != LNT_EVENT_COMPLETED && kind != LNT_EVENT_FAILED && kind != LNT_EVENT_CANCELED && kind != LNT_EVENT_STALLED) continue;
    lnt__buf_clear(&json);
    CHECK_STATUS(lnt__json_write(history.events[i].value, 0, &json, &err), LNT_OK);
    snprintf(out, size, "%.*s", (int)json.size, (const char *)json.data);
  }
  lnt__buf_finish(&json);
  lnt__history_finish(&history);
}

void cancel(world *w, const char *id) {
  lnt_error err;
  CHECK_STATUS(lnt__engine_cancel(w->engine, id, "not wanted", NULL, NULL, &err), LNT_OK);
}

static void cancel_when_due(world *w, const char *id, int64_t began_us) {
  if (!w->cancel_us || w->now_us - began_us < w->cancel_us) return;
  w->cancel_us = 0;
  for (int times = 0; times < 2 && status_of(w, id) == LNT_RUN_RUNNING; times++) {
    cancel(w, id);
    settle(w);
  }
}

void play(world *w, const char *id) {
  int64_t began_us = w->now_us;
  settle(w);
  for (int i = 0; i < 60 && status_of(w, id) == LNT_RUN_RUNNING; i++) {
    w->now_us += 500000;
    settle(w);
    cancel_when_due(w, id, began_us);
    if (i % 4 == 3 && status_of(w, id) == LNT_RUN_RUNNING) raise_event(w, id, "go", ++w->raised);
    settle(w);
  }
}

static lnt_run_status run(mode how, const char *source, const char *input, int64_t cancel_us, char *out, size_t size, char *log,
                          size_t log_size) {
  static const char *const names[] = {"kept", "evicted", "crashed"};
  world w;
  lnt_error err = {LNT_OK, ""};
  lnt_run_status status = LNT_RUN_PENDING;
  world_init(&w, how);
  w.flaky = 2;
  w.cancel_us = cancel_us;
  if (load(&w, "story.lua", source, &err)) CHECK_FAIL("%s: the story does not load: %s", names[how], err.message);
  else {
    start(&w, "main", "one", input);
    play(&w, "one");
    result_of(&w, "one", out, size);
    status = status_of(&w, "one");
  }
  snprintf(log, log_size, "%s", w.log);
  world_finish(&w);
  return status;
}

void run_mode(mode how, const char *source, const char *input, char *out, size_t size, char *log, size_t log_size) {
  run(how, source, input, 0, out, size, log, log_size);
}

void story(const char *source, const char *input, const char *wanted) {
  for (int how = 0; how < MODES; how++) {
    char got[4000] = "", log[2000];
    run_mode((mode)how, source, input, got, sizeof got, log, sizeof log);
    if (strcmp(got, wanted)) CHECK_FAIL("mode %d: got %s, wanted %s\n  of: %s\n%s", how, got, wanted, source, log);
  }
}

void story_fails(const char *source, const char *part) {
  for (int how = 0; how < MODES; how++) {
    char got[4000] = "", log[2000];
    run_mode((mode)how, source, NULL, got, sizeof got, log, sizeof log);
    if (!strstr(got, part)) CHECK_FAIL("mode %d: got %s, wanted something with %s\n  of: %s\n%s", how, got, part, source, log);
  }
}

void story_canceled(const char *source, lnt_run_status status, const char *wanted) {
  for (int how = 0; how < MODES; how++) {
    char got[4000] = "", log[2000];
    lnt_run_status ended = run((mode)how, source, NULL, 1000000, got, sizeof got, log, sizeof log);
    if (ended != status || strcmp(got, wanted))
      CHECK_FAIL("mode %d: got %s %s, wanted %s\n  of: %s\n%s", how, lnt_run_status_name(ended), got, wanted, source, log);
  }
}
