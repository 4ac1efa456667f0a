#include "common/layout/parameter_layout.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace retort::layout {
namespace {

int64_t Elements(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

// Collects entries of one group after another and gives each its offset.
class Builder {
 public:
  explicit Builder(ParameterLayout* layout) : layout_(layout) {}

  void Begin(ParameterGroup group) { group_ = group; }

  // `parts` are stacked along dimension 0 to the tensor `name`.
  void Add(const std::string& name, ParameterInit init, std::vector<FileTensor> parts) {
    ParameterEntry entry;
    entry.name = name;
    entry.offset = next_;
    entry.group = group_;
    entry.init = init;
    entry.shape = parts[0].shape;
    entry.shape[0] = 0;
    for (FileTensor& part : parts) {
      part.offset = entry.offset + entry.elements;
      entry.elements += part.elements();
      entry.shape[0] += part.shape[0];
    }
    entry.parts = std::move(parts);
    next_ = (entry.offset + entry.elements + kOffsetAlignment - 1) / kOffsetAlignment *
            kOffsetAlignment;
    layout_->entries.push_back(std::move(entry));
  }

  void AddOne(const std::string& name, ParameterInit init, std::vector<int64_t> shape) {
    Add(name, init, {FileTensor{name, std::move(shape)}});
  }

  int64_t next() const { return next_; }

 private:
  ParameterLayout* layout_;
  ParameterGroup group_ = ParameterGroup::kDecay;
  int64_t next_ = 0;
};

std::string LayerPrefix(int64_t layer) { return absl::StrCat("model.layers.", layer, "."); }

void AddMatrices(const ModelConfig& c, Builder* builder) {
  const int64_t q = c.num_attention_heads * c.head_dim;
  const int64_t kv = c.num_key_value_heads * c.head_dim;
  const int64_t h = c.hidden_size;
  const int64_t f = c.intermediate_size;
  const auto normal = ParameterInit::kNormal;
  builder->AddOne("model.embed_tokens.weight", normal, {c.vocab_size, h});
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string attention = LayerPrefix(i) + "self_attn.";
    const std::string mlp = LayerPrefix(i) + "mlp.";
    builder->Add(attention + "qkv_proj.weight", normal,
                 {{attention + "q_proj.weight", {q, h}},
                  {attention + "k_proj.weight", {kv, h}},
                  {attention + "v_proj.weight", {kv, h}}});
    builder->AddOne(attention + "o_proj.weight", normal, {h, q});
    builder->Add(mlp + "gate_up_proj.weight", normal,
                 {{mlp + "gate_proj.weight", {f, h}}, {mlp + "up_proj.weight", {f, h}}});
    builder->AddOne(mlp + "down_proj.weight", normal, {h, f});
  }
  if (!c.tie_word_embeddings) builder->AddOne("lm_head.weight", normal, {c.vocab_size, h});
}

void AddVectors(const ModelConfig& c, Builder* builder) {
  const int64_t q = c.num_attention_heads * c.head_dim;
  const int64_t kv = c.num_key_value_heads * c.head_dim;
  const int64_t h = c.hidden_size;
  const int64_t f = c.intermediate_size;
  const auto zero = ParameterInit::kZero;
  const auto one = ParameterInit::kOne;
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string prefix = LayerPrefix(i);
    const std::string attention = prefix + "self_attn.";
    const std::string mlp = prefix + "mlp.";
    builder->AddOne(prefix + "input_layernorm.weight", one, {h});
    if (c.attention_bias) {
      builder->Add(attention + "qkv_proj.bias", zero,
                   {{attention + "q_proj.bias", {q}},
                    {attention + "k_proj.bias", {kv}},
                    {attention + "v_proj.bias", {kv}}});
      builder->AddOne(attention + "o_proj.bias", zero, {h});
    }
    builder->AddOne(prefix + "post_attention_layernorm.weight", one, {h});
    if (c.mlp_bias) {
      builder->Add(mlp + "gate_up_proj.bias", zero,
                   {{mlp + "gate_proj.bias", {f}}, {mlp + "up_proj.bias", {f}}});
      builder->AddOne(mlp + "down_proj.bias", zero, {h});
    }
  }
  builder->AddOne("model.norm.weight", one, {h});
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

const ParameterEntry* ParameterLayout::Find(const std::string& name) const {
  for (const ParameterEntry& entry : entries) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

ParameterLayout LayoutFor(const ModelConfig& config, bool value_head) {
  ParameterLayout layout;
  Builder builder(&layout);
  builder.Begin(ParameterGroup::kDecay);
  AddMatrices(config, &builder);
  layout.decay = {0, builder.next()};
  builder.Begin(ParameterGroup::kNoDecay);
  AddVectors(config, &builder);
  layout.no_decay = {layout.decay.end, builder.next()};
  layout.published_elements = builder.next();
  builder.Begin(ParameterGroup::kValueHead);
  if (value_head) {
    builder.AddOne(kValueHeadWeight, ParameterInit::kZero, {1, config.hidden_size});
    builder.AddOne(kValueHeadBias, ParameterInit::kZero, {1});
  }
  layout.value_head = {layout.published_elements, builder.next()};
  layout.total_elements = builder.next();
  return layout;
}

}  // namespace retort::layout
