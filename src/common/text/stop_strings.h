// Where generated text ends because it holds one of some strings, found while the text still comes
// in pieces.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace retort::text {

// Fed the pieces of one text. The text is cut before the stop string whose last byte comes first;
// of several that end there, before the one that begins first. That does not depend on how the text
// is cut into pieces. Not thread-safe.
class StopScanner {
 public:
  // Byte strings, none empty (CHECKed). No strings: nothing ever stops.
  explicit StopScanner(std::vector<std::string> stops);

  // Returns what may be shown now: of the text so far, all but what was returned before and an end
  // that could still become a stop string. After a stop only "".
  std::string Push(absl::string_view piece);

  // The end that was held back, when the text is over without a stop.
  std::string Finish();

  bool stopped() const { return stopped_; }

 private:
  // Bytes at the end of held_ that a stop string begins with.
  size_t OpenEnd() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace retort::text
