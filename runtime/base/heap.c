/* heap.c - the binary min-heap of due times. Called by the engine; one thread per heap. */
#include "base/heap.h"

static bool before(const lnt__due *a, const lnt__due *b) {
  if (a->due_us != b->due_us) return a->due_us < b->due_us;
  if (a->run != b->run) return a->run < b->run;
  return a->seq < b->seq;
}

void lnt__heap_init(lnt__heap *heap) { *heap = (lnt__heap){NULL, 0, 0}; }

void lnt__heap_finish(lnt__heap *heap) {
  lnt__free(heap->items);
  lnt__heap_init(heap);
}

bool lnt__heap_push(lnt__heap *heap, lnt__due due) {
  if (!lnt__grow((void **)&heap->items, &heap->capacity, heap->count + 1, sizeof *heap->items)) return false;
  size_t at = heap->count++;
  for (; at && before(&due, &heap->items[(at - 1) / 2]); at = (at - 1) / 2) heap->items[at] = heap->items[(at - 1) / 2];
  heap->items[at] = due;
  return true;
}

const lnt__due *lnt__heap_peek(const lnt__heap *heap) { return heap->count ? heap->items : NULL; }

bool lnt__heap_pop(lnt__heap *heap, lnt__due *out) {
  if (!heap->count) return false;
  *out = heap->items[0];
  lnt__due last = heap->items[--heap->count];
  size_t at = 0;
  for (size_t child = 1; child < heap->count; child = 2 * at + 1) {
    if (child + 1 < heap->count && before(&heap->items[child + 1], &heap->items[child])) child++;
    if (!before(&heap->items[child], &last)) break;
    heap->items[at] = heap->items[child];
    at = child;
  }
  heap->items[at] = last;
  return true;
}
