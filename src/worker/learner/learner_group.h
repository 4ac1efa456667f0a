// Makes the collective of one FormGroup command, and lets another thread break it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/mutex.h"
#include "common/collective/collective.h"
#include "common/collective/mpi_collective.h"
#include "common/gpu/plugin.h"
#include "common/ring/broker_client.h"
#include "retort/v1/control.pb.h"
#include "worker/learner/group_rendezvous.h"

namespace retort::worker {

struct GroupPlace {
  std::string job_id;
  ring::BrokerAddress broker;             // For `shm`.
  collective::MpiRuntime* mpi = nullptr;  // For `mpi`.
  const gpu::Plugin* gpu = nullptr;       // Where the learner computes on a GPU: `device` of it.
  int device = 0;
  // For `nccl`: how rank 0 tells the driver the group's identity, and what the driver says.
  std::function<absl::Status(const v1::GroupIdentity&)> announce = {};
  GroupRendezvous* rendezvous = nullptr;
  // Ends the process when NCCL hangs in an abort; the default logs `why`.
  std::function<void(const std::string& why)> end_process = {};
};

// One rank alone needs no transport, unless it is to use NCCL; else what the command says (AUTO:
// shm). On a GPU shm's sums go through the host. Errors: those of the backends;
// FAILED_PRECONDITION mpi was asked for outside mpirun, nccl without a GPU; with nccl ABORTED when
// a newer FormGroup arrives or the session stops before the group has formed.
absl::StatusOr<std::unique_ptr<collective::Collective>> MakeLearnerGroup(
    const v1::FormGroup& command, const GroupPlace& place);

// The group that the role's thread works with, for the thread that must break it. A group that no
// command is using is left whole: there is nobody to wake, and Open MPI can then end in order.
// Thread-safe.
class AbortableGroup {
 public:
  // Marks that a command may be inside the group, for the object's life.
  class Use {
   public:
    explicit Use(AbortableGroup* owner) : owner_(owner) { owner_->SetInUse(true); }
    ~Use() { owner_->SetInUse(false); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    AbortableGroup* const owner_;
  };

  // Forgets the old group and what was asked of it.
  void Reset() {
    MutexLock lock(&mutex_);
    group_ = nullptr;
    reason_.clear();
  }
  void Set(std::shared_ptr<collective::Collective> group) {
    MutexLock lock(&mutex_);
    group_ = std::move(group);
    BreakIfAsked();
  }
  // Breaks the group now if it is in use, else when it is used next.
  void Abort(absl::string_view reason) {
    MutexLock lock(&mutex_);
    reason_ = std::string(reason);
    BreakIfAsked();
  }

 private:
  void SetInUse(bool in_use) {
    MutexLock lock(&mutex_);
    in_use_ = in_use;
    BreakIfAsked();
  }
  void BreakIfAsked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (in_use_ && group_ != nullptr && !reason_.empty()) group_->Abort(reason_);
  }

  Mutex mutex_;
  std::shared_ptr<collective::Collective> group_ ABSL_GUARDED_BY(mutex_);
  std::string reason_ ABSL_GUARDED_BY(mutex_);
  bool in_use_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace retort::worker
