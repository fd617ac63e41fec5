/* lunation.h - durable workflows in Lua, inside your own process.
 *
 * This header is the authority on the C API. The program `lunation` and the Lua binding use it and nothing beneath it.
 *
 * CAVEATS FIRST
 *  - One owner thread. Every function must be called from the thread that called lnt_open(), except lnt_complete(), lnt_fail(),
 *    lnt_heartbeat(), lnt_activity_canceled() and lnt_wake(), which any thread may call until lnt_close() begins. Others answer
 *    LNT_ETHREAD.
 *  - Nothing is durable until a commit. lnt_start(), lnt_raise(), lnt_terminate() and lnt_cancel() return when the request is accepted
 *    into the next commit; it is durable when its `done` callback ran, after lnt_flush() returned LNT_OK, or after the
 *    tick that reported it committed. Reads (lnt_get, lnt_list, lnt_history) see durable state only.
 *  - Activities run at least once. A crash between an activity's end and the commit of its result runs it again, with the
 *    same idempotency key.
 *  - Never call back into the runtime from inside a `log` or `clock` hook. Activity functions and `done` and observer callbacks may
 *    call everything but lnt_tick(), lnt_run(), lnt_flush() and lnt_close() (LNT_EMISUSE).
 *  - A data directory belongs to one process at a time. Any number of others may open it with `read_only`.
 *  - The library never writes to stdio, never installs signal handlers, never changes the locale, never exits.
 *
 * MEMORY
 *  - Strings and values passed in are copied before the call returns. Strings and values passed to a callback are valid
 *    until the callback returns. Whatever a function hands out is released by the function its comment names.
 *
 * TIMES are int64_t microseconds since 1970-01-01 UTC (`_us`); durations are int64_t microseconds (`_us`).
 *
 * ERRORS: functions return an lnt_status and, where they take an lnt_error, fill it with a message that names the thing,
 * the place and what to do. The lnt_error may be NULL. A successful call leaves it untouched.
 */
#ifndef LUNATION_H
#define LUNATION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LNT_VERSION_MAJOR 0
#define LNT_VERSION_MINOR 1
#define LNT_VERSION_PATCH 0
#define LNT_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define LNT_API __attribute__((visibility("default")))
#else
#define LNT_API
#endif

/* ---- Status codes ---------------------------------------------------------------------------------------------- */

/* X(name, number, text): the one list behind the enum, lnt_status_name() and lnt_status_text(). Numbers never change. */
#define LNT_STATUS_MAP(X)                                                                                              \
  X(OK, 0, "success")                                                                                                  \
  X(EINVAL, -1, "an argument is not valid")                                                                            \
  X(ENOMEM, -2, "out of memory")                                                                                       \
  X(EIO, -3, "the storage failed")                                                                                     \
  X(ENOTFOUND, -4, "no such workflow, instance or code")                                                               \
  X(EEXIST, -5, "an instance with this id exists")                                                                     \
  X(ELIMIT, -6, "a named limit was exceeded")                                                                          \
  X(EFULL, -7, "the disk or the store is full; no new work is accepted until there is room")                           \
  X(EBUSY, -8, "the data directory is in use by another process")                                                      \
  X(ENOTOURS, -9, "the directory is not a Lunation data directory")                                                    \
  X(EVERSION, -10, "the data directory was made by a newer format")                                                    \
  X(EREADONLY, -11, "opened read-only, or the directory cannot be written")                                            \
  X(ECORRUPT, -12, "a record's checksum or shape is wrong")                                                            \
  X(ETHREAD, -13, "called from a thread that does not own the runtime")                                                \
  X(EMISUSE, -14, "called from a callback, or on a closed runtime")                                                    \
  X(ESYNTAX, -15, "a workflow file does not load")                                                                     \
  X(EVALUE, -16, "a value cannot be encoded or decoded")                                                               \
  X(ECLOSED, -17, "the instance is finished")                                                                          \
  X(EDIVERGED, -18, "the code no longer matches the recorded history")                                                 \
  X(ETIMEOUT, -19, "the time given ran out")                                                                           \
  X(EAGAIN, -20, "not possible just now; nothing was done")                                                            \
  X(EINTERNAL, -21, "a bug in Lunation")                                                                               \
  X(EFAILED, -22, "a query or an update ended with a failure")                                                         \
  X(EOPEN, -23, "the instance is not finished")                                                                        \
  X(EOVER, -24, "the attempt is over: it was answered, timed out or was canceled")

typedef enum lnt_status {
#define LNT__X(name, number, text) LNT_##name = number,
  LNT_STATUS_MAP(LNT__X)
#undef LNT__X
} lnt_status;

#define LNT_ERROR_MESSAGE_MAX 1024

/* An error in the caller's memory. `message` is complete, NUL-terminated UTF-8 text without a newline at its end. */
typedef struct lnt_error {
  lnt_status code;
  char message[LNT_ERROR_MESSAGE_MAX];
} lnt_error;

/* The name ("LNT_EBUSY") and the one-line meaning of a status. Static strings; any thread; never NULL. */
LNT_API const char *lnt_status_name(lnt_status status);
LNT_API const char *lnt_status_text(lnt_status status);

/* The version of the library that runs ("0.1.0"), which may be newer than the header's. Static; any thread. */
LNT_API const char *lnt_version(void);

/* ---- Values ---------------------------------------------------------------------------------------------------- */

/* A value is data: nil, boolean, number, string, array, map. It travels as deterministic CBOR (RFC 8949 section 4.2:
 * shortest integers, sorted keys, one NaN, -0 as 0). {NULL, 0} is nil. The same value always has the same bytes. */
typedef struct lnt_value {
  const void *data;
  size_t size; /* bytes */
} lnt_value;

#define LNT_VALUE_NIL ((lnt_value){NULL, 0})
#define LNT_VALUE_DEPTH_MAX 64

/* Turn JSON text of `size` bytes into a value. On LNT_OK `*out` owns its bytes: release it with lnt_value_free().
 * Numbers are doubles: an integer that no double holds (9007199254740993) is refused, so that nothing is changed silently.
 * Errors: LNT_EVALUE (not JSON: the message has line and column; or such an integer), LNT_ELIMIT (too deep), LNT_ENOMEM. Any thread. */
LNT_API lnt_status lnt_value_from_json(const char *text, size_t size, lnt_value *out, lnt_error *err);

/* Turn a value into JSON text, NUL-terminated; release with lnt_free(). `indent` is spaces per level, 0 for one line.
 * NaN and infinities become the strings "NaN", "Infinity" and "-Infinity"; byte strings that are not UTF-8 are written with U+FFFD in
 * place of each bad byte.
 * Errors: LNT_EVALUE (not canonical CBOR), LNT_ENOMEM. Any thread. */
LNT_API lnt_status lnt_value_to_json(lnt_value value, int indent, char **out, size_t *size, lnt_error *err);

/* Release what lnt_value_from_json() and the like returned. A nil value is accepted. Any thread. */
LNT_API void lnt_value_free(lnt_value *value);

/* Release memory that the library returned through a plain pointer. NULL is accepted. Any thread. */
LNT_API void lnt_free(void *memory);

/* ---- The runtime ----------------------------------------------------------------------------------------------- */

typedef struct lnt_runtime lnt_runtime;

typedef enum lnt_store_kind {
  LNT_STORE_LMDB = 0,  /* a directory on disk */
  LNT_STORE_MEMORY = 1 /* nothing survives the process */
} lnt_store_kind;

typedef enum lnt_durability {
  LNT_DURABILITY_SYNC = 0,   /* every commit reaches the disk: survives a power cut */
  LNT_DURABILITY_PROCESS = 1 /* commits are not synced: survives a crash or kill of the process, not a power cut */
} lnt_durability;

typedef enum lnt_log_level { LNT_LOG_DEBUG = 0, LNT_LOG_INFO = 1, LNT_LOG_WARN = 2, LNT_LOG_ERROR = 3 } lnt_log_level;

/* Hooks. `user` is the pointer given beside the hook. All are called on the owner thread, except `wake`. */
typedef void (*lnt_log_fn)(void *user, lnt_log_level level, const char *instance_id, const char *message);
typedef int64_t (*lnt_clock_fn)(void *user); /* wall clock, microseconds since 1970 */
typedef void (*lnt_wake_fn)(void *user);     /* any thread: the runtime has work, call lnt_tick() soon */

/* X(field, default, meaning): the limits of a runtime; 0 takes the default. Exceeding one is an error that names it. */
#define LNT_LIMIT_MAP(X)                                                                                               \
  X(payload_bytes_max, 2u << 20, "bytes of one value: an input, a result, an event's data")                            \
  X(history_events_max, 50000, "events in one instance's history")                                                     \
  X(history_bytes_max, 64u << 20, "bytes of one instance's history")                                                   \
  X(pending_commands_max, 20000, "commands of one instance that wait at once")                                         \
  X(buffered_events_max, 10000, "external events of one instance that nobody has waited for")                          \
  X(child_depth_max, 64, "levels of children: a child of a child of a child ...")                                       \
  X(turn_instructions_max, 100000000, "VM instructions between two waits of one branch")                                 \
  X(turn_us_max, 10000000, "microseconds of processor time between two waits: a last resort, the instance stalls")          \
  X(workflow_memory_bytes_max, 1024u << 20, "bytes of the workflow VM, all instances together")                        \
  X(turn_memory_bytes_max, 64u << 20, "bytes one instance may add to the workflow VM between two waits")               \
  X(instance_instructions_max, 100000000000, "VM instructions of one instance, all its turns together")                \
  X(instance_memory_bytes_max, 256u << 20, "bytes of the workflow VM that one instance may hold while it waits")       \
  X(activity_memory_bytes_max, 1024u << 20, "bytes of each activity VM")                                               \
  X(activity_slice_us_max, 2000000, "microseconds that a Lua activity may compute on the owner thread between two waits")  \
  X(activity_grace_us, 10000000, "microseconds that a canceled Lua activity may take to clean up, before it is dropped")  \
  X(questions_max, 1000, "queries and updates of one instance that wait for its turn")                                 \
  X(updates_max, 1000, "updates of one instance that are accepted and not answered")                                   \
  X(resident_max, 4096, "instances kept as live coroutines; others are rebuilt by replay when needed")                 \
  X(activities_running_max, 10000, "activities dispatched at once; others wait their turn")                            \
  X(mailbox_max, 1000000, "completions that wait for the owner thread")                                                \
  X(store_bytes_max, 1ull << 40, "bytes the data file may grow to")                                                    \
  X(source_bytes_max, 1u << 20, "bytes of one Lua source file")

typedef struct lnt_limits {
#define LNT__X(field, value, text) uint64_t field;
  LNT_LIMIT_MAP(LNT__X)
#undef LNT__X
} lnt_limits;

typedef struct lnt_options {
  size_t size;              /* sizeof(lnt_options), set by lnt_options_init() */
  const char *dir;          /* data directory; needed for LNT_STORE_LMDB, made (with parents) if it does not exist */
  lnt_store_kind store;     /* default LNT_STORE_LMDB */
  lnt_durability durability; /* default LNT_DURABILITY_SYNC */
  int read_only;            /* 1: lnt_get, lnt_list, lnt_history only; beside a running owner */
  int committer;            /* 1: commit on a thread of its own, so that no call waits for the disk */
  int paranoid;             /* 1: for developers: each turn is run twice, in two VMs, and what is not the same in both stalls the instance
                               before anything of it is done (lnt_run_status STALLED, type "Diverged"). Costs a replay per turn */
  int workers;              /* threads for activities declared `blocking = true`; 0: they run on the owner thread */
  const char *module_path;  /* folders for `require`, separated by ';'; default: the folder of each loaded file */
  const char *stdlib_path;  /* folder of the standard library; default: where it was installed, or LUNATION_STDLIB */
  lnt_log_fn log;           /* default: silent */
  void *log_user;
  lnt_clock_fn clock; /* default: the system's real-time clock */
  void *clock_user;
  lnt_wake_fn wake; /* default: none (lnt_run needs none) */
  void *wake_user;
  uint64_t seed;     /* seed of ids and random numbers; 0: from the system */
  lnt_limits limits; /* zero fields take their defaults */
} lnt_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_options_init(lnt_options *options);

/* Open a runtime and make the calling thread its owner. `*out` is released by lnt_close(). What was running goes on from the next
 * lnt_tick() or lnt_run(): register C activities and load files before it. A process that was killed holds its directory until its memory
 * is given back; that is waited for, two seconds at most.
 * Errors: LNT_EINVAL, LNT_ENOMEM, LNT_EIO, LNT_EBUSY, LNT_ENOTOURS, LNT_EVERSION, LNT_EREADONLY, LNT_ECORRUPT, LNT_EFULL. */
LNT_API lnt_status lnt_open(const lnt_options *options, lnt_runtime **out, lnt_error *err);

/* Commit what was accepted, cancel what runs, join threads, release everything. NULL is accepted. Owner thread. Answers
 * the status of the last commit: anything but LNT_OK means that requests whose `done` did not run are not durable.
 * A worker thread whose activity does not end within 2 seconds is left behind, and the log says so: it keeps its memory, touches nothing
 * of the runtime any more, and ends when its activity does. */
LNT_API lnt_status lnt_close(lnt_runtime *rt);

/* ---- Code ------------------------------------------------------------------------------------------------------ */

/* Load a Lua file: its workflows into the sandbox, its activities into the activity VM. Its source, with every module it
 * requires, is stored by hash; instances started later are pinned to it. Loading a file again replaces it for new starts; instances of
 * its workflows that stalled are moved to it, if they fit.
 * Errors: LNT_ENOTFOUND (no such file), LNT_ESYNTAX (message: file:line and what), LNT_ELIMIT, LNT_EEXIST (another file
 * defines the same workflow or activity), LNT_EREADONLY. A file that fails to load changes nothing. Owner thread. */
LNT_API lnt_status lnt_load_file(lnt_runtime *rt, const char *path, lnt_error *err);

/* The same for source text of `size` bytes; `name` stands for the file name in messages ("quests.lua"). */
LNT_API lnt_status lnt_load_string(lnt_runtime *rt, const char *name, const char *source, size_t size, lnt_error *err);

/* Called for each workflow that new starts can name: `name`, the file that defines it, its code hash (hex). */
typedef void (*lnt_workflow_fn)(void *user, const char *name, const char *file, const char *hash);
LNT_API lnt_status lnt_workflows(lnt_runtime *rt, lnt_workflow_fn fn, void *user);

/* Call fn for each file that was loaded, under the name that it was loaded by; also for those that define activities only. No order.
 * Errors: LNT_EMISUSE, LNT_EINVAL. */
typedef void (*lnt_file_fn)(void *user, const char *file);
LNT_API lnt_status lnt_files(lnt_runtime *rt, lnt_file_fn fn, void *user);

/* ---- Activities in C ------------------------------------------------------------------------------------------- */

/* Called once on the owner thread: LNT_OK when the request is durable, or the reason why it will never be (LNT_ECLOSED: the runtime
 * closed before the commit). */
typedef void (*lnt_done_fn)(void *user, lnt_status status);

/* Names one attempt of one activity. A value: copy it, keep it, pass it between threads. */
typedef struct lnt_token {
  uint64_t run;
  uint32_t seq;
  uint32_t attempt;
} lnt_token;

/* What an activity function is given; valid until it returns. */
typedef struct lnt_activity {
  lnt_token token;
  const char *name;
  const char *instance_id;
  /* The same for every attempt of this step, whether they fail, time out or are lost with the process, in a retry (lnt_retry) of its
   * instance and in an import too, and no other step's, of this or another data directory (unless both were given the same `seed`): hand
   * it to whatever must not happen twice. At most 64 letters and digits. What Dapr calls taskExecutionId. */
  const char *idempotency_key;
  lnt_value input;
  lnt_value heartbeat_details; /* the last ones given to lnt_heartbeat() by an earlier attempt, or by this one before a restart; else nil */
} lnt_activity;

/* An error as a value. `type` is what retry policies and pcall handlers compare ("CardDeclined"). */
typedef struct lnt_failure {
  const char *type;    /* NULL: "Error" */
  const char *message; /* NULL: "" */
  int non_retryable;   /* 1: no retry policy applies */
  lnt_value details;   /* anything more, or nil */
} lnt_failure;

/* Why the answer of an attempt is not wanted any more. */
typedef enum lnt_cancel_reason {
  LNT_CANCEL_REQUESTED = 1, /* the workflow gave the activity up, or is being canceled */
  LNT_CANCEL_TIMEOUT = 2,   /* one of its timeouts struck */
  LNT_CANCEL_CLOSED = 3     /* its instance is finished */
} lnt_cancel_reason;

typedef enum lnt_activity_result {
  LNT_ACTIVITY_DONE = 0,    /* finished: lnt_complete() or lnt_fail() was called before returning, or the result is nil */
  LNT_ACTIVITY_PENDING = 1, /* lnt_complete() or lnt_fail() will be called later, from any thread; after a restart the attempt runs again */
  LNT_ACTIVITY_DEFERRED = 2 /* the same, but the attempt does not run again after a restart: whoever has its token answers, whenever. An
                               instance that waits for nothing else may leave memory. The timeouts of the call go on */
} lnt_activity_result;

typedef lnt_activity_result (*lnt_activity_fn)(void *user, lnt_runtime *rt, const lnt_activity *activity);

/* Register a C activity under `name`; it wins over a Lua activity of that name. fn NULL removes it. Owner thread.
 * Errors: LNT_EINVAL, LNT_ENOMEM. */
LNT_API lnt_status lnt_register_activity(lnt_runtime *rt, const char *name, lnt_activity_fn fn, void *user,
                                         lnt_error *err);

/* Called once on the owner thread when the answer of a pending or deferred attempt is not wanted any more, after that became durable: stop
 * the work. An answer is ignored from here on. It may call everything that an activity may. */
typedef void (*lnt_activity_cancel_fn)(void *user, lnt_runtime *rt, const char *name, lnt_token token, lnt_cancel_reason why);

typedef struct lnt_activity_options {
  size_t size;                   /* set by lnt_activity_options_init() */
  lnt_activity_fn fn;            /* required */
  lnt_activity_cancel_fn cancel; /* may be NULL; `user` is given to it, too */
  void *user;
  /* Limits of this activity, all instances together; attempts beyond them wait in the order in which they came. A deferred attempt, and one
   * whose answer is not wanted any more, counts no longer. */
  uint32_t concurrency; /* attempts that run at once; 0: no limit */
  uint32_t rate_count;  /* attempts begun in any period of rate_per_us, by the clock of the runtime, counted anew after a restart; 0: no
                           limit. At most LNT_RATE_COUNT_MAX */
  int64_t rate_per_us;  /* 0: a second */
  int pure;             /* 1: it has no side effects, and answers from its input alone. Then it may run before its scheduling is durable,
                           and a chain of such steps shares one commit; after a crash it runs again. It cannot be deferred */
} lnt_activity_options;

#define LNT_RATE_COUNT_MAX 100000

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_activity_options_init(lnt_activity_options *options);

/* As lnt_register_activity(), with all there is to say. */
LNT_API lnt_status lnt_register_activity_ex(lnt_runtime *rt, const char *name, const lnt_activity_options *options, lnt_error *err);

/* End an attempt with a result, or with a failure. ANY THREAD, and of a deferred attempt ANY PROCESS that owns the directory later. The
 * first answer for a token counts; it counts for good once `done` (may be NULL) is told LNT_OK, on the owner thread, after the commit. The
 * result is copied.
 * An answer that does not count is told as LNT_EOVER (the attempt was answered, timed out or was canceled, or its instance is finished),
 * LNT_ENOTFOUND (this directory has no such attempt) or LNT_EAGAIN (it has not begun: it waits for its start, perhaps again after a
 * restart). On the owner thread the call itself answers so, and `done` is never called. Where that is not known in the call, because it is
 * made elsewhere or another answer came in the same tick, `done` is told; without `done` such an answer is ignored without a word.
 * Errors: these, LNT_ELIMIT (payload or mailbox; nothing was done: fail the attempt or call again), LNT_EVALUE, LNT_EINVAL, LNT_ENOMEM,
 * LNT_EIO, LNT_EREADONLY. */
LNT_API lnt_status lnt_complete(lnt_runtime *rt, lnt_token token, lnt_value result, lnt_done_fn done, void *done_user, lnt_error *err);
LNT_API lnt_status lnt_fail(lnt_runtime *rt, lnt_token token, const lnt_failure *failure, lnt_done_fn done, void *done_user,
                            lnt_error *err);

/* Say that an attempt is alive: its heartbeat timeout begins anew. ANY THREAD. `details` (nil: those given before stay) are kept for the
 * attempt that follows, should this one fail, time out or be lost with the process; they are written at most once a tick, so the newest
 * may be lost with the process. `*canceled` (may be NULL) becomes 1 if the attempt's answer is not wanted any more, else 0; off the owner
 * thread one that is over is known as such once the owner thread has seen an earlier call.
 * Errors: as lnt_complete(), but an attempt that waits for no answer is none: `*canceled` says it. */
LNT_API lnt_status lnt_heartbeat(lnt_runtime *rt, lnt_token token, lnt_value details, int *canceled, lnt_error *err);

/* 1: the answer of this attempt is not wanted any more. ANY THREAD. Remembered of the last LNT_CANCELED_MAX attempts. */
LNT_API int lnt_activity_canceled(lnt_runtime *rt, lnt_token token);
#define LNT_CANCELED_MAX 65536

/* A token as text ("17:3:1"), NUL-terminated, and back. Any thread; no runtime is needed. Errors: LNT_EINVAL (not such a text). */
#define LNT_TOKEN_TEXT_BYTES 48
LNT_API void lnt_token_text(lnt_token token, char out[LNT_TOKEN_TEXT_BYTES]);
LNT_API lnt_status lnt_token_parse(const char *text, lnt_token *out, lnt_error *err);

/* ---- Managing instances ---------------------------------------------------------------------------------------- */

#define LNT_ID_BYTES_MAX 128   /* an instance id: 1 to 128 bytes of printable UTF-8, no control characters, no '/' */
#define LNT_NAME_BYTES_MAX 128 /* a workflow, activity or event name: the same rule, '/' allowed */

/* Attributes: what lists search by. A map of names (the rule of names, shorter) to texts, numbers and booleans. */
#define LNT_ATTRIBUTES_MAX 32           /* of one instance */
#define LNT_ATTRIBUTE_NAME_BYTES_MAX 64
#define LNT_ATTRIBUTE_TEXT_BYTES_MAX 256

/* X(name, number, text): numbers are Dapr's. */
#define LNT_RUN_STATUS_MAP(X)                                                                                          \
  X(RUNNING, 0, "started, not finished")                                                                               \
  X(COMPLETED, 1, "returned a value")                                                                                  \
  X(CONTINUED_AS_NEW, 2, "closed; a newer generation runs under this id")                                              \
  X(FAILED, 3, "ended with an error")                                                                                  \
  X(CANCELED, 4, "canceled; the body cleaned up")                                                                      \
  X(TERMINATED, 5, "stopped from outside")                                                                             \
  X(PENDING, 6, "accepted, not started")                                                                               \
  X(SUSPENDED, 7, "paused")                                                                                            \
  X(STALLED, 8, "the code diverged from the history; goes on when the code is mended")

typedef enum lnt_run_status {
#define LNT__X(name, number, text) LNT_RUN_##name = number,
  LNT_RUN_STATUS_MAP(LNT__X)
#undef LNT__X
} lnt_run_status;

/* "RUNNING", "COMPLETED" ... Static; any thread; "UNKNOWN" for a number out of range. */
LNT_API const char *lnt_run_status_name(lnt_run_status status);

/* What a start does when its id is taken. */
typedef enum lnt_id_reuse {
  LNT_ID_REUSE_ERROR = 0,    /* LNT_EEXIST */
  LNT_ID_REUSE_EXISTING = 1, /* starts nothing: who is there is the answer, finished or not. LNT_EEXIST: it runs another workflow */
  LNT_ID_REUSE_TERMINAL = 2, /* a new run if the old one and all its children, theirs and so on, are over; LNT_EEXIST names who is not */
  LNT_ID_REUSE_REPLACE = 3   /* a new run; the old one is terminated first, its children go as they were told to. A child of the new run
                                takes the id of an old child over when that is over; one that lives on keeps it */
} lnt_id_reuse;

typedef struct lnt_start_options {
  size_t size;
  const char *workflow; /* name; required */
  const char *id;       /* NULL: a UUID that begins with the time (version 7) */
  lnt_value input;
  lnt_done_fn done; /* may be NULL */
  void *done_user;
  lnt_id_reuse id_reuse; /* default LNT_ID_REUSE_ERROR */
  int64_t start_at_us;   /* PENDING until then; events that come before are kept. 0 or past: at once */
  lnt_value attributes;  /* what lists search by: a map of names to text, numbers and booleans; nil: none */
  int *existed;          /* set to 1 if LNT_ID_REUSE_EXISTING found one, else to 0; may be NULL */
} lnt_start_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_start_options_init(lnt_start_options *options);

/* Accept a new instance. It returns at once; lnt_wait_start() waits until it runs. `id_out` (may be NULL) receives its id:
 * LNT_ID_BYTES_MAX + 1 bytes. The run that an id had before stays in lists; reads by id see the newest. Errors: LNT_ENOTFOUND (no such
 * workflow is loaded), LNT_EEXIST (the id is taken), LNT_EINVAL (id, name, attributes), LNT_ELIMIT, LNT_EVALUE, LNT_EFULL,
 * LNT_EREADONLY, LNT_ENOMEM. On error nothing was accepted and `done` is never called. */
LNT_API lnt_status lnt_start(lnt_runtime *rt, const lnt_start_options *options, char *id_out, lnt_error *err);

/* Deliver an external event. Names are compared without regard to ASCII case. An event that nobody waits for is kept until somebody does.
 * Errors: LNT_ENOTFOUND, LNT_ECLOSED (finished), LNT_EINVAL, LNT_ELIMIT, LNT_EVALUE, LNT_EFULL, LNT_EREADONLY, LNT_ENOMEM. */
LNT_API lnt_status lnt_raise(lnt_runtime *rt, const char *id, const char *event, lnt_value data, lnt_done_fn done,
                             void *done_user, lnt_error *err);

typedef struct lnt_raise_options {
  size_t size;
  lnt_value data;
  const char *key;  /* makes the raise repeatable: 1 to 128 bytes, the rule of names; NULL: each raise is another event */
  lnt_done_fn done; /* may be NULL */
  void *done_user;
  int *repeated;    /* set to 1 if an event was raised under this key before, and nothing was delivered now; else to 0; may be NULL */
} lnt_raise_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_raise_options_init(lnt_raise_options *options);

/* The same with a key, for a client that may have to repeat a raise because it did not hear what became of it, as after a crash: under a
 * key that the instance got an event under before, nothing is delivered, whatever the event's name and data, and `done` is told when the
 * first one is durable; of a finished instance too. An instance remembers the keys of its last LNT_RAISE_KEYS_MAX events that had one, of
 * this generation and the one before. Errors as lnt_raise(). */
#define LNT_RAISE_KEYS_MAX 1000
LNT_API lnt_status lnt_raise_ex(lnt_runtime *rt, const char *id, const char *event, const lnt_raise_options *options, lnt_error *err);

/* Stop an instance where it stands; its body runs no further, and its code need not fit its history. `reason` may be NULL. Errors as
 * lnt_raise(). */
LNT_API lnt_status lnt_terminate(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done,
                                 void *done_user, lnt_error *err);

/* Pause an instance: events, answers of activities and timers are kept in order, no turn runs and no attempt of an activity begins; what
 * runs already may end. It survives restarts; lnt_terminate() works. `reason` may be NULL; the history keeps it. An instance that is
 * paused already stays as it is. Errors as lnt_raise(). */
LNT_API lnt_status lnt_suspend(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err);

/* Let a suspended instance go on with everything that gathered; a STALLED one tries again at once. Of any other, nothing changes. Errors as
 * lnt_raise(). */
LNT_API lnt_status lnt_resume(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err);

/* Ask an instance to end: its function, and every branch of it, is raised a failure of type "Canceled" with `reason` (may be NULL) as its
 * message, at the wait where it stands. It may clean up, and wait while it does. Raising the failure on, it ends CANCELED; returning a
 * value, COMPLETED; raising another error, FAILED. One that has not begun runs to its first wait; one that is SUSPENDED or STALLED
 * gets it when it goes on. Canceling again changes nothing: lnt_terminate() stops one that does not end. Errors as lnt_raise(). */
LNT_API lnt_status lnt_cancel(lnt_runtime *rt, const char *id, const char *reason, lnt_done_fn done, void *done_user,
                              lnt_error *err);

/* WHY IT STALLED: the failure of a STALLED instance. Type TurnTimeout, OutOfMemory, CodeUnavailable, Corrupt, or Diverged; the last has
 * `details`, a map. Members that there is nothing to say of are absent or empty:
 *   event, recorded_at_us  place in the history, from 1, and time of the recorded event; 0: nothing is recorded there
 *   command                number of the command
 *   recorded, recorded_at  the recorded call as an author would write it, and its file:line
 *   made, at               the call that came instead, and its file:line. The Stalled event has its traceback as its detail
 *   difference             the first difference of the arguments: "input.items[3].qty: 2 vs 3"; differences: the first of them, a list
 *   cause                  the likely cause, a sentence
 *   touched                [{what, at, why, before_command}] what the code used, shortly before or earlier, of what may differ between two
 *                          runs, the likeliest first: "#items", "ctx:is_replaying()", "a weak table" ...
 *   rehearsed              true: found by lnt_options.paranoid: `recorded` is what a rebuilt copy made, `made` what the instance would have
 * It goes on when code that fits it is loaded or reloaded, by lnt_migrate(), or by lnt_resume(), which tries again what it has. */

/* One instance, as last made durable. */
typedef struct lnt_instance {
  const char *id;
  const char *workflow;
  const char *code_hash; /* hex */
  uint64_t run;
  lnt_run_status status;
  int64_t created_us;
  int64_t updated_us; /* of the last event in its history (lnt_get), of the last change of status (lnt_list) */
  int64_t closed_us;  /* 0 while it is not finished */
  uint64_t history_events; /* lnt_get only */
  uint64_t history_bytes;  /* lnt_get only */
  lnt_value input;         /* lnt_get only */
  lnt_value output;        /* lnt_get only; nil unless COMPLETED */
  lnt_value failure;       /* a map {type, message, ...}: why it FAILED, was CANCELED or TERMINATED, or is STALLED; else nil */
  lnt_value custom_status;
  lnt_value attributes; /* a map, or nil */
  int64_t start_at_us;  /* lnt_get only: when it was asked to start; 0: at once */
  uint64_t generation;  /* from 1: an instance that continues as new keeps its id and begins another run */
  uint64_t parent_run;  /* of the instance whose child it is; 0: none */
  const char *parent;   /* lnt_get only: its id; NULL: none, or it was purged */
} lnt_instance;

/* Read one instance. `*out` is one block of memory: release it with lnt_free(). Works on a read-only runtime.
 * Errors: LNT_ENOTFOUND, LNT_EINVAL, LNT_EIO, LNT_ECORRUPT, LNT_ENOMEM. */
LNT_API lnt_status lnt_get(lnt_runtime *rt, const char *id, lnt_instance **out, lnt_error *err);

/* The same for one run of an instance, such as an earlier generation; lists tell their numbers. 0: the newest. Errors as lnt_get();
 * LNT_ENOTFOUND also for a run of another instance. */
LNT_API lnt_status lnt_get_run(lnt_runtime *rt, const char *id, uint64_t run, lnt_instance **out, lnt_error *err);

/* Which instances: those that fulfil every condition given. */
typedef struct lnt_list_options {
  size_t size;
  uint32_t status_mask;    /* bit (1u << LNT_RUN_x) for each status wanted; 0: all but CONTINUED_AS_NEW */
  const char *workflow;    /* exact name; NULL: all */
  const char *id_prefix;   /* NULL: all */
  int64_t created_from_us; /* 0: no bound */
  int64_t created_to_us;   /* 0: no bound; exclusive */
  uint64_t cursor;         /* 0: from the newest; else `*next` of the page before */
  uint32_t limit;          /* instances per page; 0: 100 */
  const char *parent;      /* id of the instance whose children are wanted; NULL: all */
  lnt_value attributes;    /* a map: each of these attributes has this value; nil: all */
} lnt_list_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_list_options_init(lnt_list_options *options);

/* Return non-zero to stop early. */
typedef int (*lnt_instance_fn)(void *user, const lnt_instance *instance);

/* List instances, newest first; NULL options: all. `*next` (may be NULL) is the next page's cursor, 0 at the end. A page costs milliseconds
 * however many instances there are: where conditions that have many matches each have few in common, a page may be short, even empty, and
 * `*next` goes on. Only an `id_prefix` that thousands of ids share is looked for one by one. Works on a read-only runtime.
 * Errors: LNT_EINVAL, LNT_ENOTFOUND (no such parent), LNT_EIO, LNT_ECORRUPT, LNT_ENOMEM. */
LNT_API lnt_status lnt_list(lnt_runtime *rt, const lnt_list_options *options, lnt_instance_fn fn, void *user,
                            uint64_t *next, lnt_error *err);

#define LNT_RUN_STATUS_SLOTS 16
typedef struct lnt_counts {
  size_t size; /* sizeof(lnt_counts), set by the caller */
  uint64_t total;
  uint64_t by_status[LNT_RUN_STATUS_SLOTS]; /* by_status[LNT_RUN_FAILED] ... */
} lnt_counts;

/* Count the instances that lnt_list() would list, page after page; cursor and limit do not matter. It costs about 50 ns for each one
 * counted by status and workflow, some more under other conditions. Errors as lnt_list(). */
LNT_API lnt_status lnt_count(lnt_runtime *rt, const lnt_list_options *options, lnt_counts *counts, lnt_error *err);

/* Which code the copy runs. */
typedef enum lnt_fork_code {
  LNT_FORK_CODE_AUTO = 0,   /* that of the source; for a retry after an error of the workflow's own: the newest */
  LNT_FORK_CODE_PINNED = 1, /* that of the source */
  LNT_FORK_CODE_NEWEST = 2  /* the newest of the workflow's name; if it makes other calls than the copied part has, the copy stalls */
} lnt_fork_code;

typedef struct lnt_fork_options {
  size_t size;
  uint64_t run;       /* which run of the id; 0: its newest */
  uint64_t event;     /* `index` of an event in its history (lnt_history). lnt_fork(): the last one copied, 0: all there are;
                         lnt_rerun(): the command to run again; lnt_retry(): not used */
  const char *new_id; /* NULL: a UUID, as for starts; lnt_retry(): not used */
  int replace_input;  /* 1: `input` counts */
  lnt_value input;    /* lnt_rerun(): what the activity or child is given instead; lnt_fork() from event 1: what the workflow is given */
  lnt_fork_code code;
  lnt_done_fn done; /* may be NULL */
  void *done_user;
} lnt_fork_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_fork_options_init(lnt_fork_options *options);

/* Make a new instance that has seen what this one, finished or not, had seen up to an event, and that goes on from there by itself. The
 * copied part ends with a finished turn: what was made in the middle of one is made again. Activities without an answer run again,
 * timers stand for the times they had, children without an answer are started again under new ids; answers, streams and recorded values
 * stay. Random numbers and UUIDs that are drawn later are others than the source's. `id_out` (may be NULL) receives the id. Errors:
 * LNT_ENOTFOUND (the instance, the run, newer code), LNT_EINVAL (the event), LNT_EEXIST (new_id), LNT_EAGAIN (its last events are not
 * durable yet), LNT_ELIMIT, LNT_EVALUE, LNT_EFULL, LNT_EREADONLY, LNT_EIO, LNT_ECORRUPT, LNT_ENOMEM. */
LNT_API lnt_status lnt_fork(lnt_runtime *rt, const char *id, const lnt_fork_options *options, char *id_out, lnt_error *err);

/* The same from a command of a finished instance: event `options->event` is an ActivityScheduled, ChildScheduled, TimerCreated or
 * EventAwaited; it, and what was made after it, is done again. A replaced input is what the activity or child is given; the history
 * notes it. Errors as lnt_fork(), and LNT_EOPEN (not finished), LNT_EINVAL (the event is of another kind: the message names it). */
LNT_API lnt_status lnt_rerun(lnt_runtime *rt, const char *id, const lnt_fork_options *options, char *id_out, lnt_error *err);

/* Let a FAILED instance go on from its failure, under its id, as a new run: the activity or child that it failed with is tried again,
 * with the same idempotency key and its whole retry policy; after an error of the workflow's own, its last turn is run again. One that
 * was TERMINATED or CANCELED goes on as if that had not been asked. NULL options: the defaults. Errors as lnt_rerun(), and LNT_EEXIST
 * (the id has a newer run). */
LNT_API lnt_status lnt_retry(lnt_runtime *rt, const char *id, const lnt_fork_options *options, lnt_error *err);

typedef struct lnt_purge_options {
  size_t size;
  int recursive; /* children, theirs and so on, too; lnt_purge_options_init() sets 1 */
  int force;     /* instances that are not finished are terminated; 0: they are a reason to purge nothing */
  int64_t closed_before_us; /* lnt_purge_matching() only: finished before this; 0: whenever */
  lnt_done_fn done; /* may be NULL */
  void *done_user;
} lnt_purge_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_purge_options_init(lnt_purge_options *options);

/* Take a finished instance out of the store: its row, its history, all its generations and everything else of it, and its children. When
 * that is durable it does not exist any more and its id is free; the bytes of its history are given back with the commits that follow,
 * some at a time. `*count` (may be NULL) is how many instances go. NULL options: the defaults. Errors: LNT_ENOTFOUND, LNT_EAGAIN (it, or
 * a child of it, is not finished: the message names it; nothing was purged), LNT_ELIMIT (more than 100,000 runs belong to it),
 * LNT_EINVAL, LNT_EFULL, LNT_EREADONLY, LNT_EIO, LNT_ENOMEM. */
LNT_API lnt_status lnt_purge(lnt_runtime *rt, const char *id, const lnt_purge_options *options, uint64_t *count, lnt_error *err);

/* The same for all that fulfil the conditions, at most which->limit of them in one call (0: 1000): `*next` goes on as in lnt_list().
 * Without a status_mask: COMPLETED, FAILED, CANCELED, TERMINATED. A run that is not the newest of its id goes alone. Instances that are
 * not finished, or have children that are not, are passed over. `*count` is how many instances go. Errors as lnt_list() and lnt_purge(). */
LNT_API lnt_status lnt_purge_matching(lnt_runtime *rt, const lnt_list_options *which, const lnt_purge_options *options, uint64_t *count,
                                      uint64_t *next, lnt_error *err);

/* X(name, number, text): kinds of history events; the journal's FORMAT.md tells their bytes. Numbers never change. */
#define LNT_EVENT_MAP(X)                                                                                               \
  X(STARTED, 1, "the instance was accepted: name, input, code")                                                        \
  X(TURN, 2, "the body consumed every event before this point and waits")                                              \
  X(ACTIVITY_SCHEDULED, 3, "the body called an activity")                                                              \
  X(ACTIVITY_COMPLETED, 4, "an attempt returned a result")                                                             \
  X(ACTIVITY_FAILED, 5, "the last attempt failed")                                                                     \
  X(ACTIVITY_RETRIED, 6, "an attempt failed; another one follows")                                                     \
  X(TIMER_CREATED, 7, "the body created a timer")                                                                      \
  X(TIMER_FIRED, 8, "a timer or the timeout of a wait came due")                                                       \
  X(EVENT_AWAITED, 9, "the body waits for an external event")                                                          \
  X(EVENT_RAISED, 10, "an external event was accepted")                                                                \
  X(COMMAND_CANCELED, 11, "the body gave up a timer, a wait or an activity")                                           \
  X(TERMINATE_REQUESTED, 12, "termination was asked for")                                                              \
  X(COMPLETED, 13, "the body returned")                                                                                \
  X(FAILED, 14, "the body raised an error")                                                                            \
  X(TERMINATED, 15, "the instance was stopped")                                                                        \
  X(STALLED, 16, "replay met a divergence")                                                                            \
  X(RESUMED, 17, "replay succeeded again after a stall")                                                               \
  X(CODE_CHANGED, 18, "the instance moved to other code")                                                              \
  X(CHILD_SCHEDULED, 19, "the body started a child workflow")                                                          \
  X(CHILD_COMPLETED, 20, "a child returned a result")                                                                  \
  X(CHILD_FAILED, 21, "the last attempt of a child ended without a result")                                            \
  X(CHILD_RETRIED, 22, "a child ended without a result; another one follows")                                          \
  X(DETACHED_STARTED, 23, "the body started a workflow that is not its child")                                         \
  X(EVENT_SENT, 24, "the body raised an event at another instance")                                                    \
  X(SIDE_EFFECT, 25, "the body recorded a value that it made")                                                         \
  X(EMITTED, 26, "the body appended a value to a stream")                                                              \
  X(UPDATE_ACCEPTED, 27, "an update passed its validation")                                                            \
  X(UPDATE_ANSWERED, 28, "the handler of an update ended")                                                             \
  X(SUSPENDED, 29, "the instance was paused: it only gathers events")                                                  \
  X(UNSUSPENDED, 30, "the pause ended")                                                                                \
  X(CANCEL_REQUESTED, 31, "cancellation was asked for")                                                                \
  X(CANCELED, 32, "the body ended because it was canceled")                                                            \
  X(CONTINUED_AS_NEW, 33, "the body ended; a new generation goes on under this id")                                    \
  X(ACTIVITY_DEFERRED, 34, "an attempt will be answered from outside, also after a restart")                           \
  X(INPUT_REPLACED, 35, "a rerun gives a command another input")                                                       \
  X(PATCHED, 36, "the body asked for a patch and took it")                                                             \
  X(FORKED, 37, "what stands before this is a copy of another instance's history")                                    \
  X(CONTINUE_ADVISED, 38, "the body asked whether to continue as new, and the answer was yes")                         \
  X(UPDATE_REQUESTED, 39, "an update was asked for while the instance only gathered; it is accepted when its turn comes")  \
  X(UPDATE_REJECTED, 40, "that update was refused when its turn came")

typedef enum lnt_event_kind {
#define LNT__X(name, number, text) LNT_EVENT_##name = number,
  LNT_EVENT_MAP(LNT__X)
#undef LNT__X
} lnt_event_kind;

/* "ActivityScheduled" ... Static; any thread; "Unknown" for a number out of range. */
LNT_API const char *lnt_event_kind_name(lnt_event_kind kind);

/* One event of a history. Fields that a kind does not use are zero. */
typedef struct lnt_event {
  uint64_t index; /* place in the history, from 1 */
  lnt_event_kind kind;
  int64_t time_us;
  uint32_t seq;     /* number of the command it belongs to, from 1; 0: none */
  uint32_t attempt; /* of an activity, from 1 */
  int64_t due_us;   /* timers, waits with a timeout, the next attempt; 0: none */
  const char *name; /* workflow, activity, event; NULL: none */
  lnt_value value;  /* input, result, data, output, or a failure as a map */
  const char *detail; /* for people only, never seen by the workflow: a traceback, a code hash; NULL: none */
  const char *id;     /* the instance or update that the event is about: a child, the target of an event; the key it was raised under;
                         NULL: none */
  lnt_value options;  /* how the command was made (retry, timeouts), or the failure of one that is answered at once; nil: none */
  const char *idempotency_key; /* lnt_history() alone, of an ActivityScheduled: the key of its step; NULL: none */
} lnt_event;

/* Return non-zero to stop early. */
typedef int (*lnt_event_fn)(void *user, const lnt_event *event);

/* Read an instance's history in order. Errors as lnt_get(). Works on a read-only runtime. */
LNT_API lnt_status lnt_history(lnt_runtime *rt, const char *id, lnt_event_fn fn, void *user, lnt_error *err);

/* The same for one run of an instance; 0: the newest. Errors as lnt_get_run(). */
LNT_API lnt_status lnt_history_run(lnt_runtime *rt, const char *id, uint64_t run, lnt_event_fn fn, void *user, lnt_error *err);

/* ---- Questions --------------------------------------------------------------------------------------------------- */

/* Called once on the owner thread, in a tick. LNT_OK: `value` is the answer. LNT_EFAILED: it is a failure, a map {type, message ...}: what
 * the handler raised, or UnknownQuery, UnknownUpdate, QueryNotReadOnly, UpdateRejected, UpdateAbandoned (the instance ended, or continued
 * as new, first), BudgetExceeded ... LNT_EDIVERGED: the instance is STALLED, and the failure says why. LNT_ECLOSED: an update of a
 * finished instance (a failure), or the runtime was closed (nil). LNT_ELIMIT: updates_max or history_events_max. LNT_EIO, LNT_ECORRUPT,
 * LNT_ENOMEM. */
typedef void (*lnt_answer_fn)(void *user, lnt_status status, lnt_value value);

/* Ask an instance: run its handler `name` (ctx:on_query) with `args`. It sees the instance as it stands after everything accepted before,
 * and is answered when all of that is durable. It works on an instance that runs, is suspended or finished (those are rebuilt from their
 * history), and leaves no trace in it. A handler that waits, calls, emits, draws random numbers or otherwise moves the instance is stopped
 * there; one that changes a table or a variable of the workflow cannot be, and breaks its replays: only look.
 * `fn` may be called before anything else happens, but never from inside lnt_query().
 * Errors: LNT_ENOTFOUND, LNT_EINVAL, LNT_ELIMIT (questions_max, payload_bytes_max), LNT_EVALUE, LNT_EFULL (no turn is run until there is
 * room), LNT_EREADONLY, LNT_ENOMEM. On error `fn` is never called. */
LNT_API lnt_status lnt_query(lnt_runtime *rt, const char *id, const char *name, lnt_value args, lnt_answer_fn fn, void *user,
                             lnt_error *err);

typedef struct lnt_update_options {
  size_t size;
  const char *name;      /* of the handler (ctx:on_update); required */
  lnt_value args;
  const char *update_id; /* the rule of instance ids; NULL: a random one */
  lnt_answer_fn fn;      /* may be NULL */
  void *user;
} lnt_update_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_update_options_init(lnt_update_options *options);

/* Ask an instance to do something and answer: its validator sees the request first, and a rejection leaves no trace; an accepted update is
 * in the history, its handler runs as a branch of the workflow, and its result is the answer, when it is durable. An update id makes the
 * request repeatable: the same id again, also after a crash, is not carried out again, but answered with what was recorded, or when it
 * is. (Ids are those of one generation: continue as new forgets them.) An update that was not answered before a crash is either accepted
 * or it never was: ask again with the same id. A SUSPENDED instance, or one that starts later, gathers updates like events, in order, and
 * durably; when it goes on each is accepted or refused in its turn (a refused one may be asked again). One that has returned takes no more
 * and ends when those it has are answered.
 * `id_out` (may be NULL) receives the update's id: LNT_ID_BYTES_MAX + 1 bytes. Errors as lnt_query(). */
LNT_API lnt_status lnt_update(lnt_runtime *rt, const char *id, const lnt_update_options *options, char *id_out, lnt_error *err);

/* WHY IS IT WAITING: describe an instance, as last made durable. `*out` is a map; release it with lnt_value_free(). It leaves no trace in
 * the instance; one that is not in memory is rebuilt for it. Members (times in microseconds; lists have at most 1000 items):
 *   id, workflow, status, run, generation
 *   reason        text for people: "waits for the event "decision" until ..., at approval.lua:12". Of every instance that is not finished
 *   live          whether a body was looked at; false on a read-only runtime, and of an instance that is finished, stalled, or has not had
 *                 its first turn: then the three members that follow are absent
 *   branches      [{branch ("main", "branch", "update"), at (file:line of the wait), waits_for ("command", "activity", "timer", "event",
 *                 "child", "branch", "all", "any", "scope", "nothing"), seqs (commands it waits for), update (name of the handler)}]
 *   queries, update_handlers    names that the workflow registered
 *   activities    [{seq, name, state ("scheduled", "running", "retrying", "deferred"), scheduled_us, attempt, next_try_us, last_failure,
 *                 deadline_us (the attempt is given up), heartbeat, token (text, of one that is running or deferred)}]; "running" and
 *                 deadlines are known to the runtime that runs it
 *   timers        [{seq, due_us}]
 *   awaited       [{seq, name, since_us, until_us}] external events
 *   children      [{seq, id, workflow, since_us, until_us, attempt, next_try_us, last_failure}]
 *   buffered      [{name, raised_us}] external events that nobody has waited for
 *   updates       [{id, name, accepted_us}] accepted and not answered
 *   gathered      [{kind (of the event), time_us, name, seq, id}] what has come and the next turn will take up, in order: of a SUSPENDED
 *                 instance all that it gathered. What it answers is not listed as waited for any more
 *   streams       [{name, count, last_us}] of this generation
 *   undelivered   how many events the next turn will take up: those that have gathered, and the start
 * Works on a read-only runtime. Errors as lnt_get(). */
LNT_API lnt_status lnt_describe(lnt_runtime *rt, const char *id, lnt_value *out, lnt_error *err);

/* ---- Other code for instances that run -------------------------------------------------------------------------- */

/* Instances are pinned to the code that they started with. A reload tries new code on those that run, tells how each would fare, and then
 * lets it become current. A trial replays the durable history of an instance against the code in scratch; nothing of the instance changes.
 * Trials are made in slices of about a millisecond, between the turns of others; a long history takes many. */

/* What becomes of instances that run. Whatever the policy, a STALLED instance whose history fits the new code is moved to it. */
typedef enum lnt_reload_policy {
  LNT_RELOAD_AUTHORS = 0,       /* as each workflow says: workflow(name, {on_reload = "adopt"}, fn); pin where it says nothing */
  LNT_RELOAD_PIN = 1,           /* new starts get the new code; instances stay on theirs */
  LNT_RELOAD_ADOPT = 2,         /* the same, and compatible instances are moved to it; others stay on theirs */
  LNT_RELOAD_ALL_OR_NOTHING = 3 /* nothing happens unless every instance is compatible; then all are moved */
} lnt_reload_policy;

/* "authors", "pin", "adopt", "all_or_nothing" and back. Any thread. parse: LNT_EINVAL (also "all-or-nothing" is understood). */
LNT_API const char *lnt_reload_policy_name(lnt_reload_policy policy);
LNT_API lnt_status lnt_reload_policy_parse(const char *text, lnt_reload_policy *out);

typedef enum lnt_fit {
  LNT_FIT_COMPATIBLE = 0,  /* the code makes every call that is recorded */
  LNT_FIT_DIVERGES = 1,    /* it does not: the report says where */
  LNT_FIT_UNAVAILABLE = 2, /* the code does not define the workflow any more, or does not load for it: `message` */
  LNT_FIT_BUSY = 3,        /* it never came to rest while it was looked at; it stays on its code */
  LNT_FIT_NOT_REACHED = 4  /* compatible so far, and that says nothing of the change: it ran no line yet that is different in the new code,
                              and none that the new code does not have. Spaces and comments are no difference, nor are activities, nor
                              functions that it never called. Where lines cannot be told apart it is LNT_FIT_COMPATIBLE */
} lnt_fit;
LNT_API const char *lnt_fit_name(lnt_fit fit); /* "compatible" ... "not_reached". Static; any thread */

/* How one instance would fare. Valid until the callback returns; texts that do not apply are "". */
typedef struct lnt_fit_report {
  const char *id, *workflow;
  uint64_t run;
  lnt_run_status status;
  lnt_fit fit;
  int moves;             /* 1: it will be moved, unless it goes on differently before the switch */
  const char *from_hash; /* hex: the code it is on */
  const char *to_hash;
  uint64_t events;       /* of its history */
  const char *message;   /* all of it in a sentence; "" when it fits */
  /* LNT_FIT_DIVERGES: */
  uint64_t event;        /* the recorded event, from 1; 0: the code makes a call where none is recorded */
  int64_t recorded_us;
  const char *recorded, *made;         /* both calls as an author would write them */
  const char *recorded_at, *made_at;   /* file:line of the one in the code that made it; of the other in the new code */
  const char *difference;              /* the first difference of the arguments */
} lnt_fit_report;
typedef void (*lnt_fit_fn)(void *user, const lnt_fit_report *report);

/* A patch that the new code asks for (ctx:is_patched), and what the checked instances that fit answered in it; those that have the code
 * already are asked, too. `passed` 0: nobody who runs needs the branch for "not patched": it may go. The call itself must stay while
 * `took` is not 0: their histories have it. */
typedef struct lnt_patch_info {
  const char *name;
  uint64_t took;   /* yes: it is in their history */
  uint64_t passed; /* no: they had passed the place before the patch was there */
} lnt_patch_info;

/* An activity that the new code shows otherwise: with other parameters, options, or annotations (the lines `---@...` above its function).
 * Activities always run the newest code, so instances on older code call it as it was. */
typedef struct lnt_interface_info {
  const char *activity;
  const char *recorded; /* "reserve(order, act); pure = true; @param order string" */
  const char *now;      /* the same; "": no file defines it any more */
  int64_t recorded_us;
  uint64_t live;        /* instances that are not finished and whose code names it; at most LNT_INTERFACE_LIVE_MAX are counted */
} lnt_interface_info;
#define LNT_INTERFACE_LIVE_MAX 1000

typedef struct lnt_reload_summary {
  lnt_status status;     /* LNT_OK; LNT_EDIVERGED: all or nothing, and not every instance is compatible; LNT_ESYNTAX and the like: the file
                            cannot become current; LNT_ECLOSED: the runtime was closed first; or why it was broken off */
  const char *message;   /* "" when all is well */
  const char *file;      /* "" for lnt_migrate() */
  const char *hash;      /* hex: the new code; "" where instances are moved to the current code of their workflow */
  int dry_run;
  int switched;          /* 1: new starts get the code from now on */
  int unchanged;         /* 1: it was current already */
  uint64_t checked;      /* instances that run on other code of these workflows */
  uint64_t compatible, diverging, unavailable, busy; /* of these; compatible: those that have reached what changed */
  uint64_t not_reached;  /* of these: LNT_FIT_NOT_REACHED */
  uint64_t moved;
  int64_t took_us;
  const lnt_patch_info *patches; /* valid as long as the summary, as is what follows */
  size_t patch_count;
  const lnt_interface_info *interfaces;
  size_t interface_count;
} lnt_reload_summary;
typedef void (*lnt_reload_fn)(void *user, const lnt_reload_summary *summary);

typedef struct lnt_reload_options {
  size_t size;
  const char *file;   /* the path, or with `source` the name, as lnt_load_file() and lnt_load_string() take it; required */
  const char *source; /* NULL: what the file holds */
  size_t source_size;
  lnt_reload_policy policy;
  int dry_run;        /* 1: try and tell, change nothing */
  int now;            /* 1: all of it before the call returns, with its commits; no turn runs meanwhile. Not from a callback */
  lnt_fit_fn fn;      /* called for every instance before the switch; may be NULL */
  lnt_reload_fn done; /* called once, at the end; may be NULL */
  void *user;
} lnt_reload_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_reload_options_init(lnt_reload_options *options);

/* Load a file again, with a look at the instances that run first. `fn` and `done` are called on the owner thread, in later ticks (with
 * `now`: in this call). Reloads and migrations are carried out one after the other. A workflow that the file does not define any more
 * keeps its instances. Errors: as lnt_load_file() (the file does not load: nothing happens, and `done` is not called), LNT_EINVAL,
 * LNT_ELIMIT (1000 reloads wait), LNT_EMISUSE (`now` from a callback). */
LNT_API lnt_status lnt_reload(lnt_runtime *rt, const lnt_reload_options *options, lnt_error *err);

typedef struct lnt_migrate_options {
  size_t size;
  const char *const *ids; /* these instances; NULL: those of `filter` */
  size_t id_count;
  const lnt_list_options *filter; /* as lnt_list(), but only instances that are not finished; cursor and limit do not matter */
  const char *hash;       /* hex, the beginning is enough; NULL: the current code of each instance's workflow */
  lnt_reload_policy policy; /* LNT_RELOAD_ADOPT (default) or LNT_RELOAD_ALL_OR_NOTHING */
  int dry_run, now;       /* as lnt_reload_options */
  lnt_fit_fn fn;
  lnt_reload_fn done;
  void *user;
} lnt_migrate_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_migrate_options_init(lnt_migrate_options *options);

/* Move chosen instances to other code that is in the data directory, after the same look. Errors: LNT_ENOTFOUND (an id; no code begins with
 * `hash`), LNT_EINVAL (more than one does; neither ids nor a filter), and as lnt_reload(). */
LNT_API lnt_status lnt_migrate(lnt_runtime *rt, const lnt_migrate_options *options, lnt_error *err);

/* One version of a workflow. Valid until the callback returns. */
typedef struct lnt_version_info {
  const char *workflow;
  const char *hash; /* hex */
  const char *file; /* that it came from; "": not recorded */
  int64_t since_us; /* when it last became current; 0: not recorded */
  uint64_t live;    /* instances that run on it */
  int is_current;   /* new starts get it: the one that became current last */
} lnt_version_info;

/* The versions of a workflow (NULL: of all), newest first for each name. A version stays while it is the current one, or an instance is on
 * it, finished or not; what a purge or a move sets free is taken out by the ticks that follow. Reads a row per live instance. Return
 * non-zero from `fn` to stop.
 * Works on a read-only runtime. Errors as lnt_list(). */
typedef int (*lnt_version_fn)(void *user, const lnt_version_info *version);
LNT_API lnt_status lnt_versions(lnt_runtime *rt, const char *workflow, lnt_version_fn fn, void *user, lnt_error *err);

/* One source of a version: of the file itself (`module` NULL), or of a module that it requires. */
typedef struct lnt_source {
  const char *module; /* "util.text" */
  const char *file;   /* "research.lua", "util/text.lua" */
  const char *text;   /* `size` bytes, without a NUL */
  size_t size;
} lnt_source;

/* The sources of a version by its hash (hex, the beginning is enough): the file first. `hash_out` (may be NULL) receives the whole hash.
 * Return non-zero from `fn` to stop. Works on a read-only runtime. Errors: LNT_ENOTFOUND, LNT_EINVAL (more than one begins so). */
typedef int (*lnt_source_fn)(void *user, const lnt_source *source);
#define LNT_HASH_TEXT_BYTES 65
LNT_API lnt_status lnt_code(lnt_runtime *rt, const char *hash, lnt_source_fn fn, void *user, char hash_out[LNT_HASH_TEXT_BYTES],
                            lnt_error *err);

/* ---- An instance in a file ---------------------------------------------------------------------------------------- */

/* An export holds what an instance needs anywhere: its history, what is due, and the sources that made it, in one file with a checksum
 * (journal/ARCHIVE.md tells its bytes). It can be replayed on any machine, and taken into another data directory, where it goes on. */

#define LNT_EXPORT_BYTES_MAX ((size_t)512 << 20)

typedef struct lnt_export_options {
  size_t size;
  uint64_t run; /* which run of the id; 0: its newest */
  int whole;    /* 1: with every earlier run of the id and every child, theirs and so on; 0: with children that are not finished */
} lnt_export_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_export_options_init(lnt_export_options *options);

/* Write an instance, as last made durable, into the file `path`; one that is there is replaced. The instance stays here, and goes on. NULL
 * options: the defaults. Works on a read-only runtime. Errors: LNT_ENOTFOUND (the instance, the run, its code, the folder), LNT_EAGAIN (it
 * changes faster than it can be read), LNT_ELIMIT (LNT_EXPORT_BYTES_MAX, or 100,000 runs), LNT_EINVAL, LNT_EFULL, LNT_EIO, LNT_ECORRUPT,
 * LNT_ENOMEM. */
LNT_API lnt_status lnt_export(lnt_runtime *rt, const char *id, const lnt_export_options *options, const char *path, lnt_error *err);

/* The same into memory: release *data with lnt_free(). */
LNT_API lnt_status lnt_export_data(lnt_runtime *rt, const char *id, const lnt_export_options *options, void **data, size_t *size,
                                   lnt_error *err);

typedef struct lnt_import_result {
  char id[LNT_ID_BYTES_MAX + 1];
  uint64_t run;  /* its number here */
  uint64_t runs; /* that were taken in, children and earlier runs too */
  uint64_t live; /* of these, not finished: they go on */
} lnt_import_result;

/* `result` is NULL unless status is LNT_OK, `err` says why not. LNT_ECLOSED: the runtime was closed first. */
typedef void (*lnt_import_fn)(void *user, lnt_status status, const lnt_import_result *result, const lnt_error *err);

typedef struct lnt_import_options {
  size_t size;
  const char *path;   /* the file; or NULL, and its bytes: */
  const void *data;
  size_t data_size;
  const char *new_id; /* NULL: under its own id */
  int suspend;        /* 1: what is not finished is SUSPENDED: nothing of it runs until lnt_resume() */
  lnt_import_fn done; /* NULL: all of it before the call returns, which is not possible from a callback. Else the file is read and checked
                         now, taken in by the next tick, and `done` is called there, once */
  void *user;
} lnt_import_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_import_options_init(lnt_import_options *options);

/* Take an instance into this data directory. Everything in the file lands in one transaction, or nothing does; it is durable when the call
 * returns. What is not finished goes on: activities without an answer run again, here; timers stand for the times they had, those that are
 * past fire at once; whoever waits for an event waits. It runs the code in the file, its activities too where no loaded file defines
 * them, so import only what you trust. Its parent, if it had one that is not in the file, hears nothing of it.
 * Idempotency keys stay. So do run numbers, and with them tokens and cursors, if they are higher than any in this directory; else there are
 * new ones, in the same order.
 * With `new_id` it is a fork (lnt_fork) of the run that was asked for: its children without an answer are started again, here.
 * The instance that was exported knows nothing of all this: purge or terminate it there if it shall go on only here.
 * `result` may be NULL. Errors: LNT_EEXIST (an id is taken: the message names it), LNT_ENOTFOUND (no such file; code is missing),
 * LNT_ENOTOURS (not an export), LNT_EVERSION (of a newer format), LNT_ECORRUPT (damaged or cut off), LNT_EINVAL, LNT_ELIMIT (larger than
 * LNT_EXPORT_BYTES_MAX), LNT_EMISUSE (from a callback, without `done`), LNT_EFULL, LNT_EREADONLY, LNT_EIO, LNT_ENOMEM. Only with `new_id`
 * and a store that is full is the request kept, and tried again. */
LNT_API lnt_status lnt_import(lnt_runtime *rt, const lnt_import_options *options, lnt_import_result *result, lnt_error *err);

typedef struct lnt_replay_options {
  size_t size;
  const char *path;         /* the file; or NULL, and its bytes: */
  const void *data;
  size_t data_size;
  const char *against;      /* a Lua file whose code is tried; NULL: the code in the export */
  const char *source;       /* its text; NULL: what the file `against` holds */
  size_t source_size;
  int all;                  /* 1: every run in the file; 0: the one that was asked for */
  const char *module_path;  /* as lnt_options: where `against` finds its modules */
  const char *stdlib_path;
} lnt_replay_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_replay_options_init(lnt_replay_options *options);

/* How the replay of one run went. Valid until the callback returns. */
typedef struct lnt_replay_report {
  const lnt_fit_report *fit; /* where code and history part, if they do; a finished run must end as it did, but for the text of a failure */
  lnt_run_status end;        /* what the code came to: COMPLETED, FAILED, CANCELED, CONTINUED_AS_NEW; RUNNING: it waits; STALLED: it did
                                not get through the history */
  lnt_value output;          /* COMPLETED: what it returned; CONTINUED_AS_NEW: the next input */
  lnt_value failure;         /* FAILED, CANCELED: a map; else nil */
  lnt_value custom_status;   /* as recorded */
  const char *reason;        /* why it waits, as lnt_describe() tells, where it was replayed with its own code; "" */
  const char *engine;        /* the interpreter and processor that made the history ("LuaJIT 2.1.0-beta3 x64") */
  const char *engine_here;
} lnt_replay_report;
typedef void (*lnt_replay_fn)(void *user, const lnt_replay_report *report);

/* Replay an export in scratch, in memory; no activity runs, nothing is written anywhere. `*diverged` (may be NULL) is how many runs did
 * not fit. Any thread; needs no runtime. Errors: as lnt_import(), but for those of a data directory, and LNT_ESYNTAX (`against` does not
 * load). */
LNT_API lnt_status lnt_replay(const lnt_replay_options *options, lnt_replay_fn fn, void *user, uint64_t *diverged, lnt_error *err);

/* ---- Watching a folder ------------------------------------------------------------------------------------------- */

typedef enum lnt_watch_kind {
  LNT_WATCH_LOADED = 1,   /* a file was loaded for the first time */
  LNT_WATCH_INSTANCE = 2, /* how an instance would fare with the new code, before it becomes current: `instance` */
  LNT_WATCH_RELOADED = 3, /* a file is current now, or, summary->unchanged, again what is current: `summary` */
  LNT_WATCH_REFUSED = 4,  /* all or nothing: `summary` and `message` say why the old code stays */
  LNT_WATCH_BROKEN = 5,   /* a file does not load; the old code stays: `message`, file:line and the source line */
  LNT_WATCH_DELETED = 6   /* a file is gone; its code stays, for new starts too */
} lnt_watch_kind;
LNT_API const char *lnt_watch_kind_name(lnt_watch_kind kind); /* "loaded" ... Static; any thread */

/* Valid until the callback returns; texts that do not apply are "". */
typedef struct lnt_watch_event {
  lnt_watch_kind kind;
  const char *file;  /* the path, as it is loaded: dir/name.lua; of a module that is broken, its own */
  const char *cause; /* the path of what changed: the file, or a module that it requires */
  const char *message;
  const lnt_fit_report *instance;
  const lnt_reload_summary *summary;
} lnt_watch_event;
typedef void (*lnt_watch_fn)(void *user, const lnt_watch_event *event);

typedef struct lnt_watch_options {
  size_t size;
  lnt_reload_policy policy;
  lnt_watch_fn fn; /* may be NULL */
  void *user;
  int once;        /* 1: load what there is, with the policies for instances of earlier processes; what changes later is not noticed */
} lnt_watch_options;

/* Fill `options` with defaults. Any thread. */
LNT_API void lnt_watch_options_init(lnt_watch_options *options);

/* Load every *.lua file of `dir`, and reload (lnt_reload) what changes there from now on: a file itself, or a module in `dir` or in a
 * folder below it that it requires. `fn` is called on the owner thread, for what is loaded at once from inside lnt_watch(), then in ticks.
 * What is loaded at first counts as a change, too, for instances of an earlier process: by the policy they stay on their code, are moved,
 * or, all or nothing, keep the file from becoming current; until then new starts get the version that was current before.
 * Changes are noticed at once where the system tells of them, and within about a second in any case. What counts is the text, not the date.
 * Files whose names begin with '.' or '#' or end in '~' are left alone; folders that begin with '.', too; symbolic links are followed.
 * A file that vanishes keeps its code. A module that does not compile holds back every reload until it is mended or taken away.
 * `*out` is released by lnt_unwatch() or lnt_close(). Errors: LNT_ENOTFOUND, LNT_EINVAL (not a folder), LNT_ELIMIT (more than
 * LNT_WATCH_FILES_MAX files, or LNT_WATCH_FOLDERS_MAX folders), LNT_EREADONLY, LNT_ENOMEM. Broken files are no error: `fn` is told. */
#define LNT_WATCH_FILES_MAX 10000
#define LNT_WATCH_FOLDERS_MAX 1000
typedef struct lnt_watcher lnt_watcher;
LNT_API lnt_status lnt_watch(lnt_runtime *rt, const char *dir, const lnt_watch_options *options, lnt_watcher **out, lnt_error *err);

/* End it; `fn` is not called again. Reloads that were begun go on. Owner thread, also from `fn`. NULL is accepted. */
LNT_API void lnt_unwatch(lnt_runtime *rt, lnt_watcher *watcher);

/* ---- Streams ---------------------------------------------------------------------------------------------------- */

/* Where a reader of a stream stands: every value before it was read. A value: keep it, store it, compare nothing in it. All zeros: before
 * the first. It stays good as long as the instance exists, over generations too. */
typedef struct lnt_cursor {
  uint64_t run;
  uint32_t record, place;
} lnt_cursor;

#define LNT_CURSOR_TEXT_BYTES 48

/* A cursor as text ("17.4.2"), and back. NULL and "" are before the first. Any thread. Errors: LNT_EINVAL. */
LNT_API void lnt_cursor_to_text(lnt_cursor cursor, char out[LNT_CURSOR_TEXT_BYTES]);
LNT_API lnt_status lnt_cursor_from_text(const char *text, lnt_cursor *out, lnt_error *err);

/* One value of a stream; valid until the callback returns. */
typedef struct lnt_emitted {
  lnt_cursor next; /* stands behind it */
  int64_t time_us;
  lnt_value value;
} lnt_emitted;

/* Return non-zero to stop early. */
typedef int (*lnt_emitted_fn)(void *user, const lnt_emitted *item);

typedef struct lnt_stream_end {
  lnt_cursor next; /* where to go on */
  int ended;       /* 1: the instance is finished and everything was read: nothing more will come */
} lnt_stream_end;

/* Read what an instance emitted to a stream (ctx:emit), in order, from a cursor on, at most `limit` values (0: all). Works while it runs
 * and after its end, over all its generations, on a read-only runtime too. Reading on costs what is new, not what was read. `end` may be
 * NULL. A stream that nothing was emitted to is empty. Errors as lnt_get(); LNT_EINVAL: the cursor is another instance's. */
LNT_API lnt_status lnt_stream(lnt_runtime *rt, const char *id, const char *stream, lnt_cursor from, uint32_t limit, lnt_emitted_fn fn,
                              void *user, lnt_stream_end *end, lnt_error *err);

/* Follow a stream: `fn` is called on the owner thread, in ticks, for every value from the cursor on, each once, as soon as it is durable;
 * and with NULL when the instance is finished, or cannot be read any more (the log says why). Non-zero from it, and the call with NULL,
 * end the following; `*out` is not valid after that. lnt_close() ends it without a call. An instance whose start is accepted and not yet
 * durable can be followed. Errors: LNT_ENOTFOUND, LNT_EINVAL, LNT_ELIMIT (10000 followers), LNT_EREADONLY, LNT_ENOMEM. */
typedef struct lnt_follower lnt_follower;
LNT_API lnt_status lnt_follow(lnt_runtime *rt, const char *id, const char *stream, lnt_cursor from, lnt_emitted_fn fn, void *user,
                              lnt_follower **out, lnt_error *err);

/* End it; `fn` is not called again. Owner thread, also from `fn`. */
LNT_API void lnt_unfollow(lnt_runtime *rt, lnt_follower *follower);

/* Observe: `fn` is called on the owner thread for every event of every instance, after it became durable, in journal order per
 * instance. One observer at a time; NULL removes it. `status` is the instance's status after the batch. */
typedef void (*lnt_observer_fn)(void *user, const char *instance_id, lnt_run_status status, const lnt_event *event);
LNT_API lnt_status lnt_observe(lnt_runtime *rt, lnt_observer_fn fn, void *user);

/* ---- Driving --------------------------------------------------------------------------------------------------- */

typedef struct lnt_tick_result {
  uint32_t turns;        /* turns run */
  uint32_t commits;      /* batches that became durable: 0 or 1 */
  uint32_t ready;        /* instances with undelivered events, left for the next tick */
  uint32_t running;      /* activities dispatched and not yet answered */
  int in_commit;         /* a batch is on its way to the disk */
  int full;              /* the store is full: new work is refused, the batch is tried again */
  int64_t next_due_us;   /* absolute time of the next timer or retry; INT64_MAX: none */
} lnt_tick_result;

/* Do what can be done without waiting: completions, due timers, turns, one commit, effects. `budget_ns` bounds the time spent
 * on turns and on Lua activities (at least one turn is run); 0: no bound. With `committer` no disk is waited for. `result` may be NULL.
 * Errors: LNT_ETHREAD, LNT_EMISUSE, LNT_EREADONLY, LNT_EIO (the store failed for a reason other than room), LNT_ECORRUPT. */
LNT_API lnt_status lnt_tick(lnt_runtime *rt, uint64_t budget_ns, lnt_tick_result *result, lnt_error *err);

/* Drive the runtime on its own libuv loop until lnt_stop(). Errors as lnt_tick(). */
LNT_API lnt_status lnt_run(lnt_runtime *rt, lnt_error *err);

/* Make lnt_run() return after the current tick. Owner thread (from a callback). */
LNT_API void lnt_stop(lnt_runtime *rt);

/* Drive until instance `id` is finished or STALLED, at most `timeout_us` (negative: no limit). Errors as lnt_tick(), and LNT_ENOTFOUND,
 * LNT_ETIMEOUT. */
LNT_API lnt_status lnt_wait(lnt_runtime *rt, const char *id, int64_t timeout_us, lnt_error *err);

/* Drive until instance `id` is no longer PENDING, at most `timeout_us` (negative: no limit). Errors as lnt_wait(). */
LNT_API lnt_status lnt_wait_start(lnt_runtime *rt, const char *id, int64_t timeout_us, lnt_error *err);

/* Drive until `condition` answers non-zero; it is asked after each tick. `timeout_us` as above. Errors as lnt_tick(), and LNT_ETIMEOUT. */
typedef int (*lnt_condition_fn)(void *user);
LNT_API lnt_status lnt_drive_until(lnt_runtime *rt, lnt_condition_fn condition, void *user, int64_t timeout_us, lnt_error *err);

/* Drive until nothing can move by itself: no ready instance, no running activity, no commit on its way, no due timer or retry.
 * `timeout_us` as above. Errors as lnt_tick(), and LNT_ETIMEOUT. */
LNT_API lnt_status lnt_drain(lnt_runtime *rt, int64_t timeout_us, lnt_error *err);

/* Commit everything accepted so far, answers of activities too, and wait for it, without running turns. Errors: as lnt_tick(), and
 * LNT_EFULL. */
LNT_API lnt_status lnt_flush(lnt_runtime *rt, lnt_error *err);

/* Ask the owner thread to tick. ANY THREAD. */
LNT_API void lnt_wake(lnt_runtime *rt);

/* The runtime's libuv loop, for handles of the host's own on the owner thread; they are run by lnt_tick() and lnt_run(). Owned by the
 * runtime; close your handles before lnt_close(). */
struct uv_loop_s;
LNT_API struct uv_loop_s *lnt_uv_loop(lnt_runtime *rt);

/* Drop every live coroutine; instances are rebuilt by replay when they move next. For tests and for memory pressure. Owner thread. */
LNT_API lnt_status lnt_evict_all(lnt_runtime *rt);

/* Write a consistent copy of a running store to `path` (a directory that does not exist yet). Errors: LNT_EIO, LNT_EEXIST,
 * LNT_EINVAL, LNT_EFULL, LNT_EREADONLY. */
LNT_API lnt_status lnt_snapshot(lnt_runtime *rt, const char *path, lnt_error *err);

/* X(field, meaning): counters since lnt_open(), except the gauges marked (now). */
#define LNT_STATS_MAP(X)                                                                                               \
  X(started, "instances accepted")                                                                                     \
  X(closed, "instances finished")                                                                                      \
  X(purged, "instances taken out of the store")                                                                        \
  X(continued, "generations that continued as new")                                                                    \
  X(turns, "turns run")                                                                                                \
  X(steps, "activity results journaled")                                                                               \
  X(replays, "instances rebuilt from their history")                                                                   \
  X(replayed_events, "events fed to the body during rebuilds")                                                         \
  X(commits, "batches made durable")                                                                                   \
  X(commit_records, "records written")                                                                                 \
  X(commit_bytes, "bytes written, keys and values")                                                                    \
  X(commit_failures, "commits that failed and were tried again")                                                       \
  X(activities_started, "attempts dispatched")                                                                         \
  X(stale_completions, "answers for attempts that were over")                                                          \
  X(stalled, "divergences met")                                                                                        \
  X(loaded, "(now) instances held in memory")                                                                          \
  X(resident, "(now) instances with a live coroutine")                                                                 \
  X(ready, "(now) instances with undelivered events")                                                                  \
  X(running, "(now) activities dispatched and not yet answered")                                                       \
  X(workflow_memory_bytes, "(now) bytes held by the workflow VM")                                                      \
  X(activity_memory_bytes, "(now) bytes held by the activity VM on the owner thread")                                  \
  X(code_collected, "versions of code taken out of the store: not current, and no instance was on them")

typedef struct lnt_stats {
  size_t size;
#define LNT__X(field, text) uint64_t field;
  LNT_STATS_MAP(LNT__X)
#undef LNT__X
  /* How often each limit was met since lnt_open(): something was refused, failed, stopped, had to wait (activities_running_max), or left
   * memory (resident_max). store_bytes_max: commits that found no room, in the file or on its disk. */
  lnt_limits met;
} lnt_stats;

/* Fill `stats` (set its size first). Owner thread. */
LNT_API lnt_status lnt_get_stats(lnt_runtime *rt, lnt_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
