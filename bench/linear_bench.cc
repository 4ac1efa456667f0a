// Linear maps of the rollout worker's kernels (common/model/row_linear.h) and of at::linear, one
// thread, weights in the caches: rows of the quick start's model, then of two larger ones.
//   build/bench/linear_bench
#include <benchmark/benchmark.h>

#include "common/model/row_linear.h"
#include "common/tensor/aten.h"

namespace retort {
namespace {

struct Problem {
  at::Tensor x, weight, y;

  explicit Problem(const benchmark::State& state)
      : x(at::randn({state.range(2), state.range(0)})),
        weight(at::randn({state.range(1), state.range(0)})),
        y(at::empty({state.range(2), state.range(1)})) {}

  void Count(benchmark::State& state) const {
    const double work = 2.0 * static_cast<double>(weight.numel() * x.size(0));
    state.counters["flop/s"] =
        benchmark::Counter(work, benchmark::Counter::kIsIterationInvariantRate);
  }
};

void BM_RowLinear(benchmark::State& state) {
  const Problem p(state);
  const model::WeightMatrix weight = model::MatrixOf(p.weight);
  for (auto _ : state) {
    model::RowLinear(p.x.const_data_ptr<float>(), p.x.size(0), weight, nullptr,
                     model::LinearMode::kStore, p.y.mutable_data_ptr<float>());
  }
  p.Count(state);
}

void BM_AtLinear(benchmark::State& state) {
  const Problem p(state);
  const c10::InferenceMode inference;
  for (auto _ : state) benchmark::DoNotOptimize(at::linear(p.x, p.weight));
  p.Count(state);
}

void Shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"inputs", "outputs", "rows"});
  for (const auto& [inputs, outputs] :
       {std::pair{128, 384}, {128, 512}, {256, 128}, {320, 960}, {864, 320}, {768, 3072}}) {
    for (const int rows : {1, 4, 16, 32, 64, 448}) bench->Args({inputs, outputs, rows});
  }
}
BENCHMARK(BM_RowLinear)->Apply(Shapes);
BENCHMARK(BM_AtLinear)->Apply(Shapes);

}  // namespace
}  // namespace retort
