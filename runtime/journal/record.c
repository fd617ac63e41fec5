/* record.c - the events of one instance in one batch as they are gathered, and the values that are too large to stand among them. The
 * engine writes them, and reads them back for an observer. Any thread, one at a time. */
#include "journal/journal.h"

enum {
  KEEP_BYTES = 512, /* memory that a record keeps when it is cleared */
  USUAL_BYTES = 128 /* a step or an event: most records grow no further */
};

/* ---- Gathering ---- */

lnt_value *lnt__event_slice(lnt__event *event, int slice) {
  lnt_value *const slices[LNT__SLICES] = {&event->value, &event->options, &event->detail};
  return slices[slice];
}

static lnt__buf *apart_of(lnt__record *record) {
  if (!record->apart && (record->apart = lnt__alloc(sizeof *record->apart))) lnt__buf_init(record->apart);
  return record->apart;
}

static void add_apart(lnt__buf *to, uint32_t place, lnt_value slice, uint8_t checksum[4]) {
  uint8_t key[4];
  lnt__put_be32(checksum, lnt__checksum(slice.data, slice.size));
  lnt__put_be32(key, place);
  lnt__buf_append(to, key, sizeof key);
  lnt__buf_varint(to, slice.size + 4);
  lnt__buf_append(to, slice.data, slice.size);
  lnt__buf_append(to, checksum, 4);
}

static bool is_large(lnt_value slice) { return slice.size > LNT__INLINE_BYTES_MAX; }

static bool add_large(lnt__record *record, lnt__event event) {
  uint8_t apart[1 + 4 * LNT__SLICES] = {0}, *checksum = apart + 1;
  lnt__buf *to = apart_of(record);
  for (int i = 0; to && i < LNT__SLICES; i++) {
    if (!is_large(*lnt__event_slice(&event, i))) continue;
    apart[0] |= (uint8_t)(1 << i);
    add_apart(to, lnt__apart_place(record->count, i), *lnt__event_slice(&event, i), checksum);
    checksum += 4;
  }
  event.apart = apart[0] ? apart : NULL;
  if (to) lnt__event_write(&record->bytes, &record->last_us, &event);
  record->count++;
  return to && !to->failed && !record->bytes.failed;
}

bool lnt__record_add(lnt__record *record, const lnt__event *event) {
  if (record->bytes.size == 0) {
    lnt__buf_reserve(&record->bytes, USUAL_BYTES);
    lnt__buf_u8(&record->bytes, LNT__FORMAT_VERSION);
    record->last_us = 0;
    record->count = 0;
  }
  size_t at_most = event->value.size | event->options.size | event->detail.size; /* no smaller than the largest */
  if (at_most > LNT__INLINE_BYTES_MAX) return add_large(record, *event);
  lnt__event_write(&record->bytes, &record->last_us, event);
  record->count++;
  return !record->bytes.failed;
}

size_t lnt__record_bytes(const lnt__record *record) { return record->bytes.size + (record->apart ? record->apart->size : 0); }

void lnt__record_clear(lnt__record *record) {
  lnt__buf_clear(&record->bytes);
  if (record->bytes.capacity > KEEP_BYTES) lnt__buf_finish(&record->bytes);
  if (record->apart) lnt__buf_finish(record->apart);
  lnt__free(record->apart);
  record->apart = NULL;
  record->sealed = false;
}

void lnt__record_finish(lnt__record *record) {
  lnt__record_clear(record);
  lnt__buf_finish(&record->bytes);
}

/* ---- Into a batch ---- */

static bool next_apart(lnt__reader *reader, uint32_t *place, lnt_value *sealed) {
  if (reader->at >= reader->end) return false;
  *place = lnt__get_be32(reader->at);
  reader->at += 4;
  *sealed = lnt__read_bytes(reader);
  return true;
}

static bool put_apart(const lnt__record *record, uint64_t run, uint32_t number, lnt__batch *batch, uint64_t *bytes) {
  uint8_t key[LNT__KEY_PAYLOAD_BYTES];
  uint32_t place;
  lnt_value sealed;
  if (record->apart->failed) return false;
  lnt__reader reader = lnt__reader_of(record->apart->data, record->apart->size);
  while (next_apart(&reader, &place, &sealed)) {
    lnt__key_payload(key, run, number, place);
    *bytes += sealed.size;
    if (!lnt__batch_put(batch, LNT__TABLE_PAYLOAD, key, sizeof key, sealed.data, sealed.size)) return false;
  }
  return true;
}

bool lnt__record_put(lnt__record *record, uint64_t run, uint32_t number, lnt__batch *batch, uint64_t *bytes) {
  uint8_t key[LNT__KEY_HISTORY_BYTES];
  lnt__key_history(key, run, number);
  lnt__seal(&record->bytes);
  record->sealed = true;
  *bytes += record->bytes.size;
  if (record->bytes.failed || !lnt__batch_put(batch, LNT__TABLE_HISTORY, key, sizeof key, record->bytes.data, record->bytes.size))
    return false;
  return !record->apart || put_apart(record, run, number, batch, bytes);
}

/* ---- Reading it back ---- */

void lnt__record_read(const lnt__record *record, lnt__record_reader *reader) {
  *reader = (lnt__record_reader){.last_us = 0};
  if (record->bytes.size == 0) return;
  reader->events = lnt__reader_of(record->bytes.data, record->bytes.size - (record->sealed ? 4 : 0));
  lnt__read_u8(&reader->events); /* the format */
  if (record->apart) reader->apart = lnt__reader_of(record->apart->data, record->apart->size);
}

bool lnt__record_next(lnt__record_reader *reader, lnt__event *event) {
  uint32_t place;
  lnt_value sealed;
  if (reader->events.at >= reader->events.end || !lnt__event_read(&reader->events, &reader->last_us, event)) return false;
  for (int i = 0; event->apart && i < LNT__SLICES; i++)
    if (*event->apart >> i & 1 && next_apart(&reader->apart, &place, &sealed)) lnt__event_slice(event, i)->data = sealed.data;
  event->apart = NULL;
  return true;
}
