/* test_purge.c - taking instances out of the store: one, with its children and generations, many; nothing of them is left, wherever the
 * process ends. */
#include <stdlib.h>

#include "host.h"
#include "journal/journal.h"

static const char library[] =
    "workflow('empty', function() end)\n"
    "workflow('gate', function(ctx, n) ctx:wait_for_external_event('go', {timeout = 1000}) return n end)\n"
    "workflow('child', function(ctx, n) if n > 0 then ctx:call_child_workflow('child', n - 1) end return n end)\n"
    "workflow('parent', function(ctx)\n"
    "  local tasks = {}\n"
    "  for i = 1, 3 do tasks[i] = ctx.async:call_child_workflow('gate', i, {id = ctx.instance_id .. '-kid-' .. i}) end\n"
    "  ctx:wait_for_external_event('done')\n"
    "end)\n"
    "workflow('again', function(ctx, n) if n > 0 then ctx:continue_as_new(n - 1) end return 'last' end)\n"
    "workflow('naps', function(ctx, n) for i = 1, n do ctx.async:create_timer(i * 1000) end ctx:wait_for_external_event('go') end)\n"
    "workflow('long', function(ctx, n) for i = 1, n do ctx:wait_for_external_event('go') end end)\n";

/* ---- What is in the store ---- */

static int count_row(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  const uint8_t *bytes = key.data;
  *(size_t *)user += !(key.size == 9 && bytes[0] == LNT__INDEX_ERA);
  return 0;
}

static size_t rows_of(lnt__store *store, lnt__table table) {
  size_t count = 0;
  lnt_error err = {0};
  CHECK_STATUS(store->vtable->scan(store, table, (lnt__slice){0}, (lnt__slice){0}, false, count_row, &count, &err), LNT_OK);
  return count;
}

static void check_empty(host *h) {
  static const lnt__table tables[] = {LNT__TABLE_INSTANCE, LNT__TABLE_ID,    LNT__TABLE_HISTORY,   LNT__TABLE_ACTIVE,
                                      LNT__TABLE_TIMER,    LNT__TABLE_INDEX, LNT__TABLE_HEARTBEAT, LNT__TABLE_PAYLOAD};
  lnt__store_options options = {.dir = h->dir, .durability = LNT_DURABILITY_PROCESS, .bytes_max = 1 << 30, .read_only = true};
  lnt__store *store;
  lnt_error err = {0};
  REQUIRE(lnt__store_open_lmdb(&options, NULL, &store, &err) == LNT_OK);
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    size_t rows = rows_of(store, tables[i]);
    if (rows) CHECK_FAIL("table %d has %zu rows left", (int)tables[i], rows);
  }
  store->vtable->destroy(store);
}

static uint64_t total(host *h) {
  lnt_counts counts = {.size = sizeof counts};
  lnt_list_options options;
  lnt_list_options_init(&options);
  options.status_mask = ~0u;
  CHECK_STATUS(lnt_count(h->rt, &options, &counts, &h->error), LNT_OK);
  return counts.total;
}

static lnt_status purge(host *h, const char *id, int force, uint64_t *count) {
  lnt_purge_options options;
  lnt_purge_options_init(&options);
  options.force = force;
  *count = 0;
  return lnt_purge(h->rt, id, &options, count, &h->error);
}

#define IN_EACH_WAY(h) HOST_IN_EACH_WAY(h, host_open_as(&h, way, library, NULL, NULL))

/* ---- One ---- */

static void test_a_finished_instance_is_gone_and_its_id_free(void) {
  host h;
  uint64_t count;
  IN_EACH_WAY(h) {
    CHECK_STATUS(purge(&h, "e", 0, &count), LNT_ENOTFOUND);
    host_start(&h, "empty", "e", NULL);
    CHECK_STATUS(purge(&h, "e", 0, &count), LNT_EOPEN); /* before it is durable */
    CHECK_HAS(h.error.message, "instance 'e' is PENDING");
    host_settle(&h);
    CHECK_STATUS(purge(&h, "e", 0, &count), LNT_OK);
    CHECK_EQ_UINT(count, 1);
    CHECK_STATUS(purge(&h, "e", 0, &count), LNT_ENOTFOUND);
    CHECK_STATUS(host_raise(&h, "e", "go", NULL), LNT_ENOTFOUND);
    CHECK_HAS(h.error.message, "there is no instance 'e'");
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "e"), "LNT_ENOTFOUND");
    check_empty(&h);
    /* Gone and there again in one batch. */
    host_start(&h, "empty", "e", NULL);
    host_settle(&h);
    CHECK_STATUS(purge(&h, "e", 0, &count), LNT_OK);
    CHECK_STATUS(host_start(&h, "gate", "e", "7"), LNT_OK);
    CHECK_STATUS(host_start(&h, "gate", "e", "7"), LNT_EEXIST);
    host_settle(&h);
    CHECK_EQ_STR(host_status(&h, "e"), "RUNNING");
    CHECK_EQ_UINT(total(&h), 1);
    host_raise(&h, "e", "go", NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "e"), "COMPLETED 7");
  }
}

static void count_done(void *user, lnt_status status) {
  CHECK_STATUS(status, LNT_OK);
  ++*(int *)user;
}

static void test_force_ends_what_runs(void) {
  host h;
  uint64_t count;
  IN_EACH_WAY(h) {
    int done = 0;
    host_start(&h, "naps", "n", "20");
    host_settle(&h);
    host_start(&h, "empty", "new", NULL);
    CHECK_STATUS(purge(&h, "n", 0, &count), LNT_EOPEN);
    CHECK_HAS(h.error.message, "'n' is RUNNING; terminate it first, or purge with force");
    lnt_purge_options options;
    lnt_purge_options_init(&options);
    options.force = 1;
    options.done = count_done;
    options.done_user = &done;
    CHECK_STATUS(lnt_purge(h.rt, "n", &options, &count, &h.error), LNT_OK);
    CHECK_STATUS(purge(&h, "new", 1, &count), LNT_OK); /* never durable */
    CHECK_EQ_INT(done, 0);
    host_settle(&h);
    CHECK_EQ_INT(done, 1);
    check_empty(&h);
    host_pass(&h, 100000);
    CHECK_EQ_UINT(total(&h), 0);
    lnt_stats stats = {.size = sizeof stats};
    lnt_get_stats(h.rt, &stats);
    CHECK_EQ_UINT(stats.loaded, 0);
  }
}

/* The rows of a long history are deleted some at a time, and a restart goes on with it. */
static void test_a_long_history_goes_in_slices(void) {
  for (host_way way = HOST_PLAIN; way < HOST_WAYS; way++) {
    host h = {0};
    uint64_t count;
    lnt_tick_result result;
    host_open(&h, HOST_PLAIN, library);
    host_start(&h, "long", "l", "3500");
    for (int i = 0; i < 3500; i++) {
      host_raise(&h, "l", "go", NULL);
      lnt_tick(h.rt, 0, NULL, NULL);
    }
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "l"), "COMPLETED null");
    h.way = way;
    CHECK_STATUS(purge(&h, "l", 0, &count), LNT_OK);
    lnt_tick(h.rt, 0, NULL, NULL);
    CHECK_EQ_STR(host_status(&h, "l"), "LNT_ENOTFOUND");
    if (way == HOST_RESTARTED) host_restart(&h);
    int slices = 0;
    for (; slices < 100; slices++) {
      CHECK_STATUS(lnt_tick(h.rt, 0, &result, &h.error), LNT_OK);
      if (!result.commits) break;
      if (way == HOST_RESTARTED) host_restart(&h);
    }
    CHECK(slices >= 2 && slices < 10);
    check_empty(&h);
    host_close(&h);
  }
}

/* ---- Families ---- */

static void test_children_go_along(void) {
  host h;
  uint64_t count;
  IN_EACH_WAY(h) {
    host_start(&h, "child", "c", "4");
    host_start(&h, "child", "other", "1");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "c"), "COMPLETED 4");
    CHECK_EQ_UINT(total(&h), 7);
    CHECK_STATUS(purge(&h, "c", 0, &count), LNT_OK);
    CHECK_EQ_UINT(count, 5);
    host_settle(&h);
    CHECK_EQ_UINT(total(&h), 2);
    lnt_purge_options alone;
    lnt_purge_options_init(&alone);
    alone.recursive = 0;
    CHECK_STATUS(lnt_purge(h.rt, "other", &alone, &count, &h.error), LNT_OK);
    CHECK_EQ_UINT(count, 1);
    host_settle(&h);
    CHECK_EQ_UINT(total(&h), 1);
    lnt_purge_matching(h.rt, NULL, NULL, &count, NULL, &h.error);
    host_settle(&h);
    check_empty(&h);
  }
}

static void test_a_child_that_runs_keeps_the_family(void) {
  host h;
  uint64_t count;
  IN_EACH_WAY(h) {
    host_start(&h, "parent", "p", NULL);
    host_settle(&h);
    CHECK_STATUS(lnt_suspend(h.rt, "p-kid-2", NULL, NULL, NULL, NULL), LNT_OK);
    CHECK_STATUS(purge(&h, "p", 0, &count), LNT_EOPEN);
    CHECK_EQ_UINT(total(&h), 4);
    CHECK_STATUS(purge(&h, "p", 1, &count), LNT_OK);
    CHECK_EQ_UINT(count, 4);
    host_settle(&h);
    check_empty(&h);
  }
}

static void test_all_generations_go(void) {
  host h;
  uint64_t count;
  IN_EACH_WAY(h) {
    host_start(&h, "again", "a", "5");
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "a"), "COMPLETED \"last\"");
    CHECK_EQ_UINT(total(&h), 6);
    CHECK_STATUS(purge(&h, "a", 0, &count), LNT_OK);
    CHECK_EQ_UINT(count, 1);
    host_settle(&h);
    check_empty(&h);
    /* In one batch with its last generations. */
    host_start(&h, "again", "a", "5");
    CHECK_STATUS(purge(&h, "a", 1, &count), LNT_OK);
    host_settle(&h);
    check_empty(&h);
  }
}

/* A run number is in idempotency keys and tokens: it is never given again, also when the newest rows are gone. */
static void remember_run(void *user, const char *id, lnt_run_status status, const lnt_event *event) {
  (void)id, (void)status, (void)event;
  ++*(int *)user;
}

static uint64_t run_of(host *h, const char *id) {
  lnt_instance *instance;
  if (lnt_get(h->rt, id, &instance, &h->error)) return 0;
  uint64_t run = instance->run;
  lnt_free(instance);
  return run;
}

static void test_run_numbers_are_not_used_again(void) {
  host h;
  uint64_t count;
  IN_EACH_WAY(h) {
    int events = 0;
    for (int i = 0; i < 3; i++) {
      host_start(&h, "empty", "e", NULL);
      host_settle(&h);
      CHECK_EQ_UINT(run_of(&h, "e"), i + 1);
      CHECK_STATUS(lnt_observe(h.rt, remember_run, &events), LNT_OK);
      CHECK_STATUS(purge(&h, "e", 0, &count), LNT_OK);
      host_settle(&h);
      host_restart(&h);
    }
    CHECK_EQ_INT(events, 0);
  }
}

/* ---- Many ---- */

static void start_many(host *h, int from, int to) {
  for (int i = from; i < to; i++) {
    char id[16];
    snprintf(id, sizeof id, "e%d", i);
    host_start(h, i % 10 == 0 ? "gate" : "empty", id, NULL);
    h->clock_us += HOST_SECOND_US;
    if (i % 50 == 0) host_settle(h);
  }
  host_settle(h);
}

static void test_many_go_page_after_page(void) {
  host h;
  IN_EACH_WAY(h) {
    start_many(&h, 0, 300);
    uint64_t sum = 0, count, next = 0;
    int pages = 0;
    lnt_list_options which;
    lnt_purge_options options;
    lnt_list_options_init(&which);
    lnt_purge_options_init(&options);
    which.limit = 40;
    options.closed_before_us = HOST_START_US + 201 * HOST_SECOND_US; /* e201 closed later */
    do {
      which.cursor = next;
      CHECK_STATUS(lnt_purge_matching(h.rt, &which, &options, &count, &next, &h.error), LNT_OK);
      CHECK(count <= 40);
      sum += count;
      pages++;
      host_settle(&h);
    } while (next && pages < 100);
    CHECK(pages >= 4);
    CHECK_EQ_UINT(sum + total(&h), 300);
    CHECK_EQ_STR(host_status(&h, "e1"), "LNT_ENOTFOUND");
    CHECK_EQ_STR(host_status(&h, "e10"), "RUNNING");
    CHECK_EQ_STR(host_status(&h, "e299"), "COMPLETED");
    which.cursor = 0;
    which.workflow = "gate";
    CHECK_STATUS(lnt_purge_matching(h.rt, &which, NULL, &count, NULL, &h.error), LNT_OK);
    CHECK_EQ_UINT(count, 0);
    lnt_purge_options_init(&options);
    options.force = 1;
    which.status_mask = ~0u;
    which.workflow = NULL;
    which.limit = 0;
    CHECK_STATUS(lnt_purge_matching(h.rt, &which, &options, &count, NULL, &h.error), LNT_OK);
    host_settle(&h);
    check_empty(&h);
  }
}

static void test_an_older_run_goes_alone(void) {
  host h;
  uint64_t count;
  IN_EACH_WAY(h) {
    host_start(&h, "empty", "e", NULL);
    host_settle(&h);
    lnt_start_options again;
    lnt_start_options_init(&again);
    again.workflow = "gate";
    again.id = "e";
    again.id_reuse = LNT_ID_REUSE_TERMINAL;
    CHECK_STATUS(lnt_start(h.rt, &again, NULL, &h.error), LNT_OK);
    host_settle(&h);
    CHECK_STATUS(lnt_purge_matching(h.rt, NULL, NULL, &count, NULL, &h.error), LNT_OK);
    CHECK_EQ_UINT(count, 1);
    host_settle(&h);
    CHECK_EQ_UINT(total(&h), 1);
    CHECK_EQ_STR(host_status(&h, "e"), "RUNNING");
    host_raise(&h, "e", "go", NULL);
    host_settle(&h);
    CHECK_STATUS(purge(&h, "e", 0, &count), LNT_OK);
    host_settle(&h);
    check_empty(&h);
  }
}

CHECK_MAIN(test_a_finished_instance_is_gone_and_its_id_free, test_force_ends_what_runs, test_a_long_history_goes_in_slices,
           test_children_go_along, test_a_child_that_runs_keeps_the_family, test_all_generations_go, test_run_numbers_are_not_used_again,
           test_many_go_page_after_page, test_an_older_run_goes_alone);
