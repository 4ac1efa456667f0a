// What the host computed, on its way to a device.
#pragma once

#include "common/tensor/aten.h"

namespace retort::tensor {

// `host` on `device`, in the order of the stream that the thread computes on; the host does not
// wait for what is in it. `host`, in ordinary memory, may be freed or changed at once. On the CPU:
// `host` itself.
inline at::Tensor Upload(const at::Tensor& host, const at::Device& device) {
  return host.to(device, host.scalar_type(), /*non_blocking=*/true);
}

}  // namespace retort::tensor
