// `retort score`: how likely a model finds a completion.
#pragma once

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "worker/tools/tool_options.h"

namespace retort::worker {

struct ScoreOptions {
  ModelOptions model;
  TextOptions text;
  std::string prompt;      // "-": all of standard input.
  std::string completion;  // Likewise, but not both.
  double temperature = 1.0;
  int64_t top_log_probs = 0;  // The likeliest so many ids at every token.
  bool json = false;
};

// One line per token of the completion, `id<TAB>log-prob` and for each of the likeliest
// `<TAB>id:log-prob`, then `total<TAB>sum<TAB>tokens<TAB>count`. With `json` one object on one
// line:
//   {prompt_ids, ids, tokens, log_probs, top?, total}
// Prompt and completion are encoded apart, as in training; special tokens go around the prompt
// only. The caller has called tensor::ConfigureTorchProcess.
absl::Status ScoreCommand(const ScoreOptions& options, std::ostream& out);

}  // namespace retort::worker
