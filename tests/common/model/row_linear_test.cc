#include "common/model/row_linear.h"

#include <cstring>
#include <vector>

#include "common/model/composite.h"
#include "common/tensor/torch_process.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

struct Shape {
  int64_t inputs, outputs;
};

// Whole vectors and tails, fewer outputs than a tile, more rows than one block of the cache; panels
// (linear_panels.h) with and without outputs left over, and more inputs than 64 rows pay for.
const Shape kShapes[] = {{1, 1},    {3, 5},     {8, 8},    {40, 24},  {67, 29}, {16, 64},
                         {128, 70}, {320, 100}, {512, 32}, {864, 50}, {3080, 7}};

at::Tensor Apply(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  at::Tensor y = at::full({x.size(0), weight.size(0)}, NAN);
  RowLinear(x.const_data_ptr<float>(), x.size(0), MatrixOf(weight),
            bias.defined() ? bias.const_data_ptr<float>() : nullptr, LinearMode::kStore,
            y.mutable_data_ptr<float>());
  return y;
}

bool SameBits(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() == b.numel() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

TEST(RowLinearTest, EachShape_EqualsFloat64) {
  for (const Shape& s : kShapes) {
    const at::Tensor x = at::randn({9, s.inputs}), w = at::randn({s.outputs, s.inputs});
    const at::Tensor bias = at::randn({s.outputs});
    const at::Tensor want = at::linear(x.to(at::kDouble), w.to(at::kDouble), bias.to(at::kDouble));
    EXPECT_LT(Error(Apply(x, w, bias), want), 1e-4) << s.inputs << " " << s.outputs;
    EXPECT_LT(Error(Apply(x, w, {}), want - bias), 1e-4) << s.inputs << " " << s.outputs;
  }
}

TEST(RowLinearTest, EveryRowCount_BitsOfARowAreItsOwn) {
  for (const Shape& s : kShapes) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = at::randn({64, s.inputs});
      const at::Tensor w = at::randn({s.outputs, s.inputs}).to(type);
      const at::Tensor bias = at::randn({s.outputs});
      std::vector<at::Tensor> alone;
      for (int64_t r = 0; r < 64; ++r) alone.push_back(Apply(x.narrow(0, r, 1), w, bias));
      for (int64_t rows = 1; rows <= 64; ++rows) {
        const at::Tensor y = Apply(x.narrow(0, 64 - rows, rows), w, bias);
        for (int64_t r = 0; r < rows; ++r) {
          ASSERT_TRUE(SameBits(y[r], alone[64 - rows + r]))
              << s.inputs << " " << s.outputs << " rows " << rows << " row " << r;
        }
      }
    }
  }
}

TEST(RowLinearTest, EveryThreadCount_SameBits) {
  const at::Tensor w = at::randn({1000, 320});
  for (const int64_t rows : {5, 50}) {
    const at::Tensor x = at::randn({rows, 320});
    at::Tensor want;
    for (const int threads : {1, 2, 3, 5}) {
      const tensor::ThreadCount count(threads);
      const at::Tensor got = Apply(x, w, {});
      if (!want.defined()) want = got;
      EXPECT_TRUE(SameBits(got, want)) << threads << " threads, " << rows << " rows";
    }
  }
}

TEST(RowLinearTest, Bf16Weights_EqualTheirWideningBitForBit) {
  for (const int64_t inputs : {75, 80}) {
    for (const int64_t rows : {7, 37}) {
      const at::Tensor x = at::randn({rows, inputs});
      const at::Tensor w = at::randn({33, inputs}).to(at::kBFloat16);
      EXPECT_TRUE(SameBits(Apply(x, w, {}), Apply(x, w.to(at::kFloat), {}))) << inputs;
    }
  }
}

TEST(RowLinearTest, Add_IsTheSumOfBoth) {
  for (const int64_t rows : {3, 40}) {
    const at::Tensor x = at::randn({rows, 48}), w = at::randn({35, 48}), bias = at::randn({35});
    const at::Tensor before = at::randn({rows, 35});
    const at::Tensor y = before.clone();
    RowLinear(x.const_data_ptr<float>(), rows, MatrixOf(w), bias.const_data_ptr<float>(),
              LinearMode::kAdd, y.mutable_data_ptr<float>());
    EXPECT_TRUE(SameBits(y, before + Apply(x, w, bias))) << rows;
  }
}

TEST(RowLinearTest, OutputRange_IsThosePartsOfTheRows) {
  const at::Tensor x = at::randn({2, 20});
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor w = at::randn({30, 20}).to(type);
    at::Tensor y = at::empty({2, 13});
    RowLinear(x.const_data_ptr<float>(), 2, OutputRange(MatrixOf(w), 7, 13), nullptr,
              LinearMode::kStore, y.mutable_data_ptr<float>());
    EXPECT_TRUE(SameBits(y, Apply(x, w, {}).narrow(1, 7, 13).contiguous()));
  }
}

TEST(RowLinearTest, NoRows_TouchesNothing) {
  const at::Tensor w = at::randn({4, 4});
  RowLinear(nullptr, 0, MatrixOf(w), nullptr, LinearMode::kStore, nullptr);
}

}  // namespace
}  // namespace retort::model
