// What tells two tensors apart, without bringing a device's memory to the host.
#pragma once

#include "common/base/digest.h"
#include "common/tensor/aten.h"

namespace retort::tensor {

// Adds a fp32 tensor [n], contiguous, to the hasher. On the CPU: its bytes. On another device: for
// every block of 2^18 elements two sums of bits times fixed random odd numbers, modulo 2^64, taken
// there. A device's digest therefore compares with those of devices only. Throws what LibTorch
// throws.
void HashTensor(const at::Tensor& flat, Hasher* hasher);

}  // namespace retort::tensor
