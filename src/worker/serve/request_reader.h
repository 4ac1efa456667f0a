// What a client asked for, checked and turned into token ids and options.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/layout/generation_defaults.h"
#include "common/model/generation.h"
#include "retort/v1/inference.pb.h"
#include "worker/tools/loaded_model.h"
#include "worker/tools/sampling_choice.h"

namespace retort::worker {

inline constexpr int64_t kMaxPromptBytes = 4 << 20;
inline constexpr int64_t kMaxRequestTokens = 1 << 20;
inline constexpr int64_t kMaxStopTokenIds = 64;
inline constexpr int64_t kMaxClientBytes = 128;

struct GenerateWork {
  std::vector<int64_t> prompt;
  model::SamplingOptions sampling;
  uint64_t seed = 0;
  int64_t samples = 1;
  std::vector<std::string> stops;
  bool chat = false;
};

struct ScoreWork {
  std::vector<int64_t> ids;
  std::vector<bool> mask;  // One an id; never of the first.
  double temperature = 1;
  int64_t top_log_probs = 0;
};

// Immutable. `model` outlives it.
class RequestReader {
 public:
  RequestReader(const LoadedModel& model, const layout::GenerationDefaults& defaults);

  // INVALID_ARGUMENT names the field.
  absl::StatusOr<GenerateWork> Read(const v1::GenerateRequest& request) const;
  absl::StatusOr<ScoreWork> Read(const v1::ScoreRequest& request) const;

 private:
  absl::StatusOr<std::vector<int64_t>> ReadPrompt(const v1::Prompt& prompt) const;
  absl::StatusOr<std::vector<int64_t>> ReadTokens(const v1::TokenIds& tokens,
                                                  const char* field) const;
  absl::StatusOr<std::vector<int64_t>> EncodeText(const std::string& text, const char* field,
                                                  bool add_special_tokens) const;
  absl::StatusOr<const text::ChatTemplate*> Template() const;
  absl::StatusOr<ScoreWork> ReadChatScore(const v1::ScoreRequest& request) const;
  absl::StatusOr<ScoreWork> ReadScored(const v1::ScoreRequest& request) const;
  absl::Status ReadSampling(const v1::SamplingParameters& asked, GenerateWork* work) const;
  absl::Status CheckIds(const std::vector<int64_t>& ids, const char* field) const;

  const LoadedModel& model_;
  const layout::GenerationDefaults defaults_;
  const std::vector<std::string> special_tokens_;  // Their contents: where a chat turn can end.
};

}  // namespace retort::worker
