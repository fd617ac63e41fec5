/* list.c - many instances: lnt_list, lnt_count. Owner thread; works on a read-only runtime too. No transaction of the store is open while a
 * callback runs. */
#include "api/instance.h"
#include "journal/query.h"

enum { LIST_LIMIT_DEFAULT = 100 };

void lnt_list_options_init(lnt_list_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

lnt_status lnt__list_options_take(const char *call, const lnt_list_options *from, lnt_list_options *to, lnt_error *err) {
  lnt_list_options_init(to);
  if (from && from->size < sizeof from->size)
    return lnt__fail(err, LNT_EINVAL, "%s: options.size is not set; call lnt_list_options_init() first", call);
  if (from) memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
  return LNT_OK;
}

/* Only of those that are told everything is read; one that is purged meanwhile is not told. */
static lnt_status tell(lnt__query *q, lnt__row *row, void **memory, lnt_instance_fn fn, void *user, bool *stopped) {
  lnt_status status = LNT_OK;
  if (row->apart) {
    lnt__free(*memory);
    status = lnt__journal_row(q->store, row->run, row, memory, q->err);
  }
  if (status) return status == LNT_ENOTFOUND ? LNT_OK : status;
  lnt_instance *instance = lnt__instance_pack(row, NULL);
  if (!instance) return lnt__fail(q->err, LNT_ENOMEM, "out of memory while instances were listed");
  *stopped = fn(user, instance) != 0;
  lnt__free(instance);
  return LNT_OK;
}

/* Tell a page; *cursor is left at the last one told or looked at. */
static lnt_status list_page(lnt__query *q, lnt_instance_fn fn, void *user, uint64_t *cursor, bool *more) {
  uint32_t limit = q->options.limit ? q->options.limit : LIST_LIMIT_DEFAULT, told = 0;
  uint64_t run = *cursor ? *cursor : UINT64_MAX;
  bool stopped = false;
  for (*more = false;;) {
    lnt__row row;
    void *memory;
    lnt_status status = lnt__query_below(q, &run, &row, &memory);
    if (status || !memory) {
      *more = !status && run != 0; /* it was too much for one page */
      if (*more && !stopped && told < limit) *cursor = run;
      return status;
    }
    *more = stopped || told == limit; /* this one is on the next page */
    if (!*more) status = tell(q, &row, &memory, fn, user, &stopped);
    lnt__free(memory);
    if (*more || status) return status;
    told++;
    *cursor = run;
  }
}

lnt_status lnt_list(lnt_runtime *rt, const lnt_list_options *options, lnt_instance_fn fn, void *user, uint64_t *next, lnt_error *err) {
  lnt_list_options complete;
  lnt__query q;
  bool more = false;
  if (next) *next = 0;
  lnt_status status = lnt__enter(rt, 0, err);
  if (!status) status = lnt__list_options_take("lnt_list", options, &complete, err);
  if (status) return status;
  if (!fn) return lnt__fail(err, LNT_EINVAL, "lnt_list: no function was given (NULL)");
  uint64_t cursor = complete.cursor;
  status = lnt__query_init(&q, rt->store, &complete, err);
  if (!status) status = list_page(&q, fn, user, &cursor, &more);
  if (next && !status && more) *next = cursor;
  lnt__query_finish(&q);
  return status;
}

lnt_status lnt_count(lnt_runtime *rt, const lnt_list_options *options, lnt_counts *counts, lnt_error *err) {
  lnt_list_options complete;
  lnt_counts counted = {0};
  lnt__query q;
  lnt_status status = lnt__enter(rt, 0, err);
  if (!status) status = lnt__list_options_take("lnt_count", options, &complete, err);
  if (status) return status;
  if (!counts || counts->size < sizeof counts->size)
    return lnt__fail(err, LNT_EINVAL, "lnt_count: no place for the counts was given, or its size is not set");
  status = lnt__query_init(&q, rt->store, &complete, err);
  if (!status) status = lnt__query_count(&q, &counted);
  lnt__query_finish(&q);
  for (size_t i = 0; i < LNT_RUN_STATUS_SLOTS; i++) counted.total += counted.by_status[i];
  counted.size = counts->size;
  if (!status) memcpy(counts, &counted, counts->size < sizeof counted ? counts->size : sizeof counted);
  return status;
}
