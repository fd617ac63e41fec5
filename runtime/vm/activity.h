/* activity.h - the activity VM: an ordinary lua_State (full libraries) in which activities run as coroutines. One on the owner
 * thread with non-blocking helpers on the runtime's libuv loop (through luv); one per worker thread for blocking activities, without a
 * loop. Each avm is used by the thread that made it.
 *
 * CAVEATS FIRST
 *  - With `slice_us_max` the compiler is off, and what computes longer than that between two waits fails with "SliceExceeded". Without, it
 *    is on, and a compiled loop cannot be stopped: lnt__avm_run() may never return. One call into C can never be stopped.
 *  - Answers (`complete`, `fail`) come from inside lnt__avm_run() or from a callback of the loop, never from lnt__avm_cancel(). They may
 *    call lnt__avm_run() and lnt__avm_cancel(), but not lnt__avm_destroy().
 *  - Starting a child process installs libuv's handler for SIGCHLD; nothing else does. */
#ifndef LNT__ACTIVITY_H
#define LNT__ACTIVITY_H

#include "codec/cbor.h"

#define LNT__AVM_CANCEL_GRACE_MS 500 /* what computes on this long after it was canceled is told by an error, where that is possible */
#define LNT__CANCEL_CLOSING ((lnt_cancel_reason)4) /* the runtime closes: there is no time to clean up */

struct uv_loop_s;
typedef struct lnt__avm lnt__avm;

typedef struct lnt__avm_options {
  struct uv_loop_s *loop; /* NULL: no waiting, helpers block */
  lnt_limits *met; /* counters (LNT__MET); may be NULL */
  uint64_t memory_bytes_max;
  uint64_t payload_bytes_max;
  uint64_t slice_us_max; /* processor time between two waits; 0: no bound, and the compiler is on */
  uint64_t grace_us; /* from the cancellation of an attempt until it is dropped */
  const char *module_path, *stdlib_path; /* may be NULL */
  void *user;
  void (*complete)(void *user, lnt_token token, lnt_value result);
  void (*fail)(void *user, lnt_token token, lnt_value failure, lnt_value detail); /* failure map; detail: traceback text */
  void (*defer)(void *user, lnt_token token); /* in place of an answer: it will be given from outside */
  bool (*heartbeat)(void *user, lnt_token token, lnt_value details); /* true: the attempt is canceled */
  void (*log)(void *user, lnt_log_level level, const char *id, const char *message); /* id: the instance, or NULL */
  /* 0: not canceled. May be NULL; asked by act:canceled(), without a loop while a helper blocks, and now and then while one computes. */
  lnt_cancel_reason (*canceled)(void *user, lnt_token token);
  /* May be NULL; asked while an attempt computes. true stops it: asked again with the place ("quests.lua:12") and a buffer for the failure
   * map. */
  bool (*overdue)(void *user, lnt_token token, const char *place, lnt__buf *failure);
} lnt__avm_options;

lnt_status lnt__avm_create(const lnt__avm_options *options, lnt__avm **out, lnt_error *err);
/* Ends running activities without an answer, closes their handles, kills their child processes; NULL accepted. If an activity ever
 * waited, the loop is run until all that is done: callbacks of other handles on it may run, so destroy the avm before what they need.
 * Never from a callback of the loop. */
void lnt__avm_destroy(lnt__avm *avm);

/* Run a file's text for its activities; `workflow(...)` in it is accepted and ignored. On failure nothing changes. `is_newest`: false
 * loads stored code whose activities count only where no other is known. Errors as lnt_load_file(). */
lnt_status lnt__avm_load(lnt__avm *avm, const char *file, const char *source, size_t size, bool is_newest, lnt_error *err);
/* The same for a bundle (vm.h), which is stored code: its file finds the modules that are in the bundle there. */
lnt_status lnt__avm_load_stored(lnt__avm *avm, const void *bundle, size_t size, lnt_error *err);

typedef struct lnt__rate { uint32_t count; int64_t per_us; } lnt__rate; /* starts in any period; count 0: no limit */
typedef struct lnt__activity_info {
  bool blocking, pure;
  const char *file;
  uint32_t concurrency; /* attempts at once; 0: no limit */
  lnt__rate rate;
} lnt__activity_info;
bool lnt__avm_find(lnt__avm *avm, const char *name, lnt__activity_info *info);
bool lnt__avm_has_pure(const lnt__avm *avm);   /* is, or was, any activity pure? */
bool lnt__avm_has_limits(const lnt__avm *avm); /* is, or was, any activity blocking, or limited otherwise? */
void lnt__avm_each(lnt__avm *avm, void (*fn)(void *user, const char *name, const lnt__activity_info *info), void *user);

/* Run an attempt until it ends or waits. Its answer comes through `complete` or `fail`, now or later from the loop. Exactly one answer. */
void lnt__avm_run(lnt__avm *avm, const lnt_activity *activity);

/* The answer is no longer wanted: the activity is told once, by an error of type "Canceled" that ends its wait, or by act:canceled(). Then
 * it may clean up, and wait again, for grace_us. The child process that it waited for gets SIGTERM, later SIGKILL. */
void lnt__avm_cancel(lnt__avm *avm, lnt_token token, lnt_cancel_reason why);
size_t lnt__avm_running(const lnt__avm *avm);
size_t lnt__avm_memory(const lnt__avm *avm);

#endif
