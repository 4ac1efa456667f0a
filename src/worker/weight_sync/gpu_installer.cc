// Installs policy versions that lie in the weight ring of a GPU, in place.
#include <cstddef>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status_macros.h"
#include "common/ring/device_weight_reader.h"
#include "common/tensor/parameter_arena.h"
#include "common/tensor/torch_process.h"
#include "worker/weight_sync/canary.h"
#include "worker/weight_sync/installer.h"
#include "worker/weight_sync/weight_segment.h"

namespace retort::worker {
namespace {

class GpuInstaller : public Installer {
 public:
  GpuInstaller(ring::DeviceWeightReader reader, const PolicyModel& policy,
               const ring::WeightRingShape& shape, const tensor::GpuDevice& gpu)
      : reader_(std::move(reader)), policy_(policy), shape_(shape), gpu_(gpu) {}

  absl::StatusOr<InstalledVersion> Install(const VersionRequest& request) override;
  absl::Status StillHolds() const override;

 private:
  absl::StatusOr<model::Model> Bind(const std::byte* slot) const;

  ring::DeviceWeightReader reader_;
  const PolicyModel policy_;
  const ring::WeightRingShape shape_;
  const tensor::GpuDevice& gpu_;
  std::optional<model::Model> model_;             // Of the version that is installed.
  std::optional<ring::DeviceWeights> installed_;  // Goes before the reader.
};

absl::StatusOr<model::Model> GpuInstaller::Bind(const std::byte* slot) const {
  return tensor::CatchTorch([&] {
    // A model without gradients only reads.
    return policy_.Bind(tensor::ParameterArena::Wrap(policy_.TrainedLayout(/*value_head=*/false),
                                                     SlotTensor(slot, shape_, gpu_.device)));
  });
}

absl::StatusOr<InstalledVersion> GpuInstaller::Install(const VersionRequest& request) {
  const bool same = installed_.has_value() && installed_->version == request.version &&
                    installed_->digest == request.digest &&
                    installed_->epoch >= request.min_epoch && installed_->StillHolds();
  if (same) return InstalledVersion{&*model_, installed_->digest, absl::ZeroDuration()};

  model_.reset();
  installed_.reset();
  absl::StatusOr<ring::DeviceWeights> acquired = reader_.Acquire({.version = request.version,
                                                                  .digest = request.digest,
                                                                  .min_epoch = request.min_epoch,
                                                                  .timeout = request.timeout},
                                                                 gpu_.plugin.api->CurrentStream());
  if (absl::IsFailedPrecondition(acquired.status())) {
    return WithContext(acquired.status(),
                       "a worker with another --host-identity fetches the weights instead");
  }
  RETORT_ASSIGN_OR_RETURN(ring::DeviceWeights weights, std::move(acquired));
  // Waiting for the publisher is no switching time.
  const absl::Duration start = Clock::Real()->Now();
  RETORT_ASSIGN_OR_RETURN(model_, Bind(weights.data));
  RETORT_ASSIGN_OR_RETURN(const std::vector<float> canary, model::Canary(*model_));
  RETORT_RETURN_IF_ERROR(WithContext(CompareCanaries(weights.canary, canary, CanaryRule::kBitwise),
                                     absl::StrCat("policy version ", request.version)));
  installed_ = std::move(weights);
  return InstalledVersion{&*model_, installed_->digest, Clock::Real()->Now() - start};
}

// What was generated from the weights is on the host, so the stream is done with them.
absl::Status GpuInstaller::StillHolds() const {
  if (installed_.has_value() && installed_->StillHolds()) return absl::OkStatus();
  return absl::AbortedError(
      "the weights on the GPU were overwritten, or their learner ended, while they were in use");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Installer>> Installer::OnGpu(ring::Segment segment,
                                                            const PolicyModel& policy,
                                                            const ring::WeightRingShape& shape,
                                                            const tensor::GpuDevice& gpu,
                                                            absl::Duration timeout) {
  RETORT_ASSIGN_OR_RETURN(
      ring::DeviceWeightReader reader,
      ring::DeviceWeightReader::Open(std::move(segment), gpu.plugin.api, gpu.info.index, timeout));
  return std::make_unique<GpuInstaller>(std::move(reader), policy, shape, gpu);
}

}  // namespace retort::worker
