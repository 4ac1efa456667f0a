// Completions of one prompt by a loaded model, with the text that is shown while they are made.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/rng.h"
#include "common/model/generation.h"
#include "worker/tools/loaded_model.h"

namespace retort::worker {

struct CompletionRequest {
  std::vector<int64_t> prompt;
  model::SamplingOptions sampling;
  std::vector<std::string> stops;   // None empty.
  std::vector<CounterRng> streams;  // One a sample.
  // Text of a sample as it is settled; an error ends the call. May be null.
  std::function<absl::Status(int64_t sample, absl::string_view text)> on_text;
};

struct PromptCompletion {
  model::GeneratedSample sample;  // Every token, those of a stop string too.
  std::string text;               // Up to the stop string, if one ended it.
};

// One completion a stream, in their order. Errors: those of model::Generate and of `on_text`.
absl::StatusOr<std::vector<PromptCompletion>> Complete(const LoadedModel& model,
                                                       const CompletionRequest& request);

// "eos", "length" or "stop".
const char* FinishReasonName(model::FinishReason reason);

}  // namespace retort::worker
