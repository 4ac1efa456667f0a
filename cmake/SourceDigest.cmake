# Writes OUTPUT, a source file that defines retort::rpc::kSourceDigest: of every source, schema and build file under
# SOURCE_DIR and of the compiler's FLAGS. Run as a script; OUTPUT is left alone when nothing changed.
file(GLOB_RECURSE files RELATIVE ${SOURCE_DIR} ${SOURCE_DIR}/src/* ${SOURCE_DIR}/proto/* ${SOURCE_DIR}/cmake/*)
list(APPEND files CMakeLists.txt deploy/wheels.lock)
list(SORT files)
set(lines ${FLAGS})
foreach(file IN LISTS files)
  file(SHA256 ${SOURCE_DIR}/${file} digest)
  list(APPEND lines "${file} ${digest}")
endforeach()
string(SHA256 digest "${lines}")
string(SUBSTRING ${digest} 0 12 digest)
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT [[
namespace retort::rpc {

extern const char kSourceDigest[];
const char kSourceDigest[] = "@digest@";

}  // namespace retort::rpc
]] @ONLY)
