// The models of the benchmarks: a Hugging Face folder, or random weights of a known shape.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "common/base/check.h"
#include "common/layout/model_config.h"
#include "common/layout/parameter_layout.h"
#include "common/model/model.h"
#include "common/tensor/model_weights.h"
#include "testing/tiny_model.h"

namespace retort::bench {

// 10 M parameters, vocabulary 4,096.
inline layout::ModelConfig Llama10m() {
  layout::ModelConfig c;
  c.vocab_size = 4096;
  c.hidden_size = 320;
  c.intermediate_size = 864;
  c.num_hidden_layers = 8;
  c.num_attention_heads = 8;
  c.num_key_value_heads = 4;
  c.head_dim = 40;
  c.max_position_embeddings = 4096;
  c.tie_word_embeddings = true;
  return c;
}

// GPT-2's smallest: 124 M parameters.
inline layout::ModelConfig Gpt2() {
  layout::ModelConfig c;
  c.model_type = "gpt2";
  c.vocab_size = 50257;
  c.hidden_size = 768;
  c.intermediate_size = 3072;
  c.num_hidden_layers = 12;
  c.num_attention_heads = c.num_key_value_heads = 12;
  c.head_dim = 64;
  c.max_position_embeddings = 1024;
  c.norm = {layout::NormKind::kLayer, 1e-5, false};
  c.position.kind = layout::PositionKind::kLearned;
  c.attention.qkv_bias = c.attention.o_bias = true;
  c.mlp = {.gated = false, .activation = layout::Activation::kGeluTanh, .bias = true};
  c.tie_word_embeddings = true;
  return c;
}

// Qwen2.5's smallest: 494 M parameters.
inline layout::ModelConfig Qwen05b() {
  layout::ModelConfig c;
  c.model_type = "qwen2";
  c.vocab_size = 151936;
  c.hidden_size = 896;
  c.intermediate_size = 4864;
  c.num_hidden_layers = 24;
  c.num_attention_heads = 14;
  c.num_key_value_heads = 2;
  c.head_dim = 64;
  c.max_position_embeddings = 32768;
  c.attention.qkv_bias = true;
  c.tie_word_embeddings = true;
  return c;
}

struct BenchModel {
  std::string name;
  tensor::ParameterArena arena;
  model::Model model;
};

inline BenchModel RandomModel(std::string name, const layout::ModelConfig& config) {
  tensor::ParameterArena arena = tiny::RandomArena(config, false, 1, 0.02);
  return {std::move(name), arena, model::Model(config, arena)};
}

inline BenchModel LoadedModel(const std::string& folder) {
  const auto config = layout::LoadModelConfig(folder);
  RETORT_CHECK(config.ok()) << config.status().ToString();
  auto arena = tensor::ReadModelArena(folder, layout::LayoutFor(*config, false));
  RETORT_CHECK(arena.ok()) << arena.status().ToString();
  return {folder, *arena, model::Model(*config, *arena)};
}

// The shapes that benchmarks know by name.
inline BenchModel ModelOfShape(const std::string& shape) {
  if (shape == "gpt2-124m") return RandomModel(shape, Gpt2());
  if (shape == "qwen2-0.5b") return RandomModel(shape, Qwen05b());
  RETORT_CHECK(shape == "llama-10m") << "no shape is called " << shape;
  return RandomModel(shape, Llama10m());
}

// The same weights in other memory or of another type.
inline BenchModel MovedTo(const BenchModel& m, const at::Device& device, at::ScalarType type) {
  auto arena = tensor::ParameterArena::Allocate(m.arena.layout(), type, device);
  RETORT_CHECK(arena.ok()) << arena.status().ToString();
  arena->flat().copy_(m.arena.flat());
  return {m.name, *arena, model::Model(m.model.config(), *arena)};
}

inline double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

}  // namespace retort::bench
