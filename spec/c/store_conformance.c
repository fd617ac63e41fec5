/* store_conformance.c - the tests that every store passes; see store_conformance.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "store_conformance.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/rng.h"
#include "check.h"
#include "scratch.h"

/* ---- A store for one test ---- */

typedef struct fixture {
  const store_kind *kind;
  char dir[SCRATCH_PATH_MAX];
  lnt__store *store;
  lnt__batch *batch;
} fixture;

static bool begin(fixture *f, const store_kind *kind) {
  *f = (fixture){.kind = kind};
  scratch_make(f->dir);
  f->store = kind->open(f->dir);
  f->batch = lnt__batch_create();
  return CHECK(f->store != NULL) && CHECK(f->batch != NULL);
}

static void end(fixture *f) {
  if (f->store) f->store->vtable->destroy(f->store);
  lnt__batch_destroy(f->batch);
  scratch_remove(f->dir);
}

static void reopen(fixture *f) {
  if (!f->kind->persistent) return;
  f->store->vtable->destroy(f->store);
  f->store = f->kind->open(f->dir);
  CHECK(f->store != NULL);
}

static void put(fixture *f, lnt__table table, const char *key, const char *value) {
  CHECK(lnt__batch_put(f->batch, table, key, strlen(key), value, strlen(value)));
}

static void drop(fixture *f, lnt__table table, const char *key) { CHECK(lnt__batch_delete(f->batch, table, key, strlen(key))); }

static lnt_status commit(fixture *f) {
  lnt_error err = {LNT_OK, ""};
  lnt_status status = f->store->vtable->commit(f->store, f->batch, &err);
  if (status) CHECK(err.code == status && err.message[0]);
  lnt__batch_clear(f->batch);
  return status;
}

lnt_status store_put(lnt__store *store, lnt__table table, const char *key, const char *value) {
  lnt__batch *batch = lnt__batch_create();
  lnt__batch_put(batch, table, key, strlen(key), value, strlen(value));
  lnt_status status = store->vtable->commit(store, batch, NULL);
  lnt__batch_destroy(batch);
  return status;
}

bool store_has(lnt__store *store, lnt__table table, const char *key, const char *value) {
  void *data = NULL;
  size_t size = 0;
  lnt_status status = store->vtable->get(store, table, key, strlen(key), &data, &size, NULL);
  if (status) return status == LNT_ENOTFOUND && !value;
  bool same = value && size == strlen(value) && memcmp(data, value, size) == 0;
  lnt__free(data);
  return same;
}

uint64_t store_records(lnt__store *store) {
  lnt__store_info info = {0};
  CHECK_STATUS(store->vtable->info(store, &info, NULL), LNT_OK);
  return info.records;
}

void store_scan_all(lnt__store *store, lnt__table table, bool reverse, lnt__scan_fn fn, void *user) {
  lnt__slice all = {NULL, 0};
  CHECK_STATUS(store->vtable->scan(store, table, all, all, reverse, fn, user, NULL), LNT_OK);
}

void store_history_key(uint8_t key[12], uint64_t run, uint32_t record) {
  lnt__put_be64(key, run);
  lnt__put_be32(key + 8, record);
}

/* What a scan saw: "key=value " for each record. */
typedef struct seen { lnt__buf text; int stop_after; } seen;

static int see(void *user, lnt__slice key, lnt__slice value) {
  seen *s = user;
  lnt__buf_append(&s->text, key.data, key.size);
  lnt__buf_u8(&s->text, '=');
  lnt__buf_append(&s->text, value.data, value.size);
  lnt__buf_u8(&s->text, ' ');
  return --s->stop_after == 0;
}

static void check_scan(int line, lnt__store *store, lnt__table table, const char *from, const char *to, bool reverse, int stop_after,
                       const char *wanted) {
  seen s = {.stop_after = stop_after};
  lnt_error err;
  lnt__buf_init(&s.text);
  lnt__slice low = {from, strlen(from)}, high = {to, strlen(to)};
  lnt_status status = store->vtable->scan(store, table, low, high, reverse, see, &s, &err);
  lnt__buf_u8(&s.text, 0);
  check__str(__FILE__, line, "the scan's answer", lnt_status_name(status), "the wanted status", "LNT_OK");
  check__str(__FILE__, line, "what the scan saw", (const char *)s.text.data, "wanted", wanted);
  lnt__buf_finish(&s.text);
}
#define CHECK_SCAN(store, table, from, to, reverse, wanted) check_scan(__LINE__, store, table, from, to, reverse, 0, wanted)

/* ---- The tests ---- */

void conformance_empty(const store_kind *kind) {
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  void *data = &f;
  size_t size = 7;
  lnt_error err = {LNT_OK, "as before"};
  CHECK_STATUS(f.store->vtable->get(f.store, LNT__TABLE_META, "k", 1, &data, &size, &err), LNT_ENOTFOUND);
  CHECK_EQ_STR(err.message, "as before");
  CHECK_SCAN(f.store, LNT__TABLE_META, "", "", false, "");
  CHECK_SCAN(f.store, LNT__TABLE_META, "a", "b", true, "");
  CHECK_STATUS(commit(&f), LNT_OK); /* of nothing */
  CHECK_EQ_UINT(store_records(f.store), 0);
  reopen(&f);
  CHECK_EQ_UINT(store_records(f.store), 0);
  end(&f);
}

void conformance_put_get(const store_kind *kind) {
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  CHECK(lnt__batch_put(f.batch, LNT__TABLE_META, "bin\0ary", 7, "\0\1\2", 3));
  CHECK(lnt__batch_put(f.batch, LNT__TABLE_META, "nothing", 7, NULL, 0));
  char longest[LNT__KEY_BYTES_MAX];
  memset(longest, 'k', sizeof longest);
  CHECK(lnt__batch_put(f.batch, LNT__TABLE_ID, longest, sizeof longest, "long", 4));
  CHECK_STATUS(commit(&f), LNT_OK);
  for (int round = 0; round < 2; round++, reopen(&f)) {
    char *data = NULL;
    size_t size = 0;
    CHECK_STATUS(f.store->vtable->get(f.store, LNT__TABLE_META, "bin\0ary", 7, (void **)&data, &size, NULL), LNT_OK);
    CHECK(size == 3 && memcmp(data, "\0\1\2", 4) == 0); /* with the NUL behind it */
    lnt__free(data);
    CHECK(store_has(f.store, LNT__TABLE_META, "nothing", ""));
    CHECK(store_has(f.store, LNT__TABLE_META, "bin", NULL));
    CHECK_STATUS(f.store->vtable->get(f.store, LNT__TABLE_ID, longest, sizeof longest, (void **)&data, &size, NULL), LNT_OK);
    lnt__free(data);
    CHECK_STATUS(f.store->vtable->get(f.store, LNT__TABLE_ID, longest, sizeof longest - 1, (void **)&data, &size, NULL), LNT_ENOTFOUND);
  }
  end(&f);
}

void conformance_last_write_wins(const store_kind *kind) {
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  put(&f, LNT__TABLE_META, "c", "old");
  put(&f, LNT__TABLE_META, "a", "1");
  put(&f, LNT__TABLE_META, "a", "2");
  drop(&f, LNT__TABLE_META, "b");
  put(&f, LNT__TABLE_META, "b", "after a delete");
  put(&f, LNT__TABLE_META, "d", "to go");
  put(&f, LNT__TABLE_META, "a", "3");
  drop(&f, LNT__TABLE_META, "d");
  drop(&f, LNT__TABLE_META, "d");
  put(&f, LNT__TABLE_META, "c", "new");
  CHECK_EQ_UINT(lnt__batch_count(f.batch), 10);
  CHECK_STATUS(commit(&f), LNT_OK);
  CHECK_SCAN(f.store, LNT__TABLE_META, "", "", false, "a=3 b=after a delete c=new ");
  CHECK_EQ_UINT(store_records(f.store), 3);
  end(&f);
}

void conformance_replace_and_delete(const store_kind *kind) {
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  put(&f, LNT__TABLE_INSTANCE, "a", "1");
  put(&f, LNT__TABLE_INSTANCE, "b", "2");
  put(&f, LNT__TABLE_INSTANCE, "c", "3");
  CHECK_STATUS(commit(&f), LNT_OK);
  put(&f, LNT__TABLE_INSTANCE, "b", "a longer value than before");
  drop(&f, LNT__TABLE_INSTANCE, "a");
  drop(&f, LNT__TABLE_INSTANCE, "never there");
  CHECK_STATUS(commit(&f), LNT_OK);
  put(&f, LNT__TABLE_INSTANCE, "b", "");
  CHECK_STATUS(commit(&f), LNT_OK);
  CHECK_SCAN(f.store, LNT__TABLE_INSTANCE, "", "", false, "b= c=3 ");
  drop(&f, LNT__TABLE_INSTANCE, "c");
  drop(&f, LNT__TABLE_INSTANCE, "b");
  CHECK_STATUS(commit(&f), LNT_OK);
  CHECK_SCAN(f.store, LNT__TABLE_INSTANCE, "", "", false, "");
  reopen(&f);
  CHECK_EQ_UINT(store_records(f.store), 0);
  end(&f);
}

void conformance_tables_are_apart(const store_kind *kind) {
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  for (int i = LNT__TABLE_COUNT - 1; i >= 0; i--) {
    char value[2] = {(char)('0' + i), 0};
    put(&f, (lnt__table)i, "key", value);
  }
  CHECK_STATUS(commit(&f), LNT_OK);
  drop(&f, LNT__TABLE_TIMER, "key");
  CHECK_STATUS(commit(&f), LNT_OK);
  for (int i = 0; i < LNT__TABLE_COUNT; i++) {
    char value[2] = {(char)('0' + i), 0};
    CHECK(store_has(f.store, (lnt__table)i, "key", i == LNT__TABLE_TIMER ? NULL : value));
  }
  end(&f);
}

/* Every pair of bounds against a plain loop. */
void conformance_scan_bounds(const store_kind *kind) {
  static const char *const keys[] = {"a", "aa", "ab", "abc", "b", "ba", "c", "\x7f", "\x80", "\xff", "\xff\xff"};
  static const char *const bounds[] = {"", "a", "a\x01", "ab", "abb", "b", "bb", "c", "\x80", "\xff", "\xff\xff", "\xff\xff\xff", "0"};
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  for (size_t i = 0; i < LNT__COUNT(keys); i++) put(&f, LNT__TABLE_CODE, keys[(i * 5) % LNT__COUNT(keys)], "v");
  put(&f, LNT__TABLE_ACTIVE, "zz", "another table");
  put(&f, LNT__TABLE_CODE_NAME, "0", "another table");
  CHECK_STATUS(commit(&f), LNT_OK);
  for (size_t a = 0; a < LNT__COUNT(bounds); a++) {
    for (size_t b = 0; b < LNT__COUNT(bounds); b++) {
      char forward[200] = "", backward[200] = "";
      for (size_t i = 0; i < LNT__COUNT(keys); i++) {
        if (strcmp(keys[i], bounds[a]) < 0 || (*bounds[b] && strcmp(keys[i], bounds[b]) >= 0)) continue;
        snprintf(forward + strlen(forward), 20, "%s=v ", keys[i]);
        memmove(backward + strlen(keys[i]) + 3, backward, strlen(backward) + 1);
        memcpy(backward, forward + strlen(forward) - strlen(keys[i]) - 3, strlen(keys[i]) + 3);
      }
      CHECK_SCAN(f.store, LNT__TABLE_CODE, bounds[a], bounds[b], false, forward);
      CHECK_SCAN(f.store, LNT__TABLE_CODE, bounds[a], bounds[b], true, backward);
    }
  }
  end(&f);
}

void conformance_scan_stops(const store_kind *kind) {
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  for (const char *key = "abcdef"; *key; key++) CHECK(lnt__batch_put(f.batch, LNT__TABLE_META, key, 1, "", 0));
  CHECK_STATUS(commit(&f), LNT_OK);
  check_scan(__LINE__, f.store, LNT__TABLE_META, "b", "", false, 2, "b= c= ");
  check_scan(__LINE__, f.store, LNT__TABLE_META, "", "e", true, 3, "d= c= b= ");
  CHECK_SCAN(f.store, LNT__TABLE_META, "", "", true, "f= e= d= c= b= a= ");
  end(&f);
}

static bool has_filled(lnt__store *store, const char *key, char fill, size_t wanted) {
  char *data = NULL;
  size_t size = 0;
  if (!CHECK_STATUS(store->vtable->get(store, LNT__TABLE_CODE, key, strlen(key), (void **)&data, &size, NULL), LNT_OK)) return false;
  bool same = size == wanted;
  for (size_t i = 0; same && i < size; i++) same = data[i] == fill;
  lnt__free(data);
  return same;
}

void conformance_large_values(const store_kind *kind) {
  enum { LARGE = 5 << 20 };
  fixture f;
  char *large = malloc(LARGE);
  if (!begin(&f, kind)) return free(large), end(&f);
  memset(large, 'x', LARGE);
  static const size_t sizes[] = {LARGE, 2000, 2040, 4080, 4096, 100000, 1, 2038, 4081};
  for (size_t i = 0; i < LNT__COUNT(sizes); i++) {
    char key[2] = {(char)('a' + i), 0};
    CHECK(lnt__batch_put(f.batch, LNT__TABLE_CODE, key, 1, large, sizes[i]));
  }
  CHECK_STATUS(commit(&f), LNT_OK);
  reopen(&f);
  for (size_t i = 0; i < LNT__COUNT(sizes); i++) {
    char key[2] = {(char)('a' + i), 0};
    CHECK(has_filled(f.store, key, 'x', sizes[i]));
  }
  put(&f, LNT__TABLE_CODE, "a", "small now");
  memset(large, 'y', LARGE);
  CHECK(lnt__batch_put(f.batch, LNT__TABLE_CODE, "b", 1, large, LARGE));
  CHECK_STATUS(commit(&f), LNT_OK);
  CHECK(store_has(f.store, LNT__TABLE_CODE, "a", "small now"));
  CHECK(has_filled(f.store, "b", 'y', LARGE));
  free(large);
  end(&f);
}

typedef struct counting { uint64_t count, next, step; } counting;

static int count_ordered(void *user, lnt__slice key, lnt__slice value) {
  counting *c = user;
  bool right = key.size == 12 && value.size == 8 && lnt__get_be64(key.data) == c->next && lnt__get_be64(value.data) == c->next * 7;
  c->next += c->step;
  c->count++;
  return !CHECK(right);
}

void conformance_many_keys(const store_kind *kind) {
  enum { KEYS = 20011, STEP = 7919, PER_BATCH = 1000 }; /* two primes: each key once, in no order */
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  uint8_t key[12], value[8];
  for (uint64_t i = 0; i < KEYS; i++) {
    uint64_t n = i * STEP % KEYS;
    store_history_key(key, n, 1);
    lnt__put_be64(value, n * 7);
    CHECK(lnt__batch_put(f.batch, LNT__TABLE_HISTORY, key, 12, value, 8));
    if (i % PER_BATCH == PER_BATCH - 1) CHECK_STATUS(commit(&f), LNT_OK);
  }
  CHECK_STATUS(commit(&f), LNT_OK);
  counting all = {.step = 1};
  store_scan_all(f.store, LNT__TABLE_HISTORY, false, count_ordered, &all);
  CHECK_EQ_UINT(all.count, KEYS);
  for (uint64_t n = 1; n < KEYS; n += 2) {
    store_history_key(key, n, 1);
    CHECK(lnt__batch_delete(f.batch, LNT__TABLE_HISTORY, key, 12));
  }
  CHECK_STATUS(commit(&f), LNT_OK);
  reopen(&f);
  counting even = {.step = 2};
  store_scan_all(f.store, LNT__TABLE_HISTORY, false, count_ordered, &even);
  CHECK_EQ_UINT(even.count, KEYS / 2 + 1);
  counting back = {.next = KEYS - 1, .step = (uint64_t)-2};
  store_scan_all(f.store, LNT__TABLE_HISTORY, true, count_ordered, &back);
  CHECK_EQ_UINT(back.count, KEYS / 2 + 1);
  end(&f);
}

/* ---- Random operations against a model that is nothing but an array ---- */

enum { MODEL_KEYS = 64 };
typedef struct model { int32_t value[2][MODEL_KEYS]; } model; /* -1: absent */

static const lnt__table model_tables[2] = {LNT__TABLE_ID, LNT__TABLE_TIMER};

/* Keys of several lengths whose order is that of their numbers. */
static size_t model_key(int n, char key[24]) { return (size_t)snprintf(key, 24, "%02d%.*s", n / 2, n % 2 ? 3 + n % 9 : 0, "xxxxxxxxxxxx"); }

static size_t model_value(int32_t n, char *value, size_t size) {
  size_t length = (size_t)snprintf(value, size, "%d:", (int)n);
  size_t wanted = n % 13 == 0 ? 3000 : (size_t)n % 200;
  while (length < wanted && length < size) value[length++] = (char)('a' + n % 26);
  return length;
}

static void random_batch(fixture *f, lnt__rng *rng, model *m, int32_t *counter) {
  char key[24], value[4000];
  for (uint64_t ops = lnt__rng_below(rng, 30); ops > 0; ops--) {
    int table = (int)lnt__rng_below(rng, 2), n = (int)lnt__rng_below(rng, MODEL_KEYS);
    size_t key_size = model_key(n, key);
    if (lnt__rng_below(rng, 3) == 0) {
      m->value[table][n] = -1;
      CHECK(lnt__batch_delete(f->batch, model_tables[table], key, key_size));
    } else {
      m->value[table][n] = ++*counter;
      CHECK(lnt__batch_put(f->batch, model_tables[table], key, key_size, value, model_value(*counter, value, sizeof value)));
    }
  }
}

typedef struct model_scan { const model *model; int table, at, end, step; } model_scan;

static int see_model(void *user, lnt__slice key, lnt__slice value) {
  model_scan *s = user;
  char k[24], v[4000];
  while (s->at != s->end && s->model->value[s->table][s->at] < 0) s->at += s->step;
  if (!CHECK(s->at != s->end)) return 1;
  size_t k_size = model_key(s->at, k), v_size = model_value(s->model->value[s->table][s->at], v, sizeof v);
  s->at += s->step;
  bool same_key = key.size == k_size && memcmp(key.data, k, k_size) == 0;
  bool same_value = value.size == v_size && memcmp(value.data, v, v_size) == 0;
  return !CHECK(same_key) || !CHECK(same_value);
}

static void scan_model(fixture *f, const model *m, int table, int from, int to, bool reverse) {
  char a[24], b[24];
  lnt__slice low = {a, from > 0 ? model_key(from, a) : 0}, high = {b, to < MODEL_KEYS ? model_key(to, b) : 0};
  model_scan s = {m, table, reverse ? to - 1 : from, reverse ? from - 1 : to, reverse ? -1 : 1};
  if (from >= to) s.end = s.at = 0;
  CHECK_STATUS(f->store->vtable->scan(f->store, model_tables[table], low, high, reverse, see_model, &s, NULL), LNT_OK);
  while (s.at != s.end && m->value[table][s.at] < 0) s.at += s.step;
  CHECK_EQ_INT(s.at, s.end); /* nothing is missing */
}

static void compare_model(fixture *f, lnt__rng *rng, const model *m) {
  char key[24], wanted[4000];
  int table = (int)lnt__rng_below(rng, 2), n = (int)lnt__rng_below(rng, MODEL_KEYS);
  void *data = NULL;
  size_t size = 0, key_size = model_key(n, key), wanted_size = model_value(m->value[table][n], wanted, sizeof wanted);
  lnt_status status = f->store->vtable->get(f->store, model_tables[table], key, key_size, &data, &size, NULL);
  if (m->value[table][n] < 0) CHECK_STATUS(status, LNT_ENOTFOUND);
  else if (CHECK_STATUS(status, LNT_OK)) CHECK(size == wanted_size && memcmp(data, wanted, size) == 0);
  if (!status) lnt__free(data);
  int from = (int)lnt__rng_below(rng, MODEL_KEYS + 1), to = (int)lnt__rng_below(rng, MODEL_KEYS + 1);
  scan_model(f, m, table, from, to, lnt__rng_below(rng, 2) == 0);
}

void conformance_random_operations(const store_kind *kind) {
  for (uint64_t seed = 1; seed <= 6; seed++) {
    fixture f;
    CHECK_SEED(seed);
    if (!begin(&f, kind)) return end(&f);
    lnt__rng rng;
    lnt__rng_seed(&rng, seed);
    model m;
    memset(&m, 0xff, sizeof m);
    int32_t counter = 0;
    for (int round = 0; round < 150; round++) {
      random_batch(&f, &rng, &m, &counter);
      CHECK_STATUS(commit(&f), LNT_OK);
      compare_model(&f, &rng, &m);
      if (lnt__rng_below(&rng, 40) == 0) reopen(&f);
    }
    for (int table = 0; table < 2; table++) scan_model(&f, &m, table, 0, MODEL_KEYS, table == 0);
    end(&f);
  }
}

/* ---- Failures ---- */

/* The first allocation of a commit fails, then the second, and so on: nothing is applied, and the same batch goes in afterwards. */
void conformance_out_of_memory(const store_kind *kind) {
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  put(&f, LNT__TABLE_META, "b", "before");
  CHECK_STATUS(commit(&f), LNT_OK);
  bool last = false;
  for (uint64_t skip = 0; !last && skip < 1000; skip++) {
    put(&f, LNT__TABLE_META, "z", "1");
    put(&f, LNT__TABLE_META, "b", "after");
    put(&f, LNT__TABLE_META, "a", "2");
    lnt__fault_arm(LNT__FAULT_alloc, skip, 1);
    lnt_status status = f.store->vtable->commit(f.store, f.batch, NULL);
    last = lnt__fault_checks(LNT__FAULT_alloc) <= skip;
    lnt__fault_arm(LNT__FAULT_alloc, 0, 0);
    CHECK_STATUS(status, last ? LNT_OK : LNT_ENOMEM);
    CHECK_SCAN(f.store, LNT__TABLE_META, "", "", false, last ? "a=2 b=after z=1 " : "b=before ");
    CHECK_STATUS(commit(&f), LNT_OK);
    CHECK_SCAN(f.store, LNT__TABLE_META, "", "", false, "a=2 b=after z=1 ");
    put(&f, LNT__TABLE_META, "b", "before");
    drop(&f, LNT__TABLE_META, "a");
    drop(&f, LNT__TABLE_META, "z");
    CHECK_STATUS(commit(&f), LNT_OK);
  }
  end(&f);
}

void conformance_named_faults(const store_kind *kind) {
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  if (!kind->has_named_faults) return end(&f);
  lnt__fault_arm(LNT__FAULT_commit_lost, 0, 1);
  put(&f, LNT__TABLE_META, "a", "1");
  CHECK_STATUS(commit(&f), LNT_EIO);
  CHECK(store_has(f.store, LNT__TABLE_META, "a", NULL));
  lnt__fault_arm(LNT__FAULT_commit_full, 1, 1);
  CHECK_STATUS(store_put(f.store, LNT__TABLE_META, "b", "1"), LNT_OK);
  CHECK_STATUS(store_put(f.store, LNT__TABLE_META, "c", "1"), LNT_EFULL);
  CHECK(store_has(f.store, LNT__TABLE_META, "c", NULL));
  lnt__fault_arm(LNT__FAULT_commit_unacknowledged, 0, 1);
  CHECK_STATUS(store_put(f.store, LNT__TABLE_META, "d", "1"), LNT_EIO);
  CHECK_SCAN(f.store, LNT__TABLE_META, "", "", false, "b=1 d=1 ");
  CHECK_STATUS(store_put(f.store, LNT__TABLE_META, "e", "1"), LNT_OK);
  end(&f);
}

/* ---- Reading beside a commit ---- */

typedef struct racing {
  lnt__store *store;
  atomic_bool stop;
  atomic_uint commits;
} racing;

/* Each commit gives all of the records the same new value. */
static void *commit_same(void *user) {
  racing *r = user;
  lnt__batch *batch = lnt__batch_create();
  uint8_t key[12], value[600] = {0};
  for (uint64_t n = 1; !atomic_load(&r->stop); n++) {
    lnt__batch_clear(batch);
    for (uint32_t i = 0; i < 50; i++) {
      store_history_key(key, i, 0);
      lnt__put_be64(value, n);
      CHECK(lnt__batch_put(batch, LNT__TABLE_HISTORY, key, 12, value, n % 3 ? sizeof value : 8));
    }
    CHECK_STATUS(r->store->vtable->commit(r->store, batch, NULL), LNT_OK);
    atomic_fetch_add(&r->commits, 1);
  }
  lnt__batch_destroy(batch);
  return NULL;
}

typedef struct same { uint64_t value; unsigned count; } same;

static int all_same(void *user, lnt__slice key, lnt__slice value) {
  same *s = user;
  (void)key;
  uint64_t n = lnt__get_be64(value.data);
  if (s->count++ == 0) s->value = n;
  return !CHECK_EQ_UINT(n, s->value);
}

void conformance_no_state_between(const store_kind *kind) {
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  racing r = {.store = f.store};
  pthread_t thread;
  REQUIRE(pthread_create(&thread, NULL, commit_same, &r) == 0);
  uint64_t last = 0;
  for (int i = 0; i < 300 || atomic_load(&r.commits) < 100; i++) {
    same s = {0, 0};
    store_scan_all(f.store, LNT__TABLE_HISTORY, i % 2, all_same, &s);
    CHECK(s.count == 50 || (s.count == 0 && last == 0));
    CHECK(s.value >= last);
    last = s.value;
  }
  atomic_store(&r.stop, true);
  pthread_join(thread, NULL);
  end(&f);
}

/* ---- Copies and counts ---- */

void conformance_copy(const store_kind *kind) {
  fixture f;
  char to[SCRATCH_PATH_MAX];
  if (!begin(&f, kind)) return end(&f);
  put(&f, LNT__TABLE_META, "a", "1");
  put(&f, LNT__TABLE_CODE_NAME, "b", "2");
  CHECK_STATUS(commit(&f), LNT_OK);
  scratch_join(to, f.dir, "copy");
  lnt_error err;
  CHECK_STATUS(f.store->vtable->copy(f.store, to, &err), LNT_OK);
  put(&f, LNT__TABLE_META, "a", "changed since");
  CHECK_STATUS(commit(&f), LNT_OK);
  CHECK_STATUS(f.store->vtable->copy(f.store, to, &err), LNT_EEXIST);
  CHECK_HAS(err.message, to);
  lnt__store_options options = {.dir = to};
  lnt__store *copy = NULL;
  if (CHECK_STATUS(lnt__store_open_lmdb(&options, NULL, &copy, &err), LNT_OK)) {
    CHECK_EQ_UINT(store_records(copy), 2);
    CHECK(store_has(copy, LNT__TABLE_META, "a", "1") && store_has(copy, LNT__TABLE_CODE_NAME, "b", "2"));
    CHECK_STATUS(store_put(copy, LNT__TABLE_META, "a", "a life of its own"), LNT_OK);
    copy->vtable->destroy(copy);
  }
  CHECK(store_has(f.store, LNT__TABLE_META, "a", "changed since"));
  scratch_join(to, f.dir, "no such folder/copy");
  CHECK_STATUS(f.store->vtable->copy(f.store, to, &err), LNT_EINVAL);
  CHECK_STATUS(f.store->vtable->copy(f.store, "", &err), LNT_EINVAL);
  end(&f);
}

void conformance_info(const store_kind *kind) {
  fixture f;
  if (!begin(&f, kind)) return end(&f);
  lnt__store_info before, after;
  CHECK_STATUS(f.store->vtable->info(f.store, &before, NULL), LNT_OK);
  char value[100001];
  memset(value, 'v', sizeof value);
  value[sizeof value - 1] = 0;
  put(&f, LNT__TABLE_CODE, "a", value);
  put(&f, LNT__TABLE_META, "a", value);
  CHECK_STATUS(commit(&f), LNT_OK);
  CHECK_STATUS(f.store->vtable->info(f.store, &after, NULL), LNT_OK);
  CHECK_EQ_UINT(after.records, 2);
  CHECK(after.bytes_used >= before.bytes_used + 200000);
  CHECK(!after.was_unclean);
  end(&f);
}
