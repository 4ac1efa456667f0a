// `retort run`: everything from a job file, or an interrupted run's folder, to the finished model.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/rpc/endpoint.h"
#include "driver/service/driver_loop.h"
#include "driver/service/run_observer.h"
#include "retort/v1/job.pb.h"

namespace retort::driver {

struct RunJobOptions {
  std::string job_path;                // Or resume_dir.
  std::vector<std::string> overrides;  // "a.b.c=value".
  std::string resume_dir;
  bool external = false;  // Workers are started by somebody else (mpirun).
  std::string listen = "127.0.0.1:0";
  rpc::TlsFiles tls;
  std::map<std::string, std::vector<std::string>> failpoints;  // Worker name -> "name=action@hit".
  std::string worker_program;                                  // retort-worker.
  RunObserver* observer = nullptr;
  const std::atomic<int>* stop_signals = nullptr;
};

struct RunSummary {
  RunResult result;
  std::string run_dir;  // Empty: removed, because the input was bad and nothing was trained.
  std::vector<v1::EvalRecord> evals;  // By version.
  int64_t steps = 0;
  double seconds = 0;
  // How the workers came: a resume needs the same flags.
  bool external = false;
  std::string listen;
  rpc::TlsFiles tls;
};

// Errors are what is wrong with the input (job, data, folder, journal), before any process was
// started. Call on the main thread: it becomes the parent of the agent.
absl::StatusOr<RunSummary> RunJob(const RunJobOptions& options);

}  // namespace retort::driver
