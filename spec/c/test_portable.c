/* test_portable.c - an instance in a file: exported from one directory, taken into another, replayed in neither. */
#include <stdlib.h>

#include "base/fault.h"
#include "host.h"
#include "journal/archive.h"

static const char library[] =
    "workflow('kid', function(ctx, n) ctx:wait_for_external_event('grow') return ctx:call_activity('native', n) end)\n"
    "workflow('mixed', function(ctx, n)\n"
    "  ctx:set_custom_status({step = 'begun'})\n"
    "  local sum = ctx:call_activity('native', n) + ctx:side_effect(function() return 1000 end)\n"
    "  local kid = ctx.async:call_child_workflow('kid', 100)\n"
    "  local later = ctx.async:call_activity('slow', 7)\n"
    "  ctx:create_timer(50)\n"
    "  sum = sum + ctx:wait_for_external_event('go', {timeout = 1000})\n"
    "  return sum + ctx:when_all({kid, later})[1]\n"
    "end)\n"
    "workflow('names_itself', function(ctx)\n"
    "  ctx:call_activity('native', ctx.instance_id)\n"
    "  ctx:wait_for_external_event('go')\n"
    "  return ctx.instance_id\n"
    "end)\n"
    "workflow('again', function(ctx, n)\n"
    "  ctx:emit('log', n)\n"
    "  if n < 3 then return ctx:continue_as_new(n + 1) end\n"
    "  ctx:wait_for_external_event('go')\n"
    "  return n\n"
    "end)\n"
    "workflow('fails', function(ctx) ctx:call_activity('native', 1) error('boom') end)\n"
    "workflow('sleeps', function(ctx) ctx:create_timer(100) return 'slept' end)\n"
    "workflow('gate', function(ctx) return ctx:wait_for_external_event('go') end)\n"
    "workflow('patient', function(ctx) return ctx:call_activity('deferred', 1) end)\n";

typedef struct native { int calls, slow; bool answers; char key[64]; lnt_token deferred; } native;

static lnt_activity_result run_native(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  native *n = user;
  n->calls++;
  CHECK_STATUS(lnt_complete(rt, activity->token, activity->input, NULL, NULL, NULL), LNT_OK);
  return LNT_ACTIVITY_DONE;
}

static lnt_activity_result run_slow(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  native *n = user;
  n->slow++;
  snprintf(n->key, sizeof n->key, "%s", activity->idempotency_key);
  if (!n->answers) return LNT_ACTIVITY_PENDING;
  return run_native(user, rt, activity);
}

static lnt_activity_result run_deferred(void *user, lnt_runtime *rt, const lnt_activity *activity) {
  (void)rt;
  ((native *)user)->deferred = activity->token;
  return LNT_ACTIVITY_DEFERRED;
}

static void opened(host *h) {
  CHECK_STATUS(lnt_register_activity(h->rt, "native", run_native, h->user, NULL), LNT_OK);
  CHECK_STATUS(lnt_register_activity(h->rt, "slow", run_slow, h->user, NULL), LNT_OK);
  CHECK_STATUS(lnt_register_activity(h->rt, "deferred", run_deferred, h->user, NULL), LNT_OK);
}

typedef struct file { void *data; size_t size; } file;

static file export_of(host *h, const char *id, bool whole) {
  file out = {NULL, 0};
  lnt_export_options options;
  lnt_export_options_init(&options);
  options.whole = whole;
  CHECK_STATUS(lnt_export_data(h->rt, id, &options, &out.data, &out.size, &h->error), LNT_OK);
  return out;
}

static lnt_status import_to(host *h, file from, const char *new_id, lnt_import_result *result) {
  lnt_import_options options;
  lnt_import_options_init(&options);
  options.data = from.data;
  options.data_size = from.size;
  options.new_id = new_id;
  return lnt_import(h->rt, &options, result, &h->error);
}

typedef struct replayed { lnt_fit fit; lnt_run_status end; uint64_t event; int runs; char text[600], made[300], reason[300]; } replayed;

static void on_replayed(void *user, const lnt_replay_report *report) {
  replayed *r = user;
  char *json = NULL;
  r->runs++;
  r->fit = report->fit->fit;
  r->end = report->end;
  r->event = report->fit->event;
  lnt_value_to_json(report->end == LNT_RUN_COMPLETED ? report->output : report->failure, 0, &json, NULL, NULL);
  snprintf(r->text, sizeof r->text, "%s", json);
  snprintf(r->made, sizeof r->made, "%s", report->fit->made);
  snprintf(r->reason, sizeof r->reason, "%s", report->reason);
  lnt_free(json);
}

static replayed replay_of(file from, const char *source) {
  replayed r = {.runs = 0};
  uint64_t diverged = 99;
  lnt_error err = {LNT_OK, ""};
  lnt_replay_options options;
  lnt_replay_options_init(&options);
  options.data = from.data;
  options.data_size = from.size;
  if (source) options.against = "test.lua", options.source = source, options.source_size = strlen(source);
  if (!CHECK_STATUS(lnt_replay(&options, on_replayed, &r, &diverged, &err), LNT_OK)) CHECK_FAIL("%s", err.message);
  CHECK_EQ_UINT(diverged, r.fit != LNT_FIT_COMPATIBLE);
  return r;
}

#define IN_EACH_WAY(h, n) HOST_IN_EACH_WAY(h, (n = (native){0}, host_open_as(&h, way, NULL, opened, &n)))

/* ---- Live instances go on ---- */

/* With an activity that runs, a child that waits, and a timer that stands. */
static file begin_mixed(native *n) {
  host from;
  host_open_as(&from, HOST_PLAIN, library, opened, n);
  host_start(&from, "gate", "other", NULL);
  host_start(&from, "mixed", "m", "1");
  host_settle(&from);
  file f = export_of(&from, "m", false);
  host_close(&from);
  return f;
}

static void test_a_live_instance_goes_on_elsewhere(void) {
  native before = {0}, n;
  host h;
  file f = begin_mixed(&before);
  CHECK_EQ_INT(before.slow, 1);
  IN_EACH_WAY(h, n) { /* the directory knows none of the code */
    lnt_import_result result;
    n.answers = true;
    CHECK_STATUS(import_to(&h, f, NULL, &result), LNT_OK);
    CHECK_EQ_STR(result.id, "m");
    CHECK_EQ_INT(result.runs, 2);
    CHECK_EQ_INT(result.live, 2);
    host_settle(&h);
    CHECK_EQ_INT(n.slow, 1);
    CHECK_EQ_STR(n.key, before.key); /* the same step, to those outside */
    host_raise(&h, "m:0003", "grow", NULL);
    host_pass(&h, 49);
    CHECK(!strstr(host_history(&h, "m"), "TimerFired"));
    host_pass(&h, 2);
    CHECK_HAS(host_history(&h, "m"), "TimerFired");
    host_raise(&h, "m", "go", "5000");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "m"), "COMPLETED 6101");
    CHECK_EQ_INT(n.calls, 2);
    CHECK_EQ_STR(host_status(&h, "m:0003"), "COMPLETED");
  }
  lnt_free(f.data);
}

static void test_runs_get_new_numbers_where_theirs_are_taken(void) {
  native before = {0}, n;
  host h;
  file f = begin_mixed(&before);
  IN_EACH_WAY(h, n) {
    lnt_import_result result;
    lnt_instance *kid;
    n.answers = true;
    h.source = library;
    host_restart(&h);
    for (int i = 0; i < 5; i++) {
      char id[8];
      snprintf(id, sizeof id, "g%d", i);
      host_start(&h, "gate", id, NULL);
    }
    host_settle(&h);
    CHECK_STATUS(import_to(&h, f, NULL, &result), LNT_OK);
    CHECK_EQ_INT(result.run, 6);
    CHECK_STATUS(lnt_get(h.rt, "m:0003", &kid, &h.error), LNT_OK);
    CHECK_EQ_STR(kid->parent, "m");
    CHECK_EQ_INT(kid->run, 7);
    lnt_free(kid);
    host_raise(&h, "m:0003", "grow", NULL);
    host_pass(&h, 60);
    CHECK_EQ_STR(n.key, before.key); /* whatever its number is */
    host_raise(&h, "m", "go", "5000");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "m"), "COMPLETED 6101");
    host_start(&h, "gate", "after", NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "after"), "RUNNING");
  }
  lnt_free(f.data);
}

static int count_one(void *user, const lnt_instance *instance) {
  (void)instance;
  ++*(int *)user;
  return 0;
}

static int listed(host *h, const char *workflow, const char *parent, int64_t from_us) {
  int count = 0;
  lnt_list_options options;
  lnt_list_options_init(&options);
  options.workflow = workflow;
  options.parent = parent;
  options.created_from_us = from_us;
  CHECK_STATUS(lnt_list(h->rt, &options, count_one, &count, NULL, &h->error), LNT_OK);
  return count;
}

static void test_lists_find_what_was_imported(void) {
  native n = {0};
  host h, old;
  host_open_as(&old, HOST_PLAIN, library, opened, &n);
  host_start(&old, "mixed", "m", "1");
  host_settle(&old);
  file f = export_of(&old, "m", false);
  host_close(&old);
  h = (host){.user = &n, .opened = opened, .clock_us = HOST_START_US + 1000 * HOST_SECOND_US};
  host_open(&h, HOST_PLAIN, library);
  host_start(&h, "gate", "g", NULL);
  host_settle(&h);
  CHECK_STATUS(import_to(&h, f, NULL, NULL), LNT_OK);
  host_start(&h, "gate", "g2", NULL);
  host_settle(&h);
  CHECK_EQ_INT(listed(&h, "mixed", NULL, 0), 1);
  CHECK_EQ_INT(listed(&h, NULL, "m", 0), 1);
  CHECK_EQ_INT(listed(&h, NULL, NULL, h.clock_us), 2); /* older than those made here, though its number is higher */
  CHECK_EQ_INT(listed(&h, NULL, NULL, 0), 4);
  host_close(&h);
  lnt_free(f.data);
}

static void test_an_id_that_is_taken_is_refused(void) {
  native n = {0};
  host h;
  host_open_as(&h, HOST_PLAIN, library, opened, &n);
  host_start(&h, "mixed", "m", "1");
  host_settle(&h);
  file f = export_of(&h, "m", false);
  CHECK_STATUS(import_to(&h, f, NULL, NULL), LNT_EEXIST);
  CHECK_HAS(h.error.message, "'m'");
  CHECK_STATUS(lnt_terminate(h.rt, "m", NULL, NULL, NULL, NULL), LNT_OK);
  host_settle(&h);
  CHECK_STATUS(lnt_purge(h.rt, "m", NULL, NULL, &h.error), LNT_OK);
  CHECK_STATUS(import_to(&h, f, NULL, NULL), LNT_OK); /* also when the purge is on its way */
  host_settle(&h);
  CHECK_EQ_STR(host_status(&h, "m"), "RUNNING");
  CHECK_EQ_STR(host_status(&h, "m:0003"), "RUNNING");
  host_restart(&h);
  host_settle(&h);
  CHECK_EQ_STR(host_status(&h, "m"), "RUNNING");
  host_close(&h);
  lnt_free(f.data);
}

static void test_under_a_new_id_it_is_a_fork(void) {
  native n;
  host h;
  IN_EACH_WAY(h, n) {
    lnt_import_result result;
    CHECK_STATUS(lnt_load_string(h.rt, "test.lua", library, sizeof library - 1, &h.error), LNT_OK); /* once: it need not stay loaded */
    host_start(&h, "names_itself", "first", NULL);
    host_start(&h, "mixed", "m", "1");
    n.answers = true;
    host_settle(&h);
    file f = export_of(&h, "first", false), m = export_of(&h, "m", false);
    CHECK_STATUS(import_to(&h, f, "second", &result), LNT_OK);
    CHECK_EQ_STR(result.id, "second");
    CHECK_STATUS(import_to(&h, f, "second", NULL), LNT_EEXIST);
    CHECK_STATUS(import_to(&h, m, "m2", NULL), LNT_OK);
    host_settle(&h);
    host_raise(&h, "second", "go", NULL);
    host_raise(&h, "m2:0003", "grow", NULL);
    host_pass(&h, 60);
    host_raise(&h, "m2", "go", "5000");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "second"), "COMPLETED \"second\"");
    CHECK_EQ_STR(host_outcome(&h, "m2"), "COMPLETED 6101");
    CHECK_EQ_STR(host_status(&h, "first"), "RUNNING");
    CHECK_EQ_STR(host_status(&h, "m"), "RUNNING");
    lnt_free(f.data);
    lnt_free(m.data);
  }
}

static void test_suspended_it_waits_to_be_resumed(void) {
  native before = {0}, n;
  host h;
  file f = begin_mixed(&before);
  IN_EACH_WAY(h, n) {
    lnt_import_options options;
    lnt_import_options_init(&options);
    options.data = f.data;
    options.data_size = f.size;
    options.suspend = 1;
    n.answers = true;
    CHECK_STATUS(lnt_import(h.rt, &options, NULL, &h.error), LNT_OK);
    options.new_id = "copy";
    CHECK_STATUS(lnt_import(h.rt, &options, NULL, &h.error), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "m"), "SUSPENDED");
    CHECK_EQ_STR(host_status(&h, "copy"), "SUSPENDED");
    CHECK_EQ_INT(n.slow, 0);
    CHECK_STATUS(lnt_resume(h.rt, "m", NULL, NULL, NULL, &h.error), LNT_OK);
    host_settle(&h);
    CHECK_EQ_INT(n.slow, 1);
    CHECK_STATUS(lnt_resume(h.rt, "copy", NULL, NULL, NULL, &h.error), LNT_OK);
    host_settle(&h);
    CHECK_EQ_INT(n.slow, 2);
    CHECK_EQ_STR(host_status(&h, "copy"), "RUNNING");
  }
  lnt_free(f.data);
}

static int add_number(void *user, const lnt_emitted *item) {
  int *sum = user;
  if (item) *sum = *sum * 10 + ((const uint8_t *)item->value.data)[0];
  return 0;
}

static void test_the_whole_of_an_instance_has_every_generation(void) {
  native n = {0};
  host h, old;
  int read = 0;
  host_open_as(&old, HOST_PLAIN, library, opened, &n);
  host_start(&old, "again", "a", "1");
  host_settle(&old);
  file f = export_of(&old, "a", true);
  host_open_as(&h, HOST_PLAIN, library, opened, &n);
  lnt_import_result result;
  CHECK_STATUS(import_to(&h, f, NULL, &result), LNT_OK);
  CHECK_EQ_INT(result.runs, 3);
  CHECK_STATUS(lnt_stream(h.rt, "a", "log", (lnt_cursor){0}, 0, add_number, &read, NULL, &h.error), LNT_OK);
  CHECK_EQ_INT(read, 123);
  host_raise(&h, "a", "go", NULL);
  host_settle(&h);
  CHECK_EQ_STR(host_outcome(&h, "a"), "COMPLETED 3");
  CHECK_STATUS(lnt_purge(h.rt, "a", NULL, NULL, &h.error), LNT_OK);
  host_settle(&h);
  CHECK_EQ_INT(listed(&h, "again", NULL, 0), 0);
  host_close(&h);
  host_close(&old);
  lnt_free(f.data);
}

static void test_an_earlier_generation_is_replayed_and_not_imported(void) {
  native n = {0};
  host h;
  file f;
  lnt_export_options options;
  host_open_as(&h, HOST_PLAIN, library, opened, &n);
  host_start(&h, "again", "a", "1");
  host_settle(&h);
  lnt_export_options_init(&options);
  options.run = 2;
  CHECK_STATUS(lnt_export_data(h.rt, "a", &options, &f.data, &f.size, &h.error), LNT_OK);
  replayed r = replay_of(f, NULL);
  CHECK_EQ_INT(r.fit, LNT_FIT_COMPATIBLE);
  CHECK_EQ_INT(r.end, LNT_RUN_CONTINUED_AS_NEW);
  host other;
  host_open_as(&other, HOST_PLAIN, library, opened, &n);
  CHECK_STATUS(import_to(&other, f, NULL, NULL), LNT_EINVAL);
  CHECK_HAS(other.error.message, "earlier run");
  host_close(&other);
  host_close(&h);
  lnt_free(f.data);
}

static void test_a_deferred_answer_finds_its_attempt(void) {
  native n;
  host h, old;
  native before = {0};
  host_open_as(&old, HOST_PLAIN, library, opened, &before);
  host_start(&old, "patient", "p", NULL);
  host_settle(&old);
  file f = export_of(&old, "p", false);
  host_close(&old);
  IN_EACH_WAY(h, n) {
    lnt_value answer = host_value("\"here\"");
    CHECK_STATUS(import_to(&h, f, NULL, NULL), LNT_OK);
    host_settle(&h);
    CHECK_STATUS(lnt_complete(h.rt, before.deferred, answer, NULL, NULL, &h.error), LNT_OK);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "p"), "COMPLETED \"here\"");
    lnt_value_free(&answer);
  }
  lnt_free(f.data);
}

/* ---- Replays ---- */

static void test_a_replay_tells_where_it_stands(void) {
  native n = {0};
  file f = begin_mixed(&n);
  replayed r = replay_of(f, NULL);
  CHECK_EQ_INT(r.fit, LNT_FIT_COMPATIBLE);
  CHECK_EQ_INT(r.end, LNT_RUN_RUNNING);
  CHECK_HAS(r.reason, "test.lua:7");
  CHECK_EQ_INT(n.calls, 1);
  lnt_free(f.data);
}

static void test_a_replay_of_a_finished_run_comes_to_its_end(void) {
  native n = {0};
  host h;
  host_open_as(&h, HOST_PLAIN, library, opened, &n);
  host_start(&h, "fails", "f", NULL);
  host_start(&h, "sleeps", "s", NULL);
  host_start(&h, "gate", "t", NULL);
  host_settle(&h);
  host_pass(&h, 100);
  CHECK_STATUS(lnt_terminate(h.rt, "t", "enough", NULL, NULL, NULL), LNT_OK);
  host_settle(&h);
  file s = export_of(&h, "s", false), f = export_of(&h, "f", false), t = export_of(&h, "t", false);
  replayed r = replay_of(s, NULL);
  CHECK_EQ_INT(r.fit, LNT_FIT_COMPATIBLE);
  CHECK_EQ_INT(r.end, LNT_RUN_COMPLETED);
  CHECK_EQ_STR(r.text, "\"slept\"");
  r = replay_of(f, NULL);
  CHECK_EQ_INT(r.fit, LNT_FIT_COMPATIBLE);
  CHECK_EQ_INT(r.end, LNT_RUN_FAILED);
  CHECK_HAS(r.text, "boom");
  r = replay_of(t, NULL);
  CHECK_EQ_INT(r.fit, LNT_FIT_COMPATIBLE);
  CHECK_EQ_INT(r.end, LNT_RUN_RUNNING);
  /* against other code: it ends otherwise, makes another call, or is not there */
  r = replay_of(s, "workflow('sleeps', function(ctx) ctx:create_timer(100) return 'dreamt' end)");
  CHECK_EQ_INT(r.fit, LNT_FIT_DIVERGES);
  CHECK_EQ_INT(r.event, 5);
  CHECK_EQ_STR(r.made, "return \"dreamt\"");
  r = replay_of(f, "workflow('fails', function(ctx) ctx:call_activity('native', 1) return 'mended' end)");
  CHECK_EQ_INT(r.fit, LNT_FIT_DIVERGES);
  CHECK_EQ_STR(r.made, "return \"mended\"");
  r = replay_of(f, "workflow('fails', function(ctx)\n ctx:call_activity('native', 1)\n\n error('baam') end)");
  CHECK_EQ_INT(r.fit, LNT_FIT_COMPATIBLE);
  r = replay_of(s, "workflow('sleeps', function(ctx) ctx:call_activity('native') end)");
  CHECK_EQ_INT(r.fit, LNT_FIT_DIVERGES);
  CHECK_EQ_INT(r.event, 2);
  r = replay_of(s, "workflow('other', function(ctx) end)");
  CHECK_EQ_INT(r.fit, LNT_FIT_UNAVAILABLE);
  lnt_free(s.data), lnt_free(f.data), lnt_free(t.data);
  host_close(&h);
}

/* ---- Bad files ---- */

static lnt_status try_file(host *h, const void *data, size_t size) {
  file f = {(void *)(uintptr_t)data, size};
  lnt_status status = import_to(h, f, NULL, NULL);
  if (status) CHECK_EQ_INT(listed(h, NULL, NULL, 0), 0); /* nothing is half there */
  return status;
}

static void test_bad_files_are_told_apart(void) {
  native n = {0};
  host h;
  file f = begin_mixed(&n);
  uint8_t *bytes = malloc(f.size + 1);
  host_open_as(&h, HOST_PLAIN, NULL, opened, &n);
  CHECK_STATUS(try_file(&h, "a text of somebody else's", 25), LNT_ENOTOURS);
  CHECK_STATUS(try_file(&h, "", 0), LNT_ENOTOURS);
  CHECK_STATUS(try_file(&h, f.data, f.size - 1), LNT_ECORRUPT);
  CHECK_HAS(h.error.message, "cut off");
  memcpy(bytes, f.data, f.size);
  bytes[f.size] = 0;
  CHECK_STATUS(try_file(&h, bytes, f.size + 1), LNT_ECORRUPT);
  CHECK_HAS(h.error.message, "1 bytes more");
  lnt_import_options options;
  lnt_import_options_init(&options);
  options.path = "/nowhere/at/all";
  CHECK_STATUS(lnt_import(h.rt, &options, NULL, &h.error), LNT_ENOTFOUND);
  host_close(&h);
  free(bytes);
  lnt_free(f.data);
}

/* Every byte, in three ways: whatever is done to a file is seen, and does no harm. */
static void test_a_changed_byte_is_seen(void) {
  native n = {0};
  host h, old;
  host_open_as(&old, HOST_PLAIN, "workflow('gate', function(ctx) return ctx:wait_for_external_event('go', {timeout = 10}) end)\n", opened,
               &n);
  host_start(&old, "gate", "g", NULL);
  host_settle(&old);
  file f = export_of(&old, "g", false);
  uint8_t *bytes = f.data;
  host_open_as(&h, HOST_PLAIN, NULL, opened, &n);
  for (size_t i = 0; i < f.size; i++) {
    for (int way = 0; way < 3; way++) {
      uint8_t was = bytes[i];
      bytes[i] = way == 0 ? was ^ 1 : way == 1 ? was ^ 0x80 : (uint8_t)~was;
      lnt_status status = try_file(&h, bytes, f.size);
      if (status != LNT_ECORRUPT && status != LNT_ENOTOURS) CHECK_FAIL("byte %zu: %s", i, lnt_status_name(status));
      bytes[i] = was;
    }
    CHECK(try_file(&h, bytes, i) != LNT_OK);
  }
  CHECK_STATUS(try_file(&h, bytes, f.size), LNT_OK);
  host_close(&h);
  host_close(&old);
  lnt_free(f.data);
}

static void test_a_commit_that_fails_leaves_nothing(void) {
  native n = {0};
  host h;
  file f = begin_mixed(&n);
  host_open_as(&h, HOST_PLAIN, NULL, opened, &n);
  lnt__fault_arm(LNT__FAULT_commit_full, 0, 1);
  CHECK_STATUS(try_file(&h, f.data, f.size), LNT_EFULL);
  lnt__fault_arm(LNT__FAULT_commit_lost, 0, 1);
  CHECK_STATUS(try_file(&h, f.data, f.size), LNT_EIO);
  lnt__fault_arm(LNT__FAULT_commit_lost, 0, 0);
  host_settle(&h);
  CHECK_STATUS(try_file(&h, f.data, f.size), LNT_OK);
  host_restart(&h);
  CHECK_EQ_INT(listed(&h, NULL, NULL, 0), 2);
  host_close(&h);
  lnt_free(f.data);
}

static void test_out_of_memory(void) {
  native n = {0};
  file f = begin_mixed(&n);
  uint64_t checks = 1;
  for (uint64_t skip = 0; skip < checks; skip++) {
    lnt_error err = {LNT_OK, ""};
    uint64_t diverged = 0;
    lnt_replay_options options;
    lnt_replay_options_init(&options);
    options.data = f.data;
    options.data_size = f.size;
    options.all = 1;
    lnt__fault_arm(LNT__FAULT_alloc, skip, 1);
    lnt_status status = lnt_replay(&options, NULL, NULL, &diverged, &err);
    checks = lnt__fault_checks(LNT__FAULT_alloc) > skip ? skip + 2 : 0;
    lnt__fault_arm(LNT__FAULT_alloc, 0, 0);
    if (status && !strstr(err.message, "memory")) CHECK_FAIL("allocation %d: %s: %s", (int)skip, lnt_status_name(status), err.message);
    if (!status) CHECK(diverged <= 2);
  }
  lnt_free(f.data);
}

/* Damage that its maker sealed: the checksums are right, and nothing else may be. Whatever is taken in is run, too. */
static void seal(uint8_t *bytes, size_t size) {
  lnt__sha256 sha;
  lnt__put_be32(bytes + 20, lnt__checksum(bytes, 20));
  lnt__sha256_init(&sha);
  lnt__sha256_add(&sha, bytes, size - LNT__SHA256_BYTES);
  lnt__sha256_end(&sha, bytes + size - LNT__SHA256_BYTES);
}

static void survive(const uint8_t *bytes, size_t size) {
  lnt_replay_options replay;
  lnt_options options;
  lnt_import_options import;
  lnt_runtime *rt = NULL;
  lnt_error err;
  lnt_options_init(&options);
  lnt_import_options_init(&import);
  lnt_replay_options_init(&replay);
  options.store = LNT_STORE_MEMORY;
  import.data = replay.data = bytes;
  import.data_size = replay.data_size = size;
  replay.all = 1;
  lnt_replay(&replay, NULL, NULL, NULL, &err);
  CHECK_STATUS(lnt_open(&options, &rt, &err), LNT_OK);
  lnt_import_result result;
  if (lnt_import(rt, &import, &result, &err) == LNT_OK) {
    for (int i = 0; i < 3; i++) lnt_tick(rt, 0, NULL, &err);
    lnt_raise(rt, result.id, "go", LNT_VALUE_NIL, NULL, NULL, &err);
    for (int i = 0; i < 3; i++) lnt_tick(rt, 0, NULL, &err);
  }
  import.new_id = "other";
  if (lnt_import(rt, &import, NULL, &err) == LNT_OK)
    for (int i = 0; i < 3; i++) lnt_tick(rt, 0, NULL, &err);
  lnt_close(rt);
}

static void test_nothing_in_a_file_is_believed(void) {
  native n = {0};
  file f = begin_mixed(&n);
  uint8_t *bytes = malloc(f.size), *original = f.data;
  size_t code = 0; /* flips in the sources only change sources */
  while (code + 9 < f.size && memcmp(original + code, "workflow(", 9) != 0) code++;
  for (size_t i = LNT__ARCHIVE_MAGIC_BYTES; i < f.size - LNT__SHA256_BYTES; i++) {
    if (i >= code && i < code + sizeof library && i % 64) continue;
    memcpy(bytes, original, f.size);
    bytes[i] ^= (uint8_t)(1u << i % 8);
    seal(bytes, f.size);
    survive(bytes, f.size);
    bytes[i] = (uint8_t)(original[i] + 1);
    seal(bytes, f.size);
    survive(bytes, f.size);
  }
  memcpy(bytes, original, f.size);
  bytes[11]++; /* the format */
  seal(bytes, f.size);
  host h;
  host_open_as(&h, HOST_PLAIN, NULL, opened, &n);
  CHECK_STATUS(try_file(&h, bytes, f.size), LNT_EVERSION);
  CHECK_HAS(h.error.message, "newer");
  host_close(&h);
  free(bytes);
  lnt_free(f.data);
}

CHECK_MAIN(test_a_commit_that_fails_leaves_nothing, test_out_of_memory, test_nothing_in_a_file_is_believed,
           test_a_live_instance_goes_on_elsewhere,
           test_runs_get_new_numbers_where_theirs_are_taken, test_lists_find_what_was_imported, test_an_id_that_is_taken_is_refused,
           test_under_a_new_id_it_is_a_fork, test_suspended_it_waits_to_be_resumed, test_the_whole_of_an_instance_has_every_generation,
           test_an_earlier_generation_is_replayed_and_not_imported, test_a_deferred_answer_finds_its_attempt,
           test_a_replay_tells_where_it_stands, test_a_replay_of_a_finished_run_comes_to_its_end, test_bad_files_are_told_apart,
           test_a_changed_byte_is_seen);
