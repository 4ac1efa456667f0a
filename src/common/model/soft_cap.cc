#include "common/model/soft_cap.h"

#include <algorithm>

#include "common/model/attention_math.h"
#include "common/model/simd.h"
#include "common/tensor/aten.h"

namespace retort::model {
namespace {

constexpr int64_t kGrain = 1 << 14;

struct CapKernel {
  float* x;
  int64_t n;
  float cap;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) CapScores<kBytes>(x + i, kLanes, 1.0f, cap);
    if (i == n) return;
    float lanes[kLanes] = {};  // The tail goes through a whole vector, by the same instructions.
    std::copy(x + i, x + n, lanes);
    CapScores<kBytes>(lanes, kLanes, 1.0f, cap);
    std::copy(lanes, lanes + (n - i), x + i);
  }
};

}  // namespace

void SoftCapRows(float* x, int64_t n, float cap) {
  // Whole vectors for each thread.
  const int64_t units = (n + simd::kMaxLanes - 1) / simd::kMaxLanes;
  at::parallel_for(0, units, kGrain / simd::kMaxLanes, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * simd::kMaxLanes;
    simd::Dispatch(CapKernel{x + first, std::min(n, end * simd::kMaxLanes) - first, cap});
  });
}

}  // namespace retort::model
