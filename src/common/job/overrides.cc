#include "common/job/overrides.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"

namespace retort::job {
namespace {

using Kind = YamlNode::Kind;

absl::StatusOr<YamlNode*> EntryOfList(const std::string& part, const std::string& where,
                                      YamlNode* list) {
  int64_t index;
  if (absl::SimpleAtoi(part, &index) && index >= 0 &&
      index < static_cast<int64_t>(list->items.size())) {
    return &list->items[index];
  }
  return absl::InvalidArgumentError(absl::StrCat(where, ": \"", Printable(part),
                                                 "\" is no entry of the list; expected 0 to ",
                                                 static_cast<int64_t>(list->items.size()) - 1));
}

absl::StatusOr<YamlNode*> Descend(const std::string& part, const std::string& where,
                                  YamlNode* node) {
  if (node->kind == Kind::kSequence) return EntryOfList(part, where, node);
  if (node->kind == Kind::kScalar) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": \"", Printable(part),
                                                   "\" lies inside the value ", node->Describe(),
                                                   "; expected a section around it"));
  }
  if (node->kind == Kind::kNull) {
    node->kind = Kind::kMap;
    if (node->where.empty()) node->where = where;
  }
  if (YamlNode* found = node->Find(part)) return found;
  node->entries.push_back({part, where, YamlNode()});
  node->entries.back().value.where = where;
  return &node->entries.back().value;
}

}  // namespace

absl::Status ApplyOverride(absl::string_view text, YamlNode* root) {
  const size_t equals = text.find('=');
  const absl::string_view path = text.substr(0, equals);
  const std::string where = absl::StrCat("--set ", Printable(path));
  if (equals == absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": no \"=\"; expected a.b.c=value"));
  }
  RETORT_ASSIGN_OR_RETURN(YamlNode value, ParseYaml(text.substr(equals + 1), where, true));
  const std::vector<std::string> parts = absl::StrSplit(path, '.');
  if (parts.size() > static_cast<size_t>(kMaxYamlDepth)) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": nested deeper than ", kMaxYamlDepth, " levels"));
  }
  YamlNode* node = root;
  for (const std::string& part : parts) {
    if (part.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": a part of the key is empty; expected a.b.c=value"));
    }
    RETORT_ASSIGN_OR_RETURN(node, Descend(part, where, node));
  }
  *node = std::move(value);
  return absl::OkStatus();
}

}  // namespace retort::job
