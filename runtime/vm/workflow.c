/* workflow.c - the workflow VM: its state, what the engine asks of it (start, deliver, drop, where), its memory between ticks. Called by
 * the driver through vm.h and by the engine through lnt__vm; owner thread.
 *
 * Nothing of Lua that can raise runs outside lnt__protected(). A refused allocation there is not the instance's fault: its body becomes
 * UNAVAILABLE and is rebuilt later. One inside a branch is, and fails the instance. */
#include "vm/workflow.h"

#include <lauxlib.h>
#include <luajit.h>
#include <stdio.h>

#include "base/clock.h"
#include "journal/journal.h"

#define ENTRY_INDEX 1 /* of the main thread's stack: the function that lnt__protected calls */
#define FIRST_SLOT 8
#define IDLE_GARBAGE_BYTES (1u << 20) /* less is not worth a cycle in idle time */

/* ---- Protected calls and slots ---- */

static int run_entry(lua_State *L) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  wvm->entry(L, wvm->entry_argument);
  return 0;
}

static void full_cycle(lua_State *L, void *argument) {
  (void)argument;
  lua_gc(L, LUA_GCCOLLECT, 0);
}

/* What one body took and was stopped for is garbage by the next turn: nobody else is to notice. */
static void recover_memory(lnt__wvm *wvm) {
  if (!wvm->guard.exhausted) return;
  wvm->guard.exhausted = false;
  lnt__protected(wvm, full_cycle, NULL, NULL);
}

lnt_status lnt__protected(lnt__wvm *wvm, void (*fn)(lua_State *L, void *argument), void *argument, lnt_error *err) {
  lua_State *L = wvm->L;
  recover_memory(wvm);
  wvm->entry = fn;
  wvm->entry_argument = argument;
  lua_pushvalue(L, ENTRY_INDEX);
  int rc = lua_pcall(L, 0, 0, 0);
  if (rc == 0) return LNT_OK;
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is not text";
  lnt_status status = rc == LUA_ERRMEM || strcmp(text, "not enough memory") == 0
                          ? lnt__fail(err, LNT_ENOMEM, "out of memory in the workflow VM (workflow_memory_bytes_max)")
                          : lnt__fail(err, LNT_EINTERNAL, "the workflow VM: %s", text);
  lua_settop(L, ENTRY_INDEX);
  return status;
}

uint32_t lnt__anchor(lua_State *L) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  bool reused = wvm->free_slot_count > 0;
  if (!reused && !lnt__grow((void **)&wvm->free_slots, &wvm->free_slot_capacity, wvm->slots + 1u, sizeof *wvm->free_slots))
    luaL_error(L, "not enough memory");
  uint32_t slot = reused ? wvm->free_slots[wvm->free_slot_count - 1] : wvm->slots + 1;
  lua_rawseti(L, LUA_REGISTRYINDEX, (int)slot);
  if (reused) wvm->free_slot_count--;
  else wvm->slots = slot;
  return slot;
}

void lnt__release(lnt__wvm *wvm, uint32_t *slot) {
  if (*slot == 0) return;
  lua_pushnil(wvm->L);
  lua_rawseti(wvm->L, LUA_REGISTRYINDEX, (int)*slot);
  wvm->free_slots[wvm->free_slot_count++] = *slot; /* there is room for every slot ever taken */
  *slot = 0;
}

/* ---- What the sandbox asks of the running body ---- */

static int64_t host_now_us(void *user) {
  const lnt__wvm *wvm = user;
  return wvm->body ? lnt__turn_now_us(wvm->body->turn) : 0;
}

static lnt__rng *host_rng(void *user, lua_State *L) {
  static lnt__rng spare; /* only when memory is out: the turn is failing */
  lnt__wvm *wvm = user;
  lnt__check_draw(L, "math.random");
  lnt__rng *rng = wvm->body ? lnt__body_rng(wvm->body, 0) : NULL;
  if (!rng) lnt__rng_seed(&spare, 1);
  return rng ? rng : &spare;
}

static void host_log(void *user, lnt_log_level level, const char *text, size_t size) {
  const lnt__wvm *wvm = user;
  (void)size;
  if (wvm->body) lnt__turn_log(wvm->body->turn, level, text, wvm->apart == LNT__APART_SIDE_EFFECT);
}

/* ---- Starting a body ---- */

typedef struct start_job {
  lnt__body *body;
  const lnt__start_info *start;
  lnt__outcome *outcome;
} start_job;

static void unavailable(lnt__outcome *outcome, const lnt_error *err) {
  outcome->state = LNT__BODY_UNAVAILABLE;
  outcome->error = *err;
}

/* Run the file's top level in the body's own thread; false: *outcome says why there is no body. */
static bool run_top_level(lua_State *L, const start_job *job, lnt__run *run) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__body *body = job->body;
  lua_State *co = body->main.thread.co;
  lnt__code_push_main(L, body->code);
  lua_xmove(L, co, 1);
  wvm->run = run;
  int rc = lnt__resume(wvm, co, 0);
  wvm->run = NULL;
  if (rc == 0 && run->function_slot) {
    lua_settop(co, 0);
    body->line = run->line;
    body->code->names_known = true;
    return true;
  }
  lnt_error err;
  if (rc == 0)
    lnt__fail(&err, LNT_ENOTFOUND, "the code %.12s of %s does not define the workflow \"%s\"", body->code->hex, body->code->file,
              run->wanted);
  if (rc == LUA_YIELD)
    lnt__fail(&err, LNT_ESYNTAX, "%s: the top level of a file cannot wait or yield; do it inside a workflow", body->code->file);
  if (rc == 0 || rc == LUA_YIELD) unavailable(job->outcome, &err);
  else lnt__body_failed(wvm, body, co, job->outcome);
  return false;
}

static void start_entry(lua_State *L, void *argument) {
  const start_job *job = argument;
  lnt__wvm *wvm = lnt__wvm_of(L);
  if (wvm->options.rehearses) lua_gc(L, LUA_GCCOLLECT, 0);
  lnt__body *body = job->body;
  lnt__run run = {.code = body->code, .wanted = job->start->workflow, .modules_slot = &body->modules_slot};
  body->main.thread = lnt__thread_take(L);
  if (!run_top_level(L, job, &run)) {
    lnt__release(wvm, &run.function_slot);
    return;
  }
  lnt__push_slot(L, run.function_slot);
  lnt__release(wvm, &run.function_slot);
  lnt__push_slot(L, wvm->ctx_slot);
  if (!lnt__value_push(L, job->start->input)) luaL_error(L, "the recorded input cannot be read");
  lua_xmove(L, body->main.thread.co, 3);
  lnt__ready(body, &body->main, 2);
  lnt__body_run(L, body, job->outcome);
}

/* Before and after everything that a body does. */
void lnt__enter_body(lnt__wvm *wvm, lnt__body *body, lnt__turn *turn) {
  body->turn = turn;
  wvm->body = body;
  wvm->used_before = wvm->guard.used;
  wvm->cycles_left = 2;
  wvm->branch = NULL;
}

/* What a body seems to hold. What others left behind may be collected while it runs, and its own while they do, so nothing is certain:
 * only one that still seems to hold too much after a full cycle is said to be heavy. */
static void weigh_roughly(lnt__wvm *wvm, lnt__body *body, lnt__outcome *outcome) {
  int64_t max = wvm->limits.instance_memory_bytes_max < INT64_MAX / 2 ? (int64_t)wvm->limits.instance_memory_bytes_max : INT64_MAX / 2;
  size_t used = wvm->guard.used;
  body->held += (int64_t)used - (int64_t)wvm->used_before;
  if (body->held < 0) body->held = 0;
  if (body->held <= max || body->held <= body->weighed + max / 8) return;
  lnt__protected(wvm, full_cycle, NULL, NULL);
  body->held -= (int64_t)(used - wvm->guard.used);
  body->weighed = body->held;
  outcome->heavy = outcome->heavy || body->held > max;
}

void lnt__leave_body(lnt__wvm *wvm, lnt_status status, const lnt_error *err, lnt__outcome *outcome) {
  if (!status && outcome->state == LNT__BODY_WAITING) weigh_roughly(wvm, wvm->body, outcome);
  wvm->body = NULL;
  wvm->branch = NULL;
  wvm->run = NULL;
  wvm->calling = NULL;
  wvm->require_depth = 0;
  wvm->apart = LNT__APART_NONE;
  if (!status && !outcome->value.failed && !outcome->detail.failed) return;
  lnt__buf_clear(&outcome->value);
  lnt__buf_clear(&outcome->detail);
  if (status) {
    unavailable(outcome, err);
    return;
  }
  lnt_error memory;
  lnt__fail(&memory, LNT_ENOMEM, "out of memory");
  unavailable(outcome, &memory);
}

static lnt_status take_attributes(lnt__body *body, lnt_value attributes, lnt_error *err) {
  if (!attributes.size) return LNT_OK;
  body->attributes = lnt__alloc(attributes.size);
  if (!body->attributes) return lnt__fail(err, LNT_ENOMEM, "out of memory");
  memcpy(body->attributes, attributes.data, attributes.size);
  body->attributes_size = (uint32_t)attributes.size;
  return LNT_OK;
}

static void vm_start(void *vm, lnt__turn *turn, const lnt__start_info *start, void **out, lnt__outcome *outcome) {
  lnt__wvm *wvm = vm;
  lnt_error err;
  lnt__body *body = lnt__calloc(1, sizeof *body);
  *out = body;
  lnt_status status = body ? lnt__code_get(wvm, start->hash, &body->code, &err) : lnt__fail(&err, LNT_ENOMEM, "out of memory");
  if (!status) status = take_attributes(body, start->attributes, &err);
  if (status) {
    unavailable(outcome, &err);
    return;
  }
  start_job job = {body, start, outcome};
  body->seed = start->seed;
  body->coverage = start->trace;
  body->root.owner = body->handlers.owner = &body->main;
  body->main.scope = body->main.base = &body->root;
  body->waits = &body->one;
  body->wait_capacity = 1;
  lnt__enter_body(wvm, body, turn);
  status = lnt__protected(wvm, start_entry, &job, &err);
  lnt__leave_body(wvm, status, &err, outcome);
}

/* ---- Going on ---- */

typedef struct deliver_job {
  lnt__body *body;
  const lnt__delivery *delivery;
  lnt__outcome *outcome;
} deliver_job;

static void deliver_entry(lua_State *L, void *argument) {
  const deliver_job *job = argument;
  if (lnt__wvm_of(L)->options.rehearses) lua_gc(L, LUA_GCCOLLECT, 0);
  lnt__deliver(L, job->body, job->delivery);
  lnt__body_run(L, job->body, job->outcome);
}

static void vm_deliver(void *vm, lnt__turn *turn, void *body, const lnt__delivery *delivery, lnt__outcome *outcome) {
  lnt__wvm *wvm = vm;
  lnt_error err;
  deliver_job job = {body, delivery, outcome};
  lnt__enter_body(wvm, body, turn);
  lnt_status status = lnt__protected(wvm, deliver_entry, &job, &err);
  lnt__leave_body(wvm, status, &err, outcome);
}

static void vm_drop(void *vm, void *body) { lnt__body_free(vm, body); }

static size_t vm_weigh(void *vm, void *body) {
  lnt__wvm *wvm = vm;
  lnt__protected(wvm, full_cycle, NULL, NULL);
  size_t before = wvm->guard.used;
  lnt__body_free(wvm, body);
  lnt__protected(wvm, full_cycle, NULL, NULL);
  return before > wvm->guard.used ? before - wvm->guard.used : 0;
}

/* The newest code that a file defines it in; when none does any more, the code of the instance that asks, if it does. */
static lnt_status vm_resolve(void *vm, const lnt__turn *turn, const char *workflow, uint8_t *hash, lnt_error *err) {
  lnt__wvm *wvm = vm;
  lnt_status status = lnt__wvm_resolve(wvm, workflow, hash, err);
  const lnt__body *body = wvm->body;
  if (status != LNT_ENOTFOUND || !body || body->turn != turn || !lnt__code_defines(body->code, workflow)) return status;
  memcpy(hash, body->code->hash, LNT__SHA256_BYTES);
  return LNT_OK;
}

static void vm_trace(void *vm, lnt__turn *turn, lnt__buf *out) {
  const lnt__wvm *wvm = vm;
  (void)turn;
  if (wvm->calling) lnt__traceback(wvm->calling, out);
}

static void vm_where(void *vm, lnt__turn *turn, char *out, size_t size) {
  const lnt__wvm *wvm = vm;
  (void)turn;
  if (wvm->calling) lnt__where(wvm->calling, out, size);
  else snprintf(out, size, "?");
}

/* ---- The VM ---- */

static void open_entry(lua_State *L, void *argument) {
  lnt__code_open(L);
  lnt__ctx_open(L, argument);
}

static lnt_status open_state(lnt__wvm *wvm, lnt_error *err) {
  wvm->L = lua_newstate(lnt__guard_alloc, &wvm->guard);
  if (!wvm->L) return lnt__fail(err, LNT_ENOMEM, "out of memory while making the workflow VM");
  lnt_status status = lnt__sandbox_open(wvm->L, &wvm->guard, err);
  if (status) return status;
  lua_settop(wvm->L, 0);
  return LNT_OK;
}

static int push_entry(lua_State *L) {
  lua_pushcfunction(L, run_entry);
  lua_rawseti(L, LUA_REGISTRYINDEX, FIRST_SLOT);
  return 0;
}

static lnt_status open_entries(lnt__wvm *wvm, lnt_error *err) {
  if (lua_cpcall(wvm->L, push_entry, NULL)) return lnt__fail(err, LNT_ENOMEM, "out of memory while making the workflow VM");
  lua_rawgeti(wvm->L, LUA_REGISTRYINDEX, FIRST_SLOT); /* stays at ENTRY_INDEX */
  return lnt__protected(wvm, open_entry, wvm, err);
}

static lnt_status copy_options(lnt__wvm *wvm, const lnt__wvm_options *options, lnt_error *err) {
  wvm->options = *options;
  wvm->limits = *options->limits;
  wvm->options.limits = &wvm->limits;
  wvm->module_path = options->module_path ? lnt__strdup(options->module_path) : NULL;
  wvm->stdlib_path = options->stdlib_path ? lnt__strdup(options->stdlib_path) : NULL;
  bool copied = (wvm->module_path || !options->module_path) && (wvm->stdlib_path || !options->stdlib_path);
  return copied ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory while making the workflow VM");
}

static const char *architecture(void) {
#if defined(__x86_64__)
  return "x64";
#elif defined(__aarch64__)
  return "arm64";
#else
  return "other";
#endif
}

static void init(lnt__wvm *wvm) {
  const lnt__guard_limits guard_limits = {
      .turn_instructions_max = wvm->limits.turn_instructions_max,
      .state_bytes_max = wvm->limits.workflow_memory_bytes_max,
      .turn_bytes_max = wvm->limits.turn_memory_bytes_max,
      .turn_ns_max = wvm->limits.turn_us_max < UINT64_MAX / 1000 ? wvm->limits.turn_us_max * 1000 : 0,
  };
  lnt__guard_init(&wvm->guard, &guard_limits);
  wvm->guard.met = wvm->met = wvm->options.met;
  wvm->host = (lnt__sandbox_host){wvm, host_now_us, host_rng, host_log};
  wvm->guard.host = &wvm->host;
  wvm->interface = (lnt__vm){wvm, vm_start, vm_deliver, vm_drop, vm_weigh, vm_resolve, vm_where, vm_trace, lnt__vm_ask, lnt__vm_update,
                              lnt__vm_inspect, lnt__body_reseed, lnt__vm_watch, lnt__vm_watched, lnt__vm_defines,
                              lnt__vm_compare, lnt__vm_met, lnt__vm_untrace};
  wvm->slots = FIRST_SLOT;
  lnt__u64map_init(&wvm->codes);
  lnt__strmap_init(&wvm->definitions);
  lnt__strmap_init(&wvm->files);
  lnt__buf_init(&wvm->input);
  lnt__buf_init(&wvm->extra);
  snprintf(wvm->fingerprint, sizeof wvm->fingerprint, "%s %s", LUAJIT_VERSION, architecture());
}

lnt_status lnt__wvm_create(const lnt__wvm_options *options, lnt__wvm **out, lnt_error *err) {
  *out = NULL;
  lnt__wvm *wvm = lnt__calloc(1, sizeof *wvm);
  if (!wvm) return lnt__fail(err, LNT_ENOMEM, "out of memory while making the workflow VM");
  lnt_status status = copy_options(wvm, options, err);
  init(wvm);
  if (!status) status = open_state(wvm, err);
  if (!status) status = open_entries(wvm, err);
  if (status) {
    lnt__wvm_destroy(wvm);
    return status;
  }
  *out = wvm;
  return LNT_OK;
}

void lnt__wvm_destroy(lnt__wvm *wvm) {
  if (!wvm) return;
  lnt__changes_finish(wvm);
  lnt__code_finish(wvm);
  if (wvm->L) lua_close(wvm->L);
  lnt__guard_finish(&wvm->guard);
  lnt__buf_finish(&wvm->input);
  lnt__buf_finish(&wvm->extra);
  lnt__free(wvm->free_slots);
  lnt__free(wvm->module_path);
  lnt__free(wvm->stdlib_path);
  lnt__free(wvm);
}

const lnt__vm *lnt__wvm_interface(lnt__wvm *wvm) { return &wvm->interface; }
const char *lnt__wvm_fingerprint(lnt__wvm *wvm) { return wvm->fingerprint; }
size_t lnt__wvm_memory(const lnt__wvm *wvm) { return wvm->guard.used; }

/* ---- Garbage ---- */

typedef struct collect_job { lnt__wvm *wvm; uint64_t budget_ns; bool is_done; } collect_job;

static void collect_entry(lua_State *L, void *argument) {
  collect_job *job = argument;
  uint64_t began = lnt__monotonic_ns();
  do {
    if (!lua_gc(L, LUA_GCSTEP, 0) || --job->wvm->cycles_left > 0) continue;
    job->wvm->clean_bytes = job->wvm->guard.used; /* a cycle is done */
    job->is_done = true;
    return;
  } while (lnt__monotonic_ns() - began < job->budget_ns);
}

/* Under load the collector keeps pace by itself, with each allocation. */
bool lnt__wvm_collect(lnt__wvm *wvm, uint64_t budget_ns) {
  collect_job job = {wvm, budget_ns, false};
  size_t garbage_min = wvm->clean_bytes / 4 > IDLE_GARBAGE_BYTES ? wvm->clean_bytes / 4 : IDLE_GARBAGE_BYTES;
  if (wvm->guard.used < wvm->clean_bytes) wvm->clean_bytes = wvm->guard.used;
  if (wvm->guard.used - wvm->clean_bytes < garbage_min) return false;
  return lnt__protected(wvm, collect_entry, &job, NULL) == LNT_OK && !job.is_done;
}
