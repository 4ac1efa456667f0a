// A job's reward functions, compiled once and applied to completions. The score is the weighted sum
// of the parts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "retort/v1/job.pb.h"

namespace retort::worker {

// What rewards may look at. Text is decoded without special tokens.
struct Completion {
  absl::string_view prompt;
  absl::string_view text;
  int64_t tokens = 0;        // Generated tokens, EOS included.
  bool finished = false;     // Ended by EOS.
  absl::string_view answer;  // The data row's expected answer; empty if it has none.
};

struct RewardResult {
  double score = 0;           // sum of weight * part.
  std::vector<double> parts;  // In the order of names(), before weights.
  // 1 where a reward gave up on the completion (a regex at its match limit): the part is 0. One
  // such text among many must not end a run.
  std::vector<uint8_t> gave_up;
  std::string why;  // Of the first that did.
};

class RewardFunction;

// Immutable, so safe from any thread.
class RewardSet {
 public:
  // Errors: INVALID_ARGUMENT naming rewards[i] for a bad pattern or an unset kind.
  static absl::StatusOr<RewardSet> Make(
      const google::protobuf::RepeatedPtrField<v1::RewardSpec>& specs);
  RewardSet(RewardSet&&);
  RewardSet& operator=(RewardSet&&);
  ~RewardSet();

  // "exact_match", "regex", "length"; a kind used twice gets "regex[1]" with its index in the job.
  const std::vector<std::string>& names() const { return names_; }

  // Errors: INVALID_ARGUMENT naming rewards[i] when the text is not UTF-8.
  absl::StatusOr<RewardResult> Score(const Completion& completion) const;

 private:
  RewardSet();

  std::vector<std::string> names_;
  std::vector<double> weights_;
  std::vector<std::unique_ptr<const RewardFunction>> functions_;
};

}  // namespace retort::worker
