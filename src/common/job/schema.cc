#include "common/job/schema.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace retort::job {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::OneofDescriptor;

namespace {

constexpr size_t kMaxWordBytes = 64;  // Longer words are no misspelling of a key.

size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

const v1::FieldDoc& DocOf(const FieldDescriptor* field) {
  return field->options().GetExtension(v1::field);
}

const OneofDescriptor* InlineOneof(const Descriptor* message) {
  return message->real_oneof_decl_count() > 0 ? message->oneof_decl(0) : nullptr;
}

std::vector<const FieldDescriptor*> PlainFields(const Descriptor* message) {
  std::vector<const FieldDescriptor*> fields;
  for (int i = 0; i < message->field_count(); ++i) {
    if (message->field(i)->real_containing_oneof() == nullptr) fields.push_back(message->field(i));
  }
  return fields;
}

std::string EnumName(const EnumValueDescriptor* value) {
  const std::string& zero = value->type()->FindValueByNumber(0)->name();
  const size_t prefix = zero.size() - absl::string_view("UNSPECIFIED").size();
  return absl::AsciiStrToLower(value->name().substr(prefix));
}

std::vector<std::string> EnumNames(const EnumDescriptor* type) {
  std::vector<std::string> names;
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() != 0) names.push_back(EnumName(type->value(i)));
  }
  return names;
}

const EnumValueDescriptor* FindEnumValue(const EnumDescriptor* type, absl::string_view name) {
  for (int i = 0; i < type->value_count(); ++i) {
    if (type->value(i)->number() != 0 && EnumName(type->value(i)) == name) return type->value(i);
  }
  return nullptr;
}

std::string TypeName(const FieldDescriptor* field) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "number";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat("one of ", absl::StrJoin(EnumNames(field->enum_type()), ", "));
    case FieldDescriptor::CPPTYPE_STRING:
      if (field->is_repeated()) return "list of strings";
      return DocOf(field).path() ? "path" : "string";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return field->is_repeated() ? "list of sections" : "section";
    default:
      return "integer";
  }
}

std::string BoundsText(const FieldDescriptor* field) {
  const v1::FieldDoc& doc = DocOf(field);
  std::vector<std::string> bounds;
  if (doc.has_min()) {
    bounds.push_back(absl::StrCat(doc.above_min() ? "> " : ">= ", NumberText(doc.min())));
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
    bounds.push_back(">= 0");
  }
  if (doc.has_max()) bounds.push_back(absl::StrCat("<= ", NumberText(doc.max())));
  return absl::StrJoin(bounds, " and ");
}

std::string ExpectedText(const FieldDescriptor* field) {
  const std::string type = TypeName(field);
  std::string text = type;
  if (!absl::StartsWith(type, "one of") && type != "true or false") {
    text = absl::StrCat(type[0] == 'i' ? "an " : "a ", type);
  }
  const std::string bounds = BoundsText(field);
  if (!bounds.empty()) absl::StrAppend(&text, " ", bounds);
  if (!DocOf(field).unit().empty()) absl::StrAppend(&text, " (", DocOf(field).unit(), ")");
  if (field->has_optional_keyword()) absl::StrAppend(&text, ", or null");
  return text;
}

std::string NumberText(double value) {
  if (std::floor(value) == value && std::fabs(value) < 1e7) {
    return absl::StrCat(static_cast<int64_t>(value));
  }
  char text[40];
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof(text), "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value) break;
  }
  return absl::StrReplaceAll(text, {{"e+0", "e"}, {"e-0", "e-"}, {"e+", "e"}});
}

std::string FindKey(const Descriptor* message, absl::string_view name) {
  for (const FieldDescriptor* field : PlainFields(message)) {
    if (field->name() == name) return field->name();
  }
  for (const FieldDescriptor* field : PlainFields(message)) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_repeated()) continue;
    const std::string found = FindKey(field->message_type(), name);
    if (!found.empty()) return absl::StrCat(field->name(), ".", found);
  }
  return "";
}

std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates) {
  if (word.size() > kMaxWordBytes) return "";
  std::string best;
  size_t least = 0;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (2 * distance > word.size()) continue;  // A stranger.
    if (!best.empty() && distance >= least) continue;
    best = candidate;
    least = distance;
  }
  return best;
}

}  // namespace retort::job
