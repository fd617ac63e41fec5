/* fault.h - named faults that tests switch on. In builds without LNT__FAULTS (release) every check is the constant false. */
#ifndef LNT__FAULT_H
#define LNT__FAULT_H

#include "base/base.h"

/* X(name, meaning) */
#define LNT__FAULT_MAP(X)                                                                                              \
  X(alloc, "the next allocation fails")                                                                                \
  X(commit_lost, "the next commit fails before it reaches the store")                                                  \
  X(commit_unacknowledged, "the next commit lands, but its caller sees a failure")                                     \
  X(commit_full, "the next commit finds no room")

typedef enum lnt__fault {
#define LNT__X(name, text) LNT__FAULT_##name,
  LNT__FAULT_MAP(LNT__X)
#undef LNT__X
      LNT__FAULT_COUNT
} lnt__fault;

#ifdef LNT__FAULTS
void lnt__fault_arm(lnt__fault fault, uint64_t skip, uint64_t times); /* after `skip` checks, fail `times` checks; times 0 disarms */
bool lnt__fault_hit(lnt__fault fault);
uint64_t lnt__fault_checks(lnt__fault fault); /* checks since it was armed: a sweep over `skip` ends when they are no more than `skip` */
#else
#define lnt__fault_hit(fault) false
#endif

#endif
