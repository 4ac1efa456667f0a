// From logits to a token: Hugging Face's order of filters, exactly.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace retort::model {

// Neutral values do nothing. Order: repetition_penalty, temperature, top_k, top_p, min_p.
struct FilterOptions {
  double repetition_penalty =
      1.0;  // > 0. Each distinct context id once: logit < 0 ? logit * r : logit / r.
  double temperature = 1.0;  // > 0.
  int64_t top_k = 0;         // 0: all. Drops logits strictly below the k-th largest; ties stay.
  double top_p = 1.0;  // (0, 1]. Ascending, drops while the cumulative probability <= 1 - top_p.
  double min_p = 0.0;  // [0, 1]. Drops probabilities (after top_p) < min_p x largest.

  bool truncates() const { return top_k > 0 || top_p < 1.0 || min_p > 0.0; }
};

// INVALID_ARGUMENT names the field.
absl::Status ValidateFilter(const FilterOptions& options);

// Probabilities of one row after all filters; reuses its scratch from row to row. Not thread-safe.
class RowFilter {
 public:
  explicit RowFilter(const FilterOptions& options) : options_(options) {}

  // logits [V]; ids >= vocab_limit get probability 0; `context` are the row's ids so far (read only
  // with a repetition penalty; each in [0, V)). Afterwards probs() holds V weights whose sum is
  // total(): 0 where dropped, 1 at the largest logit. False if a logit is NaN or +infinity or all
  // are -infinity: there is no distribution.
  [[nodiscard]] bool Apply(absl::Span<const float> logits, int64_t vocab_limit,
                           absl::Span<const int64_t> context);

  absl::Span<const float> probs() const { return probs_; }
  double total() const { return total_; }
  // log of the normalised probability of `id` in the filtered distribution.
  float LogProb(int64_t id) const;
  // The id of the largest logit (after the penalty), the lowest among equals.
  int64_t Largest() const;
  // The id at which the cumulative weight first exceeds uniform * total(), uniform in [0, 1).
  int64_t Draw(double uniform) const;

 private:
  void Penalize(absl::Span<const int64_t> context);
  void TopK();
  void TopP();
  void MinP();

  FilterOptions options_;
  std::vector<float> scaled_;  // Logits after penalty, temperature and top_k; -inf where dropped.
  std::vector<float> probs_;
  std::vector<float> sorted_;
  std::vector<int32_t> order_;
  std::vector<bool> penalized_;
  float max_ = 0;
  double total_ = 0;
};

}  // namespace retort::model
