#include "common/metrics/report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/base/json.h"
#include "common/metrics/report_assets.h"
#include "common/metrics/report_data.h"
#include "nlohmann/json.hpp"

namespace retort::metrics {
namespace {

constexpr size_t kMaxPageBytes = 3'000'000;
constexpr size_t kMaxJobBytes = 64 << 10;

std::string Escape(absl::string_view text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

// JSON inside a script element: no byte sequence may close it or open a comment. `<` occurs in
// strings only.
std::string ScriptJson(const Json& json) {
  return absl::StrReplaceAll(DumpJson(json),
                             {{"<", "\\u003c"}, {">", "\\u003e"}, {"&", "\\u0026"}});
}

std::string Percent(double fraction) { return absl::StrFormat("%.1f %%", 100 * fraction); }

std::string Seconds(double seconds) {
  const int64_t whole = std::llround(seconds);
  if (seconds < 60) return absl::StrFormat("%.1f s", seconds);
  if (whole < 3600) return absl::StrFormat("%d min %02d s", whole / 60, whole % 60);
  return absl::StrFormat("%d h %02d min", whole / 3600, whole % 3600 / 60);
}

// 1234567 -> "1,234,567". Not for negative numbers.
std::string Grouped(int64_t number) {
  if (number < 1000) return absl::StrCat(number);
  return absl::StrCat(Grouped(number / 1000), ",", absl::Dec(number % 1000, absl::kZeroPad3));
}

struct FirstAndLast {
  double first, last;
};

std::optional<FirstAndLast> ScalarEnds(const std::vector<v1::StepRecord>& steps,
                                       const std::string& name) {
  std::optional<FirstAndLast> ends;
  for (const v1::StepRecord& step : steps) {
    const auto it = step.scalars().find(name);
    if (it == step.scalars().end() || !std::isfinite(it->second)) continue;
    if (!ends) ends = FirstAndLast{it->second, it->second};
    ends->last = it->second;
  }
  return ends;
}

std::optional<double> ScalarMean(const std::vector<v1::StepRecord>& steps,
                                 const std::string& name) {
  double sum = 0;
  int64_t count = 0;
  for (const v1::StepRecord& step : steps) {
    const auto it = step.scalars().find(name);
    if (it == step.scalars().end() || !std::isfinite(it->second)) continue;
    sum += it->second;
    ++count;
  }
  if (count == 0) return std::nullopt;
  return sum / static_cast<double>(count);
}

// `from` and `value` are escaped here; an empty `from` is no change to show.
void AddTile(absl::string_view css, absl::string_view label, absl::string_view from,
             absl::string_view value, absl::string_view note, std::string* out) {
  absl::StrAppend(out, "<div class=\"card tile ", css, "\"><div class=\"label\">", Escape(label),
                  "</div><div class=\"value\">");
  if (!from.empty()) absl::StrAppend(out, "<span class=\"from\">", Escape(from), " → </span>");
  absl::StrAppend(out, Escape(value), "</div><div class=\"note\">", Escape(note), "</div></div>");
}

void AddScalarTile(const std::vector<v1::StepRecord>& steps, absl::string_view label,
                   const std::string& name, absl::string_view note, std::string* out) {
  const std::optional<FirstAndLast> ends = ScalarEnds(steps, name);
  if (!ends) return;
  const auto text = [](double value) { return absl::StrFormat("%.3g", value); };
  AddTile("", label, text(ends->first), text(ends->last), note, out);
}

std::string Tiles(const ReportInput& input) {
  std::string out;
  if (!input.evals.empty()) {
    const v1::EvalRecord& first = input.evals.front();
    const v1::EvalRecord& last = input.evals.back();
    const std::string from = input.evals.size() > 1 ? Percent(first.exact_match()) : "";
    AddTile("hero", "Held-out exact match", from, Percent(last.exact_match()),
            absl::StrFormat("%d rows, greedy, version %d", last.rows(), last.version()), &out);
  }
  AddScalarTile(input.steps, "Reward", "env/reward_mean", "first and last step", &out);
  AddScalarTile(input.steps, "KL to the reference", "objective/kl", "nats per sequence", &out);
  if (!ScalarEnds(input.steps, "env/reward_mean")) {
    AddScalarTile(input.steps, "Loss", "loss", "first and last step", &out);
  }
  const int64_t done = input.steps.empty() ? 0 : input.steps.back().step() + 1;
  AddTile("", "Steps", "", absl::StrCat(done), absl::StrCat("of ", input.planned_steps, " planned"),
          &out);
  AddTile("", "Wall time", "", Seconds(input.wall_seconds),
          done > 0
              ? absl::StrCat(Seconds(input.wall_seconds / static_cast<double>(done)), " a step")
              : "",
          &out);
  if (const auto speed = ScalarMean(input.steps, "rollout/tokens_per_second")) {
    AddTile("", "Generated", "", absl::StrCat(Grouped(std::llround(*speed)), " tokens/s"),
            "mean over steps", &out);
  }
  return out;
}

std::string Facts(const ReportInput& input) {
  std::vector<std::pair<std::string, std::string>> rows = {
      {"Run", input.name},
      {"Algorithm", input.algorithm},
      {"Status", input.status},
      {"Seed", absl::StrCat(input.seed)},
      {"Steps", absl::StrCat(input.steps.empty() ? 0 : input.steps.back().step() + 1, " of ",
                             input.planned_steps)},
      {"Wall time", Seconds(input.wall_seconds)}};
  if (!input.weight_digest.empty()) rows.emplace_back("Weight digest", input.weight_digest);
  rows.insert(rows.end(), input.facts.begin(), input.facts.end());
  std::string out;
  for (const auto& [name, value] : rows) {
    absl::StrAppend(&out, "<tr><th scope=\"row\">", Escape(name), "</th><td>", Escape(value),
                    "</td></tr>");
  }
  return out;
}

absl::string_view StatusClass(absl::string_view status) {
  if (status == "finished") return "good";
  return absl::StartsWith(status, "failed") ? "bad" : "";
}

std::string JobText(const ReportInput& input) {
  if (input.job_yaml.size() <= kMaxJobBytes) return Escape(input.job_yaml);
  return absl::StrCat(Escape(absl::string_view(input.job_yaml).substr(0, kMaxJobBytes)),
                      "\n... cut here; RUN/job.yaml has all of it\n");
}

// Replaces each @NAME@ once; what is put in is not searched again.
std::string FillPage(const std::map<std::string, std::string>& values) {
  std::string out;
  absl::string_view rest = kReportPage;
  while (true) {
    const size_t begin = rest.find('@');
    const size_t end = begin == rest.npos ? rest.npos : rest.find('@', begin + 1);
    if (end == rest.npos) return absl::StrCat(out, rest);
    const auto it = values.find(std::string(rest.substr(begin + 1, end - begin - 1)));
    absl::StrAppend(&out, rest.substr(0, begin), it == values.end() ? "" : it->second);
    rest.remove_prefix(end + 1);
  }
}

std::string Render(const ReportInput& input, const ReportLimits& limits) {
  const ReportData data = MakeReportData(input, limits);
  return FillPage({{"TITLE", Escape(absl::StrCat(input.name, " · Retort"))},
                   {"NAME", Escape(input.name)},
                   {"SUBTITLE", Escape(absl::StrCat(input.algorithm, " · seed ", input.seed, " · ",
                                                    input.planned_steps, " steps"))},
                   {"STATUS", Escape(input.status)},
                   {"STATUS_CLASS", std::string(StatusClass(input.status))},
                   {"TILES", Tiles(input)},
                   {"FACTS", Facts(input)},
                   {"JOB", JobText(input)},
                   {"NOTES", Escape(data.notes)},
                   {"DATA", ScriptJson(data.json)},
                   {"STYLE", std::string(kReportStyle)},
                   {"SCRIPT", absl::StrCat(kReportCharts, kReportScript)}});
}

}  // namespace

std::string RenderReport(const ReportInput& input) {
  ReportLimits limits;
  std::string page = Render(input, limits);
  // Escapes can make the data several times larger than its text.
  while (page.size() > kMaxPageBytes && limits.sample_bytes > 1000) {
    limits.sample_bytes /= 2;
    limits.sample_steps = std::max<size_t>(2, limits.sample_steps / 2);
    limits.curve_values = std::max<size_t>(2000, limits.curve_values * 3 / 4);
    page = Render(input, limits);
  }
  return page;
}

}  // namespace retort::metrics
