#include "common/checkpoint/folder_name.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace retort::checkpoint {

std::string CheckpointName(int64_t step) { return absl::StrCat("step-", step); }

std::optional<int64_t> CommittedStep(absl::string_view name) {
  int64_t step = 0;
  if (!absl::ConsumePrefix(&name, "step-") || !absl::SimpleAtoi(name, &step) || step < 0) {
    return std::nullopt;
  }
  // Only the canonical spelling: "step-+4" and "step-04" are somebody else's.
  if (absl::StrCat(step) != name) return std::nullopt;
  return step;
}

std::optional<int64_t> StagedStep(absl::string_view name) {
  const size_t infix = name.find(kStagingInfix);
  if (infix == absl::string_view::npos) return std::nullopt;
  const absl::string_view epoch = name.substr(infix + sizeof(kStagingInfix) - 1);
  if (epoch.empty() || !std::all_of(epoch.begin(), epoch.end(), absl::ascii_isdigit)) {
    return std::nullopt;
  }
  return CommittedStep(name.substr(0, infix));
}

}  // namespace retort::checkpoint
