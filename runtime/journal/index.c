/* index.c - the keys of table INDEX, by which lists find instances, and the index of a whole store. The encoders: any thread; the rest:
 * owner thread. FORMAT.md tells the bytes. */
#include "journal/journal.h"

static size_t put_bytes(uint8_t *out, size_t at, lnt_value bytes) {
  if (bytes.size) memcpy(out + at, bytes.data, bytes.size);
  return at + bytes.size;
}

size_t lnt__index_status(uint8_t out[LNT__KEY_INDEX_BYTES_MAX], lnt_run_status status, lnt_value workflow) {
  out[0] = LNT__INDEX_STATUS;
  out[1] = (uint8_t)status;
  out[2] = (uint8_t)workflow.size;
  return put_bytes(out, 3, workflow);
}

size_t lnt__index_parent(uint8_t out[LNT__KEY_INDEX_BYTES_MAX], uint64_t parent_run) {
  out[0] = LNT__INDEX_PARENT;
  lnt__put_be64(out + 1, parent_run);
  return 9;
}

size_t lnt__index_attribute(uint8_t out[LNT__KEY_INDEX_BYTES_MAX], lnt_value name, lnt_value value) {
  out[0] = LNT__INDEX_ATTRIBUTE;
  out[1] = (uint8_t)name.size;
  return put_bytes(out, put_bytes(out, 2, name), value);
}

size_t lnt__index_older(uint8_t out[LNT__KEY_INDEX_BYTES_MAX], lnt_value id) {
  out[0] = LNT__INDEX_OLDER;
  size_t size = put_bytes(out, 1, id);
  out[size] = 0; /* no id has one: an id that begins another is told from it */
  return size + 1;
}

size_t lnt__index_era(uint8_t out[LNT__KEY_INDEX_BYTES_MAX]) {
  out[0] = LNT__INDEX_ERA;
  return 1;
}

size_t lnt__index_run(uint8_t out[LNT__KEY_INDEX_BYTES_MAX], size_t size, uint64_t run) {
  lnt__put_be64(out + size, run);
  return size + 8;
}

/* ---- The rows of one instance ---- */

static bool write_row(lnt__batch *batch, uint8_t *key, size_t size, uint64_t run, bool remove) {
  size = lnt__index_run(key, size, run);
  return remove ? lnt__batch_delete(batch, LNT__TABLE_INDEX, key, size) : lnt__batch_put(batch, LNT__TABLE_INDEX, key, size, NULL, 0);
}

bool lnt__index_write_status(lnt__batch *batch, uint64_t run, lnt_run_status status, lnt_value workflow, bool remove) {
  uint8_t key[LNT__KEY_INDEX_BYTES_MAX];
  return write_row(batch, key, lnt__index_status(key, status, workflow), run, remove);
}

bool lnt__index_write_parent(lnt__batch *batch, uint64_t run, uint64_t parent_run, bool remove) {
  uint8_t key[LNT__KEY_INDEX_BYTES_MAX];
  return !parent_run || write_row(batch, key, lnt__index_parent(key, parent_run), run, remove);
}

bool lnt__index_write_attributes(lnt__batch *batch, uint64_t run, lnt_value attributes, bool remove) {
  uint8_t key[LNT__KEY_INDEX_BYTES_MAX];
  lnt__attribute attribute;
  lnt__reader reader = lnt__attributes_of(attributes);
  bool good = true;
  while (good && lnt__attributes_next(&reader, &attribute))
    good = write_row(batch, key, lnt__index_attribute(key, attribute.name, attribute.value), run, remove);
  return good;
}

bool lnt__index_write_row(lnt__batch *batch, const lnt__row *row, bool remove) {
  return lnt__index_write_status(batch, row->run, row->status, row->workflow, remove) &&
         lnt__index_write_parent(batch, row->run, row->parent_run, remove) &&
         lnt__index_write_attributes(batch, row->run, row->attributes, remove);
}

bool lnt__index_write_older(lnt__batch *batch, lnt_value id, uint64_t run, bool remove) {
  uint8_t key[LNT__KEY_INDEX_BYTES_MAX];
  return write_row(batch, key, lnt__index_older(key, id), run, remove);
}

bool lnt__index_write_era(lnt__batch *batch, uint64_t run) {
  uint8_t key[LNT__KEY_INDEX_BYTES_MAX];
  return write_row(batch, key, lnt__index_era(key), run, false);
}

/* ---- Attributes ---- */

lnt__reader lnt__attributes_of(lnt_value attributes) {
  lnt__reader reader = lnt__reader_of(attributes.data, attributes.size);
  if (attributes.size && lnt__cbor_next(&reader).type != LNT__CBOR_MAP) reader.at = reader.end;
  return reader;
}

bool lnt__attributes_next(lnt__reader *reader, lnt__attribute *out) {
  if (reader->at >= reader->end) return false;
  lnt__cbor_item name = lnt__cbor_next(reader);
  const uint8_t *from = reader->at;
  if (name.type != LNT__CBOR_STRING || !lnt__cbor_skip(reader)) return false;
  out->name = (lnt_value){name.as.string.data, name.as.string.size};
  out->value = (lnt_value){from, (size_t)(reader->at - from)};
  return true;
}

/* ---- The index of a whole store ---- */

enum { CHUNK_ROWS = 5000, CHUNK_BYTES_MAX = 4 << 20 };

static const char INDEX_KEY[] = "index";
#define KEY_SIZE (sizeof INDEX_KEY - 1)

bool lnt__index_complete(lnt__store *store) {
  void *value = NULL;
  size_t size;
  bool complete = store->vtable->get(store, LNT__TABLE_META, INDEX_KEY, KEY_SIZE, &value, &size, NULL) == LNT_OK;
  lnt__free(value);
  return complete;
}

bool lnt__index_mark(lnt__batch *batch) {
  lnt__buf value;
  lnt__buf_init(&value);
  lnt__cbor_int(&value, LNT__INDEX_VERSION);
  lnt__seal(&value);
  bool good = !value.failed && lnt__batch_put(batch, LNT__TABLE_META, INDEX_KEY, KEY_SIZE, value.data, value.size);
  lnt__buf_finish(&value);
  return good;
}

/* Rows of one stretch, copied: the scan's callback must not write. */
typedef struct stretch {
  lnt__batch *batch;
  uint64_t last; /* run read last */
  int64_t created_us;
  size_t count;
  bool corrupt;
} stretch;

static int index_row(void *user, lnt__slice key, lnt__slice value) {
  stretch *s = user;
  lnt__row row;
  if (key.size != LNT__KEY_RUN_BYTES || !lnt__row_read(value, &row)) return s->corrupt = true;
  row.run = s->last = lnt__get_be64(key.data);
  if (row.created_us < s->created_us) lnt__index_write_era(s->batch, row.run);
  s->created_us = row.created_us;
  lnt__index_write_row(s->batch, &row, false);
  if (row.status == LNT_RUN_CONTINUED_AS_NEW) lnt__index_write_older(s->batch, row.id, row.run, false);
  return ++s->count >= CHUNK_ROWS || lnt__batch_bytes(s->batch) >= CHUNK_BYTES_MAX || lnt__batch_failed(s->batch);
}

static lnt_status index_stretch(lnt__store *store, stretch *s, lnt_error *err) {
  uint8_t from[LNT__KEY_RUN_BYTES];
  lnt__key_run(from, s->last + 1);
  s->count = 0;
  lnt__batch_clear(s->batch);
  lnt_status status = store->vtable->scan(store, LNT__TABLE_INSTANCE, (lnt__slice){from, sizeof from}, (lnt__slice){0}, false, index_row, s,
                                          err);
  if (status) return status;
  if (s->corrupt)
    return lnt__fail(err, LNT_ECORRUPT, "the row after run %llu: the checksum or the shape is wrong; restore the directory from a copy",
                     (unsigned long long)s->last);
  if (!s->count) lnt__index_mark(s->batch);
  return store->vtable->commit(store, s->batch, err);
}

lnt_status lnt__index_rebuild(lnt__store *store, lnt_error *err) {
  stretch s = {.batch = lnt__batch_create(), .created_us = INT64_MIN};
  lnt_status status = s.batch ? LNT_OK : lnt__fail(err, LNT_ENOMEM, "out of memory while the index was made");
  do {
    if (!status) status = index_stretch(store, &s, err);
  } while (!status && s.count);
  lnt__batch_destroy(s.batch);
  return status;
}
