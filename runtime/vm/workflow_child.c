/* workflow_child.c - the functions of ctx that reach beyond this run: children, detached starts, events to others, the next generation.
 * Called by author code through workflow.lua; owner thread. */
#include <lauxlib.h>
#include <stdio.h>

#include "vm/sandbox_lib.h"
#include "vm/workflow.h"

/* An id that the engine makes must have room in an id, with the "~2" of the attempts after the first behind it. */
static void check_room(lua_State *L, lnt__body *body, const char *verb, const lnt__child_options *options) {
  char last[16];
  size_t size = options->id.size ? options->id.size : lnt__turn_default_id_size(body->turn);
  if (options->attempts > 1) size += (size_t)snprintf(last, sizeof last, "~%u", options->attempts);
  if (size <= LNT_ID_BYTES_MAX) return;
  if (!options->id.size)
    lnt__invalid(L, "id", "%s: the id of this instance leaves no room for the id of another one behind it (%zu bytes of at most %d); "
                 "give one, such as {id = \"...\"}", verb, size, LNT_ID_BYTES_MAX);
  lnt__invalid(L, "id", "%s: id leaves no room for \"~%u\", which the last of its attempts has behind it (%zu bytes of at most %d)", verb,
               options->attempts, size, LNT_ID_BYTES_MAX);
}

static int call_child_with(lua_State *L, bool async) {
  lnt__body *body = lnt__ctx_body(L, "call_child_workflow");
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__request r = {.verb = "call_child_workflow", .kind = LNT__TASK_CHILD, .async = async};
  lnt__child_options options;
  r.command.kind = LNT_EVENT_CHILD_SCHEDULED;
  r.command.name = lnt__name_argument(L, 2, r.verb, "name", "the workflow");
  r.command.input = lnt__encode_argument(L, 3, r.verb, "input", &wvm->input);
  lnt__child_options_read(L, 4, &options, &wvm->extra);
  check_room(L, body, r.verb, &options);
  r.command.id = options.id;
  if (wvm->extra.size) r.command.options = (lnt_value){wvm->extra.data, wvm->extra.size};
  if (options.timeout_us) r.command.due_us = lnt__turn_now_us(body->turn) + options.timeout_us;
  return lnt__issue(L, body, &r);
}

static int call_child(lua_State *L) { return call_child_with(L, false); }
static int call_child_async(lua_State *L) { return call_child_with(L, true); }

static int start_workflow(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "start_workflow");
  lnt__command command = {.kind = LNT_EVENT_DETACHED_STARTED};
  lnt__child_options options = {.attempts = 1};
  command.name = lnt__name_argument(L, 2, "start_workflow", "name", "the workflow");
  command.input = lnt__encode_argument(L, 3, "start_workflow", "input", &lnt__wvm_of(L)->input);
  options.id = lnt__id_option(L, 4, "start_workflow");
  check_room(L, body, "start_workflow", &options);
  command.id = options.id;
  return lnt__instant(L, body, "start_workflow", &command);
}

static int raise_event(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "raise_event");
  lnt__command command = {.kind = LNT_EVENT_EVENT_SENT};
  command.id = lnt__id_argument(L, 2, "raise_event", "the id of the instance");
  command.name = lnt__name_argument(L, 3, "raise_event", "name", "the event");
  command.input = lnt__encode_argument(L, 4, "raise_event", "data", &lnt__wvm_of(L)->input);
  return lnt__instant(L, body, "raise_event", &command);
}

/* ---- A new generation ---- */

/* What the author says goes on is kept beside the body; the kill takes care that nothing of it runs any more. */
static _Noreturn void end_body(lua_State *L, lnt__body *body, lnt_value input, bool carry_events) {
  if (carry_events) lnt__tasks_keep_events(L, body);
  lnt__next *next = lnt__alloc(sizeof *next + input.size);
  if (!next) lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
  *next = (lnt__next){.carry_events = carry_events, .size = input.size};
  if (input.size) memcpy(next->input, input.data, input.size);
  body->next = next;
  lnt__guard_kill(L, LNT__KILL_HOST, "the workflow continues as new");
}

static int continue_as_new(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "continue_as_new");
  lnt__wvm *wvm = lnt__wvm_of(L);
  bool carry_events = lnt__carry_option(L, 3);
  lnt_value input = lnt__encode_argument(L, 2, "continue_as_new", "input", &wvm->input);
  if (wvm->branch != &body->main)
    lnt__mistake(L, "continue_as_new ends the whole workflow, not a branch: call it from the workflow's own function, for instance when a "
                 "task tells it to");
  if (lnt__is_shielded(wvm->branch)) lnt__mistake(L, "continue_as_new cannot leave ctx:shield; call it after the shielded function");
  int canceled = lnt__cancel_due(L, wvm->branch);
  if (canceled) return canceled;
  end_body(L, body, input, carry_events);
}

static int should_continue_as_new(lua_State *L) {
  lua_pushboolean(L, lnt__turn_advises(lnt__ctx_body(L, "should_continue_as_new")->turn));
  return 1;
}

void lnt__child_functions(lua_State *L) {
  static const luaL_Reg functions[] = {{"call_child_workflow", call_child}, {"call_child_workflow_async", call_child_async},
                                       {"start_workflow", start_workflow}, {"raise_event", raise_event},
                                       {"continue_as_new", continue_as_new},
                                       {"should_continue_as_new", should_continue_as_new}};
  for (size_t i = 0; i < LNT__COUNT(functions); i++) {
    lua_pushcfunction(L, functions[i].func);
    lua_setfield(L, -2, functions[i].name);
  }
}
