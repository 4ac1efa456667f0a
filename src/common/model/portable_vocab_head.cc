#include "common/model/portable_vocab_head.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "common/model/portable_matmul.h"
#include "common/tensor/cat.h"
#include "common/tensor/upload.h"

namespace retort::model::portable {
namespace {

constexpr int64_t kLogitElements = int64_t{1} << 26;  // Logits at once: 256 MiB.
constexpr int64_t kMinRows = 16;
constexpr int64_t kMaxRows = 1024;
constexpr double kNone = -std::numeric_limits<double>::infinity();

// What a call's chunks share.
struct Head {
  at::Tensor weight;    // [limit, E]
  at::Tensor bias;      // [limit] fp32, or undefined.
  at::Tensor excluded;  // [limit] bool, or undefined: none.
  double scale;         // 1 / temperature
  double cap;

  int64_t limit() const { return weight.size(0); }
};

Head HeadOf(const HeadWeights& weights, const HeadOptions& options) {
  const int64_t vocab = weights.weight.size(0);
  const int64_t limit = options.mask.limit == 0 ? vocab : options.mask.limit;
  Head head{
      weights.weight.narrow(0, 0, limit), {}, {}, 1.0 / options.temperature, options.soft_cap};
  if (weights.bias.defined()) head.bias = weights.bias.narrow(0, 0, limit).to(at::kFloat);
  if (options.mask.excluded.empty()) return head;
  const at::Tensor excluded = at::zeros({limit}, at::kBool);
  for (const int64_t id : options.mask.excluded) excluded.mutable_data_ptr<bool>()[id] = true;
  head.excluded = tensor::Upload(excluded, weights.weight.device());
  return head;
}

int64_t RowsAtOnce(const Head& head) {
  return std::clamp(kLogitElements / head.limit(), kMinRows, kMaxRows);
}

// z of some rows, [R, limit] fp32; -inf where excluded.
at::Tensor Logits(const Head& head, const at::Tensor& hidden) {
  at::Tensor z = MultiplyToFp32(hidden, head.weight.t());
  if (head.bias.defined()) z.add_(head.bias);
  if (head.cap != 0) z.div_(head.cap).tanh_().mul_(head.cap);
  if (head.excluded.defined()) z.masked_fill_(head.excluded, kNone);
  return z;
}

// Top k of every row of scores relative to log_sum [R, 1], the lower id first among equals.
void KeepTop(const at::Tensor& shifted, const at::Tensor& log_sum, const at::Tensor& sum, int64_t k,
             HeadOutput* out) {
  const auto [values, ids] = at::sort(shifted, /*stable=*/true, /*dim=*/1, /*descending=*/true);
  const at::Tensor top = values.narrow(1, 0, k);
  out->top_ids = ids.narrow(1, 0, k).contiguous();
  out->top_log_probs = top - log_sum;
  // A sum of its own: 1 minus the others' would be rounding when they are nearly all.
  const at::Tensor rest = values.narrow(1, k, values.size(1) - k).exp().sum(1);
  out->tail_mass = rest / sum.squeeze(1);
}

void Tell(const LogitSink& sink, const at::Tensor& z, int64_t first_row) {
  const at::Tensor host = z.cpu();
  const size_t width = static_cast<size_t>(host.size(1));
  const float* data = host.const_data_ptr<float>();
  for (int64_t r = 0; r < host.size(0); ++r) sink(first_row + r, 0, {data + r * width, width});
}

HeadOutput ChunkForward(const Head& head, const at::Tensor& hidden, const at::Tensor& targets,
                        const HeadWants& wants, int64_t first_row) {
  const at::Tensor z = Logits(head, hidden);
  if (wants.sink != nullptr) Tell(wants.sink, z, first_row);
  HeadOutput out;
  // Relative to the largest: the entropy is a difference of numbers of its own size then.
  const at::Tensor max = z.amax({1}, /*keepdim=*/true);
  if (wants.argmax) out.argmax = z.argmax(1);  // The first among equals.
  at::Tensor shifted = (z - max).mul_(head.scale);
  at::Tensor e = shifted.exp();
  const at::Tensor sum = e.sum(1, /*keepdim=*/true);
  const at::Tensor log_sum = sum.log();
  out.log_sum_exp = (max * head.scale + log_sum).squeeze(1);
  if (targets.defined()) {
    out.log_probs = (shifted.gather(1, targets.unsqueeze(1)) - log_sum).squeeze(1);
  }
  if (wants.top_k > 0) KeepTop(shifted, log_sum, sum, wants.top_k, &out);
  if (wants.entropy) {
    if (head.excluded.defined()) shifted.masked_fill_(head.excluded, 0);  // 0 * -inf must be 0.
    out.entropy = (log_sum - e.mul_(shifted).sum(1, /*keepdim=*/true).div_(sum)).squeeze(1);
  }
  return out;
}

// The derivative of the loss in the logits of some rows before bias and cap, [R, limit].
at::Tensor LogitGradient(const Head& head, const at::Tensor& hidden, const HeadState& state) {
  const at::Tensor z = Logits(head, hidden);
  const auto column = [](const at::Tensor& t) { return t.unsqueeze(1); };
  at::Tensor log_p = (z * head.scale).sub_(column(state.log_sum_exp));
  at::Tensor d = log_p.exp().mul_(-head.scale);
  if (head.excluded.defined()) log_p.masked_fill_(head.excluded, 0);  // 0 * -inf must be 0.
  // The factor of -p: that of the log-prob and, with the entropy H, of log p + H.
  if (state.entropy_gradient.defined()) {
    log_p.add_(column(state.entropy)).mul_(column(state.entropy_gradient));
    if (state.log_prob_gradient.defined()) log_p.add_(column(state.log_prob_gradient));
    d.mul_(log_p);
  } else {
    d.mul_(column(state.log_prob_gradient));
  }
  if (state.log_prob_gradient.defined()) {
    const at::Tensor ids = at::arange(head.limit(), state.targets.options());
    d.add_((ids == column(state.targets)) * column(state.log_prob_gradient), head.scale);
  }
  // Excluded logits are -inf: their derivative is 0 already and must not become NaN.
  if (head.cap != 0) d.mul_(1 - z.div(head.cap).clamp_min_(-1).square_());
  return d;
}

HeadState Rows(const HeadState& state, int64_t first, int64_t count) {
  const auto rows = [&](const at::Tensor& t) {
    return t.defined() ? t.narrow(0, first, count) : t;
  };
  return {rows(state.targets), rows(state.log_sum_exp), rows(state.entropy),
          rows(state.log_prob_gradient), rows(state.entropy_gradient)};
}

void AddTo(const at::Tensor& part, at::Tensor* sum) {
  if (sum->defined()) {
    sum->add_(part);
  } else {
    *sum = part;
  }
}

// [limit, ...] fp32 -> [vocab, ...] of `like`'s type, zeros behind.
at::Tensor Widened(const at::Tensor& part, const at::Tensor& like) {
  if (!part.defined()) return at::zeros_like(like);
  if (part.sizes() == like.sizes()) return part.to(like.scalar_type());
  const at::Tensor whole = at::zeros_like(like);
  whole.narrow(0, 0, part.size(0)).copy_(part);
  return whole;
}

using Parts = std::vector<at::Tensor>;

at::Tensor Joined(const std::vector<HeadOutput>& chunks, at::Tensor HeadOutput::*field) {
  Parts parts;
  for (const HeadOutput& chunk : chunks) parts.push_back(chunk.*field);
  return parts.empty() || !parts[0].defined() ? at::Tensor() : tensor::Cat(parts);
}

}  // namespace

HeadOutput HeadForward(const at::Tensor& hidden, const HeadWeights& weights,
                       const at::Tensor& targets, const HeadOptions& options,
                       const HeadWants& wants) {
  const Head head = HeadOf(weights, options);
  const int64_t rows = hidden.size(0), most = RowsAtOnce(head);
  std::vector<HeadOutput> chunks;
  // Without rows a chunk of none, which has the fields that are wanted.
  for (int64_t first = 0; first == 0 || first < rows; first += most) {
    const int64_t count = std::min(most, rows - first);
    const at::Tensor ids = targets.defined() ? targets.narrow(0, first, count) : targets;
    chunks.push_back(ChunkForward(head, hidden.narrow(0, first, count), ids, wants, first));
  }
  HeadOutput out;
  for (at::Tensor HeadOutput::*field :
       {&HeadOutput::log_probs, &HeadOutput::log_sum_exp, &HeadOutput::entropy, &HeadOutput::argmax,
        &HeadOutput::top_ids, &HeadOutput::top_log_probs, &HeadOutput::tail_mass}) {
    out.*field = Joined(chunks, field);
  }
  return out;
}

HeadGradients HeadBackward(const at::Tensor& hidden, const HeadWeights& weights,
                           const HeadState& state, const HeadOptions& options,
                           const HeadNeeds& needs) {
  const Head head = HeadOf(weights, options);
  const at::ScalarType type = hidden.scalar_type();
  HeadGradients gradients;
  if (needs.hidden) gradients.hidden = at::zeros_like(hidden);
  at::Tensor dweight, dbias;
  const int64_t rows = hidden.size(0), most = RowsAtOnce(head);
  const bool any = state.log_prob_gradient.defined() || state.entropy_gradient.defined();
  for (int64_t first = 0; any && first < rows; first += most) {
    const int64_t count = std::min(most, rows - first);
    const at::Tensor x = hidden.narrow(0, first, count);
    const at::Tensor wide = LogitGradient(head, x, Rows(state, first, count));
    if (needs.bias) AddTo(wide.sum(0), &dbias);
    const at::Tensor d = wide.to(type);
    if (needs.hidden) {
      gradients.hidden.narrow(0, first, count).copy_(MultiplyToFp32(d, head.weight));
    }
    if (needs.weight) AddTo(MultiplyToFp32(d.t(), x), &dweight);
  }
  if (needs.weight) gradients.weight = Widened(dweight, weights.weight);
  if (needs.bias) gradients.bias = Widened(dbias, weights.bias);
  return gradients;
}

}  // namespace retort::model::portable
