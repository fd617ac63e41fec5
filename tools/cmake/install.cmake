# What `cmake --install` lays down: headers, library, program, Lua module, standard library, pkg-config and CMake packages.
