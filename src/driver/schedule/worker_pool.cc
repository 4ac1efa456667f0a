#include "driver/schedule/worker_pool.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace retort::driver {

WorkerPool::WorkerPool(v1::Role role, int size) : role_(role), slots_(size) {}

void WorkerPool::Join(int index, const std::string& incarnation, const WorkerHost& host,
                      uint64_t epoch, absl::Duration now) {
  Slot& slot = slots_[index];
  RETORT_CHECK(!slot.joined) << NameOf({role_, index}) << " joined twice";
  slot = Slot{};
  slot.joined = true;
  slot.incarnation = incarnation;
  slot.host = host;
  Begin(index, Task{Phase::kLoad, epoch, 0, 0, 0}, now);
}

Task WorkerPool::Lose(int index) {
  Slot& slot = slots_[index];
  const Task task = slot.task;
  idle_.erase(index);
  slot = Slot{};
  return task;
}

void WorkerPool::Begin(int index, const Task& task, absl::Duration now) {
  Slot& slot = slots_[index];
  RETORT_CHECK(slot.joined && slot.task.phase == Phase::kIdle)
      << NameOf({role_, index}) << " is not idle";
  slot.task = task;
  slot.started = slot.progressed = slot.unit_done = now;
  slot.units = slot.busy_ms = 0;
  idle_.erase(index);
}

void WorkerPool::Finish(int index, bool completed, PhaseTimes& times, absl::Duration now) {
  Slot& slot = slots_[index];
  if (slot.task.phase == Phase::kIdle) return;
  if (completed) times.Add(slot.task.phase, now - slot.started);
  slot.task = Task{};
  idle_.insert(index);
}

bool WorkerPool::Matches(int index, const v1::Fence& fence) const {
  const Task& task = slots_[index].task;
  if (task.phase == Phase::kIdle || fence.epoch() != task.epoch) return false;
  // Forming, checkpoints and export carry no step of their own on the wire.
  if (task.phase == Phase::kForm || task.phase == Phase::kCheckpoint ||
      task.phase == Phase::kExport) {
    return true;
  }
  return fence.step() == task.step && fence.attempt() == task.attempt;
}

Gain WorkerPool::Progress(int index, const v1::Progress& progress, absl::Duration now) {
  Slot& slot = slots_[index];
  const bool unit = progress.units_done() > slot.units;
  if (!unit && progress.busy_ms() <= slot.busy_ms) return Gain::kNone;
  slot.units = std::max(slot.units, progress.units_done());
  slot.busy_ms = std::max(slot.busy_ms, progress.busy_ms());
  slot.progressed = now;
  if (unit) slot.unit_done = now;
  return unit ? Gain::kUnit : Gain::kBusy;
}

void WorkerPool::RenewAll(Gain gain, absl::Duration now) {
  for (Slot& slot : slots_) {
    if (gain != Gain::kNone) slot.progressed = now;
    if (gain == Gain::kUnit) slot.unit_done = now;
  }
}

void WorkerPool::Excuse(absl::Duration away, absl::Duration now) {
  for (Slot& slot : slots_) {
    slot.progressed = std::min(now, slot.progressed + away);
    slot.unit_done = std::min(now, slot.unit_done + away);
  }
}

std::vector<Expiry> WorkerPool::Expired(const PhaseTimes& times, absl::Duration unit_limit,
                                        absl::Duration now) const {
  std::vector<Expiry> expired;
  for (int i = 0; i < size(); ++i) {
    const Slot& slot = slots_[i];
    if (slot.task.phase == Phase::kIdle) continue;
    const absl::Duration patience = times.Patience(slot.task.phase);
    if (now - slot.progressed > patience) {
      expired.push_back(
          {i, absl::StrCat("lease_expired: no progress for ", absl::FormatDuration(patience))});
    } else if (now - slot.unit_done > std::max(unit_limit, patience)) {
      expired.push_back(
          {i, absl::StrCat("lease_expired: it computed for ", absl::FormatDuration(unit_limit),
                           " without an end of one token or micro-batch; if it did "
                           "not hang, lower optimizer.micro_batch_tokens")});
    }
  }
  return expired;
}

void WorkerPool::Hold(int index, HeldKey key, int64_t oldest_open) {
  std::deque<HeldKey>& held = slots_[index].held;
  while (!held.empty() && held.front().step < oldest_open) held.pop_front();
  held.push_back(key);
}

}  // namespace retort::driver
