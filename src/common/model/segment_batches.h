// Segments of a pack put side by side, padded to one length, so that a device attends in many at
// once: launching kernels for each would cost more than short ones compute. Internal to
// portable_attention.cc and tests.
#pragma once

#include <cstdint>
#include <vector>

#include "common/tensor/aten.h"

namespace retort::model {

// S segments of at most T rows. A segment's place p is slot p of its own T; behind its end come its
// last row's again.
struct SegmentBatch {
  int64_t segments = 0;  // S
  int64_t length = 0;    // T
  at::Tensor padded;     // [S * T] int64: the row of the pack in each slot.
  at::Tensor padding;    // [S * T] bool: slots that are padding.
  at::Tensor slots;      // [R] int64: slots that are not.
};

// Every row of a pack in one slot of one batch.
struct SegmentPlan {
  std::vector<SegmentBatch> batches;
  at::Tensor places;  // [N] int64: where a row is among `slots` of the batches one after another.
};

struct SegmentLimits {
  int64_t pairs = 0;      // Slots times T, of several segments.
  int64_t length = 1024;  // T of several segments.
};

// Of segments [offsets[s], offsets[s+1]); empty ones are left out. Segments of like lengths come
// together: at most a quarter more slots than rows, or T <= 64. Indices lie on `device`, where they
// are gathered by only: scattering sorts them in deterministic mode.
SegmentPlan BatchSegments(const std::vector<int64_t>& offsets, const SegmentLimits& limits,
                          const at::Device& device);

}  // namespace retort::model
