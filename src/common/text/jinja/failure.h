// How the interpreter's own functions give up. An evaluator of expressions nests dozens of calls
// that all have a value to return, so they throw; Template::Parse and Template::Render catch, and
// no Failure leaves this library.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"

namespace retort::text::jinja {

struct Failure {
  absl::StatusCode code;
  std::string message;
  int line;  // Of the template, from 1; 0: the one that is being evaluated.
};

// Something that the template or its input got wrong.
[[noreturn]] inline void Fail(std::string message, int line = 0) {
  throw Failure{absl::StatusCode::kInvalidArgument, std::move(message), line};
}

// Something of Jinja or Python that this interpreter does not have.
[[noreturn]] inline void Refuse(std::string message, int line = 0) {
  throw Failure{absl::StatusCode::kUnimplemented, std::move(message), line};
}

// A bound of Limits.
[[noreturn]] inline void Exhaust(std::string message, int line = 0) {
  throw Failure{absl::StatusCode::kResourceExhausted, std::move(message), line};
}

}  // namespace retort::text::jinja
