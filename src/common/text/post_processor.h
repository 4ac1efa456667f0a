// The post-processor of tokenizer.json: special tokens around an encoded text.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/text/tokenizer_json.h"

namespace retort::text {

struct PostProcessor {
  std::vector<int64_t> before;
  std::vector<int64_t> after;

  // Knows null, TemplateProcessing (its `single` template), ByteLevel (adds nothing) and a Sequence
  // of these.
  static absl::StatusOr<PostProcessor> Make(const JsonObject& tokenizer);
};

}  // namespace retort::text
