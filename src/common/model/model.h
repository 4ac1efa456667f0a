// A decoder-only transformer as functions over views of an arena: one skeleton that executes what
// layout::ModelConfig says, whatever the family.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/layout/adapter_layout.h"
#include "common/layout/model_config.h"
#include "common/layout/parameter_layout.h"
#include "common/model/adapter.h"
#include "common/model/attention.h"
#include "common/model/ops.h"
#include "common/model/packed_batch.h"
#include "common/model/rope.h"
#include "common/model/vocab_head.h"
#include "common/tensor/aten.h"
#include "common/tensor/parameter_arena.h"

namespace retort::model {

// Undefined weight: there is no such norm. Undefined bias: an RMS norm.
struct NormWeights {
  at::Tensor weight, bias;
};

// Views of one layer's parameters.
struct LayerWeights {
  NormWeights attention_norm, mlp_norm;          // n1 and n2 of layout::Residual.
  NormWeights attention_out_norm, mlp_out_norm;  // n1' and n2'.
  NormWeights q_norm, k_norm;                    // [head_dim]
  Projection qkv;                                // Rows q, k, v.
  Projection o;
  Projection mlp_in;  // Rows gate, up when the MLP is gated.
  Projection mlp_out;
};

// Computes where its arena lies. On the CPU in fp32, also over an arena of bf16: its values are
// widened, so everything equals what the widened fp32 arena gives. On another device in the type of
// the arena: with bf16 hidden states are bf16 too, statistics and all results of a head are fp32.
// Making one costs microseconds: a new version in another ring slot is a new Model. Weights may
// change between calls (an optimizer's step) but not during one. Not thread-safe. The functions
// throw what LibTorch throws (callers are under tensor::CatchTorch); their arguments are the
// caller's promise and are CHECKed. E below is config().embedding_size().
class Model {
 public:
  // `arena` is over LayoutFor(config, with or without value head). Without gradients. Of bf16 on
  // the CPU: norms and biases are copied, the matrices are not.
  Model(layout::ModelConfig config, const tensor::ParameterArena& arena);
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  // The same base with an adapter that is applied, not merged: `adapter` is over
  // layout.parameters, on the same device and fp32, whatever the base is. The value head, if any,
  // is the adapter's. The base as it was before is another Model over the same arena.
  Model(layout::ModelConfig config, const tensor::ParameterArena& arena,
        const layout::AdapterLayout& layout, const tensor::ParameterArena& adapter);

  // Makes the parameters (with an adapter: only its) leaves that require a gradient; backward adds
  // into the views of `gradients`, an arena of the same layout (its owner zeroes it). Call once,
  // before the first forward.
  void AttachGradients(const tensor::ParameterArena& gradients);

  // The same for an arena of bf16 on another device than the CPU, without an adapter: the
  // parameters' fp32 `masters` are the leaves, and backward adds into `gradients`, both fp32 arenas
  // of the same layout and device. Derivatives are computed in bf16 once a use and added in fp32.
  // After an update the caller rounds the masters into the arena (ParameterArena::CopyFrom).
  void AttachMasters(const tensor::ParameterArena& masters,
                     const tensor::ParameterArena& gradients);

  // What these have made leaves, one for each entry of the layout.
  const std::vector<at::Tensor>& leaves() const { return leaves_; }

  const layout::ModelConfig& config() const { return config_; }
  const at::Device& device() const { return device_; }
  at::ScalarType compute_type() const { return compute_type_; }  // Of hidden states.

  // What the head multiplies: last hidden states, after the final norm and the projection out, if
  // the model has them. [N, E] of compute_type(); differentiable if gradients are attached and grad
  // mode is on. Ids must be in [0, vocab_size), positions in [0, max_position_embeddings).
  // `wanted`, if any, is asked before every layer; when it says no the result is an undefined
  // tensor. The batch lies on the CPU.
  at::Tensor Hidden(const PackedBatch& batch, const std::function<bool()>& wanted = nullptr) const;

  // log softmax(logits / temperature)[target] and the entropy of that distribution, per row of
  // `hidden` [M, E]; targets [M] int64, also of the CPU. Ids outside of the mask have probability
  // 0. Both outputs are differentiable; no [M, vocab] tensor is ever made.
  SelectedLogProbs LogProbs(const at::Tensor& hidden, const at::Tensor& targets, double temperature,
                            const VocabMask& mask) const;

  // log softmax(logits / temperature), [M, vocab_size] fp32; -inf outside of the mask.
  // Differentiable.
  at::Tensor FullLogProbs(const at::Tensor& hidden, double temperature,
                          const VocabMask& mask) const;

  // Next-token logits [M, vocab_size] fp32, soft-capped. Only of a causal language model.
  at::Tensor Logits(const at::Tensor& hidden) const;

  // Score head of a sequence classification, [M] fp32.
  at::Tensor Scores(const at::Tensor& hidden) const;

  // Value head, [M] fp32. Only with a layout that has one.
  at::Tensor Values(const at::Tensor& hidden) const;

  // For the decoder. What the config does not ask for is undefined.
  const at::Tensor& embedding() const { return embedding_; }  // [vocab, E]
  const at::Tensor& position_table() const { return position_table_; }
  const Projection& project_in() const { return project_in_; }    // Weight [hidden, E].
  const Projection& project_out() const { return project_out_; }  // Weight [E, hidden].
  const NormWeights& final_norm() const { return final_norm_; }
  const Projection& head() const { return head_; }  // Weight [vocab, E]; config().final_soft_cap.
  const std::vector<LayerWeights>& layers() const { return layers_; }
  AttentionShape attention_shape() const;
  AttentionRule attention_rule(int64_t layer) const;
  // Rotary angles of table `rope` (config().layer(i).rope) for at least `positions` positions;
  // grows a table of the model's. Null tensors with learned positions.
  const RopeAngles& Rope(int64_t positions, int rope = 0) const {
    return ropes_[rope].Cover(positions);
  }

 private:
  void BindViews();
  void Bind(const layout::ParameterEntry& entry, const at::Tensor& view);
  void BindAdapter();
  at::Tensor Embed(const PackedBatch& batch) const;
  at::Tensor Attend(int64_t layer, const at::Tensor& x, const SharedSegments& segments) const;
  at::Tensor Mlp(const LayerWeights& weights, const at::Tensor& x) const;
  at::Tensor Norm(const NormWeights& weights, const at::Tensor& x) const;
  at::Tensor Layer(int64_t layer, const at::Tensor& x, const SharedSegments& segments) const;

  layout::ModelConfig config_;
  at::Device device_;
  at::ScalarType compute_type_;
  layout::ParameterLayout layout_;
  std::vector<at::Tensor> parameters_;  // One per layout entry.
  layout::AdapterLayout adapter_;       // Without targets: none.
  std::vector<at::Tensor> adapter_parameters_;
  std::vector<at::Tensor> leaves_;
  at::Tensor embedding_, position_table_, score_;
  at::Tensor tied_head_;  // What stands for the embedding as head; undefined: itself.
  NormWeights final_norm_;
  Projection project_in_, project_out_, head_, value_;
  std::vector<LayerWeights> layers_;
  mutable std::vector<RopeTable> ropes_;
};

// A fingerprint of what weights compute: log-probs of the fixed ids (7919 i + 1) mod vocab_size, i
// = 1 .. 15, on one thread (of a sequence classification: the scores of ids i = 0 .. 14). 15 floats
// (fewer when max_position_embeddings < 16). Equal bits on one kind of CPU, or one kind of GPU.
absl::StatusOr<std::vector<float>> Canary(const Model& model);

}  // namespace retort::model
