#include "common/model/sampling.h"

#include <cmath>
#include <limits>

#include "common/base/rng.h"
#include "gtest/gtest.h"

namespace retort::model {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> Normalised(const RowFilter& filter) {
  std::vector<float> probs(filter.probs().begin(), filter.probs().end());
  for (float& p : probs) p = static_cast<float>(p / filter.total());
  return probs;
}

std::vector<float> RandomLogits(int64_t vocab, uint64_t seed) {
  CounterRng rng(seed, RngPurpose::kData, 0);
  std::vector<float> logits(vocab);
  for (float& x : logits) x = static_cast<float>(2.0 * rng.NextNormal());
  return logits;
}

TEST(SamplingTest, Validate_EachFieldOutOfRange_NamesIt) {
  const std::pair<const char*, FilterOptions> cases[] = {
      {"temperature", {.temperature = 0}},
      {"temperature", {.temperature = -1}},
      {"temperature", {.temperature = NAN}},
      {"top_k", {.top_k = -1}},
      {"top_p", {.top_p = 0}},
      {"top_p", {.top_p = 1.5}},
      {"min_p", {.min_p = 1.5}},
      {"repetition_penalty", {.repetition_penalty = 0}},
  };
  for (const auto& [field, options] : cases) {
    const absl::Status status = ValidateFilter(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(field), absl::string_view::npos) << status.ToString();
  }
  EXPECT_TRUE(ValidateFilter({}).ok());
}

TEST(SamplingTest, Apply_Limit_HigherIdsGetNothing) {
  RowFilter filter({});
  ASSERT_TRUE(filter.Apply(std::vector<float>{0, 0, 9}, 2, {}));
  EXPECT_EQ(Normalised(filter), (std::vector<float>{0.5, 0.5, 0}));
  EXPECT_EQ(filter.LogProb(2), -kInf);
}

TEST(SamplingTest, Apply_NotFinite_False) {
  RowFilter filter({});
  EXPECT_FALSE(filter.Apply(std::vector<float>{0, NAN, 1}, 3, {}));
  EXPECT_FALSE(filter.Apply(std::vector<float>{0, kInf, 1}, 3, {}));
  EXPECT_FALSE(filter.Apply(std::vector<float>{-kInf, -kInf}, 2, {}));
  EXPECT_TRUE(filter.Apply(std::vector<float>{-kInf, 1}, 2, {}));
}

TEST(SamplingTest, Apply_TopPOfManyIds_KeepsTheSmallestSufficientHead) {
  const std::vector<float> logits = RandomLogits(5000, 3);
  RowFilter all({}), filtered({.top_p = 0.9});
  ASSERT_TRUE(all.Apply(logits, 5000, {}));
  ASSERT_TRUE(filtered.Apply(logits, 5000, {}));
  double kept = 0, smallest = 2, largest_dropped = 0;
  for (int64_t i = 0; i < 5000; ++i) {
    if (filtered.probs()[i] > 0) {
      kept += all.probs()[i];
      smallest = std::min<double>(smallest, all.probs()[i]);
    } else {
      largest_dropped = std::max<double>(largest_dropped, all.probs()[i]);
    }
  }
  EXPECT_GE(kept, 0.9 * all.total());
  EXPECT_LT(kept - smallest, 0.9 * all.total());
  EXPECT_GE(smallest, largest_dropped);
  EXPECT_NEAR(kept, filtered.total(), 1e-9 * kept);
}

// The renormalised log-prob from its definition: log of p_i over the sum of the kept p.
TEST(SamplingTest, LogProb_Truncated_EqualsIndependentRecomputation) {
  const std::vector<float> logits = RandomLogits(200, 5);
  const FilterOptions options{.temperature = 0.7, .top_k = 8, .top_p = 0.9};
  RowFilter filter(options);
  ASSERT_TRUE(filter.Apply(logits, 200, {}));
  double kept = 0;
  for (int64_t i = 0; i < 200; ++i) {
    if (filter.probs()[i] > 0) kept += std::exp(logits[i] / 0.7);
  }
  int64_t count = 0;
  for (int64_t i = 0; i < 200; ++i) {
    if (filter.probs()[i] == 0) continue;
    ++count;
    EXPECT_NEAR(filter.LogProb(i), logits[i] / 0.7 - std::log(kept), 1e-5);
  }
  EXPECT_GT(count, 1);
  EXPECT_LE(count, 8);
}

TEST(SamplingTest, Draw_ManyUniforms_FollowsTheDistribution) {
  RowFilter filter({});
  ASSERT_TRUE(
      filter.Apply(std::vector<float>{std::log(0.1f), std::log(0.6f), std::log(0.3f)}, 3, {}));
  CounterRng rng(7, RngPurpose::kSampling, 0);
  int64_t counts[3] = {};
  for (int i = 0; i < 20000; ++i) ++counts[filter.Draw(rng.NextUniform())];
  EXPECT_NEAR(counts[0] / 20000.0, 0.1, 0.01);
  EXPECT_NEAR(counts[1] / 20000.0, 0.6, 0.015);
}

TEST(SamplingTest, Draw_Extremes_OnlyKeptIds) {
  RowFilter filter({.top_k = 2});
  ASSERT_TRUE(filter.Apply(std::vector<float>{-5, 1, 2, -7}, 4, {}));
  EXPECT_EQ(filter.Draw(0.0), 1);
  EXPECT_EQ(filter.Draw(std::nextafter(1.0, 0.0)), 2);
}

}  // namespace
}  // namespace retort::model
