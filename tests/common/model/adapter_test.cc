#include "common/model/adapter.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/layout/adapter_layout.h"
#include "common/model/composite.h"
#include "common/model/model.h"
#include "common/tensor/model_weights.h"
#include "gtest/gtest.h"
#include "testing/family_configs.h"
#include "testing/tiny_model.h"

namespace retort::model {
namespace {

struct Adapted {
  layout::ModelConfig config;
  layout::AdapterLayout layout;
  tensor::ParameterArena base, adapter;
};

tensor::ParameterArena Zeros(const layout::ParameterLayout& layout) {
  return *tensor::ParameterArena::Allocate(layout);
}

// Every linear layer adapted, A and B random.
Adapted Make(const tiny::FamilyConfig& family, bool value_head = false) {
  const layout::ModelConfig config = tiny::ConfigOf(family);
  layout::AdapterConfig options;
  options.rank = 3;
  options.alpha = 4.5;
  options.all_linear = true;
  layout::AdapterLayout layout = *layout::AdapterLayoutFor(config, options, value_head);
  tensor::ParameterArena adapter = Zeros(layout.parameters);
  for (const layout::ParameterEntry& entry : layout.parameters.entries) {
    adapter.View(entry).normal_(0, 0.2);
  }
  return {config, layout, tiny::RandomArena(config, false), adapter};
}

const PackedBatch& Batch() {
  static const PackedBatch batch = Pack({{1, 5, 9, 2, 30, 7, 8}, {3}, {4, 4, 11}});
  return batch;
}

TEST(AdapterTest, Applied_EveryFamily_EqualsMergedAndLeavesTheBase) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const Adapted a = Make(family);
    const Model plain(a.config, a.base);
    const at::Tensor off = plain.Hidden(Batch());
    const tensor::ParameterArena merged = Zeros(a.base.layout());
    merged.flat().copy_(a.base.flat());
    MergeAdapter(a.layout, a.adapter, merged);
    const at::Tensor on = Model(a.config, a.base, a.layout, a.adapter).Hidden(Batch());
    EXPECT_LT(Error(on, Model(a.config, merged).Hidden(Batch())), 2e-5) << family.name;
    EXPECT_GT(Error(on, off), 1e-3) << family.name;
    EXPECT_TRUE(at::equal(plain.Hidden(Batch()), off)) << family.name;
  }
}

// dL/dA = scale B^T dL/dW and dL/dB = scale dL/dW A^T, W the merged matrix.
TEST(AdapterTest, Gradients_EveryFamily_FollowFromTheMergedMatrices) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    SCOPED_TRACE(family.name);
    const Adapted a = Make(family, /*value_head=*/true);
    const tensor::ParameterArena gradients = Zeros(a.layout.parameters);
    const at::Tensor before = a.base.flat().clone();
    Model model(a.config, a.base, a.layout, a.adapter);
    model.AttachGradients(gradients);
    const at::Tensor hidden = model.Hidden(Batch());
    (hidden.square().sum() + model.Values(hidden).square().sum()).backward();
    EXPECT_TRUE(at::equal(a.base.flat(), before));

    const tensor::ParameterArena merged = tiny::ZeroArena(a.config, true);
    merged.Published().copy_(a.base.flat());
    MergeAdapter(a.layout, a.adapter, merged);
    for (const char* name : {layout::kValueHeadWeight, layout::kValueHeadBias}) {
      merged.View(*merged.layout().Find(name))
          .copy_(a.adapter.View(*a.layout.parameters.Find(name)));
    }
    const tensor::ParameterArena full = tiny::ZeroArena(a.config, true);
    Model dense(a.config, merged);
    dense.AttachGradients(full);
    const at::Tensor hidden2 = dense.Hidden(Batch());
    (hidden2.square().sum() + dense.Values(hidden2).square().sum()).backward();
    for (const layout::AdapterTarget& t : a.layout.targets) {
      const layout::ParameterEntry& ea = a.layout.parameters.entries[t.a];
      const layout::ParameterEntry& eb = a.layout.parameters.entries[t.b];
      const at::Tensor dw =
          full.View(*full.layout().Find(t.role, t.layer)).narrow(0, t.row, t.rows);
      const at::Tensor da = a.layout.scale * at::matmul(a.adapter.View(eb).t(), dw);
      const at::Tensor db = a.layout.scale * at::matmul(dw, a.adapter.View(ea).t());
      EXPECT_LT((gradients.View(ea) - da).norm().item<float>() / da.norm().item<float>(), 1e-4)
          << ea.name;
      EXPECT_LT((gradients.View(eb) - db).norm().item<float>() / db.norm().item<float>(), 1e-4)
          << eb.name;
    }
    const char* name = layout::kValueHeadWeight;
    EXPECT_LT(Error(gradients.View(*a.layout.parameters.Find(name)),
                    full.View(*full.layout().Find(name))),
              1e-4);
  }
}

TEST(AdapterTest, FreshStart_ComputesWhatTheBaseDoes) {
  Adapted a = Make(tiny::kFamilyConfigs[0]);
  tensor::InitializeRandom(7, 0.02, &a.adapter);
  const layout::ParameterEntry& first = a.layout.parameters.entries[0];
  const float bound = 1.0f / std::sqrt(static_cast<float>(first.shape[1]));
  const float largest = a.adapter.View(first).abs().max().item<float>();
  EXPECT_LE(largest, bound);
  EXPECT_GT(largest, 0.8f * bound);
  EXPECT_TRUE(at::equal(Model(a.config, a.base, a.layout, a.adapter).Hidden(Batch()),
                        Model(a.config, a.base).Hidden(Batch())));
}

TEST(AdapterTest, WrittenAndLoaded_EveryFamily_EqualBits) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const Adapted a = Make(family);
    const std::string folder = tiny::ConfigFolder("{}");
    ASSERT_TRUE(tensor::WriteAdapterWeights(folder, a.adapter).ok());
    tensor::ParameterArena again = Zeros(a.layout.parameters);
    const absl::Status loaded = tensor::LoadAdapterWeights(folder, &again);
    ASSERT_TRUE(loaded.ok()) << family.name << ": " << loaded;
    EXPECT_TRUE(at::equal(again.flat(), a.adapter.flat())) << family.name;
  }
}

TEST(AdapterTest, Load_OfAnotherRank_NamesFileAndTensor) {
  const Adapted a = Make(tiny::kFamilyConfigs[0]);
  const std::string folder = tiny::ConfigFolder("{}");
  ASSERT_TRUE(tensor::WriteAdapterWeights(folder, a.adapter).ok());
  layout::AdapterConfig options;
  options.rank = 2;
  options.all_linear = true;
  tensor::ParameterArena other =
      Zeros(layout::AdapterLayoutFor(a.config, options, false)->parameters);
  const absl::Status status = tensor::LoadAdapterWeights(folder, &other);
  for (const char* part : {"/adapter_model.safetensors: tensor base_model.model.", "has shape [3,",
                           "from adapter_config.json"}) {
    EXPECT_NE(status.message().find(part), absl::string_view::npos) << status;
  }
  EXPECT_EQ(tensor::LoadAdapterWeights(tiny::ConfigFolder("{}"), &other).code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace retort::model
