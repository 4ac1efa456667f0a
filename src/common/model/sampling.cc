#include "common/model/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/model/row_kernels.h"
#include "common/model/row_max.h"

namespace retort::model {
namespace {

constexpr float kDropped = -std::numeric_limits<float>::infinity();
constexpr int64_t kFirstSorted = 64;  // How many of the likeliest top_p sorts at first.

absl::Status OutOfRange(const char* field, double value, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; expected ", expected));
}

bool Contains(const std::vector<int64_t>& ids, int64_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

absl::Status CheckIds(const char* field, absl::Span<const int64_t> ids, int64_t vocab) {
  for (const int64_t id : ids) {
    if (id >= 0 && id < vocab) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(field, " holds id ", id, "; the model has ", vocab));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateScale(const char* field, double value) {
  if (value >= kMinScale && value <= kMaxScale) return absl::OkStatus();  // NaN is not.
  return OutOfRange(field, value, "a number from 1e-6 to 1e6");
}

absl::Status ValidateFilter(const FilterOptions& options) {
  RETORT_RETURN_IF_ERROR(ValidateScale("repetition_penalty", options.repetition_penalty));
  RETORT_RETURN_IF_ERROR(ValidateScale("temperature", options.temperature));
  if (options.top_k < 0) return OutOfRange("top_k", options.top_k, "0 (all) or more");
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    return OutOfRange("top_p", options.top_p, "a number in (0, 1]");
  }
  if (!(options.min_p >= 0 && options.min_p <= 1)) {
    return OutOfRange("min_p", options.min_p, "a number in [0, 1]");
  }
  for (const std::vector<int64_t>& word : options.bad_words) {
    if (word.empty()) {
      return absl::InvalidArgumentError("bad_words holds an empty sequence; expected ids");
    }
  }
  if (options.min_new_tokens < 0) {
    return OutOfRange("min_new_tokens", options.min_new_tokens, "0 or more");
  }
  return absl::OkStatus();
}

absl::Status ValidateFilter(const FilterOptions& options, int64_t vocab) {
  RETORT_RETURN_IF_ERROR(ValidateFilter(options));
  for (const std::vector<int64_t>& word : options.bad_words) {
    RETORT_RETURN_IF_ERROR(CheckIds("bad_words", word, vocab));
  }
  return CheckIds("eos_ids", options.eos_ids, vocab);
}

absl::Status ValidateMask(const VocabMask& mask, int64_t vocab) {
  if (mask.limit < 1 || mask.limit > vocab) {
    return absl::InvalidArgumentError(
        absl::StrCat("the vocabulary's limit is ", mask.limit, "; expected [1, ", vocab, "]"));
  }
  int64_t before = -1;
  for (const int64_t id : mask.excluded) {
    if (id <= before || id >= mask.limit) {
      return absl::InvalidArgumentError(absl::StrCat("excluded id ", id, " after ", before,
                                                     "; expected ascending ids in [0, ", mask.limit,
                                                     ")"));
    }
    before = id;
  }
  if (static_cast<int64_t>(mask.excluded.size()) == mask.limit) {
    return absl::InvalidArgumentError("every id of the vocabulary is excluded");
  }
  return absl::OkStatus();
}

std::vector<int64_t> DroppedIds(const FilterOptions& options, const RowContext& context) {
  std::vector<int64_t> ids;
  for (const std::vector<int64_t>& word : options.bad_words) {
    const size_t before = word.size() - 1;
    if (before == 0 && Contains(options.eos_ids, word[0])) continue;
    if (before > context.ids.size()) continue;
    if (std::equal(word.begin(), word.end() - 1, context.ids.end() - before)) {
      ids.push_back(word.back());
    }
  }
  if (context.new_tokens < options.min_new_tokens) {
    ids.insert(ids.end(), options.eos_ids.begin(), options.eos_ids.end());
  }
  return ids;
}

bool RowFilter::Apply(const FilterOptions& options, const VocabMask& mask,
                      absl::Span<const float> logits, const RowContext& context) {
  scaled_.assign(logits.begin(), logits.end());
  temperature_ = options.temperature;
  Mask(mask);
  if (options.repetition_penalty != 1.0) Penalize(options.repetition_penalty, context.ids);
  for (const int64_t id : DroppedIds(options, context)) scaled_[id] = kDropped;
  const RowMax max = MaxOfRow(scaled_.data(), static_cast<int64_t>(scaled_.size()));
  if (!max.finite) return false;
  max_ = max.value;
  largest_ = max.index;
  if (options.top_k > 0) TopK(options.top_k);
  probs_.resize(scaled_.size());
  total_ = ExpRow(scaled_.data(), scaled_.size(), max_, temperature_, probs_.data());
  if (options.top_p < 1.0) TopP(options.top_p);
  if (options.min_p > 0.0) MinP(options.min_p);
  return true;
}

void RowFilter::Mask(const VocabMask& mask) {
  std::fill(scaled_.begin() + mask.limit, scaled_.end(), kDropped);
  for (const int64_t id : mask.excluded) scaled_[id] = kDropped;
}

void RowFilter::Penalize(double factor, absl::Span<const int64_t> context) {
  const float penalty = static_cast<float>(factor);
  penalized_.assign(scaled_.size(), false);
  for (const int64_t id : context) {
    if (penalized_[id]) continue;
    penalized_[id] = true;
    float& logit = scaled_[id];
    if (logit == kDropped) continue;
    logit = logit < 0 ? logit * penalty : logit / penalty;
  }
}

void RowFilter::TopK(int64_t most) {
  const int64_t k = std::min<int64_t>(most, scaled_.size());
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
void RowFilter::TopP(double top_p) {
  order_.clear();
  for (size_t i = 0; i < probs_.size(); ++i) {
    if (probs_[i] > 0) order_.push_back(static_cast<int32_t>(i));
  }
  const auto likelier = [this](int32_t a, int32_t b) {
    return probs_[a] != probs_[b] ? probs_[a] > probs_[b] : a < b;
  };
  const int64_t count = static_cast<int64_t>(order_.size());
  const double target = top_p * total_;
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
void RowFilter::MinP(double min_p) {
  const float threshold = static_cast<float>(min_p);
  double kept = 0;
  for (float& weight : probs_) {
    if (weight < threshold) weight = 0.0f;
    kept += weight;
  }
  total_ = kept;
}

float RowFilter::LogProb(int64_t id) const {
  if (probs_[id] == 0.0f) return kDropped;
  const double scaled = (static_cast<double>(scaled_[id]) - max_) / temperature_;
  return static_cast<float>(scaled - std::log(total_));
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

void RawRow::Set(absl::Span<const float> logits, const VocabMask& mask) {
  logits_ = logits.first(mask.limit);
  if (!mask.excluded.empty()) {
    kept_.assign(logits_.begin(), logits_.end());
    for (const int64_t id : mask.excluded) kept_[id] = kDropped;
    logits_ = kept_;
  }
  const float max = MaxOfRow(logits_.data(), mask.limit).value;
  scratch_.resize(logits_.size());
  log_sum_ = max + std::log(ExpRow(logits_.data(), mask.limit, max, 1.0, scratch_.data()));
}

float RawRow::LogProb(int64_t id) const { return static_cast<float>(logits_[id] - log_sum_); }

void RawRow::TopK(int64_t k, std::vector<int64_t>* ids, std::vector<float>* log_probs) {
  k = std::min<int64_t>(k, logits_.size());
  order_.resize(logits_.size());
  for (size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<int32_t>(i);
  std::partial_sort(order_.begin(), order_.begin() + k, order_.end(), [this](int32_t a, int32_t b) {
    return logits_[a] != logits_[b] ? logits_[a] > logits_[b] : a < b;
  });
  for (int64_t i = 0; i < k; ++i) {
    ids->push_back(order_[i]);
    log_probs->push_back(LogProb(order_[i]));
  }
}

}  // namespace retort::model
