// What the driver says of learner groups, for the thread that forms one: the identity by which the
// ranks of an NCCL group find each other, and whether the group is still wanted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/mutex.h"
#include "common/gpu/nccl_api.h"
#include "retort/v1/control.pb.h"

namespace retort::worker {

v1::GroupIdentity IdentityOf(const v1::FormGroup& group, const gpu::NcclId& id);

// Thread-safe.
class GroupRendezvous {
 public:
  // For each command as it arrives, and with nullptr when the session stops. Never blocks. An
  // identity of another group than the newest FormGroup's is dropped.
  void OnArrival(const v1::DriverMessage* command);

  // ABORTED if a newer FormGroup has arrived, or the session stops.
  absl::Status StillWanted(const v1::FormGroup& group);

  // Waits for rank 0's identity of `group`. Errors: as StillWanted; DEADLINE_EXCEEDED; INTERNAL if
  // it is none of NCCL's.
  absl::StatusOr<gpu::NcclId> AwaitIdentity(const v1::FormGroup& group, absl::Duration deadline);

 private:
  using Name = std::pair<uint64_t, int64_t>;  // Epoch, generation.

  absl::Status StillWantedLocked(const v1::FormGroup& group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  Name newest_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::string> identity_ ABSL_GUARDED_BY(mutex_);  // Of the newest.
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace retort::worker
