# What `cmake --install` lays down: headers, library, program, Lua module, standard library, pkg-config file and CMake package.
# spec/install holds two programs that use the result.
include(CMakePackageConfigHelpers)

set(LNT_INSTALL_LUA_CDIR "${CMAKE_INSTALL_LIBDIR}/lua/5.1" CACHE STRING "Where the Lua module goes: part of LuaJIT's package.cpath")
set(LNT_INSTALL_LUA_DIR "${CMAKE_INSTALL_DATADIR}/lua/5.1" CACHE STRING "Where Lua files go: part of LuaJIT's package.path")
set(cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/lunation")

install(TARGETS lunation_installed EXPORT lunation LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/runtime/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/stdlib/" DESTINATION "${CMAKE_INSTALL_DATADIR}/lunation/stdlib" FILES_MATCHING PATTERN "*.lua")
if(TARGET lunation_program)
  install(TARGETS lunation_program RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
if(TARGET lunation_lua)
  install(TARGETS lunation_lua LIBRARY DESTINATION "${LNT_INSTALL_LUA_CDIR}")
  install(FILES ${lua_binding_lua} DESTINATION "${LNT_INSTALL_LUA_DIR}")
endif()

if(TARGET lunation_curl)
  install(TARGETS lunation_curl LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}/lunation")
endif()

install(EXPORT lunation NAMESPACE lunation:: FILE lunation-targets.cmake DESTINATION "${cmake_dir}")
file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/package/lunation-config.cmake" @ONLY CONTENT "# find_package(lunation) gives lunation::lunation
include(\"\${CMAKE_CURRENT_LIST_DIR}/lunation-targets.cmake\")
")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/lunation-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/package/lunation-config.cmake" "${PROJECT_BINARY_DIR}/package/lunation-config-version.cmake"
        DESTINATION "${cmake_dir}")

file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/package/lunation.pc" @ONLY CONTENT "prefix=@CMAKE_INSTALL_PREFIX@
includedir=@CMAKE_INSTALL_FULL_INCLUDEDIR@
libdir=@CMAKE_INSTALL_FULL_LIBDIR@
stdlibdir=@LNT_INSTALL_STDLIB_DIR@

Name: lunation
Description: @PROJECT_DESCRIPTION@
Version: @PROJECT_VERSION@
Requires.private: luajit libuv jansson
Libs: -L\${libdir} -llunation
Cflags: -I\${includedir}
")
install(FILES "${PROJECT_BINARY_DIR}/package/lunation.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
