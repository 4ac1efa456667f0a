#include "common/metrics/jsonl_writer.h"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/metrics/record_json.h"

namespace retort::metrics {

JsonlWriter::JsonlWriter(std::string path, UniqueFd fd)
    : path_(std::move(path)), fd_(std::move(fd)) {}

absl::StatusOr<JsonlWriter> JsonlWriter::Open(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd.valid()) return ErrnoError(errno, absl::StrCat("open ", path));
  return JsonlWriter(path, std::move(fd));
}

absl::Status JsonlWriter::Append(const v1::StepRecord& record) {
  return WriteAll(fd_.get(), RecordToJson(record) + "\n", path_);
}
absl::Status JsonlWriter::Append(const v1::EvalRecord& record) {
  return WriteAll(fd_.get(), RecordToJson(record) + "\n", path_);
}

}  // namespace retort::metrics
