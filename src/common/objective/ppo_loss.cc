#include "common/objective/ppo_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/check.h"
#include "common/objective/masked_statistics.h"

namespace retort::objective {
namespace {

constexpr int64_t Row(PpoSum sum) { return static_cast<int64_t>(sum); }
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Per-token losses, with the graph of log_probs and values.
struct PerToken {
  at::Tensor ratio, policy, policy_clipped, value, value_error, value_clipped;
};

PerToken LossPerToken(const PpoLossInputs& in, const PpoLossOptions& options) {
  PerToken out;
  out.ratio = (in.log_probs - in.old_log_probs).exp();
  const at::Tensor plain = -in.advantages * out.ratio;
  const at::Tensor clipped =
      -in.advantages * out.ratio.clamp(1 - options.cliprange, 1 + options.cliprange);
  out.policy = at::max(plain, clipped);
  if (in.weights.defined()) out.policy = out.policy * in.weights;
  out.policy_clipped = clipped > plain;

  const at::Tensor bounded = at::max(at::min(in.values, in.old_values + options.cliprange_value),
                                     in.old_values - options.cliprange_value);
  out.value_error = (in.values - in.returns).square();
  const at::Tensor bounded_error = (bounded - in.returns).square();
  out.value = at::max(out.value_error, bounded_error);
  out.value_clipped = bounded_error > out.value_error;
  return out;
}

// Entries off the mask become constants, so that they get no gradient and cannot overflow.
PpoLossInputs OnMask(const PpoLossInputs& in) {
  if (!in.mask.defined()) return in;
  PpoLossInputs out = in;
  for (at::Tensor* tensor : {&out.log_probs, &out.values, &out.old_log_probs, &out.old_values,
                             &out.advantages, &out.returns, &out.entropy, &out.weights}) {
    if (tensor->defined()) *tensor = ZeroOffMask(*tensor, in.mask);
  }
  return out;
}

// Off the mask the inputs are 0, so that the ratio is 1 there: it must not count.
at::Tensor SumOnMask(const at::Tensor& x, const at::Tensor& mask) {
  return (mask.defined() ? ZeroOffMask(x, mask) : x).sum(at::kDouble);
}

// What PpoLossPart::sums holds. Called without gradient mode; `in` is OnMask.
at::Tensor SumsOf(const PpoLossInputs& in, const PerToken& token) {
  const auto sum = [&](const at::Tensor& x) { return SumOnMask(x, in.mask); };
  const auto count = [&](const at::Tensor& flag) { return sum(flag.to(at::kDouble)); };
  const auto square_sum = [&](const at::Tensor& x) { return sum(x.to(at::kDouble).square()); };
  const at::Tensor change = in.log_probs - in.old_log_probs;
  // Where the inputs are: the host must not wait for them before it starts the backward pass.
  const at::Tensor sums = at::zeros({Row(PpoSum::kCount)}, change.options().dtype(at::kDouble));
  const auto set = [&](PpoSum row, const at::Tensor& x) { sums[Row(row)] = x; };
  const at::Tensor tokens =
      in.mask.defined() ? in.mask.sum() : at::full({}, in.log_probs.numel(), sums.options());
  set(PpoSum::kTokens, tokens);
  set(PpoSum::kPolicyLoss, sum(token.policy));
  set(PpoSum::kValueLoss, sum(token.value));
  set(PpoSum::kRatio, sum(token.ratio));
  set(PpoSum::kApproxKl, square_sum(change) / 2);
  set(PpoSum::kPolicyKl, -sum(change));
  set(PpoSum::kPolicyClipped, count(token.policy_clipped));
  set(PpoSum::kAdvantages, sum(in.advantages));
  if (in.entropy.defined()) {
    set(PpoSum::kEntropy, sum(in.entropy));
    set(PpoSum::kEntropyTokens, tokens);
  }
  set(PpoSum::kReturns, sum(in.returns));
  set(PpoSum::kReturnsSquared, square_sum(in.returns));
  set(PpoSum::kValues, sum(in.values));
  set(PpoSum::kValueError, sum(token.value_error));
  set(PpoSum::kValueClipped, count(token.value_clipped));
  set(PpoSum::kOldValues, sum(in.old_values));
  set(PpoSum::kOldValuesSquared, square_sum(in.old_values));
  return sums;
}

}  // namespace

at::Tensor NewPpoSums() { return at::zeros({Row(PpoSum::kCount)}, at::TensorOptions(at::kDouble)); }

PpoLossPart PpoLoss(const PpoLossInputs& inputs, const PpoLossOptions& options,
                    int64_t global_tokens) {
  RETORT_CHECK(global_tokens >= 1) << "a mini-batch without tokens has no loss";
  const PpoLossInputs in = OnMask(inputs);
  const PerToken token = LossPerToken(in, options);
  const double denominator = static_cast<double>(global_tokens);
  PpoLossPart part;
  part.terms = {{1.0, SumOnMask(token.policy, in.mask), denominator},
                {options.vf_coef / 2, SumOnMask(token.value, in.mask), denominator}};
  at::NoGradGuard no_grad;
  part.sums = SumsOf(in, token);
  part.ratio = (inputs.log_probs - inputs.old_log_probs).exp();
  return part;
}

PpoMiniBatchStatistics FinishPpoStatistics(const at::Tensor& sums, const PpoLossOptions& options) {
  RETORT_CHECK(sums.scalar_type() == at::kDouble && sums.numel() == Row(PpoSum::kCount))
      << "not a sum vector of PpoLoss";
  const at::Tensor host = sums.cpu();
  const double* row = host.const_data_ptr<double>();
  const double n = row[Row(PpoSum::kTokens)];
  const auto mean = [&](PpoSum which) { return n > 0 ? row[Row(which)] / n : kNaN; };
  const auto variance = [&](PpoSum linear, PpoSum squared) {
    if (n < 2) return kNaN;
    const double average = mean(linear);
    return std::max(0.0, mean(squared) - average * average) * n / (n - 1);
  };
  PpoMiniBatchStatistics out;
  out.tokens = static_cast<int64_t>(n);
  out.policy_loss = mean(PpoSum::kPolicyLoss);
  out.value_loss = 0.5 * mean(PpoSum::kValueLoss);
  out.loss = out.policy_loss + options.vf_coef * out.value_loss;
  out.approxkl = mean(PpoSum::kApproxKl);
  out.policykl = mean(PpoSum::kPolicyKl);
  out.clipfrac = mean(PpoSum::kPolicyClipped);
  out.advantages_mean = mean(PpoSum::kAdvantages);
  out.ratio_mean = mean(PpoSum::kRatio);
  out.skip = out.ratio_mean > options.ratio_threshold;
  const double entropy_tokens = row[Row(PpoSum::kEntropyTokens)];
  if (entropy_tokens > 0) out.entropy = row[Row(PpoSum::kEntropy)] / entropy_tokens;
  out.returns_mean = mean(PpoSum::kReturns);
  out.returns_var = variance(PpoSum::kReturns, PpoSum::kReturnsSquared);
  out.vpred = mean(PpoSum::kValues);
  out.value_error = mean(PpoSum::kValueError);
  out.value_clipfrac = mean(PpoSum::kValueClipped);
  out.value_mean = mean(PpoSum::kOldValues);
  out.value_var = variance(PpoSum::kOldValues, PpoSum::kOldValuesSquared);
  out.var_explained = 1 - out.value_error / out.returns_var;
  return out;
}

std::vector<std::pair<std::string, double>> NamedStatistics(
    const PpoMiniBatchStatistics& statistics) {
  std::vector<std::pair<std::string, double>> named = {
      {"policy/approxkl", statistics.approxkl},
      {"policy/policykl", statistics.policykl},
      {"policy/clipfrac", statistics.clipfrac},
      {"policy/advantages_mean", statistics.advantages_mean},
      {"policy/ratio_mean", statistics.ratio_mean},
      {"returns/mean", statistics.returns_mean},
      {"returns/var", statistics.returns_var},
      {"val/vpred", statistics.vpred},
      {"val/error", statistics.value_error},
      {"val/clipfrac", statistics.value_clipfrac},
      {"val/mean", statistics.value_mean},
      {"val/var", statistics.value_var},
      {"val/var_explained", statistics.var_explained},
  };
  if (statistics.entropy.has_value()) named.emplace_back("policy/entropy", *statistics.entropy);
  return named;
}

bool ShouldStopEarly(const PpoMiniBatchStatistics& last, double target_kl) {
  return last.policykl > 1.5 * target_kl;
}

}  // namespace retort::objective
