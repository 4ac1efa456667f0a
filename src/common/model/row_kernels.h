// Norms and activations over rows of fp32 matrices, forward and (norms, SwiGLU) backward. Rows
// are independent: the same bits whatever the number of rows or threads. All matrices are
// contiguous.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/layout/model_config.h"

namespace retort::model {

// Rows of `width` elements that are worth a thread.
inline int64_t RowGrain(int64_t width) {
  return std::max<int64_t>(1, (int64_t{1} << 15) / std::max<int64_t>(width, 1));
}

// y = x * rstd * (weight + offset), rstd = (mean(x^2) + eps)^-1/2 per row. x, y [rows, width]; rstd
// [rows], may be null. y may be x.
void RmsNormForward(const float* x, const float* weight, double eps, int64_t rows, int64_t width,
                    float* y, float* rstd, float offset = 0);

// dx [rows, width]; dweight [width], overwritten; either may be null.
void RmsNormBackward(const float* dy, const float* x, const float* weight, const float* rstd,
                     int64_t rows, int64_t width, float* dx, float* dweight, float offset = 0);

// y = (x - mean) * rstd * weight + bias, rstd = (var + eps)^-1/2 with the biased variance. mean and
// rstd [rows], may be null. y may be x.
void LayerNormForward(const float* x, const float* weight, const float* bias, double eps,
                      int64_t rows, int64_t width, float* y, float* mean, float* rstd);

// y = silu(gate) * up. gate_up [rows, 2 * width], gate first; y [rows, width].
void SwiGluForward(const float* gate_up, int64_t rows, int64_t width, float* y);

// dgate_up [rows, 2 * width].
void SwiGluBackward(const float* dy, const float* gate_up, int64_t rows, int64_t width,
                    float* dgate_up);

// dx [rows, width]; dweight, dbias [width], overwritten; each may be null.
void LayerNormBackward(const float* dy, const float* x, const float* weight, const float* mean,
                       const float* rstd, int64_t rows, int64_t width, float* dx, float* dweight,
                       float* dbias);

// y = act(x), or act(gate) * up when gated (x [rows, 2 * width], gate first). y [rows, width].
void ActivationForward(const layout::MlpConfig& mlp, const float* x, int64_t rows, int64_t width,
                       float* y);

// Weights e^((logits - max) / temperature) of one row into y [n] and their sum. logits of -inf give
// exactly 0.
double ExpRow(const float* logits, int64_t n, float max, double temperature, float* y);

}  // namespace retort::model
