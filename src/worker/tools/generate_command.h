// `retort generate`: completions of a prompt by a model folder.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "worker/tools/tool_options.h"

namespace retort::worker {

struct GenerateOptions {
  ModelOptions model;
  TextOptions text;
  DrawOptions draw;
  std::string prompt;         // "-": all of standard input.
  int64_t samples = 1;        // At most kMaxSamples; i draws from the random stream of (seed, i).
  int64_t top_log_probs = 0;  // Of `json`: the likeliest so many ids at every token.
  bool json = false;
};

// Writes the completion and a line end; a single one as it is made, flushed after every piece of
// text, several one after the other when all are made. With `json` one object on one line:
//   {prompt_ids, samples: [{ids, tokens, log_probs, raw_log_probs, top?, text, finish_reason}]}
// with the log-probs of model::GeneratedSample. The caller has called
// tensor::ConfigureTorchProcess. Errors: bad options, bad files (one line each).
absl::Status GenerateCommand(const GenerateOptions& options, std::ostream& out);

}  // namespace retort::worker
