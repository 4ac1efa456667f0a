// The installer of a ring in host memory; those of a ring on a GPU and of other hosts are
// gpu_installer.cc and fetching_installer.cc.
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
#include "worker/weight_sync/installed_copy.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {

namespace {

class RingInstaller : public Installer {
 public:
  RingInstaller(ring::WeightRingReader reader, const PolicyModel& policy, CanaryRule rule)
      : reader_(std::move(reader)), policy_(policy), rule_(rule) {}

  absl::StatusOr<InstalledVersion> Install(const VersionRequest& request) override;
  absl::Status StillHolds() const override;

 private:
  absl::StatusOr<const model::Model*> Take(absl::Span<const float> weights);
  const model::Model& ModelAt(absl::Span<const float> weights);

  const ring::WeightRingReader reader_;
  const PolicyModel policy_;
  const CanaryRule rule_;
  std::optional<InstalledCopy> copy_;  // Of a policy that does not compute on the CPU.
  std::map<const float*, model::Model> models_;
  std::optional<ring::WeightView> installed_;
  const model::Model* model_ = nullptr;  // Of what is installed.
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

absl::StatusOr<const model::Model*> RingInstaller::Take(absl::Span<const float> weights) {
  if (policy_.device().is_cpu()) return &ModelAt(weights);
  if (!copy_.has_value()) {
    RETORT_ASSIGN_OR_RETURN(copy_, InstalledCopy::Make(policy_));
  }
  RETORT_RETURN_IF_ERROR(copy_->Fill(weights));
  return &copy_->model();
}

absl::StatusOr<InstalledVersion> RingInstaller::Install(const VersionRequest& request) {
  const bool same = installed_.has_value() && installed_->version == request.version &&
                    installed_->digest == request.digest &&
                    installed_->epoch >= request.min_epoch && reader_.StillHolds(*installed_);
  if (same) return InstalledVersion{model_, installed_->digest, absl::ZeroDuration()};

  installed_.reset();
  RETORT_ASSIGN_OR_RETURN(ring::WeightView view, reader_.Acquire({.version = request.version,
                                                                  .digest = request.digest,
                                                                  .min_epoch = request.min_epoch,
                                                                  .timeout = request.timeout}));
  const absl::Duration start =
      Clock::Real()->Now();  // Waiting for the publisher is no switching time.
  RETORT_ASSIGN_OR_RETURN(model_, Take(view.weights));
  RETORT_ASSIGN_OR_RETURN(const std::vector<float> canary, model::Canary(*model_));
  RETORT_RETURN_IF_ERROR(WithContext(CompareCanaries(view.canary, canary, rule_),
                                     absl::StrCat("policy version ", request.version)));
  installed_ = std::move(view);
  return InstalledVersion{model_, installed_->digest, Clock::Real()->Now() - start};
}

absl::Status RingInstaller::StillHolds() const {
  if (installed_.has_value() && reader_.StillHolds(*installed_)) return absl::OkStatus();
  return absl::AbortedError("the weights were overwritten in the ring while they were in use");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Installer>> Installer::Open(ring::Segment segment,
                                                           const PolicyModel& policy, int lag,
                                                           absl::Duration timeout,
                                                           CanaryRule rule) {
  RETORT_ASSIGN_OR_RETURN(ring::WeightRingReader reader,
                          ring::WeightRingReader::Open(std::move(segment), timeout));
  const ring::WeightRingShape want = WeightRingShapeOf(policy, lag);
  const ring::WeightRingShape& got = reader.shape();
  if (got != want) {
    return absl::FailedPreconditionError(
        absl::StrCat("the weight ring has ", got.slots, " slots of ", got.slot_elements,
                     " floats, this policy needs ", want.slots, " of ", want.slot_elements,
                     "; do learner and worker read the same config.json and policy.lora?"));
  }
  return std::make_unique<RingInstaller>(std::move(reader), policy, rule);
}

}  // namespace retort::worker
