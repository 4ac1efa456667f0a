#include "conformance/compare.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/json.h"

namespace retort::conformance {
namespace {

// By how much |got - want| is above the tolerance; <= 0 passes. `error` is |got - want|.
double Excess(double got, double want, const Tolerance& tolerance, double* error) {
  *error = 0;
  if (got == want || (std::isnan(got) && std::isnan(want))) return 0;
  *error = std::abs(got - want);
  if (std::isnan(*error)) *error = INFINITY;
  return *error - (tolerance.atol + tolerance.rtol * std::abs(want));
}

std::string Limits(const Tolerance& tolerance) {
  return absl::StrFormat("(rtol=%g atol=%g)", tolerance.rtol, tolerance.atol);
}

std::string Position(int64_t index, at::IntArrayRef shape) {
  std::vector<int64_t> position(shape.size());
  for (int64_t d = static_cast<int64_t>(shape.size()) - 1; d >= 0; --d) {
    position[d] = index % shape[d];
    index /= shape[d];
  }
  return absl::StrCat("[", absl::StrJoin(position, ","), "]");
}

void CompareFloats(const std::string& name, const at::Tensor& got, const at::Tensor& want,
                   const Tolerance& tolerance, Comparison* out) {
  const at::Tensor a = got.detach().to(at::kDouble).contiguous();
  const at::Tensor b = want.to(at::kDouble).contiguous();
  const double* x = a.const_data_ptr<double>();
  const double* y = b.const_data_ptr<double>();
  double worst_excess = 0, worst_error = 0;
  int64_t worst = -1;
  for (int64_t i = 0; i < a.numel(); ++i) {
    double error = 0;
    const double excess = Excess(x[i], y[i], tolerance, &error);
    out->max_error = std::max(out->max_error, error);
    if (excess <= 0 || (worst >= 0 && excess <= worst_excess)) continue;
    worst = i;
    worst_excess = excess;
    worst_error = error;
  }
  if (worst >= 0 && out->problem.empty()) {
    out->problem =
        absl::StrFormat("%s: max_err=%.1e at %s %s got %.9g, want %.9g", name, worst_error,
                        Position(worst, want.sizes()), Limits(tolerance), x[worst], y[worst]);
  }
}

void CompareOne(const std::string& name, const at::Tensor& got, const at::Tensor& want,
                const Tolerance& tolerance, Comparison* out) {
  if (!out->problem.empty()) return;
  if (got.scalar_type() != want.scalar_type()) {
    out->problem = absl::StrCat(name, ": dtype ", at::toString(got.scalar_type()), ", expected ",
                                at::toString(want.scalar_type()));
  } else if (got.sizes() != want.sizes()) {
    out->problem = absl::StrCat(name, ": shape [", absl::StrJoin(got.sizes(), ","), "], expected [",
                                absl::StrJoin(want.sizes(), ","), "]");
  } else if (at::isFloatingType(want.scalar_type())) {
    CompareFloats(name, got, want, tolerance, out);
  } else if (!at::equal(got, want)) {
    const int64_t first = got.ne(want).flatten().to(at::kInt).argmax().item<int64_t>();
    out->problem = absl::StrCat(name, ": differs at ", Position(first, want.sizes()), ": got ",
                                got.flatten()[first].item<int64_t>(), ", want ",
                                want.flatten()[first].item<int64_t>());
  }
}

void CompareValue(const std::string& path, const Json& got, const Json& want,
                  const Tolerance& tolerance, Comparison* out) {
  if (!out->problem.empty()) return;
  const auto differs = [&](absl::string_view what) {
    out->problem = absl::StrCat(path, ": ", what, ": got ", DumpJson(got).substr(0, 200), ", want ",
                                DumpJson(want).substr(0, 200));
  };
  if (got.is_number() && want.is_number() && (got.is_number_float() || want.is_number_float())) {
    double error = 0;
    const double excess = Excess(got.get<double>(), want.get<double>(), tolerance, &error);
    out->max_error = std::max(out->max_error, error);
    if (excess > 0) differs(absl::StrFormat("max_err=%.1e %s", error, Limits(tolerance)));
  } else if (want.is_object() && got.is_object()) {
    for (const auto& [key, value] : want.items()) {
      if (!got.contains(key)) return differs(absl::StrCat("key ", key, " is missing"));
      CompareValue(absl::StrCat(path, ".", key), got[key], value, tolerance, out);
    }
    for (const auto& [key, value] : got.items()) {
      if (!want.contains(key)) return differs(absl::StrCat("key ", key, " is not expected"));
    }
  } else if (want.is_array() && got.is_array() && want.size() == got.size()) {
    for (size_t i = 0; i < want.size(); ++i) {
      CompareValue(absl::StrCat(path, "[", i, "]"), got[i], want[i], tolerance, out);
    }
  } else if (got != want) {
    differs("differs");
  }
}

}  // namespace

Comparison CompareTensors(const tensor::TensorMap& got, const tensor::TensorMap& want,
                          const Tolerance& tolerance) {
  Comparison out;
  for (const auto& [name, tensor] : want) {
    const auto it = got.find(name);
    if (it == got.end()) {
      out.problem = absl::StrCat(name, ": the op has no such output");
      return out;
    }
    CompareOne(name, it->second, tensor, tolerance, &out);
  }
  for (const auto& [name, tensor] : got) {
    const bool optional = absl::StartsWith(name, "grad.") || absl::StartsWith(name, "param.");
    if (want.contains(name) || optional || !out.problem.empty()) continue;
    out.problem = absl::StrCat(name, ": output that the case does not expect");
  }
  return out;
}

Comparison CompareJson(const Json& got, const Json& want, const Tolerance& tolerance) {
  Comparison out;
  CompareValue("line", got, want, tolerance, &out);
  return out;
}

}  // namespace retort::conformance
