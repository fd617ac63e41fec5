/* workflow_mistake.c - mistakes of authors: failures with a type and the field that is wrong, raised at the author's line before anything
 * is recorded. Used by the functions of ctx; owner thread; everything here raises.
 *
 * What a message says may reach the journal, if the author catches it: of several mistakes in one table the same one is named in every
 * process, whatever the order of its keys. */
#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>

#include "vm/sandbox_lib.h"
#include "vm/workflow.h"

static void place_text(lua_State *L, char *out, size_t size) {
  const lnt__wvm *wvm = lnt__wvm_of(L);
  char place[2 * LUA_IDSIZE];
  lnt__sandbox_where(L, 0, out, size);
  if (out[0] || !wvm->body) return;
  if (lnt__tail_place(wvm, place, sizeof place)) snprintf(out, size, "%s", place);
  else snprintf(out, size, "%s:%d: in a return of the function that begins here", wvm->body->code->file, wvm->body->line);
}

_Noreturn static void raise_mistake(lua_State *L, const char *type, const char *field, const char *format, va_list args) {
  char where[2 * LUA_IDSIZE + 80], text[LNT_ERROR_MESSAGE_MAX], message[sizeof where + sizeof text + 2];
  vsnprintf(text, sizeof text, format, args);
  place_text(L, where, sizeof where);
  snprintf(message, sizeof message, "%s%s%s", where, where[0] ? ": " : "", text);
  luaL_checkstack(L, 12, "a failure");
  lnt__push_failure(L, type, message, false);
  if (field) {
    lua_pushliteral(L, "field");
    lua_pushstring(L, field);
    lua_rawset(L, -3);
  }
  for (;;) lua_error(L); /* which does not return */
}

_Noreturn void lnt__mistake(lua_State *L, const char *format, ...) {
  va_list args;
  va_start(args, format);
  raise_mistake(L, "InvalidCall", NULL, format, args);
}

_Noreturn void lnt__invalid(lua_State *L, const char *field, const char *format, ...) {
  va_list args;
  va_start(args, format);
  raise_mistake(L, "InvalidArgument", field, format, args);
}

_Noreturn void lnt__exceeded(lua_State *L, const char *field, const char *format, ...) {
  va_list args;
  va_start(args, format);
  raise_mistake(L, "LimitExceeded", field, format, args);
}

_Noreturn static void unstorable(lua_State *L, const char *field, const char *format, ...) LNT__PRINTF(3, 4);
_Noreturn static void unstorable(lua_State *L, const char *field, const char *format, ...) {
  va_list args;
  va_start(args, format);
  raise_mistake(L, "InvalidValue", field, format, args);
}

/* The message begins with the path of what is wrong: "input.items[3]: ...". A key in brackets may hold anything. */
_Noreturn void lnt__invalid_value(lua_State *L, const char *verb, const char *what, const lnt_error *err) {
  char field[LNT_ERROR_MESSAGE_MAX];
  lnt__value_met(lnt__wvm_of(L)->met, err);
  if (err->code == LNT_ELIMIT) lnt__exceeded(L, what, "%s: %s", verb, err->message);
  size_t size = 0;
  for (bool quoted = false; err->message[size] && (quoted || strncmp(err->message + size, ": ", 2) != 0); size++)
    if (err->message[size] == '"') quoted = !quoted;
  snprintf(field, sizeof field, "%.*s", (int)size, err->message);
  unstorable(L, err->message[size] ? field : what, "%s: %s", verb, err->message);
}

/* ---- Tables ---- */

const char *lnt__nearest(const char *word, const char *const *names) {
  const char *nearest = NULL;
  size_t best = LNT__NEAR_EDITS_MAX + 1;
  for (; *names; names++) {
    size_t edits = lnt__edits(word, *names);
    if (edits < best && edits < strlen(*names)) best = edits, nearest = *names;
  }
  return nearest;
}

static bool is_known(const char *key, const char *const *known) {
  while (*known && strcmp(*known, key) != 0) known++;
  return *known != NULL;
}

/* The first key in the order of the alphabet that is not known; *odd: the type of a key that is no text, or NULL. */
static const char *unknown_key(lua_State *L, int index, const char *const *known, const char **odd) {
  const char *found = NULL;
  *odd = NULL;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      if (!*odd || strcmp(luaL_typename(L, -2), *odd) < 0) *odd = luaL_typename(L, -2);
      continue;
    }
    const char *key = lua_tostring(L, -2); /* the table holds it */
    if (!is_known(key, known) && (!found || strcmp(key, found) < 0)) found = key;
  }
  return found;
}

void lnt__check_keys(lua_State *L, int index, const char *verb, const char *prefix, const char *const *known) {
  const char *odd, *key = unknown_key(L, index, known, &odd), *nearest = key ? lnt__nearest(key, known) : NULL;
  char field[100], list[200];
  if (!key && !odd) return;
  int at = 0;
  for (const char *const *name = known; *name && at < (int)sizeof list; name++)
    at += snprintf(list + at, sizeof list - (size_t)at, "%s%s", at ? ", " : "", *name);
  snprintf(field, sizeof field, "%s%s", prefix, key ? key : odd);
  if (!key) lnt__invalid(L, NULL, "%s: the names of the options are text, not a %s; known are %s", verb, odd, list);
  if (nearest) lnt__invalid(L, field, "%s: unknown option '%s'; did you mean '%s%s'? Known are %s", verb, field, prefix, nearest, list);
  lnt__invalid(L, field, "%s: unknown option '%s'; known are %s", verb, field, list);
}

/* The keys that are no place of the list: the first text, else the type of another one. */
_Noreturn static void refuse_list(lua_State *L, int index, const char *verb, const char *field, size_t count) {
  static const char *const none[] = {NULL};
  const char *odd, *key = unknown_key(L, index, none, &odd);
  if (key) lnt__invalid(L, field, "%s: a list (1, 2, 3 ...) is wanted, and this table has the key '%.40s'", verb, key);
  size_t place = 1;
  for (; place <= count; place++) {
    lua_rawgeti(L, index, (int)place);
    if (lua_isnil(L, -1)) break;
    lua_pop(L, 1);
  }
  lnt__invalid(L, field, "%s: a list (1, 2, 3 ...) is wanted, and this table has no item %zu of its %zu", verb, place, count);
}

/* The border of a table with holes is anywhere: counted, it is the same in every process. */
size_t lnt__check_list(lua_State *L, int index, const char *verb, const char *field) {
  size_t count = 0, places = 0;
  luaL_checkstack(L, 4, "a list");
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) count++;
  if (count > INT32_MAX / 2) lnt__exceeded(L, field, "%s: the list has %zu items", verb, count);
  lnt__guard_charge(L, count);
  for (; places < count; places++) {
    lua_rawgeti(L, index, (int)places + 1);
    bool is_there = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (!is_there) break;
  }
  if (places < count) refuse_list(L, index, verb, field, count);
  return count;
}

void lnt__check_function(lua_State *L, int index, const char *verb, const char *field) {
  if (!lua_isfunction(L, index)) lnt__invalid(L, field, "%s: a function expected, got %s", verb, luaL_typename(L, index));
}

void lnt__check_options(lua_State *L, int index, const char *verb, const char *example) {
  if (!lua_istable(L, index))
    lnt__invalid(L, "options", "%s: options must be a table such as {%s}, got %s", verb, example, luaL_typename(L, index));
}

void lnt__check_reason(lua_State *L, int index) {
  if (!lua_isnoneornil(L, index) && lua_type(L, index) != LUA_TSTRING)
    lnt__invalid(L, "reason", "cancel: the reason must be a string, got %s", luaL_typename(L, index));
}
