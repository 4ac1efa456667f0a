#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/objective/gae.h"
#include "common/objective/kl_penalty.h"
#include "common/objective/masked_statistics.h"
#include "common/objective/ppo_loss.h"
#include "common/objective/running_moments.h"
#include "common/objective/score_scaling.h"
#include "common/objective/token_log_probs.h"
#include "conformance/op_registry.h"

namespace retort::conformance {
namespace {

using tensor::TensorMap;

at::Tensor Scalar(double value, const at::Tensor& like) {
  return at::full({}, value, like.options().requires_grad(false));
}

// loss = sum of weight * values, and its gradients. Without a weight there is no output `loss`, and
// the gradients are those of the plain sum.
void AddWeightedLoss(const TensorCall& call, const at::Tensor& values, const at::Tensor& weight,
                     TensorMap* outputs) {
  if (!weight.defined()) return call.AddGradients(values, outputs);
  const at::Tensor loss = (weight * values).sum();
  (*outputs)["loss"] = loss;
  call.AddGradients(loss, outputs);
}

absl::StatusOr<TensorMap> LogProbsFromLogits(TensorCall& call) {
  const bool gather = call.Bool("gather", true);
  const at::Tensor logits = call.Leaf("logits");
  const at::Tensor labels = gather ? call.Ids("labels") : at::Tensor();
  const at::Tensor weight = call.OptionalFloat("weight");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  TensorMap outputs;
  outputs["log_probs"] =
      gather ? objective::SelectedLogProbs(logits, labels) : objective::FullLogProbs(logits);
  AddWeightedLoss(call, outputs["log_probs"], weight, &outputs);
  return outputs;
}

absl::StatusOr<TensorMap> Entropy(TensorCall& call) {
  const at::Tensor logits = call.Leaf("logits");
  const at::Tensor weight = call.OptionalFloat("weight");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  TensorMap outputs;
  outputs["entropy"] = objective::Entropy(logits);
  AddWeightedLoss(call, outputs["entropy"], weight, &outputs);
  return outputs;
}

absl::StatusOr<TensorMap> MaskedMean(TensorCall& call) {
  const std::optional<int64_t> axis = call.OptionalInteger("axis");
  const at::Tensor values = call.Float("values");
  const at::Tensor mask = call.Mask("mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  return TensorMap{{"mean", objective::MaskedMean(values, mask, axis)}};
}

absl::StatusOr<TensorMap> MaskedVariance(TensorCall& call) {
  const bool unbiased = call.Bool("unbiased", true);
  const at::Tensor values = call.Float("values");
  const at::Tensor mask = call.Mask("mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const at::Tensor variance,
                          objective::MaskedVariance(values, mask, unbiased));
  return TensorMap{{"var", variance}};
}

absl::StatusOr<TensorMap> Whiten(TensorCall& call) {
  const bool shift_mean = call.Bool("shift_mean", true);
  const at::Tensor values = call.Float("values");
  const at::Tensor mask = call.Mask("mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const at::Tensor whitened, objective::Whiten(values, mask, shift_mean));
  return TensorMap{{"whitened", whitened}};
}

absl::StatusOr<TensorMap> Rewards(TensorCall& call) {
  const std::string kind_name = call.Text("kl_penalty", "kl");
  const double kl_coef = call.Number("kl_coef", 0.2);
  const at::Tensor scores = call.Float("scores");
  const at::Tensor log_probs = call.Float("log_probs");
  const at::Tensor ref_log_probs = call.Float("ref_log_probs");
  const at::Tensor mask = call.Mask("mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const objective::KlPenalty kind, objective::ParseKlPenalty(kind_name));
  const at::Tensor kl = objective::KlPerToken(kind, log_probs, ref_log_probs);
  RETORT_ASSIGN_OR_RETURN(const objective::PpoRewards rewards,
                          objective::ComputeRewards(scores, kl, mask, kl_coef));
  return TensorMap{
      {"rewards", rewards.rewards}, {"non_score_rewards", rewards.non_score_rewards}, {"kl", kl}};
}

absl::StatusOr<TensorMap> Gae(TensorCall& call) {
  objective::GaeOptions options;
  options.gamma = call.Number("gamma", 1);
  options.lam = call.Number("lam", 0.95);
  options.whiten_rewards = call.Bool("whiten_rewards", false);
  const at::Tensor values = call.Float("values");
  const at::Tensor rewards = call.Float("rewards");
  const at::Tensor mask = call.Mask("mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const objective::GaeResult result,
                          objective::ComputeGae(values, rewards, mask, options));
  return TensorMap{
      {"values", result.values}, {"advantages", result.advantages}, {"returns", result.returns}};
}

absl::StatusOr<TensorMap> Loss(TensorCall& call) {
  objective::PpoLossOptions options;
  options.cliprange = call.Number("cliprange", 0.2);
  options.cliprange_value = call.Number("cliprange_value", 0.2);
  options.vf_coef = call.Number("vf_coef", 0.1);
  options.ratio_threshold = call.Number("ratio_threshold", 10);
  objective::PpoLossInputs inputs;
  inputs.log_probs = call.Leaf("log_probs");
  inputs.values = call.Leaf("values");
  inputs.old_log_probs = call.Float("old_log_probs");
  inputs.old_values = call.Float("old_values");
  inputs.advantages = call.Float("advantages");
  inputs.returns = call.Float("returns");
  inputs.mask = call.Mask("mask");
  const at::Tensor logits = call.OptionalFloat("logits");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  if (logits.defined()) inputs.entropy = objective::Entropy(logits);

  const objective::PpoLossPart part =
      objective::PpoLoss(inputs, options, inputs.mask.sum().item<int64_t>());
  const objective::PpoMiniBatchStatistics statistics =
      objective::FinishPpoStatistics(part.sums, options);
  TensorMap outputs;
  outputs["loss"] = Scalar(statistics.loss, inputs.log_probs);
  outputs["policy_loss"] = Scalar(statistics.policy_loss, inputs.log_probs);
  outputs["value_loss"] = Scalar(statistics.value_loss, inputs.log_probs);
  outputs["skip"] = at::full({}, statistics.skip, at::TensorOptions(at::kLong));
  for (const auto& [name, value] : objective::NamedStatistics(statistics)) {
    outputs[name] = Scalar(value, inputs.log_probs);
  }
  // A skipped update has no gradient: the trainer drops what it accumulated.
  const at::Tensor total = objective::TotalLoss(part.terms);
  call.AddGradients(statistics.skip ? total.detach() : total, &outputs);
  return outputs;
}

absl::StatusOr<TensorMap> GlobalStats(TensorCall& call) {
  const int64_t world = call.Integer("world");
  const std::vector<at::Tensor> parts = call.FloatSeries("x");
  const std::vector<at::Tensor> masks = call.MaskSeries("mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  if (static_cast<int64_t>(parts.size()) != world ||
      (!masks.empty() && masks.size() != parts.size())) {
    return absl::InvalidArgumentError(absl::StrCat("world is ", world, " but there are ",
                                                   parts.size(), " x and ", masks.size(), " mask"));
  }
  const objective::GlobalStatistics found = objective::StatisticsOverParts(parts, masks);
  return TensorMap{{"mean", Scalar(found.mean, parts[0])},
                   {"var", Scalar(found.variance, parts[0])},
                   {"count", at::full({}, found.count, at::TensorOptions(at::kLong))}};
}

absl::StatusOr<TensorMap> RunningMoments(TensorCall& call) {
  const std::vector<at::Tensor> batches = call.FloatSeries("batch");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  if (batches.empty()) return absl::InvalidArgumentError("input batch.0 is missing");
  const int64_t n = static_cast<int64_t>(batches.size());
  TensorMap outputs;
  for (const char* name : {"batch_mean", "batch_std", "mean", "var", "std", "count"}) {
    outputs[name] = at::zeros({n}, batches[0].options());
  }
  objective::RunningMoments moments;
  for (int64_t i = 0; i < n; ++i) {
    const objective::BatchMoments batch = objective::UpdateMoments(batches[i], &moments);
    outputs["batch_mean"][i] = batch.mean;
    outputs["batch_std"][i] = batch.std;
    outputs["mean"][i] = moments.mean;
    outputs["var"][i] = moments.var;
    outputs["std"][i] = moments.std;
    outputs["count"][i] = moments.count;
  }
  return outputs;
}

absl::StatusOr<TensorMap> ScoreScaling(TensorCall& call) {
  objective::ScoreScalingOptions options;
  options.use_score_scaling = call.Bool("use_score_scaling", false);
  options.use_score_norm = call.Bool("use_score_norm", false);
  options.score_clip = call.OptionalNumber("score_clip");
  const std::vector<at::Tensor> batches = call.FloatSeries("batch");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  TensorMap outputs;
  objective::RunningMoments moments;
  for (size_t i = 0; i < batches.size(); ++i) {
    outputs[absl::StrCat("scores.", i)] = objective::ScaleScores(batches[i], options, &moments);
  }
  return outputs;
}

}  // namespace

void RegisterPpoOps(OpRegistry* registry) {
  (*registry)["ppo.logprobs_from_logits"] = {LogProbsFromLogits, {}, {}};
  (*registry)["ppo.entropy"] = {Entropy, {}, {}};
  (*registry)["ppo.masked_mean"] = {MaskedMean, {}, {}};
  (*registry)["ppo.masked_var"] = {MaskedVariance, {}, {}};
  (*registry)["ppo.whiten"] = {Whiten, {}, {}};
  (*registry)["ppo.rewards"] = {Rewards, {}, {}};
  (*registry)["ppo.gae"] = {Gae, {}, {}};
  (*registry)["ppo.loss"] = {Loss, {}, {}};
  (*registry)["ppo.global_stats"] = {GlobalStats, {}, {}};
  (*registry)["ppo.running_moments"] = {RunningMoments, {}, {}};
  (*registry)["ppo.score_scaling"] = {ScoreScaling, {}, {}};
}

}  // namespace retort::conformance
