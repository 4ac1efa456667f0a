// What every backend of collective::Collective must do, as bodies that each rank of a group runs:
// in threads for `local` and `nccl` over fakes, in processes for `shm` and `mpi`. A body compares
// with sums that it computes itself in rank order, bit for bit, so backends that pass agree with
// each other bit for bit (the fake NCCL adds in rank order, which the real one does not).
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/collective/collective.h"

namespace retort::collective {

// What a body gets besides its group. The last rank calls `hold`, which returns after rank 0 has
// called `release`: how a rank stays away, by order and not by time.
struct ContractWorld {
  std::function<void()> hold;
  std::function<void()> release;
  // Ranks hear why a peer aborted, and who stays away. Over NCCL they see a deadline.
  bool peers_hear = true;
};

struct ContractCase {
  std::string name;
  bool breaks_group = false;  // Leaves the group broken, on purpose.
  int min_world_size = 1;
  // Empty: passed; else what was wrong.
  std::function<std::string(Collective&, const ContractWorld&)> body;
  // For cases about deadlines.
  absl::Duration deadline = absl::Seconds(60);
};

const std::vector<ContractCase>& ContractCases();

inline void PrintTo(const ContractCase& contract, std::ostream* out) { *out << contract.name; }

}  // namespace retort::collective
