// The forward pass of generation: tokens of many sequences at once, over a paged KV cache, without
// autograd. Buffers are kept from step to step. On the CPU an output row depends on its own
// sequence only, bit for bit. Internal to engine.cc and its tests.
#pragma once

#include <memory>

#include "common/model/decoder_kernels.h"
#include "common/model/model.h"
#include "common/tensor/aten.h"

namespace retort::model {

// Not thread-safe. The model must outlive it. Throws what LibTorch throws.
class Decoder {
 public:
  // With the kernels of the model's device.
  Decoder(const Model& model, int64_t kv_blocks);
  Decoder(const Model& model, std::unique_ptr<DecoderKernels> kernels);

  // Hidden states as Model::Hidden gives them, [wanted.size(), E] in fp32 of the host, valid until
  // the next call.
  const float* Hidden(const DecoderRows& rows);

  // A next token for each row.
  void Draw(absl::Span<RowDraw> draws);

  void CopyBlock(const BlockCopy& copy);

 private:
  void Reserve(int64_t rows);
  void Embed(const DecoderRows& rows);
  void Layer(int64_t layer, const DecoderRows& rows);
  void AddingLayer(int64_t layer, const DecoderRows& rows);
  void PostNormLayer(int64_t layer, const DecoderRows& rows);
  void SandwichLayer(int64_t layer, const DecoderRows& rows);
  void AddBranch(const NormWeights& norm, int64_t count);
  int64_t Attend(int64_t layer, const DecoderRows& rows);
  void Mlp(const LayerWeights& weights, int64_t count);
  // y = norm(x), rows of the model's width.
  void Norm(const NormWeights& weights, const at::Tensor& x, int64_t count, const at::Tensor& y);

  const Model& model_;
  const layout::ModelConfig& config_;
  const AttentionShape shape_;
  const std::unique_ptr<DecoderKernels> kernels_;
  int64_t reserved_ = 0;
  int64_t positions_ = 0;  // Highest position of the rows at hand, plus one.
  at::Tensor x_, norm_, other_norm_, qkv_, attended_, branch_, mlp_in_, activated_, out_;
};

}  // namespace retort::model
