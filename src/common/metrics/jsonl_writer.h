// Appends records to metrics.jsonl. A record reaches the file in one write(2), so a killed process
// leaves whole lines plus at most one torn one. The journal is the authority, this file is for
// people: a resume writes it anew.
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
  // Creates `path` if it is not there; else appends to it.
  static absl::StatusOr<JsonlWriter> Open(const std::string& path);

  absl::Status Append(const v1::StepRecord& record);
  absl::Status Append(const v1::EvalRecord& record);

 private:
  JsonlWriter(std::string path, UniqueFd fd);

  std::string path_;
  UniqueFd fd_;
};

}  // namespace retort::metrics
