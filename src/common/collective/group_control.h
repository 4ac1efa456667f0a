// The control block of a shared-memory group: who is in it, how far each rank has come, whether it
// is broken. Internal to collective/.
//
// Invariants
//   - Memory starts zero-filled. A rank writes only its own RankSlot; `failure` is written by
//   whoever wins the
//     exchange of `broken` from 0 to 1.
//   - Barriers are numbered 1, 2, ... by each rank alike. Rank r stores the number in
//   slots[r].arrived (release)
//     when it enters; others wait until they load (acquire) that number or a later one.
//   - A rank is at most one barrier ahead of any other, so what belongs to barrier b sits at index
//   b mod 2.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/process_identity.h"
#include "common/collective/collective.h"
#include "common/collective/operation_step.h"

namespace retort::collective {

inline constexpr int kMaxWorldSize = 1024;
inline constexpr size_t kMaxReasonBytes = 512;

struct alignas(64) RankSlot {
  std::atomic<uint32_t> state;  // A RankState.
  ProcessIdentity process;
  Step steps[2];
  alignas(64) std::atomic<uint32_t> arrived;  // The last barrier that the rank entered.
  std::atomic<uint32_t> sleepers;             // Ranks that sleep on `arrived`.
};

struct alignas(64) GroupControl {
  std::atomic<uint32_t> world_size;  // 0 until the first rank joined.
  std::atomic<uint32_t> broken;      // 0 whole, 1 failure is being written, 2 failure can be read.
  int32_t failure_code;
  char failure_text[kMaxReasonBytes];
  // world_size RankSlots follow.
};
int64_t GroupControlBytes(int world_size);

// One rank's hold on the control block. Not thread-safe, but for Break and Failure.
class GroupMember {
 public:
  // Takes slot `rank`. `memory` holds GroupControlBytes(world_size). FAILED_PRECONDITION the slot
  // is taken or the group has another size.
  static absl::StatusOr<std::unique_ptr<GroupMember>> Claim(std::shared_ptr<std::byte> memory,
                                                            int rank, int world_size,
                                                            const ProcessIdentity& process,
                                                            const CollectiveOptions& options);
  // Leaves: peers that wait for this rank get UNAVAILABLE.
  ~GroupMember();
  GroupMember(const GroupMember&) = delete;
  GroupMember& operator=(const GroupMember&) = delete;

  // Waits up to `deadline` until every rank has claimed its slot.
  absl::Status WaitUntilAllJoined(absl::Duration deadline);

  // Enters the next barrier and waits for all ranks. An error has broken the group for everyone.
  absl::Status Barrier(const Step& step);

  // OK, or why the group is broken. Thread-safe.
  absl::Status Failure() const;

  // Breaks the group with `reason` unless it is broken; returns Failure(). Thread-safe.
  absl::Status Break(const absl::Status& reason);

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }

 private:
  GroupMember(std::shared_ptr<std::byte> memory, int rank, int world_size,
              const CollectiveOptions& options);
  RankSlot& slot(int rank) const;
  absl::Status WaitFor(int peer, const Step& step, absl::Duration end);
  bool SpinUntilArrived(int peer) const;
  absl::Status WhyAbsent(int peer, const Step& step, absl::Duration end) const;
  bool HasArrived(int peer) const;
  void WakeAll();

  const std::shared_ptr<std::byte> memory_;
  GroupControl& control_;
  const int rank_;
  const int world_size_;
  const absl::Duration deadline_;
  const absl::Duration spin_;  // Zero where ranks outnumber cores.
  uint32_t barrier_ = 0;       // The last one entered.
};

}  // namespace retort::collective
