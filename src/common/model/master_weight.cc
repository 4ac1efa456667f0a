#include "common/model/master_weight.h"

#include <torch/csrc/autograd/custom_function.h>

#include "common/base/check.h"

namespace retort::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct RoundedMasterFunction : torch::autograd::Function<RoundedMasterFunction> {
  static at::Tensor forward(AutogradContext*, const at::Tensor&, const at::Tensor& rounded) {
    return rounded.detach();
  }

  static variable_list backward(AutogradContext*, variable_list grads) {
    return {grads[0].to(at::kFloat), at::Tensor()};
  }
};

}  // namespace

at::Tensor RoundedMaster(const at::Tensor& master, const at::Tensor& rounded) {
  RETORT_CHECK(master.is_leaf() && master.scalar_type() == at::kFloat &&
               rounded.scalar_type() == at::kBFloat16 && master.sizes() == rounded.sizes())
      << "a master of another shape or type";
  return RoundedMasterFunction::apply(master, rounded);
}

}  // namespace retort::model
