#include "common/job/spec_reader.h"

#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/job/scalar.h"
#include "common/job/schema.h"

namespace retort::job {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using Kind = YamlNode::Kind;

std::string Join(const std::string& section, absl::string_view key) {
  return section.empty() ? std::string(key) : absl::StrCat(section, ".", key);
}

absl::Status ErrorAt(const std::string& where, absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(PlaceAndKey(where, key), " ", what));
}

class SpecReader {
 public:
  SpecReader(const std::string& base_dir, FieldPositions* positions)
      : base_dir_(base_dir), positions_(positions) {}

  // `node` is null for a section that was left out; `where` is where it would stand.
  absl::Status ReadMessage(const YamlNode* node, const std::string& where, const std::string& path,
                           Message* message);

 private:
  absl::Status ReadEntries(const YamlNode& node, const std::string& path, Message* message,
                           std::set<std::string>* given);
  absl::Status ChooseMember(const YamlNode& node, const std::string& path, Message* message,
                            const FieldDescriptor** member);
  absl::Status FillAbsent(const std::string& where, const std::string& path,
                          const std::set<std::string>& given, Message* message);
  absl::Status ReadField(const YamlNode& node, const std::string& path,
                         const FieldDescriptor* field, Message* message);
  absl::Status ReadList(const YamlNode& node, const std::string& path, const FieldDescriptor* field,
                        Message* message);
  absl::Status ReadListEntry(const YamlNode& node, const std::string& path,
                             const FieldDescriptor* field, Message* message);
  absl::StatusOr<std::string> ReadString(const YamlNode& node, const std::string& path,
                                         const FieldDescriptor* field) const;
  absl::Status FillDefault(const std::string& where, const std::string& path,
                           const FieldDescriptor* field, Message* message);

  const std::string& base_dir_;
  FieldPositions* const positions_;
};

std::string DidYouMean(const std::string& name) {
  return name.empty() ? "" : absl::StrCat("; did you mean ", name, "?");
}

absl::Status UnknownKey(const YamlEntry& entry, const std::string& path,
                        const std::vector<std::string>& known) {
  // A key of another section is likelier meant than a misspelt one of this.
  std::string meant = FindKey(v1::JobSpec::descriptor(), entry.key);
  if (meant.empty()) {
    const std::string nearest = Nearest(entry.key, known);
    if (!nearest.empty()) meant = Join(path, nearest);
  }
  const std::string help = meant.empty()
                               ? absl::StrCat("; expected one of ", absl::StrJoin(known, ", "))
                               : DidYouMean(meant);
  return ErrorAt(entry.where, Join(path, Printable(entry.key)),
                 absl::StrCat("is not a known key", help));
}

absl::Status SpecReader::ChooseMember(const YamlNode& node, const std::string& path,
                                      Message* message, const FieldDescriptor** member) {
  *member = nullptr;
  const OneofDescriptor* oneof = InlineOneof(message->GetDescriptor());
  if (oneof == nullptr) return absl::OkStatus();
  std::vector<std::string> names;
  for (int i = 0; i < oneof->field_count(); ++i) names.push_back(oneof->field(i)->name());
  const std::string key = Join(path, kOneofKey);
  const std::string expected = absl::StrCat("expected one of ", absl::StrJoin(names, ", "));
  const YamlNode* type = const_cast<YamlNode&>(node).Find(kOneofKey);
  if (type == nullptr) return ErrorAt(node.where, key, absl::StrCat("is missing; ", expected));
  for (int i = 0; i < oneof->field_count(); ++i) {
    if (type->kind == Kind::kScalar && type->text == names[i]) *member = oneof->field(i);
  }
  if (*member != nullptr) {
    positions_->Set(key, type->where);
    return absl::OkStatus();
  }
  return ErrorAt(type->where, key,
                 absl::StrCat("is ", type->Describe(), "; ", expected,
                              DidYouMean(Nearest(type->text, names))));
}

absl::Status SpecReader::ReadEntries(const YamlNode& node, const std::string& path,
                                     Message* message, std::set<std::string>* given) {
  const FieldDescriptor* member;
  RETORT_RETURN_IF_ERROR(ChooseMember(node, path, message, &member));
  Message* inner =
      member == nullptr ? nullptr : message->GetReflection()->MutableMessage(message, member);
  std::vector<std::string> known;
  if (member != nullptr) {
    known.push_back(kOneofKey);
    for (const FieldDescriptor* f : PlainFields(member->message_type())) known.push_back(f->name());
  }
  for (const FieldDescriptor* f : PlainFields(message->GetDescriptor())) known.push_back(f->name());
  for (const YamlEntry& entry : node.entries) {
    if (member != nullptr && entry.key == kOneofKey) continue;
    Message* owner = message;
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(entry.key);
    if (field != nullptr && field->real_containing_oneof() != nullptr) field = nullptr;
    if (field == nullptr && inner != nullptr) {
      owner = inner;
      field = inner->GetDescriptor()->FindFieldByName(entry.key);
    }
    if (field == nullptr) return UnknownKey(entry, path, known);
    const std::string key = Join(path, entry.key);
    // A section left empty is a section left out.
    const bool message_field = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (message_field && entry.value.kind == Kind::kNull) continue;
    positions_->Set(key, entry.value.where);
    given->insert(entry.key);
    RETORT_RETURN_IF_ERROR(ReadField(entry.value, key, field, owner));
  }
  if (inner == nullptr) return absl::OkStatus();
  return FillAbsent(node.where, path, *given, inner);
}

absl::Status SpecReader::ReadMessage(const YamlNode* node, const std::string& where,
                                     const std::string& path, Message* message) {
  std::set<std::string> given;
  if (node != nullptr && node->kind != Kind::kNull) {
    if (node->kind != Kind::kMap) {
      return ErrorAt(where, path.empty() ? "the job" : path,
                     absl::StrCat("is ", node->Describe(), "; expected a section (key: value)"));
    }
    RETORT_RETURN_IF_ERROR(ReadEntries(*node, path, message, &given));
  }
  return FillAbsent(where, path, given, message);
}

absl::Status SpecReader::FillAbsent(const std::string& where, const std::string& path,
                                    const std::set<std::string>& given, Message* message) {
  for (const FieldDescriptor* field : PlainFields(message->GetDescriptor())) {
    if (given.count(field->name()) != 0) continue;
    const std::string key = Join(path, field->name());
    if (DocOf(field).required()) {
      return ErrorAt(where, key, absl::StrCat("is missing; expected ", ExpectedText(field)));
    }
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      RETORT_RETURN_IF_ERROR(FillDefault(where, key, field, message));
    } else if (!field->is_repeated()) {
      Message* section = message->GetReflection()->MutableMessage(message, field);
      RETORT_RETURN_IF_ERROR(ReadMessage(nullptr, where, key, section));
    }
  }
  return absl::OkStatus();
}

absl::Status SpecReader::FillDefault(const std::string& where, const std::string& path,
                                     const FieldDescriptor* field, Message* message) {
  if (!DocOf(field).has_default_()) return absl::OkStatus();
  RETORT_ASSIGN_OR_RETURN(const YamlNode value, ParseYaml(DocOf(field).default_(), where, true));
  if (value.kind == Kind::kScalar && value.text.empty()) return absl::OkStatus();
  return ReadField(value, path, field, message);
}

absl::Status SpecReader::ReadField(const YamlNode& node, const std::string& path,
                                   const FieldDescriptor* field, Message* message) {
  if (field->is_repeated()) return ReadList(node, path, field, message);
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    Message* section = message->GetReflection()->MutableMessage(message, field);
    return ReadMessage(&node, node.where, path, section);
  }
  if (node.kind == Kind::kNull && field->has_optional_keyword()) return absl::OkStatus();
  if (node.kind == Kind::kScalar) {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      RETORT_ASSIGN_OR_RETURN(const std::string value, ReadString(node, path, field));
      message->GetReflection()->SetString(message, field, value);
      return absl::OkStatus();
    }
    if (!node.quoted && SetScalar(node.text, field, message)) return absl::OkStatus();
  }
  std::string what = absl::StrCat("is ", node.Describe(), "; expected ", ExpectedText(field));
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    absl::StrAppend(&what, DidYouMean(Nearest(node.text, EnumNames(field->enum_type()))));
  }
  return ErrorAt(node.where, path, what);
}

absl::Status SpecReader::ReadList(const YamlNode& node, const std::string& path,
                                  const FieldDescriptor* field, Message* message) {
  const bool strings = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
  if (strings && node.kind == Kind::kScalar) return ReadListEntry(node, path, field, message);
  if (node.kind != Kind::kSequence) {
    return ErrorAt(node.where, path,
                   absl::StrCat("is ", node.Describe(), "; expected ", ExpectedText(field)));
  }
  if (node.items.size() > static_cast<size_t>(kMaxListEntries)) {
    return ErrorAt(
        node.where, path,
        absl::StrCat("has ", node.items.size(), " entries; expected at most ", kMaxListEntries));
  }
  for (size_t i = 0; i < node.items.size(); ++i) {
    const std::string key = Join(path, absl::StrCat(i));
    positions_->Set(key, node.items[i].where);
    RETORT_RETURN_IF_ERROR(ReadListEntry(node.items[i], key, field, message));
  }
  return absl::OkStatus();
}

absl::Status SpecReader::ReadListEntry(const YamlNode& node, const std::string& path,
                                       const FieldDescriptor* field, Message* message) {
  const google::protobuf::Reflection* reflection = message->GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    if (node.kind != Kind::kScalar) {
      return ErrorAt(node.where, path, absl::StrCat("is ", node.Describe(), "; expected a string"));
    }
    RETORT_ASSIGN_OR_RETURN(const std::string value, ReadString(node, path, field));
    reflection->AddString(message, field, value);
    return absl::OkStatus();
  }
  RETORT_CHECK(field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) << field->full_name();
  if (node.kind != Kind::kMap) {
    return ErrorAt(node.where, path,
                   absl::StrCat("is ", node.Describe(), "; expected a section (key: value)"));
  }
  return ReadMessage(&node, node.where, path, reflection->AddMessage(message, field));
}

absl::StatusOr<std::string> SpecReader::ReadString(const YamlNode& node, const std::string& path,
                                                   const FieldDescriptor* field) const {
  std::string value = node.text;
  if (value.size() > static_cast<size_t>(kMaxStringBytes)) {
    return ErrorAt(node.where, path,
                   absl::StrCat("is ", value.size(),
                                " bytes long; expected at "
                                "most ",
                                kMaxStringBytes));
  }
  if (value.find('\0') != std::string::npos) {
    return ErrorAt(node.where, path, "holds a NUL character; remove it");
  }
  const bool is_path = DocOf(field).path();
  if (value.empty() && (is_path || DocOf(field).required())) {
    return ErrorAt(node.where, path, absl::StrCat("is empty; expected ", ExpectedText(field)));
  }
  return is_path ? ResolvePath(base_dir_, value) : value;
}

}  // namespace

absl::Status ReadSpec(const YamlNode& root, const std::string& base_dir, Message* message,
                      FieldPositions* positions) {
  positions->Set("", root.where);
  return SpecReader(base_dir, positions).ReadMessage(&root, root.where, "", message);
}

}  // namespace retort::job
