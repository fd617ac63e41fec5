/* internal.h - what the files of the engine share. instance.c keeps instances and their commands, turn.c runs bodies and checks replays,
 * manage.c suspends and resumes, accept.c turns requests into events, activity.c the answers of activities, unawaited.c says why one does
 * not count, ask.c answers queries and updates, timer.c knows what is due, commit.c builds batches and runs their effects. */
#ifndef LNT__ENGINE_INTERNAL_H
#define LNT__ENGINE_INTERNAL_H

#include "base/map.h"
#include "engine/engine.h"
#include "engine/policy.h"
#include "journal/keys.h"

typedef enum lnt__cmd_state {
  LNT__CMD_GONE,       /* delivered or canceled; the slot waits for compaction */
  LNT__CMD_WAITING,    /* a timer or a wait */
  LNT__CMD_FIRED,      /* its TIMER_FIRED is in the inbox */
  LNT__CMD_PAST,       /* an activity whose answer stands in the history that is being replayed */
  LNT__CMD_QUEUED,     /* an attempt that may run once batch `batch` is durable */
  LNT__CMD_DELAYED,    /* an attempt that waits in the heap for due_us */
  LNT__CMD_DISPATCHED, /* the driver has the token */
  LNT__CMD_BEGUN,      /* the attempt runs */
  LNT__CMD_DEFERRED,   /* it will be answered from outside, by whoever holds its token */
  LNT__CMD_ANSWERED    /* its answer is in the inbox */
} lnt__cmd_state;

/* A command that was made with options. */
typedef struct lnt__plan {
  lnt__policy policy;
  int64_t due_us[LNT__TIMEOUTS]; /* when each timeout of the attempt strikes; INT64_MAX: it does not run */
  int64_t armed_us;              /* time of its entry in the heap; INT64_MAX: none */
} lnt__plan;

/* What an attempt said last of how far it is. */
typedef struct lnt__beat {
  uint32_t size;
  bool fresh;  /* not in a batch yet */
  bool stored; /* it has a row in table HEARTBEAT */
  uint8_t bytes[];
} lnt__beat;

typedef struct lnt__cmd {
  uint32_t seq;
  uint32_t attempt;
  uint8_t kind; /* lnt_event_kind */
  uint8_t state;
  bool timer_new;     /* its TIMER row is not in a batch yet */
  bool timer_durable; /* its TIMER row is in a batch or in the store */
  bool pure;          /* its attempts need not wait until they are durable */
  uint64_t batch;
  int64_t due_us;  /* timer, wait; an attempt: not before; a deferred one: its timeout */
  lnt__plan *plan; /* NULL: no options. Start of the block, if there is one */
  char *memory;    /* name, NUL, input, options, id, NUL: one block with the plan, owned */
  lnt__beat *beat; /* owned, or NULL */
  uint32_t name_size, input_size, options_size, id_size; /* id: of a child's first attempt */
} lnt__cmd;

/* An event nobody waited for: name, value; `order` among all that came. */
typedef struct lnt__buffered { char *memory; uint32_t name_size, value_size, order; } lnt__buffered;

typedef enum lnt__refusal { LNT__REFUSAL_NONE, LNT__REFUSAL_DIVERGED, LNT__REFUSAL_LIMIT } lnt__refusal;

/* What a body knows of its history: what it was told and what it asked for. A replay counts the same; retries and turns are not in it. */
enum { LNT__SEEN_BYTES = 12 }; /* of an event, beside its slices */
typedef struct lnt__seen { uint64_t events, bytes; bool advised; } lnt__seen; /* advised: to continue as new */
typedef struct lnt__ask lnt__ask;
typedef struct lnt__asked lnt__asked; /* ask.c: requests that wait at an instance */
typedef struct lnt__raise_keys lnt__raise_keys; /* raise_keys.c */
typedef struct lnt__rehearsal lnt__rehearsal; /* rehearse.c */

/* The vectors that grow with LNT__PUSH(). */
#define LNT__VECTOR(type) struct { type *items; size_t count, capacity; }

typedef struct lnt__replaced { uint32_t seq; void *data; size_t size; } lnt__replaced; /* the input of a command that was rerun */

/* An instance in memory. It stays while it has a body, undelivered events, unanswered activities, records on their way, or is stalled. */
struct lnt__turn {
  lnt__engine *engine;
  uint64_t run;
  char *id, *workflow; /* of the same block */
  uint8_t hash[LNT__SHA256_BYTES];
  lnt_run_status status;
  int64_t created_us, updated_us, closed_us;
  uint64_t generation;
  uint64_t seed;       /* of its random numbers; known once it is loaded */
  uint64_t parent_run; /* 0: nobody waits for it */
  uint32_t parent_seq;
  void *custom_status, *failure, *attributes; /* values, owned */
  size_t custom_status_size, failure_size, attributes_size;
  uint8_t row_changed; /* bits (1 << LNT__ROW_x): others than the store has */
  uint8_t row_apart;   /* in the store they stand apart from the row */
  void *attributes_indexed; /* those that the index still has, once others were set */
  size_t attributes_indexed_size;
  bool attributes_changed;
  uint8_t indexed;    /* 0: the index has no rows of it; else 1 + the status it has there */
  bool new_era;       /* it is the first one made after the clock was set back */
  uint64_t older_run; /* a new one took its id from this run; 0: from none */
  bool forming;       /* a copy of another run that is not durable yet */
  bool purging;       /* the open batch or the one on its way takes it out of the store */
  bool purge_id;      /* and its id with it */
  LNT__VECTOR(lnt__replaced) replaced;
  lnt__step_keys keys; /* known once it is loaded */
  bool sleeping;      /* its time to start has not come; known once it is loaded */
  int64_t start_us;   /* when it is `sleeping` */

  uint32_t next_record;
  uint64_t history_events, history_bytes;
  int64_t last_us; /* of the last event written: time never goes back within an instance */
  int64_t now_us;  /* of the last event delivered */
  lnt__record record; /* events for the open batch */
  lnt__buf inbox;  /* events accepted and not consumed by a finished turn */
  int64_t inbox_last_us, inbox_read_us;
  size_t inbox_at;
  uint32_t inbox_count;

  lnt__cmd *cmds; /* sorted by seq */
  size_t cmd_count, cmd_capacity, cmd_gone;
  uint32_t next_seq;           /* number of the body's next command */
  uint32_t recorded;           /* while it is rebuilt: commands that its history has. Those of a turn that stalled midway have no TURN */
  uint32_t pending_activities; /* QUEUED .. BEGUN, and deferred ones that must give signs of life */
  uint32_t queued, new_timers, fresh_beats;
  lnt__buffered *buffered;
  size_t buffered_count, buffered_capacity;
  uint32_t raised;     /* external events that the body has been fed */
  uint32_t updates_answered; /* by the body that runs */
  uint32_t asks_run;   /* queries and validators that ran on its body since it was made */
  lnt__asked *asked;   /* NULL: nobody ever asked; owned */
  lnt__raise_keys *raise_keys; /* NULL: nobody raised with a key since it is in memory; owned */

  lnt__seen seen;
  lnt__buf patches; /* is_patched() answered so far: for each a varint size, the name, a byte */
  void *body;
  lnt__refusal refusal;
  bool rebuilt;        /* the history scratch of the engine is this instance's */
  bool replaying;      /* so it is, and what it has up to its last TURN is being fed */
  bool rehearsing;     /* a copy whose new commands are noted, and done to nobody (rehearse.c) */
  bool loaded;         /* the history was folded: next_record and activities are known */
  bool timed;          /* last_us is that of its history, though it is not loaded */
  bool warned;         /* that its history is large */
  bool has_turns;      /* the store holds finished turns: a body must be rebuilt from them */
  bool in_steps;       /* a trial: its replay rests after `events_left` events more */
  uint32_t events_left;
  void *trace;         /* a trial: of what its body runs; the VM's */
  bool retry;          /* it shall try again when `stall_batch` is durable */
  bool tries;          /* if STALLED, it is ready to try again; else only to be asked */
  uint8_t active_durable; /* lnt__active: the row that the store has, or that is on its way there */
  bool ready, dirty, row_dirty, is_new, evict;
  bool weigh;          /* its body seems to hold too much: how much, is told when it is evicted */
  size_t overweight;   /* bytes that it held, and that are too many; 0: not known to be */
  uint32_t pins;       /* batches on their way that name it */
  uint64_t last_batch; /* newest batch with records of it */
  uint64_t stall_batch; /* that has what it did until it stalled: its history is complete only then */
  struct lnt__turn *ready_next, *lru_prev, *lru_next;
};

typedef enum lnt__active { LNT__ACTIVE_NOT, LNT__ACTIVE_YES, LNT__ACTIVE_FULL } lnt__active;

typedef struct lnt__done { lnt_done_fn fn; void *user; } lnt__done;
typedef struct lnt__answer { lnt_answer_fn fn; void *user; lnt_status status; void *data; size_t size; } lnt__answer;
typedef struct lnt__settled { char *id; lnt_run_status status; } lnt__settled;
typedef struct lnt__abandoned { lnt_token token; lnt_cancel_reason why; char *name; } lnt__abandoned; /* name: of a deferred one, owned */
typedef struct lnt__observed { char *id; lnt_run_status status; uint64_t first_index; lnt__record record; } lnt__observed;

#define LNT__PUSH(engine, vector, item)                                                                                                    \
  ((vector).count < (vector).capacity ||                                                                                                   \
           lnt__grow((void **)&(vector).items, &(vector).capacity, (vector).count + 1, sizeof(*(vector).items))                            \
       ? (void)((vector).items[(vector).count++] = (item))                                                                                 \
       : lnt__poison(engine))

typedef LNT__VECTOR(lnt__answer) lnt__answers;

/* Everything that lands together, and what may happen after it. */
typedef struct lnt__commit {
  lnt__batch *batch;
  uint64_t number;
  size_t extra; /* records put by lnt__engine_put */
  LNT__VECTOR(lnt__turn *) turns;
  LNT__VECTOR(lnt__done) dones;
  lnt__answers answers;
  LNT__VECTOR(lnt__settled) settled;
  LNT__VECTOR(lnt__observed) observed;
  LNT__VECTOR(lnt__abandoned) abandoned;
  LNT__VECTOR(lnt__due) far_timers; /* due beyond the heap's horizon when they were made */
  LNT__VECTOR(lnt__due) timer_deletes, beat_deletes;
} lnt__commit;

typedef struct lnt__garbage { uint64_t run, batch; } lnt__garbage; /* purged by that batch; its history is still there */

typedef struct lnt__turn_mark { size_t inbox; uint32_t commands, answers; } lnt__turn_mark;

/* The history being replayed: one at a time, memory reused. */
typedef struct lnt__replay {
  lnt__history history;
  LNT__VECTOR(uint32_t) inbox;    /* indices of inbox events, up to the last TURN */
  LNT__VECTOR(uint32_t) commands; /* index of the event of command seq: commands.items[seq - 1] */
  LNT__VECTOR(lnt__turn_mark) turns;
  LNT__VECTOR(uint32_t) rejected; /* indices of UPDATE_REJECTED, in the order of the requests that they answer */
  size_t inbox_at, turn_at, rejected_at;
  uint32_t copied; /* commands before the last FORKED */
  uint32_t answers; /* to updates */
  size_t indexed;  /* events that are laid out in the vectors */
  size_t half; /* index of the first event after the last TURN: what was accepted since, and what half a turn did before it stalled */
} lnt__replay;

enum { LNT__DUE_TIMER, LNT__DUE_RETRY, LNT__DUE_TIMEOUT, LNT__DUE_DEFERRED };

struct lnt__engine {
  lnt__store *store;
  lnt__vm vm;
  lnt__effects effects;
  lnt_limits limits, *met;
  char *fingerprint;
  lnt__rng rng;
  int64_t now_us;
  bool went_back;   /* the clock did, since the store was opened */
  int64_t last_created_us; /* of the newest instance */
  uint64_t next_run, first_run; /* first_run: of those made since the store was opened */
  lnt__u64map by_run;
  lnt__u64map full; /* runs that may get no more events, also while they are not in memory */
  lnt__strmap by_id;
  lnt__turn *ready_head, *ready_tail;
  size_t ready_count;
  lnt__turn *lru_head, *lru_tail; /* head: used last */
  size_t resident;
  LNT__VECTOR(uint64_t) recover;  /* runs to take up */
  size_t recover_at;
  LNT__VECTOR(lnt__garbage) garbage;
  size_t garbage_at;
  bool sweep_failed;
  lnt__heap heap;
  int64_t horizon_us; /* TIMER rows due before this are in the heap */
  int64_t far_us;     /* no row after it is due before this; INT64_MAX: there is none */
  lnt__commit commits[2];
  int open;          /* index of the commit that accepts */
  bool sealed;       /* the other one is on its way */
  uint64_t committed; /* number of the newest durable batch */
  lnt__replay replay;
  lnt__history aside; /* of an instance that is loaded while another one's body runs */
  uint32_t *ends;     /* of a history that is folded: by command, the number of the event that ended it; 0: none did */
  size_t ends_capacity;
  lnt__outcome outcome;
  lnt__buf scratch;
  lnt__turn *current; /* whose body runs */
  lnt__buf late;      /* what it accepted for itself meanwhile: goes into its inbox when the body waits again */
  int64_t late_last_us;
  char *answer_hold; /* memory of the value last answered in place */
  lnt__buf instant;  /* the answer of the instant command under way */
  char refusal[LNT_ERROR_MESSAGE_MAX];
  lnt__divergence divergence; /* what the refusal is about, when it is a divergence */
  lnt__buf trace;             /* of the call that diverged, for people */
  uint32_t probe_seq;         /* a trial wants to know where this command is made; 0: none */
  lnt__rehearsal *rehearsal;  /* paranoid; else NULL */
  bool has_beats; /* there may be rows in table HEARTBEAT */
  lnt__answers answers; /* that depend on nothing which is not durable */
  bool observing, watching;
  bool poisoned;
  uint64_t moves; /* of instances to other code */
  lnt_stats stats;
};

/* Memory ran out where an event could not be kept: nothing more is run or written. What is on disk stays right; the host reopens. */
void lnt__poison(lnt__engine *engine);

/* instance.c */
lnt__turn *lnt__instance_create(lnt__engine *engine, uint64_t run, const char *id, size_t id_size, const char *workflow,
                                size_t workflow_size, const uint8_t *hash, bool is_newest); /* is_newest: its id leads to it */
lnt__turn *lnt__instance_by_run(lnt__engine *engine, uint64_t run, lnt_status *status, lnt_error *err); /* loads the row; NULL: *status */
lnt__turn *lnt__instance_by_id(lnt__engine *engine, const char *id, lnt_status *status, lnt_error *err);
lnt_status lnt__instance_load(lnt__turn *turn, lnt_error *err); /* fold the history once; leaves its outline in the replay scratch */
void lnt__instance_release(lnt__turn *turn);                    /* free it if nothing holds it */
void lnt__instance_free(lnt__turn *turn);
void lnt__instance_drop_body(lnt__turn *turn);
void lnt__instance_evict(lnt__turn *turn);   /* drop the body of an instance that goes on later */
void lnt__instance_touch(lnt__turn *turn);   /* it was used: head of the LRU */
void lnt__instance_evict_over(lnt__engine *engine);
bool lnt__instance_clean(const lnt__turn *turn);
bool lnt__instance_idle(const lnt__turn *turn);
bool lnt__status_closed(lnt_run_status status);
bool lnt__instance_closed(const lnt__turn *turn);
bool lnt__instance_full(const lnt__turn *turn); /* buffered_events_max, of events that are in a batch */
/* It only gathers: no turn runs and no attempt begins. */
static inline bool lnt__instance_held(const lnt__turn *turn) {
  return turn->status == LNT_RUN_SUSPENDED || turn->sleeping || turn->forming;
}
void lnt__ready_push(lnt__turn *turn);  /* it has events; a stalled or held instance only gathers them */
void lnt__ready_retry(lnt__turn *turn); /* also when it is stalled */
void lnt__ready_asked(lnt__turn *turn); /* whatever its status: it is to answer */
lnt__turn *lnt__ready_pop(lnt__engine *engine);
lnt__cmd *lnt__cmd_find(lnt__turn *turn, uint32_t seq);
lnt__cmd *lnt__cmd_add(lnt__turn *turn, uint32_t seq, lnt_event_kind kind, lnt_value name, lnt_value input, lnt_value options);
lnt__cmd *lnt__cmd_add_child(lnt__turn *turn, uint32_t seq, lnt_value name, lnt_value input, lnt_value options, lnt_value id);
void lnt__cmd_remove(lnt__turn *turn, lnt__cmd *cmd); /* activity counters included */
void lnt__cmd_set_state(lnt__turn *turn, lnt__cmd *cmd, lnt__cmd_state state);
void lnt__cmds_clear(lnt__turn *turn, bool keep); /* keep: activities and children that are not over */
static inline lnt_value lnt__cmd_name(const lnt__cmd *cmd) { return (lnt_value){cmd->memory, cmd->name_size}; }
static inline lnt_value lnt__cmd_input(const lnt__cmd *cmd) { return (lnt_value){cmd->memory + cmd->name_size + 1, cmd->input_size}; }
static inline lnt_value lnt__cmd_options(const lnt__cmd *cmd) {
  return (lnt_value){cmd->memory + cmd->name_size + 1 + cmd->input_size, cmd->options_size};
}
static inline const char *lnt__cmd_id(const lnt__cmd *cmd) {
  return cmd->memory + cmd->name_size + 1 + cmd->input_size + cmd->options_size;
}
bool lnt__name_equal(lnt_value a, lnt_value b); /* without regard to ASCII case */
static inline bool lnt__same_bytes(lnt_value a, lnt_value b) {
  return a.size == b.size && (!a.size || memcmp(a.data, b.data, a.size) == 0);
}

/* turn.c, command.c, replay.c */
bool lnt__next_event(lnt__turn *turn, lnt__event *event); /* false: none left, or the replay diverged (turn->refusal) */
static inline void lnt__see(lnt__turn *turn, const lnt__event *event) {
  turn->seen.events++;
  turn->seen.bytes += LNT__SEEN_BYTES + event->name.size + event->value.size + event->options.size + event->id.size;
}
lnt_status lnt__replay_begin(lnt__turn *turn, lnt_error *err);
/* A copy stands in no map and writes nothing; what it runs is replayed in scratch. It borrows id and workflow of `turn`. */
void lnt__copy_init(lnt__turn *copy, const lnt__turn *turn);
void lnt__copy_finish(lnt__turn *copy);
/* Of all that `turn` has, durable or not; what waits in its inbox is the copy's too. */
lnt_status lnt__replay_whole_begin(lnt__turn *copy, const lnt__turn *turn, lnt_error *err);
void lnt__replay_finish(lnt__replay *replay);
void lnt__replay_index_begin(lnt__replay *replay);
bool lnt__replay_index(lnt__turn *turn, size_t events_max); /* of the history in scratch; true: all of it is laid out */
void lnt__replay_mark_end(lnt__engine *engine); /* once all is laid out, of a run that may be closed */
void lnt__replay_rewind(lnt__replay *replay);
void lnt__replay_copy_ready(lnt__turn *copy); /* the history in scratch, laid out, is to be replayed from its beginning */
static inline bool lnt__replay_rests(const lnt__turn *turn) { return turn->in_steps && turn->events_left == 0; }
lnt_status lnt__replay_copy_begin(lnt__turn *copy, lnt_error *err); /* of a run that may be closed; copy->replaying: there is something */
bool lnt__history_ends_by_itself(const lnt__history *history);       /* its body returned, raised or continued as new */
void lnt__turn_replay_copy(lnt__turn *copy);                        /* to the end of what was recorded; nothing is written */
void lnt__outcome_reset(lnt__outcome *outcome);
const lnt__event *lnt__replay_command(const lnt__turn *turn, uint32_t seq); /* NULL: none recorded */
const lnt__event *lnt__replay_peek(lnt__turn *turn);                 /* the next inbox event of the replayed history, or NULL */
bool lnt__replay_rejected(lnt__turn *turn, lnt_value id); /* was the UPDATE_REQUESTED that is fed now rejected, when it was fed before? */
void lnt__refuse(lnt__turn *turn, lnt__refusal refusal, const char *format, ...) LNT__PRINTF(3, 4);
void lnt__refuse_short(lnt__turn *turn); /* unless the body made all commands of its history */
/* An event that the body made in the half of this turn that ran before it stalled; NULL: not there. */
const lnt__event *lnt__half_event(const lnt__turn *turn, lnt_event_kind kind, uint32_t seq, lnt_value id);
/* Is the body's next command in its history? */
static inline bool lnt__in_history(const lnt__turn *turn) { return turn->replaying || turn->next_seq <= turn->recorded; }
/* Begin to tell a divergence at command `seq`; recorded: its event, or NULL. Then lnt__refuse(). */
lnt__divergence *lnt__diverged(lnt__turn *turn, const lnt__event *recorded, uint32_t seq);
void lnt__divergence_values(lnt__divergence *d, lnt_value recorded, lnt_value made, const char *what); /* how they differ */
void lnt__divergence_place(lnt__turn *turn, bool called); /* where the code stands; called: a function of ctx is under way */
void lnt__refuse_early_end(lnt__turn *turn);
void lnt__pass_patches(lnt__turn *turn);
void lnt__turn_feed(lnt__turn *turn, const lnt__event *event); /* one event to the body, by its kind */
/* A command as its author would write it: call_activity('plan', {...}). */
void lnt__command_text(lnt_event_kind kind, lnt_value name, lnt_value input, lnt_value id, char *out, size_t size);
lnt__cmd *lnt__waiter_for(lnt__turn *turn, lnt_value name);
void lnt__buffer_event(lnt__turn *turn, lnt_value name, lnt_value value, uint32_t order);
void lnt__turn_execute(lnt__turn *turn);
void lnt__turn_close(lnt__turn *turn, lnt_run_status status, lnt_event_kind kind, lnt_value value, lnt_value detail);

/* trial.c: where code `hash` makes command `seq` of the history of `turn`; it loses engine->divergence */
lnt_status lnt__find_line(const lnt__turn *turn, const uint8_t *hash, uint32_t seq, char *out, size_t size, lnt_error *err);

/* diagnose.c: append what there is to say of the divergence just met (engine->divergence), a map */
void lnt__diagnose(lnt__turn *turn, lnt__buf *out);

/* rehearse.c: paranoid mode */
bool lnt__rehearsal_create(lnt__engine *engine, const lnt__vm *vm); /* false: out of memory */
void lnt__rehearsal_destroy(lnt__rehearsal *rehearsal);             /* NULL accepted */
/* Before the turn: run a copy over what waits. turn->refusal tells of one that parts from its own history. */
lnt_status lnt__rehearse(lnt__turn *turn, lnt_error *err);
void lnt__rehearsal_end(lnt__turn *turn);  /* the body waits or ended: has it done all that was noted, and nothing else? turn->refusal */
void lnt__rehearsal_void(lnt__turn *turn); /* the answer of others, or an event of its own, was not foreseen */
const lnt__event *lnt__rehearsed_effect(const lnt__turn *turn); /* the next thing noted is a side effect: take its value. NULL: it is not */
bool lnt__act_in_rehearsal(lnt__turn *turn, const lnt__event *act);
/* Something that a body does beyond its history: a copy notes it, a turn must do what is noted. false: it does something else
 * (turn->refusal). */
static inline bool lnt__act(lnt__turn *turn, const lnt__event *act) {
  return !turn->engine->rehearsal || lnt__act_in_rehearsal(turn, act);
}

/* What a new instance is made of. */
typedef struct lnt__origin {
  const char *id, *workflow;
  const uint8_t *hash;
  lnt_value input, attributes;
  uint64_t seed, generation, parent_run; /* parent_run 0: none */
  uint32_t parent_seq;
  int64_t start_at_us;  /* 0: at once */
  int64_t not_before_us; /* no event of it is earlier, whatever the clock says */
  uint64_t older_run;   /* that the id is taken from; 0: none */
} lnt__origin;

/* accept.c */
lnt_status lnt__accepting(const lnt__engine *engine, lnt_error *err); /* not LNT_OK once memory ran out */
/* An instance that a request may change. NULL: *status and *err say why not (missing, finished). */
lnt__turn *lnt__find_open(lnt__engine *engine, const char *id, lnt_status *status, lnt_error *err);
void lnt__push_done(lnt__engine *engine, lnt_done_fn fn, void *user); /* called when the open batch is durable */
lnt_status lnt__id_is_free(lnt__engine *engine, const char *id, lnt_error *err); /* LNT_EEXIST names it */
/* Accept a new instance into the open batch; its id must be free. Everything is copied. NULL: out of memory. */
lnt__turn *lnt__instance_begin(lnt__engine *engine, const lnt__origin *origin);
void lnt__emit(lnt__turn *turn, lnt__event *event);   /* into the record of the open batch; sets its time */
void lnt__accept(lnt__turn *turn, lnt__event *event); /* emit, and into the inbox; the instance becomes ready */
void lnt__inbox_append(lnt__turn *turn, const lnt__event *event);
void lnt__inbox_take_late(lnt__turn *turn); /* what the body that runs accepted for itself */
void lnt__mark_dirty(lnt__turn *turn);

/* activity.c */
void lnt__plan_start(lnt__cmd *cmd, int64_t scheduled_us);  /* a command that was scheduled at this time; without options nothing */
void lnt__attempt_queue(lnt__turn *turn, lnt__cmd *cmd);    /* it may run when it is due and durable, or at once if it is pure */
void lnt__plan_resume(lnt__turn *turn, lnt__cmd *cmd);      /* loaded, or let go on: it may wait for its start anew */
void lnt__attempt_due(lnt__turn *turn, lnt__cmd *cmd); /* its entry in the heap came due: has a timeout struck? */
void lnt__attempt_fold(lnt__turn *turn, lnt__cmd *cmd, const lnt__event *event); /* an event of it, read from the history */
lnt_status lnt__beats_read(lnt__turn *turn, lnt__buf *rows, lnt_error *err);     /* for lnt__attempts_resume, after the fold */
void lnt__attempts_resume(lnt__turn *turn, lnt__buf *rows);                      /* finishes `rows` */
void lnt__attempt_abandon(lnt__turn *turn, lnt__cmd *cmd, lnt_cancel_reason why); /* its answer is not wanted; of any command */
bool lnt__beats_put(lnt__turn *turn, lnt__commit *commit); /* the fresh ones into the batch; false: out of memory */
void lnt__beat_free(lnt__turn *turn, lnt__cmd *cmd);
static inline bool lnt__cmd_is_attempt(const lnt__cmd *cmd) { return cmd->state >= LNT__CMD_QUEUED && cmd->state <= LNT__CMD_DEFERRED; }

/* Put an external event into the inbox of an open instance, within its limits: LNT_ELIMIT. */
lnt_status lnt__accept_raised(lnt__turn *turn, lnt_value name, lnt_value data, const char *key, lnt_error *err); /* key: or NULL */
lnt_status lnt__accept_terminate(lnt__turn *turn, const char *reason, lnt_error *err); /* of an open instance */
lnt_status lnt__accept_cancel(lnt__turn *turn, const char *reason, lnt_error *err);    /* LNT_ELIMIT: its history is full */

/* raise_keys.c */
lnt_status lnt__raise_key_seen(lnt__turn *turn, const char *key, bool *seen, lnt_error *err); /* of an instance that may be finished */
bool lnt__raise_key_add(lnt__turn *turn, const char *key); /* after lnt__raise_key_seen(); false: out of memory */
void lnt__raise_keys_free(lnt__turn *turn);

/* child.c */
#define LNT__CHILD_SUFFIX_BYTES 40
void lnt__child_default_id(const lnt__turn *turn, uint32_t seq, char out[LNT_ID_BYTES_MAX + 1]); /* the caller sees to it that it fits */
lnt_value lnt__chosen_id(const lnt__turn *turn, const lnt__command *command, uint32_t seq, char out[LNT_ID_BYTES_MAX + 1]);
void lnt__child_start_again(lnt__turn *turn, lnt__cmd *cmd); /* of a copied history: under the id that `cmd` has now */
lnt__command_state lnt__child_command(lnt__turn *turn, const lnt__command *command, uint32_t seq);
/* Do it, and complete *event with what came of it. */
void lnt__detached_command(lnt__turn *turn, const lnt__command *command, lnt__event *event, char id[LNT_ID_BYTES_MAX + 1]);
void lnt__sent_command(lnt__turn *turn, const lnt__command *command, lnt__event *event);
void lnt__child_ended(lnt__turn *child, lnt_value value); /* it is closed: tell its parent */
/* Nobody waits for the child of `cmd` any more: stop it, unless it was started to outlive its parent. Live commands only. */
void lnt__child_let_go(lnt__turn *turn, const lnt__cmd *cmd, const char *why);
void lnt__child_timed_out(lnt__turn *turn, lnt__cmd *cmd, lnt__buf *failure); /* lets it go too, unless this is replayed */

/* generation.c */
/* The body ended to go on with `input`. raised: external events that it has not taken go over too. */
void lnt__continue_as_new(lnt__turn *turn, lnt_value input, bool raised);

/* ask.c */
void lnt__asks_answer(lnt__turn *turn); /* at its turn, when its inbox was consumed */
bool lnt__asks_wait(const lnt__turn *turn);
bool lnt__is_asked(const lnt__turn *turn); /* somebody waits for an answer */
void lnt__asks_carry(lnt__turn *to, lnt__turn *from);
void lnt__asks_finish(lnt__turn *turn);
void lnt__update_fold(lnt__turn *turn, const lnt__event *event);
void lnt__updates_hold(lnt__turn *turn); /* it only gathers from now on, or does already: updates that wait go into its inbox */
bool lnt__update_admitted(lnt__turn *turn, const lnt__event *event); /* an UPDATE_REQUESTED is fed: is its handler to run? */
void lnt__update_carry(lnt__turn *to, lnt__turn *from, lnt_value id); /* the request was carried: so is who waits for it */
void lnt__updates_abandon(lnt__turn *turn);
/* A copy of an instance for looking at, as its durable history makes it; its memory is the caller's. End it in any case. */
lnt_status lnt__copy_rebuild(lnt__turn *copy, const lnt__turn *turn, lnt_error *err);
void lnt__answers_tell(lnt__answers *answers, lnt_status status); /* status not LNT_OK: that instead of each answer */

/* timer.c */
void lnt__start_arm(lnt__turn *turn);    /* a new instance that is `sleeping` */
void lnt__start_disarm(lnt__turn *turn); /* it will not start */
static inline void lnt__far_expect(lnt__engine *engine, int64_t due_us) { /* a row beyond the horizon */
  if (due_us < engine->far_us) engine->far_us = due_us;
}
void lnt__timer_arm(lnt__turn *turn, lnt__cmd *cmd);    /* a new timer or wait with due_us */
void lnt__timer_disarm(lnt__turn *turn, lnt__cmd *cmd); /* its row is no longer wanted */
void lnt__timer_watch(lnt__turn *turn, const lnt__cmd *cmd); /* its row stands, or is on its way: wake for it */
bool lnt__timer_put(lnt__turn *turn, lnt__cmd *cmd, lnt__batch *batch); /* its TIMER row, new until now; false: no memory */
void lnt__timers_keep(lnt__turn *turn); /* the body is given up in the middle of a turn: put the rows of its new timers now */
lnt_status lnt__timers_forget(lnt__turn *turn, lnt_error *err); /* all rows of an instance that closes without its body */
void lnt__retry_later(lnt__turn *turn, lnt__cmd *cmd);
void lnt__timeouts_arm(lnt__turn *turn, lnt__cmd *cmd); /* an activity with timeouts: wake for the next of them */

/* manage.c */
lnt_status lnt__terminate_now(lnt__turn *turn, const char *reason, lnt_error *err); /* an open instance, without a turn */

/* family.c: runs that belong together. Zero-initialised with its engine; whoever walks `runs` may add to it. */
enum { LNT__FAMILY_RUNS_MAX = 100000 };
typedef struct lnt__family {
  lnt__engine *engine;
  LNT__VECTOR(uint64_t) runs;
} lnt__family;
void lnt__family_add(lnt__family *f, uint64_t run);
lnt_status lnt__family_add_children(lnt__family *f, uint64_t run, lnt_error *err); /* of this run, not theirs */
lnt_status lnt__family_add_older(lnt__family *f, const lnt__turn *newest, lnt_error *err); /* runs that had its id before */
void lnt__family_finish(lnt__family *f);

/* fork.c */
void lnt__fork_formed(lnt__turn *turn);    /* its first batch is durable: from here on it is like any run that was found in the store */
void lnt__fork_take_over(lnt__turn *turn); /* a live body is behind the copied part of its history */
void lnt__fork_scan(lnt__turn *turn, const lnt__history *history); /* what `keys` and `replaced` say */
void lnt__fork_forget(lnt__turn *turn);
lnt_value lnt__replaced_input(const lnt__turn *turn, uint32_t seq, lnt_value input); /* what a rerun gives the command instead */

/* purge.c */
bool lnt__instance_unwrite(lnt__turn *turn, lnt__batch *batch, uint64_t number); /* instead of writing it; false: the batch failed */
bool lnt__sweep_ready(const lnt__engine *engine);
void lnt__sweep(lnt__engine *engine); /* a slice of what was purged, into the open batch */
void lnt__sweep_later(lnt__engine *engine, uint64_t run); /* a run in ACTIVE that has no row */

/* index.c */
void lnt__instance_set_attributes(lnt__turn *turn, lnt_value attributes); /* copied; the caller marks it dirty */
bool lnt__instance_index(lnt__turn *turn, lnt__batch *batch); /* put what changed since the last batch; false: the batch failed */

/* commit.c */
static inline lnt__commit *lnt__open_commit(lnt__engine *engine) { return &engine->commits[engine->open]; }
void lnt__commit_finish(lnt__commit *commit, lnt_status status); /* `done` callbacks with `status`, memory */
void lnt__dispatch_queued(lnt__turn *turn);
#endif
