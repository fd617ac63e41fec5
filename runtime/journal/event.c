/* event.c - events and records as bytes. The engine writes them on its hot path; replay and the API read them. Any thread. FORMAT.md tells
 * the layout. */
#include "journal/journal.h"

/* Those of the slices that may stand apart follow HAS_VALUE in the order of their numbers (LNT__SLICE_x). */
enum {
  HAS_SEQ = 1 << 0,
  HAS_ATTEMPT = 1 << 1,
  HAS_DUE = 1 << 2,
  HAS_NAME = 1 << 3,
  HAS_VALUE = 1 << 4,
  HAS_OPTIONS = 1 << 5,
  HAS_DETAIL = 1 << 6,
  HAS_ID = 1 << 7,
  HAS_HASH = 1 << 8,
  HAS_ENGINE = 1 << 9,
  HAS_SEED = 1 << 10,
};

/* The fields of each kind, in the order of the bits. Part of the format: a kind's fields never change. */
static const uint16_t EVENT_FIELDS[] = {
    [LNT_EVENT_STARTED] = HAS_DUE | HAS_NAME | HAS_VALUE | HAS_OPTIONS | HAS_ID | HAS_HASH | HAS_ENGINE | HAS_SEED,
    [LNT_EVENT_TURN] = 0,
    [LNT_EVENT_ACTIVITY_SCHEDULED] = HAS_SEQ | HAS_NAME | HAS_VALUE | HAS_OPTIONS,
    [LNT_EVENT_ACTIVITY_COMPLETED] = HAS_SEQ | HAS_ATTEMPT | HAS_VALUE,
    [LNT_EVENT_ACTIVITY_FAILED] = HAS_SEQ | HAS_ATTEMPT | HAS_VALUE | HAS_DETAIL,
    [LNT_EVENT_ACTIVITY_RETRIED] = HAS_SEQ | HAS_ATTEMPT | HAS_DUE | HAS_VALUE | HAS_OPTIONS | HAS_DETAIL,
    [LNT_EVENT_TIMER_CREATED] = HAS_SEQ | HAS_DUE,
    [LNT_EVENT_TIMER_FIRED] = HAS_SEQ,
    [LNT_EVENT_EVENT_AWAITED] = HAS_SEQ | HAS_DUE | HAS_NAME,
    [LNT_EVENT_EVENT_RAISED] = HAS_NAME | HAS_VALUE | HAS_ID,
    [LNT_EVENT_COMMAND_CANCELED] = HAS_SEQ,
    [LNT_EVENT_TERMINATE_REQUESTED] = HAS_VALUE,
    [LNT_EVENT_COMPLETED] = HAS_VALUE,
    [LNT_EVENT_FAILED] = HAS_VALUE | HAS_DETAIL,
    [LNT_EVENT_TERMINATED] = HAS_VALUE,
    [LNT_EVENT_STALLED] = HAS_VALUE | HAS_DETAIL,
    [LNT_EVENT_RESUMED] = HAS_DETAIL,
    [LNT_EVENT_CODE_CHANGED] = HAS_HASH | HAS_ENGINE,
    [LNT_EVENT_CHILD_SCHEDULED] = HAS_SEQ | HAS_DUE | HAS_NAME | HAS_VALUE | HAS_OPTIONS | HAS_ID,
    [LNT_EVENT_CHILD_COMPLETED] = HAS_SEQ | HAS_ATTEMPT | HAS_VALUE,
    [LNT_EVENT_CHILD_FAILED] = HAS_SEQ | HAS_ATTEMPT | HAS_VALUE | HAS_DETAIL,
    [LNT_EVENT_CHILD_RETRIED] = HAS_SEQ | HAS_ATTEMPT | HAS_DUE | HAS_VALUE | HAS_ID,
    [LNT_EVENT_DETACHED_STARTED] = HAS_SEQ | HAS_NAME | HAS_VALUE | HAS_OPTIONS | HAS_ID,
    [LNT_EVENT_EVENT_SENT] = HAS_SEQ | HAS_NAME | HAS_VALUE | HAS_OPTIONS | HAS_ID,
    [LNT_EVENT_SIDE_EFFECT] = HAS_SEQ | HAS_VALUE | HAS_OPTIONS,
    [LNT_EVENT_EMITTED] = HAS_SEQ | HAS_NAME | HAS_VALUE,
    [LNT_EVENT_UPDATE_ACCEPTED] = HAS_NAME | HAS_VALUE | HAS_ID,
    [LNT_EVENT_UPDATE_ANSWERED] = HAS_VALUE | HAS_OPTIONS | HAS_ID,
    [LNT_EVENT_SUSPENDED] = HAS_VALUE,
    [LNT_EVENT_UNSUSPENDED] = HAS_VALUE,
    [LNT_EVENT_CANCEL_REQUESTED] = HAS_VALUE,
    [LNT_EVENT_CANCELED] = HAS_VALUE | HAS_DETAIL,
    [LNT_EVENT_CONTINUED_AS_NEW] = HAS_VALUE,
    [LNT_EVENT_ACTIVITY_DEFERRED] = HAS_SEQ | HAS_ATTEMPT | HAS_DUE,
    [LNT_EVENT_INPUT_REPLACED] = HAS_SEQ | HAS_VALUE,
    [LNT_EVENT_PATCHED] = HAS_SEQ | HAS_NAME,
    [LNT_EVENT_FORKED] = HAS_SEQ | HAS_VALUE | HAS_ID | HAS_SEED,
    [LNT_EVENT_CONTINUE_ADVISED] = HAS_SEQ,
    [LNT_EVENT_UPDATE_REQUESTED] = HAS_NAME | HAS_VALUE | HAS_ID,
    [LNT_EVENT_UPDATE_REJECTED] = HAS_OPTIONS | HAS_ID,
};

/* In the byte of the kind: slices of the event stand apart; a byte that says which, and their checksums, follow the time. */
#define APART 0x80

static uint8_t *put_slice(uint8_t *at, lnt_value slice) {
  at = lnt__put_varint(at, slice.size);
  if (slice.size) memcpy(at, slice.data, slice.size);
  return at + slice.size;
}

static inline bool is_apart(const uint8_t *apart, int slice) { return apart && *apart >> slice & 1; }

static inline uint8_t *put_or_refer(uint8_t *at, lnt_value slice, const uint8_t *apart, int number) {
  return is_apart(apart, number) ? lnt__put_varint(at, slice.size) : put_slice(at, slice);
}

static unsigned count_bits(unsigned bits) { /* of 16; not every processor that we are built for has an instruction for it */
  bits -= bits >> 1 & 0x5555;
  bits = (bits & 0x3333) + (bits >> 2 & 0x3333);
  bits = (bits + (bits >> 4)) & 0x0f0f;
  return (bits + (bits >> 8)) & 31;
}

static size_t apart_bytes(const uint8_t *apart) { return 1 + 4 * (size_t)count_bits(*apart); }

/* At most this much: its kind, its time, and of each field a number, which is its value or its size. */
static inline size_t bytes_max(const lnt__event *event, const uint8_t *apart) {
  size_t value = is_apart(apart, LNT__SLICE_VALUE) ? 0 : event->value.size;
  size_t options = is_apart(apart, LNT__SLICE_OPTIONS) ? 0 : event->options.size;
  size_t detail = is_apart(apart, LNT__SLICE_DETAIL) ? 0 : event->detail.size;
  return 1 + (apart ? apart_bytes(apart) : 0) + (1 + count_bits(EVENT_FIELDS[event->kind])) * (size_t)LNT__VARINT_BYTES_MAX +
         event->name.size + value + options + detail + event->id.size + event->hash.size + event->engine.size;
}

/* Room is made once, for all of it: an event is written twice on its way, into the record and into the inbox. Compiled twice, too: nearly
 * nothing of any event stands apart. */
static inline __attribute__((always_inline)) void write_event(lnt__buf *out, int64_t *last_us, const lnt__event *event,
                                                              const uint8_t *apart) {
  uint16_t fields = EVENT_FIELDS[event->kind];
  if (!lnt__buf_reserve(out, bytes_max(event, apart))) return;
  uint8_t *at = out->data + out->size;
  *at++ = (uint8_t)(event->kind | (apart ? APART : 0));
  at = lnt__put_varint(at, lnt__zigzag(event->time_us - *last_us));
  *last_us = event->time_us;
  if (apart) at = (uint8_t *)memcpy(at, apart, apart_bytes(apart)) + apart_bytes(apart);
  if (fields & HAS_SEQ) at = lnt__put_varint(at, event->seq);
  if (fields & HAS_ATTEMPT) at = lnt__put_varint(at, event->attempt);
  if (fields & HAS_DUE) at = lnt__put_varint(at, lnt__zigzag(event->due_us));
  if (fields & HAS_NAME) at = put_slice(at, event->name);
  if (fields & HAS_VALUE) at = put_or_refer(at, event->value, apart, LNT__SLICE_VALUE);
  if (fields & HAS_OPTIONS) at = put_or_refer(at, event->options, apart, LNT__SLICE_OPTIONS);
  if (fields & HAS_DETAIL) at = put_or_refer(at, event->detail, apart, LNT__SLICE_DETAIL);
  if (fields & HAS_ID) at = put_slice(at, event->id);
  if (fields & HAS_HASH) at = put_slice(at, event->hash);
  if (fields & HAS_ENGINE) at = put_slice(at, event->engine);
  if (fields & HAS_SEED) at = lnt__put_varint(at, event->seed);
  out->size = (size_t)(at - out->data);
}

void lnt__event_write(lnt__buf *out, int64_t *last_us, const lnt__event *event) {
  if (event->apart) write_event(out, last_us, event, event->apart);
  else write_event(out, last_us, event, NULL);
}

static uint32_t read_u32(lnt__reader *reader) {
  uint64_t value = lnt__read_varint(reader);
  if (value > UINT32_MAX) reader->failed = true;
  return (uint32_t)value;
}

static const uint8_t *read_apart(lnt__reader *reader, uint16_t fields) {
  const uint8_t *apart = reader->at;
  uint8_t slices = lnt__read_u8(reader);
  if (reader->failed || slices == 0 || slices & ~(fields / HAS_VALUE) || slices >> LNT__SLICES ||
      (size_t)(reader->end - apart) < apart_bytes(apart)) {
    reader->failed = true;
    return NULL;
  }
  reader->at = apart + apart_bytes(apart);
  return apart;
}

static inline lnt_value read_slice(lnt__reader *reader, const uint8_t *apart, int number) {
  if (is_apart(apart, number)) return (lnt_value){NULL, read_u32(reader)};
  return lnt__read_bytes(reader);
}

static inline __attribute__((always_inline)) bool read_event(lnt__reader *reader, int64_t *last_us, lnt__event *event, uint8_t kind,
                                                             bool refers) {
  *event = (lnt__event){0};
  if (reader->failed || kind == 0 || kind >= LNT__COUNT(EVENT_FIELDS)) {
    reader->failed = true;
    return false;
  }
  uint16_t fields = EVENT_FIELDS[kind];
  event->kind = (lnt_event_kind)kind;
  event->time_us = (int64_t)((uint64_t)*last_us + (uint64_t)lnt__read_zigzag(reader));
  *last_us = event->time_us;
  const uint8_t *apart = refers ? read_apart(reader, fields) : NULL;
  event->apart = apart;
  if (fields & HAS_SEQ) event->seq = read_u32(reader);
  if (fields & HAS_ATTEMPT) event->attempt = read_u32(reader);
  if (fields & HAS_DUE) event->due_us = lnt__read_zigzag(reader);
  if (fields & HAS_NAME) event->name = lnt__read_bytes(reader);
  if (fields & HAS_VALUE) event->value = read_slice(reader, apart, LNT__SLICE_VALUE);
  if (fields & HAS_OPTIONS) event->options = read_slice(reader, apart, LNT__SLICE_OPTIONS);
  if (fields & HAS_DETAIL) event->detail = read_slice(reader, apart, LNT__SLICE_DETAIL);
  if (fields & HAS_ID) event->id = lnt__read_bytes(reader);
  if (fields & HAS_HASH) event->hash = lnt__read_bytes(reader);
  if (fields & HAS_ENGINE) event->engine = lnt__read_bytes(reader);
  if (fields & HAS_SEED) event->seed = lnt__read_varint(reader);
  if ((fields & HAS_HASH) && event->hash.size != LNT__SHA256_BYTES) reader->failed = true;
  return !reader->failed;
}

bool lnt__event_read(lnt__reader *reader, int64_t *last_us, lnt__event *event) {
  uint8_t kind = lnt__read_u8(reader);
  if (kind & APART) return read_event(reader, last_us, event, kind & ~APART, true);
  return read_event(reader, last_us, event, kind, false);
}

void lnt__seal(lnt__buf *out) {
  uint32_t sum = lnt__checksum(out->data, out->size);
  uint8_t bytes[4];
  lnt__put_be32(bytes, sum);
  lnt__buf_append(out, bytes, sizeof(bytes));
}

bool lnt__unseal(lnt__slice sealed, lnt__slice *payload) {
  if (sealed.size < 4) return false;
  size_t size = sealed.size - 4;
  if (lnt__checksum(sealed.data, size) != lnt__get_be32((const uint8_t *)sealed.data + size)) return false;
  *payload = (lnt__slice){sealed.data, size};
  return true;
}

bool lnt__record_open(lnt__slice sealed, lnt__reader *events) {
  lnt__slice payload;
  if (!lnt__unseal(sealed, &payload)) return false;
  *events = lnt__reader_of(payload.data, payload.size);
  return lnt__read_u8(events) == LNT__FORMAT_VERSION && !events->failed;
}

void lnt__failure_text(lnt__buf *out, const char *type, const char *message, bool retryable) {
  lnt_failure failure = {type, message, !retryable, LNT_VALUE_NIL};
  lnt__failure_write(out, &failure);
}

void lnt__failure_write(lnt__buf *out, const lnt_failure *failure) {
  lnt__cbor_map map;
  size_t members = 3;
  lnt__cbor_map_begin(out, &map);
  lnt__cbor_cstring(out, "type");
  lnt__cbor_cstring(out, failure->type ? failure->type : "Error");
  lnt__cbor_cstring(out, "message");
  lnt__cbor_cstring(out, failure->message ? failure->message : "");
  lnt__cbor_cstring(out, "retryable");
  lnt__cbor_bool(out, !failure->non_retryable);
  if (failure->details.size) {
    lnt__cbor_cstring(out, "details");
    lnt__buf_append(out, failure->details.data, failure->details.size);
    members++;
  }
  lnt__cbor_map_end(out, &map, members, false);
}
