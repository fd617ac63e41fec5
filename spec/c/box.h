/* box.h - a sandboxed Lua state for tests: run an author's text as a workflow body would be run, and look at what came of it. Used by
 * test_sandbox*.c.
 *
 * The global wait(...) yields to the engine as a function of ctx would, and is resumed at once with what it was given; each wait is logged.
 * LNT_GC_STRESS=1 in the environment makes the collector run a whole cycle at every allocation (and the limits smaller, for speed). */
#ifndef LNT_SPEC_BOX_H
#define LNT_SPEC_BOX_H

#include <lauxlib.h>
#include <lua.h>

#include "vm/sandbox.h"

#define BOX_TEXT_MAX 16384

typedef struct box {
  lnt__guard guard;
  lua_State *L;
  lnt__sandbox_host host;
  int64_t now_us;
  lnt__rng rng;
  char log[BOX_TEXT_MAX]; /* what print and wait said, a line each */
  size_t log_size;
  bool answers; /* box_run resumes a wait; else it stops there */
} box;

typedef struct box_result {
  int status; /* of lua_resume; -1: does not compile */
  lnt__kill killed;
  uint64_t spent;
  char text[BOX_TEXT_MAX]; /* results, shown and joined by '|'; or the error */
} box_result;

bool box_stressed(void);
lnt__guard_limits box_limits(void);
void box_open(box *b);
void box_open_with(box *b, const lnt__guard_limits *limits, lua_Alloc alloc);
void box_close(box *b); /* checks that every byte was given back */

/* Run `source` as "author.lua" in a fresh environment and coroutine. The result stays valid until the next run. */
const box_result *box_run(box *b, const char *source);
const box_result *box_run_bytes(box *b, const char *source, size_t size);
const box_result *box_run_beside(box *b, const char *source); /* in the environment of the last run, as another branch of it */

/* Tables of cases. */
typedef struct box_case {
  const char *source, *text;
} box_case;
/* values: every source returns exactly this. errors: every source fails, uncaught and not killed, with this in the message.
 * kills: every source is killed so, with this in the text, and the state goes on. */
void box_check_values(const box_case *cases, size_t count);
void box_check_errors(const box_case *cases, size_t count);
void box_check_kills(const box_case *cases, size_t count, lnt__kill killed);

#endif
