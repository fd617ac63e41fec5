/* sandbox_table.c - tables in an order that every process agrees on: the keys for pairs and next, and the table functions that would
 * otherwise do unbounded work out of the hook's sight. Called by sandbox.lua and by author code; owner thread of the state.
 *
 * The order is numbers, then strings by their bytes, then false and true. Other keys have no order: their hash is an address. */
#include <math.h>
#include <stdlib.h>

#include "vm/sandbox_lib.h"

#define SMALL 64         /* keys sorted on the C stack and the Lua stack */
#define INSERTION_MAX 12 /* up to here insertion sort is the quickest */
#define RESULTS_MAX 7900 /* LuaJIT allows 8000 slots to a C function */
#define BYTES_PER_UNIT 16

typedef struct key {
  uint8_t rank; /* 0 number, 1 string, 2 boolean */
  int place;    /* in the order found, from 1 */
  double number;
  const char *text;
  size_t size;
} key;

static int compare_texts(const char *a, size_t a_size, const char *b, size_t b_size) {
  int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
  return order ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_keys(const key *a, const key *b) {
  if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
  if (a->rank == 1) return compare_texts(a->text, a->size, b->text, b->size);
  return (a->number > b->number) - (a->number < b->number);
}

static int compare_for_qsort(const void *a, const void *b) { return compare_keys((const key *)a, (const key *)b); }

static void sort_keys(key *keys, size_t count) {
  if (count > INSERTION_MAX) {
    qsort(keys, count, sizeof *keys, compare_for_qsort);
    return;
  }
  for (size_t i = 1; i < count; i++) {
    key moving = keys[i];
    size_t at = i;
    for (; at > 0 && compare_keys(&moving, &keys[at - 1]) < 0; at--) keys[at] = keys[at - 1];
    keys[at] = moving;
  }
}

/* The key at `index` (a positive or pseudo index, or one that stays valid). `what` is the function that the author called. */
static key read_key(lua_State *L, int index, const char *what) {
  int type = lua_type(L, index);
  key k = {0};
  if (type == LUA_TSTRING) {
    k.rank = 1;
    k.text = lua_tolstring(L, index, &k.size);
  } else if (type == LUA_TNUMBER) {
    k.number = lua_tonumber(L, index);
  } else if (type == LUA_TBOOLEAN) {
    k.rank = 2;
    k.number = lua_toboolean(L, index);
  } else {
    lnt__sandbox_error(L,
                       "%s: the table has a key of type %s, and such keys have no order that a replay could repeat; "
                       "keep these objects in an array and loop over it with ipairs",
                       what, type == LUA_TLIGHTUSERDATA ? "userdata" : lua_typename(L, type));
  }
  return k;
}

static void charge_sort(lua_State *L, size_t count) {
  uint64_t units = count / 2;
  for (size_t n = count; n > INSERTION_MAX; n >>= 1) units += count;
  lnt__charge(L, lnt__guard_of(L), units);
}

/* How many keys table 1 has. `*is_sequence`: they are 1..n, and LuaJIT holds them in that order. */
static size_t count_keys(lua_State *L, bool *is_sequence) {
  size_t count = 0;
  *is_sequence = true;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    count++;
    if (*is_sequence && (lua_type(L, -2) != LUA_TNUMBER || lua_tonumber(L, -2) != (lua_Number)count)) *is_sequence = false;
  }
  lnt__charge(L, lnt__guard_of(L), count);
  return count;
}

/* The state of a loop: [0] place of the next, [1] the table, [2...] its keys in order. One table, array part only. */
static void push_state(lua_State *L, size_t count) {
  lua_createtable(L, (int)count + 2, 0);
  lua_pushinteger(L, 2);
  lua_rawseti(L, -2, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
}

static void few_keys(lua_State *L, size_t count) {
  key keys[SMALL];
  int base = lua_gettop(L);
  luaL_checkstack(L, SMALL + 8, "pairs");
  lua_pushnil(L);
  for (size_t i = 0; lua_next(L, 1); i++) {
    lua_pop(L, 1);
    keys[i] = read_key(L, base + 1 + (int)i, "pairs");
    keys[i].place = (int)i + 1;
    lua_pushvalue(L, -1);
  }
  sort_keys(keys, count);
  push_state(L, count);
  for (size_t i = 0; i < count; i++) {
    lua_pushvalue(L, base + keys[i].place);
    lua_rawseti(L, -2, (int)i + 2);
  }
}

/* Too many for the Lua stack: they wait in a table of their own, in the order found. */
static void many_keys(lua_State *L, size_t count) {
  key *keys = (key *)lua_newuserdata(L, count * sizeof *keys);
  lua_createtable(L, (int)count, 0);
  int found = lua_gettop(L);
  lua_pushnil(L);
  for (size_t i = 0; lua_next(L, 1); i++) {
    lua_pop(L, 1);
    keys[i] = read_key(L, found + 1, "pairs");
    keys[i].place = (int)i + 1;
    lua_pushvalue(L, -1);
    lua_rawseti(L, found, (int)i + 1);
  }
  sort_keys(keys, count);
  push_state(L, count);
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, found, keys[i].place);
    lua_rawseti(L, -2, (int)i + 2);
  }
}

/* keys(table) -> state; or nil, n for a sequence 1..n. */
static int keys_of(lua_State *L) {
  bool is_sequence;
  if (!lua_istable(L, 1)) lnt__arg_type_error(L, 1, "pairs", "table");
  lua_settop(L, 1);
  size_t count = count_keys(L, &is_sequence);
  if (is_sequence) {
    lua_pushnil(L);
    lua_pushnumber(L, (lua_Number)count);
    return 2;
  }
  charge_sort(L, count);
  if (count <= SMALL) few_keys(L, count);
  else many_keys(L, count);
  return 1;
}

/* next(table, key): the smallest key above `key`, and its value. */
static int table_next(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  bool from_start = lua_isnil(L, 2), found = false;
  key after = {0}, best = {0};
  if (!from_start) after = read_key(L, 2, "next");
  lua_pushnil(L); /* 3: the best so far */
  uint64_t count = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    count++;
    key here = read_key(L, 4, "next");
    if (!from_start && compare_keys(&here, &after) <= 0) continue;
    if (found && compare_keys(&here, &best) >= 0) continue;
    found = true;
    best = here;
    lua_pushvalue(L, 4);
    lua_replace(L, 3);
  }
  lnt__charge(L, lnt__guard_of(L), count * 2);
  if (!found) return lua_pushnil(L), 1;
  lua_pushvalue(L, 3);
  lua_rawget(L, 1);
  return 2;
}

/* ---- The table library ---- */

static int table_insert(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  int64_t end = (int64_t)lua_objlen(L, 1) + 1;
  int top = lua_gettop(L);
  if (top != 2 && top != 3) luaL_error(L, "wrong number of arguments to 'insert'");
  int64_t at = top == 3 ? lnt__arg_integer(L, 2) : end;
  luaL_argcheck(L, at >= 1 && at <= INT32_MAX, 2, "position out of range");
  if (at < end) lnt__charge(L, lnt__guard_of(L), (uint64_t)(end - at) * 4);
  for (int64_t i = end; i > at; i--) {
    lua_rawgeti(L, 1, (int)i - 1);
    lua_rawseti(L, 1, (int)i);
  }
  lua_pushvalue(L, top);
  lua_rawseti(L, 1, (int)at);
  return 0;
}

static int table_concat(lua_State *L) {
  size_t between_size;
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *between = luaL_optlstring(L, 2, "", &between_size);
  int64_t first = lnt__arg_integer_or(L, 3, 1), last = lnt__arg_integer_or(L, 4, (int64_t)lua_objlen(L, 1));
  luaL_argcheck(L, first >= INT32_MIN && first <= INT32_MAX, 3, "index out of range");
  lnt__guard *guard = lnt__guard_of(L);
  lnt__text text;
  lnt__text_begin(&text, L, "table.concat");
  for (int64_t i = first; i <= last; i++) {
    size_t size;
    lua_rawgeti(L, 1, (int)i);
    if (!lua_isstring(L, -1)) luaL_error(L, "invalid value (%s) at index %d in table for 'concat'", luaL_typename(L, -1), (int)i);
    lnt__plain_zero(L, lua_gettop(L));
    const char *piece = lua_tolstring(L, -1, &size);
    lnt__charge(L, guard, 4 + (size + between_size) / BYTES_PER_UNIT);
    lnt__text_add(&text, piece, size);
    if (i < last) lnt__text_add(&text, between, between_size);
    lua_pop(L, 1);
  }
  lnt__text_push(&text);
  return 1;
}

static int table_maxn(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Number most = 0;
  uint64_t count = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    count++;
    if (lua_type(L, -2) == LUA_TNUMBER && lua_tonumber(L, -2) > most) most = lua_tonumber(L, -2);
  }
  lnt__charge(L, lnt__guard_of(L), count);
  lua_pushnumber(L, most);
  return 1;
}

static int table_unpack(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  int64_t first = lnt__arg_integer_or(L, 2, 1), last = lnt__arg_integer_or(L, 3, (int64_t)lua_objlen(L, 1));
  if (first > last) return 0;
  if (last - first >= RESULTS_MAX || first < INT32_MIN || last > INT32_MAX) luaL_error(L, "too many results to unpack");
  int count = (int)(last - first) + 1;
  luaL_checkstack(L, count + 1, "too many results to unpack");
  lnt__charge(L, lnt__guard_of(L), (uint64_t)count);
  for (int i = 0; i < count; i++) lua_rawgeti(L, 1, (int)first + i);
  return count;
}

static int table_pack(lua_State *L) {
  int count = lua_gettop(L);
  lnt__charge(L, lnt__guard_of(L), (uint64_t)count);
  lua_createtable(L, count, 1);
  lua_insert(L, 1);
  for (int i = count; i >= 1; i--) lua_rawseti(L, 1, i);
  lua_pushinteger(L, count);
  lua_setfield(L, 1, "n");
  return 1;
}

/* select with an index that means the same on every machine. */
static int base_select(lua_State *L) {
  int count = lua_gettop(L) - 1;
  if (lua_type(L, 1) == LUA_TSTRING && lua_tostring(L, 1)[0] == '#') {
    lua_pushinteger(L, count);
    return 1;
  }
  int64_t index = lnt__arg_integer(L, 1);
  if (index < 0) index = count + index + 1;
  luaL_argcheck(L, index >= 1, 1, "index out of range");
  return index > count ? 0 : count - (int)index + 1;
}

/* ---- table.sort of plain numbers or plain strings ---- */

/* Zeros too have an order, so that no C library's qsort can be told from another's. */
static int compare_numbers(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  if (x == 0 && y == 0) return !!signbit(y) - !!signbit(x);
  return (x > y) - (x < y);
}

static bool sort_numbers(lua_State *L, int count) {
  double *numbers = (double *)lua_newuserdata(L, (size_t)count * sizeof *numbers);
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, 1, i + 1);
    if (lua_type(L, -1) != LUA_TNUMBER) return false;
    numbers[i] = lua_tonumber(L, -1);
    if (isnan(numbers[i])) return false;
    lua_pop(L, 1);
  }
  charge_sort(L, (size_t)count);
  qsort(numbers, (size_t)count, sizeof *numbers, compare_numbers);
  for (int i = 0; i < count; i++) {
    lua_pushnumber(L, numbers[i]);
    lua_rawseti(L, 1, i + 1);
  }
  return true;
}

static bool sort_strings(lua_State *L, int count) {
  key *keys = (key *)lua_newuserdata(L, (size_t)count * sizeof *keys);
  lua_createtable(L, count, 0);
  int held = lua_gettop(L);
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, 1, i + 1);
    if (lua_type(L, -1) != LUA_TSTRING) return false;
    keys[i] = (key){.rank = 1, .place = i + 1};
    keys[i].text = lua_tolstring(L, -1, &keys[i].size);
    lnt__charge(L, lnt__guard_of(L), keys[i].size / BYTES_PER_UNIT);
    lua_rawseti(L, held, i + 1);
  }
  charge_sort(L, (size_t)count);
  sort_keys(keys, (size_t)count);
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, held, keys[i].place);
    lua_rawseti(L, 1, i + 1);
  }
  return true;
}

/* sort_plain(table, n) -> done? The others are sorted in Lua, where the comparison may wait and the hook sees it. */
static int sort_plain(lua_State *L) {
  int count = (int)lua_tointeger(L, 2);
  lnt__charge(L, lnt__guard_of(L), (uint64_t)count);
  lua_rawgeti(L, 1, 1);
  int type = lua_type(L, -1);
  lua_settop(L, 1);
  bool done = count < 2 || (type == LUA_TNUMBER && sort_numbers(L, count)) || (type == LUA_TSTRING && sort_strings(L, count));
  lua_pushboolean(L, done);
  return 1;
}

void lnt__sandbox_table_functions(lua_State *L) {
  static const luaL_Reg functions[] = {
    {"keys", keys_of},       {"next", table_next},   {"insert", table_insert},    {"concat", table_concat}, {"maxn", table_maxn},
    {"unpack", table_unpack}, {"pack", table_pack},  {"select", base_select},     {"sort_plain", sort_plain}, {NULL, NULL},
  };
  luaL_register(L, NULL, functions);
}
