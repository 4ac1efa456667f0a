// The walker: a YAML tree against a message's descriptor. Internal to job/.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/job/job_file.h"
#include "common/job/yaml_tree.h"
#include "google/protobuf/message.h"

namespace retort::job {

// Fills `message` (empty before) from `root`, checks every key, type and bound, puts defaults where
// a key is absent, makes paths absolute against `base_dir`, and records where each given key
// stands. Errors: INVALID_ARGUMENT for the first problem in the order of the file, missing keys
// last.
absl::Status ReadSpec(const YamlNode& root, const std::string& base_dir,
                      google::protobuf::Message* message, FieldPositions* positions);

}  // namespace retort::job
