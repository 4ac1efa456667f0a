// Writes checkpoints so that a reader sees a whole one or none: everything goes to
// DIR/step-N.tmp-EPOCH, every file is fsynced, MANIFEST.json is last, then the folder is renamed to
// DIR/step-N.
//
//   rank 0        BeginCheckpoint(target)
//   all           Barrier
//   every rank    record = WriteShard(target, rank, world_size, total_elements, tensors)
//   rank 0        versions = WriteWeightVersion(...) for every version that a rollout may still
//                 need
//   all           gather the records (EncodeShardRecord) to rank 0
//   rank 0        digest = CommitCheckpoint(target, manifest)
//   all           Barrier
//
// A failed save leaves the older checkpoints as they were: rank 0 calls AbandonCheckpoint when no
// rank writes any more, and training goes on.
// Which checkpoints stay is the driver's to decide.
// Failpoints, in order: checkpoint.shard, checkpoint.shard_written, checkpoint.version,
// checkpoint.manifest, checkpoint.rename, checkpoint.committed.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/digest.h"
#include "common/checkpoint/folder_name.h"
#include "common/checkpoint/manifest.h"
#include "common/tensor/aten.h"

namespace retort::checkpoint {

struct CheckpointTarget {
  std::string directory;  // RUN/checkpoints; made if missing.
  int64_t step = 0;
  uint64_t epoch =
      0;  // Fences the staging folder: a writer of an older epoch cannot mix its files in.
};

std::string StagingFolder(const CheckpointTarget& target);

// Makes an empty staging folder; removes what an earlier attempt, also of another epoch, left of
// this step.
absl::Status BeginCheckpoint(const CheckpointTarget& target);

// Removes what was staged: a disk that is full must not stay full.
absl::Status AbandonCheckpoint(const CheckpointTarget& target);

// A rank's contiguous slice of the arena: float32, contiguous, [SliceOf(total, rank, world).size()]
// each.
struct ShardTensors {
  at::Tensor params;
  at::Tensor exp_avg;
  at::Tensor exp_avg_sq;
};
// Errors: RESOURCE_EXHAUSTED disk full; INVALID_ARGUMENT tensors of the wrong size.
absl::StatusOr<ShardRecord> WriteShard(const CheckpointTarget& target, int rank, int world_size,
                                       int64_t total_elements, const ShardTensors& tensors);

// `published`: float32 [published_elements], contiguous. FAILED_PRECONDITION if its bytes do not
// have `digest`.
absl::StatusOr<VersionRecord> WriteWeightVersion(const CheckpointTarget& target, int64_t version,
                                                 const Digest& digest, const at::Tensor& published);

// Checks that the folder holds exactly the manifest's files in their sizes, writes the manifest,
// renames. An older checkpoint of the same step is replaced in one atomic exchange. Returns the
// manifest's digest.
absl::StatusOr<Digest> CommitCheckpoint(const CheckpointTarget& target, const Manifest& manifest);

}  // namespace retort::checkpoint
