#include "common/data/stop_ids.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace retort::data {

std::vector<int64_t> StopIdsOf(const layout::ModelConfig& config,
                               const text::Tokenizer& tokenizer) {
  if (!config.eos_token_ids.empty() || !tokenizer.eos_id().has_value()) return config.eos_token_ids;
  return {*tokenizer.eos_id()};
}

absl::StatusOr<int64_t> EosOf(const text::Tokenizer& tokenizer,
                              absl::Span<const int64_t> stop_ids) {
  const std::optional<int64_t> eos = tokenizer.eos_id();
  if (!eos.has_value() && stop_ids.empty()) {
    return absl::InvalidArgumentError(
        "neither tokenizer nor model names an EOS token, so responses could not end; set "
        "eos_token_id in config.json");
  }
  if (!eos.has_value()) return stop_ids.front();
  if (std::find(stop_ids.begin(), stop_ids.end(), *eos) != stop_ids.end()) return *eos;
  return absl::InvalidArgumentError(
      absl::StrCat("the tokenizer's EOS is token ", *eos, ", but rollouts stop at ",
                   absl::StrJoin(stop_ids, ", "),
                   " (eos_token_id of the policy's config.json); make eos_token of "
                   "tokenizer_config.json and eos_token_id agree"));
}

}  // namespace retort::data
