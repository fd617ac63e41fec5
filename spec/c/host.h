/* host.h - a host of the library for tests, on lunation.h alone: a store on disk, a clock of its own, and three ways to live, which must
 * not make a difference: undisturbed, with every body lost after each tick, and with the runtime closed and opened again after each
 * tick. */
#ifndef LNT_SPEC_HOST_H
#define LNT_SPEC_HOST_H

#include "check.h"
#include "include/lunation.h"
#include "scratch.h"

#define HOST_SECOND_US 1000000ll
#define HOST_START_US 1700000000000000ll

typedef enum host_way { HOST_PLAIN, HOST_EVICTED, HOST_RESTARTED, HOST_WAYS } host_way;

typedef struct host host;
struct host {
  lnt_runtime *rt;
  lnt_options options; /* what host_open() does not set is the test's, before it */
  host_way way;
  const char *source;       /* loaded at each open as "test.lua" */
  void (*opened)(host *h);  /* called after each open, to register activities; may be NULL */
  void *user;               /* the test's */
  int64_t clock_us;
  lnt_error error;          /* of the last call that failed */
  char dir[SCRATCH_PATH_MAX];
  char log[4096];
};

void host_open(host *h, host_way way, const char *source);
void host_open_as(host *h, host_way way, const char *source, void (*opened)(host *h), void *user); /* a host that was nothing before */
void host_close(host *h);   /* and remove the store */

/* The block that follows, once for each way: `open` opens the host `h` in the way `way`; it is closed after the block. */
#define HOST_IN_EACH_WAY(h, open)                                                                                      \
  for (host_way way = HOST_PLAIN; way < HOST_WAYS; way++)                                                              \
    for (bool once_ = (open, true); once_; once_ = false, host_close(&h))

void host_restart(host *h); /* close and open */

bool host_tick(host *h);                     /* one tick, then what `way` asks for; false: nothing moved */
void host_settle(host *h);                   /* ticks until nothing moves */
void host_pass(host *h, int64_t seconds);    /* let time go by, then settle */

/* Start; input as JSON or NULL. */
lnt_status host_start(host *h, const char *workflow, const char *id, const char *json);
lnt_status host_raise(host *h, const char *id, const char *event, const char *json);

lnt_value host_value(const char *json); /* release with lnt_value_free(); NULL: nil */

/* What is durable, as text in a buffer that the next call overwrites: "COMPLETED 55", "FAILED {...}"; "Started ActivityScheduled#1 ..."
 * without Turns. */
const char *host_outcome(host *h, const char *id);
const char *host_status(host *h, const char *id);
const char *host_history(host *h, const char *id);

#endif
