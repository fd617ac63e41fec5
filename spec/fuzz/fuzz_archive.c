/* fuzz_archive.c - libFuzzer target: any bytes as an exported instance, with the checksums that its maker would have put on them. What is
 * refused, is refused; what is taken is replayed. No crash, no read outside the bytes. */
#include <stdlib.h>

#include "journal/archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void seal(uint8_t *bytes, size_t size) {
  lnt__sha256 sha;
  memcpy(bytes, LNT__ARCHIVE_MAGIC, LNT__ARCHIVE_MAGIC_BYTES);
  lnt__put_be32(bytes + 8, LNT__ARCHIVE_FORMAT);
  lnt__put_be64(bytes + 12, size);
  lnt__put_be32(bytes + 20, lnt__checksum(bytes, 20));
  lnt__sha256_init(&sha);
  lnt__sha256_add(&sha, bytes, size - LNT__SHA256_BYTES);
  lnt__sha256_end(&sha, bytes + size - LNT__SHA256_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t whole = size + LNT__ARCHIVE_HEAD_BYTES + LNT__SHA256_BYTES;
  uint8_t *bytes = malloc(whole);
  lnt_replay_options options;
  lnt_replay_options_init(&options);
  options.data = data;
  options.data_size = size;
  if (size) lnt_replay(&options, NULL, NULL, NULL, NULL);
  if (!bytes) return 0;
  if (size) memcpy(bytes + LNT__ARCHIVE_HEAD_BYTES, data, size);
  seal(bytes, whole);
  options.data = bytes;
  options.data_size = whole;
  options.all = 1;
  lnt_replay(&options, NULL, NULL, NULL, NULL);
  free(bytes);
  return 0;
}
