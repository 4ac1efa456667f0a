// A Hugging Face folder with a random Llama whose tokenizer knows ten digits and an end.
#pragma once

#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/layout/adapter_config.h"
#include "common/layout/adapter_layout.h"
#include "common/tensor/model_weights.h"
#include "gtest/gtest.h"
#include "testing/tiny_model.h"

namespace retort {

// Ids 0 .. 9 are the digits, 10 is <eos>.
inline constexpr char kDigitTokenizer[] = R"({"version": "1.0",
  "added_tokens": [{"id": 10, "content": "<eos>", "special": true, "normalized": false,
                    "single_word": false, "lstrip": false, "rstrip": false}],
  "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                    "use_regex": false},
  "post_processor": null,
  "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "merges": [],
            "vocab": {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9}}})";

// One more output than the tokenizer has tokens: it is never sampled.
inline layout::ModelConfig DigitConfig(int64_t context) {
  layout::ModelConfig config = tiny::TinyConfig();
  config.vocab_size = 12;
  config.eos_token_ids = {10};
  config.max_position_embeddings = context;
  return config;
}

// Writes the folder below the test's scratch folder and returns its path.
inline std::string WriteDigitModel(const std::string& name, int64_t context) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/", name, ".", getpid());
  const layout::ModelConfig config = DigitConfig(context);
  EXPECT_TRUE(MakeDirectories(folder).ok());
  EXPECT_TRUE(WriteFileDurably(folder + "/config.json", layout::ModelConfigJson(config)).ok());
  EXPECT_TRUE(WriteFileDurably(folder + "/tokenizer.json", kDigitTokenizer).ok());
  EXPECT_TRUE(tensor::WriteModelWeights(folder, tiny::RandomArena(config, false)).ok());
  return folder;
}

// Finite weights whose logits are not: writes them into such a folder.
inline void WriteOverflowingHead(const std::string& folder) {
  const layout::ModelConfig config = DigitConfig(32);
  const tensor::ParameterArena arena = tiny::RandomArena(config, false);
  arena.View(*arena.layout().Find("lm_head.weight")).fill_(3e38f);
  EXPECT_TRUE(tensor::WriteModelWeights(folder, arena).ok());
}

// A PEFT folder with a LoRA adapter for it that changes every linear layer.
inline std::string WriteDigitAdapter(const std::string& name, int64_t context) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/", name, ".", getpid());
  const layout::ModelConfig base = DigitConfig(context);
  layout::AdapterConfig config;
  config.rank = 2;
  config.alpha = 3;
  config.all_linear = true;
  const layout::AdapterLayout layout = *layout::AdapterLayoutFor(base, config, false);
  tensor::ParameterArena arena = *tensor::ParameterArena::Allocate(layout.parameters);
  uint64_t index = 0;
  for (const layout::ParameterEntry& entry : layout.parameters.entries) {
    CounterRng rng(5, RngPurpose::kInit, index++);
    for (int64_t i = 0; i < entry.elements; ++i) {
      arena.data()[entry.offset + i] = static_cast<float>(0.3 * rng.NextNormal());
    }
  }
  EXPECT_TRUE(MakeDirectories(folder).ok());
  EXPECT_TRUE(
      WriteFileDurably(folder + "/adapter_config.json", layout::AdapterConfigJson(config, base))
          .ok());
  EXPECT_TRUE(tensor::WriteAdapterWeights(folder, arena).ok());
  return folder;
}

}  // namespace retort
