#include "common/base/failpoint.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/log.h"
#include "common/base/mutex.h"

namespace retort {
namespace {

enum class Action { kKill, kStop, kError };

struct Armed {
  Action action;
  int64_t at_hit;  // 0: every hit.
  int64_t hits = 0;
};

struct Registry {
  std::atomic<bool> any{false};
  Mutex mutex;
  std::map<std::string, Armed> armed ABSL_GUARDED_BY(mutex);
};

Registry& TheRegistry() {
  static Registry registry;
  return registry;
}

}  // namespace

absl::Status ArmFailpoints(const std::vector<std::string>& specs) {
  Registry& registry = TheRegistry();
  MutexLock lock(&registry.mutex);
  for (const std::string& spec : specs) {
    const std::pair<std::string, std::string> named = absl::StrSplit(spec, absl::MaxSplits('=', 1));
    const std::pair<std::string, std::string> action =
        absl::StrSplit(named.second, absl::MaxSplits('@', 1));
    Armed armed{Action::kError, 0};
    if (action.first == "kill") {
      armed.action = Action::kKill;
    } else if (action.first == "stop") {
      armed.action = Action::kStop;
    } else if (action.first != "error") {
      return absl::InvalidArgumentError(absl::StrCat(
          "--failpoint=", spec, ": action \"", action.first, "\" is not kill, stop or error"));
    }
    if (!action.second.empty() &&
        (!absl::SimpleAtoi(action.second, &armed.at_hit) || armed.at_hit < 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--failpoint=", spec, ": hit \"", action.second, "\" is not a number >= 1"));
    }
    registry.armed.insert_or_assign(named.first, armed);
    registry.any = true;
  }
  return absl::OkStatus();
}

absl::Status Failpoint(absl::string_view name) {
  Registry& registry = TheRegistry();
  if (!registry.any.load(std::memory_order_relaxed)) return absl::OkStatus();
  MutexLock lock(&registry.mutex);
  const auto it = registry.armed.find(std::string(name.data(), name.size()));
  if (it == registry.armed.end()) return absl::OkStatus();
  Armed& armed = it->second;
  if (armed.at_hit != 0 && ++armed.hits != armed.at_hit) return absl::OkStatus();
  LogWarning("failpoint hit name={}", it->first);
  switch (armed.action) {
    case Action::kKill:
      kill(getpid(), SIGKILL);
      break;
    case Action::kStop:
      raise(SIGSTOP);
      break;
    case Action::kError:
      return absl::InternalError(absl::StrCat("failpoint ", name));
  }
  return absl::OkStatus();
}

}  // namespace retort
