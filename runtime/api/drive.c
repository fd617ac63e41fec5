/* drive.c - driving the runtime: lnt_tick, lnt_run, lnt_wait, lnt_drain, lnt_flush and what belongs to them. Owner
 * thread, never from a callback. */
#include "driver/runtime.h"

lnt_status lnt_tick(lnt_runtime *rt, uint64_t budget_ns, lnt_tick_result *result, lnt_error *err) {
  lnt_tick_result unwanted;
  lnt_status status = lnt__enter(rt, LNT__WRITES | LNT__DRIVES, err);
  return status ? status : lnt__tick(rt, budget_ns, result ? result : &unwanted, err);
}

lnt_status lnt_run(lnt_runtime *rt, lnt_error *err) {
  lnt_tick_result result;
  lnt_status status = lnt__enter(rt, LNT__WRITES | LNT__DRIVES, err);
  if (status) return status;
  atomic_store(&rt->stop, false);
  while (!status && !atomic_load(&rt->stop)) status = lnt__pass(rt, UINT64_MAX, &result, err);
  return status;
}

void lnt_stop(lnt_runtime *rt) {
  if (rt) atomic_store(&rt->stop, true);
}

static uint64_t deadline(int64_t timeout_us) {
  if (timeout_us < 0 || timeout_us > INT64_MAX / 2000) return UINT64_MAX;
  return lnt__monotonic_ns() + (uint64_t)timeout_us * 1000;
}

/* Finished or stalled, durably; or, with `begins`, no longer PENDING? LNT_ENOTFOUND while its start is still on its way. */
static lnt_status look(lnt_runtime *rt, const char *id, bool begins, bool *settled, lnt_error *err) {
  uint64_t run;
  lnt__row row;
  void *memory = NULL;
  lnt_status status = lnt__journal_find(rt->store, id, &run, err);
  if (!status) status = lnt__journal_row_outline(rt->store, run, &row, &memory, err);
  if (status) return status;
  bool still = !lnt__engine_ready(rt->engine) && !rt->way.batch;
  *settled = row.closed_us || (row.status == LNT_RUN_STALLED && still); /* a stalled one may be about to go on */
  if (begins) *settled = row.status != LNT_RUN_PENDING;
  lnt__free(memory);
  return LNT_OK;
}

/* Somebody of this id has ended: its newest run, or one that a new run replaced? */
static lnt_status confirm(lnt_runtime *rt, const char *id, bool begins, lnt_error *err) {
  uint64_t run;
  lnt__row row;
  void *memory = NULL;
  lnt_status status = lnt__journal_find(rt->store, id, &run, err);
  if (!status) status = lnt__journal_row_outline(rt->store, run, &row, &memory, err);
  if (!status && !begins) rt->awaited_settled = row.closed_us || row.status == LNT_RUN_STALLED;
  lnt__free(memory);
  return status;
}

static lnt_status wait_for(lnt_runtime *rt, const char *id, bool begins, uint64_t until_ns, lnt_error *err) {
  bool known = false;
  lnt_tick_result result;
  for (;;) {
    lnt_status status = lnt__tick(rt, 0, &result, err);
    if (!status && (!known || begins || lnt__idle(rt))) { /* before a sleep too: a stalled one says nothing again */
      status = look(rt, id, begins, &rt->awaited_settled, NULL);
      known = status == LNT_OK;
      if (status == LNT_ENOTFOUND && (rt->way.batch || lnt__engine_dirty(rt->engine))) status = LNT_OK;
      else if (status) return look(rt, id, begins, &rt->awaited_settled, err);
    }
    if (!status && rt->awaited_settled) status = confirm(rt, id, begins, err);
    if (status || rt->awaited_settled) return status;
    if (lnt__monotonic_ns() >= until_ns)
      return lnt__fail(err, LNT_ETIMEOUT, "instance '%s' was not %s in the time given", id, begins ? "started" : "finished");
    status = lnt__pass(rt, until_ns, &result, err);
    if (status) return status;
  }
}

static lnt_status wait_until(lnt_runtime *rt, const char *id, bool begins, int64_t timeout_us, lnt_error *err) {
  lnt_status status = lnt__enter(rt, LNT__WRITES | LNT__DRIVES, err);
  if (!status) status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (status) return status;
  rt->awaited = id;
  rt->awaited_settled = false;
  status = wait_for(rt, id, begins, deadline(timeout_us), err);
  rt->awaited = NULL;
  return status;
}

lnt_status lnt_wait(lnt_runtime *rt, const char *id, int64_t timeout_us, lnt_error *err) {
  return wait_until(rt, id, false, timeout_us, err);
}

lnt_status lnt_wait_start(lnt_runtime *rt, const char *id, int64_t timeout_us, lnt_error *err) {
  return wait_until(rt, id, true, timeout_us, err);
}

lnt_status lnt_drive_until(lnt_runtime *rt, lnt_condition_fn condition, void *user, int64_t timeout_us, lnt_error *err) {
  lnt_tick_result result;
  uint64_t until_ns = deadline(timeout_us);
  lnt_status status = lnt__enter(rt, LNT__WRITES | LNT__DRIVES, err);
  if (!status && !condition) status = lnt__fail(err, LNT_EINVAL, "lnt_drive_until: no condition was given (NULL)");
  while (!status && !condition(user)) {
    if (lnt__monotonic_ns() >= until_ns) return lnt__fail(err, LNT_ETIMEOUT, "what was waited for did not happen in the time given");
    status = lnt__pass(rt, until_ns, &result, err);
  }
  return status;
}

lnt_status lnt_drain(lnt_runtime *rt, int64_t timeout_us, lnt_error *err) {
  lnt_tick_result result;
  uint64_t until_ns = deadline(timeout_us);
  lnt_status status = lnt__enter(rt, LNT__WRITES | LNT__DRIVES, err);
  if (!status) status = lnt__tick(rt, 0, &result, err);
  while (!status && !lnt__idle(rt)) {
    if (lnt__monotonic_ns() >= until_ns)
      return lnt__fail(err, LNT_ETIMEOUT, "not drained in the time given: %u instances ready, %u activities running%s", result.ready,
                       result.running, result.full ? ", and the store is full" : "");
    status = lnt__pass(rt, until_ns, &result, err);
  }
  return status;
}

lnt_status lnt_flush(lnt_runtime *rt, lnt_error *err) {
  lnt_status status = lnt__enter(rt, LNT__WRITES | LNT__DRIVES, err);
  if (status) return status;
  rt->driving++;
  lnt__engine_set_now(rt->engine, lnt__clock(rt));
  status = lnt__mailbox_drain(rt, err);
  if (!status) status = lnt__commit_flush(rt, err);
  rt->driving--;
  return status;
}

struct uv_loop_s *lnt_uv_loop(lnt_runtime *rt) { return rt && lnt__is_owner(rt) ? &rt->loop : NULL; }

/* From a callback it happens at the end of the tick: a body may be on the stack. */
lnt_status lnt_evict_all(lnt_runtime *rt) {
  lnt_status status = lnt__enter(rt, LNT__WRITES, NULL);
  if (status) return status;
  if (rt->driving) rt->evict = true;
  else lnt__engine_evict_all(rt->engine);
  return LNT_OK;
}

lnt_status lnt_snapshot(lnt_runtime *rt, const char *path, lnt_error *err) {
  lnt_status status = lnt__enter(rt, LNT__DRIVES, err);
  if (status) return status;
  if (!path || !*path) return lnt__fail(err, LNT_EINVAL, "lnt_snapshot: no path was given; name a directory that does not exist yet");
  if (!rt->options.read_only) status = lnt_flush(rt, err);
  return status ? status : rt->store->vtable->copy(rt->store, path, err);
}

lnt_status lnt_get_stats(lnt_runtime *rt, lnt_stats *stats) {
  lnt_stats all = {0};
  lnt_status status = lnt__enter(rt, 0, NULL);
  if (status) return status;
  if (!stats || stats->size < sizeof stats->size) return LNT_EINVAL;
  if (rt->engine) {
    lnt__engine_stats(rt->engine, &all);
    all.commits = rt->way.commits;
    all.commit_records = rt->way.records;
    all.commit_bytes = rt->way.bytes;
    all.commit_failures = rt->way.failures;
    all.code_collected = rt->collect.collected;
    all.running = rt->running.count + lnt__dispatch_waiting(rt);
    all.workflow_memory_bytes = lnt__wvm_memory(rt->wvm);
    all.activity_memory_bytes = lnt__avm_memory(rt->avm);
  }
  all.met = rt->met;
  all.size = stats->size;
  memcpy(stats, &all, stats->size < sizeof all ? stats->size : sizeof all);
  return LNT_OK;
}
