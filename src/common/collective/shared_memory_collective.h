// The engine of `local` and `shm`: collectives over memory that all ranks reach. Internal to
// collective/.
//
//   control segment:  GroupControl | stage of rank 0 | stage of rank 1 | ...
//   buffer segment:   part of rank 0 | part of rank 1 | ...   (AllocateBuffer)
//
// Ordinary tensors pass through the stages in chunks that fit the caches. A stage has two halves
// used in turn: a rank that fills a half for chunk c + 2 has passed a barrier of chunk c + 1, which
// every peer entered after it had read chunk c. Tensors born in a buffer are summed where they are:
// each rank reads its slice of all parts and writes the sum to all parts, so n bytes are read and n
// written per rank whatever the world size.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "common/collective/group_control.h"
#include "common/collective/rank_sum.h"
#include "common/collective/shm_collective.h"

namespace retort::collective {

inline constexpr int64_t kStageHalfBytes = int64_t{1} << 18;

// Of the control segment of a group.
int64_t GroupSegmentBytes(int world_size);

class SharedMemoryCollective final : public Collective {
 public:
  // `segment` is the control segment that `member` holds a slot of; `name` that of the group.
  SharedMemoryCollective(std::string name, std::unique_ptr<GroupMember> member,
                         std::shared_ptr<std::byte> segment, SharedMemorySource memory,
                         const CollectiveOptions& options);

  int rank() const override { return member_->rank(); }
  int world_size() const override { return member_->world_size(); }
  absl::Status Barrier() override;
  absl::StatusOr<at::Tensor> AllocateBuffer(int64_t elements) override;
  void Abort(absl::string_view reason) override;

 protected:
  absl::Status ReduceInPlace(void* data, int64_t count, ElementType type, Memory) override;
  absl::Status Gather(const void* in, int64_t bytes, void* out, Memory) override;
  absl::Status BroadcastBytes(void* data, int64_t bytes, int root, Memory) override;

 private:
  struct Buffer {
    std::shared_ptr<std::byte> memory;
    int64_t bytes = 0;   // Of one rank's part.
    int64_t stride = 0;  // From one part to the next.
  };
  // A tensor that lies in this rank's part of buffer `index`, `offset` bytes in.
  struct Place {
    int index = -1;
    int64_t offset = 0;
  };

  Step NextStep(Operation operation, ElementType type, int64_t count);
  std::byte* StageHalf(int rank) const;
  Place Find(const void* data, int64_t bytes) const;
  absl::StatusOr<Buffer> MapBuffer(int64_t bytes);
  absl::Status ReduceSmall(void* data, Step step);
  absl::Status ReduceStaged(void* data, Step step);
  absl::Status ReduceInBuffer(const Place& place, Step step);

  const std::string name_;
  const std::unique_ptr<GroupMember> member_;
  const std::shared_ptr<std::byte> segment_;
  const SharedMemorySource memory_;
  const CollectiveOptions options_;
  std::vector<Buffer> buffers_;
  uint64_t operations_ = 0;
  uint64_t chunks_ = 0;  // Halves of the stage used so far.
};

}  // namespace retort::collective
