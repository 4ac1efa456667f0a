#include "common/model/packed_batch.h"

#include <numeric>

namespace retort::model {

PackedBatch Pack(absl::Span<const std::vector<int64_t>> sequences) {
  PackedBatch batch;
  batch.offsets.push_back(0);
  for (const std::vector<int64_t>& sequence : sequences) {
    batch.offsets.push_back(batch.offsets.back() + static_cast<int64_t>(sequence.size()));
  }
  batch.ids = at::empty({batch.tokens()}, at::kLong);
  batch.positions = at::empty({batch.tokens()}, at::kLong);
  int64_t* ids = batch.ids.data_ptr<int64_t>();
  int64_t* positions = batch.positions.data_ptr<int64_t>();
  for (size_t s = 0; s < sequences.size(); ++s) {
    std::copy(sequences[s].begin(), sequences[s].end(), ids + batch.offsets[s]);
    std::iota(positions + batch.offsets[s], positions + batch.offsets[s + 1], 0);
  }
  return batch;
}

}  // namespace retort::model
