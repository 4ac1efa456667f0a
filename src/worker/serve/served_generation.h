// One Generate call that is being served: what goes into the engine, and what its tokens become on
// the wire.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model/engine.h"
#include "common/text/tokenizer.h"
#include "retort/v1/inference.pb.h"
#include "worker/serve/request_reader.h"
#include "worker/tools/answer_text.h"

namespace retort::worker {

// Not thread-safe.
class ServedGeneration {
 public:
  // `tokenizer` outlives it. INVALID_ARGUMENT the prompt cannot be decoded.
  static absl::StatusOr<std::unique_ptr<ServedGeneration>> Make(const text::Tokenizer& tokenizer,
                                                                GenerateWork work);

  // Sample i draws from the stream of (seed, i). This object must outlive the request in the
  // engine, which asks it for stop strings.
  model::EngineRequest ForEngine();

  v1::GenerateEvent Started() const;
  // What the newest token of a sample says to the client, one or two events; `sample` is what the
  // engine has of it, with that token.
  std::vector<v1::GenerateEvent> OnToken(const model::TokenEvent& event,
                                         const model::GeneratedSample& sample);

  int64_t samples() const { return work_.samples; }
  int64_t unfinished() const { return unfinished_; }

 private:
  explicit ServedGeneration(GenerateWork work)
      : work_(std::move(work)), unfinished_(work_.samples) {}

  v1::GenerateEvent TokensEvent(const model::TokenEvent& event,
                                const model::GeneratedSample& sample, AnswerText* text) const;
  v1::GenerateEvent FinishedEvent(const model::TokenEvent& event,
                                  const model::GeneratedSample& sample,
                                  const AnswerText& text) const;

  const GenerateWork work_;
  std::vector<std::unique_ptr<AnswerText>> texts_;  // One a sample.
  int64_t unfinished_;
};

}  // namespace retort::worker
