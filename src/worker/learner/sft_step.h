// One supervised step of a learner rank: token loss on the responses of the step's rows, EOS
// included.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checkpoint/manifest.h"
#include "common/data/dataset.h"
#include "worker/learner/step_clock.h"
#include "worker/learner/step_outcome.h"
#include "worker/learner/training_context.h"

namespace retort::worker {

// Rows as token ids: prompt, response, EOS, one after the other.
struct SftRows {
  std::vector<int64_t> tokens;
  std::vector<int64_t> begin;           // [N + 1]
  std::vector<int64_t> prompt_lengths;  // [N]

  int64_t count() const { return static_cast<int64_t>(prompt_lengths.size()); }
  std::vector<int64_t> Lengths() const;
};

// The prompt is encoded as for a rollout, the response by itself: that is what the policy will see
// and say, and EosOf ends it. Errors: those of EosOf; INVALID_ARGUMENT naming file and line of a
// row without response, that cannot be encoded or is longer than the model's context.
absl::StatusOr<SftRows> EncodeSftRows(const PolicyText& policy, bool add_bos,
                                      const data::Dataset& dataset, absl::Span<const int64_t> rows);

// Accumulates this rank's part of the gradient into the model's (zeroed) gradients; returns its
// part of the sums (objective::SftSum).
absl::StatusOr<at::Tensor> AccumulateSftGradient(const TrainingContext& context,
                                                 const SftRows& rows);

// One optimizer update. All ranks call it with equal rows and state. After an error the model is
// unspecified.
absl::StatusOr<StepOutcome> RunSftStep(const TrainingContext& context, const SftRows& rows,
                                       const checkpoint::TrainerState& state, StepClock* clock);

}  // namespace retort::worker
