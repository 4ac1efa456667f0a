// Counter-based random numbers: Philox4x32-10. A stream is a pure function of its key, so a retried
// unit of work draws the same numbers whatever else ran before it. Source: Salmon et al., "Parallel
// Random Numbers: As Easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace retort {

// What a stream is for. The value is part of the key: do not renumber.
enum class RngPurpose : uint32_t {
  kSampling = 1,     // token sampling: (step, slot, sample)
  kPermutation = 2,  // mini-batch order: (step, epoch)
  kInit = 3,         // parameter initialisation: (tensor index)
  kShuffle = 4,      // dataset order: (epoch)
  kData = 5,         // example data generators
  kAdapterInit = 6,  // an adapter's initialisation: (tensor index)
};

// Not thread-safe; cheap to make (no state beyond the key and a 64-bit position).
class CounterRng {
 public:
  // Distinct (seed, purpose, a, b, c) give independent streams. `a` fills 64 bits of the key
  // material, `b` and `c` 32 bits each.
  CounterRng(uint64_t seed, RngPurpose purpose, uint64_t a, uint32_t b = 0, uint32_t c = 0);

  uint32_t NextU32();
  uint64_t NextU64();
  double NextUniform();  // [0, 1), 53 bits.
  double NextNormal();   // mean 0, variance 1 (Box-Muller, both values used in order).
  uint64_t NextBelow(uint64_t bound);  // [0, bound), unbiased. bound >= 1.

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
  bool has_spare_normal_ = false;
  double spare_normal_ = 0;
};

// A permutation of 0 .. n-1 (Fisher-Yates, drawing from `rng`).
std::vector<int64_t> RandomPermutation(int64_t n, CounterRng& rng);

}  // namespace retort
