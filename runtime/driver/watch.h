/* watch.h - what the files that watch folders share: tree.c finds out what changed, watch.c acts on it. Owner thread. */
#ifndef LNT__WATCH_H
#define LNT__WATCH_H

#include "driver/runtime.h"

typedef struct lnt__stamp { uint64_t dev, ino, size; int64_t mtime_ns, ctime_ns; } lnt__stamp; /* says that a text may have changed */

typedef struct lnt__tree_file {
  char *path;          /* dir/sub/name.lua */
  const char *relative; /* sub/name.lua, in `path` */
  bool is_module;      /* in a folder below: never loaded by itself */
  lnt__stamp stamp;
  uint8_t hash[LNT__SHA256_BYTES]; /* of its text */
  char *text;          /* while `changed`: what it holds now; NULL: it is gone */
  size_t size;
  bool present, seen;  /* seen: in the scan under way */
  bool known;          /* its text was read once */
  bool changed;        /* since it was acted on */
  bool appeared;       /* it was not there before, or is gone now: `require` may find another file */
  uint8_t doubts;      /* scans in a row in which it was gone, or empty: editors do that for a moment */
  /* watch.c: */
  bool loaded, told_gone;
  char *problem;       /* why it does not load; NULL: it does */
} lnt__tree_file;

typedef struct lnt__tree_folder {
  char *path;
  uint64_t dev, ino;
  uv_fs_event_t *handle; /* NULL: the system does not tell; the scan does */
  bool seen;
} lnt__tree_folder;

typedef struct lnt__tree {
  char *dir;
  size_t text_bytes_max;
  lnt__tree_file *files;
  size_t file_count, file_capacity;
  lnt__tree_folder *folders;
  size_t folder_count, folder_capacity;
  bool doubts; /* look again soon */
} lnt__tree;

lnt_status lnt__tree_init(lnt__tree *tree, const char *dir, size_t text_bytes_max, lnt_error *err);
void lnt__tree_finish(lnt__tree *tree); /* handles must be gone */
/* Look at everything. Files whose text is another one now are `changed`. LNT_ENOTFOUND: the folder is gone. LNT_ELIMIT, LNT_ENOMEM. */
lnt_status lnt__tree_scan(lnt__tree *tree, lnt_error *err);
void lnt__tree_acted(lnt__tree_file *file); /* its change is dealt with */

#endif
