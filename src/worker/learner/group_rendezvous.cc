#include "worker/learner/group_rendezvous.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"

namespace retort::worker {

v1::GroupIdentity IdentityOf(const v1::FormGroup& group, const gpu::NcclId& id) {
  v1::GroupIdentity identity;
  identity.set_epoch(group.epoch());
  identity.set_generation(group.generation());
  identity.set_id(id.bytes.data(), id.bytes.size());
  return identity;
}

void GroupRendezvous::OnArrival(const v1::DriverMessage* command) {
  MutexLock lock(&mutex_);
  if (command == nullptr) {
    stopping_ = true;
  } else if (command->has_form_group()) {
    const Name name{command->form_group().epoch(), command->form_group().generation()};
    if (name <= newest_) return;
    newest_ = name;
    identity_.reset();
  } else if (command->has_group_identity()) {
    const v1::GroupIdentity& identity = command->group_identity();
    if (Name{identity.epoch(), identity.generation()} != newest_) {
      LogWarning("refused a group's identity: not of the newest group epoch={} generation={}",
                 identity.epoch(), identity.generation());
      return;
    }
    identity_ = identity.id();
  } else {
    return;
  }
  changed_.NotifyAll();
}

absl::Status GroupRendezvous::StillWantedLocked(const v1::FormGroup& group) {
  if (stopping_) return absl::AbortedError("this rank was asked to stop");
  if (newest_ > Name{group.epoch(), group.generation()}) {
    return absl::AbortedError("the driver forms a new group");
  }
  return absl::OkStatus();
}

absl::Status GroupRendezvous::StillWanted(const v1::FormGroup& group) {
  MutexLock lock(&mutex_);
  return StillWantedLocked(group);
}

absl::StatusOr<gpu::NcclId> GroupRendezvous::AwaitIdentity(const v1::FormGroup& group,
                                                           absl::Duration deadline) {
  const Name name{group.epoch(), group.generation()};
  const absl::Duration end = Clock::Real()->Now() + deadline;
  MutexLock lock(&mutex_);
  while (newest_ != name || !identity_.has_value()) {
    RETORT_RETURN_IF_ERROR(StillWantedLocked(group));
    const absl::Duration left = end - Clock::Real()->Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat(
          "learner-", group.rank(), ": no identity of the group came from learner-0 within ",
          absl::FormatDuration(deadline)));
    }
    changed_.WaitWithTimeout(&mutex_, left);
  }
  RETORT_RETURN_IF_ERROR(StillWantedLocked(group));
  gpu::NcclId id;
  if (identity_->size() != id.bytes.size()) {
    return absl::InternalError(absl::StrCat("learner-0's identity of the group has ",
                                            identity_->size(), " bytes, expected ",
                                            id.bytes.size()));
  }
  std::copy(identity_->begin(), identity_->end(), id.bytes.begin());
  return id;
}

}  // namespace retort::worker
