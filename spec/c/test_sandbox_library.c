/* test_sandbox_library.c - the sandbox's libraries against LuaJIT's own: thousands of random calls are made in both, and must agree. */
#define _GNU_SOURCE
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "box.h"
#include "check.h"

#define SOURCE_MAX 4096

/* Shows each result with its type, and zero without its sign; of an error only that there was one. */
static const char prelude[] =
  "local function show(ok, ...) if not ok then return 'error' end local t = {...} for i = 1, select('#', ...) do local v = t[i] if v == 0 "
  "then v = 0 end "
  "t[i] = type(v) == 'table' and 'table' or type(v) .. ':' .. tostring(v) end return table.concat(t, ',') end\n"
  "local out = {} local function try(f, ...) out[#out + 1] = show(pcall(f, ...)) end\n";

typedef struct pair {
  box sandbox;
  lua_State *plain;
  lnt__rng rng;
  char source[SOURCE_MAX];
  size_t size;
} pair;

static void pair_open(pair *p, uint64_t seed) {
  CHECK_SEED(seed);
  lnt__rng_seed(&p->rng, seed);
  box_open(&p->sandbox);
  p->plain = luaL_newstate();
  luaL_openlibs(p->plain);
  luaL_loadstring(p->plain, "jit.off()");
  CHECK_EQ_INT(lua_pcall(p->plain, 0, 0, 0), 0);
}

static void pair_close(pair *p) {
  lua_close(p->plain);
  box_close(&p->sandbox);
}

static int roll(pair *p, int sides) { return (int)lnt__rng_below(&p->rng, (uint64_t)sides); }

static __attribute__((format(printf, 2, 3))) void say(pair *p, const char *format, ...) {
  __builtin_va_list args;
  __builtin_va_start(args, format);
  int size = vsnprintf(p->source + p->size, SOURCE_MAX - p->size, format, args);
  __builtin_va_end(args);
  p->size += (size_t)size;
  if (p->size >= SOURCE_MAX) abort();
}

static void say_literal(pair *p, const char *text, size_t size) {
  say(p, "'");
  for (size_t i = 0; i < size; i++) {
    bool plain = text[i] >= 32 && text[i] < 127 && text[i] != '\'' && text[i] != '\\';
    if (plain) say(p, "%c", text[i]);
    else say(p, "\\%03d", (uint8_t)text[i]);
  }
  say(p, "'");
}

/* Run the source in both; true if they agree. */
static bool agree(pair *p) {
  say(p, "return table.concat(out, '; ')");
  const box_result *ours = box_run(&p->sandbox, p->source);
  int failed = luaL_loadbuffer(p->plain, p->source, p->size, "@author.lua") || lua_pcall(p->plain, 0, 1, 0);
  const char *theirs = lua_tostring(p->plain, -1);
  bool same = !failed && ours->status == 0 && theirs && strcmp(ours->text, theirs) == 0;
  if (!same) CHECK_FAIL("%s\n    sandbox: %s\n    LuaJIT:  %s", p->source + sizeof prelude - 1, ours->text, theirs ? theirs : "?");
  lua_settop(p->plain, 0);
  return same;
}

/* `make` adds calls to a source; `rounds` of them must agree. Stops after a few differences. */
static void compare(uint64_t seed, int rounds, void (*make)(pair *p)) {
  static pair p;
  int different = 0;
  pair_open(&p, seed);
  if (box_stressed()) rounds /= 20;
  for (int i = 0; i < rounds && different < 5; i++) {
    p.size = 0;
    say(&p, "%s", prelude);
    make(&p);
    different += !agree(&p);
  }
  pair_close(&p);
}

/* ---- Patterns ---- */

static size_t random_subject(pair *p, char *out) {
  static const char letters[] = "aaabbbcAB01 _.(()))[]%-\0\n\xe9";
  size_t size = (size_t)roll(p, 16);
  for (size_t i = 0; i < size; i++) out[i] = letters[roll(p, (int)sizeof letters - 1)];
  return size;
}

static size_t random_item(pair *p, char *out) {
  static const char *const items[] = {
    "a", "b", "c", "0", ".", "%a", "%d", "%s", "%w", "%p", "%u", "%l", "%x", "%c", "%z", "%A", "%W", "%S", "%g", "%.", "%%", "%(", "[abc]",
      "[^abc]", "[a-c]",
    "[%a_]", "[^%s]", "[]]", "[^]]", "[a-]", "[-a]", "[%]]", "[%w%-]", "%b()", "%b[]", "%baa", "%f[%a]", "%f[^%w]", "%f[%z]", "()", "(a)",
      "(.-)", "(%w*)", "(",
    ")", "%1", "%2", "((a)(b))", "$", "^", "-", "*", "[", "[^", "%", "%f", "%bx", "]", "%9", "%0", "[a-%z]", "[%a-z]", "\xe9",
  };
  const char *item = items[roll(p, roll(p, 3) ? 40 : (int)LNT__COUNT(items))];
  size_t size = strlen(item);
  memcpy(out, item, size);
  static const char suffixes[] = "*+-?";
  if (roll(p, 3) == 0) out[size++] = suffixes[roll(p, 4)];
  return size;
}

static size_t random_pattern(pair *p, char *out) {
  size_t size = 0;
  if (roll(p, 6) == 0) out[size++] = '^';
  for (int items = roll(p, 5); items >= 0; items--) size += random_item(p, out + size);
  if (roll(p, 8) == 0) out[size++] = '$';
  return size;
}

static void make_patterns(pair *p) {
  static const char *const replacements[] = {"'x'", "''", "'<%0>'", "'%1'", "'%1%2'", "'%%'", "'%a'", "7",
    "{a = 'A', b = false, ['0'] = 12}", "function(a, b) return b or a end",
                                             "function() end", "function() return false end", "function(...) return select('#', ...) end",
                                             "setmetatable({}, {__index = function(_, k) return k end})", "{a = {}}", "true"};
  char text[64], pattern[128];
  size_t size = random_subject(p, text), pattern_size = random_pattern(p, pattern);
  say(p, "local s, p = ");
  say_literal(p, text, size);
  say(p, ", ");
  say_literal(p, pattern, pattern_size);
  say(p, "\ntry(string.find, s, p) try(string.find, s, p, %d) try(string.find, s, p, %d, true) try(string.match, s, p, %d)\n", roll(p,
    40) - 20,
      roll(p, 40) - 20, roll(p, 40) - 20);
  say(p, "try(function() local t = {} for a, b in s:gmatch(p) do t[#t + 1] = tostring(a) .. '/' .. tostring(b) end return table.concat(t, "
    "' ') end)\n");
  for (int i = 0; i < 2; i++) say(p, "try(string.gsub, s, p, %s)\n", replacements[roll(p, (int)LNT__COUNT(replacements))]);
  say(p, "try(string.gsub, s, p, %s, %d)\n", replacements[roll(p, (int)LNT__COUNT(replacements))], roll(p, 5) - 1);
}

static void test_patterns(void) { compare(101, 20000, make_patterns); }

/* ---- Other text functions ---- */

static void make_strings(pair *p) {
  char text[64];
  size_t size = random_subject(p, text);
  say(p, "local s = ");
  say_literal(p, text, size);
  say(p, "\ntry(string.sub, s, %d, %d) try(string.sub, s, %d) try(string.byte, s, %d, %d) try(string.byte, s, %d) try(string.byte, s)\n",
    roll(p, 50) - 25,
      roll(p, 50) - 25, roll(p, 50) - 25, roll(p, 50) - 25, roll(p, 50) - 25, roll(p, 50) - 25);
  say(p, "try(string.upper, s) try(string.lower, s) try(string.reverse, s) try(string.len, s) try(string.rep, s, %d) try(string.rep, s, "
    "%d, '-')\n",
      roll(p, 6) - 1, roll(p, 6) - 1);
  say(p, "try(string.char, %d, %d) try(string.char) try(string.sub, %d.5, 2) try(string.rep, %d, 2) try(string.sub, s, '2', 3.7)\n",
    roll(p, 300) - 20,
      roll(p, 256), roll(p, 100), roll(p, 100));
  say(p, "try(tonumber, s) try(tonumber, '%d', %d) try(tostring, %d / %d) try(select, %d, 1, 2, 3) try(select, '#', 1, nil)\n", roll(p,
    100), roll(p, 40),
      roll(p, 1000), 1 + roll(p, 9), roll(p, 9) - 4);
}

static void test_strings(void) { compare(102, 5000, make_strings); }

static void random_number(pair *p, char *out) {
  static const char *const numbers[] = {"0", "1", "-1", "0.1", "1/3", "-2.5", "1e15", "1e16", "123456789", "1e100", "1e-10", "255", "2^31",
    "-2^31", "2^53", "-2^53",
                                        "2^62", "65", "1e300*1e10", "-1e300*1e10", "'12'", "'0x10'", "1e21", "5e-324", "0.5", "1.5",
                                          "99.995"};
  snprintf(out, 32, "%s", numbers[roll(p, (int)LNT__COUNT(numbers))]);
}

static bool integral(char conversion) { return strchr("diuxXco", conversion) != NULL; }

static void make_formats(pair *p) {
  static const char conversions[] = "diuxXocsqeEfgGaA%";
  static const char *const texts[] = {"'text'", "''", "'a\\nb\\0c\"d\\\\'", "nil", "true", "12", "1.5"};
  for (int i = 0; i < 6; i++) {
    char conversion = conversions[roll(p, (int)sizeof conversions - 1)], value[32];
    random_number(p, value);
    if (integral(conversion) && strstr(value, "e300")) strcpy(value, "3");
    if (integral(conversion) && strchr(value, 'e') && conversion == 'c') strcpy(value, "66");
    if (conversion == 'c') strcpy(value, "67");
    if (integral(conversion) && strcmp(value, "1e100") == 0) strcpy(value, "100");
    if (integral(conversion) && strcmp(value, "1e21") == 0) strcpy(value, "21");
    if (conversion == 's') snprintf(value, sizeof value, "%s", texts[roll(p, (int)LNT__COUNT(texts))]);
    if (conversion == 'q') snprintf(value, sizeof value, "%s", texts[roll(p, 3)]);
    say(p, "try(string.format, 'a%%");
    static const char flags[] = "-+ #0";
    for (int n = roll(p, 3); n > 0; n--) say(p, "%c", flags[roll(p, 5)]);
    if (roll(p, 2)) say(p, "%d", roll(p, 25));
    if (roll(p, 3) == 0) say(p, ".%d", roll(p, 20));
    say(p, "%cb', %s)\n", conversion, value);
  }
  say(p, "try(string.format, '%%s %%s', 1) try(string.format, '%%d', 'x') try(string.format) try(string.format, '%%5s|%%-5s|', 'ab', "
    "'cd')");
}

static void test_formats(void) { compare(103, 5000, make_formats); }

/* ---- Tables ---- */

static void make_tables(pair *p) {
  int count = roll(p, 40), kind = roll(p, 2);
  say(p, "local t = {");
  for (int i = 0; i < count; i++) {
    if (kind) say(p, "%d,", roll(p, 30));
    else say(p, "'%c%d',", 'a' + roll(p, 3), roll(p, 20));
  }
  say(p, "}\nlocal function all() return table.concat(t, ' ') end\n");
  say(p, "try(table.concat, t, ',', %d, %d) try(table.concat, t, ',', %d) try(unpack, t, %d, %d)\n", roll(p, 8) - 1, roll(p, count + 2),
    roll(p, 45), roll(p, 5) - 2,
      roll(p, 12));
  say(p, "try(table.insert, t, %d, %s) try(all) try(table.insert, t, %s) try(all) try(table.remove, t, %d) try(all) try(table.remove, t) "
    "try(all)\n",
      1 + roll(p, count + 1), kind ? "5" : "'e'", kind ? "6" : "'f'", 1 + roll(p, count + 1));
  say(p, "try(table.maxn, t) try(table.sort, t) try(all) try(table.sort, t, function(a, b) return a > b end) try(all)\n");
  say(p, "local n = 0 for k, v in pairs(t) do n = n + 1 end out[#out + 1] = n try(next, {}) try(next, {x = 1}) try(next, {9}) try(next, "
    "{9}, 1)");
}

static void test_tables(void) { compare(104, 4000, make_tables); }

/* A comparison in Lua sorts stably, and any table like a model. */
static void test_sort_is_stable(void) {
  box b;
  box_open(&b);
  const char *source =
    "for n = 0, 60 do local t = {} for i = 1, n do t[i] = {key = (i * 7919) % 5, place = i} end\n"
    "table.sort(t, function(a, b) return a.key < b.key end)\n"
    "for i = 2, n do local a, b = t[i - 1], t[i] if a.key > b.key or (a.key == b.key and a.place > b.place) then return n end end end\n"
    "local t = {} for i = 1, 20 do t[i] = i % 3 == 0 and 0/0 or 20 - i end table.sort(t) \n"
    "local ok = pcall(table.sort, {1, 2, 3}, function(a, b) return true end) return 'stable', ok, #t";
  CHECK_EQ_STR(box_run(&b, source)->text, "stable|true|20");
  CHECK_EQ_STR(box_run(&b, "local t = {3, 1, 2} pcall(table.sort, t, function() error('x') end) return unpack(t)")->text, "3|1|2");
  CHECK_EQ_STR(box_run(&b, "local t = {} for i = 1, 2000 do t[i] = 'k' .. (i * 7919) % 2003 end table.sort(t) "
                           "for i = 2, #t do if t[i] < t[i - 1] then return i end end return 'sorted'")->text, "sorted");
  box_close(&b);
}

/* ---- Numbers ---- */

static void random_bits(pair *p, char *out) {
  double values[] = {(double)roll(p, 1000), -(double)roll(p, 1000), (double)(lnt__rng_next(&p->rng) >> 32),
    -(double)(lnt__rng_next(&p->rng) >> 33), roll(p, 100) + 0.5,
                     roll(p, 100) - 50.25, 4294967296.0 * roll(p, 1000) + roll(p, 100), 2147483648.0, -2147483648.0, 4294967295.0};
  snprintf(out, 32, "%.17g", values[roll(p, (int)LNT__COUNT(values))]);
}

static void make_bits(pair *p) {
  static const char *const names[] = {"band", "bor", "bxor", "lshift", "rshift", "arshift", "rol", "ror"};
  static const char *const ones[] = {"tobit", "bnot", "bswap", "tohex"};
  char a[32], b[32], c[32];
  random_bits(p, a);
  random_bits(p, b);
  random_bits(p, c);
  for (size_t i = 0; i < LNT__COUNT(names); i++) say(p, "try(bit.%s, %s, %s)\n", names[i], a, b);
  for (size_t i = 0; i < LNT__COUNT(ones); i++) say(p, "try(bit.%s, %s)\n", ones[i], c);
  say(p, "try(bit.band, %s, %s, %s) try(bit.bor, %s) try(bit.tohex, %s, %d) try(bit.bxor, '12', 3) try(bit.bnot, {}) try(math.ldexp, %s, "
    "%d)", a, b, c, a, b,
      roll(p, 17) - 8, a, roll(p, 200) - 100);
}

static void test_bits(void) { compare(105, 4000, make_bits); }

/* ---- Dates, against the C library in UTC ---- */

static void check_date(box *b, int64_t seconds) {
  static const char letters[] = "aAbBcCdDeFgGhHIjmMnprRSstTuUVwWxXyY%";
  char ours_format[256] = "", theirs[512], source[600];
  size_t at = 0;
  for (const char *c = letters; *c; c++) at += (size_t)snprintf(ours_format + at, sizeof ours_format - at, "%%%c|", *c);
  time_t when = (time_t)seconds;
  struct tm tm;
  gmtime_r(&when, &tm);
  strftime(theirs, sizeof theirs, ours_format, &tm);
  snprintf(source, sizeof source, "local d = os.date('*t', %lld) assert(os.time(d) == %lld) return os.date('%s', %lld)",
    (long long)seconds, (long long)seconds,
           ours_format, (long long)seconds);
  CHECK_EQ_STR(box_run(b, source)->text, theirs);
}

static void test_dates(void) {
  static const int64_t edges[] = {0, -1, 86399, 86400, 951782399, 951782400, 951868800, 4107542399, -2208988800, -30610224000,
    253402300799, 1704067199, 1735689599};
  lnt__rng rng;
  box b;
  setenv("TZ", "UTC", 1);
  lnt__rng_seed(&rng, 106);
  CHECK_SEED(106);
  box_open(&b);
  for (size_t i = 0; i < LNT__COUNT(edges); i++) check_date(&b, edges[i]);
  for (int i = 0; i < (box_stressed() ? 100 : 5000); i++) check_date(&b, (int64_t)lnt__rng_below(&rng, 253402300799 +
    30610224000) - 30610224000);
  box_close(&b);
}

CHECK_MAIN(test_patterns, test_strings, test_formats, test_tables, test_sort_is_stable, test_bits, test_dates);
