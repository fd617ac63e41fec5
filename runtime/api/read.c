/* read.c - what is durable: lnt_get, lnt_list, lnt_history; and lnt_observe, for what becomes durable from now on. Owner thread; reads
 * work on a read-only runtime too. No transaction of the store is open while a callback runs. */
#include "driver/runtime.h"

enum { LIST_LIMIT_DEFAULT = 100, LIST_CHUNK = 256, LIST_CHUNK_BYTES_MAX = 1 << 20 };

static lnt_status find(lnt_runtime *rt, const char *id, uint64_t *run, lnt_error *err) {
  lnt_status status = lnt__enter(rt, 0, err);
  if (!status) status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  return status ? status : lnt__journal_find(rt->store, id, run, err);
}

/* ---- One instance ---- */

/* Where strings and values go: counted first (to NULL), then copied. */
typedef struct packer { uint8_t *to; size_t size; } packer;

static const void *pack(packer *into, const void *data, size_t size, bool is_text) {
  if (!size && !is_text) return NULL;
  uint8_t *at = into->to ? into->to + into->size : NULL;
  into->size += size + is_text;
  if (!at) return NULL;
  if (size) memcpy(at, data, size);
  if (is_text) at[size] = 0;
  return at;
}

static const char *pack_text(packer *into, lnt_value text) { return pack(into, text.data, text.size, true); }

static lnt_value pack_value(packer *into, lnt_value value) { return (lnt_value){pack(into, value.data, value.size, false), value.size}; }

static void pack_row(packer *into, const lnt__row *row, lnt_instance *out) {
  char hex[2 * LNT__SHA256_BYTES + 1];
  lnt__hex(row->hash, LNT__SHA256_BYTES, hex);
  *out = (lnt_instance){.run = row->run, .status = row->status, .created_us = row->created_us, .updated_us = row->updated_us,
                        .closed_us = row->closed_us};
  out->id = pack_text(into, row->id);
  out->workflow = pack_text(into, row->workflow);
  out->code_hash = pack_text(into, (lnt_value){hex, sizeof hex - 1});
  out->failure = pack_value(into, row->failure);
  out->custom_status = pack_value(into, row->custom_status);
  out->attributes = pack_value(into, row->attributes);
}

static void pack_history(packer *into, const lnt__history *history, lnt_instance *out) {
  out->history_events = history->count;
  out->history_bytes = history->bytes;
  if (!history->count) return;
  out->updated_us = history->events[history->count - 1].time_us;
  if (history->events[0].kind == LNT_EVENT_STARTED) out->input = pack_value(into, history->events[0].value);
  for (size_t i = history->count; i > 0 && out->status == LNT_RUN_COMPLETED; i--) {
    if (history->events[i - 1].kind != LNT_EVENT_COMPLETED) continue;
    out->output = pack_value(into, history->events[i - 1].value);
    break;
  }
}

static lnt_instance *pack_instance(const lnt__row *row, const lnt__history *history) {
  packer count = {NULL, 0};
  lnt_instance draft;
  pack_row(&count, row, &draft);
  pack_history(&count, history, &draft);
  uint8_t *block = lnt__alloc(sizeof draft + count.size);
  if (!block) return NULL;
  packer into = {block + sizeof draft, 0};
  pack_row(&into, row, &draft);
  pack_history(&into, history, &draft);
  memcpy(block, &draft, sizeof draft);
  return (lnt_instance *)(void *)block;
}

/* The history before the row: an instance that another process finishes in between shows as finished, and then its history is read
 * again, so that a finished instance always has its output. */
static lnt_status read_both(lnt_runtime *rt, uint64_t run, lnt__row *row, void **memory, lnt__history *history, lnt_error *err) {
  lnt_status status = lnt__journal_history(rt->store, run, history, err);
  if (!status) status = lnt__journal_row(rt->store, run, row, memory, err);
  if (status || !row->closed_us || (history->count && history->events[history->count - 1].time_us >= row->closed_us)) return status;
  lnt__history_clear(history);
  return lnt__journal_history(rt->store, run, history, err);
}

lnt_status lnt_get(lnt_runtime *rt, const char *id, lnt_instance **out, lnt_error *err) {
  uint64_t run;
  lnt__row row;
  void *memory = NULL;
  lnt__history history;
  if (!out) return lnt__fail(err, LNT_EINVAL, "lnt_get: `out` is NULL");
  *out = NULL;
  lnt_status status = find(rt, id, &run, err);
  if (status) return status;
  lnt__history_init(&history);
  status = read_both(rt, run, &row, &memory, &history, err);
  if (!status) {
    *out = pack_instance(&row, &history);
    if (!*out) status = lnt__fail(err, LNT_ENOMEM, "out of memory while instance '%s' was read", id);
  }
  lnt__history_finish(&history);
  lnt__free(memory);
  return status;
}

/* ---- Its history ---- */

lnt_status lnt_history(lnt_runtime *rt, const char *id, lnt_event_fn fn, void *user, lnt_error *err) {
  uint64_t run;
  lnt__history history;
  lnt__buf text;
  lnt_status status = find(rt, id, &run, err);
  if (status) return status;
  if (!fn) return lnt__fail(err, LNT_EINVAL, "lnt_history: no function was given (NULL)");
  lnt__history_init(&history);
  lnt__buf_init(&text);
  status = lnt__journal_history(rt->store, run, &history, err);
  for (size_t i = 0; !status && i < history.count; i++) {
    lnt_event view;
    if (!lnt__event_view(&history.events[i], i + 1, &text, &view))
      status = lnt__fail(err, LNT_ENOMEM, "out of memory while the history of '%s' was read", id);
    else if (fn(user, &view)) break;
  }
  lnt__buf_finish(&text);
  lnt__history_finish(&history);
  return status;
}

/* ---- Many instances ---- */

void lnt_list_options_init(lnt_list_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

/* One stretch of the scan: rows that pass the filters, copied, because their callback may call the store. */
typedef struct page {
  const lnt_list_options *options;
  lnt__buf rows; /* run, size, sealed row ... */
  uint32_t count, max;
  uint64_t below; /* where to go on; 0: the table is at its end */
  bool corrupt;
} page;

static bool starts_with(lnt_value text, const char *prefix) {
  size_t size = strlen(prefix);
  return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static bool wanted(const lnt_list_options *options, const lnt__row *row) {
  if (options->status_mask && !(options->status_mask >> row->status & 1)) return false;
  if (options->workflow && (row->workflow.size != strlen(options->workflow) || !starts_with(row->workflow, options->workflow)))
    return false;
  if (options->id_prefix && !starts_with(row->id, options->id_prefix)) return false;
  if (options->created_from_us && row->created_us < options->created_from_us) return false;
  return !options->created_to_us || row->created_us < options->created_to_us;
}

static int gather(void *user, lnt__slice key, lnt__slice value) {
  page *into = user;
  lnt__row row;
  if (key.size != LNT__KEY_RUN_BYTES || !lnt__row_read(value, &row)) return into->corrupt = true;
  into->below = lnt__get_be64(key.data);
  if (!wanted(into->options, &row)) return 0;
  lnt__buf_append(&into->rows, &into->below, sizeof into->below);
  lnt__buf_append(&into->rows, &value.size, sizeof value.size);
  lnt__buf_append(&into->rows, value.data, value.size);
  return ++into->count >= into->max || into->rows.size >= LIST_CHUNK_BYTES_MAX || into->rows.failed;
}

static lnt_status read_page(lnt_runtime *rt, page *into, lnt_error *err) {
  uint8_t to[LNT__KEY_RUN_BYTES];
  bool bounded = into->below != 0;
  lnt__key_run(to, into->below);
  into->count = 0;
  lnt__buf_clear(&into->rows);
  lnt_status status = rt->store->vtable->scan(rt->store, LNT__TABLE_INSTANCE, (lnt__slice){NULL, 0},
                                              (lnt__slice){to, bounded ? sizeof to : 0}, true, gather, into, err);
  if (status) return status;
  if (into->rows.failed) return lnt__fail(err, LNT_ENOMEM, "out of memory while instances were listed");
  if (into->corrupt)
    return lnt__fail(err, LNT_ECORRUPT, "the row after run %llu: the checksum or the shape is wrong; restore the directory from a copy",
                     (unsigned long long)into->below);
  return LNT_OK;
}

/* 0: told; 1: the callback stops here; -1: out of memory. */
static int tell(lnt__slice sealed, uint64_t run, lnt_instance_fn fn, void *user) {
  lnt__row row;
  static const lnt__history none = {0};
  if (!lnt__row_read(sealed, &row)) return 0;
  row.run = run;
  lnt_instance *instance = pack_instance(&row, &none);
  if (!instance) return -1;
  int stop = fn(user, instance) != 0;
  lnt__free(instance);
  return stop;
}

static int tell_page(const page *from, lnt_instance_fn fn, void *user, uint64_t *last) {
  const uint8_t *at = from->rows.data;
  int answer = 0;
  for (uint32_t i = 0; i < from->count && !answer; i++) {
    size_t size;
    memcpy(last, at, sizeof *last);
    memcpy(&size, at + sizeof *last, sizeof size);
    at += sizeof *last + sizeof size;
    answer = tell((lnt__slice){at, size}, *last, fn, user);
    at += size;
  }
  return answer;
}

/* Is there any row below? Keeps `next` from promising a page that is empty because the table ended. */
static int see_one(void *user, lnt__slice key, lnt__slice value) {
  lnt__row row;
  page *into = user;
  (void)key;
  return into->count = lnt__row_read(value, &row) && wanted(into->options, &row);
}

static lnt_status next_cursor(lnt_runtime *rt, page *from, uint64_t last, uint64_t *next, lnt_error *err) {
  uint8_t to[LNT__KEY_RUN_BYTES];
  lnt__key_run(to, last);
  from->count = 0;
  lnt_status status = rt->store->vtable->scan(rt->store, LNT__TABLE_INSTANCE, (lnt__slice){NULL, 0}, (lnt__slice){to, sizeof to}, true,
                                              see_one, from, err);
  *next = !status && from->count ? last : 0;
  return status;
}

static lnt_status list(lnt_runtime *rt, page *from, uint32_t limit, lnt_instance_fn fn, void *user, uint64_t *next, lnt_error *err) {
  uint64_t last = 0;
  uint32_t told = 0;
  for (;;) {
    from->max = limit - told < LIST_CHUNK ? limit - told : LIST_CHUNK;
    lnt_status status = read_page(rt, from, err);
    if (status) return status;
    bool at_end = from->count < from->max && from->rows.size < LIST_CHUNK_BYTES_MAX;
    told += from->count;
    int answer = tell_page(from, fn, user, &last);
    if (answer < 0) return lnt__fail(err, LNT_ENOMEM, "out of memory while instances were listed");
    if (!answer && at_end) return LNT_OK;
    if (answer || told >= limit) return next ? next_cursor(rt, from, last, next, err) : LNT_OK;
  }
}

lnt_status lnt_list(lnt_runtime *rt, const lnt_list_options *options, lnt_instance_fn fn, void *user, uint64_t *next,
                    lnt_error *err) {
  lnt_list_options complete;
  lnt_list_options_init(&complete);
  if (next) *next = 0;
  lnt_status status = lnt__enter(rt, 0, err);
  if (status) return status;
  if (!fn) return lnt__fail(err, LNT_EINVAL, "lnt_list: no function was given (NULL)");
  if (options && options->size < sizeof options->size)
    return lnt__fail(err, LNT_EINVAL, "lnt_list: options.size is not set; call lnt_list_options_init() first");
  if (options) memcpy(&complete, options, options->size < sizeof complete ? options->size : sizeof complete);
  page from = {.options = &complete, .below = complete.cursor};
  status = list(rt, &from, complete.limit ? complete.limit : LIST_LIMIT_DEFAULT, fn, user, next, err);
  lnt__buf_finish(&from.rows);
  return status;
}

/* ---- What becomes durable ---- */

lnt_status lnt_observe(lnt_runtime *rt, lnt_observer_fn fn, void *user) {
  lnt_status status = lnt__enter(rt, LNT__WRITES, NULL);
  if (status) return status;
  rt->observer = fn;
  rt->observer_user = user;
  lnt__engine_observe(rt->engine, fn != NULL);
  return LNT_OK;
}
