/* activity_lib.h - what the files of the activity VM share. Included by activity*.c alone. The thread that made the avm.
 *
 * How an attempt runs. Its function runs in a coroutine of a pool, inside activity.lua's `body`, which asks `take` for the function and
 * its input and hands the result to `finish`. A helper that waits starts its work on libuv and yields; the callback of that work marks
 * the attempt ready (`wake`), and it is resumed after the callback has returned, from C, with no Lua below it. LuaJIT must not be entered
 * on another coroutine's behalf while compiled code may still run on this one, so nothing here calls the main state from inside an
 * attempt: what needs it yields first. */
#ifndef LNT__ACTIVITY_LIB_H
#define LNT__ACTIVITY_LIB_H

#include <lauxlib.h>
#include <lua.h>

#include "base/map.h"
#include "base/pool.h"
#include "vm/activity.h"

#define LNT__ATTEMPTS_MAX (1u << 20)        /* attempts of one avm that run at once; the slot's share of a serial */
#define LNT__ATTEMPTS_POOLED 256            /* idle coroutines kept */
#define LNT__ATTEMPT_OUT_KEPT (64u << 10)   /* bytes of a result's buffer kept for the next attempt */
#define LNT__AVM_CHUNK "[string \"activity helpers\"]" /* activity.lua, as places name it */

typedef enum lnt__attempt_state {
  LNT__ATTEMPT_IDLE,
  LNT__ATTEMPT_RUNS,
  LNT__ATTEMPT_WAITS,  /* yielded in a helper; `wake` or cancel makes it ready */
  LNT__ATTEMPT_OPENS,  /* yielded so that luv can be opened */
  LNT__ATTEMPT_ENDED,  /* `finish` has its result */
  LNT__ATTEMPT_DROPPED /* canceled, and its time to clean up is over */
} lnt__attempt_state;

typedef struct lnt__attempt {
  lua_State *co; /* NULL: none yet */
  int co_ref, fn_ref;
  uint32_t slot;
  uint64_t serial; /* names this use of the slot; what Lua holds instead of a pointer */
  lnt__attempt_state state;
  bool ready, kept;      /* kept: it waited once, so its strings are its own and its token can be found */
  bool told;             /* it knows that it is canceled */
  bool later;            /* it is answered from outside */
  bool pure;             /* it must not be */
  bool expired;          /* waits, and will not be resumed */
  lnt_cancel_reason why; /* it is canceled; 0: it is not */
  uint64_t canceled_ns;  /* when that was seen; coarse clock */
  lnt_activity activity;
  char *strings;
  lnt__buf out; /* the encoded result, or the failure */
  lnt_status outcome;
  struct lnt__attempt *same_key, *next;
} lnt__attempt;

/* Why the watchdog stopped what ran. */
typedef enum lnt__stop { LNT__STOP_NONE, LNT__STOP_SLICE, LNT__STOP_TIMEOUT, LNT__STOP_CANCELED } lnt__stop;

typedef struct lnt__watch { /* what runs between two waits, or while a file loads */
  bool runs;
  lnt__stop stop;
  const char *file;                      /* that loads; NULL: an attempt runs */
  uint64_t began_ns, seen_ns, lasted_ns; /* coarse clock */
  uint64_t cpu_ns;                       /* processor time when it was first looked at */
  char text[LNT_ERROR_MESSAGE_MAX];      /* why it was stopped, and where */
  lnt__buf detail;                       /* the traceback from there */
  lnt__buf failure;                      /* STOP_TIMEOUT: the failure map */
} lnt__watch;

typedef struct lnt__attempt_list { lnt__attempt *first, *last; } lnt__attempt_list;

typedef struct lnt__avm_entry { /* one activity that is loaded */
  char *name, *file;
  int fn_ref;
  bool blocking, pure, is_newest;
  uint32_t concurrency;
  lnt__rate rate;
  struct lnt__avm_entry *next; /* while a load is under way */
} lnt__avm_entry;

/* X(field): functions of activity.lua, by their names there. */
#define LNT__AVM_FUNCTION_MAP(X) X(body) X(load) X(open) X(poll) X(cancel) X(canceled) X(abandon) X(close)

struct lnt__avm {
  lnt__avm_options options;
  char *module_path, *stdlib_path;
  lua_State *L;
  lnt__pool pool; /* what L holds */
  size_t used, collect_at;
  bool enforce;  /* the memory limit counts: only while author code runs, which is always protected */
  bool luv_open, closing, draining;
  bool has_limits, has_pure; /* an activity has, or had, limits; is, or was, pure */
  lnt__strmap entries;
  const lnt__avm_entry *found; /* by lnt__avm_find() last, which lnt__avm_run() asks for next; NULL: none */
  lnt__u64map waiting; /* key of the token -> attempts that wait, chained by same_key */
  lnt__attempt **slots;
  size_t slots_capacity, slots_count, kept_count, idle_count;
  lnt__attempt *idle;
  lnt__attempt_list ready;
  lnt__attempt *current;
  lnt__watch watch;
  lnt_error err; /* of the encoding that `finish` tried */
  lnt__buf beat; /* the details of a heartbeat */
  struct lnt__avm_refs {
#define LNT__X(name) int name;
    LNT__AVM_FUNCTION_MAP(LNT__X)
#undef LNT__X
  } refs;
};

static inline lnt__avm *lnt__avm_of(lua_State *L) {
  void *avm = NULL;
  lua_getallocf(L, &avm);
  return avm;
}

/* Call a function of activity.lua on the main state with the `nargs` values on top; true and `nresults` values, or false after logging
 * why. */
bool lnt__avm_call(lnt__avm *avm, int function, int nargs, int nresults);
void lnt__avm_log(lnt__avm *avm, lnt_log_level level, const char *id, const char *message);
void lnt__avm_traceback(lnt__buf *out, const char *text); /* add a traceback, without the lines of activity.lua */

const char *lnt__native_dir(void); /* native_dir.c: where the C modules of the standard library are */

/* activity_io.c */
void lnt__avm_io_functions(lua_State *L); /* RAISES; adds the functions that activity.lua knows to the table on top */
bool lnt__avm_open_luv(lnt__avm *avm);    /* never while an attempt runs */
void lnt__avm_drain(lnt__avm *avm);       /* resume what is ready */
lnt__attempt *lnt__avm_attempt(lnt__avm *avm, uint64_t serial); /* NULL: it has ended */
void lnt__avm_make_ready(lnt__avm *avm, lnt__attempt *attempt);

/* activity.c */
lnt_cancel_reason lnt__attempt_canceled(lnt__avm *avm, lnt__attempt *attempt); /* asks, if it is not known; 0: it is not */
uint64_t lnt__attempt_grace_ns(const lnt__avm *avm, const lnt__attempt *attempt); /* what is left to a canceled one; 0: nothing */
/* What a helper that waits must know: must the attempt be told? Of a canceled one also the milliseconds that are left. */
int lnt__attempt_push_cancel(const lnt__avm *avm, const lnt__attempt *attempt, lua_State *L);
void lnt__avm_advance(lnt__avm *avm, lnt__attempt *attempt, bool first);

/* activity_guard.c: everything of an author's runs between lnt__watch_begin() and lnt__watch_end(), which answers whether it was stopped;
 * watch.text is complete then. */
void lnt__watch_open(lnt__avm *avm); /* once, when the state is open */
void lnt__watch_begin(lnt__avm *avm, const char *file);
lnt__stop lnt__watch_end(lnt__avm *avm);
int lnt__watch_look(lua_State *L); /* look(), for activity.lua. RAISES if it is stopped */

/* activity_load.c */
void lnt__avm_entries_finish(lnt__avm *avm);

#endif
