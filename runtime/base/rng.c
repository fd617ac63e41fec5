/* rng.c - the random sequence that workflows see. Called by engine and vm; one thread per generator. lnt__entropy: any thread. */
#include "base/rng.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static uint64_t rotate_left(uint64_t value, int bits) { return value << bits | value >> (64 - bits); }

static uint64_t splitmix64(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void lnt__rng_seed(lnt__rng *rng, uint64_t seed) {
  for (int i = 0; i < 4; i++) rng->s[i] = splitmix64(&seed);
}

uint64_t lnt__rng_next(lnt__rng *rng) {
  uint64_t *s = rng->s, result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate_left(s[3], 45);
  return result;
}

/* The lowest (2^64 mod bound) values are thrown away, so that every rest is equally likely. */
uint64_t lnt__rng_below(lnt__rng *rng, uint64_t bound) {
  LNT__ASSERT(bound > 0);
  uint64_t rejected = (0 - bound) % bound, value;
  do value = lnt__rng_next(rng);
  while (value < rejected);
  return value % bound;
}

double lnt__rng_unit(lnt__rng *rng) { return (double)(lnt__rng_next(rng) >> 11) * 0x1p-53; }

static void write_bytes(char **at, uint64_t bits, int first, int count) {
  static const char digits[] = "0123456789abcdef";
  for (int i = first; i < first + count; i++) {
    unsigned byte = bits >> (56 - 8 * i) & 255;
    *(*at)++ = digits[byte >> 4];
    *(*at)++ = digits[byte & 15];
  }
}

/* `version` takes the place of four bits of `high`, the variant that of two bits of `low`. */
static void write_uuid(uint64_t high, uint64_t low, uint64_t version, char out[37]) {
  high = (high & ~0xf000ull) | version << 12;
  low = (low & ~(3ull << 62)) | 1ull << 63;
  write_bytes(&out, high, 0, 4);
  *out++ = '-';
  write_bytes(&out, high, 4, 2);
  *out++ = '-';
  write_bytes(&out, high, 6, 2);
  *out++ = '-';
  write_bytes(&out, low, 0, 2);
  *out++ = '-';
  write_bytes(&out, low, 2, 6);
  *out = 0;
}

void lnt__rng_uuid(lnt__rng *rng, char out[37]) {
  uint64_t high = lnt__rng_next(rng);
  write_uuid(high, lnt__rng_next(rng), 4, out);
}

void lnt__rng_uuid_at(lnt__rng *rng, int64_t time_us, char out[37]) {
  uint64_t us = time_us > 0 ? (uint64_t)time_us : 0;
  write_uuid(us / 1000 << 16 | us % 1000 << 2, lnt__rng_next(rng), 7, out); /* thousandths of the millisecond: ten bits of twelve */
}

/* Without getrandom (a strict seccomp filter) the clock, the process and the address space still tell two processes apart. */
uint64_t lnt__entropy(void) {
  uint64_t value = 0;
  ssize_t got;
  do got = getrandom(&value, sizeof value, 0);
  while (got < 0 && errno == EINTR);
  if (got == (ssize_t)sizeof value) return value;
  struct timespec now = {0, 0};
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t state = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  state = splitmix64(&state) ^ (uint64_t)getpid();
  state = splitmix64(&state) ^ (uint64_t)(uintptr_t)&value;
  return splitmix64(&state);
}
