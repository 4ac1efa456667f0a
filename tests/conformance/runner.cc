#include "conformance/runner.h"

#include <algorithm>
#include <ostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/tensor/torch_process.h"
#include "nlohmann/json.hpp"

namespace retort::conformance {
namespace {

CaseResult Failed(std::string detail) { return {Outcome::kFail, std::move(detail), "", ""}; }

CaseResult Judged(const Comparison& comparison) {
  if (!comparison.problem.empty()) return Failed(comparison.problem);
  return {Outcome::kPass, absl::StrFormat("max_err=%.1e", comparison.max_error), "", ""};
}

// Whether a refusal was expected, and the right one.
CaseResult JudgeRefusal(const absl::Status& status, const std::optional<std::string>& expected) {
  if (absl::IsUnimplemented(status)) {
    return {Outcome::kUnsupported, std::string(status.message()), "", ""};
  }
  if (!expected.has_value()) return Failed(absl::StrCat("refused: ", status.message()));
  if (absl::StrContains(status.message(), *expected)) return {Outcome::kPass, "refused", "", ""};
  return Failed(
      absl::StrCat("refused with \"", status.message(), "\", expected \"", *expected, "\" in it"));
}

CaseResult RunTensors(const Op& op, const Case& spec, const CaseContext& context) {
  absl::StatusOr<tensor::TensorMap> inputs =
      tensor::ReadTensorFile(absl::StrCat(context.folder, "/inputs.safetensors"));
  if (!inputs.ok()) return Failed(std::string(inputs.status().message()));
  TensorCall call(spec.params, context, *std::move(inputs));
  const absl::StatusOr<tensor::TensorMap> got =
      tensor::CatchTorch([&] { return op.tensors(call); });
  CaseResult result;
  if (!got.ok()) {
    result = JudgeRefusal(got.status(), spec.error);
  } else if (spec.error.has_value()) {
    result = Failed(absl::StrCat("accepted, expected a refusal with \"", *spec.error, "\""));
  } else {
    const absl::StatusOr<tensor::TensorMap> want =
        tensor::ReadTensorFile(absl::StrCat(context.folder, "/expected.safetensors"));
    if (!want.ok()) return Failed(std::string(want.status().message()));
    result = Judged(CompareTensors(*got, *want, spec.tolerance));
  }
  result.family = call.family();
  return result;
}

CaseResult RunLine(const Op& op, const Case& spec, const CaseContext& context,
                   const CaseLine& line) {
  LineCall call(spec.params, context, line.inputs);
  const std::optional<std::string>& error = line.error.has_value() ? line.error : spec.error;
  const absl::StatusOr<Json> got = tensor::CatchTorch([&] { return op.line(call); });
  CaseResult result;
  if (!got.ok()) {
    result = JudgeRefusal(got.status(), error);
  } else if (error.has_value()) {
    result = Failed(absl::StrCat("accepted, expected a refusal with \"", *error, "\""));
  } else {
    result = Judged(CompareJson(*got, line.expected, spec.tolerance));
  }
  result.family = call.family();
  return result;
}

// The first line that does not pass decides.
CaseResult RunLines(const Op& op, const Case& spec, const CaseContext& context) {
  const absl::StatusOr<std::vector<CaseLine>> lines =
      LoadCaseLines(absl::StrCat(context.folder, "/cases.jsonl"), op.line_inputs);
  if (!lines.ok()) return Failed(std::string(lines.status().message()));
  CaseResult result;
  for (const CaseLine& line : *lines) {
    result = RunLine(op, spec, context, line);
    if (result.outcome == Outcome::kPass) continue;
    result.detail = absl::StrCat("line ", line.number, ": ", result.detail);
    return result;
  }
  result.detail = absl::StrCat("lines=", lines->size());
  return result;
}

}  // namespace

CaseResult RunCase(const OpRegistry& registry, const std::string& folder, const std::string& data,
                   const at::Device& device) {
  const absl::StatusOr<Case> spec = LoadCase(folder);
  if (!spec.ok()) return Failed(std::string(spec.status().message()));
  const CaseContext context{folder, data.empty() ? DefaultDataFolder(folder) : data, device};
  const auto op = registry.find(spec->op);
  CaseResult result;
  if (op == registry.end()) {
    result = {Outcome::kUnsupported, absl::StrCat("op \"", spec->op, "\""), "", ""};
  } else if (op->second.line) {
    result = RunLines(op->second, *spec, context);
  } else {
    result = RunTensors(op->second, *spec, context);
  }
  result.op = spec->op;
  return result;
}

absl::StatusOr<std::vector<Requirement>> ParseRequirements(absl::string_view text) {
  std::vector<Requirement> requirements;
  if (text.empty()) return requirements;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<std::string, std::string> named = absl::StrSplit(part, absl::MaxSplits(':', 1));
    if (named.first.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--require=", text, ": expected OP[:FAMILY] between commas"));
    }
    requirements.push_back({named.first, named.second});
  }
  return requirements;
}

bool IsRequired(const std::vector<Requirement>& requirements, const CaseResult& result) {
  return std::any_of(requirements.begin(), requirements.end(), [&](const Requirement& required) {
    // A case that failed before it knew its family counts for every family.
    return required.op == result.op &&
           (required.family.empty() || result.family.empty() || required.family == result.family);
  });
}

int RunAll(const OpRegistry& registry, const RunOptions& options, std::ostream& out) {
  int passed = 0, failed = 0, missing = 0;
  for (const Requirement& required : options.required) {
    if (registry.contains(required.op)) continue;
    out << "--require: op \"" << required.op << "\" is not supported\n";
    ++missing;
  }
  for (const std::string& root : options.roots) {
    const absl::StatusOr<std::vector<CaseFolder>> cases = DiscoverCases(root);
    if (!cases.ok()) {
      out << cases.status().message() << "\n";
      return 2;
    }
    for (const CaseFolder& folder : *cases) {
      const CaseResult result = RunCase(registry, folder.path, options.data, options.device);
      const bool required = IsRequired(options.required, result);
      const char* word = result.outcome == Outcome::kPass   ? "PASS"
                         : result.outcome == Outcome::kFail ? "FAIL"
                                                            : "UNSUPPORTED";
      passed += result.outcome == Outcome::kPass;
      failed += result.outcome == Outcome::kFail;
      missing += result.outcome == Outcome::kUnsupported && required;
      out << absl::StreamFormat(
          "%s %-30s %s%s\n", word, folder.name, result.detail,
          result.outcome == Outcome::kUnsupported && required ? " (required by --require)" : "");
    }
  }
  out << passed << " passed, " << failed << " failed\n";
  return failed + missing > 0 ? 1 : 0;
}

}  // namespace retort::conformance
