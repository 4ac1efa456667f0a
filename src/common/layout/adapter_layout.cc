#include "common/layout/adapter_layout.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/printable.h"

namespace retort::layout {
namespace {

using Role = ParameterRole;

constexpr char kPrefix[] = "base_model.model.";

bool IsLinear(Role role) {
  return role == Role::kQkv || role == Role::kO || role == Role::kMlpIn || role == Role::kMlpOut ||
         role == Role::kProjectIn || role == Role::kProjectOut;
}
bool IsLookupOrHead(Role role) {
  return role == Role::kEmbedding || role == Role::kPositions || role == Role::kHead ||
         role == Role::kScore;
}

class Builder {
 public:
  Builder(const AdapterConfig& config, AdapterLayout* out) : config_(config), out_(*out) {}

  void Adapt(const ParameterEntry& base, const FileTensor& part, const std::string& module) {
    const int64_t in = base.shape[1], rows = part.elements() / in;
    AdapterTarget target;
    target.role = base.role;
    target.layer = base.layer;
    target.row = (part.offset - base.offset) / in;
    target.rows = rows;
    const std::string name = absl::StrCat(kPrefix, module);
    target.a = Add(Role::kLoraA, base.layer, ParameterInit::kFanInUniform,
                   {name + ".lora_A.weight", {config_.rank, in}});
    // B's rows are permuted in files as those of the matrix they add to.
    FileTensor b{name + ".lora_B.weight", {rows, config_.rank}};
    if (part.stored == StoredAs::kRuns) {
      b.stored = part.stored;
      b.outer = part.outer;
      b.inner = part.inner;
    }
    target.b = Add(Role::kLoraB, base.layer, ParameterInit::kZero, std::move(b));
    out_.targets.push_back(target);
  }

  void Finish(const ModelConfig& base, bool value_head) {
    ParameterLayout& layout = out_.parameters;
    layout.decay = {0, next_};
    layout.no_decay = {next_, next_};
    layout.published_elements = next_;
    group_ = ParameterGroup::kValueHead;
    if (value_head) {
      Add(Role::kValueWeight, -1, ParameterInit::kZero,
          {kValueHeadWeight, {1, base.embedding_size()}});
      Add(Role::kValueBias, -1, ParameterInit::kZero, {kValueHeadBias, {1}});
    }
    layout.value_head = {layout.published_elements, next_};
    layout.total_elements = next_;
  }

 private:
  size_t Add(Role role, int64_t layer, ParameterInit init, FileTensor part) {
    ParameterEntry entry;
    entry.name = part.name;
    entry.role = role;
    entry.layer = layer;
    entry.shape = part.shape;
    entry.offset = next_;
    entry.elements = part.elements();
    entry.group = group_;
    entry.init = init;
    part.offset = next_;
    entry.parts.push_back(std::move(part));
    next_ += (entry.elements + kOffsetAlignment - 1) / kOffsetAlignment * kOffsetAlignment;
    out_.parameters.entries.push_back(std::move(entry));
    return out_.parameters.entries.size() - 1;
  }

  const AdapterConfig& config_;
  AdapterLayout& out_;
  ParameterGroup group_ = ParameterGroup::kDecay;
  int64_t next_ = 0;
};

}  // namespace

absl::StatusOr<AdapterLayout> AdapterLayoutFor(const ModelConfig& base, const AdapterConfig& config,
                                               bool value_head) {
  AdapterLayout adapter;
  adapter.scale = config.scale();
  Builder builder(config, &adapter);
  for (const ParameterEntry& entry : LayoutFor(base, /*value_head=*/false).entries) {
    for (const FileTensor& part : entry.parts) {
      absl::string_view module = part.name;
      if (!absl::ConsumeSuffix(&module, ".weight")) continue;
      if (IsLookupOrHead(entry.role) && config.Targets(module)) {
        return absl::UnimplementedError(
            absl::StrCat("target_modules names ", module,
                         ", and adapters of embeddings and heads are not built; expected linear "
                         "layers inside the model"));
      }
      if (!IsLinear(entry.role) || !(config.all_linear || config.Targets(module))) continue;
      builder.Adapt(entry, part, std::string(module));
    }
  }
  if (adapter.targets.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("target_modules ", Printable(absl::StrJoin(config.targets, ", ")),
                     " name no linear layer of a ", base.model_type, " model"));
  }
  builder.Finish(base, value_head);
  return adapter;
}

absl::Status CheckTargets(const ModelConfig& base, const AdapterConfig& config) {
  std::vector<std::string> modules, names;
  for (const ParameterEntry& entry : LayoutFor(base, /*value_head=*/false).entries) {
    for (const FileTensor& part : entry.parts) {
      absl::string_view module = part.name;
      if (!absl::ConsumeSuffix(&module, ".weight") ||
          !(IsLinear(entry.role) || IsLookupOrHead(entry.role))) {
        continue;
      }
      modules.emplace_back(module);
      const std::string name(module.substr(module.rfind('.') + 1));
      const bool is_new = std::find(names.begin(), names.end(), name) == names.end();
      if (IsLinear(entry.role) && is_new) names.push_back(name);
    }
  }
  for (const std::string& target : config.targets) {
    const AdapterConfig one{.targets = {target}};
    if (std::any_of(modules.begin(), modules.end(),
                    [&](const std::string& module) { return one.Targets(module); })) {
      continue;  // A lookup or head is for AdapterLayoutFor to refuse.
    }
    return absl::InvalidArgumentError(absl::StrCat("target_modules names \"", Printable(target),
                                                   "\", which is no linear layer of a ",
                                                   base.model_type, " model; expected ", kAllLinear,
                                                   " or names among ", absl::StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

}  // namespace retort::layout
