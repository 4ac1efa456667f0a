#include <cstdlib>

#include "absl/strings/numbers.h"
#include "common/collective/mpi_collective.h"

namespace retort::collective {

std::optional<MpiPlace> MpiPlaceOfProcess() {
  const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const char* const size = std::getenv("OMPI_COMM_WORLD_SIZE");
  MpiPlace place;
  if (rank == nullptr || size == nullptr || !absl::SimpleAtoi(rank, &place.rank) ||
      !absl::SimpleAtoi(size, &place.world_size) || place.rank < 0 ||
      place.rank >= place.world_size) {
    return std::nullopt;
  }
  return place;
}

}  // namespace retort::collective
