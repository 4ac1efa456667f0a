// The precompiled header of all Torch rooms: exactly the ATen and autograd headers that Retort
// uses. Files still include what they use; this header only makes that cheap.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/generated/variable_factories.h>
