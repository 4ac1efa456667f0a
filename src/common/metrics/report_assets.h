// The report's page, style and script, compiled in from report/ so that `retort` needs no file
// beside it.
#pragma once

#include "absl/strings/string_view.h"

namespace retort::metrics {

extern const absl::string_view kReportPage;  // HTML with @PLACEHOLDERS@.
extern const absl::string_view kReportStyle;
extern const absl::string_view kReportCharts;  // Script: class Chart.
extern const absl::string_view kReportScript;  // Script: what the page shows.

}  // namespace retort::metrics
