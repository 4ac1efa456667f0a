#include "worker/serve/serving_loop.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "worker/serve/score_batch.h"

namespace retort::worker {
namespace {

constexpr absl::Duration kIdleTick = absl::Milliseconds(100);
// For what arrives, between two steps of the engine.
constexpr absl::Duration kEventTime = absl::Milliseconds(50);

const std::string& ClientOf(const std::string& named, const std::string& peer) {
  return named.empty() ? peer : named;
}

int64_t TokensOf(const ScoreWork& work) { return static_cast<int64_t>(work.ids.size()); }

}  // namespace

absl::StatusOr<std::unique_ptr<ServingLoop>> ServingLoop::Make(
    const LoadedModel& model, const layout::GenerationDefaults& defaults,
    const ServingOptions& options) {
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<model::Engine> engine,
                          model::Engine::Make(model.model, options.engine));
  return std::unique_ptr<ServingLoop>(new ServingLoop(model, defaults, options, std::move(engine)));
}

ServingLoop::ServingLoop(const LoadedModel& model, const layout::GenerationDefaults& defaults,
                         const ServingOptions& options, std::unique_ptr<model::Engine> engine)
    : model_(model),
      reader_(model, defaults),
      options_(options),
      engine_(std::move(engine)),
      inbox_(options.waiting.bytes),
      line_(options.waiting) {}

absl::Status ServingLoop::Run(rpc::InferenceService* service, const std::function<bool()>& stop) {
  service_ = service;
  while (!stop()) {
    TakeEvents();
    StartWaiting();
    absl::Status status = ComputeScores();
    if (status.ok()) status = StepEngine();
    if (status.ok()) continue;
    EndAll(status);
    return status;
  }
  return absl::OkStatus();
}

// An idle server waits; a busy one takes what is there, but not for long: who sends without end
// must not keep the others from their tokens.
void ServingLoop::TakeEvents() {
  const bool was_idle = idle();
  std::optional<rpc::InferenceEvent> event =
      inbox_.Pop(was_idle ? kIdleTick : absl::ZeroDuration());
  const absl::Duration began = Clock::Real()->Now();
  while (event.has_value()) {
    std::visit([this](const auto& e) { On(e); }, *event);
    const absl::Duration spent = Clock::Real()->Now() - began;
    if (spent > std::max(kEventTime, options_.max_wait)) return;
    const absl::Duration left = was_idle ? options_.max_wait - spent : absl::ZeroDuration();
    event = inbox_.Pop(std::max(left, absl::ZeroDuration()));
  }
}

void ServingLoop::On(const rpc::GenerateCalled& called) {
  Enqueue(called, reader_.Read(called.request));
}

void ServingLoop::On(const rpc::ScoreCalled& called) {
  Enqueue(called, reader_.Read(called.request));
}

template <typename Called, typename Work>
void ServingLoop::Enqueue(const Called& called, absl::StatusOr<Work> work) {
  absl::Status status = work.status();
  if (status.ok()) {
    const auto bytes = static_cast<int64_t>(called.request.ByteSizeLong());
    if (line_.full(bytes)) StartWaiting();  // Nobody is refused while the engine has room.
    status = line_.Add(ClientOf(called.request.client(), called.peer), called.call, bytes,
                       Waiting{called.call, *std::move(work)});
  }
  if (!status.ok()) service_->Finish(called.call, status);
}

void ServingLoop::On(const rpc::CallEnded& ended) {
  if (line_.Remove(ended.call)) return;
  std::erase_if(scores_, [&](const Scoring& scoring) { return scoring.call == ended.call; });
  const auto found = request_of_.find(ended.call);
  if (found != request_of_.end()) Forget(found->second, absl::OkStatus());
}

// In turn, as long as the next one fits: who comes later does not slip past who waits for room.
void ServingLoop::StartWaiting() {
  int64_t score_tokens = 0;
  for (const Scoring& scoring : scores_) score_tokens += TokensOf(scoring.work);
  while (!line_.empty()) {
    const Waiting& next = line_.Front();
    if (const auto* generate = std::get_if<GenerateWork>(&next.work)) {
      const bool fits = active_samples_ + generate->samples <= options_.engine.max_batch;
      if (active_samples_ > 0 && !fits) return;
      Waiting taken = line_.Pop();
      Start(taken.call, std::get<GenerateWork>(std::move(taken.work)));
    } else {
      const int64_t tokens = TokensOf(std::get<ScoreWork>(next.work));
      if (!scores_.empty() && score_tokens + tokens > options_.max_score_tokens) return;
      score_tokens += tokens;
      Waiting taken = line_.Pop();
      scores_.push_back({taken.call, std::get<ScoreWork>(std::move(taken.work))});
    }
  }
}

void ServingLoop::Start(rpc::InferenceCallId call, GenerateWork work) {
  auto generation = ServedGeneration::Make(*model_.tokenizer, std::move(work));
  if (!generation.ok()) return service_->Finish(call, generation.status());
  const auto request = engine_->Add((*generation)->ForEngine());
  if (!request.ok()) return service_->Finish(call, request.status());
  const absl::Status sent = service_->Send(call, (*generation)->Started());
  active_samples_ += (*generation)->samples();
  active_.emplace(*request, Active{call, *std::move(generation)});
  request_of_[call] = *request;
  if (!sent.ok()) Forget(*request, absl::OkStatus());
}

absl::Status ServingLoop::StepEngine() {
  if (engine_->idle()) return absl::OkStatus();
  RETORT_ASSIGN_OR_RETURN(const std::vector<model::TokenEvent> events, engine_->Step());
  for (const model::TokenEvent& event : events) Deliver(event);
  return absl::OkStatus();
}

void ServingLoop::Deliver(const model::TokenEvent& event) {
  const auto found = active_.find(event.request);
  if (found == active_.end()) return;  // It failed with an earlier event of this step.
  const rpc::InferenceCallId call = found->second.call;
  if (event.reason == model::FinishReason::kFailed) {
    return Forget(event.request, engine_->TakeResults(event.request).status());
  }
  ServedGeneration& generation = *found->second.generation;
  const int64_t before = generation.unfinished();
  const auto events = generation.OnToken(event, *engine_->Peek(event.request, event.sample));
  active_samples_ -= before - generation.unfinished();  // Forget subtracts the others.
  for (const v1::GenerateEvent& out : events) {
    const absl::Status sent = service_->Send(call, out);
    if (!sent.ok()) return Forget(event.request, absl::OkStatus());
  }
  if (generation.unfinished() == 0) {
    Forget(event.request, absl::OkStatus());
    service_->Finish(call, absl::OkStatus());
  }
}

absl::Status ServingLoop::ComputeScores() {
  if (scores_.empty()) return absl::OkStatus();
  std::vector<Scoring> scores = std::exchange(scores_, {});
  std::vector<ScoreWork> works;
  for (Scoring& scoring : scores) works.push_back(std::move(scoring.work));
  const auto responses = ScoreBatch(model_, works, [&] {
    return std::any_of(scores.begin(), scores.end(),
                       [this](const Scoring& scoring) { return !inbox_.Ended(scoring.call); });
  });
  if (absl::IsCancelled(responses.status())) return absl::OkStatus();
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!responses.ok()) {
      service_->Finish(scores[i].call, responses.status());
      continue;
    }
    const absl::StatusOr<v1::ScoreResponse>& response = (*responses)[i];
    if (!response.ok()) {
      service_->Finish(scores[i].call, response.status());
      continue;
    }
    const absl::Status sent = service_->Answer(scores[i].call, *response);
    if (!sent.ok())
      LogInfo("score not delivered call={} cause=\"{}\"", scores[i].call, sent.ToString());
  }
  return responses.status();
}

// An error is told to the client; after OK the caller tells it what there is to tell.
void ServingLoop::Forget(model::RequestId request, const absl::Status& status) {
  const auto found = active_.find(request);
  const rpc::InferenceCallId call = found->second.call;
  engine_->Cancel(request);  // Finished or not: the engine forgets it before its stop check dies.
  active_samples_ -= found->second.generation->unfinished();
  active_.erase(found);
  request_of_.erase(call);
  if (!status.ok()) service_->Finish(call, status);
}

void ServingLoop::EndAll(const absl::Status& status) {
  while (!line_.empty()) service_->Finish(line_.Pop().call, status);
  for (const auto& [request, active] : active_) service_->Finish(active.call, status);
}

}  // namespace retort::worker
