#include "common/model/decoder.h"

#include <algorithm>
#include <vector>

#include "common/layout/adapter_layout.h"
#include "common/model/composite.h"
#include "common/tensor/aten.h"
#include "gtest/gtest.h"
#include "testing/drawn_log_probs.h"
#include "testing/family_configs.h"
#include "testing/tiny_model.h"

namespace retort::model {
namespace {

constexpr int64_t kLength = 37;  // Three blocks; every window of the families is shorter.

std::vector<int64_t> Ids(const layout::ModelConfig& config) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < kLength; ++i) ids.push_back((i * 11 + 3) % config.vocab_size);
  return ids;
}

// Hidden states of all positions, fed `piece` at a time, of which every `every`th is wanted.
at::Tensor Decode(const Model& model, const std::vector<int64_t>& ids, int64_t piece,
                  int64_t every = 1) {
  const c10::InferenceMode inference;
  BlockPool pool(4);
  Decoder decoder(model, pool.blocks());
  BlockSequence sequence = *BlockSequence::Open(&pool, kLength);
  const int64_t width = model.config().embedding_size();
  at::Tensor all = at::zeros({kLength, width});
  while (sequence.length() < kLength) {
    const int64_t first = sequence.length();
    const int64_t count = std::min(piece, kLength - first);
    sequence.Append(count);
    DecoderRows rows;
    for (int64_t i = 0; i < count; ++i) {
      rows.Add(ids[first + i], first + i, sequence);
      if ((first + i) % every == 0) rows.wanted.push_back(i);
    }
    const float* hidden = decoder.Hidden(rows);
    for (const int64_t row : rows.wanted) {
      std::copy_n(hidden, width, all.mutable_data_ptr<float>() + (first + row) * width);
      hidden += width;
    }
  }
  return all;
}

void ExpectEqualsPacked(const Model& model, const char* name) {
  const std::vector<int64_t> ids = Ids(model.config());
  const at::Tensor want = model.Hidden(Pack({ids}));
  const at::Tensor got = Decode(model, ids, 1);
  EXPECT_LT(Error(got, want), 5e-5) << name;
  for (const int64_t piece : {5, 37}) {
    EXPECT_TRUE(at::equal(Decode(model, ids, piece), got)) << name << ", pieces of " << piece;
  }
}

TEST(DecoderTest, EveryFamily_AnyFeeding_EqualBitsAndThePacked) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    ExpectEqualsPacked(Model(config, tiny::RandomArena(config, false)), family.name);
  }
}

// Pieces of 5 of which every 9th row is wanted, so that some want none, or every 2nd.
TEST(DecoderTest, EveryFamily_SomeRowsWanted_TheirBitsAreTheSame) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const Model model(config, tiny::RandomArena(config, false));
    const std::vector<int64_t> ids = Ids(config);
    const at::Tensor all = Decode(model, ids, 5);
    for (const int64_t every : {2, 9}) {
      const at::Tensor some = Decode(model, ids, 5, every);
      for (int64_t i = 0; i < kLength; ++i) {
        EXPECT_TRUE(at::equal(some[i], i % every == 0 ? all[i] : at::zeros_like(all[i])))
            << family.name << ", position " << i << ", every " << every;
      }
    }
  }
}

TEST(DecoderTest, EveryFamily_WithAnAdapter_EqualsThePacked) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    layout::AdapterConfig options;
    options.rank = 3;
    options.alpha = 4.5;
    options.all_linear = true;
    const layout::AdapterLayout layout = *layout::AdapterLayoutFor(config, options, false);
    const tensor::ParameterArena adapter = *tensor::ParameterArena::Allocate(layout.parameters);
    for (const layout::ParameterEntry& entry : layout.parameters.entries) {
      adapter.View(entry).normal_(0, 0.2);
    }
    ExpectEqualsPacked(Model(config, tiny::RandomArena(config, false), layout, adapter),
                       family.name);
  }
}

TEST(DecoderTest, Draw_EveryFamily_LogProbsEqualThePacked) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    if (config.task != layout::Task::kCausalLm) continue;
    const Model model(config, tiny::RandomArena(config, false));
    const at::Tensor hidden = at::randn({5, config.embedding_size()});
    Decoder decoder(model, 1);
    const at::Tensor want = at::log_softmax(model.Logits(hidden), 1);
    EXPECT_LT(Error(tiny::DrawnLogProbs(decoder, config.vocab_size, hidden), want), 1e-5)
        << family.name;
  }
}

}  // namespace
}  // namespace retort::model
