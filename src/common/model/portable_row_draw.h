// Draws tokens from logits that lie in the memory of a device. Only what decides leaves it: of a
// row the largest logit and the sums of its weights by blocks, then the block that the draw falls
// into, or, with top_k or top_p, the likeliest ids. A row that these cannot decide (repetition
// penalty, top_log_probs, another mask than the first row's, a truncation that keeps more ids than
// are looked at) is drawn on the host from all of its logits. Whichever it is, a row's token follows
// from its logits, its options and its uniform number as RowFilter has it, within rounding.
// Internal to portable_decoder_kernels.cc and tests.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/model/row_draw.h"
#include "common/tensor/aten.h"

namespace retort::model {

// Not thread-safe. Throws what LibTorch throws.
class DeviceDraws {
 public:
  // logits [draws.size(), vocab] fp32, contiguous; those of ids that do not exist are overwritten.
  void Draw(const at::Tensor& logits, absl::Span<RowDraw> draws);

  int64_t rows_drawn_on_host() const { return rows_drawn_on_host_; }  // Since it was made.

 private:
  void DrawOnHost(const at::Tensor& logits, const std::vector<int64_t>& rows,
                  absl::Span<RowDraw> draws);

  HostDraws host_;
  int64_t rows_drawn_on_host_ = 0;
};

}  // namespace retort::model
