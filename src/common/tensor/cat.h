// Concatenation. at::cat takes a list type whose header brings in all of IValue, which would cost
// every Torch source more than a second of compile time; tensor lists proper, as at::stack takes,
// do not.
#pragma once

#include "common/tensor/aten.h"

namespace retort::tensor {

// at::cat: `tensors`, none of them undefined, one after another along `dim`. Differentiable.
at::Tensor Cat(at::TensorList tensors, int64_t dim = 0);

}  // namespace retort::tensor
