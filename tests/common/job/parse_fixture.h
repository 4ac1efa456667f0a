// A job file's text as job.yaml in /base: the job, or the error.
#pragma once

#include <string>
#include <vector>

#include "common/job/job_file.h"
#include "gtest/gtest.h"

namespace retort::job {

inline v1::JobSpec Load(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const auto job = ParseJob(text, "job.yaml", "/base", overrides);
  EXPECT_TRUE(job.ok()) << job.status();
  return job.ok() ? job->spec : v1::JobSpec();
}

inline std::string ErrorOf(const std::string& text,
                           const std::vector<std::string>& overrides = {}) {
  const auto job = ParseJob(text, "job.yaml", "/base", overrides);
  if (job.ok()) return "accepted";
  EXPECT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(job.status().message());
}

}  // namespace retort::job
