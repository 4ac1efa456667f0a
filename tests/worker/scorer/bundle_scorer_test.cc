#include "worker/scorer/bundle_scorer.h"

#include <cmath>

#include "gmock/gmock.h"
#include "testing/tiny_job.h"

namespace retort::worker {
namespace {

using ::testing::HasSubstr;

class BundleScorerTest : public testing::Test {
 protected:
  absl::StatusOr<artifact::Scores> Score() {
    return ScoreBundle(reference_, options_, rollout_, [this] {
      ++micro_batches_;
      return absl::OkStatus();
    });
  }

  const PolicyText policy_ = tiny::TinyPolicy();
  const v1::JobSpec spec_ = tiny::TinyPpoSpec(6, 2);
  const model::Model reference_{policy_.config, tiny::RandomArena(policy_.config, false, 5)};
  ScoringOptions options_ = ScoringOptionsOf(spec_, policy_);
  artifact::Rollout rollout_ =
      tiny::RandomBundles(spec_, 3, 6, policy_.mask.limit).rollouts.front();
  int micro_batches_ = 0;
};

// The plain definition: one sample at a time, from the logits, at the temperature of the rollouts.
TEST_F(BundleScorerTest, Score_EachSample_EqualsTheDefinition) {
  const auto scores = Score();
  ASSERT_TRUE(scores.ok()) << scores.status();
  ASSERT_EQ(scores->ref_log_probs.size(), rollout_.behaviour_log_probs.size());
  const at::NoGradGuard no_grad;
  int64_t token = 0, at_score = 0;
  for (int64_t i = 0; i < rollout_.samples(); ++i) {
    const int64_t length = rollout_.prompt_lengths[i] + rollout_.response_lengths[i];
    const std::vector<int64_t> ids(rollout_.token_ids.begin() + token,
                                   rollout_.token_ids.begin() + token + length);
    const at::Tensor logits =
        reference_.Logits(reference_.Hidden(model::Pack({ids}))).narrow(1, 0, policy_.mask.limit);
    const at::Tensor log_probs = at::log_softmax(logits / 0.7, 1);
    for (int64_t t = rollout_.prompt_lengths[i]; t < length; ++t) {
      EXPECT_NEAR(scores->ref_log_probs[at_score++], log_probs[t - 1][ids[t]].item<float>(), 2e-5);
    }
    token += length;
  }
}

TEST_F(BundleScorerTest, Score_Full_RowsHoldTheSelectedOnes) {
  const auto selected = Score();
  options_.full = true;
  const auto full = Score();
  ASSERT_TRUE(selected.ok() && full.ok()) << full.status();
  EXPECT_EQ(full->vocab, policy_.config.vocab_size);
  EXPECT_EQ(full->tokens(), selected->tokens());
  for (int64_t row = 0; row < full->tokens(); ++row) {
    const float* values = full->ref_log_probs.data() + row * full->vocab;
    double total = 0;
    for (int64_t v = 0; v < policy_.mask.limit; ++v) total += std::exp(values[v]);
    EXPECT_NEAR(total, 1, 1e-5);
    EXPECT_EQ(values[policy_.mask.limit], -INFINITY);  // The tokenizer has no such id.
  }
}

// The definition of bf16 weights: those numbers, computed with in fp32.
TEST_F(BundleScorerTest, Score_Bfloat16Weights_SameBytesAsWidened) {
  const tensor::ParameterArena source = tiny::RandomArena(policy_.config, false, 5);
  const at::Tensor half = source.flat().to(at::kBFloat16);
  const auto score = [&](const at::Tensor& flat) {
    const model::Model model(policy_.config, tensor::ParameterArena::Wrap(source.layout(), flat));
    return *artifact::Encode(
        *ScoreBundle(model, options_, rollout_, [] { return absl::OkStatus(); }));
  };
  for (const bool full : {false, true}) {
    options_.full = full;
    const std::string got = score(half);
    EXPECT_EQ(got, score(half.to(at::kFloat)));
    EXPECT_NE(got, score(source.flat()));
  }
}

TEST_F(BundleScorerTest, Score_Twice_SameBytes) {
  EXPECT_EQ(*artifact::Encode(*Score()), *artifact::Encode(*Score()));
}

TEST_F(BundleScorerTest, Score_SmallMicroBatches_SameWithinRounding) {
  const auto whole = Score();
  EXPECT_EQ(micro_batches_, 1);
  options_.micro_batch_tokens = 17;
  const auto parts = Score();
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_GT(micro_batches_, 5);
  for (size_t i = 0; i < whole->ref_log_probs.size(); ++i) {
    EXPECT_NEAR(parts->ref_log_probs[i], whole->ref_log_probs[i], 2e-5);
  }
}

TEST_F(BundleScorerTest, Score_BadInput_Named) {
  rollout_.token_ids[3] = 36;
  EXPECT_THAT(Score().status().ToString(),
              HasSubstr("id 36 of the rollout is no token; ids are below 35"));
  rollout_.token_ids[3] = 1;
  options_.mask.excluded = {1};  // An id below the last that the tokenizer has no token for.
  EXPECT_THAT(Score().status().ToString(), HasSubstr("id 1 of the rollout is no token"));
  options_.mask.excluded = {};
  options_.micro_batch_tokens = 4;
  EXPECT_TRUE(absl::IsInvalidArgument(Score().status()));
}

}  // namespace
}  // namespace retort::worker
