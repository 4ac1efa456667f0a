// Gives a rollout worker the model of a policy version, in place in the weight ring: switching
// versions copies nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/layout/model_config.h"
#include "common/model/model.h"
#include "common/ring/weight_ring.h"

namespace retort::worker {

struct VersionRequest {
  int64_t version = 0;
  Digest digest;           // What the driver was told when it was published.
  uint64_t min_epoch = 0;  // Versions of older epochs do not count as published.
  absl::Duration timeout;
};

struct InstalledVersion {
  const model::Model* model =
      nullptr;                  // Owned by the installer; weights valid while StillHolds is OK.
  absl::Duration install_time;  // Of this call; zero when the version was installed already.
};

// Not thread-safe.
class Installer {
 public:
  // `segment` is a mapping (read-only suffices) of the job's weight ring. Waits until a writer has
  // formatted it. Errors: those of WeightRingReader::Open; FAILED_PRECONDITION its shape is not
  // this model's.
  static absl::StatusOr<std::unique_ptr<Installer>> Open(ring::Segment segment,
                                                         const layout::ModelConfig& config, int lag,
                                                         absl::Duration timeout);
  ~Installer();

  // Binds the version's model and runs the canary on it.
  // Errors: those of WeightRingReader::Acquire; DATA_LOSS with both values when the canary differs:
  // the job must stop.
  absl::StatusOr<InstalledVersion> Install(const VersionRequest& request);

  // After work with the installed version. ABORTED if its slot was overwritten meanwhile: the work
  // is void.
  absl::Status StillHolds() const;

 private:
  class State;

  explicit Installer(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace retort::worker
