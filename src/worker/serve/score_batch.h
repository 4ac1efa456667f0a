// Log-probs of given tokens, for several Score calls in one forward.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "retort/v1/inference.pb.h"
#include "worker/serve/request_reader.h"
#include "worker/tools/loaded_model.h"

namespace retort::worker {

// One response a work, in order, or CheckLogProbs' error for it. What else is in the batch changes
// a log-prob by rounding only (1e-5). `wanted` is asked before every layer and every work's head.
// Errors: CANCELLED it said no; what CatchTorch gives.
using ScoreResponses = std::vector<absl::StatusOr<v1::ScoreResponse>>;
absl::StatusOr<ScoreResponses> ScoreBatch(const LoadedModel& model,
                                          absl::Span<const ScoreWork> works,
                                          const std::function<bool()>& wanted);

}  // namespace retort::worker
