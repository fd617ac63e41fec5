/* query.c - finds instances by what they are, for lists, counts and purges.
 *
 * Every key of table INDEX ends with a run, so the runs behind one beginning of a key are a sorted list, newest last. A condition is a
 * union of such lists, a query the runs that all conditions have in common. They are found by leaping: the highest run below the last
 * one that each list has, until all name the same. What no index tells (a prefix that very many ids share) is asked of the row. */
#include <stdlib.h>

#include "journal/query.h"

enum {
  READ_AHEAD_MIN = 16,
  READ_AHEAD_MAX = 256,
  STREAMS_MAX = 256, /* lists in one union; more of them cost more than looking at every row */
  ID_RUNS_MAX = 4096 /* runs that an id prefix may name before it is asked of the rows instead */
};

typedef lnt__stream stream;
typedef lnt__condition condition;
typedef lnt__interval interval;

/* ---- One list of runs ---- */

static lnt_status no_memory(lnt__query *q) { return lnt__fail(q->err, LNT_ENOMEM, "out of memory while instances were listed"); }

static int take_run(void *user, lnt__slice key, lnt__slice value) {
  stream *s = user;
  (void)value;
  if (key.size < LNT__KEY_RUN_BYTES) return 1;
  s->runs[s->count++] = lnt__get_be64((const uint8_t *)key.data + key.size - LNT__KEY_RUN_BYTES);
  return s->count == s->capacity;
}

static lnt_status read_ahead(lnt__query *q, stream *s, uint64_t below) {
  uint8_t to[LNT__KEY_INDEX_BYTES_MAX];
  uint32_t wanted = s->capacity * 2 < READ_AHEAD_MIN ? READ_AHEAD_MIN : s->capacity * 2;
  if (wanted <= READ_AHEAD_MAX) {
    uint64_t *runs = lnt__realloc(s->runs, wanted * sizeof *runs);
    if (!runs) return no_memory(q);
    s->runs = runs;
    s->capacity = wanted;
  }
  memcpy(to, s->prefix, s->prefix_size);
  size_t to_size = lnt__index_run(to, s->prefix_size, below);
  s->count = s->at = 0;
  q->leaps++;
  lnt_status status = q->store->vtable->scan(q->store, s->table, (lnt__slice){s->prefix, s->prefix_size}, (lnt__slice){to, to_size},
                                                 true, take_run, s, q->err);
  s->ended = s->count < s->capacity;
  return status;
}

/* The highest run below; 0: none. */
static lnt_status stream_below(lnt__query *q, stream *s, uint64_t below, uint64_t *run) {
  while (s->at < s->count && s->runs[s->at] >= below) s->at++;
  lnt_status status = s->at == s->count && !s->ended ? read_ahead(q, s, below) : LNT_OK;
  *run = status == LNT_OK && s->at < s->count ? s->runs[s->at] : 0;
  return status;
}

static lnt_status condition_below(lnt__query *q, condition *c, uint64_t below, uint64_t *run) {
  *run = 0;
  for (size_t i = 0; i < c->count; i++) {
    uint64_t of_stream;
    lnt_status status = stream_below(q, c->streams[i], below, &of_stream);
    if (status) return status;
    if (of_stream > *run) *run = of_stream;
  }
  return LNT_OK;
}

/* The highest run below that every condition has; 0: none. */
static lnt_status common_below(lnt__query *q, uint64_t below, uint64_t *run) {
  size_t agreed = 0;
  *run = below;
  for (size_t i = 0; agreed < q->condition_count; i = (i + 1) % q->condition_count) {
    uint64_t of_condition;
    lnt_status status = condition_below(q, &q->conditions[i], agreed ? *run + 1 : *run, &of_condition);
    if (status) return status;
    if (!of_condition) return *run = 0, LNT_OK;
    agreed = agreed && of_condition == *run ? agreed + 1 : 1;
    *run = of_condition;
  }
  return LNT_OK;
}

/* The same, within the intervals. */
static lnt_status query_below(lnt__query *q, uint64_t below, uint64_t *run) {
  *run = 0;
  while (q->interval_at < q->interval_count) {
    const interval *in = &q->intervals[q->interval_at];
    lnt_status status = common_below(q, below < in->to ? below : in->to, run);
    if (status || *run == 0 || *run >= in->from) return status;
    below = *run + 1;
    *run = 0;
    q->interval_at++;
  }
  return LNT_OK;
}

/* ---- Conditions ---- */

static condition *add_condition(lnt__query *q) {
  LNT__ASSERT(q->condition_count < LNT__QUERY_CONDITIONS_MAX);
  return &q->conditions[q->condition_count++];
}

static stream *add_stream(condition *c, lnt__table table) {
  stream *s = lnt__calloc(1, sizeof *s);
  if (!s || (c->count == c->capacity && !lnt__grow((void **)&c->streams, &c->capacity, c->count + 1, sizeof *c->streams))) {
    lnt__free(s);
    return NULL;
  }
  s->table = table;
  return c->streams[c->count++] = s;
}

static void clear_condition(condition *c) {
  for (size_t i = 0; i < c->count; i++) {
    lnt__free(c->streams[i]->runs);
    lnt__free(c->streams[i]);
  }
  c->count = 0;
}

/* Every run there is. */
static lnt_status add_all(lnt__query *q) { return add_stream(add_condition(q), LNT__TABLE_INSTANCE) ? LNT_OK : no_memory(q); }

static lnt_value text_of(const char *text) { return (lnt_value){text, strlen(text)}; }

typedef struct found { uint8_t key[LNT__KEY_BYTES_MAX]; size_t size; } found;

static int take_first(void *user, lnt__slice key, lnt__slice value) {
  found *f = user;
  (void)value;
  f->size = key.size <= sizeof f->key ? key.size : 0;
  memcpy(f->key, key.data, f->size);
  return 1;
}

/* A list for each workflow that has instances of this status: each begins behind the end of the one before. */
static lnt_status add_names(lnt__query *q, condition *c, lnt_run_status status) {
  uint8_t from[LNT__KEY_INDEX_BYTES_MAX] = {LNT__INDEX_STATUS, (uint8_t)status}, to[2] = {LNT__INDEX_STATUS, (uint8_t)(status + 1)};
  size_t from_size = 2;
  while (c->count <= STREAMS_MAX) {
    found f = {.size = 0};
    lnt_status result = q->store->vtable->scan(q->store, LNT__TABLE_INDEX, (lnt__slice){from, from_size}, (lnt__slice){to, sizeof to},
                                                   false, take_first, &f, q->err);
    if (result || f.size < 3 + LNT__KEY_RUN_BYTES || f.size > sizeof from) return result;
    stream *s = add_stream(c, LNT__TABLE_INDEX);
    if (!s) return no_memory(q);
    s->prefix_size = f.size - LNT__KEY_RUN_BYTES;
    memcpy(s->prefix, f.key, s->prefix_size);
    memcpy(from, f.key, s->prefix_size);
    from_size = lnt__index_run(from, s->prefix_size, UINT64_MAX);
  }
  return LNT_OK;
}

static uint32_t statuses_of(const lnt_list_options *options) {
  return options->status_mask ? options->status_mask : ~(1u << LNT_RUN_CONTINUED_AS_NEW);
}

static lnt_status add_status(lnt__query *q) {
  condition *c = add_condition(q);
  for (uint32_t status = 0; status <= LNT_RUN_STALLED; status++) {
    if (!(statuses_of(&q->options) >> status & 1)) continue;
    if (!q->options.workflow) {
      lnt_status result = add_names(q, c, (lnt_run_status)status);
      if (result) return result;
      continue;
    }
    stream *s = add_stream(c, LNT__TABLE_INDEX);
    if (!s) return no_memory(q);
    s->prefix_size = lnt__index_status(s->prefix, (lnt_run_status)status, text_of(q->options.workflow));
  }
  if (c->count <= STREAMS_MAX) return LNT_OK;
  clear_condition(c);
  q->condition_count--;
  q->by_row = true;
  return add_all(q);
}

static lnt_status add_attributes(lnt__query *q) {
  lnt__attribute attribute;
  lnt__reader reader = lnt__attributes_of(q->options.attributes);
  while (lnt__attributes_next(&reader, &attribute)) {
    stream *s = add_stream(add_condition(q), LNT__TABLE_INDEX);
    if (!s) return no_memory(q);
    s->prefix_size = lnt__index_attribute(s->prefix, attribute.name, attribute.value);
  }
  return LNT_OK;
}

/* ---- Runs of an id, and of ids that begin alike ---- */

typedef struct id_runs { uint64_t *runs; size_t count, capacity, prefix_size; bool full, failed; } id_runs;

static int add_id_run(id_runs *into, uint64_t run) {
  if (into->count == ID_RUNS_MAX) return into->full = true;
  if (into->count == into->capacity && !lnt__grow((void **)&into->runs, &into->capacity, into->count + 1, sizeof *into->runs))
    return into->failed = true;
  into->runs[into->count++] = run;
  return 0;
}

static int take_newest(void *user, lnt__slice key, lnt__slice value) {
  lnt__slice run;
  (void)key;
  return lnt__unseal(value, &run) && run.size == 8 ? add_id_run(user, lnt__get_be64(run.data)) : 0;
}

static int take_older(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  return key.size < 8 ? 0 : add_id_run(user, lnt__get_be64((const uint8_t *)key.data + key.size - 8));
}

static int compare_runs(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x < y) - (x > y);
}

/* The end of the keys that begin with `from`: the last byte one higher. No id has the byte 0xff. */
static lnt__slice end_of(uint8_t *to, const uint8_t *from, size_t size) {
  memcpy(to, from, size);
  to[size - 1]++;
  return (lnt__slice){to, size};
}

static lnt_status runs_of_ids(lnt__query *q, const char *prefix, bool whole, id_runs *into) {
  uint8_t from[LNT__KEY_INDEX_BYTES_MAX], to[LNT__KEY_INDEX_BYTES_MAX];
  size_t size = strlen(prefix);
  lnt__store *store = q->store;
  memcpy(from, prefix, size);
  if (whole) from[size] = 0;
  lnt__slice end = end_of(to, from, size + whole);
  if (whole) end = (lnt__slice){from, size + 1}; /* the keys from the id to the id and a zero: the id itself */
  lnt_status status = store->vtable->scan(store, LNT__TABLE_ID, (lnt__slice){prefix, size}, end, false, take_newest, into, q->err);
  if (status || into->full || into->failed) return status;
  size_t older = lnt__index_older(from, text_of(prefix)) - !whole;
  end = end_of(to, from, older);
  return store->vtable->scan(store, LNT__TABLE_INDEX, (lnt__slice){from, older}, end, true, take_older, into, q->err);
}

static lnt_status add_id_prefix(lnt__query *q) {
  id_runs ids = {.runs = NULL};
  if (!q->options.id_prefix[0]) return LNT_OK;
  lnt_status status = runs_of_ids(q, q->options.id_prefix, false, &ids);
  stream *s = NULL;
  if (!status && (ids.failed || (!ids.full && !(s = add_stream(add_condition(q), LNT__TABLE_ID))))) status = no_memory(q);
  q->by_row = q->by_row || ids.full;
  if (!s) {
    lnt__free(ids.runs);
    return status;
  }
  if (ids.count) qsort(ids.runs, ids.count, sizeof *ids.runs, compare_runs);
  s->runs = ids.runs;
  s->count = (uint32_t)ids.count;
  s->ended = true;
  return status;
}

static lnt_status add_parent(lnt__query *q) {
  id_runs ids = {.runs = NULL};
  lnt_status status = runs_of_ids(q, q->options.parent, true, &ids);
  condition *c = add_condition(q);
  if (!status && !ids.failed && !ids.count) status = lnt__fail(q->err, LNT_ENOTFOUND, "there is no instance '%s'", q->options.parent);
  for (size_t i = 0; !status && i < ids.count; i++) {
    stream *s = add_stream(c, LNT__TABLE_INDEX);
    if (s) s->prefix_size = lnt__index_parent(s->prefix, ids.runs[i]);
    else status = no_memory(q);
  }
  if (!status && ids.failed) status = no_memory(q);
  lnt__free(ids.runs);
  return status;
}

/* ---- Time: between two eras `created` grows with the run ---- */

typedef struct probe { uint64_t run; int64_t created_us; bool good; } probe;

static int take_created(void *user, lnt__slice key, lnt__slice value) {
  probe *p = user;
  lnt__row row;
  p->good = key.size == LNT__KEY_RUN_BYTES && lnt__row_read(value, &row);
  if (!p->good) return 1;
  p->run = lnt__get_be64(key.data);
  p->created_us = row.created_us;
  return 1;
}

/* The first run in [from, to) created at `at_us` or later; `to`: none. */
static lnt_status first_since(lnt__query *q, uint64_t from, uint64_t to, int64_t at_us, uint64_t *out) {
  while (from < to) {
    uint64_t middle = from + (to - from) / 2;
    uint8_t low[LNT__KEY_RUN_BYTES], high[LNT__KEY_RUN_BYTES];
    probe p = {.good = false};
    lnt__key_run(low, middle);
    lnt__key_run(high, to);
    lnt_status status = q->store->vtable->scan(q->store, LNT__TABLE_INSTANCE, (lnt__slice){low, sizeof low},
                                                   (lnt__slice){high, sizeof high}, false, take_created, &p, q->err);
    if (status) return status;
    if (!p.good || p.created_us >= at_us) to = middle;
    else from = p.run + 1;
  }
  *out = to;
  return LNT_OK;
}

static int take_era(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  return key.size < 8 ? 0 : add_id_run(user, lnt__get_be64((const uint8_t *)key.data + key.size - 8));
}

static int take_last(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  *(uint64_t *)user = lnt__get_be64(key.data);
  return 1;
}

static lnt_status push_interval(lnt__query *q, interval in) {
  if (in.from >= in.to) return LNT_OK;
  if (q->interval_count == q->interval_capacity &&
      !lnt__grow((void **)&q->intervals, &q->interval_capacity, q->interval_count + 1, sizeof *q->intervals))
    return no_memory(q);
  q->intervals[q->interval_count++] = in;
  return LNT_OK;
}

static lnt_status add_interval(lnt__query *q, uint64_t from, uint64_t to) {
  interval in = {from, to};
  if (q->options.created_to_us) {
    lnt_status status = first_since(q, in.from, in.to, q->options.created_to_us, &in.to);
    if (status) return status;
  }
  if (q->options.created_from_us) {
    lnt_status status = first_since(q, in.from, in.to, q->options.created_from_us, &in.from);
    if (status) return status;
  }
  return push_interval(q, in);
}

static lnt_status add_intervals(lnt__query *q, bool indexed) {
  uint64_t to = UINT64_MAX;
  uint8_t from[1] = {LNT__INDEX_ERA}, end[1] = {LNT__INDEX_ERA + 1};
  id_runs eras = {.runs = NULL};
  lnt__store *store = q->store;
  if (!indexed || (!q->options.created_from_us && !q->options.created_to_us)) return push_interval(q, (interval){1, to});
  lnt_status status = store->vtable->scan(store, LNT__TABLE_INSTANCE, (lnt__slice){0}, (lnt__slice){0}, true, take_last, &to, q->err);
  if (!status)
    status = store->vtable->scan(store, LNT__TABLE_INDEX, (lnt__slice){from, 1}, (lnt__slice){end, 1}, true, take_era, &eras, q->err);
  if (!status && eras.failed) status = no_memory(q);
  if (to != UINT64_MAX) to++;
  for (size_t i = 0; !status && i < eras.count; i++) {
    status = add_interval(q, eras.runs[i], to);
    to = eras.runs[i];
  }
  if (!status) status = add_interval(q, 1, to);
  lnt__free(eras.runs);
  return status;
}

/* ---- The whole query ---- */

void lnt__query_finish(lnt__query *q) {
  for (size_t i = 0; i < q->condition_count; i++) {
    clear_condition(&q->conditions[i]);
    lnt__free(q->conditions[i].streams);
  }
  lnt__free(q->intervals);
}

static lnt_status check_options(const lnt__query *q, lnt_error *err) {
  const lnt_list_options *options = &q->options;
  lnt_status status = LNT_OK;
  if (options->workflow) status = lnt__check_name("workflow name", options->workflow, LNT_NAME_BYTES_MAX, true, err);
  if (!status && options->id_prefix && options->id_prefix[0])
    status = lnt__check_name("id prefix", options->id_prefix, LNT_ID_BYTES_MAX, false, err);
  if (!status && options->parent) status = lnt__check_name("instance id of the parent", options->parent, LNT_ID_BYTES_MAX, false, err);
  if (!status) status = lnt__cbor_check(options->attributes, err);
  return status ? status : lnt__attributes_check(options->attributes, err);
}

lnt_status lnt__query_init(lnt__query *q, lnt__store *store, const lnt_list_options *options, lnt_error *err) {
  *q = (lnt__query){.store = store, .options = *options, .err = err};
  lnt_status status = check_options(q, err);
  bool indexed = lnt__index_complete(store);
  q->by_row = !indexed;
  if (!status && !indexed && q->options.parent)
    status = lnt__fail(err, LNT_EAGAIN, "the store is older than its index: open it once for work, then children can be listed");
  if (!status) status = indexed ? add_status(q) : add_all(q);
  if (!status && indexed && q->options.parent) status = add_parent(q);
  if (!status && indexed) status = add_attributes(q);
  if (!status && indexed && q->options.id_prefix) status = add_id_prefix(q);
  return status ? status : add_intervals(q, indexed);
}

static bool starts_with(lnt_value text, const char *prefix) {
  size_t size = strlen(prefix);
  return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static bool has_attributes(lnt_value wanted, lnt_value has) {
  lnt__attribute one;
  lnt__reader reader = lnt__attributes_of(wanted);
  while (lnt__attributes_next(&reader, &one)) {
    char name[LNT_ATTRIBUTE_NAME_BYTES_MAX + 1];
    lnt_value value;
    memcpy(name, one.name.data, one.name.size);
    name[one.name.size] = 0;
    if (!lnt__cbor_member(has, name, &value) || value.size != one.value.size) return false;
    if (memcmp(value.data, one.value.data, value.size)) return false;
  }
  return true;
}

/* The row may have changed since the index was read. */
static bool wanted(const lnt__query *q, const lnt__row *row) {
  const lnt_list_options *options = &q->options;
  if (!(statuses_of(options) >> row->status & 1)) return false;
  if (options->workflow && (row->workflow.size != strlen(options->workflow) || !starts_with(row->workflow, options->workflow)))
    return false;
  if (options->id_prefix && !starts_with(row->id, options->id_prefix)) return false;
  if (options->created_from_us && row->created_us < options->created_from_us) return false;
  if (options->created_to_us && row->created_us >= options->created_to_us) return false;
  return has_attributes(options->attributes, row->attributes);
}

lnt_status lnt__query_below(lnt__query *q, uint64_t *run, lnt__row *row, void **memory) {
  for (; q->leaps < LNT__QUERY_LEAPS_MAX; q->leaps++) {
    uint64_t below = *run;
    *memory = NULL;
    lnt_status status = query_below(q, below, run);
    if (status || !*run) return status;
    status = lnt__journal_row_outline(q->store, *run, row, memory, q->err);
    if (status == LNT_ENOTFOUND) continue; /* purged meanwhile */
    if (status || wanted(q, row)) return status;
    lnt__free(*memory);
  }
  *memory = NULL;
  return LNT_OK;
}

/* ---- Counting ---- */

static int count_key(void *user, lnt__slice key, lnt__slice value) {
  (void)key;
  (void)value;
  ++*(uint64_t *)user;
  return 0;
}

/* With status and workflow alone, the keys of the index are counted as they stand. */
static lnt_status count_keys(lnt__query *q, lnt_run_status status, uint64_t *count) {
  uint8_t from[LNT__KEY_INDEX_BYTES_MAX] = {LNT__INDEX_STATUS, (uint8_t)status}, to[LNT__KEY_INDEX_BYTES_MAX];
  size_t size = q->options.workflow ? lnt__index_status(from, status, text_of(q->options.workflow)) : 2;
  lnt__slice end = end_of(to, from, size);
  return q->store->vtable->scan(q->store, LNT__TABLE_INDEX, (lnt__slice){from, size}, end, false, count_key, count, q->err);
}

static lnt_status count_runs(lnt__query *q, lnt_counts *counts) {
  uint64_t run = UINT64_MAX;
  for (;;) {
    lnt__row row;
    void *memory;
    q->leaps = 0;
    lnt_status status = lnt__query_below(q, &run, &row, &memory);
    if (status || !run) return status;
    if (!memory) continue;
    counts->by_status[row.status]++;
    lnt__free(memory);
  }
}

lnt_status lnt__query_count(lnt__query *q, lnt_counts *counts) {
  const lnt_list_options *o = &q->options;
  lnt_status result = LNT_OK;
  if (q->by_row || q->condition_count > 1 || o->created_from_us || o->created_to_us) return count_runs(q, counts);
  for (uint32_t status = 0; !result && status <= LNT_RUN_STALLED; status++)
    if (statuses_of(o) >> status & 1) result = count_keys(q, (lnt_run_status)status, &counts->by_status[status]);
  return result;
}
