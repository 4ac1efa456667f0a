#include "worker/weight_sync/publisher.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/model.h"
#include "common/tensor/parameter_arena.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {

Digest DigestOfWeights(absl::Span<const float> weights) {
  return DigestOf(weights.data(), weights.size() * sizeof(float));
}

absl::StatusOr<std::unique_ptr<Publisher>> Publisher::Open(ring::Segment segment,
                                                           const PolicyModel& policy, int lag,
                                                           uint64_t epoch) {
  const ring::WeightRingShape shape = WeightRingShapeOf(policy, lag);
  RETORT_ASSIGN_OR_RETURN(ring::WeightRingWriter writer,
                          ring::WeightRingWriter::Open(std::move(segment), shape, epoch));
  return std::unique_ptr<Publisher>(new Publisher(std::move(writer), policy, shape.slots));
}

absl::StatusOr<Digest> Publisher::Publish(int64_t version, absl::Span<const float> weights,
                                          const std::optional<Digest>& expected) {
  held_.erase(version % slots_);
  RETORT_ASSIGN_OR_RETURN(const absl::Span<float> slot, writer_.Begin(version));
  RETORT_CHECK(slot.size() == weights.size())
      << slot.size() << " floats in a slot, " << weights.size() << " given";
  std::memcpy(slot.data(), weights.data(), weights.size() * sizeof(float));
  const Digest digest = DigestOfWeights(slot);
  if (expected.has_value() && digest != *expected) {
    return absl::DataLossError(absl::StrCat("policy version ", version, " hashes to ",
                                            digest.ToHex(), ", expected ", expected->ToHex()));
  }
  const model::Model published = policy_.Bind(tensor::ParameterArena::Borrow(
      policy_.TrainedLayout(/*value_head=*/false), slot.data(), nullptr));
  RETORT_ASSIGN_OR_RETURN(const std::vector<float> canary, model::Canary(published));
  RETORT_RETURN_IF_ERROR(writer_.Commit(version, digest, canary));
  held_[version % slots_] = Held{version, digest, slot};
  return digest;
}

std::vector<Publisher::Held> Publisher::held() const {
  std::vector<Held> held;
  for (const auto& [slot, version] : held_) held.push_back(version);
  std::sort(held.begin(), held.end(),
            [](const Held& a, const Held& b) { return a.version < b.version; });
  return held;
}

}  // namespace retort::worker
