#include "worker/weight_sync/policy_source.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/tensor/model_weights.h"
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
  EXPECT_EQ(policy->mask.limit, 35);
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

TEST_F(PolicySourceTest, FirstWeights_PolicyAndReference_AreTheSame) {
  tensor::ParameterArena policy = tiny::ZeroArena(tiny::TinyConfig(), /*value_head=*/true);
  ASSERT_TRUE(LoadFirstWeights(spec_, &policy).ok());
  const auto reference = LoadReferenceWeights(spec_);
  ASSERT_TRUE(reference.ok()) << reference.status();
  EXPECT_TRUE(at::equal(policy.Published(), reference->arena.Published()));
  EXPECT_NE(policy.Published().abs().sum().item<float>(), 0);
  EXPECT_EQ(policy.Range(policy.layout().value_head).abs().sum().item<float>(), 0);
}

TEST_F(PolicySourceTest, Reference_Bfloat16_HalfTheBytes) {
  const tensor::ParameterArena weights = tiny::RandomArena(tiny::TinyConfig(), false);
  EXPECT_TRUE(tensor::WriteModelWeights(folder_, weights).ok());
  spec_.mutable_policy()->set_path(folder_);
  const auto wide = LoadReferenceWeights(spec_);
  spec_.mutable_reference()->set_dtype(v1::DATA_TYPE_BFLOAT16);
  const auto half = LoadReferenceWeights(spec_);
  ASSERT_TRUE(wide.ok() && half.ok()) << half.status();
  EXPECT_TRUE(at::equal(wide->arena.flat(), weights.flat()));
  EXPECT_TRUE(at::equal(half->arena.flat(), weights.flat().to(at::kBFloat16)));
  EXPECT_EQ(2 * half->arena.flat().nbytes(), wide->arena.flat().nbytes());
}

TEST_F(PolicySourceTest, LoadText_FolderWithAChatTemplate_RendersRows) {
  const data::Dataset rows =
      *data::Dataset::Parse(R"({"messages":[{"role":"user","content":"1="}]})", "rows.jsonl");
  const auto bare = LoadPolicyText(spec_);
  ASSERT_TRUE(bare.ok()) << bare.status();
  EXPECT_THAT(bare->rows->Prompt(rows.row(0)).status().ToString(),
              HasSubstr("neither chat_template.jinja nor chat_template"));
  EXPECT_TRUE(
      WriteFileDurably(folder_ + "/chat_template.jinja", "{{ bos_token }}{{ messages[0].content }}")
          .ok());
  spec_.mutable_data()->set_add_bos(true);  // The template's BOS is the only one.
  const auto policy = LoadPolicyText(spec_);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_THAT(policy->rows->Prompt(rows.row(0))->ids, ElementsAre(1, 4, 13));
}

TEST_F(PolicySourceTest, LoadText_TokenizerWithHoles_AreMasked) {
  EXPECT_TRUE(WriteFileDurably(folder_ + "/tokenizer.json", tiny::TinyTokenizerJson("+q")).ok());
  const auto policy = LoadPolicyText(spec_);
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_EQ(policy->mask.limit, 35);
  EXPECT_THAT(policy->mask.excluded, ElementsAre(14, 31));
}

}  // namespace
}  // namespace retort::worker
