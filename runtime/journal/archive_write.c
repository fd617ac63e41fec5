/* archive_write.c - puts an instance into a file: which runs belong to it, and one state of all of them. See archive.h. */
#include "base/map.h"
#include "journal/archive.h"

enum { TRIES_MAX = 20 };

/* A run as it was found: enough to see whether it has changed since. */
typedef struct found {
  uint64_t run;
  uint32_t records;
  uint32_t checksum; /* of its row */
  bool is_newest;
} found;

typedef struct family { found *items; size_t count, capacity; lnt__u64map seen; bool failed; } family;

/* Code that the runs mention; must: one that is not finished is on it. */
typedef struct mention { uint8_t hash[LNT__SHA256_BYTES]; bool must; } mention;

typedef struct writer {
  lnt__store *store;
  const lnt__archive_request *request;
  lnt__buf *out;
  lnt__buf section;
  lnt__history history;
  family runs;
  mention *mentions;
  size_t mention_count, mention_capacity;
  lnt_error *err;
} writer;

/* ---- Which runs ---- */

static bool add_run(family *f, uint64_t run, bool is_newest) {
  if (lnt__u64map_get(&f->seen, run)) return true;
  if (f->count >= LNT__ARCHIVE_RUNS_MAX || !lnt__grow((void **)&f->items, &f->capacity, f->count + 1, sizeof *f->items) ||
      !lnt__u64map_put(&f->seen, run, f))
    f->failed = true;
  else f->items[f->count++] = (found){.run = run, .is_newest = is_newest};
  return !f->failed;
}

static void family_finish(family *f) {
  lnt__free(f->items);
  lnt__u64map_finish(&f->seen);
  *f = (family){0};
}

static int take_key(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  if (key.size < LNT__KEY_RUN_BYTES) return 0;
  return !add_run(user, lnt__get_be64((const uint8_t *)key.data + key.size - LNT__KEY_RUN_BYTES), false);
}

static lnt_status add_indexed(writer *w, family *to, const uint8_t *prefix, size_t size) {
  uint8_t end[LNT__KEY_INDEX_BYTES_MAX];
  memcpy(end, prefix, size);
  for (size_t at = size; at > 0 && ++end[at - 1] == 0; at--) continue;
  lnt_status status = w->store->vtable->scan(w->store, LNT__TABLE_INDEX, (lnt__slice){prefix, size}, (lnt__slice){end, size}, false,
                                             take_key, to, w->err);
  if (!status && to->failed)
    status = lnt__fail(w->err, to->count >= LNT__ARCHIVE_RUNS_MAX ? LNT_ELIMIT : LNT_ENOMEM,
                       "the instance has too many runs to be written into one file: at most %d", LNT__ARCHIVE_RUNS_MAX);
  return status;
}

static lnt_status is_newest_run(writer *w, const lnt__row *row, bool *newest) {
  char id[LNT_ID_BYTES_MAX + 1] = "";
  uint64_t run = 0;
  memcpy(id, row->id.data, row->id.size < LNT_ID_BYTES_MAX ? row->id.size : LNT_ID_BYTES_MAX);
  lnt_status status = lnt__journal_find(w->store, id, &run, w->err);
  *newest = !status && run == row->run;
  return status == LNT_ENOTFOUND ? LNT_OK : status;
}

static lnt_status add_children(writer *w, const lnt__row *row) {
  uint8_t prefix[LNT__KEY_INDEX_BYTES_MAX];
  family children = {0};
  lnt_status status = add_indexed(w, &children, prefix, lnt__index_parent(prefix, row->run));
  for (size_t i = 0; i < children.count && !status; i++) {
    lnt__row child;
    void *memory = NULL;
    status = lnt__journal_row_outline(w->store, children.items[i].run, &child, &memory, w->err);
    bool wanted = !status && (w->request->whole || child.closed_us == 0);
    if (wanted && !add_run(&w->runs, child.run, false)) status = LNT_ENOMEM;
    if (status == LNT_ENOTFOUND) status = LNT_OK; /* purged meanwhile: seen by the look that follows */
    lnt__free(memory);
  }
  family_finish(&children);
  return status;
}

static uint32_t last_record_of(lnt__slice key) { return lnt__get_be32((const uint8_t *)key.data + 8); }

static int take_last(void *user, lnt__slice key, lnt__slice value) {
  (void)value;
  if (key.size == LNT__KEY_HISTORY_BYTES) *(uint32_t *)user = last_record_of(key) + 1;
  return 1;
}

static lnt_status count_records(writer *w, uint64_t run, uint32_t *records) {
  uint8_t from[LNT__KEY_HISTORY_BYTES], to[LNT__KEY_HISTORY_BYTES];
  lnt__key_history(from, run, 0);
  lnt__key_history(to, run + 1, 0);
  *records = 0;
  return w->store->vtable->scan(w->store, LNT__TABLE_HISTORY, (lnt__slice){from, sizeof from}, (lnt__slice){to, sizeof to}, true, take_last,
                                records, w->err);
}

/* The run at `at` of the list, and those that come with it. */
static lnt_status look_at(writer *w, size_t at) {
  uint8_t prefix[LNT__KEY_INDEX_BYTES_MAX];
  lnt__row row;
  uint8_t key[LNT__KEY_RUN_BYTES];
  void *memory = NULL;
  size_t size = 0;
  lnt__key_run(key, w->runs.items[at].run);
  lnt_status status = w->store->vtable->get(w->store, LNT__TABLE_INSTANCE, key, sizeof key, &memory, &size, w->err);
  if (status == LNT_ENOTFOUND) return lnt__fail(w->err, status, "there is no run %llu", (unsigned long long)w->runs.items[at].run);
  if (!status && !lnt__row_read((lnt__slice){memory, size}, &row))
    status = lnt__fail(w->err, LNT_ECORRUPT, "the row of run %llu: the checksum or the shape is wrong; restore the directory from a copy",
                       (unsigned long long)w->runs.items[at].run);
  if (!status) {
    row.run = w->runs.items[at].run;
    w->runs.items[at].checksum = lnt__checksum(memory, size);
    status = count_records(w, row.run, &w->runs.items[at].records);
  }
  if (!status) status = is_newest_run(w, &row, &w->runs.items[at].is_newest);
  if (!status && w->request->whole && w->runs.items[at].is_newest)
    status = add_indexed(w, &w->runs, prefix, lnt__index_older(prefix, row.id));
  if (!status) status = add_children(w, &row);
  lnt__free(memory);
  return status;
}

static lnt_status gather(writer *w) {
  lnt_status status = add_run(&w->runs, w->request->run, false) ? LNT_OK : LNT_ENOMEM;
  for (size_t i = 0; i < w->runs.count && !status; i++) status = look_at(w, i);
  if (status == LNT_ENOMEM) lnt__fail(w->err, status, "out of memory while an instance was exported");
  return status;
}

/* ---- Sections ---- */

static void begin_section(writer *w) { lnt__buf_clear(&w->section); }

static void end_section(writer *w, lnt__archive_section kind) {
  lnt__buf_u8(w->out, (uint8_t)kind);
  lnt__buf_bytes(w->out, w->section.data, w->section.size);
  w->out->failed = w->out->failed || w->section.failed;
}

static void write_head(lnt__buf *out, uint64_t size) {
  uint8_t head[LNT__ARCHIVE_HEAD_BYTES];
  memcpy(head, LNT__ARCHIVE_MAGIC, LNT__ARCHIVE_MAGIC_BYTES);
  lnt__put_be32(head + 8, LNT__ARCHIVE_FORMAT);
  lnt__put_be64(head + 12, size);
  lnt__put_be32(head + 20, lnt__checksum(head, 20));
  if (size == 0) lnt__buf_append(out, head, sizeof head);
  else if (!out->failed) memcpy(out->data, head, sizeof head);
}

static void write_about(writer *w) {
  lnt__cbor_map map;
  begin_section(w);
  lnt__cbor_map_begin(&w->section, &map);
  lnt__cbor_cstring(&w->section, "library");
  lnt__cbor_cstring(&w->section, LNT_VERSION_STRING);
  lnt__cbor_cstring(&w->section, "journal_format");
  lnt__cbor_int(&w->section, LNT__FORMAT_VERSION);
  lnt__cbor_cstring(&w->section, "exported_us");
  lnt__cbor_int(&w->section, w->request->now_us);
  if (w->request->engine) {
    lnt__cbor_cstring(&w->section, "engine");
    lnt__cbor_cstring(&w->section, w->request->engine);
  }
  lnt__cbor_map_end(&w->section, &map, w->request->engine ? 4 : 3, false);
  end_section(w, LNT__ARCHIVE_SECTION_ABOUT);
}

static void note_hash(writer *w, const uint8_t *hash, bool must) {
  for (size_t i = 0; i < w->mention_count; i++) {
    if (memcmp(w->mentions[i].hash, hash, LNT__SHA256_BYTES) != 0) continue;
    w->mentions[i].must = w->mentions[i].must || must;
    return;
  }
  if (!lnt__grow((void **)&w->mentions, &w->mention_capacity, w->mention_count + 1, sizeof *w->mentions)) {
    w->out->failed = true;
    return;
  }
  mention *added = &w->mentions[w->mention_count++];
  memcpy(added->hash, hash, sizeof added->hash);
  added->must = must;
}

/* Code that only an earlier part of a history ran on may have been collected; that of a run itself is there. */
static lnt_status write_code(writer *w, const uint8_t *hash, bool must) {
  char hex[2 * LNT__SHA256_BYTES + 1];
  void *sealed = NULL;
  size_t size = 0;
  lnt__slice bundle;
  lnt__hex(hash, LNT__SHA256_BYTES, hex);
  lnt_status status = w->store->vtable->get(w->store, LNT__TABLE_CODE, hash, LNT__SHA256_BYTES, &sealed, &size, w->err);
  if (status == LNT_ENOTFOUND && !must) return LNT_OK;
  if (status == LNT_ENOTFOUND) return lnt__fail(w->err, status, "the store has no code %.12s, which the instance runs on", hex);
  if (!status && !lnt__unseal((lnt__slice){sealed, size}, &bundle))
    status = lnt__fail(w->err, LNT_ECORRUPT, "the stored code %.12s has a wrong checksum; restore the data directory from a copy", hex);
  if (!status) {
    begin_section(w);
    lnt__buf_append(&w->section, hash, LNT__SHA256_BYTES);
    lnt__buf_bytes(&w->section, bundle.data, bundle.size);
    end_section(w, LNT__ARCHIVE_SECTION_CODE);
  }
  lnt__free(sealed);
  return status;
}

static lnt_status read_active(writer *w, uint64_t run, lnt__archive_active *active, uint32_t *waiting) {
  uint8_t key[LNT__KEY_RUN_BYTES];
  void *value = NULL;
  size_t size = 0;
  lnt__key_run(key, run);
  *active = LNT__ARCHIVE_IDLE;
  *waiting = 0;
  lnt_status status = w->store->vtable->get(w->store, LNT__TABLE_ACTIVE, key, sizeof key, &value, &size, w->err);
  if (status == LNT_ENOTFOUND) return LNT_OK;
  if (!status) *active = size == 4 ? LNT__ARCHIVE_FULL : LNT__ARCHIVE_ACTIVE;
  if (!status && size == 4) *waiting = lnt__get_be32(value);
  lnt__free(value);
  return status;
}

/* The row, with every value in place, and the code that the run is on. */
static lnt_status write_row(writer *w, const found *one) {
  lnt__archive_active active;
  uint32_t waiting;
  void *memory = NULL;
  lnt__buf sealed;
  lnt__row row;
  lnt__buf_init(&sealed);
  lnt_status status = read_active(w, one->run, &active, &waiting);
  if (!status) status = lnt__journal_row(w->store, one->run, &row, &memory, w->err);
  if (!status) {
    lnt__row_write(&sealed, &row);
    lnt__seal(&sealed);
    w->out->failed = w->out->failed || sealed.failed;
    begin_section(w);
    lnt__buf_varint(&w->section, one->run);
    lnt__buf_u8(&w->section, one->is_newest);
    lnt__buf_u8(&w->section, (uint8_t)active);
    lnt__buf_varint(&w->section, waiting);
    lnt__buf_bytes(&w->section, sealed.data, sealed.size);
    end_section(w, LNT__ARCHIVE_SECTION_RUN);
    note_hash(w, row.hash, row.closed_us == 0);
  }
  lnt__buf_finish(&sealed);
  lnt__free(memory);
  return status;
}

static void write_events(writer *w) {
  int64_t last_us = 0;
  begin_section(w);
  for (size_t i = 0; i < w->history.count; i++) {
    lnt__event_write(&w->section, &last_us, &w->history.events[i]);
    if (w->history.events[i].hash.size) note_hash(w, w->history.events[i].hash.data, false);
    if (w->section.size < LNT__ARCHIVE_CHUNK_BYTES && i + 1 < w->history.count) continue;
    end_section(w, LNT__ARCHIVE_SECTION_EVENTS);
    begin_section(w);
    last_us = 0;
  }
}

/* Of all that ever had a time, those whose row stands. */
static lnt_status write_timers(writer *w, uint64_t run) {
  lnt_status status = LNT_OK;
  for (size_t i = 0; i < w->history.count && !status; i++) {
    const lnt__event *event = &w->history.events[i];
    bool may = event->kind == LNT_EVENT_STARTED || event->kind == LNT_EVENT_ACTIVITY_DEFERRED || lnt__event_is_command(event->kind);
    uint8_t key[LNT__KEY_TIMER_BYTES];
    void *value = NULL;
    size_t size = 0;
    if (!may || !event->due_us) continue;
    lnt__key_timer(key, event->due_us, run, event->seq);
    status = w->store->vtable->get(w->store, LNT__TABLE_TIMER, key, sizeof key, &value, &size, w->err);
    lnt__free(value);
    if (status == LNT_ENOTFOUND) {
      status = LNT_OK;
      continue;
    }
    begin_section(w);
    lnt__buf_zigzag(&w->section, event->due_us);
    lnt__buf_varint(&w->section, event->seq);
    lnt__buf_u8(&w->section, size != 0);
    end_section(w, LNT__ARCHIVE_SECTION_TIMER);
  }
  return status;
}

static int write_beat(void *user, lnt__slice key, lnt__slice value) {
  writer *w = user;
  lnt__slice details;
  if (key.size != LNT__KEY_HISTORY_BYTES || !lnt__unseal(value, &details)) return 0;
  begin_section(w);
  lnt__buf_varint(&w->section, lnt__get_be32((const uint8_t *)key.data + 8));
  lnt__buf_bytes(&w->section, details.data, details.size);
  end_section(w, LNT__ARCHIVE_SECTION_BEAT);
  return w->out->failed;
}

static lnt_status write_beats(writer *w, uint64_t run) {
  uint8_t from[LNT__KEY_HISTORY_BYTES], to[LNT__KEY_HISTORY_BYTES];
  lnt__key_history(from, run, 0);
  lnt__key_history(to, run + 1, 0);
  return w->store->vtable->scan(w->store, LNT__TABLE_HEARTBEAT, (lnt__slice){from, sizeof from}, (lnt__slice){to, sizeof to}, false,
                                write_beat, w, w->err);
}

static lnt_status write_run(writer *w, const found *one) {
  lnt_status status = lnt__journal_history(w->store, one->run, &w->history, w->err);
  if (!status) status = write_row(w, one);
  if (status) return status;
  write_events(w);
  status = write_timers(w, one->run);
  if (!status) status = write_beats(w, one->run);
  if (!status && w->out->size > w->request->bytes_max)
    status = lnt__fail(w->err, LNT_ELIMIT, "the file would be larger than %zu bytes; export less of the instance", w->request->bytes_max);
  return status;
}

static lnt_status write_codes(writer *w) {
  lnt_status status = LNT_OK;
  for (size_t i = 0; i < w->mention_count && !status; i++) status = write_code(w, w->mentions[i].hash, w->mentions[i].must);
  return status;
}

static void write_end(writer *w) {
  uint8_t digest[LNT__SHA256_BYTES];
  lnt__sha256 sha;
  write_head(w->out, w->out->size + sizeof digest);
  lnt__sha256_init(&sha);
  lnt__sha256_add(&sha, w->out->data, w->out->size);
  lnt__sha256_end(&sha, digest);
  lnt__buf_append(w->out, digest, sizeof digest);
}

/* ---- One state of all ---- */

static lnt_status write_once(writer *w) {
  lnt__buf_clear(w->out);
  w->mention_count = 0;
  write_head(w->out, 0);
  write_about(w);
  lnt_status status = LNT_OK;
  for (size_t i = 0; i < w->runs.count && !status; i++) status = write_run(w, &w->runs.items[i]);
  if (!status) status = write_codes(w);
  return status;
}

static bool same_family(const family *a, const family *b) {
  if (a->count != b->count) return false;
  for (size_t i = 0; i < a->count; i++) {
    const found *x = &a->items[i], *y = &b->items[i];
    if (x->run != y->run || x->records != y->records || x->checksum != y->checksum || x->is_newest != y->is_newest) return false;
  }
  return true;
}

/* The runs are looked at, written, and looked at again: if each is as it was, all of them were so at the moment between writing and the
 * second look. */
static lnt_status try_to_write(writer *w, bool *changed) {
  lnt_status status = gather(w);
  if (!status) status = write_once(w);
  family before = w->runs;
  w->runs = (family){0};
  lnt_status again = status && status != LNT_ENOTFOUND && status != LNT_EAGAIN ? status : gather(w);
  *changed = !again && !same_family(&before, &w->runs);
  family_finish(&before);
  if (again) return again;
  return *changed ? LNT_OK : status;
}

lnt_status lnt__archive_write(lnt__store *store, const lnt__archive_request *request, lnt__buf *out, lnt_error *err) {
  lnt_error mine = {LNT_OK, ""};
  writer w = {.store = store, .request = request, .out = out, .err = &mine};
  lnt_status status = LNT_OK;
  bool changed = true;
  lnt__buf_init(&w.section);
  lnt__history_init(&w.history);
  for (int tries = 0; changed && !status && tries < TRIES_MAX; tries++) {
    family_finish(&w.runs);
    status = try_to_write(&w, &changed);
  }
  if (!status && changed)
    status = lnt__fail(&mine, LNT_EAGAIN, "the instance changes faster than it can be read; suspend it first, or try again");
  if (!status) write_end(&w);
  if (!status && out->failed) status = lnt__fail(&mine, LNT_ENOMEM, "out of memory while an instance was exported");
  if (status && err) *err = mine;
  lnt__history_finish(&w.history);
  lnt__buf_finish(&w.section);
  family_finish(&w.runs);
  lnt__free(w.mentions);
  return status;
}
