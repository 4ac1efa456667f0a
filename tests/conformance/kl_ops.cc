#include "common/base/status_macros.h"
#include "common/objective/kl_controller.h"
#include "conformance/op_registry.h"

namespace retort::conformance {
namespace {

absl::StatusOr<tensor::TensorMap> Controller(TensorCall& call, bool adaptive) {
  objective::KlControllerOptions options;
  options.adaptive = adaptive;
  options.init_kl = call.Number("init_kl", 0.2);
  if (adaptive) {
    options.target = call.Number("target", 6);
    options.horizon = call.Number("horizon", 10000);
  }
  const at::Tensor current = call.Float("current");
  const at::Tensor n_steps = call.Ids("n_steps");
  RETORT_RETURN_IF_ERROR(call.CheckArguments());
  objective::KlController controller(options);
  at::Tensor values = at::empty_like(current);
  for (int64_t i = 0; i < current.size(0); ++i) {
    controller.Update(current[i].item<double>(), n_steps[i].item<int64_t>());
    values[i] = controller.value();
  }
  return tensor::TensorMap{{"values", values}};
}

}  // namespace

void RegisterKlOps(OpRegistry* registry) {
  (*registry)["kl.adaptive"] = {[](TensorCall& call) { return Controller(call, true); }, {}, {}};
  (*registry)["kl.fixed"] = {[](TensorCall& call) { return Controller(call, false); }, {}, {}};
}

}  // namespace retort::conformance
