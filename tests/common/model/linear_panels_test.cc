#include "common/model/linear_panels.h"

#include <cstring>

#include "common/model/row_linear.h"
#include "common/tensor/aten.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

LinearTask<Fp32> TaskOf(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                        const at::Tensor& y) {
  return {.x = x.const_data_ptr<float>(),
          .rows = x.size(0),
          .weight = weight.const_data_ptr<float>(),
          .inputs = x.size(1),
          .outputs = weight.size(0),
          .begin = 0,
          .end = weight.size(0),
          .bias = bias.const_data_ptr<float>(),
          .add = true,
          .y = y.mutable_data_ptr<float>()};
}

// Every row count, also where RowLinear would not use panels.
TEST(LinearPanelsTest, WholePanels_BitsOfOneRowAlone) {
  for (const int64_t inputs : {16, 48, 128, 336}) {
    for (const int64_t rows : {1, 2, 5, 8, 13, 24}) {
      const at::Tensor x = at::randn({rows, inputs}), weight = at::randn({71, inputs});
      const at::Tensor bias = at::randn({71}), before = at::randn({rows, 71});
      const at::Tensor y = before.clone(), want = before.clone();
      EXPECT_EQ(MultiplyPanels(TaskOf(x, weight, bias, y)), 64);
      for (int64_t r = 0; r < rows; ++r) {
        RowLinear(x[r].const_data_ptr<float>(), 1, MatrixOf(weight), bias.const_data_ptr<float>(),
                  LinearMode::kAdd, want[r].mutable_data_ptr<float>());
      }
      want.narrow(1, 64, 7).copy_(before.narrow(1, 64, 7));  // Left to dot products.
      EXPECT_EQ(std::memcmp(y.const_data_ptr(), want.const_data_ptr(), y.nbytes()), 0)
          << inputs << " inputs, " << rows << " rows";
    }
  }
}

// Run with each instruction set (CMakeLists.txt): on a CPU of few of them, for those it has.
TEST(LinearPanelsTest, PanelsPay_ManyRowsOfFewWholeVectors) {
  const bool wide = simd::ChosenSet() == simd::InstructionSet::kAvx512;
  const bool narrow = simd::ChosenSet() == simd::InstructionSet::kAvx2;
  EXPECT_EQ(PanelsPay(64, 128, 384), wide || narrow);
  EXPECT_EQ(PanelsPay(448, 768, 3072), wide);
  EXPECT_EQ(PanelsPay(24, 16, 32), wide || narrow);
  EXPECT_FALSE(PanelsPay(23, 16, 32));
  EXPECT_FALSE(PanelsPay(24, 16, 31));
  EXPECT_FALSE(PanelsPay(191, 768, 3072));
  EXPECT_FALSE(PanelsPay(4096, 1040, 64));
  for (const int64_t inputs : {0, 8, 20, 24, 40}) EXPECT_FALSE(PanelsPay(64, inputs, 64));
}

// A sum that underflows to -0 must not meet the zeros that fill a vector.
TEST(LinearPanelsTest, InputsThatFillNoVector_SignOfZeroIsTheRowsOwn) {
  const at::Tensor x = at::full({24, 40}, -1e-30f), weight = at::full({32, 40}, 1e-30f);
  at::Tensor many = at::empty({24, 32}), one = at::empty({32});
  RowLinear(x.const_data_ptr<float>(), 24, MatrixOf(weight), nullptr, LinearMode::kStore,
            many.mutable_data_ptr<float>());
  RowLinear(x.const_data_ptr<float>(), 1, MatrixOf(weight), nullptr, LinearMode::kStore,
            one.mutable_data_ptr<float>());
  EXPECT_EQ(std::memcmp(many[23].const_data_ptr(), one.const_data_ptr(), one.nbytes()), 0);
}

}  // namespace
}  // namespace retort::model
