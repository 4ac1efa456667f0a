// Evaluations of policy versions that are not finished. An open evaluation pins its version: the
// learner must not overwrite its ring slot.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "driver/schedule/worker_pool.h"
#include "retort/v1/control.pb.h"
#include "retort/v1/record.pb.h"

namespace retort::driver {

// Not thread-safe.
class EvalBoard {
 public:
  explicit EvalBoard(int bundles_per_eval) : bundles_per_eval_(bundles_per_eval) {}

  void Open(int64_t version);
  void Clear() { evals_.clear(); }
  bool empty() const { return evals_.empty(); }
  bool IsOpen(int64_t version) const { return evals_.contains(version); }
  // Whether a version <= `version` is still being evaluated.
  bool PinsUpTo(int64_t version) const {
    return !evals_.empty() && evals_.begin()->first <= version;
  }

  // The next bundle to lease of a version <= `up_to_version`; key.step is the version.
  std::optional<HeldKey> Next(int64_t up_to_version) const;
  // Returns the attempt of the lease.
  int Lease(HeldKey key, int worker);
  // The lease was lost: the bundle waits again. False, and nothing happens, unless `worker` has it
  // at `attempt`.
  bool Lose(HeldKey key, int worker, int attempt);

  // False if refused: not leased to `worker` at `attempt`.
  bool Report(HeldKey key, int worker, int attempt, const v1::RolloutReport& report);
  // The totals if every bundle of `version` is reported; the evaluation is closed then.
  std::optional<v1::EvalRecord> TakeFinished(int64_t version);

 private:
  enum class State : uint8_t { kWaiting, kLeased, kDone };
  struct Part {
    State state = State::kWaiting;
    int32_t attempt = 1;
    int32_t worker = -1;
  };
  struct Evaluation {
    std::vector<Part> parts;
    std::set<int> waiting;
    int done = 0;
    int64_t rows = 0, matches = 0;
    std::vector<double>
        score_sums;  // By part: summed in that order, so that the mean is reproducible.
    std::map<int, std::vector<v1::SampleText>> samples;
  };
  const Part* Find(HeldKey key) const;

  const int bundles_per_eval_;
  std::map<int64_t, Evaluation> evals_;
};

// At most `limit` samples, taken round robin over the bundles in order.
std::vector<v1::SampleText> PickSamples(const std::map<int, std::vector<v1::SampleText>>& by_bundle,
                                        int limit);

}  // namespace retort::driver
