// RMS norm and SwiGLU over rows of fp32 matrices, forward and backward. Rows are independent: the
// same bits whatever the number of rows or threads. All matrices are contiguous.
#pragma once

#include <cstdint>

namespace retort::model {

// y = x * rstd * weight, rstd = (mean(x^2) + eps)^-1/2 per row. x, y [rows, width]; rstd [rows],
// may be null.
void RmsNormForward(const float* x, const float* weight, double eps, int64_t rows, int64_t width,
                    float* y, float* rstd);

// dx [rows, width]; dweight [width], overwritten; either may be null.
void RmsNormBackward(const float* dy, const float* x, const float* weight, const float* rstd,
                     int64_t rows, int64_t width, float* dx, float* dweight);

// y = silu(gate) * up. gate_up [rows, 2 * width], gate first; y [rows, width].
void SwiGluForward(const float* gate_up, int64_t rows, int64_t width, float* y);

// dgate_up [rows, 2 * width].
void SwiGluBackward(const float* dy, const float* gate_up, int64_t rows, int64_t width,
                    float* dgate_up);

// Weights e^((logits - max) / temperature) of one row into y [n] and their sum. logits of -inf give
// exactly 0.
double ExpRow(const float* logits, int64_t n, float max, double temperature, float* y);

}  // namespace retort::model
