#include "worker/learner/sft_step.h"

#include <limits>

#include "common/model/packed_batch.h"
#include "common/objective/sft_loss.h"
#include "gmock/gmock.h"
#include "worker/learner/rank_fixture.h"

namespace retort::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SftStepTest : public testing::Test {
 protected:
  SftStepTest() { spec_.mutable_algorithm()->set_type(v1::ALGORITHM_TYPE_SFT); }

  static data::Dataset Rows(const std::string& lines) {
    auto dataset = data::Dataset::Parse(lines, "rows.jsonl");
    EXPECT_TRUE(dataset.ok()) << dataset.status();
    return *std::move(dataset);
  }

  const PolicyText policy_ = tiny::TinyPolicy();
  v1::JobSpec spec_ = tiny::TinyPpoSpec(1, 1);
  const data::Dataset two_rows_ =
      Rows("{\"prompt\":\"21=\",\"answer\":\"12\"}\n{\"prompt\":\"b\",\"response\":\"ab\"}\n");
};

TEST_F(SftStepTest, Encode_Row_PromptResponseAndEos) {
  v1::DataSpec data;
  data.set_add_bos(true);
  const auto rows = EncodeSftRows(tiny::TinyPolicy("", data), two_rows_, {1, 0});
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT(rows->tokens, ElementsAre(1, 16, 15, 16, 2, /**/ 1, 5, 4, 13, 4, 5, 2));
  EXPECT_THAT(rows->begin, ElementsAre(0, 5, 12));
  EXPECT_THAT(rows->prompt_lengths, ElementsAre(2, 4));
}

// A conversation of two turns: the user's second question is between what is trained.
TEST_F(SftStepTest, Accumulate_Conversation_OnlyTheAssistantsTokensPull) {
  text::ChatTemplateFiles files;
  files.chat_template_jinja =
      "{% for m in messages %}{{ m.content }}<eos>{% endfor %}"
      "{% if add_generation_prompt %}{% endif %}";
  auto chat = text::ChatTemplate::Parse(files, "model");
  ASSERT_TRUE(chat.ok()) << chat.status();
  PolicyText policy = policy_;
  auto encoder =
      data::RowEncoder::Make(*std::move(chat), policy.tokenizer, policy.config, spec_.data());
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  policy.rows = *encoder;
  const auto rows = EncodeSftRows(
      policy,
      Rows(R"({"messages":[{"role":"user","content":"1"},{"role":"assistant","content":"ab"},)"
           R"({"role":"user","content":"2"},{"role":"assistant","content":"c"}]})"),
      {0});
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT(rows->tokens, ElementsAre(4, 2, 15, 16, 2, 5, 2, 17, 2));
  EXPECT_THAT(rows->trained, ElementsAre(false, false, true, true, true, false, false, true, true));
  EXPECT_THAT(rows->prompt_lengths, ElementsAre(2));
  EXPECT_EQ(rows->TrainedTokens(0), 5);
  OnRanks(1, spec_, policy, 3, [&](Rank& rank) {
    const auto sums = AccumulateSftGradient(rank.context, *rows);
    ASSERT_TRUE(sums.ok()) << sums.status();
    const at::Tensor got = rank.model->gradients.flat().clone();
    // By the definition: the mean over the trained tokens, from the logits of the whole text.
    rank.model->gradients.flat().zero_();
    const at::Tensor logits =
        rank.model->model.Logits(rank.model->model.Hidden(model::Pack({rows->tokens})))
            .narrow(1, 0, policy.mask.limit);
    const at::Tensor where = at::tensor({1, 2, 3, 6, 7}, at::kLong);
    const at::Tensor targets = at::tensor({15, 16, 2, 17, 2}, at::kLong);
    const at::Tensor loss =
        -at::log_softmax(logits, 1).index_select(0, where).gather(1, targets.unsqueeze(1)).mean();
    loss.backward();
    EXPECT_NEAR(objective::FinishSftStatistics(*sums).loss, loss.item<double>(), 1e-5);
    EXPECT_EQ(objective::FinishSftStatistics(*sums).tokens, 5);
    EXPECT_LT((got - rank.model->gradients.flat()).abs().max().item<double>(), 1e-5);
  });
}

TEST_F(SftStepTest, Encode_RolloutsStopElsewhere_Refused) {
  PolicyText policy = policy_;
  policy.stop_ids = {7, 8};
  EXPECT_THAT(EncodeSftRows(policy, two_rows_, {0}).status().ToString(),
              HasSubstr("the tokenizer's EOS is token 2, but rollouts stop at 7, 8"));
}

TEST_F(SftStepTest, Encode_BadRow_NamesFileAndLine) {
  EXPECT_THAT(EncodeSftRows(policy_, Rows("{\"prompt\":\"a\"}\n"), {0}).status().ToString(),
              HasSubstr("rows.jsonl:1: the row has no \"response\""));
  EXPECT_THAT(EncodeSftRows(policy_, Rows("\n{\"prompt\":\"\",\"answer\":\"1\"}\n"), {0})
                  .status()
                  .ToString(),
              HasSubstr("rows.jsonl:2: the prompt has no tokens"));
  EXPECT_THAT(EncodeSftRows(policy_, two_rows_, {2}).status().ToString(),
              HasSubstr("row 2 is not in"));
}

TEST_F(SftStepTest, Run_RepeatedRows_LossFallsAndEosIsLearned) {
  spec_.mutable_optimizer()->set_learning_rate(1e-2);
  const auto rows = EncodeSftRows(policy_, two_rows_, {0, 1});
  ASSERT_TRUE(rows.ok()) << rows.status();
  OnRanks(2, spec_, policy_, 3, [&](Rank& rank) {
    checkpoint::TrainerState state;
    std::vector<double> losses;
    for (int step = 0; step < 40; ++step) {
      StepClock clock;
      const auto outcome = RunSftStep(rank.context, *rows, state, &clock);
      ASSERT_TRUE(outcome.ok()) << outcome.status();
      state = outcome->state;
      losses.push_back(outcome->record.scalars().at("loss"));
    }
    EXPECT_EQ(state.step, 40);
    EXPECT_EQ(state.optimizer_steps, 40);
    EXPECT_GT(losses.front(), 1.0);
    EXPECT_LT(losses.back(),
              0.05);  // Of six tokens, two are EOS: without it the mean would stay higher.
  });
}

TEST_F(SftStepTest, Run_NanWeight_BadStepAndNothingApplied) {
  const auto rows = EncodeSftRows(policy_, two_rows_, {0, 1});
  ASSERT_TRUE(rows.ok()) << rows.status();
  OnRanks(2, spec_, policy_, 3, [&](Rank& rank) {
    {
      const at::NoGradGuard no_grad;
      if (rank.group->rank() == 1)
        rank.model->parameters.flat().fill_(std::numeric_limits<float>::quiet_NaN());
    }
    StepClock clock;
    const auto outcome = RunSftStep(rank.context, *rows, {}, &clock);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_TRUE(outcome->bad);  // On rank 0 too, whose own part was finite.
    EXPECT_EQ(outcome->state.optimizer_steps, 0);
    EXPECT_EQ(outcome->state.bad_steps, 1);
    EXPECT_EQ(rank.model->exp_avg.flat().abs().sum().item<float>(), 0);
  });
}

}  // namespace
}  // namespace retort::worker
