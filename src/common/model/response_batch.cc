#include "common/model/response_batch.h"

#include "common/base/check.h"
#include "common/tensor/upload.h"

namespace retort::model {
namespace {

at::Tensor TensorOf(const std::vector<int64_t>& values) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

}  // namespace

ResponseBatch MakeResponseBatch(const SequenceSet& set, absl::Span<const int64_t> sequences) {
  ResponseBatch batch;
  std::vector<std::vector<int64_t>> inputs;
  std::vector<int64_t> rows, targets;
  int64_t row = 0;
  for (const int64_t i : sequences) {
    const int64_t length = set.begin[i + 1] - set.begin[i];
    const int64_t prompt = set.prompt_lengths[i];
    RETORT_CHECK(prompt >= 1 && length > prompt)
        << "sequence " << i << ": " << prompt << " of " << length;
    const int64_t* tokens = set.tokens.data() + set.begin[i];
    inputs.emplace_back(tokens, tokens + length - 1);
    for (int64_t t = prompt; t < length; ++t) {
      rows.push_back(row + t - 1);
      targets.push_back(tokens[t]);
    }
    row += length - 1;
    batch.sequences.push_back(i);
    batch.lengths.push_back(length - prompt);
  }
  batch.inputs = Pack(inputs);
  batch.rows = TensorOf(rows);
  batch.targets = TensorOf(targets);
  return batch;
}

at::Tensor ResponseHidden(const Model& model, const ResponseBatch& batch) {
  return model.Hidden(batch.inputs).index_select(0, tensor::Upload(batch.rows, model.device()));
}

}  // namespace retort::model
