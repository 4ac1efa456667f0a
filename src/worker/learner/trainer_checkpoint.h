// Between a learner rank's memory and RUN/checkpoints: what is saved, by whom, and what comes back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/checkpoint/manifest.h"
#include "common/checkpoint/reader.h"
#include "common/checkpoint/writer.h"
#include "common/collective/collective.h"
#include "worker/learner/trained_model.h"
#include "worker/weight_sync/policy_model.h"
#include "worker/weight_sync/policy_source.h"
#include "worker/weight_sync/publisher.h"

namespace retort::worker {

// Of what a checkpoint's reader must share with its writer: the model's config, value head and
// tokenizer; with LoRA also the adapter's config and the base weights, which no checkpoint holds.
Digest CheckpointConfigDigest(const PolicyText& policy, const PolicyModel& model, bool value_head);

struct CheckpointContents {
  const TrainedModel* model = nullptr;
  checkpoint::TrainerState state;
  Digest config_digest;
  std::vector<Publisher::Held> versions;  // Rank 0: older versions that rollouts may still need.
};

// All ranks call it; each writes its slice of the arena, rank 0 the rest. Returns the manifest's
// digest on rank 0, zero elsewhere. When it fails it fails on every rank, older checkpoints stay
// and training may go on.
absl::StatusOr<Digest> SaveCheckpoint(const checkpoint::CheckpointTarget& target,
                                      const CheckpointContents& contents,
                                      collective::Collective& group);

// Verifies RUN/checkpoints/NAME and fills parameters and moments. Any world size. Returns what was
// found, for the older versions. Errors: DATA_LOSS naming the file; FAILED_PRECONDITION written for
// another model.
absl::StatusOr<checkpoint::FoundCheckpoint> RestoreCheckpoint(const std::string& folder,
                                                              const Digest& config_digest,
                                                              TrainedModel* model);

// Of everything that the next step depends on; equal on every rank, or the ranks have diverged.
Digest StateDigest(const TrainedModel& model, const checkpoint::TrainerState& state);

}  // namespace retort::worker
