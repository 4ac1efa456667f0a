// One supervised step of a learner rank: token loss on what the step's rows teach, which is the
// response and EOS, or what the assistant says in a conversation.
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

// Rows as token ids, one after the other.
struct SftRows {
  std::vector<int64_t> tokens;
  std::vector<int64_t> begin;           // [N + 1]
  std::vector<int64_t> prompt_lengths;  // [N] tokens before the first trained one, >= 1.
  std::vector<bool> trained;            // One a token: it counts in the loss.

  int64_t count() const { return static_cast<int64_t>(prompt_lengths.size()); }
  std::vector<int64_t> Lengths() const;
  int64_t TrainedTokens(int64_t i) const;  // Of row i, >= 1.
};

// As policy.rows encodes them; data::EosOf ends a response. Errors, naming file and line of the
// row: those of RowEncoder::Example and EosOf; INVALID_ARGUMENT for one longer than the model's
// context.
absl::StatusOr<SftRows> EncodeSftRows(const PolicyText& policy, const data::Dataset& dataset,
                                      absl::Span<const int64_t> rows);

// Accumulates this rank's part of the gradient into the model's (zeroed) gradients; returns its
// part of the sums (objective::SftSum).
absl::StatusOr<at::Tensor> AccumulateSftGradient(const TrainingContext& context,
                                                 const SftRows& rows);

// One optimizer update. All ranks call it with equal rows and state. After an error the model is
// unspecified.
absl::StatusOr<StepOutcome> RunSftStep(const TrainingContext& context, const SftRows& rows,
                                       const checkpoint::TrainerState& state, StepClock* clock);

}  // namespace retort::worker
