#include "common/model/row_max.h"

#include <limits>

#include "common/model/simd.h"

namespace retort::model {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct MaxKernel {
  const float* x;
  int64_t n;
  RowMax* result;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    constexpr int kStep = 4 * kLanes;
    using V = simd::Float<kBytes>;
    using I = typename simd::Vector<kBytes>::Int;
    V best[4];
    I odd{};  // All bits set where a NaN or +infinity came by.
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) best[i] = V{} - kInfinity;
    int64_t at = 0;
    for (; at + kStep <= n; at += kStep) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        V v;
        simd::Load<kBytes>(x + at + i * kLanes, v);
        odd |= ~(v < kInfinity);
        best[i] = v > best[i] ? v : best[i];
      }
    }
    float max = -kInfinity;
    bool finite = true;
    for (int i = 0; i < 4; ++i) {
      for (int lane = 0; lane < kLanes; ++lane) max = best[i][lane] > max ? best[i][lane] : max;
    }
    for (int lane = 0; lane < kLanes; ++lane) finite = finite && odd[lane] == 0;
    for (; at < n; ++at) {
      finite = finite && x[at] < kInfinity;
      max = x[at] > max ? x[at] : max;
    }
    result->value = max;
    result->finite = finite && max > -kInfinity;
    result->index = result->finite ? Find<kBytes>(max) : 0;
  }

  template <int kBytes>
  RETORT_INLINE int64_t Find(float value) const {
    constexpr int kLanes = kBytes / 4;
    int64_t at = 0;
    for (; at + kLanes <= n; at += kLanes) {
      simd::Float<kBytes> v;
      simd::Load<kBytes>(x + at, v);
      const typename simd::Vector<kBytes>::Int equal = v == value;
      int32_t any = 0;
      for (int lane = 0; lane < kLanes; ++lane) any |= equal[lane];
      if (any != 0) break;
    }
    while (x[at] != value) ++at;
    return at;
  }
};

}  // namespace

RowMax MaxOfRow(const float* x, int64_t n) {
  RowMax result;
  simd::Dispatch(MaxKernel{x, n, &result});
  return result;
}

}  // namespace retort::model
