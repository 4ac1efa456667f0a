# retort_source_digest: rpc::kSourceDigest (common/rpc/build_version.h), an object for programs that must know whether
# they are of one build. Not in the libraries, or every edit would link every test again. A file that is added changes a
# CMakeLists.txt, which lists the files anew.
set(_digest_source ${CMAKE_BINARY_DIR}/source_digest.cc)
file(GLOB_RECURSE _digest_files ${CMAKE_SOURCE_DIR}/src/* ${CMAKE_SOURCE_DIR}/proto/* ${CMAKE_SOURCE_DIR}/cmake/*)
add_custom_command(OUTPUT ${_digest_source}
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${CMAKE_SOURCE_DIR} -DOUTPUT=${_digest_source}
    "-DFLAGS=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_CXX_FLAGS} ${RETORT_SANITIZE}"
    -P ${CMAKE_SOURCE_DIR}/cmake/SourceDigest.cmake
  DEPENDS ${_digest_files} ${CMAKE_SOURCE_DIR}/CMakeLists.txt ${CMAKE_SOURCE_DIR}/deploy/wheels.lock
  COMMENT "Digest of the sources" VERBATIM)
add_library(retort_source_digest OBJECT ${_digest_source})
