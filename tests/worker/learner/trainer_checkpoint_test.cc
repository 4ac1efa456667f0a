#include "worker/learner/trainer_checkpoint.h"

#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "gmock/gmock.h"
#include "worker/learner/rank_fixture.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

class TrainerCheckpointTest : public testing::Test {
 protected:
  TrainerCheckpointTest() {
    state_.step = 9;
    state_.optimizer_steps = 18;
    state_.kl_coef = 0.2 / 3;
    state_.score_moments = {.mean = 0.1, .var = 0.3, .std = 0.5, .count = 77};
  }
  ~TrainerCheckpointTest() override { EXPECT_TRUE(RemoveRecursively(directory_).ok()); }

  Digest ConfigDigest(bool value_head) const {
    return CheckpointConfigDigest(policy_, PolicyModel(policy_.config), value_head);
  }
  // Saves from `world_size` ranks; returns the state's digest.
  Digest Save(int world_size) {
    Digest digest;
    OnRanks(world_size, spec_, policy_, 3, [&](Rank& rank) {
      rank.model->exp_avg.flat().fill_(0.25);
      rank.model->exp_avg_sq.flat().copy_(rank.model->parameters.flat().square());
      CheckpointContents contents;
      contents.model = rank.model.get();
      contents.state = state_;
      contents.state.weight_digest = DigestOfWeights(rank.model->parameters.PublishedSpan());
      contents.config_digest = ConfigDigest(true);
      const auto saved =
          SaveCheckpoint({.directory = directory_, .step = 9, .epoch = 2}, contents, *rank.group);
      ASSERT_TRUE(saved.ok()) << saved.status();
      if (rank.group->rank() == 0) digest = StateDigest(*rank.model, state_);
    });
    return digest;
  }

  const std::string directory_ =
      absl::StrCat(testing::TempDir(), "/trainer_checkpoint_test_", RandomHex(8));
  const PolicyText policy_ = tiny::TinyPolicy();
  const v1::JobSpec spec_ = tiny::TinyPpoSpec(4, 1);
  checkpoint::TrainerState state_;
};

TEST_F(TrainerCheckpointTest, Restore_SavedByThreeRanks_SameState) {
  const Digest saved = Save(3);
  OnRanks(2, spec_, policy_, /*weights_seed=*/99, [&](Rank& rank) {
    const auto found =
        RestoreCheckpoint(directory_ + "/step-9", ConfigDigest(true), rank.model.get());
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ(StateDigest(*rank.model, found->manifest.state), saved);
  });
}

TEST_F(TrainerCheckpointTest, Restore_OtherModel_Refused) {
  Save(1);
  OnRanks(1, spec_, policy_, 99, [&](Rank& rank) {
    const auto found =
        RestoreCheckpoint(directory_ + "/step-9", ConfigDigest(false), rank.model.get());
    EXPECT_TRUE(absl::IsFailedPrecondition(found.status()));
    EXPECT_THAT(found.status().ToString(),
                HasSubstr("was written for another model, adapter or tokenizer"));
  });
}

TEST_F(TrainerCheckpointTest, Save_CannotWrite_FailsOnEveryRank) {
  ASSERT_TRUE(WriteFileDurably(directory_, "a file where the folder should be").ok());
  OnRanks(2, spec_, policy_, 3, [&](Rank& rank) {
    CheckpointContents contents;
    contents.model = rank.model.get();
    EXPECT_FALSE(
        SaveCheckpoint({.directory = directory_, .step = 9, .epoch = 2}, contents, *rank.group)
            .ok());
  });
}

// A disk that was full would stay full.
TEST_F(TrainerCheckpointTest, Save_FailsHalfway_NothingIsLeft) {
  for (const char* point : {"checkpoint.shard_written", "checkpoint.manifest"}) {
    SCOPED_TRACE(point);
    ASSERT_TRUE(ArmFailpoints({absl::StrCat(point, "=error@1")}).ok());
    OnRanks(2, spec_, policy_, 3, [&](Rank& rank) {
      CheckpointContents contents;
      contents.model = rank.model.get();
      EXPECT_FALSE(
          SaveCheckpoint({.directory = directory_, .step = 9, .epoch = 2}, contents, *rank.group)
              .ok());
    });
    const auto left = ListDirectory(directory_);
    ASSERT_TRUE(left.ok()) << left.status();
    EXPECT_THAT(*left, testing::IsEmpty());
  }
}

TEST_F(TrainerCheckpointTest, StateDigest_EveryNumber_Counts) {
  using State = checkpoint::TrainerState;
  const std::pair<const char*, std::function<void(State&)>> changes[] = {
      {"step", [](State& s) { ++s.step; }},
      {"optimizer_steps", [](State& s) { ++s.optimizer_steps; }},
      {"bad_steps", [](State& s) { ++s.bad_steps; }},
      {"kl_coef", [](State& s) { s.kl_coef += 1e-15; }},
      {"mean", [](State& s) { s.score_moments.mean += 1e-15; }},
      {"var", [](State& s) { s.score_moments.var += 1e-15; }},
      {"std", [](State& s) { s.score_moments.std += 1e-15; }},
      {"count", [](State& s) { s.score_moments.count += 1; }}};
  OnRanks(1, spec_, policy_, 3, [&](Rank& rank) {
    const Digest base = StateDigest(*rank.model, state_);
    for (const auto& [name, change] : changes) {
      State other = state_;
      change(other);
      EXPECT_NE(StateDigest(*rank.model, other), base) << name;
    }
    for (const at::Tensor& flat : {rank.model->parameters.flat(), rank.model->exp_avg.flat(),
                                   rank.model->exp_avg_sq.flat()}) {
      const at::Tensor element = flat[5], before = element.clone();
      element.add_(1);
      EXPECT_NE(StateDigest(*rank.model, state_), base);
      element.copy_(before);
    }
    EXPECT_EQ(StateDigest(*rank.model, state_), base);
  });
}

}  // namespace
}  // namespace retort::worker
