#include "driver/cli/live_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace retort::driver {
namespace {

constexpr int kRowsPerHeader = 20;
constexpr int kBarWidth = 24;

// How a column finds its number in a record: the first of the names that is there.
struct Column {
  const char* title;
  int width;
  int decimals;
  const char* names[2];
};

// PPO's names first, then what SFT has.
constexpr Column kScalars[] = {
    {"reward", 8, 4, {"env/reward_mean", nullptr}},
    {"KL", 9, 4, {"objective/kl", nullptr}},
    {"loss", 9, 4, {"loss", nullptr}},
    {"entropy", 8, 3, {"objective/entropy", "entropy"}},
    {"grad", 8, 3, {"grad_norm", nullptr}},
    {"length", 7, 1, {"completions/mean_length", nullptr}},
    {"tok/s", 8, 0, {"rollout/tokens_per_second", "learner/tokens_per_second"}},
};
constexpr const char* kPhases[] = {"generate", "score", "train", "idle"};
constexpr int kPhaseWidth = 10;

std::string Duration(absl::Duration duration) {
  const int64_t seconds = absl::ToInt64Seconds(duration);
  if (seconds < 60) return absl::StrCat(seconds, " s");
  if (seconds < 3600) return absl::StrFormat("%d:%02d min", seconds / 60, seconds % 60);
  return absl::StrFormat("%d:%02d h", seconds / 3600, seconds / 60 % 60);
}

template <typename Map>
std::string Cell(const Map& map, const char* name, int width, int decimals) {
  const auto found = name == nullptr ? map.end() : map.find(name);
  if (found == map.end() || std::isnan(found->second)) return absl::StrFormat("%*s", width, "-");
  return absl::StrFormat("%*.*f", width, decimals, found->second);
}

}  // namespace

std::string TableHeader() {
  std::string header = absl::StrFormat("%6s", "step");
  for (const Column& column : kScalars) {
    absl::StrAppendFormat(&header, " %*s", column.width, column.title);
  }
  for (const char* phase : kPhases) {
    absl::StrAppendFormat(&header, " %*s", kPhaseWidth, absl::StrCat(phase, " s"));
  }
  return header;
}

std::string TableRow(const v1::StepRecord& record) {
  std::string row = absl::StrFormat("%6d", record.step() + 1);
  for (const Column& column : kScalars) {
    const bool first = record.scalars().count(column.names[0]) > 0;
    absl::StrAppend(
        &row, " ",
        Cell(record.scalars(), column.names[first ? 0 : 1], column.width, column.decimals));
  }
  for (const char* phase : kPhases) {
    absl::StrAppend(&row, " ", Cell(record.phase_seconds(), phase, kPhaseWidth, 3));
  }
  return row;
}

void StepTimer::Finished(int64_t step, absl::Duration now) {
  if (last_step_ >= 0 && step > last_step_) {
    const double seconds =
        absl::ToDoubleSeconds(now - last_) / static_cast<double>(step - last_step_);
    mean_seconds_ = known_ == 0 ? seconds : 0.9 * mean_seconds_ + 0.1 * seconds;
    ++known_;
  }
  last_step_ = step;
  last_ = now;
}

absl::Duration StepTimer::Remaining() const {
  if (known_ == 0) return absl::ZeroDuration();
  return absl::Seconds(mean_seconds_ * static_cast<double>(total_steps_ - last_step_ - 1));
}

LiveTable::LiveTable(std::FILE* out, bool terminal, int64_t total_steps, std::string job_name,
                     Clock* clock)
    : out_(out),
      terminal_(terminal),
      total_steps_(total_steps),
      job_name_(std::move(job_name)),
      clock_(clock),
      timer_(total_steps) {}

void LiveTable::Step(const v1::StepRecord& record, int workers_alive, int workers_total) {
  workers_alive_ = workers_alive;
  workers_total_ = workers_total;
  committed_ = record.step() + 1;
  timer_.Finished(record.step(), clock_->Now());
  if (rows_++ % kRowsPerHeader == 0) PrintAbove(TableHeader());
  PrintAbove(TableRow(record));
}

void LiveTable::Workers(int alive, int total) {
  workers_alive_ = alive;
  workers_total_ = total;
  ClearStatus();
  DrawStatus();
  std::fflush(out_);
}

void LiveTable::Eval(const v1::EvalRecord& record) {
  exact_match_ = record.exact_match();
  PrintAbove(absl::StrFormat("       held-out exact match after step %d: %.1f %% of %d rows",
                             record.version(), 100 * record.exact_match(), record.rows()));
}

void LiveTable::Note(absl::string_view line) { PrintAbove(absl::StrCat("       ", line)); }

void LiveTable::Finish() {
  ClearStatus();
  std::fflush(out_);
}

void LiveTable::PrintAbove(const std::string& line) {
  ClearStatus();
  std::fprintf(out_, "%s\n", line.c_str());
  DrawStatus();
  std::fflush(out_);
}

void LiveTable::ClearStatus() {
  if (std::exchange(status_shown_, false)) std::fputs("\r\033[K", out_);
}

void LiveTable::DrawStatus() {
  if (!terminal_) return;
  const double done =
      static_cast<double>(committed_) / static_cast<double>(std::max<int64_t>(1, total_steps_));
  const int filled = static_cast<int>(done * kBarWidth);
  std::string status =
      absl::StrCat(job_name_, " [", std::string(filled, '='), std::string(kBarWidth - filled, ' '),
                   "] ", committed_, "/", total_steps_);
  const absl::Duration remaining = timer_.Remaining();
  if (remaining > absl::ZeroDuration())
    absl::StrAppend(&status, "  ", Duration(remaining), " left");
  if (workers_total_ > 0) {
    absl::StrAppend(&status, "  workers ", workers_alive_, "/", workers_total_);
  }
  if (exact_match_ >= 0) absl::StrAppendFormat(&status, "  held-out %.1f %%", 100 * exact_match_);
  std::fputs(status.c_str(), out_);
  status_shown_ = true;
}

}  // namespace retort::driver
