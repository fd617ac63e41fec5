/* import.h - an instance that comes from a file, under its own id. Used by the driver. Owner thread, between turns. */
#ifndef LNT__ENGINE_IMPORT_H
#define LNT__ENGINE_IMPORT_H

#include "engine/engine.h"
#include "journal/archive.h"

/* What is wanted of an import. `scratch`: for a replay alone, so that an earlier run may come without the newest. */
typedef struct lnt__import_wish { bool suspend, scratch; } lnt__import_wish;

typedef struct lnt__import {
  const lnt__archive *archive;
  lnt__batch *batch;               /* what it puts into the store; the driver may add to it */
  const lnt__archive_run **order;  /* by number */
  lnt__import_wish wish;
  bool keeps;                      /* runs have the numbers that they had */
  uint64_t first_run, last_run, live;
  int64_t last_created_us;
  lnt__buf scratch;
} lnt__import;

/* Make the batch. Nothing changes until the driver has committed it, at once, and calls lnt__import_take_up(). Finish it in any case.
 * LNT_EEXIST (an id: also one that is on its way in or out), LNT_EINVAL (an earlier run alone), LNT_ENOTFOUND (its code), LNT_ECORRUPT,
 * LNT_ENOMEM. */
lnt_status lnt__import_init(lnt__import *import, lnt__engine *engine, const lnt__archive *archive, lnt__import_wish wish, lnt_error *err);
void lnt__import_take_up(lnt__engine *engine, const lnt__import *import);
void lnt__import_finish(lnt__import *import);
uint64_t lnt__import_number(const lnt__import *import, uint64_t run); /* the number here; 0: it is not in the file */

#endif
