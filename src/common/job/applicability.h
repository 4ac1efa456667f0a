// Which keys a job's method does not read. Internal to job/.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/job/job_file.h"

namespace retort::job {

bool IsPpo(const v1::JobSpec& spec);

// Why the job does not read `field` (or the section around it), or "" if it does.
std::string WhyIgnored(const v1::JobSpec& spec, absl::string_view field);

// Markdown list of every key that some job would ignore, with the reason.
std::string IgnoredKeysList();

// INVALID_ARGUMENT for the first given key that the job would ignore. (An explicit `eval.every: 0`
// says that evaluation is off on purpose: what only evaluation would read may then stay.)
absl::Status RefuseIgnored(const v1::JobSpec& spec, const FieldPositions& positions);

// Clears the sections that the job does not read, so that two specs are equal iff they mean the
// same.
void ClearIgnored(v1::JobSpec* spec);

}  // namespace retort::job
