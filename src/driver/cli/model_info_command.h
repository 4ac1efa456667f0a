// `retort model info`: what a Hugging Face folder holds, by its files' headers alone.
#pragma once

#include <ostream>
#include <string>

#include "absl/status/status.h"

namespace retort::driver {

struct ModelInfoOptions {
  std::string model;  // Folder.
  bool json = false;
};

// Writes a line a fact, or with `json` an object. What a folder may lack (weights, tokenizer, chat
// template) is said to be missing, and a tokenizer or template of a kind that is not read why it is
// not. Errors, one line naming the file: those of LoadModelConfig; INVALID_ARGUMENT, DATA_LOSS for
// weights that are not those of config.json, and for a malformed tokenizer or template.
absl::Status ModelInfoCommand(const ModelInfoOptions& options, std::ostream& out);

}  // namespace retort::driver
