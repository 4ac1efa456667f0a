#include "common/model/portable_rows.h"

#include "common/tensor/cat.h"

namespace retort::model::portable {
namespace {

at::Tensor Wide(const at::Tensor& t) { return t.to(at::kFloat); }

// The derivative in x of a norm: rstd * (g - mean(g) [if centred] - x^ * mean(g * x^)), where g is
// that in the normed x^ [N, H].
at::Tensor InputGradient(const at::Tensor& g, const at::Tensor& normed, const at::Tensor& rstd,
                         bool centred) {
  const at::Tensor along = (g * normed).mean(-1, /*keepdim=*/true);
  at::Tensor dx = g - normed * along;
  if (centred) dx.sub_(g.mean(-1, /*keepdim=*/true));
  return dx.mul_(rstd);
}

}  // namespace

RmsNormOutput RmsNormForward(const at::Tensor& x, const at::Tensor& weight, double eps,
                             double offset) {
  const at::Tensor wide = Wide(x);
  RmsNormOutput out;
  out.rstd = wide.square().mean(-1, /*keepdim=*/true).add_(eps).rsqrt_();
  const at::Tensor factor = offset == 0 ? Wide(weight) : Wide(weight) + offset;
  out.y = (wide * out.rstd).mul_(factor).to(x.scalar_type());
  return out;
}

NormGradients RmsNormBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                              const at::Tensor& rstd, double offset, const NormWants& wants) {
  const at::Tensor wide = Wide(dy), normed = Wide(x) * rstd;
  NormGradients gradients;
  if (wants.weight) gradients.weight = (wide * normed).sum(0).to(weight.scalar_type());
  if (wants.x) {
    const at::Tensor factor = offset == 0 ? Wide(weight) : Wide(weight) + offset;
    gradients.x = InputGradient(wide * factor, normed, rstd, /*centred=*/false).to(x.scalar_type());
  }
  return gradients;
}

LayerNormOutput LayerNormForward(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias, double eps) {
  const at::Tensor wide = Wide(x);
  LayerNormOutput out;
  out.mean = wide.mean(-1, /*keepdim=*/true);
  const at::Tensor centred = wide - out.mean;
  out.rstd = centred.square().mean(-1, /*keepdim=*/true).add_(eps).rsqrt_();
  out.y = (centred * out.rstd).mul_(Wide(weight)).add_(Wide(bias)).to(x.scalar_type());
  return out;
}

NormGradients LayerNormBackward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& mean, const at::Tensor& rstd,
                                const NormWants& wants) {
  const at::Tensor wide = Wide(dy), normed = (Wide(x) - mean).mul_(rstd);
  NormGradients gradients;
  if (wants.weight) gradients.weight = (wide * normed).sum(0).to(weight.scalar_type());
  if (wants.bias) gradients.bias = wide.sum(0).to(weight.scalar_type());
  if (wants.x) {
    gradients.x =
        InputGradient(wide * Wide(weight), normed, rstd, /*centred=*/true).to(x.scalar_type());
  }
  return gradients;
}

at::Tensor SwiGluForward(const at::Tensor& gate_up) {
  const int64_t width = gate_up.size(1) / 2;
  return at::silu(gate_up.narrow(1, 0, width)).mul_(gate_up.narrow(1, width, width));
}

at::Tensor SwiGluBackward(const at::Tensor& dy, const at::Tensor& gate_up) {
  const int64_t width = gate_up.size(1) / 2;
  const at::Tensor gate = gate_up.narrow(1, 0, width), up = gate_up.narrow(1, width, width);
  return tensor::Cat({at::silu_backward(dy * up, gate), at::silu(gate).mul_(dy)}, 1);
}

}  // namespace retort::model::portable
