// Whole runs of the real programs, for tests: a folder with a small sorting task, `retort run` as a
// child process, and what it left behind.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "multiprocess/child_process.h"
#include "retort/v1/record.pb.h"

namespace retort::e2e {

inline constexpr absl::Duration kPatience = absl::Minutes(1);

// True as soon as `condition` is, false after `patience`.
bool WaitFor(const std::function<bool()>& condition, absl::Duration patience = kPatience);

// The path of program `name` of this build.
std::string Program(const std::string& name);

// A loopback address that nothing listened at a moment ago.
std::string FreeAddress();

// A scratch folder with data and model configs, made once a process, removed at its end.
const std::string& TaskFolder();

// What a small run is; every field is a line of its job file.
struct JobOptions {
  std::string algorithm = "ppo";
  int steps = 6;
  int lag = 0;
  int rollout_workers = 1;
  int learner_ranks = 1;
  int checkpoint_every = 2;
  bool evaluate = true;
  std::string model;      // Folder with weights; empty: random ones.
  std::string policy;     // More keys of `policy`, such as "lora: {rank: 4}".
  std::string sampling;   // More keys of `rollout`, such as "temperature: 0.7".
  std::string ppo;        // More keys of `algorithm.ppo`.
  std::string optimizer;  // More keys of `optimizer`.
  std::string rewards = "{type: exact_match}, {type: length, target: 3, tolerance: 4, weight: 0.5}";
  std::string more;  // Top-level sections.
  double learning_rate = 1e-3;
};

// The default job with this lag.
JobOptions Lag(int lag);

// A run folder below TaskFolder(). The destructor checks that no process and no shared memory of it
// is left.
class SmallRun {
 public:
  SmallRun(const std::string& name, const JobOptions& options);
  ~SmallRun();

  const std::string& folder() const { return folder_; }

  // Runs `retort run JOB flags...`, or `retort run --resume FOLDER flags...`, to its end. The exit
  // status.
  int Start(const std::vector<std::string>& flags = {});
  int Resume(const std::vector<std::string>& flags = {});
  // The same without waiting.
  std::unique_ptr<ChildProcess> Launch(const std::vector<std::string>& flags = {});
  std::unique_ptr<ChildProcess> LaunchResume();

  // Standard output and standard error.
  const std::string& output() const { return output_; }
  // What "final weights: " of the output says; empty without it.
  std::string FinalWeights() const;

  // First column of the first row of a query on the journal; -1 while there is none.
  int64_t Journal(const std::string& sql) const;
  // A statement on the journal of a run that has ended.
  absl::Status Change(const std::string& sql) const;
  // The records of the committed steps; empty if the journal cannot be read.
  std::vector<v1::StepRecord> Steps() const;
  int64_t Commits() const { return Journal("SELECT COUNT(*) FROM commits WHERE step >= 0"); }
  // The process that fills a place now, by the journal; 0 if none has joined since the last loss.
  pid_t PidOf(const std::string& worker) const;

  // How often the place `worker` was filled again.
  int64_t Respawns(const std::string& worker) const;
  // Bundles of training steps lost while a worker made them, and lost or orphaned after it had
  // reported them.
  int64_t LostInGeneration() const;
  int64_t LostAfterReport() const;

  // Processes whose command line names this run's folder.
  std::vector<pid_t> Processes() const;

 private:
  static std::unique_ptr<ChildProcess> LaunchWith(const std::vector<std::string>& arguments);
  int RunToEnd(const std::vector<std::string>& arguments);

  std::string folder_;
  std::string job_;
  std::string output_;
  std::vector<std::string> shared_memory_before_;
};

// Final weights of an undisturbed run of these options; run once a process for each set of them.
std::string UndisturbedWeights(const JobOptions& options);

}  // namespace retort::e2e
