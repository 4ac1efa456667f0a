#include "common/model/row_kernels.h"

#include <algorithm>
#include <cmath>

#include "common/model/simd.h"
#include "common/tensor/aten.h"

namespace retort::model {
namespace {

// sigmoid(x), and x again.
template <int kBytes>
RETORT_INLINE void Sigmoid(const simd::Float<kBytes>& x, simd::Float<kBytes>& y) {
  y = -x;
  simd::Exp<kBytes>(y);
  y = 1.0f / (1.0f + y);
}

// A row's tail goes through a padded vector, so that every element is computed by the same
// instructions.
template <int kBytes>
RETORT_INLINE void LoadPart(const float* from, int64_t count, simd::Float<kBytes>& to) {
  if (count == kBytes / 4) return simd::Load<kBytes>(from, to);
  float lanes[kBytes / 4] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  simd::Load<kBytes>(lanes, to);
}
template <int kBytes>
RETORT_INLINE void StorePart(const simd::Float<kBytes>& from, int64_t count, float* to) {
  if (count == kBytes / 4) return simd::Store<kBytes>(from, to);
  float lanes[kBytes / 4];
  simd::Store<kBytes>(from, lanes);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
}

struct GluForward {
  const float* gate_up;
  int64_t begin, end, width;
  float* y;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    for (int64_t row = begin; row < end; ++row) {
      const float* gate = gate_up + row * 2 * width;
      for (int64_t i = 0; i < width; i += kLanes) {
        const int64_t count = std::min<int64_t>(kLanes, width - i);
        simd::Float<kBytes> g, u, s;
        LoadPart<kBytes>(gate + i, count, g);
        LoadPart<kBytes>(gate + width + i, count, u);
        Sigmoid<kBytes>(g, s);
        StorePart<kBytes>(g * s * u, count, y + row * width + i);
      }
    }
  }
};

// In place: x -> act(x).
template <int kBytes>
RETORT_INLINE void Activate(layout::Activation activation, simd::Float<kBytes>& x) {
  simd::Float<kBytes> s;
  switch (activation) {
    case layout::Activation::kSilu:
      Sigmoid<kBytes>(x, s);
      x = x * s;
      return;
    case layout::Activation::kGeluTanh:
      // (1 + tanh(u)) / 2 = sigmoid(2 u).
      s = x * 1.5957691216057308f * (1.0f + 0.044715f * x * x);
      Sigmoid<kBytes>(s, s);
      x = x * s;
      return;
    case layout::Activation::kGelu: {
      float lanes[kBytes / 4];
      simd::Store<kBytes>(x, lanes);
      for (float& lane : lanes) lane = 0.5f * lane * (1.0f + std::erf(lane * 0.70710678f));
      simd::Load<kBytes>(lanes, x);
      return;
    }
    case layout::Activation::kRelu:
      x = x < 0.0f ? simd::Float<kBytes>{} : x;  // A NaN stays one.
      return;
  }
}

struct ActivationKernel {
  layout::Activation activation;
  bool gated;
  const float* x;
  int64_t begin, end, width;
  float* y;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    const int64_t stride = gated ? 2 * width : width;
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t i = 0; i < width; i += kLanes) {
        const int64_t count = std::min<int64_t>(kLanes, width - i);
        simd::Float<kBytes> a, up;
        LoadPart<kBytes>(x + row * stride + i, count, a);
        Activate<kBytes>(activation, a);
        if (gated) {
          LoadPart<kBytes>(x + row * stride + width + i, count, up);
          a = a * up;
        }
        StorePart<kBytes>(a, count, y + row * width + i);
      }
    }
  }
};

struct GluBackward {
  const float* dy;
  const float* gate_up;
  int64_t begin, end, width;
  float* dgate_up;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    for (int64_t row = begin; row < end; ++row) {
      const float* gate = gate_up + row * 2 * width;
      float* dgate = dgate_up + row * 2 * width;
      for (int64_t i = 0; i < width; i += kLanes) {
        const int64_t count = std::min<int64_t>(kLanes, width - i);
        simd::Float<kBytes> g, u, s, d;
        LoadPart<kBytes>(gate + i, count, g);
        LoadPart<kBytes>(gate + width + i, count, u);
        LoadPart<kBytes>(dy + row * width + i, count, d);
        Sigmoid<kBytes>(g, s);
        StorePart<kBytes>(d * u * s * (1.0f + g * (1.0f - s)), count, dgate + i);
        StorePart<kBytes>(d * g * s, count, dgate + width + i);
      }
    }
  }
};

struct ExpKernel {
  const float* logits;
  int64_t n;
  float max;
  float scale;
  float* y;
  double* sum;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    double total = 0;
    for (int64_t i = 0; i < n; i += kLanes) {
      const int64_t count = std::min<int64_t>(kLanes, n - i);
      simd::Float<kBytes> x;
      LoadPart<kBytes>(logits + i, count, x);
      x = (x - max) * scale;
      simd::Exp<kBytes>(x);
      StorePart<kBytes>(x, count, y + i);
      LoadPart<kBytes>(y + i, count, x);
      total += simd::Sum<kBytes>(x);
    }
    *sum = total;
  }
};

}  // namespace

void ActivationForward(const layout::MlpConfig& mlp, const float* x, int64_t rows, int64_t width,
                       float* y) {
  at::parallel_for(0, rows, RowGrain(width), [&](int64_t begin, int64_t end) {
    simd::Dispatch(ActivationKernel{mlp.activation, mlp.gated, x, begin, end, width, y});
  });
}

void SwiGluForward(const float* gate_up, int64_t rows, int64_t width, float* y) {
  at::parallel_for(0, rows, RowGrain(width), [&](int64_t begin, int64_t end) {
    simd::Dispatch(GluForward{gate_up, begin, end, width, y});
  });
}

void SwiGluBackward(const float* dy, const float* gate_up, int64_t rows, int64_t width,
                    float* dgate_up) {
  at::parallel_for(0, rows, RowGrain(width), [&](int64_t begin, int64_t end) {
    simd::Dispatch(GluBackward{dy, gate_up, begin, end, width, dgate_up});
  });
}

double ExpRow(const float* logits, int64_t n, float max, double temperature, float* y) {
  double sum = 0;
  simd::Dispatch(ExpKernel{logits, n, max, static_cast<float>(1.0 / temperature), y, &sum});
  return sum;
}

}  // namespace retort::model
