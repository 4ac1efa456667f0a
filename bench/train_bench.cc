// One optimizer update on given tokens: forward, backward and AdamW, in fp32 or with bf16 compute
// over fp32 masters, on the CPU or a GPU.
//   build/bench/train_bench [--device=cuda] [--dtype=bfloat16] [--model=DIR | --shape=gpt2-124m]
// Prints tokens per second and the share of what the device reaches in a matrix product of the same
// type just before: model FLOPs are 6 a weight and token, and 6 x layers x q_width x length for
// causal attention.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "bench_device.h"
#include "bench_model.h"
#include "common/objective/optimizer.h"

ABSL_FLAG(std::string, device, "cpu", "cpu, or cuda");
ABSL_FLAG(std::string, dtype, "float32", "float32, or bfloat16: of the computation, on a GPU");
ABSL_FLAG(int, threads, 2, "CPU threads");
ABSL_FLAG(int, rounds, 7, "measured rounds, after one to warm up");
ABSL_FLAG(std::string, model, "", "a model folder; empty: random weights of --shape");
ABSL_FLAG(std::string, shape, "llama-10m", "llama-10m, gpt2-124m or qwen2-0.5b");
ABSL_FLAG(int64_t, batch, 8, "sequences");
ABSL_FLAG(int64_t, len, 512, "tokens of each");

namespace retort::bench {
namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Trained {
  tensor::ParameterArena parameters, gradients, exp_avg, exp_avg_sq;
  std::optional<tensor::ParameterArena> compute;  // bf16; else the parameters themselves.
  model::Model model;
};

tensor::ParameterArena ZerosLike(const tensor::ParameterArena& arena, at::ScalarType type) {
  auto made = tensor::ParameterArena::Allocate(arena.layout(), type, arena.flat().device());
  RETORT_CHECK(made.ok()) << made.status().ToString();
  return *std::move(made);
}

Trained MakeTrained(const BenchModel& start, const BenchDevice& device, bool half) {
  const tensor::ParameterArena parameters = MovedTo(start, device.device, at::kFloat).arena;
  const tensor::ParameterArena gradients = ZerosLike(parameters, at::kFloat);
  std::optional<tensor::ParameterArena> compute;
  if (half) {
    compute = ZerosLike(parameters, at::kBFloat16);
    compute->flat().copy_(parameters.flat());
  }
  model::Model model(start.model.config(), half ? *compute : parameters);
  if (half) {
    model.AttachMasters(parameters, gradients);
  } else {
    model.AttachGradients(gradients);
  }
  return {parameters,
          gradients,
          ZerosLike(parameters, at::kFloat),
          ZerosLike(parameters, at::kFloat),
          compute,
          std::move(model)};
}

struct Problem {
  model::PackedBatch batch;
  at::Tensor rows, targets;
};

Problem MakeProblem(int64_t vocab) {
  const int64_t count = absl::GetFlag(FLAGS_batch), length = absl::GetFlag(FLAGS_len);
  CounterRng rng(1, RngPurpose::kData, 0);
  std::vector<std::vector<int64_t>> sequences;
  std::vector<int64_t> rows, targets;
  for (int64_t s = 0; s < count; ++s) {
    std::vector<int64_t>& ids = sequences.emplace_back();
    for (int64_t t = 0; t < length; ++t) {
      ids.push_back(static_cast<int64_t>(rng.NextBelow(vocab)));
      if (t == 0) continue;
      rows.push_back(s * length + t - 1);
      targets.push_back(ids.back());
    }
  }
  return {model::Pack(sequences), at::tensor(rows, at::kLong), at::tensor(targets, at::kLong)};
}

void Update(Trained& trained, const Problem& problem, int64_t step, const BenchDevice& device) {
  trained.gradients.flat().zero_();
  const at::Tensor hidden =
      trained.model.Hidden(problem.batch)
          .index_select(0, problem.rows.to(trained.parameters.flat().device()));
  const model::VocabMask all{.limit = trained.model.config().vocab_size};
  trained.model.LogProbs(hidden, problem.targets, 1.0, all).log_probs.mean().neg().backward();
  const at::NoGradGuard no_grad;
  objective::AdamWUpdate(trained.parameters.flat(), trained.gradients.flat(),
                         trained.exp_avg.flat(), trained.exp_avg_sq.flat(), step, 1e-4, {});
  if (trained.compute.has_value()) trained.compute->flat().copy_(trained.parameters.flat());
  device.Synchronize(trained.parameters.flat());
}

// FLOP a second of one large matrix product.
double ProductRate(const BenchDevice& device, at::ScalarType type) {
  const int64_t n = device.gpu.has_value() ? 8192 : 1024;
  const auto options = at::TensorOptions().dtype(type).device(device.device);
  const at::Tensor a = at::randn({n, n}, at::kFloat).to(options);
  at::Tensor c = at::mm(a, a);
  device.Synchronize(c.view({-1}));
  const double start = Seconds();
  constexpr int kTimes = 5;
  for (int i = 0; i < kTimes; ++i) c = at::mm(a, a);
  device.Synchronize(c.view({-1}));
  return kTimes * 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) /
         (Seconds() - start);
}

double FlopsPerToken(const BenchModel& m) {
  const layout::ModelConfig& c = m.model.config();
  double weights = 0;
  for (const layout::ParameterEntry& entry : m.arena.layout().entries) {
    const bool table = entry.role == layout::ParameterRole::kPositions ||
                       (entry.role == layout::ParameterRole::kEmbedding && !c.tie_word_embeddings);
    if (entry.shape.size() == 2 && !table) weights += static_cast<double>(entry.elements);
  }
  return 6 * weights + 6.0 * static_cast<double>(c.num_hidden_layers * c.num_attention_heads *
                                                 c.head_dim * absl::GetFlag(FLAGS_len));
}

void Measure(const BenchModel& m, const BenchDevice& device) {
  const bool half = absl::GetFlag(FLAGS_dtype) == "bfloat16";
  Trained trained = MakeTrained(m, device, half);
  const Problem problem = MakeProblem(m.model.config().vocab_size);
  const double tokens = static_cast<double>(problem.batch.tokens());
  std::vector<double> rates, shares;
  for (int round = -1; round < absl::GetFlag(FLAGS_rounds); ++round) {
    const double product = ProductRate(device, half ? at::kBFloat16 : at::kFloat);
    const double start = Seconds();
    Update(trained, problem, round + 2, device);
    const double rate = tokens / (Seconds() - start);
    if (round < 0) continue;
    rates.push_back(rate);
    shares.push_back(rate * FlopsPerToken(m) / product);
  }
  std::printf(
      "%-16s %s %s  %ld tokens an update  %.0f tok/s (%.0f .. %.0f)  %.2f TFLOP/s  MFU %.0f%% "
      "of a matrix product\n",
      m.name.c_str(), absl::GetFlag(FLAGS_device).c_str(), absl::GetFlag(FLAGS_dtype).c_str(),
      static_cast<long>(problem.batch.tokens()), Quantile(rates, 0.5), Quantile(rates, 0.25),
      Quantile(rates, 0.75), 1e-12 * Quantile(rates, 0.5) * FlopsPerToken(m),
      100 * Quantile(shares, 0.5));
}

int Main() {
  const std::string dtype = absl::GetFlag(FLAGS_dtype);
  RETORT_CHECK(dtype == "float32" || dtype == "bfloat16") << "--dtype=" << dtype;
  const BenchDevice device =
      OpenBenchDevice(absl::GetFlag(FLAGS_device), absl::GetFlag(FLAGS_threads));
  RETORT_CHECK(dtype == "float32" || device.gpu.has_value()) << "bfloat16 is for --device=cuda";
  const std::string folder = absl::GetFlag(FLAGS_model);
  Measure(folder.empty() ? ModelOfShape(absl::GetFlag(FLAGS_shape)) : LoadedModel(folder), device);
  return 0;
}

}  // namespace
}  // namespace retort::bench

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return retort::bench::Main();
}
