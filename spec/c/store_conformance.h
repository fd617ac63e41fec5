/* store_conformance.h - what every store must do. A test program describes a kind of store and lists the tests of it:
 *
 *   static void test_memory_put_get(void) { conformance_put_get(&memory); }        (STORE_TESTS writes these) */
#ifndef LNT_SPEC_STORE_CONFORMANCE_H
#define LNT_SPEC_STORE_CONFORMANCE_H

#include "store/store.h"

typedef struct store_kind {
  const char *name;
  /* A store for `dir`, an empty directory of the test's own; the second call for a directory opens it again, if `persistent`. */
  lnt__store *(*open)(const char *dir);
  bool persistent;
  bool has_named_faults; /* asks the faults of base/fault.h itself, or through the store it wraps */
} store_kind;

/* X(kind, test) */
#define STORE_TEST_MAP(X, kind)                                                                                        \
  X(kind, empty) X(kind, put_get) X(kind, last_write_wins) X(kind, replace_and_delete) X(kind, tables_are_apart)       \
  X(kind, scan_bounds) X(kind, scan_stops) X(kind, large_values) X(kind, many_keys) X(kind, random_operations)         \
  X(kind, out_of_memory) X(kind, named_faults) X(kind, no_state_between) X(kind, copy) X(kind, info)

#define STORE_TEST_DEFINE(kind, test) static void test_##kind##_##test(void) { conformance_##test(&kind); }
#define STORE_TEST_NAME(kind, test) test_##kind##_##test,

#define STORE_TEST_DECLARE(kind, test) void conformance_##test(const store_kind *kind);
STORE_TEST_MAP(STORE_TEST_DECLARE, kind)

/* Small helpers that the LMDB tests share. Keys and values are text. */
lnt_status store_put(lnt__store *store, lnt__table table, const char *key, const char *value);
bool store_has(lnt__store *store, lnt__table table, const char *key, const char *value); /* value NULL: the key is absent */
uint64_t store_records(lnt__store *store);
void store_scan_all(lnt__store *store, lnt__table table, bool reverse, lnt__scan_fn fn, void *user);
void store_history_key(uint8_t key[12], uint64_t run, uint32_t record);

#endif
