#include "common/collective/shm_collective.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/process_identity.h"
#include "common/base/status_macros.h"
#include "common/collective/group_control.h"
#include "common/collective/shared_memory_collective.h"

namespace retort::collective {

absl::StatusOr<std::unique_ptr<Collective>> MakeShmCollective(const ShmGroup& group,
                                                              const SharedMemorySource& memory) {
  if (group.world_size < 1 || group.world_size > kMaxWorldSize || group.rank < 0 ||
      group.rank >= group.world_size || group.name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("shm group \"", group.name, "\": rank ", group.rank, " of ", group.world_size,
                     " ranks; expected a name and 1 to ", kMaxWorldSize, " ranks"));
  }
  RETORT_ASSIGN_OR_RETURN(const ProcessIdentity process, OwnProcess());
  const std::string name = absl::StrCat(group.name, "/control");
  RETORT_ASSIGN_OR_RETURN(
      const std::shared_ptr<std::byte> segment,
      memory.open(name, GroupSegmentBytes(group.world_size), group.options.join_deadline));
  absl::StatusOr<std::unique_ptr<GroupMember>> member =
      GroupMember::Claim(segment, group.rank, group.world_size, process, group.options);
  if (!member.ok()) return WithContext(member.status(), group.name);
  if (absl::Status joined = (*member)->WaitUntilAllJoined(group.options.join_deadline);
      !joined.ok()) {
    return WithContext(joined, group.name);
  }
  if (group.rank == 0) RETORT_RETURN_IF_ERROR(memory.drop(name));
  return std::make_unique<SharedMemoryCollective>(group.name, *std::move(member), segment, memory,
                                                  group.options);
}

}  // namespace retort::collective
