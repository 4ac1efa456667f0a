// One thread's share of a linear map (row_linear.h), for the kernels that compute it. Internal; see
// simd.h for the rules.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/model/simd.h"

namespace retort::model {

// Integer vectors of as many elements as a Float<kBytes> has.
template <int kBytes>
struct Bits;
template <>
struct Bits<16> {
  typedef uint16_t Halves __attribute__((vector_size(8)));
  typedef uint32_t Words __attribute__((vector_size(16)));
};
template <>
struct Bits<32> {
  typedef uint16_t Halves __attribute__((vector_size(16)));
  typedef uint32_t Words __attribute__((vector_size(32)));
};
template <>
struct Bits<64> {
  typedef uint16_t Halves __attribute__((vector_size(32)));
  typedef uint32_t Words __attribute__((vector_size(64)));
};

// How weights are stored, and read as fp32.
struct Fp32 {
  using Stored = float;
  template <int kBytes>
  static RETORT_INLINE void Load(const float* from, simd::Float<kBytes>& to) {
    simd::Load<kBytes>(from, to);
  }
  static RETORT_INLINE float Widen(float value) { return value; }
};

struct Bf16 {
  using Stored = uint16_t;
  // The upper half of an fp32 number, `kBytes / 4` of them.
  template <int kBytes>
  static RETORT_INLINE void Load(const uint16_t* from, simd::Float<kBytes>& to) {
    typename Bits<kBytes>::Halves halves;
    std::memcpy(&halves, from, sizeof(halves));
    const typename Bits<kBytes>::Words words =
        __builtin_convertvector(halves, typename Bits<kBytes>::Words) << 16;
    std::memcpy(&to, &words, kBytes);
  }
  static RETORT_INLINE float Widen(uint16_t value) {
    const uint32_t bits = uint32_t{value} << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof(wide));
    return wide;
  }
};

// Outputs [begin, end) of every row. Every kernel takes the sum over the inputs in this order: lane
// l of kBytes / 4 sums the inputs l, l + lanes, ... ascending from +0; then the lanes are added,
// the upper half to the lower, until one is left; then come the bias and what y holds.
template <typename Type>
struct LinearTask {
  using Stored = typename Type::Stored;

  const float* x;
  int64_t rows;
  const Stored* weight;
  int64_t inputs, outputs;
  int64_t begin, end;
  const float* bias;  // Or null.
  bool add;           // To y.
  float* y;

  // Takes the sums of row r, outputs o, o + 1, ... to y.
  template <int kBytes>
  RETORT_INLINE void Finish(simd::Float<kBytes>& sums, int64_t r, int64_t o) const {
    simd::Float<kBytes> other;
    if (bias != nullptr) {
      simd::Load<kBytes>(bias + o, other);
      sums += other;
    }
    float* const to = y + r * outputs + o;
    if (add) {
      simd::Load<kBytes>(to, other);
      sums = other + sums;
    }
    simd::Store<kBytes>(sums, to);
  }
  RETORT_INLINE void Finish(float sum, int64_t r, int64_t o) const {
    if (bias != nullptr) sum += bias[o];
    float& to = y[r * outputs + o];
    to = add ? to + sum : sum;
  }
};

}  // namespace retort::model
