// policy.lora: what job files may say, what follows for the layout and for the plan.
#include "common/job/policy_adapter.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/job/parse_fixture.h"
#include "common/job/plan_fixture.h"
#include "gmock/gmock.h"

namespace retort::job {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

TEST(PolicyAdapterTest, Parse_Lora_TargetsAsListOrOneName) {
  const v1::LoraSpec lora = Load(kFullPpoJob).policy().lora();
  EXPECT_EQ(lora.rank(), 4);
  EXPECT_EQ(lora.alpha(), 16);
  EXPECT_TRUE(lora.use_rslora());
  EXPECT_THAT(lora.target_modules(), ElementsAre("q_proj", "mlp.down_proj"));
  const v1::LoraSpec plain = Load(kPpoJob, {"policy.lora.rank=2"}).policy().lora();
  EXPECT_EQ(plain.alpha(), 8);
  EXPECT_THAT(plain.target_modules(), ElementsAre("all-linear"));
  for (const char* targets : {"q_proj", "[q_proj]", "\"q_proj\""}) {
    EXPECT_THAT(
        Load(kPpoJob, {"policy.lora.rank=2", absl::StrCat("policy.lora.target_modules=", targets)})
            .policy()
            .lora()
            .target_modules(),
        ElementsAre("q_proj"))
        << targets;
  }
  EXPECT_EQ(Load(kPpoJob, {"policy.lora.path=a"}).policy().lora().path(), "/base/a");
}

TEST(PolicyAdapterTest, Parse_LoraOfRankZero_EveryWeightIsTrained) {
  EXPECT_FALSE(Load(kPpoJob).policy().has_lora());
  const v1::JobSpec off = Load(kFullPpoJob, {"policy.lora.rank=0"});
  EXPECT_FALSE(off.policy().has_lora());
}

TEST(PolicyAdapterTest, Parse_BadLora_FieldAndWhatWasExpected) {
  struct Case {
    std::vector<std::string> given;
    const char* want;
  };
  const std::string rank = "policy.lora.rank=2";
  const Case cases[] = {
      {{"policy.lora.rank=-1"}, "policy.lora.rank is -1; expected an integer >= 0 and <= 16384"},
      {{"policy.lora.rank=16385"}, "policy.lora.rank is 16385; expected"},
      {{rank, "policy.lora.alpha=0"}, "policy.lora.alpha is 0; expected a number > 0"},
      {{rank, "policy.lora.dropout=0.1"},
       "policy.lora.dropout is 0.1; expected 0: adapters are trained without dropout"},
      {{rank, "policy.lora.target_modules=[]"}, "policy.lora.target_modules has no name"},
      {{rank, "policy.lora.target_modules=[q_proj, '']"},
       "target_modules has no name, or an empty"},
      {{rank, "policy.lora.target_modules=[all-linear, q_proj]"},
       "policy.lora.target_modules has all-linear among other names"},
      {{rank, "policy.lora.target_modules={a: 1}"},
       "policy.lora.target_modules is a section; expected a list of strings"},
      {{rank, "policy.lora.target_modules=[[q_proj]]"},
       "policy.lora.target_modules.0 is a list; expected a string"},
      {{"policy.lora.alpha=4"}, "policy.lora would be ignored: policy.lora.rank is 0"},
      {{rank, "policy.lora.path=a"},
       "policy.lora.rank would be ignored: the adapter_config.json in policy.lora.path says it"},
      {{"policy.lora.path=a", "policy.lora.alpha=4"}, "policy.lora.alpha would be ignored: the"},
      {{"policy.lora.path=a", "policy.lora.target_modules=q_proj"},
       "policy.lora.target_modules would be ignored"},
      {{"policy.lora.path=a", "policy.lora.use_rslora=true"}, "use_rslora would be ignored"},
      {{rank, "policy.lora.r=4"}, "policy.lora.r is not a known key"},
  };
  for (const Case& c : cases) EXPECT_THAT(ErrorOf(kPpoJob, c.given), HasSubstr(c.want)) << c.want;
}

TEST(PolicyAdapterTest, AdapterOf_KeysOfTheJob) {
  EXPECT_FALSE(AdapterOf(Load(kPpoJob).policy())->has_value());
  const auto adapter = AdapterOf(Load(kFullPpoJob).policy());
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  ASSERT_TRUE(adapter->has_value());
  EXPECT_EQ((*adapter)->rank, 4);
  EXPECT_EQ((*adapter)->scale(), 8);  // 16 / sqrt(4)
  EXPECT_FALSE((*adapter)->all_linear);
  EXPECT_THAT((*adapter)->targets, ElementsAre("q_proj", "mlp.down_proj"));
  const auto all = AdapterOf(Load(kPpoJob, {"policy.lora.rank=2"}).policy());
  EXPECT_TRUE((*all)->all_linear);
  EXPECT_EQ((*all)->scale(), 4);
}

TEST_F(PlanTest, MakePlan_Lora_OnlyTheAdapterHasGradientsMomentsAndVersions) {
  const std::vector<std::string> fits = {"rollout.max_new_tokens=4", "algorithm.lag=1"};
  const Plan full = Planned(kPpoJob, fits);
  EXPECT_EQ(full.trainable_parameters, full.parameters);
  const Plan plan = Planned(kPpoJob, {fits[0], fits[1], "policy.lora.rank=2",
                                      "policy.lora.target_modules=[q_proj, v_proj]"});
  EXPECT_EQ(plan.parameters, full.parameters);
  EXPECT_EQ(plan.adapter_rank, 2);
  EXPECT_EQ(plan.adapted_matrices, 4);
  // Per layer A and B of q (16 to 16) and v (16 to 8), then the value head.
  EXPECT_EQ(plan.trainable_parameters, 2 * 2 * (16 + 16 + 16 + 8) + 17);
  EXPECT_EQ(plan.trainable_bytes, 4 * (2 * 2 * (16 + 16 + 16 + 8) + 32));
  auto item = [&](const Plan& of, int role, const std::string& what) {
    for (const MemoryItem& i : of.roles[role].memory) {
      if (i.what == what) return i.bytes;
    }
    return int64_t{-1};
  };
  EXPECT_EQ(item(plan, 2, "weights"), plan.trainable_bytes);
  EXPECT_EQ(item(plan, 2, "gradients"), plan.trainable_bytes);
  EXPECT_EQ(item(plan, 2, "moments"), 2 * plan.trainable_bytes);
  EXPECT_EQ(item(plan, 2, "base weights"), item(full, 2, "weights"));
  EXPECT_EQ(item(plan, 1, "base weights"), full.ring_slot_bytes);
  EXPECT_EQ(item(plan, 2, "merged model, when the run ends"), full.ring_slot_bytes);
  EXPECT_EQ(item(full, 2, "merged model, when the run ends"), -1);
  EXPECT_EQ(item(full, 1, "base weights"), -1);
  EXPECT_EQ(plan.ring_slot_bytes, 4 * 2 * 2 * (16 + 16 + 16 + 8));
  EXPECT_EQ(plan.checkpoint_bytes, 3 * plan.trainable_bytes + plan.ring_slot_bytes);
  EXPECT_THAT(Describe(plan), HasSubstr("LoRA of rank 2 on 4 matrices"));
  EXPECT_THAT(Planned(kSftJob, {"policy.lora.rank=2"}).notes,
              Contains(HasSubstr("adapts a model of random weights")));
}

TEST_F(PlanTest, MakePlan_LoraThatDoesNotFit_NamesFieldAndWhatWould) {
  const std::string fits = "rollout.max_new_tokens=4";
  EXPECT_THAT(ErrorOf(kPpoJob, {fits, "policy.lora.rank=2",
                                "policy.lora.target_modules=[q_proj, query_key_value]"}),
              AllOf(StartsWith("--set policy.lora.target_modules: "),
                    HasSubstr("names \"query_key_value\""), HasSubstr("q_proj, k_proj, v_proj")));
  EXPECT_THAT(ErrorOf(kPpoJob, {fits, "policy.lora.rank=2", "policy.lora.target_modules=lm_head"}),
              HasSubstr("adapters of embeddings and heads are not built"));
  EXPECT_THAT(ErrorOf(kPpoJob, {fits, "policy.lora.path=none"}),
              AllOf(StartsWith("--set policy.lora.path: "), HasSubstr("adapter_config.json")));
}

TEST_F(PlanTest, MakePlan_LoraFolder_ItsHeadersMustFitTheModel) {
  ASSERT_TRUE(MakeDirectories(folder_ + "/adapter").ok());
  Write("adapter/adapter_config.json",
        R"({"peft_type": "LORA", "r": 3, "lora_dropout": 0.05, "target_modules": ["v_proj"]})");
  const std::vector<std::string> job = {"rollout.max_new_tokens=4", "policy.lora.path=adapter"};
  EXPECT_THAT(ErrorOf(kPpoJob, job), HasSubstr("no adapter; expected adapter_model.safetensors"));
  const auto write = [&](int64_t rank) {
    std::vector<layout::SafetensorsSpec> specs;
    for (const char* layer : {"0", "1"}) {
      const std::string name =
          absl::StrCat("base_model.model.model.layers.", layer, ".self_attn.v_proj.lora_");
      specs.push_back({name + "A.weight", "F32", {rank, 16}});
      specs.push_back({name + "B.weight", "F32", {8, rank}});
    }
    Write("adapter/adapter_model.safetensors",
          layout::EncodeSafetensorsHeader(specs) + std::string(4 * 2 * rank * (16 + 8), '\0'));
  };
  write(2);
  EXPECT_THAT(ErrorOf(kPpoJob, job), HasSubstr("expected [3,16] from adapter_config.json"));
  write(3);
  const Plan plan = Planned(kPpoJob, job);
  EXPECT_EQ(plan.adapter_rank, 3);
  EXPECT_EQ(plan.adapted_matrices, 2);
  // The reference is the first weights: the model, in bf16 if the job says so, and the adapter.
  const int64_t adapter = plan.ring_slot_bytes;
  const int64_t base = Planned(kPpoJob, {job[0]}).roles[0].memory[0].bytes;
  EXPECT_EQ(plan.roles[0].memory[0].bytes, base + adapter);
  EXPECT_EQ(Planned(kPpoJob, {job[0], job[1], "reference.dtype=bfloat16"}).roles[0].memory[0].bytes,
            base / 2 + adapter);
  EXPECT_THAT(plan.notes, Contains(HasSubstr("lora_dropout 0.05")));
}

}  // namespace
}  // namespace retort::job
