/* sandbox_math.c - the mathematics that must be the same on every machine and in every replay: random numbers from the instance's own
 * sequence, bit operations on any number, ldexp. Called by author code; owner thread of the state. */
#include <math.h>

#include "vm/sandbox_lib.h"

#define INTEGER_MAX 9007199254740992.0 /* 2^53 */
#define TWO_32 4294967296.0

/* ---- Random ---- */

static lnt__rng *rng_of(lua_State *L, const char *function) {
  const lnt__sandbox_host *host = lnt__guard_of(L)->host;
  lnt__rng *rng = host && host->rng ? host->rng(host->user, L) : NULL;
  if (rng) return rng;
  lnt__sandbox_error(L, "math.%s has no meaning while a file loads: each instance has its own sequence; call it inside the workflow",
                     function);
}

static double whole(lua_State *L, int arg) {
  double number = floor(luaL_checknumber(L, arg));
  luaL_argcheck(L, number >= -INTEGER_MAX && number <= INTEGER_MAX, arg, "a number within 2^53 expected");
  return number;
}

static int math_random(lua_State *L) {
  lnt__rng *rng = rng_of(L, "random");
  int count = lua_gettop(L);
  if (count == 0) {
    lua_pushnumber(L, lnt__rng_unit(rng));
    return 1;
  }
  double low = count == 1 ? 1 : whole(L, 1), high = whole(L, count == 1 ? 1 : 2);
  luaL_argcheck(L, low <= high, count == 1 ? 1 : 2, "interval is empty");
  uint64_t range = (uint64_t)((int64_t)high - (int64_t)low) + 1;
  lua_pushnumber(L, (lua_Number)((int64_t)low + (int64_t)lnt__rng_below(rng, range)));
  return 1;
}

static int math_randomseed(lua_State *L) {
  lua_Number seed = luaL_checknumber(L, 1);
  uint64_t bits;
  if (seed == 0 || isnan(seed)) seed = 0;
  memcpy(&bits, &seed, sizeof bits);
  lnt__rng_seed(rng_of(L, "randomseed"), bits);
  return 0;
}

static int math_ldexp(lua_State *L) {
  int64_t exponent = lnt__arg_integer(L, 2);
  if (exponent > 5000) exponent = 5000;
  if (exponent < -5000) exponent = -5000;
  lua_pushnumber(L, ldexp(luaL_checknumber(L, 1), (int)exponent));
  return 1;
}

/* ---- Bits ---- */

/* The number modulo 2^32, nearest (even at .5) as LuaJIT's bit library rounds, also beyond 2^51, where LuaJIT's differ by machine. */
static uint32_t bits_of(lua_State *L, int arg) {
  double number = luaL_checknumber(L, arg);
  if (!(number >= -INTEGER_MAX && number <= INTEGER_MAX)) number = isfinite(number) ? fmod(number, TWO_32) : 0;
  return (uint32_t)(int64_t)nearbyint(number);
}

static int push_bits(lua_State *L, uint32_t bits) {
  lua_pushnumber(L, (lua_Number)(int32_t)bits);
  return 1;
}

static uint32_t rotate_left(uint32_t x, uint32_t n) { return x << (n & 31) | x >> ((32 - n) & 31); }

#define UNARY(name, expression)           \
  static int bit_##name(lua_State *L) {   \
    uint32_t x = bits_of(L, 1);           \
    return push_bits(L, (expression));    \
  }
#define SHIFT(name, expression)                            \
  static int bit_##name(lua_State *L) {                    \
    uint32_t x = bits_of(L, 1), n = bits_of(L, 2) & 31;    \
    return push_bits(L, (expression));                     \
  }
#define FOLD(name, operation)                                    \
  static int bit_##name(lua_State *L) {                          \
    int count = lua_gettop(L);                                   \
    uint32_t x = bits_of(L, 1);                                  \
    for (int i = 2; i <= count; i++) x operation bits_of(L, i);  \
    return push_bits(L, x);                                      \
  }

UNARY(tobit, x)
UNARY(bnot, ~x)
UNARY(bswap, __builtin_bswap32(x))
SHIFT(lshift, x << n)
SHIFT(rshift, x >> n)
SHIFT(arshift, x >> n | (x >> 31 && n ? ~0u << (32 - n) : 0))
SHIFT(rol, rotate_left(x, n))
SHIFT(ror, rotate_left(x, 32 - n))
FOLD(band, &=)
FOLD(bor, |=)
FOLD(bxor, ^=)

static int bit_tohex(lua_State *L) {
  uint32_t x = bits_of(L, 1);
  int64_t digits = lnt__arg_integer_or(L, 2, 8);
  const char *names = digits < 0 ? "0123456789ABCDEF" : "0123456789abcdef";
  if (digits < 0) digits = -digits;
  if (digits > 8) digits = 8;
  char text[8];
  for (int i = (int)digits - 1; i >= 0; i--, x >>= 4) text[i] = names[x & 15];
  lua_pushlstring(L, text, (size_t)digits);
  return 1;
}

void lnt__sandbox_math_functions(lua_State *L) {
  static const luaL_Reg functions[] = {
    {"random", math_random}, {"randomseed", math_randomseed}, {"ldexp", math_ldexp}, {NULL, NULL},
  };
  static const luaL_Reg bits[] = {
    {"tobit", bit_tobit},   {"bnot", bit_bnot},       {"bswap", bit_bswap}, {"lshift", bit_lshift}, {"rshift", bit_rshift},
    {"arshift", bit_arshift}, {"rol", bit_rol},       {"ror", bit_ror},     {"band", bit_band},     {"bor", bit_bor},
    {"bxor", bit_bxor},     {"tohex", bit_tohex},     {NULL, NULL},
  };
  luaL_register(L, NULL, functions);
  lua_newtable(L);
  luaL_register(L, NULL, bits);
  lua_setfield(L, -2, "bit");
}
