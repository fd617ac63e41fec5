/* ask.c - what is asked of an instance: queries and updates. Requests wait at the instance and are dealt with at its turn,
 * after its inbox was consumed, on its live body; that of one without a body that may run (finished, suspended) on a copy that is rebuilt
 * from its history, asked, and dropped. Called by turn.c, and by the driver between turns.
 *
 * Nothing that depends on events which are not durable is answered: an answer joins the batch that carries them. */
#include <stdio.h>

#include "engine/internal.h"

/* A request: one block with its texts. */
struct lnt__ask {
  lnt__ask *next;
  lnt_answer_fn fn; /* NULL: nobody wants the answer */
  void *user;
  const char *name, *id; /* id: of the update; NULL: a query */
  bool was_given;        /* the update's id is the caller's: it may have been seen before */
  lnt_value args;
};

/* An update that was accepted and is not answered. */
typedef struct lnt__update { char *id; lnt__ask *waiters; } lnt__update;

struct lnt__asked {
  lnt__ask *head, *tail;
  size_t count;
  LNT__VECTOR(lnt__update) updates;
  LNT__VECTOR(uint64_t) ids; /* hashes of the ids of all updates that were ever accepted */
};

static lnt__asked *asked_of(lnt__turn *turn) {
  if (!turn->asked) turn->asked = lnt__calloc(1, sizeof(*turn->asked));
  return turn->asked;
}

bool lnt__asks_wait(const lnt__turn *turn) { return turn->asked && turn->asked->head; }

/* Somebody in this process waits for an answer: the instance must stay in memory. */
bool lnt__is_asked(const lnt__turn *turn) {
  if (!turn->asked) return false;
  bool waited = turn->asked->head != NULL;
  for (size_t i = 0; i < turn->asked->updates.count && !waited; i++) waited = turn->asked->updates.items[i].waiters != NULL;
  return waited;
}

/* ---- Answers ---- */

/* The batch that carries what `turn` has observed; NULL: everything is durable. */
static lnt__commit *batch_of(lnt__turn *turn) {
  lnt__engine *engine = turn->engine;
  if (turn->dirty) return lnt__open_commit(engine);
  return turn->last_batch > engine->committed ? &engine->commits[!engine->open] : NULL;
}

static void answer(lnt__turn *turn, lnt__ask *ask, lnt_status status, lnt_value value) {
  lnt__engine *engine = turn->engine;
  lnt__commit *commit = batch_of(turn);
  lnt__answer made = {ask->fn, ask->user, status, NULL, value.size};
  lnt__free(ask);
  if (!made.fn) return;
  if (value.size && !(made.data = lnt__alloc(value.size))) {
    lnt__poison(engine);
    return;
  }
  if (value.size) memcpy(made.data, value.data, value.size);
  if (commit) LNT__PUSH(engine, commit->answers, made);
  else LNT__PUSH(engine, engine->answers, made);
}

static void answer_failure(lnt__turn *turn, lnt__ask *ask, lnt_status status, const char *type, const char *message) {
  lnt__buf failure;
  lnt__buf_init(&failure);
  lnt__failure_text(&failure, type, message, false);
  answer(turn, ask, status, (lnt_value){failure.data, failure.size});
  lnt__buf_finish(&failure);
}

/* A callback may ask again: its request comes to another list. */
void lnt__answers_tell(lnt__answers *answers, lnt_status status) {
  lnt__answers told = *answers;
  memset(answers, 0, sizeof(*answers));
  for (size_t i = 0; i < told.count; i++) {
    lnt__answer *made = &told.items[i];
    lnt_value value = {made->data, made->size};
    made->fn(made->user, status ? status : made->status, status ? LNT_VALUE_NIL : value);
    lnt__free(made->data);
  }
  lnt__free(told.items);
}

/* ---- Taking requests ---- */

static lnt__ask *make(const lnt__inquiry *inquiry, const char *update_id) {
  size_t name_size = strlen(inquiry->name) + 1, id_size = update_id ? strlen(update_id) + 1 : 0;
  lnt__ask *ask = lnt__alloc(sizeof(*ask) + name_size + id_size + inquiry->args.size);
  if (!ask) return NULL;
  char *at = (char *)(ask + 1), *args = at + name_size + id_size;
  *ask = (lnt__ask){.fn = inquiry->fn, .user = inquiry->user, .was_given = inquiry->update_id != NULL};
  ask->name = memcpy(at, inquiry->name, name_size);
  if (update_id) ask->id = memcpy(at + name_size, update_id, id_size);
  if (inquiry->args.size) ask->args = (lnt_value){memcpy(args, inquiry->args.data, inquiry->args.size), inquiry->args.size};
  return ask;
}

static void append(lnt__asked *asked, lnt__ask *ask) {
  ask->next = NULL;
  if (asked->tail) asked->tail->next = ask;
  else asked->head = ask;
  asked->tail = ask;
  asked->count++;
}

static lnt__ask *take_first(lnt__asked *asked) {
  lnt__ask *ask = asked->head;
  asked->head = ask->next;
  if (!asked->head) asked->tail = NULL;
  asked->count--;
  ask->next = NULL;
  return ask;
}

static void put_back(lnt__asked *asked, lnt__ask *ask) {
  ask->next = asked->head;
  asked->head = ask;
  if (!asked->tail) asked->tail = ask;
  asked->count++;
}

/* Does it only gather? One that starts later says so once it is loaded. */
static lnt_status check_held(lnt__turn *turn, bool *held, lnt_error *err) {
  bool may_be = turn->status == LNT_RUN_SUSPENDED || turn->status == LNT_RUN_PENDING || turn->forming;
  lnt_status status = may_be ? lnt__instance_load(turn, err) : LNT_OK;
  *held = lnt__instance_held(turn);
  return status;
}

static bool was_seen(const lnt__turn *turn, const char *id) {
  uint64_t hash = lnt__hash64(id, strlen(id));
  for (size_t i = 0; turn->asked && i < turn->asked->ids.count; i++)
    if (turn->asked->ids.items[i] == hash) return true;
  return false;
}

/* A random id that no update of this instance had: a process with the same seed, and a clock that stands still, draws the same ones
 * again. */
static lnt_status draw_id(lnt__turn *turn, char id[37], lnt_error *err) {
  lnt__engine *engine = turn->engine;
  lnt_status status = lnt__instance_closed(turn) ? LNT_OK : lnt__instance_load(turn, err);
  do lnt__rng_uuid_at(&engine->rng, engine->now_us, id);
  while (was_seen(turn, id));
  return status;
}

/* update_id: NULL for a query. */
static lnt_status ask(lnt__turn *turn, const lnt__inquiry *inquiry, const char *update_id, lnt_error *err) {
  lnt__engine *engine = turn->engine;
  bool held = false;
  lnt_status status = update_id ? check_held(turn, &held, err) : LNT_OK;
  if (status != LNT_OK) return status;
  lnt__asked *asked = asked_of(turn);
  if (asked && asked->count >= engine->limits.questions_max)
    return LNT__MET(engine->met, questions_max),
           lnt__fail(err, LNT_ELIMIT, "%llu queries and updates of instance '%s' wait for its turn: the limit questions_max; ask again "
                     "when some are answered", (unsigned long long)engine->limits.questions_max, inquiry->id);
  lnt__ask *made = asked ? make(inquiry, update_id) : NULL;
  if (!made) {
    lnt__instance_release(turn);
    return lnt__fail(err, LNT_ENOMEM, "out of memory: instance '%s' was not asked", inquiry->id);
  }
  append(asked, made);
  if (held) lnt__updates_hold(turn);
  lnt__ready_asked(turn);
  return LNT_OK;
}

lnt_status lnt__engine_query(lnt__engine *engine, const lnt__inquiry *inquiry, lnt_error *err) {
  lnt_status status = lnt__accepting(engine, err);
  lnt__turn *turn = status == LNT_OK ? lnt__instance_by_id(engine, inquiry->id, &status, err) : NULL;
  return turn ? ask(turn, inquiry, NULL, err) : status;
}

lnt_status lnt__engine_update(lnt__engine *engine, const lnt__inquiry *inquiry, char *id_out, lnt_error *err) {
  char random_id[37];
  const char *id = inquiry->update_id ? inquiry->update_id : random_id;
  lnt_status status = lnt__accepting(engine, err);
  lnt__turn *turn = status == LNT_OK ? lnt__instance_by_id(engine, inquiry->id, &status, err) : NULL;
  if (turn && !inquiry->update_id) status = draw_id(turn, random_id, err);
  if (turn && status == LNT_OK) status = ask(turn, inquiry, id, err);
  if (status == LNT_OK && id_out) memcpy(id_out, id, strlen(id) + 1);
  return status;
}

/* ---- Updates that were accepted ---- */

static lnt__update *find_update(lnt__asked *asked, lnt_value id) {
  for (size_t i = 0; asked && i < asked->updates.count; i++)
    if (strlen(asked->updates.items[i].id) == id.size && memcmp(asked->updates.items[i].id, id.data, id.size) == 0)
      return &asked->updates.items[i];
  return NULL;
}

static lnt__update *add_update(lnt__turn *turn, lnt_value id) {
  lnt__asked *asked = asked_of(turn);
  lnt__update update = {asked ? lnt__strndup(id.data, id.size) : NULL, NULL};
  if (!update.id) {
    lnt__poison(turn->engine);
    return NULL;
  }
  size_t count = asked->updates.count;
  LNT__PUSH(turn->engine, asked->updates, update);
  LNT__PUSH(turn->engine, asked->ids, lnt__hash64(id.data, id.size));
  if (asked->updates.count == count) lnt__free(update.id);
  return asked->updates.count > count ? &asked->updates.items[count] : NULL;
}

/* Its waiters are the caller's now. */
static lnt__ask *remove_update(lnt__asked *asked, lnt__update *update) {
  lnt__ask *waiters = update->waiters;
  lnt__free(update->id);
  *update = asked->updates.items[--asked->updates.count];
  return waiters;
}

static void answer_all(lnt__turn *turn, lnt__ask *waiters, lnt_status status, lnt_value value) {
  while (waiters) {
    lnt__ask *next = waiters->next;
    answer(turn, waiters, status, value);
    waiters = next;
  }
}

/* It was rejected: its id may come again. */
static lnt__ask *forget_update(lnt__asked *asked, lnt_value id) {
  lnt__update *update = find_update(asked, id);
  uint64_t hash = lnt__hash64(id.data, id.size);
  for (size_t i = asked ? asked->ids.count : 0; i > 0; i--) {
    if (asked->ids.items[i - 1] != hash) continue;
    asked->ids.items[i - 1] = asked->ids.items[--asked->ids.count];
    break;
  }
  return update ? remove_update(asked, update) : NULL;
}

void lnt__update_fold(lnt__turn *turn, const lnt__event *event) {
  lnt__update *update = find_update(turn->asked, event->id); /* a copied run was there before its history was read */
  if (event->kind == LNT_EVENT_UPDATE_REJECTED) forget_update(turn->asked, event->id);
  else if (event->kind == LNT_EVENT_UPDATE_ANSWERED && update) remove_update(turn->asked, update);
  else if (event->kind != LNT_EVENT_UPDATE_ANSWERED && !update) add_update(turn, event->id);
}

void lnt__turn_update_answered(lnt__turn *turn, lnt_value id, bool ok, lnt_value value) {
  turn->updates_answered++;
  if (turn->replaying || lnt__half_event(turn, LNT_EVENT_UPDATE_ANSWERED, 0, id)) return;
  lnt__event event = {.kind = LNT_EVENT_UPDATE_ANSWERED, .id = id};
  if (ok) event.value = value;
  else event.options = value;
  if (!lnt__act(turn, &event) || turn->rehearsing) return;
  lnt__emit(turn, &event);
  lnt__update *update = find_update(turn->asked, id);
  if (update) answer_all(turn, remove_update(turn->asked, update), ok ? LNT_OK : LNT_EFAILED, value);
}

/* The run is closed: what it accepted and did not answer stays so. */
void lnt__updates_abandon(lnt__turn *turn) {
  lnt__buf failure;
  if (!turn->asked || !turn->asked->updates.count) return;
  lnt__buf_init(&failure);
  lnt__failure_text(&failure, "UpdateAbandoned", "the instance ended before the update was answered", false);
  while (turn->asked->updates.count) {
    lnt__ask *waiters = remove_update(turn->asked, &turn->asked->updates.items[0]);
    answer_all(turn, waiters, LNT_EFAILED, (lnt_value){failure.data, failure.size});
  }
  lnt__buf_finish(&failure);
}

/* Every request that waits goes over to the next generation. */
void lnt__asks_carry(lnt__turn *to, lnt__turn *from) {
  if (!lnt__asks_wait(from)) return;
  if (!asked_of(to)) {
    lnt__poison(to->engine);
    return;
  }
  while (lnt__asks_wait(from)) append(to->asked, take_first(from->asked));
  lnt__ready_asked(to);
}

/* ---- Answering ---- */

/* The event that answered an update, in the durable history of the run; it is in the replay scratch. NULL: *status. */
static const lnt__event *recorded_answer(lnt__turn *turn, const char *id, lnt_status *status, lnt_error *err) {
  lnt__history *history = &turn->engine->replay.history;
  *status = lnt__journal_outline(turn->engine->store, turn->run, history, err);
  for (size_t i = 0; *status == LNT_OK && i < history->count; i++) {
    const lnt__event *event = &history->events[i];
    bool answers = event->kind == LNT_EVENT_UPDATE_ANSWERED && event->id.size == strlen(id);
    if (!answers || memcmp(event->id.data, id, event->id.size) != 0) continue;
    *status = lnt__history_fetch_event(turn->engine->store, history, i, err);
    return *status == LNT_OK ? event : NULL;
  }
  return NULL;
}

static void answer_recorded(lnt__turn *turn, lnt__ask *ask, const lnt__event *event) {
  bool ok = event->options.size == 0;
  answer(turn, ask, ok ? LNT_OK : LNT_EFAILED, ok ? event->value : event->options);
}

typedef enum seen { SEEN_NOT, SEEN_DONE, SEEN_LATER } seen;

/* An update whose id may have been seen. DONE: it is answered, or waits with the one before. LATER: the answer is on its way to disk. */
static seen look_back(lnt__turn *turn, lnt__ask *ask) {
  lnt__update *update = find_update(turn->asked, (lnt_value){ask->id, strlen(ask->id)});
  lnt_status status;
  lnt_error err;
  if (update) {
    ask->next = update->waiters;
    update->waiters = ask;
    return SEEN_DONE;
  }
  if (!was_seen(turn, ask->id)) return SEEN_NOT;
  if (batch_of(turn)) return SEEN_LATER;
  const lnt__event *event = recorded_answer(turn, ask->id, &status, &err);
  if (status != LNT_OK) answer_failure(turn, ask, status, "StoreFailed", err.message);
  else if (event) answer_recorded(turn, ask, event);
  return event || status != LNT_OK ? SEEN_DONE : SEEN_NOT;
}

static void answer_outcome(lnt__turn *turn, lnt__ask *ask) {
  const lnt__outcome *outcome = &turn->engine->outcome;
  lnt_status status = outcome->state == LNT__BODY_COMPLETED ? LNT_OK : LNT_EFAILED;
  if (outcome->state == LNT__BODY_UNAVAILABLE) answer_failure(turn, ask, outcome->error.code, "Unavailable", outcome->error.message);
  else answer(turn, ask, status, (lnt_value){outcome->value.data, outcome->value.size});
}

/* Of the instance's own body, or of a copy's. */
static void put_question(lnt__turn *turn, lnt__turn *asked_turn, const lnt__ask *ask) {
  lnt__engine *engine = turn->engine;
  lnt__question question = {.name = {ask->name, strlen(ask->name)}, .args = ask->args, .is_update = ask->id != NULL};
  lnt__outcome_reset(&engine->outcome);
  asked_turn->asks_run++;
  engine->vm.ask(engine->vm.vm, asked_turn, asked_turn->body, &question, &engine->outcome);
}

static bool within_limits(lnt__turn *turn, lnt__ask *ask) {
  const lnt_limits *limits = &turn->engine->limits;
  char text[200];
  if (turn->asked->updates.count >= limits->updates_max) {
    LNT__MET(turn->engine->met, updates_max);
    snprintf(text, sizeof(text), "%llu updates of the instance are accepted and not answered: the limit updates_max; ask again when some "
             "are", (unsigned long long)limits->updates_max);
  } else if (turn->history_events >= limits->history_events_max) {
    LNT__MET(turn->engine->met, history_events_max);
    snprintf(text, sizeof(text), "the history of the instance has %llu events: the limit history_events_max",
             (unsigned long long)limits->history_events_max);
  } else {
    return true;
  }
  answer_failure(turn, ask, LNT_ELIMIT, "LimitExceeded", text);
  return false;
}

/* kind: UPDATE_ACCEPTED or UPDATE_REQUESTED */
static void accept_update(lnt__turn *turn, lnt__ask *ask, lnt_event_kind kind) {
  lnt_value id = {ask->id, strlen(ask->id)};
  lnt__event event = {.kind = kind, .name = {ask->name, strlen(ask->name)}, .value = ask->args, .id = id};
  lnt__accept(turn, &event);
  lnt__update *update = add_update(turn, id);
  if (update) update->waiters = ask;
}

/* false: the others must wait, until what was accepted is consumed or something is durable. */
static bool run_update(lnt__turn *turn) {
  lnt__ask *ask = take_first(turn->asked);
  seen before = ask->was_given ? look_back(turn, ask) : SEEN_NOT;
  if (before == SEEN_LATER) put_back(turn->asked, ask);
  if (before != SEEN_NOT) return before == SEEN_DONE;
  if (!within_limits(turn, ask)) return true;
  put_question(turn, turn, ask);
  if (turn->engine->outcome.state != LNT__BODY_COMPLETED) {
    answer_outcome(turn, ask);
    return true;
  }
  accept_update(turn, ask, LNT_EVENT_UPDATE_ACCEPTED);
  return false;
}

static void run_all(lnt__turn *turn) {
  bool goes_on = true;
  while (goes_on && lnt__asks_wait(turn)) {
    if (turn->asked->head->id) {
      goes_on = run_update(turn);
      continue;
    }
    lnt__ask *query = take_first(turn->asked);
    put_question(turn, turn, query);
    answer_outcome(turn, query);
  }
}

/* ---- Updates of an instance that only gathers ----
 * They come into its inbox, in their order among everything else, and are accepted or rejected when its body is fed them. */

/* false: its id was seen, and what became of it is on its way to disk. */
static bool hold(lnt__turn *turn, lnt__ask *ask) {
  seen before = ask->was_given ? look_back(turn, ask) : SEEN_NOT;
  if (before != SEEN_NOT) return before == SEEN_DONE;
  if (within_limits(turn, ask)) accept_update(turn, ask, LNT_EVENT_UPDATE_REQUESTED);
  return true;
}

void lnt__updates_hold(lnt__turn *turn) {
  size_t count = turn->asked ? turn->asked->count : 0;
  while (count--) {
    lnt__ask *ask = take_first(turn->asked);
    if (!ask->id || !hold(turn, ask)) append(turn->asked, ask);
  }
}

static void reject(lnt__turn *turn, lnt_value id) {
  const lnt__outcome *outcome = &turn->engine->outcome;
  lnt_value failure = {outcome->value.data, outcome->value.size};
  lnt__event event = {.kind = LNT_EVENT_UPDATE_REJECTED, .id = id, .options = failure};
  lnt__emit(turn, &event);
  answer_all(turn, forget_update(turn->asked, id), LNT_EFAILED, failure);
}

/* A validator that could not be run for want of memory or time decides nothing: the outcome stays, and the instance stalls. */
bool lnt__update_admitted(lnt__turn *turn, const lnt__event *event) {
  lnt__engine *engine = turn->engine;
  if (lnt__replay_rejected(turn, event->id)) return false;
  if (turn->replaying) return true;
  lnt__question question = {.name = event->name, .args = event->value, .is_update = true};
  engine->vm.ask(engine->vm.vm, turn, turn->body, &question, &engine->outcome);
  lnt__body_state state = engine->outcome.state;
  if (state == LNT__BODY_UNAVAILABLE) return false;
  if (state != LNT__BODY_COMPLETED && !turn->rehearsing) reject(turn, event->id);
  lnt__outcome_reset(&engine->outcome);
  return state == LNT__BODY_COMPLETED;
}

void lnt__update_carry(lnt__turn *to, lnt__turn *from, lnt_value id) {
  lnt__update *old = find_update(from->asked, id), *carried = add_update(to, id);
  if (old && carried) carried->waiters = remove_update(from->asked, old);
}

/* ---- Apart: on a copy that is rebuilt from the durable history ---- */

lnt_status lnt__copy_rebuild(lnt__turn *copy, const lnt__turn *turn, lnt_error *err) {
  lnt__copy_init(copy, turn);
  lnt_status status = lnt__replay_copy_begin(copy, err);
  if (status == LNT_OK && copy->replaying) lnt__turn_replay_copy(copy);
  return status;
}

static void answer_update_of_closed(lnt__turn *turn, lnt__ask *ask) {
  char text[200];
  lnt_status status;
  lnt_error err;
  const lnt__event *event = ask->was_given ? recorded_answer(turn, ask->id, &status, &err) : NULL;
  snprintf(text, sizeof(text), "instance '%.128s' is finished (%s)", turn->id, lnt_run_status_name(turn->status));
  if (event) answer_recorded(turn, ask, event);
  else answer_failure(turn, ask, LNT_ECLOSED, "Closed", text);
}

/* Queries are answered; updates wait. */
static void ask_copy(lnt__turn *turn, lnt__turn *copy) {
  lnt__engine *engine = turn->engine;
  lnt__ask *all = turn->asked->head, *next;
  bool diverged = copy->refusal == LNT__REFUSAL_DIVERGED && turn->status != LNT_RUN_FAILED; /* a limit ends a body in mid-command */
  turn->asked->head = turn->asked->tail = NULL;
  turn->asked->count = 0;
  for (; all; all = next) {
    next = all->next;
    if (all->id) {
      append(turn->asked, all);
    } else if (diverged || !copy->body) {
      answer_failure(turn, all, LNT_EFAILED, diverged ? "Diverged" : "NotStarted",
                     diverged ? engine->refusal : "the instance has not had its first turn yet");
    } else {
      put_question(turn, copy, all);
      answer_outcome(turn, all);
    }
  }
}

static void answer_apart(lnt__turn *turn) {
  lnt__turn copy;
  lnt_error err;
  bool queries = false;
  for (const lnt__ask *ask = turn->asked->head; ask; ask = ask->next) queries = queries || !ask->id;
  if (queries) {
    lnt_status status = lnt__copy_rebuild(&copy, turn, &err);
    if (status == LNT_OK) ask_copy(turn, &copy);
    lnt__copy_finish(&copy);
    while (status != LNT_OK && lnt__asks_wait(turn)) answer_failure(turn, take_first(turn->asked), status, "StoreFailed", err.message);
  }
  while (lnt__instance_closed(turn) && lnt__asks_wait(turn)) answer_update_of_closed(turn, take_first(turn->asked));
}

static void answer_stalled(lnt__turn *turn) {
  while (lnt__asks_wait(turn)) answer(turn, take_first(turn->asked), LNT_EDIVERGED, (lnt_value){turn->failure, turn->failure_size});
}

void lnt__asks_answer(lnt__turn *turn) {
  if (!lnt__asks_wait(turn)) return;
  if (lnt__instance_held(turn)) lnt__updates_hold(turn);
  if (turn->status == LNT_RUN_STALLED) answer_stalled(turn);
  else if (turn->body && !lnt__instance_held(turn)) run_all(turn);
  else if (lnt__instance_clean(turn)) answer_apart(turn); /* else again when it is */
}

void lnt__asks_finish(lnt__turn *turn) {
  lnt__asked *asked = turn->asked;
  if (!asked) return;
  while (asked->head) answer(turn, take_first(asked), LNT_ECLOSED, LNT_VALUE_NIL);
  while (asked->updates.count) answer_all(turn, remove_update(asked, &asked->updates.items[0]), LNT_ECLOSED, LNT_VALUE_NIL);
  lnt__free(asked->updates.items);
  lnt__free(asked->ids.items);
  lnt__free(asked);
  turn->asked = NULL;
}
