// What every worker of the plan is doing: loading, idle, or busy with one task that has a fence and
// must show progress.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "driver/cluster/worker_id.h"
#include "driver/schedule/phase_times.h"
#include "retort/v1/control.pb.h"

namespace retort::driver {

struct Task {
  Phase phase = Phase::kIdle;
  uint64_t epoch = 0;
  int64_t step = 0;  // kEvaluate: the version.
  int index = 0;     // Of the bundle.
  int attempt = 0;
};

// What a worker's Progress says that the one before did not.
enum class Gain { kNone, kBusy, kUnit };

// A task without progress.
struct Expiry {
  int index = 0;
  std::string cause;
};

// A bundle whose artifact a worker holds.
struct HeldKey {
  int64_t step = 0;
  int index = 0;
};

// Not thread-safe. One per pool: the index counts inside its role.
class WorkerPool {
 public:
  WorkerPool(v1::Role role, int size);

  bool joined(int index) const { return slots_[index].joined; }
  const std::string& incarnation(int index) const { return slots_[index].incarnation; }
  const WorkerHost& host(int index) const { return slots_[index].host; }
  const Task& task(int index) const { return slots_[index].task; }
  int size() const { return static_cast<int>(slots_.size()); }
  v1::Role role() const { return role_; }

  // It loads its files in `epoch` until its task is finished.
  void Join(int index, const std::string& incarnation, const WorkerHost& host, uint64_t epoch,
            absl::Duration now);
  // The task that was lost with it; kIdle if none.
  Task Lose(int index);

  // The idle worker with the lowest index, or -1.
  int FirstIdle() const { return idle_.empty() ? -1 : *idle_.begin(); }
  bool AllIdle() const { return static_cast<int>(idle_.size()) == size(); }

  void Begin(int index, const Task& task, absl::Duration now);
  // Ends the task; its duration counts for the phase when it was completed.
  void Finish(int index, bool completed, PhaseTimes& times, absl::Duration now);
  // Whether `fence` is the current task's.
  bool Matches(int index, const v1::Fence& fence) const;
  Gain Progress(int index, const v1::Progress& progress, absl::Duration now);
  // Renews every task: workers that wait for each other are as far as the one that got on.
  void RenewAll(Gain gain, absl::Duration now);

  // Nobody listened for `away` until `now`: no lease ran down meanwhile.
  void Excuse(absl::Duration away, absl::Duration now);

  // Workers whose task had no progress for longer than its phase's patience, or finished no unit
  // for longer than `unit_limit`.
  std::vector<Expiry> Expired(const PhaseTimes& times, absl::Duration unit_limit,
                              absl::Duration now) const;

  // Artifacts of open steps; `oldest_open` lets the list forget those of committed ones.
  void Hold(int index, HeldKey key, int64_t oldest_open);
  const std::deque<HeldKey>& held(int index) const { return slots_[index].held; }

 private:
  struct Slot {
    bool joined = false;
    std::string incarnation;
    WorkerHost host;
    Task task;
    absl::Duration started, progressed, unit_done;
    int64_t units = 0, busy_ms = 0;
    std::deque<HeldKey> held;
  };

  const v1::Role role_;
  std::vector<Slot> slots_;
  std::set<int> idle_;
};

}  // namespace retort::driver
