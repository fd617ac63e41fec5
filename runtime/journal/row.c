/* row.c - instance rows and keys as bytes. Any thread. FORMAT.md tells the layout. */
#include "journal/journal.h"

void lnt__row_write(lnt__buf *out, const lnt__row *row) {
  lnt__buf_u8(out, LNT__FORMAT_VERSION);
  lnt__buf_u8(out, (uint8_t)row->status);
  lnt__buf_append(out, row->hash, LNT__SHA256_BYTES);
  lnt__buf_bytes(out, row->id.data, row->id.size);
  lnt__buf_bytes(out, row->workflow.data, row->workflow.size);
  lnt__buf_zigzag(out, row->created_us);
  lnt__buf_zigzag(out, row->updated_us - row->created_us);
  lnt__buf_zigzag(out, row->closed_us ? row->closed_us - row->created_us + 1 : 0);
  lnt__buf_varint(out, row->generation);
  lnt__buf_varint(out, row->parent_run);
  lnt__buf_varint(out, row->parent_seq);
  lnt__buf_bytes(out, row->custom_status.data, row->custom_status.size);
  lnt__buf_bytes(out, row->failure.data, row->failure.size);
  lnt__buf_bytes(out, row->attributes.data, row->attributes.size);
}

bool lnt__row_read(lnt__slice sealed, lnt__row *row) {
  lnt__slice payload;
  memset(row, 0, sizeof(*row));
  if (!lnt__unseal(sealed, &payload)) return false;
  lnt__reader reader = lnt__reader_of(payload.data, payload.size);
  if (lnt__read_u8(&reader) != LNT__FORMAT_VERSION) return false;
  row->status = (lnt_run_status)lnt__read_u8(&reader);
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
  row->custom_status = lnt__read_bytes(&reader);
  row->failure = lnt__read_bytes(&reader);
  row->attributes = lnt__read_bytes(&reader);
  return !reader.failed && reader.at == reader.end && row->status <= LNT_RUN_STALLED;
}

void lnt__key_run(uint8_t out[LNT__KEY_RUN_BYTES], uint64_t run) { lnt__put_be64(out, run); }

void lnt__key_history(uint8_t out[LNT__KEY_HISTORY_BYTES], uint64_t run, uint32_t record) {
  lnt__put_be64(out, run);
  lnt__put_be32(out + 8, record);
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
