/* hash.h - hashes. checksum: guards records on disk, its result is part of the format. hash64: for tables in memory only, never stored.
 * sha256: names source code. */
#ifndef LNT__HASH_H
#define LNT__HASH_H

#include "base/base.h"

uint32_t lnt__checksum(const void *data, size_t size); /* CRC-32C (Castagnoli), hardware when the CPU has it */
uint32_t lnt__checksum_portable(const void *data, size_t size); /* the same without hardware; for tests and other CPUs */
uint64_t lnt__hash64(const void *data, size_t size);

#define LNT__SHA256_BYTES 32
typedef struct lnt__sha256 { uint32_t state[8]; uint64_t size; uint8_t block[64]; } lnt__sha256;
void lnt__sha256_init(lnt__sha256 *sha);
void lnt__sha256_add(lnt__sha256 *sha, const void *data, size_t size);
void lnt__sha256_end(lnt__sha256 *sha, uint8_t out[LNT__SHA256_BYTES]);
void lnt__hex(const uint8_t *data, size_t size, char *out); /* 2*size characters and a NUL */

#endif
