#include "common/job/plan_model.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/status_macros.h"
#include "common/job/applicability.h"

namespace retort::job {
namespace {

constexpr int64_t kMaxIndexBytes = int64_t{64} << 20;

// OK if `folder` has model.safetensors, or an index and every file that it names.
absl::Status CheckWeightFiles(const std::string& folder) {
  if (FileExists(folder + "/model.safetensors")) return absl::OkStatus();
  const std::string path = folder + "/model.safetensors.index.json";
  if (!FileExists(path)) {
    return absl::NotFoundError(absl::StrCat(
        folder,
        ": no model.safetensors and no model.safetensors.index.json; expected a Hugging "
        "Face folder with weights"));
  }
  RETORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxIndexBytes));
  RETORT_ASSIGN_OR_RETURN(const Json index, ParseJson(text, path));
  const bool has_map =
      index.is_object() && index.contains("weight_map") && index["weight_map"].is_object();
  if (!has_map) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": no \"weight_map\"; expected an object"));
  }
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || absl::StrContains(name, "/")) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", tensor, " has no file name; expected one in the folder"));
    }
    if (!FileExists(absl::StrCat(folder, "/", name))) {
      return absl::NotFoundError(absl::StrCat(folder, "/", name, ": missing, but ", path,
                                              " names it; copy the model again"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckVocabulary(const PlannedModels& models, const std::string& field,
                             const FieldPositions& at, std::vector<std::string>* notes) {
  const int64_t tokens = models.tokenizer->vocab_size();
  if (tokens > models.config.vocab_size) {
    return at.Error(field, absl::StrCat("has a tokenizer of ", tokens, " ids but a model of ",
                                        models.config.vocab_size,
                                        " (config.json vocab_size); expected the tokenizer of this "
                                        "model"));
  }
  for (const int64_t eos : models.config.eos_token_ids) {
    if (eos < tokens) continue;
    return at.Error(field, absl::StrCat("names ", eos, " as EOS, but its tokenizer has ", tokens,
                                        " ids; correct eos_token_id in config.json"));
  }
  if (tokens < models.config.vocab_size) {
    notes->push_back(absl::StrCat("the model has ", models.config.vocab_size,
                                  " outputs, the tokenizer ", tokens,
                                  " ids; the rest is never sampled"));
  }
  return absl::OkStatus();
}

absl::Status CheckSpecialTokens(const v1::JobSpec& spec, const PlannedModels& models,
                                const std::string& field, const FieldPositions& at,
                                std::vector<std::string>* notes) {
  if (spec.data().add_bos() && !models.config.bos_token_id && !models.tokenizer->bos_id()) {
    return at.Error("data.add_bos",
                    "is true, but the model names no BOS token; set bos_token_id in "
                    "config.json or add_bos: false");
  }
  if (!models.config.eos_token_ids.empty()) return absl::OkStatus();
  const bool needs_eos =
      std::any_of(spec.rewards().begin(), spec.rewards().end(), [](const v1::RewardSpec& reward) {
        return reward.has_exact_match() && reward.exact_match().require_eos();
      });
  if (!IsPpo(spec) || needs_eos) {
    return at.Error(field, absl::StrCat("has no EOS token, which ",
                                        IsPpo(spec) ? "exact_match needs" : "sft trains on",
                                        "; set eos_token_id in config.json"));
  }
  notes->push_back("the model has no EOS token: every sample ends at rollout.max_new_tokens");
  return absl::OkStatus();
}

// Elements of the reference's weights.
absl::StatusOr<int64_t> PlanReference(const v1::JobSpec& spec, const FieldPositions& at,
                                      const PlannedModels& models,
                                      std::vector<std::string>* notes) {
  const std::string field = "reference.path";
  if (!spec.reference().has_path()) return models.policy.published_elements;
  const std::string& folder = spec.reference().path();
  const auto config = layout::LoadModelConfig(folder);
  if (!config.ok()) return at.Wrap(field, config.status());
  RETORT_RETURN_IF_ERROR(at.Wrap(field, CheckWeightFiles(folder)));
  if (config->vocab_size != models.config.vocab_size) {
    return at.Error(
        field, absl::StrCat("has a vocabulary of ", config->vocab_size, " but the policy one of ",
                            models.config.vocab_size, "; expected models with one tokenizer"));
  }
  if (!FileExists(folder + "/tokenizer.json")) {
    notes->push_back("the reference has no tokenizer.json; it is taken to use the policy's");
  } else {
    const auto tokenizer = text::Tokenizer::Load(folder);
    if (!tokenizer.ok()) return at.Wrap(field, tokenizer.status());
    if ((*tokenizer)->digest() != models.tokenizer->digest()) {
      notes->push_back(
          "the reference's tokenizer files differ from the policy's; both must give "
          "the same ids");
    }
  }
  return layout::LayoutFor(*config, /*value_head=*/false).published_elements;
}

}  // namespace

absl::StatusOr<PlannedModels> PlanModels(const v1::JobSpec& spec, const FieldPositions& at,
                                         std::vector<std::string>* notes) {
  const bool trained = spec.policy().has_path();
  const std::string field = trained ? "policy.path" : "policy.init.config";
  const std::string& folder = trained ? spec.policy().path() : spec.policy().init().config();
  PlannedModels models;
  auto config = layout::LoadModelConfig(folder);
  if (!config.ok()) return at.Wrap(field, config.status());
  models.config = *std::move(config);
  auto tokenizer = text::Tokenizer::Load(folder);
  if (!tokenizer.ok()) return at.Wrap(field, tokenizer.status());
  models.tokenizer = *std::move(tokenizer);
  if (trained) RETORT_RETURN_IF_ERROR(at.Wrap(field, CheckWeightFiles(folder)));
  RETORT_RETURN_IF_ERROR(CheckVocabulary(models, field, at, notes));
  RETORT_RETURN_IF_ERROR(CheckSpecialTokens(spec, models, field, at, notes));
  models.policy = layout::LayoutFor(models.config, /*value_head=*/IsPpo(spec));
  if (IsPpo(spec)) {
    RETORT_ASSIGN_OR_RETURN(models.reference_elements, PlanReference(spec, at, models, notes));
  }
  return models;
}

}  // namespace retort::job
