// Seconds of a step by what they were spent on.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "common/base/clock.h"

namespace retort::worker {

// Not thread-safe.
class StepClock {
 public:
  explicit StepClock(Clock* clock = Clock::Real()) : clock_(clock), start_(clock->Now()) {}

  // Adds what `work` takes to `phase`; returns what it returns.
  template <typename Work>
  auto Time(const std::string& phase, Work&& work) {
    const Lap lap{clock_, clock_->Now(), &seconds_[phase]};
    return std::forward<Work>(work)();
  }

  double Total() const { return absl::ToDoubleSeconds(clock_->Now() - start_); }
  double Seconds(const std::string& phase) const {
    const auto found = seconds_.find(phase);
    return found == seconds_.end() ? 0 : found->second;
  }
  void Add(const std::string& phase, double seconds) { seconds_[phase] += seconds; }

 private:
  struct Lap {
    Clock* clock;
    absl::Duration start;
    double* seconds;
    ~Lap() { *seconds += absl::ToDoubleSeconds(clock->Now() - start); }
  };

  Clock* const clock_;
  const absl::Duration start_;
  std::map<std::string, double> seconds_;
};

}  // namespace retort::worker
