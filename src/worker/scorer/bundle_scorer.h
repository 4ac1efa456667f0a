// Reference log-probs of one bundle's responses. No wire.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "common/artifact/rollout.h"
#include "common/artifact/scores.h"
#include "common/model/model.h"
#include "retort/v1/job.pb.h"
#include "worker/weight_sync/policy_source.h"

namespace retort::worker {

struct ScoringOptions {
  double temperature = 1;  // The rollouts': both log-probs of a KL are of the same distribution.
  bool full = false;       // Whole log-softmax rows instead of the sampled tokens' entries.
  model::VocabMask mask;   // Ids outside of it have probability 0.
  int64_t micro_batch_tokens =
      4096;  // Part of the result's identity: a row's bits may depend on its batch.
};
ScoringOptions ScoringOptionsOf(const v1::JobSpec& spec, const PolicyText& policy);

// Micro-batches follow from the bundle and the options alone, so every scorer makes the same bytes.
// `on_micro_batch` counts progress; its error ends the work. Errors: DATA_LOSS a token id outside
// the vocabulary; INVALID_ARGUMENT a sample longer than micro_batch_tokens; what CatchTorch gives.
absl::StatusOr<artifact::Scores> ScoreBundle(const model::Model& reference,
                                             const ScoringOptions& options,
                                             const artifact::Rollout& rollout,
                                             const std::function<absl::Status()>& on_micro_batch);

}  // namespace retort::worker
