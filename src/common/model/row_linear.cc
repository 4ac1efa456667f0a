#include "common/model/row_linear.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/model/linear_panels.h"
#include "common/model/linear_task.h"
#include "common/model/simd.h"
#include "common/tensor/aten.h"

namespace retort::model {
namespace {

// Multiply-adds worth a thread.
constexpr int64_t kGrain = int64_t{1} << 17;
// Bytes of x that stay in the second-level cache while all outputs pass over them.
constexpr int64_t kRowBytes = 192 << 10;
// The largest tile: as many sums as the instruction set has registers for.
template <int kBytes>
inline constexpr int kTileRows = kBytes == 64 ? 6 : 4;
template <int kBytes>
inline constexpr int kTileOutputs = kBytes == 64 ? 4 : 3;
// Sums are folded four at a time.
constexpr int kFold = 4;

// A vector of 8 or 16 lanes down to 4, halves first.
template <int kBytes>
RETORT_INLINE void Narrow(const simd::Float<kBytes>& v, simd::Float<16>& out) {
  if constexpr (kBytes == 16) {
    out = v;
  } else if constexpr (kBytes == 32) {
    out = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
  } else {
    const simd::Float<32> half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                                 __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    Narrow<32>(half, out);
  }
}

// The lane sums of four vectors, each halves first: what four simd::Sum give.
template <int kBytes>
RETORT_INLINE void FoldFour(const simd::Float<kBytes>* v, simd::Float<16>& out) {
  simd::Float<16> a, b, c, d;
  Narrow<kBytes>(v[0], a);
  Narrow<kBytes>(v[1], b);
  Narrow<kBytes>(v[2], c);
  Narrow<kBytes>(v[3], d);
  const simd::Float<16> ab =
      __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
  const simd::Float<16> cd =
      __builtin_shufflevector(c, d, 0, 1, 4, 5) + __builtin_shufflevector(c, d, 2, 3, 6, 7);
  out = __builtin_shufflevector(ab, cd, 0, 2, 4, 6) + __builtin_shufflevector(ab, cd, 1, 3, 5, 7);
}

template <typename Type>
struct DotKernel {
  using Stored = typename Type::Stored;

  const LinearTask<Type>& task;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    const int64_t block =
        std::max<int64_t>(4, kRowBytes / 4 / std::max<int64_t>(1, task.inputs) / 4 * 4);
    for (int64_t first = 0; first < task.rows; first += block) {
      const int64_t last = std::min(task.rows, first + block);
      if (last - first == 1) {
        Stream<kBytes, 1>(first);
      } else if (last - first == 2) {
        Stream<kBytes, 2>(first);
      } else {
        Outputs<kBytes>(first, last);
      }
    }
  }

  // One or two rows leave nothing to do but wait for the weights: they are read strictly in the
  // order of their addresses. The hardware then fetches ahead on its own, and further than the
  // first-level cache has room to ask for.
  template <int kBytes, int kRows>
  RETORT_INLINE void Stream(int64_t r) const {
    int64_t o = task.begin;
    for (; o + kFold <= task.end; o += kFold) StreamOutputs<kBytes, kRows, kFold>(r, o);
    for (; o < task.end; ++o) StreamOutputs<kBytes, kRows, 1>(r, o);
  }

  template <int kBytes, int kRows, int kOutputs>
  RETORT_INLINE void StreamOutputs(int64_t r, int64_t o) const {
    constexpr int kLanes = kBytes / 4;
    simd::Float<kBytes> sums[kFold][kRows];  // Unused ones are zero.
    const int64_t inputs = task.inputs;
    const float* const in = task.x + r * inputs;
#pragma GCC unroll 4
    for (int j = 0; j < kFold; ++j) {
#pragma GCC unroll 2
      for (int i = 0; i < kRows; ++i) sums[j][i] = simd::Float<kBytes>{};
      if (j >= kOutputs) continue;
      const Stored* const w = task.weight + (o + j) * inputs;
      int64_t k = 0;
      for (; k + kLanes <= inputs; k += kLanes) Step<kBytes, kRows, 1>(in + k, w + k, sums[j]);
      if (k < inputs) Tail<kBytes, kRows, 1>(in + k, w + k, inputs - k, sums[j]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < kRows; ++i) {
      const simd::Float<kBytes> row[kFold] = {sums[0][i], sums[1][i], sums[2][i], sums[3][i]};
      simd::Float<16> folded;
      FoldFour<kBytes>(row, folded);
      Finish<kOutputs>(folded, r + i, o);
    }
  }

  // All outputs over rows [first, last): each weight row is read once and stays in the first-level
  // cache while the rows pass over it.
  template <int kBytes>
  RETORT_INLINE void Outputs(int64_t first, int64_t last) const {
    constexpr int kOutputs = kTileOutputs<kBytes>;
    int64_t o = task.begin;
    for (; o + kOutputs <= task.end; o += kOutputs) Rows<kBytes, kOutputs>(first, last, o);
    for (; o < task.end; ++o) Rows<kBytes, 1>(first, last, o);
  }

  template <int kBytes, int kOutputs>
  RETORT_INLINE void Rows(int64_t first, int64_t last, int64_t o) const {
    int64_t r = first;
    for (; r + kTileRows<kBytes> <= last; r += kTileRows<kBytes>) {
      Tile<kBytes, kTileRows<kBytes>, kOutputs>(r, o, first, last);
    }
    for (; r + 4 <= last; r += 4) Tile<kBytes, 4, kOutputs>(r, o, first, last);
    if (r + 2 <= last) {
      Tile<kBytes, 2, kOutputs>(r, o, first, last);
      r += 2;
    }
    if (r < last) Tile<kBytes, 1, kOutputs>(r, o, first, last);
  }

  // Asks for the next outputs' weights, into the second-level cache, while the rows pass over
  // these: each of the larger tiles asks for its share of them, evenly over its inputs, or the
  // requests of the first would wait for each other. Beyond the matrix it has no effect.
  template <int kBytes, int kOutputs>
  struct Ahead {
    static constexpr int64_t kLine = 64 / sizeof(Stored);
    static constexpr int64_t kLanes = kBytes / 4;
    const Stored* next;   // The line to ask for, of the first output.
    int64_t every, left;  // Steps between two lines; until the next.

    RETORT_INLINE Ahead(int64_t inputs, const Stored* w, int64_t r, int64_t first, int64_t last) {
      constexpr int64_t kRows = kTileRows<kBytes>;
      const int64_t tiles = (last - first + kRows - 1) / kRows;
      const int64_t lines = (inputs + kLine - 1) / kLine;
      next = w + kOutputs * inputs + (r - first) / kRows * lines / tiles * kLine;
      every = tiles * (kLine / kLanes);
      left = 1;
    }

    RETORT_INLINE void Step(int64_t inputs) {
      if (--left > 0) return;
      left = every;
#pragma GCC unroll 8
      for (int j = 0; j < kOutputs; ++j) __builtin_prefetch(next + j * inputs, 0, 2);
      next += kLine;
    }
  };

  // kRows x kOutputs results, the last vector of inputs padded with zeros.
  template <int kBytes, int kRows, int kOutputs>
  RETORT_INLINE void Tile(int64_t r, int64_t o, int64_t first, int64_t last) const {
    constexpr int kLanes = kBytes / 4;
    constexpr int kSums = kRows * kOutputs;
    constexpr int kPadded = (kSums + kFold - 1) / kFold * kFold;
    simd::Float<kBytes> sums[kPadded];
#pragma GCC unroll 24
    for (int i = 0; i < kPadded; ++i) sums[i] = simd::Float<kBytes>{};
    const int64_t inputs = task.inputs;
    const float* in = task.x + r * inputs;
    const Stored* w = task.weight + o * inputs;
    Ahead<kBytes, kOutputs> ahead(inputs, w, r, first, last);
    int64_t k = 0;
    for (; k + kLanes <= inputs; k += kLanes) {
      if constexpr (kRows >= 4) ahead.Step(inputs);
      Step<kBytes, kRows, kOutputs>(in + k, w + k, sums);
    }
    if (k < inputs) Tail<kBytes, kRows, kOutputs>(in + k, w + k, inputs - k, sums);
    simd::Float<16> folded[kPadded / kFold];
#pragma GCC unroll 6
    for (int i = 0; i < kPadded / kFold; ++i) FoldFour<kBytes>(sums + i * kFold, folded[i]);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      if constexpr (kOutputs == kFold) {
        Finish<kOutputs>(folded[i], r + i, o);
      } else {
#pragma GCC unroll 4
        for (int j = 0; j < kOutputs; ++j) {
          const int at = i * kOutputs + j;
          task.Finish(folded[at / kFold][at % kFold], r + i, o + j);
        }
      }
    }
  }

  template <int kBytes, int kRows, int kOutputs>
  RETORT_INLINE void Step(const float* in, const Stored* w, simd::Float<kBytes>* sums) const {
    const int64_t inputs = task.inputs;
    simd::Float<kBytes> wide[kOutputs];
#pragma GCC unroll 8
    for (int j = 0; j < kOutputs; ++j) Type::template Load<kBytes>(w + j * inputs, wide[j]);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      simd::Float<kBytes> row;
      simd::Load<kBytes>(in + i * inputs, row);
      simd::KeepInRegister<kBytes>(row);
#pragma GCC unroll 8
      for (int j = 0; j < kOutputs; ++j) sums[i * kOutputs + j] += row * wide[j];
    }
  }

  // The last `count` < lanes inputs.
  template <int kBytes, int kRows, int kOutputs>
  RETORT_INLINE void Tail(const float* in, const Stored* w, int64_t count,
                          simd::Float<kBytes>* sums) const {
    constexpr int kLanes = kBytes / 4;
    const int64_t inputs = task.inputs;
    for (int j = 0; j < kOutputs; ++j) {
      float lanes[kLanes] = {};
      for (int64_t c = 0; c < count; ++c) lanes[c] = Type::Widen(w[j * inputs + c]);
      simd::Float<kBytes> wide;
      simd::Load<kBytes>(lanes, wide);
      for (int i = 0; i < kRows; ++i) {
        float values[kLanes] = {};
        for (int64_t c = 0; c < count; ++c) values[c] = in[i * inputs + c];
        simd::Float<kBytes> row;
        simd::Load<kBytes>(values, row);
        sums[i * kOutputs + j] += row * wide;
      }
    }
  }

  // The first kOutputs of four sums.
  template <int kOutputs>
  RETORT_INLINE void Finish(simd::Float<16>& sums, int64_t r, int64_t o) const {
    if constexpr (kOutputs == kFold) {
      task.template Finish<16>(sums, r, o);
    } else {
      for (int j = 0; j < kOutputs; ++j) task.Finish(sums[j], r, o + j);
    }
  }
};

template <typename Type>
void RunLinear(const float* x, int64_t rows, const WeightMatrix& weight, const float* bias,
               LinearMode mode, float* y) {
  const auto* const data = static_cast<const typename Type::Stored*>(weight.data);
  // Whole panels or tiles for each thread.
  constexpr int64_t kManyOutputs = 24;
  static_assert(kManyOutputs % kTileOutputs<64> == 0 && kManyOutputs % kTileOutputs<32> == 0);
  const bool panels = PanelsPay(rows, weight.inputs, weight.outputs);
  const int64_t unit = panels ? kPanelOutputs : rows <= 2 ? kFold : kManyOutputs;
  const int64_t units = (weight.outputs + unit - 1) / unit;
  const int64_t work = unit * rows * std::max<int64_t>(1, weight.inputs);
  at::parallel_for(0, units, std::max<int64_t>(1, kGrain / work), [&](int64_t begin, int64_t end) {
    LinearTask<Type> task{.x = x,
                          .rows = rows,
                          .weight = data,
                          .inputs = weight.inputs,
                          .outputs = weight.outputs,
                          .begin = begin * unit,
                          .end = std::min(weight.outputs, end * unit),
                          .bias = bias,
                          .add = mode == LinearMode::kAdd,
                          .y = y};
    if (panels) task.begin = MultiplyPanels(task);
    simd::Dispatch(DotKernel<Type>{task});
  });
}

}  // namespace

WeightMatrix MatrixOf(const at::Tensor& weight) {
  RETORT_CHECK(weight.dim() == 2 && weight.is_contiguous()) << "weights must be a dense matrix";
  const bool wide = weight.scalar_type() == at::kFloat;
  RETORT_CHECK(wide || weight.scalar_type() == at::kBFloat16)
      << "weights of type " << at::toString(weight.scalar_type());
  return {weight.const_data_ptr(), wide ? WeightType::kFloat32 : WeightType::kBFloat16,
          weight.size(0), weight.size(1)};
}

WeightMatrix OutputRange(const WeightMatrix& weight, int64_t first, int64_t count) {
  RETORT_CHECK(first >= 0 && count >= 0 && first + count <= weight.outputs)
      << "outputs " << first << " + " << count << " of " << weight.outputs;
  const int64_t bytes = weight.type == WeightType::kFloat32 ? 4 : 2;
  return {static_cast<const char*>(weight.data) + first * weight.inputs * bytes, weight.type, count,
          weight.inputs};
}

void WidenRows(const WeightMatrix& weight, float* out) {
  const int64_t inputs = weight.inputs;
  at::parallel_for(0, weight.outputs, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, inputs)),
                   [&](int64_t begin, int64_t end) {
                     const int64_t first = begin * inputs, count = (end - begin) * inputs;
                     if (weight.type == WeightType::kFloat32) {
                       std::copy_n(static_cast<const float*>(weight.data) + first, count,
                                   out + first);
                       return;
                     }
                     const auto* const from = static_cast<const uint16_t*>(weight.data) + first;
                     for (int64_t i = 0; i < count; ++i) out[first + i] = Bf16::Widen(from[i]);
                   });
}

void RowLinear(const float* x, int64_t rows, const WeightMatrix& weight, const float* bias,
               LinearMode mode, float* y) {
  if (rows == 0) return;
  if (weight.type == WeightType::kFloat32) {
    RunLinear<Fp32>(x, rows, weight, bias, mode, y);
  } else {
    RunLinear<Bf16>(x, rows, weight, bias, mode, y);
  }
}

}  // namespace retort::model
