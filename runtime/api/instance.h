/* instance.h - the public form of an instance, made by read.c; for the files of api/. */
#ifndef LNT__API_INSTANCE_H
#define LNT__API_INSTANCE_H

#include "journal/journal.h"

/* One block of memory, released with lnt_free(); NULL: out of memory. Without a history (NULL) it has what the row tells. */
lnt_instance *lnt__instance_pack(const lnt__row *row, const lnt__history *history);

#endif
