#include "common/model/row_draw.h"

#include <algorithm>

namespace retort::model {
namespace {

constexpr int64_t kGrain = 1 << 14;  // Logits worth a thread.

}  // namespace

at::Tensor HiddenOf(absl::Span<const RowDraw> draws, int64_t width) {
  at::Tensor hidden = at::empty({static_cast<int64_t>(draws.size()), width}, at::kFloat);
  float* to = hidden.mutable_data_ptr<float>();
  for (const RowDraw& draw : draws) to = std::copy_n(draw.hidden, width, to);
  return hidden;
}

void HostDraws::Draw(const float* logits, int64_t vocab, absl::Span<RowDraw> draws) {
  scratch_.resize(at::get_num_threads());
  const int64_t grain = std::max<int64_t>(1, kGrain / vocab);
  const int64_t count = static_cast<int64_t>(draws.size());
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    Scratch* const scratch = &scratch_[at::get_thread_num()];
    for (int64_t i = begin; i < end; ++i) {
      DrawOne({logits + i * vocab, static_cast<size_t>(vocab)}, scratch, &draws[i]);
    }
  });
}

void HostDraws::DrawOne(absl::Span<const float> logits, Scratch* scratch, RowDraw* draw) {
  DrawnToken& token = draw->token;
  token.valid = scratch->filter.Apply(*draw->filter, *draw->mask, logits, draw->context);
  if (!token.valid) return;
  token.id = draw->greedy ? scratch->filter.Largest() : scratch->filter.Draw(draw->uniform);
  token.log_prob = scratch->filter.LogProb(token.id);
  if (!draw->raw_log_prob && draw->top_log_probs == 0) return;
  scratch->raw.Set(logits, *draw->mask);
  token.raw_log_prob = scratch->raw.LogProb(token.id);
  if (draw->top_log_probs > 0) {
    scratch->raw.TopK(draw->top_log_probs, &token.top_ids, &token.top_log_probs);
  }
}

}  // namespace retort::model
