/* workflow_tell.c - the functions of ctx with which an instance tells about itself: side effects, streams, attributes; and the rules for
 * what runs apart from its branches. Called by author code through workflow.lua; owner thread. */
#include <lauxlib.h>
#include <stdio.h>

#include "journal/journal.h"
#include "vm/sandbox_lib.h"
#include "vm/workflow.h"

#define UNITS_PER_BYTE 16 /* bytes of attributes read or written for one unit of the budget */

/* ---- Apart ---- */

const char *lnt__apart_type(bool is_update) { return is_update ? "ValidatorNotReadOnly" : "QueryNotReadOnly"; }

static int refuse_to_move(lua_State *L, const char *verb) {
  bool is_update = lnt__wvm_of(L)->apart == LNT__APART_VALIDATOR;
  char where[LUA_IDSIZE + 16], text[2 * LUA_IDSIZE + 300];
  lnt__sandbox_where(L, 0, where, sizeof where);
  snprintf(text, sizeof text, "%s: %s cannot be called in %s: it may look at the instance, and not move it",
           where[0] ? where : lnt__wvm_of(L)->apart_where, verb, is_update ? "the validator of an update" : "a query");
  lnt__push_failure(L, lnt__apart_type(is_update), text, false);
  return lua_error(L);
}

void lnt__refuse_apart(lua_State *L, const char *verb) {
  lnt__apart apart = lnt__wvm_of(L)->apart;
  if (apart == LNT__APART_NONE) return;
  if (apart != LNT__APART_SIDE_EFFECT) refuse_to_move(L, verb);
  lnt__mistake(L, "%s cannot be called inside ctx:side_effect: a replay takes the recorded value and does not run the function", verb);
}

/* A side effect draws from numbers of its own. */
void lnt__check_draw(lua_State *L, const char *verb) {
  if (lnt__wvm_of(L)->apart > LNT__APART_SIDE_EFFECT) refuse_to_move(L, verb);
}

/* ---- Side effects ---- */

/* Call the function at index 2 with random numbers of its own, so that the body draws the same ones when a replay leaves it out. A call
 * from C cannot be yielded across: the author's own coroutines cannot carry it away either. Leaves its value, or what it raised; true: it
 * returned. */
static bool call_apart(lua_State *L, lnt__body *body) {
  lnt__wvm *wvm = lnt__wvm_of(L);
  lnt__rng draws[2], *outer = body->rngs;
  uint64_t seed = body->seed + 0x9e3779b97f4a7c15u * body->side_effects;
  lnt__rng_seed(&draws[0], seed);
  lnt__rng_seed(&draws[1], ~seed);
  body->rngs = draws;
  wvm->apart = LNT__APART_SIDE_EFFECT;
  lua_pushvalue(L, 2);
  int rc = lua_pcall(L, 0, 1, 0);
  wvm->apart = LNT__APART_NONE;
  body->rngs = outer;
  if (rc == 0) return true;
  lua_pushcfunction(L, lnt__guard_caught);
  lua_pushvalue(L, -2);
  lua_call(L, 1, 0);
  return false;
}

/* A value that cannot be stored is a failure of the side effect, at the author's line. */
static void write_refusal(lua_State *L, lnt__buf *out, const lnt_error *err) {
  char where[LUA_IDSIZE + 16], text[LNT_ERROR_MESSAGE_MAX + LUA_IDSIZE + 20];
  lnt__sandbox_where(L, 0, where, sizeof where);
  snprintf(text, sizeof text, "%s%s%s", where, where[0] ? ": " : "", err->message);
  lnt__buf_clear(out);
  lnt__failure_text(out, "InvalidValue", text, false);
}

/* Encode what stands at the top: the value of a side effect, or what it raised. Answers whether it is a value. */
static bool encode_result(lua_State *L, bool ok, lnt__buf *out) {
  size_t bytes_max = (size_t)lnt__wvm_of(L)->limits.payload_bytes_max;
  lnt_status status = LNT_OK;
  lnt_error err;
  lnt__buf_clear(out);
  if (!ok) status = lnt__failure_encode(L, -1, bytes_max, out, &err);
  else if (!lua_isnil(L, -1)) status = lnt__value_encode(L, -1, "side_effect: value", bytes_max, out, &err);
  if (status && status != LNT_ENOMEM) write_refusal(L, out, &err);
  if (status == LNT_ENOMEM || out->failed) lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
  return ok && !status;
}

/* What it raised is recorded too: a replay that ran the function again could take another way. */
static int side_effect(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "side_effect");
  lnt__buf *out = &lnt__wvm_of(L)->input;
  lnt__command command = {.kind = LNT_EVENT_SIDE_EFFECT};
  lnt__check_function(L, 2, "side_effect", "fn");
  lua_settop(L, 2);
  body->side_effects++;
  if (lnt__turn_recorded(body->turn)) return lnt__instant(L, body, "side_effect", &command);
  bool ok = encode_result(L, call_apart(L, body), out);
  lnt_value value = {out->size ? out->data : NULL, out->size};
  if (ok) command.input = value;
  else command.options = value;
  return lnt__instant(L, body, "side_effect", &command);
}

/* ---- Streams ---- */

static int emit(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "emit");
  lnt__command command = {.kind = LNT_EVENT_EMITTED};
  command.name = lnt__name_argument(L, 2, "emit", "stream", "the stream");
  command.input = lnt__encode_argument(L, 3, "emit", "value", &lnt__wvm_of(L)->input);
  lnt__instant(L, body, "emit", &command);
  return 0;
}

/* ---- Attributes ---- */

/* Push the map as the body has set it. */
static void push_attributes(lua_State *L, const lnt__body *body) {
  if (body->attributes_size == 0) lua_newtable(L);
  else if (!lnt__value_push(L, (lnt_value){body->attributes, body->attributes_size})) luaL_error(L, "unreadable attributes");
}

/* Check the map at the top and make it the body's; it is popped. */
static int keep_attributes(lua_State *L, lnt__body *body, const char *verb) {
  lnt_error err;
  lnt_value value = LNT_VALUE_NIL;
  lnt__guard_charge(L, body->attributes_size / UNITS_PER_BYTE);
  lua_pushnil(L);
  if (lua_next(L, -2)) {
    lua_pop(L, 2);
    value = lnt__encode_argument(L, lua_gettop(L), verb, "attributes", &lnt__wvm_of(L)->input);
  }
  lnt__guard_charge(L, value.size / UNITS_PER_BYTE);
  lnt_status status = lnt__attributes_check(value, &err);
  if (status == LNT_ELIMIT) lnt__exceeded(L, "attributes", "%s: %s", verb, err.message);
  if (status) lnt__invalid(L, "attributes", "%s: %s", verb, err.message);
  void *copy = value.size ? lnt__alloc(value.size) : NULL;
  if (value.size && !copy) lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
  if (value.size) memcpy(copy, value.data, value.size);
  lnt__free(body->attributes);
  body->attributes = copy;
  body->attributes_size = (uint32_t)value.size;
  lnt__turn_attributes(body->turn, value);
  lua_pop(L, 1);
  return 0;
}

static int set_attributes(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "set_attributes");
  if (!lua_istable(L, 2))
    lnt__invalid(L, "attributes", "set_attributes: a table such as {customer = \"Ada\"} expected, got %s", luaL_typename(L, 2));
  lua_settop(L, 2);
  push_attributes(L, body);
  lua_pushnil(L);
  while (lua_next(L, 2)) {
    if (lua_type(L, -2) != LUA_TSTRING)
      lnt__invalid(L, "attributes", "set_attributes: the name of an attribute must be a string, got %s", luaL_typename(L, -2));
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, 3);
  }
  return keep_attributes(L, body, "set_attributes");
}

static int remove_attributes(lua_State *L) {
  lnt__body *body = lnt__ctx_body(L, "remove_attributes");
  int count = lua_gettop(L);
  push_attributes(L, body);
  for (int i = 2; i <= count; i++) {
    if (lua_type(L, i) != LUA_TSTRING)
      lnt__invalid(L, "...", "remove_attributes: the name of an attribute must be a string, got %s", luaL_typename(L, i));
    lua_pushvalue(L, i);
    lua_pushnil(L);
    lua_rawset(L, count + 1);
  }
  return keep_attributes(L, body, "remove_attributes");
}

static int attributes(lua_State *L) {
  push_attributes(L, lnt__ctx_reader(L, "attributes"));
  return 1;
}

void lnt__tell_functions(lua_State *L) {
  static const luaL_Reg functions[] = {{"side_effect", side_effect}, {"emit", emit}, {"set_attributes", set_attributes},
                                       {"remove_attributes", remove_attributes}, {"attributes", attributes}};
  for (size_t i = 0; i < LNT__COUNT(functions); i++) {
    lua_pushcfunction(L, functions[i].func);
    lua_setfield(L, -2, functions[i].name);
  }
}
