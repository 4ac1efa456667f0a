# Debian packages as imported targets, and LibTorch from RETORT_DEPS (deploy/setup.sh puts it there).

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC REQUIRED)
# RE2's pkg-config file, which gRPC uses, hands -pthread on to everything that sees gRPC. glibc needs it nowhere, and
# a Torch room compiled with it could not use the precompiled header, which is compiled without.
foreach(_re2 re2::re2 PkgConfig::RE2)
  if(TARGET ${_re2})
    set_target_properties(${_re2} PROPERTIES INTERFACE_COMPILE_OPTIONS "")
  endif()
endforeach()
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(spdlog REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(MPI COMPONENTS C)      # Optional: without it the `mpi` collective is the "unavailable" file.
find_package(PkgConfig REQUIRED)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)

if(DEFINED ENV{RETORT_DEPS})
  set(_retort_deps_default $ENV{RETORT_DEPS})
else()
  set(_retort_deps_default ${CMAKE_SOURCE_DIR}/.deps)
endif()
set(RETORT_DEPS ${_retort_deps_default} CACHE PATH "Folder that deploy/setup.sh filled")
if(NOT EXISTS ${RETORT_DEPS}/torch/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch is not in ${RETORT_DEPS}. Run deploy/setup.sh first, or set RETORT_DEPS.")
endif()

# ATen and autograd of LibTorch. torch/torch.h is never included: it costs half a minute a file.
add_library(retort_torch INTERFACE)
target_compile_definitions(retort_torch INTERFACE AT_PER_OPERATOR_HEADERS)   # See common/tensor/aten.h.
target_include_directories(retort_torch SYSTEM INTERFACE ${CMAKE_SOURCE_DIR}/cmake/torch ${RETORT_DEPS}/torch/include)
# at::parallel_for is inline: without OpenMP it runs on one thread, silently. The pool is that of LibTorch's own OpenMP
# runtime; Clang, which only the fuzz preset uses, would bring another. Targets that only link with Torch keep the flags
# of their precompiled header.
set(_plain_pch "$<IN_LIST:$<TARGET_PROPERTY:PRECOMPILE_HEADERS_REUSE_FROM>,retort_base_pch;retort_test_pch>")
target_compile_options(retort_torch INTERFACE "$<$<AND:$<CXX_COMPILER_ID:GNU>,$<NOT:${_plain_pch}>>:-fopenmp>")
target_link_libraries(retort_torch INTERFACE
  ${RETORT_DEPS}/torch/lib/libtorch_cpu.so ${RETORT_DEPS}/torch/lib/libc10.so ${RETORT_DEPS}/torch/lib/libgomp.so.1)
target_link_options(retort_torch INTERFACE
  -Wl,-rpath-link,${RETORT_DEPS}/nvidia/cu13/lib -Wl,-rpath,${RETORT_DEPS}/torch/lib)
