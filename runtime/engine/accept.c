/* accept.c - requests become events: into the open batch's record, and into the inbox of the instance. */
#include "engine/internal.h"

static lnt_value text_value(const char *text) { return (lnt_value){text, strlen(text)}; }

void lnt__mark_dirty(lnt__turn *turn) {
  LNT__ASSERT(!turn->rehearsing); /* a copy is not written */
  if (turn->dirty) return;
  turn->dirty = true;
  LNT__PUSH(turn->engine, lnt__open_commit(turn->engine)->turns, turn);
}

/* Times never fall within a history, however the clock is set. What an instance that is not loaded was told last, its history knows; only
 * when the clock may have been set back since does it have to be asked. */
static void learn_time(lnt__turn *turn) {
  int64_t last_us = INT64_MIN;
  lnt_status status = lnt__journal_last_time(turn->engine->store, turn->run, &last_us, NULL);
  turn->timed = status == LNT_OK; /* else the load will tell */
  if (last_us > turn->last_us) turn->last_us = last_us;
}

void lnt__emit(lnt__turn *turn, lnt__event *event) {
  lnt__engine *engine = turn->engine;
  if (!turn->loaded && !turn->timed && (turn->run < engine->first_run || engine->went_back)) learn_time(turn);
  if (engine->now_us > turn->last_us) turn->last_us = engine->now_us;
  event->time_us = turn->last_us;
  lnt__mark_dirty(turn);
  if (!lnt__record_add(&turn->record, event)) lnt__poison(engine);
  turn->history_events++;
}

/* The body that runs may be reading its inbox: what it accepts for itself waits beside it. */
static void append_late(lnt__engine *engine, const lnt__event *event) {
  if (engine->late.size == 0) engine->late_last_us = 0;
  lnt__event_write(&engine->late, &engine->late_last_us, event);
  engine->current->inbox_count++;
  if (engine->late.failed) lnt__poison(engine);
}

void lnt__inbox_append(lnt__turn *turn, const lnt__event *event) {
  if (turn->inbox.size == 0) turn->inbox_last_us = turn->inbox_read_us = 0;
  lnt__event_write(&turn->inbox, &turn->inbox_last_us, event);
  turn->inbox_count++;
  if (turn->inbox.failed) lnt__poison(turn->engine);
}

void lnt__accept(lnt__turn *turn, lnt__event *event) {
  lnt__emit(turn, event);
  if (turn == turn->engine->current) {
    append_late(turn->engine, event);
    return;
  }
  lnt__inbox_append(turn, event);
  lnt__ready_push(turn);
}

void lnt__inbox_take_late(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  lnt__reader reader = lnt__reader_of(engine->late.data, engine->late.size);
  lnt__event event;
  int64_t last_us = 0;
  while (!lnt__instance_closed(turn) && reader.at < reader.end && lnt__event_read(&reader, &last_us, &event)) {
    turn->inbox_count--; /* it was counted when it was accepted */
    lnt__inbox_append(turn, &event);
  }
  lnt__buf_clear(&engine->late);
}

/* ---- Requests ---- */

lnt_status lnt__accepting(const lnt__engine *engine, lnt_error *err) {
  if (!engine->poisoned) return LNT_OK;
  return lnt__fail(err, LNT_ENOMEM, "memory ran out earlier; nothing more is accepted: close the runtime and open it again");
}

lnt_status lnt__id_is_free(lnt__engine *engine, const char *id, lnt_error *err) {
  uint64_t run;
  const lnt__turn *turn = lnt__strmap_get(&engine->by_id, id);
  lnt_status status = turn ? LNT_OK : lnt__journal_look(engine->store, id, &run, err);
  if (status == LNT_ENOTFOUND) return LNT_OK;
  if (status != LNT_OK) return status;
  if (!turn) turn = lnt__u64map_get(&engine->by_run, run);
  if (turn && turn->purging) return LNT_OK;
  return lnt__fail(err, LNT_EEXIST, "an instance with the id '%s' exists; choose another id", id);
}

void lnt__push_done(lnt__engine *engine, lnt_done_fn fn, void *user) {
  lnt__done done = {fn, user};
  if (fn) LNT__PUSH(engine, lnt__open_commit(engine)->dones, done);
}

void lnt__engine_when_durable(lnt__engine *engine, lnt_done_fn fn, void *user) { lnt__push_done(engine, fn, user); }

/* Into the row, where lists find them, and into the history, where a replay does. */
static void give_attributes(lnt__turn *turn, lnt_value attributes, lnt__event *started) {
  lnt__buf *options = &turn->engine->instant;
  lnt__cbor_map map;
  if (!attributes.size) return;
  lnt__turn_attributes(turn, attributes);
  lnt__buf_clear(options);
  lnt__cbor_map_begin(options, &map);
  lnt__cbor_cstring(options, "attributes");
  lnt__buf_append(options, attributes.data, attributes.size);
  if (!lnt__cbor_map_end(options, &map, 1, false)) lnt__poison(turn->engine);
  started->options = (lnt_value){options->data, options->size};
}

lnt__turn *lnt__instance_begin(lnt__engine *engine, const lnt__origin *origin) {
  lnt__turn *turn = lnt__instance_create(engine, engine->next_run, origin->id, strlen(origin->id), origin->workflow,
                                         strlen(origin->workflow), origin->hash, true);
  if (!turn) return NULL;
  engine->next_run++;
  turn->status = LNT_RUN_PENDING;
  turn->loaded = turn->is_new = turn->row_dirty = true;
  turn->created_us = turn->updated_us = engine->now_us;
  turn->seed = origin->seed;
  turn->generation = origin->generation;
  turn->parent_run = origin->parent_run;
  turn->parent_seq = origin->parent_seq;
  turn->older_run = origin->older_run;
  turn->last_us = origin->not_before_us;
  turn->new_era = engine->now_us < engine->last_created_us;
  engine->last_created_us = engine->now_us;
  lnt__event event = {.kind = LNT_EVENT_STARTED, .name = text_value(turn->workflow), .value = origin->input, .id = text_value(turn->id),
                      .hash = {turn->hash, LNT__SHA256_BYTES}, .engine = text_value(engine->fingerprint), .seed = turn->seed};
  give_attributes(turn, origin->attributes, &event);
  if (origin->start_at_us > engine->now_us) {
    turn->sleeping = true;
    turn->start_us = event.due_us = origin->start_at_us;
    lnt__start_arm(turn);
  }
  lnt__accept(turn, &event);
  lnt__step_keys_see(&turn->keys, &event);
  engine->stats.started += origin->generation == 1;
  return turn;
}

lnt__turn *lnt__find_open(lnt__engine *engine, const char *id, lnt_status *status, lnt_error *err) {
  *status = lnt__accepting(engine, err);
  if (*status != LNT_OK) return NULL;
  lnt__turn *turn = lnt__instance_by_id(engine, id, status, err);
  if (turn && lnt__instance_closed(turn)) {
    *status = lnt__fail(err, LNT_ECLOSED, "instance '%s' is finished (%s)", id, lnt_run_status_name(turn->status));
    lnt__instance_release(turn);
    return NULL;
  }
  return turn;
}

static lnt_status has_room(const lnt__turn *turn, lnt_error *err) {
  const lnt_limits *limits = &turn->engine->limits;
  if (turn->inbox_count + turn->buffered_count >= limits->buffered_events_max || (!turn->body && lnt__instance_full(turn))) {
    LNT__MET(turn->engine->met, buffered_events_max);
    return lnt__fail(err, LNT_ELIMIT, "instance '%s' has %llu events that nobody has waited for: the limit buffered_events_max; let it "
                     "take some of them first", turn->id, (unsigned long long)limits->buffered_events_max);
  }
  if (turn->history_events < limits->history_events_max) return LNT_OK;
  LNT__MET(turn->engine->met, history_events_max);
  return lnt__fail(err, LNT_ELIMIT, "the history of instance '%s' has %llu events: the limit history_events_max; terminate it, or let its "
                   "workflow continue as new sooner", turn->id, (unsigned long long)limits->history_events_max);
}

lnt_status lnt__accept_raised(lnt__turn *turn, lnt_value name, lnt_value data, const char *key, lnt_error *err) {
  lnt_status status = has_room(turn, err);
  if (status != LNT_OK) return status;
  if (key && !lnt__raise_key_add(turn, key)) return lnt__fail(err, LNT_ENOMEM, "out of memory: the event was not taken");
  lnt__event event = {.kind = LNT_EVENT_EVENT_RAISED, .name = name, .value = data};
  if (key) event.id = text_value(key);
  lnt__accept(turn, &event);
  return LNT_OK;
}

/* Was this raised before? Of a finished instance it may have been, and that is no error. */
static lnt_status was_raised(lnt__engine *engine, const lnt__raise *raise, bool *seen, lnt_error *err) {
  lnt_status status = lnt__accepting(engine, err);
  lnt__turn *turn = status == LNT_OK ? lnt__instance_by_id(engine, raise->id, &status, err) : NULL;
  *seen = false;
  if (!turn) return status;
  status = lnt__raise_key_seen(turn, raise->key, seen, err);
  if (*seen || lnt__instance_closed(turn) || status != LNT_OK) lnt__instance_release(turn);
  return status;
}

lnt_status lnt__engine_raise(lnt__engine *engine, const lnt__raise *raise, lnt_error *err) {
  bool seen = false;
  lnt_status status = raise->key ? was_raised(engine, raise, &seen, err) : LNT_OK;
  if (status != LNT_OK) return status;
  if (raise->repeated) *raise->repeated = seen;
  lnt__turn *turn = seen ? NULL : lnt__find_open(engine, raise->id, &status, err);
  if (turn) status = lnt__accept_raised(turn, text_value(raise->event), raise->data, raise->key, err);
  if (status == LNT_OK) lnt__push_done(engine, raise->done, raise->done_user);
  else if (turn) lnt__instance_release(turn);
  return status;
}

/* One that runs no turns is closed here, so what it waits for must be known. */
lnt_status lnt__accept_terminate(lnt__turn *turn, const char *reason, lnt_error *err) {
  bool may_wait = turn->status == LNT_RUN_STALLED || turn->status == LNT_RUN_SUSPENDED || turn->status == LNT_RUN_PENDING;
  lnt_status status = may_wait ? lnt__instance_load(turn, err) : LNT_OK;
  bool at_once = turn->status == LNT_RUN_STALLED || lnt__instance_held(turn);
  if (at_once && status == LNT_OK) status = lnt__timers_forget(turn, err);
  if (status != LNT_OK) return status;
  lnt__buf value;
  lnt__buf_init(&value);
  lnt__failure_text(&value, "Terminated", reason ? reason : "terminated", false);
  lnt__event event = {.kind = LNT_EVENT_TERMINATE_REQUESTED, .value = {value.data, value.size}};
  lnt__accept(turn, &event);
  if (at_once) lnt__turn_close(turn, LNT_RUN_TERMINATED, LNT_EVENT_TERMINATED, event.value, LNT_VALUE_NIL);
  lnt__buf_finish(&value);
  return LNT_OK;
}

lnt_status lnt__engine_terminate(lnt__engine *engine, const char *id, const char *reason, lnt_done_fn done, void *done_user,
                                 lnt_error *err) {
  lnt_status status;
  lnt__turn *turn = lnt__find_open(engine, id, &status, err);
  if (!turn) return status;
  status = lnt__accept_terminate(turn, reason, err);
  if (status == LNT_OK) lnt__push_done(engine, done, done_user);
  else lnt__instance_release(turn);
  return status;
}

lnt_status lnt__accept_cancel(lnt__turn *turn, const char *reason, lnt_error *err) {
  const lnt_limits *limits = &turn->engine->limits;
  lnt_status status = turn->status == LNT_RUN_PENDING ? lnt__instance_load(turn, err) : LNT_OK; /* has its time come? */
  if (status != LNT_OK) return status;
  if (turn->history_events >= limits->history_events_max) {
    LNT__MET(turn->engine->met, history_events_max);
    return lnt__fail(err, LNT_ELIMIT, "the history of instance '%s' has %llu events: the limit history_events_max; terminate it", turn->id,
                     (unsigned long long)limits->history_events_max);
  }
  lnt__buf value;
  lnt__buf_init(&value);
  lnt__failure_text(&value, "Canceled", reason ? reason : "the instance was canceled", false);
  lnt__event event = {.kind = LNT_EVENT_CANCEL_REQUESTED, .value = {value.data, value.size}};
  lnt__accept(turn, &event);
  if (turn->sleeping) lnt__turn_close(turn, LNT_RUN_CANCELED, LNT_EVENT_CANCELED, event.value, LNT_VALUE_NIL); /* nothing to clean up */
  lnt__buf_finish(&value);
  return LNT_OK;
}

lnt_status lnt__engine_cancel(lnt__engine *engine, const char *id, const char *reason, lnt_done_fn done, void *done_user, lnt_error *err) {
  lnt_status status;
  lnt__turn *turn = lnt__find_open(engine, id, &status, err);
  if (!turn) return status;
  status = lnt__accept_cancel(turn, reason, err);
  if (status == LNT_OK) lnt__push_done(engine, done, done_user);
  else lnt__instance_release(turn);
  return status;
}

lnt_status lnt__engine_put(lnt__engine *engine, lnt__table table, lnt__slice key, lnt__slice value) {
  lnt__commit *commit = lnt__open_commit(engine);
  if (!lnt__batch_put(commit->batch, table, key.data, key.size, value.data, value.size)) {
    lnt__poison(engine);
    return LNT_ENOMEM;
  }
  commit->extra++;
  return LNT_OK;
}

lnt_status lnt__engine_delete(lnt__engine *engine, lnt__table table, lnt__slice key) {
  lnt__commit *commit = lnt__open_commit(engine);
  if (!lnt__batch_delete(commit->batch, table, key.data, key.size)) {
    lnt__poison(engine);
    return LNT_ENOMEM;
  }
  commit->extra++;
  return LNT_OK;
}

bool lnt__engine_deletes(const lnt__engine *engine, lnt__table table, lnt__slice key) {
  lnt__slice value;
  if (lnt__batch_deletes(engine->commits[engine->open].batch, table, key)) return true;
  if (lnt__batch_find(engine->commits[engine->open].batch, table, key, &value)) return false;
  return engine->sealed && lnt__batch_deletes(engine->commits[!engine->open].batch, table, key);
}

bool lnt__engine_has_code(const lnt__engine *engine, const uint8_t *hash) {
  lnt__slice key = {hash, LNT__SHA256_BYTES}, put;
  void *value = NULL;
  size_t size;
  if (lnt__engine_deletes(engine, LNT__TABLE_CODE, key)) return false;
  if (lnt__engine_find_put(engine, LNT__TABLE_CODE, key, &put)) return true;
  lnt_status status = engine->store->vtable->get(engine->store, LNT__TABLE_CODE, key.data, key.size, &value, &size, NULL);
  lnt__free(value);
  return status == LNT_OK;
}

void lnt__engine_each_code(const lnt__engine *engine, void (*fn)(void *user, const uint8_t *hash), void *user) {
  size_t at = 0;
  uint64_t run;
  void *turn;
  while (lnt__u64map_next(&engine->by_run, &at, &run, &turn))
    if (!((const lnt__turn *)turn)->purging) fn(user, ((const lnt__turn *)turn)->hash);
}

uint64_t lnt__engine_moves(const lnt__engine *engine) { return engine->moves; }
uint64_t lnt__engine_purges(const lnt__engine *engine) { return engine->stats.purged; }

bool lnt__engine_find_put(const lnt__engine *engine, lnt__table table, lnt__slice key, lnt__slice *value) {
  if (lnt__batch_find(engine->commits[engine->open].batch, table, key, value)) return true;
  return engine->sealed && lnt__batch_find(engine->commits[!engine->open].batch, table, key, value);
}
