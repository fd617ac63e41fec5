/* workflow_task.c - tasks: what stands for an answer that is not there yet, and who waits for it. Called by the functions of ctx and by
 * deliveries; owner thread. Nobody is resumed here: whoever can go on is put on the ready list, in the order of
 * their waits. */
#include <lauxlib.h>
#include <stdio.h>

#include "journal/journal.h"
#include "vm/workflow.h"

/* ---- Commands that wait ---- */

bool lnt__wait_reserve(lnt__body *body) {
  if (!body->waits) {
    body->waits = &body->one;
    body->wait_capacity = 1;
  }
  if (body->wait_count < body->wait_capacity) return true;
  uint32_t kept = 0;
  if (body->wait_gone * 2 >= body->wait_count) { /* close the gaps */
    for (uint32_t i = 0; i < body->wait_count; i++)
      if (body->waits[i].kind >= 0) body->waits[kept++] = body->waits[i];
    body->wait_count = kept;
    body->wait_gone = 0;
    if (kept < body->wait_capacity) return true;
  }
  size_t capacity = body->wait_capacity * 2 + 2;
  lnt__wait *waits = body->waits == &body->one ? NULL : body->waits;
  waits = lnt__realloc(waits, capacity * sizeof *waits);
  if (!waits) return false;
  if (body->waits == &body->one) waits[0] = body->one;
  body->waits = waits;
  body->wait_capacity = (uint32_t)capacity;
  return true;
}

void lnt__wait_add(lnt__body *body, uint32_t seq, int kind, lnt__branch *branch, lnt__task *task) {
  LNT__ASSERT(body->wait_count < body->wait_capacity);
  body->waits[body->wait_count++] = (lnt__wait){seq, kind, branch, {task}};
}

lnt__wait *lnt__wait_find(lnt__body *body, uint32_t seq) {
  uint32_t low = 0, high = body->wait_count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (body->waits[middle].seq < seq) low = middle + 1;
    else high = middle;
  }
  return low < body->wait_count && body->waits[low].seq == seq && body->waits[low].kind >= 0 ? &body->waits[low] : NULL;
}

void lnt__wait_remove(lnt__body *body, lnt__wait *wait) {
  wait->kind = -1;
  body->wait_gone++;
  while (body->wait_count && body->waits[body->wait_count - 1].kind < 0) {
    body->wait_count--;
    body->wait_gone--;
  }
}

/* ---- Who waits for a task ---- */

static void link_add(lua_State *L, lnt__body *body, lnt__task *task, lnt__branch *branch, lnt__task *parent) {
  uint32_t place = body->free_link;
  if (place) body->free_link = body->links[place - 1].next;
  else {
    if (body->link_count == body->link_capacity) {
      size_t capacity = body->link_capacity;
      if (!lnt__grow((void **)&body->links, &capacity, body->link_count + 1u, sizeof *body->links))
        lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
      body->link_capacity = (uint32_t)capacity;
    }
    place = ++body->link_count;
  }
  body->links[place - 1] = (lnt__link){0, branch, parent};
  if (task->links) body->links[task->last_link - 1].next = place;
  else task->links = place;
  task->last_link = place;
}

/* Take out every link of `task` to this branch or parent. */
static void link_remove(lnt__body *body, lnt__task *task, const lnt__branch *branch, const lnt__task *parent) {
  uint32_t before = 0, place = task->links;
  while (place) {
    lnt__link *link = &body->links[place - 1];
    uint32_t next = link->next;
    if (link->branch == branch && link->parent == parent) {
      if (before) body->links[before - 1].next = next;
      else task->links = next;
      if (task->last_link == place) task->last_link = before;
      link->next = body->free_link;
      body->free_link = place;
    } else before = place;
    place = next;
  }
}

/* ---- Making and finding tasks ---- */

lnt__task *lnt__task_create(lua_State *L, lnt__body *body, lnt__task_kind kind, const char *name, size_t size) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__task *task = (lnt__task *)lua_newuserdata(L, sizeof *task + size + 1);
  memset(task, 0, sizeof *task);
  if (size) memcpy(task->name, name, size);
  task->name[size] = 0;
  task->kind = (uint8_t)kind;
  lnt__push_slot(L, wvm->task_meta_slot);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  task->slot = lnt__anchor(L);
  lnt__scope *scope = wvm->branch ? wvm->branch->scope : &body->root;
  task->scope = scope;
  task->prev = scope->last;
  if (scope->last) scope->last->next = task;
  else scope->first = task;
  scope->last = task;
  return task;
}

static void leave_list(lnt__wvm *wvm, lnt__task *task) {
  lnt__scope *scope = task->scope;
  if (scope->branch_cursor == task) scope->branch_cursor = task->next;
  if (scope->command_cursor == task) scope->command_cursor = task->next;
  if (task->prev) task->prev->next = task->next;
  else scope->first = task->next;
  if (task->next) task->next->prev = task->prev;
  else scope->last = task->prev;
  task->prev = task->next = NULL;
  lnt__release(wvm, &task->slot);
}

void lnt__tasks_forget(lnt__wvm *wvm, lnt__scope *scope) {
  while (scope->first) {
    scope->first->state = LNT__TASK_CANCELED;
    leave_list(wvm, scope->first);
  }
}

/* Somebody has the value of a task that is done. */
static void take(lnt__wvm *wvm, lnt__task *task) {
  task->taken = true;
  if (task->slot && task->state != LNT__TASK_PENDING) leave_list(wvm, task);
}

lnt__task *lnt__task_check(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index)) return NULL;
  bool is_task = lua_topointer(L, -1) == lnt__wvm_of(L)->task_meta;
  lua_pop(L, 1);
  return is_task ? (lnt__task *)lua_touserdata(L, index) : NULL;
}

void lnt__push_failure(lua_State *L, const char *type, const char *message, bool retryable) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__buf_clear(&wvm->extra);
  lnt__failure_text(&wvm->extra, type, message, retryable);
  if (wvm->extra.failed || !lnt__failure_push(L, (lnt_value){wvm->extra.data, wvm->extra.size})) luaL_error(L, "not enough memory");
}

/* ---- Answers ---- */

static void push_timed_out(lua_State *L, const char *name) {
  char text[LNT_NAME_BYTES_MAX + 80];
  snprintf(text, sizeof text, "no event \"%s\" came within the timeout", name);
  lnt__push_failure(L, "Timeout", text, false);
}

int lnt__push_delivery(lua_State *L, int kind, const lnt__delivery *delivery) {
  if (delivery->kind == LNT__DELIVER_FIRED) {
    lua_pushboolean(L, kind != LNT__TASK_EVENT);
    return 1;
  }
  bool ok = delivery->kind == LNT__DELIVER_RESULT;
  lua_pushboolean(L, ok);
  if (ok ? lnt__value_push(L, delivery->value) : lnt__failure_push(L, delivery->value)) return 2;
  lua_pop(L, 1);
  lua_pushboolean(L, 0);
  lnt__push_failure(L, "InvalidValue", "the recorded answer cannot be read", false);
  return 2;
}

/* Push what awaiting a task that is over gives: true and its values, or false and its failure. */
static int push_result(lua_State *L, int index, lnt__task *task) {
  int count = task->state == LNT__TASK_DONE ? task->values : 1;
  luaL_checkstack(L, 8, "a task");
  take(lnt__wvm_of(L), task);
  lua_getfenv(L, index);
  int values = lua_gettop(L);
  lua_pushboolean(L, task->state == LNT__TASK_DONE);
  for (int i = 1; i <= count; i++) lua_rawgeti(L, values, i);
  lua_remove(L, values);
  return count + 1;
}

void lnt__wake(lua_State *L, lnt__body *body, lnt__branch *branch, int count) {
  lua_xmove(L, branch->thread.co, count);
  branch->waits_for = NULL;
  branch->closing = NULL;
  lnt__ready(body, branch, count);
}

/* The failure of the first failed child goes to the top; false: none failed. */
static bool push_first_failure(lua_State *L, int children, const lnt__task *parent) {
  for (uint32_t i = 1; i <= parent->count; i++) {
    lua_rawgeti(L, children, (int)i);
    const lnt__task *child = (const lnt__task *)lua_touserdata(L, -1);
    if (child->state != LNT__TASK_DONE) {
      lua_getfenv(L, -1);
      lua_rawgeti(L, -1, 1);
      return true;
    }
    lua_pop(L, 1);
  }
  return false;
}

static void settle_all(lua_State *L, lnt__body *body, int children, lnt__task *parent) {
  if (push_first_failure(L, children, parent)) {
    lnt__task_settle(L, body, parent, LNT__TASK_FAILED, 1);
    return;
  }
  lua_createtable(L, (int)parent->count, 0);
  for (uint32_t i = 1; i <= parent->count; i++) {
    lua_rawgeti(L, children, (int)i);
    take(lnt__wvm_of(L), (lnt__task *)lua_touserdata(L, -1));
    lua_getfenv(L, -1);
    lua_rawgeti(L, -1, 1);
    lua_rawseti(L, -4, (int)i);
    lua_pop(L, 2);
  }
  if (parent->count == 0) {
    lnt__value_push_array_mark(L);
    lua_setmetatable(L, -2);
  }
  lnt__task_settle(L, body, parent, LNT__TASK_DONE, 1);
}

static uint32_t place_of(lua_State *L, int children, const lnt__task *parent, const lnt__task *child) {
  uint32_t place = 0;
  for (uint32_t i = 1; i <= parent->count && !place; i++) {
    lua_rawgeti(L, children, (int)i);
    if (lua_touserdata(L, -1) == (const void *)child) place = i;
    lua_pop(L, 1);
  }
  return place;
}

static void unlink_children(lua_State *L, lnt__body *body, int children, const lnt__task *parent) {
  for (uint32_t i = 1; i <= parent->count; i++) {
    lua_rawgeti(L, children, (int)i);
    link_remove(body, (lnt__task *)lua_touserdata(L, -1), NULL, parent);
    lua_pop(L, 1);
  }
}

/* Lists that decide each other would nest without end in C: what a list no longer needs is canceled when everybody has been told of what
 * is settled. */
static void cancel_doomed(lua_State *L, lnt__body *body) {
  if (body->settling || !body->doomed) return;
  int top = lua_gettop(L);
  luaL_checkstack(L, 4, "cancel");
  body->settling++;
  lnt__push_slot(L, body->doomed_slot);
  for (uint32_t i = 1; i <= body->doomed; i++) {
    lua_rawgeti(L, top + 1, (int)i);
    lnt__task_cancel(L, body, top + 2, (lnt__task *)lua_touserdata(L, -1), "another task decided the list it was waited for in");
    lua_settop(L, top + 1);
    lua_pushnil(L);
    lua_rawseti(L, top + 1, (int)i);
  }
  lua_settop(L, top);
  body->doomed = 0;
  body->settling--;
}

/* The list is decided: nobody needs the others. */
static void doom_others(lua_State *L, lnt__body *body, int children, const lnt__task *parent, const lnt__task *child) {
  luaL_checkstack(L, 6, "cancel");
  if (!body->doomed_slot) {
    lua_newtable(L);
    body->doomed_slot = lnt__anchor(L);
  }
  lnt__push_slot(L, body->doomed_slot);
  for (uint32_t i = 1; i <= parent->count; i++) {
    lua_rawgeti(L, children, (int)i);
    if (lua_touserdata(L, -1) == (const void *)child) lua_pop(L, 1);
    else lua_rawseti(L, -2, (int)++body->doomed);
  }
  lua_pop(L, 1);
  cancel_doomed(L, body);
}

/* Replace the failure at the top by a copy that knows which task of the list it is of: others may wait for that task in other lists. */
static void add_index(lua_State *L, const lnt__body *body, uint32_t place) {
  if (!lua_istable(L, -1)) return;
  int from = lua_gettop(L);
  luaL_checkstack(L, 6, "a failure");
  lua_createtable(L, 0, 5);
  lua_pushnil(L);
  while (lua_next(L, from)) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, from + 1);
  }
  lua_pushliteral(L, "index");
  lua_pushnumber(L, (lua_Number)place);
  lua_rawset(L, from + 1);
  if (lua_getmetatable(L, from)) lua_setmetatable(L, from + 1);
  lnt__trace_follow(L, body, L, from);
  lua_remove(L, from);
}

/* The child at `index` is over, and decides. */
static void settle_any(lua_State *L, lnt__body *body, int children, lnt__task *parent, int index, lnt__task *child) {
  uint32_t place = place_of(L, children, parent, child);
  unlink_children(L, body, children, parent);
  lua_getfenv(L, index);
  int values = lua_gettop(L);
  if (child->state != LNT__TASK_DONE) {
    lua_rawgeti(L, values, 1);
    add_index(L, body, place);
    lnt__task_settle(L, body, parent, LNT__TASK_FAILED, 1);
  } else {
    take(lnt__wvm_of(L), child);
    lua_pushnumber(L, (lua_Number)place);
    lua_rawgeti(L, values, 1);
    lnt__task_settle(L, body, parent, LNT__TASK_DONE, 2);
  }
  if (parent->options & LNT__TASK_CANCEL_LOSERS) doom_others(L, body, children, parent, child);
}

/* The child at `index` failed, and the list does not wait for the others. */
static void settle_fast(lua_State *L, lnt__body *body, int children, lnt__task *parent, int index, const lnt__task *child) {
  unlink_children(L, body, children, parent);
  lua_getfenv(L, index);
  lua_rawgeti(L, -1, 1);
  lnt__task_settle(L, body, parent, LNT__TASK_FAILED, 1);
  doom_others(L, body, children, parent, child);
}

static void tell_parent(lua_State *L, lnt__body *body, lnt__task *parent, int index, lnt__task *child) {
  int top = lua_gettop(L);
  if (parent->state != LNT__TASK_PENDING) return;
  luaL_checkstack(L, 12, "a task");
  lnt__push_slot(L, parent->slot);
  lua_getfenv(L, -1);
  int children = lua_gettop(L);
  if (parent->kind == LNT__TASK_ANY) settle_any(L, body, children, parent, index, child);
  else if (child->state != LNT__TASK_DONE && parent->options & LNT__TASK_FAIL_FAST) settle_fast(L, body, children, parent, index, child);
  else if (--parent->left == 0) settle_all(L, body, children, parent);
  lua_settop(L, top);
}

static void tell(lua_State *L, lnt__body *body, int index, lnt__task *task) {
  while (task->links) {
    uint32_t place = task->links;
    lnt__link link = body->links[place - 1];
    task->links = link.next;
    body->links[place - 1].next = body->free_link;
    body->free_link = place;
    if (link.branch) lnt__wake(L, body, link.branch, push_result(L, index, task));
    else tell_parent(L, body, link.parent, index, task);
  }
}

void lnt__task_settle(lua_State *L, lnt__body *body, lnt__task *task, lnt__task_state state, int count) {
  int first = lua_gettop(L) - count + 1;
  luaL_checkstack(L, 4, "a task");
  lua_createtable(L, count, 0);
  lua_insert(L, first);
  for (int i = count; i >= 1; i--) lua_rawseti(L, first, i);
  lnt__push_slot(L, task->slot);
  lua_insert(L, first);
  lua_setfenv(L, first);
  task->state = (uint8_t)state;
  task->values = (uint8_t)count;
  task->branch = NULL;
  if (task->kind != LNT__TASK_EVENT || state != LNT__TASK_DONE) leave_list(lnt__wvm_of(L), task);
  body->settling++;
  tell(L, body, first, task);
  body->settling--;
  lua_settop(L, first - 1);
  cancel_doomed(L, body);
}

void lnt__task_answer(lua_State *L, lnt__body *body, lnt__task *task, const lnt__delivery *delivery) {
  int top = lua_gettop(L), count = lnt__push_delivery(L, task->kind, delivery);
  bool ok = lua_toboolean(L, -count);
  if (count == 1 && ok) lua_pushnil(L);
  if (count == 1 && !ok) push_timed_out(L, task->name);
  task->order = delivery->order;
  lnt__task_settle(L, body, task, ok ? LNT__TASK_DONE : LNT__TASK_FAILED, 1);
  lua_settop(L, top);
}

void lnt__deliver(lua_State *L, lnt__body *body, const lnt__delivery *delivery) {
  if (delivery->kind == LNT__DELIVER_CANCEL) {
    lnt__body_cancel(L, body, delivery->value);
    return;
  }
  lnt__wait *wait = lnt__wait_find(body, delivery->seq);
  if (!wait) return;
  lnt__wait found = *wait;
  lnt__wait_remove(body, wait);
  if (found.kind == LNT__WAIT_DEADLINE) lnt__scope_timed_out(L, body, found.scope);
  else if (found.task) lnt__task_answer(L, body, found.task, delivery);
  else lnt__wake(L, body, found.branch, lnt__push_delivery(L, found.kind, delivery));
}

/* ---- Giving up ---- */

static void drop_command(lnt__body *body, uint32_t seq) {
  lnt__wait *wait = lnt__wait_find(body, seq);
  lnt__turn_cancel(body->turn, seq);
  if (wait) lnt__wait_remove(body, wait);
}

/* The value of the event at `index`, in wvm->extra. */
static lnt_value event_value(lua_State *L, int index) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt_error err;
  lnt__buf_clear(&wvm->extra);
  lua_getfenv(L, index);
  lua_rawgeti(L, -1, 1);
  bool is_nil = lua_isnil(L, -1);
  if (!is_nil && lnt__value_encode(L, -1, "event", (size_t)wvm->limits.payload_bytes_max, &wvm->extra, &err))
    luaL_error(L, "not enough memory");
  lua_pop(L, 2);
  return is_nil ? LNT_VALUE_NIL : (lnt_value){wvm->extra.data, wvm->extra.size};
}

/* The event that nobody took goes to whoever has waited longest for its name, or back to its place among those that wait to be taken. */
static void return_event(lua_State *L, lnt__body *body, int index, lnt__task *task) {
  lnt__delivery delivery = {.kind = LNT__DELIVER_RESULT, .order = task->order, .value = event_value(L, index)};
  leave_list(lnt__wvm_of(L), task);
  if (lnt__turn_return_event(body->turn, (lnt_value){task->name, strlen(task->name)}, delivery.value, task->order, &delivery.seq))
    lnt__deliver(L, body, &delivery);
}

static void keep_events(lua_State *L, lnt__body *body, const lnt__scope *scope) {
  luaL_checkstack(L, 6, "continue_as_new");
  for (lnt__task *task = scope->first; task; task = task->next) {
    if (task->kind != LNT__TASK_EVENT || task->state != LNT__TASK_DONE || task->taken) continue;
    lnt__push_slot(L, task->slot);
    lnt_value value = event_value(L, lua_gettop(L));
    lnt__turn_keep_event(body->turn, (lnt_value){task->name, strlen(task->name)}, value, task->order);
    task->taken = true;
    lua_pop(L, 1);
  }
}

void lnt__tasks_keep_events(lua_State *L, lnt__body *body) {
  keep_events(L, body, &body->root);
  for (const lnt__scope *at = body->main.scope; at != body->main.base; at = at->parent) keep_events(L, body, at);
  for (const lnt__branch *branch = body->branches; branch; branch = branch->older)
    for (const lnt__scope *at = branch->scope; at != branch->base; at = at->parent) keep_events(L, body, at);
}

/* The failure of a task that is over already. */
static void replace_result(lua_State *L, int index, lnt__task *task, const char *reason) {
  lua_createtable(L, 1, 0);
  lnt__push_failure(L, "Canceled", reason, false);
  lua_rawseti(L, -2, 1);
  lua_setfenv(L, index);
  task->state = LNT__TASK_CANCELED;
}

static void cancel_children(lua_State *L, lnt__body *body, int index, lnt__task *task, const char *reason) {
  lua_getfenv(L, index);
  int children = lua_gettop(L);
  uint32_t count = task->count;
  unlink_children(L, body, children, task);
  for (uint32_t i = 1; i <= count; i++) {
    lua_rawgeti(L, children, (int)i);
    lnt__task_cancel(L, body, children + 1, (lnt__task *)lua_touserdata(L, -1), reason);
    lua_settop(L, children);
  }
  lua_settop(L, children - 1);
}

void lnt__task_cancel(lua_State *L, lnt__body *body, int index, lnt__task *task, const char *reason) {
  luaL_checkstack(L, 12, "cancel");
  if (task->kind == LNT__TASK_EVENT && task->state == LNT__TASK_DONE && !task->taken) {
    return_event(L, body, index, task);
    replace_result(L, index, task, reason);
  }
  if (task->state != LNT__TASK_PENDING) return;
  if (task->kind == LNT__TASK_BRANCH) {
    lnt__branch_cancel(L, body, task, reason);
    return;
  }
  if (task->kind >= LNT__TASK_ALL) cancel_children(L, body, index, task, reason);
  else drop_command(body, task->seq);
  if (task->state != LNT__TASK_PENDING) return; /* a child was in a list that wanted this one no longer */
  lnt__push_failure(L, "Canceled", reason, false);
  lnt__task_settle(L, body, task, LNT__TASK_CANCELED, 1);
}

static void unlink(lua_State *L, lnt__body *body, const lnt__task *task) {
  lnt__push_slot(L, task->slot);
  lua_getfenv(L, -1);
  unlink_children(L, body, lua_gettop(L), task);
  lua_pop(L, 2);
}

void lnt__task_give_up(lua_State *L, lnt__body *body, lnt__task *task) {
  luaL_checkstack(L, 12, "cancel");
  unlink(L, body, task);
  lnt__push_failure(L, "Canceled", "the scope it was started in has ended", false);
  lnt__task_settle(L, body, task, LNT__TASK_CANCELED, 1);
}

void lnt__interrupt(lua_State *L, lnt__body *body, lnt__branch *branch) {
  lnt__task *task = branch->waits_for;
  if (!task) {
    drop_command(body, branch->seq);
    return;
  }
  link_remove(body, task, branch, NULL);
  branch->waits_for = NULL;
  if (!(task->options & LNT__TASK_PRIVATE)) return;
  luaL_checkstack(L, 8, "cancel");
  unlink(L, body, task);
  task->state = LNT__TASK_CANCELED;
  leave_list(lnt__wvm_of(L), task);
}

/* ---- What authors call ---- */

static lnt__body *running(lua_State *L, const char *verb) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  if (!wvm->body) lnt__mistake(L, "%s: tasks are for a running workflow", verb);
  lnt__refuse_apart(L, verb);
  return wvm->body;
}

static int await(lua_State *L, int index, lnt__task *task) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  int canceled = lnt__cancel_due(L, wvm->branch);
  if (canceled) return canceled;
  if (task->state != LNT__TASK_PENDING) return push_result(L, index, task);
  if (!lua_isyieldable(L)) lnt__mistake(L, "a task cannot be awaited here: a wait cannot cross the top level of a module");
  if (task->branch == wvm->branch) lnt__mistake(L, "a branch cannot wait for its own end");
  link_add(L, wvm->body, task, wvm->branch, NULL);
  wvm->branch->waits_for = task;
  lua_pushlightuserdata(L, LNT__SANDBOX_YIELD);
  return lua_yield(L, 1);
}

static int task_await(lua_State *L) {
  lnt__task *task = lnt__task_check(L, 1);
  running(L, "await");
  if (!task) lnt__mistake(L, "await: a task expected, got %s; call it with a colon: task:await()", luaL_typename(L, 1));
  return await(L, 1, task);
}

static int task_done(lua_State *L) {
  lnt__task *task = lnt__task_check(L, 1);
  if (!task) lnt__mistake(L, "done: a task expected, got %s; call it with a colon: task:done()", luaL_typename(L, 1));
  lua_pushboolean(L, task->state != LNT__TASK_PENDING);
  return 1;
}

static int task_state(lua_State *L) {
  static const char *const states[] = {"pending", "done", "failed", "canceled"};
  const lnt__task *task = lnt__task_check(L, 1);
  if (!task) lnt__mistake(L, "state: a task expected, got %s; call it with a colon: task:state()", luaL_typename(L, 1));
  lua_pushstring(L, states[task->state]);
  return 1;
}

static int task_cancel(lua_State *L) {
  lnt__task *task = lnt__task_check(L, 1);
  if (!task) lnt__mistake(L, "cancel: a task expected, got %s; call it with a colon: task:cancel()", luaL_typename(L, 1));
  lnt__check_reason(L, 2);
  lua_settop(L, 2);
  lnt__task_cancel(L, running(L, "cancel"), 1, task, lua_isnil(L, 2) ? "the task was canceled" : lua_tostring(L, 2));
  return 0;
}

/* ---- Lists of tasks ---- */

/* Where the task stands in the list already. */
static size_t earlier_place(lua_State *L, size_t i) {
  const void *task = lua_touserdata(L, -1);
  size_t place = 0;
  for (size_t at = 1; at < i && !place; at++) {
    lua_rawgeti(L, 2, (int)at);
    if (lua_touserdata(L, -1) == task) place = at;
    lua_pop(L, 1);
  }
  return place;
}

/* Copy the tasks of argument 2 into a new table, left on the stack; answers the deepest nesting. */
static int take_children(lua_State *L, lnt__body *body, const char *verb, size_t count) {
  int depth = 0;
  body->composites++;
  lua_createtable(L, (int)count, 0);
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, 2, (int)i);
    lnt__task *child = lnt__task_check(L, -1);
    if (!child)
      lnt__invalid(L, "tasks", "%s: item %zu of the list is a %s, not a task; tasks come from ctx.async:... and ctx:spawn()", verb, i,
                   luaL_typename(L, -1));
    if (child->composite == body->composites)
      lnt__invalid(L, "tasks", "%s: items %zu and %zu of the list are the same task; give each task once", verb, earlier_place(L, i), i);
    child->composite = body->composites;
    if (child->depth > depth) depth = child->depth;
    lua_rawseti(L, -2, (int)i);
  }
  if (depth >= LNT__TASK_DEPTH_MAX) lnt__exceeded(L, "tasks", "%s: tasks are nested more than %d deep", verb, LNT__TASK_DEPTH_MAX);
  return depth + 1;
}

/* The first child that is over (failed: or canceled, not done); it is left at the top, at *index. */
static lnt__task *first_over(lua_State *L, int children, size_t count, bool failed, int *index) {
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, children, (int)i);
    lnt__task *child = (lnt__task *)lua_touserdata(L, -1);
    *index = lua_gettop(L);
    if (child->state != LNT__TASK_PENDING && !(failed && child->state == LNT__TASK_DONE)) return child;
    lua_pop(L, 1);
  }
  return NULL;
}

static void link_children(lua_State *L, lnt__body *body, int children, lnt__task *task) {
  for (uint32_t i = 1; i <= task->count; i++) {
    lua_rawgeti(L, children, (int)i);
    lnt__task *child = (lnt__task *)lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (child->state != LNT__TASK_PENDING) continue;
    link_add(L, body, child, NULL, task);
    task->left++;
  }
}

/* Settle the new composite at index 4 by what is over already, or link it to what is not. */
static void begin_composite(lua_State *L, lnt__body *body, lnt__task *task) {
  int index = 0;
  bool any = task->kind == LNT__TASK_ANY, fast = task->options & LNT__TASK_FAIL_FAST;
  lnt__task *over = any || fast ? first_over(L, 3, task->count, fast, &index) : NULL;
  if (over && any) settle_any(L, body, 3, task, index, over);
  else if (over) settle_fast(L, body, 3, task, index, over);
  else {
    link_children(L, body, 3, task);
    if (task->left == 0) settle_all(L, body, 3, task);
  }
  lua_settop(L, 4);
}

static int composite(lua_State *L, lnt__task_kind kind, const char *verb, bool waits) {
  lnt__body *body = lnt__ctx_body(L, verb);
  if (!lua_istable(L, 2)) lnt__invalid(L, "tasks", "%s: a list of tasks expected, got %s", verb, luaL_typename(L, 2));
  size_t count = lnt__check_list(L, 2, verb, "tasks");
  if (count == 0 && kind == LNT__TASK_ANY) lnt__invalid(L, "tasks", "%s: the list is empty; nothing would ever end the wait", verb);
  bool flag = lnt__flag_option(L, 3, verb, kind == LNT__TASK_ANY ? "cancel_losers" : "fail_fast");
  int canceled = waits ? lnt__cancel_due(L, lnt__wvm_of(L)->branch) : 0;
  if (canceled) return canceled;
  lnt__guard_charge(L, count * 4);
  lua_settop(L, 2);
  int depth = take_children(L, body, verb, count);
  lnt__task *task = lnt__task_create(L, body, kind, NULL, 0);
  task->depth = (uint8_t)depth;
  task->count = (uint32_t)count;
  if (flag) task->options |= kind == LNT__TASK_ANY ? LNT__TASK_CANCEL_LOSERS : LNT__TASK_FAIL_FAST;
  if (waits) task->options |= LNT__TASK_PRIVATE;
  lua_pushvalue(L, 3);
  lua_setfenv(L, 4);
  begin_composite(L, body, task);
  return waits ? await(L, 4, task) : 1;
}

static int when_all(lua_State *L) { return composite(L, LNT__TASK_ALL, "when_all", false); }
static int when_any(lua_State *L) { return composite(L, LNT__TASK_ANY, "when_any", false); }
static int wait_all(lua_State *L) { return composite(L, LNT__TASK_ALL, "when_all", true); }
static int wait_any(lua_State *L) { return composite(L, LNT__TASK_ANY, "when_any", true); }

static int timed_out(lua_State *L) {
  push_timed_out(L, lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "?");
  return lua_error(L);
}

void lnt__task_functions(lua_State *L) {
  static const luaL_Reg functions[] = {{"await", task_await}, {"cancel", task_cancel}, {"done", task_done}, {"state", task_state},
                                       {"when_all", when_all}, {"when_any", when_any}, {"wait_all", wait_all}, {"wait_any", wait_any},
                                       {"timed_out", timed_out}, {NULL, NULL}};
  for (const luaL_Reg *at = functions; at->name; at++) {
    lua_pushcfunction(L, at->func);
    lua_setfield(L, -2, at->name);
  }
}
