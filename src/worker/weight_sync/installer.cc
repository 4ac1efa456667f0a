#include "worker/weight_sync/installer.h"

#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/layout/parameter_layout.h"
#include "common/tensor/parameter_arena.h"
#include "worker/weight_sync/canary.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {

class Installer::State {
 public:
  State(ring::WeightRingReader reader, const layout::ModelConfig& config)
      : reader_(std::move(reader)), config_(config) {}

  // A slot keeps its address, so its model is made once and sees each version that is written
  // there.
  const model::Model& ModelAt(absl::Span<const float> weights) {
    const auto found = models_.find(weights.data());
    if (found != models_.end()) return found->second;
    // Borrow takes a mutable pointer; a model without gradients only reads.
    const auto arena =
        tensor::ParameterArena::Borrow(layout::LayoutFor(config_, /*value_head=*/false),
                                       const_cast<float*>(weights.data()), nullptr);
    return models_.emplace(weights.data(), model::Model(config_, arena)).first->second;
  }

  ring::WeightRingReader reader_;
  const layout::ModelConfig config_;
  std::map<const float*, model::Model> models_;
  std::optional<ring::WeightView> installed_;
};

Installer::Installer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Installer::~Installer() = default;

absl::StatusOr<std::unique_ptr<Installer>> Installer::Open(ring::Segment segment,
                                                           const layout::ModelConfig& config,
                                                           int lag, absl::Duration timeout) {
  RETORT_ASSIGN_OR_RETURN(ring::WeightRingReader reader,
                          ring::WeightRingReader::Open(std::move(segment), timeout));
  const ring::WeightRingShape want = WeightRingShapeOf(config, lag);
  const ring::WeightRingShape& got = reader.shape();
  if (got.slots != want.slots || got.slot_elements != want.slot_elements) {
    return absl::FailedPreconditionError(
        absl::StrCat("the weight ring has ", got.slots, " slots of ", got.slot_elements,
                     " floats, this model needs ", want.slots, " of ", want.slot_elements,
                     "; do learner and worker read the same config.json?"));
  }
  return std::unique_ptr<Installer>(
      new Installer(std::make_unique<State>(std::move(reader), config)));
}

absl::StatusOr<InstalledVersion> Installer::Install(const VersionRequest& request) {
  std::optional<ring::WeightView>& installed = state_->installed_;
  const bool same = installed.has_value() && installed->version == request.version &&
                    installed->digest == request.digest && installed->epoch >= request.min_epoch &&
                    state_->reader_.StillHolds(*installed);
  if (same) return InstalledVersion{&state_->ModelAt(installed->weights), absl::ZeroDuration()};

  installed.reset();
  RETORT_ASSIGN_OR_RETURN(ring::WeightView view,
                          state_->reader_.Acquire({.version = request.version,
                                                   .digest = request.digest,
                                                   .min_epoch = request.min_epoch,
                                                   .timeout = request.timeout}));
  const absl::Duration start =
      Clock::Real()->Now();  // Waiting for the publisher is no switching time.
  const model::Model& model = state_->ModelAt(view.weights);
  RETORT_ASSIGN_OR_RETURN(const std::vector<float> canary, model::Canary(model));
  RETORT_RETURN_IF_ERROR(WithContext(CompareCanaries(view.canary, canary, CanaryRule::kBitwise),
                                     absl::StrCat("policy version ", request.version)));
  installed = std::move(view);
  return InstalledVersion{&model, Clock::Real()->Now() - start};
}

absl::Status Installer::StillHolds() const {
  if (state_->installed_.has_value() && state_->reader_.StillHolds(*state_->installed_))
    return absl::OkStatus();
  return absl::AbortedError("the weights were overwritten in the ring while they were in use");
}

}  // namespace retort::worker
