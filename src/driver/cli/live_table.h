// What `retort run` shows while it trains: one row a step. On a terminal the header stays above the
// newest rows and a status line below them is redrawn in place; elsewhere every step is one plain
// line, so that logs stay readable.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "retort/v1/record.pb.h"

namespace retort::driver {

// One step as a table row, without a newline. Absent numbers show as "-".
//   step  reward  KL  loss  entropy  grad norm  length  tok/s  generate score train idle (seconds)
std::string TableHeader();
std::string TableRow(const v1::StepRecord& record);

// Mean seconds a step of the last `window` steps, and from it the time that is left.
class StepTimer {
 public:
  explicit StepTimer(int64_t total_steps) : total_steps_(total_steps) {}
  void Finished(int64_t step, absl::Duration now);
  // Zero until two steps are known.
  absl::Duration Remaining() const;

 private:
  const int64_t total_steps_;
  int64_t last_step_ = -1;
  int64_t known_ = 0;
  absl::Duration last_;
  double mean_seconds_ = 0;  // Exponential mean, so that a slow first step is forgotten.
};

// Not thread-safe.
class LiveTable {
 public:
  LiveTable(std::FILE* out, bool terminal, int64_t total_steps, std::string job_name, Clock* clock);

  void Step(const v1::StepRecord& record, int workers_alive, int workers_total);
  void Workers(int alive, int total);  // Between steps.
  void Eval(const v1::EvalRecord& record);
  // A line of its own among the rows: a worker was respawned, a checkpoint was written.
  void Note(absl::string_view line);
  // Clears the status line; the table stays.
  void Finish();

 private:
  void PrintAbove(const std::string& line);
  void DrawStatus();
  void ClearStatus();

  std::FILE* const out_;
  const bool terminal_;
  const int64_t total_steps_;
  const std::string job_name_;
  Clock* const clock_;
  StepTimer timer_;
  int64_t rows_ = 0;
  int64_t committed_ = 0;
  int workers_alive_ = 0;
  int workers_total_ = 0;
  double exact_match_ = -1;
  bool status_shown_ = false;
};

}  // namespace retort::driver
