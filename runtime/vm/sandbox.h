/* sandbox.h - the deterministic, bounded Lua that workflow code sees, and the guard that stops it. Used by the workflow VM (workflow.c,
 * code.c); owner thread of the lua_State.
 *
 * CAVEATS FIRST
 *  - The state must be made with lua_newstate(lnt__guard_alloc, guard): every function here finds its guard through the allocator.
 *  - Functions marked RAISES may raise a Lua error (out of memory too): call them inside lua_cpcall, lua_pcall or lua_resume only.
 *  - `killed` is the truth. When lua_resume or lua_pcall answers an error, look at guard->killed first: if it is not LNT__KILL_NONE, the
 *    error value means nothing and guard->text says what happened and where. C code that runs author code under lua_pcall must raise
 *    again (lnt__guard_rethrow) while `killed` is set; the sandbox's own pcall, xpcall, coroutine.resume and wrap do.
 *  - A coroutine that was killed, or that holds one that was, must be dropped, never resumed.
 *  - A C function that waits yields LNT__SANDBOX_YIELD (a light userdata) as its FIRST value. The sandbox passes such a yield outward
 *    through any number of the author's own coroutines, so lua_resume of the body sees it, and what it is resumed with arrives at the
 *    C function's caller. Resume with at most LNT__SANDBOX_RESUME_VALUES_MAX values: LuaJIT grows a coroutine's stack unprotected (its
 *    issue 1066). A yield of the author's outside his own coroutines is refused by coroutine.yield: lua_resume never sees one.
 *  - Nothing of the sandbox calls Lua from C, so a C function called by an author can always yield (check lua_isyieldable all the same).
 *  - JIT is off; the count hook belongs to the guard. Do not call lua_sethook on this state.
 *  - The budget sees everything but the length of strings in VM instructions (s .. t, s < t, s + 0: some ms on the largest). What such
 *    instructions allocate is bounded by turn_bytes_max; what they merely look at, only by the processor's clock: turn_ns_max.
 */
#ifndef LNT__SANDBOX_H
#define LNT__SANDBOX_H

#include <lua.h>

#include "base/base.h"
#include "base/buf.h"
#include "base/pool.h"
#include "base/rng.h"

/* ---- The guard ---- */

/* X(name, text): why a turn was stopped. No pcall catches any of these. */
#define LNT__KILL_MAP(X)                                                                                               \
  X(NONE, "not killed")                                                                                                \
  X(INSTRUCTIONS, "the turn spent its instruction budget")                                                             \
  X(MEMORY, "the turn, or the whole VM, is out of memory")                                                             \
  X(STACK, "a function recursed without end")                                                                          \
  X(TIME, "the turn took too much processor time (only where turn_ns_max is set)")                                     \
  X(HOST, "the VM stopped the body: a divergence, a limit of the engine, a termination")

typedef enum lnt__kill {
#define LNT__X(name, text) LNT__KILL_##name,
  LNT__KILL_MAP(LNT__X)
#undef LNT__X
} lnt__kill;

const char *lnt__kill_name(lnt__kill kill); /* "INSTRUCTIONS" ... */

#define LNT__GUARD_HOOK_INSTRUCTIONS 250 /* the budget is counted in steps of this many */
#define LNT__GUARD_TEXT_MAX 512

typedef struct lnt__guard_limits {
  uint64_t turn_instructions_max; /* lnt_limits.turn_instructions_max */
  uint64_t state_bytes_max;       /* lnt_limits.workflow_memory_bytes_max */
  uint64_t turn_bytes_max;        /* lnt_limits.turn_memory_bytes_max: net growth during one turn. 64 times it is the limit of all that one
                                   * turn may ask for, freed or not, so that churning huge strings ends too. */
  uint64_t turn_ns_max;           /* lnt_limits.turn_us_max: processor time of one turn; 0: none. Not deterministic: it must not fail an
                                   * instance, only stall it */
} lnt__guard_limits;

/* What the environment asks of whoever runs the body. Set guard->host before each resume. NULL, or functions that are NULL, while a file
 * loads: os.time(), os.date() and math.random() then say that they have no meaning there. */
typedef struct lnt__sandbox_host {
  void *user;
  int64_t (*now_us)(void *user); /* microseconds since 1970, from the history */
  lnt__rng *(*rng)(void *user, lua_State *L); /* MAY RAISE. Of math.random alone: math.randomseed reseeds it, so ctx:uuid needs its own */
  void (*log)(void *user, lnt_log_level level, const char *text, size_t size); /* print; the host stays silent in replay */
} lnt__sandbox_host;

typedef struct lnt__guard {
  lnt__guard_limits limits;
  const lnt__sandbox_host *host;  /* set by the VM; not owned */
  lnt_limits *met;                /* counters (LNT__MET), set by the VM; may be NULL */
  bool exhausted;                 /* the whole state was at its limit: its owner collects before the next turn, and resets this */
  lnt__kill killed;               /* reset by lnt__guard_begin */
  char text[LNT__GUARD_TEXT_MAX]; /* why, and where: "quests.lua:12: ..."; complete, UTF-8 */
  bool in_turn;
  uint64_t total; /* units spent in all turns; the VM takes it and sets it to 0 */

  lua_Hook watch; /* told of each line and each call of a turn; NULL: nobody is (watch.c). Set between turns */

  /* The guard's own. */
  lua_State *L; /* main thread; NULL before lnt__sandbox_open: nothing is refused until then */
  int64_t budget; /* units left; a unit is about one VM instruction */
  lnt__pool pool; /* what the state holds */
  size_t used;    /* bytes of it */
  size_t used_peak;
  size_t turn_base;    /* `used` when the turn began */
  size_t gross;        /* bytes asked for in this turn */
  size_t collect_at;   /* `used` above which a full collection is due */
  size_t collect_low;  /* `used` below which collect_at comes down again */
  bool placed;         /* `text` has its "file:line: " */
  bool stack_at_limit; /* a Lua stack grew to its limit in this turn */
  bool collecting;     /* the collector was told to run a whole cycle at once */
  int step_mul;        /* the collector's pace outside of that */
  uint64_t turn_began_ns; /* coarse clock at the turn's first hook; 0: none yet */
  uint64_t turn_cpu_ns;   /* processor time when a hook saw that clock move; 0: not yet */
} lnt__guard;

/* Prepare; then lua_newstate(lnt__guard_alloc, guard), then lnt__sandbox_open(). The guard must outlive the state: finish it after
 * lua_close(). */
void lnt__guard_init(lnt__guard *guard, const lnt__guard_limits *limits);
void lnt__guard_finish(lnt__guard *guard);
void *lnt__guard_alloc(void *guard, void *memory, size_t old_size, size_t new_size);
lnt__guard *lnt__guard_of(lua_State *L);

/* A turn: between begin and end the budget, the memory allowance and the time are counted; outside, nothing is but the state's bytes. Call
 * begin before each lua_resume of author code, end after it (both together about 7 ns). begin resets `killed`. Neither raises. */
void lnt__guard_begin(lnt__guard *guard);
void lnt__guard_end(lnt__guard *guard);

/* The body got past a wait without yielding (an answer in place): a fresh budget, counted exactly as after a resume. Does not raise. */
void lnt__guard_refill(lnt__guard *guard);

/* After lua_resume or lua_pcall on `co` failed with `killed` set: put the author's "file:line: " before guard->text where it is missing (an
 * allocation that was refused knows no place). `co` as it was left by the error. Does not raise. */
void lnt__guard_explain(lnt__guard *guard, lua_State *co);

/* Is the error at `index` of L a stack overflow of the turn that just ended? Does not raise. */
bool lnt__guard_overflowed(const lnt__guard *guard, lua_State *L, int index);

/* Units (about one VM instruction, 5 to 10 ns) spent since begin or refill, in steps of LNT__GUARD_HOOK_INSTRUCTIONS plus charges. */
uint64_t lnt__guard_spent(const lnt__guard *guard);

/* RAISES (uncatchably) when the budget is spent. C functions charge for work that grows with their arguments. No-op outside a turn. */
void lnt__guard_charge(lua_State *L, uint64_t units);

/* RAISES uncatchably, with "file:line: " of the author's running function before the text. HOST is for the VM: divergence, terminate. */
_Noreturn void lnt__guard_kill(lua_State *L, lnt__kill reason, const char *format, ...) LNT__PRINTF(3, 4);
_Noreturn void lnt__guard_rethrow(lua_State *L); /* while `killed` is set */

/* ---- The environment ---- */

#define LNT__SANDBOX_SOURCE_BYTES_MAX (16u << 20) /* what lnt__sandbox_compile takes at most, whatever the limits say */
#define LNT__SANDBOX_STRING_BYTES_MAX (16u << 20) /* result of string.rep, format, gsub, table.concat ...: a catchable error beyond */
#define LNT__SANDBOX_COROUTINE_DEPTH_MAX 100      /* the author's coroutines inside coroutines */
#define LNT__SANDBOX_RESUME_VALUES_MAX 16         /* values passed into a suspended coroutine at once */

extern const char lnt__sandbox_yield_key;
#define LNT__SANDBOX_YIELD ((void *)(uintptr_t)&lnt__sandbox_yield_key)

/* Build the environment in a fresh state that has no libraries yet: opens the few that are needed, turns the JIT off, takes everything
 * dangerous out of reach. Protected. Errors: LNT_ENOMEM, LNT_EINTERNAL. */
lnt_status lnt__sandbox_open(lua_State *L, lnt__guard *guard, lnt_error *err);

/* RAISES. Push a fresh environment for one instance (or one file): an empty table over the shared, frozen base; `_G` in it is itself. */
void lnt__sandbox_push_env(lua_State *L);

/* RAISES. Put `xpcall`, LuaJIT's own, and `caught` into the table at the top: for trusted Lua, which hands every error that xpcall catches
 * to `caught` first, and calls xpcall from Lua alone. */
void lnt__sandbox_catching(lua_State *L);

/* RAISES. Pop the value at the top and make it the global `name` of every environment ("workflow", "require"). Not for author code. */
void lnt__sandbox_define(lua_State *L, const char *name);

/* RAISES. Replace the table at the top by a frozen view of it: a userdata that can be read and called through, never written. A field that
 * is missing reads as nil; writing says that `name` is shared and cannot be changed. */
void lnt__sandbox_freeze(lua_State *L, const char *name);

/* RAISES. Like luaL_error, but "file:line: " is that of the nearest function of the author, never of the sandbox's own Lua, also when
 * called through pcall or a metamethod. */
_Noreturn void lnt__sandbox_error(lua_State *L, const char *format, ...) LNT__PRINTF(2, 3);

/* "file:line" of the nearest function of the author on this stack, at or below `level` as in lua_getstack; "" if there is none. Does not
 * raise. */
void lnt__sandbox_where(lua_State *L, int level, char *out, size_t size);

/* Compile text (never bytecode) and leave the function on the stack; it has the state's empty globals: give it an environment with
 * lua_setfenv. `name` is a chunk name ("@quests.lua"). Refuses int64 and imaginary literals (1LL, 2i) and what crashes this LuaJIT's
 * parser. Needs one free stack slot; protected; on failure nothing is pushed. Errors: LNT_ESYNTAX ("quests.lua:3: '=' expected near 'x';
 * the line reads: local function x y"), LNT_ELIMIT, LNT_ENOMEM. */
lnt_status lnt__sandbox_compile(lua_State *L, const char *name, const char *source, size_t size, lnt_error *err);

/* Call fn for each `return ctx:verb(...)` of the text, whose call leaves no frame behind: when it raises, nothing else knows the line. What
 * stands before the colon is any name, or names with dots. */
void lnt__sandbox_tail_calls(const char *source, size_t size, void (*fn)(void *user, const char *verb, size_t verb_size, int line),
                             void *user);

/* Append the text with `return (function(...) return ... end)(ctx:verb(...))` for each `return ctx:verb(...)`, and the like for awaiting a
 * task and for the standard library: the same values, and the frame that knows the line stays while the call runs. Lines stay in their
 * places. */
void lnt__sandbox_keep_frames(const char *source, size_t size, lnt__buf *out);

/* Call fn for each '#' of the text: with its operand, where that is a name, or names with dots; size 0: it is something else. */
void lnt__sandbox_lengths(const char *source, size_t size, void (*fn)(void *user, const char *operand, size_t size, int line), void *user);

/* Call fn for each token of the text, in order; comments are none. A string is one token, an operator of two characters may be two. */
typedef struct lnt__token {
  const char *text;
  size_t size;
  int line, last_line;
  bool is_name; /* or a keyword */
  bool is_string;
} lnt__token;
void lnt__sandbox_tokens(const char *source, size_t size, void (*fn)(void *user, const lnt__token *token), void *user);

#endif
