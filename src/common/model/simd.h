// Vectors of 4, 8 or 16 floats and the run-time choice between them. A kernel is a struct of
// arguments with a template `Run<V>()`; Dispatch compiles it for baseline x86-64 (or any other
// CPU), AVX2 and AVX-512 and calls the widest that the CPU has, or that ATEN_CPU_CAPABILITY
// (default, avx2 or avx512; LibTorch's kernels follow it too) leaves of it. Sums are taken in an
// order that depends on the width only: equal bits on one kind of CPU.
//
// Everything that Run calls must be RETORT_INLINE, or it is compiled for the baseline and called
// per vector; vectors are passed by reference, because by value their ABI depends on the
// instruction set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#define RETORT_INLINE inline __attribute__((always_inline))

namespace retort::model::simd {

template <int kBytes>
struct Vector;
template <>
struct Vector<16> {
  typedef float Float __attribute__((vector_size(16)));
  typedef int32_t Int __attribute__((vector_size(16)));
};
template <>
struct Vector<32> {
  typedef float Float __attribute__((vector_size(32)));
  typedef int32_t Int __attribute__((vector_size(32)));
};
template <>
struct Vector<64> {
  typedef float Float __attribute__((vector_size(64)));
  typedef int32_t Int __attribute__((vector_size(64)));
};

template <int kBytes>
using Float = typename Vector<kBytes>::Float;

// Lanes of the widest vector: what buffers are padded to.
inline constexpr int64_t kMaxLanes = 16;

RETORT_INLINE int64_t PadLanes(int64_t n) { return (n + kMaxLanes - 1) / kMaxLanes * kMaxLanes; }

template <int kBytes>
RETORT_INLINE void Load(const float* from, Float<kBytes>& to) {
  std::memcpy(&to, from, kBytes);
}
template <int kBytes>
RETORT_INLINE void Store(const Float<kBytes>& from, float* to) {
  std::memcpy(to, &from, kBytes);
}

// Loads `v` once, where the compiler would read it again from memory for each use. Only with
// AVX-512, which has the registers.
template <int kBytes>
RETORT_INLINE void KeepInRegister([[maybe_unused]] Float<kBytes>& v) {
#if defined(__x86_64__)
  if constexpr (kBytes == 64) asm("" : "+v"(v));
#endif
}

// The sum of the lanes, halves first.
template <int kBytes>
RETORT_INLINE float Sum(const Float<kBytes>& v) {
  constexpr int kLanes = kBytes / 4;
  float lanes[kLanes];
  std::memcpy(lanes, &v, kBytes);
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// e^x within 2 ulp; exactly 0 below -87.3 (and at -inf), e^88 above 88. NaN stays NaN.
template <int kBytes>
RETORT_INLINE void Exp(Float<kBytes>& x) {
  using V = Float<kBytes>;
  using I = typename Vector<kBytes>::Int;
  const I keep = x > -87.3f;
  const I nan = x != x;  // All bits set: a NaN.
  x = x > -87.3f ? x : V{} - 87.3f;
  x = x < 88.0f ? x : V{} + 88.0f;
  const V magic = V{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer.
  const V n = (x * 1.44269504088896341f + magic) - magic;
  V r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  V p = V{} + 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  I bits = (__builtin_convertvector(n, I) + 127) << 23;
  V scale;
  std::memcpy(&scale, &bits, kBytes);
  const V result = p * scale;
  std::memcpy(&bits, &result, kBytes);
  bits = (bits & keep) | nan;
  std::memcpy(&x, &bits, kBytes);
}

// y[0, width) (+)= sum over i < n of c[i * c_stride] * x[i * x_stride + 0 .. width), i ascending.
template <int kBytes, int kVectors>
RETORT_INLINE void CombineBlock(const float* c, int64_t c_stride, int64_t n, const float* x,
                                int64_t x_stride, bool add, float* y) {
  constexpr int kLanes = kBytes / 4;
  Float<kBytes> even[kVectors], odd[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    even[v] = Float<kBytes>{};
    odd[v] = Float<kBytes>{};
    if (add) Load<kBytes>(y + v * kLanes, even[v]);
  }
  int64_t i = 0;
  for (; i + 2 <= n; i += 2) {
    const float a = c[i * c_stride];
    const float b = c[(i + 1) * c_stride];
    const float* row = x + i * x_stride;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      Float<kBytes> p, q;
      Load<kBytes>(row + v * kLanes, p);
      Load<kBytes>(row + x_stride + v * kLanes, q);
      even[v] += a * p;
      odd[v] += b * q;
    }
  }
  if (i < n) {
    const float a = c[i * c_stride];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      Float<kBytes> p;
      Load<kBytes>(x + i * x_stride + v * kLanes, p);
      even[v] += a * p;
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) Store<kBytes>(even[v] + odd[v], y + v * kLanes);
}

template <int kBytes>
RETORT_INLINE void Combine(const float* c, int64_t c_stride, int64_t n, const float* x,
                           int64_t x_stride, int64_t width, bool add, float* y) {
  constexpr int kLanes = kBytes / 4;
  int64_t w = 0;
  for (; w + 4 * kLanes <= width; w += 4 * kLanes) {
    CombineBlock<kBytes, 4>(c, c_stride, n, x + w, x_stride, add, y + w);
  }
  if (w + 2 * kLanes <= width) {
    CombineBlock<kBytes, 2>(c, c_stride, n, x + w, x_stride, add, y + w);
    w += 2 * kLanes;
  }
  if (w + kLanes <= width) {
    CombineBlock<kBytes, 1>(c, c_stride, n, x + w, x_stride, add, y + w);
    w += kLanes;
  }
  // Heads of 40 or 72 are no multiple of the widest vector.
  if constexpr (kBytes == 64) {
    if (w + 8 <= width) {
      CombineBlock<32, 1>(c, c_stride, n, x + w, x_stride, add, y + w);
      w += 8;
    }
  }
  if constexpr (kBytes >= 32) {
    if (w + 4 <= width) {
      CombineBlock<16, 1>(c, c_stride, n, x + w, x_stride, add, y + w);
      w += 4;
    }
  }
  for (; w < width; ++w) {
    float sum = add ? y[w] : 0.0f;
    for (int64_t i = 0; i < n; ++i) sum += c[i * c_stride] * x[i * x_stride + w];
    y[w] = sum;
  }
}

// A tile of CombineRows.
template <int kBytes, int kRows, int kVectors>
RETORT_INLINE void CombineTile(const float* c, int64_t c_row, int64_t c_stride, int64_t n,
                               const float* x, int64_t x_stride, bool add, float* y,
                               int64_t y_row) {
  constexpr int kLanes = kBytes / 4;
  Float<kBytes> sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = Float<kBytes>{};
      if (add) Load<kBytes>(y + r * y_row + v * kLanes, sum[r][v]);
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    Float<kBytes> p[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      Load<kBytes>(x + i * x_stride + v * kLanes, p[v]);
      KeepInRegister<kBytes>(p[v]);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const float a = c[r * c_row + i * c_stride];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] += a * p[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) Store<kBytes>(sum[r][v], y + r * y_row + v * kLanes);
  }
}

// kRows rows at once: y[r * y_row + 0 .. width) (+)= sum over i < n of c[r * c_row + i * c_stride]
// * x[i * x_stride + 0 .. width), one sum per element, i ascending: the same bits for any kRows.
template <int kBytes, int kRows>
RETORT_INLINE void CombineRows(const float* c, int64_t c_row, int64_t c_stride, int64_t n,
                               const float* x, int64_t x_stride, int64_t width, bool add, float* y,
                               int64_t y_row) {
  constexpr int kLanes = kBytes / 4;
  constexpr int kVectors = kBytes == 64 ? 4 : 2;  // 4 rows of sums fit the registers.
  int64_t w = 0;
  for (; w + kVectors * kLanes <= width; w += kVectors * kLanes) {
    CombineTile<kBytes, kRows, kVectors>(c, c_row, c_stride, n, x + w, x_stride, add, y + w, y_row);
  }
  if constexpr (kVectors > 2) {
    if (w + 2 * kLanes <= width) {
      CombineTile<kBytes, kRows, 2>(c, c_row, c_stride, n, x + w, x_stride, add, y + w, y_row);
      w += 2 * kLanes;
    }
  }
  if (w + kLanes <= width) {
    CombineTile<kBytes, kRows, 1>(c, c_row, c_stride, n, x + w, x_stride, add, y + w, y_row);
    w += kLanes;
  }
  if constexpr (kBytes > 16) {
    if (w < width) {
      CombineRows<kBytes / 2, kRows>(c, c_row, c_stride, n, x + w, x_stride, width - w, add, y + w,
                                     y_row);
    }
    return;
  }
  for (; w < width; ++w) {
    for (int r = 0; r < kRows; ++r) {
      float sum = add ? y[r * y_row + w] : 0.0f;
      for (int64_t i = 0; i < n; ++i) sum += c[r * c_row + i * c_stride] * x[i * x_stride + w];
      y[r * y_row + w] = sum;
    }
  }
}

template <int kBytes>
RETORT_INLINE float Dot(const float* a, const float* b, int64_t n) {
  constexpr int kLanes = kBytes / 4;
  Float<kBytes> sum{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Float<kBytes> p, q;
    Load<kBytes>(a + i, p);
    Load<kBytes>(b + i, q);
    sum += p * q;
  }
  float total = Sum<kBytes>(sum);
  for (; i < n; ++i) total += a[i] * b[i];
  return total;
}

// Rows a, b, c, d of a 4 x 4 matrix to those of its transpose.
RETORT_INLINE void TransposeFour(Float<16>& a, Float<16>& b, Float<16>& c, Float<16>& d) {
  const Float<16> ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const Float<16> ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Float<16> cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const Float<16> cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  a = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
  b = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
  c = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
  d = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}

#if defined(__x86_64__)
template <typename Kernel>
__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))) void RunAvx512(
    const Kernel& kernel) {
  kernel.template Run<64>();
}
template <typename Kernel>
__attribute__((target("avx2,fma"))) void RunAvx2(const Kernel& kernel) {
  kernel.template Run<32>();
}
#endif

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

// An environment variable, because LibTorch's kernels follow it: they and these must agree on what
// a test or a user asks for. LibTorch warns of a value that it does not know, and both ignore it.
inline InstructionSet WidestWanted() {
  const char* const wanted = std::getenv("ATEN_CPU_CAPABILITY");
  if (wanted == nullptr) return InstructionSet::kAvx512;
  if (std::strcmp(wanted, "default") == 0) return InstructionSet::kBaseline;
  return std::strcmp(wanted, "avx2") == 0 ? InstructionSet::kAvx2 : InstructionSet::kAvx512;
}

inline InstructionSet WidestThere() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return InstructionSet::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::kAvx2;
#endif
  return InstructionSet::kBaseline;
}

inline InstructionSet ChosenSet() {
  static const InstructionSet set = std::min(WidestThere(), WidestWanted());
  return set;
}

template <typename Kernel>
void Dispatch(const Kernel& kernel) {
  [[maybe_unused]] const InstructionSet set = ChosenSet();
#if defined(__x86_64__)
  if (set == InstructionSet::kAvx512) return RunAvx512(kernel);
  if (set == InstructionSet::kAvx2) return RunAvx2(kernel);
#endif
  kernel.template Run<16>();
}

}  // namespace retort::model::simd
