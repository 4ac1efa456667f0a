#include "common/objective/masked_statistics.h"

#include <cmath>
#include <limits>

#include "common/base/check.h"

namespace retort::objective {
namespace {

constexpr double kWhitenEpsilon = 1e-8;

at::Tensor MaskedDouble(const at::Tensor& values, const at::Tensor& mask) {
  return ZeroOffMask(values, mask).to(at::kDouble);
}

}  // namespace

at::Tensor ZeroOffMask(const at::Tensor& values, const at::Tensor& mask) {
  return at::where(mask, values, at::zeros({}, values.options()));
}

at::Tensor MaskedMean(const at::Tensor& values, const at::Tensor& mask,
                      std::optional<int64_t> axis) {
  const at::Tensor wide = MaskedDouble(values, mask);
  const at::Tensor mean =
      axis.has_value() ? wide.sum({*axis}) / mask.sum({*axis}) : wide.sum() / mask.sum();
  return mean.to(values.scalar_type());
}

absl::StatusOr<at::Tensor> MaskedVariance(const at::Tensor& values, const at::Tensor& mask,
                                          bool unbiased) {
  const GlobalStatistics found = StatisticsOverParts({values}, {mask});
  if (found.count == 0) {
    return absl::InvalidArgumentError("empty mask: the variance of no entry is undefined");
  }
  double variance = found.variance;
  if (unbiased) {
    variance = found.count == 1 ? std::numeric_limits<double>::quiet_NaN()
                                : variance * found.count / (found.count - 1);
  }
  return at::full({}, variance, values.options());
}

absl::StatusOr<at::Tensor> Whiten(const at::Tensor& values, const at::Tensor& mask,
                                  bool shift_mean) {
  const absl::StatusOr<at::Tensor> variance = MaskedVariance(values.to(at::kDouble), mask);
  if (!variance.ok()) return variance.status();
  const at::Tensor wide = values.to(at::kDouble);
  const at::Tensor mean = MaskedMean(wide, mask);
  at::Tensor whitened = (wide - mean) * (*variance + kWhitenEpsilon).rsqrt();
  if (!shift_mean) whitened = whitened + mean;
  return whitened.to(values.scalar_type());
}

SumAndCount MaskedSum(const at::Tensor& values, const at::Tensor& mask) {
  if (!mask.defined()) return {values.sum(at::kDouble).item<double>(), values.numel()};
  return {MaskedDouble(values, mask).sum().item<double>(), mask.sum().item<int64_t>()};
}

double MaskedSumOfSquares(const at::Tensor& values, const at::Tensor& mask, double mean) {
  const at::Tensor squares = (values.to(at::kDouble) - mean).square();
  return (mask.defined() ? ZeroOffMask(squares, mask) : squares).sum().item<double>();
}

GlobalStatistics StatisticsOverParts(absl::Span<const at::Tensor> parts,
                                     absl::Span<const at::Tensor> masks) {
  RETORT_CHECK(masks.empty() || masks.size() == parts.size()) << "a mask per part, or none";
  const auto mask_of = [&](size_t i) { return masks.empty() ? at::Tensor() : masks[i]; };
  SumAndCount total;
  for (size_t i = 0; i < parts.size(); ++i) {
    const SumAndCount part = MaskedSum(parts[i], mask_of(i));
    total.sum += part.sum;
    total.count += part.count;
  }
  GlobalStatistics statistics;
  statistics.count = total.count;
  statistics.mean = total.sum / static_cast<double>(total.count);
  double squares = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    squares += MaskedSumOfSquares(parts[i], mask_of(i), statistics.mean);
  }
  statistics.variance = squares / static_cast<double>(total.count);
  return statistics;
}

}  // namespace retort::objective
