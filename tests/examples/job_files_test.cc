// The example job files name no unknown key and contradict nothing.
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/job/job_file.h"
#include "gtest/gtest.h"

namespace retort {
namespace {

class JobFilesTest : public testing::TestWithParam<const char*> {};

TEST_P(JobFilesTest, Load_Ok) {
  const char* source = std::getenv("RETORT_SOURCE_DIR");
  const auto spec =
      job::LoadJob(absl::StrCat(source == nullptr ? "." : source, "/examples/", GetParam()));
  ASSERT_TRUE(spec.ok()) << spec.status().message();
  EXPECT_EQ(spec->seed(), 1);
}

INSTANTIATE_TEST_SUITE_P(Examples, JobFilesTest,
                         testing::Values("quickstart/sft.yaml", "quickstart/ppo.yaml",
                                         "own_model/ppo.yaml"));

}  // namespace
}  // namespace retort
