#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/job/job_text.h"
#include "common/job/plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::job {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class OutputDirTest : public testing::Test {
 protected:
  OutputDirTest() : folder_(absl::StrCat(testing::TempDir(), "/output_dir_test")) {
    EXPECT_TRUE(RemoveRecursively(folder_).ok());
    EXPECT_TRUE(MakeDirectories(folder_ + "/full").ok());
    EXPECT_TRUE(WriteFileAtomically(folder_ + "/full/notes.txt", "").ok());
    EXPECT_TRUE(WriteFileAtomically(folder_ + "/file", "").ok());
  }

  // Of kPpoJob with this output.dir, relative to the folder.
  absl::Status Check(const std::string& dir) {
    const auto job = ParseJob(kPpoJob, "job.yaml", folder_, {"output.dir=" + dir});
    return job.ok() ? CheckOutputDir(job->spec, job->positions) : job.status();
  }

  const std::string folder_;
};

TEST_F(OutputDirTest, Check_HoldsARun_SaysHowToResume) {
  EXPECT_TRUE(Check("run").ok());
  ASSERT_TRUE(MakeDirectories(folder_ + "/run").ok());
  EXPECT_TRUE(Check("run").ok());
  ASSERT_TRUE(WriteFileAtomically(folder_ + "/run/journal.db", "").ok());
  const absl::Status status = Check("run");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(StartsWith("--set output.dir: "), HasSubstr("retort run --resume ")));
}

TEST_F(OutputDirTest, Check_NoEmptyFolder_SaysWhy) {
  EXPECT_EQ(Check("file").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(Check("file").message()),
              AllOf(StartsWith("--set output.dir: "), HasSubstr("/file is not a folder")));
  EXPECT_THAT(std::string(Check("file/below/it").message()), HasSubstr("/file is not a folder"));
  EXPECT_EQ(Check("full").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Check("full").message()), HasSubstr("is not empty (notes.txt)"));
  EXPECT_TRUE(Check("not/there/yet").ok());
}

}  // namespace
}  // namespace retort::job
