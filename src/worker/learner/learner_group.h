// Makes the collective of one FormGroup command, and lets another thread break it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/mutex.h"
#include "common/collective/collective.h"
#include "common/collective/mpi_collective.h"
#include "common/ring/broker_client.h"
#include "retort/v1/control.pb.h"

namespace retort::worker {

struct GroupPlace {
  std::string job_id;
  ring::BrokerAddress broker;             // For `shm`.
  collective::MpiRuntime* mpi = nullptr;  // For `mpi`.
};

// One rank alone needs no transport; else what the command says (AUTO: shm).
// Errors: those of the backends; FAILED_PRECONDITION mpi was asked for outside mpirun.
absl::StatusOr<std::unique_ptr<collective::Collective>> MakeLearnerGroup(
    const v1::FormGroup& command, const GroupPlace& place);

// The group that the role's thread works with, for the thread that must break it. Thread-safe.
class AbortableGroup {
 public:
  void Set(std::shared_ptr<collective::Collective> group) {
    MutexLock lock(&mutex_);
    group_ = std::move(group);
  }
  void Abort(absl::string_view reason) {
    MutexLock lock(&mutex_);
    if (group_ != nullptr) group_->Abort(reason);
  }

 private:
  Mutex mutex_;
  std::shared_ptr<collective::Collective> group_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace retort::worker
