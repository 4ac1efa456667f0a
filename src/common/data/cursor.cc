#include "common/data/cursor.h"

#include "common/base/check.h"
#include "common/base/rng.h"

namespace retort::data {

RowCursor::RowCursor(int64_t dataset_rows, int64_t rows_per_step, bool shuffle, uint64_t seed)
    : dataset_rows_(dataset_rows), rows_per_step_(rows_per_step), shuffle_(shuffle), seed_(seed) {
  RETORT_CHECK(dataset_rows >= 1) << "a dataset without rows";
  RETORT_CHECK(rows_per_step >= 1) << "a step without rows";
}

int64_t RowCursor::RowOfDraw(int64_t pass, int64_t position) {
  if (!shuffle_) return position;
  if (pass != cached_pass_) {
    CounterRng rng(seed_, RngPurpose::kShuffle, static_cast<uint64_t>(pass));
    order_ = RandomPermutation(dataset_rows_, rng);
    cached_pass_ = pass;
  }
  return order_[position];
}

std::vector<int64_t> RowCursor::RowsOfStep(int64_t step) {
  RETORT_CHECK(step >= 0) << "step " << step;
  // step * rows_per_step may exceed 64 bits, its two parts modulo the pass length do not.
  const __int128 first = static_cast<__int128>(step) * rows_per_step_;
  int64_t pass = static_cast<int64_t>(first / dataset_rows_);
  int64_t position = static_cast<int64_t>(first % dataset_rows_);
  std::vector<int64_t> rows;
  rows.reserve(rows_per_step_);
  for (int64_t i = 0; i < rows_per_step_; ++i) {
    rows.push_back(RowOfDraw(pass, position));
    if (++position == dataset_rows_) {
      position = 0;
      ++pass;
    }
  }
  return rows;
}

std::vector<int64_t> RowsOfStep(int64_t dataset_rows, int64_t rows_per_step, bool shuffle,
                                uint64_t seed, int64_t step) {
  return RowCursor(dataset_rows, rows_per_step, shuffle, seed).RowsOfStep(step);
}

}  // namespace retort::data
