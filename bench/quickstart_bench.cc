// Generation and training steps of the quick start's model: 512 prompts of 7 tokens and 7 new ones,
// on one thread.
//   build/bench/quickstart_bench
#include <benchmark/benchmark.h>

#include <vector>

#include "common/model/generate.h"
#include "common/model/model.h"
#include "testing/tiny_model.h"

namespace retort {
namespace {

constexpr int64_t kPrompts = 512;
constexpr int64_t kPromptTokens = 7;
constexpr int64_t kNewTokens = 7;

std::vector<std::vector<int64_t>> Sequences(int64_t length, int64_t vocab) {
  std::vector<std::vector<int64_t>> sequences(kPrompts);
  for (int64_t i = 0; i < kPrompts; ++i) {
    for (int64_t t = 0; t < length; ++t) sequences[i].push_back((i * 31 + t * 7) % vocab);
  }
  return sequences;
}

void BM_Generate(benchmark::State& state) {
  const layout::ModelConfig config = tiny::QuickstartConfig();
  const model::Model policy(config, tiny::RandomArena(config, false, 1, 0.06));
  const auto prompts = Sequences(kPromptTokens, config.vocab_size);
  std::vector<model::SampleRequest> samples;
  for (int64_t i = 0; i < kPrompts; ++i) {
    samples.push_back({i, CounterRng(1, RngPurpose::kSampling, 0, i, 0)});
  }
  model::SamplingOptions options;
  options.max_new_tokens = kNewTokens;
  const model::BatchOptions batch{.max_batch = state.range(0)};
  for (auto _ : state) {
    auto result = model::Generate(policy, prompts, samples, options, batch);
    RETORT_CHECK(result.ok()) << result.status().ToString();
    benchmark::DoNotOptimize(result);
  }
  state.counters["tokens/s"] = benchmark::Counter(
      static_cast<double>(state.iterations() * kPrompts * kNewTokens), benchmark::Counter::kIsRate);
}
BENCHMARK(BM_Generate)->Arg(16)->Arg(64)->Arg(512)->Unit(benchmark::kMillisecond)->UseRealTime();

// One PPO epoch: forward, selected log-probs, values and backward over all samples.
void BM_TrainEpoch(benchmark::State& state) {
  const layout::ModelConfig config = tiny::QuickstartConfig();
  model::Model policy(config, tiny::RandomArena(config, true, 1, 0.06));
  const tensor::ParameterArena gradients = tiny::ZeroArena(config, true);
  policy.AttachGradients(gradients);
  const auto sequences = Sequences(kPromptTokens + kNewTokens, config.vocab_size);
  const int64_t micro_batch = state.range(0);
  for (auto _ : state) {
    for (int64_t first = 0; first < kPrompts; first += micro_batch) {
      const model::PackedBatch batch =
          model::Pack(absl::MakeConstSpan(sequences).subspan(first, micro_batch));
      const at::Tensor hidden = policy.Hidden(batch);
      const auto log_probs = policy.LogProbs(hidden, batch.ids, 1.0, {config.vocab_size});
      const at::Tensor loss = log_probs.log_probs.mean() + policy.Values(hidden).square().mean();
      loss.backward();
    }
  }
}
BENCHMARK(BM_TrainEpoch)->Arg(128)->Arg(512)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace retort
