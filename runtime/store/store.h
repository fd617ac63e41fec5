/* store.h - where records live: ordered tables of bytes, written in atomic batches.
 *
 * Who calls: the journal reads on the owner thread; the driver commits, on the owner thread or on its committer thread. One commit at a
 * time; reads may run beside a commit and see the state before or after it, never between. The store knows nothing of what the bytes mean.
 *
 * Kinds: store_lmdb.c (a directory), store_mem.c (memory), store_fault.c (wraps another store and fails on command). All pass
 * spec/c/store_conformance.c. */
#ifndef LNT__STORE_H
#define LNT__STORE_H

#include "base/base.h"

/* X(name, number, what). The number is part of the format. */
#define LNT__TABLE_MAP(X)                                                                                              \
  X(META, 0, "name -> value: format version, identity")                                                                \
  X(INSTANCE, 1, "run -> instance row")                                                                                \
  X(ID, 2, "instance id -> run of its newest generation")                                                              \
  X(HISTORY, 3, "(run, record number) -> events")                                                                      \
  X(ACTIVE, 4, "run -> empty: has events to consume or activities to run")                                             \
  X(TIMER, 5, "(due, run, seq) -> empty")                                                                              \
  X(CODE, 6, "hash -> source bundle")                                                                                  \
  X(CODE_NAME, 7, "(workflow, hash) -> when it became current, and its file")                                              \
  X(INDEX, 8, "(kind, what, run) -> empty: how lists find instances")                                                  \
  X(HEARTBEAT, 9, "(run, seq) -> details of a running attempt")                                                        \
  X(PAYLOAD, 10, "(run, record, place) -> a large value of that record, or of the row")

typedef enum lnt__table {
#define LNT__X(name, number, text) LNT__TABLE_##name = number,
  LNT__TABLE_MAP(LNT__X)
#undef LNT__X
      LNT__TABLE_COUNT
} lnt__table;

#define LNT__KEY_BYTES_MAX 400

typedef struct lnt__slice { const void *data; size_t size; } lnt__slice;

/* A batch: puts and deletes that land together or not at all. Keys and values are copied into it. The last write to a key wins.
 * A batch is built by one thread and may be handed to another. */
typedef struct lnt__batch lnt__batch;
lnt__batch *lnt__batch_create(void);        /* NULL: out of memory */
void lnt__batch_destroy(lnt__batch *batch); /* NULL accepted */
void lnt__batch_clear(lnt__batch *batch);   /* keeps its memory for the next use */
/* false: out of memory; the batch is then unusable until cleared (lnt__batch_failed) */
bool lnt__batch_put(lnt__batch *batch, lnt__table table, const void *key, size_t key_size, const void *value, size_t value_size);
bool lnt__batch_delete(lnt__batch *batch, lnt__table table, const void *key, size_t key_size);
bool lnt__batch_failed(const lnt__batch *batch);
size_t lnt__batch_count(const lnt__batch *batch);
/* The value that the batch puts at `key`, valid until it changes; false: it puts none there. Looks at each operation. */
bool lnt__batch_find(const lnt__batch *batch, lnt__table table, lnt__slice key, lnt__slice *value);
bool lnt__batch_deletes(const lnt__batch *batch, lnt__table table, lnt__slice key); /* that is what it does to the key in the end */
size_t lnt__batch_bytes(const lnt__batch *batch);

/* Return non-zero to stop the scan. Key and value are valid until it returns. It must not call the store. */
typedef int (*lnt__scan_fn)(void *user, lnt__slice key, lnt__slice value);

typedef struct lnt__store_info { uint64_t bytes_used, bytes_max, records; bool was_unclean; } lnt__store_info;

typedef struct lnt__store lnt__store;
typedef struct lnt__store_vtable {
  /* Apply the batch. LNT_OK: it is as durable as the store was opened to be. LNT_EFULL: no room, nothing was applied, the same batch
   * may be tried again. LNT_EIO, LNT_ECORRUPT, LNT_ENOMEM: nothing was applied, as far as this process can see; when the disk failed in
   * the last write of a commit, a later process may find it applied. LNT_EREADONLY. The batch is left as it was. An empty one does
   * nothing. */
  lnt_status (*commit)(lnt__store *store, const lnt__batch *batch, lnt_error *err);
  /* Copy the value into *out (release with lnt__free; NUL-terminated for convenience). LNT_ENOTFOUND leaves *err untouched. */
  lnt_status (*get)(lnt__store *store, lnt__table table, const void *key, size_t key_size, void **out, size_t *size, lnt_error *err);
  /* Visit keys k with from <= k < to in order (to.size 0: to the end), or in falling order with `reverse`. One snapshot: a commit beside
   * it may have to wait for its end. */
  lnt_status (*scan)(lnt__store *store, lnt__table table, lnt__slice from, lnt__slice to, bool reverse, lnt__scan_fn fn, void *user,
                     lnt_error *err);
  /* A consistent copy, synced: a directory that lnt__store_open_lmdb() opens, whatever the kind of this store. LNT_EEXIST: `path` is there
   * already. LNT_EINVAL: the folder it should be in is not. LNT_EFULL, LNT_EREADONLY, LNT_EIO, LNT_ENOMEM. A failed copy leaves nothing. */
  lnt_status (*copy)(lnt__store *store, const char *path, lnt_error *err);
  lnt_status (*info)(lnt__store *store, lnt__store_info *out, lnt_error *err);
  void (*destroy)(lnt__store *store); /* syncs first when durability is PROCESS; marks a clean close */
} lnt__store_vtable;
struct lnt__store { const lnt__store_vtable *vtable; };

typedef struct lnt__store_options {
  const char *dir;
  lnt_durability durability;
  bool read_only;
  uint64_t bytes_max;     /* the map may grow to this; it starts small and doubles */
  lnt_log_fn log;         /* may be NULL */
  void *log_user;
} lnt__store_options;

/* Open a directory: takes its lock file (not when read_only), checks that it is ours (a file LUNATION beside the data), makes it when
 * absent. After an unclean end in durability PROCESS and a reboot since, every page and every record is verified before it is used (`check`
 * is called for each record; a non-OK answer is reported with table and key; NULL: no such check). Errors as lnt_open().
 * A reader may be opened beside an owner, in this process too; a second owner, or an owner after a reader in one process, gets LNT_EBUSY.
 * `log` is called before this returns, and never later. */
typedef lnt_status (*lnt__record_check_fn)(lnt__table table, lnt__slice key, lnt__slice value, lnt_error *err);
lnt_status lnt__store_open_lmdb(const lnt__store_options *options, lnt__record_check_fn check, lnt__store **out, lnt_error *err);
lnt_status lnt__store_open_memory(lnt__store **out, lnt_error *err);

/* A store that keeps its data in `inner` and fails on command. After crash() every call fails with LNT_EIO until reopen(); what was
 * committed is there again then. Owns `inner` unless `keep`. Calls as for any store; commands by the committing thread, between commits. */
typedef enum lnt__store_fault {
  LNT__STORE_OK,
  LNT__STORE_LOST,           /* not applied, answers EIO */
  LNT__STORE_UNACKNOWLEDGED, /* applied, answers EIO */
  LNT__STORE_FULL            /* not applied, answers EFULL */
} lnt__store_fault;
lnt_status lnt__store_open_fault(lnt__store *inner, bool keep, lnt__store **out, lnt_error *err);
void lnt__store_fault_crash(lnt__store *fault_store);
void lnt__store_fault_reopen(lnt__store *fault_store);
void lnt__store_fault_next(lnt__store *fault_store, lnt__store_fault fault, uint64_t after_commits); /* once, then OK again */
uint64_t lnt__store_fault_commits(const lnt__store *fault_store); /* commits tried so far */

#endif
