// Runs cases and says what came out.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "conformance/case.h"
#include "conformance/op_registry.h"

namespace retort::conformance {

enum class Outcome { kPass, kFail, kUnsupported };

struct CaseResult {
  Outcome outcome = Outcome::kFail;
  std::string detail;  // "max_err=2.4e-07", what differed, or what is not supported.
  std::string op;
  std::string family;  // What the op said it was about, if it got that far.
};

// `data`: what --data said; empty: DefaultDataFolder. Models compute on `device`, everything else
// on the CPU.
CaseResult RunCase(const OpRegistry& registry, const std::string& folder, const std::string& data,
                   const at::Device& device = at::kCPU);

// OP or OP:FAMILY.
struct Requirement {
  std::string op;
  std::string family;  // Empty: every family.
};
// "a,b:c" -> {a}, {b, c}. INVALID_ARGUMENT for an empty part.
absl::StatusOr<std::vector<Requirement>> ParseRequirements(absl::string_view text);
bool IsRequired(const std::vector<Requirement>& requirements, const CaseResult& result);

struct RunOptions {
  std::vector<std::string> roots;
  std::string data;
  std::vector<Requirement> required;
  at::Device device = at::kCPU;  // See RunCase.
};

// Prints one line a case and the summary. Returns the exit status: 0, 1 (failed, or unsupported
// though required), 2 (a root without cases).
int RunAll(const OpRegistry& registry, const RunOptions& options, std::ostream& out);

}  // namespace retort::conformance
