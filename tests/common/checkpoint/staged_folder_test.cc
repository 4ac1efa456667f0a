#include "common/checkpoint/staged_folder.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "gmock/gmock.h"

namespace retort::checkpoint {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class StagedFolderTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(MakeDirectories(parent_).ok()); }
  void TearDown() override { EXPECT_TRUE(RemoveRecursively(parent_).ok()); }

  absl::Status Write(ExistingFolder existing, const std::string& text) {
    return WriteStagedFolder(target_, existing, [&](const std::string& staging) {
      return WriteFileDurably(staging + "/file", text);
    });
  }
  std::string Text() const { return ReadFile(target_ + "/file", 1000).value_or("none"); }

  const std::string parent_ = absl::StrCat(testing::TempDir(), "/staged_folder_", RandomHex(4));
  const std::string target_ = parent_ + "/target";
};

TEST_F(StagedFolderTest, Replaced_OldContentsAreGone) {
  ASSERT_TRUE(Write(ExistingFolder::kReplaced, "old").ok());
  ASSERT_TRUE(WriteFileDurably(target_ + "/other", "x").ok());
  ASSERT_TRUE(Write(ExistingFolder::kReplaced, "new").ok());
  EXPECT_EQ(Text(), "new");
  EXPECT_THAT(*ListDirectory(target_), ElementsAre("file"));
  EXPECT_THAT(*ListDirectory(parent_), ElementsAre("target"));
}

TEST_F(StagedFolderTest, Kept_EmptyOneIsTakenAFullOneStays) {
  ASSERT_TRUE(MakeDirectories(target_).ok());
  ASSERT_TRUE(Write(ExistingFolder::kKept, "first").ok());
  EXPECT_THAT(Write(ExistingFolder::kKept, "second").ToString(), HasSubstr("not empty"));
  EXPECT_EQ(Text(), "first");
  EXPECT_THAT(*ListDirectory(parent_), ElementsAre("target"));
}

// Two programs that write to one place: the first to end has it, whole.
TEST_F(StagedFolderTest, Kept_AnotherWriterEndsMeanwhile_ItsFolderStays) {
  const absl::Status status =
      WriteStagedFolder(target_, ExistingFolder::kKept, [&](const std::string& staging) {
        EXPECT_TRUE(Write(ExistingFolder::kKept, "of the other").ok());
        return WriteFileDurably(staging + "/file", "mine");
      });
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(Text(), "of the other");
  EXPECT_THAT(*ListDirectory(parent_), ElementsAre("target"));
}

TEST_F(StagedFolderTest, FillFails_ItsErrorAndNothingLeft) {
  for (const ExistingFolder existing : {ExistingFolder::kReplaced, ExistingFolder::kKept}) {
    const absl::Status status = WriteStagedFolder(
        target_, existing, [](const std::string&) { return absl::DataLossError("full"); });
    EXPECT_THAT(status.ToString(), HasSubstr("full"));
    EXPECT_THAT(*ListDirectory(parent_), ElementsAre());
  }
}

}  // namespace
}  // namespace retort::checkpoint
