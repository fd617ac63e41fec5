/* dispatch.c - starts activities whose scheduling is durable: functions in C, Lua on the owner thread, Lua on workers. Called by
 * tick.c, and by mailbox.c for each answer; owner thread. */
#include "base/hash.h"
#include "driver/runtime.h"

enum { NAMES_LISTED_MAX = 12 };

/* ---- The ring of attempts that may begin ---- */

static bool grow_ring(lnt__tokens *ring) {
  size_t capacity = ring->capacity ? ring->capacity * 2 : 64;
  lnt_token *items = lnt__alloc(capacity * sizeof *items);
  if (!items) return false;
  for (size_t i = 0; i < ring->count; i++) items[i] = ring->items[(ring->head + i) & (ring->capacity - 1)];
  lnt__free(ring->items);
  *ring = (lnt__tokens){items, 0, ring->count, capacity};
  return true;
}

bool lnt__dispatch_push(lnt_runtime *rt, lnt_token token) {
  lnt__tokens *ring = &rt->dispatch;
  if (ring->count == ring->capacity && !grow_ring(ring)) return false;
  ring->items[(ring->head + ring->count++) & (ring->capacity - 1)] = token;
  return true;
}

static lnt_token pop(lnt__tokens *ring) {
  lnt_token token = ring->items[ring->head];
  ring->head = (ring->head + 1) & (ring->capacity - 1);
  ring->count--;
  return token;
}

/* ---- Attempts begun and not answered ---- */

static lnt__runner runner_marks[LNT__RUNNER_WORKER + 1] = {0, LNT__RUNNER_C, LNT__RUNNER_AVM, LNT__RUNNER_WORKER};

static uint64_t token_key(lnt_token token) {
  uint64_t parts[2] = {token.run, (uint64_t)token.seq << 32 | token.attempt};
  return lnt__hash64(parts, sizeof parts);
}

static void remember(lnt_runtime *rt, lnt_token token, lnt__runner runner) {
  if (!lnt__u64map_put(&rt->running, token_key(token), &runner_marks[runner]))
    lnt__logf(rt, LNT_LOG_WARN, "out of memory: a running activity is not counted and cannot be canceled");
}

void lnt__dispatch_answered(lnt_runtime *rt, lnt_token token) {
  if (rt->running.count) lnt__u64map_remove(&rt->running, token_key(token));
}

void lnt__dispatch_abandon(lnt_runtime *rt, lnt_token token) {
  const lnt__runner *runner = rt->running.count ? lnt__u64map_remove(&rt->running, token_key(token)) : NULL;
  if (!runner) return;
  if (*runner == LNT__RUNNER_AVM && rt->avm) lnt__avm_cancel(rt->avm, token);
  if (*runner == LNT__RUNNER_WORKER && rt->workers) lnt__workers_cancel(rt->workers, token);
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

static void run_c(lnt_runtime *rt, const lnt__c_activity *found, const lnt_activity *activity) {
  lnt_activity_result result = found->fn(found->user, rt, activity);
  if (rt->current_answered) return;
  if (result == LNT_ACTIVITY_PENDING) remember(rt, activity->token, LNT__RUNNER_C);
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
  size_t name_size = strlen(attempt->name) + 1, id_size = strlen(attempt->instance_id) + 1;
  lnt__buf_clear(scratch);
  lnt__buf_append(scratch, attempt->name, name_size);
  lnt__buf_append(scratch, attempt->instance_id, id_size);
  lnt__buf_append(scratch, attempt->input.data, attempt->input.size);
  if (scratch->failed) return false;
  const char *at = (const char *)scratch->data;
  *out = (lnt_activity){attempt->token, at, at + name_size, attempt->idempotency_key,
                        {attempt->input.size ? at + name_size + id_size : NULL, attempt->input.size}};
  return true;
}

/* Without memory for the copy the token goes back to the end of the ring, and the pass ends. */
static bool begin_one(lnt_runtime *rt) {
  lnt_token token = pop(&rt->dispatch);
  lnt__attempt attempt;
  lnt_activity activity;
  uint8_t hash[LNT__SHA256_BYTES];
  if (!lnt__engine_begin(rt->engine, token, &attempt)) return true;
  memcpy(hash, attempt.hash, sizeof hash);
  lnt__buf scratch = rt->scratch; /* taken, so that an activity that drives nothing still cannot tread on it */
  rt->scratch = (lnt__buf){0};
  bool copied = copy_attempt(&scratch, &attempt, &activity);
  if (copied) run_attempt(rt, &activity, hash);
  else lnt__dispatch_push(rt, token); /* the slot it left is free */
  lnt__buf_finish(&rt->scratch);
  rt->scratch = scratch;
  return copied;
}

bool lnt__dispatch_ready(const lnt_runtime *rt) {
  return rt->dispatch.count > 0 && rt->running.count < rt->options.limits.activities_running_max &&
         rt->mailbox.local.count < rt->options.limits.mailbox_max;
}

void lnt__dispatch_run(lnt_runtime *rt, uint64_t until_ns) {
  while (lnt__dispatch_ready(rt))
    if (!begin_one(rt) || (until_ns && lnt__monotonic_ns() >= until_ns)) return;
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
  lnt__free(rt->dispatch.items);
  lnt__buf_finish(&rt->scratch);
}
