#include "common/job/scalar.h"

#include <cmath>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/check.h"
#include "common/job/schema.h"

namespace retort::job {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// [+-]digits, without leading zeros (YAML 1.1 reads those as octal).
bool LooksLikeInteger(absl::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return false;
  return text.find_first_not_of("0123456789") == absl::string_view::npos;
}

// [+-] digits [. digits] [e [+-] digits]: no inf, nan, hexadecimal.
bool LooksLikeNumber(absl::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  const size_t exponent = text.find_first_of("eE");
  const absl::string_view mantissa = text.substr(0, exponent);
  const bool digits = mantissa.find_first_of("0123456789") != absl::string_view::npos;
  const size_t dot = mantissa.find('.');
  if (!digits || mantissa.find_first_not_of("0123456789.") != absl::string_view::npos) return false;
  if (dot != absl::string_view::npos && mantissa.find('.', dot + 1) != absl::string_view::npos) {
    return false;
  }
  if (exponent == absl::string_view::npos) return true;
  absl::string_view power = text.substr(exponent + 1);
  if (!power.empty() && (power[0] == '-' || power[0] == '+')) power.remove_prefix(1);
  return !power.empty() && power.find_first_not_of("0123456789") == absl::string_view::npos;
}

bool InBounds(const FieldDescriptor* field, double value) {
  const v1::FieldDoc& doc = DocOf(field);
  if (doc.has_min() && (doc.above_min() ? value <= doc.min() : value < doc.min())) return false;
  return !doc.has_max() || value <= doc.max();
}

bool SetInteger(const std::string& text, const FieldDescriptor* field, Message* message) {
  const google::protobuf::Reflection* reflection = message->GetReflection();
  if (!LooksLikeInteger(text)) return false;
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
    uint64_t value;
    if (!absl::SimpleAtoi(text, &value) || !InBounds(field, static_cast<double>(value)))
      return false;
    reflection->SetUInt64(message, field, value);
    return true;
  }
  int64_t value;
  if (!absl::SimpleAtoi(text, &value) || !InBounds(field, static_cast<double>(value))) return false;
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
    reflection->SetInt64(message, field, value);
    return true;
  }
  if (value != static_cast<int32_t>(value)) return false;
  reflection->SetInt32(message, field, static_cast<int32_t>(value));
  return true;
}

// A YAML string: double-quoted unless it is a plain word or path that reads as no other type.
std::string QuotedText(const std::string& text) {
  constexpr char kPlain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/.-";
  const bool plain = !text.empty() && text.find_first_not_of(kPlain) == std::string::npos &&
                     (absl::ascii_isalpha(text[0]) || text[0] == '/');
  const std::string lower = absl::AsciiStrToLower(text);
  if (plain && lower != "null" && lower != "true" && lower != "false") return text;
  std::string quoted = "\"";
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppend(&quoted, "\\x", absl::Hex(byte, absl::kZeroPad2));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace

bool SetScalar(const std::string& text, const FieldDescriptor* field, Message* message) {
  const google::protobuf::Reflection* reflection = message->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      if (text != "true" && text != "false") return false;
      reflection->SetBool(message, field, text == "true");
      return true;
    case FieldDescriptor::CPPTYPE_ENUM: {
      const EnumValueDescriptor* value = FindEnumValue(field->enum_type(), text);
      if (value != nullptr) reflection->SetEnum(message, field, value);
      return value != nullptr;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double value;
      if (!LooksLikeNumber(text) || !absl::SimpleAtod(text, &value) || !std::isfinite(value) ||
          !InBounds(field, value)) {
        return false;
      }
      // -0.0 is 0 to everybody but protobuf, which would keep it as a field that was set.
      reflection->SetDouble(message, field, value == 0 ? 0.0 : value);
      return true;
    }
    case FieldDescriptor::CPPTYPE_UINT64:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_INT32:
      return SetInteger(text, field, message);
    default:
      RETORT_CHECK(false) << "no reader for the type of " << field->full_name();
      return false;
  }
}

std::string ScalarText(const Message& message, const FieldDescriptor* field) {
  const google::protobuf::Reflection* reflection = message.GetReflection();
  if (field->has_optional_keyword() && !reflection->HasField(message, field)) return "null";
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumName(reflection->GetEnum(message, field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return NumberText(reflection->GetDouble(message, field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection->GetUInt64(message, field));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(reflection->GetInt64(message, field));
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection->GetInt32(message, field));
    case FieldDescriptor::CPPTYPE_STRING:
      return QuotedText(reflection->GetString(message, field));
    default:
      RETORT_CHECK(false) << "no writer for the type of " << field->full_name();
      return "";
  }
}

std::string ScalarText(const Message& message, const FieldDescriptor* field, int entry) {
  return QuotedText(message.GetReflection()->GetRepeatedString(message, field, entry));
}

}  // namespace retort::job
