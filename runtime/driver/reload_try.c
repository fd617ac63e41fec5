/* reload_try.c - the look at instances before code changes under them: who runs on other code, how each fares with the new one, and the
 * moves. Called by reload.c in slices; owner thread. */
#include <stdio.h>

#include "driver/reload.h"
#include "journal/query.h"

enum { LIVE = 1u << LNT_RUN_RUNNING | 1u << LNT_RUN_PENDING | 1u << LNT_RUN_SUSPENDED | 1u << LNT_RUN_STALLED };

enum { MOVES_MAX = 200 }; /* of one slice: each is in its batch */

static bool is_late(uint64_t until_ns) { return until_ns && lnt__monotonic_ns() >= until_ns; }

static lnt_status no_memory(lnt__reload *reload) {
  return lnt__fail(&reload->error, LNT_ENOMEM, "out of memory while other code was tried");
}

/* ---- Who runs on other code ---- */

static const uint8_t *wanted_hash(const lnt__reload *reload, const lnt__row *row) {
  char workflow[LNT_NAME_BYTES_MAX + 1];
  if (!reload->to_current) return reload->targets[0].hash;
  snprintf(workflow, sizeof workflow, "%.*s", (int)row->workflow.size, (const char *)row->workflow.data);
  return lnt__wvm_current(reload->rt->wvm, workflow);
}

/* The place of a hash among the targets; SIZE_MAX: out of memory, or too many. */
static size_t target_of(lnt__reload *reload, const uint8_t *hash) {
  for (size_t i = 0; i < reload->target_count; i++)
    if (memcmp(reload->targets[i].hash, hash, LNT__SHA256_BYTES) == 0) return i;
  if (reload->target_count > UINT16_MAX ||
      !lnt__grow((void **)&reload->targets, &reload->target_capacity, reload->target_count + 1, sizeof *reload->targets))
    return SIZE_MAX;
  memcpy(reload->targets[reload->target_count].hash, hash, LNT__SHA256_BYTES);
  return reload->target_count++;
}

bool lnt__reload_add(lnt__reload *reload, const lnt__row *row, lnt_reload_policy policy) {
  const uint8_t *hash = wanted_hash(reload, row);
  bool is_same = hash && memcmp(hash, row->hash, LNT__SHA256_BYTES) == 0;
  if (!hash || row->closed_us || (is_same && !reload->patch_count)) return true;
  size_t target = target_of(reload, hash);
  if (target == SIZE_MAX ||
      !lnt__grow((void **)&reload->candidates, &reload->capacity, reload->count + 1, sizeof *reload->candidates))
    return false;
  bool moves = !is_same && (row->status == LNT_RUN_STALLED || policy != LNT_RELOAD_PIN);
  bool must = !is_same && policy == LNT_RELOAD_ALL_OR_NOTHING;
  reload->candidates[reload->count++] =
      (lnt__candidate){.run = row->run, .target = (uint16_t)target, .moves = moves, .must = must, .is_same = is_same};
  return true;
}

static int take_run(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  if (key.size == LNT__KEY_RUN_BYTES) *(uint64_t *)user = lnt__get_be64(key.data);
  return 1;
}

/* Before a round: what is started from now on is for the next one. */
static lnt_status begin_round(lnt__reload *reload) {
  lnt__store *store = reload->rt->store;
  reload->cursor = UINT64_MAX;
  reload->seen_next = 0;
  return store->vtable->scan(store, LNT__TABLE_INSTANCE, (lnt__slice){0}, (lnt__slice){0}, true, take_run, &reload->seen_next,
                             &reload->error);
}

/* Instances of one name, below the cursor. *more: the time is up. */
static lnt_status list_name(lnt__reload *reload, uint64_t until_ns, bool *more) {
  lnt__query q;
  const lnt__reload_name *name = &reload->names[reload->name_at];
  lnt_list_options filter = reload->filter;
  filter.status_mask = filter.status_mask ? filter.status_mask & LIVE : LIVE;
  if (reload->care != LNT__RELOAD_ALWAYS && reload->unchanged && name->policy == LNT_RELOAD_PIN) filter.status_mask = 1u << LNT_RUN_STALLED;
  if (name->name) filter.workflow = name->name;
  lnt_status status = filter.status_mask ? lnt__query_init(&q, reload->rt->store, &filter, &reload->error) : LNT_OK;
  if (!filter.status_mask) return *more = false, LNT_OK;
  *more = !status;
  while (!status && *more) {
    lnt__row row;
    void *memory;
    status = lnt__query_below(&q, &reload->cursor, &row, &memory);
    if (status) break;
    *more = memory ? row.run > reload->seen : reload->cursor != 0;
    if (memory && *more && !lnt__reload_add(reload, &row, name->policy)) status = no_memory(reload);
    lnt__free(memory);
    if (!memory || is_late(until_ns)) break;
  }
  lnt__query_finish(&q);
  return status;
}

lnt_status lnt__reload_list(lnt__reload *reload, uint64_t until_ns, bool *more) {
  lnt_status status = LNT_OK;
  if (reload->name_at == 0 && reload->cursor == 0) status = begin_round(reload);
  for (*more = true; !status && *more && reload->name_at < reload->name_count;) {
    bool name_left;
    status = list_name(reload, until_ns, &name_left);
    if (!name_left) {
      reload->name_at++;
      reload->cursor = UINT64_MAX;
    }
    *more = !is_late(until_ns);
  }
  *more = reload->name_at < reload->name_count;
  if (*more || status) return status;
  reload->seen = reload->seen_next;
  reload->name_at = 0;
  reload->cursor = 0;
  return LNT_OK;
}

/* ---- How each fares ---- */

static void tell(lnt__reload *reload, const lnt__candidate *candidate, lnt_fit fit) {
  const lnt__trial *trial = &reload->trial;
  const lnt__divergence *d = &trial->divergence;
  char from[2 * LNT__SHA256_BYTES + 1], to[2 * LNT__SHA256_BYTES + 1];
  if (!reload->fn || candidate->is_same) return;
  lnt__hex(trial->hash, LNT__SHA256_BYTES, from);
  lnt__hex(reload->targets[candidate->target].hash, LNT__SHA256_BYTES, to);
  lnt_fit_report report = {.id = trial->id, .workflow = trial->workflow, .run = candidate->run, .status = trial->status, .fit = fit,
                           .moves = candidate->moves && candidate->state == LNT__CANDIDATE_COMPATIBLE && !reload->dry_run,
                           .from_hash = from, .to_hash = to,
                           .events = trial->events, .message = trial->message, .recorded = d->recorded, .made = d->wanted,
                           .recorded_at = d->was_at, .made_at = d->at, .difference = d->difference, .event = d->event,
                           .recorded_us = d->recorded_us};
  reload->fn(reload->user, &report);
}

bool lnt__reload_note_patch(lnt__reload *reload, lnt_value name, bool took, bool passed) {
  lnt_patch_info *patch = NULL;
  for (size_t i = 0; i < reload->patch_count && !patch; i++) {
    const char *known = reload->patches[i].name;
    if (strlen(known) == name.size && memcmp(known, name.data, name.size) == 0) patch = &reload->patches[i];
  }
  if (!patch) {
    char *copy = lnt__strndup(name.data, name.size);
    if (!copy || !lnt__grow((void **)&reload->patches, &reload->patch_capacity, reload->patch_count + 1, sizeof *reload->patches)) {
      lnt__free(copy);
      return false;
    }
    patch = &reload->patches[reload->patch_count++];
    *patch = (lnt_patch_info){.name = copy};
  }
  patch->took += took;
  patch->passed += passed;
  return true;
}

static bool count_patches(lnt__reload *reload, lnt__candidate *candidate) {
  lnt__reader reader = lnt__reader_of(reload->trial.patches.data, reload->trial.patches.size);
  bool counted = true;
  if (candidate->is_counted) return true;
  candidate->is_counted = true;
  while (counted && reader.at < reader.end) {
    lnt_value name = lnt__read_bytes(&reader);
    bool took = lnt__read_u8(&reader) != 0;
    counted = lnt__reload_note_patch(reload, name, took, !took);
  }
  return counted;
}

static lnt_status judge(lnt__reload *reload, lnt__candidate *candidate) {
  static const struct { lnt__candidate_state state; lnt_fit fit; } results[] = {
      [LNT__TRIAL_COMPATIBLE] = {LNT__CANDIDATE_COMPATIBLE, LNT_FIT_COMPATIBLE},
      [LNT__TRIAL_DIVERGES] = {LNT__CANDIDATE_DIVERGES, LNT_FIT_DIVERGES},
      [LNT__TRIAL_UNAVAILABLE] = {LNT__CANDIDATE_UNAVAILABLE, LNT_FIT_UNAVAILABLE},
      [LNT__TRIAL_BUSY] = {LNT__CANDIDATE_BUSY, LNT_FIT_BUSY},
      [LNT__TRIAL_OVER] = {LNT__CANDIDATE_GONE, LNT_FIT_BUSY}};
  lnt__trial *trial = &reload->trial;
  candidate->state = (uint8_t)results[trial->state].state;
  candidate->records = trial->records;
  candidate->has_reached = trial->has_reached;
  bool fits = trial->state == LNT__TRIAL_COMPATIBLE;
  if (candidate->state == LNT__CANDIDATE_BUSY) reload->busy++;
  else if (candidate->state != LNT__CANDIDATE_GONE)
    tell(reload, candidate, fits && !trial->has_reached ? LNT_FIT_NOT_REACHED : results[trial->state].fit);
  return !fits || count_patches(reload, candidate) ? LNT_OK : no_memory(reload);
}

/* Try the candidate, or go on with it. *over: it is judged; else the time is up. */
static lnt_status try_on(lnt__reload *reload, lnt__candidate *candidate, uint64_t until_ns, bool *over) {
  const uint8_t *hash = reload->targets[candidate->target].hash;
  lnt_status status = LNT_OK;
  bool more = true;
  if (!reload->is_trying) status = lnt__try_begin(reload->trier, candidate->run, hash, &reload->trial, &reload->error);
  while (!status && more) {
    status = lnt__try_step(reload->trier, &more, &reload->error);
    if (more && is_late(until_ns)) break;
  }
  reload->is_trying = !status && more;
  *over = !reload->is_trying;
  return status || !*over ? status : judge(reload, candidate);
}

lnt_status lnt__reload_try(lnt__reload *reload, uint64_t until_ns, bool *more) {
  lnt_status status = LNT_OK;
  while (!status && reload->at < reload->count) {
    lnt__candidate *candidate = &reload->candidates[reload->at];
    bool over = true;
    if (candidate->state <= LNT__CANDIDATE_BUSY) status = try_on(reload, candidate, until_ns, &over);
    reload->at += over;
    if (is_late(until_ns)) break;
  }
  *more = reload->at < reload->count;
  return status;
}

/* ---- Moves ---- */

typedef struct newest { uint32_t record; bool found; } newest;

static int take_record(void *user, lnt__slice key, lnt__slice value) {
  newest *n = user;
  const uint8_t *at = key.data;
  (void)value;
  if (key.size != LNT__KEY_HISTORY_BYTES) return 1;
  n->record = (uint32_t)at[8] << 24 | (uint32_t)at[9] << 16 | (uint32_t)at[10] << 8 | at[11];
  n->found = true;
  return 1;
}

/* Has its history grown since it was tried? */
static lnt_status has_grown(lnt__reload *reload, const lnt__candidate *candidate, bool *grown) {
  uint8_t from[LNT__KEY_HISTORY_BYTES], to[LNT__KEY_HISTORY_BYTES];
  newest n = {0, false};
  lnt__store *store = reload->rt->store;
  lnt__key_history(from, candidate->run, 0);
  lnt__key_history(to, candidate->run + 1, 0);
  lnt_status status = store->vtable->scan(store, LNT__TABLE_HISTORY, (lnt__slice){from, sizeof from}, (lnt__slice){to, sizeof to}, true,
                                          take_record, &n, &reload->error);
  *grown = !n.found || n.record + 1 != candidate->records;
  return status;
}

static lnt_status move_now(lnt__reload *reload, lnt__candidate *candidate) {
  const uint8_t *hash = reload->targets[candidate->target].hash;
  lnt_status status = lnt__engine_move(reload->rt->engine, candidate->run, hash, &reload->error);
  if (!status) candidate->state = LNT__CANDIDATE_MOVED;
  if (status == LNT_EAGAIN) reload->busy++;
  if (status == LNT_ECLOSED || status == LNT_ENOTFOUND) candidate->state = LNT__CANDIDATE_GONE;
  return status == LNT_EAGAIN || status == LNT_ECLOSED || status == LNT_ENOTFOUND ? LNT_OK : status;
}

/* One that went on since it was tried is tried again first; when it goes on during that, later. */
static lnt_status move_one(lnt__reload *reload, lnt__candidate *candidate, uint64_t until_ns, bool *over) {
  bool in_pieces = reload->is_trying, tries = in_pieces, grown = false;
  lnt_status status = tries ? LNT_OK : has_grown(reload, candidate, &tries);
  if (!status && tries) status = try_on(reload, candidate, until_ns, over);
  if (status || !*over) return status;
  if (candidate->state == LNT__CANDIDATE_BUSY) candidate->state = LNT__CANDIDATE_COMPATIBLE, candidate->records = 0;
  else if (candidate->state == LNT__CANDIDATE_COMPATIBLE) {
    if (in_pieces) status = has_grown(reload, candidate, &grown);
    if (grown) reload->busy++;
    else if (!status) status = move_now(reload, candidate);
  }
  return status;
}

lnt_status lnt__reload_move(lnt__reload *reload, uint64_t until_ns, bool *more) {
  lnt_status status = LNT_OK;
  size_t moves = 0;
  while (!status && reload->at < reload->count && (moves < MOVES_MAX || !until_ns)) {
    lnt__candidate *candidate = &reload->candidates[reload->at];
    bool over = true;
    if (candidate->state == LNT__CANDIDATE_COMPATIBLE && candidate->moves) status = move_one(reload, candidate, until_ns, &over);
    moves += candidate->state == LNT__CANDIDATE_MOVED;
    reload->at += over;
    if (is_late(until_ns)) break;
  }
  *more = reload->at < reload->count;
  return status;
}
