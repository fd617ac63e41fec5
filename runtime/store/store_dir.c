/* store_dir.c - the directory of a store on disk; see store_dir.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* realpath, flock */
#endif
#include "store/store_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MARKER "LUNATION"
#define MARKER_NEW "LUNATION.new"
#define OWNER_LOCK "owner.lock"
#define UNCLEAN "unclean"

#define MARKER_HEAD "Lunation data directory\nformat "
#define MARKER_BYTES_MAX 4096
#define BOOT_ID_BYTES 64

static const char *const our_files[] = {MARKER, MARKER_NEW, OWNER_LOCK, UNCLEAN, LNT__STORE_DATA_FILE, LNT__STORE_LOCK_FILE};

static const char *boot_id_path = "/proc/sys/kernel/random/boot_id";

void lnt__store_dir_boot_id_path(const char *path) { boot_id_path = path ? path : "/proc/sys/kernel/random/boot_id"; }

char *lnt__store_dir_file(const char *path, const char *name) {
  size_t size = strlen(path) + strlen(name) + 2;
  char *file = lnt__alloc(size);
  if (file) snprintf(file, size, "%s/%s", path, name);
  return file;
}

static lnt_status fail_errno(lnt_error *err, const char *what, const char *path, const char *name, int number) {
  lnt_status status = lnt__status_of_errno(number);
  static const struct { lnt_status status; const char *advice; } advices[] = {
      {LNT_EREADONLY, "; the directory and its files must be writable by this user, or be opened read-only"},
      {LNT_EFULL, "; free some room on its file system"},
  };
  const char *advice = "";
  for (size_t i = 0; i < LNT__COUNT(advices); i++)
    if (advices[i].status == status) advice = advices[i].advice;
  if (status == LNT_ENOTFOUND) status = LNT_EIO;
  return lnt__fail(err, status, "cannot %s %s%s%s: %s%s", what, path, *name ? "/" : "", name, strerror(number), advice);
}

static bool write_all(int fd, const char *text, size_t size) {
  while (size) {
    ssize_t done = write(fd, text, size);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    text += done;
    size -= (size_t)done;
  }
  return true;
}

static lnt_status write_file(const lnt__store_dir *dir, const char *name, const char *text, bool sync, lnt_error *err) {
  int fd = openat(dir->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return fail_errno(err, "make", dir->path, name, errno);
  bool written = write_all(fd, text, strlen(text)) && (!sync || fsync(fd) == 0);
  int number = errno;
  close(fd);
  return written ? LNT_OK : fail_errno(err, "write", dir->path, name, number);
}

/* The first bytes of a small file as text; -1: there is none, errno says why. */
static int read_small(const lnt__store_dir *dir, const char *name, char *text, size_t size) {
  int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return -1;
  ssize_t got;
  do got = read(fd, text, size - 1);
  while (got < 0 && errno == EINTR);
  int number = errno;
  close(fd);
  if (got < 0) return errno = number, -1;
  text[got] = 0;
  return 0;
}

/* ---- Whose directory it is ---- */

static lnt_status fail_not_ours(lnt_error *err, const char *path, const char *why) {
  return lnt__fail(err, LNT_ENOTOURS, "%s is not a Lunation data directory: %s; give the path of one, or of an empty or new directory",
                   path, why);
}

static lnt_status fail_stranger(lnt_error *err, const char *path, const char *name) {
  char why[400];
  snprintf(why, sizeof why, "it holds \"%.255s\" and no file " MARKER, name);
  return fail_not_ours(err, path, why);
}

static bool is_ours(const char *name) {
  for (size_t i = 0; i < LNT__COUNT(our_files); i++)
    if (strcmp(name, our_files[i]) == 0) return true;
  return false;
}

/* A directory without LUNATION may be taken when it is empty, or when we began to make it and did not come to the end: then it holds
 * LUNATION.new, or nothing but a lock. An LMDB of somebody else has data.mdb and no LUNATION.new. */
static lnt_status check_takeable(const lnt__store_dir *dir, lnt_error *err) {
  int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *list = fd < 0 ? NULL : fdopendir(fd);
  if (!list) {
    int number = errno;
    if (fd >= 0) close(fd);
    return fail_errno(err, "list", dir->path, "", number);
  }
  bool begun = faccessat(dir->fd, MARKER_NEW, F_OK, 0) == 0;
  lnt_status status = LNT_OK;
  for (struct dirent *entry; !status && (entry = readdir(list));) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    bool takeable = begun ? is_ours(entry->d_name) : strcmp(entry->d_name, OWNER_LOCK) == 0;
    if (!takeable) status = fail_stranger(err, dir->path, entry->d_name);
  }
  closedir(list);
  return status;
}

/* Read LUNATION. *there is false when there is none. */
static lnt_status check_marker(const lnt__store_dir *dir, bool *there, lnt_error *err) {
  char text[MARKER_BYTES_MAX];
  *there = read_small(dir, MARKER, text, sizeof text) == 0;
  if (!*there) return errno == ENOENT ? LNT_OK : fail_errno(err, "read", dir->path, MARKER, errno);
  bool says_so = strncmp(text, MARKER_HEAD, strlen(MARKER_HEAD)) == 0;
  if (!says_so) return fail_not_ours(err, dir->path, "its file " MARKER " does not say that it is one");
  char *end;
  unsigned long format = strtoul(text + strlen(MARKER_HEAD), &end, 10);
  if (*end != '\n' || format == 0) return fail_not_ours(err, dir->path, "its file " MARKER " does not tell its format");
  if (format <= LNT__STORE_FORMAT) return LNT_OK;
  return lnt__fail(err, LNT_EVERSION, "%s has data format %lu, but Lunation " LNT_VERSION_STRING " reads formats up to %d: use a newer "
                   "Lunation; nothing was changed", dir->path, format, LNT__STORE_FORMAT);
}

/* ---- The lock of the owner ---- */

/* The id is written in place and never cut away: a full disk must not keep a store from opening again. */
static void write_owner(int fd) {
  char text[32];
  int size = snprintf(text, sizeof text, "%-15ld\n", (long)getpid());
  if (pwrite(fd, text, (size_t)size, 0) != size) return; /* for people only */
}

static long owner_of(const lnt__store_dir *dir) {
  char text[32] = "";
  return read_small(dir, OWNER_LOCK, text, sizeof text) == 0 ? strtol(text, NULL, 10) : 0;
}

static bool has_kill_pending(const char *status, const char *field) {
  const char *at = strstr(status, field);
  return at && strtoull(at + strlen(field), NULL, 16) >> (SIGKILL - 1) & 1;
}

/* A process that was killed holds its lock until its memory is given back, which takes longer the more it has. */
static bool is_dying(const lnt__store_dir *dir, long pid) {
  enum { EXITING = 0x4, SIGNALED = 0x400 }; /* PF_EXITING, PF_SIGNALED of Linux */
  char path[64], text[4096], state = 0;
  unsigned flags = 0;
  if (pid <= 0) return false;
  if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) return true;
  snprintf(path, sizeof path, "/proc/%ld/stat", pid);
  if (read_small(dir, path, text, sizeof text) != 0) return false;
  const char *at = strrchr(text, ')'); /* behind the name of the program */
  if (!at || sscanf(at, ") %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2) return false;
  if (state == 'Z' || state == 'X' || flags & (EXITING | SIGNALED)) return true;
  snprintf(path, sizeof path, "/proc/%ld/status", pid);
  return read_small(dir, path, text, sizeof text) == 0 && (has_kill_pending(text, "\nSigPnd:") || has_kill_pending(text, "\nShdPnd:"));
}

enum { LOCK_NAP_US = 5000, LOCK_NAPS_MAX = 400, LOCK_ALIVE_MAX = 2 };

/* Take the lock; while its owner is on its way out, wait for it, two seconds at most. Who looks alive twice is. 0, or errno. */
static int lock_patiently(const lnt__store_dir *dir, int fd) {
  int alive = 0;
  for (int naps = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; naps++) {
    int number = errno;
    alive = is_dying(dir, owner_of(dir)) ? 0 : alive + 1;
    if (number != EWOULDBLOCK || naps == LOCK_NAPS_MAX || alive == LOCK_ALIVE_MAX) return number;
    usleep(LOCK_NAP_US);
  }
  return 0;
}

static lnt_status fail_busy(lnt_error *err, const lnt__store_dir *dir) {
  long pid = owner_of(dir);
  char owner[40] = "another process";
  if (pid > 0) snprintf(owner, sizeof owner, "process %ld", pid);
  return lnt__fail(err, LNT_EBUSY, "%s is in use by %s: stop it, or open the directory read-only", dir->path, owner);
}

static lnt_status lock_owner(lnt__store_dir *dir, lnt_error *err) {
  int fd = openat(dir->fd, OWNER_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return fail_errno(err, "write", dir->path, OWNER_LOCK, errno);
  int number = lock_patiently(dir, fd);
  if (number) {
    close(fd);
    return number == EWOULDBLOCK ? fail_busy(err, dir) : fail_errno(err, "lock", dir->path, OWNER_LOCK, number);
  }
  write_owner(fd);
  dir->lock_fd = fd;
  return LNT_OK;
}

void lnt__store_dir_unlock(lnt__store_dir *dir) {
  if (dir->lock_fd >= 0) close(dir->lock_fd);
  dir->lock_fd = -1;
}

/* ---- Opening, making ---- */

static void remove_leftovers(const lnt__store_dir *dir) {
  unlinkat(dir->fd, LNT__STORE_DATA_FILE, 0);
  unlinkat(dir->fd, LNT__STORE_LOCK_FILE, 0);
  unlinkat(dir->fd, UNCLEAN, 0);
}

static lnt_status begin_marker(const lnt__store_dir *dir, lnt_error *err) {
  char text[512];
  snprintf(text, sizeof text,
           MARKER_HEAD "%d\n\nMade by Lunation " LNT_VERSION_STRING ". The files here belong together. Do not edit them, and do not copy\n"
                       "them while a process has them open: take a snapshot instead.\n", LNT__STORE_FORMAT);
  return write_file(dir, MARKER_NEW, text, false, err);
}

static lnt_status take(lnt__store_dir *dir, lnt_error *err) {
  bool marked;
  lnt_status status = check_marker(dir, &marked, err);
  if (!status && !marked) status = check_takeable(dir, err); /* before a file of ours is made in a stranger's directory */
  if (!status) status = lock_owner(dir, err);
  if (!status) status = check_marker(dir, &marked, err); /* another process may have come to the end meanwhile */
  if (status || marked) return status;
  remove_leftovers(dir);
  dir->fresh = true;
  return begin_marker(dir, err);
}

static lnt_status check_readable(lnt__store_dir *dir, lnt_error *err) {
  bool marked;
  lnt_status status = check_marker(dir, &marked, err);
  if (status || marked) return status;
  return fail_not_ours(err, dir->path, "it has no file " MARKER);
}

static lnt_status open_path(lnt__store_dir *dir, const char *path, lnt_error *err) {
  *dir = (lnt__store_dir){.fd = -1, .lock_fd = -1};
  char *absolute = realpath(path, NULL);
  if (!absolute) {
    if (errno == ENOENT || errno == ENOTDIR) return fail_not_ours(err, path, "it does not exist");
    return fail_errno(err, "open", path, "", errno);
  }
  dir->path = lnt__strdup(absolute);
  free(absolute);
  if (!dir->path) return lnt__fail(err, LNT_ENOMEM, "out of memory while opening %s", path);
  dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir->fd >= 0) return LNT_OK;
  return errno == ENOTDIR ? fail_not_ours(err, path, "it is a file") : fail_errno(err, "open", path, "", errno);
}

/* Make the directory. A file in the way is the caller's mistake about what is ours. */
static lnt_status make_path(const char *path, lnt_error *err) {
  struct stat info;
  if (stat(path, &info) == 0) return S_ISDIR(info.st_mode) ? LNT_OK : fail_not_ours(err, path, "it is a file");
  lnt_status status = lnt__make_dirs(path, err);
  if (status == LNT_EREADONLY || status == LNT_EFULL || status == LNT_EINVAL || status == LNT_ENOMEM) return status;
  return status ? lnt__fail_prefix(err, LNT_EIO, "data directory") : LNT_OK;
}

lnt_status lnt__store_dir_open(lnt__store_dir *dir, const char *path, bool read_only, lnt_error *err) {
  *dir = (lnt__store_dir){.fd = -1, .lock_fd = -1};
  if (!path || !*path) return lnt__fail(err, LNT_EINVAL, "the data directory has no name: give its path in `dir`");
  lnt_status status = read_only ? LNT_OK : make_path(path, err);
  if (!status) status = open_path(dir, path, err);
  if (!status) status = read_only ? check_readable(dir, err) : take(dir, err);
  if (status) lnt__store_dir_close(dir);
  return status;
}

static void sync_parent(const lnt__store_dir *dir) {
  int fd = openat(dir->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  if (fsync(fd) != 0) { /* some file systems cannot, and then need not */
  }
  close(fd);
}

lnt_status lnt__store_dir_complete(lnt__store_dir *dir, bool sync, lnt_error *err) {
  int fd = openat(dir->fd, MARKER_NEW, O_RDONLY | O_CLOEXEC);
  bool done = fd >= 0 && (!sync || fsync(fd) == 0) && renameat(dir->fd, MARKER_NEW, dir->fd, MARKER) == 0;
  if (done && sync) {
    done = fsync(dir->fd) == 0 || errno == EINVAL;
    sync_parent(dir);
  }
  int number = errno;
  if (fd >= 0) close(fd);
  if (!done) return fail_errno(err, "write", dir->path, MARKER, number);
  dir->fresh = false;
  return LNT_OK;
}

void lnt__store_dir_close(lnt__store_dir *dir) {
  lnt__store_dir_unlock(dir);
  if (dir->fd >= 0) close(dir->fd);
  lnt__free(dir->path);
  *dir = (lnt__store_dir){.fd = -1, .lock_fd = -1};
}

lnt_status lnt__store_dir_create(lnt__store_dir *dir, const char *path, lnt_error *err) {
  *dir = (lnt__store_dir){.fd = -1, .lock_fd = -1};
  if (!path || !*path) return lnt__fail(err, LNT_EINVAL, "the copy has no name: give the path of a directory that does not exist yet");
  if (mkdir(path, 0777) != 0) {
    if (errno == EEXIST) return lnt__fail(err, LNT_EEXIST, "cannot copy to %s: it exists; give the path of a new directory", path);
    if (errno == ENOENT || errno == ENOTDIR)
      return lnt__fail(err, LNT_EINVAL, "cannot copy to %s: the folder it should be in does not exist", path);
    return fail_errno(err, "make", path, "", errno);
  }
  lnt_status status = open_path(dir, path, err);
  if (!status) status = begin_marker(dir, err);
  if (!status) return LNT_OK;
  lnt__store_dir_close(dir);
  lnt__store_dir_remove(path);
  return status;
}

void lnt__store_dir_remove(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  for (size_t i = 0; i < LNT__COUNT(our_files); i++) unlinkat(fd, our_files[i], 0);
  close(fd);
  rmdir(path);
}

/* ---- The mark of commits that are not synced ---- */

/* This boot's id, without the newline. Empty: unknown, which equals no other. */
static void read_boot_id(char *id, size_t size) {
  id[0] = 0;
  int fd = open(boot_id_path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t got = read(fd, id, size - 1);
  close(fd);
  id[got < 0 ? 0 : got] = 0;
  id[strcspn(id, "\r\n")] = 0;
}

lnt_status lnt__store_dir_mark(lnt__store_dir *dir, lnt_error *err) {
  char id[BOOT_ID_BYTES], text[BOOT_ID_BYTES + 128];
  read_boot_id(id, sizeof id);
  snprintf(text, sizeof text, "boot %s\nCommits made since this boot are not synced. Removed by a clean close.\n", id);
  lnt_status status = write_file(dir, UNCLEAN, text, true, err);
  if (!status && fsync(dir->fd) != 0 && errno != EINVAL) status = fail_errno(err, "sync", dir->path, "", errno);
  return status;
}

void lnt__store_dir_unmark(lnt__store_dir *dir) { unlinkat(dir->fd, UNCLEAN, 0); }

/* A mark that cannot be read, or from an unknown boot, is taken for the worse. */
lnt__store_mark lnt__store_dir_marked(const lnt__store_dir *dir) {
  char id[BOOT_ID_BYTES], text[BOOT_ID_BYTES + 128];
  if (read_small(dir, UNCLEAN, text, sizeof text) != 0) return errno == ENOENT ? LNT__STORE_CLEAN : LNT__STORE_REBOOTED;
  read_boot_id(id, sizeof id);
  text[strcspn(text, "\n")] = 0;
  bool same = id[0] && strncmp(text, "boot ", 5) == 0 && strcmp(text + 5, id) == 0;
  return same ? LNT__STORE_UNCLEAN : LNT__STORE_REBOOTED;
}
