// Arenas on another device than the CPU.
#include <vector>

#include "common/base/file.h"
#include "common/tensor/model_weights.h"
#include "common/tensor/parameter_arena.h"
#include "gtest/gtest.h"
#include "testing/pretend_device.h"
#include "testing/tiny_model.h"

namespace retort::tensor {
namespace {

TEST(DeviceArenaTest, Allocate_ZeroAlignedAndThere) {
  const layout::ParameterLayout layout = layout::LayoutFor(tiny::TinyConfig(), true);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const auto arena = ParameterArena::Allocate(layout, type, pretend::Device());
    ASSERT_TRUE(arena.ok()) << arena.status();
    EXPECT_EQ(arena->device(), pretend::Device());
    EXPECT_EQ(arena->type(), type);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(arena->flat().const_data_ptr()) % 64, 0u);
    EXPECT_EQ(arena->flat().cpu().count_nonzero().item<int64_t>(), 0);
  }
}

TEST(DeviceArenaTest, Allocate_NoMemory_ResourceExhausted) {
  layout::ModelConfig config = tiny::TinyConfig();
  config.vocab_size = int64_t{1} << 30;
  const auto arena =
      ParameterArena::Allocate(layout::LayoutFor(config, false), at::kFloat, pretend::Device());
  EXPECT_EQ(arena.status().code(), absl::StatusCode::kResourceExhausted) << arena.status();
}

TEST(DeviceArenaTest, CopyTo_AndFrom_SameNumbersAndRounded) {
  const ParameterArena arena = tiny::RandomArena(tiny::TinyConfig(), true);
  const ParameterArena there = *arena.CopyTo(pretend::Device());
  EXPECT_EQ(there.device(), pretend::Device());
  EXPECT_TRUE(at::equal(there.flat().cpu(), arena.flat()));
  const ParameterArena half = *there.CopyTo(pretend::Device(), at::kBFloat16);
  EXPECT_TRUE(at::equal(half.flat().cpu(), arena.flat().to(at::kBFloat16)));
  there.flat().mul_(2);
  half.CopyFrom(there);
  EXPECT_TRUE(at::equal(half.flat().cpu(), (2 * arena.flat()).to(at::kBFloat16)));
  arena.CopyFrom(half);
  EXPECT_TRUE(at::equal(arena.flat(), half.flat().cpu().to(at::kFloat)));
}

TEST(DeviceArenaTest, Wrap_OfForeignMemory_ViewsShareIt) {
  const layout::ParameterLayout layout = layout::LayoutFor(tiny::TinyConfig(), false);
  void* const memory = pretend::Allocate(layout.total_elements * sizeof(float));
  const ParameterArena arena = ParameterArena::Wrap(
      layout, at::from_blob(memory, {layout.total_elements}, &pretend::Free,
                            at::TensorOptions().dtype(at::kFloat).device(pretend::Device()),
                            pretend::Device()));
  const layout::ParameterEntry& entry = layout.entries[1];
  arena.View(entry).fill_(3);
  EXPECT_EQ(static_cast<const float*>(pretend::HostAddress(memory))[entry.offset], 3.0f);
  EXPECT_EQ(arena.Published().device(), pretend::Device());
}

TEST(DeviceArenaTest, Write_FromTheDevice_ReadsBackTheSame) {
  const ParameterArena arena = tiny::RandomArena(tiny::TinyConfig(), false);
  const std::string folder = ::testing::TempDir() + "/device_arena_test";
  ASSERT_TRUE(RemoveRecursively(folder).ok() && MakeDirectories(folder).ok());
  const absl::Status written = WriteModelWeights(folder, *arena.CopyTo(pretend::Device()));
  ASSERT_TRUE(written.ok()) << written;
  const auto read = ReadModelArena(folder, arena.layout());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(at::equal(read->flat(), arena.flat()));
}

using DeviceArenaDeathTest = testing::Test;

TEST_F(DeviceArenaDeathTest, RawPointer_OfTheDevice_Refused) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const ParameterArena there =
      *tiny::RandomArena(tiny::TinyConfig(), false).CopyTo(pretend::Device());
  EXPECT_DEATH(there.data(), "as fp32 of the CPU");
  EXPECT_DEATH(there.PublishedSpan(), "as fp32 of the CPU");
}

}  // namespace
}  // namespace retort::tensor
