#include "worker/reward/reward_set.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "worker/reward/reward_function.h"

namespace retort::worker {
namespace {

const std::string& KindName(const v1::RewardSpec& spec) {  // A kind is set.
  return v1::RewardSpec::descriptor()->FindFieldByNumber(spec.kind_case())->name();
}

}  // namespace

RewardSet::RewardSet() = default;
RewardSet::RewardSet(RewardSet&&) = default;
RewardSet& RewardSet::operator=(RewardSet&&) = default;
RewardSet::~RewardSet() = default;

absl::StatusOr<RewardSet> RewardSet::Make(
    const google::protobuf::RepeatedPtrField<v1::RewardSpec>& specs) {
  RewardSet set;
  for (int i = 0; i < specs.size(); ++i) {
    auto function = MakeRewardFunction(specs[i]);
    RETORT_RETURN_IF_ERROR(WithContext(function.status(), absl::StrCat("rewards[", i, "]")));
    const auto same_kind = [&](const v1::RewardSpec& other) {
      return other.kind_case() == specs[i].kind_case();
    };
    const bool alone = std::count_if(specs.begin(), specs.end(), same_kind) == 1;
    set.names_.push_back(alone ? KindName(specs[i])
                               : absl::StrCat(KindName(specs[i]), "[", i, "]"));
    set.weights_.push_back(specs[i].weight());
    set.functions_.push_back(*std::move(function));
  }
  return set;
}

absl::StatusOr<RewardResult> RewardSet::Score(const Completion& completion) const {
  RewardResult result;
  for (size_t i = 0; i < functions_.size(); ++i) {
    const absl::StatusOr<double> part = functions_[i]->Evaluate(completion);
    const absl::Status status = WithContext(part.status(), absl::StrCat("rewards[", i, "]"));
    const bool gave_up = absl::IsResourceExhausted(status);
    if (!gave_up) RETORT_RETURN_IF_ERROR(status);
    if (gave_up && result.why.empty()) result.why = std::string(status.message());
    result.gave_up.push_back(gave_up ? 1 : 0);
    result.parts.push_back(gave_up ? 0 : *part);
    result.score += weights_[i] * result.parts.back();
  }
  return result;
}

}  // namespace retort::worker
