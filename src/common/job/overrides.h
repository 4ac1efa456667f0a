// `--set a.b.c=value` on a YAML tree. Internal to job/.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/job/yaml_tree.h"

namespace retort::job {

// Replaces the value at a.b.c, making the sections on the way; a number names an entry of a list
// that is there. The new nodes' position is "--set a.b.c". Whether the keys exist is the walker's
// question. Errors: INVALID_ARGUMENT for text without "=", an empty part, a part inside a plain
// value, a list entry that is not there, a value that is no YAML.
absl::Status ApplyOverride(absl::string_view text, YamlNode* root);

}  // namespace retort::job
