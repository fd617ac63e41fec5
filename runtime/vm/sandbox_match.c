/* sandbox_match.c - Lua patterns: find, match, gmatch, and what gsub needs. Called by author code; owner thread of the state.
 *
 * The matcher of LuaJIT cannot be interrupted and takes minutes for patterns of ten characters, so this one charges each step to
 * the turn's budget. It backtracks, like every matcher of these patterns; recursion is bounded. Patterns may hold zero bytes. */
#define _GNU_SOURCE /* memmem */
#include "vm/sandbox_match.h"

#define CAPTURE_OPEN (-1)
#define CAPTURE_POSITION (-2)
#define DEPTH_MAX 200
#define BYTES_PER_UNIT 8 /* of a set, a reference or a balanced stretch */

static inline void step(lnt__match *m, uint64_t units) { lnt__charge(m->L, m->guard, units); }

static inline uint8_t byte_at(const char *at) { return (uint8_t)*at; }

void lnt__match_init(lnt__match *m, lua_State *L, const char *text, size_t text_size, const char *pattern, size_t pattern_size) {
  m->L = L;
  m->guard = lnt__guard_of(L);
  m->text = text;
  m->text_end = text + text_size;
  m->pattern = pattern;
  m->pattern_end = pattern + pattern_size;
  m->level = 0;
  m->depth = 0;
}

/* ---- One character against one item ---- */

static bool is_upper(uint8_t c) { return c >= 'A' && c <= 'Z'; }
static bool is_lower(uint8_t c) { return c >= 'a' && c <= 'z'; }
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_alpha(uint8_t c) { return is_upper(c) || is_lower(c); }
static bool is_alnum(uint8_t c) { return is_alpha(c) || is_digit(c); }
static bool is_graph(uint8_t c) { return c > 32 && c < 127; }
static bool is_punct(uint8_t c) { return is_graph(c) && !is_alnum(c); }
static bool is_space(uint8_t c) { return c == 32 || (c >= 9 && c <= 13); }
static bool is_cntrl(uint8_t c) { return c < 32 || c == 127; }
static bool is_hex(uint8_t c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
static bool is_zero(uint8_t c) { return c == 0; }

static bool (*const classes[26])(uint8_t) = {
  ['a' - 'a'] = is_alpha, ['c' - 'a'] = is_cntrl, ['d' - 'a'] = is_digit, ['g' - 'a'] = is_graph,
  ['l' - 'a'] = is_lower, ['p' - 'a'] = is_punct, ['s' - 'a'] = is_space, ['u' - 'a'] = is_upper,
  ['w' - 'a'] = is_alnum, ['x' - 'a'] = is_hex,   ['z' - 'a'] = is_zero,
};

static bool class_holds(uint8_t name, uint8_t c) {
  uint8_t lower = name | 0x20;
  bool (*holds)(uint8_t) = is_lower(lower) && is_alpha(name) ? classes[lower - 'a'] : NULL;
  if (!holds) return name == c;
  return holds(c) == is_lower(name);
}

/* `set` stands at '[', `last` at its ']'. */
static bool set_holds(const char *set, const char *last, uint8_t c) {
  bool wanted = true;
  const char *p = set + 1;
  if (*p == '^') {
    wanted = false;
    p++;
  }
  for (; p < last; p++) {
    if (*p == '%' && p + 1 < last) {
      p++;
      if (class_holds(byte_at(p), c)) return wanted;
    } else if (p[1] == '-' && p + 2 < last) {
      if (byte_at(p) <= c && c <= byte_at(p + 2)) return wanted;
      p += 2;
    } else if (byte_at(p) == c) {
      return wanted;
    }
  }
  return !wanted;
}

static const char *set_end(lnt__match *m, const char *p) {
  const char *end = m->pattern_end, *from = p;
  if (p < end && *p == '^') p++;
  do {
    if (p >= end) luaL_error(m->L, "malformed pattern (missing ']')");
    char c = *p++;
    if (c == '%' && p < end) p++;
  } while (p >= end || *p != ']');
  step(m, (uint64_t)(p - from) / BYTES_PER_UNIT);
  return p + 1;
}

/* Where the single-character item at `p` ends. */
static const char *item_end(lnt__match *m, const char *p) {
  char c = *p++;
  if (c == '%') {
    if (p >= m->pattern_end) luaL_error(m->L, "malformed pattern (ends with '%%')");
    return p + 1;
  }
  return c == '[' ? set_end(m, p) : p;
}

static bool holds(lnt__match *m, const char *s, const char *p, const char *p_end) {
  if (s >= m->text_end) return false;
  step(m, 1);
  switch (*p) {
    case '.': return true;
    case '%': return class_holds(byte_at(p + 1), byte_at(s));
    case '[':
      step(m, (uint64_t)(p_end - p) / BYTES_PER_UNIT);
      return set_holds(p, p_end - 1, byte_at(s));
    default: return *p == *s;
  }
}

/* ---- Items that are more than a character ---- */

static const char *match_at(lnt__match *m, const char *s, const char *p);

static const char *balanced(lnt__match *m, const char *s, const char *p) {
  if (m->pattern_end - p < 2) luaL_error(m->L, "unbalanced pattern");
  if (s >= m->text_end || *s != *p) return NULL;
  int open = 1;
  for (const char *at = s + 1; at < m->text_end; at++) {
    step(m, 1);
    if (*at == p[1]) {
      if (--open == 0) return at + 1;
    } else if (*at == p[0]) {
      open++;
    }
  }
  return NULL;
}

static bool frontier(lnt__match *m, const char *s, const char *set, const char *end) {
  uint8_t before = s == m->text ? 0 : byte_at(s - 1), here = s < m->text_end ? byte_at(s) : 0;
  step(m, 1 + (uint64_t)(end - set) / BYTES_PER_UNIT);
  return !set_holds(set, end - 1, before) && set_holds(set, end - 1, here);
}

static int closed_capture(lnt__match *m, char digit) {
  int index = digit - '1';
  if (index < 0 || index >= m->level || m->captures[index].size == CAPTURE_OPEN) luaL_error(m->L, "invalid capture index");
  return index;
}

static const char *same_as_capture(lnt__match *m, const char *s, char digit) {
  int index = closed_capture(m, digit);
  if (m->captures[index].size < 0) return NULL; /* a position holds no text */
  size_t size = (size_t)m->captures[index].size;
  step(m, size / BYTES_PER_UNIT);
  if ((size_t)(m->text_end - s) < size || memcmp(m->captures[index].at, s, size) != 0) return NULL;
  return s + size;
}

static const char *open_capture(lnt__match *m, const char *s, const char *p, ptrdiff_t size) {
  if (m->level >= LNT__MATCH_CAPTURES_MAX) luaL_error(m->L, "too many captures");
  m->captures[m->level].at = s;
  m->captures[m->level].size = size;
  m->level++;
  const char *end = match_at(m, s, p);
  if (!end) m->level--;
  return end;
}

static const char *close_capture(lnt__match *m, const char *s, const char *p) {
  int index = m->level - 1;
  while (index >= 0 && m->captures[index].size != CAPTURE_OPEN) index--;
  if (index < 0) luaL_error(m->L, "invalid pattern capture");
  m->captures[index].size = s - m->captures[index].at;
  const char *end = match_at(m, s, p);
  if (!end) m->captures[index].size = CAPTURE_OPEN;
  return end;
}

/* As many as possible, then fewer. */
static const char *repeat_most(lnt__match *m, const char *s, const char *p, const char *p_end) {
  const char *last = s;
  while (holds(m, last, p, p_end)) last++;
  for (; last >= s; last--) {
    const char *end = match_at(m, last, p_end + 1);
    if (end) return end;
  }
  return NULL;
}

static const char *repeat_least(lnt__match *m, const char *s, const char *p, const char *p_end) {
  for (;; s++) {
    const char *end = match_at(m, s, p_end + 1);
    if (end) return end;
    if (!holds(m, s, p, p_end)) return NULL;
  }
}

/* A `%` item that is no class: *s moves past what it takes (NULL: no match). Answers where the pattern goes on, NULL for a class. */
static const char *special_item(lnt__match *m, const char **s, const char *p) {
  char kind = p + 1 < m->pattern_end ? p[1] : 0;
  if (kind == 'b') {
    *s = balanced(m, *s, p + 2);
    return p + 4;
  }
  if (kind == 'f') {
    if (p + 2 >= m->pattern_end || p[2] != '[') luaL_error(m->L, "missing '[' after '%%f' in pattern");
    const char *end = set_end(m, p + 3);
    if (!frontier(m, *s, p + 2, end)) *s = NULL;
    return end;
  }
  if (!is_digit((uint8_t)kind)) return NULL;
  *s = same_as_capture(m, *s, kind);
  return p + 2;
}

/* A single-character item with what follows it. `*done`: the answer is final; else the pattern goes on at *p, the text at the answer. */
static const char *plain_item(lnt__match *m, const char *s, const char **p, bool *done) {
  const char *item = *p, *end = item_end(m, item);
  char suffix = end < m->pattern_end ? *end : 0;
  *done = true;
  if (suffix == '*') return repeat_most(m, s, item, end);
  if (suffix == '-') return repeat_least(m, s, item, end);
  bool one = holds(m, s, item, end);
  if (suffix == '+') return one ? repeat_most(m, s + 1, item, end) : NULL;
  if (suffix == '?') {
    const char *found = one ? match_at(m, s + 1, end + 1) : NULL;
    if (found) return found;
    *p = end + 1;
    *done = false;
    return s;
  }
  *p = end;
  *done = !one;
  return one ? s + 1 : NULL;
}

static const char *match_items(lnt__match *m, const char *s, const char *p) {
  while (p < m->pattern_end) {
    step(m, 1);
    if (*p == '(') {
      bool position = p + 1 < m->pattern_end && p[1] == ')';
      return open_capture(m, s, p + 1 + position, position ? CAPTURE_POSITION : CAPTURE_OPEN);
    }
    if (*p == ')') return close_capture(m, s, p + 1);
    if (*p == '$' && p + 1 == m->pattern_end) return s == m->text_end ? s : NULL;
    const char *next = *p == '%' ? special_item(m, &s, p) : NULL;
    if (next) {
      if (!s) return NULL;
      p = next;
      continue;
    }
    bool done;
    s = plain_item(m, s, &p, &done);
    if (done) return s;
  }
  return s;
}

static const char *match_at(lnt__match *m, const char *s, const char *p) {
  if (++m->depth > DEPTH_MAX) luaL_error(m->L, "pattern too complex");
  const char *end = match_items(m, s, p);
  m->depth--;
  return end;
}

const char *lnt__match_at(lnt__match *m, const char *s) {
  m->level = 0;
  m->depth = 0;
  return match_at(m, s, m->pattern);
}

/* ---- What was captured ---- */

int lnt__match_count(const lnt__match *m, bool whole) { return m->level == 0 && whole ? 1 : m->level; }

void lnt__match_push(lnt__match *m, int index, const char *s, const char *end) {
  if (index >= m->level) {
    if (index != 0) luaL_error(m->L, "invalid capture index");
    lua_pushlstring(m->L, s, (size_t)(end - s));
    return;
  }
  ptrdiff_t size = m->captures[index].size;
  if (size == CAPTURE_OPEN) luaL_error(m->L, "unfinished capture");
  if (size == CAPTURE_POSITION) lua_pushinteger(m->L, m->captures[index].at - m->text + 1);
  else lua_pushlstring(m->L, m->captures[index].at, (size_t)size);
}

int lnt__match_push_all(lnt__match *m, const char *s, const char *end, bool whole) {
  int count = lnt__match_count(m, whole);
  luaL_checkstack(m->L, count, "too many captures");
  for (int i = 0; i < count; i++) lnt__match_push(m, i, s, end);
  return count;
}

/* ---- find, match, gmatch ---- */

static bool has_specials(const char *pattern, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (pattern[i] && strchr("^$*+?.([%-", pattern[i])) return true;
  }
  return false;
}

/* memmem is linear in every C library that we build with. */
static const char *find_plain(lua_State *L, const char *text, size_t size, const char *what, size_t what_size) {
  if (what_size == 0) return text;
  lnt__charge(L, lnt__guard_of(L), size / BYTES_PER_UNIT);
  return (const char *)memmem(text, size, what, what_size);
}

static const char *search(lnt__match *m, const char **from, bool anchored) {
  for (const char *s = *from; s <= m->text_end; s++) {
    const char *end = lnt__match_at(m, s);
    if (end) {
      *from = s;
      return end;
    }
    if (anchored) break;
  }
  return NULL;
}

/* The argument `init`: an offset within 0..size; one beyond the end counts as the end. */
static size_t start_offset(lua_State *L, int arg, size_t size) {
  int64_t init = lnt__arg_integer_or(L, arg, 1);
  if (init < 0) init += (int64_t)size + 1;
  if (init < 1) init = 1;
  return (uint64_t)init - 1 > size ? size : (size_t)init - 1;
}

static int found_plain(lua_State *L, const char *text, const char *at, size_t size) {
  if (!at) return lua_pushnil(L), 1;
  lua_pushinteger(L, at - text + 1);
  lua_pushinteger(L, at - text + (ptrdiff_t)size);
  return 2;
}

static int find_or_match(lua_State *L, bool find) {
  size_t text_size, size;
  const char *text = luaL_checklstring(L, 1, &text_size), *pattern = luaL_checklstring(L, 2, &size);
  size_t init = start_offset(L, 3, text_size);
  const char *s = text + init;
  if (find && (lua_toboolean(L, 4) || !has_specials(pattern, size)))
    return found_plain(L, text, find_plain(L, s, text_size - init, pattern, size), size);
  bool anchored = size > 0 && *pattern == '^';
  lnt__match m;
  lnt__match_init(&m, L, text, text_size, pattern + anchored, size - anchored);
  const char *end = search(&m, &s, anchored);
  if (!end) return lua_pushnil(L), 1;
  if (!find) return lnt__match_push_all(&m, s, end, true);
  lua_pushinteger(L, s - text + 1);
  lua_pushinteger(L, end - text);
  return 2 + lnt__match_push_all(&m, s, end, false);
}

static int string_find(lua_State *L) { return find_or_match(L, true); }
static int string_match(lua_State *L) { return find_or_match(L, false); }

static int gmatch_next(lua_State *L) {
  size_t text_size, size, at = (size_t)lua_tonumber(L, lua_upvalueindex(3));
  const char *text = lua_tolstring(L, lua_upvalueindex(1), &text_size);
  const char *pattern = lua_tolstring(L, lua_upvalueindex(2), &size);
  if (at > text_size) return lua_pushnil(L), 1;
  lnt__match m;
  lnt__match_init(&m, L, text, text_size, pattern, size);
  const char *s = text + at, *end = search(&m, &s, false);
  size_t next = !end ? text_size + 1 : (size_t)(end - text) + (end == s);
  lua_pushnumber(L, (lua_Number)next);
  lua_replace(L, lua_upvalueindex(3));
  if (!end) return lua_pushnil(L), 1;
  return lnt__match_push_all(&m, s, end, true);
}

static int string_gmatch(lua_State *L) {
  luaL_checkstring(L, 1);
  luaL_checkstring(L, 2);
  lua_settop(L, 2);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, gmatch_next, 3);
  return 1;
}

/* scan(text, pattern, at, anchored) -> from, next, captures ...: the first match at or after `at`; nothing if there is none. For gsub in
 * Lua, which calls the author's function between two of these, so that it may wait. */
static int scan(lua_State *L) {
  size_t text_size, size, at = (size_t)lua_tonumber(L, 3) - 1;
  const char *text = lua_tolstring(L, 1, &text_size), *pattern = lua_tolstring(L, 2, &size);
  bool anchored = lua_toboolean(L, 4);
  if (at > text_size) return 0;
  lnt__match m;
  lnt__match_init(&m, L, text, text_size, pattern + anchored, size - anchored);
  const char *s = text + at, *end = search(&m, &s, anchored);
  if (!end) return 0;
  lua_pushinteger(L, s - text + 1);
  lua_pushinteger(L, end - text + 1);
  return 2 + lnt__match_push_all(&m, s, end, true);
}

void lnt__sandbox_match_functions(lua_State *L) {
  static const luaL_Reg functions[] = {
    {"find", string_find}, {"match", string_match}, {"gmatch", string_gmatch}, {"scan", scan}, {NULL, NULL},
  };
  luaL_register(L, NULL, functions);
}
