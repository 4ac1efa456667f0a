// One op applied to one case: where an op finds its parameters and inputs. Getters record the first
// error instead of returning it; an op calls CheckArguments() after its last getter and before it
// computes. What no getter asked for is refused there: unknown parameters and inputs are errors,
// never ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/json.h"
#include "common/tensor/aten.h"
#include "common/tensor/tensor_file.h"
#include "nlohmann/json.hpp"

namespace retort::conformance {

// What a case gives besides its inputs.
struct CaseContext {
  std::string folder;  // Of the case: what `file` is relative to.
  std::string
      data;  // --data: what `model`, `tokenizer` and `adapter` are relative to. May be empty.
  at::Device device = at::kCPU;  // Where models compute.
};

class Parameters {
 public:
  Parameters(const Json& params, CaseContext context)
      : params_(params), context_(std::move(context)) {}

  // A parameter without a fallback is required. A null parameter is an absent one.
  double Number(const std::string& name, std::optional<double> fallback = std::nullopt);
  int64_t Integer(const std::string& name, std::optional<int64_t> fallback = std::nullopt);
  bool Bool(const std::string& name, std::optional<bool> fallback = std::nullopt);
  std::string Text(const std::string& name, std::optional<std::string> fallback = std::nullopt);
  std::optional<double> OptionalNumber(const std::string& name);
  std::optional<int64_t> OptionalInteger(const std::string& name);
  // A number counts as a list of one.
  std::vector<double> NumberOrList(const std::string& name,
                                   std::optional<std::vector<double>> fallback = std::nullopt);
  std::vector<int64_t> OptionalIntegers(
      const std::string& name);                   // Number, list, or absent: empty.
  std::string DataPath(const std::string& name);  // The required text, under --data.
  std::string CasePath(const std::string& name);  // The required text, in the case's folder.

  // Tells --require=OP:FAMILY what this case is about ("llama"). Before anything can be
  // UNIMPLEMENTED.
  void SetFamily(std::string family) { family_ = std::move(family); }
  const std::string& family() const { return family_; }

  const at::Device& device() const { return context_.device; }

 protected:
  // nullptr: absent or null.
  const Json* Find(const std::string& name);
  const Json* Required(const std::string& name, bool optional);
  void Fail(const std::string& message);
  absl::Status CheckParameters() const;

 private:
  Json params_;
  CaseContext context_;
  std::set<std::string> used_;
  absl::Status status_;
  std::string family_;
};

// Inputs are tensors of inputs.safetensors.
class TensorCall : public Parameters {
 public:
  TensorCall(const Json& params, CaseContext context, tensor::TensorMap inputs)
      : Parameters(params, std::move(context)), inputs_(std::move(inputs)) {}

  // float32 or float64; bf16 comes widened to float32. Leaf: it gets a grad.NAME. Optional:
  // undefined if absent. Another dtype, or a missing required one, is an error.
  at::Tensor Float(const std::string& name);
  at::Tensor OptionalFloat(const std::string& name);
  at::Tensor Leaf(const std::string& name);
  at::Tensor Ids(const std::string& name);   // int64
  at::Tensor Mask(const std::string& name);  // bool
  at::Tensor OptionalMask(const std::string& name);
  bool Has(const std::string& name) const { return inputs_.contains(name); }
  // PREFIX.0, PREFIX.1, ... as far as there are any.
  std::vector<at::Tensor> FloatSeries(const std::string& prefix);
  std::vector<at::Tensor> MaskSeries(const std::string& prefix);

  absl::Status CheckArguments() const;

  // grad.NAME of every Leaf: derivative of the sum of `loss`; zeros where it is not reached.
  void AddGradients(const at::Tensor& loss, tensor::TensorMap* outputs) const;

 private:
  at::Tensor Take(const std::string& name, bool optional);
  at::Tensor TakeAs(const std::string& name, bool optional, at::ScalarType type);

  tensor::TensorMap inputs_;
  std::set<std::string> taken_;
  std::vector<std::pair<std::string, at::Tensor>> leaves_;
};

// Inputs are the keys of one line of cases.jsonl.
class LineCall : public Parameters {
 public:
  LineCall(const Json& params, CaseContext context, Json inputs)
      : Parameters(params, std::move(context)), inputs_(std::move(inputs)) {}

  std::string LineText(const std::string& name);
  bool LineBool(const std::string& name, std::optional<bool> fallback = std::nullopt);
  std::vector<int64_t> LineIds(const std::string& name);
  // Any JSON; a null Json if the line lacks the key.
  Json LineJson(const std::string& name);

  absl::Status CheckArguments() const;

 private:
  const Json* TakeLine(const std::string& name, bool optional);

  Json inputs_;
  std::set<std::string> taken_;
};

}  // namespace retort::conformance
