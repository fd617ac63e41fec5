/* committer.c - how a batch becomes durable: inline, or on a thread of its own while the owner thread runs the next turns. Called by
 * tick.c and api/ on the owner thread; only run_thread() runs on the other one, and it touches the store and nothing else.
 *
 * One batch is on its way at a time. A batch that fails stays and is tried again: a full store every FULL_RETRY_NS, other failures at each
 * tick. Nothing that waits behind it is lost or reordered. */
#include <signal.h>

#include "driver/runtime.h"

enum { FULL_RETRY_NS = 100 * 1000 * 1000 };

/* It stays ARRIVED until the next batch is sent: nobody need be told of less. */
typedef enum committer_state { IDLE, BUSY, ARRIVED, ENDING } committer_state;

struct lnt__committer {
  lnt_runtime *rt;
  uv_thread_t thread;
  uv_mutex_t mutex;
  uv_cond_t changed;
  _Atomic committer_state state; /* written under the mutex */
  const lnt__batch *batch;
  lnt_status status;
  lnt_error error;
};

static void set_state(lnt__committer *committer, committer_state state) {
  uv_mutex_lock(&committer->mutex);
  atomic_store(&committer->state, state);
  uv_cond_broadcast(&committer->changed);
  uv_mutex_unlock(&committer->mutex);
}

/* Wait while the state is one of these two; answers the state that ended it. */
static committer_state wait_while(lnt__committer *committer, committer_state a, committer_state b) {
  uv_mutex_lock(&committer->mutex);
  committer_state state;
  while ((state = atomic_load(&committer->state)) == a || state == b) uv_cond_wait(&committer->changed, &committer->mutex);
  uv_mutex_unlock(&committer->mutex);
  return state;
}

static void run_thread(void *user) {
  lnt__committer *committer = user;
  lnt__store *store = committer->rt->store;
  while (wait_while(committer, IDLE, ARRIVED) == BUSY) {
    committer->status = store->vtable->commit(store, committer->batch, &committer->error);
    set_state(committer, ARRIVED);
    lnt__runtime_wake(committer->rt);
  }
}

/* The host's signals are for the host's threads. */
static int start_thread(lnt__committer *committer) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = uv_thread_create(&committer->thread, run_thread, committer);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return failed;
}

lnt_status lnt__committer_create(lnt_runtime *rt, lnt__committer **out, lnt_error *err) {
  lnt__committer *committer = lnt__calloc(1, sizeof *committer);
  if (!committer) return lnt__fail(err, LNT_ENOMEM, "out of memory while the committer thread was made");
  committer->rt = rt;
  if (uv_mutex_init(&committer->mutex)) goto no_mutex;
  if (uv_cond_init(&committer->changed)) goto no_cond;
  if (start_thread(committer)) goto no_thread;
  *out = committer;
  return LNT_OK;
no_thread:
  uv_cond_destroy(&committer->changed);
no_cond:
  uv_mutex_destroy(&committer->mutex);
no_mutex:
  lnt__free(committer);
  return lnt__fail(err, LNT_ENOMEM, "the system gives no committer thread; open without the option `committer`");
}

void lnt__committer_destroy(lnt__committer *committer) {
  if (!committer) return;
  wait_while(committer, BUSY, BUSY);
  set_state(committer, ENDING);
  uv_thread_join(&committer->thread);
  uv_cond_destroy(&committer->changed);
  uv_mutex_destroy(&committer->mutex);
  lnt__free(committer);
}

/* ---- The way of a batch ---- */

static void found_no_room(lnt_runtime *rt, const lnt_error *cause) {
  lnt__way *way = &rt->way;
  memcpy(way->why, cause->message, sizeof way->why);
  if (!way->full) lnt__logf(rt, LNT_LOG_ERROR, "%s; until then no new work is accepted", way->why);
  way->full = true;
  way->retry_ns = lnt__monotonic_ns() + FULL_RETRY_NS;
}

static void landed(lnt_runtime *rt) {
  lnt__way *way = &rt->way;
  way->commits++;
  way->records += lnt__batch_count(way->batch);
  way->bytes += lnt__batch_bytes(way->batch);
  way->batch = NULL;
  if (way->full) lnt__logf(rt, LNT_LOG_INFO, "the store has room again; work goes on");
  way->full = false;
  lnt__engine_committed(rt->engine);
}

/* A full store is a state, not an error of the tick; lnt__commit_flush() makes it one for its callers. */
static lnt_status arrived(lnt_runtime *rt, lnt_status status, const lnt_error *cause, lnt_error *err) {
  if (status == LNT_OK) {
    landed(rt);
    return LNT_OK;
  }
  rt->way.failures++;
  if (status == LNT_EFULL) {
    LNT__MET(&rt->met, store_bytes_max);
    found_no_room(rt, cause);
    return LNT_OK;
  }
  return lnt__fail(err, status, "a commit failed and will be tried again: %s", cause->message);
}

lnt_status lnt__commit_reap(lnt_runtime *rt, bool wait, lnt_error *err) {
  lnt__committer *committer = rt->committer;
  if (!rt->way.flying) return LNT_OK;
  if (wait) wait_while(committer, BUSY, BUSY);
  if (atomic_load(&committer->state) == BUSY) return LNT_OK;
  rt->way.flying = false;
  return arrived(rt, committer->status, &committer->error, err);
}

lnt_status lnt__commit_send(lnt_runtime *rt, bool force, lnt_error *err) {
  lnt__way *way = &rt->way;
  if (way->flying) return LNT_OK;
  if (!way->batch) way->batch = lnt__engine_seal(rt->engine);
  if (!way->batch && lnt__engine_dirty(rt->engine))
    return lnt__fail(err, LNT_ENOMEM, "out of memory while a commit was built; close the runtime and open it again: it goes on from "
                                      "the last commit");
  if (!way->batch || (way->full && !force && lnt__monotonic_ns() < way->retry_ns)) return LNT_OK;
  if (rt->committer) {
    rt->committer->batch = way->batch;
    rt->committer->error.message[0] = 0;
    way->flying = true;
    set_state(rt->committer, BUSY);
    return LNT_OK;
  }
  lnt_error cause = {LNT_OK, ""};
  lnt_status status = rt->store->vtable->commit(rt->store, way->batch, &cause);
  return arrived(rt, status, &cause, err);
}

/* The batch on its way, and one more with what was accepted meanwhile. What its effects accept again is not waited for. */
lnt_status lnt__commit_flush(lnt_runtime *rt, lnt_error *err) {
  lnt_status status = lnt__commit_reap(rt, true, NULL);
  for (int i = rt->way.batch ? 0 : 1; i < 2; i++) {
    status = lnt__commit_send(rt, true, err);
    if (status == LNT_OK) status = lnt__commit_reap(rt, true, err);
    if (status != LNT_OK) return status;
    if (rt->way.full) return lnt__fail(err, LNT_EFULL, "%s", rt->way.why);
  }
  return LNT_OK;
}
