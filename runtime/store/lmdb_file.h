/* lmdb_file.h - reads LMDB's data file without LMDB, trusting nothing in it.
 * LMDB believes what its pages say, and a damaged page can make it read outside its map or abort. So a file that may be damaged is looked
 * at here first, with every number checked before it is used. Called by store_lmdb.c and by tests, any thread; blocks on the disk.
 *
 * The layout is that of LMDB data version 1 on a 64-bit machine, in the machine's own byte order. */
#ifndef LNT__LMDB_FILE_H
#define LNT__LMDB_FILE_H

#include "store/store.h"

typedef struct lnt__lmdb_header {
  uint32_t page_bytes;
  uint64_t last_page;
  uint64_t txn;        /* number of the last commit */
  uint64_t file_bytes;
  bool is_short;       /* pages are missing at the end: free ones, which were never written, or the file was cut off; a check tells */
} lnt__lmdb_header;

/* Look at the head of the file: is it LMDB's, of this machine's kind? Safe beside a running owner.
 * Errors: LNT_ECORRUPT, LNT_EIO, LNT_EREADONLY (no permission to read). */
lnt_status lnt__lmdb_file_header(const char *path, lnt__lmdb_header *out, lnt_error *err);

/* The same, and the page that names the tables, and the first page of each table: what LMDB touches while it opens. A few reads.
 * Only while nobody writes. */
lnt_status lnt__lmdb_file_glance(const char *path, lnt_error *err);

typedef lnt_status (*lnt__lmdb_record_fn)(void *user, const char *table, lnt__slice key, lnt__slice value, lnt_error *err);

/* Every page of every table: numbers, bounds, order of keys, pages used twice or both used and free. `fn` is called for each record; its
 * error ends the walk. Only while nobody writes. LNT_ECORRUPT names the page and the table. */
lnt_status lnt__lmdb_file_check(const char *path, lnt__lmdb_record_fn fn, void *user, lnt_error *err);

#endif
