// Neither the number of ranks nor the micro-batch size changes the gradient beyond rounding.
#include <algorithm>
#include <map>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "worker/learner/ppo_prepare.h"
#include "worker/learner/ppo_update.h"
#include "worker/learner/rank_fixture.h"
#include "worker/learner/sft_step.h"

namespace retort::worker {
namespace {

constexpr double kArenaTolerance = 1e-5;
constexpr double kTensorTolerance = 1e-4;
constexpr uint64_t kOldWeights = 3;  // Of version k, which the old log-probs are from.
constexpr uint64_t kNewWeights = 4;  // Of the policy in mid-step: ratios are not 1.

struct Setting {
  int world_size;
  int64_t micro_batch_tokens;
};

std::string Name(const Setting& setting) {
  return absl::StrCat("world size ", setting.world_size, ", ", setting.micro_batch_tokens,
                      " tokens a micro-batch");
}

// World sizes 1, 2, 4 with micro-batches of about one sample, about four, and all.
std::vector<Setting> Settings(int64_t longest) {
  std::vector<Setting> settings;
  for (const int world_size : {1, 2, 4}) {
    for (const int64_t tokens : {longest, 4 * longest, int64_t{1} << 20})
      settings.push_back({world_size, tokens});
  }
  return settings;
}

double RelativeDifference(const at::Tensor& got, const at::Tensor& want) {
  const double norm = want.to(at::kDouble).norm().item<double>();
  return (got.to(at::kDouble) - want.to(at::kDouble)).norm().item<double>() / std::max(norm, 1e-12);
}

void ExpectSameGradient(const tensor::ParameterArena& layout, const at::Tensor& got,
                        const at::Tensor& want, const std::string& what) {
  ASSERT_GT(want.norm().item<double>(), 0) << what;
  EXPECT_LT(RelativeDifference(got, want), kArenaTolerance) << what;
  for (const layout::ParameterEntry& entry : layout.layout().entries) {
    EXPECT_LT(RelativeDifference(got.narrow(0, entry.offset, entry.elements),
                                 want.narrow(0, entry.offset, entry.elements)),
              kTensorTolerance)
        << what << ", " << entry.name;
  }
}

class GradientInvarianceTest : public testing::Test {
 protected:
  // `body` accumulates a rank's gradient. Returns the sum over the ranks, as rank 0 sees it.
  at::Tensor Gradient(const v1::JobSpec& spec, int world_size,
                      const std::function<void(Rank&)>& body) {
    at::Tensor gradient;
    OnRanks(world_size, spec, policy_, kNewWeights, [&](Rank& rank) {
      rank.model->gradients.flat().zero_();
      body(rank);
      const absl::Status reduced = rank.group->AllReduceSum(rank.model->gradients.flat());
      ASSERT_TRUE(reduced.ok()) << reduced;
      if (rank.group->rank() == 0) gradient = rank.model->gradients.flat().clone();
    });
    return gradient;
  }

  const PolicyText policy_ = tiny::TinyPolicy();
};

TEST_F(GradientInvarianceTest, Ppo_WorldSizeAndMicroBatch_SameGradient) {
  v1::JobSpec spec = tiny::TinyPpoSpec(/*prompts=*/12, /*samples_per_prompt=*/2);
  spec.mutable_algorithm()->set_lag(1);
  spec.mutable_algorithm()->mutable_ppo()->set_importance_sampling(
      v1::IMPORTANCE_SAMPLING_TOKEN_TRUNCATE);
  const StepSamples samples = RandomSamples(spec, policy_, /*step=*/5);
  const PpoSettings settings = PpoSettingsOf(spec);
  PreparedStep prepared;
  OnRanks(1, spec, policy_, kOldWeights, [&](Rank& rank) {
    StepClock clock;
    auto step = PreparePpoStep(rank.context, settings, samples, {}, &clock);
    ASSERT_TRUE(step.ok()) << step.status();
    prepared = *std::move(step);
  });
  ASSERT_TRUE(prepared.finite) << prepared.not_finite;
  const std::vector<int64_t> mini_batch =
      MiniBatchesOfEpoch(spec.seed(), 5, 0, samples.count(), 17).front();
  const std::vector<int64_t> lengths = samples.SequenceLengths();
  at::Tensor want;
  for (const Setting& setting : Settings(*std::max_element(lengths.begin(), lengths.end()))) {
    spec.mutable_optimizer()->set_micro_batch_tokens(setting.micro_batch_tokens);
    at::Tensor sums_of_rank_0;
    const at::Tensor got = Gradient(spec, setting.world_size, [&](Rank& rank) {
      std::vector<at::Tensor> ratios;
      auto sums =
          AccumulatePpoGradient(rank.context, settings, samples, prepared, mini_batch, &ratios);
      ASSERT_TRUE(sums.ok()) << sums.status();
    });
    if (!want.defined()) want = got;
    ExpectSameGradient(tiny::ZeroArena(policy_.config, true), got, want, Name(setting));
  }
}

TEST_F(GradientInvarianceTest, Sft_WorldSizeAndMicroBatch_SameGradient) {
  v1::JobSpec spec = tiny::TinyPpoSpec(1, 1);
  spec.mutable_algorithm()->set_type(v1::ALGORITHM_TYPE_SFT);
  const auto dataset = data::Dataset::Parse(
      "{\"prompt\":\"12=\",\"answer\":\"3\"}\n{\"prompt\":\"12+34+56=\",\"answer\":\"102\"}\n"
      "{\"prompt\":\"a=\",\"answer\":\"abcdefghij\"}\n{\"prompt\":\"9=\",\"answer\":\"\"}\n"
      "{\"prompt\":\"77777=\",\"answer\":\"1\"}\n{\"prompt\":\"0\",\"answer\":\"abcabc\"}\n",
      "rows");
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const auto rows = EncodeSftRows(policy_, *dataset, {0, 1, 2, 3, 4, 5, 1});
  ASSERT_TRUE(rows.ok()) << rows.status();
  const std::vector<int64_t> lengths = rows->Lengths();
  at::Tensor want;
  for (const Setting& setting : Settings(*std::max_element(lengths.begin(), lengths.end()))) {
    spec.mutable_optimizer()->set_micro_batch_tokens(setting.micro_batch_tokens);
    const at::Tensor got = Gradient(spec, setting.world_size, [&](Rank& rank) {
      auto sums = AccumulateSftGradient(rank.context, *rows);
      ASSERT_TRUE(sums.ok()) << sums.status();
    });
    if (!want.defined()) want = got;
    ExpectSameGradient(tiny::ZeroArena(policy_.config, false), got, want, Name(setting));
  }
}

}  // namespace
}  // namespace retort::worker
