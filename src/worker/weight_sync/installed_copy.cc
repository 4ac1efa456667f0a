#include "worker/weight_sync/installed_copy.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/tensor/torch_process.h"

namespace retort::worker {

absl::StatusOr<InstalledCopy> InstalledCopy::Make(const PolicyModel& policy) {
  RETORT_ASSIGN_OR_RETURN(
      tensor::ParameterArena arena,
      tensor::ParameterArena::Allocate(policy.TrainedLayout(/*value_head=*/false),
                                       policy.published_type(), policy.device()));
  return tensor::CatchTorch([&] {
    model::Model model = policy.Bind(arena);
    return InstalledCopy(std::move(arena), std::move(model));
  });
}

absl::Status InstalledCopy::Fill(absl::Span<const float> weights) {
  if (weights.data() == fill_in_place().data()) return absl::OkStatus();
  return tensor::CatchTorch([&] {
    const at::NoGradGuard no_grad;
    // from_blob takes a mutable pointer; a source is only read.
    arena_.Published().copy_(at::from_blob(const_cast<float*>(weights.data()),
                                           {static_cast<int64_t>(weights.size())}, at::kFloat));
  });
}

absl::Span<float> InstalledCopy::fill_in_place() {
  if (!arena_.device().is_cpu() || arena_.type() != at::kFloat) return {};
  return {arena_.data(), static_cast<size_t>(arena_.layout().published_elements)};
}

}  // namespace retort::worker
