#include "common/collective/mpi_collective.h"

namespace retort::collective {

bool MpiIsBuiltIn() { return false; }

absl::StatusOr<std::unique_ptr<MpiRuntime>> MpiRuntime::Start() {
  return absl::UnimplementedError(
      "this build has no Open MPI; install libopenmpi-dev and configure again, or use the shm "
      "collective");
}

}  // namespace retort::collective
