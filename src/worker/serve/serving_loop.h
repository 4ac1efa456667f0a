// Serves Generate and Score calls with one model: events of the service in, answers out, all
// computing on the thread that runs it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/model/engine.h"
#include "common/rpc/inference_service.h"
#include "worker/serve/call_inbox.h"
#include "worker/serve/request_reader.h"
#include "worker/serve/served_generation.h"
#include "worker/serve/waiting_line.h"

namespace retort::worker {

struct ServingOptions {
  model::EngineOptions engine = {};
  WaitingLineLimits waiting = {};
  // How long an idle server lets requests gather before it begins with the first.
  absl::Duration max_wait = absl::Milliseconds(2);
  int64_t max_score_tokens = 8192;  // In one forward; a single longer request always may.
};

// A request is answered alike, whoever else is served: generated tokens and their log-probs
// bitwise, scores within rounding. Clients take turns; between two tokens of generation at most one
// batch of scores is computed.
class ServingLoop {
 public:
  // `model` outlives it. Errors: those of model::Engine::Make.
  static absl::StatusOr<std::unique_ptr<ServingLoop>> Make(
      const LoadedModel& model, const layout::GenerationDefaults& defaults,
      const ServingOptions& options);

  // From any thread: the sink of `service`. RESOURCE_EXHAUSTED: too much has arrived and was not
  // looked at yet.
  absl::Status Push(rpc::InferenceEvent event) { return inbox_.Push(std::move(event)); }

  // Serves until `stop`, which is asked at least every 100 ms, says so. An error: the engine cannot
  // go on; every open call was ended with it.
  absl::Status Run(rpc::InferenceService* service, const std::function<bool()>& stop);

 private:
  struct Waiting {
    rpc::InferenceCallId call;
    std::variant<GenerateWork, ScoreWork> work;
  };
  struct Active {
    rpc::InferenceCallId call;
    std::unique_ptr<ServedGeneration> generation;
  };
  struct Scoring {
    rpc::InferenceCallId call;
    ScoreWork work;
  };

  ServingLoop(const LoadedModel& model, const layout::GenerationDefaults& defaults,
              const ServingOptions& options, std::unique_ptr<model::Engine> engine);

  bool idle() const { return engine_->idle() && line_.empty() && scores_.empty(); }
  void TakeEvents();
  void On(const rpc::GenerateCalled& called);
  void On(const rpc::ScoreCalled& called);
  void On(const rpc::CallEnded& ended);
  template <typename Called, typename Work>
  void Enqueue(const Called& called, absl::StatusOr<Work> work);
  void StartWaiting();
  void Start(rpc::InferenceCallId call, GenerateWork work);
  absl::Status StepEngine();
  void Deliver(const model::TokenEvent& event);
  absl::Status ComputeScores();
  void Forget(model::RequestId request, const absl::Status& status);
  void EndAll(const absl::Status& status);

  const LoadedModel& model_;
  const RequestReader reader_;
  const ServingOptions options_;
  std::unique_ptr<model::Engine> engine_;
  rpc::InferenceService* service_ = nullptr;
  CallInbox inbox_;
  WaitingLine<Waiting> line_;
  absl::flat_hash_map<model::RequestId, Active> active_;
  absl::flat_hash_map<rpc::InferenceCallId, model::RequestId> request_of_;
  std::vector<Scoring> scores_;  // Computed next.
  int64_t active_samples_ = 0;
};

}  // namespace retort::worker
