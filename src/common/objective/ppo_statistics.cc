#include "common/objective/ppo_statistics.h"

#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/objective/masked_statistics.h"

namespace retort::objective {
namespace {

struct MeanAndStd {
  double mean;
  double std;  // Unbiased; NaN for fewer than two.
};

MeanAndStd MomentsOf(const at::Tensor& values) {
  const GlobalStatistics found = StatisticsOverParts({values}, {});
  const double n = static_cast<double>(found.count);
  const double std = found.count < 2 ? std::numeric_limits<double>::quiet_NaN()
                                     : std::sqrt(found.variance * n / (n - 1));
  return {found.mean, std};
}

double MeanOf(const at::Tensor& values, const at::Tensor& mask) {
  const SumAndCount found = MaskedSum(values, mask);
  return found.sum / static_cast<double>(found.count);
}

void AddLengths(const std::string& name, const at::Tensor& lengths, PpoStepStatistics* out) {
  const at::Tensor wide = lengths.to(at::kDouble);
  const MeanAndStd moments = MomentsOf(wide);
  out->scalars[absl::StrCat("tokens/", name, "_len_mean")] = moments.mean;
  out->scalars[absl::StrCat("tokens/", name, "_len_std")] = moments.std;
  out->arrays[absl::StrCat("tokens/", name, "_dist")] = wide.to(at::kFloat);
}

void AddObjective(const PpoStepInputs& in, PpoStepStatistics* out) {
  const at::Tensor kl =
      ZeroOffMask(in.log_probs.to(at::kDouble) - in.ref_log_probs, in.mask).sum(1);
  const at::Tensor entropy = ZeroOffMask(-in.log_probs.to(at::kDouble), in.mask).sum(1);
  out->arrays["objective/kl_dist"] = kl.to(in.log_probs.scalar_type());
  out->arrays["objective/logprobs"] = in.log_probs;
  out->arrays["objective/ref_logprobs"] = in.ref_log_probs;
  out->scalars["objective/kl"] = MeanOf(kl, {});
  out->scalars["objective/entropy"] = MeanOf(entropy, {});
  out->scalars["objective/kl_coef"] = in.kl_coef;
  out->scalars["ppo/mean_non_score_reward"] = MeanOf(in.non_score_rewards, in.mask);
  const MeanAndStd scores = MomentsOf(in.scores);
  out->scalars["ppo/mean_scores"] = scores.mean;
  out->scalars["ppo/std_scores"] = scores.std;
  out->scalars["ppo/learning_rate"] = in.learning_rate;
}

void AddMiniBatches(absl::Span<const PpoMiniBatchStatistics> mini_batches, PpoStepStatistics* out) {
  if (mini_batches.empty()) return;
  std::map<std::string, double> means;
  const double share = 1.0 / static_cast<double>(mini_batches.size());
  for (const PpoMiniBatchStatistics& batch : mini_batches) {
    means["ppo/loss/policy"] += batch.policy_loss * share;
    means["ppo/loss/value"] += batch.value_loss * share;
    means["ppo/loss/total"] += batch.loss * share;
    for (const auto& [name, value] : NamedStatistics(batch)) {
      means[absl::StrCat("ppo/", name)] += value * share;
    }
  }
  means.erase("ppo/policy/ratio_mean");  // TRL reports the ratio as a distribution.
  means["ppo/val/var_explained"] = 1 - means["ppo/val/error"] / means["ppo/returns/var"];
  out->scalars.merge(means);
}

}  // namespace

PpoStepStatistics SummarizePpoStep(const PpoStepInputs& inputs,
                                   absl::Span<const PpoMiniBatchStatistics> mini_batches) {
  PpoStepStatistics out;
  AddObjective(inputs, &out);
  AddLengths("queries", inputs.query_lengths, &out);
  AddLengths("responses", inputs.response_lengths, &out);
  AddMiniBatches(mini_batches, &out);
  return out;
}

}  // namespace retort::objective
