// The norms of row_kernels.h.
#include <algorithm>
#include <cmath>

#include "common/model/row_kernels.h"
#include "common/model/simd.h"
#include "common/tensor/aten.h"

namespace retort::model {
namespace {

constexpr int64_t kColumns = 64;  // Columns of a sum over rows that one thread takes.

struct NormForward {
  const float* x;
  const float* weight;
  float eps, offset;
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
        simd::Store<kBytes>(a * scale * (w + offset), out + i);
      }
      for (; i < width; ++i) out[i] = in[i] * scale * (weight[i] + offset);
    }
  }
};

struct NormBackward {
  const float* dy;
  const float* x;
  const float* weight;
  const float* rstd;
  float offset;
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
        g = g * (w + offset);
        simd::Store<kBytes>(g, out + i);
        sum += g * a;
      }
      float total = simd::Sum<kBytes>(sum);
      for (; i < width; ++i) {
        out[i] = grad[i] * (weight[i] + offset);
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

// dweight = sum over rows of dy * (x - mean) * rstd, rows ascending, columns [begin, end).
struct NormWeight {
  const float* dy;
  const float* x;
  const float* mean;  // Null: 0.
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
      const float shift = mean == nullptr ? 0.0f : mean[row];
      int64_t i = 0;
      for (; i + kLanes <= columns; i += kLanes) {
        simd::Float<kBytes> g, a, s;
        simd::Load<kBytes>(grad + i, g);
        simd::Load<kBytes>(in + i, a);
        simd::Load<kBytes>(sums + i, s);
        s += g * ((a - shift) * scale);
        simd::Store<kBytes>(s, sums + i);
      }
      for (; i < columns; ++i) sums[i] += grad[i] * ((in[i] - shift) * scale);
    }
    std::copy(sums, sums + columns, dweight + begin);
  }
};

struct LayerNormKernel {
  const float* x;
  const float* weight;
  const float* bias;
  float eps;
  int64_t begin, end, width;
  float* y;
  float* means;
  float* rstds;

  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    for (int64_t row = begin; row < end; ++row) {
      const float* in = x + row * width;
      float* out = y + row * width;
      simd::Float<kBytes> sum{}, squares{}, a, w, b;
      int64_t i = 0;
      for (; i + kLanes <= width; i += kLanes) {
        simd::Load<kBytes>(in + i, a);
        sum += a;
      }
      float total = simd::Sum<kBytes>(sum);
      for (; i < width; ++i) total += in[i];
      const float mean = total / static_cast<float>(width);
      for (i = 0; i + kLanes <= width; i += kLanes) {
        simd::Load<kBytes>(in + i, a);
        a = a - mean;
        squares += a * a;
      }
      float variance = simd::Sum<kBytes>(squares);
      for (; i < width; ++i) variance += (in[i] - mean) * (in[i] - mean);
      const float rstd = 1.0f / std::sqrt(variance / static_cast<float>(width) + eps);
      for (i = 0; i + kLanes <= width; i += kLanes) {
        simd::Load<kBytes>(in + i, a);
        simd::Load<kBytes>(weight + i, w);
        simd::Load<kBytes>(bias + i, b);
        simd::Store<kBytes>((a - mean) * rstd * w + b, out + i);
      }
      for (; i < width; ++i) out[i] = (in[i] - mean) * rstd * weight[i] + bias[i];
      if (means != nullptr) means[row] = mean;
      if (rstds != nullptr) rstds[row] = rstd;
    }
  }
};

struct LayerNormBackwardKernel {
  const float* dy;
  const float* x;
  const float* weight;
  const float* means;
  const float* rstds;
  int64_t begin, end, width;
  float* dx;

  // g = dy * w, n = (x - mean) * rstd: dx = rstd * (g - mean(g) - n * mean(g * n))
  template <int kBytes>
  RETORT_INLINE void Run() const {
    constexpr int kLanes = kBytes / 4;
    for (int64_t row = begin; row < end; ++row) {
      const float* in = x + row * width;
      const float* grad = dy + row * width;
      float* out = dx + row * width;
      const float mean = means[row], rstd = rstds[row];
      simd::Float<kBytes> sums{}, products{}, g, w, a;
      int64_t i = 0;
      for (; i + kLanes <= width; i += kLanes) {
        simd::Load<kBytes>(grad + i, g);
        simd::Load<kBytes>(weight + i, w);
        simd::Load<kBytes>(in + i, a);
        g = g * w;
        sums += g;
        products += g * ((a - mean) * rstd);
      }
      float sum = simd::Sum<kBytes>(sums), product = simd::Sum<kBytes>(products);
      for (; i < width; ++i) {
        sum += grad[i] * weight[i];
        product += grad[i] * weight[i] * ((in[i] - mean) * rstd);
      }
      sum /= static_cast<float>(width);
      product /= static_cast<float>(width);
      for (i = 0; i + kLanes <= width; i += kLanes) {
        simd::Load<kBytes>(grad + i, g);
        simd::Load<kBytes>(weight + i, w);
        simd::Load<kBytes>(in + i, a);
        simd::Store<kBytes>(rstd * (g * w - sum - (a - mean) * rstd * product), out + i);
      }
      for (; i < width; ++i) {
        out[i] = rstd * (grad[i] * weight[i] - sum - (in[i] - mean) * rstd * product);
      }
    }
  }
};

// dbias = sum over rows of dy, rows ascending, columns [begin, end).
void SumColumns(const float* dy, int64_t rows, int64_t width, int64_t begin, int64_t end,
                float* dbias) {
  std::fill(dbias + begin, dbias + end, 0.0f);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = begin; i < end; ++i) dbias[i] += dy[row * width + i];
  }
}

// Blocks of columns in parallel; each is summed by one thread.
template <typename Body>
void ForColumns(int64_t rows, int64_t width, const Body& body) {
  const int64_t blocks = (width + kColumns - 1) / kColumns;
  at::parallel_for(0, blocks, RowGrain(kColumns * rows), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      body(block * kColumns, std::min(width, (block + 1) * kColumns));
    }
  });
}

}  // namespace

void RmsNormForward(const float* x, const float* weight, double eps, int64_t rows, int64_t width,
                    float* y, float* rstd, float offset) {
  at::parallel_for(0, rows, RowGrain(width), [&](int64_t begin, int64_t end) {
    simd::Dispatch(
        NormForward{x, weight, static_cast<float>(eps), offset, begin, end, width, y, rstd});
  });
}

void RmsNormBackward(const float* dy, const float* x, const float* weight, const float* rstd,
                     int64_t rows, int64_t width, float* dx, float* dweight, float offset) {
  if (dx != nullptr) {
    at::parallel_for(0, rows, RowGrain(width), [&](int64_t begin, int64_t end) {
      simd::Dispatch(NormBackward{dy, x, weight, rstd, offset, begin, end, width, dx});
    });
  }
  if (dweight == nullptr) return;
  ForColumns(rows, width, [&](int64_t begin, int64_t end) {
    simd::Dispatch(NormWeight{dy, x, nullptr, rstd, rows, begin, end, width, dweight});
  });
}

void LayerNormForward(const float* x, const float* weight, const float* bias, double eps,
                      int64_t rows, int64_t width, float* y, float* mean, float* rstd) {
  at::parallel_for(0, rows, RowGrain(width), [&](int64_t begin, int64_t end) {
    simd::Dispatch(LayerNormKernel{x, weight, bias, static_cast<float>(eps), begin, end, width, y,
                                   mean, rstd});
  });
}

void LayerNormBackward(const float* dy, const float* x, const float* weight, const float* mean,
                       const float* rstd, int64_t rows, int64_t width, float* dx, float* dweight,
                       float* dbias) {
  if (dx != nullptr) {
    at::parallel_for(0, rows, RowGrain(width), [&](int64_t begin, int64_t end) {
      simd::Dispatch(LayerNormBackwardKernel{dy, x, weight, mean, rstd, begin, end, width, dx});
    });
  }
  ForColumns(rows, width, [&](int64_t begin, int64_t end) {
    if (dweight != nullptr) {
      simd::Dispatch(NormWeight{dy, x, mean, rstd, rows, begin, end, width, dweight});
    }
    if (dbias != nullptr) SumColumns(dy, rows, width, begin, end, dbias);
  });
}

}  // namespace retort::model
