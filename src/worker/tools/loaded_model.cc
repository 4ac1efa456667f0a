#include "worker/tools/loaded_model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/tensor/model_weights.h"

namespace retort::worker {

absl::StatusOr<std::vector<int64_t>> LoadedModel::Encode(absl::string_view what,
                                                         const std::string& text,
                                                         bool add_bos) const {
  RETORT_ASSIGN_OR_RETURN(std::vector<int64_t> ids,
                          tokenizer->Encode(text, /*add_special_tokens=*/false));
  if (add_bos) {
    const std::optional<int64_t> bos =
        model.config().bos_token_id.has_value() ? model.config().bos_token_id : tokenizer->bos_id();
    if (!bos.has_value()) {
      return absl::InvalidArgumentError("the model has no BOS token; leave out --add-bos");
    }
    ids.insert(ids.begin(), *bos);
  }
  if (ids.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the ", what, " is empty; give a text",
                     what == "prompt" ? ", or --add-bos if the model has a BOS token" : ""));
  }
  for (const int64_t id : ids) {
    if (id < model.config().vocab_size) continue;
    return absl::InvalidArgumentError(absl::StrCat("token ", id, " of the ", what,
                                                   " is unknown to the model, whose vocab_size is ",
                                                   model.config().vocab_size));
  }
  return ids;
}

absl::StatusOr<LoadedModel> LoadModelFolder(const std::string& folder) {
  RETORT_ASSIGN_OR_RETURN(const layout::ModelConfig config, layout::LoadModelConfig(folder));
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<text::Tokenizer> tokenizer,
                          text::Tokenizer::Load(folder));
  RETORT_ASSIGN_OR_RETURN(const tensor::ParameterArena arena,
                          tensor::ReadModelArena(folder, layout::LayoutFor(config, false)));
  const int64_t limit = std::min(config.vocab_size, tokenizer->vocab_size());
  return LoadedModel{std::move(tokenizer), model::Model(config, arena), limit};
}

}  // namespace retort::worker
