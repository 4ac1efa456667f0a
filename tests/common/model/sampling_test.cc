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

// Over ids [0, limit), with a context that nothing reads.
bool Apply(RowFilter& filter, const FilterOptions& options, const std::vector<float>& logits,
           int64_t limit) {
  return filter.Apply(options, {limit, {}}, logits, {});
}

// Applies to logits that are all 0 and returns the ids that are left.
std::vector<int64_t> Left(const FilterOptions& options, int64_t vocab,
                          const std::vector<int64_t>& context, int64_t new_tokens = 0) {
  RowFilter filter;
  EXPECT_TRUE(
      filter.Apply(options, {vocab, {}}, std::vector<float>(vocab, 0.0f), {context, new_tokens}));
  std::vector<int64_t> ids;
  for (int64_t id = 0; id < vocab; ++id) {
    if (filter.probs()[id] > 0) ids.push_back(id);
  }
  return ids;
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
      {"temperature", {.temperature = 1e-39}},
      {"temperature", {.temperature = kInf}},
      {"top_k", {.top_k = -1}},
      {"top_p", {.top_p = 0}},
      {"top_p", {.top_p = 1.5}},
      {"min_p", {.min_p = 1.5}},
      {"repetition_penalty", {.repetition_penalty = 0}},
      {"repetition_penalty", {.repetition_penalty = 1e-40}},
      {"repetition_penalty", {.repetition_penalty = 1e40}},
      {"repetition_penalty", {.repetition_penalty = NAN}},
      {"bad_words", {.bad_words = {{1}, {}}}},
      {"min_new_tokens", {.min_new_tokens = -1}},
  };
  for (const auto& [field, options] : cases) {
    const absl::Status status = ValidateFilter(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(status.message().find(field), absl::string_view::npos) << status.ToString();
  }
  EXPECT_TRUE(ValidateFilter({}).ok());
}

TEST(SamplingTest, Apply_ScalesAtTheirBounds_Finite) {
  const std::vector<float> logits = {-30, 20, 0, 30, 30};
  for (const double temperature : {kMinScale, kMaxScale}) {
    for (const double penalty : {kMinScale, kMaxScale}) {
      const FilterOptions options{.repetition_penalty = penalty, .temperature = temperature};
      ASSERT_TRUE(ValidateFilter(options).ok());
      RowFilter filter;
      ASSERT_TRUE(filter.Apply(options, {5, {}}, logits, {{0, 1, 2, 3}, 1}));
      EXPECT_GE(filter.total(), 1);
      for (const float p : filter.probs()) EXPECT_TRUE(p >= 0 && p <= 1) << p;
      EXPECT_TRUE(std::isfinite(filter.LogProb(filter.Largest())));
    }
  }
}

TEST(SamplingTest, Apply_Limit_HigherIdsGetNothing) {
  RowFilter filter;
  ASSERT_TRUE(Apply(filter, {}, {0, 0, 9}, 2));
  EXPECT_EQ(Normalised(filter), (std::vector<float>{0.5, 0.5, 0}));
  EXPECT_EQ(filter.LogProb(2), -kInf);
}

TEST(SamplingTest, Apply_NotFinite_False) {
  RowFilter filter;
  EXPECT_FALSE(Apply(filter, {}, {0, NAN, 1}, 3));
  EXPECT_FALSE(Apply(filter, {}, {0, kInf, 1}, 3));
  EXPECT_FALSE(Apply(filter, {}, {-kInf, -kInf}, 2));
  EXPECT_TRUE(Apply(filter, {}, {-kInf, 1}, 2));
}

TEST(SamplingTest, Apply_TopPOfManyIds_KeepsTheSmallestSufficientHead) {
  const std::vector<float> logits = RandomLogits(5000, 3);
  RowFilter all, filtered;
  ASSERT_TRUE(Apply(all, {}, logits, 5000));
  ASSERT_TRUE(Apply(filtered, {.top_p = 0.9}, logits, 5000));
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
  RowFilter filter;
  ASSERT_TRUE(Apply(filter, options, logits, 200));
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
  RowFilter filter;
  ASSERT_TRUE(Apply(filter, {}, {std::log(0.1f), std::log(0.6f), std::log(0.3f)}, 3));
  CounterRng rng(7, RngPurpose::kSampling, 0);
  int64_t counts[3] = {};
  for (int i = 0; i < 20000; ++i) ++counts[filter.Draw(rng.NextUniform())];
  EXPECT_NEAR(counts[0] / 20000.0, 0.1, 0.01);
  EXPECT_NEAR(counts[1] / 20000.0, 0.6, 0.015);
}

TEST(SamplingTest, Draw_Extremes_OnlyKeptIds) {
  RowFilter filter;
  ASSERT_TRUE(Apply(filter, {.top_k = 2}, {-5, 1, 2, -7}, 4));
  EXPECT_EQ(filter.Draw(0.0), 1);
  EXPECT_EQ(filter.Draw(std::nextafter(1.0, 0.0)), 2);
}

TEST(SamplingTest, Validate_IdBeyondTheVocabulary_IsNamed) {
  EXPECT_NE(ValidateFilter({.bad_words = {{3, 9}}}, 9).message().find("id 9"),
            absl::string_view::npos);
  EXPECT_TRUE(ValidateFilter({.bad_words = {{3, 8}}, .eos_ids = {0}}, 9).ok());
}

TEST(SamplingTest, ValidateMask_EachWrongOne_IsRefused) {
  const VocabMask cases[] = {{0, {}}, {11, {}}, {5, {2, 1}}, {5, {5}}, {5, {-1}}, {2, {0, 1}}};
  for (const VocabMask& mask : cases) {
    EXPECT_EQ(ValidateMask(mask, 10).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(ValidateMask({10, {0, 4, 9}}, 10).ok());
}

// Masked before all else: a NaN there does no harm, and nothing is normalised over it.
TEST(SamplingTest, Apply_ExcludedIds_AreNowhere) {
  RowFilter filter;
  ASSERT_TRUE(filter.Apply({}, {4, {1, 2}}, std::vector<float>{0, NAN, kInf, 0, kInf}, {}));
  EXPECT_EQ(Normalised(filter), (std::vector<float>{0.5, 0, 0, 0.5, 0}));
  EXPECT_EQ(filter.Largest(), 0);
}

TEST(SamplingTest, Apply_BadWords_DropTheLastIdAfterItsPrefix) {
  const FilterOptions options{.bad_words = {{1}, {2, 3}, {4, 4, 0}, {5}}, .eos_ids = {5}};
  using Ids = std::vector<int64_t>;
  EXPECT_EQ(Left(options, 6, {}), (Ids{0, 2, 3, 4, 5}));
  EXPECT_EQ(Left(options, 6, {0, 2}), (Ids{0, 2, 4, 5}));
  EXPECT_EQ(Left(options, 6, {2, 0}), (Ids{0, 2, 3, 4, 5}));
  EXPECT_EQ(Left(options, 6, {4, 4}), (Ids{2, 3, 4, 5}));
  EXPECT_EQ(Left(options, 6, {4}), (Ids{0, 2, 3, 4, 5}));
}

TEST(SamplingTest, Apply_MinNewTokens_NoEosBefore) {
  const FilterOptions options{.min_new_tokens = 2, .eos_ids = {0, 2}};
  EXPECT_EQ(Left(options, 4, {3}, 1), (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(Left(options, 4, {3}, 2), (std::vector<int64_t>{0, 1, 2, 3}));
}

TEST(SamplingTest, Apply_NothingLeft_False) {
  RowFilter filter;
  const FilterOptions options{.bad_words = {{0}, {1}}};
  EXPECT_FALSE(filter.Apply(options, {2, {}}, std::vector<float>{1, 2}, {}));
}

// The penalty comes before top_k: it decides which logits are the largest.
TEST(SamplingTest, Apply_PenaltyThenTopK_KeepsThePenalisedOrder) {
  RowFilter filter;
  const std::vector<int64_t> context = {0, 0};
  ASSERT_TRUE(filter.Apply({.repetition_penalty = 4, .top_k = 1}, {3, {}},
                           std::vector<float>{2, 1, -9}, {context, 0}));
  EXPECT_EQ(filter.Largest(), 1);
  EXPECT_EQ(filter.probs()[0], 0.0f);
}

TEST(RawRowTest, LogProbAndTopK_OfUntouchedLogits) {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.4f), std::log(0.2f), -kInf,
                                     std::log(0.2f)};
  RawRow row;
  row.Set(logits, {5});
  EXPECT_NEAR(row.LogProb(1), std::log(0.4), 1e-6);
  EXPECT_EQ(row.LogProb(3), -kInf);
  std::vector<int64_t> ids;
  std::vector<float> log_probs;
  row.TopK(3, &ids, &log_probs);
  EXPECT_EQ(ids, (std::vector<int64_t>{1, 0, 2}));
  EXPECT_NEAR(log_probs[2], std::log(0.2), 1e-6);
}

TEST(RawRowTest, MaskedIds_CountInNoNormaliser) {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.4f), std::log(0.2f), 5.0f, 9.0f};
  RawRow row;
  row.Set(logits, {4, {3}});
  EXPECT_NEAR(row.LogProb(1), std::log(0.5), 1e-6);
  EXPECT_EQ(row.LogProb(3), -kInf);
  std::vector<int64_t> ids;
  std::vector<float> log_probs;
  row.TopK(3, &ids, &log_probs);
  EXPECT_EQ(ids, (std::vector<int64_t>{1, 0, 2}));
}

}  // namespace
}  // namespace retort::model
