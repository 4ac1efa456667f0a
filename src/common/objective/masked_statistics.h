// Means and variances over the true entries of a mask. Off the mask any finite value may stand: it
// changes nothing. Values are float32 or float64, masks bool of the same shape; results keep the
// dtype of the values. Sums are taken in float64, so that order and padding do not show in float32
// results. Source: intel-extension-for-transformers ppo_core.py.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/tensor/aten.h"

namespace retort::objective {

// 0-d mean over everything, or over dimension `axis` (which is dropped). NaN where no entry counts.
at::Tensor MaskedMean(const at::Tensor& values, const at::Tensor& mask,
                      std::optional<int64_t> axis = std::nullopt);

// 0-d variance, times n/(n-1) if `unbiased`: NaN then for a single entry.
// Errors: INVALID_ARGUMENT "empty mask" if no entry counts.
absl::StatusOr<at::Tensor> MaskedVariance(const at::Tensor& values, const at::Tensor& mask,
                                          bool unbiased = true);

// (x - mean) / sqrt(unbiased var + 1e-8), plus the mean again unless `shift_mean`. Every entry is
// transformed, also those off the mask: mask the result before it is used.
// Errors: INVALID_ARGUMENT "empty mask".
absl::StatusOr<at::Tensor> Whiten(const at::Tensor& values, const at::Tensor& mask,
                                  bool shift_mean = true);

// `values` where the mask is true, 0 elsewhere, whatever stands there (NaN too).
at::Tensor ZeroOffMask(const at::Tensor& values, const at::Tensor& mask);

// Mean and biased variance over the masked entries of all ranks, computed in two passes whose
// partial sums ranks add (in rank order, float64). An undefined mask counts everything. A rank may
// hold nothing. (Upstream's first sum forgets the mask; here both use it.)
struct GlobalStatistics {
  double mean = 0;      // NaN if count is 0.
  double variance = 0;  // Biased. NaN if count is 0.
  int64_t count = 0;
};
struct SumAndCount {
  double sum = 0;
  int64_t count = 0;
};
SumAndCount MaskedSum(const at::Tensor& values, const at::Tensor& mask);
double MaskedSumOfSquares(const at::Tensor& values, const at::Tensor& mask, double mean);

// The two passes over parts that lie in this process, one per rank. `masks` is empty or as long as
// `parts`.
GlobalStatistics StatisticsOverParts(absl::Span<const at::Tensor> parts,
                                     absl::Span<const at::Tensor> masks);

}  // namespace retort::objective
