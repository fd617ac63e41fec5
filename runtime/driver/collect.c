/* collect.c - takes out of the store what code nothing needs any more. Called by tick.c for a slice; owner thread.
 *
 * Code is needed while it is the current one of a workflow, or an instance is on it, finished or not: queries, forks, reruns, retries and
 * exports of finished instances run it. What could have set some free (a purge, a move, a switch; also before the runtime was opened)
 * makes a round due: the versions that are not current are listed, then the rows of all instances are read, a slice between the turns of
 * others, until each version has been seen in one or the rows are at an end. What was not seen goes, with its names, in one commit.
 *
 * No row is missed: new instances have higher numbers than those read, whoever is not durable yet is in memory and asked at the end, and a
 * move, which alone changes the code in a row, begins the round anew. */
#include <stdio.h>

#include "driver/runtime.h"

enum {
  ROWS_MAX = 500,       /* of one slice */
  VERSIONS_MAX = 10000, /* of one round; others are for the next */
  REST_TIMES = 20       /* a round takes at most this part of the time */
};
#define REST_NS_MAX (60ull * 1000 * 1000 * 1000)

static uint64_t now_ns(void) { return lnt__monotonic_ns(); }

bool lnt__collect_ready(const lnt_runtime *rt) {
  const lnt__collect *c = &rt->collect;
  if (rt->reloads || rt->way.full) return false;
  return c->is_running || (c->is_due && now_ns() >= c->rest_until_ns);
}

uint64_t lnt__collect_due_ns(const lnt_runtime *rt) {
  return rt->collect.is_due && !rt->reloads && !rt->way.full ? rt->collect.rest_until_ns : UINT64_MAX;
}

/* ---- The versions that may go ---- */

static lnt__version_mark *find(lnt__collect *c, const uint8_t *hash) {
  lnt__version_mark *mark = lnt__u64map_get(&c->by_hash, lnt__get_be64(hash));
  return mark && memcmp(mark->hash, hash, LNT__SHA256_BYTES) == 0 ? mark : NULL;
}

static void need(void *user, const uint8_t *hash) {
  lnt__collect *c = user;
  lnt__version_mark *mark = find(c, hash);
  if (!mark || mark->is_needed) return;
  mark->is_needed = true;
  c->left--;
}

static int add_version(void *user, lnt__slice key, lnt__slice value) {
  lnt__collect *c = user;
  (void)value;
  if (key.size != LNT__SHA256_BYTES) return 0;
  if (c->count == VERSIONS_MAX) return 1;
  if (!lnt__grow((void **)&c->marks, &c->capacity, c->count + 1, sizeof *c->marks)) return c->failed = true;
  c->marks[c->count].is_needed = false;
  memcpy(c->marks[c->count++].hash, key.data, LNT__SHA256_BYTES);
  return 0;
}

static void need_loaded(void *user, const char *name, const char *file, const char *hex) {
  lnt_runtime *rt = user;
  const uint8_t *hash = lnt__wvm_current(rt->wvm, name);
  (void)file, (void)hex;
  if (hash) need(&rt->collect, hash);
}

static void end(lnt__collect *c) {
  uint64_t rest_ns = (now_ns() - c->began_ns) * REST_TIMES;
  c->is_running = false;
  c->rest_until_ns = now_ns() + (rest_ns < REST_NS_MAX ? rest_ns : REST_NS_MAX);
  c->count = 0;
  lnt__u64map_finish(&c->by_hash);
}

static lnt_status begin(lnt_runtime *rt, lnt_error *err) {
  lnt__collect *c = &rt->collect;
  c->is_due = false;
  c->failed = false;
  c->count = 0;
  c->cursor = 0;
  c->moves = lnt__engine_moves(rt->engine);
  c->began_ns = now_ns();
  lnt_status status = rt->store->vtable->scan(rt->store, LNT__TABLE_CODE, (lnt__slice){0}, (lnt__slice){0}, false, add_version, c, err);
  for (size_t i = 0; i < c->count && !status && !c->failed; i++)
    c->failed = !lnt__u64map_put(&c->by_hash, lnt__get_be64(c->marks[i].hash), &c->marks[i]);
  c->left = c->count;
  if (!status && c->failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while code was collected");
  if (!status) status = lnt__versions_current(rt, need, c, err);
  if (!status) lnt__wvm_each(rt->wvm, need_loaded, rt);
  c->is_running = !status && c->left;
  if (!c->is_running) end(c);
  return status;
}

/* ---- Who needs them ---- */

static int read_row(void *user, lnt__slice key, lnt__slice value) {
  lnt__collect *c = user;
  lnt__row row;
  if (key.size != LNT__KEY_RUN_BYTES || !lnt__row_read(value, &row)) return c->failed = true;
  c->cursor = lnt__get_be64(key.data) + 1;
  need(c, row.hash);
  return ++c->rows == ROWS_MAX || c->left == 0;
}

/* *more: rows are left, and versions that none had. A row that cannot be read may have any of them: nothing goes. */
static lnt_status read_rows(lnt_runtime *rt, bool *more, lnt_error *err) {
  lnt__collect *c = &rt->collect;
  uint8_t from[LNT__KEY_RUN_BYTES];
  lnt__key_run(from, c->cursor);
  c->rows = 0;
  lnt_status status = rt->store->vtable->scan(rt->store, LNT__TABLE_INSTANCE, (lnt__slice){from, sizeof from}, (lnt__slice){0}, false,
                                              read_row, c, err);
  *more = c->rows == ROWS_MAX && c->left;
  return !status && c->failed ? lnt__fail(err, LNT_ECORRUPT, "no code is collected: the row of an instance cannot be read") : status;
}

/* ---- The end of a round ---- */

static int delete_name(void *user, lnt__slice key, lnt__slice value) {
  lnt_runtime *rt = user;
  (void)value;
  if (key.size <= LNT__SHA256_BYTES) return 0;
  const lnt__version_mark *mark = find(&rt->collect, (const uint8_t *)key.data + key.size - LNT__SHA256_BYTES);
  return mark && !mark->is_needed && lnt__engine_delete(rt->engine, LNT__TABLE_CODE_NAME, key) != LNT_OK;
}

static lnt_status delete_all(lnt_runtime *rt, lnt_error *err) {
  lnt__collect *c = &rt->collect;
  const lnt__slice all = {0};
  lnt_status status = rt->store->vtable->scan(rt->store, LNT__TABLE_CODE_NAME, all, all, false, delete_name, rt, err);
  for (size_t i = 0; i < c->count && !status; i++) {
    if (c->marks[i].is_needed) continue;
    status = lnt__engine_delete(rt->engine, LNT__TABLE_CODE, (lnt__slice){c->marks[i].hash, LNT__SHA256_BYTES});
    c->collected++;
  }
  if (!status) lnt__logf(rt, LNT_LOG_DEBUG, "%zu versions of code that nothing needs are taken out of the store", c->left);
  return status;
}

static lnt_status conclude(lnt_runtime *rt, lnt_error *err) {
  lnt__collect *c = &rt->collect;
  lnt__engine_each_code(rt->engine, need, c);
  lnt__wvm_each(rt->wvm, need_loaded, rt);
  if (lnt__engine_moves(rt->engine) != c->moves) c->is_due = true;
  else if (c->left) return delete_all(rt, err);
  return LNT_OK;
}

/* Has something let go of its code since? Then a round is due, when that is durable. */
static void look_for_changes(lnt_runtime *rt) {
  lnt__collect *c = &rt->collect;
  uint64_t changes = c->switches + lnt__engine_moves(rt->engine) + lnt__engine_purges(rt->engine);
  bool clean = !rt->way.batch && !lnt__engine_dirty(rt->engine);
  if (changes != c->changes) {
    c->changes = changes;
    c->waits = true;
    c->commits = rt->way.commits + (rt->way.batch ? 1 : 0) + (lnt__engine_dirty(rt->engine) ? 1 : 0);
  }
  if (!c->waits || (!clean && rt->way.commits < c->commits)) return;
  c->waits = false;
  c->is_due = true;
}

void lnt__collect_step(lnt_runtime *rt) {
  lnt__collect *c = &rt->collect;
  lnt_error err = {LNT_OK, ""};
  bool more = false;
  look_for_changes(rt);
  if (!lnt__collect_ready(rt)) return;
  rt->reloading = true; /* whoever drives looks again before it sleeps: a round that ends here leaves nothing to wake up for */
  lnt_status status = c->is_running ? LNT_OK : begin(rt, &err);
  if (!status && !c->is_running) return;
  if (!status) status = read_rows(rt, &more, &err);
  if (!status && more) return;
  if (!status) status = conclude(rt, &err);
  if (status) lnt__runtime_log(rt, LNT_LOG_WARN, NULL, err.message[0] ? err.message : lnt_status_text(status));
  end(c);
}

void lnt__collect_finish(lnt_runtime *rt) {
  lnt__u64map_finish(&rt->collect.by_hash);
  lnt__free(rt->collect.marks);
}
