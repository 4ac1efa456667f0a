#include "common/model/packed_gemm.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/model/simd.h"
#include "common/tensor/aten.h"

namespace retort::model {
namespace {

// A panel of B (kInner x kGemmColumns at most) and one of A stay in the first-level cache; the sums
// of one block of k are added to C before the next.
constexpr int64_t kInner = 256;
constexpr int kRows = 6;  // Rows of A that a tile computes: 6 x 2 accumulators of 16 registers.
constexpr int64_t kPackGrain = 8;

int64_t Panels(int64_t columns) { return (columns + kGemmColumns - 1) / kGemmColumns; }

// One panel of kGemmColumns columns: for each block of k, [k][kGemmColumns], zeros beyond the
// matrix.
void PackPanel(const MatrixView& b, int64_t inner, int64_t first, int64_t last, float* to) {
  for (int64_t k = 0; k < inner; ++k) {
    const float* from = b.data + k * b.row_stride + first * b.column_stride;
    float* row = to + k * kGemmColumns;
    for (int64_t j = 0; j < last - first; ++j) row[j] = from[j * b.column_stride];
    std::fill(row + (last - first), row + kGemmColumns, 0.0f);
  }
}

// Four columns of B and four k, transposed on the way.
RETORT_INLINE void PackFour(const float* from, int64_t column_stride, float* to) {
  simd::Float<16> rows[4];
  for (int i = 0; i < 4; ++i) simd::Load<16>(from + i * column_stride, rows[i]);
  simd::TransposeFour(rows[0], rows[1], rows[2], rows[3]);
  for (int i = 0; i < 4; ++i) simd::Store<16>(rows[i], to + i * kGemmColumns);
}

// The same where the columns of B are contiguous in memory.
void PackColumnwise(const MatrixView& b, int64_t inner, int64_t first, int64_t last, float* to) {
  const int64_t whole = (last - first) / 4 * 4;
  int64_t k = 0;
  for (; k + 4 <= inner; k += 4) {
    const float* from = b.data + first * b.column_stride + k;
    for (int64_t j = 0; j < whole; j += 4) {
      PackFour(from + j * b.column_stride, b.column_stride, to + k * kGemmColumns + j);
    }
  }
  const MatrixView rest{b.data + k, b.row_stride, b.column_stride};
  PackPanel(rest, inner - k, first, last, to + k * kGemmColumns);
  for (int64_t row = 0; row < k && whole < kGemmColumns; ++row) {
    for (int64_t j = whole; j < kGemmColumns; ++j) {
      to[row * kGemmColumns + j] =
          first + j < last ? b.data[row + (first + j) * b.column_stride] : 0.0f;
    }
  }
}

// Rows of A in groups of kRows: [k][kRows], zeros beyond the matrix.
void PackRows(const MatrixView& a, int64_t rows, int64_t k0, int64_t k1, float* to) {
  for (int64_t r = 0; r < rows; r += kRows) {
    for (int64_t i = 0; i < kRows; ++i) {
      const bool real = r + i < rows;
      const float* from = a.data + (real ? (r + i) * a.row_stride : 0) + k0 * a.column_stride;
      for (int64_t k = 0; k < k1 - k0; ++k) {
        to[k * kRows + i] = real ? from[k * a.column_stride] : 0.0f;
      }
    }
    to += kRows * (k1 - k0);
  }
}

struct GemmKernel {
  const float* a;  // Packed rows of one block of k.
  int64_t rows, inner;
  const float* b;  // Packed panels of that block.
  int64_t panel_stride;
  int64_t columns;
  bool add;
  float* c;
  int64_t c_stride;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kColumns = 2 * (kBytes / 4);
    for (int64_t n = 0; n < columns; n += kColumns) {
      const float* panel = b + n / kGemmColumns * panel_stride + n % kGemmColumns;
      for (int64_t r = 0; r < rows; r += kRows) Tile<kBytes>(a + r * inner, panel, r, n);
    }
  }

  template <int kBytes>
  RETORT_INLINE void Tile(const float* left, const float* right, int64_t r, int64_t n) const {
    constexpr int kLanes = kBytes / 4;
    simd::Float<kBytes> sums[kRows][2];
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      sums[i][0] = simd::Float<kBytes>{};
      sums[i][1] = simd::Float<kBytes>{};
    }
    for (int64_t k = 0; k < inner; ++k) {
      simd::Float<kBytes> x, y;
      simd::Load<kBytes>(right + k * kGemmColumns, x);
      simd::Load<kBytes>(right + k * kGemmColumns + kLanes, y);
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
        const float value = left[k * kRows + i];
        sums[i][0] += value * x;
        sums[i][1] += value * y;
      }
    }
    if (r + kRows <= rows && n + 2 * kLanes <= columns) return Whole<kBytes>(&sums[0][0], r, n);
    Part<kBytes>(&sums[0][0], r, n);
  }

  template <int kBytes>
  RETORT_INLINE void Whole(const simd::Float<kBytes>* sums, int64_t r, int64_t n) const {
    constexpr int kLanes = kBytes / 4;
#pragma GCC unroll 12
    for (int i = 0; i < 2 * kRows; ++i) {
      float* const to = c + (r + i / 2) * c_stride + n + (i % 2) * kLanes;
      simd::Float<kBytes> old{};
      if (add) simd::Load<kBytes>(to, old);
      simd::Store<kBytes>(add ? old + sums[i] : sums[i], to);
    }
  }

  template <int kBytes>
  RETORT_INLINE void Part(const simd::Float<kBytes>* sums, int64_t r, int64_t n) const {
    constexpr int kLanes = kBytes / 4;
    float lanes[2 * kRows * kLanes];
    for (int i = 0; i < 2 * kRows; ++i) simd::Store<kBytes>(sums[i], lanes + i * kLanes);
    for (int64_t i = 0; i < std::min<int64_t>(kRows, rows - r); ++i) {
      for (int64_t j = 0; j < std::min<int64_t>(2 * kLanes, columns - n); ++j) {
        float& to = c[(r + i) * c_stride + n + j];
        const float sum = lanes[i * 2 * kLanes + j];
        to = add ? to + sum : sum;
      }
    }
  }
};

}  // namespace

void PackedColumns::Pack(const MatrixView& b, int64_t inner, int64_t columns) {
  inner_ = inner;
  columns_ = columns;
  const int64_t panels = Panels(columns);
  const int64_t floats = panels * inner * kGemmColumns;
  if (!data_.defined() || data_.numel() < floats) data_ = at::empty({floats}, at::kFloat);
  float* const data = data_.mutable_data_ptr<float>();
  at::parallel_for(0, panels, kPackGrain, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kGemmColumns;
      const int64_t last = std::min(columns, first + kGemmColumns);
      float* const to = data + p * inner * kGemmColumns;
      if (b.row_stride == 1) {
        PackColumnwise(b, inner, first, last, to);
      } else {
        PackPanel(b, inner, first, last, to);
      }
    }
  });
}

void MultiplyPacked(const MatrixView& a, int64_t rows, const PackedColumns& b, int64_t first,
                    int64_t last, bool add, float* c, int64_t c_stride, GemmScratch* scratch) {
  RETORT_CHECK(first % kGemmColumns == 0 && first <= last && last <= b.columns())
      << "columns " << first << " .. " << last << " of " << b.columns();
  const int64_t padded = (rows + kRows - 1) / kRows * kRows;
  if (static_cast<int64_t>(scratch->size()) < padded * kInner) scratch->resize(padded * kInner);
  const int64_t panel = b.inner() * kGemmColumns;
  for (int64_t k = 0; k < b.inner() || k == 0; k += kInner) {
    const int64_t count = std::min(kInner, b.inner() - k);
    PackRows(a, rows, k, k + count, scratch->data());
    simd::Dispatch(GemmKernel{scratch->data(), rows, count,
                              b.data() + first / kGemmColumns * panel + k * kGemmColumns, panel,
                              last - first, add || k > 0, c, c_stride});
  }
}

}  // namespace retort::model
