/* test_store_lmdb.c - what only a directory can go through: other processes, kills, full disks, damage, strangers' files.
 *
 * The program's own pwrite(), writev() and fdatasync() stand before the C library's, so that LMDB's writes fail when a test says so. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/rng.h"
#include "check.h"
#include "scratch.h"
#include "store/lmdb_file.h"
#include "store/store_dir.h"
#include "store_conformance.h"

/* ---- Writes that fail on command ---- */

typedef enum disk_fault {
  DISK_GOOD,
  DISK_ERROR,
  DISK_FULL,
  DISK_SHORT,      /* full in the middle of a write */
  DISK_HEAD_ERROR, /* the last write of a commit fails */
  DISK_SYNC_ERROR
} disk_fault;
static _Atomic disk_fault disk;
static _Atomic int calls_to_live = -1; /* 0: the process is killed at the next call, before or after it is carried out; negative: never */
static _Atomic bool die_after;

ssize_t pwrite(int fd, const void *data, size_t size, off_t at);
ssize_t writev(int fd, const struct iovec *parts, int count);
int fdatasync(int fd);

/* Around each call, with after = false and then true. */
static void die_in_time(bool after) {
  if (calls_to_live == 0 && after == die_after) kill(getpid(), SIGKILL);
  if (after && calls_to_live > 0) calls_to_live--;
}

static bool refuse(off_t at) {
  bool is_head = at >= 0 && at < 8192;
  errno = disk == DISK_FULL || disk == DISK_SHORT ? ENOSPC : EIO;
  return disk == DISK_HEAD_ERROR ? is_head : disk != DISK_GOOD && disk != DISK_SYNC_ERROR && !is_head;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  if (disk == DISK_SHORT && size > 512 && at >= 8192) size = 512;
  else if (refuse(at)) return -1;
  die_in_time(false);
  ssize_t done = syscall(SYS_pwrite64, fd, data, size, at);
  die_in_time(true);
  return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  struct iovec first = {parts[0].iov_base, 512};
  if (disk == DISK_SHORT) return syscall(SYS_writev, fd, &first, 1);
  if (refuse(-1)) return -1;
  die_in_time(false);
  ssize_t done = syscall(SYS_writev, fd, parts, count);
  die_in_time(true);
  return done;
}

int fdatasync(int fd) {
  if (disk == DISK_SYNC_ERROR) return errno = EIO, -1;
  die_in_time(false);
  int done = (int)syscall(SYS_fdatasync, fd);
  die_in_time(true);
  return done;
}

/* ---- Helpers ---- */

static char logged[LNT_ERROR_MESSAGE_MAX];

static void keep_log(void *user, lnt_log_level level, const char *instance_id, const char *message) {
  (void)user;
  (void)instance_id;
  CHECK(level >= LNT_LOG_WARN);
  snprintf(logged, sizeof logged, "%s", message);
}

static unsigned records_checked;
static const char *bad_key; /* check_record() finds this one damaged */

static lnt_status check_record(lnt__table table, lnt__slice key, lnt__slice value, lnt_error *err) {
  (void)table;
  (void)value;
  records_checked++;
  if (bad_key && key.size == strlen(bad_key) && memcmp(key.data, bad_key, key.size) == 0)
    return lnt__fail(err, LNT_ECORRUPT, "the checksum is wrong");
  return LNT_OK;
}

static lnt__store_options options_of(const char *dir, lnt_durability durability) {
  return (lnt__store_options){.dir = dir, .durability = durability, .log = keep_log};
}

static lnt__store *open_with(const lnt__store_options *options) {
  lnt__store *store = NULL;
  lnt_error err = {LNT_OK, ""};
  lnt__store_open_lmdb(options, check_record, &store, &err);
  CHECK_EQ_STR(err.message, "");
  return store;
}

static lnt__store *open_at(const char *dir, lnt_durability durability) {
  lnt__store_options options = options_of(dir, durability);
  return open_with(&options);
}

static lnt__store *read_at(const char *dir) {
  lnt__store_options options = options_of(dir, LNT_DURABILITY_SYNC);
  options.read_only = true;
  return open_with(&options);
}

static void close_store(lnt__store *store) {
  if (store) store->vtable->destroy(store);
}

/* Opening must fail with `status` and a message that has `part`; nothing is left in the way of a later try. */
static void check_refused(int line, const lnt__store_options *options, lnt_status status, const char *part) {
  lnt__store *store = NULL;
  lnt_error err = {LNT_OK, ""};
  lnt_status got = lnt__store_open_lmdb(options, check_record, &store, &err);
  check__str(__FILE__, line, "open", lnt_status_name(got), "the wanted status", lnt_status_name(status));
  check__has(__FILE__, line, "message", err.message, part);
  CHECK(store == NULL && err.code == got);
  close_store(store);
}

static void check_refused_dir(int line, const char *dir, bool read_only, lnt_status status, const char *part) {
  lnt__store_options options = options_of(dir, LNT_DURABILITY_SYNC);
  options.read_only = read_only;
  check_refused(line, &options, status, part);
}
#define CHECK_REFUSED(dir, status, part) check_refused_dir(__LINE__, dir, false, status, part)
#define CHECK_READ_REFUSED(dir, status, part) check_refused_dir(__LINE__, dir, true, status, part)

/* Run `body` in a process of its own; its failing checks count here. */
static void in_child(void (*body)(void *user), void *user) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    unsigned long long before = check__now.failures;
    body(user);
    fflush(NULL);
    _exit(check__now.failures != before);
  }
  int status = -1;
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void wait_killed(pid_t pid) {
  kill(pid, SIGKILL);
  CHECK(waitpid(pid, NULL, 0) == pid);
}

/* `count` records of `size` bytes from record `first` of `run`. */
static lnt_status put_many(lnt__store *store, uint64_t run, uint32_t first, uint32_t count, size_t size) {
  lnt__batch *batch = lnt__batch_create();
  uint8_t key[12];
  char *value = malloc(size + 1);
  memset(value, 'v', size);
  for (uint32_t i = 0; i < count; i++) {
    store_history_key(key, run, first + i);
    CHECK(lnt__batch_put(batch, LNT__TABLE_HISTORY, key, sizeof key, value, size));
  }
  lnt_error err = {LNT_OK, ""};
  lnt_status status = store->vtable->commit(store, batch, &err);
  if (status) CHECK(err.code == status);
  snprintf(logged, sizeof logged, "%s", err.message);
  free(value);
  lnt__batch_destroy(batch);
  return status;
}

static lnt_status delete_many(lnt__store *store, uint64_t run, uint32_t first, uint32_t count) {
  lnt__batch *batch = lnt__batch_create();
  uint8_t key[12];
  for (uint32_t i = 0; i < count; i++) {
    store_history_key(key, run, first + i);
    CHECK(lnt__batch_delete(batch, LNT__TABLE_HISTORY, key, sizeof key));
  }
  lnt_status status = store->vtable->commit(store, batch, NULL);
  lnt__batch_destroy(batch);
  return status;
}

static lnt_status check_any(void *user, const char *table, lnt__slice key, lnt__slice value, lnt_error *err) {
  (void)table;
  (void)key;
  (void)value;
  (void)err;
  ++*(uint64_t *)user;
  return LNT_OK;
}

/* The file is sound, page by page, and has this many records. Only while nobody has it open for writing. */
static void check_file(const char *dir, uint64_t records) {
  char path[SCRATCH_PATH_MAX];
  lnt_error err = {LNT_OK, ""};
  uint64_t count = 0;
  lnt__lmdb_file_check(scratch_join(path, dir, "data.mdb"), check_any, &count, &err);
  CHECK_EQ_STR(err.message, "");
  CHECK_EQ_UINT(count, records);
}

/* ---- Handles and processes ---- */

static void test_reopen(void) {
  for (int durability = 0; durability < 2; durability++) {
    char dir[SCRATCH_PATH_MAX], data[SCRATCH_PATH_MAX];
    scratch_make(dir);
    scratch_join(data, dir, "made/with/parents");
    lnt__store *store = open_at(data, (lnt_durability)durability);
    CHECK_STATUS(store_put(store, LNT__TABLE_META, "a", "1"), LNT_OK);
    CHECK(scratch_exists(data, "unclean") == (durability == LNT_DURABILITY_PROCESS));
    close_store(store);
    CHECK(!scratch_exists(data, "unclean"));
    check_file(data, 1);
    store = open_at(data, (lnt_durability)!durability);
    CHECK(store_has(store, LNT__TABLE_META, "a", "1"));
    close_store(store);
    scratch_remove(dir);
  }
}

static void test_reader_beside_owner(void) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  lnt__store *owner = open_at(dir, LNT_DURABILITY_PROCESS), *reader = read_at(dir), *second = read_at(dir);
  CHECK_STATUS(store_put(owner, LNT__TABLE_META, "a", "1"), LNT_OK);
  CHECK(store_has(reader, LNT__TABLE_META, "a", "1"));
  CHECK_STATUS(store_put(reader, LNT__TABLE_META, "a", "2"), LNT_EREADONLY);
  CHECK_REFUSED(dir, LNT_EBUSY, "in use by this process");
  close_store(reader);
  CHECK_STATUS(store_put(owner, LNT__TABLE_META, "a", "3"), LNT_OK);
  close_store(owner);
  CHECK(store_has(second, LNT__TABLE_META, "a", "3"));
  CHECK(!scratch_exists(dir, "unclean"));
  CHECK_REFUSED(dir, LNT_EBUSY, "which reads it");
  close_store(second);
  owner = open_at(dir, LNT_DURABILITY_SYNC);
  CHECK(store_has(owner, LNT__TABLE_META, "a", "3"));
  close_store(owner);
  scratch_remove(dir);
}

static void be_second(void *user) {
  const char *dir = user;
  char wanted[64];
  snprintf(wanted, sizeof wanted, "in use by process %ld", (long)getppid());
  CHECK_REFUSED(dir, LNT_EBUSY, wanted);
  lnt__store *reader = read_at(dir);
  CHECK(store_has(reader, LNT__TABLE_META, "a", "1"));
  close_store(reader);
}

enum { HELD_BYTES = 256 << 20 };

/* What was killed holds the lock until its memory is given back: a restart right after it waits for that. */
static void test_open_right_after_a_kill(void) {
  char dir[SCRATCH_PATH_MAX], ready;
  int ends[2];
  scratch_make(dir);
  REQUIRE(pipe(ends) == 0);
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    char *memory = malloc(HELD_BYTES);
    lnt__store *held = memory ? open_at(dir, LNT_DURABILITY_PROCESS) : NULL;
    if (held) memset(memory, 1, HELD_BYTES);
    if (held && write(ends[1], "r", 1) == 1) pause();
    _exit(memory && memory[HELD_BYTES / 2]);
  }
  CHECK(read(ends[0], &ready, 1) == 1);
  kill(pid, SIGKILL);
  lnt__store *store = open_at(dir, LNT_DURABILITY_PROCESS);
  if (store) close_store(store);
  CHECK(waitpid(pid, NULL, 0) == pid);
  close(ends[0]);
  close(ends[1]);
  scratch_remove(dir);
}

static void drop_handle(void *user) { close_store(user); }

/* Each allocation of opening fails once; a failed opening leaves nothing locked and nothing half open. */
static void test_open_out_of_memory(void) {
  char dir[SCRATCH_PATH_MAX], data[SCRATCH_PATH_MAX];
  scratch_make(dir);
  scratch_join(data, dir, "data");
  bool last = false;
  for (uint64_t skip = 0; !last && skip < 100; skip++) {
    lnt__store_options options = options_of(data, LNT_DURABILITY_PROCESS);
    lnt__store *store = NULL;
    lnt__fault_arm(LNT__FAULT_alloc, skip, 1);
    lnt_status status = lnt__store_open_lmdb(&options, check_record, &store, NULL);
    last = lnt__fault_checks(LNT__FAULT_alloc) <= skip;
    lnt__fault_arm(LNT__FAULT_alloc, 0, 0);
    CHECK_STATUS(status, last ? LNT_OK : LNT_ENOMEM);
    close_store(store);
    if (skip % 2) scratch_remove(data); /* in a new directory, and in one begun */
  }
  CHECK(last);
  scratch_remove(dir);
}

static void test_second_owner(void) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  lnt__store *store = open_at(dir, LNT_DURABILITY_PROCESS);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "a", "1"), LNT_OK);
  in_child(be_second, dir);
  in_child(drop_handle, store); /* a child's copy of the handle is nothing but memory */
  CHECK(scratch_exists(dir, "unclean"));
  in_child(be_second, dir);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "a", "2"), LNT_OK);
  close_store(store);
  check_file(dir, 1);
  scratch_remove(dir);
}

static void grow_far(void *user) {
  lnt__store *store = open_at(user, LNT_DURABILITY_PROCESS);
  for (uint32_t i = 0; i < 10; i++) CHECK_STATUS(put_many(store, 1, i * 100, 100, 10000), LNT_OK);
  close_store(store);
}

static void test_reader_follows_growth_elsewhere(void) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  lnt__store *owner = open_at(dir, LNT_DURABILITY_PROCESS);
  close_store(owner);
  lnt__store *reader = read_at(dir);
  CHECK_EQ_UINT(store_records(reader), 0);
  in_child(grow_far, dir);
  CHECK_EQ_UINT(store_records(reader), 1000);
  in_child(grow_far, dir);
  char to[SCRATCH_PATH_MAX];
  CHECK_STATUS(reader->vtable->copy(reader, scratch_join(to, dir, "copy"), NULL), LNT_OK);
  check_file(to, 1000);
  close_store(reader);
  scratch_remove(dir);
}

/* ---- Kills ---- */

enum { KILL_RECORDS = 40 };

/* Batch n puts KILL_RECORDS records of run n, and "last" = n. After each acknowledgement, n goes down the pipe. */
static void commit_for_ever(const char *dir, lnt_durability durability, int acks) {
  lnt__store *store = open_at(dir, durability);
  lnt__batch *batch = lnt__batch_create();
  uint8_t key[12], number[8], value[300];
  uint64_t n = 0;
  void *data;
  size_t size;
  if (store->vtable->get(store, LNT__TABLE_META, "last", 4, &data, &size, NULL) == LNT_OK) n = lnt__get_be64(data);
  for (;;) {
    lnt__batch_clear(batch);
    lnt__put_be64(number, ++n);
    memset(value, (int)n, sizeof value);
    for (uint32_t i = 0; i < KILL_RECORDS; i++) {
      store_history_key(key, n, i);
      lnt__batch_put(batch, LNT__TABLE_HISTORY, key, 12, value, n % sizeof value);
    }
    lnt__batch_put(batch, LNT__TABLE_META, "last", 4, number, 8);
    if (store->vtable->commit(store, batch, NULL) != LNT_OK || write(acks, number, 8) != 8) _exit(1);
  }
}

static int count_whole(void *user, lnt__slice key, lnt__slice value) {
  uint64_t *seen = user, n = *seen / KILL_RECORDS + 1;
  uint8_t wanted[12];
  store_history_key(wanted, n, (uint32_t)(*seen % KILL_RECORDS));
  bool right = key.size == sizeof wanted && memcmp(key.data, wanted, sizeof wanted) == 0 && value.size == n % 300;
  for (size_t i = 0; right && i < value.size; i++) right = ((const uint8_t *)value.data)[i] == (uint8_t)n;
  ++*seen;
  return !CHECK(right);
}

static void check_after_kill(const char *dir, uint64_t acknowledged, lnt_durability durability) {
  uint64_t last = 0, seen = 0;
  void *data;
  size_t size;
  lnt__store *store = open_at(dir, durability);
  if (store->vtable->get(store, LNT__TABLE_META, "last", 4, &data, &size, NULL) == LNT_OK) {
    last = lnt__get_be64(data);
    lnt__free(data);
  }
  CHECK(last >= acknowledged && last <= acknowledged + 1);
  store_scan_all(store, LNT__TABLE_HISTORY, false, count_whole, &seen);
  CHECK_EQ_UINT(seen, last * KILL_RECORDS);
  close_store(store);
  check_file(dir, seen + (last > 0));
}

/* Let it acknowledge `wanted` batches, kill it in whatever it does then, and answer the last that it acknowledged. */
static uint64_t run_and_kill(const char *dir, lnt_durability durability, uint64_t wanted) {
  int acks[2];
  uint8_t number[8];
  uint64_t last = 0;
  CHECK(pipe(acks) == 0);
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    close(acks[0]);
    commit_for_ever(dir, durability, acks[1]);
  }
  close(acks[1]);
  for (uint64_t i = 0; i < wanted && read(acks[0], number, 8) == 8; i++) last = lnt__get_be64(number);
  wait_killed(pid);
  while (read(acks[0], number, 8) == 8) last = lnt__get_be64(number);
  close(acks[0]);
  return last;
}

static void test_kill(void) {
  for (int durability = 0; durability < 2; durability++) {
    char dir[SCRATCH_PATH_MAX];
    scratch_make(dir);
    for (uint64_t round = 0; round < 12; round++) {
      CHECK_SEED(round);
      uint64_t acknowledged = run_and_kill(dir, (lnt_durability)durability, 1 + round * 7 % 60);
      check_after_kill(dir, acknowledged, (lnt_durability)(round % 2));
    }
    scratch_remove(dir);
  }
}

/* A process that reads for as long as it lives, and so keeps LMDB's lock region alive over the death of an owner. */
static pid_t start_reader(const char *dir) {
  int ready[2];
  char byte;
  CHECK(pipe(ready) == 0);
  fflush(NULL);
  pid_t reader = fork();
  if (reader == 0) {
    lnt__store *store = read_at(dir);
    if (write(ready[1], "r", 1) != 1) _exit(1);
    for (int i = 0; i < 20000; i++) store_records(store);
    for (;;) pause();
  }
  CHECK(read(ready[0], &byte, 1) == 1);
  close(ready[0]);
  close(ready[1]);
  return reader;
}

static void test_kill_beside_reader(void) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  close_store(open_at(dir, LNT_DURABILITY_PROCESS));
  pid_t reader = start_reader(dir);
  for (uint64_t round = 0; round < 8; round++) {
    uint64_t acknowledged = run_and_kill(dir, (lnt_durability)(round % 2), 30);
    check_after_kill(dir, acknowledged, LNT_DURABILITY_PROCESS);
  }
  wait_killed(reader);
  uint64_t acknowledged = run_and_kill(dir, LNT_DURABILITY_PROCESS, 300); /* with the dead reader's slot still in lock.mdb */
  check_after_kill(dir, acknowledged, LNT_DURABILITY_PROCESS);
  scratch_remove(dir);
}

static bool commit_and_die(const char *dir, lnt_durability durability, int call, bool after) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    lnt__store *store = open_at(dir, durability);
    die_after = after;
    calls_to_live = call;
    store_put(store, LNT__TABLE_META, "new", "2");
    _exit(0);
  }
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid);
  return WIFSIGNALED(status);
}

/* What the next owner sees at once is what it commits on top of, and what stays. */
static void check_settled(const char *dir, int call) {
  lnt__store *store = open_at(dir, LNT_DURABILITY_SYNC);
  bool landed = store_has(store, LNT__TABLE_META, "new", "2");
  CHECK(landed || store_has(store, LNT__TABLE_META, "new", NULL));
  char number[16];
  snprintf(number, sizeof number, "%d", call);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "next", number), LNT_OK);
  CHECK(store_has(store, LNT__TABLE_META, "new", landed ? "2" : NULL));
  CHECK(store_has(store, LNT__TABLE_META, "next", number) && store_has(store, LNT__TABLE_META, "old", "1"));
  lnt__batch *batch = lnt__batch_create();
  CHECK(lnt__batch_delete(batch, LNT__TABLE_META, "new", 3));
  CHECK_STATUS(store->vtable->commit(store, batch, NULL), LNT_OK);
  lnt__batch_destroy(batch);
  close_store(store);
  check_file(dir, 2);
}

/* Killed before and after every write and sync of a commit, alone and beside a reader. */
static void test_kill_at_each_write(void) {
  for (int round = 0; round < 8; round++) {
    bool after = round & 1, beside_reader = round & 2;
    lnt_durability durability = round & 4 ? LNT_DURABILITY_PROCESS : LNT_DURABILITY_SYNC;
    char dir[SCRATCH_PATH_MAX];
    scratch_make(dir);
    lnt__store *store = open_at(dir, LNT_DURABILITY_SYNC);
    CHECK_STATUS(store_put(store, LNT__TABLE_META, "old", "1"), LNT_OK);
    close_store(store);
    pid_t reader = beside_reader ? start_reader(dir) : 0;
    int call = 0;
    while (call < 100 && commit_and_die(dir, durability, call, after)) check_settled(dir, call++);
    CHECK(call >= 2); /* the data, and the head */
    if (reader) wait_killed(reader);
    scratch_remove(dir);
  }
}

/* ---- Growth, and ends of it ---- */

typedef struct reading { lnt__store *store; atomic_bool stop; uint64_t most; } reading;

static int count_one(void *user, lnt__slice key, lnt__slice value) {
  (void)key;
  ++*(uint64_t *)user;
  return value.size != 1000 || ((const char *)value.data)[999] != 'v';
}

static void *read_on(void *user) {
  reading *r = user;
  while (!atomic_load(&r->stop)) {
    uint64_t count = 0;
    store_scan_all(r->store, LNT__TABLE_HISTORY, false, count_one, &count);
    CHECK(count >= r->most && count % 500 == 0);
    r->most = count;
  }
  return NULL;
}

static void test_growth_beside_readers(void) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  lnt__store *store = open_at(dir, LNT_DURABILITY_PROCESS);
  reading readers[2] = {{.store = store}, {.store = store}};
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, read_on, &readers[i]) == 0);
  for (uint32_t i = 0; i < 60; i++) CHECK_STATUS(put_many(store, 1, i * 500, 500, 1000), LNT_OK); /* 30 MB: five doublings */
  for (int i = 0; i < 2; i++) {
    atomic_store(&readers[i].stop, true);
    pthread_join(threads[i], NULL);
  }
  CHECK_EQ_UINT(store_records(store), 30000);
  char *large = calloc(1, 40 << 20); /* several doublings for one batch */
  lnt__batch *batch = lnt__batch_create();
  CHECK(lnt__batch_put(batch, LNT__TABLE_CODE, "large", 5, large, 40 << 20));
  CHECK_STATUS(store->vtable->commit(store, batch, NULL), LNT_OK);
  lnt__batch_destroy(batch);
  free(large);
  close_store(store);
  check_file(dir, 30001);
  scratch_remove(dir);
}

static void test_full_at_limit(void) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  lnt__store_options options = options_of(dir, LNT_DURABILITY_SYNC);
  options.bytes_max = 3 << 20;
  lnt__store *store = open_with(&options);
  uint32_t count = 0;
  lnt_status status;
  while ((status = put_many(store, 1, count, 50, 1000)) == LNT_OK && count < 10000) count += 50;
  CHECK_STATUS(status, LNT_EFULL);
  CHECK_HAS(logged, "store_bytes_max");
  CHECK(count >= 1000);
  CHECK_STATUS(put_many(store, 1, count, 50, 1000), LNT_EFULL); /* still, and nothing is lost */
  CHECK_EQ_UINT(store_records(store), count);
  static const size_t sizes[] = {1000, 10};
  for (size_t i = 0; i < LNT__COUNT(sizes); i++) /* to the last page */
    while (put_many(store, 1, count, 1, sizes[i]) == LNT_OK && count < 10000) count++;
  CHECK_EQ_UINT(store_records(store), count);
  for (uint32_t first = 0; first < 1000; first += 100) CHECK_STATUS(delete_many(store, 1, first, 100), LNT_OK);
  CHECK_STATUS(put_many(store, 1, count, 50, 1000), LNT_OK); /* room again */
  CHECK_EQ_UINT(store_records(store), count - 1000 + 50);
  while (put_many(store, 2, count, 50, 1000) == LNT_OK && count < 10000) count += 50;
  lnt__store_info info;
  CHECK_STATUS(store->vtable->info(store, &info, NULL), LNT_OK);
  CHECK(info.bytes_max == 3 << 20 && info.bytes_used <= (4 << 20));
  close_store(store);
  check_file(dir, info.records);
  options.bytes_max = 30 << 20;
  store = open_with(&options);
  CHECK_STATUS(put_many(store, 3, 0, 5000, 1000), LNT_OK);
  close_store(store);
  scratch_remove(dir);
}

/* ---- Disks that fail ---- */

static void check_disk_fault(disk_fault fault, lnt_durability durability, lnt_status wanted, const char *part) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  lnt__store *store = open_at(dir, durability);
  CHECK_STATUS(put_many(store, 1, 0, 100, 1000), LNT_OK);
  for (int i = 0; i < 3; i++) {
    disk = fault;
    CHECK_STATUS(put_many(store, 2, 0, 3000, 1000), wanted);
    CHECK_HAS(logged, part);
    CHECK_HAS(logged, dir);
    CHECK(store_has(store, LNT__TABLE_META, "a", i ? "1" : NULL)); /* reads go on */
    CHECK_EQ_UINT(store_records(store), 100 + (i > 0));
    disk = DISK_GOOD;
    CHECK_STATUS(store_put(store, LNT__TABLE_META, "a", "1"), LNT_OK);
  }
  CHECK_STATUS(put_many(store, 2, 0, 3000, 1000), LNT_OK); /* the same batch, once there is room */
  CHECK_EQ_UINT(store_records(store), 3101);
  close_store(store);
  check_file(dir, 3101);
  scratch_remove(dir);
}

static void test_disk_faults(void) {
  for (int durability = 0; durability < 2; durability++) {
    check_disk_fault(DISK_FULL, (lnt_durability)durability, LNT_EFULL, "no room on the file system");
    check_disk_fault(DISK_SHORT, (lnt_durability)durability, LNT_EFULL, "nothing was lost");
    check_disk_fault(DISK_ERROR, (lnt_durability)durability, LNT_EIO, "Input/output error");
    check_disk_fault(DISK_HEAD_ERROR, (lnt_durability)durability, LNT_EIO, "Input/output error");
  }
  check_disk_fault(DISK_SYNC_ERROR, LNT_DURABILITY_SYNC, LNT_EIO, "Input/output error");
}

/* The way a full disk looks to a user without a disk to fill: a limit on the size of files. */
static void fill_to_limit(void *user) {
  const char *dir = user;
  signal(SIGXFSZ, SIG_IGN);
  lnt__store *store = open_at(dir, LNT_DURABILITY_SYNC);
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = 1 << 20;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  uint32_t count = 0;
  while (put_many(store, 1, count, 50, 1000) == LNT_OK && count < 10000) count += 50;
  CHECK_STATUS(put_many(store, 1, count, 50, 1000), LNT_EFULL);
  CHECK_HAS(logged, "no room");
  CHECK_EQ_UINT(store_records(store), count);
  limit.rlim_cur = before;
  CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  CHECK_STATUS(put_many(store, 1, count, 50, 1000), LNT_OK);
  close_store(store);
  check_file(dir, count + 50);
}

static void test_file_size_limit(void) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  in_child(fill_to_limit, dir);
  scratch_remove(dir);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* a sanitizer needs more address space than any limit leaves */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static void grow_without_address_space(void *user) {
  lnt__store *store = open_at(user, LNT_DURABILITY_PROCESS);
  struct rlimit limit;
  long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  CHECK(file && fscanf(file, "%ld", &pages) == 1);
  if (file) fclose(file);
  CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (4 << 20);
  CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
  uint32_t count = 0;
  while (put_many(store, 1, count, 50, 1000) == LNT_OK && count < 30000) count += 50;
  CHECK_STATUS(put_many(store, 1, count, 50, 1000), LNT_EFULL);
  CHECK_HAS(logged, "ulimit -v");
  CHECK_EQ_UINT(store_records(store), count);
  limit.rlim_cur = before;
  CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
  CHECK_STATUS(put_many(store, 1, count, 50, 1000), LNT_OK);
  close_store(store);
  check_file(user, count + 50);
}

static void test_address_space_limit(void) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
#ifndef SANITIZED
  in_child(grow_without_address_space, dir);
#else
  (void)grow_without_address_space;
#endif
  scratch_remove(dir);
}

/* A small file system of the child's own. false: not permitted here. */
static bool mount_small(const char *dir, const char *options) {
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return false;
  return mount("lunation", dir, "tmpfs", 0, options) == 0;
}

static void fill_disk(const char *dir, const char *name, size_t spare) {
  char path[SCRATCH_PATH_MAX], block[4096] = {0};
  int fd = open(scratch_join(path, dir, name), O_WRONLY | O_CREAT | O_APPEND, 0666);
  while (write(fd, block, sizeof block) > 0) continue;
  off_t size = lseek(fd, 0, SEEK_END);
  CHECK(ftruncate(fd, size > (off_t)spare ? size - (off_t)spare : 0) == 0);
  close(fd);
}

static void live_on_small_disk(void *user) {
  const char *mountpoint = user;
  char dir[SCRATCH_PATH_MAX], filler[SCRATCH_PATH_MAX];
  if (!mount_small(mountpoint, "size=2m")) return;
  scratch_join(dir, mountpoint, "data");
  scratch_join(filler, mountpoint, "filler");
  fill_disk(mountpoint, "filler", 0);
  CHECK_REFUSED(dir, LNT_EFULL, "free some room");
  lnt__store *store = NULL;
  int refused = 0;
  for (; !store && refused < 50; refused++) { /* full at each step of making the directory, with a page more every other time */
    lnt_error err = {LNT_OK, ""};
    lnt__store_options options = options_of(dir, LNT_DURABILITY_PROCESS);
    fill_disk(mountpoint, "filler", 4096 * (size_t)(refused / 2));
    if (lnt__store_open_lmdb(&options, NULL, &store, &err) == LNT_OK) break;
    CHECK_STATUS(err.code, LNT_EFULL);
    CHECK_HAS(err.message, dir);
  }
  CHECK(refused > 2);
  CHECK(store != NULL);
  fill_disk(mountpoint, "filler", 0);
  CHECK_STATUS(put_many(store, 1, 0, 50, 1000), LNT_EFULL); /* not even the mark fits */
  unlink(filler);
  uint32_t count = 0;
  while (put_many(store, 1, count, 50, 1000) == LNT_OK && count < 10000) count += 50;
  CHECK(count >= 500);
  CHECK_STATUS(put_many(store, 1, count, 50, 1000), LNT_EFULL);
  CHECK_HAS(logged, "no room on the file system");
  close_store(store);
  store = open_at(dir, LNT_DURABILITY_SYNC); /* a full disk does not keep a store from opening */
  CHECK_EQ_UINT(store_records(store), count);
  CHECK_STATUS(put_many(store, 1, count, 50, 1000), LNT_EFULL);
  CHECK(mount("lunation", mountpoint, "tmpfs", MS_REMOUNT, "size=8m") == 0);
  CHECK_STATUS(put_many(store, 1, count, 50, 1000), LNT_OK);
  close_store(store);
  check_file(dir, count + 50);
}

static void test_small_disk(void) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  in_child(live_on_small_disk, dir);
  scratch_remove(dir);
}

/* ---- Directories that are not ours, or not writable ---- */

static void test_strangers(void) {
  char dir[SCRATCH_PATH_MAX], path[SCRATCH_PATH_MAX];
  scratch_make(dir);
  scratch_write(dir, "thesis.txt", "important", 9);
  CHECK_REFUSED(dir, LNT_ENOTOURS, "thesis.txt");
  CHECK_READ_REFUSED(dir, LNT_ENOTOURS, "no file LUNATION");
  CHECK(!scratch_exists(dir, "owner.lock") && !scratch_exists(dir, "LUNATION")); /* nothing was left there */
  CHECK_REFUSED(scratch_join(path, dir, "thesis.txt"), LNT_ENOTOURS, "it is a file");
  CHECK_READ_REFUSED(path, LNT_ENOTOURS, "it is a file");
  CHECK_REFUSED(scratch_join(path, dir, "thesis.txt/data"), LNT_EINVAL, "thesis.txt is a file");
  CHECK_READ_REFUSED(scratch_join(path, dir, "absent"), LNT_ENOTOURS, "does not exist");
  CHECK(!scratch_exists(dir, "absent"));
  CHECK_REFUSED("", LNT_EINVAL, "dir");
  CHECK_REFUSED(NULL, LNT_EINVAL, "dir");
  scratch_remove(dir);
  scratch_make(dir);
  scratch_write(dir, "data.mdb", "somebody else's LMDB", 20);
  CHECK_REFUSED(dir, LNT_ENOTOURS, "data.mdb");
  CHECK(scratch_exists(dir, "data.mdb"));
  scratch_remove(dir);
}

static void test_markers(void) {
  static const struct { const char *text; lnt_status status; const char *part; } markers[] = {
      {"Lunation data directory\nformat 2\n", LNT_EVERSION, "data format 2"},
      {"Lunation data directory\nformat 2\n", LNT_EVERSION, "formats up to 1"},
      {"Lunation data directory\nformat 12 beta\n", LNT_ENOTOURS, "does not tell its format"},
      {"Lunation data directory\nformat \n", LNT_ENOTOURS, "does not tell its format"},
      {"Lunation data direc", LNT_ENOTOURS, "does not say"},
      {"", LNT_ENOTOURS, "does not say"},
      {"a poem about the moon\n", LNT_ENOTOURS, "does not say"},
  };
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  for (size_t i = 0; i < LNT__COUNT(markers); i++) {
    scratch_write(dir, "LUNATION", markers[i].text, strlen(markers[i].text));
    CHECK_REFUSED(dir, markers[i].status, markers[i].part);
    CHECK_READ_REFUSED(dir, markers[i].status, markers[i].part);
    CHECK_REFUSED(dir, markers[i].status, dir);
  }
  CHECK(!scratch_exists(dir, "owner.lock") && !scratch_exists(dir, "data.mdb"));
  scratch_remove(dir);
}

/* Every state in which a kill can leave a directory that is being made. */
static void test_half_made(void) {
  static const char *const states[][4] = {{"owner.lock"}, {"owner.lock", "LUNATION.new"}, {"owner.lock", "LUNATION.new", "lock.mdb"},
                                          {"owner.lock", "LUNATION.new", "lock.mdb", "data.mdb"}, {"LUNATION.new"}, {NULL}};
  for (size_t i = 0; i < LNT__COUNT(states); i++) {
    char dir[SCRATCH_PATH_MAX];
    scratch_make(dir);
    for (size_t j = 0; j < 4 && states[i][j]; j++) scratch_write(dir, states[i][j], "half", 4);
    CHECK_READ_REFUSED(dir, LNT_ENOTOURS, "no file LUNATION");
    lnt__store *store = open_at(dir, LNT_DURABILITY_SYNC);
    CHECK_STATUS(store_put(store, LNT__TABLE_META, "a", "1"), LNT_OK);
    close_store(store);
    CHECK(!scratch_exists(dir, "LUNATION.new"));
    check_file(dir, 1);
    scratch_remove(dir);
  }
}

static void be_unable_to_write(void *user) {
  const char *dir = user;
  char path[SCRATCH_PATH_MAX];
  if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return;
  CHECK_REFUSED(dir, LNT_EREADONLY, "owner.lock");
  CHECK_REFUSED(dir, LNT_EREADONLY, "read-only");
  CHECK_REFUSED(scratch_join(path, dir, "sub"), LNT_EREADONLY, "sub");
  CHECK_READ_REFUSED(dir, LNT_EREADONLY, "lock.mdb"); /* beside an owner it could not see, reading would not be safe */
}

static void read_copy_unable_to_write(void *user) {
  if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) return;
  lnt__store *reader = read_at(user);
  CHECK(store_has(reader, LNT__TABLE_META, "a", "1"));
  close_store(reader);
}

static void test_not_writable(void) {
  char dir[SCRATCH_PATH_MAX], data[SCRATCH_PATH_MAX], copy[SCRATCH_PATH_MAX], file[SCRATCH_PATH_MAX];
  scratch_make(dir);
  lnt__store *store = open_at(scratch_join(data, dir, "data"), LNT_DURABILITY_SYNC);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "a", "1"), LNT_OK);
  CHECK_STATUS(store->vtable->copy(store, scratch_join(copy, dir, "copy"), NULL), LNT_OK);
  close_store(store);
  static const char *const files[] = {"owner.lock", "lock.mdb", "data.mdb", "LUNATION"};
  for (size_t i = 0; i < LNT__COUNT(files); i++) CHECK(chmod(scratch_join(file, data, files[i]), 0444) == 0);
  CHECK(chmod(scratch_join(file, copy, "data.mdb"), 0444) == 0);
  CHECK(chmod(data, 0555) == 0 && chmod(copy, 0555) == 0 && chmod(dir, 0755) == 0);
  in_child(be_unable_to_write, data);
  in_child(read_copy_unable_to_write, copy);
  CHECK(chmod(data, 0755) == 0 && chmod(copy, 0755) == 0);
  scratch_remove(dir);
}

static void live_on_read_only_disk(void *user) {
  char dir[SCRATCH_PATH_MAX], path[SCRATCH_PATH_MAX];
  if (!mount_small(user, "size=4m")) return;
  lnt__store *store = open_at(scratch_join(dir, user, "data"), LNT_DURABILITY_SYNC);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "a", "1"), LNT_OK);
  close_store(store);
  CHECK(mount("lunation", user, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL) == 0);
  CHECK_REFUSED(dir, LNT_EREADONLY, "Read-only file system");
  CHECK_REFUSED(scratch_join(path, user, "new"), LNT_EREADONLY, "Read-only file system");
  lnt__store *reader = read_at(dir);
  CHECK(store_has(reader, LNT__TABLE_META, "a", "1"));
  CHECK_EQ_UINT(store_records(reader), 1);
  close_store(reader);
}

static void test_read_only_disk(void) {
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  in_child(live_on_read_only_disk, dir);
  scratch_remove(dir);
}

/* ---- Damage ---- */

static void test_damaged_heads(void) {
  char dir[SCRATCH_PATH_MAX], data[SCRATCH_PATH_MAX];
  uint8_t noise[20000];
  lnt__rng rng;
  scratch_make(dir);
  close_store(open_at(dir, LNT_DURABILITY_SYNC));
  scratch_join(data, dir, "data.mdb");
  lnt__rng_seed(&rng, 1);
  for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)lnt__rng_next(&rng);
  static const size_t sizes[] = {20000, 8192, 5000, 100, 1, 0};
  for (size_t i = 0; i < LNT__COUNT(sizes); i++) {
    scratch_write(dir, "data.mdb", noise, sizes[i]);
    CHECK_REFUSED(dir, LNT_ECORRUPT, "data.mdb is damaged");
    CHECK_READ_REFUSED(dir, LNT_ECORRUPT, "data.mdb is damaged");
  }
  memset(noise, 0, sizeof noise);
  scratch_write(dir, "data.mdb", noise, sizeof noise);
  CHECK_REFUSED(dir, LNT_ECORRUPT, "data.mdb is damaged");
  CHECK(unlink(data) == 0);
  CHECK_REFUSED(dir, LNT_ECORRUPT, "data.mdb is missing");
  CHECK_READ_REFUSED(dir, LNT_ECORRUPT, "data.mdb is missing");
  CHECK(!scratch_exists(dir, "data.mdb"));
  scratch_remove(dir);
}

typedef struct file_bytes { uint8_t *data; size_t size; } file_bytes;

static file_bytes load(const char *dir) {
  char path[SCRATCH_PATH_MAX];
  file_bytes file = {NULL, 0};
  CHECK_STATUS(lnt__read_file(scratch_join(path, dir, "data.mdb"), 64 << 20, (char **)&file.data, &file.size, NULL), LNT_OK);
  return file;
}

/* A store with everything in it that LMDB can put there: deep tables, long values, free pages. */
static uint64_t make_rich(const char *dir, lnt_durability durability) {
  lnt__store *store = open_at(dir, durability);
  for (uint32_t i = 0; i < 10; i++) CHECK_STATUS(put_many(store, 7, i * 200, 200, 30), LNT_OK);
  for (uint32_t i = 0; i < 4; i++) CHECK_STATUS(put_many(store, 8, i, 1, 3000 + 5000 * i), LNT_OK);
  CHECK_STATUS(delete_many(store, 7, 300, 400), LNT_OK);
  CHECK_STATUS(delete_many(store, 8, 0, 1), LNT_OK);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "a", "1"), LNT_OK);
  uint64_t records = store_records(store);
  close_store(store);
  return records;
}

static void read_everything(const char *dir) {
  lnt__store *store = NULL;
  if (lnt__store_open_lmdb(&(lnt__store_options){.dir = dir, .read_only = true}, check_record, &store, NULL) != LNT_OK) return;
  for (int table = 0; table < LNT__TABLE_COUNT; table++) {
    uint64_t count = 0;
    store_scan_all(store, (lnt__table)table, table % 2, count_one, &count);
  }
  store->vtable->destroy(store);
}

/* After a reboot that was not clean, any page may be anything. Opening never crashes: it finds the damage, or the page was a free one and
 * all is well, which reading everything shows. */
static void test_damaged_pages(void) {
  enum { PAGE = 4096 };
  char dir[SCRATCH_PATH_MAX], boot[SCRATCH_PATH_MAX];
  scratch_make(dir);
  uint64_t records = make_rich(dir, LNT_DURABILITY_SYNC);
  check_file(dir, records);
  file_bytes sound = load(dir);
  scratch_write(dir, "unclean", "boot of long ago\n", 17);
  lnt__store_dir_boot_id_path(scratch_join(boot, dir, "no such file"));
  unsigned found = 0, tried = 0;
  uint8_t *bytes = malloc(sound.size);
  lnt__rng rng;
  lnt__rng_seed(&rng, 4);
  for (size_t page = 0; (page + 1) * PAGE <= sound.size && page < 200; page++) {
    for (int kind = 0; kind < 6; kind++, tried++) {
      memcpy(bytes, sound.data, sound.size);
      uint8_t *at = bytes + page * PAGE;
      if (kind == 0) memset(at, 0, PAGE);
      if (kind == 1) memcpy(at, sound.data + (page + 3) * PAGE % sound.size, PAGE);
      for (int i = 0; kind >= 2 && i < 1 << (kind - 2); i++) at[lnt__rng_below(&rng, kind < 5 ? 64 : PAGE)] = (uint8_t)lnt__rng_next(&rng);
      scratch_write(dir, "data.mdb", bytes, sound.size);
      lnt_error err = {LNT_OK, ""};
      char path[SCRATCH_PATH_MAX];
      uint64_t count = 0;
      lnt_status status = lnt__lmdb_file_check(scratch_join(path, dir, "data.mdb"), check_any, &count, &err);
      CHECK(status == LNT_OK || status == LNT_ECORRUPT);
      found += status == LNT_ECORRUPT;
      if (status) CHECK_HAS(err.message, "data.mdb is damaged");
      read_everything(dir);
    }
  }
  CHECK(found > 30 && tried > 200);
  lnt__store_dir_boot_id_path(NULL);
  free(bytes);
  lnt__free(sound.data);
  scratch_remove(dir);
}

/* The same in a store that was closed well: what LMDB touches while it opens is looked at first. */
static void test_damaged_beginnings(void) {
  enum { PAGE = 4096 };
  char dir[SCRATCH_PATH_MAX];
  scratch_make(dir);
  close_store(open_at(dir, LNT_DURABILITY_SYNC));
  lnt__store *store = open_at(dir, LNT_DURABILITY_SYNC);
  for (int i = 0; i < LNT__TABLE_COUNT; i++) CHECK_STATUS(store_put(store, (lnt__table)i, "key", "value"), LNT_OK);
  close_store(store);
  file_bytes sound = load(dir);
  unsigned refused = 0;
  uint8_t *bytes = malloc(sound.size);
  lnt__rng rng;
  lnt__rng_seed(&rng, 5);
  for (int i = 0; i < 400; i++) {
    memcpy(bytes, sound.data, sound.size);
    size_t page = (size_t)i % (sound.size / PAGE < 40 ? sound.size / PAGE : 40);
    uint8_t *at = bytes + page * PAGE + (i % 3 ? 0 : PAGE - 1200); /* what a page holds begins at its end */
    for (int j = 0; j < 1 + i % 20; j++) at[lnt__rng_below(&rng, i % 3 ? 32 : 1200)] = (uint8_t)lnt__rng_next(&rng);
    scratch_write(dir, "data.mdb", bytes, sound.size);
    lnt__store_options options = options_of(dir, LNT_DURABILITY_SYNC);
    lnt_error err;
    store = NULL;
    lnt_status status = lnt__store_open_lmdb(&options, check_record, &store, &err);
    CHECK(status == LNT_OK || status == LNT_ECORRUPT);
    if (status) CHECK_HAS(err.message, "put back a snapshot");
    refused += status == LNT_ECORRUPT;
    close_store(store);
  }
  CHECK(refused > 20);
  free(bytes);
  lnt__free(sound.data);
  scratch_remove(dir);
}

/* Two tables with one root: each page is sound by itself. */
static void test_pages_used_twice(void) {
  char dir[SCRATCH_PATH_MAX], path[SCRATCH_PATH_MAX];
  enum { TREE_BYTES = 48 };
  scratch_make(dir);
  lnt__store *store = open_at(dir, LNT_DURABILITY_SYNC);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "a", "1"), LNT_OK);
  CHECK_STATUS(store_put(store, LNT__TABLE_TIMER, "b", "2"), LNT_OK);
  close_store(store);
  file_bytes file = load(dir);
  for (size_t i = 8192; i + 100 < file.size; i++) {
    uint8_t *meta = file.data + i, *timer = memcmp(meta, "META", 4) == 0 ? memmem(meta - i % 4096, 4096, "TIMER", 5) : NULL;
    if (timer) memcpy(timer + 5, meta + 4, TREE_BYTES);
  }
  scratch_write(dir, "data.mdb", file.data, file.size);
  lnt_error err = {LNT_OK, ""};
  uint64_t count = 0;
  CHECK_STATUS(lnt__lmdb_file_check(scratch_join(path, dir, "data.mdb"), check_any, &count, &err), LNT_ECORRUPT);
  CHECK_HAS(err.message, "used twice");
  CHECK_HAS(err.message, "table TIMER");
  lnt__free(file.data);
  scratch_remove(dir);
}

/* Cut off at any length: found, whether or not the machine was rebooted. */
static void test_cut_off(void) {
  char dir[SCRATCH_PATH_MAX], data[SCRATCH_PATH_MAX];
  scratch_make(dir);
  uint64_t records = make_rich(dir, LNT_DURABILITY_PROCESS);
  file_bytes sound = load(dir);
  lnt__lmdb_header header;
  CHECK_STATUS(lnt__lmdb_file_header(scratch_join(data, dir, "data.mdb"), &header, NULL), LNT_OK);
  unsigned refused = 0;
  for (size_t size = (size_t)(header.last_page + 1) * header.page_bytes; size > 8192; size -= header.page_bytes / 2) {
    scratch_write(dir, "data.mdb", sound.data, size);
    lnt__store *store = NULL;
    lnt_error err;
    lnt__store_options options = options_of(dir, LNT_DURABILITY_PROCESS);
    lnt_status status = lnt__store_open_lmdb(&options, check_record, &store, &err);
    if (!status) CHECK_EQ_UINT(store_records(store), records); /* no page in use was lost */
    else CHECK_HAS(err.message, "too early");
    refused += status == LNT_ECORRUPT;
    read_everything(dir);
    close_store(store);
  }
  CHECK(refused > 10);
  lnt__free(sound.data);
  scratch_remove(dir);
}

/* ---- Reboots ---- */

static void leave_open(void *user) {
  lnt__store *store = open_at(user, LNT_DURABILITY_PROCESS);
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "good", "1"), LNT_OK);
  CHECK_STATUS(store_put(store, LNT__TABLE_ID, "other", "2"), LNT_OK);
} /* the process ends without closing it */

static void test_unclean_reboot(void) {
  char dir[SCRATCH_PATH_MAX], data[SCRATCH_PATH_MAX], boot[SCRATCH_PATH_MAX];
  scratch_make(dir);
  scratch_join(data, dir, "data");
  scratch_write(dir, "boot", "first\n", 6);
  lnt__store_dir_boot_id_path(scratch_join(boot, dir, "boot"));
  in_child(leave_open, data);
  records_checked = 0;
  lnt__store *store = open_at(data, LNT_DURABILITY_PROCESS); /* killed, but the machine ran on */
  lnt__store_info info;
  CHECK_STATUS(store->vtable->info(store, &info, NULL), LNT_OK);
  CHECK(info.was_unclean && records_checked == 0);
  close_store(store);
  CHECK(!scratch_exists(data, "unclean"));
  in_child(leave_open, data);
  scratch_write(dir, "boot", "second\n", 7);
  bad_key = "other";
  for (int i = 0; i < 2; i++) {
    CHECK_REFUSED(data, LNT_ECORRUPT, "table ID, key 6f74686572: the checksum is wrong");
    CHECK_READ_REFUSED(data, LNT_ECORRUPT, "before the machine stopped");
    CHECK_HAS(logged, "table ID, key 6f74686572");
    CHECK(scratch_exists(data, "unclean")); /* it stays refused */
  }
  bad_key = NULL;
  records_checked = 0;
  close_store(read_at(data));
  CHECK(records_checked == 2 && scratch_exists(data, "unclean"));
  store = open_at(data, LNT_DURABILITY_SYNC);
  CHECK_EQ_UINT(records_checked, 4);
  CHECK_HAS(logged, "2 records checked, all sound");
  CHECK_STATUS(store->vtable->info(store, &info, NULL), LNT_OK);
  CHECK(info.was_unclean && info.records == 2);
  CHECK(!scratch_exists(data, "unclean"));
  close_store(store);
  store = open_at(data, LNT_DURABILITY_PROCESS); /* and once checked, it is over */
  CHECK_STATUS(store->vtable->info(store, &info, NULL), LNT_OK);
  CHECK(!info.was_unclean && records_checked == 4);
  close_store(store);
  lnt__store_dir_boot_id_path(NULL);
  scratch_remove(dir);
}

static void test_synced_commits_need_no_mark(void) {
  char dir[SCRATCH_PATH_MAX], boot[SCRATCH_PATH_MAX];
  scratch_make(dir);
  scratch_write(dir, "boot.id", "first\n", 6);
  char data[SCRATCH_PATH_MAX];
  lnt__store_dir_boot_id_path(scratch_join(boot, dir, "boot.id"));
  scratch_join(data, dir, "data");
  in_child(leave_open, data);
  lnt__store *store = open_at(data, LNT_DURABILITY_SYNC); /* the same boot: syncing makes good what was not synced */
  CHECK_STATUS(store_put(store, LNT__TABLE_META, "b", "1"), LNT_OK);
  CHECK(!scratch_exists(data, "unclean"));
  close_store(store);
  lnt__store_dir_boot_id_path(NULL);
  scratch_remove(dir);
}

CHECK_MAIN(test_reopen, test_reader_beside_owner, test_open_right_after_a_kill, test_open_out_of_memory,
           test_second_owner, test_reader_follows_growth_elsewhere, test_kill, test_kill_beside_reader,
           test_kill_at_each_write, test_growth_beside_readers, test_full_at_limit, test_disk_faults,
           test_file_size_limit, test_address_space_limit, test_small_disk, test_strangers, test_markers,
           test_half_made, test_not_writable, test_read_only_disk, test_damaged_heads, test_damaged_pages,
           test_damaged_beginnings, test_pages_used_twice, test_cut_off, test_unclean_reboot,
           test_synced_commits_need_no_mark);
