// One reward: a pure function of a completion.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "retort/v1/job.pb.h"
#include "worker/reward/reward_set.h"

namespace retort::worker {

// Immutable.
class RewardFunction {
 public:
  virtual ~RewardFunction() = default;
  // RESOURCE_EXHAUSTED: the completion is more than the function can take.
  virtual absl::StatusOr<double> Evaluate(const Completion& completion) const = 0;
};

// The completion's text is the answer, but for white space (ASCII) at both ends.
bool MatchesAnswer(absl::string_view text, absl::string_view answer);

// INVALID_ARGUMENT for a bad pattern or an unset kind.
absl::StatusOr<std::unique_ptr<const RewardFunction>> MakeRewardFunction(
    const v1::RewardSpec& spec);

}  // namespace retort::worker
