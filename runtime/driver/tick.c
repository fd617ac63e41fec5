/* tick.c - the order of things: completions, due timers, turns, one commit, effects; and waiting when nothing can move. Called by
 * api/drive.c; owner thread.
 *
 * An activity that ends at once leaves its answer in the local queue; the next pass puts it into the batch that also carries the next
 * step. So a step costs one commit, whatever the number of instances, and no system call beside it. With the committer thread the batch
 * that arrived is taken back first, for the same reason.
 *
 * Steps without side effects (pure activities) need not wait for a commit: a pass goes round as long as they bring instances forward, and
 * all of it lands in one batch. */
#include <time.h>

#include "driver/runtime.h"

enum {
  PASS_BUDGET_NS = 20 * 1000 * 1000, /* of a pass that nobody gave a budget: a batch of this length hides what a commit costs */
  PASS_TURNS_MAX = 20000,            /* bounds the batch */
  UNPOLLED_MAX = 64,                 /* passes without a look at an idle loop */
  COLLECT_NS = 100 * 1000,
  SLEEP_MS_MAX = 60 * 1000 /* the wall clock may be set; look at it now and then */
};

int64_t lnt__clock(lnt_runtime *rt) {
  int64_t now_us;
  if (rt->options.clock) now_us = rt->options.clock(rt->options.clock_user);
  else {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
  }
  if (now_us > rt->now_us) rt->now_us = now_us;
  return rt->now_us;
}

/* A system call, so a loop that holds nothing is looked at now and then only. Wake-ups are seen in the mailbox without it. */
static void poll_loop(lnt_runtime *rt) {
  if (!uv_loop_alive(&rt->loop) && ++rt->unpolled < UNPOLLED_MAX) return;
  rt->unpolled = 0;
  uv_run(&rt->loop, UV_RUN_NOWAIT);
}

/* Asked after each turn and each attempt. */
bool lnt__time_is_up(const lnt_runtime *rt, uint64_t until_ns) {
  return until_ns && (rt->unhurried ? lnt__coarse_ns() : lnt__monotonic_ns()) >= until_ns;
}

static lnt_status run_turns(lnt_runtime *rt, uint64_t until_ns, lnt_tick_result *result, lnt_error *err) {
  lnt_status status = LNT_OK;
  while (lnt__engine_turn(rt->engine, &status, err) && status == LNT_OK) {
    result->turns++;
    if (result->turns >= PASS_TURNS_MAX || lnt__time_is_up(rt, until_ns)) break;
  }
  return status;
}

/* Keep the first error; `err` belongs to it. */
static void keep(lnt_status *first, lnt_status status) {
  if (*first == LNT_OK) *first = status;
}

static lnt_status go_round(lnt_runtime *rt, uint64_t until_ns, lnt_tick_result *result, lnt_error *err) {
  rt->go_on = false;
  lnt__dispatch_run(rt, until_ns);
  lnt_status status = lnt__mailbox_drain(rt, err);
  if (rt->way.full) return status;
  keep(&status, lnt__engine_fire(rt->engine, status ? NULL : err));
  keep(&status, run_turns(rt, until_ns, result, status ? NULL : err));
  return status;
}

static lnt_status pass(lnt_runtime *rt, uint64_t until_ns, lnt_tick_result *result, lnt_error *err) {
  lnt_status status = lnt__commit_reap(rt, false, err);
  if (rt->imports) lnt__imports_step(rt);
  if (!rt->way.full) lnt__reload_step(rt, until_ns);
  lnt__collect_step(rt);
  for (int rounds = 0; rounds == 0 || (rt->go_on && !status); rounds++) {
    keep(&status, go_round(rt, until_ns, result, status ? NULL : err));
    if (rounds >= PASS_TURNS_MAX || result->turns >= PASS_TURNS_MAX || lnt__time_is_up(rt, until_ns)) break;
  }
  keep(&status, lnt__commit_send(rt, false, status ? NULL : err));
  lnt__followers_serve(rt);
  lnt__dispatch_run(rt, until_ns);
  return status;
}

static int64_t next_due(lnt_runtime *rt) {
  int64_t due_us = lnt__engine_next_due(rt->engine), start_us = lnt__dispatch_due(rt);
  if (start_us < due_us) due_us = start_us;
  int64_t loop_ms = uv_loop_alive(&rt->loop) ? uv_backend_timeout(&rt->loop) : -1;
  if (rt->way.full) { /* timers wait as well */
    uint64_t now_ns = lnt__monotonic_ns();
    due_us = rt->now_us + (rt->way.retry_ns > now_ns ? (int64_t)((rt->way.retry_ns - now_ns) / 1000) : 0);
  }
  if (loop_ms >= 0 && rt->now_us + loop_ms * 1000 < due_us) due_us = rt->now_us + loop_ms * 1000;
  return due_us;
}

lnt_status lnt__tick(lnt_runtime *rt, uint64_t budget_ns, lnt_tick_result *result, lnt_error *err) {
  uint64_t commits = rt->way.commits;
  *result = (lnt_tick_result){0};
  rt->reloading = false;
  rt->driving++;
  poll_loop(rt);
  lnt__engine_set_now(rt->engine, lnt__clock(rt));
  lnt_status status = pass(rt, budget_ns ? lnt__monotonic_ns() + budget_ns : 0, result, err);
  if (rt->evict) lnt__engine_evict_all(rt->engine);
  rt->evict = false;
  rt->garbage = rt->garbage || result->turns;
  rt->driving--;
  result->commits = (uint32_t)(rt->way.commits - commits);
  result->ready = (uint32_t)(lnt__engine_ready(rt->engine) + lnt__mailbox_count(rt));
  result->running = (uint32_t)(rt->running.count + lnt__dispatch_waiting(rt));
  result->in_commit = rt->way.batch != NULL;
  result->full = rt->way.full;
  result->next_due_us = next_due(rt);
  return status;
}

/* ---- Waiting ---- */

/* Is there something to do before time passes or somebody calls? */
static bool can_move(lnt_runtime *rt) {
  if (lnt__mailbox_count(rt) || lnt__dispatch_ready(rt) || rt->followers_due || rt->imports) return true;
  if (rt->way.full) return false;
  if (lnt__collect_ready(rt)) return true;
  return lnt__reload_ready(rt) || lnt__engine_ready(rt->engine) || (!rt->way.batch && lnt__engine_dirty(rt->engine)) ||
         lnt__engine_next_due(rt->engine) <= lnt__clock(rt);
}

bool lnt__idle(lnt_runtime *rt) {
  return !can_move(rt) && !rt->reloads && !rt->way.batch && !rt->way.full && !rt->running.count && !rt->dispatch.count;
}

static void on_timer(uv_timer_t *timer) { (void)timer; }

static uint64_t sleep_ms(lnt_runtime *rt, uint64_t until_ns) {
  uint64_t now_ns = lnt__monotonic_ns(), ms = SLEEP_MS_MAX;
  int64_t due_us = next_due(rt);
  uint64_t due_ms = due_us == INT64_MAX ? ms : due_us <= rt->now_us ? 0 : (uint64_t)(due_us - rt->now_us + 999) / 1000;
  uint64_t collect_ns = lnt__collect_due_ns(rt);
  if (collect_ns < until_ns) until_ns = collect_ns;
  uint64_t until_ms = until_ns == UINT64_MAX ? ms : until_ns <= now_ns ? 0 : (until_ns - now_ns + 999999) / 1000000;
  if (due_ms < ms) ms = due_ms;
  return until_ms < ms ? until_ms : ms;
}

static void sleep_until(lnt_runtime *rt, uint64_t until_ns) {
  uv_handle_t *async = (uv_handle_t *)&rt->async;
  uv_update_time(&rt->loop);
  /* uv_run() runs what is due before it waits, and a timer that has run does not wake it: so it comes again. */
  uv_timer_start(&rt->timer, on_timer, sleep_ms(rt, until_ns), 1);
  uv_ref(async); /* a loop that nothing keeps alive would not wait */
  rt->driving++;
  rt->unpolled = 0;
  uv_run(&rt->loop, UV_RUN_ONCE);
  rt->driving--;
  uv_unref(async);
  uv_timer_stop(&rt->timer);
}

lnt_status lnt__pass(lnt_runtime *rt, uint64_t until_ns, lnt_tick_result *result, lnt_error *err) {
  int64_t due_us = lnt__engine_next_due(rt->engine);
  rt->unhurried = true;
  lnt_status status = lnt__tick(rt, PASS_BUDGET_NS, result, err);
  rt->unhurried = false;
  if (status || result->turns || result->commits || rt->reloading || can_move(rt) || atomic_load(&rt->stop)) return status;
  if (lnt__engine_next_due(rt->engine) != due_us) return LNT_OK; /* what came due concerned nobody any more: is there a reason to wait? */
  if (!rt->way.flying) rt->garbage = rt->garbage && lnt__wvm_collect(rt->wvm, COLLECT_NS);
  if (rt->garbage && !rt->way.flying) return LNT_OK; /* idle time that is used */
  sleep_until(rt, until_ns);
  return LNT_OK;
}
