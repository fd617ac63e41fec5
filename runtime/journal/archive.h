/* archive.h - an instance in one file: its runs, their histories, what is due, and the code that made them. ARCHIVE.md tells the bytes.
 *
 * Written from a store, of which nothing is changed; read into memory and checked whole before anything is done with it. Owner thread;
 * reading: any thread. */
#ifndef LNT__ARCHIVE_H
#define LNT__ARCHIVE_H

#include "journal/journal.h"

#define LNT__ARCHIVE_FORMAT 1
#define LNT__ARCHIVE_RUNS_MAX 100000

/* ---- Writing ---- */

typedef struct lnt__archive_request {
  uint64_t run;       /* the one that is asked for; it stands first */
  bool whole;         /* older runs of its id and every child, theirs and so on, too; else only children that are not finished */
  const char *engine; /* fingerprint of the interpreter, or NULL: not known (a reader) */
  int64_t now_us;
  size_t bytes_max;
} lnt__archive_request;

/* Append the file to `out`. One state of all runs is written, though the owner of the store may go on beside: LNT_EAGAIN when they change
 * faster than they can be read. LNT_ENOTFOUND (a run, the code of one), LNT_ELIMIT, LNT_EIO, LNT_ECORRUPT, LNT_ENOMEM. */
lnt_status lnt__archive_write(lnt__store *store, const lnt__archive_request *request, lnt__buf *out, lnt_error *err);

/* ---- Reading ---- */

typedef struct lnt__archive_code { const uint8_t *hash; lnt_value bundle; } lnt__archive_code;
typedef struct lnt__archive_timer { int64_t due_us; uint32_t seq; bool deferred; } lnt__archive_timer;
typedef struct lnt__archive_beat { uint32_t seq; lnt_value details; } lnt__archive_beat;

/* What ACTIVE says of a run. */
typedef enum lnt__archive_active { LNT__ARCHIVE_IDLE, LNT__ARCHIVE_ACTIVE, LNT__ARCHIVE_FULL, LNT__ARCHIVE_ACTIVES } lnt__archive_active;

typedef struct lnt__archive_run {
  lnt__row row;       /* its run is that of the store it came from */
  bool is_newest;     /* of its id */
  lnt__archive_active active;
  uint32_t waiting;   /* LNT__ARCHIVE_FULL: events that nobody has waited for */
  size_t event_at, event_count;
  size_t timer_at, timer_count;
  size_t beat_at, beat_count;
} lnt__archive_run;

/* Slices point into the bytes that were read. */
typedef struct lnt__archive {
  lnt_value about; /* a map {library, engine, journal_format, exported_us} */
  lnt__archive_code *codes;
  lnt__archive_run *runs;
  lnt__event *events;
  lnt__archive_timer *timers;
  lnt__archive_beat *beats;
  size_t code_count, code_capacity, run_count, run_capacity, event_count, event_capacity, timer_count, timer_capacity, beat_count,
      beat_capacity;
} lnt__archive;

/* Check every byte and every value. On success the archive is released with lnt__archive_finish(); `data` must outlive it.
 * LNT_ENOTOURS, LNT_EVERSION (of a newer format), LNT_ECORRUPT (cut off, damaged, of a wrong shape: the message tells), LNT_ENOMEM. */
lnt_status lnt__archive_read(const void *data, size_t size, lnt__archive *out, lnt_error *err);
void lnt__archive_finish(lnt__archive *archive);

/* An archive with the bytes that it stands on. Released with lnt__archive_file_finish(), also one that was zero-initialised. */
typedef struct lnt__archive_file { void *bytes; lnt__archive archive; } lnt__archive_file;
void lnt__archive_file_finish(lnt__archive_file *file);

const lnt__archive_code *lnt__archive_code_of(const lnt__archive *archive, const uint8_t *hash); /* NULL: it is not there */
const lnt__archive_run *lnt__archive_run_of(const lnt__archive *archive, uint64_t run);

/* The parts that both sides know. */
#define LNT__ARCHIVE_MAGIC "\x89LNTRUN\n"
enum {
  LNT__ARCHIVE_MAGIC_BYTES = 8,
  LNT__ARCHIVE_HEAD_BYTES = 24, /* magic, u32 format, u64 size of the file, u32 checksum of these */
  LNT__ARCHIVE_CHUNK_BYTES = 256 << 10, /* of a section of events, about */
};
typedef enum lnt__archive_section {
  LNT__ARCHIVE_SECTION_ABOUT = 1,
  LNT__ARCHIVE_SECTION_CODE = 2,
  LNT__ARCHIVE_SECTION_RUN = 3,
  LNT__ARCHIVE_SECTION_EVENTS = 4, /* of the run before, as the next two */
  LNT__ARCHIVE_SECTION_TIMER = 5,
  LNT__ARCHIVE_SECTION_BEAT = 6,
} lnt__archive_section;

#endif
