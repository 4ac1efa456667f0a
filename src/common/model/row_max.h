// The largest of a row of logits.
#pragma once

#include <cstdint>

namespace retort::model {

struct RowMax {
  float value = 0;
  int64_t index = 0;    // The lowest of those that hold it.
  bool finite = false;  // False if x holds NaN or +infinity, or nothing above -infinity.
};

// x [n], n >= 1. With `finite` false value and index mean nothing.
RowMax MaxOfRow(const float* x, int64_t n);

}  // namespace retort::model
