// How the next tokens are drawn when somebody asked for something, a model folder has defaults, and
// the context ends somewhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/rng.h"
#include "common/layout/generation_defaults.h"
#include "common/model/generation.h"
#include "worker/tools/loaded_model.h"

namespace retort::worker {

inline constexpr int64_t kMaxSamples = 256;
inline constexpr int64_t kMaxTopLogProbs = 32;
inline constexpr int64_t kMaxStopStrings = 16;
inline constexpr int64_t kMaxStopStringBytes = 256;
inline constexpr int64_t kUsualNewTokens = 128;  // Where nobody says how many.

// What was asked for; the folder decides about what was not.
struct SamplingChoice {
  std::optional<int64_t> max_new_tokens;
  std::optional<int64_t> min_new_tokens;
  std::optional<double> temperature;  // 0: greedy.
  std::optional<int64_t> top_k;
  std::optional<double> top_p;
  std::optional<double> min_p;
  std::optional<double> repetition_penalty;
  bool ignore_eos = false;
  std::vector<int64_t> stop_token_ids;  // Besides the model's own.
};

// Options for a prompt that leaves room for `room` tokens. Where neither the choice nor the
// defaults say how many, `usual_new_tokens` or what there is room for. Raw log-probs are asked for;
// the ids without a token are excluded. INVALID_ARGUMENT names the field.
absl::StatusOr<model::SamplingOptions> ChooseSampling(const SamplingChoice& choice,
                                                      const layout::GenerationDefaults& defaults,
                                                      const LoadedModel& model, int64_t room,
                                                      int64_t usual_new_tokens);

// The random streams of `samples` completions of one prompt: the same wherever they are made.
std::vector<CounterRng> StreamsOf(uint64_t seed, int64_t samples);

// INVALID_ARGUMENT: there are too many, or one is empty, too long or not UTF-8. `field` names them.
absl::Status CheckStopStrings(const std::vector<std::string>& stops, absl::string_view field);

// INVALID_ARGUMENT: fewer than 0 or more than kMaxTopLogProbs or the model's tokens.
absl::Status CheckTopLogProbs(int64_t top_log_probs, const LoadedModel& model);

}  // namespace retort::worker
