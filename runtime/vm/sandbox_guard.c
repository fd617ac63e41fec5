/* sandbox_guard.c - the guard of a workflow state: its allocator, its count hook, the budget of a turn, and the kill that no pcall catches.
 * Called by LuaJIT (allocator, hook), by the sandbox's functions and by the workflow VM. Owner thread of the state.
 *
 * Why it is built like this:
 *  - LuaJIT has no emergency collection, so the allocator starts one itself when a turn comes near its allowance: it makes the
 *    collector due at the next allocation and lets it run a whole cycle.
 *  - This LuaJIT does not survive every refused allocation (its issue 1066), so small ones pass a little beyond the limit: the turn is
 *    already marked as killed then, and the hook, armed at every instruction, raises the error from a sane place. */
#include <lua.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "vm/sandbox_lib.h"

#define OVERDRAFT_BYTES (2u << 20)          /* above the largest Lua stack (0.5 MB), twice over */
#define GROSS_PER_TURN 64                   /* turn_bytes_max times this may be asked for in one turn */
#define STACK_LIMIT_BYTES (65500u * 8)      /* LuaJIT's LUAI_MAXSTACK slots: only an overflow grows a stack beyond */
#define STEP_MUL_DEFAULT 200
#define STEP_MUL_WHOLE_CYCLE 0              /* LuaJIT takes 0 as "no limit to one step" */
#define WHERE_LEVELS_MAX 200

static const char kill_key;

const char *lnt__kill_name(lnt__kill kill) {
  static const char *const names[] = {
#define LNT__X(name, text) #name,
    LNT__KILL_MAP(LNT__X)
#undef LNT__X
  };
  return (size_t)kill < LNT__COUNT(names) ? names[kill] : "UNKNOWN";
}

static size_t add_capped(size_t a, size_t b) { return a > SIZE_MAX - b ? SIZE_MAX : a + b; }

void lnt__guard_init(lnt__guard *guard, const lnt__guard_limits *limits) {
  *guard = (lnt__guard){.limits = *limits, .budget = INT64_MAX, .collect_at = SIZE_MAX, .step_mul = STEP_MUL_DEFAULT};
  lnt__pool_init(&guard->pool, lnt__pool_sanitized());
}

void lnt__guard_finish(lnt__guard *guard) { lnt__pool_finish(&guard->pool); }

/* ---- Memory ---- */

static void on_count(lua_State *L, lua_Debug *ar);

static void arm(lua_State *L, int count) {
  int more = lnt__guard_of(L)->watch ? LUA_MASKCALL | LUA_MASKLINE : 0;
  lua_sethook(L, on_count, LUA_MASKCOUNT | more, count);
}

static void mark_killed(lnt__guard *guard, lnt__kill reason, const char *format, va_list args) {
  guard->killed = reason;
  guard->placed = false;
  vsnprintf(guard->text, sizeof guard->text, format, args);
  arm(guard->L, 1);
}

static LNT__PRINTF(3, 4) void mark(lnt__guard *guard, lnt__kill reason, const char *format, ...) {
  if (guard->killed != LNT__KILL_NONE) return;
  va_list args;
  va_start(args, format);
  mark_killed(guard, reason, format, args);
  va_end(args);
}

static size_t collect_point(const lnt__guard *guard) {
  size_t turn = add_capped(guard->turn_base, (size_t)guard->limits.turn_bytes_max / 2);
  size_t state = (size_t)guard->limits.state_bytes_max / 4 * 3;
  return turn < state ? turn : state;
}

static size_t collect_step(const lnt__guard *guard) { return (size_t)guard->limits.turn_bytes_max / 8 + 4096; }

/* The next collection is due when a step more is held than now; when much less is held than now, the point comes down again. */
static void collect_from(lnt__guard *guard, size_t used) {
  size_t point = collect_point(guard), step = collect_step(guard);
  guard->collect_at = add_capped(used, step);
  guard->collect_low = used > step ? used - step : 0;
  if (guard->collect_at > point) return;
  guard->collect_at = point;
  guard->collect_low = 0;
}

/* From inside the allocator: only settings of the collector may be touched. */
static void collect_soon(lnt__guard *guard, size_t used) {
  collect_from(guard, used);
  guard->collecting = true;
  lua_gc(guard->L, LUA_GCSETSTEPMUL, STEP_MUL_WHOLE_CYCLE);
  lua_gc(guard->L, LUA_GCRESTART, 0);
}

/* From the hook: the cycle has run by now if anything was allocated; if memory did not fall, make sure. */
static void collect_settle(lnt__guard *guard, lua_State *L) {
  guard->collecting = false;
  if (add_capped(guard->used, collect_step(guard)) >= guard->collect_at) lua_gc(L, LUA_GCCOLLECT, 0);
  lua_gc(L, LUA_GCSETSTEPMUL, guard->step_mul);
  collect_from(guard, guard->used);
}

static bool turn_may_grow(lnt__guard *guard, size_t used) {
  const lnt__guard_limits *limits = &guard->limits;
  size_t limit = add_capped(guard->turn_base, (size_t)limits->turn_bytes_max);
  if (limit > limits->state_bytes_max) limit = (size_t)limits->state_bytes_max;
  if (guard->gross / GROSS_PER_TURN > limits->turn_bytes_max) {
    if (guard->killed == LNT__KILL_NONE) LNT__MET(guard->met, turn_memory_bytes_max);
    mark(guard, LNT__KILL_MEMORY,
         "out of memory: the turn asked for %llu times turn_memory_bytes_max (%llu bytes); build long texts with table.concat, or work on "
         "smaller pieces",
         (unsigned long long)GROSS_PER_TURN, (unsigned long long)limits->turn_bytes_max);
  }
  if (used <= limit) return true;
  if (used > limits->state_bytes_max) {
    if (guard->killed == LNT__KILL_NONE) LNT__MET(guard->met, workflow_memory_bytes_max);
    mark(guard, LNT__KILL_MEMORY, "out of memory: the workflow VM holds more than workflow_memory_bytes_max (%llu bytes); keep less in "
         "memory, or fewer instances resident (resident_max)", (unsigned long long)limits->state_bytes_max);
  }
  if (guard->killed == LNT__KILL_NONE) LNT__MET(guard->met, turn_memory_bytes_max);
  mark(guard, LNT__KILL_MEMORY,
       "out of memory: the turn added more than turn_memory_bytes_max (%llu bytes); keep less in memory, or do the work in an activity",
       (unsigned long long)limits->turn_bytes_max);
  return used <= add_capped(limit, OVERDRAFT_BYTES);
}

static bool may_grow(lnt__guard *guard, size_t grow, size_t size) {
  size_t used = add_capped(guard->used, grow);
  if (!guard->L) return true; /* lua_newstate does not survive a refusal */
  if (used > guard->collect_at) collect_soon(guard, used);
  if (used > guard->limits.state_bytes_max) guard->exhausted = true;
  if (!guard->in_turn) return used <= guard->limits.state_bytes_max;
  if (size > STACK_LIMIT_BYTES && size < 2 * STACK_LIMIT_BYTES) guard->stack_at_limit = true;
  guard->gross += size;
  return turn_may_grow(guard, used);
}

void *lnt__guard_alloc(void *user, void *memory, size_t old_size, size_t new_size) {
  lnt__guard *guard = (lnt__guard *)user;
  if (new_size == 0) {
    lnt__pool_free(&guard->pool, memory, old_size);
    guard->used -= old_size;
    if (guard->used < guard->collect_low) collect_from(guard, guard->used);
    return NULL;
  }
  if (!memory) old_size = 0;
  if (new_size > old_size && !may_grow(guard, new_size - old_size, new_size)) return NULL;
  void *moved = lnt__pool_resize(&guard->pool, memory, old_size, new_size);
  if (!moved) {
    if (guard->in_turn) mark(guard, LNT__KILL_MEMORY, "out of memory: the system refused %zu bytes", new_size);
    return NULL;
  }
  guard->used += new_size - old_size;
  if (guard->used > guard->used_peak) guard->used_peak = guard->used;
  return moved;
}

lnt__guard *lnt__guard_of(lua_State *L) {
  void *guard;
  lua_getallocf(L, &guard);
  return (lnt__guard *)guard;
}

/* ---- Turns ---- */

static uint64_t full_budget(const lnt__guard *guard) {
  return guard->limits.turn_instructions_max > INT64_MAX / 2 ? INT64_MAX / 2 : guard->limits.turn_instructions_max;
}

static void fill(lnt__guard *guard) {
  guard->budget = (int64_t)full_budget(guard);
  guard->turn_base = guard->used;
  guard->gross = 0;
  guard->stack_at_limit = false;
  collect_from(guard, guard->used);
  guard->turn_began_ns = guard->turn_cpu_ns = 0;
  arm(guard->L, LNT__GUARD_HOOK_INSTRUCTIONS);
}

void lnt__guard_refill(lnt__guard *guard) {
  if (!guard->in_turn || guard->killed != LNT__KILL_NONE) return;
  guard->total += lnt__guard_spent(guard);
  fill(guard);
}

void lnt__guard_begin(lnt__guard *guard) {
  guard->killed = LNT__KILL_NONE;
  guard->text[0] = 0;
  guard->in_turn = true;
  fill(guard);
}

void lnt__guard_end(lnt__guard *guard) {
  guard->total += lnt__guard_spent(guard);
  guard->in_turn = false;
  guard->budget = INT64_MAX;
  guard->collect_at = SIZE_MAX;
  guard->collect_low = 0;
  if (guard->collecting) lua_gc(guard->L, LUA_GCSETSTEPMUL, guard->step_mul);
  guard->collecting = false;
  if (guard->killed != LNT__KILL_NONE || guard->watch) arm(guard->L, LNT__GUARD_HOOK_INSTRUCTIONS);
}

uint64_t lnt__guard_spent(const lnt__guard *guard) {
  return guard->in_turn ? full_budget(guard) - (uint64_t)guard->budget : 0;
}

/* ---- The kill ---- */

static bool is_author(const lua_Debug *ar) {
  return ar->currentline > 0 && ar->what[0] != 'C' && strcmp(ar->source, LNT__SANDBOX_CHUNK) != 0;
}

void lnt__sandbox_where(lua_State *L, int level, char *out, size_t size) {
  lua_Debug ar;
  out[0] = 0;
  for (int end = level + WHERE_LEVELS_MAX; level < end && lua_getstack(L, level, &ar); level++) {
    if (!lua_getinfo(L, "Sl", &ar) || !is_author(&ar)) continue;
    snprintf(out, size, "%s:%d", ar.short_src, ar.currentline);
    return;
  }
}

void lnt__guard_explain(lnt__guard *guard, lua_State *co) {
  char where[LUA_IDSIZE + 16], text[LNT__GUARD_TEXT_MAX];
  if (guard->placed || guard->killed == LNT__KILL_NONE) return;
  lnt__sandbox_where(co, 0, where, sizeof where);
  if (!where[0]) return;
  guard->placed = true;
  memcpy(text, guard->text, sizeof text);
  if (snprintf(guard->text, sizeof guard->text, "%s: %s", where, text) < 0) guard->text[0] = 0;
}

_Noreturn static void raise_kill(lua_State *L) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)&kill_key);
  lua_error(L);
  abort(); /* lua_error does not return */
}

_Noreturn void lnt__guard_rethrow(lua_State *L) {
  lnt__guard *guard = lnt__guard_of(L);
  lnt__guard_explain(guard, L);
  raise_kill(L);
}

_Noreturn void lnt__guard_kill(lua_State *L, lnt__kill reason, const char *format, ...) {
  lnt__guard *guard = lnt__guard_of(L);
  if (guard->killed == LNT__KILL_NONE) {
    va_list args;
    va_start(args, format);
    mark_killed(guard, reason, format, args);
    va_end(args);
  }
  lnt__guard_rethrow(L);
}

_Noreturn static void kill_spent(lua_State *L, lnt__guard *guard) {
  if (guard->killed == LNT__KILL_NONE) LNT__MET(guard->met, turn_instructions_max);
  lnt__guard_kill(L, LNT__KILL_INSTRUCTIONS,
                  "the turn spent its budget of %llu instructions (turn_instructions_max) without a wait; "
                  "end the loop, or do the work in an activity",
                  (unsigned long long)guard->limits.turn_instructions_max);
}

void lnt__guard_charge(lua_State *L, uint64_t units) {
  lnt__guard *guard = lnt__guard_of(L);
  if (!guard->in_turn) {
    guard->budget = INT64_MAX;
    return;
  }
  if (units > INT64_MAX / 4) units = INT64_MAX / 4;
  guard->budget -= (int64_t)units;
  if (guard->budget < 0) kill_spent(L, guard);
}

/* A stack overflow depends on what the collector did to the stack before, so it must not be caught. An error of the author's that only
 * reads like one is told apart by the size that a stack has reached; another one, after a text of that size was made, by how it reads. */
bool lnt__guard_overflowed(const lnt__guard *guard, lua_State *L, int index) {
  static const char *const texts[] = {"stack overflow", "error in error handling"};
  if (!guard->stack_at_limit || lua_type(L, index) != LUA_TSTRING) return false;
  size_t size;
  const char *message = lua_tolstring(L, index, &size);
  for (size_t i = 0; i < LNT__COUNT(texts); i++) {
    size_t length = strlen(texts[i]);
    if (size >= length && memcmp(message + size - length, texts[i], length) == 0) return true;
  }
  return false;
}

int lnt__guard_caught(lua_State *L) {
  lnt__guard *guard = lnt__guard_of(L);
  if (guard->killed != LNT__KILL_NONE) lnt__guard_rethrow(L);
  if (!guard->in_turn || !lnt__guard_overflowed(guard, L, 1)) return 0;
  const char *message = lua_tostring(L, 1), *place = &LNT__SANDBOX_CHUNK[1];
  if (strncmp(message, place, strlen(place)) == 0) message = "stack overflow";
  mark(guard, LNT__KILL_STACK, "%s: a function calls itself without end", message);
  guard->placed = strchr(message, ':') != NULL;
  lnt__guard_rethrow(L);
}

/* Asking for processor time is a system call: a turn pays it only when it lasts. */
static void check_time(lua_State *L, lnt__guard *guard) {
  uint64_t now_ns = lnt__coarse_ns(), max_ns = guard->limits.turn_ns_max;
  if (!guard->turn_began_ns) guard->turn_began_ns = now_ns;
  if (now_ns == guard->turn_began_ns) return;
  if (!guard->turn_cpu_ns) guard->turn_cpu_ns = lnt__thread_cpu_ns();
  if (now_ns - guard->turn_began_ns <= max_ns || lnt__thread_cpu_ns() - guard->turn_cpu_ns <= max_ns) return;
  if (guard->killed == LNT__KILL_NONE) LNT__MET(guard->met, turn_us_max);
  lnt__guard_kill(L, LNT__KILL_TIME,
                  "the turn took %g s of processor time (turn_us_max) without a wait, probably with very long texts; do the work in an "
                  "activity",
                  (double)max_ns / 1e9);
}

/* Every LNT__GUARD_HOOK_INSTRUCTIONS instructions, and at every single one once the turn is killed. */
static void on_count(lua_State *L, lua_Debug *ar) {
  lnt__guard *guard = lnt__guard_of(L);
  if (!guard->in_turn) return;
  if (ar->event != LUA_HOOKCOUNT) {
    if (guard->watch && guard->killed == LNT__KILL_NONE) guard->watch(L, ar);
    return;
  }
  if (guard->killed != LNT__KILL_NONE) lnt__guard_rethrow(L);
  if (guard->collecting) collect_settle(guard, L);
  if (guard->limits.turn_ns_max) check_time(L, guard);
  guard->budget -= LNT__GUARD_HOOK_INSTRUCTIONS;
  if (guard->budget < 0) kill_spent(L, guard);
}
