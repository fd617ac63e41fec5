# The Lua module (bindings/lua), the HTTP API (bindings/http) and the program `lunation` (tools/cli, tools/bench).
# They are linked to the shared library, so a use of anything but its public functions does not link.

file(GLOB lua_binding_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bindings/lua/*.c")
file(GLOB lua_binding_lua CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bindings/lua/*.lua")
if(lua_binding_sources)
  # The module takes the Lua API from whoever loads it; only LuaJIT's headers are needed.
  add_library(lunation_lua MODULE ${lua_binding_sources})
  target_include_directories(lunation_lua PRIVATE ${LUAJIT_INCLUDE_DIRS})
  target_link_libraries(lunation_lua PRIVATE lunation_flags lunation)
  set_target_properties(
    lunation_lua PROPERTIES PREFIX "" OUTPUT_NAME lunation LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lua"
                            INSTALL_RPATH "$ORIGIN/../..")
endif()
foreach(file IN LISTS lua_binding_lua)
  get_filename_component(name "${file}" NAME)
  configure_file("${file}" "${PROJECT_BINARY_DIR}/lua/${name}" COPYONLY)
endforeach()

# C modules of the standard library: an activity VM loads one when it is first required, so that the library links none of what they need.
file(GLOB curl_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bindings/curl/*.c")
if(LNT_CURL AND curl_sources)
  add_library(lunation_curl MODULE ${curl_sources})
  target_include_directories(lunation_curl BEFORE PRIVATE ${LUAJIT_INCLUDE_DIRS})
  target_link_libraries(lunation_curl PRIVATE lunation_flags PkgConfig::LUAJIT PkgConfig::CURL PkgConfig::UV lunation_luv Threads::Threads)
  # Never unloaded with a lua_State: libcurl starts once per process, and a thread of its own may still be looking up a name.
  target_link_options(lunation_curl PRIVATE "LINKER:-z,nodelete")
  set_target_properties(lunation_curl PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY "${LNT_NATIVE_DIR}")
endif()

file(GLOB http_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/bindings/http/*.c")
file(GLOB cli_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tools/cli/*.c")
file(GLOB bench_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tools/bench/*.c")
if(LNT_PROGRAM AND cli_sources)
  # Module names: tools/cli/ls.lua is "ls", tools/cli/lib/json.lua "lib.json", tools/bench/w1.lua "bench.w1", bindings/lua/x.lua "x".
  set(modules)
  foreach(root tools/cli tools/bench bindings/lua)
    file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE "${PROJECT_SOURCE_DIR}/${root}" "${PROJECT_SOURCE_DIR}/${root}/*.lua")
    foreach(file IN LISTS files)
      string(REGEX REPLACE "\\.lua$" "" name "${file}")
      string(REPLACE "/" "." name "${name}")
      if(root STREQUAL "tools/bench")
        set(name "bench.${name}")
      endif()
      list(APPEND modules "${name}=${PROJECT_SOURCE_DIR}/${root}/${file}")
    endforeach()
  endforeach()
  lnt_embed_table(cli_embedded "${PROJECT_BINARY_DIR}/embed/cli" ${modules})

  if(http_sources)
    add_library(lunation_http STATIC ${http_sources})
    target_include_directories(lunation_http PRIVATE "${PROJECT_SOURCE_DIR}")
    target_link_libraries(lunation_http PRIVATE lunation_flags PUBLIC lunation PkgConfig::MICROHTTPD PkgConfig::UV PkgConfig::JANSSON)
  endif()

  add_executable(lunation_program ${cli_sources} ${cli_embedded} ${lua_binding_sources} ${bench_sources})
  target_include_directories(lunation_program PRIVATE "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}/embed/cli")
  target_compile_definitions(lunation_program PRIVATE LNT_BUILD_COMPILER="${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}"
                             LNT_BUILD_TYPE="${CMAKE_BUILD_TYPE}")
  target_link_libraries(
    lunation_program PRIVATE lunation_flags lunation $<TARGET_NAME_IF_EXISTS:lunation_http> PkgConfig::LUAJIT PkgConfig::UV
                             PkgConfig::JANSSON PkgConfig::CURL lunation_lmdb lunation_luv Threads::Threads m)
  set_target_properties(lunation_program PROPERTIES OUTPUT_NAME lunation INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
endif()
