#include "common/job/policy_adapter.h"

#include "common/base/status_macros.h"

namespace retort::job {

bool UsesAdapter(const v1::PolicySpec& policy) {
  return policy.lora().has_path() || policy.lora().rank() > 0;
}

absl::StatusOr<std::optional<layout::AdapterConfig>> AdapterOf(const v1::PolicySpec& policy) {
  std::optional<layout::AdapterConfig> adapter;
  if (!UsesAdapter(policy)) return adapter;
  const v1::LoraSpec& lora = policy.lora();
  if (lora.has_path()) {
    RETORT_ASSIGN_OR_RETURN(adapter, layout::LoadAdapterConfig(lora.path()));
    return adapter;
  }
  adapter.emplace();
  adapter->rank = lora.rank();
  adapter->alpha = lora.alpha();
  adapter->rslora = lora.use_rslora();
  for (const std::string& target : lora.target_modules()) {
    if (target == layout::kAllLinear) {
      adapter->all_linear = true;
    } else {
      adapter->targets.push_back(target);
    }
  }
  return adapter;
}

}  // namespace retort::job
