// What a language model's head says about rows of hidden states, in one pass over tiles of rows x
// vocabulary: the logits of all rows never exist at once. z = cap(hidden W^T + bias), cap(x) =
// c tanh(x / c); p = softmax(z / temperature) over the ids of the mask. Forward and backward give
// the same bits with any number of threads. On another device than the CPU hidden states and
// weights are both fp32 or both bf16, and portable_vocab_head.h computes; results are fp32 there.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/types/span.h"
#include "common/model/vocab_mask.h"
#include "common/tensor/aten.h"

namespace retort::model {

// Contiguous. On the CPU bf16 weights are widened tile by tile, which is exact: the results are
// those of the widened fp32 matrix, bit for bit, and they have no derivative.
struct HeadWeights {
  at::Tensor weight;  // [V, E] fp32 or bf16.
  at::Tensor bias;    // [V] fp32, or undefined.
};

struct HeadOptions {
  double temperature = 1;  // > 0.
  double soft_cap = 0;     // c; 0: none.
  VocabMask mask = {};     // Limit 0: all ids.
};

struct SelectedLogProbs {
  at::Tensor log_probs;  // [M] f32: log p[target].
  at::Tensor entropy;    // [M] f32: of p.
};

// hidden [M, E] f32; targets [M] int64, of the same device or the CPU, each in [0, limit) (an
// excluded one has log-prob -inf).
// Differentiable in hidden, weight and bias through both outputs: backward computes the logits
// again. Arguments are the caller's promise and are CHECKed.
SelectedLogProbs HeadLogProbs(const at::Tensor& hidden, const HeadWeights& head,
                              const at::Tensor& targets, const HeadOptions& options);

// Receives z of row `row` for ids first_id, first_id + 1, ...; -inf where the mask excludes. Called
// once for every tile, from several threads, for one row from one thread and in ascending order.
using LogitSink = std::function<void(int64_t row, int64_t first_id, absl::Span<const float> z)>;

// What else one pass can give. Log-sum-exp always comes.
struct HeadWants {
  bool entropy = false;
  bool argmax = false;
  int64_t top_k = 0;
  LogitSink sink = {};
};

// Fields that were not wanted are undefined.
struct HeadOutput {
  at::Tensor log_probs;      // [M] f32, if there are targets.
  at::Tensor log_sum_exp;    // [M] f32, of z / temperature.
  at::Tensor entropy;        // [M] f32
  at::Tensor argmax;         // [M] int64, the lowest id among equals.
  at::Tensor top_ids;        // [M, k] int64, likeliest first, the lower id first among equals.
  at::Tensor top_log_probs;  // [M, k] f32
  at::Tensor tail_mass;      // [M] f32: 1 minus the sum of the top k, as a sum of its own.
};

// Without gradients. `targets` may be undefined. top_k is at most the ids that the mask leaves.
HeadOutput HeadForward(const at::Tensor& hidden, const HeadWeights& head, const at::Tensor& targets,
                       const HeadOptions& options, const HeadWants& wants);

}  // namespace retort::model
