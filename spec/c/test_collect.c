/* test_collect.c - code that nothing needs any more is taken out of the store; everything else stays. Most stories are lived in three ways:
 * undisturbed, with bodies lost after each tick, and with the runtime closed and opened after each tick. */
#include <stdlib.h>

#include "base/fault.h"
#include "host.h"

#define GATE(result) "workflow('gate', function(ctx) local got = ctx:wait_for_external_event('go') return '" result "' end)\n"
static const char V1[] = GATE("one"), V2[] = GATE("two"), V3[] = GATE("three");

static void load(host *h, const char *source) {
  h->source = source;
  CHECK_STATUS(lnt_load_string(h->rt, "test.lua", source, strlen(source), &h->error), LNT_OK);
}

typedef struct listed { int count; uint64_t live; char hashes[10][LNT_HASH_TEXT_BYTES]; } listed;

static int add_version(void *user, const lnt_version_info *version) {
  listed *list = user;
  if (list->count < 10) snprintf(list->hashes[list->count], LNT_HASH_TEXT_BYTES, "%s", version->hash);
  list->count++;
  list->live += version->live;
  return 0;
}

static listed versions(host *h) {
  listed list = {.count = 0};
  CHECK_STATUS(lnt_versions(h->rt, "gate", add_version, &list, &h->error), LNT_OK);
  return list;
}

static int no_source(void *user, const lnt_source *source) {
  (void)user, (void)source;
  return 0;
}

static bool has_code(host *h, const char *hash) { return lnt_code(h->rt, hash, no_source, NULL, NULL, NULL) == LNT_OK; }

/* Rounds rest in between, by the clock of the machine: until it comes to this, or the test hangs. */
static void await_versions(host *h, int count) {
  while (versions(h).count != count) host_tick(h);
  host_settle(h);
}

static uint64_t collected(host *h) {
  lnt_stats stats = {.size = sizeof stats};
  CHECK_STATUS(lnt_get_stats(h->rt, &stats), LNT_OK);
  return stats.code_collected;
}

/* Any round that is due has been made: one that began later has collected something. */
static void await_round(host *h) {
  static const char other[2][80] = {"workflow('other', function() return 1 end)", "workflow('other', function() return 2 end)"};
  listed list = {.count = 0};
  for (int i = 0; i < 2; i++)
    CHECK_STATUS(lnt_load_string(h->rt, "other.lua", other[i], strlen(other[i]), &h->error), LNT_OK);
  do {
    host_tick(h);
    list.count = 0;
    CHECK_STATUS(lnt_versions(h->rt, "other", add_version, &list, &h->error), LNT_OK);
  } while (list.count != 1);
  host_settle(h);
}

#define IN_EACH_WAY(h) HOST_IN_EACH_WAY(h, host_open_as(&h, way, V1, NULL, NULL))

static void purge(host *h, const char *id) {
  lnt_purge_options options;
  lnt_purge_options_init(&options);
  options.force = 1;
  CHECK_STATUS(lnt_purge(h->rt, id, &options, NULL, &h->error), LNT_OK);
}

static void test_the_code_goes_with_its_last_instance(void) {
  host h;
  IN_EACH_WAY(h) {
    host_start(&h, "gate", "a", NULL);
    host_start(&h, "gate", "b", NULL);
    host_settle(&h);
    load(&h, V2);
    host_start(&h, "gate", "c", NULL);
    host_settle(&h);
    load(&h, V3);
    host_settle(&h);
    host_raise(&h, "a", "go", NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "a"), "COMPLETED \"one\"");
    listed before = versions(&h);
    CHECK_EQ_INT(before.count, 3);
    purge(&h, "b");
    if (way != HOST_RESTARTED) await_round(&h);
    CHECK_EQ_INT(versions(&h).count, 3); /* 'a' is finished, and on it */
    purge(&h, "a");
    await_versions(&h, 2);
    if (way != HOST_RESTARTED) CHECK(collected(&h) >= 1);
    CHECK(!has_code(&h, before.hashes[2]));
    CHECK(has_code(&h, before.hashes[1]));
    host_raise(&h, "c", "go", NULL);
    host_start(&h, "gate", "d", NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "c"), "COMPLETED \"two\"");
    purge(&h, "c");
    await_versions(&h, 1); /* the current one stays, whoever is on it */
    purge(&h, "d");
    host_settle(&h);
    host_start(&h, "gate", "e", NULL);
    host_raise(&h, "e", "go", NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "e"), "COMPLETED \"three\"");
  }
}

static void test_code_that_nobody_ran_goes_when_other_code_is_loaded(void) {
  host h;
  IN_EACH_WAY(h) {
    host_settle(&h);
    load(&h, V2);
    await_versions(&h, 1);
    load(&h, V1); /* and back, while the way out may be under way */
    await_versions(&h, 1);
    host_start(&h, "gate", "a", NULL);
    host_settle(&h);
    host_restart(&h);
    host_raise(&h, "a", "go", NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "a"), "COMPLETED \"one\"");
  }
}

/* Each tick of the way out, the code comes back. */
static void test_code_comes_back_while_it_goes(void) {
  for (int ticks = 0; ticks < 6; ticks++) {
    host h;
    host_open_as(&h, HOST_PLAIN, V1, NULL, NULL);
    host_settle(&h);
    await_round(&h);
    load(&h, V2);
    for (int i = 0; i < ticks; i++) host_tick(&h);
    load(&h, V1);
    host_start(&h, "gate", "a", NULL);
    await_round(&h);
    host_restart(&h);
    host_raise(&h, "a", "go", NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "a"), "COMPLETED \"one\"");
    await_versions(&h, 1);
    host_close(&h);
  }
}

static void test_a_move_sets_code_free(void) {
  host h;
  host_open_as(&h, HOST_PLAIN, V1, NULL, NULL);
  host_start(&h, "gate", "a", NULL);
  host_settle(&h);
  load(&h, V2);
  await_round(&h);
  listed both = versions(&h);
  CHECK_EQ_INT(both.count, 2);
  lnt_migrate_options options;
  lnt_migrate_options_init(&options);
  const char *ids[] = {"a"};
  options.ids = ids;
  options.id_count = 1;
  options.hash = both.hashes[0];
  CHECK_STATUS(lnt_migrate(h.rt, &options, &h.error), LNT_OK);
  await_versions(&h, 1);
  options.hash = both.hashes[1];
  CHECK_STATUS(lnt_migrate(h.rt, &options, &h.error), LNT_ENOTFOUND);
  /* what was before the move fits the code after it */
  lnt_fork_options fork;
  lnt_fork_options_init(&fork);
  fork.new_id = "b";
  fork.event = 3;
  CHECK_STATUS(lnt_fork(h.rt, "a", &fork, NULL, &h.error), LNT_OK);
  host_settle(&h);
  host_raise(&h, "a", "go", NULL);
  host_raise(&h, "b", "go", NULL);
  host_settle(&h);
  CHECK_EQ_STR(host_outcome(&h, "a"), "COMPLETED \"two\"");
  CHECK_EQ_STR(host_outcome(&h, "b"), "COMPLETED \"two\"");
  host_close(&h);
}

/* Wherever it ends, what is needed is there, and what is not goes in the end. */
static void test_a_crash_in_the_middle_loses_nothing(void) {
  for (int ticks = 0; ticks < 8; ticks++) {
    host h;
    host_open_as(&h, HOST_PLAIN, V1, NULL, NULL);
    host_start(&h, "gate", "a", NULL);
    host_settle(&h);
    load(&h, V2);
    host_start(&h, "gate", "b", NULL);
    host_settle(&h);
    load(&h, V3);
    host_settle(&h);
    purge(&h, "a");
    lnt__fault_arm(LNT__FAULT_commit_lost, (uint64_t)ticks / 2, 1); /* some commit fails, and is tried again */
    for (int i = 0; i < ticks; i++) lnt_tick(h.rt, 0, NULL, NULL);
    lnt__fault_arm(LNT__FAULT_commit_lost, 0, 0);
    host_restart(&h);
    await_versions(&h, 2);
    host_raise(&h, "b", "go", NULL);
    host_settle(&h);
    CHECK_EQ_STR(host_outcome(&h, "b"), "COMPLETED \"two\"");
    host_close(&h);
  }
}

/* More rows than a slice reads; the only one that needs the code is the last. */
static void test_many_rows_are_read_to_the_end(void) {
  host h;
  host_open_as(&h, HOST_PLAIN, V1, NULL, NULL);
  host_start(&h, "gate", "first", NULL);
  load(&h, V2);
  for (int i = 0; i < 1300; i++) {
    char id[16];
    snprintf(id, sizeof id, "i%d", i);
    host_start(&h, "gate", id, NULL);
  }
  load(&h, V1);
  host_start(&h, "gate", "last", NULL);
  load(&h, V2);
  host_settle(&h);
  purge(&h, "first");
  await_round(&h);
  CHECK_EQ_INT(versions(&h).count, 2);
  purge(&h, "last");
  await_versions(&h, 1);
  host_close(&h);
}

CHECK_MAIN(test_the_code_goes_with_its_last_instance, test_code_that_nobody_ran_goes_when_other_code_is_loaded,
           test_code_comes_back_while_it_goes, test_a_move_sets_code_free, test_a_crash_in_the_middle_loses_nothing,
           test_many_rows_are_read_to_the_end);
