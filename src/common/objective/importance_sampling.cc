#include "common/objective/importance_sampling.h"

#include <limits>

#include "common/objective/masked_statistics.h"

namespace retort::objective {

at::Tensor TruncatedImportanceWeights(const at::Tensor& old_log_probs,
                                      const at::Tensor& behaviour_log_probs, const at::Tensor& mask,
                                      double cap) {
  const at::Tensor difference =
      ZeroOffMask(old_log_probs.detach() - behaviour_log_probs.detach(), mask);
  return difference.exp().clamp_max(cap);
}

std::map<std::string, double> SamplingStatistics(const at::Tensor& old_log_probs,
                                                 const at::Tensor& behaviour_log_probs,
                                                 const at::Tensor& mask, double cap) {
  const at::Tensor difference =
      (old_log_probs.detach() - behaviour_log_probs.detach()).masked_select(mask).to(at::kDouble);
  const bool any = difference.numel() > 0;
  const at::Tensor ratio = difference.exp().clamp_max(cap);
  const auto value = [any](const at::Tensor& x, at::Tensor (at::Tensor::*reduce)() const) {
    return any ? (x.*reduce)().item<double>() : std::numeric_limits<double>::quiet_NaN();
  };
  const at::Tensor size = difference.abs();
  const SumAndCount sizes = MaskedSum(size, {});
  const SumAndCount ratios = MaskedSum(ratio, {});
  return {
      {"sampling/sampling_logp_difference/mean", sizes.sum / static_cast<double>(sizes.count)},
      {"sampling/sampling_logp_difference/max", value(size, &at::Tensor::max)},
      {"sampling/importance_sampling_ratio/min", value(ratio, &at::Tensor::min)},
      {"sampling/importance_sampling_ratio/mean", ratios.sum / static_cast<double>(ratios.count)},
      {"sampling/importance_sampling_ratio/max", value(ratio, &at::Tensor::max)},
  };
}

}  // namespace retort::objective
