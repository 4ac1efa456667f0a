#include "common/tensor/model_weights.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/layout/weight_files.h"
#include "common/tensor/tensor_file.h"
#include "common/tensor/torch_process.h"
#include "gtest/gtest.h"
#include "testing/family_configs.h"
#include "testing/tiny_model.h"

namespace retort::tensor {
namespace {

using tiny::RandomArena;
using tiny::TinyConfig;
using tiny::ZeroArena;

constexpr char kNorm[] = "model.norm.weight";

class ModelWeightsTest : public ::testing::Test {
 protected:
  ModelWeightsTest() : config_(TinyConfig()), source_(RandomArena(config_, false)) {
    folder_ = absl::StrCat(::testing::TempDir(), "/model_weights_",
                           ::testing::UnitTest::GetInstance()->current_test_info()->name());
    EXPECT_TRUE(RemoveRecursively(folder_).ok());
    EXPECT_TRUE(MakeDirectories(folder_).ok());
    for (const layout::ParameterEntry& entry : source_.layout().entries) {
      for (const layout::FileTensor& part : entry.parts) {
        tensors_[part.name] =
            source_.flat().narrow(0, part.offset, part.elements()).view(part.shape);
      }
    }
  }

  std::string File(const std::string& name = "model.safetensors") const {
    return folder_ + "/" + name;
  }
  void Write() { ASSERT_TRUE(WriteTensorFile(File(), tensors_).ok()); }

  absl::Status Load() {
    ParameterArena arena = ZeroArena(config_, false);
    return LoadModelWeights(folder_, &arena);
  }

  // Loads what Write() wrote and expects one line that names the file and `part`.
  void Refused(const std::string& part) {
    Write();
    ExpectRefused(Load(), part);
  }
  static void ExpectRefused(const absl::Status& status, const std::string& part) {
    EXPECT_FALSE(status.ok()) << part;
    EXPECT_NE(status.message().find("safetensors"), absl::string_view::npos) << status.ToString();
    EXPECT_NE(status.message().find(part), absl::string_view::npos) << status.ToString();
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << status.ToString();
  }

  layout::ModelConfig config_;
  ParameterArena source_;
  std::string folder_;
  TensorMap tensors_;
};

TEST_F(ModelWeightsTest, WrittenAndLoaded_EqualBitsAndZeroPadding) {
  ASSERT_TRUE(WriteModelWeights(folder_, source_).ok());
  ParameterArena arena = ZeroArena(config_, false);
  ASSERT_TRUE(LoadModelWeights(folder_, &arena).ok());
  EXPECT_TRUE(at::equal(arena.flat(), source_.flat()));
}

TEST_F(ModelWeightsTest, Write_ReadByTheGenericReader_HuggingFaceNames) {
  ASSERT_TRUE(WriteModelWeights(folder_, RandomArena(config_, true)).ok());
  const auto read = ReadTensorFile(File());
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->size(), tensors_.size());
  for (const auto& [name, tensor] : tensors_) EXPECT_TRUE(at::equal(read->at(name), tensor));
}

TEST_F(ModelWeightsTest, HalfPrecision_Widened) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    for (auto& [name, tensor] : tensors_) tensor = tensor.to(type);
    Write();
    ParameterArena arena = ZeroArena(config_, false);
    ASSERT_TRUE(LoadModelWeights(folder_, &arena).ok());
    const layout::ParameterEntry& entry = *arena.layout().Find("model.embed_tokens.weight");
    EXPECT_TRUE(at::equal(arena.View(entry), tensors_.at(entry.name).to(at::kFloat)));
  }
}

TEST_F(ModelWeightsTest, ArenaOfBf16_FilesBitsOrTheNearest) {
  const layout::ParameterLayout layout = layout::LayoutFor(config_, false);
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    for (auto& [name, tensor] : tensors_) tensor = tensor.to(type);
    Write();
    const auto arena = ReadModelArena(folder_, layout, at::kBFloat16);
    ASSERT_TRUE(arena.ok()) << arena.status();
    EXPECT_EQ(arena->type(), at::kBFloat16);
    for (const layout::ParameterEntry& entry : layout.entries) {
      for (const layout::FileTensor& part : entry.parts) {
        EXPECT_TRUE(
            at::equal(arena->flat().narrow(0, part.offset, part.elements()).view(part.shape),
                      tensors_.at(part.name).to(at::kFloat).to(at::kBFloat16)))
            << part.name;
      }
    }
  }
}

TEST_F(ModelWeightsTest, ArenaOfBf16_EveryFamily_EqualsTheRoundedArena) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const ParameterArena source = RandomArena(config, false);
    ASSERT_TRUE(WriteModelWeights(folder_, source).ok());
    const auto arena = ReadModelArena(folder_, layout::LayoutFor(config, false), at::kBFloat16);
    ASSERT_TRUE(arena.ok()) << family.name << ": " << arena.status();
    EXPECT_TRUE(at::equal(arena->flat(), source.flat().to(at::kBFloat16))) << family.name;
  }
}

TEST_F(ModelWeightsTest, ArenaOfBf16_ValueThatRoundsToInfinity_Refused) {
  tensors_[kNorm] = tensors_.at(kNorm).clone();
  tensors_[kNorm][3] = std::numeric_limits<float>::max();
  Write();
  EXPECT_TRUE(Load().ok());
  ExpectRefused(ReadModelArena(folder_, layout::LayoutFor(config_, false), at::kBFloat16).status(),
                "model.norm.weight has infinity at element 3");
}

TEST_F(ModelWeightsTest, Shards_LoadedThroughTheIndex) {
  TensorMap parts[2];
  std::string map;
  int i = 0;
  for (const auto& [name, tensor] : tensors_) {
    parts[i % 2][name] = tensor;
    absl::StrAppend(&map, i == 0 ? "" : ",", "\"", name, "\": \"part-", i % 2, ".safetensors\"");
    ++i;
  }
  for (int p = 0; p < 2; ++p) {
    ASSERT_TRUE(WriteTensorFile(File(absl::StrCat("part-", p, ".safetensors")), parts[p]).ok());
  }
  const std::string index = File("model.safetensors.index.json");
  ASSERT_TRUE(WriteFileDurably(index, absl::StrCat("{\"weight_map\": {", map, "}}")).ok());
  ParameterArena arena = ZeroArena(config_, false);
  ASSERT_TRUE(LoadModelWeights(folder_, &arena).ok());
  EXPECT_TRUE(at::equal(arena.flat(), source_.flat()));
  EXPECT_EQ(layout::WeightFiles(folder_)->size(), 2u);
  ASSERT_TRUE(RemoveRecursively(File("part-1.safetensors")).ok());
  ExpectRefused(Load(), "part-1.safetensors");
  parts[0].erase(parts[0].begin());
  ASSERT_TRUE(WriteTensorFile(File("part-0.safetensors"), parts[0]).ok());
  ASSERT_TRUE(WriteTensorFile(File("part-1.safetensors"), parts[1]).ok());
  ExpectRefused(Load(), "missing");
}

TEST_F(ModelWeightsTest, Index_PathOutsideTheFolder_Refused) {
  const std::string index = File("model.safetensors.index.json");
  for (const char* name : {"../x.safetensors", "/etc/passwd", "", ".."}) {
    ASSERT_TRUE(
        WriteFileDurably(index, absl::StrCat("{\"weight_map\": {\"a\": \"", name, "\"}}")).ok());
    ExpectRefused(Load(), "weight_map");
  }
}

TEST_F(ModelWeightsTest, NoWeights_NotFoundNamesTheFolder) {
  const absl::Status status = Load();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  ExpectRefused(status, folder_);
}

TEST_F(ModelWeightsTest, MissingTensor_Refused) {
  tensors_.erase(kNorm);
  Refused(kNorm);
}

TEST_F(ModelWeightsTest, UnknownTensor_Refused) {
  tensors_["model.layers.0.self_attn.q_norm.weight"] = at::zeros({8});
  Refused("q_norm");
}

TEST_F(ModelWeightsTest, WrongShape_Refused) {
  tensors_[kNorm] = at::zeros({16});
  Refused("[16]");
}

TEST_F(ModelWeightsTest, ReadModelArena_ConfigFarLargerThanTheFile_RefusedBeforeAllocating) {
  Write();
  config_.vocab_size = int64_t{1} << 24;
  config_.hidden_size = 1 << 20;  // 2^44 floats.
  ExpectRefused(ReadModelArena(folder_, layout::LayoutFor(config_, false)).status(), "has shape");
  config_ = TinyConfig();
  const auto arena = ReadModelArena(folder_, layout::LayoutFor(config_, false));
  ASSERT_TRUE(arena.ok()) << arena.status().ToString();
  EXPECT_TRUE(at::equal(arena->flat(), source_.flat()));
}

TEST_F(ModelWeightsTest, WrongDtype_Refused) {
  tensors_[kNorm] = at::zeros({32}, at::kLong);
  Refused("I64");
}

TEST_F(ModelWeightsTest, NotFinite_Refused) {
  const at::Tensor good = tensors_[kNorm];
  for (const double value : {double{NAN}, std::numeric_limits<double>::infinity()}) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      tensors_[kNorm] = good.to(type).clone();
      tensors_[kNorm][5] = value;
      Refused("model.norm.weight has");
    }
  }
}

TEST_F(ModelWeightsTest, CutShort_EveryLength_Refused) {
  Write();
  const std::string whole = *ReadFile(File(), int64_t{1} << 30);
  for (const size_t size :
       {size_t{0}, size_t{7}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    ASSERT_TRUE(WriteFileDurably(File(), whole.substr(0, size)).ok());
    ExpectRefused(Load(), "model.safetensors");
  }
}

TEST_F(ModelWeightsTest, HarmlessExtras_Ignored) {
  tensors_["model.layers.1.self_attn.rotary_emb.inv_freq"] = at::zeros({4});
  Write();
  EXPECT_TRUE(Load().ok());
}

TEST_F(ModelWeightsTest, TiedHead_ACopyIgnoredAnotherRefused) {
  config_.tie_word_embeddings = true;
  Write();
  ExpectRefused(Load(), "lm_head.weight");
  tensors_["lm_head.weight"] = tensors_["model.embed_tokens.weight"].clone();
  Write();
  EXPECT_TRUE(Load().ok());
}

TEST_F(ModelWeightsTest, ValueHead_ReadIfThereElseKept) {
  ParameterArena arena = ZeroArena(config_, true);
  const layout::ParameterEntry& head = *arena.layout().Find(layout::kValueHeadWeight);
  arena.View(head).fill_(3.0f);
  Write();
  ASSERT_TRUE(LoadModelWeights(folder_, &arena).ok());
  EXPECT_TRUE(at::equal(arena.View(head), at::full({1, 32}, 3.0f)));
  tensors_[layout::kValueHeadWeight] = at::ones({1, 32});
  Write();
  ASSERT_TRUE(LoadModelWeights(folder_, &arena).ok());
  EXPECT_TRUE(at::equal(arena.View(head), at::ones({1, 32})));
}

TEST_F(ModelWeightsTest, EveryFamily_WrittenAndLoaded_EqualBits) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const ParameterArena source = RandomArena(config, false);
    ASSERT_TRUE(WriteModelWeights(folder_, source).ok());
    const auto arena = ReadModelArena(folder_, layout::LayoutFor(config, false));
    ASSERT_TRUE(arena.ok()) << family.name << ": " << arena.status();
    EXPECT_TRUE(at::equal(arena->flat(), source.flat())) << family.name;
  }
}

// More than one piece of the reader's scratch, in every dtype; then a value that is not finite.
TEST_F(ModelWeightsTest, Transposed_LargeMatrix_ReadInPieces) {
  layout::ModelConfig config = tiny::ConfigOf({"large", R"({"model_type": "gpt2", "vocab_size": 9,
      "n_embd": 40, "n_head": 4, "n_layer": 1, "n_positions": 8, "n_inner": 30000})"});
  const ParameterArena source = RandomArena(config, false);
  const std::string name = "transformer.h.0.mlp.c_fc.weight";
  TensorMap tensors;
  for (const layout::ParameterEntry& entry : source.layout().entries) {
    tensors[entry.parts[0].name] = FileTensorOf(source, entry.parts[0]);
  }
  const layout::ParameterEntry& entry = *source.layout().Find(name);
  EXPECT_TRUE(at::equal(tensors.at(name).t(), source.View(entry)));
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (auto& [key, tensor] : tensors) tensor = tensor.to(type);
    ASSERT_TRUE(WriteTensorFile(File(), tensors).ok());
    const auto arena = ReadModelArena(folder_, layout::LayoutFor(config, false));
    ASSERT_TRUE(arena.ok()) << arena.status();
    EXPECT_TRUE(at::equal(arena->View(entry), tensors.at(name).to(at::kFloat).t()));
  }
  tensors[name][39][29999] = NAN;
  ASSERT_TRUE(WriteTensorFile(File(), tensors).ok());
  ExpectRefused(ReadModelArena(folder_, layout::LayoutFor(config, false)).status(),
                "c_fc.weight has NaN at element 1199999");
}

// As they are stored, transposed, and in runs: matrices of several pieces, which threads share out.
constexpr tiny::FamilyConfig kLargeModels[] = {
    {"same", R"({"model_type": "llama", "vocab_size": 9, "hidden_size": 40,
        "intermediate_size": 30000, "num_hidden_layers": 1, "num_attention_heads": 4,
        "max_position_embeddings": 8})"},
    {"transposed", R"({"model_type": "gpt2", "vocab_size": 9, "n_embd": 40, "n_head": 4,
        "n_layer": 1, "n_positions": 8, "n_inner": 30000})"},
    {"runs", R"({"model_type": "gpt_neox", "vocab_size": 9, "hidden_size": 640,
        "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 8})"},
};

TEST_F(ModelWeightsTest, LargeMatrices_ReadByThreads_EqualBits) {
  const ThreadCount threads(4);
  for (const tiny::FamilyConfig& family : kLargeModels) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const ParameterArena source = RandomArena(config, false);
    ASSERT_TRUE(WriteModelWeights(folder_, source).ok());
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const auto arena = ReadModelArena(folder_, layout::LayoutFor(config, false), type);
      ASSERT_TRUE(arena.ok()) << family.name << ": " << arena.status();
      EXPECT_TRUE(at::equal(arena->flat(), source.flat().to(type))) << family.name;
    }
  }
}

TEST_F(ModelWeightsTest, TwoNotFinite_ReadByThreads_TheFirstIsNamed) {
  const ThreadCount threads(4);
  const layout::ModelConfig config = tiny::ConfigOf(kLargeModels[0]);
  const ParameterArena source = RandomArena(config, false);
  TensorMap tensors;
  for (const layout::ParameterEntry& entry : source.layout().entries) {
    for (const layout::FileTensor& part : entry.parts) {
      tensors[part.name] = FileTensorOf(source, part);
    }
  }
  tensors["model.embed_tokens.weight"][8][39] = NAN;
  tensors["lm_head.weight"][0][0] = NAN;
  ASSERT_TRUE(WriteTensorFile(File(), tensors).ok());
  ExpectRefused(ReadModelArena(folder_, layout::LayoutFor(config, false)).status(),
                "model.embed_tokens.weight has NaN at element 359");
}

TEST_F(ModelWeightsTest, HeadThenPart_RowsOfOneHeadTogetherInTheFile) {
  layout::ModelConfig config = tiny::ConfigOf({"neox", R"({"model_type": "gpt_neox",
      "vocab_size": 9, "hidden_size": 8, "intermediate_size": 4, "num_hidden_layers": 1,
      "num_attention_heads": 2, "max_position_embeddings": 8, "rotary_pct": 0.5})"});
  const ParameterArena source = RandomArena(config, false);
  const layout::ParameterEntry& qkv = *source.layout().Find(layout::ParameterRole::kQkv, 0);
  const at::Tensor arena = source.View(qkv);  // Rows: q of heads 0 and 1, k of both, v of both.
  const at::Tensor file = FileTensorOf(source, qkv.parts[0]);
  const int64_t d = 4, heads = 2;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t part = 0; part < 3; ++part) {
      EXPECT_TRUE(at::equal(file.narrow(0, (head * 3 + part) * d, d),
                            arena.narrow(0, (part * heads + head) * d, d)));
    }
  }
}

}  // namespace
}  // namespace retort::tensor
