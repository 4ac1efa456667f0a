// Cases on disk: any folder that holds a case.json.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/json.h"
#include "conformance/compare.h"

namespace retort::conformance {

struct Case {
  std::string op;
  Json params = Json::object();
  Tolerance tolerance;
  std::optional<std::string> error;  // The op must be refused with a message that contains it.
};

struct CaseFolder {
  std::string name;  // Relative to the folder that was searched.
  std::string path;
};

// Every case under `root` (itself included), sorted by name. NOT_FOUND if there is none.
absl::StatusOr<std::vector<CaseFolder>> DiscoverCases(const std::string& root);

// Errors: INVALID_ARGUMENT naming the key that is missing, unknown or of the wrong type.
absl::StatusOr<Case> LoadCase(const std::string& folder);

// One object of cases.jsonl, split into inputs and what is expected.
struct CaseLine {
  int number = 0;  // From 1.
  Json inputs = Json::object();
  Json expected = Json::object();
  std::optional<std::string> error;  // The line must be refused with a message that contains it.
};
absl::StatusOr<std::vector<CaseLine>> LoadCaseLines(const std::string& path,
                                                    const std::vector<std::string>& input_names);

// The `data` folder beside the `goldens` folder that holds `case_path`; empty if there is none.
std::string DefaultDataFolder(const std::string& case_path);

}  // namespace retort::conformance
