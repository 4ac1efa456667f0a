#include "common/model/rope.h"

#include <bit>
#include <cmath>
#include <map>

#include "common/model/simd.h"
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

struct KnownBits {
  layout::RopeConfig config;
  int64_t dim;
  uint32_t sum;                       // Of all frequencies' bits, mod 2^32.
  std::map<size_t, uint32_t> values;  // Some of them.
};

// Of Transformers 5.23's LlamaRotaryEmbedding. Rounded from double, 18 to 39 of each would differ
// in the last bit: an angle error of 1e-4 at position 1500.
TEST(RopeTest, Frequencies_BitsOfTransformers) {
  const KnownBits kKnown[] = {
      {{.theta = 100}, 160, 1383914464, {{1, 1064414714}, {17, 1052798402}, {63, 1020917618}}},
      {{.type = layout::RopeType::kLinear, .theta = 1e6, .factor = 3.5},
       128,
       1785226072,
       {{1, 1047249971}, {17, 1005491246}, {63, 884889979}}},
      {{.type = layout::RopeType::kLlama3,
        .theta = 5e5,
        .factor = 8,
        .low_freq_factor = 1,
        .high_freq_factor = 4,
        .original_max_position_embeddings = 8192},
       128,
       2225698045,
       {{1, 1062243009}, {17, 1023079743}, {63, 883213055}}},
  };
  for (const KnownBits& known : kKnown) {
    const std::vector<float> frequencies = InverseFrequencies(known.config, known.dim);
    uint32_t sum = 0;
    for (const float frequency : frequencies) sum += std::bit_cast<uint32_t>(frequency);
    // LibTorch's pow of the baseline rounds a few otherwise.
    const bool baseline = simd::ChosenSet() == simd::InstructionSet::kBaseline;
    EXPECT_NEAR(sum, known.sum, baseline ? 2 : 0) << known.config.theta;
    for (const auto& [index, bits] : known.values) {
      EXPECT_EQ(std::bit_cast<uint32_t>(frequencies[index]), bits) << known.config.theta;
    }
  }
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
