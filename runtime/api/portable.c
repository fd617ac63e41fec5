/* portable.c - instances in files: lnt_export, lnt_import; and lnt_replay, which makes a runtime in memory of its own. Owner thread. */
#include "api/instance.h"
#include "driver/reload.h"

/* ---- Export ---- */

void lnt_export_options_init(lnt_export_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

static lnt_status find_run(lnt_runtime *rt, const char *id, uint64_t *run, lnt_error *err) {
  lnt__row row;
  void *memory = NULL;
  lnt_status status = lnt__enter(rt, 0, err);
  if (!status) status = lnt__check_name("instance id", id, LNT_ID_BYTES_MAX, false, err);
  if (status || *run == 0) return status ? status : lnt__journal_find(rt->store, id, run, err);
  status = lnt__journal_row_outline(rt->store, *run, &row, &memory, err);
  if (!status && (row.id.size != strlen(id) || memcmp(row.id.data, id, row.id.size) != 0))
    status = lnt__fail(err, LNT_ENOTFOUND, "run %llu is not one of instance '%s'", (unsigned long long)*run, id);
  lnt__free(memory);
  return status;
}

static lnt_status export_to(lnt_runtime *rt, const char *id, const lnt_export_options *from, lnt__buf *out, lnt_error *err) {
  lnt_export_options options;
  lnt_export_options_init(&options);
  if (from && from->size < sizeof from->size)
    return lnt__fail(err, LNT_EINVAL, "lnt_export: options.size is not set; call lnt_export_options_init() first");
  if (from) memcpy(&options, from, from->size < sizeof options ? from->size : sizeof options);
  lnt_status status = find_run(rt, id, &options.run, err);
  return status ? status : lnt__export_run(rt, options.run, options.whole != 0, out, err);
}

lnt_status lnt_export(lnt_runtime *rt, const char *id, const lnt_export_options *options, const char *path, lnt_error *err) {
  lnt__buf out;
  if (!path || !*path) return lnt__fail(err, LNT_EINVAL, "lnt_export: the path is missing");
  lnt__buf_init(&out);
  lnt_status status = export_to(rt, id, options, &out, err);
  if (!status) status = lnt__write_file(path, out.data, out.size, err);
  lnt__buf_finish(&out);
  return status;
}

lnt_status lnt_export_data(lnt_runtime *rt, const char *id, const lnt_export_options *options, void **data, size_t *size, lnt_error *err) {
  lnt__buf out;
  if (!data || !size) return lnt__fail(err, LNT_EINVAL, "lnt_export_data: there is no place for the bytes (NULL)");
  lnt__buf_init(&out);
  lnt_status status = export_to(rt, id, options, &out, err);
  if (!status) *data = lnt__buf_detach(&out, size);
  lnt__buf_finish(&out);
  return status;
}

/* ---- Files ---- */

/* The file at `path`, or a given piece of memory; `keeps`: a copy of that. */
static lnt_status read_input(const char *path, lnt_value given, bool keeps, lnt__archive_file *in, lnt_error *err) {
  char *bytes = NULL;
  size_t size = given.size;
  *in = (lnt__archive_file){0};
  if (!path && !given.data) return lnt__fail(err, LNT_EINVAL, "a path or the bytes of an export are needed");
  lnt_status status = path ? lnt__read_file(path, LNT_EXPORT_BYTES_MAX, &bytes, &size, err) : LNT_OK;
  if (status) return status;
  if (size > LNT_EXPORT_BYTES_MAX) return lnt__fail(err, LNT_ELIMIT, "the export has %zu bytes; at most %zu", size, LNT_EXPORT_BYTES_MAX);
  if (!path && keeps) bytes = lnt__strndup(given.data, size);
  if (!path && keeps && !bytes) return lnt__fail(err, LNT_ENOMEM, "out of memory while an export was read");
  in->bytes = bytes;
  status = lnt__archive_read(bytes ? bytes : given.data, size, &in->archive, err);
  return status && path ? lnt__fail_prefix(err, status, "%s", path) : status;
}

/* ---- Import ---- */

void lnt_import_options_init(lnt_import_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

static lnt_status take_import(lnt_runtime *rt, const lnt_import_options *from, lnt_import_options *to, lnt_error *err) {
  lnt_import_options_init(to);
  if (!from || from->size < sizeof from->size)
    return lnt__fail(err, LNT_EINVAL, "lnt_import: options.size is not set; call lnt_import_options_init() first");
  memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
  lnt_status status = lnt__enter(rt, to->done ? LNT__WRITES : LNT__WRITES | LNT__DRIVES, err);
  if (!status && to->new_id) status = lnt__check_name("new instance id", to->new_id, LNT_ID_BYTES_MAX, false, err);
  return status;
}

lnt_status lnt_import(lnt_runtime *rt, const lnt_import_options *from, lnt_import_result *result, lnt_error *err) {
  lnt_import_options options;
  lnt_import_result mine;
  lnt__archive_file in;
  lnt_error ours;
  if (!err) err = &ours;
  lnt_status status = take_import(rt, from, &options, err);
  if (status) return status;
  lnt__importing importing = {options.new_id, options.suspend != 0, false};
  status = read_input(options.path, (lnt_value){options.data, options.data_size}, options.done != NULL, &in, err);
  if (!status && options.done) status = lnt__import_later(rt, &in, &importing, options.done, options.user, err);
  else if (!status) status = lnt__import_archive(rt, &in.archive, &importing, result ? result : &mine, err);
  lnt__archive_file_finish(&in);
  return status;
}

/* ---- Replay ---- */

void lnt_replay_options_init(lnt_replay_options *options) {
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
}

typedef struct replay {
  lnt_runtime *rt;
  const lnt__archive *archive;
  lnt__staged *staged; /* NULL: each run's own code */
  lnt_replay_fn fn;
  void *user;
  uint64_t diverged;
  lnt__trial trial;
  lnt__ending ending;
  lnt_error *err;
} replay;

static lnt_status take_replay(const lnt_replay_options *from, lnt_replay_options *to, lnt_error *err) {
  lnt_replay_options_init(to);
  if (!from || from->size < sizeof from->size)
    return lnt__fail(err, LNT_EINVAL, "lnt_replay: options.size is not set; call lnt_replay_options_init() first");
  memcpy(to, from, from->size < sizeof *to ? from->size : sizeof *to);
  if (to->source && !to->against) return lnt__fail(err, LNT_EINVAL, "lnt_replay: options.against names the source");
  return to->against ? lnt__check_name("file name", to->against, LNT__KEY_BYTES_MAX - 1, true, err) : LNT_OK;
}

static lnt_status open_scratch(replay *r, const lnt_replay_options *options, lnt_error *err) {
  lnt_options open;
  lnt_import_result imported;
  const lnt__importing importing = {NULL, false, true};
  lnt_options_init(&open);
  open.store = LNT_STORE_MEMORY;
  open.module_path = options->module_path;
  open.stdlib_path = options->stdlib_path;
  lnt_status status = lnt_open(&open, &r->rt, err);
  return status ? status : lnt__import_archive(r->rt, r->archive, &importing, &imported, err);
}

static lnt_status stage(replay *r, const lnt_replay_options *options, lnt_error *err) {
  char *text = NULL;
  const char *source = options->source;
  size_t size = options->source_size;
  lnt_status status = LNT_OK;
  if (!options->against) return LNT_OK;
  if (!source) {
    status = lnt__read_file(options->against, (size_t)r->rt->options.limits.source_bytes_max, &text, &size, err);
    source = text;
  }
  if (!status) status = lnt__wvm_stage(r->rt->wvm, options->against, source, size, &r->staged, err);
  lnt__free(text);
  return status;
}

static lnt_run_status end_of(const lnt__ending *ending) {
  static const lnt_run_status ends[] = {
      [LNT__BODY_WAITING] = LNT_RUN_RUNNING,   [LNT__BODY_COMPLETED] = LNT_RUN_COMPLETED,        [LNT__BODY_FAILED] = LNT_RUN_FAILED,
      [LNT__BODY_CANCELED] = LNT_RUN_CANCELED, [LNT__BODY_CONTINUED] = LNT_RUN_CONTINUED_AS_NEW, [LNT__BODY_REFUSED] = LNT_RUN_STALLED,
      [LNT__BODY_UNAVAILABLE] = LNT_RUN_STALLED};
  return ends[ending->state];
}

/* Why it waits, as a text of its own; NULL: not known. */
static char *reason_of(replay *r, const lnt__row *row) {
  lnt_value described = LNT_VALUE_NIL;
  size_t size = 0;
  char *copy = NULL;
  if (r->staged || row->closed_us || lnt_describe(r->rt, r->trial.id, &described, NULL)) return NULL;
  const char *reason = lnt__cbor_member_string(described, "reason", &size);
  if (reason) copy = lnt__strndup(reason, size);
  lnt_value_free(&described);
  return copy;
}

static void tell(replay *r, const lnt__archive_run *run) {
  static const lnt_fit fits[] = {[LNT__TRIAL_COMPATIBLE] = LNT_FIT_COMPATIBLE, [LNT__TRIAL_DIVERGES] = LNT_FIT_DIVERGES,
                                 [LNT__TRIAL_UNAVAILABLE] = LNT_FIT_UNAVAILABLE, [LNT__TRIAL_BUSY] = LNT_FIT_BUSY};
  const lnt__trial *trial = &r->trial;
  const lnt__divergence *d = &trial->divergence;
  const lnt__event *started = &r->archive->events[run->event_at];
  char from[2 * LNT__SHA256_BYTES + 1], to[2 * LNT__SHA256_BYTES + 1], engine[80] = "";
  lnt__hex(trial->hash, LNT__SHA256_BYTES, from);
  lnt__hex(r->staged ? r->staged->hash : trial->hash, LNT__SHA256_BYTES, to);
  memcpy(engine, started->engine.data, started->engine.size < sizeof engine ? started->engine.size : sizeof engine - 1);
  lnt_fit_report fit = {.id = trial->id, .workflow = trial->workflow, .run = run->row.run, .status = trial->status,
                        .fit = fits[trial->state], .from_hash = from, .to_hash = to, .events = trial->events, .message = trial->message,
                        .event = d->event, .recorded_us = d->recorded_us, .recorded = d->recorded, .made = d->wanted,
                        .recorded_at = d->was_at, .made_at = d->at, .difference = d->difference};
  char *reason = reason_of(r, &run->row);
  lnt_replay_report report = {.fit = &fit, .end = end_of(&r->ending), .custom_status = run->row.custom_status, .engine = engine,
                              .engine_here = lnt__wvm_fingerprint(r->rt->wvm), .reason = reason ? reason : ""};
  lnt_value value = {r->ending.value.data, r->ending.value.size};
  if (report.end == LNT_RUN_COMPLETED || report.end == LNT_RUN_CONTINUED_AS_NEW) report.output = value;
  if (report.end == LNT_RUN_FAILED || report.end == LNT_RUN_CANCELED) report.failure = value;
  r->diverged += fit.fit != LNT_FIT_COMPATIBLE;
  if (r->fn) r->fn(r->user, &report);
  lnt__free(reason);
}

static lnt_status replay_all(replay *r, bool all, lnt_error *err) {
  lnt_status status = LNT_OK;
  lnt__buf_init(&r->ending.value);
  for (size_t i = 0; i < r->archive->run_count && (all || i == 0) && !status; i++) {
    const lnt__archive_run *run = &r->archive->runs[i];
    status = lnt__engine_replay(r->rt->engine, run->row.run, r->staged ? r->staged->hash : NULL, &r->trial, &r->ending, err);
    if (!status) tell(r, run);
  }
  lnt__buf_finish(&r->ending.value);
  return status;
}

lnt_status lnt_replay(const lnt_replay_options *from, lnt_replay_fn fn, void *user, uint64_t *diverged, lnt_error *err) {
  lnt_replay_options options;
  lnt__archive_file in;
  lnt_error ours;
  if (!err) err = &ours;
  lnt_status status = take_replay(from, &options, err);
  if (status) return status;
  status = read_input(options.path, (lnt_value){options.data, options.data_size}, false, &in, err);
  replay *r = status ? NULL : lnt__calloc(1, sizeof *r);
  if (!status && !r) status = lnt__fail(err, LNT_ENOMEM, "out of memory while an export was replayed");
  if (!status) {
    *r = (replay){.archive = &in.archive, .fn = fn, .user = user};
    status = open_scratch(r, &options, err);
    if (!status) status = stage(r, &options, err);
    if (!status) status = replay_all(r, options.all != 0, err);
    if (!status && diverged) *diverged = r->diverged;
    if (r->staged) lnt__wvm_unstage(r->rt->wvm, r->staged);
    if (r->rt) lnt__runtime_destroy(r->rt); /* nothing is committed, nothing has run */
  }
  lnt__free(r);
  lnt__archive_file_finish(&in);
  return status;
}
