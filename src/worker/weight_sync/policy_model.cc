#include "worker/weight_sync/policy_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/job/policy_adapter.h"
#include "common/model/adapter.h"
#include "common/tensor/model_weights.h"
#include "common/tensor/torch_process.h"

namespace retort::worker {

absl::StatusOr<PolicyModel> PolicyModel::Adapted(layout::ModelConfig config,
                                                 const layout::AdapterConfig& adapter,
                                                 const tensor::ParameterArena& base,
                                                 const PolicyPlace& place) {
  RETORT_ASSIGN_OR_RETURN(layout::AdapterLayout layout,
                          layout::AdapterLayoutFor(config, adapter, /*value_head=*/false));
  PolicyModel policy(std::move(config), place);
  const at::Tensor weights = base.Published();  // A reference's may be bf16.
  const Digest digest = DigestOf(weights.const_data_ptr(), weights.nbytes());
  // On the CPU a base of bf16 is computed with as it is.
  const at::ScalarType type = place.device.is_cpu() ? base.type() : place.type;
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena here, base.On(place.device, type));
  policy.frozen_ = Frozen{adapter, std::move(layout), std::move(here), digest};
  return policy;
}

layout::ParameterLayout PolicyModel::TrainedLayout(bool value_head) const {
  if (!adapted()) return layout::LayoutFor(config_, value_head);
  if (!value_head) return frozen_->layout.parameters;
  absl::StatusOr<layout::AdapterLayout> layout =
      layout::AdapterLayoutFor(config_, frozen_->config, value_head);
  RETORT_CHECK(layout.ok()) << layout.status();  // Adapted asked for it.
  return std::move(layout->parameters);
}

model::Model PolicyModel::Bind(const tensor::ParameterArena& trained) const {
  if (!adapted()) return model::Model(config_, trained);
  layout::AdapterLayout layout = frozen_->layout;
  layout.parameters = trained.layout();  // The same entries, and perhaps a value head's.
  return model::Model(config_, frozen_->base, layout, trained);
}

const layout::AdapterConfig& PolicyModel::adapter() const {
  RETORT_CHECK(adapted()) << "every weight is trained";
  return frozen_->config;
}

const tensor::ParameterArena& PolicyModel::base() const {
  RETORT_CHECK(adapted()) << "every weight is trained";
  return frozen_->base;
}

const Digest& PolicyModel::base_digest() const {
  RETORT_CHECK(adapted()) << "every weight is trained";
  return frozen_->digest;
}

absl::StatusOr<tensor::ParameterArena> PolicyModel::Merge(
    const tensor::ParameterArena& trained) const {
  RETORT_ASSIGN_OR_RETURN(
      tensor::ParameterArena merged,
      tensor::ParameterArena::Allocate(layout::LayoutFor(config_, /*value_head=*/false)));
  RETORT_RETURN_IF_ERROR(tensor::CatchTorch([&] {
    merged.flat().copy_(base().Published());  // From whatever device.
    model::MergeAdapter(frozen_->layout, trained, merged);
  }));
  return merged;
}

PolicyPlace PlaceOf(const v1::JobSpec& spec, const tensor::GpuDevice* gpu) {
  const bool half = spec.policy().dtype() == v1::DATA_TYPE_BFLOAT16;
  return {tensor::DeviceOf(gpu), half ? at::kBFloat16 : at::kFloat};
}

absl::StatusOr<PolicyModel> LoadPolicyModel(const v1::JobSpec& spec,
                                            const layout::ModelConfig& config, bool value_head,
                                            const PolicyPlace& place) {
  RETORT_ASSIGN_OR_RETURN(const std::optional<layout::AdapterConfig> adapter,
                          job::AdapterOf(spec.policy()));
  if (!adapter.has_value()) return PolicyModel(config, place);
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena base,
                          tensor::ParameterArena::Allocate(layout::LayoutFor(config, value_head)));
  RETORT_RETURN_IF_ERROR(LoadFirstWeights(spec, &base));
  RETORT_ASSIGN_OR_RETURN(PolicyModel policy, PolicyModel::Adapted(config, *adapter, base, place));
  LogInfo("base loaded elements={} digest={}", base.layout().published_elements,
          policy.base_digest().ToHex());
  return policy;
}

absl::Status LoadFirstTrained(const v1::JobSpec& spec, const PolicyModel& policy,
                              tensor::ParameterArena* trained) {
  if (!policy.adapted()) return LoadFirstWeights(spec, trained);
  const v1::LoraSpec& lora = spec.policy().lora();
  if (!lora.has_path()) {
    tensor::InitializeRandom(spec.seed(), /*std=*/0, trained, RngPurpose::kAdapterInit);
  }
  const layout::ParameterRange& head = trained->layout().value_head;
  if (head.size() > 0) {
    const layout::ParameterRange& of_base = policy.base().layout().value_head;
    RETORT_CHECK(of_base.size() == head.size()) << "the base was loaded without its value head";
    RETORT_RETURN_IF_ERROR(
        tensor::CatchTorch([&] { trained->Range(head).copy_(policy.base().Range(of_base)); }));
  }
  return lora.has_path() ? tensor::LoadAdapterWeights(lora.path(), trained) : absl::OkStatus();
}

absl::StatusOr<model::Model> ReferenceModel(const v1::JobSpec& spec,
                                            const ReferenceWeights& weights,
                                            const at::Device& device) {
  const v1::LoraSpec& lora = spec.policy().lora();
  if (spec.reference().has_path() || !lora.has_path()) {
    RETORT_ASSIGN_OR_RETURN(const tensor::ParameterArena arena,
                            weights.arena.On(device, weights.arena.type()));
    return tensor::CatchTorch([&] { return model::Model(weights.config, arena); });
  }
  RETORT_ASSIGN_OR_RETURN(const layout::AdapterConfig adapter,
                          layout::LoadAdapterConfig(lora.path()));
  RETORT_ASSIGN_OR_RETURN(
      const PolicyModel policy,
      PolicyModel::Adapted(weights.config, adapter, weights.arena, {device, weights.arena.type()}));
  RETORT_ASSIGN_OR_RETURN(
      tensor::ParameterArena first,
      tensor::ParameterArena::Allocate(policy.TrainedLayout(/*value_head=*/false)));
  RETORT_RETURN_IF_ERROR(tensor::LoadAdapterWeights(lora.path(), &first));
  RETORT_ASSIGN_OR_RETURN(const tensor::ParameterArena adapted, first.On(device, at::kFloat));
  return tensor::CatchTorch([&] { return policy.Bind(adapted); });
}

absl::Status CheckBase(const PolicyModel& policy, const std::string& want) {
  const std::string got = policy.adapted() ? policy.base_digest().ToHex() : "";
  if (got == want) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("the weights below the adapter hash to ", got.empty() ? "nothing" : got,
                   " here and to ", want.empty() ? "nothing" : Printable(want),
                   " on the learner; policy.path must hold the same files on every host"));
}

}  // namespace retort::worker
