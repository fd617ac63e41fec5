/* workflow_ask.c - queries and updates: the handlers that a body registers, asking it, running an update as a branch, and what it waits
 * for. Called by author code through workflow.lua, and by the engine through lnt__vm; owner thread.
 *
 * A handler of a query, and a validator, run apart: in a coroutine of their own, beside the branches, while the body waits. Whatever would
 * move the body is refused there. Tables cannot be guarded: a handler that changes one changes it for the body too. */
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "journal/journal.h"
#include "vm/workflow.h"

#define HANDLERS_MAX 256      /* queries, and updates, of one instance */
#define LISTED_NAMES_MAX 10   /* of handlers, in a message */
#define INSPECTED_SEQS_MAX 100
#define INSPECTED_BRANCHES_MAX 1000

/* ---- Registering ---- */

/* Push the table at *slot; it is made when it is first needed. */
static void push_handlers(lua_State *L, uint32_t *slot) {
  if (*slot) {
    lnt__push_slot(L, *slot);
    return;
  }
  lua_newtable(L);
  lua_pushvalue(L, -1);
  *slot = lnt__anchor(L);
}

/* handlers[name at 2] = the value at the top, which is popped. */
static int keep_handler(lua_State *L, uint32_t *slot, const char *verb) {
  push_handlers(L, slot);
  lua_pushvalue(L, 2);
  lua_rawget(L, -2);
  bool is_new = lua_isnil(L, -1);
  lua_pop(L, 1);
  int count = 0;
  for (lua_pushnil(L); is_new && lua_next(L, -2); lua_pop(L, 1)) count++;
  if (!is_new) lua_pop(L, 1);
  if (count >= HANDLERS_MAX) lnt__exceeded(L, NULL, "%s: more than %d handlers", verb, HANDLERS_MAX);
  lua_insert(L, -2);
  lua_pushvalue(L, 2);
  lua_insert(L, -2);
  lua_rawset(L, -3);
  return 0;
}

/* on_query(ctx, name, fn) */
static int on_query(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "on_query");
  lnt__name_argument(L, 2, "on_query", "name", "the query");
  lnt__check_function(L, 3, "on_query", "fn");
  lua_settop(L, 3);
  return keep_handler(L, &body->queries_slot, "on_query");
}

/* Push field `name` of the options at 3: a function, or nil. */
static void push_function_field(lua_State *L, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, 3);
  if (!lua_isnil(L, -1) && !lua_isfunction(L, -1))
    lnt__invalid(L, name, "on_update: %s must be a function, got %s", name, luaL_typename(L, -1));
}

/* on_update(ctx, name, fn | {validate = fn, handle = fn}); kept as {handle, validate} */
static int on_update(lua_State *L) {
  static const char *const known[] = {"validate", "handle", NULL};
  lnt__body *body = lnt__ctx_body(L, "on_update");
  lnt__name_argument(L, 2, "on_update", "name", "the update");
  lua_settop(L, 3);
  lua_createtable(L, 2, 0);
  if (lua_isfunction(L, 3)) {
    lua_pushvalue(L, 3);
    lua_rawseti(L, 4, 1);
    return keep_handler(L, &body->updates_slot, "on_update");
  }
  if (!lua_istable(L, 3))
    lnt__invalid(L, "handlers", "on_update: a table {validate = , handle = } or a function expected, got %s", luaL_typename(L, 3));
  lnt__check_keys(L, 3, "on_update", "", known);
  push_function_field(L, "handle");
  if (lua_isnil(L, -1)) lnt__invalid(L, "handle", "on_update: handle is missing: the function that carries the update out");
  lua_rawseti(L, 4, 1);
  push_function_field(L, "validate");
  lua_rawseti(L, 4, 2);
  return keep_handler(L, &body->updates_slot, "on_update");
}

/* ---- Asking ---- */

typedef struct ask_job {
  lnt__body *body;
  const lnt__question *question;
  lnt__outcome *outcome;
} ask_job;

static void fail(lnt__outcome *outcome, const char *type, const char *message) {
  outcome->state = LNT__BODY_FAILED;
  lnt__buf_clear(&outcome->value);
  lnt__failure_text(&outcome->value, type, message, false);
}

static int compare_names(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The names of the handlers in the table at the top (or nil), sorted; they are the table's. */
static size_t list_names(lua_State *L, const char *names[HANDLERS_MAX]) {
  size_t count = 0;
  if (!lua_istable(L, -1)) return 0;
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
    if (count < HANDLERS_MAX) names[count++] = lua_tostring(L, -2);
  if (count) qsort(names, count, sizeof *names, compare_names);
  return count;
}

/* The table of handlers is at the top. */
static void fail_unknown(lua_State *L, const lnt__question *question, lnt__outcome *outcome) {
  const char *names[HANDLERS_MAX], *what = question->is_update ? "update" : "query";
  size_t count = list_names(L, names);
  lnt__buf text;
  lnt__buf_init(&text);
  lnt__buf_printf(&text, "there is no %s '%.*s'", what, (int)question->name.size, (const char *)question->name.data);
  for (size_t i = 0; i < count && i < LISTED_NAMES_MAX; i++) lnt__buf_printf(&text, "%s'%s'", i ? ", " : "; there are: ", names[i]);
  if (count > LISTED_NAMES_MAX) lnt__buf_printf(&text, " ... (%zu)", count);
  if (!count) lnt__buf_printf(&text, "; the workflow registers none (ctx:on_%s)", what);
  lnt__buf_u8(&text, 0);
  if (!text.failed) fail(outcome, question->is_update ? "UnknownUpdate" : "UnknownQuery", (const char *)text.data);
  else outcome->value.failed = true;
  lnt__buf_finish(&text);
}

/* Push the function to run, or nothing: *outcome is complete then. */
static bool push_question(lua_State *L, const ask_job *job) {
  const lnt__question *question = job->question;
  uint32_t slot = question->is_update ? job->body->updates_slot : job->body->queries_slot;
  if (slot) lnt__push_slot(L, slot);
  else lua_pushnil(L);
  if (slot) {
    lua_pushlstring(L, question->name.data, question->name.size);
    lua_rawget(L, -2);
    if (!lua_isnil(L, -1)) {
      if (!question->is_update) return true;
      lua_rawgeti(L, -1, 2);
      job->outcome->state = LNT__BODY_COMPLETED; /* without a validator every update is welcome */
      return !lua_isnil(L, -1);
    }
    lua_pop(L, 1);
  }
  fail_unknown(L, question, job->outcome);
  return false;
}

/* The values it returned are on the stack of `co`. */
static void take_answer(const lnt__wvm *wvm, lua_State *co, const ask_job *job) {
  lnt__outcome *outcome = job->outcome;
  lnt_error err;
  outcome->state = LNT__BODY_COMPLETED;
  if (job->question->is_update) {
    bool refused = lua_gettop(co) >= 1 && lua_type(co, 1) == LUA_TBOOLEAN && !lua_toboolean(co, 1);
    if (refused) fail(outcome, "UpdateRejected", lua_type(co, 2) == LUA_TSTRING ? lua_tostring(co, 2) : "the validator refused the update");
    return;
  }
  if (lua_isnoneornil(co, 1)) return;
  if (!lnt__value_encode(co, 1, "answer", (size_t)wvm->limits.payload_bytes_max, &outcome->value, &err)) return;
  lnt__value_met(wvm->met, &err);
  fail(outcome, "InvalidValue", err.message);
}

/* Of the function at the top. */
static void note_where(lua_State *L, lnt__wvm *wvm) {
  lua_Debug ar;
  lua_pushvalue(L, -1);
  if (!lua_getinfo(L, ">S", &ar)) ar.short_src[0] = 0, ar.linedefined = 0;
  snprintf(wvm->apart_where, sizeof wvm->apart_where, "%s:%d: in a return of the function that begins here", ar.short_src, ar.linedefined);
}

static void ask_entry(lua_State *L, void *argument) {
  const ask_job *job = argument;
  lnt__wvm *wvm = lnt__wvm_of(L);
  if (!push_question(L, job)) return;
  note_where(L, wvm);
  lnt__thread thread = lnt__thread_take(L);
  if (!lnt__value_push(L, job->question->args)) lua_pushnil(L);
  lua_xmove(L, thread.co, 2);
  wvm->apart = job->question->is_update ? LNT__APART_VALIDATOR : LNT__APART_QUERY;
  int rc = lnt__resume(wvm, thread.co, 1);
  wvm->apart = LNT__APART_NONE;
  if (rc == 0) take_answer(wvm, thread.co, job);
  else if (rc == LUA_YIELD) fail(job->outcome, lnt__apart_type(job->question->is_update), "it yields, and nobody would resume it");
  else lnt__raised(wvm, thread.co, job->outcome);
  lnt__thread_give(wvm, &thread, rc == 0);
}

void lnt__vm_ask(void *vm, lnt__turn *turn, void *body, const lnt__question *question, lnt__outcome *outcome) {
  lnt__wvm *wvm = vm;
  lnt__body *asked = body;
  lnt_error err;
  ask_job job = {asked, question, outcome};
  if (question->is_update && asked->end) {
    fail(outcome, "UpdateRejected", "the workflow has returned and takes no more updates");
    return;
  }
  lnt__enter_body(wvm, asked, turn);
  lnt_status status = lnt__protected(wvm, ask_entry, &job, &err);
  lnt__leave_body(wvm, status, &err, outcome);
}

/* ---- Updates ---- */

typedef struct update_job {
  lnt__body *body;
  const lnt__accepted *update;
  lnt__outcome *outcome;
  bool found;
} update_job;

/* A branch in the scope of the handlers, which nobody runs; it stands for that scope while a branch is made. */
static void spawn_handler(lua_State *L, lnt__body *body, const lnt__accepted *update) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__branch usher = {.scope = &body->handlers, .base = &body->handlers};
  wvm->branch = &usher;
  lnt__task *task = lnt__task_create(L, body, LNT__TASK_BRANCH, update->name.data, update->name.size);
  lnt__branch *branch = lnt__branch_create(L, body);
  wvm->branch = NULL;
  branch->task = task;
  task->branch = branch;
  lua_pop(L, 1);
  lnt__push_slot(L, wvm->run_update_slot);
  lnt__push_slot(L, wvm->ctx_slot);
  lua_pushvalue(L, -3);
  lua_pushlstring(L, update->id.data, update->id.size);
  if (!lnt__value_push(L, update->args)) lua_pushnil(L);
  lua_xmove(L, branch->thread.co, 5);
  lnt__ready(body, branch, 4);
}

static void update_entry(lua_State *L, void *argument) {
  update_job *job = argument;
  lnt__body *body = job->body;
  if (!body->updates_slot) return;
  lnt__push_slot(L, body->updates_slot);
  lua_pushlstring(L, job->update->name.data, job->update->name.size);
  lua_rawget(L, -2);
  if (lua_isnil(L, -1)) return;
  job->found = true;
  lua_rawgeti(L, -1, 1);
  spawn_handler(L, body, job->update);
  lnt__body_run(L, body, job->outcome);
}

bool lnt__vm_update(void *vm, lnt__turn *turn, void *body, const lnt__accepted *update, lnt__outcome *outcome) {
  lnt__wvm *wvm = vm;
  lnt_error err;
  update_job job = {body, update, outcome, false};
  lnt__enter_body(wvm, body, turn);
  lnt_status status = lnt__protected(wvm, update_entry, &job, &err);
  lnt__leave_body(wvm, status, &err, outcome);
  return job.found || status;
}

/* answer_update(id, ok, value): the handler ended. A value that cannot be stored is its failure. */
static int answer_update(lua_State *L) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__buf *out = &wvm->input;
  size_t bytes_max = (size_t)wvm->limits.payload_bytes_max, id_size;
  const char *id = lua_tolstring(L, 1, &id_size);
  bool ok = lua_toboolean(L, 2);
  lnt_status status = LNT_OK;
  lnt_error err;
  lua_settop(L, 3);
  lnt__buf_clear(out);
  if (!ok) status = lnt__failure_encode(L, 3, bytes_max, out, &err);
  else if (!lua_isnil(L, 3)) status = lnt__value_encode(L, 3, "the update's result", bytes_max, out, &err);
  if (status && status != LNT_ENOMEM) {
    lnt__buf_clear(out);
    lnt__failure_text(out, "InvalidValue", err.message, false);
    ok = false;
  }
  if (status == LNT_ENOMEM || out->failed) lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
  lnt__turn_update_answered(wvm->body->turn, (lnt_value){id, id_size}, ok, (lnt_value){out->size ? out->data : NULL, out->size});
  return 0;
}

/* running_handlers(ctx): a list of the tasks of the updates that are being handled, but for the one that asks */
static int running_handlers(lua_State *L) {
  const lnt__body *body = lnt__ctx_body(L, "wait_for_handlers");
  int count = 0;
  lua_newtable(L);
  for (const lnt__task *task = body->handlers.first; task; task = task->next) {
    if (task->kind != LNT__TASK_BRANCH || task->branch == lnt__wvm_of(L)->branch) continue;
    lnt__push_slot(L, task->slot);
    lua_rawseti(L, -2, ++count);
  }
  return 1;
}

/* all_handlers_finished(ctx) */
static int all_handlers_finished(lua_State *L) {
  const lnt__wvm *wvm = lnt__wvm_of(L);
  const lnt__body *body = lnt__ctx_reader(L, "all_handlers_finished");
  bool all = true;
  for (const lnt__task *task = body->handlers.first; task; task = task->next)
    if (task->kind == LNT__TASK_BRANCH && task->branch != wvm->branch) all = false;
  lua_pushboolean(L, all);
  return 1;
}

void lnt__ask_functions(lua_State *L) {
  static const luaL_Reg functions[] = {{"on_query", on_query}, {"on_update", on_update}, {"answer_update", answer_update},
                                       {"running_handlers", running_handlers}, {"all_handlers_finished", all_handlers_finished}};
  for (size_t i = 0; i < LNT__COUNT(functions); i++) {
    lua_pushcfunction(L, functions[i].func);
    lua_setfield(L, -2, functions[i].name);
  }
}

/* ---- What it waits for ---- */

typedef struct inspect_job { lnt__body *body; lnt__buf *out; } inspect_job;

typedef struct seqs { uint32_t items[INSPECTED_SEQS_MAX]; size_t count; } seqs;

static void add_seq(seqs *into, uint32_t seq) {
  if (into->count < INSPECTED_SEQS_MAX) into->items[into->count++] = seq;
}

/* The commands that the task at the top stands for; it is popped. */
static void add_task(lua_State *L, seqs *into) {
  const lnt__task *task = (const lnt__task *)lua_touserdata(L, -1);
  luaL_checkstack(L, 4, "a task");
  if (task->state == LNT__TASK_PENDING && task->kind < LNT__TASK_BRANCH) add_seq(into, task->seq);
  if (task->state == LNT__TASK_PENDING && task->kind >= LNT__TASK_ALL) {
    lua_getfenv(L, -1);
    for (uint32_t i = 1; i <= task->count && into->count < INSPECTED_SEQS_MAX; i++) {
      lua_rawgeti(L, -1, (int)i);
      add_task(L, into);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static const char *waiting_for(const lnt__branch *branch) {
  static const char *const kinds[] = {[LNT__TASK_ACTIVITY] = "activity", [LNT__TASK_TIMER] = "timer", [LNT__TASK_EVENT] = "event",
                                      [LNT__TASK_CHILD] = "child", [LNT__TASK_BRANCH] = "branch", [LNT__TASK_ALL] = "all",
                                      [LNT__TASK_ANY] = "any"};
  if (branch->state == LNT__BRANCH_READY) return "nothing";
  if (branch->closing) return "scope";
  return branch->waits_for ? kinds[branch->waits_for->kind] : NULL;
}

static void write_text(lnt__buf *out, const char *key, const char *text) {
  lnt__cbor_cstring(out, key);
  lnt__cbor_cstring(out, text);
}

static bool write_branch(lua_State *L, const lnt__body *body, lnt__branch *branch, lnt__buf *out) {
  lnt__cbor_map map;
  seqs waits = {.count = 0};
  char where[LUA_IDSIZE + 200];
  bool is_update = branch != &body->main && branch->base == &body->handlers && branch->task->name[0];
  const char *what = waiting_for(branch);
  if (branch->waits_for) {
    lnt__push_slot(L, branch->waits_for->slot);
    add_task(L, &waits);
  } else if (branch->state == LNT__BRANCH_WAITING && !branch->closing) {
    add_seq(&waits, branch->seq);
  }
  lnt__where(branch->thread.co, where, sizeof where);
  size_t members = 4;
  lnt__cbor_map_begin(out, &map);
  write_text(out, "branch", branch == &body->main ? "main" : is_update ? "update" : "branch");
  write_text(out, "at", where);
  write_text(out, "waits_for", what ? what : "command");
  lnt__cbor_cstring(out, "seqs");
  lnt__cbor_array(out, waits.count);
  for (size_t i = 0; i < waits.count; i++) lnt__cbor_int(out, waits.items[i]);
  if (is_update) write_text(out, "update", branch->task->name), members++;
  return lnt__cbor_map_end(out, &map, members, false);
}

static bool write_branches(lua_State *L, lnt__body *body, lnt__buf *out) {
  bool main = body->main.state != LNT__BRANCH_OVER;
  size_t count = body->branch_count + main, left = count < INSPECTED_BRANCHES_MAX ? count : INSPECTED_BRANCHES_MAX;
  bool good = true;
  lnt__branch *oldest = body->branches;
  while (oldest && oldest->older) oldest = oldest->older;
  lnt__cbor_array(out, left);
  if (main && left) good = write_branch(L, body, &body->main, out), left--;
  for (lnt__branch *branch = oldest; branch && left && good; branch = branch->newer, left--) good = write_branch(L, body, branch, out);
  return good;
}

static void write_names(lua_State *L, uint32_t slot, lnt__buf *out) {
  const char *names[HANDLERS_MAX];
  if (slot) lnt__push_slot(L, slot);
  else lua_pushnil(L);
  size_t count = list_names(L, names);
  lnt__cbor_array(out, count);
  for (size_t i = 0; i < count; i++) lnt__cbor_cstring(out, names[i]);
  lua_pop(L, 1);
}

static void inspect_entry(lua_State *L, void *argument) {
  const inspect_job *job = argument;
  lnt__cbor_map map;
  lnt__cbor_map_begin(job->out, &map);
  lnt__cbor_cstring(job->out, "branches");
  if (!write_branches(L, job->body, job->out)) luaL_error(L, "not enough memory");
  lnt__cbor_cstring(job->out, "queries");
  write_names(L, job->body->queries_slot, job->out);
  lnt__cbor_cstring(job->out, "updates");
  write_names(L, job->body->updates_slot, job->out);
  if (!lnt__cbor_map_end(job->out, &map, 3, false)) luaL_error(L, "not enough memory");
}

lnt_status lnt__vm_inspect(void *vm, lnt__turn *turn, void *body, lnt__buf *out, lnt_error *err) {
  lnt__wvm *wvm = vm;
  lnt__outcome unused;
  inspect_job job = {body, out};
  memset(&unused, 0, sizeof unused);
  lnt__enter_body(wvm, body, turn);
  lnt_status status = lnt__protected(wvm, inspect_entry, &job, err);
  lnt__leave_body(wvm, LNT_OK, NULL, &unused);
  return status;
}
