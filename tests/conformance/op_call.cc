#include "conformance/op_call.h"

#include <torch/csrc/autograd/autograd.h>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"

namespace retort::conformance {

// ---- Parameters ----

const Json* Parameters::Find(const std::string& name) {
  used_.insert(name);
  const auto it = params_.find(name);
  return it == params_.end() || it->is_null() ? nullptr : &*it;
}

const Json* Parameters::Required(const std::string& name, bool optional) {
  const Json* value = Find(name);
  if (value == nullptr && !optional) Fail(absl::StrCat("param ", name, " is missing"));
  return value;
}

void Parameters::Fail(const std::string& message) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(message);
}

absl::Status Parameters::CheckParameters() const {
  if (!status_.ok()) return status_;
  for (const auto& [name, value] : params_.items()) {
    if (!used_.contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat("unknown param ", name));
    }
  }
  return absl::OkStatus();
}

double Parameters::Number(const std::string& name, std::optional<double> fallback) {
  const Json* value = Required(name, fallback.has_value());
  if (value == nullptr) return fallback.value_or(0);
  if (!value->is_number()) Fail(absl::StrCat("param ", name, " is no number"));
  return value->is_number() ? value->get<double>() : 0;
}

int64_t Parameters::Integer(const std::string& name, std::optional<int64_t> fallback) {
  const Json* value = Required(name, fallback.has_value());
  if (value == nullptr) return fallback.value_or(0);
  if (!value->is_number_integer()) Fail(absl::StrCat("param ", name, " is no integer"));
  return value->is_number_integer() ? value->get<int64_t>() : 0;
}

bool Parameters::Bool(const std::string& name, std::optional<bool> fallback) {
  const Json* value = Required(name, fallback.has_value());
  if (value == nullptr) return fallback.value_or(false);
  if (!value->is_boolean()) Fail(absl::StrCat("param ", name, " is neither true nor false"));
  return value->is_boolean() && value->get<bool>();
}

std::string Parameters::Text(const std::string& name, std::optional<std::string> fallback) {
  const Json* value = Required(name, fallback.has_value());
  if (value == nullptr) return fallback.value_or("");
  if (!value->is_string()) Fail(absl::StrCat("param ", name, " is no string"));
  return value->is_string() ? value->get<std::string>() : "";
}

std::optional<double> Parameters::OptionalNumber(const std::string& name) {
  if (Find(name) == nullptr) return std::nullopt;
  return Number(name);
}

std::optional<int64_t> Parameters::OptionalInteger(const std::string& name) {
  if (Find(name) == nullptr) return std::nullopt;
  return Integer(name);
}

std::vector<double> Parameters::NumberOrList(const std::string& name,
                                             std::optional<std::vector<double>> fallback) {
  const Json* value = Required(name, fallback.has_value());
  if (value == nullptr) return fallback.value_or(std::vector<double>());
  const Json list = value->is_array() ? *value : Json::array({*value});
  std::vector<double> numbers;
  for (const Json& item : list) {
    if (!item.is_number()) Fail(absl::StrCat("param ", name, " is no list of numbers"));
    numbers.push_back(item.is_number() ? item.get<double>() : 0);
  }
  return numbers;
}

std::vector<int64_t> Parameters::OptionalIntegers(const std::string& name) {
  const Json* value = Find(name);
  if (value == nullptr) return {};
  const Json list = value->is_array() ? *value : Json::array({*value});
  std::vector<int64_t> numbers;
  for (const Json& item : list) {
    if (!item.is_number_integer()) Fail(absl::StrCat("param ", name, " is no list of integers"));
    numbers.push_back(item.is_number_integer() ? item.get<int64_t>() : 0);
  }
  return numbers;
}

std::string Parameters::DataPath(const std::string& name) {
  const std::string relative = Text(name);
  if (context_.data.empty()) Fail("no data folder: give --data");
  return ResolvePath(context_.data, relative);
}

std::string Parameters::CasePath(const std::string& name) {
  return ResolvePath(context_.folder, Text(name));
}

// ---- TensorCall ----

at::Tensor TensorCall::Take(const std::string& name, bool optional) {
  const auto it = inputs_.find(name);
  if (it == inputs_.end()) {
    if (!optional) Fail(absl::StrCat("input ", name, " is missing"));
    // A stand-in keeps the op's shape arithmetic alive until CheckArguments reports the error.
    return optional ? at::Tensor() : at::zeros({}, at::TensorOptions(at::kFloat));
  }
  taken_.insert(name);
  return it->second;
}

at::Tensor TensorCall::TakeAs(const std::string& name, bool optional, at::ScalarType type) {
  at::Tensor found = Take(name, optional);
  if (found.defined() && inputs_.contains(name) && found.scalar_type() != type) {
    Fail(absl::StrCat("input ", name, " is ", at::toString(found.scalar_type()), ", expected ",
                      at::toString(type)));
  }
  return found;
}

at::Tensor TensorCall::OptionalFloat(const std::string& name) {
  at::Tensor found = Take(name, true);
  if (!found.defined()) return found;
  if (found.scalar_type() == at::kBFloat16) found = found.to(at::kFloat);
  if (found.scalar_type() != at::kFloat && found.scalar_type() != at::kDouble) {
    Fail(absl::StrCat("input ", name, " is ", at::toString(found.scalar_type()),
                      ", expected a float type"));
  }
  return found;
}

at::Tensor TensorCall::Float(const std::string& name) {
  at::Tensor found = OptionalFloat(name);
  return found.defined() ? found : Take(name, false);
}

at::Tensor TensorCall::Leaf(const std::string& name) {
  const at::Tensor found = Float(name);
  if (!at::isFloatingType(found.scalar_type())) return found;
  const at::Tensor leaf = found.detach().clone().set_requires_grad(true);
  leaves_.emplace_back(name, leaf);
  return leaf;
}

at::Tensor TensorCall::Ids(const std::string& name) { return TakeAs(name, false, at::kLong); }
at::Tensor TensorCall::Mask(const std::string& name) { return TakeAs(name, false, at::kBool); }
at::Tensor TensorCall::OptionalMask(const std::string& name) {
  return TakeAs(name, true, at::kBool);
}

std::vector<at::Tensor> TensorCall::FloatSeries(const std::string& prefix) {
  std::vector<at::Tensor> series;
  while (Has(absl::StrCat(prefix, ".", series.size()))) {
    series.push_back(Float(absl::StrCat(prefix, ".", series.size())));
  }
  return series;
}

std::vector<at::Tensor> TensorCall::MaskSeries(const std::string& prefix) {
  std::vector<at::Tensor> series;
  while (Has(absl::StrCat(prefix, ".", series.size()))) {
    series.push_back(Mask(absl::StrCat(prefix, ".", series.size())));
  }
  return series;
}

absl::Status TensorCall::CheckArguments() const {
  const absl::Status parameters = CheckParameters();
  if (!parameters.ok()) return parameters;
  for (const auto& [name, tensor] : inputs_) {
    if (!taken_.contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat("unknown input ", name));
    }
  }
  return absl::OkStatus();
}

void TensorCall::AddGradients(const at::Tensor& loss, tensor::TensorMap* outputs) const {
  std::vector<at::Tensor> inputs;
  for (const auto& [name, leaf] : leaves_) inputs.push_back(leaf);
  std::vector<at::Tensor> gradients(inputs.size());
  if (loss.requires_grad()) {
    gradients = torch::autograd::grad({loss.sum()}, inputs, /*grad_outputs=*/{},
                                      /*retain_graph=*/true, /*create_graph=*/false,
                                      /*allow_unused=*/true);
  }
  for (size_t i = 0; i < leaves_.size(); ++i) {
    (*outputs)[absl::StrCat("grad.", leaves_[i].first)] =
        gradients[i].defined() ? gradients[i] : at::zeros_like(inputs[i]).detach();
  }
}

// ---- LineCall ----

const Json* LineCall::TakeLine(const std::string& name, bool optional) {
  taken_.insert(name);
  const auto it = inputs_.find(name);
  if (it != inputs_.end()) return &*it;
  if (!optional) Fail(absl::StrCat("input ", name, " is missing"));
  return nullptr;
}

std::string LineCall::LineText(const std::string& name) {
  const Json* value = TakeLine(name, false);
  if (value == nullptr) return "";
  if (!value->is_string()) Fail(absl::StrCat("input ", name, " is no string"));
  return value->is_string() ? value->get<std::string>() : "";
}

bool LineCall::LineBool(const std::string& name, std::optional<bool> fallback) {
  const Json* value = TakeLine(name, fallback.has_value());
  if (value == nullptr) return fallback.value_or(false);
  if (!value->is_boolean()) Fail(absl::StrCat("input ", name, " is neither true nor false"));
  return value->is_boolean() && value->get<bool>();
}

std::vector<int64_t> LineCall::LineIds(const std::string& name) {
  const Json* value = TakeLine(name, false);
  std::vector<int64_t> ids;
  if (value == nullptr) return ids;
  if (!value->is_array()) Fail(absl::StrCat("input ", name, " is no list"));
  for (const Json& item : *value) {
    if (!item.is_number_integer()) Fail(absl::StrCat("input ", name, " is no list of integers"));
    ids.push_back(item.is_number_integer() ? item.get<int64_t>() : 0);
  }
  return ids;
}

Json LineCall::LineJson(const std::string& name) {
  const Json* value = TakeLine(name, true);
  return value == nullptr ? Json() : *value;
}

absl::Status LineCall::CheckArguments() const {
  const absl::Status parameters = CheckParameters();
  if (!parameters.ok()) return parameters;
  for (const auto& [name, value] : inputs_.items()) {
    if (!taken_.contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat("unknown input ", name));
    }
  }
  return absl::OkStatus();
}

}  // namespace retort::conformance
