// One PPO step of two updates against the same step written out here: plain ATen over the model's
// forward, one sample at a time, with clipping, schedule, AdamW and KL controller of its own. No
// hyper-parameter may get lost on its way to the weights.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "common/model/packed_batch.h"
#include "common/tensor/cat.h"
#include "worker/learner/ppo_step.h"
#include "worker/learner/rank_fixture.h"

namespace retort::worker {
namespace {

using layout::ParameterGroup;

constexpr uint64_t kWeights = 3;
constexpr int64_t kStep = 3;
constexpr int64_t kUpdatesBefore = 5;
constexpr int kEpochs = 2;
// The job's numbers, each unlike its default and unlike what losing it would give.
constexpr double kPeakRate = 1e-3;
constexpr int64_t kSteps = 10;
constexpr double kMaxGradNorm = 1e-3;
constexpr double kWeightDecay = 0.1;
constexpr double kValueScale = 3;
constexpr double kKlCoef = 0.05;
constexpr double kTemperature = 0.7;
constexpr double kLam = 0.95;
constexpr double kClip = 0.2;  // Of ratio and value.
constexpr double kVfCoef = 0.1;
constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEps = 1e-8;
constexpr double kTarget = 6, kHorizon = 1000;

// Moments as large as those that clipped gradients would have left.
constexpr double kFirstMoment = 1e-5, kSecondMoment = 1e-12;

v1::JobSpec Spec() {
  v1::JobSpec spec = tiny::TinyPpoSpec(/*prompts=*/4, /*samples_per_prompt=*/2);
  spec.mutable_algorithm()->set_steps(kSteps);
  v1::PpoSpec& ppo = *spec.mutable_algorithm()->mutable_ppo();
  ppo.set_ppo_epochs(kEpochs);
  ppo.set_horizon(kHorizon);
  ppo.set_value_learning_rate_scale(kValueScale);
  v1::OptimizerSpec& optimizer = *spec.mutable_optimizer();
  optimizer.set_learning_rate(kPeakRate);
  optimizer.set_lr_schedule(v1::LR_SCHEDULE_LINEAR);
  optimizer.set_max_grad_norm(kMaxGradNorm);
  optimizer.set_weight_decay(kWeightDecay);
  return spec;
}

void SetMoments(TrainedModel* model) {
  model->exp_avg.flat().fill_(kFirstMoment);
  model->exp_avg_sq.flat().fill_(kSecondMoment);
}

struct Forward {
  at::Tensor log_probs, values;  // [T] of one sample.
};

Forward ForwardOne(const TrainedModel& model, const StepSamples& samples, int64_t vocab_limit,
                   int64_t i) {
  const std::vector<int64_t> ids(samples.tokens.begin() + samples.begin[i],
                                 samples.tokens.begin() + samples.begin[i + 1]);
  const int64_t prompt = samples.prompt_lengths[i], length = samples.response_lengths[i];
  const at::Tensor hidden = model.model.Hidden(model::Pack({ids})).narrow(0, prompt - 1, length);
  const at::Tensor targets = at::tensor(ids, at::kLong).narrow(0, prompt, length);
  const at::Tensor logits =
      model.model.Logits(hidden).narrow(1, 0, vocab_limit).to(at::kDouble) / kTemperature;
  return {at::log_softmax(logits, 1).gather(1, targets.unsqueeze(1)).squeeze(1),
          model.model.Values(hidden).to(at::kDouble)};
}

// What stays fixed while the step's updates run.
struct Old {
  std::vector<Forward> forward;
  std::vector<at::Tensor> advantages, returns;  // [T] float64 of each sample.
  double kl = 0;                                // Per sample.
};

Old Prepare(const TrainedModel& model, const StepSamples& samples, int64_t vocab_limit) {
  const at::NoGradGuard no_grad;
  Old old;
  for (int64_t i = 0; i < samples.count(); ++i) {
    const int64_t length = samples.response_lengths[i];
    old.forward.push_back(ForwardOne(model, samples, vocab_limit, i));
    const Forward& now = old.forward.back();
    const at::Tensor kl = now.log_probs - samples.reference[i].narrow(0, 0, length).to(at::kDouble);
    old.kl += kl.sum().item<double>() / static_cast<double>(samples.count());
    at::Tensor rewards = -kKlCoef * kl;
    rewards[length - 1] += samples.scores[i].item<double>();
    at::Tensor advantages = at::zeros_like(rewards);
    double next_value = 0, next_advantage = 0;
    for (int64_t t = length - 1; t >= 0; --t) {
      const double value = now.values[t].item<double>();
      next_advantage = rewards[t].item<double>() + next_value - value + kLam * next_advantage;
      next_value = value;
      advantages[t] = next_advantage;
    }
    old.advantages.push_back(advantages);
    old.returns.push_back(advantages + now.values);
  }
  const at::Tensor all = tensor::Cat(old.advantages);
  const at::Tensor mean = all.mean(), deviation = (all.var(/*unbiased=*/true) + 1e-8).sqrt();
  for (at::Tensor& advantages : old.advantages) advantages = (advantages - mean) / deviation;
  return old;
}

at::Tensor Loss(const TrainedModel& model, const StepSamples& samples, int64_t vocab_limit,
                const Old& old) {
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (int64_t i = 0; i < samples.count(); ++i) {
    const Forward now = ForwardOne(model, samples, vocab_limit, i);
    const at::Tensor ratio = (now.log_probs - old.forward[i].log_probs).exp();
    const at::Tensor policy =
        -at::min(ratio * old.advantages[i], ratio.clamp(1 - kClip, 1 + kClip) * old.advantages[i]);
    const at::Tensor bounded =
        old.forward[i].values + (now.values - old.forward[i].values).clamp(-kClip, kClip);
    const at::Tensor value =
        at::max((now.values - old.returns[i]).square(), (bounded - old.returns[i]).square());
    loss = loss + (policy + kVfCoef * 0.5 * value).sum();
  }
  return loss / static_cast<double>(samples.response_tokens());
}

// Decay is for matrices: norms, biases and the value head have none.
double DecayOf(const layout::ParameterEntry& entry) {
  return entry.name.find("norm") == std::string::npos && entry.shape.size() == 2 &&
                 entry.group != ParameterGroup::kValueHead
             ? kWeightDecay
             : 0;
}

void AdamW(const layout::ParameterEntry& entry, double rate, double clip, int64_t update,
           TrainedModel* model) {
  const auto part = [&](const tensor::ParameterArena& arena) {
    return arena.flat().narrow(0, entry.offset, entry.elements);
  };
  const at::Tensor gradient = part(model->gradients).to(at::kDouble) * clip;
  const at::Tensor first = kBeta1 * part(model->exp_avg).to(at::kDouble) + (1 - kBeta1) * gradient;
  const at::Tensor second =
      kBeta2 * part(model->exp_avg_sq).to(at::kDouble) + (1 - kBeta2) * gradient.square();
  const double k = static_cast<double>(update);
  const at::Tensor direction =
      (first / (1 - std::pow(kBeta1, k))) / ((second / (1 - std::pow(kBeta2, k))).sqrt() + kEps);
  const at::Tensor decayed = part(model->parameters).to(at::kDouble) * (1 - rate * DecayOf(entry));
  part(model->parameters).copy_(decayed - rate * direction);
  part(model->exp_avg).copy_(first);
  part(model->exp_avg_sq).copy_(second);
}

// The whole step on `model`. Returns the KL that the controller sees.
double StepByHand(const StepSamples& samples, int64_t vocab_limit, TrainedModel* model) {
  const Old old = Prepare(*model, samples, vocab_limit);
  const double rate = kPeakRate * static_cast<double>(kSteps - kStep) / static_cast<double>(kSteps);
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    model->gradients.flat().zero_();
    Loss(*model, samples, vocab_limit, old).backward();
    const at::NoGradGuard no_grad;
    const double norm = model->gradients.flat().to(at::kDouble).norm().item<double>();
    EXPECT_GT(norm, 10 * kMaxGradNorm) << "nothing would be clipped";
    for (const layout::ParameterEntry& entry : model->layout().entries) {
      const bool value_head = entry.group == ParameterGroup::kValueHead;
      AdamW(entry, value_head ? rate * kValueScale : rate, kMaxGradNorm / (norm + 1e-6),
            kUpdatesBefore + 1 + epoch, model);
    }
  }
  return old.kl;
}

// The step's change of every entry is the same up to rounding.
void ExpectSameChange(const tensor::ParameterArena& got, const tensor::ParameterArena& want,
                      const at::Tensor& before, const char* what) {
  const at::NoGradGuard no_grad;
  for (const layout::ParameterEntry& entry : want.layout().entries) {
    const auto change = [&](const at::Tensor& flat) {
      return flat.narrow(0, entry.offset, entry.elements).to(at::kDouble) -
             before.narrow(0, entry.offset, entry.elements).to(at::kDouble);
    };
    const double size = change(want.flat()).norm().item<double>();
    EXPECT_GT(size, 0) << what << " of " << entry.name;
    EXPECT_LT((change(got.flat()) - change(want.flat())).norm().item<double>(), 1e-3 * size)
        << what << " of " << entry.name;
  }
}

TEST(PpoArithmeticTest, Step_TwoUpdates_EqualTheStepWrittenOut) {
  const v1::JobSpec spec = Spec();
  const PolicyText policy = tiny::TinyPolicy();
  const StepSamples samples = RandomSamples(spec, policy, kStep);
  OnRanks(1, spec, policy, kWeights, [&](Rank& rank) {
    auto groups = collective::MakeLocalGroup(1);
    ASSERT_TRUE(groups.ok()) << groups.status();
    const std::unique_ptr<Rank> hand =
        MakeRank(std::move(groups->front()), &spec, &policy, kWeights);
    SetMoments(rank.model.get());
    SetMoments(hand->model.get());
    const at::Tensor before = rank.model->parameters.flat().detach().clone();
    const double kl = StepByHand(samples, policy.mask.limit, hand->model.get());

    checkpoint::TrainerState state;
    state.step = kStep;
    state.optimizer_steps = kUpdatesBefore;
    state.kl_coef = kKlCoef;
    StepClock clock;
    const auto outcome = RunPpoStep(rank.context, PpoSettingsOf(spec), samples, state, &clock);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    ASSERT_FALSE(outcome->bad) << outcome->why;
    EXPECT_EQ(outcome->state.step, kStep + 1);
    EXPECT_EQ(outcome->state.optimizer_steps, kUpdatesBefore + kEpochs);
    const double error = std::clamp(kl / kTarget - 1, -0.2, 0.2);
    EXPECT_NEAR(outcome->state.kl_coef,
                kKlCoef * (1 + error * static_cast<double>(samples.count()) / kHorizon), 1e-9);
    ExpectSameChange(rank.model->parameters, hand->model->parameters, before, "parameters");
    ExpectSameChange(rank.model->exp_avg, hand->model->exp_avg, at::full_like(before, kFirstMoment),
                     "exp_avg");
    ExpectSameChange(rank.model->exp_avg_sq, hand->model->exp_avg_sq,
                     at::full_like(before, kSecondMoment), "exp_avg_sq");
  });
}

}  // namespace
}  // namespace retort::worker
