// A group of threads of one process, for tests: the same engine as `shm` over ordinary memory.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/collective.h"

namespace retort::collective {

// Element r is rank r's; each belongs to one thread. They may be destroyed in any order: a rank
// that leaves makes the others' calls UNAVAILABLE. INVALID_ARGUMENT unless 1 <= world_size <= 1024.
absl::StatusOr<std::vector<std::unique_ptr<Collective>>> MakeLocalGroup(
    int world_size, const CollectiveOptions& options = {});

}  // namespace retort::collective
