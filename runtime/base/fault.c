/* fault.c - the switches of fault.h. Armed by tests, asked by base and store from any thread; absent from release builds. */
#include "base/fault.h"

#ifdef LNT__FAULTS
#include <stdatomic.h>

static struct {
  _Atomic uint64_t from, to; /* checks from..to-1 since arming fail; to 0: not armed */
  _Atomic uint64_t checks;
} faults[LNT__FAULT_COUNT];

void lnt__fault_arm(lnt__fault fault, uint64_t skip, uint64_t times) {
  atomic_store(&faults[fault].to, 0);
  atomic_store(&faults[fault].checks, 0);
  atomic_store(&faults[fault].from, skip);
  atomic_store(&faults[fault].to, times > UINT64_MAX - skip ? UINT64_MAX : times ? skip + times : 0);
}

bool lnt__fault_hit(lnt__fault fault) {
  uint64_t to = atomic_load_explicit(&faults[fault].to, memory_order_relaxed);
  if (to == 0) return false;
  uint64_t check = atomic_fetch_add(&faults[fault].checks, 1);
  return check >= atomic_load(&faults[fault].from) && check < to;
}

uint64_t lnt__fault_checks(lnt__fault fault) { return atomic_load(&faults[fault].checks); }
#endif
