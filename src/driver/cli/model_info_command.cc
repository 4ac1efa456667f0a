#include "driver/cli/model_info_command.h"

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/json.h"
#include "common/base/printable.h"
#include "common/base/status_macros.h"
#include "common/base/write_output.h"
#include "common/layout/model_config.h"
#include "common/layout/parameter_layout.h"
#include "common/layout/weight_files.h"
#include "common/text/chat_template.h"
#include "common/text/tokenizer.h"
#include "nlohmann/json.hpp"

namespace retort::driver {
namespace {

constexpr char kMissing[] = "none";

struct Weights {
  int64_t files = 0;
  int64_t bytes = 0;
  std::map<std::string, int64_t> tensors;  // By dtype.
};

struct Facts {
  layout::ModelConfig config;
  std::vector<std::string> unknown_keys;
  int64_t parameters = 0;
  absl::StatusOr<Weights> weights;
  absl::StatusOr<std::unique_ptr<text::Tokenizer>> tokenizer;
  absl::StatusOr<std::unique_ptr<const text::ChatTemplate>> chat_template;
};

// Whether a folder without this is still a folder to tell about.
bool MayLack(const absl::Status& status) {
  return status.ok() || absl::IsNotFound(status) || absl::IsUnimplemented(status);
}

int64_t ParametersOf(const layout::ParameterLayout& layout) {
  int64_t parameters = 0;
  for (const layout::ParameterEntry& entry : layout.entries) parameters += entry.elements;
  return parameters;
}

absl::StatusOr<Weights> ReadWeights(const std::string& folder,
                                    const layout::ParameterLayout& layout) {
  RETORT_ASSIGN_OR_RETURN(const layout::ResolvedWeights resolved,
                          layout::ResolveWeights(folder, layout));
  Weights weights;
  weights.files = static_cast<int64_t>(resolved.files.size());
  for (const layout::WeightFile& file : resolved.files) weights.bytes += file.header.file_bytes;
  for (const layout::LocatedTensor& at : resolved.tensors) ++weights.tensors[at.entry->dtype];
  return weights;
}

absl::StatusOr<Facts> ReadFacts(const std::string& folder) {
  RETORT_ASSIGN_OR_RETURN(layout::ModelConfig config, layout::LoadModelConfig(folder));
  RETORT_ASSIGN_OR_RETURN(std::vector<std::string> unknown, layout::UnknownConfigKeys(folder));
  const layout::ParameterLayout layout = layout::LayoutFor(config, /*value_head=*/false);
  Facts facts{.config = std::move(config),
              .unknown_keys = std::move(unknown),
              .parameters = ParametersOf(layout),
              .weights = ReadWeights(folder, layout),
              .tokenizer = text::Tokenizer::Load(folder),
              .chat_template = text::ChatTemplate::Load(folder)};
  if (!facts.weights.ok() && !absl::IsNotFound(facts.weights.status())) {
    return facts.weights.status();
  }
  if (!MayLack(facts.tokenizer.status())) return facts.tokenizer.status();
  if (!MayLack(facts.chat_template.status())) return facts.chat_template.status();
  return facts;
}

// Why there is none, or what cannot be read about it.
std::string Lacking(const absl::Status& status) {
  return absl::IsNotFound(status) ? kMissing : absl::StrCat("not read: ", status.message());
}

const char* TaskName(layout::Task task) {
  return task == layout::Task::kCausalLm ? "causal language model" : "reward model (one score)";
}

std::string Line(absl::string_view name, absl::string_view value) {
  return absl::StrFormat("%-16s%s\n", name, value);
}

std::string WeightsText(const absl::StatusOr<Weights>& weights) {
  if (!weights.ok()) return absl::StrCat("none: ", weights.status().message());
  std::vector<std::string> dtypes;
  for (const auto& [dtype, count] : weights->tensors) {
    dtypes.push_back(absl::StrCat(count, " tensors ", dtype));
  }
  return absl::StrCat(weights->bytes, " bytes in ", weights->files,
                      weights->files == 1 ? " file: " : " files: ", absl::StrJoin(dtypes, ", "));
}

std::string TextOf(const Facts& facts) {
  const layout::ModelConfig& config = facts.config;
  const bool tokenizer = facts.tokenizer.ok();
  std::vector<std::string> unknown;
  for (const std::string& key : facts.unknown_keys) unknown.push_back(Printable(key));
  return absl::StrCat(
      Line("family", config.model_type), Line("task", TaskName(config.task)),
      Line("parameters", absl::StrCat(facts.parameters)),
      Line("weights", WeightsText(facts.weights)),
      Line("layers", absl::StrCat(config.num_hidden_layers, " of width ", config.hidden_size, ", ",
                                  config.num_attention_heads, " heads, ",
                                  config.num_key_value_heads, " for keys and values")),
      Line("context", absl::StrCat(config.max_position_embeddings)),
      Line("vocabulary",
           absl::StrCat(config.vocab_size, config.tie_word_embeddings ? ", tied" : ", not tied")),
      Line("tokenizer", tokenizer ? absl::StrCat((*facts.tokenizer)->vocab_size(), " tokens")
                                  : Lacking(facts.tokenizer.status())),
      Line("chat template",
           facts.chat_template.ok() ? "yes" : Lacking(facts.chat_template.status())),
      Line("unknown keys", unknown.empty() ? kMissing : absl::StrJoin(unknown, ", ")));
}

Json WeightsJson(const absl::StatusOr<Weights>& weights) {
  if (!weights.ok()) return Json();
  Json tensors = Json::object();
  for (const auto& [dtype, count] : weights->tensors) tensors[dtype] = count;
  return {{"files", weights->files}, {"bytes", weights->bytes}, {"tensors", std::move(tensors)}};
}

std::string JsonOf(const Facts& facts) {
  const layout::ModelConfig& config = facts.config;
  Json json;
  json["family"] = config.model_type;
  json["task"] = config.task == layout::Task::kCausalLm ? "causal_lm" : "sequence_classification";
  json["parameters"] = facts.parameters;
  json["weights"] = WeightsJson(facts.weights);
  json["layers"] = config.num_hidden_layers;
  json["hidden_size"] = config.hidden_size;
  json["heads"] = config.num_attention_heads;
  json["key_value_heads"] = config.num_key_value_heads;
  json["context"] = config.max_position_embeddings;
  json["vocab_size"] = config.vocab_size;
  json["tied_embeddings"] = config.tie_word_embeddings;
  json["tokenizer_vocab_size"] =
      facts.tokenizer.ok() ? Json((*facts.tokenizer)->vocab_size()) : Json();
  json["chat_template"] = facts.chat_template.ok();
  json["unknown_config_keys"] = facts.unknown_keys;
  return absl::StrCat(DumpJson(json), "\n");
}

}  // namespace

absl::Status ModelInfoCommand(const ModelInfoOptions& options, std::ostream& out) {
  RETORT_ASSIGN_OR_RETURN(const Facts facts, ReadFacts(options.model));
  return WriteOutput(options.json ? JsonOf(facts) : TextOf(facts), out);
}

}  // namespace retort::driver
