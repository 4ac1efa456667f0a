// The one shared segment of a job on a host that holds the policy's last versions: its name, shape
// and where it is asked for. Writer and readers must agree on all three.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/ring/broker_client.h"
#include "common/ring/segment.h"
#include "common/ring/weight_ring.h"
#include "common/tensor/aten.h"
#include "retort/v1/control.pb.h"
#include "worker/weight_sync/policy_model.h"

namespace retort::worker {

// Where the ring lies: on the learner's GPU if rollout workers compute on GPUs too, so that they
// read what the optimizer wrote; else in the host's memory. The job's choice, never what happens to
// work.
ring::TransportKind WeightTransportOf(const v1::JobSpec& spec);

// lag + 2 versions of the published range (with LoRA: the adapter), so that any uncommitted step
// can be rolled out again. In host memory they are fp32, on a GPU of policy.published_type().
ring::WeightRingShape WeightRingShapeOf(const PolicyModel& policy, int lag,
                                        ring::TransportKind transport = ring::TransportKind::kHost);

// The weights of a slot as a tensor, whose memory stays the ring's. `device`: the CPU for a ring in
// host memory, else the GPU that computes with them, which may be a peer of the one that they lie
// on. Throws what LibTorch throws.
at::Tensor SlotTensor(const std::byte* slot, const ring::WeightRingShape& shape,
                      const at::Device& device);

// Where this host's segments are asked for. INVALID_ARGUMENT if the driver named no broker.
absl::StatusOr<ring::BrokerAddress> BrokerOf(const v1::Welcome& welcome, const std::string& token);

// True if some role maps the policy's weights: RL rolls out, SFT only for evaluation.
bool UsesWeightRing(const v1::JobSpec& spec);

// Errors: those of OpenSegment.
absl::StatusOr<ring::Segment> OpenWeightSegment(const ring::BrokerAddress& broker,
                                                const std::string& job_id,
                                                const ring::WeightRingShape& shape,
                                                ring::Access access, absl::Duration timeout);

}  // namespace retort::worker
