#include "worker/learner/bad_batch.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/tensor/tensor_file.h"

namespace retort::worker {
namespace {

at::Tensor TensorOf(const std::vector<int64_t>& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

absl::StatusOr<std::string> Save(const std::string& run_dir, int64_t step, const std::string& why,
                                 const tensor::TensorMap& tensors) {
  const std::string folder = run_dir + "/bad-batches";
  RETORT_RETURN_IF_ERROR(MakeDirectories(folder));
  const std::string path = absl::StrCat(folder, "/step-", step, ".safetensors");
  RETORT_RETURN_IF_ERROR(
      tensor::WriteTensorFile(path, tensors, {{"why", why}, {"step", absl::StrCat(step)}}));
  return path;
}

}  // namespace

absl::StatusOr<std::string> SaveBadBatch(const std::string& run_dir, int64_t step,
                                         const std::string& why, const StepSamples& samples) {
  return Save(run_dir, step, why,
              {{"tokens", TensorOf(samples.tokens)},
               {"begin", TensorOf(samples.begin)},
               {"prompt_lengths", TensorOf(samples.prompt_lengths)},
               {"response_lengths", TensorOf(samples.response_lengths)},
               {"behaviour_log_probs", samples.behaviour},
               {"ref_log_probs", samples.reference},
               {"scores", samples.scores},
               {"reward_parts", samples.reward_parts}});
}

absl::StatusOr<std::string> SaveBadBatch(const std::string& run_dir, int64_t step,
                                         const std::string& why, const SftRows& rows) {
  return Save(run_dir, step, why,
              {{"tokens", TensorOf(rows.tokens)},
               {"begin", TensorOf(rows.begin)},
               {"prompt_lengths", TensorOf(rows.prompt_lengths)},
               {"trained", TensorOf({rows.trained.begin(), rows.trained.end()})}});
}

}  // namespace retort::worker
