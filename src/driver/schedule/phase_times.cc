#include "driver/schedule/phase_times.h"

#include <algorithm>

namespace retort::driver {

PhaseTimes::PhaseTimes(absl::Duration lease_floor, absl::Duration storage_floor) {
  floor_.fill(lease_floor);
  for (const Phase phase : {Phase::kLoad, Phase::kForm, Phase::kCheckpoint, Phase::kExport}) {
    floor_[static_cast<int>(phase)] = std::max(lease_floor, storage_floor);
  }
  patience_ = floor_;
  patience_[static_cast<int>(Phase::kIdle)] = absl::InfiniteDuration();
}

void PhaseTimes::Add(Phase phase, absl::Duration took) {
  const int p = static_cast<int>(phase);
  std::vector<absl::Duration>& window = window_[p];
  if (static_cast<int>(window.size()) < kWindow) {
    window.push_back(took);
  } else {
    window[next_[p]] = took;
    next_[p] = (next_[p] + 1) % kWindow;
  }
  // Sorting at every report would cost more than the report: a full window moves slowly.
  if (++unseen_[p] * 16 < static_cast<int>(window.size())) return;
  unseen_[p] = 0;
  std::vector<absl::Duration> sorted = window;
  const size_t rank = (sorted.size() * 99 + 99) / 100 - 1;
  std::nth_element(sorted.begin(), sorted.begin() + rank, sorted.end());
  patience_[p] = std::max(floor_[p], 5 * sorted[rank]);
}

}  // namespace retort::driver
