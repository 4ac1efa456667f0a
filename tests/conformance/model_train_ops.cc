// model.train_step: README-text-model.md §3.
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/objective/optimizer.h"
#include "common/objective/sft_loss.h"
#include "common/tensor/model_weights.h"
#include "conformance/model_case.h"
#include "conformance/op_registry.h"

namespace retort::conformance {
namespace {

struct Targets {
  std::vector<int64_t> from, to;  // Packed rows: the one that predicts, the token.
};

// The tokens that the loss mask names. The first token of a row has nothing that predicts it.
absl::StatusOr<Targets> TargetsOf(const Attended& attended, const at::Tensor& loss_mask) {
  const at::Tensor flat = loss_mask.contiguous().view({-1});
  const bool* counted = flat.const_data_ptr<bool>();
  Targets targets;
  int64_t row = 0;
  for (const std::vector<int64_t>& sequence : attended.sequences) {
    for (size_t i = 0; i < sequence.size(); ++i, ++row) {
      if (!counted[attended.cells[row]]) continue;
      if (i == 0) return absl::InvalidArgumentError("loss_mask names the first token of a row");
      targets.from.push_back(row - 1);
      targets.to.push_back(row);
    }
  }
  if (targets.to.empty()) return absl::InvalidArgumentError("loss_mask names no attended token");
  return targets;
}

at::Tensor LossOf(const model::Model& model, const model::PackedBatch& batch,
                  const Targets& targets) {
  const at::Tensor rows = at::tensor(targets.from, at::kLong).to(model.device());
  const at::Tensor hidden = model.Hidden(batch).index_select(0, rows);
  const at::Tensor ids = batch.ids.index_select(0, at::tensor(targets.to, at::kLong));
  const at::Tensor log_probs =
      model.LogProbs(hidden, ids, 1.0, {model.config().vocab_size}).log_probs;
  const objective::SftLossPart part = objective::SftTokenLoss(
      log_probs, at::Tensor(), at::Tensor(), at::Tensor(), static_cast<int64_t>(ids.numel()));
  return objective::TotalLoss({part.term});
}

absl::StatusOr<tensor::TensorMap> TrainStep(TensorCall& call) {
  const std::string folder = call.DataPath("model");
  const double lr = call.Number("lr");
  objective::AdamWOptions options;
  options.beta1 = call.Number("beta1");
  options.beta2 = call.Number("beta2");
  options.eps = call.Number("eps");
  options.weight_decay = call.Number("weight_decay");
  const std::optional<double> max_norm = call.OptionalNumber("max_grad_norm");
  const at::Tensor ids = call.Ids("input_ids");
  const at::Tensor mask = call.Mask("attention_mask");
  const at::Tensor loss_mask = call.Mask("loss_mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(LoadedModel loaded, LoadModel(call, folder, /*value_head=*/false));
  const Attended attended = AttendedOf(ids, mask);
  RETORT_ASSIGN_OR_RETURN(const Targets targets, TargetsOf(attended, loss_mask));
  RETORT_ASSIGN_OR_RETURN(
      const tensor::ParameterArena gradients,
      tensor::ParameterArena::Allocate(loaded.arena.layout(), at::kFloat, call.device()));
  loaded.model.AttachGradients(gradients);
  const at::Tensor loss = LossOf(loaded.model, model::Pack(attended.sequences), targets);
  loss.backward();
  const at::NoGradGuard no_grad;
  const double norm = max_norm.has_value() ? objective::ClipGradNorm({gradients.flat()}, *max_norm)
                                           : std::sqrt(objective::SumOfSquares(gradients.flat()));
  // Biases and norms decay too here, so the whole arena is one group.
  objective::AdamWUpdate(loaded.arena.flat(), gradients.flat(), at::zeros_like(gradients.flat()),
                         at::zeros_like(gradients.flat()), /*step=*/1, lr, options);
  tensor::TensorMap outputs = {
      {"loss", loss.detach().cpu().to(at::kFloat)},
      {"grad_norm", at::scalar_tensor(norm, at::kFloat)},
  };
  for (const layout::ParameterEntry& entry : loaded.arena.layout().entries) {
    for (const layout::FileTensor& part : entry.parts) {
      outputs[absl::StrCat("param.", part.name)] = tensor::FileTensorOf(loaded.arena, part).cpu();
    }
  }
  return outputs;
}

}  // namespace

void RegisterModelTrainOps(OpRegistry* registry) {
  (*registry)["model.train_step"] = {TrainStep, {}, {}};
}

}  // namespace retort::conformance
