// Where every parameter of a model lies in one flat fp32 buffer, the arena, and what it is called
// in files. Gradients, optimizer state, published weights and checkpoint shards share this layout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/layout/model_config.h"

namespace retort::layout {

// Arena order. An optimizer group is one range; the published weights are the prefix before
// kValueHead.
enum class ParameterGroup { kDecay, kNoDecay, kValueHead };

// How a random start fills a parameter.
enum class ParameterInit {
  kNormal,
  kOne,
  kZero,
  kFanInUniform,  // Uniform in +-in^-1/2, of a matrix [out, in].
};

// What the model does with a parameter. Matrices are [out, in].
enum class ParameterRole {
  kEmbedding,   // [vocab, embedding_size]
  kPositions,   // [max_position_embeddings + learned_offset, hidden]
  kProjectIn,   // [hidden, embedding_size]
  kProjectOut,  // [embedding_size, hidden]
  kHead,        // [vocab, embedding_size]; absent when tied.
  kHeadBias,
  kScore,      // [1, embedding_size], of a sequence classification.
  kFinalNorm,  // The norms: [hidden]; q and k: [head_dim].
  kFinalNormBias,
  kAttentionNorm,
  kAttentionNormBias,
  kAttentionOutNorm,
  kMlpNorm,
  kMlpNormBias,
  kMlpOutNorm,
  kQNorm,
  kKNorm,
  kQkv,  // Rows q, k, v.
  kQkvBias,
  kO,
  kOBias,
  kMlpIn,  // Rows gate, up; or up alone.
  kMlpInBias,
  kMlpOut,
  kMlpOutBias,
  kValueWeight,  // [1, embedding_size]
  kValueBias,
  kLoraA,  // Of an adapter: [rank, in] and [out, rank].
  kLoraB,
};

// How a tensor lies in a file. The arena's rows are stored, in [out, in] order, as
//   kSame        the same bytes;
//   kTransposed  [in, out];
//   kRuns        rows in equal runs, file run (i, j) = arena run (j, i), i < outer, j < inner.
enum class StoredAs { kSame, kTransposed, kRuns };

// One tensor of a Hugging Face file: a contiguous part of its entry.
struct FileTensor {
  std::string name;
  std::vector<int64_t> shape;  // In the file.
  int64_t offset = 0;          // Elements from the start of the arena.
  StoredAs stored = StoredAs::kSame;
  int64_t outer = 1, inner = 1;  // kRuns.

  int64_t elements() const;
};

// One tensor that the model computes with. q,k,v and gate,up lie next to each other, so that each
// is one matrix product: such an entry may have several parts, any other has one.
struct ParameterEntry {
  std::string name;  // Its part's, or one that stands for all of its parts.
  ParameterRole role = ParameterRole::kEmbedding;
  int64_t layer = -1;          // -1: of no layer.
  std::vector<int64_t> shape;  // In the arena.
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
inline constexpr char kValueHeadWeight[] = "v_head.summary.weight";  // [1, embedding_size]
inline constexpr char kValueHeadBias[] = "v_head.summary.bias";      // [1]

struct ParameterLayout {
  std::vector<ParameterEntry> entries;  // Ascending offsets.
  int64_t total_elements = 0;
  int64_t published_elements = 0;  // The prefix that rollout workers and exports see.
  ParameterRange decay;
  ParameterRange no_decay;
  ParameterRange value_head;  // Empty without one.
  // Files may leave this prefix out of every name that has it (GPT-2's "transformer.").
  std::string base_prefix;
  // What a file may hold a second time, under the head's name: the embedding of tied weights.
  // Empty: not tied.
  std::string tied_head;
  // What files may hold besides: whole names, and names PREFIX N SUFFIX with any layer N.
  std::vector<std::string> ignored_names;
  std::string ignored_prefix;
  std::vector<std::string> ignored_suffixes;

  const ParameterRange& range(ParameterGroup group) const;
  // Null if there is no entry of that name (or role and layer).
  const ParameterEntry* Find(absl::string_view name) const;
  const ParameterEntry* Find(ParameterRole role, int64_t layer = -1) const;
  // True of a file's tensor that carries nothing here: a buffer, a reward model's old head.
  bool MayIgnore(absl::string_view name) const;
};

// The layout without a value head equals the published prefix of the layout with one. A pure
// function of `config`, which LoadModelConfig has bounded.
ParameterLayout LayoutFor(const ModelConfig& config, bool value_head);

}  // namespace retort::layout
