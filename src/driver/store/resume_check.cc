#include "driver/store/resume_check.h"

#include <unistd.h>

#include <algorithm>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace retort::driver {
namespace {

absl::Status Lacks(const Journal& journal, absl::string_view table, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(journal.path(), ": table \"", table, "\" ", what,
                                          "; the run cannot be resumed from this journal"));
}

absl::Status CheckBundles(const Journal& journal, const ScheduleConfig& config,
                          const History& history, int64_t committed) {
  const int64_t first = history.checkpoints.empty() ? 0 : history.checkpoints.front();
  for (int64_t step = first; step < committed && config.TrainBundles() > 0; ++step) {
    const auto digests = history.bundles.find(step);
    if (digests == history.bundles.end() ||
        std::find(digests->second.begin(), digests->second.end(), Digest{}) !=
            digests->second.end()) {
      return Lacks(journal, "bundles", absl::StrCat("lacks reports of committed step ", step));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckWorkers(Journal& journal, const ScheduleConfig& config, int64_t committed) {
  if (committed == 0) return absl::OkStatus();
  RETORT_ASSIGN_OR_RETURN(auto joined, journal.CountJoined());
  const std::pair<const char*, bool> needed[] = {
      {"learner", true},
      {"scorer", config.scorers > 0},
      {"rollout", config.rollouts > 0 && config.reinforcement}};
  for (const auto& [role, used] : needed) {
    if (used && joined[role] == 0) {
      return Lacks(journal, "workers",
                   absl::StrCat("has no ", role, ", though step ", committed - 1, " is committed"));
    }
  }
  return absl::OkStatus();
}

bool IsAlive(const OpenWorker& worker) {
  const absl::StatusOr<std::string> command =
      ReadFile(absl::StrCat("/proc/", worker.pid, "/cmdline"), 1 << 20);
  return command.ok() && absl::StrContains(*command, worker.incarnation);
}

}  // namespace

absl::Status CheckResumable(Journal& journal, const ScheduleConfig& config,
                            const History& history) {
  const int64_t committed = static_cast<int64_t>(history.commits.size()) - 1;
  for (const int64_t step : history.checkpoints) {
    if (step <= committed) continue;
    return Lacks(journal, "commits",
                 absl::StrCat("has ", std::max<int64_t>(committed, 0),
                              " steps, but there is a checkpoint of step ", step));
  }
  RETORT_ASSIGN_OR_RETURN(const int64_t checkpoint_rows, journal.CountRows("checkpoints"));
  if (checkpoint_rows == 0 && committed > config.checkpoint_every) {
    return Lacks(journal, "checkpoints",
                 absl::StrCat("is empty, though ", committed, " steps are committed"));
  }
  RETORT_RETURN_IF_ERROR(CheckBundles(journal, config, history, std::max<int64_t>(committed, 0)));
  RETORT_RETURN_IF_ERROR(CheckWorkers(journal, config, std::max<int64_t>(committed, 0)));
  if (history.checkpoints.empty()) return absl::OkStatus();
  const int64_t oldest_version = config.VersionOf(history.checkpoints.front());
  for (int64_t version = 0; version < oldest_version; ++version) {
    if (config.Evaluates(version) && !history.evaluated.contains(version)) {
      return Lacks(journal, "evals", absl::StrCat("lacks version ", version));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSameInputs(const JobIdentity& journaled, const JobIdentity& now) {
  for (const auto& [name, value] : journaled.inputs) {
    const auto found = now.inputs.find(name);
    const std::string current = found == now.inputs.end() ? "absent" : found->second;
    if (current == value) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("cannot resume: ", name, " is ", current, " now and was ", value,
                     " when the run began; put it back, or start a new run"));
  }
  return absl::OkStatus();
}

absl::Status AwaitOrphans(Journal& journal, absl::Duration timeout) {
  RETORT_ASSIGN_OR_RETURN(std::vector<OpenWorker> open, journal.ReadOpenWorkers());
  const absl::Duration deadline = Clock::Real()->Now() + timeout;
  while (true) {
    std::erase_if(open, [](const OpenWorker& worker) { return !IsAlive(worker); });
    if (open.empty()) return absl::OkStatus();
    if (Clock::Real()->Now() > deadline) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return absl::FailedPreconditionError(
      absl::StrCat(open[0].worker, " of the run before still lives as process ", open[0].pid,
                   "; end it with `kill ", open[0].pid, "` and resume again"));
}

}  // namespace retort::driver
