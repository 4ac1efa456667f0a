// The forward pass of generation: rows of many sequences at once, over KV caches, without autograd.
// Buffers are kept from step to step. Internal to generate.cc and its tests.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "common/model/attention.h"
#include "common/model/model.h"

namespace retort::model {

// One token to compute: stored at `position` of `slot`, after which it attends to positions 0 ..
// position there. Positions of a slot are fed in order, several may be in one call.
struct DecoderRows {
  std::vector<int64_t> ids, slots, positions;
  std::vector<int64_t> wanted;  // Ascending indices of the rows whose logits are needed.

  void Clear();
};

// Not thread-safe. The model must outlive it. Throws what LibTorch throws.
class Decoder {
 public:
  Decoder(const Model& model, int64_t slots, int64_t capacity);

  // Logits [wanted.size(), vocab_size], valid until the next call.
  const float* Forward(const DecoderRows& rows);

  // Makes the first `length` positions of slot `to` equal to those of `from`.
  void CopyPrefix(int64_t from, int64_t to, int64_t length);

 private:
  void Reserve(int64_t rows);
  void Layer(const LayerWeights& weights, KvCache* cache, const RopeView& rope,
             const DecoderRows& rows);

  const Model& model_;
  const int64_t capacity_;
  std::vector<KvCache> caches_;  // One per layer.
  int64_t reserved_ = 0;
  at::Tensor x_, norm_, qkv_, attended_, gate_up_, activated_, logits_;
};

}  // namespace retort::model
