/* heap.h - a binary min-heap of due times. Entries with the same time come out in the order of (run, seq). One thread at a time. */
#ifndef LNT__HEAP_H
#define LNT__HEAP_H

#include "base/base.h"

typedef struct lnt__due { int64_t due_us; uint64_t run; uint32_t seq; uint32_t tag; } lnt__due; /* tag: the owner's */
typedef struct lnt__heap { lnt__due *items; size_t count, capacity; } lnt__heap;
void lnt__heap_init(lnt__heap *heap);
void lnt__heap_finish(lnt__heap *heap);
bool lnt__heap_push(lnt__heap *heap, lnt__due due); /* false: out of memory */
const lnt__due *lnt__heap_peek(const lnt__heap *heap); /* NULL: empty */
bool lnt__heap_pop(lnt__heap *heap, lnt__due *out);

#endif
