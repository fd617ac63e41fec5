/* instance.c - instances in memory: made from a request or from the store, their commands, the ready list, residency. */
#include "engine/internal.h"

static bool copy_value(void **to, size_t *size, lnt_value value) {
  if (!value.size) return true;
  *to = lnt__alloc(value.size);
  if (!*to) return false;
  memcpy(*to, value.data, value.size);
  *size = value.size;
  return true;
}

bool lnt__name_equal(lnt_value a, lnt_value b) {
  if (a.size != b.size) return false;
  const char *x = a.data, *y = b.data;
  for (size_t i = 0; i < a.size; i++) {
    char p = x[i] >= 'A' && x[i] <= 'Z' ? (char)(x[i] + 32) : x[i];
    char q = y[i] >= 'A' && y[i] <= 'Z' ? (char)(y[i] + 32) : y[i];
    if (p != q) return false;
  }
  return true;
}

bool lnt__status_closed(lnt_run_status status) {
  return status == LNT_RUN_COMPLETED || status == LNT_RUN_FAILED || status == LNT_RUN_TERMINATED || status == LNT_RUN_CANCELED ||
         status == LNT_RUN_CONTINUED_AS_NEW;
}

bool lnt__instance_closed(const lnt__turn *turn) { return lnt__status_closed(turn->status); }

bool lnt__instance_full(const lnt__turn *turn) { return turn->engine->full.count && lnt__u64map_get(&turn->engine->full, turn->run); }

/* Nothing of it is on the way to the disk and no turn is near: its body can be rebuilt later. */
bool lnt__instance_idle(const lnt__turn *turn) {
  return lnt__instance_clean(turn) && !turn->ready && (turn->inbox_count == 0 || lnt__instance_held(turn));
}

bool lnt__instance_clean(const lnt__turn *turn) { return !turn->dirty && turn->pins == 0 && turn->last_batch <= turn->engine->committed; }

lnt__turn *lnt__instance_create(lnt__engine *engine, uint64_t run, const char *id, size_t id_size, const char *workflow,
                                size_t workflow_size, const uint8_t *hash, bool is_newest) {
  lnt__turn *turn = lnt__calloc(1, sizeof(*turn) + id_size + 1 + workflow_size + 1); /* the texts stand behind it */
  if (!turn) return NULL;
  turn->id = (char *)(turn + 1);
  turn->workflow = turn->id + id_size + 1;
  memcpy(turn->id, id, id_size);
  memcpy(turn->workflow, workflow, workflow_size);
  turn->engine = engine;
  turn->run = run;
  turn->generation = 1;
  turn->next_seq = 1;
  memcpy(turn->hash, hash, LNT__SHA256_BYTES);
  if (!lnt__u64map_put(&engine->by_run, run, turn)) {
    lnt__free(turn);
    return NULL;
  }
  engine->stats.loaded++;
  if (!is_newest || lnt__strmap_put(&engine->by_id, turn->id, turn)) return turn;
  lnt__instance_free(turn);
  return NULL;
}

void lnt__instance_free(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  lnt__instance_drop_body(turn);
  lnt__cmds_clear(turn, false);
  lnt__u64map_remove(&engine->by_run, turn->run);
  if (lnt__strmap_get(&engine->by_id, turn->id) == turn) lnt__strmap_remove(&engine->by_id, turn->id);
  engine->stats.loaded--;
  lnt__asks_finish(turn);
  lnt__record_finish(&turn->record);
  lnt__buf_finish(&turn->inbox);
  lnt__buf_finish(&turn->patches);
  lnt__fork_forget(turn);
  lnt__free(turn->cmds);
  lnt__free(turn->buffered);
  lnt__free(turn->custom_status);
  lnt__free(turn->failure);
  lnt__free(turn->attributes);
  lnt__free(turn->attributes_indexed);
  lnt__raise_keys_free(turn);
  lnt__free(turn);
}

void lnt__instance_release(lnt__turn *turn) {
  if (turn->body || turn->ready || turn->pending_activities || turn->status == LNT_RUN_STALLED) return;
  if (turn->inbox_count && !lnt__instance_held(turn)) return; /* a held one finds its events in the store when it goes on */
  if (lnt__instance_clean(turn) && !lnt__is_asked(turn)) lnt__instance_free(turn);
}

/* ---- From the store ---- */

/* The id of one that is over may lead to a newer run by now. */
static lnt__turn *from_row(lnt__engine *engine, const lnt__row *row) {
  lnt__turn *turn = lnt__instance_create(engine, row->run, row->id.data, row->id.size, row->workflow.data, row->workflow.size, row->hash,
                                         row->closed_us == 0);
  if (!turn) return NULL;
  turn->status = row->status;
  turn->created_us = row->created_us;
  turn->updated_us = row->updated_us;
  turn->closed_us = row->closed_us;
  turn->generation = row->generation;
  turn->last_us = row->updated_us;
  turn->indexed = (uint8_t)(1 + row->status);
  turn->parent_run = row->parent_run;
  turn->parent_seq = row->parent_seq;
  turn->row_apart = row->apart;
  if (copy_value(&turn->custom_status, &turn->custom_status_size, row->custom_status) &&
      copy_value(&turn->failure, &turn->failure_size, row->failure) &&
      copy_value(&turn->attributes, &turn->attributes_size, row->attributes))
    return turn;
  lnt__instance_free(turn);
  return NULL;
}

lnt__turn *lnt__instance_by_run(lnt__engine *engine, uint64_t run, lnt_status *status, lnt_error *err) {
  lnt__turn *turn = lnt__u64map_get(&engine->by_run, run);
  if (turn && turn->purging) *status = lnt__fail(err, LNT_ENOTFOUND, "there is no run %llu", (unsigned long long)run);
  if (turn) return turn->purging ? NULL : turn;
  lnt__row row;
  void *memory;
  *status = lnt__journal_row(engine->store, run, &row, &memory, err);
  if (*status != LNT_OK) return NULL;
  turn = from_row(engine, &row);
  lnt__free(memory);
  if (!turn) *status = lnt__fail(err, LNT_ENOMEM, "out of memory while loading an instance");
  return turn;
}

lnt__turn *lnt__instance_by_id(lnt__engine *engine, const char *id, lnt_status *status, lnt_error *err) {
  lnt__turn *turn = lnt__strmap_get(&engine->by_id, id);
  uint64_t run;
  if (turn) return turn;
  *status = lnt__journal_find(engine->store, id, &run, err);
  turn = *status == LNT_OK ? lnt__instance_by_run(engine, run, status, err) : NULL;
  if (!turn && *status == LNT_ENOTFOUND) lnt__fail(err, LNT_ENOTFOUND, "there is no instance '%s'", id); /* also when it is being purged */
  return turn;
}

/* One whose large input was left where it is has its answer. */
static void fold_command(lnt__turn *turn, const lnt__event *event) {
  if (event->apart) return;
  lnt_value input = lnt__replaced_input(turn, event->seq, event->value);
  if (event->kind == LNT_EVENT_ACTIVITY_SCHEDULED) {
    lnt__cmd *cmd = lnt__cmd_add(turn, event->seq, event->kind, event->name, input, event->options);
    if (cmd) lnt__cmd_set_state(turn, cmd, LNT__CMD_QUEUED), lnt__plan_start(cmd, event->time_us);
  } else if (event->kind == LNT_EVENT_CHILD_SCHEDULED) {
    lnt__cmd *cmd = lnt__cmd_add_child(turn, event->seq, event->name, input, event->options, event->id);
    if (!cmd) return;
    cmd->due_us = event->due_us;
    cmd->timer_durable = event->due_us != 0;
  }
}

static void fold_answer(lnt__turn *turn, lnt__cmd *cmd, bool consumed) {
  cmd->timer_durable = false; /* the answer took the row away */
  if (consumed) lnt__cmd_remove(turn, cmd);
  else lnt__cmd_set_state(turn, cmd, LNT__CMD_ANSWERED);
}

/* The timeout of a child. */
static void fold_fired(lnt__turn *turn, lnt__cmd *cmd, bool consumed) {
  if (cmd->kind != LNT_EVENT_CHILD_SCHEDULED) return;
  cmd->timer_durable = false;
  if (consumed) lnt__cmd_remove(turn, cmd);
  else if (cmd->state == LNT__CMD_WAITING) lnt__cmd_set_state(turn, cmd, LNT__CMD_FIRED);
}

/* One event of a stored history: keep the activities and children that have no answer, and what no turn has consumed. */
static void fold_event(lnt__turn *turn, const lnt__event *event, bool consumed) {
  lnt__cmd *cmd = event->seq ? lnt__cmd_find(turn, event->seq) : NULL;
  switch (event->kind) {
    case LNT_EVENT_STARTED: case LNT_EVENT_FORKED: turn->seed = event->seed; break;
    case LNT_EVENT_ACTIVITY_SCHEDULED: case LNT_EVENT_CHILD_SCHEDULED: fold_command(turn, event); break;
    case LNT_EVENT_ACTIVITY_RETRIED: case LNT_EVENT_ACTIVITY_DEFERRED:
      if (cmd) lnt__attempt_fold(turn, cmd, event);
      break;
    case LNT_EVENT_CHILD_RETRIED:
      if (cmd) cmd->attempt = event->attempt + 1;
      break;
    case LNT_EVENT_COMMAND_CANCELED:
      if (cmd) lnt__cmd_remove(turn, cmd);
      break;
    case LNT_EVENT_ACTIVITY_COMPLETED: case LNT_EVENT_ACTIVITY_FAILED: case LNT_EVENT_CHILD_COMPLETED: case LNT_EVENT_CHILD_FAILED:
      if (cmd) fold_answer(turn, cmd, consumed);
      break;
    case LNT_EVENT_TIMER_FIRED:
      if (cmd) fold_fired(turn, cmd, consumed);
      break;
    case LNT_EVENT_UPDATE_ACCEPTED: case LNT_EVENT_UPDATE_ANSWERED: case LNT_EVENT_UPDATE_REQUESTED: case LNT_EVENT_UPDATE_REJECTED:
      lnt__update_fold(turn, event);
      break;
    default: break;
  }
  if (!consumed && lnt__event_is_inbox(event->kind)) lnt__inbox_append(turn, event);
}

/* Events up to the end of the last turn. */
static size_t consumed_events(const lnt__history *history) {
  size_t count = history->count;
  while (count > 0 && history->events[count - 1].kind != LNT_EVENT_TURN) count--;
  return count;
}

/* By command, in engine->ends: it was given up, or has an answer that the body was told. Nothing is kept of those, so nothing need be
 * fetched or made of them: of a long history that is nearly all. false: no memory. */
static bool find_ends(lnt__engine *engine, const lnt__history *history, size_t consumed) {
  const uint64_t answers = LNT__KIND_BIT(ACTIVITY_COMPLETED) | LNT__KIND_BIT(ACTIVITY_FAILED) | LNT__KIND_BIT(CHILD_COMPLETED) |
                           LNT__KIND_BIT(CHILD_FAILED) | LNT__KIND_BIT(TIMER_FIRED);
  size_t need = history->count + 1; /* every command has an event */
  if (!lnt__grow((void **)&engine->ends, &engine->ends_capacity, need, sizeof *engine->ends)) return false;
  memset(engine->ends, 0, need * sizeof *engine->ends);
  for (size_t i = 0; i < history->count; i++) {
    const lnt__event *event = &history->events[i];
    bool ends = event->kind == LNT_EVENT_COMMAND_CANCELED || (i < consumed && answers >> event->kind & 1);
    if (ends && event->seq <= history->count) engine->ends[event->seq] = (uint32_t)i + 1;
  }
  return true;
}

/* Of the large values only those that the fold keeps: a parked instance does not need what its body has seen. */
static lnt_status fetch_kept(lnt__engine *engine, lnt__history *history, size_t consumed, lnt_error *err) {
  const uint64_t of_commands = LNT__KIND_BIT(ACTIVITY_SCHEDULED) | LNT__KIND_BIT(CHILD_SCHEDULED) | LNT__KIND_BIT(ACTIVITY_RETRIED);
  if (history->apart_count == 0) return LNT_OK;
  for (size_t i = 0; i < history->apart_count; i++) {
    lnt__apart_slices *apart = &history->apart[i];
    const lnt__event *event = &history->events[apart->event];
    if (of_commands >> event->kind & 1) apart->wanted = event->seq > history->count || !engine->ends[event->seq];
    else apart->wanted = event->kind == LNT_EVENT_INPUT_REPLACED || (apart->event >= consumed && lnt__event_is_inbox(event->kind));
  }
  return lnt__history_fetch(engine->store, history, err);
}

static void fold(lnt__turn *turn, const lnt__history *history, size_t consumed) {
  const uint32_t *ends = turn->engine->ends;
  turn->has_turns = consumed > 0;
  for (size_t i = 0; i < history->count; i++) {
    const lnt__event *event = &history->events[i];
    bool over = event->seq && i < consumed && event->seq <= history->count && ends[event->seq] > i; /* by it, or after it */
    if (!over) fold_event(turn, event, i < consumed);
  }
  if (history->count) turn->last_us = history->events[history->count - 1].time_us;
}

/* Is its time to start still to come? */
static bool sleeps(const lnt__turn *turn, const lnt__history *history) {
  bool sleeping = !turn->has_turns && history->count && history->events[0].kind == LNT_EVENT_STARTED && history->events[0].due_us;
  for (size_t i = 0; sleeping && i < history->count; i++)
    if (history->events[i].kind == LNT_EVENT_TIMER_FIRED && history->events[i].seq == 0) sleeping = false;
  return sleeping;
}

/* Events that were accepted before the load stand behind the stored ones. */
lnt_status lnt__instance_load(lnt__turn *turn, lnt_error *err) {
  lnt__engine *engine = turn->engine;
  lnt__history *history = engine->current ? &engine->aside : &engine->replay.history; /* a body that runs may need the other one */
  if (turn->loaded) return LNT_OK;
  lnt__buf beats;
  lnt_status status = lnt__journal_outline(engine->store, turn->run, history, err);
  size_t consumed = consumed_events(history);
  if (status == LNT_OK && !find_ends(engine, history, consumed))
    status = lnt__fail(err, LNT_ENOMEM, "out of memory while an instance was loaded");
  if (status == LNT_OK) status = fetch_kept(engine, history, consumed, err);
  if (status == LNT_OK) status = lnt__beats_read(turn, &beats, err);
  if (status != LNT_OK) return status;
  lnt__buf accepted = turn->inbox;
  int64_t last_us = turn->last_us;
  lnt__buf_init(&turn->inbox);
  turn->inbox_last_us = turn->inbox_read_us = 0;
  turn->inbox_count = 0;
  lnt__fork_scan(turn, history);
  fold(turn, history, consumed);
  lnt__attempts_resume(turn, &beats);
  turn->sleeping = sleeps(turn, history);
  turn->start_us = turn->sleeping ? history->events[0].due_us : 0;
  bool active = turn->pending_activities || (turn->inbox_count && !turn->sleeping) || turn->status == LNT_RUN_STALLED;
  if (lnt__instance_full(turn)) turn->active_durable = LNT__ACTIVE_FULL;
  else if (active) turn->active_durable = LNT__ACTIVE_YES;
  lnt__reader reader = lnt__reader_of(accepted.data, accepted.size);
  lnt__event event;
  int64_t read_us = 0;
  while (reader.at < reader.end && lnt__event_read(&reader, &read_us, &event)) {
    if (event.kind == LNT_EVENT_TIMER_FIRED && event.seq == 0) turn->sleeping = false;
    lnt__inbox_append(turn, &event);
  }
  lnt__buf_finish(&accepted);
  if (last_us > turn->last_us) turn->last_us = last_us;
  turn->next_record = history->records;
  turn->history_events += history->count;
  turn->history_bytes += history->bytes;
  turn->loaded = true;
  return LNT_OK;
}

/* ---- Ready list and residency ---- */

void lnt__ready_push(lnt__turn *turn) {
  if (turn->status != LNT_RUN_STALLED) lnt__ready_retry(turn);
}

void lnt__ready_retry(lnt__turn *turn) {
  if (lnt__instance_closed(turn) || lnt__instance_held(turn)) return;
  turn->tries = true;
  lnt__ready_asked(turn);
}

void lnt__ready_asked(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  if (turn->ready) return;
  turn->ready = true;
  turn->ready_next = NULL;
  if (engine->ready_tail) engine->ready_tail->ready_next = turn;
  else engine->ready_head = turn;
  engine->ready_tail = turn;
  engine->ready_count++;
}

lnt__turn *lnt__ready_pop(lnt__engine *engine) {
  lnt__turn *turn = engine->ready_head;
  if (!turn) return NULL;
  engine->ready_head = turn->ready_next;
  if (!engine->ready_head) engine->ready_tail = NULL;
  engine->ready_count--;
  turn->ready = false;
  return turn;
}

static void lru_unlink(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  if (turn->lru_prev) turn->lru_prev->lru_next = turn->lru_next;
  else engine->lru_head = turn->lru_next;
  if (turn->lru_next) turn->lru_next->lru_prev = turn->lru_prev;
  else engine->lru_tail = turn->lru_prev;
  turn->lru_prev = turn->lru_next = NULL;
}

static void lru_link(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  turn->lru_prev = NULL;
  turn->lru_next = engine->lru_head;
  if (engine->lru_head) engine->lru_head->lru_prev = turn;
  else engine->lru_tail = turn;
  engine->lru_head = turn;
}

void lnt__instance_touch(lnt__turn *turn) {
  if (turn->lru_prev || turn->lru_next || turn->engine->lru_head == turn) lru_unlink(turn);
  else turn->engine->resident++;
  lru_link(turn);
}

/* What replay rebuilds is given back with the body: waits, timers, buffered events. Unanswered activities and children stay. */
void lnt__instance_drop_body(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  if (turn->body) {
    engine->vm.drop(engine->vm.vm, turn->body);
    turn->body = NULL;
  }
  if (turn->lru_prev || turn->lru_next || engine->lru_head == turn) {
    lru_unlink(turn);
    engine->resident--;
  }
  for (size_t i = 0; i < turn->buffered_count; i++) lnt__free(turn->buffered[i].memory);
  turn->buffered_count = 0;
  lnt__cmds_clear(turn, true);
  turn->next_seq = 1;
  turn->raised = turn->updates_answered = turn->asks_run = 0;
  turn->seen = (lnt__seen){0};
}

/* One that held too much gets a turn, in which it ends. */
void lnt__instance_evict(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  turn->evict = false;
  if (turn->weigh && turn->body && engine->vm.weigh) {
    size_t size = engine->vm.weigh(engine->vm.vm, turn->body);
    turn->body = NULL;
    turn->overweight = size > engine->limits.instance_memory_bytes_max ? size : 0;
    if (turn->overweight) lnt__ready_retry(turn);
  }
  turn->weigh = false;
  lnt__instance_drop_body(turn);
}

enum { EVICT_SKIPS_MAX = 8 }; /* instances on their way to the disk that one call looks past */

void lnt__instance_evict_over(lnt__engine *engine) {
  lnt__turn *turn = engine->lru_tail;
  int skips = 0;
  while (turn && engine->resident > engine->limits.resident_max && skips < EVICT_SKIPS_MAX) {
    lnt__turn *before = turn->lru_prev;
    if (lnt__instance_idle(turn)) {
      LNT__MET(engine->met, resident_max);
      lnt__instance_evict(turn);
      lnt__instance_release(turn);
    } else {
      skips++;
    }
    turn = before;
  }
}

/* ---- Commands ---- */

/* Must the instance stay in memory for it, in this state? */
static bool is_pending_activity(const lnt__cmd *cmd, lnt__cmd_state state) {
  if (state == LNT__CMD_DEFERRED) return cmd->plan && cmd->plan->policy.timeout_us[LNT__TIMEOUT_HEARTBEAT];
  return state >= LNT__CMD_QUEUED && state <= LNT__CMD_BEGUN;
}

lnt__cmd *lnt__cmd_find(lnt__turn *turn, uint32_t seq) {
  size_t low = 0, high = turn->cmd_count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (turn->cmds[middle].seq < seq) low = middle + 1;
    else high = middle;
  }
  if (low == turn->cmd_count || turn->cmds[low].seq != seq || turn->cmds[low].state == LNT__CMD_GONE) return NULL;
  return &turn->cmds[low];
}

static void compact(lnt__turn *turn) {
  size_t kept = 0;
  for (size_t i = 0; i < turn->cmd_count; i++)
    if (turn->cmds[i].state != LNT__CMD_GONE) turn->cmds[kept++] = turn->cmds[i];
  turn->cmd_count = kept;
  turn->cmd_gone = 0;
}

/* Replay adds commands before the pending ones of the fold; a live body always adds at the end. */
static lnt__cmd *insert_slot(lnt__turn *turn, uint32_t seq) {
  if (turn->cmd_gone * 2 > turn->cmd_count) compact(turn);
  if (turn->cmd_count == turn->cmd_capacity && !lnt__grow((void **)&turn->cmds, &turn->cmd_capacity, turn->cmd_count + 1, sizeof(lnt__cmd)))
    return NULL;
  size_t at = turn->cmd_count;
  while (at > 0 && turn->cmds[at - 1].seq > seq) at--;
  if (at > 0 && turn->cmds[at - 1].seq == seq) { /* answered in the history that was folded; one slot for each number */
    turn->cmd_gone--;
    memset(&turn->cmds[at - 1], 0, sizeof(lnt__cmd));
    return &turn->cmds[at - 1];
  }
  memmove(&turn->cmds[at + 1], &turn->cmds[at], (turn->cmd_count - at) * sizeof(lnt__cmd));
  turn->cmd_count++;
  memset(&turn->cmds[at], 0, sizeof(lnt__cmd));
  return &turn->cmds[at];
}

static lnt__cmd *add(lnt__turn *turn, uint32_t seq, lnt_event_kind kind, lnt_value name, lnt_value input, lnt_value options,
                     lnt_value id) {
  size_t plan_size = options.size ? sizeof(lnt__plan) : 0;
  char *block = lnt__alloc(plan_size + name.size + 1 + input.size + options.size + id.size + 1), *memory = block + plan_size;
  lnt__cmd *cmd = block ? insert_slot(turn, seq) : NULL;
  if (!cmd) {
    lnt__free(block);
    lnt__poison(turn->engine);
    return NULL;
  }
  if (name.size) memcpy(memory, name.data, name.size);
  memory[name.size] = 0;
  if (input.size) memcpy(memory + name.size + 1, input.data, input.size);
  if (options.size) memcpy(memory + name.size + 1 + input.size, options.data, options.size);
  if (id.size) memcpy(memory + name.size + 1 + input.size + options.size, id.data, id.size);
  memory[name.size + 1 + input.size + options.size + id.size] = 0;
  cmd->seq = seq;
  cmd->kind = (uint8_t)kind;
  cmd->attempt = 1;
  cmd->memory = memory;
  cmd->name_size = (uint32_t)name.size;
  cmd->input_size = (uint32_t)input.size;
  cmd->options_size = (uint32_t)options.size;
  cmd->id_size = (uint32_t)id.size;
  cmd->state = LNT__CMD_WAITING;
  if (plan_size) {
    cmd->plan = (lnt__plan *)(void *)block;
    lnt__policy_read(lnt__cmd_options(cmd), &cmd->plan->policy);
    cmd->plan->armed_us = INT64_MAX;
    for (int i = 0; i < LNT__TIMEOUTS; i++) cmd->plan->due_us[i] = INT64_MAX;
  }
  return cmd;
}

lnt__cmd *lnt__cmd_add(lnt__turn *turn, uint32_t seq, lnt_event_kind kind, lnt_value name, lnt_value input, lnt_value options) {
  return add(turn, seq, kind, name, input, options, LNT_VALUE_NIL);
}

lnt__cmd *lnt__cmd_add_child(lnt__turn *turn, uint32_t seq, lnt_value name, lnt_value input, lnt_value options, lnt_value id) {
  return add(turn, seq, LNT_EVENT_CHILD_SCHEDULED, name, input, options, id);
}

void lnt__cmd_set_state(lnt__turn *turn, lnt__cmd *cmd, lnt__cmd_state state) {
  turn->pending_activities += (uint32_t)is_pending_activity(cmd, state) - (uint32_t)is_pending_activity(cmd, cmd->state);
  turn->queued += (uint32_t)(state == LNT__CMD_QUEUED) - (uint32_t)(cmd->state == LNT__CMD_QUEUED);
  cmd->state = (uint8_t)state;
}

void lnt__cmd_remove(lnt__turn *turn, lnt__cmd *cmd) {
  turn->new_timers -= cmd->timer_new;
  cmd->timer_new = false;
  lnt__cmd_set_state(turn, cmd, LNT__CMD_GONE);
  lnt__beat_free(turn, cmd);
  lnt__free(cmd->plan ? (void *)cmd->plan : cmd->memory);
  cmd->memory = NULL;
  cmd->plan = NULL;
  turn->cmd_gone++;
  if (turn->cmd_gone == turn->cmd_count) turn->cmd_count = turn->cmd_gone = 0;
}

/* What the fold of the history knows and a replay need not make again. */
static bool outlives_body(const lnt__cmd *cmd) {
  if (lnt__cmd_is_attempt(cmd) || cmd->state == LNT__CMD_ANSWERED) return true;
  return cmd->kind == LNT_EVENT_CHILD_SCHEDULED && (cmd->state == LNT__CMD_WAITING || cmd->state == LNT__CMD_FIRED);
}

void lnt__cmds_clear(lnt__turn *turn, bool keep) {
  for (size_t i = turn->cmd_count; i > 0; i--) {
    if (i > turn->cmd_count) continue;
    lnt__cmd *cmd = &turn->cmds[i - 1];
    if (cmd->state != LNT__CMD_GONE && !(keep && outlives_body(cmd))) lnt__cmd_remove(turn, cmd);
  }
  if (turn->cmd_gone) compact(turn);
}
