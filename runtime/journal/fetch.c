/* fetch.c - reading back what stands apart, in table PAYLOAD: of the events of a history, of a single event, of a row. Owner thread. */
#include "journal/journal.h"

/* ---- Slices of events ---- */

/* Memory of one fetch; what earlier ones brought stays where it is. */
struct lnt__fetched {
  struct lnt__fetched *before;
  uint8_t bytes[];
};

/* What a scan of PAYLOAD looks for: the marked slices, in the order of their keys. */
typedef struct search {
  lnt__event *events;
  lnt__apart_slices *at, *end;
  int slice;
  const uint8_t *checksum; /* of the slice that is looked for */
  uint64_t run;
  uint8_t *to;
} search;

/* Go on to the first slice that is wanted, from where it stands. false: there is none. */
static bool find_wanted(search *s) {
  for (; s->at < s->end; s->at++, s->slice = 0) {
    const uint8_t *apart = s->at->wanted ? s->events[s->at->event].apart : NULL;
    if (apart && s->slice == 0) s->checksum = apart + 1;
    for (; apart && s->slice < LNT__SLICES; s->slice++)
      if (*apart >> s->slice & 1) return true;
    if (apart) s->events[s->at->event].apart = NULL; /* it is whole */
  }
  return false;
}

static void wanted_key(const search *s, uint8_t key[LNT__KEY_PAYLOAD_BYTES]) {
  lnt__key_payload(key, s->run, s->at->record, lnt__apart_place(s->at->place, s->slice));
}

static bool take_slice(search *s, lnt__slice row) {
  lnt_value *slice = lnt__event_slice(&s->events[s->at->event], s->slice);
  lnt__slice value;
  if (!lnt__unseal(row, &value) || value.size != slice->size || memcmp((const uint8_t *)row.data + value.size, s->checksum, 4) != 0)
    return false;
  memcpy(s->to, value.data, value.size);
  slice->data = s->to;
  s->to += value.size;
  s->checksum += 4;
  s->slice++;
  return true;
}

static int visit(void *user, lnt__slice key, lnt__slice value) {
  search *s = user;
  uint8_t wanted[LNT__KEY_PAYLOAD_BYTES];
  wanted_key(s, wanted);
  int order = key.size == sizeof wanted ? memcmp(key.data, wanted, sizeof wanted) : 1;
  if (order < 0) return 0; /* of an event that is not wanted */
  return order > 0 || !take_slice(s, value) || !find_wanted(s);
}

/* A reader beside an owner may have read the history of a run that is purged meanwhile. */
static lnt_status missing(lnt__store *store, uint64_t run, lnt_error *err) {
  lnt__row row;
  void *memory = NULL;
  lnt_status status = lnt__journal_row_outline(store, run, &row, &memory, err);
  lnt__free(memory);
  if (status != LNT_OK) return status;
  return lnt__journal_corrupt(err, "a large value in the history", run);
}

static lnt_status run_search(lnt__store *store, search *s, lnt_error *err) {
  uint8_t from[LNT__KEY_PAYLOAD_BYTES], to[LNT__KEY_PAYLOAD_BYTES];
  if (!find_wanted(s)) return LNT_OK;
  wanted_key(s, from);
  lnt__key_payload(to, s->run, LNT__RECORD_OF_ROW, 0);
  lnt_status status = store->vtable->scan(store, LNT__TABLE_PAYLOAD, (lnt__slice){from, sizeof from}, (lnt__slice){to, sizeof to}, false,
                                          visit, s, err);
  if (status != LNT_OK || s->at >= s->end) return status;
  return missing(store, s->run, err);
}

static size_t apart_size(lnt__event *event) {
  size_t size = 0;
  for (int i = 0; event->apart && i < LNT__SLICES; i++)
    if (*event->apart >> i & 1) size += lnt__event_slice(event, i)->size;
  return size;
}

static lnt_status fetch(lnt__store *store, lnt__history *history, lnt__apart_slices *from, lnt__apart_slices *to, lnt_error *err) {
  size_t size = 0;
  for (const lnt__apart_slices *at = from; at < to; at++)
    if (at->wanted) size += apart_size(&history->events[at->event]);
  if (size == 0) return LNT_OK;
  struct lnt__fetched *fetched = lnt__alloc(sizeof *fetched + size);
  if (!fetched)
    return lnt__fail(err, LNT_ENOMEM, "out of memory while large values of run %llu were read", (unsigned long long)history->run);
  fetched->before = history->fetched;
  history->fetched = fetched;
  search s = {.events = history->events, .at = from, .end = to, .run = history->run, .to = fetched->bytes};
  return run_search(store, &s, err);
}

lnt_status lnt__history_fetch(lnt__store *store, lnt__history *history, lnt_error *err) {
  if (history->apart_count == 0) return LNT_OK;
  return fetch(store, history, history->apart, history->apart + history->apart_count, err);
}

lnt_status lnt__history_fetch_some(lnt__store *store, lnt__history *history, size_t *at, size_t bytes_max, lnt_error *err) {
  if (*at >= history->apart_count) return LNT_OK;
  lnt__apart_slices *from = &history->apart[*at];
  for (size_t bytes = 0; *at < history->apart_count && bytes < bytes_max; ++*at) {
    history->apart[*at].wanted = true;
    bytes += apart_size(&history->events[history->apart[*at].event]);
  }
  return fetch(store, history, from, &history->apart[*at], err);
}

lnt_status lnt__history_fetch_kinds(lnt__store *store, lnt__history *history, uint64_t kinds, lnt_error *err) {
  for (size_t i = 0; i < history->apart_count; i++) {
    lnt__apart_slices *apart = &history->apart[i];
    apart->wanted = apart->wanted || kinds >> history->events[apart->event].kind & 1;
  }
  return lnt__history_fetch(store, history, err);
}

lnt_status lnt__history_fetch_all(lnt__store *store, lnt__history *history, lnt_error *err) {
  return lnt__history_fetch_kinds(store, history, UINT64_MAX, err);
}

lnt_status lnt__history_fetch_event(lnt__store *store, lnt__history *history, size_t index, lnt_error *err) {
  size_t low = 0, high = history->apart_count;
  if (!history->events[index].apart) return LNT_OK;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (history->apart[middle].event < index) low = middle + 1;
    else high = middle;
  }
  history->apart[low].wanted = true;
  return fetch(store, history, &history->apart[low], &history->apart[low + 1], err);
}

void lnt__history_forget(lnt__history *history) {
  while (history->fetched) {
    struct lnt__fetched *before = history->fetched->before;
    lnt__free(history->fetched);
    history->fetched = before;
  }
}

lnt_status lnt__journal_fetch(lnt__store *store, uint64_t run, uint32_t record, uint32_t place, lnt__event *event, lnt__buf *memory,
                              lnt_error *err) {
  lnt__apart_slices apart = {0, record, place, true};
  lnt__buf_clear(memory);
  if (!event->apart) return LNT_OK;
  if (!lnt__buf_reserve(memory, apart_size(event)))
    return lnt__fail(err, LNT_ENOMEM, "out of memory while a large value of run %llu was read", (unsigned long long)run);
  search s = {.events = event, .at = &apart, .end = &apart + 1, .run = run, .to = memory->data};
  return run_search(store, &s, err);
}

/* ---- Values of rows ---- */

static lnt_status get_row(lnt__store *store, uint64_t run, void **memory, size_t *size, lnt_error *err) {
  uint8_t key[LNT__KEY_RUN_BYTES];
  lnt__key_run(key, run);
  *memory = NULL;
  lnt_status status = store->vtable->get(store, LNT__TABLE_INSTANCE, key, sizeof key, memory, size, err);
  return status == LNT_ENOTFOUND ? lnt__fail(err, status, "there is no run %llu", (unsigned long long)run) : status;
}

static lnt_status read_row(lnt__store *store, uint64_t run, lnt__row *row, void **memory, size_t *size, lnt_error *err) {
  lnt_status status = get_row(store, run, memory, size, err);
  if (status == LNT_OK && !lnt__row_read((lnt__slice){*memory, *size}, row)) status = lnt__journal_corrupt(err, "the row", run);
  row->run = run;
  if (status == LNT_OK) return LNT_OK;
  lnt__free(*memory);
  *memory = NULL;
  return status;
}

lnt_status lnt__journal_row_outline(lnt__store *store, uint64_t run, lnt__row *row, void **memory, lnt_error *err) {
  size_t size;
  return read_row(store, run, row, memory, &size, err);
}

/* LNT_ENOTFOUND: it is not there, or another value is. */
static lnt_status get_value(lnt__store *store, const lnt__row *row, int which, lnt_value *value, uint8_t **to, lnt_error *err) {
  uint8_t key[LNT__KEY_PAYLOAD_BYTES];
  void *sealed = NULL;
  size_t size = 0;
  lnt__slice found;
  lnt__key_payload(key, row->run, LNT__RECORD_OF_ROW, (uint32_t)which);
  lnt_status status = store->vtable->get(store, LNT__TABLE_PAYLOAD, key, sizeof key, &sealed, &size, err);
  if (status != LNT_OK) return status;
  bool good = lnt__unseal((lnt__slice){sealed, size}, &found) && found.size == value->size &&
              lnt__get_be32((const uint8_t *)sealed + found.size) == row->checksums[which];
  if (good) memcpy(*to, found.data, found.size);
  lnt__free(sealed);
  value->data = *to;
  *to += value->size;
  return good ? LNT_OK : LNT_ENOTFOUND;
}

/* Move the row of `size` bytes to a block that has room for what stands apart from it, and fill that. */
static lnt_status complete_row(lnt__store *store, lnt__row *row, void **memory, size_t size, lnt_error *err) {
  lnt_value *const values[LNT__ROW_VALUES] = {[LNT__ROW_CUSTOM_STATUS] = &row->custom_status, [LNT__ROW_FAILURE] = &row->failure};
  uint64_t run = row->run;
  size_t extra = 0;
  lnt_status status = LNT_OK;
  for (int i = 0; i < LNT__ROW_VALUES; i++)
    if (row->apart >> i & 1) extra += values[i]->size;
  uint8_t *whole = lnt__alloc(size + extra), *to = whole + size;
  if (!whole) return lnt__fail(err, LNT_ENOMEM, "out of memory while run %llu was read", (unsigned long long)run);
  memcpy(whole, *memory, size);
  lnt__free(*memory);
  *memory = whole;
  lnt__row_read((lnt__slice){whole, size}, row);
  row->run = run;
  for (int i = 0; i < LNT__ROW_VALUES && status == LNT_OK; i++)
    if (row->apart >> i & 1) status = get_value(store, row, i, values[i], &to, err);
  return status;
}

enum { ROW_TRIES = 100 };

/* A commit between two reads may bring another row and other values: then both are read again. */
lnt_status lnt__journal_row(lnt__store *store, uint64_t run, lnt__row *row, void **memory, lnt_error *err) {
  size_t size;
  lnt_status status = LNT_ENOTFOUND;
  for (int i = 0; i < ROW_TRIES && status == LNT_ENOTFOUND; i++) {
    status = read_row(store, run, row, memory, &size, err);
    if (status != LNT_OK || !row->apart) return status;
    status = complete_row(store, row, memory, size, err);
    if (status == LNT_OK) return LNT_OK;
    lnt__free(*memory);
    *memory = NULL;
  }
  return status == LNT_ENOTFOUND ? lnt__journal_corrupt(err, "the row", run) : status;
}
