/* test_codec.c - the value encoding and JSON: one form per value, nothing malformed accepted, no text or bytes that crash. */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/rng.h"
#include "check.h"
#include "codec/json.h"

/* ---- Helpers ---- */

static size_t from_hex(const char *hex, uint8_t *out) {
  size_t size = 0;
  for (; *hex; hex++) {
    if (*hex == ' ') continue;
    char pair[3] = {hex[0], hex[1], 0};
    out[size++] = (uint8_t)strtoul(pair, NULL, 16);
    hex++;
  }
  return size;
}

/* What the buffer holds, in hex; the buffer is emptied. */
static const char *hex_of(lnt__buf *buf) {
  static char text[4096];
  size_t used = 0;
  text[0] = 0;
  for (size_t i = 0; i < buf->size && used + 3 < sizeof text; i++) used += (size_t)snprintf(text + used, 3, "%02x", buf->data[i]);
  lnt__buf_clear(buf);
  return text;
}

static lnt_value value_of(const lnt__buf *buf) { return (lnt_value){buf->data, buf->size}; }

/* Encode JSON; the tests' way to say a value. */
static lnt_value json(const char *text) {
  lnt_value value;
  lnt_error err = {LNT_OK, ""};
  if (lnt_value_from_json(text, strlen(text), &value, &err)) CHECK_FAIL("%s: %s", text, err.message);
  return value;
}

static void check_json_round_trip(const char *text, const char *expected) {
  lnt_value value = json(text);
  char *out = NULL;
  size_t size = 0;
  lnt_error err = {LNT_OK, ""};
  CHECK_STATUS(lnt__cbor_check(value, &err), LNT_OK);
  CHECK_STATUS(lnt_value_to_json(value, 0, &out, &size, &err), LNT_OK);
  CHECK_EQ_STR(out, expected);
  CHECK_EQ_UINT(size, strlen(expected));
  lnt_free(out);
  lnt_value_free(&value);
  CHECK(value.data == NULL && value.size == 0);
}

/* Read one item and write it again, the members of each map in a random order. */
static void reencode(lnt__reader *reader, lnt__buf *out, lnt__rng *rng);

static void reencode_map(lnt__reader *reader, size_t count, lnt__buf *out, lnt__rng *rng) {
  const uint8_t **members = calloc(count + 1, sizeof *members);
  for (size_t i = 0; i < count; i++) {
    members[i] = reader->at;
    CHECK(lnt__cbor_skip(reader) && lnt__cbor_skip(reader));
  }
  for (size_t i = count; i > 1; i--) {
    size_t other = (size_t)lnt__rng_below(rng, i);
    const uint8_t *moved = members[i - 1];
    members[i - 1] = members[other];
    members[other] = moved;
  }
  lnt__cbor_map map;
  lnt__cbor_map_begin(out, &map);
  for (size_t i = 0; i < count; i++) {
    lnt__reader member = {members[i], reader->end, false};
    reencode(&member, out, rng);
    reencode(&member, out, rng);
  }
  CHECK(lnt__cbor_map_end(out, &map, count, false));
  free(members);
}

static void reencode(lnt__reader *reader, lnt__buf *out, lnt__rng *rng) {
  lnt__cbor_item item = lnt__cbor_next(reader);
  switch (item.type) {
    case LNT__CBOR_NIL: lnt__cbor_nil(out); break;
    case LNT__CBOR_BOOL: lnt__cbor_bool(out, item.as.boolean); break;
    case LNT__CBOR_INT: lnt__cbor_int(out, item.as.integer); break;
    case LNT__CBOR_FLOAT: lnt__cbor_number(out, item.as.number); break;
    case LNT__CBOR_STRING: lnt__cbor_string(out, item.as.string.data, item.as.string.size); break;
    case LNT__CBOR_ARRAY:
      lnt__cbor_array(out, item.as.count);
      for (size_t i = 0; i < item.as.count; i++) reencode(reader, out, rng);
      break;
    case LNT__CBOR_MAP: reencode_map(reader, item.as.count, out, rng); break;
    case LNT__CBOR_BAD: CHECK_FAIL("a checked value cannot be read"); break;
  }
}

static void check_one_form(lnt_value value, lnt__rng *rng) {
  lnt__buf out;
  lnt__buf_init(&out);
  lnt__reader reader = lnt__reader_of(value.data, value.size);
  reencode(&reader, &out, rng);
  CHECK(!reader.failed && reader.at == reader.end);
  if (value.size) {
    CHECK_EQ_UINT(out.size, value.size);
    CHECK_EQ_MEM(out.data, value.data, value.size);
  }
  lnt__buf_finish(&out);
}

static void random_string(lnt__buf *out, lnt__rng *rng) {
  static const char *const pieces[] = {"a", "key", "\xc3\xa9", "\xf0\x9f\x8c\x99", "\xff", "\xed\xa0\x80",
                                       "with \"quotes\" and \\", "\n\x01"};
  lnt__buf text;
  lnt__buf_init(&text);
  for (uint64_t i = lnt__rng_below(rng, 5); i; i--) lnt__buf_printf(&text, "%s", pieces[lnt__rng_below(rng, LNT__COUNT(pieces))]);
  if (lnt__rng_below(rng, 20) == 0) {
    for (uint64_t i = lnt__rng_below(rng, 400); i; i--) lnt__buf_u8(&text, 'x');
  }
  lnt__cbor_string(out, (const char *)text.data, text.size);
  lnt__buf_finish(&text);
}

static double random_number(lnt__rng *rng) {
  uint64_t bits = lnt__rng_next(rng);
  double number;
  switch (lnt__rng_below(rng, 5)) {
    case 0: return (double)(int64_t)(bits >> (bits & 63)) * (bits & 64 ? -1 : 1);
    case 1: return (double)(int)(bits & 0xffff) / 64 - 100; /* short floats */
    case 2: return (double)(float)(lnt__rng_unit(rng) * 1e10);
    case 3: bits &= ~0ull << lnt__rng_below(rng, 52); break; /* few mantissa bits, any exponent */
    default: break;
  }
  memcpy(&number, &bits, sizeof number);
  return number;
}

static void random_value(lnt__buf *out, lnt__rng *rng, int depth);

/* Keys differ by construction: each has its number in it. */
static void random_map(lnt__buf *out, lnt__rng *rng, int depth) {
  size_t count = (size_t)(lnt__rng_below(rng, 30) ? lnt__rng_below(rng, 6) : lnt__rng_below(rng, 100));
  uint64_t salt = lnt__rng_next(rng) | 1;
  lnt__cbor_map map;
  lnt__cbor_map_begin(out, &map);
  for (uint64_t i = 0; i < count; i++) {
    char key[40];
    int size = snprintf(key, sizeof key, "%.*s%llx", (int)(salt >> i % 60 & 15), "prefix-shared-by-keys", (unsigned long long)(i * salt));
    uint64_t kind = (i + salt) % 4;
    if (kind == 0) lnt__cbor_int(out, (int64_t)(i * (salt % 1000 + 1)) - 300);
    else if (kind == 1) lnt__cbor_number(out, (double)i * 1024 + 0.5);
    else lnt__cbor_string(out, key, (size_t)size);
    random_value(out, rng, depth + 1);
  }
  CHECK(lnt__cbor_map_end(out, &map, count, false));
}

static void random_value(lnt__buf *out, lnt__rng *rng, int depth) {
  switch (lnt__rng_below(rng, depth < 6 ? 9 : 6)) {
    case 0: lnt__cbor_nil(out); break;
    case 1: lnt__cbor_bool(out, lnt__rng_next(rng) & 1); break;
    case 2: case 3: lnt__cbor_number(out, random_number(rng)); break;
    case 4: case 5: random_string(out, rng); break;
    case 6: {
      uint64_t count = lnt__rng_below(rng, 6);
      lnt__cbor_array(out, count);
      while (count--) random_value(out, rng, depth + 1);
      break;
    }
    default: random_map(out, rng, depth); break;
  }
}

/* ---- Writing ---- */

/* RFC 8949 appendix A, and the edges of every width. */
static void test_integers(void) {
  static const struct { int64_t value; const char *hex; } cases[] = {
    {0, "00"}, {1, "01"}, {10, "0a"}, {23, "17"}, {24, "1818"}, {25, "1819"}, {100, "1864"}, {255, "18ff"}, {256, "190100"},
    {1000, "1903e8"},
    {65535, "19ffff"}, {65536, "1a00010000"}, {1000000, "1a000f4240"}, {4294967295, "1affffffff"}, {4294967296, "1b0000000100000000"},
    {1000000000000, "1b000000e8d4a51000"}, {1ll << 53, "1b0020000000000000"}, {-1, "20"}, {-10, "29"}, {-24, "37"}, {-25, "3818"},
    {-100, "3863"}, {-1000, "3903e7"}, {-(1ll << 53), "3b001fffffffffffff"}, {INT64_MAX, "fa5f000000"}, {INT64_MIN, "fadf000000"},
    {(1ll << 53) + 2, "fb4340000000000001"},
  };
  lnt__buf buf;
  lnt__buf_init(&buf);
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    lnt__cbor_int(&buf, cases[i].value);
    CHECK_STATUS(lnt__cbor_check(value_of(&buf), NULL), LNT_OK);
    CHECK_EQ_STR(hex_of(&buf), cases[i].hex);
    lnt__cbor_number(&buf, (double)cases[i].value); /* one form of each number */
    CHECK_EQ_STR(hex_of(&buf), cases[i].hex);
  }
  lnt__buf_finish(&buf);
}

static void test_floats(void) {
  static const struct { double value; const char *hex; } cases[] = {
    {0.0, "00"}, {-0.0, "00"}, {1.0, "01"}, {-4.0, "23"}, {65504.0, "19ffe0"}, {100000.0, "1a000186a0"}, {1.5, "f93e00"},
    {1.1, "fb3ff199999999999a"},
    {-4.1, "fbc010666666666666"}, {1.0e300, "fb7e37e43c8800759c"}, {3.4028234663852886e+38, "fa7f7fffff"}, {5.960464477539063e-8, "f90001"},
    {0.00006103515625, "f90400"}, {0x1p-25, "fa33000000"}, {0x1.8p-24, "fa33c00000"}, {0x3p-24, "f90003"}, {0x1p-149, "fa00000001"},
    {0x1p-150, "fb3690000000000000"}, {0x1.8p-149, "fb36a8000000000000"}, {0x1p-1074, "fb0000000000000001"}, {0x1p-126, "fa00800000"},
    {0x1p-127, "fa00400000"}, {HUGE_VAL, "f97c00"}, {-HUGE_VAL, "f9fc00"}, {0x1p54, "fa5a800000"}, {-0x1p54, "fada800000"},
    {0x1p127, "fa7f000000"}, {0x1p128, "fb47f0000000000000"}, {-0.5, "f9b800"}, {0x1.ffcp-1, "f93bff"}, {0x1.ffep-1, "fa3f7ff000"},
    {DBL_MAX, "fb7fefffffffffffff"}, {9007199254740994.0, "fb4340000000000001"}, {0.1, "fb3fb999999999999a"}, {0x1.fffffep-1, "fa3f7fffff"},
  };
  lnt__buf buf;
  lnt__buf_init(&buf);
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    lnt__cbor_number(&buf, cases[i].value);
    CHECK_STATUS(lnt__cbor_check(value_of(&buf), NULL), LNT_OK);
    lnt__reader reader = lnt__reader_of(buf.data, buf.size);
    lnt__cbor_item item = lnt__cbor_next(&reader);
    CHECK((item.type == LNT__CBOR_INT ? (double)item.as.integer : item.as.number) == cases[i].value);
    CHECK_EQ_STR(hex_of(&buf), cases[i].hex);
  }
  lnt__cbor_number(&buf, NAN);
  CHECK_STATUS(lnt__cbor_check(value_of(&buf), NULL), LNT_OK);
  CHECK_EQ_STR(hex_of(&buf), "f97e00");
  lnt__cbor_number(&buf, -NAN);
  CHECK_EQ_STR(hex_of(&buf), "f97e00");
  lnt__buf_finish(&buf);
}

/* Every half and many singles and doubles come back as they went, in no more bytes than they need. */
static void test_all_widths_round_trip(void) {
  lnt__buf buf;
  lnt__rng rng;
  CHECK_SEED(9);
  lnt__rng_seed(&rng, 9);
  lnt__buf_init(&buf);
  for (uint32_t i = 0; i < 200000; i++) {
    double value = random_number(&rng);
    lnt__buf_clear(&buf);
    lnt__cbor_number(&buf, value);
    lnt__reader reader = lnt__reader_of(buf.data, buf.size);
    lnt__cbor_item item = lnt__cbor_next(&reader);
    if (item.type == LNT__CBOR_INT) CHECK((double)item.as.integer == value);
    else if (value != value) CHECK(item.as.number != item.as.number);
    else CHECK(item.type == LNT__CBOR_FLOAT && memcmp(&item.as.number, &value, sizeof value) == 0);
    if (fabs(value) <= (double)FLT_MAX && (double)(float)value == value) CHECK(buf.size <= 5 || item.type == LNT__CBOR_INT);
    CHECK_STATUS(lnt__cbor_check(value_of(&buf), NULL), LNT_OK);
  }
  for (uint32_t half = 0; half < 65536; half++) { /* a half is canonical unless it is an integer or another NaN */
    uint8_t bytes[3] = {0xf9, (uint8_t)(half >> 8), (uint8_t)half};
    lnt__buf_clear(&buf);
    if (lnt__cbor_check((lnt_value){bytes, 3}, NULL)) continue;
    lnt__reader reader = lnt__reader_of(bytes, 3);
    lnt__cbor_number(&buf, lnt__cbor_next(&reader).as.number);
    CHECK_EQ_UINT(buf.size, 3);
    CHECK_EQ_MEM(buf.data, bytes, 3);
  }
  lnt__buf_finish(&buf);
}

static void test_strings(void) {
  lnt__buf buf;
  lnt__buf_init(&buf);
  static const struct { const char *text, *hex; } cases[] = {
    {"", "60"}, {"a", "6161"}, {"IETF", "6449455446"}, {"\"\\", "62225c"}, {"\xc3\xbc", "62c3bc"}, {"\xe6\xb0\xb4", "63e6b0b4"},
    {"\xf0\x90\x85\x91", "64f0908591"}, {"\xff", "41ff"}, {"\x01\x02\x80", "43010280"},
  };
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    lnt__cbor_cstring(&buf, cases[i].text);
    CHECK_STATUS(lnt__cbor_check(value_of(&buf), NULL), LNT_OK);
    CHECK_EQ_STR(hex_of(&buf), cases[i].hex);
  }
  lnt__cbor_string(&buf, "a\0b", 3);
  CHECK_EQ_STR(hex_of(&buf), "63610062");
  lnt__cbor_string(&buf, NULL, 0);
  CHECK_EQ_STR(hex_of(&buf), "60");
  static const size_t sizes[] = {23, 24, 255, 256, 65535, 65536};
  static char big[65536];
  memset(big, 'b', sizeof big);
  for (size_t i = 0; i < LNT__COUNT(sizes); i++) {
    lnt__buf_clear(&buf);
    lnt__cbor_string(&buf, big, sizes[i]);
    CHECK_STATUS(lnt__cbor_check(value_of(&buf), NULL), LNT_OK);
    lnt__reader reader = lnt__reader_of(buf.data, buf.size);
    CHECK_EQ_UINT(lnt__cbor_next(&reader).as.string.size, sizes[i]);
  }
  lnt__buf_finish(&buf);
}

/* The members of the vectors, from JSON where JSON can say them. */
static void test_containers(void) {
  static const struct { const char *text, *hex; } cases[] = {
    {"[]", "80"}, {"{}", "a0"}, {"[1,2,3]", "83010203"}, {"[1,[2,3],[4,5]]", "8301820203820405"}, {"true", "f5"}, {"false", "f4"},
    {"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]", "98190102030405060708090a0b0c0d0e0f101112131415161718181819"},
    {"{\"a\":1,\"b\":[2,3]}", "a26161016162820203"}, {"[\"a\",{\"b\":\"c\"}]", "826161a161626163"},
    {"{\"e\":\"E\",\"d\":\"D\",\"c\":\"C\",\"b\":\"B\",\"a\":\"A\"}", "a56161614161626142616361436164614461656145"},
    {"{\"aa\":1,\"b\":2,\"\":3}", "a36003616202626161" "01"}, {"[null]", "81f6"},
  };
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    lnt_value value = json(cases[i].text);
    uint8_t expected[128];
    size_t size = from_hex(cases[i].hex, expected);
    CHECK_EQ_UINT(value.size, size);
    CHECK_EQ_MEM(value.data, expected, size < value.size ? size : value.size);
    lnt_value_free(&value);
  }
  lnt__buf buf; /* {1: 2, 3: 4}, told backwards */
  lnt__buf_init(&buf);
  lnt__cbor_map map;
  lnt__cbor_map_begin(&buf, &map);
  lnt__cbor_int(&buf, 3), lnt__cbor_int(&buf, 4), lnt__cbor_int(&buf, 1), lnt__cbor_int(&buf, 2);
  CHECK(lnt__cbor_map_end(&buf, &map, 2, false));
  CHECK_EQ_STR(hex_of(&buf), "a201020304");
  lnt__buf_finish(&buf);
}

/* RFC 8949, section 4.2.1: the very keys of its example, in all orders. */
static void write_key(lnt__buf *buf, int which) {
  switch (which) {
    case 0: lnt__cbor_int(buf, 10); break;
    case 1: lnt__cbor_int(buf, 100); break;
    case 2: lnt__cbor_int(buf, -1); break;
    case 3: lnt__cbor_cstring(buf, "z"); break;
    case 4: lnt__cbor_cstring(buf, "aa"); break;
    case 5: lnt__cbor_number(buf, 0.5); break;
    default: lnt__cbor_cstring(buf, "\xff"); break;
  }
}

static void test_key_order_in_all_permutations(void) {
  enum { N = 7 };
  int order[N] = {0, 1, 2, 3, 4, 5, 6}, counts[N] = {0};
  lnt__buf buf;
  lnt__buf_init(&buf);
  for (int at = 0;;) { /* Heap's method: 5040 orders */
    lnt__buf_clear(&buf);
    lnt__cbor_map map;
    lnt__cbor_map_begin(&buf, &map);
    for (int i = 0; i < N; i++) write_key(&buf, order[i]), lnt__cbor_int(&buf, order[i]);
    REQUIRE(lnt__cbor_map_end(&buf, &map, N, false));
    REQUIRE(CHECK_EQ_STR(hex_of(&buf), "a70a001864012002" "41ff06" "617a03" "62616104" "f9380005"));
    while (at < N && counts[at] >= at) counts[at++] = 0;
    if (at == N) break;
    int other = at % 2 ? counts[at] : 0, moved = order[other];
    order[other] = order[at];
    order[at] = moved;
    counts[at]++;
    at = 0;
  }
  lnt__buf_finish(&buf);
}

static void test_big_maps(void) {
  static const size_t sizes[] = {22, 23, 24, 25, 31, 32, 33, 34, 255, 256, 1000, 70000};
  lnt__rng rng;
  lnt__buf buf;
  lnt__buf_init(&buf);
  for (size_t s = 0; s < LNT__COUNT(sizes); s++) {
    CHECK_SEED(s);
    lnt__rng_seed(&rng, s);
    lnt__buf_clear(&buf);
    lnt__cbor_nil(&buf); /* something before it that must stay */
    lnt__cbor_map map;
    lnt__cbor_map_begin(&buf, &map);
    for (size_t i = 0; i < sizes[s]; i++) {
      char key[32];
      int size = snprintf(key, sizeof key, "%llx-%zu", (unsigned long long)(lnt__rng_next(&rng) >> (i % 60)), i);
      lnt__cbor_string(&buf, key, (size_t)size);
      lnt__cbor_string(&buf, key, (size_t)size);
    }
    REQUIRE(lnt__cbor_map_end(&buf, &map, sizes[s], false));
    lnt_error err = {LNT_OK, ""};
    CHECK_STATUS(lnt__cbor_check((lnt_value){buf.data + 1, buf.size - 1}, &err), LNT_OK);
    CHECK_EQ_STR(err.message, "");
    CHECK_EQ_INT(buf.data[0], 0xf6);
    lnt__reader reader = lnt__reader_of(buf.data + 1, buf.size - 1);
    CHECK_EQ_UINT(lnt__cbor_next(&reader).as.count, sizes[s]);
    for (size_t i = 0; i < sizes[s]; i++) { /* each value stayed with its key */
      lnt__cbor_item key = lnt__cbor_next(&reader), value = lnt__cbor_next(&reader);
      REQUIRE(key.as.string.size == value.as.string.size);
      CHECK_EQ_MEM(key.as.string.data, value.as.string.data, key.as.string.size);
    }
  }
  lnt__buf_finish(&buf);
}

static void test_map_end_refuses(void) {
  lnt__buf buf;
  lnt__cbor_map map;
  lnt__buf_init(&buf);
  for (size_t count = 2; count < 100; count += 31) {
    lnt__buf_clear(&buf);
    lnt__cbor_map_begin(&buf, &map);
    for (size_t i = 0; i < count; i++) lnt__cbor_int(&buf, (int64_t)(i + 1 == count ? 0 : i)), lnt__cbor_nil(&buf);
    CHECK(!lnt__cbor_map_end(&buf, &map, count, false)); /* 0 appears twice */
    CHECK(!buf.failed);
  }
  lnt__buf_clear(&buf);
  lnt__cbor_map_begin(&buf, &map);
  lnt__cbor_int(&buf, 2), lnt__cbor_nil(&buf), lnt__cbor_int(&buf, 1);
  CHECK(!lnt__cbor_map_end(&buf, &map, 2, false)); /* a value is missing */
  CHECK(!lnt__cbor_map_end(&buf, &map, 5000, false));
  lnt__buf_clear(&buf);
  lnt__cbor_map_begin(&buf, &map);
  lnt__cbor_int(&buf, 1), lnt__cbor_nil(&buf), lnt__cbor_int(&buf, 2), lnt__cbor_nil(&buf);
  CHECK(lnt__cbor_map_end(&buf, &map, 2, true)); /* promised, and true */
  CHECK_EQ_STR(hex_of(&buf), "a201f602f6");
  lnt__buf_finish(&buf);
}

/* ---- Reading ---- */

static void test_empty_reader(void) {
  lnt__reader reader = lnt__reader_of(NULL, 0);
  CHECK_EQ_INT(lnt__cbor_next(&reader).type, LNT__CBOR_NIL);
  CHECK_EQ_INT(lnt__cbor_next(&reader).type, LNT__CBOR_BAD);
  reader = lnt__reader_of("", 0);
  CHECK(lnt__cbor_skip(&reader));
  CHECK(!lnt__cbor_skip(&reader));
  reader = lnt__reader_of("\x01", 1);
  CHECK_EQ_INT(lnt__cbor_next(&reader).as.integer, 1);
  CHECK(!reader.failed);
  CHECK_EQ_INT(lnt__cbor_next(&reader).type, LNT__CBOR_BAD); /* past the end is not nil */
  CHECK(reader.failed);
  CHECK_STATUS(lnt__cbor_check(LNT_VALUE_NIL, NULL), LNT_OK);
}

static void test_refused(void) {
  static const struct { const char *hex, *why; } cases[] = {
    {"1817", "byte 0"}, {"1900ff", "shortest"}, {"1a0000ffff", "shortest"}, {"1b00000000ffffffff", "shortest"}, {"3817", "shortest"},
    {"1b0020000000000001", "shortest"}, {"1bffffffffffffffff", "shortest"}, {"3b0020000000000000", "shortest"}, {"780161", "shortest"},
    {"5801ff", "shortest"}, {"980101", "shortest"}, {"b8010101", "shortest"}, {"1c", "kind"}, {"1f", "kind"}, {"18", "cut short"},
    {"19ff", "cut short"}, {"fb0000", "cut short"}, {"6261", "cut short"}, {"42ff", "cut short"}, {"8201", "cut short"},
    {"81", "cut short"},
    {"a101", "cut short"}, {"a20102", "cut short"}, {"7bffffffffffffffff61", "cut short"}, {"9bffffffffffffffff01", "cut short"},
    {"bbffffffffffffffff01", "cut short"}, {"9bfffffffffffffffe", "cut short"}, {"bb8000000000000001", "cut short"},
    {"f90000", "shortest"}, {"f98000", "shortest"}, {"f93c00", "shortest"}, {"f97e01", "shortest"}, {"f9fe00", "shortest"},
    {"f97c01", "shortest"},
    {"fa7fc00000", "shortest"}, {"fb7ff8000000000000", "shortest"}, {"fa7f800000", "shortest"}, {"fb7ff0000000000000", "shortest"},
    {"fa3fc00000", "shortest"}, {"fb3ff8000000000000", "shortest"}, {"fb4330000000000000", "shortest"}, {"fa47c35000", "shortest"},
    {"fb47efffffe0000000", "shortest"}, {"fa33800000", "shortest"}, {"fb36a0000000000000", "shortest"}, {"f7", "kind"}, {"e0", "kind"},
    {"f0", "kind"}, {"f8ff", "kind"}, {"f800", "kind"}, {"f818", "kind"}, {"fc", "kind"}, {"ff", "kind"},
    {"c074323031332d30332d3231", "kind"},
    {"c101", "kind"}, {"d9d9f7f6", "kind"}, {"5f42010243030405ff", "kind"}, {"7f61616162ff", "kind"}, {"9fff", "kind"},
    {"9f0102ff", "kind"},
    {"bf61610161629f0203ffff", "kind"}, {"61ff", "not valid UTF-8"}, {"63eda080", "not valid UTF-8"}, {"62c080", "not valid UTF-8"},
    {"40", "should be a text string"}, {"4161", "should be a text string"}, {"a1f601", "key"}, {"a1f401", "key"}, {"a18001", "key"},
    {"a1a001", "key"}, {"a1f97e0001", "key"}, {"a201020102", "byte 3 of 5: a map key appears twice"},
    {"a203040102", "byte 3 of 5: map keys are not in order"}, {"a2626161016162" "02", "not in order"}, {"a26161016161" "02", "twice"},
    {"a2616101200" "2", "not in order"}, {"0000", "byte 1 of 2: more bytes follow"}, {"f6f6", "more bytes"}, {"8001", "more bytes"},
    {"8181a2010" "20102", "byte 5 of 7"},
  };
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    uint8_t *bytes = malloc(64); /* from the heap and to the byte, so that a sanitizer sees a read past the end */
    size_t size = from_hex(cases[i].hex, bytes);
    bytes = realloc(bytes, size);
    lnt_error err = {LNT_OK, ""};
    if (lnt__cbor_check((lnt_value){bytes, size}, &err) != LNT_EVALUE) CHECK_FAIL("%s is not refused", cases[i].hex);
    else if (!strstr(err.message, cases[i].why)) CHECK_FAIL("%s: \"%s\" lacks \"%s\"", cases[i].hex, err.message, cases[i].why);
    free(bytes);
  }
}

/* `depth` arrays or maps, one in the other, with 7 in the middle. */
static void nest(lnt__buf *buf, int depth, bool maps) {
  lnt__buf_clear(buf);
  for (int i = 0; i < depth; i++) {
    lnt__buf_u8(buf, maps ? 0xa1 : 0x81);
    if (maps) lnt__buf_u8(buf, 0);
  }
  lnt__buf_u8(buf, 7);
}

static void test_depth(void) {
  lnt__buf buf;
  lnt_error err = {LNT_OK, ""};
  lnt__buf_init(&buf);
  for (int maps = 0; maps < 2; maps++) {
    nest(&buf, LNT_VALUE_DEPTH_MAX, maps);
    CHECK_STATUS(lnt__cbor_check(value_of(&buf), &err), LNT_OK);
    nest(&buf, LNT_VALUE_DEPTH_MAX + 1, maps);
    CHECK_STATUS(lnt__cbor_check(value_of(&buf), &err), LNT_ELIMIT);
    CHECK_HAS(err.message, "64 levels");
    nest(&buf, 1000000, maps);
    CHECK_STATUS(lnt__cbor_check(value_of(&buf), &err), LNT_ELIMIT);
    lnt__reader reader = lnt__reader_of(buf.data, buf.size);
    CHECK(lnt__cbor_skip(&reader) && reader.at == reader.end);
    char text[64], *out = NULL;
    lnt__cbor_brief(value_of(&buf), text, sizeof text);
    CHECK_STATUS(lnt_value_to_json(value_of(&buf), 0, &out, NULL, &err), LNT_EVALUE);
    lnt__buf other;
    lnt__buf_init(&other);
    lnt__buf_append(&other, buf.data, buf.size);
    other.data[other.size - 1] = 8;
    lnt__cbor_diff(value_of(&buf), value_of(&other), "deep", text, sizeof text);
    CHECK_HAS(text, "deep");
    lnt__buf_finish(&other);
  }
  lnt__buf_finish(&buf);
}

static void test_member(void) {
  lnt_value map = json("{\"name\":\"luna\",\"n\":{\"name\":\"inner\"},\"list\":[1,2],\"\":5,\"nothing\":null}"), value;
  size_t size = 0;
  CHECK(lnt__cbor_member(map, "list", &value));
  CHECK_EQ_UINT(value.size, 3);
  CHECK(lnt__cbor_member(map, "", &value));
  CHECK_EQ_MEM(value.data, "\x05", 1);
  CHECK(lnt__cbor_member(map, "nothing", &value));
  CHECK_EQ_MEM(value.data, "\xf6", 1);
  CHECK(!lnt__cbor_member(map, "lis", &value));
  CHECK(!lnt__cbor_member(value, "name", &value));
  CHECK(!lnt__cbor_member(LNT_VALUE_NIL, "name", &value));
  CHECK_EQ_MEM(lnt__cbor_member_string(map, "name", &size), "luna", 4);
  CHECK_EQ_UINT(size, 4);
  CHECK(lnt__cbor_member(map, "n", &value));
  CHECK_EQ_MEM(lnt__cbor_member_string(value, "name", &size), "inner", 5);
  CHECK(lnt__cbor_member_string(map, "list", &size) == NULL);
  CHECK(lnt__cbor_member_string(map, "absent", &size) == NULL);
  map.size -= 1; /* cut short: found or not, but never outside */
  CHECK(!lnt__cbor_member(map, "no such", &value));
  map.size += 1;
  lnt_value_free(&map);
}

/* ---- Random values and random bytes ---- */

static void test_random_values(void) {
  lnt__rng rng;
  lnt__buf buf;
  lnt__buf_init(&buf);
  for (uint64_t seed = 1; seed <= 1500; seed++) {
    CHECK_SEED(seed);
    lnt__rng_seed(&rng, seed);
    lnt__buf_clear(&buf);
    random_value(&buf, &rng, 0);
    lnt_error err = {LNT_OK, ""};
    if (!CHECK_STATUS(lnt__cbor_check(value_of(&buf), &err), LNT_OK)) CHECK_FAIL("%s", err.message);
    check_one_form(value_of(&buf), &rng);
    for (size_t cut = 1; cut < buf.size; cut += 1 + buf.size / 40) { /* no beginning of a value is a value */
      uint8_t *part = malloc(cut);
      memcpy(part, buf.data, cut);
      CHECK_STATUS(lnt__cbor_check((lnt_value){part, cut}, NULL), LNT_EVALUE);
      free(part);
    }
  }
  lnt__buf_finish(&buf);
}

/* Whatever the bytes: no crash; and what is accepted is the one form of its value. */
static void try_bytes(const uint8_t *bytes, size_t size, lnt__rng *rng, unsigned *accepted) {
  uint8_t *exact = malloc(size ? size : 1);
  memcpy(exact, bytes, size);
  lnt_value value = {exact, size}, other = {exact, size / 2}, member;
  char text[80];
  lnt_status status = lnt__cbor_check(value, NULL);
  CHECK(status == LNT_OK || status == LNT_EVALUE || status == LNT_ELIMIT);
  lnt__cbor_brief(value, text, sizeof text);
  CHECK(strlen(text) < sizeof text && lnt__utf8_valid(text, strlen(text)));
  lnt__cbor_diff(value, other, "x", text, sizeof text);
  lnt__cbor_member(value, "key", &member);
  if (status == LNT_OK) {
    ++*accepted;
    check_one_form(value, rng);
    char *out = NULL;
    CHECK_STATUS(lnt_value_to_json(value, 2, &out, NULL, NULL), LNT_OK);
    lnt_free(out);
  }
  free(exact);
}

static void test_random_bytes(void) {
  static const uint8_t heads[] = {0x00, 0x17, 0x18, 0x19, 0x20, 0x38, 0x41, 0x60, 0x61, 0x62, 0x80, 0x81, 0x82, 0x83,
                                  0x98, 0xa0, 0xa1, 0xa2, 0xb8, 0xf4, 0xf5, 0xf6, 0xf9, 0xfa, 0xfb, 0xff, 0x01, 0x02};
  lnt__rng rng;
  unsigned accepted = 0;
  CHECK_SEED(77);
  lnt__rng_seed(&rng, 77);
  for (int round = 0; round < 60000; round++) {
    uint8_t bytes[40];
    size_t size = (size_t)lnt__rng_below(&rng, sizeof bytes);
    for (size_t i = 0; i < size; i++) {
      uint64_t random = lnt__rng_next(&rng);
      bytes[i] = random & 1 ? heads[(random >> 8) % sizeof heads] : (uint8_t)(random >> 8);
    }
    try_bytes(bytes, size, &rng, &accepted);
  }
  CHECK(accepted > 1000);
}

static void test_mutated_values(void) {
  lnt__rng rng;
  lnt__buf buf;
  unsigned accepted = 0;
  lnt__buf_init(&buf);
  for (uint64_t seed = 1; seed <= 300; seed++) {
    CHECK_SEED(seed);
    lnt__rng_seed(&rng, seed);
    lnt__buf_clear(&buf);
    random_value(&buf, &rng, 1);
    for (int change = 0; change < 40 && buf.size < 5000; change++) {
      size_t at = (size_t)lnt__rng_below(&rng, buf.size);
      uint8_t before = buf.data[at];
      buf.data[at] ^= (uint8_t)(1u << lnt__rng_below(&rng, 8));
      try_bytes(buf.data, buf.size, &rng, &accepted);
      if (lnt__rng_below(&rng, 3)) buf.data[at] = before;
    }
  }
  CHECK(accepted > 100);
  lnt__buf_finish(&buf);
}

/* ---- Text for people ---- */

static void test_brief(void) {
  static const struct { const char *text, *brief; } cases[] = {
    {"null", "nil"}, {"true", "true"}, {"-7", "-7"}, {"0.1", "0.1"}, {"1e300", "1e+300"}, {"\"a\\nb\\\"\\u0001\"", "\"a\\nb\\\"\\x01\""},
    {"[1,[2],{}]", "[1, [2], {}]"}, {"{\"b c\":1,\"a\":null,\"_x1\":\"\"}", "{a: nil, _x1: \"\", \"b c\": 1}"}, {"[]", "[]"},
    {"\"01234567890123456789012345678901234567890\"", "\"01234567890123456789012345678901..."},
    {"\"0123456789012345678901234567890\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\"", "\"0123456789012345678901234567890..."},
  };
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    lnt_value value = json(cases[i].text);
    char text[37];
    lnt__cbor_brief(value, text, sizeof text);
    CHECK_EQ_STR(text, cases[i].brief);
    for (size_t size = 1; size < 12; size++) { /* any size is kept to */
      memset(text, '#', sizeof text);
      lnt__cbor_brief(value, text, size);
      CHECK(strlen(text) < size && text[size] == '#');
    }
    lnt_value_free(&value);
  }
  char text[32];
  lnt__cbor_brief((lnt_value){"\x42\xff\x41", 3}, text, sizeof text);
  CHECK_EQ_STR(text, "\"\\xffA\"");
  lnt__cbor_brief((lnt_value){"\xff", 1}, text, sizeof text);
  CHECK_EQ_STR(text, "(unreadable)");
  lnt__cbor_brief((lnt_value){"\xf9\x7c\x00", 3}, text, sizeof text);
  CHECK_EQ_STR(text, "inf");
  lnt__cbor_brief(LNT_VALUE_NIL, NULL, 0);
}

static void test_diff(void) {
  static const struct { const char *recorded, *wanted, *diff; } cases[] = {
    {"1", "1", ""}, {"null", "null", ""}, {"[null]", "[null]", ""}, {"1", "2", "input: 1 vs 2"}, {"1", "\"1\"", "input: 1 vs \"1\""},
    {"null", "false", "input: nil vs false"}, {"{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":3}", "input.b: 2 vs 3"},
    {"{\"items\":[1,2,{\"qty\":2}]}", "{\"items\":[1,2,{\"qty\":3}]}", "input.items[3].qty: 2 vs 3"},
    {"[1,2]", "[1,2,3]", "input[3]: absent vs 3"}, {"[1,2,[9]]", "[1]", "input[2]: 2 vs absent"}, {"[]", "[1]", "input[1]: absent vs 1"},
    {"{\"a\":1}", "{}", "input.a: 1 vs absent"}, {"{\"b\":1}", "{\"a\":null,\"b\":1}", "input.a: absent vs nil"},
    {"{\"a\":1,\"c\":1}", "{\"b\":1,\"c\":1}", "input.a: 1 vs absent"}, {"[]", "{}", "input: [] vs {}"},
    {"{\"a b\":1}", "{\"a b\":2}", "input[\"a b\"]: 1 vs 2"}, {"\"kitten\"", "\"sitting\"", "input: \"kitten\" vs \"sitting\""},
    {"\"the common beginning of both is long, then A\"", "\"the common beginning of both is long, then B\"",
     "input: \"... long, then A\" vs \"... long, then B\""},
  };
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    lnt_value recorded = json(cases[i].recorded), wanted = json(cases[i].wanted);
    char text[256];
    lnt__cbor_diff(recorded, wanted, "input", text, sizeof text);
    CHECK_EQ_STR(text, cases[i].diff);
    char small[10];
    lnt__cbor_diff(recorded, wanted, "input", small, sizeof small);
    CHECK(strlen(small) < sizeof small);
    lnt_value_free(&recorded);
    lnt_value_free(&wanted);
  }
  char text[64];
  lnt__cbor_diff(LNT_VALUE_NIL, (lnt_value){"\xf6", 1}, "x", text, sizeof text);
  CHECK_EQ_STR(text, ""); /* both forms of nil */
  lnt__cbor_diff((lnt_value){"\xa1\x02\x01", 3}, (lnt_value){"\xa1\x02\x03", 3}, "x", text, sizeof text);
  CHECK_EQ_STR(text, "x[2]: 1 vs 3");
  lnt__cbor_diff((lnt_value){"\x81", 1}, (lnt_value){"\x82\x01", 2}, "x", text, sizeof text);
  CHECK_EQ_STR(text, "x: (unreadable) vs (unreadable)");
}

static void test_number_text(void) {
  static const struct { double value; const char *text; } cases[] = {
    {0.1, "0.1"}, {1.0 / 3, "0.3333333333333333"}, {1e300, "1e+300"}, {0x1p-1074, "4.94065645841247e-324"},
    {9007199254740994.0, "9007199254740994"},
    {0.1 + 0.2, "0.30000000000000004"}, {-1.5, "-1.5"}, {HUGE_VAL, "inf"}, {-HUGE_VAL, "-inf"}, {NAN, "nan"},
    {123456789012345680.0, "1.2345678901234568e+17"},
  };
  char text[LNT__NUMBER_TEXT_BYTES];
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    CHECK_EQ_UINT(lnt__number_text(cases[i].value, text), strlen(cases[i].text));
    CHECK_EQ_STR(text, cases[i].text);
  }
}

/* A host may have set a locale with a decimal comma; where the system has none, the C locale is checked again. */
static void test_number_text_in_other_locales(void) {
  static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "ps_AF.UTF-8", "C"};
  char text[LNT__NUMBER_TEXT_BYTES];
  for (size_t i = 0; i < LNT__COUNT(names); i++) {
    if (!setlocale(LC_NUMERIC, names[i])) continue;
    lnt__number_text(-1.25e-9, text);
    CHECK_EQ_STR(text, "-1.25e-09");
    check_json_round_trip("[0.5,1e-7]", "[0.5,1e-07]");
  }
  setlocale(LC_NUMERIC, "C");
}

/* ---- JSON ---- */

static void test_json_round_trips(void) {
  static const struct { const char *in, *out; } cases[] = {
    {"null", "null"}, {" true ", "true"}, {"false", "false"}, {"0", "0"}, {"-0", "0"}, {"-0.0", "0"}, {"3.0", "3"}, {"1e3", "1000"},
    {"-17", "-17"},
    {"0.1", "0.1"}, {"1.7976931348623157e308", "1.7976931348623157e+308"}, {"9007199254740992", "9007199254740992"},
    {"-9007199254740992", "-9007199254740992"}, {"9007199254740994", "9007199254740994"},
    {"-9223372036854775808", "-9.223372036854776e+18"},
    {"18446744073709551616.0", "1.8446744073709552e+19"}, {"1.2345678901234567890123e29", "1.2345678901234568e+29"}, {"\"\"", "\"\""},
    {"\"\\u00e9\\u20ac\\ud83c\\udf19\"", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x8c\x99\""}, {"\"a\\u0000b\"", "\"a\\u0000b\""},
    {"\"\\b\\f\\n\\r\\t\\\"\\\\\\/\\u001f\\u007f\"", "\"\\b\\f\\n\\r\\t\\\"\\\\/\\u001f\x7f\""}, {"[]", "[]"}, {"{}", "{}"},
    {"[1,[],{}]", "[1,[],{}]"},
    {"{\"bb\":1,\"a\":{\"z\":[null]},\"c\":2}", "{\"a\":{\"z\":[null]},\"c\":2,\"bb\":1}"}, {"\r\n\t[ 1 , 2 ]\n", "[1,2]"},
  };
  for (size_t i = 0; i < LNT__COUNT(cases); i++) check_json_round_trip(cases[i].in, cases[i].out);
  lnt_value nil = json("null");
  CHECK(nil.data == NULL && nil.size == 0);
}

static void test_json_refused(void) {
  static const struct { const char *text, *part; } cases[] = {
    {"", "empty"}, {" \n", "empty"}, {"{", "line 1, column 1"}, {"[1,\n 2,\n x]", "line 3, column 2"},
    {"{\"a\":1,\"a\":2}", "duplicate object key"},
    {"{\"a\":1,\"a\":2}", "give each name once"}, {"[1] 2", "line 1"}, {"01", "line 1"}, {"1e400", "write it as a string"},
    {"'a'", "line 1"},
    {"\"\xff\"", "line 1"}, {"\"\\ud800\"", "line 1"}, {"nul", "line 1"}, {"[1,]", "line 1"}, {"{\"a\" 1}", "line 1"},
    {"\"a\nb\"", "line 1"},
    {"NaN", "line 1"}, {"// no\n1", "line 1"}, {"{\"\\u0000\":1}", "line 1"}, {"\xef\xbb\xbf" "1", "line 1"},
  };
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    lnt_value value = {"x", 1};
    lnt_error err = {LNT_OK, ""};
    if (lnt_value_from_json(cases[i].text, strlen(cases[i].text), &value, &err) != LNT_EVALUE) CHECK_FAIL("%s is accepted", cases[i].text);
    CHECK_HAS(err.message, cases[i].part);
    CHECK_HAS(err.message, "not valid JSON");
    CHECK(value.data == NULL && value.size == 0);
  }
  lnt_value value;
  lnt_error err = {LNT_OK, ""};
  CHECK_STATUS(lnt_value_from_json("1\0", 2, &value, &err), LNT_EVALUE);
  CHECK_STATUS(lnt_value_from_json(NULL, 0, &value, &err), LNT_EVALUE);
}

static void test_json_integers_beyond_doubles(void) {
  static const char *const refused[] = {"9007199254740993", "[1,-9007199254740993]", "{\"a\":9223372036854775807}", "18446744073709551616",
                                        "123456789012345678901234567890"};
  for (size_t i = 0; i < LNT__COUNT(refused); i++) {
    lnt_value value;
    lnt_error err = {LNT_OK, ""};
    CHECK_STATUS(lnt_value_from_json(refused[i], strlen(refused[i]), &value, &err), LNT_EVALUE);
    CHECK_HAS(err.message, "write it as a string");
    if (i == 1) CHECK_HAS(err.message, "-9007199254740993");
  }
  lnt__buf out;
  lnt__buf_init(&out);
  CHECK_STATUS(lnt__json_read_nearest("9007199254740993", 16, &out, NULL), LNT_OK); /* what json.decode does, and says */
  lnt__buf_finish(&out);
}

static void test_json_depth(void) {
  static char text[200001];
  lnt_value value;
  lnt_error err = {LNT_OK, ""};
  static const struct { size_t depth; lnt_status status; } cases[] = {
    {LNT_VALUE_DEPTH_MAX, LNT_OK}, {LNT_VALUE_DEPTH_MAX + 1, LNT_ELIMIT}, {2000, LNT_ELIMIT}, {2500, LNT_ELIMIT}, {100000, LNT_ELIMIT}};
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    memset(text, '[', cases[i].depth);
    memset(text + cases[i].depth, ']', cases[i].depth);
    CHECK_STATUS(lnt_value_from_json(text, 2 * cases[i].depth, &value, &err), cases[i].status);
    if (cases[i].status) CHECK_HAS(err.message, "64 levels");
    lnt_value_free(&value);
  }
}

static void test_json_indent(void) {
  lnt_value value = json("{\"a\":[1,{}],\"b\":{\"c\":[]}}");
  char *text = NULL;
  CHECK_STATUS(lnt_value_to_json(value, 2, &text, NULL, NULL), LNT_OK);
  CHECK_EQ_STR(text, "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": []\n  }\n}");
  lnt_free(text);
  CHECK_STATUS(lnt_value_to_json(value, -5, &text, NULL, NULL), LNT_OK);
  CHECK_EQ_STR(text, "{\"a\":[1,{}],\"b\":{\"c\":[]}}");
  lnt_free(text);
  CHECK_STATUS(lnt_value_to_json(value, 1 << 30, &text, NULL, NULL), LNT_OK);
  CHECK(strlen(text) < 400);
  lnt_free(text);
  lnt_value_free(&value);
}

/* What CBOR can say and JSON cannot. */
static void test_json_writes_the_rest(void) {
  static const struct { const char *hex, *text; } cases[] = {
    {"f97e00", "\"NaN\""}, {"83f97c00f9fc0001", "[\"Infinity\",\"-Infinity\",1]"},
    {"a40161612002f93800036161f5", "{\"1\":\"a\",\"-1\":2,\"0.5\":3,\"a\":true}"},
    {"43ff41fe", "\"\xef\xbf\xbd" "A\xef\xbf\xbd\""}, {"", "null"}, {"f6", "null"}, {"42e282", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
  };
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    uint8_t bytes[32];
    size_t size = from_hex(cases[i].hex, bytes);
    char *text = NULL;
    if (i == 2) size = from_hex("a4016161200261" "61f5f9380003", bytes); /* keys in the order of their bytes */
    lnt_error err = {LNT_OK, ""};
    CHECK_STATUS(lnt_value_to_json((lnt_value){bytes, size}, 0, &text, NULL, &err), LNT_OK);
    CHECK_EQ_STR(text, i == 2 ? "{\"1\":\"a\",\"-1\":2,\"a\":true,\"0.5\":3}" : cases[i].text);
    lnt_free(text);
  }
  char *text = (char *)1;
  lnt_error err = {LNT_OK, ""};
  CHECK_STATUS(lnt_value_to_json((lnt_value){"\x18\x01", 2}, 0, &text, NULL, &err), LNT_EVALUE);
  CHECK(text == NULL);
  CHECK_HAS(err.message, "byte 0 of 2");
}

/* For programs: names sorted, nothing replaced. */
static void test_json_strict(void) {
  static const struct { const char *hex, *text, *message; } cases[] = {
    {"", "null", NULL}, {"f6", "null", NULL}, {"80", "[]", NULL}, {"a0", "{}", NULL}, {"fb3fb999999999999a", "0.1", NULL},
    {"a3616182030461620262616101", "{\"a\":[3,4],\"aa\":1,\"b\":2}", NULL}, {"a2016161206162", "{\"-1\":\"b\",\"1\":\"a\"}", NULL},
    {"f97e00", NULL, "it: NaN and infinities"}, {"a161618201f97c00", NULL, "it[\"a\"][2]: NaN and infinities"},
    {"8143ff41fe", NULL, "it[1]: text that is not UTF-8"}, {"a141ff01", NULL, "it[a name of 1 bytes]: text that is not UTF-8"},
    {"a201616161316162", NULL, "it[\"1\"]: two keys of the table become this name"}, {"1801", NULL, "byte 0 of 2"},
  };
  lnt__buf out;
  lnt__buf_init(&out);
  for (size_t i = 0; i < LNT__COUNT(cases); i++) {
    uint8_t bytes[32];
    size_t size = from_hex(cases[i].hex, bytes);
    lnt_error err = {LNT_OK, ""};
    lnt_status status = lnt__json_write_strict((lnt_value){bytes, size}, "it", 0, &out, &err);
    CHECK_STATUS(status, cases[i].text ? LNT_OK : LNT_EVALUE);
    if (cases[i].message) CHECK_HAS(err.message, cases[i].message);
    lnt__buf_u8(&out, 0);
    CHECK_EQ_STR((const char *)out.data, cases[i].text ? cases[i].text : "");
    lnt__buf_clear(&out);
  }
  lnt__buf_finish(&out);
}

/* A value that came from JSON is written strictly, and read back as it was. */
static void check_strict_round_trip(lnt_value value) {
  lnt__buf text, again;
  lnt_error err = {LNT_OK, ""};
  lnt__buf_init(&text);
  lnt__buf_init(&again);
  if (lnt__json_write_strict(value, "it", 2, &text, &err)) CHECK_FAIL("%s", err.message);
  CHECK_STATUS(lnt__json_read((const char *)text.data, text.size, &again, NULL), LNT_OK);
  CHECK_EQ_UINT(again.size, value.size ? value.size : 1); /* nothing is written as null */
  CHECK_EQ_MEM(again.data, value.data, value.size);
  lnt__buf_finish(&text);
  lnt__buf_finish(&again);
}

/* JSON made from any value is read back by the parser; made from what JSON can say, it is the same value again. */
static void test_json_of_random_values(void) {
  lnt__rng rng;
  lnt__buf buf;
  lnt__buf_init(&buf);
  for (uint64_t seed = 1; seed <= 400; seed++) {
    CHECK_SEED(seed);
    lnt__rng_seed(&rng, seed);
    lnt__buf_clear(&buf);
    random_value(&buf, &rng, 0);
    char *text = NULL, *again = NULL;
    size_t size;
    lnt_error err = {LNT_OK, ""};
    lnt_value first = LNT_VALUE_NIL, second = LNT_VALUE_NIL;
    CHECK_STATUS(lnt_value_to_json(value_of(&buf), seed % 3 ? 0 : 1, &text, &size, NULL), LNT_OK);
    if (lnt_value_from_json(text, size, &first, &err)) CHECK_FAIL("%s: %.200s", err.message, text);
    CHECK_STATUS(lnt_value_to_json(first, 0, &again, &size, NULL), LNT_OK);
    CHECK_STATUS(lnt_value_from_json(again, size, &second, NULL), LNT_OK);
    CHECK_EQ_UINT(first.size, second.size);
    CHECK_EQ_MEM(first.data, second.data, first.size);
    check_strict_round_trip(first);
    lnt_free(text), lnt_free(again), lnt_value_free(&first), lnt_value_free(&second);
  }
  lnt__buf_finish(&buf);
}

static void test_random_json_text(void) {
  static const char *const pieces[] = {"[", "]", "{", "}", ",", ":", "\"a\"", "\"b\"", "1", "-0.5e3", "null", "true",
                                       " ", "\n", "\\", "\"", "\xff", "9"};
  lnt__rng rng;
  CHECK_SEED(21);
  lnt__rng_seed(&rng, 21);
  unsigned accepted = 0;
  for (int round = 0; round < 60000; round++) {
    char text[64];
    size_t used = 0;
    for (uint64_t i = 1 + lnt__rng_below(&rng, 10); i; i--) {
      const char *piece = pieces[lnt__rng_below(&rng, LNT__COUNT(pieces))];
      used += (size_t)snprintf(text + used, sizeof text - used, "%s", piece);
    }
    lnt_value value;
    lnt_status status = lnt_value_from_json(text, used, &value, NULL);
    CHECK(status == LNT_OK || status == LNT_EVALUE);
    accepted += status == LNT_OK;
    CHECK_STATUS(lnt__cbor_check(value, NULL), LNT_OK);
    lnt_value_free(&value);
  }
  CHECK(accepted > 500);
}

/* ---- Every allocation may fail ---- */

static const char sweep_text[] =
  "{\"z\":[1,2,3],\"a\":{\"q\":1,\"b\":2,\"c\":{}},\"long\":\"a string that does not fit into the first sixty-four bytes of a buffer\","
  "\"k01\":1,\"k02\":1,\"k03\":1,\"k04\":1,\"k05\":1,\"k06\":1,\"k07\":1,\"k08\":1,"
  "\"k09\":1,\"k10\":1,\"k11\":1,\"k12\":1,\"k13\":1,\"k14\":1,"
  "\"k32\":1,\"k31\":1,\"k30\":1,\"k29\":1,\"k28\":1,\"k27\":1,\"k26\":1,\"k25\":1,"
  "\"k24\":1,\"k23\":1,\"k22\":1,\"k21\":1,\"k20\":1,\"k19\":1,"
  "\"k18\":1,\"k17\":1,\"k16\":1,\"k15\":1}";

static void test_allocations_fail(void) {
  uint64_t skip = 0;
  bool done = false;
  for (; !done && skip < 1000; skip++) {
    lnt__fault_arm(LNT__FAULT_alloc, skip, 1);
    lnt_value value;
    char *text = NULL;
    lnt_error err = {LNT_OK, ""};
    lnt_status status = lnt_value_from_json(sweep_text, strlen(sweep_text), &value, &err);
    if (status) CHECK(value.data == NULL && err.code == LNT_ENOMEM);
    if (!status) status = lnt_value_to_json(value, 2, &text, NULL, &err);
    lnt__buf strict;
    lnt__buf_init(&strict);
    if (!status) status = lnt__json_write_strict(value, "it", 2, &strict, &err);
    done = lnt__fault_checks(LNT__FAULT_alloc) <= skip;
    CHECK_STATUS(status, done ? LNT_OK : LNT_ENOMEM);
    CHECK(text != NULL || !done);
    CHECK_EQ_INT(strict.size > 0, done);
    lnt__buf_finish(&strict);
    if (!done) CHECK_HAS(err.message, "out of memory");
    lnt__fault_arm(LNT__FAULT_alloc, 0, 0);
    lnt_free(text);
    lnt_value_free(&value);
  }
  CHECK(done && skip > 5);
}

static void test_writer_after_a_failure(void) {
  lnt__buf buf;
  lnt__buf_init(&buf);
  lnt__fault_arm(LNT__FAULT_alloc, 0, 1);
  lnt__cbor_map map;
  lnt__cbor_map_begin(&buf, &map);
  lnt__fault_arm(LNT__FAULT_alloc, 0, 0);
  lnt__cbor_cstring(&buf, "key"); /* memory is there again, but the value has a hole: nothing more is written */
  lnt__cbor_int(&buf, 1);
  CHECK(!lnt__cbor_map_end(&buf, &map, 1, false));
  CHECK(buf.failed && buf.size == 0);
  lnt__buf_clear(&buf);
  lnt__cbor_int(&buf, 1);
  CHECK_EQ_STR(hex_of(&buf), "01");
  lnt__buf_finish(&buf);
}

CHECK_MAIN(test_integers, test_floats, test_all_widths_round_trip, test_strings, test_containers,
           test_key_order_in_all_permutations, test_big_maps, test_map_end_refuses, test_empty_reader, test_refused, test_depth,
           test_member, test_random_values, test_random_bytes, test_mutated_values, test_brief, test_diff, test_number_text,
           test_number_text_in_other_locales, test_json_round_trips, test_json_refused,
           test_json_integers_beyond_doubles, test_json_depth, test_json_indent,
           test_json_writes_the_rest, test_json_strict, test_json_of_random_values, test_random_json_text, test_allocations_fail,
           test_writer_after_a_failure);
