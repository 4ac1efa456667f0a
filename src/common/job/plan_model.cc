#include "common/job/plan_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/data/stop_ids.h"
#include "common/job/applicability.h"
#include "common/job/policy_adapter.h"
#include "common/job/schema.h"
#include "common/layout/adapter_layout.h"
#include "common/layout/weight_files.h"

namespace retort::job {
namespace {

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
  // A row of sft that needs EOS says so itself: a conversation does not.
  if (!IsPpo(spec) || !data::StopIdsOf(models.config, *models.tokenizer).empty()) {
    return absl::OkStatus();
  }
  const bool needs_eos =
      std::any_of(spec.rewards().begin(), spec.rewards().end(), [](const v1::RewardSpec& reward) {
        return reward.has_exact_match() && reward.exact_match().require_eos();
      });
  if (needs_eos) {
    return at.Error(field,
                    "has no EOS token, which exact_match needs; set eos_token_id in config.json");
  }
  notes->push_back("the model has no EOS token: every sample ends at rollout.max_new_tokens");
  return absl::OkStatus();
}

// Elements of the reference's weights, an adapter's left out.
absl::StatusOr<int64_t> PlanReference(const v1::JobSpec& spec, const FieldPositions& at,
                                      const PlannedModels& models,
                                      std::vector<std::string>* notes) {
  const std::string field = "reference.path";
  if (!spec.reference().has_path()) return models.policy.published_elements;
  const std::string& folder = spec.reference().path();
  const auto config = layout::LoadCausalConfig(folder);
  if (!config.ok()) return at.Wrap(field, config.status());
  const layout::ParameterLayout layout = layout::LayoutFor(*config, /*value_head=*/false);
  if (config->vocab_size != models.config.vocab_size) {
    return at.Error(
        field, absl::StrCat("has a vocabulary of ", config->vocab_size, " but the policy one of ",
                            models.config.vocab_size, "; expected models with one tokenizer"));
  }
  RETORT_RETURN_IF_ERROR(at.Wrap(field, layout::ResolveWeights(folder, layout).status()));
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
  return layout.published_elements;
}

// What is trained: the policy itself, or an adapter of it.
absl::Status PlanTrained(const v1::JobSpec& spec, const FieldPositions& at, PlannedModels* models,
                         std::vector<std::string>* notes) {
  const v1::LoraSpec& lora = spec.policy().lora();
  const std::string field = lora.has_path() ? "policy.lora.path" : "policy.lora.target_modules";
  auto adapter = AdapterOf(spec.policy());
  if (!adapter.ok()) return at.Wrap(field, adapter.status());
  models->adapter = *std::move(adapter);
  models->trained = models->policy;
  if (!models->adapter.has_value()) return absl::OkStatus();
  if (!lora.has_path()) {
    RETORT_RETURN_IF_ERROR(at.Wrap(field, layout::CheckTargets(models->config, *models->adapter)));
  }
  auto layout = layout::AdapterLayoutFor(models->config, *models->adapter, IsPpo(spec));
  if (!layout.ok()) return at.Wrap(field, layout.status());
  models->trained = std::move(layout->parameters);
  if (!spec.policy().has_path()) {
    notes->push_back("policy.lora adapts a model of random weights, which stay as they are drawn");
  }
  if (!lora.has_path()) return absl::OkStatus();
  if (models->adapter->dropout > 0) {
    notes->push_back(absl::StrCat("the adapter was trained with lora_dropout ",
                                  NumberText(models->adapter->dropout),
                                  "; here it is trained without"));
  }
  return at.Wrap(field, layout::ResolveAdapter(lora.path(), models->trained).status());
}

}  // namespace

absl::StatusOr<PlannedModels> PlanModels(const v1::JobSpec& spec, const FieldPositions& at,
                                         std::vector<std::string>* notes) {
  const bool trained = spec.policy().has_path();
  const std::string field = trained ? "policy.path" : "policy.init.config";
  const std::string& folder = trained ? spec.policy().path() : spec.policy().init().config();
  PlannedModels models;
  auto config = layout::LoadCausalConfig(folder);
  if (!config.ok()) return at.Wrap(field, config.status());
  models.config = *std::move(config);
  models.policy = layout::LayoutFor(models.config, /*value_head=*/IsPpo(spec));
  auto tokenizer = text::Tokenizer::Load(folder);
  if (!tokenizer.ok()) return at.Wrap(field, tokenizer.status());
  models.tokenizer = *std::move(tokenizer);
  if (trained) {
    RETORT_RETURN_IF_ERROR(at.Wrap(field, layout::ResolveWeights(folder, models.policy).status()));
  }
  RETORT_RETURN_IF_ERROR(PlanTrained(spec, at, &models, notes));
  RETORT_RETURN_IF_ERROR(CheckVocabulary(models, field, at, notes));
  RETORT_RETURN_IF_ERROR(CheckSpecialTokens(spec, models, field, at, notes));
  RETORT_ASSIGN_OR_RETURN(
      models.rows, data::RowEncoder::Make(folder, models.tokenizer, models.config, spec.data()));
  models.eos = data::EosOf(*models.tokenizer, data::StopIdsOf(models.config, *models.tokenizer));
  if (IsPpo(spec)) {
    RETORT_ASSIGN_OR_RETURN(models.reference_elements, PlanReference(spec, at, models, notes));
  }
  return models;
}

}  // namespace retort::job
