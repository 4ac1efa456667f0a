# Compiler options and the two functions that every room uses.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(RETORT_SANITIZE "" CACHE STRING "address or thread: build everything with that sanitizer")
set(RETORT_TEST_OPTIONS "" CACHE STRING "Compiler options of the tests' own sources, after the build's")

add_compile_options(-Wall -Wextra -Werror -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # False alarms of GCC 12 in std::string, which it no longer knows for a system header's once it is precompiled.
  add_compile_options(-Wno-array-bounds -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread)
  # The compiler's garbage collector walks a whole precompiled header each time, to free little: 8 % of the build's time
  # for 30 MB a process.
  add_compile_options(--param=ggc-min-heapsize=2000000)
else()
  add_compile_options(-Wno-unknown-warning-option)   # Pragmas name warnings of GCC.
endif()
add_link_options(-fuse-ld=lld)
if(RETORT_SANITIZE)
  # What a sanitizer inserts hides from GCC that things are initialized; the release build asks it.
  add_compile_options(-fsanitize=${RETORT_SANITIZE} -Wno-maybe-uninitialized)
  add_link_options(-fsanitize=${RETORT_SANITIZE})
endif()

# retort_library(NAME SRCS a.cc ... [PLAIN b.cc ...] DEPS x y ... [TORCH])
#   A static library `retort_NAME`, compiled with a precompiled header of RetortPch.cmake: that of TORCH rooms or the
#   other. PLAIN: sources of a TORCH room that see no ATen header, where loading the precompiled one costs more.
function(retort_library name)
  cmake_parse_arguments(ARG "TORCH" "" "SRCS;PLAIN;DEPS" ${ARGN})
  add_library(retort_${name} STATIC ${ARG_SRCS} ${ARG_PLAIN})
  set_source_files_properties(${ARG_PLAIN} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  target_include_directories(retort_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(retort_${name} PUBLIC ${ARG_DEPS})
  if(ARG_TORCH)
    target_link_libraries(retort_${name} PUBLIC retort_torch)
    target_precompile_headers(retort_${name} REUSE_FROM retort_torch_pch)
  else()
    target_precompile_headers(retort_${name} REUSE_FROM retort_base_pch)
  endif()
endfunction()

add_custom_target(tsan_tests)

# retort_test(NAME SRCS a_test.cc ... DEPS x ... [LABELS unit] [TIMEOUT s] [TORCH])
#   One GoogleTest program, registered as one ctest test. Labels: unit (default), multiprocess, fault, e2e, gpu;
#   and `tsan` beside it for the tests of threaded rooms, which also run under ThreadSanitizer (target tsan_tests).
function(retort_test name)
  cmake_parse_arguments(ARG "TORCH" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SRCS})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_compile_options(${name} PRIVATE ${RETORT_TEST_OPTIONS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  if(ARG_TORCH)
    target_link_libraries(${name} PRIVATE retort_torch)
    target_precompile_headers(${name} REUSE_FROM retort_torch_test_pch)
  else()
    target_precompile_headers(${name} REUSE_FROM retort_test_pch)
  endif()
  if("tsan" IN_LIST ARG_LABELS)
    add_dependencies(tsan_tests ${name})
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "RETORT_SOURCE_DIR=${CMAKE_SOURCE_DIR};RETORT_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};OMP_NUM_THREADS=1;OMP_WAIT_POLICY=passive;OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;TSAN_OPTIONS=ignore_noninstrumented_modules=1 suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp")
endfunction()
