#include "common/model/row_kernels.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "common/model/simd.h"

namespace retort::model {
namespace {

// Elements of work worth a thread.
constexpr int64_t kGrain = 1 << 15;
constexpr int64_t kColumns = 64;  // Columns of dweight that one thread sums.

int64_t RowGrain(int64_t width) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(width, 1));
}

struct NormForward {
  const float* x;
  const float* weight;
  float eps;
  int64_t begin, end, width;
  float* y;
  float* rstd;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    for (int64_t row = begin; row < end; ++row) {
      const float* in = x + row * width;
      float* out = y + row * width;
      const float mean = simd::Dot<kBytes>(in, in, width) / static_cast<float>(width);
      const float scale = 1.0f / std::sqrt(mean + eps);
      if (rstd != nullptr) rstd[row] = scale;
      int64_t i = 0;
      for (; i + kLanes <= width; i += kLanes) {
        simd::Float<kBytes> a, w;
        simd::Load<kBytes>(in + i, a);
        simd::Load<kBytes>(weight + i, w);
        simd::Store<kBytes>(a * scale * w, out + i);
      }
      for (; i < width; ++i) out[i] = in[i] * scale * weight[i];
    }
  }
};

struct NormBackward {
  const float* dy;
  const float* x;
  const float* weight;
  const float* rstd;
  int64_t begin, end, width;
  float* dx;

  // dx = r * (dy * w) - x * r^3 / width * sum(dy * w * x)
  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    for (int64_t row = begin; row < end; ++row) {
      const float* in = x + row * width;
      const float* grad = dy + row * width;
      float* out = dx + row * width;
      simd::Float<kBytes> sum{};
      int64_t i = 0;
      for (; i + kLanes <= width; i += kLanes) {
        simd::Float<kBytes> g, w, a;
        simd::Load<kBytes>(grad + i, g);
        simd::Load<kBytes>(weight + i, w);
        simd::Load<kBytes>(in + i, a);
        g = g * w;
        simd::Store<kBytes>(g, out + i);
        sum += g * a;
      }
      float total = simd::Sum<kBytes>(sum);
      for (; i < width; ++i) {
        out[i] = grad[i] * weight[i];
        total += out[i] * in[i];
      }
      const float r = rstd[row];
      const float slope = r * r * r * total / static_cast<float>(width);
      for (i = 0; i + kLanes <= width; i += kLanes) {
        simd::Float<kBytes> g, a;
        simd::Load<kBytes>(out + i, g);
        simd::Load<kBytes>(in + i, a);
        simd::Store<kBytes>(g * r - a * slope, out + i);
      }
      for (; i < width; ++i) out[i] = out[i] * r - in[i] * slope;
    }
  }
};

// dweight = sum over rows of dy * x * rstd, rows ascending, columns [begin, end).
struct NormWeight {
  const float* dy;
  const float* x;
  const float* rstd;
  int64_t rows, begin, end, width;
  float* dweight;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    float sums[kColumns] = {};
    const int64_t columns = end - begin;
    for (int64_t row = 0; row < rows; ++row) {
      const float* in = x + row * width + begin;
      const float* grad = dy + row * width + begin;
      const float scale = rstd[row];
      int64_t i = 0;
      for (; i + kLanes <= columns; i += kLanes) {
        simd::Float<kBytes> g, a, s;
        simd::Load<kBytes>(grad + i, g);
        simd::Load<kBytes>(in + i, a);
        simd::Load<kBytes>(sums + i, s);
        s += g * (a * scale);
        simd::Store<kBytes>(s, sums + i);
      }
      for (; i < columns; ++i) sums[i] += grad[i] * (in[i] * scale);
    }
    std::copy(sums, sums + columns, dweight + begin);
  }
};

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

void RmsNormForward(const float* x, const float* weight, double eps, int64_t rows, int64_t width,
                    float* y, float* rstd) {
  at::parallel_for(0, rows, RowGrain(width), [&](int64_t begin, int64_t end) {
    simd::Dispatch(NormForward{x, weight, static_cast<float>(eps), begin, end, width, y, rstd});
  });
}

void RmsNormBackward(const float* dy, const float* x, const float* weight, const float* rstd,
                     int64_t rows, int64_t width, float* dx, float* dweight) {
  if (dx != nullptr) {
    at::parallel_for(0, rows, RowGrain(width), [&](int64_t begin, int64_t end) {
      simd::Dispatch(NormBackward{dy, x, weight, rstd, begin, end, width, dx});
    });
  }
  if (dweight == nullptr) return;
  const int64_t blocks = (width + kColumns - 1) / kColumns;
  at::parallel_for(0, blocks, RowGrain(kColumns * rows), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t last = std::min(width, (block + 1) * kColumns);
      simd::Dispatch(NormWeight{dy, x, rstd, rows, block * kColumns, last, width, dweight});
    }
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
