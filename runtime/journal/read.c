/* read.c - reading rows and histories back from a store, and the check of a store at open. Owner thread. */
#include "journal/journal.h"

lnt_status lnt__journal_corrupt(lnt_error *err, const char *what, uint64_t run) {
  return lnt__fail(err, LNT_ECORRUPT, "%s of run %llu: the checksum or the shape is wrong; restore the data directory from a copy", what,
                   (unsigned long long)run);
}

lnt_status lnt__journal_look(lnt__store *store, const char *id, uint64_t *run, lnt_error *err) {
  void *value = NULL;
  size_t size = 0;
  lnt_status status = store->vtable->get(store, LNT__TABLE_ID, id, strlen(id), &value, &size, err);
  if (status != LNT_OK) return status;
  lnt__slice payload;
  bool good = lnt__unseal((lnt__slice){value, size}, &payload) && payload.size == 8;
  if (good) *run = lnt__get_be64(payload.data);
  lnt__free(value);
  return good ? LNT_OK : lnt__fail(err, LNT_ECORRUPT, "the entry of instance '%s' has a wrong checksum", id);
}

lnt_status lnt__journal_find(lnt__store *store, const char *id, uint64_t *run, lnt_error *err) {
  lnt_status status = lnt__journal_look(store, id, run, err);
  return status == LNT_ENOTFOUND ? lnt__fail(err, status, "there is no instance '%s'", id) : status;
}

void lnt__history_init(lnt__history *history) { memset(history, 0, sizeof(*history)); }

void lnt__history_finish(lnt__history *history) {
  lnt__free(history->events);
  lnt__buf_finish(&history->memory);
  lnt__history_forget(history);
  lnt__free(history->apart);
  lnt__history_init(history);
}

void lnt__history_clear(lnt__history *history) {
  history->count = 0;
  history->records = 0;
  history->bytes = 0;
  history->apart_count = 0;
  lnt__buf_clear(&history->memory);
  lnt__history_forget(history);
}

/* Records are gathered in one block first (the block moves while it grows), each behind its number, and decoded once it stands still. */
typedef struct gathering { lnt__history *history; lnt__history_steps *steps; size_t bytes_max; } gathering;

static int gather(void *user, lnt__slice key, lnt__slice value) {
  gathering *g = user;
  lnt__history *history = g->history;
  uint32_t record = lnt__get_be32((const uint8_t *)key.data + 8);
  history->records = record + 1;
  history->bytes += value.size;
  lnt__buf_varint(&history->memory, record);
  lnt__buf_bytes(&history->memory, value.data, value.size);
  g->steps->next_record = history->records;
  g->steps->gathered += value.size;
  return history->memory.failed || g->steps->gathered >= g->bytes_max;
}

/* Room for one more event; NULL: out of memory, and history->memory.failed says so. */
static lnt__event *next_event(lnt__history *history) {
  if (history->count == history->capacity &&
      !lnt__grow((void **)&history->events, &history->capacity, history->count + 1, sizeof(lnt__event))) {
    history->memory.failed = true;
    return NULL;
  }
  return &history->events[history->count];
}

static bool note_apart(lnt__history *history, lnt__event *event, uint32_t record, uint32_t place) {
  if (history->apart_count == history->apart_capacity &&
      !lnt__grow((void **)&history->apart, &history->apart_capacity, history->apart_count + 1, sizeof(lnt__apart_slices))) {
    history->memory.failed = true;
    return false;
  }
  history->apart[history->apart_count++] = (lnt__apart_slices){(uint32_t)history->count, record, place, false};
  for (int i = 0; i < LNT__SLICES; i++)
    if (*event->apart >> i & 1) history->bytes += lnt__event_slice(event, i)->size + 4;
  return true;
}

static bool decode_record(lnt__history *history, uint32_t record, lnt_value sealed) {
  lnt__reader events;
  int64_t last_us = 0;
  if (!lnt__record_open((lnt__slice){sealed.data, sealed.size}, &events)) return false;
  for (uint32_t place = 0; events.at < events.end; place++) {
    lnt__event *event = next_event(history);
    if (!event || !lnt__event_read(&events, &last_us, event)) return false;
    if (event->apart && !note_apart(history, event, record, place)) return false;
    history->count++;
  }
  return true;
}

static lnt_status no_memory(lnt_error *err, uint64_t run) {
  return lnt__fail(err, LNT_ENOMEM, "out of memory while reading the history of run %llu", (unsigned long long)run);
}

static lnt_status gather_step(lnt__store *store, lnt__history *out, lnt__history_steps *steps, size_t bytes_max, lnt_error *err) {
  uint8_t from[LNT__KEY_HISTORY_BYTES], to[LNT__KEY_HISTORY_BYTES];
  gathering g = {out, steps, bytes_max};
  lnt__key_history(from, steps->run, steps->next_record);
  lnt__key_history(to, steps->run + 1, 0);
  steps->gathered = 0;
  lnt_status status = store->vtable->scan(store, LNT__TABLE_HISTORY, (lnt__slice){from, sizeof(from)}, (lnt__slice){to, sizeof(to)}, false,
                                          gather, &g, err);
  steps->is_gathered = steps->gathered < bytes_max;
  return status;
}

static lnt_status decode_step(lnt__history *out, lnt__history_steps *steps, size_t events_max, lnt_error *err) {
  lnt__reader records = lnt__reader_of(out->memory.data + steps->decoded, out->memory.size - steps->decoded);
  size_t from = out->count;
  if (out->memory.failed) return no_memory(err, steps->run);
  while (records.at < records.end && out->count - from < events_max) {
    uint32_t record = (uint32_t)lnt__read_varint(&records);
    if (!decode_record(out, record, lnt__read_bytes(&records)))
      return out->memory.failed ? no_memory(err, steps->run) : lnt__journal_corrupt(err, "the history", steps->run);
  }
  steps->decoded = out->memory.size - (size_t)(records.end - records.at);
  return LNT_OK;
}

void lnt__journal_history_begin(lnt__history *out, lnt__history_steps *steps, uint64_t run) {
  lnt__history_clear(out);
  out->run = run;
  *steps = (lnt__history_steps){.run = run};
}

lnt_status lnt__journal_history_step(lnt__store *store, lnt__history *out, lnt__history_steps *steps, bool *more, lnt_error *err) {
  lnt_status status = LNT_OK;
  *more = true;
  if (!steps->is_gathered) status = gather_step(store, out, steps, LNT__HISTORY_STEP_BYTES, err);
  if (status != LNT_OK || (!steps->is_gathered && !out->memory.failed)) return status;
  if (steps->decoded < out->memory.size) status = decode_step(out, steps, LNT__HISTORY_STEP_EVENTS, err);
  else status = lnt__history_fetch_some(store, out, &steps->fetched, LNT__HISTORY_STEP_BYTES, err);
  *more = status == LNT_OK && (steps->decoded < out->memory.size || steps->fetched < out->apart_count);
  return status;
}

lnt_status lnt__journal_history(lnt__store *store, uint64_t run, lnt__history *out, lnt_error *err) {
  lnt_status status = lnt__journal_outline(store, run, out, err);
  return status == LNT_OK && out->apart_count ? lnt__history_fetch_all(store, out, err) : status;
}

lnt_status lnt__journal_outline(lnt__store *store, uint64_t run, lnt__history *out, lnt_error *err) {
  lnt__history_steps steps;
  lnt__journal_history_begin(out, &steps, run);
  lnt_status status = gather_step(store, out, &steps, SIZE_MAX, err);
  return status != LNT_OK ? status : decode_step(out, &steps, SIZE_MAX, err);
}

/* ---- What is not in the store yet ---- */

static bool find_apart(lnt__history *history, const lnt__batch *batch, const lnt__apart_slices *at) {
  lnt__event *event = &history->events[at->event];
  uint8_t key[LNT__KEY_PAYLOAD_BYTES];
  lnt__slice sealed, value;
  for (int i = 0; i < LNT__SLICES; i++) {
    if (!(*event->apart >> i & 1)) continue;
    lnt__key_payload(key, history->run, at->record, lnt__apart_place(at->place, i));
    if (!lnt__batch_find(batch, LNT__TABLE_PAYLOAD, (lnt__slice){key, sizeof key}, &sealed) || !lnt__unseal(sealed, &value)) return false;
    lnt__event_slice(event, i)->data = value.data;
  }
  event->apart = NULL;
  return true;
}

bool lnt__history_add_batch(lnt__history *history, const lnt__batch *batch, uint32_t number) {
  uint8_t key[LNT__KEY_HISTORY_BYTES];
  lnt__slice sealed;
  size_t apart = history->apart_count;
  lnt__key_history(key, history->run, number);
  if (history->records > number || !lnt__batch_find(batch, LNT__TABLE_HISTORY, (lnt__slice){key, sizeof key}, &sealed)) return true;
  if (!decode_record(history, number, (lnt_value){sealed.data, sealed.size})) return false;
  for (; apart < history->apart_count; apart++)
    if (!find_apart(history, batch, &history->apart[apart])) return false;
  return true;
}

bool lnt__history_add_record(lnt__history *history, const lnt__record *record) {
  lnt__record_reader reader;
  lnt__event *event;
  lnt__record_read(record, &reader);
  while ((event = next_event(history)) && lnt__record_next(&reader, event)) history->count++;
  return event != NULL;
}

static int take_last_time(void *user, lnt__slice key, lnt__slice value) {
  lnt__reader events;
  lnt__event event;
  int64_t last_us = 0;
  (void)key;
  if (!lnt__record_open(value, &events)) return 1;
  while (events.at < events.end && lnt__event_read(&events, &last_us, &event)) *(int64_t *)user = last_us;
  return 1;
}

lnt_status lnt__journal_last_time(lnt__store *store, uint64_t run, int64_t *time_us, lnt_error *err) {
  uint8_t from[LNT__KEY_HISTORY_BYTES], to[LNT__KEY_HISTORY_BYTES];
  lnt__key_history(from, run, 0);
  lnt__key_history(to, run + 1, 0);
  lnt__slice first = {from, sizeof(from)}, end = {to, sizeof(to)};
  return store->vtable->scan(store, LNT__TABLE_HISTORY, first, end, true, take_last_time, time_us, err);
}

/* ---- Opening and checking ---- */

static const char FORMAT_KEY[] = "format";

static int first_key(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  *(uint64_t *)user = lnt__get_be64(key.data);
  return 1;
}

static lnt_status write_format(lnt__store *store, lnt_error *err) {
  lnt__buf value;
  lnt__batch *batch = lnt__batch_create();
  lnt__buf_init(&value);
  lnt__cbor_int(&value, LNT__FORMAT_VERSION);
  lnt__seal(&value);
  lnt_status status = LNT_ENOMEM;
  if (batch && !value.failed && lnt__batch_put(batch, LNT__TABLE_META, FORMAT_KEY, sizeof(FORMAT_KEY) - 1, value.data, value.size) &&
      lnt__index_mark(batch))
    status = store->vtable->commit(store, batch, err);
  else lnt__fail(err, LNT_ENOMEM, "out of memory while opening the store");
  lnt__batch_destroy(batch);
  lnt__buf_finish(&value);
  return status;
}

static lnt_status check_format(const void *value, size_t size, lnt_error *err) {
  lnt__slice payload;
  if (!lnt__unseal((lnt__slice){value, size}, &payload))
    return lnt__fail(err, LNT_ECORRUPT, "the store's format record has a wrong checksum; restore the data directory from a copy");
  lnt__reader reader = lnt__reader_of(payload.data, payload.size);
  lnt__cbor_item item = lnt__cbor_next(&reader);
  if (item.type != LNT__CBOR_INT) return lnt__fail(err, LNT_ECORRUPT, "the store's format record is not a number");
  if (item.as.integer > LNT__FORMAT_VERSION)
    return lnt__fail(err, LNT_EVERSION, "the store has journal format %lld; this library knows formats up to %d: use a newer Lunation",
                     (long long)item.as.integer, LNT__FORMAT_VERSION);
  return LNT_OK;
}

static const char LAST_RUN_KEY[] = "last_run";

bool lnt__journal_note_last_run(lnt__batch *batch, uint64_t last_run) {
  uint8_t bytes[8];
  lnt__buf value;
  lnt__buf_init(&value);
  lnt__put_be64(bytes, last_run);
  lnt__buf_append(&value, bytes, sizeof bytes);
  lnt__seal(&value);
  bool good = !value.failed && lnt__batch_put(batch, LNT__TABLE_META, LAST_RUN_KEY, sizeof(LAST_RUN_KEY) - 1, value.data, value.size);
  lnt__buf_finish(&value);
  return good;
}

static lnt_status find_last_run(lnt__store *store, uint64_t *last_run, lnt_error *err) {
  void *value = NULL;
  size_t size = 0;
  lnt__slice all = {0}, payload;
  *last_run = 0;
  lnt_status status = store->vtable->scan(store, LNT__TABLE_INSTANCE, all, all, true, first_key, last_run, err);
  if (status != LNT_OK) return status;
  status = store->vtable->get(store, LNT__TABLE_META, LAST_RUN_KEY, sizeof(LAST_RUN_KEY) - 1, &value, &size, err);
  if (status == LNT_ENOTFOUND) return LNT_OK;
  if (status != LNT_OK) return status;
  bool good = lnt__unseal((lnt__slice){value, size}, &payload) && payload.size == 8;
  if (good && lnt__get_be64(payload.data) > *last_run) *last_run = lnt__get_be64(payload.data);
  lnt__free(value);
  return good ? LNT_OK : lnt__fail(err, LNT_ECORRUPT, "the store's highest run has a wrong checksum; restore the directory from a copy");
}

lnt_status lnt__journal_open(lnt__store *store, bool read_only, uint64_t *last_run, lnt_error *err) {
  void *value = NULL;
  size_t size = 0;
  lnt_status status = store->vtable->get(store, LNT__TABLE_META, FORMAT_KEY, sizeof(FORMAT_KEY) - 1, &value, &size, err);
  if (status == LNT_OK) {
    status = check_format(value, size, err);
    lnt__free(value);
  } else if (status == LNT_ENOTFOUND) {
    status = read_only ? LNT_OK : write_format(store, err);
  }
  if (status == LNT_OK && !read_only && !lnt__index_complete(store)) status = lnt__index_rebuild(store, err);
  return status == LNT_OK ? find_last_run(store, last_run, err) : status;
}

static bool record_good(lnt__slice value) {
  lnt__reader events;
  lnt__event event;
  int64_t last_us = 0;
  if (!lnt__record_open(value, &events)) return false;
  while (events.at < events.end)
    if (!lnt__event_read(&events, &last_us, &event)) return false;
  return true;
}

lnt_status lnt__journal_check(lnt__table table, lnt__slice key, lnt__slice value, lnt_error *err) {
  lnt__slice payload;
  lnt__row row;
  bool good = true;
  if (table == LNT__TABLE_HISTORY) good = key.size == LNT__KEY_HISTORY_BYTES && record_good(value);
  else if (table == LNT__TABLE_INSTANCE) good = key.size == LNT__KEY_RUN_BYTES && lnt__row_read(value, &row);
  else if (table == LNT__TABLE_TIMER) good = key.size == LNT__KEY_TIMER_BYTES && value.size <= 1;
  else if (table == LNT__TABLE_ACTIVE) good = key.size == LNT__KEY_RUN_BYTES && (value.size == 0 || value.size == 4);
  else if (table == LNT__TABLE_INDEX) good = key.size > LNT__KEY_RUN_BYTES && value.size == 0;
  else good = lnt__unseal(value, &payload);
  return good ? LNT_OK : lnt__fail(err, LNT_ECORRUPT, "a record has a wrong checksum or shape");
}
