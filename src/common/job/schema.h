// The job schema as its descriptors tell it: names, defaults, bounds. Internal to job/.
//
// A message with a oneof is written inline: the key `type` names the member, whose fields stand
// beside the message's own ({type: length, target: 6, weight: 0.5}).
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "retort/v1/options.pb.h"

namespace retort::job {

inline constexpr int kMaxStringBytes = 4096;
inline constexpr int kMaxListEntries = 1024;
inline constexpr char kOneofKey[] = "type";

const v1::FieldDoc& DocOf(const google::protobuf::FieldDescriptor* field);

// The oneof that a message is written inline for, or null. (proto3 `optional` makes no such oneof.)
const google::protobuf::OneofDescriptor* InlineOneof(const google::protobuf::Descriptor* message);

// The message's own fields, those of its oneof left out.
std::vector<const google::protobuf::FieldDescriptor*> PlainFields(
    const google::protobuf::Descriptor* message);

// The YAML names of an enum's values, UNSPECIFIED left out: KL_PENALTY_FULL is "full".
std::string EnumName(const google::protobuf::EnumValueDescriptor* value);
std::vector<std::string> EnumNames(const google::protobuf::EnumDescriptor* type);
const google::protobuf::EnumValueDescriptor* FindEnumValue(
    const google::protobuf::EnumDescriptor* type, absl::string_view name);  // Or null.

// "integer", "number", "true or false", "string", "path", "one of sft, ppo", "section", "list of
// sections", "list of strings".
std::string TypeName(const google::protobuf::FieldDescriptor* field);

// ">= 1 and <= 16", "" without bounds.
std::string BoundsText(const google::protobuf::FieldDescriptor* field);

// What an error says was expected: "an integer >= 1 and <= 16 (steps)".
std::string ExpectedText(const google::protobuf::FieldDescriptor* field);

// Shortest text that reads back as the same number.
std::string NumberText(double value);

// Full name of the first key called `name` in `message` or its sections ("optimizer.beta1"), else
// "".
std::string FindKey(const google::protobuf::Descriptor* message, absl::string_view name);

// The candidate with the least edit distance to `word`, or "" if every one differs in more than
// half of the word's letters.
std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace retort::job
