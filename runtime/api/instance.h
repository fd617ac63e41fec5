/* instance.h - what the files of api/ share. */
#ifndef LNT__API_INSTANCE_H
#define LNT__API_INSTANCE_H

#include "driver/runtime.h"

/* One block of memory, released with lnt_free(); NULL: out of memory. Without a history (NULL) it has what the row tells. */
lnt_instance *lnt__instance_pack(const lnt__row *row, const lnt__history *history);

/* list.c: `from` (may be NULL) as this version knows it. LNT_EINVAL names `call`. */
lnt_status lnt__list_options_take(const char *call, const lnt_list_options *from, lnt_list_options *to, lnt_error *err);

/* manage.c: may the runtime take a request that changes something now? Sets the engine's time. */
lnt_status lnt__request_check(lnt_runtime *rt, lnt_error *err);
/* Within payload_bytes_max, and well formed? "the `what` of '`of`' has ..." */
lnt_status lnt__request_check_value(lnt_runtime *rt, const char *what, const char *of, lnt_value value, lnt_error *err);

#endif
