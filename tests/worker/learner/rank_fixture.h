// Learner ranks as threads of one process.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "common/collective/local_group.h"
#include "gtest/gtest.h"
#include "testing/tiny_job.h"
#include "worker/learner/step_samples.h"
#include "worker/learner/training_context.h"

namespace retort::worker {

// One rank: its collective and its copy of the model, from the same weights on every rank.
struct Rank {
  std::shared_ptr<collective::Collective> group;
  std::unique_ptr<TrainedModel> model;
  std::unique_ptr<GradientBuckets> buckets;
  TrainingContext context;
};

inline std::unique_ptr<Rank> MakeRank(std::shared_ptr<collective::Collective> group,
                                      const v1::JobSpec* spec, const PolicyText* policy,
                                      const PolicyModel& trained,
                                      const tensor::ParameterArena& weights,
                                      int64_t bucket_elements = kBucketElements) {
  auto rank = std::make_unique<Rank>();
  rank->group = std::move(group);
  const auto buffer = rank->group->AllocateBuffer(weights.layout().total_elements);
  EXPECT_TRUE(buffer.ok()) << buffer.status();
  auto model = MakeTrainedModel(trained, weights.layout(), *buffer);
  EXPECT_TRUE(model.ok()) << model.status();
  rank->model = *std::move(model);
  {
    const at::NoGradGuard no_grad;
    rank->model->parameters.flat().copy_(weights.flat());
  }
  rank->context.spec = spec;
  rank->context.policy = policy;
  rank->context.group = rank->group.get();
  rank->context.model = rank->model.get();
  rank->buckets =
      std::make_unique<GradientBuckets>(rank->model.get(), rank->group.get(), bucket_elements);
  rank->context.buckets = rank->buckets.get();
  rank->context.optimizer = OptimizerSettingsOf(*spec);
  const auto schedule = LrScheduleOf(*spec);
  EXPECT_TRUE(schedule.ok()) << schedule.status();
  rank->context.lr_schedule = *schedule;
  return rank;
}

// Runs `body` on `world_size` ranks at once and waits for all. They train `weights` of `trained`.
inline void OnRanks(int world_size, const v1::JobSpec& spec, const PolicyText& policy,
                    const PolicyModel& trained, const tensor::ParameterArena& weights,
                    const std::function<void(Rank&)>& body) {
  auto groups = collective::MakeLocalGroup(world_size);
  ASSERT_TRUE(groups.ok()) << groups.status();
  std::vector<std::thread> threads;
  for (auto& group : *groups) {
    threads.emplace_back([&, shared = std::shared_ptr<collective::Collective>(std::move(group))] {
      const std::unique_ptr<Rank> rank = MakeRank(shared, &spec, &policy, trained, weights);
      body(*rank);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

inline bool HasValueHead(const v1::JobSpec& spec) {
  return spec.algorithm().type() == v1::ALGORITHM_TYPE_PPO;
}

// The same where every weight is trained, from random ones.
inline std::unique_ptr<Rank> MakeRank(std::shared_ptr<collective::Collective> group,
                                      const v1::JobSpec* spec, const PolicyText* policy,
                                      uint64_t weights_seed) {
  return MakeRank(std::move(group), spec, policy, PolicyModel(policy->config),
                  tiny::RandomArena(policy->config, HasValueHead(*spec), weights_seed));
}
inline void OnRanks(int world_size, const v1::JobSpec& spec, const PolicyText& policy,
                    uint64_t weights_seed, const std::function<void(Rank&)>& body) {
  OnRanks(world_size, spec, policy, PolicyModel(policy.config),
          tiny::RandomArena(policy.config, HasValueHead(spec), weights_seed), body);
}

inline StepShape ShapeOf(const v1::JobSpec& spec, const PolicyText& policy, int64_t step) {
  return {.step = step,
          .version = std::max<int64_t>(0, step - spec.algorithm().lag()),
          .prompts = spec.data().prompts_per_step(),
          .samples_per_prompt = spec.data().samples_per_prompt(),
          .mask = policy.mask,
          .full_reference = spec.algorithm().ppo().kl_penalty() == v1::KL_PENALTY_FULL};
}

// The samples of a random step.
inline StepSamples RandomSamples(const v1::JobSpec& spec, const PolicyText& policy, int64_t step) {
  const tiny::TinyBundles bundles =
      tiny::RandomBundles(spec, step, /*bundle_prompts=*/2, policy.mask.limit);
  auto samples = AssembleSamples(ShapeOf(spec, policy, step), bundles.rollouts, bundles.scores);
  EXPECT_TRUE(samples.ok()) << samples.status();
  return *std::move(samples);
}

}  // namespace retort::worker
