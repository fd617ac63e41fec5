/* pool.c - slabs of blocks of one size. Called by the allocators of the Lua states, on the thread of the state. */
#include "base/pool.h"

#include <stdlib.h>

#define SLAB_BYTES ((size_t)8 << 10) /* and aligned to it: the address of a block tells its slab */
#define SPAN_SLABS 32u
#define SPANS_EMPTY_MAX 1u /* kept for the next rise */

typedef struct block { struct block *next; } block;

struct lnt__slab {
  lnt__slab *next, *prev; /* in the list of its size, or of those that are empty */
  lnt__span *span;
  block *given_back;
  char *fresh, *fresh_end; /* places that were never taken */
  uint32_t used;
  uint32_t size; /* its place in `open` */
};

/* Behind the head, the first block is aligned. */
#define HEAD_BYTES ((sizeof(lnt__slab) + LNT__POOL_GRAIN - 1) / LNT__POOL_GRAIN * LNT__POOL_GRAIN)

struct lnt__span {
  lnt__span *next, *prev;
  char *slabs;
  uint32_t taken; /* slabs that were ever used: the first ones */
  uint32_t used;  /* slabs with a block */
};

void lnt__pool_init(lnt__pool *pool, bool plain) { *pool = (lnt__pool){.plain = plain}; }

bool lnt__pool_sanitized(void) {
#if defined(__SANITIZE_ADDRESS__)
  return true;
#elif defined(__has_feature)
  return __has_feature(address_sanitizer);
#else
  return false;
#endif
}

void lnt__pool_finish(lnt__pool *pool) {
  while (pool->spans) {
    lnt__span *span = pool->spans;
    pool->spans = span->next;
    free(span->slabs);
    free(span);
  }
  lnt__pool_init(pool, pool->plain);
}

/* ---- Lists of slabs ---- */

static void link_slab(lnt__slab **list, lnt__slab *slab) {
  slab->prev = NULL;
  slab->next = *list;
  if (slab->next) slab->next->prev = slab;
  *list = slab;
}

static void unlink_slab(lnt__slab **list, lnt__slab *slab) {
  if (slab->prev) slab->prev->next = slab->next;
  else *list = slab->next;
  if (slab->next) slab->next->prev = slab->prev;
}

/* ---- Spans ---- */

static bool add_span(lnt__pool *pool) {
  lnt__span *span = malloc(sizeof *span);
  char *slabs = span ? aligned_alloc(SLAB_BYTES, SPAN_SLABS * SLAB_BYTES) : NULL;
  if (!slabs) {
    free(span);
    return false;
  }
  *span = (lnt__span){.next = pool->spans, .slabs = slabs};
  if (span->next) span->next->prev = span;
  pool->spans = span;
  pool->span_count++;
  pool->spans_empty++;
  return true;
}

static void drop_span(lnt__pool *pool, lnt__span *span) {
  for (uint32_t i = 0; i < span->taken; i++) unlink_slab(&pool->empty, (lnt__slab *)(void *)(span->slabs + i * SLAB_BYTES));
  if (span->prev) span->prev->next = span->next;
  else pool->spans = span->next;
  if (span->next) span->next->prev = span->prev;
  pool->span_count--;
  pool->spans_empty--;
  free(span->slabs);
  free(span);
}

/* A slab without a block, in no list; NULL: out of memory. */
static lnt__slab *take_slab(lnt__pool *pool) {
  lnt__slab *slab = pool->empty;
  if (slab) {
    unlink_slab(&pool->empty, slab);
  } else {
    if ((!pool->spans || pool->spans->taken == SPAN_SLABS) && !add_span(pool)) return NULL;
    slab = (lnt__slab *)(void *)(pool->spans->slabs + pool->spans->taken++ * SLAB_BYTES);
    slab->span = pool->spans;
  }
  if (slab->span->used++ == 0) pool->spans_empty--;
  return slab;
}

static void give_slab(lnt__pool *pool, lnt__slab *slab) {
  lnt__span *span = slab->span;
  link_slab(&pool->empty, slab);
  if (--span->used) return;
  pool->spans_empty++;
  if (pool->spans_empty > SPANS_EMPTY_MAX) drop_span(pool, span);
}

static lnt__slab *open_slab(lnt__pool *pool, uint32_t size) {
  lnt__slab *slab = take_slab(pool);
  if (!slab) return NULL;
  size_t block_bytes = (size_t)(size + 1) * LNT__POOL_GRAIN;
  slab->given_back = NULL;
  slab->fresh = (char *)slab + HEAD_BYTES;
  slab->fresh_end = slab->fresh + (SLAB_BYTES - HEAD_BYTES) / block_bytes * block_bytes;
  slab->used = 0;
  slab->size = size;
  link_slab(&pool->open[size], slab);
  return slab;
}

/* ---- Blocks ---- */

static bool is_full(const lnt__slab *slab) { return !slab->given_back && slab->fresh == slab->fresh_end; }

static uint32_t size_of(size_t bytes) { return (uint32_t)((bytes - 1) / LNT__POOL_GRAIN); }

static void *take_from(lnt__pool *pool, lnt__slab *slab) {
  void *taken = slab->given_back;
  if (taken) {
    slab->given_back = slab->given_back->next;
  } else {
    taken = slab->fresh;
    slab->fresh += (size_t)(slab->size + 1) * LNT__POOL_GRAIN;
  }
  slab->used++;
  if (is_full(slab)) unlink_slab(&pool->open[slab->size], slab);
  return taken;
}

/* When the system has nothing left, a larger place does: somewhere there is one, and so a block can always be made smaller. */
static void *take(lnt__pool *pool, uint32_t size) {
  lnt__slab *slab = pool->open[size];
  if (!slab) slab = open_slab(pool, size);
  while (!slab && ++size < LNT__POOL_SIZES) slab = pool->open[size];
  return slab ? take_from(pool, slab) : NULL;
}

static void give(lnt__pool *pool, void *memory) {
  lnt__slab *slab = (lnt__slab *)((uintptr_t)memory & ~(uintptr_t)(SLAB_BYTES - 1));
  block *given = memory;
  if (is_full(slab)) link_slab(&pool->open[slab->size], slab);
  given->next = slab->given_back;
  slab->given_back = given;
  if (--slab->used) return;
  if (pool->open[slab->size] == slab && !slab->next) return; /* the last one of its size is likely to be wanted again */
  unlink_slab(&pool->open[slab->size], slab);
  give_slab(pool, slab);
}

static bool is_small(const lnt__pool *pool, size_t size) { return size <= LNT__POOL_SMALL_MAX && !pool->plain; }

void *lnt__pool_resize(lnt__pool *pool, void *memory, size_t old_size, size_t size) {
  bool small = is_small(pool, size);
  if (!memory) return small ? take(pool, size_of(size)) : malloc(size);
  bool was_small = is_small(pool, old_size), shrinks = size < old_size;
  if (small && was_small && size_of(size) == size_of(old_size)) return memory;
  void *moved = small ? take(pool, size_of(size)) : was_small ? malloc(size) : realloc(memory, size);
  if (!moved) return shrinks && small == was_small ? memory : NULL;
  if (!small && !was_small) return moved;
  memcpy(moved, memory, shrinks ? size : old_size);
  if (was_small) give(pool, memory);
  else free(memory);
  return moved;
}

void lnt__pool_free(lnt__pool *pool, void *memory, size_t size) {
  if (!memory) return;
  if (is_small(pool, size)) give(pool, memory);
  else free(memory);
}
