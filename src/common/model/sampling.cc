#include "common/model/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/model/row_kernels.h"

namespace retort::model {
namespace {

constexpr float kDropped = -std::numeric_limits<float>::infinity();
constexpr int64_t kFirstSorted = 64;  // How many of the likeliest top_p sorts at first.

absl::Status OutOfRange(const char* field, double value, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; expected ", expected));
}

}  // namespace

absl::Status ValidateFilter(const FilterOptions& options) {
  // Written so that NaN is refused.
  if (!(options.repetition_penalty > 0) || std::isinf(options.repetition_penalty)) {
    return OutOfRange("repetition_penalty", options.repetition_penalty, "a number above 0");
  }
  if (!(options.temperature > 0) || std::isinf(options.temperature)) {
    return OutOfRange("temperature", options.temperature,
                      "a number above 0; use greedy for the limit 0");
  }
  if (options.top_k < 0) return OutOfRange("top_k", options.top_k, "0 (all) or more");
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    return OutOfRange("top_p", options.top_p, "a number in (0, 1]");
  }
  if (!(options.min_p >= 0 && options.min_p <= 1)) {
    return OutOfRange("min_p", options.min_p, "a number in [0, 1]");
  }
  return absl::OkStatus();
}

bool RowFilter::Apply(absl::Span<const float> logits, int64_t vocab_limit,
                      absl::Span<const int64_t> context) {
  scaled_.assign(logits.begin(), logits.end());
  std::fill(scaled_.begin() + vocab_limit, scaled_.end(), kDropped);
  if (options_.repetition_penalty != 1.0) Penalize(context);
  bool valid = true;
  max_ = kDropped;
  for (const float x : scaled_) {
    valid = valid && x <= std::numeric_limits<float>::max();  // Neither NaN nor +infinity.
    max_ = std::max(max_, x);
  }
  if (!valid || max_ == kDropped) return false;
  if (options_.top_k > 0) TopK();
  probs_.resize(scaled_.size());
  total_ = ExpRow(scaled_.data(), scaled_.size(), max_, options_.temperature, probs_.data());
  if (options_.top_p < 1.0) TopP();
  if (options_.min_p > 0.0) MinP();
  return true;
}

// Each distinct id of the context once.
void RowFilter::Penalize(absl::Span<const int64_t> context) {
  const float penalty = static_cast<float>(options_.repetition_penalty);
  penalized_.assign(scaled_.size(), false);
  for (const int64_t id : context) {
    RETORT_CHECK(id >= 0 && id < static_cast<int64_t>(scaled_.size())) << "context id " << id;
    if (penalized_[id]) continue;
    penalized_[id] = true;
    float& logit = scaled_[id];
    if (logit == kDropped) continue;
    logit = logit < 0 ? logit * penalty : logit / penalty;
  }
}

void RowFilter::TopK() {
  const int64_t k = std::min<int64_t>(options_.top_k, scaled_.size());
  sorted_ = scaled_;
  std::nth_element(sorted_.begin(), sorted_.begin() + (k - 1), sorted_.end(), std::greater<>());
  const float threshold = sorted_[k - 1];
  for (float& logit : scaled_) {
    if (logit < threshold) logit = kDropped;
  }
}

// Walks from the likeliest down and drops from where the ids before hold top_p: the same as
// dropping from the least likely up while the cumulative probability is <= 1 - top_p. Ties: the
// lower id counts as likelier.
void RowFilter::TopP() {
  order_.clear();
  for (size_t i = 0; i < probs_.size(); ++i) {
    if (probs_[i] > 0) order_.push_back(static_cast<int32_t>(i));
  }
  const auto likelier = [this](int32_t a, int32_t b) {
    return probs_[a] != probs_[b] ? probs_[a] > probs_[b] : a < b;
  };
  const int64_t count = static_cast<int64_t>(order_.size());
  const double target = options_.top_p * total_;
  double kept = 0;
  int64_t sorted = 0, at = 0;
  for (; at < count && (at == 0 || kept < target); ++at) {
    if (at == sorted) {  // Most distributions need only the head of the order.
      sorted = std::min(count, std::max(kFirstSorted, 8 * sorted));
      std::partial_sort(order_.begin() + at, order_.begin() + sorted, order_.end(), likelier);
    }
    kept += probs_[order_[at]];
  }
  for (; at < count; ++at) probs_[order_[at]] = 0.0f;
  total_ = kept;
}

// The largest weight is 1, so a weight is its probability relative to the largest.
void RowFilter::MinP() {
  const float threshold = static_cast<float>(options_.min_p);
  double kept = 0;
  for (float& weight : probs_) {
    if (weight < threshold) weight = 0.0f;
    kept += weight;
  }
  total_ = kept;
}

float RowFilter::LogProb(int64_t id) const {
  if (probs_[id] == 0.0f) return kDropped;
  const double scaled = (static_cast<double>(scaled_[id]) - max_) / options_.temperature;
  return static_cast<float>(scaled - std::log(total_));
}

int64_t RowFilter::Largest() const {
  return std::max_element(scaled_.begin(), scaled_.end()) - scaled_.begin();
}

int64_t RowFilter::Draw(double uniform) const {
  const double target = uniform * total_;
  double cumulative = 0;
  int64_t last = 0;
  for (size_t i = 0; i < probs_.size(); ++i) {
    if (probs_[i] == 0.0f) continue;
    cumulative += probs_[i];
    last = static_cast<int64_t>(i);
    if (cumulative > target) break;
  }
  return last;  // Rounding can leave the target above the whole sum: then the last id that is left.
}

}  // namespace retort::model
