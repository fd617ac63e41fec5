/* reload.h - other code for instances that run: what a reload and a migration have in common. Owner thread. */
#ifndef LNT__RELOAD_H
#define LNT__RELOAD_H

#include "driver/runtime.h"

typedef enum lnt__reload_phase {
  LNT__RELOAD_LIST,   /* find who runs on other code */
  LNT__RELOAD_TRY,    /* try each */
  LNT__RELOAD_SWITCH, /* decide, and let the code become current */
  LNT__RELOAD_MOVE,   /* move those that are to be moved */
  LNT__RELOAD_SETTLE, /* wait for the commit; who was started just before the switch is found after it */
  LNT__RELOAD_OVER
} lnt__reload_phase;

typedef enum lnt__candidate_state {
  LNT__CANDIDATE_NEW,
  LNT__CANDIDATE_BUSY, /* its last records are not durable: look again after the commit */
  LNT__CANDIDATE_COMPATIBLE,
  LNT__CANDIDATE_DIVERGES,
  LNT__CANDIDATE_UNAVAILABLE,
  LNT__CANDIDATE_MOVED,
  LNT__CANDIDATE_GONE /* finished meanwhile */
} lnt__candidate_state;

typedef struct lnt__candidate {
  uint64_t run;
  uint32_t records; /* of its history, when it was tried */
  uint16_t target;  /* which of the targets it is tried with */
  uint8_t state;
  bool moves, must; /* must: all or nothing */
  bool is_same;     /* it has the code already: only its patches are asked for */
  bool has_reached; /* what differs between the two codes */
  bool is_counted;  /* among the patches */
} lnt__candidate;

/* A name whose instances are looked at, and its policy. NULL: the filter's. */
typedef struct lnt__reload_name { char *name; lnt_reload_policy policy; } lnt__reload_name;
typedef struct lnt__target { uint8_t hash[LNT__SHA256_BYTES]; } lnt__target;

typedef struct lnt__reload {
  struct lnt__reload *next;
  lnt_runtime *rt;
  lnt__reload_phase phase;
  lnt__staged *staged; /* NULL: a migration */
  char *source;
  size_t source_size;
  lnt_reload_policy policy;
  lnt__reload_care care;
  bool dry_run, unchanged;
  bool to_current;                /* migration: the target is the current code of each workflow */
  lnt_fit_fn fn;
  lnt_reload_fn done;
  void *user;

  lnt_list_options filter; /* texts are copies */
  lnt__reload_name *names;
  size_t name_count, name_capacity, name_at;
  uint64_t cursor, seen, seen_next; /* runs up to `seen` were listed in the round before */
  uint32_t rounds;
  lnt__target *targets;
  size_t target_count, target_capacity;
  lnt__candidate *candidates;
  size_t count, capacity, at, from; /* from: the first one of this round */
  bool is_trying;     /* a trial of the candidate `at` is under way */
  size_t busy;        /* met in this pass over the candidates */
  uint32_t patience;  /* passes with busy ones */
  uint64_t commits;   /* wait until so many were made */
  bool waits, late;   /* late: the round after the switch */

  lnt_patch_info *patches; /* names are copies */
  size_t patch_count, patch_capacity;
  lnt__interfaces interfaces; /* that the new code changes */

  lnt_reload_summary summary;
  uint64_t began_ns;
  lnt__try *trier;
  lnt__trial trial; /* of that */
  lnt_error error;
} lnt__reload;

/* ---- reload_try.c: the look at instances. LNT_OK; *more: there is something left to do in this phase ---- */
lnt_status lnt__reload_list(lnt__reload *reload, uint64_t until_ns, bool *more);
lnt_status lnt__reload_try(lnt__reload *reload, uint64_t until_ns, bool *more);
lnt_status lnt__reload_move(lnt__reload *reload, uint64_t until_ns, bool *more);
bool lnt__reload_note_patch(lnt__reload *reload, lnt_value name, bool took, bool passed); /* false: out of memory */
bool lnt__reload_add(lnt__reload *reload, const lnt__row *row, lnt_reload_policy policy); /* false: out of memory */

#endif
