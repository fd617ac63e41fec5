/* story.h - workflows in Lua on the real engine and the memory store, in virtual time. Used by the tests of the language.
 *
 * A story is told three times: with its body kept, with the body dropped after every commit, and with the process lost at every commit; all
 * three must end alike. Activities are played by the harness: "echo" gives its input back, "fail" fails, "flaky" fails at first, "never"
 * does not answer. */
#ifndef LNT_SPEC_STORY_H
#define LNT_SPEC_STORY_H

#include "check.h"
#include "vm/vm.h"

typedef enum mode { KEEP, EVICT, CRASH, MODES } mode;

typedef struct bundle { uint8_t hash[LNT__SHA256_BYTES]; void *data; size_t size; } bundle;

typedef struct world {
  mode mode;
  lnt__store *store;
  lnt__engine *engine;
  lnt__wvm *wvm;
  lnt_limits limits;
  const char *module_path;
  int64_t now_us;
  lnt_token queue[4096];
  size_t head, tail;
  bundle bundles[16];
  size_t bundle_count;
  int flaky; /* attempts of "flaky" that fail */
  int raised;
  int64_t cancel_us; /* how long after its beginning play() cancels the instance, twice; 0: not at all */
  char log[2000];
} world;

void world_init(world *w, mode how);
void world_finish(world *w);
void open_engine(world *w);
void close_engine(world *w);

lnt_status load(world *w, const char *file, const char *source, lnt_error *err);
void start(world *w, const char *workflow, const char *id, const char *json);
void cancel(world *w, const char *id);
void raise_event(world *w, const char *id, const char *name, int64_t number);
void answer_queue(world *w); /* play what was dispatched */
bool tick(world *w);   /* one pass and its commit; false: nothing moved */
void settle(world *w); /* until nothing moves by itself */
/* Run to the end: time passes when nothing moves, and every two seconds the event "go" arrives, with a number that grows. */
void play(world *w, const char *id);

lnt_run_status status_of(world *w, const char *id); /* PENDING: there is none */
/* The output of a completed run, or the failure of another one, as JSON. */
void result_of(world *w, const char *id, char *out, size_t size);

/* Tell workflow "main" of `source` once, with id "one": its result and its log. */
void run_mode(mode how, const char *source, const char *input, char *out, size_t size, char *log, size_t log_size);
void story(const char *source, const char *input, const char *wanted); /* it ends with `wanted` (JSON) in every mode */
void story_fails(const char *source, const char *part);                /* it fails, and the failure's JSON contains `part` */
void story_canceled(const char *source, lnt_run_status status, const char *wanted); /* canceled after a second, it ends so */

#define MAIN(body) "workflow('main', function(ctx, input) " body " end)"

#endif
