// Rows of a dataset -> token ids: what a plan checks, a rollout asks and a learner trains on is one
// function of the job, so that they cannot differ.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "common/data/dataset.h"
#include "common/layout/model_config.h"
#include "common/text/chat_template.h"
#include "common/text/tokenizer.h"
#include "retort/v1/job.pb.h"

namespace retort::data {

// A prompt as a rollout asks it.
struct EncodedPrompt {
  std::string text;
  std::vector<int64_t> ids;
};

// A row as supervised training sees it.
struct EncodedExample {
  std::vector<int64_t> ids;   // Up to the last trained token: what follows teaches nothing.
  std::vector<bool> trained;  // One a token. At least one is, the first never.
  int64_t prompt_length = 0;  // Tokens before the first trained one, >= 1.
};

// Immutable, so every method is safe from any thread.
class RowEncoder {
 public:
  // `folder`: the policy's, for its chat template. Without one, or with one that cannot be read,
  // rows of prompt and response encode all the same and a conversation is refused. Of the job:
  // add_bos, last_turn_only, template_time. Errors: INVALID_ARGUMENT naming data.template_time when
  // that is no time, data.add_bos when neither tokenizer nor model names a BOS token.
  static absl::StatusOr<std::shared_ptr<const RowEncoder>> Make(
      const std::string& folder, std::shared_ptr<const text::Tokenizer> tokenizer,
      const layout::ModelConfig& config, const v1::DataSpec& spec);

  // The same with a template that was read already.
  static absl::StatusOr<std::shared_ptr<const RowEncoder>> Make(
      absl::StatusOr<std::shared_ptr<const text::ChatTemplate>> chat_template,
      std::shared_ptr<const text::Tokenizer> tokenizer, const layout::ModelConfig& config,
      const v1::DataSpec& spec);

  // A prompt without special tokens, the BOS token in front if the job says add_bos; or the
  // messages that ask, rendered with the generation prompt (the template writes its BOS itself).
  // Errors: INVALID_ARGUMENT for text that cannot be encoded or has no token, for a conversation
  // without a template or a question; those of the template.
  absl::StatusOr<EncodedPrompt> Prompt(const Row& row) const;

  // Prompt, response and `eos`; the response and `eos` are trained, and the response is encoded by
  // itself: that is what the policy will see and say. A conversation is rendered and encoded as a
  // whole, and the assistant's tokens are trained (text/assistant_ranges.h); `eos` is not read.
  // Errors: the same; that of `eos`; INVALID_ARGUMENT for a row without a response or without a
  // token of the assistant.
  absl::StatusOr<EncodedExample> Example(const Row& row, const absl::StatusOr<int64_t>& eos) const;

 private:
  RowEncoder() = default;
  absl::StatusOr<const text::ChatTemplate*> Template() const;
  text::ChatInput InputOf(const Row& row) const;
  absl::StatusOr<std::vector<int64_t>> EncodePlain(const Row& row) const;
  absl::StatusOr<EncodedExample> ChatExample(const Row& row) const;

  std::shared_ptr<const text::Tokenizer> tokenizer_;
  absl::StatusOr<std::shared_ptr<const text::ChatTemplate>> chat_template_;
  std::vector<std::string> special_tokens_;  // Empty without a template.
  std::optional<int64_t> bos_;               // Put before a prompt.
  bool last_turn_only_ = false;
  std::optional<absl::CivilSecond> now_;
};

}  // namespace retort::data
