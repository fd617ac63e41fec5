/* clock.h - the clocks that only measure: none of them ever reaches the journal. Any thread. */
#ifndef LNT__CLOCK_H
#define LNT__CLOCK_H

#include <stdint.h>

uint64_t lnt__monotonic_ns(void);
uint64_t lnt__coarse_ns(void);     /* monotonic, some milliseconds coarse where the system has a cheaper clock of that kind */
uint64_t lnt__thread_cpu_ns(void); /* processor time of the calling thread; a system call */

#endif
