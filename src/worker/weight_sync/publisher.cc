#include "worker/weight_sync/publisher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/model/model.h"
#include "common/tensor/parameter_arena.h"
#include "common/tensor/torch_process.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {

Digest DigestOfWeights(absl::Span<const float> weights) {
  return DigestOf(weights.data(), weights.size() * sizeof(float));
}

Digest DigestOfWeights(const at::Tensor& weights) {
  const at::Tensor host = weights.cpu().to(at::kFloat);
  return DigestOf(host.const_data_ptr<float>(), host.nbytes());
}

absl::StatusOr<std::unique_ptr<Publisher>> Publisher::Open(ring::Segment segment,
                                                           const PolicyModel& policy,
                                                           const ring::WeightRingShape& shape,
                                                           uint64_t epoch,
                                                           const tensor::GpuDevice* gpu) {
  std::unique_ptr<ring::ProducerTransport> transport;
  if (shape.transport == ring::TransportKind::kDeviceIpc) {
    RETORT_CHECK(gpu != nullptr) << "a weight ring on a GPU, but this process has none";
    transport = ring::DeviceProducerTransport(gpu->plugin.api, gpu->info.index);
  }
  RETORT_ASSIGN_OR_RETURN(
      ring::WeightRingWriter writer,
      ring::WeightRingWriter::Open(std::move(segment), shape, epoch, std::move(transport)));
  return std::unique_ptr<Publisher>(new Publisher(std::move(writer), policy, gpu));
}

// The version's slot as a tensor.
absl::StatusOr<at::Tensor> Publisher::Begin(int64_t version) {
  const ring::WeightRingShape& shape = writer_.shape();
  const bool host = shape.transport == ring::TransportKind::kHost;
  RETORT_ASSIGN_OR_RETURN(
      std::byte* const slot,
      writer_.BeginBytes(version, host ? nullptr : gpu_->plugin.api->CurrentStream()));
  return tensor::CatchTorch(
      [&] { return SlotTensor(slot, shape, host ? at::Device(at::kCPU) : gpu_->device); });
}

// Of the weights in `slot`, which another device than the policy's cannot compute with in place.
absl::StatusOr<std::vector<float>> Publisher::CanaryOf(const at::Tensor& slot) const {
  RETORT_ASSIGN_OR_RETURN(const model::Model published, tensor::CatchTorch([&] {
                            return policy_.Bind(tensor::ParameterArena::Wrap(
                                policy_.TrainedLayout(/*value_head=*/false),
                                slot.to(policy_.device(), policy_.published_type())));
                          }));
  return model::Canary(published);
}

absl::StatusOr<Digest> Publisher::Publish(int64_t version, const at::Tensor& weights,
                                          const std::optional<Digest>& expected) {
  const int64_t place = version % writer_.shape().slots;
  held_.erase(place);
  RETORT_ASSIGN_OR_RETURN(const at::Tensor slot, Begin(version));
  RETORT_CHECK(slot.numel() == weights.numel())
      << slot.numel() << " elements in a slot, " << weights.numel() << " given";
  RETORT_ASSIGN_OR_RETURN(const Digest digest, tensor::CatchTorch([&] {
                            const at::NoGradGuard no_grad;
                            slot.copy_(weights);
                            return DigestOfWeights(slot);
                          }));
  if (expected.has_value() && digest != *expected) {
    return absl::DataLossError(absl::StrCat("policy version ", version, " hashes to ",
                                            digest.ToHex(), ", expected ", expected->ToHex()));
  }
  RETORT_ASSIGN_OR_RETURN(const std::vector<float> canary, CanaryOf(slot));
  RETORT_RETURN_IF_ERROR(writer_.Commit(version, digest, canary));
  held_[place] = Held{version, digest, slot};
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
