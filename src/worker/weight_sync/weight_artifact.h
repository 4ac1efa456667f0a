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
#include "common/ring/weight_ring.h"
#include "common/rpc/artifact_bytes.h"
#include "common/tensor/gpu_device.h"

namespace retort::worker {

inline constexpr absl::string_view kWeightArtifactPrefix = "weights-";

// "weights-v12-e1-DIGEST": version 12, published in epoch 1 or a later one, with this digest.
std::string WeightArtifactId(int64_t version, uint64_t min_epoch, const Digest& digest);

// What such an id asks for. INVALID_ARGUMENT if it is none.
absl::StatusOr<ring::AcquireRequest> ParseWeightArtifactId(const std::string& id);

// Looks versions up in the ring that `segment` maps (read-only suffices) and sends them from there
// without a copy; each chunk is checked to be of the version still. Thread-safe.
// Errors of this call: those of WeightRingReader::Open.
// Errors of a lookup: INVALID_ARGUMENT no such id; NOT_FOUND the ring does not hold the version,
// not yet or no more; DATA_LOSS it holds the version with another digest. While sending: ABORTED
// the version was overwritten.
absl::StatusOr<rpc::ArtifactLookup> ServeWeights(ring::Segment segment, absl::Duration timeout);

// The same for a ring on a GPU (`segment` is mapped read-write), in the process that holds it or
// another: the version that was asked for last is copied to the host and sent from there, in fp32,
// so that it holds while it is sent. `gpu` outlives the lookup. Errors of this call: those of
// DeviceWeightReader::Open.
absl::StatusOr<rpc::ArtifactLookup> ServeGpuWeights(ring::Segment segment,
                                                    const ring::WeightRingShape& shape,
                                                    const tensor::GpuDevice& gpu,
                                                    absl::Duration timeout);

}  // namespace retort::worker
