// Saves the batch of a bad step, so that a person can compute it again.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "worker/learner/sft_step.h"
#include "worker/learner/step_samples.h"

namespace retort::worker {

// RUN/bad-batches/step-N.safetensors with tokens, lengths and log-probs; `why` is in its metadata.
// Returns the path.
absl::StatusOr<std::string> SaveBadBatch(const std::string& run_dir, int64_t step,
                                         const std::string& why, const StepSamples& samples);
absl::StatusOr<std::string> SaveBadBatch(const std::string& run_dir, int64_t step,
                                         const std::string& why, const SftRows& rows);

}  // namespace retort::worker
