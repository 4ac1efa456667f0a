// Generation on another device than the CPU.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/layout/adapter_layout.h"
#include "common/model/composite.h"
#include "common/model/decoder.h"
#include "common/model/generate.h"
#include "gtest/gtest.h"
#include "testing/drawn_log_probs.h"
#include "testing/family_configs.h"
#include "testing/test_device.h"
#include "testing/tiny_model.h"

namespace retort::model {
namespace {

using tensor::ParameterArena;

constexpr int64_t kLength = 37;  // Three blocks; every window of the families is shorter.

ParameterArena There(const ParameterArena& arena, at::ScalarType type = at::kFloat) {
  return *arena.CopyTo(TestDevice(), type);
}

std::vector<int64_t> Ids(const layout::ModelConfig& config) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < kLength; ++i) ids.push_back((i * 11 + 3) % config.vocab_size);
  return ids;
}

// Hidden states of all positions, fed `piece` at a time, of which every `every`th is wanted.
at::Tensor Decode(const Model& model, Decoder& decoder, const std::vector<int64_t>& ids,
                  int64_t piece, int64_t every = 1) {
  BlockPool pool(4);
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

at::Tensor Decode(const Model& model, const std::vector<int64_t>& ids, int64_t piece,
                  int64_t every = 1) {
  Decoder decoder(model, 4);
  return Decode(model, decoder, ids, piece, every);
}

TEST(PortableDecoderTest, EveryFamily_AnyFeeding_EqualsThePackedOfTheCpu) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const ParameterArena arena = tiny::RandomArena(config, false);
    const Model here(config, arena), there(config, There(arena));
    const std::vector<int64_t> ids = Ids(config);
    const at::Tensor want = here.Hidden(Pack({ids}));
    for (const int64_t piece : {1, 5, 37}) {
      EXPECT_LT(Error(Decode(there, ids, piece), want), 5e-5) << family.name << " " << piece;
    }
    Decoder decoder(here, MakePortableDecoderKernels(here, 4));
    EXPECT_LT(Error(Decode(here, decoder, ids, 5), want), 5e-5) << family.name << ", on the CPU";
  }
}

TEST(PortableDecoderTest, EveryFamily_SomeRowsWanted_TheyAreThese) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const Model model(config, There(tiny::RandomArena(config, false)));
    const std::vector<int64_t> ids = Ids(config);
    const at::Tensor all = Decode(model, ids, 5);
    for (const int64_t every : {2, 9}) {
      const at::Tensor some = Decode(model, ids, 5, every);
      for (int64_t i = 0; i < kLength; ++i) {
        EXPECT_LT(Error(some[i], i % every == 0 ? all[i] : at::zeros_like(all[i])), 5e-5)
            << family.name << ", position " << i << ", every " << every;
      }
    }
  }
}

TEST(PortableDecoderTest, EveryFamily_WithAnAdapter_EqualsThePackedOfTheCpu) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    layout::AdapterConfig options;
    options.rank = 3;
    options.alpha = 4.5;
    options.all_linear = true;
    const layout::AdapterLayout layout = *layout::AdapterLayoutFor(config, options, false);
    const ParameterArena adapter = tiny::RandomOver(layout.parameters, 3);
    const ParameterArena arena = tiny::RandomArena(config, false);
    const Model here(config, arena, layout, adapter);
    const Model there(config, There(arena), layout, There(adapter));
    const std::vector<int64_t> ids = Ids(config);
    EXPECT_LT(Error(Decode(there, ids, 5), here.Hidden(Pack({ids}))), 5e-5) << family.name;
  }
}

// With an adapter, which is of fp32, and without.
TEST(PortableDecoderTest, Bf16_NearThePackedOfTheSameDevice) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const ParameterArena arena = There(tiny::RandomArena(config, false), at::kBFloat16);
    layout::AdapterConfig options;
    options.rank = 2;
    options.alpha = 3;
    options.all_linear = true;
    const layout::AdapterLayout layout = *layout::AdapterLayoutFor(config, options, false);
    const ParameterArena adapter = There(tiny::RandomOver(layout.parameters, 3));
    const Model plain(config, arena), adapted(config, arena, layout, adapter);
    const std::vector<int64_t> ids = Ids(config);
    for (const Model* model : {&plain, &adapted}) {
      const at::Tensor want = model->Hidden(Pack({ids})).cpu().to(at::kFloat);
      const at::Tensor got = Decode(*model, ids, 5);
      EXPECT_LT((got - want).norm().item<double>() / want.norm().item<double>(), 5e-2)
          << family.name << (model == &plain ? "" : ", adapted");
    }
  }
}

TEST(PortableDecoderTest, Draw_EveryFamily_LogProbsEqualTheCpus) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    if (config.task != layout::Task::kCausalLm) continue;
    const ParameterArena arena = tiny::RandomArena(config, false);
    const Model here(config, arena), there(config, There(arena));
    const at::Tensor hidden = at::randn({5, config.embedding_size()});
    Decoder decoder(there, 1);
    const at::Tensor want = at::log_softmax(here.Logits(hidden), 1);
    EXPECT_LT(Error(tiny::DrawnLogProbs(decoder, config.vocab_size, hidden), want), 1e-5)
        << family.name;
  }
}

// What another sequence left in a block is multiplied by 0, which NaN survives.
TEST(PortableDecoderTest, BlockOfASequenceThatDiverged_NextOneIsFinite) {
  const layout::ModelConfig config = tiny::TinyConfig();
  const ParameterArena arena = There(tiny::RandomArena(config, false));
  const Model model(config, arena);
  Decoder decoder(model, 4);
  const std::vector<int64_t> ids = Ids(config);
  const at::Tensor embedding =
      arena.View(*arena.layout().Find(layout::ParameterRole::kEmbedding, -1));
  const at::Tensor kept = embedding.clone();
  embedding.fill_(NAN);
  EXPECT_TRUE(Decode(model, decoder, ids, 37).isnan().any().item<bool>());
  embedding.copy_(kept);
  EXPECT_FALSE(Decode(model, decoder, ids, 5).isnan().any().item<bool>());
}

struct Generation {
  std::vector<std::vector<int64_t>> prompts = {{1, 2, 3}, {4, 5}, {6, 7, 8, 9, 1, 2, 3, 4, 5}};
  std::vector<SampleRequest> samples;
  SamplingOptions options;

  Generation() {
    for (int64_t i = 0; i < 6; ++i) {
      samples.push_back({i / 2, CounterRng(1, RngPurpose::kSampling, i)});
    }
    options.max_new_tokens = 12;
    options.raw_log_probs = true;
  }

  std::vector<GeneratedSample> Run(const Model& model, const BatchOptions& batch = {}) const {
    auto made = Generate(model, prompts, samples, options, batch);
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? *std::move(made) : std::vector<GeneratedSample>(samples.size());
  }
};

void ExpectSame(const std::vector<GeneratedSample>& got, const std::vector<GeneratedSample>& want,
                const std::string& name) {
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_EQ(got[i].ids, want[i].ids) << name << " " << i;
    for (size_t t = 0; t < want[i].ids.size(); ++t) {
      EXPECT_NEAR(got[i].log_probs[t], want[i].log_probs[t],
                  1e-5 + 1e-5 * std::abs(want[i].log_probs[t]))
          << name;
      EXPECT_NEAR(got[i].raw_log_probs[t], want[i].raw_log_probs[t],
                  1e-5 + 1e-5 * std::abs(want[i].raw_log_probs[t]))
          << name;
    }
  }
}

// The samples of a prompt share its blocks, and copy the last one; small batches take turns.
TEST(PortableDecoderTest, Generate_EveryFamily_SameTokensAsTheCpu) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    if (config.task != layout::Task::kCausalLm) continue;
    const ParameterArena arena = tiny::RandomArena(config, false);
    const Model here(config, arena), there(config, There(arena));
    Generation generation;
    for (const bool greedy : {true, false}) {
      generation.options.greedy = greedy;
      const std::vector<GeneratedSample> want = generation.Run(here);
      ExpectSame(generation.Run(there), want, family.name);
      ExpectSame(generation.Run(there, {.max_batch = 3, .max_prefill_tokens = 4}), want,
                 std::string(family.name) + " in small batches");
    }
  }
}

TEST(PortableDecoderTest, Generate_Repeated_EqualBits) {
  const layout::ModelConfig config = tiny::TinyConfig();
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    const Model model(config, There(tiny::RandomArena(config, false), type));
    const Generation generation;
    const std::vector<GeneratedSample> a = generation.Run(model), b = generation.Run(model);
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].ids, b[i].ids);
      EXPECT_EQ(a[i].log_probs, b[i].log_probs);
    }
  }
}

// A sample's raw log-probs are what scoring on the same device gives.
TEST(PortableDecoderTest, Generate_Bf16_LogProbsNearScoring) {
  const layout::ModelConfig config = tiny::TinyConfig();
  const Model model(config, There(tiny::RandomArena(config, false), at::kBFloat16));
  const Generation generation;
  const std::vector<GeneratedSample> made = generation.Run(model);
  for (size_t i = 0; i < made.size(); ++i) {
    std::vector<int64_t> tokens = generation.prompts[generation.samples[i].prompt];
    const int64_t prompt = static_cast<int64_t>(tokens.size());
    tokens.insert(tokens.end(), made[i].ids.begin(), made[i].ids.end());
    const int64_t count = static_cast<int64_t>(made[i].ids.size());
    const PackedBatch batch = Pack({tokens});
    const at::Tensor hidden = model.Hidden(batch).narrow(0, prompt - 1, count);
    const at::Tensor log_probs =
        model.LogProbs(hidden, batch.ids.narrow(0, prompt, count), 1.0, {config.vocab_size})
            .log_probs.cpu();
    for (int64_t t = 0; t < count; ++t) {
      EXPECT_NEAR(made[i].raw_log_probs[t], log_probs[t].item<float>(), 0.1) << i << " " << t;
    }
  }
}

}  // namespace
}  // namespace retort::model
