// A parameter that is kept in fp32 and computed with in bf16.
#pragma once

#include "common/tensor/aten.h"

namespace retort::model {

// `rounded` as what is differentiated in `master`: the value is that of `rounded` (bf16, the same
// shape, memory shared), the derivative is widened to fp32 and goes to `master`, a leaf whose own
// value is not read. May be used in any number of forwards; every one sees the memory as it is
// then. What several uses give is added up in bf16 before it is widened: a call for each use avoids
// that.
at::Tensor RoundedMaster(const at::Tensor& master, const at::Tensor& rounded);

}  // namespace retort::model
