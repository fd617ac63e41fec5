/* activity.c - attempts of activities: begun, answered, timed out, tried again. Each becomes an event of the open batch. */
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

void lnt__plan_retry(lnt__cmd *cmd, int64_t due_us) {
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

/* ---- Beginning ---- */

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
                        .input = lnt__cmd_input(cmd)};
  uint8_t key[LNT__KEY_HISTORY_BYTES];
  lnt__key_history(key, turn->run, token.seq);
  lnt__hex(key, sizeof(key), out->idempotency_key);
  engine->stats.activities_started++;
  engine->stats.running++;
  return true;
}

/* ---- Answers ---- */

static lnt__cmd *answered(lnt__engine *engine, lnt_token token, lnt__turn **turn) {
  lnt__cmd *cmd = attempt_of(engine, token, turn);
  if (cmd && cmd->state == LNT__CMD_BEGUN) {
    engine->stats.running--;
    return cmd;
  }
  engine->stats.stale_completions++;
  return NULL;
}

void lnt__engine_complete(lnt__engine *engine, lnt_token token, lnt_value result) {
  lnt__turn *turn;
  lnt__cmd *cmd = answered(engine, token, &turn);
  if (!cmd) return;
  lnt__cmd_set_state(turn, cmd, LNT__CMD_ANSWERED);
  engine->stats.steps++;
  lnt__event event = {.kind = LNT_EVENT_ACTIVITY_COMPLETED, .seq = token.seq, .attempt = token.attempt, .value = result};
  lnt__accept(turn, &event);
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
  lnt__emit(turn, &event);
  cmd->attempt++;
  cmd->due_us = event.due_us;
  cmd->batch = lnt__open_commit(turn->engine)->number;
  lnt__cmd_set_state(turn, cmd, LNT__CMD_QUEUED);
  lnt__plan_retry(cmd, event.due_us);
  lnt__timeouts_arm(turn, cmd);
}

void lnt__engine_fail(lnt__engine *engine, lnt_token token, lnt_value failure, lnt_value detail) {
  lnt__turn *turn;
  lnt__cmd *cmd = answered(engine, token, &turn);
  if (cmd) attempt_fail(turn, cmd, failure, detail);
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
  if (cmd->state == LNT__CMD_BEGUN) {
    lnt_token token = {turn->run, cmd->seq, cmd->attempt};
    LNT__PUSH(engine, lnt__open_commit(engine)->abandoned, token);
    engine->stats.running--;
  }
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
  if (cmd->state < LNT__CMD_QUEUED || cmd->state > LNT__CMD_BEGUN) return;
  if (!time_out(turn, cmd)) lnt__timeouts_arm(turn, cmd);
}
