// The collective between processes of one host, over shared memory. A peer's death is seen within a
// fraction of a second (process id and start time are in the control segment; waiting ranks look),
// a hang at the deadline. All ranks must see each other's process ids: one host, one pid namespace.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/collective/collective.h"

namespace retort::collective {

// Where a group's memory comes from. In a run it is the host's FdBroker:
//   memory.open = [broker](const std::string& name, int64_t bytes, absl::Duration timeout)
//       -> absl::StatusOr<std::shared_ptr<std::byte>> {
//     RETORT_ASSIGN_OR_RETURN(ring::Segment segment, ring::OpenSegment(broker, name, bytes,
//                                                        ring::Access::kReadWrite, timeout));
//     return ring::ShareMemory(std::move(segment)); };
//   memory.drop = [broker](const std::string& prefix) {
//     return ring::DropSegments(broker, prefix, absl::Seconds(5)); };
struct SharedMemorySource {
  // The same name gives every process the same memory, zero-filled when new, at least 64-byte
  // aligned.
  std::function<absl::StatusOr<std::shared_ptr<std::byte>>(const std::string& name, int64_t bytes,
                                                           absl::Duration timeout)>
      open;
  // Forgets the names with this prefix; memory stays while someone holds it.
  std::function<absl::Status(const std::string& prefix)> drop;
};

struct ShmGroup {
  std::string
      name;  // Unique to job, epoch and generation, e.g. "JOB/learner/e1g3"; never used twice.
  int rank = 0;
  int world_size = 1;  // 1 .. 1024
  CollectiveOptions options{};
};

// Waits (CollectiveOptions::join_deadline) until all ranks have joined. Rank 0 drops the segment
// names as soon as everyone has mapped them, so the memory is freed when the last rank ends,
// however it ends. Errors: those of `memory`; DEADLINE_EXCEEDED or UNAVAILABLE names the rank that
// did not join; FAILED_PRECONDITION the rank is taken or the group was formed with another world
// size; INVALID_ARGUMENT.
absl::StatusOr<std::unique_ptr<Collective>> MakeShmCollective(const ShmGroup& group,
                                                              const SharedMemorySource& memory);

}  // namespace retort::collective
