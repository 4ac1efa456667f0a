// Appends records to metrics.jsonl. A record reaches the file in one write(2), so a killed process
// leaves whole lines plus at most one torn one, which the next TruncateAfterStep() removes.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "retort/v1/record.pb.h"

namespace retort::metrics {

// Not thread-safe.
class JsonlWriter {
 public:
  struct Options {
    bool fsync_each_record = false;  // The journal is the authority; this file is for people.
  };

  // Creates `path` if it is not there; else appends to it.
  static absl::StatusOr<JsonlWriter> Open(const std::string& path, const Options& options);
  static absl::StatusOr<JsonlWriter> Open(const std::string& path) { return Open(path, Options()); }

  absl::Status Append(const v1::StepRecord& record);
  absl::Status Append(const v1::EvalRecord& record);

  // Keeps steps <= last_step and evaluations of versions <= last_step + 1, drops everything else
  // and a torn last line, atomically. For a resume, before Open(). OK when `path` does not exist.
  static absl::Status TruncateAfterStep(const std::string& path, int64_t last_step);

 private:
  JsonlWriter(std::string path, UniqueFd fd, const Options& options);
  absl::Status AppendLine(const std::string& line);

  std::string path_;
  UniqueFd fd_;
  Options options_;
};

}  // namespace retort::metrics
