/* scratch.c - temporary directories; see scratch.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw, mkdtemp */
#endif
#include "scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void stop(const char *what, const char *path) {
  fprintf(stderr, "scratch: cannot %s %s\n", what, path);
  exit(2);
}

void scratch_make(char path[SCRATCH_PATH_MAX]) {
  const char *base = getenv("TMPDIR");
  int size = snprintf(path, SCRATCH_PATH_MAX, "%s/lunation-test-XXXXXX", base && *base ? base : "/tmp");
  if (size >= SCRATCH_PATH_MAX || !mkdtemp(path)) stop("make", path);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) {
  (void)info;
  (void)kind;
  (void)at;
  return remove(path);
}

void scratch_remove(const char *path) {
  if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && access(path, F_OK) == 0) stop("remove", path);
}

const char *scratch_join(char out[SCRATCH_PATH_MAX], const char *dir, const char *name) {
  if (snprintf(out, SCRATCH_PATH_MAX, "%s/%s", dir, name) >= SCRATCH_PATH_MAX) stop("name a file in", dir);
  return out;
}

void scratch_write(const char *dir, const char *name, const void *data, size_t size) {
  char path[SCRATCH_PATH_MAX];
  FILE *file = fopen(scratch_join(path, dir, name), "wb");
  if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) stop("write", path);
}

bool scratch_exists(const char *dir, const char *name) {
  char path[SCRATCH_PATH_MAX];
  return access(scratch_join(path, dir, name), F_OK) == 0;
}
