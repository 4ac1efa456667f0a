#include "worker/learner/learner_group.h"

#include <unistd.h>

#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/collective/local_group.h"
#include "common/collective/nccl_collective.h"
#include "common/collective/shm_collective.h"
#include "common/collective/staged_collective.h"
#include "common/gpu/nccl_environment.h"
#include "common/ring/segment.h"
#include "worker/agent/exit_code.h"

namespace retort::worker {
namespace {

// A rank waits for one that computes a large micro-batch. A peer that dies is seen at once, one
// that hangs is the driver's to find.
collective::CollectiveOptions Patient() {
  collective::CollectiveOptions options;
  options.deadline = absl::Hours(2);
  return options;
}

absl::StatusOr<std::unique_ptr<collective::Collective>> Alone() {
  RETORT_ASSIGN_OR_RETURN(auto group, collective::MakeLocalGroup(1));
  return std::move(group.front());
}

absl::StatusOr<std::unique_ptr<collective::Collective>> OverSharedMemory(
    const v1::FormGroup& command, const GroupPlace& place) {
  collective::SharedMemorySource memory;
  memory.open = [broker = place.broker](
                    const std::string& name, int64_t bytes,
                    absl::Duration timeout) -> absl::StatusOr<std::shared_ptr<std::byte>> {
    RETORT_ASSIGN_OR_RETURN(
        ring::Segment segment,
        ring::OpenSegment(broker, name, bytes, ring::Access::kReadWrite, timeout));
    return ring::ShareMemory(std::move(segment));
  };
  memory.drop = [broker = place.broker](const std::string& prefix) {
    return ring::DropSegments(broker, prefix, absl::Seconds(5));
  };
  collective::ShmGroup group;
  group.name = absl::StrCat(place.job_id, "/learner/e", command.epoch(), "g", command.generation());
  group.rank = command.rank();
  group.world_size = command.world_size();
  group.options = Patient();
  return collective::MakeShmCollective(group, memory);
}

// Roles are given out in rank order (scorer, rollout, learner), so the learners are mpirun's last
// ranks.
absl::StatusOr<std::unique_ptr<collective::Collective>> OverMpi(const v1::FormGroup& command,
                                                                const GroupPlace& place) {
  if (place.mpi == nullptr) {
    return absl::FailedPreconditionError(
        "cluster.learner.collective is mpi, but mpirun did not start this process");
  }
  std::vector<int> members(command.world_size());
  std::iota(members.begin(), members.end(), place.mpi->place().world_size - command.world_size());
  return place.mpi->MakeCollective(members, command.generation(), Patient());
}

// NCCL may hang on all ranks at once, and to the driver a rank that polls looks as if it worked.
collective::CollectiveOptions PatientWithNccl() {
  collective::CollectiveOptions options;
  options.deadline = absl::Minutes(30);
  return options;
}

[[noreturn]] void EndProcess(const std::string& why) {
  LogError("the process ends: the GPU is stuck cause=\"{}\"", why);
  _exit(kExitFailure);
}

absl::StatusOr<gpu::NcclId> FindIdentity(const v1::FormGroup& command, const GroupPlace& place) {
  if (command.rank() != 0) {
    return place.rendezvous->AwaitIdentity(command, PatientWithNccl().join_deadline);
  }
  RETORT_ASSIGN_OR_RETURN(const gpu::NcclId id, place.gpu->nccl->MakeId());
  RETORT_RETURN_IF_ERROR(place.announce(IdentityOf(command, id)));
  return id;
}

absl::StatusOr<std::unique_ptr<collective::Collective>> OverNccl(const v1::FormGroup& command,
                                                                 const GroupPlace& place) {
  if (place.gpu == nullptr) {
    return absl::FailedPreconditionError(
        "cluster.learner.collective is nccl, but this process computes on the CPU");
  }
  gpu::SetNcclEnvironment();  // For whoever has not done it in main.
  RETORT_ASSIGN_OR_RETURN(const gpu::NcclId id, FindIdentity(command, place));
  collective::NcclGroup group;
  group.gpu = *place.gpu;
  group.device = place.device;
  group.id = id;
  group.rank = command.rank();
  group.world_size = command.world_size();
  group.options = PatientWithNccl();
  group.keep_waiting = [&] { return place.rendezvous->StillWanted(command); };
  group.end_process = place.end_process ? place.end_process : EndProcess;
  auto formed = collective::MakeNcclCollective(group);
  if (formed.ok() || absl::IsAborted(formed.status())) return formed;
  return absl::Status(
      formed.status().code(),
      absl::StrCat(formed.status().message(),
                   "; ranks that share a GPU need cluster.learner.collective: shm"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<collective::Collective>> MakeLearnerGroup(
    const v1::FormGroup& command, const GroupPlace& place) {
  if (command.world_size() < 1 || command.rank() < 0 || command.rank() >= command.world_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("FormGroup names rank ", command.rank(), " of ", command.world_size()));
  }
  if (command.collective() == v1::COLLECTIVE_KIND_MPI) return OverMpi(command, place);
  if (command.collective() == v1::COLLECTIVE_KIND_NCCL) return OverNccl(command, place);
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<collective::Collective> group,
                          command.world_size() == 1 ? Alone() : OverSharedMemory(command, place));
  if (place.gpu == nullptr) return group;
  return collective::StageThroughHost(std::move(group), place.gpu->api, place.device, Patient());
}

}  // namespace retort::worker
