#include "driver/store/run_folder.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "common/base/random_id.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::driver {
namespace {

namespace fs = std::filesystem;

class RunFolderTest : public ::testing::Test {
 protected:
  RunFolderTest() : dir_(fs::temp_directory_path() / ("run-" + RandomHex(8))) {}
  ~RunFolderTest() override { fs::remove_all(dir_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name) << text;
  }

  const fs::path dir_;
};

TEST_F(RunFolderTest, Create_MakesAPrivateFolder) {
  const auto folder = RunFolder::Create(dir_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  struct stat info;
  ASSERT_EQ(stat(dir_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  EXPECT_TRUE(fs::is_directory(folder->logs()));
  EXPECT_EQ(folder->LogOf({v1::ROLE_ROLLOUT, 1}), dir_.string() + "/logs/rollout-1.log");
}

TEST_F(RunFolderTest, SecondRunInTheFolder_Refused) {
  const auto first = RunFolder::Create(dir_);
  ASSERT_TRUE(first.ok());
  Write("journal.db", "");
  const auto second = RunFolder::Open(dir_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), ::testing::HasSubstr("another `retort run`"));
}

TEST_F(RunFolderTest, LockIsFreeAfterTheFirstEnds) {
  {
    const auto first = RunFolder::Create(dir_);
    ASSERT_TRUE(first.ok());
  }
  Write("journal.db", "");
  EXPECT_TRUE(RunFolder::Open(dir_).ok());
}

TEST_F(RunFolderTest, Create_FolderInUse_Refused) {
  fs::create_directories(dir_);
  Write("notes.txt", "x");
  EXPECT_THAT(std::string(RunFolder::Create(dir_).status().message()),
              ::testing::HasSubstr("notes.txt"));
  Write("journal.db", "x");
  EXPECT_THAT(std::string(RunFolder::Create(dir_).status().message()),
              ::testing::HasSubstr("--resume"));
}

TEST_F(RunFolderTest, Open_WithoutJournal_NotFound) {
  fs::create_directories(dir_);
  EXPECT_EQ(RunFolder::Open(dir_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RunFolderTest, LastLines_OfShortLongAndMissingFiles) {
  fs::create_directories(dir_);
  Write("a", "one\ntwo\nthree\n");
  EXPECT_EQ(LastLines(dir_ / "a", 2), "two\nthree");
  EXPECT_EQ(LastLines(dir_ / "a", 9), "one\ntwo\nthree");
  Write("b", std::string(100000, 'x') + "\nend\n");
  EXPECT_EQ(LastLines(dir_ / "b", 1), "end");
  EXPECT_EQ(LastLines(dir_ / "missing", 1), "");
}

TEST_F(RunFolderTest, RemoveAllBut_KeepsTheNamed) {
  fs::create_directories(dir_ / "step-2");
  fs::create_directories(dir_ / "step-4.tmp-1");
  ASSERT_TRUE(RemoveAllBut(dir_, {"step-2"}).ok());
  EXPECT_TRUE(fs::exists(dir_ / "step-2"));
  EXPECT_FALSE(fs::exists(dir_ / "step-4.tmp-1"));
}

}  // namespace
}  // namespace retort::driver
