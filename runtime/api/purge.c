/* purge.c - taking instances out of the store: lnt_purge, lnt_purge_matching. Owner thread, also from callbacks. */
#include "api/instance.h"
#include "journal/query.h"

enum { PURGE_LIMIT_DEFAULT = 1000 };

void lnt_purge_options_init(lnt_purge_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
  options->recursive = 1;
}

static lnt_status take_options(lnt_runtime *rt, const char *call, const lnt_purge_options *from, lnt_purge_options *to, lnt_error *err) {
  lnt_purge_options_init(to);
  if (from && from->size < sizeof from->size)
    return lnt__fail(err, LNT_EINVAL, "%s: options.size is not set; call lnt_purge_options_init() first", call);
  if (from) memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
  return lnt__request_check(rt, err);
}

lnt_status lnt_purge(lnt_runtime *rt, const char *id, const lnt_purge_options *options, uint64_t *count, lnt_error *err) {
  lnt_purge_options complete;
  uint64_t run, purged = 0;
  lnt_status status = take_options(rt, "lnt_purge", options, &complete, err);
  if (!status) status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (!status) status = lnt__engine_find(rt->engine, id, &run, err);
  if (status) return status;
  lnt__purge purge = {complete.recursive != 0, complete.force != 0};
  status = lnt__engine_purge(rt->engine, run, &purge, &purged, err);
  if (status) return status;
  lnt__engine_when_durable(rt->engine, complete.done, complete.done_user);
  if (count) *count = purged;
  return LNT_OK;
}

/* ---- Many ---- */

/* Look at one that fulfils the conditions; one that cannot go now is passed over. */
static lnt_status purge_row(lnt_runtime *rt, const lnt__row *row, const lnt_purge_options *options, uint64_t *count, lnt_error *err) {
  lnt_error cause = {LNT_OK, ""};
  lnt__purge purge = {options->recursive != 0, options->force != 0};
  uint64_t purged = 0;
  if (!row->closed_us && !options->force) return LNT_OK;
  if (options->closed_before_us && (!row->closed_us || row->closed_us >= options->closed_before_us)) return LNT_OK;
  lnt_status status = lnt__engine_purge(rt->engine, row->run, &purge, &purged, &cause);
  *count += purged;
  return status == LNT_OK || status == LNT_EOPEN ? LNT_OK : lnt__fail(err, status, "%s", cause.message);
}

static lnt_status purge_page(lnt_runtime *rt, lnt__query *q, const lnt_purge_options *options, uint64_t *count, uint64_t *cursor) {
  uint32_t limit = q->options.limit ? q->options.limit : PURGE_LIMIT_DEFAULT;
  uint64_t run = *cursor ? *cursor : UINT64_MAX;
  for (;;) {
    lnt__row row;
    void *memory;
    lnt_status status = lnt__query_below(q, &run, &row, &memory);
    *cursor = run;
    if (status || !memory) return status;
    status = purge_row(rt, &row, options, count, q->err);
    lnt__free(memory);
    if (status || *count >= limit) return status;
  }
}

static void choose(lnt_list_options *which, const lnt_purge_options *options) {
  bool late = !which->created_to_us || which->created_to_us > options->closed_before_us;
  if (options->closed_before_us && late) which->created_to_us = options->closed_before_us; /* who closed before it was created before it */
  if (which->status_mask) return;
  which->status_mask = 1u << LNT_RUN_COMPLETED | 1u << LNT_RUN_FAILED | 1u << LNT_RUN_CANCELED | 1u << LNT_RUN_TERMINATED;
}

lnt_status lnt_purge_matching(lnt_runtime *rt, const lnt_list_options *which, const lnt_purge_options *options, uint64_t *count,
                              uint64_t *next, lnt_error *err) {
  lnt_list_options conditions;
  lnt_purge_options complete;
  lnt__query q;
  uint64_t purged = 0;
  if (next) *next = 0;
  lnt_status status = take_options(rt, "lnt_purge_matching", options, &complete, err);
  if (!status) status = lnt__list_options_take("lnt_purge_matching", which, &conditions, err);
  if (status) return status;
  choose(&conditions, &complete);
  uint64_t cursor = conditions.cursor;
  status = lnt__query_init(&q, rt->store, &conditions, err);
  if (!status) status = purge_page(rt, &q, &complete, &purged, &cursor);
  lnt__query_finish(&q);
  if (count) *count = purged;
  if (status) return status;
  if (next) *next = cursor;
  lnt__engine_when_durable(rt->engine, complete.done, complete.done_user);
  return LNT_OK;
}
