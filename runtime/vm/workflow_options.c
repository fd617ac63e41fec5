/* workflow_options.c - what authors write beside a call: durations, retry policies, timeouts. Checked at the author's line, before anything
 * is recorded. Called by the functions of ctx; owner thread; everything here raises. */
#include <lauxlib.h>
#include <math.h>

#include "vm/workflow.h"

#define SECONDS_MAX (1000.0 * 366 * 86400)
#define ATTEMPTS_MAX 1000000
#define TYPES_MAX 100
#define DURATION_HELP "use seconds (1.5) or text such as \"500ms\", \"30s\", \"1h30m\", \"7d\""

/* ---- Durations ---- */

static double unit_seconds(const char **at) {
  static const struct { const char *name; double seconds; } units[] = {
      {"ms", 0.001}, {"us", 0.000001}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}};
  for (size_t i = 0; i < LNT__COUNT(units); i++) {
    size_t size = strlen(units[i].name);
    if (strncmp(*at, units[i].name, size)) continue;
    *at += size;
    return units[i].seconds;
  }
  return -1;
}

/* Digits with an optional fraction; false: none. Read here: strtod obeys the locale. */
static bool read_decimal(const char **at, double *out) {
  const char *start = *at;
  double value = 0, scale = 1;
  for (; **at >= '0' && **at <= '9'; (*at)++) value = value * 10 + (**at - '0');
  bool digits = *at != start;
  if (digits && **at == '.') {
    for ((*at)++; **at >= '0' && **at <= '9'; (*at)++) {
      value = value * 10 + (**at - '0');
      scale *= 10;
    }
  }
  *out = value / scale;
  return digits;
}

double lnt__duration_seconds(const char *text) {
  double sum = 0;
  if (!*text) return -1;
  while (*text) {
    double number, unit;
    if (!read_decimal(&text, &number)) return -1;
    unit = unit_seconds(&text);
    if (unit < 0) return -1;
    sum += number * unit;
  }
  return sum;
}

int64_t lnt__duration_us(lua_State *L, int index, const char *what) {
  double seconds = -1;
  int type = lua_type(L, index);
  if (type == LUA_TNUMBER) seconds = lua_tonumber(L, index);
  else if (type == LUA_TSTRING) seconds = lnt__duration_seconds(lua_tostring(L, index));
  else lnt__mistake(L, "%s: a duration expected, got %s; " DURATION_HELP, what, luaL_typename(L, index));
  if (seconds >= 0 && seconds <= SECONDS_MAX) return (int64_t)floor(seconds * 1e6 + 0.5);
  char text[60];
  if (type == LUA_TSTRING) {
    size_t size;
    const char *given = lua_tolstring(L, index, &size);
    lnt__mistake(L, "%s: \"%.*s\" is not a duration; " DURATION_HELP, what, size > 40 ? 40 : (int)size, given);
  }
  lnt__number_text(seconds, text);
  lnt__mistake(L, "%s: %s is not a duration (0 to 1000 years); " DURATION_HELP, what, text);
}

/* ---- Tables of options ---- */

/* Every key of the table at `index` must be among `known` (NULL at its end). */
static void check_keys(lua_State *L, int index, const char *what, const char *const *known, const char *list) {
  lua_pushnil(L);
  while (lua_next(L, index)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    bool found = false;
    for (const char *const *at = known; key && *at && !found; at++) found = strcmp(*at, key) == 0;
    if (!found) lnt__mistake(L, "%s: unknown option '%s'; known are %s", what, key ? key : luaL_typename(L, -2), list);
    lua_pop(L, 1);
  }
}

/* Push field `name` of the table at `index`, or `other`; false: neither is there (nothing pushed). */
static bool push_field(lua_State *L, int index, const char *name, const char *other) {
  for (int i = 0; i < 2; i++) {
    const char *key = i ? other : name;
    if (!key) continue;
    lua_pushstring(L, key);
    lua_rawget(L, index);
    if (!lua_isnil(L, -1)) return true;
    lua_pop(L, 1);
  }
  return false;
}

static double number_field(lua_State *L, const char *what, double min, double max, double otherwise) {
  if (lua_type(L, -1) != LUA_TNUMBER) lnt__mistake(L, "call_activity: %s must be a number, got %s", what, luaL_typename(L, -1));
  double value = lua_tonumber(L, -1);
  if (!(value >= min && value <= max)) {
    char text[LNT__NUMBER_TEXT_BYTES];
    lnt__number_text(value, text);
    lnt__mistake(L, "call_activity: %s cannot be %s; the default is %g", what, text, otherwise);
  }
  return value;
}

static void write_int(lnt__buf *out, const char *key, int64_t value) {
  lnt__cbor_cstring(out, key);
  lnt__cbor_int(out, value);
}

static void write_types(lua_State *L, lnt__buf *out) {
  int list = lua_gettop(L);
  if (!lua_istable(L, list))
    lnt__mistake(L, "call_activity: retry.non_retryable must be a list of error types, got %s", luaL_typename(L, list));
  size_t count = lua_objlen(L, list);
  if (count > TYPES_MAX) lnt__mistake(L, "call_activity: retry.non_retryable has more than %d types", TYPES_MAX);
  lnt__cbor_cstring(out, "non_retryable");
  lnt__cbor_array(out, count);
  for (size_t i = 1; i <= count; i++) {
    size_t size;
    lua_rawgeti(L, list, (int)i);
    if (lua_type(L, -1) != LUA_TSTRING)
      lnt__mistake(L, "call_activity: retry.non_retryable[%zu] must be a string (an error type), got %s", i, luaL_typename(L, -1));
    const char *type = lua_tolstring(L, -1, &size);
    if (size > LNT_NAME_BYTES_MAX)
      lnt__mistake(L, "call_activity: retry.non_retryable[%zu] is longer than %d bytes", i, LNT_NAME_BYTES_MAX);
    lnt__cbor_string(out, type, size);
    lua_pop(L, 1);
  }
}

static void write_retry(lua_State *L, int index, lnt__buf *out) {
  static const char *const known[] = {"max_attempts", "first_interval", "interval", "backoff", "backoff_coefficient", "max_interval",
                                      "non_retryable", NULL};
  lnt__cbor_map map;
  size_t count = 3;
  if (!lua_istable(L, index))
    lnt__mistake(L, "call_activity: retry must be a table such as {max_attempts = 3}, got %s", luaL_typename(L, index));
  check_keys(L, index, "call_activity: retry", known, "max_attempts, first_interval (or interval), backoff, max_interval, non_retryable");
  lnt__cbor_map_begin(out, &map);
  double attempts = push_field(L, index, "max_attempts", NULL) ? number_field(L, "retry.max_attempts", 1, ATTEMPTS_MAX, 3) : 3;
  write_int(out, "max_attempts", (int64_t)attempts);
  bool has_first = push_field(L, index, "first_interval", "interval");
  write_int(out, "first_interval_us", has_first ? lnt__duration_us(L, -1, "call_activity: retry.first_interval") : 1000000);
  double backoff = push_field(L, index, "backoff", "backoff_coefficient") ? number_field(L, "retry.backoff", 1, 1000, 2) : 2;
  lnt__cbor_cstring(out, "backoff_coefficient");
  lnt__cbor_number(out, backoff);
  if (push_field(L, index, "max_interval", NULL)) {
    write_int(out, "max_interval_us", lnt__duration_us(L, -1, "call_activity: retry.max_interval"));
    count++;
  }
  if (push_field(L, index, "non_retryable", NULL)) {
    write_types(L, out);
    count++;
  }
  lnt__cbor_map_end(out, &map, count, false);
}

void lnt__activity_options(lua_State *L, int index, lnt__buf *out) {
  static const char *const known[] = {"retry", "timeout", NULL};
  int top = lua_gettop(L);
  size_t count = 0;
  lnt__cbor_map map;
  if (lua_isnoneornil(L, index)) return;
  if (!lua_istable(L, index))
    lnt__mistake(L, "call_activity: options must be a table such as {timeout = \"30s\"}, got %s", luaL_typename(L, index));
  check_keys(L, index, "call_activity", known, "retry and timeout");
  lnt__cbor_map_begin(out, &map);
  if (push_field(L, index, "retry", NULL)) {
    lnt__cbor_cstring(out, "retry");
    write_retry(L, lua_gettop(L), out);
    count++;
  }
  if (push_field(L, index, "timeout", NULL)) {
    int64_t timeout_us = lnt__duration_us(L, -1, "call_activity: timeout");
    if (timeout_us == 0) lnt__mistake(L, "call_activity: a timeout of 0 would never let the activity run; leave it out for none");
    write_int(out, "timeout_us", timeout_us);
    count++;
  }
  lua_settop(L, top);
  if (count) lnt__cbor_map_end(out, &map, count, false);
  else lnt__buf_clear(out);
}

bool lnt__wait_options(lua_State *L, int index, int64_t *timeout_us) {
  static const char *const known[] = {"timeout", NULL};
  if (lua_isnoneornil(L, index)) return false;
  if (!lua_istable(L, index))
    lnt__mistake(L, "wait_for_external_event: options must be a table such as {timeout = \"24h\"}, got %s", luaL_typename(L, index));
  check_keys(L, index, "wait_for_external_event", known, "timeout");
  if (!push_field(L, index, "timeout", NULL)) return false;
  *timeout_us = lnt__duration_us(L, -1, "wait_for_external_event: timeout");
  lua_pop(L, 1);
  return true;
}
