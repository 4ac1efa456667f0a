// gpu::Api by the CUDA run-time.
#pragma once

#include "common/gpu/gpu_api.h"

namespace retort::gpu {

// Lives as long as the process.
Api& CudaApi();

}  // namespace retort::gpu
