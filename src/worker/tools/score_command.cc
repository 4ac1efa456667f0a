#include "worker/tools/score_command.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/base/text_argument.h"
#include "common/base/write_output.h"
#include "common/model/sampling.h"
#include "common/tensor/aten.h"
#include "common/tensor/torch_process.h"
#include "nlohmann/json.hpp"
#include "worker/tools/loaded_model.h"
#include "worker/tools/token_json.h"

namespace retort::worker {
namespace {

struct Texts {
  std::string prompt, completion;
};

struct Scored {
  std::vector<int64_t> prompt, completion;
  std::vector<float> log_probs;
  std::vector<int64_t> top_ids;  // top_log_probs a token.
  std::vector<float> top_log_probs;
  double total = 0;
};

absl::StatusOr<Texts> ReadTexts(const ScoreOptions& options) {
  RETORT_RETURN_IF_ERROR(model::ValidateScale("temperature", options.temperature));
  if (options.prompt == "-" && options.completion == "-") {
    return absl::InvalidArgumentError(
        "prompt and completion are both -; expected one of them on standard input");
  }
  const bool replace = options.text.replace_invalid_utf8;
  Texts texts;
  RETORT_ASSIGN_OR_RETURN(texts.prompt, TextArgument(options.prompt, replace));
  RETORT_ASSIGN_OR_RETURN(texts.completion, TextArgument(options.completion, replace));
  return texts;
}

template <typename T>
std::vector<T> VectorOf(const at::Tensor& tensor) {
  const T* data = tensor.const_data_ptr<T>();
  return std::vector<T>(data, data + tensor.numel());
}

absl::Status Score(const LoadedModel& model, const ScoreOptions& options, Scored* scored) {
  std::vector<int64_t> sequence = scored->prompt;
  sequence.insert(sequence.end(), scored->completion.begin(), scored->completion.end());
  return tensor::CatchTorch([&]() -> absl::Status {
    const at::NoGradGuard no_grad;
    const at::Tensor hidden = model.model.Hidden(model::Pack({sequence}));
    const model::HeadOutput head =
        model.Head(hidden.narrow(0, static_cast<int64_t>(scored->prompt.size()) - 1,
                                 static_cast<int64_t>(scored->completion.size())),
                   scored->completion, options.temperature, options.top_log_probs);
    RETORT_RETURN_IF_ERROR(CheckLogProbs(head));
    scored->log_probs = VectorOf<float>(head.log_probs);
    for (const float log_prob : scored->log_probs) scored->total += log_prob;
    if (options.top_log_probs == 0) return absl::OkStatus();
    scored->top_ids = VectorOf<int64_t>(head.top_ids);
    scored->top_log_probs = VectorOf<float>(head.top_log_probs);
    return absl::OkStatus();
  });
}

std::string TextOf(const Scored& scored, int64_t top) {
  std::string lines;
  for (size_t i = 0; i < scored.completion.size(); ++i) {
    absl::StrAppendFormat(&lines, "%d\t%.6f", scored.completion[i], scored.log_probs[i]);
    for (size_t j = i * top; j < (i + 1) * top; ++j) {
      absl::StrAppendFormat(&lines, "\t%d:%.6f", scored.top_ids[j], scored.top_log_probs[j]);
    }
    lines += '\n';
  }
  absl::StrAppendFormat(&lines, "total\t%.6f\ttokens\t%d\n", scored.total,
                        scored.completion.size());
  return lines;
}

std::string JsonOf(const text::Tokenizer& tokenizer, const Scored& scored, int64_t top) {
  Json json = {{"prompt_ids", scored.prompt},
               {"ids", scored.completion},
               {"tokens", TokensJson(tokenizer, scored.completion)},
               {"log_probs", FloatsJson(scored.log_probs)}};
  if (top > 0) json["top"] = TopJson(tokenizer, scored.top_ids, scored.top_log_probs, top);
  json["total"] = scored.total;
  return absl::StrCat(DumpJson(json), "\n");
}

}  // namespace

absl::Status ScoreCommand(const ScoreOptions& options, std::ostream& out) {
  RETORT_ASSIGN_OR_RETURN(const Texts texts, ReadTexts(options));
  RETORT_ASSIGN_OR_RETURN(const LoadedModel model, LoadModelFolder(options.model));
  RETORT_RETURN_IF_ERROR(CheckTopLogProbs(options.top_log_probs, model));
  Scored scored;
  RETORT_ASSIGN_OR_RETURN(scored.prompt,
                          model.Encode("prompt", texts.prompt, options.text.special_tokens));
  RETORT_ASSIGN_OR_RETURN(scored.completion, model.Encode("completion", texts.completion,
                                                          /*add_special_tokens=*/false));
  const int64_t context = model.model.config().max_position_embeddings;
  const size_t tokens = scored.prompt.size() + scored.completion.size();
  if (static_cast<int64_t>(tokens) > context) {
    return absl::InvalidArgumentError(absl::StrCat("prompt and completion have ", tokens,
                                                   " tokens; the model's context is ", context));
  }
  RETORT_RETURN_IF_ERROR(Score(model, options, &scored));
  return WriteOutput(options.json ? JsonOf(*model.tokenizer, scored, options.top_log_probs)
                                  : TextOf(scored, options.top_log_probs),
                     out);
}

}  // namespace retort::worker
