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
  // Where the inputs are: the host must not wait for them before it starts the backward pass.
  part.sums = at::zeros({Row(SftSum::kCount)}, log_probs.options().dtype(at::kDouble));
  const auto set = [&](SftSum row, const at::Tensor& x) { part.sums[Row(row)] = x; };
  set(SftSum::kTokens,
      mask.defined() ? mask.sum() : at::full({}, log_probs.numel(), part.sums.options()));
  set(SftSum::kNegativeLogLikelihood, part.term.sum.detach());
  if (entropy.defined()) set(SftSum::kEntropy, sum(entropy));
  if (correct.defined()) set(SftSum::kCorrect, sum(correct.to(at::kDouble)));
  return part;
}

SftStatistics FinishSftStatistics(const at::Tensor& sums) {
  RETORT_CHECK(sums.scalar_type() == at::kDouble && sums.numel() == Row(SftSum::kCount))
      << "not a sum vector of SftTokenLoss";
  const at::Tensor host = sums.cpu();
  const double* row = host.const_data_ptr<double>();
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
