// Digests of the files that a job reads. The driver journals them, so that a resumed run reads what
// the run before it read; a worker, which may start late in a run or on another host, compares what
// it reads with them.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retort/v1/control.pb.h"
#include "retort/v1/job.pb.h"

namespace retort::job {

// Hex digests by "data.train", "data.validation", and, of the folders of policy, policy.lora and
// reference, "policy.config" (names and bytes of .json and .jinja files and of merges.txt) and
// "policy.weights" (of .safetensors files). Only what the job names.
using InputDigests = std::map<std::string, std::string>;

// Reads everything once. Errors: those of reading the files.
absl::StatusOr<InputDigests> DigestInputs(const v1::JobSpec& spec);

// Reads what `role` reads. INVALID_ARGUMENT names the first file or folder whose digest is not
// the driver's.
absl::Status CheckInputs(const v1::JobSpec& spec, v1::Role role, const InputDigests& of_driver);

}  // namespace retort::job
