/* mailbox.c - answers, signs of life and log lines from any thread to the owner thread. Posting: any thread. Draining: the owner thread, in
 * its tick. All are taken at one moment, and signs of life come first: those of an attempt that failed after them are not lost.
 *
 * Answers given on the owner thread go into a queue of its own, without a mutex. They are drained after those of other threads,
 * because an attempt that another thread answered first keeps that answer. */
#include <stdarg.h>
#include <stdio.h>

#include "driver/runtime.h"

enum { QUEUE_KEEP_BYTES = 1 << 20, LOG_LINES_MAX = 1000 };

typedef struct answer {
  lnt_token token;
  uint32_t value_size, detail_size;
  lnt__answer_kind kind;
  lnt_done_fn done;
  void *done_user;
} answer;
typedef struct log_line { lnt_log_level level; uint32_t id_size, size; bool has_id; } log_line;

lnt_status lnt__mailbox_init(lnt__mailbox *mailbox) {
  memset(mailbox, 0, sizeof *mailbox);
  lnt__u64map_init(&mailbox->beats.places);
  lnt__u64map_init(&mailbox->canceled.keys);
  return uv_mutex_init(&mailbox->mutex) ? LNT_ENOMEM : LNT_OK;
}

static void finish_beats(lnt__beats *beats) {
  for (size_t i = 0; i < beats->count; i++) lnt__free(beats->items[i].details);
  lnt__free(beats->items);
  lnt__u64map_finish(&beats->places);
}

void lnt__mailbox_finish(lnt__mailbox *mailbox) {
  uv_mutex_destroy(&mailbox->mutex);
  finish_beats(&mailbox->beats);
  lnt__u64map_finish(&mailbox->canceled.keys);
  lnt__free(mailbox->canceled.ring);
  lnt__buf_finish(&mailbox->answers.bytes);
  lnt__buf_finish(&mailbox->logs.bytes);
  lnt__buf_finish(&mailbox->local.bytes);
  lnt__buf_finish(&mailbox->spare.bytes);
}

static bool queue_answer(lnt__queue *queue, const answer *head, lnt_value value, lnt_value detail) {
  lnt__buf *bytes = &queue->bytes;
  if (!lnt__buf_reserve(bytes, sizeof *head + value.size + detail.size)) {
    bytes->failed = false;
    return false;
  }
  lnt__buf_append(bytes, head, sizeof *head);
  lnt__buf_append(bytes, value.data, value.size);
  lnt__buf_append(bytes, detail.data, detail.size);
  queue->count++;
  return true;
}

void lnt__runtime_wake(lnt_runtime *rt) {
  uv_async_send(&rt->async);
  if (rt->options.wake) rt->options.wake(rt->options.wake_user);
}

static bool post_from_elsewhere(lnt_runtime *rt, const answer *head, lnt_value value, lnt_value detail, bool *was_empty) {
  lnt__mailbox *mailbox = &rt->mailbox;
  uv_mutex_lock(&mailbox->mutex);
  bool posted = queue_answer(&mailbox->answers, head, value, detail);
  if (posted) *was_empty = atomic_fetch_add_explicit(&mailbox->waiting, 1, memory_order_release) == 0;
  uv_mutex_unlock(&mailbox->mutex);
  return posted;
}

static bool is_token(lnt_token a, lnt_token b) { return a.run == b.run && a.seq == b.seq && a.attempt == b.attempt; }

lnt_status lnt__mailbox_post(lnt_runtime *rt, const lnt__posted *posted, lnt_error *err) {
  lnt_value value = posted->value, detail = posted->detail;
  answer head = {posted->token, (uint32_t)value.size, (uint32_t)detail.size, posted->kind, posted->done, posted->done_user};
  bool was_empty = false;
  uint64_t max = rt->options.limits.mailbox_max;
  bool on_owner = lnt__is_owner(rt), is_current = on_owner && rt->current.run && is_token(rt->current, posted->token);
  size_t waiting = atomic_load_explicit(&rt->mailbox.waiting, memory_order_relaxed) + (on_owner ? rt->mailbox.local.count : 0);
  if (posted->bounded && !is_current && waiting >= max) /* dispatch.c stops before the answers of its own activities are too many */
    return LNT__MET(&rt->met, mailbox_max),
           lnt__fail(err, LNT_ELIMIT, "%llu answers wait for the owner thread (mailbox_max); let it tick, then answer again",
                     (unsigned long long)max);
  bool taken = on_owner ? queue_answer(&rt->mailbox.local, &head, value, detail)
                        : post_from_elsewhere(rt, &head, value, detail, &was_empty);
  if (!taken) return lnt__fail(err, LNT_ENOMEM, "out of memory: the answer of an activity (%zu bytes) was not taken", value.size);
  if (is_current) rt->current_answered = true;
  if (was_empty) lnt__runtime_wake(rt);
  return LNT_OK;
}

static bool post_or_log(lnt_runtime *rt, const lnt__posted *posted) {
  lnt_error error;
  bool good = lnt__mailbox_post(rt, posted, &error) == LNT_OK;
  if (!good) lnt__runtime_log(rt, LNT_LOG_ERROR, NULL, error.message);
  return good;
}

static void post_inside(lnt_runtime *rt, lnt_token token, lnt__answer_kind kind, lnt_value value, lnt_value detail) {
  post_or_log(rt, &(lnt__posted){.token = token, .kind = kind, .value = value, .detail = detail});
}

void lnt__runtime_complete(void *runtime, lnt_token token, lnt_value result) {
  post_inside(runtime, token, LNT__ANSWER_RESULT, result, LNT_VALUE_NIL);
}

void lnt__runtime_fail(void *runtime, lnt_token token, lnt_value failure, lnt_value detail) {
  post_inside(runtime, token, LNT__ANSWER_FAILURE, failure, detail);
}

void lnt__runtime_defer(void *runtime, lnt_token token) {
  post_inside(runtime, token, LNT__ANSWER_LATER, LNT_VALUE_NIL, LNT_VALUE_NIL);
}

/* ---- Signs of life ---- */

/* A newer one takes the place of the one before, so that an attempt never holds more than one. */
static bool put_beat(lnt__beats *beats, lnt_token token, lnt_value details, bool *is_new) {
  uint64_t key = lnt__token_key(token);
  size_t place = (size_t)(uintptr_t)lnt__u64map_get(&beats->places, key);
  void *copy = details.size ? lnt__alloc(details.size) : NULL;
  *is_new = !place;
  if (details.size && !copy) return false;
  if (!place) {
    bool room = lnt__grow((void **)&beats->items, &beats->capacity, beats->count + 1, sizeof *beats->items);
    if (!room || !lnt__u64map_put(&beats->places, key, (void *)(uintptr_t)(beats->count + 1))) {
      lnt__free(copy);
      return false;
    }
    beats->items[beats->count] = (struct lnt__posted_beat){.token = token};
    place = ++beats->count;
  }
  struct lnt__posted_beat *beat = &beats->items[place - 1];
  if (!copy) return true;
  memcpy(copy, details.data, details.size);
  lnt__free(beat->details);
  beat->details = copy;
  beat->size = details.size;
  return true;
}

lnt_status lnt__mailbox_beat(lnt_runtime *rt, lnt_token token, lnt_value details, lnt_error *err) {
  lnt__mailbox *mailbox = &rt->mailbox;
  uint64_t max = rt->options.limits.mailbox_max;
  bool is_new = false, was_empty = false, full, posted;
  uv_mutex_lock(&mailbox->mutex);
  full = mailbox->beats.count >= max;
  posted = !full && put_beat(&mailbox->beats, token, details, &is_new);
  if (posted && is_new) was_empty = atomic_fetch_add_explicit(&mailbox->waiting, 1, memory_order_release) == 0;
  uv_mutex_unlock(&mailbox->mutex);
  if (full)
    return LNT__MET(&rt->met, mailbox_max),
           lnt__fail(err, LNT_ELIMIT, "%llu heartbeats wait for the owner thread (mailbox_max); let it tick", (unsigned long long)max);
  if (!posted) return lnt__fail(err, LNT_ENOMEM, "out of memory: a heartbeat (%zu bytes) was not taken", details.size);
  if (was_empty) lnt__runtime_wake(rt);
  return LNT_OK;
}

bool lnt__runtime_heartbeat(void *runtime, lnt_token token, lnt_value details) {
  lnt_error error;
  int canceled = 0;
  if (lnt_heartbeat(runtime, token, details, &canceled, &error) != LNT_OK) lnt__runtime_log(runtime, LNT_LOG_WARN, NULL, error.message);
  return canceled != 0;
}

static void deliver_beats(lnt_runtime *rt, const lnt__beats *beats) {
  for (size_t i = 0; i < beats->count; i++) {
    const struct lnt__posted_beat *beat = &beats->items[i];
    lnt_status status = lnt__engine_heartbeat(rt->engine, beat->token, (lnt_value){beat->details, beat->size});
    if (status == LNT_ENOTFOUND) lnt__canceled_add(rt, beat->token);
    else if (status) lnt__logf(rt, LNT_LOG_WARN, "a heartbeat is lost: %s", lnt_status_text(status));
  }
}

/* ---- Attempts that are over ---- */

void lnt__canceled_add(lnt_runtime *rt, lnt_token token) {
  lnt__canceled *canceled = &rt->mailbox.canceled;
  uint64_t key = lnt__token_key(token);
  uv_mutex_lock(&rt->mailbox.mutex);
  if (!canceled->ring) canceled->ring = lnt__alloc(LNT_CANCELED_MAX * sizeof *canceled->ring);
  bool told = canceled->ring && !lnt__u64map_get(&canceled->keys, key) && lnt__u64map_put(&canceled->keys, key, canceled);
  if (told) {
    size_t at = (canceled->head + canceled->count) % LNT_CANCELED_MAX;
    if (canceled->count == LNT_CANCELED_MAX) {
      lnt__u64map_remove(&canceled->keys, canceled->ring[canceled->head]);
      canceled->head = (canceled->head + 1) % LNT_CANCELED_MAX;
    } else {
      canceled->count++;
    }
    canceled->ring[at] = key;
  }
  uv_mutex_unlock(&rt->mailbox.mutex);
}

bool lnt__canceled_has(lnt_runtime *rt, lnt_token token) {
  uv_mutex_lock(&rt->mailbox.mutex);
  bool has = rt->mailbox.canceled.count && lnt__u64map_get(&rt->mailbox.canceled.keys, lnt__token_key(token));
  uv_mutex_unlock(&rt->mailbox.mutex);
  return has;
}

/* ---- Log lines ---- */

static void queue_log(lnt__mailbox *mailbox, lnt_log_level level, const char *id, const char *message) {
  log_line head = {level, id ? (uint32_t)strlen(id) + 1 : 0, (uint32_t)strlen(message) + 1, id != NULL};
  lnt__buf *bytes = &mailbox->logs.bytes;
  uv_mutex_lock(&mailbox->mutex);
  bool room = mailbox->logs.count < LOG_LINES_MAX && lnt__buf_reserve(bytes, sizeof head + head.id_size + head.size);
  if (room) {
    lnt__buf_append(bytes, &head, sizeof head);
    if (id) lnt__buf_append(bytes, id, head.id_size);
    lnt__buf_append(bytes, message, head.size);
    mailbox->logs.count++;
    atomic_fetch_add_explicit(&mailbox->waiting, 1, memory_order_release);
  }
  bytes->failed = false;
  uv_mutex_unlock(&mailbox->mutex);
}

void lnt__runtime_log(void *runtime, lnt_log_level level, const char *id, const char *message) {
  lnt_runtime *rt = runtime;
  if (!rt->options.log) return;
  if (lnt__is_owner(rt)) rt->options.log(rt->options.log_user, level, id, message);
  else queue_log(&rt->mailbox, level, id, message);
}

void lnt__logf(lnt_runtime *rt, lnt_log_level level, const char *format, ...) {
  char text[LNT_ERROR_MESSAGE_MAX];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  lnt__runtime_log(rt, level, NULL, text);
}

/* ---- Draining ---- */

static lnt_status deliver(lnt_runtime *rt, const answer *head, lnt_value value, lnt_value detail) {
  lnt__dispatch_answered(rt, head->token);
  if (head->kind == LNT__ANSWER_FAILURE) return lnt__engine_fail(rt->engine, head->token, value, detail);
  if (head->kind == LNT__ANSWER_LATER) return lnt__engine_defer(rt->engine, head->token);
  return lnt__engine_complete(rt->engine, head->token, value);
}

/* status: of the delivery. What counts is told with the commit, what does not at once. */
static void acknowledge(lnt_runtime *rt, const answer *head, lnt_status status) {
  if (!head->done) return;
  if (status == LNT_OK) {
    lnt__engine_when_durable(rt->engine, head->done, head->done_user);
    return;
  }
  bool late = status == LNT_ENOTFOUND && lnt__canceled_has(rt, head->token);
  if (status == LNT_ENOTFOUND) status = late ? LNT_EOVER : lnt__engine_unawaited(rt->engine, head->token, NULL);
  head->done(head->done_user, status);
}

/* The store may refuse to show the instance of a deferred attempt. Its answer is put back, for the next tick. */
static lnt_status deliver_answers(lnt_runtime *rt, const lnt__queue *queue) {
  const uint8_t *at = queue->bytes.data;
  lnt_status first = LNT_OK;
  for (size_t i = 0; i < queue->count; i++) {
    answer head;
    memcpy(&head, at, sizeof head);
    at += sizeof head;
    lnt_value value = {head.value_size ? at : NULL, head.value_size};
    lnt_value detail = {head.detail_size ? at + head.value_size : NULL, head.detail_size};
    at += head.value_size + head.detail_size;
    lnt_status status = deliver(rt, &head, value, detail);
    bool settled = status == LNT_OK || status == LNT_ENOTFOUND;
    if (!settled && first == LNT_OK) first = status;
    lnt__posted again = {.token = head.token, .kind = head.kind, .value = value, .detail = detail, .done = head.done,
                         .done_user = head.done_user};
    if (settled || !post_or_log(rt, &again)) acknowledge(rt, &head, status);
  }
  return first;
}

static void abandon_answers(lnt__queue *queue) {
  const uint8_t *at = queue->bytes.data;
  for (size_t i = 0; i < queue->count; i++) {
    answer head;
    memcpy(&head, at, sizeof head);
    at += sizeof head + head.value_size + head.detail_size;
    if (head.done) head.done(head.done_user, LNT_ECLOSED);
  }
  queue->count = 0;
}

/* No other thread may call any more. */
void lnt__mailbox_abandon(lnt_runtime *rt) {
  abandon_answers(&rt->mailbox.answers);
  abandon_answers(&rt->mailbox.local);
}

static void deliver_logs(lnt_runtime *rt, const lnt__queue *queue) {
  const uint8_t *at = queue->bytes.data;
  for (size_t i = 0; i < queue->count; i++) {
    log_line head;
    memcpy(&head, at, sizeof head);
    const char *id = (const char *)at + sizeof head;
    rt->options.log(rt->options.log_user, head.level, head.has_id ? id : NULL, id + head.id_size);
    at += sizeof head + head.id_size + head.size;
  }
}

/* Swap the queue with the empty spare, so that new entries have a place while these are delivered. */
static lnt__queue take(lnt__mailbox *mailbox, lnt__queue *queue) {
  lnt__queue taken = *queue;
  *queue = mailbox->spare;
  memset(&mailbox->spare, 0, sizeof mailbox->spare);
  return taken;
}

static void give_back(lnt__mailbox *mailbox, lnt__queue *taken) {
  if (taken->bytes.capacity > QUEUE_KEEP_BYTES) lnt__buf_finish(&taken->bytes);
  lnt__buf_clear(&taken->bytes);
  taken->count = 0;
  if (mailbox->spare.bytes.data) lnt__buf_finish(&taken->bytes);
  else mailbox->spare = *taken;
}

static lnt_status drain_shared(lnt_runtime *rt) {
  lnt__mailbox *mailbox = &rt->mailbox;
  uv_mutex_lock(&mailbox->mutex);
  lnt__beats beats = mailbox->beats;
  memset(&mailbox->beats, 0, sizeof mailbox->beats);
  lnt__u64map_init(&mailbox->beats.places);
  lnt__queue answers = take(mailbox, &mailbox->answers), logs = mailbox->logs;
  mailbox->logs = (lnt__queue){{0}, 0};
  atomic_fetch_sub_explicit(&mailbox->waiting, beats.count + answers.count + logs.count, memory_order_relaxed);
  uv_mutex_unlock(&mailbox->mutex);
  deliver_beats(rt, &beats);
  finish_beats(&beats);
  lnt_status status = deliver_answers(rt, &answers);
  give_back(mailbox, &answers);
  deliver_logs(rt, &logs);
  lnt__buf_finish(&logs.bytes);
  return status;
}

lnt_status lnt__mailbox_drain(lnt_runtime *rt, lnt_error *err) {
  lnt__mailbox *mailbox = &rt->mailbox;
  lnt_status status = LNT_OK, local = LNT_OK;
  if (atomic_load_explicit(&mailbox->waiting, memory_order_acquire)) status = drain_shared(rt);
  if (mailbox->local.count) {
    lnt__queue taken = take(mailbox, &mailbox->local);
    local = deliver_answers(rt, &taken);
    give_back(mailbox, &taken);
  }
  if (status == LNT_OK) status = local;
  return status ? lnt__fail(err, status, "the store did not show the instance that an answer is for; it is tried again") : LNT_OK;
}
