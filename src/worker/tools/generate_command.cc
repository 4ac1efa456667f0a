#include "worker/tools/generate_command.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/model/generate.h"
#include "common/text/stream_decoder.h"
#include "worker/tools/loaded_model.h"
#include "worker/tools/write_output.h"

namespace retort::worker {
namespace {

constexpr int64_t kDefaultNewTokens = 128;

}  // namespace

absl::Status GenerateCommand(const GenerateOptions& options, std::ostream& out) {
  model::SamplingOptions sampling;
  sampling.filter.temperature = options.temperature;
  sampling.filter.top_k = options.top_k;
  sampling.filter.top_p = options.top_p;
  RETORT_RETURN_IF_ERROR(model::ValidateFilter(sampling.filter));
  RETORT_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModelFolder(options.model));
  RETORT_ASSIGN_OR_RETURN(const std::vector<int64_t> prompt,
                          loaded.Encode("prompt", options.prompt, options.add_bos));
  const layout::ModelConfig& config = loaded.model.config();
  const int64_t room = config.max_position_embeddings - static_cast<int64_t>(prompt.size());
  if (room < 1) {
    return absl::InvalidArgumentError(absl::StrCat("the prompt has ", prompt.size(),
                                                   " tokens; the model's context is ",
                                                   config.max_position_embeddings));
  }
  sampling.max_new_tokens =
      options.max_new_tokens == 0 ? std::min(kDefaultNewTokens, room) : options.max_new_tokens;
  sampling.greedy = options.greedy;
  sampling.eos_ids = config.eos_token_ids;
  sampling.vocab_limit = loaded.vocab_limit;
  text::StreamDecoder decoder(*loaded.tokenizer);
  for (const int64_t id : prompt) RETORT_RETURN_IF_ERROR(decoder.Push(id).status());
  absl::Status status;
  const auto write = [&](int64_t, int64_t id) {
    const absl::StatusOr<std::string> piece = decoder.Push(id);
    if (!piece.ok()) {
      status = piece.status();
      return false;
    }
    status = Write(*piece, out);
    return status.ok();
  };
  const model::SampleRequest sample{0, CounterRng(options.seed, RngPurpose::kSampling, 0)};
  const auto result = model::Generate(loaded.model, {prompt}, {sample}, sampling, write);
  RETORT_RETURN_IF_ERROR(status);
  if (!result.ok()) return result.status();
  return Write(decoder.Finish() + "\n", out);
}

}  // namespace retort::worker
