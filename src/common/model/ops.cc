#include "common/model/ops.h"

#include <torch/csrc/autograd/custom_function.h>

#include "common/base/check.h"
#include "common/model/row_kernels.h"

namespace retort::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

const float* Data(const at::Tensor& t) { return t.const_data_ptr<float>(); }
float* Mutable(const at::Tensor& t) { return t.mutable_data_ptr<float>(); }

struct RmsNormFunction : torch::autograd::Function<RmsNormFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor y = at::empty_like(x);
    at::Tensor rstd = at::empty({rows}, x.options());
    RmsNormForward(Data(x), Data(weight), eps, rows, width, Mutable(y), Mutable(rstd));
    ctx->save_for_backward({x, weight, rstd});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor dx, dweight;
    if (ctx->needs_input_grad(0)) dx = at::empty_like(x);
    if (ctx->needs_input_grad(1)) dweight = at::empty_like(saved[1]);
    RmsNormBackward(Data(dy), Data(x), Data(saved[1]), Data(saved[2]), x.size(0), x.size(1),
                    dx.defined() ? Mutable(dx) : nullptr,
                    dweight.defined() ? Mutable(dweight) : nullptr);
    return {dx, dweight, at::Tensor()};
  }
};

struct SwiGluFunction : torch::autograd::Function<SwiGluFunction> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up) {
    const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
    at::Tensor y = at::empty({rows, width}, gate_up.options());
    SwiGluForward(Data(gate_up), rows, width, Mutable(y));
    ctx->save_for_backward({gate_up});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor gate_up = ctx->get_saved_variables()[0];
    const at::Tensor dy = grads[0].contiguous();
    at::Tensor dgate_up = at::empty_like(gate_up);
    SwiGluBackward(Data(dy), Data(gate_up), gate_up.size(0), gate_up.size(1) / 2,
                   Mutable(dgate_up));
    return {dgate_up};
  }
};

struct RopeAttentionFunction : torch::autograd::Function<RopeAttentionFunction> {
  static AttentionInput Input(const AttentionShape& shape, const at::Tensor& qkv,
                              const at::Tensor& cos, const at::Tensor& sin,
                              const at::Tensor& positions, const std::vector<int64_t>& offsets) {
    return {shape, RopeAngles{cos, sin}.view(), Data(qkv), positions.const_data_ptr<int64_t>(),
            &offsets};
  }

  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& qkv, const at::Tensor& cos,
                            const at::Tensor& sin, const at::Tensor& positions, int64_t heads,
                            int64_t kv_heads, int64_t head_dim,
                            const std::vector<int64_t>& offsets) {
    const AttentionShape shape{heads, kv_heads, head_dim};
    at::Tensor out = at::empty({qkv.size(0), shape.q_width()}, qkv.options());
    at::Tensor lse = at::empty({qkv.size(0), heads}, qkv.options());
    AttentionForward(Input(shape, qkv, cos, sin, positions, offsets), Mutable(out), Mutable(lse));
    ctx->save_for_backward({qkv, cos, sin, positions, out, lse});
    ctx->saved_data["shape"] = std::vector<int64_t>{heads, kv_heads, head_dim};
    ctx->saved_data["offsets"] = offsets;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const std::vector<int64_t> sizes = ctx->saved_data["shape"].toIntVector();
    const std::vector<int64_t> offsets = ctx->saved_data["offsets"].toIntVector();
    const AttentionShape shape{sizes[0], sizes[1], sizes[2]};
    const at::Tensor dout = grads[0].contiguous();
    at::Tensor dqkv = at::empty_like(saved[0]);
    AttentionBackward(Input(shape, saved[0], saved[1], saved[2], saved[3], offsets), Data(saved[4]),
                      Data(saved[5]), Data(dout), Mutable(dqkv));
    const at::Tensor none;
    return {dqkv, none, none, none, none, none, none, none};
  }
};

void CheckMatrix(const at::Tensor& t) {
  RETORT_CHECK(t.dim() == 2 && t.is_contiguous() && t.scalar_type() == at::kFloat)
      << "expected a contiguous fp32 matrix";
}

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  CheckMatrix(x);
  RETORT_CHECK(weight.numel() == x.size(1)) << "norm of " << weight.numel() << " columns";
  return RmsNormFunction::apply(x, weight, eps);
}

at::Tensor SwiGlu(const at::Tensor& gate_up) {
  CheckMatrix(gate_up);
  return SwiGluFunction::apply(gate_up);
}

at::Tensor RopeAttention(const at::Tensor& qkv, const AttentionShape& shape,
                         const RopeAngles& angles, const at::Tensor& positions,
                         const std::vector<int64_t>& offsets) {
  CheckMatrix(qkv);
  RETORT_CHECK(qkv.size(1) == shape.qkv_width() && positions.numel() == qkv.size(0) &&
               offsets.back() == qkv.size(0))
      << "attention over " << qkv.size(0) << " rows";
  return RopeAttentionFunction::apply(qkv, angles.cos, angles.sin, positions, shape.heads,
                                      shape.kv_heads, shape.head_dim, offsets);
}

}  // namespace retort::model
