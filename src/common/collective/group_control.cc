#include "common/collective/group_control.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/futex.h"
#include "common/base/status_macros.h"

namespace retort::collective {
namespace {

enum RankState : uint32_t { kEmpty = 0, kTaken = 1, kJoined = 2, kLeft = 3 };

// How often a sleeping rank looks whether its peer lives and the group is whole.
constexpr absl::Duration kLookAgain = absl::Milliseconds(50);

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

int64_t GroupControlBytes(int world_size) {
  return static_cast<int64_t>(sizeof(GroupControl) + world_size * sizeof(RankSlot));
}

GroupMember::GroupMember(std::shared_ptr<std::byte> memory, int rank, int world_size,
                         const CollectiveOptions& options)
    : memory_(std::move(memory)),
      control_(*reinterpret_cast<GroupControl*>(memory_.get())),
      rank_(rank),
      world_size_(world_size),
      deadline_(options.deadline),
      spin_(world_size > static_cast<int>(std::thread::hardware_concurrency())
                ? absl::ZeroDuration()
                : options.spin) {}

RankSlot& GroupMember::slot(int rank) const {
  return reinterpret_cast<RankSlot*>(memory_.get() + sizeof(GroupControl))[rank];
}

absl::StatusOr<std::unique_ptr<GroupMember>> GroupMember::Claim(std::shared_ptr<std::byte> memory,
                                                                int rank, int world_size,
                                                                const ProcessIdentity& process,
                                                                const CollectiveOptions& options) {
  // The destructor leaves the slot, so the member exists only once the slot is its own.
  auto& control = *reinterpret_cast<GroupControl*>(memory.get());
  uint32_t known = 0;
  if (!control.world_size.compare_exchange_strong(known, static_cast<uint32_t>(world_size)) &&
      known != static_cast<uint32_t>(world_size)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the group was formed for ", known, " ranks, rank ", rank, " expects ", world_size));
  }
  auto& slot = reinterpret_cast<RankSlot*>(memory.get() + sizeof(GroupControl))[rank];
  uint32_t state = kEmpty;
  if (!slot.state.compare_exchange_strong(state, kTaken)) {
    return absl::FailedPreconditionError(
        absl::StrCat("rank ", rank, " of the group is taken by process ", slot.process.pid,
                     "; a group is formed once, use a new generation"));
  }
  slot.process = process;
  slot.state.store(kJoined, std::memory_order_release);
  FutexWakeAll(slot.state);
  return std::unique_ptr<GroupMember>(
      new GroupMember(std::move(memory), rank, world_size, options));
}

GroupMember::~GroupMember() {
  slot(rank_).state.store(kLeft, std::memory_order_release);
  FutexWakeAll(slot(rank_).arrived);
}

absl::Status GroupMember::WaitUntilAllJoined(absl::Duration deadline) {
  const absl::Duration end = Clock::Real()->Now() + deadline;
  for (int peer = 0; peer < world_size_; ++peer) {
    while (true) {
      const uint32_t state = slot(peer).state.load(std::memory_order_acquire);
      if (state >= kJoined) break;  // Also kLeft: the barrier that follows reports it.
      RETORT_RETURN_IF_ERROR(Failure());
      const absl::Duration left = end - Clock::Real()->Now();
      if (left <= absl::ZeroDuration()) {
        return Break(absl::DeadlineExceededError(
            absl::StrCat("rank ", peer, " did not join the group of ", world_size_, " within ",
                         absl::FormatDuration(deadline))));
      }
      FutexWait(slot(peer).state, state, std::min(left, kLookAgain));
    }
  }
  return Barrier({.operation = Operation::kJoin, .count = world_size_});
}

absl::Status GroupMember::Barrier(const Step& step) {
  RETORT_RETURN_IF_ERROR(Failure());
  ++barrier_;
  RankSlot& mine = slot(rank_);
  mine.steps[barrier_ % 2] = step;
  mine.arrived.store(barrier_, std::memory_order_seq_cst);
  // Either this load sees the sleeper, or the sleeper's futex call sees the new number.
  if (mine.sleepers.load(std::memory_order_seq_cst) != 0) FutexWakeAll(mine.arrived);
  const absl::Duration end = Clock::Real()->Now() + deadline_;
  for (int peer = 0; peer < world_size_; ++peer) {
    if (peer != rank_) RETORT_RETURN_IF_ERROR(WaitFor(peer, step, end));
  }
  for (int peer = 0; peer < world_size_; ++peer) {
    const Step& other = slot(peer).steps[barrier_ % 2];
    if (other == step) continue;
    return Break(MismatchError(rank_, step, peer, other));
  }
  return absl::OkStatus();
}

bool GroupMember::HasArrived(int peer) const {
  const uint32_t arrived = slot(peer).arrived.load(std::memory_order_acquire);
  return static_cast<int32_t>(arrived - barrier_) >= 0;
}

bool GroupMember::SpinUntilArrived(int peer) const {
  if (HasArrived(peer)) return true;
  if (spin_ == absl::ZeroDuration()) return false;
  const absl::Duration end = Clock::Real()->Now() + spin_;
  do {
    for (int i = 0; i < 32; ++i) {
      if (HasArrived(peer)) return true;
      Pause();
    }
  } while (Clock::Real()->Now() < end);
  return false;
}

absl::Status GroupMember::WaitFor(int peer, const Step& step, absl::Duration end) {
  if (SpinUntilArrived(peer)) return absl::OkStatus();
  RankSlot& theirs = slot(peer);
  while (true) {
    theirs.sleepers.fetch_add(1, std::memory_order_seq_cst);
    const uint32_t seen = theirs.arrived.load(std::memory_order_acquire);
    if (static_cast<int32_t>(seen - barrier_) < 0) {
      const absl::Duration left = end - Clock::Real()->Now();
      FutexWait(theirs.arrived, seen, std::min(left, kLookAgain));
    }
    theirs.sleepers.fetch_sub(1, std::memory_order_seq_cst);
    if (HasArrived(peer)) return absl::OkStatus();
    RETORT_RETURN_IF_ERROR(Failure());
    const absl::Status absent = WhyAbsent(peer, step, end);
    if (absent.ok()) continue;
    if (HasArrived(peer)) return absl::OkStatus();  // It arrived, then it ended.
    return Break(absent);
  }
}

absl::Status GroupMember::WhyAbsent(int peer, const Step& step, absl::Duration end) const {
  const RankSlot& theirs = slot(peer);
  const std::string where =
      absl::StrCat(Describe(step), ": rank ", peer, " (process ", theirs.process.pid, ") ");
  constexpr absl::string_view kAdvice = "; form a new generation of the group";
  if (theirs.state.load(std::memory_order_acquire) == kLeft) {
    return absl::UnavailableError(absl::StrCat(where, "left the group", kAdvice));
  }
  if (!IsAlive(theirs.process)) {
    return absl::UnavailableError(absl::StrCat(where, "died", kAdvice));
  }
  if (Clock::Real()->Now() < end) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat(where, "did not arrive within ", absl::FormatDuration(deadline_), kAdvice));
}

absl::Status GroupMember::Failure() const {
  uint32_t state = control_.broken.load(std::memory_order_acquire);
  if (state == 0) return absl::OkStatus();
  // Writing the text takes microseconds, unless the writer died in it.
  for (int i = 0; state == 1 && i < 20; ++i) {
    FutexWait(control_.broken, 1, absl::Milliseconds(5));
    state = control_.broken.load(std::memory_order_acquire);
  }
  if (state == 1) return absl::UnavailableError("a rank broke the group and died");
  return absl::Status(static_cast<absl::StatusCode>(control_.failure_code),
                      absl::string_view(control_.failure_text));
}

absl::Status GroupMember::Break(const absl::Status& reason) {
  uint32_t whole = 0;
  if (control_.broken.compare_exchange_strong(whole, 1)) {
    const size_t length = std::min(reason.message().size(), kMaxReasonBytes - 1);
    control_.failure_code = static_cast<int32_t>(reason.code());
    std::memcpy(control_.failure_text, reason.message().data(), length);
    control_.failure_text[length] = '\0';
    control_.broken.store(2, std::memory_order_release);
    WakeAll();
  }
  return Failure();
}

void GroupMember::WakeAll() {
  FutexWakeAll(control_.broken);
  for (int r = 0; r < world_size_; ++r) {
    FutexWakeAll(slot(r).state);
    FutexWakeAll(slot(r).arrived);
  }
}

}  // namespace retort::collective
