// What a decoder does with rows of hidden states, apart from the order of a layer's parts
// (decoder.h): one implementation for the CPU, one of ATen's operations for any other device. Both
// keep the paged KV cache. Internal to decoder.cc and tests.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/layout/model_config.h"
#include "common/model/attention.h"
#include "common/model/block_pool.h"
#include "common/model/kv_cache.h"
#include "common/model/model.h"
#include "common/model/row_draw.h"
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

// Matrices are those of NewRows, of which the first `count` rows count: those of the step or, once
// KeepWanted was called, the wanted ones. Not thread-safe. Throws what LibTorch throws.
class DecoderKernels {
 public:
  virtual ~DecoderKernels() = default;

  // [rows, width], contents unspecified.
  virtual at::Tensor NewRows(int64_t rows, int64_t width) const = 0;

  // Begins a step; `rows` must outlive it.
  virtual void Begin(const DecoderRows& rows) = 0;

  // to = scale * the row of `table` [.., width] that a row's id names.
  virtual void Embed(const at::Tensor& table, float scale, const at::Tensor& to) = 0;
  // to += the row of `table` that a row's position plus `offset` names.
  virtual void AddPositions(const at::Tensor& table, int64_t offset, const at::Tensor& to) = 0;

  // A linear layer with its adapter, as model::Linear gives it.
  virtual void Linear(const at::Tensor& x, int64_t count, const Projection& projection,
                      LinearMode mode, const at::Tensor& y) = 0;
  // y may be x.
  virtual void Norm(const layout::NormConfig& norm, const NormWeights& weights, const at::Tensor& x,
                    int64_t count, const at::Tensor& y) = 0;
  // q and k of every head of qkv, in place.
  virtual void NormHeads(const layout::NormConfig& norm, const NormWeights& q, const NormWeights& k,
                         int64_t count, const at::Tensor& qkv) = 0;
  virtual void Activate(const layout::MlpConfig& mlp, const at::Tensor& x, int64_t count,
                        const at::Tensor& y) = 0;
  virtual void Copy(const at::Tensor& x, int64_t count, const at::Tensor& y) = 0;
  virtual void Add(const at::Tensor& x, int64_t count, const at::Tensor& y) = 0;  // y += x

  // Stores k and v of all rows of the step, before rotation, at their positions of `layer`. May
  // rotate q in place: the Attend of the layer comes next (KeepWanted may lie between). `angles`
  // is not read when rotary_dim is 0.
  virtual void StoreKeys(int64_t layer, const AttentionRule& rule, const RopeAngles& angles,
                         const at::Tensor& qkv) = 0;
  // Attends from q of all rows, or of the wanted ones, to what the rule lets them see.
  virtual void Attend(int64_t layer, const AttentionRule& rule, const RopeAngles& angles,
                      const at::Tensor& qkv, const at::Tensor& out) = 0;

  // Moves the wanted rows of `matrices` to the front. From here on there are no others.
  virtual void KeepWanted(absl::Span<const at::Tensor> matrices) = 0;

  // All layers of one block.
  virtual void CopyBlock(const BlockCopy& copy) = 0;

  // The first `count` rows as fp32 of the host, until the next call.
  virtual const float* ToHost(const at::Tensor& x, int64_t count) = 0;
  // Draws a token for each row from the logits that the head makes of its hidden state. Any number
  // of rows: logits of a large vocabulary are made for some at a time.
  virtual void Draw(absl::Span<RowDraw> draws, const Projection& head, double soft_cap) = 0;
};

std::unique_ptr<DecoderKernels> MakeCpuDecoderKernels(const Model& model, int64_t kv_blocks);

// On the model's device, in its compute type: results depend in their last bits on what shares the
// step.
std::unique_ptr<DecoderKernels> MakePortableDecoderKernels(const Model& model, int64_t kv_blocks);

}  // namespace retort::model
