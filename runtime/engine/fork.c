/* fork.c - a new run whose history begins as a copy of another's: fork, rerun, retry. Called by the driver between turns.
 *
 * The copy ends with a finished turn, so that a replay of it comes to rest where the source once did. What the source had received by
 * then and not consumed follows behind a FORKED event; what was made later is left out, and made again. The new run is taken up like one
 * that was found in the store: its activities without an answer run, its timers are set, its children without an answer are started
 * again under new ids. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/internal.h"

enum { RECORD_BYTES = 256 << 10 }; /* of a copied record, about */

/* What of the source is copied. */
typedef struct cut {
  lnt__history history;
  const lnt__fork *fork;
  size_t prefix;      /* events up to the end of the last copied turn */
  size_t tail;        /* of those between it and this, what the body has not consumed is kept */
  uint32_t commands;  /* in the prefix */
  uint8_t *answered;  /* by command: 1 if a kept event answers it, or it was canceled */
  bool drop_failures; /* failed answers in the tail: what failed runs again */
  bool by_itself;     /* a retry that found no failed answer */
} cut;

static lnt_value text_value(const char *text) { return (lnt_value){text, strlen(text)}; }

/* ---- Where to cut ---- */

static size_t last_turn_before(const lnt__history *history, size_t end) {
  while (end > 0 && history->events[end - 1].kind != LNT_EVENT_TURN) end--;
  return end;
}

static lnt_status cut_fork(cut *c, lnt_error *err) {
  size_t end = c->fork->event ? (size_t)c->fork->event : c->history.count;
  (void)err;
  c->prefix = last_turn_before(&c->history, end);
  c->tail = end;
  return LNT_OK;
}

/* The turn that made the command is copied whole, its answer is not. A command of a last turn, which has no end, is made again. */
static lnt_status cut_rerun(cut *c, lnt_error *err) {
  const lnt__history *history = &c->history;
  size_t at = (size_t)c->fork->event - 1;
  const uint64_t targets = LNT__KIND_BIT(ACTIVITY_SCHEDULED) | LNT__KIND_BIT(TIMER_CREATED) | LNT__KIND_BIT(EVENT_AWAITED) |
                           LNT__KIND_BIT(CHILD_SCHEDULED);
  const uint64_t takes_input = LNT__KIND_BIT(ACTIVITY_SCHEDULED) | LNT__KIND_BIT(CHILD_SCHEDULED);
  lnt_event_kind kind = history->events[at].kind;
  if (!(targets >> kind & 1))
    return lnt__fail(err, LNT_EINVAL, "event %llu is %s; name one that is ActivityScheduled, ChildScheduled, TimerCreated or EventAwaited",
                     (unsigned long long)c->fork->event, lnt_event_kind_name(kind));
  if (c->fork->has_input && !(takes_input >> kind & 1))
    return lnt__fail(err, LNT_EINVAL, "event %llu is %s, which has no input to replace", (unsigned long long)c->fork->event,
                     lnt_event_kind_name(kind));
  for (c->prefix = at; c->prefix < history->count && history->events[c->prefix].kind != LNT_EVENT_TURN; c->prefix++) continue;
  if (c->prefix < history->count) {
    c->tail = ++c->prefix;
    return LNT_OK;
  }
  c->prefix = last_turn_before(history, at);
  c->tail = at;
  return LNT_OK;
}

static bool same_member(lnt_value a, lnt_value b, const char *name) {
  size_t a_size = 0, b_size = 0;
  const char *x = lnt__cbor_member_string(a, name, &a_size), *y = lnt__cbor_member_string(b, name, &b_size);
  return x && y && a_size == b_size && memcmp(x, y, a_size) == 0;
}

static bool is_failed_answer(lnt_event_kind kind) { return kind == LNT_EVENT_ACTIVITY_FAILED || kind == LNT_EVENT_CHILD_FAILED; }

/* The answer that the run failed with; else the last failed one that its last turn consumed. SIZE_MAX: it failed by itself. */
static size_t failing_answer(const lnt__history *history) {
  const lnt__event *end = &history->events[history->count - 1];
  size_t last_turn = last_turn_before(history, history->count);
  if (end->kind != LNT_EVENT_FAILED) return SIZE_MAX;
  for (size_t i = history->count; i > 0; i--) {
    const lnt__event *event = &history->events[i - 1];
    if (is_failed_answer(event->kind) && same_member(event->value, end->value, "type") && same_member(event->value, end->value, "message"))
      return i - 1;
  }
  for (size_t i = history->count; i > last_turn; i--)
    if (is_failed_answer(history->events[i - 1].kind)) return i - 1;
  return SIZE_MAX;
}

static lnt_status cut_retry(cut *c, lnt_error *err) {
  size_t failed = failing_answer(&c->history);
  (void)err;
  c->by_itself = failed == SIZE_MAX;
  c->drop_failures = !c->by_itself;
  c->prefix = last_turn_before(&c->history, c->by_itself ? c->history.count : failed);
  c->tail = c->history.count;
  return LNT_OK;
}

/* ---- What is kept ---- */

static bool answers_command(lnt_event_kind kind) {
  const uint64_t kinds = LNT__KIND_BIT(ACTIVITY_COMPLETED) | LNT__KIND_BIT(ACTIVITY_FAILED) | LNT__KIND_BIT(TIMER_FIRED) |
                         LNT__KIND_BIT(CHILD_COMPLETED) | LNT__KIND_BIT(CHILD_FAILED);
  return kinds >> kind & 1;
}

/* Of what came after the copied turns: what the body would have been told, but of nothing that is left out, and no request that was made of
 * the source. */
static bool kept_in_tail(const cut *c, const lnt__event *event) {
  if (!lnt__event_is_inbox(event->kind)) return false;
  if (event->kind == LNT_EVENT_STARTED || event->kind == LNT_EVENT_FORKED) return false; /* the new run has its own */
  if (event->kind == LNT_EVENT_TERMINATE_REQUESTED || event->kind == LNT_EVENT_CANCEL_REQUESTED) return false;
  if (event->kind == LNT_EVENT_TIMER_FIRED && event->seq == 0) return false;
  if (c->drop_failures && is_failed_answer(event->kind)) return false;
  return !answers_command(event->kind) || event->seq <= c->commands;
}

/* How far attempts had come is of no use to those that begin anew. */
static bool kept_in_prefix(const cut *c, const lnt__event *event) {
  bool attempts = event->kind == LNT_EVENT_ACTIVITY_RETRIED || event->kind == LNT_EVENT_ACTIVITY_DEFERRED ||
                  event->kind == LNT_EVENT_CHILD_RETRIED;
  return !attempts || c->answered[event->seq];
}

static bool find_answers(cut *c) {
  for (size_t i = 0; i < c->prefix; i++) c->commands += lnt__event_is_command(c->history.events[i].kind);
  c->answered = lnt__calloc(c->commands + 1, 1);
  if (!c->answered) return false;
  for (size_t i = 0; i < c->tail; i++) {
    const lnt__event *event = &c->history.events[i];
    bool kept = i < c->prefix ? answers_command(event->kind) || event->kind == LNT_EVENT_COMMAND_CANCELED
                              : answers_command(event->kind) && kept_in_tail(c, event);
    if (kept && event->seq <= c->commands) c->answered[event->seq] = 1;
  }
  return true;
}

static lnt_status cut_init(cut *c, lnt__engine *engine, const lnt__turn *source, const lnt__fork *fork, lnt_error *err) {
  static lnt_status (*const cuts[])(cut *, lnt_error *) = {[LNT__FORK] = cut_fork, [LNT__RERUN] = cut_rerun, [LNT__RETRY] = cut_retry};
  memset(c, 0, sizeof(*c));
  c->fork = fork;
  lnt__history_init(&c->history);
  if (fork->history) c->history = *fork->history;
  lnt_status status = fork->history ? LNT_OK : lnt__journal_history(engine->store, fork->run, &c->history, err);
  if (status != LNT_OK) return status;
  if (c->history.count == 0 || c->history.events[0].kind != LNT_EVENT_STARTED)
    return lnt__fail(err, LNT_ECORRUPT, "the history of instance '%s' does not begin with its start", source->id);
  if (fork->event > c->history.count || (fork->what == LNT__RERUN && fork->event == 0))
    return lnt__fail(err, LNT_EINVAL, "instance '%s' has no event %llu; its events are 1 to %zu", source->id,
                     (unsigned long long)fork->event, c->history.count);
  status = cuts[fork->what](c, err);
  if (status == LNT_OK && fork->what == LNT__FORK && fork->has_input && c->prefix)
    status = lnt__fail(err, LNT_EINVAL, "by event %llu the body of instance '%s' has seen its input; fork from event 1, or rerun a command",
                       (unsigned long long)fork->event, source->id);
  if (status == LNT_OK && !find_answers(c)) status = lnt__fail(err, LNT_ENOMEM, "out of memory while '%s' was forked", source->id);
  return status;
}

static void cut_finish(cut *c) {
  if (!c->fork->history) lnt__history_finish(&c->history);
  lnt__free(c->answered);
}

/* ---- The new run ---- */

/* The code of the copied part, or the newest. */
static lnt_status choose_code(const cut *c, const lnt__turn *source, uint8_t hash[LNT__SHA256_BYTES], bool *changed, lnt_error *err) {
  lnt__engine *engine = source->engine;
  uint8_t pinned[LNT__SHA256_BYTES];
  size_t end = c->prefix ? c->prefix : 1;
  for (size_t i = 0; i < end; i++)
    if (c->history.events[i].hash.size) memcpy(pinned, c->history.events[i].hash.data, LNT__SHA256_BYTES);
  memcpy(hash, pinned, LNT__SHA256_BYTES);
  if (!lnt__engine_has_code(engine, pinned)) memcpy(hash, source->hash, LNT__SHA256_BYTES); /* it was moved since, and its code collected */
  lnt_status status = LNT_OK;
  if (c->fork->code == LNT_FORK_CODE_NEWEST) status = engine->vm.resolve(engine->vm.vm, source, source->workflow, hash, err);
  else if (c->fork->code == LNT_FORK_CODE_AUTO && c->by_itself) engine->vm.resolve(engine->vm.vm, source, source->workflow, hash, NULL);
  *changed = status == LNT_OK && memcmp(hash, pinned, LNT__SHA256_BYTES) != 0;
  return status;
}

static void copy_value(lnt__turn *to, void **data, size_t *size, const void *from, size_t from_size) {
  if (from_size && !(*data = lnt__alloc(from_size))) {
    lnt__poison(to->engine);
    return;
  }
  if (from_size) memcpy(*data, from, from_size);
  *size = from_size;
}

static uint64_t seed_of(const cut *c) {
  uint64_t seed = c->history.events[0].seed;
  for (size_t i = 0; i < (c->fork->what == LNT__RETRY ? c->tail : c->prefix); i++)
    if (c->history.events[i].kind == LNT_EVENT_FORKED) seed = c->history.events[i].seed;
  return seed;
}

static lnt__turn *make_run(const cut *c, const lnt__turn *source, const char *id, const uint8_t *hash) {
  lnt__engine *engine = source->engine;
  bool again = c->fork->what == LNT__RETRY;
  lnt__turn *turn = lnt__instance_create(engine, engine->next_run, id, strlen(id), source->workflow, strlen(source->workflow), hash, true);
  if (!turn) return NULL;
  engine->next_run++;
  turn->status = c->prefix ? LNT_RUN_RUNNING : LNT_RUN_PENDING;
  turn->loaded = turn->is_new = turn->row_dirty = turn->forming = true;
  turn->has_turns = c->prefix > 0;
  turn->created_us = turn->updated_us = engine->now_us;
  turn->seed = seed_of(c);
  turn->generation = again ? source->generation + 1 : 1;
  turn->parent_run = again ? source->parent_run : 0;
  turn->parent_seq = again ? source->parent_seq : 0;
  turn->older_run = again ? source->run : 0;
  turn->new_era = engine->now_us < engine->last_created_us;
  engine->last_created_us = engine->now_us;
  copy_value(turn, &turn->attributes, &turn->attributes_size, source->attributes, source->attributes_size);
  copy_value(turn, &turn->custom_status, &turn->custom_status_size, source->custom_status, source->custom_status_size);
  return turn;
}

/* ---- The copied events ---- */

static void flush(lnt__turn *turn, lnt__record *record) {
  lnt__batch *batch = lnt__open_commit(turn->engine)->batch;
  if (record->bytes.size == 0) return;
  if (!lnt__record_put(record, turn->run, turn->next_record++, batch, &turn->history_bytes)) lnt__poison(turn->engine);
  lnt__record_clear(record);
}

/* The copy names its own id; children that are started again get new ones, because the source's have the old. */
static lnt__event adapted(const cut *c, const lnt__turn *turn, const lnt__event *event, char child[LNT_ID_BYTES_MAX + 1]) {
  lnt__event copy = *event;
  if (event->kind == LNT_EVENT_STARTED) copy.id = text_value(turn->id);
  if (event->kind != LNT_EVENT_CHILD_SCHEDULED || c->answered[event->seq]) return copy;
  lnt__child_default_id(turn, event->seq, child);
  copy.id = text_value(child);
  return copy;
}

static void copy_prefix(const cut *c, lnt__turn *turn) {
  lnt__record record = {.count = 0};
  char child[LNT_ID_BYTES_MAX + 1];
  for (size_t i = 0; i < c->prefix; i++) {
    const lnt__event *event = &c->history.events[i];
    if (!kept_in_prefix(c, event)) continue;
    lnt__event copy = adapted(c, turn, event, child);
    if (!lnt__record_add(&record, &copy)) lnt__poison(turn->engine);
    turn->history_events++;
    turn->last_us = event->time_us;
    if (lnt__record_bytes(&record) >= RECORD_BYTES) flush(turn, &record);
  }
  flush(turn, &record);
  lnt__record_finish(&record);
}

/* A run whose body has done nothing starts like a new one. */
static void start_anew(const cut *c, lnt__turn *turn) {
  lnt__event started = c->history.events[0];
  started.id = text_value(turn->id);
  started.due_us = 0;
  started.hash = (lnt_value){turn->hash, LNT__SHA256_BYTES};
  started.engine = text_value(turn->engine->fingerprint);
  if (c->fork->has_input && c->fork->what == LNT__FORK) started.value = c->fork->input;
  lnt__accept(turn, &started);
}

/* Whose steps the copied ones are: the source's, or, of a retry of a retry that had not come beyond its copied part, of the run before. */
static lnt__origin_key key_of_steps(const cut *c) {
  lnt__step_keys keys = {.count = 0};
  for (size_t i = 0; i < c->history.count; i++) lnt__step_keys_see(&keys, &c->history.events[i]);
  lnt__origin_key key = keys.own;
  for (size_t i = keys.count; i > 0; i--)
    if (c->commands <= keys.ranges[i - 1].commands) key = keys.ranges[i - 1].key;
  lnt__step_keys_finish(&keys);
  return key;
}

static void write_origin(lnt__buf *out, const cut *c) {
  static const char *const names[] = {[LNT__FORK] = "fork", [LNT__RERUN] = "rerun", [LNT__RETRY] = "retry"};
  lnt__cbor_map map;
  lnt__cbor_map_begin(out, &map);
  lnt__cbor_cstring(out, "by");
  lnt__cbor_cstring(out, c->fork->history ? "import" : names[c->fork->what]);
  lnt__cbor_cstring(out, "run");
  lnt__cbor_int(out, (int64_t)c->fork->run);
  lnt__cbor_cstring(out, "key");
  lnt__origin_key_write(out, key_of_steps(c));
  lnt__cbor_map_end(out, &map, 3, false);
}

static void note_fork(const cut *c, lnt__turn *turn, const lnt__turn *source) {
  lnt__buf origin;
  lnt__buf_init(&origin);
  write_origin(&origin, c);
  if (origin.failed) lnt__poison(turn->engine);
  lnt__event event = {.kind = LNT_EVENT_FORKED, .seq = (uint32_t)c->prefix, .id = text_value(source->id),
                      .value = {origin.data, origin.size}, .seed = turn->seed};
  if (c->fork->what != LNT__RETRY) event.seed = lnt__rng_next(&turn->engine->rng);
  lnt__accept(turn, &event);
  lnt__buf_finish(&origin);
}

static void write_run(const cut *c, lnt__turn *turn, const lnt__turn *source, bool code_changed) {
  copy_prefix(c, turn);
  if (c->prefix == 0) start_anew(c, turn);
  note_fork(c, turn, source);
  if (code_changed && c->prefix) {
    lnt__event changed = {.kind = LNT_EVENT_CODE_CHANGED, .hash = {turn->hash, LNT__SHA256_BYTES},
                          .engine = text_value(turn->engine->fingerprint)};
    lnt__emit(turn, &changed);
  }
  if (c->fork->has_input && c->fork->what == LNT__RERUN) {
    lnt__event replaced = {.kind = LNT_EVENT_INPUT_REPLACED, .seq = c->history.events[c->fork->event - 1].seq, .value = c->fork->input};
    lnt__emit(turn, &replaced);
  }
  for (size_t i = c->prefix ? c->prefix : 1; i < c->tail; i++) {
    lnt__event event = c->history.events[i];
    if (kept_in_tail(c, &event)) lnt__accept(turn, &event);
    else if (event.kind == LNT_EVENT_INPUT_REPLACED) lnt__emit(turn, &event);
  }
}

/* ---- Requests ---- */

static lnt_status check_source(lnt__turn *source, const lnt__fork *fork, lnt_error *err) {
  const lnt__turn *newest = lnt__strmap_get(&source->engine->by_id, source->id);
  if (!lnt__instance_clean(source))
    return lnt__fail(err, LNT_EAGAIN, "the last events of instance '%s' are on their way to the disk; ask again", source->id);
  if (fork->what == LNT__FORK) return LNT_OK;
  if (!lnt__instance_closed(source))
    return lnt__fail(err, LNT_EOPEN, "instance '%s' is %s; only a finished one can be %s", source->id, lnt_run_status_name(source->status),
                     fork->what == LNT__RERUN ? "rerun; fork it" : "retried");
  if (fork->what == LNT__RERUN) return LNT_OK;
  bool may = source->status == LNT_RUN_FAILED || source->status == LNT_RUN_TERMINATED || source->status == LNT_RUN_CANCELED;
  if (!may)
    return lnt__fail(err, LNT_EINVAL, "instance '%s' is %s; there is nothing to retry", source->id, lnt_run_status_name(source->status));
  uint64_t run = newest ? newest->run : source->run;
  lnt_status status = newest ? LNT_OK : lnt__journal_find(source->engine->store, source->id, &run, err);
  if (status == LNT_OK && run != source->run)
    status = lnt__fail(err, LNT_EEXIST, "the id '%s' has a newer run than %llu", source->id, (unsigned long long)source->run);
  return status;
}

static lnt_status choose_id(lnt__turn *source, const lnt__fork *fork, char id[LNT_ID_BYTES_MAX + 1], lnt_error *err) {
  if (fork->what == LNT__RETRY || !fork->new_id) {
    if (fork->what == LNT__RETRY) snprintf(id, LNT_ID_BYTES_MAX + 1, "%s", source->id);
    else lnt__rng_uuid_at(&source->engine->rng, source->engine->now_us, id);
    return LNT_OK;
  }
  snprintf(id, LNT_ID_BYTES_MAX + 1, "%s", fork->new_id);
  return lnt__id_is_free(source->engine, id, err);
}

static lnt_status check_room(const cut *c, const char *id, lnt_error *err) {
  for (size_t i = 0; i < c->prefix; i++) {
    const lnt__event *event = &c->history.events[i];
    if (event->kind == LNT_EVENT_CHILD_SCHEDULED && !c->answered[event->seq] && strlen(id) + LNT__CHILD_SUFFIX_BYTES > LNT_ID_BYTES_MAX)
      return lnt__fail(err, LNT_ELIMIT, "the id '%s' is too long: the ids of its children begin with it", id);
  }
  return LNT_OK;
}

static lnt_status fork_from(lnt__turn *source, const lnt__fork *fork, char *id_out, lnt_error *err) {
  cut c;
  char id[LNT_ID_BYTES_MAX + 1];
  uint8_t hash[LNT__SHA256_BYTES];
  bool changed = false;
  lnt_status status = cut_init(&c, source->engine, source, fork, err);
  if (status == LNT_OK) status = choose_id(source, fork, id, err);
  if (status == LNT_OK) status = check_room(&c, id, err);
  if (status == LNT_OK) status = choose_code(&c, source, hash, &changed, err);
  lnt__turn *turn = status == LNT_OK ? make_run(&c, source, id, hash) : NULL;
  if (status == LNT_OK && !turn) status = lnt__fail(err, LNT_ENOMEM, "out of memory while '%s' was forked", source->id);
  if (status == LNT_OK) {
    write_run(&c, turn, source, changed);
    snprintf(id_out, LNT_ID_BYTES_MAX + 1, "%s", id);
    source->engine->stats.started += fork->what != LNT__RETRY;
  }
  cut_finish(&c);
  return status;
}

lnt_status lnt__engine_fork(lnt__engine *engine, const lnt__fork *fork, char *id_out, lnt_error *err) {
  lnt_status status = lnt__accepting(engine, err);
  lnt__turn *source = status == LNT_OK ? lnt__instance_by_run(engine, fork->run, &status, err) : NULL;
  if (!source) return status;
  status = check_source(source, fork, err);
  source->pins++; /* making the new run must not free it */
  if (status == LNT_OK) status = fork_from(source, fork, id_out, err);
  source->pins--;
  lnt__instance_release(source);
  if (status == LNT_OK) lnt__push_done(engine, fork->done, fork->done_user);
  return status;
}

lnt_status lnt__engine_fork_foreign(lnt__engine *engine, const lnt__row *row, const lnt__fork *fork, char *id_out, lnt_error *err) {
  char id[LNT_ID_BYTES_MAX + 1] = "", workflow[LNT_NAME_BYTES_MAX + 1] = "";
  lnt_status status = lnt__accepting(engine, err);
  if (status != LNT_OK) return status;
  memcpy(id, row->id.data, row->id.size);
  memcpy(workflow, row->workflow.data, row->workflow.size);
  lnt__turn source = {.engine = engine, .run = row->run, .id = id, .workflow = workflow, .status = row->status,
                      .generation = row->generation, .attributes = (void *)(uintptr_t)row->attributes.data,
                      .attributes_size = row->attributes.size, .custom_status = (void *)(uintptr_t)row->custom_status.data,
                      .custom_status_size = row->custom_status.size};
  memcpy(source.hash, row->hash, LNT__SHA256_BYTES);
  status = fork_from(&source, fork, id_out, err);
  if (status == LNT_OK) lnt__push_done(engine, fork->done, fork->done_user);
  return status;
}

/* ---- Going on from there ---- */

void lnt__fork_formed(lnt__turn *turn) {
  turn->forming = turn->loaded = turn->has_turns = false;
  lnt__buf_clear(&turn->inbox);
  turn->inbox_count = 0;
  turn->history_events = turn->history_bytes = turn->next_record = 0;
  LNT__PUSH(turn->engine, turn->engine->recover, turn->run);
}

/* What has fired already, in the source too, waits in the inbox. */
static void mark_fired(lnt__turn *turn) {
  lnt__reader reader = lnt__reader_of(turn->inbox.data + turn->inbox_at, turn->inbox.size - turn->inbox_at);
  lnt__event event;
  int64_t read_us = turn->inbox_read_us;
  while (reader.at < reader.end && lnt__event_read(&reader, &read_us, &event)) {
    lnt__cmd *cmd = event.kind == LNT_EVENT_TIMER_FIRED && event.seq ? lnt__cmd_find(turn, event.seq) : NULL;
    if (cmd && cmd->state == LNT__CMD_WAITING) lnt__cmd_set_state(turn, cmd, LNT__CMD_FIRED);
  }
}

/* The copied part is behind the body: what the source waited for is its to wait for now. */
void lnt__fork_take_over(lnt__turn *turn) {
  mark_fired(turn);
  for (size_t i = 0; i < turn->cmd_count; i++) {
    lnt__cmd *cmd = &turn->cmds[i];
    if (cmd->state != LNT__CMD_WAITING) continue;
    if (cmd->due_us) lnt__timer_arm(turn, cmd);
    if (cmd->kind == LNT_EVENT_CHILD_SCHEDULED) lnt__child_start_again(turn, cmd);
  }
}

/* ---- What a history says about its copies ---- */

static void note_replaced(lnt__turn *turn, const lnt__event *event) {
  lnt__replaced replaced = {event->seq, lnt__alloc(event->value.size), event->value.size};
  size_t count = turn->replaced.count;
  if (replaced.data && event->value.size) memcpy(replaced.data, event->value.data, event->value.size);
  if (replaced.data) LNT__PUSH(turn->engine, turn->replaced, replaced);
  else lnt__poison(turn->engine);
  if (turn->replaced.count == count) lnt__free(replaced.data);
}

void lnt__fork_scan(lnt__turn *turn, const lnt__history *history) {
  lnt__fork_forget(turn);
  for (size_t i = 0; i < history->count; i++) {
    if (history->events[i].kind == LNT_EVENT_INPUT_REPLACED) note_replaced(turn, &history->events[i]);
    if (!lnt__step_keys_see(&turn->keys, &history->events[i])) lnt__poison(turn->engine);
  }
}

void lnt__fork_forget(lnt__turn *turn) {
  for (size_t i = 0; i < turn->replaced.count; i++) lnt__free(turn->replaced.items[i].data);
  lnt__free(turn->replaced.items);
  memset(&turn->replaced, 0, sizeof(turn->replaced));
  lnt__step_keys_finish(&turn->keys);
}

lnt_value lnt__replaced_input(const lnt__turn *turn, uint32_t seq, lnt_value input) {
  for (size_t i = turn->replaced.count; i > 0; i--) {
    const lnt__replaced *replaced = &turn->replaced.items[i - 1];
    if (replaced->seq == seq) return (lnt_value){replaced->data, replaced->size};
  }
  return input;
}
