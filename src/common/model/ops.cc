#include "common/model/ops.h"

#include <torch/csrc/autograd/custom_function.h>

#include <utility>

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

// What an attention's backward knows besides tensors.
struct SavedAttention : torch::CustomClassHolder {
  AttentionShape shape;
  AttentionRule rule;
  SharedSegments segments;

  AttentionInput Input(const at::Tensor& qkv, const RopeAngles& angles) const {
    return {shape,
            rule,
            angles.view(),
            Data(qkv),
            segments->positions.const_data_ptr<int64_t>(),
            &segments->offsets};
  }
  portable::AttentionTensors Tensors(const at::Tensor& qkv, const RopeAngles& angles) const {
    return {shape, rule, angles, qkv, segments->positions, &segments->plan};
  }
};

struct RopeAttentionFunction : torch::autograd::Function<RopeAttentionFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& qkv, const at::Tensor& cos,
                            const at::Tensor& sin, const AttentionShape& shape,
                            const AttentionRule& rule, const SharedSegments& segments) {
    auto own = c10::make_intrusive<SavedAttention>();
    own->shape = shape;
    own->rule = rule;
    own->segments = segments;
    portable::AttentionOutput result;
    if (qkv.is_cpu()) {
      result.out = at::empty({qkv.size(0), shape.q_width()}, qkv.options());
      result.lse = at::empty({qkv.size(0), shape.heads}, qkv.options());
      AttentionForward(own->Input(qkv, {cos, sin}), Mutable(result.out), Mutable(result.lse));
    } else {
      result = portable::AttentionForward(own->Tensors(qkv, {cos, sin}));
    }
    ctx->save_for_backward({qkv, cos, sin, result.out, result.lse});
    ctx->saved_data["attention"] = c10::IValue::make_capsule(std::move(own));
    return result.out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const auto own = c10::static_intrusive_pointer_cast<SavedAttention>(
        ctx->saved_data["attention"].toCapsule());
    const at::Tensor& qkv = saved[0];
    const RopeAngles angles{saved[1], saved[2]};
    const at::Tensor dout = grads[0].contiguous();
    at::Tensor dqkv;
    if (dout.is_cpu()) {
      dqkv = at::empty_like(qkv);
      AttentionBackward(own->Input(qkv, angles), Data(saved[3]), Data(saved[4]), Data(dout),
                        Mutable(dqkv));
    } else {
      dqkv = portable::AttentionBackward(own->Tensors(qkv, angles), {saved[3], saved[4]}, dout);
    }
    return {dqkv, {}, {}, {}, {}, {}};
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

SharedSegments SegmentsOf(const AttentionShape& shape, const at::Tensor& positions,
                          const std::vector<int64_t>& offsets) {
  RETORT_CHECK(positions.numel() == offsets.back()) << positions.numel() << " positions";
  SegmentPlan plan;
  if (!positions.is_cpu()) plan = portable::PlanSegments(shape, offsets, positions.device());
  return std::make_shared<const AttentionSegments>(
      AttentionSegments{positions, offsets, std::move(plan)});
}

at::Tensor RopeAttention(const at::Tensor& qkv, const AttentionShape& shape,
                         const AttentionRule& rule, const RopeAngles& angles,
                         const SharedSegments& segments) {
  CheckMatrix(qkv);
  RETORT_CHECK(qkv.size(1) == shape.qkv_width() && segments->offsets.back() == qkv.size(0))
      << "attention over " << qkv.size(0) << " rows";
  return RopeAttentionFunction::apply(qkv, angles.cos, angles.sin, shape, rule, segments);
}

}  // namespace retort::model
