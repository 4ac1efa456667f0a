#include "common/job/learner_collective.h"

namespace retort::job {

v1::CollectiveKind LearnerCollective(const v1::JobSpec& spec) {
  const v1::LearnerPool& learner = spec.cluster().learner();
  if (learner.collective() != v1::COLLECTIVE_KIND_AUTO || learner.device() != v1::DEVICE_CUDA) {
    return learner.collective();
  }
  return learner.ranks() > 1 ? v1::COLLECTIVE_KIND_NCCL : v1::COLLECTIVE_KIND_SHM;
}

std::string DescribeCollective(const v1::JobSpec& spec) {
  const bool on_gpu = spec.cluster().learner().device() == v1::DEVICE_CUDA;
  switch (LearnerCollective(spec)) {
    case v1::COLLECTIVE_KIND_NCCL:
      return "over NCCL";
    case v1::COLLECTIVE_KIND_MPI:
      return "over Open MPI";
    case v1::COLLECTIVE_KIND_SHM:
      return on_gpu ? "over shared memory, through pinned memory of the host"
                    : "over shared memory";
    default:
      return "over shared memory, or Open MPI where mpirun starts the ranks";
  }
}

absl::Status CheckLearnerCollective(const v1::JobSpec& spec, const FieldPositions& at) {
  const v1::LearnerPool& learner = spec.cluster().learner();
  const bool on_gpu = learner.device() == v1::DEVICE_CUDA;
  if (learner.collective() == v1::COLLECTIVE_KIND_NCCL && !on_gpu) {
    return at.Error("cluster.learner.collective",
                    "is nccl, which reduces between GPUs, but cluster.learner.device is cpu; "
                    "expected device cuda, or collective auto");
  }
  if (learner.collective() == v1::COLLECTIVE_KIND_MPI && on_gpu) {
    return at.Error("cluster.learner.collective",
                    "is mpi, which reduces in the memory of the host, but cluster.learner.device "
                    "is cuda; expected auto, nccl, or shm for ranks that share a GPU");
  }
  return absl::OkStatus();
}

}  // namespace retort::job
