// PPO's clipped policy and value loss, as sums that micro-batches and ranks add.
//
// One mini-batch (one optimizer update) runs like this on every rank:
//   tokens = global number of response tokens of the mini-batch            (from lengths, before
//   any forward) sums   = NewPpoSums() for each micro-batch of this rank:
//     part = PpoLoss(inputs, options, tokens)
//     TotalLoss(part.terms).backward();  sums += part.sums
//   all-reduce the gradient and `sums`
//   stats = FinishPpoStatistics(sums, options)
//   if stats.skip: drop the gradient, do not call the optimizer. Else apply.
// A rank without samples adds zeros. `skip` and every statistic come from global sums, so ranks
// agree.
//
// Source: intel-extension-for-transformers PPOTrainer.loss, with the skip made
// real: upstream multiplies the loss by 0 and still steps the optimizer (moments decay, inf * 0 =
// NaN).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/objective/loss_term.h"
#include "common/tensor/aten.h"

namespace retort::objective {

struct PpoLossOptions {
  double cliprange = 0.2;        // Of the ratio around 1.
  double cliprange_value = 0.2;  // Of the value around the old value.
  double vf_coef = 0.1;          // Weight of the value loss.
  double ratio_threshold = 10;   // Mean ratio above which the update is skipped.
};

// All of one shape, [b,T] or packed [M]. log_probs and values carry the graph; the rest are
// constants. Off the mask any value may stand.
struct PpoLossInputs {
  at::Tensor log_probs;      // Under the policy being trained, at the job's temperature.
  at::Tensor values;         // Of the value head being trained.
  at::Tensor old_log_probs;  // Under version k, from the start of the step.
  at::Tensor old_values;     // Likewise.
  at::Tensor advantages;     // Of ComputeGae.
  at::Tensor returns;        // Of ComputeGae.
  at::Tensor mask;           // bool; undefined: everything counts.
  at::Tensor entropy;        // Optional (undefined: no policy/entropy): a statistic, no bonus.
  at::Tensor weights;  // Optional: TruncatedImportanceWeights; multiply the policy loss per token.
};

// Rows of the float64 sum vector. Append only: ranks of one build add them.
enum class PpoSum : int64_t {
  kTokens,
  kPolicyLoss,
  kValueLoss,
  kRatio,
  kApproxKl,
  kPolicyKl,
  kPolicyClipped,
  kAdvantages,
  kEntropy,
  kEntropyTokens,
  kReturns,
  kReturnsSquared,
  kValues,
  kValueError,
  kValueClipped,
  kOldValues,
  kOldValuesSquared,
  kCount
};

at::Tensor NewPpoSums();  // float64 [PpoSum::kCount], zeros.

struct PpoLossPart {
  std::vector<LossTerm> terms;  // Policy (weight 1), value (weight vf_coef / 2).
  at::Tensor sums;              // float64 [PpoSum::kCount], no graph, where the inputs are.
  at::Tensor ratio;  // exp(log_probs - old_log_probs), shape of the inputs, unmasked, no graph.
};

// `global_tokens`: true mask entries of the whole mini-batch over all ranks; >= 1.
PpoLossPart PpoLoss(const PpoLossInputs& inputs, const PpoLossOptions& options,
                    int64_t global_tokens);

// What one update reports. Means are over the mini-batch's tokens. NaN where undefined (no token; a
// variance of one token).
struct PpoMiniBatchStatistics {
  int64_t tokens = 0;
  bool skip = false;  // ratio_mean > ratio_threshold (an infinite ratio skips; a NaN one does not:
                      // it is a bad step).
  double loss = 0;    // policy_loss + vf_coef * value_loss.
  double policy_loss = 0;
  double value_loss = 0;  // Before vf_coef.
  double approxkl = 0;
  double policykl = 0;
  double clipfrac = 0;
  double advantages_mean = 0;
  double ratio_mean = 0;
  std::optional<double> entropy;  // Only if it was given.
  double returns_mean = 0;
  double returns_var = 0;  // Unbiased.
  double vpred = 0;
  double value_error = 0;
  double value_clipfrac = 0;
  double value_mean = 0;
  double value_var = 0;  // Unbiased.
  double var_explained = 0;
};
PpoMiniBatchStatistics FinishPpoStatistics(const at::Tensor& sums, const PpoLossOptions& options);

// The statistics under their names: policy/approxkl, policy/policykl, policy/clipfrac,
// policy/advantages_mean, policy/ratio_mean, policy/entropy, returns/{mean,var},
// val/{vpred,error,clipfrac,mean,var,var_explained}.
std::vector<std::pair<std::string, double>> NamedStatistics(
    const PpoMiniBatchStatistics& statistics);

// At the end of a PPO epoch: true if the last mini-batch's policykl is above 1.5 * target_kl.
bool ShouldStopEarly(const PpoMiniBatchStatistics& last, double target_kl);

}  // namespace retort::objective
