// The whole model on another device than the CPU, which is compared with.
#include <cmath>
#include <string>
#include <vector>

#include "common/layout/adapter_layout.h"
#include "common/model/composite.h"
#include "common/model/model.h"
#include "common/model/response_batch.h"
#include "gtest/gtest.h"
#include "testing/family_configs.h"
#include "testing/test_device.h"
#include "testing/tiny_model.h"

namespace retort::model {
namespace {

using tensor::ParameterArena;

// Some hundred terms of fp32 in another order, through two or three layers.
constexpr double kForward = 1e-5;
// The same through the backward; of the norm of a parameter's gradient.
constexpr double kGradient = 2e-5;
// 8 bits a number, through two or three layers: of the norm of an output and of all gradients. A
// parameter's own gradient may be small beside the roundings on its way: ReLUs that lie at 0 flip.
constexpr double kBf16 = 5e-2;
constexpr double kBf16Gradient = 0.3;

ParameterArena There(const ParameterArena& arena, at::ScalarType type = at::kFloat) {
  return *arena.CopyTo(TestDevice(), type);
}

ParameterArena ZerosThere(const layout::ParameterLayout& layout) {
  return *ParameterArena::Allocate(layout, at::kFloat, TestDevice());
}

PackedBatch Ragged(const layout::ModelConfig& config) {
  std::vector<std::vector<int64_t>> sequences;
  for (const int64_t length : {5, 1, 12, 5}) {
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < length; ++i) {
      ids.push_back((7 * i + 3 * length + static_cast<int64_t>(sequences.size())) %
                    config.vocab_size);
    }
    sequences.push_back(ids);
  }
  return Pack(sequences);
}

// What training and scoring take from a model, and a loss of it all.
struct Outputs {
  at::Tensor hidden, log_probs, entropy, scores, values;

  at::Tensor Loss() const {
    at::Tensor loss = hidden.to(at::kFloat).square().sum() * 0.1;
    for (const at::Tensor& t : {log_probs, entropy, scores, values}) {
      if (t.defined()) loss = loss + t.square().sum();
    }
    return loss;
  }
};

Outputs OutputsOf(const Model& model, const PackedBatch& batch, bool values) {
  Outputs out;
  out.hidden = model.Hidden(batch);
  if (model.config().task == layout::Task::kSequenceClassification) {
    out.scores = model.Scores(out.hidden);
  } else {
    const VocabMask mask = {model.config().vocab_size, {0}};
    const SelectedLogProbs p =
        model.LogProbs(out.hidden, batch.ids.roll(1).clamp_min(1), 0.8, mask);
    out.log_probs = p.log_probs;
    out.entropy = p.entropy;
  }
  if (values) out.values = model.Values(out.hidden);
  return out;
}

double NormError(const at::Tensor& got, const at::Tensor& want) {
  const at::Tensor a = got.cpu().to(at::kDouble), b = want.cpu().to(at::kDouble);
  return (a - b).norm().item<double>() / std::max(1e-30, b.norm().item<double>());
}

void ExpectNear(const Outputs& got, const Outputs& want, double tolerance,
                const std::string& name) {
  const auto near = [&](const at::Tensor& a, const at::Tensor& b, const char* what) {
    ASSERT_EQ(a.defined(), b.defined()) << name << " " << what;
    if (!a.defined()) return;
    EXPECT_EQ(a.device(), TestDevice());
    EXPECT_LT(NormError(a.detach(), b.detach()), tolerance) << name << " " << what;
  };
  near(got.hidden, want.hidden, "hidden");
  near(got.log_probs, want.log_probs, "log-probs");
  near(got.entropy, want.entropy, "entropy");
  near(got.scores, want.scores, "scores");
  near(got.values, want.values, "values");
}

// The whole gradient within `of_all`, each parameter's within `of_each`.
void ExpectGradientsNear(const ParameterArena& got, const ParameterArena& want, double of_all,
                         double of_each, const std::string& name) {
  EXPECT_LT(NormError(got.flat(), want.flat()), of_all) << name;
  for (const layout::ParameterEntry& entry : want.layout().entries) {
    EXPECT_GT(want.View(entry).norm().item<double>(), 0) << entry.name;
    EXPECT_LT(NormError(got.View(entry), want.View(entry)), of_each) << name << ", " << entry.name;
  }
}

TEST(DeviceModelTest, EveryFamily_OutputsAndGradients_EqualTheCpus) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const ParameterArena arena = tiny::RandomArena(config, /*value_head=*/true);
    const ParameterArena gradients = tiny::ZeroArena(config, true);
    const ParameterArena gradients_there = ZerosThere(arena.layout());
    Model here(config, arena), there(config, There(arena));
    here.AttachGradients(gradients);
    there.AttachGradients(gradients_there);
    const PackedBatch batch = Ragged(config);
    const Outputs want = OutputsOf(here, batch, true), got = OutputsOf(there, batch, true);
    ExpectNear(got, want, kForward, family.name);
    want.Loss().backward();
    got.Loss().backward();
    ExpectGradientsNear(gradients_there, gradients, kGradient, kGradient, family.name);
  }
}

TEST(DeviceModelTest, EveryFamily_Packed_EqualsEverySequenceAlone) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const Model model(config, There(tiny::RandomArena(config, false)));
    const PackedBatch batch = Ragged(config);
    const at::Tensor packed = model.Hidden(batch);
    for (int64_t s = 0; s < batch.segments(); ++s) {
      const int64_t first = batch.offsets[s], length = batch.offsets[s + 1] - first;
      const PackedBatch alone = {batch.ids.narrow(0, first, length),
                                 batch.positions.narrow(0, first, length),
                                 {0, length}};
      EXPECT_LT(NormError(packed.narrow(0, first, length), model.Hidden(alone)), kForward)
          << family.name << " " << s;
    }
  }
}

TEST(DeviceModelTest, EveryFamily_AdapterGradients_EqualTheCpus) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    layout::AdapterConfig options;
    options.rank = 3;
    options.alpha = 4.5;
    options.all_linear = true;
    const layout::AdapterLayout layout = *layout::AdapterLayoutFor(config, options, true);
    const ParameterArena adapter = tiny::RandomOver(layout.parameters, 5);
    const ParameterArena base = tiny::RandomArena(config, false);
    const ParameterArena gradients = *ParameterArena::Allocate(layout.parameters);
    const PackedBatch batch = Ragged(config);
    Model here(config, base, layout, adapter);
    here.AttachGradients(gradients);
    const Outputs want = OutputsOf(here, batch, true);
    want.Loss().backward();
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      const bool wide = type == at::kFloat;
      const ParameterArena gradients_there = ZerosThere(layout.parameters);
      Model there(config, There(base, type), layout, There(adapter));
      there.AttachGradients(gradients_there);
      const Outputs got = OutputsOf(there, batch, true);
      ExpectNear(got, want, wide ? kForward : kBf16, family.name);
      got.Loss().backward();
      ExpectGradientsNear(gradients_there, gradients, wide ? kGradient : 2 * kBf16,
                          wide ? kGradient : kBf16Gradient, family.name);
    }
  }
}

TEST(DeviceModelTest, FullLogProbsAndLogits_EqualTheCpus) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    if (config.task != layout::Task::kCausalLm) continue;
    const ParameterArena arena = tiny::RandomArena(config, false);
    const Model here(config, arena), there(config, There(arena));
    const at::Tensor hidden = at::randn({4, config.embedding_size()});
    const VocabMask mask = {30, {5, 29}};
    const at::Tensor want = here.FullLogProbs(hidden, 0.7, mask);
    const at::Tensor got = there.FullLogProbs(hidden.to(TestDevice()), 0.7, mask).cpu();
    EXPECT_TRUE(at::equal(got.isinf(), want.isinf())) << family.name;
    EXPECT_LT(Error(got.masked_fill(got.isinf(), 0), want.masked_fill(want.isinf(), 0)), kForward)
        << family.name;
    EXPECT_LT(Error(there.Logits(hidden.to(TestDevice())).cpu(), here.Logits(hidden)), kForward)
        << family.name;
  }
}

TEST(DeviceModelTest, ResponseHidden_TakesTheRowsOfTheCpusBatch) {
  const layout::ModelConfig config = tiny::TinyConfig();
  const ParameterArena arena = tiny::RandomArena(config, false);
  const std::vector<int64_t> tokens = {1, 2, 3, 4, 5, 6, 7}, begin = {0, 4, 7}, prompts = {2, 1};
  const ResponseBatch batch =
      MakeResponseBatch({tokens, begin, prompts}, std::vector<int64_t>{0, 1});
  EXPECT_LT(NormError(ResponseHidden(Model(config, There(arena)), batch),
                      ResponseHidden(Model(config, arena), batch)),
            kForward);
}

TEST(DeviceModelTest, Canary_NearTheCpus_OfScoresToo) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const ParameterArena arena = tiny::RandomArena(config, false);
    const auto want = Canary(Model(config, arena)), got = Canary(Model(config, There(arena)));
    ASSERT_TRUE(want.ok() && got.ok()) << family.name << got.status();
    ASSERT_EQ(got->size(), want->size());
    for (size_t i = 0; i < want->size(); ++i) EXPECT_NEAR((*got)[i], (*want)[i], 1e-4);
  }
}

// What the arena of bf16 holds, computed with in fp32 and without rounding in between.
TEST(DeviceModelTest, EveryFamily_Bf16_NearTheWidenedOnTheCpu) {
  for (const tiny::FamilyConfig& family : tiny::kFamilyConfigs) {
    const layout::ModelConfig config = tiny::ConfigOf(family);
    const ParameterArena half = There(tiny::RandomArena(config, true), at::kBFloat16);
    const ParameterArena wide = *half.CopyTo(at::kCPU, at::kFloat);
    const ParameterArena gradients = tiny::ZeroArena(config, true);
    const ParameterArena gradients_there = ZerosThere(half.layout());
    Model here(config, wide), there(config, half);
    here.AttachGradients(gradients);
    there.AttachMasters(There(wide), gradients_there);
    const PackedBatch batch = Ragged(config);
    const Outputs want = OutputsOf(here, batch, true), got = OutputsOf(there, batch, true);
    EXPECT_EQ(got.hidden.scalar_type(), at::kBFloat16);
    for (const at::Tensor& t : {got.log_probs, got.entropy, got.scores, got.values}) {
      EXPECT_TRUE(!t.defined() || t.scalar_type() == at::kFloat) << family.name;
    }
    ExpectNear(got, want, kBf16, family.name);
    want.Loss().backward();
    got.Loss().backward();
    ExpectGradientsNear(gradients_there, gradients, 2 * kBf16, kBf16Gradient, family.name);
  }
}

TEST(DeviceModelTest, AttachMasters_TwoBackwards_AddInFp32) {
  const layout::ModelConfig config = tiny::ConfigOf(tiny::kFamilyConfigs[3]);  // Tied.
  ASSERT_TRUE(config.tie_word_embeddings);
  const ParameterArena masters = There(tiny::RandomArena(config, true));
  const ParameterArena half = *masters.CopyTo(TestDevice(), at::kBFloat16);
  const ParameterArena gradients = ZerosThere(half.layout());
  Model model(config, half);
  model.AttachMasters(masters, gradients);
  const PackedBatch batch = Ragged(config);
  const auto backward = [&] { OutputsOf(model, batch, true).Loss().backward(); };
  backward();
  const at::Tensor once = gradients.flat().clone();
  // Every derivative was bf16, but for the embedding's, the sum of its two uses.
  for (const layout::ParameterEntry& entry : half.layout().entries) {
    if (entry.role == layout::ParameterRole::kEmbedding) continue;
    const at::Tensor g = gradients.View(entry);
    EXPECT_TRUE(at::equal(g.to(at::kBFloat16).to(at::kFloat).cpu(), g.cpu())) << entry.name;
  }
  backward();
  // In bf16 the sum of a number and itself is exact, so another sum, of a third of it, tells more.
  EXPECT_TRUE(at::equal(gradients.flat().cpu(), (2 * once).cpu()));
  (OutputsOf(model, batch, true).Loss() / 3).backward();
  const at::Tensor third = gradients.flat() - 2 * once;
  EXPECT_LT(NormError(third, once / 3), 1e-2);
  EXPECT_FALSE(
      at::equal(gradients.flat().to(at::kBFloat16).to(at::kFloat).cpu(), gradients.flat().cpu()));
}

// The gradients of the tied embedding's two uses, each computed alone, are added in fp32.
TEST(DeviceModelTest, AttachMasters_Tied_SumOfItsUsesWidened) {
  const layout::ModelConfig config = tiny::ConfigOf(tiny::kFamilyConfigs[3]);
  const ParameterArena half = There(tiny::RandomArena(config, false), at::kBFloat16);
  const ParameterArena masters = *half.CopyTo(TestDevice(), at::kFloat);
  const PackedBatch batch = Ragged(config);
  const auto gradient = [&](bool through_hidden, bool through_head) {
    const ParameterArena gradients = ZerosThere(half.layout());
    Model model(config, half);
    model.AttachMasters(masters, gradients);
    const at::Tensor hidden = model.Hidden(batch);
    const at::Tensor logits = through_head ? model.Logits(through_hidden ? hidden : hidden.detach())
                                           : Model(config, half).Logits(hidden);
    logits.square().sum().backward();
    return gradients.View(*half.layout().Find(layout::ParameterRole::kEmbedding, -1)).cpu();
  };
  const at::Tensor both = gradient(true, true);
  EXPECT_TRUE(at::equal(both, gradient(true, false) + gradient(false, true)));
  EXPECT_FALSE(at::equal(both.to(at::kBFloat16).to(at::kFloat), both));
}

TEST(DeviceModelTest, MastersUpdated_RoundedIntoTheArena_NextForwardSeesThem) {
  const layout::ModelConfig config = tiny::TinyConfig();
  const ParameterArena masters = There(tiny::RandomArena(config, false));
  const ParameterArena half = *masters.CopyTo(TestDevice(), at::kBFloat16);
  Model model(config, half);
  model.AttachMasters(masters, ZerosThere(half.layout()));
  const PackedBatch batch = Pack({{1, 2, 3}});
  const at::Tensor before = model.Hidden(batch).detach().cpu();
  {
    const at::NoGradGuard no_grad;
    masters.flat().mul_(1.5);
  }
  EXPECT_TRUE(at::equal(model.Hidden(batch).detach().cpu(), before));
  half.CopyFrom(masters);
  const at::Tensor after = model.Hidden(batch);
  EXPECT_FALSE(at::equal(after.detach().cpu(), before));
  after.to(at::kFloat).sum().backward();  // The views' versions fit.
}

}  // namespace
}  // namespace retort::model
