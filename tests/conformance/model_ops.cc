// model.logits, model.score, model.values, model.reward_score, model.generate_greedy:
// README-text-model.md §3.
#include <vector>

#include "common/base/status_macros.h"
#include "common/model/generate.h"
#include "common/model/model.h"
#include "common/tensor/cat.h"
#include "conformance/model_case.h"
#include "conformance/op_registry.h"

namespace retort::conformance {
namespace {

absl::StatusOr<tensor::TensorMap> Logits(TensorCall& call) {
  const std::string folder = call.DataPath("model");
  const at::Tensor ids = call.Ids("input_ids");
  const at::Tensor mask = call.Mask("attention_mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(call, folder, /*value_head=*/false));
  const Attended attended = AttendedOf(ids, mask);
  const at::Tensor hidden = loaded.model.Hidden(model::Pack(attended.sequences));
  return tensor::TensorMap{{"logits", Scatter(attended, loaded.model.Logits(hidden))}};
}

absl::StatusOr<tensor::TensorMap> Lora(TensorCall& call) {
  const std::string folder = call.DataPath("model");
  const std::string adapter = call.DataPath("adapter");
  const at::Tensor ids = call.Ids("input_ids");
  const at::Tensor mask = call.Mask("attention_mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadAdapted(call, folder, adapter));
  const Attended attended = AttendedOf(ids, mask);
  const at::Tensor hidden = loaded.model.Hidden(model::Pack(attended.sequences));
  return tensor::TensorMap{{"logits", Scatter(attended, loaded.model.Logits(hidden))}};
}

absl::StatusOr<tensor::TensorMap> Score(TensorCall& call) {
  const std::string folder = call.DataPath("model");
  const double temperature = call.Number("temperature");
  const at::Tensor ids = call.Ids("input_ids");
  const at::Tensor mask = call.Mask("attention_mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(call, folder, /*value_head=*/false));
  const Attended attended = AttendedOf(ids, mask);
  const model::PackedBatch batch = model::Pack(attended.sequences);
  const at::Tensor hidden = loaded.model.Hidden(batch);
  // Row i predicts token i + 1 of its segment; the first token of a segment keeps 0.
  std::vector<int64_t> from, to;
  for (int64_t s = 0; s < batch.segments(); ++s) {
    for (int64_t i = batch.offsets[s] + 1; i < batch.offsets[s + 1]; ++i) {
      from.push_back(i - 1);
      to.push_back(i);
    }
  }
  const at::Tensor targets = at::tensor(to, at::kLong);
  const at::Tensor log_probs = at::zeros({batch.tokens()});
  const at::Tensor rows = at::tensor(from, at::kLong).to(call.device());
  log_probs.index_copy_(
      0, targets,
      loaded.model
          .LogProbs(hidden.index_select(0, rows), batch.ids.index_select(0, targets), temperature,
                    {loaded.model.config().vocab_size})
          .log_probs.cpu());
  return tensor::TensorMap{{"log_probs", Scatter(attended, log_probs)}};
}

absl::StatusOr<tensor::TensorMap> Values(TensorCall& call) {
  const std::string folder = call.DataPath("model");
  const at::Tensor ids = call.Ids("input_ids");
  const at::Tensor mask = call.Mask("attention_mask");
  const at::Tensor weight = call.Float(layout::kValueHeadWeight);
  const at::Tensor bias = call.Float(layout::kValueHeadBias);
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(call, folder, /*value_head=*/true));
  const layout::ParameterLayout& layout = loaded.arena.layout();
  loaded.arena.View(*layout.Find(layout::kValueHeadWeight)).copy_(weight);
  loaded.arena.View(*layout.Find(layout::kValueHeadBias)).copy_(bias);
  const Attended attended = AttendedOf(ids, mask);
  const at::Tensor hidden = loaded.model.Hidden(model::Pack(attended.sequences));
  return tensor::TensorMap{{"values", Scatter(attended, loaded.model.Values(hidden))}};
}

absl::StatusOr<tensor::TensorMap> RewardScore(TensorCall& call) {
  const std::string folder = call.DataPath("model");
  const at::Tensor ids = call.Ids("input_ids");
  const at::Tensor mask = call.Mask("attention_mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(call, folder, /*value_head=*/false));
  const model::PackedBatch batch = model::Pack(AttendedOf(ids, mask).sequences);
  std::vector<int64_t> last;
  for (int64_t s = 0; s < batch.segments(); ++s) {
    if (batch.offsets[s] == batch.offsets[s + 1]) {
      return absl::InvalidArgumentError("attention_mask has a row without a token");
    }
    last.push_back(batch.offsets[s + 1] - 1);
  }
  const at::Tensor rows = at::tensor(last, at::kLong).to(call.device());
  const at::Tensor hidden = loaded.model.Hidden(batch).index_select(0, rows);
  return tensor::TensorMap{{"scores", loaded.model.Scores(hidden).cpu()}};
}

absl::StatusOr<tensor::TensorMap> GenerateGreedy(TensorCall& call) {
  const std::string folder = call.DataPath("model");
  model::SamplingOptions options;
  options.greedy = true;
  options.max_new_tokens = call.Integer("max_new_tokens");
  options.eos_ids = call.OptionalIntegers("eos_token_id");
  const int64_t pad = call.Integer("pad_token_id");
  const at::Tensor ids = call.Ids("input_ids");
  const at::Tensor mask = call.Mask("attention_mask");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_ASSIGN_OR_RETURN(const LoadedModel loaded, LoadModel(call, folder, /*value_head=*/false));
  const Attended attended = AttendedOf(ids, mask);
  std::vector<model::SampleRequest> samples;
  for (int64_t row = 0; row < attended.rows; ++row) {
    samples.push_back({row, CounterRng(0, RngPurpose::kSampling, 0)});
  }
  RETORT_ASSIGN_OR_RETURN(const std::vector<model::GeneratedSample> generated,
                          Generate(loaded.model, attended.sequences, samples, options));
  at::Tensor responses = at::full({attended.rows, options.max_new_tokens}, pad, at::kLong);
  for (int64_t row = 0; row < attended.rows; ++row) {
    const std::vector<int64_t>& response = generated[row].ids;
    for (size_t i = 0; i < response.size(); ++i) responses[row][i] = response[i];
  }
  return tensor::TensorMap{{"sequences", tensor::Cat({ids, responses}, 1)}};
}

}  // namespace

void RegisterModelOps(OpRegistry* registry) {
  (*registry)["model.logits"] = {Logits, {}, {}};
  (*registry)["model.lora"] = {Lora, {}, {}};
  (*registry)["model.score"] = {Score, {}, {}};
  (*registry)["model.values"] = {Values, {}, {}};
  (*registry)["model.reward_score"] = {RewardScore, {}, {}};
  (*registry)["model.generate_greedy"] = {GenerateGreedy, {}, {}};
}

}  // namespace retort::conformance
