// A decoder-only transformer (Llama family) as functions over views of an arena.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/layout/model_config.h"
#include "common/layout/parameter_layout.h"
#include "common/model/attention.h"
#include "common/model/packed_batch.h"
#include "common/model/rope.h"
#include "common/tensor/parameter_arena.h"

namespace retort::model {

// Views of one layer's parameters. Undefined tensors: the config has no such bias.
struct LayerWeights {
  at::Tensor input_norm, qkv, qkv_bias, o, o_bias;
  at::Tensor post_norm, gate_up, gate_up_bias, down, down_bias;
};

struct SelectedLogProbs {
  at::Tensor log_probs;  // [M] f32
  at::Tensor entropy;    // [M] f32
};

// Computes in fp32. Making one costs microseconds: a new version in another ring slot is a new
// Model. Weights may change between calls (an optimizer's step) but not during one. Not
// thread-safe. The functions throw what LibTorch throws (callers are under tensor::CatchTorch);
// their arguments are the caller's promise and are CHECKed.
class Model {
 public:
  // `arena` is over LayoutFor(config, with or without value head). Without gradients.
  Model(layout::ModelConfig config, const tensor::ParameterArena& arena);
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  // Makes the parameters leaves that require a gradient; backward adds into the views of
  // `gradients`, an arena of the same layout (its owner zeroes it). Call once, before the first
  // forward.
  void AttachGradients(const tensor::ParameterArena& gradients);

  const layout::ModelConfig& config() const { return config_; }

  // Last hidden states, after the final norm. [N, hidden]; differentiable if gradients are attached
  // and grad mode is on. Ids must be in [0, vocab_size), positions in [0, max_position_embeddings).
  at::Tensor Hidden(const PackedBatch& batch) const;

  // log softmax(logits / temperature)[target] and the entropy of that distribution, per row of
  // `hidden` [M, hidden]; targets [M] int64. Ids >= vocab_limit have probability 0 (vocab_size:
  // none). Both outputs are differentiable; backward computes the logits again, so no [M, vocab]
  // tensor is kept.
  SelectedLogProbs LogProbs(const at::Tensor& hidden, const at::Tensor& targets, double temperature,
                            int64_t vocab_limit) const;

  // log softmax(logits / temperature), [M, vocab_size]; -inf from vocab_limit on. Differentiable.
  at::Tensor FullLogProbs(const at::Tensor& hidden, double temperature, int64_t vocab_limit) const;

  // Next-token logits [M, vocab_size].
  at::Tensor Logits(const at::Tensor& hidden) const;

  // Value head, [M]. Only with a layout that has one.
  at::Tensor Values(const at::Tensor& hidden) const;

  // For the decoder.
  const at::Tensor& embedding() const { return embedding_; }
  const at::Tensor& final_norm() const { return final_norm_; }
  const at::Tensor& head() const { return head_; }
  const std::vector<LayerWeights>& layers() const { return layers_; }
  AttentionShape attention_shape() const;
  // Rotary angles of at least `positions` positions; grows a table of the model's.
  const RopeAngles& Rope(int64_t positions) const { return rope_->Cover(positions); }

 private:
  void BindViews();
  at::Tensor Layer(const LayerWeights& weights, const at::Tensor& x, const PackedBatch& batch,
                   const RopeAngles& angles) const;

  layout::ModelConfig config_;
  layout::ParameterLayout layout_;
  std::vector<at::Tensor> parameters_;  // One per layout entry.
  at::Tensor embedding_, final_norm_, head_, value_weight_, value_bias_;
  std::vector<LayerWeights> layers_;
  std::unique_ptr<RopeTable> rope_;
};

// A fingerprint of what weights compute: log-probs of the fixed ids (7919 i + 1) mod vocab_size, i
// = 1 .. 15, on one thread. 15 floats (fewer when max_position_embeddings < 16). Equal bits on one
// kind of CPU.
absl::StatusOr<std::vector<float>> Canary(const Model& model);

}  // namespace retort::model
