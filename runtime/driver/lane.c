/* lane.c - the limits of single activities: how many attempts run at once, how many begin in a period. Called by dispatch.c; owner
 * thread.
 *
 * A lane holds the attempts of one activity that its limits do not let begin, in the order in which they came. Blocking activities without
 * limits of their own share one lane, since the worker threads are a limit too: an attempt begins when a thread can take it. Lanes are made
 * when they are first needed and live as long as the runtime. */
#include "driver/runtime.h"

#define WORKERS_LANE "" /* no activity has this name */

/* ---- Limits, as they stand now: code may have been loaded again ---- */

typedef struct limit { uint32_t concurrency; lnt__rate rate; bool on_workers, hooked; } limit;

static limit limit_of(lnt_runtime *rt, const char *name) {
  const lnt__c_activity *c = rt->activities.count ? lnt__strmap_get(&rt->activities, name) : NULL;
  lnt__activity_info info;
  if (c) return (limit){c->options.concurrency, {c->options.rate_count, c->options.rate_per_us}, false, c->options.cancel != NULL};
  if (lnt__avm_find(rt->avm, name, &info)) return (limit){info.concurrency, info.rate, info.blocking && rt->workers, false};
  return (limit){.on_workers = strcmp(name, WORKERS_LANE) == 0};
}

static lnt__lane *find_or_make(lnt_runtime *rt, const char *name) {
  lnt__lane *lane = lnt__strmap_get(&rt->lanes, name);
  if (lane) return lane;
  lane = lnt__calloc(1, sizeof *lane);
  if (!lane) return NULL;
  lane->name = lnt__strdup(name);
  if (!lane->name || !lnt__strmap_put(&rt->lanes, lane->name, lane)) {
    lnt__free(lane->name);
    lnt__free(lane);
    return NULL;
  }
  for (int i = 0; i < LNT__RUNNERS; i++) lane->marks[i] = (lnt__mark){(lnt__runner)i, lane};
  lane->next = rt->lane_list;
  rt->lane_list = lane;
  return lane;
}

lnt__lane *lnt__lane_of(lnt_runtime *rt, const char *name) {
  limit l = limit_of(rt, name);
  bool own = l.concurrency || l.rate.count || l.hooked;
  if (!own && !l.on_workers) return NULL;
  lnt__lane *lane = find_or_make(rt, own ? name : WORKERS_LANE);
  if (!lane) lnt__logf(rt, LNT_LOG_ERROR, "out of memory: the limits of activity '%s' are not kept", name);
  return lane;
}

/* ---- Rates: the times of the last starts, oldest first ---- */

static int64_t *start_at(const lnt__lane *lane, size_t i) {
  return &lane->starts[(lane->start_head + i) & (lane->start_capacity - 1)];
}

static void forget_starts(lnt__lane *lane, const lnt__rate *rate, int64_t now_us) {
  while (lane->start_count && *start_at(lane, 0) + rate->per_us <= now_us) {
    lane->start_head = (lane->start_head + 1) & (lane->start_capacity - 1);
    lane->start_count--;
  }
}

static bool grow_starts(lnt__lane *lane) {
  size_t capacity = lane->start_capacity ? lane->start_capacity * 2 : 16;
  int64_t *starts = lnt__alloc(capacity * sizeof *starts);
  if (!starts) return false;
  for (size_t i = 0; i < lane->start_count; i++) starts[i] = *start_at(lane, i);
  lnt__free(lane->starts);
  lane->starts = starts;
  lane->start_head = 0;
  lane->start_capacity = capacity;
  return true;
}

static void note_start(lnt_runtime *rt, lnt__lane *lane, const lnt__rate *rate) {
  int64_t now_us = lnt__clock(rt);
  forget_starts(lane, rate, now_us);
  if (lane->start_count == lane->start_capacity && !grow_starts(lane)) {
    lnt__logf(rt, LNT_LOG_WARN, "out of memory: a start of activity '%s' is not counted", lane->name);
    return;
  }
  *start_at(lane, lane->start_count++) = now_us;
}

/* When the rate lets the next attempt begin; a time that has passed: now. */
static int64_t rate_due(lnt__lane *lane, const lnt__rate *rate, int64_t now_us) {
  if (!rate->count) return now_us;
  forget_starts(lane, rate, now_us);
  if (lane->start_count < rate->count) return now_us;
  return *start_at(lane, lane->start_count - rate->count) + rate->per_us;
}

/* ---- Lanes ---- */

/* INT64_MAX: when another attempt ends. */
static int64_t open_from(lnt_runtime *rt, lnt__lane *lane, int64_t now_us) {
  limit l = limit_of(rt, lane->name);
  if (l.concurrency && lane->running >= l.concurrency) return INT64_MAX;
  if (l.on_workers && rt->on_workers >= (uint32_t)rt->options.workers) return INT64_MAX;
  return rate_due(lane, &l.rate, now_us);
}

bool lnt__lane_open(lnt_runtime *rt, lnt__lane *lane) {
  int64_t now_us = lnt__clock(rt);
  return open_from(rt, lane, now_us) <= now_us;
}

bool lnt__lane_wait(lnt_runtime *rt, lnt__lane *lane, lnt_token token) {
  bool queued = lnt__tokens_push(&lane->waiting, token);
  rt->lanes_waiting += queued;
  return queued;
}

void lnt__lane_begun(lnt_runtime *rt, lnt__lane *lane) {
  limit l = limit_of(rt, lane->name);
  lane->running++;
  if (l.rate.count) note_start(rt, lane, &l.rate);
}

/* In turn, so that none waits because another is busy. */
lnt__lane *lnt__lane_ready(lnt_runtime *rt) {
  lnt__lane *first = rt->lane_turn ? rt->lane_turn : rt->lane_list, *lane = first;
  if (!rt->lanes_waiting) return NULL;
  do {
    rt->lane_turn = lane->next;
    if (lane->waiting.count && lnt__lane_open(rt, lane)) return lane;
    lane = lane->next ? lane->next : rt->lane_list;
  } while (lane != first);
  return NULL;
}

lnt_token lnt__lane_pop(lnt_runtime *rt, lnt__lane *lane) {
  rt->lanes_waiting--;
  return lnt__tokens_pop(&lane->waiting);
}

int64_t lnt__lanes_due(lnt_runtime *rt) {
  int64_t due_us = INT64_MAX;
  for (lnt__lane *lane = rt->lanes_waiting ? rt->lane_list : NULL; lane; lane = lane->next) {
    int64_t from_us = lane->waiting.count ? open_from(rt, lane, rt->now_us) : INT64_MAX;
    if (from_us < due_us) due_us = from_us;
  }
  return due_us;
}

void lnt__lanes_finish(lnt_runtime *rt) {
  while (rt->lane_list) {
    lnt__lane *lane = rt->lane_list;
    rt->lane_list = lane->next;
    lnt__free(lane->waiting.items);
    lnt__free(lane->starts);
    lnt__free(lane->name);
    lnt__free(lane);
  }
  lnt__strmap_finish(&rt->lanes);
}
