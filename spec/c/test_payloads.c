/* test_payloads.c - large values: they come whole out of everything that they went into, whatever happens to the process, and records and
 * rows stay small. Most stories are lived in three ways: undisturbed, with bodies lost after each tick, and with the runtime closed and
 * opened after each tick. */
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"
#include "journal/journal.h"

enum { MEGABYTE = 1 << 20 };

static const char library[] =
    "workflow('echo', function(ctx, v) return ctx:call_activity('echo', v) end)\n"
    "workflow('whole', function(ctx, input)\n"
    "  local got = ctx:call_activity('echo', input)\n"
    "  local event = ctx:wait_for_external_event('go')\n"
    "  local child = ctx:call_child_workflow('echo', event)\n"
    "  local kept = ctx:side_effect(function() return string.rep('k', #input) end)\n"
    "  ctx:emit('s', kept)\n"
    "  ctx:set_custom_status(event)\n"
    "  return { same = got == input and child == event and #kept == #input, got = got }\n"
    "end)\n"
    "workflow('again', function(ctx, n)\n"
    "  if n.left > 0 then ctx:create_timer(1) ctx:continue_as_new({ left = n.left - 1, text = n.text .. '!' }) end\n"
    "  return { #n.text, ctx:wait_for_external_event('go') }\n"
    "end)\n"
    "workflow('fails', function(ctx, text)\n"
    "  ctx:set_custom_status(text)\n"
    "  ctx:wait_for_external_event('go')\n"
    "  ctx:set_custom_status('small')\n"
    "  ctx:wait_for_external_event('go')\n"
    "  error({ type = 'Large', message = 'see the details', details = text })\n"
    "end)\n"
    "workflow('updated', function(ctx)\n"
    "  ctx:on_update('put', function(v) return v end)\n"
    "  ctx:wait_for_external_event('go')\n"
    "end)\n"
    "workflow('waits', function(ctx, v) ctx:wait_for_external_event('go') return v end)\n";

static lnt_activity_result echo(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  ++*(int *)user;
  CHECK_STATUS(lnt_complete(rt, activity->token, activity->input, NULL, NULL, NULL), LNT_OK);
  return LNT_ACTIVITY_DONE;
}

static void opened(host *h) { CHECK_STATUS(lnt_register_activity(h->rt, "echo", echo, h->user, NULL), LNT_OK); }

#define IN_EACH_WAY(h, calls) HOST_IN_EACH_WAY(h, (calls = 0, host_open_as(&h, way, library, opened, &calls)))

/* ---- Values ---- */

/* A text whose encoding has `size` bytes. Release with lnt__free(). */
static lnt_value text_of(size_t size, char letter) {
  lnt__buf out;
  lnt_value value;
  char *text = malloc(size);
  memset(text, letter, size);
  lnt__buf_init(&out);
  lnt__cbor_string(&out, text, size - (size <= 256 ? 2 : size <= 65538 ? 3 : 5));
  free(text);
  value.data = lnt__buf_detach(&out, &value.size);
  CHECK_EQ_UINT(value.size, size);
  return value;
}

static bool same(lnt_value a, lnt_value b) { return a.size == b.size && (!a.size || memcmp(a.data, b.data, a.size) == 0); }

static lnt_status start_with(host *h, const char *workflow, const char *id, lnt_value input) {
  lnt_start_options start;
  lnt_start_options_init(&start);
  start.workflow = workflow;
  start.id = id;
  start.input = input;
  return lnt_start(h->rt, &start, NULL, &h->error);
}

static void raise_with(host *h, const char *id, lnt_value data) {
  CHECK_STATUS(lnt_raise(h->rt, id, "go", data, NULL, NULL, &h->error), LNT_OK);
}

/* ---- What is in the store ---- */

typedef struct rows { size_t count, largest; } rows; /* of a table; the largest in bytes */

static int see_row(void *user, lnt__slice key, lnt__slice value) {
  rows *seen = user;
  (void)key;
  seen->count++;
  if (value.size > seen->largest) seen->largest = value.size;
  return 0;
}

static rows rows_of(host *h, lnt__table table) {
  lnt__store_options options = {.dir = h->dir, .durability = LNT_DURABILITY_PROCESS, .bytes_max = 1 << 30, .read_only = true};
  lnt__store *store;
  rows seen = {0, 0};
  if (!CHECK_STATUS(lnt__store_open_lmdb(&options, NULL, &store, NULL), LNT_OK)) return seen;
  CHECK_STATUS(store->vtable->scan(store, table, (lnt__slice){0}, (lnt__slice){0}, false, see_row, &seen, NULL), LNT_OK);
  store->vtable->destroy(store);
  return seen;
}

static void purge_all(host *h) {
  lnt_purge_options options;
  uint64_t count, next;
  lnt_purge_options_init(&options);
  options.force = 1;
  lnt_list_options all;
  lnt_list_options_init(&all);
  all.status_mask = ~0u;
  CHECK_STATUS(lnt_purge_matching(h->rt, &all, &options, &count, &next, &h->error), LNT_OK);
  host_settle(h);
  CHECK_EQ_UINT(rows_of(h, LNT__TABLE_HISTORY).count, 0);
  CHECK_EQ_UINT(rows_of(h, LNT__TABLE_PAYLOAD).count, 0);
}

/* ---- Through everything ---- */

static void check_whole(host *h, const char *id, lnt_value input, lnt_value event) {
  lnt_instance *instance;
  lnt_value member;
  REQUIRE(lnt_get(h->rt, id, &instance, &h->error) == LNT_OK);
  CHECK_EQ_INT(instance->status, LNT_RUN_COMPLETED);
  CHECK(same(instance->input, input));
  CHECK(same(instance->custom_status, event));
  CHECK(lnt__cbor_member(instance->output, "got", &member) && same(member, input));
  CHECK(lnt__cbor_member(instance->output, "same", &member) && member.size == 1 && *(const uint8_t *)member.data == 0xf5);
  CHECK(instance->history_bytes > 8ull * (MEGABYTE - 100)); /* what stands apart counts */
  lnt_free(instance);
}

typedef struct seen { lnt_value input, event; int inputs, events, others; } seen;

static int see_event(void *user, const lnt_event *event) {
  seen *s = user;
  if (same(event->value, s->input)) s->inputs++;
  else if (same(event->value, s->event)) s->events++;
  else if (event->value.size > LNT__INLINE_BYTES_MAX) s->others++;
  return 0;
}

static void on_observed(void *user, const char *id, lnt_run_status status, const lnt_event *event) {
  (void)status;
  if (strcmp(id, "w") == 0) see_event(user, event);
}

static void check_seen(const seen *s) {
  CHECK_EQ_INT(s->inputs, 3); /* the start, the activity, its result */
  CHECK_EQ_INT(s->events, 3); /* the event, the child, its result */
  CHECK_EQ_INT(s->others, 3); /* the side effect, what is emitted, the output */
}

static int see_emitted(void *user, const lnt_emitted *item) {
  *(size_t *)user += item->value.size;
  return 0;
}

static int see_listed(void *user, const lnt_instance *instance) {
  if (strcmp(instance->id, "w") == 0) CHECK(same(instance->custom_status, *(lnt_value *)user));
  return 0;
}

static void check_reads(host *h, lnt_value input, lnt_value event) {
  seen s = {input, event, 0, 0, 0};
  size_t emitted = 0;
  lnt_value described;
  CHECK_STATUS(lnt_history(h->rt, "w", see_event, &s, &h->error), LNT_OK);
  check_seen(&s);
  CHECK_STATUS(lnt_stream(h->rt, "w", "s", (lnt_cursor){0}, 0, see_emitted, &emitted, NULL, &h->error), LNT_OK);
  CHECK_EQ_UINT(emitted, MEGABYTE);
  CHECK_STATUS(lnt_list(h->rt, NULL, see_listed, &event, NULL, &h->error), LNT_OK);
  CHECK_STATUS(lnt_describe(h->rt, "w", &described, &h->error), LNT_OK);
  lnt_value_free(&described);
}

static void fork_at(host *h, const char *id, uint64_t event, const char *new_id) {
  lnt_fork_options options;
  lnt_fork_options_init(&options);
  options.event = event;
  options.new_id = new_id;
  CHECK_STATUS(lnt_fork(h->rt, id, &options, NULL, &h->error), LNT_OK);
  host_settle(h);
}

static void test_large_values_come_whole_out_of_everything(void) {
  host h;
  int calls;
  lnt_value input = text_of(MEGABYTE, 'i'), event = text_of(MEGABYTE - 1, 'e');
  IN_EACH_WAY(h, calls) {
    seen observed = {input, event, 0, 0, 0};
    CHECK_STATUS(lnt_observe(h.rt, on_observed, &observed), LNT_OK); /* until it is opened again */
    CHECK_STATUS(start_with(&h, "whole", "w", input), LNT_OK);
    host_settle(&h);
    raise_with(&h, "w", event);
    host_settle(&h);
    CHECK_EQ_INT(calls, 2);
    if (way != HOST_RESTARTED) check_seen(&observed);
    check_whole(&h, "w", input, event);
    check_reads(&h, input, event);
    CHECK(rows_of(&h, LNT__TABLE_HISTORY).largest < 1000);
    CHECK(rows_of(&h, LNT__TABLE_INSTANCE).largest < 1000);
    /* A copy of all of it, and one that goes on from the first result. */
    fork_at(&h, "w", 5, "half");
    CHECK_EQ_STR(host_status(&h, "half"), "RUNNING");
    raise_with(&h, "half", event);
    host_settle(&h);
    check_whole(&h, "half", input, event);
    CHECK_EQ_INT(calls, 3);
    purge_all(&h);
  }
  lnt__free((void *)input.data);
  lnt__free((void *)event.data);
}

/* Half way out of one directory, and on in another. */
static void test_large_values_travel_with_their_instance(void) {
  host h, there;
  int calls, calls_there;
  lnt_value input = text_of(MEGABYTE, 'i'), event = text_of(MEGABYTE - 1, 'e');
  IN_EACH_WAY(h, calls) {
    void *data = NULL;
    lnt_import_options options;
    lnt_import_options_init(&options);
    CHECK_STATUS(start_with(&h, "whole", "w", input), LNT_OK);
    CHECK_STATUS(start_with(&h, "fails", "f", input), LNT_OK);
    host_settle(&h);
    calls_there = 0;
    host_open_as(&there, way, library, opened, &calls_there);
    const char *const ids[] = {"w", "f"};
    for (int i = 0; i < 2; i++) {
      CHECK_STATUS(lnt_export_data(h.rt, ids[i], NULL, &data, &options.data_size, &h.error), LNT_OK);
      options.data = data;
      CHECK_STATUS(lnt_import(there.rt, &options, NULL, &there.error), LNT_OK);
      lnt_free(data);
    }
    raise_with(&there, "w", event);
    host_settle(&there);
    check_whole(&there, "w", input, event);
    CHECK_EQ_INT(calls_there, 1);
    CHECK(rows_of(&there, LNT__TABLE_HISTORY).largest < 1000);
    CHECK(rows_of(&there, LNT__TABLE_INSTANCE).largest < 1000);
    purge_all(&there);
    host_close(&there);
  }
  lnt__free((void *)input.data);
  lnt__free((void *)event.data);
}

/* The rehearsal of a turn replays what is not durable yet, too. */
static void test_large_values_are_rehearsed(void) {
  int calls = 0;
  lnt_value input = text_of(MEGABYTE, 'i'), event = text_of(MEGABYTE - 1, 'e');
  for (int committer = 0; committer < 2; committer++) {
    host h = {.opened = opened, .user = &calls};
    lnt_options_init(&h.options);
    h.options.paranoid = 1;
    h.options.committer = committer;
    host_open(&h, HOST_PLAIN, library);
    CHECK_STATUS(start_with(&h, "whole", "w", input), LNT_OK);
    raise_with(&h, "w", event);
    CHECK_STATUS(lnt_wait(h.rt, "w", 20 * HOST_SECOND_US, &h.error), LNT_OK);
    check_whole(&h, "w", input, event);
    host_close(&h);
  }
  lnt__free((void *)input.data);
  lnt__free((void *)event.data);
}

static void test_the_edge_is_a_number_of_bytes(void) {
  host h;
  int calls;
  IN_EACH_WAY(h, calls) {
    for (size_t size = LNT__INLINE_BYTES_MAX - 1; size <= LNT__INLINE_BYTES_MAX + 2; size++) {
      char id[16];
      lnt_instance *instance;
      lnt_value value = text_of(size, 'x');
      snprintf(id, sizeof id, "i%zu", size);
      CHECK_STATUS(start_with(&h, "waits", id, value), LNT_OK);
      host_settle(&h);
      CHECK_EQ_UINT(rows_of(&h, LNT__TABLE_PAYLOAD).count, size > LNT__INLINE_BYTES_MAX);
      raise_with(&h, id, LNT_VALUE_NIL);
      host_settle(&h);
      CHECK_STATUS(lnt_get(h.rt, id, &instance, &h.error), LNT_OK);
      CHECK(same(instance->input, value));
      CHECK(same(instance->output, value));
      lnt_free(instance);
      purge_all(&h);
      lnt__free((void *)value.data);
    }
  }
}

/* ---- From generation to generation ---- */

static void test_large_values_go_over_to_the_next_generation(void) {
  host h;
  int calls;
  lnt_value event = text_of(MEGABYTE, 'e');
  char *json = malloc(MEGABYTE + 100);
  snprintf(json, MEGABYTE + 100, "{\"left\":3,\"text\":\"%0*d\"}", MEGABYTE, 7);
  IN_EACH_WAY(h, calls) {
    lnt_instance *instance;
    char wanted[40];
    lnt_value output;
    CHECK_STATUS(host_start(&h, "again", "g", json), LNT_OK);
    host_settle(&h);
    raise_with(&h, "g", event); /* nobody takes it before the last generation */
    for (int i = 0; i < 4; i++) host_pass(&h, 2);
    CHECK_STATUS(lnt_get(h.rt, "g", &instance, &h.error), LNT_OK);
    CHECK_EQ_INT(instance->status, LNT_RUN_COMPLETED);
    CHECK_EQ_UINT(instance->generation, 4);
    lnt__reader reader = lnt__reader_of(instance->output.data, instance->output.size);
    CHECK_EQ_INT(lnt__cbor_next(&reader).type, LNT__CBOR_ARRAY);
    CHECK_EQ_INT(lnt__cbor_next(&reader).as.integer, MEGABYTE + 3);
    output = (lnt_value){reader.at, (size_t)(reader.end - reader.at)};
    CHECK(same(output, event));
    lnt_free(instance);
    snprintf(wanted, sizeof wanted, "%s", host_status(&h, "g"));
    CHECK_EQ_STR(wanted, "COMPLETED");
    purge_all(&h);
  }
  lnt__free((void *)event.data);
  free(json);
}

/* ---- Rows ---- */

static void test_a_row_keeps_what_is_large_beside_it(void) {
  host h;
  int calls;
  lnt_value text = text_of(MEGABYTE / 4, 't');
  IN_EACH_WAY(h, calls) {
    lnt_instance *instance;
    lnt_value details;
    CHECK_STATUS(start_with(&h, "fails", "f", text), LNT_OK);
    host_settle(&h);
    CHECK_STATUS(lnt_get(h.rt, "f", &instance, &h.error), LNT_OK);
    CHECK(same(instance->custom_status, text));
    lnt_free(instance);
    CHECK_EQ_UINT(rows_of(&h, LNT__TABLE_PAYLOAD).count, 2); /* the input, the custom status */
    CHECK(rows_of(&h, LNT__TABLE_INSTANCE).largest < 1000);
    raise_with(&h, "f", LNT_VALUE_NIL);
    host_settle(&h);
    CHECK_EQ_UINT(rows_of(&h, LNT__TABLE_PAYLOAD).count, 1);
    raise_with(&h, "f", LNT_VALUE_NIL);
    host_settle(&h);
    CHECK_STATUS(lnt_get(h.rt, "f", &instance, &h.error), LNT_OK);
    CHECK_EQ_INT(instance->status, LNT_RUN_FAILED);
    CHECK(lnt__cbor_member(instance->failure, "details", &details) && same(details, text));
    CHECK_EQ_UINT(instance->custom_status.size, 6);
    lnt_free(instance);
    CHECK_EQ_UINT(rows_of(&h, LNT__TABLE_PAYLOAD).count, 3); /* the input; the failure, in the history and of the row */
    CHECK(rows_of(&h, LNT__TABLE_INSTANCE).largest < 1000);
    purge_all(&h);
  }
  lnt__free((void *)text.data);
}

/* ---- Asking ---- */

typedef struct answer { lnt_status status; size_t size; int count; } answer;

static void on_answer(void *user, lnt_status status, lnt_value value) {
  answer *a = user;
  *a = (answer){status, value.size, a->count + 1};
}

static void test_an_update_and_its_answer_are_large(void) {
  host h;
  int calls;
  lnt_value args = text_of(MEGABYTE, 'a');
  IN_EACH_WAY(h, calls) {
    answer first = {0}, repeated = {0};
    lnt_update_options options;
    lnt_update_options_init(&options);
    options.name = "put";
    options.args = args;
    options.update_id = "u";
    options.fn = on_answer;
    options.user = &first;
    CHECK_STATUS(start_with(&h, "updated", "u", LNT_VALUE_NIL), LNT_OK);
    host_settle(&h);
    CHECK_STATUS(lnt_update(h.rt, "u", &options, NULL, &h.error), LNT_OK);
    while (!first.count) host_tick(&h);
    options.user = &repeated;
    CHECK_STATUS(lnt_update(h.rt, "u", &options, NULL, &h.error), LNT_OK); /* answered with what was recorded */
    while (!repeated.count) host_tick(&h);
    if (first.status == LNT_OK) CHECK_EQ_UINT(first.size, MEGABYTE);
    CHECK_STATUS(repeated.status, LNT_OK);
    CHECK_EQ_UINT(repeated.size, MEGABYTE);
    purge_all(&h);
  }
  lnt__free((void *)args.data);
}

/* ---- The process is killed ---- */

/* In a process of its own: start, let it come to the wait, and die without a farewell. */
static void live_and_die(host *h, lnt_value input, int calls_wanted) {
  pid_t pid = fork();
  int how;
  if (pid == 0) {
    CHECK_STATUS(lnt_open(&h->options, &h->rt, &h->error), LNT_OK);
    opened(h);
    lnt_load_string(h->rt, "test.lua", library, sizeof library - 1, &h->error);
    if (input.size) start_with(h, "whole", "w", input);
    while (*(int *)h->user < calls_wanted) host_tick(h);
    host_settle(h);
    raise(SIGKILL);
  }
  CHECK(pid > 0 && waitpid(pid, &how, 0) == pid);
  CHECK(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
}

static void test_large_values_outlive_a_killed_process(void) {
  int calls = 0;
  host h = {.opened = opened, .user = &calls};
  lnt_value input = text_of(MEGABYTE, 'i'), event = text_of(MEGABYTE - 1, 'e');
  host_open(&h, HOST_PLAIN, library);
  CHECK_STATUS(lnt_close(h.rt), LNT_OK);
  live_and_die(&h, input, 1);
  CHECK_STATUS(lnt_open(&h.options, &h.rt, &h.error), LNT_OK);
  opened(&h);
  CHECK_STATUS(lnt_load_string(h.rt, "test.lua", library, sizeof library - 1, &h.error), LNT_OK);
  raise_with(&h, "w", event);
  host_settle(&h);
  check_whole(&h, "w", input, event);
  CHECK_EQ_INT(calls, 1); /* the other one ran in the process that was killed */
  purge_all(&h);
  host_close(&h);
  lnt__free((void *)input.data);
  lnt__free((void *)event.data);
}

/* ---- Damage ---- */

typedef struct found { lnt__buf key; } found;

static int take_key(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  lnt__buf_append(&((found *)user)->key, key.data, key.size);
  return 1;
}

/* Take the first row of PAYLOAD away, or write another value in its place. */
static void damage(host *h, bool replace) {
  static const char other[] = "another value";
  lnt__store_options options = {.dir = h->dir, .durability = LNT_DURABILITY_PROCESS, .bytes_max = 1 << 30};
  lnt__store *store;
  lnt__batch *batch = lnt__batch_create();
  found f;
  lnt__buf value;
  lnt__buf_init(&f.key);
  lnt__buf_init(&value);
  REQUIRE(lnt__store_open_lmdb(&options, NULL, &store, &h->error) == LNT_OK);
  store->vtable->scan(store, LNT__TABLE_PAYLOAD, (lnt__slice){0}, (lnt__slice){0}, false, take_key, &f, NULL);
  lnt__buf_append(&value, other, sizeof other);
  lnt__seal(&value);
  if (replace) lnt__batch_put(batch, LNT__TABLE_PAYLOAD, f.key.data, f.key.size, value.data, value.size);
  else lnt__batch_delete(batch, LNT__TABLE_PAYLOAD, f.key.data, f.key.size);
  CHECK_STATUS(store->vtable->commit(store, batch, &h->error), LNT_OK);
  store->vtable->destroy(store);
  lnt__batch_destroy(batch);
  lnt__buf_finish(&f.key);
  lnt__buf_finish(&value);
}

static void test_a_damaged_value_is_told_and_stalls_its_instance(void) {
  lnt_value text = text_of(MEGABYTE, 't');
  for (int replace = 0; replace < 2; replace++) {
    host h = {0};
    lnt_instance *instance;
    host_open(&h, HOST_PLAIN, library);
    CHECK_STATUS(start_with(&h, "waits", "x", text), LNT_OK);
    CHECK_STATUS(host_start(&h, "waits", "y", "5"), LNT_OK);
    host_settle(&h);
    lnt_close(h.rt);
    damage(&h, replace);
    CHECK_STATUS(lnt_open(&h.options, &h.rt, &h.error), LNT_OK);
    lnt_load_string(h.rt, "test.lua", library, sizeof library - 1, &h.error);
    CHECK_STATUS(lnt_get(h.rt, "x", &instance, &h.error), LNT_ECORRUPT);
    CHECK_HAS(h.error.message, "a large value in the history of run 1");
    raise_with(&h, "x", LNT_VALUE_NIL);
    raise_with(&h, "y", LNT_VALUE_NIL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "y"), "COMPLETED 5");
    CHECK_HAS(h.log, "a large value in the history of run 1");
    purge_all(&h);
    host_close(&h);
  }
  lnt__free((void *)text.data);
}

CHECK_MAIN(test_large_values_come_whole_out_of_everything, test_large_values_travel_with_their_instance,
           test_large_values_are_rehearsed, test_the_edge_is_a_number_of_bytes,
           test_large_values_go_over_to_the_next_generation, test_a_row_keeps_what_is_large_beside_it,
           test_an_update_and_its_answer_are_large, test_large_values_outlive_a_killed_process,
           test_a_damaged_value_is_told_and_stalls_its_instance);
