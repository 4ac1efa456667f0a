#include "worker/weight_sync/weight_segment.h"

#include "absl/strings/str_cat.h"

namespace retort::worker {

ring::TransportKind WeightTransportOf(const v1::JobSpec& spec) {
  const v1::ClusterSpec& cluster = spec.cluster();
  const bool on_gpus = cluster.learner().device() == v1::DEVICE_CUDA &&
                       cluster.rollout().device() == v1::DEVICE_CUDA;
  return on_gpus ? ring::TransportKind::kDeviceIpc : ring::TransportKind::kHost;
}

ring::WeightRingShape WeightRingShapeOf(const PolicyModel& policy, int lag,
                                        ring::TransportKind transport) {
  const bool half =
      transport == ring::TransportKind::kDeviceIpc && policy.published_type() == at::kBFloat16;
  return {.slots = lag + 2,
          .slot_elements = policy.TrainedLayout(/*value_head=*/false).published_elements,
          .dtype = half ? ring::Dtype::kBFloat16 : ring::Dtype::kFloat32,
          .transport = transport};
}

at::Tensor SlotTensor(const std::byte* slot, const ring::WeightRingShape& shape,
                      const at::Device& device) {
  const at::ScalarType type = shape.dtype == ring::Dtype::kBFloat16 ? at::kBFloat16 : at::kFloat;
  // for_blob takes a mutable pointer. LibTorch must not look where the memory lies: it would refuse
  // a peer's.
  return at::for_blob(const_cast<std::byte*>(slot), {shape.slot_elements})
      .options(at::TensorOptions().dtype(type).device(device))
      .target_device(device)
      .make_tensor();
}

absl::StatusOr<ring::BrokerAddress> BrokerOf(const v1::Welcome& welcome, const std::string& token) {
  if (welcome.shared_memory().broker_socket().empty()) {
    return absl::InvalidArgumentError(
        "the driver's Welcome names no shared-memory broker for this host");
  }
  return ring::BrokerAddress{welcome.shared_memory().broker_socket(), token};
}

bool UsesWeightRing(const v1::JobSpec& spec) {
  return spec.algorithm().type() != v1::ALGORITHM_TYPE_SFT || spec.eval().every() > 0;
}

absl::StatusOr<ring::Segment> OpenWeightSegment(const ring::BrokerAddress& broker,
                                                const std::string& job_id,
                                                const ring::WeightRingShape& shape,
                                                ring::Access access, absl::Duration timeout) {
  return ring::OpenSegment(broker, absl::StrCat(job_id, "/weights"), ring::WeightRingBytes(shape),
                           access, timeout);
}

}  // namespace retort::worker
