#include "worker/learner/learner.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/collective/local_group.h"
#include "common/tensor/model_weights.h"
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
    job_.model = PolicyModel(job_.policy.config);
    auto rows = data::Dataset::Parse("{\"prompt\":\"1=\",\"answer\":\"2\"}\n", "rows.jsonl");
    EXPECT_TRUE(rows.ok()) << rows.status();
    job_.train = *std::move(rows);
    EXPECT_TRUE(MakeDirectories(job_.run_dir).ok());
  }
  ~LearnerTest() override { EXPECT_TRUE(RemoveRecursively(job_.run_dir).ok()); }

  absl::StatusOr<std::unique_ptr<Learner>> Start(const std::string& checkpoint) {
    auto groups = collective::MakeLocalGroup(1);
    EXPECT_TRUE(groups.ok()) << groups.status();
    return Learner::Start(&job_, std::move(groups->front()), /*publisher=*/nullptr, checkpoint);
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

// The adapter is what is trained, saved and restored; the export holds it alone and merged.
TEST_F(LearnerTest, Export_Adapter_BesideTheMergedModel) {
  v1::LoraSpec& lora = *job_.spec.mutable_policy()->mutable_lora();
  lora.set_rank(4);
  lora.set_alpha(16);
  lora.add_target_modules("q_proj");
  lora.add_target_modules("gate_proj");
  job_.model = *LoadPolicyModel(job_.spec, job_.policy.config, /*value_head=*/false);
  const at::Tensor base = job_.model.base().flat().clone();
  const auto learner = Start("");
  ASSERT_TRUE(learner.ok()) << learner.status();
  for (int step = 0; step < 3; ++step) ASSERT_TRUE(Train(**learner).ok());
  ASSERT_TRUE((*learner)->WriteCheckpoint(3, 1).ok());
  const auto restored = Start("step-3");
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ((*restored)->state().weight_digest, (*learner)->state().weight_digest);
  const auto digest = (*restored)->Export(job_.run_dir + "/model");
  ASSERT_TRUE(digest.ok()) << digest.status();

  const auto config = layout::LoadAdapterConfig(job_.run_dir + "/adapter");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(*config, job_.model.adapter());
  auto trained = tensor::ParameterArena::Allocate(job_.model.TrainedLayout(false));
  ASSERT_TRUE(trained.ok()) << trained.status();
  const absl::Status loaded = tensor::LoadAdapterWeights(job_.run_dir + "/adapter", &*trained);
  ASSERT_TRUE(loaded.ok()) << loaded;
  EXPECT_EQ(DigestOfWeights(trained->PublishedSpan()), *digest);
  const auto merged =
      tensor::ReadModelArena(job_.run_dir + "/model", layout::LayoutFor(job_.policy.config, false));
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_FALSE(at::equal(merged->flat(), base));
  EXPECT_TRUE(at::equal(merged->flat(), job_.model.Merge(*trained)->flat()));
  EXPECT_TRUE(at::equal(job_.model.base().flat(), base));
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
