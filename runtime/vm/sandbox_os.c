/* sandbox_os.c - os.time and os.date of the instance's clock, in UTC, with a calendar of our own: no locale, no time zone, no libc.
 * Called by author code; owner thread of the state. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "vm/sandbox_lib.h"

#define DAY_S 86400
#define YEAR_MAX 9999
#define SECONDS_MIN (-62167219200) /* 0000-01-01 00:00:00 */
#define SECONDS_MAX 253402300799   /* 9999-12-31 23:59:59 */

typedef struct date {
  int year, month, day;      /* month and day from 1 */
  int hour, minute, second;
  int weekday, yearday;      /* from 0; Sunday is 0 */
  int64_t seconds;           /* since 1970 */
} date;

static const char *const day_names[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const month_names[] = {"January", "February", "March",     "April",   "May",      "June",
                                          "July",    "August",   "September", "October", "November", "December"};

/* ---- The calendar ---- */

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* Days since 1970-01-01 of a date in the proleptic Gregorian calendar. Years are counted from March, so that the leap day comes last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
  int64_t months = year * 12 + month - 3;
  int64_t y = floor_div(months, 12), m = months - y * 12;
  int64_t leaps = floor_div(y, 4) - floor_div(y, 100) + floor_div(y, 400);
  return y * 365 + leaps + (m * 153 + 2) / 5 + day - 1 - 719468;
}

/* The year that holds this day: a guess from the mean length, then set right. */
static int year_of(int64_t days) {
  int64_t year = 1970 + floor_div(days * 400, 146097);
  while (days_of(year + 1, 1, 1) <= days) year++;
  while (days_of(year, 1, 1) > days) year--;
  return (int)year;
}

static date date_of(int64_t seconds) {
  date d = {.seconds = seconds};
  int64_t days = floor_div(seconds, DAY_S);
  int rest = (int)(seconds - days * DAY_S);
  d.year = year_of(days);
  d.yearday = (int)(days - days_of(d.year, 1, 1));
  for (d.month = 12; days_of(d.year, d.month, 1) > days; d.month--) {}
  d.day = (int)(days - days_of(d.year, d.month, 1)) + 1;
  d.weekday = (int)((days + 4) - floor_div(days + 4, 7) * 7);
  d.hour = rest / 3600;
  d.minute = rest / 60 % 60;
  d.second = rest % 60;
  return d;
}

/* ISO 8601: a week belongs to the year that holds its Thursday. */
static void iso_week(const date *d, int *year, int *week) {
  int64_t thursday = floor_div(d->seconds, DAY_S) - (d->weekday + 6) % 7 + 3;
  *year = year_of(thursday);
  *week = (int)(thursday - days_of(*year, 1, 1)) / 7 + 1;
}

/* ---- Arguments ---- */

static int64_t now_s(lua_State *L, const char *function) {
  const lnt__sandbox_host *host = lnt__guard_of(L)->host;
  if (!host || !host->now_us)
    lnt__sandbox_error(L, "%s has no meaning while a file loads: time is that of an instance's history; call it inside the workflow",
                       function);
  return floor_div(host->now_us(host->user), 1000000);
}

static int64_t checked_seconds(lua_State *L, int arg, double seconds) {
  luaL_argcheck(L, seconds >= (double)SECONDS_MIN && seconds <= (double)SECONDS_MAX, arg, "time outside of the years 0 to 9999");
  return (int64_t)floor(seconds);
}

static int64_t field(lua_State *L, const char *name, int64_t otherwise) {
  lua_pushstring(L, name);
  lua_rawget(L, 1);
  if (lua_isnil(L, -1) && otherwise < 0) luaL_error(L, "field '%s' missing in date table", name);
  if (!lua_isnil(L, -1) && !lua_isnumber(L, -1)) luaL_error(L, "field '%s' of the date table is not a number", name);
  double value = lua_isnil(L, -1) ? (double)otherwise : lua_tonumber(L, -1);
  lua_pop(L, 1);
  if (!(fabs(value) <= 1e12)) luaL_error(L, "field '%s' of the date table is out of range", name);
  return (int64_t)value;
}

static int os_time(lua_State *L) {
  if (lua_isnoneornil(L, 1)) {
    lua_pushnumber(L, (lua_Number)now_s(L, "os.time()"));
    return 1;
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  int64_t year = field(L, "year", -1), month = field(L, "month", -1), day = field(L, "day", -1);
  int64_t seconds = field(L, "hour", 12) * 3600 + field(L, "min", 0) * 60 + field(L, "sec", 0);
  if (llabs(year) > YEAR_MAX * 2 || llabs(month) > YEAR_MAX * 12)
    luaL_error(L, "field 'year' or 'month' of the date table is out of range");
  double total = (double)days_of(year, month, day) * DAY_S + (double)seconds;
  lua_pushnumber(L, (lua_Number)checked_seconds(L, 1, total));
  return 1;
}

static int os_difftime(lua_State *L) {
  lua_pushnumber(L, luaL_checknumber(L, 1) - luaL_optnumber(L, 2, 0));
  return 1;
}

/* ---- os.date ---- */

/* X(letter, printf format, value): the letters that show one number. */
#define NUMBER_MAP(X)                                       \
  X('C', "%02d", d->year / 100)                             \
  X('d', "%02d", d->day)                                    \
  X('e', "%2d", d->day)                                     \
  X('g', "%02d", iso_year % 100)                            \
  X('G', "%d", iso_year)                                    \
  X('H', "%02d", d->hour)                                   \
  X('I', "%02d", (d->hour + 11) % 12 + 1)                   \
  X('j', "%03d", d->yearday + 1)                            \
  X('k', "%2d", d->hour)                                    \
  X('l', "%2d", (d->hour + 11) % 12 + 1)                    \
  X('m', "%02d", d->month)                                  \
  X('M', "%02d", d->minute)                                 \
  X('S', "%02d", d->second)                                 \
  X('u', "%d", (d->weekday + 6) % 7 + 1)                    \
  X('U', "%02d", (d->yearday + 7 - d->weekday) / 7)         \
  X('V', "%02d", iso_week_number)                           \
  X('w', "%d", d->weekday)                                  \
  X('W', "%02d", (d->yearday + 7 - (d->weekday + 6) % 7) / 7) \
  X('y', "%02d", d->year % 100)                             \
  X('Y', "%d", d->year)

static int number_letter(char letter, const date *d, char *out, size_t size) {
  int iso_year, iso_week_number;
  iso_week(d, &iso_year, &iso_week_number);
  switch (letter) {
#define LNT__X(name, form, value) \
  case name: return snprintf(out, size, form, value);
    NUMBER_MAP(LNT__X)
#undef LNT__X
    default: return -1;
  }
}

/* The letters that stand for others, as the C locale has them. */
static const char *composite_letter(char letter) {
  switch (letter) {
    case 'c': return "%a %b %e %H:%M:%S %Y";
    case 'x': case 'D': return "%m/%d/%y";
    case 'X': case 'T': return "%H:%M:%S";
    case 'r': return "%I:%M:%S %p";
    case 'R': return "%H:%M";
    case 'F': return "%Y-%m-%d";
    case 'h': return "%b";
    default: return NULL;
  }
}

static int text_letter(char letter, const date *d, char *out, size_t size) {
  switch (letter) {
    case 'a': return snprintf(out, size, "%.3s", day_names[d->weekday]);
    case 'A': return snprintf(out, size, "%s", day_names[d->weekday]);
    case 'b': return snprintf(out, size, "%.3s", month_names[d->month - 1]);
    case 'B': return snprintf(out, size, "%s", month_names[d->month - 1]);
    case 'n': return snprintf(out, size, "\n");
    case 'p': return snprintf(out, size, "%s", d->hour < 12 ? "AM" : "PM");
    case 'P': return snprintf(out, size, "%s", d->hour < 12 ? "am" : "pm");
    case 's': return snprintf(out, size, "%lld", (long long)d->seconds);
    case 't': return snprintf(out, size, "\t");
    case 'z': return snprintf(out, size, "+0000");
    case 'Z': return snprintf(out, size, "UTC");
    case '%': return snprintf(out, size, "%%");
    default: return number_letter(letter, d, out, size);
  }
}

static void add_date(lnt__text *text, const char *format, size_t size, const date *d) {
  const char *end = format + size;
  for (const char *at = format; at < end; at++) {
    if (*at != '%') {
      lnt__text_add(text, at, 1);
      continue;
    }
    char letter = ++at < end ? *at : 0, out[32];
    const char *composite = composite_letter(letter);
    if (composite) {
      add_date(text, composite, strlen(composite), d);
      continue;
    }
    int length = letter ? text_letter(letter, d, out, sizeof out) : -1;
    if (length < 0) luaL_argerror(text->L, 1, lua_pushfstring(text->L, "'%%%c' is not a date format", letter ? letter : ' '));
    lnt__text_add(text, out, (size_t)length);
  }
}

static int push_date_table(lua_State *L, const date *d) {
  const struct { const char *name; int value; } fields[] = {
    {"year", d->year}, {"month", d->month}, {"day", d->day}, {"hour", d->hour}, {"min", d->minute}, {"sec", d->second},
    {"wday", d->weekday + 1}, {"yday", d->yearday + 1},
  };
  lua_createtable(L, 0, (int)LNT__COUNT(fields) + 1);
  for (size_t i = 0; i < LNT__COUNT(fields); i++) {
    lua_pushinteger(L, fields[i].value);
    lua_setfield(L, -2, fields[i].name);
  }
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "isdst");
  return 1;
}

static int os_date(lua_State *L) {
  size_t size;
  const char *format = luaL_optlstring(L, 1, "%c", &size);
  double seconds = lua_isnoneornil(L, 2) ? (double)now_s(L, "os.date()") : luaL_checknumber(L, 2);
  date d = date_of(checked_seconds(L, 2, seconds));
  if (*format == '!') format++, size--;
  if (strcmp(format, "*t") == 0) return push_date_table(L, &d);
  lnt__charge(L, lnt__guard_of(L), size * 16 + 32);
  lnt__text text;
  lnt__text_begin(&text, L, "os.date");
  add_date(&text, format, size, &d);
  lnt__text_push(&text);
  return 1;
}

void lnt__sandbox_os_functions(lua_State *L) {
  static const luaL_Reg functions[] = {{"time", os_time}, {"date", os_date}, {"difftime", os_difftime}, {NULL, NULL}};
  luaL_register(L, NULL, functions);
}
