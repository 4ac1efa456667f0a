# Precompiled headers. Parsing headers is most of what a build does: what many sources include is parsed once here, for
# rooms without Torch, for rooms with it, and for the tests of either (retort_library and retort_test choose). Sources
# still include what they use: the headers below only make that cheap.

# retort_pch(NAME HEADER LIBRARY...): the target `NAME` that owns the precompiled HEADER.
function(retort_pch name header)
  set(carrier ${CMAKE_BINARY_DIR}/pch/${name}.cc)
  file(WRITE ${carrier} "// Carrier of the precompiled header ${header}.\n")
  add_library(${name} STATIC ${carrier})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARGN})
  target_precompile_headers(${name} PRIVATE ${CMAKE_SOURCE_DIR}/${header})
  # What ccache takes for the precompiled contents (CCACHE_PCH_EXTSUM): those name this folder, while this sum lets an
  # object made in one checkout serve all others. It covers the files that the headers are made of.
  set(sum "${CMAKE_CXX_COMPILER_VERSION}")
  foreach(source src/common/base/base_pch.h src/common/tensor/aten.h src/common/tensor/torch_pch.h
          cmake/torch/ATen/DeviceGuard.h tests/testing/test_pch.h tests/testing/torch_test_pch.h deploy/wheels.lock
          deploy/debian-packages.txt)
    file(SHA256 ${CMAKE_SOURCE_DIR}/${source} digest)
    string(APPEND sum " ${digest}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${source})
  endforeach()
  file(WRITE ${CMAKE_BINARY_DIR}/CMakeFiles/${name}.dir/cmake_pch.hxx.gch.sum "${sum}\n")
endfunction()

retort_pch(retort_base_pch src/common/base/base_pch.h absl::statusor absl::strings absl::time)
retort_pch(retort_torch_pch src/common/tensor/torch_pch.h retort_torch absl::statusor absl::strings absl::time)
retort_pch(retort_test_pch tests/testing/test_pch.h absl::statusor absl::strings absl::time GTest::gmock)
retort_pch(retort_torch_test_pch tests/testing/torch_test_pch.h retort_torch absl::statusor absl::strings absl::time
           GTest::gmock)
target_compile_options(retort_test_pch PRIVATE ${RETORT_TEST_OPTIONS})
target_compile_options(retort_torch_test_pch PRIVATE ${RETORT_TEST_OPTIONS})
