#include "driver/cli/run_view.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/clock.h"
#include "driver/cli/paste_line.h"

namespace retort::driver {

void RunView::OnStart(const RunStart& start) {
  std::string first = absl::StrCat(start.name, ": ", start.algorithm, ", ", start.steps,
                                   " steps of ", start.samples_per_step, " samples, ",
                                   start.workers, " workers, run folder ", start.run_dir);
  if (start.resumed) absl::StrAppend(&first, ", resumed after step ", start.first_step);
  std::fprintf(out_, "%s\n", first.c_str());
  for (const std::string& note : start.notes) std::fprintf(out_, "note: %s\n", note.c_str());
  if (start.external) {
    std::fprintf(out_,
                 "waiting for %d workers at %s; start them with\n"
                 "  %s\n",
                 start.workers, start.address.c_str(), WorkersLine(programs_, start).c_str());
  }
  std::fflush(out_);
  table_.emplace(out_, terminal_, start.steps, start.name, Clock::Real());
}

void RunView::OnState(const RunState& state) {
  const bool changed = state.workers_alive != state_.workers_alive;
  state_ = state;
  if (changed && table_) table_->Workers(state.workers_alive, state.workers_expected);
}

void RunView::OnStep(const v1::StepRecord& record) {
  if (table_) table_->Step(record, state_.workers_alive, state_.workers_expected);
}

void RunView::OnEval(const v1::EvalRecord& record) {
  if (table_) table_->Eval(record);
}

void RunView::OnNote(absl::string_view line) {
  if (table_) table_->Note(line);
}

void RunView::Finish() {
  if (table_) table_->Finish();
}

std::vector<std::string> ClosingLines(const std::string& programs, const RunSummary& summary) {
  std::vector<std::string> lines;
  const RunResult& result = summary.result;
  if (result.end == RunEnd::kStopped) {
    lines.push_back(absl::StrCat(
        "stopped after ", result.next_step, " of ", summary.steps, " steps, newest checkpoint: ",
        result.checkpoint_step > 0 ? absl::StrCat("step ", result.checkpoint_step) : "none"));
    lines.push_back(absl::StrCat("go on with: ", ResumeLine(programs, summary)));
    return lines;
  }
  lines.push_back(
      absl::StrFormat("done in %.1f s, report: %s/report.html", summary.seconds, summary.run_dir));
  lines.push_back(absl::StrCat("final weights: ", result.weight_digest));
  lines.push_back(absl::StrCat("model: ", result.model_path));
  if (!summary.evals.empty()) {
    lines.push_back(absl::StrFormat("held-out exact match: %.1f %% -> %.1f %%",
                                    100 * summary.evals.front().exact_match(),
                                    100 * summary.evals.back().exact_match()));
  }
  return lines;
}

std::vector<std::string> FailureLines(const std::string& programs, const RunSummary& summary) {
  const RunResult& result = summary.result;
  std::vector<std::string> lines = {absl::StrCat("retort: ", result.message)};
  if (!result.log_tail.empty()) {
    lines.push_back(absl::StrCat("the log of ", result.worker, " ends with:"));
    for (const absl::string_view line : absl::StrSplit(result.log_tail, '\n')) {
      lines.push_back(absl::StrCat("  | ", line));
    }
  }
  if (summary.run_dir.empty()) {
    lines.push_back(
        "nothing was trained and nothing is left behind; correct the input and run again");
  } else if (result.bad_input) {
    lines.push_back(absl::StrCat("logs: ", summary.run_dir, "/logs"));
  } else {
    lines.push_back(
        absl::StrCat("logs: ", summary.run_dir,
                     "/logs; when the cause is gone, go on with: ", ResumeLine(programs, summary)));
  }
  return lines;
}

}  // namespace retort::driver
