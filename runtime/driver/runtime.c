/* runtime.c - makes and unmakes lnt_runtime, and knows the rules of a call. Called by api/; owner thread. */
#include "driver/runtime.h"

bool lnt__is_owner(const lnt_runtime *rt) { return pthread_equal(pthread_self(), rt->owner); }

lnt_status lnt__enter(const lnt_runtime *rt, int needs, lnt_error *err) {
  if (!rt) return lnt__fail(err, LNT_EINVAL, "no runtime was given (NULL)");
  if (!lnt__is_owner(rt))
    return lnt__fail(err, LNT_ETHREAD, "called from a thread that does not own the runtime; call from the thread that called lnt_open()");
  if (rt->closing) return lnt__fail(err, LNT_EMISUSE, "the runtime is being closed");
  if ((needs & LNT__DRIVES) && rt->driving)
    return lnt__fail(err, LNT_EMISUSE, "called from a callback of the runtime; return from it first");
  if ((needs & LNT__WRITES) && rt->options.read_only)
    return lnt__fail(err, LNT_EREADONLY, "the runtime was opened read-only: only lnt_get, lnt_list and lnt_history work");
  return LNT_OK;
}

/* ---- What the engine may have done once a batch is durable ---- */

static void on_dispatch(void *user, lnt_token token) {
  lnt_runtime *rt = user;
  rt->go_on = true;
  if (!lnt__dispatch_push(rt, token))
    lnt__logf(rt, LNT_LOG_ERROR, "out of memory: an activity of run %llu waits for the next start of the process",
              (unsigned long long)token.run);
}

static void on_abandon(void *user, lnt_token token, lnt_cancel_reason why, const char *name) {
  lnt__dispatch_abandon(user, token, why, name);
}

static bool on_pure(void *user, const char *name) { return lnt__dispatch_pure(user, name); }

static void on_event(void *user, const char *id, lnt_run_status status, const lnt__event *event, uint64_t index) {
  lnt_runtime *rt = user;
  lnt_event view;
  if (!rt->observer) return;
  if (lnt__event_view(event, index, &rt->event_text, &view)) rt->observer(rt->observer_user, id, status, &view);
  else lnt__runtime_log(rt, LNT_LOG_ERROR, id, "out of memory: the observer missed an event");
}

static void on_moved(void *user, const char *id) { lnt__followers_moved(user, id); }

static void on_settled(void *user, const char *id, lnt_run_status status) {
  lnt_runtime *rt = user;
  (void)status;
  if (rt->awaited && strcmp(rt->awaited, id) == 0) rt->awaited_settled = true;
}

/* Asked from inside an activity, so the engine is not busy. */
static bool on_overdue(void *user, lnt_token token, const char *place, lnt__buf *failure) {
  lnt_runtime *rt = user;
  return rt->engine && lnt__engine_overdue(rt->engine, token, lnt__clock(rt), place, failure);
}

/* ---- Making it ---- */

/* Point the option at a copy; NULL stays NULL. */
static bool own_text(const char **text) {
  if (!*text) return true;
  *text = lnt__strdup(*text);
  return *text != NULL;
}

static bool own_options(lnt_options *options) {
  if (!options->stdlib_path) options->stdlib_path = lnt__stdlib_dir();
  bool dir = own_text(&options->dir), module_path = own_text(&options->module_path), stdlib_path = own_text(&options->stdlib_path);
  return dir && module_path && stdlib_path;
}

static lnt_status open_store(lnt_runtime *rt, lnt_error *err) {
  const lnt_options *options = &rt->options;
  if (options->store == LNT_STORE_MEMORY) return lnt__store_open_memory(&rt->store, err);
  lnt__store_options store = {.dir = options->dir, .durability = options->durability, .read_only = options->read_only != 0,
                              .bytes_max = options->limits.store_bytes_max, .log = lnt__runtime_log, .log_user = rt};
  return lnt__store_open_lmdb(&store, lnt__journal_check, &rt->store, err);
}

static void on_wake(uv_async_t *async) { (void)async; }

static lnt_status open_loop(lnt_runtime *rt, lnt_error *err) {
  if (uv_loop_init(&rt->loop)) return lnt__fail(err, LNT_EIO, "the system gives no event loop (too many open files?)");
  rt->loop_open = true;
  rt->loop.data = rt;
  if (uv_async_init(&rt->loop, &rt->async, on_wake))
    return lnt__fail(err, LNT_EIO, "the system gives no wake-up handle (too many open files?)");
  uv_timer_init(&rt->loop, &rt->timer);
  rt->handles_open = true;
  uv_unref((uv_handle_t *)&rt->async); /* they keep no loop alive; see sleep_until() in tick.c */
  uv_unref((uv_handle_t *)&rt->timer);
  return LNT_OK;
}

static lnt_status make_vms(lnt_runtime *rt, lnt_error *err) {
  const lnt_options *options = &rt->options;
  lnt__wvm_options wvm = {.limits = &options->limits, .met = &rt->met, .module_path = options->module_path,
                          .stdlib_path = options->stdlib_path, .user = rt, .log = lnt__runtime_log, .fetch = lnt__code_fetch};
  lnt__avm_options avm = {.loop = &rt->loop, .met = &rt->met, .memory_bytes_max = options->limits.activity_memory_bytes_max,
                          .payload_bytes_max = options->limits.payload_bytes_max, .slice_us_max = options->limits.activity_slice_us_max,
                          .grace_us = options->limits.activity_grace_us, .overdue = on_overdue, .module_path = options->module_path,
                          .stdlib_path = options->stdlib_path, .user = rt, .complete = lnt__runtime_complete, .fail = lnt__runtime_fail,
                          .defer = lnt__runtime_defer, .heartbeat = lnt__runtime_heartbeat, .log = lnt__runtime_log};
  lnt_status status = lnt__wvm_create(&wvm, &rt->wvm, err);
  wvm.rehearses = true;
  wvm.met = NULL; /* it counts once */
  if (!status && options->paranoid) status = lnt__wvm_create(&wvm, &rt->rehearsal, err);
  if (!status) status = lnt__avm_create(&avm, &rt->avm, err);
  if (status || options->workers == 0) return status;
  avm.loop = NULL;
  avm.overdue = NULL;
  avm.slice_us_max = 0;
  lnt__workers_options workers = {.threads = (size_t)options->workers, .avm = avm,
                                  .queue_max = (size_t)options->limits.activities_running_max};
  return lnt__workers_create(&workers, &rt->workers, err);
}

static lnt_status make_engine(lnt_runtime *rt, uint64_t last_run, lnt_error *err) {
  lnt__effects effects = {.user = rt, .dispatch = on_dispatch, .pure = on_pure, .abandon = on_abandon, .event = on_event,
                          .settled = on_settled, .moved = on_moved, .log = lnt__runtime_log};
  lnt__engine_options options = {.store = rt->store, .vm = lnt__wvm_interface(rt->wvm), .effects = &effects, .limits = &rt->options.limits,
                                 .met = &rt->met, .fingerprint = lnt__wvm_fingerprint(rt->wvm), .last_run = last_run,
                                 .seed = rt->options.seed ? rt->options.seed : lnt__entropy(),
                                 .rehearsal = rt->rehearsal ? lnt__wvm_interface(rt->rehearsal) : NULL};
  lnt_status status = lnt__engine_create(&options, &rt->engine, err);
  if (status) return status;
  int64_t now_us = lnt__clock(rt);
  lnt__engine_set_now(rt->engine, now_us);
  rt->collect.is_due = true;
  return lnt__engine_recover(rt->engine, now_us, err);
}

static lnt_status build(lnt_runtime *rt, lnt_error *err) {
  uint64_t last_run = 0;
  if (lnt__mailbox_init(&rt->mailbox)) return lnt__fail(err, LNT_ENOMEM, "the system gives no mutex");
  rt->mailbox_open = true;
  lnt_status status = open_store(rt, err);
  if (!status) status = lnt__journal_open(rt->store, rt->options.read_only != 0, &last_run, err);
  if (!status) status = open_loop(rt, err);
  if (status || rt->options.read_only) return status;
  status = make_vms(rt, err);
  if (!status) status = make_engine(rt, last_run, err);
  if (!status && rt->options.committer) status = lnt__committer_create(rt, &rt->committer, err);
  return status;
}

lnt_status lnt__runtime_create(const lnt_options *options, lnt_runtime **out, lnt_error *err) {
  lnt_runtime *rt = lnt__calloc(1, sizeof *rt);
  if (!rt) return lnt__fail(err, LNT_ENOMEM, "out of memory while the runtime was opened");
  rt->options = *options;
  rt->owner = pthread_self();
  lnt__strmap_init(&rt->activities);
  lnt__strmap_init(&rt->files);
  lnt__strmap_init(&rt->tried);
  lnt__strmap_init(&rt->followed);
  lnt__u64map_init(&rt->running);
  lnt__strmap_init(&rt->lanes);
  lnt__buf_init(&rt->event_text);
  lnt__buf_init(&rt->scratch);
  lnt_status status = own_options(&rt->options) ? build(rt, err) : lnt__fail(err, LNT_ENOMEM, "out of memory while the runtime was opened");
  if (status) lnt__runtime_destroy(rt);
  else *out = rt;
  return status;
}

/* ---- Unmaking it ---- */

static void close_forgotten(uv_handle_t *handle, void *user) {
  (void)user;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void close_loop(lnt_runtime *rt) {
  if (!rt->loop_open) return;
  if (rt->handles_open) {
    uv_close((uv_handle_t *)&rt->async, NULL);
    uv_close((uv_handle_t *)&rt->timer, NULL);
  }
  uv_run(&rt->loop, UV_RUN_NOWAIT); /* the close callbacks */
  if (uv_loop_close(&rt->loop) != UV_EBUSY) return;
  uv_walk(&rt->loop, close_forgotten, NULL);
  for (int i = 0; i < 100 && uv_loop_close(&rt->loop) == UV_EBUSY; i++) uv_run(&rt->loop, UV_RUN_ONCE);
}

void lnt__runtime_destroy(lnt_runtime *rt) {
  rt->closing = true;
  rt->driving++;
  lnt__committer_destroy(rt->committer);
  lnt__workers_destroy(rt->workers);
  rt->workers = NULL;
  lnt__avm_destroy(rt->avm);
  rt->avm = NULL;
  if (rt->mailbox_open) lnt__mailbox_abandon(rt);
  lnt__watch_finish(rt);
  lnt__reload_finish(rt);
  lnt__imports_finish(rt);
  lnt__collect_finish(rt);
  lnt__engine_destroy(rt->engine);
  lnt__wvm_destroy(rt->wvm);
  lnt__wvm_destroy(rt->rehearsal);
  close_loop(rt);
  lnt__activities_finish(rt);
  lnt__loading_finish(rt);
  lnt__followers_finish(rt);
  if (rt->store) rt->store->vtable->destroy(rt->store);
  if (rt->mailbox_open) lnt__mailbox_finish(&rt->mailbox);
  lnt__buf_finish(&rt->event_text);
  lnt__free((void *)(uintptr_t)rt->options.dir);
  lnt__free((void *)(uintptr_t)rt->options.module_path);
  lnt__free((void *)(uintptr_t)rt->options.stdlib_path);
  lnt__free(rt);
}
