// Where every parameter of a model lies in one flat fp32 buffer, the arena. Gradients, optimizer
// state, published weights and checkpoint shards share this layout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/layout/model_config.h"

namespace retort::layout {

// Arena order. An optimizer group is one range; the published weights are the prefix before
// kValueHead.
enum class ParameterGroup { kDecay, kNoDecay, kValueHead };

// How a random start fills a parameter.
enum class ParameterInit { kNormal, kOne, kZero };

// One tensor of a Hugging Face file: contiguous, row-major, inside its entry.
struct FileTensor {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset = 0;  // Elements from the start of the arena.

  int64_t elements() const;
};

// One tensor that the model computes with. q,k,v and gate,up lie next to each other, so that each
// is one matrix product: such an entry has several parts, any other has one.
struct ParameterEntry {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset = 0;  // Elements from the start of the arena; a multiple of kOffsetAlignment.
  int64_t elements = 0;
  ParameterGroup group = ParameterGroup::kDecay;
  ParameterInit init = ParameterInit::kNormal;
  std::vector<FileTensor> parts;
};

struct ParameterRange {
  int64_t begin = 0;  // Elements; both multiples of kOffsetAlignment.
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

// 16 floats, 64 bytes. Elements between entries are padding and always zero.
inline constexpr int64_t kOffsetAlignment = 16;

// Names of the value head, TRL's. They appear in no exported model.
inline constexpr char kValueHeadWeight[] = "v_head.summary.weight";  // [1, hidden]
inline constexpr char kValueHeadBias[] = "v_head.summary.bias";      // [1]

struct ParameterLayout {
  std::vector<ParameterEntry> entries;  // Ascending offsets.
  int64_t total_elements = 0;
  int64_t published_elements = 0;  // The prefix that rollout workers and exports see.
  ParameterRange decay;
  ParameterRange no_decay;
  ParameterRange value_head;  // Empty without one.

  const ParameterRange& range(ParameterGroup group) const;
  // Null if there is no entry of that name.
  const ParameterEntry* Find(const std::string& name) const;
};

// The layout without a value head equals the published prefix of the layout with one. A pure
// function of `config`, which LoadModelConfig has bounded.
ParameterLayout LayoutFor(const ModelConfig& config, bool value_head);

}  // namespace retort::layout
