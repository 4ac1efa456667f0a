// From logits to a token: Hugging Face's order of processors, exactly.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/model/vocab_mask.h"

namespace retort::model {

// What a temperature and a repetition penalty may be: beyond it quotients of logits leave fp32.
inline constexpr double kMinScale = 1e-6, kMaxScale = 1e6;

// INVALID_ARGUMENT, naming `field`, unless `value` is in [kMinScale, kMaxScale].
absl::Status ValidateScale(const char* field, double value);

// Neutral values do nothing. Order: ids that do not exist, repetition_penalty, bad_words,
// min_new_tokens; then temperature, top_k, top_p, min_p.
struct FilterOptions {
  double repetition_penalty =
      1.0;  // ValidateScale. Each distinct context id once: logit < 0 ? logit * r : logit / r.
  double temperature = 1.0;  // ValidateScale.
  int64_t top_k = 0;         // 0: all. Drops logits strictly below the k-th largest; ties stay.
  double top_p = 1.0;  // (0, 1]. Ascending, drops while the cumulative probability <= 1 - top_p.
  double min_p = 0.0;  // [0, 1]. Drops probabilities (after top_p) < min_p x largest.
  // Sequences of ids that must not appear: the last id is dropped where the ones before it end the
  // context, a single id everywhere. One that is an id of eos_ids alone is left out, or nothing
  // could end.
  std::vector<std::vector<int64_t>> bad_words = {};
  int64_t min_new_tokens = 0;         // eos_ids are dropped until so many tokens are there.
  std::vector<int64_t> eos_ids = {};  // Read by the two above.
};

// INVALID_ARGUMENT names the field.
absl::Status ValidateFilter(const FilterOptions& options);
// The same, and that ids are in [0, vocab).
absl::Status ValidateFilter(const FilterOptions& options, int64_t vocab);
absl::Status ValidateMask(const VocabMask& mask, int64_t vocab);

// What a row's tokens are drawn after.
struct RowContext {
  absl::Span<const int64_t> ids;  // Prompt and response so far, each in [0, V).
  int64_t new_tokens = 0;         // How many of them are the response.
};

// Ids that bad_words and min_new_tokens drop in this context; some perhaps twice.
std::vector<int64_t> DroppedIds(const FilterOptions& options, const RowContext& context);

// Probabilities of one row after all filters; reuses its scratch from row to row. Not thread-safe.
class RowFilter {
 public:
  // logits [V]. Afterwards probs() holds V weights whose sum is total(): 0 where dropped, 1 at the
  // largest logit that is left. False if a logit of an id that exists is NaN or +infinity, or none
  // is left above -infinity: there is no distribution.
  [[nodiscard]] bool Apply(const FilterOptions& options, const VocabMask& mask,
                           absl::Span<const float> logits, const RowContext& context);

  absl::Span<const float> probs() const { return probs_; }
  double total() const { return total_; }
  // log of the normalised probability of `id` in the filtered distribution.
  float LogProb(int64_t id) const;
  // The id of the largest logit that is left, the lowest among equals.
  int64_t Largest() const { return largest_; }
  // The id at which the cumulative weight first exceeds uniform * total(), uniform in [0, 1).
  int64_t Draw(double uniform) const;

 private:
  void Mask(const VocabMask& mask);
  void Penalize(double penalty, absl::Span<const int64_t> context);
  void TopK(int64_t k);
  void TopP(double top_p);
  void MinP(double min_p);

  std::vector<float> scaled_;  // Logits after all but temperature, top_p, min_p; -inf: dropped.
  std::vector<float> probs_;
  std::vector<float> sorted_;
  std::vector<int32_t> order_;
  std::vector<bool> penalized_;
  double temperature_ = 1;
  float max_ = 0;
  int64_t largest_ = 0;
  double total_ = 0;
};

// log softmax of untouched logits over the ids that exist, for log-probs as scoring gives them.
class RawRow {
 public:
  // logits [V], finite or -infinity, not all -infinity; must outlive this object's use. `mask` as
  // ValidateMask wants it.
  void Set(absl::Span<const float> logits, const VocabMask& mask);
  float LogProb(int64_t id) const;
  // The k likeliest ids, likeliest first, the lower id first among equals.
  void TopK(int64_t k, std::vector<int64_t>* ids, std::vector<float>* log_probs);

 private:
  absl::Span<const float> logits_;  // Of the ids that exist; the others are -infinity or left out.
  std::vector<float> kept_;
  std::vector<float> scratch_;
  std::vector<int32_t> order_;
  double log_sum_ = 0;
};

}  // namespace retort::model
