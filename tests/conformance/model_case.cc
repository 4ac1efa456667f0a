#include "conformance/model_case.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/layout/adapter_config.h"
#include "common/layout/adapter_layout.h"
#include "common/layout/model_config.h"
#include "common/tensor/model_weights.h"

namespace retort::conformance {

Attended AttendedOf(const at::Tensor& ids, const at::Tensor& mask) {
  Attended attended{ids.size(0), ids.size(1), {}, {}};
  const auto id = ids.accessor<int64_t, 2>();
  const auto keep = mask.accessor<bool, 2>();
  for (int64_t row = 0; row < attended.rows; ++row) {
    std::vector<int64_t> sequence;
    for (int64_t column = 0; column < attended.columns; ++column) {
      if (!keep[row][column]) continue;
      sequence.push_back(id[row][column]);
      attended.cells.push_back(row * attended.columns + column);
    }
    attended.sequences.push_back(std::move(sequence));
  }
  return attended;
}

at::Tensor Scatter(const Attended& attended, const at::Tensor& values) {
  const at::Tensor host = values.cpu();
  std::vector<int64_t> shape = host.sizes().vec();
  shape[0] = attended.rows * attended.columns;
  const at::Tensor out = at::zeros(shape, host.options());
  out.index_copy_(0, at::tensor(attended.cells, at::kLong), host);
  shape[0] = attended.columns;
  shape.insert(shape.begin(), attended.rows);
  return out.view(shape);
}

absl::StatusOr<LoadedModel> LoadModel(Parameters& call, const std::string& folder,
                                      bool value_head) {
  RETORT_ASSIGN_OR_RETURN(std::string family, layout::ReadModelType(folder));
  call.SetFamily(std::move(family));
  RETORT_ASSIGN_OR_RETURN(const layout::ModelConfig config, layout::LoadModelConfig(folder));
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena arena,
                          tensor::ReadModelArena(folder, layout::LayoutFor(config, value_head)));
  if (!call.device().is_cpu()) {
    RETORT_ASSIGN_OR_RETURN(arena, arena.CopyTo(call.device()));
  }
  return LoadedModel{arena, model::Model(config, arena)};
}

absl::StatusOr<LoadedModel> LoadAdapted(Parameters& call, const std::string& folder,
                                        const std::string& adapter) {
  RETORT_ASSIGN_OR_RETURN(LoadedModel loaded, LoadModel(call, folder, /*value_head=*/false));
  const layout::ModelConfig& config = loaded.model.config();
  RETORT_ASSIGN_OR_RETURN(const layout::AdapterConfig options, layout::LoadAdapterConfig(adapter));
  RETORT_ASSIGN_OR_RETURN(const layout::AdapterLayout layout,
                          layout::AdapterLayoutFor(config, options, /*value_head=*/false));
  RETORT_ASSIGN_OR_RETURN(tensor::ParameterArena weights,
                          tensor::ParameterArena::Allocate(layout.parameters));
  RETORT_RETURN_IF_ERROR(tensor::LoadAdapterWeights(adapter, &weights));
  if (!call.device().is_cpu()) {
    RETORT_ASSIGN_OR_RETURN(weights, weights.CopyTo(call.device()));
  }
  loaded.model = model::Model(config, loaded.arena, layout, weights);
  return loaded;
}

}  // namespace retort::conformance
