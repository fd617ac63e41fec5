/* pool.h - memory for a lua_State: small blocks, given back by whoever knows their size. One thread at a time.
 *
 * Lua asks for many small blocks and gives them back in the order in which its collector meets them. malloc puts a header before each,
 * looks for neighbours to join and asks itself whether other threads are near. Here a block is a place in a slab of blocks of one
 * size: taking it and giving it back are a few instructions, it has no header, and a slab that is empty serves any other size. */
#ifndef LNT__POOL_H
#define LNT__POOL_H

#include "base/base.h"

#define LNT__POOL_GRAIN 16      /* sizes are rounded up to it, and blocks are aligned to it */
#define LNT__POOL_SMALL_MAX 512 /* what is larger is malloc's */
#define LNT__POOL_SIZES (LNT__POOL_SMALL_MAX / LNT__POOL_GRAIN)

typedef struct lnt__slab lnt__slab;
typedef struct lnt__span lnt__span; /* slabs that came from malloc together */

typedef struct lnt__pool {
  lnt__slab *open[LNT__POOL_SIZES]; /* slabs with a free place, by the size of their blocks */
  lnt__slab *empty;                 /* slabs without a block */
  lnt__span *spans;                 /* the newest first: only that one has slabs that were never used */
  size_t span_count, spans_empty;
  bool plain; /* everything is malloc's: so a sanitizer sees each block */
} lnt__pool;

void lnt__pool_init(lnt__pool *pool, bool plain);
void lnt__pool_finish(lnt__pool *pool); /* small blocks that were not given back are gone with it */
bool lnt__pool_sanitized(void);         /* this build has a sanitizer that watches memory */

/* Like realloc, for size > 0; `old_size` is what `memory` was asked for with, and counts for nothing if that is NULL. NULL: out of memory;
 * `memory` is as it was. */
void *lnt__pool_resize(lnt__pool *pool, void *memory, size_t old_size, size_t size);
void lnt__pool_free(lnt__pool *pool, void *memory, size_t size); /* NULL accepted */

#endif
