/* commit.c - the batch: everything that one tick changed, built, handed over, and its effects once it is durable. Also the engine's own
 * life. */
#include "engine/internal.h"

void lnt__poison(lnt__engine *engine) { engine->poisoned = true; }

/* ---- Building a batch ---- */

static bool put_row(lnt__turn *turn, lnt__commit *commit) {
  lnt__row row = {.run = turn->run, .id = {turn->id, strlen(turn->id)}, .workflow = {turn->workflow, strlen(turn->workflow)},
                  .status = turn->status, .created_us = turn->created_us, .updated_us = turn->updated_us, .closed_us = turn->closed_us,
                  .generation = turn->generation, .parent_run = turn->parent_run, .parent_seq = turn->parent_seq,
                  .custom_status = {turn->custom_status, turn->custom_status_size}, .failure = {turn->failure, turn->failure_size},
                  .attributes = {turn->attributes, turn->attributes_size}};
  memcpy(row.hash, turn->hash, LNT__SHA256_BYTES);
  bool good = lnt__row_put(commit->batch, &row, turn->row_changed, &turn->row_apart, &turn->engine->scratch);
  turn->row_changed = 0;
  return good;
}

static bool put_id(lnt__turn *turn, lnt__commit *commit) {
  lnt__buf *scratch = &turn->engine->scratch;
  uint8_t run[8];
  lnt__put_be64(run, turn->run);
  lnt__buf_clear(scratch);
  lnt__buf_append(scratch, run, sizeof(run));
  lnt__seal(scratch);
  return !scratch->failed && lnt__batch_put(commit->batch, LNT__TABLE_ID, turn->id, strlen(turn->id), scratch->data, scratch->size);
}

static bool put_record(lnt__turn *turn, lnt__commit *commit) {
  if (turn->record.bytes.size == 0) return true;
  return lnt__record_put(&turn->record, turn->run, turn->next_record++, commit->batch, &turn->history_bytes);
}

static bool put_timers(lnt__turn *turn, lnt__commit *commit) {
  bool good = true;
  for (size_t i = turn->cmd_count; i > 0 && turn->new_timers; i--)
    if (turn->cmds[i - 1].timer_new) good = good && lnt__timer_put(turn, &turn->cmds[i - 1], commit->batch);
  return good;
}

/* Of an instance without its body, what was buffered is not known; then it is as full as it was. */
static bool is_full(const lnt__turn *turn) {
  uint64_t waiting = turn->inbox_count + turn->buffered_count;
  return waiting >= turn->engine->limits.buffered_events_max || (!turn->body && lnt__instance_full(turn));
}

static lnt__active active_state(lnt__turn *turn) {
  if (lnt__instance_closed(turn)) return LNT__ACTIVE_NOT;
  if (is_full(turn)) return LNT__ACTIVE_FULL;
  bool waits = turn->pending_activities || (turn->inbox_count && !turn->sleeping) || turn->status == LNT_RUN_STALLED;
  return waits ? LNT__ACTIVE_YES : LNT__ACTIVE_NOT;
}

/* The row says: look at me after a restart, or: I may get no more events. It is written only when that changes, so a chain of activities
 * writes it once. */
static bool put_active(lnt__turn *turn, lnt__commit *commit) {
  lnt__engine *engine = turn->engine;
  uint8_t key[LNT__KEY_RUN_BYTES], count[4];
  lnt__active active = active_state(turn);
  if (active == turn->active_durable) return true;
  if (active == LNT__ACTIVE_FULL && !lnt__u64map_put(&engine->full, turn->run, engine)) return false;
  if (turn->active_durable == LNT__ACTIVE_FULL) lnt__u64map_remove(&engine->full, turn->run);
  turn->active_durable = (uint8_t)active;
  lnt__key_run(key, turn->run);
  if (active == LNT__ACTIVE_NOT) return lnt__batch_delete(commit->batch, LNT__TABLE_ACTIVE, key, sizeof(key));
  lnt__put_be32(count, (uint32_t)(turn->inbox_count + turn->buffered_count));
  return lnt__batch_put(commit->batch, LNT__TABLE_ACTIVE, key, sizeof(key), count, active == LNT__ACTIVE_FULL ? sizeof(count) : 0);
}

/* The record is in the batch: it may go over to whoever is told of it. */
static void observe(lnt__turn *turn, lnt__commit *commit) {
  lnt__engine *engine = turn->engine;
  if (!engine->observing || turn->record.bytes.size == 0) return;
  lnt__observed observed = {lnt__strdup(turn->id), turn->status, turn->history_events - turn->record.count + 1, turn->record};
  size_t count = commit->observed.count;
  if (observed.id) LNT__PUSH(engine, commit->observed, observed);
  else lnt__poison(engine);
  if (commit->observed.count > count) turn->record = (lnt__record){.count = 0};
  else lnt__free(observed.id);
}

static bool write_turn(lnt__turn *turn, lnt__commit *commit) {
  if (turn->purging) return lnt__instance_unwrite(turn, commit->batch, commit->number);
  bool good = lnt__instance_load(turn, NULL) == LNT_OK && put_record(turn, commit) && put_timers(turn, commit) && put_active(turn, commit);
  if (good && turn->fresh_beats) good = lnt__beats_put(turn, commit);
  if (good && turn->is_new) good = put_id(turn, commit);
  if (good && turn->row_dirty) good = put_row(turn, commit) && lnt__instance_index(turn, commit->batch);
  if (good) observe(turn, commit);
  return good;
}

static void seal_turn(lnt__turn *turn, lnt__commit *commit) {
  if (!write_turn(turn, commit)) lnt__poison(turn->engine);
  turn->is_new = turn->row_dirty = turn->dirty = false;
  turn->last_batch = commit->number;
  turn->pins++;
  lnt__record_clear(&turn->record);
  if (!turn->pending_activities) lnt__record_finish(&turn->record); /* no activity will soon fill it again */
}

bool lnt__engine_dirty(const lnt__engine *engine) {
  const lnt__commit *commit = &engine->commits[engine->open];
  bool changed = commit->turns.count || commit->extra || commit->timer_deletes.count || lnt__sweep_ready(engine);
  return changed || commit->dones.count || commit->abandoned.count;
}

const lnt__batch *lnt__engine_seal(lnt__engine *engine) {
  lnt__commit *commit = lnt__open_commit(engine);
  uint8_t key[LNT__KEY_TIMER_BYTES];
  LNT__ASSERT(!engine->sealed);
  if (engine->poisoned || !lnt__engine_dirty(engine)) return NULL;
  if (lnt__sweep_ready(engine)) lnt__sweep(engine);
  for (size_t i = 0; i < commit->timer_deletes.count; i++) {
    const lnt__due *due = &commit->timer_deletes.items[i];
    lnt__key_timer(key, due->due_us, due->run, due->seq);
    if (!lnt__batch_delete(commit->batch, LNT__TABLE_TIMER, key, sizeof(key))) lnt__poison(engine);
  }
  for (size_t i = 0; i < commit->beat_deletes.count; i++) {
    const lnt__due *beat = &commit->beat_deletes.items[i];
    lnt__key_history(key, beat->run, beat->seq);
    if (!lnt__batch_delete(commit->batch, LNT__TABLE_HEARTBEAT, key, LNT__KEY_HISTORY_BYTES)) lnt__poison(engine);
  }
  for (size_t i = 0; i < commit->turns.count; i++) seal_turn(commit->turns.items[i], commit);
  if (lnt__batch_failed(commit->batch)) lnt__poison(engine);
  if (engine->poisoned) return NULL;
  engine->sealed = true;
  engine->open = !engine->open;
  lnt__open_commit(engine)->number = commit->number + 1;
  return commit->batch;
}

/* ---- After it is durable ---- */

void lnt__dispatch_queued(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  if (lnt__instance_held(turn)) return;
  for (size_t i = 0; i < turn->cmd_count && turn->queued; i++) {
    lnt__cmd *cmd = &turn->cmds[i];
    if (cmd->state != LNT__CMD_QUEUED || cmd->batch > engine->committed) continue;
    if (cmd->due_us > engine->now_us) {
      lnt__retry_later(turn, cmd);
      continue;
    }
    lnt__cmd_set_state(turn, cmd, LNT__CMD_DISPATCHED);
    engine->effects.dispatch(engine->effects.user, (lnt_token){turn->run, cmd->seq, cmd->attempt});
  }
}

static void tell_observer(lnt__engine *engine, const lnt__observed *observed) {
  lnt__record_reader reader;
  lnt__event event;
  uint64_t index = observed->first_index;
  lnt__record_read(&observed->record, &reader);
  while (lnt__record_next(&reader, &event))
    if (engine->effects.event) engine->effects.event(engine->effects.user, observed->id, observed->status, &event, index++);
}

/* Callbacks may make new requests: those go to the other, open commit. */
static void run_effects(lnt__engine *engine, lnt__commit *commit) {
  for (size_t i = 0; i < commit->abandoned.count; i++) {
    const lnt__abandoned *abandoned = &commit->abandoned.items[i];
    engine->effects.abandon(engine->effects.user, abandoned->token, abandoned->why, abandoned->name);
  }
  for (size_t i = 0; i < commit->observed.count; i++) tell_observer(engine, &commit->observed.items[i]);
  for (size_t i = 0; i < commit->turns.count && engine->watching; i++)
    engine->effects.moved(engine->effects.user, commit->turns.items[i]->id);
  for (size_t i = 0; i < commit->dones.count; i++) commit->dones.items[i].fn(commit->dones.items[i].user, LNT_OK);
  commit->dones.count = 0;
  lnt__answers_tell(&commit->answers, LNT_OK);
  for (size_t i = 0; i < commit->settled.count; i++)
    if (engine->effects.settled) engine->effects.settled(engine->effects.user, commit->settled.items[i].id,
        commit->settled.items[i].status);
}

/* Timers that were beyond the horizon when they were made, and no longer are. */
static void near_timers(lnt__engine *engine, lnt__commit *commit) {
  for (size_t i = 0; i < commit->far_timers.count; i++) {
    if (commit->far_timers.items[i].due_us >= engine->horizon_us) lnt__far_expect(engine, commit->far_timers.items[i].due_us);
    else if (!lnt__heap_push(&engine->heap, commit->far_timers.items[i])) lnt__poison(engine);
  }
}

void lnt__commit_finish(lnt__commit *commit, lnt_status status) {
  lnt__answers_tell(&commit->answers, status);
  for (size_t i = 0; i < commit->dones.count; i++) commit->dones.items[i].fn(commit->dones.items[i].user, status);
  for (size_t i = 0; i < commit->settled.count; i++) lnt__free(commit->settled.items[i].id);
  for (size_t i = 0; i < commit->observed.count; i++) {
    lnt__free(commit->observed.items[i].id);
    lnt__record_finish(&commit->observed.items[i].record);
  }
  for (size_t i = 0; i < commit->abandoned.count; i++) lnt__free(commit->abandoned.items[i].name);
  commit->beat_deletes.count = 0;
  commit->turns.count = commit->dones.count = commit->settled.count = commit->observed.count = 0;
  commit->abandoned.count = commit->far_timers.count = commit->timer_deletes.count = commit->extra = 0;
  lnt__batch_clear(commit->batch);
}

void lnt__engine_committed(lnt__engine *engine) {
  lnt__commit *commit = &engine->commits[!engine->open];
  LNT__ASSERT(engine->sealed);
  engine->sealed = false;
  engine->committed = commit->number;
  engine->stats.commits++;
  engine->stats.commit_records += lnt__batch_count(commit->batch);
  engine->stats.commit_bytes += lnt__batch_bytes(commit->batch);
  near_timers(engine, commit);
  for (size_t i = 0; i < commit->turns.count; i++) {
    lnt__turn *turn = commit->turns.items[i];
    if (turn->queued) lnt__dispatch_queued(turn);
  }
  run_effects(engine, commit);
  for (size_t i = 0; i < commit->turns.count; i++) {
    lnt__turn *turn = commit->turns.items[i];
    turn->pins--;
    if (turn->forming && lnt__instance_clean(turn)) lnt__fork_formed(turn);
    if (lnt__asks_wait(turn)) lnt__ready_asked(turn);
    if (turn->evict && lnt__instance_idle(turn)) lnt__instance_evict(turn);
    if (turn->retry && turn->stall_batch <= engine->committed) turn->retry = false, lnt__ready_retry(turn);
    lnt__instance_release(turn);
  }
  lnt__commit_finish(commit, LNT_OK);
  lnt__instance_evict_over(engine);
}

/* ---- The engine itself ---- */

lnt_status lnt__engine_create(const lnt__engine_options *options, lnt__engine **out, lnt_error *err) {
  lnt__engine *engine = lnt__calloc(1, sizeof(*engine));
  if (!engine) return lnt__fail(err, LNT_ENOMEM, "out of memory while opening the runtime");
  engine->store = options->store;
  engine->vm = *options->vm;
  engine->effects = *options->effects;
  engine->limits = *options->limits;
  engine->met = options->met;
  engine->next_run = engine->first_run = options->last_run + 1;
  engine->far_us = INT64_MAX;
  lnt__rng_seed(&engine->rng, options->seed ^ options->last_run * 0xd1342543de82ef95u); /* a seed may be given again, its ids may not */
  lnt__u64map_init(&engine->by_run);
  lnt__u64map_init(&engine->full);
  lnt__strmap_init(&engine->by_id);
  lnt__heap_init(&engine->heap);
  lnt__history_init(&engine->replay.history);
  lnt__history_init(&engine->aside);
  lnt__buf_init(&engine->scratch);
  lnt__buf_init(&engine->instant);
  lnt__buf_init(&engine->late);
  lnt__buf_init(&engine->trace);
  lnt__buf_init(&engine->outcome.value);
  lnt__buf_init(&engine->outcome.detail);
  engine->commits[0].number = 1;
  engine->commits[0].batch = lnt__batch_create();
  engine->commits[1].batch = lnt__batch_create();
  engine->fingerprint = lnt__strdup(options->fingerprint);
  *out = engine;
  bool made = engine->commits[0].batch && engine->commits[1].batch && engine->fingerprint;
  if (made && (!options->rehearsal || lnt__rehearsal_create(engine, options->rehearsal))) return LNT_OK;
  lnt__engine_destroy(engine);
  *out = NULL;
  return lnt__fail(err, LNT_ENOMEM, "out of memory while opening the runtime");
}

static void destroy_commit(lnt__commit *commit) {
  if (commit->batch) lnt__commit_finish(commit, LNT_ECLOSED);
  lnt__batch_destroy(commit->batch);
  lnt__free(commit->turns.items);
  lnt__free(commit->dones.items);
  lnt__free(commit->settled.items);
  lnt__free(commit->observed.items);
  lnt__free(commit->abandoned.items);
  lnt__free(commit->far_timers.items);
  lnt__free(commit->timer_deletes.items);
  lnt__free(commit->beat_deletes.items);
}

void lnt__engine_destroy(lnt__engine *engine) {
  size_t at = 0;
  uint64_t run;
  void *turn;
  if (!engine) return;
  while (lnt__u64map_next(&engine->by_run, &at, &run, &turn)) {
    lnt__instance_free(turn);
    at = 0;
  }
  destroy_commit(&engine->commits[0]);
  destroy_commit(&engine->commits[1]);
  lnt__answers_tell(&engine->answers, LNT_ECLOSED);
  lnt__u64map_finish(&engine->by_run);
  lnt__u64map_finish(&engine->full);
  lnt__strmap_finish(&engine->by_id);
  lnt__heap_finish(&engine->heap);
  lnt__replay_finish(&engine->replay);
  lnt__history_finish(&engine->aside);
  lnt__free(engine->recover.items);
  lnt__free(engine->ends);
  lnt__buf_finish(&engine->scratch);
  lnt__buf_finish(&engine->outcome.value);
  lnt__buf_finish(&engine->outcome.detail);
  lnt__free(engine->garbage.items);
  lnt__free(engine->answer_hold);
  lnt__buf_finish(&engine->instant);
  lnt__buf_finish(&engine->late);
  lnt__buf_finish(&engine->trace);
  lnt__free(engine->fingerprint);
  lnt__rehearsal_destroy(engine->rehearsal);
  lnt__free(engine);
}

void lnt__engine_set_now(lnt__engine *engine, int64_t now_us) {
  engine->went_back = engine->went_back || now_us < engine->now_us;
  engine->now_us = now_us;
}
void lnt__engine_observe(lnt__engine *engine, bool on) { engine->observing = on; }
void lnt__engine_watch(lnt__engine *engine, bool on) { engine->watching = on; }
bool lnt__engine_knows(const lnt__engine *engine, const char *id) { return lnt__strmap_get(&engine->by_id, id) != NULL; }

void lnt__engine_evict_all(lnt__engine *engine) {
  lnt__turn *turn = engine->lru_tail;
  while (turn) {
    lnt__turn *before = turn->lru_prev;
    if (lnt__instance_idle(turn)) {
      lnt__instance_evict(turn);
      lnt__instance_release(turn);
    } else {
      turn->evict = true;
    }
    turn = before;
  }
}

void lnt__engine_stats(const lnt__engine *engine, lnt_stats *stats) {
  size_t size = stats->size;
  *stats = engine->stats;
  stats->size = size;
  stats->resident = engine->resident;
  stats->ready = lnt__engine_ready(engine);
}
