// Text of one YAML scalar <-> one field. Internal to job/.
#pragma once

#include <string>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace retort::job {

// Sets a bool, enum, integer or floating-point field. False, and nothing set, if `text` is no value
// of the field's type within its bounds. Numbers are decimal: no inf, nan, hexadecimal, octal; no
// yes / no.
bool SetScalar(const std::string& text, const google::protobuf::FieldDescriptor* field,
               google::protobuf::Message* message);

// YAML text that reads back as the field's value, strings included (quoted where they must be).
std::string ScalarText(const google::protobuf::Message& message,
                       const google::protobuf::FieldDescriptor* field);

// The same of one entry of a list of strings.
std::string ScalarText(const google::protobuf::Message& message,
                       const google::protobuf::FieldDescriptor* field, int entry);

}  // namespace retort::job
