/* row.c - instance rows and keys as bytes. Any thread. FORMAT.md tells the layout. */
#include "journal/journal.h"

/* Bits of the byte of the status, from this one on: values of the row stand apart. Then its size and its checksum are in its place. */
#define APART_SHIFT 6

static void put_value(lnt__buf *out, lnt_value value, bool apart) {
  uint8_t checksum[4];
  if (!apart) {
    lnt__buf_bytes(out, value.data, value.size);
    return;
  }
  lnt__put_be32(checksum, lnt__checksum(value.data, value.size));
  lnt__buf_varint(out, value.size);
  lnt__buf_append(out, checksum, sizeof checksum);
}

static void write_row(lnt__buf *out, const lnt__row *row, uint8_t apart) {
  lnt__buf_u8(out, LNT__FORMAT_VERSION);
  lnt__buf_u8(out, (uint8_t)(row->status | apart << APART_SHIFT));
  lnt__buf_append(out, row->hash, LNT__SHA256_BYTES);
  lnt__buf_bytes(out, row->id.data, row->id.size);
  lnt__buf_bytes(out, row->workflow.data, row->workflow.size);
  lnt__buf_zigzag(out, row->created_us);
  lnt__buf_zigzag(out, row->updated_us - row->created_us);
  lnt__buf_zigzag(out, row->closed_us ? row->closed_us - row->created_us + 1 : 0);
  lnt__buf_varint(out, row->generation);
  lnt__buf_varint(out, row->parent_run);
  lnt__buf_varint(out, row->parent_seq);
  put_value(out, row->custom_status, apart >> LNT__ROW_CUSTOM_STATUS & 1);
  put_value(out, row->failure, apart >> LNT__ROW_FAILURE & 1);
  lnt__buf_bytes(out, row->attributes.data, row->attributes.size);
}

void lnt__row_write(lnt__buf *out, const lnt__row *row) { write_row(out, row, 0); }

static bool put_apart(lnt__batch *batch, uint64_t run, int which, lnt_value value, lnt__buf *scratch) {
  uint8_t key[LNT__KEY_PAYLOAD_BYTES];
  lnt__key_payload(key, run, LNT__RECORD_OF_ROW, (uint32_t)which);
  if (value.size <= LNT__INLINE_BYTES_MAX) return lnt__batch_delete(batch, LNT__TABLE_PAYLOAD, key, sizeof key);
  lnt__buf_clear(scratch);
  lnt__buf_append(scratch, value.data, value.size);
  lnt__seal(scratch);
  return !scratch->failed && lnt__batch_put(batch, LNT__TABLE_PAYLOAD, key, sizeof key, scratch->data, scratch->size);
}

static bool put_values(lnt__batch *batch, const lnt__row *row, uint8_t changed, uint8_t *apart, lnt__buf *scratch) {
  const lnt_value values[LNT__ROW_VALUES] = {[LNT__ROW_CUSTOM_STATUS] = row->custom_status, [LNT__ROW_FAILURE] = row->failure};
  uint8_t before = *apart;
  *apart = 0;
  for (int i = 0; i < LNT__ROW_VALUES; i++) {
    bool large = values[i].size > LNT__INLINE_BYTES_MAX;
    *apart |= (uint8_t)(large << i);
    bool moves = large ? !(before >> i & 1) || changed >> i & 1 : before >> i & 1;
    if (moves && !put_apart(batch, row->run, i, values[i], scratch)) return false;
  }
  return true;
}

bool lnt__row_put(lnt__batch *batch, const lnt__row *row, uint8_t changed, uint8_t *apart, lnt__buf *scratch) {
  uint8_t key[LNT__KEY_RUN_BYTES];
  bool all_small = (row->custom_status.size | row->failure.size) <= LNT__INLINE_BYTES_MAX && !*apart;
  if (!all_small && !put_values(batch, row, changed, apart, scratch)) return false;
  lnt__buf_clear(scratch);
  write_row(scratch, row, *apart);
  lnt__seal(scratch);
  lnt__key_run(key, row->run);
  return !scratch->failed && lnt__batch_put(batch, LNT__TABLE_INSTANCE, key, sizeof key, scratch->data, scratch->size);
}

static lnt_value read_value(lnt__reader *reader, bool apart, uint32_t *checksum) {
  if (!apart) return lnt__read_bytes(reader);
  uint64_t size = lnt__read_varint(reader);
  if (reader->failed || reader->end - reader->at < 4 || size > UINT32_MAX) {
    reader->failed = true;
    return LNT_VALUE_NIL;
  }
  *checksum = lnt__get_be32(reader->at);
  reader->at += 4;
  return (lnt_value){NULL, (size_t)size};
}

bool lnt__row_read(lnt__slice sealed, lnt__row *row) {
  lnt__slice payload;
  memset(row, 0, sizeof(*row));
  if (!lnt__unseal(sealed, &payload)) return false;
  lnt__reader reader = lnt__reader_of(payload.data, payload.size);
  if (lnt__read_u8(&reader) != LNT__FORMAT_VERSION) return false;
  uint8_t status = lnt__read_u8(&reader);
  row->apart = status >> APART_SHIFT;
  row->status = (lnt_run_status)(status & ((1 << APART_SHIFT) - 1));
  if (reader.failed || (size_t)(reader.end - reader.at) < LNT__SHA256_BYTES) return false;
  memcpy(row->hash, reader.at, LNT__SHA256_BYTES);
  reader.at += LNT__SHA256_BYTES;
  row->id = lnt__read_bytes(&reader);
  row->workflow = lnt__read_bytes(&reader);
  row->created_us = lnt__read_zigzag(&reader);
  row->updated_us = row->created_us + lnt__read_zigzag(&reader);
  int64_t closed = lnt__read_zigzag(&reader);
  row->closed_us = closed ? row->created_us + closed - 1 : 0;
  row->generation = lnt__read_varint(&reader);
  row->parent_run = lnt__read_varint(&reader);
  row->parent_seq = (uint32_t)lnt__read_varint(&reader);
  row->custom_status = read_value(&reader, row->apart >> LNT__ROW_CUSTOM_STATUS & 1, &row->checksums[LNT__ROW_CUSTOM_STATUS]);
  row->failure = read_value(&reader, row->apart >> LNT__ROW_FAILURE & 1, &row->checksums[LNT__ROW_FAILURE]);
  row->attributes = lnt__read_bytes(&reader);
  return !reader.failed && reader.at == reader.end && row->status <= LNT_RUN_STALLED;
}

void lnt__key_run(uint8_t out[LNT__KEY_RUN_BYTES], uint64_t run) { lnt__put_be64(out, run); }

void lnt__key_history(uint8_t out[LNT__KEY_HISTORY_BYTES], uint64_t run, uint32_t record) {
  lnt__put_be64(out, run);
  lnt__put_be32(out + 8, record);
}

void lnt__key_payload(uint8_t out[LNT__KEY_PAYLOAD_BYTES], uint64_t run, uint32_t record, uint32_t place) {
  lnt__key_history(out, run, record);
  lnt__put_be32(out + 12, place);
}

/* The sign bit is flipped so that times before 1970 sort before those after. */
void lnt__key_timer(uint8_t out[LNT__KEY_TIMER_BYTES], int64_t due_us, uint64_t run, uint32_t seq) {
  lnt__put_be64(out, (uint64_t)due_us ^ (1ull << 63));
  lnt__put_be64(out + 8, run);
  lnt__put_be32(out + 16, seq);
}

lnt__due lnt__key_timer_read(const uint8_t key[LNT__KEY_TIMER_BYTES]) {
  return (lnt__due){.due_us = (int64_t)(lnt__get_be64(key) ^ (1ull << 63)), .run = lnt__get_be64(key + 8), .seq = lnt__get_be32(key + 16)};
}
