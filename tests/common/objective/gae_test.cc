#include "common/objective/gae.h"

#include <limits>

#include "gtest/gtest.h"

namespace retort::objective {
namespace {

TEST(GaeTest, HandValues) {
  const at::Tensor mask = at::tensor({1, 1, 1, 0}).to(at::kBool).unsqueeze(0);
  const GaeResult result =
      *ComputeGae(at::tensor({0.1, 0.2, 0.3, 5.0}).unsqueeze(0),
                  at::tensor({-0.02, 0.01, 1.0, 9.0}).unsqueeze(0), mask, GaeOptions{});
  EXPECT_TRUE(at::allclose(result.returns, at::tensor({0.91625, 0.975, 1.0, 0.0}).unsqueeze(0)));
  EXPECT_TRUE(at::allclose(result.advantages,
                           at::tensor({0.8907974, 0.1908852, -1.0816825, 0.0}).unsqueeze(0), 1e-6,
                           1e-7));
}

// Whatever stands off the mask, in either option, changes nothing.
TEST(GaeTest, OffTheMask_AnyValue_SameResult) {
  const at::Tensor mask = at::tensor({1, 1, 0, 1, 1, 1}).to(at::kBool).view({2, 3});
  const at::Tensor values = at::arange(6, at::kFloat).view({2, 3}) / 10;
  const at::Tensor rewards = at::arange(6, at::kFloat).view({2, 3}).cos();
  for (const bool whiten : {false, true}) {
    GaeOptions options;
    options.whiten_rewards = whiten;
    const GaeResult clean = *ComputeGae(values, rewards, mask, options);
    const auto dirty = [&](const at::Tensor& x, float fill) {
      return at::where(mask, x, at::full({}, fill));
    };
    const GaeResult other = *ComputeGae(
        dirty(values, -77), dirty(rewards, std::numeric_limits<float>::quiet_NaN()), mask, options);
    EXPECT_TRUE(at::equal(clean.advantages, other.advantages));
    EXPECT_TRUE(at::equal(clean.returns, other.returns));
    EXPECT_EQ(clean.advantages[0][2].item<float>(), 0);
  }
}

TEST(GaeTest, WiderPadding_SameResult) {
  const at::Tensor mask = at::tensor({1, 1, 1}).to(at::kBool).unsqueeze(0);
  const at::Tensor values = at::tensor({0.3f, -0.2f, 0.9f}).unsqueeze(0);
  const at::Tensor rewards = at::tensor({0.0f, 0.5f, 1.0f}).unsqueeze(0);
  const auto pad = [](const at::Tensor& x) { return at::constant_pad_nd(x, {0, 4}); };
  for (const bool whiten : {false, true}) {
    GaeOptions options;
    options.whiten_rewards = whiten;
    const GaeResult narrow = *ComputeGae(values, rewards, mask, options);
    const GaeResult wide = *ComputeGae(pad(values), pad(rewards), pad(mask), options);
    EXPECT_TRUE(at::allclose(narrow.returns, wide.returns.slice(1, 0, 3), 1e-6, 1e-7)) << whiten;
    EXPECT_TRUE(at::allclose(narrow.advantages, wide.advantages.slice(1, 0, 3), 1e-6, 1e-7));
  }
}

TEST(GaeTest, EmptyMask_Refused) {
  EXPECT_NE(
      ComputeGae(at::zeros({1, 2}), at::zeros({1, 2}), at::zeros({1, 2}, at::kBool), GaeOptions{})
          .status()
          .message()
          .find("empty mask"),
      absl::string_view::npos);
}

}  // namespace
}  // namespace retort::objective
