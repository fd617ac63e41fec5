/* batch.h - the inside of a batch, for the stores that apply it. Not for callers of store.h.
 * Built by one thread; lnt__batch_order() is called by the thread that commits, later. */
#ifndef LNT__BATCH_H
#define LNT__BATCH_H

#include "store/store.h"

/* Key and value stand one after the other in the batch's bytes. `prefix` is the key's first eight bytes, big-endian, zeros behind a short
 * key: it decides most comparisons without touching the bytes. */
typedef struct lnt__op {
  uint64_t prefix;
  size_t at;
  uint32_t value_size;
  uint16_t key_size;
  uint8_t table;
  bool is_delete;
} lnt__op;

struct lnt__batch {
  lnt__op *ops;
  size_t count, capacity;
  uint8_t *bytes;
  size_t size, bytes_capacity;
  bool failed;
  bool in_order;               /* each (table, key) is beyond the one before it: no sorting needed */
  struct lnt__sorting *sorting; /* what lnt__batch_order() worked out; apart, because a batch is const to a store */
};

static inline lnt__slice lnt__op_key(const lnt__batch *batch, const lnt__op *op) {
  return (lnt__slice){batch->bytes + op->at, op->key_size};
}
static inline lnt__slice lnt__op_value(const lnt__batch *batch, const lnt__op *op) {
  return (lnt__slice){batch->bytes + op->at + op->key_size, op->value_size};
}

/* The operations to apply, in (table, key) order, one for each key: the last. `index` NULL means every operation as it stands. Valid
 * until the batch changes. */
typedef struct lnt__order { const uint32_t *index; size_t count; } lnt__order;
bool lnt__batch_order(const lnt__batch *batch, lnt__order *out); /* false: out of memory */
static inline const lnt__op *lnt__order_at(const lnt__batch *batch, const lnt__order *order, size_t i) {
  return &batch->ops[order->index ? order->index[i] : i];
}

/* Order of keys: bytes, then length. */
int lnt__slice_compare(lnt__slice a, lnt__slice b);

const char *lnt__table_name(lnt__table table); /* "HISTORY"; static */

/* What the named faults of base/fault.h make of the next commit. Both stores that keep data ask it first. */
lnt__store_fault lnt__store_fault_drawn(void);
lnt_status lnt__store_fault_status(lnt__store_fault fault, lnt_error *err); /* what the caller of the commit is answered */

/* Refuse what no store can commit: LNT_OK, LNT_ENOMEM (the batch failed, or there is no memory to order it). */
lnt_status lnt__batch_ready(const lnt__batch *batch, lnt__order *out, lnt_error *err);

#endif
