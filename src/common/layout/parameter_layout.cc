#include "common/layout/parameter_layout.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/check.h"
#include "common/layout/family.h"

namespace retort::layout {
namespace {

using Role = ParameterRole;
using Init = ParameterInit;

int64_t Elements(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

// "a.q_proj" of several parts -> "a.qkv_proj"; one part keeps its name.
std::string FusedName(Role role, const std::vector<std::string>& parts) {
  if (parts.size() == 1) return parts[0];
  const std::string::size_type dot = parts[0].rfind('.', parts[0].rfind('.') - 1);
  const bool qkv = role == Role::kQkv || role == Role::kQkvBias;
  const bool bias = role == Role::kQkvBias || role == Role::kMlpInBias;
  return absl::StrCat(parts[0].substr(0, dot + 1), qkv ? "qkv_proj" : "gate_up_proj",
                      bias ? ".bias" : ".weight");
}

// Collects entries of one group after another and gives each its offset.
class Builder {
 public:
  explicit Builder(ParameterLayout* layout) : layout_(layout) {}

  void Begin(ParameterGroup group, int64_t layer = -1) {
    group_ = group;
    layer_ = layer;
  }

  // `parts` are stacked along dimension 0.
  ParameterEntry& Add(Role role, Init init, std::vector<FileTensor> parts) {
    ParameterEntry entry;
    entry.role = role;
    entry.layer = layer_;
    entry.offset = next_;
    entry.group = group_;
    entry.init = init;
    entry.shape = parts[0].shape;
    entry.shape[0] = 0;
    std::vector<std::string> names;
    for (FileTensor& part : parts) {
      part.offset = entry.offset + entry.elements;
      entry.elements += part.elements();
      entry.shape[0] += part.shape[0];
      names.push_back(part.name);
    }
    entry.name = FusedName(role, names);
    entry.parts = std::move(parts);
    next_ = (entry.offset + entry.elements + kOffsetAlignment - 1) / kOffsetAlignment *
            kOffsetAlignment;
    layout_->entries.push_back(std::move(entry));
    return layout_->entries.back();
  }

  ParameterEntry& AddOne(Role role, Init init, std::string name, std::vector<int64_t> shape) {
    return Add(role, init, {FileTensor{std::move(name), std::move(shape)}});
  }

  int64_t next() const { return next_; }

 private:
  ParameterLayout* layout_;
  ParameterGroup group_ = ParameterGroup::kDecay;
  int64_t layer_ = -1;
  int64_t next_ = 0;
};

// The entries of one model, from its sizes and its family's names.
class Table {
 public:
  Table(const ModelConfig& config, const TensorNames& names, Builder* builder)
      : c_(config), n_(names), builder_(*builder) {}

  void AddMatrices() {
    builder_.Begin(ParameterGroup::kDecay);
    const int64_t h = c_.hidden_size, e = c_.embedding_size();
    builder_.AddOne(Role::kEmbedding, Init::kNormal, Base(n_.embedding, ".weight"),
                    {c_.vocab_size, e});
    if (c_.position.kind == PositionKind::kLearned) {
      builder_.AddOne(Role::kPositions, Init::kNormal, Base(n_.positions, ".weight"),
                      {c_.max_position_embeddings + c_.position.learned_offset, h});
    }
    if (c_.projected_size != 0) {
      builder_.AddOne(Role::kProjectIn, Init::kNormal, Base(n_.project_in, ".weight"), {h, e});
      builder_.AddOne(Role::kProjectOut, Init::kNormal, Base(n_.project_out, ".weight"), {e, h});
    }
    for (int64_t i = 0; i < c_.num_hidden_layers; ++i) AddLayerMatrices(i);
    builder_.Begin(ParameterGroup::kDecay);
    if (c_.task == Task::kSequenceClassification) {
      builder_.AddOne(Role::kScore, Init::kNormal, "score.weight", {1, e});
    } else if (!c_.tie_word_embeddings) {
      builder_.AddOne(Role::kHead, Init::kNormal, absl::StrCat(n_.head, ".weight"),
                      {c_.vocab_size, e});
    }
  }

  void AddVectors() {
    for (int64_t i = 0; i < c_.num_hidden_layers; ++i) AddLayerVectors(i);
    builder_.Begin(ParameterGroup::kNoDecay);
    if (c_.final_norm) {
      AddNorm(Role::kFinalNorm, Role::kFinalNormBias, absl::StrCat(n_.base, n_.final_norm));
    }
    if (c_.head_bias && c_.task == Task::kCausalLm) {
      builder_.AddOne(Role::kHeadBias, Init::kZero, absl::StrCat(n_.head, ".bias"),
                      {c_.vocab_size});
    }
  }

  std::string LayerPrefix() const { return absl::StrCat(n_.base, n_.layers, "."); }

 private:
  std::string Base(const char* name, const char* suffix) const {
    RETORT_CHECK(name != nullptr) << "a tensor that the family has no name for";
    return absl::StrCat(n_.base, name, suffix);
  }
  std::string InLayer(int64_t layer, const char* name) const {
    RETORT_CHECK(name != nullptr) << "a tensor that the family has no name for";
    return absl::StrCat(LayerPrefix(), layer, ".", name);
  }

  // Rows of q, k, v or gate, up, as parts of the file.
  std::vector<FileTensor> Rows(int64_t layer, const std::vector<const char*>& names,
                               const std::vector<int64_t>& rows, const char* suffix) const {
    std::vector<FileTensor> parts;
    if (names.size() == rows.size()) {
      for (size_t i = 0; i < rows.size(); ++i) {
        parts.push_back({InLayer(layer, names[i]) + suffix, {rows[i]}});
      }
    } else {
      int64_t all = 0;
      for (const int64_t part : rows) all += part;
      parts.push_back({InLayer(layer, names[0]) + suffix, {all}});
    }
    return parts;
  }

  void AddMatrix(Role role, std::vector<FileTensor> parts, int64_t in) {
    for (FileTensor& part : parts) part.shape.push_back(in);
    ParameterEntry& entry = builder_.Add(role, Init::kNormal, std::move(parts));
    for (FileTensor& part : entry.parts) {
      if (n_.matrix_order != FileOrder::kTransposed) continue;
      part.stored = StoredAs::kTransposed;
      std::swap(part.shape[0], part.shape[1]);
    }
    if (role == Role::kQkv) Permute(&entry);
  }

  void AddBias(Role role, std::vector<FileTensor> parts) {
    ParameterEntry& entry = builder_.Add(role, Init::kZero, std::move(parts));
    if (role == Role::kQkvBias) Permute(&entry);
  }

  void Permute(ParameterEntry* entry) const {
    if (n_.qkv_order != FileOrder::kHeadThenPart) return;
    for (FileTensor& part : entry->parts) {
      part.stored = StoredAs::kRuns;
      part.outer = c_.num_attention_heads;
      part.inner = 3;
    }
  }

  std::vector<int64_t> QkvRows() const {
    const int64_t q = c_.num_attention_heads * c_.head_dim;
    const int64_t kv = c_.num_key_value_heads * c_.head_dim;
    return {q, kv, kv};
  }
  std::vector<int64_t> MlpRows() const {
    return std::vector<int64_t>(c_.mlp.gated ? 2 : 1, c_.intermediate_size);
  }

  void AddLayerMatrices(int64_t i) {
    builder_.Begin(ParameterGroup::kDecay, i);
    const int64_t h = c_.hidden_size;
    AddMatrix(Role::kQkv, Rows(i, n_.qkv, QkvRows(), ".weight"), h);
    AddMatrix(Role::kO, Rows(i, {n_.o}, {h}, ".weight"), QkvRows()[0]);
    AddMatrix(Role::kMlpIn, Rows(i, n_.mlp_in, MlpRows(), ".weight"), h);
    AddMatrix(Role::kMlpOut, Rows(i, {n_.mlp_out}, {h}, ".weight"), c_.intermediate_size);
  }

  void AddNorm(Role role, Role bias_role, const std::string& name) {
    const Init init = c_.norm.add_one ? Init::kZero : Init::kOne;
    builder_.AddOne(role, init, name + ".weight", {c_.hidden_size});
    if (c_.norm.kind == NormKind::kLayer) {
      builder_.AddOne(bias_role, Init::kZero, name + ".bias", {c_.hidden_size});
    }
  }

  void AddLayerVectors(int64_t i) {
    builder_.Begin(ParameterGroup::kNoDecay, i);
    const int64_t h = c_.hidden_size;
    const Init norm = c_.norm.add_one ? Init::kZero : Init::kOne;
    AddNorm(Role::kAttentionNorm, Role::kAttentionNormBias, InLayer(i, n_.attention_norm));
    if (c_.attention.qkv_bias) AddBias(Role::kQkvBias, Rows(i, n_.qkv, QkvRows(), ".bias"));
    if (c_.attention.o_bias) AddBias(Role::kOBias, Rows(i, {n_.o}, {h}, ".bias"));
    if (c_.attention.qk_norm) {
      builder_.AddOne(Role::kQNorm, norm, InLayer(i, n_.q_norm) + ".weight", {c_.head_dim});
      builder_.AddOne(Role::kKNorm, norm, InLayer(i, n_.k_norm) + ".weight", {c_.head_dim});
    }
    const bool sandwich = c_.residual == Residual::kSandwich;
    if (sandwich) {
      builder_.AddOne(Role::kAttentionOutNorm, norm, InLayer(i, n_.attention_out_norm) + ".weight",
                      {h});
    }
    if (c_.residual != Residual::kParallelOne) {
      AddNorm(Role::kMlpNorm, Role::kMlpNormBias, InLayer(i, n_.mlp_norm));
    }
    if (c_.mlp.bias) {
      AddBias(Role::kMlpInBias, Rows(i, n_.mlp_in, MlpRows(), ".bias"));
      AddBias(Role::kMlpOutBias, Rows(i, {n_.mlp_out}, {h}, ".bias"));
    }
    if (sandwich) {
      builder_.AddOne(Role::kMlpOutNorm, norm, InLayer(i, n_.mlp_out_norm) + ".weight", {h});
    }
  }

  const ModelConfig& c_;
  const TensorNames& n_;
  Builder& builder_;
};

void AddIgnored(const ModelConfig& config, const TensorNames& names, const std::string& prefix,
                ParameterLayout* layout) {
  layout->ignored_prefix = prefix;
  for (const char* suffix : names.ignored) {
    layout->ignored_suffixes.push_back(absl::StrCat(".", suffix));
  }
  const std::string head = absl::StrCat(names.head, ".weight");
  if (config.task != Task::kCausalLm) {
    layout->ignored_names.push_back(head);
  } else if (config.tie_word_embeddings) {
    layout->tied_head = head;
  }
}

}  // namespace

int64_t FileTensor::elements() const { return Elements(shape); }

const ParameterRange& ParameterLayout::range(ParameterGroup group) const {
  switch (group) {
    case ParameterGroup::kDecay:
      return decay;
    case ParameterGroup::kNoDecay:
      return no_decay;
    case ParameterGroup::kValueHead:
      return value_head;
  }
  RETORT_CHECK(false) << "group " << static_cast<int>(group);
}

const ParameterEntry* ParameterLayout::Find(absl::string_view name) const {
  for (const ParameterEntry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

const ParameterEntry* ParameterLayout::Find(ParameterRole role, int64_t layer) const {
  for (const ParameterEntry& entry : entries) {
    if (entry.role == role && entry.layer == layer) return &entry;
  }
  return nullptr;
}

bool ParameterLayout::MayIgnore(absl::string_view name) const {
  for (const std::string& ignored : ignored_names) {
    if (name == ignored) return true;
  }
  absl::string_view prefix = ignored_prefix;
  if (!absl::ConsumePrefix(&name, prefix)) {
    if (!absl::ConsumePrefix(&prefix, base_prefix) || !absl::ConsumePrefix(&name, prefix)) {
      return false;
    }
  }
  const size_t digits = std::min(name.find_first_not_of("0123456789"), name.size());
  if (digits == 0) return false;
  const absl::string_view suffix = name.substr(digits);
  return std::any_of(ignored_suffixes.begin(), ignored_suffixes.end(),
                     [&](const std::string& ignored) { return suffix == ignored; });
}

ParameterLayout LayoutFor(const ModelConfig& config, bool value_head) {
  const Family* family = FindFamily(config.model_type);
  RETORT_CHECK(family != nullptr) << "model_type " << config.model_type;
  const TensorNames& names = family->names();
  ParameterLayout layout;
  layout.base_prefix = names.base;
  Builder builder(&layout);
  Table table(config, names, &builder);
  table.AddMatrices();
  layout.decay = {0, builder.next()};
  table.AddVectors();
  layout.no_decay = {layout.decay.end, builder.next()};
  layout.published_elements = builder.next();
  builder.Begin(ParameterGroup::kValueHead);
  if (value_head) {
    builder.AddOne(Role::kValueWeight, Init::kZero, kValueHeadWeight, {1, config.embedding_size()});
    builder.AddOne(Role::kValueBias, Init::kZero, kValueHeadBias, {1});
  }
  layout.value_head = {layout.published_elements, builder.next()};
  layout.total_elements = builder.next();
  AddIgnored(config, names, table.LayerPrefix(), &layout);
  return layout;
}

}  // namespace retort::layout
