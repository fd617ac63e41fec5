/* store_lmdb.c - a store in a directory, on LMDB: one named database for each table. The only file that knows LMDB's API.
 * Called through the vtable of store.h: commits by the owner thread or the committer thread, reads by the owner thread (and by any
 * other, at the price of one allocation while two read at once). Opening and closing may happen on any thread.
 *
 * What was measured (2 cores, ext4, 200 records of 120 B for 200 runs a commit; only the ratios matter):
 *  - Records in the order of their keys cost 1.6 times less CPU than in any order: LMDB's cursor stays on its leaf. MDB_APPEND, where it
 *    applies, gains another 0.02 us a record, a hundredth of a synced commit; but it leaves full pages, which split as soon as a row grows
 *    or a run goes on: 200 chains of ten steps then cost 3 to 7 % more. Not used.
 *  - Writing zeros ahead of the data, some hundred pages at once (make_room), makes synced commits about 1.2 times faster while the file
 *    grows: a page that exists already needs no new metadata. It also meets a full disk before a commit begins.
 *  - MDB_WRITEMAP makes synced commits 1.2 to 1.6 times slower than plain writes, a full disk kills the process with SIGBUS in place of
 *    an error, and a stray pointer of the host could write into the data. Not used.
 *  - MDB_NOMEMINIT gains nothing that stands out of the noise, and would put leftover heap memory on the disk. Not used.
 *  - MDB_NORDAHEAD makes no difference to commits, and replays at start profit from readahead. Not used. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* a rwlock that lets writers in, O_CLOEXEC */
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lmdb.h>

#include "base/hash.h"
#include "store/batch.h"
#include "store/lmdb_file.h"
#include "store/store_dir.h"

#define MAP_START (1ull << 20) /* address space, not disk; doubling costs some hundred microseconds, so it may start small */
#define MAP_MIN (256ull << 10)
#define BYTES_MAX_DEFAULT (1ull << 40)
/* A store at bytes_max may grow this much further for a batch that only deletes: LMDB needs new pages even to free some. */
#define RESERVE_BYTES (1ull << 20)
/* Zeros are written ahead when less than this is left, a quarter of the data at once, within these bounds. */
#define ROOM_MARGIN (128ull << 10)
#define ROOM_MAX (1ull << 20)
#define LOCK_FILE_BYTES 8192 /* of lock.mdb, for LMDB's 126 readers */
#define KEY_SHOWN_MAX 40

/* One directory that this process has open. LMDB must not open a directory twice in one process (closing one would drop the file locks
 * of the other), so a reader beside an owner shares its environment. */
typedef struct env {
  struct env *next;
  dev_t device;
  ino_t inode;
  pid_t pid;
  unsigned handles;
  bool owned; /* one of the handles is the owner's */

  lnt__store_dir dir;
  char *file; /* the path of data.mdb */
  MDB_env *mdb; /* NULL: a failure closed it, and the next commit opens it again */
  MDB_dbi tables[LNT__TABLE_COUNT];
  unsigned flags;
  bool unsynced, marked, was_unclean;
  uint64_t bytes_max, map_bytes, file_bytes;
  size_t page_bytes;

  pthread_rwlock_t map_lock; /* reads share it; who moves the map has it alone */
  atomic_flag reader_taken;  /* the cached reader below is in use */
  MDB_txn *reader;
  MDB_cursor *cursors[LNT__TABLE_COUNT];
} env;

typedef struct lmdb_store {
  lnt__store base;
  env *env;
  bool read_only;
} lmdb_store;

static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list, held while opening and closing */
static env *open_envs;

static env *env_of(lnt__store *store) { return ((lmdb_store *)store)->env; }

/* ---- Errors ---- */

static bool is_no_room(int rc) { return rc == ENOSPC || rc == EDQUOT || rc == EFBIG; }

static lnt_status status_of(int rc) {
  static const struct { int rc; lnt_status status; } map[] = {
      {MDB_CORRUPTED, LNT_ECORRUPT},        {MDB_PAGE_NOTFOUND, LNT_ECORRUPT}, {MDB_INVALID, LNT_ECORRUPT},
      {MDB_VERSION_MISMATCH, LNT_ECORRUPT}, {MDB_INCOMPATIBLE, LNT_ECORRUPT},  {MDB_NOTFOUND, LNT_ECORRUPT},
      {MDB_READERS_FULL, LNT_EBUSY},        {EFBIG, LNT_EFULL},
  };
  for (size_t i = 0; i < LNT__COUNT(map); i++)
    if (map[i].rc == rc) return map[i].status;
  lnt_status status = rc > 0 ? lnt__status_of_errno(rc) : LNT_EIO;
  return status == LNT_ENOTFOUND || status == LNT_EINVAL ? LNT_EIO : status;
}

static lnt_status fail_mdb(const env *e, int rc, const char *what, lnt_error *err) {
  return lnt__fail(err, status_of(rc), "cannot %s %s: %s", what, e->dir.path, mdb_strerror(rc));
}

/* ---- The environment ---- */

static void drop_reader(env *e) {
  for (size_t i = 0; i < LNT__TABLE_COUNT; i++) {
    if (e->cursors[i]) mdb_cursor_close(e->cursors[i]);
    e->cursors[i] = NULL;
  }
  if (e->reader) mdb_txn_abort(e->reader);
  e->reader = NULL;
}

static void env_stop(env *e) {
  drop_reader(e);
  if (e->mdb) mdb_env_close(e->mdb);
  e->mdb = NULL;
}

/* The owner begins a transaction of writing even to look: an owner before it may have been killed after its last commit reached the file
 * and before it told so in lock.mdb, which a reader elsewhere has kept alive. Who takes the writer's lock next puts that right; until then
 * LMDB would show the state before that commit, and our first commit would go on top of something we had not seen. */
static int open_tables(env *e, bool create) {
  MDB_txn *txn;
  int rc = mdb_txn_begin(e->mdb, NULL, e->flags & MDB_RDONLY, &txn);
  if (rc) return rc;
  for (size_t i = 0; i < LNT__TABLE_COUNT && !rc; i++)
    rc = mdb_dbi_open(txn, lnt__table_name((lnt__table)i), create ? MDB_CREATE : 0, &e->tables[i]);
  if (!rc) return mdb_txn_commit(txn);
  mdb_txn_abort(txn);
  return rc;
}

/* LMDB maps lock.mdb and writes to it through memory, where a full disk is a SIGBUS: see to it that the file has its blocks. */
static int make_lock_file(const env *e) {
  int fd = openat(e->dir.fd, LNT__STORE_LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return errno;
  struct stat info;
  int rc = fstat(fd, &info) != 0 ? errno : info.st_size < LOCK_FILE_BYTES ? posix_fallocate(fd, 0, LOCK_FILE_BYTES) : 0;
  close(fd);
  return rc == EOPNOTSUPP || rc == EINVAL ? 0 : rc;
}

/* LMDB leaves the data file open over exec(), of its other files none. */
static void keep_from_children(const env *e) {
  mdb_filehandle_t fd;
  if (mdb_env_get_fd(e->mdb, &fd) == 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int env_open(env *e, bool create) {
  int rc = e->flags & MDB_NOLOCK ? 0 : make_lock_file(e);
  if (!rc) rc = mdb_env_create(&e->mdb);
  if (rc) return rc;
  rc = mdb_env_set_maxdbs(e->mdb, LNT__TABLE_COUNT);
  if (!rc && !(e->flags & MDB_RDONLY)) rc = mdb_env_set_mapsize(e->mdb, e->map_bytes);
  if (!rc) rc = mdb_env_open(e->mdb, e->dir.path, e->flags | (create ? MDB_NOSYNC : 0), 0666);
  if (!rc) keep_from_children(e);
  if (!rc && !(e->flags & MDB_NOLOCK)) rc = mdb_reader_check(e->mdb, NULL);
  if (!rc) rc = open_tables(e, create);
  return rc;
}

static uint64_t bytes_used(const env *e) {
  MDB_envinfo info;
  mdb_env_info(e->mdb, &info);
  return (info.me_last_pgno + 1) * e->page_bytes;
}

static lnt_status env_start(env *e, bool create, lnt_error *err) {
  MDB_envinfo info;
  MDB_stat stat;
  int rc = env_open(e, create);
  if (rc) {
    env_stop(e);
    if (status_of(rc) == LNT_EFULL)
      return lnt__fail(err, LNT_EFULL, "cannot open the store in %s: %s; free some room on its file system", e->dir.path, mdb_strerror(rc));
    return fail_mdb(e, rc, "open the store in", err);
  }
  mdb_env_info(e->mdb, &info);
  mdb_env_stat(e->mdb, &stat);
  e->map_bytes = info.me_mapsize;
  e->page_bytes = stat.ms_psize;
  e->file_bytes = 0;
  return LNT_OK;
}

/* After a failure that LMDB cannot get over (it could not write its head, or the map is gone): close, open again. */
static lnt_status env_restart(env *e, lnt_error *err) {
  pthread_rwlock_wrlock(&e->map_lock);
  env_stop(e);
  lnt_status status = env_start(e, false, err);
  pthread_rwlock_unlock(&e->map_lock);
  return status;
}

static lnt_status set_map(env *e, uint64_t bytes, lnt_error *err) {
  pthread_rwlock_wrlock(&e->map_lock);
  int rc = mdb_env_set_mapsize(e->mdb, bytes);
  MDB_envinfo info = {.me_mapsize = e->map_bytes};
  if (!rc) mdb_env_info(e->mdb, &info);
  e->map_bytes = info.me_mapsize;
  if (rc) env_stop(e); /* LMDB has unmapped the file by now */
  pthread_rwlock_unlock(&e->map_lock);
  if (!rc) return LNT_OK;
  lnt_status status = env_restart(e, err);
  if (status) return status;
  return lnt__fail(err, LNT_EFULL, "cannot map %" PRIu64 " bytes of %s: %s; raise the limit on address space (ulimit -v), and the commit "
                   "is tried again; nothing was lost", bytes, e->file, mdb_strerror(rc));
}

/* ---- Reading ---- */

typedef struct reading {
  MDB_txn *txn;
  bool cached; /* the environment's own reader, kept for the next read */
} reading;

static int reading_start(env *e, reading *r) {
  r->cached = !atomic_flag_test_and_set(&e->reader_taken);
  r->txn = r->cached ? e->reader : NULL;
  int rc = r->txn ? mdb_txn_renew(r->txn) : mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, &r->txn);
  if (!rc && r->cached) e->reader = r->txn;
  if (rc && r->cached) atomic_flag_clear(&e->reader_taken);
  return rc;
}

static void read_end(env *e, reading *r) {
  if (r->cached) {
    mdb_txn_reset(r->txn);
    atomic_flag_clear(&e->reader_taken);
  } else {
    mdb_txn_abort(r->txn);
  }
  pthread_rwlock_unlock(&e->map_lock);
}

/* The owner in another process has let the file outgrow our map. */
static int follow_map(env *e) {
  pthread_rwlock_wrlock(&e->map_lock);
  int rc = mdb_env_set_mapsize(e->mdb, 0);
  if (rc) env_stop(e);
  pthread_rwlock_unlock(&e->map_lock);
  return rc;
}

static lnt_status read_begin(env *e, reading *r, lnt_error *err) {
  for (int attempt = 0;; attempt++) {
    pthread_rwlock_rdlock(&e->map_lock);
    int rc = e->mdb ? reading_start(e, r) : MDB_PANIC;
    if (!rc) return LNT_OK;
    if (rc == MDB_READERS_FULL && attempt == 0) mdb_reader_check(e->mdb, NULL);
    pthread_rwlock_unlock(&e->map_lock);
    if (rc == MDB_MAP_RESIZED && attempt < 100) rc = follow_map(e);
    else if (rc == MDB_READERS_FULL && attempt == 0) rc = 0;
    if (rc) return fail_mdb(e, rc, "read", err);
  }
}

static lnt_status lmdb_get(lnt__store *store, lnt__table table, const void *key, size_t key_size, void **out, size_t *size,
                           lnt_error *err) {
  env *e = env_of(store);
  reading r;
  if (key_size == 0 || key_size > LNT__KEY_BYTES_MAX) return LNT_ENOTFOUND;
  lnt_status status = read_begin(e, &r, err);
  if (status) return status;
  MDB_val wanted = {key_size, (void *)key}, found;
  int rc = mdb_get(r.txn, e->tables[table], &wanted, &found);
  char *copy = rc ? NULL : lnt__alloc(found.mv_size + 1);
  if (copy) {
    if (found.mv_size) memcpy(copy, found.mv_data, found.mv_size);
    copy[found.mv_size] = 0;
    *out = copy;
    *size = found.mv_size;
  }
  read_end(e, &r);
  if (rc == MDB_NOTFOUND) return LNT_ENOTFOUND;
  if (rc) return fail_mdb(e, rc, "read", err);
  return copy ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory for a value of %zu bytes", found.mv_size);
}

static int cursor_open(env *e, const reading *r, lnt__table table, MDB_cursor **out) {
  if (!r->cached) return mdb_cursor_open(r->txn, e->tables[table], out);
  int rc = e->cursors[table] ? mdb_cursor_renew(r->txn, e->cursors[table]) : mdb_cursor_open(r->txn, e->tables[table], &e->cursors[table]);
  *out = e->cursors[table];
  return rc;
}

static int seek_first(MDB_cursor *cursor, lnt__slice from, MDB_val *key, MDB_val *value) {
  *key = (MDB_val){from.size, (void *)from.data};
  return mdb_cursor_get(cursor, key, value, from.size ? MDB_SET_RANGE : MDB_FIRST);
}

static int seek_last(MDB_cursor *cursor, lnt__slice to, MDB_val *key, MDB_val *value) {
  int rc = to.size ? seek_first(cursor, to, key, value) : MDB_NOTFOUND;
  return mdb_cursor_get(cursor, key, value, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
}

static int visit(MDB_cursor *cursor, lnt__slice from, lnt__slice to, bool reverse, lnt__scan_fn fn, void *user) {
  MDB_val key, value;
  lnt__slice end = reverse ? from : to;
  int rc = reverse ? seek_last(cursor, to, &key, &value) : seek_first(cursor, from, &key, &value);
  while (!rc) {
    lnt__slice k = {key.mv_data, key.mv_size}, v = {value.mv_data, value.mv_size};
    if (reverse ? end.size && lnt__slice_compare(k, end) < 0 : end.size && lnt__slice_compare(k, end) >= 0) return 0;
    if (fn(user, k, v)) return 0;
    rc = mdb_cursor_get(cursor, &key, &value, reverse ? MDB_PREV : MDB_NEXT);
  }
  return rc == MDB_NOTFOUND ? 0 : rc;
}

static lnt_status lmdb_scan(lnt__store *store, lnt__table table, lnt__slice from, lnt__slice to, bool reverse, lnt__scan_fn fn, void *user,
                            lnt_error *err) {
  env *e = env_of(store);
  reading r;
  MDB_cursor *cursor = NULL;
  lnt_status status = read_begin(e, &r, err);
  if (status) return status;
  int rc = cursor_open(e, &r, table, &cursor);
  if (!rc) rc = visit(cursor, from, to, reverse, fn, user);
  if (cursor && !r.cached) mdb_cursor_close(cursor);
  read_end(e, &r);
  return rc ? fail_mdb(e, rc, "read", err) : LNT_OK;
}

static lnt_status lmdb_info(lnt__store *store, lnt__store_info *out, lnt_error *err) {
  env *e = env_of(store);
  reading r;
  lnt_status status = read_begin(e, &r, err);
  if (status) return status;
  *out = (lnt__store_info){.bytes_used = bytes_used(e), .bytes_max = e->bytes_max, .was_unclean = e->was_unclean};
  int rc = 0;
  for (size_t i = 0; i < LNT__TABLE_COUNT && !rc; i++) {
    MDB_stat stat;
    rc = mdb_stat(r.txn, e->tables[i], &stat);
    if (!rc) out->records += stat.ms_entries;
  }
  read_end(e, &r);
  return rc ? fail_mdb(e, rc, "read", err) : LNT_OK;
}

/* ---- Committing ---- */

static int apply_op(MDB_cursor *cursor, const lnt__batch *batch, const lnt__op *op) {
  lnt__slice key = lnt__op_key(batch, op), value = lnt__op_value(batch, op);
  MDB_val k = {key.size, (void *)key.data}, v = {value.size, (void *)value.data};
  if (!op->is_delete) return mdb_cursor_put(cursor, &k, &v, 0);
  int rc = mdb_cursor_get(cursor, &k, &v, MDB_SET);
  if (rc == MDB_NOTFOUND) return 0;
  return rc ? rc : mdb_cursor_del(cursor, 0);
}

static int apply_all(env *e, MDB_txn *txn, const lnt__batch *batch, const lnt__order *order) {
  MDB_cursor *cursor = NULL;
  unsigned table = LNT__TABLE_COUNT;
  int rc = 0;
  for (size_t i = 0; i < order->count && !rc; i++) {
    const lnt__op *op = lnt__order_at(batch, order, i);
    if (op->table != table) {
      if (cursor) mdb_cursor_close(cursor);
      cursor = NULL;
      table = op->table;
      rc = mdb_cursor_open(txn, e->tables[table], &cursor);
    }
    if (!rc) rc = apply_op(cursor, batch, op);
  }
  if (cursor) mdb_cursor_close(cursor);
  return rc;
}

static int apply(env *e, const lnt__batch *batch, const lnt__order *order) {
  MDB_txn *txn;
  int rc = mdb_txn_begin(e->mdb, NULL, 0, &txn);
  if (rc) return rc;
  rc = apply_all(e, txn, batch, order);
  if (!rc) return mdb_txn_commit(txn);
  mdb_txn_abort(txn);
  return rc;
}

/* Write zeros behind the data until the file has `bytes`. Answers an errno. `file_bytes` is never below what LMDB uses. */
static int write_ahead(env *e, uint64_t bytes) {
  static uint8_t zeros[64 << 10]; /* not const: it must not take up room in the library's file */
  mdb_filehandle_t fd;
  mdb_env_get_fd(e->mdb, &fd);
  while (e->file_bytes < bytes) {
    uint64_t left = bytes - e->file_bytes;
    ssize_t done = pwrite(fd, zeros, left < sizeof zeros ? (size_t)left : sizeof zeros, (off_t)e->file_bytes);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return done ? errno : ENOSPC;
    e->file_bytes += (uint64_t)done;
  }
  return 0;
}

/* Keep pages ready behind the data, for this commit and some to come. Their want is not an error: LMDB may do with pages it has freed. */
static int make_room(env *e, const lnt__batch *batch) {
  uint64_t used = bytes_used(e), margin = ROOM_MARGIN + 2 * (uint64_t)lnt__batch_bytes(batch);
  if (e->file_bytes < used) {
    struct stat info;
    mdb_filehandle_t fd;
    mdb_env_get_fd(e->mdb, &fd);
    e->file_bytes = fstat(fd, &info) == 0 && (uint64_t)info.st_size > used ? (uint64_t)info.st_size : used;
  }
  if (used + margin <= e->file_bytes) return 0;
  uint64_t wanted = used + margin + (used / 4 < ROOM_MAX ? used / 4 : ROOM_MAX);
  return write_ahead(e, wanted < e->map_bytes ? wanted : e->map_bytes);
}

static bool only_deletes(const lnt__batch *batch, const lnt__order *order) {
  for (size_t i = 0; i < order->count; i++)
    if (!lnt__order_at(batch, order, i)->is_delete) return false;
  return true;
}

static lnt_status grow_map(env *e, uint64_t bytes_max, lnt_error *err) {
  mdb_reader_check(e->mdb, NULL); /* a reader that died keeps pages from being used again */
  if (e->map_bytes < bytes_max) return set_map(e, e->map_bytes < bytes_max / 2 ? e->map_bytes * 2 : bytes_max, err);
  return lnt__fail(err, LNT_EFULL, "the store in %s is full: it has grown to its limit store_bytes_max, %" PRIu64
                   " bytes; raise the limit or delete finished instances; nothing was lost", e->dir.path, e->bytes_max);
}

/* LMDB reports a write that came to its end early as EIO, and on a disk that is filling up it does. */
static bool is_disk_full(env *e, int rc) {
  if (is_no_room(rc)) return true;
  if (rc != EIO) return false;
  uint64_t used = bytes_used(e);
  if (e->file_bytes < used) e->file_bytes = used;
  return is_no_room(write_ahead(e, e->file_bytes + ROOM_MARGIN));
}

static lnt_status commit_failed(env *e, int rc, const lnt__batch *batch, lnt_error *err) {
  bool full = is_disk_full(e, rc);
  MDB_txn *txn;
  int broken = mdb_txn_begin(e->mdb, NULL, MDB_RDONLY, &txn);
  if (!broken) mdb_txn_abort(txn);
  if (broken == MDB_PANIC && env_restart(e, NULL) != LNT_OK) full = false;
  if (status_of(rc) == LNT_ENOMEM)
    return lnt__fail(err, LNT_ENOMEM, "out of memory while committing to %s; nothing was committed", e->dir.path);
  if (!full)
    return lnt__fail(err, status_of(rc), "cannot commit %zu records to %s: %s; look at the disk and the system log",
                     lnt__batch_count(batch), e->dir.path, mdb_strerror(rc));
  return lnt__fail(err, LNT_EFULL, "no room on the file system of %s to commit %zu records (%zu bytes): free some, and the commit is tried "
                   "again; nothing was lost", e->dir.path, lnt__batch_count(batch), lnt__batch_bytes(batch));
}

static lnt_status prepare(env *e, lnt_error *err) {
  if (!e->mdb) {
    lnt_status status = env_restart(e, err);
    if (status) return status;
  }
  if (!e->unsynced || e->marked) return LNT_OK;
  lnt_status status = lnt__store_dir_mark(&e->dir, err);
  e->marked = !status;
  return status;
}

static lnt_status commit_order(env *e, const lnt__batch *batch, const lnt__order *order, lnt_error *err) {
  lnt_status status = prepare(e, err);
  uint64_t bytes_max = e->bytes_max + (only_deletes(batch, order) ? RESERVE_BYTES : 0);
  int rc = MDB_MAP_FULL;
  while (!status && rc == MDB_MAP_FULL) {
    if (!e->unsynced) make_room(e, batch);
    rc = apply(e, batch, order);
    if (rc == MDB_MAP_FULL) status = grow_map(e, bytes_max, err);
  }
  if (status) return status;
  if (rc) return commit_failed(e, rc, batch, err);
  if (e->map_bytes > e->bytes_max && set_map(e, e->bytes_max, NULL) != LNT_OK) { /* the next commit opens the map again */
  }
  return LNT_OK;
}

static lnt_status lmdb_commit(lnt__store *store, const lnt__batch *batch, lnt_error *err) {
  env *e = env_of(store);
  lnt__order order;
  if (((lmdb_store *)store)->read_only) return lnt__fail(err, LNT_EREADONLY, "%s is open read-only: nothing can be committed", e->dir.path);
  lnt_status status = lnt__batch_ready(batch, &order, err);
  if (status || order.count == 0) return status;
  lnt__store_fault fault = lnt__store_fault_drawn();
  if (fault == LNT__STORE_LOST || fault == LNT__STORE_FULL) return lnt__store_fault_status(fault, err);
  status = commit_order(e, batch, &order, err);
  return status ? status : lnt__store_fault_status(fault, err);
}

/* ---- Opening ---- */

typedef struct checking {
  lnt__record_check_fn check;
  uint64_t records;
} checking;

static bool table_of(const char *name, lnt__table *out) {
  for (size_t i = 0; i < LNT__TABLE_COUNT; i++)
    if (strcmp(name, lnt__table_name((lnt__table)i)) == 0) return *out = (lnt__table)i, true;
  return false;
}

static lnt_status check_record(void *user, const char *name, lnt__slice key, lnt__slice value, lnt_error *err) {
  checking *c = user;
  lnt__table table;
  c->records++;
  if (!table_of(name, &table)) return lnt__fail(err, LNT_ECORRUPT, "there is no table %s", name);
  lnt_status status = c->check ? c->check(table, key, value, err) : LNT_OK;
  if (!status) return LNT_OK;
  if (err->code != status) lnt__fail(err, status, "%s", lnt_status_text(status));
  char hex[2 * KEY_SHOWN_MAX + 1];
  lnt__hex(key.data, key.size < KEY_SHOWN_MAX ? key.size : KEY_SHOWN_MAX, hex);
  return lnt__fail_prefix(err, status, "table %s, key %s%s", name, hex, key.size > KEY_SHOWN_MAX ? "..." : "");
}

static void say(const lnt__store_options *options, lnt_log_level level, const char *message) {
  if (options->log) options->log(options->log_user, level, NULL, message);
}

static lnt_status fail_damaged(const env *e, lnt_error *err) {
  return lnt__fail_prefix(err, LNT_ECORRUPT, "cannot open %s (put back a snapshot, or give another directory)", e->dir.path);
}

/* The machine stopped while commits were not synced: any page may be old, new or empty. Look at each before LMDB does. */
static lnt_status check_after_reboot(const env *e, const lnt__store_options *options, lnt__record_check_fn check, lnt_error *err) {
  checking c = {.check = check};
  lnt_error found = {LNT_OK, ""};
  char text[LNT_ERROR_MESSAGE_MAX];
  lnt_status status = lnt__lmdb_file_check(e->file, check_record, &c, &found);
  if (!status) {
    snprintf(text, sizeof text, "%s was not closed before the machine stopped, and its commits were not synced: %" PRIu64 " records "
             "checked, all sound; the last commits may be missing", e->dir.path, c.records);
    say(options, LNT_LOG_WARN, text);
    return LNT_OK;
  }
  if (status == LNT_ECORRUPT)
    lnt__fail_prefix(&found, status, "%s was not closed before the machine stopped, its commits were not synced, and it is damaged (put "
                     "back a snapshot, or give another directory)", e->dir.path);
  say(options, LNT_LOG_ERROR, found.message);
  return lnt__fail(err, status, "%s", found.message);
}

static lnt_status check_structure(const env *e, bool whole, lnt_error *err) {
  lnt_status status = whole ? lnt__lmdb_file_check(e->file, NULL, NULL, err) : lnt__lmdb_file_glance(e->file, err);
  return status == LNT_ECORRUPT ? fail_damaged(e, err) : status;
}

/* Is the data fit to be opened by LMDB, which trusts it? */
static lnt_status check_data(env *e, const lnt__store_options *options, lnt__record_check_fn check, lnt_error *err) {
  lnt__lmdb_header before, after;
  lnt_status status = lnt__lmdb_file_header(e->file, &before, err);
  if (status) return status == LNT_ECORRUPT ? fail_damaged(e, err) : status;
  e->page_bytes = before.page_bytes;
  lnt__store_mark mark = lnt__store_dir_marked(&e->dir);
  e->was_unclean = mark != LNT__STORE_CLEAN;
  if (mark == LNT__STORE_REBOOTED) status = check_after_reboot(e, options, check, err);
  else if (before.is_short || !options->read_only) status = check_structure(e, before.is_short, err);
  if (status != LNT_ECORRUPT || !options->read_only) return status;
  /* Beside a reader an owner may be at work, which has checked already, and what was read was no one state. */
  bool moved = lnt__lmdb_file_header(e->file, &after, NULL) == LNT_OK && after.txn != before.txn;
  return moved ? LNT_OK : status;
}

static uint64_t choose_map(const env *e, uint64_t used) {
  uint64_t bytes = MAP_START;
  while (bytes < used + used / 4) bytes *= 2;
  return bytes < e->bytes_max ? bytes : e->bytes_max;
}

static void set_bytes_max(env *e, uint64_t bytes_max) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  if (bytes_max == 0) bytes_max = BYTES_MAX_DEFAULT;
  if (bytes_max < MAP_MIN) bytes_max = MAP_MIN; /* less than that does not hold the empty tables and a commit */
  e->bytes_max = bytes_max / page * page;
}

/* A reader needs lock.mdb, to tell the owner which pages it reads. On a read-only file system, or where nobody has ever opened the store
 * (a snapshot in a folder of somebody else's), there is nobody to tell. */
static lnt_status choose_locking(env *e, lnt_error *err) {
  if (faccessat(e->dir.fd, LNT__STORE_LOCK_FILE, R_OK | W_OK, AT_EACCESS) == 0) return LNT_OK;
  int number = errno;
  if (number == ENOENT && faccessat(e->dir.fd, ".", W_OK, AT_EACCESS) == 0) return LNT_OK;
  if (number != ENOENT && number != EROFS)
    return lnt__fail(err, LNT_EREADONLY, "cannot write %s/" LNT__STORE_LOCK_FILE ": %s; a reader needs that too, beside an owner: run as "
                     "the directory's user, or read a snapshot", e->dir.path, strerror(number));
  e->flags |= MDB_NOLOCK;
  return LNT_OK;
}

static lnt_status open_existing(env *e, const lnt__store_options *options, lnt__record_check_fn check, lnt_error *err) {
  lnt__lmdb_header header;
  lnt_status status = check_data(e, options, check, err);
  if (!status && options->read_only) status = choose_locking(e, err);
  if (!status) status = lnt__lmdb_file_header(e->file, &header, err);
  if (status) return status;
  e->map_bytes = choose_map(e, (header.last_page + 1) * header.page_bytes);
  return env_start(e, false, err);
}

/* Nothing is synced until all is there, then everything once. */
static lnt_status open_fresh(env *e, lnt_error *err) {
  e->map_bytes = choose_map(e, 0);
  lnt_status status = env_start(e, true, err);
  if (status) return status;
  int rc = e->unsynced ? 0 : mdb_env_sync(e->mdb, 1);
  if (!rc && !e->unsynced) rc = mdb_env_set_flags(e->mdb, MDB_NOSYNC, 0);
  return rc ? fail_mdb(e, rc, "make the store in", err) : lnt__store_dir_complete(&e->dir, !e->unsynced, err);
}

/* A mark that was left behind: what it warns of is over for a store that is synced from here on, or was checked just now. */
static lnt_status settle_mark(env *e, lnt_error *err) {
  lnt__store_mark mark = lnt__store_dir_marked(&e->dir);
  if (mark == LNT__STORE_CLEAN) return LNT_OK;
  if (mark == LNT__STORE_UNCLEAN && e->unsynced) return e->marked = true, LNT_OK;
  int rc = mdb_env_sync(e->mdb, 1);
  if (rc) return fail_mdb(e, rc, "sync", err);
  lnt__store_dir_unmark(&e->dir);
  return LNT_OK;
}

static void env_finish(env *e) {
  env_stop(e);
  lnt__store_dir_close(&e->dir);
  pthread_rwlock_destroy(&e->map_lock);
  lnt__free(e->file);
  lnt__free(e);
}

static env *env_create(const lnt__store_options *options) {
  env *e = lnt__calloc(1, sizeof *e);
  if (!e) return NULL;
  e->dir = (lnt__store_dir){.fd = -1, .lock_fd = -1};
  e->pid = getpid();
  e->unsynced = options->durability == LNT_DURABILITY_PROCESS;
  e->flags = MDB_NOTLS | (options->read_only ? MDB_RDONLY : e->unsynced ? MDB_NOSYNC : 0);
  e->owned = !options->read_only;
  set_bytes_max(e, options->bytes_max);
  atomic_flag_clear(&e->reader_taken);
  pthread_rwlockattr_t attr;
  pthread_rwlockattr_init(&attr);
#ifdef __GLIBC__
  pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP); /* a busy reader must not hold up a commit for ever */
#endif
  pthread_rwlock_init(&e->map_lock, &attr);
  pthread_rwlockattr_destroy(&attr);
  return e;
}

static lnt_status env_load(env *e, const lnt__store_options *options, lnt__record_check_fn check, lnt_error *err) {
  struct stat info;
  lnt_status status = lnt__store_dir_open(&e->dir, options->dir, options->read_only, err);
  if (status) return status;
  e->file = lnt__store_dir_file(e->dir.path, LNT__STORE_DATA_FILE);
  if (!e->file) return lnt__fail(err, LNT_ENOMEM, "out of memory while opening %s", e->dir.path);
  if (fstat(e->dir.fd, &info) != 0) return lnt__fail(err, LNT_EIO, "cannot open %s: %s", e->dir.path, strerror(errno));
  e->device = info.st_dev;
  e->inode = info.st_ino;
  status = e->dir.fresh ? open_fresh(e, err) : open_existing(e, options, check, err);
  return status || options->read_only ? status : settle_mark(e, err);
}

/* What this process has open of the same directory. An entry of another process was inherited through fork(), and is not ours to use. */
static env *find_open(const char *path) {
  struct stat info;
  if (!path || stat(path, &info) != 0) return NULL;
  for (env *e = open_envs; e; e = e->next)
    if (e->device == info.st_dev && e->inode == info.st_ino && e->pid == getpid()) return e;
  return NULL;
}

static lnt_status find_or_load(const lnt__store_options *options, lnt__record_check_fn check, env **out, lnt_error *err) {
  env *e = find_open(options->dir);
  *out = e;
  if (e && options->read_only) return LNT_OK;
  if (e)
    return lnt__fail(err, LNT_EBUSY, "%s is in use by this process already%s: close that runtime first", options->dir,
                     e->owned ? "" : ", which reads it");
  e = env_create(options);
  if (!e) return lnt__fail(err, LNT_ENOMEM, "out of memory while opening %s", options->dir ? options->dir : "a store");
  lnt_status status = env_load(e, options, check, err);
  if (status) return env_finish(e), status;
  e->next = open_envs;
  open_envs = *out = e;
  return LNT_OK;
}

static void release(env *e, bool owner) {
  if (owner) {
    if (e->marked && e->mdb && mdb_env_sync(e->mdb, 1) == 0) lnt__store_dir_unmark(&e->dir);
    e->owned = false;
  }
  if (--e->handles) {
    if (owner) lnt__store_dir_unlock(&e->dir);
    return;
  }
  for (env **at = &open_envs; *at; at = &(*at)->next) {
    if (*at != e) continue;
    *at = e->next;
    break;
  }
  env_finish(e);
}

/* In a child made by fork() the environment is the parent's: LMDB has no way to leave it alone but this. */
static void lmdb_destroy(lnt__store *store) {
  if (!store) return;
  lmdb_store *s = (lmdb_store *)store;
  pthread_mutex_lock(&open_lock);
  if (s->env->pid == getpid()) release(s->env, !s->read_only);
  pthread_mutex_unlock(&open_lock);
  lnt__free(s);
}

/* ---- Copying ---- */

static lnt_status sync_file(const lnt__store_dir *dir, const char *name, lnt_error *err) {
  int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC);
  bool done = fd >= 0 && fsync(fd) == 0;
  int number = errno;
  if (fd >= 0) close(fd);
  return done ? LNT_OK : lnt__fail(err, lnt__status_of_errno(number), "cannot write %s/%s: %s", dir->path, name, strerror(number));
}

/* Without compaction, which would start a thread. */
static lnt_status copy_data(env *e, const lnt__store_dir *target, lnt_error *err) {
  reading r;
  lnt_status status = read_begin(e, &r, err); /* follows the map of an owner elsewhere, which copying does not */
  if (status) return status;
  read_end(e, &r);
  pthread_rwlock_rdlock(&e->map_lock);
  int rc = e->mdb ? mdb_env_copy2(e->mdb, target->path, 0) : MDB_PANIC;
  pthread_rwlock_unlock(&e->map_lock);
  if (rc) return lnt__fail(err, status_of(rc), "cannot copy %s to %s: %s", e->dir.path, target->path, mdb_strerror(rc));
  return sync_file(target, LNT__STORE_DATA_FILE, err);
}

static lnt_status lmdb_copy(lnt__store *store, const char *path, lnt_error *err) {
  lnt__store_dir target;
  lnt_status status = lnt__store_dir_create(&target, path, err);
  if (status) return status;
  status = copy_data(env_of(store), &target, err);
  if (!status) status = lnt__store_dir_complete(&target, true, err);
  if (status) lnt__store_dir_remove(target.path);
  lnt__store_dir_close(&target);
  return status;
}

static const lnt__store_vtable lmdb_vtable = {lmdb_commit, lmdb_get, lmdb_scan, lmdb_copy, lmdb_info, lmdb_destroy};

lnt_status lnt__store_open_lmdb(const lnt__store_options *options, lnt__record_check_fn check, lnt__store **out, lnt_error *err) {
  lmdb_store *s = lnt__calloc(1, sizeof *s);
  if (!s) return lnt__fail(err, LNT_ENOMEM, "out of memory while opening %s", options->dir ? options->dir : "a store");
  pthread_mutex_lock(&open_lock);
  lnt_status status = find_or_load(options, check, &s->env, err);
  if (!status) s->env->handles++;
  pthread_mutex_unlock(&open_lock);
  if (status) {
    lnt__free(s);
    return status;
  }
  s->base.vtable = &lmdb_vtable;
  s->read_only = options->read_only;
  *out = &s->base;
  return LNT_OK;
}
