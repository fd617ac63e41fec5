/* store_dir.h - the directory of a store on disk: whose it is, whether it is finished, who owns it, how it was left.
 * Called by store_lmdb.c and store_mem.c, on the thread that opens or closes the store; the marks also by the committing thread.
 *
 *   LUNATION      a text file: the words that make the directory ours, and the number of its format. Written last.
 *   LUNATION.new  the same, while the directory is being made. Without LUNATION beside it, nothing here was ever promised to anybody.
 *   owner.lock    locked by the owner for as long as it lives; holds its process id
 *   unclean       there while commits are not synced; holds the id of the boot that made them
 *   data.mdb, lock.mdb  LMDB's */
#ifndef LNT__STORE_DIR_H
#define LNT__STORE_DIR_H

#include "store/store.h"

#define LNT__STORE_FORMAT 1
#define LNT__STORE_DATA_FILE "data.mdb"
#define LNT__STORE_LOCK_FILE "lock.mdb"

typedef struct lnt__store_dir {
  char *path;  /* absolute, without symbolic links */
  int fd;      /* the directory */
  int lock_fd; /* owner.lock; -1: not the owner */
  bool fresh;  /* no LUNATION yet: make the data file, then lnt__store_dir_complete() */
} lnt__store_dir;

/* Find or make the directory, refuse what is not ours, and take its lock unless `read_only`. On an error there is nothing to close. */
lnt_status lnt__store_dir_open(lnt__store_dir *dir, const char *path, bool read_only, lnt_error *err);
/* Write LUNATION; with `sync`, so that it is there after a power cut, and everything else in the directory too. */
lnt_status lnt__store_dir_complete(lnt__store_dir *dir, bool sync, lnt_error *err);
void lnt__store_dir_unlock(lnt__store_dir *dir);
void lnt__store_dir_close(lnt__store_dir *dir);

/* Make a new directory that must not exist yet, not locked: the target of a copy. Remove takes away our files and the directory. */
lnt_status lnt__store_dir_create(lnt__store_dir *dir, const char *path, lnt_error *err);
void lnt__store_dir_remove(const char *path);

/* The mark `unclean`: set before the first commit that is not synced, durable when this returns LNT_OK. */
lnt_status lnt__store_dir_mark(lnt__store_dir *dir, lnt_error *err);
void lnt__store_dir_unmark(lnt__store_dir *dir);
typedef enum lnt__store_mark { LNT__STORE_CLEAN, LNT__STORE_UNCLEAN /* the machine ran on since */, LNT__STORE_REBOOTED } lnt__store_mark;
lnt__store_mark lnt__store_dir_marked(const lnt__store_dir *dir);

/* `path`/`name`; NULL: out of memory. Release with lnt__free(). */
char *lnt__store_dir_file(const char *path, const char *name);

/* For tests: where to read the boot id instead of /proc/sys/kernel/random/boot_id. NULL: there again. The text is not copied. */
void lnt__store_dir_boot_id_path(const char *path);

#endif
