// What several of the command-line tools are given.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "worker/tools/sampling_choice.h"

namespace retort::worker {

struct TextOptions {
  bool special_tokens = true;         // Those that the tokenizer puts around a text, such as BOS.
  bool replace_invalid_utf8 = false;  // Else such text is refused.
};

struct DrawOptions {
  SamplingChoice choice;  // What it leaves open is generation_config.json's.
  std::vector<std::string> stops;
  uint64_t seed = 1;
};

}  // namespace retort::worker
