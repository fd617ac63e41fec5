/* sim.h - what the files of the simulation share. generate.c writes random workflows as Lua text, world.c runs them on the shipped engine
 * and VM in virtual time with a store that fails on command, outcome.c tells what came of a run, main.c compares runs. One thread. */
#ifndef LNT_SPEC_SIM_H
#define LNT_SPEC_SIM_H

#include "base/rng.h"
#include "vm/vm.h"

#define SIM_INSTANCES_MAX 3
#define SIM_WAITS_MAX 128
#define SIM_UPDATES_MAX 32
#define SIM_NAME_BYTES 24

/* ---- Programs ---- */

typedef struct sim_wait { int workflow; char name[SIM_NAME_BYTES]; int count; } sim_wait; /* an event that the workflow may wait for */

/* TIMED programs race: timers against events against activities, when_any, the clock. Their world answers at times that no crash moves, so
 * the histories must be equal to the microsecond. UNTIMED programs have results that no order of answers changes; their world is late and
 * lazy after a crash, attempts hang and time out, and the histories must be equal as sets. */
typedef struct sim_program {
  uint64_t seed;
  lnt__buf source;
  bool timed;
  bool queried; /* each workflow answers the query "size" */
  int workflows;
  sim_wait waits[SIM_WAITS_MAX];
  int wait_count;
  sim_wait updates[SIM_UPDATES_MAX]; /* that the workflow waits for */
  int update_count;
} sim_program;

void sim_generate(uint64_t seed, sim_program *program); /* workflows "w0", "w1" ...; source is the caller's to finish */

/* A number that depends on nothing but its arguments. */
static inline uint64_t sim_mix(uint64_t a, uint64_t b, uint64_t c) {
  lnt__rng rng;
  lnt__rng_seed(&rng, a * 0x9e3779b97f4a7c15u ^ b * 0xc2b2ae3d27d4eb4fu ^ c * 0x165667b19e3779f9u);
  return lnt__rng_next(&rng);
}

/* ---- Runs ---- */

typedef enum sim_fault_kind { SIM_CALM, SIM_LOST, SIM_LANDED, SIM_FULL, SIM_MIXED } sim_fault_kind;

typedef struct sim_mode {
  sim_fault_kind fault;
  int at;     /* the commit it happens to, from 0; -1: every one */
  bool evict; /* every body after every commit */
  bool slow;  /* one turn a tick: events are committed before anybody looks at them */
  bool stall; /* now and then a body becomes unavailable in the middle of a turn, and is tried again */
  bool paranoid; /* each turn is rehearsed first */
} sim_mode;

typedef struct sim_result {
  lnt__buf text;   /* what came of it; equal for equal outcomes */
  lnt__buf commands; /* each command with its input in hex */
  lnt__buf broken; /* rules that were broken on the way; empty: none */
  uint64_t commits, crashes, steps, replays;
} sim_result;

void sim_run(const sim_program *program, const sim_mode *mode, sim_result *result);
void sim_result_finish(sim_result *result);

/* outcome.c: append every instance's status, failure and history, by id and generation. */
void sim_outcome(const sim_program *program, lnt__store *store, lnt__buf *out);
void sim_commands(lnt__store *store, lnt__buf *out); /* of each run: its commands, with inputs in hex, and its output */

#endif
