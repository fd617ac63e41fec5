/* worker.c - the pool of worker.h. One lock guards the queue, the code and the state of the threads; it is never held while Lua runs or a
 * callback of the driver is called. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "driver/worker.h"
#include "journal/journal.h"

typedef struct job {
  struct job *next;
  lnt_activity activity; /* points into `bytes` */
  bool canceled;
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
  uint64_t code; /* loaded up to here */
  job *running;  /* guarded by the lock */
  atomic_bool cancel;
} worker;

struct lnt__workers {
  lnt__workers_options options;
  char *module_path, *stdlib_path;
  pthread_mutex_t lock;
  pthread_cond_t wanted;
  job *first, *last;
  size_t queued, busy, started, idle;
  source *sources; /* by version */
  uint64_t code;
  atomic_bool closing;
  worker workers[];
};

static bool same_token(lnt_token a, lnt_token b) { return a.run == b.run && a.seq == b.seq && a.attempt == b.attempt; }

/* ---- What the VM of a worker calls, on its thread ---- */

static void on_complete(void *user, lnt_token token, lnt_value result) {
  lnt__workers *pool = ((worker *)user)->pool;
  if (!pool->closing) pool->options.avm.complete(pool->options.avm.user, token, result);
}

static void on_fail(void *user, lnt_token token, lnt_value failure, lnt_value detail) {
  lnt__workers *pool = ((worker *)user)->pool;
  if (!pool->closing) pool->options.avm.fail(pool->options.avm.user, token, failure, detail);
}

static void on_log(void *user, lnt_log_level level, const char *id, const char *message) {
  lnt__workers *pool = ((worker *)user)->pool;
  if (pool->options.avm.log) pool->options.avm.log(pool->options.avm.user, level, id, message);
}

static bool on_canceled(void *user, lnt_token token) {
  worker *w = user;
  (void)token;
  return w->cancel || w->pool->closing;
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
  pthread_mutex_lock(&workers->lock);
  sources_replace(workers, s);
  pthread_mutex_unlock(&workers->lock);
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
    pthread_mutex_unlock(&w->pool->lock);
    if (lnt__avm_load(w->avm, s->file, s->text, s->size, s->is_newest, &err) != LNT_OK) on_log(w, LNT_LOG_ERROR, NULL, err.message);
    pthread_mutex_lock(&w->pool->lock);
  }
}

/* ---- A thread ---- */

static lnt_status make_avm(worker *w) {
  lnt__avm_options options = w->pool->options.avm;
  options.loop = NULL;
  options.user = w;
  options.complete = on_complete;
  options.fail = on_fail;
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

/* The next job, or NULL at the end. Locked. */
static job *job_take(worker *w) {
  lnt__workers *pool = w->pool;
  while (!pool->first && !pool->closing) {
    pool->idle++;
    pthread_cond_wait(&pool->wanted, &pool->lock);
    pool->idle--;
  }
  job *j = pool->closing ? NULL : pool->first;
  if (!j) return NULL;
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

static void *thread_main(void *user) {
  worker *w = user;
  lnt__workers *pool = w->pool;
  make_avm(w);
  pthread_mutex_lock(&pool->lock);
  for (job *j; (j = job_take(w)) != NULL;) {
    if (w->avm && w->code < pool->code) load_due(w);
    bool canceled = w->cancel;
    pthread_mutex_unlock(&pool->lock);
    job_run(w, j, canceled);
    pthread_mutex_lock(&pool->lock);
    w->running = NULL;
    pool->busy--;
    lnt__free(j);
  }
  pthread_mutex_unlock(&pool->lock);
  lnt__avm_destroy(w->avm);
  return NULL;
}

/* Signals are for the host's threads. */
static bool thread_start(lnt__workers *pool) {
  worker *w = &pool->workers[pool->started];
  sigset_t all, before;
  w->pool = pool;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = pthread_create(&w->thread, NULL, thread_main, w) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pool->started += started;
  return started;
}

/* ---- The owner's side ---- */

static job *job_new(const lnt_activity *activity) {
  const char *texts[] = {activity->name, activity->instance_id, activity->idempotency_key};
  size_t sizes[LNT__COUNT(texts)], size = activity->input.size;
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
  return j;
}

static lnt_status enqueue(lnt__workers *pool, job *j, lnt_error *err) {
  if (pool->queued >= pool->options.queue_max) {
    return lnt__fail(err, LNT_ELIMIT, "%zu blocking activities wait for a worker thread; one more must wait outside", pool->queued);
  }
  if (pool->idle <= pool->queued && pool->started < pool->options.threads && !thread_start(pool) && pool->started == 0) {
    return lnt__fail(err, LNT_EAGAIN, "no worker thread could be started");
  }
  if (pool->last) pool->last->next = j;
  else pool->first = j;
  pool->last = j;
  pool->queued++;
  pthread_cond_signal(&pool->wanted);
  return LNT_OK;
}

lnt_status lnt__workers_run(lnt__workers *workers, const lnt_activity *activity, lnt_error *err) {
  job *j = job_new(activity);
  if (!j) return lnt__fail(err, LNT_ENOMEM, "out of memory while the activity \"%s\" is queued", activity->name);
  pthread_mutex_lock(&workers->lock);
  lnt_status status = enqueue(workers, j, err);
  pthread_mutex_unlock(&workers->lock);
  if (status != LNT_OK) lnt__free(j);
  return status;
}

void lnt__workers_cancel(lnt__workers *workers, lnt_token token) {
  pthread_mutex_lock(&workers->lock);
  for (job *j = workers->first; j; j = j->next) {
    if (same_token(j->activity.token, token)) j->canceled = true;
  }
  for (size_t i = 0; i < workers->started; i++) {
    worker *w = &workers->workers[i];
    if (w->running && same_token(w->running->activity.token, token)) w->cancel = true;
  }
  pthread_mutex_unlock(&workers->lock);
}

size_t lnt__workers_running(lnt__workers *workers) {
  pthread_mutex_lock(&workers->lock);
  size_t running = workers->queued + workers->busy;
  pthread_mutex_unlock(&workers->lock);
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
  lnt__workers *pool = lnt__calloc(1, sizeof *pool + options->threads * sizeof *pool->workers);
  if (!pool) return lnt__fail(err, LNT_ENOMEM, "out of memory while the worker threads are prepared");
  pool->options = *options;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->wanted, NULL);
  bool copied = copy_text(&pool->options.avm.module_path, &pool->module_path);
  if (!copied || !copy_text(&pool->options.avm.stdlib_path, &pool->stdlib_path)) {
    lnt__workers_destroy(pool);
    return lnt__fail(err, LNT_ENOMEM, "out of memory while the worker threads are prepared");
  }
  *out = pool;
  return LNT_OK;
}

void lnt__workers_destroy(lnt__workers *workers) {
  if (!workers) return;
  pthread_mutex_lock(&workers->lock);
  workers->closing = true;
  pthread_cond_broadcast(&workers->wanted);
  pthread_mutex_unlock(&workers->lock);
  for (size_t i = 0; i < workers->started; i++) pthread_join(workers->workers[i].thread, NULL);
  for (job *j = workers->first, *next; j; j = next) {
    next = j->next;
    lnt__free(j);
  }
  for (source *s = workers->sources, *next; s; s = next) {
    next = s->next;
    source_free(s);
  }
  pthread_cond_destroy(&workers->wanted);
  pthread_mutex_destroy(&workers->lock);
  lnt__free(workers->module_path);
  lnt__free(workers->stdlib_path);
  lnt__free(workers);
}
