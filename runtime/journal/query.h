/* query.h - finding instances by what they are. Owner thread. No transaction of the store is open between calls. */
#ifndef LNT__QUERY_H
#define LNT__QUERY_H

#include "journal/journal.h"

enum {
  LNT__QUERY_CONDITIONS_MAX = LNT_ATTRIBUTES_MAX + 4,
  LNT__QUERY_LEAPS_MAX = 20000 /* reads of the store for one page */
};

/* A list of runs: those behind one beginning of the keys of a table. */
typedef struct lnt__stream {
  lnt__table table;
  uint8_t prefix[LNT__KEY_INDEX_BYTES_MAX];
  size_t prefix_size;
  uint64_t *runs; /* read ahead, falling */
  uint32_t count, capacity, at;
  bool ended;     /* there are none below the last one read */
} lnt__stream;

typedef struct lnt__condition { lnt__stream **streams; size_t count, capacity; } lnt__condition; /* a union */
typedef struct lnt__interval { uint64_t from, to; } lnt__interval;                              /* runs from <= run < to */

typedef struct lnt__query {
  lnt__store *store;
  lnt_list_options options;
  lnt__condition conditions[LNT__QUERY_CONDITIONS_MAX];
  size_t condition_count;
  lnt__interval *intervals; /* falling */
  size_t interval_count, interval_capacity, interval_at;
  bool by_row;    /* the rows must be asked, too */
  uint32_t leaps; /* reads so far */
  lnt_error *err;
} lnt__query;

/* Checks the options and copies them; what they point to must live as long as the query. Always finish it. Errors as lnt_list(). */
lnt_status lnt__query_init(lnt__query *q, lnt__store *store, const lnt_list_options *options, lnt_error *err);
void lnt__query_finish(lnt__query *q);

/* The next instance below *run, and its row in *memory (lnt__free). *memory NULL: there is none (*run is 0), or the reads of one page
 * are used up and *run says where to go on. */
lnt_status lnt__query_below(lnt__query *q, uint64_t *run, lnt__row *row, void **memory);

lnt_status lnt__query_count(lnt__query *q, lnt_counts *counts); /* adds to by_status */

#endif
