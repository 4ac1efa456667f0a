// Records as lines of metrics.jsonl. Field names are the proto's; keys are sorted, doubles are the
// shortest text that reads back to the same bits, NaN and infinities are null.
//   {"kind":"step","step":3,"scalars":{"objective/kl":0.01,...},"phase_seconds":{...},"weight_digest":"...",
//    "histograms":{"name":{"low":..,"high":..,"counts":[..],"not_finite":0}},"samples":[{...}]}
//   {"kind":"eval","version":4,"rows":1000,"exact_match":0.43,"mean_score":0.43,"samples":[{...}]}
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "retort/v1/record.pb.h"

namespace retort::metrics {

// One line, without the newline.
std::string RecordToJson(const v1::StepRecord& record);
std::string RecordToJson(const v1::EvalRecord& record);

// The inverse (null reads as NaN). INVALID_ARGUMENT beginning with `source` for any other text.
absl::StatusOr<std::variant<v1::StepRecord, v1::EvalRecord>> RecordFromJson(
    absl::string_view line, absl::string_view source);

struct MetricsFile {
  std::vector<v1::StepRecord> steps;
  std::vector<v1::EvalRecord> evals;
};

// A whole metrics.jsonl, in file order. A torn last line (no newline) is left out; any other bad
// line is INVALID_ARGUMENT naming path:line.
absl::StatusOr<MetricsFile> ReadMetrics(const std::string& path);

}  // namespace retort::metrics
