/* read.c - what is durable: lnt_get, lnt_history; and lnt_observe, for what becomes durable from now on. Owner thread; reads
 * work on a read-only runtime too. No transaction of the store is open while a callback runs. */
#include "api/instance.h"
#include "journal/keys.h"

/* The run to read: `*run`, if that is one of the instance's; the newest if it is 0. */
static lnt_status find(lnt_runtime *rt, const char *id, uint64_t *run, lnt_error *err) {
  lnt__row row;
  void *memory = NULL;
  lnt_status status = lnt__enter(rt, 0, err);
  if (!status) status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (status || *run == 0) return status ? status : lnt__journal_find(rt->store, id, run, err);
  status = lnt__journal_row_outline(rt->store, *run, &row, &memory, err);
  if (status) return status;
  bool is_of_it = row.id.size == strlen(id) && memcmp(row.id.data, id, row.id.size) == 0;
  lnt__free(memory);
  return is_of_it ? LNT_OK : lnt__fail(err, LNT_ENOTFOUND, "run %llu is not one of instance '%s'", (unsigned long long)*run, id);
}

/* ---- One instance ---- */

/* Where strings and values go: counted first (to NULL), then copied. */
typedef struct packer { uint8_t *to; size_t size; } packer;

static const void *pack(packer *into, const void *data, size_t size, bool is_text) {
  if (!size && !is_text) return NULL;
  uint8_t *at = into->to ? into->to + into->size : NULL;
  into->size += size + is_text;
  if (!at) return NULL;
  if (size) memcpy(at, data, size);
  if (is_text) at[size] = 0;
  return at;
}

static const char *pack_text(packer *into, lnt_value text) { return pack(into, text.data, text.size, true); }

static lnt_value pack_value(packer *into, lnt_value value) { return (lnt_value){pack(into, value.data, value.size, false), value.size}; }

static void pack_row(packer *into, const lnt__row *row, lnt_instance *out) {
  char hex[2 * LNT__SHA256_BYTES + 1];
  lnt__hex(row->hash, LNT__SHA256_BYTES, hex);
  *out = (lnt_instance){.run = row->run, .status = row->status, .created_us = row->created_us, .updated_us = row->updated_us,
                        .closed_us = row->closed_us, .generation = row->generation, .parent_run = row->parent_run};
  out->id = pack_text(into, row->id);
  out->workflow = pack_text(into, row->workflow);
  out->code_hash = pack_text(into, (lnt_value){hex, sizeof hex - 1});
  out->failure = pack_value(into, row->failure);
  out->custom_status = pack_value(into, row->custom_status);
  out->attributes = pack_value(into, row->attributes);
}

static void pack_history(packer *into, const lnt__history *history, lnt_instance *out) {
  out->history_events = history->count;
  out->history_bytes = history->bytes;
  if (!history->count) return;
  out->updated_us = history->events[history->count - 1].time_us;
  if (history->events[0].kind == LNT_EVENT_STARTED) {
    out->input = pack_value(into, history->events[0].value);
    out->start_at_us = history->events[0].due_us;
  }
  for (size_t i = history->count; i > 0 && out->status == LNT_RUN_COMPLETED; i--) {
    if (history->events[i - 1].kind != LNT_EVENT_COMPLETED) continue;
    out->output = pack_value(into, history->events[i - 1].value);
    break;
  }
}

static void pack_all(packer *into, const lnt__row *row, const lnt__history *history, lnt_value parent, lnt_instance *out) {
  pack_row(into, row, out);
  pack_history(into, history, out);
  out->parent = parent.size ? pack_text(into, parent) : NULL;
}

static lnt_instance *pack_instance(const lnt__row *row, const lnt__history *history, lnt_value parent) {
  packer count = {NULL, 0};
  lnt_instance draft;
  pack_all(&count, row, history, parent, &draft);
  uint8_t *block = lnt__alloc(sizeof draft + count.size);
  if (!block) return NULL;
  packer into = {block + sizeof draft, 0};
  pack_all(&into, row, history, parent, &draft);
  memcpy(block, &draft, sizeof draft);
  return (lnt_instance *)(void *)block;
}

lnt_instance *lnt__instance_pack(const lnt__row *row, const lnt__history *history) {
  static const lnt__history none = {0};
  return pack_instance(row, history ? history : &none, LNT_VALUE_NIL);
}

/* The history before the row: an instance that another process finishes in between shows as finished, and then its history is read
 * again, so that a finished instance always has its output. */
static lnt_status read_both(lnt_runtime *rt, uint64_t run, lnt__row *row, void **memory, lnt__history *history, lnt_error *err) {
  lnt_status status = lnt__journal_outline(rt->store, run, history, err);
  if (!status) status = lnt__journal_row(rt->store, run, row, memory, err);
  if (status || !row->closed_us || (history->count && history->events[history->count - 1].time_us >= row->closed_us)) return status;
  lnt__history_clear(history);
  return lnt__journal_outline(rt->store, run, history, err);
}

/* With the id of its parent, unless that was purged. */
static lnt_instance *pack_with_parent(lnt_runtime *rt, const lnt__row *row, const lnt__history *history) {
  lnt__row parent = {0};
  void *memory = NULL;
  if (row->parent_run && lnt__journal_row_outline(rt->store, row->parent_run, &parent, &memory, NULL)) parent.id = LNT_VALUE_NIL;
  lnt_instance *instance = pack_instance(row, history, parent.id);
  lnt__free(memory);
  return instance;
}

static lnt_status get(lnt_runtime *rt, const char *id, uint64_t run, lnt_instance **out, lnt_error *err) {
  lnt__row row;
  void *memory = NULL;
  lnt__history history;
  lnt__history_init(&history);
  lnt_status status = read_both(rt, run, &row, &memory, &history, err);
  if (!status)
    status = lnt__history_fetch_kinds(rt->store, &history, LNT__KIND_BIT(STARTED) | LNT__KIND_BIT(COMPLETED), err); /* input and output */
  if (!status) {
    *out = pack_with_parent(rt, &row, &history);
    if (!*out) status = lnt__fail(err, LNT_ENOMEM, "out of memory while instance '%s' was read", id);
  }
  lnt__history_finish(&history);
  lnt__free(memory);
  return status;
}

enum { GET_TRIES = 8 }; /* of a reader beside an owner whose instance continues as new again and again */

lnt_status lnt_get_run(lnt_runtime *rt, const char *id, uint64_t run, lnt_instance **out, lnt_error *err) {
  if (!out) return lnt__fail(err, LNT_EINVAL, "lnt_get: `out` is NULL");
  *out = NULL;
  for (int tries = 1;; tries++) {
    uint64_t found = run;
    lnt_status status = find(rt, id, &found, err);
    if (!status) status = get(rt, id, found, out, err);
    if (status || run || (*out)->status != LNT_RUN_CONTINUED_AS_NEW || tries == GET_TRIES) return status;
    lnt__free(*out); /* a newer run has its id since it was found */
    *out = NULL;
  }
}

lnt_status lnt_get(lnt_runtime *rt, const char *id, lnt_instance **out, lnt_error *err) { return lnt_get_run(rt, id, 0, out, err); }

/* ---- Its history ---- */

lnt_status lnt_history(lnt_runtime *rt, const char *id, lnt_event_fn fn, void *user, lnt_error *err) {
  return lnt_history_run(rt, id, 0, fn, user, err);
}

lnt_status lnt_history_run(lnt_runtime *rt, const char *id, uint64_t run, lnt_event_fn fn, void *user, lnt_error *err) {
  lnt__history history;
  lnt__buf text;
  lnt__step_keys keys = {.count = 0};
  lnt_status status = find(rt, id, &run, err);
  if (status) return status;
  if (!fn) return lnt__fail(err, LNT_EINVAL, "lnt_history: no function was given (NULL)");
  lnt__history_init(&history);
  lnt__buf_init(&text);
  status = lnt__journal_outline(rt->store, run, &history, err);
  for (size_t i = 0; !status && i < history.count; i++) /* what a copy does again is told only behind it: all of them first */
    if (!lnt__step_keys_see(&keys, &history.events[i])) status = lnt__fail(err, LNT_ENOMEM, "out of memory while '%s' was read", id);
  for (size_t i = 0; !status && i < history.count; i++) {
    lnt_event view;
    char key[LNT__STEP_KEY_TEXT_BYTES];
    if (history.events[i].apart) lnt__history_forget(&history); /* what was told */
    status = lnt__history_fetch_event(rt->store, &history, i, err);
    if (!status && !lnt__event_view(&history.events[i], i + 1, &text, &view))
      status = lnt__fail(err, LNT_ENOMEM, "out of memory while the history of '%s' was read", id);
    if (!status && view.kind == LNT_EVENT_ACTIVITY_SCHEDULED) {
      lnt__step_key_text(&keys, view.seq, key);
      view.idempotency_key = key;
    }
    if (!status && fn(user, &view)) break;
  }
  lnt__step_keys_finish(&keys);
  lnt__buf_finish(&text);
  lnt__history_finish(&history);
  return status;
}

/* ---- What becomes durable ---- */

lnt_status lnt_observe(lnt_runtime *rt, lnt_observer_fn fn, void *user) {
  lnt_status status = lnt__enter(rt, LNT__WRITES, NULL);
  if (status) return status;
  rt->observer = fn;
  rt->observer_user = user;
  lnt__engine_observe(rt->engine, fn != NULL);
  return LNT_OK;
}
