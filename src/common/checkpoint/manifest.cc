#include "common/checkpoint/manifest.h"

#include <algorithm>

namespace retort::checkpoint {

ElementRange SliceOf(int64_t total, int rank, int world_size) {
  constexpr int64_t kBlock = 16;
  const int64_t blocks = (total + kBlock - 1) / kBlock;
  const auto boundary = [&](int64_t index) {
    return std::min(total, kBlock * (blocks * index / world_size));
  };
  return {boundary(rank), boundary(rank + 1)};
}

}  // namespace retort::checkpoint
