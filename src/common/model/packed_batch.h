// Sequences laid end to end, without padding.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "common/tensor/aten.h"

namespace retort::model {

// S segments of together N tokens; segment s is rows [offsets[s], offsets[s+1]). Attention is
// causal inside a segment and never crosses one. On the CPU, whatever device the model is on.
struct PackedBatch {
  at::Tensor ids;                // [N] int64
  at::Tensor positions;          // [N] int64, 0, 1, 2 ... in every segment
  std::vector<int64_t> offsets;  // S + 1, ascending from 0 to N

  int64_t tokens() const { return offsets.back(); }
  int64_t segments() const { return static_cast<int64_t>(offsets.size()) - 1; }
};

PackedBatch Pack(absl::Span<const std::vector<int64_t>> sequences);

}  // namespace retort::model
