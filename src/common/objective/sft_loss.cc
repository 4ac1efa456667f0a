#include "common/objective/sft_loss.h"

#include <limits>

#include "common/base/check.h"
#include "common/objective/masked_statistics.h"

namespace retort::objective {
namespace {

constexpr int64_t Row(SftSum sum) { return static_cast<int64_t>(sum); }

}  // namespace

at::Tensor NewSftSums() { return at::zeros({Row(SftSum::kCount)}, at::TensorOptions(at::kDouble)); }

SftLossPart SftTokenLoss(const at::Tensor& log_probs, const at::Tensor& mask,
                         const at::Tensor& entropy, const at::Tensor& correct,
                         int64_t global_tokens) {
  RETORT_CHECK(global_tokens >= 1) << "a step without response tokens has no loss";
  const auto sum = [&](const at::Tensor& x) {
    return (mask.defined() ? ZeroOffMask(x, mask) : x).sum(at::kDouble);
  };
  SftLossPart part;
  part.term = {1.0, -sum(log_probs), static_cast<double>(global_tokens)};
  at::NoGradGuard no_grad;
  part.sums = NewSftSums();
  part.sums[Row(SftSum::kTokens)] = mask.defined() ? mask.sum().item<int64_t>() : log_probs.numel();
  part.sums[Row(SftSum::kNegativeLogLikelihood)] = part.term.sum.detach();
  if (entropy.defined()) part.sums[Row(SftSum::kEntropy)] = sum(entropy);
  if (correct.defined()) part.sums[Row(SftSum::kCorrect)] = sum(correct.to(at::kDouble));
  return part;
}

SftStatistics FinishSftStatistics(const at::Tensor& sums) {
  RETORT_CHECK(sums.scalar_type() == at::kDouble && sums.numel() == Row(SftSum::kCount))
      << "not a sum vector of SftTokenLoss";
  const double* row = sums.const_data_ptr<double>();
  const double n = row[Row(SftSum::kTokens)];
  const auto mean = [&](SftSum which) {
    return n > 0 ? row[Row(which)] / n : std::numeric_limits<double>::quiet_NaN();
  };
  SftStatistics out;
  out.tokens = static_cast<int64_t>(n);
  out.loss = mean(SftSum::kNegativeLogLikelihood);
  out.entropy = mean(SftSum::kEntropy);
  out.mean_token_accuracy = mean(SftSum::kCorrect);
  return out;
}

}  // namespace retort::objective
