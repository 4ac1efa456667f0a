// What a generation is asked for and what it gives.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/base/rng.h"
#include "common/model/sampling.h"
#include "common/model/vocab_mask.h"

namespace retort::model {

struct SamplingOptions {
  int64_t max_new_tokens = 128;
  FilterOptions filter;  // Its eos_ids are not read: the ones below are.
  bool greedy = false;  // Largest logit (the lowest id among equals), after the filter's processors
                        // up to min_new_tokens; the rest of the filter is not applied.
  // A sample ends with one of these, which belongs to it. Empty: never.
  std::vector<int64_t> eos_ids;
  VocabMask mask;              // No other id is sampled. Limit 0: every id of the model.
  bool raw_log_probs = false;  // Also fill GeneratedSample::raw_log_probs.
  int64_t top_log_probs = 0;   // Also the likeliest so many ids at every token.
};

enum class FinishReason {
  kNone,    // Goes on.
  kEos,     // One of eos_ids.
  kLength,  // max_new_tokens.
  kStop,    // The caller's StopCheck said so: a stop string.
  kFailed,  // There was no distribution to draw from.
};

struct GeneratedSample {
  std::vector<int64_t> ids;      // The response, EOS and what completed a stop string included.
  std::vector<float> log_probs;  // Of the distribution sampled from: filtered and renormalised.
                                 // Greedy: of log softmax(logits / temperature) before truncation.
  std::vector<float> raw_log_probs;  // log softmax(logits) over the ids that exist, nothing else
                                     // applied: what scoring gives. Empty unless asked for.
  // top_log_probs ids a token, likeliest first, of the same distribution as raw_log_probs.
  std::vector<int64_t> top_ids;
  std::vector<float> top_log_probs;
  FinishReason reason = FinishReason::kNone;

  bool finished() const {  // Ended by itself, not by max_new_tokens.
    return reason == FinishReason::kEos || reason == FinishReason::kStop;
  }
};

// Asked after every token but an EOS: true ends sample number `sample` of the request. `ids`: its
// response so far.
using StopCheck = std::function<bool(int64_t sample, absl::Span<const int64_t> ids)>;

// INVALID_ARGUMENT names the field: an option out of range, or an id outside [0, vocab).
absl::Status ValidateSampling(const SamplingOptions& options, int64_t vocab);

// Which ids the options leave.
VocabMask MaskOf(const SamplingOptions& options, int64_t vocab);

}  // namespace retort::model
