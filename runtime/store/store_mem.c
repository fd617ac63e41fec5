/* store_mem.c - a store in memory: for hosts that need nothing after the process, and for the simulation.
 * One skip list a table. Its shape follows from a fixed seed and the order of writes, so a run repeats exactly. Any thread: reads share a
 * lock, a commit has it alone (and so waits for a scan to end). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_rwlock_t */
#endif
#include <pthread.h>

#include "base/rng.h"
#include "store/batch.h"
#include "store/store_dir.h"

#define LEVELS 20 /* each holds a quarter of the records of the one below: good for far more than memory has */
#define SEED 0x6c756e6174696f6eull
#define COPY_BATCH_BYTES (4u << 20)

/* The key and the value stand behind the links. */
typedef struct node {
  uint64_t prefix; /* the key's first eight bytes, as in lnt__op */
  struct node *before;
  uint32_t value_size;
  uint16_t key_size;
  uint8_t levels;
  struct node *next[];
} node;

typedef struct list {
  node *head; /* of LEVELS levels, before every key */
  int levels; /* in use */
  uint64_t count, bytes;
} list;

typedef struct mem_store {
  lnt__store base;
  pthread_rwlock_t lock;
  lnt__rng rng;
  list lists[LNT__TABLE_COUNT];
} mem_store;

static uint8_t *node_data(const node *n) { return (uint8_t *)(uintptr_t)&n->next[n->levels]; }
static lnt__slice node_key(const node *n) { return (lnt__slice){node_data(n), n->key_size}; }
static lnt__slice node_value(const node *n) { return (lnt__slice){node_data(n) + n->key_size, n->value_size}; }

/* ---- Searching ---- */

typedef struct wanted { uint64_t prefix; lnt__slice key; } wanted;

static wanted wanted_of(lnt__slice key) {
  uint64_t prefix = 0;
  for (size_t i = 0; i < 8 && i < key.size; i++) prefix |= (uint64_t)((const uint8_t *)key.data)[i] << (56 - 8 * i);
  return (wanted){prefix, key};
}

static int compare(const node *n, const wanted *w) {
  if (n->prefix != w->prefix) return n->prefix < w->prefix ? -1 : 1;
  return lnt__slice_compare(node_key(n), w->key);
}

/* Fill path[] with the last node before the key, on each level. The path of a smaller key may be there to start from: then a level that
 * was left behind is taken up where that search ended, unless this one has come further already. */
static void find_path(const list *l, const wanted *w, node **path) {
  node *at = path[l->levels - 1];
  bool moved = false;
  for (int level = l->levels - 1; level >= 0; level--) {
    if (!moved) at = path[level];
    for (node *next; (next = at->next[level]) && compare(next, w) < 0; at = next) moved = true;
    path[level] = at;
  }
}

static void start_path(const list *l, node **path) {
  for (int level = 0; level < LEVELS; level++) path[level] = l->head;
}

/* The first node whose key is not smaller; NULL: none. */
static node *find(const list *l, lnt__slice key) {
  node *path[LEVELS];
  wanted w = wanted_of(key);
  start_path(l, path);
  find_path(l, &w, path);
  return path[0]->next[0];
}

static node *last(const list *l) {
  node *at = l->head;
  for (int level = l->levels - 1; level >= 0; level--)
    while (at->next[level]) at = at->next[level];
  return at;
}

/* ---- Committing ---- */

static node *node_create(mem_store *s, const lnt__batch *batch, const lnt__op *op) {
  int levels = 1;
  uint64_t bits = lnt__rng_next(&s->rng);
  while (levels < LEVELS && (bits & 3) == 0) levels++, bits >>= 2;
  node *n = lnt__alloc(sizeof *n + (size_t)levels * sizeof *n->next + op->key_size + op->value_size);
  if (!n) return NULL;
  *n = (node){.prefix = op->prefix, .value_size = op->value_size, .key_size = op->key_size, .levels = (uint8_t)levels};
  memcpy(node_data(n), batch->bytes + op->at, (size_t)op->key_size + op->value_size);
  return n;
}

static void node_unlink(list *l, node *n, node **path) {
  for (int level = 0; level < n->levels; level++) path[level]->next[level] = n->next[level];
  if (n->next[0]) n->next[0]->before = n->before;
  l->count--;
  l->bytes -= (uint64_t)n->key_size + n->value_size;
  lnt__free(n);
}

static void node_link(list *l, node *n, node **path) {
  if (l->levels < n->levels) l->levels = n->levels; /* the path has the head on levels not in use */
  for (int level = 0; level < n->levels; level++) {
    n->next[level] = path[level]->next[level];
    path[level]->next[level] = n;
  }
  n->before = path[0];
  if (n->next[0]) n->next[0]->before = n;
  l->count++;
  l->bytes += (uint64_t)n->key_size + n->value_size;
}

static void apply(mem_store *s, const lnt__batch *batch, const lnt__order *order, node **made) {
  node *path[LEVELS];
  unsigned table = LNT__TABLE_COUNT;
  for (size_t i = 0; i < order->count; i++) {
    const lnt__op *op = lnt__order_at(batch, order, i);
    list *l = &s->lists[op->table];
    if (op->table != table) start_path(l, path);
    table = op->table;
    wanted w = {op->prefix, lnt__op_key(batch, op)};
    find_path(l, &w, path);
    node *old = path[0]->next[0];
    if (old && compare(old, &w) == 0) node_unlink(l, old, path);
    if (made[i]) node_link(l, made[i], path);
  }
}

static void free_nodes(node **nodes, size_t count) {
  for (size_t i = 0; i < count; i++) lnt__free(nodes[i]);
  lnt__free(nodes);
}

/* All memory is got before anything changes. */
static node **make_nodes(mem_store *s, const lnt__batch *batch, const lnt__order *order) {
  node **made = lnt__calloc(order->count, sizeof *made);
  for (size_t i = 0; made && i < order->count; i++) {
    const lnt__op *op = lnt__order_at(batch, order, i);
    if (op->is_delete || (made[i] = node_create(s, batch, op))) continue;
    free_nodes(made, i);
    return NULL;
  }
  return made;
}

static lnt_status mem_commit(lnt__store *store, const lnt__batch *batch, lnt_error *err) {
  mem_store *s = (mem_store *)store;
  lnt__order order;
  lnt_status status = lnt__batch_ready(batch, &order, err);
  if (status || order.count == 0) return status;
  lnt__store_fault fault = lnt__store_fault_drawn();
  if (fault == LNT__STORE_LOST || fault == LNT__STORE_FULL) return lnt__store_fault_status(fault, err);
  pthread_rwlock_wrlock(&s->lock);
  node **made = make_nodes(s, batch, &order);
  if (made) apply(s, batch, &order, made);
  pthread_rwlock_unlock(&s->lock);
  if (!made)
    return lnt__fail(err, LNT_ENOMEM, "out of memory for %zu records in the memory store; nothing was committed", lnt__batch_count(batch));
  lnt__free(made);
  return lnt__store_fault_status(fault, err);
}

/* ---- Reading ---- */

static lnt_status mem_get(lnt__store *store, lnt__table table, const void *key, size_t key_size, void **out, size_t *size,
                          lnt_error *err) {
  mem_store *s = (mem_store *)store;
  lnt__slice wanted_key = {key, key_size};
  lnt_status status = LNT_ENOTFOUND;
  pthread_rwlock_rdlock(&s->lock);
  node *n = find(&s->lists[table], wanted_key);
  if (n && lnt__slice_compare(node_key(n), wanted_key) == 0) {
    lnt__slice value = node_value(n);
    char *copy = lnt__alloc(value.size + 1);
    status = copy ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory for a value of %zu bytes", value.size);
    if (copy) {
      memcpy(copy, value.data, value.size);
      copy[value.size] = 0;
      *out = copy;
      *size = value.size;
    }
  }
  pthread_rwlock_unlock(&s->lock);
  return status;
}

static void visit(const list *l, lnt__slice from, lnt__slice to, lnt__scan_fn fn, void *user) {
  for (node *n = from.size ? find(l, from) : l->head->next[0]; n; n = n->next[0]) {
    lnt__slice key = node_key(n);
    if (to.size && lnt__slice_compare(key, to) >= 0) return;
    if (fn(user, key, node_value(n))) return;
  }
}

static void visit_reverse(const list *l, lnt__slice from, lnt__slice to, lnt__scan_fn fn, void *user) {
  node *beyond = to.size ? find(l, to) : NULL;
  for (node *n = beyond ? beyond->before : last(l); n != l->head; n = n->before) {
    lnt__slice key = node_key(n);
    if (from.size && lnt__slice_compare(key, from) < 0) return;
    if (fn(user, key, node_value(n))) return;
  }
}

static lnt_status mem_scan(lnt__store *store, lnt__table table, lnt__slice from, lnt__slice to, bool reverse, lnt__scan_fn fn, void *user,
                           lnt_error *err) {
  mem_store *s = (mem_store *)store;
  (void)err;
  pthread_rwlock_rdlock(&s->lock);
  (reverse ? visit_reverse : visit)(&s->lists[table], from, to, fn, user);
  pthread_rwlock_unlock(&s->lock);
  return LNT_OK;
}

static lnt_status mem_info(lnt__store *store, lnt__store_info *out, lnt_error *err) {
  mem_store *s = (mem_store *)store;
  (void)err;
  *out = (lnt__store_info){0};
  pthread_rwlock_rdlock(&s->lock);
  for (size_t i = 0; i < LNT__TABLE_COUNT; i++) {
    out->records += s->lists[i].count;
    out->bytes_used += s->lists[i].bytes;
  }
  pthread_rwlock_unlock(&s->lock);
  return LNT_OK;
}

/* ---- Copying: to a directory, which a later runtime may open ---- */

typedef struct copying {
  lnt__store *to;
  lnt__batch *batch;
  lnt__table table;
  lnt_status status;
  lnt_error *err;
} copying;

static void copy_flush(copying *c) {
  if (!c->status) c->status = c->to->vtable->commit(c->to, c->batch, c->err);
  lnt__batch_clear(c->batch);
}

static int copy_record(void *user, lnt__slice key, lnt__slice value) {
  copying *c = user;
  lnt__batch_put(c->batch, c->table, key.data, key.size, value.data, value.size);
  if (lnt__batch_bytes(c->batch) >= COPY_BATCH_BYTES) copy_flush(c);
  return c->status != LNT_OK;
}

static lnt_status copy_tables(mem_store *s, lnt__store *to, lnt_error *err) {
  copying c = {.to = to, .batch = lnt__batch_create(), .err = err};
  if (!c.batch) return lnt__fail(err, LNT_ENOMEM, "out of memory for a copy");
  pthread_rwlock_rdlock(&s->lock);
  for (c.table = 0; c.table < LNT__TABLE_COUNT && !c.status; c.table++)
    visit(&s->lists[c.table], (lnt__slice){0}, (lnt__slice){0}, copy_record, &c);
  if (!c.status) copy_flush(&c);
  pthread_rwlock_unlock(&s->lock);
  lnt__batch_destroy(c.batch);
  return c.status;
}

/* The directory is made first, which refuses one that exists; the store then takes it over as one begun and not finished. */
static lnt_status mem_copy(lnt__store *store, const char *path, lnt_error *err) {
  lnt__store *to;
  lnt__store_dir made;
  lnt_status status = lnt__store_dir_create(&made, path, err);
  if (status) return status;
  lnt__store_dir_close(&made);
  lnt__store_options options = {.dir = path, .durability = LNT_DURABILITY_SYNC};
  status = lnt__store_open_lmdb(&options, NULL, &to, err);
  if (!status) {
    status = copy_tables((mem_store *)store, to, err);
    to->vtable->destroy(to);
  }
  if (status) lnt__store_dir_remove(path);
  return status;
}

/* ---- Opening ---- */

static void mem_destroy(lnt__store *store) {
  if (!store) return;
  mem_store *s = (mem_store *)store;
  for (size_t i = 0; i < LNT__TABLE_COUNT; i++) {
    for (node *n = s->lists[i].head, *next; n; n = next) {
      next = n->next[0];
      lnt__free(n);
    }
  }
  pthread_rwlock_destroy(&s->lock);
  lnt__free(s);
}

static const lnt__store_vtable mem_vtable = {mem_commit, mem_get, mem_scan, mem_copy, mem_info, mem_destroy};

lnt_status lnt__store_open_memory(lnt__store **out, lnt_error *err) {
  mem_store *s = lnt__calloc(1, sizeof *s);
  if (!s) return lnt__fail(err, LNT_ENOMEM, "out of memory while opening a memory store");
  s->base.vtable = &mem_vtable;
  pthread_rwlock_init(&s->lock, NULL);
  lnt__rng_seed(&s->rng, SEED);
  for (size_t i = 0; i < LNT__TABLE_COUNT; i++) {
    node *head = lnt__calloc(1, sizeof *head + LEVELS * sizeof *head->next);
    if (!head) {
      mem_destroy(&s->base);
      return lnt__fail(err, LNT_ENOMEM, "out of memory while opening a memory store");
    }
    head->levels = LEVELS;
    s->lists[i] = (list){.head = head, .levels = 1};
  }
  *out = &s->base;
  return LNT_OK;
}
