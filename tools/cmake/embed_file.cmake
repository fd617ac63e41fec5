# Turns one Lua file into C. A script that the build calls; embed.cmake is the caller.
#
#   cmake -DINPUT=run.lua -DOUTPUT=run.lua.c -DSYMBOL=lnt__lua_run -P embed_file.cmake
#
# OUTPUT defines `const char SYMBOL[]`, which ends with a NUL, and `const size_t SYMBOL_size`, which does not count it.
cmake_minimum_required(VERSION 3.18)
file(READ "${INPUT}" hex HEX)
string(LENGTH "${hex}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REPEAT "0x..," 24 line)
string(REGEX REPLACE "(${line})" "\\1\n" bytes "${bytes}")
get_filename_component(name "${INPUT}" NAME)
file(WRITE "${OUTPUT}" "/* ${name}, as bytes. Made by the build. */
#include <stddef.h>
extern const char ${SYMBOL}[];
extern const size_t ${SYMBOL}_size;
const char ${SYMBOL}[] = {\n${bytes}0};
const size_t ${SYMBOL}_size = ${size};
")
