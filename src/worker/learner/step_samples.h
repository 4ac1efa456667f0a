// All samples of one RL step in flat order, put together from the bundles' rollouts and scores.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/artifact/rollout.h"
#include "common/artifact/scores.h"
#include "common/model/vocab_mask.h"
#include "common/tensor/aten.h"

namespace retort::worker {

// Sample i = slot * samples_per_prompt + sample, 0 <= i < N. Tensors are right-padded to T, the
// step's longest response; entries off the mask are 0. The same on every rank.
struct StepSamples {
  std::vector<int64_t> tokens;          // Prompt and response of each sample, one after the other.
  std::vector<int64_t> begin;           // [N + 1] into `tokens`.
  std::vector<int64_t> prompt_lengths;  // [N], each >= 1.
  std::vector<int64_t> response_lengths;  // [N], each >= 1.
  std::vector<uint8_t> finished;          // [N] 1: ended by EOS.
  std::vector<int64_t>
      response_begin;  // [N + 1]: first row of each sample's response in full_reference.

  at::Tensor mask;       // [N, T] bool, from the lengths.
  at::Tensor behaviour;  // [N, T] f32 log-probs under the distribution that was sampled from.
  at::Tensor reference;  // [N, T] f32 log-probs of the reference at the sampled tokens.
  at::Tensor
      full_reference;  // [sum of response lengths, V] f32 log-softmax rows; undefined otherwise.
  at::Tensor scores;   // [N] f32, the rewards' weighted sums.
  std::vector<std::string> reward_names;
  at::Tensor reward_parts;              // [N, R] f32
  std::vector<int64_t> reward_gave_up;  // [R] samples that a reward gave up on: their part is 0.

  int64_t count() const { return static_cast<int64_t>(prompt_lengths.size()); }
  int64_t longest_response() const { return mask.size(1); }
  int64_t response_tokens() const { return response_begin.back(); }
  // Prompt and response tokens of each sample: what a forward pass costs.
  std::vector<int64_t> SequenceLengths() const;
};

// What a step's artifacts must agree with.
struct StepShape {
  int64_t step = 0;
  int64_t version = 0;  // max(0, step - lag).
  int64_t prompts = 0;  // Slots of the step.
  int64_t samples_per_prompt = 0;
  model::VocabMask mask;  // Of token ids.
  bool full_reference = false;
};

// `rollouts` and `scores` in bundle order, as many of each.
// Errors: DATA_LOSS naming the bundle whose contents do not fit the shape, the other artifact or
// their neighbours.
absl::StatusOr<StepSamples> AssembleSamples(const StepShape& shape,
                                            absl::Span<const artifact::Rollout> rollouts,
                                            absl::Span<const artifact::Scores> scores);

// [N, T] f32 from one value per response token, in flat order; 0 off the mask.
at::Tensor PadResponses(absl::Span<const float> values, absl::Span<const int64_t> response_lengths,
                        int64_t longest);

}  // namespace retort::worker
