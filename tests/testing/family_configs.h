// A config.json for every family and for what families vary in, small enough to compute with.
#pragma once

#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/file.h"
#include "common/layout/model_config.h"
#include "gtest/gtest.h"

namespace retort::tiny {

struct FamilyConfig {
  const char* name;
  const char* json;
};

inline constexpr FamilyConfig kFamilyConfigs[] = {
    {"llama3", R"({"model_type": "llama", "vocab_size": 37, "hidden_size": 32,
 "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
 "num_key_value_heads": 2, "max_position_embeddings": 64, "attention_bias": true,
 "mlp_bias": true, "rope_theta": 500.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
 "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}})"},
    {"mistral", R"({"model_type": "mistral", "vocab_size": 37, "hidden_size": 32,
 "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
 "num_key_value_heads": 2, "head_dim": 10, "max_position_embeddings": 64, "sliding_window": 5})"},
    {"qwen2", R"({"model_type": "qwen2", "vocab_size": 37, "hidden_size": 30,
 "intermediate_size": 44, "num_hidden_layers": 3, "num_attention_heads": 5,
 "num_key_value_heads": 1, "max_position_embeddings": 64, "use_sliding_window": true,
 "sliding_window": 4, "max_window_layers": 1, "rope_theta": 1000000.0})"},
    {"qwen3", R"({"model_type": "qwen3", "vocab_size": 37, "hidden_size": 32,
 "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
 "num_key_value_heads": 1, "head_dim": 12, "max_position_embeddings": 64,
 "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
 "tie_word_embeddings": true})"},
    {"gemma2", R"({"model_type": "gemma2", "vocab_size": 37, "hidden_size": 36,
 "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
 "num_key_value_heads": 2, "head_dim": 12, "max_position_embeddings": 64, "sliding_window": 4,
 "query_pre_attn_scalar": 20, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0})"},
    {"gemma3", R"({"model_type": "gemma3_text", "vocab_size": 37, "hidden_size": 32,
 "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
 "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 64, "sliding_window": 4,
 "query_pre_attn_scalar": 24, "layer_types": ["sliding_attention", "sliding_attention",
 "full_attention"], "rope_parameters": {"full_attention": {"factor": 8.0,
 "rope_theta": 1000000.0, "rope_type": "linear"}, "sliding_attention": {"rope_theta": 100.0,
 "rope_type": "default"}}})"},
    {"phi3", R"({"model_type": "phi3", "vocab_size": 37, "hidden_size": 32,
 "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
 "num_key_value_heads": 1, "max_position_embeddings": 64, "partial_rotary_factor": 0.75,
 "sliding_window": 6, "pad_token_id": 0})"},
    {"gpt2", R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 37,
 "n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 48, "activation_function": "gelu_new",
 "eos_token_id": 36})"},
    {"gpt_neox", R"({"model_type": "gpt_neox", "vocab_size": 37, "hidden_size": 48,
 "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 3,
 "max_position_embeddings": 64, "hidden_act": "gelu", "rotary_pct": 0.25,
 "rotary_emb_base": 10000})"},
    {"gpt_neox in sequence", R"({"model_type": "gpt_neox", "vocab_size": 37, "hidden_size": 32,
 "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
 "max_position_embeddings": 64, "use_parallel_residual": false, "rope_parameters":
 {"partial_rotary_factor": 0.5, "rope_theta": 10000.0, "rope_type": "default"}})"},
    {"gptj", R"({"model_type": "gptj", "vocab_size": 37, "n_embd": 48, "n_head": 3, "n_layer": 2,
 "n_positions": 64, "rotary_dim": 8, "n_inner": null})"},
    {"opt", R"({"model_type": "opt", "vocab_size": 37, "hidden_size": 32, "ffn_dim": 48,
 "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64})"},
    {"opt with projections", R"({"model_type": "opt", "vocab_size": 37, "hidden_size": 32,
 "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64,
 "do_layer_norm_before": false, "word_embed_proj_dim": 20})"},
    {"llama reward model", R"({"model_type": "llama", "architectures":
 ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}, "vocab_size": 37,
 "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
 "max_position_embeddings": 64})"},
};

// A folder of its own with `json` as config.json, also among programs that run at the same time.
inline std::string ConfigFolder(const std::string& json) {
  static int count = 0;
  const std::string folder =
      absl::StrCat(::testing::TempDir(), "/family_config_", getpid(), "_", count++);
  RETORT_CHECK(RemoveRecursively(folder).ok() && MakeDirectories(folder).ok()) << folder;
  RETORT_CHECK(WriteFileDurably(folder + "/config.json", json).ok()) << folder;
  return folder;
}

inline layout::ModelConfig ConfigOf(const FamilyConfig& family) {
  const auto config = layout::LoadModelConfig(ConfigFolder(family.json));
  RETORT_CHECK(config.ok()) << family.name << ": " << config.status().ToString();
  return *config;
}

}  // namespace retort::tiny
