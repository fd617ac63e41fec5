/* world.c - everything around the engine: the clock, the store that fails, the activities, the clients who start, raise, cancel and
 * terminate, and the crashes. Called by main.c through sim_run(). The engine and the VM are the ones that ship; a crash destroys both
 * and opens new ones on the store.
 *
 * What the world remembers beyond a crash is what stands outside the process: what clients were told, and how long an activity takes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

#define T0_US 1700000000000000ll
#define END_US (T0_US + 3600ll * 1000000) /* who still runs then is terminated */
#define TICKS_MAX 20000
enum { ITEMS_MAX = 1024, ATTEMPTS_MAX = 4096, RUNS_MAX = 2048 };

/* ---- What clients want ---- */

typedef enum item_kind { ITEM_START, ITEM_RAISE, ITEM_UPDATE, ITEM_SUSPEND, ITEM_RESUME, ITEM_CANCEL, ITEM_TERMINATE } item_kind;
typedef enum item_state { ITEM_NEW, ITEM_SUBMITTED, ITEM_SETTLED } item_state;

typedef struct world world;

typedef struct item {
  world *world;
  item_kind kind;
  item_state state;
  bool acknowledged;
  int instance, number;
  int64_t at_us;
  char name[SIM_NAME_BYTES];
} item;

/* ---- What activities do ---- */

typedef enum verdict { VERDICT_OK, VERDICT_RETRYABLE, VERDICT_FINAL, VERDICT_NONE } verdict;

typedef struct attempt {
  lnt_token token;
  int64_t begin_us, answer_us; /* INT64_MAX: not known */
  int begun;                   /* how often */
  bool queued, runs;           /* in this life of the process */
  bool pure;                   /* it may begin before it is durable */
  bool lost;                   /* it did in an earlier life, and its number may be another command's now */
  bool outside, sent;          /* somebody outside has its token; and has answered, in this life */
  int asked;                   /* how often they were told that nobody waits */
  int beats;                   /* given since it began */
  int64_t beat_us;
  verdict verdict;
  lnt__buf input, answer;
  char name[SIM_NAME_BYTES], key[48];
} attempt;

struct world {
  const sim_program *program;
  const sim_mode *mode;
  sim_result *result;
  lnt__store *store; /* the one that fails; owns the one in memory */
  lnt__wvm *vm, *rehearsal; /* the second one: paranoid */
  lnt__vm inner; /* its interface; the engine has one that stalls now and then */
  lnt__engine *engine;
  int64_t now_us;
  lnt__rng rng; /* of what may differ between runs: downtimes, faults */
  uint8_t hash[LNT__SHA256_BYTES];
  lnt__buf bundle; /* sealed */
  item items[ITEMS_MAX];
  int item_count;
  attempt *attempts;
  int attempt_count;
  uint64_t tries; /* commits tried */
  bool early;     /* an attempt may begin before the commit */
  uint64_t sources[SIM_INSTANCES_MAX]; /* runs that were forked or are retried; what is retried keeps its idempotency keys */
  int lives;
};

static void broken(world *w, const char *format, ...) LNT__PRINTF(2, 3);
static void broken(world *w, const char *format, ...) {
  char text[700];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  lnt__buf_printf(&w->result->broken, "  at %lld, commit %llu: %s\n", (long long)(w->now_us - T0_US), (unsigned long long)w->tries, text);
}

#define EXPECT_OK(w, call)                                                      \
  do {                                                                          \
    lnt_error err_ = {0};                                                       \
    lnt_status status_ = (call);                                                \
    if (status_) broken((w), "%s: %s %s", #call, lnt_status_name(status_), err_.message); \
  } while (0)

static void id_of(int instance, char id[16]) { snprintf(id, 16, "i%d", instance); }

/* ---- The plan ---- */

static void add_item(world *w, item_kind kind, int instance, int64_t at_us, const char *name, int number) {
  if (w->item_count == ITEMS_MAX) return;
  item *it = &w->items[w->item_count++];
  *it = (item){.world = w, .kind = kind, .instance = instance, .number = number, .at_us = at_us};
  snprintf(it->name, sizeof it->name, "%s", name);
}

/* Who is canceled, is canceled twice, now and then. */
static void plan_cancels(world *w, lnt__rng *rng) {
  for (int i = 0; i < w->program->workflows; i++) {
    if (!w->program->timed || lnt__rng_below(rng, 4)) continue;
    int64_t at_us = T0_US + (int64_t)lnt__rng_below(rng, 12000000);
    add_item(w, ITEM_CANCEL, i, at_us, "", 0);
    if (lnt__rng_below(rng, 3) == 0) add_item(w, ITEM_CANCEL, i, at_us + (int64_t)lnt__rng_below(rng, 3000000), "", 1);
  }
}

/* A pause of some seconds. What was in flight when a process dies begins again only when the instance goes on, so the times of a timed
 * program would differ. */
static void plan_pauses(world *w, lnt__rng *rng) {
  if (w->program->timed) return;
  for (int i = 0; i < w->program->workflows; i++) {
    int64_t at_us = T0_US;
    for (uint64_t n = lnt__rng_below(rng, 3); n > 0; n--) {
      at_us += 1 + (int64_t)lnt__rng_below(rng, 15000000);
      add_item(w, ITEM_SUSPEND, i, at_us, "", 0);
      at_us += 1 + (int64_t)lnt__rng_below(rng, 15000000);
      add_item(w, ITEM_RESUME, i, at_us, "", 0);
    }
  }
}

/* Some start later than they are accepted: the number of the item is how much. */
static int start_delay_us(lnt__rng *rng) { return lnt__rng_below(rng, 3) == 0 ? 1 + (int)lnt__rng_below(rng, 10000000) : 0; }

static void plan(world *w) {
  const sim_program *p = w->program;
  lnt__rng rng;
  lnt__rng_seed(&rng, sim_mix(p->seed, 1, 1));
  for (int i = 0; i < p->workflows; i++) add_item(w, ITEM_START, i, T0_US, "", start_delay_us(&rng));
  for (int i = 0; i < p->wait_count; i++) {
    int64_t at_us = T0_US;
    for (int n = 0; n < p->waits[i].count; n++) {
      at_us += 1 + (int64_t)lnt__rng_below(&rng, 9000000);
      add_item(w, ITEM_RAISE, p->waits[i].workflow, at_us, p->waits[i].name, n);
    }
  }
  for (int i = 0; i < p->update_count; i++)
    for (int n = 0; n < p->updates[i].count; n++)
      add_item(w, ITEM_UPDATE, p->updates[i].workflow, T0_US + (int64_t)lnt__rng_below(&rng, 9000000), p->updates[i].name, n);
  plan_pauses(w, &rng);
  for (int i = 0; i < p->workflows; i++) {
    bool early = p->timed && lnt__rng_below(&rng, 12) == 0;
    add_item(w, ITEM_TERMINATE, i, early ? T0_US + 1 + (int64_t)lnt__rng_below(&rng, 20000000) : END_US + i, "", 0);
  }
  plan_cancels(w, &rng);
}

/* ---- What must be on disk before anything leaves ---- */

/* Does the durable history say that this attempt will be answered from outside, or that its command has its answer? */
static bool journaled(world *w, lnt_token token, bool deferral) {
  lnt__history history;
  bool found = false;
  lnt__history_init(&history);
  EXPECT_OK(w, lnt__journal_history(w->store, token.run, &history, &err_));
  for (size_t i = 0; i < history.count; i++) {
    const lnt__event *e = &history.events[i];
    if (e->seq != token.seq) continue;
    if (deferral) found |= e->kind == LNT_EVENT_ACTIVITY_DEFERRED && e->attempt == token.attempt;
    else found |= e->kind == LNT_EVENT_ACTIVITY_COMPLETED || e->kind == LNT_EVENT_ACTIVITY_FAILED;
  }
  lnt__history_finish(&history);
  return found;
}

/* Is activity `token` scheduled and unanswered in the durable history, is this its next attempt, and is nobody suspended? */
static bool may_run(world *w, lnt_token token, bool *answered) {
  lnt__history history;
  uint32_t attempts = 0;
  bool held = false;
  *answered = false;
  lnt__history_init(&history);
  EXPECT_OK(w, lnt__journal_history(w->store, token.run, &history, &err_));
  for (size_t i = 0; i < history.count; i++) {
    const lnt__event *e = &history.events[i];
    if (e->kind == LNT_EVENT_SUSPENDED || e->kind == LNT_EVENT_UNSUSPENDED) held = e->kind == LNT_EVENT_SUSPENDED;
    if (e->seq != token.seq) continue;
    if (e->kind == LNT_EVENT_ACTIVITY_SCHEDULED) attempts = 1;
    if (e->kind == LNT_EVENT_ACTIVITY_RETRIED) attempts++;
    if (e->kind == LNT_EVENT_ACTIVITY_COMPLETED || e->kind == LNT_EVENT_ACTIVITY_FAILED) *answered = true;
  }
  lnt__history_finish(&history);
  return attempts == token.attempt && !held;
}

/* Call `fn` for every run there is: all instances, their children, all generations. */
typedef struct each_run { uint64_t runs[RUNS_MAX]; int count; } each_run;

static int gather_run(void *user, lnt__slice key, lnt__slice value) {
  each_run *each = user;
  (void)value;
  if (each->count < RUNS_MAX) each->runs[each->count++] = lnt__get_be64(key.data);
  return 0;
}

static void for_each_run(world *w, void (*fn)(world *w, const lnt__row *row, void *user), void *user) {
  each_run each = {.count = 0};
  lnt__slice all = {0};
  EXPECT_OK(w, w->store->vtable->scan(w->store, LNT__TABLE_INSTANCE, all, all, false, gather_run, &each, &err_));
  for (int i = 0; i < each.count; i++) {
    lnt__row row;
    void *memory = NULL;
    EXPECT_OK(w, lnt__journal_row(w->store, each.runs[i], &row, &memory, &err_));
    if (memory) fn(w, &row, user);
    lnt__free(memory);
  }
}

static void history_of(world *w, uint64_t run, lnt__history *history) {
  lnt__history_init(history);
  EXPECT_OK(w, lnt__journal_history(w->store, run, history, &err_));
}

static bool is_text(lnt_value value, const char *text) {
  return value.size == strlen(text) && memcmp(value.data, text, value.size) == 0;
}

typedef struct raised_count { char id[16]; const char *name; int count; } raised_count;

static void count_raised(world *w, const lnt__row *row, void *user) {
  raised_count *raised = user;
  lnt__history history;
  if (!is_text(row->id, raised->id)) return;
  history_of(w, row->run, &history);
  for (size_t i = 0; i < history.count; i++)
    raised->count += history.events[i].kind == LNT_EVENT_EVENT_RAISED && is_text(history.events[i].name, raised->name);
  lnt__history_finish(&history);
}

/* In all generations: one that went over to the next is counted in both. */
static int raised_events(world *w, int instance, const char *name) {
  raised_count raised = {.name = name};
  id_of(instance, raised.id);
  for_each_run(w, count_raised, &raised);
  return raised.count;
}

static void on_done(void *user, lnt_status status) {
  item *it = user;
  world *w = it->world;
  char id[16];
  uint64_t run;
  if (status) return; /* the process ended first: the client asks again */
  it->acknowledged = true;
  it->state = ITEM_SETTLED;
  id_of(it->instance, id);
  if (it->kind == ITEM_START && lnt__journal_find(w->store, id, &run, NULL))
    broken(w, "start of %s was acknowledged before it was durable", id);
  if (it->kind != ITEM_RAISE) return;
  int told = 0;
  for (int i = 0; i < w->item_count; i++) {
    const item *other = &w->items[i];
    told += other->acknowledged && other->kind == ITEM_RAISE && other->instance == it->instance && !strcmp(other->name, it->name);
  }
  if (raised_events(w, it->instance, it->name) < told) broken(w, "event %s of %s was acknowledged before it was durable", it->name, id);
}

/* Whoever was told an update's answer finds it in the history. */
typedef struct answered_count { const char *id; int count; } answered_count;

static void count_answers(world *w, const lnt__row *row, void *user) {
  answered_count *answered = user;
  lnt__history history;
  lnt__history_init(&history);
  EXPECT_OK(w, lnt__journal_history(w->store, row->run, &history, &err_));
  for (size_t i = 0; i < history.count; i++)
    answered->count += history.events[i].kind == LNT_EVENT_UPDATE_ANSWERED && is_text(history.events[i].id, answered->id);
  lnt__history_finish(&history);
}

static void update_id_of(const item *it, char id[48]) { snprintf(id, 48, "%s-%d-%d", it->name, it->instance, it->number); }

/* Refused because the workflow has not come to its handler, or is stalled: the client tries again. */
static void on_update(void *user, lnt_status status, lnt_value value) {
  item *it = user;
  world *w = it->world;
  char id[48];
  if (status == LNT_ECLOSED && !value.size) return; /* the process ended: the client asks again */
  size_t size = 0;
  const char *type = lnt__cbor_member_string(value, "type", &size);
  bool early = status == LNT_EFAILED && type && size == 13 && memcmp(type, "UnknownUpdate", 13) == 0;
  it->state = ITEM_SETTLED;
  if (early || status == LNT_EDIVERGED) {
    it->state = ITEM_NEW;
    it->at_us = w->now_us + 500000 + (w->now_us - T0_US) / 4;
  } else if (status == LNT_OK || status == LNT_EFAILED) {
    update_id_of(it, id);
    answered_count answered = {.id = id};
    for_each_run(w, count_answers, &answered);
    if (answered.count != 1) broken(w, "update %s was answered, and its history has %d answers", id, answered.count);
  } else if (status != LNT_ECLOSED) {
    broken(w, "an update was answered with %s", lnt_status_name(status));
  }
}

static void on_size(void *user, lnt_status status, lnt_value value) {
  world *w = user;
  bool good = status == LNT_OK || status == LNT_ECLOSED || (status == LNT_EDIVERGED && w->mode->stall);
  size_t size = 0;
  const char *type = status == LNT_EFAILED ? lnt__cbor_member_string(value, "type", &size) : NULL;
  if (type && size == 10 && memcmp(type, "NotStarted", 10) == 0) good = true;
  char brief[400] = "";
  if (!good) lnt__cbor_brief(value, brief, sizeof brief);
  if (!good) broken(w, "a query was answered with %s, %s", lnt_status_name(status), brief);
}

/* Asking changes nothing: runs in which nobody asks end alike. When nothing is ready, so that nobody's turn comes earlier. */
static void ask_around(world *w) {
  char id[16];
  lnt_status status;
  lnt_error err = {0};
  lnt__buf out;
  if (!w->program->queried || w->mode->fault == SIM_CALM || lnt__engine_ready(w->engine) || lnt__rng_below(&w->rng, 6)) return;
  id_of((int)lnt__rng_below(&w->rng, (uint64_t)w->program->workflows), id);
  lnt__inquiry inquiry = {.id = id, .name = "size", .fn = on_size, .user = w};
  status = lnt__engine_query(w->engine, &inquiry, &err);
  if (status && status != LNT_ENOTFOUND) broken(w, "a query was refused: %s", err.message);
  while (lnt__engine_turn(w->engine, &status, &err)) {}
  if (status) broken(w, "an answer failed: %s", err.message);
  lnt__buf_init(&out);
  status = lnt__engine_describe(w->engine, id, &out, &err);
  if (status && status != LNT_ENOTFOUND) broken(w, "a description failed: %s", err.message);
  lnt__buf_finish(&out);
}

/* ---- Clients ---- */

/* Of what clients send, some is too large for a record. */
static void write_input(const world *w, const item *it, lnt__buf *out) {
  char text[LNT__INLINE_BYTES_MAX + 300];
  uint64_t drawn = sim_mix(w->program->seed, (uint64_t)it->kind << 32 | (uint64_t)it->instance, (uint64_t)it->number);
  memset(text, 'c', sizeof text);
  lnt__cbor_array(out, 3);
  lnt__cbor_int(out, it->number);
  lnt__cbor_cstring(out, it->name);
  lnt__cbor_string(out, text, drawn % 4 ? 3 : sizeof text - drawn / 4 % 600);
}

static lnt_status submit(world *w, item *it, lnt_error *err) {
  char id[16], name[16];
  lnt__buf value;
  lnt_status status;
  id_of(it->instance, id);
  snprintf(name, sizeof name, "w%d", it->instance);
  lnt__buf_init(&value);
  write_input(w, it, &value);
  lnt__start start = {.workflow = name, .id = id, .hash = w->hash, .input = {value.data, value.size}, .done = on_done, .done_user = it};
  if (it->kind == ITEM_START) {
    start.start_at_us = it->number ? T0_US + it->number : 0;
    status = lnt__engine_start(w->engine, &start, NULL, err);
    lnt__slice key = {w->hash, sizeof w->hash}, bundle = {w->bundle.data, w->bundle.size};
    if (!status) EXPECT_OK(w, lnt__engine_put(w->engine, LNT__TABLE_CODE, key, bundle));
  } else if (it->kind == ITEM_RAISE) {
    char key[48];
    update_id_of(it, key);
    lnt__raise raise = {.id = id, .event = it->name, .data = start.input, .key = key, .done = on_done, .done_user = it};
    status = lnt__engine_raise(w->engine, &raise, err);
  } else if (it->kind == ITEM_UPDATE) {
    char update_id[48];
    update_id_of(it, update_id);
    lnt__inquiry inquiry = {.id = id, .name = it->name, .update_id = update_id, .args = start.input, .fn = on_update, .user = it};
    status = lnt__engine_update(w->engine, &inquiry, NULL, err);
  } else if (it->kind == ITEM_CANCEL) {
    status = lnt__engine_cancel(w->engine, id, it->number ? "once more" : "not wanted", on_done, it, err);
  } else if (it->kind == ITEM_SUSPEND) {
    status = lnt__engine_suspend(w->engine, id, "by the plan", on_done, it, err);
  } else if (it->kind == ITEM_RESUME) {
    status = lnt__engine_resume(w->engine, id, NULL, on_done, it, err);
  } else {
    status = lnt__engine_terminate(w->engine, id, "by the plan", on_done, it, err);
  }
  lnt__buf_finish(&value);
  return status;
}

static bool submit_due(world *w) {
  bool moved = false;
  for (int i = 0; i < w->item_count; i++) {
    item *it = &w->items[i];
    if (it->state != ITEM_NEW || it->at_us > w->now_us) continue;
    lnt_error err = {0};
    lnt_status status = submit(w, it, &err);
    it->state = status ? ITEM_SETTLED : ITEM_SUBMITTED;
    moved = true;
    bool fine = !status || status == LNT_ECLOSED || (it->kind == ITEM_START && status == LNT_EEXIST);
    if (!fine) broken(w, "a client was refused: %s", err.message);
  }
  return moved;
}

/* ---- Activities ---- */

static attempt *attempt_of(world *w, lnt_token token) {
  for (int i = 0; i < w->attempt_count; i++) {
    lnt_token *t = &w->attempts[i].token;
    if (t->run == token.run && t->seq == token.seq && t->attempt == token.attempt) return &w->attempts[i];
  }
  if (w->attempt_count == ATTEMPTS_MAX) return NULL;
  attempt *a = &w->attempts[w->attempt_count++];
  *a = (attempt){.token = token, .begin_us = INT64_MAX, .answer_us = INT64_MAX};
  lnt__buf_init(&a->input);
  lnt__buf_init(&a->answer);
  return a;
}

static bool is_pure(void *user, const char *name) {
  (void)user;
  return strncmp(name, "pure", 4) == 0;
}

static void check_dispatch(world *w, const attempt *a) {
  bool answered;
  if (!may_run(w, a->token, &answered) && !a->pure)
    broken(w, "attempt %u of command %u of run %u was dispatched before it was durable, or while suspended", a->token.attempt, a->token.seq,
           (unsigned)a->token.run);
  if (answered)
    broken(w, "command %u of run %u was dispatched again after its result was journaled", a->token.seq, (unsigned)a->token.run);
  if (journaled(w, a->token, true))
    broken(w, "attempt %u of command %u of run %u was dispatched though it is deferred", a->token.attempt, a->token.seq,
           (unsigned)a->token.run);
}

static void on_dispatch(void *user, lnt_token token) {
  world *w = user;
  attempt *a = attempt_of(w, token);
  if (!a) {
    broken(w, "more attempts than the simulation keeps");
    return;
  }
  const char *name = lnt__engine_attempt_name(w->engine, token);
  a->pure = name && is_pure(w, name);
  check_dispatch(w, a);
  a->queued = true;
  w->early |= a->pure;
  a->begin_us = w->now_us + (w->program->timed || a->pure ? 0 : (int64_t)lnt__rng_below(&w->rng, 400000));
  if (name && !strcmp(name, "starved")) a->begin_us = INT64_MAX;
}

static void on_abandon(void *user, lnt_token token, lnt_cancel_reason why, const char *name) {
  (void)user, (void)token, (void)why, (void)name;
}

/* The verdict depends on the name, the input and the attempt alone. */
static verdict judge(const attempt *a, uint32_t sum) {
  if (!strcmp(a->name, "bad") || !strcmp(a->name, "final")) return VERDICT_FINAL;
  if (!strcmp(a->name, "flaky") && a->token.attempt <= sum % 3) return VERDICT_RETRYABLE;
  if (!strcmp(a->name, "pure_flaky") && a->token.attempt <= sum % 3) return VERDICT_RETRYABLE;
  bool fades = !strcmp(a->name, "hang") || !strcmp(a->name, "later") || !strcmp(a->name, "pulse");
  if (fades && a->token.attempt <= sum % 3) return VERDICT_NONE;
  if (!strcmp(a->name, "never")) return VERDICT_NONE;
  if (!strcmp(a->name, "stubborn")) return VERDICT_RETRYABLE;
  return VERDICT_OK;
}

/* Now and then with more to it than stands in a record. */
static void make_bad(attempt *a, uint32_t sum) {
  lnt__buf details;
  char text[LNT__INLINE_BYTES_MAX + 100] = {0};
  lnt__buf_init(&details);
  lnt__cbor_string(&details, text, sum % 3 ? 1 : sizeof text);
  lnt_failure failure = {"Bad", "bad by nature", !strcmp(a->name, "final"), {details.data, details.size}};
  lnt__failure_write(&a->answer, &failure);
  lnt__buf_finish(&details);
}

static void make_answer(attempt *a, uint32_t sum) {
  lnt__cbor_map map;
  char text[2 * LNT__INLINE_BYTES_MAX];
  lnt__buf_clear(&a->answer);
  a->verdict = judge(a, sum);
  if (a->verdict == VERDICT_FINAL) make_bad(a, sum);
  if (a->verdict == VERDICT_RETRYABLE) lnt__failure_text(&a->answer, "Flaky", "not yet", true);
  if (a->verdict != VERDICT_OK) return;
  bool big = !strcmp(a->name, "big");
  lnt__cbor_map_begin(&a->answer, &map);
  lnt__cbor_cstring(&a->answer, "n");
  lnt__cbor_cstring(&a->answer, a->name);
  lnt__cbor_cstring(&a->answer, "d");
  lnt__cbor_int(&a->answer, sum);
  memset(text, 'a' + (int)(sum % 26), sizeof text);
  lnt__cbor_cstring(&a->answer, "text");
  lnt__cbor_string(&a->answer, text, big ? sum % sizeof text : 1);
  lnt__cbor_map_end(&a->answer, &map, 3, false);
}

static void remember(world *w, attempt *a, const lnt__attempt *given) {
  bool same = a->input.size == given->input.size && !strcmp(a->name, given->name) && !strcmp(a->key, given->idempotency_key) &&
              (!a->input.size || memcmp(a->input.data, given->input.data, a->input.size) == 0);
  if (a->begun && !same && !a->lost) broken(w, "command %u was begun with another name, input or key than before", a->token.seq);
  for (int i = 0; i < w->attempt_count; i++) {
    const attempt *b = &w->attempts[i];
    bool step = b->token.run == a->token.run && b->token.seq == a->token.seq;
    bool counts = b->begun && !b->lost && !w->sources[0]; /* the run of one that is lost may have another number now */
    if (counts && step != !strcmp(b->key, given->idempotency_key))
      broken(w, "the idempotency key %s is not one to a step", given->idempotency_key);
  }
  snprintf(a->name, sizeof a->name, "%s", given->name);
  snprintf(a->key, sizeof a->key, "%s", given->idempotency_key);
  lnt__buf_clear(&a->input);
  lnt__buf_append(&a->input, given->input.data, given->input.size);
}

/* ---- Signs of life ---- */

enum { BEATS = 3, BEAT_US = 1000000 };

/* Details are attempt * 100 + number. What an attempt is given was the last word of the one before, or its own of an earlier life: then it
 * goes on from there. */
static void take_details(world *w, attempt *a, lnt_value details) {
  lnt__reader reader = lnt__reader_of(details.data, details.size);
  lnt__cbor_item number = lnt__cbor_next(&reader);
  int64_t given = number.type == LNT__CBOR_INT ? number.as.integer : 0, nth = a->token.attempt;
  bool own = given / 100 == nth && a->begun, before = given == (nth - 1) * 100 + BEATS;
  if (details.size ? !own && !before : nth > 1)
    broken(w, "attempt %u of command %u was given the details %lld", a->token.attempt, a->token.seq, (long long)given);
  a->beats = own ? (int)(given % 100) : 0;
  a->beat_us = a->beats < BEATS ? w->now_us + BEAT_US : INT64_MAX;
}

static void beat(world *w, attempt *a) {
  lnt__buf details;
  lnt__buf_init(&details);
  lnt__cbor_int(&details, (int64_t)a->token.attempt * 100 + ++a->beats);
  lnt_status status = lnt__engine_heartbeat(w->engine, a->token, (lnt_value){details.data, details.size});
  if (status == LNT_ENOTFOUND) a->runs = false; /* it is over */
  else if (status) broken(w, "a heartbeat was not taken: %s", lnt_status_name(status));
  a->beat_us = a->beats < BEATS ? w->now_us + BEAT_US : INT64_MAX;
  lnt__buf_finish(&details);
}

/* ---- Answers from outside ---- */

enum { ASKED_MAX = 200 };

static void hand_out(world *w, attempt *a) {
  a->runs = false;
  a->outside = true;
  a->asked = 0;
  EXPECT_OK(w, lnt__engine_defer(w->engine, a->token));
}

/* Nobody tells them that an answer is durable: after a crash they answer again, until it is known. Before the attempt has begun again, or
 * after its instance was stopped, nobody waits for it. */
static void answer_outside(world *w, attempt *a) {
  lnt_value value = {a->answer.data, a->answer.size};
  if (a->verdict == VERDICT_NONE) {
    a->outside = false;
    return;
  }
  lnt_status status = lnt__engine_complete(w->engine, a->token, value);
  a->sent = status == LNT_OK;
  if (status == LNT_OK) return;
  if (status != LNT_ENOTFOUND) broken(w, "an answer from outside was not taken: %s", lnt_status_name(status));
  a->outside = !journaled(w, a->token, false) && ++a->asked < ASKED_MAX;
  a->answer_us = w->now_us + 1000000;
}

/* ---- Attempts ---- */

static void begin(world *w, attempt *a) {
  lnt__attempt given;
  lnt_value early = LNT_VALUE_NIL;
  a->queued = false;
  lnt__engine_complete(w->engine, a->token, early); /* nobody began it: must be ignored */
  if (!lnt__engine_begin(w->engine, a->token, &given)) return;
  remember(w, a, &given);
  if (a->lost) a->begun = 0;
  a->lost = false;
  uint32_t sum = lnt__checksum(a->input.data, a->input.size) ^ lnt__checksum(a->name, strlen(a->name));
  uint64_t step = (uint64_t)lnt__checksum(given.instance_id, strlen(given.instance_id)) << 32 | a->token.seq; /* runs may differ */
  int64_t takes_us = 1 + (int64_t)(sim_mix(w->program->seed, step, a->token.attempt) % 2000000);
  if (!strcmp(a->name, "slow")) takes_us *= 10;
  bool pulses = !strcmp(a->name, "pulse");
  a->beat_us = INT64_MAX;
  if (pulses) take_details(w, a, given.heartbeat);
  if (pulses) takes_us = (BEATS - a->beats) * BEAT_US + 500000;
  make_answer(a, sum);
  if (a->pure) takes_us = 0;
  if (a->pure || !a->begun || !w->program->timed) a->answer_us = w->now_us + takes_us;
  a->begun++;
  a->runs = true;
  w->result->steps++;
  if (!strcmp(a->name, "later")) hand_out(w, a);
}

static void answer(world *w, attempt *a) {
  lnt_value value = {a->answer.data, a->answer.size};
  lnt_token before = a->token;
  a->runs = false;
  if (a->verdict == VERDICT_NONE) return;
  before.attempt--;
  lnt__engine_complete(w->engine, before, LNT_VALUE_NIL); /* of an attempt that is over */
  for (int times = 1 + (int)(a->token.seq % 2); times > 0; times--) {
    if (a->verdict == VERDICT_OK) lnt__engine_complete(w->engine, a->token, value);
    else lnt__engine_fail(w->engine, a->token, value, LNT_VALUE_NIL);
  }
}

static bool run_activities(world *w) {
  bool moved = false;
  for (int i = 0; i < w->attempt_count; i++) {
    attempt *a = &w->attempts[i];
    if (a->queued && a->begin_us <= w->now_us) begin(w, a), moved = true;
    if (a->runs && a->beat_us <= w->now_us) beat(w, a), moved = true;
    if (a->runs && a->answer_us <= w->now_us) answer(w, a), moved = true;
    if (a->outside && !a->sent && a->answer_us <= w->now_us) answer_outside(w, a), moved = true;
  }
  return moved;
}

/* ---- Lives of the process ---- */

static lnt_status fetch(void *user, const uint8_t *hash, void **bundle, size_t *size, lnt_error *err) {
  world *w = user;
  void *sealed = NULL;
  size_t sealed_size;
  lnt__slice payload;
  lnt_status status = w->store->vtable->get(w->store, LNT__TABLE_CODE, hash, LNT__SHA256_BYTES, &sealed, &sealed_size, err);
  if (status == LNT_ENOTFOUND) return lnt__fail(err, status, "the store has no such bundle");
  if (status) return status;
  if (!lnt__unseal((lnt__slice){sealed, sealed_size}, &payload)) {
    lnt__free(sealed);
    return lnt__fail(err, LNT_ECORRUPT, "the bundle's checksum is wrong");
  }
  memmove(sealed, payload.data, payload.size);
  *bundle = sealed;
  *size = payload.size;
  return LNT_OK;
}

static void load(world *w) {
  void *bundle = NULL;
  size_t size;
  uint8_t hash[LNT__SHA256_BYTES];
  lnt_error err = {0};
  if (lnt__wvm_load(w->vm, "sim.lua", (const char *)w->program->source.data, w->program->source.size, &bundle, &size, hash, &err)) {
    broken(w, "the program does not load: %s", err.message);
    return;
  }
  if (w->lives > 1 && memcmp(hash, w->hash, sizeof hash)) broken(w, "the program has another hash than before");
  memcpy(w->hash, hash, sizeof hash);
  lnt__buf_clear(&w->bundle);
  lnt__buf_append(&w->bundle, bundle, size);
  lnt__seal(&w->bundle);
  lnt__free(bundle);
}

static const lnt_limits LIMITS = {
#define LNT__X(field, value, text) .field = value,
    LNT_LIMIT_MAP(LNT__X)
#undef LNT__X
};

static bool starts_are_durable(const world *w) {
  for (int i = 0; i < w->item_count; i++)
    if (w->items[i].kind == ITEM_START && w->items[i].state != ITEM_SETTLED) return false;
  return true;
}

/* ---- Bodies that become unavailable ---- */

/* What ran for the first time, and waits now, may be told to have failed half way. */
static void may_stall(world *w, const lnt__turn *turn, lnt__outcome *outcome) {
  if (!w->mode->stall || outcome->state != LNT__BODY_WAITING || lnt__turn_replaying(turn) || lnt__rng_below(&w->rng, 4)) return;
  outcome->state = LNT__BODY_UNAVAILABLE;
  lnt__fail(&outcome->error, LNT_ETIMEOUT, "stalled by the simulation");
}

static world *stalling; /* whose engine runs: the VM knows nothing of it */

static void stalling_start(void *vm, lnt__turn *turn, const lnt__start_info *start, void **body, lnt__outcome *outcome) {
  stalling->inner.start(vm, turn, start, body, outcome);
  may_stall(stalling, turn, outcome);
}

static bool stalling_update(void *vm, lnt__turn *turn, void *body, const lnt__accepted *update, lnt__outcome *outcome) {
  bool found = stalling->inner.update(vm, turn, body, update, outcome);
  may_stall(stalling, turn, outcome);
  return found;
}

static void stalling_deliver(void *vm, lnt__turn *turn, void *body, const lnt__delivery *delivery, lnt__outcome *outcome) {
  stalling->inner.deliver(vm, turn, body, delivery, outcome);
  may_stall(stalling, turn, outcome);
}

/* Every second life has the code from the store alone. */
static void open_process(world *w) {
  lnt__wvm_options vm = {.limits = &LIMITS, .user = w, .fetch = fetch, .stdlib_path = LNT_SOURCE_DIR "/stdlib"};
  lnt__effects effects = {.user = w, .dispatch = on_dispatch, .pure = is_pure, .abandon = on_abandon};
  lnt__engine_options options = {.store = w->store, .effects = &effects, .limits = &LIMITS, .seed = w->program->seed};
  w->lives++;
  EXPECT_OK(w, lnt__wvm_create(&vm, &w->vm, &err_));
  if (w->lives % 2 || !starts_are_durable(w)) load(w);
  lnt__vm outer = w->inner = *lnt__wvm_interface(w->vm);
  outer.start = stalling_start;
  outer.deliver = stalling_deliver;
  outer.update = stalling_update;
  options.vm = &outer;
  vm.rehearses = true;
  if (w->mode->paranoid) EXPECT_OK(w, lnt__wvm_create(&vm, &w->rehearsal, &err_));
  if (w->mode->paranoid) options.rehearsal = lnt__wvm_interface(w->rehearsal);
  stalling = w;
  options.fingerprint = lnt__wvm_fingerprint(w->vm);
  EXPECT_OK(w, lnt__journal_open(w->store, false, &options.last_run, &err_));
  EXPECT_OK(w, lnt__engine_create(&options, &w->engine, &err_));
  EXPECT_OK(w, lnt__engine_recover(w->engine, w->now_us, &err_));
}

static void close_process(world *w) {
  lnt_stats stats = {.size = sizeof stats};
  lnt__engine_stats(w->engine, &stats);
  w->result->replays += stats.replays;
  lnt__engine_destroy(w->engine);
  lnt__wvm_destroy(w->vm);
  lnt__wvm_destroy(w->rehearsal);
  w->rehearsal = NULL;
}

/* The process dies. What it had submitted is lost, or landed and nobody was told. */
static void crash(world *w, bool landed) {
  lnt__store_fault_crash(w->store);
  close_process(w);
  lnt__store_fault_reopen(w->store);
  for (int i = 0; i < w->item_count; i++) {
    item *it = &w->items[i];
    bool again = !landed || it->kind == ITEM_START || it->kind == ITEM_UPDATE || it->kind == ITEM_RAISE;
    if (it->state == ITEM_SUBMITTED) it->state = again ? ITEM_NEW : ITEM_SETTLED;
  }
  for (int i = 0; i < w->attempt_count; i++) {
    attempt *a = &w->attempts[i];
    a->queued = a->runs = a->sent = false;
    a->lost = a->pure;
  }
  if (!w->program->timed) w->now_us += (int64_t)lnt__rng_below(&w->rng, 2000000);
  w->result->crashes++;
  open_process(w);
}

/* ---- Commits ---- */

static lnt__store_fault next_fault(world *w) {
  static const lnt__store_fault faults[] = {[SIM_CALM] = LNT__STORE_OK,
                                            [SIM_LOST] = LNT__STORE_LOST,
                                            [SIM_LANDED] = LNT__STORE_UNACKNOWLEDGED,
                                            [SIM_FULL] = LNT__STORE_FULL};
  const sim_mode *m = w->mode;
  uint64_t number = w->tries++;
  if (m->fault == SIM_MIXED) return (lnt__store_fault)(lnt__rng_below(&w->rng, 3) ? 0 : 1 + lnt__rng_below(&w->rng, 3));
  if (m->at >= 0) return number == (uint64_t)m->at ? faults[m->fault] : LNT__STORE_OK;
  /* A lost or refused commit is tried again, and then it must pass. */
  return m->fault == SIM_LANDED || number % 2 == 0 ? faults[m->fault] : LNT__STORE_OK;
}

static void commit(world *w, const lnt__batch *batch) {
  lnt_error err = {0};
  lnt_status status;
  lnt__store_fault fault;
  do {
    fault = lnt__batch_count(batch) ? next_fault(w) : LNT__STORE_OK; /* nothing is written for a request that came before */
    if (fault) lnt__store_fault_next(w->store, fault, 0);
    status = w->store->vtable->commit(w->store, batch, &err);
  } while (status == LNT_EFULL && fault == LNT__STORE_FULL);
  if (fault == LNT__STORE_LOST || fault == LNT__STORE_UNACKNOWLEDGED) {
    if (!status) broken(w, "the store hid its failure");
    crash(w, fault == LNT__STORE_UNACKNOWLEDGED);
    return;
  }
  if (status) broken(w, "commit: %s", err.message);
  w->result->commits++;
  lnt__engine_committed(w->engine);
  if (w->mode->evict) lnt__engine_evict_all(w->engine);
}

/* One tick; false: nothing moved. */
static bool tick(world *w) {
  lnt_status status = LNT_OK;
  lnt_error err = {0};
  bool moved = false;
  lnt__engine_set_now(w->engine, w->now_us);
  EXPECT_OK(w, lnt__engine_fire(w->engine, &err_));
  if (w->mode->stall) lnt__engine_retry_stalled(w->engine, NULL);
  moved |= submit_due(w);
  do {
    w->early = false;
    moved |= run_activities(w);
    while (lnt__engine_turn(w->engine, &status, &err)) {
      moved = true;
      if (w->mode->slow) break;
    }
  } while (w->early && !w->mode->slow);
  if (status) broken(w, "a turn failed: %s", err.message);
  ask_around(w);
  const lnt__batch *batch = lnt__engine_seal(w->engine);
  if (!batch) return moved;
  commit(w, batch);
  return true;
}

/* ---- Time ---- */

static void sooner(int64_t *at_us, int64_t candidate_us) {
  if (candidate_us < *at_us) *at_us = candidate_us;
}

static int64_t next_time(world *w) {
  int64_t at_us = lnt__engine_next_due(w->engine);
  for (int i = 0; i < w->item_count; i++)
    if (w->items[i].state == ITEM_NEW) sooner(&at_us, w->items[i].at_us);
  for (int i = 0; i < w->attempt_count; i++) {
    const attempt *a = &w->attempts[i];
    if (a->queued) sooner(&at_us, a->begin_us);
    if (a->runs) sooner(&at_us, a->beat_us);
    if (a->runs && a->verdict != VERDICT_NONE) sooner(&at_us, a->answer_us);
    if (a->outside && !a->sent) sooner(&at_us, a->answer_us);
  }
  return at_us > w->now_us ? at_us : w->now_us;
}

static void check_closed(world *w, const lnt__row *row, void *user) {
  bool *closed = user;
  if (row->status == LNT_RUN_STALLED) broken(w, "%.*s is stalled", (int)row->id.size, (const char *)row->id.data);
  else if (!row->closed_us) *closed = false;
}

static bool all_closed(world *w) {
  bool closed = true;
  for (int i = 0; i < w->program->workflows; i++) {
    char id[16];
    uint64_t run;
    id_of(i, id);
    if (lnt__journal_find(w->store, id, &run, NULL)) return false;
  }
  for_each_run(w, check_closed, &closed);
  return closed;
}

static int count_row(void *user, lnt__slice key, lnt__slice value) {
  (void)key;
  (void)value;
  ++*(int *)user;
  return 0;
}

/* When everything is closed nothing may be left to look at, and nothing to come due. */
static void check_leftovers(world *w) {
  int active = 0, timers = 0, beats = 0;
  lnt__slice all = {0};
  EXPECT_OK(w, w->store->vtable->scan(w->store, LNT__TABLE_ACTIVE, all, all, false, count_row, &active, &err_));
  EXPECT_OK(w, w->store->vtable->scan(w->store, LNT__TABLE_TIMER, all, all, false, count_row, &timers, &err_));
  EXPECT_OK(w, w->store->vtable->scan(w->store, LNT__TABLE_HEARTBEAT, all, all, false, count_row, &beats, &err_));
  if (beats) broken(w, "%d rows are left in HEARTBEAT", beats);
  if (active) broken(w, "%d rows are left in ACTIVE", active);
  if (timers) broken(w, "%d rows are left in TIMER", timers);
}

static void count_apart(world *w, const lnt__row *row, void *user) {
  int *count = user;
  lnt__history history;
  lnt__history_init(&history);
  EXPECT_OK(w, lnt__journal_outline(w->store, row->run, &history, &err_));
  for (size_t i = 0; i < history.apart_count; i++) *count += __builtin_popcount(*history.events[history.apart[i].event].apart);
  *count += __builtin_popcount(row->apart);
  lnt__history_finish(&history);
}

/* Large values belong to an event or a row each. */
static void check_payloads(world *w) {
  int rows = 0, references = 0;
  lnt__slice all = {0};
  EXPECT_OK(w, w->store->vtable->scan(w->store, LNT__TABLE_PAYLOAD, all, all, false, count_row, &rows, &err_));
  for_each_run(w, count_apart, &references);
  if (rows != references) broken(w, "PAYLOAD has %d rows; histories and rows name %d", rows, references);
}

typedef struct index_check { world *w; size_t rows, keys; } index_check;

/* Is what lists find this instance by in the index? */
static int check_row(void *user, lnt__slice key, lnt__slice value) {
  index_check *check = user;
  lnt__row row;
  lnt__batch *batch = lnt__batch_create();
  if (lnt__row_read(value, &row)) {
    row.run = lnt__get_be64(key.data);
    lnt__index_write_row(batch, &row, false);
  }
  check->rows += lnt__batch_count(batch);
  lnt__batch_destroy(batch);
  return 0;
}

static int check_key(void *user, lnt__slice key, lnt__slice value) {
  index_check *check = user;
  const uint8_t *bytes = key.data;
  lnt__row row;
  void *memory = NULL;
  (void)value;
  uint64_t run = lnt__get_be64(bytes + key.size - LNT__KEY_RUN_BYTES);
  if (bytes[0] == LNT__INDEX_OLDER || bytes[0] == LNT__INDEX_ERA) return 0;
  check->keys++;
  if (bytes[0] != LNT__INDEX_STATUS) return 0;
  lnt_status status = lnt__journal_row(check->w->store, run, &row, &memory, NULL);
  if (status || row.status != bytes[1]) broken(check->w, "the index has run %llu under a status it does not have", (unsigned long long)run);
  lnt__free(memory);
  return 0;
}

static void check_index(world *w) {
  index_check check = {.w = w};
  lnt__slice all = {0};
  EXPECT_OK(w, w->store->vtable->scan(w->store, LNT__TABLE_INSTANCE, all, all, false, check_row, &check, &err_));
  EXPECT_OK(w, w->store->vtable->scan(w->store, LNT__TABLE_INDEX, all, all, false, check_key, &check, &err_));
  if (check.rows != check.keys) broken(w, "the index has %zu keys; the rows ask for %zu", check.keys, check.rows);
}

/* Its time was up counting from the call: it need not have begun. */
static bool was_late(const lnt__event *event) {
  lnt_value details;
  size_t size = 0;
  if (!lnt__cbor_member(event->value, "details", &details)) return false;
  const char *which = lnt__cbor_member_string(details, "timeout", &size);
  return which && size > 9 && memcmp(which, "schedule_", 9) == 0;
}

/* Does the history hold what the attempt really answered? */
static bool true_answer(world *w, uint64_t run, const lnt__event *event) {
  const attempt *a = attempt_of(w, (lnt_token){run, event->seq, event->attempt});
  size_t size = 0;
  const char *type = lnt__cbor_member_string(event->value, "type", &size);
  bool timeout = event->kind != LNT_EVENT_ACTIVITY_COMPLETED && type && size == 7 && memcmp(type, "Timeout", 7) == 0;
  if (a && !a->begun && a->begin_us == INT64_MAX) return timeout; /* nobody begins it */
  if (!a || !a->begun) return timeout && was_late(event);
  if (event->kind == LNT_EVENT_ACTIVITY_COMPLETED && a->verdict != VERDICT_OK) return false;
  if (a->verdict == VERDICT_NONE) return timeout; /* its failure is the engine's own */
  return a->answer.size == event->value.size && memcmp(a->answer.data, event->value.data, event->value.size) == 0;
}

/* While it is suspended an instance consumes nothing and calls nothing. */
static void check_pauses(world *w, const char *id, const lnt__history *history) {
  bool held = false;
  for (size_t at = 0; at < history->count; at++) {
    lnt_event_kind kind = history->events[at].kind;
    if (kind == LNT_EVENT_SUSPENDED || kind == LNT_EVENT_UNSUSPENDED) held = kind == LNT_EVENT_SUSPENDED;
    if (held && (kind == LNT_EVENT_TURN || lnt__event_is_command(kind))) broken(w, "%s ran while it was suspended", id);
  }
}

/* What a child's end was to its parent, once: the output of its last generation, or a failure. */
static void check_child(world *w, const lnt__row *row, const lnt__event *e) {
  uint64_t run;
  char id[LNT_ID_BYTES_MAX + 1];
  lnt__history parent, history;
  lnt_value output = LNT_VALUE_NIL;
  history_of(w, row->run, &parent);
  for (size_t i = 0; i < parent.count; i++)
    if (parent.events[i].kind == LNT_EVENT_CHILD_SCHEDULED && parent.events[i].seq == e->seq)
      snprintf(id, sizeof id, e->attempt > 1 ? "%.*s~%u" : "%.*s", (int)parent.events[i].id.size, (const char *)parent.events[i].id.data,
               e->attempt);
  EXPECT_OK(w, lnt__journal_find(w->store, id, &run, &err_));
  history_of(w, run, &history);
  for (size_t i = 0; i < history.count; i++)
    if (history.events[i].kind == LNT_EVENT_COMPLETED) output = history.events[i].value;
  if (output.size != e->value.size || (output.size && memcmp(output.data, e->value.data, output.size)))
    broken(w, "command %u of run %u has a result that child %s did not give", e->seq, (unsigned)row->run, id);
  lnt__history_finish(&history);
  lnt__history_finish(&parent);
}

static void check_run(world *w, const lnt__row *row, void *user) {
  lnt__history history;
  char id[LNT_ID_BYTES_MAX + 1];
  (void)user;
  snprintf(id, sizeof id, "%.*s", (int)row->id.size, (const char *)row->id.data);
  history_of(w, row->run, &history);
  for (size_t at = 0; at < history.count; at++) {
    const lnt__event *e = &history.events[at];
    bool fails = e->kind == LNT_EVENT_ACTIVITY_FAILED || e->kind == LNT_EVENT_ACTIVITY_RETRIED;
    if ((fails || e->kind == LNT_EVENT_ACTIVITY_COMPLETED) && !true_answer(w, row->run, e))
      broken(w, "command %u of %s has an answer that attempt %u did not give", e->seq, id, e->attempt);
    if (e->kind == LNT_EVENT_CHILD_COMPLETED) check_child(w, row, e);
    for (size_t i = 0; i < at; i++)
      if ((e->kind == LNT_EVENT_CHILD_COMPLETED || e->kind == LNT_EVENT_CHILD_FAILED) && history.events[i].seq == e->seq &&
          (history.events[i].kind == LNT_EVENT_CHILD_COMPLETED || history.events[i].kind == LNT_EVENT_CHILD_FAILED))
        broken(w, "command %u of %s has two answers of a child", e->seq, id);
  }
  check_pauses(w, id, &history);
  lnt__history_finish(&history);
}

static void live(world *w) {
  int ticks = 0;
  while (w->result->broken.size == 0 && ticks++ < TICKS_MAX) {
    if (tick(w)) continue;
    if (all_closed(w)) break;
    w->now_us = next_time(w);
  }
  if (ticks >= TICKS_MAX) broken(w, "it never ends: %d ticks", TICKS_MAX);
  if (!w->result->broken.size) check_leftovers(w);
  if (!w->result->broken.size) for_each_run(w, check_run, NULL);
  if (!w->result->broken.size) check_index(w);
  if (!w->result->broken.size) check_payloads(w);
}

/* ---- Forking ---- */

typedef struct runs { uint64_t at[ITEMS_MAX]; int count; } runs;

static int take_run(void *user, lnt__slice key, lnt__slice value) {
  runs *r = user;
  (void)value;
  if (r->count < ITEMS_MAX) r->at[r->count++] = lnt__get_be64(key.data);
  return 0;
}

/* The command to run again: one of those that can be, or none (0). */
static uint64_t rerun_event(const world *w, const lnt__history *history, int instance) {
  const uint64_t kinds = LNT__KIND_BIT(ACTIVITY_SCHEDULED) | LNT__KIND_BIT(TIMER_CREATED) | LNT__KIND_BIT(EVENT_AWAITED) |
                         LNT__KIND_BIT(CHILD_SCHEDULED);
  uint64_t events[256], count = 0;
  for (size_t i = 0; i < history->count && count < LNT__COUNT(events); i++)
    if (kinds >> history->events[i].kind & 1) events[count++] = i + 1;
  return count ? events[sim_mix(w->program->seed, 78, (uint64_t)instance) % count] : 0;
}

/* How instance `i` goes on: forked from some event, from a command that is run again, or, where it did not complete, retried. */
static lnt__fork fork_of(world *w, int i, uint64_t run, const char *copy) {
  lnt__row row;
  void *memory = NULL;
  lnt__history history;
  lnt__fork fork = {.what = LNT__FORK, .run = run, .new_id = copy};
  uint64_t way = sim_mix(w->program->seed, 79, (uint64_t)i) % 3;
  EXPECT_OK(w, lnt__journal_row(w->store, run, &row, &memory, &err_));
  bool completed = row.status == LNT_RUN_COMPLETED;
  lnt__free(memory);
  history_of(w, run, &history);
  if (way == 1) fork.event = rerun_event(w, &history, i);
  if (fork.event) fork.what = LNT__RERUN;
  else if (way == 2 && !completed) fork = (lnt__fork){.what = LNT__RETRY, .run = run};
  else fork.event = 1 + sim_mix(w->program->seed, 77, (uint64_t)i) % (history.count ? history.count : 1);
  lnt__history_finish(&history);
  return fork;
}

/* A copy of each instance, or a new run of it. Clients ask again until they find it. */
static bool fork_each(world *w) {
  bool asked = false;
  for (int i = 0; i < w->program->workflows; i++) {
    char id[16], copy[16];
    uint64_t run, known;
    id_of(i, id);
    snprintf(copy, sizeof copy, "f%d", i);
    if (lnt__engine_find(w->engine, copy, &known, NULL) == LNT_OK || lnt__engine_find(w->engine, id, &run, NULL)) continue;
    if (!w->sources[i]) w->sources[i] = run;
    if (w->sources[i] != run) continue; /* retried */
    lnt__fork fork = fork_of(w, i, run, copy);
    char id_out[LNT_ID_BYTES_MAX + 1];
    EXPECT_OK(w, lnt__engine_fork(w->engine, &fork, id_out, &err_));
    asked = true;
  }
  return asked;
}

static int take_open(void *user, lnt__slice key, lnt__slice value) {
  runs *r = user;
  lnt__row row;
  if (lnt__row_read(value, &row) && !row.closed_us && r->count < ITEMS_MAX) r->at[r->count++] = lnt__get_be64(key.data);
  return 0;
}

static bool terminate_open(world *w) {
  lnt__slice all = {0};
  runs open = {.count = 0};
  EXPECT_OK(w, w->store->vtable->scan(w->store, LNT__TABLE_INSTANCE, all, all, false, take_open, &open, &err_));
  for (int i = 0; i < open.count; i++) {
    lnt__row row;
    void *memory;
    char id[LNT_ID_BYTES_MAX + 1];
    EXPECT_OK(w, lnt__journal_row(w->store, open.at[i], &row, &memory, &err_));
    snprintf(id, sizeof id, "%.*s", (int)row.id.size, (const char *)row.id.data);
    lnt__free(memory);
    lnt__engine_terminate(w->engine, id, "by the plan", NULL, NULL, NULL); /* it may have ended meanwhile */
  }
  return open.count > 0;
}

/* The copies go on by themselves as far as they can; what then still waits for its clients is terminated. */
static void fork_all(world *w) {
  for (int i = 0; i < w->item_count; i++) w->items[i].state = ITEM_SETTLED; /* who comes later comes too late */
  open_process(w);
  for (int ticks = 0; ticks < TICKS_MAX && !w->result->broken.size; ticks++) {
    bool asked = fork_each(w);
    if (tick(w) || asked) continue;
    int64_t next_us = next_time(w);
    if (next_us == INT64_MAX || next_us <= w->now_us) break;
    w->now_us = next_us;
  }
  for (bool moved = true; moved && !w->result->broken.size;) {
    moved = terminate_open(w);
    moved |= tick(w);
  }
  if (!w->result->broken.size) check_leftovers(w);
  if (!w->result->broken.size) check_index(w);
  if (!w->result->broken.size) check_payloads(w);
  close_process(w);
}

/* ---- Purging ---- */

static int count_left(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  *(int *)user += *(const uint8_t *)key.data != LNT__INDEX_ERA;
  return 0;
}

/* Whatever is in the store; children and generations are met again, and are gone by then. */
static void purge_rows(world *w) {
  const lnt__purge purge = {true, false};
  lnt__slice all = {0};
  runs found = {.count = 0};
  uint64_t count;
  EXPECT_OK(w, w->store->vtable->scan(w->store, LNT__TABLE_INSTANCE, all, all, false, take_run, &found, &err_));
  for (int i = 0; i < found.count; i++) EXPECT_OK(w, lnt__engine_purge(w->engine, found.at[i], &purge, &count, &err_));
}

/* Every instance goes, with the same troubles; then nothing of them is left. */
static void purge_all(world *w) {
  static const lnt__table tables[] = {LNT__TABLE_ID,    LNT__TABLE_INSTANCE,  LNT__TABLE_HISTORY, LNT__TABLE_ACTIVE,
                                      LNT__TABLE_TIMER, LNT__TABLE_HEARTBEAT, LNT__TABLE_PAYLOAD, LNT__TABLE_INDEX};
  lnt__slice all = {0};
  open_process(w);
  for (int moved = 1, ticks = 0; moved && ticks < TICKS_MAX && !w->result->broken.size; ticks++) {
    purge_rows(w);
    moved = tick(w);
  }
  for (size_t i = 0; i < LNT__COUNT(tables) && !w->result->broken.size; i++) {
    int left = 0;
    EXPECT_OK(w, w->store->vtable->scan(w->store, tables[i], all, all, false, tables[i] == LNT__TABLE_INDEX ? count_left : count_row, &left,
                                        &err_));
    if (left) broken(w, "%d rows are left in table %d after everything was purged", left, (int)tables[i]);
  }
  close_process(w);
}

void sim_run(const sim_program *program, const sim_mode *mode, sim_result *result) {
  world *w = calloc(1, sizeof *w);
  lnt__store *memory = NULL;
  memset(result, 0, sizeof *result);
  w->program = program;
  w->mode = mode;
  w->result = result;
  w->now_us = T0_US;
  w->attempts = calloc(ATTEMPTS_MAX, sizeof *w->attempts);
  lnt__rng_seed(&w->rng, sim_mix(program->seed, mode->fault, (uint64_t)mode->at));
  lnt__buf_init(&w->bundle);
  EXPECT_OK(w, lnt__store_open_memory(&memory, &err_));
  EXPECT_OK(w, lnt__store_open_fault(memory, false, &w->store, &err_));
  plan(w);
  open_process(w);
  live(w);
  close_process(w);
  sim_outcome(program, w->store, &result->text);
  sim_commands(w->store, &result->commands);
  uint64_t replays = result->replays;
  if (!result->broken.size) fork_all(w);
  if (!result->broken.size) purge_all(w);
  result->replays = replays; /* of the run that is compared */
  w->store->vtable->destroy(w->store);
  for (int i = 0; i < w->attempt_count; i++) {
    lnt__buf_finish(&w->attempts[i].input);
    lnt__buf_finish(&w->attempts[i].answer);
  }
  lnt__buf_finish(&w->bundle);
  free(w->attempts);
  free(w);
}

void sim_result_finish(sim_result *result) {
  lnt__buf_finish(&result->text);
  lnt__buf_finish(&result->commands);
  lnt__buf_finish(&result->broken);
}
