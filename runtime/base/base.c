/* base.c - errors, memory, names, UTF-8. Called by every layer, from any thread; holds no state. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"

/* The one place that writes to stderr: the process is about to end, and an end without a reason cannot be mended. */
_Noreturn void lnt__assert_failed(const char *condition, const char *file, int line) {
  char text[512];
  int size = snprintf(text, sizeof text, "lunation: bug: %s:%d: not true: %s\n", file, line, condition);
  if (size > (int)sizeof text - 1) size = (int)sizeof text - 1;
  if (size > 0 && write(STDERR_FILENO, text, (size_t)size) < 0) abort();
  abort();
}

/* Bytes of the UTF-8 sequence at `at`; 0: not valid there. */
static size_t utf8_sequence(const uint8_t *at, size_t left) {
  uint8_t lead = at[0];
  if (lead < 0x80) return 1;
  size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || size > left) return 0;
  for (size_t i = 1; i < size; i++)
    if ((at[i] & 0xc0) != 0x80) return 0;
  if (lead == 0xe0 && at[1] < 0xa0) return 0; /* over-long */
  if (lead == 0xed && at[1] > 0x9f) return 0; /* surrogate */
  if (lead == 0xf0 && at[1] < 0x90) return 0; /* over-long */
  if (lead == 0xf4 && at[1] > 0x8f) return 0; /* beyond U+10FFFF */
  return size;
}

size_t lnt__utf8_length(const char *text, size_t size) { return size ? utf8_sequence((const uint8_t *)text, size) : 0; }

bool lnt__utf8_valid(const char *text, size_t size) {
  if (!size) return true;
  const uint8_t *at = (const uint8_t *)text, *end = at + size;
  for (;;) {
    for (uint64_t word; end - at >= 8; at += 8) {
      memcpy(&word, at, 8);
      if (word & 0x8080808080808080u) break;
    }
    while (at < end && *at < 0x80) at++;
    if (at == end) return true;
    size_t length = utf8_sequence(at, (size_t)(end - at));
    if (!length) return false;
    at += length;
  }
}

/* A message is UTF-8 text on one line, whatever names were put into it and wherever it was cut. */
static void set_message(lnt_error *err, lnt_status code, const char *text) {
  size_t size = strlen(text), used = 0;
  while (size && (text[size - 1] == '\n' || text[size - 1] == '\r')) size--;
  for (size_t i = 0; i < size && used < LNT_ERROR_MESSAGE_MAX - 1;) {
    size_t length = lnt__utf8_length(text + i, size - i);
    if (used + length > LNT_ERROR_MESSAGE_MAX - 1) break;
    if (!length) err->message[used++] = '?';
    memcpy(err->message + used, text + i, length);
    used += length;
    i += length ? length : 1;
  }
  err->message[used] = 0;
  err->code = code;
}

/* The text is made apart first: the arguments may point into the message that is replaced. */
lnt_status lnt__fail(lnt_error *err, lnt_status code, const char *format, ...) {
  if (!err) return code;
  char text[LNT_ERROR_MESSAGE_MAX];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  set_message(err, code, text);
  return code;
}

lnt_status lnt__fail_prefix(lnt_error *err, lnt_status code, const char *format, ...) {
  if (!err) return code;
  char text[2 * LNT_ERROR_MESSAGE_MAX];
  va_list args;
  va_start(args, format);
  vsnprintf(text, LNT_ERROR_MESSAGE_MAX, format, args);
  va_end(args);
  size_t used = strlen(text);
  snprintf(text + used, sizeof text - used, ": %s", err->message);
  set_message(err, err->code, text);
  return err->code;
}

void *lnt__alloc(size_t size) {
  if (lnt__fault_hit(LNT__FAULT_alloc)) return NULL;
  return malloc(size ? size : 1);
}

void *lnt__calloc(size_t count, size_t size) {
  if (lnt__fault_hit(LNT__FAULT_alloc)) return NULL;
  return count && size ? calloc(count, size) : calloc(1, 1);
}

void *lnt__realloc(void *memory, size_t size) {
  if (lnt__fault_hit(LNT__FAULT_alloc)) return NULL;
  return realloc(memory, size ? size : 1);
}

void lnt__free(void *memory) { free(memory); }

char *lnt__strdup(const char *text) { return lnt__strndup(text, strlen(text)); }

char *lnt__strndup(const char *text, size_t size) {
  if (size == SIZE_MAX) return NULL;
  char *copy = lnt__alloc(size + 1);
  if (!copy) return NULL;
  if (size) memcpy(copy, text, size);
  copy[size] = 0;
  return copy;
}

/* `array` is the address of a pointer of some other type, so it is read and written as bytes. Large items begin with few: most instances
 * have one command at a time. */
bool lnt__grow(void **array, size_t *capacity, size_t need, size_t item_size) {
  if (need <= *capacity) return true;
  if (need > SIZE_MAX / 2 / item_size) return false;
  size_t least = item_size < 32 ? 8 : 2, wanted = *capacity * 2 < least ? least : *capacity * 2;
  if (wanted < need) wanted = need;
  void *memory;
  memcpy(&memory, array, sizeof memory);
  memory = lnt__realloc(memory, wanted * item_size);
  if (!memory) return false;
  memcpy(array, &memory, sizeof memory);
  *capacity = wanted;
  return true;
}

/* C0, DEL and C1 (U+0080 to U+009F, in UTF-8 c2 80 to c2 9f). */
static bool is_control(const uint8_t *at) { return at[0] < 0x20 || at[0] == 0x7f || (at[0] == 0xc2 && at[1] < 0xa0); }

/* ASCII and in order, as most names are? Each call of a workflow has one. */
static bool is_plain_name(const char *text, size_t max, bool slash) {
  size_t size = 0;
  for (unsigned char c; (c = (unsigned char)text[size]) != 0; size++)
    if (size == max || c < 0x20 || c >= 0x7f || (c == '/' && !slash)) return false;
  return size > 0;
}

lnt_status lnt__check_name(const char *what, const char *text, size_t max, bool slash, lnt_error *err) {
  if (text && is_plain_name(text, max, slash)) return LNT_OK;
  if (!text || !*text) return lnt__fail(err, LNT_EINVAL, "%s is empty: give 1 to %zu bytes of text", what, max);
  size_t size = strnlen(text, max + 1);
  if (size > max) return lnt__fail(err, LNT_EINVAL, "%s \"%.40s...\" is longer than %zu bytes: shorten it", what, text, max);
  if (!lnt__utf8_valid(text, size)) return lnt__fail(err, LNT_EINVAL, "%s \"%s\" is not valid UTF-8 text", what, text);
  for (size_t i = 0; i < size; i++) {
    if (is_control((const uint8_t *)text + i))
      return lnt__fail(err, LNT_EINVAL, "%s has a control character at byte %zu: use printable text", what, i + 1);
    if (text[i] == '/' && !slash) return lnt__fail(err, LNT_EINVAL, "%s \"%s\" has a '/' at byte %zu: leave it out", what, text, i + 1);
  }
  return LNT_OK;
}
