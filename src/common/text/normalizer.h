// The normalizer of tokenizer.json: rewrites text before it is cut into tokens.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/tokenizer_json.h"

namespace retort::text {

// One rewriting step. Immutable.
class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  virtual absl::Status Apply(std::string* text) const = 0;
};

class Normalizer {
 public:
  // Knows null, Sequence, Prepend, Replace (String or Regex) and NFC.
  static absl::StatusOr<Normalizer> Make(const JsonObject& tokenizer);

  // Valid UTF-8 in, valid UTF-8 out.
  absl::StatusOr<std::string> Normalize(absl::string_view text) const;

 private:
  std::vector<std::unique_ptr<const NormalizerStep>> steps_;
};

}  // namespace retort::text
