/* worker.h - threads that run activities declared `blocking = true`, each with an activity VM of its own. Used by the driver; every
 * function here is called on the owner thread.
 *
 * CAVEATS FIRST
 *  - The callbacks in lnt__avm_options (`complete`, `fail`, `log`) are called ON THE WORKER THREADS, several at once: they must be
 *    thread-safe. They must not call back into this file. Their values are valid until they return.
 *  - Running Lua cannot be stopped from outside: an activity that computes for ever keeps its thread, and lnt__workers_destroy() waits
 *    for it. What waits in a helper of `act` ends within a twentieth of a second, and act:canceled() says so to what asks.
 *  - A thread is started by the first job that finds none idle, so a pool that is not used costs nothing. */
#ifndef LNT__WORKER_H
#define LNT__WORKER_H

#include "vm/activity.h"

#define LNT__WORKERS_THREADS_MAX 256

typedef struct lnt__workers lnt__workers;

typedef struct lnt__workers_options {
  size_t threads;        /* 1 .. LNT__WORKERS_THREADS_MAX */
  size_t queue_max;      /* jobs that wait for a thread */
  lnt__avm_options avm;  /* of each VM; `loop` and `canceled` are ignored, strings are copied */
} lnt__workers_options;

/* Errors: LNT_EINVAL, LNT_ENOMEM. */
lnt_status lnt__workers_create(const lnt__workers_options *options, lnt__workers **out, lnt_error *err);

/* Cancel what runs, wait for every thread to end. No answer comes after this began, except those that are under way in a callback. NULL
 * accepted. */
void lnt__workers_destroy(lnt__workers *workers);

/* Jobs accepted from now on run with this code in every VM; meaning and order as lnt__avm_load(), which the owner thread's VM has already
 * passed, so a file that fails here is only logged. Errors: LNT_ENOMEM. */
lnt_status lnt__workers_load(lnt__workers *workers, const char *file, const char *source, size_t size, bool is_newest, lnt_error *err);

/* Queue an attempt (copied); it is answered exactly once. Errors, none of them an answer: LNT_ELIMIT (the queue is full: try again after
 * an answer), LNT_ENOMEM, LNT_EAGAIN (no thread could be started). */
lnt_status lnt__workers_run(lnt__workers *workers, const lnt_activity *activity, lnt_error *err);

/* As lnt__avm_cancel(). An attempt that is still in the queue fails with "Canceled" without having run. */
void lnt__workers_cancel(lnt__workers *workers, lnt_token token);

size_t lnt__workers_running(lnt__workers *workers); /* queued and running */

#endif
