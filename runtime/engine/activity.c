/* activity.c - attempts of activities: begun, deferred, alive, answered, timed out, tried again. What must last becomes an event of the
 * open batch, or a row in HEARTBEAT. */
#include "engine/internal.h"

/* ---- Plans: the clocks of a command that was called with options ---- */

static void run_clock(lnt__plan *plan, lnt__timeout which, int64_t from_us) {
  int64_t timeout_us = plan->policy.timeout_us[which];
  plan->due_us[which] = timeout_us ? from_us + timeout_us : INT64_MAX;
}

void lnt__plan_start(lnt__cmd *cmd, int64_t scheduled_us) {
  if (!cmd->plan) return;
  run_clock(cmd->plan, LNT__TIMEOUT_SCHEDULE_TO_CLOSE, scheduled_us);
  run_clock(cmd->plan, LNT__TIMEOUT_SCHEDULE_TO_START, scheduled_us);
}

static void plan_retry(lnt__cmd *cmd, int64_t due_us) {
  if (!cmd->plan) return;
  run_clock(cmd->plan, LNT__TIMEOUT_SCHEDULE_TO_START, due_us);
  cmd->plan->due_us[LNT__TIMEOUT_START_TO_CLOSE] = cmd->plan->due_us[LNT__TIMEOUT_HEARTBEAT] = INT64_MAX;
}

/* Whether it had begun before is not known; and time for which the process was down, or the instance suspended, does not count. */
void lnt__plan_resume(lnt__turn *turn, lnt__cmd *cmd) {
  int64_t now_us = turn->engine->now_us;
  if (!cmd->plan) return;
  run_clock(cmd->plan, LNT__TIMEOUT_SCHEDULE_TO_START, cmd->due_us > now_us ? cmd->due_us : now_us);
  lnt__timeouts_arm(turn, cmd);
}

static void plan_begin(lnt__turn *turn, lnt__cmd *cmd) {
  if (!cmd->plan) return;
  cmd->plan->due_us[LNT__TIMEOUT_SCHEDULE_TO_START] = INT64_MAX;
  run_clock(cmd->plan, LNT__TIMEOUT_START_TO_CLOSE, turn->engine->now_us);
  run_clock(cmd->plan, LNT__TIMEOUT_HEARTBEAT, turn->engine->now_us);
  lnt__timeouts_arm(turn, cmd);
}

/* ---- Heartbeats: the newest details of each attempt, for the one that follows it ---- */

void lnt__beat_free(lnt__turn *turn, lnt__cmd *cmd) {
  if (cmd->beat && cmd->beat->fresh) turn->fresh_beats--;
  lnt__free(cmd->beat);
  cmd->beat = NULL;
}

static bool beat_set(lnt__turn *turn, lnt__cmd *cmd, lnt_value details, bool fresh, bool stored) {
  lnt__beat *beat = lnt__alloc(sizeof(*beat) + details.size);
  if (!beat) return false;
  *beat = (lnt__beat){(uint32_t)details.size, fresh, stored || (cmd->beat && cmd->beat->stored)};
  memcpy(beat->bytes, details.data, details.size);
  lnt__beat_free(turn, cmd);
  cmd->beat = beat;
  turn->fresh_beats += fresh;
  return true;
}

static lnt_value beat_value(const lnt__cmd *cmd) {
  return cmd->beat ? (lnt_value){cmd->beat->bytes, cmd->beat->size} : LNT_VALUE_NIL;
}

/* The attempt is over: no row is needed; the next one finds the details in its ActivityRetried. */
static void beat_settle(lnt__turn *turn, lnt__cmd *cmd) {
  lnt__beat *beat = cmd->beat;
  if (!beat) return;
  lnt__due row = {.run = turn->run, .seq = cmd->seq};
  if (beat->stored) LNT__PUSH(turn->engine, lnt__open_commit(turn->engine)->beat_deletes, row);
  if (beat->fresh) turn->fresh_beats--;
  beat->fresh = beat->stored = false;
}

static bool put_beat(lnt__turn *turn, lnt__commit *commit, lnt__cmd *cmd) {
  lnt__buf *scratch = &turn->engine->scratch;
  uint8_t key[LNT__KEY_HISTORY_BYTES];
  lnt__key_history(key, turn->run, cmd->seq);
  lnt__buf_clear(scratch);
  lnt__buf_append(scratch, cmd->beat->bytes, cmd->beat->size);
  lnt__seal(scratch);
  cmd->beat->fresh = false;
  cmd->beat->stored = true;
  return !scratch->failed && lnt__batch_put(commit->batch, LNT__TABLE_HEARTBEAT, key, sizeof(key), scratch->data, scratch->size);
}

bool lnt__beats_put(lnt__turn *turn, lnt__commit *commit) {
  bool good = true;
  for (size_t i = 0; i < turn->cmd_count && turn->fresh_beats; i++) {
    if (!turn->cmds[i].beat || !turn->cmds[i].beat->fresh) continue;
    turn->fresh_beats--;
    good = put_beat(turn, commit, &turn->cmds[i]) && good;
  }
  turn->engine->has_beats = true;
  return good;
}

static int gather_beat(void *user, lnt__slice key, lnt__slice value) {
  lnt__buf *rows = user;
  lnt__slice payload;
  if (key.size != LNT__KEY_HISTORY_BYTES || !lnt__unseal(value, &payload)) return 0;
  lnt__buf_varint(rows, lnt__get_be32((const uint8_t *)key.data + 8));
  lnt__buf_bytes(rows, payload.data, payload.size);
  return rows->failed;
}

lnt_status lnt__beats_read(lnt__turn *turn, lnt__buf *rows, lnt_error *err) {
  lnt__store *store = turn->engine->store;
  uint8_t from[LNT__KEY_HISTORY_BYTES], to[LNT__KEY_HISTORY_BYTES];
  lnt__buf_init(rows);
  if (!turn->engine->has_beats) return LNT_OK;
  lnt__key_history(from, turn->run, 0);
  lnt__key_history(to, turn->run + 1, 0);
  lnt_status status = store->vtable->scan(store, LNT__TABLE_HEARTBEAT, (lnt__slice){from, sizeof(from)}, (lnt__slice){to, sizeof(to)},
                                          false, gather_beat, rows, err);
  if (status == LNT_OK && rows->failed) status = lnt__fail(err, LNT_ENOMEM, "out of memory while heartbeats were read");
  if (status != LNT_OK) lnt__buf_finish(rows);
  return status;
}

/* ---- From the history ---- */

void lnt__attempt_fold(lnt__turn *turn, lnt__cmd *cmd, const lnt__event *event) {
  cmd->due_us = event->due_us;
  cmd->timer_durable = false;
  if (event->kind == LNT_EVENT_ACTIVITY_RETRIED) {
    cmd->attempt = event->attempt + 1;
    lnt__cmd_set_state(turn, cmd, LNT__CMD_QUEUED);
    plan_retry(cmd, event->due_us);
    if (event->options.data && !beat_set(turn, cmd, event->options, false, false)) lnt__poison(turn->engine); /* not apart */
    return;
  }
  lnt__cmd_set_state(turn, cmd, LNT__CMD_DEFERRED);
  cmd->timer_durable = event->due_us != 0;
  if (!cmd->plan) return;
  cmd->plan->due_us[LNT__TIMEOUT_SCHEDULE_TO_START] = INT64_MAX;
  if (event->due_us) cmd->plan->due_us[LNT__TIMEOUT_START_TO_CLOSE] = event->due_us;
}

/* Nobody could give a sign of life while the process was down: the clock of heartbeats begins anew. */
static void resume_deferred(lnt__turn *turn, lnt__cmd *cmd) {
  if (!cmd->plan) return;
  run_clock(cmd->plan, LNT__TIMEOUT_HEARTBEAT, turn->engine->now_us);
  if (cmd->plan->policy.timeout_us[LNT__TIMEOUT_HEARTBEAT]) lnt__timeouts_arm(turn, cmd);
}

void lnt__attempts_resume(lnt__turn *turn, lnt__buf *rows) {
  lnt__reader reader = lnt__reader_of(rows->data, rows->size);
  while (reader.at < reader.end && !reader.failed) {
    lnt__cmd *cmd = lnt__cmd_find(turn, (uint32_t)lnt__read_varint(&reader));
    lnt_value details = lnt__read_bytes(&reader);
    if (cmd && lnt__cmd_is_attempt(cmd) && !beat_set(turn, cmd, details, false, true)) lnt__poison(turn->engine);
  }
  lnt__buf_finish(rows);
  for (size_t i = 0; i < turn->cmd_count; i++) {
    if (turn->cmds[i].state == LNT__CMD_QUEUED) lnt__plan_resume(turn, &turn->cmds[i]);
    if (turn->cmds[i].state == LNT__CMD_DEFERRED) resume_deferred(turn, &turn->cmds[i]);
  }
}

/* ---- Beginning ---- */

void lnt__attempt_queue(lnt__turn *turn, lnt__cmd *cmd) {
  lnt__engine *engine = turn->engine;
  cmd->batch = lnt__open_commit(engine)->number;
  lnt__cmd_set_state(turn, cmd, LNT__CMD_QUEUED);
  if (!cmd->pure || lnt__instance_held(turn)) return;
  if (cmd->due_us > engine->now_us) {
    lnt__retry_later(turn, cmd);
    return;
  }
  lnt__cmd_set_state(turn, cmd, LNT__CMD_DISPATCHED);
  engine->effects.dispatch(engine->effects.user, (lnt_token){turn->run, cmd->seq, cmd->attempt});
}

static lnt__cmd *attempt_of(lnt__engine *engine, lnt_token token, lnt__turn **turn) {
  *turn = lnt__u64map_get(&engine->by_run, token.run);
  lnt__cmd *cmd = *turn ? lnt__cmd_find(*turn, token.seq) : NULL;
  return cmd && cmd->kind == LNT_EVENT_ACTIVITY_SCHEDULED && cmd->attempt == token.attempt ? cmd : NULL;
}

static bool time_out(lnt__turn *turn, lnt__cmd *cmd);

bool lnt__engine_begin(lnt__engine *engine, lnt_token token, lnt__attempt *out) {
  lnt__turn *turn;
  lnt__cmd *cmd = attempt_of(engine, token, &turn);
  if (!cmd || cmd->state != LNT__CMD_DISPATCHED || time_out(turn, cmd)) return false;
  if (lnt__instance_held(turn)) { /* it was suspended while the attempt waited for its place */
    lnt__cmd_set_state(turn, cmd, LNT__CMD_QUEUED);
    return false;
  }
  lnt__cmd_set_state(turn, cmd, LNT__CMD_BEGUN);
  plan_begin(turn, cmd);
  *out = (lnt__attempt){.token = token, .name = cmd->memory, .instance_id = turn->id, .workflow = turn->workflow, .hash = turn->hash,
                        .input = lnt__cmd_input(cmd), .heartbeat = beat_value(cmd)};
  lnt__step_key_text(&turn->keys, token.seq, out->idempotency_key);
  engine->stats.activities_started++;
  engine->stats.running++;
  return true;
}

void lnt__engine_unbegin(lnt__engine *engine, lnt_token token) {
  lnt__turn *turn;
  lnt__cmd *cmd = attempt_of(engine, token, &turn);
  if (!cmd || cmd->state != LNT__CMD_BEGUN) return;
  lnt__cmd_set_state(turn, cmd, LNT__CMD_DISPATCHED);
  engine->stats.activities_started--;
  engine->stats.running--;
}

const char *lnt__engine_attempt_name(lnt__engine *engine, lnt_token token) {
  lnt__turn *turn;
  const lnt__cmd *cmd = attempt_of(engine, token, &turn);
  return cmd && cmd->state == LNT__CMD_DISPATCHED ? cmd->memory : NULL;
}

/* ---- Answers ---- */

/* The attempt that `token` names, if it is begun or deferred. One that is deferred may be of an instance that is not in memory. NULL:
 * *status says why. */
static lnt__cmd *awaited(lnt__engine *engine, lnt_token token, lnt__turn **turn, lnt_status *status) {
  lnt__cmd *cmd = NULL;
  *status = LNT_OK;
  *turn = lnt__instance_by_run(engine, token.run, status, NULL);
  if (!*turn) return NULL;
  if (!lnt__instance_closed(*turn)) *status = lnt__instance_load(*turn, NULL);
  if (*status == LNT_OK) cmd = attempt_of(engine, token, turn);
  if (cmd && (cmd->state == LNT__CMD_BEGUN || cmd->state == LNT__CMD_DEFERRED)) return cmd;
  lnt__instance_release(*turn);
  if (*status == LNT_OK) *status = LNT_ENOTFOUND;
  return NULL;
}

lnt_status lnt__engine_awaits(lnt__engine *engine, lnt_token token) {
  lnt__turn *turn;
  lnt_status status;
  if (awaited(engine, token, &turn, &status)) lnt__instance_release(turn);
  return status;
}

/* Take an attempt from whoever runs it. */
static lnt__cmd *answered(lnt__engine *engine, lnt_token token, lnt__turn **turn, lnt_status *status) {
  lnt__cmd *cmd = awaited(engine, token, turn, status);
  if (*status == LNT_ENOTFOUND) engine->stats.stale_completions++;
  if (!cmd) return NULL;
  if (cmd->state == LNT__CMD_BEGUN) engine->stats.running--;
  lnt__timer_disarm(*turn, cmd);
  beat_settle(*turn, cmd);
  return cmd;
}

lnt_status lnt__engine_complete(lnt__engine *engine, lnt_token token, lnt_value result) {
  lnt__turn *turn;
  lnt_status status;
  lnt__cmd *cmd = answered(engine, token, &turn, &status);
  if (!cmd) return status;
  lnt__cmd_set_state(turn, cmd, LNT__CMD_ANSWERED);
  engine->stats.steps++;
  lnt__event event = {.kind = LNT_EVENT_ACTIVITY_COMPLETED, .seq = token.seq, .attempt = token.attempt, .value = result};
  lnt__accept(turn, &event);
  return LNT_OK;
}

lnt_status lnt__engine_heartbeat(lnt__engine *engine, lnt_token token, lnt_value details) {
  lnt__turn *turn;
  lnt_status status;
  lnt__cmd *cmd = awaited(engine, token, &turn, &status);
  if (!cmd) return status;
  if (cmd->plan) run_clock(cmd->plan, LNT__TIMEOUT_HEARTBEAT, engine->now_us);
  if (details.size == 0) lnt__instance_release(turn);
  else if (beat_set(turn, cmd, details, true, false)) lnt__mark_dirty(turn);
  else status = LNT_ENOMEM;
  return status;
}

/* Its timeouts go on; where nobody need give a sign of life, the one that comes first is a row of table TIMER, so that the instance can
 * leave memory. */
lnt_status lnt__engine_defer(lnt__engine *engine, lnt_token token) {
  lnt__turn *turn;
  lnt_status status;
  lnt__cmd *cmd = awaited(engine, token, &turn, &status);
  if (!cmd) return status;
  if (cmd->state == LNT__CMD_DEFERRED) return LNT_OK;
  int64_t due_us = INT64_MAX;
  for (int i = 0; cmd->plan && i < LNT__TIMEOUT_HEARTBEAT; i++)
    if (cmd->plan->due_us[i] < due_us) due_us = cmd->plan->due_us[i];
  cmd->due_us = due_us < INT64_MAX ? due_us : 0;
  engine->stats.running--;
  lnt__event event = {.kind = LNT_EVENT_ACTIVITY_DEFERRED, .seq = token.seq, .attempt = token.attempt, .due_us = cmd->due_us};
  lnt__emit(turn, &event);
  lnt__cmd_set_state(turn, cmd, LNT__CMD_DEFERRED);
  if (cmd->due_us) lnt__timer_arm(turn, cmd);
  return LNT_OK;
}

static char *deferred_name(lnt__turn *turn, const lnt__cmd *cmd) {
  char *name = cmd->state == LNT__CMD_DEFERRED ? lnt__strdup(cmd->memory) : NULL;
  if (cmd->state == LNT__CMD_DEFERRED && !name) lnt__poison(turn->engine);
  return name;
}

void lnt__attempt_abandon(lnt__turn *turn, lnt__cmd *cmd, lnt_cancel_reason why) {
  lnt__engine *engine = turn->engine;
  if (!lnt__cmd_is_attempt(cmd)) return;
  beat_settle(turn, cmd);
  if (cmd->state == LNT__CMD_BEGUN) engine->stats.running--;
  else if (cmd->state != LNT__CMD_DEFERRED) return;
  lnt__abandoned abandoned = {{turn->run, cmd->seq, cmd->attempt}, why, deferred_name(turn, cmd)};
  size_t count = lnt__open_commit(engine)->abandoned.count;
  LNT__PUSH(engine, lnt__open_commit(engine)->abandoned, abandoned);
  if (lnt__open_commit(engine)->abandoned.count == count) lnt__free(abandoned.name);
}

/* No attempt follows that could not even begin before schedule_to_close, nor one that the history has no room for. */
static bool try_again(lnt__turn *turn, lnt__cmd *cmd, lnt_value failure, int64_t *due_us) {
  lnt__engine *engine = turn->engine;
  int64_t delay_us;
  if (!cmd->plan || turn->history_events >= engine->limits.history_events_max) return false;
  if (!lnt__policy_retries(&cmd->plan->policy, cmd->attempt, failure, &delay_us)) return false;
  *due_us = engine->now_us + delay_us;
  return *due_us < cmd->plan->due_us[LNT__TIMEOUT_SCHEDULE_TO_CLOSE];
}

static void attempt_fail(lnt__turn *turn, lnt__cmd *cmd, lnt_value failure, lnt_value detail) {
  lnt__event event = {.kind = LNT_EVENT_ACTIVITY_FAILED, .seq = cmd->seq, .attempt = cmd->attempt, .value = failure, .detail = detail};
  if (!try_again(turn, cmd, failure, &event.due_us)) {
    lnt__cmd_set_state(turn, cmd, LNT__CMD_ANSWERED);
    lnt__accept(turn, &event);
    return;
  }
  event.kind = LNT_EVENT_ACTIVITY_RETRIED;
  event.options = beat_value(cmd);
  lnt__emit(turn, &event);
  cmd->attempt++;
  cmd->due_us = event.due_us;
  lnt__attempt_queue(turn, cmd);
  plan_retry(cmd, event.due_us);
  lnt__timeouts_arm(turn, cmd);
}

lnt_status lnt__engine_fail(lnt__engine *engine, lnt_token token, lnt_value failure, lnt_value detail) {
  lnt__turn *turn;
  lnt_status status;
  lnt__cmd *cmd = answered(engine, token, &turn, &status);
  if (cmd) attempt_fail(turn, cmd, failure, detail);
  return status;
}

/* ---- Timeouts ---- */

static lnt__timeout first_due(const lnt__plan *plan) {
  lnt__timeout first = 0;
  for (int i = 1; i < LNT__TIMEOUTS; i++)
    if (plan->due_us[i] < plan->due_us[first]) first = (lnt__timeout)i;
  return first;
}

/* Has a timeout of an attempt that is not answered struck by now? Then it failed. */
static bool time_out(lnt__turn *turn, lnt__cmd *cmd) {
  lnt__engine *engine = turn->engine;
  if (!cmd->plan) return false;
  if (lnt__instance_held(turn)) cmd->plan->due_us[LNT__TIMEOUT_SCHEDULE_TO_START] = INT64_MAX; /* until it goes on */
  lnt__timeout which = first_due(cmd->plan);
  if (cmd->plan->due_us[which] > engine->now_us) return false;
  lnt__attempt_abandon(turn, cmd, LNT_CANCEL_TIMEOUT);
  lnt__timer_disarm(turn, cmd);
  lnt__buf failure;
  lnt__buf_init(&failure);
  lnt__timeout_failure(&failure, &cmd->plan->policy, which, cmd->memory, NULL);
  if (failure.failed) lnt__poison(engine);
  else attempt_fail(turn, cmd, (lnt_value){failure.data, failure.size}, LNT_VALUE_NIL);
  lnt__buf_finish(&failure);
  return true;
}

bool lnt__engine_overdue(lnt__engine *engine, lnt_token token, int64_t now_us, const char *place, lnt__buf *failure) {
  lnt__turn *turn;
  const lnt__cmd *cmd = attempt_of(engine, token, &turn);
  if (!cmd || cmd->state != LNT__CMD_BEGUN || !cmd->plan) return false;
  lnt__timeout which = first_due(cmd->plan);
  if (cmd->plan->due_us[which] > now_us) return false;
  if (failure) lnt__timeout_failure(failure, &cmd->plan->policy, which, cmd->memory, place);
  return true;
}

void lnt__attempt_due(lnt__turn *turn, lnt__cmd *cmd) {
  if (!lnt__cmd_is_attempt(cmd)) return;
  if (!time_out(turn, cmd)) lnt__timeouts_arm(turn, cmd);
}
