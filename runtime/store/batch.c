/* batch.c - batches of puts and deletes: an arena that grows, and the order in which a store visits it.
 * Called by the journal (building, owner thread) and by the stores (order, the committing thread). */
#include "store/batch.h"

#include "base/buf.h"
#include "base/fault.h"

/* A batch that grew beyond this (a huge payload) gives its memory back when it is cleared. */
#define KEEP_BYTES (8u << 20)
/* Operations are numbered by 32 bits. */
#define OPS_MAX UINT32_MAX

typedef struct lnt__sorting {
  uint32_t *index; /* `capacity` for the result, as many again to merge into */
  size_t capacity, count;
  bool done;
} sorting;

lnt__batch *lnt__batch_create(void) {
  lnt__batch *batch = lnt__calloc(1, sizeof *batch);
  sorting *sorted = lnt__calloc(1, sizeof *sorted);
  if (!batch || !sorted) {
    lnt__free(batch);
    lnt__free(sorted);
    return NULL;
  }
  batch->sorting = sorted;
  batch->in_order = true;
  return batch;
}

void lnt__batch_destroy(lnt__batch *batch) {
  if (!batch) return;
  lnt__free(batch->sorting->index);
  lnt__free(batch->sorting);
  lnt__free(batch->ops);
  lnt__free(batch->bytes);
  lnt__free(batch);
}

void lnt__batch_clear(lnt__batch *batch) {
  if (batch->bytes_capacity > KEEP_BYTES) {
    lnt__free(batch->bytes);
    batch->bytes = NULL;
    batch->bytes_capacity = 0;
  }
  batch->count = batch->size = 0;
  batch->failed = false;
  batch->in_order = true;
  batch->sorting->done = false;
}

static uint64_t key_prefix(const uint8_t *key, size_t size) {
  uint64_t value = 0;
  if (size >= sizeof value) return lnt__get_be64(key);
  for (size_t i = 0; i < size; i++) value |= (uint64_t)key[i] << (56 - 8 * i);
  return value;
}

int lnt__slice_compare(lnt__slice a, lnt__slice b) {
  size_t shared = a.size < b.size ? a.size : b.size;
  int order = shared ? memcmp(a.data, b.data, shared) : 0;
  return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int op_compare(const lnt__batch *batch, const lnt__op *a, const lnt__op *b) {
  if (a->table != b->table) return a->table < b->table ? -1 : 1;
  if (a->prefix != b->prefix) return a->prefix < b->prefix ? -1 : 1;
  return lnt__slice_compare(lnt__op_key(batch, a), lnt__op_key(batch, b));
}

static bool reserve(lnt__batch *batch, size_t bytes) {
  if (batch->failed) return false;
  bool fits = batch->count < OPS_MAX;
  if (fits && batch->count == batch->capacity)
    fits = lnt__grow((void **)&batch->ops, &batch->capacity, batch->count + 1, sizeof *batch->ops);
  if (fits && batch->bytes_capacity - batch->size < bytes)
    fits = lnt__grow((void **)&batch->bytes, &batch->bytes_capacity, batch->size + bytes, 1);
  batch->failed = !fits;
  return fits;
}

static bool append(lnt__batch *batch, lnt__table table, lnt__slice key, lnt__slice value, bool is_delete) {
  LNT__ASSERT((unsigned)table < LNT__TABLE_COUNT && key.size > 0 && key.size <= LNT__KEY_BYTES_MAX && value.size <= UINT32_MAX);
  if (!reserve(batch, key.size + value.size)) return false;
  lnt__op *op = &batch->ops[batch->count];
  *op = (lnt__op){.prefix = key_prefix(key.data, key.size), .at = batch->size, .value_size = (uint32_t)value.size,
                  .key_size = (uint16_t)key.size, .table = (uint8_t)table, .is_delete = is_delete};
  memcpy(batch->bytes + batch->size, key.data, key.size);
  if (value.size) memcpy(batch->bytes + batch->size + key.size, value.data, value.size);
  batch->size += key.size + value.size;
  if (batch->count && batch->in_order) batch->in_order = op_compare(batch, op - 1, op) < 0;
  batch->count++;
  batch->sorting->done = false;
  return true;
}

bool lnt__batch_put(lnt__batch *batch, lnt__table table, const void *key, size_t key_size, const void *value, size_t value_size) {
  return append(batch, table, (lnt__slice){key, key_size}, (lnt__slice){value, value_size}, false);
}

bool lnt__batch_delete(lnt__batch *batch, lnt__table table, const void *key, size_t key_size) {
  return append(batch, table, (lnt__slice){key, key_size}, (lnt__slice){NULL, 0}, true);
}

bool lnt__batch_failed(const lnt__batch *batch) { return batch->failed; }
size_t lnt__batch_count(const lnt__batch *batch) { return batch->count; }
size_t lnt__batch_bytes(const lnt__batch *batch) { return batch->size; }

/* The last thing that the batch does to a key; NULL: nothing. */
static const lnt__op *last_op(const lnt__batch *batch, lnt__table table, lnt__slice key) {
  for (size_t i = batch->count; i > 0; i--) {
    const lnt__op *op = &batch->ops[i - 1];
    if (op->table == table && lnt__slice_compare(lnt__op_key(batch, op), key) == 0) return op;
  }
  return NULL;
}

bool lnt__batch_find(const lnt__batch *batch, lnt__table table, lnt__slice key, lnt__slice *value) {
  const lnt__op *op = last_op(batch, table, key);
  if (op) *value = lnt__op_value(batch, op);
  return op && !op->is_delete;
}

bool lnt__batch_deletes(const lnt__batch *batch, lnt__table table, lnt__slice key) {
  const lnt__op *op = last_op(batch, table, key);
  return op && op->is_delete;
}

/* Operations on one key keep their order. */
static bool is_before(const lnt__batch *batch, uint32_t a, uint32_t b) {
  int order = op_compare(batch, &batch->ops[a], &batch->ops[b]);
  return order ? order < 0 : a < b;
}

/* Merge from[low, middle) and from[middle, high), each in order, into `to`. */
static void merge(const lnt__batch *batch, const uint32_t *from, uint32_t *to, size_t low, size_t middle, size_t high) {
  size_t a = low, b = middle;
  if (middle < high && is_before(batch, from[middle - 1], from[middle])) {
    memcpy(to + low, from + low, (high - low) * sizeof *to); /* already in order, as most of a batch is */
    return;
  }
  for (size_t i = low; i < high; i++) {
    bool take_a = b >= high || (a < middle && is_before(batch, from[a], from[b]));
    to[i] = take_a ? from[a++] : from[b++];
  }
}

/* Sort index[0, count) in place. */
static void merge_sort(const lnt__batch *batch, uint32_t *index, uint32_t *spare, size_t count) {
  uint32_t *from = index, *to = spare;
  for (size_t width = 1; width < count; width *= 2) {
    for (size_t low = 0; low < count; low += 2 * width) {
      size_t middle = low + width < count ? low + width : count;
      size_t high = middle + width < count ? middle + width : count;
      merge(batch, from, to, low, middle, high);
    }
    uint32_t *swap = from;
    from = to;
    to = swap;
  }
  if (from != index) memcpy(index, from, count * sizeof *index);
}

static void sort_unless_sorted(const lnt__batch *batch, uint32_t *index, uint32_t *spare, size_t count) {
  for (size_t i = 1; i < count; i++)
    if (!is_before(batch, index[i - 1], index[i])) {
      merge_sort(batch, index, spare, count);
      return;
    }
}

/* Operations of one table. An instance that changes its status takes a row from one place and puts one into another: what is taken and
 * what is put are each in order, and only together they are not. */
static void sort_table(const lnt__batch *batch, uint32_t *index, uint32_t *spare, size_t count) {
  size_t puts = 0, deletes = 0;
  for (size_t i = 0; i < count; i++)
    if (batch->ops[index[i]].is_delete) spare[deletes++] = index[i];
    else index[puts++] = index[i];
  if (deletes) memcpy(index + puts, spare, deletes * sizeof *index);
  sort_unless_sorted(batch, index, spare, puts);
  sort_unless_sorted(batch, index + puts, spare, deletes);
  if (!puts || !deletes) return;
  merge(batch, index, spare, 0, puts, count);
  memcpy(index, spare, count * sizeof *index);
}

/* The tables are told apart first: the instances of a batch bring their records one after the other, so that within a table most stand in
 * order already. */
static void sort_ops(const lnt__batch *batch, uint32_t *index, uint32_t *spare) {
  size_t ends[LNT__TABLE_COUNT] = {0}, from = 0;
  for (size_t i = 0; i < batch->count; i++) ends[batch->ops[i].table]++;
  for (size_t table = 0, at = 0; table < LNT__TABLE_COUNT; table++) {
    size_t count = ends[table];
    ends[table] = at;
    at += count;
  }
  for (size_t i = 0; i < batch->count; i++) index[ends[batch->ops[i].table]++] = (uint32_t)i;
  for (size_t table = 0; table < LNT__TABLE_COUNT; from = ends[table++]) sort_table(batch, index + from, spare, ends[table] - from);
}

/* Keep the last of each run of equal keys. Both arrays may be one. */
static size_t last_of_each(const lnt__batch *batch, const uint32_t *from, uint32_t *to) {
  size_t count = 0;
  for (size_t i = 0; i < batch->count; i++) {
    bool replaced = i + 1 < batch->count && op_compare(batch, &batch->ops[from[i]], &batch->ops[from[i + 1]]) == 0;
    if (!replaced) to[count++] = from[i];
  }
  return count;
}

bool lnt__batch_order(const lnt__batch *batch, lnt__order *out) {
  sorting *sorted = batch->sorting;
  if (batch->in_order) {
    *out = (lnt__order){NULL, batch->count};
    return true;
  }
  if (!sorted->done) {
    if (!lnt__grow((void **)&sorted->index, &sorted->capacity, 2 * batch->count, sizeof *sorted->index)) return false;
    sort_ops(batch, sorted->index, sorted->index + batch->count);
    sorted->count = last_of_each(batch, sorted->index, sorted->index);
    sorted->done = true;
  }
  *out = (lnt__order){sorted->index, sorted->count};
  return true;
}

lnt_status lnt__batch_ready(const lnt__batch *batch, lnt__order *out, lnt_error *err) {
  if (!batch->failed && lnt__batch_order(batch, out)) return LNT_OK;
  return lnt__fail(err, LNT_ENOMEM, "out of memory for a batch of %zu records, %zu bytes; nothing was committed", batch->count,
                   batch->size);
}

const char *lnt__table_name(lnt__table table) {
  static const char *const names[] = {
#define LNT__X(name, number, text) [number] = #name,
      LNT__TABLE_MAP(LNT__X)
#undef LNT__X
  };
  return (unsigned)table < LNT__COUNT(names) ? names[table] : "UNKNOWN";
}

lnt__store_fault lnt__store_fault_drawn(void) {
  if (lnt__fault_hit(LNT__FAULT_commit_lost)) return LNT__STORE_LOST;
  if (lnt__fault_hit(LNT__FAULT_commit_full)) return LNT__STORE_FULL;
  return lnt__fault_hit(LNT__FAULT_commit_unacknowledged) ? LNT__STORE_UNACKNOWLEDGED : LNT__STORE_OK;
}

lnt_status lnt__store_fault_status(lnt__store_fault fault, lnt_error *err) {
  static const struct { lnt_status status; const char *text; } answers[] = {
      [LNT__STORE_OK] = {LNT_OK, ""},
      [LNT__STORE_LOST] = {LNT_EIO, "the commit failed (a fault that was asked for)"},
      [LNT__STORE_UNACKNOWLEDGED] = {LNT_EIO, "the commit failed (a fault that was asked for)"},
      [LNT__STORE_FULL] = {LNT_EFULL, "no room for the commit (a fault that was asked for)"},
  };
  return fault == LNT__STORE_OK ? LNT_OK : lnt__fail(err, answers[fault].status, "%s", answers[fault].text);
}
