/* journal.h - what the records mean: events, instance rows, keys, and how they are read back. FORMAT.md tells the bytes.
 *
 * The engine writes through these encoders into its batch; the engine and the API read through the readers. Every value in every table
 * ends with the CRC-32C of what is before it ("sealed"). Owner thread, except the pure encoders and decoders (any thread). */
#ifndef LNT__JOURNAL_H
#define LNT__JOURNAL_H

#include "base/hash.h"
#include "base/heap.h"
#include "codec/cbor.h"
#include "store/store.h"

#define LNT__FORMAT_VERSION 1

/* ---- Events ---- */

/* One event. Slices point into the memory of whoever made it (a record, the caller). Which fields a kind carries: EVENT_FIELDS in event.c.
 * Slices that stand apart (below) have their size, and no data until they are fetched. */
typedef struct lnt__event {
  lnt_event_kind kind;
  uint32_t seq;
  uint32_t attempt;
  int64_t time_us;
  int64_t due_us;
  lnt_value name;    /* bytes of a name, not NUL-terminated */
  lnt_value value;   /* a value, or a failure as a map {type, message, retryable, details} */
  lnt_value options; /* STARTED: a map {attributes}; commands: a map of how (retry ...), or nil; instant ones: the failure, or nil;
                        ACTIVITY_RETRIED: heartbeat */
  lnt_value detail;  /* text for people */
  lnt_value id;      /* STARTED: the instance id; children, EVENT_SENT, updates: whom it is about */
  lnt_value hash;    /* STARTED, CODE_CHANGED: LNT__SHA256_BYTES */
  lnt_value engine;  /* STARTED, CODE_CHANGED: fingerprint of the interpreter ("LuaJIT 2.1.0-beta3 x64") */
  uint64_t seed;     /* STARTED: of the instance's random sequence */
  const uint8_t *apart; /* NULL: all of it is here. Else in its record: a byte that says which slices stand apart, and their checksums */
} lnt__event;

/* What an event is to its instance; sets of kinds as bits. */
#define LNT__KIND_BIT(kind) (1ull << LNT_EVENT_##kind)
#define LNT__KINDS_COMMAND                                                                                                                 \
  (LNT__KIND_BIT(ACTIVITY_SCHEDULED) | LNT__KIND_BIT(TIMER_CREATED) | LNT__KIND_BIT(EVENT_AWAITED) | LNT__KIND_BIT(CHILD_SCHEDULED) |      \
   LNT__KINDS_INSTANT)
/* Commands whose event is their answer too: nothing is delivered for them later. */
#define LNT__KINDS_INSTANT                                                                                                                 \
  (LNT__KIND_BIT(DETACHED_STARTED) | LNT__KIND_BIT(EVENT_SENT) | LNT__KIND_BIT(SIDE_EFFECT) | LNT__KIND_BIT(EMITTED) |                     \
   LNT__KIND_BIT(PATCHED) | LNT__KIND_BIT(CONTINUE_ADVISED))
/* Events that the body observes, in history order. */
#define LNT__KINDS_INBOX                                                                                                                   \
  (LNT__KIND_BIT(STARTED) | LNT__KIND_BIT(ACTIVITY_COMPLETED) | LNT__KIND_BIT(ACTIVITY_FAILED) | LNT__KIND_BIT(TIMER_FIRED) |              \
   LNT__KIND_BIT(EVENT_RAISED) | LNT__KIND_BIT(TERMINATE_REQUESTED) | LNT__KIND_BIT(CHILD_COMPLETED) | LNT__KIND_BIT(CHILD_FAILED) |       \
   LNT__KIND_BIT(UPDATE_ACCEPTED) | LNT__KIND_BIT(CANCEL_REQUESTED) |                                                                      \
   LNT__KIND_BIT(FORKED) | LNT__KIND_BIT(UPDATE_REQUESTED))
/* A run is closed: nothing follows. */
#define LNT__KINDS_END                                                                                                                     \
  (LNT__KIND_BIT(COMPLETED) | LNT__KIND_BIT(FAILED) | LNT__KIND_BIT(TERMINATED) | LNT__KIND_BIT(CANCELED) | LNT__KIND_BIT(CONTINUED_AS_NEW))
static inline bool lnt__event_is_end(lnt_event_kind kind) { return LNT__KINDS_END >> kind & 1; }
static inline bool lnt__event_is_command(lnt_event_kind kind) { return LNT__KINDS_COMMAND >> kind & 1; }
static inline bool lnt__event_is_instant(lnt_event_kind kind) { return LNT__KINDS_INSTANT >> kind & 1; }
static inline bool lnt__event_is_inbox(lnt_event_kind kind) { return LNT__KINDS_INBOX >> kind & 1; }

/* `*last_us` carries the time of the event before (0 at the start of a record or stream); times are written as differences. What stands
 * apart is written as a reference. */
void lnt__event_write(lnt__buf *out, int64_t *last_us, const lnt__event *event);
bool lnt__event_read(lnt__reader *reader, int64_t *last_us, lnt__event *event); /* false: not an event; reader->failed */

void lnt__seal(lnt__buf *out);                                            /* append the checksum of everything in `out` */
bool lnt__unseal(lnt__slice sealed, lnt__slice *payload);                 /* false: checksum or size wrong */
bool lnt__record_open(lnt__slice sealed, lnt__reader *events);            /* checksum and format version */

/* ---- Values that stand apart ---- */

/* A value, options or a detail of more bytes than this stands in table PAYLOAD, and a reference to it in its record; so does a custom
 * status or a failure of a row. Measured: commits cost the same with any limit from 1 to 16 KB, because LMDB gives a record of over 2 KB
 * pages of its own anyway; the file grows by up to one page for each such value, which is half of it here and less above; and whoever
 * reads a history of 3,000 values of 12 KB without needing them takes a quarter of the time. */
#define LNT__INLINE_BYTES_MAX 4096

/* The slices of an event that may stand apart: numbers of bits in *event->apart, and of places in PAYLOAD. */
enum { LNT__SLICE_VALUE, LNT__SLICE_OPTIONS, LNT__SLICE_DETAIL, LNT__SLICES };
static inline uint32_t lnt__apart_place(uint32_t event, int slice) { return event * 4 + (uint32_t)slice; } /* event of the record, from 0 */
lnt_value *lnt__event_slice(lnt__event *event, int slice);

/* The events of one instance in one batch, while they are gathered: a record, and what stands apart from it. Starts as zeros. */
typedef struct lnt__record {
  lnt__buf bytes;   /* empty: no event yet */
  lnt__buf *apart;  /* of each slice: place (u32), a varint size, the bytes with their checksum; NULL: there is none */
  int64_t last_us;
  uint32_t count;   /* events */
  bool sealed;      /* it is in a batch: nothing more is added before it is cleared */
} lnt__record;
bool lnt__record_add(lnt__record *record, const lnt__event *event); /* everything is copied; false: out of memory */
size_t lnt__record_bytes(const lnt__record *record);
/* Seal it and put it into a batch, as record `number` of the run; *bytes grows by what was put. false: out of memory. */
bool lnt__record_put(lnt__record *record, uint64_t run, uint32_t number, lnt__batch *batch, uint64_t *bytes);
void lnt__record_clear(lnt__record *record); /* keeps a little memory */
void lnt__record_finish(lnt__record *record);

/* Read a record that is still in memory, whole: what stands apart is fetched from beside it. */
typedef struct lnt__record_reader { lnt__reader events, apart; int64_t last_us; } lnt__record_reader;
void lnt__record_read(const lnt__record *record, lnt__record_reader *reader);
bool lnt__record_next(lnt__record_reader *reader, lnt__event *event); /* false: that was the last */

/* ---- Instance rows ---- */

/* The values of a row that may stand apart. */
enum { LNT__ROW_CUSTOM_STATUS, LNT__ROW_FAILURE, LNT__ROW_VALUES };

typedef struct lnt__row {
  uint64_t run;
  lnt_value id, workflow; /* text, not NUL-terminated */
  uint8_t hash[LNT__SHA256_BYTES];
  lnt_run_status status;
  int64_t created_us, updated_us, closed_us;
  uint64_t generation;  /* from 1 */
  uint64_t parent_run;  /* 0: none */
  uint32_t parent_seq;
  lnt_value custom_status; /* a value */
  lnt_value failure;       /* a map, or nil */
  lnt_value attributes;    /* a map of text to text, number or boolean, or nil: what lists search by */
  uint8_t apart;           /* read: bits (1 << LNT__ROW_x) of the values that stand apart: they have their size, and no data */
  uint32_t checksums[LNT__ROW_VALUES]; /* of those */
} lnt__row;

void lnt__row_write(lnt__buf *out, const lnt__row *row); /* not sealed, everything in it */
bool lnt__row_read(lnt__slice sealed, lnt__row *row);    /* slices point into `sealed`; run is not in the value: the caller sets it */

/* Put a row into a batch, and what stands apart from it. *apart: what does so in the store; what will. `changed`: bits of the values that
 * are others than the store has. `scratch` is cleared. false: out of memory. */
bool lnt__row_put(lnt__batch *batch, const lnt__row *row, uint8_t changed, uint8_t *apart, lnt__buf *scratch);

/* Is it a map that may be an instance's attributes, or nil? LNT_EVALUE, LNT_ELIMIT: the message names the attribute. */
lnt_status lnt__attributes_check(lnt_value attributes, lnt_error *err);

/* ---- Keys ---- */

#define LNT__KEY_RUN_BYTES 8
#define LNT__KEY_HISTORY_BYTES 12
#define LNT__KEY_TIMER_BYTES 20
#define LNT__KEY_PAYLOAD_BYTES 16
#define LNT__RECORD_OF_ROW UINT32_MAX /* stands for the record in PAYLOAD keys of what belongs to the row */
/* Value of a TIMER row that is the timeout of a deferred activity; of all others it is empty. */
#define LNT__TIMER_DEFERRED ((const uint8_t[1]){1})
void lnt__key_run(uint8_t out[LNT__KEY_RUN_BYTES], uint64_t run);
void lnt__key_history(uint8_t out[LNT__KEY_HISTORY_BYTES], uint64_t run, uint32_t record);
void lnt__key_timer(uint8_t out[LNT__KEY_TIMER_BYTES], int64_t due_us, uint64_t run, uint32_t seq);
void lnt__key_payload(uint8_t out[LNT__KEY_PAYLOAD_BYTES], uint64_t run, uint32_t record, uint32_t place);
lnt__due lnt__key_timer_read(const uint8_t key[LNT__KEY_TIMER_BYTES]);

/* ---- Attributes: what lists search by ---- */

typedef struct lnt__attribute { lnt_value name, value; } lnt__attribute; /* bytes of the name; an encoded text, number or boolean */
lnt__reader lnt__attributes_of(lnt_value attributes); /* a checked map, or nil */
bool lnt__attributes_next(lnt__reader *reader, lnt__attribute *out);

/* ---- The index: keys are a kind, what is searched for, and the run ---- */

enum { LNT__INDEX_STATUS = 1, LNT__INDEX_PARENT = 2, LNT__INDEX_ATTRIBUTE = 3, LNT__INDEX_OLDER = 4, LNT__INDEX_ERA = 5 };
#define LNT__INDEX_VERSION 1
#define LNT__KEY_INDEX_BYTES_MAX 352 /* an attribute: kind, name with its size, text with its head, run */

/* Each writes the beginning of a key, before the run, and answers its size. */
size_t lnt__index_status(uint8_t out[LNT__KEY_INDEX_BYTES_MAX], lnt_run_status status, lnt_value workflow);
size_t lnt__index_parent(uint8_t out[LNT__KEY_INDEX_BYTES_MAX], uint64_t parent_run);
size_t lnt__index_attribute(uint8_t out[LNT__KEY_INDEX_BYTES_MAX], lnt_value name, lnt_value value);
size_t lnt__index_older(uint8_t out[LNT__KEY_INDEX_BYTES_MAX], lnt_value id); /* runs of the id that are not its newest */
size_t lnt__index_era(uint8_t out[LNT__KEY_INDEX_BYTES_MAX]); /* runs made after the clock was set back: `created` grows between them */
size_t lnt__index_run(uint8_t out[LNT__KEY_INDEX_BYTES_MAX], size_t size, uint64_t run); /* add the run; answers the whole size */

/* Put rows of one instance into a batch, or remove them. false: the batch failed. */
bool lnt__index_write_row(lnt__batch *batch, const lnt__row *row, bool remove); /* status, parent, attributes */
bool lnt__index_write_status(lnt__batch *batch, uint64_t run, lnt_run_status status, lnt_value workflow, bool remove);
bool lnt__index_write_parent(lnt__batch *batch, uint64_t run, uint64_t parent_run, bool remove); /* parent_run 0: nothing */
bool lnt__index_write_attributes(lnt__batch *batch, uint64_t run, lnt_value attributes, bool remove);
bool lnt__index_write_older(lnt__batch *batch, lnt_value id, uint64_t run, bool remove);
bool lnt__index_write_era(lnt__batch *batch, uint64_t run);

bool lnt__index_complete(lnt__store *store);  /* every instance is in the index; not so in a store of before */
bool lnt__index_mark(lnt__batch *batch);      /* say so, with this batch */
lnt_status lnt__index_rebuild(lnt__store *store, lnt_error *err);

/* ---- Reading ---- */

/* Run of the newest generation of `id`. LNT_ENOTFOUND names the id. */
lnt_status lnt__journal_find(lnt__store *store, const char *id, uint64_t *run, lnt_error *err);
/* The same where it is no error that there is none: LNT_ENOTFOUND leaves *err alone. */
lnt_status lnt__journal_look(lnt__store *store, const char *id, uint64_t *run, lnt_error *err);

/* LNT_ECORRUPT: `what` ("the row") of a run is damaged. */
lnt_status lnt__journal_corrupt(lnt_error *err, const char *what, uint64_t run);

/* Row of a run; *memory owns the slices (lnt__free). The outline leaves apart what stands apart. */
lnt_status lnt__journal_row(lnt__store *store, uint64_t run, lnt__row *row, void **memory, lnt_error *err);
lnt_status lnt__journal_row_outline(lnt__store *store, uint64_t run, lnt__row *row, void **memory, lnt_error *err);

/* Slices of an event that stand apart. */
typedef struct lnt__apart_slices {
  uint32_t event;  /* index in the history */
  uint32_t record, place; /* of the event in its record */
  bool wanted;     /* by the next fetch */
} lnt__apart_slices;

/* A history in memory. */
typedef struct lnt__history {
  lnt__event *events;
  size_t count, capacity;
  uint32_t records;      /* = number of the next record */
  uint64_t run, bytes;   /* bytes: with what stands apart */
  lnt__buf memory;       /* what the slices point into */
  lnt__apart_slices *apart;     /* in the order of the events; what was fetched stays in the list */
  size_t apart_count, apart_capacity;
  struct lnt__fetched *fetched; /* memory of what was fetched */
} lnt__history;
void lnt__history_init(lnt__history *history);
void lnt__history_finish(lnt__history *history);
void lnt__history_clear(lnt__history *history); /* keeps its memory, but for what was fetched */
void lnt__history_forget(lnt__history *history); /* free what was fetched: those events may not be looked at any more */
lnt_status lnt__journal_history(lnt__store *store, uint64_t run, lnt__history *out, lnt_error *err);
/* Add to a whole history what may not be in the store yet: record `number` that a batch on its way has, if it has; and one that is still
 * gathered. The slices point into those. false: out of memory. */
bool lnt__history_add_batch(lnt__history *history, const lnt__batch *batch, uint32_t number);
bool lnt__history_add_record(lnt__history *history, const lnt__record *record);

/* The same without what stands apart; then fetch what is needed of it. Fetching again does nothing. LNT_ENOTFOUND: the run was purged
 * since. */
lnt_status lnt__journal_outline(lnt__store *store, uint64_t run, lnt__history *out, lnt_error *err);
lnt_status lnt__history_fetch(lnt__store *store, lnt__history *history, lnt_error *err);                /* what is marked as `wanted` */
lnt_status lnt__history_fetch_all(lnt__store *store, lnt__history *history, lnt_error *err);
lnt_status lnt__history_fetch_kinds(lnt__store *store, lnt__history *history, uint64_t kinds, lnt_error *err); /* bits: LNT__KIND_BIT */
lnt_status lnt__history_fetch_some(lnt__store *store, lnt__history *history, size_t *at, size_t bytes_max,
                                   lnt_error *err); /* from number *at of the list on, about so much; *at goes on */
lnt_status lnt__history_fetch_event(lnt__store *store, lnt__history *history, size_t index, lnt_error *err);

/* What of a single event stands apart, into `memory`, which is cleared first; the event is the `place`th of its record, from 0. */
lnt_status lnt__journal_fetch(lnt__store *store, uint64_t run, uint32_t record, uint32_t place, lnt__event *event, lnt__buf *memory,
                              lnt_error *err);

/* A whole history in steps, of about LNT__HISTORY_STEP_BYTES bytes or LNT__HISTORY_STEP_EVENTS events, never less than a record: first all
 * bytes are gathered, then they are decoded, then what stands apart is fetched. */
enum { LNT__HISTORY_STEP_EVENTS = 2000, LNT__HISTORY_STEP_BYTES = 256 * 1024 };
typedef struct lnt__history_steps {
  uint64_t run;
  uint32_t next_record;
  size_t decoded, gathered; /* bytes: decoded so far; gathered in this step */
  size_t fetched;           /* of history->apart */
  bool is_gathered;
} lnt__history_steps;
void lnt__journal_history_begin(lnt__history *out, lnt__history_steps *steps, uint64_t run);
lnt_status lnt__journal_history_step(lnt__store *store, lnt__history *out, lnt__history_steps *steps, bool *more, lnt_error *err);

/* Time of the newest event of a run; *time_us is left alone if it has none. */
lnt_status lnt__journal_last_time(lnt__store *store, uint64_t run, int64_t *time_us, lnt_error *err);

/* Highest run ever used, and the format check; unless read_only it writes the format into an empty store, and the index where it is
 * missing. */
lnt_status lnt__journal_open(lnt__store *store, bool read_only, uint64_t *last_run, lnt_error *err);

/* The highest run, kept beside the rows: they may be purged, and a number is never used again. false: the batch failed. */
bool lnt__journal_note_last_run(lnt__batch *batch, uint64_t last_run);

/* The record check that the store runs after an unclean end: checksum, shape. */
lnt_status lnt__journal_check(lnt__table table, lnt__slice key, lnt__slice value, lnt_error *err);

/* Failures as values: a map {type, message, retryable[, details]}. */
void lnt__failure_write(lnt__buf *out, const lnt_failure *failure);
void lnt__failure_text(lnt__buf *out, const char *type, const char *message, bool retryable);

#endif
