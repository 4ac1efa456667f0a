// A tokenizer without a token for some ids: rollout, scorer and learner speak of one distribution.
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "gmock/gmock.h"
#include "worker/learner/ppo_prepare.h"
#include "worker/learner/rank_fixture.h"
#include "worker/rollout/bundle_generator.h"
#include "worker/scorer/bundle_scorer.h"

namespace retort::worker {
namespace {

constexpr uint64_t kWeights = 5;

class VocabHolesTest : public testing::Test {
 protected:
  VocabHolesTest() {
    EXPECT_TRUE(MakeDirectories(folder_).ok());
    spec_.mutable_data()->set_train(folder_ + "/train.jsonl");
    std::string rows;
    for (int i = 0; i < 4; ++i) absl::StrAppend(&rows, R"({"prompt":")", i, "=\"}\n");
    EXPECT_TRUE(WriteFileDurably(spec_.data().train(), rows).ok());
    spec_.mutable_rollout()->set_max_new_tokens(12);
    spec_.mutable_rollout()->set_max_batch(8);
    v1::LengthReward& length = *spec_.add_rewards()->mutable_length();
    length.set_target(3);
    length.set_tolerance(3);
  }
  ~VocabHolesTest() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }

  artifact::Rollout Rollout() {
    auto generator = BundleGenerator::Make(spec_, &policy_);
    EXPECT_TRUE(generator.ok()) << generator.status();
    BundleRequest request;
    request.bundle.set_kind(v1::BUNDLE_KIND_TRAIN);
    request.rows = {0, 1, 2, 3};
    auto bundle = (*generator)->Generate(model_, request, [](int64_t) { return absl::OkStatus(); });
    EXPECT_TRUE(bundle.ok()) << bundle.status();
    return bundle->rollout;
  }

  StepSamples Samples(const artifact::Rollout& rollout) {
    const auto scores = ScoreBundle(model_, ScoringOptionsOf(spec_, policy_), rollout,
                                    [] { return absl::OkStatus(); });
    EXPECT_TRUE(scores.ok()) << scores.status();
    auto samples = AssembleSamples(ShapeOf(spec_, policy_, 0), {rollout}, {*scores});
    EXPECT_TRUE(samples.ok()) << samples.status();
    return *std::move(samples);
  }

  // What the learner makes of the step, from the weights that sampled it.
  PreparedStep Prepare(const StepSamples& samples) {
    PreparedStep prepared;
    OnRanks(1, spec_, policy_, kWeights, [&](Rank& rank) {
      StepClock clock;
      auto done = PreparePpoStep(rank.context, PpoSettingsOf(spec_), samples, {}, &clock);
      ASSERT_TRUE(done.ok()) << done.status();
      prepared = *std::move(done);
    });
    return prepared;
  }

  const std::string folder_ = absl::StrCat(testing::TempDir(), "/vocab_holes_test_", RandomHex(4));
  const PolicyText policy_ = tiny::TinyPolicy(/*without=*/"klmnopqrs");  // Ids 25 .. 33 of 35.
  v1::JobSpec spec_ = tiny::TinyPpoSpec(4, 3);
  const model::Model model_{policy_.config, tiny::RandomArena(policy_.config, false, kWeights)};
};

TEST_F(VocabHolesTest, Roles_SelectedLogProbs_AgreeAndNoSampleHoldsAHole) {
  ASSERT_EQ(policy_.mask.excluded.size(), 9u);
  const artifact::Rollout rollout = Rollout();
  std::set<int32_t> drawn(rollout.token_ids.begin(), rollout.token_ids.end());
  EXPECT_GT(drawn.size(), 12u);  // The model spreads its mass: it would have drawn a hole.
  for (const int64_t hole : policy_.mask.excluded) {
    EXPECT_FALSE(drawn.contains(static_cast<int32_t>(hole))) << hole;
  }
  const StepSamples samples = Samples(rollout);
  ASSERT_GT(samples.response_tokens(), 60);
  const PreparedStep prepared = Prepare(samples);
  ASSERT_TRUE(prepared.finite) << prepared.not_finite;
  const auto apart = [&](const at::Tensor& a, const at::Tensor& b) {
    return (a - b).abs().max().item<double>();
  };
  EXPECT_LT(apart(samples.behaviour, prepared.old_log_probs), 1e-4);
  EXPECT_LT(apart(samples.behaviour, samples.reference), 1e-4);
}

TEST_F(VocabHolesTest, Roles_FullKlOfEqualModels_IsZero) {
  spec_.mutable_algorithm()->mutable_ppo()->set_kl_penalty(v1::KL_PENALTY_FULL);
  const StepSamples samples = Samples(Rollout());
  EXPECT_TRUE(samples.full_reference.narrow(1, 25, 9).isneginf().all().item<bool>());
  const PreparedStep prepared = Prepare(samples);
  ASSERT_TRUE(prepared.finite) << prepared.not_finite;
  EXPECT_LT(prepared.rewards.non_score_rewards.abs().max().item<double>(), 1e-5);
}

}  // namespace
}  // namespace retort::worker
