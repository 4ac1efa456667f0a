// The ring's installer; the one of other hosts is fetching_installer.cc.
#include "worker/weight_sync/installer.h"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/ring/weight_ring.h"
#include "common/tensor/parameter_arena.h"
#include "worker/weight_sync/canary.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {

namespace {

class RingInstaller : public Installer {
 public:
  RingInstaller(ring::WeightRingReader reader, const PolicyModel& policy)
      : reader_(std::move(reader)), policy_(policy) {}

  absl::StatusOr<InstalledVersion> Install(const VersionRequest& request) override;
  absl::Status StillHolds() const override;

 private:
  const model::Model& ModelAt(absl::Span<const float> weights);

  const ring::WeightRingReader reader_;
  const PolicyModel policy_;
  std::map<const float*, model::Model> models_;
  std::optional<ring::WeightView> installed_;
};

// A slot keeps its address, so its model is made once and sees each version that is written there.
const model::Model& RingInstaller::ModelAt(absl::Span<const float> weights) {
  const auto found = models_.find(weights.data());
  if (found != models_.end()) return found->second;
  // Borrow takes a mutable pointer; a model without gradients only reads.
  const auto arena = tensor::ParameterArena::Borrow(policy_.TrainedLayout(/*value_head=*/false),
                                                    const_cast<float*>(weights.data()), nullptr);
  return models_.emplace(weights.data(), policy_.Bind(arena)).first->second;
}

absl::StatusOr<InstalledVersion> RingInstaller::Install(const VersionRequest& request) {
  const bool same = installed_.has_value() && installed_->version == request.version &&
                    installed_->digest == request.digest &&
                    installed_->epoch >= request.min_epoch && reader_.StillHolds(*installed_);
  if (same) {
    return InstalledVersion{&ModelAt(installed_->weights), installed_->digest,
                            absl::ZeroDuration()};
  }

  installed_.reset();
  RETORT_ASSIGN_OR_RETURN(ring::WeightView view, reader_.Acquire({.version = request.version,
                                                                  .digest = request.digest,
                                                                  .min_epoch = request.min_epoch,
                                                                  .timeout = request.timeout}));
  const absl::Duration start =
      Clock::Real()->Now();  // Waiting for the publisher is no switching time.
  const model::Model& model = ModelAt(view.weights);
  RETORT_ASSIGN_OR_RETURN(const std::vector<float> canary, model::Canary(model));
  RETORT_RETURN_IF_ERROR(WithContext(CompareCanaries(view.canary, canary, CanaryRule::kBitwise),
                                     absl::StrCat("policy version ", request.version)));
  installed_ = std::move(view);
  return InstalledVersion{&model, installed_->digest, Clock::Real()->Now() - start};
}

absl::Status RingInstaller::StillHolds() const {
  if (installed_.has_value() && reader_.StillHolds(*installed_)) return absl::OkStatus();
  return absl::AbortedError("the weights were overwritten in the ring while they were in use");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Installer>> Installer::Open(ring::Segment segment,
                                                           const PolicyModel& policy, int lag,
                                                           absl::Duration timeout) {
  RETORT_ASSIGN_OR_RETURN(ring::WeightRingReader reader,
                          ring::WeightRingReader::Open(std::move(segment), timeout));
  const ring::WeightRingShape want = WeightRingShapeOf(policy, lag);
  const ring::WeightRingShape& got = reader.shape();
  if (got.slots != want.slots || got.slot_elements != want.slot_elements) {
    return absl::FailedPreconditionError(
        absl::StrCat("the weight ring has ", got.slots, " slots of ", got.slot_elements,
                     " floats, this policy needs ", want.slots, " of ", want.slot_elements,
                     "; do learner and worker read the same config.json and policy.lora?"));
  }
  return std::make_unique<RingInstaller>(std::move(reader), policy);
}

}  // namespace retort::worker
