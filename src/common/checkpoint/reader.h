// Verifies and loads checkpoints, with any world size.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checkpoint/manifest.h"
#include "common/checkpoint/writer.h"
#include "common/tensor/aten.h"

namespace retort::checkpoint {

struct FoundCheckpoint {
  std::string name;    // "step-40"
  std::string folder;  // directory/name
  Manifest manifest;
};

// Reads the whole folder: manifest, every size, every digest, no extra file.
// Errors: DATA_LOSS naming the file that is missing, short, changed or too many; NOT_FOUND no
// folder.
absl::StatusOr<FoundCheckpoint> VerifyCheckpoint(const std::string& folder);

// Elements `range` of the arena out of whichever shards hold them. Tensors float32, contiguous,
// [range.size()]; an undefined one is not read.
absl::Status LoadRange(const FoundCheckpoint& checkpoint, const ElementRange& range,
                       const ShardTensors& out);

// Fills `out` float32 [published_elements] and checks its digest. NOT_FOUND if the checkpoint lacks
// `version`.
absl::Status LoadWeightVersion(const FoundCheckpoint& checkpoint, int64_t version, at::Tensor out);

}  // namespace retort::checkpoint
