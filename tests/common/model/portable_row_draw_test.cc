#include "common/model/portable_row_draw.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "gtest/gtest.h"
#include "testing/test_device.h"

namespace retort::model {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Rows to draw, with what their draws point to.
struct Rows {
  int64_t vocab;
  VocabMask mask;
  std::vector<FilterOptions> filters;
  std::vector<std::vector<int64_t>> contexts;
  at::Tensor logits;  // [rows, vocab]
  std::vector<RowDraw> draws;

  Rows(int64_t vocab, const std::vector<FilterOptions>& filters, double spread = 2)
      : vocab(vocab), mask{vocab, {}}, filters(filters), contexts(filters.size()) {
    CounterRng rng(7, RngPurpose::kData, static_cast<uint64_t>(vocab));
    logits = at::empty({static_cast<int64_t>(filters.size()), vocab}, at::kFloat);
    float* const data = logits.mutable_data_ptr<float>();
    for (int64_t i = 0; i < logits.numel(); ++i) {
      data[i] = static_cast<float>(spread * rng.NextNormal());
    }
    draws.resize(filters.size());
    for (RowDraw& draw : draws) {
      draw.uniform = rng.NextUniform();
      draw.raw_log_prob = true;
    }
  }

  float& logit(int64_t row, int64_t id) {
    return logits.mutable_data_ptr<float>()[row * vocab + id];
  }

  // The same rows again, pointing to this object.
  std::vector<RowDraw> Draws() {
    for (size_t i = 0; i < draws.size(); ++i) {
      draws[i].filter = &filters[i];
      draws[i].mask = &mask;
      draws[i].context = {contexts[i], static_cast<int64_t>(contexts[i].size())};
    }
    return draws;
  }

  std::vector<RowDraw> OnHost() {
    std::vector<RowDraw> drawn = Draws();
    HostDraws().Draw(logits.const_data_ptr<float>(), vocab, absl::MakeSpan(drawn));
    return drawn;
  }

  // `on_host`: how many rows the device is to leave to the host.
  std::vector<RowDraw> OnDevice(int64_t on_host = 0) {
    std::vector<RowDraw> drawn = Draws();
    DeviceDraws device;
    device.Draw(logits.to(TestDevice()), absl::MakeSpan(drawn));
    EXPECT_EQ(device.rows_drawn_on_host(), on_host);
    return drawn;
  }
};

void ExpectSame(const std::vector<RowDraw>& got, const std::vector<RowDraw>& want,
                const std::string& name) {
  for (size_t i = 0; i < want.size(); ++i) {
    const DrawnToken &g = got[i].token, &w = want[i].token;
    ASSERT_EQ(g.valid, w.valid) << name << ", row " << i;
    ASSERT_EQ(g.id, w.id) << name << ", row " << i;
    EXPECT_NEAR(g.log_prob, w.log_prob, 1e-5) << name << ", row " << i;
    EXPECT_NEAR(g.raw_log_prob, w.raw_log_prob, 1e-5) << name << ", row " << i;
    EXPECT_EQ(g.top_ids, w.top_ids) << name << ", row " << i;
  }
}

std::vector<FilterOptions> Times(int64_t count, const FilterOptions& filter) {
  return std::vector<FilterOptions>(count, filter);
}

const int64_t kVocabularies[] = {1, 5, 256, 257, 700, 1024, 3000};

TEST(PortableRowDrawTest, NoTruncation_AnyVocabulary_TheHostsTokens) {
  for (const int64_t vocab : kVocabularies) {
    Rows rows(vocab, Times(40, {.temperature = 0.7}));
    ExpectSame(rows.OnDevice(), rows.OnHost(), std::to_string(vocab));
  }
}

TEST(PortableRowDrawTest, Greedy_AnyVocabulary_TheHostsTokens) {
  for (const int64_t vocab : kVocabularies) {
    Rows rows(vocab, Times(10, {.temperature = 1.3}));
    for (RowDraw& draw : rows.draws) draw.greedy = true;
    ExpectSame(rows.OnDevice(), rows.OnHost(), std::to_string(vocab));
  }
}

TEST(PortableRowDrawTest, Truncation_EveryKind_TheHostsTokens) {
  const FilterOptions kinds[] = {{.top_k = 1},
                                 {.top_k = 20},
                                 {.temperature = 0.5, .top_k = 5, .top_p = 0.6},
                                 {.top_p = 0.3},
                                 {.temperature = 0.4, .top_p = 0.8, .min_p = 0.05},
                                 {.min_p = 0.02},
                                 {.top_k = 900, .min_p = 0.1}};
  for (const int64_t vocab : kVocabularies) {
    for (size_t kind = 0; kind < std::size(kinds); ++kind) {
      Rows rows(vocab, Times(20, kinds[kind]));
      ExpectSame(rows.OnDevice(), rows.OnHost(),
                 std::to_string(vocab) + ", kind " + std::to_string(kind));
    }
  }
}

TEST(PortableRowDrawTest, Extremes_OfTheUniform_FirstAndLastId) {
  Rows rows(700, Times(2, {}));
  rows.draws[0].uniform = 0;
  rows.draws[1].uniform = std::nextafter(1.0, 0.0);
  const std::vector<RowDraw> drawn = rows.OnDevice();
  EXPECT_EQ(drawn[0].token.id, 0);
  EXPECT_EQ(drawn[1].token.id, 699);
}

TEST(PortableRowDrawTest, MaskAndDrops_TheyAreNeverDrawnAndCountRight) {
  const FilterOptions drops{.bad_words = {{9}, {4, 11}}, .min_new_tokens = 2, .eos_ids = {3}};
  for (const bool greedy : {false, true}) {
    Rows rows(600, Times(30, drops));
    rows.mask = {590, {0, 7, 8, 300}};
    for (size_t i = 0; i < rows.draws.size(); ++i) {
      rows.draws[i].greedy = greedy;
      if (i % 2 == 0) rows.contexts[i] = {1, 4};  // Now 11 is dropped, and 3 no longer.
      for (const int64_t id : {0, 7, 9, 11, 3, 595}) rows.logit(i, id) = 9;
    }
    const std::vector<RowDraw> drawn = rows.OnDevice();
    ExpectSame(drawn, rows.OnHost(), greedy ? "greedy" : "drawn");
    EXPECT_TRUE(drawn[0].token.id == 3 && drawn[1].token.id == 11);
  }
}

TEST(PortableRowDrawTest, NoDistribution_IsNotValid_OthersAre) {
  for (const FilterOptions& filter : {FilterOptions{}, FilterOptions{.top_k = 3}}) {
    for (const bool greedy : {false, true}) {
      if (greedy && filter.top_k > 0) continue;
      Rows rows(300, Times(5, filter));
      for (RowDraw& draw : rows.draws) draw.greedy = greedy;
      rows.logit(0, 17) = NAN;
      rows.logit(1, 255) = kInf;
      rows.logits[2].fill_(-kInf);
      rows.logit(3, 5) = -kInf;
      const std::vector<RowDraw> drawn = rows.OnDevice();
      ExpectSame(drawn, rows.OnHost(), greedy ? "greedy" : "drawn");
      EXPECT_FALSE(drawn[0].token.valid || drawn[1].token.valid || drawn[2].token.valid);
      EXPECT_TRUE(drawn[3].token.valid && drawn[4].token.valid);
    }
  }
}

TEST(PortableRowDrawTest, WhatTheDeviceCannotDecide_TheHostDraws) {
  Rows rows(3000, {{.repetition_penalty = 1.5}, {.top_k = 2000}, {}, {}, {.top_p = 0.5}});
  rows.contexts[0] = {1, 2};
  rows.draws[2].top_log_probs = 4;
  rows.draws[3].greedy = true;
  ExpectSame(rows.OnDevice(/*on_host=*/3), rows.OnHost(), "mixed");

  // A flat distribution: half of its weight lies on more ids than are looked at.
  Rows flat(3000, {{.top_p = 0.5}, {.top_p = 0.1}}, /*spread=*/1e-3);
  ExpectSame(flat.OnDevice(/*on_host=*/1), flat.OnHost(), "flat");
}

TEST(PortableRowDrawTest, AnotherMask_TheHostDraws) {
  Rows rows(300, Times(2, {}));
  const VocabMask other{300, {1}};
  std::vector<RowDraw> want = rows.Draws(), got = rows.Draws();
  want[1].mask = got[1].mask = &other;
  HostDraws().Draw(rows.logits.const_data_ptr<float>(), 300, absl::MakeSpan(want));
  DeviceDraws device;
  device.Draw(rows.logits.to(TestDevice()), absl::MakeSpan(got));
  EXPECT_EQ(device.rows_drawn_on_host(), 1);
  ExpectSame(got, want, "masks");
}

// Equal logits at the edge of what is looked at: which of them a device lists is not said.
TEST(PortableRowDrawTest, Ties_AtTheEdgeOfTheCandidates_TheHostDecides) {
  for (const FilterOptions& filter : {FilterOptions{.top_k = 1000}, FilterOptions{.top_p = 0.2}}) {
    Rows rows(3000, Times(3, filter));
    for (int64_t row = 0; row < 3; ++row) {
      rows.logits[row].fill_(0.25);
      rows.logit(row, 2999) = 1;
    }
    ExpectSame(rows.OnDevice(/*on_host=*/3), rows.OnHost(), "ties");
  }
}

TEST(PortableRowDrawTest, Repeated_EqualBits) {
  Rows rows(3000, {{.temperature = 0.9}, {.top_k = 50}, {.top_p = 0.2}, {.min_p = 0.01}});
  const std::vector<RowDraw> a = rows.OnDevice(), b = rows.OnDevice();
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].token.id, b[i].token.id);
    EXPECT_EQ(a[i].token.log_prob, b[i].token.log_prob);
    EXPECT_EQ(a[i].token.raw_log_prob, b[i].token.raw_log_prob);
  }
}

}  // namespace
}  // namespace retort::model
