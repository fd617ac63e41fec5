/* dispatch.c - starts activities whose scheduling is durable: functions in C, Lua on the owner thread, Lua on workers; lane.c says which
 * have to wait. Called by tick.c, and by mailbox.c for each answer; owner thread. */
#include "base/hash.h"
#include "driver/runtime.h"

enum { NAMES_LISTED_MAX = 12 };

/* ---- Rings of attempts that may begin ---- */

static bool grow_ring(lnt__tokens *ring) {
  size_t capacity = ring->capacity ? ring->capacity * 2 : 64;
  lnt_token *items = lnt__alloc(capacity * sizeof *items);
  if (!items) return false;
  for (size_t i = 0; i < ring->count; i++) items[i] = ring->items[(ring->head + i) & (ring->capacity - 1)];
  lnt__free(ring->items);
  *ring = (lnt__tokens){items, 0, ring->count, capacity};
  return true;
}

bool lnt__tokens_push(lnt__tokens *ring, lnt_token token) {
  if (ring->count == ring->capacity && !grow_ring(ring)) return false;
  ring->items[(ring->head + ring->count++) & (ring->capacity - 1)] = token;
  return true;
}

lnt_token lnt__tokens_pop(lnt__tokens *ring) {
  lnt_token token = ring->items[ring->head];
  ring->head = (ring->head + 1) & (ring->capacity - 1);
  ring->count--;
  return token;
}

bool lnt__dispatch_push(lnt_runtime *rt, lnt_token token) { return lnt__tokens_push(&rt->dispatch, token); }

/* ---- Attempts begun and not answered ---- */

static lnt__mark plain_marks[LNT__RUNNERS] = {{LNT__RUNNER_C, NULL}, {LNT__RUNNER_AVM, NULL}, {LNT__RUNNER_WORKER, NULL}};

uint64_t lnt__token_key(lnt_token token) {
  uint64_t parts[2] = {token.run, (uint64_t)token.seq << 32 | token.attempt};
  return lnt__hash64(parts, sizeof parts);
}

static void remember(lnt_runtime *rt, lnt_token token, lnt__runner runner) {
  lnt__lane *lane = rt->current_lane;
  if (!lnt__u64map_put(&rt->running, lnt__token_key(token), lane ? &lane->marks[runner] : &plain_marks[runner])) {
    lnt__logf(rt, LNT_LOG_WARN, "out of memory: a running activity is not counted and cannot be canceled");
    return;
  }
  rt->on_workers += runner == LNT__RUNNER_WORKER;
  rt->current_lane = NULL; /* its place is given back with the answer */
}

static const lnt__mark *forget(lnt_runtime *rt, lnt_token token) {
  const lnt__mark *mark = rt->running.count ? lnt__u64map_remove(&rt->running, lnt__token_key(token)) : NULL;
  if (!mark) return NULL;
  if (mark->lane) mark->lane->running--;
  rt->on_workers -= mark->runner == LNT__RUNNER_WORKER;
  return mark;
}

void lnt__dispatch_answered(lnt_runtime *rt, lnt_token token) { forget(rt, token); }

static void call_hook(lnt_runtime *rt, const char *name, lnt_token token, lnt_cancel_reason why) {
  const lnt__c_activity *c = lnt__strmap_get(&rt->activities, name);
  if (c && c->options.cancel) c->options.cancel(c->options.user, rt, name, token, why);
}

void lnt__dispatch_abandon(lnt_runtime *rt, lnt_token token, lnt_cancel_reason why, const char *name) {
  const lnt__mark *mark = forget(rt, token);
  lnt__canceled_add(rt, token);
  if (name) call_hook(rt, name, token, why); /* deferred: nobody runs it, its host may know more */
  else if (!mark) return;
  else if (mark->runner == LNT__RUNNER_AVM && rt->avm) lnt__avm_cancel(rt->avm, token, why);
  else if (mark->runner == LNT__RUNNER_WORKER && rt->workers) lnt__workers_cancel(rt->workers, token, why);
  else if (mark->runner == LNT__RUNNER_C && mark->lane) call_hook(rt, mark->lane->name, token, why);
}

/* ---- Beginning one ---- */

static void append_name(void *user, const char *name, const lnt__activity_info *info) {
  lnt__queue *names = user;
  (void)info;
  if (names->count++ < NAMES_LISTED_MAX) lnt__buf_printf(&names->bytes, "%s'%s'", names->count > 1 ? ", " : "", name);
}

static void list_names(lnt_runtime *rt, lnt__queue *names) {
  size_t at = 0;
  const char *name;
  void *value;
  while (lnt__strmap_next(&rt->activities, &at, &name, &value)) append_name(names, name, NULL);
  lnt__avm_each(rt->avm, append_name, names);
  if (names->count > NAMES_LISTED_MAX) lnt__buf_printf(&names->bytes, " and %zu more", names->count - NAMES_LISTED_MAX);
  if (!names->count) lnt__buf_printf(&names->bytes, "none");
  lnt__buf_u8(&names->bytes, 0);
}

static void fail_missing(lnt_runtime *rt, const lnt_activity *activity) {
  lnt__queue names = {{0}, 0};
  lnt__buf message, failure;
  lnt__buf_init(&message);
  lnt__buf_init(&failure);
  list_names(rt, &names);
  lnt__buf_printf(&message, "no activity '%s' is registered (registered: %s); load the file that defines it, or register it in C "
                  "before the first tick",
                  activity->name, names.bytes.failed ? "?" : (const char *)names.bytes.data);
  lnt__buf_u8(&message, 0);
  lnt__failure_text(&failure, "ActivityNotRegistered", message.failed ? "no such activity" : (const char *)message.data, false);
  lnt__runtime_fail(rt, activity->token, (lnt_value){failure.data, failure.size}, LNT_VALUE_NIL);
  lnt__buf_finish(&names.bytes);
  lnt__buf_finish(&message);
  lnt__buf_finish(&failure);
}

/* Its token has left the process, and its scheduling may not be durable. */
static void fail_deferred_pure(lnt_runtime *rt, const lnt_activity *activity) {
  lnt__buf failure;
  lnt__buf_init(&failure);
  lnt__failure_text(&failure, "InvalidResult", "an activity that is declared pure cannot be completed later (LNT_ACTIVITY_DEFERRED)",
                    false);
  lnt__runtime_fail(rt, activity->token, (lnt_value){failure.data, failure.size}, LNT_VALUE_NIL);
  lnt__buf_finish(&failure);
}

static void run_c(lnt_runtime *rt, const lnt__c_activity *found, const lnt_activity *activity) {
  lnt_activity_result result = found->options.fn(found->options.user, rt, activity);
  if (rt->current_answered) return;
  if (result == LNT_ACTIVITY_DEFERRED && found->options.pure) fail_deferred_pure(rt, activity);
  else if (result == LNT_ACTIVITY_PENDING) remember(rt, activity->token, LNT__RUNNER_C);
  else if (result == LNT_ACTIVITY_DEFERRED) lnt__runtime_defer(rt, activity->token);
  else lnt__runtime_complete(rt, activity->token, LNT_VALUE_NIL); /* counts only if no other thread has answered */
}

static void run_lua(lnt_runtime *rt, const lnt__activity_info *info, const lnt_activity *activity) {
  if (info->blocking && rt->workers) {
    lnt_error error;
    remember(rt, activity->token, LNT__RUNNER_WORKER);
    if (lnt__workers_run(rt->workers, activity, &error) == LNT_OK) return;
    lnt__dispatch_answered(rt, activity->token);
    lnt__runtime_log(rt, LNT_LOG_WARN, activity->instance_id, error.message); /* and so it runs here */
  }
  lnt__avm_run(rt->avm, activity);
  if (!rt->current_answered) remember(rt, activity->token, LNT__RUNNER_AVM);
}

/* The newest code first; then what is stored with the instance's own code. */
static void run_attempt(lnt_runtime *rt, const lnt_activity *activity, const uint8_t *hash) {
  const lnt__c_activity *found = rt->activities.count ? lnt__strmap_get(&rt->activities, activity->name) : NULL;
  lnt__activity_info info;
  rt->current = activity->token;
  rt->current_answered = false;
  if (found) run_c(rt, found, activity);
  else if (lnt__avm_find(rt->avm, activity->name, &info)) run_lua(rt, &info, activity);
  else if (lnt__code_load_stored(rt, hash) && lnt__avm_find(rt->avm, activity->name, &info)) run_lua(rt, &info, activity);
  else fail_missing(rt, activity);
  rt->current = (lnt_token){0, 0, 0};
}

/* What the engine shows is gone at its next call, and an activity may call the engine: it is given a copy. */
static bool copy_attempt(lnt__buf *scratch, const lnt__attempt *attempt, lnt_activity *out) {
  size_t name_size = strlen(attempt->name) + 1, id_size = strlen(attempt->instance_id) + 1, input_size = attempt->input.size;
  lnt__buf_clear(scratch);
  lnt__buf_append(scratch, attempt->name, name_size);
  lnt__buf_append(scratch, attempt->instance_id, id_size);
  lnt__buf_append(scratch, attempt->input.data, input_size);
  lnt__buf_append(scratch, attempt->heartbeat.data, attempt->heartbeat.size);
  if (scratch->failed) return false;
  const char *at = (const char *)scratch->data;
  const char *values = at + name_size + id_size;
  *out = (lnt_activity){.token = attempt->token, .name = at, .instance_id = at + name_size, .idempotency_key = attempt->idempotency_key,
                        .input = {input_size ? values : NULL, input_size}};
  if (attempt->heartbeat.size) out->heartbeat_details = (lnt_value){values + input_size, attempt->heartbeat.size};
  return true;
}

/* Without memory for the copy the attempt goes back to the end of the ring, and the pass ends. */
static bool begin(lnt_runtime *rt, lnt_token token, lnt__lane *lane) {
  lnt__attempt attempt;
  lnt_activity activity;
  uint8_t hash[LNT__SHA256_BYTES];
  if (!lnt__engine_begin(rt->engine, token, &attempt)) return true;
  memcpy(hash, attempt.hash, sizeof hash);
  lnt__buf scratch = rt->scratch; /* taken, so that an activity that drives nothing still cannot tread on it */
  rt->scratch = (lnt__buf){0};
  bool copied = copy_attempt(&scratch, &attempt, &activity);
  if (copied && lane) lnt__lane_begun(rt, lane);
  rt->current_lane = copied ? lane : NULL;
  if (copied) run_attempt(rt, &activity, hash);
  else {
    lnt__engine_unbegin(rt->engine, token);
    lnt__dispatch_push(rt, token);
  }
  if (rt->current_lane) rt->current_lane->running--; /* it has ended */
  rt->current_lane = NULL;
  lnt__buf_finish(&rt->scratch);
  rt->scratch = scratch;
  return copied;
}

/* The lane of a token that the engine still wants run, if its activity has limits; *over: it does not. */
static lnt__lane *lane_for(lnt_runtime *rt, lnt_token token, bool *over) {
  *over = false;
  if (!rt->has_lanes && !lnt__avm_has_limits(rt->avm)) return NULL;
  const char *name = lnt__engine_attempt_name(rt->engine, token);
  *over = name == NULL;
  return name ? lnt__lane_of(rt, name) : NULL;
}

static bool begin_next(lnt_runtime *rt) {
  lnt__lane *lane = lnt__lane_ready(rt);
  bool over;
  if (lane) return begin(rt, lnt__lane_pop(rt, lane), lane);
  if (!rt->dispatch.count) return false;
  lnt_token token = lnt__tokens_pop(&rt->dispatch);
  lane = lane_for(rt, token, &over);
  if (over) return true;
  if (lane && (lane->waiting.count || !lnt__lane_open(rt, lane)) && lnt__lane_wait(rt, lane, token)) return true;
  return begin(rt, token, lane);
}

bool lnt__dispatch_pure(lnt_runtime *rt, const char *name) {
  lnt__activity_info info;
  if (!rt->has_pure && !lnt__avm_has_pure(rt->avm)) return false;
  const lnt__c_activity *c = rt->activities.count ? lnt__strmap_get(&rt->activities, name) : NULL;
  if (c) return c->options.pure;
  return lnt__avm_find(rt->avm, name, &info) && info.pure;
}

static bool has_room(const lnt_runtime *rt) {
  return rt->running.count < rt->options.limits.activities_running_max && rt->mailbox.local.count < rt->options.limits.mailbox_max;
}

bool lnt__dispatch_ready(lnt_runtime *rt) {
  if (!has_room(rt)) return false;
  return rt->dispatch.count || (rt->lanes_waiting && lnt__lanes_due(rt) <= lnt__clock(rt));
}

int64_t lnt__dispatch_due(lnt_runtime *rt) { return has_room(rt) ? lnt__lanes_due(rt) : INT64_MAX; }

void lnt__dispatch_run(lnt_runtime *rt, uint64_t until_ns) {
  while (lnt__dispatch_ready(rt))
    if (!begin_next(rt) || lnt__time_is_up(rt, until_ns)) return;
  if (rt->dispatch.count && rt->running.count >= rt->options.limits.activities_running_max) LNT__MET(&rt->met, activities_running_max);
}

void lnt__activities_finish(lnt_runtime *rt) {
  size_t at = 0;
  const char *name;
  void *value;
  while (lnt__strmap_next(&rt->activities, &at, &name, &value)) {
    lnt__free(((lnt__c_activity *)value)->name);
    lnt__free(value);
  }
  lnt__strmap_finish(&rt->activities);
  lnt__u64map_finish(&rt->running);
  lnt__lanes_finish(rt);
  lnt__free(rt->dispatch.items);
  lnt__buf_finish(&rt->scratch);
}
