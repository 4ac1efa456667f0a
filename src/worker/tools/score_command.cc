#include "worker/tools/score_command.h"

#include <ATen/ATen.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "common/tensor/torch_process.h"
#include "worker/tools/loaded_model.h"
#include "worker/tools/write_output.h"

namespace retort::worker {
namespace {

// Log-probs of sequence[first ...].
absl::StatusOr<at::Tensor> Score(const LoadedModel& loaded, const std::vector<int64_t>& sequence,
                                 int64_t first, double temperature) {
  return tensor::CatchTorch([&]() -> at::Tensor {
    const at::NoGradGuard no_grad;
    const int64_t count = static_cast<int64_t>(sequence.size()) - first;
    const model::PackedBatch batch = model::Pack({sequence});
    const at::Tensor hidden = loaded.model.Hidden(batch).narrow(0, first - 1, count);
    return loaded.model
        .LogProbs(hidden, batch.ids.narrow(0, first, count), temperature, loaded.vocab_limit)
        .log_probs;
  });
}

}  // namespace

absl::Status ScoreCommand(const ScoreOptions& options, std::ostream& out) {
  if (!(options.temperature > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("temperature is ", options.temperature, "; expected a number above 0"));
  }
  RETORT_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModelFolder(options.model));
  RETORT_ASSIGN_OR_RETURN(std::vector<int64_t> sequence,
                          loaded.Encode("prompt", options.prompt, options.add_bos));
  const int64_t first = static_cast<int64_t>(sequence.size());
  RETORT_ASSIGN_OR_RETURN(const std::vector<int64_t> completion,
                          loaded.Encode("completion", options.completion, /*add_bos=*/false));
  sequence.insert(sequence.end(), completion.begin(), completion.end());
  if (static_cast<int64_t>(sequence.size()) > loaded.model.config().max_position_embeddings) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and completion have ", sequence.size(),
                                                   " tokens; the model's context is ",
                                                   loaded.model.config().max_position_embeddings));
  }
  RETORT_ASSIGN_OR_RETURN(const at::Tensor log_probs,
                          Score(loaded, sequence, first, options.temperature));
  const float* data = log_probs.const_data_ptr<float>();
  double total = 0;
  std::string lines;
  for (size_t i = 0; i < completion.size(); ++i) {
    absl::StrAppendFormat(&lines, "%d\t%.6f\n", completion[i], data[i]);
    total += data[i];
  }
  absl::StrAppendFormat(&lines, "total\t%.6f\ttokens\t%d\n", total, completion.size());
  return Write(lines, out);
}

}  // namespace retort::worker
