/* check.h - the checks of the C tests. Included by every spec/c/test_*.c and by the helpers they share.
 *
 * A failing check prints one line and lets the test go on; REQUIRE() also leaves the function. The counters are atomic, so
 * threads of a test may check too. A test file ends with CHECK_MAIN(test_a, test_b, ...), which defines main(): it runs
 * the functions in order, prints "N passed, N failed" (counting functions) and exits with 1 if any failed.
 *
 *   ./test_buf                 all of them
 *   ./test_buf varint          those whose name contains "varint"
 *
 * A randomised test says CHECK_SEED(seed) first; every failure then prints the seed that repeats it. */
#ifndef LNT_SPEC_CHECK_H
#define LNT_SPEC_CHECK_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct check__state {
  unsigned long long failures; /* failing checks so far */
  uint64_t seed;
  bool has_seed;
  const char *test; /* the function that runs */
} check__state;

/* Weak, so that every file of a test program may hold it and all share one. */
__attribute__((weak)) check__state check__now;

#define CHECK_SEED(value) (check__now.seed = (value), check__now.has_seed = true)

__attribute__((unused, format(printf, 3, 4))) static bool check__report(const char *file, int line, const char *format, ...) {
  char text[1500];
  __builtin_va_list args;
  __builtin_va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  __builtin_va_end(args);
  __atomic_add_fetch(&check__now.failures, 1, __ATOMIC_RELAXED);
  char seed[48] = "";
  if (check__now.has_seed) snprintf(seed, sizeof seed, " (seed %" PRIu64 ")", check__now.seed);
  fprintf(stdout, "FAIL %s:%d: %s: %s%s\n", file, line, check__now.test ? check__now.test : "?", text, seed);
  fflush(stdout);
  return false;
}

__attribute__((unused)) static bool check__that(const char *file, int line, const char *what, bool holds) {
  return holds || check__report(file, line, "%s", what);
}

__attribute__((unused)) static bool check__int(const char *file, int line, const char *what_a, long long a, const char *what_b,
                                               long long b) {
  return a == b || check__report(file, line, "%s is %lld, but %s is %lld", what_a, a, what_b, b);
}

__attribute__((unused)) static bool check__uint(const char *file, int line, const char *what_a, unsigned long long a, const char *what_b,
                                                unsigned long long b) {
  return a == b || check__report(file, line, "%s is %llu, but %s is %llu", what_a, a, what_b, b);
}

__attribute__((unused)) static bool check__str(const char *file, int line, const char *what_a, const char *a, const char *what_b,
                                               const char *b) {
  if (a == b || (a && b && strcmp(a, b) == 0)) return true;
  return check__report(file, line, "%s is %s%s%s, but %s is %s%s%s", what_a, a ? "\"" : "", a ? a : "NULL", a ? "\"" : "", what_b,
                       b ? "\"" : "", b ? b : "NULL", b ? "\"" : "");
}

__attribute__((unused)) static bool check__has(const char *file, int line, const char *what, const char *text, const char *part) {
  if (text && strstr(text, part)) return true;
  return check__report(file, line, "%s is \"%s\", which does not contain \"%s\"", what, text ? text : "NULL", part);
}

__attribute__((unused)) static bool check__mem(const char *file, int line, const char *what, const void *a, const void *b,
                                               size_t size) {
  if (size == 0) return true;
  if (!a || !b) return a == b || check__report(file, line, "%s: one side is NULL", what);
  const uint8_t *left = (const uint8_t *)a, *right = (const uint8_t *)b;
  for (size_t i = 0; i < size; i++) {
    if (left[i] == right[i]) continue;
    return check__report(file, line, "%s differs at byte %zu of %zu: %02x, but %02x", what, i, size, left[i], right[i]);
  }
  return true;
}

/* Each answers whether the check held. */
#define CHECK(condition) check__that(__FILE__, __LINE__, #condition, (condition))
#define CHECK_EQ_INT(a, b) check__int(__FILE__, __LINE__, #a, (long long)(a), #b, (long long)(b))
#define CHECK_EQ_UINT(a, b) check__uint(__FILE__, __LINE__, #a, (unsigned long long)(a), #b, (unsigned long long)(b))
#define CHECK_EQ_STR(a, b) check__str(__FILE__, __LINE__, #a, (a), #b, (b))
#define CHECK_EQ_MEM(a, b, size) check__mem(__FILE__, __LINE__, #a " against " #b, (a), (b), (size))
#define CHECK_HAS(text, part) check__has(__FILE__, __LINE__, #text, (text), (part))
#define CHECK_FAIL(...) check__report(__FILE__, __LINE__, __VA_ARGS__)

/* A call that must answer this lnt_status; the message names both (needs lunation.h and the library). */
#define CHECK_STATUS(call, wanted) \
  check__str(__FILE__, __LINE__, #call, lnt_status_name(call), "the wanted status", lnt_status_name(wanted))

/* As CHECK, and leave the function (which returns void) when it fails. */
#define REQUIRE(condition)       \
  do {                           \
    if (!CHECK(condition)) return; \
  } while (0)

typedef void (*check__fn)(void);

/* Copy the next name of the list "test_a, test_b" into `name`; answers where to go on. */
__attribute__((unused)) static const char *check__next_name(const char *names, char *name, size_t size) {
  size_t length = 0;
  while (*names == ' ' || *names == ',') names++;
  while (*names && *names != ',' && *names != ' ') {
    if (length + 1 < size) name[length++] = *names;
    names++;
  }
  name[length] = 0;
  return names;
}

__attribute__((unused)) static int check__run(const check__fn *tests, size_t count, const char *names, const char *only) {
  unsigned passed = 0, failed = 0;
  for (size_t i = 0; i < count; i++) {
    char name[128];
    names = check__next_name(names, name, sizeof name);
    if (only && !strstr(name, only)) continue;
    unsigned long long before = check__now.failures;
    check__now.test = name;
    check__now.has_seed = false;
    tests[i]();
    check__now.test = NULL;
    if (check__now.failures == before) passed++;
    else failed++;
  }
  if (passed + failed == 0) failed += printf("FAIL no test has a name with \"%s\"\n", only) > 0;
  printf("%u passed, %u failed\n", passed, failed);
  return failed != 0;
}

#define CHECK_MAIN(...)                                                                                          \
  int main(int argc, char **argv) {                                                                              \
    static const check__fn check__tests[] = {__VA_ARGS__};                                                       \
    return check__run(check__tests, sizeof check__tests / sizeof check__tests[0], #__VA_ARGS__,                  \
                      argc > 1 ? argv[1] : NULL);                                                                \
  }                                                                                                              \
  extern check__state check__now

#endif
