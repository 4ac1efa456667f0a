#include "common/layout/weight_files.h"

#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"
#include "testing/family_configs.h"

namespace retort::layout {
namespace {

using Shapes = std::map<std::string, SafetensorsSpec>;

Shapes ShapesOf(const ParameterLayout& layout) {
  Shapes shapes;
  for (const ParameterEntry& entry : layout.entries) {
    for (const FileTensor& part : entry.parts) {
      shapes[part.name] = {part.name, "BF16", part.shape};
    }
  }
  return shapes;
}

// A folder whose model.safetensors has `shapes` and zeros.
std::string FolderOf(const Shapes& shapes) {
  const std::string folder = tiny::ConfigFolder("{}");
  std::vector<SafetensorsSpec> specs;
  int64_t bytes = 0;
  for (const auto& [name, spec] : shapes) {
    specs.push_back(spec);
    int64_t size = SafetensorsElementBytes(spec.dtype);
    for (const int64_t n : spec.shape) size *= n;
    bytes += size;
  }
  const std::string file = EncodeSafetensorsHeader(specs) + std::string(bytes, '\0');
  EXPECT_TRUE(WriteFileDurably(folder + "/model.safetensors", file).ok());
  return folder;
}

ParameterLayout LayoutNamed(const std::string& name, bool value_head = false) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    if (name == family.name) return LayoutFor(tiny::ConfigOf(family), value_head);
  }
  ADD_FAILURE() << name;
  return {};
}

TEST(WeightFilesTest, Resolve_EveryFamily_PartsInLayoutOrder) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const ParameterLayout layout = LayoutFor(tiny::ConfigOf(family), false);
    const auto resolved = ResolveWeights(FolderOf(ShapesOf(layout)), layout);
    ASSERT_TRUE(resolved.ok()) << family.name << ": " << resolved.status();
    size_t i = 0;
    for (const ParameterEntry& entry : layout.entries) {
      for (const FileTensor& part : entry.parts) {
        EXPECT_EQ(resolved->tensors[i].part.offset, part.offset) << part.name;
        EXPECT_EQ(resolved->tensors[i++].entry->name, part.name);
      }
    }
    EXPECT_EQ(i, resolved->tensors.size());
  }
}

TEST(WeightFilesTest, Resolve_WithoutTheBasePrefix_Found) {
  for (const char* name : {"gpt2", "llama3", "opt", "gpt_neox"}) {
    const ParameterLayout layout = LayoutNamed(name);
    Shapes bare;
    for (auto& [full, spec] : ShapesOf(layout)) {
      spec.name = std::string(absl::StripPrefix(full, layout.base_prefix));
      bare[spec.name] = spec;
    }
    const auto resolved = ResolveWeights(FolderOf(bare), layout);
    EXPECT_TRUE(resolved.ok()) << name << ": " << resolved.status();
  }
}

// The tied models' second copy of the embedding, with `dtype` and one byte that may differ.
absl::Status ResolveTied(const char* family, const std::string& dtype, char last_byte) {
  const ParameterLayout layout = LayoutNamed(family);
  Shapes shapes = ShapesOf(layout);
  SafetensorsSpec head = shapes.at(layout.Find(ParameterRole::kEmbedding)->name);
  head.name = "lm_head.weight";
  head.dtype = dtype;
  const std::string folder = FolderOf(shapes);
  shapes = {{head.name, head}};
  const std::string other = FolderOf(shapes) + "/model.safetensors";
  std::string bytes = *ReadFile(other, 1 << 20);
  bytes.back() = last_byte;
  EXPECT_TRUE(WriteFileDurably(folder + "/head.safetensors", bytes).ok());
  EXPECT_TRUE(RenameDurably(folder + "/model.safetensors", folder + "/base.safetensors").ok());
  std::string map = "\"lm_head.weight\": \"head.safetensors\"";
  for (const auto& [name, spec] : ShapesOf(layout)) {
    absl::StrAppend(&map, ", \"", name, "\": \"base.safetensors\"");
  }
  EXPECT_TRUE(WriteFileDurably(folder + "/model.safetensors.index.json",
                               absl::StrCat("{\"weight_map\": {", map, "}}"))
                  .ok());
  return ResolveWeights(folder, layout).status();
}

TEST(WeightFilesTest, Resolve_SecondCopyOfTiedWeights_MustBeEqual) {
  for (const char* family : {"gpt2", "opt", "qwen3", "gemma2"}) {
    EXPECT_TRUE(ResolveTied(family, "BF16", 0).ok()) << family;
    for (const absl::Status& status :
         {ResolveTied(family, "BF16", 1), ResolveTied(family, "F32", 0)}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << family;
      for (const char* part : {"/head.safetensors: tensor lm_head.weight differs from ",
                               "tie_word_embeddings to false"}) {
        EXPECT_NE(status.message().find(part), absl::string_view::npos) << status;
      }
    }
  }
}

TEST(WeightFilesTest, Resolve_BuffersAndOldHeads_Ignored) {
  const std::pair<const char*, const char*> cases[] = {
      {"llama3", "model.layers.1.self_attn.rotary_emb.inv_freq"},
      {"gpt2", "transformer.h.1.attn.bias"},
      {"gpt2", "h.0.attn.masked_bias"},
      {"gpt_neox", "gpt_neox.layers.0.attention.rotary_emb.inv_freq"},
      {"gpt_neox", "gpt_neox.layers.12.attention.masked_bias"},
      {"gptj", "transformer.h.0.attn.bias"},
      {"llama reward model", "lm_head.weight"},
      {"llama3", "v_head.summary.weight"},
  };
  for (const auto& [family, name] : cases) {
    const ParameterLayout layout = LayoutNamed(family);
    Shapes shapes = ShapesOf(layout);
    shapes[name] = {name, "U8", {3}};
    const auto resolved = ResolveWeights(FolderOf(shapes), layout);
    EXPECT_TRUE(resolved.ok()) << resolved.status();
  }
}

TEST(WeightFilesTest, Resolve_MissingExtraOrMisshaped_NamesFileAndTensor) {
  struct Case {
    const char* family;
    std::function<void(Shapes*)> damage;
    const char* want;
  };
  const auto drop = [](const char* name) {
    return [name](Shapes* s) { EXPECT_EQ(s->erase(name), 1u) << name; };
  };
  const auto add = [](const char* name) {
    return [name](Shapes* s) { (*s)[name] = {name, "F32", {1}}; };
  };
  const Case cases[] = {
      {"gpt2", drop("transformer.h.1.attn.c_attn.weight"),
       "tensor transformer.h.1.attn.c_attn.weight is missing"},
      {"opt", drop("model.decoder.embed_positions.weight"), "embed_positions.weight is missing"},
      {"gptj", drop("lm_head.bias"), "lm_head.bias is missing"},
      {"llama reward model", drop("score.weight"), "score.weight is missing"},
      {"gpt2",
       [](Shapes* s) {
         (*s)["transformer.h.0.mlp.c_fc.weight"].shape = {128, 32};
       },
       "transformer.h.0.mlp.c_fc.weight has shape [128,32]; expected [32,128]"},
      {"gpt2", [](Shapes* s) { (*s)["transformer.wpe.weight"].dtype = "I16"; }, "is I16; expected"},
      {"gpt2", add("transformer.h.0.attn.c_attn.extra"), "c_attn.extra is unknown"},
      {"gpt2", add("h.0.attn.c_attn.bias"), "tensor h.0.attn.c_attn.bias is unknown"},
      {"gpt2", add("transformer.h.x.attn.bias"), "transformer.h.x.attn.bias is unknown"},
      {"qwen3", add("model.layers.0.self_attn.q_proj.bias"), "q_proj.bias is unknown"},
      {"llama3", add("score.weight"), "score.weight is unknown"},
  };
  for (const Case& c : cases) {
    const ParameterLayout layout = LayoutNamed(c.family);
    Shapes shapes = ShapesOf(layout);
    c.damage(&shapes);
    const absl::Status status = ResolveWeights(FolderOf(shapes), layout).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.want;
    for (const char* part : {c.want, "/model.safetensors: "}) {
      EXPECT_NE(status.message().find(part), absl::string_view::npos) << status;
    }
  }
}

TEST(WeightFilesTest, Resolve_ValueHead_MayBeMissingButNotMisshaped) {
  const ParameterLayout layout = LayoutNamed("opt with projections", /*value_head=*/true);
  Shapes shapes = ShapesOf(layout);
  EXPECT_EQ(shapes.at(kValueHeadWeight).shape, (std::vector<int64_t>{1, 20}));
  const size_t all = ResolveWeights(FolderOf(shapes), layout)->tensors.size();
  shapes[kValueHeadWeight].shape = {1, 32};
  EXPECT_FALSE(ResolveWeights(FolderOf(shapes), layout).ok());
  shapes.erase(kValueHeadWeight);
  shapes.erase(kValueHeadBias);
  EXPECT_EQ(ResolveWeights(FolderOf(shapes), layout)->tensors.size(), all - 2);
}

TEST(WeightFilesTest, Resolve_PickledWeightsOnly_SaysHowToConvert) {
  const std::string folder = tiny::ConfigFolder("{}");
  ASSERT_TRUE(WriteFileDurably(folder + "/pytorch_model.bin", "x").ok());
  const absl::Status status = ResolveWeights(folder, LayoutNamed("gpt2")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(status.message().find("pytorch_model.bin"), absl::string_view::npos) << status;
  EXPECT_NE(status.message().find("convert"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace retort::layout
