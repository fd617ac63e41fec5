/* workflow_scope.c - scopes, shields, and cancellation: what was started in a scope is canceled and awaited when the scope ends. Called by
 * the functions of ctx, by deliveries and at the end of a body; owner thread. Nobody is resumed here.
 *
 * A cancel is aimed at a branch, or at a scope that is open in it, and is raised there once, as a failure of type "Canceled". It is raised
 * at the wait the branch stands in. A branch that does not wait, waits for a scope of its own to end, or is shielded against it, gets it
 * at its next wait that is not.
 *
 * When a cancel is aimed, the branches of the scopes inside are canceled at once, not only when those scopes end: else a branch that
 * waits for something of an outer scope would learn of the cancel twice. */
#include <lauxlib.h>
#include <stdio.h>

#include "vm/workflow.h"

#define NESTED_MAX 64 /* branches in scopes of branches that one cancel walks into; deeper ones are canceled when their scopes end */

static void cancel_branches(lua_State *L, lnt__body *body, lnt__scope *scope, const char *reason, int nested);

/* ---- Aiming a cancel at a branch ---- */

bool lnt__is_canceled(lua_State *L, int index) {
  if (!lua_istable(L, index)) return false;
  lua_pushvalue(L, index);
  lua_pushliteral(L, "type");
  lua_rawget(L, -2);
  bool canceled = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "Canceled") == 0;
  lua_pop(L, 2);
  return canceled;
}

/* The innermost scope of the branch that a cancel of `frame` (NULL: of the whole branch) reaches: what a shield around it does not
 * protect. */
static lnt__scope *unshielded(const lnt__branch *branch, const lnt__scope *frame) {
  lnt__scope *inner = branch->scope;
  for (lnt__scope *at = branch->scope; at != branch->base; at = at->parent) {
    if (at == frame) break;
    if (at->shield) inner = at->parent;
  }
  return inner;
}

static void overtake(lnt__branch *branch, const lnt__scope *frame) {
  for (lnt__scope *at = branch->scope; at != branch->base && at != frame; at = at->parent) at->overtaken = true;
}

static void cancel_inside(lua_State *L, lnt__body *body, lnt__branch *branch, const lnt__scope *frame, const char *reason, int nested) {
  if (nested >= NESTED_MAX) return;
  for (lnt__scope *at = unshielded(branch, frame); at != branch->base && at != frame; at = at->parent)
    cancel_branches(L, body, at, reason, nested + 1);
}

/* Pops the failure at the top. */
static void aim(lua_State *L, lnt__body *body, lnt__branch *branch, lnt__scope *frame, lnt__cancel *cancel) {
  LNT__ASSERT(cancel->state == LNT__CANCEL_NONE);
  luaL_checkstack(L, 12, "cancel");
  if (branch->state == LNT__BRANCH_WAITING && !branch->closing && unshielded(branch, frame) == branch->scope) {
    cancel->state = LNT__CANCEL_RAISED;
    overtake(branch, frame);
    lnt__interrupt(L, body, branch);
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    lnt__wake(L, body, branch, 2);
    return;
  }
  cancel->failure_slot = lnt__anchor(L);
  cancel->state = LNT__CANCEL_PENDING;
  branch->pending++;
}

static void withdraw(lnt__wvm *wvm, lnt__branch *branch, lnt__cancel *cancel) {
  if (cancel->state != LNT__CANCEL_PENDING) return;
  lnt__release(wvm, &cancel->failure_slot);
  cancel->state = LNT__CANCEL_RAISED;
  branch->pending--;
}

bool lnt__is_shielded(const lnt__branch *branch) {
  for (const lnt__scope *at = branch->scope; at != branch->base; at = at->parent)
    if (at->shield) return true;
  return false;
}

/* Of several that are due, the outermost stands for all. */
int lnt__cancel_due(lua_State *L, lnt__branch *branch) {
  if (!branch->pending) return 0;
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__scope *frame = NULL, *at = branch->scope;
  lnt__cancel *due = NULL;
  for (; at != branch->base; at = at->parent) {
    if (at->cancel.state == LNT__CANCEL_PENDING) due = &(frame = at)->cancel;
    if (at->shield) break;
  }
  if (at == branch->base && branch->cancel.state == LNT__CANCEL_PENDING) {
    due = &branch->cancel;
    frame = NULL;
  }
  if (!due) return 0;
  luaL_checkstack(L, 4, "cancel");
  lua_pushboolean(L, 0);
  lnt__push_slot(L, due->failure_slot);
  withdraw(wvm, branch, due);
  for (at = branch->scope; at != branch->base && at != frame; at = at->parent) withdraw(wvm, branch, &at->cancel);
  overtake(branch, frame);
  return 2;
}

/* ---- Canceling branches and scopes ---- */

/* One that has not begun never runs. */
static void drop_branch(lua_State *L, lnt__body *body, lnt__task *task, const char *reason) {
  lnt__branch_stop(lnt__wvm_of(L), body, task->branch);
  lnt__push_failure(L, "Canceled", reason, false);
  lnt__task_settle(L, body, task, LNT__TASK_CANCELED, 1);
}

static void cancel_branch(lua_State *L, lnt__body *body, lnt__task *task, const char *reason, int nested) {
  lnt__branch *branch = task->branch;
  if (branch->cancel.state != LNT__CANCEL_NONE) return;
  luaL_checkstack(L, 12, "cancel");
  if (!branch->begun) {
    drop_branch(L, body, task, reason);
    return;
  }
  task->scope->cleaning++;
  lnt__push_failure(L, "Canceled", reason, false);
  aim(L, body, branch, NULL, &branch->cancel);
  cancel_inside(L, body, branch, NULL, reason, nested);
}

void lnt__branch_cancel(lua_State *L, lnt__body *body, lnt__task *task, const char *reason) {
  cancel_branch(L, body, task, reason, 0);
}

void lnt__branch_ended(lua_State *L, lnt__body *body, const lnt__task *task, bool was_canceled) {
  lnt__scope *scope = task->scope;
  if (!was_canceled || --scope->cleaning) return;
  if (scope->owner->closing == scope) lnt__wake(L, body, scope->owner, 0);
}

static void cancel_branches(lua_State *L, lnt__body *body, lnt__scope *scope, const char *reason, int nested) {
  for (scope->branch_cursor = scope->first; scope->branch_cursor;) {
    lnt__task *task = scope->branch_cursor;
    scope->branch_cursor = task->next;
    if (task->kind == LNT__TASK_BRANCH) cancel_branch(L, body, task, reason, nested);
  }
}

static void cancel_commands(lua_State *L, lnt__body *body, lnt__scope *scope, const char *reason) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 4, "cancel");
  for (scope->command_cursor = scope->first; scope->command_cursor;) {
    lnt__task *task = scope->command_cursor;
    scope->command_cursor = task->next;
    if (task->kind == LNT__TASK_BRANCH) continue;
    lnt__push_slot(L, task->slot);
    if (task->kind >= LNT__TASK_ALL) lnt__task_give_up(L, body, task);
    else lnt__task_cancel(L, body, top + 1, task, reason);
    lua_settop(L, top);
  }
}

/* Pops the failure that its owner is raised. Branches first: a branch that waits for another task of the scope learns of it once. */
static void cancel_scope(lua_State *L, lnt__body *body, lnt__scope *scope, const char *reason) {
  bool is_root = scope == &body->root;
  lnt__branch *owner = scope->owner;
  lnt__cancel *cancel = is_root ? &owner->cancel : &scope->cancel;
  scope->canceled = true;
  if (owner->state == LNT__BRANCH_OVER) lua_pop(L, 1);
  else {
    aim(L, body, owner, is_root ? NULL : scope, cancel);
    cancel_inside(L, body, owner, is_root ? NULL : scope, reason, 0);
  }
  cancel_branches(L, body, scope, reason, 0);
  cancel_commands(L, body, scope, reason);
}

void lnt__body_cancel(lua_State *L, lnt__body *body, lnt_value failure) {
  if (body->root.canceled) return;
  luaL_checkstack(L, 8, "cancel");
  if (!lnt__failure_push(L, failure)) lnt__push_failure(L, "Canceled", "the recorded reason cannot be read", false);
  lua_getfield(L, -1, "message");
  lua_insert(L, -2);
  const char *reason = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "the instance was canceled";
  cancel_scope(L, body, &body->root, reason);
  cancel_branches(L, body, &body->handlers, reason, 0);
  lua_pop(L, 1);
}

void lnt__scope_timed_out(lua_State *L, lnt__body *body, lnt__scope *scope) {
  scope->deadline_seq = 0;
  if (scope->canceled || scope->state != LNT__SCOPE_OPEN) return;
  scope->timed_out = true;
  lnt__push_failure(L, "Canceled", "the scope did not end within its timeout", false);
  cancel_scope(L, body, scope, "the scope did not end within its timeout");
}

/* ---- Opening and closing ---- */

bool lnt__scope_close(lua_State *L, lnt__body *body, lnt__scope *scope) {
  static const char *const reason = "the scope it was started in has ended";
  if (scope->state == LNT__SCOPE_CLOSING && scope->cleaning) return false;
  scope->state = LNT__SCOPE_CLOSING;
  cancel_branches(L, body, scope, reason, 0);
  cancel_commands(L, body, scope, reason);
  return scope->cleaning == 0;
}

void lnt__scopes_drop(lnt__wvm *wvm, lnt__branch *branch) {
  while (branch->scope != branch->base) {
    lnt__scope *scope = branch->scope;
    branch->scope = scope->parent;
    lnt__tasks_forget(wvm, scope);
    lnt__release(wvm, &scope->cancel.failure_slot);
    scope->state = LNT__SCOPE_CLOSED;
    lnt__release(wvm, &scope->slot);
  }
  lnt__release(wvm, &branch->cancel.failure_slot);
}

static lnt__scope *scope_check(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return NULL;
  bool is_scope = lua_topointer(L, -1) == lnt__wvm_of(L)->scope_meta;
  lua_pop(L, 1);
  return is_scope ? (lnt__scope *)lua_touserdata(L, index) : NULL;
}

static lnt__scope *push_scope(lua_State *L, lnt__branch *branch) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__scope *scope = (lnt__scope *)lua_newuserdata(L, sizeof *scope);
  memset(scope, 0, sizeof *scope);
  lnt__push_slot(L, wvm->scope_meta_slot);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  scope->slot = lnt__anchor(L);
  lnt__trace_reserve(L, wvm->body);
  scope->owner = branch;
  scope->parent = branch->scope;
  branch->scope = scope;
  return scope;
}

/* The stack of scopes is the branch's: in a coroutine of the author's, which can be left and never resumed, it would get out of step. */
static lnt__branch *opening(lua_State *L, const char *verb) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__ctx_body(L, verb);
  if (!lua_isyieldable(L))
    lnt__mistake(L, "%s cannot wait here: a wait cannot cross a callback of C or the top level of a module; call it from the workflow's "
                 "function", verb);
  if (L != wvm->branch->thread.co)
    lnt__mistake(L, "%s cannot be called inside a coroutine of your own, which might never end it; use ctx:spawn for the coroutine", verb);
  return wvm->branch;
}

static void start_deadline(lua_State *L, lnt__body *body, lnt__scope *scope, int64_t timeout_us) {
  lnt__command command = {.kind = LNT_EVENT_TIMER_CREATED, .due_us = lnt__turn_now_us(body->turn) + timeout_us};
  lnt__delivery answer = {0};
  if (!lnt__wait_reserve(body)) lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
  if (lnt__turn_command(body->turn, &command, &scope->deadline_seq, &answer) == LNT__COMMAND_REFUSED) {
    body->refused = true;
    lnt__guard_kill(L, LNT__KILL_HOST, "the scope was refused");
  }
  lnt__wait_add(body, scope->deadline_seq, LNT__WAIT_DEADLINE, NULL, NULL);
  body->waits[body->wait_count - 1].scope = scope;
}

static void stop_deadline(lnt__body *body, lnt__scope *scope) {
  if (!scope->deadline_seq) return;
  lnt__wait *wait = lnt__wait_find(body, scope->deadline_seq);
  lnt__turn_cancel(body->turn, scope->deadline_seq);
  if (wait) lnt__wait_remove(body, wait);
  scope->deadline_seq = 0;
}

/* scope_open(ctx, fn, options): the scope */
static int scope_open(lua_State *L) {
  lnt__branch *branch = opening(L, "scope");
  int64_t timeout_us;
  lnt__check_function(L, 2, "scope", "fn");
  bool has_timeout = lnt__timeout_option(L, 3, "scope", "timeout = \"5m\"", &timeout_us);
  lnt__scope *scope = push_scope(L, branch);
  if (has_timeout) start_deadline(L, lnt__wvm_of(L)->body, scope, timeout_us);
  return 1;
}

/* shield_open(ctx, fn): the scope */
static int shield_open(lua_State *L) {
  lnt__branch *branch = opening(L, "shield");
  lnt__check_function(L, 2, "shield", "fn");
  push_scope(L, branch)->shield = true;
  return 1;
}

/* map_open(ctx, list, fn, options): the scope, a list for the results, how many items, how many at once, whether it fails fast */
static int map_open(lua_State *L) {
  lnt__branch *branch = opening(L, "map");
  double concurrency;
  bool fail_fast;
  if (!lua_istable(L, 2)) lnt__invalid(L, "list", "map: a list expected, got %s", luaL_typename(L, 2));
  lnt__check_function(L, 3, "map", "fn");
  lnt__map_options(L, 4, &concurrency, &fail_fast);
  double count = (double)lnt__check_list(L, 2, "map", "list");
  if (concurrency == 0) concurrency = LNT__MAP_CONCURRENCY_DEFAULT;
  push_scope(L, branch);
  lua_createtable(L, count < INT32_MAX ? (int)count : 0, 0);
  if (count == 0) {
    lnt__value_push_array_mark(L);
    lua_setmetatable(L, -2);
  }
  lua_pushnumber(L, count);
  lua_pushnumber(L, concurrency < count ? concurrency : count);
  lua_pushboolean(L, fail_fast);
  return 5;
}

/* scope_close(scope): true: what it started is over, and so is it; else call it again. Waits. */
static int scope_close(lua_State *L) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__body *body = wvm->body;
  lnt__scope *scope = (lnt__scope *)lua_touserdata(L, 1);
  lnt__branch *owner = scope->owner;
  LNT__ASSERT(owner == wvm->branch && owner->scope == scope);
  if (scope->state == LNT__SCOPE_OPEN) {
    stop_deadline(body, scope);
    withdraw(wvm, owner, &scope->cancel);
  }
  if (!lnt__scope_close(L, body, scope)) {
    owner->closing = scope;
    lua_pushlightuserdata(L, LNT__SANDBOX_YIELD);
    return lua_yield(L, 1);
  }
  owner->scope = scope->parent;
  scope->state = LNT__SCOPE_CLOSED;
  lnt__release(wvm, &scope->slot);
  lua_pushboolean(L, 1);
  return 1;
}

/* scope_failure(scope, e): what its function raised, or, if its timeout ended it, a failure of type "Timeout". */
static int scope_failure(lua_State *L) {
  const lnt__scope *scope = (const lnt__scope *)lua_touserdata(L, 1);
  if (!scope->timed_out || scope->overtaken || !lnt__is_canceled(L, 2)) return 1;
  lnt__push_failure(L, "Timeout", "the scope did not end within its timeout", false);
  return 1;
}

/* ---- What authors call ---- */

static int scope_cancel(lua_State *L) {
  const lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__scope *scope = scope_check(L, 1);
  if (!scope) lnt__mistake(L, "cancel: a scope expected, got %s; call it with a colon: scope:cancel()", luaL_typename(L, 1));
  if (!wvm->body) lnt__mistake(L, "cancel: scopes are for a running workflow");
  lnt__refuse_apart(L, "scope:cancel");
  lnt__check_reason(L, 2);
  lua_settop(L, 2);
  if (scope->canceled || scope->state != LNT__SCOPE_OPEN) return 0;
  const char *reason = lua_isnil(L, 2) ? "the scope was canceled" : lua_tostring(L, 2);
  lnt__push_failure(L, "Canceled", reason, false);
  cancel_scope(L, wvm->body, scope, reason);
  return 0;
}

static int scope_canceled(lua_State *L) {
  const lnt__scope *scope = scope_check(L, 1);
  if (!scope) lnt__mistake(L, "canceled: a scope expected, got %s; call it with a colon: scope:canceled()", luaL_typename(L, 1));
  lua_pushboolean(L, scope->canceled);
  return 1;
}

/* Was the running branch canceled? For loops of trusted Lua that catch errors. */
static int branch_canceled(lua_State *L) {
  lua_pushboolean(L, lnt__wvm_of(L)->branch->cancel.state != LNT__CANCEL_NONE);
  return 1;
}

/* as_failure(e): what awaiting a branch gives that raised e */
static int as_failure(lua_State *L) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt_error err;
  lua_settop(L, 1);
  if (lua_istable(L, 1)) return 1;
  lnt__buf_clear(&wvm->extra);
  if (lnt__failure_encode(L, 1, (size_t)wvm->limits.payload_bytes_max, &wvm->extra, &err) ||
      !lnt__failure_push(L, (lnt_value){wvm->extra.data, wvm->extra.size}))
    luaL_error(L, "not enough memory");
  lnt__trace_follow(L, wvm->body, L, 1);
  return 1;
}

/* The handler of errors that go on later: keep where they were raised. */
static int raised(lua_State *L) {
  const lnt__wvm *wvm = lnt__wvm_of(L);
  if (wvm->guard.killed == LNT__KILL_NONE && wvm->body) lnt__trace_keep(L, wvm->body);
  return 1;
}

void lnt__scope_functions(lua_State *L) {
  static const luaL_Reg functions[] = {{"scope_open", scope_open}, {"shield_open", shield_open}, {"map_open", map_open},
                                       {"scope_close", scope_close}, {"scope_failure", scope_failure}, {"scope_cancel", scope_cancel},
                                       {"scope_canceled", scope_canceled}, {"branch_canceled", branch_canceled},
                                       {"as_failure", as_failure}, {"raised", raised}, {NULL, NULL}};
  for (const luaL_Reg *at = functions; at->name; at++) {
    lua_pushcfunction(L, at->func);
    lua_setfield(L, -2, at->name);
  }
}
