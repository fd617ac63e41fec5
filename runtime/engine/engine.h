/* engine.h - instances, turns, commands, timers, events, retries. Pure: no Lua, no libuv, no LMDB, no clock, no thread.
 *
 * The driver feeds it (start, raise, terminate, answer, time), lets it run turns, and commits the batch that it seals. It reaches upward
 * through two structs of callbacks that it defines here: lnt__vm (run the body of an instance) and lnt__effects (what may
 * happen once a batch is durable). Owner thread only.
 *
 * A TURN: the body consumes every event of the instance's inbox, in order; each resumes what waited for it; each call the body makes is a
 * command with the next number `seq`. If the history already has a command of that number they must agree (kind, name,
 * input, bytes for bytes); else it is new and goes into the batch. A TURN event closes the turn.
 */
#ifndef LNT__ENGINE_H
#define LNT__ENGINE_H

#include "base/rng.h"
#include "journal/journal.h"

typedef struct lnt__engine lnt__engine;
typedef struct lnt__turn lnt__turn; /* an instance, as its body sees it during a turn */

/* ---- The VM, as the engine sees it ---- */

/* What is asked of a body that waits: a query; or, with is_update, whether an update is welcome. */
typedef struct lnt__question { lnt_value name, args; bool is_update; } lnt__question;
typedef struct lnt__accepted { lnt_value name, args, id; } lnt__accepted; /* an update */

typedef enum lnt__body_state {
  LNT__BODY_WAITING,     /* every branch waits for a command */
  LNT__BODY_COMPLETED,   /* returned: `value` is the output */
  LNT__BODY_FAILED,      /* raised: `value` is the failure map, `detail` a traceback for people */
  LNT__BODY_CANCELED,    /* the same, with the failure of the cancel that was delivered to it */
  LNT__BODY_CONTINUED,   /* asked for a new generation: `value` is its input */
  LNT__BODY_REFUSED,     /* stopped because lnt__turn_command answered REFUSED; the engine knows why */
  LNT__BODY_UNAVAILABLE  /* not the instance's fault: its code cannot be had or does not load, memory or time ran out: `error` says why.
                            The instance stalls. */
} lnt__body_state;

typedef struct lnt__outcome {
  lnt__body_state state;
  lnt__buf value;  /* owned by the engine; empty when the VM is called */
  lnt__buf detail;
  bool carry_events; /* CONTINUED: external events that nobody took go over to it */
  bool heavy;        /* WAITING: it seems to hold more than instance_memory_bytes_max; lnt__vm.weigh tells */
  lnt_error error;
} lnt__outcome;

typedef enum lnt__delivery_kind {
  LNT__DELIVER_RESULT,  /* activity completed, event arrived: `value` */
  LNT__DELIVER_FAILURE, /* activity failed: `value` is the failure map */
  LNT__DELIVER_FIRED,   /* timer came due, or the wait timed out */
  LNT__DELIVER_CANCEL   /* the instance is to end: `value` is the failure map; seq is 0 */
} lnt__delivery_kind;

typedef struct lnt__delivery {
  uint32_t seq;
  lnt__delivery_kind kind;
  lnt_value value; /* valid during the call that gives it */
  uint32_t order;  /* external events: the how-manieth that came to the instance */
} lnt__delivery;

typedef struct lnt__start_info {
  const char *workflow;
  const uint8_t *hash; /* LNT__SHA256_BYTES: the pinned code */
  lnt_value input;
  lnt_value attributes; /* that it was started with: a map, or nil */
  uint64_t seed;
  void *trace; /* that lnt__vm.compare gave, for what the body runs; NULL: none */
} lnt__start_info;

#define LNT__CLUES_MAX 40
typedef struct lnt__clue {
  char what[80];   /* "#items", "ctx:is_replaying()" */
  char at[120];    /* file:line */
  const char *why; /* it may differ; static */
  uint8_t weight;  /* the likelier the cause, the more; 0: it is the same in every replay */
  uint32_t seq;    /* number of the command that was made next after the last use of it */
} lnt__clue;

/* What is different in one code and another. NONE: nothing that runs; spaces and comments do not. */
typedef enum lnt__changes { LNT__CHANGES_UNKNOWN, LNT__CHANGES_NONE, LNT__CHANGES_SOME } lnt__changes;

typedef struct lnt__vm {
  void *vm;
  /* Make the body and run it until every branch waits or it ends. *body is the VM's; it is set also when the body ended at once, and the
   * engine
   * drops it. */
  void (*start)(void *vm, lnt__turn *turn, const lnt__start_info *start, void **body, lnt__outcome *outcome);
  /* Resolve the task of command `seq` and run every branch that this wakes (first ready, first run), until all wait or the body ends. */
  void (*deliver)(void *vm, lnt__turn *turn, void *body, const lnt__delivery *delivery, lnt__outcome *outcome);
  void (*drop)(void *vm, void *body); /* never NULL body */
  size_t (*weigh)(void *vm, void *body); /* the same, and how many bytes of the VM it held: slow. Asked only of bodies said to be heavy */
  /* The code of a workflow that `turn` starts: the newest of that name. LNT_ENOTFOUND. */
  lnt_status (*resolve)(void *vm, const lnt__turn *turn, const char *workflow, uint8_t *hash, lnt_error *err);
  /* Where the body stands now ("research.lua:14 in function 'plan'"), asked only from within a command, for a diagnosis. */
  void (*where)(void *vm, lnt__turn *turn, char *out, size_t size);
  /* The same as a traceback, line by line. May be NULL. */
  void (*trace)(void *vm, lnt__turn *turn, lnt__buf *out);
  /* Ask without moving the body. COMPLETED: `value` is the answer; FAILED: the failure; UNAVAILABLE: no memory. Its branches are as
   * they were. */
  void (*ask)(void *vm, lnt__turn *turn, void *body, const lnt__question *question, lnt__outcome *outcome);
  /* Run the handler of an update as a branch, and every branch that it wakes. false: there is no handler of that name; nothing ran. */
  bool (*update)(void *vm, lnt__turn *turn, void *body, const lnt__accepted *update, lnt__outcome *outcome);
  /* Append what the body waits for and what it can be asked, a map {branches, queries, updates}; lunation.h at lnt_describe. */
  lnt_status (*inspect)(void *vm, lnt__turn *turn, void *body, lnt__buf *out, lnt_error *err);
  /* From here on the body draws other random numbers; with the seed it has, nothing changes. NULL: it draws none. */
  void (*reseed)(void *vm, void *body, uint64_t seed);
  /* For a diagnosis: from here on note, slowly, what bodies use that may not be the same in every replay. NULL: it cannot. Then end that:
   * what was noted, at most `most`; how many. */
  void (*watch)(void *vm);
  size_t (*watched)(void *vm, lnt__clue *out, size_t most);


  /* Trials of other code. Any of these may be NULL: then nothing is known of it. */
  /* Does the code define the workflow? LNT_ENOTFOUND, or why it does not load. */
  lnt_status (*defines)(void *vm, const uint8_t *hash, const char *workflow, lnt_error *err);
  /* Compare two codes. SOME: a body that is started with traces[0] (with code `from`) or traces[1] (with `to`) notes whether it runs what
   * is different. A side that has nothing to run has no trace (NULL). untrace() when that body is gone. */
  lnt__changes (*compare)(void *vm, const uint8_t *from, const uint8_t *to, void *traces[2]);
  bool (*met)(void *vm, const void *trace);
  void (*untrace)(void *vm, void *trace);
} lnt__vm;

/* ---- The engine, as the VM sees it: only between lnt__vm.start/deliver and their return ---- */

typedef struct lnt__command {
  lnt_event_kind kind; /* one of LNT__KINDS_COMMAND */
  lnt_value name;      /* activity, event, workflow, stream (bytes); timers: empty */
  lnt_value input;     /* encoded input, data or value */
  lnt_value options;   /* activity: map {retry = {max_attempts, first_interval_us, backoff_coefficient, max_interval_us, timeout_us,
                          non_retryable = [types]}, schedule_to_start_us, start_to_close_us, schedule_to_close_us, heartbeat_us}, or nil.
                          Checked by the VM at the author's line. */
  lnt_value id;        /* instance id (bytes): target of EVENT_SENT; child: the author's, or empty for the default one */
  int64_t due_us;      /* timer; wait with timeout: absolute; waits without: 0 */
  bool alone;          /* the caller waits for this command at once and no other branch is ready: it may be answered in place */
} lnt__command;

typedef enum lnt__command_state {
  LNT__COMMAND_WAITING,  /* wait for the delivery with *seq */
  LNT__COMMAND_ANSWERED, /* *answer holds it: go on without yielding. answer->value is valid until the next call of the engine. Instant
                            commands (LNT__KINDS_INSTANT) are always answered so, in replay with what was recorded */
  LNT__COMMAND_REFUSED   /* divergence or limit: stop the body (no pcall may catch it), outcome LNT__BODY_REFUSED */
} lnt__command_state;

lnt__command_state lnt__turn_command(lnt__turn *turn, const lnt__command *command, uint32_t *seq, lnt__delivery *answer);

/* Give up a command that has not been delivered (a loser of when_any, a closed scope). Delivered or unknown: no-op. No delivery follows. */
void lnt__turn_cancel(lnt__turn *turn, uint32_t seq);

/* An event that was delivered to a command with that name and `order`, and that nobody took. true: command *seq has waited longest for its
 * name and is answered by it: the VM delivers it now. false: it stands again among the buffered events, where it stood. */
bool lnt__turn_return_event(lnt__turn *turn, lnt_value name, lnt_value value, uint32_t order, uint32_t *seq);
/* The same for a body that ends: nobody is answered any more. */
void lnt__turn_keep_event(lnt__turn *turn, lnt_value name, lnt_value value, uint32_t order);

/* Bytes of the id that the next command would get for an instance that it starts without naming it. More than LNT_ID_BYTES_MAX: it must be
 * named. */
size_t lnt__turn_default_id_size(const lnt__turn *turn);
int64_t lnt__turn_now_us(const lnt__turn *turn); /* time of the event delivered last */
bool lnt__turn_replaying(const lnt__turn *turn); /* what runs now ran before */
bool lnt__turn_rebuilding(const lnt__turn *turn); /* the same, but false where a turn is rehearsed */
bool lnt__turn_recorded(const lnt__turn *turn);  /* the next command is in the history: its answer is known */
const char *lnt__turn_id(const lnt__turn *turn);
const char *lnt__turn_workflow(const lnt__turn *turn);
uint64_t lnt__turn_run(const lnt__turn *turn);
uint32_t lnt__turn_next_seq(const lnt__turn *turn); /* of the next command */
uint64_t lnt__turn_history_events(const lnt__turn *turn); /* that the body has seen; the same in a replay */
bool lnt__turn_advises(lnt__turn *turn); /* is its history so long that the body should continue as new? May make a command */
void lnt__turn_custom_status(lnt__turn *turn, lnt_value value); /* copied; silent in replay */
void lnt__turn_attributes(lnt__turn *turn, lnt_value value);    /* the whole map, checked; copied; silent in replay */
/* Silent in replay. effect: said by the function of a side effect, which runs only once. */
void lnt__turn_log(lnt__turn *turn, lnt_log_level level, const char *text, bool effect);
/* The handler of update `id` ended: with a value, or (not ok) a failure. */
void lnt__turn_update_answered(lnt__turn *turn, lnt_value id, bool ok, lnt_value value);

/* Did the body take patch `name`? Yes where the history says so or where the answer is made first, outside a replay (then it is recorded);
 * no where a replay passes a place that was passed before the patch was there. One answer for the whole run. */
bool lnt__turn_patched(lnt__turn *turn, lnt_value name);

/* ---- Where code and history part ---- */

typedef struct lnt__divergence {
  uint64_t event;       /* place in the history, from 1; 0: the code makes a call where none is recorded */
  uint32_t seq;         /* of the command */
  int64_t recorded_us;  /* when the event was recorded */
  char recorded[300], wanted[300];      /* both calls as an author would write them; empty: none */
  char at[200], was_at[200];            /* file:line of the call that is made now; of the recorded one, in the code that made it */
  char difference[300]; /* the first difference of the arguments */
  char differences[900]; /* the first of them, one a line */
  bool rehearsed;       /* paranoid: "recorded" is what a rebuilt copy made, "wanted" what the instance itself makes */
  uint32_t asked;       /* queries and validators that ran on the instance's own body */
} lnt__divergence;

/* ---- Effects: called after the batch they depend on is durable; `dispatch` of pure activities before ---- */

typedef struct lnt__effects {
  void *user;
  /* An attempt of an activity may run now: the driver queues the token and later calls lnt__engine_begin(). */
  void (*dispatch)(void *user, lnt_token token);
  /* Has this activity no side effects? Then its attempts are dispatched from inside a turn, before their scheduling is durable, and the
   * answers may land in the same batch. May be NULL: none has. */
  bool (*pure)(void *user, const char *name);
  /* The answer of a begun attempt is no longer wanted. `name` of the activity, if the attempt is deferred (perhaps by an earlier process);
   * else NULL. */
  void (*abandon)(void *user, lnt_token token, lnt_cancel_reason why, const char *name);
  /* One event became durable (only called while `observing` was set by lnt__engine_observe). */
  void (*event)(void *user, const char *id, lnt_run_status status, const lnt__event *event, uint64_t index);
  /* The history of an instance grew, durably (only called while lnt__engine_watch is on). */
  void (*moved)(void *user, const char *id);
  /* An instance became terminal or stalled, durably. */
  void (*settled)(void *user, const char *id, lnt_run_status status);
  void (*log)(void *user, lnt_log_level level, const char *id, const char *message);
} lnt__effects;

/* ---- The engine, as the driver sees it ---- */

typedef struct lnt__engine_options {
  lnt__store *store; /* not owned */
  const lnt__vm *vm; /* copied */
  const lnt__effects *effects; /* copied */
  const lnt_limits *limits; /* copied; no zero fields */
  lnt_limits *met; /* counters (LNT__MET); may be NULL */
  const char *fingerprint; /* of the interpreter; copied */
  uint64_t seed;
  uint64_t last_run; /* from lnt__journal_open */
  const lnt__vm *rehearsal; /* paranoid: another VM, in which each turn runs first (rehearse.c); NULL: none does. Copied */
} lnt__engine_options;

lnt_status lnt__engine_create(const lnt__engine_options *options, lnt__engine **out, lnt_error *err);
void lnt__engine_destroy(lnt__engine *engine); /* drops all bodies; pending `done` callbacks get LNT_ECLOSED; NULL accepted */

/* Take up what the store holds: queue active instances, load timers. Once, after create. */
lnt_status lnt__engine_recover(lnt__engine *engine, int64_t now_us, lnt_error *err);

/* The time that every event accepted from here on carries. Call at the start of each tick. */
void lnt__engine_set_now(lnt__engine *engine, int64_t now_us);

typedef struct lnt__start {
  const char *workflow;
  const char *id; /* NULL: random */
  const uint8_t *hash;
  lnt_value input; /* checked CBOR */
  lnt_value attributes; /* checked by lnt__attributes_check() */
  lnt_done_fn done;
  void *done_user;
  lnt_id_reuse id_reuse;
  int64_t start_at_us;  /* 0: at once */
  bool *existed;        /* the id was taken, and that one is the answer; may be NULL */
} lnt__start;
lnt_status lnt__engine_start(lnt__engine *engine, const lnt__start *start, char *id_out, lnt_error *err);
typedef struct lnt__raise {
  const char *id, *event;
  lnt_value data;
  const char *key; /* NULL: none */
  lnt_done_fn done;
  void *done_user;
  int *repeated;   /* the key was used before: nothing was done; may be NULL */
} lnt__raise;
lnt_status lnt__engine_raise(lnt__engine *engine, const lnt__raise *raise, lnt_error *err);
lnt_status lnt__engine_terminate(lnt__engine *engine, const char *id, const char *reason, lnt_done_fn done, void *done_user,
                                 lnt_error *err);
/* The body is told by a delivery (LNT__DELIVER_CANCEL); what it does about it is its own affair. */
lnt_status lnt__engine_cancel(lnt__engine *engine, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err);

/* Hold an instance: events, answers and timers gather in order, no turn runs, no attempt begins. Again: nothing changes. */
lnt_status lnt__engine_suspend(lnt__engine *engine, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err);
/* Let it go on; a stalled one tries again. One that is neither: nothing changes. */
lnt_status lnt__engine_resume(lnt__engine *engine, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err);

/* Ask an instance, finished or not. The answer comes through fn, from lnt__engine_turn or lnt__engine_committed, when everything it depends
 * on is durable. Everything is copied. LNT_ENOTFOUND, LNT_ELIMIT, LNT_ENOMEM: fn is not called. */
typedef struct lnt__inquiry {
  const char *id, *name;
  const char *update_id; /* updates: the caller's, or NULL: a random one */
  lnt_value args;
  lnt_answer_fn fn;
  void *user;
} lnt__inquiry;
lnt_status lnt__engine_query(lnt__engine *engine, const lnt__inquiry *inquiry, lnt_error *err);
lnt_status lnt__engine_update(lnt__engine *engine, const lnt__inquiry *inquiry, char *id_out, lnt_error *err);

/* Append the description of an instance, a map; lunation.h at lnt_describe. stored: of a run, without an engine. Leaves no trace. */
lnt_status lnt__engine_describe(lnt__engine *engine, const char *id, lnt__buf *out, lnt_error *err);
lnt_status lnt__describe_stored(lnt__store *store, uint64_t run, lnt__buf *out, lnt_error *err);

typedef struct lnt__purge {
  bool recursive; /* children, theirs and so on, too */
  bool force;     /* one that is not finished is terminated */
} lnt__purge;
lnt_status lnt__engine_find(lnt__engine *engine, const char *id, uint64_t *run, lnt_error *err); /* also one that is not durable yet */
/* Take a run out of the store, with the older runs of its id if it is the newest. *count: instances; 0: there was no such run any more.
 * LNT_EOPEN: one is not finished. */
lnt_status lnt__engine_purge(lnt__engine *engine, uint64_t run, const lnt__purge *purge, uint64_t *count, lnt_error *err);

/* A new run that begins as a copy of run `run`. LNT_ENOTFOUND, LNT_EAGAIN (not durable yet), LNT_EOPEN, LNT_EINVAL (the event), LNT_EEXIST,
 * LNT_ELIMIT. */
typedef enum lnt__fork_what { LNT__FORK, LNT__RERUN, LNT__RETRY } lnt__fork_what;
typedef struct lnt__fork {
  lnt__fork_what what;
  uint64_t run;
  uint64_t event;     /* from 1: the last that is copied, or the command to rerun; 0: all */
  const char *new_id; /* NULL: random; a retry keeps the id */
  bool has_input;
  lnt_value input;    /* checked */
  lnt_fork_code code;
  lnt_done_fn done;
  void *done_user;
  const lnt__history *history; /* of the source, where it is not in the store; else NULL */
} lnt__fork;
lnt_status lnt__engine_fork(lnt__engine *engine, const lnt__fork *fork, char *id_out, lnt_error *err);
/* The same of a run that is not in the store: `row` is its own, fork->history its history, and fork->new_id is given. */
lnt_status lnt__engine_fork_foreign(lnt__engine *engine, const lnt__row *row, const lnt__fork *fork, char *id_out, lnt_error *err);

/* Call `fn` when everything accepted so far is durable. */
void lnt__engine_when_durable(lnt__engine *engine, lnt_done_fn fn, void *user);

/* Any other record that shall land with the current batch (source code). The value must be sealed. */
lnt_status lnt__engine_put(lnt__engine *engine, lnt__table table, lnt__slice key, lnt__slice value);
/* Such a record while it is on its way: the sealed value, valid until the next call of the engine. false: it is not. */
bool lnt__engine_find_put(const lnt__engine *engine, lnt__table table, lnt__slice key, lnt__slice *value);
lnt_status lnt__engine_delete(lnt__engine *engine, lnt__table table, lnt__slice key); /* with the current batch */
bool lnt__engine_deletes(const lnt__engine *engine, lnt__table table, lnt__slice key); /* it is on its way out */
bool lnt__engine_has_code(const lnt__engine *engine, const uint8_t *hash);             /* in the store, or on its way there, to stay */

/* The code of every instance in memory, which are all that are not durable yet. Moves and purges so far: what lets go of code. */
void lnt__engine_each_code(const lnt__engine *engine, void (*fn)(void *user, const uint8_t *hash), void *user);
uint64_t lnt__engine_moves(const lnt__engine *engine);
uint64_t lnt__engine_purges(const lnt__engine *engine);

/* What an attempt needs; pointers valid until the next call of the engine. false: it is over, drop it. Starts its clocks. */
typedef struct lnt__attempt {
  lnt_token token;
  const char *name;
  const char *instance_id;
  const char *workflow;
  const uint8_t *hash; /* the instance's code */
  lnt_value input;
  lnt_value heartbeat; /* details of the last heartbeat of the attempts before, or nil */
  char idempotency_key[48]; /* seed and time of the event that the run began with, and seq: it goes where the history goes */
} lnt__attempt;
bool lnt__engine_begin(lnt__engine *engine, lnt_token token, lnt__attempt *out);
void lnt__engine_unbegin(lnt__engine *engine, lnt_token token); /* it could not be run after all: begin it again later */
const char *lnt__engine_attempt_name(lnt__engine *engine, lnt_token token); /* of an attempt that may be begun; NULL: it is over */

/* Has a timeout of a begun attempt struck by `now_us`? `failure` (NULL: only asked) receives what the attempt that computes at `place`
 * fails with. */
bool lnt__engine_overdue(lnt__engine *engine, lnt_token token, int64_t now_us, const char *place, lnt__buf *failure);

/* Of a begun or deferred attempt: its answer; that it will be answered from outside, also by another process; a sign of life. `failure` is
 * a failure map, `detail` a traceback or nil; `details` may be nil: those given before stay. The instance of a deferred attempt is loaded
 * if need be. LNT_ENOTFOUND: the attempt is over, or runs nowhere (counted; nothing was done). Others: the store failed, try again. */
lnt_status lnt__engine_complete(lnt__engine *engine, lnt_token token, lnt_value result);
lnt_status lnt__engine_fail(lnt__engine *engine, lnt_token token, lnt_value failure, lnt_value detail);
lnt_status lnt__engine_defer(lnt__engine *engine, lnt_token token);
lnt_status lnt__engine_heartbeat(lnt__engine *engine, lnt_token token, lnt_value details);
lnt_status lnt__engine_awaits(lnt__engine *engine, lnt_token token); /* would an answer count? LNT_OK, or as above */
/* Where one of these said LNT_ENOTFOUND: why. LNT_EOVER, LNT_ENOTFOUND (there is no such attempt), LNT_EAGAIN (it has not begun). */
lnt_status lnt__engine_unawaited(lnt__engine *engine, lnt_token token, lnt_error *err);

/* Turn due timers, retries and timeouts into events. */
lnt_status lnt__engine_fire(lnt__engine *engine, lnt_error *err);
int64_t lnt__engine_next_due(const lnt__engine *engine); /* INT64_MAX: none */

/* Run one turn of the first ready instance. false: none is ready. A store that fails is reported through *status. */
bool lnt__engine_turn(lnt__engine *engine, lnt_status *status, lnt_error *err);
size_t lnt__engine_ready(const lnt__engine *engine);

/* Close the current batch and hand it over for commit; a new one begins. NULL: nothing to write. At most one sealed batch is on its way:
 * call
 * again only after lnt__engine_committed(). The batch stays the engine's memory. A failed commit is tried again with the same batch. */
const lnt__batch *lnt__engine_seal(lnt__engine *engine);
/* The sealed batch is durable: run its effects and its `done` callbacks. */
void lnt__engine_committed(lnt__engine *engine);
bool lnt__engine_dirty(const lnt__engine *engine); /* something waits to be sealed */

/* ---- Other code for instances that run ---- */

typedef enum lnt__trial_state {
  LNT__TRIAL_COMPATIBLE,  /* the code makes what is recorded */
  LNT__TRIAL_DIVERGES,    /* `divergence` says where, `message` all of it in a sentence */
  LNT__TRIAL_UNAVAILABLE, /* the code does not load or does not define the workflow: `message` */
  LNT__TRIAL_BUSY,        /* something of the instance is not durable yet: try again after the commit */
  LNT__TRIAL_OVER         /* the instance is finished or gone */
} lnt__trial_state;

typedef struct lnt__trial {
  lnt__trial_state state;
  uint64_t events; /* of the history that was replayed */
  uint32_t records; /* number of its next record: as long as it stays, the answer does */
  lnt_run_status status;
  uint8_t hash[LNT__SHA256_BYTES]; /* the code it is on */
  char id[LNT_ID_BYTES_MAX + 1];
  char workflow[LNT_NAME_BYTES_MAX + 1];
  char message[LNT_ERROR_MESSAGE_MAX];
  lnt__divergence divergence;
  bool has_reached; /* COMPATIBLE: it ran something that differs in the two codes, or nothing does. false: it says nothing of the change */
  lnt_value patches; /* COMPATIBLE: what is_patched() answered, for each a varint size, the name, a byte; until the next trial */
} lnt__trial;

/* What a body came to that was replayed to the end of what is recorded. */
typedef struct lnt__ending {
  lnt__body_state state; /* WAITING: it waits; UNAVAILABLE, REFUSED: it did not come so far */
  lnt__buf value;        /* its output, its failure, or the input of the next generation; the caller's */
} lnt__ending;

/* As lnt__engine_try, of a run that may be finished: then it must end as it did. `hash` NULL: the code it is on. */
lnt_status lnt__engine_replay(lnt__engine *engine, uint64_t run, const uint8_t *hash, lnt__trial *out, lnt__ending *ending, lnt_error *err);

/* Replay the durable history of `run` against other code, in scratch: nothing of the instance changes. Between turns only. */
lnt_status lnt__engine_try(lnt__engine *engine, uint64_t run, const uint8_t *hash, lnt__trial *out, lnt_error *err);

/* The same in steps, each bounded by LNT__HISTORY_STEP_EVENTS or by LNT__TRIAL_STEP_EVENTS events that are fed to the body; turns may run
 * between them. `out` says how it is when *more is false, and must stay where it is until then. One is under way at a time in each
 * lnt__try, which keeps its memory; it must go before the engine. */
enum { LNT__TRIAL_STEP_EVENTS = 250, LNT__TRIAL_STEPS_SHORT = 8 };
typedef struct lnt__try lnt__try;
lnt__try *lnt__try_create(lnt__engine *engine); /* NULL: out of memory */
void lnt__try_destroy(lnt__try *t);             /* NULL accepted */
lnt_status lnt__try_begin(lnt__try *t, uint64_t run, const uint8_t *hash, lnt__trial *out, lnt_error *err);
lnt_status lnt__try_step(lnt__try *t, bool *more, lnt_error *err);

/* Let `run` go on with other code, from its next turn. The move is journaled. LNT_EAGAIN: something of it is not durable yet. */
lnt_status lnt__engine_move(lnt__engine *engine, uint64_t run, const uint8_t *hash, lnt_error *err);

void lnt__engine_observe(lnt__engine *engine, bool on);
void lnt__engine_watch(lnt__engine *engine, bool on);
bool lnt__engine_knows(const lnt__engine *engine, const char *id); /* it is in memory, durable or not */
void lnt__engine_evict_all(lnt__engine *engine);      /* bodies of clean instances now, of others after their commit */
/* Code of this workflow changed or became available: let stalled instances try again. NULL: all. */
void lnt__engine_retry_stalled(lnt__engine *engine, const char *workflow);
void lnt__engine_stats(const lnt__engine *engine, lnt_stats *stats); /* fills the fields it knows */

#endif
