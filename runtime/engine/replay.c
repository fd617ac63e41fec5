/* replay.c - the stream of events that a body consumes: first the recorded history up to its last finished turn, then the inbox. At the
 * end of each
 * recorded turn the body must have made exactly the commands that were recorded by then. */
#include <stdarg.h>
#include <stdio.h>

#include "engine/internal.h"

void lnt__refuse(lnt__turn *turn, lnt__refusal refusal, const char *format, ...) {
  va_list args;
  if (turn->refusal != LNT__REFUSAL_NONE) return;
  turn->refusal = refusal;
  va_start(args, format);
  vsnprintf(turn->engine->refusal, sizeof(turn->engine->refusal), format, args);
  va_end(args);
}

lnt__divergence *lnt__diverged(lnt__turn *turn, const lnt__event *recorded, uint32_t seq) {
  lnt__engine *engine = turn->engine;
  lnt__divergence *d = &engine->divergence;
  if (turn->refusal == LNT__REFUSAL_NONE) memset(d, 0, sizeof(*d)), lnt__buf_clear(&engine->trace);
  d->seq = seq;
  if (!recorded) return d;
  d->event = (uint64_t)(recorded - engine->replay.history.events) + 1;
  d->recorded_us = recorded->time_us;
  if (lnt__event_is_command(recorded->kind))
    lnt__command_text(recorded->kind, recorded->name, recorded->value, recorded->id, d->recorded, sizeof(d->recorded));
  else snprintf(d->recorded, sizeof(d->recorded), "%s", lnt_event_kind_name(recorded->kind));
  return d;
}

void lnt__replay_finish(lnt__replay *replay) {
  lnt__history_finish(&replay->history);
  lnt__free(replay->inbox.items);
  lnt__free(replay->commands.items);
  lnt__free(replay->turns.items);
  lnt__free(replay->rejected.items);
}

static void index_event(lnt__turn *turn, lnt__replay *replay, uint32_t at) {
  lnt__engine *engine = turn->engine;
  const lnt__event *event = &replay->history.events[at];
  if (event->kind == LNT_EVENT_TURN) {
    lnt__turn_mark mark = {replay->inbox.count, (uint32_t)replay->commands.count, replay->answers};
    LNT__PUSH(engine, replay->turns, mark);
    replay->half = at + 1;
  } else if (lnt__event_is_command(event->kind)) {
    LNT__PUSH(engine, replay->commands, at);
  } else if (lnt__event_is_inbox(event->kind)) {
    LNT__PUSH(engine, replay->inbox, at);
  }
  replay->answers += event->kind == LNT_EVENT_UPDATE_ANSWERED;
  if (event->kind == LNT_EVENT_UPDATE_REJECTED) LNT__PUSH(engine, replay->rejected, at);
  if (event->kind == LNT_EVENT_FORKED) replay->copied = (uint32_t)replay->commands.count;
}

void lnt__replay_rewind(lnt__replay *replay) { replay->inbox_at = replay->turn_at = replay->rejected_at = 0; }

void lnt__replay_index_begin(lnt__replay *replay) {
  replay->inbox.count = replay->commands.count = replay->turns.count = replay->rejected.count = 0;
  replay->indexed = replay->half = 0;
  replay->copied = replay->answers = 0;
  lnt__replay_rewind(replay);
}

bool lnt__replay_index(lnt__turn *turn, size_t events_max) {
  lnt__replay *replay = &turn->engine->replay;
  size_t left = replay->history.count - replay->indexed, end = replay->indexed + (left < events_max ? left : events_max);
  for (; replay->indexed < end; replay->indexed++) index_event(turn, replay, (uint32_t)replay->indexed);
  return end == replay->history.count;
}

/* Lay out where inbox events, commands and turn ends stand in the history. */
static void index_history(lnt__turn *turn) {
  lnt__replay_index_begin(&turn->engine->replay);
  lnt__replay_index(turn, SIZE_MAX);
}

lnt_status lnt__replay_begin(lnt__turn *turn, lnt_error *err) {
  lnt__engine *engine = turn->engine;
  bool in_scratch = !turn->loaded; /* the load below leaves the history there; one that was loaded before has grown since */
  lnt_status status = lnt__instance_load(turn, err);
  if (status != LNT_OK) return status;
  turn->next_seq = 1;
  turn->raised = turn->updates_answered = 0;
  turn->seen = (lnt__seen){0};
  lnt__buf_clear(&turn->patches);
  turn->inbox_at = 0;
  turn->inbox_read_us = 0;
  turn->now_us = 0;
  if (!turn->has_turns && !turn->failure_size) return LNT_OK; /* only one that stalled has a failure, and commands of half a turn */
  if (in_scratch) status = lnt__history_fetch_all(engine->store, &engine->replay.history, err);
  else status = lnt__journal_history(engine->store, turn->run, &engine->replay.history, err);
  if (status != LNT_OK) return status;
  index_history(turn);
  turn->rebuilt = true;
  turn->recorded = (uint32_t)engine->replay.commands.count;
  turn->replaying = engine->replay.turns.count > 0;
  engine->stats.replays++;
  return engine->poisoned ? LNT_ENOMEM : LNT_OK;
}

/* ---- Copies: replays in scratch ---- */

void lnt__copy_init(lnt__turn *copy, const lnt__turn *turn) {
  memset(copy, 0, sizeof(*copy));
  copy->engine = turn->engine;
  copy->run = turn->run;
  copy->id = turn->id;
  copy->workflow = turn->workflow;
  memcpy(copy->hash, turn->hash, LNT__SHA256_BYTES);
  copy->status = LNT_RUN_RUNNING;
  copy->created_us = turn->created_us;
  copy->generation = turn->generation;
  copy->parent_run = turn->parent_run;
  copy->parent_seq = turn->parent_seq;
  copy->loaded = true; /* nothing of it is folded: it does no work */
}

void lnt__copy_finish(lnt__turn *copy) {
  lnt__instance_drop_body(copy);
  lnt__cmds_clear(copy, false);
  lnt__record_finish(&copy->record);
  lnt__buf_finish(&copy->inbox);
  lnt__buf_finish(&copy->patches);
  lnt__free(copy->cmds);
  lnt__free(copy->buffered);
}

lnt_status lnt__replay_whole_begin(lnt__turn *copy, const lnt__turn *turn, lnt_error *err) {
  lnt__engine *engine = copy->engine;
  lnt__history *history = &engine->replay.history;
  lnt_status status = lnt__journal_history(engine->store, turn->run, history, err);
  if (status != LNT_OK) return status;
  bool good = !engine->sealed || !turn->next_record ||
              lnt__history_add_batch(history, engine->commits[!engine->open].batch, turn->next_record - 1);
  good = good && lnt__history_add_record(history, &turn->record);
  lnt__buf_append(&copy->inbox, turn->inbox.data, turn->inbox.size);
  if (!good || copy->inbox.failed) return lnt__fail(err, LNT_ENOMEM, "out of memory while a turn was rehearsed");
  index_history(copy);
  copy->rebuilt = true;
  copy->next_seq = 1;
  copy->recorded = (uint32_t)engine->replay.commands.count;
  copy->replaying = engine->replay.turns.count > 0;
  return engine->poisoned ? LNT_ENOMEM : LNT_OK;
}

/* One that was to start later, and was canceled before, never had a body. */
static bool never_started(const lnt__history *history) {
  if (!history->count || history->events[0].due_us <= history->events[0].time_us) return false;
  for (size_t i = 0; i < history->count; i++)
    if (history->events[i].kind == LNT_EVENT_TIMER_FIRED && history->events[i].seq == 0) return false;
  return true;
}

bool lnt__history_ends_by_itself(const lnt__history *history) {
  static const char limit[] = "LimitExceeded";
  size_t size = 0;
  if (!history->count) return false;
  const lnt__event *last = &history->events[history->count - 1];
  if (!lnt__event_is_end(last->kind) || last->kind == LNT_EVENT_TERMINATED) return false;
  const char *type = last->kind == LNT_EVENT_FAILED ? lnt__cbor_member_string(last->value, "type", &size) : NULL;
  return !type || size != sizeof limit - 1 || memcmp(type, limit, size) != 0;
}

/* The turn in which a body ended by itself has no TURN event: its end stands for it. A run that was terminated, or stopped at a limit,
 * stands at its last wait: what its body did after that, nobody knows. */
void lnt__replay_mark_end(lnt__engine *engine) {
  lnt__replay *replay = &engine->replay;
  const lnt__history *history = &replay->history;
  if (never_started(history) || !lnt__history_ends_by_itself(history)) return;
  lnt__turn_mark mark = {replay->inbox.count, (uint32_t)replay->commands.count, replay->answers};
  LNT__PUSH(engine, replay->turns, mark);
}

void lnt__replay_copy_ready(lnt__turn *copy) {
  lnt__replay *replay = &copy->engine->replay;
  lnt__replay_rewind(replay);
  copy->next_seq = 1;
  copy->recorded = (uint32_t)replay->commands.count;
  copy->replaying = replay->turns.count > 0;
}

lnt_status lnt__replay_copy_begin(lnt__turn *copy, lnt_error *err) {
  lnt__engine *engine = copy->engine;
  lnt_status status = lnt__journal_history(engine->store, copy->run, &engine->replay.history, err);
  if (status != LNT_OK) return status;
  index_history(copy);
  lnt__replay_mark_end(engine);
  lnt__replay_copy_ready(copy);
  engine->stats.replays += copy->replaying;
  return engine->poisoned ? lnt__fail(err, LNT_ENOMEM, "out of memory while a history was replayed") : LNT_OK;
}

const lnt__event *lnt__replay_command(const lnt__turn *turn, uint32_t seq) {
  lnt__replay *replay = &turn->engine->replay;
  if (seq == 0 || seq > replay->commands.count) return NULL;
  return &replay->history.events[replay->commands.items[seq - 1]];
}

void lnt__command_text(lnt_event_kind kind, lnt_value name, lnt_value input, lnt_value id, char *out, size_t size) {
  enum { NAME = 1, INPUT = 2, ID = 4 };
  static const struct { const char *verb; int shows; } texts[] = {
      [LNT_EVENT_ACTIVITY_SCHEDULED] = {"call_activity", NAME | INPUT}, [LNT_EVENT_TIMER_CREATED] = {"create_timer", 0},
      [LNT_EVENT_EVENT_AWAITED] = {"wait_for_external_event", NAME},    [LNT_EVENT_CHILD_SCHEDULED] = {"call_child_workflow", NAME | INPUT},
      [LNT_EVENT_DETACHED_STARTED] = {"start_workflow", NAME | INPUT},  [LNT_EVENT_EVENT_SENT] = {"raise_event", ID | NAME | INPUT},
      [LNT_EVENT_SIDE_EFFECT] = {"side_effect", 0},                     [LNT_EVENT_EMITTED] = {"emit", NAME | INPUT},
      [LNT_EVENT_PATCHED] = {"is_patched", NAME},                       [LNT_EVENT_CONTINUE_ADVISED] = {"should_continue_as_new", 0},
  };
  char brief[160];
  int shows = texts[kind].shows, at = snprintf(out, size, "%s(", texts[kind].verb);
  const char *comma = "";
  if (shows & ID) at += snprintf(out + at, size - (size_t)at, "'%.*s'", (int)id.size, (const char *)id.data), comma = ", ";
  if (shows & NAME) at += snprintf(out + at, size - (size_t)at, "%s'%.*s'", comma, (int)name.size, (const char *)name.data), comma = ", ";
  if ((shows & INPUT) && (size_t)at + 4 < size) {
    lnt__cbor_brief(input, brief, sizeof(brief));
    at += snprintf(out + at, size - (size_t)at, "%s%s", comma, brief);
  }
  if ((size_t)at + 1 < size) snprintf(out + at, size - (size_t)at, ")");
}

/* The body waits (or ended) before it made a command that its history has. */
static void refuse_missing(lnt__turn *turn, const lnt__turn_mark *mark) {
  if (turn->next_seq - 1 > mark->commands) {
    uint32_t extra = mark->commands + 1;
    lnt__divergence *d = lnt__diverged(turn, lnt__replay_command(turn, extra), extra);
    memcpy(d->wanted, d->recorded, sizeof(d->wanted));
    lnt__refuse(turn, LNT__REFUSAL_DIVERGED,
                "the code now makes command %u earlier than recorded: by this point the history has %u commands, the code made %u; "
                "did a branch or a loop change?", extra, mark->commands, turn->next_seq - 1);
    return;
  }
  const lnt__divergence *d = lnt__diverged(turn, lnt__replay_command(turn, turn->next_seq), turn->next_seq);
  lnt__refuse(turn, LNT__REFUSAL_DIVERGED,
              "event %llu of the history records command %u, %s, but the code does not make it there; was the call removed or moved?",
              (unsigned long long)d->event, turn->next_seq, d->recorded);
}

const lnt__event *lnt__half_event(const lnt__turn *turn, lnt_event_kind kind, uint32_t seq, lnt_value id) {
  const lnt__replay *replay = &turn->engine->replay;
  if (turn->replaying || !turn->rebuilt) return NULL;
  for (size_t i = replay->half; i < replay->history.count; i++) {
    const lnt__event *event = &replay->history.events[i];
    if (event->kind != kind || event->seq != seq || event->id.size != id.size) continue;
    if (id.size == 0 || memcmp(event->id.data, id.data, id.size) == 0) return event;
  }
  return NULL;
}

void lnt__refuse_short(lnt__turn *turn) {
  const lnt__turn_mark all = {.commands = turn->recorded};
  lnt__pass_patches(turn);
  if (turn->next_seq - 1 < turn->recorded) refuse_missing(turn, &all);
}

static bool close_recorded_turns(lnt__turn *turn) {
  lnt__replay *replay = &turn->engine->replay;
  while (replay->turn_at < replay->turns.count && replay->turns.items[replay->turn_at].inbox == replay->inbox_at) {
    const lnt__turn_mark *mark = &replay->turns.items[replay->turn_at];
    if (turn->next_seq - 1 < mark->commands) lnt__pass_patches(turn);
    if (turn->next_seq - 1 != mark->commands) {
      refuse_missing(turn, mark);
      return false;
    }
    if (turn->updates_answered != mark->answers) {
      lnt__refuse(turn, LNT__REFUSAL_DIVERGED, "by this point the history has answers to %u updates, the code made %u; did a handler "
                  "change?", mark->answers, turn->updates_answered);
      return false;
    }
    replay->turn_at++;
  }
  if (replay->turn_at == replay->turns.count) turn->replaying = false;
  return true;
}

/* Each request is fed once and rejected at most once, in the same order, and after one that was accepted its id comes no more. */
bool lnt__replay_rejected(lnt__turn *turn, lnt_value id) {
  lnt__replay *replay = &turn->engine->replay;
  if ((!turn->replaying && !turn->rebuilt) || replay->rejected_at == replay->rejected.count) return false;
  const lnt__event *event = &replay->history.events[replay->rejected.items[replay->rejected_at]];
  if (event->id.size != id.size || memcmp(event->id.data, id.data, id.size) != 0) return false;
  replay->rejected_at++;
  return true;
}

const lnt__event *lnt__replay_peek(lnt__turn *turn) {
  lnt__replay *replay = &turn->engine->replay;
  if (!turn->replaying || replay->inbox_at >= replay->inbox.count) return NULL;
  const lnt__turn_mark *last = &replay->turns.items[replay->turns.count - 1];
  return replay->inbox_at < last->inbox ? &replay->history.events[replay->inbox.items[replay->inbox_at]] : NULL;
}

bool lnt__next_event(lnt__turn *turn, lnt__event *event) {
  lnt__replay *replay = &turn->engine->replay;
  if (turn->refusal != LNT__REFUSAL_NONE) return false;
  if (turn->replaying && replay->inbox_at > 0 && !close_recorded_turns(turn)) return false;
  if (turn->replaying) {
    *event = replay->history.events[replay->inbox.items[replay->inbox_at++]];
    turn->engine->stats.replayed_events++;
    if (turn->events_left) turn->events_left--;
  } else {
    lnt__reader reader = lnt__reader_of(turn->inbox.data + turn->inbox_at, turn->inbox.size - turn->inbox_at);
    if (turn->inbox_at >= turn->inbox.size || !lnt__event_read(&reader, &turn->inbox_read_us, event)) return false;
    turn->inbox_at = (size_t)(reader.at - turn->inbox.data);
  }
  int64_t at_us = event->kind == LNT_EVENT_STARTED && event->due_us > event->time_us ? event->due_us : event->time_us;
  if (at_us > turn->now_us) turn->now_us = at_us; /* what came before the start is seen at its time */
  lnt__see(turn, event);
  turn->raised += event->kind == LNT_EVENT_EVENT_RAISED;
  return true;
}
