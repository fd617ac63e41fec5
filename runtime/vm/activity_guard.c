/* activity_guard.c - the watchdog of the activity VM: a count hook that bounds what an attempt, or the top level of a file, computes
 * between two waits. Called by activity.c and activity_load.c, and by LuaJIT's hook; the thread that made the avm.
 *
 * Why it is built like this:
 *  - A hook never fires in compiled code, and nothing gets a thread out of it safely. So where a slice must end (slice_us_max: the owner
 *    thread) the compiler is off; on worker threads it is on, and what is stuck there is left to the pool (driver/worker.c).
 *  - An error raised by a hook can be caught. Once stopped, the hook fires at every instruction and raises again, until the coroutine is
 *    left. Where no hook fires (a handler of xpcall, the end of a stack that overflows) activity.lua sees to it.
 *  - Processor time is what counts, so that a busy machine, a debugger or a suspended process stop nobody. Time that passes in calls into C
 *    counts a tenth, and no single call more than the limit: a loop of blocking calls ends as well, though late.
 *  - A quick activity costs two looks at the coarse clock, no system call. */
#include <luajit.h>
#include <stdio.h>

#include "base/clock.h"
#include "vm/activity_lib.h"

#define HOOK_INSTRUCTIONS 1000
#define WHERE_LEVELS_MAX 100
#define LASTED_PER_SLICE 10 /* a slice ends when this many times its limit passed, however little it computed */

#ifdef LNT__GC_STRESS
#define SLOWDOWN 25 /* a collector that runs at every chance takes most of the time: it is not the author's */
#else
#define SLOWDOWN 1
#endif

static const char stop_key;

static void on_count(lua_State *L, lua_Debug *ar);

static void arm(lua_State *L, int count) { lua_sethook(L, on_count, LUA_MASKCOUNT, count); }

void lnt__watch_open(lnt__avm *avm) {
  if (avm->options.slice_us_max) luaJIT_setmode(avm->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  arm(avm->L, HOOK_INSTRUCTIONS);
}

/* ---- Slices ---- */

static uint64_t slice_ns_max(const lnt__avm *avm) {
  uint64_t us_max = avm->options.slice_us_max;
  return us_max < UINT64_MAX / LASTED_PER_SLICE / SLOWDOWN / 1000 ? us_max * 1000 * SLOWDOWN : 0;
}

void lnt__watch_begin(lnt__avm *avm, const char *file) {
  lnt__watch *watch = &avm->watch;
  watch->runs = true;
  watch->stop = LNT__STOP_NONE;
  watch->file = file;
  watch->began_ns = watch->seen_ns = lnt__coarse_ns();
  watch->lasted_ns = watch->cpu_ns = 0;
}

static const lnt__avm_entry *entry_of(const lnt__avm *avm) { return lnt__strmap_get(&avm->entries, avm->current->activity.name); }

static void warn_of_length(lnt__avm *avm, uint64_t ns) {
  char text[LNT_ERROR_MESSAGE_MAX];
  const lnt__avm_entry *entry = entry_of(avm);
  snprintf(text, sizeof text,
           "the activity \"%s\" (%s) held the thread that drives everything for %.1f s without a wait; declare it blocking = true, or use "
           "the helpers of `act`",
           avm->current->activity.name, entry ? entry->file : "?", (double)ns / 1e9);
  lnt__avm_log(avm, LNT_LOG_WARN, avm->current->activity.instance_id, text);
}

/* Slow calls into C cannot be stopped, only told of. */
lnt__stop lnt__watch_end(lnt__avm *avm) {
  lnt__watch *watch = &avm->watch;
  watch->runs = false;
  if (watch->stop) arm(avm->L, HOOK_INSTRUCTIONS);
  uint64_t lasted_ns = lnt__coarse_ns() - watch->began_ns;
  if (avm->current && !watch->stop && slice_ns_max(avm) && lasted_ns > slice_ns_max(avm)) warn_of_length(avm, lasted_ns);
  return watch->stop;
}

/* ---- Why it is stopped ---- */

static bool is_own(lua_State *L, lua_Debug *ar) {
  return lua_getinfo(L, "Sl", ar) && strcmp(ar->short_src, LNT__AVM_CHUNK) == 0;
}

static void where(lua_State *L, char *out, size_t size) {
  lua_Debug ar;
  snprintf(out, size, "?");
  for (int level = 0; level < WHERE_LEVELS_MAX && lua_getstack(L, level, &ar); level++) {
    if (is_own(L, &ar) || ar.currentline <= 0) continue;
    snprintf(out, size, "%s:%d", ar.short_src, ar.currentline);
    return;
  }
}

static void explain_slice(lnt__avm *avm, const char *place) {
  lnt__watch *watch = &avm->watch;
  double seconds = (double)slice_ns_max(avm) / SLOWDOWN / 1e9;
  LNT__MET(avm->options.met, activity_slice_us_max);
  if (!avm->current) {
    snprintf(watch->text, sizeof watch->text, "%s: %s computes for more than %g s while it loads (activity_slice_us_max)", place,
             watch->file, seconds);
    return;
  }
  const lnt__avm_entry *entry = entry_of(avm);
  const char *name = avm->current->activity.name;
  char advice[LNT_NAME_BYTES_MAX + 200];
  snprintf(advice, sizeof advice, "declare it activity(\"%s\", { blocking = true }, ...) so that a worker thread runs it", name);
  if (entry && entry->blocking)
    snprintf(advice, sizeof advice, "it is blocking = true, but no worker thread took it: give the runtime some");
  snprintf(watch->text, sizeof watch->text,
           "%s: the activity \"%s\" computed for more than %g s without a wait, and everything else waited for it (activity_slice_us_max); "
           "%s",
           place, name, seconds, advice);
}

/* Out of memory raises, too. */
static void stop(lnt__avm *avm, lua_State *L, lnt__stop reason) {
  lnt__watch *watch = &avm->watch;
  char place[LUA_IDSIZE + 16];
  where(L, place, sizeof place);
  watch->stop = reason;
  if (reason == LNT__STOP_SLICE) explain_slice(avm, place);
  else if (reason == LNT__STOP_TIMEOUT) {
    lnt__buf_clear(&watch->failure);
    avm->options.overdue(avm->options.user, avm->current->activity.token, place, &watch->failure);
  } else
    snprintf(watch->text, sizeof watch->text, "%s: the activity \"%s\" was canceled, and computed on", place, avm->current->activity.name);
  arm(avm->L, 1);
  lnt__buf_clear(&watch->detail);
  luaL_traceback(L, L, NULL, 0);
  lnt__avm_traceback(&watch->detail, lua_tostring(L, -1));
  lua_pop(L, 1);
}

/* ---- Looking ---- */

static bool is_too_long(lnt__avm *avm, uint64_t now_ns) {
  lnt__watch *watch = &avm->watch;
  uint64_t max_ns = slice_ns_max(avm), passed_ns = now_ns - watch->seen_ns;
  if (!max_ns) return false;
  watch->lasted_ns += passed_ns < max_ns ? passed_ns : max_ns;
  if (!watch->cpu_ns) watch->cpu_ns = lnt__thread_cpu_ns();
  if (watch->lasted_ns <= max_ns) return false;
  return watch->lasted_ns > LASTED_PER_SLICE * max_ns || lnt__thread_cpu_ns() - watch->cpu_ns > max_ns;
}

/* Time is up for one that was told long ago, or must end at once. */
static bool is_overstaying(lnt__avm *avm) { return lnt__attempt_canceled(avm, avm->current) && !lnt__attempt_grace_ns(avm, avm->current); }

static void look(lnt__avm *avm, lua_State *L) {
  uint64_t now_ns = lnt__coarse_ns();
  if (now_ns == avm->watch.seen_ns) return;
  if (is_too_long(avm, now_ns)) stop(avm, L, LNT__STOP_SLICE);
  else if (avm->current && is_overstaying(avm)) stop(avm, L, LNT__STOP_CANCELED);
  else if (avm->current && avm->options.overdue && avm->options.overdue(avm->options.user, avm->current->activity.token, NULL, NULL))
    stop(avm, L, LNT__STOP_TIMEOUT);
  avm->watch.seen_ns = now_ns;
}

static int raise(lua_State *L) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)&stop_key);
  return lua_error(L);
}

/* It computes on although it is canceled: the failure that a wait would raise is raised here, once. */
static void tell(lnt__avm *avm, lua_State *L) {
  lnt__attempt *attempt = avm->current;
  if (!attempt || !attempt->why || attempt->told) return;
  if (lnt__coarse_ns() - attempt->canceled_ns < LNT__AVM_CANCEL_GRACE_MS * 1000000u) return;
  lua_rawgeti(L, LUA_REGISTRYINDEX, avm->refs.canceled);
  lua_pushnumber(L, (lua_Number)attempt->serial);
  lua_call(L, 1, 0);
}

/* activity.lua itself is never left in the middle: it returns or waits soon. */
static void on_count(lua_State *L, lua_Debug *ar) {
  lnt__avm *avm = lnt__avm_of(L);
  if (!avm->watch.runs) return;
  if (!avm->watch.stop) look(avm, L);
  if (is_own(L, ar)) return;
  if (avm->watch.stop) raise(L);
  tell(avm, L);
}

int lnt__watch_look(lua_State *L) {
  lnt__avm *avm = lnt__avm_of(L);
  if (avm->watch.runs && !avm->watch.stop) look(avm, L);
  return avm->watch.stop ? raise(L) : 0;
}
