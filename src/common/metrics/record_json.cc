#include "common/metrics/record_json.h"

#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace retort::metrics {
namespace {

constexpr int64_t kMaxMetricsFileBytes = int64_t{4} << 30;

Json ScalarsToJson(const google::protobuf::Map<std::string, double>& scalars) {
  Json json = Json::object();
  for (const auto& [name, value] : std::map<std::string, double>(scalars.begin(), scalars.end())) {
    json[name] = value;  // dump() writes NaN and infinities as null.
  }
  return json;
}

Json HistogramsToJson(const google::protobuf::Map<std::string, v1::Histogram>& histograms) {
  std::map<std::string, const v1::Histogram*> sorted;
  for (const auto& [name, histogram] : histograms) sorted[name] = &histogram;
  Json json = Json::object();
  for (const auto& [name, histogram] : sorted) {
    json[name] = {
        {"low", histogram->low()},
        {"high", histogram->high()},
        {"counts", std::vector<int64_t>(histogram->counts().begin(), histogram->counts().end())},
        {"not_finite", histogram->not_finite()}};
  }
  return json;
}

Json SamplesToJson(const google::protobuf::RepeatedPtrField<v1::SampleText>& samples) {
  Json json = Json::array();
  for (const v1::SampleText& sample : samples) {
    json.push_back({{"slot", sample.slot()},
                    {"sample", sample.sample()},
                    {"prompt", sample.prompt()},
                    {"completion", sample.completion()},
                    {"score", sample.score()}});
  }
  return json;
}

// Reads fields of one line; the first error sticks.
class LineReader {
 public:
  LineReader(const Json& json, absl::string_view source) : json_(json), source_(source) {}

  const absl::Status& status() const { return status_; }

  int64_t Integer(const Json& object, const char* key) {
    const auto it = object.find(key);
    if (it != object.end() && it->is_number_integer()) return it->get<int64_t>();
    return Fail(key, "an integer"), 0;
  }
  double Number(const Json& object, const char* key) {
    const auto it = object.find(key);
    if (it != object.end() && it->is_null()) return std::numeric_limits<double>::quiet_NaN();
    if (it != object.end() && it->is_number()) return it->get<double>();
    return Fail(key, "a number or null"), 0;
  }
  std::string Text(const Json& object, const char* key) {
    const auto it = object.find(key);
    if (it != object.end() && it->is_string()) return it->get<std::string>();
    return Fail(key, "a string"), "";
  }
  const Json& Child(const Json& object, const char* key, Json::value_t type) {
    static const auto* empty = new Json();
    const auto it = object.find(key);
    if (it != object.end() && it->type() == type) return *it;
    Fail(key, type == Json::value_t::object ? "an object" : "a list");
    return *empty;
  }

  void Scalars(const char* key, google::protobuf::Map<std::string, double>* out) {
    const Json& scalars = Child(json_, key, Json::value_t::object);
    for (const auto& item : scalars.items())
      (*out)[item.key()] = Number(scalars, item.key().c_str());
  }
  void Histograms(google::protobuf::Map<std::string, v1::Histogram>* out) {
    for (const auto& item : Child(json_, "histograms", Json::value_t::object).items()) {
      v1::Histogram& histogram = (*out)[item.key()];
      if (!item.value().is_object()) return Fail(item.key().c_str(), "an object");
      histogram.set_low(Number(item.value(), "low"));
      histogram.set_high(Number(item.value(), "high"));
      histogram.set_not_finite(Integer(item.value(), "not_finite"));
      for (const Json& count : Child(item.value(), "counts", Json::value_t::array)) {
        if (!count.is_number_integer()) return Fail("counts", "a list of integers");
        histogram.add_counts(count.get<int64_t>());
      }
    }
  }
  void Samples(google::protobuf::RepeatedPtrField<v1::SampleText>* out) {
    for (const Json& sample : Child(json_, "samples", Json::value_t::array)) {
      if (!sample.is_object()) return Fail("samples", "a list of objects");
      v1::SampleText& text = *out->Add();
      text.set_slot(Integer(sample, "slot"));
      text.set_sample(static_cast<int32_t>(Integer(sample, "sample")));
      text.set_prompt(Text(sample, "prompt"));
      text.set_completion(Text(sample, "completion"));
      text.set_score(Number(sample, "score"));
    }
  }
  void Fail(const char* key, absl::string_view expected) {
    if (!status_.ok()) return;
    status_ =
        absl::InvalidArgumentError(absl::StrCat(source_, ": \"", key, "\" is not ", expected));
  }

 private:
  const Json& json_;
  const absl::string_view source_;
  absl::Status status_;
};

v1::StepRecord ReadStep(const Json& json, LineReader& reader) {
  v1::StepRecord record;
  record.set_step(reader.Integer(json, "step"));
  reader.Scalars("scalars", record.mutable_scalars());
  reader.Scalars("phase_seconds", record.mutable_phase_seconds());
  record.set_weight_digest(reader.Text(json, "weight_digest"));
  reader.Histograms(record.mutable_histograms());
  reader.Samples(record.mutable_samples());
  return record;
}

v1::EvalRecord ReadEval(const Json& json, LineReader& reader) {
  v1::EvalRecord record;
  record.set_version(reader.Integer(json, "version"));
  record.set_rows(reader.Integer(json, "rows"));
  record.set_exact_match(reader.Number(json, "exact_match"));
  record.set_mean_score(reader.Number(json, "mean_score"));
  reader.Samples(record.mutable_samples());
  return record;
}

}  // namespace

std::string RecordToJson(const v1::StepRecord& record) {
  return DumpJson(Json{{"kind", "step"},
                       {"step", record.step()},
                       {"scalars", ScalarsToJson(record.scalars())},
                       {"phase_seconds", ScalarsToJson(record.phase_seconds())},
                       {"weight_digest", record.weight_digest()},
                       {"histograms", HistogramsToJson(record.histograms())},
                       {"samples", SamplesToJson(record.samples())}});
}

std::string RecordToJson(const v1::EvalRecord& record) {
  return DumpJson(Json{{"kind", "eval"},
                       {"version", record.version()},
                       {"rows", record.rows()},
                       {"exact_match", record.exact_match()},
                       {"mean_score", record.mean_score()},
                       {"samples", SamplesToJson(record.samples())}});
}

absl::StatusOr<std::variant<v1::StepRecord, v1::EvalRecord>> RecordFromJson(
    absl::string_view line, absl::string_view source) {
  RETORT_ASSIGN_OR_RETURN(const Json json, ParseJson(line, source));
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(source, ": not an object"));
  LineReader reader(json, source);
  const std::string kind = reader.Text(json, "kind");
  std::variant<v1::StepRecord, v1::EvalRecord> record;
  if (kind == "step") {
    record = ReadStep(json, reader);
  } else if (kind == "eval") {
    record = ReadEval(json, reader);
  } else {
    reader.Fail("kind", "\"step\" or \"eval\"");
  }
  RETORT_RETURN_IF_ERROR(reader.status());
  return record;
}

absl::StatusOr<MetricsFile> ReadMetrics(const std::string& path) {
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxMetricsFileBytes));
  MetricsFile file;
  int64_t line = 0;
  for (size_t begin = 0; begin < text.size(); ++line) {
    const size_t end = text.find('\n', begin);
    if (end == text.npos) break;  // Torn: the writer was killed inside its last record.
    const absl::string_view record_text = absl::string_view(text).substr(begin, end - begin);
    RETORT_ASSIGN_OR_RETURN(auto record,
                            RecordFromJson(record_text, absl::StrCat(path, ":", line + 1)));
    if (auto* step = std::get_if<v1::StepRecord>(&record)) {
      file.steps.push_back(std::move(*step));
    } else {
      file.evals.push_back(std::move(std::get<v1::EvalRecord>(record)));
    }
    begin = end + 1;
  }
  return file;
}

}  // namespace retort::metrics
