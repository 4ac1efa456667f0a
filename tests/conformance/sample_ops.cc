// sample.filter: README-text-model.md §4.
#include <vector>

#include "common/base/status_macros.h"
#include "common/model/sampling.h"
#include "conformance/op_registry.h"

namespace retort::conformance {
namespace {

absl::StatusOr<tensor::TensorMap> Filter(TensorCall& call) {
  model::FilterOptions options;
  options.temperature = call.Number("temperature", options.temperature);
  options.top_k = call.Integer("top_k", options.top_k);
  options.top_p = call.Number("top_p", options.top_p);
  options.min_p = call.Number("min_p", options.min_p);
  options.repetition_penalty = call.Number("repetition_penalty", options.repetition_penalty);
  const at::Tensor logits = call.Float("logits").to(at::kFloat).contiguous();
  at::Tensor ids, mask;
  if (call.Has("input_ids")) {
    ids = call.Ids("input_ids");
    mask = call.Mask("attention_mask");
  }
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  RETORT_RETURN_IF_ERROR(model::ValidateFilter(options));
  const int64_t vocab = logits.size(1);
  at::Tensor probs = at::empty_like(logits);
  model::RowFilter filter;
  for (int64_t row = 0; row < logits.size(0); ++row) {
    std::vector<int64_t> context;
    for (int64_t i = 0; ids.defined() && i < ids.size(1); ++i) {
      if (mask[row][i].item<bool>()) context.push_back(ids[row][i].item<int64_t>());
    }
    const absl::Span<const float> in(logits.const_data_ptr<float>() + row * vocab, vocab);
    if (!filter.Apply(options, {vocab, {}}, in, {context, 0})) {
      return absl::InvalidArgumentError("logits have no distribution");
    }
    float* out = probs.mutable_data_ptr<float>() + row * vocab;
    for (int64_t i = 0; i < vocab; ++i) {
      out[i] = static_cast<float>(filter.probs()[i] / filter.total());
    }
  }
  return tensor::TensorMap{{"probs", probs}};
}

}  // namespace

void RegisterSampleOps(OpRegistry* registry) { (*registry)["sample.filter"] = {Filter, {}, {}}; }

}  // namespace retort::conformance
