// The normalizer of tokenizer.json: rewrites text before it is cut into tokens.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/text/edit_map.h"
#include "common/text/tokenizer_json.h"

namespace retort::text {

// One rewriting step. Immutable.
class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;

  // Writes what becomes of `text` to `out` and, unless it is null, the edits that lead there to
  // `edits`. Returns false, with both left alone, when the text stays as it is. `out` and `edits`
  // are empty before.
  virtual absl::StatusOr<bool> Apply(absl::string_view text, std::string* out,
                                     EditMap* edits) const = 0;
};

// What one call after the other may use again.
struct NormalizerBuffers {
  std::string text[2];
  EditMap step_edits;
};

class Normalizer {
 public:
  // Knows null, Sequence, Prepend, Replace (String or Regex) and NFC.
  static absl::StatusOr<Normalizer> Make(const JsonObject& tokenizer);

  // Valid UTF-8 in, valid UTF-8 out: `text` itself, or a view into `buffers` that lasts until they
  // are used again. `edits`, if not null, becomes the map from `text` to the result. Errors:
  // RESOURCE_EXHAUSTED when the result exceeds the bounds or a pattern gives up.
  absl::StatusOr<absl::string_view> Normalize(absl::string_view text, NormalizerBuffers* buffers,
                                              EditMap* edits) const;

  // The same for a text that is not worth buffers.
  absl::StatusOr<std::string> Normalize(absl::string_view text) const;

 private:
  std::vector<std::unique_ptr<const NormalizerStep>> steps_;
};

}  // namespace retort::text
