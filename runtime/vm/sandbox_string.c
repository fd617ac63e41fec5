/* sandbox_string.c - the string library of the sandbox, but for the matcher. Called by author code and sandbox.lua; owner thread.
 * Offsets are the same on every machine (math.huge is "the end"), results are bounded, long work is charged to the turn. */
#include "vm/sandbox_match.h"

#define BYTES_PER_UNIT 16
#define RESULTS_MAX 7900 /* LuaJIT allows 8000 slots to a C function */
#define SPEC_FLAGS "-+ #0"
#define SPEC_NUMBERS "diouxXcaAeEfFgG"

static void charge_bytes(lua_State *L, size_t size) { lnt__charge(L, lnt__guard_of(L), size / BYTES_PER_UNIT); }

static void check_result(lua_State *L, const char *what, size_t count, size_t size) {
  if (size == 0 || count <= LNT__SANDBOX_STRING_BYTES_MAX / size) return;
  lnt__sandbox_error(L, "%s: the result is longer than %u bytes, the limit of one text; work on smaller pieces", what,
                     LNT__SANDBOX_STRING_BYTES_MAX);
}

/* ---- Small ones ---- */

static int string_len(lua_State *L) {
  size_t size;
  luaL_checklstring(L, 1, &size);
  lua_pushnumber(L, (lua_Number)size);
  return 1;
}

/* [from, to) of the arguments first and last as string.sub means them. */
static void slice(lua_State *L, int arg, int64_t first, int64_t last, int64_t size, size_t *from, size_t *to) {
  first = lnt__arg_integer_or(L, arg, first);
  last = lnt__arg_integer_or(L, arg + 1, last == 0 ? first : last);
  if (first < 0) first += size + 1;
  if (first < 1) first = 1;
  if (last < 0) last += size + 1;
  if (last > size) last = size;
  *from = (size_t)first - 1;
  *to = last < first ? *from : (size_t)last;
}

static int string_sub(lua_State *L) {
  size_t size, from, to;
  const char *text = luaL_checklstring(L, 1, &size);
  luaL_checknumber(L, 2);
  slice(L, 2, 1, -1, (int64_t)size, &from, &to);
  if (from == to) from = to = 0;
  charge_bytes(L, to - from);
  lua_pushlstring(L, text + from, to - from);
  return 1;
}

static int string_byte(lua_State *L) {
  size_t size, from, to;
  const char *text = luaL_checklstring(L, 1, &size);
  slice(L, 2, 1, 0, (int64_t)size, &from, &to);
  if (to - from > RESULTS_MAX) luaL_error(L, "string slice too long");
  luaL_checkstack(L, (int)(to - from), "string slice too long");
  charge_bytes(L, (to - from) * BYTES_PER_UNIT);
  for (size_t i = from; i < to; i++) lua_pushinteger(L, (uint8_t)text[i]);
  return (int)(to - from);
}

static int string_char(lua_State *L) {
  int count = lua_gettop(L);
  lnt__text text;
  lnt__text_begin(&text, L, "string.char");
  lnt__text_reserve(&text, (size_t)count);
  charge_bytes(L, (size_t)count * BYTES_PER_UNIT);
  for (int i = 1; i <= count; i++) {
    int64_t c = lnt__arg_integer(L, i);
    luaL_argcheck(L, c >= 0 && c <= 255, i, "a byte from 0 to 255 expected");
    char byte = (char)c;
    lnt__text_add(&text, &byte, 1);
  }
  lnt__text_push(&text);
  return 1;
}

typedef void (*map_fn)(char *to, const char *from, size_t size);

static void map_lower(char *to, const char *from, size_t size) {
  for (size_t i = 0; i < size; i++) to[i] = from[i] >= 'A' && from[i] <= 'Z' ? (char)(from[i] + 32) : from[i];
}

static void map_upper(char *to, const char *from, size_t size) {
  for (size_t i = 0; i < size; i++) to[i] = from[i] >= 'a' && from[i] <= 'z' ? (char)(from[i] - 32) : from[i];
}

static void map_reverse(char *to, const char *from, size_t size) {
  for (size_t i = 0; i < size; i++) to[i] = from[size - 1 - i];
}

static int mapped(lua_State *L, const char *what, map_fn map) {
  size_t size;
  const char *from = luaL_checklstring(L, 1, &size);
  lnt__text text;
  lnt__text_begin(&text, L, what);
  lnt__text_reserve(&text, size);
  charge_bytes(L, size);
  map(text.data, from, size);
  text.size = size;
  lnt__text_push(&text);
  return 1;
}

static int string_lower(lua_State *L) { return mapped(L, "string.lower", map_lower); }
static int string_upper(lua_State *L) { return mapped(L, "string.upper", map_upper); }
static int string_reverse(lua_State *L) { return mapped(L, "string.reverse", map_reverse); }

/* The first `done` bytes are there: copy what is there until all are. */
static void fill(char *data, size_t done, size_t size) {
  while (done > 0 && done < size) {
    size_t more = done < size - done ? done : size - done;
    memcpy(data + done, data, more);
    done += more;
  }
}

static int string_rep(lua_State *L) {
  size_t size, between_size;
  const char *piece = luaL_checklstring(L, 1, &size);
  int64_t wanted = lnt__arg_integer(L, 2);
  const char *between = luaL_optlstring(L, 3, "", &between_size);
  size_t count = wanted > 0 ? (size_t)wanted : 0, each = size + between_size;
  check_result(L, "string.rep", count, each);
  if (each == 0) count = 0;
  lnt__text text;
  lnt__text_begin(&text, L, "string.rep");
  lnt__text_reserve(&text, count * each);
  charge_bytes(L, count * each);
  if (count > 0) {
    lnt__text_add(&text, piece, size);
    lnt__text_add(&text, between, between_size);
    fill(text.data, each, count * each);
    text.size = count * each - between_size;
  }
  lnt__text_push(&text);
  return 1;
}

/* ---- gsub, where no function of the author's is called ---- */

typedef struct replacement {
  lua_State *L;
  lnt__text out;
  const char *text; /* of a string replacement */
  size_t size;
  int table; /* stack index of a table replacement, 0: none */
} replacement;

static void add_capture(replacement *r, lnt__match *m, int index, const char *s, const char *end) {
  size_t size;
  lnt__match_push(m, index, s, end);
  const char *text = lua_tolstring(r->L, -1, &size);
  lnt__text_add(&r->out, text, size);
  lua_pop(r->L, 1);
}

static void add_string(replacement *r, lnt__match *m, const char *s, const char *end) {
  const char *at = r->text, *stop = r->text + r->size;
  lnt__charge(r->L, m->guard, r->size / BYTES_PER_UNIT);
  while (at < stop) {
    const char *percent = (const char *)memchr(at, '%', (size_t)(stop - at));
    if (!percent) percent = stop;
    lnt__text_add(&r->out, at, (size_t)(percent - at));
    if (percent == stop) return;
    at = percent + 1;
    if (at == stop) luaL_error(r->L, "invalid use of '%%' at the end of the replacement");
    if (*at >= '1' && *at <= '9') add_capture(r, m, *at - '1', s, end);
    else if (*at == '0') lnt__text_add(&r->out, s, (size_t)(end - s));
    else lnt__text_add(&r->out, at, 1);
    at++;
  }
}

static void add_lookup(replacement *r, lnt__match *m, const char *s, const char *end) {
  lnt__match_push(m, 0, s, end);
  lua_rawget(r->L, r->table);
  lnt__plain_zero(r->L, lua_gettop(r->L));
  if (lua_isstring(r->L, -1)) {
    size_t size;
    const char *text = lua_tolstring(r->L, -1, &size);
    lnt__text_add(&r->out, text, size);
  } else if (!lua_toboolean(r->L, -1)) {
    lnt__text_add(&r->out, s, (size_t)(end - s));
  } else {
    luaL_error(r->L, "invalid replacement value (a %s)", luaL_typename(r->L, -1));
  }
  lua_pop(r->L, 1);
}

static int64_t replace(replacement *r, lnt__match *m, bool anchored, int64_t most) {
  const char *s = m->text;
  int64_t count = 0;
  while (count < most) {
    const char *end = lnt__match_at(m, s);
    if (end) {
      count++;
      if (r->table) add_lookup(r, m, s, end);
      else add_string(r, m, s, end);
    }
    if (end && end > s) s = end;
    else if (s < m->text_end) lnt__text_add(&r->out, s++, 1);
    else break;
    if (anchored) break;
  }
  lnt__text_add(&r->out, s, (size_t)(m->text_end - s));
  return count;
}

/* check_gsub(text, pattern, max) -> the same as two strings and a number, for gsub in Lua. */
static int check_gsub(lua_State *L) {
  for (int arg = 1; arg <= 2; arg++) {
    if (!lua_isstring(L, arg)) lnt__arg_type_error(L, arg, "gsub", "string");
    lua_tolstring(L, arg, NULL);
  }
  if (!lua_isnoneornil(L, 3) && !lua_isnumber(L, 3)) lnt__arg_type_error(L, 4, "gsub", "number");
  lua_Number most = (lua_Number)lnt__arg_integer_or(L, 3, INT64_MAX);
  lua_settop(L, 2);
  lua_pushnumber(L, most);
  return 3;
}

/* gsub(text, pattern, replacement, max): the replacement is a string or number, or a table without a metatable (sandbox.lua sees to it). */
static int gsub(lua_State *L) {
  size_t text_size, size;
  const char *text = luaL_checklstring(L, 1, &text_size), *pattern = luaL_checklstring(L, 2, &size);
  luaL_argcheck(L, lua_isstring(L, 3) || lua_istable(L, 3), 3, "string, function or table expected");
  int64_t most = lnt__arg_integer_or(L, 4, INT64_MAX);
  replacement r = {.L = L, .table = lua_istable(L, 3) ? 3 : 0};
  if (!r.table) r.text = luaL_checklstring(L, 3, &r.size);
  bool anchored = size > 0 && *pattern == '^';
  lnt__match m;
  lnt__match_init(&m, L, text, text_size, pattern + anchored, size - anchored);
  lnt__text_begin(&r.out, L, "string.gsub");
  int64_t count = replace(&r, &m, anchored, most);
  lnt__text_push(&r.out);
  lua_pushnumber(L, (lua_Number)count);
  return 2;
}

/* ---- tostring and format ---- */

static const char *reference_name(lua_State *L, int index) {
  int type = lua_type(L, index);
  return type == LUA_TLIGHTUSERDATA ? "userdata" : lua_typename(L, type);
}

/* text(value) -> string; or nil, the value's __tostring. References have no address: it would differ in every process. */
static int text_of(lua_State *L) {
  int type = lua_type(L, 1);
  if (type == LUA_TNONE) lnt__arg_error(L, 1, "tostring", "value expected");
  if (type == LUA_TSTRING || type == LUA_TNUMBER) {
    lnt__plain_zero(L, 1);
    lua_tolstring(L, 1, NULL);
    lua_pushvalue(L, 1);
    return 1;
  }
  if (luaL_getmetafield(L, 1, "__tostring")) {
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
  }
  if (type == LUA_TBOOLEAN) lua_pushstring(L, lua_toboolean(L, 1) ? "true" : "false");
  else lua_pushstring(L, reference_name(L, 1));
  return 1;
}

typedef struct spec {
  char conversion;
  const char *end; /* after it */
} spec;

static spec parse_spec(lua_State *L, const char *at, const char *end) {
  const char *from = at;
  int flags = 0, width = 0, digits = 0;
  while (at < end && *at && strchr(SPEC_FLAGS, *at)) at++, flags++;
  while (at < end && *at >= '0' && *at <= '9') at++, width++;
  if (at < end && *at == '.') {
    at++;
    while (at < end && *at >= '0' && *at <= '9') at++, digits++;
  }
  char conversion = at < end ? *at : 0;
  if (!conversion || flags > 5 || width > 2 || digits > 2 || !strchr(SPEC_NUMBERS "sqp", conversion))
    lnt__arg_error(L, 1, "format", "'%%%.*s' is not an option (width and precision have two digits at most)",
                   (int)(at - from + (at < end)), from);
  if (conversion == 'p') lnt__arg_error(L, 1, "format", "'%%p' prints an address, which differs in every process");
  return (spec){conversion, at + 1};
}

/* Beyond these, LuaJIT's conversion to an integer depends on the machine. */
static void check_range(lua_State *L, int arg, char conversion, lua_Number number) {
  lua_Number low = -9223372036854775808.0, high = 9223372036854775808.0;
  if (strchr("ouxX", conversion)) high *= 2;
  if (conversion == 'c') low = -2147483648.0, high = 2147483648.0;
  if (strchr("diouxXc", conversion) && !(number >= low && number < high))
    lnt__arg_error(L, arg, "format", "%g is out of the range of '%%%c'; use '%%.0f'", number, conversion);
}

/* Make argument `arg` fit for LuaJIT's own format; false: its __tostring must be called first. */
static bool prepare_argument(lua_State *L, int arg, char conversion) {
  if (lua_isnone(L, arg)) lnt__arg_error(L, arg, "format", "no value");
  if (strchr(SPEC_NUMBERS, conversion)) {
    if (!lua_isnumber(L, arg)) lnt__arg_type_error(L, arg, "format", "number");
    check_range(L, arg, conversion, lua_tonumber(L, arg));
    lnt__plain_zero(L, arg);
  } else if (lua_isstring(L, arg)) {
    lnt__plain_zero(L, arg);
  } else if (conversion == 'q') {
    lnt__arg_type_error(L, arg, "format", "string");
  } else {
    if (luaL_getmetafield(L, arg, "__tostring")) return false;
    if (lua_type(L, arg) == LUA_TNIL || lua_type(L, arg) == LUA_TBOOLEAN) return true;
    lua_pushstring(L, reference_name(L, arg));
    lua_replace(L, arg);
  }
  return true;
}

static size_t argument_bytes(lua_State *L, int arg) { return lua_type(L, arg) == LUA_TSTRING ? lua_objlen(L, arg) : 0; }

/* format(format, ...) -> text; or nil, the number of an argument that must be put through tostring first. Upvalue: LuaJIT's
 * string.format, which by then finds no argument to object to. */
static int format(lua_State *L) {
  size_t size, bytes = 0;
  if (!lua_isstring(L, 1)) lnt__arg_type_error(L, 1, "format", "string");
  const char *at = lua_tolstring(L, 1, &size), *end = at + size;
  int arg = 1, top = lua_gettop(L);
  charge_bytes(L, size);
  luaL_checkstack(L, LUA_MINSTACK, "too many arguments");
  while ((at = (const char *)memchr(at, '%', (size_t)(end - at)))) {
    if (++at < end && *at == '%') {
      at++;
      continue;
    }
    spec one = parse_spec(L, at, end);
    if (!prepare_argument(L, ++arg, one.conversion)) {
      lua_pushnil(L);
      lua_pushinteger(L, arg);
      return 2;
    }
    bytes += argument_bytes(L, arg) * (one.conversion == 'q' ? 4 : 1);
    at = one.end;
  }
  check_result(L, "string.format", 1, bytes + size);
  charge_bytes(L, bytes);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, top, 1);
  return 1;
}

/* raw_format -> format; in Lua 5.1 an upvalue can only be given when the closure is made. */
static int make_format(lua_State *L) {
  lua_settop(L, 1);
  lua_pushcclosure(L, format, 1);
  return 1;
}

void lnt__sandbox_string_functions(lua_State *L) {
  static const luaL_Reg functions[] = {
    {"len", string_len},     {"sub", string_sub},     {"byte", string_byte},       {"char", string_char}, {"lower", string_lower},
    {"upper", string_upper}, {"rep", string_rep},     {"reverse", string_reverse}, {"gsub", gsub},        {"text", text_of},
    {"check_gsub", check_gsub}, {"make_format", make_format}, {NULL, NULL},
  };
  luaL_register(L, NULL, functions);
}
