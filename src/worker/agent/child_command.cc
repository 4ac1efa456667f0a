#include "worker/agent/child_command.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace retort::worker {
namespace {

constexpr size_t kMaxNameBytes = 64;
constexpr int kMaxThreads = 1024;
constexpr int kMaxFailpoints = 64;

absl::Status BadField(absl::string_view field, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat("SpawnChild.", field, ": expected ", expected));
}

absl::StatusOr<std::string> RoleName(v1::Role role) {
  switch (role) {
    case v1::ROLE_ROLLOUT:
      return std::string("rollout");
    case v1::ROLE_SCORER:
      return std::string("scorer");
    case v1::ROLE_LEARNER:
      return std::string("learner");
    default:
      return BadField("role", "rollout, scorer or learner");
  }
}

bool IsName(absl::string_view text) {
  for (const char c : text) {
    if (!absl::ascii_isalnum(c) && c != '-') return false;
  }
  return !text.empty() && text.size() <= kMaxNameBytes;
}

absl::Status Check(const v1::SpawnChild& request) {
  if (!IsName(request.worker())) {
    return BadField("worker", "1 to 64 letters, digits and '-'");
  }
  if (request.incarnation().size() != 32 ||
      request.incarnation().find_first_not_of("0123456789abcdef") != std::string::npos) {
    return BadField("incarnation", "32 lower-case hex digits");
  }
  if (request.index() < 0) return BadField("index", "0 or more");
  if (request.threads() < 1 || request.threads() > kMaxThreads) {
    return BadField("threads", "1 to 1024");
  }
  if (request.failpoints_size() > kMaxFailpoints) return BadField("failpoints", "at most 64");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ChildCommand> MakeChildCommand(const ChildLaunch& launch,
                                              const v1::SpawnChild& request) {
  RETORT_RETURN_IF_ERROR(Check(request));
  RETORT_ASSIGN_OR_RETURN(const std::string role, RoleName(request.role()));
  ChildCommand command;
  command.log_file = absl::StrCat(launch.run_dir, "/logs/", request.worker(), ".log");
  command.arguments = {launch.worker_binary,
                       absl::StrCat("--role=", role),
                       absl::StrCat("--index=", request.index()),
                       absl::StrCat("--incarnation=", request.incarnation()),
                       absl::StrCat("--driver=", launch.driver_address),
                       absl::StrCat("--token-file=", launch.token_file),
                       absl::StrCat("--threads=", request.threads()),
                       absl::StrCat("--log-file=", command.log_file),
                       absl::StrCat("--parent-pid=", launch.parent_pid)};
  for (const std::string& failpoint : request.failpoints()) {
    command.arguments.push_back(absl::StrCat("--failpoint=", failpoint));
  }
  command.arguments.insert(command.arguments.end(), launch.extra_arguments.begin(),
                           launch.extra_arguments.end());
  // libgomp's threads spin at every parallel region otherwise, and the roles share cores.
  command.environment = {absl::StrCat("OMP_NUM_THREADS=", request.threads()),
                         "OMP_WAIT_POLICY=passive"};
  return command;
}

}  // namespace retort::worker
