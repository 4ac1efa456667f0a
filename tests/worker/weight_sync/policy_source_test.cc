#include "worker/weight_sync/policy_source.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "gmock/gmock.h"
#include "testing/tiny_job.h"

namespace retort::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A folder with config and tokenizer, and a job that starts from it with random weights.
class PolicySourceTest : public testing::Test {
 protected:
  PolicySourceTest() {
    EXPECT_TRUE(MakeDirectories(folder_).ok());
    WriteConfig(tiny::TinyConfig());
    EXPECT_TRUE(WriteFileDurably(folder_ + "/tokenizer.json", tiny::TinyTokenizerJson()).ok());
    EXPECT_TRUE(
        WriteFileDurably(folder_ + "/tokenizer_config.json", tiny::kTinyTokenizerConfig).ok());
    spec_.mutable_policy()->mutable_init()->set_config(folder_);
    spec_.mutable_policy()->mutable_init()->set_std(0.06);
  }
  ~PolicySourceTest() override { EXPECT_TRUE(RemoveRecursively(folder_).ok()); }
  void WriteConfig(const layout::ModelConfig& config) {
    EXPECT_TRUE(WriteFileDurably(folder_ + "/config.json", layout::ModelConfigJson(config)).ok());
  }

  const std::string folder_ =
      absl::StrCat(testing::TempDir(), "/policy_source_test_", RandomHex(4));
  v1::JobSpec spec_ = tiny::TinyPpoSpec(4, 1);
};

TEST_F(PolicySourceTest, LoadText_ModelLargerThanTokenizer_TheTokenizerLimits) {
  const auto policy = LoadPolicyText(spec_);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->vocab_limit, 35);
  EXPECT_THAT(policy->stop_ids, ElementsAre(2));
}

TEST_F(PolicySourceTest, LoadText_ConfigWithoutEos_TheTokenizersEosStops) {
  layout::ModelConfig config = tiny::TinyConfig();
  config.eos_token_ids.clear();
  WriteConfig(config);
  const auto policy = LoadPolicyText(spec_);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(policy->stop_ids, ElementsAre(2));
}

TEST_F(PolicySourceTest, Eos_OneOfSeveralStopIds_TheTokenizers) {
  PolicyText policy = tiny::TinyPolicy();
  policy.stop_ids = {7, 2};
  EXPECT_EQ(*EosOf(policy), 2);
  policy.stop_ids = {7};
  EXPECT_EQ(EosOf(policy).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(PolicySourceTest, Eos_TokenizerNamesNone_TheFirstStopId) {
  PolicyText policy = tiny::TinyPolicy();
  auto tokenizer = text::Tokenizer::Parse(tiny::TinyTokenizerJson(), "{}", "no eos");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  policy.tokenizer = *std::move(tokenizer);
  policy.stop_ids = {7, 2};
  EXPECT_EQ(*EosOf(policy), 7);
  policy.stop_ids.clear();
  EXPECT_THAT(EosOf(policy).status().ToString(), HasSubstr("responses could not end"));
}

TEST_F(PolicySourceTest, FirstWeights_PolicyAndReference_AreTheSame) {
  tensor::ParameterArena policy = tiny::ZeroArena(tiny::TinyConfig(), /*value_head=*/true);
  ASSERT_TRUE(LoadFirstWeights(spec_, &policy).ok());
  const auto reference = LoadReferenceWeights(spec_);
  ASSERT_TRUE(reference.ok()) << reference.status();
  EXPECT_TRUE(at::equal(policy.Published(), reference->arena.Published()));
  EXPECT_NE(policy.Published().abs().sum().item<float>(), 0);
  EXPECT_EQ(policy.Range(policy.layout().value_head).abs().sum().item<float>(), 0);
}

TEST_F(PolicySourceTest, EncodePrompt_Bos_InFrontWhenAsked) {
  const PolicyText policy = tiny::TinyPolicy();
  EXPECT_THAT(*EncodePrompt(policy, false, "1="), ElementsAre(4, 13));
  EXPECT_THAT(*EncodePrompt(policy, true, "1="), ElementsAre(1, 4, 13));
  EXPECT_THAT(EncodePrompt(policy, false, "").status().ToString(),
              HasSubstr("the prompt has no tokens"));
  EXPECT_THAT(*EncodePrompt(policy, true, ""), ElementsAre(1));
}

}  // namespace
}  // namespace retort::worker
