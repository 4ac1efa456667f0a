// One token for each of many rows, drawn from logits. Internal to engine.cc, the decoder and tests.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/model/sampling.h"
#include "common/model/vocab_mask.h"
#include "common/tensor/aten.h"

namespace retort::model {

struct DrawnToken {
  bool valid = false;  // False: there was no distribution (RowFilter::Apply).
  int64_t id = -1;
  float log_prob = 0;      // In the filtered distribution.
  float raw_log_prob = 0;  // As RawRow has it, if asked for.
  std::vector<int64_t> top_ids;
  std::vector<float> top_log_probs;
};

struct RowDraw {
  const float* hidden = nullptr;          // [E] fp32 of the host, as Decoder::Hidden gives it.
  const FilterOptions* filter = nullptr;  // Valid for the vocabulary.
  const VocabMask* mask = nullptr;
  RowContext context;
  bool greedy = false;  // The largest logit that the filter leaves, instead of RowFilter::Draw.
  double uniform = 0;   // What is drawn with.
  bool raw_log_prob = false;
  int64_t top_log_probs = 0;
  DrawnToken token;  // What came of it.
};

// [draws.size(), width] of the host.
at::Tensor HiddenOf(absl::Span<const RowDraw> draws, int64_t width);

// Draws from logits of the host. Not thread-safe.
class HostDraws {
 public:
  // `logits` [draws.size(), vocab]. Threads share the rows.
  void Draw(const float* logits, int64_t vocab, absl::Span<RowDraw> draws);

 private:
  struct Scratch {
    RowFilter filter;
    RawRow raw;
  };
  static void DrawOne(absl::Span<const float> logits, Scratch* scratch, RowDraw* draw);

  std::vector<Scratch> scratch_;  // One a thread.
};

}  // namespace retort::model
