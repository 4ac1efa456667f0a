// A model over an arena of bf16 computes what it does over the widened arena, bit for bit, and
// keeps no fp32 copy of a matrix.
#include <vector>

#include "common/layout/adapter_layout.h"
#include "common/model/generate.h"
#include "common/model/model.h"
#include "common/tensor/aten.h"
#include "gtest/gtest.h"
#include "testing/family_configs.h"
#include "testing/tiny_model.h"

namespace retort::model {
namespace {

struct Pair {
  tensor::ParameterArena half, wide;
};

Pair RandomPair(const layout::ModelConfig& config, bool value_head = false) {
  const tensor::ParameterArena source = tiny::RandomArena(config, value_head);
  const at::Tensor half = source.flat().to(at::kBFloat16);
  return {tensor::ParameterArena::Wrap(source.layout(), half),
          tensor::ParameterArena::Wrap(source.layout(), half.to(at::kFloat))};
}

PackedBatch Batch(const layout::ModelConfig& config) {
  std::vector<std::vector<int64_t>> sequences(2);
  for (int64_t i = 0; i < 9; ++i) sequences[0].push_back((i * 11 + 3) % config.vocab_size);
  for (int64_t i = 0; i < 17; ++i) sequences[1].push_back((i * 5 + 1) % config.vocab_size);
  return Pack(sequences);
}

TEST(Bf16WeightsTest, EveryFamily_PackedForward_EqualBitsToWidened) {
  const at::NoGradGuard no_grad;
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const Pair arenas = RandomPair(config);
    const Model half(config, arenas.half), wide(config, arenas.wide);
    const PackedBatch batch = Batch(config);
    const at::Tensor hidden = wide.Hidden(batch);
    EXPECT_TRUE(at::equal(half.Hidden(batch), hidden)) << family.name;
    if (config.task != layout::Task::kCausalLm) continue;
    const VocabMask mask = {config.vocab_size - 1, {2, 3}};
    const SelectedLogProbs got = half.LogProbs(hidden, at::full({26}, 4, at::kLong), 0.7, mask);
    const SelectedLogProbs want = wide.LogProbs(hidden, at::full({26}, 4, at::kLong), 0.7, mask);
    EXPECT_TRUE(at::equal(got.log_probs, want.log_probs)) << family.name;
    EXPECT_TRUE(at::equal(got.entropy, want.entropy)) << family.name;
    EXPECT_TRUE(
        at::equal(half.FullLogProbs(hidden, 0.7, mask), wide.FullLogProbs(hidden, 0.7, mask)))
        << family.name;
  }
}

TEST(Bf16WeightsTest, EveryFamily_Generation_EqualBitsToWidened) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    if (config.task != layout::Task::kCausalLm) continue;
    const Pair arenas = RandomPair(config);
    SamplingOptions options;
    options.max_new_tokens = 12;
    const std::vector<std::vector<int64_t>> prompts = {{1, 2, 3}, {4, 5}};
    const std::vector<SampleRequest> wanted = {{0, CounterRng(1, RngPurpose::kSampling, 0)},
                                               {1, CounterRng(1, RngPurpose::kSampling, 1)}};
    const auto half = Generate(Model(config, arenas.half), prompts, wanted, options);
    const auto wide = Generate(Model(config, arenas.wide), prompts, wanted, options);
    ASSERT_TRUE(half.ok() && wide.ok()) << family.name << half.status() << wide.status();
    for (size_t i = 0; i < wanted.size(); ++i) {
      EXPECT_EQ((*half)[i].ids, (*wide)[i].ids) << family.name;
      EXPECT_EQ((*half)[i].log_probs, (*wide)[i].log_probs) << family.name;
    }
  }
}

TEST(Bf16WeightsTest, Matrices_LieInTheArenaOfHalfTheBytes) {
  const layout::ModelConfig config = tiny::TinyConfig();
  const Pair arenas = RandomPair(config, /*value_head=*/true);
  EXPECT_EQ(2 * arenas.half.flat().nbytes(), arenas.wide.flat().nbytes());
  const Model model(config, arenas.half);
  std::vector<at::Tensor> matrices = {model.embedding(), model.head().weight};
  for (const LayerWeights& layer : model.layers()) {
    for (const Projection* p : {&layer.qkv, &layer.o, &layer.mlp_in, &layer.mlp_out}) {
      matrices.push_back(p->weight);
    }
  }
  const char* const begin = static_cast<const char*>(arenas.half.flat().const_data_ptr());
  int64_t elements = 0;
  for (const at::Tensor& matrix : matrices) {
    const char* const at = static_cast<const char*>(matrix.const_data_ptr());
    EXPECT_TRUE(at >= begin && at < begin + arenas.half.flat().nbytes());
    elements += matrix.numel();
  }
  // All but the norms and the value head.
  EXPECT_GT(elements, 19 * arenas.half.layout().total_elements / 20);
}

// A frozen base of bf16 under trained layers of fp32.
TEST(Bf16WeightsTest, HiddenGradient_ThroughTheHead_EqualBitsToWidened) {
  const layout::ModelConfig config = tiny::TinyConfig();
  const Pair arenas = RandomPair(config);
  const Model half(config, arenas.half), wide(config, arenas.wide);
  const at::Tensor targets = at::full({5}, 4, at::kLong);
  const int64_t width = config.embedding_size();
  const at::Tensor source =
      at::arange(5 * width, at::kLong).to(at::kFloat).view({5, width}) * 0.02 - 1.5;
  const auto gradient = [&](const Model& model) {
    const at::Tensor hidden = source.clone().set_requires_grad(true);
    const SelectedLogProbs out = model.LogProbs(hidden, targets, 0.7, {config.vocab_size});
    (out.log_probs.sum() + out.entropy.sum()).backward();
    return hidden.grad();
  };
  EXPECT_TRUE(at::equal(gradient(half), gradient(wide)));
}

}  // namespace
}  // namespace retort::model
