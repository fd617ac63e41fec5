/* runtime.h - the inside of lnt_runtime: what the files of driver/ share and api/ calls. Owner thread, unless a function says otherwise.
 *
 * runtime.c opens and closes, mailbox.c takes answers and log lines from other threads, committer.c brings batches to the store,
 * dispatch.c starts activities, lane.c keeps their limits, code.c loads files, reload.c tries other code on those who run, versions.c knows
 * which code there is, interfaces.c what activities show, collect.c takes out what nobody needs, portable.c takes instances out and in,
 * watch.c watches folders, stream.c reads and follows streams, view.c turns events into their public form, tick.c puts them in order. */
#ifndef LNT__RUNTIME_H
#define LNT__RUNTIME_H

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/clock.h"
#include "base/map.h"
#include "driver/worker.h"
#include "journal/archive.h"
#include "engine/engine.h"
#include "vm/vm.h"

typedef struct lnt__committer lnt__committer;

/* A queue of packed entries: one block, no allocation per entry. */
typedef struct lnt__queue { lnt__buf bytes; size_t count; } lnt__queue;

/* The newest sign of life of each attempt that gave one. */
typedef struct lnt__beats {
  struct lnt__posted_beat { lnt_token token; void *details; size_t size; } *items;
  size_t count, capacity;
  lnt__u64map places; /* key of a token -> its place, from 1 */
} lnt__beats;

/* Attempts whose answer is not wanted any more: the last LNT_CANCELED_MAX. */
typedef struct lnt__canceled { lnt__u64map keys; uint64_t *ring; size_t head, count; } lnt__canceled;

/* What other threads put down for the owner thread. */
typedef struct lnt__mailbox {
  uv_mutex_t mutex;
  lnt__queue answers, logs; /* under the mutex, as are the next two */
  lnt__beats beats;
  lnt__canceled canceled;
  atomic_size_t waiting;    /* answers, logs and beats; lets the owner look without the mutex */
  lnt__queue local;         /* answers given on the owner thread: no mutex */
  lnt__queue spare;         /* swapped with the queue being drained */
} lnt__mailbox;

typedef struct lnt__tokens { lnt_token *items; size_t head, count, capacity; } lnt__tokens; /* a ring */

/* The batch on its way, and how it fares. */
typedef struct lnt__way {
  const lnt__batch *batch; /* NULL: none */
  bool flying;             /* with the committer thread */
  bool full;               /* the last attempt found no room */
  char why[LNT_ERROR_MESSAGE_MAX]; /* while full: what the store says */
  uint64_t retry_ns;       /* monotonic time of the next attempt while full */
  uint64_t commits, records, bytes, failures;
} lnt__way;

/* Who runs a begun attempt whose answer is awaited. */
typedef enum lnt__runner { LNT__RUNNER_C, LNT__RUNNER_AVM, LNT__RUNNER_WORKER, LNT__RUNNERS } lnt__runner;
typedef struct lnt__mark { lnt__runner runner; struct lnt__lane *lane; } lnt__mark; /* lane NULL: no limits */

/* Attempts of one activity with limits; see lane.c. */
typedef struct lnt__lane {
  char *name;
  lnt__tokens waiting; /* for the limits, in the order in which they came */
  uint32_t running;
  int64_t *starts;     /* a ring: times of the starts within the last period of the rate */
  size_t start_head, start_count, start_capacity;
  lnt__mark marks[LNT__RUNNERS];
  struct lnt__lane *next;
} lnt__lane;

/* A round of collecting code; see collect.c. */
typedef struct lnt__version_mark { uint8_t hash[LNT__SHA256_BYTES]; bool is_needed; } lnt__version_mark;
typedef struct lnt__collect {
  lnt__version_mark *marks; /* versions in the store */
  size_t count, capacity, left; /* left: not seen to be needed */
  lnt__u64map by_hash;
  bool is_due, is_running, failed;
  uint64_t cursor;          /* the next run to read */
  uint32_t rows;            /* of this slice */
  uint64_t moves;           /* of instances, when the round began */
  uint64_t switches, changes; /* switches of code; all that let go of code, as seen last */
  bool waits;               /* for so many commits: then what changed is durable */
  uint64_t commits;
  uint64_t began_ns, rest_until_ns;
  uint64_t collected;       /* versions, ever */
} lnt__collect;

struct lnt_runtime {
  lnt_options options; /* strings are copies */
  lnt_limits met;      /* counters (LNT__MET) */
  pthread_t owner;
  uint32_t driving;    /* a driving function is on the stack: another one would be misuse */
  bool unhurried;      /* the tick has no budget of the host's: its time is looked at with the coarse clock, which costs a fifth */
  bool evict;          /* lnt_evict_all() was asked for from a callback */
  bool closing;
  atomic_bool stop;
  int64_t now_us;

  lnt__store *store;
  lnt__wvm *wvm;
  lnt__wvm *rehearsal; /* paranoid: where each turn runs first; else NULL */
  lnt__avm *avm;
  lnt__workers *workers; /* NULL: none */
  lnt__engine *engine;
  lnt__committer *committer; /* NULL: commits are made inline */
  lnt__way way;

  uv_loop_t loop;
  uv_async_t async;
  uv_timer_t timer;
  bool loop_open, handles_open, mailbox_open;
  uint32_t unpolled; /* passes since the loop was looked at */
  bool garbage;      /* turns ran since the workflow VM was given time to collect */

  lnt__mailbox mailbox;
  lnt__tokens dispatch;  /* attempts that may begin */
  lnt__u64map running;   /* key of a token -> its lnt__mark: begun and not answered */
  uint32_t on_workers;   /* of these, those that worker threads run */
  lnt__strmap lanes;     /* name -> lane */
  lnt__lane *lane_list, *lane_turn;
  size_t lanes_waiting;  /* attempts in all lanes */
  bool has_lanes;        /* an activity in C needs one */
  bool has_pure;         /* an activity in C is pure */
  bool go_on;            /* attempts came to be dispatched since the round of the pass began */
  lnt_token current;     /* the attempt whose function runs now on the owner thread; run 0: none */
  bool current_answered;
  lnt__lane *current_lane; /* its place there must be given back; NULL: it is in none, or keeps it until it is answered */
  lnt__buf scratch;      /* the copy of what an activity is given */
  lnt__strmap activities; /* name -> activity in C */
  lnt__strmap files;      /* file -> the source loaded last */
  lnt__strmap tried;      /* hex of a stored bundle whose activities were loaded */
  struct lnt__reload *reloads; /* in the order in which they are carried out */
  bool reloading;              /* this pass made a slice: somebody may have been told what they wait for */
  lnt__collect collect;
  struct lnt__later_import *imports; /* that wait for the next tick, in order */
  lnt_watcher *watchers;
  int64_t version_us;     /* when code became current last */

  lnt_observer_fn observer;
  void *observer_user;
  lnt__buf event_text;
  lnt__strmap followed;    /* instance id -> its first follower */
  lnt_follower *followers; /* all */
  size_t follower_count;
  bool followers_due, serving;
  const char *awaited; /* lnt_wait(): this instance; NULL: none */
  bool awaited_settled;
};

/* ---- runtime.c ---- */
bool lnt__is_owner(const lnt_runtime *rt);
const char *lnt__stdlib_dir(void);

/* The rules of a call. A flag for what a function needs; LNT_OK or the reason against it. */
enum { LNT__WRITES = 1, LNT__DRIVES = 2 };
lnt_status lnt__enter(const lnt_runtime *rt, int needs, lnt_error *err);

/* `options` are complete and checked. */
lnt_status lnt__runtime_create(const lnt_options *options, lnt_runtime **out, lnt_error *err);
void lnt__runtime_destroy(lnt_runtime *rt); /* commits nothing */

/* ---- mailbox.c ---- */
lnt_status lnt__mailbox_init(lnt__mailbox *mailbox);
void lnt__mailbox_finish(lnt__mailbox *mailbox);
typedef enum lnt__answer_kind {
  LNT__ANSWER_RESULT,
  LNT__ANSWER_FAILURE, /* the value is a failure map */
  LNT__ANSWER_LATER    /* from outside, also after a restart */
} lnt__answer_kind;
typedef struct lnt__posted {
  lnt_token token;
  lnt__answer_kind kind;
  bool bounded; /* mailbox_max applies */
  lnt_value value, detail;
  lnt_done_fn done; /* NULL: nobody is told what becomes of it */
  void *done_user;
} lnt__posted;
lnt_status lnt__mailbox_post(lnt_runtime *rt, const lnt__posted *posted, lnt_error *err); /* any thread */
void lnt__mailbox_abandon(lnt_runtime *rt); /* it is drained no more: tell those who gave answers */
lnt_status lnt__mailbox_beat(lnt_runtime *rt, lnt_token token, lnt_value details, lnt_error *err); /* any thread */
/* Answers and signs of life to the engine, log lines to the hook. An answer that the store would not let through stays. */
lnt_status lnt__mailbox_drain(lnt_runtime *rt, lnt_error *err);
void lnt__canceled_add(lnt_runtime *rt, lnt_token token);
bool lnt__canceled_has(lnt_runtime *rt, lnt_token token); /* any thread */
static inline size_t lnt__mailbox_count(lnt_runtime *rt) {
  return rt->mailbox.local.count + atomic_load_explicit(&rt->mailbox.waiting, memory_order_acquire);
}
/* Any thread: to the host's hook, at once on the owner thread, else in its next tick. The VMs, the workers and the store use it. */
void lnt__runtime_log(void *runtime, lnt_log_level level, const char *id, const char *message);
void lnt__logf(lnt_runtime *rt, lnt_log_level level, const char *format, ...) LNT__PRINTF(3, 4);
/* Answers of the avms and the workers. Any thread. */
void lnt__runtime_complete(void *runtime, lnt_token token, lnt_value result);
void lnt__runtime_fail(void *runtime, lnt_token token, lnt_value failure, lnt_value detail);
void lnt__runtime_defer(void *runtime, lnt_token token);
bool lnt__runtime_heartbeat(void *runtime, lnt_token token, lnt_value details); /* true: it is canceled */
void lnt__runtime_wake(lnt_runtime *rt); /* any thread */

/* ---- committer.c ---- */
lnt_status lnt__committer_create(lnt_runtime *rt, lnt__committer **out, lnt_error *err);
void lnt__committer_destroy(lnt__committer *committer); /* waits for the batch it holds; NULL accepted */
/* Take back the batch on its way, if it has arrived (or `wait` for it), and run its effects. */
lnt_status lnt__commit_reap(lnt_runtime *rt, bool wait, lnt_error *err);
/* Send what waits: the batch that failed before, else a new one. With `force` also a full store is tried at once. */
lnt_status lnt__commit_send(lnt_runtime *rt, bool force, lnt_error *err);
/* Commit everything accepted so far and wait for it. */
lnt_status lnt__commit_flush(lnt_runtime *rt, lnt_error *err);

/* ---- dispatch.c ---- */
bool lnt__dispatch_push(lnt_runtime *rt, lnt_token token);
/* Begin attempts until none is left, too many run, or the monotonic clock passes `until_ns` (0: never; one at least is begun). */
bool lnt__time_is_up(const lnt_runtime *rt, uint64_t until_ns); /* tick.c; 0: never */
void lnt__dispatch_run(lnt_runtime *rt, uint64_t until_ns);
bool lnt__dispatch_ready(lnt_runtime *rt); /* one may begin now */
int64_t lnt__dispatch_due(lnt_runtime *rt); /* when a rate lets the next begin; INT64_MAX: none waits for that alone */
void lnt__dispatch_answered(lnt_runtime *rt, lnt_token token); /* an answer of this attempt is in */
void lnt__dispatch_abandon(lnt_runtime *rt, lnt_token token, lnt_cancel_reason why, const char *name);
void lnt__activities_finish(lnt_runtime *rt);
static inline size_t lnt__dispatch_waiting(const lnt_runtime *rt) { return rt->dispatch.count + rt->lanes_waiting; }
bool lnt__dispatch_pure(lnt_runtime *rt, const char *name); /* is this activity without side effects? */
bool lnt__tokens_push(lnt__tokens *ring, lnt_token token); /* false: out of memory */
lnt_token lnt__tokens_pop(lnt__tokens *ring);              /* there is one */
uint64_t lnt__token_key(lnt_token token);

typedef struct lnt__c_activity { char *name; lnt_activity_options options; } lnt__c_activity;

/* ---- lane.c ---- */
lnt__lane *lnt__lane_of(lnt_runtime *rt, const char *name);    /* of the activity `name`; NULL: it has no limits */
bool lnt__lane_open(lnt_runtime *rt, lnt__lane *lane);         /* another attempt may begin */
bool lnt__lane_wait(lnt_runtime *rt, lnt__lane *lane, lnt_token token); /* false: out of memory */
void lnt__lane_begun(lnt_runtime *rt, lnt__lane *lane);
lnt__lane *lnt__lane_ready(lnt_runtime *rt);                   /* one that is open and not empty; NULL: none */
lnt_token lnt__lane_pop(lnt_runtime *rt, lnt__lane *lane);
int64_t lnt__lanes_due(lnt_runtime *rt); /* when the next of all opens; now or before: one is open; INT64_MAX: when an attempt ends */
void lnt__lanes_finish(lnt_runtime *rt);

/* ---- code.c ---- */
lnt_status lnt__code_load(lnt_runtime *rt, const char *file, const char *source, size_t size, lnt_error *err);
/* The same at the beginning, before a reload of it: where all or nothing is the policy, workflows mean the version that was current in the
 * process before until that reload has found that everybody fits. */
lnt_status lnt__code_load_first(lnt_runtime *rt, const char *file, const char *source, size_t size, lnt_reload_policy policy,
                                lnt_error *err);
void lnt__reload_stalled(lnt_runtime *rt, const lnt__staged *staged); /* reload.c: those who stalled on other code of it move if they fit */
lnt_status lnt__code_fetch(void *runtime, const uint8_t *hash, void **bundle, size_t *size, lnt_error *err);
/* Let staged code become current, with its activities; `source` is its file's. An error: nothing changed. */
lnt_status lnt__code_switch(lnt_runtime *rt, lnt__staged *staged, const char *source, size_t size, lnt_error *err);
/* Was the file loaded with this text last? */
/* Put a record into the next commit, unless it is there already; it is sealed here. */
lnt_status lnt__code_put(lnt_runtime *rt, lnt__table table, lnt__slice key, const void *payload, size_t size, lnt_error *err);
/* Load the activities of a stored bundle, once. false: there is nothing new. */
bool lnt__code_load_stored(lnt_runtime *rt, const uint8_t *hash);
void lnt__loading_finish(lnt_runtime *rt);

/* ---- versions.c ---- */
/* `hash` becomes the current code of a workflow, with the next commit. */
lnt_status lnt__version_newest(lnt_runtime *rt, const char *workflow, uint8_t hash[LNT__SHA256_BYTES], lnt_error *err); /* LNT_ENOTFOUND */
lnt_status lnt__version_note(lnt_runtime *rt, const char *workflow, const uint8_t *hash, const char *file, lnt_error *err);
/* The version of each workflow that became current last, as far as it is durable. */
lnt_status lnt__versions_current(lnt_runtime *rt, void (*fn)(void *user, const uint8_t *hash), void *user, lnt_error *err);
/* Put a version that came with an import, and never was current here, into a batch, unless it is known. */
lnt_status lnt__version_add_foreign(lnt_runtime *rt, lnt__batch *batch, lnt_value workflow, const uint8_t *hash, const char *file,
                                    lnt_error *err);
lnt_status lnt__versions(lnt_runtime *rt, const char *workflow, lnt_version_fn fn, void *user, lnt_error *err);
/* The one stored bundle whose hash begins with these hex digits. */
lnt_status lnt__code_find(lnt_runtime *rt, const char *hex, uint8_t out[LNT__SHA256_BYTES], lnt_error *err);

/* ---- portable.c ---- */
typedef struct lnt__importing { const char *new_id; bool suspend, scratch; } lnt__importing; /* new_id NULL: under its own */
/* Take in an instance from the bytes of a file; it is durable when this returns. Not from a callback. */
lnt_status lnt__import_archive(lnt_runtime *rt, const lnt__archive *archive, const lnt__importing *options, lnt_import_result *out,
                               lnt_error *err);
/* The same in the next tick, whatever is on the stack now. Takes the file over, if it succeeds. */
lnt_status lnt__import_later(lnt_runtime *rt, lnt__archive_file *file, const lnt__importing *options, lnt_import_fn done, void *user,
                             lnt_error *err);
void lnt__imports_step(lnt_runtime *rt);   /* carry out what waits; between two turns */
void lnt__imports_finish(lnt_runtime *rt); /* what waits ends with LNT_ECLOSED */
lnt_status lnt__export_run(lnt_runtime *rt, uint64_t run, bool whole, lnt__buf *out, lnt_error *err);

/* ---- interfaces.c ---- */
typedef struct lnt__interfaces { lnt_interface_info *items; size_t count, capacity; } lnt__interfaces; /* texts are its own */
/* Activities that staged code shows otherwise than recorded; finish `out` in any case. */
lnt_status lnt__interfaces_compare(lnt_runtime *rt, const lnt__staged *staged, lnt__interfaces *out, lnt_error *err);
void lnt__interfaces_finish(lnt__interfaces *list);
void lnt__interfaces_warn(lnt_runtime *rt, const lnt__staged *staged); /* the log */
lnt_status lnt__interfaces_note(lnt_runtime *rt, const lnt__staged *staged, lnt_error *err); /* record them, with the next commit */

/* ---- collect.c ---- */
void lnt__collect_step(lnt_runtime *rt); /* a slice; between two turns */
bool lnt__collect_ready(const lnt_runtime *rt); /* a slice would do something */
uint64_t lnt__collect_due_ns(const lnt_runtime *rt); /* when it will, by the monotonic clock; UINT64_MAX: nothing is due */
void lnt__collect_finish(lnt_runtime *rt);

/* ---- reload.c ---- */
/* How much of a file whose code is current already: everything; stalled instances, and those that its policy moves; nothing. */
typedef enum lnt__reload_care { LNT__RELOAD_ALWAYS, LNT__RELOAD_BRIEFLY, LNT__RELOAD_IF_CHANGED } lnt__reload_care;
/* `options` are complete and checked. */
lnt_status lnt__reload_begin(lnt_runtime *rt, const lnt_reload_options *options, const char *source, size_t size, lnt__reload_care care,
                             lnt_error *err);
lnt_status lnt__migrate_begin(lnt_runtime *rt, const lnt_migrate_options *options, const uint8_t *hash, lnt_error *err);
void lnt__reload_step(lnt_runtime *rt, uint64_t until_ns); /* a slice; until_ns 0: its usual length, UINT64_MAX: all that can be done */
bool lnt__reload_ready(const lnt_runtime *rt);             /* a slice would do something */
void lnt__reload_give_up(lnt_runtime *rt, lnt_status status); /* the first one, with its error */
void lnt__reload_finish(lnt_runtime *rt);

/* ---- watch.c ---- */
lnt_status lnt__watch(lnt_runtime *rt, const char *dir, const lnt_watch_options *options, lnt_watcher **out, lnt_error *err);
void lnt__unwatch(lnt_runtime *rt, lnt_watcher *watcher);
void lnt__watch_finish(lnt_runtime *rt); /* the loop frees the rest when it closes */

/* ---- view.c ---- */
/* The public form of an event; its strings are in `text`, which is overwritten. false: out of memory. */
bool lnt__event_view(const lnt__event *event, uint64_t index, lnt__buf *text, lnt_event *out);

/* ---- stream.c ---- */
lnt_status lnt__stream_read(lnt_runtime *rt, const char *id, const char *stream, lnt_cursor from, uint32_t limit, lnt_emitted_fn fn,
                            void *user, lnt_stream_end *end, lnt_error *err);
lnt_status lnt__follow(lnt_runtime *rt, const char *id, const char *stream, lnt_cursor from, lnt_emitted_fn fn, void *user,
                       lnt_follower **out, lnt_error *err);
void lnt__unfollow(lnt_runtime *rt, lnt_follower *follower);
void lnt__followers_moved(lnt_runtime *rt, const char *id); /* the durable history of this instance grew */
void lnt__followers_serve(lnt_runtime *rt);                 /* tell those what became durable */
void lnt__followers_finish(lnt_runtime *rt);

/* ---- tick.c ---- */
/* One pass: completions, due timers, turns, one commit, effects. */
lnt_status lnt__tick(lnt_runtime *rt, uint64_t budget_ns, lnt_tick_result *result, lnt_error *err);
/* One pass of a driving loop; waits until something can move, when nothing can, no longer than until `until_ns` (UINT64_MAX: no limit). */
lnt_status lnt__pass(lnt_runtime *rt, uint64_t until_ns, lnt_tick_result *result, lnt_error *err);
bool lnt__idle(lnt_runtime *rt); /* nothing can move by itself before time passes */
int64_t lnt__clock(lnt_runtime *rt); /* never goes back */

#endif
