// How long each phase of work took so far, and how long one may go without progress from that.
#pragma once

#include <array>
#include <vector>

#include "absl/time/time.h"

namespace retort::driver {

enum class Phase {
  kIdle,
  kLoad,
  kGenerate,
  kEvaluate,
  kScore,
  kForm,
  kTrain,
  kCheckpoint,
  kExport
};
inline constexpr int kPhases = 9;

// Not thread-safe.
class PhaseTimes {
 public:
  // Floors per phase; see ScheduleConfig.
  PhaseTimes(absl::Duration lease_floor, absl::Duration storage_floor);

  void Add(Phase phase, absl::Duration took);

  // max(floor, 5 x p99 of the last 512 durations).
  absl::Duration Patience(Phase phase) const { return patience_[static_cast<int>(phase)]; }

 private:
  static constexpr int kWindow = 512;
  std::array<std::vector<absl::Duration>, kPhases> window_;
  std::array<int, kPhases> next_{};
  std::array<int, kPhases> unseen_{};  // Added since patience_ was computed.
  std::array<absl::Duration, kPhases> floor_;
  std::array<absl::Duration, kPhases> patience_;
};

}  // namespace retort::driver
