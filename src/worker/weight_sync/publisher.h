// Puts policy versions into the weight ring: learner rank 0's part of weight_sync.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/digest.h"
#include "common/ring/weight_ring.h"
#include "common/tensor/aten.h"
#include "common/tensor/gpu_device.h"
#include "worker/weight_sync/policy_model.h"

namespace retort::worker {

// Digest of the bytes of a published range in fp32: what identifies a policy version everywhere.
// Weights that are published in bf16 are widened for it, which is exact.
Digest DigestOfWeights(absl::Span<const float> weights);
Digest DigestOfWeights(const at::Tensor& weights);  // Of any type and device; may throw.

// Not thread-safe.
class Publisher {
 public:
  // `segment` is mapped read-write and of the size that WeightSegment gives. Versions in it stay
  // until they are overwritten; on a GPU they end with this process. `gpu`: whose memory the ring
  // is in, if it is on one. Errors: those of WeightRingWriter::Open.
  static absl::StatusOr<std::unique_ptr<Publisher>> Open(ring::Segment segment,
                                                         const PolicyModel& policy,
                                                         const ring::WeightRingShape& shape,
                                                         uint64_t epoch,
                                                         const tensor::GpuDevice* gpu = nullptr);

  // Copies `weights` [published_elements] (any type and device; rounded if the ring is narrower)
  // into the version's slot, hashes the copy once, computes its canary there and commits: readers
  // may use it from then on. Returns the digest. Errors: those of the ring; DATA_LOSS when the
  // digest is not `expected`, if one is given.
  absl::StatusOr<Digest> Publish(int64_t version, const at::Tensor& weights,
                                 const std::optional<Digest>& expected = std::nullopt);

  // The versions that this publisher put into the ring and has not overwritten, ascending, in
  // place: `weights` [published_elements] as the ring has them.
  struct Held {
    int64_t version = 0;
    Digest digest;
    at::Tensor weights;
  };
  std::vector<Held> held() const;
  // A new group begins, perhaps with an older version: none counts as published. Readers may go on
  // with what is there.
  void StartOver() { held_.clear(); }

 private:
  Publisher(ring::WeightRingWriter writer, const PolicyModel& policy, const tensor::GpuDevice* gpu)
      : writer_(std::move(writer)), policy_(policy), gpu_(gpu) {}
  absl::StatusOr<at::Tensor> Begin(int64_t version);
  absl::StatusOr<std::vector<float>> CanaryOf(const at::Tensor& slot) const;

  ring::WeightRingWriter writer_;
  const PolicyModel policy_;
  const tensor::GpuDevice* const gpu_;
  std::map<int64_t, Held> held_;  // By slot.
};

}  // namespace retort::worker
