// The precompiled header of Torch rooms. What it holds is paid for by every source: the few that
// define a derivative include torch/csrc/autograd/custom_function.h themselves.
#pragma once

#include "common/base/base_pch.h"
#include "common/tensor/aten.h"
