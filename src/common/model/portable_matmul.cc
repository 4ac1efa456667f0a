#include "common/model/portable_matmul.h"

namespace retort::model::portable {

at::Tensor MultiplyToFp32(const at::Tensor& a, const at::Tensor& b) {
  const bool batched = a.dim() == 3;
  if (a.scalar_type() == at::kFloat) return batched ? a.bmm(b) : a.mm(b);
  // The CPU has no kernel that keeps the sums of bf16; widening is exact.
  if (a.is_cpu()) return MultiplyToFp32(a.to(at::kFloat), b.to(at::kFloat));
  return batched ? at::bmm(a, b, at::kFloat) : at::mm(a, b, at::kFloat);
}

}  // namespace retort::model::portable
