#include "driver/cluster/worker_id.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace retort::driver {

absl::string_view RoleName(v1::Role role) {
  switch (role) {
    case v1::ROLE_AGENT:
      return "agent";
    case v1::ROLE_ROLLOUT:
      return "rollout";
    case v1::ROLE_SCORER:
      return "scorer";
    case v1::ROLE_LEARNER:
      return "learner";
    default:
      return "unspecified";
  }
}

std::string NameOf(const WorkerId& worker) {
  if (worker.role == v1::ROLE_AGENT) return "agent";
  return absl::StrCat(RoleName(worker.role), "-", worker.index);
}

absl::StatusOr<WorkerId> WorkerFromName(absl::string_view name) {
  if (name == "agent") return WorkerId{v1::ROLE_AGENT, 0};
  const size_t dash = name.rfind('-');
  const absl::string_view role = name.substr(0, dash);
  for (const v1::Role candidate : {v1::ROLE_ROLLOUT, v1::ROLE_SCORER, v1::ROLE_LEARNER}) {
    int index = 0;
    if (dash == absl::string_view::npos || role != RoleName(candidate)) continue;
    if (!absl::SimpleAtoi(name.substr(dash + 1), &index) || index < 0) break;
    return WorkerId{candidate, index};
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", name, "\" names no worker; expected agent, rollout-N, scorer-N or learner-N"));
}

}  // namespace retort::driver
