/* value.c - Lua values to CBOR and back, straight from the Lua stack. Called by the workflow VM, the activity VMs and lua_api.c, on the
 * thread of the lua_State.
 *
 * The walk allocates nothing from Lua: lua_next and lua_rawgeti cannot raise, and the one thing that can, a growing stack, is done
 * under lua_cpcall before the walk goes deep. */
#include "vm/value.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

#define SLOTS_PER_LEVEL 2
#define LEVELS_IN_PLACE 4 /* these fit into the slots that every C function has */
#define HOLES_FREE 8 /* holes that a marked array may have beyond one for each member */
#define PATH_BYTES_MAX 200
#define PATH_KEY_BYTES_MAX 40

static const char array_mark_key;
static const char failure_mark_key;

static int absolute(lua_State *L, int index) { return index < 0 && index > LUA_REGISTRYINDEX ? lua_gettop(L) + index + 1 : index; }

/* ---- Encoding ---------------------------------------------------------------------------------------------------- */

/* Where the walk is: the table and the key (or position) it goes through. */
typedef struct level {
  const void *table;
  const char *key; /* NULL: `number` is the key */
  size_t key_size;
  double number;
} level;

typedef struct walk {
  lua_State *L;
  lnt__buf *out;
  lnt_error *err;
  const char *what;
  size_t start, bytes_max;
  int depth;
  bool has_stack;
  level levels[LNT_VALUE_DEPTH_MAX];
} walk;

static bool is_word(const char *text, size_t size) {
  if (size == 0 || size > PATH_KEY_BYTES_MAX || (text[0] >= '0' && text[0] <= '9')) return false;
  for (size_t i = 0; i < size; i++) {
    char c = text[i];
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

static void path_step(lnt__buf *path, const level *at) {
  char number[LNT__NUMBER_TEXT_BYTES];
  if (!at->key) {
    lnt__number_text(at->number, number);
    lnt__buf_printf(path, "[%s]", number);
  } else if (is_word(at->key, at->key_size)) {
    lnt__buf_printf(path, ".%.*s", (int)at->key_size, at->key);
  } else if (lnt__utf8_valid(at->key, at->key_size) && at->key_size <= PATH_KEY_BYTES_MAX) {
    lnt__buf_printf(path, "[\"%.*s\"]", (int)at->key_size, at->key);
  } else {
    lnt__buf_printf(path, "[a key of %zu bytes]", at->key_size);
  }
}

/* "input.items[3]"; of a long path the first and the last steps. */
static void path_text(const walk *w, char *out, size_t size) {
  lnt__buf path;
  lnt__buf_init(&path);
  lnt__buf_printf(&path, "%s", w->what);
  for (int i = 0; i < w->depth; i++) {
    if (w->depth > 8 && i == 3) lnt__buf_printf(&path, " ... ");
    if (w->depth <= 8 || i < 3 || i >= w->depth - 3) path_step(&path, &w->levels[i]);
  }
  snprintf(out, size, "%.*s", (int)path.size, path.data ? (const char *)path.data : w->what);
  lnt__buf_finish(&path);
}

static lnt_status refuse(walk *w, lnt_status code, const char *why) {
  char path[PATH_BYTES_MAX];
  path_text(w, path, sizeof path);
  return lnt__fail(w->err, code, "%s: %s", path, why);
}

static lnt_status refuse_size(walk *w) {
  char path[PATH_BYTES_MAX];
  if (w->out->failed) return lnt__fail(w->err, LNT_ENOMEM, "out of memory while encoding %s", w->what);
  path_text(w, path, sizeof path);
  return lnt__fail(w->err, LNT_ELIMIT, "%s is larger than %zu bytes when encoded (payload_bytes_max; reached at %s): pass a reference "
                   "instead, such as a file name",
                   w->what, w->bytes_max, path);
}

void lnt__value_met(lnt_limits *met, const lnt_error *err) {
  if (err->code == LNT_ELIMIT && strstr(err->message, "payload_bytes_max")) LNT__MET(met, payload_bytes_max); /* not the depth */
}

static lnt_status check_size(walk *w) {
  return w->out->failed || w->out->size - w->start > w->bytes_max ? refuse_size(w) : LNT_OK;
}

static int grow_stack(lua_State *L) {
  luaL_checkstack(L, LNT_VALUE_DEPTH_MAX * SLOTS_PER_LEVEL + LUA_MINSTACK, "a value");
  return 0;
}

static bool reserve_stack(lua_State *L) {
  if (lua_cpcall(L, grow_stack, NULL) == 0) return true;
  lua_pop(L, 1);
  return false;
}

static lnt_status encode_any(walk *w, int index);

static lnt_status refuse_type(walk *w, int type) {
  static const char *const texts[] = {
      [LUA_TLIGHTUSERDATA] = "a userdata cannot be stored; pass data: nil, booleans, numbers, strings, tables of them",
      [LUA_TFUNCTION] = "a function cannot be stored; pass data: nil, booleans, numbers, strings, tables of them",
      [LUA_TUSERDATA] = "a userdata cannot be stored; pass data: nil, booleans, numbers, strings, tables of them",
      [LUA_TTHREAD] = "a coroutine cannot be stored; pass data: nil, booleans, numbers, strings, tables of them",
  };
  bool known = type >= 0 && type < (int)LNT__COUNT(texts) && texts[type];
  return refuse(w, LNT_EVALUE, known ? texts[type] : "cdata cannot be stored; make it a number with tonumber() or a string");
}

/* The key at the top of the stack becomes the current step of the path. */
static lnt_status take_key(walk *w, level *at) {
  lua_State *L = w->L;
  if (lua_type(L, -2) == LUA_TSTRING) {
    at->key = lua_tolstring(L, -2, &at->key_size);
    if (w->out->size - w->start + at->key_size > w->bytes_max) return refuse_size(w);
    lnt__cbor_string(w->out, at->key, at->key_size);
    return LNT_OK;
  }
  at->key = NULL;
  if (lua_type(L, -2) != LUA_TNUMBER) {
    char why[120];
    snprintf(why, sizeof why, "a key of type %s cannot be stored; keys are strings or numbers", lua_typename(L, lua_type(L, -2)));
    w->depth--;
    return refuse(w, LNT_EVALUE, why);
  }
  at->number = lua_tonumber(L, -2);
  if (!isfinite(at->number)) return refuse(w, LNT_EVALUE, "an infinite number cannot be a key");
  lnt__cbor_number(w->out, at->number);
  return LNT_OK;
}

/* The first key and its value are at the top. */
static lnt_status encode_map(walk *w, int index, level *at) {
  lua_State *L = w->L;
  lnt__cbor_map map;
  size_t count = 0;
  lnt__cbor_map_begin(w->out, &map);
  do {
    lnt_status status = take_key(w, at);
    if (!status) status = encode_any(w, lua_gettop(L));
    if (status) return status;
    lua_pop(L, 1);
    count++;
  } while (lua_next(L, index));
  if (lnt__cbor_map_end(w->out, &map, count, count < 2)) return check_size(w);
  return w->out->failed ? refuse_size(w) : refuse(w, LNT_EVALUE, "two keys of the table are the same number");
}

/* Are the keys exactly 1..count? The length of a table with holes is not to be trusted, so all keys are counted; encode_array meets the
 * holes. */
static bool looks_like_array(lua_State *L, int index, size_t count) {
  size_t seen = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TNUMBER || ++seen > count) {
      lua_pop(L, 1);
      return false;
    }
  }
  return seen == count;
}

static bool has_hole(lua_State *L, int index, size_t count) {
  bool hole = false;
  for (size_t i = 1; i <= count && !hole; i++) {
    lua_rawgeti(L, index, (int)i);
    hole = lua_isnil(L, -1);
    lua_pop(L, 1);
  }
  return hole;
}

static lnt_status encode_array(walk *w, int index, size_t count, level *at) {
  lua_State *L = w->L;
  lnt__cbor_array(w->out, count);
  at->key = NULL;
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(L, index, (int)i);
    at->number = (double)i;
    lnt_status status = encode_any(w, lua_gettop(L));
    if (status) return status;
    lua_pop(L, 1);
  }
  return check_size(w);
}

static bool has_array_mark(lua_State *L, int index) {
  if (!lua_getmetatable(L, index)) return false;
  lua_pushlightuserdata(L, (void *)(uintptr_t)&array_mark_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  bool same = lua_topointer(L, -1) && lua_topointer(L, -1) == lua_topointer(L, -2);
  lua_pop(L, 2);
  return same;
}

static lnt_status encode_empty(walk *w, int index) {
  if (has_array_mark(w->L, index)) lnt__cbor_array(w->out, 0);
  else lnt__buf_u8(w->out, 0xa0);
  return check_size(w);
}

static lnt_status enter(walk *w, const void *table) {
  for (int i = 0; i < w->depth; i++)
    if (w->levels[i].table == table) return refuse(w, LNT_EVALUE, "the table contains itself; values are trees without cycles");
  if (w->depth == LNT_VALUE_DEPTH_MAX) return refuse(w, LNT_ELIMIT, "tables are nested deeper than 64 levels");
  if (w->depth >= LEVELS_IN_PLACE && !w->has_stack) {
    if (!reserve_stack(w->L)) return lnt__fail(w->err, LNT_ENOMEM, "out of memory while encoding %s", w->what);
    w->has_stack = true;
  }
  w->levels[w->depth].table = table;
  return LNT_OK;
}

/* The highest key of a marked array with holes, such as [1, null, 3] was decoded to; 0: it is no such thing. A few holes more than members
 * are taken for what they seem; {[1000000] = 1} is not. */
static size_t holed_length(lua_State *L, int index) {
  double highest = 0;
  size_t count = 0;
  if (!has_array_mark(L, index)) return 0;
  for (lua_pushnil(L); lua_next(L, index); count++) {
    double key = lua_type(L, -2) == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
    lua_pop(L, 1);
    if (!(key >= 1 && key <= INT32_MAX && key == (double)(int)key)) {
      lua_pop(L, 1);
      return 0;
    }
    if (key > highest) highest = key;
  }
  return highest <= 2.0 * (double)count + HOLES_FREE ? (size_t)highest : 0;
}

/* 0: it is a map. */
static size_t array_length(lua_State *L, int index) {
  size_t count = lua_objlen(L, index);
  bool is_array = count && count <= INT32_MAX && looks_like_array(L, index, count) && !has_hole(L, index, count);
  return is_array ? count : holed_length(L, index);
}

static lnt_status leave(walk *w, lnt_status status) {
  if (!status) w->depth--; /* else the path stays, for the message */
  return status;
}

static lnt_status encode_table(walk *w, int index) {
  lua_State *L = w->L;
  lnt_status status = enter(w, lua_topointer(L, index));
  if (status) return status;
  lua_pushnil(L);
  if (!lua_next(L, index)) return encode_empty(w, index);
  level *at = &w->levels[w->depth++];
  if (lua_type(L, -2) == LUA_TNUMBER) { /* what begins with another key is no array */
    lua_pop(L, 2);
    size_t count = array_length(L, index);
    if (count) return leave(w, encode_array(w, index, count, at));
    lua_pushnil(L);
    lua_next(L, index);
  }
  return leave(w, encode_map(w, index, at));
}

static lnt_status encode_string(walk *w, int index) {
  size_t size;
  const char *text = lua_tolstring(w->L, index, &size);
  if (size > w->bytes_max) return refuse_size(w);
  lnt__cbor_string(w->out, text, size);
  return check_size(w);
}

static lnt_status encode_any(walk *w, int index) {
  int type = lua_type(w->L, index);
  switch (type) {
    case LUA_TNIL: case LUA_TNONE: lnt__cbor_nil(w->out); break;
    case LUA_TBOOLEAN: lnt__cbor_bool(w->out, lua_toboolean(w->L, index)); break;
    case LUA_TNUMBER: lnt__cbor_number(w->out, lua_tonumber(w->L, index)); break;
    case LUA_TSTRING: return encode_string(w, index);
    case LUA_TTABLE: return encode_table(w, index);
    case LUA_TLIGHTUSERDATA:
      if (lua_touserdata(w->L, index) != LNT__VALUE_NULL) return refuse_type(w, type);
      lnt__cbor_nil(w->out);
      break;
    default: return refuse_type(w, type);
  }
  return check_size(w);
}

lnt_status lnt__value_encode(lua_State *L, int index, const char *what, size_t bytes_max, lnt__buf *out, lnt_error *err) {
  walk w; /* the levels are left as they are: 2 KB that most values do not touch */
  int top = lua_gettop(L);
  w.L = L;
  w.out = out;
  w.err = err;
  w.what = what;
  w.start = out->size;
  w.bytes_max = bytes_max;
  w.depth = 0;
  w.has_stack = false;
  lnt_status status = encode_any(&w, absolute(L, index));
  if (status) {
    lua_settop(L, top);
    out->size = w.start;
  }
  return status;
}

/* ---- Decoding ---------------------------------------------------------------------------------------------------- */

void lnt__value_push_array_mark(lua_State *L) {
  luaL_checkstack(L, 3, "a value");
  lua_pushlightuserdata(L, (void *)(uintptr_t)&array_mark_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  if (!lua_isnil(L, -1)) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushliteral(L, "array");
  lua_setfield(L, -2, "__metatable");
  lua_pushlightuserdata(L, (void *)(uintptr_t)&array_mark_key);
  lua_pushvalue(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
}

static bool push_any(lua_State *L, lnt__reader *reader, int depth, bool nulls);

static bool push_array(lua_State *L, lnt__reader *reader, size_t count, int depth, bool nulls) {
  bool holes = false;
  lua_createtable(L, count > INT32_MAX ? 0 : (int)count, 0);
  for (size_t i = 1; i <= count; i++) {
    if (!push_any(L, reader, depth, nulls)) return false;
    holes = holes || lua_isnil(L, -1);
    lua_rawseti(L, -2, (int)i);
  }
  if (count && !holes) return true;
  lnt__value_push_array_mark(L);
  lua_setmetatable(L, -2);
  return true;
}

static bool push_key(lua_State *L, lnt__reader *reader) {
  lnt__cbor_item key = lnt__cbor_next(reader);
  switch (key.type) {
    case LNT__CBOR_STRING: lua_pushlstring(L, key.as.string.data, key.as.string.size); return true;
    case LNT__CBOR_INT: lua_pushnumber(L, (lua_Number)key.as.integer); return true;
    case LNT__CBOR_FLOAT: lua_pushnumber(L, key.as.number); return key.as.number == key.as.number;
    default: return false;
  }
}

static bool push_map(lua_State *L, lnt__reader *reader, size_t count, int depth, bool nulls) {
  lua_createtable(L, 0, count > INT32_MAX ? 0 : (int)count);
  for (; count; count--) {
    if (!push_key(L, reader) || !push_any(L, reader, depth, nulls)) return false;
    lua_rawset(L, -3);
  }
  return true;
}

static bool push_any(lua_State *L, lnt__reader *reader, int depth, bool nulls) {
  lnt__cbor_item item = lnt__cbor_next(reader);
  switch (item.type) {
    case LNT__CBOR_NIL:
      if (nulls) lua_pushlightuserdata(L, LNT__VALUE_NULL);
      else lua_pushnil(L);
      return true;
    case LNT__CBOR_BOOL: lua_pushboolean(L, item.as.boolean); return true;
    case LNT__CBOR_INT: lua_pushnumber(L, (lua_Number)item.as.integer); return true;
    case LNT__CBOR_FLOAT: lua_pushnumber(L, item.as.number); return true;
    case LNT__CBOR_STRING: lua_pushlstring(L, item.as.string.data, item.as.string.size); return true;
    case LNT__CBOR_BAD: return false;
    case LNT__CBOR_ARRAY: case LNT__CBOR_MAP: break;
  }
  if (depth >= LNT_VALUE_DEPTH_MAX) return false;
  luaL_checkstack(L, 6, "a value");
  return item.type == LNT__CBOR_ARRAY ? push_array(L, reader, item.as.count, depth + 1, nulls)
                                      : push_map(L, reader, item.as.count, depth + 1, nulls);
}

static bool push_value(lua_State *L, lnt_value value, bool nulls) {
  int top = lua_gettop(L);
  lnt__reader reader = lnt__reader_of(value.data, value.size);
  luaL_checkstack(L, 2, "a value");
  if (push_any(L, &reader, 0, nulls) && reader.at == reader.end) return true;
  lua_settop(L, top);
  return false;
}

bool lnt__value_push(lua_State *L, lnt_value value) { return push_value(L, value, false); }

bool lnt__value_push_nulls(lua_State *L, lnt_value value) { return push_value(L, value, true); }

/* ---- Failures ---------------------------------------------------------------------------------------------------- */

/* X(field): in the order of their slots */
#define FAILURE_FIELD_MAP(X) X(type) X(message) X(retryable) X(details) X(cause) X(child) X(field)
enum {
#define X(name) FIELD_##name,
  FAILURE_FIELD_MAP(X)
#undef X
  FIELD_COUNT
};
static const char *const field_names[] = {
#define X(name) #name,
    FAILURE_FIELD_MAP(X)
#undef X
};

static int field_of(const char *name) {
  for (int i = 0; i < FIELD_COUNT; i++)
    if (strcmp(name, field_names[i]) == 0) return i;
  return -1;
}

/* Push the fields of the table at `index`, nil where it has none: FIELD_COUNT slots. Walks instead of asking by name, which would make a
 * string. */
static void push_fields(lua_State *L, int index) {
  int base = lua_gettop(L) + 1;
  for (int i = 0; i <= FIELD_COUNT; i++) lua_pushnil(L); /* the last is the first key of the walk */
  while (lua_next(L, index)) {
    int field = lua_type(L, -2) == LUA_TSTRING ? field_of(lua_tostring(L, -2)) : -1;
    if (field >= 0) lua_replace(L, base + field);
    else lua_pop(L, 1);
  }
}

static int failure_tostring(lua_State *L) {
  if (lua_type(L, 1) != LUA_TTABLE) {
    lua_pushliteral(L, "failure");
    return 1;
  }
  push_fields(L, 1);
  const char *type = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "Error";
  const char *message = lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : "";
  if (message[0] == 0) lua_pushstring(L, type);
  else lua_pushfstring(L, "%s: %s", type, message);
  return 1;
}

/* "text" .. failure; without lua_concat and luaL_Buffer, which this LuaJIT gets wrong. */
static int failure_concat(lua_State *L) {
  lua_settop(L, 2);
  for (int i = 1; i <= 2; i++) {
    if (lua_type(L, i) == LUA_TSTRING || lua_type(L, i) == LUA_TNUMBER) continue;
    if (lua_type(L, i) != LUA_TTABLE) return luaL_error(L, "attempt to concatenate a %s value", lua_typename(L, lua_type(L, i)));
    lua_pushcfunction(L, failure_tostring);
    lua_pushvalue(L, i);
    lua_call(L, 1, 1);
    lua_replace(L, i);
  }
  size_t left, right;
  const char *head = lua_tolstring(L, 1, &left), *tail = lua_tolstring(L, 2, &right);
  char *text = (char *)lua_newuserdata(L, left + right + 1);
  memcpy(text, head, left);
  memcpy(text + left, tail, right);
  lua_pushlstring(L, text, left + right);
  return 1;
}

void lnt__failure_push_mark(lua_State *L) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)&failure_mark_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  if (!lua_isnil(L, -1)) return;
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushcfunction(L, failure_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushcfunction(L, failure_concat);
  lua_setfield(L, -2, "__concat");
  lua_pushliteral(L, "failure");
  lua_setfield(L, -2, "__metatable");
  lua_pushlightuserdata(L, (void *)(uintptr_t)&failure_mark_key);
  lua_pushvalue(L, -2);
  lua_rawset(L, LUA_REGISTRYINDEX);
}

bool lnt__failure_push(lua_State *L, lnt_value failure) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 6, "a failure");
  if (!lnt__value_push(L, failure)) return false;
  if (!lua_istable(L, -1)) {
    lua_createtable(L, 0, 2);
    lua_insert(L, -2);
    lua_setfield(L, -2, "message");
    lua_pushliteral(L, "Error");
    lua_setfield(L, -2, "type");
  }
  lnt__failure_push_mark(L);
  lua_setmetatable(L, -2);
  lua_getfield(L, top + 1, "cause");
  if (lua_istable(L, -1)) {
    lnt__failure_push_mark(L);
    lua_setmetatable(L, -2);
  }
  lua_settop(L, top + 1);
  return true;
}

static void write_text(lnt__buf *out, const char *key, const char *text) {
  lnt__cbor_cstring(out, key);
  lnt__cbor_cstring(out, text);
}

/* A field that is any value. One that cannot be stored is replaced by the reason, so that the failure itself is not lost. */
static void write_field(lua_State *L, int index, const char *key, size_t bytes_max, lnt__buf *out) {
  lnt_error err;
  lnt__cbor_cstring(out, key);
  if (lnt__value_encode(L, index, key, bytes_max, out, &err)) lnt__cbor_cstring(out, err.message);
}

static void write_string_field(lua_State *L, int index, const char *key, const char *otherwise, size_t bytes_max, lnt__buf *out) {
  size_t size;
  char number[LNT__NUMBER_TEXT_BYTES];
  lnt__cbor_cstring(out, key);
  if (lua_type(L, index) == LUA_TNUMBER) lnt__cbor_string(out, number, lnt__number_text(lua_tonumber(L, index), number));
  else if (lua_type(L, index) == LUA_TBOOLEAN) lnt__cbor_cstring(out, lua_toboolean(L, index) ? "true" : "false");
  else if (lua_type(L, index) == LUA_TSTRING) {
    const char *text = lua_tolstring(L, index, &size);
    lnt__cbor_string(out, text, size < bytes_max ? size : bytes_max);
  } else lnt__cbor_cstring(out, otherwise);
}

static size_t write_table_failure(lua_State *L, int index, size_t bytes_max, lnt__buf *out) {
  int base = lua_gettop(L) + 1;
  size_t count = 3;
  push_fields(L, index);
  bool is_failure = lua_type(L, base + FIELD_type) == LUA_TSTRING || !lua_isnil(L, base + FIELD_message);
  write_string_field(L, base + FIELD_type, "type", "Error", 1000, out);
  write_string_field(L, base + FIELD_message, "message", is_failure ? "" : "an error with a table value; see details", bytes_max / 2, out);
  lnt__cbor_cstring(out, "retryable");
  lnt__cbor_bool(out, lua_isnil(L, base + FIELD_retryable) || lua_toboolean(L, base + FIELD_retryable));
  int details = is_failure ? base + FIELD_details : index;
  if (!lua_isnil(L, details)) {
    write_field(L, details, "details", bytes_max / 4, out);
    count++;
  }
  if (is_failure && lua_type(L, base + FIELD_child) == LUA_TSTRING) { /* the id of the child that failed */
    write_string_field(L, base + FIELD_child, "child", "", LNT_ID_BYTES_MAX, out);
    count++;
  }
  if (is_failure && lua_type(L, base + FIELD_field) == LUA_TSTRING) { /* what a mistake says is wrong */
    write_string_field(L, base + FIELD_field, "field", "", 1000, out);
    count++;
  }
  if (is_failure && !lua_isnil(L, base + FIELD_cause)) {
    write_field(L, base + FIELD_cause, "cause", bytes_max / 4, out);
    count++;
  }
  lua_settop(L, base - 1);
  return count;
}

static size_t write_plain_failure(lua_State *L, int index, size_t bytes_max, lnt__buf *out) {
  char otherwise[64];
  snprintf(otherwise, sizeof otherwise, "(the error value is a %s)", lua_typename(L, lua_type(L, index)));
  write_text(out, "type", "Error");
  write_string_field(L, index, "message", otherwise, bytes_max / 2, out);
  lnt__cbor_cstring(out, "retryable");
  lnt__cbor_bool(out, true);
  return 3;
}

lnt_status lnt__failure_encode(lua_State *L, int index, size_t bytes_max, lnt__buf *out, lnt_error *err) {
  size_t start = out->size;
  lnt__cbor_map map;
  index = absolute(L, index);
  if (!reserve_stack(L)) return lnt__fail(err, LNT_ENOMEM, "out of memory while encoding a failure");
  lnt__cbor_map_begin(out, &map);
  size_t count = lua_istable(L, index) ? write_table_failure(L, index, bytes_max, out) : write_plain_failure(L, index, bytes_max, out);
  if (lnt__cbor_map_end(out, &map, count, false)) return LNT_OK;
  out->size = start;
  return lnt__fail(err, LNT_ENOMEM, "out of memory while encoding a failure");
}
