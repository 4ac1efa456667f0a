// What makes NCCL's sums repeatable: one algorithm and one protocol for every size, chosen by
// variables that NCCL reads at its first call.
#pragma once

#include <string>

namespace retort::gpu {

// Sets those of NCCL_ALGO=allreduce:ring, NCCL_PROTO=Simple and NCCL_NVLS_ENABLE=0 that the
// environment lacks; a user's own value stays. Call it before the first call of NCCL, and first
// before the process has threads: other threads must not read the environment meanwhile. Calling it
// again changes nothing.
void SetNcclEnvironment();

// "NCCL_ALGO=allreduce:ring NCCL_PROTO=Simple NCCL_NVLS_ENABLE=0", as they are now, for the log.
std::string NcclEnvironmentText();

}  // namespace retort::gpu
