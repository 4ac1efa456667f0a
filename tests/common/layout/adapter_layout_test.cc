#include "common/layout/adapter_layout.h"

#include "gtest/gtest.h"
#include "testing/family_configs.h"

namespace retort::layout {
namespace {

ModelConfig Named(const std::string& name) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    if (name == family.name) return tiny::ConfigOf(family);
  }
  ADD_FAILURE() << name;
  return {};
}

AdapterConfig Rank(int64_t rank, std::vector<std::string> targets) {
  AdapterConfig config;
  config.rank = rank;
  config.all_linear = targets.empty();
  config.targets = std::move(targets);
  return config;
}

TEST(AdapterLayoutTest, PartOfAFusedMatrix_RowsOfThatPart) {
  const auto adapter = AdapterLayoutFor(Named("llama3"), Rank(3, {"v_proj"}), false);
  ASSERT_TRUE(adapter.ok()) << adapter.status();
  ASSERT_EQ(adapter->targets.size(), 2u);  // Layers.
  const AdapterTarget& target = adapter->targets[1];
  EXPECT_EQ(target.role, ParameterRole::kQkv);
  EXPECT_EQ(target.layer, 1);
  EXPECT_EQ(target.row, 32 + 16);  // Behind q and k.
  EXPECT_EQ(target.rows, 16);
  const ParameterEntry& a = adapter->parameters.entries[target.a];
  const ParameterEntry& b = adapter->parameters.entries[target.b];
  EXPECT_EQ(a.name, "base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight");
  EXPECT_EQ(a.shape, (std::vector<int64_t>{3, 32}));
  EXPECT_EQ(b.name, "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight");
  EXPECT_EQ(b.shape, (std::vector<int64_t>{16, 3}));
}

TEST(AdapterLayoutTest, TransposedAndPermutedBases_BAsTheArenaHoldsIt) {
  const auto gpt2 = AdapterLayoutFor(Named("gpt2"), Rank(2, {"c_attn"}), false);
  ASSERT_TRUE(gpt2.ok()) << gpt2.status();
  EXPECT_EQ(gpt2->parameters.entries[0].shape, (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(gpt2->parameters.entries[1].shape, (std::vector<int64_t>{96, 2}));
  EXPECT_EQ(gpt2->parameters.entries[1].parts[0].stored, StoredAs::kSame);
  const auto neox = AdapterLayoutFor(Named("gpt_neox"), Rank(2, {"query_key_value"}), false);
  ASSERT_TRUE(neox.ok()) << neox.status();
  EXPECT_EQ(neox->parameters.entries[1].parts[0].stored, StoredAs::kRuns);
  EXPECT_EQ(neox->parameters.entries[1].parts[0].outer, 3);
}

TEST(AdapterLayoutTest, AllLinear_EveryMatrixOfEveryFamilyButLookupsAndHeads) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const ModelConfig base = tiny::ConfigOf(family);
    const auto adapter = AdapterLayoutFor(base, Rank(2, {}), /*value_head=*/true);
    ASSERT_TRUE(adapter.ok()) << family.name << ": " << adapter.status();
    size_t want = 0;
    for (const ParameterEntry& entry : LayoutFor(base, false).entries) {
      const bool linear = entry.layer >= 0 || entry.role == ParameterRole::kProjectIn ||
                          entry.role == ParameterRole::kProjectOut;
      if (entry.shape.size() == 2 && linear) want += entry.parts.size();
    }
    EXPECT_EQ(adapter->targets.size(), want) << family.name;
    const ParameterLayout& layout = adapter->parameters;
    EXPECT_EQ(layout.entries.size(), 2 * want + 2) << family.name;
    int64_t end = 0;
    for (const ParameterEntry& entry : layout.entries) {
      EXPECT_EQ(entry.offset % kOffsetAlignment, 0) << entry.name;
      EXPECT_GE(entry.offset, end) << entry.name;
      end = entry.offset + entry.elements;
    }
    EXPECT_EQ(layout.published_elements, layout.decay.end);
    EXPECT_EQ(layout.no_decay.size(), 0);
    EXPECT_EQ(layout.value_head.begin, layout.published_elements);
    EXPECT_EQ(layout.value_head.end, layout.total_elements);
  }
}

TEST(AdapterLayoutTest, TargetsThatCannotBe_RefusedByName) {
  const std::pair<const char*, const char*> cases[] = {
      {"lm_head", "lm_head"}, {"embed_tokens", "embed_tokens"}, {"c_attn", "c_attn"}};
  for (const auto& [target, want] : cases) {
    const absl::Status status =
        AdapterLayoutFor(Named("llama3"), Rank(2, {target}), false).status();
    EXPECT_FALSE(status.ok()) << target;
    EXPECT_NE(status.message().find(want), absl::string_view::npos) << status;
  }
}

TEST(AdapterLayoutTest, CheckTargets_EveryNameMustBeALayer) {
  const ModelConfig llama = Named("llama3");
  EXPECT_TRUE(CheckTargets(llama, Rank(2, {"q_proj", "mlp.up_proj"})).ok());
  EXPECT_TRUE(CheckTargets(llama, Rank(2, {})).ok());
  const absl::Status status = CheckTargets(llama, Rank(2, {"q_proj", "v_prj"}));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* part :
       {"\"v_prj\"", "all-linear", "q_proj, k_proj, v_proj, o_proj, gate_proj"}) {
    EXPECT_NE(status.message().find(part), absl::string_view::npos) << status;
  }
  EXPECT_FALSE(CheckTargets(llama, Rank(2, {"_proj"})).ok());
}

}  // namespace
}  // namespace retort::layout
