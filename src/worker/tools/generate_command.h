// `retort-worker generate`: streams a model's completion of a prompt.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/status.h"

namespace retort::worker {

struct GenerateOptions {
  std::string model;  // Hugging Face folder.
  std::string prompt;
  int64_t max_new_tokens = 0;  // 0: 128, or fewer where the model's context ends.
  double temperature = 1.0;
  int64_t top_k = 0;
  double top_p = 1.0;
  uint64_t seed = 1;
  bool greedy = false;
  bool add_bos = false;
};

// Writes the completion to `out` as it is generated, flushed after every piece of text, and a line
// end after it. The caller has called tensor::ConfigureTorchProcess. Errors: bad options, bad files
// (one line each).
absl::Status GenerateCommand(const GenerateOptions& options, std::ostream& out);

}  // namespace retort::worker
