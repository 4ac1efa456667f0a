// How large a tensor ring is. Producer and consumers of a ring agree on it before either opens it.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace retort::ring {

// Where the payload lies; payload_transport.h.
enum class TransportKind : uint32_t { kHost = 1, kDeviceIpc = 2 };

inline constexpr int kMaxRingSlots = 1024;
inline constexpr int kMaxRingConsumers = 64;
inline constexpr int64_t kMaxSlotBytes = int64_t{1} << 40;

struct TensorRingShape {
  int slots = 2;           // 1 .. kMaxRingSlots.
  int64_t slot_bytes = 0;  // Of the largest tensor; 1 .. kMaxSlotBytes.
  int max_consumers = 8;   // At one time, 0 .. kMaxRingConsumers; 0: observers only.
  TransportKind transport = TransportKind::kHost;

  bool operator==(const TensorRingShape&) const = default;
};

// INVALID_ARGUMENT names the field that is out of range.
absl::Status CheckTensorRingShape(const TensorRingShape& shape);
// Size of the segment to open for a ring. The shape must be valid (CHECK).
int64_t TensorRingBytes(const TensorRingShape& shape);

}  // namespace retort::ring
