#include "common/job/yaml_tree.h"

#include <algorithm>
#include <exception>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "yaml-cpp/depthguard.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace retort::job {
namespace {

// Builds the tree. The first problem is kept and all later events are dropped: yaml-cpp cannot be
// stopped but by an exception, and the size of the text bounds what it still does.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string source, bool fixed_where)
      : source_(std::move(source)), fixed_where_(fixed_where) {}

  const absl::Status& status() const { return status_; }
  YamlNode Take() { return std::move(root_); }
  std::string Where(const YAML::Mark& mark) const {
    return fixed_where_ ? source_ : absl::StrCat(source_, ":", mark.line + 1, ":", mark.column + 1);
  }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0)
      Fail(mark, "a second document or stray text starts here; expected one job a file");
  }
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    Fail(mark, absl::StrCat("anchor &", Printable(name), " is not supported; write the value out"));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Fail(mark, "an alias is not supported; write the value out");
  }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (Allowed(mark, "?", anchor)) Add(mark, YamlNode());
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (!Allowed(mark, tag, anchor)) return;
    YamlNode node;
    node.kind = YamlNode::Kind::kScalar;
    node.text = value;
    node.quoted = tag == "!";
    Add(mark, std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Level {
    YamlNode node;
    bool has_key = false;
    std::string key, key_where;
    std::set<std::string> keys;
  };

  void Fail(const YAML::Mark& mark, absl::string_view what) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat(Where(mark), ": ", what));
  }

  bool Allowed(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) Fail(mark, "an anchor is not supported; write the value out");
    if (!tag.empty() && tag != "?" && tag != "!") {
      Fail(mark, absl::StrCat("tag ", Printable(tag), " is not supported; write a plain value"));
    }
    if (++nodes_ > kMaxYamlNodes) {
      Fail(mark, absl::StrCat("more than ", kMaxYamlNodes, " values in one file"));
    }
    return status_.ok();
  }

  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind) {
    if (!Allowed(mark, tag, anchor)) return;
    if (!open_.empty() && NeedsKey())
      return Fail(mark, "a key is no plain text; expected `key: value`");
    if (open_.size() == static_cast<size_t>(kMaxYamlDepth)) {
      return Fail(mark, absl::StrCat("nested deeper than ", kMaxYamlDepth, " levels"));
    }
    open_.emplace_back();
    open_.back().node.kind = kind;
    open_.back().node.where = Where(mark);
  }

  void Close() {
    if (!status_.ok()) return;
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    Put(std::move(node));
  }

  void Add(const YAML::Mark& mark, YamlNode node) {
    node.where = Where(mark);
    if (open_.empty() || !NeedsKey()) return Put(std::move(node));
    Level& level = open_.back();
    if (node.kind != YamlNode::Kind::kScalar)
      return Fail(mark, "a key is empty; expected `key: value`");
    if (!level.keys.insert(node.text).second) {
      return Fail(mark, absl::StrCat("key \"", Printable(node.text),
                                     "\" appears twice in one section; remove one"));
    }
    level.key = std::move(node.text);
    level.key_where = std::move(node.where);
    level.has_key = true;
  }

  bool NeedsKey() const {
    return open_.back().node.kind == YamlNode::Kind::kMap && !open_.back().has_key;
  }

  void Put(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    Level& level = open_.back();
    if (level.node.kind == YamlNode::Kind::kSequence) {
      level.node.items.push_back(std::move(node));
      return;
    }
    level.node.entries.push_back(
        {std::move(level.key), std::move(level.key_where), std::move(node)});
    level.has_key = false;
  }

  const std::string source_;
  const bool fixed_where_;
  absl::Status status_;
  int documents_ = 0;
  int nodes_ = 0;
  std::vector<Level> open_;
  YamlNode root_;
};

// yaml-cpp replaces bytes that are not UTF-8 and takes the control character 0x04 for the end of
// the file, so both must be found before it reads.
absl::Status CheckCharacters(absl::string_view text, const std::string& source, bool fixed_where) {
  const size_t valid = FirstInvalidByte(text).value_or(text.size());
  const char* problem = valid < text.size() ? "not UTF-8; save the file as UTF-8" : nullptr;
  size_t at = 0;
  for (; at < valid; at += CharacterBytes(text[at])) {
    const char32_t c = CodePoint(text.substr(at));
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0x7f && c < 0xa0 && c != 0x85)) {
      problem = "a control character; only tab and newline are allowed";
    } else if (c == 0xfeff) {
      problem = "a byte order mark; save the file as UTF-8 without one";
    } else {
      continue;
    }
    break;
  }
  if (problem == nullptr) return absl::OkStatus();
  const absl::string_view before = text.substr(0, at);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const size_t column = at - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0.
  return absl::InvalidArgumentError(
      absl::StrCat(source, fixed_where ? "" : absl::StrCat(":", line, ":", column), ": ", problem));
}

}  // namespace

YamlNode* YamlNode::Find(absl::string_view key) {
  for (YamlEntry& entry : entries) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

std::string YamlNode::Describe() const {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kSequence:
      return "a list";
    case Kind::kMap:
      return "a section";
    case Kind::kScalar:
      break;
  }
  return quoted || text.empty() ? absl::StrCat("\"", Printable(text), "\"") : Printable(text);
}

absl::StatusOr<YamlNode> ParseYaml(absl::string_view text, const std::string& source,
                                   bool fixed_where) {
  if (static_cast<int64_t>(text.size()) > kMaxJobFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": ", text.size(), " bytes; expected at most ", kMaxJobFileBytes));
  }
  RETORT_RETURN_IF_ERROR(CheckCharacters(text, source, fixed_where));
  TreeBuilder builder(source, fixed_where);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    // Never in a loop: on a stray "]" it returns true for ever, a document without end.
    if (parser.HandleNextDocument(builder)) parser.HandleNextDocument(builder);
  } catch (const YAML::DeepRecursion& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(builder.Where(error.mark), ": nested deeper than ", kMaxYamlDepth, " levels"));
  } catch (const YAML::Exception& error) {
    // Before what the builder found: events of broken text need not mean what its author meant.
    return absl::InvalidArgumentError(
        absl::StrCat(builder.Where(error.mark), ": not YAML: ", Printable(error.msg)));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(source, ": not YAML: ", Printable(error.what())));
  }
  RETORT_RETURN_IF_ERROR(builder.status());
  YamlNode root = builder.Take();
  if (root.where.empty()) root.where = fixed_where ? source : absl::StrCat(source, ":1:1");
  return root;
}

}  // namespace retort::job
