#include "common/model/head_logits.h"

#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "common/model/portable_matmul.h"

namespace retort::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// x [M, E] and w [V, E] of bf16 -> x w^T in fp32.
struct WideProductFunction : torch::autograd::Function<WideProductFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& w) {
    ctx->save_for_backward({x, w});
    return portable::MultiplyToFp32(x, w.t());
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &w = saved[1];
    const at::Tensor dy = grads[0].to(x.scalar_type());
    at::Tensor dx, dw;
    if (ctx->needs_input_grad(0)) dx = dy.mm(w);
    if (ctx->needs_input_grad(1)) dw = dy.t().mm(x);
    return {dx, dw};
  }
};

}  // namespace

at::Tensor HeadLogits(const at::Tensor& hidden, const HeadWeights& head) {
  const at::Tensor& bias = head.bias;
  if (hidden.scalar_type() == at::kFloat) {
    return at::linear(hidden, head.weight.to(at::kFloat),
                      bias.defined() ? std::optional(bias.to(at::kFloat)) : std::nullopt);
  }
  const at::Tensor z = WideProductFunction::apply(hidden, head.weight);
  return bias.defined() ? z + bias.to(at::kFloat) : z;
}

}  // namespace retort::model
