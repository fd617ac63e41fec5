/* buf.h - a growable byte buffer with the integer encodings of the journal. One thread at a time.
 * Writers set `failed` on out of memory and then do nothing, so that a caller checks once at the end. */
#ifndef LNT__BUF_H
#define LNT__BUF_H

#include "base/base.h"

typedef struct lnt__buf {
  uint8_t *data;
  size_t size;
  size_t capacity;
  bool failed;
} lnt__buf;

void lnt__buf_init(lnt__buf *buf);
void lnt__buf_finish(lnt__buf *buf); /* release; the buf is as after init */
static inline void lnt__buf_clear(lnt__buf *buf) { buf->size = 0; buf->failed = false; } /* keep the memory */
bool lnt__buf_grow(lnt__buf *buf, size_t extra); /* the slow path of reserve */
void lnt__buf_varint_long(lnt__buf *buf, uint64_t value); /* the slow path of varint */

#define LNT__VARINT_BYTES_MAX 10

/* LEB128 to where there is room for it; answers what follows. */
static inline uint8_t *lnt__put_varint(uint8_t *at, uint64_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = (uint8_t)(value | 0x80);
  *at++ = (uint8_t)value;
  return at;
}

static inline uint64_t lnt__zigzag(int64_t value) { return ((uint64_t)value << 1) ^ (uint64_t)-(int64_t)(value < 0); }

/* Room for `extra` more bytes at data + size; false: out of memory, now or earlier. */
static inline bool lnt__buf_reserve(lnt__buf *buf, size_t extra) {
  return buf->capacity - buf->size >= extra && !buf->failed ? true : lnt__buf_grow(buf, extra);
}

static inline void lnt__buf_append(lnt__buf *buf, const void *data, size_t size) {
  if (size == 0 || !lnt__buf_reserve(buf, size)) return;
  memcpy(buf->data + buf->size, data, size);
  buf->size += size;
}

static inline void lnt__buf_u8(lnt__buf *buf, uint8_t value) {
  if (lnt__buf_reserve(buf, 1)) buf->data[buf->size++] = value;
}

/* LEB128, 1..10 bytes */
static inline void lnt__buf_varint(lnt__buf *buf, uint64_t value) {
  if (value < 0x80) lnt__buf_u8(buf, (uint8_t)value);
  else lnt__buf_varint_long(buf, value);
}

/* zigzag, then LEB128 */
static inline void lnt__buf_zigzag(lnt__buf *buf, int64_t value) {
  lnt__buf_varint(buf, lnt__zigzag(value));
}

void lnt__buf_bytes(lnt__buf *buf, const void *data, size_t size); /* varint length, then the bytes */
void lnt__buf_printf(lnt__buf *buf, const char *format, ...) LNT__PRINTF(2, 3); /* no NUL is kept */
/* Hand the bytes over (release with lnt__free) and reset the buf. NULL if it failed or is empty. */
void *lnt__buf_detach(lnt__buf *buf, size_t *size);

/* Big-endian integers for keys. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static inline uint64_t lnt__be64(uint64_t value) { return __builtin_bswap64(value); }
static inline uint32_t lnt__be32(uint32_t value) { return __builtin_bswap32(value); }
#else
static inline uint64_t lnt__be64(uint64_t value) { return value; }
static inline uint32_t lnt__be32(uint32_t value) { return value; }
#endif
static inline void lnt__put_be64(uint8_t *to, uint64_t value) { value = lnt__be64(value); memcpy(to, &value, sizeof value); }
static inline uint64_t lnt__get_be64(const uint8_t *from) { uint64_t value; memcpy(&value, from, sizeof value); return lnt__be64(value); }
static inline void lnt__put_be32(uint8_t *to, uint32_t value) { value = lnt__be32(value); memcpy(to, &value, sizeof value); }
static inline uint32_t lnt__get_be32(const uint8_t *from) { uint32_t value; memcpy(&value, from, sizeof value); return lnt__be32(value); }

/* Reading the same encodings. A reader that runs past its end, or meets an over-long integer (beyond 64
 * bits, or padded: each integer has one form), sets `failed`, goes to its end and answers zeros. */
typedef struct lnt__reader {
  const uint8_t *at;
  const uint8_t *end;
  bool failed;
} lnt__reader;

/* An empty reader starts at NULL: lnt__cbor_next() tells it from an exhausted one. */
static inline lnt__reader lnt__reader_of(const void *data, size_t size) {
  const uint8_t *at = size ? (const uint8_t *)data : NULL;
  return (lnt__reader){at, size ? at + size : NULL, false};
}
uint8_t lnt__read_u8(lnt__reader *reader);
uint64_t lnt__read_varint_long(lnt__reader *reader); /* the slow path of read_varint */
static inline uint64_t lnt__read_varint(lnt__reader *reader) {
  return reader->at != reader->end && *reader->at < 0x80 ? *reader->at++ : lnt__read_varint_long(reader);
}
int64_t lnt__read_zigzag(lnt__reader *reader);
lnt_value lnt__read_bytes(lnt__reader *reader); /* points into the reader's memory; {NULL,0} when empty or failed */

#endif
