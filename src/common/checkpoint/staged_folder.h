// A folder that is there whole or not at all.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace retort::checkpoint {

enum class ExistingFolder {
  kReplaced,  // In one exchange. One writer at a time: it clears what a killed one left.
  kKept,      // An error, unless it is empty. Writers do not disturb each other.
};

// Calls `fill` with an empty folder beside `folder`, fsyncs that and renames it to `folder`. `fill`
// fsyncs its files. Errors: those of `fill` and of the file functions. `folder` is then as it was,
// and nothing is left beside it.
absl::Status WriteStagedFolder(const std::string& folder, ExistingFolder existing,
                               const std::function<absl::Status(const std::string& staging)>& fill);

// Copies the files that a tokenizer and its chat template may consist of, whichever exist.
absl::Status CopyTokenizer(const std::string& from, const std::string& to);

// Copies `from`/`name`, if it exists, durably.
absl::Status CopyFileIfThere(const std::string& from, const std::string& to,
                             const std::string& name);

}  // namespace retort::checkpoint
