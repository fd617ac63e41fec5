# Lua sources inside the binaries. Each file becomes a C array at build time (embed_file.cmake).
#
#   lnt_embed(OUT_SOURCES PREFIX FILE...)   one C file per Lua file, symbols <PREFIX><base name>
#   lnt_embed_header(PATH PREFIX FILE...)   declarations of those symbols
#   lnt_embed_table(OUT_SOURCES DIR NAME=FILE...)
#                                           DIR/cli_embed.h and .c: a table {name, source, size}, ended by a NULL name

function(lnt_embed_one output input symbol)
  get_filename_component(dir "${output}" DIRECTORY)
  file(MAKE_DIRECTORY "${dir}")
  add_custom_command(
    OUTPUT "${output}"
    COMMAND "${CMAKE_COMMAND}" "-DINPUT=${input}" "-DOUTPUT=${output}" "-DSYMBOL=${symbol}" -P
            "${PROJECT_SOURCE_DIR}/tools/cmake/embed_file.cmake"
    DEPENDS "${input}" "${PROJECT_SOURCE_DIR}/tools/cmake/embed_file.cmake"
    COMMENT "Embedding ${symbol}"
    VERBATIM)
endfunction()

function(lnt_embed out_sources prefix)
  set(sources)
  foreach(file IN LISTS ARGN)
    get_filename_component(base "${file}" NAME_WE)
    set(output "${CMAKE_CURRENT_BINARY_DIR}/embed/${prefix}${base}.c")
    lnt_embed_one("${output}" "${file}" "${prefix}${base}")
    list(APPEND sources "${output}")
  endforeach()
  set(${out_sources} "${sources}" PARENT_SCOPE)
endfunction()

function(lnt_embed_header path prefix)
  set(text "/* The Lua sources inside the library: text with a NUL at its end, and its size without it. Made by the build. */\n")
  string(APPEND text "#ifndef LNT__LUA_EMBED_H\n#define LNT__LUA_EMBED_H\n\n#include <stddef.h>\n\n")
  foreach(file IN LISTS ARGN)
    get_filename_component(base "${file}" NAME_WE)
    string(APPEND text "extern const char ${prefix}${base}[];\nextern const size_t ${prefix}${base}_size;\n")
  endforeach()
  string(APPEND text "\n#endif\n")
  file(CONFIGURE OUTPUT "${path}" CONTENT "${text}" @ONLY)
endfunction()

function(lnt_embed_table out_sources dir)
  set(sources "${dir}/cli_embed.c")
  set(externs "")
  set(rows "")
  foreach(pair IN LISTS ARGN)
    string(REGEX MATCH "^([^=]+)=(.+)$" _ "${pair}")
    set(name "${CMAKE_MATCH_1}")
    set(file "${CMAKE_MATCH_2}")
    string(MAKE_C_IDENTIFIER "lnt__cli_${name}" symbol)
    lnt_embed_one("${dir}/${symbol}.c" "${file}" "${symbol}")
    list(APPEND sources "${dir}/${symbol}.c")
    string(APPEND externs "extern const char ${symbol}[];\nextern const size_t ${symbol}_size;\n")
    string(APPEND rows "  {\"${name}\", ${symbol}, &${symbol}_size},\n")
  endforeach()
  file(CONFIGURE OUTPUT "${dir}/cli_embed.h" @ONLY CONTENT "/* The Lua modules inside the program, by module name. Made by the build. */
#ifndef LNT__CLI_EMBED_H
#define LNT__CLI_EMBED_H

#include <stddef.h>

typedef struct lnt__cli_module {
  const char *name;   /* \"ls\" for tools/cli/ls.lua, \"lib.json\" for tools/cli/lib/json.lua; NULL ends the table */
  const char *source; /* text with a NUL at its end */
  const size_t *size; /* bytes, without the NUL */
} lnt__cli_module;

extern const lnt__cli_module lnt__cli_modules[];

#endif
")
  file(CONFIGURE OUTPUT "${dir}/cli_embed.c" @ONLY CONTENT "/* The table of cli_embed.h. Made by the build. */
#include \"cli_embed.h\"

${externs}
const lnt__cli_module lnt__cli_modules[] = {
${rows}  {NULL, NULL, NULL},
};
")
  set(${out_sources} "${sources}" PARENT_SCOPE)
endfunction()
