/* worker.h - threads that run activities declared `blocking = true`, each with an activity VM of its own. Used by the driver; every
 * function here is called on the owner thread.
 *
 * CAVEATS FIRST
 *  - The callbacks in lnt__avm_options (`complete`, `fail`, `defer`, `heartbeat`, `log`) are called ON THE WORKER THREADS, several at once:
 *    they must be thread-safe. They must not call back into this file. Their values are valid until they return.
 *  - A canceled attempt ends within a twentieth of a second where it waits in a helper of `act`, and LNT__AVM_CANCEL_GRACE_MS later where
 *    it computes in Lua that is not compiled. A compiled loop, or a call into C, cannot be stopped from outside: as long as it runs, its
 *    thread is stuck. Another thread takes its place, up to LNT__WORKERS_STUCK_MAX times.
 *  - lnt__workers_destroy() waits LNT__WORKERS_GRACE_MS for threads that run something, and leaves those behind that run on. They keep
 *    their memory, and the library stays loaded for them; they call nothing of the driver any more, and end when their activity ends.
 *  - A thread is started by the first job that finds none idle, so a pool that is not used costs nothing. */
#ifndef LNT__WORKER_H
#define LNT__WORKER_H

#include "vm/activity.h"

#define LNT__WORKERS_THREADS_MAX 256
#define LNT__WORKERS_STUCK_MAX 64    /* threads beyond `threads`, for those that are stuck */
#define LNT__WORKERS_GRACE_MS 2000   /* how long lnt__workers_destroy() waits */

typedef struct lnt__workers lnt__workers;

typedef struct lnt__workers_options {
  size_t threads;        /* 1 .. LNT__WORKERS_THREADS_MAX */
  size_t queue_max;      /* jobs that wait for a thread */
  lnt__avm_options avm;  /* of each VM; strings are copied; `loop`, `canceled`, `overdue` and `slice_us_max` are ignored */
} lnt__workers_options;

/* Errors: LNT_EINVAL, LNT_ENOMEM. */
lnt_status lnt__workers_create(const lnt__workers_options *options, lnt__workers **out, lnt_error *err);

/* Cancel what runs, wait for the threads to end, but not for ever (see above). No answer comes after this began, except those that are
 * under way in a callback; no callback comes after it returned. Each thread that is left behind is told of by `log`. NULL accepted. */
void lnt__workers_destroy(lnt__workers *workers);

/* Jobs accepted from now on run with this code in every VM; meaning and order as lnt__avm_load() or, unless it is the newest,
 * lnt__avm_load_stored() with a bundle. The owner thread's VM has already passed it, so a file that fails here is only logged.
 * Errors: LNT_ENOMEM. */
lnt_status lnt__workers_load(lnt__workers *workers, const char *file, const char *source, size_t size, bool is_newest, lnt_error *err);

/* Queue an attempt (copied); it is answered exactly once. Errors, none of them an answer: LNT_ELIMIT (the queue is full: try again after
 * an answer), LNT_ENOMEM, LNT_EAGAIN (no thread could be started). */
lnt_status lnt__workers_run(lnt__workers *workers, const lnt_activity *activity, lnt_error *err);

/* As lnt__avm_cancel(). An attempt that is still in the queue fails with "Canceled" without having run. One that runs counts as stuck until
 * it ends. */
void lnt__workers_cancel(lnt__workers *workers, lnt_token token, lnt_cancel_reason why);

size_t lnt__workers_running(lnt__workers *workers); /* queued and running */

#endif
