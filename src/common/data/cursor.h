// Which dataset rows a step consumes: a pure function of the job, so that a replayed step sees the
// same rows.
#pragma once

#include <cstdint>
#include <vector>

namespace retort::data {

// Walks endless passes over `dataset_rows` rows, `rows_per_step` consecutive draws a step; a step
// may span passes. Pass e visits the rows in the order RandomPermutation(CounterRng(seed, kShuffle,
// e)), or ascending without `shuffle`. Keeps the order of the pass it used last, so walking forward
// costs one permutation a pass. Not thread-safe.
class RowCursor {
 public:
  // dataset_rows >= 1, rows_per_step >= 1.
  RowCursor(int64_t dataset_rows, int64_t rows_per_step, bool shuffle, uint64_t seed);

  // The step's rows in slot order, each in [0, dataset_rows). step >= 0.
  std::vector<int64_t> RowsOfStep(int64_t step);

 private:
  int64_t RowOfDraw(int64_t pass, int64_t position);

  const int64_t dataset_rows_;
  const int64_t rows_per_step_;
  const bool shuffle_;
  const uint64_t seed_;
  int64_t cached_pass_ = -1;
  std::vector<int64_t> order_;
};

// RowCursor(...).RowsOfStep(step), for a single step.
std::vector<int64_t> RowsOfStep(int64_t dataset_rows, int64_t rows_per_step, bool shuffle,
                                uint64_t seed, int64_t step);

}  // namespace retort::data
