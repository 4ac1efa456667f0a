// `retort-worker score`: how likely a model finds a completion.
#pragma once

#include <ostream>
#include <string>

#include "absl/status/status.h"

namespace retort::worker {

struct ScoreOptions {
  std::string model;   // Hugging Face folder.
  std::string prompt;  // May be empty only with add_bos.
  std::string completion;
  double temperature = 1.0;
  bool add_bos = false;
};

// One line per token of the completion, `id<TAB>log-prob`, then
// `total<TAB>sum<TAB>tokens<TAB>count`. Prompt and completion are encoded apart, as in training.
// The caller has called tensor::ConfigureTorchProcess.
absl::Status ScoreCommand(const ScoreOptions& options, std::ostream& out);

}  // namespace retort::worker
