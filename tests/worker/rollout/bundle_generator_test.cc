#include "worker/rollout/bundle_generator.h"

#include <numeric>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "gmock/gmock.h"
#include "testing/tiny_job.h"

namespace retort::worker {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class BundleGeneratorTest : public testing::Test {
 protected:
  BundleGeneratorTest() {
    EXPECT_TRUE(MakeDirectories(folder_).ok());
    spec_.mutable_data()->set_train(folder_ + "/train.jsonl");
    spec_.mutable_data()->set_validation(folder_ + "/validation.jsonl");
    std::vector<std::string> answers;
    for (int i = 0; i < 10; ++i) answers.push_back(absl::StrCat(i));
    WriteRows(answers);
    spec_.mutable_rollout()->set_max_new_tokens(6);
    spec_.mutable_rollout()->set_max_batch(3);
    spec_.mutable_eval()->set_every(1);
    spec_.add_rewards()->mutable_exact_match()->set_require_eos(true);
    v1::RewardSpec& length = *spec_.add_rewards();
    length.mutable_length()->set_target(3);
    length.mutable_length()->set_tolerance(3);
    length.set_weight(0.5);
  }
  ~BundleGeneratorTest() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }

  // Row i asks "i=" and wants answers[i].
  void WriteRows(const std::vector<std::string>& answers) {
    std::string rows;
    for (size_t i = 0; i < answers.size(); ++i)
      absl::StrAppend(&rows, R"({"prompt":")", i, R"(=","answer":")", answers[i], "\"}\n");
    EXPECT_TRUE(WriteFileDurably(spec_.data().train(), rows).ok());
    EXPECT_TRUE(WriteFileDurably(spec_.data().validation(), rows).ok());
  }
  std::unique_ptr<BundleGenerator> Make() {
    auto generator = BundleGenerator::Make(spec_, &policy_);
    EXPECT_TRUE(generator.ok()) << generator.status();
    return *std::move(generator);
  }
  static BundleRequest Request(v1::BundleKind kind, int64_t step, int64_t first_slot,
                               std::vector<int64_t> rows) {
    BundleRequest request;
    request.bundle.set_kind(kind);
    request.bundle.set_step(step);
    request.bundle.set_index(1);
    request.version = step;
    request.first_slot = first_slot;
    request.rows = std::move(rows);
    return request;
  }
  absl::StatusOr<GeneratedBundle> Generate(BundleGenerator& generator,
                                           const BundleRequest& request) {
    return generator.Generate(model_, request, [](int64_t) { return absl::OkStatus(); });
  }

  // Greedy completions of four rows whose answers are what the model says.
  GeneratedBundle EvalWithOwnAnswers() {
    const BundleRequest request = Request(v1::BUNDLE_KIND_EVAL, 2, 0, {0, 1, 2, 3});
    auto said = Generate(*Make(), request);
    EXPECT_TRUE(said.ok()) << said.status();
    WriteRows(said->completions);
    auto bundle = Generate(*Make(), request);
    EXPECT_TRUE(bundle.ok()) << bundle.status();
    EXPECT_EQ(bundle->completions, said->completions);
    return *std::move(bundle);
  }

  const std::string folder_ =
      absl::StrCat(testing::TempDir(), "/bundle_generator_test_", RandomHex(4));
  PolicyText policy_ = tiny::TinyPolicy();
  v1::JobSpec spec_ = tiny::TinyPpoSpec(4, 3);
  const model::Model model_{policy_.config, tiny::RandomArena(policy_.config, false, 5)};
};

TEST_F(BundleGeneratorTest, Generate_Train_SamplesOfEachSlotWithItsRow) {
  const auto bundle = Generate(*Make(), Request(v1::BUNDLE_KIND_TRAIN, 2, 4, {7, 0}));
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  const artifact::Rollout& rollout = bundle->rollout;
  ASSERT_EQ(rollout.samples(), 6);
  EXPECT_THAT(rollout.slots, ElementsAre(4, 5));
  EXPECT_THAT(rollout.rows, ElementsAre(7, 0));
  EXPECT_EQ(rollout.n, 3);
  EXPECT_THAT(rollout.reward_names, ElementsAre("exact_match", "length"));
  EXPECT_EQ(rollout.token_ids[0], 10);  // "7"
  int64_t tokens = 0;
  for (int64_t i = 0; i < rollout.samples(); ++i) {
    tokens += rollout.response_lengths[i];
    EXPECT_EQ(rollout.prompt_lengths[i], 2);
    EXPECT_FLOAT_EQ(rollout.scores[i],
                    rollout.reward_parts[2 * i] + 0.5f * rollout.reward_parts[2 * i + 1]);
    EXPECT_EQ(rollout.finished[i] == 1 || rollout.response_lengths[i] == 6, true) << i;
  }
  EXPECT_EQ(static_cast<int64_t>(rollout.behaviour_log_probs.size()), tokens);
  EXPECT_EQ(bundle->generated_tokens, tokens);
  EXPECT_TRUE(artifact::Encode(rollout).ok());
}

TEST_F(BundleGeneratorTest, Generate_AnotherWorkerOrASecondTime_SameBytes) {
  const BundleRequest request = Request(v1::BUNDLE_KIND_TRAIN, 2, 4, {7, 0, 3});
  const auto generator = Make();
  const std::string first = *artifact::Encode(Generate(*generator, request)->rollout);
  // What the worker did before must not matter.
  ASSERT_TRUE(Generate(*generator, Request(v1::BUNDLE_KIND_TRAIN, 1, 0, {1, 2})).ok());
  EXPECT_EQ(*artifact::Encode(Generate(*generator, request)->rollout), first);
  EXPECT_EQ(*artifact::Encode(Generate(*Make(), request)->rollout), first);
}

TEST_F(BundleGeneratorTest, Generate_OtherStepOrSlot_OtherNumbers) {
  const auto generator = Make();
  const auto base = Generate(*generator, Request(v1::BUNDLE_KIND_TRAIN, 2, 4, {7}));
  EXPECT_NE(Generate(*generator, Request(v1::BUNDLE_KIND_TRAIN, 3, 4, {7}))->rollout.token_ids,
            base->rollout.token_ids);
  EXPECT_NE(Generate(*generator, Request(v1::BUNDLE_KIND_TRAIN, 2, 5, {7}))->rollout.token_ids,
            base->rollout.token_ids);
}

TEST_F(BundleGeneratorTest, Generate_SamplesOfOneSlot_OtherNumbersEach) {
  const auto bundle = Generate(*Make(), Request(v1::BUNDLE_KIND_TRAIN, 2, 4, {7}));
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  const artifact::Rollout& rollout = bundle->rollout;
  std::set<std::vector<int32_t>> responses;
  auto token = rollout.token_ids.begin();
  for (int64_t i = 0; i < rollout.samples(); ++i) {
    token += rollout.prompt_lengths[i];
    responses.emplace(token, token + rollout.response_lengths[i]);
    token += rollout.response_lengths[i];
  }
  EXPECT_EQ(responses.size(), 3);
}

TEST_F(BundleGeneratorTest, Generate_RightAnswerCutShort_NoMatch) {
  policy_.stop_ids.clear();
  const GeneratedBundle bundle = EvalWithOwnAnswers();
  EXPECT_THAT(bundle.rollout.finished, Each(0));
  EXPECT_THAT(bundle.exact_matches, Each(0));
  EXPECT_EQ(bundle.rollout.reward_parts[0], 0);  // exact_match with require_eos.
}

TEST_F(BundleGeneratorTest, Generate_RightAnswerFinished_Matches) {
  policy_.stop_ids.resize(policy_.mask.limit);
  std::iota(policy_.stop_ids.begin(), policy_.stop_ids.end(), 0);
  const GeneratedBundle bundle = EvalWithOwnAnswers();
  EXPECT_THAT(bundle.rollout.finished, Each(1));
  EXPECT_THAT(bundle.exact_matches, Each(1));
  EXPECT_EQ(bundle.rollout.reward_parts[0], 1);
}

TEST_F(BundleGeneratorTest, Generate_Eval_OneGreedySampleARow) {
  const auto generator = Make();
  const auto first = Generate(*generator, Request(v1::BUNDLE_KIND_EVAL, 2, 0, {1, 2, 3, 4}));
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->rollout.samples(), 4);
  // Greedy: the seed, step and slot do not matter.
  const auto other = Generate(*generator, Request(v1::BUNDLE_KIND_EVAL, 9, 40, {1, 2, 3, 4}));
  EXPECT_EQ(other->rollout.token_ids, first->rollout.token_ids);
  EXPECT_EQ(TotalsOf(*first).rows(), 4);
}

TEST_F(BundleGeneratorTest, Totals_MatchesAndScores_Counted) {
  GeneratedBundle bundle;
  bundle.rollout.prompt_lengths = {1, 1, 1};
  bundle.rollout.scores = {1, 0.25, 0};
  bundle.exact_matches = {1, 0, 1};
  const v1::EvalTotals totals = TotalsOf(bundle);
  EXPECT_EQ(totals.rows(), 3);
  EXPECT_EQ(totals.exact_matches(), 2);
  EXPECT_DOUBLE_EQ(totals.score_sum(), 1.25);
}

TEST_F(BundleGeneratorTest, SampleTexts_LongText_CutBetweenCodePoints) {
  GeneratedBundle bundle;
  bundle.rollout.n = 2;
  bundle.rollout.slots = {8, 9, 10};
  bundle.rollout.scores = {1, 2, 3, 4, 5, 6};
  bundle.prompts.assign(6, "p");
  for (int i = 0; i < 6; ++i)
    bundle.completions.push_back(absl::StrCat(std::string(1023, 'x'), "ä"));
  const std::vector<v1::SampleText> texts = SampleTexts(bundle, 2);
  ASSERT_EQ(texts.size(), 2);
  EXPECT_EQ(texts[0].completion(), std::string(1023, 'x'));
  EXPECT_EQ(texts[1].slot(), 9);
  EXPECT_EQ(texts[1].score(), 3);  // The first sample of the second slot.
}

TEST_F(BundleGeneratorTest, Generate_RowOutOfRange_NamesFile) {
  EXPECT_THAT(Generate(*Make(), Request(v1::BUNDLE_KIND_TRAIN, 0, 0, {10})).status().ToString(),
              HasSubstr("train.jsonl has 10 rows"));
}

TEST_F(BundleGeneratorTest, Generate_RegexThatExplodes_ScoresZeroAndIsCounted) {
  spec_.add_rewards()->mutable_regex()->set_pattern("(?:(?:.?){12}){12}(?!)");
  const auto bundle = Generate(*Make(), Request(v1::BUNDLE_KIND_TRAIN, 2, 4, {7, 0}));
  ASSERT_TRUE(bundle.ok()) << bundle.status();
  const artifact::Rollout& rollout = bundle->rollout;
  ASSERT_EQ(rollout.reward_gave_up.size(), 3u);
  EXPECT_THAT(absl::MakeSpan(rollout.reward_gave_up.data(), 2), Each(0));
  EXPECT_GT(rollout.reward_gave_up[2], 0);
  for (int64_t i = 0; i < rollout.samples(); ++i) EXPECT_EQ(rollout.reward_parts[3 * i + 2], 0);
  EXPECT_TRUE(artifact::Encode(rollout).ok());
}

TEST_F(BundleGeneratorTest, Generate_HookRefuses_ItsErrorComesBack) {
  const auto generator = Make();
  const auto bundle =
      generator->Generate(model_, Request(v1::BUNDLE_KIND_TRAIN, 0, 0, {1}), [](int64_t tokens) {
        return tokens < 4 ? absl::OkStatus() : absl::CancelledError("enough");
      });
  EXPECT_EQ(bundle.status(), absl::CancelledError("enough"));
}

}  // namespace
}  // namespace retort::worker
