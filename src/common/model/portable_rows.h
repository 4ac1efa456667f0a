// What row_kernels.h computes, in ATen's operations: on any device, of fp32 or bf16. Statistics and
// derivatives are computed in fp32, results are of the type of x, derivatives of the type of what
// they belong to. Not differentiable themselves: ops.cc makes them so.
#pragma once

#include "common/tensor/aten.h"

namespace retort::model::portable {

struct RmsNormOutput {
  at::Tensor y;     // [N, H]
  at::Tensor rstd;  // [N, 1] fp32: (mean(x^2) + eps)^-1/2.
};

// y = x * rstd * (weight + offset). x [N, H], weight [H].
RmsNormOutput RmsNormForward(const at::Tensor& x, const at::Tensor& weight, double eps,
                             double offset);

// Undefined where it was not wanted.
struct NormGradients {
  at::Tensor x;             // [N, H]
  at::Tensor weight, bias;  // [H]
};
struct NormWants {
  bool x = true;
  bool weight = true;
  bool bias = true;
};

// Of dy [N, H]. `rstd` as the forward gave it.
NormGradients RmsNormBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                              const at::Tensor& rstd, double offset, const NormWants& wants);

struct LayerNormOutput {
  at::Tensor y;           // [N, H]
  at::Tensor mean, rstd;  // [N, 1] fp32
};

// y = (x - mean) * rstd * weight + bias, rstd = (var + eps)^-1/2 with the biased variance.
LayerNormOutput LayerNormForward(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias, double eps);

NormGradients LayerNormBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& mean, const at::Tensor& rstd,
                                const NormWants& wants);

// silu(gate) * up. gate_up [N, 2F], gate first -> [N, F].
at::Tensor SwiGluForward(const at::Tensor& gate_up);

// dy [N, F] -> [N, 2F].
at::Tensor SwiGluBackward(const at::Tensor& dy, const at::Tensor& gate_up);

}  // namespace retort::model::portable
