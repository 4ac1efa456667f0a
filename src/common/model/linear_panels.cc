#include "common/model/linear_panels.h"

#include <algorithm>

#include "common/base/check.h"
#include "common/tensor/aten.h"

namespace retort::model {
namespace {

// From where on panels are faster, measured with bench/linear_bench.cc. Narrower vectors have fewer
// lanes to add, and dot products of the baseline gain nothing.
constexpr int64_t kFewestRows = 24;
constexpr int64_t kInputsPerRow = 4;
constexpr int64_t kMostInputs = 1024;  // A panel of 128 KiB stays in the second-level cache.
constexpr int64_t kMostInputsOfAvx2 = 128;

// Rows of a tile, each of two vectors of outputs.
template <int kBytes>
inline constexpr int kPanelRows = kBytes == 64 ? 8 : 6;

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
      for (; r + kPanelRows<kBytes> <= task.rows; r += kPanelRows<kBytes>) {
        Tile<kBytes, kPanelRows<kBytes>>(r, column);
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
        simd::Float<16> rows[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) Type::template Load<16>(from + i * inputs + k, rows[i]);
        simd::TransposeFour(rows[0], rows[1], rows[2], rows[3]);
        float* const to = panel + k * kPanelOutputs + j;
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) simd::Store<16>(rows[i], to + i * kPanelOutputs);
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
      task.template Finish<kBytes>(sums[i], r + i / 2, o);
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

// Else the zeros that fill the last vector would have to be summed too: -0 + 0 is 0.
bool WholeVectors(int64_t inputs) { return inputs > 0 && inputs % simd::kMaxLanes == 0; }

template <typename Type>
int64_t Multiply(const LinearTask<Type>& task) {
  RETORT_CHECK(WholeVectors(task.inputs)) << task.inputs << " inputs";
  const at::Tensor panel = at::empty({task.inputs, kPanelOutputs}, at::kFloat);  // Aligned.
  int64_t first = task.begin;
  for (; first + kPanelOutputs <= task.end; first += kPanelOutputs) {
    simd::Dispatch(PanelKernel<Type>{task, panel.mutable_data_ptr<float>(), first});
  }
  return first;
}

}  // namespace

bool PanelsPay(int64_t rows, int64_t inputs, int64_t outputs) {
  const simd::InstructionSet set = simd::ChosenSet();
  if (set == simd::InstructionSet::kBaseline || outputs < kPanelOutputs) return false;
  const int64_t most = set == simd::InstructionSet::kAvx2 ? kMostInputsOfAvx2 : kMostInputs;
  return WholeVectors(inputs) && inputs <= most &&
         rows >= std::max(kFewestRows, inputs / kInputsPerRow);
}

int64_t MultiplyPanels(const LinearTask<Fp32>& task) { return Multiply(task); }
int64_t MultiplyPanels(const LinearTask<Bf16>& task) { return Multiply(task); }

}  // namespace retort::model
