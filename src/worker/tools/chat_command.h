// `retort chat`: a conversation with a model folder, a line of standard input at a time.
#pragma once

#include <istream>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/civil_time.h"
#include "worker/tools/tool_options.h"

namespace retort::worker {

struct ChatOptions {
  ModelOptions model;
  DrawOptions draw;    // Answer i since the start or /reset draws from the random stream (seed, i).
  std::string system;  // The first message; empty: none.
  std::vector<std::string> template_variables;  // NAME=JSON.
  bool replace_invalid_utf8 = false;
  // A person is typing: the prompt "> " is shown, and what is wrong with one message is told on
  // `err` without ending the conversation.
  bool interactive = false;
};

// Every line of `in` is a message of the user's, put through the folder's chat template with all
// that was said before; the answer goes to `out` as it is made, and a line end behind it. Blank
// lines are passed over, "/reset" forgets the conversation, "/exit" and the end of `in` end it.
// `now` is what a template that asks for the date is told. The caller has called
// tensor::ConfigureTorchProcess. Errors: those of LoadModelFolder, NOT_FOUND without a template;
// INVALID_ARGUMENT, naming the line, for text that is not UTF-8, a template that refuses it, or a
// conversation that the context does not hold.
absl::Status ChatCommand(const ChatOptions& options, absl::CivilSecond now, std::istream& in,
                         std::ostream& out, std::ostream& err);

}  // namespace retort::worker
