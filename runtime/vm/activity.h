/* activity.h - the activity VM: an ordinary lua_State (JIT on, full libraries) in which activities run as coroutines. One on the owner thread
 * with non-blocking helpers on the runtime's libuv loop (through luv); one per worker thread for blocking activities, without a loop. Each avm is used by
 * the thread that made it. */
#ifndef LNT__ACTIVITY_H
#define LNT__ACTIVITY_H

#include "codec/cbor.h"

struct uv_loop_s;
typedef struct lnt__avm lnt__avm;

typedef struct lnt__avm_options {
  struct uv_loop_s *loop; /* NULL: no waiting, helpers block */
  uint64_t memory_bytes_max;
  uint64_t payload_bytes_max;
  const char *module_path, *stdlib_path; /* may be NULL */
  void *user;
  void (*complete)(void *user, lnt_token token, lnt_value result);
  void (*fail)(void *user, lnt_token token, lnt_value failure, lnt_value detail); /* failure map; detail: traceback text */
  void (*log)(void *user, lnt_log_level level, const char *id, const char *message);
} lnt__avm_options;

lnt_status lnt__avm_create(const lnt__avm_options *options, lnt__avm **out, lnt_error *err);
void lnt__avm_destroy(lnt__avm *avm); /* ends running activities without an answer, closes their handles; NULL accepted */

/* Run a file's text for its activities; `workflow(...)` in it is accepted and ignored. On failure nothing changes. `is_newest`: false loads stored
 * code whose activities count only where no other is known. Errors as lnt_load_file(). */
lnt_status lnt__avm_load(lnt__avm *avm, const char *file, const char *source, size_t size, bool is_newest, lnt_error *err);

typedef struct lnt__activity_info { bool blocking; const char *file; } lnt__activity_info;
bool lnt__avm_find(lnt__avm *avm, const char *name, lnt__activity_info *info);
void lnt__avm_each(lnt__avm *avm, void (*fn)(void *user, const char *name, const lnt__activity_info *info), void *user);

/* Run an attempt until it ends or waits. Its answer comes through `complete` or `fail`, now or later from the loop. Exactly one answer. */
void lnt__avm_run(lnt__avm *avm, const lnt_activity *activity);

/* The answer is no longer wanted: the activity sees act:canceled() and its waits end with an error of type "Canceled"; its child processes get SIGTERM. */
void lnt__avm_cancel(lnt__avm *avm, lnt_token token);
size_t lnt__avm_running(const lnt__avm *avm);
size_t lnt__avm_memory(const lnt__avm *avm);

#endif
