#include "driver/store/run_folder.h"

#include <sys/stat.h>

#include <atomic>
#include <barrier>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "common/base/file.h"
#include "common/base/random_id.h"
#include "driver/store/journal.h"
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

TEST_F(RunFolderTest, Remove_NothingIsLeftButALinkAndItsTarget) {
  const auto folder = RunFolder::Create(dir_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  ASSERT_TRUE(folder->Remove().ok());
  EXPECT_FALSE(fs::exists(dir_));

  const fs::path link = dir_ / "link", target = dir_ / "target";
  fs::create_directories(target);
  fs::create_directory_symlink(target, link);
  const auto linked = RunFolder::Create(link);
  ASSERT_TRUE(linked.ok()) << linked.status();
  Write("target/token", "secret");
  ASSERT_TRUE(linked->Remove().ok());
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_TRUE(fs::is_empty(target));
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
  EXPECT_TRUE(RunFolder::Create(dir_).ok());
}

// Killed at any moment before the first epoch is on disk.
TEST_F(RunFolderTest, EndedBeforeItBegan_CreateStartsAnewResumeSaysSo) {
  for (const char* left : {"nothing", "job.yaml", "empty journal", "journal without epoch"}) {
    SCOPED_TRACE(left);
    fs::remove_all(dir_);
    ASSERT_TRUE(RunFolder::Create(dir_).ok());
    Write("logs/driver.log", "x");
    const std::string what = left;
    if (what != "nothing") Write("job.yaml", "x");
    if (what == "empty journal") Write("journal.db", "");
    if (what == "journal without epoch") {
      auto journal = Journal::Create(dir_ / "journal.db", {"job", v1::JobSpec(), {}});
      ASSERT_TRUE(journal.ok()) << journal.status();
    }
    const absl::Status resumed = RunFolder::Open(dir_).status();
    EXPECT_EQ(resumed.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(resumed.message()), ::testing::HasSubstr("nothing had begun"));
    const auto again = RunFolder::Create(dir_);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_FALSE(fs::exists(dir_ / "job.yaml"));
    EXPECT_FALSE(fs::exists(dir_ / "journal.db"));
    EXPECT_FALSE(RunFolder::Create(dir_).ok()) << "it is locked";
  }
}

TEST_F(RunFolderTest, Begun_NeverStartedAnew) {
  const auto begin = [this] {
    fs::remove_all(dir_);
    ASSERT_TRUE(RunFolder::Create(dir_).ok());
  };
  begin();
  {
    auto journal = Journal::Create(dir_ / "journal.db", {"job", v1::JobSpec(), {}});
    ASSERT_TRUE((*journal)->Write(JournalEpoch{1, 0, "started"}).ok());
    ASSERT_TRUE((*journal)->Flush().ok());
  }
  EXPECT_THAT(std::string(RunFolder::Create(dir_).status().message()),
              ::testing::HasSubstr("--resume"));
  EXPECT_TRUE(RunFolder::Open(dir_).ok());
  begin();
  fs::create_directories(dir_ / "checkpoints" / "step-2");
  EXPECT_FALSE(RunFolder::Create(dir_).ok()) << "a checkpoint whose journal is gone";
  begin();
  Write("journal.db", "damaged, not SQLite at all");
  EXPECT_FALSE(RunFolder::Create(dir_).ok());
  EXPECT_TRUE(fs::exists(dir_ / "journal.db"));
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

TEST_F(RunFolderTest, Create_ManyAtOnce_OneGetsTheFolder) {
  constexpr int kThreads = 8;
  for (int round = 0; round < 20; ++round) {
    fs::remove_all(dir_);
    std::barrier<> start(kThreads);
    std::atomic<int> made{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        start.arrive_and_wait();
        const auto folder = RunFolder::Create(dir_);
        if (!folder.ok()) return;
        ++made;
        Write("journal.db", "of a whole run");
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(made, 1);
  }
}

TEST_F(RunFolderTest, SetAside_NothingIsOverwritten) {
  const auto folder = RunFolder::Create(dir_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  for (const char* text : {"first", "second"}) {
    fs::create_directories(dir_ / "checkpoints" / "step-4");
    Write("checkpoints/step-4/shard", text);
    const auto kept = folder->SetAside("step-4");
    ASSERT_TRUE(kept.ok()) << kept.status();
    EXPECT_EQ(ReadFile(*kept + "/shard", 100).value(), text);
    EXPECT_FALSE(fs::exists(dir_ / "checkpoints" / "step-4"));
  }
  EXPECT_TRUE(fs::exists(dir_ / "unusable" / "step-4"));
  EXPECT_EQ(folder->SetAside("step-4").value(), "") << "it is gone already";
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
