// Linear maps of rows, y = x W^T + b, with the weights read where they lie (an arena, fp32 or
// bf16). The sum over the inputs is taken in one fixed order, so the bits of a row of y depend on
// that row of x and the weights alone: not on how many other rows there are, not on the threads
// (but for the sign and payload of a NaN). at::linear does not promise that. One kind of
// instruction set gives one result.
#pragma once

#include <cstdint>

#include "common/tensor/aten.h"

namespace retort::model {

enum class WeightType { kFloat32, kBFloat16 };

// [outputs, inputs], contiguous.
struct WeightMatrix {
  const void* data = nullptr;
  WeightType type = WeightType::kFloat32;
  int64_t outputs = 0;
  int64_t inputs = 0;
};

// A view of `weight` [outputs, inputs], fp32 or bf16, contiguous: anything else is a bug and
// CHECKed. The tensor must outlive the view.
WeightMatrix MatrixOf(const at::Tensor& weight);

// Rows [first, first + count) of `weight` as a matrix.
WeightMatrix OutputRange(const WeightMatrix& weight, int64_t first, int64_t count);

// The elements as fp32, which is exact, to `out` [outputs, inputs]. Uses at::parallel_for.
void WidenRows(const WeightMatrix& weight, float* out);

// What happens to the rows of y.
enum class LinearMode {
  kStore,  // y = x W^T + bias
  kAdd,    // y = y + (x W^T + bias)
};

// x [rows, inputs] and y [rows, outputs], contiguous, not overlapping. bias [outputs] or null. bf16
// weights are widened, which is exact: the result is that of the widened fp32 matrix, bit for bit.
void RowLinear(const float* x, int64_t rows, const WeightMatrix& weight, const float* bias,
               LinearMode mode, float* y);

}  // namespace retort::model
