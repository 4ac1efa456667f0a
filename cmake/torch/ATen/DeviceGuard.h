// Stands before the header of the same name in LibTorch, which every operator header includes. That
// one has a device_of(ITensorListRef) besides, and so instantiates IValue's containers in each
// source that knows any operator: 1.2 s a source, more than half of what an empty one costs.
// Nothing in ATen's headers calls that function.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>

#include <optional>

namespace at {

inline std::optional<Device> device_of(const Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor.device()) : std::nullopt;
}

inline std::optional<Device> device_of(const std::optional<Tensor>& tensor) {
  return tensor ? device_of(*tensor) : std::nullopt;
}

}  // namespace at
