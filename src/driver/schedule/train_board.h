// The open steps and their TRAIN bundles: which one to lease next, which one to score next, which
// step is complete. Open steps are consecutive, the oldest is the one to train next. A bundle costs
// O(100 bytes) a slot.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "driver/schedule/bundle.h"
#include "driver/schedule/worker_pool.h"
#include "retort/v1/record.pb.h"

namespace retort::driver {

// Numbers for the step's record.
struct StepTimes {
  absl::Duration opened, first_lease, last_report, first_score_lease, last_score;
  bool leased = false, score_leased = false;
  double generate_seconds = 0, install_seconds = 0, score_seconds = 0,
         fetch_seconds = 0;  // Summed over workers.
  int64_t generated_tokens = 0;
  int64_t redone = 0;  // Bundles that were lost, and scores.
};

struct OpenStep {
  int64_t step = 0;
  int64_t version = 0;
  std::vector<int64_t> rows;  // [slots], dataset row of each slot.
  std::vector<Bundle> bundles;
  StepTimes times;
  std::map<int, std::vector<v1::SampleText>> samples;  // By bundle; of the first few bundles.

 private:
  friend class TrainBoard;
  int next_fresh_ = 0;  // Bundles below were leased once.
  std::set<int> redo_;  // Waiting again.
  int ready_ = 0;       // Rollout usable and scored.
};

// Not thread-safe.
class TrainBoard {
 public:
  // `scored`: a bundle needs scores before its step can train.
  TrainBoard(int bundles_per_step, bool scored)
      : bundles_per_step_(bundles_per_step), scored_(scored) {}

  void Open(int64_t step, int64_t version, std::vector<int64_t> rows, absl::Duration now);
  void CloseOldest();
  void Clear();

  bool empty() const { return steps_.empty(); }
  int64_t oldest() const { return steps_.front().step; }
  int64_t next_step() const { return steps_.back().step + 1; }
  OpenStep* Find(int64_t step);
  std::deque<OpenStep>& steps() { return steps_; }

  // The next bundle to generate: lost ones of a step first, steps in order.
  std::optional<HeldKey> NextRollout();
  // The next bundle to score.
  std::optional<HeldKey> NextScore() const;

  // Applies the change and keeps the queues right. kRefused leaves everything as it was.
  BundleVerdict Change(HeldKey key, const BundleInput& input);

  bool Ready(int64_t step);

 private:
  bool IsReady(const Bundle& bundle) const;

  const int bundles_per_step_;
  const bool scored_;
  std::deque<OpenStep> steps_;
  std::set<std::pair<int64_t, int>> to_score_;
};

}  // namespace retort::driver
