#include "common/model/rope.h"

#include <cmath>

#include "gtest/gtest.h"

namespace retort::model {
namespace {

TEST(RopeTest, Frequencies_Default_PowersOfTheta) {
  const std::vector<float> f = InverseFrequencies({}, 8);
  ASSERT_EQ(f.size(), 4u);
  EXPECT_FLOAT_EQ(f[0], 1.0f);
  EXPECT_FLOAT_EQ(f[1], 0.1f);
  EXPECT_FLOAT_EQ(f[3], 0.001f);
}

TEST(RopeTest, Frequencies_Linear_DividedByFactor) {
  layout::RopeConfig config;
  config.type = layout::RopeType::kLinear;
  config.factor = 4;
  EXPECT_FLOAT_EQ(InverseFrequencies(config, 8)[1], 0.025f);
}

TEST(RopeTest, Frequencies_Llama3_ShortKeptLongStretchedMiddleBetween) {
  layout::RopeConfig config;
  config.type = layout::RopeType::kLlama3;
  config.factor = 8;
  config.low_freq_factor = 1;
  config.high_freq_factor = 4;
  config.original_max_position_embeddings = 32;
  config.theta = 500;
  const std::vector<float> plain = InverseFrequencies({.theta = 500}, 16);
  const std::vector<float> scaled = InverseFrequencies(config, 16);
  EXPECT_FLOAT_EQ(scaled[0], plain[0]);      // Wavelength 6.3 < 32 / 4.
  EXPECT_FLOAT_EQ(scaled[7], plain[7] / 8);  // Wavelength 1443 > 32.
  EXPECT_LT(scaled[1], plain[1]);            // Wavelength 13.7.
  EXPECT_GT(scaled[1], plain[1] / 8);
}

TEST(RopeTest, Table_Grown_KeepsOldTensorsAndValues) {
  RopeTable table({}, 8, 1000);
  const RopeAngles before = table.Cover(10);
  const RopeAngles after = table.Cover(900);
  EXPECT_TRUE(at::equal(before.cos, after.cos.narrow(0, 0, before.cos.size(0))));
  EXPECT_FLOAT_EQ(after.sin[899][1].item<float>(), std::sin(899 * 0.1f));
}

}  // namespace
}  // namespace retort::model
