#include "worker/weight_sync/policy_source.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/data/stop_ids.h"
#include "common/layout/parameter_layout.h"
#include "common/tensor/model_weights.h"

namespace retort::worker {

namespace {

at::ScalarType ReferenceType(const v1::JobSpec& spec) {
  return spec.reference().dtype() == v1::DATA_TYPE_BFLOAT16 ? at::kBFloat16 : at::kFloat;
}

}  // namespace

std::string PolicyFolder(const v1::JobSpec& spec) {
  return spec.policy().has_path() ? spec.policy().path() : spec.policy().init().config();
}

absl::StatusOr<PolicyText> LoadPolicyText(const v1::JobSpec& spec) {
  PolicyText policy;
  const std::string folder = PolicyFolder(spec);
  RETORT_ASSIGN_OR_RETURN(policy.config, layout::LoadCausalConfig(folder));
  RETORT_ASSIGN_OR_RETURN(policy.tokenizer, text::Tokenizer::Load(folder));
  RETORT_ASSIGN_OR_RETURN(
      policy.rows, data::RowEncoder::Make(folder, policy.tokenizer, policy.config, spec.data()));
  policy.mask.limit = std::min(policy.config.vocab_size, policy.tokenizer->vocab_size());
  policy.mask.excluded = policy.tokenizer->IdsWithoutToken(policy.mask.limit);
  policy.stop_ids = data::StopIdsOf(policy.config, *policy.tokenizer);
  return policy;
}

absl::Status LoadFirstWeights(const v1::JobSpec& spec, tensor::ParameterArena* arena) {
  if (spec.policy().has_path()) return tensor::LoadModelWeights(spec.policy().path(), arena);
  tensor::InitializeRandom(spec.seed(), spec.policy().init().std(), arena);
  return absl::OkStatus();
}

absl::StatusOr<ReferenceWeights> LoadReferenceWeights(const v1::JobSpec& spec) {
  const std::string folder =
      spec.reference().has_path() ? spec.reference().path() : PolicyFolder(spec);
  RETORT_ASSIGN_OR_RETURN(layout::ModelConfig config, layout::LoadCausalConfig(folder));
  layout::ParameterLayout layout = layout::LayoutFor(config, /*value_head=*/false);
  if (spec.reference().has_path() || spec.policy().has_path()) {
    RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena arena,
                            tensor::ReadModelArena(folder, std::move(layout), ReferenceType(spec)));
    return ReferenceWeights{std::move(config), std::move(arena)};
  }
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena arena,
                          tensor::ParameterArena::Allocate(std::move(layout)));
  RETORT_RETURN_IF_ERROR(LoadFirstWeights(spec, &arena));
  return ReferenceWeights{std::move(config), std::move(arena)};
}

}  // namespace retort::worker
