// A Hugging Face folder with tokenizer and weights, ready to compute. What the command-line tools
// start from.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/layout/adapter_layout.h"
#include "common/model/model.h"
#include "common/model/vocab_mask.h"
#include "common/tensor/parameter_arena.h"
#include "common/text/chat_template.h"
#include "common/text/tokenizer.h"

namespace retort::worker {

struct ModelOptions {
  std::string folder = {};   // Hugging Face folder with weights and tokenizer.
  std::string adapter = {};  // PEFT folder with a LoRA adapter, applied, not merged; empty: none.
  // Half the memory: the base's matrices stay bf16, fp32 and fp16 are rounded. Computed in fp32.
  bool bfloat16 = false;
};

struct LoadedModel {
  std::unique_ptr<text::Tokenizer> tokenizer;
  model::Model model;
  model::VocabMask
      mask;  // The ids of tokens that the model knows: no others are sampled or scored.
  // NOT_FOUND when the folder has none; what is wrong with the one it has.
  absl::StatusOr<std::unique_ptr<const text::ChatTemplate>> chat_template;

  // Ids of `text`; with `add_special_tokens` those that the tokenizer puts around a text, such as
  // BOS, too. INVALID_ARGUMENT when there is no id, or one that the model does not know; `what`
  // names the text: "prompt".
  absl::StatusOr<std::vector<int64_t>> Encode(absl::string_view what, const std::string& text,
                                              bool add_special_tokens) const;

  // How many tokens the context has room for behind `tokens` of them. INVALID_ARGUMENT if none;
  // `what` names them: "prompt".
  absl::StatusOr<int64_t> RoomBehind(absl::string_view what, int64_t tokens) const;

  // Of hidden states `rows` [M, E]: log-probs of `targets`, one a row, and the `top_k` likeliest
  // ids (at most mask.size()), over the ids that have a token. Throws what LibTorch throws.
  model::HeadOutput Head(const at::Tensor& rows, const std::vector<int64_t>& targets,
                         double temperature, int64_t top_k) const;
};

// INTERNAL if a log-prob is not a number: the weights have diverged, or logits overflowed.
absl::Status CheckLogProbs(const model::HeadOutput& head);

// Errors are those of LoadCausalConfig, ReadModelArena, LoadAdapter and Tokenizer::Load: one line
// naming the file.
absl::StatusOr<LoadedModel> LoadModelFolder(const ModelOptions& options);

struct LoadedAdapter {
  layout::AdapterLayout layout;
  tensor::ParameterArena arena;
};

// A PEFT folder for a model of `base`. Errors are those of LoadAdapterConfig, AdapterLayoutFor and
// ReadAdapterArena: one line naming the file.
absl::StatusOr<LoadedAdapter> LoadAdapter(const std::string& folder,
                                          const layout::ModelConfig& base);

}  // namespace retort::worker
