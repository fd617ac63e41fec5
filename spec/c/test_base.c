/* test_base.c - what every layer stands on: errors, names, buffers, tables, heap, pool, hashes, random numbers, files. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/pool.h"
#include "base/rng.h"
#include "check.h"

/* ---- Errors and names ---- */

static void test_errors(void) {
  lnt_error err = {LNT_OK, "untouched"};
  CHECK_STATUS(lnt__fail(NULL, LNT_EIO, "nobody listens"), LNT_EIO);
  CHECK_STATUS(lnt__fail(&err, LNT_EIO, "cannot read %s: %d\n", "x", 7), LNT_EIO);
  CHECK_EQ_STR(err.message, "cannot read x: 7");
  CHECK_STATUS(err.code, LNT_EIO);
  CHECK_STATUS(lnt__fail_prefix(&err, LNT_EINVAL, "file %d", 3), LNT_EIO);
  CHECK_EQ_STR(err.message, "file 3: cannot read x: 7");
  CHECK_STATUS(lnt__fail_prefix(NULL, LNT_EINVAL, "file"), LNT_EINVAL);
  lnt__fail(&err, LNT_EVALUE, "again: %s", err.message); /* the argument is the message that is replaced */
  CHECK_EQ_STR(err.message, "again: file 3: cannot read x: 7");
  lnt__fail(&err, LNT_EVALUE, "bad \xff\xfe text");
  CHECK_EQ_STR(err.message, "bad ?? text");
}

static void test_error_is_cut_at_a_character(void) {
  char text[3 * LNT_ERROR_MESSAGE_MAX];
  for (size_t shift = 0; shift < 3; shift++) {
    lnt_error err;
    memset(text, 'x', shift);
    size_t used = shift;
    while (used + 3 < sizeof text) memcpy(text + used, "\xe2\x82\xac", 3), used += 3;
    text[used] = 0;
    lnt__fail(&err, LNT_EIO, "%s", text);
    CHECK(strlen(err.message) > LNT_ERROR_MESSAGE_MAX - 6);
    CHECK(strlen(err.message) < LNT_ERROR_MESSAGE_MAX);
    CHECK(lnt__utf8_valid(err.message, strlen(err.message)));
    CHECK(!strchr(err.message, '?') || strlen(err.message) >= LNT_ERROR_MESSAGE_MAX - 4);
    lnt__fail_prefix(&err, LNT_EIO, "%s", text);
    CHECK(lnt__utf8_valid(err.message, strlen(err.message)));
  }
}

static void test_public_names(void) {
  CHECK_EQ_STR(lnt_version(), LNT_VERSION_STRING);
#define LNT__X(name, number, text) CHECK_EQ_STR(lnt_status_name(LNT_##name), "LNT_" #name), CHECK_EQ_STR(lnt_status_text(LNT_##name), text);
  LNT_STATUS_MAP(LNT__X)
#undef LNT__X
#define LNT__X(name, number, text) CHECK_EQ_STR(lnt_run_status_name(LNT_RUN_##name), #name);
  LNT_RUN_STATUS_MAP(LNT__X)
#undef LNT__X
  CHECK_EQ_STR(lnt_status_name((lnt_status)1), "LNT_UNKNOWN");
  CHECK_EQ_STR(lnt_status_name((lnt_status)-1000), "LNT_UNKNOWN");
  CHECK(lnt_status_text((lnt_status)5) != NULL);
  CHECK_EQ_STR(lnt_run_status_name((lnt_run_status)99), "UNKNOWN");
  CHECK_EQ_STR(lnt_event_kind_name(LNT_EVENT_ACTIVITY_SCHEDULED), "ActivityScheduled");
  CHECK_EQ_STR(lnt_event_kind_name(LNT_EVENT_STARTED), "Started");
  CHECK_EQ_STR(lnt_event_kind_name(LNT_EVENT_TERMINATE_REQUESTED), "TerminateRequested");
  CHECK_EQ_STR(lnt_event_kind_name(LNT_EVENT_CODE_CHANGED), "CodeChanged");
  CHECK_EQ_STR(lnt_event_kind_name((lnt_event_kind)0), "Unknown");
  CHECK_EQ_STR(lnt_event_kind_name((lnt_event_kind)99), "Unknown");
}

static void test_utf8(void) {
  static const struct { const char *text; bool valid; } cases[] = {
    {"", true}, {"plain", true}, {"caf\xc3\xa9", true}, {"\xe2\x82\xac", true}, {"\xf0\x9f\x8c\x99 and a long tail of ASCII", true},
    {"\xf4\x8f\xbf\xbf", true}, {"\xed\x9f\xbf\xee\x80\x80", true}, {"eight by\xc3\xa9", true},
    {"\x80", false}, {"\xc3", false}, {"\xc0\x80", false}, {"\xc1\xbf", false}, {"\xe0\x9f\xbf", false}, {"\xed\xa0\x80", false},
    {"\xf0\x8f\xbf\xbf", false}, {"\xf4\x90\x80\x80", false}, {"\xf5\x80\x80\x80", false}, {"\xff", false}, {"\xe2\x82", false},
    {"eight by\xe2\x82 and more text", false}, {"01234567\xff", false},
  };
  for (size_t i = 0; i < LNT__COUNT(cases); i++)
    if (lnt__utf8_valid(cases[i].text, strlen(cases[i].text)) != cases[i].valid) CHECK_FAIL("case %zu", i);
  CHECK(lnt__utf8_valid(NULL, 0));
  CHECK(lnt__utf8_valid("a\0b", 3));
  CHECK_EQ_UINT(lnt__utf8_length("\xe2\x82\xac!", 4), 3);
  CHECK_EQ_UINT(lnt__utf8_length("\xe2\x82\xac", 2), 0);
  CHECK_EQ_UINT(lnt__utf8_length("", 0), 0);
}

static void test_check_name(void) {
  lnt_error err = {LNT_OK, ""};
  char longest[130];
  memset(longest, 'n', sizeof longest);
  longest[128] = 0;
  CHECK_STATUS(lnt__check_name("the id", "order-17 \xf0\x9f\x8c\x99", 128, false, &err), LNT_OK);
  CHECK_STATUS(lnt__check_name("the id", longest, 128, false, &err), LNT_OK);
  CHECK_STATUS(lnt__check_name("the name", "a/b", 128, true, &err), LNT_OK);
  CHECK_EQ_STR(err.message, "");
  longest[128] = 'n', longest[129] = 0;
  static const struct { const char *text, *part; } refused[] = {
    {NULL, "empty"}, {"", "empty"}, {"a/b", "'/' at byte 2"}, {"tab\t", "control character at byte 4"}, {"del\x7f", "control"},
    {"c1 \xc2\x85", "control"}, {"bad \xff", "not valid UTF-8"},
  };
  for (size_t i = 0; i < LNT__COUNT(refused); i++) {
    CHECK_STATUS(lnt__check_name("the id", refused[i].text, 128, false, &err), LNT_EINVAL);
    CHECK_HAS(err.message, "the id");
    CHECK_HAS(err.message, refused[i].part);
  }
  CHECK_STATUS(lnt__check_name("the id", longest, 128, false, &err), LNT_EINVAL);
  CHECK_HAS(err.message, "longer than 128 bytes");
}

/* ---- Memory and buffers ---- */

static void test_memory(void) {
  void *nothing = lnt__alloc(0), *zero = lnt__calloc(0, 8);
  CHECK(nothing && zero && nothing != zero);
  nothing = lnt__realloc(nothing, 0);
  CHECK(nothing);
  lnt__free(nothing);
  lnt__free(zero);
  lnt__free(NULL);
  char *copy = lnt__strndup("abcdef", 3);
  CHECK_EQ_STR(copy, "abc");
  lnt__free(copy);
  int *numbers = NULL;
  size_t capacity = 0;
  for (int i = 0; i < 1000; i++) {
    REQUIRE(lnt__grow((void **)&numbers, &capacity, (size_t)i + 1, sizeof *numbers));
    numbers[i] = i;
  }
  for (int i = 0; i < 1000; i++) CHECK_EQ_INT(numbers[i], i);
  CHECK(!lnt__grow((void **)&numbers, &capacity, SIZE_MAX / 2, sizeof *numbers));
  CHECK_EQ_INT(numbers[999], 999);
  lnt__free(numbers);
}

static const uint64_t edges[] = {0,       1,          127,        128,       16383,      16384,          (1ull << 32) - 1, 1ull << 32,
                                 1 << 21, 1ull << 53, 1ull << 62, 1ull << 63, UINT64_MAX, UINT64_MAX - 1, 255,              256};

static void test_buf_round_trip(void) {
  lnt__buf buf;
  lnt__buf_init(&buf);
  for (size_t i = 0; i < LNT__COUNT(edges); i++) {
    lnt__buf_varint(&buf, edges[i]);
    lnt__buf_zigzag(&buf, (int64_t)edges[i]);
    lnt__buf_zigzag(&buf, (int64_t)(0 - edges[i]));
    lnt__buf_u8(&buf, (uint8_t)i);
    lnt__buf_bytes(&buf, "some bytes", i % 11);
  }
  lnt__buf_printf(&buf, "%s-%d", "printed", 42);
  lnt__reader reader = lnt__reader_of(buf.data, buf.size);
  for (size_t i = 0; i < LNT__COUNT(edges); i++) {
    CHECK_EQ_UINT(lnt__read_varint(&reader), edges[i]);
    CHECK_EQ_INT(lnt__read_zigzag(&reader), (int64_t)edges[i]);
    CHECK_EQ_INT(lnt__read_zigzag(&reader), (int64_t)(0 - edges[i]));
    CHECK_EQ_UINT(lnt__read_u8(&reader), i);
    lnt_value bytes = lnt__read_bytes(&reader);
    CHECK_EQ_UINT(bytes.size, i % 11);
    CHECK((bytes.data != NULL) == (bytes.size != 0));
    CHECK_EQ_MEM(bytes.data, "some bytes", bytes.size);
  }
  CHECK(!reader.failed);
  CHECK_EQ_UINT(reader.end - reader.at, 10);
  CHECK_EQ_MEM(reader.at, "printed-42", 10);
  lnt__buf_finish(&buf);
}

static void test_buf_printf_grows(void) {
  char text[5000];
  memset(text, 'p', sizeof text - 1);
  text[sizeof text - 1] = 0;
  lnt__buf buf;
  lnt__buf_init(&buf);
  lnt__buf_printf(&buf, "<%s>", text);
  CHECK_EQ_UINT(buf.size, sizeof text + 1);
  CHECK_EQ_INT(buf.data[0], '<');
  CHECK_EQ_INT(buf.data[buf.size - 1], '>');
  lnt__buf_finish(&buf);
}

static void test_buf_detach(void) {
  lnt__buf buf;
  size_t size = 99;
  lnt__buf_init(&buf);
  CHECK(lnt__buf_detach(&buf, &size) == NULL);
  CHECK_EQ_UINT(size, 0);
  lnt__buf_append(&buf, "hello", 5);
  char *data = lnt__buf_detach(&buf, &size);
  CHECK_EQ_UINT(size, 5);
  CHECK_EQ_MEM(data, "hello", 5);
  lnt__free(data);
  CHECK(buf.data == NULL && buf.size == 0 && buf.capacity == 0);
  lnt__buf_append(&buf, "x", 1);
  buf.failed = true;
  CHECK(lnt__buf_detach(&buf, &size) == NULL); /* nothing half-made is handed out, and nothing leaks */
}

static void test_reader_refuses(void) {
  static const struct { const char *bytes; size_t size; } bad[] = {
    {"", 0}, {"\x80", 1}, {"\x80\x00", 2}, {"\xff\x00", 2}, {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10},
    {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},
  };
  for (size_t i = 0; i < LNT__COUNT(bad); i++) {
    lnt__reader reader = lnt__reader_of(bad[i].bytes, bad[i].size);
    CHECK_EQ_UINT(lnt__read_varint(&reader), 0);
    CHECK(reader.failed);
    CHECK_EQ_UINT(lnt__read_u8(&reader), 0); /* and it stays so */
    CHECK(reader.failed && reader.at == reader.end);
  }
  lnt__reader reader = lnt__reader_of("\x05" "abc", 4);
  CHECK(lnt__read_bytes(&reader).data == NULL);
  CHECK(reader.failed);
  reader = lnt__reader_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" "abc", 13);
  CHECK(lnt__read_bytes(&reader).data == NULL);
  CHECK(reader.failed);
}

static void test_reader_random(void) {
  lnt__rng rng;
  CHECK_SEED(11);
  lnt__rng_seed(&rng, 11);
  for (int round = 0; round < 20000; round++) {
    uint8_t bytes[24];
    size_t size = (size_t)lnt__rng_below(&rng, sizeof bytes + 1);
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(lnt__rng_next(&rng) >> (lnt__rng_next(&rng) & 3 ? 8 : 60));
    lnt__reader reader = lnt__reader_of(bytes, size);
    uint64_t value = lnt__read_varint(&reader);
    if (reader.failed) continue;
    lnt__buf buf; /* what was accepted is the one form of its number */
    lnt__buf_init(&buf);
    lnt__buf_varint(&buf, value);
    CHECK_EQ_UINT(buf.size, reader.at - bytes);
    CHECK_EQ_MEM(buf.data, bytes, buf.size);
    lnt__buf_finish(&buf);
  }
}

static void test_big_endian(void) {
  uint8_t low[8], high[8];
  for (size_t i = 0; i < LNT__COUNT(edges); i++) {
    lnt__put_be64(low, edges[i]);
    CHECK_EQ_UINT(lnt__get_be64(low), edges[i]);
    lnt__put_be32(low, (uint32_t)edges[i]);
    CHECK_EQ_UINT(lnt__get_be32(low), (uint32_t)edges[i]);
    for (size_t k = 0; k < LNT__COUNT(edges); k++) {
      lnt__put_be64(low, edges[i]);
      lnt__put_be64(high, edges[k]);
      CHECK_EQ_INT(memcmp(low, high, 8) < 0, edges[i] < edges[k]);
    }
  }
}

/* ---- Tables and heap, against models ---- */

enum { KEYS = 300 };

static uint64_t spread_key(uint64_t index) { return index % 3 ? index : index << 40; } /* dense ones and far ones */

static void check_u64map(const lnt__u64map *map, char *const *model) {
  size_t at = 0, count = 0, seen = 0;
  uint64_t key;
  void *value;
  for (uint64_t i = 0; i < KEYS; i++) {
    CHECK(lnt__u64map_get(map, spread_key(i)) == model[i]);
    count += model[i] != NULL;
  }
  CHECK_EQ_UINT(map->count, count);
  while (lnt__u64map_next(map, &at, &key, &value)) {
    seen++;
    CHECK(lnt__u64map_get(map, key) == value);
  }
  CHECK_EQ_UINT(seen, count);
}

static void test_u64map_model(void) {
  static char cells[KEYS][2];
  lnt__rng rng;
  for (uint64_t seed = 1; seed <= 20; seed++) {
    CHECK_SEED(seed);
    lnt__rng_seed(&rng, seed);
    char *model[KEYS] = {NULL};
    lnt__u64map map;
    lnt__u64map_init(&map);
    CHECK(lnt__u64map_get(&map, 0) == NULL && lnt__u64map_remove(&map, 0) == NULL);
    for (int step = 0; step < 3000; step++) {
      uint64_t i = lnt__rng_below(&rng, KEYS), key = spread_key(i);
      if (lnt__rng_below(&rng, 100) < (step < 1500 ? 60u : 40u)) {
        model[i] = &cells[i][lnt__rng_below(&rng, 2)];
        CHECK(lnt__u64map_put(&map, key, model[i]));
      } else {
        CHECK(lnt__u64map_remove(&map, key) == model[i]);
        model[i] = NULL;
      }
      if (step % 100 == 0) check_u64map(&map, model);
    }
    check_u64map(&map, model);
    lnt__u64map_finish(&map);
  }
}

static void test_strmap_model(void) {
  static char names[KEYS][24], cells[KEYS][2];
  for (int i = 0; i < KEYS; i++) snprintf(names[i], sizeof names[i], i % 2 ? "instance-%06d" : "%d", i);
  lnt__rng rng;
  for (uint64_t seed = 1; seed <= 20; seed++) {
    CHECK_SEED(seed);
    lnt__rng_seed(&rng, seed);
    char *model[KEYS] = {NULL};
    lnt__strmap map;
    lnt__strmap_init(&map);
    CHECK(lnt__strmap_get(&map, "x") == NULL && lnt__strmap_remove(&map, "x") == NULL);
    for (int step = 0; step < 3000; step++) {
      uint64_t i = lnt__rng_below(&rng, KEYS);
      if (lnt__rng_below(&rng, 100) < (step < 1500 ? 60u : 40u)) {
        model[i] = &cells[i][lnt__rng_below(&rng, 2)];
        CHECK(lnt__strmap_put(&map, names[i], model[i]));
      } else {
        CHECK(lnt__strmap_remove(&map, names[i]) == model[i]);
        model[i] = NULL;
      }
    }
    size_t at = 0, count = 0, seen = 0;
    const char *key;
    void *value;
    for (int i = 0; i < KEYS; i++) {
      char copy[24];
      memcpy(copy, names[i], sizeof copy); /* found by its text, not by its address */
      CHECK(lnt__strmap_get(&map, copy) == model[i]);
      count += model[i] != NULL;
    }
    while (lnt__strmap_next(&map, &at, &key, &value)) seen++, CHECK(lnt__strmap_get(&map, key) == value);
    CHECK_EQ_UINT(seen, count);
    CHECK_EQ_UINT(map.count, count);
    lnt__strmap_finish(&map);
  }
}

/* A replaced entry must hold the new key: the old text may be gone with the old value. */
static void test_strmap_replaces_the_key(void) {
  char *old_key = lnt__strdup("quest"), *new_key = lnt__strdup("quest");
  lnt__strmap map;
  lnt__strmap_init(&map);
  CHECK(lnt__strmap_put(&map, old_key, old_key));
  CHECK(lnt__strmap_put(&map, new_key, new_key));
  lnt__free(old_key);
  CHECK(lnt__strmap_get(&map, "quest") == new_key);
  CHECK(lnt__strmap_remove(&map, "quest") == new_key);
  lnt__strmap_finish(&map);
  lnt__free(new_key);
}

static int compare_due(const void *left, const void *right) {
  const lnt__due *a = left, *b = right;
  if (a->due_us != b->due_us) return a->due_us < b->due_us ? -1 : 1;
  if (a->run != b->run) return a->run < b->run ? -1 : 1;
  return (a->seq > b->seq) - (a->seq < b->seq);
}

static void test_heap_model(void) {
  enum { MOST = 500 };
  lnt__rng rng;
  for (uint64_t seed = 1; seed <= 10; seed++) {
    CHECK_SEED(seed);
    lnt__rng_seed(&rng, seed);
    lnt__due model[MOST], due;
    size_t count = 0;
    lnt__heap heap;
    lnt__heap_init(&heap);
    CHECK(lnt__heap_peek(&heap) == NULL && !lnt__heap_pop(&heap, &due));
    for (uint32_t step = 0; step < 4000; step++) {
      if (count < MOST && lnt__rng_below(&rng, 100) < (step < 2000 ? 60u : 45u)) {
        due = (lnt__due){(int64_t)lnt__rng_below(&rng, 50) - 25, lnt__rng_below(&rng, 20), step, step * 7};
        CHECK(lnt__heap_push(&heap, due));
        model[count++] = due;
      } else if (count) {
        qsort(model, count, sizeof *model, compare_due);
        CHECK(compare_due(lnt__heap_peek(&heap), model) == 0);
        REQUIRE(lnt__heap_pop(&heap, &due));
        CHECK(compare_due(&due, model) == 0);
        CHECK_EQ_UINT(due.tag, due.seq * 7);
        model[0] = model[--count];
      }
      CHECK_EQ_UINT(heap.count, count);
    }
    lnt__heap_finish(&heap);
  }
}

/* ---- The pool ---- */

typedef struct held { uint8_t *memory; size_t size; uint8_t mark; } held;

static void check_held(const held *h) {
  for (size_t i = 0; i < h->size; i++)
    if (h->memory[i] != h->mark) {
      CHECK_FAIL("byte %zu of a block of %zu bytes is another's", i, h->size);
      return;
    }
}

static void hold(lnt__pool *pool, held *h, size_t size, uint8_t mark) {
  uint8_t *memory = lnt__pool_resize(pool, h->memory, h->size, size);
  REQUIRE(memory != NULL);
  CHECK((uintptr_t)memory % LNT__POOL_GRAIN == 0);
  size_t kept = h->memory && h->size < size ? h->size : h->memory ? size : 0;
  check_held(&(held){memory, kept, h->mark});
  memset(memory, mark, size);
  *h = (held){memory, size, mark};
}

static void use_pool(bool plain) {
  enum { HELD = 3000, STEPS = 60000 };
  static held all[HELD];
  lnt__pool pool;
  lnt__rng rng;
  memset(all, 0, sizeof all);
  lnt__pool_init(&pool, plain);
  lnt__rng_seed(&rng, 7);
  for (int i = 0; i < STEPS; i++) {
    held *h = &all[lnt__rng_below(&rng, HELD)];
    size_t size = 1 + lnt__rng_below(&rng, i % 8 ? 100 : 3 * LNT__POOL_SMALL_MAX);
    check_held(h);
    if (lnt__rng_below(&rng, 3)) hold(&pool, h, size, (uint8_t)i);
    else lnt__pool_free(&pool, h->memory, h->size), *h = (held){NULL, 0, 0};
  }
  for (int i = 0; i < HELD; i++) check_held(&all[i]), lnt__pool_free(&pool, all[i].memory, all[i].size);
  CHECK(pool.spans_empty <= 1);
  lnt__pool_finish(&pool);
}

static void test_pool_model(void) { use_pool(false); }
static void test_pool_plain(void) { use_pool(true); }

/* What was taken for one size serves another, and what a rise took beyond that goes back to the system. */
static void test_pool_gives_back(void) {
  enum { RISE = 40000 };
  static void *all[RISE];
  static const size_t sizes[] = {16, 512, 24, 100};
  lnt__pool pool;
  lnt__pool_init(&pool, false);
  for (size_t s = 0; s < LNT__COUNT(sizes); s++) {
    for (int i = 0; i < RISE; i++) REQUIRE((all[i] = lnt__pool_resize(&pool, NULL, 0, sizes[s])) != NULL);
    for (int i = 0; i < RISE; i++) lnt__pool_free(&pool, all[(i * 7919) % RISE], sizes[s]);
    CHECK(pool.span_count <= 2 + s); /* each size may keep its last slab */
  }
  lnt__pool_finish(&pool);
}

/* ---- Hashes ---- */

static void test_checksum(void) {
  CHECK_EQ_UINT(lnt__checksum("", 0), 0);
  CHECK_EQ_UINT(lnt__checksum("123456789", 9), 0xe3069283u);
  CHECK_EQ_UINT(lnt__checksum_portable("123456789", 9), 0xe3069283u);
  uint8_t bytes[32];
  memset(bytes, 0, sizeof bytes);
  CHECK_EQ_UINT(lnt__checksum(bytes, 32), 0x8a9136aau); /* RFC 3720, appendix B.4 */
  memset(bytes, 0xff, sizeof bytes);
  CHECK_EQ_UINT(lnt__checksum(bytes, 32), 0x62a8ab43u);
  for (uint8_t i = 0; i < 32; i++) bytes[i] = i;
  CHECK_EQ_UINT(lnt__checksum(bytes, 32), 0x46dd794eu);
}

static void test_checksum_portable_is_the_same(void) {
  static uint8_t bytes[1200];
  lnt__rng rng;
  CHECK_SEED(5);
  lnt__rng_seed(&rng, 5);
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)lnt__rng_next(&rng);
  for (int round = 0; round < 3000; round++) {
    size_t from = (size_t)lnt__rng_below(&rng, 64), size = (size_t)lnt__rng_below(&rng, sizeof bytes - 64);
    CHECK_EQ_UINT(lnt__checksum(bytes + from, size), lnt__checksum_portable(bytes + from, size));
  }
}

static void test_hash64(void) {
  uint8_t bytes[64] = {0};
  for (size_t size = 0; size < sizeof bytes; size++) {
    CHECK(lnt__hash64(bytes, size) == lnt__hash64(bytes, size));
    CHECK(lnt__hash64(bytes, size) != lnt__hash64(bytes, size + 1));
    for (size_t bit = 0; bit < size * 8; bit++) {
      uint64_t before = lnt__hash64(bytes, size);
      bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
      CHECK(lnt__hash64(bytes, size) != before);
      bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
  }
}

static void sha_hex(const void *data, size_t size, size_t step, char out[65]) {
  lnt__sha256 sha;
  uint8_t digest[LNT__SHA256_BYTES];
  lnt__sha256_init(&sha);
  for (size_t at = 0; at < size; at += step) lnt__sha256_add(&sha, (const char *)data + at, size - at < step ? size - at : step);
  lnt__sha256_end(&sha, digest);
  lnt__hex(digest, sizeof digest, out);
}

static void test_sha256(void) {
  static char million[1000000];
  char hex[65], again[65];
  sha_hex("", 0, 1, hex);
  CHECK_EQ_STR(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  sha_hex("abc", 3, 3, hex);
  CHECK_EQ_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
  sha_hex(two, strlen(two), 7, hex);
  CHECK_EQ_STR(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  memset(million, 'a', sizeof million);
  sha_hex(million, sizeof million, 997, hex);
  CHECK_EQ_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  for (size_t size = 0; size < 200; size++) { /* every way to fill the last block, in every cut */
    sha_hex(million, size, 1000, hex);
    sha_hex(million, size, 1 + size % 5, again);
    CHECK_EQ_STR(hex, again);
  }
}

/* ---- Random numbers ---- */

/* The sequence is part of the journal's meaning: these numbers never change. */
static void test_rng_sequence(void) {
  lnt__rng rng;
  lnt__rng_seed(&rng, 42);
  static const uint64_t expected[] = {1546998764402558742u, 6990951692964543102u, 12544586762248559009u, 17057574109182124193u};
  for (size_t i = 0; i < LNT__COUNT(expected); i++) CHECK_EQ_UINT(lnt__rng_next(&rng), expected[i]);
  char uuid[37];
  lnt__rng_seed(&rng, 1);
  lnt__rng_uuid(&rng, uuid);
  CHECK_EQ_STR(uuid, "b3f2af6d-0fc7-40c5-853b-559647364cea");
  lnt__rng_uuid_at(&rng, 1700000000123456, uuid); /* 0x018bcfe5687b milliseconds */
  CHECK(strncmp(uuid, "018bcfe5-687b-7", 15) == 0 && strchr("89ab", uuid[19]) && strlen(uuid) == 36);
}

static void test_rng_ranges(void) {
  lnt__rng rng;
  unsigned seen[7] = {0};
  lnt__rng_seed(&rng, 3);
  for (int i = 0; i < 7000; i++) {
    uint64_t below = lnt__rng_below(&rng, 7);
    REQUIRE(below < 7);
    seen[below]++;
    double unit = lnt__rng_unit(&rng);
    CHECK(unit >= 0 && unit < 1);
    CHECK(lnt__rng_below(&rng, UINT64_MAX) < UINT64_MAX);
    CHECK_EQ_UINT(lnt__rng_below(&rng, 1), 0);
  }
  for (int i = 0; i < 7; i++) CHECK(seen[i] > 800 && seen[i] < 1200);
  char uuid[37];
  for (int i = 0; i < 100; i++) {
    lnt__rng_uuid(&rng, uuid);
    CHECK_EQ_UINT(strlen(uuid), 36);
    CHECK_EQ_UINT(strspn(uuid, "0123456789abcdef-"), 36);
    CHECK(uuid[14] == '4' && strchr("89ab", uuid[19]));
    CHECK(uuid[8] == '-' && uuid[13] == '-' && uuid[18] == '-' && uuid[23] == '-');
  }
  char before[37] = "";
  for (int64_t now_us = -1; now_us < 40000; now_us += 7, memcpy(before, uuid, sizeof uuid)) {
    lnt__rng_uuid_at(&rng, now_us, uuid);
    CHECK(now_us < 0 || strncmp(before, uuid, 18) <= 0); /* they rise with the time */
    CHECK(uuid[14] == '7' && strcmp(before, uuid) != 0);
  }
  CHECK(lnt__entropy() != lnt__entropy());
}

/* ---- Files ---- */

static void test_folders(void) {
  char root[] = "/tmp/lnt-base-XXXXXX", path[256];
  lnt_error err = {LNT_OK, ""};
  REQUIRE(mkdtemp(root) != NULL);
  snprintf(path, sizeof path, "%s/a//b/c/", root);
  CHECK_STATUS(lnt__make_dirs(path, &err), LNT_OK);
  CHECK_STATUS(lnt__make_dirs(path, &err), LNT_OK);
  struct stat info;
  CHECK(stat(path, &info) == 0 && S_ISDIR(info.st_mode));
  snprintf(path, sizeof path, "%s/file", root);
  FILE *file = fopen(path, "w");
  REQUIRE(file != NULL);
  fputs("line\n", file);
  fclose(file);
  CHECK_STATUS(lnt__make_dirs(path, &err), LNT_EINVAL);
  CHECK_HAS(err.message, "is a file");
  snprintf(path, sizeof path, "%s/file/below", root);
  CHECK_STATUS(lnt__make_dirs(path, &err), LNT_EINVAL);
  CHECK_STATUS(lnt__make_dirs("", &err), LNT_EINVAL);
  CHECK_STATUS(lnt__make_dirs("/proc/nothing-here", &err), LNT_ENOTFOUND);
  CHECK_HAS(err.message, "/proc/nothing-here");
  static const char *const left[] = {"file", "a/b/c", "a/b", "a", ""};
  for (size_t i = 0; i < LNT__COUNT(left); i++) {
    snprintf(path, sizeof path, "%s/%s", root, left[i]);
    CHECK_EQ_INT(remove(path), 0);
  }
}

static void test_read_file(void) {
  char path[] = "/tmp/lnt-file-XXXXXX", *data = NULL;
  size_t size = 0;
  lnt_error err = {LNT_OK, ""};
  int fd = mkstemp(path);
  REQUIRE(fd >= 0);
  CHECK_STATUS(lnt__read_file(path, 0, &data, &size, &err), LNT_OK);
  CHECK(size == 0 && data && *data == 0);
  lnt__free(data);
  static char text[10000];
  memset(text, 't', sizeof text);
  CHECK_EQ_INT(write(fd, text, sizeof text), (long long)sizeof text);
  CHECK_STATUS(lnt__read_file(path, sizeof text, &data, &size, &err), LNT_OK);
  CHECK_EQ_UINT(size, sizeof text);
  CHECK_EQ_MEM(data, text, size);
  CHECK_EQ_INT(data[size], 0);
  lnt__free(data);
  CHECK_STATUS(lnt__read_file(path, sizeof text - 1, &data, &size, &err), LNT_ELIMIT);
  CHECK_HAS(err.message, path);
  CHECK_HAS(err.message, "9999");
  close(fd);
  unlink(path);
  CHECK_STATUS(lnt__read_file(path, 10, &data, &size, &err), LNT_ENOTFOUND);
  CHECK_HAS(err.message, path);
  CHECK_STATUS(lnt__read_file("/tmp", 10, &data, &size, &err), LNT_EINVAL);
  CHECK_HAS(err.message, "folder");
  CHECK_EQ_INT(mkfifo(path, 0600), 0);
  CHECK_STATUS(lnt__read_file(path, 10, &data, &size, &err), LNT_EINVAL); /* and does not hang */
  unlink(path);
  CHECK_STATUS(lnt__read_file("/proc/self/stat", 1 << 16, &data, &size, &err), LNT_OK); /* stat says 0 bytes */
  CHECK(size > 10);
  lnt__free(data);
}

static void test_errno(void) {
  CHECK_STATUS(lnt__status_of_errno(ENOSPC), LNT_EFULL);
  CHECK_STATUS(lnt__status_of_errno(EROFS), LNT_EREADONLY);
  CHECK_STATUS(lnt__status_of_errno(ENOENT), LNT_ENOTFOUND);
  CHECK_STATUS(lnt__status_of_errno(EBADF), LNT_EIO);
}

/* ---- Faults: every allocation may fail ---- */

static void test_fault_window(void) {
  lnt__fault_arm(LNT__FAULT_commit_full, 2, 2);
  static const bool expected[] = {false, false, true, true, false, false};
  for (size_t i = 0; i < LNT__COUNT(expected); i++) CHECK_EQ_INT(lnt__fault_hit(LNT__FAULT_commit_full), expected[i]);
  CHECK_EQ_UINT(lnt__fault_checks(LNT__FAULT_commit_full), 6);
  CHECK(!lnt__fault_hit(LNT__FAULT_commit_lost));
  lnt__fault_arm(LNT__FAULT_commit_full, 0, 0);
  CHECK(!lnt__fault_hit(LNT__FAULT_commit_full));
}

/* Fill every structure; what was there stays when an allocation fails. Answers whether all went well. */
static bool use_everything(void) {
  static char keys[100][8];
  lnt__buf buf;
  lnt__u64map numbers;
  lnt__strmap strings;
  lnt__heap heap;
  bool good = true;
  lnt__buf_init(&buf), lnt__u64map_init(&numbers), lnt__strmap_init(&strings), lnt__heap_init(&heap);
  for (int i = 0; i < 100; i++) {
    snprintf(keys[i], sizeof keys[i], "k%d", i);
    lnt__buf_printf(&buf, "%s/%s;", keys[i], "some more text");
    size_t before = numbers.count;
    bool put = lnt__u64map_put(&numbers, (uint64_t)i, keys[i]);
    CHECK_EQ_UINT(numbers.count, before + put);
    CHECK(lnt__u64map_get(&numbers, (uint64_t)i) == (put ? keys[i] : NULL));
    bool named = lnt__strmap_put(&strings, keys[i], keys[i]);
    CHECK(lnt__strmap_get(&strings, keys[i]) == (named ? keys[i] : NULL));
    bool pushed = lnt__heap_push(&heap, (lnt__due){-i, 1, 1, 1});
    good = good && put && named && pushed;
  }
  char *copy = lnt__strdup("copy"), *data = NULL;
  size_t size;
  good = good && copy && !buf.failed;
  lnt_status status = lnt__read_file("/proc/self/stat", 1 << 16, &data, &size, NULL);
  CHECK(status == LNT_OK || status == LNT_ENOMEM);
  lnt_status made = lnt__make_dirs("/proc/nothing-here", NULL);
  CHECK(made == LNT_ENOTFOUND || made == LNT_ENOMEM);
  lnt__free(data), lnt__free(copy), lnt__heap_finish(&heap), lnt__strmap_finish(&strings);
  lnt__u64map_finish(&numbers), lnt__buf_finish(&buf);
  return good && !status && made == LNT_ENOTFOUND;
}

static void test_allocations_fail(void) {
  uint64_t skip = 0;
  bool done = false;
  for (; !done && skip < 1000; skip++) {
    lnt__fault_arm(LNT__FAULT_alloc, skip, 1);
    bool good = use_everything();
    done = lnt__fault_checks(LNT__FAULT_alloc) <= skip;
    CHECK_EQ_INT(good, done);
    lnt__fault_arm(LNT__FAULT_alloc, 0, 0);
  }
  CHECK(done && skip > 10);
}

/* ---- Threads ---- */

static void *hash_in_a_thread(void *user) {
  uint64_t *result = user;
  result[0] = lnt__hash64("the same text", 13);
  result[1] = lnt__checksum_portable("123456789", 9);
  result[2] = (uint64_t)strlen(lnt_event_kind_name(LNT_EVENT_TURN));
  return NULL;
}

static void test_first_use_in_many_threads(void) {
  pthread_t threads[8];
  uint64_t results[8][3];
  for (int i = 0; i < 8; i++) REQUIRE(pthread_create(&threads[i], NULL, hash_in_a_thread, results[i]) == 0);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 8; i++) {
    CHECK_EQ_UINT(results[i][0], results[0][0]);
    CHECK_EQ_UINT(results[i][1], 0xe3069283u);
    CHECK_EQ_UINT(results[i][2], 4);
  }
}

CHECK_MAIN(test_first_use_in_many_threads, test_errors, test_error_is_cut_at_a_character, test_public_names, test_utf8,
           test_check_name, test_memory, test_buf_round_trip, test_buf_printf_grows, test_buf_detach, test_reader_refuses,
           test_reader_random, test_big_endian, test_u64map_model, test_strmap_model, test_strmap_replaces_the_key,
           test_heap_model, test_pool_model, test_pool_plain, test_pool_gives_back, test_checksum, test_checksum_portable_is_the_same,
           test_hash64, test_sha256, test_rng_sequence,
           test_rng_ranges, test_folders, test_read_file, test_errno, test_fault_window, test_allocations_fail);
