#include "common/metrics/report_data.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace retort::metrics {
namespace {

using Scalars = google::protobuf::Map<std::string, double>;

// Six significant digits: more than a pixel shows.
Json Rounded(double value) {
  if (!std::isfinite(value)) return nullptr;
  return std::strtod(absl::StrFormat("%.6g", value).c_str(), nullptr);
}

// Consecutive steps averaged into one point.
class Buckets {
 public:
  Buckets(const std::vector<v1::StepRecord>& steps, size_t most)
      : steps_(steps), width_((steps.size() + most - 1) / std::max<size_t>(1, most)) {
    width_ = std::max<size_t>(1, width_);
  }

  size_t width() const { return width_; }
  size_t count() const { return (steps_.size() + width_ - 1) / width_; }

  // The middle step of each bucket, counted from 1 as people do.
  Json Steps() const {
    Json out = Json::array();
    for (size_t b = 0; b < count(); ++b)
      out.push_back((steps_[Begin(b)].step() + steps_[End(b) - 1].step()) / 2 + 1);
    return out;
  }

  // The mean of the finite values of one scalar, null where there are none.
  Json Column(const std::string& name, const Scalars& (v1::StepRecord::*scalars)() const) const {
    Json out = Json::array();
    for (size_t b = 0; b < count(); ++b) {
      double sum = 0;
      int64_t finite = 0;
      for (size_t i = Begin(b); i < End(b); ++i) {
        const Scalars& map = (steps_[i].*scalars)();
        const auto it = map.find(name);
        if (it == map.end() || !std::isfinite(it->second)) continue;
        sum += it->second;
        ++finite;
      }
      out.push_back(finite == 0 ? Json(nullptr) : Rounded(sum / static_cast<double>(finite)));
    }
    return out;
  }

 private:
  size_t Begin(size_t bucket) const { return bucket * width_; }
  size_t End(size_t bucket) const { return std::min(steps_.size(), (bucket + 1) * width_); }

  const std::vector<v1::StepRecord>& steps_;
  size_t width_;
};

std::set<std::string> NamesOf(const std::vector<v1::StepRecord>& steps,
                              const Scalars& (v1::StepRecord::*scalars)() const) {
  std::set<std::string> names;
  for (const v1::StepRecord& step : steps) {
    for (const auto& [name, value] : (step.*scalars)()) names.insert(name);
  }
  return names;
}

// Indices of `keep` evenly spaced items of `count`, the first and the last among them.
std::vector<size_t> EvenlySpaced(size_t count, size_t keep) {
  std::vector<size_t> kept;
  if (count <= keep || keep < 2) {
    const size_t begin = count <= keep ? 0 : count - keep;
    for (size_t i = begin; i < count; ++i) kept.push_back(i);
    return kept;
  }
  for (size_t i = 0; i < keep; ++i) kept.push_back(i * (count - 1) / (keep - 1));
  return kept;
}

Json SampleRows(const google::protobuf::RepeatedPtrField<v1::SampleText>& samples) {
  Json rows = Json::array();
  for (const v1::SampleText& sample : samples) {
    rows.push_back(Json::array({sample.prompt(), sample.completion(), Rounded(sample.score())}));
  }
  return rows;
}

size_t SampleBytes(const google::protobuf::RepeatedPtrField<v1::SampleText>& samples) {
  size_t bytes = 0;
  for (const v1::SampleText& sample : samples) {
    bytes += sample.prompt().size() + sample.completion().size() + 32;
  }
  return bytes;
}

Json HistogramsOf(const v1::StepRecord& step) {
  std::map<std::string, const v1::Histogram*> sorted;
  for (const auto& [name, histogram] : step.histograms()) {
    if (histogram.counts_size() > 0) sorted[name] = &histogram;
  }
  Json out = Json::object();
  for (const auto& [name, histogram] : sorted) {
    out[name] =
        Json::array({Rounded(histogram->low()), Rounded(histogram->high()),
                     std::vector<int64_t>(histogram->counts().begin(), histogram->counts().end())});
  }
  return out;
}

// How many of `records` fit into `bytes` if all are as large as their mean.
template <typename Record>
size_t FittingCount(const std::vector<const Record*>& records, size_t bytes, size_t most) {
  size_t total = 0;
  for (const Record* record : records) total += SampleBytes(record->samples());
  if (total <= bytes) return std::min(most, records.size());
  return std::max<size_t>(1, std::min(most, records.size() * bytes / total));
}

Json TrainingSamples(const ReportInput& input, const ReportLimits& limits, std::string* notes) {
  std::vector<const v1::StepRecord*> with_samples;
  for (const v1::StepRecord& step : input.steps) {
    if (step.samples_size() > 0) with_samples.push_back(&step);
  }
  const size_t keep = FittingCount(with_samples, limits.sample_bytes * 3 / 4, limits.sample_steps);
  if (keep < with_samples.size()) {
    absl::StrAppend(notes, "Completions of ", keep, " of ", with_samples.size(),
                    " steps are kept here, evenly spaced; metrics.jsonl has all. ");
  }
  Json out = Json::array();
  for (const size_t i : EvenlySpaced(with_samples.size(), keep)) {
    out.push_back({{"at", with_samples[i]->step() + 1},
                   {"rows", SampleRows(with_samples[i]->samples())},
                   {"histograms", HistogramsOf(*with_samples[i])}});
  }
  return out;
}

Json EvalSamples(const std::vector<const v1::EvalRecord*>& evals, const ReportLimits& limits) {
  std::vector<const v1::EvalRecord*> with_samples;
  for (const v1::EvalRecord* eval : evals) {
    if (eval->samples_size() > 0) with_samples.push_back(eval);
  }
  Json out = Json::array();
  const size_t keep = FittingCount(with_samples, limits.sample_bytes / 4, limits.sample_steps);
  for (const size_t i : EvenlySpaced(with_samples.size(), keep)) {
    out.push_back(
        {{"at", with_samples[i]->version()}, {"rows", SampleRows(with_samples[i]->samples())}});
  }
  return out;
}

}  // namespace

ReportData MakeReportData(const ReportInput& input, const ReportLimits& limits) {
  ReportData data;
  const std::set<std::string> names = NamesOf(input.steps, &v1::StepRecord::scalars);
  const size_t points =
      std::min(limits.curve_points, limits.curve_values / std::max<size_t>(1, names.size()));
  const Buckets curves(input.steps, std::max<size_t>(10, points));
  if (curves.width() > 1) {
    data.notes = absl::StrCat("Each point of a curve is the mean of ", curves.width(), " steps. ");
  }
  data.json["steps"] = curves.Steps();
  data.json["series"] = Json::object();
  for (const std::string& name : names) {
    data.json["series"][name] = curves.Column(name, &v1::StepRecord::scalars);
  }
  const Buckets bars(input.steps, limits.phase_bars);
  Json seconds = Json::object();
  for (const std::string& name : NamesOf(input.steps, &v1::StepRecord::phase_seconds)) {
    seconds[name] = bars.Column(name, &v1::StepRecord::phase_seconds);
  }
  data.json["phases"] = {{"steps", bars.Steps()}, {"seconds", std::move(seconds)}};
  std::map<int64_t, const v1::EvalRecord*> by_version;
  for (const v1::EvalRecord& eval : input.evals) by_version[eval.version()] = &eval;
  std::vector<const v1::EvalRecord*> evals;
  for (const auto& [version, eval] : by_version) evals.push_back(eval);
  data.json["evals"] = Json::array();
  for (const size_t i : EvenlySpaced(evals.size(), limits.curve_points)) {
    data.json["evals"].push_back({{"version", evals[i]->version()},
                                  {"rows", evals[i]->rows()},
                                  {"match", Rounded(evals[i]->exact_match())}});
  }
  data.json["samples"] = TrainingSamples(input, limits, &data.notes);
  data.json["evalSamples"] = EvalSamples(evals, limits);
  return data;
}

}  // namespace retort::metrics
