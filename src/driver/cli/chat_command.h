// `retort chat --render`: the prompt that a model folder's chat template makes of a conversation.
// Without --render, retort-worker holds one.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/civil_time.h"

namespace retort::driver {

struct RenderChatOptions {
  std::string model;           // Folder.
  std::string messages = "-";  // File with a JSON array of messages; "-" is standard input.
  std::string tools;           // File with a JSON array; empty: none.
  bool add_generation_prompt = false;
  std::vector<std::string> template_variables;  // NAME=JSON.
};

// Writes the prompt, nothing else, not even a newline behind it. `now` is what a template that
// asks for the date is told. Errors name the file: those of text::ChatTemplate.
absl::Status RenderChatCommand(const RenderChatOptions& options, absl::CivilSecond now,
                               std::ostream& out);

}  // namespace retort::driver
