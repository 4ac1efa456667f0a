// The device that tests compute on where they say "not the CPU": the pretended one
// (pretend_device.h), and in retort-gpu-test the machine's GPU.
#pragma once

#include "common/tensor/aten.h"

namespace retort {

at::Device TestDevice();

}  // namespace retort
