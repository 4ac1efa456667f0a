// Saving, finding and loading, and what is left after a kill at each durable action.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/checkpoint/reader.h"
#include "common/checkpoint/scratch_checkpoint.h"
#include "common/checkpoint/writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// The newest folder of a committed name; it verifies.
FoundCheckpoint Newest(const std::string& directory) {
  const auto names = ListDirectory(directory);
  EXPECT_TRUE(names.ok()) << names.status();
  int64_t newest = -1;
  for (const std::string& name : *names)
    newest = std::max(newest, CommittedStep(name).value_or(-1));
  auto found = VerifyCheckpoint(absl::StrCat(directory, "/", CheckpointName(newest)));
  EXPECT_TRUE(found.ok()) << found.status();
  return *std::move(found);
}

ShardTensors Load(const FoundCheckpoint& found, const ElementRange& range) {
  const auto blank = [&] { return at::full({range.size()}, -1.0f); };
  const ShardTensors out = {blank(), blank(), blank()};
  const absl::Status status = LoadRange(found, range, out);
  EXPECT_TRUE(status.ok()) << status;
  return out;
}

void ExpectHolds(const FoundCheckpoint& found, int64_t step) {
  EXPECT_EQ(found.manifest.step, step);
  EXPECT_EQ(found.manifest.state, State(step));
  const ShardTensors got = Load(found, {0, kTotal});
  const ShardTensors want = Arena(step);
  EXPECT_TRUE(at::equal(got.params, want.params));
  EXPECT_TRUE(at::equal(got.exp_avg, want.exp_avg));
  EXPECT_TRUE(at::equal(got.exp_avg_sq, want.exp_avg_sq));
}

TEST(CheckpointTest, SaveAndLoad_AnyPairOfWorldSizes_SameBits) {
  for (const int writers : {1, 2, 3, 8}) {
    const ScratchDirectory scratch;
    const std::string& directory = scratch.path();
    ASSERT_TRUE(Save({directory, 20, 1}, writers).ok());
    const FoundCheckpoint found = Newest(directory);
    ExpectHolds(found, 20);
    for (const int readers : {2, 5}) {
      for (int rank = 0; rank < readers; ++rank) {
        const ElementRange range = SliceOf(kTotal, rank, readers);
        EXPECT_TRUE(at::equal(Load(found, range).exp_avg, Slice(Arena(20), range).exp_avg));
      }
    }
  }
}

TEST(CheckpointTest, Versions_LoadedByNumber_OthersNotFound) {
  const ScratchDirectory scratch;
  const std::string& directory = scratch.path();
  ASSERT_TRUE(Save({directory, 20, 1}, 2, {19, 20}).ok());
  const FoundCheckpoint found = Newest(directory);
  at::Tensor weights = at::zeros({kPublished});
  ASSERT_TRUE(LoadWeightVersion(found, 19, weights).ok());
  EXPECT_TRUE(at::equal(weights, Published(19)));
  EXPECT_EQ(LoadWeightVersion(found, 18, weights).code(), absl::StatusCode::kNotFound);
}

TEST(CheckpointTest, NoDirectory_NotFound) {
  EXPECT_EQ(VerifyCheckpoint(ScratchDirectory().path() + "/step-20").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(CheckpointTest, SameStepAgain_ReplacesIt) {
  const ScratchDirectory scratch;
  const std::string& directory = scratch.path();
  ASSERT_TRUE(Save({directory, 20, 1}, 2).ok());
  ASSERT_TRUE(Save({directory, 20, 2}, 3).ok());
  EXPECT_EQ(Newest(directory).manifest.epoch, 2u);
  EXPECT_THAT(*ListDirectory(directory), testing::ElementsAre("step-20"));
}

// Flips one byte in each region of each file, cuts each file, and removes each file: the checkpoint
// is refused and the message names the file.
TEST(CheckpointTest, DamagedFile_RefusedAndNamed) {
  const ScratchDirectory scratch;
  const std::string& directory = scratch.path();
  ASSERT_TRUE(Save({directory, 20, 1}, 2, {20}).ok());
  const std::string folder = directory + "/step-20";
  const auto expect_refused = [&](const std::string& name, const std::string& how) {
    const absl::Status status = VerifyCheckpoint(folder).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << name << how;
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder + "/" + name)) << how;
  };
  const std::vector<std::string> names = *ListDirectory(folder);
  ASSERT_EQ(names.size(), 4u);
  for (const std::string& name : names) {
    const std::string path = folder + "/" + name;
    const std::string whole = *ReadFile(path, 1 << 20);
    for (size_t at : {size_t{0}, whole.size() / 3, whole.size() - 2}) {
      std::string flipped = whole;
      flipped[at] ^= 0x10;
      ASSERT_TRUE(WriteFileDurably(path, flipped).ok());
      expect_refused(name, absl::StrCat(" flipped at ", at));
    }
    for (size_t length : {size_t{0}, size_t{7}, whole.size() / 2, whole.size() - 1}) {
      if (name == kManifestName && length == whole.size() - 1) continue;  // Only its newline.
      ASSERT_TRUE(WriteFileDurably(path, whole.substr(0, length)).ok());
      expect_refused(name, absl::StrCat(" cut at ", length));
    }
    ASSERT_TRUE(WriteFileDurably(path, whole + "x").ok());
    expect_refused(name, " too long");
    fs::remove(path);
    expect_refused(name, " removed");
    ASSERT_TRUE(WriteFileDurably(path, whole).ok());
  }
  ASSERT_TRUE(WriteFileDurably(folder + "/extra", "x").ok());
  expect_refused("extra", " added");
}

// Whatever bit of the manifest turns, it is refused or says what it said before (a blank).
TEST(CheckpointTest, Manifest_EachByteFlipped_RefusedOrTheSame) {
  const ScratchDirectory scratch;
  const std::string& directory = scratch.path();
  ASSERT_TRUE(Save({directory, 20, 1}, 1).ok());
  const Manifest manifest = Newest(directory).manifest;
  const std::string whole = *ReadFile(directory + "/step-20/MANIFEST.json", 1 << 20);
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char bit : {0x01, 0x04, 0x10}) {
      std::string flipped = whole;
      flipped[at] ^= bit;
      const auto decoded = DecodeManifest(flipped, "m");
      EXPECT_TRUE(!decoded.ok() || *decoded == manifest) << "byte " << at;
    }
  }
}

TEST(CheckpointTest, FolderUnderAnotherStepsName_Refused) {
  const ScratchDirectory scratch;
  const std::string& directory = scratch.path();
  ASSERT_TRUE(Save({directory, 20, 1}, 1).ok());
  fs::rename(directory + "/step-20", directory + "/step-21");
  EXPECT_EQ(VerifyCheckpoint(directory + "/step-21").status().code(), absl::StatusCode::kDataLoss);
}

TEST(CheckpointTest, Commit_ForeignOrMissingFile_RefusedAndNothingCommitted) {
  const ScratchDirectory scratch;
  const std::string& directory = scratch.path();
  const CheckpointTarget target{directory, 20, 1};
  ASSERT_TRUE(Save(target, 1).ok());
  Manifest manifest = Newest(directory).manifest;
  ASSERT_TRUE(RemoveRecursively(directory).ok());

  ASSERT_TRUE(BeginCheckpoint(target).ok());
  EXPECT_EQ(CommitCheckpoint(target, manifest).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(WriteShard(target, 0, 1, kTotal, Arena(20)).ok());
  ASSERT_TRUE(WriteFileDurably(StagingFolder(target) + "/foreign", "x").ok());
  EXPECT_THAT(std::string(CommitCheckpoint(target, manifest).status().message()),
              HasSubstr("another writer"));
  EXPECT_FALSE(FileExists(directory + "/step-20"));
}

TEST(CheckpointTest, Commit_NumberThatIsNotFinite_Refused) {
  const ScratchDirectory scratch;
  const std::string& directory = scratch.path();
  const CheckpointTarget target{directory, 20, 1};
  ASSERT_TRUE(Save(target, 1).ok());
  Manifest manifest = Newest(directory).manifest;
  manifest.state.kl_coef = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(CommitCheckpoint(target, manifest).ok());
}

TEST(CheckpointTest, WeightVersion_WrongDigest_Refused) {
  const ScratchDirectory scratch;
  const std::string& directory = scratch.path();
  const CheckpointTarget target{directory, 20, 1};
  ASSERT_TRUE(BeginCheckpoint(target).ok());
  EXPECT_EQ(WriteWeightVersion(target, 20, DigestOf("other"), Published(20)).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(CheckpointTest, FailedSave_OlderOneStays) {
  const ScratchDirectory scratch;
  const std::string& directory = scratch.path();
  ASSERT_TRUE(Save({directory, 10, 1}, 2).ok());
  ASSERT_TRUE(BeginCheckpoint({directory, 20, 1}).ok());
  const std::string shard = StagingFolder({directory, 20, 1}) + "/shard-0-of-2.safetensors";
  ASSERT_EQ(symlink("/dev/full", shard.c_str()), 0);
  EXPECT_EQ(WriteShard({directory, 20, 1}, 0, 2, kTotal, Slice(Arena(20), SliceOf(kTotal, 0, 2)))
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
  ExpectHolds(Newest(directory), 10);
}

struct KillPoint {
  const char* spec;
  int64_t survives;  // The step that a restart loads.
};

class CheckpointKillTest : public testing::TestWithParam<KillPoint> {};

// A process that dies at any durable action leaves the committed checkpoint or the one before.
TEST_P(CheckpointKillTest, Kill_RestartLoadsAWholeCheckpoint) {
  const ScratchDirectory scratch;
  const std::string& directory = scratch.path();
  ASSERT_TRUE(Save({directory, 10, 1}, 2).ok());
  EXPECT_EXIT(
      {
        (void)ArmFailpoints({GetParam().spec});
        (void)Save({directory, 20, 1}, 2, {20});
        _exit(0);
      },
      testing::KilledBySignal(SIGKILL), "");
  ExpectHolds(Newest(directory), GetParam().survives);
  // The next attempt, of the next epoch, succeeds on what was left.
  ASSERT_TRUE(Save({directory, 20, 2}, 2, {20}).ok());
  ExpectHolds(Newest(directory), 20);
  EXPECT_THAT(*ListDirectory(directory), testing::ElementsAre("step-10", "step-20"));
}

INSTANTIATE_TEST_SUITE_P(EveryDurableAction, CheckpointKillTest,
                         testing::Values(KillPoint{"checkpoint.shard=kill@1", 10},
                                         KillPoint{"checkpoint.shard=kill@2", 10},
                                         KillPoint{"checkpoint.shard_written=kill@2", 10},
                                         KillPoint{"checkpoint.version=kill", 10},
                                         KillPoint{"checkpoint.manifest=kill", 10},
                                         KillPoint{"checkpoint.rename=kill", 10},
                                         KillPoint{"checkpoint.committed=kill", 20}));

}  // namespace
}  // namespace retort::checkpoint
