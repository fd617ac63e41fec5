/* hash.c - CRC-32C, a table hash and SHA-256. Called by journal, store, vm and base's tables; any thread. */
#include "base/hash.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/rng.h"

/* ---- CRC-32C --------------------------------------------------------------------------------------------------- */

#define CRC32C_REFLECTED 0x82f63b78u

static uint32_t crc_table[8][256]; /* [k][b]: the effect of byte b, followed by k zero bytes */
static pthread_once_t crc_table_once = PTHREAD_ONCE_INIT;

static void make_crc_table(void) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? CRC32C_REFLECTED : 0);
    crc_table[0][byte] = crc;
  }
  for (int k = 1; k < 8; k++)
    for (int byte = 0; byte < 256; byte++) crc_table[k][byte] = crc_table[k - 1][byte] >> 8 ^ crc_table[0][crc_table[k - 1][byte] & 255];
}

uint32_t lnt__checksum_portable(const void *data, size_t size) {
  pthread_once(&crc_table_once, make_crc_table);
  const uint8_t *at = data;
  uint32_t crc = ~0u;
  for (; size >= 8; at += 8, size -= 8) {
    uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
    crc = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^ crc_table[5][low >> 16 & 255] ^ crc_table[4][low >> 24] ^
          crc_table[3][at[4]] ^ crc_table[2][at[5]] ^ crc_table[1][at[6]] ^ crc_table[0][at[7]];
  }
  for (; size; at++, size--) crc = crc >> 8 ^ crc_table[0][(crc ^ *at) & 255];
  return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

__attribute__((target("sse4.2"))) static uint32_t checksum_sse42(const void *data, size_t size) {
  const uint8_t *at = data;
  uint64_t crc = ~0u;
  for (uint64_t word; size >= 8; at += 8, size -= 8) {
    memcpy(&word, at, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  for (; size; at++, size--) crc = _mm_crc32_u8((uint32_t)crc, *at);
  return ~(uint32_t)crc;
}

uint32_t lnt__checksum(const void *data, size_t size) {
  return __builtin_cpu_supports("sse4.2") ? checksum_sse42(data, size) : lnt__checksum_portable(data, size);
}
#else
uint32_t lnt__checksum(const void *data, size_t size) { return lnt__checksum_portable(data, size); }
#endif

/* ---- hash64: seeded per process, so that nobody can choose keys that collide ---------------------------------------- */

static uint64_t process_seed(void) {
  static _Atomic uint64_t seed;
  uint64_t now = atomic_load_explicit(&seed, memory_order_relaxed);
  if (now) return now;
  uint64_t fresh = lnt__entropy() | 1;
  return atomic_compare_exchange_strong(&seed, &now, fresh) ? fresh : now;
}

static uint64_t mix(uint64_t hash, uint64_t word) {
  hash = (hash ^ word) * 0xd6e8feb86659fd93u;
  return hash ^ hash >> 32;
}

uint64_t lnt__hash64(const void *data, size_t size) {
  const uint8_t *at = data;
  uint64_t hash = process_seed() + size, word = 0;
  for (; size >= 8; at += 8, size -= 8) {
    memcpy(&word, at, 8);
    hash = mix(hash, word);
  }
  word = 0;
  if (size) memcpy(&word, at, size);
  return mix(mix(hash, word), hash >> 29);
}

/* ---- SHA-256 (FIPS 180-4) ---------------------------------------------------------------------------------------- */

static const uint32_t sha_constants[64] = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
  0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
  0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
  0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
  0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
  0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

static void sha_schedule(uint32_t w[64], const uint8_t *block) {
  for (int i = 0; i < 16; i++) w[i] = lnt__get_be32(block + i * 4);
  for (int i = 16; i < 64; i++) {
    uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
    uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
}

static void sha_block(uint32_t state[8], const uint8_t *block) {
  uint32_t w[64];
  sha_schedule(w, block);
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
  for (int i = 0; i < 64; i++) {
    uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + sha_constants[i] + w[i];
    uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1;
    d = c, c = b, b = a, a = t1 + t2;
  }
  const uint32_t after[8] = {a, b, c, d, e, f, g, h};
  for (int i = 0; i < 8; i++) state[i] += after[i];
}

void lnt__sha256_init(lnt__sha256 *sha) {
  static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(sha->state, start, sizeof start);
  sha->size = 0;
}

void lnt__sha256_add(lnt__sha256 *sha, const void *data, size_t size) {
  const uint8_t *at = data;
  size_t used = sha->size % 64;
  sha->size += size;
  while (size) {
    size_t part = 64 - used < size ? 64 - used : size;
    memcpy(sha->block + used, at, part);
    at += part;
    size -= part;
    used += part;
    if (used < 64) return;
    sha_block(sha->state, sha->block);
    used = 0;
  }
}

void lnt__sha256_end(lnt__sha256 *sha, uint8_t out[LNT__SHA256_BYTES]) {
  static const uint8_t padding[64] = {0x80};
  uint8_t bits[8];
  lnt__put_be64(bits, sha->size * 8);
  size_t used = sha->size % 64;
  lnt__sha256_add(sha, padding, used < 56 ? 56 - used : 120 - used);
  lnt__sha256_add(sha, bits, sizeof bits);
  for (int i = 0; i < 8; i++) lnt__put_be32(out + i * 4, sha->state[i]);
}

/* The two digits of each byte. */
#define ROW(d) d "0" d "1" d "2" d "3" d "4" d "5" d "6" d "7" d "8" d "9" d "a" d "b" d "c" d "d" d "e" d "f"
static const char hex_pairs[] = ROW("0") ROW("1") ROW("2") ROW("3") ROW("4") ROW("5") ROW("6") ROW("7")
                                ROW("8") ROW("9") ROW("a") ROW("b") ROW("c") ROW("d") ROW("e") ROW("f");
#undef ROW

void lnt__hex(const uint8_t *data, size_t size, char *out) {
  for (size_t i = 0; i < size; i++) memcpy(out + 2 * i, hex_pairs + 2 * data[i], 2);
  out[2 * size] = 0;
}
