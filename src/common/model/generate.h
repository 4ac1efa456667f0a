// Generation of a fixed set of samples in one call, over an Engine.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/rng.h"
#include "common/model/generation.h"
#include "common/model/model.h"

namespace retort::model {

// How a call uses the machine. No sample depends on it.
struct BatchOptions {
  int64_t max_batch = 64;             // Samples decoded at once.
  int64_t max_prefill_tokens = 4096;  // Prompt tokens that enter one forward.
};

// One sample to make: which prompt, and the random stream that draws one NextUniform() per token.
struct SampleRequest {
  int64_t prompt = 0;
  CounterRng rng;
};

// Called for every token as it is drawn. Returning false ends the call with CANCELLED.
using TokenCallback = std::function<bool(int64_t sample, int64_t id)>;

// Samples in the order of `samples`. A prompt is prefilled once for all of its samples; samples of
// one prompt that follow each other in `samples` start together. A sample is a function of the
// model, its prompt, its stream and `options`: on the CPU bitwise, whatever else the call makes and
// whatever `batch` says (engine.h). Errors: INVALID_ARGUMENT an option out of range, an empty
// prompt, an id outside the vocabulary, or prompt + max_new_tokens > max_position_embeddings;
// CANCELLED; INTERNAL logits that are not finite; what CatchTorch gives.
absl::StatusOr<std::vector<GeneratedSample>> Generate(
    const Model& model, absl::Span<const std::vector<int64_t>> prompts,
    absl::Span<const SampleRequest> samples, const SamplingOptions& options,
    const BatchOptions& batch = {}, const TokenCallback& on_token = nullptr,
    const StopCheck& stop = nullptr);

}  // namespace retort::model
