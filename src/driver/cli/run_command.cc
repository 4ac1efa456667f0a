#include "driver/cli/run_command.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "driver/cli/run_view.h"

namespace retort::driver {
namespace {

// Written by the handler, read by the event loop at every tick.
std::atomic<int> stop_signals{0};
std::atomic<int> first_signal{0};

void OnStopSignal(int signal) {
  int none = 0;
  first_signal.compare_exchange_strong(none, signal);
  stop_signals.fetch_add(1);
}

void CatchStopSignals() {
  struct sigaction action = {};
  action.sa_handler = OnStopSignal;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

// "rollout-0:rollout.generate=kill@2" -> the worker's list; "driver:..." is armed here.
absl::Status AddFailpoint(const std::string& text, RunJobOptions& job) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  if (parts.first == "driver") return ArmFailpoints({parts.second});
  RETORT_RETURN_IF_ERROR(
      WithContext(WorkerFromName(parts.first).status(), absl::StrCat("--failpoint=", text)));
  job.failpoints[parts.first].push_back(parts.second);
  return absl::OkStatus();
}

absl::StatusOr<RunJobOptions> JobOptions(const RunOptions& options) {
  RunJobOptions job;
  if (options.job_path.empty() == options.resume_dir.empty()) {
    return absl::InvalidArgumentError(
        "give a job file, or --resume with the folder of an interrupted run; see retort run "
        "--help");
  }
  if (!options.resume_dir.empty() && !options.overrides.empty()) {
    return absl::InvalidArgumentError(
        "--set would change the job, so it cannot go with --resume; start a new run instead");
  }
  if (!options.external_workers && !options.listen.empty()) {
    return absl::InvalidArgumentError(
        "--listen is for --workers=external; local workers find the driver");
  }
  if (!options.external_workers && options.tls.any()) {
    return absl::InvalidArgumentError(
        "--tls-cert, --tls-key and --tls-ca are for --workers=external; local workers use "
        "loopback");
  }
  job.job_path = options.job_path;
  job.resume_dir = options.resume_dir;
  job.overrides = options.overrides;
  job.external = options.external_workers;
  if (!options.listen.empty()) job.listen = options.listen;
  job.tls = options.tls;
  for (const std::string& failpoint : options.failpoints) {
    RETORT_RETURN_IF_ERROR(AddFailpoint(failpoint, job));
  }
  job.worker_program = absl::StrCat(ExecutableDirectory(), "/retort-worker");
  job.stop_signals = &stop_signals;
  return job;
}

void PrintLines(std::FILE* out, const std::vector<std::string>& lines) {
  for (const std::string& line : lines) std::fprintf(out, "%s\n", line.c_str());
  std::fflush(out);
}

}  // namespace

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 0;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
    case absl::StatusCode::kDataLoss:
      return 2;
    default:
      return 1;
  }
}

int RunCommand(const RunOptions& options) {
  absl::StatusOr<RunJobOptions> job = JobOptions(options);
  if (!job.ok()) {
    PrintLines(stderr, {absl::StrCat("retort: ", job.status().message())});
    return ExitCodeOf(job.status());
  }
  CatchStopSignals();
  const std::string programs = ExecutableDirectory();
  RunView view(stdout, isatty(STDOUT_FILENO) != 0, programs);
  job->observer = &view;
  const absl::StatusOr<RunSummary> summary = RunJob(*job);
  if (!summary.ok()) {
    PrintLines(stderr, {absl::StrCat("retort: ", summary.status().message())});
    return ExitCodeOf(summary.status());
  }
  view.Finish();
  if (summary->result.end == RunEnd::kFailed) {
    PrintLines(stderr, FailureLines(programs, *summary));
    return summary->result.bad_input ? 2 : 1;
  }
  PrintLines(stdout, ClosingLines(programs, *summary));
  return summary->result.end == RunEnd::kStopped ? 128 + first_signal.load() : 0;
}

}  // namespace retort::driver
