#include "common/tensor/parameter_arena.h"

#include "gtest/gtest.h"
#include "testing/tiny_model.h"

namespace retort::tensor {
namespace {

using tiny::TinyConfig;
using tiny::ZeroArena;

TEST(ParameterArenaTest, Allocate_AlignedAndZero) {
  const ParameterArena arena = ZeroArena(TinyConfig(), true);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.data()) % 64, 0u);
  EXPECT_EQ(arena.flat().abs().sum().item<float>(), 0.0f);
  EXPECT_EQ(arena.flat().numel(), arena.layout().total_elements);
}

// Memory of this size is mapped, not taken from the heap.
TEST(ParameterArenaTest, Allocate_Large_ZeroAndKeptByItsLastView) {
  layout::ModelConfig config = TinyConfig();
  config.vocab_size = 1 << 18;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    at::Tensor view;
    {
      const auto arena = ParameterArena::Allocate(layout::LayoutFor(config, false), type);
      ASSERT_TRUE(arena.ok()) << arena.status();
      EXPECT_EQ(reinterpret_cast<uintptr_t>(arena->flat().data_ptr()) % 64, 0u);
      EXPECT_EQ(arena->flat().count_nonzero().item<int64_t>(), 0);
      arena->flat().fill_(1);
      view = arena->View(arena->layout().entries.back());
    }
    EXPECT_EQ(view.sum().item<float>(), static_cast<float>(view.numel()));
  }
}

TEST(ParameterArenaTest, View_SharesMemory) {
  const ParameterArena arena = ZeroArena(TinyConfig(), true);
  const layout::ParameterEntry& entry = *arena.layout().Find("model.norm.weight");
  arena.View(entry).fill_(2.0f);
  EXPECT_EQ(arena.data()[entry.offset + 31], 2.0f);
  EXPECT_EQ(arena.flat().sum().item<float>(), 64.0f);
}

TEST(ParameterArenaTest, Borrow_OwnerLivesAsLongAsTheLastView) {
  const layout::ParameterLayout layout = layout::LayoutFor(TinyConfig(), false);
  auto memory = std::make_shared<at::Tensor>(at::zeros({layout.total_elements}));
  const std::weak_ptr<at::Tensor> watch = memory;
  float* data = memory->data_ptr<float>();
  at::Tensor view;
  {
    const ParameterArena arena = ParameterArena::Borrow(layout, data, std::move(memory));
    EXPECT_EQ(arena.data(), data);
    view = arena.Published();
  }
  EXPECT_FALSE(watch.expired());
  view = at::Tensor();
  EXPECT_TRUE(watch.expired());
}

TEST(ParameterArenaTest, InitializeRandom_SameSeedSameBits_MomentsAsAsked) {
  ParameterArena a = ZeroArena(TinyConfig(), true), b = ZeroArena(TinyConfig(), true),
                 c = ZeroArena(TinyConfig(), true);
  InitializeRandom(1, 0.5, &a);
  InitializeRandom(1, 0.5, &b);
  InitializeRandom(2, 0.5, &c);
  EXPECT_TRUE(at::equal(a.flat(), b.flat()));
  EXPECT_FALSE(at::equal(a.flat(), c.flat()));
  const at::Tensor up = a.View(*a.layout().Find("model.layers.0.mlp.gate_up_proj.weight"));
  EXPECT_NEAR(up.std().item<float>(), 0.5, 0.03);
  EXPECT_NEAR(up.mean().item<float>(), 0.0, 0.03);
  EXPECT_TRUE(at::equal(a.View(*a.layout().Find("model.norm.weight")), at::ones({32})));
  EXPECT_TRUE(at::equal(a.View(*a.layout().Find(layout::kValueHeadWeight)), at::zeros({1, 32})));
}

}  // namespace
}  // namespace retort::tensor
