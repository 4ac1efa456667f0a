// The linear map of many rows with few inputs. Where a dot product is short, adding its lanes costs
// as much as the product itself: here a vector holds a lane of many outputs instead of the lanes of
// one, so that all lanes are added by whole vectors. The weights are transposed on the way, a panel
// at a time, which enough rows pay for. The same bits as the dot products give. Internal.
#pragma once

#include <cstdint>

#include "common/model/linear_task.h"

namespace retort::model {

// Outputs of a panel.
inline constexpr int64_t kPanelOutputs = 32;

// Whether panels are faster than dot products, with the kernels that this CPU runs.
bool PanelsPay(int64_t rows, int64_t inputs, int64_t outputs);

// Computes the whole panels of [begin, end); returns the first output that is left. `inputs` must
// be a multiple of simd::kMaxLanes (CHECK).
int64_t MultiplyPanels(const LinearTask<Fp32>& task);
int64_t MultiplyPanels(const LinearTask<Bf16>& task);

}  // namespace retort::model
