// Tensors of a GPU over a collective of the host: they are copied through pinned memory. For ranks
// that NCCL cannot bring together, such as two on one GPU.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/collective/collective.h"
#include "common/gpu/gpu_api.h"

namespace retort::collective {

// What `inner` does, for tensors of device `device` of `api` too; their sums are inner's, in rank
// order. AllocateBuffer gives device memory. A rank alone copies nothing. `api` outlives the group
// and its buffers. `options`: the deadline holds for each copy. Errors: those of the GPU when it
// has no memory for the copies; the operations also return INTERNAL with the run-time's text, and
// break the group for all ranks.
absl::StatusOr<std::unique_ptr<Collective>> StageThroughHost(std::unique_ptr<Collective> inner,
                                                             gpu::Api* api, int device,
                                                             const CollectiveOptions& options);

}  // namespace retort::collective
