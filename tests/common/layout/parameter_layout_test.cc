#include "common/layout/parameter_layout.h"

#include <set>

#include "gtest/gtest.h"
#include "testing/family_configs.h"

namespace retort::layout {
namespace {

ModelConfig Config() {
  ModelConfig config;
  config.vocab_size = 13;
  config.hidden_size = 12;
  config.intermediate_size = 10;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 3;
  config.num_key_value_heads = 1;
  config.head_dim = 4;
  config.max_position_embeddings = 16;
  return config;
}

TEST(ParameterLayoutTest, Entries_AlignedAscendingWithoutOverlap) {
  for (const bool biases : {false, true}) {
    ModelConfig config = Config();
    config.attention.qkv_bias = config.attention.o_bias = config.mlp.bias = biases;
    const ParameterLayout layout = LayoutFor(config, true);
    int64_t end = 0;
    for (const ParameterEntry& entry : layout.entries) {
      EXPECT_EQ(entry.offset % kOffsetAlignment, 0) << entry.name;
      EXPECT_GE(entry.offset, end) << entry.name;
      EXPECT_LT(entry.offset - end, kOffsetAlignment) << entry.name;
      end = entry.offset + entry.elements;
      int64_t part_end = entry.offset;
      for (const FileTensor& part : entry.parts) {
        EXPECT_EQ(part.offset, part_end) << part.name;
        part_end += part.elements();
      }
      EXPECT_EQ(part_end, end) << entry.name;
      EXPECT_GE(entry.offset, layout.range(entry.group).begin);
      EXPECT_LE(end, layout.range(entry.group).end);
    }
    EXPECT_LE(end, layout.total_elements);
  }
}

TEST(ParameterLayoutTest, Groups_ConsecutiveRanges_PublishedIsThePrefix) {
  const ParameterLayout layout = LayoutFor(Config(), true);
  EXPECT_EQ(layout.decay.begin, 0);
  EXPECT_EQ(layout.no_decay.begin, layout.decay.end);
  EXPECT_EQ(layout.value_head.begin, layout.no_decay.end);
  EXPECT_EQ(layout.value_head.end, layout.total_elements);
  EXPECT_EQ(layout.published_elements, layout.value_head.begin);
}

TEST(ParameterLayoutTest, WithoutValueHead_EqualsThePublishedPrefix) {
  const ParameterLayout with = LayoutFor(Config(), true), without = LayoutFor(Config(), false);
  EXPECT_EQ(without.total_elements, with.published_elements);
  ASSERT_EQ(without.entries.size() + 2, with.entries.size());
  for (size_t i = 0; i < without.entries.size(); ++i) {
    EXPECT_EQ(without.entries[i].name, with.entries[i].name);
    EXPECT_EQ(without.entries[i].offset, with.entries[i].offset);
  }
}

TEST(ParameterLayoutTest, Fused_QueryKeyValueAndGateUp_AreAdjacentParts) {
  const ParameterLayout layout = LayoutFor(Config(), false);
  const ParameterEntry* qkv = layout.Find("model.layers.1.self_attn.qkv_proj.weight");
  ASSERT_NE(qkv, nullptr);
  EXPECT_EQ(qkv->shape, (std::vector<int64_t>{20, 12}));
  ASSERT_EQ(qkv->parts.size(), 3u);
  EXPECT_EQ(qkv->parts[1].name, "model.layers.1.self_attn.k_proj.weight");
  EXPECT_EQ(qkv->parts[1].offset, qkv->offset + 12 * 12);
  const ParameterEntry* gate_up = layout.Find("model.layers.0.mlp.gate_up_proj.weight");
  ASSERT_NE(gate_up, nullptr);
  EXPECT_EQ(gate_up->parts[0].name, "model.layers.0.mlp.gate_proj.weight");
  EXPECT_EQ(gate_up->shape, (std::vector<int64_t>{20, 12}));
}

TEST(ParameterLayoutTest, Head_OnlyWhenUntied) {
  ModelConfig config = Config();
  EXPECT_NE(LayoutFor(config, false).Find("lm_head.weight"), nullptr);
  config.tie_word_embeddings = true;
  EXPECT_EQ(LayoutFor(config, false).Find("lm_head.weight"), nullptr);
}

TEST(ParameterLayoutTest, Inits_NormsOneBiasesAndValueHeadZero) {
  ModelConfig config = Config();
  config.attention.qkv_bias = config.attention.o_bias = true;
  for (const ParameterEntry& entry : LayoutFor(config, true).entries) {
    const bool norm = entry.name.find("norm.weight") != std::string::npos;
    const bool zero =
        entry.name.find(".bias") != std::string::npos || entry.group == ParameterGroup::kValueHead;
    EXPECT_EQ(entry.init, norm   ? ParameterInit::kOne
                          : zero ? ParameterInit::kZero
                                 : ParameterInit::kNormal)
        << entry.name;
    EXPECT_EQ(entry.group == ParameterGroup::kDecay, entry.init == ParameterInit::kNormal);
  }
}

ParameterLayout LayoutNamed(const std::string& name) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    if (name == family.name) return LayoutFor(tiny::ConfigOf(family), false);
  }
  ADD_FAILURE() << name;
  return {};
}

TEST(ParameterLayoutTest, Gpt2_MatricesOfLayers_TransposedInFiles) {
  const ParameterLayout layout = LayoutNamed("gpt2");
  const ParameterEntry& qkv = *layout.Find(ParameterRole::kQkv, 1);
  EXPECT_EQ(qkv.name, "transformer.h.1.attn.c_attn.weight");
  EXPECT_EQ(qkv.shape, (std::vector<int64_t>{96, 32}));
  EXPECT_EQ(qkv.parts[0].shape, (std::vector<int64_t>{32, 96}));
  EXPECT_EQ(qkv.parts[0].stored, StoredAs::kTransposed);
  EXPECT_EQ(layout.Find(ParameterRole::kEmbedding)->parts[0].stored, StoredAs::kSame);
  EXPECT_EQ(layout.Find(ParameterRole::kQkvBias, 1)->parts[0].stored, StoredAs::kSame);
}

TEST(ParameterLayoutTest, GptNeox_QueryKeyValue_RunsOfAHead) {
  const ParameterLayout layout = LayoutNamed("gpt_neox");
  for (const ParameterRole role : {ParameterRole::kQkv, ParameterRole::kQkvBias}) {
    const FileTensor& part = layout.Find(role, 0)->parts[0];
    EXPECT_EQ(part.stored, StoredAs::kRuns);
    EXPECT_EQ(part.outer, 3);  // Heads.
    EXPECT_EQ(part.inner, 3);
  }
  EXPECT_EQ(layout.Find(ParameterRole::kO, 0)->parts[0].stored, StoredAs::kSame);
}

TEST(ParameterLayoutTest, Opt_Projections_ShapesOfBothWidths) {
  const ParameterLayout layout = LayoutNamed("opt with projections");
  EXPECT_EQ(layout.Find(ParameterRole::kEmbedding)->shape, (std::vector<int64_t>{37, 20}));
  EXPECT_EQ(layout.Find(ParameterRole::kProjectIn)->shape, (std::vector<int64_t>{32, 20}));
  EXPECT_EQ(layout.Find(ParameterRole::kProjectOut)->shape, (std::vector<int64_t>{20, 32}));
  EXPECT_EQ(layout.Find(ParameterRole::kPositions)->shape, (std::vector<int64_t>{66, 32}));
  EXPECT_EQ(layout.Find(ParameterRole::kFinalNorm), nullptr);
}

TEST(ParameterLayoutTest, AddOneNorms_StartAtZero) {
  EXPECT_EQ(LayoutNamed("gemma2").Find(ParameterRole::kMlpOutNorm, 0)->init, ParameterInit::kZero);
  EXPECT_EQ(LayoutNamed("qwen3").Find(ParameterRole::kQNorm, 0)->init, ParameterInit::kOne);
}

TEST(ParameterLayoutTest, EveryFamily_RolesUniqueMatricesDecayVectorsDoNot) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const ParameterLayout layout = LayoutFor(tiny::ConfigOf(family), true);
    for (const ParameterEntry& entry : layout.entries) {
      EXPECT_EQ(layout.Find(entry.role, entry.layer), &entry) << family.name << " " << entry.name;
      EXPECT_EQ(layout.Find(entry.name), &entry) << family.name << " " << entry.name;
      if (entry.group == ParameterGroup::kValueHead) continue;
      const bool matrix = entry.shape.size() == 2;
      EXPECT_EQ(entry.group == ParameterGroup::kDecay, matrix) << entry.name;
    }
  }
}

}  // namespace
}  // namespace retort::layout
