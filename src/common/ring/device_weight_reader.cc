#include "common/ring/device_weight_reader.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/ring/weight_label.h"

namespace retort::ring {

absl::StatusOr<DeviceWeightReader> DeviceWeightReader::Open(Segment segment, gpu::Api* api,
                                                            int device, absl::Duration timeout) {
  absl::StatusOr<std::unique_ptr<TensorRingConsumer>> ring = TensorRingConsumer::Open(
      std::move(segment), {}, DeviceConsumerTransport(api, device), timeout);
  if (!ring.ok()) return WithContext(ring.status(), "weight ring");
  return DeviceWeightReader(*std::move(ring));
}

absl::StatusOr<DeviceWeights> DeviceWeightReader::Acquire(const AcquireRequest& request,
                                                          gpu::Stream stream) {
  absl::StatusOr<TensorLease> lease = ring_->Acquire({.sequence = request.version,
                                                      .min_epoch = request.min_epoch,
                                                      .timeout = request.timeout,
                                                      .await_successor = true},
                                                     stream);
  if (!lease.ok()) return WithContext(lease.status(), "weight ring");
  RETORT_ASSIGN_OR_RETURN(WeightLabel label, ReadWeightLabel(lease->header(), request.digest));
  DeviceWeights weights;
  weights.version = lease->header().sequence;
  weights.epoch = lease->header().epoch;
  weights.digest = label.digest;
  weights.canary = std::move(label.canary);
  weights.data = lease->data().data();
  weights.lease = std::make_unique<TensorLease>(*std::move(lease));
  return weights;
}

}  // namespace retort::ring
