/* rng.h - a seeded random sequence (xoshiro256**, seeded by splitmix64). The sequence of a seed is part of the journal's
 * meaning: never change it. One thread at a time. */
#ifndef LNT__RNG_H
#define LNT__RNG_H

#include "base/base.h"

typedef struct lnt__rng { uint64_t s[4]; } lnt__rng;
void lnt__rng_seed(lnt__rng *rng, uint64_t seed);
uint64_t lnt__rng_next(lnt__rng *rng);
uint64_t lnt__rng_below(lnt__rng *rng, uint64_t bound); /* 0..bound-1, unbiased; bound > 0 */
double lnt__rng_unit(lnt__rng *rng);                    /* [0, 1), 53 bits */
void lnt__rng_uuid(lnt__rng *rng, char out[37]);        /* version 4 form, lower case */
/* Version 7 form: it begins with the time (microseconds since 1970), so that ids which are made one after the other stand side by side in a
 * table of ids. A start then writes to the last page of that table, not to any page of it. */
void lnt__rng_uuid_at(lnt__rng *rng, int64_t time_us, char out[37]);
uint64_t lnt__entropy(void);                            /* from the system, not from the sequence */

#endif
