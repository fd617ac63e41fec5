/* keys.h - the idempotency keys of the steps of a run: what a history says of them. Any thread.
 *
 * A key is made of the seed and the time of the event that the run began with, and of the number of the command: all of that is in the
 * history, so that it stays what it is wherever the history goes, and no two steps have the same one. What is retried keeps its key. */
#ifndef LNT__KEYS_H
#define LNT__KEYS_H

#include "journal/journal.h"

#define LNT__STEP_KEY_TEXT_BYTES 41

typedef struct lnt__origin_key { uint64_t seed; int64_t us; } lnt__origin_key;
typedef struct lnt__key_range { uint32_t commands; lnt__origin_key key; } lnt__key_range; /* commands up to this one are its steps */

/* Zero-initialised; it is shown the events of a history in order. */
typedef struct lnt__step_keys {
  lnt__origin_key own;
  lnt__key_range *ranges;
  size_t count, capacity;
  uint32_t commands; /* seen */
} lnt__step_keys;

bool lnt__step_keys_see(lnt__step_keys *keys, const lnt__event *event); /* false: out of memory */
void lnt__step_keys_finish(lnt__step_keys *keys);                       /* zero again */
void lnt__step_key_text(const lnt__step_keys *keys, uint32_t seq, char out[LNT__STEP_KEY_TEXT_BYTES]);
void lnt__origin_key_write(lnt__buf *out, lnt__origin_key key); /* the value of member "key" of a FORKED */

#endif
