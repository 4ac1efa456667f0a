// Shows a run to a person: the live table fed from the driver's events, and the closing lines.
#pragma once

#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "driver/cli/live_table.h"
#include "driver/service/run_job.h"
#include "driver/service/run_observer.h"

namespace retort::driver {

// Not thread-safe; called on the event loop's thread.
class RunView : public RunObserver {
 public:
  // `terminal`: `out` is one, the status line is redrawn in place. `programs`: the folder of
  // `retort`, for lines to paste.
  RunView(std::FILE* out, bool terminal, std::string programs)
      : out_(out), terminal_(terminal), programs_(std::move(programs)) {}

  void OnStart(const RunStart& start) override;
  void OnState(const RunState& state) override;
  void OnStep(const v1::StepRecord& record) override;
  void OnEval(const v1::EvalRecord& record) override;
  void OnNote(absl::string_view line) override;
  // Clears the status line; the table stays.
  void Finish();

 private:
  std::FILE* const out_;
  const bool terminal_;
  const std::string programs_;
  std::optional<LiveTable> table_;
  RunState state_;
};

// What a finished or stopped run prints on stdout, one line each; the last line of a finished run
// with an evaluation is "held-out exact match: 41.5 % -> 96.2 %". `programs`: the folder of
// `retort`, for the line that goes on with a stopped run.
std::vector<std::string> ClosingLines(const std::string& programs, const RunSummary& summary);

// What a failed run prints on stderr: what was wrong, the end of the worker's log, what to do.
std::vector<std::string> FailureLines(const std::string& programs, const RunSummary& summary);

}  // namespace retort::driver
