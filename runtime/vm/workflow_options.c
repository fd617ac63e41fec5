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

int64_t lnt__duration_us(lua_State *L, int index, const char *verb, const char *field) {
  const char *colon = field ? ": " : "", *name = field ? field : "", *argument = field ? field : "duration";
  double seconds = -1;
  int type = lua_type(L, index);
  if (type == LUA_TNUMBER) seconds = lua_tonumber(L, index);
  else if (type == LUA_TSTRING) seconds = lnt__duration_seconds(lua_tostring(L, index));
  else lnt__invalid(L, argument, "%s%s%s: a duration expected, got %s; " DURATION_HELP, verb, colon, name, luaL_typename(L, index));
  if (seconds >= 0 && seconds <= SECONDS_MAX) return (int64_t)floor(seconds * 1e6 + 0.5);
  char text[60];
  if (type == LUA_TSTRING) {
    size_t size;
    const char *given = lua_tolstring(L, index, &size);
    lnt__invalid(L, argument, "%s%s%s: \"%.*s\" is not a duration; " DURATION_HELP, verb, colon, name, size > 40 ? 40 : (int)size, given);
  }
  lnt__number_text(seconds, text);
  lnt__invalid(L, argument, "%s%s%s: %s is not a duration (0 to 1000 years); " DURATION_HELP, verb, colon, name, text);
}

/* ---- Tables of options ---- */

/* Push field `name` of the table at `index`; false: it is not there (nothing pushed). */
static bool push_field(lua_State *L, int index, const char *name) {
  lua_pushstring(L, name);
  lua_rawget(L, index);
  if (!lua_isnil(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

/* The same for a field of the retry policy that has two names. */
static bool push_either(lua_State *L, int index, const char *verb, const char *name, const char *other) {
  char field[60];
  bool is_there = push_field(L, index, name);
  if (!push_field(L, index, other)) return is_there;
  if (!is_there) return true;
  snprintf(field, sizeof field, "retry.%s", other);
  lnt__invalid(L, field, "%s: retry.%s and %s are the same thing; give one of them", verb, name, field);
}

static double number_field(lua_State *L, const char *verb, const char *what, double min, double max, double otherwise) {
  if (lua_type(L, -1) != LUA_TNUMBER) lnt__invalid(L, what, "%s: %s must be a number, got %s", verb, what, luaL_typename(L, -1));
  double value = lua_tonumber(L, -1);
  if (!(value >= min && value <= max)) {
    char text[LNT__NUMBER_TEXT_BYTES];
    lnt__number_text(value, text);
    lnt__invalid(L, what, "%s: %s cannot be %s; the default is %g", verb, what, text, otherwise);
  }
  return value;
}

/* A duration in field `name` (or `other`) of the table at `index`, in microseconds; 0: it is not there. Zero is refused: `zero` says what
 * it would mean. */
static int64_t time_field(lua_State *L, int index, const char *verb, const char *prefix, const char *name, const char *zero) {
  char field[60];
  if (!push_field(L, index, name)) return 0;
  snprintf(field, sizeof field, "%s%s", prefix, name);
  int64_t value_us = lnt__duration_us(L, -1, verb, field);
  if (value_us == 0) lnt__invalid(L, field, "%s: %s of 0 %s; leave it out to have none", verb, field, zero);
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
  static const char field[] = "retry.non_retryable";
  int list = lua_gettop(L);
  if (!lua_istable(L, list))
    lnt__invalid(L, field, "%s: retry.non_retryable must be a list of error types, got %s", verb, luaL_typename(L, list));
  size_t count = lnt__check_list(L, list, verb, field);
  if (count > TYPES_MAX) lnt__exceeded(L, field, "%s: retry.non_retryable has more than %d types", verb, TYPES_MAX);
  lnt__cbor_cstring(out, "non_retryable");
  lnt__cbor_array(out, count);
  for (size_t i = 1; i <= count; i++) {
    size_t size;
    lua_rawgeti(L, list, (int)i);
    if (lua_type(L, -1) != LUA_TSTRING)
      lnt__invalid(L, field, "%s: retry.non_retryable[%zu] must be a string (an error type), got %s", verb, i, luaL_typename(L, -1));
    const char *type = lua_tolstring(L, -1, &size);
    if (size > LNT_NAME_BYTES_MAX)
      lnt__invalid(L, field, "%s: retry.non_retryable[%zu] is longer than %d bytes", verb, i, LNT_NAME_BYTES_MAX);
    lnt__cbor_string(out, type, size);
    lua_pop(L, 1);
  }
}

static int64_t attempts_field(lua_State *L, int index, const char *verb) {
  if (!push_field(L, index, "max_attempts")) return ATTEMPTS_DEFAULT;
  double attempts = number_field(L, verb, "retry.max_attempts", 1, ATTEMPTS_MAX, ATTEMPTS_DEFAULT);
  if (attempts != floor(attempts))
    lnt__invalid(L, "retry.max_attempts", "%s: retry.max_attempts must be a whole number, the first attempt included", verb);
  return (int64_t)attempts;
}

void lnt__retry_options(lua_State *L, int index, const char *verb, lnt__buf *out) {
  static const char *const known[] = {"max_attempts", "first_interval", "interval", "backoff", "backoff_coefficient", "max_interval",
                                      "timeout", "non_retryable", NULL};
  lnt__cbor_map map;
  size_t count = 3;
  int top = lua_gettop(L);
  if (!lua_istable(L, index))
    lnt__invalid(L, "retry", "%s: retry must be a table such as {max_attempts = 3}, got %s", verb, luaL_typename(L, index));
  lnt__check_keys(L, index, verb, "retry.", known);
  lnt__cbor_map_begin(out, &map);
  write_int(out, "max_attempts", attempts_field(L, index, verb));
  bool has_first = push_either(L, index, verb, "first_interval", "interval");
  int64_t first_us = has_first ? lnt__duration_us(L, -1, verb, "retry.first_interval") : FIRST_INTERVAL_US;
  write_int(out, "first_interval_us", first_us);
  bool has_backoff = push_either(L, index, verb, "backoff", "backoff_coefficient");
  lnt__cbor_cstring(out, "backoff_coefficient");
  lnt__cbor_number(out, has_backoff ? number_field(L, verb, "retry.backoff", 1, 1000, BACKOFF_DEFAULT) : BACKOFF_DEFAULT);
  int64_t max_us = time_field(L, index, verb, "retry.", "max_interval", "would let no attempt wait; for that set first_interval = 0");
  if (max_us && max_us < first_us)
    lnt__invalid(L, "retry.max_interval", "%s: retry.max_interval is shorter than retry.first_interval%s; make it at least as long", verb,
                 has_first ? "" : " (1s unless you set it)");
  count += write_if(out, "max_interval_us", max_us);
  count += write_if(out, "timeout_us", time_field(L, index, verb, "retry.", "timeout", "would allow no retry"));
  if (push_field(L, index, "non_retryable")) {
    write_types(L, verb, out);
    count++;
  }
  lnt__cbor_map_end(out, &map, count, false);
  lua_settop(L, top);
}

/* ---- Activities ---- */

static void refuse_longer(lua_State *L, const char *name, int64_t us, const char *bound_name, int64_t bound_us) {
  if (us && bound_us && us > bound_us)
    lnt__invalid(L, name, "call_activity: %s is longer than %s, so it could never strike; leave it out or make it shorter", name,
                bound_name);
}

static size_t write_timeouts(lua_State *L, int index, lnt__buf *out) {
  static const char zero[] = "would never let the activity run";
  int64_t short_us = time_field(L, index, "call_activity", "", "timeout", zero);
  int64_t run_us = time_field(L, index, "call_activity", "", "start_to_close", zero);
  int64_t start_us = time_field(L, index, "call_activity", "", "schedule_to_start", zero);
  int64_t all_us = time_field(L, index, "call_activity", "", "schedule_to_close", zero);
  int64_t beat_us = time_field(L, index, "call_activity", "", "heartbeat", "would end every attempt at once");
  const char *run_name = short_us ? "timeout" : "start_to_close";
  if (short_us && run_us)
    lnt__invalid(L, "start_to_close", "call_activity: timeout and start_to_close are the same thing; give one of them");
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
  lnt__check_options(L, index, "call_activity", "timeout = \"30s\"");
  lnt__check_keys(L, index, "call_activity", "", known);
  lnt__cbor_map_begin(out, &map);
  if (push_field(L, index, "retry")) {
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
  if (!push_field(L, index, "id")) return id;
  id = lnt__id_argument(L, lua_gettop(L), verb, "id");
  lua_pop(L, 1); /* the table holds it */
  return id;
}

lnt_value lnt__id_option(lua_State *L, int index, const char *verb) {
  static const char *const known[] = {"id", NULL};
  if (lua_isnoneornil(L, index)) return LNT_VALUE_NIL;
  lnt__check_options(L, index, verb, "id = \"order-17\"");
  lnt__check_keys(L, index, verb, "", known);
  return id_field(L, index, verb);
}

/* The default is not recorded. */
static size_t write_on_parent_close(lua_State *L, int index, lnt__buf *out) {
  static const char *const policies[] = {"terminate", "cancel", "abandon"};
  if (!push_field(L, index, "on_parent_close")) return 0;
  const char *given = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
  size_t at = 0;
  while (at < LNT__COUNT(policies) && strcmp(given, policies[at]) != 0) at++;
  if (at == LNT__COUNT(policies))
    lnt__invalid(L, "on_parent_close",
                "call_child_workflow: on_parent_close must be \"terminate\" (the default), \"cancel\" or \"abandon\"");
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
  lnt__check_options(L, index, verb, "id = \"order-17\"");
  lnt__check_keys(L, index, verb, "", known);
  options->id = id_field(L, index, verb);
  options->timeout_us = time_field(L, index, verb, "", "timeout", "would never let the child run");
  lnt__cbor_map_begin(out, &map);
  if (push_field(L, index, "retry")) {
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

bool lnt__timeout_option(lua_State *L, int index, const char *verb, const char *example, int64_t *timeout_us) {
  static const char *const known[] = {"timeout", NULL};
  if (lua_isnoneornil(L, index)) return false;
  lnt__check_options(L, index, verb, example);
  lnt__check_keys(L, index, verb, "", known);
  if (!push_field(L, index, "timeout")) return false;
  *timeout_us = lnt__duration_us(L, -1, verb, "timeout");
  lua_pop(L, 1);
  return true;
}

static bool boolean_field(lua_State *L, int index, const char *verb, const char *name) {
  if (!push_field(L, index, name)) return false;
  if (!lua_isboolean(L, -1)) lnt__invalid(L, name, "%s: %s must be true or false, got %s", verb, name, luaL_typename(L, -1));
  bool value = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

bool lnt__carry_option(lua_State *L, int index) {
  static const char *const known[] = {"carry_events", NULL};
  if (lua_isnoneornil(L, index)) return true;
  lnt__check_options(L, index, "continue_as_new", "carry_events = false");
  lnt__check_keys(L, index, "continue_as_new", "", known);
  if (!push_field(L, index, "carry_events")) return true;
  lua_pop(L, 1);
  return boolean_field(L, index, "continue_as_new", "carry_events");
}

bool lnt__flag_option(lua_State *L, int index, const char *verb, const char *name) {
  const char *const known[] = {name, NULL};
  if (lua_isnoneornil(L, index)) return false;
  char example[60];
  snprintf(example, sizeof example, "%s = true", name);
  lnt__check_options(L, index, verb, example);
  lnt__check_keys(L, index, verb, "", known);
  return boolean_field(L, index, verb, name);
}

void lnt__map_options(lua_State *L, int index, double *concurrency, bool *fail_fast) {
  static const char *const known[] = {"concurrency", "fail_fast", NULL};
  *concurrency = 0;
  *fail_fast = false;
  if (lua_isnoneornil(L, index)) return;
  lnt__check_options(L, index, "map", "concurrency = 10");
  lnt__check_keys(L, index, "map", "", known);
  *fail_fast = boolean_field(L, index, "map", "fail_fast");
  if (!push_field(L, index, "concurrency")) return;
  double value = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
  if (!(value >= 1 && value <= LNT__BRANCHES_MAX) || value != floor(value))
    lnt__invalid(L, "concurrency", "map: concurrency must be a whole number from 1 to %d", LNT__BRANCHES_MAX);
  *concurrency = value;
  lua_pop(L, 1);
}
