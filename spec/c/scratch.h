/* scratch.h - a temporary directory for a test, under TMPDIR or /tmp, and its removal with all that is in it. */
#ifndef LNT_SPEC_SCRATCH_H
#define LNT_SPEC_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

#define SCRATCH_PATH_MAX 512

/* Make a new directory and put its path into `path`. Stops the program when it cannot. */
void scratch_make(char path[SCRATCH_PATH_MAX]);
void scratch_remove(const char *path); /* the directory and everything in it; never follows a link */

/* "`dir`/`name`" in `out`. Answers `out`. */
const char *scratch_join(char out[SCRATCH_PATH_MAX], const char *dir, const char *name);

void scratch_write(const char *dir, const char *name, const void *data, size_t size);
bool scratch_exists(const char *dir, const char *name);

#endif
