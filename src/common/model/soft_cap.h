// c * tanh(x / c) in place.
#pragma once

#include <cstdint>

namespace retort::model {

// x [n]. Element by element: the same bits wherever an element lies. -infinity stays what it is
// mapped to, -c; NaN stays NaN.
void SoftCapRows(float* x, int64_t n, float cap);

}  // namespace retort::model
