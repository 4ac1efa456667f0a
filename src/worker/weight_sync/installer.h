// Gives a rollout worker the model of a policy version. On the publisher's host it lies in the
// weight ring and switching versions copies nothing, on the CPU and between GPUs alike; elsewhere,
// or when the ring is in the host's memory and the worker computes on a GPU, it is copied into
// memory of the worker.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/digest.h"
#include "common/model/model.h"
#include "common/ring/segment.h"
#include "common/ring/weight_ring.h"
#include "common/rpc/artifact_bytes.h"
#include "common/tensor/gpu_device.h"
#include "worker/weight_sync/canary.h"
#include "worker/weight_sync/policy_model.h"

namespace retort::worker {

struct VersionRequest {
  int64_t version = 0;
  Digest digest;           // What the driver was told when it was published.
  uint64_t min_epoch = 0;  // Versions of older epochs do not count as published.
  std::string holder;      // HOST:PORT of the publisher; only for a fetching installer.
  // How long to wait for the version to be there. A fetch under way may take longer, as long as it
  // is faster than kSlowestFetch.
  absl::Duration timeout;
};

inline constexpr int64_t kSlowestFetch = int64_t{8} << 20;  // Bytes per second.

struct InstalledVersion {
  const model::Model* model =
      nullptr;                  // Owned by the installer; weights valid while StillHolds is OK.
  Digest digest;                // Of the weights that `model` has; not what the request asked for.
  absl::Duration install_time;  // Of this call, without waiting for the publisher; zero when the
                                // version was installed already.
};

// Streams the artifact `id` of the worker at `address` into `sink`: rpc::StreamArtifact.
using WeightFetcher =
    std::function<absl::Status(const std::string& address, const std::string& id,
                               absl::Duration deadline, const rpc::ArtifactSink& sink)>;

// Not thread-safe.
class Installer {
 public:
  // For a worker on the publisher's host whose ring is in host memory. `segment` is a mapping
  // (read-only suffices) of the job's weight ring. Waits until a writer has formatted it. `rule`:
  // how close the publisher's canary must come, bitwise only where it computes on the same kind of
  // device. Errors: those of WeightRingReader::Open; FAILED_PRECONDITION its shape is not this
  // model's.
  static absl::StatusOr<std::unique_ptr<Installer>> Open(ring::Segment segment,
                                                         const PolicyModel& policy, int lag,
                                                         absl::Duration timeout,
                                                         CanaryRule rule = CanaryRule::kBitwise);

  // The same for a ring on a GPU, read by `gpu`, which outlives it. `segment` is mapped read-write.
  // Errors: those of DeviceWeightReader::Open.
  static absl::StatusOr<std::unique_ptr<Installer>> OnGpu(ring::Segment segment,
                                                          const PolicyModel& policy,
                                                          const ring::WeightRingShape& shape,
                                                          const tensor::GpuDevice& gpu,
                                                          absl::Duration timeout);

  // For a worker on another host. Keeps one version, in memory of its own: nothing reads the old
  // one while the next comes in. RESOURCE_EXHAUSTED no memory for it.
  static absl::StatusOr<std::unique_ptr<Installer>> Fetching(const PolicyModel& policy,
                                                             WeightFetcher fetch);
  virtual ~Installer() = default;

  // Binds the version's model and runs the canary on it: in the ring by its rule, within
  // kCanaryTolerance after a fetch, where the kernels may be another machine's.
  // Errors: DATA_LOSS digest, size or canary differ, with both values: the job must stop;
  // DEADLINE_EXCEEDED the version was not there in time, says what was there instead, or its
  // transfer was too slow. In the ring: those of WeightRingReader::Acquire. Fetching: the
  // fetcher's, but NOT_FOUND, ABORTED (overwritten while it was sent), UNAVAILABLE and
  // RESOURCE_EXHAUSTED (too many streams) are tried again until the timeout.
  virtual absl::StatusOr<InstalledVersion> Install(const VersionRequest& request) = 0;

  // After work with the installed version. ABORTED if its slot was overwritten meanwhile: the work
  // is void. Fetched weights are the worker's own and hold.
  virtual absl::Status StillHolds() const = 0;
};

}  // namespace retort::worker
