#include <vector>

#include "common/base/status_macros.h"
#include "common/objective/gae.h"
#include "common/objective/kl_penalty.h"
#include "common/objective/masked_statistics.h"
#include "common/objective/ppo_statistics.h"
#include "common/objective/token_log_probs.h"
#include "common/tensor/cat.h"
#include "conformance/op_registry.h"

namespace retort::conformance {
namespace {

using tensor::TensorMap;

struct StepOptions {
  objective::KlPenalty kind = objective::KlPenalty::kKl;
  double kl_coef = 0.2;
  double learning_rate = 1e-5;
  objective::GaeOptions gae;
  objective::PpoLossOptions loss;
};

struct StepTensors {
  objective::PpoStepInputs step;
  at::Tensor values, minibatch_rows, new_log_probs, new_values, new_logits;
  at::Tensor full_log_probs, full_ref_log_probs;  // kl_penalty = full only.
};

absl::StatusOr<StepOptions> ReadOptions(TensorCall& call) {
  StepOptions options;
  RETORT_ASSIGN_OR_RETURN(options.kind, objective::ParseKlPenalty(call.Text("kl_penalty", "kl")));
  options.kl_coef = call.Number("kl_coef", 0.2);
  options.learning_rate = call.Number("learning_rate", 1e-5);
  options.gae.gamma = call.Number("gamma", 1);
  options.gae.lam = call.Number("lam", 0.95);
  options.gae.whiten_rewards = call.Bool("whiten_rewards", false);
  options.loss.cliprange = call.Number("cliprange", 0.2);
  options.loss.cliprange_value = call.Number("cliprange_value", 0.2);
  options.loss.vf_coef = call.Number("vf_coef", 0.1);
  options.loss.ratio_threshold = call.Number("ratio_threshold", 10);
  return options;
}

StepTensors ReadTensors(TensorCall& call, const StepOptions& options) {
  StepTensors in;
  in.step.scores = call.Float("scores");
  in.step.log_probs = call.Float("log_probs");
  in.step.ref_log_probs = call.Float("ref_log_probs");
  in.step.mask = call.Mask("mask");
  in.step.query_lengths = call.Ids("query_lengths");
  in.step.response_lengths = call.Ids("response_lengths");
  in.step.kl_coef = options.kl_coef;
  in.step.learning_rate = options.learning_rate;
  in.values = call.Float("values");
  in.minibatch_rows = call.Ids("minibatch_rows");
  in.new_log_probs = call.Float("new_log_probs");
  in.new_values = call.Float("new_values");
  in.new_logits = call.Float("new_logits");
  if (options.kind == objective::KlPenalty::kFull) {
    in.full_log_probs = call.Float("full_log_probs");
    in.full_ref_log_probs = call.Float("full_ref_log_probs");
  }
  return in;
}

absl::StatusOr<TensorMap> StepStats(TensorCall& call) {
  RETORT_ASSIGN_OR_RETURN(const StepOptions options, ReadOptions(call));
  StepTensors in = ReadTensors(call, options);
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  const bool full = options.kind == objective::KlPenalty::kFull;
  const at::Tensor kl =
      objective::KlPerToken(options.kind, full ? in.full_log_probs : in.step.log_probs,
                            full ? in.full_ref_log_probs : in.step.ref_log_probs);
  RETORT_ASSIGN_OR_RETURN(
      const objective::PpoRewards rewards,
      objective::ComputeRewards(in.step.scores, kl, in.step.mask, options.kl_coef));
  in.step.non_score_rewards = rewards.non_score_rewards;
  RETORT_ASSIGN_OR_RETURN(
      const objective::GaeResult gae,
      objective::ComputeGae(in.values, rewards.rewards, in.step.mask, options.gae));

  std::vector<objective::PpoMiniBatchStatistics> mini_batches;
  std::vector<at::Tensor> ratios, advantages;
  for (int64_t k = 0; k < in.minibatch_rows.size(0); ++k) {
    const at::Tensor rows = in.minibatch_rows[k];
    objective::PpoLossInputs inputs;
    inputs.log_probs = in.new_log_probs[k];
    inputs.values = in.new_values[k];
    inputs.old_log_probs = in.step.log_probs.index_select(0, rows);
    inputs.old_values = gae.values.index_select(0, rows);
    inputs.advantages = gae.advantages.index_select(0, rows);
    inputs.returns = gae.returns.index_select(0, rows);
    inputs.mask = in.step.mask.index_select(0, rows);
    inputs.entropy = objective::Entropy(in.new_logits[k]);
    const objective::PpoLossPart part =
        objective::PpoLoss(inputs, options.loss, inputs.mask.sum().item<int64_t>());
    mini_batches.push_back(objective::FinishPpoStatistics(part.sums, options.loss));
    ratios.push_back(part.ratio.flatten());
    advantages.push_back(inputs.advantages.flatten());
  }
  objective::PpoStepStatistics found = objective::SummarizePpoStep(in.step, mini_batches);
  TensorMap outputs(found.arrays.begin(), found.arrays.end());
  for (const auto& [name, value] : found.scalars) {
    outputs[name] = at::full({}, value, in.values.options());
  }
  outputs["ppo/policy/ratio"] = tensor::Cat(ratios);
  outputs["ppo/policy/advantages"] = tensor::Cat(advantages);
  return outputs;
}

}  // namespace

void RegisterPpoStepOps(OpRegistry* registry) {
  (*registry)["ppo.step_stats"] = {StepStats, {}, {}};
}

}  // namespace retort::conformance
