// A policy version as an artifact: how learner rank 0 hands it to workers that cannot map its
// weight ring. The bytes are the published range as it lies in the ring, then the publisher's
// canary, both little-endian fp32.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/ring/segment.h"
#include "common/rpc/artifact_bytes.h"

namespace retort::worker {

inline constexpr absl::string_view kWeightArtifactPrefix = "weights-";

// "weights-v12-e1-DIGEST": version 12, published in epoch 1 or a later one, with this digest.
std::string WeightArtifactId(int64_t version, uint64_t min_epoch, const Digest& digest);

// Looks versions up in the ring that `segment` maps (read-only suffices) and sends them from there
// without a copy; each chunk is checked to be of the version still. Thread-safe.
// Errors of this call: those of WeightRingReader::Open.
// Errors of a lookup: INVALID_ARGUMENT no such id; NOT_FOUND the ring does not hold the version,
// not yet or no more; DATA_LOSS it holds the version with another digest. While sending: ABORTED
// the version was overwritten.
absl::StatusOr<rpc::ArtifactLookup> ServeWeights(ring::Segment segment, absl::Duration timeout);

}  // namespace retort::worker
