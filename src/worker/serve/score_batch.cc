#include "worker/serve/score_batch.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/model/packed_batch.h"
#include "common/model/vocab_head.h"
#include "common/tensor/aten.h"
#include "common/tensor/torch_process.h"

namespace retort::worker {
namespace {

// Where the tokens to score lie in one work.
std::vector<int64_t> ScoredPositions(const ScoreWork& work) {
  std::vector<int64_t> positions;
  for (size_t i = 0; i < work.mask.size(); ++i) {
    if (work.mask[i]) positions.push_back(static_cast<int64_t>(i));
  }
  return positions;
}

model::HeadOutput RunHead(const LoadedModel& model, const ScoreWork& work,
                          const std::vector<int64_t>& positions, const at::Tensor& hidden) {
  std::vector<int64_t> rows, targets;
  for (const int64_t at : positions) {
    rows.push_back(at - 1);
    targets.push_back(work.ids[at]);
  }
  return model.Head(hidden.index_select(0, at::tensor(rows)), targets, work.temperature,
                    work.top_log_probs);
}

absl::StatusOr<v1::ScoreResponse> ResponseOf(const ScoreWork& work,
                                             const std::vector<int64_t>& positions,
                                             const model::HeadOutput& head) {
  RETORT_RETURN_IF_ERROR(CheckLogProbs(head));
  v1::ScoreResponse response;
  response.mutable_ids()->Add(work.ids.begin(), work.ids.end());
  response.mutable_mask()->Add(work.mask.begin(), work.mask.end());
  response.mutable_log_probs()->Resize(static_cast<int>(work.ids.size()), 0.0f);
  const float* log_probs = head.log_probs.const_data_ptr<float>();
  for (size_t i = 0; i < positions.size(); ++i) {
    response.set_log_probs(static_cast<int>(positions[i]), log_probs[i]);
  }
  const int64_t k = work.top_log_probs;
  if (k == 0) return response;
  for (size_t i = 0; i < work.ids.size(); ++i) response.add_top();
  const int64_t* ids = head.top_ids.const_data_ptr<int64_t>();
  const float* tops = head.top_log_probs.const_data_ptr<float>();
  for (size_t i = 0; i < positions.size(); ++i) {
    v1::TopLogProbs* list = response.mutable_top(static_cast<int>(positions[i]));
    for (int64_t j = 0; j < k; ++j) {
      v1::TokenLogProb* entry = list->add_top();
      entry->set_id(ids[i * k + j]);
      entry->set_log_prob(tops[i * k + j]);
    }
  }
  return response;
}

}  // namespace

absl::StatusOr<ScoreResponses> ScoreBatch(const LoadedModel& model,
                                          absl::Span<const ScoreWork> works,
                                          const std::function<bool()>& wanted) {
  return tensor::CatchTorch([&]() -> absl::StatusOr<ScoreResponses> {
    const at::NoGradGuard no_grad;
    std::vector<std::vector<int64_t>> sequences;
    for (const ScoreWork& work : works) sequences.push_back(work.ids);
    const model::PackedBatch batch = model::Pack(sequences);
    const at::Tensor hidden = model.model.Hidden(batch, wanted);
    const absl::Status unwanted = absl::CancelledError("nobody waits for these scores any more");
    if (!hidden.defined()) return unwanted;
    ScoreResponses responses;
    for (size_t i = 0; i < works.size(); ++i) {
      if (!wanted()) return unwanted;
      const int64_t begin = batch.offsets[i];
      const std::vector<int64_t> positions = ScoredPositions(works[i]);
      const at::Tensor own = hidden.narrow(0, begin, batch.offsets[i + 1] - begin);
      responses.push_back(
          ResponseOf(works[i], positions, RunHead(model, works[i], positions, own)));
    }
    return responses;
  });
}

}  // namespace retort::worker
