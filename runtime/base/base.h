/* base.h - what every layer stands on: errors, memory, assertions. Any thread unless a function says otherwise. */
#ifndef LNT__BASE_H
#define LNT__BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "include/lunation.h"

#define LNT__PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#define LNT__UNUSED __attribute__((unused))
#define LNT__COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A condition that only a bug in Lunation can break. Kept in release builds: a wrong journal is worse than a stop. */
#define LNT__ASSERT(condition) ((condition) ? (void)0 : lnt__assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void lnt__assert_failed(const char *condition, const char *file, int line);

/* A limit was met: count it in `met`, an lnt_limits of counters (may be NULL); `return LNT__MET(met, x), lnt__fail(...)` reads as one step.
 * Any thread. */
#define LNT__MET(met, limit) ((void)((met) && __atomic_fetch_add(&(met)->limit, 1, __ATOMIC_RELAXED)))

/* Fill `err` (may be NULL) and answer `code`, so that `return lnt__fail(err, LNT_EIO, "...")` reads as one step. */
lnt_status lnt__fail(lnt_error *err, lnt_status code, const char *format, ...) LNT__PRINTF(3, 4);

/* Put "prefix: " before the message that `err` (may be NULL) holds; answers err's code or `code` when err is NULL. */
lnt_status lnt__fail_prefix(lnt_error *err, lnt_status code, const char *format, ...) LNT__PRINTF(3, 4);

/* malloc and friends with a fault point (see fault.h). lnt__free(NULL) is a no-op. Size 0 gives a unique pointer. */
void *lnt__alloc(size_t size);
void *lnt__calloc(size_t count, size_t size);
void *lnt__realloc(void *memory, size_t size);
void lnt__free(void *memory);
char *lnt__strdup(const char *text);
char *lnt__strndup(const char *text, size_t size);

/* Grow `*array` (of `item_size` items, capacity `*capacity`) so that it holds at least `need` items. false: out of memory. */
bool lnt__grow(void **array, size_t *capacity, size_t need, size_t item_size);

/* The rule of ids and names: 1..max bytes, valid UTF-8, no control characters; `slash` allows '/'. `what` names the field in
 * the message. LNT_EINVAL. */
lnt_status lnt__check_name(const char *what, const char *text, size_t max, bool slash, lnt_error *err);
bool lnt__utf8_valid(const char *text, size_t size);
size_t lnt__utf8_length(const char *text, size_t size); /* bytes of the first character; 0: not valid there, or size 0 */

/* What a failed system call means: LNT_EFULL for ENOSPC, LNT_EREADONLY for EACCES ... and LNT_EIO for the rest. */
lnt_status lnt__status_of_errno(int number);

/* Make `path` and its parents (mode 0777 less umask). LNT_OK also if it exists as a directory.
 * Errors: LNT_EINVAL (a part of it is a file), LNT_EREADONLY, LNT_EFULL, LNT_ENOTFOUND, LNT_EIO, LNT_ENOMEM. */
lnt_status lnt__make_dirs(const char *path, lnt_error *err);

/* Read a whole regular file of at most `max` bytes; release *data with lnt__free(). *data is NUL-terminated after *size bytes.
 * Errors: LNT_ENOTFOUND, LNT_EREADONLY (no permission), LNT_EINVAL (a folder, a pipe), LNT_ELIMIT, LNT_EIO, LNT_ENOMEM. */
lnt_status lnt__read_file(const char *path, size_t max, char **data, size_t *size, lnt_error *err);

/* Write a whole file, synced, in place of one that may be there: it is the old one or the new one, never half of it.
 * Errors: LNT_ENOTFOUND (no such folder), LNT_EREADONLY, LNT_EINVAL (a folder), LNT_EFULL, LNT_EIO, LNT_ENOMEM. */
lnt_status lnt__write_file(const char *path, const void *data, size_t size, lnt_error *err);

#endif
