/* workflow_body.c - the branches of a body: their threads, the ready list, running them, and what becomes of the body when they end. Called
 * by workflow.c; owner thread. */
#include <lauxlib.h>
#include <stdio.h>

#include "journal/journal.h"
#include "vm/sandbox_lib.h"
#include "vm/workflow.h"

#define TRACEBACK_LEVELS_MAX 200
#define TRACEBACK_LINES_MAX 20

/* ---- Threads ---- */

lnt__thread lnt__thread_take(lua_State *L) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__thread thread;
  if (wvm->pooled) return wvm->pool[--wvm->pooled];
  thread.co = lua_newthread(L);
  thread.slot = lnt__anchor(L);
  return thread;
}

void lnt__thread_give(lnt__wvm *wvm, lnt__thread *thread, bool finished) {
  if (thread->co && finished && wvm->pooled < LNT__THREADS_POOLED_MAX && lua_status(thread->co) == 0) {
    lua_settop(thread->co, 0);
    wvm->pool[wvm->pooled++] = *thread;
  } else lnt__release(wvm, &thread->slot);
  *thread = (lnt__thread){NULL, 0};
}

/* ---- Branches ---- */

void lnt__ready(lnt__body *body, lnt__branch *branch, int argument_count) {
  branch->state = LNT__BRANCH_READY;
  branch->argument_count = (uint8_t)argument_count;
  branch->next = NULL;
  if (body->ready_tail) body->ready_tail->next = branch;
  else body->ready_head = branch;
  body->ready_tail = branch;
}

static void leave_ready(lnt__body *body, lnt__branch *branch) {
  lnt__branch *before = NULL;
  for (lnt__branch *at = body->ready_head; at != branch; at = at->next) before = at;
  if (before) before->next = branch->next;
  else body->ready_head = branch->next;
  if (body->ready_tail == branch) body->ready_tail = before;
}

lnt__branch *lnt__branch_create(lua_State *L, lnt__body *body) {
  lnt__thread thread = lnt__thread_take(L);
  lnt__branch *branch = lnt__calloc(1, sizeof *branch);
  if (!branch) {
    lnt__thread_give(lnt__wvm_of(L), &thread, false);
    lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
  }
  branch->thread = thread;
  branch->scope = branch->base = lnt__wvm_of(L)->branch ? lnt__wvm_of(L)->branch->scope : &body->root;
  branch->older = body->branches;
  if (body->branches) body->branches->newer = branch;
  body->branches = branch;
  body->branch_count++;
  return branch;
}

static void branch_free(lnt__wvm *wvm, lnt__body *body, lnt__branch *branch, bool finished) {
  if (branch->newer) branch->newer->older = branch->older;
  else body->branches = branch->older;
  if (branch->older) branch->older->newer = branch->newer;
  body->branch_count--;
  lnt__scopes_drop(wvm, branch);
  lnt__thread_give(wvm, &branch->thread, finished);
  lnt__free(branch);
}

void lnt__branch_stop(lnt__wvm *wvm, lnt__body *body, lnt__branch *branch) {
  if (branch->state == LNT__BRANCH_READY) leave_ready(body, branch);
  branch_free(wvm, body, branch, false);
}

lnt__rng *lnt__body_rng(lnt__body *body, int which) {
  if (!body->rngs) {
    body->rngs = lnt__alloc(2 * sizeof *body->rngs);
    if (!body->rngs) return NULL;
    lnt__rng_seed(&body->rngs[0], body->seed);
    lnt__rng_seed(&body->rngs[1], body->seed ^ 0x6c756e6174696f6eu);
  }
  return &body->rngs[which];
}

void lnt__body_reseed(void *vm, void *body_in, uint64_t seed) {
  lnt__body *body = body_in;
  (void)vm;
  if (body->seed == seed) return;
  body->seed = seed;
  lnt__free(body->rngs);
  body->rngs = NULL;
}

static void free_end(lnt__body *body) {
  lnt__buf_finish(&body->end->value);
  lnt__buf_finish(&body->end->detail);
  lnt__free(body->end);
  body->end = NULL;
}

void lnt__body_free(lnt__wvm *wvm, lnt__body *body) {
  while (body->branches) branch_free(wvm, body, body->branches, false);
  lnt__scopes_drop(wvm, &body->main);
  lnt__tasks_forget(wvm, &body->root);
  lnt__tasks_forget(wvm, &body->handlers);
  lnt__thread_give(wvm, &body->main.thread, body->main.state == LNT__BRANCH_OVER);
  lnt__release(wvm, &body->modules_slot);
  lnt__release(wvm, &body->trace_slot);
  lnt__release(wvm, &body->doomed_slot);
  lnt__buf_finish(&body->trace);
  lnt__release(wvm, &body->queries_slot);
  lnt__release(wvm, &body->updates_slot);
  if (body->waits != &body->one) lnt__free(body->waits);
  lnt__free(body->links);
  lnt__free(body->rngs);
  if (body->end) free_end(body);
  lnt__free(body->next);
  lnt__free(body->attributes);
  if (body->code) lnt__code_release(wvm, body->code);
  lnt__free(body);
}

/* ---- Where it stands ---- */

static bool is_author(const lua_Debug *ar) {
  return ar->currentline > 0 && ar->what[0] != 'C' && strcmp(ar->source, LNT__SANDBOX_CHUNK) != 0;
}

static void level_text(const lua_Debug *ar, char *out, size_t size) {
  if (ar->name && ar->name[0]) snprintf(out, size, "%s:%d: in function '%s'", ar->short_src, ar->currentline, ar->name);
  else snprintf(out, size, "%s:%d: in the function that begins at line %d", ar->short_src, ar->currentline, ar->linedefined);
}

void lnt__traceback(lua_State *co, lnt__buf *out) {
  lua_Debug ar;
  char text[LUA_IDSIZE + 200];
  int lines = 0;
  for (int level = 0; level < TRACEBACK_LEVELS_MAX && lua_getstack(co, level, &ar); level++) {
    if (!lua_getinfo(co, "nSl", &ar) || !is_author(&ar)) continue;
    if (lines++ == TRACEBACK_LINES_MAX) {
      lnt__buf_printf(out, "\n...");
      return;
    }
    level_text(&ar, text, sizeof text);
    lnt__buf_printf(out, "%s%s", out->size ? "\n" : "", text);
  }
}

void lnt__trace_reserve(lua_State *L, lnt__body *body) {
  if (body->trace_slot) return;
  luaL_checkstack(L, 4, "a traceback");
  lua_pushboolean(L, 0);
  body->trace_slot = lnt__anchor(L);
}

bool lnt__trace_of(lua_State *L, int index, const lnt__body *body) {
  if (!body->trace_slot || !lua_checkstack(L, 4)) return false;
  lua_pushvalue(L, index);
  lnt__push_slot(L, body->trace_slot);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

void lnt__trace_keep(lua_State *co, lnt__body *body) {
  if (!lua_checkstack(co, 4) || lnt__trace_of(co, -1, body) || lnt__is_canceled(co, -1)) return;
  lnt__buf_clear(&body->trace);
  lnt__traceback(co, &body->trace);
  body->trace_awaited = false;
  lua_pushvalue(co, -1);
  lua_rawseti(co, LUA_REGISTRYINDEX, (int)body->trace_slot);
}

void lnt__trace_follow(lua_State *L, const lnt__body *body, lua_State *from, int index) {
  if (!lnt__trace_of(from, index, body)) return;
  lua_pushvalue(L, -1);
  lua_rawseti(L, LUA_REGISTRYINDEX, (int)body->trace_slot);
}

/* Where the failure at the top of `co` was raised, and, of one that came from a branch, where it was awaited. */
static void add_trace(lnt__body *body, lua_State *co, lnt__buf *out) {
  bool kept = lnt__trace_of(co, -1, body);
  if (kept) lnt__buf_append(out, body->trace.data, body->trace.size);
  if (kept && !body->trace_awaited) return;
  if (kept) lnt__buf_printf(out, "\nawaited at:");
  lnt__traceback(co, out);
}

/* The verb that was called last, where no frame tells the place. */
bool lnt__tail_place(const lnt__wvm *wvm, char *out, size_t size) {
  return wvm->body && wvm->verb && lnt__code_tail(wvm->body->code, wvm->verb, out, size);
}

void lnt__where(lua_State *L, char *out, size_t size) {
  lua_Debug ar;
  char place[2 * LUA_IDSIZE];
  const lnt__body *body = lnt__wvm_of(L)->body;
  if (body && lnt__tail_place(lnt__wvm_of(L), place, sizeof place)) snprintf(out, size, "%s, in a return", place);
  else if (body) snprintf(out, size, "%s:%d, in a return of the function that begins here", body->code->file, body->line);
  else snprintf(out, size, "?");
  for (int level = 0; level < TRACEBACK_LEVELS_MAX && lua_getstack(L, level, &ar); level++) {
    if (!lua_getinfo(L, "nSl", &ar) || !is_author(&ar)) continue;
    if (ar.name && ar.name[0]) snprintf(out, size, "%s:%d in function '%s'", ar.short_src, ar.currentline, ar.name);
    else snprintf(out, size, "%s:%d", ar.short_src, ar.currentline);
    return;
  }
}

/* ---- Ends ---- */

static void fail_with(lnt__outcome *outcome, const char *type, const char *message) {
  outcome->state = LNT__BODY_FAILED;
  lnt__buf_clear(&outcome->value);
  lnt__failure_text(&outcome->value, type, message, false);
}

static const char *kill_type(lnt__kill kill) {
  static const char *const types[] = {
      [LNT__KILL_INSTRUCTIONS] = "BudgetExceeded", [LNT__KILL_MEMORY] = "OutOfMemory", [LNT__KILL_STACK] = "StackOverflow",
      [LNT__KILL_TIME] = "TurnTimeout", [LNT__KILL_HOST] = "Stopped",
  };
  return (size_t)kill < LNT__COUNT(types) && types[kill] ? types[kill] : "Stopped";
}

/* The clock is no part of the history: what it stops has not failed. Nor has what got through with its memory when it ran first. */
static bool not_its_fault(const lnt__body *body, lnt__kill kill) {
  return kill == LNT__KILL_TIME || (kill == LNT__KILL_MEMORY && lnt__turn_replaying(body->turn));
}

bool lnt__raised(lnt__wvm *wvm, lua_State *co, lnt__outcome *outcome) {
  lnt_error err;
  if (wvm->guard.killed != LNT__KILL_NONE) {
    lnt__guard_explain(&wvm->guard, co);
    fail_with(outcome, kill_type(wvm->guard.killed), wvm->guard.text);
    return false;
  }
  if (lnt__guard_overflowed(&wvm->guard, co, -1)) {
    fail_with(outcome, "StackOverflow", lua_tostring(co, -1));
    return false;
  }
  wvm->guard.stack_at_limit = false; /* it was a long text */
  outcome->state = LNT__BODY_FAILED;
  lua_xmove(co, wvm->L, 1); /* the stack of `co` may be full */
  bool good = !lnt__failure_encode(wvm->L, -1, (size_t)wvm->limits.payload_bytes_max, &outcome->value, &err);
  if (!good) fail_with(outcome, "OutOfMemory", err.message);
  lua_pop(wvm->L, 1);
  return good;
}

void lnt__body_failed(lnt__wvm *wvm, lnt__body *body, lua_State *co, lnt__outcome *outcome) {
  if (body->refused) {
    outcome->state = LNT__BODY_REFUSED;
    return;
  }
  if (body->next) {
    outcome->state = LNT__BODY_CONTINUED;
    outcome->carry_events = body->next->carry_events;
    lnt__buf_append(&outcome->value, body->next->input, body->next->size);
    return;
  }
  bool killed = wvm->guard.killed != LNT__KILL_NONE;
  if (killed) lnt__traceback(co, &outcome->detail);
  else add_trace(body, co, &outcome->detail);
  if (killed && not_its_fault(body, wvm->guard.killed)) {
    lnt__guard_explain(&wvm->guard, co);
    outcome->state = LNT__BODY_UNAVAILABLE;
    lnt__fail(&outcome->error, wvm->guard.killed == LNT__KILL_TIME ? LNT_ETIMEOUT : LNT_ENOMEM, "%s", wvm->guard.text);
    return;
  }
  bool canceled = !killed && body->main.cancel.state == LNT__CANCEL_RAISED && lnt__is_canceled(co, -1);
  if (lnt__raised(wvm, co, outcome) && canceled) outcome->state = LNT__BODY_CANCELED;
}

static void completed(lnt__wvm *wvm, lnt__body *body, lua_State *co, lnt__outcome *outcome) {
  lnt_error err;
  outcome->state = LNT__BODY_COMPLETED;
  if (lua_isnoneornil(co, 1)) return;
  if (!lnt__value_encode(co, 1, "output", (size_t)wvm->limits.payload_bytes_max, &outcome->value, &err)) return;
  char text[LNT_ERROR_MESSAGE_MAX + 200];
  lnt__value_met(wvm->met, &err);
  snprintf(text, sizeof text, "%s:%d: the workflow's result cannot be stored: %s", body->code->file, body->line, err.message);
  fail_with(outcome, "InvalidValue", text);
}

/* The failure is at the top. */
static void log_unawaited(lua_State *L, lnt__body *body) {
  lnt__buf text;
  lnt__buf_init(&text);
  lnt__buf_printf(&text, "a branch failed, and nothing waits for it yet:\n");
  if (lnt__trace_of(L, -1, body)) lnt__buf_append(&text, body->trace.data, body->trace.size);
  lnt__buf_u8(&text, 0);
  if (!text.failed) lnt__turn_log(body->turn, LNT_LOG_WARN, (const char *)text.data, false);
  lnt__buf_finish(&text);
}

/* What `co` raised goes to the top of L, as a table. */
static void take_failure(lua_State *L, lnt__body *body, lua_State *co) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt_error err;
  lnt__trace_reserve(L, body);
  lnt__trace_keep(co, body);
  if (lnt__trace_of(co, -1, body)) body->trace_awaited = true;
  if (lua_istable(co, -1)) {
    lua_xmove(co, L, 1);
    return;
  }
  lnt__buf_clear(&wvm->extra);
  if (lnt__failure_encode(co, -1, (size_t)wvm->limits.payload_bytes_max, &wvm->extra, &err) ||
      !lnt__failure_push(L, (lnt_value){wvm->extra.data, wvm->extra.size}))
    luaL_error(L, "not enough memory");
  lnt__trace_follow(L, body, co, -1);
}

/* A spawned branch returned or raised: its task has the value or the failure, which is made a failure table if it is not a table. */
static void branch_over(lua_State *L, lnt__body *body, lnt__branch *branch, bool ok) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lua_State *co = branch->thread.co;
  lnt__task *task = branch->task;
  if (ok) {
    lua_settop(co, 1);
    lua_xmove(co, L, 1);
  } else take_failure(L, body, co);
  bool was_canceled = branch->cancel.state != LNT__CANCEL_NONE;
  lnt__task_state state = ok ? LNT__TASK_DONE : LNT__TASK_FAILED;
  if (!ok && branch->cancel.state == LNT__CANCEL_RAISED && lnt__is_canceled(L, -1)) state = LNT__TASK_CANCELED;
  if (state == LNT__TASK_FAILED && !task->links) log_unawaited(L, body);
  branch_free(wvm, body, branch, ok);
  lnt__push_slot(L, task->slot); /* it must outlive its settling */
  lua_insert(L, -2);
  lnt__task_settle(L, body, task, state, 1);
  lnt__branch_ended(L, body, task, was_canceled);
  lua_pop(L, 1);
}

/* Is nothing left? Updates were promised an answer: a body that returned waits for their handlers, any other end cancels them. */
static bool close_scopes(lua_State *L, lnt__body *body, const lnt__outcome *end) {
  bool closed = lnt__scope_close(L, body, &body->root);
  if (end->state != LNT__BODY_COMPLETED) return lnt__scope_close(L, body, &body->handlers) && closed;
  return closed && !body->handlers.first;
}

/* The workflow's function is over. false: what it started is canceled, and branches that clean up are awaited; *outcome comes later. */
static bool main_over(lua_State *L, lnt__body *body, lnt__outcome *outcome) {
  body->main.state = LNT__BRANCH_OVER;
  if (body->branch_count == 0 || lnt__wvm_of(L)->guard.stack_at_limit || close_scopes(L, body, outcome)) return true;
  body->end = lnt__calloc(1, sizeof *body->end);
  if (!body->end) luaL_error(L, "not enough memory");
  lnt__outcome none = *body->end;
  *body->end = *outcome;
  *outcome = none;
  return false;
}

/* Nobody is ready. true: nobody is left either, and *outcome is the end of the body. */
static bool all_over(lua_State *L, lnt__body *body, lnt__outcome *outcome) {
  if (!close_scopes(L, body, body->end)) return false;
  lnt__outcome end = *body->end;
  *body->end = *outcome;
  *outcome = end;
  free_end(body);
  return true;
}

/* ---- Running ---- */

int lnt__resume(lnt__wvm *wvm, lua_State *co, int argument_count) {
  bool covers = wvm->body && wvm->body->coverage && !lnt__vm_met(wvm, wvm->body->coverage) && !wvm->guard.watch;
  if (covers) wvm->guard.watch = lnt__change_line;
  lnt__guard_begin(&wvm->guard);
  int rc = lua_resume(co, argument_count);
  lnt__guard_end(&wvm->guard);
  if (covers) wvm->guard.watch = NULL;
  return wvm->guard.killed != LNT__KILL_NONE ? LUA_ERRERR : rc;
}

/* It yielded: with the mark of a wait, or the author found a way to yield himself. */
static bool is_wait(lua_State *co) { return lua_gettop(co) >= 1 && lua_touserdata(co, 1) == LNT__SANDBOX_YIELD; }

static bool stray_yield(lnt__body *body, lua_State *co, lnt__outcome *outcome) {
  char where[LUA_IDSIZE + 16], text[LUA_IDSIZE + 200];
  lnt__sandbox_where(co, 0, where, sizeof where);
  snprintf(text, sizeof text, "%s: a yield that no coroutine of the workflow takes; to wait, call a function of ctx",
           where[0] ? where : body->code->file);
  lnt__traceback(co, &outcome->detail);
  fail_with(outcome, "Error", text);
  return true;
}

/* true: the body is over. */
static bool after_resume(lua_State *L, lnt__body *body, lnt__branch *branch, int rc, lnt__outcome *outcome) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lua_State *co = branch->thread.co;
  if (wvm->guard.killed != LNT__KILL_NONE || body->refused) {
    branch->state = LNT__BRANCH_WAITING; /* never to be resumed or pooled */
    lnt__body_failed(wvm, body, co, outcome);
    return true;
  }
  if (rc == LUA_YIELD) {
    branch->state = LNT__BRANCH_WAITING;
    if (!is_wait(co)) return stray_yield(body, co, outcome);
    lua_settop(co, 0);
    return false;
  }
  if (branch != &body->main) {
    branch_over(L, body, branch, rc == 0);
    return false;
  }
  if (rc == 0) wvm->guard.stack_at_limit = false;
  if (rc == 0) completed(wvm, body, co, outcome);
  else lnt__body_failed(wvm, body, co, outcome);
  return main_over(L, body, outcome);
}

/* It waits again. Has it spent what one instance may, in all its turns? The same in every replay, so none is stopped by it. */
static bool spent_all(lnt__wvm *wvm, lnt__body *body, lua_State *co, lnt__outcome *outcome) {
  char where[LUA_IDSIZE + 16], text[LUA_IDSIZE + 300];
  body->spent += wvm->guard.total;
  if (body->spent <= wvm->limits.instance_instructions_max || lnt__turn_rebuilding(body->turn)) return false;
  LNT__MET(wvm->met, instance_instructions_max);
  lnt__sandbox_where(co, 0, where, sizeof where);
  snprintf(text, sizeof text, "%s: the instance spent its budget of %llu instructions (instance_instructions_max) in all its turns; let it "
           "continue as new, or do the work in activities",
           where[0] ? where : body->code->file, (unsigned long long)wvm->limits.instance_instructions_max);
  lnt__traceback(co, &outcome->detail);
  fail_with(outcome, "BudgetExceeded", text);
  return true;
}

static bool run_first(lua_State *L, lnt__body *body, lnt__outcome *outcome) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__branch *branch = body->ready_head;
  body->ready_head = branch->next;
  if (!body->ready_head) body->ready_tail = NULL;
  branch->state = LNT__BRANCH_RUNNING;
  branch->begun = true;
  branch->seq = 0;
  wvm->branch = branch;
  wvm->guard.total = 0;
  int rc = lnt__resume(wvm, branch->thread.co, branch->argument_count);
  wvm->branch = NULL;
  lua_State *co = branch->thread.co; /* a branch that is over is gone after this */
  bool waits = rc == LUA_YIELD && wvm->guard.killed == LNT__KILL_NONE && !body->refused;
  if (after_resume(L, body, branch, rc, outcome)) return true;
  return waits && spent_all(wvm, body, co, outcome);
}

bool lnt__body_run(lua_State *L, lnt__body *body, lnt__outcome *outcome) {
  body->spawned = 0;
  do {
    while (body->ready_head)
      if (run_first(L, body, outcome)) return true;
    if (body->end && all_over(L, body, outcome)) return true;
  } while (body->ready_head);
  outcome->state = LNT__BODY_WAITING;
  return false;
}
