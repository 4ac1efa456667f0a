#include "worker/tools/loaded_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/layout/adapter_config.h"
#include "common/tensor/aten.h"
#include "common/tensor/model_weights.h"

namespace retort::worker {
namespace {

absl::StatusOr<model::Model> MakeModel(const layout::ModelConfig& config,
                                       const tensor::ParameterArena& arena,
                                       const std::string& adapter_folder) {
  if (adapter_folder.empty()) return model::Model(config, arena);
  RETORT_ASSIGN_OR_RETURN(const LoadedAdapter adapter, LoadAdapter(adapter_folder, config));
  return model::Model(config, arena, adapter.layout, adapter.arena);
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> LoadedModel::Encode(absl::string_view what,
                                                         const std::string& text,
                                                         bool add_special_tokens) const {
  absl::StatusOr<std::vector<int64_t>> ids = tokenizer->Encode(text, add_special_tokens);
  if (!ids.ok()) return WithContext(ids.status(), what);
  if (ids->empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the ", what, " is empty", add_special_tokens ? " and the tokenizer adds no token" : "",
        "; give a text"));
  }
  for (const int64_t id : *ids) {
    if (id < model.config().vocab_size) continue;
    return absl::InvalidArgumentError(absl::StrCat("token ", id, " of the ", what,
                                                   " is unknown to the model, whose vocab_size is ",
                                                   model.config().vocab_size));
  }
  return ids;
}

absl::StatusOr<int64_t> LoadedModel::RoomBehind(absl::string_view what, int64_t tokens) const {
  const int64_t context = model.config().max_position_embeddings;
  if (tokens < context) return context - tokens;
  return absl::InvalidArgumentError(
      absl::StrCat("the ", what, " has ", tokens, " tokens; the model's context is ", context));
}

model::HeadOutput LoadedModel::Head(const at::Tensor& rows, const std::vector<int64_t>& targets,
                                    double temperature, int64_t top_k) const {
  const model::HeadOptions options{
      .temperature = temperature, .soft_cap = model.config().final_soft_cap, .mask = mask};
  const model::HeadWeights head{model.head().weight, model.head().bias};
  return model::HeadForward(rows, head, at::tensor(targets), options, {.top_k = top_k});
}

absl::Status CheckLogProbs(const model::HeadOutput& head) {
  const float* const log_probs = head.log_probs.const_data_ptr<float>();
  for (int64_t i = 0; i < head.log_probs.numel(); ++i) {
    if (!std::isnan(log_probs[i])) continue;
    return absl::InternalError(
        absl::StrCat("token ", i,
                     " of those to score: the model's logits are not finite (its weights have "
                     "diverged, or a sum overflowed)"));
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadedModel> LoadModelFolder(const ModelOptions& options) {
  const std::string& folder = options.folder;
  RETORT_ASSIGN_OR_RETURN(const layout::ModelConfig config, layout::LoadCausalConfig(folder));
  RETORT_ASSIGN_OR_RETURN(std::unique_ptr<text::Tokenizer> tokenizer,
                          text::Tokenizer::Load(folder));
  RETORT_ASSIGN_OR_RETURN(const tensor::ParameterArena arena,
                          tensor::ReadModelArena(folder, layout::LayoutFor(config, false),
                                                 options.bfloat16 ? at::kBFloat16 : at::kFloat));
  RETORT_ASSIGN_OR_RETURN(model::Model model, MakeModel(config, arena, options.adapter));
  model::VocabMask mask{.limit = std::min(config.vocab_size, tokenizer->vocab_size())};
  mask.excluded = tokenizer->IdsWithoutToken(mask.limit);
  return LoadedModel{std::move(tokenizer), std::move(model), std::move(mask),
                     text::ChatTemplate::Load(folder)};
}

absl::StatusOr<LoadedAdapter> LoadAdapter(const std::string& folder,
                                          const layout::ModelConfig& base) {
  RETORT_ASSIGN_OR_RETURN(const layout::AdapterConfig config, layout::LoadAdapterConfig(folder));
  absl::StatusOr<layout::AdapterLayout> layout =
      layout::AdapterLayoutFor(base, config, /*value_head=*/false);
  if (!layout.ok()) {
    return WithContext(layout.status(), absl::StrCat(folder, "/adapter_config.json"));
  }
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena arena,
                          tensor::ReadAdapterArena(folder, layout->parameters));
  return LoadedAdapter{*std::move(layout), std::move(arena)};
}

}  // namespace retort::worker
