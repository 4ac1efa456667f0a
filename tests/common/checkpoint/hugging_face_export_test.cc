#include "common/checkpoint/hugging_face_export.h"

#include <unistd.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/random_id.h"
#include "common/layout/adapter_layout.h"
#include "common/tensor/model_weights.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace retort::checkpoint {
namespace {

layout::ModelConfig SmallConfig() {
  layout::ModelConfig config;
  config.vocab_size = 11;
  config.hidden_size = 8;
  config.intermediate_size = 12;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 4;
  config.max_position_embeddings = 32;
  config.eos_token_ids = {1};
  return config;
}

tensor::ParameterArena RandomArena(uint64_t seed, bool value_head) {
  auto arena = tensor::ParameterArena::Allocate(layout::LayoutFor(SmallConfig(), value_head));
  EXPECT_TRUE(arena.ok()) << arena.status();
  tensor::InitializeRandom(seed, 0.1, &*arena);
  return *arena;
}

class HuggingFaceExportTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat(testing::TempDir(), "/export_test_", RandomHex(8));
    ASSERT_TRUE(MakeDirectories(root_ + "/tokenizer").ok());
    ASSERT_TRUE(WriteFileDurably(root_ + "/tokenizer/tokenizer.json", "{\"model\":1}").ok());
    ASSERT_TRUE(WriteFileDurably(root_ + "/tokenizer/weights.bin", "not a tokenizer").ok());
  }

  void TearDown() override { EXPECT_TRUE(RemoveRecursively(root_).ok()); }

  absl::Status Export(const tensor::ParameterArena& arena) {
    return ExportHuggingFace(root_ + "/model", SmallConfig(), arena, root_ + "/tokenizer");
  }

  std::string root_;
};

TEST_F(HuggingFaceExportTest, ReadBack_SameConfigAndBits_NoValueHead) {
  const tensor::ParameterArena arena = RandomArena(1, /*value_head=*/true);
  ASSERT_TRUE(Export(arena).ok());
  EXPECT_THAT(*ListDirectory(root_ + "/model"),
              testing::ElementsAre("config.json", "generation_config.json", "model.safetensors",
                                   "tokenizer.json"));
  EXPECT_EQ(*layout::LoadModelConfig(root_ + "/model"), SmallConfig());
  tensor::ParameterArena reread = RandomArena(2, /*value_head=*/false);
  const absl::Status loaded = tensor::LoadModelWeights(root_ + "/model", &reread);
  ASSERT_TRUE(loaded.ok()) << loaded;
  EXPECT_TRUE(at::equal(reread.flat(), arena.Published()));
}

TEST_F(HuggingFaceExportTest, Adapter_ReadBack_SameConfigAndBits_NoValueHead) {
  layout::AdapterConfig config;
  config.rank = 2;
  config.targets = {"q_proj", "down_proj"};
  const auto with_head = layout::AdapterLayoutFor(SmallConfig(), config, /*value_head=*/true);
  ASSERT_TRUE(with_head.ok()) << with_head.status();
  const auto arena = tensor::ParameterArena::Allocate(with_head->parameters);
  ASSERT_TRUE(arena.ok()) << arena.status();
  for (int64_t i = 0; i < with_head->parameters.total_elements; ++i) {
    arena->data()[i] = static_cast<float>(i + 1);
  }
  const std::string folder = root_ + "/adapter";
  ASSERT_TRUE(ExportAdapter(folder, SmallConfig(), config, *arena).ok());
  EXPECT_THAT(*ListDirectory(folder),
              testing::ElementsAre("adapter_config.json", "adapter_model.safetensors"));
  EXPECT_EQ(*layout::LoadAdapterConfig(folder), config);
  const auto without = layout::AdapterLayoutFor(SmallConfig(), config, /*value_head=*/false);
  auto reread = tensor::ParameterArena::Allocate(without->parameters);
  ASSERT_TRUE(reread.ok()) << reread.status();
  const absl::Status loaded = tensor::LoadAdapterWeights(folder, &*reread);
  ASSERT_TRUE(loaded.ok()) << loaded;
  for (const layout::ParameterEntry& entry : without->parameters.entries) {
    EXPECT_TRUE(at::equal(reread->View(entry), arena->View(entry))) << entry.name;
  }
  arena->data()[0] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(ExportAdapter(folder, SmallConfig(), config, *arena).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(HuggingFaceExportTest, ExistingFolder_ReplacedWhole) {
  ASSERT_TRUE(MakeDirectories(root_ + "/model").ok());
  ASSERT_TRUE(WriteFileDurably(root_ + "/model/stale", "x").ok());
  ASSERT_TRUE(Export(RandomArena(1, true)).ok());
  EXPECT_FALSE(FileExists(root_ + "/model/stale"));
  EXPECT_THAT(*ListDirectory(root_), testing::ElementsAre("model", "tokenizer"));
}

TEST_F(HuggingFaceExportTest, NanWeight_RefusedAndFolderUntouched) {
  ASSERT_TRUE(Export(RandomArena(1, true)).ok());
  const std::string before = *ReadFile(root_ + "/model/model.safetensors", 1 << 20);
  const tensor::ParameterArena arena = RandomArena(2, true);
  arena.data()[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Export(arena).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(*ReadFile(root_ + "/model/model.safetensors", 1 << 20), before);
}

TEST_F(HuggingFaceExportTest, ErrorBeforeTheRename_FolderUntouchedNothingLeft) {
  ASSERT_TRUE(Export(RandomArena(1, true)).ok());
  const std::string before = *ReadFile(root_ + "/model/model.safetensors", 1 << 20);
  EXPECT_EXIT(
      {
        (void)ArmFailpoints({"export.rename=error"});
        const bool failed = !Export(RandomArena(2, true)).ok();
        _exit(failed ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
  EXPECT_EQ(*ReadFile(root_ + "/model/model.safetensors", 1 << 20), before);
  EXPECT_THAT(*ListDirectory(root_), testing::ElementsAre("model", "tokenizer"));
}

}  // namespace
}  // namespace retort::checkpoint
