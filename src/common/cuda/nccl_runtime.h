// NCCL as gpu::NcclApi.
#pragma once

#include "common/gpu/nccl_api.h"

namespace retort::gpu {

// Of the process; lives as long as it. A communicator is of the device that is current in the
// thread that calls Init.
NcclApi& NcclRuntime();

}  // namespace retort::gpu
