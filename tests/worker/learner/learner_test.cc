#include "worker/learner/learner.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/collective/local_group.h"
#include "gmock/gmock.h"
#include "testing/tiny_job.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

// A rank alone that fine-tunes from random weights, its run in a folder of its own.
class LearnerTest : public testing::Test {
 protected:
  LearnerTest() {
    job_.spec = tiny::TinyPpoSpec(1, 1);
    job_.spec.mutable_algorithm()->set_type(v1::ALGORITHM_TYPE_SFT);
    job_.spec.mutable_policy()->mutable_init()->set_std(0.1);
    job_.run_dir = absl::StrCat(testing::TempDir(), "/learner_test_", RandomHex(8));
    job_.policy = tiny::TinyPolicy();
    auto rows = data::Dataset::Parse("{\"prompt\":\"1=\",\"answer\":\"2\"}\n", "rows.jsonl");
    EXPECT_TRUE(rows.ok()) << rows.status();
    job_.train = *std::move(rows);
    EXPECT_TRUE(MakeDirectories(job_.run_dir).ok());
  }
  ~LearnerTest() override { EXPECT_TRUE(RemoveRecursively(job_.run_dir).ok()); }

  absl::StatusOr<std::unique_ptr<Learner>> Start(const std::string& checkpoint) {
    auto groups = collective::MakeLocalGroup(1);
    EXPECT_TRUE(groups.ok()) << groups.status();
    return Learner::Start(&job_, std::move(groups->front()), /*ring=*/std::nullopt, /*epoch=*/1,
                          checkpoint);
  }
  absl::StatusOr<TrainedStep> Train(Learner& learner) {
    StepInput input;
    input.rows = {0};
    return learner.Train(learner.state().step, std::move(input), [] { return absl::OkStatus(); });
  }

  LearnerJob job_;
};

TEST_F(LearnerTest, Start_OwnCheckpoint_GoesOnFromThere) {
  const auto first = Start("");
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE(Train(**first).ok());
  ASSERT_TRUE((*first)->WriteCheckpoint(1, 1).ok());
  const auto second = Start("step-1");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ((*second)->state().step, 1);
  EXPECT_EQ((*second)->state().weight_digest, (*first)->state().weight_digest);
}

// Each would lead to a folder that holds a checkpoint.
TEST_F(LearnerTest, Start_NameThatIsNoCheckpoints_Refused) {
  const auto learner = Start("");
  ASSERT_TRUE(learner.ok()) << learner.status();
  ASSERT_TRUE(Train(**learner).ok());
  ASSERT_TRUE((*learner)->WriteCheckpoint(1, 1).ok());
  const std::string folder = job_.run_dir + "/checkpoints";
  ASSERT_TRUE(RenameDurably(folder + "/step-1", folder + "/step-1.tmp-7").ok());
  for (const char* const name :
       {"step-1.tmp-7", "../checkpoints/step-1.tmp-7", "./step-1.tmp-7", "step-01"}) {
    const absl::Status status = Start(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("expected step-N"));
  }
}

TEST_F(LearnerTest, Train_BadBatchCannotBeWritten_TheStepStillCounts) {
  ASSERT_TRUE(WriteFileDurably(job_.run_dir + "/bad-batches", "a file, no folder").ok());
  job_.spec.mutable_policy()->mutable_init()->set_std(1e30);  // Overflows in the first matrix.
  const auto learner = Start("");
  ASSERT_TRUE(learner.ok()) << learner.status();
  const auto trained = Train(**learner);
  ASSERT_TRUE(trained.ok()) << trained.status();
  EXPECT_TRUE(trained->outcome.bad);
  EXPECT_EQ(trained->bad_batch_path, "");
  EXPECT_EQ((*learner)->state().step, 1);
}

}  // namespace
}  // namespace retort::worker
