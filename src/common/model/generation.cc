#include "common/model/generation.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace retort::model {

absl::Status ValidateSampling(const SamplingOptions& options, int64_t vocab) {
  RETORT_RETURN_IF_ERROR(ValidateFilter(options.filter, vocab));
  if (options.max_new_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_new_tokens is ", options.max_new_tokens, "; expected 1 or more"));
  }
  if (options.mask.limit < 0 || options.mask.limit > vocab) {
    return absl::InvalidArgumentError(
        absl::StrCat("mask.limit is ", options.mask.limit, "; expected [0, ", vocab, "]"));
  }
  const VocabMask mask = MaskOf(options, vocab);
  RETORT_RETURN_IF_ERROR(ValidateMask(mask, vocab));
  if (options.top_log_probs < 0 || options.top_log_probs > mask.size()) {
    return absl::InvalidArgumentError(absl::StrCat("top_log_probs is ", options.top_log_probs,
                                                   "; expected [0, ", mask.size(), "]"));
  }
  for (const int64_t id : options.eos_ids) {
    if (id < 0 || id >= vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat("eos_ids holds id ", id, "; the model has ", vocab));
    }
  }
  return absl::OkStatus();
}

VocabMask MaskOf(const SamplingOptions& options, int64_t vocab) {
  VocabMask mask = options.mask;
  if (mask.limit == 0) mask.limit = vocab;
  return mask;
}

}  // namespace retort::model
