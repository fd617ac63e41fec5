/* worker.c - the pool of worker.h. One lock guards the queue, the code and the state of the threads; it is never held while Lua runs or a
 * thread of the pool calls the driver.
 *
 * A thread that is left behind at the end must never touch what is gone. So everything of the driver's is reached through the gate of its
 * worker, which is shut then; and the pool itself is freed by whoever is last: lnt__workers_destroy(), or the last thread left behind. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* dladdr */
#endif
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <uv.h>

#include "base/clock.h"

#include "driver/worker.h"
#include "journal/journal.h"

typedef struct job {
  struct job *next;
  lnt_activity activity; /* points into `bytes` */
  lnt_cancel_reason canceled; /* 0: it is not */
  char bytes[];
} job;

typedef struct source { /* a file as it was loaded last */
  struct source *next;
  uint64_t code;
  size_t size, users; /* users: threads that load it just now; `gone` ones are freed by the last of them */
  bool is_newest, gone;
  char *file, *text;
} source;

typedef struct worker {
  lnt__workers *pool;
  pthread_t thread;
  lnt__avm *avm;
  atomic_int cancel; /* the lnt_cancel_reason of what runs; 0: none */
  uv_mutex_t gate; /* held while the driver is called */
  bool shut;       /* nothing of the driver's may be called; guarded by the gate */

  /* Guarded by the lock. */
  struct worker *next; /* in pool->live or pool->ended */
  uint64_t code;       /* loaded up to here */
  job *running;
  bool stuck; /* what it runs was canceled and has not ended */
  bool left;  /* behind: nobody joins it */
  bool leaves; /* it was one too many, and takes no job any more */
} worker;

struct lnt__workers {
  lnt__workers_options options;
  char *module_path, *stdlib_path;
  uv_mutex_t lock;
  uv_cond_t wanted, over; /* a job came; a thread ended */
  job *first, *last;
  size_t queued, busy, idle, stuck, leaving;
  worker *live, *ended; /* ended: to be joined */
  size_t live_count;
  source *sources; /* by version */
  uint64_t code;
  atomic_bool closing;
};

static bool same_token(lnt_token a, lnt_token b) { return a.run == b.run && a.seq == b.seq && a.attempt == b.attempt; }

/* ---- What the VM of a worker calls, on its thread ---- */

/* The driver's callbacks, or NULL when it may not be called; then the gate is open, and gate_leave() is not for it. */
static const lnt__avm_options *gate_enter(worker *w) {
  uv_mutex_lock(&w->gate);
  if (!w->shut) return &w->pool->options.avm;
  uv_mutex_unlock(&w->gate);
  return NULL;
}

static void gate_leave(worker *w) { uv_mutex_unlock(&w->gate); }

static void gate_shut(worker *w) {
  uv_mutex_lock(&w->gate);
  w->shut = true;
  uv_mutex_unlock(&w->gate);
}

static void on_complete(void *user, lnt_token token, lnt_value result) {
  worker *w = user;
  const lnt__avm_options *driver = w->pool->closing ? NULL : gate_enter(w);
  if (!driver) return;
  driver->complete(driver->user, token, result);
  gate_leave(w);
}

static void on_fail(void *user, lnt_token token, lnt_value failure, lnt_value detail) {
  worker *w = user;
  const lnt__avm_options *driver = w->pool->closing ? NULL : gate_enter(w);
  if (!driver) return;
  driver->fail(driver->user, token, failure, detail);
  gate_leave(w);
}

static void on_defer(void *user, lnt_token token) {
  worker *w = user;
  const lnt__avm_options *driver = w->pool->closing ? NULL : gate_enter(w);
  if (!driver) return;
  driver->defer(driver->user, token);
  gate_leave(w);
}

static bool on_heartbeat(void *user, lnt_token token, lnt_value details) {
  worker *w = user;
  const lnt__avm_options *driver = w->pool->closing ? NULL : gate_enter(w);
  if (!driver) return true;
  bool canceled = driver->heartbeat(driver->user, token, details);
  gate_leave(w);
  return canceled;
}

static void on_log(void *user, lnt_log_level level, const char *id, const char *message) {
  worker *w = user;
  const lnt__avm_options *driver = gate_enter(w);
  if (!driver) return;
  if (driver->log) driver->log(driver->user, level, id, message);
  gate_leave(w);
}

static lnt_cancel_reason on_canceled(void *user, lnt_token token) {
  worker *w = user;
  (void)token;
  return w->pool->closing ? LNT__CANCEL_CLOSING : (lnt_cancel_reason)w->cancel;
}

/* ---- Code ---- */

static void source_free(source *s) {
  lnt__free(s->file);
  lnt__free(s->text);
  lnt__free(s);
}

static source *source_new(const char *file, const char *text, size_t size, bool is_newest) {
  source *s = lnt__calloc(1, sizeof *s);
  if (!s) return NULL;
  s->file = lnt__strdup(file);
  s->text = lnt__strndup(text, size);
  s->size = size;
  s->is_newest = is_newest;
  if (s->file && s->text) return s;
  source_free(s);
  return NULL;
}

/* Does `s` make `old` needless? Newest code replaces its file's; stored code only what is the same. */
static bool replaces(const source *s, const source *old) {
  if (old->is_newest != s->is_newest || strcmp(old->file, s->file) != 0) return false;
  return s->is_newest || (old->size == s->size && memcmp(old->text, s->text, s->size) == 0);
}

static void sources_replace(lnt__workers *pool, source *s) {
  source **at = &pool->sources;
  while (*at) {
    source *old = *at;
    if (!replaces(s, old)) {
      at = &old->next;
      continue;
    }
    *at = old->next;
    old->gone = true;
    if (old->users == 0) source_free(old);
  }
  *at = s;
  s->code = ++pool->code;
}

lnt_status lnt__workers_load(lnt__workers *workers, const char *file, const char *text, size_t size, bool is_newest, lnt_error *err) {
  source *s = source_new(file, text, size, is_newest);
  if (!s) return lnt__fail(err, LNT_ENOMEM, "out of memory while %s is given to the worker threads", file);
  uv_mutex_lock(&workers->lock);
  sources_replace(workers, s);
  uv_mutex_unlock(&workers->lock);
  return LNT_OK;
}

/* The first source that this worker has not loaded; it is in use until source_done(). Locked. */
static source *source_due(worker *w) {
  for (source *s = w->pool->sources; s; s = s->next) {
    if (s->code <= w->code) continue;
    s->users++;
    return s;
  }
  return NULL;
}

static void source_done(worker *w, source *s) {
  w->code = s->code;
  if (--s->users == 0 && s->gone) source_free(s);
}

/* Load what is new. Called and left with the lock held. */
static void load_due(worker *w) {
  lnt_error err;
  for (source *s; (s = source_due(w)) != NULL; source_done(w, s)) {
    uv_mutex_unlock(&w->pool->lock);
    lnt_status status = s->is_newest ? lnt__avm_load(w->avm, s->file, s->text, s->size, true, &err)
                                     : lnt__avm_load_stored(w->avm, s->text, s->size, &err);
    if (status) on_log(w, LNT_LOG_ERROR, NULL, err.message);
    uv_mutex_lock(&w->pool->lock);
  }
}

/* ---- A thread ---- */

static lnt_status make_avm(worker *w) {
  lnt__avm_options options = w->pool->options.avm;
  options.loop = NULL;
  options.slice_us_max = 0;
  options.overdue = NULL;
  options.user = w;
  options.complete = on_complete;
  options.fail = on_fail;
  options.defer = on_defer;
  options.heartbeat = on_heartbeat;
  options.log = on_log;
  options.canceled = on_canceled;
  lnt_error err;
  lnt_status status = lnt__avm_create(&options, &w->avm, &err);
  if (status != LNT_OK) on_log(w, LNT_LOG_ERROR, NULL, err.message);
  return status;
}

static void fail_job(worker *w, const job *j, const char *type, const char *message, bool retryable) {
  lnt__buf failure;
  lnt__buf_init(&failure);
  lnt__failure_text(&failure, type, message, retryable);
  on_fail(w, j->activity.token, (lnt_value){failure.data, failure.size}, LNT_VALUE_NIL);
  lnt__buf_finish(&failure);
}

/* A thread took the place of one that was stuck and is back: one of them is too many. Locked. */
static size_t usable(const lnt__workers *pool) { return pool->live_count - pool->stuck - pool->leaving; }
static bool is_surplus(const lnt__workers *pool) { return usable(pool) > pool->options.threads; }

/* From here on it does not count, or another one that comes by before it is gone would leave as well. Locked. */
static void leave(worker *w) {
  lnt__workers *pool = w->pool;
  w->leaves = true;
  pool->leaving++;
  if (pool->first) uv_cond_signal(&pool->wanted); /* it may have been woken for that job */
}

/* The next job, or NULL: the thread ends. Locked. */
static job *job_take(worker *w) {
  lnt__workers *pool = w->pool;
  while (!pool->first && !pool->closing && !is_surplus(pool)) {
    pool->idle++;
    uv_cond_wait(&pool->wanted, &pool->lock);
    pool->idle--;
  }
  if (!pool->closing && is_surplus(pool)) leave(w);
  if (pool->closing || w->leaves) return NULL;
  job *j = pool->first;
  pool->first = j->next;
  if (!pool->first) pool->last = NULL;
  pool->queued--;
  pool->busy++;
  w->running = j;
  w->cancel = j->canceled;
  return j;
}

static void job_run(worker *w, const job *j, bool canceled) {
  if (canceled) fail_job(w, j, "Canceled", "the activity was canceled before it began", false);
  else if (!w->avm) fail_job(w, j, "OutOfMemory", "the worker thread could not make its VM", true);
  else lnt__avm_run(w->avm, &j->activity);
}

/* Locked. */
static void job_over(worker *w, job *j) {
  lnt__workers *pool = w->pool;
  w->running = NULL;
  pool->busy--;
  pool->stuck -= w->stuck;
  w->stuck = false;
  lnt__free(j);
}

static void worker_free(worker *w) {
  uv_mutex_destroy(&w->gate);
  lnt__free(w);
}

static void live_remove(worker *w) {
  worker **at = &w->pool->live;
  while (*at != w) at = &(*at)->next;
  *at = w->next;
  w->pool->live_count--;
  w->pool->leaving -= w->leaves;
}

static void pool_free(lnt__workers *pool);

/* Leave the pool; what joins this thread finds it in `ended`. */
static void thread_over(worker *w) {
  lnt__workers *pool = w->pool;
  lnt__avm_destroy(w->avm);
  uv_mutex_lock(&pool->lock);
  bool left = w->left, last = false;
  live_remove(w);
  if (left) {
    last = pool->live_count == 0;
  } else {
    w->next = pool->ended;
    pool->ended = w;
    uv_cond_signal(&pool->over);
  }
  uv_mutex_unlock(&pool->lock);
  if (left) worker_free(w);
  if (last) pool_free(pool);
}

static void thread_main(worker *w) {
  lnt__workers *pool = w->pool;
  make_avm(w);
  uv_mutex_lock(&pool->lock);
  for (job *j; (j = job_take(w)) != NULL; job_over(w, j)) {
    if (w->avm && w->code < pool->code) load_due(w);
    bool canceled = w->cancel;
    uv_mutex_unlock(&pool->lock);
    job_run(w, j, canceled);
    uv_mutex_lock(&pool->lock);
  }
  uv_mutex_unlock(&pool->lock);
  thread_over(w);
}

static void *thread_entry(void *user) {
  thread_main(user);
  return NULL;
}

static worker *worker_new(lnt__workers *pool) {
  worker *w = lnt__calloc(1, sizeof *w);
  if (!w) return NULL;
  w->pool = pool;
  if (uv_mutex_init(&w->gate) == 0) return w;
  lnt__free(w);
  return NULL;
}

/* Signals are for the host's threads. Locked. */
static bool thread_start(lnt__workers *pool) {
  worker *w = worker_new(pool);
  if (!w) return false;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = pthread_create(&w->thread, NULL, thread_entry, w) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!started) {
    worker_free(w);
    return false;
  }
  w->next = pool->live;
  pool->live = w;
  pool->live_count++;
  return true;
}

/* Threads that have ended are gone for good once they are joined. Locked. */
static void join_ended(lnt__workers *pool) {
  while (pool->ended) {
    worker *w = pool->ended;
    pool->ended = w->next;
    pthread_join(w->thread, NULL);
    worker_free(w);
  }
}

/* ---- The owner's side ---- */

static job *job_new(const lnt_activity *activity) {
  const char *texts[] = {activity->name, activity->instance_id, activity->idempotency_key};
  size_t sizes[LNT__COUNT(texts)], size = activity->input.size + activity->heartbeat_details.size;
  for (size_t i = 0; i < LNT__COUNT(texts); i++) size += sizes[i] = strlen(texts[i]) + 1;
  job *j = lnt__alloc(sizeof *j + size);
  if (!j) return NULL;
  *j = (job){.activity = *activity};
  char *to = j->bytes;
  for (size_t i = 0; i < LNT__COUNT(texts); i++) {
    memcpy(to, texts[i], sizes[i]);
    texts[i] = to;
    to += sizes[i];
  }
  j->activity.name = texts[0];
  j->activity.instance_id = texts[1];
  j->activity.idempotency_key = texts[2];
  if (activity->input.size) j->activity.input.data = memcpy(to, activity->input.data, activity->input.size);
  to += activity->input.size;
  lnt_value *details = &j->activity.heartbeat_details;
  if (details->size) details->data = memcpy(to, details->data, details->size);
  return j;
}

/* May one more thread be started, for `jobs` that wait? */
static bool wants_thread(const lnt__workers *pool, size_t jobs) {
  return pool->idle < jobs && usable(pool) < pool->options.threads &&
         pool->live_count < pool->options.threads + LNT__WORKERS_STUCK_MAX;
}

static lnt_status enqueue(lnt__workers *pool, job *j, lnt_error *err) {
  join_ended(pool);
  if (pool->queued >= pool->options.queue_max) {
    LNT__MET(pool->options.avm.met, activities_running_max);
    return lnt__fail(err, LNT_ELIMIT, "%zu blocking activities wait for a worker thread; one more must wait outside", pool->queued);
  }
  if (wants_thread(pool, pool->queued + 1) && !thread_start(pool) && usable(pool) == 0) {
    return lnt__fail(err, LNT_EAGAIN, "no worker thread could be started");
  }
  if (pool->last) pool->last->next = j;
  else pool->first = j;
  pool->last = j;
  pool->queued++;
  uv_cond_signal(&pool->wanted);
  return LNT_OK;
}

lnt_status lnt__workers_run(lnt__workers *workers, const lnt_activity *activity, lnt_error *err) {
  job *j = job_new(activity);
  if (!j) return lnt__fail(err, LNT_ENOMEM, "out of memory while the activity \"%s\" is queued", activity->name);
  uv_mutex_lock(&workers->lock);
  lnt_status status = enqueue(workers, j, err);
  uv_mutex_unlock(&workers->lock);
  if (status != LNT_OK) lnt__free(j);
  return status;
}

/* What was canceled may never end: jobs that wait get another thread. Locked. Answers whether there are too many of that kind. */
static bool replace_stuck(lnt__workers *pool) {
  if (wants_thread(pool, pool->queued)) thread_start(pool);
  return pool->stuck >= pool->options.threads + LNT__WORKERS_STUCK_MAX;
}

void lnt__workers_cancel(lnt__workers *workers, lnt_token token, lnt_cancel_reason why) {
  bool too_many = false;
  uv_mutex_lock(&workers->lock);
  for (job *j = workers->first; j; j = j->next) {
    if (same_token(j->activity.token, token)) j->canceled = why;
  }
  for (worker *w = workers->live; w; w = w->next) {
    if (!w->running || !same_token(w->running->activity.token, token)) continue;
    w->cancel = (int)why;
    workers->stuck += !w->stuck;
    w->stuck = true;
    too_many = replace_stuck(workers);
  }
  uv_mutex_unlock(&workers->lock);
  const lnt__avm_options *driver = &workers->options.avm;
  if (too_many && driver->log)
    driver->log(driver->user, LNT_LOG_ERROR, NULL,
                "all worker threads are stuck in activities that were canceled and compute on; no further thread is started for them");
}

size_t lnt__workers_running(lnt__workers *workers) {
  uv_mutex_lock(&workers->lock);
  size_t running = workers->queued + workers->busy;
  uv_mutex_unlock(&workers->lock);
  return running;
}

static bool copy_text(const char **text, char **copy) {
  if (!*text) return true;
  *text = *copy = lnt__strdup(*text);
  return *copy != NULL;
}

lnt_status lnt__workers_create(const lnt__workers_options *options, lnt__workers **out, lnt_error *err) {
  if (options->threads < 1 || options->threads > LNT__WORKERS_THREADS_MAX) {
    return lnt__fail(err, LNT_EINVAL, "workers: 1 to %d threads are possible, not %zu", LNT__WORKERS_THREADS_MAX, options->threads);
  }
  lnt__workers *pool = lnt__calloc(1, sizeof *pool);
  if (!pool) return lnt__fail(err, LNT_ENOMEM, "out of memory while the worker threads are prepared");
  pool->options = *options;
  if (uv_mutex_init(&pool->lock) || uv_cond_init(&pool->wanted) || uv_cond_init(&pool->over)) {
    lnt__free(pool);
    return lnt__fail(err, LNT_ENOMEM, "the system gives no mutex for the worker threads");
  }
  bool copied = copy_text(&pool->options.avm.module_path, &pool->module_path);
  if (!copied || !copy_text(&pool->options.avm.stdlib_path, &pool->stdlib_path)) {
    lnt__workers_destroy(pool);
    return lnt__fail(err, LNT_ENOMEM, "out of memory while the worker threads are prepared");
  }
  *out = pool;
  return LNT_OK;
}

static void pool_free(lnt__workers *pool) {
  for (job *j = pool->first, *next; j; j = next) {
    next = j->next;
    lnt__free(j);
  }
  for (source *s = pool->sources, *next; s; s = next) {
    next = s->next;
    source_free(s);
  }
  uv_cond_destroy(&pool->wanted);
  uv_cond_destroy(&pool->over);
  uv_mutex_destroy(&pool->lock);
  lnt__free(pool->module_path);
  lnt__free(pool->stdlib_path);
  lnt__free(pool);
}

/* Wait for the threads, LNT__WORKERS_GRACE_MS at most. Locked. */
static void await_threads(lnt__workers *pool) {
  uint64_t until_ns = lnt__monotonic_ns() + LNT__WORKERS_GRACE_MS * 1000000ull, now_ns = 0;
  while (pool->live && (now_ns = lnt__monotonic_ns()) < until_ns) uv_cond_timedwait(&pool->over, &pool->lock, until_ns - now_ns);
}

/* The code of a thread that is left behind must stay where it is, also when the host unloads the library. */
static void pin_library(void) {
  Dl_info info;
  if (dladdr((void *)(uintptr_t)&pool_free, &info) && info.dli_fname) dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

static void tell_left(const lnt__workers *pool, const worker *w) {
  const lnt__avm_options *driver = &pool->options.avm;
  char text[LNT_NAME_BYTES_MAX + 200];
  if (!driver->log) return;
  snprintf(text, sizeof text, "the activity \"%s\" still runs on a worker thread, which is left behind",
           w->running ? w->running->activity.name : "?");
  driver->log(driver->user, LNT_LOG_WARN, w->running ? w->running->activity.instance_id : NULL, text);
}

/* Locked. */
static void leave_behind(lnt__workers *pool) {
  if (pool->live) pin_library();
  for (worker *w = pool->live; w; w = w->next) {
    gate_shut(w);
    w->left = true;
    pthread_detach(w->thread);
    tell_left(pool, w);
  }
}

void lnt__workers_destroy(lnt__workers *workers) {
  if (!workers) return;
  uv_mutex_lock(&workers->lock);
  workers->closing = true;
  uv_cond_broadcast(&workers->wanted);
  await_threads(workers);
  join_ended(workers);
  leave_behind(workers);
  bool last = !workers->live;
  uv_mutex_unlock(&workers->lock);
  if (last) pool_free(workers);
}
