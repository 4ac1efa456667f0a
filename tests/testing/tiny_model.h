// Small Llama models with random weights, for tests and benchmarks.
#pragma once

#include <cstdint>
#include <utility>

#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/layout/adapter_config.h"
#include "common/layout/model_config.h"
#include "common/layout/parameter_layout.h"
#include "common/tensor/parameter_arena.h"

namespace retort::tiny {

// Grouped queries (4 heads, 2 key-value heads), 2 layers, untied, vocabulary 37.
inline layout::ModelConfig TinyConfig() {
  layout::ModelConfig config;
  config.vocab_size = 37;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 256;
  config.eos_token_ids = {2};
  return config;
}

// The quick start's model: about 0.3 M parameters.
inline layout::ModelConfig QuickstartConfig() {
  layout::ModelConfig config = TinyConfig();
  config.vocab_size = 15;
  config.hidden_size = 128;
  config.intermediate_size = 256;
  config.head_dim = 32;
  config.max_position_embeddings = 64;
  return config;
}

inline tensor::ParameterArena ZeroArena(const layout::ModelConfig& config, bool value_head) {
  auto arena = tensor::ParameterArena::Allocate(layout::LayoutFor(config, value_head));
  RETORT_CHECK(arena.ok()) << arena.status().ToString();
  return *std::move(arena);
}

// Random everywhere, norms, biases and value head too, so that a test that forgets one of them
// fails.
inline tensor::ParameterArena RandomArena(const layout::ModelConfig& config, bool value_head,
                                          uint64_t seed = 1, double std = 0.2) {
  tensor::ParameterArena arena = ZeroArena(config, value_head);
  tensor::InitializeRandom(seed, std, &arena);
  uint64_t index = 1000;
  for (const layout::ParameterEntry& entry : arena.layout().entries) {
    CounterRng rng(seed, RngPurpose::kInit, index++);
    if (entry.init == layout::ParameterInit::kNormal) continue;
    for (int64_t i = 0; i < entry.elements; ++i) {
      arena.data()[entry.offset + i] += static_cast<float>(0.1 * rng.NextNormal());
    }
  }
  return arena;
}

// Of part of the fused q, k, v and of another matrix, in every layer.
inline layout::AdapterConfig TinyAdapter(int64_t rank = 3) {
  layout::AdapterConfig adapter;
  adapter.rank = rank;
  adapter.alpha = 6;
  adapter.targets = {"q_proj", "v_proj", "down_proj"};
  return adapter;
}

// N(0, std^2) in every entry, whatever the layout starts it with.
inline tensor::ParameterArena RandomOver(layout::ParameterLayout layout, uint64_t seed,
                                         double std = 0.2) {
  auto arena = tensor::ParameterArena::Allocate(std::move(layout));
  RETORT_CHECK(arena.ok()) << arena.status().ToString();
  uint64_t index = 0;
  for (const layout::ParameterEntry& entry : arena->layout().entries) {
    CounterRng rng(seed, RngPurpose::kData, index++);
    for (int64_t i = 0; i < entry.elements; ++i) {
      arena->data()[entry.offset + i] = static_cast<float>(std * rng.NextNormal());
    }
  }
  return *std::move(arena);
}

}  // namespace retort::tiny
