#include "conformance/case.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace retort::conformance {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxCaseBytes = int64_t{1} << 20;
constexpr int64_t kMaxLinesBytes = int64_t{1} << 28;

absl::Status Bad(const std::string& path, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

bool IsString(const Json& object, const char* key) {
  return object.contains(key) && object[key].is_string();
}

absl::StatusOr<CaseLine> SplitLine(const Json& object, const std::string& where,
                                   const std::vector<std::string>& input_names) {
  if (!object.is_object()) return Bad(where, "not a JSON object");
  CaseLine line;
  const bool nested = object.contains("inputs");
  if (nested) line.inputs = object["inputs"];
  if (nested && object.contains("expected")) line.expected = object["expected"];
  for (const auto& [key, value] : object.items()) {
    if (key == "error") {
      if (!value.is_string()) return Bad(where, "error is no string");
      line.error = value.get<std::string>();
    } else if (nested) {
      if (key != "inputs" && key != "expected")
        return Bad(where, absl::StrCat("unknown key ", key));
    } else if (std::find(input_names.begin(), input_names.end(), key) != input_names.end()) {
      line.inputs[key] = value;
    } else {
      line.expected[key] = value;
    }
  }
  if (!line.inputs.is_object() || !line.expected.is_object()) {
    return Bad(where, "inputs or expected is no object");
  }
  if (line.error.has_value() && !line.expected.empty()) {
    return Bad(where, "expects both an error and an output");
  }
  return line;
}

}  // namespace

absl::StatusOr<std::vector<CaseFolder>> DiscoverCases(const std::string& root) {
  std::vector<CaseFolder> cases;
  const fs::path base = fs::path(ResolvePath(fs::current_path().string(), root));
  const auto add = [&](const fs::path& folder) {
    if (!FileExists((folder / "case.json").string())) return;
    std::string name = folder.lexically_relative(base).string();
    if (name == ".") name = folder.filename().string();
    cases.push_back({name, folder.string()});
  };
  std::error_code error;
  add(base);
  for (fs::recursive_directory_iterator it(base, error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_directory()) add(it->path());
  }
  if (error) return ErrnoError(error.value(), root);
  if (cases.empty()) return absl::NotFoundError(absl::StrCat(root, ": no case.json under it"));
  std::sort(cases.begin(), cases.end(),
            [](const CaseFolder& a, const CaseFolder& b) { return a.name < b.name; });
  return cases;
}

absl::StatusOr<Case> LoadCase(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/case.json");
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxCaseBytes));
  RETORT_ASSIGN_OR_RETURN(const Json root, ParseJson(text, path));
  if (!root.is_object()) return Bad(path, "not a JSON object");
  static const std::set<std::string> known = {"op", "params", "rtol", "atol", "source", "error"};
  for (const auto& [key, value] : root.items()) {
    if (!known.contains(key)) return Bad(path, absl::StrCat("unknown key ", key));
  }
  if (!IsString(root, "op")) return Bad(path, "op is missing");
  Case result;
  result.op = root["op"].get<std::string>();
  if (root.contains("params")) result.params = root["params"];
  if (!result.params.is_object()) return Bad(path, "params is no object");
  for (const char* key : {"rtol", "atol"}) {
    if (!root.contains(key) || !root[key].is_number() || !(root[key].get<double>() >= 0)) {
      return Bad(path, absl::StrCat(key, " is no number >= 0"));
    }
  }
  result.tolerance = {root["rtol"].get<double>(), root["atol"].get<double>()};
  if (root.contains("error")) {
    if (!IsString(root, "error")) return Bad(path, "error is no string");
    result.error = root["error"].get<std::string>();
  }
  return result;
}

absl::StatusOr<std::vector<CaseLine>> LoadCaseLines(const std::string& path,
                                                    const std::vector<std::string>& input_names) {
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxLinesBytes));
  std::vector<CaseLine> lines;
  int number = 0;
  for (const absl::string_view raw : absl::StrSplit(text, '\n')) {
    ++number;
    if (raw.empty()) continue;
    const std::string where = absl::StrCat(path, ":", number);
    RETORT_ASSIGN_OR_RETURN(const Json object, ParseJson(raw, where));
    RETORT_ASSIGN_OR_RETURN(CaseLine line, SplitLine(object, where, input_names));
    line.number = number;
    lines.push_back(std::move(line));
  }
  if (lines.empty()) return Bad(path, "no line");
  return lines;
}

std::string DefaultDataFolder(const std::string& case_path) {
  for (fs::path folder = case_path; folder.has_relative_path(); folder = folder.parent_path()) {
    if (folder.filename() == "goldens") return (folder.parent_path() / "data").string();
  }
  return "";
}

}  // namespace retort::conformance
