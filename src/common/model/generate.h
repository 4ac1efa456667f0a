// Generation with a KV cache and continuous batching inside one call.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/rng.h"
#include "common/model/model.h"
#include "common/model/sampling.h"

namespace retort::model {

struct SamplingOptions {
  int64_t max_new_tokens = 128;
  FilterOptions filter;
  bool greedy = false;  // Largest logit (the lowest id among equals), after repetition_penalty.
  std::vector<int64_t>
      eos_ids;              // A sample ends with one of these, which belongs to it. Empty: never.
  int64_t vocab_limit = 0;  // Ids from here on cannot be sampled; 0: vocab_size.
  int64_t max_batch = 64;   // Samples decoded at once.
  int64_t max_prefill_tokens =
      4096;                    // Prompt tokens that enter one forward (one prompt always may).
  bool raw_log_probs = false;  // Also fill GeneratedSample::raw_log_probs.
};

// One sample to make: which prompt, and the random stream that draws one NextUniform() per token.
struct SampleRequest {
  int64_t prompt = 0;
  CounterRng rng;
};

struct GeneratedSample {
  std::vector<int64_t> ids;      // The response, EOS included.
  std::vector<float> log_probs;  // Of the distribution sampled from: filtered and renormalised.
                                 // Greedy: of log softmax(logits / temperature) before truncation.
  std::vector<float>
      raw_log_probs;      // log softmax(logits), nothing applied. Empty unless asked for.
  bool finished = false;  // Ended by EOS, not by max_new_tokens.
};

// Called for every token as it is drawn. Returning false ends the call with CANCELLED.
using TokenCallback = std::function<bool(int64_t sample, int64_t id)>;

// Samples in the order of `samples`. A prompt is prefilled once for all its samples that overlap in
// time. The result is a function of the arguments alone: batches follow from the lengths, so the
// same call gives the same bytes. Errors: INVALID_ARGUMENT an option out of range, an empty prompt,
// an id outside the vocabulary, or prompt + max_new_tokens > max_position_embeddings; CANCELLED;
// what CatchTorch gives.
absl::StatusOr<std::vector<GeneratedSample>> Generate(
    const Model& model, absl::Span<const std::vector<int64_t>> prompts,
    absl::Span<const SampleRequest> samples, const SamplingOptions& options,
    const TokenCallback& on_token = nullptr);

}  // namespace retort::model
