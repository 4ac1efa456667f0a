#include "common/job/job_file.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/job/applicability.h"
#include "common/job/checks.h"
#include "common/job/overrides.h"
#include "common/job/spec_reader.h"
#include "common/job/yaml_tree.h"

namespace retort::job {

void RecordBegin(absl::Time now, v1::JobSpec* spec) {
  if (spec->data().has_template_time()) return;
  spec->mutable_data()->set_template_time(
      absl::FormatCivilTime(absl::ToCivilSecond(now, absl::LocalTimeZone())));
}

absl::StatusOr<LoadedJob> ParseJob(absl::string_view text, const std::string& source,
                                   const std::string& base_dir,
                                   absl::Span<const std::string> overrides) {
  RETORT_ASSIGN_OR_RETURN(YamlNode root, ParseYaml(text, source));
  for (const std::string& override_text : overrides) {
    RETORT_RETURN_IF_ERROR(ApplyOverride(override_text, &root));
  }
  LoadedJob job;
  RETORT_RETURN_IF_ERROR(ReadSpec(root, base_dir, &job.spec, &job.positions));
  RETORT_RETURN_IF_ERROR(RefuseIgnored(job.spec, job.positions));
  ClearIgnored(&job.spec);
  RETORT_RETURN_IF_ERROR(CheckConsistency(job.spec, job.positions));
  return job;
}

absl::StatusOr<LoadedJob> LoadJobWithPositions(const std::string& path,
                                               absl::Span<const std::string> overrides) {
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxJobFileBytes));
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return ErrnoError(error.value(), path);
  return ParseJob(text, path, absolute.parent_path().string(), overrides);
}

absl::StatusOr<v1::JobSpec> LoadJob(const std::string& path,
                                    absl::Span<const std::string> overrides) {
  RETORT_ASSIGN_OR_RETURN(LoadedJob job, LoadJobWithPositions(path, overrides));
  return std::move(job.spec);
}

}  // namespace retort::job
