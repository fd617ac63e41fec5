/* child.c - what a body does to other instances: children and what becomes of them, detached starts, events sent. Called by command.c and
 * turn.c; everything lands in the batch that carries the command, or the child's end, itself.
 *
 * The parent's history has the child's id; the child's row has the parent's run and the number of the command. A child is the parent's only
 * while both agree, so that an id which was purged and taken by somebody else is left alone. */
#include <stdio.h>

#include "engine/internal.h"

/* ---- Failures ---- */

static void write_failure(lnt__buf *out, const char *type, const char *message, const char *child) {
  lnt__cbor_map map;
  lnt__cbor_map_begin(out, &map);
  lnt__cbor_cstring(out, "type");
  lnt__cbor_cstring(out, type);
  lnt__cbor_cstring(out, "message");
  lnt__cbor_cstring(out, message);
  lnt__cbor_cstring(out, "retryable");
  lnt__cbor_bool(out, false);
  if (child) {
    lnt__cbor_cstring(out, "child");
    lnt__cbor_cstring(out, child);
  }
  lnt__cbor_map_end(out, &map, child ? 4 : 3, false);
}

/* Copy the members of a failure, but for `child`: that one names the instance that failed last. */
static size_t copy_members(lnt__buf *out, lnt_value failure) {
  lnt__reader reader = lnt__reader_of(failure.data, failure.size);
  lnt__cbor_item map = lnt__cbor_next(&reader);
  size_t count = map.type == LNT__CBOR_MAP ? map.as.count : 0, copied = 0;
  for (size_t i = 0; i < count && !reader.failed; i++) {
    const uint8_t *from = reader.at;
    lnt__cbor_item key = lnt__cbor_next(&reader);
    if (!lnt__cbor_skip(&reader)) break;
    if (key.type == LNT__CBOR_STRING && key.as.string.size == 5 && memcmp(key.as.string.data, "child", 5) == 0) continue;
    lnt__buf_append(out, from, (size_t)(reader.at - from));
    copied++;
  }
  return copied;
}

/* The failure of a child as its parent sees it: the same, and whose it is. */
static void write_with_child(lnt__buf *out, lnt_value failure, const char *child) {
  lnt__cbor_map map;
  lnt__cbor_map_begin(out, &map);
  size_t count = copy_members(out, failure);
  lnt__cbor_cstring(out, "child");
  lnt__cbor_cstring(out, child);
  lnt__cbor_map_end(out, &map, count + 1, false);
}

static const char *failure_type(lnt_status status, const char *not_found, const char *closed) {
  if (status == LNT_ENOTFOUND) return not_found;
  if (status == LNT_EEXIST) return "WorkflowInstanceAlreadyExists";
  if (status == LNT_ECLOSED) return closed;
  return status == LNT_ELIMIT ? "LimitExceeded" : "Unavailable";
}

/* ---- Ids ---- */

/* "parent:0001"; from the second generation on "parent:2.0001". The number is the command's, so no two are alike. */
static void default_suffix(const lnt__turn *turn, uint32_t seq, char out[LNT__CHILD_SUFFIX_BYTES]) {
  if (turn->generation > 1) snprintf(out, LNT__CHILD_SUFFIX_BYTES, ":%llu.%04x", (unsigned long long)turn->generation, seq);
  else snprintf(out, LNT__CHILD_SUFFIX_BYTES, ":%04x", seq);
}

static bool ends_with(lnt_value text, const char *suffix) {
  size_t size = strlen(suffix);
  return text.size > size && memcmp((const char *)text.data + text.size - size, suffix, size) == 0;
}

/* In a replay the answer is what it was: a copied history may have another id than the instance that made it. */
size_t lnt__turn_default_id_size(const lnt__turn *turn) {
  char suffix[LNT__CHILD_SUFFIX_BYTES];
  const lnt__event *recorded = turn->replaying ? lnt__replay_command(turn, turn->next_seq) : NULL;
  default_suffix(turn, turn->next_seq, suffix);
  if (recorded && ends_with(recorded->id, suffix)) return recorded->id.size;
  return strlen(turn->id) + strlen(suffix);
}

void lnt__child_default_id(const lnt__turn *turn, uint32_t seq, char out[LNT_ID_BYTES_MAX + 1]) {
  char suffix[LNT__CHILD_SUFFIX_BYTES];
  default_suffix(turn, seq, suffix);
  snprintf(out, LNT_ID_BYTES_MAX + 1, "%s%s", turn->id, suffix);
}

/* ---- Ids that are taken ---- */

/* Is `run` an earlier one of the id of `turn`? */
static bool is_earlier_run(const lnt__turn *turn, uint64_t run) {
  const lnt__turn *known = lnt__u64map_get(&turn->engine->by_run, run);
  lnt__row row = {.run = run};
  void *memory = NULL;
  if (run == 0 || run == turn->run) return false;
  if (known) return strcmp(known->id, turn->id) == 0;
  if (lnt__journal_row_outline(turn->engine->store, run, &row, &memory, NULL) != LNT_OK) return false;
  bool same = row.id.size == strlen(turn->id) && memcmp(row.id.data, turn->id, row.id.size) == 0;
  lnt__free(memory);
  return same;
}

/* Like lnt__id_is_free(). But the child of an earlier run of the parent's id leaves its id, when it is over, to the child that is called
 * in its place: *older_run is its run. */
static lnt_status claim_id(const lnt__turn *parent, const char *id, uint64_t *older_run, lnt_error *err) {
  lnt_status status = lnt__id_is_free(parent->engine, id, err), found = LNT_OK;
  if (status != LNT_EEXIST) return status;
  lnt__turn *holder = lnt__instance_by_id(parent->engine, id, &found, NULL);
  if (!holder) return status;
  bool leaves = lnt__instance_closed(holder) && is_earlier_run(parent, holder->parent_run);
  if (leaves) *older_run = holder->run;
  lnt__instance_release(holder);
  return leaves ? LNT_OK : status;
}

/* Somebody whom an earlier run of this id started has the default id still, and will keep it: then the run makes the difference. */
static void avoid_taken(const lnt__turn *turn, lnt_event_kind kind, char id[LNT_ID_BYTES_MAX + 1]) {
  uint64_t older_run = 0;
  size_t size = strlen(id);
  lnt_status status = kind == LNT_EVENT_CHILD_SCHEDULED ? claim_id(turn, id, &older_run, NULL) : lnt__id_is_free(turn->engine, id, NULL);
  char tail[LNT__CHILD_SUFFIX_BYTES];
  int added = snprintf(tail, sizeof(tail), "+%llu", (unsigned long long)turn->run);
  if (status == LNT_EEXIST && size + (size_t)added <= LNT_ID_BYTES_MAX) memcpy(id + size, tail, (size_t)added + 1);
}

/* The id that the author gave, or the default one. */
lnt_value lnt__chosen_id(const lnt__turn *turn, const lnt__command *command, uint32_t seq, char out[LNT_ID_BYTES_MAX + 1]) {
  char suffix[LNT__CHILD_SUFFIX_BYTES];
  default_suffix(turn, seq, suffix);
  int size = command->id.size ? snprintf(out, LNT_ID_BYTES_MAX + 1, "%.*s", (int)command->id.size, (const char *)command->id.data)
                              : snprintf(out, LNT_ID_BYTES_MAX + 1, "%s%s", turn->id, suffix);
  LNT__ASSERT(size > 0 && size <= LNT_ID_BYTES_MAX); /* the VM has checked it */
  if (command->id.size == 0) avoid_taken(turn, command->kind, out);
  return (lnt_value){out, strlen(out)};
}

/* "id", "id~2", "id~3" ... */
static void attempt_id(const lnt__cmd *cmd, char out[LNT_ID_BYTES_MAX + 1]) {
  if (cmd->attempt == 1) snprintf(out, LNT_ID_BYTES_MAX + 1, "%s", lnt__cmd_id(cmd));
  else snprintf(out, LNT_ID_BYTES_MAX + 1, "%s~%u", lnt__cmd_id(cmd), cmd->attempt);
}

/* ---- Starting ---- */

/* The same however often the turn is run, and another one for each child. */
static uint64_t child_seed(const lnt__turn *turn, uint32_t seq, uint32_t attempt) {
  lnt__rng rng;
  lnt__rng_seed(&rng, turn->seed ^ (uint64_t)seq << 32 ^ attempt);
  return lnt__rng_next(&rng);
}

/* How many parents an instance has above it. One that is gone ends the chain. */
static uint64_t depth_of(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  uint64_t depth = 0, run = turn->parent_run;
  while (run && depth < engine->limits.child_depth_max) {
    const lnt__turn *parent = lnt__u64map_get(&engine->by_run, run);
    lnt__row row = {0};
    void *memory = NULL;
    if (!parent && lnt__journal_row_outline(engine->store, run, &row, &memory, NULL) != LNT_OK) break;
    run = parent ? parent->parent_run : row.parent_run;
    lnt__free(memory);
    depth++;
  }
  return depth;
}

/* otherwise: the code to take when no file defines the workflow; NULL: none. */
static lnt_status begin(lnt__turn *turn, lnt_value workflow, const uint8_t *otherwise, lnt__origin *origin, lnt_error *err) {
  lnt__engine *engine = turn->engine;
  char name[LNT_NAME_BYTES_MAX + 1];
  uint8_t hash[LNT__SHA256_BYTES];
  snprintf(name, sizeof(name), "%.*s", (int)workflow.size, (const char *)workflow.data);
  lnt_status status = engine->vm.resolve(engine->vm.vm, turn, name, hash, err);
  if (status == LNT_ENOTFOUND && otherwise) {
    memcpy(hash, otherwise, sizeof(hash));
    status = LNT_OK;
  }
  if (status == LNT_OK && origin->parent_run) status = claim_id(turn, origin->id, &origin->older_run, err);
  else if (status == LNT_OK) status = lnt__id_is_free(engine, origin->id, err);
  if (status != LNT_OK) return status;
  origin->workflow = name;
  origin->hash = hash;
  origin->generation = 1;
  if (lnt__instance_begin(engine, origin)) return LNT_OK;
  lnt__poison(engine);
  return lnt__fail(err, LNT_ENOMEM, "out of memory while starting '%s'", name);
}

/* ---- Children ---- */

static void fail_child(lnt__turn *turn, lnt__cmd *cmd, lnt_value failure) {
  lnt__event event = {.kind = LNT_EVENT_CHILD_FAILED, .seq = cmd->seq, .attempt = cmd->attempt, .value = failure};
  lnt__timer_disarm(turn, cmd);
  lnt__cmd_set_state(turn, cmd, LNT__CMD_ANSWERED);
  lnt__accept(turn, &event);
}

/* Start the attempt that `cmd` has come to; false: it could not be started, and that is the answer. */
static bool start_child(lnt__turn *turn, lnt__cmd *cmd, const uint8_t *otherwise, int64_t start_at_us) {
  char id[LNT_ID_BYTES_MAX + 1];
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  attempt_id(cmd, id);
  lnt__origin origin = {.id = id, .input = lnt__cmd_input(cmd), .seed = child_seed(turn, cmd->seq, cmd->attempt),
                        .parent_run = turn->run, .parent_seq = cmd->seq, .start_at_us = start_at_us};
  if (depth_of(turn) >= turn->engine->limits.child_depth_max) {
    LNT__MET(turn->engine->met, child_depth_max);
    status = lnt__fail(&err, LNT_ELIMIT, "'%s' would be a child %llu levels deep: the limit child_depth_max; does a workflow call itself "
                       "for ever?", id, (unsigned long long)turn->engine->limits.child_depth_max + 1);
  }
  if (status == LNT_OK) status = begin(turn, lnt__cmd_name(cmd), otherwise, &origin, &err);
  if (status == LNT_OK) return true;
  lnt__buf failure;
  lnt__buf_init(&failure);
  write_failure(&failure, failure_type(status, "WorkflowNotRegistered", "Unavailable"), err.message, id);
  if (failure.failed) lnt__poison(turn->engine);
  fail_child(turn, cmd, (lnt_value){failure.data, failure.size});
  lnt__buf_finish(&failure);
  return false;
}

lnt__command_state lnt__child_command(lnt__turn *turn, const lnt__command *command, uint32_t seq) {
  char id[LNT_ID_BYTES_MAX + 1];
  lnt__event event = {.kind = LNT_EVENT_CHILD_SCHEDULED, .seq = seq, .due_us = command->due_us, .name = command->name,
                      .value = command->input, .options = command->options, .id = lnt__chosen_id(turn, command, seq, id)};
  lnt__emit(turn, &event);
  lnt__see(turn, &event);
  lnt_value input = lnt__replaced_input(turn, seq, command->input);
  lnt__cmd *cmd = lnt__cmd_add_child(turn, seq, command->name, input, command->options, event.id);
  if (!cmd) return LNT__COMMAND_REFUSED;
  cmd->due_us = command->due_us;
  if (cmd->due_us) lnt__timer_arm(turn, cmd);
  start_child(turn, cmd, NULL, 0);
  return LNT__COMMAND_WAITING;
}

/* An instance of the id that is its child was started before the turn stalled. */
void lnt__child_start_again(lnt__turn *turn, lnt__cmd *cmd) {
  char id[LNT_ID_BYTES_MAX + 1];
  lnt_status status = LNT_OK;
  attempt_id(cmd, id);
  lnt__turn *known = lnt__instance_by_id(turn->engine, id, &status, NULL);
  bool started = known && known->parent_run == turn->run && known->parent_seq == cmd->seq;
  if (known) lnt__instance_release(known);
  if (!started) start_child(turn, cmd, turn->hash, 0); /* no file may be loaded here that defines it; the code of its parent mostly does */
}

/* ---- The end of a child ---- */

/* The open parent of `child`, its history folded; NULL: nobody waits. */
static lnt__turn *waiting_parent(const lnt__turn *child) {
  lnt__engine *engine = child->engine;
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  lnt__turn *parent = lnt__instance_by_run(engine, child->parent_run, &status, &err);
  if (!parent && status == LNT_ENOTFOUND) return NULL; /* purged */
  if (parent && lnt__instance_closed(parent)) {
    lnt__instance_release(parent);
    return NULL;
  }
  if (parent) status = lnt__instance_load(parent, &err);
  if (status == LNT_OK) return parent;
  if (engine->effects.log) engine->effects.log(engine->effects.user, LNT_LOG_ERROR, child->id, err.message);
  if (status != LNT_ECORRUPT) lnt__poison(engine); /* the end of the child and what the parent sees of it land together, or not at all */
  return NULL;
}

static void complete_child(lnt__turn *parent, lnt__cmd *cmd, lnt_value output) {
  lnt__event event = {.kind = LNT_EVENT_CHILD_COMPLETED, .seq = cmd->seq, .attempt = cmd->attempt, .value = output};
  lnt__timer_disarm(parent, cmd);
  lnt__cmd_set_state(parent, cmd, LNT__CMD_ANSWERED);
  lnt__accept(parent, &event);
}

/* No attempt follows that could not begin before the timeout of the call, nor one that the history has no room for. */
static bool tries_again(const lnt__turn *parent, const lnt__cmd *cmd, lnt_value failure, int64_t *due_us) {
  const lnt__engine *engine = parent->engine;
  int64_t delay_us;
  if (!cmd->plan || parent->history_events >= engine->limits.history_events_max) return false;
  if (!lnt__policy_retries(&cmd->plan->policy, cmd->attempt, failure, &delay_us)) return false;
  *due_us = engine->now_us + delay_us;
  return cmd->due_us == 0 || *due_us < cmd->due_us;
}

/* The next attempt is a new instance, PENDING until its time comes. */
static void child_failed(lnt__turn *parent, lnt__cmd *cmd, const lnt__turn *child, lnt_value failure) {
  char id[LNT_ID_BYTES_MAX + 1];
  lnt__event event = {.kind = LNT_EVENT_CHILD_RETRIED, .seq = cmd->seq, .attempt = cmd->attempt, .value = failure};
  if (!tries_again(parent, cmd, failure, &event.due_us)) {
    fail_child(parent, cmd, failure);
    return;
  }
  cmd->attempt++;
  attempt_id(cmd, id);
  event.id = (lnt_value){id, strlen(id)};
  lnt__emit(parent, &event);
  start_child(parent, cmd, child->hash, event.due_us);
}

void lnt__child_ended(lnt__turn *child, lnt_value value) {
  char id[LNT_ID_BYTES_MAX + 1];
  lnt__turn *parent = child->parent_run ? waiting_parent(child) : NULL;
  if (!parent) return;
  lnt__cmd *cmd = lnt__cmd_find(parent, child->parent_seq);
  if (cmd) attempt_id(cmd, id);
  if (!cmd || cmd->kind != LNT_EVENT_CHILD_SCHEDULED || cmd->state != LNT__CMD_WAITING || strcmp(id, child->id) != 0) {
    lnt__instance_release(parent); /* it gave the child up, or has its answer */
    return;
  }
  if (child->status == LNT_RUN_COMPLETED) {
    complete_child(parent, cmd, value);
    return;
  }
  lnt__buf failure;
  lnt__buf_init(&failure);
  write_with_child(&failure, value, child->id);
  if (failure.failed) lnt__poison(child->engine);
  child_failed(parent, cmd, child, (lnt_value){failure.data, failure.size});
  lnt__buf_finish(&failure);
}

/* ---- Letting go ---- */

static bool policy_is(const lnt__cmd *cmd, const char *policy) {
  size_t size = 0;
  const char *given = lnt__cbor_member_string(lnt__cmd_options(cmd), "on_parent_close", &size);
  return given && size == strlen(policy) && memcmp(given, policy, size) == 0;
}

void lnt__child_let_go(lnt__turn *turn, const lnt__cmd *cmd, const char *why) {
  lnt__engine *engine = turn->engine;
  char id[LNT_ID_BYTES_MAX + 1];
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  if (policy_is(cmd, "abandon")) return;
  attempt_id(cmd, id);
  uint32_t seq = cmd->seq; /* what follows may move the commands of `turn` */
  lnt__turn *child = lnt__instance_by_id(engine, id, &status, &err);
  if (!child && status == LNT_ENOTFOUND) return;
  if (child && (lnt__instance_closed(child) || child->parent_run != turn->run || child->parent_seq != seq)) {
    lnt__instance_release(child);
    return;
  }
  if (child) status = policy_is(cmd, "cancel") ? lnt__accept_cancel(child, why, &err) : LNT_ELIMIT;
  if (status == LNT_ELIMIT) status = lnt__accept_terminate(child, why, &err);
  if (status == LNT_OK) return;
  if (engine->effects.log) engine->effects.log(engine->effects.user, LNT_LOG_ERROR, id, err.message);
  if (status != LNT_ECORRUPT) lnt__poison(engine);
}

void lnt__child_timed_out(lnt__turn *turn, lnt__cmd *cmd, lnt__buf *failure) {
  char message[LNT_NAME_BYTES_MAX + LNT_ID_BYTES_MAX + 80];
  snprintf(message, sizeof(message), "child workflow '%s' (%s) did not end within its timeout", cmd->memory, lnt__cmd_id(cmd));
  write_failure(failure, "Timeout", message, lnt__cmd_id(cmd));
  if (failure->failed) lnt__poison(turn->engine);
  if (turn->replaying || turn->rehearsing || cmd->state == LNT__CMD_PAST) return; /* PAST: it was let go before the turn stalled */
  cmd->state = LNT__CMD_PAST; /* its end comes too late */
  lnt__child_let_go(turn, cmd, "its parent waited no longer: the timeout of the call ran out");
}

/* ---- Detached starts, events to others ---- */

static void keep_failure(lnt__turn *turn, lnt__event *event, const char *type, const char *message) {
  lnt__buf *out = &turn->engine->instant;
  lnt__buf_clear(out);
  write_failure(out, type, message, NULL);
  if (out->failed) lnt__poison(turn->engine);
  event->options = (lnt_value){out->data, out->size};
}

void lnt__detached_command(lnt__turn *turn, const lnt__command *command, lnt__event *event, char id[LNT_ID_BYTES_MAX + 1]) {
  lnt_error err = {LNT_OK, ""};
  event->id = lnt__chosen_id(turn, command, event->seq, id);
  lnt__origin origin = {.id = id, .input = command->input, .seed = child_seed(turn, event->seq, 1)};
  lnt_status status = begin(turn, command->name, NULL, &origin, &err);
  if (status != LNT_OK) keep_failure(turn, event, failure_type(status, "WorkflowNotRegistered", "Unavailable"), err.message);
}

void lnt__sent_command(lnt__turn *turn, const lnt__command *command, lnt__event *event) {
  char id[LNT_ID_BYTES_MAX + 1];
  lnt_error err = {LNT_OK, ""};
  lnt_status status = LNT_OK;
  snprintf(id, sizeof(id), "%.*s", (int)command->id.size, (const char *)command->id.data);
  lnt__turn *target = lnt__find_open(turn->engine, id, &status, &err);
  if (target) status = lnt__accept_raised(target, command->name, command->input, NULL, &err);
  if (target && status != LNT_OK) lnt__instance_release(target);
  if (status != LNT_OK) keep_failure(turn, event, failure_type(status, "InstanceNotFound", "InstanceClosed"), err.message);
}
