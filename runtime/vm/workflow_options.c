/* workflow_options.c - what authors write beside a call: durations, retry policies, timeouts. Checked at the author's line, before anything
 * is recorded. Called by the functions of ctx; owner thread; everything here raises. */
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

#include "vm/workflow.h"

#define SECONDS_MAX (1000.0 * 366 * 86400)
#define ATTEMPTS_MAX 1000000
#define ATTEMPTS_DEFAULT 3
#define FIRST_INTERVAL_US 1000000
#define BACKOFF_DEFAULT 2.0
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

void lnt__check_keys(lua_State *L, int index, const char *what, const char *const *known, const char *list) {
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

static double number_field(lua_State *L, const char *verb, const char *what, double min, double max, double otherwise) {
  if (lua_type(L, -1) != LUA_TNUMBER) lnt__mistake(L, "%s: %s must be a number, got %s", verb, what, luaL_typename(L, -1));
  double value = lua_tonumber(L, -1);
  if (!(value >= min && value <= max)) {
    char text[LNT__NUMBER_TEXT_BYTES];
    lnt__number_text(value, text);
    lnt__mistake(L, "%s: %s cannot be %s; the default is %g", verb, what, text, otherwise);
  }
  return value;
}

/* A duration in field `name` (or `other`) of the table at `index`, in microseconds; 0: it is not there. Zero is refused: `zero` says what
 * it would mean. */
static int64_t time_field(lua_State *L, int index, const char *verb, const char *prefix, const char *name, const char *zero) {
  char what[100];
  lua_pushstring(L, name);
  lua_rawget(L, index);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return 0;
  }
  snprintf(what, sizeof what, "%s: %s%s", verb, prefix, name);
  int64_t value_us = lnt__duration_us(L, -1, what);
  if (value_us == 0) lnt__mistake(L, "%s of 0 %s; leave it out to have none", what, zero);
  lua_pop(L, 1);
  return value_us;
}

static void write_int(lnt__buf *out, const char *key, int64_t value) {
  lnt__cbor_cstring(out, key);
  lnt__cbor_int(out, value);
}

static size_t write_if(lnt__buf *out, const char *key, int64_t value) {
  if (value) write_int(out, key, value);
  return value != 0;
}

/* ---- Retries ---- */

static void write_types(lua_State *L, const char *verb, lnt__buf *out) {
  int list = lua_gettop(L);
  if (!lua_istable(L, list))
    lnt__mistake(L, "%s: retry.non_retryable must be a list of error types, got %s", verb, luaL_typename(L, list));
  size_t count = lua_objlen(L, list);
  if (count > TYPES_MAX) lnt__mistake(L, "%s: retry.non_retryable has more than %d types", verb, TYPES_MAX);
  lnt__cbor_cstring(out, "non_retryable");
  lnt__cbor_array(out, count);
  for (size_t i = 1; i <= count; i++) {
    size_t size;
    lua_rawgeti(L, list, (int)i);
    if (lua_type(L, -1) != LUA_TSTRING)
      lnt__mistake(L, "%s: retry.non_retryable[%zu] must be a string (an error type), got %s", verb, i, luaL_typename(L, -1));
    const char *type = lua_tolstring(L, -1, &size);
    if (size > LNT_NAME_BYTES_MAX)
      lnt__mistake(L, "%s: retry.non_retryable[%zu] is longer than %d bytes", verb, i, LNT_NAME_BYTES_MAX);
    lnt__cbor_string(out, type, size);
    lua_pop(L, 1);
  }
}

static int64_t attempts_field(lua_State *L, int index, const char *verb) {
  if (!push_field(L, index, "max_attempts", NULL)) return ATTEMPTS_DEFAULT;
  double attempts = number_field(L, verb, "retry.max_attempts", 1, ATTEMPTS_MAX, ATTEMPTS_DEFAULT);
  if (attempts != floor(attempts)) lnt__mistake(L, "%s: retry.max_attempts must be a whole number, the first attempt included", verb);
  return (int64_t)attempts;
}

void lnt__retry_options(lua_State *L, int index, const char *verb, lnt__buf *out) {
  static const char *const known[] = {"max_attempts", "first_interval", "interval", "backoff", "backoff_coefficient", "max_interval",
                                      "timeout", "non_retryable", NULL};
  lnt__cbor_map map;
  char what[80];
  size_t count = 3;
  int top = lua_gettop(L);
  if (!lua_istable(L, index))
    lnt__mistake(L, "%s: retry must be a table such as {max_attempts = 3}, got %s", verb, luaL_typename(L, index));
  snprintf(what, sizeof what, "%s: retry", verb);
  lnt__check_keys(L, index, what, known, "max_attempts, first_interval (or interval), backoff, max_interval, timeout, non_retryable");
  lnt__cbor_map_begin(out, &map);
  write_int(out, "max_attempts", attempts_field(L, index, verb));
  snprintf(what, sizeof what, "%s: retry.first_interval", verb);
  bool has_first = push_field(L, index, "first_interval", "interval");
  int64_t first_us = has_first ? lnt__duration_us(L, -1, what) : FIRST_INTERVAL_US;
  write_int(out, "first_interval_us", first_us);
  bool has_backoff = push_field(L, index, "backoff", "backoff_coefficient");
  lnt__cbor_cstring(out, "backoff_coefficient");
  lnt__cbor_number(out, has_backoff ? number_field(L, verb, "retry.backoff", 1, 1000, BACKOFF_DEFAULT) : BACKOFF_DEFAULT);
  int64_t max_us = time_field(L, index, verb, "retry.", "max_interval", "would let no attempt wait; for that set first_interval = 0");
  if (max_us && max_us < first_us)
    lnt__mistake(L, "%s: retry.max_interval is shorter than retry.first_interval%s; make it at least as long", verb,
                 has_first ? "" : " (1s unless you set it)");
  count += write_if(out, "max_interval_us", max_us);
  count += write_if(out, "timeout_us", time_field(L, index, verb, "retry.", "timeout", "would allow no retry"));
  if (push_field(L, index, "non_retryable", NULL)) {
    write_types(L, verb, out);
    count++;
  }
  lnt__cbor_map_end(out, &map, count, false);
  lua_settop(L, top);
}

/* ---- Activities ---- */

static void refuse_longer(lua_State *L, const char *name, int64_t us, const char *bound_name, int64_t bound_us) {
  if (us && bound_us && us > bound_us)
    lnt__mistake(L, "call_activity: %s is longer than %s, so it could never strike; leave it out or make it shorter", name, bound_name);
}

static size_t write_timeouts(lua_State *L, int index, lnt__buf *out) {
  static const char zero[] = "would never let the activity run";
  int64_t short_us = time_field(L, index, "call_activity", "", "timeout", zero);
  int64_t run_us = time_field(L, index, "call_activity", "", "start_to_close", zero);
  int64_t start_us = time_field(L, index, "call_activity", "", "schedule_to_start", zero);
  int64_t all_us = time_field(L, index, "call_activity", "", "schedule_to_close", zero);
  int64_t beat_us = time_field(L, index, "call_activity", "", "heartbeat", "would end every attempt at once");
  const char *run_name = short_us ? "timeout" : "start_to_close";
  if (short_us && run_us) lnt__mistake(L, "call_activity: timeout and start_to_close are the same thing; give one of them");
  if (short_us) run_us = short_us;
  refuse_longer(L, run_name, run_us, "schedule_to_close", all_us);
  refuse_longer(L, "schedule_to_start", start_us, "schedule_to_close", all_us);
  refuse_longer(L, "heartbeat", beat_us, "schedule_to_close", all_us);
  refuse_longer(L, "heartbeat", beat_us, run_name, run_us);
  size_t count = write_if(out, "start_to_close_us", run_us);
  count += write_if(out, "schedule_to_start_us", start_us);
  count += write_if(out, "schedule_to_close_us", all_us);
  return count + write_if(out, "heartbeat_us", beat_us);
}

void lnt__activity_options(lua_State *L, int index, lnt__buf *out) {
  static const char *const known[] = {"retry", "timeout", "start_to_close", "schedule_to_start", "schedule_to_close", "heartbeat", NULL};
  int top = lua_gettop(L);
  size_t count = 0;
  lnt__cbor_map map;
  if (lua_isnoneornil(L, index)) return;
  if (!lua_istable(L, index))
    lnt__mistake(L, "call_activity: options must be a table such as {timeout = \"30s\"}, got %s", luaL_typename(L, index));
  lnt__check_keys(L, index, "call_activity", known,
             "retry, timeout (or start_to_close), schedule_to_start, schedule_to_close and heartbeat");
  lnt__cbor_map_begin(out, &map);
  if (push_field(L, index, "retry", NULL)) {
    lnt__cbor_cstring(out, "retry");
    lnt__retry_options(L, lua_gettop(L), "call_activity", out);
    count++;
  }
  count += write_timeouts(L, index, out);
  lua_settop(L, top);
  if (count) lnt__cbor_map_end(out, &map, count, false);
  else lnt__buf_clear(out);
}

/* ---- Children ---- */

static lnt_value id_field(lua_State *L, int index, const char *verb) {
  lnt_value id = LNT_VALUE_NIL;
  if (!push_field(L, index, "id", NULL)) return id;
  id = lnt__id_argument(L, lua_gettop(L), verb, "id");
  lua_pop(L, 1); /* the table holds it */
  return id;
}

lnt_value lnt__id_option(lua_State *L, int index, const char *verb) {
  static const char *const known[] = {"id", NULL};
  if (lua_isnoneornil(L, index)) return LNT_VALUE_NIL;
  if (!lua_istable(L, index))
    lnt__mistake(L, "%s: options must be a table such as {id = \"order-17\"}, got %s", verb, luaL_typename(L, index));
  lnt__check_keys(L, index, verb, known, "id");
  return id_field(L, index, verb);
}

/* The default is not recorded. */
static size_t write_on_parent_close(lua_State *L, int index, lnt__buf *out) {
  static const char *const policies[] = {"terminate", "cancel", "abandon"};
  if (!push_field(L, index, "on_parent_close", NULL)) return 0;
  const char *given = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  size_t at = 0;
  while (at < LNT__COUNT(policies) && strcmp(given, policies[at]) != 0) at++;
  if (at == LNT__COUNT(policies))
    lnt__mistake(L, "call_child_workflow: on_parent_close must be \"terminate\" (the default), \"cancel\" or \"abandon\"");
  lua_pop(L, 1);
  if (at == 0) return 0;
  lnt__cbor_cstring(out, "on_parent_close");
  lnt__cbor_cstring(out, policies[at]);
  return 1;
}

static uint32_t attempts_of(lua_State *L, int retry) {
  int top = lua_gettop(L);
  uint32_t attempts = (uint32_t)attempts_field(L, retry, "call_child_workflow");
  lua_settop(L, top);
  return attempts;
}

void lnt__child_options_read(lua_State *L, int index, lnt__child_options *options, lnt__buf *out) {
  static const char *const known[] = {"id", "retry", "timeout", "on_parent_close", NULL};
  static const char verb[] = "call_child_workflow";
  int top = lua_gettop(L);
  size_t count = 0;
  lnt__cbor_map map;
  *options = (lnt__child_options){.attempts = 1};
  lnt__buf_clear(out);
  if (lua_isnoneornil(L, index)) return;
  if (!lua_istable(L, index))
    lnt__mistake(L, "%s: options must be a table such as {id = \"order-17\"}, got %s", verb, luaL_typename(L, index));
  lnt__check_keys(L, index, verb, known, "id, retry, timeout and on_parent_close");
  options->id = id_field(L, index, verb);
  options->timeout_us = time_field(L, index, verb, "", "timeout", "would never let the child run");
  lnt__cbor_map_begin(out, &map);
  if (push_field(L, index, "retry", NULL)) {
    lnt__cbor_cstring(out, "retry");
    lnt__retry_options(L, lua_gettop(L), verb, out);
    options->attempts = attempts_of(L, lua_gettop(L));
    count++;
  }
  count += write_on_parent_close(L, index, out);
  lua_settop(L, top);
  if (count) lnt__cbor_map_end(out, &map, count, false);
  else lnt__buf_clear(out);
  if (out->failed) lnt__guard_kill(L, LNT__KILL_MEMORY, "out of memory");
}

/* ---- Waits, scopes ---- */

bool lnt__wait_options(lua_State *L, int index, int64_t *timeout_us) {
  static const char *const known[] = {"timeout", NULL};
  if (lua_isnoneornil(L, index)) return false;
  if (!lua_istable(L, index))
    lnt__mistake(L, "wait_for_external_event: options must be a table such as {timeout = \"24h\"}, got %s", luaL_typename(L, index));
  lnt__check_keys(L, index, "wait_for_external_event", known, "timeout");
  if (!push_field(L, index, "timeout", NULL)) return false;
  *timeout_us = lnt__duration_us(L, -1, "wait_for_external_event: timeout");
  lua_pop(L, 1);
  return true;
}

bool lnt__scope_options(lua_State *L, int index, int64_t *timeout_us) {
  static const char *const known[] = {"timeout", NULL};
  if (lua_isnoneornil(L, index)) return false;
  if (!lua_istable(L, index)) lnt__mistake(L, "scope: options must be a table such as {timeout = \"5m\"}, got %s", luaL_typename(L, index));
  lnt__check_keys(L, index, "scope", known, "timeout");
  if (!push_field(L, index, "timeout", NULL)) return false;
  *timeout_us = lnt__duration_us(L, -1, "scope: timeout");
  lua_pop(L, 1);
  return true;
}

static bool boolean_field(lua_State *L, int index, const char *verb, const char *name) {
  if (!push_field(L, index, name, NULL)) return false;
  if (!lua_isboolean(L, -1)) lnt__mistake(L, "%s: %s must be true or false, got %s", verb, name, luaL_typename(L, -1));
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

bool lnt__carry_option(lua_State *L, int index) {
  static const char *const known[] = {"carry_events", NULL};
  if (lua_isnoneornil(L, index)) return true;
  if (!lua_istable(L, index))
    lnt__mistake(L, "continue_as_new: options must be a table such as {carry_events = false}, got %s", luaL_typename(L, index));
  lnt__check_keys(L, index, "continue_as_new", known, "carry_events");
  if (!push_field(L, index, "carry_events", NULL)) return true;
  lua_pop(L, 1);
  return boolean_field(L, index, "continue_as_new", "carry_events");
}

bool lnt__flag_option(lua_State *L, int index, const char *verb, const char *name) {
  const char *const known[] = {name, NULL};
  if (lua_isnoneornil(L, index)) return false;
  if (!lua_istable(L, index))
    lnt__mistake(L, "%s: options must be a table such as {%s = true}, got %s", verb, name, luaL_typename(L, index));
  lnt__check_keys(L, index, verb, known, name);
  return boolean_field(L, index, verb, name);
}

void lnt__map_options(lua_State *L, int index, double *concurrency, bool *fail_fast) {
  static const char *const known[] = {"concurrency", "fail_fast", NULL};
  *concurrency = 0;
  *fail_fast = false;
  if (lua_isnoneornil(L, index)) return;
  if (!lua_istable(L, index)) lnt__mistake(L, "map: options must be a table such as {concurrency = 10}, got %s", luaL_typename(L, index));
  lnt__check_keys(L, index, "map", known, "concurrency and fail_fast");
  *fail_fast = boolean_field(L, index, "map", "fail_fast");
  if (!push_field(L, index, "concurrency", NULL)) return;
  double value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  if (!(value >= 1 && value <= LNT__BRANCHES_MAX) || value != floor(value))
    lnt__mistake(L, "map: concurrency must be a whole number from 1 to %d", LNT__BRANCHES_MAX);
  *concurrency = value;
  lua_pop(L, 1);
}
