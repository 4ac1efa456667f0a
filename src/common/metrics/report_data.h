// What the report's script draws from, as JSON: columns of scalars, phases, evaluations and
// completions, thinned to a size that a browser loads at once.
#pragma once

#include <string>

#include "common/base/json.h"
#include "common/metrics/report.h"
#include "nlohmann/json.hpp"

namespace retort::metrics {

struct ReportLimits {
  size_t curve_points = 2000;
  size_t curve_values = 150'000;  // Over all curves.
  size_t phase_bars = 120;
  size_t sample_bytes = 1'200'000;  // Prompts and completions.
  size_t sample_steps = 250;
};

struct ReportData {
  Json json;
  std::string notes;  // What was thinned, for the reader; may be empty.
};

ReportData MakeReportData(const ReportInput& input, const ReportLimits& limits);

}  // namespace retort::metrics
