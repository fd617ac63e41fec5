/* activity.c - the activity VM: making it, running attempts, answering them. Used by the driver and by its worker threads through
 * activity.h; the thread that made the avm. activity_lib.h tells how an attempt runs; activity_load.c loads files, activity_io.c waits,
 * activity_guard.c stops what computes too long. */
#include <stdio.h>

#include <lualib.h>

#include "base/clock.h"
#include "journal/journal.h"
#include "lua_embed.h"
#include "vm/activity_lib.h"
#include "vm/value.h"

#define SLOT_BITS 20
#define TRACEBACK_BYTES_MAX 8192

/* ---- Memory ---- */

/* Refuses only while author code runs, which is always protected: an error anywhere else would end the process. */
static void *allocate(void *user, void *memory, size_t old_size, size_t new_size) {
  lnt__avm *avm = user;
  if (new_size == 0) {
    lnt__pool_free(&avm->pool, memory, old_size);
    avm->used -= memory ? old_size : 0;
    return NULL;
  }
  size_t rest = avm->used - (memory ? old_size : 0);
  if (avm->enforce && new_size > old_size && rest + new_size > avm->options.memory_bytes_max) return NULL;
  void *grown = lnt__pool_resize(&avm->pool, memory, old_size, new_size);
  if (grown) avm->used = rest + new_size;
  return grown;
}

static int collect_protected(lua_State *L) {
  lua_gc(L, LUA_GCCOLLECT, 0);
  return 0;
}

/* LuaJIT never collects because an allocation was refused, so garbage must not be what stands at the limit. */
static void collect_if_due(lnt__avm *avm) {
  if (avm->used < avm->collect_at) return;
  if (lua_cpcall(avm->L, collect_protected, NULL) != 0) lua_pop(avm->L, 1);
  size_t half = (size_t)(avm->options.memory_bytes_max / 2), more = avm->used + avm->used / 4;
  avm->collect_at = more > half ? more : half;
}

size_t lnt__avm_memory(const lnt__avm *avm) { return avm->used; }

/* ---- Calling activity.lua ---- */

void lnt__avm_log(lnt__avm *avm, lnt_log_level level, const char *id, const char *message) {
  if (avm->options.log) avm->options.log(avm->options.user, level, id, message);
}

bool lnt__avm_call(lnt__avm *avm, int function, int nargs, int nresults) {
  lua_rawgeti(avm->L, LUA_REGISTRYINDEX, function);
  lua_insert(avm->L, -nargs - 1);
  if (lua_pcall(avm->L, nargs, nresults, 0) == 0) return true;
  const char *text = lua_type(avm->L, -1) == LUA_TSTRING ? lua_tostring(avm->L, -1) : "an error that is not text";
  lnt__avm_log(avm, LNT_LOG_ERROR, NULL, text);
  lua_pop(avm->L, 1);
  return false;
}

/* ---- Attempts and their coroutines ---- */

static lnt__attempt *attempt_new(lnt__avm *avm) {
  if (avm->slots_count >= LNT__ATTEMPTS_MAX) return NULL;
  void *slots = avm->slots;
  if (!lnt__grow(&slots, &avm->slots_capacity, avm->slots_count + 1, sizeof *avm->slots)) return NULL;
  avm->slots = slots;
  lnt__attempt *attempt = lnt__calloc(1, sizeof *attempt);
  if (!attempt) return NULL;
  attempt->slot = (uint32_t)avm->slots_count;
  attempt->serial = 1u << SLOT_BITS | attempt->slot;
  lnt__buf_init(&attempt->out);
  avm->slots[avm->slots_count++] = attempt;
  return attempt;
}

static int thread_protected(lua_State *L) {
  lnt__attempt *attempt = lua_touserdata(L, 1);
  lua_State *co = lua_newthread(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, lnt__avm_of(L)->refs.body);
  lua_xmove(L, co, 1);
  attempt->co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  attempt->co = co;
  return 0;
}

/* An attempt with a coroutine that is ready for `body`; NULL: out of memory, or too many. */
static lnt__attempt *attempt_take(lnt__avm *avm) {
  lnt__attempt *attempt = avm->idle;
  if (attempt) {
    avm->idle = attempt->next;
    avm->idle_count -= attempt->co != NULL;
  } else {
    attempt = attempt_new(avm);
  }
  if (!attempt || attempt->co) return attempt;
  if (lua_cpcall(avm->L, thread_protected, attempt) == 0) return attempt;
  lua_pop(avm->L, 1);
  attempt->next = avm->idle;
  avm->idle = attempt;
  return NULL;
}

static void drop_coroutine(lnt__avm *avm, lnt__attempt *attempt) {
  luaL_unref(avm->L, LUA_REGISTRYINDEX, attempt->co_ref);
  attempt->co = NULL;
}

/* Attempts whose coroutine was dropped go behind those that have one. */
static void attempt_recycle(lnt__avm *avm, lnt__attempt *attempt) {
  if (attempt->co && avm->idle_count >= LNT__ATTEMPTS_POOLED) drop_coroutine(avm, attempt);
  if (attempt->out.capacity > LNT__ATTEMPT_OUT_KEPT) lnt__buf_finish(&attempt->out);
  lnt__free(attempt->strings);
  attempt->strings = NULL;
  lnt__attempt **at = &avm->idle;
  if (attempt->co) avm->idle_count++;
  else if (*at && (*at)->co) at = &(*at)->next;
  attempt->next = *at;
  *at = attempt;
}

/* ---- Attempts that wait: their strings become their own, their token can be found ---- */

static uint64_t token_key(lnt_token token) {
  uint64_t key = token.run * 0x9e3779b97f4a7c15u ^ ((uint64_t)token.seq << 32 | token.attempt) * 0xd6e8feb86659fd93u;
  return key ^ key >> 29;
}

static bool own_strings(lnt_activity *activity, char **block) {
  const char **fields[] = {&activity->name, &activity->instance_id, &activity->idempotency_key};
  size_t size = 0, lengths[LNT__COUNT(fields)];
  for (size_t i = 0; i < LNT__COUNT(fields); i++) size += lengths[i] = strlen(*fields[i]) + 1;
  char *to = *block = lnt__alloc(size);
  if (!to) return false;
  for (size_t i = 0; i < LNT__COUNT(fields); i++) {
    memcpy(to, *fields[i], lengths[i]);
    *fields[i] = to;
    to += lengths[i];
  }
  activity->input = activity->heartbeat_details = LNT_VALUE_NIL; /* taken by now */
  return true;
}

static bool keep(lnt__avm *avm, lnt__attempt *attempt) {
  if (attempt->kept) return true;
  uint64_t key = token_key(attempt->activity.token);
  attempt->same_key = lnt__u64map_get(&avm->waiting, key);
  if (!own_strings(&attempt->activity, &attempt->strings) || !lnt__u64map_put(&avm->waiting, key, attempt)) return false;
  avm->kept_count++;
  return attempt->kept = true;
}

static void unkeep(lnt__avm *avm, lnt__attempt *attempt) {
  if (!attempt->kept) return;
  uint64_t key = token_key(attempt->activity.token);
  lnt__attempt *first = lnt__u64map_get(&avm->waiting, key);
  if (first != attempt) {
    while (first->same_key != attempt) first = first->same_key;
    first->same_key = attempt->same_key;
  } else if (attempt->same_key) {
    lnt__u64map_put(&avm->waiting, key, attempt->same_key); /* replaces: cannot fail */
  } else {
    lnt__u64map_remove(&avm->waiting, key);
  }
  attempt->kept = false;
  avm->kept_count--;
}

/* ---- Failures ---- */

void lnt__avm_traceback(lnt__buf *out, const char *text) {
  while (*text && out->size < TRACEBACK_BYTES_MAX) {
    size_t line = strcspn(text, "\n");
    const char *own = strstr(text, LNT__AVM_CHUNK);
    if (!own || own >= text + line) {
      if (out->size) lnt__buf_u8(out, '\n');
      lnt__buf_append(out, text, line);
    }
    text += line + (text[line] == '\n');
  }
}

typedef struct describe { lnt__avm *avm; lnt__attempt *attempt; lnt__buf *detail; } describe;

/* Encode the error at the top of the attempt's coroutine, with its traceback. */
static int describe_protected(lua_State *L) {
  describe *d = lua_touserdata(L, 1);
  lua_State *co = d->attempt->co;
  luaL_traceback(L, co, NULL, 0);
  lnt__avm_traceback(d->detail, lua_tostring(L, -1));
  lua_xmove(co, L, 1);
  d->attempt->outcome = lnt__failure_encode(L, -1, d->avm->options.payload_bytes_max, &d->attempt->out, &d->avm->err);
  return 0;
}

static void fail_text(lnt__attempt *attempt, const char *type, const char *message, bool retryable) {
  lnt__buf_clear(&attempt->out);
  lnt__failure_text(&attempt->out, type, message, retryable);
  attempt->outcome = LNT_EVALUE;
}

static void fail_memory(lnt__avm *avm, lnt__attempt *attempt) {
  char message[256 + LNT_NAME_BYTES_MAX];
  LNT__MET(avm->options.met, activity_memory_bytes_max);
  snprintf(message, sizeof message,
           "the activity \"%s\" ran out of memory: all activities of this VM together may hold %llu bytes (activity_memory_bytes_max)",
           attempt->activity.name, (unsigned long long)avm->options.memory_bytes_max);
  fail_text(attempt, "OutOfMemory", message, true);
}

static void fail_raised(lnt__avm *avm, lnt__attempt *attempt, lnt__buf *detail) {
  describe d = {avm, attempt, detail};
  lnt__buf_clear(&attempt->out);
  if (lua_cpcall(avm->L, describe_protected, &d) != 0) {
    lua_pop(avm->L, 1);
    fail_memory(avm, attempt);
  } else if (attempt->outcome != LNT_OK) {
    fail_text(attempt, "InvalidValue", avm->err.message, false);
  }
  attempt->outcome = LNT_EVALUE;
}

/* The watchdog stopped it: the error at the top says nothing. */
static void fail_stopped(const lnt__avm *avm, lnt__attempt *attempt, lnt__buf *detail) {
  const lnt__watch *watch = &avm->watch;
  lnt__buf_append(detail, watch->detail.data, watch->detail.size);
  if (watch->stop != LNT__STOP_TIMEOUT) {
    fail_text(attempt, watch->stop == LNT__STOP_SLICE ? "SliceExceeded" : "Canceled", watch->text, false);
    return;
  }
  lnt__buf_clear(&attempt->out);
  lnt__buf_append(&attempt->out, watch->failure.data, watch->failure.size);
  attempt->out.failed = attempt->out.failed || watch->failure.failed;
  attempt->outcome = LNT_EVALUE;
}

/* The result was refused: which rule it broke is in avm->err. */
static void fail_result(lnt__avm *avm, lnt__attempt *attempt) {
  if (attempt->outcome == LNT_ELIMIT) lnt__value_met(avm->options.met, &avm->err);
  if (attempt->outcome == LNT_ENOMEM) fail_memory(avm, attempt);
  else fail_text(attempt, attempt->outcome == LNT_ELIMIT ? "LimitExceeded" : "InvalidValue", avm->err.message, false);
}

/* What became of an attempt that does not wait: its result or its failure is in attempt->out afterwards, and `outcome` says which. */
static void conclude(lnt__avm *avm, lnt__attempt *attempt, int status, lnt__buf *detail) {
  static const char dropped[] = "the activity was canceled and did not end within its grace (activity_grace_us)";
  static const char yielded[] = "the activity called coroutine.yield() outside a coroutine of its own; to wait, use act:sleep() and the "
                                "other helpers of `act`";
  if (status == LUA_YIELD && attempt->state == LNT__ATTEMPT_ENDED) {
    if (attempt->outcome != LNT_OK) fail_result(avm, attempt);
    return;
  }
  if (avm->watch.stop) fail_stopped(avm, attempt, detail);
  else if (status == LUA_YIELD && attempt->state == LNT__ATTEMPT_DROPPED)
    LNT__MET(avm->options.met, activity_grace_us), fail_text(attempt, "Canceled", dropped, false);
  else if (status == LUA_YIELD && attempt->state == LNT__ATTEMPT_RUNS) fail_text(attempt, "InvalidYield", yielded, false);
  else if (status == LUA_YIELD || status == LUA_ERRMEM) fail_memory(avm, attempt);
  else fail_raised(avm, attempt, detail);
  drop_coroutine(avm, attempt);
}

/* ---- Running ---- */

static void release_held(lnt__avm *avm, lnt__attempt *attempt) {
  lua_pushnumber(avm->L, (lua_Number)attempt->serial);
  lnt__avm_call(avm, avm->refs.abandon, 1, 0);
}

/* The attempt is over: answer it. From here on its serial names nothing. */
static void settle(lnt__avm *avm, lnt__attempt *attempt, int status) {
  lnt__buf detail;
  lnt__buf_init(&detail);
  conclude(avm, attempt, status, &detail);
  bool out_of_memory = attempt->out.failed, failed = attempt->outcome != LNT_OK;
  lnt_token token = attempt->activity.token;
  lnt_value answer = {attempt->out.data, attempt->out.size};
  if (attempt->kept || attempt->told) release_held(avm, attempt);
  unkeep(avm, attempt);
  attempt->state = LNT__ATTEMPT_IDLE;
  attempt->serial += 1u << SLOT_BITS;
  if (out_of_memory) {
    static const char map[] = "\xa2\x64type\x6bOutOfMemory\x67message\x6dout of memory"; /* what could not be allocated, made beforehand */
    answer = (lnt_value){map, sizeof map - 1};
    failed = true;
  }
  if (failed) avm->options.fail(avm->options.user, token, answer, (lnt_value){detail.data, detail.size});
  else if (attempt->later) avm->options.defer(avm->options.user, token);
  else avm->options.complete(avm->options.user, token, answer);
  lnt__buf_finish(&detail);
  attempt_recycle(avm, attempt);
  if (!avm->current) collect_if_due(avm);
}

static int resume(lnt__avm *avm, lnt__attempt *attempt, int nargs) {
  avm->current = attempt;
  avm->enforce = true;
  lnt__watch_begin(avm, NULL);
  int status = lua_resume(attempt->co, nargs);
  lnt__watch_end(avm);
  avm->enforce = false;
  avm->current = NULL;
  return status;
}

lnt_cancel_reason lnt__attempt_canceled(lnt__avm *avm, lnt__attempt *attempt) {
  if (attempt->why || !avm->options.canceled) return attempt->why;
  attempt->why = avm->options.canceled(avm->options.user, attempt->activity.token);
  if (attempt->why) attempt->canceled_ns = lnt__coarse_ns();
  return attempt->why;
}

uint64_t lnt__attempt_grace_ns(const lnt__avm *avm, const lnt__attempt *attempt) {
  uint64_t passed_ns = lnt__coarse_ns() - attempt->canceled_ns, grace_ns = avm->options.grace_us * 1000;
  if (attempt->why == LNT__CANCEL_CLOSING) grace_ns = LNT__AVM_CANCEL_GRACE_MS * 1000000u;
  return passed_ns < grace_ns ? grace_ns - passed_ns : 0;
}

int lnt__attempt_push_cancel(const lnt__avm *avm, const lnt__attempt *attempt, lua_State *L) {
  lua_pushboolean(L, attempt->why && !attempt->told);
  if (!attempt->why) return 1;
  lua_pushnumber(L, (lua_Number)(lnt__attempt_grace_ns(avm, attempt) / 1000000));
  return 2;
}

void lnt__avm_advance(lnt__avm *avm, lnt__attempt *attempt, bool first) {
  int nargs = 0;
  if (attempt->expired) {
    attempt->state = LNT__ATTEMPT_DROPPED;
    avm->watch.stop = LNT__STOP_NONE;
    settle(avm, attempt, LUA_YIELD);
    return;
  }
  if (!first) nargs = lnt__attempt_push_cancel(avm, attempt, attempt->co);
  attempt->state = LNT__ATTEMPT_RUNS;
  int status = resume(avm, attempt, nargs);
  while (status == LUA_YIELD && attempt->state == LNT__ATTEMPT_OPENS && !avm->watch.stop && lnt__avm_open_luv(avm)) {
    attempt->state = LNT__ATTEMPT_RUNS;
    status = resume(avm, attempt, lnt__attempt_push_cancel(avm, attempt, attempt->co));
  }
  if (status == LUA_YIELD && attempt->state == LNT__ATTEMPT_WAITS) {
    if (!avm->watch.stop && keep(avm, attempt)) return;
    release_held(avm, attempt);
  }
  settle(avm, attempt, status);
}

static void cancel_waiting(lnt__avm *avm, lnt__attempt *attempt) {
  lnt__avm_make_ready(avm, attempt);
  lua_pushnumber(avm->L, (lua_Number)attempt->serial);
  lua_pushnumber(avm->L, (lua_Number)(lnt__attempt_grace_ns(avm, attempt) / 1000000));
  lnt__avm_call(avm, avm->refs.cancel, 2, 0);
}

static void poll_cancel(lnt__avm *avm, lnt__attempt *attempt) {
  if (!attempt->why && lnt__attempt_canceled(avm, attempt)) cancel_waiting(avm, attempt);
}

/* Without a loop of the host's: run luv's own until the attempt has ended, and then until nothing it left behind is open. */
static void block(lnt__avm *avm, uint64_t serial) {
  for (lnt__attempt *attempt; (attempt = lnt__avm_attempt(avm, serial)) != NULL;) {
    poll_cancel(avm, attempt);
    if (!avm->ready.first) lnt__avm_call(avm, avm->refs.poll, 0, 0);
    lnt__avm_drain(avm);
  }
  bool open = true;
  while (open && lnt__avm_call(avm, avm->refs.poll, 0, 1)) {
    open = lua_toboolean(avm->L, -1);
    lua_pop(avm->L, 1);
  }
}

static void fail_unrun(lnt__avm *avm, const lnt_activity *activity, const char *type, const char *message, bool retryable) {
  lnt__buf out;
  lnt__buf_init(&out);
  lnt__failure_text(&out, type, message, retryable);
  avm->options.fail(avm->options.user, activity->token, (lnt_value){out.data, out.size}, LNT_VALUE_NIL);
  lnt__buf_finish(&out);
}

static void fail_unknown(lnt__avm *avm, const lnt_activity *activity) {
  lnt__buf text;
  lnt__buf_init(&text);
  lnt__buf_printf(&text, "no activity \"%s\" is loaded; load the file that defines it. Loaded:", activity->name);
  size_t at = 0;
  const char *name;
  void *value;
  while (text.size < 512 && lnt__strmap_next(&avm->entries, &at, &name, &value)) lnt__buf_printf(&text, " %s", name);
  if (avm->entries.count == 0) lnt__buf_printf(&text, " none");
  lnt__buf_u8(&text, '\0');
  fail_unrun(avm, activity, "ActivityNotRegistered", text.failed ? "no such activity is loaded" : (const char *)text.data, false);
  lnt__buf_finish(&text);
}

void lnt__avm_run(lnt__avm *avm, const lnt_activity *activity) {
  const lnt__avm_entry *entry = avm->found;
  if (!entry || strcmp(entry->name, activity->name) != 0) entry = lnt__strmap_get(&avm->entries, activity->name);
  if (!entry) {
    fail_unknown(avm, activity);
    return;
  }
  lnt__attempt *attempt = attempt_take(avm);
  if (!attempt) {
    fail_unrun(avm, activity, "OutOfMemory", "there is no room for one more activity", true);
    return;
  }
  attempt->activity = *activity;
  attempt->fn_ref = entry->fn_ref;
  attempt->told = attempt->later = attempt->expired = false;
  attempt->why = 0;
  attempt->pure = entry->pure;
  uint64_t serial = attempt->serial;
  lnt__avm_advance(avm, attempt, true);
  if (!avm->options.loop && avm->luv_open) block(avm, serial);
}

void lnt__avm_cancel(lnt__avm *avm, lnt_token token, lnt_cancel_reason why) {
  lnt__attempt *attempt = lnt__u64map_get(&avm->waiting, token_key(token));
  for (; attempt; attempt = attempt->same_key) {
    lnt_token own = attempt->activity.token;
    if (own.run == token.run && own.seq == token.seq && own.attempt == token.attempt) break;
  }
  if (!attempt || attempt->why) return;
  attempt->why = why;
  attempt->canceled_ns = lnt__coarse_ns();
  cancel_waiting(avm, attempt);
}

size_t lnt__avm_running(const lnt__avm *avm) { return avm->kept_count; }

/* ---- What activity.lua's body calls. These RAISE. ---- */

/* take() -> function, input, serial, heartbeat details */
static int io_take(lua_State *L) {
  lnt__avm *avm = lnt__avm_of(L);
  lnt__attempt *attempt = avm->current;
  lua_rawgeti(L, LUA_REGISTRYINDEX, attempt->fn_ref);
  if (!lnt__value_push(L, attempt->activity.input)) {
    return luaL_error(L, "the input of the activity \"%s\" is malformed", attempt->activity.name);
  }
  lua_pushnumber(L, (lua_Number)attempt->serial);
  if (!lnt__value_push(L, attempt->activity.heartbeat_details)) lua_pushnil(L);
  return 4;
}

/* finish(result): encode it, and rest until the next attempt */
static int io_finish(lua_State *L) {
  lnt__avm *avm = lnt__avm_of(L);
  lnt__attempt *attempt = avm->current;
  lua_settop(L, 1);
  lnt__buf_clear(&attempt->out);
  avm->enforce = false; /* encoding allocates nothing of Lua's */
  attempt->outcome = lnt__value_encode(L, 1, "result", avm->options.payload_bytes_max, &attempt->out, &avm->err);
  avm->enforce = true;
  if (attempt->later && !lua_isnil(L, 1))
    attempt->outcome = lnt__fail(&avm->err, LNT_EVALUE, "result: the activity called act:complete_later(), so its answer comes from "
                                 "outside; it must return nothing");
  attempt->state = LNT__ATTEMPT_ENDED;
  lua_settop(L, 0);
  return lua_yield(L, 0);
}

/* ---- Making and ending ---- */

static int open_values(lua_State *L) {
  lnt__values_push(L, false);
  return 1;
}

static void preload(lua_State *L, const char *name, lua_CFunction open) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, open);
  lua_setfield(L, -2, name);
  lua_pop(L, 2);
}

static int open_state(lua_State *L) {
  static const luaL_Reg functions[] = {{"take", io_take}, {"finish", io_finish}, {NULL, NULL}};
  lnt__avm *avm = lua_touserdata(L, 1);
  luaL_openlibs(L);
  preload(L, "lunation.values", open_values);
  if (luaL_loadbuffer(L, lnt__lua_activity, lnt__lua_activity_size, "activity helpers") != 0) return lua_error(L);
  lua_createtable(L, 0, 16);
  luaL_register(L, NULL, functions);
  lnt__avm_io_functions(L);
  lua_pushboolean(L, avm->options.slice_us_max != 0);
  lua_setfield(L, -2, "watched");
  lua_pushstring(L, avm->module_path ? avm->module_path : "");
  lua_pushstring(L, avm->stdlib_path ? avm->stdlib_path : "");
  lua_call(L, 3, 1);
#define LNT__X(name)         \
  lua_getfield(L, -1, #name); \
  avm->refs.name = luaL_ref(L, LUA_REGISTRYINDEX);
  LNT__AVM_FUNCTION_MAP(LNT__X)
#undef LNT__X
  lnt__watch_open(avm);
  return 0;
}

/* The last resort: an error that nothing protected. LuaJIT would exit the host without a word. */
static int panic(lua_State *L) {
  lnt__assert_failed(lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that nothing protected", __FILE__, __LINE__);
}

static lnt_status start_state(lnt__avm *avm, lnt_error *err) {
  avm->L = lua_newstate(allocate, avm);
  if (!avm->L) return lnt__fail(err, LNT_ENOMEM, "out of memory while the activity VM starts");
  lua_atpanic(avm->L, panic);
#ifdef LNT__GC_STRESS
  lua_gc(avm->L, LUA_GCSETPAUSE, 0);
  lua_gc(avm->L, LUA_GCSETSTEPMUL, 0);
#endif
  int status = lua_cpcall(avm->L, open_state, avm);
  if (status == 0) return LNT_OK;
  const char *text = lua_tostring(avm->L, -1);
  lnt_status code = status == LUA_ERRMEM ? LNT_ENOMEM : LNT_EINTERNAL;
  return lnt__fail(err, code, "the activity VM does not start: %s", text ? text : "unknown error");
}

lnt_status lnt__avm_create(const lnt__avm_options *options, lnt__avm **out, lnt_error *err) {
  lnt__avm *avm = lnt__calloc(1, sizeof *avm);
  if (!avm) return lnt__fail(err, LNT_ENOMEM, "out of memory while the activity VM starts");
  avm->options = *options;
  avm->collect_at = (size_t)(options->memory_bytes_max / 2);
  lnt__pool_init(&avm->pool, lnt__pool_sanitized());
  lnt__strmap_init(&avm->entries);
  lnt__buf_init(&avm->watch.detail);
  lnt__buf_init(&avm->watch.failure);
  lnt__u64map_init(&avm->waiting);
  avm->module_path = options->module_path ? lnt__strdup(options->module_path) : NULL;
  avm->stdlib_path = options->stdlib_path ? lnt__strdup(options->stdlib_path) : NULL;
  lnt_status status = LNT_OK;
  if ((options->module_path && !avm->module_path) || (options->stdlib_path && !avm->stdlib_path)) {
    status = lnt__fail(err, LNT_ENOMEM, "out of memory while the activity VM starts");
  } else {
    status = start_state(avm, err);
  }
  if (status != LNT_OK) lnt__avm_destroy(avm);
  else *out = avm;
  return status;
}

void lnt__avm_destroy(lnt__avm *avm) {
  if (!avm) return;
  avm->closing = true;
  if (avm->luv_open) lnt__avm_call(avm, avm->refs.close, 0, 0);
  if (avm->L) lua_close(avm->L);
  lnt__pool_finish(&avm->pool);
  lnt__avm_entries_finish(avm);
  for (size_t i = 0; i < avm->slots_count; i++) {
    lnt__buf_finish(&avm->slots[i]->out);
    lnt__free(avm->slots[i]->strings);
    lnt__free(avm->slots[i]);
  }
  lnt__free(avm->slots);
  lnt__u64map_finish(&avm->waiting);
  lnt__buf_finish(&avm->beat);
  lnt__buf_finish(&avm->watch.detail);
  lnt__buf_finish(&avm->watch.failure);
  lnt__free(avm->module_path);
  lnt__free(avm->stdlib_path);
  lnt__free(avm);
}
