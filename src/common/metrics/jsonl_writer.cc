#include "common/metrics/jsonl_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/metrics/record_json.h"

namespace retort::metrics {
namespace {

constexpr int64_t kMaxMetricsFileBytes = int64_t{4} << 30;

struct IsKept {
  int64_t last_step;
  bool operator()(const v1::StepRecord& record) const { return record.step() <= last_step; }
  bool operator()(const v1::EvalRecord& record) const { return record.version() <= last_step + 1; }
};

}  // namespace

JsonlWriter::JsonlWriter(std::string path, UniqueFd fd, const Options& options)
    : path_(std::move(path)), fd_(std::move(fd)), options_(options) {}

absl::StatusOr<JsonlWriter> JsonlWriter::Open(const std::string& path, const Options& options) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd.valid()) return ErrnoError(errno, absl::StrCat("open ", path));
  return JsonlWriter(path, std::move(fd), options);
}

absl::Status JsonlWriter::Append(const v1::StepRecord& record) {
  return AppendLine(RecordToJson(record) + "\n");
}
absl::Status JsonlWriter::Append(const v1::EvalRecord& record) {
  return AppendLine(RecordToJson(record) + "\n");
}

absl::Status JsonlWriter::AppendLine(const std::string& line) {
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t written = write(fd_.get(), line.data() + done, line.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError(errno, absl::StrCat("write ", path_));
    done += static_cast<size_t>(written);
  }
  if (options_.fsync_each_record && fdatasync(fd_.get()) != 0) {
    return ErrnoError(errno, absl::StrCat("fsync ", path_));
  }
  return absl::OkStatus();
}

absl::Status JsonlWriter::TruncateAfterStep(const std::string& path, int64_t last_step) {
  if (!FileExists(path)) return absl::OkStatus();
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxMetricsFileBytes));
  std::string kept;
  int64_t line = 0;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = text.find('\n', begin);
    if (end == text.npos) break;
    const absl::string_view record_text = absl::string_view(text).substr(begin, end - begin);
    RETORT_ASSIGN_OR_RETURN(const auto record,
                            RecordFromJson(record_text, absl::StrCat(path, ":", line + 1)));
    if (std::visit(IsKept{last_step}, record)) kept.append(text, begin, end + 1 - begin);
    begin = end + 1;
  }
  return kept == text ? absl::OkStatus() : WriteFileAtomically(path, kept);
}

}  // namespace retort::metrics
