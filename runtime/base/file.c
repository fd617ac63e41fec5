/* file.c - folders and whole files, for the few places that read them. Any thread; blocks on the disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

static const struct { int number; lnt_status status; } errno_map[] = {
  {ENOENT, LNT_ENOTFOUND}, {EACCES, LNT_EREADONLY}, {EPERM, LNT_EREADONLY}, {EROFS, LNT_EREADONLY},    {ENOSPC, LNT_EFULL},
  {EDQUOT, LNT_EFULL},     {ENOMEM, LNT_ENOMEM},    {ENOTDIR, LNT_EINVAL},  {ENAMETOOLONG, LNT_EINVAL}, {ELOOP, LNT_EINVAL},
};

lnt_status lnt__status_of_errno(int number) {
  for (size_t i = 0; i < LNT__COUNT(errno_map); i++)
    if (errno_map[i].number == number) return errno_map[i].status;
  return LNT_EIO;
}

static bool is_dir(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* `part` is the path cut after one of its components. */
static lnt_status make_dir(const char *path, const char *part, lnt_error *err) {
  if (mkdir(part, 0777) == 0) return LNT_OK;
  int number = errno;
  if (is_dir(part)) return LNT_OK;
  if (number == EEXIST) return lnt__fail(err, LNT_EINVAL, "cannot make the folder %s: %s is a file, not a folder", path, part);
  lnt_status status = lnt__status_of_errno(number);
  return lnt__fail(err, status, "cannot make the folder %s: %s: %s", path, part, strerror(number));
}

lnt_status lnt__make_dirs(const char *path, lnt_error *err) {
  if (!path || !*path) return lnt__fail(err, LNT_EINVAL, "cannot make a folder without a name: give a path");
  if (is_dir(path)) return LNT_OK;
  char *part = lnt__strdup(path);
  if (!part) return lnt__fail(err, LNT_ENOMEM, "out of memory at the folder %s", path);
  lnt_status status = LNT_OK;
  for (char *slash = strchr(part + 1, '/'); slash && !status; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    status = make_dir(path, part, err);
    *slash = '/';
  }
  if (!status) status = make_dir(path, part, err);
  lnt__free(part);
  return status;
}

/* Read to the end: the size that stat tells may be stale, or 0 for files that the kernel makes up. */
static lnt_status read_all(int fd, const char *path, size_t max, char **data, size_t *size, lnt_error *err) {
  size_t capacity = 0, used = 0;
  char *text = NULL;
  for (;;) {
    if (used > max) {
      lnt__free(text);
      return lnt__fail(err, LNT_ELIMIT, "%s is larger than %zu bytes", path, max);
    }
    if (!lnt__grow((void **)&text, &capacity, used + 4096, 1)) {
      lnt__free(text);
      return lnt__fail(err, LNT_ENOMEM, "out of memory while reading %s", path);
    }
    ssize_t got = read(fd, text + used, capacity - used - 1);
    if (got == 0) break;
    if (got > 0) used += (size_t)got;
    if (got < 0 && errno != EINTR) {
      lnt_status status = lnt__fail(err, LNT_EIO, "cannot read %s: %s", path, strerror(errno));
      lnt__free(text);
      return status;
    }
  }
  text[used] = 0;
  *data = text;
  *size = used;
  return LNT_OK;
}

lnt_status lnt__read_file(const char *path, size_t max, char **data, size_t *size, lnt_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe that nobody writes to must not hang the caller */
  if (fd < 0) return lnt__fail(err, lnt__status_of_errno(errno), "cannot open %s: %s", path, strerror(errno));
  struct stat info;
  lnt_status status = LNT_OK;
  if (fstat(fd, &info) != 0) status = lnt__fail(err, LNT_EIO, "cannot read %s: %s", path, strerror(errno));
  else if (!S_ISREG(info.st_mode))
    status = lnt__fail(err, LNT_EINVAL, "%s is a %s, not a file", path, S_ISDIR(info.st_mode) ? "folder" : "device or pipe");
  else status = read_all(fd, path, max, data, size, err);
  close(fd);
  return status;
}

static bool write_all(int fd, const uint8_t *data, size_t size) {
  while (size) {
    ssize_t written = write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    data += written;
    size -= (size_t)written;
  }
  return fsync(fd) == 0;
}

#define DRAFT_SUFFIX ".XXXXXX" /* mkstemp() puts letters there */

lnt_status lnt__write_file(const char *path, const void *data, size_t size, lnt_error *err) {
  size_t draft_size = strlen(path) + sizeof DRAFT_SUFFIX;
  char *draft = lnt__alloc(draft_size);
  if (!draft) return lnt__fail(err, LNT_ENOMEM, "out of memory while %s was written", path);
  snprintf(draft, draft_size, "%s" DRAFT_SUFFIX, path);
  int fd = mkstemp(draft), number = errno;
  bool good = fd >= 0 && write_all(fd, data, size) && fchmod(fd, 0644) == 0;
  if (fd >= 0 && !good) number = errno;
  if (fd >= 0 && close(fd) != 0 && good) good = false, number = errno;
  if (good && rename(draft, path) != 0) good = false, number = errno;
  if (fd >= 0 && !good) unlink(draft);
  lnt__free(draft);
  if (good) return LNT_OK;
  lnt_status status = number == EISDIR ? LNT_EINVAL : lnt__status_of_errno(number);
  return lnt__fail(err, status, "cannot write %s: %s", path, strerror(number));
}
