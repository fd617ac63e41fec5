# The libraries that Lunation stands on. All of them come from the system; tools/setup installs Debian's packages.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(LUAJIT REQUIRED IMPORTED_TARGET luajit)
pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)

# LMDB has a .pc file on Debian, but not everywhere.
add_library(lunation_lmdb INTERFACE)
pkg_check_modules(LMDB QUIET IMPORTED_TARGET lmdb)
if(LMDB_FOUND)
  target_link_libraries(lunation_lmdb INTERFACE PkgConfig::LMDB)
else()
  find_path(LMDB_INCLUDE_DIR lmdb.h REQUIRED)
  find_library(LMDB_LIBRARY lmdb REQUIRED)
  target_include_directories(lunation_lmdb SYSTEM INTERFACE "${LMDB_INCLUDE_DIR}")
  target_link_libraries(lunation_lmdb INTERFACE "${LMDB_LIBRARY}")
endif()

# luv, built for the Lua 5.1 ABI, which is LuaJIT's. Its .pc file would bring the headers of Lua 5.1: they must never win over LuaJIT's,
# so only the folder that holds luv/luv.h is added, as a system folder, which compilers search last.
add_library(lunation_luv INTERFACE)
find_library(LUV_LIBRARY NAMES lua5.1-luv luajit-5.1-luv luv REQUIRED)
find_path(LUV_INCLUDE_DIR luv/luv.h PATH_SUFFIXES lua5.1 luajit-2.1)
target_link_libraries(lunation_luv INTERFACE "${LUV_LIBRARY}")
if(LUV_INCLUDE_DIR)
  target_include_directories(lunation_luv SYSTEM INTERFACE "${LUV_INCLUDE_DIR}")
endif()

if(LNT_PROGRAM)
  pkg_check_modules(MICROHTTPD REQUIRED IMPORTED_TARGET libmicrohttpd)
endif()
if(LNT_PROGRAM OR LNT_CURL)
  pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
endif()
