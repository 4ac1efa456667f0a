// The collective over Open MPI, for ranks that mpirun started. Two implementations, chosen by
// CMake: mpi_collective.cc, and mpi_unavailable.cc for builds without MPI, where each function says
// so.
//
// mpirun waits until all its ranks have called MPI_Init and, at the end, MPI_Finalize: every role
// does both, though only learners reduce. A rank that dies makes mpirun end all others;
// deploy/mpirun.sh starts them again.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/collective/collective.h"

namespace retort::collective {

bool MpiIsBuiltIn();

struct MpiPlace {
  int rank = 0;
  int world_size = 1;
};
// This process's place if mpirun (or another PMIx launcher of Open MPI) started it. Reads the
// environment only.
std::optional<MpiPlace> MpiPlaceOfProcess();

// The process's MPI. At most one per process, made once, before other threads use MPI. Thread level
// SERIALIZED is enough: one lock guards every MPI call.
class MpiRuntime {
 public:
  // MPI_Init_thread. Errors: UNIMPLEMENTED built without MPI; FAILED_PRECONDITION not started by
  // mpirun, or made twice; INTERNAL with MPI's text.
  static absl::StatusOr<std::unique_ptr<MpiRuntime>> Start();

  // Without Finish it does nothing: the process then ends without MPI_Finalize, which tells mpirun
  // that it failed.
  virtual ~MpiRuntime() = default;

  virtual MpiPlace place() const = 0;

  // The group of `members` (ranks of MPI_COMM_WORLD, ascending, this process among them; its index
  // there is its rank in the group). Every member calls it with the same arguments; others do not
  // take part. `generation`
  // (>= 0) keeps groups apart. Waits up to options.join_deadline for the members. The runtime
  // outlives the group. Peers that die are mpirun's business; Abort reaches peers inside an
  // operation.
  virtual absl::StatusOr<std::unique_ptr<Collective>> MakeCollective(
      const std::vector<int>& members, int64_t generation, const CollectiveOptions& options) = 0;

  // MPI_Finalize; waits for all ranks of mpirun. Last call, after the groups are gone. A runtime
  // with a broken group skips it and returns FAILED_PRECONDITION: end the process with an error.
  virtual absl::Status Finish() = 0;
};

}  // namespace retort::collective
