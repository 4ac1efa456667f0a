#include "common/model/linear_panels.h"

#include <algorithm>
#include <cstring>

#include "common/tensor/aten.h"

namespace retort::model {
namespace {

// Measured with bench/linear_bench.cc.
constexpr int64_t kFewestRows = 24;
constexpr int64_t kMostInputs = 1024;  // A panel of 128 KiB stays in the second-level cache.
constexpr int64_t kInputsPerRow = 8;

typedef float Quad __attribute__((vector_size(16)));

// Rows of a tile: with two vectors of outputs each, as many sums as leave registers for the rest.
template <int kBytes>
inline constexpr int kTileRows = kBytes == 64 ? 8 : 6;

template <typename Type>
struct PanelKernel {
  const LinearTask<Type>& task;
  float* panel;  // [inputs, kPanelOutputs], the weights of outputs [first, first + kPanelOutputs).
  int64_t first;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    Transpose();
    constexpr int64_t kColumns = 2 * (kBytes / 4);
    for (int64_t column = 0; column < kPanelOutputs; column += kColumns) {
      int64_t r = 0;
      for (; r + kTileRows<kBytes> <= task.rows; r += kTileRows<kBytes>) {
        Tile<kBytes, kTileRows<kBytes>>(r, column);
      }
      for (; r + 2 <= task.rows; r += 2) Tile<kBytes, 2>(r, column);
      if (r < task.rows) Tile<kBytes, 1>(r, column);
    }
  }

  // Four outputs and four inputs at a time.
  RETORT_INLINE void Transpose() const {
    const int64_t inputs = task.inputs;
    for (int64_t j = 0; j < kPanelOutputs; j += 4) {
      const typename Type::Stored* const from = task.weight + (first + j) * inputs;
      for (int64_t k = 0; k < inputs; k += 4) {
        Quad a, b, c, d;
        Type::template Load<16>(from + k, a);
        Type::template Load<16>(from + inputs + k, b);
        Type::template Load<16>(from + 2 * inputs + k, c);
        Type::template Load<16>(from + 3 * inputs + k, d);
        const Quad ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5);
        const Quad ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
        const Quad cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5);
        const Quad cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
        float* const to = panel + k * kPanelOutputs + j;
        simd::Store<16>(__builtin_shufflevector(ab0, cd0, 0, 1, 4, 5), to);
        simd::Store<16>(__builtin_shufflevector(ab0, cd0, 2, 3, 6, 7), to + kPanelOutputs);
        simd::Store<16>(__builtin_shufflevector(ab1, cd1, 0, 1, 4, 5), to + 2 * kPanelOutputs);
        simd::Store<16>(__builtin_shufflevector(ab1, cd1, 2, 3, 6, 7), to + 3 * kPanelOutputs);
      }
    }
  }

  // kRows rows of two vectors of outputs.
  template <int kBytes, int kRows>
  RETORT_INLINE void Tile(int64_t r, int64_t column) const {
    constexpr int kLanes = kBytes / 4;
    simd::Float<kBytes> sums[2 * kRows];
    Lanes<kBytes, kRows, 1>(task.x + r * task.inputs, panel + column, 0, sums);
#pragma GCC unroll 16
    for (int i = 0; i < 2 * kRows; ++i) {
      const int64_t o = first + column + (i % 2) * kLanes;
      simd::Float<kBytes> other;
      if (task.bias != nullptr) {
        simd::Load<kBytes>(task.bias + o, other);
        sums[i] += other;
      }
      float* const to = task.y + (r + i / 2) * task.outputs + o;
      if (task.add) {
        simd::Load<kBytes>(to, other);
        sums[i] = other + sums[i];
      }
      simd::Store<kBytes>(sums[i], to);
    }
  }

  // The sum of the lanes `lane`, lane + kStep, lane + 2 kStep, ..., the upper half of them added to
  // the lower.
  template <int kBytes, int kRows, int kStep>
  RETORT_INLINE void Lanes(const float* in, const float* columns, int lane,
                           simd::Float<kBytes>* sums) const {
    if constexpr (kStep == kBytes / 4) {
      OneLane<kBytes, kRows>(in, columns, lane, sums);
    } else {
      Lanes<kBytes, kRows, 2 * kStep>(in, columns, lane, sums);
      simd::Float<kBytes> upper[2 * kRows];
      Lanes<kBytes, kRows, 2 * kStep>(in, columns, lane + kStep, upper);
#pragma GCC unroll 16
      for (int i = 0; i < 2 * kRows; ++i) sums[i] += upper[i];
    }
  }

  template <int kBytes, int kRows>
  RETORT_INLINE void OneLane(const float* in, const float* columns, int lane,
                             simd::Float<kBytes>* sums) const {
    constexpr int kLanes = kBytes / 4;
#pragma GCC unroll 16
    for (int i = 0; i < 2 * kRows; ++i) sums[i] = simd::Float<kBytes>{};
    for (int64_t k = lane; k < task.inputs; k += kLanes) {
      simd::Float<kBytes> left, right;
      simd::Load<kBytes>(columns + k * kPanelOutputs, left);
      simd::Load<kBytes>(columns + k * kPanelOutputs + kLanes, right);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const float value = in[i * task.inputs + k];
        sums[2 * i] += value * left;
        sums[2 * i + 1] += value * right;
      }
    }
  }
};

template <typename Type>
int64_t Multiply(const LinearTask<Type>& task) {
  const at::Tensor panel = at::empty({task.inputs, kPanelOutputs}, at::kFloat);  // Aligned.
  int64_t first = task.begin;
  for (; first + kPanelOutputs <= task.end; first += kPanelOutputs) {
    simd::Dispatch(PanelKernel<Type>{task, panel.mutable_data_ptr<float>(), first});
  }
  return first;
}

}  // namespace

bool PanelsPay(int64_t rows, int64_t inputs) {
  // Whole vectors, or the padding of the last one would have to be summed too.
  return inputs > 0 && inputs % simd::kMaxLanes == 0 && inputs <= kMostInputs &&
         rows >= std::max(kFewestRows, inputs / kInputsPerRow);
}

int64_t MultiplyPanels(const LinearTask<Fp32>& task) { return Multiply(task); }
int64_t MultiplyPanels(const LinearTask<Bf16>& task) { return Multiply(task); }

}  // namespace retort::model
