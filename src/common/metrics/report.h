// The end-of-run report: one HTML file that needs no network, no server and no other file.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "retort/v1/record.pb.h"

namespace retort::metrics {

struct ReportInput {
  std::string job_yaml;   // As resolved; shown under "Job file".
  std::string name;       // Of the run.
  std::string algorithm;  // "ppo", "sft".
  std::string status;     // "finished", "stopped at step 40", ...
  uint64_t seed = 0;
  int64_t planned_steps = 0;
  double wall_seconds = 0;
  std::string weight_digest;                               // Of the last version.
  std::vector<std::pair<std::string, std::string>> facts;  // More rows: host, build, workers ...
  std::vector<v1::StepRecord> steps;                       // Ascending.
  std::vector<v1::EvalRecord> evals;  // Ascending by version; of equal versions the last counts.
};

// Everything from outside is escaped. The page stays below 3 MB: curves longer than 2,000 points
// are averaged into buckets, sample completions are kept for evenly spaced steps only, and the page
// says so.
std::string RenderReport(const ReportInput& input);

}  // namespace retort::metrics
