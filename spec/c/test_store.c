/* test_store.c - batches, the fault store, and every store against the conformance suite. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "base/fault.h"
#include "base/rng.h"
#include "check.h"
#include "scratch.h"
#include "store/batch.h"
#include "store_conformance.h"

/* ---- The kinds ---- */

static lnt__store *checked(lnt_status status, lnt__store *store, const lnt_error *err) {
  return CHECK_EQ_STR(status ? err->message : "", "") ? store : NULL;
}

static lnt__store *open_memory(const char *dir) {
  lnt__store *store = NULL;
  lnt_error err;
  (void)dir;
  lnt_status status = lnt__store_open_memory(&store, &err);
  return checked(status, store, &err);
}

static lnt__store *open_lmdb(const char *dir, lnt_durability durability) {
  lnt__store *store = NULL;
  lnt_error err;
  char path[SCRATCH_PATH_MAX];
  lnt__store_options options = {.dir = scratch_join(path, dir, "data"), .durability = durability};
  lnt_status status = lnt__store_open_lmdb(&options, NULL, &store, &err);
  return checked(status, store, &err);
}

static lnt__store *open_lmdb_sync(const char *dir) { return open_lmdb(dir, LNT_DURABILITY_SYNC); }
static lnt__store *open_lmdb_process(const char *dir) { return open_lmdb(dir, LNT_DURABILITY_PROCESS); }

static lnt__store *open_fault(lnt__store *inner) {
  lnt__store *store = NULL;
  lnt_error err;
  lnt_status status = lnt__store_open_fault(inner, false, &store, &err);
  return checked(status, store, &err);
}

static lnt__store *open_fault_memory(const char *dir) { return open_fault(open_memory(dir)); }
static lnt__store *open_fault_lmdb(const char *dir) { return open_fault(open_lmdb_sync(dir)); }

static const store_kind memory = {"memory", open_memory, false, true};
static const store_kind lmdb_sync = {"lmdb, sync", open_lmdb_sync, true, true};
static const store_kind lmdb_process = {"lmdb, process", open_lmdb_process, true, true};
static const store_kind fault_memory = {"fault over memory", open_fault_memory, false, true};
static const store_kind fault_lmdb = {"fault over lmdb", open_fault_lmdb, true, true};

STORE_TEST_MAP(STORE_TEST_DEFINE, memory)
STORE_TEST_MAP(STORE_TEST_DEFINE, lmdb_sync)
STORE_TEST_MAP(STORE_TEST_DEFINE, lmdb_process)
STORE_TEST_MAP(STORE_TEST_DEFINE, fault_memory)
STORE_TEST_MAP(STORE_TEST_DEFINE, fault_lmdb)

/* ---- Batches ---- */

/* The order that a store visits: sorted, each key once, with the value that was put last. */
static void test_batch_order(void) {
  for (uint64_t seed = 1; seed <= 50; seed++) {
    CHECK_SEED(seed);
    lnt__rng rng;
    lnt__rng_seed(&rng, seed);
    lnt__batch *batch = lnt__batch_create();
    uint32_t newest[2][40], count = (uint32_t)lnt__rng_below(&rng, 200), distinct = 0;
    memset(newest, 0xff, sizeof newest);
    for (uint32_t i = 0; i < count; i++) {
      uint32_t table = (uint32_t)lnt__rng_below(&rng, 2), n = (uint32_t)lnt__rng_below(&rng, 40);
      char key[40];
      int size = snprintf(key, sizeof key, "a long prefix %u", 10 + n);
      newest[table][n] = i;
      CHECK(lnt__batch_put(batch, table ? LNT__TABLE_TIMER : LNT__TABLE_META, key, (size_t)size, &i, sizeof i));
    }
    lnt__order order;
    CHECK(lnt__batch_order(batch, &order));
    size_t at = 0;
    for (int t = 0; t < 2; t++) {
      for (int n = 0; n < 40; n++) {
        if (newest[t][n] == UINT32_MAX) continue;
        distinct++;
        if (at < order.count) CHECK_EQ_MEM(lnt__op_value(batch, lnt__order_at(batch, &order, at++)).data, &newest[t][n], 4);
      }
    }
    CHECK_EQ_UINT(order.count, distinct);
    lnt__batch_destroy(batch);
  }
}

/* Keys that agree in their first eight bytes, and short ones with zeros at their ends. */
static void test_batch_orders_like_keys(void) {
  static const struct { const char *data; size_t size; } keys[] = {
      {"\0", 1}, {"\0\0", 2}, {"a", 1}, {"a\0", 2}, {"a\0\0\0\0\0\0\0", 8}, {"a\0\0\0\0\0\0\0\0", 9}, {"aaaaaaaa", 8}, {"aaaaaaaa\0", 9},
      {"aaaaaaaab", 9}, {"aaaaaaab", 8}, {"\x80", 1}, {"\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9}};
  lnt__batch *batch = lnt__batch_create();
  for (size_t i = LNT__COUNT(keys); i-- > 0;) CHECK(lnt__batch_put(batch, LNT__TABLE_META, keys[i].data, keys[i].size, "", 0));
  lnt__order order;
  CHECK(lnt__batch_order(batch, &order));
  CHECK_EQ_UINT(order.count, LNT__COUNT(keys));
  for (size_t i = 0; i < order.count; i++) {
    lnt__slice key = lnt__op_key(batch, lnt__order_at(batch, &order, i));
    CHECK_EQ_UINT(key.size, keys[i].size);
    CHECK_EQ_MEM(key.data, keys[i].data, keys[i].size);
  }
  lnt__batch_destroy(batch);
}

static void test_batch_out_of_memory(void) {
  lnt__batch *batch = lnt__batch_create();
  lnt__store *store = open_memory(NULL);
  CHECK(lnt__batch_put(batch, LNT__TABLE_META, "a", 1, "1", 1));
  lnt__fault_arm(LNT__FAULT_alloc, 0, 1);
  char large[1000] = {0};
  CHECK(!lnt__batch_put(batch, LNT__TABLE_META, "b", 1, large, sizeof large));
  lnt__fault_arm(LNT__FAULT_alloc, 0, 0);
  CHECK(lnt__batch_failed(batch));
  CHECK(!lnt__batch_put(batch, LNT__TABLE_META, "c", 1, "3", 1));
  CHECK_STATUS(store->vtable->commit(store, batch, NULL), LNT_ENOMEM);
  CHECK_EQ_UINT(store_records(store), 0);
  lnt__batch_clear(batch);
  CHECK(!lnt__batch_failed(batch) && lnt__batch_count(batch) == 0 && lnt__batch_bytes(batch) == 0);
  CHECK(lnt__batch_put(batch, LNT__TABLE_META, "d", 1, "4", 1));
  CHECK_STATUS(store->vtable->commit(store, batch, NULL), LNT_OK);
  CHECK(store_has(store, LNT__TABLE_META, "d", "4"));
  store->vtable->destroy(store);
  lnt__batch_destroy(batch);
  lnt__fault_arm(LNT__FAULT_alloc, 1, 1);
  CHECK(lnt__batch_create() == NULL);
  lnt__fault_arm(LNT__FAULT_alloc, 0, 0);
}

/* A batch survives its commit, so that it can be tried again, and can be added to afterwards. */
static void test_batch_is_left_as_it_was(void) {
  lnt__batch *batch = lnt__batch_create();
  lnt__store *store = open_fault_memory(NULL);
  CHECK(lnt__batch_put(batch, LNT__TABLE_META, "b", 1, "1", 1));
  CHECK(lnt__batch_put(batch, LNT__TABLE_META, "a", 1, "2", 1));
  lnt__store_fault_next(store, LNT__STORE_FULL, 0);
  CHECK_STATUS(store->vtable->commit(store, batch, NULL), LNT_EFULL);
  CHECK_EQ_UINT(store_records(store), 0);
  CHECK(lnt__batch_put(batch, LNT__TABLE_META, "0", 1, "3", 1));
  CHECK_STATUS(store->vtable->commit(store, batch, NULL), LNT_OK);
  CHECK_EQ_UINT(lnt__batch_count(batch), 3);
  CHECK(store_has(store, LNT__TABLE_META, "a", "2") && store_has(store, LNT__TABLE_META, "b", "1"));
  CHECK(store_has(store, LNT__TABLE_META, "0", "3"));
  store->vtable->destroy(store);
  lnt__batch_destroy(batch);
}

/* ---- The fault store ---- */

static void test_fault_commands(void) {
  lnt__store *inner = open_memory(NULL), *store = NULL;
  CHECK_STATUS(lnt__store_open_fault(inner, true, &store, NULL), LNT_OK);
  lnt__store_fault_next(store, LNT__STORE_LOST, 1);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "a", "1"), LNT_OK);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "b", "1"), LNT_EIO);
  CHECK(store_has(store, LNT__TABLE_META, "b", NULL));
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "b", "2"), LNT_OK);
  lnt__store_fault_next(store, LNT__STORE_UNACKNOWLEDGED, 0);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "c", "1"), LNT_EIO);
  CHECK(store_has(store, LNT__TABLE_META, "c", "1"));
  CHECK_EQ_UINT(lnt__store_fault_commits(store), 4);
  lnt__store_fault_crash(store);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "d", "1"), LNT_EIO);
  CHECK(!store_has(store, LNT__TABLE_META, "a", "1"));
  lnt__store_fault_reopen(store);
  CHECK(store_has(store, LNT__TABLE_META, "a", "1") && store_has(store, LNT__TABLE_META, "d", NULL));
  store->vtable->destroy(store);
  CHECK(store_has(inner, LNT__TABLE_META, "b", "2")); /* kept */
  inner->vtable->destroy(inner);
}

#define NAMED_MAIN(...) CHECK_MAIN(__VA_ARGS__)
NAMED_MAIN(STORE_TEST_MAP(STORE_TEST_NAME, memory) STORE_TEST_MAP(STORE_TEST_NAME, lmdb_sync) STORE_TEST_MAP(STORE_TEST_NAME, lmdb_process)
           STORE_TEST_MAP(STORE_TEST_NAME, fault_memory) STORE_TEST_MAP(STORE_TEST_NAME, fault_lmdb) test_batch_order,
           test_batch_orders_like_keys, test_batch_out_of_memory, test_batch_is_left_as_it_was, test_fault_commands);
