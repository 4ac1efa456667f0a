#include "driver/schedule/train_board.h"

#include "common/base/check.h"

namespace retort::driver {

void TrainBoard::Open(int64_t step, int64_t version, std::vector<int64_t> rows,
                      absl::Duration now) {
  RETORT_CHECK(steps_.empty() || step == next_step()) << "steps open in order";
  OpenStep& open = steps_.emplace_back();
  open.step = step;
  open.version = version;
  open.rows = std::move(rows);
  open.bundles.resize(bundles_per_step_);
  open.times.opened = now;
}

void TrainBoard::CloseOldest() {
  const int64_t step = oldest();
  to_score_.erase(to_score_.begin(), to_score_.lower_bound({step + 1, 0}));
  steps_.pop_front();
}

void TrainBoard::Clear() {
  steps_.clear();
  to_score_.clear();
}

OpenStep* TrainBoard::Find(int64_t step) {
  if (steps_.empty() || step < oldest() || step >= next_step()) return nullptr;
  return &steps_[step - oldest()];
}

std::optional<HeldKey> TrainBoard::NextRollout() {
  for (OpenStep& open : steps_) {
    if (!open.redo_.empty()) return HeldKey{open.step, *open.redo_.begin()};
    if (open.next_fresh_ < bundles_per_step_) return HeldKey{open.step, open.next_fresh_};
  }
  return std::nullopt;
}

std::optional<HeldKey> TrainBoard::NextScore() const {
  if (to_score_.empty()) return std::nullopt;
  return HeldKey{to_score_.begin()->first, to_score_.begin()->second};
}

bool TrainBoard::IsReady(const Bundle& bundle) const {
  const bool rolled_out =
      bundle.rollout == RolloutPhase::kHeld || bundle.rollout == RolloutPhase::kOrphaned;
  return rolled_out && (!scored_ || bundle.score == ScorePhase::kHeld);
}

BundleVerdict TrainBoard::Change(HeldKey key, const BundleInput& input) {
  OpenStep* open = Find(key.step);
  if (open == nullptr || key.index < 0 || key.index >= bundles_per_step_) {
    return BundleVerdict::kRefused;
  }
  Bundle& bundle = open->bundles[key.index];
  const bool was_ready = IsReady(bundle);
  if (Apply(bundle, input) == BundleVerdict::kRefused) return BundleVerdict::kRefused;
  open->ready_ += static_cast<int>(IsReady(bundle)) - static_cast<int>(was_ready);
  if (bundle.rollout == RolloutPhase::kWaiting) {
    open->redo_.insert(key.index);
  } else {
    open->redo_.erase(key.index);
    if (open->next_fresh_ == key.index) ++open->next_fresh_;
  }
  if (!scored_) return BundleVerdict::kApplied;
  if (bundle.rollout == RolloutPhase::kHeld && bundle.score == ScorePhase::kWaiting) {
    to_score_.insert({key.step, key.index});
  } else {
    to_score_.erase({key.step, key.index});
  }
  return BundleVerdict::kApplied;
}

bool TrainBoard::Ready(int64_t step) {
  const OpenStep* open = Find(step);
  return open != nullptr && open->ready_ == bundles_per_step_;
}

}  // namespace retort::driver
