#include "common/model/portable_row_draw.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "common/model/row_kernels.h"
#include "common/tensor/cat.h"
#include "common/tensor/upload.h"

namespace retort::model {
namespace {

constexpr double kDropped = -std::numeric_limits<double>::infinity();
constexpr int64_t kBlock = 256;        // Ids whose weights are summed up.
constexpr int64_t kCandidates = 1024;  // The likeliest ids, where truncation needs them.

// What decides a row; kNothing: there is no distribution.
enum class Route { kLargest, kBlocks, kCandidates, kHost, kNothing };

Route RouteOf(const RowDraw& draw, const VocabMask& mask) {
  const FilterOptions& filter = *draw.filter;
  const bool truncates = filter.top_k > 0 || filter.top_p < 1.0;
  if (filter.repetition_penalty != 1.0 || draw.top_log_probs > 0 || *draw.mask != mask) {
    return Route::kHost;
  }
  if (draw.greedy) return truncates || filter.min_p > 0 ? Route::kHost : Route::kLargest;
  if (!truncates) return Route::kBlocks;
  return filter.top_k < kCandidates ? Route::kCandidates : Route::kHost;
}

std::vector<int64_t> RowsOf(absl::Span<const Route> routes, Route route) {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < routes.size(); ++i) {
    if (routes[i] == route) rows.push_back(static_cast<int64_t>(i));
  }
  return rows;
}

at::Tensor IndicesOn(const at::Device& device, const std::vector<int64_t>& values) {
  return tensor::Upload(at::tensor(values, at::kLong), device);
}

void Mask(const at::Tensor& logits, const VocabMask& mask) {
  const int64_t vocab = logits.size(1);
  if (mask.limit < vocab) logits.narrow(1, mask.limit, vocab - mask.limit).fill_(kDropped);
  if (mask.excluded.empty()) return;
  logits.index_fill_(1, IndicesOn(logits.device(), mask.excluded), kDropped);
}

// Without what the rows' contexts drop; `logits` itself if that is nothing.
at::Tensor WithDrops(const at::Tensor& logits, absl::Span<const RowDraw> draws) {
  std::vector<int64_t> places;
  for (size_t row = 0; row < draws.size(); ++row) {
    for (const int64_t id : DroppedIds(*draws[row].filter, draws[row].context)) {
      places.push_back(static_cast<int64_t>(row) * logits.size(1) + id);
    }
  }
  if (places.empty()) return logits;
  const at::Tensor kept = logits.clone();
  kept.view({-1}).index_fill_(0, IndicesOn(logits.device(), places), kDropped);
  return kept;
}

// [rows, 1] on the device.
at::Tensor Column(const std::vector<float>& numbers, const at::Device& device) {
  return tensor::Upload(at::tensor(numbers, at::kFloat), device).unsqueeze(1);
}

// exp((kept - max) / temperature) of every id, 0 where min_p drops it, if nothing else is to be
// dropped before.
at::Tensor Weights(const at::Tensor& kept, const at::Tensor& max, absl::Span<const RowDraw> draws,
                   absl::Span<const Route> routes) {
  std::vector<float> inverse, thresholds;
  for (size_t i = 0; i < draws.size(); ++i) {
    inverse.push_back(static_cast<float>(1.0 / draws[i].filter->temperature));
    const bool now = routes[i] == Route::kBlocks;
    thresholds.push_back(now ? static_cast<float>(draws[i].filter->min_p) : 0.0f);
  }
  at::Tensor weights = (kept - max).mul_(Column(inverse, kept.device())).exp_();
  if (std::any_of(thresholds.begin(), thresholds.end(), [](float t) { return t > 0; })) {
    weights.masked_fill_(weights < Column(thresholds, kept.device()), 0);
  }
  return weights;
}

// x [rows, vocab] summed by blocks of ids: [rows, blocks].
at::Tensor BlockSums(const at::Tensor& x) {
  const int64_t whole = x.size(1) / kBlock, rest = x.size(1) % kBlock;
  std::vector<at::Tensor> parts;
  if (whole > 0) {
    parts.push_back(x.narrow(1, 0, whole * kBlock).unflatten(1, {whole, kBlock}).sum(2));
  }
  if (rest > 0) parts.push_back(x.narrow(1, whole * kBlock, rest).sum(1, /*keepdim=*/true));
  return tensor::Cat(parts, 1);
}

// What the host knows of every row.
struct Summary {
  at::Tensor table;    // [rows, 2 + blocks] fp32 of the host
  at::Tensor largest;  // [rows] int64 of the host, if any row is greedy.

  const float* row(int64_t r) const { return table.const_data_ptr<float>() + r * table.size(1); }
  float max(int64_t r) const { return row(r)[0]; }
  float raw_log_sum(int64_t r) const { return row(r)[1]; }
  absl::Span<const float> blocks(int64_t r) const {
    return absl::MakeConstSpan(row(r) + 2, static_cast<size_t>(table.size(1) - 2));
  }
  double total(int64_t r) const {
    double sum = 0;
    for (const float block : blocks(r)) sum += block;
    return sum;
  }
};

// `masked` and `kept` [rows, vocab]: without ids that do not exist, and without what is dropped.
Summary Summarize(const at::Tensor& masked, const at::Tensor& kept, absl::Span<const RowDraw> draws,
                  absl::Span<const Route> routes) {
  const at::Tensor max = kept.amax({1}, /*keepdim=*/true);
  const bool raw = std::any_of(draws.begin(), draws.end(),
                               [](const RowDraw& draw) { return draw.raw_log_prob; });
  const at::Tensor log_sum = raw ? masked.logsumexp({1}, /*keepdim=*/true) : max;
  Summary summary;
  summary.table =
      tensor::Cat({max, log_sum, BlockSums(Weights(kept, max, draws, routes))}, 1).cpu();
  const bool greedy = std::find(routes.begin(), routes.end(), Route::kLargest) != routes.end();
  if (greedy) summary.largest = kept.argmax(1).cpu();
  return summary;
}

void Set(int64_t id, double log_prob, float logit, const Summary& summary, int64_t row,
         DrawnToken* token) {
  token->valid = true;
  token->id = id;
  token->log_prob = static_cast<float>(log_prob);
  token->raw_log_prob = logit - summary.raw_log_sum(row);
}

// Of one row: the block that the draw falls into, and the sum of those before it.
struct BlockChoice {
  int64_t row = 0;
  int64_t block = 0;
  double before = 0;
};

BlockChoice ChooseBlock(const Summary& summary, int64_t row, double uniform) {
  const absl::Span<const float> blocks = summary.blocks(row);
  const double target = uniform * summary.total(row);
  BlockChoice choice{row, 0, 0};
  double cumulative = 0;
  for (size_t b = 0; b < blocks.size(); ++b) {
    if (blocks[b] == 0) continue;
    choice.block = static_cast<int64_t>(b);
    choice.before = cumulative;
    cumulative += blocks[b];
    if (cumulative > target) break;
  }
  return choice;
}

// Logits [choices, kBlock or vocab] of the chosen blocks. The last one begins where it still has as
// many.
struct BlockLogits {
  at::Tensor logits;
  int64_t vocab;

  int64_t width() const { return logits.size(1); }
  int64_t first(const BlockChoice& choice) const {
    return std::min(choice.block * kBlock, vocab - width());
  }
};

BlockLogits FetchBlocks(const at::Tensor& kept, absl::Span<const BlockChoice> choices) {
  BlockLogits blocks{at::empty({0, std::min(kBlock, kept.size(1))}, at::kFloat), kept.size(1)};
  std::vector<int64_t> first;
  for (const BlockChoice& choice : choices) {
    first.push_back(choice.row * blocks.vocab + blocks.first(choice));
  }
  const at::Tensor places = IndicesOn(kept.device(), first).unsqueeze(1) +
                            at::arange(blocks.width(), kept.options().dtype(at::kLong));
  blocks.logits = kept.view({-1}).index_select(0, places.flatten()).view(places.sizes()).cpu();
  return blocks;
}

// RowFilter::Draw inside of one block. False if none of it has a weight, which only rounding of the
// smallest numbers could bring about.
bool DrawInBlock(const Summary& summary, const BlockChoice& choice, const BlockLogits& blocks,
                 const float* logits, RowDraw* draw) {
  const double total = summary.total(choice.row), target = draw->uniform * total;
  const float max = summary.max(choice.row), threshold = static_cast<float>(draw->filter->min_p);
  float weights[kBlock];
  ExpRow(logits, blocks.width(), max, draw->filter->temperature, weights);
  const int64_t first = blocks.first(choice);
  double cumulative = choice.before;
  int64_t at = -1;
  for (int64_t i = choice.block * kBlock - first; i < blocks.width(); ++i) {
    if (weights[i] == 0 || weights[i] < threshold) continue;
    at = i;
    cumulative += weights[i];
    if (cumulative > target) break;
  }
  if (at < 0) return false;
  const double scaled = (static_cast<double>(logits[at]) - max) / draw->filter->temperature;
  Set(first + at, scaled - std::log(total), logits[at], summary, choice.row, &draw->token);
  return true;
}

// The likeliest ids of some rows, likeliest first: [rows, k] of the host.
struct Candidates {
  at::Tensor logits, ids;
  bool all = false;  // There are no others.
};

Candidates FetchCandidates(const at::Tensor& kept, const std::vector<int64_t>& rows) {
  const int64_t k = std::min(kCandidates, kept.size(1));
  const bool every = static_cast<int64_t>(rows.size()) == kept.size(0);
  const at::Tensor some = every ? kept : kept.index_select(0, IndicesOn(kept.device(), rows));
  const auto [logits, ids] = some.topk(k, 1, /*largest=*/true, /*sorted=*/true);
  return {logits.cpu(), ids.cpu(), k == kept.size(1)};
}

// The filter of a row of candidates that keeps what the whole row's would: top_p is a part of all
// ids' weight, `total`. False if more ids than these might be kept.
bool FilterOf(const RowDraw& draw, absl::Span<const float> logits, bool all, double total,
              FilterOptions* filter) {
  filter->temperature = draw.filter->temperature;
  filter->top_k = draw.filter->top_k;
  filter->top_p = draw.filter->top_p;
  filter->min_p = draw.filter->min_p;
  if (all || filter->top_k > 0) return true;  // top_p is a part of what top_k leaves.
  std::vector<float> weights(logits.size());
  filter->top_p *= total / ExpRow(logits.data(), static_cast<int64_t>(logits.size()), logits[0],
                                  filter->temperature, weights.data());
  return filter->top_p < 1;
}

// RowFilter's draw from the candidates, in the order of their ids. False if they do not decide.
bool DrawFromCandidates(const Summary& summary, int64_t row, const Candidates& candidates,
                        int64_t at, RowFilter* filter, RowDraw* draw) {
  const size_t k = static_cast<size_t>(candidates.ids.size(1));
  const absl::Span<const float> logits(candidates.logits.const_data_ptr<float>() + at * k, k);
  const int64_t* const ids = candidates.ids.const_data_ptr<int64_t>() + at * k;
  FilterOptions options;
  if (!FilterOf(*draw, logits, candidates.all, summary.total(row), &options)) return false;
  std::vector<size_t> order(k);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return ids[a] < ids[b]; });
  std::vector<float> compact(k);
  for (size_t i = 0; i < k; ++i) compact[i] = logits[order[i]];
  if (!filter->Apply(options, {static_cast<int64_t>(k), {}}, compact, {})) return false;
  // Ids behind the last one with the same logit may be lower, and be kept in its stead.
  for (size_t i = 0; i < k && !candidates.all; ++i) {
    if (compact[i] == logits.back() && filter->probs()[i] > 0) return false;
  }
  const int64_t drawn = filter->Draw(draw->uniform);
  Set(ids[order[drawn]], filter->LogProb(drawn), compact[drawn], summary, row, &draw->token);
  return true;
}

// What is drawn on the device, and the rows that this did not decide.
struct Drawing {
  const at::Tensor kept;
  const Summary summary;
  const absl::Span<RowDraw> draws;
  std::vector<int64_t> undecided;

  void Largest(const std::vector<int64_t>& rows);
  void FromBlocks(const std::vector<int64_t>& rows);
  void FromCandidates(const std::vector<int64_t>& rows);
};

void Drawing::Largest(const std::vector<int64_t>& rows) {
  for (const int64_t row : rows) {
    Set(summary.largest.const_data_ptr<int64_t>()[row], -std::log(summary.total(row)),
        summary.max(row), summary, row, &draws[row].token);
  }
}

void Drawing::FromBlocks(const std::vector<int64_t>& rows) {
  if (rows.empty()) return;
  std::vector<BlockChoice> choices;
  for (const int64_t row : rows) choices.push_back(ChooseBlock(summary, row, draws[row].uniform));
  const BlockLogits blocks = FetchBlocks(kept, choices);
  const float* logits = blocks.logits.const_data_ptr<float>();
  for (const BlockChoice& choice : choices) {
    if (!DrawInBlock(summary, choice, blocks, logits, &draws[choice.row])) {
      undecided.push_back(choice.row);
    }
    logits += blocks.width();
  }
}

void Drawing::FromCandidates(const std::vector<int64_t>& rows) {
  if (rows.empty()) return;
  const Candidates candidates = FetchCandidates(kept, rows);
  RowFilter filter;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!DrawFromCandidates(summary, rows[i], candidates, static_cast<int64_t>(i), &filter,
                            &draws[rows[i]])) {
      undecided.push_back(rows[i]);
    }
  }
}

}  // namespace

void DeviceDraws::DrawOnHost(const at::Tensor& logits, const std::vector<int64_t>& rows,
                             absl::Span<RowDraw> draws) {
  if (rows.empty()) return;
  const at::Tensor host = logits.index_select(0, IndicesOn(logits.device(), rows)).cpu();
  std::vector<RowDraw> some;
  for (const int64_t row : rows) some.push_back(draws[row]);
  host_.Draw(host.const_data_ptr<float>(), logits.size(1), absl::MakeSpan(some));
  for (size_t i = 0; i < rows.size(); ++i) draws[rows[i]].token = some[i].token;
  rows_drawn_on_host_ += static_cast<int64_t>(rows.size());
}

void DeviceDraws::Draw(const at::Tensor& logits, absl::Span<RowDraw> draws) {
  if (draws.empty()) return;
  const VocabMask& mask = *draws[0].mask;
  std::vector<Route> routes;
  for (const RowDraw& draw : draws) routes.push_back(RouteOf(draw, mask));
  const std::vector<int64_t> whole = RowsOf(routes, Route::kHost);
  DrawOnHost(logits, whole, draws);
  if (whole.size() == draws.size()) return;

  Mask(logits, mask);
  const at::Tensor kept = WithDrops(logits, draws);
  Drawing drawing{kept, Summarize(logits, kept, draws, routes), draws, {}};
  for (size_t row = 0; row < routes.size(); ++row) {
    // What is not finite shows in the largest logit.
    if (!std::isfinite(drawing.summary.max(row))) routes[row] = Route::kNothing;
  }
  drawing.Largest(RowsOf(routes, Route::kLargest));
  drawing.FromBlocks(RowsOf(routes, Route::kBlocks));
  drawing.FromCandidates(RowsOf(routes, Route::kCandidates));
  DrawOnHost(logits, drawing.undecided, draws);
}

}  // namespace retort::model
