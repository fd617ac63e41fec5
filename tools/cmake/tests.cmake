# The C tests, the simulation, the fuzzers. The Lua specs are run by tools/test.
#
# They are linked to a static library with every inner symbol and with faults that tests can switch on.

if(LNT_FAULTS)
  add_library(lunation_faulty ALIAS lunation_static)
else()
  add_library(lunation_faulty STATIC ${all_sources})
  target_include_directories(lunation_faulty PRIVATE "${PROJECT_BINARY_DIR}/embed")
  target_compile_definitions(lunation_faulty PRIVATE "LNT_STDLIB_DIR=\"${PROJECT_SOURCE_DIR}/stdlib\""
                             "LNT_NATIVE_DIR=\"${LNT_NATIVE_DIR}\"" LNT__FAULTS)
  target_link_libraries(lunation_faulty PRIVATE lunation_flags PUBLIC ${dependencies})
endif()

# lnt_test_program(NAME FOLDER SOURCE...)
function(lnt_test_program name folder)
  add_executable(${name} ${ARGN})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/spec/c" "${PROJECT_BINARY_DIR}/embed")
  target_compile_definitions(${name} PRIVATE LNT__FAULTS "LNT_SOURCE_DIR=\"${PROJECT_SOURCE_DIR}\"")
  target_link_libraries(${name} PRIVATE lunation_flags)
  # Visible names: a test may stand in for a function of the system, and the libraries must see that.
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}${folder}" C_VISIBILITY_PRESET default)
endfunction()

file(GLOB test_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/spec/c/test_*.c")
file(GLOB helper_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/spec/c/*.c")
if(test_sources)
  list(REMOVE_ITEM helper_sources ${test_sources})
endif()
if(helper_sources)
  add_library(spec_helpers STATIC ${helper_sources})
  target_compile_definitions(spec_helpers PRIVATE LNT__FAULTS)
  target_link_libraries(spec_helpers PUBLIC lunation_flags lunation_faulty)
endif()
foreach(source IN LISTS test_sources)
  get_filename_component(name "${source}" NAME_WE)
  lnt_test_program(${name} /spec "${source}")
  target_link_libraries(${name} PRIVATE $<TARGET_NAME_IF_EXISTS:spec_helpers> lunation_faulty)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS c)
endforeach()

file(GLOB sim_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/spec/sim/*.c")
if(sim_sources)
  lnt_test_program(lnt_sim "" ${sim_sources})
  target_link_libraries(lnt_sim PRIVATE lunation_faulty)
endif()

file(GLOB fuzz_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/spec/fuzz/fuzz_*.c")
if(LNT_FUZZ)
  foreach(source IN LISTS fuzz_sources)
    get_filename_component(name "${source}" NAME_WE)
    lnt_test_program(${name} /fuzz "${source}")
    target_link_libraries(${name} PRIVATE lunation_faulty)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  endforeach()
elseif(fuzz_sources)
  # Other builds only prove that they compile.
  add_library(lnt_fuzz_sources OBJECT ${fuzz_sources})
  target_compile_definitions(lnt_fuzz_sources PRIVATE LNT__FAULTS)
  target_link_libraries(lnt_fuzz_sources PRIVATE lunation_flags)
endif()

# The example of a host. It sees what is installed and nothing else.
add_executable(town "${PROJECT_SOURCE_DIR}/bindings/c/town.c")
target_link_libraries(town PRIVATE lunation_flags lunation PkgConfig::JANSSON)
