// Compares two fingerprints of what weights compute (model::Canary).
#pragma once

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace retort::worker {

// How close two canaries must be. One host, so one kind of CPU: the same bits. Elsewhere kernels
// may differ.
enum class CanaryRule { kBitwise, kWithinTolerance };
inline constexpr float kCanaryTolerance = 1e-4f;

// DATA_LOSS with the first differing index and both values; also when lengths differ.
absl::Status CompareCanaries(absl::Span<const float> published, absl::Span<const float> computed,
                             CanaryRule rule);

}  // namespace retort::worker
