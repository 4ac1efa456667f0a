// A LibTorch device, "privateuseone:0", whose memory is this machine's: what a GPU's tensors go
// through runs here with real numbers. Loading the library registers it (linked, or dlopened before
// anything touches ATen). It shows what a GPU would refuse: the CPU cannot touch the memory, a read
// or write through a tensor's data pointer faults; an operation whose tensors lie on both throws
// (as on a GPU, tensors of no dimension may); new memory holds NaN. Operations themselves are the
// CPU's, on copies. Thread-safe.
#pragma once

#include <cstdint>

#include "common/tensor/aten.h"

namespace retort::pretend {

at::Device Device();

// Device memory outside of LibTorch, 512-byte aligned, for at::from_blob with Device(). Throws
// c10::Error when there is none left.
void* Allocate(int64_t bytes);
void Free(void* memory);

// Where the CPU finds what lies at the device's `address`. Memory that is not from here, over which
// tensors of the device may lie too, is where it is.
void* HostAddress(const void* address);

}  // namespace retort::pretend
