#include "common/base/rng.h"

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace retort {
namespace {

using Block = std::array<uint32_t, 4>;
using Key = std::array<uint32_t, 2>;

Block Philox(Block counter, Key key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

}  // namespace

CounterRng::CounterRng(uint64_t seed, RngPurpose purpose, uint64_t a, uint32_t b, uint32_t c) {
  // Two Philox blocks condense the 224 bits that name the stream into a key and the upper counter
  // words; the lower counter words are the position.
  const Block first = Philox({static_cast<uint32_t>(a), static_cast<uint32_t>(a >> 32), b, c},
                             {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  const Block second = Philox({first[0], first[1], first[2], static_cast<uint32_t>(purpose)},
                              {first[3], static_cast<uint32_t>(seed)});
  key_ = {second[0], second[1]};
  counter_ = {0, 0, second[2], second[3]};
}

uint32_t CounterRng::NextU32() {
  if (used_ == 4) {
    block_ = Philox(counter_, key_);
    if (++counter_[0] == 0) ++counter_[1];
    used_ = 0;
  }
  return block_[used_++];
}

uint64_t CounterRng::NextU64() {
  const uint64_t low = NextU32();
  return low | (uint64_t{NextU32()} << 32);
}

double CounterRng::NextUniform() { return static_cast<double>(NextU64() >> 11) * 0x1.0p-53; }

double CounterRng::NextNormal() {
  if (has_spare_normal_) {
    has_spare_normal_ = false;
    return spare_normal_;
  }
  const double radius = std::sqrt(-2 * std::log1p(-NextUniform()));
  const double angle = 2 * std::numbers::pi * NextUniform();
  spare_normal_ = radius * std::sin(angle);
  has_spare_normal_ = true;
  return radius * std::cos(angle);
}

uint64_t CounterRng::NextBelow(uint64_t bound) {
  const uint64_t limit =
      -bound % bound;  // 2^64 mod bound: values below it would be over-represented.
  uint64_t value = NextU64();
  while (value < limit) value = NextU64();
  return value % bound;
}

std::vector<int64_t> RandomPermutation(int64_t n, CounterRng& rng) {
  std::vector<int64_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = n - 1; i > 0; --i) std::swap(order[i], order[rng.NextBelow(i + 1)]);
  return order;
}

}  // namespace retort
