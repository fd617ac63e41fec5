/* archive_read.c - reads the file that archive_write.c made, and believes nothing of it. See archive.h. Any thread. */
#include <stdio.h>

#include "base/map.h"
#include "journal/archive.h"

static lnt_status damaged(lnt_error *err, const char *what) {
  return lnt__fail(err, LNT_ECORRUPT, "the file is damaged: %s; export the instance again", what);
}

static lnt_status no_memory(lnt_error *err) { return lnt__fail(err, LNT_ENOMEM, "out of memory while an export was read"); }

/* ---- The file as a whole ---- */

static lnt_status check_size(uint64_t says, size_t size, lnt_error *err) {
  if (says > size)
    return lnt__fail(err, LNT_ECORRUPT, "the file is cut off: it has %zu bytes of %llu", size, (unsigned long long)says);
  return says == size ? LNT_OK : lnt__fail(err, LNT_ECORRUPT, "the file has %zu bytes more than it should", (size_t)(size - says));
}

static lnt_status check_head(const uint8_t *data, size_t size, lnt_error *err) {
  if (size < LNT__ARCHIVE_MAGIC_BYTES || memcmp(data, LNT__ARCHIVE_MAGIC, LNT__ARCHIVE_MAGIC_BYTES) != 0)
    return lnt__fail(err, LNT_ENOTOURS, "the file is not an instance that Lunation exported");
  if (size < LNT__ARCHIVE_HEAD_BYTES) return lnt__fail(err, LNT_ECORRUPT, "the file is cut off: it has %zu bytes", size);
  if (lnt__checksum(data, 20) != lnt__get_be32(data + 20)) return damaged(err, "its head has a wrong checksum");
  uint32_t format = lnt__get_be32(data + 8);
  if (format > LNT__ARCHIVE_FORMAT)
    return lnt__fail(err, LNT_EVERSION, "the file has export format %u; this library knows formats up to %d: use a newer Lunation", format,
                     LNT__ARCHIVE_FORMAT);
  return check_size(lnt__get_be64(data + 12), size, err);
}

static lnt_status check_digest(const uint8_t *data, size_t size, lnt_error *err) {
  uint8_t digest[LNT__SHA256_BYTES];
  lnt__sha256 sha;
  if (size < LNT__ARCHIVE_HEAD_BYTES + LNT__SHA256_BYTES) return damaged(err, "it is too short");
  lnt__sha256_init(&sha);
  lnt__sha256_add(&sha, data, size - LNT__SHA256_BYTES);
  lnt__sha256_end(&sha, digest);
  return memcmp(digest, data + size - LNT__SHA256_BYTES, sizeof digest) == 0 ? LNT_OK : damaged(err, "its checksum is wrong");
}

/* ---- Values ---- */

static lnt_status check_value(lnt_value value, lnt_error *err) {
  return lnt__cbor_check(value, NULL) ? damaged(err, "a value in it is not in its one form") : LNT_OK;
}

static lnt_status check_text(const char *what, lnt_value text, size_t max, bool slash, lnt_error *err) {
  char copy[LNT_ID_BYTES_MAX + LNT_NAME_BYTES_MAX + 1];
  if (text.size > max) return damaged(err, "a name in it is too long");
  if (text.size) memcpy(copy, text.data, text.size);
  copy[text.size] = 0;
  bool good = strlen(copy) == text.size && lnt__check_name(what, copy, max, slash, NULL) == LNT_OK;
  return good ? LNT_OK : damaged(err, "an id or a name in it is not valid");
}

/* ---- Sections ---- */

typedef struct parse {
  lnt__archive *out;
  lnt__u64map runs;      /* run -> itself */
  lnt__archive_run *run; /* the last one */
  uint32_t commands;     /* of the last one, so far */
  bool ended;            /* it has an event that closes it */
  lnt_error *err;
} parse;

static lnt_status take_about(parse *p, lnt__reader section) {
  p->out->about = (lnt_value){section.at, (size_t)(section.end - section.at)};
  return check_value(p->out->about, p->err);
}

static lnt_status take_code(parse *p, lnt__reader section) {
  lnt__archive *out = p->out;
  uint8_t hash[LNT__SHA256_BYTES];
  lnt__archive_code code = {.hash = section.at};
  lnt__sha256 sha;
  if ((size_t)(section.end - section.at) < LNT__SHA256_BYTES) return damaged(p->err, "a section is too short");
  section.at += LNT__SHA256_BYTES;
  code.bundle = lnt__read_bytes(&section);
  if (section.failed || section.at != section.end) return damaged(p->err, "a section of code has a wrong shape");
  lnt__sha256_init(&sha);
  lnt__sha256_add(&sha, code.bundle.data, code.bundle.size);
  lnt__sha256_end(&sha, hash);
  if (memcmp(hash, code.hash, sizeof hash) != 0) return damaged(p->err, "code in it does not have its hash");
  if (!lnt__grow((void **)&out->codes, &out->code_capacity, out->code_count + 1, sizeof *out->codes)) return no_memory(p->err);
  out->codes[out->code_count++] = code;
  return check_value(code.bundle, p->err);
}

static bool is_closed(lnt_run_status status) {
  return status == LNT_RUN_COMPLETED || status == LNT_RUN_FAILED || status == LNT_RUN_TERMINATED || status == LNT_RUN_CANCELED ||
         status == LNT_RUN_CONTINUED_AS_NEW;
}

static lnt_status check_row(const lnt__row *row, lnt_error *err) {
  lnt_status status = check_text("instance id", row->id, LNT_ID_BYTES_MAX, false, err);
  if (!status) status = check_text("workflow name", row->workflow, LNT_NAME_BYTES_MAX, true, err);
  if (!status) status = check_value(row->custom_status, err);
  if (!status) status = check_value(row->failure, err);
  if (!status) status = check_value(row->attributes, err);
  if (!status && lnt__attributes_check(row->attributes, NULL)) status = damaged(err, "attributes in it are not valid");
  if (!status && (row->run == 0 || row->run > INT64_MAX || row->generation == 0 || is_closed(row->status) != (row->closed_us != 0)))
    status = damaged(err, "a row has a wrong shape");
  return status;
}

/* Of the run before: does its history say what its row says? */
static lnt_status end_run(parse *p) {
  if (!p->run) return LNT_OK;
  if (p->run->event_count == 0) return damaged(p->err, "a run has no history");
  return p->ended == is_closed(p->run->row.status) ? LNT_OK : damaged(p->err, "a row says something else than its history");
}

static lnt_status take_run(parse *p, lnt__reader section) {
  lnt__archive *out = p->out;
  lnt__archive_run run = {.event_at = out->event_count, .timer_at = out->timer_count, .beat_at = out->beat_count};
  lnt_status status = end_run(p);
  if (status) return status;
  uint64_t number = lnt__read_varint(&section);
  uint8_t newest = lnt__read_u8(&section), active = lnt__read_u8(&section);
  uint64_t waiting = lnt__read_varint(&section);
  lnt_value row = lnt__read_bytes(&section);
  bool good = !section.failed && section.at == section.end && newest <= 1 && active < LNT__ARCHIVE_ACTIVES && waiting <= UINT32_MAX &&
              lnt__row_read((lnt__slice){row.data, row.size}, &run.row) && !run.row.apart;
  if (!good) return damaged(p->err, "a section of a run has a wrong shape");
  run.row.run = number;
  run.is_newest = newest;
  run.active = (lnt__archive_active)active;
  run.waiting = (uint32_t)waiting;
  status = check_row(&run.row, p->err);
  if (status) return status;
  if (out->run_count >= LNT__ARCHIVE_RUNS_MAX || lnt__u64map_get(&p->runs, number)) return damaged(p->err, "a run stands in it twice");
  if (!lnt__grow((void **)&out->runs, &out->run_capacity, out->run_count + 1, sizeof *out->runs) ||
      !lnt__u64map_put(&p->runs, number, p))
    return no_memory(p->err);
  out->runs[out->run_count++] = run;
  p->run = &out->runs[out->run_count - 1];
  p->commands = 0;
  p->ended = false;
  return LNT_OK;
}

/* The numbers that the engine takes for places. */
static bool is_in_order(parse *p, const lnt__event *event) {
  bool first = p->run->event_count == 0;
  if (p->ended || (event->kind == LNT_EVENT_STARTED) != first) return false;
  lnt_value workflow = p->run->row.workflow;
  if (first && (event->name.size != workflow.size || memcmp(event->name.data, workflow.data, workflow.size) != 0)) return false;
  if (lnt__event_is_command(event->kind)) return event->seq == ++p->commands;
  p->ended = lnt__event_is_end(event->kind);
  return event->kind == LNT_EVENT_FORKED || event->seq <= p->commands;
}

static lnt_status check_event(const lnt__event *event, lnt_error *err) {
  lnt_status status = check_value(event->value, err);
  if (!status) status = check_value(event->options, err);
  if (!status && event->name.size) status = check_text("name", event->name, LNT_NAME_BYTES_MAX, true, err);
  if (!status && event->id.size) status = check_text("instance id", event->id, LNT_ID_BYTES_MAX, false, err);
  return status;
}

static lnt_status take_events(parse *p, lnt__reader section) {
  lnt__archive *out = p->out;
  int64_t last_us = 0;
  lnt_status status = LNT_OK;
  while (!status && section.at < section.end) {
    lnt__event event;
    if (!lnt__event_read(&section, &last_us, &event) || event.apart || !is_in_order(p, &event))
      return damaged(p->err, "an event has a wrong shape");
    status = check_event(&event, p->err);
    if (!status && !lnt__grow((void **)&out->events, &out->event_capacity, out->event_count + 1, sizeof *out->events))
      status = no_memory(p->err);
    if (status) break;
    out->events[out->event_count++] = event;
    p->run->event_count++;
  }
  return status;
}

static lnt_status take_timer(parse *p, lnt__reader section) {
  lnt__archive *out = p->out;
  lnt__archive_timer timer = {.due_us = lnt__read_zigzag(&section)};
  uint64_t seq = lnt__read_varint(&section);
  uint8_t kind = lnt__read_u8(&section);
  if (section.failed || section.at != section.end || seq > p->commands || kind > 1) return damaged(p->err, "a timer has a wrong shape");
  timer.seq = (uint32_t)seq;
  timer.deferred = kind;
  if (!lnt__grow((void **)&out->timers, &out->timer_capacity, out->timer_count + 1, sizeof *out->timers)) return no_memory(p->err);
  out->timers[out->timer_count++] = timer;
  p->run->timer_count++;
  return LNT_OK;
}

static lnt_status take_beat(parse *p, lnt__reader section) {
  lnt__archive *out = p->out;
  uint64_t seq = lnt__read_varint(&section);
  lnt__archive_beat beat = {(uint32_t)seq, lnt__read_bytes(&section)};
  if (section.failed || section.at != section.end || seq > p->commands) return damaged(p->err, "a heartbeat has a wrong shape");
  if (!lnt__grow((void **)&out->beats, &out->beat_capacity, out->beat_count + 1, sizeof *out->beats)) return no_memory(p->err);
  out->beats[out->beat_count++] = beat;
  p->run->beat_count++;
  return check_value(beat.details, p->err);
}

static lnt_status take_sections(parse *p, lnt__reader file) {
  static const struct { lnt_status (*take)(parse *, lnt__reader); bool of_a_run; } kinds[] = {
      [LNT__ARCHIVE_SECTION_ABOUT] = {take_about, false}, [LNT__ARCHIVE_SECTION_CODE] = {take_code, false},
      [LNT__ARCHIVE_SECTION_RUN] = {take_run, false},     [LNT__ARCHIVE_SECTION_EVENTS] = {take_events, true},
      [LNT__ARCHIVE_SECTION_TIMER] = {take_timer, true},  [LNT__ARCHIVE_SECTION_BEAT] = {take_beat, true},
  };
  lnt_status status = LNT_OK;
  while (!status && file.at < file.end) {
    uint8_t kind = lnt__read_u8(&file);
    lnt_value section = lnt__read_bytes(&file);
    bool known = kind < LNT__COUNT(kinds) && kinds[kind].take && (p->run || !kinds[kind].of_a_run);
    if (file.failed || !known) return damaged(p->err, "a section is cut off, or of a kind that nobody knows");
    status = kinds[kind].take(p, lnt__reader_of(section.data, section.size));
  }
  return status ? status : end_run(p);
}

/* ---- The whole ---- */

lnt_status lnt__archive_read(const void *data, size_t size, lnt__archive *out, lnt_error *err) {
  const uint8_t *bytes = data;
  parse p = {.out = out, .err = err};
  memset(out, 0, sizeof *out);
  lnt_status status = check_head(bytes, size, err);
  if (!status) status = check_digest(bytes, size, err);
  if (status) return status;
  status = take_sections(&p, lnt__reader_of(bytes + LNT__ARCHIVE_HEAD_BYTES, size - LNT__ARCHIVE_HEAD_BYTES - LNT__SHA256_BYTES));
  if (!status && out->run_count == 0) status = damaged(err, "there is no instance in it");
  lnt__u64map_finish(&p.runs);
  if (status) lnt__archive_finish(out);
  return status;
}

void lnt__archive_finish(lnt__archive *archive) {
  lnt__free(archive->codes);
  lnt__free(archive->runs);
  lnt__free(archive->events);
  lnt__free(archive->timers);
  lnt__free(archive->beats);
  memset(archive, 0, sizeof *archive);
}

void lnt__archive_file_finish(lnt__archive_file *file) {
  lnt__archive_finish(&file->archive);
  lnt__free(file->bytes);
  file->bytes = NULL;
}

const lnt__archive_code *lnt__archive_code_of(const lnt__archive *archive, const uint8_t *hash) {
  for (size_t i = 0; i < archive->code_count; i++)
    if (memcmp(archive->codes[i].hash, hash, LNT__SHA256_BYTES) == 0) return &archive->codes[i];
  return NULL;
}

const lnt__archive_run *lnt__archive_run_of(const lnt__archive *archive, uint64_t run) {
  for (size_t i = 0; i < archive->run_count; i++)
    if (archive->runs[i].row.run == run) return &archive->runs[i];
  return NULL;
}
