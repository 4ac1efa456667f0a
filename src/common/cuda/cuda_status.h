// CUDA's and NCCL's results as status. Internal to cuda/.
#pragma once

#include <cuda_runtime.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace retort::gpu {

// OK, or the error as gpu_api.h sorts them; `call` names what failed. An error that the run-time
// would otherwise report again at the next call is taken from it.
absl::Status CudaStatus(cudaError_t result, absl::string_view call);

}  // namespace retort::gpu
