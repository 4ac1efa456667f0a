#include "common/text/tokenizer_document.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/text/json_cursor.h"
#include "nlohmann/json.hpp"

namespace retort::text {
namespace {

absl::Status Bad(absl::string_view source, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(source, ": ", what));
}

// Copies the object at the cursor member by member; `value` says what stands for a member's value.
bool CopyObject(JsonCursor* cursor, std::string* out,
                const std::function<bool(absl::string_view key, std::string* out)>& append_value) {
  out->push_back('{');
  bool first = true;
  if (!cursor->Take('{')) return false;
  while (cursor->More('}', &first)) {
    absl::string_view key;
    if (!cursor->String(&key)) return false;
    const std::string name(key);
    if (!cursor->Take(':')) return false;
    if (out->back() != '{') out->push_back(',');
    absl::StrAppend(out, DumpJson(nlohmann::json(name)), ":");
    if (!append_value(name, out)) return false;
  }
  out->push_back('}');
  return cursor->ok();
}

}  // namespace

absl::StatusOr<TokenizerDocument> ReadTokenizerDocument(absl::string_view text,
                                                        absl::string_view source) {
  if (const auto bad = FirstInvalidByte(text)) {
    return Bad(source, absl::StrCat("not UTF-8 at byte ", *bad));
  }
  TokenizerDocument document;
  JsonCursor cursor(text);
  std::string rest;  // The file without the large members.
  const auto append_raw = [&](absl::string_view, std::string* out) {
    absl::string_view raw;
    if (!cursor.Skip(&raw)) return false;
    out->append(raw.data(), raw.size());
    return true;
  };
  const auto append_model_member = [&](absl::string_view key, std::string* out) {
    if (key != "vocab" && key != "merges") return append_raw(key, out);
    RawValue& value = key == "vocab" ? document.vocabulary : document.merges;
    if (!cursor.Skip(&value.text)) return false;
    value.offset = static_cast<size_t>(value.text.data() - text.data());
    out->append("null");
    return true;
  };
  const auto append_member = [&](absl::string_view key, std::string* out) {
    if (key != "model" || cursor.Peek() != '{') return append_raw(key, out);
    return CopyObject(&cursor, out, append_model_member);
  };
  if (cursor.Peek() == '{' ? !CopyObject(&cursor, &rest, append_member) : !append_raw("", &rest)) {
    return Bad(source, cursor.error());
  }
  if (!cursor.End()) return Bad(source, cursor.error());
  RETORT_ASSIGN_OR_RETURN(document.tree, ParseSortedJson(rest, source));
  return document;
}

absl::StatusOr<nlohmann::json> ReadMembers(absl::string_view text, absl::string_view source,
                                           std::initializer_list<absl::string_view> keys) {
  if (const auto bad = FirstInvalidByte(text)) {
    return Bad(source, absl::StrCat("not UTF-8 at byte ", *bad));
  }
  JsonCursor cursor(text);
  std::string rest;
  const auto append_member = [&](absl::string_view key, std::string* out) {
    absl::string_view raw;
    if (!cursor.Skip(&raw)) return false;
    const bool wanted = std::find(keys.begin(), keys.end(), key) != keys.end();
    absl::StrAppend(out, wanted ? raw : "null");
    return true;
  };
  absl::string_view raw;
  if (cursor.Peek() == '{') {
    if (!CopyObject(&cursor, &rest, append_member)) return Bad(source, cursor.error());
  } else {
    if (!cursor.Skip(&raw)) return Bad(source, cursor.error());
    rest = std::string(raw);
  }
  if (!cursor.End()) return Bad(source, cursor.error());
  return ParseSortedJson(rest, source);
}

}  // namespace retort::text
