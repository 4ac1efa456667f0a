#include "driver/schedule/worker_pool.h"

#include <algorithm>

#include "common/base/check.h"

namespace retort::driver {

WorkerPool::WorkerPool(v1::Role role, int size) : role_(role), slots_(size) {}

void WorkerPool::Join(int index, const std::string& incarnation, const WorkerHost& host) {
  Slot& slot = slots_[index];
  RETORT_CHECK(!slot.joined) << NameOf({role_, index}) << " joined twice";
  slot = Slot{};
  slot.joined = true;
  slot.incarnation = incarnation;
  slot.host = host;
  idle_.insert(index);
  ++joined_;
}

Task WorkerPool::Lose(int index) {
  Slot& slot = slots_[index];
  const Task task = slot.task;
  if (slot.joined) --joined_;
  idle_.erase(index);
  slot = Slot{};
  return task;
}

void WorkerPool::Begin(int index, const Task& task, absl::Duration now) {
  Slot& slot = slots_[index];
  RETORT_CHECK(slot.joined && slot.task.phase == Phase::kIdle)
      << NameOf({role_, index}) << " is not idle";
  slot.task = task;
  slot.started = slot.progressed = now;
  slot.units = -1;
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

bool WorkerPool::Progress(int index, int64_t units, absl::Duration now) {
  Slot& slot = slots_[index];
  if (units <= slot.units) return false;
  slot.units = units;
  slot.progressed = now;
  return true;
}

void WorkerPool::Excuse(absl::Duration away, absl::Duration now) {
  for (Slot& slot : slots_) slot.progressed = std::min(now, slot.progressed + away);
}

std::vector<int> WorkerPool::Expired(const PhaseTimes& times, absl::Duration now) const {
  std::vector<int> expired;
  for (int i = 0; i < size(); ++i) {
    const Slot& slot = slots_[i];
    if (slot.joined && now - slot.progressed > times.Patience(slot.task.phase)) {
      expired.push_back(i);
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
