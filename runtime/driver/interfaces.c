/* interfaces.c - what activities show to those who call them, as recorded when their files were loaded last, and who may be surprised when
 * that changes: activities always run the newest code, instances the code they began with. Called by code.c and reload.c; owner thread.
 *
 * Table META has a row for each activity that a Lua file defines: "activity", a zero byte, the name. */
#include <stdio.h>

#include "driver/runtime.h"
#include "journal/query.h"

static const char PREFIX[] = "activity"; /* with its zero byte */
enum { PREFIX_BYTES = sizeof PREFIX, KEY_BYTES_MAX = PREFIX_BYTES + LNT_NAME_BYTES_MAX, ROWS_MAX = 5000 };
enum { LIVE = 1u << LNT_RUN_RUNNING | 1u << LNT_RUN_PENDING | 1u << LNT_RUN_SUSPENDED | 1u << LNT_RUN_STALLED };

/* ---- Rows ---- */

typedef struct recorded { char *name, *file, *text; int64_t since_us; } recorded;
typedef struct rows { recorded *items; size_t count, capacity; bool failed; } rows;

static void rows_finish(rows *list) {
  for (size_t i = 0; i < list->count; i++) {
    lnt__free(list->items[i].name);
    lnt__free(list->items[i].file);
    lnt__free(list->items[i].text);
  }
  lnt__free(list->items);
}

static char *member_text(lnt_value map, const char *name) {
  size_t size = 0;
  const char *text = lnt__cbor_member_string(map, name, &size);
  return lnt__strndup(text ? text : "", text ? size : 0);
}

static int take_row(void *user, lnt__slice key, lnt__slice value) {
  rows *list = user;
  lnt__slice payload;
  lnt_value member;
  if (key.size <= PREFIX_BYTES || !lnt__unseal(value, &payload)) return 0;
  if (!lnt__grow((void **)&list->items, &list->capacity, list->count + 1, sizeof *list->items)) return list->failed = true;
  lnt_value map = {payload.data, payload.size};
  recorded *one = &list->items[list->count++];
  *one = (recorded){.name = lnt__strndup((const char *)key.data + PREFIX_BYTES, key.size - PREFIX_BYTES), .file = member_text(map, "file"),
                    .text = member_text(map, "interface")};
  if (lnt__cbor_member(map, "since_us", &member)) {
    lnt__reader reader = lnt__reader_of(member.data, member.size);
    lnt__cbor_item item = lnt__cbor_next(&reader);
    if (item.type == LNT__CBOR_INT) one->since_us = item.as.integer;
  }
  return list->failed = !one->name || !one->file || !one->text;
}

static lnt_status read_rows(lnt_runtime *rt, rows *list, lnt_error *err) {
  char to[sizeof PREFIX];
  memcpy(to, PREFIX, sizeof to);
  to[sizeof to - 1] = 1;
  lnt_status status = rt->store->vtable->scan(rt->store, LNT__TABLE_META, (lnt__slice){PREFIX, sizeof PREFIX}, (lnt__slice){to, sizeof to},
                                              false, take_row, list, err);
  return !status && list->failed ? lnt__fail(err, LNT_ENOMEM, "out of memory while activities were compared") : status;
}

static const recorded *find_row(const rows *list, const char *name) {
  for (size_t i = 0; i < list->count; i++)
    if (strcmp(list->items[i].name, name) == 0) return &list->items[i];
  return NULL;
}

static const char *staged_text(const lnt__staged *staged, const char *name) {
  for (size_t i = 0; i < staged->activity_count; i++)
    if (strcmp(staged->activities[i].name, name) == 0) return staged->activities[i].text;
  return NULL;
}

static size_t row_key(char key[KEY_BYTES_MAX], const char *name) {
  size_t size = strlen(name);
  memcpy(key, PREFIX, PREFIX_BYTES);
  memcpy(key + PREFIX_BYTES, name, size);
  return PREFIX_BYTES + size;
}

static lnt_status put_row(lnt_runtime *rt, const char *file, const lnt__staged_activity *activity, lnt_error *err) {
  char key[KEY_BYTES_MAX];
  lnt__buf row;
  lnt__cbor_map map;
  lnt__buf_init(&row);
  lnt__cbor_map_begin(&row, &map);
  lnt__cbor_cstring(&row, "file");
  lnt__cbor_cstring(&row, file);
  lnt__cbor_cstring(&row, "interface");
  lnt__cbor_cstring(&row, activity->text);
  lnt__cbor_cstring(&row, "since_us");
  lnt__cbor_int(&row, lnt__clock(rt));
  lnt__cbor_map_end(&row, &map, 3, false);
  lnt__slice slice = {key, row_key(key, activity->name)};
  lnt_status status = row.failed ? lnt__fail(err, LNT_ENOMEM, "out of memory while %s was loaded", file)
                                 : lnt__code_put(rt, LNT__TABLE_META, slice, row.data, row.size, err);
  lnt__buf_finish(&row);
  return status;
}

/* Does another file define the activity by now? */
static bool is_elsewhere(lnt_runtime *rt, const recorded *one, const char *file) {
  lnt__activity_info info;
  return lnt__avm_find(rt->avm, one->name, &info) && info.file && strcmp(info.file, file) != 0;
}

static bool is_gone(lnt_runtime *rt, const recorded *one, const lnt__staged *staged) {
  return strcmp(one->file, staged->file) == 0 && !staged_text(staged, one->name) && !is_elsewhere(rt, one, staged->file);
}

lnt_status lnt__interfaces_note(lnt_runtime *rt, const lnt__staged *staged, lnt_error *err) {
  rows list = {0};
  lnt_status status = read_rows(rt, &list, err);
  for (size_t i = 0; i < staged->activity_count && !status; i++) {
    const lnt__staged_activity *activity = &staged->activities[i];
    const recorded *known = find_row(&list, activity->name);
    bool same = known && strcmp(known->text, activity->text) == 0 && strcmp(known->file, staged->file) == 0;
    if (!same) status = put_row(rt, staged->file, activity, err);
  }
  for (size_t i = 0; i < list.count && !status; i++) {
    char key[KEY_BYTES_MAX];
    if (!is_gone(rt, &list.items[i], staged)) continue;
    status = lnt__engine_delete(rt->engine, LNT__TABLE_META, (lnt__slice){key, row_key(key, list.items[i].name)});
  }
  rows_finish(&list);
  return status;
}

/* ---- Who may call it ---- */

/* Versions whose sources name the activity, in quotes. */
typedef struct callers { const char *name; size_t name_size; uint8_t *hashes; size_t count, capacity; bool failed; } callers;

static bool mentions(lnt__slice bundle, const char *name, size_t size) {
  const char *at = bundle.data, *end = at + bundle.size;
  for (;; at++) {
    at = memchr(at, name[0], (size_t)(end - at));
    if (!at || (size_t)(end - at) <= size) return false;
    if (at == bundle.data || memcmp(at, name, size) != 0) continue;
    if ((at[-1] == '"' && at[size] == '"') || (at[-1] == '\'' && at[size] == '\'')) return true;
  }
}

static int look_at_bundle(void *user, lnt__slice key, lnt__slice value) {
  callers *c = user;
  if (key.size != LNT__SHA256_BYTES || !mentions(value, c->name, c->name_size)) return 0;
  if (!lnt__grow((void **)&c->hashes, &c->capacity, c->count + 1, LNT__SHA256_BYTES)) return c->failed = true;
  memcpy(c->hashes + c->count++ * LNT__SHA256_BYTES, key.data, LNT__SHA256_BYTES);
  return 0;
}

static bool is_caller(const callers *c, const uint8_t *hash) {
  for (size_t i = 0; i < c->count; i++)
    if (memcmp(c->hashes + i * LNT__SHA256_BYTES, hash, LNT__SHA256_BYTES) == 0) return true;
  return false;
}

/* Instances that are not finished, on that code: LNT_INTERFACE_LIVE_MAX are enough, and so many rows. */
static lnt_status count_live(lnt_runtime *rt, const callers *c, uint64_t *live, lnt_error *err) {
  lnt__query q;
  lnt_list_options filter;
  uint64_t run = UINT64_MAX;
  lnt_list_options_init(&filter);
  filter.status_mask = LIVE;
  *live = 0;
  if (!c->count) return LNT_OK;
  lnt_status status = lnt__query_init(&q, rt->store, &filter, err);
  for (int read = 0; !status && run && read < ROWS_MAX && *live < LNT_INTERFACE_LIVE_MAX; read++) {
    lnt__row row;
    void *memory;
    q.leaps = 0;
    status = lnt__query_below(&q, &run, &row, &memory);
    if (status || !memory) continue;
    *live += is_caller(c, row.hash);
    lnt__free(memory);
  }
  lnt__query_finish(&q);
  return status;
}

static lnt_status count_callers(lnt_runtime *rt, lnt_interface_info *info, lnt_error *err) {
  callers c = {.name = info->activity, .name_size = strlen(info->activity)};
  const lnt__slice all = {0};
  lnt_status status = rt->store->vtable->scan(rt->store, LNT__TABLE_CODE, all, all, false, look_at_bundle, &c, err);
  if (!status && c.failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while activities were compared");
  if (!status) status = count_live(rt, &c, &info->live, err);
  lnt__free(c.hashes);
  return status;
}

static lnt_status add_change(lnt__interfaces *out, const recorded *one, const char *now, lnt_error *err) {
  if (!lnt__grow((void **)&out->items, &out->capacity, out->count + 1, sizeof *out->items))
    return lnt__fail(err, LNT_ENOMEM, "out of memory while activities were compared");
  lnt_interface_info *info = &out->items[out->count++];
  *info = (lnt_interface_info){.activity = lnt__strdup(one->name), .recorded = lnt__strdup(one->text), .now = lnt__strdup(now),
                               .recorded_us = one->since_us};
  return info->activity && info->recorded && info->now ? LNT_OK
                                                       : lnt__fail(err, LNT_ENOMEM, "out of memory while activities were compared");
}

lnt_status lnt__interfaces_compare(lnt_runtime *rt, const lnt__staged *staged, lnt__interfaces *out, lnt_error *err) {
  rows list = {0};
  lnt_status status = read_rows(rt, &list, err);
  for (size_t i = 0; i < list.count && !status; i++) {
    const recorded *one = &list.items[i];
    const char *now = staged_text(staged, one->name);
    if (!now && is_gone(rt, one, staged)) now = "";
    if (!now || strcmp(now, one->text) == 0) continue;
    status = add_change(out, one, now, err);
    if (!status) status = count_callers(rt, &out->items[out->count - 1], err);
  }
  rows_finish(&list);
  return status;
}

void lnt__interfaces_finish(lnt__interfaces *list) {
  for (size_t i = 0; i < list->count; i++) {
    lnt__free((void *)(uintptr_t)list->items[i].activity);
    lnt__free((void *)(uintptr_t)list->items[i].recorded);
    lnt__free((void *)(uintptr_t)list->items[i].now);
  }
  lnt__free(list->items);
  *list = (lnt__interfaces){0};
}

void lnt__interfaces_warn(lnt_runtime *rt, const lnt__staged *staged) {
  lnt_error err = {LNT_OK, ""};
  lnt__interfaces list = {0};
  if (lnt__interfaces_compare(rt, staged, &list, &err)) lnt__runtime_log(rt, LNT_LOG_WARN, NULL, err.message);
  for (size_t i = 0; i < list.count; i++) {
    const lnt_interface_info *info = &list.items[i];
    if (!info->live) continue;
    lnt__logf(rt, LNT_LOG_WARN, "activity '%s' was %s, now it is %s: %llu instances that run may call it as it was", info->activity,
              info->recorded, info->now[0] ? info->now : "gone", (unsigned long long)info->live);
  }
  lnt__interfaces_finish(&list);
}
