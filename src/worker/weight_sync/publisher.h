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
#include "worker/weight_sync/policy_model.h"

namespace retort::worker {

// Digest of the bytes of a published range: what identifies a policy version everywhere.
Digest DigestOfWeights(absl::Span<const float> weights);

// Not thread-safe.
class Publisher {
 public:
  // `segment` is mapped read-write and of the size that WeightSegment gives. Versions in it stay
  // until they are overwritten. Errors: those of WeightRingWriter::Open.
  static absl::StatusOr<std::unique_ptr<Publisher>> Open(ring::Segment segment,
                                                         const PolicyModel& policy, int lag,
                                                         uint64_t epoch);

  // Copies `weights` (the published range) into the version's slot, hashes the copy once, computes
  // its canary there and commits: readers may use it from then on. Returns the digest. Errors:
  // those of the ring; DATA_LOSS when the digest is not `expected`, if one is given.
  absl::StatusOr<Digest> Publish(int64_t version, absl::Span<const float> weights,
                                 const std::optional<Digest>& expected = std::nullopt);

  // The versions that this publisher put into the ring and has not overwritten, ascending, in
  // place.
  struct Held {
    int64_t version = 0;
    Digest digest;
    absl::Span<const float> weights;
  };
  std::vector<Held> held() const;

 private:
  Publisher(ring::WeightRingWriter writer, const PolicyModel& policy, int slots)
      : writer_(std::move(writer)), policy_(policy), slots_(slots) {}

  ring::WeightRingWriter writer_;
  const PolicyModel policy_;
  const int slots_;
  std::map<int64_t, Held> held_;  // By slot.
};

}  // namespace retort::worker
