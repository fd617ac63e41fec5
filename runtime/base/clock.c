/* clock.c - the clocks of clock.h. Called by the VMs and the driver, from any thread; holds no state. */
#include "base/clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t lnt__monotonic_ns(void) { return read_ns(CLOCK_MONOTONIC); }

uint64_t lnt__coarse_ns(void) {
#ifdef CLOCK_MONOTONIC_COARSE
  return read_ns(CLOCK_MONOTONIC_COARSE);
#else
  return read_ns(CLOCK_MONOTONIC);
#endif
}

uint64_t lnt__thread_cpu_ns(void) { return read_ns(CLOCK_THREAD_CPUTIME_ID); }
