// Matrix products whose result is fp32 whatever the operands are. Portable: on any device.
#pragma once

#include "common/tensor/aten.h"

namespace retort::model::portable {

// a b, of two matrices [M, K], [K, N] or of batches of them [B, M, K], [B, K, N], both fp32 or both
// bf16 -> fp32. The sums of bf16 products are not rounded to bf16. Not differentiable for bf16.
at::Tensor MultiplyToFp32(const at::Tensor& a, const at::Tensor& b);

}  // namespace retort::model::portable
