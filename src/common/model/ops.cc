#include "common/model/ops.h"

#include <torch/csrc/autograd/custom_function.h>

#include "common/base/check.h"
#include "common/model/portable_attention.h"
#include "common/model/portable_rows.h"
#include "common/model/row_kernels.h"
#include "common/tensor/cat.h"

namespace retort::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const float* Data(const at::Tensor& t) { return t.const_data_ptr<float>(); }
float* Mutable(const at::Tensor& t) { return t.mutable_data_ptr<float>(); }

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            double eps, double offset) {
    ctx->saved_data["offset"] = offset;
    if (!x.is_cpu()) {
      const portable::RmsNormOutput out = portable::RmsNormForward(x, weight, eps, offset);
      ctx->save_for_backward({x, weight, out.rstd});
      return out.y;
    }
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor y = at::empty_like(x);
    at::Tensor rstd = at::empty({rows}, x.options());
    RmsNormForward(Data(x), Data(weight), eps, rows, width, Mutable(y), Mutable(rstd),
                   static_cast<float>(offset));
    ctx->save_for_backward({x, weight, rstd});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor dy = grads[0].contiguous();
    const double offset = ctx->saved_data["offset"].toDouble();
    if (!x.is_cpu()) {
      const portable::NormGradients g =
          portable::RmsNormBackward(dy, x, saved[1], saved[2], offset,
                                    {ctx->needs_input_grad(0), ctx->needs_input_grad(1), false});
      return {g.x, g.weight, at::Tensor(), at::Tensor()};
    }
    at::Tensor dx, dweight;
    if (ctx->needs_input_grad(0)) dx = at::empty_like(x);
    if (ctx->needs_input_grad(1)) dweight = at::empty_like(saved[1]);
    RmsNormBackward(Data(dy), Data(x), Data(saved[1]), Data(saved[2]), x.size(0), x.size(1),
                    dx.defined() ? Mutable(dx) : nullptr,
                    dweight.defined() ? Mutable(dweight) : nullptr, static_cast<float>(offset));
    return {dx, dweight, at::Tensor(), at::Tensor()};
  }
};

struct LayerNormFunction : torch::autograd::Function<LayerNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, double eps) {
    if (!x.is_cpu()) {
      const portable::LayerNormOutput out = portable::LayerNormForward(x, weight, bias, eps);
      ctx->save_for_backward({x, weight, out.mean, out.rstd});
      return out.y;
    }
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor y = at::empty_like(x);
    at::Tensor mean = at::empty({rows}, x.options());
    at::Tensor rstd = at::empty({rows}, x.options());
    LayerNormForward(Data(x), Data(weight), Data(bias), eps, rows, width, Mutable(y), Mutable(mean),
                     Mutable(rstd));
    ctx->save_for_backward({x, weight, mean, rstd});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list s = ctx->get_saved_variables();
    const at::Tensor dy = grads[0].contiguous();
    if (!dy.is_cpu()) {
      const portable::NormGradients g = portable::LayerNormBackward(
          dy, s[0], s[1], s[2], s[3],
          {ctx->needs_input_grad(0), ctx->needs_input_grad(1), ctx->needs_input_grad(2)});
      return {g.x, g.weight, g.bias, at::Tensor()};
    }
    at::Tensor dx, dweight, dbias;
    if (ctx->needs_input_grad(0)) dx = at::empty_like(s[0]);
    if (ctx->needs_input_grad(1)) dweight = at::empty_like(s[1]);
    if (ctx->needs_input_grad(2)) dbias = at::empty_like(s[1]);
    LayerNormBackward(Data(dy), Data(s[0]), Data(s[1]), Data(s[2]), Data(s[3]), dy.size(0),
                      dy.size(1), dx.defined() ? Mutable(dx) : nullptr,
                      dweight.defined() ? Mutable(dweight) : nullptr,
                      dbias.defined() ? Mutable(dbias) : nullptr);
    return {dx, dweight, dbias, at::Tensor()};
  }
};

struct SwiGluFunction : torch::autograd::Function<SwiGluFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up) {
    ctx->save_for_backward({gate_up});
    if (!gate_up.is_cpu()) return portable::SwiGluForward(gate_up);
    const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
    at::Tensor y = at::empty({rows, width}, gate_up.options());
    SwiGluForward(Data(gate_up), rows, width, Mutable(y));
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor gate_up = ctx->get_saved_variables()[0];
    const at::Tensor dy = grads[0].contiguous();
    if (!dy.is_cpu()) return {portable::SwiGluBackward(dy, gate_up)};
    at::Tensor dgate_up = at::empty_like(gate_up);
    SwiGluBackward(Data(dy), Data(gate_up), gate_up.size(0), gate_up.size(1) / 2,
                   Mutable(dgate_up));
    return {dgate_up};
  }
};

struct RopeAttentionFunction : torch::autograd::Function<RopeAttentionFunction> {
  static AttentionInput Input(const AttentionShape& shape, const AttentionRule& rule,
                              const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin,
                              const at::Tensor& positions, const std::vector<int64_t>& offsets) {
    return {
        shape,   rule, RopeAngles{cos, sin}.view(), Data(qkv), positions.const_data_ptr<int64_t>(),
        &offsets};
  }

  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& qkv, const at::Tensor& cos,
                            const at::Tensor& sin, const at::Tensor& positions,
                            const AttentionShape& shape, const AttentionRule& rule,
                            const std::vector<int64_t>& offsets) {
    at::Tensor out, lse;
    if (qkv.is_cpu()) {
      out = at::empty({qkv.size(0), shape.q_width()}, qkv.options());
      lse = at::empty({qkv.size(0), shape.heads}, qkv.options());
      AttentionForward(Input(shape, rule, qkv, cos, sin, positions, offsets), Mutable(out),
                       Mutable(lse));
    } else {
      const portable::AttentionOutput result =
          portable::AttentionForward({shape, rule, {cos, sin}, qkv, positions, offsets});
      out = result.out;
      lse = result.lse;
    }
    ctx->save_for_backward({qkv, cos, sin, positions, out, lse});
    ctx->saved_data["sizes"] = std::vector<int64_t>{shape.heads, shape.kv_heads,  shape.head_dim,
                                                    rule.window, rule.rotary_dim, rule.interleaved};
    ctx->saved_data["scale"] = rule.scale;
    ctx->saved_data["soft_cap"] = rule.soft_cap;
    ctx->saved_data["offsets"] = offsets;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const std::vector<int64_t> sizes = ctx->saved_data["sizes"].toIntVector();
    const std::vector<int64_t> offsets = ctx->saved_data["offsets"].toIntVector();
    const AttentionShape shape{sizes[0], sizes[1], sizes[2]};
    const AttentionRule rule{static_cast<float>(ctx->saved_data["scale"].toDouble()),
                             static_cast<float>(ctx->saved_data["soft_cap"].toDouble()), sizes[3],
                             sizes[4], sizes[5] != 0};
    const at::Tensor dout = grads[0].contiguous();
    const at::Tensor none;
    if (!dout.is_cpu()) {
      const at::Tensor dqkv = portable::AttentionBackward(
          {shape, rule, {saved[1], saved[2]}, saved[0], saved[3], offsets}, {saved[4], saved[5]},
          dout);
      return {dqkv, none, none, none, none, none, none};
    }
    at::Tensor dqkv = at::empty_like(saved[0]);
    AttentionBackward(Input(shape, rule, saved[0], saved[1], saved[2], saved[3], offsets),
                      Data(saved[4]), Data(saved[5]), Data(dout), Mutable(dqkv));
    return {dqkv, none, none, none, none, none, none};
  }
};

void CheckMatrix(const at::Tensor& t) {
  const bool known =
      t.scalar_type() == at::kFloat || (t.scalar_type() == at::kBFloat16 && !t.is_cpu());
  RETORT_CHECK(t.dim() == 2 && t.is_contiguous() && known)
      << "expected a contiguous fp32 matrix, or one of bf16 on another device than the CPU";
}

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps, double offset) {
  CheckMatrix(x);
  RETORT_CHECK(weight.numel() == x.size(1)) << "norm of " << weight.numel() << " columns";
  return RmsNormFunction::apply(x, weight, eps, offset);
}

at::Tensor LayerNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     double eps) {
  CheckMatrix(x);
  RETORT_CHECK(weight.numel() == x.size(1) && bias.numel() == x.size(1))
      << "norm of " << weight.numel() << " columns";
  return LayerNormFunction::apply(x, weight, bias, eps);
}

at::Tensor SwiGlu(const at::Tensor& gate_up) {
  CheckMatrix(gate_up);
  return SwiGluFunction::apply(gate_up);
}

at::Tensor Activate(const layout::MlpConfig& mlp, const at::Tensor& x) {
  const bool silu = mlp.activation == layout::Activation::kSilu;
  if (mlp.gated && silu) return SwiGlu(x);
  const int64_t width = mlp.gated ? x.size(1) / 2 : x.size(1);
  const at::Tensor gate = mlp.gated ? x.narrow(1, 0, width) : x;
  at::Tensor y;
  switch (mlp.activation) {
    case layout::Activation::kSilu:
      y = at::silu(gate);
      break;
    case layout::Activation::kGeluTanh:
      y = at::gelu(gate, "tanh");
      break;
    case layout::Activation::kGelu:
      y = at::gelu(gate);
      break;
    case layout::Activation::kRelu:
      y = at::relu(gate);
      break;
  }
  return mlp.gated ? y * x.narrow(1, width, width) : y;
}

at::Tensor QkNorm(const at::Tensor& qkv, const AttentionShape& shape, const at::Tensor& q_weight,
                  const at::Tensor& k_weight, double eps, double offset) {
  const int64_t rows = qkv.size(0), q = shape.q_width(), kv = shape.kv_width();
  const auto heads = [&](int64_t begin, int64_t width, const at::Tensor& weight) {
    const at::Tensor part = qkv.narrow(1, begin, width).reshape({-1, shape.head_dim}).contiguous();
    return RmsNorm(part, weight, eps, offset).view({rows, width});
  };
  return tensor::Cat({heads(0, q, q_weight), heads(q, kv, k_weight), qkv.narrow(1, q + kv, kv)}, 1);
}

at::Tensor SoftCap(const at::Tensor& x, double cap) {
  return cap == 0 ? x : at::tanh(x / cap) * cap;
}

at::Tensor RopeAttention(const at::Tensor& qkv, const AttentionShape& shape,
                         const AttentionRule& rule, const RopeAngles& angles,
                         const at::Tensor& positions, const std::vector<int64_t>& offsets) {
  CheckMatrix(qkv);
  RETORT_CHECK(qkv.size(1) == shape.qkv_width() && positions.numel() == qkv.size(0) &&
               offsets.back() == qkv.size(0))
      << "attention over " << qkv.size(0) << " rows";
  return RopeAttentionFunction::apply(qkv, angles.cos, angles.sin, positions, shape, rule, offsets);
}

}  // namespace retort::model
