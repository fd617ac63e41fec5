/* portable.c - instances that leave as a file, and that come as one. Called by api/portable.c; owner thread.
 *
 * Under its own id, an instance comes into the store as it left the other, in one transaction beside the engine's batches: what is accepted
 * is committed before, so that nothing of its ids is on its way. Under a new id it is forked from the file. */
#include <stdio.h>

#include "driver/runtime.h"
#include "engine/import.h"

lnt_status lnt__export_run(lnt_runtime *rt, uint64_t run, bool whole, lnt__buf *out, lnt_error *err) {
  lnt__archive_request request = {.run = run, .whole = whole, .engine = rt->wvm ? lnt__wvm_fingerprint(rt->wvm) : NULL,
                                  .now_us = lnt__clock(rt), .bytes_max = LNT_EXPORT_BYTES_MAX};
  return lnt__archive_write(rt->store, &request, out, err);
}

/* ---- Under its own id ---- */

static lnt_status add_code(lnt_runtime *rt, const lnt__archive_code *code, lnt__batch *batch, lnt_error *err) {
  lnt__buf sealed;
  if (lnt__engine_has_code(rt->engine, code->hash)) return LNT_OK;
  lnt__buf_init(&sealed);
  lnt__buf_append(&sealed, code->bundle.data, code->bundle.size);
  lnt__seal(&sealed);
  bool good = !sealed.failed && lnt__batch_put(batch, LNT__TABLE_CODE, code->hash, LNT__SHA256_BYTES, sealed.data, sealed.size);
  lnt__buf_finish(&sealed);
  return good ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory while code was imported");
}

/* The row by which `versions` tells what the run is on. */
static lnt_status add_version(lnt_runtime *rt, const lnt__archive *archive, const lnt__row *row, lnt__batch *batch, lnt_error *err) {
  char name[LNT__KEY_BYTES_MAX + 1] = "";
  lnt_value file, source;
  const lnt__archive_code *code = lnt__archive_code_of(archive, row->hash);
  if (!code) return LNT_OK;
  if (!lnt__bundle_main(code->bundle.data, code->bundle.size, &file, &source))
    return lnt__fail(err, LNT_ECORRUPT, "the file is damaged: code in it is not a bundle of Lua source");
  snprintf(name, sizeof name, "%.*s", (int)file.size, (const char *)file.data);
  return lnt__version_add_foreign(rt, batch, row->workflow, row->hash, name, err);
}

static lnt_status take_in(lnt_runtime *rt, const lnt__archive *archive, const lnt__importing *options, lnt_import_result *out,
                          lnt_error *err) {
  lnt__import import;
  const lnt__import_wish wish = {options->suspend, options->scratch};
  lnt_status status = lnt__import_init(&import, rt->engine, archive, wish, err);
  for (size_t i = 0; i < archive->code_count && !status; i++) status = add_code(rt, &archive->codes[i], import.batch, err);
  for (size_t i = 0; i < archive->run_count && !status; i++) status = add_version(rt, archive, &archive->runs[i].row, import.batch, err);
  if (!status) status = rt->store->vtable->commit(rt->store, import.batch, err);
  if (!status) {
    lnt__import_take_up(rt->engine, &import);
    out->runs = archive->run_count;
    out->live = import.live;
    out->run = lnt__import_number(&import, archive->runs[0].row.run);
  }
  lnt__import_finish(&import);
  return status;
}

/* ---- Under a new id ---- */

static lnt_status put_codes(lnt_runtime *rt, const lnt__archive *archive, lnt_error *err) {
  lnt_status status = LNT_OK;
  for (size_t i = 0; i < archive->code_count && !status; i++) {
    const lnt__archive_code *code = &archive->codes[i];
    status = lnt__code_put(rt, LNT__TABLE_CODE, (lnt__slice){code->hash, LNT__SHA256_BYTES}, code->bundle.data, code->bundle.size, err);
  }
  return status;
}

static lnt_status fork_in(lnt_runtime *rt, const lnt__archive *archive, const lnt__importing *options, lnt_import_result *out,
                          lnt_error *err) {
  const lnt__archive_run *root = &archive->runs[0];
  lnt__history history = {.events = archive->events + root->event_at, .count = root->event_count};
  lnt__fork fork = {.what = LNT__FORK, .run = root->row.run, .new_id = options->new_id, .code = LNT_FORK_CODE_PINNED, .history = &history};
  lnt_status status = put_codes(rt, archive, err);
  if (!status) status = lnt__engine_fork_foreign(rt->engine, &root->row, &fork, out->id, err);
  if (!status && options->suspend) status = lnt__engine_suspend(rt->engine, out->id, "imported", NULL, NULL, err);
  if (!status) status = lnt__commit_flush(rt, err);
  out->runs = out->live = 1;
  return status ? status : lnt__engine_find(rt->engine, out->id, &out->run, err);
}

lnt_status lnt__import_archive(lnt_runtime *rt, const lnt__archive *archive, const lnt__importing *options, lnt_import_result *out,
                               lnt_error *err) {
  const lnt__row *root = &archive->runs[0].row;
  rt->driving++;
  lnt__engine_set_now(rt->engine, lnt__clock(rt));
  lnt_status status = lnt__commit_flush(rt, err);
  memcpy(out->id, root->id.data, root->id.size);
  out->id[root->id.size] = 0;
  if (!status && options->new_id) status = fork_in(rt, archive, options, out, err);
  else if (!status) status = take_in(rt, archive, options, out, err);
  rt->driving--;
  return status;
}

/* ---- In the next tick ---- */

struct lnt__later_import {
  struct lnt__later_import *next;
  lnt__archive_file file;
  char *new_id; /* NULL: under its own */
  bool suspend;
  lnt_import_fn done;
  void *user;
};

static void later_free(struct lnt__later_import *later) {
  lnt__archive_file_finish(&later->file);
  lnt__free(later->new_id);
  lnt__free(later);
}

lnt_status lnt__import_later(lnt_runtime *rt, lnt__archive_file *file, const lnt__importing *options, lnt_import_fn done, void *user,
                             lnt_error *err) {
  struct lnt__later_import *later = lnt__calloc(1, sizeof *later), **end = &rt->imports;
  if (later && options->new_id) later->new_id = lnt__strdup(options->new_id);
  if (!later || (options->new_id && !later->new_id)) {
    lnt__free(later);
    return lnt__fail(err, LNT_ENOMEM, "out of memory while an instance was imported");
  }
  later->suspend = options->suspend;
  later->done = done;
  later->user = user;
  later->file = *file;
  *file = (lnt__archive_file){0};
  while (*end) end = &(*end)->next;
  *end = later;
  return LNT_OK;
}

void lnt__imports_step(lnt_runtime *rt) {
  while (rt->imports) {
    struct lnt__later_import *later = rt->imports;
    lnt__importing importing = {later->new_id, later->suspend, false};
    lnt_import_result result;
    lnt_error err = {LNT_OK, ""};
    rt->imports = later->next;
    lnt_status status = lnt__import_archive(rt, &later->file.archive, &importing, &result, &err);
    later->done(later->user, status, status ? NULL : &result, &err);
    later_free(later);
  }
}

void lnt__imports_finish(lnt_runtime *rt) {
  while (rt->imports) {
    struct lnt__later_import *later = rt->imports;
    lnt_error err;
    rt->imports = later->next;
    later->done(later->user, lnt__fail(&err, LNT_ECLOSED, "the runtime was closed before the instance was imported"), NULL, &err);
    later_free(later);
  }
}
