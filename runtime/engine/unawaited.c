/* unawaited.c - why nobody waits for the answer of an attempt, for whoever gives one: it is over, there is none, or it has not begun.
 * Called by the driver between turns, only when lnt__engine_awaits() or the like said LNT_ENOTFOUND: it reads the history of the run. */
#include "engine/internal.h"

typedef struct fate {
  const lnt__event *scheduled, *end; /* end: of this attempt; NULL: none is recorded */
  uint32_t attempts;                 /* that there have been */
} fate;

static void note(fate *f, const lnt__event *event, uint32_t attempt) {
  bool of_attempt = event->attempt == attempt;
  switch (event->kind) {
    case LNT_EVENT_ACTIVITY_SCHEDULED: f->scheduled = event, f->attempts = 1; break;
    case LNT_EVENT_ACTIVITY_RETRIED: f->attempts = event->attempt + 1; break;
    case LNT_EVENT_COMMAND_CANCELED: of_attempt = !f->end; break;
    default: break;
  }
  bool ends = event->kind == LNT_EVENT_ACTIVITY_COMPLETED || event->kind == LNT_EVENT_ACTIVITY_FAILED ||
              event->kind == LNT_EVENT_ACTIVITY_RETRIED || event->kind == LNT_EVENT_COMMAND_CANCELED;
  if (ends && of_attempt) f->end = event;
}

static fate fate_of(const lnt__history *history, lnt_token token) {
  fate f = {NULL, NULL, 0};
  for (size_t i = 0; i < history->count; i++)
    if (history->events[i].seq == token.seq) note(&f, &history->events[i], token.attempt);
  return f;
}

static lnt_status tell_over(const lnt__turn *turn, const fate *f, const char *text, lnt_error *err) {
  size_t size = 0;
  const char *type = f->end ? lnt__cbor_member_string(f->end->value, "type", &size) : NULL, *how = "another answer came first";
  if (f->end && f->end->kind == LNT_EVENT_ACTIVITY_COMPLETED) how = "it was answered";
  else if (f->end && f->end->kind == LNT_EVENT_COMMAND_CANCELED) how = "the workflow gave it up";
  else if (f->end) how = "it failed";
  else if (lnt__instance_closed(turn)) how = "the instance is finished";
  bool failed = type && f->end->kind != LNT_EVENT_ACTIVITY_COMPLETED;
  lnt_value name = f->scheduled ? f->scheduled->name : (lnt_value){"?", 1};
  return lnt__fail(err, LNT_EOVER, "attempt %s (activity '%.*s' of instance '%s') is over: %s%s%.*s%s", text, (int)name.size,
                   (const char *)name.data, turn->id, how, failed ? " (" : "", failed ? (int)size : 0, failed ? type : "",
                   failed ? ")" : "");
}

static lnt_status tell(lnt__turn *turn, lnt_token token, const char *text, lnt_error *err) {
  lnt__history *history = &turn->engine->replay.history;
  const lnt__cmd *cmd = lnt__instance_closed(turn) ? NULL : lnt__cmd_find(turn, token.seq);
  bool waits = cmd && cmd->kind == LNT_EVENT_ACTIVITY_SCHEDULED && cmd->attempt == token.attempt && lnt__cmd_is_attempt(cmd);
  if (waits)
    return lnt__fail(err, LNT_EAGAIN, "attempt %s of activity '%s' has not begun; answer it when it has", text, cmd->memory);
  lnt_status status = lnt__journal_history(turn->engine->store, token.run, history, err);
  if (status != LNT_OK) return status;
  fate f = fate_of(history, token);
  if (lnt__instance_clean(turn) && (!f.scheduled || token.attempt > f.attempts))
    return lnt__fail(err, LNT_ENOTFOUND, "instance '%s' (run %llu) has no attempt %s", turn->id, (unsigned long long)token.run, text);
  return tell_over(turn, &f, text, err);
}

lnt_status lnt__engine_unawaited(lnt__engine *engine, lnt_token token, lnt_error *err) {
  char text[LNT_TOKEN_TEXT_BYTES];
  lnt_status status = LNT_OK;
  lnt_token_text(token, text);
  lnt__turn *turn = lnt__instance_by_run(engine, token.run, &status, NULL);
  if (!turn && status == LNT_ENOTFOUND)
    return lnt__fail(err, status, "there is no attempt %s here: its instance was purged, or is in another data directory", text);
  if (!turn) return lnt__fail(err, status, "the instance of attempt %s cannot be read", text);
  status = tell(turn, token, text, err);
  lnt__instance_release(turn);
  return status;
}
