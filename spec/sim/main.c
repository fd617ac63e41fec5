/* main.c - the simulation: for each seed, a random program runs undisturbed; then the same with every body lost after every commit, with
 * every commit lost, landed unacknowledged or refused, with stalls in the middle of turns, with mixed troubles, and with one crash at
 * single commits, both ways. The outcomes must be equal.
 *
 *   lnt_sim [--seeds N] [--from S]   seeds S .. S+N-1 (default 1000 from 1), after those of spec/sim/seeds.txt
 *   lnt_sim --seed S [--verbose]     one seed; with --verbose its program and outcome too
 *   lnt_sim --commands FILE          the commands that workflow w0 of a Lua file makes, and again by replay; for spec/replay_spec.lua */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define SINGLES_MAX 6 /* boundaries of a run that get a crash of their own; of longer runs, as many spread over them */

typedef struct totals { uint64_t passed, failed, runs, commits, crashes, steps, replays; } totals;

static void print_lines(const char *what, const lnt__buf *text) {
  printf("---- %s\n%.*s\n", what, (int)text->size, text->data ? (const char *)text->data : "");
}

static const char *mode_name(const sim_mode *mode, char *out, size_t size) {
  static const char *const faults[] = {"no fault", "lost", "landed, not acknowledged", "store full", "mixed faults"};
  char at[32] = "every commit";
  if (mode->at >= 0) snprintf(at, sizeof at, "commit %d", mode->at);
  snprintf(out, size, "%s at %s%s%s%s%s", faults[mode->fault], at, mode->evict ? ", bodies evicted" : "", mode->slow ? ", slow turns" : "",
           mode->stall ? ", stalls" : "", mode->paranoid ? ", paranoid" : "");
  return out;
}

static void add_totals(totals *t, const sim_result *result) {
  t->runs++;
  t->commits += result->commits;
  t->crashes += result->crashes;
  t->steps += result->steps;
  t->replays += result->replays;
}

static void complain(const sim_program *p, const sim_mode *mode, const sim_result *plain, const sim_result *other) {
  char name[100];
  printf("FAIL seed %" PRIu64 " (%s program), %s: %s\n", p->seed, p->timed ? "timed" : "untimed", mode_name(mode, name, sizeof name),
         other->broken.size ? "a rule was broken" : "the outcome differs");
  printf("  repeat with: lnt_sim --seed %" PRIu64 " --verbose\n", p->seed);
  if (other->broken.size) print_lines("broken", &other->broken);
  if (plain) print_lines("undisturbed", &plain->text);
  print_lines("disturbed", &other->text);
  fflush(stdout);
}

static bool equal(const sim_result *a, const sim_result *b) {
  return a->text.size == b->text.size && memcmp(a->text.data, b->text.data, a->text.size) == 0;
}

/* Run in one mode and compare; false: it differs, and was printed. */
static bool agrees(const sim_program *p, const sim_mode *mode, const sim_result *plain, totals *t) {
  sim_result other;
  sim_run(p, mode, &other);
  add_totals(t, &other);
  bool good = !other.broken.size && equal(plain, &other);
  if (!good) complain(p, mode, plain, &other);
  sim_result_finish(&other);
  return good;
}

static bool survives_everything(const sim_program *p, const sim_result *plain, totals *t) {
  static const sim_mode modes[] = {
      {.fault = SIM_CALM, .at = -1, .evict = true},
      {.fault = SIM_LOST, .at = -1},
      {.fault = SIM_LANDED, .at = -1},
      {.fault = SIM_FULL, .at = -1, .slow = true},
      {.fault = SIM_CALM, .at = -1, .evict = true, .slow = true},
      {.fault = SIM_LOST, .at = -1, .evict = true, .slow = true},
      {.fault = SIM_LANDED, .at = -1, .slow = true},
      {.fault = SIM_MIXED, .at = -1, .slow = true},
      {.fault = SIM_MIXED, .at = -1, .evict = true},
      {.fault = SIM_CALM, .at = -1, .stall = true},
      {.fault = SIM_MIXED, .at = -1, .slow = true, .stall = true},
      {.fault = SIM_CALM, .at = -1, .paranoid = true},
      {.fault = SIM_MIXED, .at = -1, .slow = true, .stall = true, .paranoid = true}};
  for (size_t i = 0; i < LNT__COUNT(modes); i++)
    if (!agrees(p, &modes[i], plain, t)) return false;
  int commits = (int)plain->commits, step = commits / SINGLES_MAX + 1;
  for (int at = (int)(p->seed % (uint64_t)step); at < commits; at += step) {
    sim_mode lost = {.fault = SIM_LOST, .at = at}, landed = {.fault = SIM_LANDED, .at = at};
    if (!agrees(p, &lost, plain, t) || !agrees(p, &landed, plain, t)) return false;
  }
  return true;
}

static bool run_seed(uint64_t seed, bool verbose, totals *t) {
  static const sim_mode calm = {.fault = SIM_CALM, .at = -1};
  sim_program program;
  sim_result plain;
  sim_generate(seed, &program);
  if (verbose) print_lines("program", &program.source);
  sim_run(&program, &calm, &plain);
  add_totals(t, &plain);
  if (verbose) print_lines("undisturbed", &plain.text);
  bool good = plain.broken.size == 0;
  if (!good) complain(&program, &calm, NULL, &plain);
  good = good && survives_everything(&program, &plain, t);
  sim_result_finish(&plain);
  lnt__buf_finish(&program.source);
  t->passed += good;
  t->failed += !good;
  return good;
}

/* Seeds that once failed, one a line; what follows a '#' is for people. */
static void run_known(totals *t) {
  FILE *file = fopen(LNT_SOURCE_DIR "/spec/sim/seeds.txt", "r");
  char line[300];
  while (file && fgets(line, sizeof line, file)) {
    char *end;
    uint64_t seed = strtoull(line, &end, 10);
    if (end != line) run_seed(seed, false, t);
  }
  if (file) fclose(file);
}

/* ---- Commands of a given file ---- */

static int print_commands(const char *path) {
  static const sim_mode modes[] = {{.fault = SIM_CALM, .at = -1}, {.fault = SIM_LANDED, .at = -1, .evict = true}};
  sim_program program = {.seed = 42, .timed = true, .workflows = 1};
  char *text = NULL;
  size_t size = 0;
  lnt_error err;
  int failed = 0;
  if (lnt__read_file(path, 1 << 20, &text, &size, &err)) {
    fprintf(stderr, "lnt_sim: %s\n", err.message);
    return 2;
  }
  lnt__buf_init(&program.source);
  lnt__buf_append(&program.source, text, size);
  lnt__free(text);
  for (size_t i = 0; i < LNT__COUNT(modes); i++) {
    sim_result result;
    sim_run(&program, &modes[i], &result);
    printf("%.*s", (int)result.commands.size, (const char *)result.commands.data);
    printf("replays %" PRIu64 "\n", result.replays);
    if (result.broken.size) print_lines("broken", &result.broken);
    failed |= result.broken.size != 0;
    sim_result_finish(&result);
  }
  lnt__buf_finish(&program.source);
  return failed;
}

static uint64_t number_argument(int argc, char **argv, int *i) {
  char *end = NULL;
  uint64_t number = *i + 1 < argc ? strtoull(argv[*i + 1], &end, 10) : 0;
  if (end && end != argv[*i + 1] && !*end) {
    ++*i;
    return number;
  }
  fprintf(stderr, "lnt_sim: %s needs a number\n", argv[*i]);
  exit(2);
}

int main(int argc, char **argv) {
  uint64_t seeds = 1000, from = 1;
  bool verbose = false, one = false;
  totals t = {0};
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--seeds")) seeds = number_argument(argc, argv, &i);
    else if (!strcmp(argv[i], "--from")) from = number_argument(argc, argv, &i);
    else if (!strcmp(argv[i], "--seed")) from = number_argument(argc, argv, &i), seeds = 1, one = true;
    else if (!strcmp(argv[i], "--verbose")) verbose = true;
    else if (!strcmp(argv[i], "--commands") && i + 1 < argc) return print_commands(argv[i + 1]);
    else {
      fprintf(stderr, "usage: lnt_sim [--seeds N] [--from S] [--seed S] [--verbose] [--commands FILE]\n");
      return 2;
    }
  }
  if (!one) run_known(&t);
  for (uint64_t seed = from; seed < from + seeds && t.failed < 10; seed++) run_seed(seed, verbose, &t);
  printf("%" PRIu64 " runs, %" PRIu64 " commits, %" PRIu64 " crashes, ", t.runs, t.commits, t.crashes);
  printf("%" PRIu64 " attempts begun, %" PRIu64 " replays\n", t.steps, t.replays);
  printf("%" PRIu64 " passed, %" PRIu64 " failed\n", t.passed, t.failed);
  return t.failed != 0;
}
