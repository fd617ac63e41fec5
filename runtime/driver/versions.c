/* versions.c - which code there is: when each version of a workflow became current, who runs on it, and its sources. Called by code.c and
 * api/reload.c; owner thread. Reading works on a read-only runtime.
 *
 * Table CODE_NAME has a row for each version of each workflow: the name, a zero byte, the hash. The version that became current last is the
 * current one, so a reader beside an owner knows it, too. */
#include <stdio.h>
#include <stdlib.h>

#include "driver/runtime.h"
#include "journal/query.h"

enum { VERSIONS_MAX = 10000 }; /* of one call */

typedef struct version {
  char *workflow, *file;
  uint8_t hash[LNT__SHA256_BYTES];
  int64_t since_us;
  uint64_t live;
  bool is_current;
} version;

typedef struct versions { version *items; size_t count, capacity; bool failed; } versions;

static void versions_finish(versions *list) {
  for (size_t i = 0; i < list->count; i++) {
    lnt__free(list->items[i].workflow);
    lnt__free(list->items[i].file);
  }
  lnt__free(list->items);
}

static version *add(versions *list, lnt_value workflow, const uint8_t *hash, lnt_value file, int64_t since_us) {
  if (list->count < VERSIONS_MAX && lnt__grow((void **)&list->items, &list->capacity, list->count + 1, sizeof *list->items)) {
    version *added = &list->items[list->count];
    *added = (version){.workflow = lnt__strndup(workflow.data, workflow.size), .file = lnt__strndup(file.data ? file.data : "", file.size),
                       .since_us = since_us};
    memcpy(added->hash, hash, LNT__SHA256_BYTES);
    list->count++;
    if (added->workflow && added->file) return added;
  }
  list->failed = true;
  return NULL;
}

/* ---- Rows ---- */

static void write_row(lnt__buf *out, int64_t since_us, const char *file) {
  lnt__cbor_map map;
  lnt__cbor_map_begin(out, &map);
  lnt__cbor_cstring(out, "file");
  lnt__cbor_cstring(out, file);
  lnt__cbor_cstring(out, "since_us");
  lnt__cbor_int(out, since_us);
  lnt__cbor_map_end(out, &map, 2, false);
}

static int take_row(void *user, lnt__slice key, lnt__slice value) {
  versions *list = user;
  lnt__slice payload;
  lnt_value file = LNT_VALUE_NIL, since;
  if (key.size <= LNT__SHA256_BYTES + 1 || !lnt__unseal(value, &payload)) return 0;
  size_t name_size = key.size - LNT__SHA256_BYTES - 1, file_size = 0;
  lnt_value map = {payload.data, payload.size};
  const char *text = lnt__cbor_member_string(map, "file", &file_size);
  if (text) file = (lnt_value){text, file_size};
  int64_t since_us = 0;
  if (lnt__cbor_member(map, "since_us", &since)) {
    lnt__reader reader = lnt__reader_of(since.data, since.size);
    lnt__cbor_item item = lnt__cbor_next(&reader);
    since_us = item.type == LNT__CBOR_INT ? item.as.integer : 0;
  }
  add(list, (lnt_value){key.data, name_size}, (const uint8_t *)key.data + name_size + 1, file, since_us);
  return list->failed;
}

static lnt_status read_rows(lnt_runtime *rt, const char *workflow, versions *list, lnt_error *err) {
  char to[LNT_NAME_BYTES_MAX + 2] = "";
  size_t size = workflow ? strlen(workflow) : 0;
  lnt__slice from = {workflow, workflow ? size + 1 : 0}, end = {to, workflow ? size + 1 : 0};
  if (workflow) memcpy(to, workflow, size), to[size] = 1;
  lnt_status status = rt->store->vtable->scan(rt->store, LNT__TABLE_CODE_NAME, from, end, false, take_row, list, err);
  if (!status && list->failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while versions were listed");
  return status;
}

static const version *newest_of(const versions *list, const char *workflow) {
  const version *newest = NULL;
  for (size_t i = 0; i < list->count; i++) {
    const version *one = &list->items[i];
    if (strcmp(one->workflow, workflow) == 0 && one->since_us && (!newest || one->since_us > newest->since_us)) newest = one;
  }
  return newest;
}

/* Rows come by name: the newest of each name is the last of the best before the name changes. */
lnt_status lnt__versions_current(lnt_runtime *rt, void (*fn)(void *user, const uint8_t *hash), void *user, lnt_error *err) {
  versions list = {0};
  lnt_status status = read_rows(rt, NULL, &list, err);
  const version *newest = NULL;
  for (size_t i = 0; !status && i < list.count; i++) {
    const version *one = &list.items[i];
    bool same = newest && strcmp(newest->workflow, one->workflow) == 0;
    if (newest && !same && newest->since_us) fn(user, newest->hash);
    if (!same || one->since_us > newest->since_us) newest = one;
  }
  if (newest && newest->since_us) fn(user, newest->hash);
  versions_finish(&list);
  return status;
}

lnt_status lnt__version_newest(lnt_runtime *rt, const char *workflow, uint8_t hash[LNT__SHA256_BYTES], lnt_error *err) {
  versions list = {0};
  lnt_status status = read_rows(rt, workflow, &list, err);
  const version *newest = newest_of(&list, workflow);
  if (newest) memcpy(hash, newest->hash, LNT__SHA256_BYTES);
  else if (!status) status = lnt__fail(err, LNT_ENOTFOUND, "the workflow '%s' has no version", workflow);
  versions_finish(&list);
  return status;
}

/* What was put into a batch and is not in the store yet is not seen: the time must grow all the same. */
static int64_t next_since(lnt_runtime *rt, const version *newest) {
  int64_t since_us = lnt__clock(rt);
  if (since_us <= rt->version_us) since_us = rt->version_us + 1;
  if (newest && since_us <= newest->since_us) since_us = newest->since_us + 1;
  return rt->version_us = since_us;
}

lnt_status lnt__version_note(lnt_runtime *rt, const char *workflow, const uint8_t *hash, const char *file, lnt_error *err) {
  versions list = {0};
  const uint8_t *current = lnt__wvm_current(rt->wvm, workflow);
  uint8_t key[LNT_NAME_BYTES_MAX + 1 + LNT__SHA256_BYTES];
  size_t size = strlen(workflow) + 1;
  lnt_status status = read_rows(rt, workflow, &list, err);
  const version *newest = newest_of(&list, workflow);
  bool noted = current ? memcmp(current, hash, LNT__SHA256_BYTES) == 0 : newest && memcmp(newest->hash, hash, LNT__SHA256_BYTES) == 0;
  if (!status && !noted) {
    lnt__buf row;
    lnt__buf_init(&row);
    write_row(&row, next_since(rt, newest), file);
    memcpy(key, workflow, size);
    memcpy(key + size, hash, LNT__SHA256_BYTES);
    status = row.failed ? lnt__fail(err, LNT_ENOMEM, "out of memory while %s was loaded", file)
                        : lnt__code_put(rt, LNT__TABLE_CODE_NAME, (lnt__slice){key, size + LNT__SHA256_BYTES}, row.data, row.size, err);
    lnt__buf_finish(&row);
  }
  versions_finish(&list);
  return status;
}

lnt_status lnt__version_add_foreign(lnt_runtime *rt, lnt__batch *batch, lnt_value workflow, const uint8_t *hash, const char *file,
                                    lnt_error *err) {
  uint8_t key[LNT_NAME_BYTES_MAX + 1 + LNT__SHA256_BYTES];
  void *value = NULL;
  size_t size = 0;
  memcpy(key, workflow.data, workflow.size);
  key[workflow.size] = 0;
  memcpy(key + workflow.size + 1, hash, LNT__SHA256_BYTES);
  size_t key_size = workflow.size + 1 + LNT__SHA256_BYTES;
  lnt_status status = rt->store->vtable->get(rt->store, LNT__TABLE_CODE_NAME, key, key_size, &value, &size, err);
  lnt__free(value);
  if (status != LNT_ENOTFOUND) return status;
  lnt__buf row;
  lnt__buf_init(&row);
  write_row(&row, 0, file);
  lnt__seal(&row);
  bool good = !row.failed && lnt__batch_put(batch, LNT__TABLE_CODE_NAME, key, key_size, row.data, row.size);
  lnt__buf_finish(&row);
  return good ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory while %s was imported", file);
}

/* ---- Who runs on each ---- */

static version *find(versions *list, lnt_value workflow, const uint8_t *hash) {
  for (size_t i = list->count; i > 0; i--) {
    version *one = &list->items[i - 1];
    if (memcmp(one->hash, hash, LNT__SHA256_BYTES) == 0 && strlen(one->workflow) == workflow.size &&
        memcmp(one->workflow, workflow.data, workflow.size) == 0)
      return one;
  }
  return NULL;
}

static lnt_status count_live(lnt_runtime *rt, const char *workflow, versions *list, lnt_error *err) {
  lnt__query q;
  lnt_list_options filter;
  uint64_t run = UINT64_MAX;
  version *last = NULL;
  lnt_list_options_init(&filter);
  filter.workflow = workflow;
  filter.status_mask = 1u << LNT_RUN_RUNNING | 1u << LNT_RUN_PENDING | 1u << LNT_RUN_SUSPENDED | 1u << LNT_RUN_STALLED;
  lnt_status status = lnt__query_init(&q, rt->store, &filter, err);
  while (!status && run) {
    lnt__row row;
    void *memory;
    q.leaps = 0;
    status = lnt__query_below(&q, &run, &row, &memory);
    if (status || !memory) continue;
    last = find(list, row.workflow, row.hash);
    if (!last) last = add(list, row.workflow, row.hash, LNT_VALUE_NIL, 0);
    if (last) last->live++;
    lnt__free(memory);
    if (!last) status = lnt__fail(err, LNT_ENOMEM, "out of memory while versions were listed");
  }
  lnt__query_finish(&q);
  return status;
}

static int compare(const void *a, const void *b) {
  const version *x = a, *y = b;
  int names = strcmp(x->workflow, y->workflow);
  return names ? names : (x->since_us < y->since_us) - (x->since_us > y->since_us);
}

lnt_status lnt__versions(lnt_runtime *rt, const char *workflow, lnt_version_fn fn, void *user, lnt_error *err) {
  versions list = {0};
  lnt_status status = read_rows(rt, workflow, &list, err);
  if (!status) status = count_live(rt, workflow, &list, err);
  if (!status && list.count) qsort(list.items, list.count, sizeof *list.items, compare);
  for (size_t i = 0; !status && i < list.count; i++) {
    const version *one = &list.items[i];
    char hex[2 * LNT__SHA256_BYTES + 1];
    lnt__hex(one->hash, LNT__SHA256_BYTES, hex);
    lnt_version_info info = {.workflow = one->workflow, .hash = hex, .file = one->file, .since_us = one->since_us, .live = one->live,
                             .is_current = newest_of(&list, one->workflow) == one};
    if (fn(user, &info)) break;
  }
  versions_finish(&list);
  return status;
}

/* ---- Hashes as people write them ---- */

typedef struct hash_search {
  const lnt__engine *engine; /* NULL: of a reader */
  const char *hex;
  size_t size, found;
  uint8_t hash[LNT__SHA256_BYTES];
} hash_search;

static int match_hash(void *user, lnt__slice key, lnt__slice value) {
  hash_search *search = user;
  char hex[2 * LNT__SHA256_BYTES + 1];
  (void)value;
  if (key.size != LNT__SHA256_BYTES) return 0;
  if (search->engine && lnt__engine_deletes(search->engine, LNT__TABLE_CODE, key)) return 0;
  lnt__hex(key.data, LNT__SHA256_BYTES, hex);
  if (strncmp(hex, search->hex, search->size) != 0) return 0;
  memcpy(search->hash, key.data, LNT__SHA256_BYTES);
  return ++search->found > 1;
}

lnt_status lnt__code_find(lnt_runtime *rt, const char *hex, uint8_t out[LNT__SHA256_BYTES], lnt_error *err) {
  hash_search search = {.engine = rt->engine, .hex = hex, .size = strlen(hex)};
  if (search.size < 4 || search.size > (size_t)2 * LNT__SHA256_BYTES || strspn(hex, "0123456789abcdef") != search.size)
    return lnt__fail(err, LNT_EINVAL, "'%s' is not the beginning of a hash: 4 to 64 of the digits 0-9 and a-f", hex);
  const lnt__slice all = {0};
  lnt_status status = rt->store->vtable->scan(rt->store, LNT__TABLE_CODE, all, all, false, match_hash, &search, err);
  if (status) return status;
  if (!search.found) return lnt__fail(err, LNT_ENOTFOUND, "there is no code whose hash begins with %s; `lunation versions` lists it", hex);
  if (search.found > 1) return lnt__fail(err, LNT_EINVAL, "more than one code has a hash that begins with %s; write more of it", hex);
  memcpy(out, search.hash, LNT__SHA256_BYTES);
  return LNT_OK;
}
