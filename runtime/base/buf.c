/* buf.c - the growable buffer and the reader of its encodings. Called by codec, journal, engine and vm; one thread per buffer. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#define BUF_BYTES_MIN 64

void lnt__buf_init(lnt__buf *buf) { *buf = (lnt__buf){NULL, 0, 0, false}; }

void lnt__buf_finish(lnt__buf *buf) {
  lnt__free(buf->data);
  lnt__buf_init(buf);
}

bool lnt__buf_grow(lnt__buf *buf, size_t extra) {
  if (buf->failed) return false;
  size_t need = buf->size + extra;
  if (need < BUF_BYTES_MIN) need = BUF_BYTES_MIN;
  if (extra <= SIZE_MAX - buf->size && lnt__grow((void **)&buf->data, &buf->capacity, need, 1)) return true;
  buf->failed = true;
  return false;
}

void lnt__buf_varint_long(lnt__buf *buf, uint64_t value) {
  if (!lnt__buf_reserve(buf, LNT__VARINT_BYTES_MAX)) return;
  buf->size = (size_t)(lnt__put_varint(buf->data + buf->size, value) - buf->data);
}

void lnt__buf_bytes(lnt__buf *buf, const void *data, size_t size) {
  lnt__buf_varint(buf, size);
  lnt__buf_append(buf, data, size);
}

void lnt__buf_printf(lnt__buf *buf, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  if (lnt__buf_reserve(buf, 64)) {
    size_t room = buf->capacity - buf->size;
    int size = vsnprintf((char *)buf->data + buf->size, room, format, args);
    if (size < 0) buf->failed = true;
    else if ((size_t)size < room) buf->size += (size_t)size;
    else if (lnt__buf_reserve(buf, (size_t)size + 1)) {
      vsnprintf((char *)buf->data + buf->size, (size_t)size + 1, format, again);
      buf->size += (size_t)size;
    }
  }
  va_end(again);
  va_end(args);
}

void *lnt__buf_detach(lnt__buf *buf, size_t *size) {
  void *data = NULL;
  if (!buf->failed && buf->size) {
    data = buf->data;
    buf->data = NULL;
  }
  *size = data ? buf->size : 0;
  lnt__buf_finish(buf);
  return data;
}

static void reader_fail(lnt__reader *reader) {
  reader->failed = true;
  reader->at = reader->end;
}

uint8_t lnt__read_u8(lnt__reader *reader) {
  if (reader->at != reader->end) return *reader->at++;
  reader_fail(reader);
  return 0;
}

/* Where it cannot run past the end: times are most of them, with eight bytes. */
static bool read_varint_inside(lnt__reader *reader, uint64_t *out) {
  const uint8_t *at = reader->at;
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 63; shift += 7) {
    uint8_t byte = *at++;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    reader->at = at;
    *out = value;
    return byte || !shift;
  }
  return false; /* it has ten bytes, or is none */
}

uint64_t lnt__read_varint_long(lnt__reader *reader) {
  uint64_t value = 0;
  const uint8_t *start = reader->at;
  if (reader->end - reader->at >= LNT__VARINT_BYTES_MAX && read_varint_inside(reader, &value)) return value;
  reader->at = start;
  value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (reader->at == reader->end) break;
    uint8_t byte = *reader->at++;
    if ((shift == 63 && byte > 1) || (shift && byte == 0)) break;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  reader_fail(reader);
  return 0;
}

int64_t lnt__read_zigzag(lnt__reader *reader) {
  uint64_t value = lnt__read_varint(reader);
  return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

lnt_value lnt__read_bytes(lnt__reader *reader) {
  uint64_t size = lnt__read_varint(reader);
  if (size > (uint64_t)(reader->end - reader->at)) reader_fail(reader);
  if (reader->failed || size == 0) return LNT_VALUE_NIL;
  lnt_value bytes = {reader->at, (size_t)size};
  reader->at += size;
  return bytes;
}
