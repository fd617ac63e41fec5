/* workflow.h - what the files of the workflow VM share. workflow.c makes the VM and runs bodies, workflow_body.c keeps branches and their
 * threads, workflow_task.c keeps tasks, workflow_scope.c scopes and cancellation, workflow_tell.c is what an instance tells of itself,
 * workflow_ask.c what it is asked,
 * workflow_child.c what it does to others,
 * workflow_ctx.c and workflow_options.c are the functions of ctx, code.c and bundle.c know the source, code_changes.c compares
 * two of them. Owner thread.
 *
 * Everything here marked RAISES may raise a Lua error and runs inside lnt__protected() or inside a body. Things that Lua's collector must
 * leave alone stand in the registry under an integer, a slot, taken by lnt__anchor() and given back by lnt__release() alone. */
#ifndef LNT__WORKFLOW_H
#define LNT__WORKFLOW_H

#include <lua.h>

#include "base/map.h"
#include "vm/sandbox.h"
#include "vm/value.h"
#include "vm/vm.h"

#define LNT__CODES_MAX 64           /* code versions kept without an instance or a name that needs them */
#define LNT__MODULES_MAX 256        /* modules in one bundle */
#define LNT__TAILS_MAX 1000         /* calls in the tail position whose lines are kept, of one bundle */
#define LNT__REQUIRE_DEPTH_MAX 40   /* modules that require modules */
#define LNT__BRANCHES_MAX 10000     /* branches of one instance */
#define LNT__SPAWNS_MAX 100000      /* branches made between two waits: a chain of them has a budget of its own for each link */
#define LNT__TASK_DEPTH_MAX 32      /* when_all in when_any in when_all ... */
#define LNT__THREADS_POOLED_MAX 256 /* finished coroutines kept for the next body */
#define LNT__SPAWN_ARGUMENTS_MAX 8
#define LNT__MAP_CONCURRENCY_DEFAULT 1000 /* of ctx:map, where it is not given */

/* ---- Code (code.c) ---- */

typedef struct lnt__change lnt__change;     /* code_changes.c */
typedef struct lnt__coverage lnt__coverage;

typedef struct lnt__module {
  char *name, *file; /* "util.text", "util/text.lua" */
  char *source;
  size_t size;
  uint32_t slot;     /* compiled: a function that makes a fresh function of the module; 0: not yet */
  char *problem;     /* it cannot be compiled: why */
} lnt__module;

typedef struct lnt__tail { uint64_t verb; const char *file; int line; } lnt__tail; /* `return ctx:verb(...)`; verb: its hash */

struct lnt__code {
  uint8_t hash[LNT__SHA256_BYTES];
  char hex[2 * LNT__SHA256_BYTES + 1];
  char *file;   /* base name: what messages say */
  char *folder; /* where the file's own modules are looked for; NULL: unknown (stored code) */
  char *source;
  size_t source_size;
  uint32_t slot;
  lnt__module *modules;
  size_t module_count, module_capacity;
  lnt__tail *tails;
  size_t tail_count, tail_capacity;
  char **names; /* of the workflows that it defines, once it has been run */
  size_t name_count, name_capacity;
  bool names_known;
  uint32_t refs; /* bodies and names that hold it */
  uint64_t used; /* stamp of the last use */
};

/* Newest code of a workflow name; file: its identity; is_fresh: being added by the load under way. */
typedef struct lnt__definition { char *name, *file; lnt__code *code; bool is_fresh; } lnt__definition;

/* ---- Bodies ---- */

/* The code of a file that was loaded, also of one that defines no workflow. */
typedef struct lnt__loaded { char *file; lnt__code *code; } lnt__loaded; /* code may be NULL: it is being loaded for the first time */

/* What runs apart from the branches: it may look at the instance, and must not move it. */
typedef enum lnt__apart { LNT__APART_NONE, LNT__APART_SIDE_EFFECT, LNT__APART_QUERY, LNT__APART_VALIDATOR } lnt__apart;

typedef struct lnt__body lnt__body;
typedef struct lnt__branch lnt__branch;
typedef struct lnt__task lnt__task;
typedef struct lnt__scope lnt__scope;
typedef struct lnt__watch lnt__watch; /* watch.c */

typedef struct lnt__thread { lua_State *co; uint32_t slot; } lnt__thread;

typedef enum lnt__branch_state { LNT__BRANCH_READY, LNT__BRANCH_RUNNING, LNT__BRANCH_WAITING, LNT__BRANCH_OVER } lnt__branch_state;

/* A cancel is aimed at a branch, or at a scope that is open in it, and raised there once: at its wait, or, where it is held back (the
 * branch does not wait, or is shielded), at its next wait. */
typedef enum lnt__cancel_state { LNT__CANCEL_NONE, LNT__CANCEL_PENDING, LNT__CANCEL_RAISED } lnt__cancel_state;
typedef struct lnt__cancel { uint32_t failure_slot; /* PENDING */ uint8_t state; } lnt__cancel;

/* A coroutine inside an instance. */
struct lnt__branch {
  lnt__thread thread;
  lnt__task *task;   /* spawned branches: what stands for their end */
  lnt__branch *next; /* in the ready list */
  lnt__branch *older, *newer; /* spawned branches of the body */
  lnt__task *waits_for; /* WAITING for a task */
  lnt__scope *closing;  /* WAITING for what this scope started to end; neither: WAITING for command `seq` */
  lnt__scope *scope;    /* the innermost that is open in it */
  lnt__scope *base;     /* the one it was spawned in: the end of the chain of its own */
  lnt__cancel cancel;   /* aimed at the branch as a whole */
  uint32_t pending;     /* cancels that are PENDING, those of its scopes included */
  uint32_t seq;
  uint8_t state, argument_count;
  bool begun;
};

typedef enum lnt__scope_state { LNT__SCOPE_OPEN, LNT__SCOPE_CLOSING, LNT__SCOPE_CLOSED } lnt__scope_state;

/* What ctx:scope, ctx:map and ctx:shield open, a userdata; and the root, which belongs to the body. */
struct lnt__scope {
  lnt__scope *parent;
  lnt__branch *owner;      /* runs its function */
  lnt__task *first, *last; /* what was started in it and is not over, oldest first; also events that came and nobody took */
  lnt__task *branch_cursor, *command_cursor; /* of walks that may change the list */
  lnt__cancel cancel;
  uint32_t slot;           /* anchors it while it is not CLOSED; 0: the root */
  uint32_t deadline_seq;   /* its timeout's timer; 0: none */
  uint32_t cleaning;       /* branches started in it that were canceled and are not over */
  uint8_t state;
  bool shield;
  bool canceled, timed_out;
  bool overtaken;          /* its owner was raised a cancel of something around it */
};

typedef enum lnt__task_kind { LNT__TASK_ACTIVITY, LNT__TASK_TIMER, LNT__TASK_EVENT, LNT__TASK_CHILD, LNT__TASK_BRANCH,
                             LNT__TASK_ALL, LNT__TASK_ANY } lnt__task_kind;
typedef enum lnt__task_state { LNT__TASK_PENDING, LNT__TASK_DONE, LNT__TASK_FAILED, LNT__TASK_CANCELED } lnt__task_state;

enum { LNT__TASK_FAIL_FAST = 1, LNT__TASK_CANCEL_LOSERS = 2, LNT__TASK_PRIVATE = 4 /* one wait made it, and nobody else knows it */ };

/* A userdata. Its environment table holds: pending composites, their children 1..n; done, the values 1..n; failed, the failure at 1. While
 * it is pending it is anchored and in its scope's list; that of an event stays there until its value is taken. */
struct lnt__task {
  lnt__task *prev, *next;
  lnt__scope *scope;   /* it was started in */
  lnt__branch *branch; /* BRANCH */
  uint32_t slot, seq;
  uint32_t order;      /* EVENT, done: place of the event among those of the instance */
  uint32_t composite;  /* stamp of the list it was last seen in */
  uint32_t count, left; /* composites: children, and those that are pending */
  uint32_t links, last_link; /* who waits: places in body->links, from 1 */
  uint8_t kind, state, depth, values, options;
  bool taken;          /* EVENT: its value was handed to somebody */
  char name[]; /* of the activity or event */
};

typedef struct lnt__link { uint32_t next; lnt__branch *branch; lnt__task *parent; } lnt__link; /* one of the two is set */

/* A command that has no answer yet. kind is -1 when it is gone; the last member is a scope's when it is LNT__WAIT_DEADLINE. */
enum { LNT__WAIT_DEADLINE = 100 };
typedef struct lnt__wait {
  uint32_t seq;
  int kind;
  lnt__branch *branch;
  union { lnt__task *task; lnt__scope *scope; };
} lnt__wait;

/* What continue_as_new() asked for. */
typedef struct lnt__next { bool carry_events; size_t size; uint8_t input[]; } lnt__next;

struct lnt__body {
  lnt__turn *turn;
  lnt__code *code;
  lnt__branch main;
  lnt__branch *branches; /* newest first */
  lnt__branch *ready_head, *ready_tail;
  lnt__scope root;
  lnt__scope handlers; /* of the branches that handle updates: they are awaited when the body returns, not canceled */
  lnt__next *next;   /* NULL: the body was not ended by continue_as_new() */
  lnt__outcome *end; /* main is over, and branches are awaited: what becomes of the instance then */
  lnt__wait *waits; /* sorted by seq; &one, or owned */
  lnt__link *links;
  lnt__buf trace;      /* where the failure in the slot was raised: what raises it again comes too late to know */
  uint32_t trace_slot;
  bool trace_awaited;  /* it was raised in a branch */
  lnt__rng *rngs; /* [0] math.random, [1] ctx; made when first asked for */
  uint64_t seed;
  lnt__wait one;
  uint32_t wait_count, wait_capacity, wait_gone;
  uint32_t link_count, link_capacity, free_link;
  uint32_t branch_count;
  uint32_t spawned;   /* branches made since the last delivery */
  uint32_t composites; /* ever made */
  uint32_t side_effects; /* ever asked for */
  uint64_t spent;      /* units, in all its turns */
  int64_t held;        /* bytes of the state that it seems to hold: what was added while it ran */
  int64_t weighed;     /* the same when that was looked at last, after a full cycle of the collector */
  uint32_t settling;   /* tasks are being settled: this many, inside each other */
  uint32_t doomed;     /* tasks in the table of the slot, to be canceled after that */
  uint32_t doomed_slot;
  uint32_t queries_slot, updates_slot; /* tables of handlers by name; 0: none */
  uint32_t modules_slot; /* table of the modules that were required, 0: none */
  uint32_t attributes_size;
  void *attributes;      /* as the body has set them: a map, or NULL; owned */
  lnt__coverage *coverage; /* of a trial: notes whether what is different runs. Not owned; NULL: nobody asks */
  int line;              /* where the workflow's function begins */
  bool refused;          /* the engine refused a command */
};

/* A file that is being run for what it defines, or a main chunk of an instance. */
typedef struct lnt__run {
  lnt__code *code;
  const char *wanted;    /* an instance: the workflow to find; NULL: a load, which takes all */
  uint32_t *modules_slot;
  uint32_t function_slot; /* the workflow's function, 0: not found */
  int line;
  lnt__staged_name *names; /* a load: what the file defines */
  size_t name_count, name_capacity;
  lnt__staged_activity *activities;
  size_t activity_count, activity_capacity;
  const char *source; /* a load: the text */
  size_t source_size;
} lnt__run;

struct lnt__wvm {
  lnt__guard guard; /* first: lnt__wvm_of() */
  lnt__wvm_options options;
  lnt_limits limits, *met;
  char *module_path, *stdlib_path;
  lnt__sandbox_host host;
  lnt__vm interface;
  lua_State *L;
  char fingerprint[64];

  uint32_t *free_slots;
  size_t free_slot_count, free_slot_capacity;
  uint32_t slots; /* highest ever used */
  lnt__thread pool[LNT__THREADS_POOLED_MAX];
  size_t pooled;

  lnt__u64map codes; /* by the first 8 bytes of the hash */
  lnt__strmap definitions;
  lnt__strmap files;
  lnt__change *changes;
  uint64_t stamp;

  lnt__body *body;     /* whose branch runs */
  lnt__branch *branch;
  lnt__run *run;       /* a top level runs */
  lua_State *calling;  /* the coroutine that asked for the command under way */
  const char *verb;    /* of ctx that was called last */
  int require_depth;
  lnt__apart apart;    /* runs now */
  char apart_where[LUA_IDSIZE + 80]; /* where its function begins, for a tail call, which leaves no line */

  void *ctx, *async;   /* the two userdata */
  uint32_t ctx_slot, run_update_slot, task_meta_slot, scope_meta_slot;
  const void *task_meta, *scope_meta;
  lnt__buf input, extra;
  lnt__watch *watch;  /* a diagnosis is under way; else NULL */
  size_t used_before; /* bytes of the state when the body that runs was entered */
  size_t clean_bytes; /* of the state after the last full cycle of the collector in idle time */
  int cycles_left;    /* of the collector until all is found that is garbage now: the one under way began before some of it was */

  void (*entry)(lua_State *L, void *argument);
  void *entry_argument;
};

static inline lnt__wvm *lnt__wvm_of(lua_State *L) { return (lnt__wvm *)(void *)lnt__guard_of(L); }

/* ---- workflow.c ---- */

/* Run fn(L, argument) protected, with an empty Lua stack. LNT_ENOMEM, or LNT_EINTERNAL with what was raised. */
lnt_status lnt__protected(lnt__wvm *wvm, void (*fn)(lua_State *L, void *argument), void *argument, lnt_error *err);
uint32_t lnt__anchor(lua_State *L);                   /* RAISES. Pop the value at the top and keep it; answers its slot */
void lnt__release(lnt__wvm *wvm, uint32_t *slot);     /* 0 accepted; sets it to 0 */
static inline void lnt__push_slot(lua_State *L, uint32_t slot) { lua_rawgeti(L, LUA_REGISTRYINDEX, (int)slot); }

/* Before and after everything that a body does. */
void lnt__enter_body(lnt__wvm *wvm, lnt__body *body, lnt__turn *turn);
void lnt__leave_body(lnt__wvm *wvm, lnt_status status, const lnt_error *err, lnt__outcome *outcome);

/* ---- workflow_body.c ---- */

lnt__thread lnt__thread_take(lua_State *L); /* RAISES */
void lnt__thread_give(lnt__wvm *wvm, lnt__thread *thread, bool finished); /* back to the pool if it finished and is clean */
void lnt__ready(lnt__body *body, lnt__branch *branch, int argument_count); /* its arguments are on its stack */
lnt__branch *lnt__branch_create(lua_State *L, lnt__body *body);            /* RAISES */
void lnt__branch_stop(lnt__wvm *wvm, lnt__body *body, lnt__branch *branch); /* a spawned one that does not run; frees it */
/* RAISES. Resume the first ready branches until all wait (false) or the body is over (true: *outcome). */
bool lnt__body_run(lua_State *L, lnt__body *body, lnt__outcome *outcome);
/* Resume `co` within the guard. 0: it ended; LUA_YIELD: it waits; else it raised, or was killed. Does not raise. */
int lnt__resume(lnt__wvm *wvm, lua_State *co, int argument_count);
/* Why `co` stopped (killed, or the error at its top) as an outcome. RAISES. */
void lnt__body_failed(lnt__wvm *wvm, lnt__body *body, lua_State *co, lnt__outcome *outcome);
/* What `co` raised, or why it was killed, as the failure of *outcome, without its detail. RAISES. true: it is what was raised. */
bool lnt__raised(lnt__wvm *wvm, lua_State *co, lnt__outcome *outcome);
void lnt__body_free(lnt__wvm *wvm, lnt__body *body);
lnt__rng *lnt__body_rng(lnt__body *body, int which); /* NULL: out of memory */
void lnt__body_reseed(void *vm, void *body, uint64_t seed); /* lnt__vm.reseed */
void lnt__traceback(lua_State *co, lnt__buf *out);
/* Keep where the failure at the top of `co` was raised, unless it is a cancel; it stays. Does not raise once lnt__trace_reserve() was
 * called for the body. */
void lnt__trace_keep(lua_State *co, lnt__body *body);
void lnt__trace_reserve(lua_State *L, lnt__body *body); /* RAISES */
bool lnt__trace_of(lua_State *L, int index, const lnt__body *body); /* is it kept for this failure? */
/* RAISES. What is at the top of L now stands for the failure at `index` of `from`. */
void lnt__trace_follow(lua_State *L, const lnt__body *body, lua_State *from, int index);
void lnt__where(lua_State *L, char *out, size_t size);
bool lnt__tail_place(const lnt__wvm *wvm, char *out, size_t size); /* of the verb that was called last, where no frame tells the place */

/* ---- workflow_mistake.c ---- */

/* All of these RAISE, catchably, at the author's line, a failure {type, message, field}. A tail call (`return ctx:verb(...)`) leaves no
 * line: then it is where such a call stands, or where the workflow begins. */
_Noreturn void lnt__mistake(lua_State *L, const char *format, ...) LNT__PRINTF(2, 3); /* InvalidCall: not here, not like this */
/* InvalidArgument. field: the argument, or the option ("retry.backoff"), that is wrong; NULL: none has a name */
_Noreturn void lnt__invalid(lua_State *L, const char *field, const char *format, ...) LNT__PRINTF(3, 4);
_Noreturn void lnt__exceeded(lua_State *L, const char *field, const char *format, ...) LNT__PRINTF(3, 4); /* LimitExceeded */
/* InvalidValue, or LimitExceeded, of what lnt__value_encode() said of the argument `what` */
_Noreturn void lnt__invalid_value(lua_State *L, const char *verb, const char *what, const lnt_error *err);
/* RAISES unless every key of the table at `index` is among `known` (NULL at its end). prefix: "retry." of such a table in the options */
void lnt__check_keys(lua_State *L, int index, const char *verb, const char *prefix, const char *const *known);
size_t lnt__check_list(lua_State *L, int index, const char *verb, const char *field); /* RAISES unless the table is a list; its length */
void lnt__check_function(lua_State *L, int index, const char *verb, const char *field); /* RAISES */
void lnt__check_options(lua_State *L, int index, const char *verb, const char *example); /* RAISES unless it is a table */
void lnt__check_reason(lua_State *L, int index); /* RAISES unless it is a string, or nothing */
const char *lnt__nearest(const char *word, const char *const *names); /* the name that was probably meant, or NULL */

/* ---- workflow_task.c ---- */

bool lnt__wait_reserve(lnt__body *body); /* room for one more; false: out of memory */
void lnt__wait_add(lnt__body *body, uint32_t seq, int kind, lnt__branch *branch, lnt__task *task);
lnt__wait *lnt__wait_find(lnt__body *body, uint32_t seq);
void lnt__wait_remove(lnt__body *body, lnt__wait *wait);

/* RAISES. Pushed; pending */
lnt__task *lnt__task_create(lua_State *L, lnt__body *body, lnt__task_kind kind, const char *name, size_t size);
lnt__task *lnt__task_check(lua_State *L, int index); /* NULL: not a task */
/* RAISES. The task's `count` values (or its failure) are at the top and are popped; everyone who waits for it is told. */
void lnt__task_settle(lua_State *L, lnt__body *body, lnt__task *task, lnt__task_state state, int count);
/* RAISES. Push true and the delivery's value, or false and the failure (nothing: a wait that ran out). Answers how many. */
int lnt__push_delivery(lua_State *L, int kind, const lnt__delivery *delivery);
/* RAISES. Settle a task of a command */
void lnt__task_answer(lua_State *L, lnt__body *body, lnt__task *task, const lnt__delivery *delivery);
void lnt__deliver(lua_State *L, lnt__body *body, const lnt__delivery *delivery); /* RAISES */
void lnt__push_failure(lua_State *L, const char *type, const char *message, bool retryable); /* RAISES */
void lnt__task_functions(lua_State *L); /* RAISES. Into the table at the top */
/* RAISES. The task at `index` is no longer wanted. A branch is told; anything else is over now; an event that nobody took goes back. */
void lnt__task_cancel(lua_State *L, lnt__body *body, int index, lnt__task *task, const char *reason);
void lnt__task_give_up(lua_State *L, lnt__body *body, lnt__task *task); /* RAISES. The same for a composite, but for its children */
void lnt__tasks_forget(lnt__wvm *wvm, lnt__scope *scope); /* of a scope that is dropped */
void lnt__tasks_keep_events(lua_State *L, lnt__body *body); /* RAISES. The body ends: events that nobody took are the engine's again */
void lnt__wake(lua_State *L, lnt__body *body, lnt__branch *branch, int count); /* RAISES. With `count` values, popped */
/* RAISES. The wait of a branch that is WAITING, and not for a scope, ends without its answer: the command, the claim is given up. */
void lnt__interrupt(lua_State *L, lnt__body *body, lnt__branch *branch);

/* ---- workflow_scope.c ---- */

/* RAISES. A cancel that is due at this wait: push false and its failure, as if that were the wait's answer. How many; 0: none is. */
int lnt__cancel_due(lua_State *L, lnt__branch *branch);
void lnt__branch_cancel(lua_State *L, lnt__body *body, lnt__task *task, const char *reason); /* RAISES */
void lnt__branch_ended(lua_State *L, lnt__body *body, const lnt__task *task, bool was_canceled); /* RAISES. The task of a branch is over */
void lnt__scope_timed_out(lua_State *L, lnt__body *body, lnt__scope *scope); /* RAISES */
void lnt__body_cancel(lua_State *L, lnt__body *body, lnt_value failure);     /* RAISES. The instance is canceled */
/* RAISES. The function of `scope` is over: cancel what it started, unless it still waits for what it canceled before. true: all is over. */
bool lnt__scope_close(lua_State *L, lnt__body *body, lnt__scope *scope);
void lnt__scopes_drop(lnt__wvm *wvm, lnt__branch *branch); /* those of a branch that is dropped, with their tasks */
bool lnt__is_shielded(const lnt__branch *branch);          /* what it does now, or a scope around that, is shielded */
bool lnt__is_canceled(lua_State *L, int index);            /* a failure of type "Canceled" */
void lnt__scope_functions(lua_State *L); /* RAISES. Into the table at the top */

/* ---- workflow_ctx.c, workflow_options.c ---- */

void lnt__ctx_open(lua_State *L, lnt__wvm *wvm); /* RAISES. Make ctx, ctx.async and the metatable of tasks */
/* RAISES. The body that runs; argument 1 must be ctx. reader: for functions that change nothing, which may run apart too. */
lnt__body *lnt__ctx_body(lua_State *L, const char *verb);
lnt__body *lnt__ctx_reader(lua_State *L, const char *verb);
/* RAISES. By the rules of names. field: what a mistake says is wrong */
lnt_value lnt__name_argument(lua_State *L, int index, const char *verb, const char *field, const char *what);
/* RAISES. Argument `index` into `out`; nil has no bytes. */
lnt_value lnt__encode_argument(lua_State *L, int index, const char *verb, const char *what, lnt__buf *out);
/* RAISES. Make a command that is answered at once; push true and its value, or false and its failure. Answers 2. */
int lnt__instant(lua_State *L, lnt__body *body, const char *verb, const lnt__command *command);
lnt_value lnt__id_argument(lua_State *L, int index, const char *verb, const char *what); /* RAISES. By the rules of ids */

/* A call of ctx or ctx.async that may wait. */
typedef struct lnt__request {
  const char *verb;
  lnt__task_kind kind;
  bool async;
  lnt__command command;
} lnt__request;
int lnt__issue(lua_State *L, lnt__body *body, lnt__request *request); /* RAISES. Yields, or answers as lnt__push_delivery(), or the task */

/* RAISES at the author's line. field: the option; NULL: the argument itself */
int64_t lnt__duration_us(lua_State *L, int index, const char *verb, const char *field);
/* RAISES. The table `retry` at `index` of a call of `verb`, as the map that engine/policy.h reads. */
void lnt__retry_options(lua_State *L, int index, const char *verb, lnt__buf *out);
void lnt__activity_options(lua_State *L, int index, lnt__buf *out);  /* RAISES. Canonical, or nothing */
/* RAISES. Of a child: `out` is what is recorded, canonical or nothing. The id is the author's string, {NULL, 0}: none. */
typedef struct lnt__child_options { lnt_value id; int64_t timeout_us; uint32_t attempts; } lnt__child_options;
void lnt__child_options_read(lua_State *L, int index, lnt__child_options *options, lnt__buf *out);
lnt_value lnt__id_option(lua_State *L, int index, const char *verb); /* RAISES. Of options that know `id` alone */
bool lnt__carry_option(lua_State *L, int index); /* RAISES. Of continue_as_new(); true unless the author says no */
/* RAISES. Of options that know `timeout` alone; false: it is not there */
bool lnt__timeout_option(lua_State *L, int index, const char *verb, const char *example, int64_t *timeout_us);
bool lnt__flag_option(lua_State *L, int index, const char *verb, const char *name); /* RAISES. Of options that know this flag alone */
void lnt__map_options(lua_State *L, int index, double *concurrency, bool *fail_fast); /* RAISES. 0: no bound */

/* ---- workflow_tell.c ---- */

void lnt__refuse_apart(lua_State *L, const char *verb); /* RAISES if something runs apart */
void lnt__check_draw(lua_State *L, const char *verb);   /* RAISES where random numbers cannot be drawn */
void lnt__tell_functions(lua_State *L);                 /* RAISES. Into the table at the top */

/* ---- workflow_child.c ---- */

void lnt__child_functions(lua_State *L); /* RAISES. Into the table at the top */

const char *lnt__apart_type(bool is_update); /* of the failure of what must not move the body and tries to */

/* ---- workflow_ask.c ---- */

void lnt__ask_functions(lua_State *L); /* RAISES. Into the table at the top */
void lnt__vm_ask(void *vm, lnt__turn *turn, void *body, const lnt__question *question, lnt__outcome *outcome);
bool lnt__vm_update(void *vm, lnt__turn *turn, void *body, const lnt__accepted *update, lnt__outcome *outcome);
lnt_status lnt__vm_inspect(void *vm, lnt__turn *turn, void *body, lnt__buf *out, lnt_error *err);

/* ---- watch.c ---- */

void lnt__vm_watch(void *vm);
size_t lnt__vm_watched(void *vm, lnt__clue *out, size_t most);

/* ---- interface.c ---- */

/* RAISES. Keep what an activity shows, for the load that runs; `options` and `function` are stack indices. */
void lnt__interface_note(lua_State *L, lnt__run *run, const char *name, int options, int function);

/* ---- code.c ---- */

void lnt__code_open(lua_State *L);             /* RAISES. Make the globals workflow, activity, require */
void lnt__code_finish(lnt__wvm *wvm);          /* free everything */
void lnt__code_release(lnt__wvm *wvm, lnt__code *code); /* one reference less */
lnt_status lnt__code_get(lnt__wvm *wvm, const uint8_t *hash, lnt__code **out, lnt_error *err); /* takes a reference */
void lnt__code_push_main(lua_State *L, const lnt__code *code); /* RAISES. Push a fresh function of the file, in a fresh environment */
void lnt__code_free(lnt__wvm *wvm, lnt__code *code);
bool lnt__code_defines(const lnt__code *code, const char *workflow); /* of code that has been run */
lnt__module *lnt__code_module(lnt__code *code, const char *name);
/* Where `return ctx:verb(...)` stands, "quests.lua:12", or some places: "quests.lua:12 or 31". false: nowhere, or in too many places. */
bool lnt__code_tail(const lnt__code *code, const char *verb, char *out, size_t size);
/* owns source; NULL: no memory */
lnt__module *lnt__code_add_module(lnt__code *code, const char *name, const char *file, char *source, size_t size);

/* lnt__vm.defines */
lnt_status lnt__vm_defines(void *vm, const uint8_t *hash, const char *workflow, lnt_error *err);

/* ---- code_changes.c ---- */

lnt__changes lnt__vm_compare(void *vm, const uint8_t *from, const uint8_t *to, void *traces[2]); /* lnt__vm.compare, met, untrace */
bool lnt__vm_met(void *vm, const void *trace);
void lnt__vm_untrace(void *vm, void *trace);
void lnt__changes_finish(lnt__wvm *wvm);
void lnt__change_line(lua_State *L, lua_Debug *ar); /* RAISES. A line of a body that has a coverage is about to run */

/* ---- bundle.c ---- */

lnt_status lnt__bundle_write(const lnt__code *code, const char *source, size_t size, lnt__buf *out, lnt_error *err);
lnt_status lnt__bundle_read(lnt_value bundle, lnt__code *code, lnt_value *source, lnt_error *err); /* file and modules into `code` */

#endif
