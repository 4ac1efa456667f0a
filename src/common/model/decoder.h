// The forward pass of generation: tokens of many sequences at once, over a paged KV cache, without
// autograd. Buffers are kept from step to step. An output row depends on its own sequence only,
// bit for bit. Internal to engine.cc and its tests.
#pragma once

#include <vector>

#include "common/model/kv_cache.h"
#include "common/model/model.h"
#include "common/model/row_linear.h"
#include "common/tensor/aten.h"

namespace retort::model {

// One token to compute: stored at its position, after which it attends to the positions up to it.
// Positions of a sequence are fed in order, several may be in one call.
struct DecoderRows {
  std::vector<int64_t> ids;
  std::vector<CacheRow> cache;
  std::vector<int64_t> wanted;  // Ascending indices of the rows whose hidden states are needed.

  void Add(int64_t id, int64_t position, const BlockSequence& sequence) {
    ids.push_back(id);
    cache.push_back({position, sequence.blocks().data()});
  }
  int64_t size() const { return static_cast<int64_t>(ids.size()); }
  void Clear();
};

// Not thread-safe. The model must outlive it. Throws what LibTorch throws.
class Decoder {
 public:
  Decoder(const Model& model, int64_t kv_blocks);

  // Hidden states as Model::Hidden gives them, [wanted.size(), E], valid until the next call.
  const float* Hidden(const DecoderRows& rows);

  // Next-token logits [count, vocab_size] of hidden states [count, E], valid until the next call.
  const float* Logits(const float* hidden, int64_t count);

  void CopyBlock(const BlockCopy& copy) { cache_.CopyBlock(copy); }

 private:
  void Reserve(int64_t rows);
  // A linear layer with its adapter, as Linear() gives it.
  void Project(const float* x, int64_t rows, const Projection& projection, LinearMode mode,
               float* y);
  void Embed(const DecoderRows& rows);
  void Layer(int64_t layer, const DecoderRows& rows);
  void AddingLayer(int64_t layer, const DecoderRows& rows);
  void PostNormLayer(int64_t layer, const DecoderRows& rows);
  void SandwichLayer(int64_t layer, const DecoderRows& rows);
  void AddBranch(const NormWeights& norm, int64_t count);
  int64_t Attend(int64_t layer, const DecoderRows& rows);
  const std::vector<CacheRow>& KeepWanted(const DecoderRows& rows);
  void Mlp(const LayerWeights& weights, int64_t count);
  // y = norm(x), rows of the model's width.
  void Norm(const NormWeights& weights, const at::Tensor& x, int64_t count, const at::Tensor& y);

  const Model& model_;
  const layout::ModelConfig& config_;
  const AttentionShape shape_;
  KvCache cache_;
  int64_t reserved_ = 0;
  int64_t positions_ = 0;          // Highest position of the rows at hand, plus one.
  std::vector<CacheRow> wanted_;   // Of the rows at hand.
  std::vector<float> low_, wide_;  // What an adapter's A and B give.
  at::Tensor x_, norm_, other_norm_, qkv_, attended_, branch_, mlp_in_, activated_, out_, logits_;
};

}  // namespace retort::model
