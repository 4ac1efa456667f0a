// What a decoder's logits are, seen through the tokens that it draws.
#pragma once

#include <cstdint>
#include <vector>

#include "common/model/decoder.h"
#include "common/tensor/aten.h"

namespace retort::tiny {

// log softmax of the logits of hidden states [rows, E]: [rows, vocab].
inline at::Tensor DrawnLogProbs(model::Decoder& decoder, int64_t vocab, const at::Tensor& hidden) {
  const model::FilterOptions filter;
  const model::VocabMask mask{vocab, {}};
  std::vector<model::RowDraw> draws(hidden.size(0));
  for (int64_t row = 0; row < hidden.size(0); ++row) {
    draws[row].hidden = hidden.const_data_ptr<float>() + row * hidden.size(1);
    draws[row].filter = &filter;
    draws[row].mask = &mask;
    draws[row].top_log_probs = vocab;
  }
  decoder.Draw(absl::MakeSpan(draws));
  at::Tensor log_probs = at::empty({hidden.size(0), vocab}, at::kFloat);
  float* const to = log_probs.mutable_data_ptr<float>();
  for (int64_t row = 0; row < hidden.size(0); ++row) {
    const model::DrawnToken& token = draws[row].token;
    for (int64_t i = 0; i < vocab; ++i) {
      to[row * vocab + token.top_ids[i]] = token.top_log_probs[i];
    }
  }
  return log_probs;
}

}  // namespace retort::tiny
