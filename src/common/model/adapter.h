// Linear layers, and the LoRA adapters that change what they compute.
#pragma once

#include <cstdint>
#include <vector>

#include "common/layout/adapter_layout.h"
#include "common/tensor/aten.h"
#include "common/tensor/parameter_arena.h"

namespace retort::model {

// Adds scale * (x a^T) b^T to columns [row, row + rows of b) of a projection's output. a [rank,
// in], b [rows, rank].
struct AdapterPart {
  int64_t row = 0;
  double scale = 1;
  at::Tensor a, b;
};

// y = x weight^T + bias, plus what the adapter's parts add. weight [out, in], bias [out] or
// undefined, fp32 or bf16, are taken in the type of x: to an x of fp32 weights of bf16 are widened,
// and the sums are fp32.
struct Projection {
  at::Tensor weight, bias;
  std::vector<AdapterPart> adapter;  // Mostly empty; parts do not overlap.
};

// x [N, in] fp32 or bf16 -> [N, out] of x's type; differentiable in x and every tensor of the
// projection. Throws what LibTorch throws.
at::Tensor Linear(const at::Tensor& x, const Projection& projection);

// base += scale * B A for every target: afterwards a Model over `base` alone computes what the
// adapted one did, but for rounding. `base` is of fp32. Throws what LibTorch throws.
void MergeAdapter(const layout::AdapterLayout& layout, const tensor::ParameterArena& adapter,
                  const tensor::ParameterArena& base);

}  // namespace retort::model
