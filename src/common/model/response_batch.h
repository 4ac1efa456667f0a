// Prompt-and-response sequences as one packed batch, with the rows that predict response tokens:
// what every log-prob and value of training is computed from.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/model/model.h"
#include "common/model/packed_batch.h"
#include "common/tensor/aten.h"

namespace retort::model {

// Sequences laid end to end: sequence i is tokens[begin[i], begin[i + 1]), its first
// prompt_lengths[i] >= 1 tokens are the prompt and at least one token follows.
struct SequenceSet {
  absl::Span<const int64_t> tokens;
  absl::Span<const int64_t> begin;           // [N + 1]
  absl::Span<const int64_t> prompt_lengths;  // [N]

  int64_t response_length(int64_t i) const { return begin[i + 1] - begin[i] - prompt_lengths[i]; }
};

// Some sequences of a set. M = their response tokens, in the order of `sequences`, then by
// position.
struct ResponseBatch {
  PackedBatch inputs;  // Every token but each sequence's last, which predicts nothing.
  at::Tensor rows;     // [M] int64: the row of the hidden states that predicts the token.
  at::Tensor targets;  // [M] int64: the token.
  std::vector<int64_t> sequences;  // Indices into the set.
  std::vector<int64_t> lengths;    // Response tokens of each.
};

ResponseBatch MakeResponseBatch(const SequenceSet& set, absl::Span<const int64_t> sequences);

// Hidden states at the rows that predict response tokens, [M, hidden]; differentiable as
// Model::Hidden is.
at::Tensor ResponseHidden(const Model& model, const ResponseBatch& batch);

}  // namespace retort::model
