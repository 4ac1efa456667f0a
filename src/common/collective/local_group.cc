#include "common/collective/local_group.h"

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/mutex.h"
#include "common/base/status_macros.h"
#include "common/collective/group_control.h"
#include "common/collective/shared_memory_collective.h"

namespace retort::collective {
namespace {

// Ordinary memory by name, as the broker gives shared memory. Thread-safe.
class HeapMemory {
 public:
  absl::StatusOr<std::shared_ptr<std::byte>> Open(const std::string& name, int64_t bytes) {
    MutexLock lock(&mutex_);
    std::shared_ptr<std::byte>& memory = segments_[name];
    if (memory == nullptr) {
      const size_t whole_pages = static_cast<size_t>((bytes + 4095) / 4096 * 4096);
      auto* const data = static_cast<std::byte*>(std::aligned_alloc(4096, whole_pages));
      if (data == nullptr) {
        return absl::ResourceExhaustedError(absl::StrCat("no memory for ", bytes, " bytes"));
      }
      std::memset(data, 0, whole_pages);
      memory = std::shared_ptr<std::byte>(data, [](std::byte* p) { std::free(p); });
    }
    return memory;
  }

  void Drop(const std::string& name) {
    MutexLock lock(&mutex_);
    segments_.erase(name);
  }

 private:
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<std::byte>> segments_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<Collective>>> MakeLocalGroup(
    int world_size, const CollectiveOptions& options) {
  if (world_size < 1 || world_size > kMaxWorldSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("local group of ", world_size, " ranks; expected 1 to ", kMaxWorldSize));
  }
  auto heap = std::make_shared<HeapMemory>();
  SharedMemorySource memory;
  memory.open = [heap](const std::string& name, int64_t bytes, absl::Duration) {
    return heap->Open(name, bytes);
  };
  memory.drop = [heap](const std::string& name) {
    heap->Drop(name);
    return absl::OkStatus();
  };
  RETORT_ASSIGN_OR_RETURN(const std::shared_ptr<std::byte> segment,
                          heap->Open("local/control", GroupSegmentBytes(world_size)));
  heap->Drop("local/control");
  std::vector<std::unique_ptr<Collective>> ranks;
  for (int rank = 0; rank < world_size; ++rank) {
    RETORT_ASSIGN_OR_RETURN(
        std::unique_ptr<GroupMember> member,
        GroupMember::Claim(segment, rank, world_size, ProcessIdentity{}, options));
    ranks.push_back(std::make_unique<SharedMemoryCollective>("local", std::move(member), segment,
                                                             memory, options));
  }
  return ranks;
}

}  // namespace retort::collective
