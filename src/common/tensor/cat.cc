#include "common/tensor/cat.h"

#include <ATen/core/IListRef.h>
#include <ATen/ops/cat.h>

namespace retort::tensor {

at::Tensor Cat(at::TensorList tensors, int64_t dim) { return at::cat(tensors, dim); }

}  // namespace retort::tensor
