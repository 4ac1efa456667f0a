// What the processes of ring_kill_test agree on.
#pragma once

#include <vector>

#include "common/ring/tensor_header.h"
#include "common/ring/tensor_ring.h"

namespace retort::ring {

// One entry in the consumer table: a killed consumer's must be taken by the next.
inline TensorRingShape PeerShape(bool device) {
  return {.slots = 2,
          .slot_bytes = 4000,
          .max_consumers = 1,
          .transport = device ? TransportKind::kDeviceIpc : TransportKind::kHost};
}
inline TensorHeader PeerHeader(int64_t sequence) {
  return MakeTensorHeader(/*step=*/1, sequence, Dtype::kFloat32, {1000});
}
inline std::vector<float> PeerValues(int64_t sequence) {
  return std::vector<float>(1000, static_cast<float>(sequence + 1));
}

}  // namespace retort::ring
