#include "worker/weight_sync/policy_source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/layout/parameter_layout.h"
#include "common/tensor/model_weights.h"

namespace retort::worker {

std::string PolicyFolder(const v1::JobSpec& spec) {
  return spec.policy().has_path() ? spec.policy().path() : spec.policy().init().config();
}

absl::StatusOr<PolicyText> LoadPolicyText(const v1::JobSpec& spec) {
  PolicyText policy;
  const std::string folder = PolicyFolder(spec);
  RETORT_ASSIGN_OR_RETURN(policy.config, layout::LoadModelConfig(folder));
  RETORT_ASSIGN_OR_RETURN(policy.tokenizer, text::Tokenizer::Load(folder));
  policy.vocab_limit = std::min(policy.config.vocab_size, policy.tokenizer->vocab_size());
  policy.stop_ids = policy.config.eos_token_ids;
  if (policy.stop_ids.empty() && policy.tokenizer->eos_id().has_value()) {
    policy.stop_ids.push_back(*policy.tokenizer->eos_id());
  }
  return policy;
}

absl::StatusOr<int64_t> EosOf(const PolicyText& policy) {
  const std::vector<int64_t>& stops = policy.stop_ids;
  const std::optional<int64_t> eos = policy.tokenizer->eos_id();
  if (!eos.has_value() && stops.empty()) {
    return absl::InvalidArgumentError(
        "neither tokenizer nor model names an EOS token; responses could not end");
  }
  if (!eos.has_value()) return stops.front();
  if (std::find(stops.begin(), stops.end(), *eos) != stops.end()) return *eos;
  return absl::InvalidArgumentError(absl::StrCat(
      "the tokenizer's EOS is token ", *eos, ", but rollouts stop at ", absl::StrJoin(stops, ", "),
      " (eos_token_id of the policy's config.json); make eos_token of tokenizer_config.json and "
      "eos_token_id agree"));
}

absl::Status LoadFirstWeights(const v1::JobSpec& spec, tensor::ParameterArena* arena) {
  if (spec.policy().has_path()) return tensor::LoadModelWeights(spec.policy().path(), arena);
  tensor::InitializeRandom(spec.seed(), spec.policy().init().std(), arena);
  return absl::OkStatus();
}

absl::StatusOr<ReferenceWeights> LoadReferenceWeights(const v1::JobSpec& spec) {
  const std::string folder =
      spec.reference().has_path() ? spec.reference().path() : PolicyFolder(spec);
  RETORT_ASSIGN_OR_RETURN(layout::ModelConfig config, layout::LoadModelConfig(folder));
  layout::ParameterLayout layout = layout::LayoutFor(config, /*value_head=*/false);
  if (spec.reference().has_path() || spec.policy().has_path()) {
    RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena arena,
                            tensor::ReadModelArena(folder, std::move(layout)));
    return ReferenceWeights{std::move(config), std::move(arena)};
  }
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena arena,
                          tensor::ParameterArena::Allocate(std::move(layout)));
  RETORT_RETURN_IF_ERROR(LoadFirstWeights(spec, &arena));
  return ReferenceWeights{std::move(config), std::move(arena)};
}

absl::StatusOr<std::vector<int64_t>> EncodePrompt(const PolicyText& policy, bool add_bos,
                                                  absl::string_view prompt) {
  RETORT_ASSIGN_OR_RETURN(std::vector<int64_t> ids,
                          policy.tokenizer->Encode(prompt, /*add_special_tokens=*/false));
  if (add_bos) {
    const std::optional<int64_t> bos = policy.tokenizer->bos_id().has_value()
                                           ? policy.tokenizer->bos_id()
                                           : policy.config.bos_token_id;
    if (!bos.has_value()) {
      return absl::InvalidArgumentError(
          "data.add_bos is true, but neither tokenizer nor model names a BOS token");
    }
    ids.insert(ids.begin(), *bos);
  }
  if (ids.empty()) {
    return absl::InvalidArgumentError(
        "the prompt has no tokens; set data.add_bos or remove the row");
  }
  return ids;
}

}  // namespace retort::worker
