// A small fp32 matrix product on one thread, for tiles that several threads share out: C (+)= A B
// with one operand packed beforehand and used many times. Every element is summed over k in one
// fixed order, whatever the shapes, so bits depend on the element's row of A and column of B only.
#pragma once

#include <cstdint>
#include <vector>

#include "common/tensor/aten.h"

namespace retort::model {

// Element (i, j) of a matrix is data[i * row_stride + j * column_stride].
struct MatrixView {
  const float* data = nullptr;
  int64_t row_stride = 0;
  int64_t column_stride = 0;
};

// B [inner, columns] in the order in which the product reads it. Reusable; keeps its memory.
class PackedColumns {
 public:
  // Uses at::parallel_for.
  void Pack(const MatrixView& b, int64_t inner, int64_t columns);

  int64_t inner() const { return inner_; }
  int64_t columns() const { return columns_; }
  const float* data() const { return data_.const_data_ptr<float>(); }

 private:
  int64_t inner_ = 0, columns_ = 0;
  at::Tensor data_;  // Aligned to cache lines.
};

// Scratch of one thread; keeps its memory.
using GemmScratch = std::vector<float>;

// C [rows, last - first] (+)= A [rows, b.inner()] times columns [first, last) of b; `c` points to
// its first element, rows are c_stride apart. `first` is a multiple of kGemmColumns.
inline constexpr int64_t kGemmColumns = 32;
void MultiplyPacked(const MatrixView& a, int64_t rows, const PackedColumns& b, int64_t first,
                    int64_t last, bool add, float* c, int64_t c_stride, GemmScratch* scratch);

}  // namespace retort::model
