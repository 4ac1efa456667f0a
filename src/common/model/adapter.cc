#include "common/model/adapter.h"

#include <optional>

#include "common/base/check.h"

namespace retort::model {

at::Tensor Linear(const at::Tensor& x, const Projection& projection) {
  const at::ScalarType type = x.scalar_type();
  const std::optional<at::Tensor> bias =
      projection.bias.defined() ? std::optional(projection.bias.to(type)) : std::nullopt;
  // A copy of one matrix at a time; none of what is of x's type.
  const at::Tensor y = at::linear(x, projection.weight.to(type), bias);
  for (const AdapterPart& part : projection.adapter) {
    const at::Tensor added = at::linear(at::linear(x, part.a.to(type)), part.b.to(type));
    y.narrow(1, part.row, part.b.size(0)).add_(added, part.scale);
  }
  return y;
}

void MergeAdapter(const layout::AdapterLayout& layout, const tensor::ParameterArena& adapter,
                  const tensor::ParameterArena& base) {
  const at::NoGradGuard no_grad;
  for (const layout::AdapterTarget& target : layout.targets) {
    const layout::ParameterEntry* entry = base.layout().Find(target.role, target.layer);
    RETORT_CHECK(entry != nullptr) << "the adapter is not of this base";
    const at::Tensor a = adapter.View(layout.parameters.entries[target.a]);
    const at::Tensor b = adapter.View(layout.parameters.entries[target.b]);
    base.View(*entry).narrow(0, target.row, target.rows).addmm_(b, a, 1, layout.scale);
  }
}

}  // namespace retort::model
