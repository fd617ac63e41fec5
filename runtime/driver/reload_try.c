/* reload_try.c - the look at instances before code changes under them: who runs on other code, how each fares with the new one, and the
 * moves. Called by reload.c in slices; owner thread. */
#include <stdio.h>

#include "driver/reload.h"
#include "journal/query.h"

enum { LIVE = 1u << LNT_RUN_RUNNING | 1u << LNT_RUN_PENDING | 1u << LNT_RUN_SUSPENDED | 1u << LNT_RUN_STALLED };

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
  if (!hash || row->closed_us || memcmp(hash, row->hash, LNT__SHA256_BYTES) == 0) return true;
  size_t target = target_of(reload, hash);
  if (target == SIZE_MAX ||
      !lnt__grow((void **)&reload->candidates, &reload->capacity, reload->count + 1, sizeof *reload->candidates))
    return false;
  reload->candidates[reload->count++] = (lnt__candidate){.run = row->run, .target = (uint16_t)target,
                                                         .moves = row->status == LNT_RUN_STALLED || policy != LNT_RELOAD_PIN,
                                                         .must = policy == LNT_RELOAD_ALL_OR_NOTHING};
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
  if (reload->brief && reload->unchanged && name->policy == LNT_RELOAD_PIN) filter.status_mask = 1u << LNT_RUN_STALLED;
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
  if (!reload->fn) return;
  lnt__hex(trial->hash, LNT__SHA256_BYTES, from);
  lnt__hex(reload->targets[candidate->target].hash, LNT__SHA256_BYTES, to);
  lnt_fit_report report = {.id = trial->id, .workflow = trial->workflow, .run = candidate->run, .status = trial->status, .fit = fit,
                           .moves = candidate->moves && fit == LNT_FIT_COMPATIBLE && !reload->dry_run, .from_hash = from, .to_hash = to,
                           .events = trial->events, .message = trial->message, .recorded = d->recorded, .made = d->wanted,
                           .recorded_at = d->was_at, .made_at = d->at, .difference = d->difference, .event = d->event,
                           .recorded_us = d->recorded_us};
  reload->fn(reload->user, &report);
}

/* An instance that has not run yet has nothing that could differ; its workflow must be there all the same. */
static void look_for_name(lnt__reload *reload) {
  lnt__trial *trial = &reload->trial;
  for (size_t i = 0; i < reload->name_count && trial->state == LNT__TRIAL_COMPATIBLE; i++) {
    const lnt__reload_name *name = &reload->names[i];
    if (!name->is_removed || strcmp(name->name, trial->workflow) != 0) continue;
    trial->state = LNT__TRIAL_UNAVAILABLE;
    snprintf(trial->message, sizeof trial->message, "the code does not define the workflow \"%s\" any more", trial->workflow);
  }
}

static lnt_status try_one(lnt__reload *reload, lnt__candidate *candidate) {
  static const struct { lnt__candidate_state state; lnt_fit fit; } results[] = {
      [LNT__TRIAL_COMPATIBLE] = {LNT__CANDIDATE_COMPATIBLE, LNT_FIT_COMPATIBLE},
      [LNT__TRIAL_DIVERGES] = {LNT__CANDIDATE_DIVERGES, LNT_FIT_DIVERGES},
      [LNT__TRIAL_UNAVAILABLE] = {LNT__CANDIDATE_UNAVAILABLE, LNT_FIT_UNAVAILABLE},
      [LNT__TRIAL_BUSY] = {LNT__CANDIDATE_BUSY, LNT_FIT_BUSY},
      [LNT__TRIAL_OVER] = {LNT__CANDIDATE_GONE, LNT_FIT_BUSY}};
  lnt__trial *trial = &reload->trial;
  const uint8_t *hash = reload->targets[candidate->target].hash;
  lnt_status status = lnt__engine_try(reload->rt->engine, candidate->run, hash, trial, &reload->error);
  if (status) return status;
  look_for_name(reload);
  candidate->state = (uint8_t)results[trial->state].state;
  candidate->records = trial->records;
  if (candidate->state == LNT__CANDIDATE_BUSY) reload->busy++;
  else if (candidate->state != LNT__CANDIDATE_GONE) tell(reload, candidate, results[trial->state].fit);
  return LNT_OK;
}

lnt_status lnt__reload_try(lnt__reload *reload, uint64_t until_ns, bool *more) {
  lnt_status status = LNT_OK;
  while (!status && reload->at < reload->count) {
    lnt__candidate *candidate = &reload->candidates[reload->at++];
    if (candidate->state > LNT__CANDIDATE_BUSY) continue;
    status = try_one(reload, candidate);
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

static lnt_status move_one(lnt__reload *reload, lnt__candidate *candidate) {
  bool grown;
  const uint8_t *hash = reload->targets[candidate->target].hash;
  lnt_status status = has_grown(reload, candidate, &grown);
  if (!status && grown) status = try_one(reload, candidate);
  if (candidate->state == LNT__CANDIDATE_BUSY) candidate->state = LNT__CANDIDATE_COMPATIBLE, candidate->records = 0;
  else if (!status && candidate->state == LNT__CANDIDATE_COMPATIBLE) {
    status = lnt__engine_move(reload->rt->engine, candidate->run, hash, &reload->error);
    if (!status) candidate->state = LNT__CANDIDATE_MOVED;
    if (status == LNT_EAGAIN) reload->busy++;
    if (status == LNT_ECLOSED || status == LNT_ENOTFOUND) candidate->state = LNT__CANDIDATE_GONE;
    if (status == LNT_EAGAIN || status == LNT_ECLOSED || status == LNT_ENOTFOUND) status = LNT_OK;
  }
  return status;
}

lnt_status lnt__reload_move(lnt__reload *reload, uint64_t until_ns, bool *more) {
  lnt_status status = LNT_OK;
  while (!status && reload->at < reload->count) {
    lnt__candidate *candidate = &reload->candidates[reload->at++];
    if (candidate->state != LNT__CANDIDATE_COMPATIBLE || !candidate->moves) continue;
    status = move_one(reload, candidate);
    if (is_late(until_ns)) break;
  }
  *more = reload->at < reload->count;
  return status;
}
